"""Drops: files that a vendor delivered, put under `chains/VENDOR` of the folder of files."""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import ClassVar, Self

import polars as pl

from spy_assets.errors import EmptyResponse, NotProvided, SchemaDrift, WrongContent
from spy_assets.market.sources.chains.protocol import opened_by
from spy_assets.market.sources.chains.rows import reading
from spy_assets.market.sources.http import whole_csv
from spy_assets.options.chain import RawChain


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Name the file that cannot be read.

    Raises
    ------
    WrongContent
        If it is not what its name says: broken off, overwritten, a page that was saved instead.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise WrongContent(
            f"{path.name}: cannot be read as {path.suffix}: {error}", hint=_AGAIN
        ) from error


_AGAIN = "fetch it again from the vendor"
#: What the readers of Parquet, gzip and zip raise over a damaged file. Of a zip whose directory is, a
#: place before its start (OSError), a password or another way of packing (RuntimeError).
_UNREADABLE = (
    pl.exceptions.PolarsError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
)


def named_day(text: str) -> date | None:
    """The day that a file is named by, or None: it is none of the vendor's files.

    >>> named_day("2024-03-07"), named_day("2024-13-07")
    (datetime.date(2024, 3, 7), None)
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


class Drops:
    """A folder of drops.

    Parameters
    ----------
    root
        The folder of files, as for the `files` source.
    """

    #: Value of the column `source`, and name of the folder.
    name: str

    def __init__(self, root: Path) -> None:
        self._folder = root / "chains" / self.name


class LineDrops(Drops, ABC):
    """Files of lines of text, of one or more days each: `chains/VENDOR/SYMBOL/*`."""

    #: Ends of the names of the vendor's files.
    suffixes: ClassVar[Collection[str]]
    #: How the vendor dates the names of its files; one without a date may hold any day.
    dated: ClassVar[str]

    #: Name of the first column of the vendor's files, in any case.
    first_column: ClassVar[str]
    #: The one file that is read, wherever it lies; None for those of the folder.
    only: Path | None = None

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """The chains of one file, wherever it lies."""
        drops = cls(path.parent)
        drops.only = path
        return drops

    def _files(self, symbol: str) -> list[Path]:
        if self.only is not None:
            return [self.only]
        folder = self._folder / symbol
        return sorted(path for path in folder.glob("*") if path.suffix in self.suffixes)

    def _lines(self, path: Path, symbol: str) -> tuple[pl.DataFrame, pl.Series]:
        """The lines of a file that are of the symbol, and the day of each."""
        with opening(path):
            body = self.open(path)
            if len(body.strip().splitlines()) < 2:
                raise EmptyResponse(f"{path.name}: not one line", hint=_AGAIN)
            lines = whole_csv(body, path.name).rename(self.column)
        with reading(path.name):
            own = self.own(lines, symbol)
            return own, self.days(own)

    def open(self, path: Path) -> bytes:
        """The text of a file."""
        return path.read_bytes()

    @abstractmethod
    def column(self, name: str) -> str:
        """What :meth:`read` calls a column of the file."""

    @abstractmethod
    def own(self, lines: pl.DataFrame, symbol: str) -> pl.DataFrame:
        """The lines that are of the symbol."""

    @abstractmethod
    def days(self, lines: pl.DataFrame) -> pl.Series:
        """The session of each line, as text: `2024-03-07`."""

    @abstractmethod
    def read(
        self, lines: pl.DataFrame, symbol: str, session: date, *, now: datetime, what: str
    ) -> RawChain:
        """The chain in the lines of one session."""

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:
        """The days of all files' lines."""
        days: set[date] = set()
        for path in self._files(symbol):
            days |= {_day(text, path) for text in self._lines(path, symbol)[1].unique()}
        return opened_by(days, now)

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """The lines of that day.

        Raises
        ------
        NotProvided
            If no file has a line of it.
        SchemaDrift
            If a file's columns are not the vendor's.
        """
        files = self._files(symbol)
        named = [path for path in files if session.strftime(self.dated) in path.stem]
        for path in named or files:
            lines, days = self._lines(path, symbol)
            rows = lines.filter(days == session.isoformat())
            if not rows.is_empty():
                return self.read(rows, symbol, session, now=now, what=path.name)
        raise NotProvided(
            f"no line of {symbol} of {session} in {[path.name for path in files]}",
            hint="put the vendor's file of that day into the folder (docs/chains.md)",
        )


def _day(text: str | None, path: Path) -> date:
    try:
        return date.fromisoformat(text or "")
    except ValueError as error:
        raise SchemaDrift(
            f"{path.name}: a line of the day {text!r}",
            hint="the vendor changed its format; adapt the source and its test",
        ) from error
