"""``spy price``: one contract or one structure priced, with Greeks, risk and implied volatility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from spy_assets.errors import ConfigError, DataError

if TYPE_CHECKING:
    from spy_assets.cli.option_inputs import Carry
    from spy_assets.options.pictures import Chart
    from spy_assets.options.structures import Leg, RiskProfile

_PER_DAY: Final = 1.0 / 365.0
_PER_POINT: Final = 0.01
#: Where the volatility of an American price is searched.
_VOLATILITIES: Final = (1e-4, 10.0)
#: A price within this share of the spot of what exercise pays at once has no time value to read.
_ROUNDING: Final = 1e-9


class LegValue(NamedTuple):
    """One share of one leg: theta per day, vega and rho per point; None where the price says nothing."""

    price: float | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None


@dataclass(frozen=True)
class Question:
    """What is to be priced, and in which market."""

    title: str
    legs: tuple[Leg, ...]
    spot: float
    at: datetime
    years: float
    carry: Carry
    american: bool


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


def years_of(legs: Sequence[Leg], at: datetime) -> float:
    """Years (ACT/365, by seconds) to settlement, 0 once settled.

    Raises
    ------
    ConfigError
        If the expiry is no day on which options expire.
    """
    from spy_assets.options.contracts import YEAR_SECONDS
    from spy_assets.options.expiries import settlement

    contract = legs[0].contract
    try:
        left = settlement(contract.root, contract.expiry).settles_at - at
    except DataError as error:
        raise ConfigError(error.message, hint="choose a session as the expiry") from error
    return max(0.0, left.total_seconds()) / YEAR_SECONDS


def is_american(root: str) -> bool:
    """Whether options of the root may be exercised before they expire."""
    from spy_assets.options.expiries import EUROPEAN_ROOTS

    return root not in EUROPEAN_ROOTS


def value(question: Question, volatilities: Sequence[float]) -> Priced:
    """Price every leg at its volatility: one for all legs, or one each.

    Raises
    ------
    ConfigError
        If there are neither one volatility nor as many as legs, or one is negative.
    """
    from spy_assets.options.structures import risk_profile

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
    values = tuple(_leg_value(question, leg, v) for leg, v in zip(legs, each, strict=True))
    prices = [leg_value.price or 0.0 for leg_value in values]
    return Priced(question, each, values, None, risk_profile(legs, prices))


def value_from_price(question: Question, price: float) -> Priced:
    """Price the only leg at the volatility that ``price`` implies; nothing is put in its place.

    Raises
    ------
    ConfigError
        If there are several legs: one net price does not tell their volatilities.
    """
    from spy_assets.options.structures import risk_profile

    if len(question.legs) != 1:
        raise ConfigError(
            "--price tells the volatility of one contract, not of a structure's legs",
            hint="give --vol, or one contract",
        )
    volatility, status = implied(question, price)
    risk = risk_profile(question.legs, [price])
    if volatility is None:
        nothing = LegValue(price, None, None, None, None, None)
        return Priced(question, (None,), (nothing,), status, risk)
    greeks = _leg_value(question, question.legs[0], volatility)
    return Priced(question, (volatility,), (greeks._replace(price=price),), status, risk)


def implied(question: Question, price: float) -> tuple[float | None, str]:
    """The volatility of the contract's price, and `ok` or why there is none.

    An American price is inverted through the American model; what it must not be below is what exercise
    pays at once.
    """
    from spy_assets.options.implied_vol import IvStatus, implied_volatility

    contract, carry = question.legs[0].contract, question.carry
    market = (question.spot, contract.strike, question.years, carry.rate, carry.dividend_yield)
    found = implied_volatility(price, *market, contract.right)
    status = IvStatus(int(found.status)).name.lower()
    if not question.american or status in {"expired", "invalid"}:
        return (float(found.iv) if status == "ok" else None), status
    return _implied_american(question, price)


def _implied_american(question: Question, price: float) -> tuple[float | None, str]:
    from scipy.optimize import brentq

    from spy_assets.options import american

    contract, carry = question.legs[0].contract, question.carry
    market = (question.spot, contract.strike, question.years, carry.rate, carry.dividend_yield)

    def error(volatility: float) -> float:
        return float(american.price(*market, volatility, contract.right)) - price

    low, high = _VOLATILITIES
    floor, rounding = error(low), _ROUNDING * question.spot
    if floor > rounding:
        return None, "below_intrinsic"
    if floor >= -rounding:
        return None, "uninformative"
    if error(high) <= 0.0:
        return None, "above_max"
    return float(brentq(error, low, high, xtol=1e-10)), "ok"


def _leg_value(question: Question, leg: Leg, volatility: float) -> LegValue:
    from spy_assets.options import american
    from spy_assets.options.black_scholes import all_greeks

    contract, carry = leg.contract, question.carry
    market = (question.spot, contract.strike, question.years, carry.rate, carry.dividend_yield)
    compute: Any = american.greeks if question.american else all_greeks
    found = compute(*market, volatility, contract.right)
    return LegValue(
        float(found.price),
        float(found.delta),
        float(found.gamma),
        float(found.theta) * _PER_DAY,
        float(found.vega) * _PER_POINT,
        float(found.rho) * _PER_POINT,
    )


def payoff_of(priced: Priced) -> Chart:
    """The payoff diagram.

    Raises
    ------
    DataError
        If a leg has no volatility: its value before expiry is then unknown.
    """
    from spy_assets.options.pictures import PayoffMarket, payoff_chart

    asked = priced.question
    known = [volatility for volatility in priced.volatilities if volatility is not None]
    if len(known) != len(asked.legs):
        raise DataError(
            f"no picture: the price implies no volatility ({priced.iv_status})",
            hint="give another --price, or --vol",
        )
    prices = [leg_value.price or 0.0 for leg_value in priced.values]
    carry = asked.carry
    market = PayoffMarket(
        asked.spot, asked.years, carry.rate, carry.dividend_yield, known, asked.american
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
        "years": asked.years,
        "rate": carry.rate,
        "rate_from": carry.rate_from,
        "dividend_yield": carry.dividend_yield,
        "yield_from": carry.yield_from,
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
    }
