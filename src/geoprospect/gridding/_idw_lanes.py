"""What the gridding kernels do to a block of 16 x 16 cells in step.

One row of an array is one point, its 256 lanes are the cells.

Every function here is kept out of line, because the compiler vectorises small loops over a fixed length and gives up
on large functions. None holds the interpreter lock, so that blocks are shared out to plain threads: many callers at
once, such as the workers of dask, are safe, which numba's own parallel loops are not on every platform.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numba import config, get_num_threads, njit
from numba.np.ufunc import parallel
from numpy.typing import NDArray

SIDE = 16  # cells along a block
LANES = SIDE * SIDE
CHUNK = 32  # points whose weights are held at once

FUSED = {"contract", "nsz"}
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Indices = NDArray[np.int32]
Flags = NDArray[np.bool_]


class Cells(NamedTuple):
    """North-west corner of the whole grid, its steps, and the row and column where the part begins."""

    west: float
    north: float
    dx: float
    dy: float
    row0: int
    col0: int


def in_threads(
    work: Callable[..., None],
    jobs: Iterable[tuple[Any, ...]],
    threads: int | None,
    done: Callable[[int], object] | None,
) -> None:
    """Do jobs, each a tuple of arguments, in threads; after each call `done` with its last argument.

    The number of threads is that of numba (``NUMBA_NUM_THREADS``, `numba.set_num_threads`) where it is None.
    """
    todo = list(jobs)
    count = min(threads or _threads_of_numba(), len(todo))
    if count <= 1:
        for job in todo:
            work(*job)
            if done is not None:
                done(job[-1])
        return
    pool = ThreadPoolExecutor(count)
    try:
        for job, _ in zip(todo, pool.map(lambda job: work(*job), todo), strict=True):
            if done is not None:
                done(job[-1])
    finally:  # after Ctrl-C or an error, what has not begun is not begun
        pool.shutdown(cancel_futures=True)


def _threads_of_numba() -> int:
    """Return numba's number of threads.

    Asking numba itself has it start threads of its own, which sets the number of OpenMP's, and with it torch's.
    """
    started: bool = getattr(parallel, "_is_initialized", True)
    count: int = get_num_threads() if started else config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    return count


def masks(values: Floats) -> tuple[Flags, NDArray[np.int64]]:
    """Return which points have values, once for all elements that lack the same, and which of these is an element's.

    Parameters
    ----------
    values : (N, C), NaN where missing

    Returns
    -------
    present : (G, N), in the order in which they first appear
    mask_of : (C,)
    """
    present = ~np.isnan(values)
    # By their bytes: np.unique takes half a second for 20 elements of 20,000 samples.
    packed, seen = np.packbits(present, axis=0), {}  # type: ignore[var-annotated]
    mask_of = np.array([seen.setdefault(column.tobytes(), len(seen)) for column in packed.T], dtype=np.int64)
    _, first = np.unique(mask_of, return_index=True)
    return np.ascontiguousarray(present[:, first].T), mask_of


@njit(cache=True, nogil=True)
def place(cells: Cells, row: int, col: int, x: Floats, y: Floats) -> None:
    """Write the coordinates of the cell centres of the block whose north-west cell is (row, col) of the whole grid."""
    for lane in range(LANES):
        x[lane] = cells.west + cells.dx * (col + lane % SIDE + 0.5)
        y[lane] = cells.north + cells.dy * (row + lane // SIDE + 0.5)


@njit(cache=True, nogil=True, error_model="numpy")
def nearest_lane(x: Floats, y: Floats, px: float, py: float) -> int:
    """Return the lane of the cell of a block whose centre is nearest to a point."""
    column = math.floor((px - x[0]) / (x[1] - x[0]) + 0.5)
    row = math.floor((py - y[0]) / (y[SIDE] - y[0]) + 0.5)
    return int(min(max(row, 0), SIDE - 1) * SIDE + min(max(column, 0), SIDE - 1))


@njit(cache=True, nogil=True, inline="never")
def square_distances(out: Floats, row: int, x: Floats, y: Floats, px: float, py: float) -> None:
    """Write the squared distances of a point from the cells: plain float64, so a tie here is a tie for anybody."""
    squares = out[row]
    for lane in range(LANES):
        dx, dy = x[lane] - px, y[lane] - py
        squares[lane] = dx * dx + dy * dy


@njit(cache=True, nogil=True, fastmath=FUSED, error_model="numpy", inline="never")
def invert(weight: Singles, row: int, x: Floats, y: Floats, px: float, py: float, scale: float) -> None:
    """Write 1 / squared distance, in float32 and in units of 1 / scale²; infinite where the point is on the centre."""
    one, out = np.float32(1), weight[row]
    for lane in range(LANES):
        dx, dy = np.float32((x[lane] - px) * scale), np.float32((y[lane] - py) * scale)
        out[lane] = one / (dx * dx + dy * dy)


@njit(cache=True, nogil=True, fastmath=FUSED, inline="never")
def accumulate(acc: Singles, total: Singles, weight: Singles, rows: Indices, v: Singles, n: int) -> None:
    """Add weights times values for n points, whose weights stand in `rows`.

    Points and elements come in fours, so that registers are shared.
    """
    for c in range(0, n, 4):
        w0, w1, w2, w3 = weight[rows[c]], weight[rows[c + 1]], weight[rows[c + 2]], weight[rows[c + 3]]
        for lane in range(LANES):
            total[lane] += (w0[lane] + w1[lane]) + (w2[lane] + w3[lane])
    for e in range(0, acc.shape[0], 4):
        a0, a1, a2, a3 = acc[e], acc[e + 1], acc[e + 2], acc[e + 3]
        for c in range(0, n, 4):
            w0, w1, w2, w3 = weight[rows[c]], weight[rows[c + 1]], weight[rows[c + 2]], weight[rows[c + 3]]
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


@njit(cache=True, nogil=True, fastmath=FUSED, inline="never")
def accumulate_one(acc: Singles, total: Singles, weight: Singles, rows: Indices, v: Singles, n: int) -> None:
    """Do the same for a single element."""
    a = acc[0]
    for c in range(0, n, 4):
        w0, w1, w2, w3 = weight[rows[c]], weight[rows[c + 1]], weight[rows[c + 2]], weight[rows[c + 3]]
        v0, v1, v2, v3 = v[c, 0], v[c + 1, 0], v[c + 2, 0], v[c + 3, 0]
        for lane in range(LANES):
            p, q, r, s = w0[lane], w1[lane], w2[lane], w3[lane]
            total[lane] += (p + q) + (r + s)
            a[lane] += p * v0 + q * v1 + r * v2 + s * v3


@njit(cache=True, nogil=True, inline="never")
def flush(acc: Singles, total: Singles, acc64: Floats, total64: Floats) -> None:
    """Move the sums into their float64 totals."""
    for lane in range(LANES):
        total64[lane] += total[lane]
        total[lane] = 0
    for e in range(acc.shape[0]):
        for lane in range(LANES):
            acc64[e, lane] += acc[e, lane]
            acc[e, lane] = 0


@njit(cache=True, nogil=True, inline="never")
def limit(acc: Singles, inverse: Singles, low: float, high: float) -> None:
    """Turn sums into means, in place; rounding does not carry one beyond the values that it is made of."""
    least, most = np.float32(low), np.float32(high)
    for lane in range(LANES):
        mean = acc[lane] * inverse[lane]
        mean = least if mean < least else mean  # a comparison with NaN is false, and NaN stays
        acc[lane] = most if mean > most else mean


@njit(cache=True, nogil=True, inline="never")
def store(plane: Singles, mean: Singles, row: int, col: int) -> None:
    """Write the means of a block whose north-west cell is (row, col) of the plane, as far as they lie in it."""
    if col >= 0 and col + SIDE <= plane.shape[1]:
        for r in range(max(row, 0), min(row + SIDE, plane.shape[0])):
            for c in range(SIDE):
                plane[r, col + c] = mean[(r - row) * SIDE + c]
    else:
        for r in range(max(row, 0), min(row + SIDE, plane.shape[0])):
            for c in range(max(col, 0), min(col + SIDE, plane.shape[1])):
                plane[r, c] = mean[(r - row) * SIDE + c - col]
