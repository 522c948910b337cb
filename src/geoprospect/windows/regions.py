"""Splits of the ground into regions that share none of it. Arrays only: points and rectangles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from geoprospect._checks import shown
from geoprospect.errors import InputError

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]

# Rectangles that are compared with all others at once: few enough to lie close together, many enough to pay a call.
_TOGETHER = 32
# Rounding in distances between edges, as a share of the buffer: what lies as far as the buffer is apart.
_ROUNDING = 1e-9


def check_folds(folds: Any, n: int) -> list[Fold]:
    """Return splits of `n` windows as (train, test), each of different whole numbers from 0 to n - 1."""
    pairs = [] if isinstance(folds, (str, bytes)) or not isinstance(folds, Iterable) else list(folds)
    if not pairs:
        raise InputError(
            f"folds={folds!r}: needs one or more pairs (train, test) of indices into the windows, as spatial_folds "
            "returns them"
        )
    found = []
    for number, pair in enumerate(pairs, start=1):
        if isinstance(pair, (str, bytes, dict)) or not isinstance(pair, Iterable) or len(both := list(pair)) != 2:
            raise InputError(
                f"folds: fold {number} is {shown(pair)}, needs a pair (train, test) of indices into the windows, as "
                "spatial_folds returns them"
            )
        found.append(
            (_indices(both[0], n, f"training of fold {number}"), _indices(both[1], n, f"test of fold {number}"))
        )
    return found


def _indices(values: Any, n: int, what: str) -> NDArray[np.int64]:
    """Return different whole numbers from 0 to n - 1 as an array."""
    try:
        given = np.asarray(values if hasattr(values, "__array__") or not isinstance(values, Iterable) else list(values))
    except ValueError:  # rows of different lengths
        given = np.asarray(None)
    fault = ""
    if not given.size:
        fault = "it is empty"
    elif given.dtype == bool:
        fault = "it is a mask, and np.flatnonzero(mask) makes one of it"
    elif given.ndim != 1 or given.dtype.kind not in "iuf":
        fault = f"it is {shown(values)}"
    else:
        wrong = given[~((given >= 0) & (given < n) & (given == np.floor(given)))]
        known, counts = np.unique(given, return_counts=True)
        if wrong.size:
            fault = f"it holds {wrong[0]}"
        elif known.size < given.size:
            fault = f"{known[counts > 1][0]} stands in it more than once"
    if fault:
        raise InputError(
            f"folds: the {what} is no list of indices into {n} windows: {fault}; needs different whole numbers from 0 "
            f"to {n - 1}, as spatial_folds returns them"
        )
    return given.astype(np.int64)


def compact_regions(points: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return a region (0 … at most n - 1) for each of the points, (N, 2), by Ward's clustering.

    Regions are numbered from west to east and do not depend on the order of the points; points
    at one place are in one region.
    """
    # Sorted, because Ward's clustering breaks ties by position; once each, because one place is never split.
    places, place = np.unique(points, axis=0, return_inverse=True)
    if len(places) == 1:
        return np.zeros(len(points), dtype=np.int64)
    labels = fcluster(linkage(pdist(places), method="ward"), t=n, criterion="maxclust")
    return _west_to_east(places, labels)[place.ravel()]


