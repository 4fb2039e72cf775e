"""The main job from the shell: what is missing or stale is materialized, the rest is left.

Each stage is one Dagster run in this process, against the profile's own instance, so everything that
happens here is in the UI too. Stages differ by their partitions: years, then sessions, then none.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, DagsterEventType, DagsterInstance
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from spy_assets import sessions
from spy_assets.dagster_home import close_abandoned_runs, process_tags
from spy_assets.dagster_home import instance as open_instance
from spy_assets.definitions import build
from spy_assets.defs import judging
from spy_assets.defs.partitions import first_year, years_of
from spy_assets.defs.resources import SpyResource
from spy_assets.defs.staleness import History, Lost, Needed, Running, merge
from spy_assets.errors import SpyError
from spy_assets.settings import SECRETS
from spy_assets.warehouse import refetch
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from rich.console import Console

    from spy_assets.settings import Settings

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
#: Sessions of minute bars that the main job keeps: enough for the live features and a look.
MINUTE_SESSIONS = 5
#: Assets that ask a source by the year, and can be told to ask again.
INGESTED = {
    AssetKey(["market", name]) for name in ("daily_bars", "volatility", "rates", "put_call")
}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailed(SpyError):
    """A stage's run failed; the message names the step and its error."""


@dataclass
class Step:
    """One stage: what it made and how long it took."""

    name: str
    materialized: int = 0
    skipped: int = 0
    seconds: float = 0.0
    reason: str = ""


@dataclass
class RunSummary:
    """What a run did, and the signal that it ends with."""

    signal: dict[str, Any] | None = None
    rendered: str = ""
    report_path: str | None = None
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def materialized(self) -> int:
        """Materializations made."""
        return sum(step.materialized for step in self.steps)

    @property
    def skipped(self) -> int:
        """Materializations that were there already."""
        return sum(step.skipped for step in self.steps)

    def to_json(self) -> str:
        """The summary as JSON."""
        body = asdict(self) | {"materialized": self.materialized, "skipped": self.skipped}
        return json.dumps(body, sort_keys=True, default=str)


class Runner:
    """Runs stages against the profile's instance and shows their progress."""

    def __init__(self, settings: Settings, console: Console, instance: DagsterInstance) -> None:
        self.settings = settings
        console.file = console.file  # pinned: what dbt prints goes to a log, not to the screen
        self.console = console
        self.instance = instance
        self.spy = SpyResource(overrides=_overrides(settings))
        self.defs = build(self.spy)
        self.steps: list[Step] = []

    def stage(
        self,
        title: str,
        job: str,
        wanted: Sequence[str] | None,
        *,
        keys: Sequence[Sequence[str]] | None = None,
        config: dict[str, Any] | None = None,
        running: Running | None = None,
        force: bool = False,
    ) -> Step:
        """Materialize what is missing or stale of a job's assets.

        ``wanted`` are the partitions that must be there, None for assets without partitions.
        """
        started = time.perf_counter()
        step = Step(title)
        notes = {} if force else refetch.read_notes(self.settings)
        lost = _lost(notes.values())
        history = History(self.instance, self.defs, lost)
        assets = [AssetKey(list(key)) for key in keys] if keys else self._assets_of(job)
        if force:
            needs = [
                Needed(key, None if wanted is None else tuple(wanted), "asked for")
                for key in assets
            ]
        else:
            needs = [
                need for key in assets if (need := history.needed(key, wanted, running)) is not None
            ]
        selected, partitions = merge(needs)
        due = {(key, part) for key in assets for part in wanted or [""]}
        step.skipped = len(due - {(n.key, part) for n in needs for part in n.partitions or [""]})
        if needs:
            step.reason = f"{needs[0].key.to_user_string()}: {needs[0].reason}"
            config = (config or {}) | _refetching(key for key in selected if key in lost)
            step.materialized = self._execute(title, job, selected, partitions, config)
        refetch.strike_out(self.settings, notes, {key.to_user_string() for key in assets})
        step.seconds = time.perf_counter() - started
        self.steps.append(step)
        self._say(step)
        return step

    def _execute(
        self,
        title: str,
        job: str,
        selected: list[AssetKey],
        partitions: list[str],
        config: dict[str, Any] | None,
    ) -> int:
        tags = process_tags()
        if partitions:
            tags |= {RANGE_START: partitions[0], RANGE_END: partitions[-1]}
        job_def = self.defs.resolve_job_def(job)
        run_id = str(uuid.uuid4())
        log = self.settings.root / "logs"
        log.mkdir(parents=True, exist_ok=True)
        expected = len(selected) * max(1, len(partitions))
        with _progress(self.console, title, expected) as listen:
            self.instance.add_event_listener(run_id, listen)
            with (log / f"{run_id}.log").open("w") as file, redirect_stdout(file):
                result = job_def.execute_in_process(
                    instance=self.instance,
                    run_id=run_id,
                    asset_selection=selected,
                    tags=tags,
                    run_config=_QUIET | (config or {}),
                    raise_on_error=False,
                )
        if not result.success:
            raise RunFailed(
                _failure(result), hint=f"`make up` shows run {run_id} in the Dagster UI"
            )
        return len(result.get_asset_materialization_events())

    def _assets_of(self, job: str) -> list[AssetKey]:
        layer = self.defs.resolve_job_def(job).asset_layer
        order = self.defs.resolve_asset_graph().toposorted_asset_keys
        return [key for key in order if key in layer.selected_asset_keys]

    def _say(self, step: Step) -> None:
        mark = "[green]✓[/]" if step.materialized else "[dim]=[/]"
        done = f"{step.materialized} materialized" if step.materialized else "up to date"
        self.console.print(f" {mark} {step.name:<28}{done:<20}[dim]{step.seconds:5.1f} s[/]")


