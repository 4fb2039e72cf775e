"""How a signal reads: plain text, rich text with colour, Markdown for the asset's metadata.

All three come from one list of lines, so they cannot disagree. The layout is the seed's (S0-40 to
S0-45); what it printed as constants is computed here from the signal's quoted legs.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spy_assets.evaluation.statistics import Interval
from spy_assets.options.contracts import MULTIPLIER
from spy_assets.options.structures import STRUCTURES
from spy_assets.signals.contract import MarketView, Signal, SignalLeg
from spy_assets.signals.setup import AND
from spy_assets.signals.statistics import Results, SignalStatistics

if TYPE_CHECKING:
    from rich.text import Text

BAR_WIDTH: Final = 20
DISCLAIMER: Final = "Research output, not investment advice. Paper only: no order was sent."
GLYPHS: Final = {
    "BUY_CALL": "[+]",
    "BUY_PUT": "[-]",
    "BULL_SPREAD": "[^]",
    "BEAR_SPREAD": "[v]",
    "IRON_CONDOR": "[=]",
    "HOLD": "[.]",
    "CLOSE": "[X]",
}
TITLES: Final = {
    "long_call": "LONG CALL",
    "long_put": "LONG PUT",
    "bull_call_debit": "BULL CALL SPREAD",
    "bear_put_debit": "BEAR PUT SPREAD",
    "iron_condor": "IRON CONDOR",
}
_COLOURS: Final = {
    "BUY_CALL": "green",
    "BULL_SPREAD": "green",
    "BUY_PUT": "red",
    "BEAR_SPREAD": "red",
    "IRON_CONDOR": "cyan",
    "HOLD": "yellow",
    "CLOSE": "magenta",
}
#: Of actions with other names: by the structure's view of the market.
_VIEWS: Final = {
    "bullish": ("[^]", "green"),
    "bearish": ("[v]", "red"),
    "neutral": ("[=]", "cyan"),
    "long_volatility": ("[~]", "magenta"),
}
#: Most actions whose probability is drawn.
_MOST_BARS: Final = len(GLYPHS)
_MISSING: Final = "n/a"
#: Characters of a line where no terminal says how many it shows; longer lines are broken.
LINE_WIDTH: Final = 88
#: No line is broken to less, however narrow the terminal.
_LEAST_WIDTH: Final = 40


@dataclass(frozen=True)
class _Line:
    text: str
    style: str = ""


def render_plain(signal: Signal, *, width: int = LINE_WIDTH) -> str:
    """Render the signal as text without colour; ends with a newline."""
    return "\n".join(line.text for line in _broken(_lines(signal), width)) + "\n"


def render_rich(signal: Signal, *, width: int = LINE_WIDTH) -> Text:
    """Render the signal for a `rich` console; the characters are those of :func:`render_plain`."""
    from rich.text import Text

    text = Text()
    for line in _broken(_lines(signal), width):
        text.append(line.text + "\n", style=line.style)
    return text


def render_markdown(signal: Signal) -> str:
    """Render the signal for Dagster's metadata: the text, then the legs and rules as tables."""
    parts = ["```text", render_plain(signal).rstrip("\n"), "```"]
    if signal.legs:
        parts += [
            "",
            "| leg | side | ratio | bid | ask | mid | quote |",
            "|---|---|--:|--:|--:|--:|---|",
        ]
        parts += [
            f"| `{leg.occ}` | {leg.side} | {leg.ratio} | {leg.bid:.2f} | {leg.ask:.2f} "
            f"| {leg.mid:.3f} | {leg.quote_kind} |"
            for leg in signal.legs
        ]
    if signal.risk.rules:
        parts += ["", "| rule | passed | detail |", "|---|---|---|"]
        parts += [
            f"| {rule.rule} | {'yes' if rule.passed else '**no**'} | {_cell(rule.detail)} |"
            for rule in signal.risk.rules
        ]
    return "\n".join(parts) + "\n"


def render_statistics(statistics: SignalStatistics) -> str:
    """Render one window of signal statistics as plain text; ends with a newline."""
    rows = (
        ("total / executed", f"{statistics.total} / {statistics.executed}"),
        ("average confidence", _percent(statistics.average_confidence)),
        *(row for results in statistics.results for row in _results(results)),
        *(() if statistics.results else (("settled", "none"),)),
        ("by action", _counts(statistics.by_action)),
        ("held because", _counts(statistics.hold_reasons)),
        ("rules, entries passed", _pass_rates(statistics)),
    )
    lines = [f"SIGNALS, {statistics.window}"]
    for name, value in rows:
        label = f"  {name:<21}: "
        lines += textwrap.wrap(
            value, LINE_WIDTH, initial_indent=label, subsequent_indent=" " * len(label)
        ) or [label]
    return "\n".join(lines) + "\n"


