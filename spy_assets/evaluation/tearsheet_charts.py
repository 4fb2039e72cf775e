"""Pictures of the tearsheet as inline SVG: classes for the colours, no style attribute, no script.

Every function gives one ``<figure>`` whose numbers come with it as text or titles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from html import escape
from typing import Final

import numpy as np

from spy_assets.evaluation.markup import dollars, percent
from spy_assets.evaluation.seed_spread import SeedSpread
from spy_assets.evaluation.splits import Fold
from spy_assets.evaluation.statistics import Floats, Interval
from spy_assets.evaluation.walk_forward_summary import Chain, StrategySummary, drawdowns

_WIDTH: Final = 1100.0
_LEFT: Final = 78.0
#: Room for the names at the ends of the curves.
_RIGHT: Final = 225.0
_MAX_POINTS: Final = 700
_NAME_STEP: Final = 15.0
#: A range wider than this factor is drawn on a logarithmic scale.
_LOG_FROM: Final = 4.0
#: Share of the capital below which a logarithmic scale does not go.
_LOG_FLOOR: Final = 0.01
_CLASSES: Final = {
    "policy": "policy",
    "buy_and_hold": "hold",
    "buy_and_hold_price_only": "hold",
    "random_same_rate": "random",
    "cash": "cash",
}

Scale = Callable[[float], float]


def strategy_class(name: str) -> str:
    """CSS class of a strategy's colour."""
    return _CLASSES.get(name, "other")


def _figure(height: float, label: str, body: str, caption: str = "", *, defs: str = "") -> str:
    note = f"<figcaption>{caption}</figcaption>" if caption else ""
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(label)}">{defs}{body}</svg>{note}</figure>'
    )


def _text(x: float, y: float, words: str, *, css: str = "", anchor: str = "start") -> str:
    kind = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def _rect(x: float, y: float, width: float, height: float, css: str, title: str = "") -> str:
    inner = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" '
        f'class="{css}">{inner}</rect>'
    )


