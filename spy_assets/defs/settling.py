"""Outcomes from the replayed account: which trades closed in which session, and does it all add up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from spy_assets.defs import account
from spy_assets.defs.deciding import ledger_rows, load_signals
from spy_assets.errors import CheckFailed
from spy_assets.sessions import decision_time, next_session
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.settings import Settings
    from spy_assets.signals.contract import Signal
    from spy_assets.signals.paper import PaperAccount
    from spy_assets.warehouse import Warehouse


#: A report needs a decision, a fill and a day after it.
_LEAST_SESSIONS = 3


@dataclass(frozen=True)
class Settled:
    """Rows to write, what is still open, what is wrong with the books, and the account value."""

    rows: dict[str, list[dict[str, Any]]]
    pending: int
    broken: str
    value: float


def standing_signals(lake: Warehouse, symbol: str) -> list[Signal]:
    """Of each session the one signal that the account follows."""
    standing = account.standing_decisions(ledger_rows(lake, symbol, before=date.max))
    followed = {decision.signal_id for decision in standing.values()}
    return [signal for signal in load_signals(lake, symbol) if signal.signal_id in followed]


def settle_sessions(lake: Warehouse, settings: Settings, days: list[date]) -> Settled:
    """Replay the account through the last of ``days`` and settle what closed by then.

    Trades that closed earlier and were not settled in their own session, because its features were
    late, are settled now.

    Raises
    ------
    CheckFailed
        If the market has no row of the last session: nothing can be settled for it yet.
    """
    from spy_assets.signals.outcomes import fill_rows, settle_outcomes
    from spy_assets.signals.paper import settle

    last = max(days)
    lake.ensure(TABLES["ledger.signals"])
    recorded = account.standing_decisions(ledger_rows(lake, settings.symbol, before=last))
    versions = account.observations(lake, settings.symbol, last)
    setup = account.paper_setup(settings, account.chain_fills(lake, settings))
    paper = settle(versions, recorded, last, setup)
    if paper is None:
        return Settled({"ledger.outcomes": [], "ledger.fills": []}, 0, "", settings.risk.capital)
    if paper.path.sessions[-1] < last:
        raise CheckFailed(
            f"features.daily_15 has no priced row of {last} for {settings.symbol}; its last is of "
            f"{paper.path.sessions[-1]}",
            hint="materialize the features of that session first, then its outcomes",
        )
    signals = [s for s in standing_signals(lake, settings.symbol) if s.session <= last]
    settlement = settle_outcomes(
        signals,
        paper.simulator.trades,
        decision_time(last),
        source=settings.source,
        open_sessions=[one.decision_session for one in paper.simulator.positions],
    )
    wanted = set(days)
    settled = _ids(lake, "ledger.outcomes", "signal_id")
    filled = _ids(lake, "ledger.fills", "fill_id")
    fills = fill_rows(signals, fills_of(paper), source=settings.source)
    return Settled(
        rows={
            "ledger.outcomes": [
                row
                for row in settlement.rows
                if row["exit_session"] in wanted or row["signal_id"] not in settled
            ],
            "ledger.fills": [
                row for row in fills if row["session"] in wanted or row["fill_id"] not in filled
            ],
        },
        pending=len(settlement.pending),
        broken=reconcile(paper),
        value=paper.simulator.value,
    )


@dataclass(frozen=True)
class DrawdownHalt:
    """What the risk rule says of the account after the close of ``session``.

    ``from_session`` is the first session that is still to be decided.
    """

    holds: bool
    told: str
    session: date
    from_session: date


def drawdown_halt(lake: Warehouse, settings: Settings, through: date) -> DrawdownHalt:
    """Whether entries are halted after ``through``, by the rule that signals are held to.

    A session in the file RESUME that is still to come has ended the halt already.
    """
    from spy_assets.signals.paper import settle
    from spy_assets.signals.risk import Conditions, Proposal, assess

    tables = {"ledger.signals", "features.daily_15"}
    recorded = {}
    if tables <= set(lake.tables()):
        recorded = account.standing_decisions(ledger_rows(lake, settings.symbol, before=through))
    coming = next_session(through) if through in recorded else through
    if not recorded:
        return DrawdownHalt(False, "no signal is recorded", through, coming)
    setup = account.paper_setup(settings, account.chain_fills(lake, settings))
    cleared = [day for day in setup.cleared if day >= coming]
    if cleared:
        return DrawdownHalt(False, f"cleared from {min(cleared)} on", through, coming)
    versions = account.observations(lake, settings.symbol, through)
    paper = settle(versions, recorded, through, setup)
    if paper is None:
        return DrawdownHalt(False, "the market has no row of its sessions", through, coming)
    verdict = assess(
        Proposal("HOLD"), paper.as_input().state, Conditions(through, through), setup.desk.limits
    )
    (rule,) = [one for one in verdict.rules if one.rule == "drawdown_halt"]
    return DrawdownHalt(not rule.passed, rule.detail, through, coming)


def _ids(lake: Warehouse, table: str, column: str) -> set[str]:
    lake.ensure(TABLES[table])
    return set(lake.execute(f"SELECT DISTINCT {column} AS id FROM {table}")["id"])


@dataclass(frozen=True)
class MadeReport:
    """A rendered page: file name, HTML, and the net P&L of each strategy on it."""

    name: str
    html: str
    net_pnl: dict[str, float]


def holdout_report(
    lake: Warehouse, settings: Settings, through: date, made_at: datetime
) -> MadeReport | None:
    """The paper account of the recorded signals beside the baselines over the same sessions.

    All of them are filled at model prices: baselines have no others, and the two are never mixed.
    """
    from spy_assets.evaluation.backtest import Venue
    from spy_assets.evaluation.baselines import run_baselines
    from spy_assets.evaluation.report import ReportFacts, render_report
    from spy_assets.signals.paper import settle

    lake.ensure(TABLES["ledger.signals"])
    recorded = account.standing_decisions(ledger_rows(lake, settings.symbol, before=through))
    versions = account.observations(lake, settings.symbol, through)
    versions = account.with_growth(lake, versions, decision_time(through))
    setup = account.paper_setup(settings)
    paper = settle(versions, recorded, through, setup)
    if paper is None or len(paper.path) < _LEAST_SESSIONS:
        return None
    desk = setup.desk
    venue = Venue(paper.path, 0, None, desk.costs, desk.rules, setup.capital, desk.config)
    policy = paper.result("signals")
    baselines = run_baselines(venue, policy)
    signals = load_signals(lake, settings.symbol)
    last = signals[-1]
    facts = ReportFacts(
        title=f"Signals and outcomes, {last.display_name}",
        symbol=last.display_name,
        source=settings.source,
        model=last.model,
        version=last.model_version,
        made_at=made_at,
        costs=account.cost_label(settings),
        notices=last.notices,
        fill_alpha=desk.costs.alpha,
    )
    first, final = policy.sessions[0], policy.sessions[-1]
    return MadeReport(
        f"signals_{first:%Y%m%d}_{final:%Y%m%d}.html",
        render_report(
            facts,
            policy,
            baselines,
            regimes={signal.session: signal.regime for signal in signals},
        ),
        {run.name: run.daily.net_pnl for run in (policy, *baselines.values())},
    )


def fills_of(paper: PaperAccount) -> dict[date, list[Any]]:
    """Fills of each position by the session of its decision, open ones included."""
    simulator = paper.simulator
    fills: dict[date, list[Any]] = {
        trade.decision_session: [*trade.entry_fills, *trade.exit_fills]
        for trade in simulator.trades
    }
    return fills | {
        position.decision_session: list(position.entry_fills) for position in simulator.positions
    }


def reconcile(paper: PaperAccount) -> str:
    """What is wrong with the account's books; empty if cash, marks, trades and ledger agree."""
    from spy_assets.simulator.kernel import InvariantBroken, check_invariant

    try:
        check_invariant(paper.simulator.account)
    except InvariantBroken as error:
        return str(error)
    return ""
