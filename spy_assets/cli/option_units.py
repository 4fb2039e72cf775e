"""The units in which the option commands tell and are told numbers.

The warehouse and the pricing functions keep theta per year, vega and rho per 1.00. People, and the
JSON of every option command, read theta per calendar day, vega and rho per point (0.01); the keys of
the JSON say so. A decimal may be given as a percentage, ``15%``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from spy_assets.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

PER_DAY: Final = 1.0 / 365.0
PER_POINT: Final = 0.01
#: Columns as they are stored, what JSON calls them, and the factor between the two.
AS_READ: Final = {
    "theta": ("theta_per_day", PER_DAY),
    "vega": ("vega_per_vol_point", PER_POINT),
    "rho": ("rho_per_rate_point", PER_POINT),
}
_GREEK_UNITS: Final = {
    "delta": "dollars a share per dollar of the underlying",
    "gamma": "delta per dollar of the underlying",
    "theta_per_day": "dollars a share per calendar day",
    "vega_per_vol_point": "dollars a share per 0.01 of volatility",
    "rho_per_rate_point": "dollars a share per 0.01 of the rate",
}
#: What stands in the JSON of ``spy price`` as ``units``.
PRICE_UNITS: Final = {
    "price": "dollars a share",
    "volatility": "decimal a year",
    "rate, dividend_yield": "decimal a year, continuous",
    "dividends": "dollars a share",
    "years": "ACT/365",
    **_GREEK_UNITS,
    "risk": "dollars a unit of 100 shares a contract",
}
#: The same of ``spy chain``.
CHAIN_UNITS: Final = {
    "bid, ask, mid, early_exercise, expected_move": "dollars a share",
    "iv, iv_used, vendor_iv, atm_iv": "decimal a year",
    "rate, dividend_yield": "decimal a year, continuous",
    "years": "ACT/365",
    **_GREEK_UNITS,
    "vendor_*": "as the column of that name without vendor_",
}
#: Larger ones are told from percentages by their sign only. The VIX never closed above 0.83
#: (2020-03-16), and no Treasury bill paid a fifth.
MOST_VOLATILITY: Final = 3.0
MOST_RATE: Final = 0.5


def as_read(rows: pl.DataFrame) -> pl.DataFrame:
    """The contracts of a chain with the Greeks, and the vendor's, in the units that JSON names."""
    renamed = {}
    for name, (read, factor) in AS_READ.items():
        for prefix in ("", "vendor_"):
            if prefix + name in rows.columns:
                rows = rows.with_columns(rows[prefix + name] * factor)
                renamed[prefix + name] = prefix + read
    return rows.rename(renamed)


def decimal_of(text: str, option: str, *, most: float) -> float:
    """Read a decimal, or a percentage with its sign.

    Raises
    ------
    ConfigError
        If it is no number, or one above ``most`` without a percent sign: more likely a percentage.

    >>> decimal_of("0.12", "--vol", most=3.0), decimal_of("12%", "--vol", most=3.0)
    (0.12, 0.12)
    """
    digits = text.strip()
    percent = digits.endswith("%")
    try:
        number = Decimal(digits.removesuffix("%"))
    except ArithmeticError as error:
        raise ConfigError(
            f"{option} {text!r} is not a number", hint="write a decimal like 0.12, or 12%"
        ) from error
    if percent:
        return float(number.scaleb(-2))
    if most < abs(float(number)) < float("inf"):
        meant, told = float(number.scaleb(-2)), float(number.scaleb(2))
        raise ConfigError(
            f"{option} {digits} is {told:,.10g} %; did you mean {meant:.10g}?",
            hint=f"write {meant:.10g} or {digits}%; above {most:g} the percent sign is needed: "
            f"{told:.10g}%",
        )
    return float(number)
