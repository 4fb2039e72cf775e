"""Which partitions of which assets are missing or stale, from Dagster's own event log.

Stale is a partition whose upstream was materialized after it, or whose asset's code version is not the
one that it was made with. Only ids of events are compared, which takes one query per asset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import AssetKey, DagsterEventType, DagsterInstance

from spy_assets.defs.partitions import YEARS


@dataclass(frozen=True)
class Needed:
    """Partitions of one asset that have to be made; ``None`` stands for "no partitions"."""

    key: AssetKey
    partitions: tuple[str, ...] | None
    reason: str


class History:
    """What the instance knows of materializations, each asset asked for once."""

    def __init__(self, instance: DagsterInstance, defs: dg.Definitions) -> None:
        self.instance = instance
        self.graph = defs.resolve_asset_graph()
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

    def needed(self, key: AssetKey, wanted: Sequence[str] | None) -> Needed | None:
        """The partitions of ``wanted`` that are missing or stale, or None if there are none."""
        if wanted is None:
            return self._needed_whole(key)
        done = self.by_partition(key)
        missing = [part for part in wanted if part not in done]
        if self.outdated_code(key):
            return Needed(key, tuple(wanted), "its code changed")
        stale = [part for part in wanted if part in done and self._upstream_newer(key, part)]
        if not missing and not stale:
            return None
        reason = f"{len(missing)} missing, {len(stale)} stale"
        keep = set(missing) | set(stale)
        return Needed(key, tuple(part for part in wanted if part in keep), reason)

    def _upstream_newer(self, key: AssetKey, partition: str) -> bool:
        own = self.by_partition(key)[partition]
        node = self.graph.get(key)
        return any(
            self.by_partition(parent).get(partition, 0) > own
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
