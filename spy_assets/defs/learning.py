"""What agents learn from: closed trades of the ledger, and a person's answers about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from spy_assets.sessions import decision_time

if TYPE_CHECKING:
    from spy_assets.features.contracts import ObservationContract
    from spy_assets.models.outcomes.records import Outcomes
    from spy_assets.models.preference.pairs import ComparedPairs, Preference
    from spy_assets.models.preference.trades import ClosedTrade
    from spy_assets.settings import Settings
    from spy_assets.warehouse import Warehouse

PREFERENCES = "ledger.preferences"
#: Columns of a signal that its lesson, or the person who judges it, needs.
SIGNAL_COLUMNS = (
    "signal_id", "session", "action", "contract", "structure", "legs", "probabilities", "confidence",
    "regime", "size", "state_vector", "display_symbol",
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
    from spy_assets.models.outcomes.records import outcomes_from_rows

    known = ledger(lake, settings, decision_time(session))
    return outcomes_from_rows([one for one, _ in known], [other for _, other in known], contract)


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
