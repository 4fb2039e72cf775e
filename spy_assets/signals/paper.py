"""The paper account behind live and replayed signals: decide session by session, fill by simulator.

The account is not stored: it is the simulator's, rebuilt from the recorded decisions, so that the state
which a model sees live is computed by the code that it was trained on. The first decision for a
session stands; a later replay of it may only confirm it.

What a session may see is what was available at its decision time. Where a row was revised later, the
market is rebuilt for the sessions before the revision; otherwise one walk serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from spy_assets.evaluation.backtest import COST_KINDS, BacktestResult, Decision
from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.sessions import decision_time
from spy_assets.signals.build import (
    AccountInput,
    ChampionPolicy,
    Desk,
    MarketInput,
    build_signal,
)
from spy_assets.signals.champion import Champion, champion_effective_at
from spy_assets.signals.contract import MarketView, Signal
from spy_assets.signals.risk import AccountState, Conditions
from spy_assets.simulator.actions import HOLD, N_ACTIONS
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.market_path import MarketPath


@dataclass(frozen=True)
class Recorded:
    """A decision that stands in the ledger."""

    session: date
    action: int
    size: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Recorded:
        """Read the columns of ``ledger.signals``."""
        return cls(row["session"], int(row["action"]), int(row["size"] or 0))


@dataclass
class SignalSize:
    """Units of the next entry, as its signal says; the simulator asks for them."""

    units: int = 1

    def __call__(self, *, value: float, available: float, max_loss: float) -> int:  # noqa: ARG002
        """Give the units of the signal that is being filled."""
        return max(1, self.units)


@dataclass(frozen=True)
class PaperSetup:
    """What a paper account starts with."""

    symbol: str
    source: str
    desk: Desk
    capital: float
    config: DailyConfig = field(default_factory=DailyConfig)


class PaperAccount:
    """One simulated account walked along the market by recorded decisions.

    Parameters
    ----------
    rows
        Rows of ``features.daily_15`` of one symbol, one per session, with prices.
    setup
        Capital, costs, exit rules.
    """

    def __init__(self, rows: pl.DataFrame, setup: PaperSetup) -> None:
        self._size = SignalSize()
        self.path = MarketPath.from_frame(rows)
        self.simulator = DailySimulator(
            self.path,
            setup.desk.costs,
            setup.desk.rules,
            setup.capital,
            config=replace(setup.config, sizing=self._size),
            close_at_end=False,
        )
        self.peak = setup.capital
        self._equity = [setup.capital]
        self._decisions: list[Decision] = []

    def decide(self, action: int, size: int) -> None:
        """Queue the decision of the present session and walk to the next, if there is one."""
        self._size.units = size
        simulator = self.simulator
        allowed = tuple(int(one) for one in np.flatnonzero(simulator.mask()))
        self._decisions.append(Decision(simulator.session, action, action, allowed))
        if simulator.done:
            simulator.decide(action)
            return
        simulator.step(action)
        self._equity.append(simulator.value)
        self.peak = max(self.peak, simulator.value)

    def walk_to(self, session: date, recorded: Mapping[date, Recorded]) -> None:
        """Follow the recorded decisions up to the close of ``session``; none recorded is HOLD."""
        while self._next_session() <= session:
            known = recorded.get(self.simulator.session)
            self.decide(known.action if known else HOLD, known.size if known else 1)

    def _next_session(self) -> date:
        """The session that a step would enter: one after the day asked for is not stepped into."""
        simulator = self.simulator
        return date.max if simulator.done else self.path.sessions[simulator.index + 1]

    def finish(self, recorded: Mapping[date, Recorded]) -> None:
        """Follow the recorded decisions to the end of the market."""
        self.walk_to(self.path.sessions[-1], recorded)

    def result(self, name: str) -> BacktestResult:
        """The walk so far as a backtest, to stand beside baselines; an open position is marked."""
        costs = -sum(entry.amount for entry in self.simulator.ledger if entry.kind in COST_KINDS)
        return BacktestResult(
            name=name,
            sessions=self.path.sessions[1 : len(self._equity)],
            equity=np.array(self._equity, dtype=np.float64),
            trades=tuple(self.simulator.trades),
            decisions=tuple(self._decisions[: len(self._equity) - 1]),
            costs=costs,
        )

    def as_input(self) -> AccountInput:
        """The account as the model and the risk rules see it."""
        simulator = self.simulator
        names = DAILY_15_PROXY_V1.portfolio_names
        position = simulator.position
        return AccountInput(
            portfolio=dict(zip(names, simulator.portfolio(), strict=True)),
            mask=simulator.mask(),
            state=AccountState(
                cash=simulator.account.available,
                equity=simulator.value,
                peak_equity=self.peak,
                open_positions=0 if position is None else 1,
            ),
            held=() if position is None else position.legs,
            held_structure="" if position is None else position.structure,
            held_quantity=0 if position is None else position.quantity,
        )


PolicyOf = Callable[[Champion], ChampionPolicy]


@dataclass(frozen=True)
class World:
    """What holds for all sessions of one run, apart from the market."""

    kill_switch: str | None = None
    clock_skew_s: float | None = None
    outage: str | None = None


@dataclass(frozen=True)
class Book:
    """What the ledger and the registry know before the run."""

    recorded: Mapping[date, Recorded]
    promotions: Sequence[Mapping[str, Any]]
    policy_of: PolicyOf
    purge_sessions: int
    lake_snapshot: int | None = None


def decide_sessions(
    versions: pl.DataFrame,
    regimes: pl.DataFrame,
    sessions: Iterable[date],
    book: Book,
    setup: PaperSetup,
    world: World,
) -> list[Signal]:
    """Decide for each session in order, each on what was known at its decision time.

    Parameters
    ----------
    versions
        All versions of ``features.daily_15`` of one symbol, with ``available_at``.
    regimes
        All versions of ``features.regime`` of the symbol.
    sessions
        Sessions to decide for; those already in ``book.recorded`` are decided again, from the
        account as it was, and their record stays what later sessions follow.
    """
    days = sorted(sessions)
    recorded = dict(book.recorded)
    first = min([*days, *recorded], default=date.max)
    if not days:
        return []
    signals = []
    common = _account(known_at(versions, decision_time(days[-1]), first), setup)
    for day in days:
        known = known_at(versions, decision_time(day), first)
        walk = _account(known, setup) if _revised_later(versions, day, first) else common
        regime = _regime(regimes, day)
        signal = _decide_one(walk, known, regime, day, recorded, book, setup, world)
        signals.append(signal)
        recorded.setdefault(day, Recorded(day, signal.action, signal.size))
    return signals


def known_at(versions: pl.DataFrame, moment: datetime, first: date) -> pl.DataFrame:
    """The last version of each session from ``first`` on that was available at ``moment``."""
    return (
        versions.filter((pl.col("available_at") <= moment) & (pl.col("session") >= first))
        .sort("session", "available_at")
        .unique("session", keep="last", maintain_order=True)
    )


def settle(
    versions: pl.DataFrame,
    recorded: Mapping[date, Recorded],
    through: date,
    setup: PaperSetup,
) -> PaperAccount | None:
    """The account after the close of ``through``, or None before the first decision."""
    if not recorded:
        return None
    rows = known_at(versions, decision_time(through), min(recorded))
    account = _account(rows, setup)
    if account is not None:
        account.finish(recorded)
    return account


def _account(rows: pl.DataFrame, setup: PaperSetup) -> PaperAccount | None:
    priced = rows.filter(pl.col("open").is_not_null() & pl.col("close").is_not_null())
    return None if priced.is_empty() else PaperAccount(priced, setup)


def _revised_later(versions: pl.DataFrame, day: date, first: date) -> bool:
    """Whether a row that ``day`` sees was to be replaced after its decision."""
    seen = versions.filter((pl.col("session") >= first) & (pl.col("session") <= day))
    return seen.filter(pl.col("available_at") > decision_time(day)).height > 0


def _regime(regimes: pl.DataFrame, day: date) -> str | None:
    rows = known_at(regimes, decision_time(day), day).filter(pl.col("session") == day)
    return None if rows.is_empty() else rows.row(0, named=True)["regime"]


def _decide_one(
    account: PaperAccount | None,
    known: pl.DataFrame,
    regime: str | None,
    day: date,
    recorded: Mapping[date, Recorded],
    book: Book,
    setup: PaperSetup,
    world: World,
) -> Signal:
    moment = decision_time(day)
    if account is None:
        account_input = empty_account(setup)
    else:
        account.walk_to(day, recorded)
        account_input = account.as_input()
    champion = champion_effective_at(book.promotions, moment, book.purge_sessions)
    rows = known.filter(pl.col("session") == day)
    row = None if rows.is_empty() else rows.row(0, named=True)
    conditions = Conditions(
        session=day,
        newest_session=None if known.is_empty() else known["session"].max(),  # type: ignore[arg-type]
        model_train_end=None if champion is None else champion.train_end,
        kill_switch=world.kill_switch,
        clock_skew_s=world.clock_skew_s,
        outage=world.outage,
    )
    return build_signal(
        market_input(row, regime, day, setup),
        account_input,
        None if champion is None else book.policy_of(champion),
        conditions,
        setup.desk,
        lake_snapshot=book.lake_snapshot,
    )


def empty_account(setup: PaperSetup) -> AccountInput:
    """The account before its first session: cash, nothing open, only HOLD allowed."""
    mask = np.zeros(N_ACTIONS, dtype=np.bool_)
    mask[HOLD] = True
    names = DAILY_15_PROXY_V1.portfolio_names
    return AccountInput(
        portfolio=dict(zip(names, (0.5, 0.0, 0.0, 0.5, 0.0), strict=True)),
        mask=mask,
        state=AccountState(setup.capital, setup.capital, setup.capital),
    )


def market_input(
    row: Mapping[str, Any] | None, regime: str | None, day: date, setup: PaperSetup
) -> MarketInput:
    """The market of a session as a signal sees it, from its row of ``features.daily_15``."""
    get = (row or {}).get
    vix = get("vix_close")
    iv = None if vix is None else vix / 100.0
    return MarketInput(
        symbol=setup.symbol,
        session=day,
        as_of=decision_time(day),
        source=setup.source,
        row=row,
        spot=get("close"),
        vix=iv,
        rate=get("rate"),
        regime=regime,
        view=MarketView(
            spot=get("close"),
            iv=iv,
            iv_rank=_times(get("iv_rank"), 100.0),
            rsi14=_times(get("rsi14"), 100.0),
            macd_hist=_unscaled(get("macd_hist"), 10.0, 0.5),
            put_call=_unscaled(get("pcr"), 3.0),
            volume_surge=_unscaled(get("volume_surge"), 5.0),
        ),
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _unscaled(value: float | None, factor: float, offset: float = 0.0) -> float | None:
    """The raw value behind a scaled dimension; None at the ends, where it may have been clipped."""
    if value is None or not 0.0 < value < 1.0:
        return None
    return (value - offset) * factor
