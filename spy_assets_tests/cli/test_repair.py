"""`spy repair --forget`, then the main job: what left the lake comes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest

from spy_assets import plan
from spy_assets.defs.partitions import ChainPart
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse.refetch import Note, note_of, read_notes, strike_out, write_note
from spy_assets_tests.cli.test_maintenance import flip_a_bit
from spy_assets_tests.graph.test_options import DAY, LATER, NOW, cboe_rows, drop, plant
from spy_assets_tests.graph.worlds import read, row_counts, runner

YEARS = ["2018"]
#: A part of the graph that takes seconds: two data sets and what is computed from one.
PART = [["market", "daily_bars"], ["market", "rates"], ["features", "adjusted_bars"]]


def history(settings: Settings) -> plan.Step:
    with runner(settings) as made:
        return made.stage("history", "refresh_history", YEARS, keys=PART)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A year of history; each test damages it and must leave it mended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        settings = load_settings(home=tmp_path_factory.mktemp("made"), start_year=2018)
        history(settings)
    return settings


def a_file(settings: Settings, table: str) -> Path:
    return max((Path(settings.lake_dir) / Path(*table.split("."))).glob("*.parquet"))


@pytest.mark.slow
@pytest.mark.fault(50)
@pytest.mark.parametrize(
    ("table", "again"),
    [
        ("market.daily_bars", 2),  # and the adjusted bars below it
        ("features.adjusted_bars", 1),
        ("market.coverage", 1),
    ],
)
def test_what_was_forgotten_comes_back(spy, made: Settings, table: str, again: int):
    rows, counted = read(made, table), row_counts(made)
    flip_a_bit(a_file(made, table))
    assert spy("--home", made.home, "verify").code == 4
    assert spy("--home", made.home, "repair", "--forget").code == 0
    assert row_counts(made)[table] < counted[table]
    assert history(made).materialized == again
    assert read(made, table).drop("ingested_at").equals(rows.drop("ingested_at"))
    assert row_counts(made) == counted
    assert spy("--home", made.home, "verify", "--json").json["ok"]
    assert read_notes(made) == {}
    assert history(made).materialized == 0


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two sessions of chains out of files; each test damages them and must leave them mended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        home = tmp_path_factory.mktemp("chained")
        own = {"chains": {"source": "files"}, "files_dir": home / "files"}
        settings = load_settings(home=home, **own)
    plant(settings)
    for day in (DAY, LATER):
        drop(home / "files", day, cboe_rows(day))
    with runner(settings, datetime.fromisoformat(NOW)) as made:
        for day in (DAY, LATER):
            made.stage("chains", "refresh_chain", [ChainPart(day, "SPY").key])
    return settings


def next_run(settings: Settings) -> int:
    """What the main job makes of chains; the sample's own run asks for none."""
    with runner(settings, datetime.fromisoformat(NOW)) as made:
        plan._chains(made, LATER)
        return sum(step.materialized for step in made.steps)


@pytest.mark.slow
@pytest.mark.fault(50)
@pytest.mark.parametrize(
    ("table", "damage", "asset", "again"),
    [
        ("options.chain_quotes", flip_a_bit, "options/option_chain", 2),  # and their features
        ("features.chain", flip_a_bit, "features/chain", 1),
        ("market.coverage", Path.unlink, "options/option_chain", 2),
    ],
)
def test_lost_chains_are_told_and_come_back(
    spy, chained: Settings, table: str, damage: Callable[[Path], object], asset: str, again: int
):
    rows, counted = read(chained, table), row_counts(chained)
    damage(a_file(chained, table))
    told = spy("--home", chained.home, "verify")
    assert told.code == 4
    assert table.replace(".", "/") in told.stdout + told.stderr
    assert spy("--home", chained.home, "repair", "--forget").code == 0
    (note,) = read_notes(chained).values()
    assert asset in note.assets
    assert row_counts(chained)[table] < counted[table]
    assert next_run(chained) == again
    assert read(chained, table).drop("ingested_at").equals(rows.drop("ingested_at"))
    assert row_counts(chained) == counted
    assert spy("--home", chained.home, "verify", "--json").json["ok"]
    assert read_notes(chained) == {}
    assert next_run(chained) == 0


def test_a_run_that_fails_leaves_the_note(made: Settings, monkeypatch: pytest.MonkeyPatch):
    write_note(made, "x", Note("market.rates", "2018-01-02", "2018-12-31", ("market/rates",)))
    with monkeypatch.context() as patch:
        patch.setattr("spy_assets.market.sources.open_source", None)
        patch.setattr("dagster.RetryPolicy.calculate_delay", lambda *_: 0)
        with pytest.raises(plan.RunFailed):
            history(made)
    assert set(read_notes(made)) == {"x"}
    assert history(made).reason == "market/rates: 1 lost their rows"


@pytest.mark.parametrize(
    ("table", "ranges", "first", "assets"),
    [
        ("market.rates", {"session": ("2018-01-02", "2018-12-31")}, "2018-01-02", "market/rates"),
        ("models.training_runs", {"model": ("a", "a")}, None, "models/ppo_daily"),
        ("ledger.fills", {"session": ("2018-01-02", "2018-12-31")}, None, "ledger/outcomes"),
        (
            "quarantine.rows",
            {"dataset": ("rates", "volatility"), "session": ("2018-01-02", "2018-01-02")},
            "2018-01-02",
            "market/rates market/volatility",
        ),
    ],
)
def test_a_note_names_days_and_assets(
    table: str, ranges: dict[str, tuple[str, str]], first: str | None, assets: str
):
    note = note_of(table, ranges)
    assert (note.first, " ".join(note.assets)) == (first, assets)
    assert note.days[0] == (date.fromisoformat(first) if first else None)


def test_a_note_ends_with_its_last_asset(settings: Settings):
    write_note(settings, "x", Note("market.coverage", None, None, ("market/rates", "market/a")))
    strike_out(settings, ["x"], {"market/a", "market/b"})
    assert read_notes(settings)["x"].assets == ("market/rates",)
    strike_out(settings, ["x"], {"market/rates"})
    assert read_notes(settings) == {}
