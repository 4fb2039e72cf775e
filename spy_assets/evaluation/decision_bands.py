"""The first week's rule on the win rate, and how much a few trades say about it.

    CONTINUE   over 60 % of the trades win, with a profit      (inventory S1-45)
    REFINE     50 to 60 %, or more without a profit            (S1-46)
    MAJOR      below 50 %                                      (S1-47)

Seven wins of ten are 70 %, and Wilson's interval is 40 % to 89 %: all three bands are possible. So a
band comes with those that its interval allows, and is certain only if there is one. The win rate alone
is no measure of an option strategy, whose wins and losses differ in size: the bands inform, the gate
decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from spy_assets.evaluation.statistics import Interval, wilson_interval

Band = Literal["CONTINUE", "REFINE", "MAJOR"]

#: Win rate above which to continue, and below which to change everything.
CONTINUE_ABOVE: Final = 0.60
MAJOR_BELOW: Final = 0.50


@dataclass(frozen=True)
class DecisionBand:
    """A band, the win rate's interval, and the bands that the interval allows, worst first."""

    band: Band
    win_rate: Interval
    trades: int
    net_pnl: float
    possible: tuple[Band, ...]

    @property
    def certain(self) -> bool:
        """Whether the whole interval lies in the band."""
        return len(self.possible) == 1

    @property
    def words(self) -> str:
        """One sentence with its numbers."""
        rate = self.win_rate
        return (
            f"{self.band}: {rate.estimate:.0%} of {self.trades} trades won "
            f"[{rate.low:.0%}, {rate.high:.0%}] at {rate.level:.0%}, net ${self.net_pnl:,.2f}, "
            + ("certain" if self.certain else f"could be {' or '.join(self.possible)}")
        )


def decision_band(
    wins: int, trades: int, net_pnl: float, *, level: float = 0.95
) -> DecisionBand | None:
    """Place a record in its band; ``None`` without trades.

    Raises
    ------
    ConfigError
        If there are more wins than trades, or the level is no probability.
    """
    if trades == 0:
        return None
    rate = wilson_interval(wins, trades, level=level)
    ends = {_band(value, net_pnl) for value in (rate.low, rate.estimate, rate.high)}
    if {"MAJOR", "CONTINUE"} <= ends:
        ends.add("REFINE")
    return DecisionBand(
        band=_band(rate.estimate, net_pnl),
        win_rate=rate,
        trades=trades,
        net_pnl=net_pnl,
        possible=tuple(band for band in _WORST_FIRST if band in ends),
    )


_WORST_FIRST: Final[tuple[Band, ...]] = ("MAJOR", "REFINE", "CONTINUE")


def _band(rate: float, net_pnl: float) -> Band:
    if rate > CONTINUE_ABOVE and net_pnl > 0:
        return "CONTINUE"
    return "REFINE" if rate >= MAJOR_BELOW else "MAJOR"