def _linear(low: float, high: float, start: float, stop: float) -> Scale:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def round_ticks(low: float, high: float, count: int = 7) -> list[float]:
    """Round values in a range: multiples of 1, 2 or 5 times a power of ten.

    >>> round_ticks(0.0, 10.0, 5)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / count
    if rough <= 0 or not math.isfinite(rough):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.9999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * k, 10) + 0.0 for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Give 1, 2 and 5 times powers of ten in a range; powers alone where that would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [10.0**p * factor for p in powers for factor in (1, 2, 5)]
    kept = [value for value in found if low <= value <= high]
    return kept if len(kept) <= 9 else [value for value in kept if math.log10(value) % 1 < 1e-9]


def _thin(count: int) -> Floats:
    return np.unique(np.linspace(0, count - 1, min(count, _MAX_POINTS)).astype(int))


def _year_marks(days: Sequence[date], x: Scale, top: float, bottom: float) -> str:
    """A line and a label at the first session of some years; months where there are few years."""
    firsts = [k for k, day in enumerate(days) if not k or day.year != days[k - 1].year]
    form = "%Y"
    if len(firsts) < 4:
        firsts = [k for k, day in enumerate(days) if not k or day.month != days[k - 1].month]
        form = "%b %Y"
    step = max(1, math.ceil(len(firsts) / 12))
    marks = []
    for k in firsts[::step]:
        marks.append(_line(x(k), top, x(k), bottom, "grid"))
        marks.append(_text(x(k), bottom + 15, days[k].strftime(form), anchor="middle"))
    return "".join(marks)


def equity_chart(chains: Sequence[Chain]) -> str:
    """Chained accounts of all strategies, each with its name and last value at its end."""
    height, top, bottom = 420.0, 12.0, 390.0
    capital = float(chains[0].equity[0])
    values = [np.maximum(chain.equity, capital * _LOG_FLOOR) for chain in chains]
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    log = high / low > _LOG_FROM
    y, ticks = _money_axis(low, high, bottom, top, log=log)
    grid = _money_grid(ticks, y)
    longest = max(chains, key=lambda chain: len(chain.equity))
    x = _linear(0, max(1, len(longest.equity) - 1), _LEFT, _WIDTH - _RIGHT)
    years = _year_marks(longest.sessions, x, top, bottom)
    curves = "".join(
        _curve(chain, v, x, y) for chain, v in reversed(list(zip(chains, values, strict=True)))
    )
    scale = "Logarithmic scale. " if log else ""
    caption = (
        f"{scale}Returns of the tests compounded one after the other; each fold begins with "
        f"${capital:,.0f}."
    )
    label = f"Chained out-of-sample equity of {len(chains)} strategies"
    names = _names(chains, y, bottom)
    return _figure(height, label, grid + years + curves + names, caption)


def paths_chart(
    sessions: Sequence[date],
    curves: Sequence[tuple[str, str, Floats]],
    named: Sequence[str],
    caption: str,
) -> str:
    """Accounts over the same sessions, many of one kind among them.

    Parameters
    ----------
    sessions
        ``[n]``; the curves have one point more, the capital.
    curves
        Name, CSS class and equity in dollars of each, in the order in which they are drawn.
    named
        Which of the names stand at the end of their curves.
    caption
        What the picture shows, beside its scale.
    """
    height, top, bottom = 420.0, 12.0, 390.0
    capital = float(curves[0][2][0])
    values = [np.maximum(equity, capital * _LOG_FLOOR) for _, _, equity in curves]
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    log = high / low > _LOG_FROM
    y, ticks = _money_axis(low, high, bottom, top, log=log)
    x = _linear(0, max(1, len(sessions)), _LEFT, _WIDTH - _RIGHT)
    lines = "".join(
        _polyline(css, f"{name}: ${equity[-1]:,.2f}", shown, x, y)
        for (name, css, equity), shown in zip(curves, values, strict=True)
    )
    ends = [(name, css, float(equity[-1])) for name, css, equity in curves if name in named]
    body = (
        _money_grid(ticks, y)
        + _year_marks(sessions, x, top, bottom)
        + lines
        + _end_names(ends, y, bottom)
    )
    scale = "Logarithmic scale. " if log else ""
    return _figure(height, f"Equity of {len(curves)} accounts", body, scale + caption)


def _money_grid(ticks: Sequence[float], y: Scale) -> str:
    return "".join(
        _line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "grid")
        + _text(_LEFT - 8, y(tick) + 4, f"${tick:,.0f}", anchor="end")
        for tick in ticks
    )


def _money_axis(
    low: float, high: float, bottom: float, top: float, *, log: bool
) -> tuple[Scale, list[float]]:
    if not log:
        margin = 0.05 * (high - low) or 1.0
        low, high = low - margin, high + margin
        return _linear(low, high, bottom, top), round_ticks(low, high)
    low, high = low * 0.95, high * 1.05
    scale = _linear(math.log(low), math.log(high), bottom, top)
    return lambda value: scale(math.log(max(value, low))), log_ticks(low, high)


def _curve(chain: Chain, values: Floats, x: Scale, y: Scale) -> str:
    title = f"{chain.strategy}: ${chain.equity[-1]:,.2f}"
    return _polyline(strategy_class(chain.strategy), title, values, x, y)


def _polyline(css: str, title: str, values: Floats, x: Scale, y: Scale) -> str:
    points = " ".join(f"{x(k):.1f},{y(float(values[k])):.1f}" for k in _thin(len(values)).tolist())
    return f'<polyline points="{points}" class="{css}"><title>{escape(title)}</title></polyline>'


def _names(chains: Sequence[Chain], y: Scale, floor: float) -> str:
    ends = [
        (chain.strategy, strategy_class(chain.strategy), float(chain.equity[-1]))
        for chain in chains
    ]
    return _end_names(ends, y, floor)


def _end_names(ends: Sequence[tuple[str, str, float]], y: Scale, floor: float) -> str:
    """Name, CSS class and last value at the ends of curves, the highest first."""
    order = sorted(ends, key=lambda one: -one[2])
    wanted = [y(last) for _, _, last in order]
    labels = []
    for (name, css, last), place, end in zip(order, _apart(wanted, floor), wanted, strict=True):
        edge = _WIDTH - _RIGHT
        labels.append(_line(edge, end, edge + 12, place, f"leader {css}"))
        labels.append(_text(edge + 16, place + 4, f"{name} ${last:,.0f}", css=css))
    return "".join(labels)


def _apart(wanted: Sequence[float], floor: float) -> list[float]:
    """Heights of labels, top down, as near to the wanted ones as their distance allows."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + _NAME_STEP) if placed else y)
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], floor)
        floor = placed[k] - _NAME_STEP
    return placed


