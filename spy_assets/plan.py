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
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, DagsterEventType, DagsterInstance
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from spy_assets import errors, sessions
from spy_assets.alerts import alerter
from spy_assets.dagster_home import close_abandoned_runs, process_tags
from spy_assets.dagster_home import instance as open_instance
from spy_assets.definitions import build
from spy_assets.defs import judging, refusals
from spy_assets.defs.chains import ASSET as OPTION_CHAIN
from spy_assets.defs.deciding import REFRESH_INCIDENT
from spy_assets.defs.partitions import OBSERVES_CHAINS, ChainPart, chain_ranges, years_of
from spy_assets.defs.resources import SpyResource
from spy_assets.defs.staleness import History, Lost, Needed, Running, merge
from spy_assets.errors import ConfigError, DataError, SourceError, SpyError
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
#: Dagster's errors that say the same as one of ours.
_OURS = {"DagsterAssetCheckFailedError": "CheckFailed"}
#: Dagster's errors that only pass one on.
_WRAPPERS = {"DagsterExecutionStepExecutionError", "RetryRequestedFromPolicy"}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailed(SpyError):
    """A stage's run failed; the message names the step and its error.

    Where the step's error is one of ours, it is the :attr:`origin`: its class, its exit code and its
    mend are what counts, and what is shown.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, origin: SpyError | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self._origin = origin
        if origin is not None:
            self.exit_code = origin.exit_code

    @property
    def origin(self) -> SpyError:
        """The step's error, or this one if that was none of ours."""
        return self._origin or self


@dataclass
class Step:
    """One stage: what it made, how long it took, and whom it refused, if anybody."""

    name: str
    materialized: int = 0
    skipped: int = 0
    seconds: float = 0.0
    reason: str = ""
    refused: str = ""


@dataclass
class RunSummary:
    """What a run did, and the signal that it ends with."""

    signal: dict[str, Any] | None = None
    rendered: str = ""
    report_path: str | None = None
    #: Why the source could not be asked, where the signal holds because of it.
    failure: RunFailed | None = None
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
        body = asdict(replace(self, failure=None))
        del body["failure"]
        body |= {"materialized": self.materialized, "skipped": self.skipped}
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
        symbol: str | None = None,
    ) -> Step:
        """Materialize what is missing or stale of a job's assets.

        ``wanted`` are the partitions that must be there, None for assets without partitions. A stage
        of one ``symbol`` makes that one's lost partitions only, so the notes of them stay.
        """
        started = time.perf_counter()
        self._require_listed(title, wanted)
        step = Step(title)
        notes = {} if force else refetch.read_notes(self.settings)
        lost = _lost(notes.values(), symbol)
        history = History(self.instance, self.defs, lost)
        assets = [AssetKey(list(key)) for key in keys] if keys else self.assets_of(job)
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
            step.materialized = self._execute(step, job, selected, partitions, config)
        if symbol is None:
            refetch.strike_out(self.settings, notes, {key.to_user_string() for key in assets})
        step.seconds = time.perf_counter() - started
        self.steps.append(step)
        self._say(step)
        return step

    def _require_listed(self, title: str, wanted: Sequence[str] | None) -> None:
        """Later days were refused with the settings; earlier ones come of counting back."""
        first = str(self.settings.first_year)
        early = [part for part in wanted or () if part < first]
        if early:
            raise ConfigError(
                f"{title}: {early[0]} is asked for, but data begin with SPY_START_YEAR={first}",
                hint="set an earlier SPY_START_YEAR, or a later SPY_AS_OF",
            )

    def _execute(
        self,
        step: Step,
        job: str,
        selected: list[AssetKey],
        partitions: list[str],
        config: dict[str, Any] | None,
    ) -> int:
        """One run over the partitions; of chains one for each stretch of sessions of a symbol."""
        expected = len(selected) * max(1, len(partitions))
        with _progress(self.console, step.name, expected) as listen:
            return sum(
                self._run(step, job, selected, tags, config, listen)
                for tags in _range_tags(partitions)
            )

    def _run(
        self,
        step: Step,
        job: str,
        selected: list[AssetKey],
        tags: dict[str, str],
        config: dict[str, Any] | None,
        listen: Callable[[Any], None],
    ) -> int:
        job_def = self.defs.resolve_job_def(job)
        run_id = str(uuid.uuid4())
        log = self.settings.root / "logs"
        log.mkdir(parents=True, exist_ok=True)
        self.instance.add_event_listener(run_id, listen)
        with (log / f"{run_id}.log").open("w") as file, redirect_stdout(file):
            result = job_def.execute_in_process(
                instance=self.instance,
                run_id=run_id,
                asset_selection=selected,
                tags=process_tags() | tags,
                run_config=_QUIET | (config or {}),
                raise_on_error=False,
            )
        if not result.success:
            refused = refusals.refusal_of(result.all_events)
            if refused is None:
                raise _failure(result, f"`make up` shows run {run_id} in the Dagster UI")
            step.refused = refused
        return len(result.get_asset_materialization_events())

    def lost_partitions(self, key: AssetKey, symbol: str) -> set[str]:
        """Partitions of one underlying that were made, and whose rows are lost."""
        lost = _lost(refetch.read_notes(self.settings).values(), symbol)
        if key not in lost:
            return set()
        return History(self.instance, self.defs, lost).lost_of(key)

    def assets_of(self, job: str) -> list[AssetKey]:
        """The job's assets, upstream first."""
        layer = self.defs.resolve_job_def(job).asset_layer
        order = self.defs.resolve_asset_graph().toposorted_asset_keys
        return [key for key in order if key in layer.selected_asset_keys]

    def _say(self, step: Step) -> None:
        mark = "[green]✓[/]" if step.materialized else "[dim]=[/]"
        done = f"{step.materialized} materialized" if step.materialized else "up to date"
        self.console.print(f" {mark} {step.name:<28}{done:<20}[dim]{step.seconds:5.1f} s[/]")
        if step.refused:
            self.console.print(f"   [yellow]{escape(step.refused)}[/]", highlight=False)


