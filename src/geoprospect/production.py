"""Maps of surveys of any size: planned, written tile by tile, and taken up again after a stop."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import queue
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from geoprospect._checks import check_output_file
from geoprospect._kernels.devices import resolve_device
from geoprospect._version import __version__
from geoprospect.applicability import Applicability
from geoprospect.engine import Engine, Settings, Tile, bands_of, computing_alike, ground_of, padded, readable, reads
from geoprospect.errors import GeoprospectError, InputError, OutputError
from geoprospect.exports import check_store, small_cache, write_cog, write_zarr
from geoprospect.grid import Grid
from geoprospect.inference import (
    attributes,
    bytes_per_cell,
    settings_for,
    strips_of,
    warn_of_little,
    warn_of_windows_alone,
)
from geoprospect.model import ProspectivityModel, check_model
from geoprospect.samples import Samples
from geoprospect.sampling import Distances, places_on
from geoprospect.sources import Source
from geoprospect.stores import SurveyLike, open_source

try:
    import fcntl
except ImportError:  # Windows, where two processes that write one map are not told apart
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("geoprospect")

_SUFFIXES = (".tif", ".tiff", ".zarr")
_PLAN, _JOURNAL, _LOCK = "plan.json", "journal.jsonl", "lock"
_OURS = (_PLAN, f"{_PLAN}.new", _JOURNAL, _LOCK)
_FORMAT = 1
_TILES_A_TASK = 4  # of a cluster: so that a worker that dies costs little, and few tiles wait to be written
_ONE_AT_A_TIME = threading.Lock()
_FASTER = 1.05  # that a larger batch must be
_WORTH_COMPILING = 300  # seconds of a map, of which a compiled network saves a third (resnet50 on an H200)

# A tile, its bands, and the batch that they were made in.
_Found = tuple[Tile, dict[str, NDArray[Any]], int]


@dataclass(frozen=True)
class Plan:
    """What a map will take, and the tiles in which it is made.

    Parameters
    ----------
    grid : Grid
        Of the map.
    survey_shape : tuple of int
        Rows and columns of the survey.
    settings : Settings
        Mode, stride, batch, threads, precision: with the model and the survey, all that the bytes of the map depend on.
    strips : tuple of tuple of Tile
        Tiles of the map: strips from west to east, each from north to south.
    windows : int
        How many there are; those without data are not computed.
    bytes_survey, bytes_read, bytes_held, bytes_written : int
        Of the survey's bands that the model takes; of what is read of them, in whole blocks; of the ground
        that is held, with what is read ahead; of the map.
    flops : float
        Of all windows and networks.
    bands : tuple of str
        Of the map.
    seconds : float
        Of computing, were all windows to have data, by the time of one batch; NaN where it was not measured.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> plan = gp.plan_inference(model, survey, stride=4, device="cpu")
    >>> plan.windows, plan.bytes_read == plan.bytes_survey
    (225, True)
    """

    grid: Grid
    survey_shape: tuple[int, int]
    settings: Settings
    strips: tuple[tuple[Tile, ...], ...] = field(repr=False)
    windows: int
    bytes_survey: int
    bytes_read: int
    bytes_held: int
    bytes_written: int
    flops: float
    bands: tuple[str, ...]
    seconds: float = math.nan

    @property
    def n_tiles(self) -> int:
        """Tiles, all strips together."""
        return sum(map(len, self.strips))

    @property
    def summary(self) -> str:
        """Say in a few sentences what the map takes."""
        s = self.settings
        cut = f"{_counted(self.n_tiles, 'tile')}, {_counted(len(self.strips), 'strip')}"
        long = "" if math.isnan(self.seconds) else f", about {self.seconds:,.2g} s of computing"
        return (
            f"{self.windows:,} windows every {s.stride} cells (mode {s.mode!r}), a map of {self.grid.shape[0]:,} x "
            f"{self.grid.shape[1]:,} cells in {cut}. Reads "
            f"{_bytes(self.bytes_read)} ({self.bytes_read / self.bytes_survey:.2f} times the survey's bands), holds "
            f"{_bytes(self.bytes_held)} of ground, writes {_bytes(self.bytes_written)}; {self.flops / 1e12:,.3g} TFLOP "
            f"on {s.device} in {s.precision}{long}."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers as a table with one row per quantity."""
        rows = {
            "windows": self.windows, "tiles": self.n_tiles, "strips": len(self.strips),
            "bytes of the survey": self.bytes_survey, "bytes read": self.bytes_read, "bytes held": self.bytes_held,
            "bytes written": self.bytes_written, "TFLOP": self.flops / 1e12, "seconds": self.seconds,
            **asdict(self.settings),
        }  # fmt: skip
        return pd.DataFrame({"value": rows})


