"""The checks find each kind of arbitrage, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from spy_assets.options.ssvi import EssviSurface, Layer, Smile, SsviShape, SsviSurface, ThetaTerm
from spy_assets.options.surface_checks import check_surface

TERM = ThetaTerm((0.1,), (0.004,), 0.04)
YEARS = [0.01, 0.1, 0.5]


class Fixed:
    """A surface of given smiles, in order of expiry; a second layer of a tenth is a lower one."""

    def __init__(self, *rows, below=()):
        self.rows, self.below = rows, below

    def layers(self, years):
        first, second = (
            Smile(*map(np.array, zip(*rows, strict=True)))
            for rows in (self.rows, self.below or self.rows)
        )
        return (Layer(0.9, first), Layer(0.1, second))


def test_a_clean_surface_passes_every_comparison():
    report = check_surface(SsviSurface(SsviShape.projected(-0.6, 1.1), TERM), YEARS)
    assert report.violations == 0
    assert report.worst == 0.0
    assert report.checked > 3 * 241 * 4


def test_too_bent_a_smile_gives_butterflies_away():
    report = check_surface(SsviSurface(SsviShape(-0.6, 6.0), TERM), YEARS)
    assert report.density > 0
    assert report.butterfly > 0
    assert report.calendar == report.bounds == 0


def test_too_steep_a_wing_gives_verticals_away():
    """A lower wing of slope above 2 in total variance: puts that fall as the strike rises."""
    report = check_surface(Fixed((0.5, -0.9, 6.0)), [1.0])
    assert report.vertical > 0


def test_falling_theta_gives_calendars_away():
    report = check_surface(Fixed((0.02, -0.5, 0.05), (0.01, -0.5, 0.05)), [0.1, 0.2])
    assert report.calendar > 0
    assert report.butterfly == report.density == 0
    assert report.worst == pytest.approx(np.sqrt(0.01 / 2 / np.pi) * 0.414, rel=0.05)


def test_the_layers_prices_are_checked_together():
    """A small layer that falls is outweighed by one that rises, unless it is all there is."""
    rising = ((0.02, -0.5, 0.05), (0.03, -0.5, 0.06))
    falling = ((0.021, -0.5, 0.05), (0.02, -0.5, 0.05))
    assert check_surface(Fixed(*rising, below=falling), [0.1, 0.2]).violations == 0
    assert check_surface(Fixed(*falling, below=rising), [0.1, 0.2]).calendar > 0


def test_crossing_wings_give_calendars_away_far_from_the_money():
    surface = EssviSurface((0.1, 0.2), (0.002, 0.004), (-0.6, -0.2), (0.05, 0.06), 0.02)
    at_money = check_surface(surface, [0.1, 0.2], np.linspace(-0.01, 0.01, 21))
    everywhere = check_surface(surface, [0.1, 0.2])
    assert at_money.violations == 0
    assert everywhere.calendar > 0


def test_a_given_strike_grid_is_used():
    report = check_surface(
        SsviSurface(SsviShape.projected(-0.6, 1.1), TERM), [0.1], [-0.1, 0.0, 0.1]
    )
    assert report.checked == 3 + 4 + 1 + 3