def _range_tags(partitions: Sequence[str]) -> list[dict[str, str]]:
    """The tags of each run that makes some partitions of one kind."""
    if not partitions:
        return [{}]
    if ChainPart.is_key(partitions[0]):
        ranges = chain_ranges(partitions)
    else:
        ranges = [(partitions[0], partitions[-1])]
    return [{RANGE_START: first, RANGE_END: last} for first, last in ranges]


def _lost(notes: Iterable[refetch.Note], symbol: str | None = None) -> dict[AssetKey, list[Lost]]:
    found: dict[AssetKey, list[Lost]] = {}
    for note in notes:
        for asset in note.assets:
            found.setdefault(AssetKey.from_user_string(asset), []).append(Lost(*note.days, symbol))
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


def _failure(result: Any, where: str) -> RunFailed:
    for event in result.all_events:
        if event.event_type == DagsterEventType.STEP_FAILURE:
            return _step_failure(event.step_key, event.step_failure_data.error, where)
    return RunFailed("the run failed before its first step", hint=where)


def _step_failure(step: str, error: Any, where: str) -> RunFailed:
    """The step's error; the first of ours in its chain says of what kind it is, and how to mend it."""
    while error.cls_name in _WRAPPERS and error.cause:
        error = error.cause
    own, link = _ours(error), error.cause
    origin = own
    while origin is None and link is not None:
        origin, link = _ours(link), link.cause
    if own is not None:
        words = own.message
    else:
        words = _words(error) if error.cls_name == "Failure" else error.message.strip()
    hint = f"{origin.hint}; {where}" if origin is not None and origin.hint else where
    return RunFailed(f"{step} failed: {words}", hint=hint, origin=origin)


def _ours(error: Any) -> SpyError | None:
    name = error.cls_name or ""
    return errors.from_text(_OURS.get(name, name), _words(error))


