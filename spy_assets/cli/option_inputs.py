"""What the option commands are given: moments, rates, volatilities, and where pictures go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from spy_assets.errors import ConfigError, WarehouseError

if TYPE_CHECKING:
    from spy_assets.cli.terminal import Terminal
    from spy_assets.options.american import CashDividend
    from spy_assets.options.pictures import Chart, SurfaceGrid
    from spy_assets.warehouse import Warehouse

_PICTURES: Final = (".html", ".png", ".svg")


@dataclass(frozen=True, slots=True)
class Carry:
    """Rate and dividend yield, continuous per year as decimals, and who says so."""

    rate: float
    dividend_yield: float
    rate_from: str
    yield_from: str


@dataclass(frozen=True, slots=True)
class GivenDividend:
    """A dividend in dollars a share, and years (ACT/365) from the moment of the price to its ex-date."""

    ex_date: date
    cash: float
    ex_years: float

    def within(self, years: float) -> bool:
        """Whether a contract with so many years left sees the spot fall."""
        return 0.0 < self.ex_years <= years

    @property
    def as_cash(self) -> CashDividend:
        """As the pricing functions take it."""
        from spy_assets.options.american import CashDividend

        return CashDividend(self.ex_years, self.cash)


def day_of(text: str, option: str) -> date:
    """Read a date.

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{option} {text!r} is not a date", hint="write it as 2026-08-21"
        ) from error


def moment_of(text: str | None, now: datetime) -> datetime:
    """Read a moment with its time zone; ``now`` where nothing is given.

    Raises
    ------
    ConfigError
        If it is no moment, or one without a time zone.
    """
    if text is None:
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--at {text!r} is not a moment", hint="write it as 2026-07-31T20:00Z"
        ) from error
    if moment.tzinfo is None:
        raise ConfigError(
            f"--at {text!r} has no time zone", hint="end it with Z, or an offset such as -04:00"
        )
    return moment.astimezone(UTC)


def require_number(value: float, option: str, *, positive: bool = False) -> float:
    """Give the number back.

    Raises
    ------
    ConfigError
        If it is not finite, or not above 0 where it has to be.
    """
    if math.isfinite(value) and (value > 0.0 or not positive):
        return value
    above = " above 0" if positive else ""
    raise ConfigError(f"{option} {value!r} is not a number{above}", hint=f"mend {option}")


def dividends_of(texts: Sequence[str], at: datetime, spot: float) -> tuple[GivenDividend, ...]:
    """Read dividends such as ``2026-09-18:1.95``; the spot falls at the open of the ex-date.

    Raises
    ------
    ConfigError
        If one cannot be read, its day is no session or is given twice, or they exceed the spot.
    """
    found = sorted((_dividend(text, at) for text in texts), key=lambda each: each.ex_date)
    days = [each.ex_date for each in found]
    twice = [day for day, after in pairwise(days) if day == after]
    if twice:
        raise ConfigError(
            f"--dividend has {twice[0]} twice", hint="give one dividend for each ex-date"
        )
    total = math.fsum(each.cash for each in found)
    if total >= spot:
        raise ConfigError(
            f"--dividend: {total:,.2f} dollars in all are not below --spot {spot:,.2f}",
            hint="give dollars per share, like 2026-09-18:1.95",
        )
    return tuple(found)


def _dividend(text: str, at: datetime) -> GivenDividend:
    from spy_assets.options.contracts import YEAR_SECONDS
    from spy_assets.sessions import is_session, session_open

    day_text, colon, cash_text = text.strip().partition(":")
    hint = "write the ex-date and dollars per share, like 2026-09-18:1.95"
    try:
        day, cash = date.fromisoformat(day_text), float(cash_text)
    except ValueError as error:
        raise ConfigError(f"--dividend {text!r} is not DATE:CASH", hint=hint) from error
    if not (colon and math.isfinite(cash) and cash > 0.0):
        raise ConfigError(f"--dividend {text!r} has no cash above 0", hint=hint)
    if not is_session(day):
        raise ConfigError(
            f"--dividend {text!r}: {day} ({day:%A}) is no session",
            hint="give the ex-date, on which the exchange is open",
        )
    return GivenDividend(day, cash, (session_open(day) - at).total_seconds() / YEAR_SECONDS)


