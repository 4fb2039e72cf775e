"""The main job's own rules: whose error a failed run passes on, and what it refuses to begin."""

from __future__ import annotations

from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from spy_assets import plan
from spy_assets.defs.chains import QUOTES
from spy_assets.errors import (
    CheckFailed,
    ConfigError,
    EmptyResponse,
    LockTimeout,
    SourceUnavailable,
    SpyError,
)
from spy_assets.sessions import decision_time
from spy_assets.settings import load_settings
from spy_assets_tests.graph.test_options import DAY as CHAIN_DAY
from spy_assets_tests.graph.test_options import NEXT, NOW, cboe_rows, drop, plant
from spy_assets_tests.graph.worlds import make, quiet, read, runner, write
from spy_assets_tests.market.sources.test_files import daily
from spy_assets_tests.market.sources.test_files import write as write_file

DAY = date(2018, 12, 28)


def failed(error: BaseException, cause: BaseException | None = None, retries: int = 0):
    """What a real run with a step that fails so is told as."""

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=retries))
    def step() -> None:
        raise error from cause

    @dg.job
    def job() -> None:
        step()

    return plan._failure(job.execute_in_process(raise_on_error=False), "run 12")


@pytest.mark.parametrize("retries", [0, 1])
def test_a_failed_run_passes_on_its_step_s_own_error(retries: int) -> None:
    told = failed(LockTimeout("waited 1 s: held", hint="stop it"), OSError("busy"), retries)
    assert (type(told.origin), told.exit_code) == (LockTimeout, 4)
    assert told.message == "step failed: waited 1 s: held"
    assert told.hint == "stop it; run 12"


def test_a_failure_of_several_keys_is_of_the_kind_of_its_first() -> None:
    told = failed(dg.Failure("no answer for VIX; the rest is stored"), EmptyResponse("no row"))
    assert (type(told.origin), told.exit_code) == (EmptyResponse, 3)
    assert told.message == "step failed: no answer for VIX; the rest is stored"


def test_an_error_of_others_has_no_origin_but_itself() -> None:
    told = failed(ZeroDivisionError("division by zero"))
    assert told.origin is told
    assert (told.exit_code, told.hint) == (1, "run 12")
    assert "ZeroDivisionError: division by zero" in told.message


def test_a_blocking_check_that_fails_is_data_that_may_not_be_published() -> None:
    spec = dg.AssetCheckSpec("sound", asset="rows", blocking=True)

    @dg.asset(check_specs=[spec])
    def rows() -> dg.MaterializeResult:
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=False)])

    result = dg.materialize([rows], raise_on_error=False)
    told = plan._failure(result, "run 12")
    assert (type(told.origin), told.exit_code) == (CheckFailed, 3)


def test_the_summary_in_json_leaves_the_error_to_the_command_line() -> None:
    held = plan.RunFailed("x failed", origin=SourceUnavailable("away"))
    assert "failure" not in plan.RunSummary(failure=held).to_json()


def test_sessions_before_the_data_are_refused(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, start_year=2018)
    with pytest.raises(ConfigError, match=r"2017-12-29 is asked for, .* SPY_START_YEAR=2018"):
        make(settings, "daily_signal_job", ["2017-12-29", "2018-01-02"])


def test_signals_reach_back_as_far_as_data() -> None:
    settings = load_settings(start_year=2018, signal_sessions=5)
    days = plan.signal_days(settings, date(2018, 1, 4))
    assert days == [date(2018, 1, 2), date(2018, 1, 3), date(2018, 1, 4)]


def test_a_symbol_that_the_source_lacks_is_refused(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, symbol="QQQ")
    with pytest.raises(ConfigError, match="'sample' gives no daily bars of it; it gives SPY"):
        plan.signal_once(settings, quiet())


TRAINED = {
    "model": "ppo_daily", "version": "1", "train_end": DAY, "hyperparameters": '{"symbol": "SPY"}',
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("ledger.signals", {"signal_id": "a", "symbol": "SPY", "session": DAY}),
        ("models.training_runs", TRAINED),
    ],
)
def test_another_symbol_needs_another_profile(
    tmp_path: Path, table: str, row: dict[str, Any]
) -> None:
    files = tmp_path / "files"
    for symbol in ("SPY", "QQQ"):
        write_file(files, f"bars/daily/{symbol}.parquet", daily([DAY], [10.0]))
    own = load_settings(home=tmp_path, source="files", files_dir=files)
    write(own, table, [row | {"source": "files", "available_at": decision_time(DAY)}])
    other = load_settings(home=tmp_path, source="files", files_dir=files, symbol="QQQ")
    with pytest.raises(ConfigError, match="'files' has models and signals of SPY") as caught:
        plan.signal_once(other, quiet())
    assert "spy --profile files-qqq" in str(caught.value)


@pytest.mark.slow
def test_the_sessions_chain_is_fetched_and_gone_on_without(tmp_path: Path) -> None:
    own = {"source": "yfinance", "chains": {"source": "files"}, "files_dir": tmp_path / "files"}
    settings, told = load_settings(home=tmp_path, **own), StringIO()
    plant(settings)
    drop(tmp_path / "files", CHAIN_DAY, cboe_rows(CHAIN_DAY))
    drop(tmp_path / "files", NEXT, cboe_rows(CHAIN_DAY), made=CHAIN_DAY)  # under a wrong name
    with runner(settings, datetime.fromisoformat(NOW)) as made:
        made.console = Console(file=told, width=300)
        for day in (CHAIN_DAY, NEXT):
            plan._chains(made, day)
        assert [step.materialized for step in made.steps] == [2]
    assert read(settings, QUOTES)["session"].unique().to_list() == [CHAIN_DAY]
    assert "option chains: options__option_chain failed" in told.getvalue()
    assert "volume of another session" in told.getvalue()


def test_every_error_of_ours_has_an_origin() -> None:
    error = SpyError("x")
    assert error.origin is error