def drawdown_chart(chains: Sequence[Chain]) -> str:
    """How far below its peak the policy's chained account is, and buy and hold as a line."""
    height, top, bottom = 190.0, 10.0, 160.0
    policy = chains[0]
    held = [chain for chain in chains if strategy_class(chain.strategy) == "hold"]
    falls = {chain.strategy: drawdowns(chain.equity) for chain in (policy, *held)}
    deepest = max(0.01, *(float(one.max()) for one in falls.values()))
    y = _linear(0.0, deepest, top, bottom)
    x = _linear(0, max(1, len(policy.equity) - 1), _LEFT, _WIDTH - _RIGHT)
    grid = "".join(
        _line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "grid")
        + _text(_LEFT - 8, y(tick) + 4, percent(-tick, 0), anchor="end")
        for tick in round_ticks(0.0, deepest, 4)
    )
    own = falls[policy.strategy]
    chosen = _thin(len(own)).tolist()
    area = " ".join(f"{x(k):.1f},{y(float(own[k])):.1f}" for k in chosen)
    body = (
        f'<polygon points="{_LEFT:.1f},{top:.1f} {area} {x(chosen[-1]):.1f},{top:.1f}" '
        f'class="under"><title>policy: {percent(-float(own.max()))} at its deepest</title></polygon>'
    )
    for chain in held:
        if len(chain.equity) == len(policy.equity):
            body += _curve(chain, falls[chain.strategy], x, y)
    labels = "".join(
        _text(
            _WIDTH - _RIGHT + 16,
            top + 14 + 18 * k,
            f"{name} {percent(-float(one.max()))}",
            css=strategy_class(name),
        )
        for k, (name, one) in enumerate(falls.items())
    )
    years = _year_marks(policy.sessions, x, top, bottom)
    return _figure(height, "Drawdown of the chained account", grid + years + body + labels)


def anatomy_chart(fold: Fold) -> str:
    """One fold to scale: training, purge, embargo and test, with dates and numbers of sessions."""
    parts = [
        ("train", fold.train_sessions, "train"),
        ("purge", fold.purge, "purge"),
        ("embargo", fold.embargo, "embargo"),
        ("test", fold.test_sessions, "test"),
    ]
    total = sum(count for _, count, _ in parts)
    x = _linear(0, total, 10.0, _WIDTH - 10.0)
    body, at = "", 0
    for name, count, css in parts:
        body += _rect(x(at), 34, x(at + count) - x(at), 26, css, f"{name}: {count} sessions")
        at += count
    gap_from, gap_to = x(fold.train_sessions), x(fold.train_sessions + fold.purge + fold.embargo)
    body += _text(10, 24, f"train, {fold.train_sessions} sessions", css="name")
    body += _text(10, 78, str(fold.train_first))
    body += _text(gap_from - 6, 78, str(fold.train_last), anchor="end")
    gap = f"purge {fold.purge}, embargo {fold.embargo}"
    body += _text(gap_to, 16, gap, css="name", anchor="end")
    body += _line(gap_from, 20, gap_to, 20, "axis")
    body += _text(gap_to + 6, 78, str(fold.test_first))
    body += _text(_WIDTH - 10, 24, f"test, {fold.test_sessions} sessions", css="name", anchor="end")
    body += _text(_WIDTH - 10, 95, str(fold.test_last), anchor="end")
    label = f"Fold {fold.number}: training, purge, embargo and test, to scale in sessions"
    return _figure(100, label, body, f"Fold {fold.number} to scale, in sessions.")


