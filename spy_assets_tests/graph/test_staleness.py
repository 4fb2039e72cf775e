"""Missing, stale, outdated: from a small graph and its event log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey, DagsterInstance

from spy_assets.defs.partitions import CHAINS, SESSIONS, YEARS
from spy_assets.defs.refusals import VERDICT
from spy_assets.defs.staleness import THROUGH, History, Lost, Needed, Running, merge

ALL = ["2016", "2017", "2018"]


def graph(version: str = "1", through: str = "2018-12-28") -> dg.Definitions:
    """bars -> features -> marts by year; model -> judged, signal by session; a report of all."""

    @dg.asset(partitions_def=YEARS, code_version="1")
    def bars() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={THROUGH: through})

    @dg.asset(partitions_def=YEARS, deps=[bars], code_version=version)
    def features() -> None: ...

    @dg.asset(partitions_def=YEARS, deps=[features])
    def marts() -> None: ...

    @dg.asset(partitions_def=SESSIONS, deps=[marts])
    def model() -> None: ...

    @dg.asset(partitions_def=SESSIONS, deps=[model])
    def judged() -> None: ...

    earlier = dg.TimeWindowPartitionMapping(
        start_offset=-5, allow_nonexistent_upstream_partitions=True
    )

    @dg.asset(partitions_def=SESSIONS, deps=[marts, dg.AssetDep(judged, partition_mapping=earlier)])
    def signal() -> None: ...

    mapping = dg.AllPartitionMapping()

    @dg.asset(deps=[dg.AssetDep(signal, partition_mapping=mapping)], code_version=version)
    def report() -> None: ...

    return dg.Definitions(assets=[bars, features, marts, model, judged, signal, report])


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as opened:
        yield opened


def make(instance: DagsterInstance, names: str, partitions: list[str] | None, **how: Any) -> None:
    job = graph(**how).resolve_implicit_global_asset_job_def()
    for part in partitions or [None]:  # type: ignore[list-item]
        done = job.execute_in_process(
            instance=instance,
            asset_selection=[AssetKey(name) for name in names.split()],
            partition_key=part,
        )
        assert done.success


def needed(
    instance: DagsterInstance,
    names: str = "bars features marts",
    running: Running | None = None,
    **how: Any,
) -> dict[str, list[str]]:
    """What each asset needs of all years, asked in the order given."""
    history = History(instance, graph(**how))
    found = {name: history.needed(AssetKey(name), ALL, running) for name in names.split()}
    return {name: list(need.partitions or ()) for name, need in found.items() if need}


def test_on_a_new_profile_everything_is_missing(instance: DagsterInstance) -> None:
    assert needed(instance) == {"bars": ALL, "features": ALL, "marts": ALL}


def test_only_what_is_missing_is_made_and_what_follows_from_it(instance: DagsterInstance) -> None:
    make(instance, "bars features marts", ["2016", "2017"])
    assert needed(instance) == {"bars": ["2018"], "features": ["2018"], "marts": ["2018"]}


def test_nothing_is_needed_when_all_is_there(instance: DagsterInstance) -> None:
    make(instance, "bars features marts", ALL)
    assert needed(instance) == {}


def test_what_stands_below_a_newer_partition_is_stale_to_the_end(instance: DagsterInstance) -> None:
    make(instance, "bars features marts", ALL)
    make(instance, "bars", ["2017"])
    assert needed(instance) == {"features": ["2017"], "marts": ["2017"]}


def test_a_gap_is_missing_and_makes_what_is_below_stale(instance: DagsterInstance) -> None:
    make(instance, "bars marts", ALL)
    make(instance, "features", ["2016", "2018"])
    make(instance, "marts", ALL)
    assert needed(instance) == {"features": ["2017"], "marts": ["2017"]}


def test_changed_code_is_noticed_with_all_that_follows(instance: DagsterInstance) -> None:
    make(instance, "bars features marts", ALL)
    assert needed(instance, version="2") == {"features": ALL, "marts": ALL}
    need = History(instance, graph("2")).needed(AssetKey("features"), ALL)
    assert need is not None
    assert need.reason == "its code changed"


def test_code_that_was_made_again_is_no_longer_outdated(instance: DagsterInstance) -> None:
    make(instance, "bars features marts", ALL)
    make(instance, "features marts", ALL, version="2")
    assert needed(instance, version="2") == {}


def test_one_year_that_was_made_again_does_not_hide_the_others(instance: DagsterInstance) -> None:
    make(instance, "bars features marts", ALL)
    make(instance, "features", ["2018"], version="2")
    assert needed(instance, "features", version="2") == {"features": ["2016", "2017"]}


def test_a_session_that_was_trained_again_is_judged_again(instance: DagsterInstance) -> None:
    day, other = "2018-12-31", "2018-12-28"
    make(instance, "bars features marts", ALL)
    make(instance, "model judged signal", [other, day])
    make(instance, "model", [day])
    history = History(instance, graph())
    found = {name: history.needed(AssetKey(name), [other, day]) for name in ("judged", "signal")}
    assert found["judged"] == Needed(AssetKey("judged"), (day,), "0 missing, 1 stale")
    assert found["signal"] is None  # it reads what was judged on other days: recorded, it stands


def test_what_lost_its_rows_is_made_again_with_all_that_follows(instance: DagsterInstance) -> None:
    make(instance, "bars features marts", ALL)
    make(instance, "signal", ["2018-12-27", "2018-12-28"])
    lost = {
        AssetKey("features"): [Lost(date(2016, 5, 1), date(2017, 2, 1))],
        AssetKey("signal"): [Lost(date(2018, 12, 28), date(2018, 12, 31))],
    }
    history = History(instance, graph(), lost)
    found = [history.needed(AssetKey(name), ALL) for name in ("bars", "features", "marts")]
    assert [need and need.partitions for need in found] == [
        None,
        ("2016", "2017"),
        ("2016", "2017"),
    ]
    signal = history.needed(AssetKey("signal"), ["2018-12-31"])
    assert signal is not None
    assert signal.partitions == ("2018-12-28", "2018-12-31")


def test_lost_rows_of_unknown_days_are_all_that_was_made(instance: DagsterInstance) -> None:
    make(instance, "bars", ["2016"])
    history = History(instance, graph(), {AssetKey("bars"): [Lost()]})
    need = history.needed(AssetKey("bars"), ["2016"])
    assert need == Needed(AssetKey("bars"), ("2016",), "1 lost their rows")


def chain_graph() -> dg.Definitions:
    """quotes -> measures by session and symbol; model by session."""

    @dg.asset(partitions_def=CHAINS)
    def quotes() -> None: ...

    @dg.asset(partitions_def=CHAINS, deps=[quotes])
    def measures() -> None: ...

    mapping = dg.MultiToSingleDimensionPartitionMapping("session")

    @dg.asset(partitions_def=SESSIONS, deps=[dg.AssetDep(measures, partition_mapping=mapping)])
    def model() -> None: ...

    return dg.Definitions(assets=[quotes, measures, model])


def make_chains(instance: DagsterInstance, *steps: tuple[str, str]) -> None:
    job = chain_graph().resolve_implicit_global_asset_job_def()
    for name, part in steps:
        job.execute_in_process(
            instance=instance, asset_selection=[AssetKey(name)], partition_key=part
        )


def test_chains_are_followed_by_their_features_and_by_the_models_of_the_session(
    instance: DagsterInstance,
) -> None:
    day, other = "2018-12-31", "2018-12-28"
    keys = [f"{day}|SPY", f"{other}|SPY"]
    make_chains(instance, *(("quotes", key) for key in keys), *(("measures", key) for key in keys))
    make_chains(instance, ("model", day), ("model", other), ("quotes", keys[0]))
    history = History(instance, chain_graph())
    assert history.needed(AssetKey("quotes"), keys) is None
    need = history.needed(AssetKey("measures"), keys)
    assert need == Needed(AssetKey("measures"), (keys[0],), "0 missing, 1 stale")
    need = history.needed(AssetKey("model"), [day, other])
    assert need == Needed(AssetKey("model"), (day,), "0 missing, 1 stale")


def test_lost_chains_are_those_of_the_days_the_symbol_and_the_settings(
    instance: DagsterInstance,
) -> None:
    day, key = date(2018, 12, 31), AssetKey("quotes")
    make_chains(instance, ("quotes", f"{day}|SPY"), ("quotes", "2018-12-28|SPY"))
    for gone in ("2018-12-31", "2018-12-31|QQQ"):  # keys of older settings
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=gone))

    def lost(one: Lost) -> set[str]:
        return History(instance, chain_graph(), {key: [one]}).lost_of(key)

    assert lost(Lost(day, day)) == {f"{day}|SPY"}
    assert lost(Lost(day, day, "SPY")) == {f"{day}|SPY"}
    assert lost(Lost(day, day, "QQQ")) == set()
    assert lost(Lost()) == {f"{day}|SPY", "2018-12-28|SPY"}


def test_what_failed_a_blocking_check_is_not_taken_for_done(instance: DagsterInstance) -> None:
    key = AssetKey("bars")

    def checked(*, passed: bool) -> dg.Definitions:
        @dg.asset(partitions_def=YEARS, backfill_policy=dg.BackfillPolicy.single_run())
        def bars() -> None: ...

        @dg.asset_check(asset=bars, blocking=True)
        def sound() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=passed)

        return dg.Definitions(assets=[bars], asset_checks=[sound])

    for passed in (False, True):
        made = checked(passed=passed)
        job = made.resolve_implicit_global_asset_job_def()
        tags = {"dagster/asset_partition_range_start": "2016",
                "dagster/asset_partition_range_end": "2018"}  # fmt: skip
        run = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
        assert run.success is passed
        need = History(instance, made).needed(key, ALL)
        refused = Needed(key, tuple(ALL), "a blocking check failed")
        assert need == (None if passed else refused)


def test_a_recorded_session_is_not_made_again_for_newer_history(instance: DagsterInstance) -> None:
    day = "2018-12-31"
    make(instance, "bars features marts", ALL)
    make(instance, "signal", [day])
    make(instance, "marts", ["2018"])
    assert History(instance, graph()).needed(AssetKey("signal"), [day]) is None


@pytest.mark.parametrize(
    ("through", "stale"), [("2018-12-31", {}), ("2018-12-28", {"bars": ["2018"]})]
)
def test_a_running_year_that_ends_too_early_is_stale(
    instance: DagsterInstance, through: str, stale: dict[str, list[str]]
) -> None:
    make(instance, "bars", ALL, through=through)
    running = Running("2018", date(2018, 12, 31))
    assert needed(instance, "bars", running) == stale


def test_a_report_follows_the_newest_of_what_it_reads(instance: DagsterInstance) -> None:
    report = AssetKey("report")

    def why(**how: Any) -> str | None:
        need = History(instance, graph(**how)).needed(report, None)
        return None if need is None else need.reason

    make(instance, "signal", ["2018-12-28"])
    assert why() == "missing"
    make(instance, "report", None)
    assert why() is None
    assert why(version="2") == "its code changed"
    make(instance, "signal", ["2018-12-31"])
    assert why() == "signal is newer"


def test_needs_are_merged_into_one_run() -> None:
    a, b = AssetKey("a"), AssetKey("b")
    found = merge([Needed(a, ("2018",), ""), Needed(b, ("2016", "2018"), "")])
    assert found == ([a, b], ["2016", "2018"])
    assert merge([Needed(a, None, "")]) == ([a], [])


def court_graph(*, accepts: bool = True, warns: bool = False) -> dg.Definitions:
    """model -> judged, with a verdict -> promoted, all by session."""
    severity = dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR

    @dg.asset(partitions_def=SESSIONS)
    def model() -> None: ...

    gate = dg.AssetCheckSpec("gate", asset="judged", blocking=True, metadata={VERDICT: True})

    @dg.asset(partitions_def=SESSIONS, deps=[model], check_specs=[gate], code_version="1")
    def judged() -> dg.MaterializeResult:
        verdict = dg.AssetCheckResult(passed=accepts, severity=severity)
        return dg.MaterializeResult(check_results=[verdict])

    @dg.asset(partitions_def=SESSIONS, deps=[judged])
    def promoted() -> None: ...

    return dg.Definitions(assets=[model, judged, promoted])


def decide(instance: DagsterInstance, part: str, *, accepts: bool, warns: bool = False) -> None:
    job = court_graph(accepts=accepts, warns=warns).resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(instance=instance, partition_key=part, raise_on_error=False)
    assert done.success is (accepts or warns)


def due(instance: DagsterInstance, *wanted: str) -> dict[str, list[str]]:
    history = History(instance, court_graph())
    found = {
        name: history.needed(AssetKey(name), wanted) for name in ("model", "judged", "promoted")
    }
    return {name: list(need.partitions or ()) for name, need in found.items() if need}


def test_what_was_refused_is_judged_and_its_promotion_is_not_due(instance: DagsterInstance) -> None:
    day, other, new = "2018-12-27", "2018-12-28", "2018-12-31"
    decide(instance, day, accepts=False)
    decide(instance, other, accepts=True)
    assert due(instance, day, other) == {}
    assert due(instance, day, new) == {"model": [new], "judged": [new], "promoted": [new]}


def test_a_refusal_holds_until_what_it_is_of_changes(instance: DagsterInstance) -> None:
    day = "2018-12-31"
    decide(instance, day, accepts=False)
    instance.report_runless_asset_event(dg.AssetMaterialization("model", partition=day))
    assert due(instance, day) == {"judged": [day], "promoted": [day]}
    decide(instance, day, accepts=True)
    assert due(instance, day) == {}


def test_a_promotion_that_was_taken_back_is_not_due(instance: DagsterInstance) -> None:
    day = "2018-12-31"
    decide(instance, day, accepts=True)
    decide(instance, day, accepts=False)
    history = History(instance, court_graph())
    assert history.withheld(AssetKey("promoted"), [day]) == {day}
    assert due(instance, day) == {}


def test_a_verdict_that_only_warned_withholds_nothing(instance: DagsterInstance) -> None:
    day = "2018-12-31"
    decide(instance, day, accepts=False, warns=True)
    assert History(instance, court_graph()).refused(AssetKey("judged")) == set()