def _results(results: Results) -> tuple[tuple[str, str], ...]:
    """What trades earned at one kind of quotes, under its name."""
    return (
        ("filled at", f"{results.quotes} quotes"),
        ("settled / profitable", f"{results.settled} / {results.profitable}"),
        ("hit rate", _interval(results.hit_rate)),
        ("P&L total / average", f"{_signed(results.total_pnl)} / {_signed(results.average_pnl)}"),
        (
            "Brier / calibration",
            f"{_number(results.brier, 3)} / {_number(results.calibration_error, 3)}",
        ),
    )


def net_premium(legs: Sequence[SignalLeg]) -> float:
    """Give what the legs cost at their quotes, dollars a share: asks paid less bids received."""
    signed = (leg.ratio * (leg.ask if leg.side == "buy" else -leg.bid) for leg in legs)
    return math.fsum(signed)


def bar(probability: float) -> str:
    """Draw a probability as a bar of 20 characters, rounded half up.

    >>> bar(0.704)
    '##############......'
    """
    filled = min(BAR_WIDTH, max(0, math.floor(probability * BAR_WIDTH + 0.5)))
    return "#" * filled + "." * (BAR_WIDTH - filled)


def _broken(lines: Iterable[_Line], width: int) -> Iterator[_Line]:
    """Break lines that no terminal or dialog shows whole; a continuation stands under its text."""
    for line in lines:
        start = len(line.text) - len(line.text.lstrip(" -"))
        parts = textwrap.wrap(
            line.text,
            max(width, _LEAST_WIDTH),
            subsequent_indent=" " * max(start, 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from (_Line(part, line.style) for part in parts or [""])


def _lines(signal: Signal) -> Iterator[_Line]:
    yield _Line(f">>> {signal.display_name} OPTIONS SIGNAL <<<", "bold")
    yield _Line(signal.as_of.isoformat(), "dim")
    yield _Line(f"session {signal.session}, source {signal.source}", "dim")
    for notice in signal.notices:
        yield _Line(f"! {notice}", "yellow")
    yield _Line("")
    yield from _market(signal)
    yield _Line("")
    yield from _recommendation(signal)
    yield from _setup(signal)
    yield from _findings(signal)
    yield _Line("")
    yield _Line(f"Signal id {signal.signal_id}", "bold")
    yield _Line(
        f"model {signal.model} {signal.model_version}, {signal.observation_contract}", "dim"
    )
    yield _Line(DISCLAIMER, "dim")


def _market(signal: Signal) -> Iterator[_Line]:
    view: MarketView = signal.market
    yield _Line("MARKET DATA", "bold")
    yield _Line(f"  {signal.display_name:<10}: {_dollars(view.spot)}")
    yield _Line(f"  {'IV (VIX)':<10}: {_percent(view.iv)}   rank {_number(view.iv_rank, 1)}")
    yield _Line(f"  {'RSI':<10}: {_number(view.rsi14, 1)}   MACD {_number(view.macd_hist, 3)}")
    yield _Line(
        f"  {'Put/call':<10}: {_number(view.put_call)} (volume proxy)   "
        f"volume surge {_number(view.volume_surge)}"
    )
    yield _Line(f"  {'Regime':<10}: {signal.regime or _MISSING}")


def _recommendation(signal: Signal) -> Iterator[_Line]:
    yield _Line("AI RECOMMENDATION", "bold")
    glyph, colour = _look(signal)
    headline = f"  {glyph} {signal.action_name}"
    blocked = signal.asked_for_entry and not signal.is_entry
    if blocked:
        headline += f"  (model asked for {signal.requested_action}, {_percent(signal.confidence)})"
    elif signal.confidence is not None:
        headline += f"  {_percent(signal.confidence)} confidence"
    yield _Line(headline, f"bold {colour}".strip())
    yield from _bars(signal.probabilities)


def _look(signal: Signal) -> tuple[str, str]:
    """Glyph and colour of what a signal tells to do."""
    if signal.action_name in GLYPHS:
        return GLYPHS[signal.action_name], _COLOURS[signal.action_name]
    structure = STRUCTURES.get(signal.structure)
    return ("[?]", "") if structure is None else _VIEWS.get(structure.direction, ("[?]", ""))


def _bars(probabilities: Mapping[str, float]) -> Iterator[_Line]:
    """A bar for each of the daily actions; of a wider map for the most probable ones."""
    if set(probabilities) <= set(GLYPHS):
        shown = sorted(probabilities, key=list(GLYPHS).index)
    else:
        shown = sorted(probabilities, key=lambda name: (-probabilities[name], name))[:_MOST_BARS]
    width = max([12, *map(len, shown)])
    for name in shown:
        yield _Line(f"  {name:<{width}} {bar(probabilities[name])} {probabilities[name]:6.1%}")
    others = len(probabilities) - len(shown)
    if others:
        rest = max(0.0, 1.0 - math.fsum(probabilities[name] for name in shown))
        yield _Line(f"  {f'{others} others':<{width}} {bar(rest)} {rest:6.1%}")


def _setup(signal: Signal) -> Iterator[_Line]:
    if not signal.legs:
        return
    yield _Line("")
    yield _Line("TRADE SETUP", "bold")
    yield _Line(f"  {'Contract':<10}: {signal.display_symbol}", "bold")
    yield _Line(f"  {'Type':<10}: {_title(signal.structure)}")
    kinds = "/".join(sorted({leg.quote_kind for leg in signal.legs}))
    label = "Entry" if signal.is_entry else "Close at"
    several = signal.display_symbol.count(AND) + 1
    net = net_premium(signal.legs)
    price = _premium(net) if several == 1 else _in_all(net)
    yield _Line(f"  {label:<10}: {price} ({kinds} quotes at the close)")
    if signal.stop is not None:
        yield _Line(f"  {'Stop':<10}: {_premium(signal.stop)}")
    if signal.target is not None:
        yield _Line(f"  {'Target':<10}: {_premium(signal.target)}")
    yield from _levels(signal)
    if signal.is_entry:
        best = "UNLIMITED" if signal.max_profit_unlimited else _dollars(signal.max_profit)
        worst = "UNLIMITED" if signal.max_loss is None else _dollars(signal.max_loss)
        yield _Line(f"  MAX PROFIT {best} / MAX LOSS {worst}", "bold")
        breakevens = ", ".join(f"{level:.2f}" for level in signal.breakevens)
        yield _Line(f"  {'Breakeven':<10}: {breakevens or _MISSING}")
    if several == 1:
        yield _Line(f"  {'Size':<10}: {signal.size} unit(s) of {len(signal.legs)} leg(s)")
    else:
        contracts = sum(leg.ratio for leg in signal.legs)
        yield _Line(f"  {'Size':<10}: all {several} positions, {contracts} contracts")


def _title(structure: str) -> str:
    known = STRUCTURES.get(structure)
    return TITLES.get(structure) or (structure if known is None else known.title).upper()


def _levels(signal: Signal) -> Iterator[_Line]:
    levels = signal.spot_levels
    if levels.target is not None or levels.stop is not None:
        yield _Line(
            f"  {'Underlying':<10}: target {_dollars(levels.target)}, stop {_dollars(levels.stop)}"
        )
    if levels.lower_stop is not None or levels.upper_stop is not None:
        yield _Line(
            f"  {'Underlying':<10}: stops {_dollars(levels.lower_stop)} and "
            f"{_dollars(levels.upper_stop)}"
        )


def _findings(signal: Signal) -> Iterator[_Line]:
    if signal.reasons:
        yield _Line("")
        yield _Line("REASONS", "bold")
        yield from (_Line(f"  - {reason}") for reason in signal.reasons)
    if signal.risk.blocked_by:
        yield _Line(f"  risk rules that did not pass: {', '.join(signal.risk.blocked_by)}", "red")
    if signal.quality_flags:
        yield _Line(f"DATA QUALITY: {', '.join(signal.quality_flags)}", "yellow")


def _premium(value: float | None) -> str:
    if value is None:
        return _MISSING
    return f"${abs(value):.2f} {'debit' if value >= 0 else 'credit'} a share"


def _in_all(value: float) -> str:
    """What several positions are closed at, from dollars a share of all their contracts."""
    return f"{_dollars(abs(value) * MULTIPLIER)} {'debit' if value >= 0 else 'credit'} in all"


def _dollars(value: float | None) -> str:
    return _MISSING if value is None else f"${value:,.2f}"


def _interval(interval: Interval) -> str:
    bounds = f"{_percent(interval.low)} to {_percent(interval.high)}"
    return f"{_percent(interval.estimate)} ({bounds} at {interval.level:.0%})"


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else ''}${abs(value):,.2f}"


def _percent(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.1%}"


def _number(value: float | None, digits: int = 2) -> str:
    return _MISSING if value is None else f"{value:.{digits}f}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _pass_rates(statistics: SignalStatistics) -> str:
    asked = [rate for rate in statistics.pass_rates if rate.asked]
    return ", ".join(f"{rate.rule} {rate.passed}/{rate.asked}" for rate in asked) or "none asked"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
