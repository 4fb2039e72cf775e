"""The paper account behind live and replayed signals: decide session by session, fill by simulator.

The account is not stored: it is the simulator's, rebuilt from the recorded decisions, so that the state
which a model sees live is computed by the code that it was trained on. The first decision for a
session stands; a later replay of it may only confirm it.

What a session may see is what was available at its decision time. Where a row was revised later, the
market is rebuilt for the sessions before the revision; otherwise one walk serves all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spy_assets.errors import ModelError
from spy_assets.evaluation.backtest import COST_KINDS, BacktestResult, Decision
from spy_assets.features.chain_observation import with_chain
from spy_assets.features.contracts import CONTRACTS, ObservationContract
from spy_assets.features.observation import portfolio_dimensions
from spy_assets.features.versions import last_of_each_session, oldest_first
from spy_assets.sessions import decision_time
from spy_assets.signals.build import (
    AccountInput,
    ChampionPolicy,
    Desk,
    MarketInput,
    build_signal,
)
from spy_assets.signals.calibration import MIN_TRADES, Calibration, calibrate
from spy_assets.signals.champion import Champion, champion_effective_at
from spy_assets.signals.contract import MarketView, Signal
from spy_assets.signals.recorded import Numbers, Recorded
from spy_assets.signals.risk import AccountState, Conditions, Watermark
from spy_assets.signals.setup import Held
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.chain_fills import ChainFills, QuotedBook
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.market_path import MarketPath

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class SignalSize:
    """Units of the next entry, as its signal says; the simulator asks for them."""

    units: int = 1

    def __call__(self, *, value: float, available: float, max_loss: float) -> int:  # noqa: ARG002
        """Give the units of the signal that is being filled."""
        return max(1, self.units)


@dataclass(frozen=True)
class PaperSetup:
    """What a paper account starts with.

    ``cleared`` are the sessions from whose close on a person has let entries be made again after a
    drawdown halt; ``calibrate_from`` is the number of closed trades that calibrate the confidence.
    ``chains`` are real quotes that take the place of the surface where they are of a fill's moment.
    """

    symbol: str
    source: str
    desk: Desk
    capital: float
    config: DailyConfig = field(default_factory=DailyConfig)
    cleared: tuple[date, ...] = ()
    calibrate_from: int = MIN_TRADES
    chains: ChainFills | None = None

    def digest(self, purge_sessions: int) -> str:
        """Sixteen hex digits of a SHA-256 over all settings that decide with the model."""
        desk = self.desk
        parts = (desk.limits, desk.costs, desk.rules, desk.config, self.config, self.capital)
        text = "|".join([*map(repr, parts), desk.contract.sha256, str(purge_sessions)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class PaperAccount:
    """One simulated account walked along the market by recorded decisions.

    Parameters
    ----------
    rows
        Rows of ``features.daily_15`` of one symbol, one per session, with prices.
    setup
        Capital, costs, exit rules.
    mandates
        Those of the decisions that it will follow.
    """

    def __init__(
        self, rows: pl.DataFrame, setup: PaperSetup, mandates: Iterable[str | None] = ()
    ) -> None:
        self._size = SignalSize()
        self._numbers = Numbers(setup.config, mandates)
        path = MarketPath.from_frame(rows)
        # Whether an observation is complete is asked where it is decided, by the model's own contract.
        self.path = replace(path, valid=np.isfinite(path.iv_close) & np.isfinite(path.rate))
        self.simulator = DailySimulator(
            self.path,
            setup.desk.costs,
            setup.desk.rules,
            setup.capital,
            close_at_end=False,
            book=self._book(setup),
        )
        self.mark = Watermark(setup.capital)
        self._cleared = frozenset(setup.cleared)
        self._calibrate_from = setup.calibrate_from
        self._equity = [setup.capital]
        self._decisions: list[Decision] = []

    def _book(self, setup: PaperSetup) -> PathBook:
        config, costs = replace(self._numbers.config, sizing=self._size), setup.desk.costs
        if setup.chains is None:
            return PathBook(self.path, costs, config)
        return QuotedBook(self.path, costs, config, setup.chains)

    def decide(self, action: int, size: int) -> None:
        """Queue the decision of the present session and walk to the next, if there is one.

        The number is one of the account's, whose own openings have the numbers of the settings' map.
        """
        self._size.units = size
        simulator = self.simulator
        allowed = tuple(int(one) for one in np.flatnonzero(simulator.mask()))
        self._decisions.append(Decision(simulator.session, action, action, allowed))
        if simulator.done:
            simulator.decide(action)
            return
        before = simulator.session
        simulator.step(action)
        self._equity.append(simulator.value)
        self.mark.add(simulator.value)
        if any(before < day <= simulator.session for day in self._cleared):
            self.mark = Watermark(simulator.value)

    def walk_to(self, session: date, recorded: Mapping[date, Recorded]) -> None:
        """Follow the recorded decisions up to the close of ``session``; none recorded is HOLD."""
        while self._next_session() <= session:
            known = recorded.get(self.simulator.session)
            if known is None:
                self.decide(self.simulator.actions.hold, 1)
            else:
                self.decide(self._numbers.number(known), known.size)

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
            actions=self.simulator.actions,
        )

    def calibration(self, recorded: Mapping[date, Recorded]) -> Calibration | None:
        """What the trades that closed so far say about the policy's probabilities."""
        decided = [(recorded.get(trade.decision_session), trade) for trade in self.simulator.trades]
        return calibrate(
            [
                (known.probability, trade.pnl > 0)
                for known, trade in decided
                if known is not None and known.probability is not None
            ],
            min_trades=self._calibrate_from,
        )

    def as_input(self) -> AccountInput:
        """The account as the model and the risk rules see it."""
        simulator = self.simulator
        positions = simulator.positions
        return AccountInput(
            portfolio=simulator.portfolio(),
            mask=self._numbers.own_mask(simulator.mask(), len(positions)),
            state=AccountState(
                cash=simulator.account.available,
                equity=simulator.value,
                peak_equity=self.mark.peak,
                open_positions=len(positions),
                worst_drawdown=self.mark.worst,
            ),
            held=tuple(Held(one.legs, one.structure, one.quantity) for one in positions),
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


@dataclass(frozen=True)
class MarketHistory:
    """All versions of what decisions look at, of one symbol, with ``available_at``.

    Attributes
    ----------
    observations
        Rows of ``features.daily_15``.
    regimes
        Rows of ``features.regime``.
    raw
        Rows of ``features.market_daily``, for the values that are shown; None shows none of them.
    flags
        Data-quality flags of a session; see the risk rule ``data_quality``.
    chains
        Gives the rows of ``features.chain``; asked only for a contract that needs them.
    """

    observations: pl.DataFrame
    regimes: pl.DataFrame
    raw: pl.DataFrame | None = None
    flags: Mapping[date, tuple[str, ...]] = field(default_factory=dict)
    chains: Callable[[], pl.DataFrame] | None = None


def decide_sessions(
    history: MarketHistory,
    sessions: Iterable[date],
    book: Book,
    setup: PaperSetup,
    world: World,
) -> list[Signal]:
    """Decide for each session in order, each on what was known at its decision time.

    Sessions that are in ``book.recorded`` are decided again, from the account as it was; their record
    stays what later sessions follow.
    """
    days = sorted(sessions)
    recorded = dict(book.recorded)
    first = min([*days, *recorded], default=date.max)
    if not days:
        return []
    signals = []
    market, moods = Versions(history.observations), Versions(history.regimes)
    raw = None if history.raw is None else Versions(history.raw)
    chains = ChainRows(market, history.chains)
    common = _account(market.known_at(decision_time(days[-1]), first), setup, recorded)
    for day in days:
        moment = decision_time(day)
        revised = market.revised_later(day, first)
        walk = _account(market.known_at(moment, first), setup, recorded) if revised else common
        mood = moods.row(day, moment)
        seen = Seen(
            row=market.row(day, moment),
            raw=None if raw is None else raw.row(day, moment),
            newest=market.newest(moment, first),
            regime=None if mood is None else mood["regime"],
            flags=history.flags.get(day, ()),
            with_chain=partial(chains.row, day, moment),
        )
        signal = _decide_one(walk, seen, day, recorded, book, setup, world)
        signals.append(signal)
        recorded.setdefault(day, Recorded.of(signal))
    return signals


@dataclass(frozen=True)
class Seen:
    """What the market shows at a decision: the session's rows, the newest session, regime, flags."""

    row: Mapping[str, Any] | None
    raw: Mapping[str, Any] | None
    newest: date | None
    regime: str | None
    flags: tuple[str, ...] = ()
    with_chain: Callable[[], Mapping[str, Any] | None] = lambda: None

    def observed(self, contract: ObservationContract) -> Mapping[str, Any] | None:
        """The session's row with the dimensions of a contract."""
        return self.with_chain() if contract.needs_chain else self.row


class Versions:
    """All versions of a symbol's rows, asked for many moments.

    Sorted once, and looked up in arrays: a filter of the whole frame per session would cost more
    than the decision itself.
    """

    def __init__(self, versions: pl.DataFrame) -> None:
        self._rows = oldest_first(versions)
        self._sessions = self._rows["session"].to_numpy().astype("datetime64[D]")
        self._available = _microseconds(self._rows["available_at"])

    def known_at(self, moment: datetime, first: date) -> pl.DataFrame:
        """See :func:`known_at`."""
        return known_at(self._rows, moment, first)

    def row(self, day: date, moment: datetime) -> dict[str, Any] | None:
        """The last version of a session's row that was available at ``moment``."""
        at = self._at(day, moment)
        return None if at is None else self._rows.row(at, named=True)

    def frame(self, day: date, moment: datetime) -> pl.DataFrame:
        """The row that :meth:`row` gives, as a frame of one row or none."""
        at = self._at(day, moment)
        return self._rows.clear() if at is None else self._rows.slice(at, 1)

    def _at(self, day: date, moment: datetime) -> int | None:
        start, end = np.searchsorted(self._sessions, [np.datetime64(day), np.datetime64(day) + 1])
        known = int(np.searchsorted(self._available[start:end], _microsecond(moment), "right"))
        return int(start) + known - 1 if known else None

    def newest(self, moment: datetime, first: date) -> date | None:
        """The last session from ``first`` on that has a row available at ``moment``."""
        start = int(np.searchsorted(self._sessions, np.datetime64(first)))
        known = np.flatnonzero(self._available[start:] <= _microsecond(moment))
        return self._sessions[start + int(known[-1])].item() if known.size else None

    def revised_later(self, day: date, first: date) -> bool:
        """Whether a row that ``day`` sees was to be replaced after its decision."""
        start, end = np.searchsorted(self._sessions, [np.datetime64(first), np.datetime64(day) + 1])
        return bool((self._available[start:end] > _microsecond(decision_time(day))).any())


class ChainRows:
    """Rows of `daily_15_chain_v1`; the chain's features are read when the first is asked for."""

    def __init__(self, market: Versions, chains: Callable[[], pl.DataFrame] | None) -> None:
        self._market = market
        self._read = chains

    @cached_property
    def _chains(self) -> Versions | None:
        return None if self._read is None else Versions(self._read())

    def row(self, day: date, moment: datetime) -> dict[str, Any] | None:
        """A session's row, of what was known of bars and chain at ``moment``."""
        daily = self._market.frame(day, moment)
        if daily.is_empty():
            return None
        chain = pl.DataFrame() if self._chains is None else self._chains.frame(day, moment)
        return with_chain(daily, chain).row(0, named=True)


def _microseconds(moments: pl.Series) -> NDArray[np.int64]:
    return moments.dt.epoch("us").to_numpy()


def _microsecond(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def known_at(versions: pl.DataFrame, moment: datetime, first: date) -> pl.DataFrame:
    """The last version of each session from ``first`` on that was available at ``moment``."""
    known = (pl.col("available_at") <= moment) & (pl.col("session") >= first)
    return last_of_each_session(versions.filter(known))


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
    account = _account(rows, setup, recorded)
    if account is not None:
        account.finish(recorded)
    return account


def _account(
    rows: pl.DataFrame, setup: PaperSetup, recorded: Mapping[date, Recorded]
) -> PaperAccount | None:
    priced = rows.filter(pl.col("open").is_not_null() & pl.col("close").is_not_null())
    if priced.is_empty():
        return None
    return PaperAccount(priced, setup, [one.mandate for one in recorded.values()])


def _decide_one(
    account: PaperAccount | None,
    seen: Seen,
    day: date,
    recorded: Mapping[date, Recorded],
    book: Book,
    setup: PaperSetup,
    world: World,
) -> Signal:
    moment = decision_time(day)
    calibration = None
    if account is None:
        account_input = empty_account(setup)
    else:
        account.walk_to(day, recorded)
        account_input = account.as_input()
        calibration = account.calibration(recorded)
    champion = champion_effective_at(book.promotions, moment, book.purge_sessions)
    policy = None if champion is None else _policy(champion, book, setup)
    desk = setup.desk if policy is None else replace(setup.desk, contract=_contract(policy, setup))
    conditions = Conditions(
        session=day,
        newest_session=seen.newest,
        model_train_end=None if champion is None else champion.train_end,
        kill_switch=world.kill_switch,
        clock_skew_s=world.clock_skew_s,
        outage=world.outage,
        quality_flags=seen.flags,
    )
    return build_signal(
        market_input(seen, day, setup, desk.contract),
        account_input,
        policy,
        conditions,
        desk,
        lake_snapshot=book.lake_snapshot,
        calibration=calibration,
        settings_digest=setup.digest(book.purge_sessions),
    )


def _policy(champion: Champion, book: Book, setup: PaperSetup) -> ChampionPolicy:
    """The champion's network; if it cannot be had, one whose signal holds and says why."""
    try:
        return book.policy_of(champion)
    except ModelError as error:
        own = setup.desk
        return ChampionPolicy.refusing(champion, error, own.contract, own.config.mandate)


def _contract(policy: ChampionPolicy, setup: PaperSetup) -> ObservationContract:
    """The contract that the policy was trained on, or the desk's own if this program has another.

    One of another account (an intraday one) the desk cannot fill: such a policy is refused.
    """
    known, own = CONTRACTS.get(policy.contract), setup.desk.contract
    if known is None or known.sha256 != policy.contract_sha256 or known.portfolio != own.portfolio:
        return own
    return known


def empty_account(setup: PaperSetup) -> AccountInput:
    """The account before its first session: cash, nothing open, only HOLD allowed."""
    actions = setup.config.actions
    mask = np.zeros(len(actions), dtype=np.bool_)
    mask[actions.hold] = True
    return AccountInput(
        portfolio=portfolio_dimensions(value=setup.capital, initial_capital=setup.capital),
        mask=mask,
        state=AccountState(setup.capital, setup.capital, setup.capital),
    )


def market_input(
    seen: Seen, day: date, setup: PaperSetup, contract: ObservationContract
) -> MarketInput:
    """The market of a session as a signal sees it: dimensions to decide by, raw values to show."""
    get, raw = (seen.row or {}).get, (seen.raw or {}).get
    vix = get("vix_close")
    iv = None if vix is None else vix / 100.0
    return MarketInput(
        symbol=setup.symbol,
        session=day,
        as_of=decision_time(day),
        source=setup.source,
        row=seen.observed(contract),
        spot=get("close"),
        vix=iv,
        rate=get("rate"),
        regime=seen.regime,
        view=MarketView(
            spot=get("close"),
            iv=iv,
            iv_rank=_times(get("iv_rank"), 100.0),
            rsi14=raw("rsi_cutler_14"),
            macd_hist=raw("macd_hist"),
            put_call=raw("down_up_volume_10"),
            volume_surge=raw("volume_ratio_20"),
        ),
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
