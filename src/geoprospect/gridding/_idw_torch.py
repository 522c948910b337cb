"""Inverse distance weighting on a torch device, exact: from the k nearest samples, or from all.

The k nearest. Square blocks of cells, anchored to the rows and columns of the whole grid, share one search: with d_k
the distance of the k-th nearest sample from the centre of a block and h its half diagonal, a sample farther from the
centre than d_k + 2h is among the k nearest of no cell. The same holds for a tile of 64 x 64 blocks, so blocks search
among the samples of their tile only. The denser the samples, the smaller the blocks: where samples lie evenly about two
candidates are left for one that counts. Blocks with about equally many candidates are worked on together: squared
distances of all cells from all candidates, a stable sort, so that ties go by index, weights of the first k, and one
product of matrices for all elements. All of it is float64. Elements that lack the same samples do this together, every
such group on its own: candidates and their order, which cost most, are those of the group.

All samples. One matrix of weights serves all elements, whatever they lack: its product with the values, 0 where
missing, gives the numerators, that with the validity the denominators, one for each group. Weights are float32, sums
over more than 64 samples float64. They are no weights relative to the nearest sample but plain powers of the distance,
measured in the spacing of the samples: so no pass is needed to find the nearest. Where a denominator leaves the range
in which this is precise, as on a sample, the cell is done again for that group, in float64 and by definition.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoprospect.errors import DeviceError

log = logging.getLogger("geoprospect")

SPAN = 64  # blocks along a tile
SQUARE = 128  # cells along the part that is worked on at once where all samples count
CHUNK = 512  # samples whose weights lie in memory at once; more would leave the cache of an H100
SUMMED = 64  # samples that are summed in float32; over 128 of which one outweighs the rest it can lose 2e-6
SLAB = 65_536  # samples whose distances along x and along y are kept
PAIR = 64  # bytes for a cell and a candidate: squares, both results of the sort and its scratch, weights
ROUNDING = 1e-9  # relative slack of a bound, far above what float64 loses on it
PRECISE = {torch.float32: 1e18, torch.float64: 1e200}  # a sum of weights between 1/x and x has lost nothing
_PRECISION = threading.Lock()


class Rule(NamedTuple):
    """Which samples count, and how much."""

    k: int
    half_power: float
    radius: float
    min_samples: int


class Group(NamedTuple):
    """Elements that lack the same samples, with those that they have."""

    points: Tensor  # (N, 2) float64
    values: Tensor  # (N, C) float64
    bands: list[int]  # (C,): where the elements stand among all


class Cells:
    """Centres of the cells of a part of a grid; the part is widened to whole blocks."""

    def __init__(
        self, origin: tuple[float, float], step: tuple[float, float], shape: tuple[int, int], first: tuple[int, int],
        side: int, device: torch.device,
    ) -> None:  # fmt: skip
        self.step, self.side = step, side
        self.start = (first[0] // side, first[1] // side)  # in blocks
        self.stop = (-(-(first[0] + shape[0]) // side), -(-(first[1] + shape[1]) // side))
        self.skip = (first[0] - self.start[0] * side, first[1] - self.start[1] * side)
        # On the host, where each operation is rounded: a device may fuse the two.
        index = [np.arange(a * side, b * side) + 0.5 for a, b in zip(self.start, self.stop, strict=True)]
        x, y = origin[0] + step[0] * index[1], origin[1] + step[1] * index[0]
        self.farthest = float(max(np.abs(x).max(), np.abs(y).max()))
        self.x = torch.from_numpy(x).view(-1, side).to(device)  # (blocks, side)
        self.y = torch.from_numpy(y).view(-1, side).to(device)

    def tiles(self, span: int) -> Iterator[tuple[slice, slice]]:
        """Yield rows and columns of blocks, counted from the part's first, of tiles anchored to the whole grid."""
        along = [
            [slice(max(t, a) - a, min(t + span, b) - a) for t in range(a // span * span, b, span)]
            for a, b in zip(self.start, self.stop, strict=True)
        ]
        for rows in along[0]:
            for cols in along[1]:
                yield rows, cols

    def write(self, out: Tensor, bands: list[int], rows: slice, cols: slice, values: Tensor) -> None:
        """Write what belongs to the part of the values (C, H, W) of a tile."""
        inside, outside = [], []
        for blocks, skip, length in zip((rows, cols), self.skip, out.shape[1:], strict=True):
            start, stop = blocks.start * self.side - skip, blocks.stop * self.side - skip
            outside.append(slice(max(start, 0), min(stop, length)))
            inside.append(slice(max(-start, 0), min(stop, length) - start))
        out[bands, outside[0], outside[1]] = values[:, inside[0], inside[1]].float()


class Room:
    """The bytes that a step may use: less after the device's memory ran out."""

    def __init__(self, device: torch.device, memory: int | None) -> None:
        self.device, self.memory = device, _share(device) if memory is None else memory
        self.tried, self.each = 1, 0

    def number(self, each: int) -> int:
        """Return how many things of `each` bytes fit, at least one."""
        self.tried, self.each = max(1, self.memory // max(each, 1)), each
        return self.tried

    def through(self, n: int, step: Callable[[int], int]) -> None:
        """Call ``step(start)``, which returns how many it did, up to n; where memory runs out, with half the room."""
        start = 0
        while start < n:
            try:
                start += step(start)
            except torch.OutOfMemoryError as err:
                if self.tried == 1:
                    raise DeviceError(
                        f"device={str(self.device)!r}: has no memory for {self.each:,} bytes beside samples and "
                        f"result, the least that a step takes; close other programs, or pass device='cpu' ({err})"
                    ) from err
                self.memory //= 2
            else:
                continue
            # Here, because inside of `except` the traceback still holds what is to be freed.
            log.info("the device has no memory for %d bytes at once; trying %d", 2 * self.memory, self.memory)
            torch.cuda.empty_cache()


def _share(device: torch.device) -> int:
    """Return how many bytes a step may use; a fixed number where it can be, because it decides about batches."""
    if device.type != "cuda":
        return 256 * 2**20
    return min(torch.cuda.mem_get_info(device)[0] // 4, 2 * 2**30)


def idw_on_device(
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    origin: tuple[float, float],
    step: tuple[float, float],
    shape: tuple[int, int],
    k: int | None,
    power: float,
    device: torch.device,
    *,
    first: tuple[int, int] = (0, 0),
    radius: float = math.inf,
    min_samples: int = 1,
    memory: int | None = None,
) -> Tensor:
    """Interpolate a part of a grid.

    Parameters
    ----------
    points : (N, 2) float64
    values : (N, C) float64, NaN where missing
    origin : x and y of the north-west corner of the whole grid
    step : x and y from one cell to the next; y is negative where north is up
    shape : rows and columns of the part
    k, power : neighbours, or None for all, and exponent of the distance
    device : where to compute
    first : row and column in the whole grid where the part begins
    radius : neighbours beyond it do not count
    min_samples : fewest neighbours that make a value
    memory : bytes for a step, beside samples, result and one tile; None for 256 MiB or a share of a GPU's

    Returns
    -------
    (C, Y, X) float32, on the device; NaN where too few neighbours count
    """
    room = Room(device, memory)
    try:
        out = torch.full((values.shape[1], *shape), torch.nan, dtype=torch.float32, device=device)  # (C, Y, X)
        groups = _group(points, values, max(min_samples, 1), device)
        if groups and out.numel():
            if radius == math.inf and (k is None or k >= len(points)):
                cells = Cells(origin, step, shape, first, SQUARE, device)
                _fill_from_all(out, groups, _table(points, values, groups, cells), cells, power / 2, room)
            else:
                rule = Rule(len(points) if k is None else k, power / 2, radius, min_samples)
                cells = Cells(origin, step, shape, first, _side(points, rule.k, step), device)
                _fill_from_nearest(out, groups, cells, rule, room)
    except torch.OutOfMemoryError as err:
        raise DeviceError(
            f"device={str(device)!r}: has no memory for {len(points)} samples and {values.shape[1]} elements of "
            f"{shape[0]} x {shape[1]} cells; close other programs, fill the grid in parts, or pass device='cpu' ({err})"
        ) from err
    return out


def _group(points: NDArray[np.float64], values: NDArray[np.float64], least: int, device: torch.device) -> list[Group]:
    """Sort elements into groups that lack the same samples; one with fewer samples than `least` is in none."""
    patterns, pattern_of = np.unique(~np.isnan(values), axis=1, return_inverse=True)  # (N, G), (C,)
    groups = []
    for g in np.flatnonzero(patterns.sum(axis=0) >= least):
        rows, bands = np.flatnonzero(patterns[:, g]), np.flatnonzero(pattern_of.ravel() == g)
        own = torch.from_numpy(points[rows]), torch.from_numpy(values[np.ix_(rows, bands)])
        groups.append(Group(own[0].to(device), own[1].to(device), bands.tolist()))
    return groups


def _relative(square: Tensor, nearest: Tensor, half_power: float) -> Tensor:
    """Return weights relative to the nearest sample: 1 for that one, also where its distance is 0."""
    return torch.where(square == nearest, 1.0, (nearest / square).pow_(half_power))


# -- the k nearest -------------------------------------------------------------------------------


def _side(points: NDArray[np.float64], k: int, step: tuple[float, float]) -> int:
    """Return how many cells a block is long: an eighth of the side of the square that holds k samples."""
    columns, rows = np.ptp(points, axis=0) / np.abs(step) + 1
    return int(2 ** np.clip(round(math.log2(k * columns * rows / len(points)) / 2 - 3), 2, 5))


def _fill_from_nearest(out: Tensor, groups: list[Group], cells: Cells, rule: Rule, room: Room) -> None:
    """Fill tile after tile, in each group after group."""
    half = _half_diagonal(cells, cells.side, cells.side)
    for rows, cols in cells.tiles(SPAN):
        x, y = cells.x[cols], cells.y[rows]  # (blocks, S)
        middle = torch.stack([(x[0, 0] + x[-1, -1]) / 2, (y[0, 0] + y[-1, -1]) / 2])[None]  # (1, 2)
        for group in groups:
            near = _may_count(group.points, middle, _half_diagonal(cells, y.numel(), x.numel()), rule)[0]  # (N,)
            planes = _tile(group.points[near], group.values[near], x, y, half, rule, room)
            cells.write(out, group.bands, rows, cols, planes)


def _half_diagonal(cells: Cells, rows: int, cols: int) -> float:
    """Return how far a cell centre can be from the middle of so many cells, with what coordinates lose by rounding."""
    exact = math.hypot((rows - 1) * cells.step[1], (cols - 1) * cells.step[0]) / 2
    return exact + 8 * sys.float_info.epsilon * cells.farthest


def _may_count(points: Tensor, middle: Tensor, half: float, rule: Rule) -> Tensor:
    """Return which points (N, 2) may count at a place within `half` of each of some others (B, 2), as (B, N)."""
    distance = (middle[:, None] - points).square().sum(dim=-1).sqrt()  # (B, N)
    bound = torch.full_like(distance[:, :1], rule.radius + half)
    if rule.k <= len(points):
        last = distance.topk(rule.k, largest=False, sorted=False).values.amax(dim=1, keepdim=True)  # (B, 1)
        bound = torch.minimum(bound, last + 2 * half)
    return distance <= bound * (1 + ROUNDING)


def _tile(
    points: Tensor, values: Tensor, x: Tensor, y: Tensor, half: float, rule: Rule, room: Room
) -> Tensor:  # (C, Y, X)
    """Interpolate a tile of blocks whose cells have the coordinates x and y, both (blocks, S)."""
    side = x.shape[1]
    right, down = (x[:, 0] + x[:, -1]) / 2, (y[:, 0] + y[:, -1]) / 2
    middle = torch.stack([right.repeat(len(y)), down.repeat_interleave(len(x))], dim=1)  # (B, 2)
    found, count = _search(points, middle, half, rule, room)
    start = count.cumsum(0) - count  # (B,): where the candidates of a block begin
    # The fullest first, so that the padding of those worked on together is little, and memory is taken once.
    count, order = count.sort(descending=True, stable=True)
    counts = count.cpu().numpy()
    full = int(np.count_nonzero(counts))
    # A point for the padding, farther than any radius.
    points = torch.cat([points, points.new_full((1, 2), torch.inf)])  # (N + 1, 2)
    values = torch.cat([values, torch.zeros_like(values[:1])])
    planes = points.new_full((len(middle), side, side, values.shape[1]), torch.nan, dtype=torch.float32)

    def step(at: int) -> int:
        place, row = divmod(at, side)  # rows of blocks are counted; a block that is too much is done in parts
        most = int(counts[place])
        similar = int(np.searchsorted(-counts[:full], -(most // 2))) - place  # not less than half
        each = side * (most * PAIR + 32 * values.shape[1])
        blocks = min(similar, room.number(side * each)) if row == 0 else 1
        rows = side if blocks > 1 else min(side - row, room.number(each))
        these = slice(place, place + blocks)
        slot = torch.arange(most, device=points.device)  # (M,)
        candidate = found[(start[order[these], None] + slot).clamp_(max=len(found) - 1)]  # (B, M)
        candidate = torch.where(slot < count[these, None], candidate, len(points) - 1)
        right, down = order[these] % len(x), order[these] // len(x)
        mean = _average(points[candidate], values[candidate], x[right], y[down, row : row + rows], rule)
        planes[order[these], row : row + rows] = mean.float()
        return blocks * rows

    room.through(full * side, step)
    return planes.view(len(y), len(x), side, side, -1).permute(4, 0, 2, 1, 3).reshape(-1, y.numel(), x.numel())


def _search(points: Tensor, middle: Tensor, half: float, rule: Rule, room: Room) -> tuple[Tensor, Tensor]:
    """Return the candidates of each block by index, block after block, and how many each has."""
    found: list[Tensor] = []
    count: list[Tensor] = []

    def step(start: int) -> int:
        inside = _may_count(points, middle[start : start + room.number(len(points) * PAIR)], half, rule)  # (B, N)
        these, how_many = inside.nonzero()[:, 1], inside.sum(dim=1)
        found.append(these)
        count.append(how_many)
        return len(inside)

    room.through(len(middle), step)
    return torch.cat(found), torch.cat(count)


def _average(points: Tensor, values: Tensor, x: Tensor, y: Tensor, rule: Rule) -> Tensor:  # (B, R, S, C)
    """Average the k nearest of the candidates of blocks in each of their cells.

    Parameters
    ----------
    points : (B, M, 2), by index
    values : (B, M, C)
    x, y : (B, S) and (B, R)
    """
    dx2 = (x[:, None, :, None] - points[:, None, None, :, 0]).square_()  # (B, 1, S, M)
    dy2 = (y[:, :, None, None] - points[:, None, None, :, 1]).square_()  # (B, R, 1, M)
    square = (dy2 + dx2).flatten(1, 2)  # (B, RS, M)
    if square.shape[2] <= rule.k:
        weight, total = _weigh(square, square.amin(dim=2, keepdim=True), rule)
    else:
        ranked, order = square.sort(dim=2, stable=True)
        first, total = _weigh(ranked[:, :, : rule.k], ranked[:, :, :1], rule)  # (B, RS, K)
        weight = square.zero_().scatter_(2, order[:, :, : rule.k], first)  # (B, RS, M)
    return (torch.bmm(weight, values) / total).view(len(x), y.shape[1], x.shape[1], -1)


def _weigh(square: Tensor, nearest: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """Return weights and their sum, which is NaN where too few samples count."""
    counts = square <= min(rule.radius * rule.radius, sys.float_info.max)  # the padding is at infinity
    weight = torch.where(counts, _relative(square, nearest, rule.half_power), 0.0)
    total = weight.sum(dim=-1, keepdim=True)
    return weight, total.masked_fill_(counts.sum(dim=-1, keepdim=True) < max(rule.min_samples, 1), torch.nan)


# -- all samples ---------------------------------------------------------------------------------


class Table(NamedTuple):
    """All samples, padded to whole sums, and the right side of the product of matrices."""

    points: Tensor  # (N, 2) float64
    columns: Tensor  # (N, C + G) float64: values, 0 where missing, as parts of the largest; validity in each group
    bands: list[int]  # (C,)
    largest: Tensor  # (C,) float64
    column: Tensor  # (C,): where the validity of an element's group stands
    unit: float  # the spacing of the samples, as a power of two: measuring in it rounds nothing


def _table(points: NDArray[np.float64], values: NDArray[np.float64], groups: list[Group], cells: Cells) -> Table:
    """Lay out the samples for the product of matrices; the padding lies at infinity and has no values."""
    bands = [band for group in groups for band in group.bands]
    some = ~np.isnan(values[:, bands]).all(axis=1)
    points, values = points[some], values[some][:, bands]
    validity = ~np.isnan(values[:, [bands.index(group.bands[0]) for group in groups]])
    largest = np.nanmax(np.abs(values), axis=0)
    largest[largest == 0] = 1
    columns = np.hstack([np.nan_to_num(values / largest), validity])
    extent = max(np.ptp(points, axis=0).max(), math.hypot(*cells.step))
    short = -len(points) % SUMMED
    here = cells.x.device
    return Table(
        torch.from_numpy(np.pad(points, ((0, short), (0, 0)), constant_values=np.inf)).to(here),
        torch.from_numpy(np.pad(columns, ((0, short), (0, 0)))).to(here),
        bands,
        torch.from_numpy(largest).to(here),
        torch.from_numpy(len(bands) + np.repeat(np.arange(len(groups)), [len(group.bands) for group in groups])).to(
            here
        ),
        2.0 ** round(math.log2(extent / math.sqrt(len(points)))),
    )


def _fill_from_all(out: Tensor, groups: list[Group], table: Table, cells: Cells, half_power: float, room: Room) -> None:
    """Fill with sums over all samples, then do again what was not precise."""
    # Beyond these powers what float32 loses on a squared distance would show, or what it cannot hold.
    dtype = torch.float32 if 0.5 <= half_power <= 2 else torch.float64
    table = table._replace(columns=table.columns.to(dtype))
    with _full_precision():
        for rows, cols in cells.tiles(1):
            x, y = cells.x[cols].flatten(), cells.y[rows].flatten()  # (X,), (Y,)
            sums = _sums(table, x, y, half_power, room)  # (Y, X, C + G)
            means = sums[:, :, : len(table.bands)] * table.largest  # (Y, X, C)
            total = sums[:, :, table.column]
            precise = (total > 1 / PRECISE[dtype]) & (total < PRECISE[dtype])
            means = torch.where(precise, means / total, torch.inf)  # infinity marks what is not precise
            cells.write(out, table.bands, rows, cols, means.permute(2, 0, 1))
    for group in groups:
        _fill_again(out, group, cells, half_power, room)


def _sums(table: Table, x: Tensor, y: Tensor, half_power: float, room: Room) -> Tensor:  # (Y, X, C + G)
    """Return the sums of weights times columns, for all cells with the coordinates x (X,) and y (Y,)."""
    n, dtype = len(table.points), table.columns.dtype
    sums = x.new_zeros((len(y), len(x), table.columns.shape[1]))

    def step(start: int) -> int:
        each = len(x) * (min(n, CHUNK) * dtype.itemsize + 32 * table.columns.shape[1]) + min(n, SLAB) * 24
        part = sums[start : start + room.number(each)].zero_()  # (R, X, C + G)
        for first in range(0, n, SLAB):
            px, py = table.points[first : first + SLAB].unbind(dim=1)
            dx2 = ((x[:, None] - px) / table.unit).square_().to(dtype)  # (X, N)
            dy2 = ((y[start : start + len(part), None] - py) / table.unit).square_().to(dtype)  # (R, N)
            for i in range(0, len(px), CHUNK):
                square = dy2[:, None, i : i + CHUNK] + dx2[:, i : i + CHUNK]  # (R, X, N)
                weight = square.reciprocal_() if half_power == 1 else square.pow_(-half_power)
                weight = weight.view(-1, weight.shape[2] // SUMMED, SUMMED).transpose(0, 1)  # (J, RX, 64)
                column = table.columns[first + i : first + i + CHUNK].view(len(weight), SUMMED, -1)  # (J, 64, C + G)
                part += torch.bmm(weight, column).sum(dim=0, dtype=torch.float64).view_as(part)
        return len(part)

    room.through(len(y), step)
    return sums


def _fill_again(out: Tensor, group: Group, cells: Cells, half_power: float, room: Room) -> None:
    """Fill the cells of a group that are marked, in float64 and with weights relative to the nearest sample."""
    row, col = torch.isinf(out[group.bands[0]]).nonzero().unbind(dim=1)  # (Z,)
    x, y = cells.x.flatten()[col + cells.skip[1]], cells.y.flatten()[row + cells.skip[0]]
    bands = torch.tensor(group.bands, device=out.device)[:, None]  # (C, 1)

    def step(start: int) -> int:
        at = slice(start, start + room.number(len(group.points) * PAIR))
        square = (x[at, None] - group.points[:, 0]).square_() + (y[at, None] - group.points[:, 1]).square_()  # (Z, N)
        weight = _relative(square, square.amin(dim=1, keepdim=True), half_power)
        mean = (weight @ group.values) / weight.sum(dim=1, keepdim=True)  # (Z, C)
        out[bands, row[at], col[at]] = mean.T.float()
        return len(mean)

    room.through(len(row), step)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Keep TF32 and bfloat16 out of float32 products, then put back what the caller had set."""
    # One at a time: another thread would take our setting for the caller's, or end it too early.
    with _PRECISION:
        if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
            backends: list[Any] = [getattr(torch.backends, name).matmul for name in ("cuda", "mkldnn")]
            earlier = [backend.fp32_precision for backend in backends]
        else:  # torch before 2.9 knows one setting for both
            backends, earlier = [], [torch.get_float32_matmul_precision()]
            torch.set_float32_matmul_precision("highest")
        for backend in backends:
            backend.fp32_precision = "ieee"
        try:
            yield
        finally:
            for backend, precision in zip(backends, earlier, strict=False):
                backend.fp32_precision = precision
            if not backends:
                torch.set_float32_matmul_precision(earlier[0])
