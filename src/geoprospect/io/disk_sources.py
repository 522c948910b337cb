"""Surveys on a disk that are read piece by piece: GeoTIFFs and Zarr stores."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from geoprospect._checks import check_input_file
from geoprospect.errors import CorruptFileError, InputError
from geoprospect.grid import Grid
from geoprospect.io.rasters import as_it_lies, named_bands, named_files, open_geotiff
from geoprospect.io.sources import InMemory, Packing, Source, grid_as_json, largest, room, stamp

SurveyLike = (
    xr.Dataset | str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]]
)


def open_source(survey: SurveyLike) -> Source:
    """Open a survey for reading piece by piece.

    Parameters
    ----------
    survey : xarray.Dataset, path-like, iterable of path-like, or mapping of str to path-like
        A Dataset of NumPy or dask; a GeoTIFF or COG with one description per band; a Zarr store as `write_zarr`
        writes it; or several GeoTIFFs on one grid. In a mapping the keys name the bands of files with one band.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When a file cannot be read, files lie on different grids, or two bands have one name.
    CRSError
        When there is no CRS.
    """
    if isinstance(survey, xr.Dataset):
        return InMemory(survey)
    if not isinstance(survey, (Mapping, str, os.PathLike)) and not isinstance(survey, Iterable):
        raise InputError(f"survey: is a {type(survey).__name__}, needs an xarray Dataset or the path of a raster")
    if isinstance(survey, (str, os.PathLike)) and Path(survey).suffix.lower() == ".zarr":
        return _Store(Path(survey))
    return _Tiffs(named_files("survey", survey), by_key=isinstance(survey, Mapping))


# -- Zarr --------------------------------------------------------------------------------------


class _Store(InMemory):
    """A Zarr store."""

    def __init__(self, store: Path) -> None:
        try:
            # As a mapping of files that is read when asked; closed with the process.
            opened = xr.open_zarr(store, decode_coords="all", chunks=None)
        except Exception as err:  # xarray and zarr raise many kinds
            raise InputError(f"survey={str(store)!r}: cannot be read as a Zarr store ({err})") from err
        super().__init__(opened)
        self._store = store
        sizes = [
            band.transpose("y", "x").encoding.get("chunks") if band.dims == ("y", "x") else None
            for band in opened.data_vars.values()
        ]
        self.block = largest([size for size in sizes if size])

    def read(self, bands: tuple[str, ...], rows: slice, cols: slice, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the kept values (C, h, w) of a rectangle; in `into`, of that shape and `dtype`, where that can be."""
        try:
            return super().read(bands, rows, cols, into)
        except Exception as err:  # each codec has errors of its own
            raise CorruptFileError(f"{self._store}: cannot be read ({err}); the store is damaged") from err

    def identity(self, bands: tuple[str, ...]) -> dict[str, Any]:
        """Return what tells on another day that it is the same survey."""
        digest = hashlib.blake2b(digest_size=16)
        for file in sorted(self._store.rglob("*")):
            if file.is_file():
                digest.update(json.dumps([file.relative_to(self._store).as_posix(), *stamp(file)]).encode())
        return {"kind": "Zarr", "files": digest.hexdigest()}


# -- GeoTIFF -----------------------------------------------------------------------------------


