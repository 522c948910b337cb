"""Inverse distance weighting from the k nearest points, exact, for all elements at once.

Cells are worked on in blocks of 16 x 16 that are anchored to the rows and columns of the whole grid, so that
any part of it comes out the same to the byte. The triangle inequality settles most of the question for a whole
block: with d_k and d_k+1 the distances of the k-th and the next nearest point from its centre, and h its half
diagonal, a point nearer than d_k+1 - 2h is among the k nearest of every cell, one farther than d_k + 2h of none.
Only the few between are ranked for each cell: the rank of a point is the number of points that come before it,
by distance and then by index, counted for the 256 cells of a block in step. What is left are weights times
values, also in step, for four elements and four points at a time.

Distances are the float64 squares of the plain differences of coordinates, so a tie here is a tie for anybody
who computes them in the same way. Weights are relative to the nearest point, so nothing overflows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

SIDE = 16  # cells along a block
LANES = SIDE * SIDE
SPAN = 4 * SIDE  # cells along a superblock, whose blocks share one search
CHUNK = 32  # points whose weights are held at once
MOST = 96  # points whose distances are held at once; where more must be ranked, each cell picks its own
EXACT = 64  # sums over more points than this are totalled in float64
ROUNDING = 1e-9  # relative slack of a bound, far above what float64 loses on it

_FUSED = {"contract", "nsz"}
_Floats = NDArray[np.float64]
_Singles = NDArray[np.float32]
_Indices = NDArray[np.int32]


class Buckets(NamedTuple):
    """Points sorted into square buckets: south-west corner, side, counts, where each starts, who is in it."""

    west: float
    south: float
    side: float
    columns: int
    rows: int
    start: NDArray[np.int64]
    member: _Indices


def idw_nearest(
    points: _Floats,
    values: _Floats,
    origin: tuple[float, float],
    step: tuple[float, float],
    k: int,
    power: float,
    out: _Singles,
    first: tuple[int, int] = (0, 0),
    radius: float = math.inf,
    min_samples: int = 1,
) -> None:
    """Interpolate into a part of a grid; elements that lack the same points share the search and the weights.

    Parameters
    ----------
    points : (N, 2) float64
    values : (N, C) float64, NaN where missing
    origin : x and y of the north-west corner of the whole grid
    step : x and y from one cell to the next; y is negative where north is up
    k, power : neighbours and exponent of the distance
    out : (C, Y, X) float32, filled; NaN where too few neighbours count
    first : row and column in the whole grid of out[:, 0, 0]
    radius : neighbours beyond it do not count
    min_samples : fewest neighbours that make a value
    """
    patterns, pattern_of = np.unique(~np.isnan(values), axis=1, return_inverse=True)
    for p in range(patterns.shape[1]):
        rows, columns = np.flatnonzero(patterns[:, p]), np.flatnonzero(pattern_of.ravel() == p)
        if not rows.size:
            out[columns] = np.nan
            continue
        shared = np.zeros((rows.size, -(-columns.size // 4) * 4), dtype=np.float32)  # elements in fours
        shared[:, : columns.size] = values[np.ix_(rows, columns)]
        # Planes that lie side by side are filled where they are.
        in_place = columns[-1] - columns[0] + 1 == columns.size
        target = out[columns[0] : columns[-1] + 1] if in_place else np.empty((columns.size, *out.shape[1:]), np.float32)
        x, y = np.ascontiguousarray(points[rows].T)
        _fill(x, y, shared, bucket_index(points[rows]), *origin, *step, *first, k, power, radius, min_samples, target)
        if not in_place:
            out[columns] = target


def bucket_index(points: _Floats) -> Buckets:
    """Sort points into square buckets of about four."""
    low = points.min(axis=0)
    extent = np.maximum(points.max(axis=0) - low, 1e-9)
    side = float(max(math.sqrt(extent[0] * extent[1] * 4 / len(points)), extent.max() / 2000))
    columns, rows = (int(length // side) + 1 for length in extent)
    column, row = ((points - low) // side).astype(np.int64).T
    bucket = row * columns + column
    member = np.argsort(bucket, kind="stable").astype(np.int32)
    start = np.searchsorted(bucket[member], np.arange(rows * columns + 1)).astype(np.int64)
    return Buckets(float(low[0]), float(low[1]), side, columns, rows, start, member)


@njit(cache=True, parallel=True)
def _fill(
    px: _Floats, py: _Floats, value: _Singles, buckets: Buckets, west: float, north: float, dx: float, dy: float,
    row0: int, col0: int, k: int, power: float, radius: float, min_samples: int, out: _Singles,
) -> None:  # fmt: skip
    """Fill `out`, the part of the grid from (row0, col0) on; rows of superblocks run in parallel."""
    north_most = row0 // SPAN
    for job in prange((row0 + out.shape[1] - 1) // SPAN - north_most + 1):
        _fill_row(
            px, py, value, buckets, west, north, dx, dy, row0, col0, min(k, px.size), power, radius, min_samples, out,
            (north_most + job) * SPAN,
        )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _fill_row(
    px: _Floats, py: _Floats, value: _Singles, buckets: Buckets, west: float, north: float, dx: float, dy: float,
    row0: int, col0: int, k: int, power: float, radius: float, min_samples: int, out: _Singles, top: int,
) -> None:  # fmt: skip
    """Fill the superblocks whose first row is `top`."""
    ny, nx = out.shape[1], out.shape[2]
    n, width = px.size, value.shape[1]
    half_power, reach2 = power / 2, radius * radius
    found, mine, distance = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n)
    squares, square = np.empty((MOST, LANES)), np.empty(LANES)
    before = np.empty((MOST, LANES), np.int32)
    nearest, scale = np.empty(LANES), np.empty(LANES)
    weight, v = np.empty((CHUNK, LANES), np.float32), np.empty((CHUNK, width), np.float32)
    acc, total = np.empty((width, LANES), np.float32), np.empty(LANES, np.float32)
    acc64, total64 = np.empty((width, LANES)), np.empty(LANES)
    used = np.empty(LANES, np.int32)
    x, y = np.empty(SIDE), np.empty(SIDE)
    for left in range(col0 // SPAN * SPAN, col0 + nx, SPAN):
        n_found = _search(
            px, py, west + dx * (left + SPAN / 2), north + dy * (top + SPAN / 2),
            0.5 * math.hypot(SPAN * dx, SPAN * dy), k, radius, buckets, found, distance,
        )  # fmt: skip
        for row in range(max(top, row0 // SIDE * SIDE), min(top + SPAN, row0 + ny), SIDE):
            for col in range(max(left, col0 // SIDE * SIDE), min(left + SPAN, col0 + nx), SIDE):
                for i in range(SIDE):
                    x[i] = west + dx * (col + i + 0.5)
                    y[i] = north + dy * (row + i + 0.5)
                n_sure, n_mine = _divide(
                    px, py, west + dx * (col + SIDE / 2), north + dy * (row + SIDE / 2),
                    0.5 * math.hypot((SIDE - 1) * dx, (SIDE - 1) * dy), k, radius, found[:n_found], mine, distance,
                )  # fmt: skip
                n_open, places = n_mine - n_sure, k - n_sure  # to be ranked, and how many of them count
                if n_open > MOST:
                    _cell_by_cell(px, py, value, mine[:n_mine], x, y, k, half_power, reach2, min_samples, acc, total)
                else:
                    held = n_mine <= MOST  # then all distances are kept, else only those to be ranked
                    first_open = n_sure if held else 0
                    nearest.fill(np.inf)
                    for t in range(n_mine):
                        kept = squares[t if held else max(t - n_sure, 0)]
                        _square_distances(kept, x, y, px[mine[t]], py[mine[t]])
                        _lower(nearest, kept)
                    for lane in range(LANES):
                        scale[lane] = 1 / nearest[lane]
                    if n_open > places:
                        _rank(squares[first_open : first_open + n_open], before)
                    acc.fill(0)
                    total.fill(0)
                    used.fill(0)
                    if n_mine > EXACT:
                        acc64.fill(0)
                        total64.fill(0)
                    for start in range(0, n_mine, CHUNK):
                        size = min(CHUNK, n_mine - start)
                        for c in range(size):
                            t = start + c
                            for e in range(width):
                                v[c, e] = value[mine[t], e]
                            kept = squares[t if held else max(t - n_sure, 0)]
                            if not held and t < n_sure:
                                kept = square
                                _square_distances(kept, x, y, px[mine[t]], py[mine[t]])
                            _weigh(weight[c], kept, nearest, scale, half_power, reach2)
                            if n_open > places and t >= n_sure:
                                _keep_first(weight[c], kept, before[t - n_sure], places)
                            if min_samples > 1:
                                _count(used, kept, reach2)
                        padded = (size + 3) // 4 * 4
                        weight[size:padded].fill(0)
                        v[size:padded].fill(0)
                        _accumulate(acc, total, weight, v, padded)
                        if n_mine > EXACT:
                            _flush(acc, total, acc64, total64)
                    if n_mine > EXACT:
                        for e in range(width):
                            for lane in range(LANES):
                                acc[e, lane] = acc64[e, lane] / total64[lane]
                        total.fill(1)
                    if min_samples > 1:
                        for lane in range(LANES):
                            if used[lane] < min_samples:
                                total[lane] = np.nan
                for lane in range(LANES):
                    total[lane] = 1 / total[lane]  # where nothing counts, infinite, and 0 times that is NaN
                for e in range(out.shape[0]):
                    _store(out[e], acc[e], total, row - row0, col - col0)


@njit(cache=True)
def _search(
    px: _Floats, py: _Floats, cx: float, cy: float, reach: float, k: int, radius: float, buckets: Buckets,
    found: _Indices, distance: _Floats,
) -> int:  # fmt: skip
    """Collect, by index, every point that may be among the k nearest of a place within `reach` of (cx, cy)."""
    column = min(max(math.floor((cx - buckets.west) / buckets.side), 0), buckets.columns - 1)
    row = min(max(math.floor((cy - buckets.south) / buckets.side), 0), buckets.rows - 1)
    ring, bound, m = 1, np.inf, 0
    while True:  # widen the ring of buckets until it holds k points: they bound the distance of the k-th nearest
        x0, x1 = max(column - ring, 0), min(column + ring, buckets.columns - 1)
        y0, y1 = max(row - ring, 0), min(row + ring, buckets.rows - 1)
        m = _collect(px, py, cx, cy, np.inf, buckets, x0, x1, y0, y1, found, distance)
        if m >= k or (x1 - x0 + 1 == buckets.columns and y1 - y0 + 1 == buckets.rows):
            break
        ring *= 2
    bound = min(_kth(distance[:m], k)[0] + 2 * reach, radius + reach) * (1 + ROUNDING)
    x0 = max(math.floor((cx - bound - buckets.west) / buckets.side), 0)
    x1 = min(math.floor((cx + bound - buckets.west) / buckets.side), buckets.columns - 1)
    y0 = max(math.floor((cy - bound - buckets.south) / buckets.side), 0)
    y1 = min(math.floor((cy + bound - buckets.south) / buckets.side), buckets.rows - 1)
    m = _collect(px, py, cx, cy, bound, buckets, x0, x1, y0, y1, found, distance)
    bound = min(_kth(distance[:m], k)[0] + 2 * reach, radius + reach) * (1 + ROUNDING)
    n_found = 0
    for t in range(m):
        if distance[t] <= bound:
            found[n_found] = found[t]
            n_found += 1
    found[:n_found].sort()
    return n_found


@njit(cache=True)
def _collect(
    px: _Floats, py: _Floats, cx: float, cy: float, bound: float, buckets: Buckets, x0: int, x1: int, y0: int, y1: int,
    found: _Indices, distance: _Floats,
) -> int:  # fmt: skip
    """Write the points of some buckets that lie within `bound` of (cx, cy), and their distances; return how many."""
    m = 0
    for row in range(y0, y1 + 1):
        if x0 > x1:
            break
        for t in range(buckets.start[row * buckets.columns + x0], buckets.start[row * buckets.columns + x1 + 1]):
            i = buckets.member[t]
            d = math.sqrt((px[i] - cx) ** 2 + (py[i] - cy) ** 2)
            if d <= bound:
                found[m], distance[m] = i, d
                m += 1
    return m


@njit(cache=True)
def _divide(
    px: _Floats, py: _Floats, cx: float, cy: float, half: float, k: int, radius: float, found: _Indices,
    mine: _Indices, distance: _Floats,
) -> tuple[int, int]:  # fmt: skip
    """Write the points that are sure to count in every cell of a block, then those that may; return both counts."""
    for t in range(found.size):
        distance[t] = math.sqrt((px[found[t]] - cx) ** 2 + (py[found[t]] - cy) ** 2)
    kth, following = _kth(distance[: found.size], k)
    slack = 2 * half + ROUNDING * (kth + half)
    n_sure = 0
    for t in range(found.size):
        if distance[t] < following - slack:
            mine[n_sure] = found[t]
            n_sure += 1
    n_mine = n_sure
    for t in range(found.size):
        if following - slack <= distance[t] <= min(kth, radius) + slack:
            mine[n_mine] = found[t]
            n_mine += 1
    return n_sure, n_mine


@njit(cache=True)
def _kth(distance: _Floats, k: int) -> tuple[float, float]:
    """Return the k-th and the next smallest distance; where there are no more, the largest and infinity.

    Hoare's selection, by hand: `np.partition` would take seven seconds to compile.
    """
    if distance.size <= k:
        largest = -np.inf
        for d in distance:
            largest = max(largest, d)
        return largest if distance.size else np.inf, np.inf
    low = distance.copy()
    left, right = 0, low.size - 1
    while left < right:
        pivot = low[(left + right) // 2]
        i, j = left, right
        while i <= j:
            while low[i] < pivot:
                i += 1
            while low[j] > pivot:
                j -= 1
            if i <= j:
                low[i], low[j] = low[j], low[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            right = j
        elif k - 1 >= i:
            left = i
        else:
            break
    following = np.inf
    for t in range(k, low.size):
        following = min(following, low[t])
    return low[k - 1], following


# Below, one row of arrays is one point, and its 256 lanes are the cells of a block. Kept out of line, because the
# compiler vectorises small loops over a fixed length and gives up on large functions.


@njit(cache=True, inline="never")
def _square_distances(out: _Floats, x: _Floats, y: _Floats, px: float, py: float) -> None:
    for r in range(SIDE):
        dy2 = (y[r] - py) * (y[r] - py)
        for c in range(SIDE):
            dx = x[c] - px
            out[r * SIDE + c] = dx * dx + dy2


@njit(cache=True, inline="never")
def _lower(low: _Floats, square: _Floats) -> None:
    for lane in range(LANES):
        low[lane] = min(low[lane], square[lane])


@njit(cache=True, inline="never")
def _rank(squares: _Floats, before: _Indices) -> None:
    """Count for each point and cell the points that come before it, by distance, then by index."""
    before[: len(squares)].fill(0)
    for i in range(len(squares)):
        si, bi = squares[i], before[i]
        for j in range(i + 1, len(squares)):
            sj, bj = squares[j], before[j]
            for lane in range(LANES):
                nearer = np.int32(sj[lane] < si[lane])
                bi[lane] += nearer
                bj[lane] += np.int32(1) - nearer


@njit(cache=True, fastmath=_FUSED, error_model="numpy", inline="never")
def _weigh(
    weight: _Singles, square: _Floats, nearest: _Floats, scale: _Floats, half_power: float, reach2: float
) -> None:
    """Write weights relative to the nearest point: 1 for that one, also where its distance is 0."""
    one = np.float32(1)
    if half_power == 1:
        for lane in range(LANES):
            w = one / np.float32(square[lane] * scale[lane])
            weight[lane] = one if square[lane] == nearest[lane] else w
    else:
        for lane in range(LANES):
            w = np.float32((square[lane] * scale[lane]) ** -half_power)
            weight[lane] = one if square[lane] == nearest[lane] else w
    if reach2 < np.inf:
        for lane in range(LANES):
            weight[lane] = weight[lane] if square[lane] <= reach2 else np.float32(0)


@njit(cache=True, inline="never")
def _keep_first(weight: _Singles, square: _Floats, before: _Indices, places: int) -> None:
    """Take the point out of the cells where as many as there are places come before it."""
    for lane in range(LANES):
        counts = before[lane] < places
        weight[lane] = weight[lane] if counts else np.float32(0)
        square[lane] = square[lane] if counts else np.inf


@njit(cache=True, inline="never")
def _count(used: _Indices, square: _Floats, reach2: float) -> None:
    """Count the point in the cells where it counts; not by its weight, which may underflow."""
    for lane in range(LANES):
        used[lane] += (square[lane] <= reach2) & (square[lane] < np.inf)


@njit(cache=True, fastmath=_FUSED, inline="never")
def _accumulate(acc: _Singles, total: _Singles, weight: _Singles, v: _Singles, n: int) -> None:
    """Add weights times values for n points; n and the elements come in fours, so that registers are shared."""
    for c in range(0, n, 4):
        w0, w1, w2, w3 = weight[c], weight[c + 1], weight[c + 2], weight[c + 3]
        for lane in range(LANES):
            total[lane] += (w0[lane] + w1[lane]) + (w2[lane] + w3[lane])
    for e in range(0, acc.shape[0], 4):
        a0, a1, a2, a3 = acc[e], acc[e + 1], acc[e + 2], acc[e + 3]
        for c in range(0, n, 4):
            w0, w1, w2, w3 = weight[c], weight[c + 1], weight[c + 2], weight[c + 3]
            v00, v01, v02, v03 = v[c, e], v[c, e + 1], v[c, e + 2], v[c, e + 3]
            v10, v11, v12, v13 = v[c + 1, e], v[c + 1, e + 1], v[c + 1, e + 2], v[c + 1, e + 3]
            v20, v21, v22, v23 = v[c + 2, e], v[c + 2, e + 1], v[c + 2, e + 2], v[c + 2, e + 3]
            v30, v31, v32, v33 = v[c + 3, e], v[c + 3, e + 1], v[c + 3, e + 2], v[c + 3, e + 3]
            for lane in range(LANES):
                p, q, r, s = w0[lane], w1[lane], w2[lane], w3[lane]
                a0[lane] += p * v00 + q * v10 + r * v20 + s * v30
                a1[lane] += p * v01 + q * v11 + r * v21 + s * v31
                a2[lane] += p * v02 + q * v12 + r * v22 + s * v32
                a3[lane] += p * v03 + q * v13 + r * v23 + s * v33


@njit(cache=True, inline="never")
def _flush(acc: _Singles, total: _Singles, acc64: _Floats, total64: _Floats) -> None:
    """Move the sums into their float64 totals."""
    for lane in range(LANES):
        total64[lane] += total[lane]
        total[lane] = 0
    for e in range(acc.shape[0]):
        for lane in range(LANES):
            acc64[e, lane] += acc[e, lane]
            acc[e, lane] = 0


@njit(cache=True, inline="never")
def _store(plane: _Singles, acc: _Singles, inverse: _Singles, row: int, col: int) -> None:
    """Write the means of a block whose north-west cell is (row, col) of the plane, as far as they lie in it."""
    if col >= 0 and col + SIDE <= plane.shape[1]:
        for r in range(max(row, 0), min(row + SIDE, plane.shape[0])):
            for c in range(SIDE):
                plane[r, col + c] = acc[(r - row) * SIDE + c] * inverse[(r - row) * SIDE + c]
    else:
        for r in range(max(row, 0), min(row + SIDE, plane.shape[0])):
            for c in range(max(col, 0), min(col + SIDE, plane.shape[1])):
                plane[r, c] = acc[(r - row) * SIDE + c - col] * inverse[(r - row) * SIDE + c - col]


@njit(cache=True, error_model="numpy")
def _cell_by_cell(
    px: _Floats, py: _Floats, value: _Singles, mine: _Indices, x: _Floats, y: _Floats, k: int, half_power: float,
    reach2: float, min_samples: int, acc: _Singles, total: _Singles,
) -> None:  # fmt: skip
    """Do the same for a block too dense to rank in step: each cell picks its own k nearest, in float64."""
    mine.sort()  # ties go by index
    square, sums = np.empty(mine.size), np.empty(acc.shape[0])
    total.fill(1)
    for lane in range(LANES):
        for t in range(mine.size):
            dx, dy = x[lane % SIDE] - px[mine[t]], y[lane // SIDE] - py[mine[t]]
            square[t] = dx * dx + dy * dy
        last = _kth(square, k)[0]
        nearest, ties, weights, used = np.inf, k, 0.0, 0
        sums.fill(0)
        for t in range(mine.size):
            nearest = min(nearest, square[t])
            ties -= square[t] < last
        for t in range(mine.size):
            if square[t] > last or square[t] > reach2 or (square[t] == last and ties <= 0):
                continue
            ties -= square[t] == last
            w = 1.0 if square[t] == nearest else (nearest / square[t]) ** half_power
            weights += w
            used += 1
            for e in range(sums.size):
                sums[e] += w * value[mine[t], e]
        for e in range(sums.size):
            acc[e, lane] = sums[e] / weights if used >= min_samples else np.nan
