"""What a source of market data must offer; :mod:`spy_assets.market.sources` has the vendors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Protocol, runtime_checkable

import polars as pl

from spy_assets.market.schemas import Dataset


@runtime_checkable
class Source(Protocol):
    """Market data as a vendor has it, in raw canonical columns (`schemas.raw_columns`).

    Date ranges include both ends. A source without the data set raises `NotProvided`; one that has
    it but not this key or range returns fewer rows, or none. Nothing is cleaned here.
    """

    #: Value of the system column `source`.
    name: str
    #: Whether the data ends in the past, so that live schedules have nothing to do.
    historical: bool

    def span(self, dataset: Dataset) -> tuple[date, date] | None:
        """First and last day of `dataset`; None if the source lacks it or does not know its
        span.
        """
        ...

    def symbols(self) -> tuple[str, ...]:
        """Symbols that the source can be asked for."""
        ...

    def display_symbol(self, symbol: str) -> str:
        """The name to show for `symbol`: `SPY*` where it is a stand-in."""
        ...

    def last_session(self) -> date:
        """The default `as_of` session."""
        ...

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Unadjusted daily bars."""
        ...

    def volatility(self, names: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Volatility indices in points."""
        ...

    def rates(self, series: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Interest rates, decimals per year, by observation date."""
        ...

    def put_call(self, start: date, end: date) -> pl.DataFrame:
        """Put/call volumes (contracts) and ratios."""
        ...

    def minute_bars(self, symbol: str, session: date) -> pl.DataFrame:
        """One-minute bars of a session."""
        ...


@runtime_checkable
class HasFiveMinutes(Protocol):
    """A source that has bars of five minutes of its own, for sessions without their single minutes."""

    def five_minute_bars(self, symbol: str, session: date) -> pl.DataFrame:
        """Five-minute bars of a session."""
        ...


@runtime_checkable
class HasSecondOpinion(Protocol):
    """A source that has some data sets twice, so that one can be held against the other."""

    def second_opinion(
        self, dataset: Dataset, keys: Sequence[str], start: date, end: date
    ) -> pl.DataFrame | None:
        """Raw rows of the same data set from elsewhere, or None."""
        ...
