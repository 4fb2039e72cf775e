"""What a plan says of small graphs whose runs are real: counts, durations, and what is not known."""

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey, DagsterInstance
from hypothesis import given
from hypothesis import strategies as st

from spy_assets.backfill import neighbours
from spy_assets.defs.describe import ENV_STEPS
from spy_assets.errors import ConfigError
from spy_assets.plan_cost import (
    UNKNOWN,
    Status,
    expected_seconds,
    fitted_pace,
    partitions_between,
    status_of,
    target_of,
)

KEYS = ["a", "b", "c", "d"]
PARTS = dg.StaticPartitionsDefinition(KEYS)
MANY = dg.StaticPartitionsDefinition([f"{k:02}" for k in range(60)])
KEY = AssetKey("grown")
TRAINED = AssetKey("trained")
JUDGED = AssetKey("judged")
BROKEN = {"b"}


@dg.asset(partitions_def=PARTS, backfill_policy=dg.BackfillPolicy.single_run())
def grown(context: dg.AssetExecutionContext) -> None:
    time.sleep(0.02)
    if set(context.partition_keys) & BROKEN:
        raise dg.Failure("broken", allow_retries=False)


@dg.asset(partitions_def=PARTS)
def trained() -> dg.MaterializeResult:
    time.sleep(0.02)
    return dg.MaterializeResult(metadata={ENV_STEPS: 3_000})


@dg.asset(partitions_def=PARTS, deps=[trained])
def judged(context: dg.AssetExecutionContext) -> None:
    if context.partition_key in BROKEN:
        raise dg.Failure("broken", allow_retries=False)


@dg.asset(partitions_def=MANY, backfill_policy=dg.BackfillPolicy.single_run())
def many() -> None:
    time.sleep(0.02)


@dg.asset
def whole() -> None: ...


DEFS = dg.Definitions(
    assets=[grown, trained, judged, many, whole], jobs=[dg.define_asset_job("grow", [KEY])]
)
GRAPH = DEFS.resolve_asset_graph()


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as opened:
        yield opened


def make(instance: DagsterInstance, key: AssetKey, first: str, last: str) -> None:
    job = DEFS.resolve_implicit_global_asset_job_def()
    tags = {
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last,
    }
    job.execute_in_process(
        instance=instance, asset_selection=[key], tags=tags, raise_on_error=False
    )


def status(instance: DagsterInstance, **how: Any) -> Status:
    return status_of(instance, GRAPH, KEY, KEYS, **how)


def test_before_any_run_everything_is_missing(instance: DagsterInstance) -> None:
    assert status(instance) == Status(missing=tuple(KEYS))
    assert expected_seconds(instance, KEY, 4, None) == (None, UNKNOWN)
    assert expected_seconds(instance, TRAINED, 4, 9_000) == (None, UNKNOWN)


def test_partitions_are_sorted_by_what_became_of_them(instance: DagsterInstance) -> None:
    make(instance, KEY, "a", "a")
    make(instance, KEY, "b", "b")
    found = status(instance)
    assert found == Status(present=("a",), missing=("c", "d"), failed=("b",))
    assert found.chosen("missing") == ["b", "c", "d"]
    assert found.chosen("failed") == ["b"]
    assert found.chosen("all") == KEYS


def test_rows_that_are_there_count_whatever_dagster_says(instance: DagsterInstance) -> None:
    make(instance, KEY, "a", "a")
    make(instance, KEY, "b", "b")
    assert status(instance, present={"b", "d"}) == Status(present=("b", "d"), missing=("a", "c"))


def test_a_partition_is_there_when_all_that_its_job_makes_is(instance: DagsterInstance) -> None:
    for part in "ab":
        make(instance, TRAINED, part, part)
        make(instance, JUDGED, part, part)
    make(instance, TRAINED, "c", "c")
    job = [TRAINED, JUDGED, AssetKey("many"), AssetKey("whole")]
    found = status_of(instance, GRAPH, TRAINED, KEYS, made_with=job)
    assert found == Status(present=("a",), missing=("c", "d"), failed=("b",))


