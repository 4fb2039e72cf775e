"""dbt on a real lake: what it writes, when it writes nothing, versions, the lock."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer

import polars as pl
import pytest

from spy_assets.errors import WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse import TABLES, Warehouse, WriteLock, dbt_sql, verify
from spy_assets.warehouse.dbt_sql import run_dbt, window_vars
from spy_assets.warehouse.locking import lock_path
from spy_assets_tests.dbt.conftest import FIRST_INGEST, SESSIONS, Tables, ingest
from spy_assets_tests.features import tables

pytestmark = pytest.mark.slow
MARTS = ("features.market_daily", "features.daily_15", "features.regime")
LATER = datetime(2019, 6, 3, tzinfo=UTC)
JUST_BEFORE = LATER - timedelta(microseconds=1)
Built = tuple[Settings, str]


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Settings:
    """A copy of the built lake that a test may change."""
    shutil.copytree(built[0].root, tmp_path / ".spy" / "sample")
    return Settings(_env_file=None, home=tmp_path)


def test_build_passes_without_a_warning(built: Built) -> None:
    last = built[1].strip().splitlines()[-1]
    assert "WARN=0 ERROR=0 SKIP=0" in last
    assert "PASS=" in last


def test_the_lake_equals_the_computation_in_memory(built: Built, features: Tables) -> None:
    with Warehouse.open(built[0]) as lake:
        for mart in MARTS:
            stored, computed = lake.read(mart), features[mart]
            assert stored.drop("ingested_at").equals(
                computed.sort("symbol", "session").drop("ingested_at")
            )


def test_files_of_dbt_are_checksummed(built: Built) -> None:
    report = verify(built[0])
    assert report.ok
    assert report.checked >= 3


@pytest.mark.fault(47)
def test_a_second_build_queues_behind_a_writer_and_writes_nothing(copy: Settings) -> None:
    with Warehouse.open(copy) as lake:
        before = lake.snapshot_id()
    lock = WriteLock(lock_path(copy))
    lock.acquire()
    released_after_s = 6.0  # dbt needs about half of it to come to the lock
    Timer(released_after_s, lock.release).start()
    started = time.monotonic()
    run_dbt(copy, ["run"])
    assert time.monotonic() - started > released_after_s
    with Warehouse.open(copy) as lake:
        assert lake.snapshot_id() == before
        assert [lake.row_count(mart) for mart in MARTS] == [SESSIONS] * 3


@pytest.mark.fault(20)
def test_a_late_revision_is_a_new_version(copy: Settings, raw: Tables) -> None:
    with Warehouse.open(copy) as lake:
        before = lake.read("features.daily_15")
    bars = raw["market.daily_bars"]
    wrong = SESSIONS - 3
    revised = bars.with_columns(
        pl.when(pl.int_range(pl.len()) == wrong)
        .then(pl.col("volume") * 2)
        .otherwise("volume")
        .alias("volume")
    )
    ingest(copy, {"market.daily_bars": revised}, LATER)
    variables = window_vars(None, None, LATER.isoformat())
    run_dbt(copy, ["run", "--select", "daily_15", "--vars", variables])
    with Warehouse.open(copy) as lake:
        assert lake.read("features.daily_15", as_of=FIRST_INGEST).equals(before)
        history = lake.history("features.daily_15")
    new = history.filter(pl.col("ingested_at") == LATER)
    assert new["session"].to_list() == bars["session"].to_list()[wrong:]
    assert (new["available_at"] == LATER).all()


@pytest.mark.fault(20)
def test_an_input_that_comes_late_changes_no_old_read(raw: Tables, tmp_path: Path) -> None:
    """It carries its nominal time, long before; dbt is run by hand, without our wrapper."""
    settings = Settings(_env_file=None, home=tmp_path)
    days = raw["market.daily_bars"]["session"].to_list()
    hole = (pl.col("name") == "VIX") & (pl.col("session") == days[-3])
    vix = raw["market.volatility"]
    ingest(settings, raw | {"market.volatility": vix.filter(~hole)}, FIRST_INGEST)
    by_hand(settings, FIRST_INGEST)
    with Warehouse.open(settings) as lake:
        before = {mart: lake.read(mart, as_of=JUST_BEFORE) for mart in MARTS}
        lake.write(TABLES["market.volatility"], vix.filter(hole), ingested_at=LATER)
    by_hand(settings, LATER)
    assert verify(settings).ok
    with Warehouse.open(settings) as lake:
        for mart in MARTS:
            assert lake.read(mart, as_of=JUST_BEFORE).equals(before[mart])
        last = lake.read("features.daily_15", where="session = ?", params=(days[-3],))
    assert (last["quality"][0], last["available_at"][0]) == ("ok", LATER)


def by_hand(settings: Settings, at: datetime) -> None:
    """Run plain dbt, as somebody does in a shell."""
    arguments = ["run", "--vars", window_vars(None, None, at.isoformat())]
    command = dbt_sql._dbt_command(arguments, settings.home / "target")
    environment = {**os.environ, **dbt_sql.dbt_environment(settings)}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def test_only_the_window_is_published(raw: Tables, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path)
    ingest(settings, raw, FIRST_INGEST)
    days = raw["market.daily_bars"]["session"].to_list()
    variables = window_vars(days[-5], days[-2], FIRST_INGEST.isoformat())
    run_dbt(settings, ["run", "--select", "+daily_15", "--vars", variables])
    with Warehouse.open(settings) as lake:
        daily = lake.read("features.daily_15")
        assert daily["session"].to_list() == days[-5:-1]
        assert daily["quality"].to_list() == ["ok"] * 4
        assert lake.history("features.daily_15")["ingested_at"].unique().to_list() == [FIRST_INGEST]


def test_dbt_makes_no_lake_by_the_way(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path)
    with pytest.raises(WarehouseError, match="there is no warehouse"):
        run_dbt(settings, ["run"])
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_value_in_the_lake_fails_the_build(copy: Settings) -> None:
    bars = tables.volatility(1).filter(pl.col("name") == "VIX")
    wrong = bars.with_columns(pl.lit(-1.0).alias("close"))
    with Warehouse.open(copy) as lake:
        lake.write(TABLES["market.volatility"], wrong, ingested_at=LATER)
    with pytest.raises(WarehouseError, match="FAIL 1 stg_volatility_in_range"):
        run_dbt(copy, ["build", "--select", "stg_volatility"])


def test_dbt_builds_on_a_postgres_catalogue(raw: Tables, tmp_path: Path, postgres: str) -> None:
    settings = Settings(_env_file=None, home=tmp_path, profile="dbt", catalogue=postgres)
    ingest(settings, raw, FIRST_INGEST)
    run_dbt(settings, ["run", "--select", "+regime"])
    with Warehouse.open(settings) as lake:
        assert lake.row_count("features.regime") == SESSIONS
    assert verify(settings).ok
