"""Files that a vendor delivered: what is common to them, and files that are broken."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from spy_assets.errors import EmptyResponse, NotProvided, SchemaDrift, WrongContent
from spy_assets.market.sources.chains.cboe import CboeFileChains
from spy_assets.market.sources.chains.datashop import DataShopChains
from spy_assets.market.sources.chains.files import FileChains
from spy_assets.market.sources.chains.optionsdx import OptionsDxChains
from spy_assets.market.sources.chains.protocol import ChainSource
from spy_assets.market.sources.chains.yahoo import YahooFileChains
from spy_assets_tests.market.sources.chains.vendors import NOW, SESSION, body


@dataclass(frozen=True)
class Lines:
    """Files of lines: the vendor's body, and the names of two of its columns."""

    open: Callable[[Path], ChainSource]
    file: str
    body: str
    needed: str
    day: str

    def drop(self, root: Path, text: str) -> ChainSource:
        path = root / "chains" / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return self.open(root)


LINES = {
    "optionsdx": Lines(
        OptionsDxChains,
        "optionsdx/SPY/spy_eod_202403.txt",
        "optionsdx.txt",
        "C_BID",
        "QUOTE_DATE",
    ),
    "datashop": Lines(
        DataShopChains,
        "datashop/SPY/UnderlyingOptionsEODCalcs_2024-03-07.csv",
        "datashop_eod.csv",
        "option_type",
        "quote_date",
    ),
}
of_lines = pytest.mark.parametrize("vendor", LINES.values(), ids=LINES)
FILES = {
    "cboe": (CboeFileChains, f"cboe/SPY/{SESSION}.parquet"),
    "yfinance": (YahooFileChains, "yfinance/spy.parquet"),
    "optionsdx": (OptionsDxChains, "optionsdx/SPY/spy_eod_202403.txt"),
    "datashop": (DataShopChains, "datashop/SPY/UnderlyingOptionsEOD_2024-03-07.zip"),
}
of_files = pytest.mark.parametrize(("kind", "file"), FILES.values(), ids=FILES)


@of_lines
def test_days_are_those_of_the_lines(tmp_path: Path, vendor: Lines) -> None:
    source = vendor.drop(tmp_path, body(vendor.body))
    assert source.sessions("SPY", now=NOW) == [date(2024, 3, 6), SESSION]
    with pytest.raises(NotProvided, match=f"2024-03-05.*{Path(vendor.file).stem}"):
        source.chain("SPY", date(2024, 3, 5), now=NOW)


@pytest.mark.fault(34)
@of_lines
@pytest.mark.parametrize("lines", [0, 1], ids=["nothing", "a header alone"])
def test_a_file_without_a_line_is_an_error(tmp_path: Path, vendor: Lines, lines: int) -> None:
    kept = "".join(body(vendor.body).splitlines(keepends=True)[:lines])
    source = vendor.drop(tmp_path, kept)
    with pytest.raises(EmptyResponse, match="not one line"):
        source.chain("SPY", SESSION, now=NOW)


@pytest.mark.fault(36)
@of_lines
def test_a_renamed_column_is_drift(tmp_path: Path, vendor: Lines) -> None:
    text = body(vendor.body).replace(vendor.needed, f"{vendor.needed}s", 1)
    source = vendor.drop(tmp_path, text)
    with pytest.raises(SchemaDrift, match=f"{vendor.needed} -> {vendor.needed}s"):
        source.chain("SPY", SESSION, now=NOW)


@pytest.mark.fault(36)
@of_lines
def test_without_the_column_of_days_it_is_drift(tmp_path: Path, vendor: Lines) -> None:
    source = vendor.drop(tmp_path, body(vendor.body).replace(vendor.day, "when", 1))
    for ask in (source.sessions, lambda s, now: source.chain(s, SESSION, now=now)):
        with pytest.raises(SchemaDrift, match=vendor.day):
            ask("SPY", now=NOW)


@pytest.mark.fault(36)
@of_lines
def test_a_day_that_cannot_be_read_is_drift(tmp_path: Path, vendor: Lines) -> None:
    source = vendor.drop(tmp_path, body(vendor.body).replace("2024-03-06", "06/03/2024"))
    with pytest.raises(SchemaDrift, match="a line of the day '06/03/2024"):
        source.sessions("SPY", now=NOW)


