"""What an intraday policy sees: eight numbers at the end of a bar, scaled here and nowhere else.

The numbers, :data:`~spy_assets.features.contracts.INTRADAY_8_V1`, and their scales are those of the
short-premium plan (inventory S1-01). Its paper trader
divided spot and P&L by a thousand where its training divided by 500 and 100, so that the policy was
asked about a market that it had never seen (D-20): here all call :func:`observation`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.features.contracts import INTRADAY_PNL_BOUND

#: Shares of a contract, and minutes of a whole session.
_SHARES: Final = 100
_MINUTES: Final = 390.0


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
            min(max(pnl, -INTRADAY_PNL_BOUND), INTRADAY_PNL_BOUND),
            seen.minutes_in_position / _MINUTES,
        ],
        dtype=np.float32,
    )
