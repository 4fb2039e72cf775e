"""``spy price``: one contract or one structure priced, with Greeks, risk and implied volatility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from spy_assets.cli.option_units import PRICE_UNITS
from spy_assets.cli.option_valuation import UNKNOWN, LegValue, Market
from spy_assets.errors import ConfigError, DataError

if TYPE_CHECKING:
    from spy_assets.cli.option_inputs import Carry, GivenDividend
    from spy_assets.options.pictures import Chart
    from spy_assets.options.structures import Leg, RiskProfile


class Term(NamedTuple):
    """When a contract ends."""

    #: Last day of its trading, or whose opening prices settle it.
    last_day: date
    settles_at: datetime
    #: ACT/365 by seconds, 0 once settled.
    years: float
    #: Whether the settlement is past.
    expired: bool


@dataclass(frozen=True)
class Question:
    """What is to be priced, and in which market."""

    title: str
    legs: tuple[Leg, ...]
    spot: float
    at: datetime
    term: Term
    carry: Carry
    american: bool
    dividends: tuple[GivenDividend, ...] = ()

    @property
    def market(self) -> Market:
        """What the legs' values depend on."""
        seen = [each.as_cash for each in self.dividends if each.within(self.term.years)]
        carry = self.carry
        return Market(
            self.spot,
            self.term.years,
            carry.rate,
            carry.dividend_yield,
            self.american,
            tuple(seen),
        )

    @property
    def is_adjusted(self) -> bool:
        """Whether a leg delivers something else than 100 shares."""
        return any(leg.contract.is_adjusted for leg in self.legs)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps the answer from being that of a standard contract with time left."""
        return tuple(filter(None, (self._expired(), self._adjusted(), self._unlisted_day())))

    def _expired(self) -> str:
        if not self.term.expired:
            return ""
        moment = f"{self.term.settles_at:%Y-%m-%dT%H:%MZ}"
        return (
            f"expired: settled at {moment}; what it paid is its intrinsic at that moment's price, "
            f"which is not known here: ask with --at {moment} and the --spot of then"
        )

    def _adjusted(self) -> str:
        if not self.is_adjusted:
            return ""
        root = self.legs[0].contract.root
        return (
            f"adjusted: {root} delivers something else than 100 shares, its symbol does not tell what; "
            "the price is that of an option on one share at the spot given, and no dollar totals follow"
        )

    def _unlisted_day(self) -> str:
        expiry, last = self.legs[0].contract.expiry, self.term.last_day
        if expiry == last:
            return ""
        return f"expiry {expiry} ({expiry:%A}) is no session: it ends on {last} ({last:%A})"

    @property
    def notes(self) -> tuple[str, ...]:
        """How the dividends in cash were used."""
        seen = self.market.dividends
        return tuple(filter(None, (self._model(), self._left_out(), self._beside(bool(seen)))))

    def _model(self) -> str:
        if not self.market.dividends:
            return ""
        if self.american:
            return (
                "dividends in cash: the spot falls on each ex-date; exercise before it is counted"
            )
        return (
            f"dividends in cash: the spot less their worth now is {self.market.escrowed_spot:,.4f} "
            "(escrowed), whose volatility is meant"
        )

    def _left_out(self) -> str:
        years = self.term.years
        unseen = [str(each.ex_date) for each in self.dividends if not each.within(years)]
        told = f"not counted, ex before the moment or after the end: {', '.join(unseen)}"
        return told if unseen else ""

    def _beside(self, cash: bool) -> str:
        both = cash and self.carry.dividend_yield != 0.0
        return "the yield is counted beside the dividends in cash" if both else ""


@dataclass(frozen=True)
class Priced:
    """The answer; ``iv_status`` only where a price was given and the volatility asked for."""

    question: Question
    volatilities: tuple[float | None, ...]
    values: tuple[LegValue, ...]
    iv_status: str | None
    risk: RiskProfile | None

    @property
    def total(self) -> LegValue:
        """The sum over the legs, one share of each, as bought and sold."""
        return LegValue(*(self._sum(index) for index in range(len(LegValue._fields))))

    def _sum(self, index: int) -> float | None:
        parts = [value[index] for value in self.values]
        pairs = zip(self.question.legs, parts, strict=True)
        products = [leg.quantity * part for leg, part in pairs if part is not None]
        return sum(products) if len(products) == len(parts) else None


def contract_legs(symbol: str) -> tuple[Leg, ...]:
    """One bought contract.

    Raises
    ------
    ConfigError
        If the text is no OCC symbol.
    """
    from spy_assets.options.contracts import parse_occ
    from spy_assets.options.structures import Leg

    try:
        return (Leg(parse_occ(symbol.strip().upper()), 1),)
    except DataError as error:
        raise ConfigError(error.message, hint=error.hint) from error


def structure_legs(
    name: str, spot: float, expiry: date, *, root: str, width: float, step: float
) -> tuple[Leg, ...]:
    """The legs of a structure around the spot.

    Raises
    ------
    ConfigError
        If there is no such structure, it opens nothing, or a strike would be impossible.
    """
    from spy_assets.options.structures import STRUCTURES, legs_for, structure_named

    chosen = structure_named(name.replace("-", "_").lower())
    if not chosen.templates:
        known = ", ".join(each.name for each in STRUCTURES.values() if each.templates)
        raise ConfigError(f"{chosen.name!r} has no legs to price", hint=f"choose of: {known}")
    try:
        return legs_for(chosen, spot, expiry, root=root, width=width, step=step)
    except DataError as error:
        raise ConfigError(error.message, hint=error.hint) from error


def underlying_root(root: str) -> str:
    """The root without the digit of an adjusted contract.

    >>> underlying_root("SPY1")
    'SPY'
    """
    return root.rstrip("0123456789")


def term_of(legs: Sequence[Leg], at: datetime) -> Term:
    """When the legs end, as seen from a moment.

    Raises
    ------
    ConfigError
        If the expiry is no day on which options expire.
    """
    from spy_assets.options.contracts import YEAR_SECONDS
    from spy_assets.options.expiries import settlement, trading_day

    contract = legs[0].contract
    try:
        last = trading_day(contract.expiry)
        ends = settlement(underlying_root(contract.root), contract.expiry).settles_at
    except DataError as error:
        raise ConfigError(error.message, hint=error.hint) from error
    left = (ends - at).total_seconds()
    return Term(last, ends, max(0.0, left) / YEAR_SECONDS, left < 0.0)


def is_american(root: str) -> bool:
    """Whether options of the root may be exercised before they expire."""
    from spy_assets.options.expiries import EUROPEAN_ROOTS

    return underlying_root(root) not in EUROPEAN_ROOTS


def value(question: Question, volatilities: Sequence[float]) -> Priced:
    """Price every leg at its volatility: one for all legs, or one each.

    Raises
    ------
    ConfigError
        If there are neither one volatility nor as many as legs, or one is negative.
    """
    legs = question.legs
    if len(volatilities) not in (1, len(legs)):
        raise ConfigError(
            f"{len(volatilities)} volatilities for {len(legs)} legs",
            hint="give --vol once for all legs, or once for each",
        )
    if not all(0.0 <= volatility < float("inf") for volatility in volatilities):
        raise ConfigError(
            f"--vol {list(volatilities)} is not a volatility",
            hint="give decimals per year: 0.15 is 15 %",
        )
    each = tuple(volatilities) if len(volatilities) == len(legs) else (volatilities[0],) * len(legs)
    if question.term.expired:
        return Priced(question, each, (UNKNOWN,) * len(legs), None, None)
    pairs = zip(legs, each, strict=True)
    values = tuple(question.market.value(leg.contract, sigma) for leg, sigma in pairs)
    return Priced(question, each, values, None, _risk(question, [v.price or 0.0 for v in values]))


def _risk(question: Question, prices: Sequence[float]) -> RiskProfile | None:
    """Of one unit; None where a contract does not deliver 100 shares."""
    from spy_assets.options.structures import risk_profile

    return None if question.is_adjusted else risk_profile(question.legs, prices)


def value_from_price(question: Question, price: float) -> Priced:
    """Price the only leg at the volatility that ``price`` implies; nothing is put in its place.

    Raises
    ------
    ConfigError
        If there are several legs: one net price does not tell their volatilities.
    """
    if len(question.legs) != 1:
        raise ConfigError(
            "--price tells the volatility of one contract, not of a structure's legs",
            hint="give --vol, or one contract",
        )
    if question.term.expired:
        return Priced(question, (None,), (UNKNOWN,), "expired", None)
    contract, market = question.legs[0].contract, question.market
    volatility, status = market.implied(contract, price)
    risk = _risk(question, [price])
    if volatility is None:
        return Priced(question, (None,), (UNKNOWN._replace(price=price),), status, risk)
    greeks = market.value(contract, volatility)
    return Priced(question, (volatility,), (greeks._replace(price=price),), status, risk)


def payoff_of(priced: Priced) -> Chart:
    """The payoff diagram.

    Raises
    ------
    DataError
        If a leg has no volatility, has expired, or delivers something else than 100 shares: its value
        is then unknown.
    """
    from spy_assets.options.pictures import PayoffMarket, payoff_chart

    asked = priced.question
    if asked.term.expired or asked.is_adjusted:
        raise DataError(f"no picture: {asked.warnings[0]}", hint="leave --picture out")
    known = [volatility for volatility in priced.volatilities if volatility is not None]
    if len(known) != len(asked.legs):
        raise DataError(
            f"no picture: the price implies no volatility ({priced.iv_status})",
            hint="give another --price, or --vol",
        )
    prices = [leg_value.price or 0.0 for leg_value in priced.values]
    carry = asked.carry
    market = PayoffMarket(
        asked.spot,
        asked.term.years,
        carry.rate,
        carry.dividend_yield,
        known,
        asked.american,
        asked.market.dividends,
    )
    return payoff_chart(asked.legs, prices, market, title=asked.title)


def as_document(priced: Priced) -> dict[str, Any]:
    """The answer as one JSON document; a null maximum has no bound."""
    asked, carry, risk = priced.question, priced.question.carry, priced.risk
    rows = zip(asked.legs, priced.volatilities, priced.values, strict=True)
    return {
        "title": asked.title,
        "at": asked.at,
        "spot": asked.spot,
        "expiry": asked.legs[0].contract.expiry,
        "settles_at": asked.term.settles_at,
        "years": asked.term.years,
        "expired": asked.term.expired,
        "adjusted": asked.is_adjusted,
        "rate": carry.rate,
        "rate_from": carry.rate_from,
        "dividend_yield": carry.dividend_yield,
        "yield_from": carry.yield_from,
        "dividends": [
            {"ex_date": each.ex_date, "cash": each.cash, "counts": each.within(asked.term.years)}
            for each in asked.dividends
        ],
        "style": "american" if asked.american else "european",
        "iv_status": priced.iv_status,
        "legs": [
            {
                "occ": leg.symbol,
                "contract": leg.contract.display,
                "quantity": leg.quantity,
                "volatility": volatility,
                **found._asdict(),
            }
            for leg, volatility, found in rows
        ],
        "total": priced.total._asdict(),
        "risk": None
        if risk is None
        else {
            "max_profit": risk.max_profit,
            "max_loss": risk.max_loss,
            "breakevens": list(risk.breakevens),
        },
        "units": PRICE_UNITS,
        "notes": [*asked.warnings, *asked.notes],
    }