def _lost(notes: Iterable[refetch.Note]) -> dict[AssetKey, list[Lost]]:
    found: dict[AssetKey, list[Lost]] = {}
    for note in notes:
        for asset in note.assets:
            found.setdefault(AssetKey.from_user_string(asset), []).append(Lost(*note.days))
    return found


def _refetching(keys: Iterable[AssetKey]) -> dict[str, Any]:
    """Run config by which data sets are asked for as a whole, not just for what is missing."""
    asked = [key.to_python_identifier() for key in keys if key in INGESTED]
    return {"ops": {name: {"config": {"refetch": True}} for name in asked}} if asked else {}


def _overrides(settings: Settings) -> dict[str, Any]:
    """The fields that were set, as plain values, which Dagster stores with the run.

    Secrets stay out: every process reads them from the environment or ``.env`` itself.
    """
    return settings.model_dump(mode="json", exclude_unset=True, exclude=SECRETS)


def _failure(result: Any) -> str:
    for event in result.all_events:
        if event.event_type == DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            cause = error.cause or error
            return f"{event.step_key} failed: {cause.message.strip()}"
    return "the run failed before its first step"


@contextmanager
def _progress(console: Console, title: str, expected: int) -> Iterator[Callable[[Any], None]]:
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=expected, note="")

        def listen(entry: Any) -> None:
            if entry.dagster_event is None:
                message = entry.user_message or ""
                if message.startswith("progress "):
                    _, share, text = message.split(" ", 2)
                    progress.update(task, note=f"{float(share):4.0%} {text}")
            elif entry.dagster_event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
                progress.advance(task)
            elif entry.dagster_event.event_type == DagsterEventType.STEP_START:
                progress.update(task, note=entry.dagster_event.step_key or "")

        yield listen


def run(settings: Settings, console: Console, *, fresh: bool = False) -> RunSummary:
    """Bring everything up to the last session and give its signal.

    Parameters
    ----------
    fresh
        Remove the profile's data first.
    """
    if fresh:
        from spy_assets.dagster_home import remove_profile

        remove_profile(settings)
    started = time.perf_counter()
    with _runner(settings, console) as runner:
        last = runner.spy.last_session()
        _history(runner, last)
        _model(runner, last)
        days = [str(day) for day in _signal_days(settings, last)]
        runner.stage("signals", "daily_signal_job", days)
        runner.stage("outcomes", "track_outcomes", days)
        runner.stage("reports", "report", None)
        return _summary(runner, last, started)


def signal_once(settings: Settings, console: Console) -> RunSummary:
    """Bring market and features up to date and record the last session's signal; trains nothing."""
    started = time.perf_counter()
    with _runner(settings, console) as runner:
        last = runner.spy.last_session()
        _history(runner, last)
        runner.stage("signal", "daily_signal_job", [str(last)])
        return _summary(runner, last, started)


def track(settings: Settings, console: Console, hours: float) -> dict[str, Any]:
    """Settle what ended in the last ``hours`` of the calendar, and count.

    Hours count back from now, or from the last session's decision on a source that has ended.
    """
    with _runner(settings, console) as runner:
        last = runner.spy.last_session()
        until = runner.spy.as_of() if settings.historical else runner.spy.utc_now()
        since = sessions.next_session((until - timedelta(hours=hours)).date() - timedelta(days=1))
        days = sessions.sessions_between(since, last)
        if days:
            runner.stage("outcomes", "track_outcomes", [str(day) for day in days], force=True)
            runner.stage("reports", "report", None)
        with runner.spy.warehouse() as lake:
            lake.ensure(TABLES["ledger.outcomes"])
            rows = lake.read("ledger.outcomes", where="exit_session >= ?", params=(since,))
    return {
        "since": since.isoformat(),
        "through": last.isoformat(),
        "sessions": len(days),
        "settled": rows.height,
        "profitable": int(rows["was_profitable"].sum() or 0),
        "net_pnl": float(rows["pnl"].sum() or 0.0),
    }


