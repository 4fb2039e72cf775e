r"""Surfaces fitted to a real chain by least squares, inside the set without static arbitrage.

Three models. ``"mixture"`` (the best fit, and the default) has two layers of eSSVI, six parameters per
expiry (:mod:`spy_assets.options.mixture`); ``"essvi"`` one layer, three per expiry; ``"ssvi"`` one
theta per expiry and five parameters for all. All are searched in coordinates that cannot leave the
set, so that nothing has to be mended afterwards:

* eSSVI: the logarithms of both wings' slopes at the first expiry and their increments, which are not
  negative; that of phi and its decrements likewise (:mod:`spy_assets.options.ssvi` says why that is
  the calendar part). The butterfly caps, which bind in no chain seen so far, are a penalty in the
  search and a projection at its end.
* SSVI: rho, gamma, the damping as a share of gamma, eta as a share of the largest one allowed, and
  theta by its increments.

Residuals are in volatility, weighted with the root of vega (in standard deviations z from the money,
:math:`e^{-z^2/4}`) above a floor, so that a mispriced dollar counts about the same at every strike, and
the wings are still looked at. Errors are reported in volatility points without weights.

Seven chains of SPY (2026-07-22 to 31, 37,516 quotes with a bid of five cents): root mean square error
and bias (fit less quote) of one layer and of two, and median width of the quotes, all in points of
volatility, by standard deviations z from the money:

========== ====== ===== ======= ======= ======== =========
z          quotes width eSSVI   (bias)  mixture  (bias)
========== ====== ===== ======= ======= ======== =========
below -10     939  0.81   13.74  -13.50     0.85      0.35
-10 to -6   2,854  0.28    8.10   -7.89     0.78     -0.37
-6 to -4    2,710  0.11    3.72   -3.54     0.83     -0.57
-4 to -3    2,401  0.09    1.45   -1.32     0.40     -0.22
-3 to -2    3,269  0.08    0.43   -0.23     0.17      0.01
-2 to 2    23,488  0.07    0.20    0.06     0.09      0.02
above 2     1,855  0.26    1.19   -1.04     0.43     -0.31
========== ====== ===== ======= ======= ======== =========

A smile of SSVI is a hyperbola in total variance, whose wings are straight and tied to its curvature at
the money; the market's put wing is nearly straight in volatility, at all expiries. With more weight
there one layer only moves the error: with a floor of 0.2 in place of 0.06 all points are met within 2.2
points in place of 3.3, but those near the money within 0.71 in place of 0.24. Two layers meet 28 to 47 %
of the quotes between bid and ask, one 6 to 7 %; their search takes about 1.5 times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.options._nonnegative import nonnegative_least_squares
from spy_assets.options.calibration import SmileConstants
from spy_assets.options.mixture import MixtureSurface, mixed_deviation
from spy_assets.options.replication import surface_index
from spy_assets.options.ssvi import (
    MAX_RHO,
    EssviSurface,
    FloatArray,
    Smile,
    SsviShape,
    SsviSurface,
    ThetaTerm,
    from_wings,
    max_eta,
    total_variance,
)

BoolArray = npt.NDArray[np.bool_]
FittedSurface = MixtureSurface | EssviSurface | SsviSurface
Model = Literal["mixture", "essvi", "ssvi"]
#: Weighted residuals and their derivatives (points x parameters), given the levels of all expiries.
_Model = Callable[["_Points", FloatArray], tuple[FloatArray, FloatArray]]

#: An expiry with fewer usable points says too little about three parameters.
MIN_POINTS: Final = 6
#: Weight of a point so far out that its vega is nothing.
WEIGHT_FLOOR: Final = 0.06
#: Standard deviations from the money, below and above, of what is called near.
NEAR: Final = (-3.0, 2.0)
#: Ends of the buckets, in standard deviations from the money, by which errors are told.
DEVIATIONS: Final = (-np.inf, -10.0, -6.0, -4.0, -3.0, -2.0, 2.0, np.inf)

_MAX_INCREMENT: Final = 6.0
_BUTTERFLY_MARGIN: Final = 1e-3
_PENALTY: Final = 0.1
_STEPS: Final = 60
#: Longest step of a logarithm.
_LONGEST: Final = 3.0
#: Steps of the two layers free, and of the one before.
_FREE_STEPS: Final = 4
_FREE_STEPS_OF_ONE: Final = 6
_REACH: Final = 6.0
#: Weight of the wider layer. Of 3, 6, 10, 15, 20 and 30 % the one that meets most of the put wing.
CRASH_SHARE: Final = 0.10
#: Where the search of its log a+, log a- and log phi begins, beside the other layer's.
_CRASH_START: Final = (0.3, 0.8, -1.0)
#: a+ and a- rise with expiry, phi falls.
_SIGNS: Final = np.array([1.0, 1.0, -1.0])


@dataclass(frozen=True, slots=True)
class ChainQuotes:
    """Volatilities of a chain, one value per contract.

    Attributes
    ----------
    k
        Log-moneyness against the forward of the contract's expiry.
    years
        To expiry.
    iv
        Of the mid price, decimals. Rows with a missing one (NaN) are left out and counted.
    bid_iv, ask_iv
        Of bid and ask, for the share of points that the fit meets inside the spread.
    weights
        Of the residuals in volatility; None takes the root of vega.
    """

    k: FloatArray
    years: FloatArray
    iv: FloatArray
    bid_iv: FloatArray | None = None
    ask_iv: FloatArray | None = None
    weights: FloatArray | None = None


class Errors(NamedTuple):
    """Errors of a fit in volatility points (0.01), and how many points they are of.

    ``near`` is the root mean square within three standard deviations below and two above the money;
    ``inside`` the share of points between bid and ask, NaN where these are not known.
    """

    points: int
    rmse: float
    near: float
    worst: float
    inside: float


@dataclass(frozen=True, slots=True)
class ChainFit:
    """A surface, its errors, and what was left out.

    Errors are over all points, by expiry (years), and by standard deviations from the money (the ends of
    each bucket of :data:`DEVIATIONS` that has points).
    ``skipped`` gives the reason by expiry; ``missing`` is the number of rows without a volatility.
    """

    surface: FittedSurface
    errors: Errors
    by_expiry: dict[float, Errors]
    by_deviation: dict[tuple[float, float], Errors]
    skipped: dict[float, str]
    missing: int


class _Points(NamedTuple):
    """Usable points in order of expiry; ``slice_of`` numbers the expiries from 0."""

    k: FloatArray
    years: FloatArray
    iv: FloatArray
    weights: FloatArray
    slice_of: npt.NDArray[np.intp]
    expiries: FloatArray
    atm: FloatArray
    keep: npt.NDArray[np.intp]


def calibrate_to_chain(quotes: ChainQuotes, model: Model = "mixture") -> ChainFit:
    """Fit a surface without static arbitrage to a chain.

    Raises
    ------
    DataError
        If the arrays differ in length, or no expiry has enough points on both sides of the money.
    """
    points, skipped = _usable(quotes)
    surface = _FITS[model](points)
    errors, by_expiry, by_deviation = _errors(surface, points, quotes)
    missing = int(np.count_nonzero(~np.isfinite(quotes.iv)))
    return ChainFit(surface, errors, by_expiry, by_deviation, skipped, missing)


def fit_smile_constants(chains: Sequence[ChainQuotes]) -> SmileConstants:
    """Fit the one smile that suits several days, for surfaces that know only indices.

    Each day's theta by expiry and its VIX are those of its own eSSVI fit; only the shape is searched.
    """
    from scipy.optimize import least_squares

    days = []
    for quotes in chains:
        points, _ = _usable(quotes)
        surface = _fit_essvi(points)
        days.append((points, np.array(surface.theta), float(surface_index(surface))))

    def constants(x: FloatArray) -> SmileConstants:
        rho, gamma = float(np.tanh(x[0])), float(x[2])
        eta = float(x[1]) * max_eta(rho, gamma)
        return SmileConstants(rho, eta, gamma, float(x[3]) * gamma, float(np.exp(x[4])))

    def residuals(x: FloatArray) -> FloatArray:
        smile = constants(x)
        return np.concatenate(
            [_ssvi_residuals(points, smile.shape(vix), theta) for points, theta, vix in days]
        )

    low, high = [-3.0, 0.01, 0.0, 0.0, -2.0], [3.0, 1.0, 0.5, 1.0, 6.0]
    found = least_squares(residuals, [-0.75, 0.7, 0.45, 0.7, 2.3], bounds=(low, high))
    return constants(found.x)


def _usable(quotes: ChainQuotes) -> tuple[_Points, dict[float, str]]:
    """Sort out what can be fitted and say why the rest cannot."""
    k, years, iv = (np.asarray(x, dtype=np.float64) for x in (quotes.k, quotes.years, quotes.iv))
    if not k.shape == years.shape == iv.shape or k.ndim != 1:
        raise DataError(
            f"k, years and iv have shapes {k.shape}, {years.shape} and {iv.shape}",
            hint="give one value of each per contract",
        )
    good = np.isfinite(k) & np.isfinite(iv) & (iv > 0.0) & (years > 0.0)
    skipped: dict[float, str] = {}
    kept: list[npt.NDArray[np.intp]] = []
    atm: list[float] = []
    for expiry in np.unique(years).tolist():
        rows = np.flatnonzero(good & (years == expiry))
        rows = rows[np.argsort(k[rows], kind="stable")]
        if rows.size < MIN_POINTS:
            skipped[expiry] = f"{rows.size} usable points, {MIN_POINTS} needed"
        elif not k[rows[0]] < 0.0 < k[rows[-1]]:
            skipped[expiry] = "no points on one side of the money"
        else:
            kept.append(rows)
            atm.append(float(np.interp(0.0, k[rows], iv[rows])) ** 2 * expiry)
    if not kept:
        raise DataError(
            f"no expiry of {len(skipped)} can be fitted: {next(iter(skipped.values()), 'no rows')}",
            hint="a surface needs quotes on both sides of the money",
        )
    keep = np.concatenate(kept)
    slice_of = np.repeat(np.arange(len(kept)), [rows.size for rows in kept])
    at_money = np.array(atm)
    z = k[keep] / np.sqrt(at_money[slice_of])
    vega = np.maximum(np.exp(-0.25 * z * z), WEIGHT_FLOOR)
    weights = vega if quotes.weights is None else np.asarray(quotes.weights, np.float64)[keep]
    expiries = np.array([years[rows[0]] for rows in kept])
    return _Points(
        k[keep], years[keep], iv[keep], weights, slice_of, expiries, at_money, keep
    ), skipped


class _Wings(NamedTuple):
    """Volatilities of the points, and their derivatives (points x 3) by log a+, log a- and log phi."""

    vol: FloatArray
    columns: FloatArray


def _wings_volatility(points: _Points, level: FloatArray) -> _Wings:
    """Volatilities of eSSVI smiles, given log a+, log a- and log phi (3 x expiries).

    In wings, w = (psi + c u + Q) / (2 phi) with c = (a+ - a-)/2, u = phi k and
    Q^2 = psi^2 (1 + u^2) + 2 psi c u.
    """
    up, down, phi = np.exp(level)[:, points.slice_of]
    psi, lean, u = 0.5 * (up + down), 0.5 * (up - down), phi * points.k
    # Both are positive but for rounding, which shows where one wing is all but flat.
    root = np.sqrt(np.maximum(psi * (psi * (1.0 + u * u) + 2.0 * lean * u), (1e-9 * psi) ** 2))
    w = np.maximum((psi + lean * u + root) / (2.0 * phi), 1e-12 * psi / phi)
    by_psi = 1.0 + (psi * (1.0 + u * u) + lean * u) / root
    by_lean = u + psi * u / root
    by_u = lean + psi * (psi * u + lean) / root
    vol = np.sqrt(w / points.years)
    columns = np.stack(
        [
            up * 0.5 * (by_psi + by_lean) / (2.0 * phi),
            down * 0.5 * (by_psi - by_lean) / (2.0 * phi),
            u * by_u / (2.0 * phi) - w,
        ],
        axis=1,
    )
    return _Wings(vol, columns / (2.0 * vol * points.years)[:, None])


def _by_wings(points: _Points, level: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted residuals of one layer and their derivatives (points x 3)."""
    found = _wings_volatility(points, level)
    weights = points.weights
    return (found.vol - points.iv) * weights, found.columns * weights[:, None]


