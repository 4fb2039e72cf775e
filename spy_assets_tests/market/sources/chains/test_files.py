"""The folder of drops, by preference."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from spy_assets.errors import NotProvided
from spy_assets.market.sources.chains.files import FileChains, file_of_lines
from spy_assets.market.sources.chains.protocol import ChainSource
from spy_assets_tests.market.sources.chains.test_datashop import drop as datashop
from spy_assets_tests.market.sources.chains.test_optionsdx import drop as optionsdx
from spy_assets_tests.market.sources.chains.vendors import NOW, SESSION, body


def test_the_preferred_vendor_is_taken_whole(tmp_path: Path) -> None:
    optionsdx(tmp_path, body("optionsdx.txt"))
    datashop(tmp_path, body("datashop_eod.csv").replace("2024-03-06", "2024-03-05"))
    source = FileChains(tmp_path)
    assert isinstance(source, ChainSource)
    named = {
        str(day): source.chain("SPY", day, now=NOW).frame["source"].unique().to_list()
        for day in source.sessions("SPY", now=NOW)
    }
    assert named == {
        "2024-03-05": ["datashop"],
        "2024-03-06": ["optionsdx"],
        "2024-03-07": ["datashop"],
    }


def test_an_empty_folder_has_no_chain(tmp_path: Path) -> None:
    source = FileChains(tmp_path)
    assert source.sessions("SPY", now=NOW) == []
    with pytest.raises(NotProvided, match="2024-03-07"):
        source.chain("SPY", SESSION, now=NOW)


def test_what_is_to_come_is_not_there(tmp_path: Path) -> None:
    optionsdx(tmp_path, body("optionsdx.txt").replace("2024-03-06 ", "2024-03-08 "))
    days = FileChains(tmp_path).sessions("SPY", now=NOW)
    assert days == [date(2024, 3, 6), SESSION]


def test_the_real_drops_are_found(shared_data: Path) -> None:
    days = FileChains(shared_data).sessions("SPY", now=NOW.replace(year=2027))
    assert len(days) == 12


@pytest.mark.parametrize(
    ("name", "text", "vendor"),
    [
        ("spy_eod_202403.txt", "optionsdx.txt", "optionsdx"),
        ("mine.csv", "optionsdx.txt", "optionsdx"),
        ("UnderlyingOptionsEODCalcs_2024-03-07.csv", "datashop_eod.csv", "datashop"),
        ("mine.CSV", "datashop_interval.csv", "datashop"),
    ],
)
def test_a_file_alone_is_read_as_its_vendors(
    tmp_path: Path, name: str, text: str, vendor: str
) -> None:
    path = tmp_path / name
    path.write_text(body(text))
    source = file_of_lines(path)
    assert source is not None
    assert SESSION in source.sessions("SPY", now=NOW)
    chain = source.chain("SPY", SESSION, now=NOW)
    assert chain.frame["source"].unique().to_list() == [vendor]


def test_a_file_named_by_another_symbol_has_no_chain_of_this_one(tmp_path: Path) -> None:
    path = tmp_path / "qqq_eod_202403.txt"
    path.write_text(body("optionsdx.txt"))
    source = file_of_lines(path)
    assert source is not None
    assert source.sessions("SPY", now=NOW) == []
    assert len(source.sessions("QQQ", now=NOW)) == 2


def test_a_file_of_nobody_is_none(tmp_path: Path) -> None:
    for name in ("notes.md", "bars.csv"):
        (tmp_path / name).write_text("date,close\n2024-03-07,515\n")
        assert file_of_lines(tmp_path / name) is None
