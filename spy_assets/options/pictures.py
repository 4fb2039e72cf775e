"""Pictures of smiles, surfaces, term structures and payoffs, as PNG, SVG or a page of its own.

What is shown is said once, as a :class:`Chart` (or a :class:`SurfaceGrid`), and drawn by either of two
libraries: Matplotlib for a small PNG or SVG (metadata of an asset, a report), Plotly for a page that can
be turned and zoomed, with its script inside and no address in it. Both are imported when they draw.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.options.black_scholes import price
from spy_assets.options.contracts import MULTIPLIER
from spy_assets.options.ssvi import FloatArray, Surface
from spy_assets.options.structures import Leg, payoff_at_expiry, risk_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Page

    from spy_assets.options.american import CashDividend
    from spy_assets.options.chain_calibration import ChainQuotes

#: Readable on white and on black; the first is the main line.
COLOURS: Final = ("#0969da", "#bc4c00", "#8250df", "#1a7f37", "#9a6700", "#6e7781")
_PUT, _CALL = "#cf222e", "#1a7f37"
_YEAR_DAYS: Final = 365.0
#: Where the axis of days has its numbers.
_DAYS_SHOWN: Final = (1, 3, 7, 30, 90, 365)


@dataclass(frozen=True, slots=True)
class Line:
    """A line; ``dash`` and ``fill`` (the area to zero, by sign) are its looks."""

    name: str
    x: FloatArray
    y: FloatArray
    colour: str
    dash: bool = False
    fill: bool = False


@dataclass(frozen=True, slots=True)
class Dots:
    """Points, with the range from ``low`` to ``high`` where it is known."""

    name: str
    x: FloatArray
    y: FloatArray
    colour: str
    low: FloatArray | None = None
    high: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture with two axes. ``marks`` are vertical lines: where, and what to write there."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    dots: tuple[Dots, ...] = ()
    marks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SurfaceDots:
    """Quotes over the surface: standard deviations from the forward, days, volatility in points."""

    name: str
    deviations: FloatArray
    days: FloatArray
    volatility: FloatArray
    colour: str


@dataclass(frozen=True, slots=True)
class SurfaceGrid:
    """Volatility in points over log-moneyness in standard deviations (columns) and days (rows)."""

    title: str
    deviations: FloatArray
    days: FloatArray
    volatility: FloatArray
    dots: tuple[SurfaceDots, ...] = ()


@dataclass(frozen=True, slots=True)
class MarketSmile:
    """Quotes of one expiry for a picture: volatilities as decimals, NaN where there is none."""

    k: npt.ArrayLike
    iv: npt.ArrayLike
    bid_iv: npt.ArrayLike | None = None
    ask_iv: npt.ArrayLike | None = None


def smile_chart(
    surface: Surface, years: float, *, title: str, market: MarketSmile | None = None
) -> Chart:
    """Fit of one expiry beside the quotes; puts below the money, calls above it."""
    atm = float(np.sqrt(surface.total_variance(0.0, years)))
    quoted = np.asarray(market.k, dtype=np.float64) if market else np.array([-3.0, 2.0]) * atm
    if quoted.size == 0:
        raise DataError(f"no quotes to show at {years!r} years", hint="leave the market out")
    low, high = float(np.min(quoted)) - 0.2 * atm, float(np.max(quoted)) + 0.2 * atm
    k = np.linspace(low, high, 241)
    fit = 100.0 * surface.iv(k, years)
    dots = () if market is None else _market_dots(market, quoted)
    return Chart(
        title,
        "log-moneyness ln(K/F)",
        "implied volatility, points",
        (Line("fit", k, fit, COLOURS[0]),),
        dots,
        ((0.0, "forward"),),
    )


def _market_dots(market: MarketSmile, k: FloatArray) -> tuple[Dots, ...]:
    def points(values: npt.ArrayLike | None, rows: npt.NDArray[np.bool_]) -> FloatArray | None:
        return None if values is None else 100.0 * np.asarray(values, dtype=np.float64)[rows]

    iv = np.asarray(market.iv, dtype=np.float64)
    found = []
    for name, side, colour in (("puts", k < 0.0, _PUT), ("calls", k >= 0.0, _CALL)):
        rows = side & np.isfinite(iv)
        low, high = points(market.bid_iv, rows), points(market.ask_iv, rows)
        found.append(Dots(name, k[rows], 100.0 * iv[rows], colour, low, high))
    return tuple(found)


def term_chart(
    surface: Surface,
    *,
    title: str,
    longest: float = 2.0,
    indices: Sequence[tuple[str, float, float]] = (),
) -> Chart:
    """Volatility at the money and of the variance swap over time, and indices that pin it.

    Parameters
    ----------
    surface, title
        What to show.
    longest
        Years.
    indices
        Name, days and points of each published index.
    """
    from spy_assets.options.replication import variance_swap

    days = np.geomspace(1.0, longest * _YEAR_DAYS, 160)
    years = days / _YEAR_DAYS
    swap = 100.0 * np.sqrt(variance_swap(surface, years) / years)
    lines = (
        Line("at the money", days, 100.0 * surface.iv(0.0, years), COLOURS[0]),
        Line("of all strikes (VIX formula)", days, swap, COLOURS[1], dash=True),
    )
    dots = tuple(
        Dots(name, np.array([day]), np.array([value]), COLOURS[2]) for name, day, value in indices
    )
    marks = tuple((day, name) for name, day, _ in indices)
    return Chart(title, "days to expiry", "volatility, points", lines, dots, marks)


def surface_grid(
    surface: Surface, *, title: str, longest: float = 2.0, quotes: ChainQuotes | None = None
) -> SurfaceGrid:
    """Volatility over three standard deviations below and two above the money, a day to ``longest``.

    With ``quotes``, those inside this window are dots: puts below the money, calls above it.
    """
    days = np.geomspace(1.0, longest * _YEAR_DAYS, 36)
    deviations = np.linspace(-3.0, 2.0, 31)
    years = days[:, None] / _YEAR_DAYS
    k = deviations * np.sqrt(surface.total_variance(0.0, years))
    points = np.asarray(100.0 * surface.iv(k, years), dtype=np.float64)
    dots = () if quotes is None else _surface_dots(surface, quotes, deviations, days)
    return SurfaceGrid(title, deviations, days, points, dots)


def _surface_dots(
    surface: Surface, quotes: ChainQuotes, deviations: FloatArray, days: FloatArray
) -> tuple[SurfaceDots, ...]:
    z = quotes.k / np.sqrt(surface.total_variance(0.0, quotes.years))
    when = quotes.years * _YEAR_DAYS
    shown = np.isfinite(quotes.iv) & (z >= deviations[0]) & (z <= deviations[-1])
    shown &= (when >= days[0]) & (when <= days[-1] * (1.0 + 1e-9))
    return tuple(
        SurfaceDots(name, z[rows], when[rows], 100.0 * quotes.iv[rows], colour)
        for name, rows, colour in (
            ("puts", shown & (z < 0.0), _PUT),
            ("calls", shown & (z >= 0.0), _CALL),
        )
    )


@dataclass(frozen=True, slots=True)
class PayoffMarket:
    """What the value before expiry needs: decimals per year; one volatility per leg; the exercise.

    ``dividends`` are in cash, seen from now: an American value is that of the spot model, a European one
    that of the escrowed spot, as in ``options/american.py``.
    """

    spot: float
    years: float
    rate: float
    dividend_yield: float
    volatilities: Sequence[float]
    american: bool = False
    dividends: Sequence[CashDividend] = ()


def payoff_chart(
    legs: Sequence[Leg], prices: Sequence[float], market: PayoffMarket, *, title: str
) -> Chart:
    """Profit of one unit over the underlying's price: now, half-way, and at expiry.

    Parameters
    ----------
    legs
        Of one expiry.
    prices
        Dollars per share paid (or received) for each leg.
    market
        Each leg keeps its volatility while the underlying moves (sticky strike).
    title
        Of the picture.

    Raises
    ------
    DataError
        If legs, prices and volatilities differ in number, or the legs in expiry.
    """
    if len(market.volatilities) != len(legs) or not legs:
        raise DataError(
            f"{len(legs)} legs but {len(market.volatilities)} volatilities",
            hint="give one volatility per leg, and at least one leg",
        )
    profile = risk_profile(legs, prices)
    spots = _payoff_spots(legs, market)
    paid = MULTIPLIER * sum(leg.quantity * paid for leg, paid in zip(legs, prices, strict=True))
    end = np.array([payoff_at_expiry(legs, float(s)) - paid for s in spots])
    lines = [Line("at expiry", spots, end, COLOURS[0], fill=True)]
    for share, name, colour in ((0.5, "half-way", COLOURS[2]), (1.0, "now", COLOURS[1])):
        value = _value(legs, spots, market, market.years * share) - paid
        lines.append(Line(name, spots, value, colour, dash=share < 1.0))
    marks = [(market.spot, f"spot {market.spot:,.2f}")]
    marks += [(point, f"breakeven {point:,.2f}") for point in profile.breakevens]
    shown = tuple(mark for mark in marks if spots[0] <= mark[0] <= spots[-1])
    return Chart(
        title, "underlying, dollars", "profit of one unit, dollars", tuple(lines), marks=shown
    )


def _payoff_spots(legs: Sequence[Leg], market: PayoffMarket) -> FloatArray:
    """Wide enough for two deviations and all strikes, with the kinks among the points."""
    strikes = [leg.contract.strike for leg in legs]
    move = 2.0 * max(market.volatilities) * np.sqrt(market.years)
    low = min(*strikes, market.spot * float(np.exp(-move)))
    high = max(*strikes, market.spot * float(np.exp(move)))
    margin = 0.08 * (high - low)
    grid = np.linspace(max(low - margin, 0.01), high + margin, 201)
    return np.unique(np.concatenate([grid, np.array(strikes, dtype=np.float64)]))


def _value(
    legs: Sequence[Leg], spots: FloatArray, market: PayoffMarket, years: float
) -> FloatArray:
    """Dollars of one unit with ``years`` left."""
    total = np.zeros_like(spots)
    value = _pricing(market, years)
    for leg, volatility in zip(legs, market.volatilities, strict=True):
        each = value(
            spots, leg.contract.strike, years, market.rate, market.dividend_yield, volatility,
            leg.contract.right,
        )  # fmt: skip
        total = total + leg.quantity * MULTIPLIER * each
    return np.asarray(total, dtype=np.float64)


def _pricing(market: PayoffMarket, years: float) -> Callable[..., FloatArray]:
    """The price of a contract with ``years`` left, which sees the dividends still to come."""
    from spy_assets.options import american

    gone = market.years - years
    coming = [each._replace(ex_years=each.ex_years - gone) for each in market.dividends]
    seen = [each for each in coming if 0.0 < each.ex_years <= years]
    if not market.american:
        worth = sum(each.cash * float(np.exp(-market.rate * each.ex_years)) for each in seen)
        # A spot below what it will pay is out of the model: there the rest is taken as nothing.
        return lambda spots, *others: price(np.maximum(spots - worth, 1e-6), *others)
    if not seen:
        return american.price
    return partial(american.price_with_dividends, dividends=seen, preset="fast")


# --- Matplotlib ---------------------------------------------------------------------------------


def draw(picture: Chart | SurfaceGrid) -> Figure:
    """Draw with Matplotlib, without its global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), dpi=90, layout="constrained")
    if isinstance(picture, SurfaceGrid):
        _draw_grid(figure, picture)
    else:
        _draw_chart(figure, picture)
    return figure


