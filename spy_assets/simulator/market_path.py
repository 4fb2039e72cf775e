"""The market that a simulation walks through: one row per session, as arrays."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.features.contracts import DAILY_15_PROXY_V1, ObservationContract
from spy_assets.options.surface import MAX_VOLATILITY
from spy_assets.sessions import is_session

if TYPE_CHECKING:
    import polars as pl

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Observation 0 to 9 of the contract without option chains, in order.
MARKET_DIMS: Final = DAILY_15_PROXY_V1.market_names
_PRICES: Final = ("session", "open", "close", "vix_open", "vix_close", "rate")
#: Fields of a path that have a value for each session.
_ARRAYS: Final = (
    "open", "close", "iv_open", "iv_close", "iv_open_is_previous_close", "rate", "observation",
    "valid", "factor", "dividend",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class MarketPath:
    """Sessions 0 to n-1 of one underlying.

    Attributes
    ----------
    sessions
        Session days, strictly ascending.
    open, close
        Underlying prices, dollars, ``[n]``.
    iv_open, iv_close
        VIX as a decimal, ``[n]``; NaN where missing. A missing open is the previous close.
    iv_open_is_previous_close
        Where that was done, ``[n]``.
    rate
        Risk-free rate, continuous, per year, ``[n]``; NaN where missing.
    observation
        The ten market dimensions, ``[n, 10]`` float64; NaN where missing.
    valid
        Whether all ten are there, ``[n]``.
    factor
        Shares that one share has grown to by splits and reinvested dividends since some earlier day,
        ``[n]``: the factor of ``features.adjusted_bars``. NaN where that is not known.
    dividend
        Cash that goes ex at each session's open, dollars per share, ``[n]``; 0 where none does and NaN
        where that is not known.
    contract
        What the dimensions of ``observation`` are.
    """

    sessions: tuple[date, ...]
    open: FloatArray
    close: FloatArray
    iv_open: FloatArray
    iv_close: FloatArray
    iv_open_is_previous_close: BoolArray
    rate: FloatArray
    observation: FloatArray
    valid: BoolArray
    factor: FloatArray
    dividend: FloatArray
    contract: ObservationContract = DAILY_15_PROXY_V1

    def __len__(self) -> int:
        return len(self.sessions)

    @classmethod
    def from_arrays(
        cls,
        sessions: Sequence[date],
        *,
        open: npt.ArrayLike,  # noqa: A002
        close: npt.ArrayLike,
        iv_open: npt.ArrayLike,
        iv_close: npt.ArrayLike,
        rate: npt.ArrayLike,
        observation: npt.ArrayLike,
        factor: npt.ArrayLike | None = None,
        dividend: npt.ArrayLike | None = None,
        contract: ObservationContract = DAILY_15_PROXY_V1,
    ) -> MarketPath:
        """Check and complete the arrays; volatilities as decimals, NaN where missing.

        Without ``factor`` nothing is known of dividends and splits, and without ``dividend`` not
        which sessions go ex: no call is then assigned early.

        Raises
        ------
        DataError
            If sessions do not ascend or are not exchange sessions, a price is missing or not
            positive, a volatility is given in index points, or a dividend is negative.
        """
        days = tuple(sessions)
        _require_sessions(days)
        arrays = {
            name: np.array(values, dtype=np.float64)
            for name, values in (
                ("open", open),
                ("close", close),
                ("iv_open", iv_open),
                ("iv_close", iv_close),
                ("rate", rate),
                ("factor", np.full(len(days), np.nan) if factor is None else factor),
                ("dividend", np.full(len(days), np.nan) if dividend is None else dividend),
            )
        }
        seen = np.array(observation, dtype=np.float64)
        _require_shapes(len(days), arrays, seen, len(contract.market))
        for name in ("open", "close"):
            _require_prices(name, days, arrays[name])
        for name in ("iv_open", "iv_close"):
            _require_volatility(name, days, arrays[name])
        _require_dividends(days, arrays["dividend"])
        iv, previous = _complete_open(arrays["iv_open"], arrays["iv_close"])
        path = cls(
            sessions=days,
            open=arrays["open"],
            close=arrays["close"],
            iv_open=iv,
            iv_close=arrays["iv_close"],
            iv_open_is_previous_close=previous,
            rate=arrays["rate"],
            observation=seen,
            valid=np.asarray(np.isfinite(seen).all(axis=1)),
            factor=arrays["factor"],
            dividend=arrays["dividend"],
            contract=contract,
        )
        for array in (*arrays.values(), iv, previous, seen, path.valid):
            array.flags.writeable = False
        return path

    @classmethod
    def from_frame(
        cls, frame: pl.DataFrame, contract: ObservationContract = DAILY_15_PROXY_V1
    ) -> MarketPath:
        """Build a path of a frame with one row per session.

        Parameters
        ----------
        frame
            Columns ``session``, ``open``, ``close``, ``vix_open``, ``vix_close`` (index points),
            ``rate`` (decimal), and the market dimensions of ``contract``; ``factor`` and ``dividend``
            (dollars per share that go ex) may be there. Null and NaN both mean missing; open and
            close may not be missing.

        Raises
        ------
        DataError
            If a column is missing, or as for :meth:`from_arrays`.
        """
        needed = (*_PRICES, *contract.market_names)
        missing = [name for name in needed if name not in frame.columns]
        if missing:
            raise DataError(
                f"the market frame lacks the columns {missing}",
                hint=f"it needs {', '.join(needed)}",
            )
        rows = frame.sort("session")

        def column(name: str) -> FloatArray:
            values = [np.nan if x is None else float(x) for x in rows.get_column(name).to_list()]
            return np.array(values, dtype=np.float64)

        return cls.from_arrays(
            rows.get_column("session").to_list(),
            open=column("open"),
            close=column("close"),
            iv_open=column("vix_open") / 100.0,
            iv_close=column("vix_close") / 100.0,
            rate=column("rate"),
            observation=np.column_stack([column(name) for name in contract.market_names]),
            factor=column("factor") if "factor" in rows.columns else None,
            dividend=column("dividend") if "dividend" in rows.columns else None,
            contract=contract,
        )

    def window(self, start: int, stop: int) -> MarketPath:
        """Sessions ``start`` to ``stop`` - 1 as a path of their own."""
        cut = slice(start, stop)
        arrays = {name: getattr(self, name)[cut] for name in _ARRAYS}
        return replace(self, sessions=self.sessions[cut], **arrays)

    def index_of(self, session: date) -> int:
        """Position of a session.

        Raises
        ------
        DataError
            If the path does not have it.
        """
        index = bisect_left(self.sessions, session)
        if index >= len(self) or self.sessions[index] != session:
            span = f"{self.sessions[0]} to {self.sessions[-1]}" if self.sessions else "nothing"
            raise DataError(f"session {session} is not on the path, which has {span}")
        return index


def _complete_open(iv_open: FloatArray, iv_close: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Put the previous close where the open is missing; say where."""
    before = np.concatenate(([np.nan], iv_close[:-1]))
    previous = np.isnan(iv_open) & ~np.isnan(before)
    return np.where(previous, before, iv_open), previous