def _words(error: Any) -> str:
    """What an error says, without the name of its class."""
    return str(error.message.strip().partition(": ")[2])


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
    with open_runner(settings, console) as runner:
        last = runner.spy.last_session()
        failure = _refresh(runner, last)
        if failure is None:
            _model(runner, last)
        days = [str(day) for day in ([last] if failure else signal_days(settings, last))]
        runner.stage("signals", "daily_signal_job", days)
        if failure is None:
            runner.stage("outcomes", "track_outcomes", days)
            runner.stage("reports", "report", None)
        return _summary(runner, last, started, failure)


def signal_once(settings: Settings, console: Console) -> RunSummary:
    """Bring market and features up to date and record the last session's signal; trains nothing."""
    started = time.perf_counter()
    with open_runner(settings, console) as runner:
        last = runner.spy.last_session()
        failure = _refresh(runner, last)
        runner.stage("signal", "daily_signal_job", [str(last)])
        return _summary(runner, last, started, failure)


def track(settings: Settings, console: Console, hours: float) -> dict[str, Any]:
    """Settle what ended in the last ``hours`` of the calendar, and count.

    Hours count back from now, or from the last session's decision on a source that has ended.
    """
    with open_runner(settings, console) as runner:
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
    """Train a challenger whose validation ends with the last session, as the weekly schedule does."""
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
    with open_runner(settings, console) as runner:
        last = runner.spy.last_session()
        history(runner, last)
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


def _refresh(runner: Runner, last: date) -> RunFailed | None:
    """Bring history up to date; where a signal can hold in spite of a failure, the failure is given."""
    try:
        history(runner, last)
    except RunFailed as failure:
        if _is_outage(runner, failure) and _has_history(runner):
            return failure
        raise
    return None


def _is_outage(runner: Runner, failure: RunFailed) -> bool:
    """Whether a live source did not give its data, or gave what may not be published."""
    return not runner.settings.historical and isinstance(failure.origin, SourceError | DataError)


def _has_history(runner: Runner) -> bool:
    return runner.settings.symbol in _symbols_in(runner.settings, "features.daily_15")


def _symbols_in(settings: Settings, table: str, symbol: str = "symbol") -> set[str]:
    """The symbols of a table of the lake; none where there is no lake or no table."""
    from spy_assets.warehouse import Warehouse
    from spy_assets.warehouse.connection import is_initialised

    if not is_initialised(settings):
        return set()
    with Warehouse.open(settings) as lake:  # for writing: it brings an older profile up to date
        if table not in lake.tables():
            return set()
        found = lake.execute(f"SELECT DISTINCT {symbol} AS symbol FROM {table}")
    return set(found["symbol"].drop_nulls())


def history(runner: Runner, last: date) -> None:
    """Market data and features up to ``last``; an outage is the same incident as of the sensors."""
    settings, sender = runner.settings, alerter(runner.settings)
    years = years_of(date(settings.first_year, 1, 1), last)
    running = None if settings.historical else Running(years[-1], last)
    try:
        step = runner.stage("market data and features", "refresh_history", years, running=running)
    except RunFailed as failure:
        if _is_outage(runner, failure):
            sender.send(
                key=REFRESH_INCIDENT,
                title="refresh_history failed",
                text=failure.message,
                now=runner.spy.utc_now(),
            )
        raise
    if step.materialized:
        sender.resolve(REFRESH_INCIDENT)
    minutes = [str(day) for day in _minute_days(runner, last)]
    if minutes:
        runner.stage("minute bars", "refresh_minutes", minutes)
    _chains(runner, last)


def _chains(runner: Runner, last: date) -> None:
    """Option chains, and those whose rows were lost.

    Without them the signal goes on, and holds where its model observes them; one underlying's failure
    keeps no other's back.
    """
    notes, settings = refetch.read_notes(runner.settings), runner.settings
    # Where nothing can be asked for quotes, the note of lost ones waits for a source.
    asked = settings.chain_source is not None or settings.chains.model_chain
    keys = [key for key in runner.assets_of("refresh_chain") if asked or key != OPTION_CHAIN]
    failed = False
    for symbol in settings.chain_symbols:
        wanted = {ChainPart(day, symbol).key for day in chain_days(runner, symbol, last)}
        for key in keys:
            wanted |= runner.lost_partitions(key, symbol)
        if not wanted:
            continue
        title = "option chains" + f" {symbol}" * (len(settings.chain_symbols) > 1)
        try:
            runner.stage(
                title,
                "refresh_chain",
                sorted(wanted),
                keys=[key.path for key in keys],
                symbol=symbol,
            )
        except RunFailed as failure:
            failed = True
            runner.console.print(f"[yellow]{title}: {escape(failure.message)}[/]")
    if not failed:
        refetch.strike_out(settings, notes, {key.to_user_string() for key in keys})


