"""Random shifts of a point pattern: the null model for points and fields that both have spatial structure.

Concentrations are correlated over short distances and deposits are clustered, so neither are independent draws.
A shift of the whole pattern keeps the clusters of the deposits and the structure of the field, and removes the
relation between the two. Points that leave the study area are dropped. Arrays only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geoprospect.errors import InputError

Floats = NDArray[np.float64]
# Smallest fractions of the points that a shift keeps in the study area; the next where there are too few shifts.
_KEEP = (0.5, 0.25, 0.1)
_BATCH = 2048
# Shifts tried for one that is wanted: a tenth of them keep half of the points in a survey of any common shape.
_TRIES = 50
# Statistics this close are equal: a shift that brings the pattern onto the same values must not count as smaller.
_TIE = 1e-9


def random_shifts(
    points: Floats,
    extent: tuple[float, float],
    place_of: Callable[[Floats], NDArray[np.int64]],
    n: int,
    rng: np.random.Generator,
    apart: float = 0.0,
) -> tuple[Floats, NDArray[np.int64]]:
    """Return up to `n` random shifts of a pattern, and the cells that its points fall in after each.

    Shifts keep at least half of the points in the study area. Where there are too few of these, they keep at
    least a quarter, or a tenth.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2)
        The pattern; at least one of its points is in the study area.
    extent : (width, height)
        Of the study area, in the same units; shifts are uniform up to this distance either way.
    place_of : callable
        Takes points, (N, 2), and returns the number of the cell of each, -1 outside of the study area.
    n : int
        Number of shifts.
    rng : Generator
        Draws the shifts.
    apart : float, default 0
        Smallest shift in x or in y, as a fraction of the extent.

    Returns
    -------
    shifts : ndarray of shape (n, 2)
        Fewer than `n` where the data are too patchy.
    places : ndarray of shape (n, n_points)
        Cells of the points after each shift, -1 outside of the study area.
    """
    least = _KEEP[-1] * (here := int((_once(place_of(points)[None]) >= 0).sum()))
    shifts, moved = np.empty((0, 2)), np.empty((0, len(points)), dtype=np.int64)
    for _ in range(max(1, _TRIES * n // _BATCH)):
        vectors = rng.uniform(-1, 1, size=(_BATCH, 1, 2)) * extent  # (S, 1, 2)
        places = place_of((points + vectors).reshape(-1, 2)).reshape(_BATCH, -1)
        far = (np.abs(vectors[:, 0]) >= np.multiply(apart, extent)).any(axis=1)
        kept = far & ((places >= 0).sum(axis=1) >= max(1.0, least))
        shifts, moved = np.concatenate([shifts, vectors[kept, 0]]), np.concatenate([moved, places[kept]])
        if ((moved >= 0).sum(axis=1) >= _KEEP[0] * here).sum() >= n:
            break
    for share in _KEEP:
        enough = (moved >= 0).sum(axis=1) >= share * here
        if enough.sum() >= n:
            break
    return shifts[enough][:n], moved[enough][:n]


def shifted_places(
    points: Floats,
    extent: tuple[float, float],
    place_of: Callable[[Floats], NDArray[np.int64]],
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the cells that a pattern covers where it is and after `n` random shifts.

    Parameters
    ----------
    points, extent, place_of, n, rng
        As in `random_shifts`.

    Returns
    -------
    ndarray of shape (1 + n, n_points)
        The unshifted pattern first; -1 for points outside of the study area, and for all but the first of
        those that share a cell.

    Raises
    ------
    InputError
        When the data are so patchy that hardly any shift keeps a tenth of the points.
    """
    here = _once(place_of(points)[None])
    moved = random_shifts(points, extent, place_of, n, rng)[1]
    if len(moved) < n:
        raise InputError(
            f"permutations={n}: only {len(moved)} random shifts keep a tenth of the {int((here >= 0).sum())} deposits "
            "on cells with data; pass permutations=0 and rule='holm'"
        )
    return np.concatenate([here, _once(moved)])


