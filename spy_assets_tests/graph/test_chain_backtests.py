"""The backtest over stored chains as an asset: rows for the sessions of the chains, and no others."""

from __future__ import annotations

import json
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from spy_assets.defs import chain_backtests, chains, jobs
from spy_assets.defs.resources import SpyResource
from spy_assets.options.expiries import options_close
from spy_assets.sessions import sessions_between
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph.test_options import DAY, NOW, SPOT, plant
from spy_assets_tests.graph.worlds import read
from spy_assets_tests.options.chains import model_chain

DAYS = sessions_between(DAY - timedelta(days=1), DAY + timedelta(days=2))


def plant_chains(settings: Settings, kind: str = "chain") -> None:
    """Four sessions of chains; nothing is known of volatilities."""
    spec = TABLES[chains.QUOTES]
    with Warehouse.open(settings) as lake:
        for at, day in enumerate(DAYS):
            rows = model_chain(day, spot=SPOT + 2 * at, quoted_at=options_close(day))
            unknown = {n: pl.lit(None) for n in spec.all_columns if n not in rows.columns}
            rows = rows.with_columns(**unknown).drop("ingested_at")
            lake.write(
                spec, rows.with_columns(quote_kind=pl.lit(kind)), ingested_at=options_close(day)
            )


def materialize(settings: Settings, **config: str) -> dg.ExecuteInProcessResult:
    spy = SpyResource(overrides={"home": str(settings.home)}, now=NOW)
    given = {"ops": {"evaluation__chain_backtest": {"config": config}}}
    return dg.materialize(chain_backtests.ASSETS, resources={"spy": spy}, run_config=given)


def told(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.get_asset_materialization_events()
    return {name: one.value for name, one in event.materialization.metadata.items()}


@pytest.fixture
def planted(settings: Settings) -> Settings:
    plant(settings)
    plant_chains(settings)
    return settings


@pytest.mark.slow
def test_each_structure_has_rows_for_the_sessions_of_the_chains(planted: Settings) -> None:
    metadata = told(materialize(planted))
    rows = read(planted, chain_backtests.RESULTS)
    assert rows.height == metadata["inserted"] == 12 * 2 * 3
    assert rows["sessions"].unique().to_list() == [len(DAYS)]
    assert rows["last_session"].unique().to_list() == [DAYS[-1]]
    assert rows["quote_kind"].unique().to_list() == ["chain"]
    assert rows["available_at"].unique().to_list() == [options_close(DAYS[-1])]
    outcomes = json.loads(rows.filter(structure="long_call", bucket="7-45")["outcomes"][0])
    assert outcomes == {"end_of_table": 1, "entered": 3}
    assert "long_straddle" in str(metadata["SPY: results"])
    for shown in ("SPY: profits", "SPY: equity"):
        assert str(metadata[shown]).startswith("![plot](data:image/png;base64,")


@pytest.mark.slow
def test_the_same_chains_again_add_nothing_and_another_fill_its_own_rows(planted: Settings) -> None:
    materialize(planted)
    assert told(materialize(planted))["inserted"] == 0
    assert told(materialize(planted, fill="same"))["inserted"] == 72
    assert set(read(planted, chain_backtests.RESULTS)["fill"]) == {"next", "same"}


def test_model_prices_are_no_chains(settings: Settings) -> None:
    plant(settings)
    plant_chains(settings, kind="surface")
    assert told(materialize(settings)) == {"SPY: chains": "no real chain is stored"}
    assert read(settings, chain_backtests.RESULTS).is_empty()


def test_it_is_in_a_job_of_its_own_alone() -> None:
    mine = dg.AssetKey(["evaluation", "chain_backtest"])
    from spy_assets.definitions import defs

    graph = defs.resolve_asset_graph()
    selections = (jobs.HISTORY, jobs.CHAINS, jobs.TRAINING, jobs.REPORTS, jobs.WALK)
    assert all(mine not in one.resolve(graph) for one in selections)
    assert jobs.CHAIN_BACKTESTS.resolve(graph) == {mine}
