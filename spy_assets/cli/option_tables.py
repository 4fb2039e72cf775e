"""Chains and prices as traders read them: calls left, strikes in the middle, puts right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from spy_assets.cli.columns import Column, dollars, fitting_columns
from spy_assets.cli.option_units import PER_DAY, PER_POINT

if TYPE_CHECKING:
    from rich.text import Text

    from spy_assets.cli.option_chains import Expiry, View
    from spy_assets.cli.option_prices import Priced

#: Foreground and background together, so that it reads on dark and light terminals.
IN_THE_MONEY: Final = "white on grey23"
AT_THE_MONEY: Final = "bold black on yellow"
_CALL, _PUT, _STRIKE, _DIM = "bold green", "bold red", "bold", "dim"
_WARNING: Final = "bold yellow"
_ABSENT: Final = "·"
_GAP: Final = "  "
_MARK: Final = ("▸", "◂")


def _points(value: float) -> str:
    return f"{100.0 * value:.1f}"


def _count(value: float) -> str:
    return f"{round(value):,}"


def _two(value: float) -> str:
    return f"{value:.2f}"


def _daily(value: float) -> str:
    return f"{value * PER_DAY:.2f}"


def _point(value: float) -> str:
    return f"{value * PER_POINT:.2f}"


#: Of one side, from the strike outwards.
FIELDS: Final = (
    Column("ask", "ask", dollars),
    Column("bid", "bid", dollars),
    Column("iv", "IV %", _points, leaves=1),
    Column("delta", "delta", _two, leaves=2),
    Column("volume", "volume", _count, leaves=3),
    Column("open_interest", "OI", _count, leaves=4),
    Column("gamma", "gamma", lambda value: f"{value:.4f}", leaves=6),
    Column("theta", "theta", _daily, leaves=5),
    Column("vega", "vega", _point, leaves=7),
)


def chain_text(view: View, width: int) -> Text:
    """The chain of one expiry, laid out for ``width`` characters."""
    from rich.text import Text

    ladder = _Ladder(view, width)
    lines = [*_header(view, width), *ladder.lines(), Text(), *_footer(view, ladder, width)]
    return Text("\n").join(lines)


class _Ladder:
    """Rows by strike, and the columns that fit."""

    def __init__(self, view: View, width: int) -> None:
        sides: dict[float, dict[str, dict[str, Any]]] = {}
        for row in view.rows.iter_rows(named=True):
            sides.setdefault(row["strike"], {})[row["right"]] = row
        self.sides = sides
        self.view = view
        self.strikes = [f"{strike:,.10g}" for strike in sides]
        self.strike_width = max(len("strike"), *(len(text) + 4 for text in self.strikes))
        self.fields = self._fitting(width)
        self.left = [field.heading for field in FIELDS if field not in self.fields]

    def _fitting(self, width: int) -> tuple[Column, ...]:
        return fitting_columns(FIELDS, width, self._total)

    def _total(self, fields: Sequence[Column]) -> int:
        return 2 * self._side_width(fields) + self.strike_width

    def _side_width(self, fields: Sequence[Column]) -> int:
        return sum(self._width(field) + len(_GAP) for field in fields) + 1

    def _width(self, field: Column) -> int:
        rows = (row for pair in self.sides.values() for row in pair.values())
        return max(len(field.heading), *(len(_cell(field, row)) for row in rows))

    def lines(self) -> Iterable[Text]:
        """Headings, then a line per strike."""
        from rich.text import Text

        widths = {field.name: self._width(field) for field in self.fields}
        side = self._side_width(self.fields)
        yield Text.assemble(
            ("CALLS".center(side), _CALL),
            " " * self.strike_width,
            ("PUTS".center(side).rstrip(), _PUT),
        )
        headings = [f"{field.heading:>{widths[field.name]}}" for field in self.fields]
        left, right = self._sides(headings, headings)
        yield Text.assemble(
            (left, _DIM), ("strike".center(self.strike_width), _STRIKE), (right.rstrip(), _DIM)
        )
        money = self.view.expiry.forward or self.view.snapshot.spot
        for (strike, pair), text in zip(self.sides.items(), self.strikes, strict=True):
            cells = {
                right: [
                    f"{_cell(field, pair.get(right)):>{widths[field.name]}}"
                    for field in self.fields
                ]
                for right in "CP"
            }
            call, put = self._sides(cells["C"], cells["P"])
            at_money = strike == self.view.atm_strike
            mark = f"{_MARK[0]} {text} {_MARK[1]}" if at_money else text
            inside = money is not None and strike < money, money is not None and strike > money
            yield Text.assemble(
                (call, IN_THE_MONEY if inside[0] else ""),
                (mark.center(self.strike_width), AT_THE_MONEY if at_money else _STRIKE),
                (put, IN_THE_MONEY) if inside[1] else (put.rstrip(), ""),
            )

    def _sides(self, calls: Sequence[str], puts: Sequence[str]) -> tuple[str, str]:
        """Mirrored, but bid is left of ask on both sides."""
        near = _GAP.join((puts[1], puts[0]))
        call = _GAP.join([*reversed(calls[2:]), f"{calls[1]}{_GAP}{calls[0]}"])
        put = _GAP.join([near, *puts[2:]])
        return f" {call}{_GAP}", f"{_GAP}{put} "


def _cell(field: Column, row: dict[str, Any] | None) -> str:
    value = None if row is None else row[field.name]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _ABSENT
    return field.show(value)


def _header(view: View, width: int) -> list[Text]:
    from rich.text import Text

    snapshot, expiry = view.snapshot, view.expiry
    sources = sorted(set(view.rows["source"].drop_nulls().to_list()))
    kinds = set(view.rows["quote_kind"].drop_nulls().to_list())
    model = " · MODEL PRICES, no quotes" if "surface" in kinds else ""
    quoted = view.rows["quoted_at"].drop_nulls().max()
    when = f" · quoted {_local(quoted)}" if isinstance(quoted, datetime) else ""
    lines = [
        Text(
            f"{snapshot.symbol} {snapshot.session:%a %Y-%m-%d}{when} · {', '.join(sources)}{model}",
            style="bold",
        )
    ]
    spot = "unknown" if snapshot.spot is None else f"{snapshot.spot:,.2f}"
    facts = [
        f"spot {spot} ({snapshot.spot_from})",
        f"expiry {expiry.day:%a %Y-%m-%d}{_root(view, expiry)}",
        f"{expiry.days} day{'' if expiry.days == 1 else 's'}",
        f"forward {_or_unknown(expiry.forward, dollars)}",
        f"ATM IV {_or_unknown(expiry.atm_iv, lambda iv: f'{iv:.1%}')}",
        f"expected move {_move(expiry, snapshot.spot)}",
    ]
    lines += [Text(line) for line in _wrapped(facts, " · ", width)]
    if len(view.expiries) > 1:
        lines += _expiry_lines(view, width)
    return [*lines, Text()]


def _root(view: View, expiry: Expiry) -> str:
    return f" {expiry.root}" if expiry.root != view.snapshot.symbol else ""


def _or_unknown(value: float | None, show: Callable[[float], str]) -> str:
    return "unknown" if value is None else show(value)


def _move(expiry: Expiry, spot: float | None) -> str:
    if expiry.expected_move is None or spot is None:
        return "unknown"
    return f"±{expiry.expected_move:,.2f} ({expiry.expected_move / spot:.1%})"


def _local(moment: datetime) -> str:
    from spy_assets.sessions import NEW_YORK

    return f"{moment.astimezone(NEW_YORK):%H:%M} New York"


def _expiry_lines(view: View, width: int) -> list[Text]:
    """All expiries with their days, the one shown in brackets."""
    from rich.text import Text

    year = view.snapshot.session.year
    several = len({expiry.root for expiry in view.expiries}) > 1
    words = []
    for expiry in view.expiries:
        day = f"{expiry.day:%m-%d}" if expiry.day.year == year else f"{expiry.day:%Y-%m-%d}"
        name = f"{day}{f' {expiry.root}' if several else ''}"
        words.append(f"[{name}]" if expiry == view.expiry else name)
    lines = _wrapped([f"{len(words)} expiries  {words[0]}", *words[1:]], "  ", width)
    shown = f"[{words[view.expiries.index(view.expiry)].strip('[]')}]"
    texts = [Text(line, style=_DIM) for line in lines]
    for text in texts:
        text.highlight_words([shown], style="not dim bold")
    return texts


def _footer(view: View, ladder: _Ladder, width: int) -> list[Text]:
    from rich.text import Text

    shown = len(ladder.sides)
    notes = [f"{shown} of {view.strikes_listed} strikes"]
    if shown < view.strikes_listed:
        notes[0] += "; --strikes or --all shows more"
    if ladder.left:
        notes.append(f"without {', '.join(ladder.left)}: a wider terminal or --json has all")
    names = [field.name for field in ladder.fields]
    units = [
        text for name, text in (("theta", "theta a day"), ("vega", "vega a point")) if name in names
    ]
    notes += [", ".join(units)] if units else []
    adjusted = int(view.snapshot.contracts["is_adjusted"].sum())
    notes += [f"left out: {adjusted:,} adjusted"] if adjusted else []
    notes += view.snapshot.notes
    return [Text(line, style=_DIM) for note in notes for line in _folded(note, width)]


def _folded(note: str, width: int) -> list[str]:
    return _wrapped(note.split(" "), " ", width)


def _wrapped(words: Sequence[str], gap: str, width: int) -> list[str]:
    """Words joined into lines that fit; a word that does not fit stands alone."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(gap) + len(word) <= width:
            lines[-1] += gap + word
        else:
            lines.append(word)
    return lines


