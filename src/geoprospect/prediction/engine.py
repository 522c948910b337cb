"""The engine: a model on a device, ground in piece by piece, probabilities out.

The map is cut into strips of columns, and each strip into tiles, one below the other. The rows of the survey that the
windows of a tile need lie on the device, scaled; going down to the next tile, the rows that both need stay, and only
the others are read. So every block of a survey is read once, but for the few where strips meet, and memory depends
neither on its height nor on its width.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from geoprospect.errors import DeviceError, DivergenceError, InputError
from geoprospect.io.sources import Packing, Padded, Source
from geoprospect.models._batches import in_batches
from geoprospect.models._patches import gather
from geoprospect.models.applicability import dissimilarity
from geoprospect.models.dense import STRIDES, Dense, context_of, slid
from geoprospect.models.model import ProspectivityModel, standardized
from geoprospect.models.networks import folded, with_projection
from geoprospect.prediction.settings import MapSettings

log = logging.getLogger("geoprospect")

# Bytes of scaled ground on a device, of one strip.
_HELD_BYTES = {"cpu": 384 * 2**20, "cuda": 512 * 2**20}
# And of what is read at once, which the next piece waits beside: the first is waited for, the others are not.
_READ_BYTES = 64 * 2**20
# Rows of new ground in a tile, at least; a tile costs two passes over the disk.
_LEAST_ROWS = 128
# Columns of a strip, at most: strips share a window's width, which is read for both.
_WIDEST = 10_240
# Cells along a side of what a trunk is given at once, context included: about 2 GB of resnet50's features on a CPU.
_TILE = {"cpu": 2048, "cuda": 4096}
# Cells of windows in a batch, all bands counted as one: 64 windows of 64 cells, 5 of 224; more on a GPU.
_BATCH_CELLS = {"cpu": 64 * 64**2, "cuda": 256 * 224**2}
_BATCH = {"cpu": 64, "cuda": 1024}
# Cells of windows in a tile: what a kill costs at most, some 100 s of resnet50 on a CPU.
_MOST_CELLS = {"cpu": 1024 * 224**2, "cuda": 65_536 * 224**2}
# Values that are scaled in one go, in float64.
_SCALED_AT_ONCE = {"cpu": 2**17, "cuda": 2**27}
# Where launches take longer than what they launch: small windows, and so many batches of them.
_RECORDED_CROP, _WORTH_RECORDING = 96, 4
_RECORDING = threading.Lock()


class Tile(NamedTuple):
    """A rectangle of the map: its first row and the one after its last, and so for columns."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> slice:
        """From north to south."""
        return slice(self.top, self.bottom)

    @property
    def cols(self) -> slice:
        """From west to east."""
        return slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left


def bands_of(model: ProspectivityModel, settings: MapSettings) -> tuple[str, ...]:
    """Return the bands of a map: `probability`, `valid`, what the model brings, and what was asked for."""
    brought = {
        "std": len(model.networks) > 1, "calibrated": model.calibration is not None,
        "dissimilarity": model.applicability is not None,
    }  # fmt: skip
    return "probability", "valid", *(name for name, has in brought.items() if has), *settings.more


def padded(source: Source, crop: int, settings: MapSettings) -> Source:
    """Return the survey with as much ground without data around it as `edge` asks for.

    With 'pad' so much that the map covers the survey; the windows that lie within it stay where they are.
    """
    if settings.edge == "drop":
        return source
    step, sides = settings.stride, []
    for length in source.grid.shape:
        before = math.ceil(max(0, crop - step) / (2 * step)) * step
        # Cells of the map lie about the middle of their windows; the last is to reach the edge.
        n = math.ceil(max(0, length + before - (crop + step) / 2) / step) + 1
        sides.append((before, max(0, (n - 1) * step + crop - before - length)))
    return Padded(source, (sides[0], sides[1]))