class _Tiffs:
    """One GeoTIFF of several bands, or several on one grid."""

    origin = (0, 0)

    def __init__(self, files: Mapping[str, str | os.PathLike[str]], by_key: bool) -> None:
        if not files:
            raise InputError("survey: names no file; pass a path, several paths, or {'band': path}")
        self._files = {name: check_input_file("survey", path) for name, path in files.items()}
        self._places: dict[str, tuple[Path, int]] = {}
        self._packing: dict[str, Packing] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self.units = {}
        self._masked = False
        self._flipped: set[Path] = set()  # mirrored, as where rows run from south to north
        grids: dict[Path, Grid] = {}
        blocks = []
        for key, file in self._files.items():
            with open_geotiff(file, "survey") as opened:
                grids[file], flipped = as_it_lies(opened)
                self._flipped |= {file} if flipped else set()
                names = [key] if by_key and opened.count == 1 else named_bands(opened, "survey", file)
                blocks += opened.block_shapes
                for index, name in enumerate(names, start=1):
                    if name in self._places:
                        raise InputError(
                            f"survey: two bands are called {name!r}; name them: {{'a': 'one.tif', 'b': 'two.tif'}}"
                        )
                    self._places[name] = (file, index)
                    self.units[name] = opened.units[index - 1] or ""
                    self._dtypes[name] = np.dtype(opened.dtypes[index - 1])
                    self._packing[name] = Packing(
                        _in_dtype(opened.nodatavals[index - 1], self._dtypes[name]), opened.scales[index - 1],
                        opened.offsets[index - 1],
                    )  # fmt: skip
                    flags = opened.mask_flag_enums[index - 1]
                    self._masked |= MaskFlags.per_dataset in flags or MaskFlags.alpha in flags
        first, self.grid = next(iter(grids.items()))
        for file, grid in grids.items():
            if grid != self.grid:
                raise InputError(
                    f"survey: {file.name} lies on {grid!r}, {first.name} on {self.grid!r}; bring them onto one grid "
                    "with read_bands(paths, grid)"
                )
        self.block = largest(blocks)
        self._local = threading.local()

    def packing(self, band: str) -> Packing:
        """Return how a band keeps its values."""
        return Packing() if self._masked else self._packing[band]

    def dtype(self, bands: tuple[str, ...]) -> np.dtype[Any]:
        """Return the type that holds the kept values of all these bands."""
        return np.dtype(np.float32) if self._masked else np.result_type(*(self._dtypes[name] for name in bands))

    def read(self, bands: tuple[str, ...], rows: slice, cols: slice, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the kept values (C, h, w) of a rectangle; in `into`, of that shape and `dtype`, where that can be."""
        values = room(len(bands), rows, cols, self.dtype(bands)) if into is None else into
        for file in dict.fromkeys(self._places[name][0] for name in bands):
            here = [at for at, name in enumerate(bands) if self._places[name][0] == file]
            indexes = [self._places[bands[at]][1] for at in here]
            # A view where all bands come from one file: no second copy.
            found = values if len(here) == len(bands) else values[here]
            try:
                self._read_file(file, indexes, rows, cols, found)
            except rasterio.RasterioIOError as err:
                raise CorruptFileError(f"{file}: cannot be read ({err}); the file is damaged") from err
            if found is not values:
                values[here] = found
        return values

    def _read_file(self, file: Path, indexes: list[int], rows: slice, cols: slice, out: NDArray[Any]) -> None:
        opened = self._opened(file)
        top = self.grid.shape[0] - rows.stop if file in self._flipped else rows.start
        window = Window(cols.start, top, out.shape[2], out.shape[1])
        if self._masked:
            scales, offsets = (
                np.array([kept[index - 1] for index in indexes], dtype=np.float32)[:, None, None]
                for kept in (opened.scales, opened.offsets)
            )
            read = opened.read(indexes, window=window, masked=True)
            out[...] = read.astype(np.float32).filled(np.nan) * scales + offsets
        else:
            opened.read(indexes, window=window, out=out)
        if file in self._flipped:
            out[...] = out[:, ::-1].copy()

    def _opened(self, file: Path) -> rasterio.DatasetReader:
        """Return the file, opened by this thread: GDAL's handles are not for several at once."""
        opened: dict[Path, rasterio.DatasetReader] = self._local.__dict__.setdefault("files", {})
        if file not in opened:
            opened[file] = open_geotiff(file, "survey")
        return opened[file]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open files out: a worker elsewhere opens its own."""
        return {key: value for key, value in self.__dict__.items() if key != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without open files."""
        self.__dict__.update(state)
        self._local = threading.local()

    def identity(self, bands: tuple[str, ...]) -> dict[str, Any]:
        """Return what tells on another day that it is the same survey."""
        kept = {}
        for name in bands:
            file, index = self._places[name]
            # Programs keep nodata, scales and names of bands in files beside it.
            beside = [file, *(Path(f"{file}{more}") for more in (".aux.xml", ".msk")), file.with_suffix(".tfw")]
            stamps = {one.name: stamp(one) for one in beside if one.exists()}
            kept[name] = [index, stamps, self.units[name], str(self._packing[name])]
        return {"kind": "GeoTIFF", "grid": grid_as_json(self.grid), "bands": kept}


def _in_dtype(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return the value as the band can hold it: -3.4e38 is another number in float32."""
    if nodata is None:
        return None
    return float(dtype.type(nodata)) if dtype.kind == "f" else float(nodata)
