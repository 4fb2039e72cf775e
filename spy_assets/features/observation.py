"""From a row of ``features.daily_15`` and an account to the vector that a policy sees.

Training, backtest and live signals all build observations here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np

from spy_assets.errors import DataError
from spy_assets.features.contracts import DAILY_15_PROXY_V1, Dimension, ObservationContract

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Code of each daily structure in the dimension ``position_type``.
POSITION_TYPE_CODES: dict[str, float] = {
    "long_call": 0.2,
    "long_put": 0.4,
    "bull_call_debit": 0.5,
    "bear_put_debit": 0.6,
    "iron_condor": 0.8,
}
#: Rounding of float32 may leave the range by this much.
_TOLERANCE = 1e-6


class IncompleteObservation(DataError):
    """The observation cannot be built; ``reasons`` says why, dimension by dimension."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(
            f"the observation is incomplete: {', '.join(reasons)}",
            hint="hold: a missing input is never replaced by a neutral value",
        )
        self.reasons = tuple(reasons)


def parse_quality(quality: str | None) -> dict[str, str]:
    """Reasons of the column ``quality``, by dimension.

    >>> parse_quality("iv:vix_missing;iv_rank:vix_missing")
    {'iv': 'vix_missing', 'iv_rank': 'vix_missing'}
    >>> parse_quality("ok")
    {}
    """
    if not quality or quality == "ok":
        return {}
    return dict(item.split(":", 1) for item in quality.split(";"))


def _as_number(value: object) -> float:
    if isinstance(value, float | int):  # asking for the protocol takes ten times as long
        return float(value)
    return float(value) if isinstance(value, SupportsFloat) else math.nan


def _fault(dimension: Dimension, value: float, reasons: Mapping[str, str]) -> str | None:
    if not math.isfinite(value):
        return f"{dimension.name}:{reasons.get(dimension.name, 'missing')}"
    if not dimension.low - _TOLERANCE <= value <= dimension.high + _TOLERANCE:
        return f"{dimension.name}:out_of_range({value:g})"
    return None


def missing_reasons(
    market_row: Mapping[str, object], contract: ObservationContract = DAILY_15_PROXY_V1
) -> list[str]:
    """Why the market part of an observation cannot be used, as ``dimension:reason``; else ``[]``.

    The reasons are the ones of the row's ``quality`` column; ``missing`` where it has none.
    """
    quality = market_row.get("quality")
    reasons = parse_quality(quality if isinstance(quality, str) else None)
    faults = (
        _fault(dimension, _as_number(market_row.get(dimension.name)), reasons)
        for dimension in contract.market
    )
    return [fault for fault in faults if fault is not None]


def build_observation(
    market_row: Mapping[str, object],
    portfolio: Mapping[str, object],
    contract: ObservationContract = DAILY_15_PROXY_V1,
) -> NDArray[np.float32]:
    """Build the observation as ``float32[contract.size]``, in the contract's order.

    Parameters
    ----------
    market_row
        A row of ``features.daily_15`` (more columns are ignored).
    portfolio
        The portfolio dimensions, as :func:`portfolio_dimensions` gives them.

    Raises
    ------
    IncompleteObservation
        If any dimension is absent, null, NaN, infinite or outside its range.
    """
    faults = missing_reasons(market_row, contract)
    for dimension in contract.portfolio:
        fault = _fault(dimension, _as_number(portfolio.get(dimension.name)), {})
        if fault is not None:
            faults.append(fault)
    if faults:
        raise IncompleteObservation(faults)
    values = [_as_number(market_row[name]) for name in contract.market_names]
    values += [_as_number(portfolio[name]) for name in contract.portfolio_names]
    return np.asarray(values, dtype=np.float32)


def portfolio_dimensions(
    *,
    value: float,
    initial_capital: float,
    structure: str | None = None,
    pnl: float = 0.0,
    capital_at_risk: float = 1.0,
    sessions_held: int = 0,
    max_holding: int = 5,
    type_code: float | None = None,
) -> dict[str, float]:
    """Return the five portfolio dimensions of `daily_15_proxy_v1` for the state of an account.

    The simulator calls this at every close, and the simulator's account is the one in training,
    backtest and live signals alike: there is no second definition.

    Parameters
    ----------
    value, initial_capital
        Account value now and at the start, dollars.
    structure
        Name of the open structure, or None.
    pnl, capital_at_risk
        Open profit after costs so far, and what the position can lose, dollars: for a debit what it
        cost to enter, for a credit its maximum loss.
    sessions_held, max_holding
        Closes at which the position was open, and the most that are allowed.
    type_code
        Code of the structure, for an action map that has others than the contract's.

    Raises
    ------
    DataError
        If the structure has no code in the contract, and none is given.
    """
    code = POSITION_TYPE_CODES.get(structure or "", type_code)
    if structure is not None and code is None:
        raise DataError(
            f"structure {structure!r} has no position code in the daily contract",
            hint=f"use one of {', '.join(POSITION_TYPE_CODES)}",
        )
    return {
        "balance": min(max(value / (2.0 * initial_capital), 0.0), 1.0),
        "has_position": 0.0 if structure is None else 1.0,
        "position_type": 0.0 if structure is None or code is None else code,
        "unrealized_pnl": min(max(pnl / capital_at_risk + 0.5, 0.0), 1.0),
        "holding_time": min(max(sessions_held / max_holding, 0.0), 1.0),
    }