def plan_inference(
    model: ProspectivityModel,
    survey: SurveyLike,
    stride: int | None = None,
    device: str = "auto",
    *,
    mode: str = "window",
    min_valid: float = 0.5,
    edge: str = "drop",
    more: Sequence[str] = (),
    precision: str = "auto",
    deterministic: bool = True,
) -> Plan:
    """Say what a map will take before it is begun; the time by that of one batch of windows.

    Parameters
    ----------
    model, stride, device, mode, min_valid, edge, more, precision
        As in `predict`.
    survey : xarray.Dataset, path-like, iterable of path-like, or mapping of str to path-like
        As in `predict_to_cog`.
    deterministic : bool, default True
        As in `predict_to_cog`; with False the plan holds what was probed.

    Returns
    -------
    Plan

    Raises
    ------
    NameNotFoundError, InputError, DeviceError
        As `predict`.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> print(gp.plan_inference(model, survey, stride=4, device="cpu").summary)
    225 windows every 4 cells (mode 'window'), a map of 15 x 15 cells in 1 tile, 1 strip. Reads ...
    """
    check_model(model)
    inside, target = open_source(survey), resolve_device(device)
    settings = settings_for(model, inside, stride, mode, min_valid, target, precision, edge, more)
    source = padded(inside, model.crop, settings)
    if not deterministic:
        settings = _probed(model, settings, target, math.prod(source.grid.strided(model.crop, settings.stride).shape))
    plan = _plan(model, inside, source, settings)
    return replace(plan, seconds=plan.flops / _speed(model, plan.settings, target))


