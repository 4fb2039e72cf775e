"""What an intraday policy sees: eight numbers at the end of a bar, scaled here and nowhere else.

The numbers and their scales are those of the short-premium plan (inventory S1-01). Its paper trader
divided spot and P&L by a thousand where its training divided by 500 and 100, so that the policy was
asked about a market that it had never seen (D-20): here all call :func:`observation`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.features.contracts import Dimension, ObservationContract

#: Shares of a contract, and minutes of a whole session.
_SHARES: Final = 100
_MINUTES: Final = 390.0
#: P&L per contract beyond this many hundred dollars is cut off.
PNL_BOUND: Final = 100.0

#: The contract of the short-premium policies (S1-01).
INTRADAY_8_V1: Final = ObservationContract(
    name="intraday_8_v1",
    description="Eight numbers at the end of a bar: five of the market, three of the account.",
    market=(
        Dimension("minutes_since_open", "minutes of the session that have passed", "/ 390"),
        Dimension("spot", "close of the bar in dollars", "/ 500", high=4.0),
        Dimension(
            "atm_iv",
            "implied volatility at the money of today's expiry on the surface, decimal",
            "none",
            high=3.0,
            null_when=(("vix_missing", "VIX has no close for the session before"),),
        ),
        Dimension(
            "risk_score",
            "larger of (VIX - 12) / 18 and |ln(spot / first price of the session)| over two daily"
            " standard deviations of VIX",
            "clip(x, 0, 1)",
            null_when=(("vix_missing", "VIX has no close for the session before"),),
        ),
        Dimension("minutes_to_close", "minutes of the session that are left", "/ 390"),
    ),
    portfolio=(
        Dimension("has_position", "1 if anything is open, else 0", "none"),
        Dimension(
            "pnl",
            "open P&L after costs so far, dollars per contract sold",
            "clip(x / 100, -100, 100)",
            low=-PNL_BOUND,
            high=PNL_BOUND,
        ),
        Dimension("time_in_position", "minutes since the oldest open fill", "/ 390"),
    ),
)


class Seen(NamedTuple):
    """What an observation is made of, in plain units: minutes, dollars, decimals.

    ``pnl`` is open P&L after costs so far and ``contracts`` how many were sold for it.
    """

    minutes_since_open: float
    spot: float
    atm_iv: float
    has_position: bool
    pnl: float
    contracts: int
    minutes_in_position: float
    risk_score: float
    minutes_to_close: float


def observation(seen: Seen) -> npt.NDArray[np.float32]:
    """The eight numbers in the contract's order: market first, then the account."""
    pnl = seen.pnl / (_SHARES * seen.contracts) if seen.contracts else 0.0
    return np.array(
        [
            seen.minutes_since_open / _MINUTES,
            seen.spot / 500.0,
            seen.atm_iv,
            seen.risk_score,
            seen.minutes_to_close / _MINUTES,
            float(seen.has_position),
            min(max(pnl, -PNL_BOUND), PNL_BOUND),
            seen.minutes_in_position / _MINUTES,
        ],
        dtype=np.float32,
    )
