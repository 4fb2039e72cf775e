"""The risk layer: ordered rules with ids, one verdict each, the same in backtest, paper and live.

A rule may block an entry; it never blocks an exit. So :func:`assess` answers CLOSE with a pass from
every rule, whatever the state of the world, and HOLD has nothing to block: its rules are shown for
the reader. Rules in order:

    kill_switch       the latch file exists: an operator put it there, and takes it away
    drawdown_halt     equity was over 10 % under its peak (S1-50), and nobody has cleared the halt
    clock_skew        this machine's clock is off by more than 2 s
    source_outage     the source is known to be down beyond its limit
    stale_data        the newest market row is of an older session than the decision needs
    data_quality      a flag says that an input is not what it should be
    stale_model       the champion's training ended too long ago
    session_window    first and last 30 minutes of the session, intraday only (S1-20, C-08)
    max_positions     no room for a further position; those whose exit is due count until it fills
    min_confidence    the model is less sure than the setting asks (default 0: off)
    sizing            strictest of 2 % of equity, free cash, cap; floor one unit (S0-46, C-06)
    affordability     free cash covers what all units need, costs and margin included

The drawdown halt is a latch. It closes at the first session close at which equity lies over the limit
under its peak, and stays closed when equity recovers, over restarts and rebuilds too: it is read off
the equity curve of the account, which is rebuilt from the ledger, and stored nowhere else. A person
opens it by naming a session; the peak is counted anew from the close of that one, so that the halt
closes again when as much is lost again. A backtest has no such person: there it ends the entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import EntryFilter
from spy_assets.sessions import sessions_apart
from spy_assets.signals.contract import NOT_ENTRIES, RiskVerdict, RuleVerdict
from spy_assets.simulator.book import UnitLimits
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.session_filter import SessionFilter


@dataclass(frozen=True)
class RiskLimits:
    """Every knob of the risk layer. Fractions are decimals, money is in dollars."""

    max_drawdown: float = 0.10
    max_clock_skew_s: float = 2.0
    max_staleness_sessions: int = 1
    max_model_age_sessions: int = 189
    max_positions: int = 1
    risk_fraction: float = 0.02
    min_contracts: int = 1
    max_contracts: int = 10
    min_confidence: float = 0.0
    session_edge_minutes: int = 30
    blocking_flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [
            f"{name}={value}"
            for name, value in (
                ("max_drawdown", self.max_drawdown),
                ("risk_fraction", self.risk_fraction),
                ("min_confidence", self.min_confidence),
            )
            if not 0 <= value <= 1
        ]
        if self.max_positions < 1:
            wrong.append(f"max_positions={self.max_positions} < 1")
        if not 0 <= self.min_contracts <= self.max_contracts:
            wrong.append(f"min_contracts={self.min_contracts} > max_contracts={self.max_contracts}")
        if wrong:
            raise ConfigError(
                f"risk limits out of range: {', '.join(wrong)}",
                hint="fractions lie in [0, 1]; 0 <= min_contracts <= max_contracts; 1 <= max_positions",
            )


@dataclass(frozen=True)
class Conditions:
    """The state of the world around a decision, as far as risk rules look at it.

    ``newest_session`` is the session of the newest market row seen, ``model_train_end`` the last
    session the model was trained on; ``None`` means that there is none. ``outage`` describes an
    outage that outlasted its limit. ``minutes_since_open``/``minutes_to_close`` are given intraday
    only.
    """

    session: date
    newest_session: date | None
    model_train_end: date | None = None
    kill_switch: str | None = None
    clock_skew_s: float | None = None
    outage: str | None = None
    quality_flags: tuple[str, ...] = ()
    minutes_since_open: float | None = None
    minutes_to_close: float | None = None


@dataclass(frozen=True)
class AccountState:
    """Dollars: ``cash`` is free of margin, ``equity`` marked, ``peak_equity`` its maximum.

    ``worst_drawdown`` is the deepest fall below the peak at any close since the account began, or
    since a halt was cleared, as a decimal.
    """

    cash: float
    equity: float
    peak_equity: float
    open_positions: int = 0
    worst_drawdown: float = 0.0


class Watermark:
    """Peak of an equity curve and the deepest fall below it, close by close.

    >>> mark = Watermark(100.0)
    >>> for equity in (110.0, 88.0, 120.0):
    ...     mark.add(equity)
    >>> mark.peak, round(mark.worst, 2)
    (120.0, 0.2)
    """

    def __init__(self, equity: float) -> None:
        self.peak = equity
        self.worst = 0.0

    def add(self, equity: float) -> None:
        """Take in the equity of the next close, dollars."""
        self.peak = max(self.peak, equity)
        self.worst = max(self.worst, _fall(equity, self.peak))

    @classmethod
    def of(cls, curve: Sequence[float]) -> Watermark:
        """Read a whole curve."""
        mark = cls(curve[0])
        for equity in curve[1:]:
            mark.add(equity)
        return mark


@dataclass(frozen=True)
class Proposal:
    """What the policy wants.

    ``requirement`` is the free cash in dollars that one unit needs, costs and margin included: what
    it can lose.
    """

    action_name: str
    confidence: float | None = None
    requirement: float | None = None

    @property
    def is_entry(self) -> bool:
        """True for everything that opens a position."""
        return self.action_name not in NOT_ENTRIES


@dataclass(frozen=True)
class _Case:
    limits: RiskLimits
    conditions: Conditions
    account: AccountState
    proposal: Proposal


Rule = Callable[[_Case], tuple[bool, str]]


def assess(
    proposal: Proposal, account: AccountState, conditions: Conditions, limits: RiskLimits
) -> RiskVerdict:
    """Every rule's verdict in order, and the number of units that an entry may have.

    Exits are always allowed. ``size`` is 0 unless the proposal is an entry that all rules pass.
    """
    if proposal.action_name == "CLOSE":
        passed = tuple(
            RuleVerdict(rule=name, passed=True, detail="exit: never blocked") for name in RULES
        )
        return RiskVerdict(allowed=True, size=0, rules=passed)
    case = _Case(limits, conditions, account, proposal)
    rules = []
    for name, rule in RULES.items():
        passed_rule, detail = rule(case)
        rules.append(RuleVerdict(rule=name, passed=passed_rule, detail=detail))
    clear = all(rule.passed for rule in rules)
    if not proposal.is_entry:
        return RiskVerdict(allowed=True, size=0, rules=tuple(rules))
    return RiskVerdict(allowed=clear, size=units(case) if clear else 0, rules=tuple(rules))


@dataclass(frozen=True)
class RiskSizing:
    """The sizing of the risk layer as the simulator's ``Sizing``, so that both give one number.

    Units by the strictest of: risk budget over loss, free cash over loss, ``max_contracts``. The
    floor ``min_contracts`` is the seed's own ("contracts = capital·2 % / max loss, min 1"); with a
    floor of 0 a structure that risks more than the budget is not opened at all.
    """

    limits: RiskLimits

    def __call__(self, *, value: float, available: float, max_loss: float) -> int:
        """Give the units for one that can lose ``max_loss`` dollars; 0 if that is not a loss."""
        if not (math.isfinite(max_loss) and max_loss > 0):
            return 0
        limits = self.limits
        budget = limits.risk_fraction * value
        strictest = min(budget // max_loss, max(0.0, available) // max_loss, limits.max_contracts)
        return max(limits.min_contracts, int(max(0.0, strictest)))

    def unit_limits(self) -> UnitLimits:
        """Write the rule as numbers, for the batched engine."""
        limits = self.limits
        return UnitLimits(limits.risk_fraction, limits.min_contracts, limits.max_contracts, 0.0)


def units(case: _Case) -> int:
    """Give the units of the proposal, 0 if its loss is not known."""
    loss, account = case.proposal.requirement, case.account
    if loss is None:
        return 0
    return RiskSizing(case.limits)(value=account.equity, available=account.cash, max_loss=loss)


def risk_filter(limits: RiskLimits, *, train_end: date | None = None) -> EntryFilter:
    """Make the filter by which a backtest obeys the same rules as a live signal.

    ``train_end`` is the last session that the policy was trained on, for ``stale_model``.
    Confidence is not known to the simulator, so that ``min_confidence`` must be 0.

    Raises
    ------
    ConfigError
        If a confidence floor is set.
    """
    if limits.min_confidence > 0:
        raise ConfigError(
            f"min_confidence={limits.min_confidence} cannot be checked in a backtest of actions",
            hint="set it to 0, or filter inside the strategy",
        )

    def allows(simulator: DailySimulator, action: int, equity: Sequence[float]) -> bool:
        conditions = Conditions(simulator.session, simulator.session, train_end)
        mark = Watermark.of(equity)
        account = AccountState(
            cash=simulator.account.available,
            equity=simulator.value,
            peak_equity=mark.peak,
            open_positions=len(simulator.account.positions),
            worst_drawdown=mark.worst,
        )
        loss = float(simulator.book.requirement[simulator.index, action])
        proposal = Proposal(simulator.actions.names[action], requirement=loss)
        return assess(proposal, account, conditions, limits).allowed

    return allows


def drawdown(account: AccountState) -> float:
    """Fall of equity below its peak as a decimal, 0 at the peak."""
    return _fall(account.equity, account.peak_equity)


def _fall(equity: float, peak: float) -> float:
    return max(0.0, 1.0 - equity / peak) if peak > 0 else 0.0


def _kill_switch(case: _Case) -> tuple[bool, str]:
    latch = case.conditions.kill_switch
    return latch is None, "not set" if latch is None else f"set: {latch}"


def _drawdown_halt(case: _Case) -> tuple[bool, str]:
    fall, limit = drawdown(case.account), case.limits.max_drawdown
    worst = max(fall, case.account.worst_drawdown)
    if worst <= limit:
        return True, f"drawdown {fall:.2%}, limit {limit:.2%}"
    return False, (
        f"drawdown {fall:.2%}, at worst {worst:.2%}, limit {limit:.2%}; halted until a person clears it"
    )


def _clock_skew(case: _Case) -> tuple[bool, str]:
    skew, limit = case.conditions.clock_skew_s, case.limits.max_clock_skew_s
    if skew is None:
        return True, "not measured (replay)"
    return math.isfinite(skew) and abs(
        skew
    ) <= limit, f"clock off by {skew:.1f} s, limit {limit:.1f} s"


def _source_outage(case: _Case) -> tuple[bool, str]:
    outage = case.conditions.outage
    return outage is None, "no outage is reported" if outage is None else outage


def _stale_data(case: _Case) -> tuple[bool, str]:
    newest, session = case.conditions.newest_session, case.conditions.session
    if newest is None:
        return False, f"no market row for {session}"
    if newest >= session:
        return True, f"newest row is of {newest}"
    age = sessions_apart(newest, session)
    passed = age <= case.limits.max_staleness_sessions
    return passed, f"newest row is of {newest}, {age} session(s) before {session}"


def _data_quality(case: _Case) -> tuple[bool, str]:
    blocking = set(case.limits.blocking_flags)
    found = sorted(flag for flag in case.conditions.quality_flags if flag.split(":")[0] in blocking)
    return not found, f"blocking flags: {', '.join(found)}" if found else "no blocking flag"


def _stale_model(case: _Case) -> tuple[bool, str]:
    trained, limit = case.conditions.model_train_end, case.limits.max_model_age_sessions
    if trained is None:
        return True, "no model"
    session = case.conditions.session
    age = max(0, sessions_apart(trained, session))
    return age <= limit, f"trained through {trained}, {age} sessions ago, limit {limit}"


def _session_window(case: _Case) -> tuple[bool, str]:
    since, to_close = case.conditions.minutes_since_open, case.conditions.minutes_to_close
    edge = case.limits.session_edge_minutes
    if since is None or to_close is None:
        return True, "decided after the close"
    passed = SessionFilter(edge, edge).blocks(since, to_close) is None
    return passed, f"{since:.0f} min after open, {to_close:.0f} min to close, edge {edge} min"


def _max_positions(case: _Case) -> tuple[bool, str]:
    count, limit = case.account.open_positions, case.limits.max_positions
    if not case.proposal.is_entry:
        return True, f"{count} open of {limit}"
    return count < limit, f"{count} open of {limit}"


def _min_confidence(case: _Case) -> tuple[bool, str]:
    floor, confidence = case.limits.min_confidence, case.proposal.confidence
    if not case.proposal.is_entry or floor <= 0:
        return True, "no floor set" if floor <= 0 else "no entry"
    if confidence is None:
        return False, f"no confidence given, floor {floor:.2f}"
    return confidence >= floor, f"confidence {confidence:.3f}, floor {floor:.3f}"


def _sizing(case: _Case) -> tuple[bool, str]:
    if not case.proposal.is_entry:
        return True, "no entry"
    loss, size = case.proposal.requirement, units(case)
    if loss is None or not math.isfinite(loss):
        return False, f"one unit can lose {loss}: cannot be sized"
    budget = case.limits.risk_fraction * case.account.equity
    over = " (floor applies: risks more than the budget)" if size * loss > budget else ""
    return size > 0, f"{size} unit(s): budget ${budget:.2f}, one unit can lose ${loss:.2f}{over}"


def _affordability(case: _Case) -> tuple[bool, str]:
    if not case.proposal.is_entry:
        return True, "no entry"
    loss = case.proposal.requirement
    if loss is None or not math.isfinite(loss):
        return False, f"one unit needs {loss}: cannot be afforded"
    need = max(1, units(case)) * loss
    return need <= case.account.cash, f"needs ${need:.2f}, free cash ${case.account.cash:.2f}"


RULES: Final[dict[str, Rule]] = {
    "kill_switch": _kill_switch,
    "drawdown_halt": _drawdown_halt,
    "clock_skew": _clock_skew,
    "source_outage": _source_outage,
    "stale_data": _stale_data,
    "data_quality": _data_quality,
    "stale_model": _stale_model,
    "session_window": _session_window,
    "max_positions": _max_positions,
    "min_confidence": _min_confidence,
    "sizing": _sizing,
    "affordability": _affordability,
}
