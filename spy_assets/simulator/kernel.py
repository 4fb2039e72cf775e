r"""The accounting kernel: cash, positions, marks, and a ledger in which every movement is an entry.

The kernel knows no clock and no market: prices come in as arguments. Its invariant, for every
structure and at every moment, to 1e-9 dollars:

.. math::

    \Delta cash + \Delta marks = \sum_{trades} P\&L = \sum_{ledger} amount

A fill is entered as four movements of cash (premium at mid, spread, slippage, commission) and one
movement of value (mark), so that costs can be read off the ledger and no profit is booked twice.
Positions are marked at mid, all legs at their own strikes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, NamedTuple

from spy_assets.errors import DataError, SpyError
from spy_assets.options.contracts import MULTIPLIER
from spy_assets.options.structures import (
    Leg,
    RiskProfile,
    payoff_at_expiry,
    risk_profile,
    worst_payoff,
)
from spy_assets.options.surface import QuoteKind
from spy_assets.simulator.costs import CostModel

EntryKind = Literal["premium", "spread", "slippage", "commission", "settlement", "mark"]

#: What an uncovered short put sets aside: its strike, as a cash account must, or Reg-T margin.
ShortPuts = Literal["cash_secured", "reg_t"]
#: Shares of the underlying, and of the floor, in :func:`uncovered_margin`.
NAKED_RATE = 0.20
NAKED_FLOOR = 0.10


class OrderRejected(SpyError):
    """An order that the account cannot carry; nothing was booked."""


class InvariantBroken(SpyError):
    """Cash, marks, trades and ledger do not reconcile."""


class LedgerEntry(NamedTuple):
    """One movement, dollars: positive is good for the account. ``mark`` entries move no cash."""

    session: date
    trade_id: int
    kind: EntryKind
    amount: float
    leg: str


@dataclass(frozen=True, slots=True)
class Fill:
    """One leg's execution: signed ``quantity`` of contracts at ``price`` dollars per share.

    ``spread``, ``slippage`` and ``commission`` are dollars for the whole leg, positive costs.
    """

    leg: Leg
    quantity: int
    price: float
    mid: float
    spread: float
    slippage: float
    commission: float
    session: date
    event_time: datetime
    quote_kind: QuoteKind

    @property
    def side(self) -> Literal["buy", "sell"]:
        """Whether contracts were bought or sold."""
        return "buy" if self.quantity > 0 else "sell"

    @property
    def value(self) -> float:
        """Dollars paid (positive) or received (negative), without commission."""
        return self.quantity * self.price * MULTIPLIER

    @property
    def costs(self) -> float:
        """Spread, slippage and commission of the leg, dollars."""
        return self.spread + self.slippage + self.commission


@dataclass(slots=True)
class Position:
    """An open structure.

    Attributes
    ----------
    entry_value
        Dollars paid for all units at the fill prices; negative is a credit.
    expiry
        First expiry among its legs.
    premium
        Sum of the cash at mid so far: minus what the legs cost without any trading costs.
    cash_flow
        Sum of all its cash entries so far.
    mark
        Present value at mid, dollars.
    margin
        Dollars of cash set aside for short legs.
    closes_held
        Closes at which it was open, that of the entry session included for a fill at the open.
    stale_marks
        Closes at which it could not be priced and the last mark was carried.
    """

    trade_id: int
    structure: str
    legs: tuple[Leg, ...]
    quantity: int
    entry_fills: tuple[Fill, ...]
    decision_session: date
    entry_session: date
    entry_time: datetime
    spot_entry: float
    entry_value: float
    margin: float
    risk: RiskProfile
    expiry: date
    premium: float = 0.0
    cash_flow: float = 0.0
    mark: float = 0.0
    closes_held: int = 0
    stale_marks: int = 0

    @property
    def pnl(self) -> float:
        """Dollars made so far, at the mark, after all costs so far."""
        return self.cash_flow + self.mark

    @property
    def basis(self) -> float:
        """Premium paid or received, dollars, at least one a unit: what exit rules measure in."""
        return max(abs(self.entry_value), float(self.quantity))

    @property
    def pnl_of_premium(self) -> float:
        """P&L over the premium paid (debit) or received (credit)."""
        return self.pnl / self.basis

    @property
    def capital_at_risk(self) -> float:
        """What all units can lose, dollars, at least one a unit.

        A debit risks the premium and the entry's commission; a credit the widest loss at expiry less
        the credit, and the commission; an unbounded loss counts with its margin.
        """
        loss = self.risk.max_loss * self.quantity
        return max(loss if math.isfinite(loss) else self.margin, float(self.quantity))

    @property
    def pnl_of_risk(self) -> float:
        """P&L over :attr:`capital_at_risk`."""
        return self.pnl / self.capital_at_risk


@dataclass(frozen=True, slots=True)
class Trade:
    """A closed position. Values in dollars for all units; ``pnl`` is after every cost.

    ``entry_value`` is what was paid (negative: received) at the fills, ``exit_value`` what the
    position gave back (negative: what it cost to close), both without commission. ``gross`` is the
    P&L at mid prices; ``pnl = gross - costs``; ``pnl_pct`` is ``pnl`` over the position's capital at
    risk. ``holding_sessions`` counts the closes held through.
    """

    trade_id: int
    structure: str
    legs: tuple[Leg, ...]
    quantity: int
    decision_session: date
    entry_session: date
    exit_session: date
    entry_time: datetime
    exit_time: datetime
    exit_reason: str
    entry_fills: tuple[Fill, ...]
    exit_fills: tuple[Fill, ...]
    entry_value: float
    exit_value: float
    gross: float
    costs: float
    pnl: float
    pnl_pct: float
    holding_sessions: int
    spot_entry: float
    spot_exit: float
    risk: RiskProfile
    stale_marks: int

    @property
    def fills(self) -> tuple[Fill, ...]:
        """All executions, entry first."""
        return self.entry_fills + self.exit_fills


@dataclass(slots=True)
class Account:
    """Cash, open positions, closed trades and the ledger of one account.

    ``cash`` is a compensated sum (Kahan 1965): ``cash_carry`` holds what rounding has left out, so
    that twenty years of entries still reconcile to 1e-9.
    """

    initial: float
    cash: float = field(init=False)
    cash_carry: float = 0.0
    positions: dict[int, Position] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    next_trade_id: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.initial) and self.initial > 0.0):
            raise DataError(f"initial capital {self.initial!r} is not a positive amount")
        self.cash = self.initial

    @property
    def marks(self) -> float:
        """Value of the open positions at their last marks, dollars."""
        return sum(position.mark for position in self.positions.values())

    @property
    def value(self) -> float:
        """Cash plus marks, dollars."""
        return self.cash + self.marks

    @property
    def available(self) -> float:
        """Cash that is not set aside as margin, dollars."""
        return self.cash - sum(position.margin for position in self.positions.values())

    def book(
        self, position: Position, session: date, kind: EntryKind, amount: float, leg: str = ""
    ) -> None:
        """Enter one movement; cash kinds also move cash, ``mark`` moves the position's value."""
        self.ledger.append(LedgerEntry(session, position.trade_id, kind, amount, leg))
        if kind == "mark":
            position.mark += amount
            return
        due = amount - self.cash_carry
        cash = self.cash + due
        self.cash_carry = (cash - self.cash) - due
        self.cash = cash
        position.cash_flow += amount
        if kind in ("premium", "settlement"):
            position.premium += amount


