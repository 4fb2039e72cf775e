"""The trade set-up of a signal: quoted legs, entry, stop, target, maximum profit and loss.

Every number comes from the quotes of the legs; none is a constant (the seed printed 40 % and 30 %
of the width as if they were quotes). Premiums are dollars a share, positive for a debit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

from spy_assets.options.black_scholes import price_scalar
from spy_assets.options.contracts import MULTIPLIER, years_to_expiry
from spy_assets.options.structures import Leg, display_symbol, legs_for, risk_profile
from spy_assets.options.surface import missing_reason
from spy_assets.sessions import session_close
from spy_assets.signals.contract import SignalLeg, SpotLevels
from spy_assets.simulator.actions import Opening
from spy_assets.simulator.book import DailyConfig, Priced
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules, ProfitTarget, StopLoss
from spy_assets.simulator.kernel import Quote, margin_required

#: Levels of the underlying for single legs, the seed's (S0-46), as fractions of spot.
SPOT_TARGET: Final = 0.012
SPOT_STOP: Final = 0.008


@dataclass(frozen=True)
class Held:
    """An open position: the legs of one unit, its structure, and its units."""

    legs: tuple[Leg, ...]
    structure: str
    quantity: int


class Moment(NamedTuple):
    """The close of a session: spot in dollars, VIX and rate as decimals per year."""

    session: date
    spot: float
    vix: float
    rate: float


@dataclass(frozen=True)
class Pricing:
    """What legs are chosen and priced by: costs, exit rules, expiry, width and surface."""

    costs: CostModel
    rules: ExitRules = DEFAULT_RULES
    config: DailyConfig = field(default_factory=DailyConfig)


@dataclass(frozen=True)
class Setup:
    """What a signal trades and at which levels; see :mod:`spy_assets.signals.contract` for units.

    ``requirement`` is the free cash that one unit needs, costs and margin included: what sizing goes
    by. ``units`` is the size of a trade that closes.
    """

    display_symbol: str = ""
    legs: tuple[SignalLeg, ...] = ()
    entry: float | None = None
    stop: float | None = None
    target: float | None = None
    spot_levels: SpotLevels = field(default_factory=SpotLevels)
    max_profit: float | None = None
    max_profit_unlimited: bool = False
    max_loss: float | None = None
    breakevens: tuple[float, ...] = ()
    requirement: float | None = None
    units: int = 0


NO_SETUP: Final = Setup()
#: Between the symbols of positions that are closed together.
AND: Final = " + "


def quote_leg(
    leg: Leg, moment: Moment, pricing: Pricing, *, side: int, units: int = 1
) -> SignalLeg:
    """Quote one leg off the surface; ``side`` +1 buys, -1 sells.

    Bid and ask lie half a spread from the mid, the bid not below zero: the cost model's constant, or
    the width of the configuration's spread model.
    """
    contract, time, config = leg.contract, session_close(moment.session), pricing.config
    years = years_to_expiry(time, contract.expiry)
    sigma = config.surface.iv_scalar(moment.spot, contract.strike, years, moment.vix)
    call, carry = contract.right == "C", config.dividend_yield
    mid = price_scalar(moment.spot, contract.strike, years, moment.rate, carry, sigma, call)
    half = pricing.costs.half_spread
    if config.spreads is not None:
        now = Priced(moment.spot, moment.vix, moment.rate, at_open=False)
        (half,) = config.half_spreads([leg], [mid], [years], now)
    return SignalLeg(
        occ=contract.occ,
        side="buy" if side > 0 else "sell",
        ratio=leg.ratio * units,
        right=contract.right,
        strike=contract.strike,
        expiry=contract.expiry,
        bid=max(0.0, mid - half),
        ask=mid + half,
        mid=mid,
        quote_time=time,
        quote_kind=config.quote_kind,
    )


def entry_setup(opening: Opening, moment: Moment, pricing: Pricing) -> Setup | None:
    """Quote one unit of an opening at the close; ``None`` if the surface cannot price it.

    The legs are the ones that the simulator trades for the same decision.
    """
    if missing_reason(moment.vix) is not None:
        return None
    structure, legs = opening.structure, _legs(opening, moment, pricing.config)
    quoted = tuple(quote_leg(leg, moment, pricing, side=leg.side) for leg in legs)
    prices = [leg.ask if leg.side == "buy" else leg.bid for leg in quoted]
    entry = math.fsum(leg.quantity * price for leg, price in zip(legs, prices, strict=True))
    profile = risk_profile(legs, prices)
    stop, target = premium_levels(entry, pricing.rules)
    unlimited, bounded = math.isinf(profile.max_profit), math.isfinite(profile.max_loss)
    return Setup(
        display_symbol=display_symbol(structure, legs),
        legs=quoted,
        entry=entry,
        stop=stop,
        target=target,
        spot_levels=spot_levels(structure, legs, moment.spot, entry),
        max_profit=None if unlimited else profile.max_profit,
        max_profit_unlimited=unlimited,
        max_loss=profile.max_loss if bounded else None,
        breakevens=profile.breakevens,
        requirement=_requirement(legs, quoted, moment.spot, pricing),
    )


def closing_setup(held: Sequence[Held], moment: Moment, pricing: Pricing) -> Setup | None:
    """Quote what closes all held positions, every leg the other way round.

    One position is quoted by the unit, its units are the signal's size. Of several the legs stand one
    position after the other, oldest first, each with all its contracts: one unit closes everything.
    """
    if missing_reason(moment.vix) is not None:
        return None
    alone = len(held) == 1
    quoted = tuple(
        quote_leg(leg, moment, pricing, side=-leg.side, units=1 if alone else one.quantity)
        for one in held
        for leg in one.legs
    )
    shown = AND.join(display_symbol(one.structure, one.legs) for one in held)
    return Setup(display_symbol=shown, legs=quoted, units=held[0].quantity if alone else 1)


def premium_levels(entry: float, rules: ExitRules) -> tuple[float | None, float | None]:
    """Give stop and target in the entry's own unit from the first such rules of the chain.

    A debit of 2.00 with a 30 % stop and a 50 % target gives 1.40 and 3.00; a credit of 1.00,
    written -1.00, with a stop at 100 % of the credit and a target of 50 % gives -2.00 and -0.50.
    """
    stop = next((rule for rule in rules.chain if isinstance(rule, StopLoss)), None)
    target = next((rule for rule in rules.chain if isinstance(rule, ProfitTarget)), None)
    size, debit = abs(entry), entry > 0
    lost = None if stop is None else size * (stop.of_debit if debit else stop.of_credit)
    won = None if target is None else size * (target.of_debit if debit else target.of_credit)
    return (None if lost is None else entry - lost, None if won is None else entry + won)


def spot_levels(structure: str, legs: Sequence[Leg], spot: float, entry: float) -> SpotLevels:
    """Give the seed's levels of the underlying (S0-46), for orientation; exits do not use them.

    Single legs: +-1.2 % and -+0.8 % of spot. Debit verticals: target at the short strike, stop a
    debit beyond the long one. Condor: a credit beyond each short strike.
    """
    strikes = {(leg.side, leg.contract.right): leg.contract.strike for leg in legs}
    if structure == "long_call":
        return SpotLevels(target=spot * (1 + SPOT_TARGET), stop=spot * (1 - SPOT_STOP))
    if structure == "long_put":
        return SpotLevels(target=spot * (1 - SPOT_TARGET), stop=spot * (1 + SPOT_STOP))
    if structure == "bull_call_debit":
        return SpotLevels(target=strikes[(-1, "C")], stop=strikes[(1, "C")] - entry)
    if structure == "bear_put_debit":
        return SpotLevels(target=strikes[(-1, "P")], stop=strikes[(1, "P")] + entry)
    if structure == "iron_condor":
        return SpotLevels(
            lower_stop=strikes[(-1, "P")] + entry, upper_stop=strikes[(-1, "C")] - entry
        )
    return SpotLevels()


def _legs(opening: Opening, moment: Moment, config: DailyConfig) -> tuple[Leg, ...]:
    """Choose expiry and strikes as :class:`~spy_assets.simulator.book.PathBook` does."""
    return legs_for(
        opening.structure,
        moment.spot,
        config.expiry(moment.session, opening.bucket),
        root=config.root,
        width=config.width,
        step=config.strike_step,
    )


def _requirement(
    legs: Sequence[Leg], quoted: Sequence[SignalLeg], spot: float, pricing: Pricing
) -> float:
    """Free cash in dollars that one unit needs with slippage, fees and margin: all it can lose.

    What has no bound needs the margin that the simulator sets aside for it.
    """
    outlay, costs = 0.0, pricing.costs
    for leg, quote in zip(legs, quoted, strict=True):
        slip = costs.slippage_fraction * quote.mid
        price = quote.ask + slip if leg.side > 0 else max(0.0, quote.bid - slip)
        outlay += leg.quantity * price * MULTIPLIER
        outlay += costs.fees(leg.ratio, leg.side, price, MULTIPLIER)
    mids, config = [Quote(quote.mid) for quote in quoted], pricing.config
    return outlay + margin_required(
        legs, mids, spot, allow_naked=config.allow_naked, short_puts=config.short_puts
    )
