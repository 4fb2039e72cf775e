"""`spy db`: making the lake, looking at the ledger."""

from __future__ import annotations

import io
import re
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from spy_assets.cli.columns import fitted_table
from spy_assets.cli.database_tables import SIGNALS
from spy_assets.settings import Settings
from spy_assets.warehouse import TABLES
from spy_assets_tests.cli.ledgers import DAYS


def test_init_makes_every_table_and_may_be_repeated(spy, tmp_path: Path):
    first = spy("--home", tmp_path, "db", "init", "--json")
    again = spy("--home", tmp_path, "db", "init", "--json")
    assert first.code == again.code == 0
    assert set(TABLES) <= set(first.json["tables"])
    assert again.json == first.json


def test_init_keeps_rows(spy, own_lake: Settings):
    assert (
        spy("--home", own_lake.home, "db", "init", "--json").json["tables"]["ledger.signals"] == 2
    )


def test_init_shows_a_table_to_people(spy, tmp_path: Path):
    shown = spy("--home", tmp_path, "db", "init").stdout
    assert "ledger.signals" in shown
    assert str(tmp_path) in "".join(shown.split())


def test_another_source_on_the_profile_is_refused(spy, lake: Settings):
    ran = spy("--home", lake.home, "--source", "yfinance", "--profile", "sample", "db", "view")
    assert ran.code == 4
    assert "ProfileMismatch" in ran.stderr


def test_view_gives_signals_and_trades(spy, lake: Settings):
    found = spy("--home", lake.home, "db", "view", "--json").json
    assert [row["action_name"] for row in found["signals"]] == ["BUY_CALL", "HOLD"]
    assert found["trades"][0]["pnl"] == pytest.approx(98.7)
    assert found["trades"][0]["session"] == DAYS[0].isoformat()


def test_view_shows_both_tables(spy, lake: Settings):
    shown = spy("--home", lake.home, "db", "view").stdout
    for words in ("signals", "BUY_CALL", "trades", "target", "98.7"):
        assert words in shown


@pytest.mark.parametrize(
    ("width", "missing"), [(80, {"id"}), (50, {"id", "rule", "entry"}), (120, set())]
)
def test_a_narrow_view_drops_columns_and_breaks_no_cell(
    spy, lake: Settings, monkeypatch: pytest.MonkeyPatch, width: int, missing: set[str]
):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = spy("--home", lake.home, "db", "view").stdout
    assert max(len(line) for line in shown.splitlines()) <= width
    trades = shown[shown.index("trades") :]
    assert "2018-06-25" in shown
    assert re.search(r"2018-06-25 .*2018-06-28 .*98\.70", trades)
    assert "null" not in shown
    heading = trades.splitlines()[1].split()
    assert not missing & set(heading)
    assert ("without" in trades) == bool(missing)


def test_cells_are_short(spy, lake: Settings):
    shown = spy("--home", lake.home, "db", "view").stdout
    ids = [row["signal_id"] for row in spy("--home", lake.home, "db", "signals", "--json").json]
    assert all(name[:8] in shown and name not in shown for name in ids)
    for words in ("60.0%", "49.4%", "98.70"):
        assert words in shown


def test_a_contract_of_many_legs_is_folded_and_whole():
    name = "SPY* 181019 IC 267.5/272.5/293.5/298.5"
    row = {"session": "2018-11-30", "action_name": "IRON_CONDOR", "confidence": 0.2345,
           "display_symbol": name, "entry": -1234.5, "size": 12, "risk_verdict": "allowed",
           "signal_id": "2b64362cba6ebb3b"}  # fmt: skip
    console = Console(width=80, file=io.StringIO())
    console.print(fitted_table(pl.DataFrame([row]), SIGNALS, 80, title="signals"))
    lines = console.file.getvalue().splitlines()
    start = lines[1].index("contract")
    folded = "".join(line[start : start + 16].strip() for line in lines[3:6])
    assert folded == name.replace("IC ", "IC")


def test_signals_takes_the_last(spy, lake: Settings):
    rows = spy("--home", lake.home, "db", "signals", "--limit", 1, "--json").json
    assert [row["action_name"] for row in rows] == ["HOLD"]


def test_trades_lists_settled_ones(spy, lake: Settings):
    rows = spy("--home", lake.home, "db", "trades", "--json").json
    assert [row["exit_reason"] for row in rows] == ["target"]


def test_an_empty_ledger_says_what_fills_it(spy, tmp_path: Path):
    spy("--home", tmp_path, "db", "init")
    assert "none yet; `spy run`" in spy("--home", tmp_path, "db", "signals").stdout


def test_stats_counts_the_last_month_of_a_historical_source(spy, lake: Settings):
    recent, ever = spy("--home", lake.home, "db", "stats", "--json").json
    assert recent["window"] == "last 30 days"
    assert (recent["total"], recent["executed"]) == (2, 1)
    assert [results["profitable"] for results in recent["results"]] == [1]
    assert recent["by_action"] == {"BUY_CALL": 1, "HOLD": 1}
    (results,) = ever["results"]
    assert results["total_pnl"] == pytest.approx(98.7)


def test_stats_in_words(spy, lake: Settings):
    shown = spy("--home", lake.home, "db", "stats").stdout
    assert "SIGNALS, last 30 days" in shown
    assert "SIGNALS, all time" in shown
