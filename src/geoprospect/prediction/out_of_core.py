"""Maps of surveys of any size, from disk to disk: written tile by tile, and taken up again after a stop."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from geoprospect._checks import check_output_file
from geoprospect._devices import resolve_device
from geoprospect._settings import with_settings
from geoprospect.errors import InputError
from geoprospect.geochem.samples import Samples
from geoprospect.gridding.sample_support import Distances, places_on
from geoprospect.io.disk_sources import SurveyLike, open_source
from geoprospect.io.sources import Source
from geoprospect.io.writers import check_store, small_cache, write_cog, write_zarr
from geoprospect.models.model import ProspectivityModel, check_model
from geoprospect.prediction.engine import Engine, Tile, computing_alike, padded
from geoprospect.prediction.plan import plan_of
from geoprospect.prediction.predict import attributes, map_settings, warn_of_little, warn_of_windows_alone
from geoprospect.prediction.resume import Partial, fingerprint_of
from geoprospect.prediction.settings import MapSettings, PredictionOptions, PredictionSettings

_SUFFIXES = (".tif", ".tiff", ".zarr")
_TILES_A_TASK = 4  # of a cluster: so that a worker that dies costs little, and few tiles wait to be written
_ONE_AT_A_TIME = threading.Lock()

# A tile, its bands, and the batch that they were made in.
_Found = tuple[Tile, dict[str, NDArray[Any]], int]


def predict_to_cog(
    model: ProspectivityModel,
    source: SurveyLike,
    path: str | os.PathLike[str],
    stride: int | None = None,
    device: str | Sequence[str] = "auto",
    *,
    samples: Samples | None = None,
    resume: bool = True,
    client: Any = None,
    progress: bool = False,
    **settings: Unpack[PredictionOptions],
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
    model, stride, samples
        As in `predict`.
    device : str or sequence of str, default 'auto'
        As in `predict`, or several of one kind, such as ['cuda:0', 'cuda:1']: each takes bands of tiles. The bytes of
        the map do not depend on their number.
    source : xarray.Dataset, path-like, iterable of path-like, or mapping of str to path-like
        The survey: a GeoTIFF or COG whose bands are described by their names, as `write_cog` writes it; a Zarr
        store, as `write_zarr` writes it; several GeoTIFFs on one grid, in a mapping by the names of their bands; or a
        Dataset of NumPy or dask.
    path : path-like
        Of the map: .tif and .tiff become a COG, .zarr a Zarr store.
    resume : bool, default True
        Take up what an earlier call left. False begins anew.
    client : dask.distributed.Client, optional
        Of a cluster whose workers make the tiles, each on its own device of the kind of `device`, and reach the
        survey under the same path. A tile whose worker dies is made by another.
    progress : bool, default False
        Show a progress bar.
    **settings
        Fields of `PredictionSettings`, as in `predict`: mode, min_valid, edge, more, precision.

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
    inside, targets = open_source(source), _devices(device)
    how = map_settings(model, inside, stride, targets[0], with_settings(PredictionSettings(), dict(settings)))
    warn_of_windows_alone(model, how.mode)
    extended = padded(inside, model.crop, how)
    plan = plan_of(model, inside, extended, how)
    # Before anything is computed; and made when the map is put together.
    support = {} if samples is None else {"support": Distances(places_on(samples, plan.grid), plan.grid)}
    folder = file.with_name(f"{file.name}.partial")
    # GDAL would keep blocks that are read once, in a twentieth of the machine's memory.
    print_of = fingerprint_of(model, extended, how)

    with small_cache(), Partial.opened(folder, plan, print_of, resume) as partial:
        todo = list(_runs(plan.strips, partial.done))
        bar = tqdm(total=plan.windows, desc="predicting", unit="window", disable=not progress)
        with bar, computing_alike(partial.settings):
            bar.update(plan.windows - sum(math.prod(tile.shape) for run in todo for tile in run))
            if client is not None:
                made = _on_cluster(model, extended, partial.settings, todo, client, bar.update)
            else:
                made = _on_devices(model, extended, partial.settings, todo, targets, bar.update)
            with contextlib.closing(made):
                for tile, found, batch in made:
                    partial.keep(tile, found, batch)
        attrs, whole = attributes(model, extended.grid, how)
        data = partial.dataset(support, attrs)
        data.attrs.update(whole)
        with dask.config.set(scheduler="threads"):  # a client would have its workers read what lies on this disk
            (write_zarr if in_store else write_cog)(data, file)
            warn_of_little(data, model.crop, extended.grid, how, stride)
        partial.remove()  # before the lock falls
    return file


def _devices(device: str | Sequence[str]) -> list[torch.device]:
    named = [device] if isinstance(device, str) else list(device)
    found = [resolve_device(one) for one in named]
    if len({one.type for one in found}) != 1:
        raise InputError(f"device={device!r}: needs one or several of one kind, such as ['cuda:0', 'cuda:1']")
    return found


# -- who makes which tiles ---------------------------------------------------------------------


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


def _pieces_of(runs: Iterable[list[Tile]], longest: int) -> list[list[Tile]]:
    """Cut runs of tiles into pieces of at most `longest` tiles."""
    return [run[start : start + longest] for run in runs for start in range(0, len(run), longest)]


def _on_devices(
    model: ProspectivityModel, source: Source, settings: MapSettings, todo: list[list[Tile]],
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
    pieces, ready = (
        iter(_pieces_of(todo, max(1, math.ceil(sum(map(len, todo)) / len(devices))))),
        queue.Queue[_Found | BaseException | None](2 * len(devices)),
    )
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
    model: ProspectivityModel, source: Source, settings: MapSettings, todo: list[list[Tile]], client: Any,
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


def _same(given: tuple[ProspectivityModel, Source, MapSettings]) -> tuple[ProspectivityModel, Source, MapSettings]:
    return given


def _piece_on_worker(piece: list[Tile], given: tuple[ProspectivityModel, Source, MapSettings]) -> list[_Found]:
    model, source, settings = given
    # Tasks of a worker share its process: one after the other, each with all the threads of the plan.
    with _ONE_AT_A_TIME, computing_alike(settings):
        device = torch.device("cuda" if settings.device == "cuda" else "cpu")
        engine = Engine(model, settings, device)
        return [(tile, found, engine.batch) for tile, found in engine.run(source, piece)]