def chain_days(runner: Runner, symbol: str, last: date) -> list[date]:
    """The last session on a live source; on one that has ended, those that have a file, if observed."""
    settings = runner.settings
    if settings.chain_source is None:
        return []
    if not settings.historical:
        return [last]
    if not OBSERVES_CHAINS or settings.chain_source != "files":
        return []
    from spy_assets.market.sources.chains import open_chain_source

    source = open_chain_source(settings)
    offered = [] if source is None else source.sessions(symbol, now=runner.spy.utc_now())
    return [day for day in offered if settings.first_year <= day.year and day <= last]


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
        window = judging.window_to_train(lake, runner.spy.registry(), runner.settings, last)
    runner.stage("train and judge the model", "train_daily", [str(window)])


def _last_sessions(last: date, count: int) -> list[date]:
    return sessions.sessions_between(sessions.previous_session(last, count - 1), last)


def signal_days(settings: Settings, last: date) -> list[date]:
    """The sessions to signal on, as far back as data go."""
    days = _last_sessions(last, settings.signal_sessions)
    return [day for day in days if day.year >= settings.first_year]


@contextmanager
def open_runner(settings: Settings, console: Console) -> Iterator[Runner]:
    """A runner on the profile's instance; runs whose process was killed are closed first."""
    with open_instance(settings) as instance:
        close_abandoned_runs(instance)
        runner = Runner(settings, console, instance)
        _require_symbol(runner)
        yield runner


def _require_symbol(runner: Runner) -> None:
    """Refuse a symbol that the source lacks, or another than the profile's models and signals are of.

    Prices and features are of all symbols; a model speaks for the one that it was trained on.
    """
    settings, symbol = runner.settings, runner.settings.symbol
    offered = runner.spy.source().symbols()
    if symbol not in offered:
        raise ConfigError(
            f"SPY_SYMBOL={symbol!r}: source {settings.source!r} gives no daily bars of it; it gives "
            f"{', '.join(offered) or 'none'}",
            hint="set SPY_SYMBOL to one of these, have it among SPY_SYMBOLS, or set SPY_SOURCE to a "
            "source that has it",
        )
    taken = _symbols_in(settings, "ledger.signals") | _symbols_in(
        settings, "models.training_runs", "json_extract_string(hyperparameters, '$.symbol')"
    )
    others = sorted(taken - {symbol})
    if others:
        raise ConfigError(
            f"SPY_SYMBOL={symbol!r}: profile {settings.profile_name!r} has models and signals of "
            f"{', '.join(others)}",
            hint=f"set SPY_SYMBOL={others[0]}, or give {symbol} a profile of its own: "
            f"spy --profile {settings.source}-{symbol.strip('^').lower()} …",
        )


def _summary(
    runner: Runner, last: date, started: float, failure: RunFailed | None = None
) -> RunSummary:
    from spy_assets.signals.contract import Signal
    from spy_assets.signals.rendering import render_plain

    with runner.spy.warehouse() as lake:
        rows = lake.read(
            "ledger.signals",
            where="symbol = ? AND session = ?",
            params=(runner.settings.symbol, last),
        )
    summary = RunSummary(steps=runner.steps, failure=failure)
    if not rows.is_empty():
        signal = Signal.from_row(rows.sort("ingested_at").row(-1, named=True))
        summary.signal = json.loads(signal.to_json())
        summary.rendered = render_plain(signal, width=runner.console.width)
    reports = sorted((runner.settings.root / "reports").glob("*.html"))
    summary.report_path = str(reports[-1]) if reports else None
    summary.seconds = time.perf_counter() - started
    return summary
