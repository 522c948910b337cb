"""What stands in for values below detection. Arrays in, arrays out."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoprospect._checks import check_choice, first_rows, user_level
from geoprospect.errors import DataWarning, InputError

log = logging.getLogger("geoprospect")

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

METHODS = ("half", "sqrt2", "nan", "ros", "lrem")
_FACTORS = {"half": 0.5, "sqrt2": math.sqrt(0.5), "nan": math.nan}
# Helsel (2005): with more than 80 % censored no method estimates more than how many are. Three, so that a line or a
# spread is not drawn through two points.
FEWEST_DETECTED, LEAST_SHARE = 3, 0.2
# Of the log-ratio EM: steps at most, and the step (in standard deviations) at which it has come to rest.
_STEPS, _AT_REST = 1000, 1e-4
# How far a factor of truncation goes towards its new value: all of the way, those of parts that go together overshoot.
_PACE = 0.5
# What keeps the covariance regular where two parts are copies of each other, in shares of the mean variance.
_RIDGE = 1e-9
# The least variance of logarithms: parts that keep one ratio to a millionth have none.
_LEAST = 1e-12
# Entries of matrices that are solved together: 16 MB, a few times over.
_BLOCK = 2**21


def impute(values: Floats, limits: Floats, censored: Mask, method: str, *, elements: Sequence[str] = ()) -> Floats:
    """Return the values with an estimate in the place of each censored one.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_elements)
        Concentrations; NaN where missing, anything where censored.
    limits : ndarray of shape (n_samples, n_elements)
        Detection limits, read where censored only. An element may have several.
    censored : ndarray of bool of shape (n_samples, n_elements)
        True where a value is below its limit.
    method : {'half', 'sqrt2', 'nan', 'ros', 'lrem'}
        See `geoprospect.replace_censored`.
    elements : sequence of str, optional
        Names for messages.

    Returns
    -------
    ndarray of shape (n_samples, n_elements)
        Estimates are above 0 and below their limits; all other values are as they came.

    Raises
    ------
    InputError
        When the method is unknown, a limit is missing or not above 0, or values do not suffice for the
        method.
    """
    check_choice("method", method, METHODS)
    names = list(elements) or [f"column {at}" for at in range(values.shape[1])]
    if method == "nan" or not censored.any():
        return np.where(censored, np.nan, values)
    _check_limits(limits, censored, names)
    if method in _FACTORS:
        return np.where(censored, limits * _FACTORS[method], values)
    _check_measured(values, censored, names, method)
    estimate = _ros if method == "ros" else _lrem
    estimated = estimate(values, limits, censored, names)
    # The line of order statistics may pass above a limit, and a conditional mean may round to it.
    return np.where(censored, np.clip(estimated, np.finfo(float).tiny, np.nextafter(limits, 0)), values)


def plotting_positions(x: Floats, censored: Mask, order: NDArray[np.int64] | None = None) -> Floats:
    """Return the probabilities of not exceeding, for values that are censored at one or several limits.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Measured values, and limits where censored; none missing.
    censored : ndarray of bool of shape (n,)
        True where x is a limit; at least one.
    order : ndarray of int of shape (n_censored,), optional
        What those below one limit rank by. Default: as they stand.

    Returns
    -------
    ndarray of shape (n,)
        Between 0 and 1. Measured values between two limits are equally spaced, and so are those
        below one limit.

    References
    ----------
    .. [1] Hirsch, R. M. & Stedinger, J. R. (1987). Plotting positions for historical floods and their
       precision. Water Resources Research 23, 715-727. https://doi.org/10.1029/WR023i004p00715
    .. [2] Helsel, D. R. & Cohn, T. A. (1988). Estimation of descriptive statistics for multiply
       censored water quality data. Water Resources Research 24, 1997-2004.
       https://doi.org/10.1029/WR024i012p01997
    """
    measured, limit = x[~censored], x[censored]
    edges = np.append(-np.inf, np.unique(limit))
    above, at = (np.searchsorted(edges, some, side="right") - 1 for some in (measured, limit))
    n_above, n_at = (np.bincount(some, minlength=len(edges)) for some in (above, at))
    # Of what can be compared with a limit and is not above the next, the share below it; times that of limits above.
    below = np.searchsorted(np.sort(measured), edges) + np.cumsum(n_at)
    share = np.append(np.cumprod((below / np.maximum(below + n_above, 1))[::-1])[::-1], 1.0)
    positions = np.empty(len(x))
    positions[~censored] = share[above] + (share[above + 1] - share[above]) * _ranks(above, measured) / (
        n_above[above] + 1
    )
    positions[censored] = share[at] * _ranks(at, np.arange(len(at)) if order is None else order) / (n_at[at] + 1)
    return positions


def _ranks(group: NDArray[np.int64], by: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank of each within its group, from 1."""
    ranked = np.lexsort([by, group])
    ranks = np.empty(len(group), dtype=np.int64)
    ranks[ranked] = np.arange(len(group)) - np.searchsorted(group[ranked], group[ranked]) + 1
    return ranks


