"""All seeds of a training over the validation window: what the training gives, not one lucky run.

The choice among the seeds was made inside the training window. It never looked at this one, so that the
other seeds are evidence about the challenger and no trials of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spy_assets.errors import ContractMismatch, ModelFileMismatch

if TYPE_CHECKING:
    from spy_assets.evaluation.backtest import BacktestResult
    from spy_assets.evaluation.seed_spread import SeedSpread
    from spy_assets.models.policy.inference import PolicyNet
    from spy_assets.registry import Registry


@dataclass(frozen=True)
class SeedRuns:
    """Runs of the seeds, named ``seed_N``, and their spread; or why there are none."""

    results: tuple[BacktestResult, ...] = ()
    spread: SeedSpread | None = None
    note: str | None = None

    @property
    def words(self) -> str:
        """The spread, or why there is none, in one sentence."""
        if self.spread is None:
            return f"not judged: {self.note}"
        iqm, spread = self.spread.iqm, self.spread
        return (
            f"interquartile mean ${iqm.estimate:,.2f} [{iqm.low:,.2f}, {iqm.high:,.2f}] at "
            f"{iqm.level:.0%} of {spread.seeds} seeds, {spread.positive:.0%} of them earned"
        )


def run_seeds(
    registry: Registry,
    version: str,
    run: Callable[[PolicyNet, str], BacktestResult],
    level: float,
) -> SeedRuns:
    """Run every seed that a version was chosen from.

    Parameters
    ----------
    registry, version
        Whose seeds.
    run
        Walks a network over the window, under the name given.
    level
        Of the intervals.
    """
    from spy_assets.evaluation.seed_spread import seed_spread

    try:
        nets = registry.load_seeds(version)
    except (ModelFileMismatch, ContractMismatch) as error:
        return SeedRuns(note=f"the weights of a seed of version {version}: {error.message}")
    if not nets:
        return SeedRuns(note=f"version {version} was registered without the weights of its seeds")
    if len(nets) == 1:
        return SeedRuns(note=f"version {version} is of one seed, which has no spread")
    results = tuple(run(net, f"seed_{seed}") for seed, net in nets.items())
    scores = [[result.daily.net_pnl] for result in results]
    return SeedRuns(results, seed_spread(scores, seed=0, level=level))