@pytest.mark.fault(37)
@of_lines
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, vendor: Lines) -> None:
    text = body(vendor.body)
    source = vendor.drop(tmp_path, text[: text.rindex(",", 0, len(text) - 40)])
    with pytest.raises(WrongContent, match=r"a line without \d+ fields"):
        source.chain("SPY", SESSION, now=NOW)


@pytest.mark.fault(35)
@of_files
def test_a_page_that_was_saved_for_the_file_is_refused(
    tmp_path: Path, kind: Callable[[Path], ChainSource], file: str
) -> None:
    path = tmp_path / "chains" / file
    path.parent.mkdir(parents=True)
    path.write_text("<!DOCTYPE html>\n<p>Log in, please</p>\n")
    with pytest.raises(WrongContent, match=path.name):
        kind(tmp_path).chain("SPY", SESSION, now=NOW)


@pytest.mark.fault(50)
def test_a_parquet_file_with_a_broken_page_is_named(tmp_path: Path, shared_data: Path) -> None:
    day = "2026-07-30"
    whole = (shared_data / "chains/cboe/SPY" / f"{day}.parquet").read_bytes()
    path = tmp_path / "chains/cboe/SPY" / f"{day}.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(whole[:4] + bytes(4000) + whole[4004:])
    with pytest.raises(WrongContent, match=path.name):
        CboeFileChains(tmp_path).chain("SPY", date.fromisoformat(day), now=NOW.replace(year=2027))


def test_a_broken_file_of_another_vendor_does_not_hide_a_chain(tmp_path: Path) -> None:
    LINES["datashop"].drop(tmp_path, body("datashop_eod.csv"))
    LINES["optionsdx"].drop(tmp_path, "")
    chain = FileChains(tmp_path).chain("SPY", SESSION, now=NOW)
    assert chain.frame["source"].unique().to_list() == ["datashop"]


def test_files_of_days_to_come_are_not_opened(tmp_path: Path) -> None:
    text = body("optionsdx.txt").replace("2024-03-06 ", "2024-03-08 ")
    LINES["optionsdx"].drop(tmp_path, text)
    with pytest.raises(NotProvided, match="2024-03-08"):
        FileChains(tmp_path).chain("SPY", date(2024, 3, 8), now=NOW)


@pytest.mark.fault(50)
@pytest.mark.parametrize(
    "at", [29, 35, 70, -93, -5], ids=["length", "name", "packed", "method", "directory"]
)
def test_a_zip_with_a_flipped_byte_is_named(tmp_path: Path, at: int) -> None:
    name = "UnderlyingOptionsEOD_2024-03-07"
    path = tmp_path / "chains/datashop/SPY" / f"{name}.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.csv", body("datashop_eod.csv"))
    spoiled = bytearray(path.read_bytes())
    spoiled[at] ^= 0xFF
    path.write_bytes(spoiled)
    with pytest.raises(WrongContent, match=path.name):
        DataShopChains(tmp_path).chain("SPY", SESSION, now=NOW)


def test_a_zip_that_is_encrypted_is_named(tmp_path: Path) -> None:
    path = tmp_path / "locked.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", body("datashop_eod.csv"))
    locked = path.read_bytes().replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )
    path.write_bytes(locked)
    with pytest.raises(WrongContent, match=r"locked\.zip.*(encrypted|password)"):
        DataShopChains.of_file(path).sessions("SPY", now=NOW)


def test_a_file_that_no_day_names_breaks_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "chains/cboe/SPY"
    folder.mkdir(parents=True)
    for day in ("2024-13-07", "2024-03-06"):
        (folder / f"{day}.parquet").touch()
    assert FileChains(tmp_path).sessions("SPY", now=NOW) == [date(2024, 3, 6)]


def test_lines_of_another_underlying_are_not_the_symbols(tmp_path: Path) -> None:
    source = LINES["datashop"].drop(tmp_path, body("datashop_eod.csv").replace("SPY", "IWM"))
    assert source.sessions("SPY", now=NOW) == []
    with pytest.raises(NotProvided, match="no line of SPY of 2024-03-07"):
        source.chain("SPY", SESSION, now=NOW)