class Quote(NamedTuple):
    """What a leg is quoted at, dollars per share; bid and ask are None on a model surface."""

    mid: float
    bid: float | None = None
    ask: float | None = None
    kind: QuoteKind = "surface"


class Moment(NamedTuple):
    """When something is executed, and the underlying's price then."""

    session: date
    time: datetime
    spot: float


def fill_legs(
    legs: Sequence[Leg],
    quotes: Sequence[Quote],
    units: int,
    costs: CostModel,
    moment: Moment,
) -> tuple[Fill, ...]:
    """Execute ``units`` of the structure (negative units close it), each leg at its own quote."""
    fills = []
    for leg, quote in zip(legs, quotes, strict=True):
        quantity = leg.quantity * units
        side, contracts = (1 if quantity > 0 else -1), abs(quantity)
        priced = costs.fill(quote.mid, side, bid=quote.bid, ask=quote.ask)
        shares = contracts * MULTIPLIER
        fills.append(
            Fill(
                leg=leg,
                quantity=quantity,
                price=priced.price,
                mid=quote.mid,
                spread=priced.spread * shares,
                slippage=priced.slippage * shares,
                commission=costs.fees(contracts, side, priced.price, MULTIPLIER),
                session=moment.session,
                event_time=moment.time,
                quote_kind=quote.kind,
            )
        )
    return tuple(fills)


