"""Splits of the ground into regions that share none of it. Arrays only: points and rectangles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


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
    found = np.unique(labels)
    west_to_east = np.argsort([places[labels == label, 0].mean() for label in found], kind="stable")
    rank = np.empty(found.size, dtype=np.int64)
    rank[west_to_east] = np.arange(found.size)
    region: NDArray[np.int64] = rank[np.searchsorted(found, labels)][place.ravel()]
    return region


def clusters(points: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """Return a cluster for each of the points, (N, 2): those linked by steps of up to `distance` are one."""
    if len(points) == 1:
        return np.zeros(1, dtype=np.int64)
    labels: NDArray[np.int64] = fcluster(linkage(pdist(points), method="single"), t=distance, criterion="distance") - 1
    return labels


def nearest(points: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each of the points the index of the nearest anchor."""
    return cKDTree(anchors).query(points)[1].astype(np.int64)  # type: ignore[no-any-return]


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64], buffer: float = 0.0) -> NDArray[np.bool_]:
    """Return which rectangles of `a`, (N, 4) as (left, bottom, right, top), come within `buffer` of one of `b`.

    Rectangles that only share an edge do not overlap.
    """
    touched = np.zeros(len(a), dtype=bool)
    for left, bottom, right, top in b:
        touched |= (
            (a[:, 0] < right + buffer) & (a[:, 2] > left - buffer)
            & (a[:, 1] < top + buffer) & (a[:, 3] > bottom - buffer)
        )  # fmt: skip
    return touched


def separated(bounds: NDArray[np.float64], region: NDArray[np.int64], buffer: float = 0.0) -> list[Fold]:
    """Return (train, test) per region: test are its rectangles, train all others that touch none of them."""
    result = []
    for one in np.unique(region):
        test = region == one
        train = ~test & ~overlaps(bounds, bounds[test], buffer)
        result.append((np.flatnonzero(train), np.flatnonzero(test)))
    return result