def _ros(values: Floats, limits: Floats, censored: Mask, names: Sequence[str]) -> Floats:
    """Return estimates by regression on order statistics, each element by itself.

    Helsel and Cohn (1988); Lee, L. & Helsel, D. (2005), https://doi.org/10.1016/j.cageo.2005.03.012. The logarithms of
    measured values make a straight line over the normal scores of their plotting positions, and censored ones stand on
    it at theirs. Which of those below one limit is the lowest nobody knows. Taken as they stand in the table, which
    often follows the traverse, they would make a trend on a map: they are drawn, always alike.
    """
    from scipy.special import ndtri

    rng = np.random.default_rng(0)
    estimated = np.full(values.shape, np.nan)
    for at in np.flatnonzero(censored.any(axis=0)).tolist():
        known = censored[:, at] | ~np.isnan(values[:, at])
        below = censored[known, at]
        x = np.where(below, limits[known, at], values[known, at])
        score = ndtri(plotting_positions(x, below, rng.permutation(int(below.sum()))))
        slope, height = np.polyfit(score[~below], np.log(x[~below]), 1)
        found = np.exp(height + slope * score[below])
        estimated[censored[:, at], at] = found
        if beyond := int((found >= x[below]).sum()):
            log.info(
                "%s: the line has %d of %d values above their limit; set just below", names[at], beyond, len(found)
            )
    return estimated


def _lrem(values: Floats, limits: Floats, censored: Mask, names: Sequence[str]) -> Floats:
    """Return estimates by EM on log-ratios: the expected logarithm, given what is measured in the sample.

    Palarea-Albaladejo, J. & Martín-Fernández, J. A. (2008), https://doi.org/10.1016/j.cageo.2007.09.015. Log-ratios
    are normal; so are, within a sample, the logarithms of its parts but for a constant, the size of the sample. With K
    the pseudo-inverse of the covariance of centred log-ratios, which gives no weight to the size, the hidden logarithms
    have the precision K_HH and the mean m_H - K_HH⁻¹ K_HO (y_O - m_O). No part need be complete to serve as a
    denominator; a sample needs one that is measured.

    The published algorithm truncates each hidden value by itself. Where several are below detection, or some are
    missing beside, what truncation does to one moves the others: here each censored value has a normal factor in place
    of its truncation, refined once a step by expectation propagation, which is exact where it is the only one.
    Cunningham, J. P., Hennig, P. & Lacoste-Julien, S. (2011), https://doi.org/10.48550/arXiv.1111.6832.
    """
    measured = ~np.isnan(values) & ~censored
    parts = censored.any(axis=0) | (measured.mean(axis=0) >= LEAST_SHARE)
    rows = measured[:, parts].any(axis=1)
    n, n_parts = int(rows.sum()), int(parts.sum())
    if n_parts < 2 or n <= n_parts:
        raise InputError(
            f"method='lrem': {n} samples of {n_parts} elements; needs two elements at least and more samples than "
            "elements; take method='ros' or 'half', or other elements"
        )
    empty = censored.any(axis=1) & ~rows
    if empty.any():
        raise InputError(
            f"method='lrem': {int(empty.sum())} samples have values below detection and none that is measured (sample "
            f"{first_rows(np.flatnonzero(empty))}), so no ratio tells anything; take more elements, leave these "
            "samples out, or take method='ros'"
        )
    lost = [name for name, part in zip(names, parts, strict=True) if not part]
    if lost:
        log.info("lrem: measured in few samples and not used to estimate others: %s", first_rows(lost))
    at = np.ix_(rows, parts)
    below = censored[at]
    hidden = below | np.isnan(values[at])
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(hidden, np.nan, np.log(values[at]))
        ceilings = np.where(below, np.log(limits[at]), np.inf)
    estimated = np.full(values.shape, np.nan)
    estimated[at] = np.exp(_expected_logs(logs, ceilings, hidden))
    return estimated


