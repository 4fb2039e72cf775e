"""Which partitions of which assets are missing or stale, from Dagster's own event log.

Stale is a partition whose upstream was materialized after it, or whose asset's code version is not the
one that it was made with. Only ids of events are compared, which takes one query per asset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg
from dagster import AssetKey, DagsterEventType, DagsterInstance

from spy_assets.defs.partitions import YEARS


#: Metadata of a source asset: the last session that its source was asked for.
THROUGH = "through"


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


class History:
    """What the instance knows of materializations, each asset asked for once."""

    def __init__(self, instance: DagsterInstance, defs: dg.Definitions) -> None:
        self.instance = instance
        self.graph = defs.resolve_asset_graph()
        self._planned: dict[AssetKey, set[str]] = {}
        self._by_partition: dict[AssetKey, dict[str, int]] = {}
        self._latest: dict[AssetKey, int | None] = {}
        keys = list(self.graph.materializable_asset_keys)
        self._versions = instance.get_latest_materialization_code_versions(keys)

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
        """Whether the asset's code version changed since it was last made."""
        current = self.graph.get(key).code_version
        return current is not None and self._versions.get(key) not in (None, current)

    def needed(
        self, key: AssetKey, wanted: Sequence[str] | None, running: Running | None = None
    ) -> Needed | None:
        """The partitions of ``wanted`` that are missing or stale, or None if there are none.

        Ask upstream assets before downstream ones: what is needed upstream is stale downstream.
        ``running`` names a partition that still grows, and how far it should reach.
        """
        if wanted is None:
            return self._needed_whole(key)
        done = self.by_partition(key)
        missing = {part for part in wanted if part not in done}
        if self.outdated_code(key):
            reason, stale = "its code changed", set(wanted) - missing
        else:
            stale = {part for part in wanted if part in done and self._upstream_newer(key, part)}
            if running is not None and self._grew(key, running):
                stale.add(running.partition)
            reason = f"{len(missing)} missing, {len(stale)} stale"
        keep = missing | stale
        if not keep:
            return None
        self._planned[key] = keep
        return Needed(key, tuple(part for part in wanted if part in keep), reason)

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
        node = self.graph.get(key)
        return any(
            self.by_partition(parent).get(partition, 0) > own
            or partition in self._planned.get(parent, ())
            for parent in node.parent_keys
            if self.graph.get(parent).partitions_def == node.partitions_def
            and node.partitions_def == YEARS
        )

    def _needed_whole(self, key: AssetKey) -> Needed | None:
        own = self.latest(key)
        if own is None:
            return Needed(key, None, "missing")
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
