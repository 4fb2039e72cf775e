"""What agents learn from: closed trades of the ledger, and a person's answers about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from spy_assets.sessions import decision_time
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.features.contracts import ObservationContract
    from spy_assets.models.outcomes.records import Outcomes
    from spy_assets.models.preference.pairs import ComparedPairs, Preference
    from spy_assets.models.preference.reward_model import RewardModel
    from spy_assets.models.preference.trades import ClosedTrade
    from spy_assets.models.search.study import SearchResult
    from spy_assets.settings import Settings
    from spy_assets.simulator.daily import DailySimulator
    from spy_assets.simulator.market_path import MarketPath
    from spy_assets.warehouse import Warehouse

PREFERENCES = "ledger.preferences"
#: Columns of a signal that its lesson, or the person who judges it, needs.
SIGNAL_COLUMNS = (
    "signal_id", "session", "action", "action_name", "contract", "structure", "legs", "probabilities",
    "confidence", "regime", "size", "state_vector", "display_symbol",
)  # fmt: skip


def ledger(
    lake: Warehouse, settings: Settings, moment: datetime | None = None
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Signals with their outcomes, those that had closed by ``moment``; in the order of their exits.

    With ``moment=None`` all that is known now.
    """
    if not {"ledger.signals", "ledger.outcomes"} <= set(lake.tables()):
        return []
    own, symbol = "symbol = ?", (settings.symbol,)
    signals = lake.read("ledger.signals", columns=list(SIGNAL_COLUMNS), where=own, params=symbol)
    by_id = {row["signal_id"]: row for row in signals.iter_rows(named=True)}
    outcomes = lake.read("ledger.outcomes", as_of=moment, where=own, params=symbol)
    return [
        (by_id[row["signal_id"]], row)
        for row in outcomes.sort("exit_session", "signal_id").iter_rows(named=True)
        if row["signal_id"] in by_id
    ]


def realised_outcomes(
    lake: Warehouse, settings: Settings, session: date, contract: ObservationContract
) -> Outcomes:
    """What a policy can learn from at the decision time of ``session``."""
    from spy_assets.defs import account
    from spy_assets.models.outcomes.records import outcomes_from_rows

    known, actions = ledger(lake, settings, decision_time(session)), account.desk(settings).actions
    return outcomes_from_rows(
        [one for one, _ in known], [other for _, other in known], contract, actions=actions
    )


