r"""Surfaces fitted to a real chain by least squares, inside the set without static arbitrage.

Two models. ``"essvi"`` (the better fit, and the default) has three parameters per expiry; ``"ssvi"`` one
theta per expiry and five parameters for all. Both are searched in coordinates that cannot leave the
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

What the three parameters cannot do is the far put wing. Seven chains of SPY (2026-07-22 to 31, 37,516
quotes with a bid of five cents): root mean square error, bias (fit less quote) and median width of the
quotes in points of volatility, by standard deviations z from the money:

========== ====== ===== ===== =====
z          quotes error bias  width
========== ====== ===== ===== =====
below -10     995 13.58 -13.3  0.80
-10 to -6   2,889  7.97  -7.7  0.27
-6 to -4    2,720  3.61  -3.4  0.11
-4 to -3    2,393  1.39  -1.3  0.09
-3 to -2    3,277  0.42  -0.2  0.08
-2 to 2    23,298  0.20   0.1  0.07
above 2     1,944  1.17  -1.0  0.26
========== ====== ===== ===== =====

It is so at all expiries. A smile of SSVI is a hyperbola in total variance, whose wings are straight and
tied to its curvature at the money; the market's put wing is nearly straight in volatility. More weight
there only moves the error: with a floor of 0.2 in place of 0.06 all points are met within 2.2 points in
place of 3.3, but those near the money within 0.71 in place of 0.24, and weights by the inverse of the
quotes' width do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.options.calibration import SmileConstants
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
Model = Literal["essvi", "ssvi"]

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
_REACH: Final = 6.0
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

    surface: EssviSurface | SsviSurface
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


def calibrate_to_chain(quotes: ChainQuotes, model: Model = "essvi") -> ChainFit:
    """Fit a surface without static arbitrage to a chain.

    Raises
    ------
    DataError
        If the arrays differ in length, or no expiry has enough points on both sides of the money.
    """
    points, skipped = _usable(quotes)
    free = _free_slices(points)
    surface = _fit_essvi(points, free) if model == "essvi" else _fit_ssvi(points, free)
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
        surface = _fit_essvi(points, _free_slices(points))
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


def _by_wings(
    points: _Points, log_wings: tuple[FloatArray, FloatArray], log_phi: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weighted residuals and their derivatives (points x 3) by log a+, log a- and log phi.

    In wings, w = (psi + c u + Q) / (2 phi) with c = (a+ - a-)/2, u = phi k and
    Q^2 = psi^2 (1 + u^2) + 2 psi c u.
    """
    at = points.slice_of
    up, down, phi = (np.exp(x)[at] for x in (*log_wings, log_phi))
    psi, lean, u = 0.5 * (up + down), 0.5 * (up - down), phi * points.k
    # Both are positive but for rounding, which shows where one wing is all but flat.
    root = np.sqrt(np.maximum(psi * (psi * (1.0 + u * u) + 2.0 * lean * u), (1e-9 * psi) ** 2))
    w = np.maximum((psi + lean * u + root) / (2.0 * phi), 1e-12 * psi / phi)
    by_psi = 1.0 + (psi * (1.0 + u * u) + lean * u) / root
    by_lean = u + psi * u / root
    by_u = lean + psi * (psi * u + lean) / root
    vol = np.sqrt(w / points.years)
    scale = points.weights / (2.0 * vol * points.years)
    columns = np.stack(
        [
            up * 0.5 * (by_psi + by_lean) / (2.0 * phi),
            down * 0.5 * (by_psi - by_lean) / (2.0 * phi),
            u * by_u / (2.0 * phi) - w,
        ],
        axis=1,
    )
    return (vol - points.iv) * points.weights, columns * scale[:, None]


def _free_slices(points: _Points) -> FloatArray:
    """Log a+, log a- and log phi (3 x expiries) of each expiry alone, calendars disregarded.

    Levenberg-Marquardt for all expiries at once: their normal equations are 3 x 3 blocks.
    """
    theta = points.atm
    psi = np.sqrt(theta)
    x = np.log(np.stack([0.4 * psi, 1.6 * psi, psi / theta]))
    # Quotes that no smile fits would otherwise drive a wing to zero or beyond all slopes.
    low, high = x - _REACH, np.minimum(x + _REACH, np.log([[4.0], [4.0], [np.inf]]))
    count = theta.size
    damping = np.full(count, 1e-2)
    cost = _slice_sums(points, _by_wings(points, (x[0], x[1]), x[2])[0] ** 2)
    for _ in range(60):
        residuals, jacobian = _by_wings(points, (x[0], x[1]), x[2])
        normal, gradient = _normal_equations(points, residuals, jacobian)
        diagonal = np.einsum("nii->ni", normal)
        ridge = damping[:, None] * diagonal + 1e-12 * (1.0 + diagonal.max(axis=1, keepdims=True))
        step = np.linalg.solve(normal + ridge[:, :, None] * np.eye(3), gradient[:, :, None])[..., 0]
        trial = np.clip(x - np.clip(step, -1.0, 1.0).T, low, high)
        tried = _slice_sums(points, _by_wings(points, (trial[0], trial[1]), trial[2])[0] ** 2)
        better = tried < cost
        gain = np.where(better, cost - tried, 0.0)
        x = np.where(better, trial, x)
        cost = np.where(better, tried, cost)
        damping = np.where(better, damping * 0.3, damping * 4.0)
        if np.all((gain <= 1e-10 * cost) & (better | (damping > 1e6))):
            break
    return np.asarray(x, dtype=np.float64)


