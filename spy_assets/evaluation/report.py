"""The hold-out report: one HTML page without any network address, readable in light and dark.

It shows the equity of the policy beside every baseline, the intervals, the decisions, the trades,
and says first what the numbers are not: prices off a surface are no market quotes, and a policy
that does not beat its baselines is reported as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Final

from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.breakdown import Regimes
from spy_assets.evaluation.chart import equity_chart
from spy_assets.evaluation.gate import GateRow, GateVerdict
from spy_assets.evaluation.markup import dollars, shown_interval, signed, table
from spy_assets.evaluation.report_sections import groups, monthly, next_steps, numbers
from spy_assets.evaluation.statistics import Interval, bootstrap_means
from spy_assets.sessions import require_aware
from spy_assets.simulator.kernel import Trade

DISCLAIMER: Final = (
    "Research output, not investment advice. Options can lose their whole premium, and more when "
    "sold. Simulated results are no promise of future ones."
)
SURFACE_NOTE: Final = (
    "Option prices, entries and exits come from a volatility surface made of VIX, with modelled "
    "spreads; no market quoted them."
)

_STYLE: Final = """
:root{--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d0d7de;--card:#f6f8fa;--good:#1a7f37;
--bad:#cf222e;--warn:#9a6700;--policy:#0969da;--hold:#bc4c00;--random:#8250df;--cash:#6e7781}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9198a1;--line:#30363d;
--card:#161b22;--good:#3fb950;--bad:#f85149;--warn:#d29922;--policy:#58a6ff;--hold:#f0883e;
--random:#bc8cff;--cash:#8b949e}}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;margin:0 auto;
max-width:1180px;padding:1.5rem}h1{font-size:1.5rem;margin:0}
h2{font-size:1.1rem;margin:2rem 0 .5rem}h3{font-size:.95rem;margin:.5rem 0}
p,li{max-width:95ch}ul{padding-left:1.2rem;margin:.3rem 0}.soft{color:var(--soft)}
.note{border-left:4px solid var(--warn);background:var(--card);padding:.5rem 1rem;
margin:1rem 0}.wide,figure{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.85rem}
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th.text,td.text{text-align:left}.good{color:var(--good)}.bad{color:var(--bad)}
.bar{background:var(--card);height:.8rem;width:20rem;max-width:40vw}.bar i{background:var(--policy);
display:block;height:100%}svg{width:100%;min-width:700px;height:auto}
svg text{fill:var(--soft);font-size:12px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(310px,1fr));gap:0 2rem}
.cards thead{display:none}.cards td.text{white-space:normal}ol{padding-left:1.4rem}
"""


@dataclass(frozen=True)
class ReportFacts:
    """What the page is about.

    ``made_at`` is UTC; ``notices`` are labels of the source; ``fill_alpha`` is the part of the half
    spread that fills paid (:attr:`~spy_assets.simulator.costs.CostModel.alpha`).
    """

    title: str
    symbol: str
    source: str
    model: str
    version: str
    made_at: datetime
    costs: str
    notices: tuple[str, ...] = ()
    surface_priced: bool = True
    fill_alpha: float = 1.0


def render_report(
    facts: ReportFacts,
    policy: BacktestResult,
    baselines: Mapping[str, BacktestResult],
    verdict: GateVerdict | None = None,
    *,
    regimes: Regimes | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> str:
    """Render the page; the same arguments give the same bytes.

    Parameters
    ----------
    facts
        Title, labels and time.
    policy, baselines
        Runs over the same sessions.
    verdict
        The promotion gate's answer, if the window is its validation window.
    regimes
        Session to regime, for the profit by regime.
    level, seed
        Of the intervals, and of the bootstrap, where there is no verdict.
    """
    parts = [
        _head(facts, policy),
        _notes(facts, verdict, _unbeaten(policy, baselines, level, seed)),
        "<h2>Equity</h2>",
        equity_chart([policy, *baselines.values()]),
        "<h2>Against the baselines</h2>",
        _comparison(policy, baselines, level, seed),
        _verdict(verdict),
        numbers(policy, baselines, level, seed, fill_alpha=facts.fill_alpha),
        monthly(policy, baselines),
        groups(policy, regimes, level),
        next_steps(policy, regimes, level),
        "<h2>Decisions</h2>",
        _decisions(policy),
        "<h2>Trades</h2>",
        _trades(policy.trades),
        f"<h2>Risk</h2><p>{escape(DISCLAIMER)}</p>",
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(facts.title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _head(facts: ReportFacts, policy: BacktestResult) -> str:
    made = require_aware(facts.made_at).strftime("%Y-%m-%d %H:%M UTC")
    first, last = policy.sessions[0], policy.sessions[-1]
    return (
        f"<h1>{escape(facts.title)}</h1><p class=soft>{escape(facts.symbol)} · source "
        f"{escape(facts.source)} · model {escape(facts.model)} {escape(facts.version)} · "
        f"{first} to {last}, {len(policy.sessions)} sessions · costs {escape(facts.costs)} · "
        f"made {made}</p>"
    )


def _unbeaten(
    policy: BacktestResult, baselines: Mapping[str, BacktestResult], level: float, seed: int
) -> list[str]:
    leads = bootstrap_means(
        [policy.daily_pnl - run.daily_pnl for run in baselines.values()], seed=seed, level=level
    )
    return [name for name, lead in zip(baselines, leads, strict=True) if not lead.above_zero]


def _notes(facts: ReportFacts, verdict: GateVerdict | None, unbeaten: Sequence[str]) -> str:
    notes = list(facts.notices)
    if facts.surface_priced:
        notes.append(SURFACE_NOTE)
    if unbeaten:
        notes.append(f"Not shown to beat over these sessions: {', '.join(unbeaten)}.")
    if verdict is not None and verdict.notice:
        notes.append(verdict.notice)
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<div class=note><ul>{items}</ul></div>" if items else ""


def _comparison(
    policy: BacktestResult, baselines: Mapping[str, BacktestResult], level: float, seed: int
) -> str:
    runs = [policy, *baselines.values()]
    daily = [run.daily_pnl for run in runs]
    means = bootstrap_means(daily, seed=seed, level=level)
    leads = bootstrap_means([daily[0] - pnl for pnl in daily[1:]], seed=seed, level=level)
    rows = [
        _comparison_row(run, mean, lead)
        for run, mean, lead in zip(runs, means, [None, *leads], strict=True)
    ]
    heads = (
        "strategy", "net P&L", "mean a session", f"{level:.0%} interval", "lead of the policy",
        "Sharpe", "max drawdown", "trades", "win rate", "costs",
    )  # fmt: skip
    return table(heads, rows)


def _comparison_row(run: BacktestResult, mean: Interval, lead: Interval | None) -> list[str]:
    rate = run.trade_statistics.win_rate
    return [
        escape(run.name),
        signed(run.daily.net_pnl),
        signed(mean.estimate),
        f"{mean.low:,.2f} to {mean.high:,.2f}",
        shown_interval(lead),
        f"{run.daily.sharpe:.2f}",
        f"{run.daily.max_drawdown:.1%}",
        str(run.trade_count),
        "–" if rate is None else f"{rate:.0%}",
        f"{run.costs:,.2f}",
    ]


def _verdict(verdict: GateVerdict | None) -> str:
    if verdict is None:
        return ""
    word = "accepted" if verdict.accepted else "refused"
    extra = [
        f"basis {verdict.basis}",
        f"{verdict.trials} candidate(s) tried, intervals at {verdict.level:.2%}",
        f"first week's band {verdict.band.words}" if verdict.band else "",
    ]
    items = "".join(f"<li>{escape(text)}</li>" for text in (*extra, *verdict.reasons) if text)
    return f"<h2>Promotion gate: {word}</h2><ul>{items}</ul>" + _gate_table(verdict.table)


def _gate_table(rows: Sequence[GateRow]) -> str:
    cells = [
        [
            escape(row.strategy),
            shown_interval(row.mean_daily),
            shown_interval(row.difference),
        ]
        for row in rows
    ]
    return table(("gate", "mean a session", "lead of the challenger"), cells)


def _decisions(policy: BacktestResult) -> str:
    counts = Counter(decision.action for decision in policy.decisions)
    total = max(1, sum(counts.values()))
    rows = [
        [
            escape(name),
            str(counts[number]),
            f"{counts[number] / total:.1%}",
            f'<div class=bar><i style="width:{100 * counts[number] / total:.1f}%"></i></div>',
        ]
        for number, name in enumerate(policy.actions.names)
    ]
    return table(("action", "times", "share", ""), rows, text={0, 3})


def _trades(trades: Iterable[Trade]) -> str:
    rows = [
        [
            str(trade.decision_session),
            escape(trade.structure),
            str(trade.entry_session),
            str(trade.exit_session),
            escape(trade.exit_reason),
            str(trade.quantity),
            dollars(trade.entry_value),
            dollars(trade.exit_value),
            dollars(trade.costs),
            signed(trade.pnl),
            f"{trade.pnl_pct:.1%}",
        ]
        for trade in trades
    ]
    if not rows:
        return "<p>None.</p>"
    heads = (
        "decided", "structure", "entry", "exit", "why", "units", "paid", "got back", "costs", "P&L",
        "of risk",
    )  # fmt: skip
    return table(heads, rows, text=range(5))
