"""Which stored chains the paper account may fill at: real ones that were known in time."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from spy_assets.defs import account
from spy_assets.defs.chains import QUOTES
from spy_assets.options.expiries import options_close
from spy_assets.options.structures import legs_for
from spy_assets.sessions import decision_time, session_close, session_open
from spy_assets.settings import Settings
from spy_assets.simulator.chain_fills import ChainFills
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph.test_options import DAY, LATER, NEXT, SPOT
from spy_assets_tests.options.chains import model_chain


def plant(settings: Settings, day: object, known: datetime, kind: str = "chain") -> None:
    """A session's chain that was known from some moment on."""
    spec = TABLES[QUOTES]
    rows = model_chain(day, spot=SPOT, quoted_at=options_close(day))
    unknown = {n: pl.lit(None) for n in spec.all_columns if n not in rows.columns}
    told = {"quote_kind": pl.lit(kind), "available_at": pl.lit(known)}
    with Warehouse.open(settings) as lake:
        lake.write(
            spec, rows.with_columns(**unknown, **told).drop("ingested_at"), ingested_at=known
        )


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """An account that fills at closes."""
    return settings.model_copy(update={"fill": "next_close"})


def test_a_lake_without_chains_gives_no_quotes(settings: Settings) -> None:
    with Warehouse.open(settings) as lake:
        assert account.chain_fills(lake, settings) is None
    assert account.paper_setup(settings).chains is None


@pytest.mark.slow
def test_chains_known_at_their_own_decision_fill_the_close(settings: Settings) -> None:
    plant(settings, DAY, options_close(DAY))
    plant(settings, NEXT, decision_time(NEXT) + timedelta(minutes=1))
    plant(settings, LATER, options_close(LATER), kind="surface")
    with Warehouse.open(settings) as lake:
        opens = settings.model_copy(update={"fill": "next_open"})
        assert account.chain_fills(lake, opens) is None
        fills = account.chain_fills(lake, settings)
        assert isinstance(fills, ChainFills)
        assert account.paper_setup(settings, fills).chains is fills
        covered = [day for day in (DAY, NEXT, LATER) if fills.covers(day, session_close(day))]
        assert covered == [DAY]
        assert not fills.covers(DAY, session_open(DAY))
        legs = legs_for("bull_call_debit", 280.0, DAY + timedelta(days=3))
        (long, short) = fills.quotes(legs, DAY) or []
    assert long.kind == short.kind == "chain"
    assert long.ask - long.bid == pytest.approx(0.04)
    assert long.mid > short.mid


@pytest.mark.slow
def test_a_snapshot_of_the_lake_knows_only_what_was_written_before(settings: Settings) -> None:
    with Warehouse.open(settings) as lake:
        lake.ensure(TABLES[QUOTES])
        before = lake.snapshot_id()
    plant(settings, DAY, options_close(DAY))
    with Warehouse.open(settings) as lake:
        assert account.chain_fills(lake, settings, snapshot=before) is None
        after = account.chain_fills(lake, settings, snapshot=lake.snapshot_id())
        assert after is not None
        assert after.covers(DAY, session_close(DAY))
