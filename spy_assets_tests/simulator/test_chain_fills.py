"""The daily clock at real quotes: at the close where a chain is stored, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import polars as pl
import pytest

from spy_assets.options.contracts import OptionContract
from spy_assets.options.expiries import options_close
from spy_assets.options.structures import Leg
from spy_assets.sessions import session_close, session_open
from spy_assets.simulator.actions import CLOSE, HOLD
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.chain_fills import ChainFills, QuotedBook, quote_kind_of
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.kernel import check_invariant
from spy_assets_tests.simulator.paths import path_of

PATH = path_of([200.0, 201.0, 202.0, 201.0, 200.0, 199.0])
DAYS = PATH.sessions
COSTS = CostModel("quotes", 0.0, 0.0, 0.07)
CONFIG = DailyConfig(fill="next_close")
BUY_CALL = 0


def rows(
    day: date, quotes: dict[str, tuple[float | None, float | None]], at: datetime | None = None
) -> pl.DataFrame:
    quoted = [(occ, at or options_close(day), *pair, "chain") for occ, pair in quotes.items()]
    names = ("occ", "quoted_at", "bid", "ask", "quote_kind")
    return pl.DataFrame(quoted, schema=names, orient="row")


def chains(told: dict[date, pl.DataFrame]) -> ChainFills:
    return ChainFills(told, told.__getitem__)


def bought(fills: ChainFills, config: DailyConfig = CONFIG) -> DailySimulator:
    """A call bought at the first session's decision, and sold two sessions later."""
    simulator = DailySimulator(PATH, book=QuotedBook(PATH, COSTS, config, fills))
    for action in (BUY_CALL, HOLD, CLOSE, HOLD):
        simulator.step(action)
    check_invariant(simulator.account)
    return simulator


def symbol(config: DailyConfig = CONFIG) -> str:
    simulator = DailySimulator(PATH, COSTS, config=config)
    simulator.step(BUY_CALL)
    assert simulator.position is not None
    return simulator.position.legs[0].symbol


def test_fills_at_a_close_are_at_the_chain_of_that_close():
    occ = symbol()
    quotes = {DAYS[1]: (4.0, 4.2), DAYS[2]: (4.5, 4.9), DAYS[3]: (3.0, 3.4)}
    simulator = bought(chains({day: rows(day, {occ: pair}) for day, pair in quotes.items()}))
    (trade,) = simulator.trades
    assert [fill.price for fill in trade.fills] == [4.2, 3.0]
    assert trade.pnl == pytest.approx(100.0 * (3.0 - 4.2))
    assert quote_kind_of(trade.fills) == "chain"
    marks = [entry.amount for entry in simulator.ledger if entry.kind == "mark"]
    # Bought at a mid of 4.10, marked again at that close, and at 4.70 a session later.
    assert marks[:3] == pytest.approx([410.0, 0.0, 60.0])


def test_without_a_chain_the_surface_fills_and_the_trade_is_mixed():
    occ = symbol()
    (trade,) = bought(chains({DAYS[1]: rows(DAYS[1], {occ: (4.0, 4.2)})})).trades
    assert [fill.quote_kind for fill in trade.fills] == ["chain", "surface"]
    assert quote_kind_of(trade.fills) == "mixed"


def test_the_chain_of_an_evening_is_none_for_the_open():
    config = replace(CONFIG, fill="next_open")
    occ = symbol(config)
    (trade,) = bought(chains({day: rows(day, {occ: (4.0, 4.2)}) for day in DAYS}), config).trades
    assert quote_kind_of(trade.fills) == "surface"
    plain = DailySimulator(PATH, COSTS, config=config)
    for action in (BUY_CALL, HOLD, CLOSE, HOLD):
        plain.step(action)
    assert trade.entry_value == plain.trades[0].entry_value


@pytest.mark.parametrize("pair", [(None, 4.2), (4.3, 4.2), (0.0, 0.0), None])
def test_a_leg_that_the_chain_does_not_quote_is_not_filled_at_the_surface(pair):
    occ = symbol()
    told = {"SPY   160108C00999000": (1.0, 1.1)} | ({} if pair is None else {occ: pair})
    simulator = DailySimulator(
        PATH, book=QuotedBook(PATH, COSTS, CONFIG, chains({DAYS[1]: rows(DAYS[1], told)}))
    )
    assert simulator.step(BUY_CALL).events == ("entry_not_priceable",)
    assert simulator.position is None


def test_a_session_is_read_once_and_only_if_it_has_a_chain():
    asked: list[date] = []

    def read(day: date) -> pl.DataFrame:
        asked.append(day)
        return rows(day, {})

    fills = ChainFills({DAYS[0]}, read)
    for day in (DAYS[0], DAYS[1], DAYS[0]):
        assert not fills.covers(day, session_close(day))
    assert asked == [DAYS[0]]


def test_a_snapshot_counts_within_its_tolerance():
    day, leg = DAYS[0], Leg(OptionContract("SPY", date(2016, 1, 8), "C", 200.0), 1)
    early = session_open(day) + timedelta(minutes=5)
    fills = chains({day: rows(day, {leg.symbol: (1.0, 1.2)}, at=early)})
    assert fills.covers(day, session_open(day))
    assert not fills.covers(day, session_close(day))
    (quote,) = fills.quotes([leg], day) or []
    assert (quote.mid, quote.bid, quote.ask, quote.kind) == (1.1, 1.0, 1.2, "chain")
    assert fills.quotes([leg], DAYS[1]) is None


def test_model_prices_in_the_rows_are_no_chain():
    day = DAYS[0]
    modelled = rows(day, {"SPY   160108C00200000": (1.0, 1.2)}).with_columns(
        quote_kind=pl.lit("surface")
    )
    assert not chains({day: modelled}).covers(day, session_close(day))
