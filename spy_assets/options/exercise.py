r"""The early-exercise premium of whole chains: a table per expiry, not a solution per contract.

**Model.** The forward to an option's own expiry is lognormal, so that European prices are those of
Black-Scholes-Merton at that forward, and the spot before it is that forward carried back:

.. math:: S_t = F_t \, e^{-\mu (T - t)} \prod_{t < t_i \le T} \frac{1}{1 - \delta_i}

with :math:`\delta_i` the share of the spot that goes ex at :math:`t_i` (the dividend over the spot
expected then) and :math:`\mu` the drift that is left, so that :math:`S_0` is the spot. Without known
dividends :math:`\mu = r - q`, the continuous yield of :mod:`spy_assets.options.american`; with them a
call is exercised just before an ex-date, where the dividend exceeds what is left of its time value and
the interest on the strike, and a put just after one. A fall in proportion to the spot instead of in
dollars is the same at today's spot, near which exercise is decided, and makes contracts of one expiry
and volatility differ only by :math:`\ln(F/K)`.

**Tables.** So one finite-difference solution per expiry and volatility node (``_exercise_kernel``), put
and call at once, gives the premiums of all its strikes: some hundred solutions of 0.1 ms for a chain of
14,000 contracts. Premium, delta, gamma and vega are read off cubics.

**Accuracy**, of a spot of 688 and within three standard deviations of the money, against the boundary
solver's ``"reference"``: premium 0.005 to three weeks, 0.04 to half a year, 0.2 at two years (most of it
far in the money); delta 0.002, 0.004 and 0.01, 95 % within 0.0005. Against cash dividends in the spot
model 0.05 at seven weeks, most of it because a volatility belongs to the whole spot there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options._exercise_kernel import Levels, Tables, fill_all, read_all

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Nodes of ln(F/K) on each side of the money, and how many standard deviations they reach.
SIDE_NODES = 60
REACH = 5.0
#: Time steps of the whole life, and the least between two ex-dates.
STEPS = 24
LEAST_STEPS = 4
#: Ratio of neighbouring volatility nodes, at most.
NODE_RATIO = 1.3
_LEAST_NODES = 4


class Term(NamedTuple):
    """What an expiry's early exercise depends on, beside strike, right and volatility."""

    years: float
    rate: float
    forward: float
    ex_years: tuple[float, ...] = ()
    """From now to each known ex-date's open, ascending, within the life."""
    cash: tuple[float, ...] = ()
    """What goes ex then, in dollars a share."""


class Slopes(NamedTuple):
    """The premium in dollars a share, and its slopes in spot (twice) and volatility."""

    premium: FloatArray
    delta: FloatArray
    gamma: FloatArray
    vega: FloatArray


def fallen_shares(spot: float, term: Term) -> FloatArray:
    """The shares of the spot that go ex."""
    left, shares = spot, []
    for when, cash in zip(term.ex_years, term.cash, strict=True):
        share = min(cash * np.exp(-term.rate * when) / left, 0.5)
        shares.append(share)
        left *= 1.0 - share
    return np.array(shares, dtype=np.float64)


def drift_of(spot: float, term: Term) -> float:
    """The spot's drift between ex-dates that leads it to the forward."""
    kept = float(np.log1p(-fallen_shares(spot, term)).sum())
    return float((np.log(term.forward / spot) - kept) / term.years)


def _moments(spot: float, term: Term) -> tuple[FloatArray, FloatArray]:
    """Years to expiry, ascending, and spot over forward; an ex-date has two: after it, and before."""
    drift = drift_of(spot, term)
    tau, ratio = [np.zeros(1)], [np.ones(1)]
    begun, kept = 0.0, 1.0
    falls = [*zip(term.ex_years, fallen_shares(spot, term), strict=True)][::-1]
    for when, share in [*falls, (0.0, None)]:
        until = term.years - when
        steps = max(LEAST_STEPS, int(np.ceil(STEPS * np.sqrt((until - begun) / term.years))))
        passed = begun + (until - begun) * (np.arange(1, steps + 1) / steps) ** 2
        tau.append(passed)
        ratio.append(np.exp(-drift * passed) / kept)
        if share is not None:
            kept *= 1.0 - share
            tau.append(np.array([until]))
            ratio.append(np.exp(-drift * np.array([until])) / kept)
        begun = until
    return np.concatenate(tau), np.concatenate(ratio)


def _nodes(volatilities: FloatArray) -> FloatArray:
    low, high = float(volatilities.min()), float(volatilities.max())
    low, high = low / 1.02, high * 1.02
    count = max(_LEAST_NODES, 1 + int(np.ceil(np.log(high / low) / np.log(NODE_RATIO))))
    return np.geomspace(low, high, count)


class ExerciseTables:
    """Premiums of the branches (term, right) of a chain.

    Parameters
    ----------
    spot
        The underlying's price.
    terms
        The expiries; years and forward positive.
    volatilities
        Of each term, those for which premiums will be asked: positive, at least one.
    """

    def __init__(
        self, spot: float, terms: Sequence[Term], volatilities: Sequence[FloatArray]
    ) -> None:
        self.spot = spot
        self.terms = terms
        moments = [_moments(spot, term) for term in terms]
        tau, ratio = (np.concatenate([one[i] for one in moments]) for i in (0, 1))
        lengths = [one[0].size for one in moments]
        grown = np.exp(np.repeat([term.rate for term in terms], lengths) * tau)
        carried = grown * ratio
        nodes = [_nodes(values) for values in volatilities]
        counts = [one.size for one in nodes]
        sigma = np.concatenate(nodes)
        years = np.repeat([term.years for term in terms], counts)
        self._levels = Levels(
            np.cumsum([0, *lengths]), tau, np.stack([grown, carried]), np.stack([carried, grown])
        )
        self._tables = Tables(
            np.cumsum([0, *counts]),
            sigma,
            REACH * sigma * np.sqrt(years) / SIDE_NODES,
            np.empty((2, sigma.size, 2 * SIDE_NODES + 1)),
        )
        fill_all(self._levels, self._tables)

    def read(
        self,
        term: IntArray,
        strike: FloatArray,
        volatility: FloatArray,
        sign: npt.ArrayLike,
    ) -> Slopes:
        """Premiums of contracts: which term each is of, its strike, volatility and right (+1, -1)."""
        call = np.ascontiguousarray(np.broadcast_to(np.asarray(sign) > 0, strike.shape))
        forward = np.array([one.forward for one in self.terms])[term]
        discount = np.array([np.exp(-one.rate * one.years) for one in self.terms])[term]
        x = np.log(forward / strike)
        found = np.empty((4, strike.size))
        read_all(
            term,
            np.where(call, -x, x),
            np.ascontiguousarray(volatility),
            call,
            self._levels,
            self._tables,
            found,
        )
        premium, slope, curve, vega = found * (strike * discount)
        slope = np.where(call, -slope, slope)
        spot = self.spot
        return Slopes(np.maximum(premium, 0.0), slope / spot, (curve - slope) / spot**2, vega)
