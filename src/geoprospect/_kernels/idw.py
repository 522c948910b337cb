"""Inverse distance weighting of points onto a grid."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

# Neighbour lookups held at once: 12 neighbours of a million cells are about 200 MB.
_CHUNK_LOOKUPS = 12_000_000


def idw_nearest(
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    k: int,
    power: float,
    radius: float = math.inf,
    advance: Callable[[int], object] = lambda rows: None,
) -> NDArray[np.float32]:
    """Interpolate from the k nearest points, sharing one lookup per pattern of missing values.

    Points at one place are merged into their mean first.

    Parameters
    ----------
    points : (N, 2) float64
    values : (N, C) float64, NaN where missing
    x, y : cell centres, (X,) and (Y,)
    k, power : neighbours and exponent of the distance
    radius : neighbours beyond it do not count
    advance : called with the number of rows done, once per block and pattern

    Returns
    -------
    (C, Y, X) float32; NaN where no neighbour counts
    """
    out = np.full((values.shape[1], y.size, x.size), np.nan, dtype=np.float32)
    valid = ~np.isnan(values)
    reach = radius * (1 + 1e-9)  # the tree takes what is nearer than its bound; at the radius counts too
    patterns, pattern_of = np.unique(valid, axis=1, return_inverse=True)
    pattern_of = pattern_of.ravel()
    step = max(1, _CHUNK_LOOKUPS // (min(k, max(len(points), 1)) * x.size))
    for p in range(patterns.shape[1]):
        rows, columns = np.flatnonzero(patterns[:, p]), np.flatnonzero(pattern_of == p)
        if not rows.size:
            advance(y.size)
            continue
        places, shared = _merged(points[rows], values[np.ix_(rows, columns)])  # (n, 2), (n, c)
        # Coordinates about the middle keep digits that large eastings would use up.
        middle = places.mean(axis=0)
        tree = cKDTree(places - middle)
        for top in range(0, y.size, step):
            grid_y, grid_x = np.meshgrid(y[top : top + step] - middle[1], x - middle[0], indexing="ij")
            centres = np.column_stack([grid_x.ravel(), grid_y.ravel()])
            distance, index = tree.query(centres, k=np.arange(1, min(k, len(places)) + 1), distance_upper_bound=reach)
            weight = _weights(distance, power)
            index[index == len(places)] = 0  # the tree's mark for "none within the radius"; its weight is 0
            for j, column in enumerate(columns):
                block = np.einsum("ik,ik->i", weight, shared[index, j])
                out[column, top : top + step] = block.reshape(grid_x.shape)
            advance(len(grid_x))
    return out


def _merged(
    points: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each place once, with the mean of its values; otherwise k could cut through a place."""
    places, place = np.unique(points, axis=0, return_inverse=True)
    if len(places) == len(points):
        return points, values
    total = np.zeros((len(places), values.shape[1]))
    np.add.at(total, place.ravel(), values)
    return places, total / np.bincount(place.ravel())[:, None]


def _weights(distance: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return weights that sum to 1 per row; NaN in rows without a neighbour.

    Distances are taken relative to the nearest, so nothing overflows; where one is zero its
    point alone counts.
    """
    nearest = distance[:, :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(nearest > 0, (nearest / distance) ** power, (distance == 0).astype(np.float64))
        weight[~np.isfinite(distance)] = 0
        normalised: NDArray[np.float64] = weight / weight.sum(axis=1, keepdims=True)
    return normalised