def timeline_chart(folds: Sequence[Fold], final_from: date | None, end: date | None) -> str:
    """Every fold as a row over the calendar, and the final period that none of them touches."""
    first = min(fold.train_first for fold in folds)
    last = max(fold.test_last for fold in folds)
    through = end if final_from is not None and end is not None and end >= final_from else last
    x = _linear(first.toordinal(), max(through, last).toordinal() + 1, 60.0, _WIDTH - 10.0)
    step = max(4.0, min(20.0, 620.0 / len(folds)))
    top = 8.0
    bottom = top + step * len(folds)
    body = _calendar(first, max(through, last), x, top, bottom)
    for row, fold in enumerate(folds):
        body += _fold_row(fold, x, top + row * step, max(2.5, step - 1.5))
    every = max(1, math.ceil(16.0 / step))
    body += "".join(
        _text(52, top + row * step + step / 2 + 4, str(fold.number), anchor="end")
        for row, fold in enumerate(folds)
        if row % every == 0
    )
    if final_from is not None and through >= final_from:
        left, right = x(final_from.toordinal()), x(through.toordinal() + 1)
        body += _rect(left, top, right - left, bottom - top, "final", f"final, from {final_from}")
    legend = _legend(bottom + 34, final_from is not None)
    defs = (
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="6" class="hatch"/>'
        "</pattern></defs>"
    )
    label = f"{len(folds)} folds from {first} to {last}"
    return _figure(bottom + 44, label, body + legend, defs=defs)


def _fold_row(fold: Fold, x: Scale, y: float, height: float) -> str:
    """Training and test to scale; purge and embargo at least wide enough to be seen."""
    start, stop = x(fold.train_first.toordinal()), x(fold.train_last.toordinal() + 1)
    test_from, test_to = x(fold.test_first.toordinal()), x(fold.test_last.toordinal() + 1)
    middle = stop + (test_from - stop) * fold.purge / max(1, fold.purge + fold.embargo)
    return (
        _rect(start, y, stop - start, height, "train", str(fold))
        + _rect(stop, y, max(1.2, middle - stop), height, "purge")
        + _rect(middle, y, max(1.2 * bool(fold.embargo), test_from - middle), height, "embargo")
        + _rect(max(test_from, middle + 1.2), y, test_to - test_from, height, "test", str(fold))
    )


def _calendar(first: date, last: date, x: Scale, top: float, bottom: float) -> str:
    years = [year for year in range(first.year, last.year + 1) if date(year, 1, 1) >= first]
    step = max(1, math.ceil(len(years) / 16))
    marks = []
    for year in years[::step]:
        at = x(date(year, 1, 1).toordinal())
        marks.append(_line(at, top, at, bottom, "grid") + _text(at, bottom + 14, str(year)))
    return "".join(marks)


def _legend(y: float, final: bool) -> str:
    names = ["train", "purge", "embargo", "test"]
    body, at = "", 60.0
    for name in names:
        body += _rect(at, y - 10, 14, 10, name) + _text(at + 20, y, name)
        at += 90
    if final:
        body += _rect(at, y - 10, 14, 10, "final") + _text(at + 20, y, "final period, in no fold")
    return body


