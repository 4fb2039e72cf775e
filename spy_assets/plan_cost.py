"""What a backfill or a sweep will cost, said before it starts: partitions, training steps, minutes.

Partitions are counted from Dagster's own records: present, missing, failed. Minutes are what recorded
runs of the asset took, for a partition and, where something is trained, for a step. Where nothing was
recorded they are unknown, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import linear_regression, median
from typing import TYPE_CHECKING, Any, Final, Literal

from dagster import AssetKey, AssetRecordsFilter, DagsterEventType, DagsterInstance
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from spy_assets.defs.describe import ENV_STEPS
from spy_assets.defs.partitions import span_of
from spy_assets.errors import ConfigError

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.events.log import EventLogEntry

#: Which partitions a plan is about.
Which = Literal["missing", "failed", "all"]

#: Short names of what is backfilled most: asset and job.
TARGETS: Final[dict[str, tuple[str, str]]] = {
    "walk_forward": ("evaluation/walk_forward", "walk_forward"),
    "intraday_walk_forward": ("evaluation/intraday_walk_forward", "intraday_walk_forward"),
    "paths": ("evaluation/combinatorial_paths", "combinatorial_paths"),
    "training": ("models/ppo_daily", "train_daily"),
    "signals": ("signals/daily_signal", "daily_signal_job"),
    "chains": ("options/option_chain", "refresh_chain"),
}
#: Materializations that are looked at for durations and speeds.
_RECORDS: Final = 40
UNKNOWN: Final = "unknown: no run of it is recorded in this profile"


@dataclass(frozen=True)
class Status:
    """Keys of an asset's partitions by what Dagster recorded of them, in their order."""

    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def chosen(self, which: Which) -> list[str]:
        """The partitions that a backfill makes; what failed is missing too."""
        if which == "failed":
            return list(self.failed)
        open_ones = [*self.missing, *self.failed]
        return sorted(open_ones if which == "missing" else [*open_ones, *self.present])


@dataclass(frozen=True)
class Cost:
    """The answer of `spy plan`.

    Attributes
    ----------
    target, asset, job
        What was asked for, its asset, and the job that makes it.
    which
        Which partitions it is about.
    total, present, missing, failed
        Partitions asked for, by state; failed ones are not counted as missing.
    partitions
        Those that would be made, in order.
    training_steps
        Environment steps of all of them; None where nothing is trained.
    minutes
        Expected, None where nothing is known.
    basis
        What the minutes are from, or why there are none.
    """

    target: str
    asset: str
    job: str
    which: Which
    total: int
    present: int
    missing: int
    failed: int
    partitions: tuple[str, ...] = field(default=())
    training_steps: int | None = None
    minutes: float | None = None
    basis: str = UNKNOWN

    def to_json(self) -> dict[str, Any]:
        """The answer as plain values."""
        return asdict(self)


def target_of(name: str, graph: Any, jobs: Iterable[dg.JobDefinition]) -> tuple[AssetKey, str]:
    """Asset and job of a short name, or of the name of an asset with partitions.

    Raises
    ------
    ConfigError
        There is no such asset, it has no partitions, or no job makes it.
    """
    asset, job = TARGETS.get(name, (name, ""))
    key = AssetKey.from_user_string(asset)
    named = {one.to_user_string(): one for one in graph.materializable_asset_keys}
    partitioned = sorted(text for text, one in named.items() if graph.get(one).partitions_def)
    if asset not in partitioned:
        raise ConfigError(
            f"{name!r} has no partitions to plan",
            hint=f"give one of {', '.join(TARGETS)}, or an asset: {', '.join(partitioned)}",
        )
    if not job:
        job = next(one.name for one in jobs if key in one.asset_layer.selected_asset_keys)
    return key, job


def partitions_between(keys: Sequence[str], first: str | None, last: str | None) -> list[str]:
    """The keys from ``first`` to ``last``, both included; all of them by default.

    >>> partitions_between(["2017", "2018"], "2018", None)
    ['2018']
    """
    spans = [(key, span_of(key)) for key in keys]
    return [key for key, span in spans if (first or span) <= span <= (last or span)]


