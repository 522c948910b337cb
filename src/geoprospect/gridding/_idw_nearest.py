"""Inverse distance weighting from the k nearest points, exact, for all elements at once.

Cells are worked on in blocks of 16 x 16 that are anchored to the rows and columns of the whole grid, so that
any part of it comes out the same to the byte. The triangle inequality settles most of the question for a whole
block: with d_k and d_k+1 the distances of the k-th and the next nearest point from its centre, and h its half
diagonal, a point nearer than d_k+1 - 2h is among the k nearest of every cell, one farther than d_k + 2h of none.
Of those between, most pairs are settled for a whole block too: the difference of two squared distances is linear in
x and y, so it can only change its sign where the line halfway between two points crosses the block. Only the few
that are left are ranked for each cell: the rank of a point is the number of points that come before it, by distance
and then by index, counted for the 256 cells of a block in step. What remains are weights times values, also in step,
for four elements and four points at a time.

Elements that lack the same samples form a group. Groups search and rank on their own, because each has its own
k nearest; the distances of a point from the cells of a block, and which of two points is nearer to each of them, are
computed once for all of them.

Points are ranked by the float64 squares of the plain differences of coordinates, so a tie here is a tie for anybody
who computes them in the same way. Weights are float32, relative to the nearest point, so nothing overflows.
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
    Flags,
    Floats,
    Indices,
    Singles,
    accumulate,
    accumulate_one,
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

SPAN = 4 * SIDE  # cells along a superblock, whose blocks share one search
STRIPE = 16 * SPAN  # cells along the part of a row of superblocks that is one job
MOST = 96  # points that are ranked at once; where there are more, each cell picks its own
OPEN = 256  # points whose pairs are looked at; their number grows with the square
SLOTS = 128  # points whose distances from a block are kept
PAIRS = 512  # pairs of them whose order is kept
# Rows of distances and weights: the slots, the points of a chunk without one, their weights once they are made, zeros.
LOOSE, MADE, ZERO = SLOTS, SLOTS + CHUNK, SLOTS + 2 * CHUNK
EXACT = 32  # sums over more points than this are totalled in float64
HEAVY = 1e18  # weight from which those of a block are made relative, so that no product overflows
ROUNDING = 1e-9  # relative slack of a bound, for the rounding of distances
BLUR = 2e-15  # the same in units of the coordinates, for that of cell centres
BEFORE, AFTER, CROSSING = 0, 1, 2  # of two points: in every cell the first is nearer, or farther, or it depends


class Buckets(NamedTuple):
    """Points sorted into square buckets: south-west corner, side, counts, where each starts, who is in it."""

    west: float
    south: float
    side: float
    columns: int
    rows: int
    start: NDArray[np.int64]
    member: Indices


class Elements(NamedTuple):
    """Values of the points, the elements of a group side by side; a group is one element, or filled up to fours."""

    value: Singles  # (N, W), 0 where missing or filling
    valid: Flags  # (G, N)
    start: NDArray[np.int64]  # (G + 1,): group g has the columns start[g] … start[g + 1]
    band: NDArray[np.int64]  # (W,): which plane a column is; -1 for filling
    low: Singles  # (W,): the least value
    high: Singles  # (W,): the greatest


class Rule(NamedTuple):
    """Which points count, and how much."""

    k: int
    half_power: float
    radius: float
    min_samples: int


class Bench(NamedTuple):
    """The arrays that one thread works with; rows are points, columns the cells of a block."""

    square: Floats  # (MADE, LANES): squared distances
    weight: Singles  # (ZERO + 1, LANES): their inverses, in cells; weights
    squared: Flags  # (SLOTS,): whether the row of squares is filled
    centred: Flags  # (SLOTS,): whether the point lies on a cell centre or so near that its weight is huge
    slot: Indices  # (N,): the row of each point, or -1
    member: Indices  # (SLOTS,): the point of each row
    order: NDArray[np.int8]  # (PAIRS + 1, LANES): whether the second of two points is nearer; the last row is not kept
    pair: NDArray[np.int16]  # (SLOTS, SLOTS): the row of each pair of slots, or -1
    pairs: NDArray[np.int16]  # (PAIRS, 2): the pair of each row
    counts: Indices  # (2,): how many slots and pairs there are
    rows: Indices  # (CHUNK,): where the distances of a chunk of points stand
    heavy: Indices  # (CHUNK,): where their weights stand
    relation: Indices  # (OPEN, OPEN): of pairs of open points
    counted: Indices  # (3, OPEN): open points, how many come surely before each, and how many perhaps
    offset: Floats  # (3, OPEN): their distances from the middle of the block along x and y, and squared
    before: NDArray[np.int8]  # (MOST, LANES): points that come before, at most MOST
    nearest: Floats  # (LANES,): squared distance of the nearest point
    best: Singles  # (LANES,): the greatest inverse
    gain: Singles  # (LANES,): 1 / best
    v: Singles  # (CHUNK, W)
    acc: Singles  # (W, LANES)
    total: Singles  # (LANES,)
    acc64: Floats
    total64: Floats
    used: Indices  # (LANES,): points that count


def idw_nearest(
    points: Floats,
    values: Floats,
    origin: tuple[float, float],
    step: tuple[float, float],
    k: int,
    power: float,
    out: Singles,
    first: tuple[int, int] = (0, 0),
    radius: float = math.inf,
    min_samples: int = 1,
    threads: int | None = None,
    done: Callable[[int], object] | None = None,
) -> None:
    """Interpolate into a part of a grid.

    Parameters
    ----------
    points : (N, 2) float64
    values : (N, C) float64, NaN where missing
    origin : x and y of the north-west corner of the whole grid
    step : x and y from one cell to the next; y is negative where north is up
    k, power : neighbours and exponent of the distance
    out : (C, Y, X) float32, C-contiguous, filled; NaN where too few neighbours count
    first : row and column in the whole grid of out[:, 0, 0]
    radius : neighbours beyond it do not count
    min_samples : fewest neighbours that make a value
    threads : how many; None for numba's number
    done : called with the number of cells of each job that is finished
    """
    out[np.isnan(values).all(axis=0)] = np.nan
    rows = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not rows.size:
        return
    points = points[rows]
    elements, buckets = group(values[rows]), bucket_index(points)
    x, y = np.ascontiguousarray(points.T)
    cells, rule = Cells(*origin, *step, *first), Rule(min(k, len(points)), power / 2, radius, min_samples)
    row_end, col_end = first[0] + out.shape[1], first[1] + out.shape[2]
    jobs = [
        (x, y, elements, buckets, cells, rule, out, top, left, min(left + STRIPE, col_end),
         (min(top + SPAN, row_end) - max(top, first[0])) * (min(left + STRIPE, col_end) - max(left, first[1])))
        for top in range(first[0] // SPAN * SPAN, row_end, SPAN)
        for left in range(first[1] // STRIPE * STRIPE, col_end, STRIPE)
    ]  # fmt: skip
    in_threads(_fill, jobs, threads, done)


def group(values: Floats) -> Elements:
    """Sort elements into groups that lack the same points; an element without any value is in none."""
    present, mask_of = masks(values)
    valid, start, band, columns = [], [0], [], []
    for g in np.flatnonzero(present.any(axis=1)):
        members = np.flatnonzero(mask_of == g)
        width = 1 if members.size == 1 else -(-members.size // 4) * 4
        column = np.zeros((len(values), width), dtype=np.float32)
        column[:, : members.size] = np.where(present[g][:, None], values[:, members], 0)
        columns.append(column)
        valid.append(present[g])
        start.append(start[-1] + width)
        band += [*members, *[-1] * (width - members.size)]
    planes = np.array(band, np.int64)
    extremes, held = np.zeros((2, planes.size), dtype=np.float32), np.flatnonzero(planes >= 0)
    extremes[:, held] = np.nanmin(values[:, planes[held]], axis=0), np.nanmax(values[:, planes[held]], axis=0)
    return Elements(np.hstack(columns), np.array(valid), np.array(start, np.int64), planes, *extremes)


def bucket_index(points: Floats) -> Buckets:
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


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(
    px: Floats, py: Floats, elements: Elements, buckets: Buckets, cells: Cells, rule: Rule, out: Singles, top: int,
    left: int, right: int, n_cells: int,
) -> None:  # fmt: skip
    """Fill the superblocks whose first row is `top`, from column `left` up to `right`."""
    n, groups = px.size, elements.start.size - 1
    found, mine, distance, chosen = np.empty(n, np.int32), np.empty(n + 1, np.int32), np.empty(n), np.empty(n)
    pool, ends = np.empty(1024, np.int32), np.zeros(groups + 1, np.int64)
    x, y, scale = np.empty(LANES), np.empty(LANES), 1 / math.hypot(cells.dx, cells.dy)
    value, valid, starts, band, low, high = elements
    # Taken apart once: an array that is taken out of a tuple in a loop costs an atomic operation every time.
    (square, weight, squared, centred, slot, member, order, pair, pairs, counts, rows, heavy, relation, counted, offset,
     before, nearest, best, gain, v, acc, total, acc64, total64, used) = _bench(n, elements)  # fmt: skip
    for west in range(left, right, SPAN):
        for g in range(groups):
            m = _search(
                px, py, valid[g], cells.west + cells.dx * (west + SPAN / 2),
                cells.north + cells.dy * (top + SPAN / 2), 0.5 * math.hypot(SPAN * cells.dx, SPAN * cells.dy),
                rule.k, rule.radius, buckets, found, distance, chosen,
            )  # fmt: skip
            ends[g + 1] = ends[g] + m
            if ends[g + 1] > pool.size:
                longer = np.empty(2 * ends[g + 1], np.int32)
                longer[: pool.size] = pool
                pool = longer
            pool[ends[g] : ends[g + 1]] = found[:m]
        for row in range(max(top, cells.row0 // SIDE * SIDE), min(top + SPAN, cells.row0 + out.shape[1]), SIDE):
            for col in range(max(west, cells.col0 // SIDE * SIDE), min(west + SPAN, right), SIDE):
                place(cells, row, col, x, y)
                _forget(slot, member, pair, pairs, counts)
                for g in range(groups):
                    n_sure, n_mine = _divide(
                        px, py, cells.west + cells.dx * (col + SIDE / 2), cells.north + cells.dy * (row + SIDE / 2),
                        0.5 * (SIDE - 1) * abs(cells.dx), 0.5 * (SIDE - 1) * abs(cells.dy), rule,
                        pool[ends[g] : ends[g + 1]], mine, distance, chosen, relation, counted,
                        offset,
                    )  # fmt: skip
                    start, end = starts[g], starts[g + 1]
                    if n_mine - n_sure > MOST:
                        _cell_by_cell(px, py, value, start, end, mine[:n_mine], x, y, rule, acc, total)
                    else:
                        _hold(
                            px, py, mine, n_sure, n_mine, x, y, scale, rule, square, weight, squared, centred, slot,
                            member, pair, pairs, counts,
                        )  # fmt: skip
                        _average(
                            px, py, value, start, end, mine[:n_mine], n_sure, x, y, scale, rule, square, weight,
                            centred, slot, order, pair, pairs, counts, rows, heavy, relation, before, nearest, best,
                            gain, v, acc[: end - start], total, acc64[: end - start], total64, used,
                        )  # fmt: skip
                    for lane in range(LANES):  # where nothing counts, infinite, and 0 times that is NaN
                        total[lane] = 1 / total[lane]
                    for e in range(start, end):
                        if band[e] >= 0:
                            limit(acc[e - start], total, low[e], high[e])
                            store(out[band[e]], acc[e - start], row - cells.row0, col - cells.col0)


@njit(cache=True, nogil=True)
def _bench(n: int, elements: Elements) -> Bench:
    """Lay out the arrays of one thread for n points."""
    width = 0
    for g in range(elements.start.size - 1):
        width = max(width, elements.start[g + 1] - elements.start[g])
    return Bench(
        np.empty((MADE, LANES)), np.zeros((ZERO + 1, LANES), np.float32), np.zeros(SLOTS, np.bool_),
        np.zeros(SLOTS, np.bool_), np.full(n, -1, np.int32), np.empty(SLOTS, np.int32),
        np.empty((PAIRS + 1, LANES), np.int8), np.full((SLOTS, SLOTS), -1, np.int16), np.empty((PAIRS, 2), np.int16),
        np.zeros(2, np.int32), np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32),
        np.empty((OPEN, OPEN), np.int32), np.empty((3, OPEN), np.int32), np.empty((3, OPEN)),
        np.zeros((MOST, LANES), np.int8),
        np.empty(LANES), np.empty(LANES, np.float32), np.empty(LANES, np.float32),
        np.empty((CHUNK, width), np.float32), np.empty((width, LANES), np.float32), np.empty(LANES, np.float32),
        np.empty((width, LANES)), np.empty(LANES), np.empty(LANES, np.int32),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _search(
    px: Floats, py: Floats, valid: Flags, cx: float, cy: float, reach: float, k: int, radius: float, buckets: Buckets,
    found: Indices, distance: Floats, low: Floats,
) -> int:  # fmt: skip
    """Collect, by index, every valid point that may be among the k nearest of a place within `reach` of (cx, cy)."""
    reach += BLUR * (abs(cx) + abs(cy))
    column = _bucket(cx - buckets.west, buckets.side, buckets.columns)
    row = _bucket(cy - buckets.south, buckets.side, buckets.rows)
    ring, m = 1, 0
    while True:  # widen the ring of buckets until it holds k points: they bound the distance of the k-th nearest
        x0, x1 = max(column - ring, 0), min(column + ring, buckets.columns - 1)
        y0, y1 = max(row - ring, 0), min(row + ring, buckets.rows - 1)
        m = _collect(px, py, valid, cx, cy, np.inf, buckets, x0, x1, y0, y1, found, distance)
        if m >= k or (x1 - x0 + 1 == buckets.columns and y1 - y0 + 1 == buckets.rows):
            break
        ring *= 2
    bound = min(_kth(distance[:m], k, low)[0] + 2 * reach, radius + reach) * (1 + ROUNDING)
    # Cut off at the last buckets, also where the bound reaches no bucket at all: distances decide in the end.
    x0 = _bucket(cx - bound - buckets.west, buckets.side, buckets.columns)
    x1 = _bucket(cx + bound - buckets.west, buckets.side, buckets.columns)
    y0 = _bucket(cy - bound - buckets.south, buckets.side, buckets.rows)
    y1 = _bucket(cy + bound - buckets.south, buckets.side, buckets.rows)
    m = _collect(px, py, valid, cx, cy, bound, buckets, x0, x1, y0, y1, found, distance)
    bound = min(_kth(distance[:m], k, low)[0] + 2 * reach, radius + reach) * (1 + ROUNDING)
    n_found = 0
    for t in range(m):
        if distance[t] <= bound:
            found[n_found] = found[t]
            n_found += 1
    found[:n_found].sort()
    return n_found


@njit(cache=True, nogil=True)
def _bucket(length: float, side: float, count: int) -> int:
    """Return the bucket at a length from the edge, or the last one; cut off first, as integers do not reach far."""
    return int(min(max(length / side, 0.0), count - 0.5))


@njit(cache=True, nogil=True)
def _collect(
    px: Floats, py: Floats, valid: Flags, cx: float, cy: float, bound: float, buckets: Buckets, x0: int, x1: int,
    y0: int, y1: int, found: Indices, distance: Floats,
) -> int:  # fmt: skip
    """Write the valid points of some buckets within `bound` of (cx, cy), and their distances; return how many."""
    m = 0
    for row in range(y0, y1 + 1):
        for t in range(buckets.start[row * buckets.columns + x0], buckets.start[row * buckets.columns + x1 + 1]):
            i = buckets.member[t]
            d = math.sqrt((px[i] - cx) ** 2 + (py[i] - cy) ** 2)
            if d <= bound and valid[i]:
                found[m], distance[m] = i, d
                m += 1
    return m


@njit(cache=True, nogil=True)
def _divide(
    px: Floats, py: Floats, cx: float, cy: float, hx: float, hy: float, rule: Rule, found: Indices, mine: Indices,
    distance: Floats, low: Floats, relation: Indices, counted: Indices, offset: Floats,
) -> tuple[int, int]:  # fmt: skip
    """Write the points that are sure to count in every cell of a block, then those that may; return both counts.

    The block's cell centres lie within hx and hy of (cx, cy).
    """
    blur = BLUR * (abs(cx) + abs(cy))
    hx, hy = hx + blur, hy + blur
    for t in range(found.size):
        distance[t] = (px[found[t]] - cx) ** 2 + (py[found[t]] - cy) ** 2
    kth, following = _kth(distance[: found.size], rule.k, low)
    kth, following, half = math.sqrt(kth), math.sqrt(following), math.hypot(hx, hy)
    slack = 2 * half + ROUNDING * (kth + half)
    near = max(following - slack, 0) ** 2
    far = (min(kth, rule.radius) + slack) ** 2
    # Written always and kept where it counts: a processor cannot guess which of these branches it would take.
    n_sure = 0
    for t in range(found.size):
        mine[n_sure] = found[t]
        n_sure += distance[t] < near
    n_mine = n_sure
    for t in range(found.size):
        mine[n_mine] = found[t]
        n_mine += (near <= distance[t]) & (distance[t] <= far)
    if n_mine - n_sure > OPEN:
        n_mine = _thin(px, py, cx, cy, hx, hy, rule.k, found, mine, n_sure, n_mine, distance, kth**2)
    if rule.k - n_sure < n_mine - n_sure <= OPEN:
        return _settle(px, py, cx, cy, hx, hy, rule.k - n_sure, mine, n_sure, n_mine, relation, counted, offset)
    return n_sure, n_mine


@njit(cache=True, nogil=True)
def _thin(
    px: Floats, py: Floats, cx: float, cy: float, hx: float, hy: float, k: int, found: Indices, mine: Indices,
    n_sure: int, n_mine: int, distance: Floats, kth: float,
) -> int:  # fmt: skip
    """Leave out open points that all of the k nearest to the middle of the block come before in every cell.

    A dense cluster some way off is open as a whole, because its points are all about equally far.
    """
    nearest, n = np.empty(k, np.int32), 0
    for t in range(found.size):
        if distance[t] <= kth and n < k:
            nearest[n] = found[t]
            n += 1
    kept = n_sure
    for t in range(n_sure, n_mine):
        j = mine[t]
        out = n == k
        for i in nearest[:n]:
            if not out:
                break
            out = i != j and _surely_before(px[i] - cx, py[i] - cy, px[j] - cx, py[j] - cy, hx, hy)
        if not out:
            mine[kept] = j
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _surely_before(xi: float, yi: float, xj: float, yj: float, hx: float, hy: float) -> bool:
    """Say whether point i is nearer than point j, not just as near, to all places within hx and hy of the origin."""
    square_i, square_j = xi * xi + yi * yi, xj * xj + yj * yj
    reach = 2 * (abs(xj - xi) * hx + abs(yj - yi) * hy)
    return square_j - square_i > reach * (1 + ROUNDING) + ROUNDING * (square_i + square_j)


@njit(cache=True, nogil=True)
def _settle(
    px: Floats, py: Floats, cx: float, cy: float, hx: float, hy: float, places: int, mine: Indices, n_sure: int,
    n_mine: int, relation: Indices, counted: Indices, offset: Floats,
) -> tuple[int, int]:  # fmt: skip
    """Move open points to the sure ones, and leave others out, where their pairs allow; write the pairs that are left.

    A point with as many surely before it as there are places counts nowhere. It can be left out of every ranking:
    where it would come before another, so would they. A point that comes before all but so few counts everywhere.
    Equally far points are never surely before each other, so that ties are left to the ranking.
    """
    n_open = n_mine - n_sure
    opened, nearer, crossing = counted[0, :n_open], counted[1, :n_open], counted[2, :n_open]
    x, y, square = offset[0, :n_open], offset[1, :n_open], offset[2, :n_open]
    for i in range(n_open):
        opened[i], nearer[i], crossing[i] = mine[n_sure + i], 0, 0
        x[i], y[i] = px[opened[i]] - cx, py[opened[i]] - cy
        square[i] = x[i] * x[i] + y[i] * y[i]
    for i in range(n_open):
        for j in range(i + 1, n_open):  # without branches, as above
            reach = 2 * (abs(x[j] - x[i]) * hx + abs(y[j] - y[i]) * hy) * (1 + ROUNDING)
            reach += ROUNDING * (square[i] + square[j])
            first, second = np.int32(square[j] - square[i] > reach), np.int32(square[i] - square[j] > reach)
            relation[i, j] = CROSSING - 2 * first - second
            relation[j, i] = CROSSING - first - 2 * second
            nearer[j] += first
            nearer[i] += second
            crossing[i] += 1 - first - second
            crossing[j] += 1 - first - second
    kept = 0
    for i in range(n_open):
        if nearer[i] + crossing[i] < places:
            mine[n_sure + kept] = opened[i]
            kept += 1
    n_sure, n_mine = n_sure + kept, n_sure + kept
    for i in range(n_open):
        if nearer[i] < places <= nearer[i] + crossing[i]:
            row = n_mine - n_sure
            column = 0
            for j in range(n_open):
                if nearer[j] < places <= nearer[j] + crossing[j]:
                    relation[row, column] = relation[i, j]
                    column += 1
            mine[n_mine] = opened[i]
            n_mine += 1
    return n_sure, n_mine


@njit(cache=True, nogil=True)
def _kth(distance: Floats, k: int, low: Floats) -> tuple[float, float]:
    """Return the k-th and the next smallest distance; where there are no more, the largest and infinity.

    Quickselect by hand, in the array `low`: `np.partition` would take seven seconds to compile. Its loops have no
    branch that depends on the data, and take equal distances out in one go.
    """
    n = distance.size
    if n <= k:
        largest = -np.inf
        for d in distance:
            largest = max(largest, d)
        return largest if n else np.inf, np.inf
    for t in range(n):
        low[t] = distance[t]
    left, right = 0, n - 1
    while left < right:
        pivot = low[(left + right) // 2]
        smaller = left
        for t in range(left, right + 1):
            low[t], low[smaller] = low[smaller], low[t]
            smaller += low[smaller] < pivot
        if k <= smaller:
            right = smaller - 1
            continue
        equal = smaller
        for t in range(smaller, right + 1):
            low[t], low[equal] = low[equal], low[t]
            equal += low[equal] == pivot
        if k <= equal:
            break
        left = equal
    following = np.inf
    for t in range(k, n):
        following = min(following, low[t])
    return low[k - 1], following


@njit(cache=True, nogil=True)
def _forget(slot: Indices, member: Indices, pair: NDArray[np.int16], pairs: NDArray[np.int16], counts: Indices) -> None:
    """Clear the slots, and what is known of their pairs."""
    for s in range(counts[0]):
        slot[member[s]] = -1
    for p in range(counts[1]):
        pair[pairs[p, 0], pairs[p, 1]] = -1
    counts[:] = 0


@njit(cache=True, nogil=True)
def _hold(
    px: Floats, py: Floats, mine: Indices, n_sure: int, n_mine: int, x: Floats, y: Floats, scale: float, rule: Rule,
    square: Floats, weight: Singles, squared: Flags, centred: Flags, slot: Indices, member: Indices,
    pair: NDArray[np.int16], pairs: NDArray[np.int16], counts: Indices,
) -> None:  # fmt: skip
    """See that the distances of points are in slots: of all where they fit, else of those to be ranked."""
    start = 0 if n_mine <= MOST else n_sure
    all_squared = rule.half_power != 1 or rule.radius < np.inf or rule.min_samples > 1
    cx, cy = 0.5 * (x[0] + x[LANES - 1]), 0.5 * (y[0] + y[LANES - 1])
    reach_x, reach_y = 0.501 * abs(x[LANES - 1] - x[0]), 0.501 * abs(y[LANES - 1] - y[0])
    if counts[0] + n_mine - start > SLOTS:
        _forget(slot, member, pair, pairs, counts)
    for t in range(start, n_mine):
        i = mine[t]
        if slot[i] < 0:
            new = counts[0]
            slot[i], member[new], squared[new] = new, i, False
            if rule.half_power == 1:
                invert(weight, new, x, y, px[i], py[i], scale)
                # Such points lie among the cells, and few do.
                centred[new] = (
                    abs(px[i] - cx) <= reach_x
                    and abs(py[i] - cy) <= reach_y
                    and weight[new, nearest_lane(x, y, px[i], py[i])] > HEAVY
                )
            counts[0] += 1
        if (all_squared or t >= n_sure) and not squared[slot[i]]:
            square_distances(square, slot[i], x, y, px[i], py[i])
            squared[slot[i]] = True


@njit(cache=True, nogil=True, error_model="numpy")
def _average(
    px: Floats, py: Floats, value: Singles, start: int, end: int, mine: Indices, n_sure: int, x: Floats, y: Floats,
    scale: float, rule: Rule, square: Floats, weight: Singles, centred: Flags, slot: Indices, order: NDArray[np.int8],
    pair: NDArray[np.int16], pairs: NDArray[np.int16], counts: Indices, rows: Indices, heavy: Indices,
    relation: Indices, before: NDArray[np.int8], nearest: Floats, best: Singles, gain: Singles, v: Singles,
    acc: Singles, total: Singles, acc64: Floats, total64: Floats, used: Indices,
) -> None:  # fmt: skip
    """Write the sums of weights times values of a group's elements, and of the weights, over the points of a block.

    Weights are made relative to the nearest point where the plain ones could be infinite, and where one point is to
    come back exactly; elsewhere 1 / square serves as it is.
    """
    n_mine, reach2, inverted = mine.size, rule.radius * rule.radius, rule.half_power == 1
    places = rule.k - n_sure  # how many of those to be ranked count
    ranked = n_mine - n_sure > places
    relative = not inverted or rule.k == 1 or n_mine == 1 or n_mine > MOST
    for t in range(n_mine if not relative else 0):
        relative |= centred[slot[mine[t]]]
    if relative:
        best.fill(0)
        nearest.fill(np.inf)
        for first in range(0, n_mine, CHUNK):
            size = _find(px, py, mine, first, x, y, scale, inverted, square, weight, slot, rows)
            if inverted:
                _raise(best, weight, rows, size)
            else:
                _lower(nearest, square, rows, size)
        for lane in range(LANES):
            gain[lane] = 1 / best[lane]
    if ranked:
        _rank(square, slot, mine[n_sure:], relation, order, pair, pairs, counts, before)
    acc.fill(0)
    total.fill(0)
    if rule.min_samples > 1:
        used.fill(0)
    if n_mine > EXACT:
        acc64.fill(0)
        total64.fill(0)
    for first in range(0, n_mine, CHUNK):
        size = _find(px, py, mine, first, x, y, scale, inverted, square, weight, slot, rows)
        for c in range(size):
            heavy[c] = rows[c]
            for e in range(start, end):
                v[c, e - start] = value[mine[first + c], e]
        if relative and inverted:
            _weigh(weight, rows, heavy, size, best, gain)
        elif relative:
            _weigh_by_power(weight, square, rows, heavy, size, nearest, rule.half_power)
        if reach2 < np.inf:
            _cut(weight, square, rows, heavy, size, reach2)
        if ranked:
            _keep_first(weight, heavy, size, before, first - n_sure, places)
        if rule.k == 1:
            _level(weight, heavy, size)
        if rule.min_samples > 1:
            _count(used, square, rows, size, reach2, before, first - n_sure, places if ranked else MOST + 1)
        padded = (size + 3) // 4 * 4
        heavy[size:padded] = ZERO
        v[size:padded] = 0
        if end - start == 1:
            accumulate_one(acc, total, weight, heavy, v, padded)
        else:
            accumulate(acc, total, weight, heavy, v, padded)
        if n_mine > EXACT:
            flush(acc, total, acc64, total64)
    if n_mine > EXACT:
        for e in range(end - start):
            for lane in range(LANES):
                acc[e, lane] = acc64[e, lane] / total64[lane]
        total.fill(1)
    if rule.min_samples > 1:
        for lane in range(LANES):
            if used[lane] < rule.min_samples:
                total[lane] = np.nan


@njit(cache=True, nogil=True)
def _find(
    px: Floats, py: Floats, mine: Indices, first: int, x: Floats, y: Floats, scale: float, inverted: bool,
    square: Floats, weight: Singles, slot: Indices, rows: Indices,
) -> int:  # fmt: skip
    """Write the rows of the points from `first` on, as many as fit; measure those without a slot. Return how many."""
    size = min(CHUNK, mine.size - first)
    for c in range(size):
        i = mine[first + c]
        rows[c] = slot[i]
        if slot[i] < 0:
            rows[c] = LOOSE + c
            square_distances(square, LOOSE + c, x, y, px[i], py[i])
            if inverted:
                invert(weight, LOOSE + c, x, y, px[i], py[i], scale)
    return size


@njit(cache=True, nogil=True)
def _rank(
    square: Floats, slot: Indices, points: Indices, relation: Indices, order: NDArray[np.int8], pair: NDArray[np.int16],
    pairs: NDArray[np.int16], counts: Indices, before: NDArray[np.int8],
) -> None:  # fmt: skip
    """Count for each point and cell the points that come before it, by distance, then by index."""
    for i in range(points.size):
        nearer = 0
        for j in range(points.size):
            nearer += j != i and relation[j, i] == BEFORE
        before[i].fill(nearer)
    for i in range(points.size):
        for j in range(i + 1, points.size):
            if relation[i, j] != CROSSING:
                continue
            si, sj = slot[points[i]], slot[points[j]]
            row = pair[si, sj]
            if row < 0:
                row = counts[1]
                if row < PAIRS:
                    pair[si, sj], pairs[row, 0], pairs[row, 1] = row, si, sj
                    counts[1] += 1
                _compare(square, si, sj, order, row)
            _tally(order, row, before, i, j)


# Below, whole rows of cells at once. Rows are taken out of their arrays first, or the inner loops are not vectorised.


@njit(cache=True, nogil=True, inline="never")
def _compare(square: Floats, first: int, second: int, order: NDArray[np.int8], row: int) -> None:
    """Write where the second of two points is nearer; where they are equally far, the first comes before."""
    a, b, out = square[first], square[second], order[row]
    for lane in range(LANES):
        out[lane] = np.int8(b[lane] < a[lane])


@njit(cache=True, nogil=True, inline="never")
def _tally(order: NDArray[np.int8], row: int, before: NDArray[np.int8], i: int, j: int) -> None:
    """Count point j before point i where it is nearer, elsewhere i before j."""
    nearer, bi, bj = order[row], before[i], before[j]
    for lane in range(LANES):
        bi[lane] += nearer[lane]
        bj[lane] += np.int8(1) - nearer[lane]


@njit(cache=True, nogil=True, inline="never")
def _raise(high: Singles, weight: Singles, rows: Indices, n: int) -> None:
    """Take the greatest of each cell."""
    for c in range(n):
        row = weight[rows[c]]
        for lane in range(LANES):
            high[lane] = max(high[lane], row[lane])


@njit(cache=True, nogil=True, inline="never")
def _lower(low: Floats, square: Floats, rows: Indices, n: int) -> None:
    """Take the least of each cell."""
    for c in range(n):
        row = square[rows[c]]
        for lane in range(LANES):
            low[lane] = min(low[lane], row[lane])


@njit(cache=True, nogil=True, error_model="numpy", inline="never")
def _weigh(weight: Singles, rows: Indices, heavy: Indices, n: int, best: Singles, gain: Singles) -> None:
    """Make weights relative to the nearest point, power 2: 1 for that one, also where its distance is 0."""
    one = np.float32(1)
    for c in range(n):
        heavy[c] = MADE + c
        made, row = weight[MADE + c], weight[rows[c]]
        for lane in range(LANES):
            w = row[lane] * gain[lane]
            made[lane] = one if row[lane] == best[lane] else w


@njit(cache=True, nogil=True, error_model="numpy", inline="never")
def _weigh_by_power(
    weight: Singles, square: Floats, rows: Indices, heavy: Indices, n: int, nearest: Floats, half_power: float
) -> None:
    """Do the same for any power."""
    one = np.float32(1)
    for c in range(n):
        heavy[c] = MADE + c
        made, row = weight[MADE + c], square[rows[c]]
        for lane in range(LANES):
            w = np.float32((nearest[lane] / row[lane]) ** half_power)
            made[lane] = one if row[lane] == nearest[lane] else w


@njit(cache=True, nogil=True, inline="never")
def _cut(weight: Singles, square: Floats, rows: Indices, heavy: Indices, n: int, reach2: float) -> None:
    """Take points out of the cells that they lie too far from."""
    for c in range(n):
        made, plain, row = weight[MADE + c], weight[heavy[c]], square[rows[c]]
        heavy[c] = MADE + c
        for lane in range(LANES):
            made[lane] = plain[lane] if row[lane] <= reach2 else np.float32(0)


@njit(cache=True, nogil=True, inline="never")
def _keep_first(weight: Singles, heavy: Indices, n: int, before: NDArray[np.int8], start: int, places: int) -> None:
    """Take points out of the cells where as many as there are places come before them.

    The first of them is number `start` among the ranked, which begin at 0.
    """
    for c in range(max(-start, 0), n):
        made, plain, row = weight[MADE + c], weight[heavy[c]], before[start + c]
        heavy[c] = MADE + c
        for lane in range(LANES):
            made[lane] = plain[lane] if row[lane] < places else np.float32(0)


@njit(cache=True, nogil=True, inline="never")
def _level(weight: Singles, heavy: Indices, n: int) -> None:
    """Make every weight 1 that is not 0: of one neighbour, whose value is to come back to the last digit."""
    for c in range(n):
        made, plain = weight[MADE + c], weight[heavy[c]]
        heavy[c] = MADE + c
        for lane in range(LANES):
            made[lane] = np.float32(1) if plain[lane] > 0 else np.float32(0)


@njit(cache=True, nogil=True, inline="never")
def _count(
    used: Indices,
    square: Floats,
    rows: Indices,
    n: int,
    reach2: float,
    before: NDArray[np.int8],
    start: int,
    places: int,
) -> None:
    """Count points in the cells where they count; not by their weights, which may underflow."""
    for c in range(n):
        sure, ranked, row = start + c < 0, before[max(start + c, 0)], square[rows[c]]
        for lane in range(LANES):
            used[lane] += (row[lane] <= reach2) & (sure | (ranked[lane] < places))


@njit(cache=True, nogil=True, error_model="numpy")
def _cell_by_cell(
    px: Floats, py: Floats, value: Singles, start: int, end: int, mine: Indices, x: Floats, y: Floats, rule: Rule,
    acc: Singles, total: Singles,
) -> None:  # fmt: skip
    """Do the same for a block too dense to rank in step: each cell picks its own k nearest, in float64."""
    mine.sort()  # ties go by index
    k, reach2 = rule.k, rule.radius * rule.radius
    square, low, sums = np.empty(mine.size), np.empty(mine.size), np.empty(end - start)
    total.fill(1)
    for lane in range(LANES):
        for t in range(mine.size):
            dx, dy = x[lane] - px[mine[t]], y[lane] - py[mine[t]]
            square[t] = dx * dx + dy * dy
        last = _kth(square, k, low)[0]
        nearest, ties, weights, used = np.inf, k, 0.0, 0
        sums.fill(0)
        for t in range(mine.size):
            nearest = min(nearest, square[t])
            ties -= square[t] < last
        for t in range(mine.size):
            if square[t] > last or square[t] > reach2 or (square[t] == last and ties <= 0):
                continue
            ties -= square[t] == last
            w = 1.0 if square[t] == nearest else (nearest / square[t]) ** rule.half_power
            weights += w
            used += 1
            for e in range(start, end):
                sums[e - start] += w * value[mine[t], e]
        for e in range(sums.size):
            acc[e, lane] = sums[e] / weights if used >= rule.min_samples else np.nan
