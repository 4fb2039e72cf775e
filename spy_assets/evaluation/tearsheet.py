"""The tearsheet of a walk-forward: one HTML page that loads nothing and says first what is not beaten.

Its tables sort; without scripts it reads as well. See :mod:`spy_assets.evaluation.page`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from typing import Any, Final

import numpy as np

from spy_assets.evaluation.markup import dollars, percent, shown_interval, signed
from spy_assets.evaluation.page import asset, named_values, page
from spy_assets.evaluation.report import DISCLAIMER, SURFACE_NOTE
from spy_assets.evaluation.statistics import Floats
from spy_assets.evaluation.tearsheet_charts import (
    anatomy_chart,
    bar,
    drawdown_chart,
    equity_chart,
    lead_chart,
    seed_chart,
    timeline_chart,
)
from spy_assets.evaluation.walk_forward import POLICY, ClosedTrade, WindowRun
from spy_assets.evaluation.walk_forward_summary import (
    GROUPINGS,
    INTRADAY_GROUPINGS,
    Chain,
    StrategySummary,
    WalkForwardSummary,
    grouped,
    monthly_returns,
)
from spy_assets.sessions import require_aware

_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
#: Monthly returns from which on a cell of the heat map has the next shade.
_SHADES: Final = (0.0, 0.01, 0.03, 0.06)


@dataclass(frozen=True)
class TearsheetFacts:
    """Where the numbers are from.

    Attributes
    ----------
    title, symbol, source
        What is shown of them.
    preset, configuration, parameters
        How sessions are cut; hash and values of all that decides the walk-forward but the data.
    seeds, timesteps
        Of each fold's training.
    costs
        Cost preset.
    lake_snapshots
        Snapshots of the lake that folds were read at.
    due_folds
        Folds that the preset has over the history.
    final_from
        First day of the final period.
    final_seen_by
        Configurations that were tested on sessions of it, in whichever fold or final test.
    made_at
        UTC.
    notices
        Labels of the source.
    surface_priced
        Whether options were priced by a model.
    intraday
        Whether trades begin at any minute, and are shown by the hour.
    """

    title: str
    symbol: str
    source: str
    preset: str
    configuration: str
    parameters: Mapping[str, Any]
    seeds: tuple[int, ...]
    timesteps: int
    costs: str
    lake_snapshots: tuple[int, ...]
    due_folds: int
    final_from: date | None
    made_at: datetime
    final_to: date | None = None
    final_seen_by: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    surface_priced: bool = True
    intraday: bool = False


@dataclass(frozen=True)
class _Cell:
    """HTML of a cell and what it sorts by: a number, or its own text where there is none."""

    html: str
    value: float | None = None


def render_tearsheet(
    facts: TearsheetFacts, summary: WalkForwardSummary, runs: Sequence[WindowRun]
) -> str:
    """Render the page; the same arguments give the same bytes.

    Parameters
    ----------
    facts
        Title, labels, configuration and time.
    summary
        Of ``runs``.
    runs
        Every run of every fold, for the tables by fold and by seed.
    """
    policy = summary.chains[0]
    parts = [
        _head(facts, summary),
        f"<p class=verdict>{escape(summary.verdict)}</p>",
        _notes(facts, summary),
        _cards(summary),
        "<h2>Out of sample, all folds as one account</h2>",
        equity_chart(summary.chains),
        "<h3>Drawdown</h3>",
        drawdown_chart(summary.chains),
        "<h2>Against the baselines</h2>",
        lead_chart(summary.baselines, summary.level) if summary.baselines else "",
        _sentences(summary),
        _strategies(summary),
        "<h2>What was trained on, what was tested</h2>",
        anatomy_chart(summary.folds[-1]),
        timeline_chart(
            summary.folds,
            None if _in_final(facts, summary) else facts.final_from,
            facts.final_to,
        ),
        "<h2>Folds</h2>",
        _folds(summary),
        "<h2>Seeds</h2>",
        seed_chart(_returns_by_seed(runs), summary.spread),
        _seeds(summary),
        "<h2>Months</h2>",
        _months(policy),
        "<h2>Where the profit came from</h2>",
        _groups(policy.trades, INTRADAY_GROUPINGS if facts.intraday else GROUPINGS),
        "<h2>Configuration</h2>",
        _configuration(facts, summary),
        f"<h2>Risk</h2><p>{escape(DISCLAIMER)}</p>",
    ]
    body = "\n".join(part for part in parts if part)
    return page(facts.title, body, asset("tearsheet.js"))


def _head(facts: TearsheetFacts, summary: WalkForwardSummary) -> str:
    made = require_aware(facts.made_at).strftime("%Y-%m-%d %H:%M UTC")
    sessions = summary.chains[0].sessions
    words = (
        f"{facts.symbol} · source {facts.source} · preset {facts.preset} · {sessions[0]} to "
        f"{sessions[-1]}, {len(sessions):,} sessions tested · {len(facts.seeds)} seed(s) of "
        f"{facts.timesteps:,} steps · costs {facts.costs} · made {made}"
    )
    return f"<h1>{escape(facts.title)}</h1><p class=soft>{escape(words)}</p>"


def _notes(facts: TearsheetFacts, summary: WalkForwardSummary) -> str:
    notes = list(facts.notices)
    if facts.surface_priced:
        notes.append(SURFACE_NOTE)
    if len(summary.folds) < facts.due_folds:
        notes.append(
            f"{len(summary.folds)} of {facts.due_folds} folds have been walked; the rest is missing."
        )
    notes += _final_notes(facts, summary)
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<div class=note><ul>{items}</ul></div>" if items else ""


def _in_final(facts: TearsheetFacts, summary: WalkForwardSummary) -> int:
    """How many folds of the sheet test sessions of the final period."""
    start = facts.final_from
    return 0 if start is None else sum(fold.test_last >= start for fold in summary.folds)


def _final_notes(facts: TearsheetFacts, summary: WalkForwardSummary) -> list[str]:
    """What is true of the final period: that nobody has seen it, or who has."""
    start = facts.final_from
    if start is None:
        return []
    inside = _in_final(facts, summary)
    if inside:
        return [f"{inside} fold(s) here test sessions from {start} on: it is no final period."]
    notes = [f"The final period, from {start} on, is in no fold and in no number here."]
    if facts.final_seen_by:
        seen = ", ".join(facts.final_seen_by)
        notes.append(
            f"The final period is not untouched: tested on it were configuration(s) {seen}."
        )
    return notes


def _cards(summary: WalkForwardSummary) -> str:
    row, interval = summary.policy, summary.policy.mean_daily
    deflated = summary.deflated_sharpe
    facts = [
        (signed(row.net_pnl, f"${dollars(row.net_pnl)}"), "net P&amp;L of all folds"),
        (signed(row.chained_return, percent(row.chained_return)), "chained return"),
        (f"{row.chained_sharpe:.2f}", "Sharpe, chained"),
        (percent(row.chained_drawdown), "deepest drawdown"),
        (f"{row.trades:,}", "trades"),
        ("–" if row.win_rate is None else percent(row.win_rate, 0), "win rate"),
        (
            f"{dollars(interval.low)} to {dollars(interval.high)}",
            f"$ a session at {interval.level:.0%}",
        ),
        (
            "–" if deflated is None else f"{deflated:.2f}",
            f"deflated Sharpe, {summary.trials} trial(s)",
        ),
    ]
    cards = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in facts)
    return f"<div class=cards>{cards}</div>"


def _sentences(summary: WalkForwardSummary) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in summary.sentences())
    return f"<ul>{items}</ul>" if items else ""


def _strategies(summary: WalkForwardSummary) -> str:
    heads = (
        "each fold", "net P&L", "avg return", "std", "min", "max", "avg Sharpe", "avg drawdown",
        "worst drawdown", "trades", "win rate", "costs",
    )  # fmt: skip
    chained = (
        "as one account", "return", "Sharpe", "deepest drawdown", "$ a session", "lead of the policy",
    )  # fmt: skip
    return (
        _table(heads, [_fold_average_cells(row) for row in summary.strategies], own=0)
        + "<h3>Chained</h3>"
        + _table(chained, [_chained_cells(row) for row in summary.strategies], own=0)
    )


def _fold_average_cells(row: StrategySummary) -> list[_Cell]:
    deviation = row.std_return
    return [
        _Cell(escape(row.strategy)),
        _money(row.net_pnl),
        _share(row.avg_return),
        _Cell("–" if deviation is None else percent(deviation), deviation or 0.0),
        _share(row.min_return),
        _share(row.max_return),
        _number(row.avg_sharpe),
        _Cell(percent(row.avg_drawdown), row.avg_drawdown),
        _Cell(percent(row.worst_drawdown), row.worst_drawdown),
        _Cell(f"{row.trades:,}", row.trades),
        _Cell("–" if row.win_rate is None else percent(row.win_rate, 0), row.win_rate or 0.0),
        _Cell(dollars(row.costs), row.costs),
    ]


def _chained_cells(row: StrategySummary) -> list[_Cell]:
    lead = row.lead
    return [
        _Cell(escape(row.strategy)),
        _share(row.chained_return),
        _number(row.chained_sharpe),
        _Cell(percent(row.chained_drawdown), row.chained_drawdown),
        _Cell(shown_interval(row.mean_daily), row.mean_daily.estimate),
        _Cell("–", 0.0) if lead is None else _Cell(shown_interval(lead), lead.estimate),
    ]


def _folds(summary: WalkForwardSummary) -> str:
    others = {chain.strategy: {run.fold.key: run for run in chain.runs} for chain in summary.chains}
    held = next((name for name in others if name.startswith("buy_and_hold")), None)
    heads = (
        "fold", "train", "gap", "test", "seed", "net P&L", "return", "Sharpe", "drawdown",
        "trades", "buy and hold", "best baseline", "its return",
    )  # fmt: skip
    rows = []
    for run in summary.chains[0].runs:
        rivals = {name: own[run.fold.key] for name, own in others.items() if run.fold.key in own}
        del rivals[POLICY]
        rows.append(_fold_cells(run, rivals, held))
    return _table(heads, rows, text={1, 3, 11}, dense=True, scroll=len(rows) > 16)


def _fold_cells(run: WindowRun, rivals: Mapping[str, WindowRun], held: str | None) -> list[_Cell]:
    fold, daily = run.fold, run.daily
    best = max(rivals.values(), key=lambda one: one.daily.total_return, default=None)
    hold = rivals.get(held or "")
    return [
        _Cell(str(fold.number), fold.number),
        _Cell(f"{fold.train_first}–{fold.train_last}"),
        _Cell(f"{fold.purge} + {fold.embargo}", fold.purge + fold.embargo),
        _Cell(f"{fold.test_first}–{fold.test_last}"),
        _Cell(str(run.seed), run.seed),
        _money(daily.net_pnl),
        _share(daily.total_return),
        _number(daily.sharpe),
        _Cell(percent(daily.max_drawdown), daily.max_drawdown),
        _Cell(str(run.trade_count), run.trade_count),
        _Cell("–", 0.0) if hold is None else _share(hold.daily.total_return),
        _Cell("–" if best is None else escape(best.strategy)),
        _Cell("–", 0.0) if best is None else _share(best.daily.total_return),
    ]


def _seeds(summary: WalkForwardSummary) -> str:
    heads = (
        "seed", "folds", "chosen in", "net P&L", "chained return", "Sharpe", "deepest drawdown",
    )  # fmt: skip
    rows = [
        [
            _Cell(str(row.seed), row.seed),
            _Cell(str(row.folds), row.folds),
            _Cell(str(row.selected_folds), row.selected_folds),
            _money(row.net_pnl),
            _share(row.chained_return),
            _number(row.chained_sharpe),
            _Cell(percent(row.chained_drawdown), row.chained_drawdown),
        ]
        for row in summary.seeds
    ]
    return _table(heads, rows)


def _returns_by_seed(runs: Sequence[WindowRun]) -> dict[int, Floats]:
    found: dict[int, list[float]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.fold.test_first)):
        if run.strategy == POLICY:
            found.setdefault(run.seed, []).append(run.daily.total_return)
    return {seed: np.array(values) for seed, values in found.items()}


def _months(chain: Chain) -> str:
    returns = monthly_returns(chain)
    years = sorted({year for year, _ in returns})
    head = "".join(f"<th>{name}</th>" for name in ("", *_MONTHS, "year"))
    rows = []
    for year in years:
        months = [returns.get((year, month)) for month in range(1, 13)]
        known = [value for value in months if value is not None]
        total = float(np.prod([1.0 + value for value in known])) - 1.0
        cells = "".join(_heat_cell(value) for value in (*months, total))
        rows.append(f"<tr><th>{year}</th>{cells}</tr>")
    table = (
        f"<table class=heat><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return (
        f"<div class=wide>{table}</div><p class=soft>Chained returns of the policy, per cent.</p>"
    )


def _heat_cell(value: float | None) -> str:
    if value is None:
        return "<td></td>"
    text = f"{round(100 * value, 1) + 0.0:.1f}"
    shade = sum(abs(value) > edge for edge in _SHADES)
    kind = f" class={'u' if value > 0 else 'd'}{shade}" if text != "0.0" else ""
    return f"<td{kind}>{text}</td>"


def _groups(
    trades: Sequence[ClosedTrade], groupings: Mapping[str, Callable[[ClosedTrade], str]]
) -> str:
    if not trades:
        return "<p>The policy made no trade.</p>"
    parts = []
    for name, key in groupings.items():
        groups = grouped(trades, key)
        largest = max(abs(group.net_pnl) for group in groups)
        rows = [
            [
                _Cell(escape(group.name)),
                _Cell(str(group.trades), group.trades),
                _Cell(percent(group.win_rate, 0), group.win_rate),
                _money(group.mean_pnl),
                _money(group.net_pnl),
                _Cell(bar(group.net_pnl, largest), group.net_pnl),
            ]
            for group in groups
        ]
        heads = (f"by {name}", "trades", "win rate", "mean P&L", "net P&L", "")
        parts.append(f"<section>{_table(heads, rows)}</section>")
    return f"<div class=groups>{''.join(parts)}</div>"


def _configuration(facts: TearsheetFacts, summary: WalkForwardSummary) -> str:
    snapshots = facts.lake_snapshots
    shown = ", ".join(str(one) for one in snapshots[:8])
    if len(snapshots) > 8:
        shown = f"{snapshots[0]} to {snapshots[-1]}, {len(snapshots)} of them"
    rows = [
        ("configuration", facts.configuration),
        ("trials", f"{summary.trials} configuration(s) walked, this one included"),
        ("lake snapshots", shown),
        ("seeds", ", ".join(str(seed) for seed in facts.seeds)),
        ("folds", f"{len(summary.folds)} of {facts.due_folds}"),
        *((name, _plain(value)) for name, value in facts.parameters.items()),
    ]
    return named_values(rows)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _money(value: float) -> _Cell:
    return _Cell(signed(value), value)


def _share(value: float) -> _Cell:
    return _Cell(signed(value, percent(value)), value)


def _number(value: float) -> _Cell:
    return _Cell(f"{round(value, 2) + 0.0:.2f}", value)


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[_Cell]],
    *,
    text: Container[int] = (0,),
    own: int | None = None,
    dense: bool = False,
    scroll: bool = False,
) -> str:
    """A table that sorts; columns in ``text`` are to the left, row ``own`` is set off."""
    marks = [" class=text" if column in text else "" for column in range(len(heads))]
    head = "".join(
        f"<th{mark} scope=col><button type=button>{escape(name) or '&nbsp;'}</button></th>"
        for mark, name in zip(marks, heads, strict=True)
    )
    body = "".join(
        f"<tr{' class=own' * (number == own)}>"
        + "".join(_cell(cell, mark) for cell, mark in zip(row, marks, strict=True))
        + "</tr>\n"
        for number, row in enumerate(rows)
    )
    box, kind = "wide scroll" if scroll else "wide", "sortable dense" if dense else "sortable"
    return (
        f'<div class="{box}"><table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(cell: _Cell, mark: str) -> str:
    value = "" if cell.value is None else f' data-v="{cell.value:.10g}"'
    return f"<td{mark}{value}>{cell.html}</td>"
