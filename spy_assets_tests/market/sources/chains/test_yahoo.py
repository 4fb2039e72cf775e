"""Yahoo's chains through yfinance's own client, and files of snapshots."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from spy_assets.errors import NotProvided, SchemaDrift, SourceUnavailable, WrongContent
from spy_assets.market.sources.chains.yahoo import YahooChains, YahooFileChains, read_options
from spy_assets.market.sources.http import Gate
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import BY_NAME, NOW, SESSION, body
from spy_assets_tests.scripted_server import Reply

YAHOO = BY_NAME["yfinance"]
PATH = "/v7/finance/options/SPY"
SNAPSHOT = datetime(2024, 3, 7, 15, 30)  # noqa: DTZ001


def test_one_request_an_expiry(server: RecordingServer, gate: Gate) -> None:
    YAHOO.serve(server)
    YAHOO.ask(gate, server)
    asked = [a.query.get("date") for a in server.asked if a.path == PATH]
    assert asked == [None, "1710460800"]


def test_volume_of_another_day_is_no_volume_of_today(server: RecordingServer, gate: Gate) -> None:
    YAHOO.serve(server)
    frame = YAHOO.ask(gate, server).frame
    stale = frame.filter(pl.col("last_at") < datetime(2024, 3, 7, tzinfo=UTC))
    assert stale["volume"].to_list() == [0, 0, 0]


def test_what_stands_for_none_is_no_implied_volatility(server: RecordingServer, gate: Gate) -> None:
    YAHOO.serve(server)
    ivs = YAHOO.ask(gate, server).frame["vendor_iv"].to_list()
    assert ivs == [0.1212, None, 0.1105, None]  # 1e-5, and one beside an empty quote


def test_yahoos_own_error_is_told(server: RecordingServer, gate: Gate) -> None:
    server.on(PATH, Reply('{"optionChain": {"result": [], "error": {"code": "Not Found"}}}'))
    with pytest.raises(SourceUnavailable, match="Not Found"):
        YAHOO.ask(gate, server)


def test_a_refused_cookie_is_taken_anew_once(server: RecordingServer, gate: Gate) -> None:
    YAHOO.serve(server)
    server.fail(Reply(status=401, body="Invalid Crumb"), where=lambda path: path == PATH)
    assert YAHOO.ask(gate, server).frame.height == 4


def test_a_cookie_refused_for_good_is_unavailable(server: RecordingServer, gate: Gate) -> None:
    server.on(PATH, Reply(status=401, body="Invalid Crumb"))
    with pytest.raises(SourceUnavailable, match="401"):
        YAHOO.ask(gate, server)


def test_an_answer_about_another_symbol_is_refused() -> None:
    result = json.loads(body("yahoo_20240308.json"))["optionChain"]["result"]
    with pytest.raises(WrongContent, match="about 'SPY'"):
        read_options(result, "QQQ", SESSION, now=NOW)


def test_mini_contracts_are_adjusted() -> None:
    text = body("yahoo_20240308.json").replace("REGULAR", "MINI")
    result = json.loads(text)["optionChain"]["result"]
    frame = read_options(result, "SPY", SESSION, now=NOW).frame
    assert frame.select("multiplier", "is_adjusted").unique().rows() == [(10, True)]


def snapshots(root: Path, frame: pl.DataFrame) -> YahooFileChains:
    folder = root / "chains" / "yfinance"
    folder.mkdir(parents=True)
    frame.write_parquet(folder / "spy.parquet")
    return YahooFileChains(root)


def snapshot(bid: float, at: datetime, file: str) -> dict[str, object]:
    return {
        "contractSymbol": "SPY240308C00510000",
        "lastTradeDate": at,
        "strike": 510.0,
        "lastPrice": 5.15,
        "bid": bid,
        "ask": 5.3,
        "volume": 321.0,
        "openInterest": 1500.0,
        "impliedVolatility": 0.1212,
        "contractSize": "REGULAR",
        "underlyingPrice": 515.0,
        "src_file": file,
    }


def test_of_two_snapshots_of_a_session_the_last_is_given(tmp_path: Path) -> None:
    rows = [
        snapshot(5.1, SNAPSHOT.replace(hour=18), "b.csv"),
        snapshot(5.0, SNAPSHOT, "a.csv"),
    ]
    source = snapshots(tmp_path, pl.DataFrame(rows))
    chain = source.chain("SPY", SESSION, now=NOW).frame
    assert chain["bid"].to_list() == [5.1]
    assert chain["quoted_at"].to_list() == [datetime(2024, 3, 7, 18, 30, tzinfo=UTC)]
    assert source.sessions("SPY", now=NOW) == [SESSION]


def test_a_session_without_a_snapshot_is_not_provided(tmp_path: Path) -> None:
    source = snapshots(tmp_path, pl.DataFrame([snapshot(5.1, SNAPSHOT, "a.csv")]))
    with pytest.raises(NotProvided, match="2024-03-06"):
        source.chain("SPY", date(2024, 3, 6), now=NOW)


@pytest.mark.fault(36)
def test_a_renamed_column_is_drift(tmp_path: Path) -> None:
    frame = pl.DataFrame([snapshot(5.1, SNAPSHOT, "a.csv")]).rename({"openInterest": "openint"})
    with pytest.raises(SchemaDrift, match="openInterest -> openint"):
        snapshots(tmp_path, frame).sessions("SPY", now=NOW)


def test_the_plain_columns_spell_their_contracts(tmp_path: Path) -> None:
    row = {"date": datetime(2024, 3, 9), "maturity_date": datetime(2024, 3, 15)}  # noqa: DTZ001
    row |= {"underlying": "SPY", "underlying_price": 515.0, "strike": 517.5}  # type: ignore[dict-item]
    row |= {"option_type": "call", "bid": 3.2, "ask": 3.25}  # type: ignore[dict-item]
    row |= {"volume": 3.0, "open_interest": 7.0}  # type: ignore[dict-item]
    chain = snapshots(tmp_path, pl.DataFrame([row])).chain(
        "SPY", date(2024, 3, 8), now=datetime(2024, 3, 11, tzinfo=UTC)
    )
    got = chain.frame.row(0, named=True)
    assert (got["occ"], got["volume"], got["open_interest"]) == ("SPY   240315C00517500", None, 7)
    assert got["quoted_at"] == datetime(2024, 3, 8, 21, 15, tzinfo=UTC)


def test_the_real_expiry_has_no_junk(
    shared_data: Path, server: RecordingServer, gate: Gate
) -> None:
    path = shared_data / "fixtures/derived/yahoo_v7_options_SPY_2026-02-11.json.gz"
    parsed = json.loads(gzip.decompress(path.read_bytes()))
    parsed["optionChain"]["result"][0]["expirationDates"] = [1773964800]
    server.on(PATH, Reply(json.dumps(parsed)))
    now = datetime(2026, 2, 11, 16, 20, tzinfo=UTC)
    chain = YahooChains(gate, base_url=server.url).chain("SPY", date(2026, 2, 11), now=now)
    assert (chain.frame.height, chain.rejected.height) == (404, 0)
    assert chain.frame["expiry"].unique().to_list() == [date(2026, 3, 20)]
    assert chain.frame["vendor_iv"].min() > 0.01  # type: ignore[operator]


def test_the_real_snapshots_are_read(shared_data: Path) -> None:
    source = YahooFileChains(shared_data)
    now = datetime(2026, 8, 1, tzinfo=UTC)
    found = {
        day: source.chain("SPY", day, now=now).frame for day in source.sessions("SPY", now=now)
    }
    assert {str(day): frame.height for day, frame in found.items()} == {
        "2026-01-02": 4063,
        "2026-02-11": 8778,
        "2026-02-12": 9177,
        "2026-02-13": 8973,
    }
    assert all(
        frame["vendor_iv"].min() is None or frame["vendor_iv"].min() > 1e-3
        for frame in found.values()
    )  # type: ignore[operator]
