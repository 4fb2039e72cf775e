"""A search with pruning that goes on after any kill, and ends as if it had never been interrupted.

The window is cut as for the comparison of seeds (:mod:`spy_assets.models.policy.select`): a
configuration is trained on the head, and its net P&L on the tail is what is maximised. Nothing after the
window is ever looked at, so that whatever is reported on later sessions did not choose its own model.

Each configuration is trained to the first rung, a part of the steps, for all seeds; if its mean P&L
there is below the median of those before it, it is given up (Optuna's ``MedianPruner``). Else it is
trained to the next.

The study is a journal file. Every proposal depends on the seed and on what is finished, not on how often
the process died: a trial that was killed is tried again, with the same values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spy_assets.errors import ConfigError, ModelError
from spy_assets.models.policy.checkpoint import clear_checkpoints
from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.policy.select import Train, score, split_for_selection
from spy_assets.models.policy.train import Progress, Stop, Trading, path_digest, train_policy
from spy_assets.models.search.spaces import Space, changed, space_of
from spy_assets.simulator.market_path import MarketPath

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

#: Parts of the steps after which a configuration may be given up; the last is all of them.
RUNGS: Final = (0.25, 1.0)
_STARTUP: Final = 5
_BASE: Final = "base_pnl"


class SearchBusy(ModelError):
    """Another process is at the same study."""


@dataclass(frozen=True)
class SearchPlan:
    """How to search.

    Attributes
    ----------
    trials
        Configurations to finish in all, over all runs of the search, beside the base one.
    space
        What may be changed; that of the base configuration's algorithm if None.
    rungs
        Ascending parts of the steps, ending with 1.
    seed
        Of the proposals.
    startup
        Trials before any is proposed by what was learnt, or given up.

    Raises
    ------
    ConfigError
        A number is impossible.
    """

    trials: int = 20
    space: Space | None = None
    rungs: tuple[float, ...] = RUNGS
    seed: int = 0
    startup: int = _STARTUP

    def __post_init__(self) -> None:
        ascending = self.rungs == tuple(sorted(set(self.rungs)))
        if self.trials < 1 or not ascending or not self.rungs or self.rungs[-1] != 1.0:
            raise ConfigError(
                f"trials={self.trials}, rungs={self.rungs}",
                hint="try at least one configuration; rungs ascend and end with 1",
            )
        if self.rungs[0] <= 0:
            raise ConfigError(f"rungs={self.rungs}", hint="a rung is above zero")


@dataclass(frozen=True)
class SearchResult:
    """What was found.

    Attributes
    ----------
    base, base_pnl
        The configuration that the search began with, and its net P&L on the inner tail, dollars.
    best, best_pnl, best_params
        The best of all, the base included: its configuration, P&L, and what it changes.
    complete, pruned, failed
        Trials that ended so; killed ones count as failed and were tried again.
    """

    base: AgentConfig
    base_pnl: float
    best: AgentConfig
    best_pnl: float
    best_params: dict[str, Any]
    complete: int
    pruned: int
    failed: int

    @property
    def trials(self) -> int:
        """Configurations tried, the base and the pruned ones included.

        All were compared inside the training window, and sessions after it saw only the best. The gate
        counts them among the trials of a version that was tuned by them all the same.
        """
        return 1 + self.complete + self.pruned

    @property
    def improved(self) -> bool:
        """Whether anything was better than the base, on the tail that chose it: not yet a proof."""
        return self.best_pnl > self.base_pnl


def search(
    path: MarketPath,
    base: AgentConfig,
    plan: SearchPlan,
    folder: Path,
    *,
    trading: Trading | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    train: Train = train_policy,
) -> SearchResult:
    """Search, or go on with a search of the same window, configuration, account and seed.

    Parameters
    ----------
    path
        The training window, and nothing after it.
    base
        What is not changed, and the first configuration; its seeds are all trained.
    plan
        Space and extent. More ``trials`` than before continue the same study.
    folder
        Where the study's journal is kept, and the checkpoints of the trial that is running.
    trading, stop, train
        As for :func:`~spy_assets.models.policy.select.train_and_select`.
    progress
        Called after each trial with the fraction done and a line of text.

    Raises
    ------
    SearchBusy
        Another process is at it.
    TrainingStopped
        ``stop`` became true; the next call goes on.
    ConfigError
        The window is too short.
    """
    trading, report = trading or Trading(), progress or (lambda _fraction, _text: None)
    head, tail = split_for_selection(path, base)
    name = study_fingerprint(path, base, plan, trading)
    checkpoints = folder / f"{name}.checkpoints"

    def judged(config: AgentConfig) -> float:
        earned = []
        for seed in config.seeds:
            policy = train(
                head, config, seed, trading=trading, checkpoint_dir=checkpoints, stop=stop
            )
            earned.append(score(policy, tail, config, trading).net_pnl)
        return float(np.mean(earned))

    with _owned(folder, name):
        study = _open_study(folder / f"{name}.journal", name, plan)
        if _BASE not in study.user_attrs:
            study.set_user_attr(_BASE, judged(base))
            report(0.0, f"the base configuration earned {study.user_attrs[_BASE]:,.2f} $")
        while (done := len(_finished(study))) < plan.trials:
            frozen = _try_next(study, base, plan, done, judged)
            clear_checkpoints(checkpoints)
            report((done + 1) / plan.trials, _told(frozen))
        clear_checkpoints(checkpoints)
        return _result(study, base, plan)


def study_fingerprint(
    path: MarketPath, base: AgentConfig, plan: SearchPlan, trading: Trading
) -> str:
    """Name of the study: all that decides its result but the number of trials."""
    space = plan.space or space_of(base)
    decisive = (
        path_digest(path),
        base.digest(),
        json.dumps(base.seeds),
        repr(trading),
        repr(sorted(space.items())),
        repr(replace(plan, trials=1, space=None)),
    )
    return hashlib.sha256("|".join(decisive).encode()).hexdigest()[:24]


@contextmanager
def _owned(folder: Path, name: str) -> Iterator[None]:
    """One process at a time at a study. The kernel lets go of the lock when its owner dies."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SearchBusy(
            f"another process is at the study {folder / name}",
            hint="wait for it, or stop it; the next search goes on from what it finished",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _open_study(journal: Path, name: str, plan: SearchPlan) -> Study:
    """Open the study, and call what a killed process left running failed."""
    import optuna
    from optuna.pruners import MedianPruner
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _mend(journal)
    lock = JournalFileSymlinkLock(str(journal))
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal), lock)),
        study_name=name,
        load_if_exists=True,
        direction="maximize",
        pruner=MedianPruner(n_startup_trials=plan.startup),
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _mend(journal: Path) -> None:
    """Remove what a kill in the middle of a write leaves: its lock, and a last line without its end."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if not journal.is_file():
        return
    data = journal.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with journal.open("r+b") as file:
            file.truncate(whole)


def _finished(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _try_next(
    study: Study,
    base: AgentConfig,
    plan: SearchPlan,
    done: int,
    judged: Callable[[AgentConfig], float],
) -> FrozenTrial:
    """Try one configuration, rung by rung; whatever interrupts it makes the trial failed."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    study.sampler = TPESampler(seed=_draw(plan.seed, done), n_startup_trials=plan.startup)
    trial = study.ask()
    try:
        config = _proposed(trial, base, plan.space or space_of(base))
        value = None
        for rung, part in enumerate(plan.rungs):
            steps = max(1, round(part * base.timesteps))
            value = judged(changed(config, {"timesteps": steps}))
            trial.report(value, rung)
            if rung < len(plan.rungs) - 1 and trial.should_prune():
                return study.tell(trial, state=TrialState.PRUNED)
        return study.tell(trial, value)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise


def _draw(seed: int, done: int) -> int:
    """Another stream of random numbers for each trial, whichever process makes it."""
    return int(np.random.SeedSequence([seed, done]).generate_state(1)[0])


def _proposed(trial: Trial, base: AgentConfig, space: Space) -> AgentConfig:
    return changed(base, {name: one.suggest(trial, name) for name, one in space.items()})


def _told(trial: FrozenTrial) -> str:
    said = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
    earned = "given up" if trial.value is None else f"{trial.value:,.2f} $"
    if trial.state.name == "PRUNED":
        earned = f"given up at {trial.intermediate_values[max(trial.intermediate_values)]:,.2f} $"
    return f"trial {trial.number}: {earned}, {said}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _result(study: Study, base: AgentConfig, plan: SearchPlan) -> SearchResult:
    from optuna.trial import FixedTrial, TrialState

    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    base_pnl = float(study.user_attrs[_BASE])
    best = max(complete, key=lambda trial: trial.value or 0.0, default=None)
    config, pnl, params = base, base_pnl, dict[str, Any]()
    if best is not None and best.value is not None and best.value > base_pnl:
        space = plan.space or space_of(base)
        fixed = FixedTrial(best.params)
        params = {name: one.suggest(fixed, name) for name, one in space.items()}  # type: ignore[arg-type]
        config, pnl = changed(base, params), float(best.value)
    return SearchResult(
        base=base,
        base_pnl=base_pnl,
        best=config,
        best_pnl=pnl,
        best_params=params,
        complete=len(complete),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
    )
