"""Partition keys on the days that go wrong elsewhere."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from spy_assets import sessions
from spy_assets.defs.partitions import (
    ChainPart,
    bounds_of_years,
    chain_partitions,
    chain_ranges,
    session_partitions,
    year_partitions,
    years_of,
)
from spy_assets.settings import load_settings


def last_key(partitions: dg.TimeWindowPartitionsDefinition, moment: str) -> str | None:
    with dg.instance_for_test(), dg_time(moment):
        return partitions.get_last_partition_key()


def dg_time(moment: str):
    from dagster._core.test_utils import freeze_time

    return freeze_time(datetime.fromisoformat(moment).replace(tzinfo=UTC))


@pytest.fixture(scope="module")
def live() -> dg.TimeWindowPartitionsDefinition:
    return session_partitions(load_settings(source="yfinance"))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        pytest.param("2026-11-25T21:59", "2026-11-24", id="before the decision time"),
        pytest.param("2026-11-25T22:00", "2026-11-25", id="at 17:00 EST"),
        pytest.param("2026-11-26T23:00", "2026-11-25", id="Thanksgiving"),
        pytest.param("2026-11-27T18:30", "2026-11-25", id="half day, closed, not decided"),
        pytest.param("2026-11-27T22:00", "2026-11-27", id="half day"),
        pytest.param("2026-11-28T12:00", "2026-11-27", id="Saturday"),
        pytest.param("2026-11-30T12:00", "2026-11-27", id="Monday before the open"),
        pytest.param("2026-07-03T23:00", "2026-07-02", id="Independence Day observed"),
        pytest.param("2026-07-02T22:00", "2026-07-02", id="18:00 EDT"),
    ],
)
def test_last_session_is_the_last_decided_one(live, moment, expected):
    assert last_key(live, moment) == expected
    decided = sessions.last_decided_session(datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert decided.isoformat() == expected


@pytest.mark.fault(1)
def test_holidays_have_no_partition(live):
    keys = set(live.get_partition_keys())
    assert not {"2018-12-25", "2018-12-05", "2025-01-09", "2020-02-29"} & keys
    assert {"2018-12-24", "2018-12-26"} <= keys


@pytest.mark.fault(5)
def test_an_unscheduled_closure_has_no_partition(tmp_path: Path):
    table = tmp_path / "closures.csv"
    table.write_text("date,close\n2018-12-20,\n2018-12-21,13:00\n")
    closed = session_partitions(load_settings(calendar_overrides=table)).get_partition_keys()
    known = session_partitions(load_settings()).get_partition_keys()
    assert set(known) - set(closed) == {"2018-12-20"}


def test_keys_are_the_sessions_of_the_calendar():
    keys = session_partitions(load_settings(source="sample")).get_partition_keys()
    expected = sessions.sessions_between(date(1999, 1, 1), date(2018, 12, 31))
    assert keys == [day.isoformat() for day in expected]


def test_the_window_of_a_session_ends_at_its_decision(live):
    window = live.time_window_for_partition_key("2026-11-27")
    assert window.end.astimezone(UTC) == sessions.decision_time(date(2026, 11, 27))


@pytest.mark.parametrize("key", ["2026-01-02", "2024-12-31", "2025-12-31"])
def test_a_session_lies_in_the_partition_of_its_year(live, key):
    years = year_partitions(load_settings(source="yfinance"))
    mapping = dg.TimeWindowPartitionMapping()
    with dg.instance_for_test() as instance:
        mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(
            live.subset_with_partition_keys([key]),
            live,
            years,
            current_time=None,
            dynamic_partitions_store=instance,
        )
    assert list(mapped.partitions_subset.get_partition_keys()) == [key[:4]]


def test_schedule_from_the_partitioned_job_never_asks_for_the_coming_session(live):
    @dg.asset(partitions_def=live)
    def probe() -> None: ...

    job = dg.define_asset_job("probe_job", [probe])
    schedule = dg.build_schedule_from_partitioned_job(job)
    defs = dg.Definitions(assets=[probe], jobs=[job], schedules=[schedule])
    moment = datetime(2026, 11, 27, 22, 0, tzinfo=UTC)
    resolved = defs.resolve_schedule_def(schedule.name)
    with dg.instance_for_test() as instance, dg_time("2026-11-27T22:00"):
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=moment,
            repository_def=defs.get_repository_def(),
        )
        data = resolved.evaluate_tick(context)
    assert [request.partition_key for request in data.run_requests] == ["2026-11-27"]


def test_the_running_year_is_listed():
    years = year_partitions(load_settings(source="yfinance"))
    assert last_key(years, "2026-11-20T12:00") == "2026"


def test_years_of_history_end_with_the_source():
    keys = year_partitions(load_settings(source="sample")).get_partition_keys()
    assert (keys[0], keys[-1]) == ("1999", "2018")


def test_years_and_their_bounds():
    assert years_of(date(2017, 3, 1), date(2018, 1, 2)) == ["2017", "2018"]
    assert bounds_of_years(["2018", "2017"]) == (date(2017, 1, 1), date(2018, 12, 31))


@pytest.fixture(scope="module")
def two() -> dg.MultiPartitionsDefinition:
    """Chains of two underlyings."""
    return chain_partitions(load_settings(chains={"symbols": ("SPY", "QQQ")}))


def test_chains_have_a_partition_a_session_and_symbol(two: dg.MultiPartitionsDefinition) -> None:
    keys = two.get_partition_keys()
    assert len(keys) == 2 * len(session_partitions(load_settings()).get_partition_keys())
    assert keys[-2:] == ["2018-12-31|SPY", "2018-12-31|QQQ"]
    assert [ChainPart.of(key).key for key in keys[-2:]] == keys[-2:]
    assert len(keys) < 100_000  # what Dagster bears


def test_a_run_of_chains_is_of_one_symbol_and_of_sessions_that_are_near(
    two: dg.MultiPartitionsDefinition,
) -> None:
    near = ["2018-06-12", "2018-06-13", "2018-06-20"]
    keys = [f"{day}|QQQ" for day in reversed(near)] + ["2018-06-21|SPY", "2018-06-29|SPY"]
    found = chain_ranges(keys)
    assert found == [
        ("2018-06-12|QQQ", "2018-06-20|QQQ"),
        ("2018-06-21|SPY", "2018-06-21|SPY"),
        ("2018-06-29|SPY", "2018-06-29|SPY"),
    ]
    made = [two.get_partition_keys_in_range(dg.PartitionKeyRange(*ends)) for ends in found]
    assert {ChainPart.of(key).symbol for key in made[0]} == {"QQQ"}
    assert set(keys) <= {key for run in made for key in run}


def test_a_backfill_of_both_symbols_is_a_run_each(two: dg.MultiPartitionsDefinition) -> None:
    keys = [f"2018-06-{day}|{symbol}" for day in (12, 13, 14) for symbol in ("SPY", "QQQ")]
    ranges = two.subset_with_partition_keys(keys).get_partition_key_ranges(two)
    assert sorted((one.start, one.end) for one in ranges) == [
        ("2018-06-12|QQQ", "2018-06-14|QQQ"),
        ("2018-06-12|SPY", "2018-06-14|SPY"),
    ]


def test_models_read_all_chains_of_their_session_and_chains_the_bars_of_its_year(
    two: dg.MultiPartitionsDefinition,
) -> None:
    mapping = dg.MultiToSingleDimensionPartitionMapping("session")
    sessions_, years = session_partitions(load_settings()), year_partitions(load_settings())

    def above(key: str, of: dg.PartitionsDefinition[str], upstream: dg.PartitionsDefinition[str]):
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            of.subset_with_partition_keys([key]), of, upstream
        )
        return set(found.partitions_subset.get_partition_keys())

    assert above("2018-06-12", sessions_, two) == {"2018-06-12|SPY", "2018-06-12|QQQ"}
    assert above("2018-06-12|QQQ", two, years) == {"2018"}
