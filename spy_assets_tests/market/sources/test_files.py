"""The files source: a small folder made here, and the real one where it is at hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from spy_assets.errors import ConfigError, NaiveTimestamp, NotProvided, SchemaDrift
from spy_assets.market.adjustment import forward_adjust
from spy_assets.market.ingest import ingest, ingest_minutes
from spy_assets.market.sources import open_source
from spy_assets.market.sources.files import FilesSource
from spy_assets.sessions import bars_due, session_open
from spy_assets.settings import load_settings

DAY, HALF = date(2024, 6, 3), date(2024, 7, 3)
ALL = (date(1990, 1, 1), date(2024, 12, 31))


def write(root: Path, name: str, frame: pl.DataFrame) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)


def daily(days: list[date], close: list[float], split: list[float] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"date": days, "open": close, "high": close, "low": close, "close": close}
    ).with_columns(
        adj_close=pl.col("close") / 2,
        volume=pl.lit(1000),
        dividend=pl.lit(0.0),
        split=pl.Series(split or [0.0] * len(days)),
    )


def minutes(session: date, offsets: range, price: float = 10.0) -> pl.DataFrame:
    opened = session_open(session)
    stamps = pl.Series(
        [opened + timedelta(minutes=n) for n in offsets], dtype=pl.Datetime("us", "UTC")
    )
    columns = {name: [price] * len(stamps) for name in ("open", "high", "low", "close", "volume")}
    return pl.DataFrame({"ts": stamps, **columns})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    days = [date(2024, 6, 3), date(2024, 6, 4), date(2024, 6, 5)]
    write(tmp_path, "bars/daily/SPY.parquet", daily(days, [10.0, 11.0, 12.0]))
    return tmp_path


@pytest.fixture(scope="session")
def real(shared_data: Path) -> FilesSource:
    settings = load_settings(source="files", files_dir=shared_data)
    source = open_source(settings)
    assert isinstance(source, FilesSource)
    return source


def test_a_folder_without_the_traded_symbol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file bars/daily/SPY\.parquet"):
        FilesSource(tmp_path)


def test_the_span_is_that_of_the_traded_symbol(root: Path) -> None:
    source = FilesSource(root, ("SPY", "QQQ"))
    assert source.span("daily_bars") == (date(2024, 6, 3), date(2024, 6, 5))
    assert source.span("put_call") is None
    assert source.symbols() == ("SPY",)
    assert source.last_session() == date(2024, 6, 5)


def test_only_the_days_asked_for_come(root: Path) -> None:
    got = FilesSource(root).daily_bars(["SPY", "QQQ"], date(2024, 6, 4), date(2024, 6, 4))
    assert got.select("session", "close", "split").rows() == [(date(2024, 6, 4), 11.0, 1.0)]


def test_adj_close_is_not_needed(root: Path) -> None:
    frame = daily([DAY], [10.0]).drop("adj_close")
    write(root, "bars/daily/QQQ.parquet", frame)
    assert FilesSource(root).daily_bars(["QQQ"], *ALL).height == 1


@pytest.mark.fault(36)
def test_a_renamed_column_is_shown(root: Path) -> None:
    write(root, "bars/daily/QQQ.parquet", daily([DAY], [10.0]).rename({"close": "closing"}))
    with pytest.raises(SchemaDrift, match=r"QQQ\.parquet: missing \['close'\], new \['closing'\]"):
        FilesSource(root).daily_bars(["QQQ"], *ALL)


@pytest.mark.fault(6)
def test_a_later_split_does_not_depend_on_the_range(root: Path) -> None:
    days = [date(2024, 6, 3), date(2024, 6, 4), date(2024, 6, 5)]
    write(root, "bars/daily/QQQ.parquet", daily(days, [10.0, 10.1, 10.2], [0.0, 0.0, 2.0]))
    source = FilesSource(root)
    whole = source.daily_bars(["QQQ"], *ALL)
    assert whole["close"].to_list() == [20.0, 20.2, 10.2]
    assert source.daily_bars(["QQQ"], days[0], days[1]).equals(whole.head(2))


def test_a_missing_dividend_is_filled_in(root: Path) -> None:
    paid = pl.DataFrame({"ex_date": [date(2024, 6, 4)], "dividend": [0.4]})
    write(root, "dividends/SPY.parquet", paid)
    assert FilesSource(root).daily_bars(["SPY"], *ALL)["dividend"].to_list() == [0.0, 0.4, 0.0]


def test_the_most_complete_file_of_a_session_is_taken(root: Path) -> None:
    write(root, "bars/1min/SPY/a.parquet", minutes(DAY, range(100)))
    write(root, "bars/1min/SPY/ext_b.parquet", minutes(DAY, range(-60, 300), 20.0))
    got = ingest_minutes(FilesSource(root), "SPY", DAY)
    assert got.frame["close"].unique().to_list() == [20.0]
    assert got.coverage.select("due", "present", "gaps").row(0) == (390, 300, 1)
    assert got.notes == ("from ext_b.parquet", "60 bars outside regular hours left out")


def test_bars_after_an_early_close_do_not_count(root: Path) -> None:
    write(root, "bars/1min/SPY/a.parquet", minutes(HALF, range(100, 390)))
    write(root, "bars/1min/SPY/b.parquet", minutes(HALF, range(200), 20.0))
    assert FilesSource(root).minute_bars("SPY", HALF)["close"].unique().to_list() == [20.0]


def test_a_session_without_minutes_is_not_provided(root: Path) -> None:
    write(root, "bars/1min/SPY/a.parquet", minutes(DAY, range(100)))
    with pytest.raises(NotProvided, match=r"2024-07-03 in \['a\.parquet'\]"):
        FilesSource(root).minute_bars("SPY", HALF)


@pytest.mark.fault(18)
def test_naive_minutes_are_refused(root: Path) -> None:
    naive = minutes(DAY, range(10)).with_columns(pl.col("ts").dt.replace_time_zone(None))
    write(root, "bars/1min/SPY/a.parquet", naive)
    with pytest.raises(NaiveTimestamp, match="the column ts is"):
        FilesSource(root).minute_bars("SPY", DAY)


def test_data_sets_without_files_are_not_provided(root: Path) -> None:
    source = FilesSource(root)
    with pytest.raises(NotProvided, match="rates"):
        source.rates(["DFF"], *ALL)
    with pytest.raises(NotProvided, match="put_call"):
        source.put_call(*ALL)
    assert source.volatility(["VIX"], *ALL).is_empty()


def test_rates_become_decimals_and_other_series_stay_out(root: Path) -> None:
    rows = pl.DataFrame({"date": [DAY] * 2, "series": ["DFF", "UNRATE"], "value": [5.33, 4.0]})
    write(root, "fred/rates.parquet", rows)
    got = FilesSource(root).rates(["DFF", "UNRATE"], *ALL)
    assert got.select("series", "rate").rows() == [("DFF", pytest.approx(0.0533))]


@pytest.mark.parametrize(
    ("symbol", "day", "close"),
    [
        ("SPY", date(2008, 10, 10), 88.50),
        ("SPY", date(2020, 3, 23), 222.95),
        ("SPY", date(2022, 10, 12), 356.56),
        ("QQQ", date(2000, 3, 17), 221.625),
    ],
)
def test_known_closes(real: FilesSource, symbol: str, day: date, close: float) -> None:
    assert real.daily_bars([symbol], day, day)["close"].item() == close


def test_a_known_vix_close(real: FilesSource) -> None:
    day = date(2020, 3, 16)
    assert real.volatility(["VIX"], day, day)["close"].item() == 82.69


def test_real_daily_bars_are_clean(real: FilesSource) -> None:
    got = ingest(real, "daily_bars", start=ALL[0], end=ALL[1])
    assert got.errors == 0
    assert set(got.quarantined["reason"]) == {"jump"}
    assert got.coverage.filter(pl.col("gaps") > 0).is_empty()
    assert got.frame.group_by("symbol").len().filter(symbol="SPY")["len"].item() == 8038


def test_real_adjustment_gives_total_returns(real: FilesSource, shared_data: Path) -> None:
    got = forward_adjust(ingest(real, "daily_bars", start=ALL[0], end=ALL[1], keys=["SPY"]).frame)
    vendor = pl.read_parquet(shared_data / "bars/daily/SPY.parquet")["adj_close"]
    mine = got["close"][-1] / got["close"][0]
    assert mine == pytest.approx(vendor[-1] / vendor[0], rel=2e-3)


@pytest.mark.fault(1)
def test_real_holiday_rows_and_opens_of_vix(real: FilesSource) -> None:
    got = ingest(real, "volatility", start=ALL[0], end=ALL[1], keys=["VIX"])
    told = dict(got.quarantined.group_by("reason").len().iter_rows())
    assert told == {"not_a_session": 20, "open_outside_range": 47, "jump": 2}
    assert got.frame.height == 8813
    assert got.frame["open"].null_count() == 47


def test_real_put_call_sources_are_held_against_each_other(real: FilesSource) -> None:
    got = ingest(real, "put_call", start=ALL[0], end=ALL[1])
    assert (got.errors, got.warnings) == (0, 138)
    bad = got.frame.filter(series="total", session=date(2020, 10, 26))
    assert bad["ratio"].item() == 1.11  # the other file says 11.0
    early = got.frame.filter(series="total", session=date(2006, 11, 1)).row(0, named=True)
    assert (early["put_volume"], early["call_volume"], early["ratio"]) == (
        1271445.0,
        1401036.0,
        0.91,
    )


def test_real_rates_do_not_contradict_each_other(real: FilesSource) -> None:
    got = ingest(real, "rates", start=date(2021, 1, 1), end=date(2024, 12, 31))
    assert got.quarantined.is_empty()
    last = got.frame.filter(series="DGS3MO").row(-1, named=True)
    assert 0.04 < last["rate"] < 0.045
    assert last["available_at"] == datetime(2025, 1, 2, 21, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("session", "file"),
    [
        (date(2024, 3, 20), "ext_2024-02_2024-05_leo.parquet"),
        (date(2024, 12, 31), "2024-03_2025-04_admf.parquet"),
        (date(2022, 1, 3), "2022-01_2024-07_p9.parquet"),
    ],
)
def test_real_minutes(real: FilesSource, session: date, file: str) -> None:
    got = ingest_minutes(real, "SPY", session)
    assert f"from {file}" in got.notes
    assert got.coverage.select("due", "present").row(0) == (390, 390)


@pytest.mark.fault(2)
def test_a_real_half_day_has_210_bars(real: FilesSource) -> None:
    got = ingest_minutes(real, "SPY", HALF)
    assert got.coverage.select("due", "present", "gaps").row(0) == (210, 210, 0)


@pytest.mark.fault(13)
def test_a_real_hole_is_measured(real: FilesSource) -> None:
    got = ingest_minutes(real, "SPY", date(2023, 7, 21))
    assert got.coverage.select("due", "present", "gaps").row(0) == (390, 109, 1)
    assert "longest gap 281" in got.coverage["note"].item()


def test_real_five_minute_bars(real: FilesSource) -> None:
    session = date(2018, 3, 14)  # Europe's clocks are still on winter time
    raw = real.minute_bars("SPY", session, minutes=5)
    assert raw.height == 66 < bars_due(session, 5)