def carry_of(
    terminal: Terminal,
    symbol: str,
    at: datetime,
    *,
    rate: float | None,
    dividend_yield: float | None,
) -> Carry:
    """Rate and yield as given; what is not given is taken from the lake, if it has a fresh one.

    What the lake knew at the moment counts, by the rules of :mod:`spy_assets.options.carry`.

    Raises
    ------
    ConfigError
        If the lake cannot tell what was not given.
    """
    if rate is not None and dividend_yield is not None:
        given = (require_number(rate, "--rate"), require_number(dividend_yield, "--yield"))
        return Carry(*given, "given", "given")
    missing = [n for n, v in (("--rate", rate), ("--yield", dividend_yield)) if v is None]
    try:
        from spy_assets.warehouse import Warehouse

        with Warehouse.open(terminal.settings, read_only=True) as warehouse:
            told = (rate, "given") if rate is not None else _rate(warehouse, at)
            paid = (dividend_yield, "given")
            if dividend_yield is None:
                paid = _yield(warehouse, symbol, at)
    except WarehouseError as error:
        raise ConfigError(
            f"{' and '.join(missing)} not given, and no lake tells: {error.message}",
            hint=f"give {' and '.join(missing)} as decimals per year, like 0.036",
        ) from error
    unknown = [n for n, (v, _) in (("--rate", told), ("--yield", paid)) if v is None]
    if told[0] is None or paid[0] is None:
        raise ConfigError(
            f"{' and '.join(unknown)} not given, and the lake of profile "
            f"{terminal.settings.profile_name!r} does not know {symbol} at {at.date()}",
            hint=f"give {' and '.join(unknown)} as decimals per year, like 0.036",
        )
    return Carry(
        require_number(told[0], "--rate"), require_number(paid[0], "--yield"), told[1], paid[1]
    )


def _rate(warehouse: Warehouse, at: datetime) -> tuple[float | None, str]:
    from spy_assets.options.carry import known_rate

    rows = warehouse.read("market.rates", as_of=at)
    found, series = known_rate(rows, at.date())
    used = rows.filter((pl.col("series") == series) & (pl.col("session") <= at.date()))
    if found is None or used.is_empty():
        return None, ""
    last = used.sort("session").row(-1, named=True)
    constant = ", a constant" if last["is_constant"] else ""
    return found, f"the lake's {series} of {last['session']}{constant}"


def _yield(warehouse: Warehouse, symbol: str, at: datetime) -> tuple[float | None, str]:
    from spy_assets.options.carry import trailing_yield

    bars = warehouse.read("market.daily_bars", as_of=at, where="symbol = ?", params=[symbol])
    return trailing_yield(bars, at.date()), f"the lake's dividends of the year to {at.date()}"


def require_picture_path(path: Path | None) -> None:
    """Refuse a picture that cannot be written, before anything is computed.

    Raises
    ------
    ConfigError
        If the ending is none of .html, .png and .svg, or the folder does not exist.
    """
    if path is None:
        return
    if path.suffix.lower() not in _PICTURES:
        raise ConfigError(
            f"--picture {str(path)!r} is no format of pictures",
            hint=f"end the name with one of: {', '.join(_PICTURES)}",
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"--picture: there is no folder {str(path.parent)!r}", hint="make the folder first"
        )


def is_page(path: Path) -> bool:
    """Whether the name's ending asks for a page, which has room for several pictures."""
    return path.suffix.lower() == ".html"


def write_picture(path: Path, chart: Chart) -> None:
    """Draw the chart in the format of the name's ending.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    from spy_assets.options.pictures import as_html, as_png, as_svg

    if path.suffix.lower() == ".png":
        _write(path, as_png(chart))
    else:
        _write(path, (as_html if is_page(path) else as_svg)(chart).encode())


def write_album(path: Path, pictures: Sequence[Chart | SurfaceGrid], title: str) -> None:
    """Write a page with all the pictures.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    from spy_assets.options.pictures import as_album

    _write(path, as_album(pictures, title=title).encode())


def _write(path: Path, body: bytes) -> None:
    try:
        path.write_bytes(body)
    except OSError as error:
        raise ConfigError(
            f"--picture {str(path)!r} cannot be written: {error.strerror}",
            hint="choose another place",
        ) from error
