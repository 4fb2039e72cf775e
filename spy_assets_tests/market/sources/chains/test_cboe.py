"""CBOE's delayed quotes: the JSON over a socket, the files, and the real ones where they are."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from spy_assets.errors import NotProvided, SchemaDrift, WrongContent
from spy_assets.market.sources.chains.cboe import (
    CboeChains,
    CboeFileChains,
    read_delayed_quotes,
)
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain
from spy_assets_tests.market.sources.chains.golden_files import check_golden
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import BY_NAME, NOW, SESSION, body
from spy_assets_tests.scripted_server import Reply

CBOE = BY_NAME["cboe"]
REAL_DAY = date(2026, 7, 30)
REAL_NOW = datetime(2026, 7, 30, 22, 46, tzinfo=UTC)


def at(timestamp: str) -> RawChain:
    changed = {**json.loads(body("cboe.json")), "timestamp": timestamp}
    return read_delayed_quotes(changed, "SPY", SESSION, available_at=NOW)


def quotes_file(root: Path, *, envelope: bool = True, **changes: pl.Expr) -> CboeFileChains:
    """The small body as files."""
    parsed = json.loads(body("cboe.json"))
    frame = pl.DataFrame(parsed["data"]["options"]).with_columns(
        pl.col("last_trade_time").str.to_datetime(), session_date=pl.lit(SESSION), **changes
    )
    folder = root / "chains" / "cboe"
    (folder / "SPY").mkdir(parents=True)
    frame.write_parquet(folder / "SPY" / f"{SESSION}.parquet")
    if envelope:
        row = {"session_date": str(SESSION), "ticker": "SPY", "current_price": 515.9}
        row |= {"fetched_at_utc": "2024-03-07T21:41:00Z", "close": 515.0}
        row |= {"payload_timestamp": parsed["timestamp"]}
        pl.DataFrame([row]).write_parquet(folder / "underlying.parquet")
    return CboeFileChains(root)


def test_indices_have_an_underscore(server: RecordingServer, gate: Gate) -> None:
    spx = body("cboe.json").replace('"symbol": "SPY"', '"symbol": "_SPX"')
    server.on("/api/global/delayed_quotes/options/_SPX.json", Reply(spx))
    chain = CboeChains(gate, base_url=server.url).chain("SPX", SESSION, now=NOW)
    assert chain.frame["symbol"].unique().to_list() == ["SPX"]


def test_a_contract_that_cannot_be_read_is_reported() -> None:
    assert at("2024-03-07 21:40:12").rejected.rows() == [("SPY24X315P00450000", "bad_occ")]


@pytest.mark.parametrize(
    ("timestamp", "quoted_at", "spot"),
    [
        ("2024-03-07 18:15:00", datetime(2024, 3, 7, 18, tzinfo=UTC), 515.9),
        ("2024-03-07 21:40:12", datetime(2024, 3, 7, 21, 15, tzinfo=UTC), 515.0),
        ("2024-03-08 01:14:35", datetime(2024, 3, 7, 21, 15, tzinfo=UTC), 515.0),
        ("2024-03-07 13:00:00", datetime(2024, 3, 6, 21, 15, tzinfo=UTC), 515.0),
    ],
)
def test_quotes_are_15_minutes_old_or_from_the_end_of_trading(
    timestamp: str, quoted_at: datetime, spot: float
) -> None:
    frame = at(timestamp).frame
    assert frame["quoted_at"].unique().to_list() == [quoted_at]
    assert frame["spot"].unique().to_list() == [spot]


def test_before_quarter_to_ten_the_session_is_the_one_before(
    server: RecordingServer, gate: Gate
) -> None:
    source = CboeChains(gate, base_url=server.url)
    early = datetime(2024, 3, 7, 14, 44, tzinfo=UTC)
    assert source.sessions("SPY", now=early) == [date(2024, 3, 6)]
    assert source.sessions("SPY", now=early + timedelta(minutes=1)) == [SESSION]


def test_an_answer_about_another_symbol_is_refused() -> None:
    with pytest.raises(WrongContent, match="about 'SPY'"):
        read_delayed_quotes(json.loads(body("cboe.json")), "QQQ", SESSION, available_at=NOW)


def test_a_timestamp_that_is_none_is_drift() -> None:
    with pytest.raises(SchemaDrift, match="'soon' is not a time"):
        at("soon")


def test_a_file_gives_what_the_json_gave(tmp_path: Path) -> None:
    source = quotes_file(tmp_path)
    chain = source.chain("SPY", SESSION, now=NOW)
    later = chain.frame.with_columns(pl.lit(NOW, pl.Datetime("us", "UTC")).alias("available_at"))
    check_golden("cboe", RawChain(later, chain.rejected))
    assert chain.frame["available_at"][0] == datetime(2024, 3, 7, 21, 41, tzinfo=UTC)
    assert source.sessions("SPY", now=NOW) == [SESSION]


def test_a_file_without_its_envelope_has_no_time_and_no_spot(tmp_path: Path) -> None:
    frame = quotes_file(tmp_path, envelope=False).chain("SPY", SESSION, now=NOW).frame
    assert frame["quoted_at"].is_null().all()
    assert frame["spot"].is_null().all()


def test_a_day_without_a_file_is_not_provided(tmp_path: Path) -> None:
    source = quotes_file(tmp_path)
    with pytest.raises(NotProvided, match=r"chains/cboe/SPY/2024-03-06.parquet"):
        source.chain("SPY", date(2024, 3, 6), now=NOW)


@pytest.mark.fault(36)
def test_a_file_with_another_column_is_drift(tmp_path: Path) -> None:
    source = quotes_file(tmp_path, vanna=pl.lit(0.0))
    with pytest.raises(SchemaDrift, match=r"new \['vanna'\]"):
        source.chain("SPY", SESSION, now=NOW)


def test_the_real_body_and_the_real_file_agree(
    shared_data: Path, server: RecordingServer, gate: Gate
) -> None:
    path = shared_data / "fixtures/derived/cboe_delayed_quotes_SPY_2026-07-30.json.gz"
    server.on("/api", Reply(gzip.decompress(path.read_bytes())))
    live = CboeChains(gate, base_url=server.url).chain("SPY", REAL_DAY, now=REAL_NOW)
    filed = CboeFileChains(shared_data).chain("SPY", REAL_DAY, now=REAL_NOW)
    assert live.frame.height == 14_092
    assert live.rejected.is_empty()
    assert live.frame.drop("available_at").equals(filed.frame.drop("available_at"))
    assert live.frame["vendor_iv"].null_count() == 1_837
    assert live.frame["last"].null_count() == 2_958


def test_the_real_file_of_a_wrong_day_tells_by_its_quotes(shared_data: Path) -> None:
    source = CboeFileChains(shared_data)
    now = datetime(2026, 8, 1, tzinfo=UTC)
    told = {
        day: source.chain("SPY", day, now=now).frame["quoted_at"][0].date()
        for day in source.sessions("SPY", now=now)
    }
    assert [day for day, quoted in told.items() if day != quoted] == [date(2026, 7, 23)]
