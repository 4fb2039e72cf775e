"""Pictures: what they show, and that they can be opened without a network."""

from __future__ import annotations

import json
import struct
from datetime import date
from xml.etree import ElementTree

import numpy as np
import pytest

from spy_assets.errors import DataError
from spy_assets.options import american, black_scholes
from spy_assets.options.calibration import calibrate_to_indices
from spy_assets.options.chain_calibration import ChainQuotes
from spy_assets.options.pictures import (
    MarketSmile,
    PayoffMarket,
    as_album,
    as_html,
    as_json,
    as_png,
    as_svg,
    payoff_chart,
    smile_chart,
    surface_grid,
    term_chart,
)
from spy_assets.options.structures import legs_for

FIT = calibrate_to_indices({"VIX": 18.0, "VIX9D": 15.0, "VIX3M": 20.0})
YEARS = 30 / 365
MARKET = PayoffMarket(740.0, YEARS, 0.04, 0.01, [0.19, 0.17, 0.13, 0.12])
CONDOR = legs_for("iron_condor", 740.0, date(2026, 8, 21), width=15)
PAID = [4.1, 6.2, 5.0, 2.6]


def market(count=21):
    k = np.linspace(-0.15, 0.08, count)
    iv = FIT.surface.iv(k, YEARS)
    return MarketSmile(k, iv, iv - 0.003, iv + 0.003)


