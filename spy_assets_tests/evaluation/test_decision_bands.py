from __future__ import annotations

import pytest

from spy_assets.errors import ConfigError
from spy_assets.evaluation.decision_bands import decision_band


@pytest.mark.parametrize(
    ("wins", "losses", "pnl", "band"),
    [
        (7, 3, 1.0, "CONTINUE"),
        (7, 3, -1.0, "REFINE"),
        (6, 4, 1.0, "REFINE"),
        (5, 5, 0.0, "REFINE"),
        (4, 6, 1.0, "MAJOR"),
    ],
)
def test_the_bands_are_the_first_weeks(wins: int, losses: int, pnl: float, band: str) -> None:
    found = decision_band(wins, wins + losses, pnl)
    assert found is not None
    assert found.band == band


def test_ten_trades_leave_every_band_possible() -> None:
    """Newcombe's interval of 7 in 10 is 39.7 % to 89.2 %."""
    found = decision_band(7, 10, 50.0)
    assert found is not None
    assert found.possible == ("MAJOR", "REFINE", "CONTINUE")
    assert found.words == (
        "CONTINUE: 70% of 10 trades won [40%, 89%] at 95%, net $50.00, "
        "could be MAJOR or REFINE or CONTINUE"
    )


@pytest.mark.parametrize(("wins", "band"), [(280, "CONTINUE"), (220, "REFINE"), (160, "MAJOR")])
def test_four_hundred_trades_are_certain(wins: int, band: str) -> None:
    found = decision_band(wins, 400, 50.0)
    assert found is not None
    assert (found.band, found.possible, found.certain) == (band, (band,), True)


def test_without_a_profit_no_win_rate_is_enough() -> None:
    found = decision_band(399, 400, -1.0)
    assert found is not None
    assert found.possible == ("REFINE",)


def test_no_trades_have_no_band_and_impossible_ones_are_refused() -> None:
    assert decision_band(0, 0, 0.0) is None
    with pytest.raises(ConfigError, match="3 successes of 2"):
        decision_band(3, 2, 0.0)
