"""The notebook's lake: as known at a moment, filtered, read-only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import spy_assets
from spy_assets.errors import ConfigError, NaiveTimestamp, UnsafeQuery, WarehouseError
from spy_assets.notebook import Lake
from spy_assets_tests.cli.ledgers import DAYS, REVISED, make_lake

BARS = "market.daily_bars"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        make_lake(folder)
    return folder


@pytest.fixture
def lake(home: Path) -> Iterator[Lake]:
    with spy_assets.open(home=home) as opened:
        yield opened


def test_importing_the_package_loads_nothing():
    import subprocess
    import sys

    code = "import sys, spy_assets; print('pydantic' in sys.modules, 'polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="opne"):
        _ = spy_assets.opne  # type: ignore[attr-defined]


def test_last_versions_by_default(lake: Lake):
    assert lake.read(BARS)["close"].to_list() == [271.0, 272.0, 269.4, 271.5, 271.28]


def test_as_of_a_session_hides_later_sessions_and_later_revisions(lake: Lake):
    known = lake.read(BARS, as_of=DAYS[2])
    assert known["session"].to_list() == DAYS[:3]
    assert known["close"].to_list()[-1] == 269.0


def test_as_of_a_moment(lake: Lake):
    assert lake.read(BARS, as_of=REVISED)["close"].to_list()[2] == 269.4
    assert lake.read(BARS, as_of=datetime(2018, 6, 25, 19, tzinfo=UTC)).is_empty()


def test_filters(lake: Lake):
    found = lake.read(BARS, symbols=["SPY", "QQQ"], start=DAYS[1], end=DAYS[2], columns=["session"])
    assert found["session"].to_list() == DAYS[1:3]
    assert found.columns == ["session"]
    assert lake.read(BARS, symbols="QQQ").is_empty()


def test_volatility_is_filtered_by_its_name(lake: Lake):
    assert lake.read("market.volatility", symbols="VIX").is_empty()


def test_history_has_all_versions(lake: Lake):
    assert lake.history(BARS).height == 6


def test_an_earlier_snapshot_reads_as_it_was(lake: Lake):
    frame = lake.read(BARS, snapshot=2)
    assert frame["close"].to_list()[2] == 269.0
    assert lake.snapshot > 2


def test_signals_outcomes_and_tables(lake: Lake):
    assert lake.signals(start=DAYS[1])["action_name"].to_list() == ["HOLD"]
    assert lake.outcomes()["pnl"].to_list() == [pytest.approx(98.7)]
    assert "ledger.signals" in lake.tables()


def test_sql_reads_and_only_reads(lake: Lake):
    assert lake.sql(f"SELECT max(close) AS top FROM {BARS}")["top"].to_list() == [272.0]
    assert lake.sql(f"SELECT * FROM {BARS}", limit=2).height == 2
    with pytest.raises(UnsafeQuery):
        lake.sql("DROP TABLE market.daily_bars")


@pytest.mark.parametrize("table", ["market.nothing", 'market."x; DROP', "nothing"])
def test_an_unknown_table_is_an_error(lake: Lake, table: str):
    with pytest.raises(WarehouseError):
        lake.read(table, symbols="SPY")


def test_a_filter_without_its_column_names_the_columns(lake: Lake):
    with pytest.raises(ConfigError, match=r"models.promotions has none of the columns session"):
        lake.read("models.promotions", start=DAYS[0])


@pytest.mark.fault(18)
def test_a_naive_moment_is_refused(lake: Lake):
    with pytest.raises(NaiveTimestamp):
        lake.read(BARS, as_of=datetime(2018, 6, 27, 22))  # noqa: DTZ001


def test_as_of_must_be_a_session(lake: Lake):
    with pytest.raises(ConfigError, match="Saturday"):
        lake.read(BARS, as_of=date(2018, 6, 30))


def test_a_profile_named_like_a_source_means_that_source(tmp_path: Path):
    with pytest.raises(WarehouseError, match="yfinance"):
        spy_assets.open("yfinance", home=tmp_path)


def test_the_lake_says_what_it_is(lake: Lake):
    assert repr(lake) == f"<Lake of profile 'sample' at snapshot {lake.snapshot}>"
