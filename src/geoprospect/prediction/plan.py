"""Plan of a map: its tiles, bytes and operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Unpack

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from geoprospect._devices import resolve_device
from geoprospect._settings import with_settings
from geoprospect.grid import Grid
from geoprospect.io.disk_sources import SurveyLike, open_source
from geoprospect.io.sources import Source
from geoprospect.models.model import ProspectivityModel, check_model
from geoprospect.prediction.engine import (
    Tile,
    bands_of,
    ground_of,
    padded,
    readable,
    reads,
)
from geoprospect.prediction.predict import bytes_per_cell, map_settings, strips_of
from geoprospect.prediction.settings import MapSettings, PredictionOptions, PredictionSettings


@dataclass(frozen=True)
class Plan:
    """What a map will take, and the tiles in which it is made.

    Parameters
    ----------
    grid : Grid
        Of the map.
    survey_shape : tuple of int
        Rows and columns of the survey.
    settings : MapSettings
        Of the map, with what follows from the model, the survey and the device.
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
    settings: MapSettings
    strips: tuple[tuple[Tile, ...], ...] = field(repr=False)
    windows: int
    bytes_survey: int
    bytes_read: int
    bytes_held: int
    bytes_written: int
    flops: float
    bands: tuple[str, ...]

    @property
    def n_tiles(self) -> int:
        """Tiles, all strips together."""
        return sum(map(len, self.strips))

    @property
    def summary(self) -> str:
        """Say in a few sentences what the map takes."""
        s = self.settings
        cut = f"{_counted(self.n_tiles, 'tile')}, {_counted(len(self.strips), 'strip')}"
        return (
            f"{self.windows:,} windows every {s.stride} cells (mode {s.mode!r}), a map of {self.grid.shape[0]:,} x "
            f"{self.grid.shape[1]:,} cells in {cut}. Reads "
            f"{_bytes(self.bytes_read)} ({self.bytes_read / self.bytes_survey:.2f} times the survey's bands), holds "
            f"{_bytes(self.bytes_held)} of ground, writes {_bytes(self.bytes_written)}; {self.flops / 1e12:,.3g} TFLOP "
            f"on {s.device} in {s.dtype}."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers as a table with one row per quantity."""
        rows = {
            "windows": self.windows, "tiles": self.n_tiles, "strips": len(self.strips),
            "bytes of the survey": self.bytes_survey, "bytes read": self.bytes_read, "bytes held": self.bytes_held,
            "bytes written": self.bytes_written, "TFLOP": self.flops / 1e12,
            **asdict(self.settings),
        }  # fmt: skip
        return pd.DataFrame({"value": rows})


def plan_inference(
    model: ProspectivityModel,
    survey: SurveyLike,
    stride: int | None = None,
    device: str = "auto",
    **settings: Unpack[PredictionOptions],
) -> Plan:
    """Return the windows, tiles, bytes and operations of a map before it is computed.

    Parameters
    ----------
    model, stride, device
        As in `predict`.
    survey : xarray.Dataset, path-like, iterable of path-like, or mapping of str to path-like
        As in `predict_to_cog`.
    **settings
        Fields of `PredictionSettings`, as in `predict`: mode, min_valid, edge, more, precision.

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
    how = map_settings(model, inside, stride, target, with_settings(PredictionSettings(), dict(settings)))
    return plan_of(model, inside, padded(inside, model.crop, how), how)


def plan_of(model: ProspectivityModel, inside: Source, source: Source, settings: MapSettings) -> Plan:
    """Return the plan for a survey `source`, which is `inside` with ground without data around it."""
    strips = strips_of(model, source, settings)
    grid, shape, (ny, nx) = source.grid.strided(model.crop, settings.stride), source.grid.shape, inside.grid.shape
    north, west = source.origin
    itemsize, at_once = (len(model.bands) * one.dtype(model.bands).itemsize for one in (inside, source))
    read = held = 0
    a_cell = bytes_per_cell(model)
    block = readable(source.block, shape, a_cell, settings)
    for strip in strips:
        for tile, rows, cols in reads(strip, model.crop, settings, shape, block, north):
            high = max(0, min(rows.stop - north, ny) - max(rows.start - north, 0))
            first, last = (edge // block[1] * block[1] for edge in (cols.start - west, cols.stop - west + block[1] - 1))
            read += high * max(0, min(last, nx) - max(first, 0)) * itemsize
            seen, width = ground_of(tile, model.crop, settings, shape)[0], cols.stop - cols.start
            kept = (max(rows.stop, seen.stop) - seen.start) * width * (a_cell + 1)
            held = max(held, kept + 2 * (rows.stop - rows.start) * width * at_once)
    bands = bands_of(model, settings)
    windows = grid.shape[0] * grid.shape[1]
    return Plan(
        grid=grid, survey_shape=inside.grid.shape, settings=settings, strips=tuple(map(tuple, strips)), windows=windows,
        bytes_survey=ny * nx * itemsize, bytes_read=read, bytes_held=held,
        bytes_written=windows * 4 * len(bands), flops=_flops(model, settings, strips), bands=bands,
    )  # fmt: skip


def _flops(model: ProspectivityModel, settings: MapSettings, strips: Sequence[Sequence[Tile]]) -> float:
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


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
