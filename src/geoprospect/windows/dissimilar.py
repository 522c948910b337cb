"""Background windows that are least like the ore windows."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import check_number
from geoprospect.errors import InputError
from geoprospect.grid import grid_of_survey
from geoprospect.windows.valid_cells import bands_of, summed_area, window_sums
from geoprospect.windows.windows import Windows, check_windows

# How far the correlation of bands is shrunk towards none: closed or collinear bands leave it singular.
_SHRINKAGE = 0.1


def least_like_ore(windows: Windows, survey: xr.Dataset, share: float = 0.5) -> NDArray[np.int64]:
    """Return the ore windows and those background (barren) windows that are least like them.

    ``sample_windows(…, barren="dissimilar")`` chooses positions in the same way. Use this function on
    the training windows of a fold: the test windows then have no influence, and the background windows
    of the test stay a random draw. A choice among all windows would make the scores of the test too high.

    Each window is described by the mean of each band over it, as a normal score among the windows given,
    so that units and outliers have no influence. Its dissimilarity is the Mahalanobis distance to
    the nearest ore window, with the correlation of the background windows shrunk by a tenth towards zero.

    Parameters
    ----------
    windows : Windows
        Ore and background windows. Each zoom and each draw is treated separately.
    survey : xarray.Dataset
        Bands on the grid of the windows; all of them are used.
    share : float, default 0.5
        Fraction of the background windows to keep, rounded up.

    Returns
    -------
    ndarray of int
        Indices into `windows`, ascending.

    Raises
    ------
    InputError
        When a zoom lacks ore or background windows, or the survey is on another grid.

    References
    ----------
    Carranza, E. J. M., Hale, M. and Faassen, C. (2008). Selection of coherent deposit-type locations and
    their application in data-driven mineral prospectivity mapping.
    https://doi.org/10.1016/j.oregeorev.2007.07.001

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples[["Cu", "Ag"]], area.grid)
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=50, rng=0)
    >>> windows[gp.least_like_ore(windows, survey, share=0.6)]
    Windows(40 ore, 30 barren; 8 cells (3.43 km) cropped to 7; 40 deposits)
    """
    check_windows(windows, survey)
    share, grid = check_number("share", share, above=0, maximum=1), grid_of_survey(survey)
    if grid != windows.grid:
        raise InputError(
            f"survey: is on {grid}, the windows were cut on {windows.grid}; pass the survey of the windows"
        )
    means = window_means(survey, windows.rows, windows.cols, windows.widths)
    kept = [np.flatnonzero(windows.labels == 1)]
    for zoom in np.unique(windows.zooms):
        ore = np.flatnonzero((windows.labels == 1) & (windows.zooms == zoom))
        other = np.flatnonzero((windows.labels == 0) & (windows.zooms == zoom))
        if not ore.size or not other.size:
            raise InputError(
                f"windows: {ore.size} ore and {other.size} barren ones have zoom {zoom}; both kinds are needed at each"
            )
        distance = dissimilarity(means[ore], means[other])
        for draw in np.unique(windows.draw[other]):
            mine = windows.draw[other] == draw
            kept.append(other[mine][farthest(distance[mine], share)])
    return np.sort(np.concatenate(kept))


def window_means(
    survey: xr.Dataset, rows: NDArray[np.int64], cols: NDArray[np.int64], widths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean of each band over the cells with data of each window, (N, C); NaN where there are none."""
    means, before, count = [], np.empty(0, dtype=bool), np.empty(0, dtype=np.int64)
    for band in bands_of(survey):
        values = band.to_numpy()
        known = np.isfinite(values)
        if not np.array_equal(known, before):  # most bands lack data where the last one does
            before, count = known, window_sums(summed_area(known), rows, cols, widths)
        centre = values[known].mean(dtype=np.float64) if known.any() else 0.0  # sums about 0 lose no digits
        table = summed_area(np.where(known, np.subtract(values, centre, dtype=np.float64), 0))
        sums = window_sums(table, rows, cols, widths)
        means.append(np.where(count > 0, sums / np.maximum(count, 1) + centre, np.nan))
    if not means:
        raise InputError("survey: has no band with dims (y, x), so windows cannot be compared")
    return np.column_stack(means)


def dissimilarity(ore: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Mahalanobis distance of other windows, (M, C), to the nearest of the ore windows, (N, C).

    Of normal scores, with the shrunk correlation of the other windows. The nearest, not the mean: what is
    between two kinds of ore is like neither.
    """
    from scipy.spatial.distance import cdist

    scores = np.column_stack([_normal_scores(band) for band in np.concatenate([ore, other]).T])
    own = scores[len(ore) :]
    spread = own.T @ own / len(own)
    spread = (1 - _SHRINKAGE) * spread + _SHRINKAGE * np.eye(len(spread))
    white = np.linalg.solve(np.linalg.cholesky(spread), scores.T).T
    parts = np.array_split(white[len(ore) :], 1 + white.size * len(ore) // 2**24)
    return np.concatenate([cdist(part, white[: len(ore)]).min(axis=1) for part in parts])


def _normal_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal quantiles of the ranks; ties have the same, missing values 0.

    Means of windows over equal values differ in their last digits, by the order of summing. Such differences
    count as ties, or windows below a detection limit would get different ranks.
    """
    from scipy.special import ndtri

    scores, known = np.zeros(len(values)), np.flatnonzero(np.isfinite(values))
    if not known.size:
        return scores
    known = known[np.argsort(values[known], kind="stable")]
    ascending = values[known]
    near = max(1e-9 * (ascending[-1] - ascending[0]), 1e-12 * np.abs(ascending).max())
    tie = np.concatenate([[0], np.cumsum(np.diff(ascending) > near)])
    n = np.bincount(tie)
    rank = np.cumsum(n) - (n - 1) / 2
    scores[known] = ndtri((rank[tie] - 0.5) / known.size)
    return scores


def farthest(distance: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Return the indices, ascending, of the fraction with the greatest distances."""
    return np.sort(np.argsort(-distance, kind="stable")[: rounded_up(len(distance), share)])


def rounded_up(n: int, share: float) -> int:
    """Return a fraction of `n`, rounded up."""
    return math.ceil(round(share * n, 9))
