"""How well assays repeat: precision from duplicates, and how it compares with what differs from place to place."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geoprospect._checks import check_number
from geoprospect.errors import InputError
from geoprospect.geochem.samples import Samples
from geoprospect.grid import Grid

# Thompson and Howarth (1976): pairs in a group, and the fewest pairs whose groups give a line.
_GROUP, _FEWEST_FOR_LINE = 11, 50
# Thompson and Howarth (1973): the fewest pairs worth holding against a target.
_FEWEST_FOR_CHART = 10
# |a - b| of two normal results of standard deviation 1: σ over the median, and the 90th percentile.
_SD_OF_MEDIAN, _NINE_OF_TEN = 1.0483581, 2.3261742


def duplicate_precision(
    samples: Samples, *, tolerance: float = 0.0, pairs: ArrayLike | None = None, target: float = 10.0
) -> pd.DataFrame:
    """Return the precision of each element from samples that were taken or analysed more than once.

    Duplicates of the field hold the error of sampling and of the laboratory together, duplicates of the
    laboratory only the latter: the numbers mean what the duplicates are.

    Parameters
    ----------
    samples : Samples
        Values as they were measured, neither logarithms nor ratios.
    tolerance : float, default 0
        Samples that lie within so many metres of each other are duplicates; those in a chain are one
        group. 0 takes only those at exactly one place. Not used with `pairs`.
    pairs : array_like of int of shape (n_pairs, 2), optional
        The duplicates, as positions of samples; no sample in two pairs.
    target : float, default 10
        Relative standard deviation, in %, that the duplicates are held against.

    Returns
    -------
    pandas.DataFrame
        Indexed by element:

        - ``unit``, ``n_places`` with at least two values, ``n_pairs`` of them (a place with three values
          counts one pair, with four two), ``left_out``: places where a value is censored, over range, or
          not above 0. A value that is not measured has no error;
        - ``sd``: standard deviation of one result, pooled over places, in ``unit``;
        - ``rsd``: root mean square of the coefficients of variation of the places, in % [1]_, the average
          relative error; for pairs ``100·sqrt(mean(2·((a − b)/(a + b))²))``. ``rsd_se``: its standard error,
          for errors that are normal and everywhere of that size;
        - ``s0``, ``k``: the line ``s0 + k·c`` of the standard deviation at concentration c [2]_ and
          ``rsd_median``, what it gives at the median of the element, in %; NaN with fewer than 50 pairs;
        - ``beyond``: pairs that differ by more than 9 of 10 would at ``target``, and ``p_target``, the
          probability of at least so many at ``target`` [3]_: where it is small, precision is worse. NaN
          with fewer than 10 pairs;
        - ``anova_share``: part of the variance of logarithms that is between duplicates, from 0 to 1, the
          rest being between places [4]_; ``p_places``, the probability of places that differ so much where
          there is nothing but the error of duplicates (F test). Above 0.2 a map shows much noise [5]_.

        NaN where there are too few duplicates to tell.

    Raises
    ------
    InputError
        When `tolerance` or `target` is no number that fits, or `pairs` are not positions of samples.
    CRSError
        When `tolerance` is used on samples in degrees that no one projection covers.

    References
    ----------
    .. [1] Stanley, C. R. & Lawie, D. (2007). Average relative error in geochemical determinations:
       clarification, calculation, and a plea for consistency. *Exploration and Mining Geology* 16, 267-276.
       https://doi.org/10.2113/gsemg.16.3-4.267
    .. [2] Thompson, M. & Howarth, R. J. (1976). Duplicate analysis in geochemical practice. Part I.
       *Analyst* 101, 690-698. https://doi.org/10.1039/AN9760100690
    .. [3] Thompson, M. & Howarth, R. J. (1973). The rapid estimation and control of precision by duplicate
       determinations. *Analyst* 98, 153-160. https://doi.org/10.1039/AN9739800153
    .. [4] Garrett, R. G. (1969). The determination of sampling and analytical errors in exploration
       geochemistry. *Economic Geology* 64, 568-569. https://doi.org/10.2113/gsecongeo.64.5.568
    .. [5] Ramsey, M. H., Thompson, M. & Hale, M. (1992). Objective evaluation of precision requirements for
       geochemical analysis using robust analysis of variance. *Journal of Geochemical Exploration* 44,
       23-36.

    Examples
    --------
    >>> import geoprospect as gp
    >>> places = [[0, 0], [0, 0], [900, 0], [900, 0], [0, 900]]
    >>> samples = gp.Samples(places, [[18.0], [22.0], [45.0], [55.0], [30.0]], ["Cu"], ["ppm"], "EPSG:32649")
    >>> gp.duplicate_precision(samples)[["unit", "n_pairs", "sd", "rsd", "anova_share"]].round(3)
            unit  n_pairs     sd     rsd  anova_share
    element
    Cu       ppm        2  5.385  14.142        0.047
    """
    if not isinstance(samples, Samples):
        raise InputError(f"samples: is a {type(samples).__name__}, needs Samples; read a table with read_samples(path)")
    tolerance = check_number("tolerance", tolerance, minimum=0)
    target = check_number("target", target, above=0)
    group = _places(samples, tolerance) if pairs is None else _paired(pairs, len(samples))
    held = group >= 0
    values = samples.values[held]
    unmeasured = (samples.censored | samples.over_range)[held] | (values <= 0)
    rows = [
        _precision(values[:, j], unmeasured[:, j], group[held], samples.values[:, j], target)
        for j in range(len(samples.elements))
    ]
    table = pd.DataFrame(rows, index=pd.Index(samples.elements, name="element"))
    table.insert(0, "unit", samples.units)
    return table


def _precision(
    values: NDArray[np.float64],
    unmeasured: NDArray[np.bool_],
    group: NDArray[np.int64],
    survey: NDArray[np.float64],
    target: float,
) -> dict[str, float]:
    """Return the row of one element: `values` of samples that have a twin, their `group`, and all of the `survey`."""
    from scipy.special import bdtrc, fdtrc

    counted = ~np.isnan(values) | unmeasured
    repeated = np.bincount(group[counted], minlength=group.max(initial=0) + 1)[group] > 1
    spoilt = np.isin(group, group[unmeasured])
    kept = np.flatnonzero(counted & repeated & ~spoilt)
    kept = kept[np.argsort(group[kept], kind="stable")]
    v, g = values[kept], group[kept]
    left_out = len(np.unique(group[counted & repeated & spoilt]))
    row = dict.fromkeys(("sd rsd rsd_se s0 k rsd_median beyond p_target anova_share p_places").split(), math.nan)
    head: dict[str, float] = {"n_places": len(np.unique(g)), "n_pairs": 0, "left_out": left_out}
    if not len(v):
        return head | row
    within, mean, spare = within_places(v, g)  # (places,) each
    row["sd"] = math.sqrt(np.average(within, weights=spare))
    row["rsd"] = 100 * math.sqrt(np.average(within / mean**2, weights=spare))
    row["rsd_se"] = row["rsd"] / math.sqrt(2 * spare.sum())
    first, second = _pairs_of(g)
    head["n_pairs"] = len(first)
    c, d = (v[first] + v[second]) / 2, np.abs(v[first] - v[second])
    if len(d) >= _FEWEST_FOR_LINE:
        row["s0"], row["k"] = thompson_howarth(c, d)
        usual = float(np.nanmedian(survey))
        row["rsd_median"] = 100 * (row["s0"] / usual + row["k"])
    if len(d) >= _FEWEST_FOR_CHART:
        beyond = int((d > _NINE_OF_TEN * target / 100 * c).sum())
        row["beyond"], row["p_target"] = beyond, float(bdtrc(beyond - 1, len(d), 0.1)) if beyond else 1.0
    if len(within) > 1:
        error, between = variance_components(np.log10(v), g)
        row["anova_share"] = error / (error + between) if error + between > 0 else math.nan
        spread, freedom = _between_places(np.log10(v), g)
        row["p_places"] = float(fdtrc(*freedom, spread / error)) if error > 0 else 0.0
    return head | row


def within_places(
    values: NDArray[np.float64], group: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return variance, mean and degrees of freedom of each group of values; groups have two or more.

    Parameters
    ----------
    values, group : ndarray of shape (n,)
        Values, and whole numbers that are alike within a group.

    Returns
    -------
    variance, mean, freedom : ndarray of shape (n_groups,)
    """
    _, at = np.unique(group, return_inverse=True)
    count = np.bincount(at).astype(np.float64)
    mean = np.bincount(at, weights=values) / count
    variance = np.bincount(at, weights=(values - mean[at]) ** 2) / (count - 1)
    return variance, mean, count - 1