def standardised(means: Floats, counts: NDArray[np.int64]) -> Floats:
    """Bring statistics of patterns that lost points to one scale, after Mrkvička et al. [1]_.

    A mean of fewer points scatters more. The variance is taken as a power of the number of points
    that are left, fitted over the shifts: it falls as 1/n for points far apart, and otherwise for
    points in clusters.

    Parameters
    ----------
    means : ndarray of shape (1 + n_shifts, n_bands)
        Statistic of the pattern in each band, a mean over its points; the unshifted first.
    counts : ndarray of shape (1 + n_shifts, n_bands)
        Points that each mean was taken over; where it is 0, the mean is not looked at.

    Returns
    -------
    ndarray of shape (1 + n_shifts, n_bands)
        With mean about 0 and standard deviation 1 in each band; 0 where no point was left.

    References
    ----------
    .. [1] Mrkvička, T., Dvořák, J., González, J. A. & Mateu, J. (2021). Revisiting the random shift
       approach for testing in spatial statistics. Spatial Statistics 42, 100430.
       https://doi.org/10.1016/j.spasta.2020.100430
    """
    scores = np.zeros_like(means)
    for band in range(means.shape[1]):
        n = counts[:, band].astype(np.float64)
        there = n > 0
        if not there.any():
            continue
        centre = np.average(means[there, band], weights=n[there])
        off = means[there, band] - centre
        stretched = off * (n[there] / n.max()) ** (-_power(off**2, n[there]) / 2)
        spread = stretched.std()
        if spread > 0:
            scores[there, band] = stretched / spread
    return scores


def p_values(scores: Floats, alternative: str) -> Floats:
    """Return p = (b + 1)/(m + 1) for each band: b of m shifts do as well as the unshifted pattern.

    Parameters
    ----------
    scores : ndarray of shape (1 + m, n_bands)
        The unshifted pattern first.
    alternative : {'two-sided', 'enriched', 'depleted'}

    Returns
    -------
    ndarray of shape (n_bands,)
    """
    sided = _sided(scores, alternative)
    as_good: Floats = (sided[1:] >= sided[0] - _TIE).sum(axis=0) + 1.0
    return as_good / len(sided)


def family_wise(scores: Floats, alternative: str) -> Floats:
    """Return p values corrected for the number of bands by the step-down maximum of Westfall and Young [1]_.

    The greatest score over the bands is compared with the greatest of each shift, the second with
    the greatest over the bands that are left, and so on. Bands that are alike count as about one, and p
    goes down to 1/(m + 1) whatever their number.

    Parameters
    ----------
    scores, alternative
        As in `p_values`.

    Returns
    -------
    ndarray of shape (n_bands,)

    References
    ----------
    .. [1] Westfall, P. H. & Young, S. S. (1993). Resampling-based multiple testing. Wiley.
    """
    sided = _sided(scores, alternative)
    worst_first = np.argsort(sided[0], kind="stable")
    greatest = np.maximum.accumulate(sided[1:, worst_first], axis=1)  # over this band and the worse ones
    p = ((greatest >= sided[0, worst_first] - _TIE).sum(axis=0) + 1.0) / len(sided)
    p = np.maximum.accumulate(p[::-1])[::-1]
    corrected = np.empty_like(p)
    corrected[worst_first] = p
    return corrected


def _sided(scores: Floats, alternative: str) -> Floats:
    """Return scores that are greater the more they speak for the alternative."""
    if alternative == "two-sided":
        return np.abs(scores)
    return scores if alternative == "enriched" else -scores


def _once(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of each row without the second and later of equal ones, which become -1."""
    order = np.argsort(places, axis=1, kind="stable")
    ordered = np.take_along_axis(places, order, axis=1)
    again = np.zeros(places.shape, dtype=bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    single = np.empty_like(places)
    np.put_along_axis(single, order, np.where(again, -1, ordered), axis=1)
    return single


def _power(squares: Floats, n: Floats) -> float:
    """Return b of the variance ~ n^b by a regression of squares on counts with gamma errors; between -4 and 0."""
    x = np.log(n / n.max())
    mean = squares.mean()
    if mean == 0 or x.min() == x.max():
        return -1.0
    design = np.column_stack([np.ones_like(x), x])
    a, b = np.log(mean), -1.0
    for _ in range(25):  # converges in about five
        fitted = np.exp(a + b * x)
        before = b
        (a, b), *_ = np.linalg.lstsq(design, a + b * x + (squares - fitted) / fitted, rcond=None)
        b = float(np.clip(b, -4.0, 0.0))
        if abs(b - before) < 1e-6:
            break
    return b