def uncovered_margin(leg: Leg, mid: float, spot: float) -> float:
    """Reg-T margin of an uncovered short leg, dollars a unit of its structure.

    Cboe Rule 10.3 (equity and ETF options; FINRA Rule 4210 has the same): the premium, and 20 % of the
    underlying less the amount out of the money, at least the premium and 10 % of the underlying for a
    call, of the strike for a put.
    """
    strike, is_call = leg.contract.strike, leg.contract.right == "C"
    away = max(0.0, strike - spot if is_call else spot - strike)
    floor = NAKED_FLOOR * (spot if is_call else strike)
    return leg.ratio * MULTIPLIER * (mid + max(NAKED_RATE * spot - away, floor))


def is_uncovered(legs: Sequence[Leg]) -> bool:
    """Whether more calls, or more puts, are sold than bought."""
    return any(
        sum(leg.quantity for leg in legs if leg.contract.right == right) < 0 for right in ("C", "P")
    )


def margin_required(
    legs: Sequence[Leg],
    quotes: Sequence[Quote],
    spot: float,
    *,
    allow_naked: bool = False,
    short_puts: ShortPuts = "cash_secured",
) -> float:
    """Dollars set aside per unit: the one rule of the daily and of the intraday clock.

    The worst payoff at expiry where that has a bound; an uncovered put's is its strike. Without a
    bound, and for uncovered puts under ``reg_t``, the margin of each short leg.

    Raises
    ------
    OrderRejected
        If margin is needed and ``allow_naked`` is not set.
    """
    worst = worst_payoff(legs)
    if math.isfinite(worst) and (short_puts == "cash_secured" or not is_uncovered(legs)):
        return -worst
    if not allow_naked:
        raise OrderRejected(
            f"{[leg.contract.display for leg in legs]} is uncovered: its loss has no bound, or only "
            "margin is set aside for it",
            hint="open a spread instead, or allow naked short options explicitly",
        )
    return sum(
        uncovered_margin(leg, quote.mid, spot)
        for leg, quote in zip(legs, quotes, strict=True)
        if leg.quantity < 0
    )


def _book_fills(account: Account, position: Position, fills: Sequence[Fill]) -> None:
    for fill in fills:
        occ = fill.leg.symbol
        premium = -fill.quantity * fill.mid * MULTIPLIER
        account.book(position, fill.session, "premium", premium, occ)
        account.book(position, fill.session, "spread", -fill.spread, occ)
        account.book(position, fill.session, "slippage", -fill.slippage, occ)
        account.book(position, fill.session, "commission", -fill.commission, occ)


