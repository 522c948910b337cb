"""How far the cells of one band are alike: a variogram of normal scores, and where it comes to its sill.

Not the variogram that kriging fits in `surfaces`: that takes classes of equal width, in the first of which a range
of few cells is lost, so that a band of noise may have any range.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Classes of distance from one cell to half the extent, evenly on a logarithmic scale, and pairs that each needs.
# Scattered cells alone would have no pairs a few cells apart, where the noise of a band shows.
_CLASSES = 20
_PAIRS = 30
# Where the correlation has fallen to this, the variogram is at 95 % of its sill.
_CORRELATION = 0.05
# A model must explain this share of how the variogram varies, or the band is noise. Of 40 bands of noise the best
# model explained 0.31 at most; of bands whose correlation ends after two cells, 0.74 at least.
_EXPLAINED = 0.5
# Semivariances are weighted by their relative error, but those of smooth bands at short distances not without limit.
_LEAST_GAMMA = 0.3
# Ranges that are tried: from a fraction of a cell to many times the extent, where the sill is out of sight.
_RANGES = 200
_SHORTEST, _LONGEST = 0.3, 10.0

_Floats = NDArray[np.float64]

# Correlation that is gone at a distance of u ranges: 5 % are left at u = 1, but of the spherical model, which ends.
_SHAPES: dict[str, Callable[[_Floats], _Floats]] = {
    "exponential": lambda u: 1 - np.exp(math.log(_CORRELATION) * u),
    "spherical": lambda u: np.where(u < 1, 1.5 * u - 0.5 * u**3, 1.0),
    "gaussian": lambda u: 1 - np.exp(math.log(_CORRELATION) * u * u),
}


def variogram(
    values: NDArray[np.generic], resolution: tuple[float, float], n: int, rng: np.random.Generator
) -> tuple[_Floats, _Floats, _Floats]:
    """Return mean distance, semivariance of normal scores and number of pairs of the classes that have enough.

    Parameters
    ----------
    values : ndarray of shape (ny, nx)
        One band; cells that are not finite have no data.
    resolution : (dy, dx)
        Size of a cell.
    n : int
        Cells that are drawn; each is paired with one at a random distance within every class.
    rng : Generator

    Returns
    -------
    lags, gammas, counts : ndarray of shape (n_classes,)
        Classes with fewer than 30 pairs are left out.
    """
    with_data = np.isfinite(values)
    cells = np.flatnonzero(with_data)
    if not cells.size:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    (ny, nx), (dy, dx), cell = values.shape, resolution, max(resolution)
    row, col = np.divmod(rng.choice(cells, min(n, cells.size), replace=False), nx)
    edges = np.geomspace(cell, max(max(ny * dy, nx * dx) / 2, 2 * cell), _CLASSES + 1)
    pairs = []
    for near, far in itertools.pairwise(edges):
        distance = np.exp(rng.uniform(np.log(near), np.log(far), row.size))
        angle = rng.uniform(0, 2 * np.pi, row.size)
        down, across = (np.rint(distance * f(angle) / d).astype(np.int64) for f, d in ((np.sin, dy), (np.cos, dx)))
        on = (row + down >= 0) & (row + down < ny) & (col + across >= 0) & (col + across < nx)
        on[on] = with_data[(row + down)[on], (col + across)[on]]
        if on.sum() >= _PAIRS:
            here, there = values[row[on], col[on]], values[(row + down)[on], (col + across)[on]]
            pairs.append((np.hypot(down[on] * dy, across[on] * dx), here, there))
    score = _normal_scores([part for _, *both in pairs for part in both])
    summary = [(lag.mean(), ((score(a) - score(b)) ** 2).mean() / 2, lag.size) for lag, a, b in pairs]
    lags, gammas, counts = np.array(summary, dtype=np.float64).reshape(-1, 3).T
    return lags, gammas, counts


def correlation_length(lags: _Floats, gammas: _Floats, counts: _Floats, cell: float) -> float | None:
    """Return where the correlation has fallen to 0.05; None where there are too few classes, or one value.

    Parameters
    ----------
    lags, gammas, counts : ndarray of shape (n_classes,)
        From `variogram`.
    cell : float
        The least that is returned, as for noise.
    """
    if len(lags) < 5 or not gammas.any():
        return None
    weights = counts / np.maximum(gammas, _LEAST_GAMMA * gammas.max()) ** 2
    spread = weights @ (gammas - np.average(gammas, weights=weights)) ** 2
    ranges = np.geomspace(_SHORTEST * cell, _LONGEST * lags.max(), _RANGES)
    best, distance = math.inf, cell
    for name, shape in _SHAPES.items():
        nugget, sill, loss = _fitted(shape(lags / ranges[:, None]), gammas, weights)
        i = int(loss.argmin())
        if loss[i] < best:
            best, distance = float(loss[i]), ranges[i] * _to_the_sill(name, sill[i] / (nugget[i] + sill[i]))
    return max(cell, distance) if best <= (1 - _EXPLAINED) * spread else cell


def _normal_scores(parts: list[NDArray[np.generic]]) -> Callable[[NDArray[np.generic]], _Floats]:
    """Return what turns values into normal scores by their rank among all; equal values have equal scores."""
    from scipy.special import ndtri

    ordered = np.sort(np.concatenate(parts)) if parts else np.zeros(1)

    def score(values: NDArray[np.generic]) -> _Floats:
        rank = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2
        return np.asarray(ndtri(rank / ordered.size), dtype=np.float64)

    return score


def _fitted(shapes: _Floats, gammas: _Floats, weights: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Return nugget, sill and loss of the best nugget + sill x shape, neither negative, for each shape (R, K)."""
    s, sf, sff = weights.sum(), shapes @ weights, (shapes * shapes) @ weights
    sg, sfg = weights @ gammas, shapes @ (weights * gammas)
    determinant = s * sff - sf * sf
    alike = determinant <= 1e-9 * s * sff  # a shape that does not vary over the distances is a nugget
    sill = np.where(alike, 0, (s * sfg - sf * sg) / np.where(alike, 1, determinant))
    nugget = (sg - sill * sf) / s
    sill = np.maximum(np.where(nugget < 0, sfg / sff, sill), 0)
    nugget = np.where(sill > 0, np.maximum(nugget, 0), sg / s)
    loss = (gammas - nugget[:, None] - sill[:, None] * shapes) ** 2 @ weights
    return nugget, sill, loss


def _to_the_sill(shape: str, structured: float) -> float:
    """Return at how many ranges the correlation is 5 %, where `structured` of the sill is no nugget."""
    if structured <= _CORRELATION:
        return 0.0
    left = math.log(_CORRELATION / structured) / math.log(_CORRELATION)  # 1 without a nugget
    if shape == "spherical":
        # 1 - 1.5 u + 0.5 u³ = q has one root between 0 and 1.
        return 2 * math.cos((math.acos(_CORRELATION / structured - 1) + 4 * math.pi) / 3)
    return left if shape == "exponential" else math.sqrt(left)