def batch_for(crop: int, device: torch.device) -> int:
    """Return how many windows go through a network at once."""
    return max(1, min(_BATCH[device.type], _BATCH_CELLS[device.type] // crop**2))


def trunk_stride(stride: int) -> int:
    """Return the stride of the features from which windows every so many cells are made.

    Raises
    ------
    InputError
        When it is no multiple of the smallest.
    """
    for found in sorted(STRIDES, reverse=True):
        if stride % found == 0:
            return found
    near = max(STRIDES[0], round(stride / STRIDES[0]) * STRIDES[0])
    raise InputError(
        f"stride={stride}: mode='dense' takes multiples of {STRIDES[0]} cells; take stride={near}, or mode='window'"
    )


def tiles(
    shape: tuple[int, int], crop: int, settings: MapSettings, bytes_per_cell: int, block: tuple[int, int] = (1, 1)
) -> list[list[Tile]]:
    """Cut a map into strips of tiles.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the map.
    crop : int
        Cells that a window sees along a side.
    settings : MapSettings
        How the map is made.
    bytes_per_cell : int
        Of scaled ground.
    block : tuple of int
        Rows and columns of the blocks in which the survey is kept: strips begin with one where they can, and whole ones
        are read (`readable`).

    Returns
    -------
    list of list of Tile
        Each strip from north to south.
    """
    step, seen = settings.stride, crop + 2 * settings.halo
    once = side_of_part(crop, settings) * step if settings.mode == "dense" else max(step, _LEAST_ROWS)
    held = _held_bytes(settings) // bytes_per_cell
    # As wide as memory allows with the rows that windows see, those of a tile, and a block's.
    widest = max(2 * seen, min(_WIDEST, held // (seen + once + block[0])))
    n_strips = math.ceil(((shape[1] - 1) * step + seen) / widest)
    cols = math.ceil(shape[1] / n_strips)
    even = block[1] // math.gcd(block[1], step)
    if n_strips > 1 and even <= cols:
        cols = math.ceil(cols / even) * even
    width = min(cols, shape[1]) * step + seen
    if settings.mode == "dense":
        rows = side_of_part(crop, settings)
    else:
        spare = min(held // width - seen - block[0], _READ_BYTES // (width * bytes_per_cell))
        rows = max(1, once // step, spare // step + 1)
        rows = max(1, min(rows, _MOST_CELLS[settings.device] // (min(cols, shape[1]) * crop**2)))
    rows = _even(shape[0], rows)
    return [
        [Tile(row, min(row + rows, shape[0]), col, min(col + cols, shape[1])) for row in range(0, shape[0], rows)]
        for col in range(0, shape[1], cols)
    ]


def _held_bytes(settings: MapSettings) -> int:
    return _HELD_BYTES[settings.device] * (2 if settings.mode == "dense" else 1)  # whose tiles are taller


def readable(
    block: tuple[int, int], shape: tuple[int, int], bytes_per_cell: int, settings: MapSettings
) -> tuple[int, int]:
    """Return the block whose rows are read together: that of the survey, or a row where it is too large for that."""
    width = min(shape[1], max(_WIDEST, block[1]))
    return (block[0] if block[0] * width * bytes_per_cell <= _held_bytes(settings) else 1, block[1])


def ground_of(tile: Tile, crop: int, settings: MapSettings, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of the survey that the windows of a tile see."""
    rows, cols = (
        slice(
            max(0, at.start * settings.stride - settings.halo),
            min(length, (at.stop - 1) * settings.stride + crop + settings.halo),
        )
        for at, length in zip((tile.rows, tile.cols), shape, strict=True)
    )
    return rows, cols


def reads(
    strip: Sequence[Tile], crop: int, settings: MapSettings, shape: tuple[int, int], block: tuple[int, int],
    north: int = 0,
) -> Iterator[tuple[Tile, slice, slice]]:  # fmt: skip
    """Go down a strip; yield each tile, the rows that are still to be read for it (whole blocks), and the columns.

    The first block begins at the row `north`.
    """
    have = -1
    for tile in strip:
        rows, cols = ground_of(tile, crop, settings, shape)
        start = max(rows.start, have)
        stop = max(start, min(shape[0], north - (north - rows.stop) // block[0] * block[0]))
        yield tile, slice(start, stop), cols
        have = stop


# -- the ground on the device ------------------------------------------------------------------


class Ground:
    """The rows of a strip that windows still need, scaled as in training, on the device.

    Parameters
    ----------
    model : ProspectivityModel
        With its bands and scaling.
    rows, cols : int
        Rows that are held at most, and columns.
    device : torch.device
        Where.
    dtype : torch.dtype
        Of the scaled values.
    packing : sequence of Packing
        How each band keeps its values.
    """

    def __init__(
        self, model: ProspectivityModel, rows: int, cols: int, device: torch.device, dtype: torch.dtype,
        packing: Sequence[Packing],
    ) -> None:  # fmt: skip
        self._cells = torch.zeros(rows, cols, len(model.bands), dtype=dtype, device=device)
        self._valid = torch.zeros(rows, cols, dtype=torch.bool, device=device)
        packed = np.array([(np.nan if p.nodata is None else p.nodata, p.scale, p.offset) for p in packing])
        self._marked = bool((~np.isnan(packed[:, 0])).any())
        self._packed = bool((packed[:, 1:] != (1, 0)).any())
        # Of each band, (C, 1, 1); NaN equals nothing.
        self._offset, self._scale, self._nodata, self._times, self._plus = (
            torch.from_numpy(np.ascontiguousarray(numbers)).to(device)[:, None, None]
            for numbers in (model.offset, model.scale, packed[:, 0], *packed[:, 1:].T.astype(np.float32))
        )
        self.top, self._held = 0, 0  # the first row of the survey that is held, and how many are

    @property
    def stack(self) -> Tensor:
        """The bands (C, Y, X), 0 where there are no data; the bands of a cell side by side."""
        return self._cells[: self._held].permute(2, 0, 1)

    @property
    def valid(self) -> Tensor:
        """Where all bands have data (Y, X)."""
        return self._valid[: self._held]

    def go_down(self, top: int) -> None:
        """Forget the rows north of `top`."""
        keep, down = max(0, self.top + self._held - top), top - self.top
        if 0 < keep < self._held:
            for held in (self._cells, self._valid):
                for row in range(0, keep, down):  # in pieces that do not lie over each other
                    piece = slice(row + down, min(row + 2 * down, keep + down))
                    held[row : row + piece.stop - piece.start] = held[piece]
        self.top, self._held = top, min(keep, self._held)

    def add(self, rows: Tensor) -> None:
        """Take in the next rows (C, h, X), as the survey keeps them."""
        n, step = rows.shape[1], max(1, _SCALED_AT_ONCE[rows.device.type] // (rows.shape[0] * rows.shape[2]))
        for start in range(0, n, step):
            values = rows[:, start : start + step]  # (C, h, X)
            place = slice(self._held, self._held + values.shape[1])
            found = torch.isfinite(values)
            if self._marked:
                found &= values != self._nodata
            if self._packed:
                values = values.float() * self._times + self._plus
            scaled = standardized(values.to(torch.float64, copy=True), self._offset, self._scale)
            self._cells[place] = scaled.masked_fill_(~found, 0).permute(1, 2, 0)
            self._valid[place] = found.all(0)
            self._held = place.stop

    def add_empty(self, n: int) -> None:
        """Take in rows without any data."""
        self._cells[self._held : self._held + n] = 0
        self._valid[self._held : self._held + n] = False
        self._held += n


def share_of_data(valid: Tensor, rows: Tensor, cols: Tensor, crop: int) -> Tensor:
    """Return the share of cells with data in every window, (n, m), from sums along rows and then along columns."""
    across = torch.empty(len(valid), len(cols), dtype=torch.int32, device=valid.device)
    step = max(1, _SCALED_AT_ONCE[valid.device.type] // valid.shape[1])
    for start in range(0, len(valid), step):  # so that never the sums of all cells are held
        total = nn.functional.pad(valid[start : start + step].cumsum(1, dtype=torch.int32), (1, 0))
        across[start : start + step] = total[:, cols + crop] - total[:, cols]
    down = nn.functional.pad(across.cumsum(0, dtype=torch.int32), (0, 0, 1, 0))
    return ((down[rows + crop] - down[rows]).double() / crop**2).float()


# -- the networks on the device ----------------------------------------------------------------


class Engine:
    """A model on a device.

    Parameters
    ----------
    model : ProspectivityModel
        Whose networks are copied.
    settings : MapSettings
        How the map is made.
    device : torch.device
        Where.
    """

    def __init__(self, model: ProspectivityModel, settings: MapSettings, device: torch.device) -> None:
        self.model, self.settings, self.device = model, settings, device
        self.batch, self.bands = settings.batch, bands_of(model, settings)
        self.dtype = next(model.networks[0].parameters(), torch.zeros(())).dtype
        # Copies: what is moved and cast here must not be the model's own.
        near = model.applicability
        wide = [
            network if near is None else with_projection(network, torch.from_numpy(near[number].projection))
            for number, network in enumerate(model.networks)
        ]
        copies = [
            slid(network, model.crop, trunk_stride(settings.stride)) if settings.mode == "dense" else folded(network)
            for network in wide
        ]
        for one in copies:
            if isinstance(one, Dense):
                one.activation = "activation" in settings.more
        self._near = [one.reference(settings.mode) for one in near or ()]
        self._points = [torch.from_numpy(one.points).to(device, self.dtype) for one in self._near]
        # What each network is asked for about every window.
        self._asked = (
            "probability",
            *(name for name in ("dissimilarity", "logit", "activation") if name in self.bands),
        )
        self._networks: list[nn.Module] = [
            one.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for one in copies
        ]
        low = settings.dtype == "bfloat16"
        # Weights that are cast once need not be cast in every pass, as autocast does.
        cast = low and all(map(_cast, self._networks))
        self._ground_dtype = torch.bfloat16 if cast else self.dtype
        self._autocast = low and not cast
        self._replayed: dict[int, _Replayed] = {}

    def run(
        self, source: Source, strip: Sequence[Tile], done: Callable[[int], Any] = lambda windows: None
    ) -> Iterator[tuple[Tile, dict[str, NDArray[Any]]]]:
        """Go down a strip and yield what is found in each of its tiles.

        Parameters
        ----------
        source : Source
            The survey.
        strip : sequence of Tile
            Below each other, with the same columns.
        done : callable
            Is told of windows that are done.

        Yields
        ------
        tile : Tile
        bands : dict of str to ndarray of shape (n, m)
            Those of `bands_of`, in the precision of the networks.
        """
        shape, crop, bands = source.grid.shape, self.model.crop, self.model.bands
        block = readable(source.block, shape, self.dtype.itemsize * len(bands), self.settings)
        todo = list(reads(strip, crop, self.settings, shape, block, source.origin[0]))
        first, end = 0, 0
        most = 0
        for tile, rows, _ in todo:
            first, end = ground_of(tile, crop, self.settings, shape)[0].start, max(end, rows.stop)
            most = max(most, end - first)
        cols = todo[0][2]
        ground = Ground(
            self.model,
            most,
            cols.stop - cols.start,
            self.device,
            self._ground_dtype,
            [source.packing(b) for b in bands],
        )
        # One is read into while what the other holds goes to the device. Fresh memory would cost more than reading.
        largest = max((rows.stop - rows.start) * (cols.stop - cols.start) for _, rows, _ in todo)
        size, pinned = len(bands) * largest * source.dtype(bands).itemsize, self.device.type == "cuda"
        buffers = [torch.empty(size, dtype=torch.uint8, pin_memory=pinned) for _ in todo[:2]]
        with ThreadPoolExecutor(1, "geoprospect-read") as reader:
            ahead: Future[tuple[int, Tensor | None]] | None = None
            for number, (tile, rows, _) in enumerate(todo):
                ahead = ahead or reader.submit(self._read, source, rows, cols, buffers[0])
                (n, values), ahead = ahead.result(), None
                if number + 1 < len(todo):
                    # Free: what it held was waited for with the tile before.
                    ahead = reader.submit(self._read, source, todo[number + 1][1], cols, buffers[(number + 1) % 2])
                ground.go_down(ground_of(tile, crop, self.settings, shape)[0].start)
                with torch.inference_mode():
                    if values is None:
                        ground.add_empty(n)
                    else:
                        ground.add(values.to(self.device, non_blocking=True))
                    del values
                    found = self._predicted(ground, tile, cols.start, done)
                yield tile, found  # outside: whoever takes it must not be in inference mode

    def _read(self, source: Source, rows: slice, cols: slice, buffer: Tensor) -> tuple[int, Tensor | None]:
        """Return how many rows are read, and their values, ready for the device; None where there are none at all."""
        bands, dtype = self.model.bands, source.dtype(self.model.bands)
        shape = (len(bands), rows.stop - rows.start, cols.stop - cols.start)
        into = buffer[: math.prod(shape) * dtype.itemsize].numpy().view(dtype).reshape(shape)
        read = source.read(bands, rows, cols, into)
        # Some are looked at first: one that is finite settles it.
        if read.dtype.kind == "f" and not (np.isfinite(read[:, ::32, ::32]).any() or np.isfinite(read).any()):
            return shape[1], None
        values = torch.from_numpy(read)
        return shape[1], values.pin_memory() if self.device.type == "cuda" and read is not into else values

    def _predicted(self, ground: Ground, tile: Tile, left: int, done: Callable[[int], Any]) -> dict[str, NDArray[Any]]:
        step, crop = self.settings.stride, self.model.crop
        rows = torch.arange(tile.top, tile.bottom, device=self.device) * step - ground.top
        cols = torch.arange(tile.left, tile.right, device=self.device) * step - left
        share = share_of_data(ground.valid, rows, cols, crop)
        wanted = (share >= self.settings.min_valid) & (share > 0)
        done(int((~wanted).sum()))
        shape = (len(self._networks), len(self._asked), *tile.shape)
        each = torch.full(shape, torch.nan, device=self.device, dtype=self.dtype)
        if self.settings.mode == "dense":
            self._by_ground(each, ground, wanted, rows, cols, done)
        else:
            self._by_window(each, ground, wanted, rows, cols, done)
        for number, (found, *_) in enumerate(each):
            if not bool(torch.isfinite(found[wanted]).all()):
                raise ruined(number)
        bands = {name: each[:, at].mean(0).cpu().numpy() for at, name in enumerate(self._asked)}
        bands["valid"] = share.cpu().numpy()
        if "std" in self.bands:
            bands["std"] = each[:, 0].std(0, correction=1).cpu().numpy()
        if "n_models" in self.bands:
            bands["n_models"] = (wanted * len(each)).to(self.dtype).cpu().numpy()
        if self.model.calibration is not None:
            bands["calibrated"] = self.model.calibration.apply(bands["probability"])
        return bands

    def _told(self, number: int, logits: Tensor) -> Tensor:
        """Return what was asked for about windows (K, N), from what a network answers to each (N, 2 and more)."""
        two = logits[:, :2]
        found = {
            "probability": torch.softmax(two, 1)[:, 1],
            "logit": two[:, 1] - two[:, 0],
            "activation": logits[:, -1],
        }
        if self._near:
            points = self._points[number]
            features = logits[:, 2 : 2 + points.shape[1]]
            found["dissimilarity"] = dissimilarity(features, points, self._near[number].scale)
        return torch.stack([found[name] for name in self._asked])

    # -- window by window

    def _by_window(
        self, each: Tensor, ground: Ground, wanted: Tensor, rows: Tensor, cols: Tensor, done: Callable[[int], Any]
    ) -> None:
        """Fill in what was requested about every window."""
        at, stack = wanted.nonzero(), ground.stack

        def run(batch: slice, size: int) -> None:
            part = at[batch]
            patches = gather(stack, rows[part[:, 0]], cols[part[:, 1]], self.model.crop)
            many = len(at) >= _WORTH_RECORDING * size
            for number in range(len(self._networks)):
                logits = self._logits(number, patches, many)  # (B, 2 and more)
                each[number, :, part[:, 0], part[:, 1]] = self._told(number, logits.to(self.dtype))

        def reduced(size: int) -> None:
            self._replayed.clear()
            self.batch = size

        window = f"one window of {stack.shape[0]} bands of {self.model.crop} x {self.model.crop} cells"
        for batch, _ in in_batches(run, len(at), self.batch, self.device, window, reduced):
            done(batch.stop - batch.start)

    def _logits(self, number: int, patches: Tensor, many: bool) -> Tensor:
        """Ask a network; on a GPU, and where there are many batches, by replaying what was recorded."""
        network, n = self._networks[number], len(patches)
        # By the tile alone, not by what was recorded before: after a stop the same bytes must come out.
        worth = many and self.model.crop <= _RECORDED_CROP
        if patches.device.type != "cuda" or not worth:
            with self._precision():
                logits: Tensor = network(patches)
            return logits
        if n < self.batch:  # one shape for all
            patches = nn.functional.pad(patches, (0, 0, 0, 0, 0, 0, 0, self.batch - n))
        if number not in self._replayed:
            with self._precision():
                self._replayed[number] = _Replayed(network, patches)
        return self._replayed[number](patches)[:n]

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self._autocast:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    # -- the features of the ground once

    def _by_ground(
        self, each: Tensor, ground: Ground, wanted: Tensor, rows: Tensor, cols: Tensor, done: Callable[[int], Any]
    ) -> None:
        stack = ground.stack
        todo = parts((wanted.shape[0], wanted.shape[1]), side_of_part(self.model.crop, self.settings))
        while todo:
            tile = _with_data(todo.pop(), wanted)
            count = int(wanted[tile].sum())
            if not count:
                continue
            places = [
                (int(at[part.start]), int(at[part.stop - 1])) for at, part in zip((rows, cols), tile, strict=True)
            ]
            try:
                for number, network in enumerate(self._networks):
                    each[(number, slice(None), *tile)] = self._slid(number, network, stack, places)  # type: ignore[arg-type]
            except torch.OutOfMemoryError as err:
                if all(at.stop - at.start == 1 for at in tile):
                    raise DeviceError(
                        f"device={str(self.device)!r}: has no memory for one window of {self.model.crop} cells with "
                        f"{self.settings.halo} cells of context; close other programs, pass device='cpu', or "
                        f"mode='window' ({err})"
                    ) from err
            else:
                done(count)
                continue
            # Here, because inside of `except` the traceback still holds what is to be freed.
            log.info(
                "the device has no memory for a tile of %d x %d windows; it is cut into quarters", *wanted[tile].shape
            )
            torch.cuda.empty_cache()
            todo += _quarters(tile)
        each[:, :, ~wanted] = torch.nan

    def _slid(self, number: int, dense: Dense, stack: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
        """Return what was asked for about the windows from a first place to a last, (K, n, m)."""
        part, context, shape = [], [], []
        for (first, last), length in zip(places, stack.shape[1:], strict=True):
            start = max(0, first - dense.halo)
            part.append(slice(start, min(length, last + dense.crop + dense.halo)))
            context.append(first - start)
            shape.append((last - first) // dense.stride + 1)
        cells = stack[:, part[0], part[1]][None].contiguous(memory_format=torch.channels_last)
        with self._precision():
            logits = dense(cells, (context[0], context[1]), (shape[0], shape[1]))[0]
        sparse = self.settings.stride // dense.stride
        logits = logits[:, ::sparse, ::sparse].to(self.dtype)
        return self._told(number, logits.flatten(1).T).reshape(-1, *logits.shape[1:])


@contextlib.contextmanager
def computing_alike(settings: MapSettings) -> Iterator[None]:
    """Have torch compute the same in every run: as many threads, cuDNN's fixed choices, float32 where it is asked for.

    For the whole process: not to be entered by several threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=settings.dtype != "float32"
        ):
            yield
    finally:
        torch.set_num_threads(before)


class _Replayed:
    """A network on one shape of input, recorded as a CUDA graph: one launch instead of hundreds."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self._x = example.clone()
        device = example.device
        beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            for _ in range(3):  # what is chosen on the first calls must not be recorded
                network(self._x)
        torch.cuda.current_stream(device).wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        # On a stream of its own device, and without minding what other threads do meanwhile: they read and pin.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with (
            _RECORDING,
            torch.cuda.device(device),
            torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"),
        ):
            self._y: Tensor = network(self._x)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the answers; the next call writes over them."""
        self._x.copy_(x)
        self._graph.replay()
        return self._y


def _cast(network: nn.Module) -> bool:
    """Cast the convolutions of a trunk to bfloat16; False, and nothing done, where norms are left or it is unknown."""
    trunk = network.trunk if isinstance(network, Dense) else network
    if not isinstance(trunk, fx.GraphModule):
        return False
    if any(isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)) for module in trunk.modules()):
        return False
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)
    return True


def parts(shape: tuple[int, int], side: int) -> list[tuple[slice, slice]]:
    """Cut windows into nearly equal rectangles, at most `side` by `side`."""
    high, wide = (_even(length, side) for length in shape)
    corners = itertools.product(range(0, shape[0], high), range(0, shape[1], wide))
    return [(slice(row, min(row + high, shape[0])), slice(col, min(col + wide, shape[1]))) for row, col in corners]


def _even(length: int, most: int) -> int:
    """Return the length of pieces, at most so long, that leave no sliver at the end."""
    return math.ceil(length / math.ceil(length / most))


def side_of_part(crop: int, settings: MapSettings) -> int:
    """Return the windows along a side of what a trunk is given at once, of which less than half is context."""
    about = 2 * settings.halo + crop
    finest = trunk_stride(settings.stride) == STRIDES[0]  # has four times the features
    cells = max(_TILE[settings.device] // (2 if finest else 1), 2 * about)
    return (cells - about) // settings.stride + 1


def _with_data(tile: tuple[slice, slice], wanted: Tensor) -> tuple[slice, slice]:
    """Return the part of a tile that holds all windows which are wanted; nothing of it where there are none."""
    found = []
    for at, other in zip(tile, (1, 0), strict=True):
        some = wanted[tile].any(other).nonzero()
        first, last = (int(some[0]), int(some[-1]) + 1) if len(some) else (0, 0)
        found.append(slice(at.start + first, at.start + last))
    return found[0], found[1]


def _quarters(tile: tuple[slice, slice]) -> list[tuple[slice, slice]]:
    rows, cols = (
        [slice(at.start, middle), slice(middle, at.stop)] if (middle := (at.start + at.stop) // 2) > at.start else [at]
        for at in tile
    )
    return list(itertools.product(rows, cols))


def halo_of(model: ProspectivityModel, stride: int) -> int:
    """Return the cells of context of the model's networks in mode 'dense'.

    Raises
    ------
    InputError
        When the stride is no multiple of 4, or a network cannot be slid exactly.
    """
    return max(context_of(network, model.crop, trunk_stride(stride)) for network in model.networks)


def ruined(number: int) -> DivergenceError:
    """Return the error of a network whose answers are no numbers."""
    return DivergenceError(
        f"model: network {number} gives values that are not finite; it was ruined in training; train again with a "
        "smaller lr or a larger batch"
    )
