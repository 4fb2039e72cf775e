"""The folder of drops, by preference."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from spy_assets.errors import NotProvided
from spy_assets.market.sources.chains.files import FileChains
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