def predict_to_cog(
    model: ProspectivityModel,
    survey: SurveyLike,
    path: str | os.PathLike[str],
    stride: int | None = None,
    device: str | Sequence[str] = "auto",
    *,
    mode: str = "window",
    min_valid: float = 0.5,
    edge: str = "drop",
    more: Sequence[str] = (),
    samples: Samples | None = None,
    precision: str = "auto",
    deterministic: bool = True,
    resume: bool = True,
    client: Any = None,
    progress: bool = False,
) -> Path:
    """Map the probability of ore of a survey of any size, from disk to disk.

    The map is that of `predict`. Every block of a tiled survey is read once (but for the few where strips of some
    10,000 columns meet), by a thread that is ahead of the network. What is found is written tile by tile into the
    folder ``<name of the map>.partial`` beside the map; the map appears when all of it is there and has been read
    back. Memory depends neither on the height nor on the width of the survey.

    After a stop of any kind **the same call** takes the map up at the tile that was begun, and gives the bytes that it
    would have given without the stop.

    Parameters
    ----------
    model, stride, mode, min_valid, edge, more, samples, precision
        As in `predict`.
    device : str or sequence of str, default 'auto'
        As in `predict`, or several of one kind, such as ['cuda:0', 'cuda:1']: each takes bands of tiles. The bytes of
        the map do not depend on their number.
    survey : xarray.Dataset, path-like, iterable of path-like, or mapping of str to path-like
        A GeoTIFF or COG whose bands are described by their names, as `write_cog` writes it; a Zarr store, as
        `write_zarr` writes it; several GeoTIFFs on one grid, in a mapping by the names of their bands; or a Dataset of
        NumPy or dask.
    path : path-like
        Of the map: .tif and .tiff become a COG, .zarr a Zarr store.
    deterministic : bool, default True
        The same bytes in every run on the same kind of device. False probes which batch is fastest here and, on a GPU,
        has torch compile the networks where the map takes longer than that pays for; another day may then choose
        otherwise and differ in the last digits. What was chosen is kept with what is made, so that a map that is taken
        up goes on as it was begun. Mode 'dense' has nothing to choose.
    resume : bool, default True
        Take up what an earlier call left. False begins anew.
    client : dask.distributed.Client, optional
        Of a cluster whose workers make the tiles, each on its own device of the kind of `device`, and reach the
        survey under the same path. A tile whose worker dies is made by another.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    pathlib.Path
        Where the map is.

    Raises
    ------
    NameNotFoundError, InputError, CRSError, DeviceError
        As `predict`; and when an earlier call left a map that was begun with another model, survey or
        settings: the message names what differs.
    CorruptFileError
        When the survey is damaged.
    OutputError
        When the map cannot be written, or another process is writing it.

    Warns
    -----
    DataWarning
        As `predict`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> large = gp.write_cog(survey, folder / "survey.tif")
    >>> path = gp.predict_to_cog(model, large, folder / "map.tif", stride=4, device="cpu")
    >>> gp.read_survey(path).probability.shape
    (15, 15)
    """
    import dask

    in_store = Path(path).suffix.lower() == ".zarr"
    file = check_store("path", path) if in_store else check_output_file("path", path, _SUFFIXES)
    check_model(model)
    inside, targets = open_source(survey), _devices(device)
    settings = settings_for(model, inside, stride, mode, min_valid, targets[0], precision, edge, more)
    warn_of_windows_alone(model, settings.mode)
    source = padded(inside, model.crop, settings)
    plan = _plan(model, inside, source, settings)
    # Before anything is computed; and made when the map is put together.
    support = {} if samples is None else {"support": Distances(places_on(samples, plan.grid), plan.grid)}
    folder = file.with_name(f"{file.name}.partial")
    # GDAL would keep blocks that are read once, in a twentieth of the machine's memory.
    print_of = _fingerprint(model, source, settings)

    def chosen() -> Settings:
        return settings if deterministic else _probed(model, settings, targets[0], plan.windows)

    with small_cache(), _Partial.opened(folder, plan, print_of, chosen, resume) as partial:
        todo = list(_runs(plan.strips, partial.done))
        bar = tqdm(total=plan.windows, desc="predicting", unit="window", disable=not progress)
        with bar, computing_alike(partial.settings):
            bar.update(plan.windows - sum(math.prod(tile.shape) for run in todo for tile in run))
            if client is not None:
                made = _on_cluster(model, source, partial.settings, todo, client, bar.update)
            else:
                made = _on_devices(model, source, partial.settings, todo, targets, bar.update)
            with contextlib.closing(made):
                for tile, found, batch in made:
                    partial.keep(tile, found, batch)
        attrs, whole = attributes(model, source.grid, settings)
        data = partial.dataset(support, attrs)
        data.attrs.update(whole)
        with dask.config.set(scheduler="threads"):  # a client would have its workers read what lies on this disk
            (write_zarr if in_store else write_cog)(data, file)
            warn_of_little(data, model.crop, source.grid, settings, stride)
        partial.close()
        shutil.rmtree(folder, ignore_errors=True)  # before the lock falls
    return file


def _devices(device: str | Sequence[str]) -> list[torch.device]:
    named = [device] if isinstance(device, str) else list(device)
    found = [resolve_device(one) for one in named]
    if len({one.type for one in found}) != 1:
        raise InputError(f"device={device!r}: needs one or several of one kind, such as ['cuda:0', 'cuda:1']")
    return found


# -- the plan ----------------------------------------------------------------------------------


