"""Flat files, fetched from moto's real S3 server."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from spy_assets.errors import EmptyResponse, NotProvided, SchemaDrift, WrongContent
from spy_assets.market.sources.chains.flat_files import FlatFileChains, Window, read_flat_file
from spy_assets.market.sources.chains.protocol import ChainSource
from spy_assets.market.sources.chains.s3 import Credentials
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain
from spy_assets_tests.market.sources.chains.golden_files import check_golden
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import KEY, SECRET, SESSION, body
from spy_assets_tests.s3_server import s3_client, s3_server
from spy_assets_tests.scripted_server import Reply

PAIR = Credentials(KEY, SECRET)
LATER = datetime(2024, 3, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        client = s3_client(url, KEY, SECRET)
        client.create_bucket(Bucket="flatfiles")
        for window in ("day", "minute"):
            packed = gzip.compress(body(f"flat_{window}.csv").encode())
            key = f"us_options_opra/{window}_aggs_v1/2024/03/2024-03-07.csv.gz"
            client.put_object(Bucket="flatfiles", Key=key, Body=packed)
        yield url


def source(endpoint: str, gate: Gate, folder: Path, window: Window = "day") -> FlatFileChains:
    return FlatFileChains(gate, credentials=PAIR, folder=folder, window=window, endpoint=endpoint)


def packed(folder: Path, text: str) -> Path:
    path = folder / "2024-03-07.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def read(path: Path, symbol: str = "SPY", window: Window = "day") -> RawChain:
    return read_flat_file(path, symbol, SESSION, window=window, now=LATER)


@pytest.mark.parametrize("window", ["day", "minute"])
def test_a_small_file_is_the_golden_chain(
    endpoint: str, gate: Gate, tmp_path: Path, window: Window
) -> None:
    flat = source(endpoint, gate, tmp_path, window)
    assert isinstance(flat, ChainSource)
    check_golden(f"flat_{window}", flat.chain("SPY", SESSION, now=LATER))


def test_sessions_are_those_of_the_store(endpoint: str, gate: Gate, tmp_path: Path) -> None:
    assert source(endpoint, gate, tmp_path).sessions("SPY", now=LATER) == [SESSION]


def test_objects_that_no_day_names_are_left_out(
    server: RecordingServer, gate: Gate, tmp_path: Path
) -> None:
    keys = [f"us_options_opra/day_aggs_v1/2024/{day}.csv.gz" for day in ("2024-13-07", SESSION)]
    listed = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    server.on("/flatfiles", Reply(f"<ListBucketResult>{listed}</ListBucketResult>"))
    assert source(server.url, gate, tmp_path).sessions("SPY", now=LATER) == [SESSION]


def test_a_day_without_a_file_is_not_provided(endpoint: str, gate: Gate, tmp_path: Path) -> None:
    with pytest.raises(NotProvided, match=r"2024/03/2024-03-06\.csv\.gz"):
        source(endpoint, gate, tmp_path).chain("SPY", date(2024, 3, 6), now=LATER)


def test_files_are_out_on_the_next_morning(tmp_path: Path) -> None:
    chain = read(packed(tmp_path, body("flat_day.csv")))
    assert chain.frame["available_at"][0] == datetime(2024, 3, 8, 16, tzinfo=UTC)


def test_there_are_no_quotes_in_it(tmp_path: Path) -> None:
    frame = read(packed(tmp_path, body("flat_minute.csv")), window="minute").frame
    assert frame.select("bid", "ask", "open_interest", "spot").null_count().row(0) == (2, 2, 2, 2)
    assert frame["volume"].to_list() == [321, 9]


def test_an_underlying_without_a_trade_is_not_provided(tmp_path: Path) -> None:
    with pytest.raises(NotProvided, match="no contract of IWM was traded"):
        read(packed(tmp_path, body("flat_day.csv")), "IWM")


@pytest.mark.fault(30)
def test_a_ticker_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    chain = read(packed(tmp_path, body("flat_day.csv")))
    assert chain.rejected.rows() == [("O:SPY24X315C00517500", "bad_occ")]
    assert chain.frame["root"].to_list() == ["SPY1", "SPY", "SPY"]


@pytest.mark.fault(34)
def test_a_header_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmptyResponse, match="not one row"):
        read(packed(tmp_path, body("flat_day.csv").splitlines()[0] + "\n"))


@pytest.mark.fault(35)
def test_a_page_instead_of_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "2024-03-07.csv.gz"
    path.write_text("<html>Log in</html>")
    with pytest.raises(WrongContent, match="not gzip"):
        read(path)


@pytest.mark.fault(37)
@pytest.mark.parametrize("spoil", ["cut", "flipped"])
def test_a_damaged_file_is_refused(tmp_path: Path, spoil: str) -> None:
    path = packed(tmp_path, body("flat_day.csv"))
    whole = bytearray(path.read_bytes())
    whole[60] ^= 4
    path.write_bytes(path.read_bytes()[:-40] if spoil == "cut" else whole)
    with pytest.raises(WrongContent, match=r"2024-03-07\.csv\.gz: cannot be read as \.gz"):
        read(path)


@pytest.mark.fault(50)
def test_a_file_that_arrived_damaged_is_not_kept(
    server: RecordingServer, gate: Gate, tmp_path: Path
) -> None:
    """Uploaded in parts, so that its ETag is no MD5 and nothing tells before it is read."""
    whole = gzip.compress(body("flat_day.csv").encode())
    broken = whole[:60] + bytes([whole[60] ^ 4]) + whole[61:]
    told = [Reply(b, headers={"etag": '"ab-2"'}) for b in (broken, broken, whole, whole)]
    server.on("/flatfiles", *told)
    kind: Any = server._server.RequestHandlerClass
    kind.do_HEAD = kind.do_GET
    flat = source(server.url, gate, tmp_path)
    with pytest.raises(WrongContent, match="cannot be read"):
        flat.chain("SPY", SESSION, now=LATER)
    check_golden("flat_day", flat.chain("SPY", SESSION, now=LATER))


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("window_start", "start", r"missing \['window_start'\], new \['start'\]"),
        ("0.2,0.2,0.2,0.2,", "a,b,c,d,", "flat|2024-03-07.csv.gz: "),
    ],
)
def test_changed_columns_are_drift(tmp_path: Path, old: str, new: str, difference: str) -> None:
    with pytest.raises(SchemaDrift, match=difference):
        read(packed(tmp_path, body("flat_day.csv").replace(old, new)))
