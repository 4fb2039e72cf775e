"""Prices of options along a path of minute bars, and what an intraday simulation assumes.

:class:`IntradayBook` is the readable twin of the compiled pricing. Its quotes are a model's and are
labelled ``surface`` (D-21: the environment that this one replaces made bids and asks up from bars).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal

from spy_assets.errors import ConfigError
from spy_assets.options.black_scholes import delta, greeks, price_scalar
from spy_assets.options.contracts import (
    STRIKE_STEP,
    OptionContract,
    Right,
    nearest_expiry,
    nearest_strike,
)
from spy_assets.options.spread_model import SPY_SPREADS, SpreadModel, model_quote, phase_of
from spy_assets.options.structures import DEFAULT_WIDTH, Leg, legs_for
from spy_assets.options.surface import VixSurface
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.kernel import Moment, Quote
from spy_assets.simulator.session_filter import OPEN_ALL_DAY, SessionFilter

CloseOut = Literal["settle", "trade"]

#: Costs of the short-premium plan's environment: sold at the bid, bought back at the ask, $0.65 a
#: contract. Bid and ask come with every quote here, so that the model's own half-spread is not used.
BID_ASK_COSTS: Final = CostModel("bid_ask", 0.65, 0.0, 0.0)
#: Strikes farther from the money than this, in standard deviations, are not searched.
FARTHEST_STRIKE: Final = 12.0


@dataclass(frozen=True, slots=True)
class IntradayConfig:
    """What the intraday simulation assumes apart from the market, the costs and the exit rules.

    Attributes
    ----------
    max_positions
        Positions open at once; an entry beyond that is dropped.
    close_out
        How positions end in their expiry session: ``"settle"`` at the close or ``"trade"`` at the open
        of its last bar.
    filter
        When nothing is opened.
    allow_naked
        Whether short options may be uncovered. They then need Reg-T margin, puts too: the short-premium
        plans are those of a margin account.
    surface, spreads
        What prices the legs, and how wide they are quoted.
    dividend_yield
        Continuous, per year.
    strike_step
        Dollars between strikes.
    """

    max_positions: int = 3
    close_out: CloseOut = "settle"
    filter: SessionFilter = OPEN_ALL_DAY
    allow_naked: bool = False
    surface: VixSurface = field(default_factory=VixSurface)
    spreads: SpreadModel = SPY_SPREADS
    dividend_yield: float = 0.0
    strike_step: float = STRIKE_STEP

    def __post_init__(self) -> None:
        if self.max_positions < 1:
            raise ConfigError(f"max_positions {self.max_positions}", hint="allow at least one")
        if self.close_out not in ("settle", "trade"):
            raise ConfigError(f"close_out {self.close_out!r}", hint="use 'settle' or 'trade'")


def expiry_for(session: date, dte: int) -> date:
    """Expiry nearest to ``dte`` calendar days: the session itself for 0, else a weekly one after it.

    That an option expires on every session is true of SPY since November 2022 and assumed before.
    """
    return session if dte == 0 else nearest_expiry(session, dte, min_sessions=1)


class IntradayBook:
    """Prices of options along a path: the readable twin of the compiled pricing."""

    def __init__(self, path: IntradayPath, config: IntradayConfig | None = None) -> None:
        self.path = path
        self.config = config or IntradayConfig()

    def spot(self, bar: int, at_open: bool) -> float:
        """Price of the underlying at a bar's open or at its end, dollars."""
        return float((self.path.open if at_open else self.path.close)[bar])

    def moment(self, bar: int, at_open: bool) -> Moment:
        """When and at which spot something is executed."""
        path = self.path
        time = path.start_time(bar) if at_open else path.end_time(bar)
        return Moment(path.session(bar), time, self.spot(bar, at_open))

    def is_priceable(self, bar: int) -> bool:
        """Whether volatility and rate are known in the bar's session."""
        arrays, session = self.path.arrays, self.path.session_of[bar]
        return not math.isnan(arrays.volatility[session] + arrays.rate[session])

    def years(self, bar: int, at_open: bool, expiry: date) -> float:
        """Variance time to the close of an expiry, years; see the path."""
        arrays = self.path.arrays
        now = (arrays.start_years if at_open else arrays.end_years)[bar]
        return max(0.0, float(arrays.close_years[self.path.ordinal_of(expiry)] - now))

    def _terms(
        self, bar: int, at_open: bool, contract: OptionContract
    ) -> tuple[float, float, float, float, float, float]:
        """Spot, strike, years, rate, yield, volatility: what the pricing formulas take."""
        arrays, session = self.path.arrays, self.path.session_of[bar]
        spot, years = self.spot(bar, at_open), self.years(bar, at_open, contract.expiry)
        sigma = self.config.surface.iv_scalar(
            spot, contract.strike, years, float(arrays.volatility[session])
        )
        rate = float(arrays.rate[session])
        return spot, contract.strike, years, rate, self.config.dividend_yield, sigma

    def mids(self, legs: Sequence[Leg], bar: int, at_open: bool) -> list[float] | None:
        """Mid of each leg, dollars per share; None where volatility or rate is missing."""
        if not self.is_priceable(bar):
            return None
        mids = []
        for leg in legs:
            s, k, t, r, q, v = self._terms(bar, at_open, leg.contract)
            mids.append(price_scalar(s, k, t, r, q, v, leg.contract.right == "C"))
        return mids

    def quotes(self, legs: Sequence[Leg], bar: int) -> list[Quote] | None:
        """Quotes of the legs at a bar's open, or None where they cannot be priced."""
        mids = self.mids(legs, bar, True)
        if mids is None:
            return None
        path = self.path
        arrays, session = path.arrays, path.session_of[bar]
        phase = phase_of(float(arrays.start_minute[bar]), float(arrays.minutes[session]))
        quotes = []
        for leg, mid in zip(legs, mids, strict=True):
            s, k, t, r, q, v = self._terms(bar, True, leg.contract)
            right = leg.contract.right
            inner = max(0.0, s - k if right == "C" else k - s)
            vega = float(greeks(s, k, t, r, q, v, right).vega) / 100.0
            width = self.config.spreads.spread(
                max(mid - inner, 0.0), vega, t, intrinsic=inner, spot=s, phase=phase
            )
            quote = model_quote(mid, width)
            quotes.append(Quote(mid, float(quote.bid), float(quote.ask), "surface"))
        return quotes

    def strike_for_delta(self, bar: int, right: Right, limit: float, expiry: date) -> float | None:
        """Strike at a bar's end whose delta is the largest not above ``limit``, out of the money.

        None where nothing can be priced, or where even the farthest strike has more.
        """
        if not self.is_priceable(bar):
            return None
        step, spot = self.config.strike_step, self.spot(bar, False)
        away = -step if right == "P" else step
        strike = nearest_strike(spot, step)
        if (spot - strike) * away > 0.0:
            strike += away
        session = self.path.session_of[bar]
        years = max(self.years(bar, False, expiry), self.config.surface.min_years)
        sigma = float(self.path.arrays.volatility[session])
        farthest = spot * FARTHEST_STRIKE * sigma * math.sqrt(years)
        while abs(strike - spot) <= farthest and strike > 0.0:
            s, k, t, r, q, v = self._terms(bar, False, OptionContract("X", expiry, right, strike))
            if abs(float(delta(s, k, t, r, q, v, right))) <= limit:
                return strike
            strike += away
        return None

    def legs(
        self, structure: str, bar: int, expiry: date, *, width: float = DEFAULT_WIDTH
    ) -> tuple[Leg, ...]:
        """Legs of a structure around the spot at a bar's end."""
        return legs_for(
            structure,
            self.spot(bar, False),
            expiry,
            root=self.path.symbol,
            width=width,
            step=self.config.strike_step,
        )