def _plan(model: ProspectivityModel, inside: Source, source: Source, settings: Settings) -> Plan:
    """Return the plan for a survey `source`, which is `inside` with ground without data around it."""
    strips = strips_of(model, source, settings)
    grid, shape, (ny, nx) = source.grid.strided(model.crop, settings.stride), source.grid.shape, inside.grid.shape
    north, west = source.origin
    itemsize, read, held = source.itemsize(model.bands), 0, 0
    a_cell = bytes_per_cell(model)
    block = readable(source.block, shape, a_cell, settings)
    for strip in strips:
        for tile, rows, cols in reads(strip, model.crop, settings, shape, block, north):
            high = max(0, min(rows.stop - north, ny) - max(rows.start - north, 0))
            first, last = (edge // block[1] * block[1] for edge in (cols.start - west, cols.stop - west + block[1] - 1))
            read += high * max(0, min(last, nx) - max(first, 0)) * itemsize
            seen, width = ground_of(tile, model.crop, settings, shape)[0], cols.stop - cols.start
            kept = (max(rows.stop, seen.stop) - seen.start) * width * (a_cell + 1)
            held = max(held, kept + 2 * (rows.stop - rows.start) * width * itemsize)
    bands = bands_of(model, settings)
    windows = grid.shape[0] * grid.shape[1]
    return Plan(
        grid=grid, survey_shape=inside.grid.shape, settings=settings, strips=tuple(map(tuple, strips)), windows=windows,
        bytes_survey=ny * nx * itemsize, bytes_read=read, bytes_held=held,
        bytes_written=windows * 4 * len(bands), flops=_flops(model, settings, strips), bands=bands,
    )  # fmt: skip


def _flops(model: ProspectivityModel, settings: Settings, strips: Sequence[Sequence[Tile]]) -> float:
    """Return the operations of all windows, or of all ground."""
    network = model.networks[0]
    if settings.mode == "dense":
        cells = sum(
            (tile.shape[0] * settings.stride + model.crop) * (tile.shape[1] * settings.stride + model.crop)
            for strip in strips
            for tile in strip
        )
        # Of features that lie closer than 32 cells there are more; the early layers are the same.
        return len(model.networks) * _flops_of(network, len(model.bands), 224) * cells / 224**2
    windows = sum(math.prod(tile.shape) for strip in strips for tile in strip)
    return len(model.networks) * windows * _flops_of(network, len(model.bands), model.crop)


def _flops_of(network: torch.nn.Module, bands: int, crop: int) -> float:
    first = next(network.parameters(), torch.zeros(()))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, bands, crop, crop, dtype=first.dtype, device=first.device))
    return float(counter.get_total_flops())


def _speed(model: ProspectivityModel, settings: Settings, device: torch.device) -> float:
    """Return the operations a second of one batch of windows."""
    flops = len(model.networks) * settings.batch * _flops_of(model.networks[0], len(model.bands), model.crop)
    return flops / _seconds_of_batch(model, settings, device)


