"""One contract's price, Greeks and implied volatility in the market that was asked about.

Cash dividends: an American contract is priced in the *spot model* (the spot falls by the cash on each
ex-date) by finite differences; a European one by the closed formula on the *escrowed* spot, which is the
spot less what the dividends before settlement are worth now. The volatility is that of the spot in the
one, and of the rest in the other: slightly different numbers for one price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from spy_assets.cli.option_units import PER_DAY, PER_POINT

if TYPE_CHECKING:
    from spy_assets.options.american import CashDividend
    from spy_assets.options.contracts import OptionContract, Right

    _Arguments = tuple[float, float, float, float, float, float, Right]

#: Where the volatility of an American price is searched.
_VOLATILITIES: Final = (1e-4, 10.0)
#: The finite differences are noisy below.
_LEAST_WITH_CASH: Final = 1e-3
#: A price within this share of the spot of what exercise pays at once has no time value to read. With
#: cash dividends it is the error of the finite differences.
_ROUNDING: Final = 1e-9
_ROUNDING_WITH_CASH: Final = 1e-6


class LegValue(NamedTuple):
    """One share of one leg, dollars; None where nothing tells it. A point is 0.01."""

    price: float | None
    delta: float | None
    gamma: float | None
    theta_per_day: float | None
    vega_per_vol_point: float | None
    rho_per_rate_point: float | None


UNKNOWN: Final = LegValue(None, None, None, None, None, None)


@dataclass(frozen=True)
class Market:
    """What a contract's value depends on beside itself and its volatility.

    Rates are continuous, decimals per year; ``dividends`` are those that the contract sees.
    """

    spot: float
    years: float
    rate: float
    dividend_yield: float
    american: bool
    dividends: tuple[CashDividend, ...] = ()

    @property
    def escrowed_spot(self) -> float:
        """The spot less the present value of the dividends."""
        return self.spot - math.fsum(self._worths())

    def _worths(self) -> list[float]:
        return [each.cash * math.exp(-self.rate * each.ex_years) for each in self.dividends]

    def price(self, contract: OptionContract, volatility: float) -> float:
        """Dollars a share."""
        from spy_assets.options import american
        from spy_assets.options.black_scholes import price

        if not self.american:
            return float(price(*self._arguments(contract, volatility)))
        arguments = self._arguments(contract, volatility)
        if self.dividends:
            return float(american.price_with_dividends(*arguments, self.dividends))
        return float(american.price(*arguments))

    def value(self, contract: OptionContract, volatility: float) -> LegValue:
        """Price and Greeks."""
        from spy_assets.options import american
        from spy_assets.options.black_scholes import all_greeks

        arguments = self._arguments(contract, volatility)
        found: Any
        if not self.american:
            found = all_greeks(*arguments)
        elif self.dividends:
            found = american.greeks_with_dividends(*arguments, self.dividends)
        else:
            found = american.greeks(*arguments)
        theta, rho = float(found.theta), float(found.rho)
        if not self.american:
            theta, rho = self._escrowed(float(found.delta), theta, rho)
        return LegValue(
            float(found.price),
            float(found.delta),
            float(found.gamma),
            theta * PER_DAY,
            float(found.vega) * PER_POINT,
            rho * PER_POINT,
        )

    def _escrowed(self, delta: float, theta: float, rho: float) -> tuple[float, float]:
        """Theta and rho with the escrowed spot's own: it falls with time, and rises with the rate."""
        worths = self._worths()
        times = [each.ex_years for each in self.dividends]
        nearing = -self.rate * math.fsum(worths)
        discounted = math.fsum(t * worth for t, worth in zip(times, worths, strict=True))
        return theta + delta * nearing, rho + delta * discounted

    def _arguments(self, contract: OptionContract, volatility: float) -> _Arguments:
        spot = self.spot if self.american else self.escrowed_spot
        return (
            spot,
            contract.strike,
            self.years,
            self.rate,
            self.dividend_yield,
            volatility,
            contract.right,
        )

    def implied(self, contract: OptionContract, price: float) -> tuple[float | None, str]:
        """The volatility of the contract's price, and `ok` or why there is none.

        An American price is inverted through the American model; what it must not be below is what
        exercise pays at once, or on the certain path of the spot.
        """
        from spy_assets.options.implied_vol import IvStatus, implied_volatility

        spot, strike, years, rate, dividend_yield, _, right = self._arguments(contract, math.nan)
        found = implied_volatility(price, spot, strike, years, rate, dividend_yield, right)
        status = IvStatus(int(found.status)).name.lower()
        if not self.american or status in {"expired", "invalid"}:
            return (float(found.iv) if status == "ok" else None), status
        return self._implied_american(contract, price)

    def _implied_american(self, contract: OptionContract, price: float) -> tuple[float | None, str]:
        from scipy.optimize import brentq

        def error(volatility: float) -> float:
            return self.price(contract, volatility) - price

        low, high = _VOLATILITIES
        if self.dividends:
            low, floor, rounding = _LEAST_WITH_CASH, error(0.0), _ROUNDING_WITH_CASH * self.spot
        else:
            floor, rounding = error(low), _ROUNDING * self.spot
        if floor > rounding:
            return None, "below_intrinsic"
        if floor >= -rounding or error(low) >= 0.0:
            return None, "uninformative"
        if error(high) <= 0.0:
            return None, "above_max"
        return float(brentq(error, low, high, xtol=1e-10)), "ok"