PICTURES = {
    "smile": smile_chart(FIT.surface, YEARS, title="Smile", market=market()),
    "term": term_chart(
        FIT.surface, title="Term", indices=[(p.name, p.days, p.published) for p in FIT.pins]
    ),
    "payoff": payoff_chart(CONDOR, PAID, MARKET, title="Iron condor"),
    "surface": surface_grid(FIT.surface, title="Surface"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_png_is_small_and_has_its_size(name):
    png = as_png(PICTURES[name])
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (675, 378)
    assert len(png) < 120_000


@pytest.mark.parametrize("name", PICTURES)
def test_svg_is_xml_and_the_same_each_time(name):
    svg = as_svg(PICTURES[name])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == as_svg(PICTURES[name])


@pytest.mark.parametrize("name", PICTURES)
def test_json_is_what_plotly_draws(name):
    figure = json.loads(as_json(PICTURES[name]))
    assert figure["layout"]["title"]["text"] == PICTURES[name].title
    assert figure["data"]


def test_the_page_brings_its_script():
    html = as_html(PICTURES["payoff"])
    assert "<script src=" not in html
    assert "Plotly.newPlot" in html
    assert html == as_html(PICTURES["payoff"])


def test_an_album_has_all_its_pictures_and_one_script():
    album = as_album(list(PICTURES.values()), title="SPY <1>")
    assert album.count("Plotly.newPlot(") == len(PICTURES)
    assert album.count("<!doctype html>") == 1
    assert album.count("plotly.js v") == as_html(PICTURES["smile"]).count("plotly.js v")
    assert "<title>SPY &lt;1&gt;</title>" in album
    assert "<script src=" not in album


def test_quotes_lie_on_the_surface_they_were_made_of():
    k = np.array([-0.5, -0.02, 0.02, 0.05])
    years = np.full(4, YEARS)
    iv = FIT.surface.iv(k, YEARS)
    quotes = ChainQuotes(k, years, np.where(k == 0.05, np.nan, iv))
    puts, calls = surface_grid(FIT.surface, title="", quotes=quotes).dots
    deviation = float(np.sqrt(FIT.surface.smile(YEARS).theta))
    assert puts.deviations == pytest.approx([-0.02 / deviation])  # -0.5 is beyond the window
    assert calls.volatility == pytest.approx([100.0 * iv[2]])
    assert (puts.days, calls.days) == (pytest.approx([30.0]), pytest.approx([30.0]))


def test_the_smile_goes_through_quotes_made_of_it():
    chart = PICTURES["smile"]
    line, (puts, calls) = chart.lines[0], chart.dots
    assert np.interp(puts.x, line.x, line.y) == pytest.approx(puts.y, abs=0.02)
    assert puts.x.max() < 0.0 <= calls.x.min()
    assert np.all(calls.low < calls.y)


def test_quotes_without_a_volatility_are_not_shown():
    quotes = market()
    iv = np.where(np.arange(21) == 3, np.nan, quotes.iv)
    chart = smile_chart(FIT.surface, YEARS, title="", market=MarketSmile(quotes.k, iv))
    assert sum(dots.x.size for dots in chart.dots) == 20
    assert as_png(chart)


def test_a_smile_needs_no_market_but_not_an_empty_one():
    assert smile_chart(FIT.surface, YEARS, title="").dots == ()
    with pytest.raises(DataError, match="no quotes"):
        smile_chart(FIT.surface, YEARS, title="", market=MarketSmile([], []))


def test_indices_lie_on_the_line_of_all_strikes():
    chart = PICTURES["term"]
    swap = chart.lines[1]
    for dots in chart.dots:
        assert np.interp(dots.x, swap.x, swap.y) == pytest.approx(dots.y, abs=0.02)


def test_the_surface_is_the_surfaces_volatility():
    grid = PICTURES["surface"]
    theta = FIT.surface.smile(grid.days[7] / 365).theta
    wanted = 100 * FIT.surface.iv(grid.deviations[5] * np.sqrt(theta), grid.days[7] / 365)
    assert grid.volatility[7, 5] == pytest.approx(float(wanted))


def test_a_condors_payoff_at_expiry():
    chart = PICTURES["payoff"]
    end = chart.lines[0]
    assert end.name == "at expiry"
    assert end.y.max() == pytest.approx(450.0)
    assert end.y.min() == pytest.approx(-1050.0)
    assert [text for _, text in chart.marks] == [
        "spot 740.00",
        "breakeven 720.50",
        "breakeven 759.50",
    ]


def test_before_expiry_the_payoff_is_smooth_and_nearer_to_its_cost():
    end, half, now = PICTURES["payoff"].lines
    assert now.y.max() < half.y.max() < end.y.max()


def drawn(chart, name):
    """Spots and profits of a payoff's line."""
    (line,) = (one for one in chart.lines if one.name == name)
    return line.x, line.y


def spread_with_dividend(ex_years, *, american_style):
    """A put spread of three months over one dividend, its prices, market and picture."""
    legs = legs_for("bear_put_debit", 740.0, date(2026, 10, 30), width=20)
    dividends = [american.CashDividend(ex_years, 6.0)]
    market = PayoffMarket(740.0, 0.25, 0.04, 0.0, [0.2, 0.22], american_style, dividends)
    rest = float(american.escrowed_spot(740.0, 0.25, 0.04, dividends))
    prices = [
        float(american.price_with_dividends(740.0, *each, dividends))
        if american_style
        else float(black_scholes.price(rest, *each))
        for each in (
            (leg.contract.strike, 0.25, 0.04, 0.0, vol, "P")
            for leg, vol in zip(legs, market.volatilities, strict=True)
        )
    ]
    return legs, prices, market, payoff_chart(legs, prices, market, title="spread")


@pytest.mark.parametrize("american_style", [True, False])
def test_a_payoff_with_cash_dividends_is_even_at_the_spot_now(american_style):
    *_, chart = spread_with_dividend(0.2, american_style=american_style)
    spots, profit = drawn(chart, "now")
    assert np.interp(740.0, spots, profit) == pytest.approx(0.0, abs=0.6)  # of 700 dollars
    assert np.diff(profit).max() <= 0.0  # a bear spread gains as the spot falls


@pytest.mark.parametrize(("ex_years", "seen"), [(0.1, False), (0.2, True)])
def test_half_way_only_the_dividends_to_come_are_seen(ex_years, seen):
    legs, prices, market, chart = spread_with_dividend(ex_years, american_style=False)
    spots, profit = drawn(chart, "half-way")
    fall = 6.0 * np.exp(-0.04 * (ex_years - 0.125)) if seen else 0.0
    value = sum(
        leg.quantity
        * black_scholes.price(spots - fall, leg.contract.strike, 0.125, 0.04, 0, vol, "P")
        for leg, vol in zip(legs, market.volatilities, strict=True)
    )
    paid = prices[0] * legs[0].quantity + prices[1] * legs[1].quantity
    np.testing.assert_allclose(profit, 100.0 * (value - paid), atol=1e-8)


@pytest.mark.parametrize(("legs", "volatilities"), [(CONDOR, [0.2]), ((), [])])
def test_a_payoff_needs_a_volatility_per_leg(legs, volatilities):
    with pytest.raises(DataError, match="volatilities"):
        payoff_chart(legs, [1.0] * len(legs), PayoffMarket(740, 0.1, 0, 0, volatilities), title="")