def _draw_chart(figure: Figure, chart: Chart) -> None:
    axes = figure.subplots()
    for line in chart.lines:
        style = "--" if line.dash else "-"
        axes.plot(line.x, line.y, style, color=line.colour, linewidth=1.6, label=line.name)
        if line.fill:
            axes.axhline(0.0, color="#57606a", linewidth=0.8)
            for side, colour in ((line.y >= 0.0, _CALL), (line.y <= 0.0, _PUT)):
                axes.fill_between(
                    line.x, line.y, 0.0, where=side, interpolate=True, color=colour, alpha=0.12
                )
    for dots in chart.dots:
        if dots.low is not None and dots.high is not None:
            axes.vlines(dots.x, dots.low, dots.high, color=dots.colour, alpha=0.35, linewidth=1.0)
        axes.plot(dots.x, dots.y, ".", color=dots.colour, markersize=5, label=dots.name)
    for where, text in chart.marks:
        axes.axvline(where, color="#6e7781", linewidth=0.8, linestyle=":")
        axes.annotate(
            text, (where, 1.0), xycoords=("data", "axes fraction"), rotation=90, va="top",
            ha="right", fontsize=7, color="#57606a", xytext=(-2, -2), textcoords="offset points",
        )  # fmt: skip
    _dress(axes, chart)