def open_structure(
    account: Account,
    structure: str,
    legs: tuple[Leg, ...],
    quotes: Sequence[Quote],
    *,
    quantity: int,
    costs: CostModel,
    moment: Moment,
    decision_session: date,
    allow_naked: bool = False,
    short_puts: ShortPuts = "cash_secured",
    unit_margin: float | None = None,
) -> Position:
    """Buy and sell the legs of ``quantity`` units; cash pays for it and margin is set aside.

    ``unit_margin`` is in dollars per unit; without it, it is :func:`margin_required`.

    Raises
    ------
    OrderRejected
        If there is nothing to open, the loss has no bound, or the cash does not suffice. The
        account is unchanged then.
    """
    if quantity < 1 or not legs:
        raise OrderRejected(f"nothing to open: {quantity} units of {len(legs)} legs ({structure})")
    fills = fill_legs(legs, quotes, quantity, costs, moment)
    value = math.fsum(fill.value for fill in fills)
    commission = math.fsum(fill.commission for fill in fills)
    if unit_margin is None:
        unit_margin = margin_required(
            legs, quotes, moment.spot, allow_naked=allow_naked, short_puts=short_puts
        )
    margin = quantity * unit_margin
    if value + commission + margin > account.available:
        raise OrderRejected(
            f"{quantity} {structure} need {value + commission + margin:.2f} dollars, "
            f"{account.available:.2f} are available",
            hint="trade fewer units or a narrower structure",
        )
    position = Position(
        trade_id=account.next_trade_id,
        structure=structure,
        legs=legs,
        quantity=quantity,
        entry_fills=fills,
        decision_session=decision_session,
        entry_session=moment.session,
        entry_time=moment.time,
        spot_entry=moment.spot,
        entry_value=value,
        margin=margin,
        risk=risk_profile(legs, [fill.price for fill in fills], costs=commission / quantity),
        expiry=min(leg.contract.expiry for leg in legs),
    )
    account.next_trade_id += 1
    account.positions[position.trade_id] = position
    _book_fills(account, position, fills)
    mark(account, position, [quote.mid for quote in quotes], moment.session)
    return position


def structure_value(legs: Sequence[Leg], mids: Sequence[float], quantity: int) -> float:
    """Dollars that ``quantity`` units are worth at these mids."""
    total = 0.0
    for leg, mid in zip(legs, mids, strict=True):
        total += leg.quantity * mid
    return total * quantity * MULTIPLIER


def mark(account: Account, position: Position, mids: Sequence[float], session: date) -> float:
    """Mark every leg at its mid; gives and books the change of value in dollars."""
    change = structure_value(position.legs, mids, position.quantity) - position.mark
    account.book(position, session, "mark", change)
    return change


def close_position(
    account: Account,
    position: Position,
    quotes: Sequence[Quote],
    *,
    costs: CostModel,
    moment: Moment,
    reason: str,
) -> Trade:
    """Trade every leg back at its quote and book the trade."""
    fills = fill_legs(position.legs, quotes, -position.quantity, costs, moment)
    account.book(position, moment.session, "mark", -position.mark)
    _book_fills(account, position, fills)
    exit_value = -math.fsum(fill.value for fill in fills)
    return _finish(account, position, fills, exit_value, (moment, reason))


@dataclass(frozen=True, slots=True)
class Assignment:
    """A sold call that its holder exercised: shares were delivered short at the strike.

    ``leg`` is the position of the call among the legs, ``dividend`` the dollars per share that the
    short shares owe because they were held over the ex-date.
    """

    leg: int
    strike: float
    dividend: float

    def worth(self, spot: float) -> float:
        """What the leg is worth per share of a long one: shares at ``spot`` and the dividend, less the
        strike. Covering needs no option quote and is charged no option costs.
        """
        return spot + self.dividend - self.strike


def early_assignment(
    legs: Sequence[Leg], mids: Sequence[float], spot: float, dividend: float
) -> Assignment | None:
    """Apply the dividend rule at the close before an ex-date, to the first sold call that it meets.

    The holder of a call in the money gives up its time value by exercising and gains the dividend, so
    exercise pays where the time value is below the dividend (Merton 1973, "Theory of Rational Option
    Pricing": a call is exercised early only just before an ex-date).
    """
    for number, (leg, mid) in enumerate(zip(legs, mids, strict=True)):
        inner = spot - leg.contract.strike
        if (
            leg.quantity < 0
            and leg.contract.right == "C"
            and inner > 0.0
            and mid - inner < dividend
        ):
            return Assignment(number, leg.contract.strike, dividend)
    return None


