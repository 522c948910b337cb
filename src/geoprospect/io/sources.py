"""Surveys that are read piece by piece: what the engine asks of them, and those in memory or of dask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geoprospect.grid import Grid


@dataclass(frozen=True)
class Packing:
    """How a band keeps its values: `value * scale + offset`, and `nodata` (before that) where there are none."""

    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0


class Source(Protocol):
    """A survey from which pieces are read, by several threads at once."""

    grid: Grid
    units: dict[str, str]
    block: tuple[int, int]
    """Rows and columns of the pieces in which it is kept; (1, 1) where any piece costs the same."""
    origin: tuple[int, int]
    """Row and column of the first piece; not (0, 0) where there is ground before the survey begins."""

    def packing(self, band: str) -> Packing:
        """Return how a band keeps its values."""
        ...

    def dtype(self, bands: tuple[str, ...]) -> np.dtype[Any]:
        """Return the type that holds the kept values of all these bands."""
        ...

    def read(self, bands: tuple[str, ...], rows: slice, cols: slice, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the kept values (C, h, w) of a rectangle; in `into`, of that shape and `dtype`, where that can be."""
        ...

    def identity(self, bands: tuple[str, ...]) -> dict[str, Any]:
        """Return what tells on another day that it is the same survey."""
        ...


class InMemory:
    """A Dataset, of NumPy, of dask or of a file that xarray reads when it is asked to."""

    origin = (0, 0)

    def __init__(self, survey: xr.Dataset) -> None:
        self.grid = Grid.of(survey)
        self._bands = {
            str(name): band.transpose("y", "x")
            for name, band in survey.data_vars.items()
            if set(band.dims) == {"y", "x"}
        }
        self.units = {name: str(band.attrs.get("units", "")) for name, band in self._bands.items()}
        chunks = [band.chunks for band in self._bands.values() if band.chunks]
        self.block = (
            (max(map(max, (c[0] for c in chunks))), max(map(max, (c[1] for c in chunks)))) if chunks else (1, 1)
        )

    def packing(self, band: str) -> Packing:
        """Return how a band keeps its values."""
        return Packing()

    def dtype(self, bands: tuple[str, ...]) -> np.dtype[Any]:
        """Return the type that holds the kept values of all these bands."""
        found = np.result_type(*(self._bands[name].dtype for name in bands))
        return np.dtype(np.uint8) if found == np.bool_ else found

    def read(self, bands: tuple[str, ...], rows: slice, cols: slice, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the kept values (C, h, w) of a rectangle; in `into`, of that shape and `dtype`, where that can be."""
        values = room(len(bands), rows, cols, self.dtype(bands)) if into is None else into
        pieces = xr.Dataset({name: self._bands[name].variable[rows, cols] for name in bands}).compute()
        for name, plane in zip(bands, values, strict=True):
            plane[...] = pieces[name].to_numpy()
        return values

    def identity(self, bands: tuple[str, ...]) -> dict[str, Any]:
        """Return what tells on another day that it is the same survey."""
        from dask.base import tokenize

        tokens = {}
        for name in bands:
            band = self._bands[name]
            kept = Path(str(band.encoding.get("source", "")))
            # Not the values of what xarray would have to read for that: its file, as it stands.
            lazily = not getattr(band.variable, "_in_memory", True) and band.chunks is None and kept.exists()
            tokens[name] = [str(kept), *stamp(kept)] if lazily else tokenize(band.variable.data)
        return {
            "kind": "Dataset",
            "grid": grid_as_json(self.grid),
            "bands": tokens,
            "units": {name: self.units[name] for name in bands},
        }


class Padded:
    """A survey with ground without data around it.

    Parameters
    ----------
    source : Source
        The survey.
    around : tuple of pairs of int
        Rows to the north and to the south, columns to the west and to the east.
    """

    def __init__(self, source: Source, around: tuple[tuple[int, int], tuple[int, int]]) -> None:
        self._source, self.origin = source, (around[0][0], around[1][0])
        inside = source.grid
        shape = (inside.shape[0] + sum(around[0]), inside.shape[1] + sum(around[1]))
        self.grid = inside.part(-self.origin[0], -self.origin[1], shape)
        self.units, self.block = source.units, source.block

    def packing(self, band: str) -> Packing:
        """Return how a band keeps its values."""
        return self._source.packing(band)

    def dtype(self, bands: tuple[str, ...]) -> np.dtype[Any]:
        """Return the type that holds the kept values of all these bands, and NaN beyond the survey."""
        return np.result_type(self._source.dtype(bands), np.float32)

    def read(self, bands: tuple[str, ...], rows: slice, cols: slice, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the kept values (C, h, w) of a rectangle, NaN beyond the survey; in `into` where that can be."""
        inside, place = [], []
        for at, before, length in zip((rows, cols), self.origin, self._source.grid.shape, strict=True):
            start, stop = (min(max(edge - before, 0), length) for edge in (at.start, at.stop))
            inside.append(slice(start, stop))
            place.append(slice(start + before - at.start, stop + before - at.start))
        values = room(len(bands), rows, cols, self.dtype(bands)) if into is None else into
        values[...] = np.nan
        if all(at.start < at.stop for at in inside):
            values[:, place[0], place[1]] = self._source.read(bands, inside[0], inside[1])
        return values

    def identity(self, bands: tuple[str, ...]) -> dict[str, Any]:
        """Return what tells on another day that it is the same survey."""
        return self._source.identity(bands)


def room(n: int, rows: slice, cols: slice, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array for the values of n bands in a rectangle."""
    return np.empty((n, rows.stop - rows.start, cols.stop - cols.start), dtype=dtype)


def largest(blocks: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Return the most rows and columns of these blocks."""
    return max((rows for rows, _ in blocks), default=1), max((cols for _, cols in blocks), default=1)


def grid_as_json(grid: Grid) -> dict[str, Any]:
    """Return CRS, transform and shape as plain values."""
    return {"crs": grid.crs.to_wkt(), "transform": list(grid.transform[:6]), "shape": list(grid.shape)}


def stamp(file: Path) -> list[int]:
    """Return size and time of the last change, in ns."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]
