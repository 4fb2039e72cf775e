"""A chain that no market quoted: prices of the indices' surface, labelled ``quote_kind = "surface"``.

Contracts are those that the exchange lists for sure, strikes a dollar apart near the money and five
further out. The surface is calibrated to the day's volatility indices
(:mod:`spy_assets.options.calibration`), prices are American where the contracts are, spreads come from
:mod:`spy_assets.options.spread_model`. Volume and open interest are unknown, and stay null.

VIX is of options on the S&P 500, so that only symbols of that index have such a chain
(:data:`SYMBOLS`): the volatility of any other would be invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from spy_assets.errors import DataError
from spy_assets.options.calibration import IndexFit, calibrate_to_indices
from spy_assets.options.chain import RawChain, as_chain, occ_of_fields
from spy_assets.options.contracts import YEAR_SECONDS
from spy_assets.options.expiries import EUROPEAN_ROOTS, expiries_listed, settlement
from spy_assets.options.spread_model import SPY_SPREADS, model_quote
from spy_assets.sessions import decision_time, session_close

#: The S&P 500's fund and indices, whose volatility VIX is. The spreads are SPY's.
SYMBOLS: Final = frozenset({"SPY", "SPX", "SPXW", "XSP"})
#: Value of the column `source`.
SOURCE: Final = "model"
#: Strikes by their distance to the spot: up to the first a dollar apart, up to the last five.
NEAR, LOW, HIGH = 0.10, 0.60, 1.30
NEAR_STEP, FAR_STEP = 1.0, 5.0


def strike_list(spot: float) -> list[float]:
    """Strikes around a spot.

    >>> len(strike_list(100.0)), strike_list(100.0)[:2]
    (31, [60.0, 65.0])
    """
    near = np.arange(np.ceil(spot * (1 - NEAR)), spot * (1 + NEAR) + 1e-9, NEAR_STEP)
    far = np.arange(np.ceil(spot * LOW / FAR_STEP), spot * HIGH / FAR_STEP + 1e-9) * FAR_STEP
    return sorted({*near.tolist(), *far.tolist()})


def model_chain(
    points: Mapping[str, float | None],
    *,
    symbol: str,
    session: date,
    spot: float,
    rate: float,
    dividend_yield: float,
) -> tuple[RawChain, IndexFit]:
    """The chain of a session's close, and the surface that priced it.

    Parameters
    ----------
    points
        The session's volatility indices in points, by name; VIX is required.
    symbol
        The underlying, which is the root: one of :data:`SYMBOLS`.
    spot
        Its close in dollars.
    rate, dividend_yield
        Continuous, decimals per year.

    Raises
    ------
    DataError
        If VIX is missing or is not the symbol's, or the symbol had no options yet.
    """
    from spy_assets.options import american, black_scholes

    if symbol not in SYMBOLS:
        raise DataError(
            f"VIX is the volatility of the S&P 500 and says nothing of {symbol}",
            hint=f"a model chain is for {', '.join(sorted(SYMBOLS))}; fetch a real one",
        )
    fit = calibrate_to_indices(points)
    at = session_close(session)
    expiries = [expiry.day for expiry in expiries_listed(symbol, session) if expiry.certain]
    left = {
        day: (settlement(symbol, day).settles_at - at).total_seconds() / YEAR_SECONDS
        for day in expiries
    }
    alive = [day for day in expiries if left[day] > 0]
    if not alive:
        raise DataError(f"no contract of {symbol} is listed for sure on {session}")
    grid = (
        pl.DataFrame({"expiry": alive, "years": [left[day] for day in alive]})
        .join(pl.DataFrame({"strike": strike_list(spot)}), how="cross")
        .join(pl.DataFrame({"right": ["C", "P"]}), how="cross")
    )
    strike, years = grid["strike"].to_numpy(), grid["years"].to_numpy()
    rights = grid["right"].to_list()
    forward = spot * np.exp((rate - dividend_yield) * years)
    sigma = fit.surface.iv(np.log(strike / forward), years)
    priced = black_scholes.price if symbol in EUROPEAN_ROOTS else american.price
    price = priced(spot, strike, years, rate, dividend_yield, sigma, rights)
    sign = np.where(np.array(rights) == "C", 1.0, -1.0)
    intrinsic = np.maximum(sign * (spot - strike), 0.0)
    price = np.maximum(price, 0.0)
    greeks = black_scholes.all_greeks(spot, strike, years, rate, dividend_yield, sigma, rights)
    spread = SPY_SPREADS.spread(
        np.maximum(price - intrinsic, 0.0),
        np.maximum(greeks.vega, 0.0) / 100.0,
        years,
        intrinsic=intrinsic,
        spot=spot,
        phase="last",
    )
    quote = model_quote(price, spread)
    frame = grid.drop("years").with_columns(
        root=pl.lit(symbol), bid=pl.Series(quote.bid), ask=pl.Series(quote.ask)
    )
    made = as_chain(
        frame.with_columns(occ=occ_of_fields()),
        session=session,
        symbol=symbol,
        quoted_at=at,
        spot=spot,
        quote_kind="surface",
        source=SOURCE,
        available_at=decision_time(session),
    )
    return RawChain(made), fit
