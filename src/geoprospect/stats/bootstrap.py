"""Mean AUC within folds, and its bootstrap over whole clusters of points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoprospect._checks import check_int, check_rng, first_rows
from geoprospect.errors import InputError

Floats = NDArray[np.float64]

# Replicates that are weighed at once, and ore points that are compared with all barren ones at once: a few MB each.
_BLOCK = 256


def auc_of_folds(labels: ArrayLike, scores: ArrayLike, folds: ArrayLike) -> Floats:
    """Return the mean of the rank AUCs within folds of several scores.

    Parameters
    ----------
    labels : array_like of shape (N,)
        1 ore, 0 barren.
    scores : array_like of shape (M, N)
        One row per method.
    folds : array_like of shape (N,)
        Number or name of the fold of each point; folds without ore or without barren points are left out.

    Returns
    -------
    ndarray of shape (M,)
        NaN where no fold has both classes.

    Raises
    ------
    InputError
        When the arguments do not fit together.
    """
    ore, values = _labels_and_rows(labels, scores)
    fold = _numbered("folds", folds, ore.size)
    once = np.ones((1, int(ore.sum()))), np.ones((1, int((~ore).sum())))
    unit = np.where(ore, np.cumsum(ore), np.cumsum(~ore)) - 1  # each point by itself
    return _mean_aucs(ore, values, unit, fold, *once)[:, 0]


def bootstrap_aucs(
    labels: ArrayLike,
    scores: ArrayLike,
    folds: ArrayLike,
    clusters: ArrayLike,
    replicates: int = 2000,
    rng: int | np.random.Generator | None = None,
) -> Floats:
    """Return `auc_of_folds` of several scores over resamples of whole clusters [1]_.

    As many clusters as there are are drawn with replacement, those with ore and those with barren points
    apart, over all folds; a cluster drawn twice counts its points twice. All methods see the same
    resamples, so that their differences can be read off.

    Parameters
    ----------
    labels, scores, folds
        As in `auc_of_folds`.
    clusters : array_like of shape (N,)
        Number or name of the cluster of each point. Where it holds points of both classes, its ore and its
        barren points are drawn apart; where it lies in several folds, it is drawn for all of them at once.
    replicates : int, default 2000
    rng : int, Generator or None
        Draws the clusters.

    Returns
    -------
    ndarray of shape (M, replicates)
        A fold that a resample left without ore or barren points does not count in it; NaN, for all methods
        alike, where none was left.

    Raises
    ------
    InputError
        When the arguments do not fit together.

    References
    ----------
    .. [1] Field, C. A. & Welsh, A. H. (2007). Bootstrapping clustered data. Journal of the Royal
       Statistical Society B 69, 369-390. https://doi.org/10.1111/j.1467-9868.2007.00593.x
    """
    generator, replicates = check_rng(rng), check_int("replicates", replicates)
    ore, values = _labels_and_rows(labels, scores)
    fold, cluster = (_numbered(name, of, ore.size) for name, of in (("folds", folds), ("clusters", clusters)))
    unit = np.empty(ore.size, dtype=np.int64)
    drawn = []
    for part in (ore, ~ore):
        found, unit[part] = np.unique(cluster[part], return_inverse=True)
        drawn.append(_draw(found.size, replicates, generator))
    return _mean_aucs(ore, values, unit, fold, *drawn)


def _numbered(name: str, values: ArrayLike, n: int) -> NDArray[np.int64]:
    """Return the number of the fold or cluster of each point, counted from 0."""
    given = np.asarray(values)
    if given.shape != (n,):
        raise InputError(f"{name}: have shape {given.shape}, need one for each of the {n} points")
    missing = np.array([one is None or one != one for one in given.tolist()], dtype=bool)
    if missing.any():
        raise InputError(f"{name}: missing at {first_rows(np.flatnonzero(missing))}; every point needs one")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def _labels_and_rows(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Return which points are ore, and the scores as (M, N)."""
    given, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if given.ndim != 1 or values.ndim != 2 or values.shape[1] != given.size:
        raise InputError(f"labels, scores: have shapes {given.shape} and {values.shape}, need (N,) and (M, N)")
    if not np.isin(given, (0, 1)).all():
        raise InputError("labels: need 1 (ore) and 0 (barren) only")
    if not np.isfinite(values).all():
        raise InputError(f"scores: {int((~np.isfinite(values)).sum())} are not finite; leave these points out")
    return given == 1, values


def _draw(n: int, replicates: int, rng: np.random.Generator) -> NDArray[np.unsignedinteger]:
    """Draw n of n units with replacement, and return how often each came, (R, n), in small integers."""
    counts = np.empty((replicates, n), dtype=np.uint16 if n < 2**16 else np.uint32)
    for start in range(0, replicates if n else 0, _BLOCK):
        block = counts[start : start + _BLOCK]
        block[:] = rng.multinomial(n, np.full(n, 1 / n), size=len(block))
    return counts


def _mean_aucs(
    ore: NDArray[np.bool_],
    scores: Floats,
    unit: NDArray[np.int64],
    fold: NDArray[np.int64],
    of_ore: NDArray[Any],
    of_barren: NDArray[Any],
) -> Floats:
    """Return the mean AUC of the folds, (M, R), where units of ore and of barren points weigh (R, units).

    Comparisons are summed over pairs of units once, so that a resample weighs units and not points: the AUC of a fold
    is then a quotient of bilinear forms, and nothing is sorted again.
    """
    total, present = np.zeros((len(scores), len(of_ore))), np.zeros(len(of_ore))
    for one in np.unique(fold):
        a, b = (np.flatnonzero((fold == one) & part) for part in (ore, ~ore))
        if not (a.size and b.size):
            continue
        (a, of_a, first_a, n_a), (b, of_b, first_b, n_b) = (_by_unit(at, unit) for at in (a, b))
        pairs = np.empty(len(of_ore))
        for m, score in enumerate(scores):
            won = _won(score[a], score[b], first_a, first_b)
            for start in range(0, len(of_ore), _BLOCK):
                r = slice(start, start + _BLOCK)
                w_a, w_b = of_ore[r, of_a].astype(np.float64), of_barren[r, of_b].astype(np.float64)  # (R, units)
                pairs[r] = (w_a @ n_a) * (w_b @ n_b)
                sums = np.einsum("rb,rb->r", w_a @ won, w_b)
                total[m, r] += np.divide(sums, pairs[r], out=np.zeros_like(sums), where=pairs[r] > 0)
        present += pairs > 0
    return np.divide(total, present, out=np.full_like(total, np.nan), where=present > 0)


def _by_unit(
    at: NDArray[np.int64], unit: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return points sorted by unit, their units, where each begins, and how many points it has."""
    at = at[np.argsort(unit[at], kind="stable")]
    units, first, count = np.unique(unit[at], return_index=True, return_counts=True)
    return at, units, first, count.astype(np.float64)


def _won(a: Floats, b: Floats, first_a: NDArray[np.int64], first_b: NDArray[np.int64]) -> Floats:
    """Return the comparisons won by scores `a` over `b`, summed over pairs of units; a tie is half won."""
    rows = np.empty((a.size, first_b.size))
    for start in range(0, a.size, _BLOCK):
        some = a[start : start + _BLOCK, None]
        better = (some > b) + 0.5 * (some == b)  # (block, n_barren)
        rows[start : start + _BLOCK] = np.add.reduceat(better, first_b, axis=1)
    return np.add.reduceat(rows, first_a, axis=0)
