"""OptionsDX's text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from spy_assets.errors import SchemaDrift
from spy_assets.market.sources.chains.optionsdx import OptionsDxChains
from spy_assets.market.sources.chains.protocol import ChainSource
from spy_assets_tests.market.sources.chains.golden_files import check_golden
from spy_assets_tests.market.sources.chains.vendors import NOW, SESSION, body


def drop(root: Path, text: str, name: str = "spy_eod_202403.txt") -> OptionsDxChains:
    folder = root / "chains" / "optionsdx" / "SPY"
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    return OptionsDxChains(root)


@pytest.mark.parametrize("name", ["spy_eod_202403.txt", "mine.csv"])
def test_a_small_file_is_the_golden_chain(tmp_path: Path, name: str) -> None:
    source = drop(tmp_path, body("optionsdx.txt"), name)
    assert isinstance(source, ChainSource)
    check_golden("optionsdx", source.chain("SPY", SESSION, now=NOW))


@pytest.mark.fault(36)
def test_a_word_where_a_number_was_due_is_drift(tmp_path: Path) -> None:
    source = drop(tmp_path, body("optionsdx.txt").replace("5.300000", "a lot"))
    with pytest.raises(SchemaDrift, match="a lot"):
        source.chain("SPY", SESSION, now=NOW)