def close_assigned(
    account: Account,
    position: Position,
    assignment: Assignment,
    quotes: Sequence[Quote],
    *,
    costs: CostModel,
    moment: Moment,
    reason: str = "assignment",
) -> Trade:
    """Cover the short shares at ``moment.spot``, pay the dividend, and trade the other legs back."""
    others = [number for number in range(len(position.legs)) if number != assignment.leg]
    fills = fill_legs(
        [position.legs[number] for number in others],
        [quotes[number] for number in others],
        -position.quantity,
        costs,
        moment,
    )
    leg = position.legs[assignment.leg]
    shares = leg.quantity * position.quantity * MULTIPLIER
    delivered = shares * assignment.worth(moment.spot)
    account.book(position, moment.session, "mark", -position.mark)
    _book_fills(account, position, fills)
    account.book(position, moment.session, "settlement", delivered, leg.symbol)
    exit_value = delivered - math.fsum(fill.value for fill in fills)
    return _finish(account, position, fills, exit_value, (moment, reason))


def settle_expiry(
    account: Account,
    position: Position,
    moment: Moment,
    reason: str = "expiry",
    assignment: Assignment | None = None,
) -> Trade:
    """Settle at intrinsic value with the underlying at ``moment.spot``; no spread, no commission.

    An expired option is always settled, whether or not it was last quoted; a call that was assigned
    before is settled as the shares that took its place.
    """
    payoff = payoff_at_expiry(position.legs, moment.spot) * position.quantity
    if assignment is not None:
        leg = position.legs[assignment.leg]
        instead = assignment.worth(moment.spot) - max(0.0, moment.spot - leg.contract.strike)
        payoff += leg.quantity * position.quantity * instead * MULTIPLIER
    account.book(position, moment.session, "mark", -position.mark)
    account.book(position, moment.session, "settlement", payoff)
    return _finish(account, position, (), payoff, (moment, reason))


def _finish(
    account: Account,
    position: Position,
    fills: tuple[Fill, ...],
    exit_value: float,
    exit_: tuple[Moment, str],
) -> Trade:
    moment, reason = exit_
    costs = math.fsum(fill.costs for fill in position.entry_fills + fills)
    trade = Trade(
        trade_id=position.trade_id,
        structure=position.structure,
        legs=position.legs,
        quantity=position.quantity,
        decision_session=position.decision_session,
        entry_session=position.entry_session,
        exit_session=moment.session,
        entry_time=position.entry_time,
        exit_time=moment.time,
        exit_reason=reason,
        entry_fills=position.entry_fills,
        exit_fills=fills,
        entry_value=position.entry_value,
        exit_value=exit_value,
        gross=position.premium,
        costs=costs,
        pnl=position.cash_flow,
        pnl_pct=position.cash_flow / position.capital_at_risk,
        holding_sessions=position.closes_held,
        spot_entry=position.spot_entry,
        spot_exit=moment.spot,
        risk=position.risk,
        stale_marks=position.stale_marks,
    )
    del account.positions[position.trade_id]
    account.trades.append(trade)
    return trade


def check_invariant(account: Account, tolerance: float = 1e-9) -> None:
    """Reconcile cash, marks, trades and ledger.

    Raises
    ------
    InvariantBroken
        If two of the sums differ by more than ``tolerance`` dollars; the message has all of them.
    """
    sums = {
        "cash and marks": account.cash - account.initial + account.marks,
        "trades": math.fsum(trade.pnl for trade in account.trades)
        + math.fsum(position.pnl for position in account.positions.values()),
        "ledger": math.fsum(entry.amount for entry in account.ledger),
        "fills": math.fsum(trade.gross - trade.costs for trade in account.trades)
        + math.fsum(position.pnl for position in account.positions.values()),
    }
    if max(sums.values()) - min(sums.values()) > tolerance:
        raise InvariantBroken(f"the account does not reconcile: {sums}")