def _require_sessions(days: tuple[date, ...]) -> None:
    if not days:
        raise DataError("a market path needs at least one session")
    for before, after in pairwise(days):
        if after <= before:
            raise DataError(f"session {after} follows {before}", hint="sort and drop duplicates")
    strangers = [day for day in days if not is_session(day)]
    if strangers:
        raise DataError(f"{strangers[0]} is not a session of XNYS ({len(strangers)} such rows)")


def _require_shapes(
    n: int, arrays: dict[str, FloatArray], observation: FloatArray, dimensions: int
) -> None:
    for name, values in arrays.items():
        if values.shape != (n,):
            raise DataError(f"{name} has shape {values.shape}, expected ({n},)")
    if observation.shape != (n, dimensions):
        raise DataError(f"observation has shape {observation.shape}, expected ({n}, {dimensions})")


def _require_prices(name: str, days: tuple[date, ...], values: FloatArray) -> None:
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0.0)))
    if bad.size:
        at = int(bad[0])
        raise DataError(
            f"{name} of {days[at]} is {float(values[at])!r} ({bad.size} such sessions)",
            hint="a session without prices cannot be walked through; leave its row out",
        )


def _require_volatility(name: str, days: tuple[date, ...], values: FloatArray) -> None:
    bad = np.flatnonzero(~np.isnan(values) & ~((values > 0.0) & (values < MAX_VOLATILITY)))
    if bad.size:
        at = int(bad[0])
        raise DataError(
            f"{name} of {days[at]} is {float(values[at])!r}, not a volatility as a decimal",
            hint="divide index points by 100 and leave missing values missing",
        )


def _require_dividends(days: tuple[date, ...], values: FloatArray) -> None:
    bad = np.flatnonzero(~np.isnan(values) & ~((values >= 0.0) & np.isfinite(values)))
    if bad.size:
        at = int(bad[0])
        raise DataError(f"dividend of {days[at]} is {float(values[at])!r}, not an amount of cash")