def train(
    settings: Settings,
    console: Console,
    *,
    timesteps: int | None = None,
    seeds: int | None = None,
    preset: str | None = None,
) -> dict[str, Any]:
    """Train on the window before the hold-out, evaluate, and put it to the promotion gate."""
    return _train(settings, console, settings.train.holdout_sessions, timesteps, seeds, preset)


def retrain(
    settings: Settings, console: Console, *, timesteps: int | None = None
) -> dict[str, Any]:
    """Train a challenger on everything up to the last session, as the weekly schedule does."""
    return _train(settings, console, 0, timesteps, None, None)


def _train(
    settings: Settings,
    console: Console,
    before: int,
    timesteps: int | None,
    seeds: int | None,
    preset: str | None,
) -> dict[str, Any]:
    given = {"timesteps": timesteps, "seeds": seeds, "preset": preset}
    config = {name: value for name, value in given.items() if value is not None}
    with _runner(settings, console) as runner:
        last = runner.spy.last_session()
        _history(runner, last)
        window = sessions.previous_session(last, before) if before else last
        runner.stage(
            "train and judge the model",
            "train_daily",
            [str(window)],
            config={"ops": {"models__ppo_daily": {"config": config}}},
            force=True,
        )
        runner.stage("registry mirror", "report", None, keys=[["models", "model_versions"]])
        with runner.spy.warehouse() as lake:
            row = judging.recorded_decision(lake, window)
    return {
        "window": window.isoformat(),
        "version": row["version"],
        "train_end": str(row["train_end"]),
        "accepted": row["accepted"],
        "basis": row["basis"],
        "reason": row["reason"],
    }


def _history(runner: Runner, last: date) -> None:
    settings = runner.settings
    years = years_of(date(first_year(settings), 1, 1), last)
    running = None if settings.historical else Running(years[-1], last)
    runner.stage("market data and features", "refresh_history", years, running=running)
    minutes = [str(day) for day in _minute_days(runner, last)]
    if minutes:
        runner.stage("minute bars", "refresh_minutes", minutes)


def _minute_days(runner: Runner, last: date) -> list[date]:
    """The last sessions, as far as history has minutes of them.

    A live vendor's minutes are left to the schedule: no signal needs them, so their failure must
    not keep one back.
    """
    span = runner.spy.source().span("minute_bars") if runner.settings.historical else None
    if span is None:
        return []
    return [day for day in _last_sessions(last, MINUTE_SESSIONS) if span[0] <= day <= span[1]]


def _model(runner: Runner, last: date) -> None:
    """Train if no model may speak for ``last``; see :func:`judging.window_to_train`."""
    from spy_assets.warehouse import Warehouse

    with Warehouse.open(runner.settings) as lake:
        window = judging.window_to_train(lake, runner.settings, last)
    runner.stage("train and judge the model", "train_daily", [str(window)])


def _last_sessions(last: date, count: int) -> list[date]:
    return sessions.sessions_between(sessions.previous_session(last, count - 1), last)


def _signal_days(settings: Settings, last: date) -> list[date]:
    return _last_sessions(last, settings.signal_sessions)


@contextmanager
def _runner(settings: Settings, console: Console) -> Iterator[Runner]:
    with open_instance(settings) as instance:
        close_abandoned_runs(instance)
        yield Runner(settings, console, instance)


def _summary(runner: Runner, last: date, started: float) -> RunSummary:
    from spy_assets.signals.contract import Signal
    from spy_assets.signals.rendering import render_plain

    with runner.spy.warehouse() as lake:
        rows = lake.read(
            "ledger.signals",
            where="symbol = ? AND session = ?",
            params=(runner.settings.symbol, last),
        )
    summary = RunSummary(steps=runner.steps)
    if not rows.is_empty():
        signal = Signal.from_row(rows.sort("ingested_at").row(-1, named=True))
        summary.signal = json.loads(signal.to_json())
        summary.rendered = render_plain(signal)
    reports = sorted((runner.settings.root / "reports").glob("*.html"))
    summary.report_path = str(reports[-1]) if reports else None
    summary.seconds = time.perf_counter() - started
    return summary