def test_a_long_run_is_over_all_that_it_made(instance: DagsterInstance) -> None:
    make(instance, AssetKey("many"), "00", "59")
    seconds, basis = expected_seconds(instance, AssetKey("many"), 60, None)
    (stats,) = instance.get_run_step_stats(instance.get_runs()[0].run_id)
    assert stats.start_time is not None
    assert stats.end_time is not None
    assert seconds == pytest.approx(stats.end_time - stats.start_time)
    assert basis.endswith("median of 1 recorded run(s)")


def test_minutes_are_of_recorded_runs_per_partition(instance: DagsterInstance) -> None:
    make(instance, KEY, "c", "d")
    seconds, basis = expected_seconds(instance, KEY, 10, None)
    (stats,) = instance.get_run_step_stats(instance.get_runs()[0].run_id)
    assert stats.start_time is not None
    assert stats.end_time is not None
    assert seconds == pytest.approx(10 * (stats.end_time - stats.start_time) / 2)
    assert basis.endswith("median of 1 recorded run(s)")


def test_training_steps_are_over_the_recorded_speed(instance: DagsterInstance) -> None:
    make(instance, TRAINED, "a", "a")
    seconds, basis = expected_seconds(instance, TRAINED, 3, 15_000)
    (stats,) = instance.get_run_step_stats(instance.get_runs()[0].run_id)
    assert stats.start_time is not None
    assert stats.end_time is not None
    assert seconds == pytest.approx(5 * (stats.end_time - stats.start_time))
    assert basis.endswith("steps a second, by 1 recorded partition(s)")


def test_a_run_without_a_speed_makes_no_number_up(instance: DagsterInstance) -> None:
    make(instance, KEY, "a", "a")
    seconds, basis = expected_seconds(instance, KEY, 1, 5_000)
    assert seconds is None
    assert "unknown" in basis


@given(st.floats(0, 100), st.floats(1e-6, 1), st.sets(st.integers(1, 10**6), min_size=2))
def test_a_pace_is_found_again(base: float, slope: float, steps: set[int]) -> None:
    points = [(float(one), base + slope * one) for one in steps]
    found = fitted_pace(points)
    for one, seconds in points:
        assert found[0] + found[1] * one == pytest.approx(seconds, rel=1e-3, abs=1e-3)


def test_a_pace_is_never_below_zero() -> None:
    assert fitted_pace([(100.0, 5.0), (200.0, 1.0)]) == (0.0, 0.02)


def test_nothing_to_make_takes_no_time(instance: DagsterInstance) -> None:
    assert expected_seconds(instance, KEY, 0, None) == (0.0, "nothing to make")


def test_a_target_is_an_asset_with_partitions_and_its_job() -> None:
    jobs = [DEFS.resolve_job_def("grow")]
    assert target_of("grown", GRAPH, jobs) == (KEY, "grow")
    with pytest.raises(ConfigError, match="'whole' has no partitions"):
        target_of("whole", GRAPH, jobs)
    with pytest.raises(ConfigError, match="'walk' has no partitions"):
        target_of("walk", GRAPH, jobs)


def test_short_names_lead_to_assets_and_jobs_that_exist() -> None:
    from spy_assets.definitions import defs
    from spy_assets.plan_cost import TARGETS

    graph = defs.resolve_asset_graph()
    for name in TARGETS:
        key, job = target_of(name, graph, [])
        assert key in defs.resolve_job_def(job).asset_layer.selected_asset_keys


def test_ranges_take_years_and_sessions_of_chains() -> None:
    keys = ["2017-12-29|SPY", "2018-01-02|QQQ", "2018-01-02|SPY", "2018-01-03|SPY"]
    assert partitions_between(keys, "2018-01-01", "2018-01-02") == keys[1:3]
    assert partitions_between(keys, None, None) == keys


@given(st.sets(st.integers(0, 30)))
def test_neighbours_share_a_run(chosen: set[int]) -> None:
    order = [f"{k:02}" for k in range(31)]
    groups = neighbours([order[k] for k in sorted(chosen)], order)
    assert [part for group in groups for part in group] == [order[k] for k in sorted(chosen)]
    for group in groups:
        assert int(group[-1]) - int(group[0]) == len(group) - 1
    for before, after in pairwise(groups):
        assert int(after[0]) > int(before[-1]) + 1
