"""The page of a combinatorial cross-validation: all paths as a picture and as tables, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from spy_assets.evaluation.combinatorial_summary import (
    PathAccount,
    PathsSummary,
    Quantiles,
    path_figures,
)
from spy_assets.evaluation.markup import number, percent, signed, table
from spy_assets.evaluation.page import named_values, page
from spy_assets.evaluation.report import DISCLAIMER, SURFACE_NOTE
from spy_assets.evaluation.tearsheet_charts import paths_chart, strategy_class
from spy_assets.sessions import require_aware

#: Baselines in the picture; the others are in the table.
_DRAWN = ("buy_and_hold", "buy_and_hold_price_only", "cash")


@dataclass(frozen=True)
class PathsFacts:
    """Where the numbers are from.

    Attributes
    ----------
    title, symbol, source
        What is shown of them.
    configuration, parameters
        Hash and values of all that decides the result but the data.
    seeds, timesteps
        Of each split's training.
    groups, test_groups
        How the sessions are cut.
    purge, embargo
        Sessions left out around each tested group.
    due_splits
        Trainings of each seed.
    made_at
        UTC.
    notices
        Labels of the source.
    """

    title: str
    symbol: str
    source: str
    configuration: str
    parameters: Mapping[str, Any]
    seeds: tuple[int, ...]
    timesteps: int
    groups: int
    test_groups: int
    purge: int
    embargo: int
    due_splits: int
    made_at: datetime
    notices: tuple[str, ...] = ()


def render_paths(facts: PathsFacts, summary: PathsSummary) -> str:
    """Render the page; the same arguments give the same bytes."""
    body = "\n".join(
        [
            _head(facts, summary),
            f"<p class=verdict>{escape(summary.verdict)}</p>",
            _notes(facts),
            "<h2>All paths</h2>",
            _picture(summary),
            "<h2>Distribution over paths</h2>",
            _distribution(summary),
            "<h2>Paths</h2>",
            _paths(summary.paths),
            "<h2>Against the baselines</h2>",
            _baselines(summary),
            "<h2>Selection</h2>",
            _selection(summary),
            "<h2>Configuration</h2>",
            _configuration(facts),
            f"<h2>Risk</h2><p>{escape(DISCLAIMER)}</p>",
        ]
    )
    return page(facts.title, body)


def _head(facts: PathsFacts, summary: PathsSummary) -> str:
    made = require_aware(facts.made_at).strftime("%Y-%m-%d %H:%M UTC")
    days = summary.sessions
    words = (
        f"{facts.symbol} · source {facts.source} · {days[0]} to {days[-1]}, {len(days):,} sessions a "
        f"path · {len(facts.seeds)} seed(s) of {facts.timesteps:,} steps a split · made {made}"
    )
    return f"<h1>{escape(facts.title)}</h1><p class=soft>{escape(words)}</p>"


def _notes(facts: PathsFacts) -> str:
    cut = (
        f"{facts.groups} groups, every choice of {facts.test_groups} tested once by policies trained on "
        f"the others: {facts.due_splits} trainings a seed. {facts.purge} sessions on either side of a "
        f"tested group, and {facts.embargo} more after it, are in no training."
    )
    future = (
        "A training may lie after its test. A path is no history that could have been traded; the "
        "walk-forward is. Paths share sessions and trainings: their spread is no confidence interval."
    )
    notes = (cut, future, *facts.notices, SURFACE_NOTE)
    return f"<div class=note><ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul></div>"


def _picture(summary: PathsSummary) -> str:
    ranked = sorted(summary.paths, key=lambda path: float(path.equity[-1]))
    middle = ranked[(len(ranked) - 1) // 2]
    curves = [(_name(path), "path", path.equity) for path in ranked if path is not middle]
    named = ["median path"]
    for name in _DRAWN:
        for path in summary.baselines.get(name, ()):
            curves.append((name, strategy_class(name), path.equity))
            named.append(name)
    curves.append(("median path", "policy", middle.equity))
    capital = float(middle.equity[0])
    caption = (
        f"{len(ranked)} paths of the policy, the median one ({_name(middle)}) bold. Returns of the "
        f"groups compounded one after the other from ${capital:,.0f}; each group begins with a fresh "
        "account."
    )
    return paths_chart(summary.sessions, curves, named, caption)


def _name(path: PathAccount) -> str:
    return f"path {path.path}, seed {path.seed}"


def _distribution(summary: PathsSummary) -> str:
    def row(name: str, values: Quantiles, show: Any) -> list[str]:
        return [name, *(show(getattr(values, field)) for field in Quantiles.__dataclass_fields__)]

    rows = [
        row("Sharpe ratio", summary.sharpe, number),
        row("net P&amp;L, $", summary.net_pnl, signed),
        row("deepest drawdown", summary.max_drawdown, percent),
    ]
    return table(("over paths", "least", "25 %", "median", "75 %", "most"), rows)


def _paths(paths: Sequence[PathAccount]) -> str:
    rows = []
    for one in map(path_figures, paths):
        cells = (one["seed"], one["path"])
        rows.append(
            [
                *(str(cell) for cell in cells),
                signed(one["net_pnl"]),
                number(one["sharpe"]),
                percent(one["max_drawdown"]),
                f"{one['trades']:,}",
            ]
        )
    return table(("seed", "path", "net P&L, $", "Sharpe", "drawdown", "trades"), rows)


def _baselines(summary: PathsSummary) -> str:
    rows = []
    for name, paths in summary.baselines.items():
        ends = Quantiles.of([path.daily.net_pnl for path in paths]).median
        ratio = Quantiles.of([path.daily.sharpe for path in paths]).median
        share = summary.above[name]
        tone = "good" if share > 0.5 else "bad"
        rows.append(
            [
                escape(name),
                signed(ends),
                number(ratio),
                f'<span class="{tone}">{percent(share, 0)}</span>',
            ]
        )
    return table(("baseline", "net P&L, $", "Sharpe", "paths above it"), rows)


def _selection(summary: PathsSummary) -> str:
    deflated, overfitted = summary.deflated_sharpe, summary.overfitting
    rows = [
        ["configurations run", str(summary.trials)],
        ["Sharpe ratio of the mean over paths", number(summary.mean_sharpe)],
        ["probability that it is better than the best of as many that know nothing", percent(deflated)],
        ["probability of backtest overfitting", percent(overfitted)],
    ]  # fmt: skip
    note = (
        ""
        if overfitted is not None
        else "<p class=soft>Overfitting is measured from two configurations on.</p>"
    )
    return table(("", ""), rows) + note


def _configuration(facts: PathsFacts) -> str:
    values = {"configuration": facts.configuration, **facts.parameters}
    return named_values((name, str(value)) for name, value in values.items())