def _probed(model: ProspectivityModel, settings: Settings, device: torch.device, windows: int) -> Settings:
    """Return the settings with the batch that is fastest here, and networks compiled where that pays."""
    if settings.mode == "dense":
        return settings
    best, speed = settings.batch, 0.0
    for batch in sorted({max(1, settings.batch // 4), max(1, settings.batch // 2), settings.batch, 2 * settings.batch}):
        try:
            now = batch / _seconds_of_batch(model, replace(settings, batch=batch), device)
        except torch.OutOfMemoryError:
            break
        if now > _FASTER * speed:  # a larger one needs more memory
            best, speed = batch, now
    compiled = device.type == "cuda" and windows > speed * _WORTH_COMPILING
    log.info("probed: %d windows a batch, %.3g windows/s%s", best, speed, ", to be compiled" if compiled else "")
    return replace(settings, batch=best, compiled=compiled)


def _seconds_of_batch(model: ProspectivityModel, settings: Settings, device: torch.device) -> float:
    """Return the seconds of one batch of windows, the shorter of two."""
    engine = Engine(model, replace(settings, mode="window"), device)
    windows = torch.randn(settings.batch, len(model.bands), model.crop, model.crop).to(device)
    took = math.inf
    with computing_alike(settings):
        for _ in range(2):
            start = time.perf_counter()
            engine.answers(windows)
            took = min(took, time.perf_counter() - start)
    return took


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def _runs(strips: Sequence[Sequence[Tile]], done: frozenset[Tile] | set[Tile]) -> Iterator[list[Tile]]:
    """Yield the tiles that are still to be made, those below each other together."""
    for strip in strips:
        run: list[Tile] = []
        for tile in strip:
            if tile in done:
                if run:
                    yield run
                run = []
            else:
                run.append(tile)
        if run:
            yield run


def _pieces(runs: Iterable[list[Tile]], n: int) -> list[list[Tile]]:
    """Cut runs of tiles into about `n` pieces of equal length."""
    whole = list(runs)
    return _pieces_of(whole, math.ceil(sum(map(len, whole)) / n)) if whole else []


def _pieces_of(runs: Iterable[list[Tile]], longest: int) -> list[list[Tile]]:
    return [run[start : start + longest] for run in runs for start in range(0, len(run), longest)]


def _on_devices(
    model: ProspectivityModel, source: Source, settings: Settings, todo: list[list[Tile]],
    devices: Sequence[torch.device], done: Callable[[int], Any],
) -> Generator[_Found, None, None]:  # fmt: skip
    """Yield what is found in each tile, in whatever order; every device takes the next piece when it is free."""
    if len(devices) == 1:
        engine = Engine(model, settings, devices[0])
        for piece in todo:
            for tile, found in engine.run(source, piece, done):
                yield tile, found, engine.batch
        return
    # Here, one after the other: torch.fx patches all modules of the process while it looks at one.
    engines = [Engine(model, settings, device) for device in devices]
    pieces, ready = iter(_pieces(todo, len(devices))), queue.Queue[_Found | BaseException | None](2 * len(devices))
    lock, stop = threading.Lock(), threading.Event()

    def work(engine: Engine) -> None:
        try:
            torch.set_num_threads(settings.threads)  # which holds for the thread that says so
            while True:
                with lock:
                    piece = next(pieces, None)
                if piece is None or stop.is_set():
                    break
                for tile, found in engine.run(source, piece):
                    ready.put((tile, found, engine.batch))
                    if stop.is_set():
                        break
            ready.put(None)
        except BaseException as err:  # handed to the thread that waits
            ready.put(err)

    workers = [
        threading.Thread(target=work, args=(engine,), name=f"geoprospect-{engine.device}-{number}", daemon=True)
        for number, engine in enumerate(engines)
    ]
    for worker in workers:
        worker.start()
    try:
        left = len(workers)
        while left:
            got = ready.get()
            if isinstance(got, BaseException):
                raise got
            if got is None:
                left -= 1
            else:
                done(math.prod(got[0].shape))
                yield got
    finally:
        stop.set()
        while any(worker.is_alive() for worker in workers):
            with contextlib.suppress(queue.Empty):  # whoever waits to put something must not wait for ever
                ready.get(timeout=0.05)


def _on_cluster(
    model: ProspectivityModel, source: Source, settings: Settings, todo: list[list[Tile]], client: Any,
    done: Callable[[int], Any],
) -> Generator[_Found, None, None]:  # fmt: skip
    """Yield what the workers of a dask cluster find; a piece whose worker dies is made by another."""
    import dask.distributed

    as_completed: Any = dask.distributed.as_completed  # without types
    # A task, not scattered data: that of a worker that died is made again.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")  # the weights, once
        shared = client.submit(_same, (model, source, settings), pure=False)
    tasks = set(client.map(_piece_on_worker, _pieces_of(todo, _TILES_A_TASK), given=shared, pure=False))
    try:
        for task in as_completed(list(tasks)):
            for one in task.result():
                done(math.prod(one[0].shape))
                yield one
            task.release()  # or its tiles would stay on the workers until the end
            tasks.discard(task)
    finally:
        client.cancel([*tasks, shared])


def _same(given: tuple[ProspectivityModel, Source, Settings]) -> tuple[ProspectivityModel, Source, Settings]:
    return given


def _piece_on_worker(piece: list[Tile], given: tuple[ProspectivityModel, Source, Settings]) -> list[_Found]:
    model, source, settings = given
    # Tasks of a worker share its process: one after the other, each with all the threads of the plan.
    with _ONE_AT_A_TIME, computing_alike(settings):
        device = torch.device("cuda" if settings.device == "cuda" else "cpu")
        engine = Engine(model, settings, device)
        return [(tile, found, engine.batch) for tile, found in engine.run(source, piece)]


# -- what is kept while it is made -------------------------------------------------------------


def _fingerprint(model: ProspectivityModel, source: Source, settings: Settings) -> dict[str, Any]:
    """Return all that the bytes of the map depend on, as plain values."""
    weights = hashlib.blake2b(digest_size=16)
    for network in model.networks:
        for name, tensor in network.state_dict().items():
            weights.update(name.encode())
            weights.update(tensor.detach().cpu().numpy().tobytes())
    described = {
        "bands": model.bands, "units": model.units, "offset": model.offset.tolist(), "scale": model.scale.tolist(),
        "crop": model.crop, "weights": weights.hexdigest(),
        "calibration": None if model.calibration is None else model.calibration.to_dict(),
        "applicability": None if model.applicability is None else _digest_of(model.applicability),
    }  # fmt: skip
    chosen = {key: value for key, value in asdict(settings).items() if key not in ("batch", "threads", "compiled")}
    found = {
        "format": _FORMAT, "model": described, "survey": source.identity(model.bands), "settings": chosen,
        "versions": {"geoprospect": __version__, "torch": str(torch.__version__)},
    }  # fmt: skip
    as_it_reads_back: dict[str, Any] = json.loads(json.dumps(found))
    return as_it_reads_back


def _digest_of(areas: Sequence[Applicability]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for area in areas:
        digest.update(json.dumps(area.numbers()).encode())
        for name, tensor in sorted(area.tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


class _Partial:
    """The folder of a map that is being made: a file per band, and a journal of the tiles that are in them.

    A tile is entered when its values are on the disk; the plan is written first. So whatever happens, what the
    journal names is there, and what it does not name is made again.
    """

    def __init__(self, folder: Path, plan: Plan, settings: Settings) -> None:
        self.folder, self.plan, self.settings = folder, plan, settings
        self.done: set[Tile] = set()
        self._files: dict[str, Any] = {name: (folder / f"{name}.f32").open("r+b") for name in plan.bands}
        self._journal = (folder / _JOURNAL).open("a", encoding="utf-8")

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, folder: Path, plan: Plan, fingerprint: dict[str, Any], chosen: Callable[[], Settings], resume: bool
    ) -> Iterator[_Partial]:
        """Begin a map, or take up what there is of it."""
        with _locked(folder), contextlib.ExitStack() as beginning:
            beginning.enter_context(_disk_errors(folder))
            if not resume:
                _emptied(folder)
            before = _read_plan(folder)
            if before is not None:
                _check_same(folder, before["fingerprint"], fingerprint)
                settings = Settings(**before["settings"] | {"more": tuple(before["settings"]["more"])})
            else:
                _emptied(folder)
                settings = chosen()
                (folder / _JOURNAL).touch()
                # Under another name first: a plan is there whole, or not at all.
                written = folder / f"{_PLAN}.new"
                with written.open("w", encoding="utf-8") as stream:
                    json.dump({"fingerprint": fingerprint, "settings": asdict(settings)}, stream, indent=2)
                    stream.flush()
                    os.fsync(stream.fileno())
                written.replace(folder / _PLAN)
            for name in plan.bands:  # one that is gone is empty again, and its tiles are made again
                with (folder / f"{name}.f32").open("ab") as band:
                    band.truncate(plan.windows * 4)
            partial = cls(folder, plan, settings)
            try:
                partial._read_journal()
                beginning.close()  # what goes wrong from here on may be of the survey
                yield partial
            finally:
                partial.close()

    def close(self) -> None:
        """Close the files."""
        for stream in (*self._files.values(), self._journal):
            stream.close()

    def keep(self, tile: Tile, bands: dict[str, NDArray[Any]], batch: int) -> None:
        """Write what was found in a tile, in batches of so many windows, and then enter it."""
        with _disk_errors(self.folder):
            self._kept(tile, bands, batch)

    def _kept(self, tile: Tile, bands: dict[str, NDArray[Any]], batch: int) -> None:
        width = self.plan.grid.shape[1]
        for name, stream in self._files.items():
            for row, values in zip(range(tile.top, tile.bottom), bands[name], strict=True):
                stream.seek((row * width + tile.left) * 4)
                stream.write(np.ascontiguousarray(values, dtype="<f4").tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        entry = {"tile": list(tile), "batch": batch, "digest": self._digest(tile)}
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self.done.add(tile)

    def _read_journal(self) -> None:
        """Take the tiles that are there as they were entered; a line that was cut off was none."""
        known = {tile for strip in self.plan.strips for tile in strip}
        for line in (self.folder / _JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                tile = Tile(*entry["tile"])
                if tile in known and self._digest(tile) == entry["digest"]:
                    self.done.add(tile)
                    # Where memory ran out then, it will now; and another batch may give other last digits.
                    self.settings = replace(self.settings, batch=int(entry["batch"]))
            except (ValueError, KeyError, TypeError):
                continue
        self._journal.write("\n")  # so that the next line is one, also after one that was cut off
        if self.done:
            log.info("%d of %d tiles are there from before", len(self.done), self.plan.n_tiles)

    def _digest(self, tile: Tile) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name in self.plan.bands:
            digest.update(self._read(name, tile.rows, tile.cols).tobytes())
        return digest.hexdigest()

    def _read(self, name: str, rows: slice, cols: slice) -> NDArray[np.float32]:
        return _Kept(self.folder / f"{name}.f32", self.plan.grid.shape)[rows, cols]

    def dataset(self, others: Mapping[str, Any], attrs: dict[str, Any]) -> xr.Dataset:
        """Return the map, read from the disk chunk by chunk, with other rasters that are made in the same way."""
        import dask.array

        from_array: Any = dask.array.from_array  # without types
        kept = {name: _Kept(self.folder / f"{name}.f32", self.plan.grid.shape) for name in self.plan.bands}
        bands = {name: from_array(one, chunks=2048, name=False) for name, one in {**kept, **others}.items()}
        return self.plan.grid.dataset(bands, attrs)


@dataclass(frozen=True)
class _Kept:
    """A raster of float32 in a file, row after row, that is read where it is asked for."""

    file: Path
    shape: tuple[int, int]
    dtype: ClassVar = np.dtype("<f4")
    ndim: ClassVar = 2

    def __getitem__(self, place: tuple[slice, slice]) -> NDArray[np.float32]:
        rows, cols = (range(*at.indices(length)) for at, length in zip(place, self.shape, strict=True))
        values = np.empty((len(rows), len(cols)), dtype=self.dtype)
        with self.file.open("rb") as stream:
            for row, line in zip(rows, values, strict=True):
                stream.seek((row * self.shape[1] + cols.start) * 4)
                line[:] = np.frombuffer(stream.read(4 * len(cols)), dtype=self.dtype)
        return values


def _emptied(folder: Path) -> None:
    """Remove what an earlier map left; raise where there is anything else."""
    ours = [file for file in folder.iterdir() if file.name in _OURS or file.suffix == ".f32"]
    others = sorted(set(folder.iterdir()) - set(ours))
    if others:
        raise InputError(
            f"path: {folder.name} holds {others[0].name}, which is of no map that was begun; move it elsewhere, or "
            "take another name for the map"
        )
    for file in ours:
        if file.name != _LOCK:
            file.unlink()


def _read_plan(folder: Path) -> dict[str, Any] | None:
    """Return the plan of a map that was begun; None where there is none, no whole one, or no tile was made by it."""
    try:
        if not (folder / _JOURNAL).read_text(encoding="utf-8", errors="replace").strip():
            return None
        found: dict[str, Any] = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(found, dict) and all(isinstance(found.get(part), dict) for part in ("fingerprint", "settings"))
    return found if whole else None


def _check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise where a map was begun with something else."""
    differ = [f"{part} ({', '.join(keys)})" for part in now if (keys := _differing(before.get(part), now[part]))]
    if differ:
        raise InputError(
            f"path: {folder.name} holds a map that was begun with another {' and another '.join(differ)}; make the "
            "same call as then to finish it, pass resume=False to begin anew, or take another name"
        )


def _differing(before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return [] if before == now else ["all"]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder, and hold it alone; the lock falls with the process."""
    with _disk_errors(folder):
        folder.mkdir(exist_ok=True)
        lock = (folder / _LOCK).open("w")
    with lock as stream:
        try:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"path: another process is writing {folder.name}; wait for it, or take another name"
            ) from None
        yield


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if isinstance(err, GeoprospectError):
            raise
        raise OutputError(
            f"path: {folder.name} could not be written ({err}); what is there is kept, and the same call goes on from "
            "it; check the space and the rights on that disk"
        ) from err
