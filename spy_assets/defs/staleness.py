"""Which partitions of which assets are missing or stale, from Dagster's own event log.

Stale is a partition whose upstream was materialized after it, or that was made with another code
version than its asset's. That takes two queries per asset: ids of events, and the events of the
partitions that are wanted.

A session follows a newer upstream only where that is the same session: a new model is judged again, but
what was decided on features or promotions of other days stands as it was recorded. Of chains it follows
that of the underlying that models and signals are of.

A refusal is an answer: what a check that gives verdicts refused is made, and what would follow from its
acceptance is not due, until something above it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg
from dagster import AssetKey, DagsterEventType, DagsterInstance
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from spy_assets.defs import refusals
from spy_assets.defs.partitions import CHAINS, SESSIONS, SYMBOL, YEARS, ChainPart, span_of

#: Metadata of a source asset: the last session that its source was asked for.
THROUGH = "through"
CODE_VERSION = "dagster/code_version"
#: Event ids that one query is given; SQLite takes some thousands of parameters.
_IDS = 900
#: Mappings by which a partition reads the upstream partition of the same name; None is the default.
_IDENTITY = (None, dg.IdentityPartitionMapping(), dg.TimeWindowPartitionMapping())
#: A parent, and the partition of it that a partition reads.
_Follows = tuple[AssetKey, Callable[[str], str]]


@dataclass(frozen=True)
class Needed:
    """Partitions of one asset that have to be made; ``None`` stands for "no partitions"."""

    key: AssetKey
    partitions: tuple[str, ...] | None
    reason: str


@dataclass(frozen=True)
class Running:
    """A partition that is not over yet, and the session through which it should reach by now."""

    partition: str
    through: date


@dataclass(frozen=True)
class Lost:
    """Days whose rows left the lake, so that partitions that hold them must be made again.

    ``first`` and ``last`` are None where the days are not known: then it is all that was made. Of
    chains it may be those of one ``symbol`` only.
    """

    first: date | None = None
    last: date | None = None
    symbol: str | None = None

    def holds(self, partition: str) -> bool:
        """Whether a year, a session or a chain lies in the range."""
        if self.symbol is not None and ChainPart.of(partition).symbol != self.symbol:
            return False
        if self.first is None or self.last is None:
            return True
        span = span_of(partition)
        length = len(span)
        return self.first.isoformat()[:length] <= span <= self.last.isoformat()[:length]


class History:
    """What the instance knows of materializations, each asset asked for once.

    ``lost`` says of which assets rows are gone, though they were materialized.
    """

    def __init__(
        self,
        instance: DagsterInstance,
        defs: dg.Definitions,
        lost: Mapping[AssetKey, Sequence[Lost]] | None = None,
    ) -> None:
        self.instance = instance
        self.lost = dict(lost or {})
        self.graph = defs.resolve_asset_graph()
        self._planned: dict[AssetKey, set[str]] = {}
        self._followed: dict[AssetKey, list[_Follows]] = {}
        self._by_partition: dict[AssetKey, dict[str, int]] = {}
        self._latest: dict[AssetKey, int | None] = {}
        keys = list(self.graph.materializable_asset_keys)
        self._versions = instance.get_latest_materialization_code_versions(keys)
        self._unreadable = self._failing_a_blocking_check()
        self._refused: dict[AssetKey, set[str]] = {}

    def _failing_a_blocking_check(self) -> set[AssetKey]:
        """Assets that were materialized and must not be read: asked for again, they are checked.

        A chain that fails is not materialized, and its check says nothing of the other chains. Nor
        does a verdict say that what was judged is wrong.
        """
        blocking = [
            key
            for key in self.graph.asset_check_keys
            if self.graph.get_check_spec(key).blocking
            and not refusals.gives_verdicts(self.graph.get_check_spec(key))
            and self.graph.get(key.asset_key).partitions_def != CHAINS
        ]
        storage = self.instance.event_log_storage
        latest = storage.get_latest_asset_check_execution_by_key(blocking) if blocking else {}
        failed = AssetCheckExecutionRecordStatus.FAILED
        return {key.asset_key for key, record in latest.items() if record.status == failed}

    def by_partition(self, key: AssetKey) -> dict[str, int]:
        """Storage id of the latest materialization of each partition."""
        if key not in self._by_partition:
            self._by_partition[key] = dict(
                self.instance.get_latest_storage_id_by_partition(
                    key, DagsterEventType.ASSET_MATERIALIZATION
                )
            )
        return self._by_partition[key]

    def latest(self, key: AssetKey) -> int | None:
        """Storage id of the latest materialization of the asset, of whatever partition."""
        if key not in self._latest:
            records = self.instance.get_asset_records([key])
            record = records[0].asset_entry.last_materialization_record if records else None
            self._latest[key] = None if record is None else record.storage_id
        return self._latest[key]

    def outdated_code(self, key: AssetKey) -> bool:
        """Whether the code version of an asset without partitions changed since it was made."""
        current = self.graph.get(key).code_version
        return current is not None and self._versions.get(key) not in (None, current)

    def outdated(self, key: AssetKey, partitions: Iterable[str]) -> set[str]:
        """Those of some partitions that were made with another code version than the present."""
        current = self.graph.get(key).code_version
        if current is None:
            return set()
        done = self.by_partition(key)
        ids = [done[part] for part in partitions if part in done]
        found = set()
        for start in range(0, len(ids), _IDS):
            chosen = ids[start : start + _IDS]
            records = self.instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=key, storage_ids=chosen), limit=len(chosen)
            ).records
            for record in records:
                made = record.asset_materialization
                version = None if made is None else (made.tags or {}).get(CODE_VERSION)
                if version not in (None, current) and record.partition_key is not None:
                    found.add(record.partition_key)
        return found

    def needed(
        self, key: AssetKey, wanted: Sequence[str] | None, running: Running | None = None
    ) -> Needed | None:
        """The partitions that are missing or stale, or None if there are none.

        Ask upstream assets before downstream ones: what is needed upstream is stale downstream.
        ``wanted`` are the partitions that must be there; of others only those are needed whose rows
        are lost. ``running`` names a partition that still grows, and how far it should reach.
        """
        if wanted is None:
            return self._needed_whole(key)
        done = self.by_partition(key)
        lost = self._lost(key, {*wanted, *done} if key in self.lost else ())
        missing = {part for part in wanted if part not in done}
        outdated = self.outdated(key, wanted)
        stale = {part for part in wanted if part in done and self._upstream_newer(key, part)}
        if running is not None and self._grew(key, running):
            stale.add(running.partition)
        if key in self._unreadable:
            stale |= set(wanted) - missing
        keep = missing | outdated | stale
        keep = keep - self.withheld(key, keep) | lost
        if not keep:
            return None
        self._planned[key] = keep
        reason = f"{len(missing & keep)} missing, {len(stale & keep)} stale"
        if lost:
            reason = f"{len(lost)} lost their rows"
        elif key in self._unreadable:
            reason = "a blocking check failed"
        elif outdated & keep:
            reason = "its code changed"
        return Needed(key, tuple(sorted(keep)), reason)

    def refused(self, key: AssetKey) -> set[str]:
        """Partitions whose latest materialization one of the asset's verdicts refused."""
        if key not in self._refused:
            checks = [
                check
                for check in self.graph.get_check_keys_for_assets({key})
                if refusals.gives_verdicts(self.graph.get_check_spec(check))
            ]
            ids = {
                one
                for check in checks
                for one in refusals.refused_materializations(self.instance, check)
            }
            made = self.by_partition(key).items() if ids else ()
            self._refused[key] = {part for part, storage_id in made if storage_id in ids}
        return self._refused[key]

    def withheld(self, key: AssetKey, partitions: Iterable[str]) -> set[str]:
        """Those of some partitions that follow from a refusal: they are not made, and not due.

        What is to be judged again may be accepted, so what follows from it is due.
        """
        parents = self._same_partition_parents(key)
        return {
            part
            for part in partitions
            for parent, read in parents
            if read(part) in self.refused(parent)
            and read(part) not in self._planned.get(parent, ())
        }

    def lost_of(self, key: AssetKey) -> set[str]:
        """Partitions that were made and whose rows are lost."""
        return self._lost(key, self.by_partition(key))

    def _lost(self, key: AssetKey, partitions: Iterable[str]) -> set[str]:
        """Those that are lost and still listed: a symbol may have left the settings."""
        ranges, listed = self.lost.get(key, ()), self.graph.get(key).partitions_def
        return {
            part
            for part in partitions
            if (listed is None or listed.has_partition_key(part))
            and any(one.holds(part) for one in ranges)
        }

    def _grew(self, key: AssetKey, running: Running) -> bool:
        """Whether a source asset's running partition ends before the session it should reach."""
        if self.graph.get(key).parent_keys or running.partition not in self.by_partition(key):
            return False
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[running.partition]), limit=1
        ).records
        made = records[0].asset_materialization if records else None
        through = None if made is None else made.metadata.get(THROUGH)
        return through is not None and str(through.value) < running.through.isoformat()

    def _upstream_newer(self, key: AssetKey, partition: str) -> bool:
        own = self.by_partition(key)[partition]
        return any(
            self.by_partition(parent).get(read(partition), 0) > own
            or read(partition) in self._planned.get(parent, ())
            for parent, read in self._same_partition_parents(key)
        )

    def _same_partition_parents(self, key: AssetKey) -> list[_Follows]:
        """Parents of which a partition reads just one partition, that of the same name or session."""
        if key not in self._followed:
            parents = self.graph.get(key).parent_keys
            read = [(parent, self._reads(key, parent)) for parent in parents]
            self._followed[key] = [(parent, one) for parent, one in read if one is not None]
        return self._followed[key]

    def _reads(self, key: AssetKey, parent: AssetKey) -> Callable[[str], str] | None:
        node, above = self.graph.get(key), self.graph.get(parent)
        if above.partitions_def == CHAINS and node.partitions_def == SESSIONS:
            return lambda session: ChainPart(date.fromisoformat(session), SYMBOL).key
        if (
            above.partitions_def == node.partitions_def
            and node.partitions_def in (YEARS, SESSIONS, CHAINS)
            and node.partition_mappings.get(parent) in _IDENTITY
        ):
            return str
        return None

    def _needed_whole(self, key: AssetKey) -> Needed | None:
        own = self.latest(key)
        if own is None:
            return Needed(key, None, "missing")
        if key in self.lost:
            return Needed(key, None, "its rows are lost")
        if self.outdated_code(key):
            return Needed(key, None, "its code changed")
        newer = [p for p in self.graph.get(key).parent_keys if (self.latest(p) or 0) > own]
        if not newer:
            return None
        return Needed(key, None, f"{newer[0].to_user_string()} is newer")


def merge(needs: Iterable[Needed]) -> tuple[list[AssetKey], list[str]]:
    """The assets of some needs and the union of their partitions, in order."""
    found = list(needs)
    parts = sorted({part for need in found for part in need.partitions or ()})
    return [need.key for need in found], parts