# --- prices -------------------------------------------------------------------------------------


def price_text(priced: Priced, width: int) -> Text:
    """Legs with their Greeks, the total, the risk, and what was assumed."""
    from rich.text import Text

    asked = priced.question
    lines = [Text(asked.title, style="bold")]
    lines += [Text(line) for line in _wrapped(_market_facts(priced), " · ", width)]
    told = [line for warning in asked.warnings for line in _folded(warning, width)]
    lines += [Text(line, style=_WARNING) for line in told]
    lines += [Text(), *_leg_lines(priced, width), Text()]
    lines += _risk_lines(priced)
    notes = ["a share; theta a day, vega and rho a point"]
    notes += [f"rate from: {asked.carry.rate_from}; yield from: {asked.carry.yield_from}"]
    notes += asked.notes
    lines += [Text(line, style=_DIM) for note in notes for line in _folded(note, width)]
    return Text("\n").join(lines)


def _market_facts(priced: Priced) -> list[str]:
    asked = priced.question
    facts = [
        f"spot {asked.spot:,.2f}",
        "expired" if asked.term.expired else f"{asked.term.years * 365.0:.4g} days",
        f"rate {asked.carry.rate:.2%}",
        f"yield {asked.carry.dividend_yield:.2%}",
        *(f"dividend {each.cash:,.10g} ex {each.ex_date}" for each in asked.dividends),
        "American" if asked.american else "European",
        f"at {asked.at:%Y-%m-%d %H:%M}Z",
    ]
    if priced.iv_status is not None:
        (volatility,) = priced.volatilities
        value = "none" if volatility is None else f"{volatility:.2%}"
        facts.append(f"implied volatility {value} ({priced.iv_status.replace('_', ' ')})")
    return facts


