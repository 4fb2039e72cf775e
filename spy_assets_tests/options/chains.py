"""Chains made by a formula, complete and possible, for tests to spoil."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from spy_assets.market.cleaning import Cleaned
from spy_assets.options import american, black_scholes
from spy_assets.options.chain import RawChain, as_chain, clean_chain, occ_columns
from spy_assets.options.expiries import (
    EUROPEAN_ROOTS,
    expiries_listed,
    options_close,
    settlement,
    third_friday,
)

SESSION = date(2024, 6, 12)
SPOT, RATE, YIELD = 540.0, 0.05, 0.013
EVENING = datetime(2024, 6, 12, 21, 0, tzinfo=UTC)
YEAR = 365.0 * 86_400.0


def smile(moneyness: np.ndarray, years: np.ndarray) -> np.ndarray:
    """A volatility that falls with the strike and rises with time."""
    slope = np.log(moneyness) / np.sqrt(np.maximum(years, 0.02))
    return 0.13 + 0.02 * np.sqrt(years) - 0.05 * slope + 0.02 * slope**2


#: What :func:`model_chain` is priced at, as the analytics and the checks take it.
MARKET: dict[str, float] = {"rate": RATE, "dividend_yield": YIELD}


def model_chain(
    session: date = SESSION,
    *,
    spot: float = SPOT,
    spread: float = 0.04,
    root: str = "SPY",
    quoted_at: datetime | None = None,
) -> pl.DataFrame:
    """All expiries listed for sure, strikes every 5 dollars between 0.8 and 1.2 of the spot.

    Prices are American (SPY) or European (SPXW), at one rate, yield and smile.
    """
    still = options_close(session, root)
    at = min(quoted_at or still + timedelta(minutes=45), still)
    days = [expiry.day for expiry in expiries_listed(root, session) if expiry.certain]
    strikes = np.arange(round(spot * 0.8 / 5) * 5, spot * 1.2, 5.0)
    grid = pl.DataFrame({"expiry": days}, schema={"expiry": pl.Date}).join(
        pl.DataFrame({"strike": strikes}), how="cross"
    )
    grid = grid.join(pl.DataFrame({"right": ["C", "P"]}), how="cross")
    years = np.array(
        [max(0.0, (settlement(root, d).settles_at - at).total_seconds()) for d in grid["expiry"]]
    )
    years /= YEAR
    strike = grid["strike"].to_numpy()
    sigma = smile(strike / spot, years)
    priced = black_scholes.price if root in EUROPEAN_ROOTS else american.price
    mid = priced(spot, strike, years, RATE, YIELD, sigma, grid["right"].to_list())
    number = np.arange(len(mid))
    frame = grid.with_columns(
        root=pl.lit(root),
        bid=pl.Series(np.where(mid > spread, mid - spread / 2, 0.0)),
        ask=pl.Series(np.where(mid > spread, mid + spread / 2, spread)),
        volume=pl.Series(10 + number % 90),
        open_interest=pl.Series(100 + number % 400),
        bid_size=pl.lit(5),
        ask_size=pl.lit(7),
    ).with_columns(last=(pl.col("bid") + pl.col("ask")) / 2, occ=_occ())
    return as_chain(
        frame,
        session=session,
        symbol="SPY",
        quoted_at=quoted_at or still + timedelta(minutes=45),
        last_at=still - timedelta(minutes=1),
        spot=spot,
        source="model",
        available_at=quoted_at or still + timedelta(minutes=45),
    )


def _occ() -> pl.Expr:
    mills = (pl.col("strike") * 1000).cast(pl.Int64).cast(pl.String).str.zfill(8)
    day = pl.col("expiry").dt.strftime("%y%m%d")
    return pl.concat_str(pl.col("root").str.pad_end(6), day, "right", mills)


def cleaned(frame: pl.DataFrame, session: date = SESSION, as_of: datetime = EVENING) -> Cleaned:
    """What cleaning says to a frame."""
    return clean_chain(RawChain(frame), session=session, as_of=as_of, symbol="SPY")


def spoil(frame: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    """The frame with other values in one row."""
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value, frame.schema[name])).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    )


def with_saturdays(frame: pl.DataFrame) -> pl.DataFrame:
    """The chain as its symbols were before 2015: monthlies carry the Saturday after."""
    monthly = [day for day in frame["expiry"].unique() if day == third_friday(day.year, day.month)]
    expiry = pl.when(pl.col("expiry").is_in(monthly)).then(pl.col("expiry") + timedelta(days=1))
    return frame.with_columns(pl.coalesce(expiry, "expiry").alias("expiry")).with_columns(
        occ=_occ()
    )


def only_traded(frame: pl.DataFrame, share: int = 3) -> pl.DataFrame:
    """What a list of trades has of the chain: one contract in `share`, and no quotes."""
    unsaid = ("bid", "ask", "bid_size", "ask_size", "open_interest", "spot")
    traded = frame.filter(pl.col("volume") % share == 0)
    return traded.with_columns(pl.lit(None, frame.schema[name]).alias(name) for name in unsaid)


def at_the_money(frame: pl.DataFrame, days: int = 30, right: str = "C") -> int:
    """The row of a contract at the money, a month or so before its expiry."""
    rows = frame.with_row_index("row").filter(
        (pl.col("right") == right) & (pl.col("strike") == SPOT)
    )
    away = (pl.col("expiry") - pl.col("session")).dt.total_days() - days
    return int(rows.sort(away.abs())["row"][0])


def real_chain(folder: Path, day: str) -> RawChain:
    """A chain of the shared CBOE files, in the canonical schema."""
    raw = pl.read_parquet(folder / "chains" / "cboe" / "SPY" / f"{day}.parquet")
    told = pl.read_parquet(folder / "chains" / "cboe" / "underlying.parquet")
    row = told.row(
        by_predicate=(pl.col("session_date") == day) & (pl.col("ticker") == "SPY"), named=True
    )
    at = datetime.fromisoformat(row["payload_timestamp"]).replace(tzinfo=UTC)
    local = pl.col("last_trade_time").dt.replace_time_zone("America/New_York")
    greeks = {f"vendor_{name}": name for name in ("iv", "delta", "gamma", "theta", "vega", "rho")}
    frame = raw.select(
        *occ_columns(pl.col("option")),
        "bid",
        "ask",
        "bid_size",
        "ask_size",
        "volume",
        "open_interest",
        session="session_date",
        symbol="ticker",
        last="last_trade_price",
        last_at=local.dt.convert_time_zone("UTC"),
        **{name: pl.col(column) for name, column in greeks.items()},
    )
    constants = {"quoted_at": at, "spot": row["close"], "source": "cboe", "available_at": at}
    return RawChain(as_chain(frame, **constants))