def clusters(points: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """Return a cluster for each of the points, (N, 2): those linked by steps of up to `distance` are one.

    Clusters are numbered from west to east and do not depend on the order of the points.
    """
    places, place = np.unique(points, axis=0, return_inverse=True)
    if len(places) == 1:
        return np.zeros(len(points), dtype=np.int64)
    labels = fcluster(linkage(pdist(places), method="single"), t=distance, criterion="distance")
    return _west_to_east(places, labels)[place.ravel()]


def _west_to_east(places: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of sorted places as numbers from 0, by the mean x of those that share one."""
    found, of = np.unique(labels, return_inverse=True)
    mean = np.bincount(of, places[:, 0]) / np.bincount(of)
    first = np.unique(of, return_index=True)[1]  # places are sorted, so equal means are told apart by them
    rank = np.empty(found.size, dtype=np.int64)
    rank[np.lexsort([first, mean])] = np.arange(found.size)
    return rank[of]


def nearest(points: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each of the points the index of the nearest anchor."""
    return cKDTree(anchors).query(points)[1].astype(np.int64)  # type: ignore[no-any-return]


def dealt(load: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return to which of n hands each unit goes, so that what they hold is shared out evenly.

    Parameters
    ----------
    load : ndarray of int of shape (n_units, 2)
        What each unit holds: deposits, which are balanced first, and barren windows.
    n : int
        Number of hands; where at least as many units hold deposits, every hand gets some.

    Returns
    -------
    ndarray of int of shape (n_units,)
        The fullest unit is dealt first, to the hand that has least; the same load gives the same hands.
    """
    held, hand = np.zeros((n, 2), dtype=np.int64), np.empty(len(load), dtype=np.int64)
    for unit in np.lexsort([np.arange(len(load)), -load[:, 1], -load[:, 0]]):
        # Ground without deposits goes where barren windows are lacking, however many deposits are there.
        by = (held[:, 1], held[:, 0]) if load[unit, 0] else (held[:, 1],)
        hand[unit] = np.lexsort([np.arange(n), *by])[0]
        held[hand[unit]] += load[unit]
    return hand


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64], buffer: float = 0.0) -> NDArray[np.bool_]:
    """Return which rectangles of `a`, (N, 4) as (left, bottom, right, top), come within `buffer` of one of `b`.

    Rectangles that only share an edge do not overlap, and those as far apart as the buffer are not within it.
    """
    near = np.zeros(len(a), dtype=bool)
    for part in _neighbours(np.unique(b, axis=0)):
        left, bottom = part[:, :2].min(axis=0) - buffer
        right, top = part[:, 2:].max(axis=0) + buffer
        within = (a[:, 0] <= right) & (a[:, 2] >= left) & (a[:, 1] <= top) & (a[:, 3] >= bottom)
        asked = np.flatnonzero(within & ~near)
        near[asked] = _touch(a[asked], part, buffer).any(axis=1)
    return near


def separated(bounds: NDArray[np.float64], region: NDArray[np.int64], buffer: float = 0.0) -> list[Fold]:
    """Return (train, test) per region: test are its rectangles, train all others that touch none of them."""
    result = []
    for one in np.unique(region):
        test, rest = np.flatnonzero(region == one), np.flatnonzero(region != one)
        result.append((rest[~overlaps(bounds[rest], bounds[test], buffer)], test))
    return result


def shared_ground(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each rectangle of `a`, (N, 4) as (left, bottom, right, top), that lies under some of `b`."""
    # Between neighbouring edges all ground is alike, so that the table has a row for each edge, not for each cell.
    x, y = (np.unique(np.concatenate([a[:, at], b[:, at]])) for at in ([0, 2], [1, 3]))
    depth = np.zeros((len(y), len(x)), dtype=np.int32)  # of rectangles, from its steps at their corners
    left, bottom, right, top = _edges(b, x, y)
    for rows, cols, step in ((bottom, left, 1), (top, right, 1), (bottom, right, -1), (top, left, -1)):
        np.add.at(depth, (rows, cols), step)
    under = np.cumsum(np.cumsum(depth, axis=0), axis=1)[:-1, :-1] > 0
    covered = np.zeros((max(len(y), 1), max(len(x), 1)))  # south-west of each pair of edges
    covered[1:, 1:] = np.cumsum(np.cumsum(under * np.outer(np.diff(y), np.diff(x)), axis=0), axis=1)
    left, bottom, right, top = _edges(a, x, y)
    shared = covered[top, right] - covered[bottom, right] - covered[top, left] + covered[bottom, left]
    share: NDArray[np.float64] = shared / np.prod(a[:, 2:] - a[:, :2], axis=1)
    return share


def _edges(rectangles: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Return the numbers of left, bottom, right and top among all edges."""
    return [np.searchsorted(edges, side) for edges, side in zip((x, y, x, y), rectangles.T, strict=True)]


def _neighbours(rectangles: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield the rectangles in groups that lie close together."""
    middle = (rectangles[:, :2] + rectangles[:, 2:]) / 2
    if not len(middle):
        return
    # On a lattice of about as many squares as there are groups, from one to the next.
    extent = np.ptp(middle, axis=0)
    squares = np.sqrt(len(middle) / _TOGETHER) / np.where(extent > 0, extent, 1)
    x, y = np.floor((middle - middle.min(axis=0)) * squares).T
    ordered = rectangles[np.lexsort([middle[:, 0], y, x])]
    for at in range(0, len(ordered), _TOGETHER):
        yield ordered[at : at + _TOGETHER]


def _touch(a: NDArray[np.float64], b: NDArray[np.float64], buffer: float) -> NDArray[np.bool_]:
    """Return which of `a` (N, 4) come within the buffer of which of `b` (M, 4), shape (N, M)."""
    # How far the sides are apart along x and y; negative where they overlap.
    x = np.maximum(a[:, None, 0] - b[:, 2], b[:, 0] - a[:, None, 2])
    y = np.maximum(a[:, None, 1] - b[:, 3], b[:, 1] - a[:, None, 3])
    shared: NDArray[np.bool_] = (x < 0) & (y < 0)
    if buffer == 0:
        return shared
    x, y = np.maximum(x, 0), np.maximum(y, 0)
    close: NDArray[np.bool_] = x * x + y * y < (buffer * (1 - _ROUNDING)) ** 2
    return shared | close
