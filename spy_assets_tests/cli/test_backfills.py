"""`spy walkforward` and `spy plan`: their options, what they print, and one of each for real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from spy_assets.backfill import CHAINS, WalkReport, _groups
from spy_assets.cli.backfills import _cost, _report, _told
from spy_assets.evaluation.walk_forward_summary import summarise
from spy_assets.plan import _range_tags
from spy_assets.plan_cost import Cost
from spy_assets.settings import load_settings
from spy_assets_tests.cli.test_loop import text_of
from spy_assets_tests.evaluation.walks import made_walk
from spy_assets_tests.graph.walkers import FOLDS, make_profile
from spy_assets_tests.graph.worlds import runner

QUICK = ("--timesteps", 512, "--seeds", 1)
COST = Cost(
    "signals", "signals/daily_signal", "daily_signal_job", "missing", 60, 40, 15, 5,
    partitions=("2018-12-03", "2018-12-04"), minutes=0.25, basis="7.5 s a partition",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("plans")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.setenv("SPY_ENV_FILE", str(folder / "no.env"))
        make_profile(folder)
        yield folder


@pytest.mark.parametrize(
    "words",
    [
        ["walkforward", "--seeds", "0"],
        ["walkforward", "--years", "0"],
        ["walkforward", "--train-preset", "huge"],
        ["walkforward", "--preset", "weekly"],
        ["walkforward", "--clock", "weekly"],
        ["walkforward", "--clock", "intraday", "--final"],
        ["plan"],
        ["plan", "walk_forward", "--only-failed", "--all"],
        ["plan", "walk_forward", "--every", "0"],
    ],
)
def test_wrong_options_are_refused_before_anything_runs(spy: Any, words: list[str]) -> None:
    ran = spy(*words)
    assert ran.code == 2
    assert ran.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        "60 asked for: 40 present, 15 missing, 5 failed",
        "2 (missing): 2018-12-03 to 2018-12-04",
        "0.2", "7.5 s a partition",
    ],
)  # fmt: skip
def test_a_plan_is_shown(words: str) -> None:
    assert words in text_of(_cost(COST))


def test_what_is_unknown_is_said_to_be() -> None:
    assert "unknown" in text_of(_cost(Cost("x", "x", "x", "missing", 1, 0, 1, 0)))
    assert text_of(_told(COST, True)).startswith("2 partition(s) made")


def test_the_table_has_the_policy_beside_every_baseline() -> None:
    figures = summarise(made_walk(), trials=2).to_dict()
    report = WalkReport("s0", "0123456789ab", 4, 4, figures, "/reports/s0.html")
    shown = text_of(_report(report, 100))
    for words in (
        "policy",
        "cash",
        "buy_and_hold",
        "always_long_call",
        "2 trial(s)",
        "/reports/s0",
    ):
        assert words in shown
    assert "Over 4 folds and 80 sessions" in shown


@pytest.mark.parametrize("width", [70, 100, 200])
def test_no_number_of_the_table_is_broken(width: int) -> None:
    figures = summarise(made_walk(), trials=2).to_dict()
    for row in figures["strategies"]:
        row["net_pnl"] = -123_456.78
    report = WalkReport("s0", "0123456789ab", 4, 4, figures, "/reports/s0.html")
    console = Console(width=width)
    with console.capture() as captured:
        console.print(_report(report, width))
    lines = captured.get().splitlines()
    (heads,) = [line for line in lines if line.startswith("strategy")]
    rows = [line for line in lines if " -123,456.78 " in line]
    assert len(rows) == len(figures["strategies"])
    assert all(line.rstrip().endswith(")") for line in rows[1:])
    assert (" std " in heads) == (width == 200)


def test_unknown_targets_and_empty_ranges_say_what_there_is(spy: Any, home: Path) -> None:
    ran = spy("--home", home, "plan", "everything", "--json")
    assert (ran.code, ran.json["error"]["type"]) == (2, "ConfigError")
    assert (
        "walk_forward, intraday_walk_forward, paths, training, signals, chains"
        in ran.json["error"]["mend"]
    )
    ran = spy("--home", home, "plan", "walk_forward", "--from", "2018-01-01", "--json")
    assert "it has 2017-01-19 to 2017-07-20" in ran.json["error"]["message"]


def test_ranges_and_strides_of_any_asset(spy: Any, home: Path) -> None:
    words = ("plan", "training", "--from", "2018-12-03", "--to", "2018-12-31", "--every", 5)
    found = spy("--home", home, *words, "--json").json
    assert found["partitions"] == ["2018-12-03", "2018-12-11", "2018-12-18", "2018-12-26"]
    assert (found["minutes"], found["made"]) == (None, False)
    years = spy("--home", home, "plan", "market/daily_bars", "--to", "2001", "--json").json
    assert (years["partitions"], years["training_steps"]) == (["1999", "2000", "2001"], None)


def test_a_stride_of_chains_makes_what_it_says_and_nothing_between(home: Path) -> None:
    days = [f"2018-12-{day:02}|SPY" for day in (3, 4, 11, 12, 18)]
    with runner(load_settings(home=home)) as made:
        groups = _groups(made, CHAINS, days)
    assert groups == [days[:2], days[2:4], days[4:]]
    assert [len(_range_tags(group)) for group in groups] == [1, 1, 1]


@pytest.mark.slow
def test_a_plan_is_run_and_the_rest_is_left(spy: Any, home: Path) -> None:
    words = ("--home", home, "plan", "walk_forward", *QUICK)
    assert spy(*words, "--json").json["partitions"] == FOLDS
    ran = spy(*words, "--from", FOLDS[2], "--run")
    assert "1 partition(s) made" in ran.stdout
    left = spy(*words, "--json").json
    assert (left["present"], left["partitions"]) == (1, FOLDS[:2])
    assert left["minutes"] > 0
    assert "by 1 recorded partition(s)" in left["basis"]
