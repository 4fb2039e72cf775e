"""One policy for SPY and QQQ as an asset: trained, registered, judged on each symbol, and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spy_assets.defs import account, multi_asset
from spy_assets.defs.jobs import referenced_snapshots
from spy_assets.evaluation.backtest import greedy, run_policy
from spy_assets.models.policy.multi_symbol import MultiSymbolTask
from spy_assets.registry import Registry
from spy_assets.warehouse import Warehouse
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.graph.courts import DAILY_15, SESSIONS, Court, market
from spy_assets_tests.graph.test_agents import run, runs_of, seat

SHORT = {"seeds": 1, "episode_length": 30, "timesteps": 4096}


def qqq(first: int = 0) -> pl.DataFrame:
    """The sessions of SPY from one on, at other prices."""
    path = random_walk(2, SESSIONS, drift=0.002)
    rows = market(0.003).with_columns(
        pl.Series("open", path.open), pl.Series("close", path.close), symbol=pl.lit("QQQ")
    )
    return rows[first:]


def sit(home: Path, first: int = 0) -> Court:
    court = Court.sit(home, drift=0.003)
    assert court.registry.versions().is_empty()
    with Warehouse.open(court.settings) as lake:
        rows = qqq(first)
        lake.write(DAILY_15, rows, ingested_at=rows["available_at"].max())  # type: ignore[arg-type]
    return court


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Court, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        court = sit(tmp_path_factory.mktemp("symbols"), first=20)
        seat(court, court.days[-1])
        return court, run(court, multi_asset.ppo_multi_asset, court.days[-1], **SHORT)


def test_it_is_registered_as_a_challenger_of_its_own_name(made: Any) -> None:
    court, told = made
    registry = Registry(court.settings, model="ppo_multi_asset")
    assert registry.alias("challenger") == told["version"] == "1"
    (row,) = runs_of(court, "ppo_multi_asset").iter_rows(named=True)
    assert registry.load("1").weights.policy_hash == row["policy_hash"]
    parameters = json.loads(row["hyperparameters"])
    assert (parameters["symbols"], parameters["symbol"]) == ("SPY,QQQ", "SPY")
    with Warehouse.open(court.settings) as lake:
        windows = multi_asset.symbol_windows(lake, court.settings, court.days[-1])
        assert row["lake_snapshot"] in referenced_snapshots(lake)
    task = MultiSymbolTask({name: one.market for name, one in windows.items()})
    assert row["dataset_digest"] == task.dataset_digest
    # Both begin where the later one does, and end a purge before the sessions that judge.
    assert {one.cut.training.sessions[0] for one in windows.values()} == {row["train_start"]}
    assert {one.cut.train_end for one in windows.values()} == {row["train_end"]}
    for one in windows.values():
        gap = one.cut.validation_start - one.cut.train_stop
        assert gap == court.settings.train.purge_sessions


def test_each_symbol_has_its_runs_beside_its_own_policy_and_cash(made: Any) -> None:
    court, told = made
    rows = court.rows("models.multi_asset")
    assert set(rows.select("symbol", "strategy").rows()) == {
        ("SPY", "multi_asset"), ("SPY", "single_symbol"), ("SPY", "ppo_daily"), ("SPY", "cash"),
        ("QQQ", "multi_asset"), ("QQQ", "single_symbol"), ("QQQ", "cash"),
    }  # fmt: skip
    assert set(rows["sessions"]) == {court.settings.train.validation_sessions - 1}
    assert (rows.filter(strategy="cash")["net_pnl"] == 0.0).all()
    assert rows["lead"].null_count() == 2
    assert rows.filter(strategy="multi_asset")["lead"].null_count() == 2
    assert told["better"] == rows["better"][0]
    words = "better" if told["better"] else "not better"
    assert told["verdict"].startswith(f"one policy for all symbols is {words} than a policy")
    assert "VIX" in told["priced_by"]


def test_the_recorded_result_is_that_of_the_registered_policy(made: Any) -> None:
    court, _ = made
    net = Registry(court.settings, model="ppo_multi_asset").load("1")
    recorded = court.rows("models.multi_asset").filter(strategy="multi_asset")
    for symbol in ("SPY", "QQQ"):
        own = court.settings.model_copy(update={"symbol": symbol})
        with Warehouse.open(court.settings) as lake:
            venue = account.venue(own, account.windows(lake, own, court.days[-1]))
        again = run_policy(venue, greedy(net.probabilities))
        (row,) = recorded.filter(symbol=symbol).iter_rows(named=True)
        assert row["net_pnl"] == pytest.approx(again.daily.net_pnl)
        assert row["trades"] == again.trade_count


def test_a_lake_without_the_second_symbol_says_so(tmp_path: Path) -> None:
    court = Court.sit(tmp_path)
    assert court.registry.versions().is_empty()
    failed = court.make([multi_asset.ppo_multi_asset], court.days[-1], raise_on_error=False)
    (failure,) = [event for event in failed.all_events if event.is_step_failure]
    told = str(failure.event_specific_data.error)
    assert "QQQ: " in told
    assert "SPY_TRAIN__SYMBOLS" in told