def _slice_sums(points: _Points, values: FloatArray) -> FloatArray:
    return np.asarray(
        np.bincount(points.slice_of, weights=values, minlength=points.expiries.size), np.float64
    )


def _fit_essvi(points: _Points, free: FloatArray) -> EssviSurface:
    """Start from the free fits made monotone, then search all expiries together.

    Levenberg-Marquardt with bounds: each step is a least-squares problem with increments that are
    not negative. What the points say about an expiry enters through the root of its 3 x 3 normal
    matrix, so that a step costs the same for any number of points.
    """
    start = np.stack([_monotone(sign * row) for sign, row in zip(_SIGNS, free, strict=True)])
    first, rest = start[:, :1], np.clip(np.diff(start, axis=1), 1e-9, _MAX_INCREMENT)
    x = np.concatenate([first, rest], axis=1)
    damping, cost = 1e-3, _total_cost(points, x)
    for _ in range(_STEPS):
        trial = x + _step(points, x, damping)
        tried = _total_cost(points, trial)
        if tried < cost:
            gain, x, cost, damping = cost - tried, trial, tried, max(0.2 * damping, 1e-9)
            if gain < 1e-7 * cost:
                break
        else:
            damping *= 10.0
            if damping > 1e6:
                break
    up, down, phi = np.exp(_levels(x))
    return EssviSurface.projected(points.expiries, *from_wings(up, down, phi))


def _levels(x: FloatArray) -> FloatArray:
    """Log a+, log a- and log phi (3 x expiries) of the first values and increments."""
    return np.asarray(np.cumsum(x, axis=1) * _SIGNS[:, None], dtype=np.float64)


def _total_cost(points: _Points, x: FloatArray) -> float:
    level = _levels(x)
    residuals = _by_wings(points, (level[0], level[1]), level[2])[0]
    return float(np.sum(residuals**2) + np.sum(_butterfly_penalty(level)[0] ** 2))


def _step(points: _Points, x: FloatArray, damping: float) -> FloatArray:
    """Best change of the increments under the damping that leaves none of them negative."""
    from scipy.optimize import nnls

    level, count = _levels(x), x.shape[1]
    residuals, jacobian = _by_wings(points, (level[0], level[1]), level[2])
    normal, gradient = _normal_equations(points, residuals, jacobian)
    normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    roots = np.linalg.cholesky(normal)
    target = np.linalg.solve(roots, gradient[:, :, None])[..., 0]
    # Increment j of a parameter moves the expiries from j on.
    moves = np.tril(np.ones((count, count)))[:, None, :, None] * _SIGNS
    blocks = np.einsum("ipq,ijq->ipqj", roots.transpose(0, 2, 1), moves[:, 0]).reshape(
        3 * count, -1
    )
    excess, slopes = _butterfly_penalty(level)
    caps = np.einsum("qi,ijq->iqj", slopes, moves[:, 0]).reshape(count, -1)
    matrix = np.concatenate([blocks, caps])
    wanted = -np.concatenate([target.ravel(), excess])
    ridge = np.sqrt(damping * np.sum(matrix**2, axis=0) + 1e-14)
    low = np.concatenate([np.full((3, 1), -_MAX_INCREMENT), -x[:, 1:]], axis=1).ravel()
    system = np.concatenate([matrix, np.diag(ridge)])
    step, _ = nnls(system, np.concatenate([wanted, np.zeros(ridge.size)]) - system @ low)
    return np.asarray((step + low).reshape(3, count), dtype=np.float64)


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
    """How far each expiry is beyond the butterfly caps, and the derivatives by the three levels."""
    wing = np.maximum(level[0], level[1])
    both = np.log(4.0) - _BUTTERFLY_MARGIN
    curvature, steep = wing + level[2] - both, wing - both
    excess = _PENALTY * (np.maximum(curvature, 0.0) + np.maximum(steep, 0.0))
    active = _PENALTY * ((curvature > 0.0).astype(np.float64) + (steep > 0.0))
    upper = (level[0] >= level[1]).astype(np.float64)
    by_phi = _PENALTY * (curvature > 0.0)
    return excess, np.stack([active * upper, active * (1.0 - upper), by_phi])


def _monotone(values: FloatArray) -> FloatArray:
    """Nearest rising sequence (pool adjacent violators)."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(values).x, dtype=np.float64)


def _fit_ssvi(points: _Points, free: FloatArray) -> SsviSurface:
    """Search shape and thetas together, from the typical shape of the free fits."""
    from scipy.optimize import least_squares

    up, down, phi = np.exp(free)
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


def _errors(
    surface: EssviSurface | SsviSurface, points: _Points, quotes: ChainQuotes
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
