"""Market assets on a vendor with holes, dead symbols and bad rows: what came is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from spy_assets import plan
from spy_assets.defs import market
from spy_assets.defs.resources import SpyResource
from spy_assets.errors import EmptyResponse, NotProvided, SourceUnavailable
from spy_assets.market.sources.sample import SampleSource
from spy_assets.sessions import sessions_between
from spy_assets.settings import Settings
from spy_assets_tests.graph.worlds import read

HOLE = date(2018, 6, 15)


class Vendor(SampleSource):
    """The sample as a live vendor would have it: asked key by key, and not always well."""

    historical = False

    def __init__(self, *symbols: str) -> None:
        self.offered = symbols or ("SPY",)
        self.asked: list[tuple[tuple[str, ...], date, date]] = []
        self.lacking: set[date] = set()
        self.broken: set[date] = set()
        self.failing: dict[str, Exception] = {}

    def symbols(self) -> tuple[str, ...]:
        return self.offered

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
        self.asked.append((tuple(symbols), start, end))
        for symbol in symbols:
            if symbol in self.failing:
                raise self.failing[symbol]
        one = super().daily_bars(["SPY"], start, end)
        high = pl.when(pl.col("session").is_in(self.broken)).then(pl.lit(-1.0))
        one = one.filter(~pl.col("session").is_in(self.lacking)).with_columns(
            high.otherwise("high").alias("high")
        )
        return pl.concat([one.with_columns(symbol=pl.lit(symbol)) for symbol in symbols])

    def volatility(self, names: Sequence[str], start: date, end: date) -> pl.DataFrame:
        if "VVIX" in names:
            raise NotProvided("no VVIX here")
        return super().volatility(names, start, end)


class Run:
    """One materialization: whether it succeeded, its checks, and what it said."""

    def __init__(self, result: dg.ExecuteInProcessResult) -> None:
        self.ok = result.success
        self.checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
        self.made = len(result.get_asset_materialization_events())
        failed = [e for e in result.all_events if e.is_step_failure]
        self.words = "" if not failed else str(failed[0].step_failure_data.error)

    def passed(self) -> dict[str, bool]:
        return {name: one.passed for name, one in self.checks.items()}

    def told(self, check: str, name: str) -> Any:
        return self.checks[check].metadata[name].value


Make = Callable[..., Run]


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Vendor:
    made = Vendor()
    monkeypatch.setattr("spy_assets.market.sources.open_source", lambda _: made)
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
    return made


@pytest.fixture
def make(settings: Settings, vendor: Vendor) -> Make:
    """Materialize a market asset of 2018."""

    def run(asset: dg.AssetsDefinition = market.daily_bars, **overrides: Any) -> Run:
        spy = SpyResource(overrides={"home": str(settings.home)} | overrides)
        with dg.DagsterInstance.ephemeral() as instance:
            return Run(
                dg.materialize(
                    [asset], partition_key="2018", resources={"spy": spy}, instance=instance,
                    raise_on_error=False,
                )
            )  # fmt: skip

    return run


def sessions_of(settings: Settings, symbol: str = "SPY") -> set[date]:
    rows = read(settings, "market.daily_bars", where="symbol = ?", params=(symbol,))
    return set(rows["session"])


def test_a_hole_is_asked_for_when_the_year_is_made_again(
    make: Make, vendor: Vendor, settings: Settings
) -> None:
    vendor.lacking = {HOLE}
    assert make().ok
    assert HOLE not in sessions_of(settings)
    vendor.lacking.clear()
    assert make().passed() == {"quarantine": True, "coverage": True, "not_empty": True}
    assert HOLE in sessions_of(settings)
    assert vendor.asked[-1] == (("SPY",), date(2018, 6, 7), HOLE)
    assert make().passed()["coverage"]
    assert len(vendor.asked) == 2


def test_a_hole_that_stays_is_told_in_every_run(make: Make, vendor: Vendor) -> None:
    vendor.lacking = {HOLE}
    for _ in range(2):
        run = make()
        assert (run.ok, run.passed()["coverage"], run.told("coverage", "incomplete")) == (
            True, False, 1
        )  # fmt: skip
    assert run.checks["coverage"].severity == dg.AssetCheckSeverity.WARN


def test_a_withheld_row_is_told_until_a_sound_one_is_published(make: Make, vendor: Vendor) -> None:
    vendor.broken = {HOLE}
    assert not make().passed()["quarantine"]
    vendor.broken, vendor.lacking = set(), {HOLE}  # nothing is withheld now, nor is it mended
    assert not make().passed()["quarantine"]
    vendor.lacking = set()
    assert make().passed()["quarantine"]


@pytest.mark.fault(38)
def test_a_dead_symbol_costs_no_other_symbol_its_answer(
    make: Make, vendor: Vendor, settings: Settings
) -> None:
    vendor.offered = ("SPY", "DEAD", "QQQ")
    vendor.failing = {"DEAD": EmptyResponse("yfinance DEAD: no row")}
    run = make(symbols=vendor.offered)
    assert not run.ok
    assert "DEAD" in run.words
    assert len(sessions_of(settings, "SPY")) == len(sessions_of(settings, "QQQ")) == 251
    asked = [keys for keys, _, _ in vendor.asked]  # the retries ask for what is missing
    assert asked == [("SPY",), ("DEAD",), ("QQQ",), ("DEAD",), ("DEAD",)]


def test_a_vendor_that_goes_down_is_asked_no_further(
    make: Make, vendor: Vendor, settings: Settings
) -> None:
    vendor.offered = ("SPY", "QQQ", "IWM")
    vendor.failing = {"QQQ": SourceUnavailable("503"), "IWM": AssertionError("asked")}
    run = make(symbols=vendor.offered)
    assert (run.ok, run.made) == (False, 0)
    assert "IWM" not in {key for keys, _, _ in vendor.asked for key in keys}
    assert len(sessions_of(settings)) == 251


def test_what_came_before_a_lack_is_stored(make: Make, settings: Settings) -> None:
    run = make(market.volatility)
    assert run.ok
    assert read(settings, "market.volatility").height == 251


def test_a_symbol_that_is_set_and_not_offered_is_a_warning(make: Make) -> None:
    run = make(symbols=("SPY", "FOOBAR"))
    assert run.ok
    assert not run.passed()["coverage"]
    assert run.told("coverage", "note") == "not offered: FOOBAR"


def test_default_symbols_that_are_not_offered_are_no_warning(make: Make) -> None:
    assert make().passed()["coverage"]


def test_a_year_without_any_row_fails_and_is_not_made(make: Make, vendor: Vendor) -> None:
    vendor.lacking = set(sessions_between(date(2018, 1, 1), date(2018, 12, 31)))
    run = make()
    assert (run.ok, run.made, run.passed()["not_empty"]) == (False, 0, False)
    assert "no row of daily_bars" in run.words
    vendor.lacking.clear()
    assert make().passed()["not_empty"]


def test_a_data_set_that_the_source_lacks_may_be_empty(make: Make) -> None:
    run = make(market.put_call)
    assert (run.ok, run.passed()["not_empty"]) == (True, True)
    assert "put_call" in run.told("not_empty", "note")


@pytest.mark.parametrize(("jump", "passed"), [(1.0, True), (1.5, False)])
def test_a_jump_that_nobody_confirms_is_a_warning(
    make: Make, vendor: Vendor, settings: Settings, jump: float, *, passed: bool
) -> None:
    sound = SampleSource.daily_bars

    def jumping(self: SampleSource, *asked: Any) -> pl.DataFrame:
        after = pl.when(pl.col("session") >= HOLE).then(jump).otherwise(1.0)
        return sound(self, *asked).with_columns(
            pl.col(name) * after for name in ("open", "high", "low", "close")
        )

    vendor.offered = ("QQQ",)
    vendor.daily_bars = lambda symbols, *days: jumping(vendor, ["SPY"], *days).with_columns(  # type: ignore[method-assign]
        symbol=pl.lit(symbols[0])
    )
    assert make(symbols=("QQQ",)).ok
    spy = SpyResource(overrides={"home": str(settings.home), "symbol": "QQQ"})
    check: Any = market.jumps_confirmed(spy)
    assert check.passed is passed
    assert check.severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(
    ("source", "span", "days"),
    [
        ("sample", (date(1999, 1, 1), date(2018, 12, 31)), 5),
        ("files", (date(2018, 12, 27), date(2018, 12, 31)), 3),
        ("files", (date(2017, 1, 1), date(2017, 12, 31)), 0),
        ("files", None, 0),
        ("yfinance", (date(2018, 12, 1), date(2018, 12, 31)), 0),
    ],
)
def test_minutes_of_history_are_kept_where_it_has_them(
    vendor: Vendor, tmp_path: Path, source: str, span: tuple[date, date] | None, days: int
) -> None:
    vendor.span = lambda dataset: span  # type: ignore[method-assign]
    spy = SpyResource(overrides={"source": source, "files_dir": str(tmp_path)})
    runner = SimpleNamespace(spy=spy, settings=spy.settings)
    assert len(plan._minute_days(runner, date(2018, 12, 31))) == days  # type: ignore[arg-type]
