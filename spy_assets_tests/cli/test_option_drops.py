"""``spy chain --file`` with one file of a vendor that delivers text."""

from __future__ import annotations

import pytest

from spy_assets_tests.market.sources.chains.vendors import BODIES

MARKET = ("--rate", 0.05, "--yield", 0.01, "--json")


@pytest.mark.parametrize("name", ["optionsdx.txt", "datashop_eod.csv"])
def test_one_file_is_shown(spy, tmp_path, name):
    words = ("chain", "SPY", "--file", BODIES / name, *MARKET)
    last = spy("--home", tmp_path, *words).json
    assert (last["symbol"], last["session"]) == ("SPY", "2024-03-07")
    before = spy("--home", tmp_path, *words, "--date", "2024-03-06").json
    assert before["session"] == "2024-03-06"
    assert {row["ask"] for row in before["rows"]} <= {3.3, 3.02}


def test_a_file_of_another_symbol_or_of_nobody_is_refused(spy, tmp_path):
    path = BODIES / "datashop_eod.csv"
    other = spy("--home", tmp_path, "chain", "QQQ", "--file", path, *MARKET)
    assert (other.code, "no chain of QQQ" in other.json["error"]["message"]) == (3, True)
    (tmp_path / "bars.csv").write_text("date,close\n2024-03-07,515\n")
    nobody = spy("--home", tmp_path, "chain", "SPY", "--file", tmp_path / "bars.csv", *MARKET)
    assert (nobody.code, "OptionsDX" in nobody.json["error"]["mend"]) == (2, True)