def closed_trades(
    known: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> list[ClosedTrade]:
    """The trades of :func:`ledger`."""
    from spy_assets.models.preference.trades import ClosedTrade

    return [ClosedTrade.of_rows(signal, outcome) for signal, outcome in known]


def preferences(
    lake: Warehouse, settings: Settings, moment: datetime | None = None
) -> list[Preference]:
    """The last answer about each pair, of each person.

    A historical source has no present: people answer today about trades of the past, so that all answers
    are known at each of its moments.
    """
    from spy_assets.models.preference.pairs import Preference

    if PREFERENCES not in lake.tables():
        return []
    rows = lake.read(
        PREFERENCES,
        as_of=None if settings.historical else moment,
        where="symbol = ?",
        params=(settings.symbol,),
    )
    return [Preference.from_row(row) for row in rows.sort("event_time").iter_rows(named=True)]


def answered_pairs(lake: Warehouse, settings: Settings, session: date) -> ComparedPairs:
    """Answers about trades that had closed by the decision time of ``session``."""
    from spy_assets.models.preference.pairs import compared_pairs

    moment = decision_time(session)
    trades = closed_trades(ledger(lake, settings, moment))
    said = preferences(lake, settings, moment)
    return compared_pairs(said, trades, settings.risk.capital)


def reward_of(settings: Settings, pairs: ComparedPairs, l2: float = 1.0) -> RewardModel:
    """The reward fitted to some answers, for the settings' account."""
    from spy_assets.models.preference.reward_model import fit_reward_model

    return fit_reward_model(pairs, capital=settings.risk.capital, l2=l2)


def reward_row(
    settings: Settings, session: date, pairs: ComparedPairs, l2: float
) -> dict[str, Any]:
    """The row of ``models.reward_models``."""
    from spy_assets.evaluation.statistics import wilson_interval
    from spy_assets.models.preference.reward_model import held_out_accuracy

    model = reward_of(settings, pairs, l2)
    held = held_out_accuracy(pairs, capital=settings.risk.capital, l2=l2)
    interval = wilson_interval(held.correct, held.total) if held.total else None
    return {
        "window_end": session,
        "pairs": len(pairs),
        "skipped": pairs.skipped,
        "lost": pairs.lost,
        "held_out": held.total,
        "correct": held.correct,
        "accuracy": held.accuracy,
        "ci_low": None if interval is None else interval.low,
        "ci_high": None if interval is None else interval.high,
        "l2": l2,
        "per_feature": json.dumps(model.per_feature(), sort_keys=True),
        "payload": model.to_json(),
        "available_at": decision_time(session),
        "source": settings.source,
    }


def reward_penalty(lake: Warehouse, session: date, default: float = 1.0) -> float:
    """The penalty of the last reward model known at a session; ``default`` without any."""
    lake.ensure(TABLES["models.reward_models"])
    rows = lake.read(
        "models.reward_models",
        as_of=decision_time(session),
        where="window_end <= ?",
        params=(session,),
    )
    return default if rows.is_empty() else float(rows.sort("window_end")["l2"][-1])


def likes(row: Mapping[str, Any]) -> dict[str, float]:
    """Log odds per feature of a row of ``models.reward_models``."""
    found: dict[str, float] = json.loads(row["per_feature"])
    return found


def accuracy_words(row: Mapping[str, Any]) -> str:
    """How well answers are foretold, and whether that is more than a coin."""
    if row["accuracy"] is None:
        return "too few answers to hold any out"
    low, high = row["ci_low"], row["ci_high"]
    told = "better than a coin" if low > 0.5 else "no better than a coin"
    return f"{row['accuracy']:.0%} of {row['held_out']} ({low:.0%} to {high:.0%}): {told}"


def fresh_account(settings: Settings, path: MarketPath) -> Callable[[], DailySimulator]:
    """Makes accounts of the settings over a path, with one book of prices for all of them."""
    from spy_assets.defs import account
    from spy_assets.simulator.daily import DailySimulator

    own = account.trading(settings)
    book = own.book(path)
    return lambda: DailySimulator(path, rules=own.rules, capital=own.capital, book=book)


def search_row(
    settings: Settings, session: date, found: SearchResult, path: MarketPath, snapshot: int
) -> dict[str, Any]:
    """The row of ``models.hyperparameters``."""
    from spy_assets.models.policy.train import path_digest

    return {
        "window_end": session,
        "algorithm": found.base.algorithm,
        "trials": found.trials,
        "complete": found.complete,
        "pruned": found.pruned,
        "failed": found.failed,
        "best_pnl": found.best_pnl,
        "base_pnl": found.base_pnl,
        "params": json.dumps(found.best_params, sort_keys=True),
        "config": json.dumps(found.best.hyperparameters(), sort_keys=True),
        "dataset_digest": path_digest(path),
        "lake_snapshot": snapshot,
        "available_at": decision_time(session),
        "source": settings.source,
    }


@dataclass(frozen=True)
class Tuned:
    """What a search changes of its base, and which search it was.

    Attributes
    ----------
    params
        Hyper-parameters that are not the base's.
    search
        Name of the search: algorithm and session.
    trials
        Configurations that were tried in it, given-up ones too.
    """

    params: Mapping[str, Any]
    search: str
    trials: int

    @property
    def origin(self) -> dict[str, Any]:
        """What a training says of the search in its record, so that the gate can count its trials."""
        return {"search": self.search, "search_trials": self.trials}


def tuned_parameters(lake: Warehouse, session: date, algorithm: str) -> Tuned:
    """What the last search of an algorithm found, as known at a session.

    Raises
    ------
    DataError
        There is no search.
    """
    from spy_assets.errors import DataError

    lake.ensure(TABLES["models.hyperparameters"])
    rows = lake.read(
        "models.hyperparameters",
        as_of=decision_time(session),
        where="algorithm = ? AND window_end <= ?",
        params=(algorithm, session),
    )
    if rows.is_empty():
        raise DataError(
            f"no search for {algorithm} is known at {session}",
            hint="materialize models/hyperparameters for that session or one before, or train untuned",
        )
    row = rows.sort("window_end").row(-1, named=True)
    return Tuned(json.loads(row["params"]), f"{algorithm} {row['window_end']}", row["trials"])