def status_of(
    instance: DagsterInstance,
    graph: Any,
    key: AssetKey,
    wanted: Sequence[str],
    present: Iterable[str] | None = None,
    made_with: Iterable[AssetKey] = (),
    withheld: Mapping[AssetKey, Iterable[str]] | None = None,
) -> Status:
    """Sort partitions by what became of them.

    Parameters
    ----------
    made_with
        Assets that the same job makes. A partition is there if all of those that have the same
        partitions are, and failed if one of them failed: a training without its evaluation is not done.
    present
        Keys that are known to be there from elsewhere, such as the rows of one configuration; by
        default Dagster's materializations.
    withheld
        Partitions of assets that are not due, because what they follow from was refused.
    """
    definition = graph.get(key).partitions_def
    keys = {key, *(one for one in made_with if graph.get(one).partitions_def == definition)}
    done, not_due = AssetPartitionStatus.MATERIALIZED, withheld or {}
    found = [
        {**(instance.get_status_by_partition(one, list(wanted), definition) or {})}
        | dict.fromkeys(not_due.get(one, ()), done)
        for one in keys
    ]
    # A partition whose last try failed may have been made before: its rows are there, but old.
    made = (part for part in wanted if _all_are(found, part, done))
    there = set(made if present is None else present)
    failed = {
        part
        for part in wanted
        if part not in there and any(one.get(part) == AssetPartitionStatus.FAILED for one in found)
    }
    return Status(
        present=tuple(part for part in wanted if part in there),
        missing=tuple(part for part in wanted if part not in there | failed),
        failed=tuple(part for part in wanted if part in failed),
    )


def _all_are(
    found: Iterable[Mapping[str, AssetPartitionStatus | None]],
    part: str,
    state: AssetPartitionStatus,
) -> bool:
    return all(one.get(part) == state for one in found)


def expected_seconds(
    instance: DagsterInstance, key: AssetKey, count: int, steps: int | None
) -> tuple[float | None, str]:
    """Seconds that so many partitions will take by what was recorded, and what that is from.

    ``steps`` are the training steps of all of them, None where nothing is trained: then what counts is
    how long recorded partitions took.
    """
    records = list(
        instance.fetch_materializations(AssetRecordsFilter(asset_key=key), limit=_RECORDS).records
    )
    if not records or not count:
        return (0.0, "nothing to make") if not count else (None, UNKNOWN)
    entries = [one.event_log_entry for one in records]
    if steps is not None:
        return _by_steps(instance, entries, count, steps)
    durations = _durations(instance, entries)
    if not durations:
        return None, UNKNOWN
    each = median(durations)
    return each * count, f"{each:.1f} s a partition, median of {len(durations)} recorded run(s)"


def _by_steps(
    instance: DagsterInstance, entries: Sequence[EventLogEntry], count: int, steps: int
) -> tuple[float | None, str]:
    """Seconds of partitions that train: what each takes anyway, and what its steps take."""
    points = []
    for entry in entries:
        made, durations = _steps_of(entry), _durations(instance, [entry])
        if made and durations:
            points.append((made, durations[0]))
    if not points:
        return None, "unknown: no recorded run of it says how many steps it trained"
    base, slope = fitted_pace(points)
    speed = f"{1 / slope:,.0f} steps a second" if slope > 0 else "steps cost nothing"
    each = f"{base:.1f} s a partition + " if base > 0 else ""
    basis = f"{each}{speed}, by {len(points)} recorded partition(s)"
    return count * base + steps * slope, basis


def fitted_pace(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Seconds that a partition takes anyway, and seconds a step, of recorded (steps, seconds).

    By least squares where trainings of different lengths are recorded, neither below zero; else all
    time is put down to the steps.

    >>> fitted_pace([(100.0, 3.0), (300.0, 5.0)])
    (2.0, 0.01)
    >>> fitted_pace([(100.0, 2.0), (100.0, 4.0)])
    (0.0, 0.03)
    """
    steps, seconds = [point[0] for point in points], [point[1] for point in points]
    if len(set(steps)) > 1:
        slope, base = linear_regression(steps, seconds)
        if slope > 0 and base >= 0:
            return base, slope
    return 0.0, sum(seconds) / sum(steps)


def _steps_of(entry: EventLogEntry) -> float | None:
    """Environment steps that a materialization says it made."""
    made = entry.asset_materialization
    value = None if made is None else made.metadata.get(ENV_STEPS)
    return None if value is None else float(value.value)  # type: ignore[arg-type]


def _durations(instance: DagsterInstance, entries: Sequence[EventLogEntry]) -> list[float]:
    """Seconds a partition of each run, from the times of its step and all that the step made."""
    steps = {
        (entry.run_id, entry.step_key): _asset_of(entry) for entry in entries if entry.step_key
    }
    found = []
    for (run_id, step), key in steps.items():
        made = instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
        count = sum(one.step_key == step and _asset_of(one) == key for one in made)
        for stats in instance.get_run_step_stats(run_id, [step]):
            if stats.start_time is not None and stats.end_time is not None:
                found.append((stats.end_time - stats.start_time) / count)
    return found


def _asset_of(entry: EventLogEntry) -> AssetKey | None:
    made = entry.asset_materialization
    return None if made is None else made.asset_key