#: The last Greeks leave first.
_LEGS: Final = (
    Column("quantity", "", side="right"),
    Column("contract", "contract"),
    Column("iv", "IV %", side="right"),
    Column("price", "price", "{:,.4f}".format, "right"),
    Column("delta", "delta", "{:,.4f}".format, "right", leaves=1),
    Column("gamma", "gamma", "{:,.5f}".format, "right", leaves=2),
    Column("theta_per_day", "theta", "{:,.4f}".format, "right", leaves=3),
    Column("vega_per_vol_point", "vega", "{:,.4f}".format, "right", leaves=4),
    Column("rho_per_rate_point", "rho", "{:,.4f}".format, "right", leaves=5),
)


def _leg_lines(priced: Priced, width: int) -> list[Text]:
    from rich.text import Text

    headings = [column.heading for column in _LEGS]
    body = []
    legs = zip(priced.question.legs, priced.volatilities, priced.values, strict=True)
    for leg, volatility, value in legs:
        iv = _ABSENT if volatility is None else f"{100.0 * volatility:.2f}"
        body.append([f"{leg.quantity:+d}", leg.contract.display, iv, *_numbers(value)])
    if len(body) > 1:
        body.append(["", "total", "", *_numbers(priced.total)])
    widths = {
        column.name: max(map(len, cells))
        for column, *cells in zip(_LEGS, headings, *body, strict=True)
    }

    def taken(some: Sequence[Column]) -> int:
        return sum(widths[column.name] + len(_GAP) for column in some)

    shown = fitting_columns(_LEGS, width + len(_GAP), taken)

    def line(row: Sequence[str]) -> str:
        sides = {"left": "<", "right": ">"}
        cells = [
            f"{text:{sides[column.side]}{widths[column.name]}}"
            for column, text in zip(_LEGS, row, strict=True)
            if column in shown
        ]
        return _GAP.join(cells).rstrip()

    styles = [
        "bold" if row[1] == "total" else ("green" if row[0].startswith("+") else "red")
        for row in body
    ]
    return [
        Text(line(headings), style=_DIM),
        *(Text(line(row), style=style) for row, style in zip(body, styles, strict=True)),
    ]


def _numbers(value: Any) -> list[str]:
    found = value._asdict()
    return [
        _ABSENT if found[column.name] is None else column.show(found[column.name])
        for column in _LEGS
        if column.name in found
    ]


def _risk_lines(priced: Priced) -> list[Text]:
    from rich.text import Text

    risk, total = priced.risk, priced.total.price
    if risk is None or total is None:
        return []
    from spy_assets.options.contracts import MULTIPLIER

    cost = total * MULTIPLIER
    rows = [
        ("costs" if cost >= 0.0 else "brings in", f"{abs(cost):,.2f} dollars a unit"),
        ("most to make", _bound(risk.max_profit)),
        ("most to lose", _bound(risk.max_loss)),
        ("breakeven", ", ".join(f"{point:,.2f}" for point in risk.breakevens) or "none"),
    ]
    return [*(Text(f"{name:<13}{text}") for name, text in rows), Text()]


def _bound(value: float) -> str:
    return "no bound" if math.isinf(value) else f"{value:,.2f}"