def lead_chart(rows: Sequence[StrategySummary], level: float) -> str:
    """The policy's mean lead over each baseline, dollars a session, with its interval."""
    leads = [(row.strategy, row.lead) for row in rows if row.lead is not None]
    low = min(0.0, *(lead.low for _, lead in leads))
    high = max(0.0, *(lead.high for _, lead in leads))
    margin = 0.05 * (high - low) or 1.0
    x = _linear(low - margin, high + margin, 210.0, _WIDTH - 250.0)
    bottom = 10.0 + 24.0 * len(leads)
    body = "".join(
        _line(x(tick), 6, x(tick), bottom, "grid")
        + _text(x(tick), bottom + 16, f"${tick:,g}", anchor="middle")
        for tick in round_ticks(low - margin, high + margin, 8)
    )
    body += _line(x(0), 2, x(0), bottom, "axis")
    for k, (name, lead) in enumerate(leads):
        body += _lead_row(name, lead, x, 22.0 + 24.0 * k)
    caption = f"Dollars a session of a fold's account, paired by session, {level:.0%} intervals."
    return _figure(bottom + 24, "Lead of the policy over each baseline", body, caption)


def _lead_row(name: str, lead: Interval, x: Scale, y: float) -> str:
    css = "good" if lead.above_zero else "bad" if lead.below_zero else "soft"
    words = f"{dollars(lead.estimate)} ({dollars(lead.low)} to {dollars(lead.high)})"
    return (
        _text(200, y + 4, name, css="name", anchor="end")
        + _rect(x(lead.low), y - 1.5, x(lead.high) - x(lead.low), 3, css)
        + f'<circle cx="{x(lead.estimate):.1f}" cy="{y:.1f}" r="4.5" class="{css}">'
        f"<title>{escape(name)}: {words}</title></circle>" + _text(_WIDTH - 240, y + 4, words)
    )


def seed_chart(returns: dict[int, Floats], spread: SeedSpread | None) -> str:
    """Fold returns of each seed as dots with their mean, and the interquartile mean of all."""
    iqm = None if spread is None else spread.iqm
    everything = np.concatenate(list(returns.values()))
    low, high = float(min(everything.min(), 0.0)), float(max(everything.max(), 0.0))
    margin = 0.05 * (high - low) or 0.01
    x = _linear(low - margin, high + margin, 110.0, _WIDTH - 30.0)
    bottom = 14.0 + 26.0 * len(returns)
    body = "".join(
        _line(x(tick), 4, x(tick), bottom, "grid")
        + _text(
            x(tick), bottom + 16, percent(tick, 0 if abs(high - low) > 0.05 else 1), anchor="middle"
        )
        for tick in round_ticks(low - margin, high + margin, 9)
    )
    if iqm is not None:
        title = f"IQM {percent(iqm.estimate, 2)} ({percent(iqm.low, 2)} to {percent(iqm.high, 2)})"
        body += _rect(x(iqm.low), 4, max(1.0, x(iqm.high) - x(iqm.low)), bottom - 4, "band", title)
    body += _line(x(0), 2, x(0), bottom, "axis")
    for k, (seed, values) in enumerate(returns.items()):
        y = 20.0 + 26.0 * k
        body += _text(100, y + 4, f"seed {seed}", css="name", anchor="end")
        body += "".join(
            f'<circle cx="{x(float(value)):.1f}" cy="{y:.1f}" r="3.5" class="dot"/>'
            for value in values
        )
        mean = x(float(values.mean()))
        body += _line(mean, y - 9, mean, y + 9, "mean")
    caption = "A dot a fold: its return. Line: the seed's mean. " + (
        "One seed says nothing of the spread."
        if iqm is None
        else f"Band: interquartile mean of all, {percent(iqm.estimate, 2)} "
        f"({percent(iqm.low, 2)} to {percent(iqm.high, 2)} at {iqm.level:.0%})."
    )
    return _figure(bottom + 24, "Fold returns by seed", body, caption)


def bar(value: float, largest: float) -> str:
    """A small bar to the left or right of the middle, for a cell of a table."""
    share = 0.0 if largest <= 0 else min(1.0, abs(value) / largest)
    width = 50.0 * share
    css, x = ("bar-down", 50.0 - width) if value < 0 else ("bar-up", 50.0)
    return (
        '<svg class="small" viewBox="0 0 100 10" width="100" height="10" aria-hidden="true">'
        f"{_line(50, 0, 50, 10, 'grid')}{_rect(x, 1, width, 8, css)}</svg>"
    )