def _expected_logs(logs: Floats, ceilings: Floats, hidden: Mask) -> Floats:
    """Return logarithms (N, D) with the hidden ones estimated; `ceilings` are infinite where a value is missing."""
    n, d = logs.shape
    size = np.nanmean(logs, axis=1, keepdims=True)
    # A start, no more, but in proportion to the spread: few samples hold on to it.
    y = np.where(np.isfinite(ceilings), ceilings - 0.5 * np.nanstd(logs, axis=0), logs)
    y = np.where(np.isnan(y), np.nanmean(y - size, axis=0) + size, y)
    center = np.eye(d) - 1 / d
    spread = np.zeros((d, d))  # what the hidden values vary about their means, summed over samples
    tightness, shift = np.zeros((n, d)), np.zeros((n, d))
    counts = hidden.sum(axis=1)
    groups = []  # samples with as many hidden values, and which these are: their matrices are solved together
    for count in np.unique(counts[counts > 0]):
        alike = np.flatnonzero(counts == count)
        groups += [
            (rows[:, None], np.nonzero(hidden[rows])[1].reshape(-1, count))  # (R, 1), (R, H)
            for rows in np.array_split(alike, len(alike) * int(count) ** 2 // _BLOCK + 1)
        ]
    mean, cov = np.zeros(d), np.full((d, d), np.inf)
    for _ in range(_STEPS):
        ratios = y - y.mean(axis=1, keepdims=True)
        before, mean = (mean, cov), ratios.mean(axis=0)
        cov = ((ratios - mean).T @ (ratios - mean) + center @ spread @ center) / n
        usual = max(float(np.trace(cov)) / d, _LEAST)
        scale = np.sqrt(np.diag(cov) + _RIDGE * usual)
        moved = np.abs(mean - before[0]) / scale, np.abs(cov - before[1]) / np.outer(scale, scale)
        if max(one.max() for one in moved) < _AT_REST:
            return y
        # The constant vector gets an eigenvalue for the inverse, and loses it after.
        precision = center @ np.linalg.inv(cov + _RIDGE * usual * np.eye(d) + usual / d) @ center
        spread = np.zeros((d, d))
        for rows, which in groups:
            y[rows, which], within, tightness[rows, which], shift[rows, which] = _hidden(
                y[rows[:, 0]] - mean, mean[which], precision, ceilings[rows, which], which,
                tightness[rows, which], shift[rows, which],
            )  # fmt: skip
            np.add.at(spread, (which[:, :, None], which[:, None, :]), within)
    warnings.warn(
        f"method='lrem': has not come to rest after {_STEPS} steps, the estimates are those of the last; the usual "
        f"causes are elements mostly below detection and few samples ({n} of {d} elements): leave out elements",
        DataWarning,
        stacklevel=user_level(),
    )
    return y


def _hidden(
    residual: Floats, mean: Floats, precision: Floats, ceilings: Floats, which: NDArray[np.int64], tightness: Floats,
    shift: Floats,
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    """Return means (R, H) and covariances (R, H, H) of hidden logarithms, and the factors of truncation, refined.

    `residual` (R, D) is what is measured less its mean, `which` (R, H) the columns of the hidden.
    """
    from scipy.special import erfcx

    np.put_along_axis(residual, which, 0.0, axis=1)
    own = precision[which[:, :, None], which[:, None, :]]  # (R, H, H)
    pull = np.take_along_axis(residual @ precision, which, axis=1)
    diagonal = np.arange(which.shape[1])
    tight = own.copy()
    tight[:, diagonal, diagonal] += tightness
    within = np.linalg.inv(tight)
    middle = np.einsum("rij,rj->ri", within, np.einsum("rij,rj->ri", own, mean) - pull + shift)
    variance = within[:, diagonal, diagonal]
    # Without its own factor each value is normal with this variance and mean; then it is cut off at its ceiling.
    free_variance = 1 / np.maximum(1 / variance - tightness, _RIDGE / variance)
    free = free_variance * (middle / variance - shift)
    sd = np.sqrt(free_variance)
    truncated = np.isfinite(ceilings)
    a = np.where(truncated, (ceilings - free) / sd, np.inf)
    # Density over distribution function at a; the scaled error function neither overflows nor vanishes in the tail.
    hazard = np.where(truncated, math.sqrt(2 / math.pi) / erfcx(-a / math.sqrt(2)), 0.0)
    cut = free - sd * hazard
    remains = np.where(truncated, 1 - hazard * (hazard + np.where(truncated, a, 0.0)), 1.0)
    cut_variance = free_variance * np.clip(remains, _RIDGE, 1.0)
    tighter = np.where(truncated, np.maximum(1 / cut_variance - 1 / free_variance, 0.0), 0.0)
    shifted = np.where(truncated, cut / cut_variance - free / free_variance, 0.0)
    refined = tightness + _PACE * (tighter - tightness), shift + _PACE * (shifted - shift)
    return cut, np.asarray(within, dtype=np.float64), *refined


def _check_limits(limits: Floats, censored: Mask, names: Sequence[str]) -> None:
    """Raise where a censored value has no limit, or none above 0."""
    with np.errstate(invalid="ignore"):
        faults = {"no limit": censored & ~np.isfinite(limits), "a limit of 0 or less": censored & (limits <= 0)}
    for fault, where in faults.items():
        if where.any():
            raise InputError(
                f"limits: values below detection with {fault} ({_counted(where, names)}); give the limit of the "
                "laboratory, as read_samples(…, limits={element: limit}) does, or take method='nan'; log-ratios have "
                "no limits: replace concentrations, and transform them afterwards"
            )


def _check_measured(values: Floats, censored: Mask, names: Sequence[str], method: str) -> None:
    """Raise where the measured values do not suffice to tell how the others are distributed."""
    measured = ~np.isnan(values) & ~censored
    needed = censored.any(axis=0) if method == "ros" else np.ones(len(names), dtype=bool)
    with np.errstate(invalid="ignore"):
        bad = measured & (values <= 0) & needed
    if bad.any():
        raise InputError(
            f"values: 0 or negative ({_counted(bad, names)}), which has no logarithm; read the table with zero='below' "
            "or zero='missing', or take method='half'"
        )
    few = []
    for at in np.flatnonzero(censored.any(axis=0)).tolist():
        found, below = int(measured[:, at].sum()), int(censored[:, at].sum())
        different = len(np.unique(values[measured[:, at], at]))
        if different < FEWEST_DETECTED or found < LEAST_SHARE * (found + below):
            few.append(f"{names[at]}: {found} of {found + below}, {different} different")
    if few:
        raise InputError(
            f"method={method!r}: too few values above detection ({first_rows(few)}); needs {FEWEST_DETECTED} different "
            f"ones and {LEAST_SHARE:.0%} of the element; leave these elements out, or take method='half'"
        )


def _counted(where: Mask, names: Sequence[str]) -> str:
    """Return 'Cu: 3, Zn: 7' for a message about some values."""
    counts = where.sum(axis=0).tolist()
    return first_rows(f"{name}: {count}" for name, count in zip(names, counts, strict=True) if count)