def variance_components(values: NDArray[np.float64], group: NDArray[np.int64]) -> tuple[float, float]:
    """Return the variance within groups and the component between them, by analysis of variance (one way, random).

    Parameters
    ----------
    values, group : ndarray of shape (n,)
        Values, and whole numbers that are alike within a group; at least two groups of two or more.

    Returns
    -------
    within, between : float
        `between` is 0 where the groups differ less than their insides.
    """
    variance, _, freedom = within_places(values, group)
    within = float(np.average(variance, weights=freedom))
    spread, _ = _between_places(values, group)
    count = freedom + 1
    # The size of a group, where all are alike.
    size = (count.sum() - (count**2).sum() / count.sum()) / (len(count) - 1)
    return within, max(0.0, (spread - within) / size)


def thompson_howarth(mean: NDArray[np.float64], difference: NDArray[np.float64]) -> tuple[float, float]:
    """Return the line of the standard deviation over the concentration, from pairs.

    Pairs are sorted by their mean and cut into groups of eleven, a rest of fewer being left out; the
    standard deviation of a group is 1.048 times the median of its absolute differences.

    Parameters
    ----------
    mean, difference : ndarray of shape (n_pairs,)
        Mean and absolute difference of each pair; at least 22 pairs.

    Returns
    -------
    s0, k : float
        Standard deviation at concentration 0, and what is added for each unit of concentration. NaN
        where the groups have one mean.
    """
    order = np.argsort(mean, kind="stable")[: len(mean) // _GROUP * _GROUP].reshape(-1, _GROUP)
    c, s = mean[order].mean(axis=1), _SD_OF_MEDIAN * np.median(difference[order], axis=1)
    off = c - c.mean()
    if not (off**2).sum() > 0:
        return math.nan, math.nan
    k = float((off * s).sum() / (off**2).sum())
    return float(s.mean() - k * c.mean()), k


def _between_places(values: NDArray[np.float64], group: NDArray[np.int64]) -> tuple[float, tuple[float, float]]:
    """Return the mean square between groups, and the degrees of freedom between and within them."""
    _, mean, freedom = within_places(values, group)
    count = freedom + 1
    centre = np.average(mean, weights=count)
    spread = float((count * (mean - centre) ** 2).sum() / (len(mean) - 1))
    return spread, (len(mean) - 1.0, float(freedom.sum()))


def _pairs_of(group: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return positions of first with second, third with fourth, … of each group; groups stand together."""
    start = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    place = np.arange(len(group)) - np.repeat(start, np.diff(start, append=len(group)))
    second = np.flatnonzero(place % 2 == 1)
    return second - 1, second


def _places(samples: Samples, tolerance: float) -> NDArray[np.int64]:
    """Number the places that hold more than one sample; -1 for samples that are alone."""
    if len(samples) == 0:
        return np.empty(0, dtype=np.int64)
    if tolerance == 0:
        _, place = np.unique(samples.points, axis=0, return_inverse=True)
    else:
        place = _chained(samples, tolerance)
    place = place.ravel().astype(np.int64)
    return np.where(np.bincount(place)[place] > 1, place, -1)


def _chained(samples: Samples, tolerance: float) -> NDArray[np.int64]:
    """Number the chains of samples whose links are no longer than `tolerance` metres."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    moved = samples.to_crs(Grid.covering(samples, resolution=1).crs) if samples.crs.is_geographic else samples
    metres = moved.crs.axis_info[0].unit_conversion_factor if moved.crs.axis_info else 1.0
    near = cKDTree(moved.points * metres).query_pairs(tolerance, output_type="ndarray")
    links = coo_array((np.ones(len(near), dtype=np.int8), tuple(near.T)), shape=(len(samples), len(samples)))
    place: NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
    return place


def _paired(pairs: ArrayLike, n_samples: int) -> NDArray[np.int64]:
    """Number the samples by the pair they stand in; -1 for those in none."""
    given = np.asarray(pairs)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        raise InputError(
            f"pairs: is an array of {given.dtype} of shape {given.shape}, needs whole numbers of shape (n_pairs, 2): "
            "positions of samples"
        )
    if given.size and (given.min() < 0 or given.max() >= n_samples):
        wrong = given[(given < 0) | (given >= n_samples)][0]
        raise InputError(f"pairs: {wrong} is the position of no sample; there are {n_samples}, from 0")
    position, count = np.unique(given, return_counts=True)
    if (count > 1).any():
        raise InputError(
            f"pairs: sample {position[count > 1][0]} stands in them more than once; each sample belongs to one pair"
        )
    group = np.full(n_samples, -1, dtype=np.int64)
    group[given] = np.arange(len(given))[:, None]
    return group
