"""What anybody can do without a model; a result means nothing until it stands beside these.

    cash                    nothing, ever
    buy_and_hold            all capital in shares, first open to last close, with their spread,
                            dividends reinvested; ``buy_and_hold_price_only`` where they are unknown
    random_same_rate        entries and exits at the challenger's own rates, structure by chance
    always_<structure>      the same structure whenever the account has room, for all twelve that
                            there are, whether or not the policy's actions have them

Those of the last kind that receive a credit (:func:`short_premium`) are the ones to beat for a policy
that sells options: they earn the premium for insurance without knowing anything. Uncovered ones set
aside the margin of Reg-T, a put its strike; where the account cannot carry that, they never trade.

Baselines are what a naive trader would do, so no risk rule filters their entries; costs, exits and
sizing are the same as the policy's. A policy must be worth its risk layer too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from spy_assets.evaluation.backtest import (
    Act,
    BacktestResult,
    Mask,
    Observation,
    Venue,
    close_rate,
    entry_rate,
    hold_of,
    run_policy,
)
from spy_assets.evaluation.breakdown import receives_credit
from spy_assets.simulator.actions import ALL_STRUCTURES
from spy_assets.simulator.book import DailyConfig

CASH: Final = "cash"
BUY_AND_HOLD: Final = "buy_and_hold"
PRICE_ONLY: Final = "buy_and_hold_price_only"
RANDOM: Final = "random_same_rate"
DEFAULT_SEEDS: Final = (0, 1, 2, 3, 4)
#: Half the quoted spread of SPY shares, dollars: it has been one cent wide since decimals (2001).
SHARE_HALF_SPREAD: Final = 0.005
_ALWAYS: Final = "always_"


def run_baselines(
    venue: Venue, challenger: BacktestResult | None = None, *, seeds: Sequence[int] = DEFAULT_SEEDS
) -> dict[str, BacktestResult]:
    """Run every baseline over the venue.

    Parameters
    ----------
    venue
        Where the challenger ran.
    challenger
        Its result; the random baseline takes its rates from it and is left out without it.
    seeds
        Seeds of the random baseline, whose runs are averaged.
    """
    held = buy_and_hold(venue)
    results = {CASH: cash(venue), held.name: held}
    if challenger is not None:
        results[RANDOM] = random_same_rate(venue, challenger, seeds=seeds)
    wide = every_structure(venue)
    for action, opening in enumerate(wide.actions.openings):
        name = f"{_ALWAYS}{opening.structure}"
        results[name] = run_policy(wide, always(action), name=name)
    return results


def every_structure(venue: Venue) -> Venue:
    """Give the same venue with an action for each structure of the registry."""
    config = venue.config or DailyConfig()
    return replace(venue, config=replace(config, actions=ALL_STRUCTURES, allow_naked=True))


def short_premium(results: Mapping[str, BacktestResult]) -> dict[str, BacktestResult]:
    """Pick the baselines that sell one structure for a credit, best first."""
    sold = {
        name: run
        for name, run in results.items()
        if name.startswith(_ALWAYS) and receives_credit(name.removeprefix(_ALWAYS))
    }
    return dict(sorted(sold.items(), key=lambda item: -item[1].daily.net_pnl))


def cash(venue: Venue) -> BacktestResult:
    """Hold the capital as it is; no interest, as the simulated accounts earn none either."""
    equity = np.full(len(venue.sessions) + 1, venue.capital)
    return BacktestResult(CASH, venue.sessions, equity, (), (), 0.0)


def buy_and_hold(venue: Venue) -> BacktestResult:
    """Buy whole shares at the first open after the decision, sell at the last close: total return.

    Shares grow by the path's factor, so that a dividend is reinvested at the close before its ex-date
    and a split is no loss; what goes ex on the first morning is not received any more. Where a factor
    is unknown the result is of prices alone, and is called :data:`PRICE_ONLY`.
    """
    first, path = venue.start + 1, venue.path
    growth = path.factor[first : venue.end] / path.factor[first]
    total = bool(np.isfinite(growth).all())
    price = float(path.open[first]) + SHARE_HALF_SPREAD
    bought = venue.capital // price
    shares = bought * (growth if total else np.ones(len(growth)))
    value = venue.capital - bought * price + shares * path.close[first : venue.end]
    value[-1] -= shares[-1] * SHARE_HALF_SPREAD
    equity = np.concatenate(([venue.capital], value))
    cost = float(bought + shares[-1]) * SHARE_HALF_SPREAD
    name = BUY_AND_HOLD if total else PRICE_ONLY
    return BacktestResult(name, venue.sessions, equity, (), (), cost)


def random_same_rate(
    venue: Venue, challenger: BacktestResult, *, seeds: Sequence[int] = DEFAULT_SEEDS
) -> BacktestResult:
    """Average of runs that enter and close as often as the challenger, without knowing anything."""
    enter, leave = entry_rate(challenger), close_rate(challenger)
    runs = [run_policy(venue, random_entries(enter, leave, seed)) for seed in seeds]
    return BacktestResult(
        name=RANDOM,
        sessions=venue.sessions,
        equity=np.mean([run.equity for run in runs], axis=0),
        trades=tuple(trade for run in runs for trade in run.trades),
        decisions=(),
        costs=float(np.mean([run.costs for run in runs])),
        runs=len(runs),
    )


def always(action: int) -> Act:
    """Make a strategy that takes one entry whenever it is allowed, under any action map."""

    def act(observation: Observation, mask: Mask) -> int:  # noqa: ARG001 - it looks at nothing
        return action if mask[action] else hold_of(mask)

    return act


def random_entries(enter: float, leave: float, seed: int) -> Act:
    """Make a strategy that enters and closes with these probabilities, structure by chance.

    Where the account may do either, it does either at its own rate.
    """
    generator = np.random.default_rng(seed)

    def act(observation: Observation, mask: Mask) -> int:  # noqa: ARG001 - it looks at nothing
        drawn, pick = generator.random(2)
        hold = hold_of(mask)
        leaving = leave if mask[hold + 1] else 0.0
        if drawn < leaving:
            return hold + 1
        allowed = np.flatnonzero(mask[:hold])
        enters = len(allowed) > 0 and drawn < leaving + enter
        return int(allowed[int(pick * len(allowed))]) if enters else hold

    return act