def _dress(axes: Any, chart: Chart) -> None:
    axes.set_title(chart.title, fontsize=10)
    axes.set_xlabel(chart.x_label, fontsize=8)
    axes.set_ylabel(chart.y_label, fontsize=8)
    if "days" in chart.x_label:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.legend(frameon=False, fontsize=8)


def _draw_grid(figure: Figure, grid: SurfaceGrid) -> None:
    axes: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    x, y = np.meshgrid(grid.deviations, np.log10(grid.days))
    axes.plot_surface(x, y, grid.volatility, cmap="viridis", linewidth=0.0)
    for dots in grid.dots:
        axes.plot(
            dots.deviations, np.log10(dots.days), dots.volatility, ".", color=dots.colour,
            markersize=1.5, label=dots.name,
        )  # fmt: skip
    ticks = [day for day in _DAYS_SHOWN if grid.days[0] <= day <= grid.days[-1] * 1.01]
    axes.set_yticks(np.log10(ticks), [str(day) for day in ticks])
    axes.set_title(grid.title, fontsize=10)
    axes.set_xlabel("standard deviations from the forward", fontsize=8)
    axes.set_ylabel("days", fontsize=8)
    axes.set_zlabel("volatility, points", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.view_init(elev=24.0, azim=-52.0)
    axes.set_box_aspect(None, zoom=0.92)


def as_png(picture: Chart | SurfaceGrid) -> bytes:
    """Return the picture as PNG, 675 x 378 pixels."""
    buffer = io.BytesIO()
    draw(picture).savefig(buffer, format="png")
    return buffer.getvalue()


def as_svg(picture: Chart | SurfaceGrid) -> str:
    """Return the picture as SVG; the same picture gives the same text."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "spy-assets"}):
        draw(picture).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


# --- Plotly -------------------------------------------------------------------------------------


def page(picture: Chart | SurfaceGrid) -> Page:
    """Draw with Plotly."""
    from plotly import graph_objects as go

    if isinstance(picture, SurfaceGrid):
        figure = go.Figure([_grid_trace(picture), *map(_surface_dots_trace, picture.dots)])
        figure.update_layout(scene=_scene(picture))
    else:
        figure = go.Figure([*map(_line_trace, picture.lines), *map(_dots_trace, picture.dots)])
        for where, text in picture.marks:
            # Upright, as marks may stand close together.
            figure.add_vline(
                where, line={"dash": "dot", "width": 1, "color": "#6e7781"}, annotation_text=text,
                annotation_textangle=-90, annotation_font_size=10,
            )  # fmt: skip
        if "days" in picture.x_label:
            figure.update_xaxes(type="log", tickvals=_DAYS_SHOWN)
        figure.update_xaxes(title={"text": picture.x_label})
        figure.update_yaxes(title={"text": picture.y_label})
    figure.update_layout(
        title={"text": picture.title, "font": {"size": 15}},
        template="plotly_white",
        height=560,
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "itemsizing": "constant"},
    )
    return figure


def _grid_trace(grid: SurfaceGrid) -> Any:
    from plotly import graph_objects as go

    return go.Surface(
        x=grid.deviations, y=grid.days, z=grid.volatility, colorscale="Viridis",
        opacity=0.85 if grid.dots else 1.0, colorbar={"title": {"text": "points"}, "len": 0.7},
        hovertemplate="%{x:.1f} sd, %{y:.0f} days: %{z:.2f}<extra></extra>",
    )  # fmt: skip


def _scene(grid: SurfaceGrid) -> dict[str, Any]:
    """Axes, and a camera that looks along the term from the puts' side."""
    ticks = [day for day in _DAYS_SHOWN if grid.days[0] <= day <= grid.days[-1] * 1.01]
    return {
        "xaxis": {"title": {"text": "standard deviations"}},
        "yaxis": {"title": {"text": "days"}, "type": "log", "tickvals": ticks},
        "zaxis": {"title": {"text": "volatility, points"}},
        "aspectratio": {"x": 1.3, "y": 1.5, "z": 0.9},
        "camera": {"eye": {"x": 1.5, "y": -1.5, "z": 0.7}, "center": {"x": 0, "y": 0, "z": -0.15}},
    }


def _surface_dots_trace(dots: SurfaceDots) -> Any:
    from plotly import graph_objects as go

    return go.Scatter3d(
        x=dots.deviations, y=dots.days, z=dots.volatility, name=dots.name, mode="markers",
        marker={"color": dots.colour, "size": 1.5},
        hovertemplate="%{x:.1f} sd, %{y:.0f} days: %{z:.2f}<extra>" + dots.name + "</extra>",
    )  # fmt: skip


def _line_trace(line: Line) -> Any:
    from plotly import graph_objects as go

    return go.Scatter(
        x=line.x, y=line.y, name=line.name, mode="lines",
        line={"color": line.colour, "dash": "dash" if line.dash else "solid"},
        fill="tozeroy" if line.fill else None, fillcolor="rgba(9,105,218,0.08)",
    )  # fmt: skip


def _dots_trace(dots: Dots) -> Any:
    from plotly import graph_objects as go

    bars = None
    if dots.low is not None and dots.high is not None:
        up, down = np.nan_to_num(dots.high - dots.y), np.nan_to_num(dots.y - dots.low)
        bars = {"type": "data", "array": up, "arrayminus": down, "thickness": 1, "width": 0}
    marker = {"color": dots.colour, "size": 4}
    return go.Scatter(
        x=dots.x, y=dots.y, name=dots.name, mode="markers", marker=marker, error_y=bars
    )


def as_json(picture: Chart | SurfaceGrid) -> str:
    """Return the Plotly figure as JSON."""
    return str(page(picture).to_json())


def as_html(picture: Chart | SurfaceGrid) -> str:
    """Return a page with the picture and the script that draws it (5 MB); showing it loads nothing."""
    return str(page(picture).to_html(include_plotlyjs=True, full_html=True, div_id="picture"))


def as_album(pictures: Sequence[Chart | SurfaceGrid], *, title: str) -> str:
    """Return a page with several pictures and one script; surfaces take the whole width.

    As with :func:`as_html`, showing it loads nothing.
    """
    parts = []
    for number, picture in enumerate(pictures):
        kind = "surface" if isinstance(picture, SurfaceGrid) else "chart"
        drawn = page(picture).to_html(
            include_plotlyjs=number == 0, full_html=False, div_id=f"picture-{number}"
        )
        parts.append(f'<section class="{kind}">{drawn}</section>')
    return _ALBUM.format(title=html.escape(title), body="\n".join(parts))


_ALBUM: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 0 auto; max-width: 1500px; padding: 16px; font-family: system-ui, sans-serif; }}
main {{ display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); }}
section {{ min-width: 0; }}
.surface {{ grid-column: 1 / -1; }}
</style>
</head>
<body>
<h1>{title}</h1>
<main>
{body}
</main>
</body>
</html>
"""