def _by_both_wings(points: _Points, level: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted residuals of both layers together and their derivatives (points x 6).

    A price is the sum of the layers' prices, so that a layer's volatility moves the whole's by the
    ratio of its vega.
    """
    root = np.sqrt(points.years)
    shares = (1.0 - CRASH_SHARE, CRASH_SHARE)
    layers = [_wings_volatility(points, level[:3]), _wings_volatility(points, level[3:])]
    total = mixed_deviation(
        points.k, [(share, one.vol * root) for share, one in zip(shares, layers, strict=True)]
    )
    vega = _log_vega(points.k, total)
    columns = [
        one.columns * (share * np.exp(_log_vega(points.k, one.vol * root) - vega))[:, None]
        for share, one in zip(shares, layers, strict=True)
    ]
    weights = points.weights
    return (
        (total / root - points.iv) * weights,
        np.concatenate(columns, axis=1) * weights[:, None],
    )


def _log_vega(k: FloatArray, deviation: FloatArray) -> FloatArray:
    """Of a price per unit of the forward, by the deviation of the log price, but for a constant."""
    return np.asarray(-0.5 * (k / deviation - 0.5 * deviation) ** 2, dtype=np.float64)


def _free_slices(points: _Points, steps: int = _STEPS) -> FloatArray:
    """Log a+, log a- and log phi (3 x expiries) of each expiry alone, calendars disregarded."""
    theta = points.atm
    psi = np.sqrt(theta)
    start = np.log(np.stack([0.4 * psi, 1.6 * psi, psi / theta]))
    return _free(points, _by_wings, start, steps)


def _free(points: _Points, model: _Model, start: FloatArray, steps: int) -> FloatArray:
    """Levels (parameters x expiries) of each expiry alone, after so many steps at most.

    Levenberg-Marquardt for all expiries at once: their normal equations are small blocks.
    """
    x, (size, count) = start, start.shape
    # Quotes that no smile fits would otherwise drive a wing to zero or beyond all slopes.
    top = np.tile(np.log([[4.0], [4.0], [np.inf]]), (size // 3, 1))
    low, high = x - _REACH, np.minimum(x + _REACH, top)
    damping = np.full(count, 1e-2)
    residuals, jacobian = model(points, x)
    cost = _slice_sums(points, residuals**2)
    for _ in range(steps):
        normal, gradient = _normal_equations(points, residuals, jacobian)
        diagonal = np.einsum("nii->ni", normal)
        ridge = damping[:, None] * diagonal + 1e-12 * (1.0 + diagonal.max(axis=1, keepdims=True))
        blocks = normal + ridge[:, :, None] * np.eye(size)
        step = np.linalg.solve(blocks, gradient[:, :, None])[..., 0]
        trial = np.clip(x - np.clip(step, -1.0, 1.0).T, low, high)
        tried, slopes = model(points, trial)
        sums = _slice_sums(points, tried**2)
        better = sums < cost
        gain = np.where(better, cost - sums, 0.0)
        x = np.where(better, trial, x)
        cost = np.where(better, sums, cost)
        rows = better[points.slice_of]
        residuals = np.where(rows, tried, residuals)
        jacobian = np.where(rows[:, None], slopes, jacobian)
        damping = np.where(better, damping * 0.3, damping * 4.0)
        if np.all((gain <= 1e-10 * cost) & (better | (damping > 1e6))):
            break
    return np.asarray(x, dtype=np.float64)


def _slice_sums(points: _Points, values: FloatArray) -> FloatArray:
    return np.asarray(
        np.bincount(points.slice_of, weights=values, minlength=points.expiries.size), np.float64
    )


def _fit_essvi(points: _Points) -> EssviSurface:
    """One layer."""
    return _surface(points, _monotone_fit(points, _by_wings, _free_slices(points), 1e-7))


def _fit_mixture(points: _Points) -> MixtureSurface:
    """Two layers: from the one that fits best and a wider one, a few steps free, then together.

    Six parameters per expiry say more than the points do; free for longer, expiries would leave each
    other, and the search for layers without calendar arbitrage would begin farther away.
    """
    one = _free_slices(points, _FREE_STEPS_OF_ONE)
    start = np.concatenate([one, one + np.array(_CRASH_START)[:, None]])
    free = _free(points, _by_both_wings, start, _FREE_STEPS)
    both = _monotone_fit(points, _by_both_wings, free, 0.1)
    return MixtureSurface(_surface(points, both[:3]), _surface(points, both[3:]), CRASH_SHARE)


def _surface(points: _Points, level: FloatArray) -> EssviSurface:
    return EssviSurface.projected(points.expiries, *from_wings(*np.exp(level)))


def _monotone_fit(points: _Points, model: _Model, free: FloatArray, tolerance: float) -> FloatArray:
    """Levels without calendar arbitrage: the free ones made monotone, then searched together.

    Levenberg-Marquardt with bounds: each step is a least-squares problem with increments that are
    not negative. What the points say about an expiry enters through the root of its small normal
    matrix, so that a step costs the same for any number of points. It ends with a step that gains
    less than this share of the cost.
    """
    start = np.stack([_monotone(sign * row) for sign, row in zip(_signs(free), free, strict=True)])
    first, rest = start[:, :1], np.clip(np.diff(start, axis=1), 1e-9, _MAX_INCREMENT)
    x = np.concatenate([first, rest], axis=1)
    found = model(points, _levels(x))
    damping, cost = 1e-3, _cost(x, found[0])
    for _ in range(_STEPS):
        step = _step(points, found, x, damping)
        # Shortened as a whole it stays in the set.
        trial = x + step * min(1.0, _LONGEST / float(np.abs(_levels(step)).max()))
        tried = model(points, _levels(trial))
        new = _cost(trial, tried[0])
        if new < cost:
            gain, x, found, damping = cost - new, trial, tried, max(0.2 * damping, 1e-9)
            cost = new
            if gain < tolerance * cost:
                break
        else:
            damping *= 10.0
            if damping > 1e6:
                break
    return _levels(x)


def _signs(levels: FloatArray) -> FloatArray:
    return np.tile(_SIGNS, len(levels) // 3)


def _levels(x: FloatArray) -> FloatArray:
    """Logarithms of the slopes and of phi (parameters x expiries) of first values and increments."""
    return np.asarray(np.cumsum(x, axis=1) * _signs(x)[:, None], dtype=np.float64)


def _cost(x: FloatArray, residuals: FloatArray) -> float:
    return float(np.sum(residuals**2) + np.sum(_butterfly_penalty(_levels(x))[0] ** 2))


def _step(
    points: _Points, found: tuple[FloatArray, FloatArray], x: FloatArray, damping: float
) -> FloatArray:
    """Best change of the increments under the damping that leaves none of them negative."""
    level, (size, count) = _levels(x), x.shape
    normal, gradient = _normal_equations(points, *found)
    normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(size)
    roots = np.linalg.cholesky(normal)
    target = np.linalg.solve(roots, gradient[:, :, None])[..., 0]
    # Increment j of a parameter moves the expiries from j on.
    moves = np.tril(np.ones((count, count)))[:, :, None] * _signs(x)
    blocks = np.einsum("ipq,ijq->ipqj", roots.transpose(0, 2, 1), moves)
    excess, slopes = _butterfly_penalty(level)
    caps = np.einsum("lqi,ijq->liqj", slopes, moves)
    matrix = np.concatenate([blocks.reshape(size * count, -1), caps.reshape(excess.size, -1)])
    wanted = -np.concatenate([target.ravel(), excess.ravel()])
    ridge = np.sqrt(damping * np.sum(matrix**2, axis=0) + 1e-14)
    low = np.concatenate([np.full((size, 1), -_MAX_INCREMENT), -x[:, 1:]], axis=1).ravel()
    system = np.concatenate([matrix, np.diag(ridge)])
    aim = np.concatenate([wanted, np.zeros(ridge.size)]) - system @ low
    step = nonnegative_least_squares(system, aim) + low
    return np.asarray(step.reshape(size, count), dtype=np.float64)


def _normal_equations(
    points: _Points, residuals: FloatArray, jacobian: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Normal matrices (expiries x 3 x 3) and gradients (expiries x 3) of the expiries."""
    starts = np.flatnonzero(np.diff(points.slice_of, prepend=-1))
    products = jacobian[:, :, None] * jacobian[:, None, :]
    return (
        np.asarray(np.add.reduceat(products, starts, axis=0), dtype=np.float64),
        np.asarray(np.add.reduceat(jacobian * residuals[:, None], starts, axis=0), np.float64),
    )


def _butterfly_penalty(level: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How far each layer's expiries are beyond the butterfly caps, and the derivatives by the levels.

    Shapes: layers x expiries, and layers x parameters x expiries.
    """
    layers = level.reshape(-1, 3, level.shape[1])
    up, down, phi = layers.transpose(1, 0, 2)
    wing, both = np.maximum(up, down), np.log(4.0) - _BUTTERFLY_MARGIN
    curvature, steep = wing + phi - both, wing - both
    excess = _PENALTY * (np.maximum(curvature, 0.0) + np.maximum(steep, 0.0))
    active = _PENALTY * ((curvature > 0.0).astype(np.float64) + (steep > 0.0))
    upper = (up >= down).astype(np.float64)
    by_phi = _PENALTY * (curvature > 0.0)
    parts = np.stack([active * upper, active * (1.0 - upper), by_phi], axis=1)
    slopes = np.einsum("lm,lqi->lmqi", np.eye(len(layers)), parts)
    return excess, slopes.reshape(len(layers), *level.shape)


def _monotone(values: FloatArray) -> FloatArray:
    """Nearest rising sequence (pool adjacent violators)."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(values).x, dtype=np.float64)


def _fit_ssvi(points: _Points) -> SsviSurface:
    """Search shape and thetas together, from the typical shape of the free fits."""
    from scipy.optimize import least_squares

    up, down, phi = np.exp(_free_slices(points))
    psi = 0.5 * (up + down)
    theta = np.exp(_monotone(np.log(psi / phi)))
    eta = np.median(psi / np.sqrt(theta))
    rho = float(np.clip(np.median((up - down) / (up + down)), -0.95, 0.95))
    share = float(np.clip(eta / max_eta(rho, 0.5), 0.05, 0.95))
    typical = float(np.median(theta))
    head = [np.arctanh(rho), share, 0.45, 0.5, np.log(typical)]
    tail = np.concatenate([[np.log(theta[0])], np.clip(np.diff(np.log(theta)), 1e-9, None)])
    x0 = np.concatenate([head, tail])
    low = np.concatenate([[-3.0, 1e-3, 0.0, 0.0, np.log(typical) - 8.0, -np.inf], 0.0 * tail[1:]])
    high = np.concatenate([[3.0, 1.0, 0.5, 1.0, np.log(typical) + 4.0], np.full(tail.size, np.inf)])

    def parts(x: FloatArray) -> tuple[SsviShape, FloatArray]:
        rho = min(max(float(np.tanh(x[0])), -MAX_RHO), MAX_RHO)
        gamma = float(x[2])
        eta = float(x[1]) * max_eta(rho, gamma)
        shape = SsviShape.projected(rho, eta, gamma, float(x[3]) * gamma, float(np.exp(x[4])))
        return shape, np.exp(np.cumsum(x[5:]))

    def residuals(x: FloatArray) -> FloatArray:
        return _ssvi_residuals(points, *parts(x))

    found = least_squares(residuals, x0, bounds=(low, high), max_nfev=40, ftol=1e-9)
    shape, thetas = parts(found.x)
    forward = np.diff(np.append(0.0, thetas))[-1] / np.diff(np.append(0.0, points.expiries))[-1]
    term = ThetaTerm(tuple(points.expiries.tolist()), tuple(thetas.tolist()), float(forward))
    return SsviSurface(shape, term)


def _ssvi_residuals(points: _Points, shape: SsviShape, theta: FloatArray) -> FloatArray:
    smile = Smile(*(value[points.slice_of] for value in shape.smile(theta)))
    vol = np.sqrt(total_variance(points.k, smile) / points.years)
    return np.asarray((vol - points.iv) * points.weights, dtype=np.float64)


_FITS: Final[dict[Model, Callable[[_Points], FittedSurface]]] = {
    "mixture": _fit_mixture,
    "essvi": _fit_essvi,
    "ssvi": _fit_ssvi,
}


def _errors(
    surface: FittedSurface, points: _Points, quotes: ChainQuotes
) -> tuple[Errors, dict[float, Errors], dict[tuple[float, float], Errors]]:
    fitted = surface.iv(points.k, points.years)
    error = 100.0 * (fitted - points.iv)
    z = points.k / np.sqrt(points.atm[points.slice_of])
    near = (z > NEAR[0]) & (z < NEAR[1])
    inside = np.full(error.shape, np.nan)
    if quotes.bid_iv is not None and quotes.ask_iv is not None:
        bid, ask = (np.asarray(x, np.float64)[points.keep] for x in (quotes.bid_iv, quotes.ask_iv))
        known = np.isfinite(bid) & np.isfinite(ask)
        inside[known] = ((bid <= fitted) & (fitted <= ask))[known]
    by_expiry = {
        float(expiry): _error(error, near, inside, points.slice_of == number)
        for number, expiry in enumerate(points.expiries)
    }
    buckets = {ends: (z >= ends[0]) & (z < ends[1]) for ends in pairwise(DEVIATIONS)}
    by_deviation = {
        ends: _error(error, near, inside, rows) for ends, rows in buckets.items() if rows.any()
    }
    everywhere = np.ones(error.shape, dtype=np.bool_)
    return _error(error, near, inside, everywhere), by_expiry, by_deviation


def _error(error: FloatArray, near: BoolArray, inside: FloatArray, chosen: BoolArray) -> Errors:
    def rms(values: FloatArray) -> float:
        return float(np.sqrt(np.mean(values * values))) if values.size else float("nan")

    met = inside[chosen & np.isfinite(inside)]
    return Errors(
        points=int(np.count_nonzero(chosen)),
        rmse=rms(error[chosen]),
        near=rms(error[chosen & near]),
        worst=float(np.max(np.abs(error[chosen]))),
        inside=float(np.mean(met)) if met.size else float("nan"),
    )
