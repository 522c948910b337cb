"""Inverse distance weighting from all points, for all elements at once.

Cells are worked on in tiles of 64 x 64 that are anchored to the rows and columns of the whole grid, so that any part
of it comes out the same to the byte; 4 x 4 tiles make a supertile. Points outside of a box about the tile are far:
their sums of weights times values are smooth there, and are computed at 16 x 16 Chebyshev nodes only, from which
float64 polynomials of degree 15 bring them to the cells. Points outside of the box about the supertile, most of them,
are summed at its nodes, and brought from there to the nodes of its tiles. Points inside of the tile's box are near,
and are summed cell by cell. With boxes 2.5 times as wide as what they are about, the polynomials are off by less than
1e-8 of the weight of a far point for power 2, and 2e-7 for power 4; tests/gridding/test_idw_all.py compares the whole
with float64 sums. The weight of a point is the same for every element, so elements share it whatever samples they lack;
only the sums of the weights of present samples differ, and those are summed like one more element for each set of
elements that lack the same.

Without far points, everything is summed cell by cell in float64: slow, for any power, and what the rest is measured
against.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoprospect.gridding._idw_lanes import (
    CHUNK,
    LANES,
    SIDE,
    Cells,
    Floats,
    Indices,
    Singles,
    accumulate,
    flush,
    in_threads,
    invert,
    limit,
    masks,
    nearest_lane,
    place,
    square_distances,
    store,
)

TILE = 64  # cells along a tile
TILES = 4  # tiles along a supertile
SUPERTILE = TILES * TILE
REACH = 2.5  # half width of a box, in half widths of the tile or supertile in its middle
LEAST = 1e-200  # sum of float64 weights below which digits may be lost
STEEPEST = 4.0  # power up to which far points are summed at nodes
CLOSE = 1e-3  # distance of a point from a cell centre, in cells, within which the cell is summed in float64
MOST = 1e15  # greatest 1 / squared distance in float32, of points closer than that


class Table(NamedTuple):
    """Values of the points, then ones where they are present, a column for each set of elements that lack the same."""

    value: Singles  # (N, W), 0 where missing, filled up to fours
    weights: NDArray[np.int64]  # (C,): the column whose sum is the weight of an element; W where it has all samples
    low: Singles  # (C,): the least value; NaN where too few samples are present
    high: Singles  # (C,): the greatest


def idw_all(
    points: Floats,
    values: Floats,
    origin: tuple[float, float],
    step: tuple[float, float],
    power: float,
    out: Singles,
    first: tuple[int, int] = (0, 0),
    min_samples: int = 1,
    direct: bool = False,
    threads: int | None = None,
    done: Callable[[int], object] | None = None,
) -> None:
    """Interpolate into a part of a grid; the parameters are those of `idw_nearest`.

    Parameters
    ----------
    direct : sum every point at every cell, in float64, as is done for powers above `STEEPEST`
    """
    rows = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not rows.size:
        out.fill(np.nan)
        return
    x, y = np.ascontiguousarray(points[rows].T)
    table = tabulate(values[rows], min_samples)
    cells = Cells(*origin, *step, *first)
    nodes, basis, finer = chebyshev()
    row_end, col_end = first[0] + out.shape[1], first[1] + out.shape[2]
    work = _sum_directly if direct or power > STEEPEST else _sum_far
    jobs = [
        (x, y, table, nodes, basis, finer, cells, power / 2, out, top, left,
         (min(top + SUPERTILE, row_end) - max(top, first[0])) * (min(left + SUPERTILE, col_end) - max(left, first[1])))
        for top in range(first[0] // SUPERTILE * SUPERTILE, row_end, SUPERTILE)
        for left in range(first[1] // SUPERTILE * SUPERTILE, col_end, SUPERTILE)
    ]  # fmt: skip
    in_threads(work, jobs, threads, done)


def tabulate(values: Floats, min_samples: int) -> Table:
    """Lay values and presence side by side; the sum of all weights serves the elements that lack no sample."""
    present, mask_of = masks(values)
    partial = np.flatnonzero(~present.all(axis=1))
    n_bands, end = values.shape[1], values.shape[1] + partial.size
    table = np.zeros((len(values), -(-end // 4) * 4), dtype=np.float32)
    table[:, :n_bands] = np.where(np.isnan(values), 0, values)
    table[:, n_bands:end] = present[partial].T
    column = np.full(len(present), table.shape[1], dtype=np.int64)
    column[partial] = np.arange(n_bands, end)
    low, high = np.full((2, n_bands), np.nan, dtype=np.float32)
    enough = np.flatnonzero(present.sum(axis=1)[mask_of] >= min_samples)
    low[enough], high[enough] = np.nanmin(values[:, enough], axis=0), np.nanmax(values[:, enough], axis=0)
    return Table(table, column[mask_of], low, high)


def chebyshev() -> tuple[Floats, Floats, Floats]:
    """Return the nodes on [-1, 1], and what each adds elsewhere.

    Returns
    -------
    nodes : (SIDE,)
    basis : (SIDE, TILE), to the cells of a tile
    finer : (TILES, SIDE, SIDE), from each node of a supertile to those of its tiles
    """
    nodes = np.cos((2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE))
    middle = (2 * np.arange(TILES) + 1 - TILES) / TILES
    finer = np.stack([lagrange(nodes, at + nodes / TILES) for at in middle])
    return nodes, lagrange(nodes, (2 * np.arange(TILE) + 1 - TILE) / TILE), finer


def lagrange(nodes: Floats, at: Floats) -> Floats:
    """Return the Lagrange polynomials of Chebyshev nodes at some places, (nodes, places).

    In barycentric form, Berrut & Trefethen (2004), https://doi.org/10.1137/S0036144502417715
    """
    parts = ((-1.0) ** np.arange(nodes.size) * np.sqrt(1 - nodes**2))[:, None] / (at - nodes[:, None])
    polynomials: Floats = parts / parts.sum(axis=0)
    return polynomials


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_far(
    px: Floats, py: Floats, table: Table, nodes: Floats, basis: Floats, finer: Floats, cells: Cells, half_power: float,
    out: Singles, top: int, left: int, n_cells: int,
) -> None:  # fmt: skip
    """Fill a supertile: distant points at its nodes, far ones at those of its tiles, near ones at the cells."""
    n, width = px.size, table.value.shape[1]
    every = np.arange(n).astype(np.int32)
    distant, others, far, near = (np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32),
                                  np.empty(n, np.int32))  # fmt: skip
    x, y, scale = np.empty(LANES), np.empty(LANES), 1 / _unit(px, py, cells, top, left)
    weight, rows = np.zeros((CHUNK + 1, LANES), np.float32), np.arange(CHUNK).astype(np.int32)
    v, acc, total = (np.empty((CHUNK, width), np.float32), np.zeros((width, LANES), np.float32),
                     np.zeros(LANES, np.float32))  # fmt: skip
    whole, sums = np.zeros((width + 1, LANES)), np.zeros((width + 1, LANES))  # the last row: weights of all points
    lanes, hits, kept = np.empty(LANES, np.int32), np.empty(n, np.int32), np.empty((LANES, width + 1))
    n_distant = _part(px, py, every, cells, top, left, SUPERTILE, distant, others)
    _place_nodes(cells, nodes, top, left, SUPERTILE, x, y)
    _add(px, py, table.value, distant[:n_distant], x, y, scale, half_power, weight, rows, v, acc, total, whole)
    others = others[: n - n_distant]
    row_end, col_end = cells.row0 + out.shape[1], cells.col0 + out.shape[2]
    for tile_row in range(max(top, cells.row0 // TILE * TILE), min(top + SUPERTILE, row_end), TILE):
        for tile_col in range(max(left, cells.col0 // TILE * TILE), min(left + SUPERTILE, col_end), TILE):
            n_far = _part(px, py, others, cells, tile_row, tile_col, TILE, far, near)
            n_near = others.size - n_far
            _place_nodes(cells, nodes, tile_row, tile_col, TILE, x, y)
            _refine(whole, finer[(tile_row - top) // TILE], finer[(tile_col - left) // TILE], sums)
            _add(px, py, table.value, far[:n_far], x, y, scale, half_power, weight, rows, v, acc, total, sums)
            along = _along_rows(sums, basis)
            for row in range(max(tile_row, cells.row0 // SIDE * SIDE), min(tile_row + TILE, row_end), SIDE):
                for col in range(max(tile_col, cells.col0 // SIDE * SIDE), min(tile_col + TILE, col_end), SIDE):
                    place(cells, row, col, x, y)
                    _spread(along, basis, row - tile_row, col - tile_col, sums)
                    n_lanes, _ = _mark(px, py, near[:n_near], x, y, CLOSE, sums, lanes, hits, kept)
                    _add(px, py, table.value, near[:n_near], x, y, scale, half_power, weight, rows, v, acc, total, sums)
                    if n_lanes:
                        _redo(px, py, table, near[:n_near], x, y, scale, half_power, lanes[:n_lanes], kept, sums, True)
                    _write(out, table, sums, acc, total, row - cells.row0, col - cells.col0)


@njit(cache=True, nogil=True)
def _unit(px: Floats, py: Floats, cells: Cells, top: int, left: int) -> float:
    """Return the length in which distances are counted: a cell, or more where float32 would end before any point."""
    half = SUPERTILE / 2
    cx, cy = cells.west + cells.dx * (left + half), cells.north + cells.dy * (top + half)
    nearest = np.inf
    for i in range(px.size):
        nearest = min(nearest, math.hypot(px[i] - cx, py[i] - cy))
    return max(nearest - math.hypot(half * cells.dx, half * cells.dy), math.hypot(cells.dx, cells.dy))


@njit(cache=True, nogil=True)
def _part(
    px: Floats, py: Floats, points: Indices, cells: Cells, top: int, left: int, side: int, far: Indices, near: Indices
) -> int:
    """Part points into those outside of the box about a square of cells and those inside; return how many are outside.

    The box is as wide as it is high, also about cells that are not square: the polynomials feel the nearest point.
    """
    cx, cy = cells.west + cells.dx * (left + side / 2), cells.north + cells.dy * (top + side / 2)
    reach = REACH * 0.5 * side * max(abs(cells.dx), abs(cells.dy))
    n_far, n_near = 0, 0
    for i in points:
        if abs(px[i] - cx) > reach or abs(py[i] - cy) > reach:
            far[n_far] = i
            n_far += 1
        else:
            near[n_near] = i
            n_near += 1
    return n_far


@njit(cache=True, nogil=True)
def _place_nodes(cells: Cells, nodes: Floats, top: int, left: int, side: int, x: Floats, y: Floats) -> None:
    """Write the coordinates of the nodes of a square of cells."""
    for lane in range(LANES):
        x[lane] = cells.west + cells.dx * (left + side / 2 * (1 + nodes[lane % SIDE]))
        y[lane] = cells.north + cells.dy * (top + side / 2 * (1 + nodes[lane // SIDE]))


@njit(cache=True, nogil=True)
def _refine(whole: Floats, down: Floats, across: Floats, sums: Floats) -> None:
    """Bring sums at the nodes of a supertile to those of a tile."""
    half, turned = np.empty((SIDE, SIDE)), np.ascontiguousarray(down.T)
    for e in range(whole.shape[0]):
        np.dot(turned, whole[e].reshape(SIDE, SIDE), half)
        np.dot(half, across, sums[e].reshape(SIDE, SIDE))


@njit(cache=True, nogil=True)
def _add(
    px: Floats, py: Floats, value: Singles, points: Indices, x: Floats, y: Floats, scale: float, half_power: float,
    weight: Singles, rows: Indices, v: Singles, acc: Singles, total: Singles, sums: Floats,
) -> None:  # fmt: skip
    """Add weights times the columns of the table to float64 sums, and weights to the last; a chunk in float32."""
    width = value.shape[1]
    for first in range(0, points.size, CHUNK):
        size = min(CHUNK, points.size - first)
        for c in range(size):
            i = points[first + c]
            invert(weight, c, x, y, px[i], py[i], scale)
            for e in range(width):
                v[c, e] = value[i, e]
        _steepen(weight, size, half_power)
        padded = (size + 3) // 4 * 4
        weight[size:padded] = 0
        v[size:padded] = 0
        accumulate(acc, total, weight, rows, v, padded)
        flush(acc, total, sums, sums[width])


@njit(cache=True, nogil=True, inline="never")
def _steepen(weight: Singles, n: int, half_power: float) -> None:
    """Turn 1 / squared distances into weights; infinite ones are cut off, in cells that are summed again."""
    most = np.float32(MOST)
    for c in range(n):
        w = weight[c]
        for lane in range(LANES):
            w[lane] = min(w[lane], most)
        if half_power == 0.5:
            for lane in range(LANES):
                w[lane] = np.sqrt(w[lane])
        elif half_power != 1:
            for lane in range(LANES):
                w[lane] = w[lane] ** np.float32(half_power)


@njit(cache=True, nogil=True)
def _along_rows(at_nodes: Floats, basis: Floats) -> Floats:
    """Bring sums at the nodes to the columns of the tile: (W + 1, SIDE nodes down, TILE cells across)."""
    along = np.empty((at_nodes.shape[0], SIDE, TILE))
    for e in range(at_nodes.shape[0]):
        np.dot(at_nodes[e].reshape(SIDE, SIDE), basis, along[e])
    return along


@njit(cache=True, nogil=True)
def _spread(along: Floats, basis: Floats, row: int, col: int, sums: Floats) -> None:
    """Write the sums of the far points at the cells of a block, `row` and `col` cells into the tile."""
    down, across = np.ascontiguousarray(basis[:, row : row + SIDE].T), np.empty((SIDE, SIDE))
    for e in range(sums.shape[0]):
        across[:] = along[e, :, col : col + SIDE]
        np.dot(down, across, sums[e].reshape(SIDE, SIDE))


@njit(cache=True, nogil=True)
def _mark(
    px: Floats, py: Floats, points: Indices, x: Floats, y: Floats, close: float, sums: Floats, lanes: Indices,
    hits: Indices, kept: Floats,
) -> tuple[int, int]:  # fmt: skip
    """Write the cells with a point close to their centre, the sums that they have now, and those points; count both."""
    n_lanes, n_hits = 0, 0
    reach = close * math.hypot(x[1] - x[0], y[SIDE] - y[0])
    for i in points:
        lane = nearest_lane(x, y, px[i], py[i])
        if abs(px[i] - x[lane]) <= reach and abs(py[i] - y[lane]) <= reach:
            hits[n_hits] = i
            n_hits += 1
            known = False
            for q in range(n_lanes):
                known |= lanes[q] == lane
            if not known:
                lanes[n_lanes] = lane
                for e in range(sums.shape[0]):
                    kept[n_lanes, e] = sums[e, lane]
                n_lanes += 1
    return n_lanes, n_hits


@njit(cache=True, nogil=True)
def _redo(
    px: Floats, py: Floats, table: Table, points: Indices, x: Floats, y: Floats, scale: float, half_power: float,
    lanes: Indices, kept: Floats, sums: Floats, beside_too: bool,
) -> None:  # fmt: skip
    """Sum some cells in float64, from what was kept on; points on their centre count alone where they have values.

    Without `beside_too` the other points are in what was kept.
    """
    width = table.value.shape[1]
    centred, beside = np.empty(width + 1), np.empty(width + 1)
    for q in range(lanes.size):
        cx, cy = x[lanes[q]], y[lanes[q]]
        centred[:] = 0
        beside[:] = kept[q]
        for i in points:
            dx, dy = px[i] - cx, py[i] - cy
            if dx == 0 and dy == 0:
                for e in range(width):
                    centred[e] += table.value[i, e]
                centred[width] += 1
            elif beside_too:
                w = (1 / ((dx * scale) ** 2 + (dy * scale) ** 2)) ** half_power
                for e in range(width):
                    beside[e] += w * table.value[i, e]
                beside[width] += w
        for e in range(table.weights.size):
            w = table.weights[e]  # several elements share a column of weights, and the points with values
            alone = centred[w] > 0
            sums[e, lanes[q]] = centred[e] if alone else beside[e]
            sums[w, lanes[q]] = centred[w] if alone else beside[w]


@njit(cache=True, nogil=True, error_model="numpy")
def _write(out: Singles, table: Table, sums: Floats, acc: Singles, total: Singles, row: int, col: int) -> None:
    """Write the means of a block; `acc` and `total` are left as they are found, zero."""
    total.fill(1)
    for e in range(out.shape[0]):
        values, weights, mean = sums[e], sums[table.weights[e]], acc[0]
        for lane in range(LANES):
            mean[lane] = values[lane] / weights[lane]
        limit(mean, total, table.low[e], table.high[e])
        if np.isnan(table.low[e]):
            mean.fill(np.nan)
        store(out[e], mean, row, col)
    acc[0].fill(0)
    total.fill(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_directly(
    px: Floats, py: Floats, table: Table, nodes: Floats, basis: Floats, finer: Floats, cells: Cells, half_power: float,
    out: Singles, top: int, left: int, n_cells: int,
) -> None:  # fmt: skip
    """Fill a supertile in float64, every point at every cell, with weights relative to the nearest point.

    Takes the arguments of `_sum_far`, so that either can be a job; it needs no nodes.
    """
    n, width = px.size, table.value.shape[1]
    x, y, every = np.empty(LANES), np.empty(LANES), np.arange(n).astype(np.int32)
    lanes, hits, kept = np.empty(LANES, np.int32), np.empty(n, np.int32), np.empty((LANES, width + 1))
    square, nearest = np.empty((1, LANES)), np.empty(LANES)
    acc, total = np.zeros((width, LANES), np.float32), np.zeros(LANES, np.float32)
    sums, weight = np.zeros((width + 1, LANES)), np.empty(LANES)
    for row in range(max(top, cells.row0 // SIDE * SIDE), min(top + SUPERTILE, cells.row0 + out.shape[1]), SIDE):
        for col in range(max(left, cells.col0 // SIDE * SIDE), min(left + SUPERTILE, cells.col0 + out.shape[2]), SIDE):
            place(cells, row, col, x, y)
            nearest.fill(np.inf)
            for i in range(n):
                square_distances(square, 0, x, y, px[i], py[i])
                _lower_but_zero(nearest, square[0])
            sums[:] = 0
            for i in range(n):
                square_distances(square, 0, x, y, px[i], py[i])
                _add_directly(sums, weight, square[0], nearest, half_power, table.value[i])
            n_lanes, n_hits = _mark(px, py, every, x, y, 0.0, sums, lanes, hits, kept)
            if n_lanes:
                _redo(px, py, table, hits[:n_hits], x, y, 1.0, half_power, lanes[:n_lanes], kept, sums, False)
            _rescue(px, py, table, x, y, half_power, sums)
            _write(out, table, sums, acc, total, row - cells.row0, col - cells.col0)


@njit(cache=True, nogil=True)
def _rescue(px: Floats, py: Floats, table: Table, x: Floats, y: Floats, half_power: float, sums: Floats) -> None:
    """Sum cells again where weights relative to the nearest point vanish, because the elements lack that point."""
    width = table.value.shape[1]
    done = np.zeros((width + 1, LANES), np.bool_)
    for e in range(table.weights.size):
        w = table.weights[e]
        if w == width or np.isnan(table.low[e]):
            continue
        for lane in range(LANES):
            if sums[w, lane] >= LEAST and not done[w, lane]:
                continue
            nearest, total, sums[e, lane] = np.inf, 0.0, 0.0
            for i in range(px.size):
                if table.value[i, w] > 0:
                    nearest = min(nearest, (px[i] - x[lane]) ** 2 + (py[i] - y[lane]) ** 2)
            for i in range(px.size):
                if table.value[i, w] > 0:
                    square = (px[i] - x[lane]) ** 2 + (py[i] - y[lane]) ** 2
                    factor = (nearest / square) ** half_power
                    sums[e, lane] += factor * table.value[i, e]
                    total += factor
            sums[w, lane] = total
            done[w, lane] = True


@njit(cache=True, nogil=True, inline="never")
def _lower_but_zero(low: Floats, square: Floats) -> None:
    """Take the least of each cell; a point on its centre is dealt with apart."""
    for lane in range(LANES):
        low[lane] = min(low[lane], square[lane] if square[lane] > 0 else np.inf)


@njit(cache=True, nogil=True, error_model="numpy", inline="never")
def _add_directly(sums: Floats, weight: Floats, square: Floats, nearest: Floats, half_power: float, v: Singles) -> None:
    """Add the weight of one point times its columns of the table, and the weight."""
    for lane in range(LANES):
        w = nearest[lane] / square[lane]
        weight[lane] = w if square[lane] > 0 else 0.0
    if half_power != 1:
        for lane in range(LANES):
            weight[lane] = weight[lane] ** half_power
    for e in range(v.size + 1):
        out, factor = sums[e], 1.0 if e == v.size else np.float64(v[e])
        for lane in range(LANES):
            out[lane] += weight[lane] * factor
