"""Backfills and the walk-forward from the shell: what is missing or failed is made, one run a partition.

Each run is a Dagster run on the profile's own instance, so that everything is in the UI too, and a
backfill that was killed goes on with what is missing: finished partitions are there, and the training
that was under way continues from its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from dagster import AssetKey
from rich.markup import escape

from spy_assets import plan, sessions
from spy_assets.defs import combining, judging, walk_windows, walking
from spy_assets.defs.models import TrainConfig, agent_config
from spy_assets.defs.partitions import ChainPart
from spy_assets.defs.staleness import History
from spy_assets.defs.walk_clocks import CLOCKS, DAILY, ClockName, WalkClock, clock_of
from spy_assets.errors import ConfigError
from spy_assets.plan_cost import (
    Cost,
    Status,
    Which,
    expected_seconds,
    partitions_between,
    status_of,
    target_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from spy_assets.evaluation.splits import Fold
    from spy_assets.plan import Runner
    from spy_assets.settings import Settings

PATHS = AssetKey(["evaluation", "combinatorial_paths"])
TRAINING = AssetKey(["models", "ppo_daily"])
SIGNALS = AssetKey(["signals", "daily_signal"])
CHAINS = AssetKey(["options", "option_chain"])
#: Assets that train, whose runs take a training's config.
TRAINED = {TRAINING, PATHS, *(clock.asset for clock in CLOCKS.values())}


@dataclass(frozen=True)
class Request:
    """What is to be planned or made.

    Attributes
    ----------
    target
        A short name of :data:`~spy_assets.plan_cost.TARGETS`, or an asset with partitions.
    which
        Missing partitions (failed ones too), failed ones only, or all.
    first, last
        Keys of the first and last partition; by default what the target usually needs.
    every
        Take every so many-th partition from the first one on, such as 5 for a training a week.
    years
        Of a walk-forward: as many of the last folds as so many years of history have.
    training
        Of what trains: ``preset``, ``timesteps``, ``seeds``; the settings' where nothing is given.
    """

    target: str
    which: Which = "missing"
    first: str | None = None
    last: str | None = None
    every: int = 1
    years: float | None = None
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WalkReport:
    """What a walk-forward says: its figures as JSON has them, and where its tearsheet is."""

    preset: str
    configuration: str
    made: int
    due: int
    figures: Mapping[str, Any]
    tearsheet: str
    final: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        own = {name: getattr(self, name) for name in ("preset", "configuration", "made", "due")}
        return {**own, **self.figures, "tearsheet": self.tearsheet, "final": self.final}


def cost(settings: Settings, console: Console, request: Request) -> Cost:
    """Say what a backfill would cost, without making anything."""
    with plan.open_runner(settings, console) as runner:
        return _planned(runner, request)[0]


def backfill(settings: Settings, console: Console, request: Request) -> Cost:
    """Make what :func:`cost` says, and give what was made.

    Raises
    ------
    RunFailed
        A partition failed; the ones before it are there, and the next call goes on after them.
    """
    with plan.open_runner(settings, console) as runner:
        planned, key = _planned(runner, request)
        _make(runner, planned, key, request.training)
    return planned


def walk_forward(
    settings: Settings,
    console: Console,
    *,
    years: float | None = None,
    which: Which = "missing",
    training: Mapping[str, Any] | None = None,
    final: bool = False,
    clock: ClockName = "daily",
) -> WalkReport:
    """Bring history up to date, walk the folds that are missing, and sum all of them up.

    With ``final``, test the configuration on the final period too: once, and none after it; over minute
    bars there is no such period.
    """
    own = CLOCKS[clock]
    with plan.open_runner(settings, console) as runner:
        folds = () if own is DAILY else own.folds(settings, runner.spy.utc_now(), years)
        plan.history(runner, runner.spy.last_session())
        if folds:
            _minute_bars(runner, folds)
        report = walk(runner, years=years, which=which, training=training, clock=own)
        return replace(report, final=final_test(runner, training or {})) if final else report


def walk(
    runner: Runner,
    *,
    years: float | None = None,
    which: Which = "missing",
    training: Mapping[str, Any] | None = None,
    clock: WalkClock = DAILY,
) -> WalkReport:
    """Walk the folds that are missing in a profile that has its history, and renew the tearsheet.

    Raises
    ------
    ConfigError
        History is too short for one fold.
    """
    request = Request(clock.target, which, years=years, training=training or {})
    planned, key = _planned(runner, request)
    _make(runner, planned, key, request.training)
    digest = _configuration(runner, request.training, clock).digest
    report, preset = clock.report.to_python_identifier(), clock.preset_of(runner.settings)
    runner.stage(
        "tearsheet",
        clock.report_job,
        None,
        config={"ops": {report: {"config": {"configuration": digest}}}},
        force=True,
    )
    path = clock.page(runner.settings, preset, digest)
    return WalkReport(
        preset=preset,
        configuration=digest,
        made=len(planned.partitions),
        due=planned.total,
        figures=json.loads(path.with_suffix(".json").read_text()),
        tearsheet=str(path),
    )


def _minute_bars(runner: Runner, folds: Sequence[Fold]) -> None:
    """Bars of all sessions that the folds train on or test, as far as the source has them.

    A session that the source fails to give is told, and left out by the folds: it keeps no other's back.
    """
    from spy_assets.market.protocol import HasFiveMinutes

    source, minutes = runner.spy.source(), runner.settings.intraday.minutes
    missing = sessions.sessions_between(folds[0].train_first, folds[-1].test_last)
    if minutes == 5 and isinstance(source, HasFiveMinutes):
        own = _offered(source.span("minute_bars_5"), missing)
        _bars(runner, "five-minute bars", "refresh_five_minutes", own)
        missing = sorted(set(missing) - _sessions_with_bars(runner, own))
    _bars(runner, "minute bars", "refresh_minutes", _offered(source.span("minute_bars"), missing))


def _sessions_with_bars(runner: Runner, days: Sequence[date]) -> set[date]:
    """Those of some sessions that have five-minute bars; of the others single minutes will do."""
    from spy_assets.defs.intraday_market import FIVE

    if not days:
        return set()
    with runner.spy.warehouse() as lake:
        if FIVE not in lake.tables():
            return set()
        found = lake.execute(
            f"SELECT DISTINCT session FROM {FIVE} WHERE symbol = ? AND session BETWEEN ? AND ?",
            (runner.settings.symbol, days[0], days[-1]),
        )
    return set(found["session"])


def _offered(span: tuple[date, date] | None, days: Sequence[date]) -> list[date]:
    return [] if span is None else [day for day in days if span[0] <= day <= span[1]]


def _bars(runner: Runner, title: str, job: str, days: Sequence[date]) -> None:
    if not days:
        return
    try:
        runner.stage(title, job, [str(day) for day in days])
    except plan.RunFailed as failure:
        runner.console.print(f"[yellow]{title}: {escape(failure.message)}[/]")


def final_test(runner: Runner, training: Mapping[str, Any]) -> dict[str, Any]:
    """Test a configuration on the final period; gives the figures of its stored runs.

    A configuration that was tested on it before is not tested again; on a live source the period is
    another one each year.

    Raises
    ------
    RunFailed
        Another configuration was tested on it, or folds are missing.
    """
    settings = runner.settings
    preset = walking.final_preset(settings.walk.preset)
    digest = _configuration(runner, training, DAILY).digest
    key = walk_windows.final_fold(settings, runner.spy.utc_now()).key
    with runner.spy.warehouse() as lake:
        done = walking.walked_windows(lake, preset, digest)
    if key not in done:
        config = {"ops": {"evaluation__final_test": {"config": dict(training)}}}
        runner.stage("final period", "final_test", None, config=config, force=True)
    with runner.spy.warehouse() as lake:
        stored = walking.stored_walk(lake, preset, digest, [key])
        trials = walking.trials(lake, runner.spy.registry(), settings.symbol)
    return walking.summary_of(stored, trials).to_dict()


def _planned(runner: Runner, request: Request) -> tuple[Cost, AssetKey]:
    graph = runner.defs.resolve_asset_graph()
    jobs = runner.defs.get_repository_def().get_all_jobs()
    key, job = target_of(request.target, graph, [one for one in jobs if one.name[0] != "_"])
    wanted = _wanted(runner, graph, key, request)
    status = _status(runner, graph, key, job, wanted, request)
    chosen = status.chosen(request.which)
    steps = _steps(runner, key, request, len(chosen))
    seconds, basis = expected_seconds(runner.instance, key, len(chosen), steps)
    planned = Cost(
        target=request.target,
        asset=key.to_user_string(),
        job=job,
        which=request.which,
        total=len(wanted),
        present=len(status.present),
        missing=len(status.missing),
        failed=len(status.failed),
        partitions=tuple(chosen),
        training_steps=steps,
        minutes=None if seconds is None else seconds / 60,
        basis=basis,
    )
    return planned, key


def _wanted(runner: Runner, graph: Any, key: AssetKey, request: Request) -> list[str]:
    """The partitions that are asked for: a range, or what the target usually needs."""
    if request.every < 1:
        raise ConfigError(f"every={request.every}", hint="take every partition (1), or every n-th")
    keys = graph.get(key).partitions_def.get_partition_keys()
    if request.first is None and request.last is None:
        found = _usual(runner, key, request, keys)
    else:
        found = partitions_between(keys, request.first, request.last)
    if not found:
        span = f"{keys[0]} to {keys[-1]}" if keys else "none"
        raise ConfigError(
            f"{key.to_user_string()} has no partition from {request.first or 'the first'} to "
            f"{request.last or 'the last'}; it has {span}",
            hint="give keys as the UI shows them, such as 2018-09-28",
        )
    return list(found[:: request.every])


def _usual(runner: Runner, key: AssetKey, request: Request, keys: Sequence[str]) -> Sequence[str]:
    settings, last = runner.settings, runner.spy.last_session()
    if clock := clock_of(key):
        return [fold.key for fold in clock.folds(settings, runner.spy.utc_now(), request.years)]
    if key == TRAINING:
        return [str(_training_window(runner, last))]
    if key == SIGNALS:
        return [str(day) for day in plan.signal_days(settings, last)]
    if key == CHAINS:
        return _usual_chains(runner, last)
    return keys


def _usual_chains(runner: Runner, last: date) -> list[str]:
    """The sessions that the source has chains of, of each symbol; else the last one."""
    return [
        ChainPart(day, symbol).key
        for symbol in runner.settings.chain_symbols
        for day in plan.chain_days(runner, symbol, last) or [last]
    ]


def _training_window(runner: Runner, last: date) -> date:
    with runner.spy.warehouse() as lake:
        return judging.window_to_train(lake, runner.spy.registry(), runner.settings, last)


def _status(
    runner: Runner, graph: Any, key: AssetKey, job: str, wanted: Sequence[str], request: Request
) -> Status:
    """Of a walk-forward those folds are there that have rows of this very configuration; so are splits.

    Of anything else those partitions that every asset of the job has, but for what follows from a
    refusal: a training whose challenger was refused is done.
    """
    present, made_with = None, runner.assets_of(job)
    if clock := clock_of(key):
        digest = _configuration(runner, request.training, clock).digest
        preset = clock.preset_of(runner.settings)
        with runner.spy.warehouse() as lake:
            present = walking.walked_windows(lake, preset, digest, clock.tables)
    if key == PATHS:
        agent = agent_config(runner.spy, TrainConfig(**request.training))
        own = combining.configuration(runner.settings, agent, runner.spy.utc_now())
        with runner.spy.warehouse() as lake:
            present = combining.run_splits(lake, own.digest)
    history = History(runner.instance, runner.defs)
    withheld = {one: history.withheld(one, wanted) for one in made_with}
    return status_of(runner.instance, graph, key, wanted, present, made_with, withheld)


def _configuration(
    runner: Runner, training: Mapping[str, Any], clock: WalkClock
) -> walking.Configuration:
    return clock.configuration(runner.settings, clock.agent(runner.spy, training))


def _steps(runner: Runner, key: AssetKey, request: Request, partitions: int) -> int | None:
    """Environment steps of all trainings, whole rollouts; None where nothing is trained."""
    if key not in TRAINED:
        return None
    agent = (clock_of(key) or DAILY).agent(runner.spy, request.training)
    return int(partitions * len(agent.seeds) * agent.rollouts * agent.rollout_steps)


def _make(runner: Runner, planned: Cost, key: AssetKey, training: Mapping[str, Any]) -> None:
    """One run a partition; what takes many at once gets its neighbours together."""
    config = None
    if key in TRAINED and training:
        config = {"ops": {key.to_python_identifier(): {"config": dict(training)}}}
    groups = _groups(runner, key, planned.partitions)
    for number, group in enumerate(groups, 1):
        title = f"{number}/{len(groups)} {group[0]}"
        if len(group) > 1:
            title += f" to {group[-1]}"
        runner.stage(title, planned.job, group, config=config, force=True)


def _groups(runner: Runner, key: AssetKey, chosen: Sequence[str]) -> list[list[str]]:
    """The partitions of each run: what is asked for, and nothing between; chains are of one symbol."""
    node = runner.defs.resolve_asset_graph().get(key)
    policy, definition = node.backfill_policy, node.partitions_def
    if policy is None or policy.max_partitions_per_run is not None or definition is None:
        return [[part] for part in chosen]
    order = definition.get_partition_keys()
    if not chosen or not ChainPart.is_key(chosen[0]):
        return neighbours(chosen, order)
    groups: list[list[str]] = []
    for symbol in sorted({ChainPart.of(part).symbol for part in chosen}):
        own, days = (_of_symbol(keys, symbol) for keys in (chosen, order))
        groups += neighbours(own, days)
    return groups


def _of_symbol(keys: Sequence[str], symbol: str) -> list[str]:
    return [key for key in keys if ChainPart.of(key).symbol == symbol]


def neighbours(chosen: Sequence[str], order: Sequence[str]) -> list[list[str]]:
    """Group partitions that follow each other in the order of all keys.

    >>> neighbours(["a", "b", "d"], "abcd")
    [['a', 'b'], ['d']]
    """
    place = {key: k for k, key in enumerate(order)}
    groups: list[list[str]] = []
    for key in chosen:
        if groups and place[key] == place[groups[-1][-1]] + 1:
            groups[-1].append(key)
        else:
            groups.append([key])
    return groups
