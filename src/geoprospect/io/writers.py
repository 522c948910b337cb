"""Writers of rasters to COG, GeoTIFF and Zarr, block by block, in memory that does not grow with the raster.

All bands of a chunk are computed together, cut into blocks and written. A digest and the moments of each block
are kept. They suffice to verify the file and to compute its statistics without computing any chunk twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

import numpy as np
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401  (whoever reads or writes rasters finds .rio on every Dataset)
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.windows import Window

from geoprospect._checks import check_choice, check_int, check_output_file, user_level
from geoprospect._settings import with_settings
from geoprospect._version import __version__
from geoprospect.errors import CorruptFileError, DataWarning, InputError, OutputError
from geoprospect.grid import Grid
from geoprospect.io.atomic import published

if TYPE_CHECKING:
    import zarr

_TIFF_SUFFIXES = (".tif", ".tiff")
_BLOCK = 512  # in which cells are written and verified, whatever the tiles of the file are
# GDAL keeps up to a twentieth of the machine's memory in blocks unless told otherwise.
_CACHE_BYTES = 64 * 2**20
# Small chunks are computed in groups of about this size: a call of dask takes some milliseconds whatever it does.
_GROUP_BYTES = 64 * 2**20
_MARKS_OF_A_STORE = (".zgroup", "zarr.json")

# (bands, row, column, values of shape (C, h, w)): puts a block into a file.
_Put = Callable[[list[int], int, int, NDArray[np.float32]], None]
# (row, column, height, width): gets all bands of a block from a file.
_Get = Callable[[int, int, int, int], NDArray[np.float32]]
# Row, column and one array per band of a rectangle of the raster.
_Piece = tuple[int, int, Sequence[NDArray[Any]]]


Compress = Literal["deflate", "lzw", "zstd", "none"]
Predictor = Literal["float", "horizontal", "none"]
Interleave = Literal["pixel", "band"]


@dataclass(frozen=True)
class WriteSettings:
    """How the cells of a GeoTIFF are stored.

    `write_cog` and `write_geotiff` take these as keyword arguments.

    Parameters
    ----------
    compress : {'deflate', 'lzw', 'zstd', 'none'}
        Lossless compression.
    predictor : {'float', 'horizontal', 'none'}
        Difference between neighbouring cells that is compressed instead of the values. 'float' suits float32,
        'horizontal' is read by more programs. Without compression there is none.
    blocksize : int, default 512
        Rows and columns of a tile, a multiple of 16 from 64 to 4096.
    interleave : {'pixel', 'band'}, optional
        Order of the bands: 'pixel' keeps all bands of a tile together, 'band' all tiles of a band.
        Default: 'pixel' in a COG, 'band' in a plain GeoTIFF. 'band' in a COG needs GDAL 3.11.

    Raises
    ------
    InputError
        When a value is not allowed.
    """

    compress: Compress = "deflate"
    predictor: Predictor = "float"
    blocksize: int = 512
    interleave: Interleave | None = None

    def __post_init__(self) -> None:
        """Normalise and check."""
        check_choice("compress", self.compress, get_args(Compress))
        check_choice("predictor", self.predictor, get_args(Predictor))
        object.__setattr__(self, "blocksize", check_int("blocksize", self.blocksize, 64))
        if self.blocksize > 4096 or self.blocksize % 16:
            near = min(4096, max(64, round(self.blocksize / 16) * 16))
            raise InputError(
                f"blocksize={self.blocksize}: needs a multiple of 16 from 64 to 4096, for example blocksize={near}"
            )
        if self.interleave is not None:
            check_choice("interleave", self.interleave, get_args(Interleave))

    def for_cog(self) -> dict[str, Any]:
        """Return the creation options of the COG driver."""
        predictor = {"float": "floating_point", "horizontal": "standard", "none": "no"}[self.predictor]
        options = {"driver": "COG", "compress": self.compress, "blocksize": self.blocksize,
                   "overviews": "force_use_existing", "num_threads": "all_cpus"}  # fmt: skip
        if self.interleave == "band":
            if tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 11):
                raise InputError(
                    f"interleave='band': GDAL {rasterio.__gdal_version__} writes no such COG, GDAL 3.11 does; "
                    "leave it out"
                )
            options["interleave"] = "band"
        return options if self.compress == "none" else {**options, "predictor": predictor}

    def for_geotiff(self) -> dict[str, Any]:
        """Return the creation options of the GTiff driver."""
        options = {"driver": "GTiff", "compress": self.compress, "interleave": self.interleave or "band",
                   "tiled": "yes", "blockxsize": self.blocksize, "blockysize": self.blocksize}  # fmt: skip
        predictor = {"float": 3, "horizontal": 2, "none": 1}[self.predictor]
        return options if self.compress == "none" else {**options, "predictor": predictor}


class WriteKeywords(TypedDict, total=False):
    """The fields of `WriteSettings`, as keyword arguments."""

    compress: Compress
    predictor: Predictor
    blocksize: int
    interleave: Interleave | None


def write_cog(
    data: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], *, tags: Mapping[str, str] | None = None,
    **settings: Unpack[WriteKeywords],
) -> Path:  # fmt: skip
    """Write a Cloud Optimized GeoTIFF, one band per variable.

    The file is written beside its place, read back and compared, and only then given its name.
    Data of dask are computed chunk by chunk, each chunk once and for all bands together, and never
    held whole; chunks whose sides are multiples of 512 cells need the least memory. Until the end
    there must be room on the disk for the uncompressed bands too.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Variables with dims (y, x) and a CRS, of NumPy or dask. Integers are written as float32,
        with NaN as nodata.
    path : path-like
        A name that ends in .tif or .tiff, in a folder that exists.
    tags : mapping of str to str, optional
        More metadata for the file.
    **settings
        Fields of `WriteSettings`, which describes them:

        - ``compress``: 'deflate' (default), 'lzw', 'zstd' or 'none';
        - ``predictor``: 'float' (default), 'horizontal' or 'none';
        - ``blocksize``: rows and columns of a tile, 512 by default;
        - ``interleave``: 'pixel' (default in a COG) or 'band'.

    Returns
    -------
    pathlib.Path
        Where the file is. Its bands carry description, units and statistics; the file carries
        the attributes of the dataset and the version of geoprospect.

    Raises
    ------
    InputError
        When there is nothing to write, the data have no grid, a tag is malformed, or a setting is not allowed.
    OutputError
        When the file cannot be written whole; what stood there before is untouched.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 400), (4, 4))
    >>> survey = grid.dataset({"Cu": np.ones((4, 4), "float32")}, {"Cu": {"units": "ppm"}})
    >>> path = gp.write_cog(survey, pathlib.Path(tempfile.mkdtemp()) / "survey.tif")
    >>> float(gp.read_bands({"Cu": path}, grid)["Cu"].mean())
    1.0
    """
    how = with_settings(WriteSettings(), dict(settings))
    return _write_tiff(data, path, tags, how.for_cog(), how.blocksize)


def write_geotiff(
    data: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], *, tags: Mapping[str, str] | None = None,
    **settings: Unpack[WriteKeywords],
) -> Path:  # fmt: skip
    """Write a plain tiled GeoTIFF, one band per variable.

    As `write_cog`, but without overviews.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Variables with dims (y, x) and a CRS, of NumPy or dask.
    path : path-like
        A name that ends in .tif or .tiff, in a folder that exists.
    tags : mapping of str to str, optional
        More metadata for the file.
    **settings
        Fields of `WriteSettings`, as in `write_cog`: compress, predictor, blocksize, interleave ('band' by default).

    Returns
    -------
    pathlib.Path
        Where the file is.

    Raises
    ------
    InputError, OutputError
        As in `write_cog`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 400), (4, 4))
    >>> survey = grid.dataset({"Cu": np.ones((4, 4), "float32")}, {"Cu": {"units": "ppm"}})
    >>> gp.write_geotiff(survey, pathlib.Path(tempfile.mkdtemp()) / "survey.tif").name
    'survey.tif'
    """
    how = with_settings(WriteSettings(), dict(settings))
    return _write_tiff(data, path, tags, how.for_geotiff(), how.blocksize)


def write_zarr(data: xr.Dataset | xr.DataArray, path: str | os.PathLike[str]) -> Path:
    """Write a Zarr store, one array per variable.

    A folder of one small file per block of 512 x 512 cells, which many processes may read at once.
    Like a file of `write_cog` it is written beside its place, chunk by chunk, read back and compared;
    a store of that name is replaced once the new one is whole. The arrays of a store have names and no order.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Variables with dims (y, x) and a CRS, of NumPy or dask. Integers are written as float32,
        with NaN as nodata.
    path : path-like
        A name that ends in .zarr, in a folder that exists.

    Returns
    -------
    pathlib.Path
        Where the store is. ``xarray.open_zarr(path, decode_coords="all")`` opens it without reading
        the values, with units, names and CRS; `read_survey` reads it whole.

    Raises
    ------
    InputError
        When there is nothing to write, or the data have no grid.
    OutputError
        When the store cannot be written whole, or a folder that is no store has its name; what
        stood there before is untouched.

    Warns
    -----
    DataWarning
        When the grid is turned against its CRS: GDAL takes no such transform from a store.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 400), (4, 4))
    >>> survey = grid.dataset({"Cu": np.ones((4, 4), "float32")}, {"Cu": {"units": "ppm"}})
    >>> path = gp.write_zarr(survey, pathlib.Path(tempfile.mkdtemp()) / "survey.zarr")
    >>> gp.read_survey(path)["Cu"].attrs
    {'units': 'ppm', 'long_name': 'Cu'}
    """
    store = check_store("path", path)
    dataset, bands = _as_bands(data)
    grid = Grid.of(dataset)
    if not grid.north_up:
        warnings.warn(
            "data: lie on a grid that is turned against its CRS, which GDAL and QGIS do not see in a Zarr store; write "
            "a .tif for them (read_survey and xarray read both)",
            DataWarning,
            stacklevel=user_level(),
        )
    _check_array_names(bands)
    import zarr

    ledger = _Ledger(list(bands), grid.shape)
    with _own_errors(), published(store, lambda written: _check_zarr(written, grid, ledger)) as beside:
        arrays = _new_arrays(beside, grid, dataset, list(bands))

        def put(found: list[int], row: int, col: int, block: NDArray[np.float32]) -> None:
            for index, values in zip(found, block, strict=True):
                arrays[index][row : row + values.shape[0], col : col + values.shape[1]] = values

        _write_blocks(list(bands.values()), ledger, put)
        zarr.consolidate_metadata(beside)  # else xarray warns that it had to look into every folder
    return store


# -- what is to be written ---------------------------------------------------------------------


def _as_bands(data: xr.Dataset | xr.DataArray) -> tuple[xr.Dataset, dict[str, xr.Variable]]:
    """Return the data as a dataset, and its bands by name, the right way round."""
    dataset = data.to_dataset(name=data.name or "band") if isinstance(data, xr.DataArray) else data
    bands = {
        str(name): band.variable.transpose("y", "x")
        for name, band in dataset.data_vars.items()
        if set(band.dims) == {"y", "x"}
    }
    if not bands:
        raise InputError("data: has no variable with dims (y, x); there is nothing to write")
    return dataset, bands


def _file_tags(dataset: xr.Dataset, tags: Mapping[str, str] | None) -> dict[str, str]:
    """Return what the file says of itself: no time of day, so the same input gives the same bytes."""
    wrong = [key for key in tags or {} if not key or any(mark in key for mark in ":= ")]
    if wrong:
        raise InputError(f"tags: the key {wrong[0]!r} holds ':', '=' or a space, which GeoTIFF does not keep")
    own = {str(k).upper(): v if isinstance(v, str) else json.dumps(v, default=str) for k, v in dataset.attrs.items()}
    own = {key: value for key, value in own.items() if not any(mark in key for mark in ":= ")}
    return {"TIFFTAG_SOFTWARE": f"geoprospect {__version__}", **own, **dict(tags or {})}


def _long_name(dataset: xr.Dataset, name: str) -> str:
    return str(dataset[name].attrs.get("long_name", name))


# -- blocks, one after the other ---------------------------------------------------------------


@dataclass
class _Ledger:
    """What was written: of each block of each band a digest and the moments, not the values."""

    names: list[str]
    shape: tuple[int, int]
    digests: NDArray[np.uint64] = field(init=False)  # (C, rows of blocks, columns of blocks)
    moments: NDArray[np.float64] = field(init=False)  # (5, C, rows of blocks, columns of blocks)

    def __post_init__(self) -> None:
        """Make room for every block."""
        blocks = (len(self.names), *(-(-n // _BLOCK) for n in self.shape))
        self.digests = np.zeros(blocks, dtype=np.uint64)
        self.moments = np.zeros((5, *blocks))

    def note(self, bands: list[int], row: int, col: int, block: NDArray[np.float32]) -> None:
        """Enter a block of some bands, of shape (C, h, w)."""
        for band, values in zip(bands, block, strict=True):
            place = (band, row // _BLOCK, col // _BLOCK)
            self.digests[place] = _digest(values)
            self.moments[:, *place] = _moments(values)

    def check(self, get: _Get, file: str) -> None:
        """Read every block back and raise where one is not what was entered."""
        height, width = self.shape
        for row, col in itertools.product(range(0, height, _BLOCK), range(0, width, _BLOCK)):
            block = get(row, col, min(_BLOCK, height - row), min(_BLOCK, width - col))
            for band, values in enumerate(block):
                if _digest(values) != self.digests[band, row // _BLOCK, col // _BLOCK]:
                    raise CorruptFileError(f"{file}: band {self.names[band]!r} does not read back as it was written")

    def statistics(self, band: int) -> dict[str, str]:
        """Return the statistics that GIS programs look for, over the valid cells."""
        found = self.moments[:, band].reshape(5, -1)
        count, mean, squares, low, high = found[:, found[0] > 0]
        if not count.size:
            return {}
        # The blocks stand in the order of the file, whatever order they came in: the same sum to the last bit.
        total = count.sum()
        centre = (count * mean).sum() / total
        spread = (squares + count * (mean - centre) ** 2).sum() / total
        values = {
            "MINIMUM": low.min(), "MAXIMUM": high.max(), "MEAN": centre, "STDDEV": np.sqrt(spread),
            "VALID_PERCENT": 100 * total / (self.shape[0] * self.shape[1]),
        }  # fmt: skip
        return {f"STATISTICS_{key}": f"{value:.9g}" for key, value in values.items()}


def _digest(values: NDArray[np.float32]) -> int:
    """Return 64 bits that no two blocks share by chance; a NaN is a NaN, whatever bits it is made of."""
    plain = np.ascontiguousarray(np.where(np.isnan(values), np.float32(np.nan), values))
    return int.from_bytes(hashlib.blake2b(plain.data, digest_size=8).digest(), "little")


def _moments(values: NDArray[np.float32]) -> tuple[float, float, float, float, float]:
    """Return count, mean, sum of squared deviations, minimum and maximum of the valid cells, in float64."""
    valid = values[np.isfinite(values)].astype(np.float64)
    if not valid.size:
        return 0, 0, 0, 0, 0
    mean = valid.mean()
    return valid.size, float(mean), float(np.square(valid - mean).sum()), float(valid.min()), float(valid.max())


def _write_blocks(bands: list[xr.Variable], ledger: _Ledger, put: _Put) -> None:
    """Compute the bands, put them block by block and enter each block in the ledger."""
    # Bands cut into the same chunks go together, since one task may make all of them.
    alike: dict[Any, list[int]] = {}
    for index, band in enumerate(bands):
        alike.setdefault(band.chunks, []).append(index)
    for chunks, found in alike.items():
        arrays = [bands[index] for index in found]
        pieces = _sliced(arrays) if chunks is None else _computed([array.data for array in arrays])
        for row, col, block in _blocks(_marked(pieces), ledger.shape, len(found)):
            put(found, row, col, block)
            ledger.note(found, row, col, block)


def _sliced(bands: list[xr.Variable]) -> Iterator[_Piece]:
    """Cut arrays in memory, or on a disk that xarray reads from, into blocks."""
    height, width = bands[0].shape
    for row, col in itertools.product(range(0, height, _BLOCK), range(0, width, _BLOCK)):
        yield row, col, [band[row : row + _BLOCK, col : col + _BLOCK].to_numpy() for band in bands]


def _computed(bands: list[Any]) -> Iterator[_Piece]:
    """Compute dask arrays chunk by chunk, all bands of a chunk in one call, chunks for all workers at once."""
    import dask.base

    compute: Any = dask.base.compute  # without types
    places = list(itertools.product(*map(range, bands[0].numblocks)))
    tops, lefts = (np.cumsum((0, *sizes)).tolist() for sizes in bands[0].chunks)
    chunk_bytes = sum(band.dtype.itemsize * max(band.chunks[0]) * max(band.chunks[1]) for band in bands)
    at_once = max(_workers(), _GROUP_BYTES // chunk_bytes)
    for start in range(0, len(places), at_once):
        group = places[start : start + at_once]
        (found,) = compute([[band.blocks[place] for band in bands] for place in group])
        while group:
            row, col = group.pop(0)
            yield tops[row], lefts[col], found.pop(0)  # popped, so that it is gone before the next are computed
        _give_back_memory()


def _give_back_memory() -> None:
    """Have glibc return what is free to the system: it keeps freed chunks, and what it keeps grows with the raster."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)


def _workers() -> int:
    """Return how many tasks the scheduler in force runs at once."""
    import dask.base
    import dask.local
    import dask.system

    get_scheduler: Any = dask.base.get_scheduler  # without types
    scheduler = get_scheduler()
    client: Any = getattr(scheduler, "__self__", None)  # the scheduler of a cluster is a method of its client
    if hasattr(client, "nthreads"):
        threads: int = sum(client.nthreads().values())
        return max(1, threads)
    if scheduler is dask.local.get_sync:
        return 1
    workers: Any = dask.config.get("num_workers", None) or dask.system.CPU_COUNT
    return int(workers)


def _blocks(
    pieces: Iterator[_Piece], shape: tuple[int, int], count: int
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Cut and join pieces into the blocks of the file, each given once it is whole.

    Where pieces do not end on the edges of blocks, those they share wait: of pieces that come row by row one row of
    blocks, at most.
    """
    waiting: dict[tuple[int, int], tuple[NDArray[np.float32], int]] = {}
    for top, left, piece in pieces:
        bottom, right = top + piece[0].shape[0], left + piece[0].shape[1]
        edges = itertools.product(range(top - top % _BLOCK, bottom, _BLOCK), range(left - left % _BLOCK, right, _BLOCK))
        for row, col in edges:
            size = (min(_BLOCK, shape[0] - row), min(_BLOCK, shape[1] - col))
            if (row, col) not in waiting:
                waiting[row, col] = np.empty((count, *size), dtype=np.float32), 0
            block, filled = waiting.pop((row, col))
            rows = slice(max(row, top), min(row + size[0], bottom))
            cols = slice(max(col, left), min(col + size[1], right))
            for target, values in zip(block, piece, strict=True):
                target[_from(rows, row), _from(cols, col)] = values[_from(rows, top), _from(cols, left)]
            filled += (rows.stop - rows.start) * (cols.stop - cols.start)
            if filled < size[0] * size[1]:
                waiting[row, col] = block, filled
            else:
                block[np.isnan(block)] = np.nan  # a NaN has many bit patterns; the file gets one
                yield row, col, block


def _from(cells: slice, start: int) -> slice:
    """Return the slice, counted from `start`."""
    return slice(cells.start - start, cells.stop - start)


class _SourceError(Exception):
    """Brings an error of the data past `published`, which takes an OSError for a trouble of its own disk."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _marked(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """Pass the pieces on; mark an error in making them."""
    try:
        yield from pieces
    except OSError as err:
        raise _SourceError(err) from err


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raise a marked error as what it was."""
    try:
        yield
    except _SourceError as marked:
        raise marked.error from marked.error.__cause__


# -- GeoTIFF -----------------------------------------------------------------------------------


def _write_tiff(
    data: xr.Dataset | xr.DataArray,
    path: str | os.PathLike[str],
    tags: Mapping[str, str] | None,
    options: dict[str, Any],
    blocksize: int,
) -> Path:
    file = check_output_file("path", path, _TIFF_SUFFIXES)
    dataset, bands = _as_bands(data)
    grid = Grid.of(dataset)
    file_tags = _file_tags(dataset, tags)
    ledger = _Ledger(list(bands), grid.shape)
    # Staged as a tiled GeoTIFF without compression, which takes the blocks in any order, and then copied: a dask
    # array written straight to the COG driver raises or zeroes the overviews, and the order of the chunks must not
    # show in the bytes of the file.
    with (
        _own_errors(),
        small_cache(),
        published(file, lambda written: _check_tiff(written, ledger)) as beside,
    ):
        staged = beside.with_name(f"{beside.name}.staged.tif")  # `published` removes what begins with its name
        _stage(dataset, list(bands.values()), grid, staged, file_tags, ledger)
        if options["driver"] == "COG":
            _add_overviews(staged, grid.shape, blocksize)
        rasterio.shutil.copy(staged, beside, bigtiff="if_safer", **options)
    return file


@contextlib.contextmanager
def small_cache() -> Iterator[None]:
    """Have GDAL keep few blocks, and afterwards as many as before: an `Env` alone does not always set that back."""
    before = get_gdal_config("GDAL_CACHEMAX")
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
            yield
    finally:
        set_gdal_config("GDAL_CACHEMAX", before)


def _stage(
    dataset: xr.Dataset, bands: list[xr.Variable], grid: Grid, file: Path, tags: dict[str, str], ledger: _Ledger
) -> None:
    """Write the bands as a tiled GeoTIFF of float32 with NaN as nodata."""
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": len(bands), "height": grid.shape[0], "width": grid.shape[1],
        "crs": grid.crs.to_wkt(), "transform": grid.transform, "nodata": np.nan, "tiled": True, "blockxsize": _BLOCK,
        "blockysize": _BLOCK, "interleave": "band", "bigtiff": "if_safer",
    }  # fmt: skip
    with rasterio.open(file, "w", **profile) as target:

        def put(found: list[int], row: int, col: int, block: NDArray[np.float32]) -> None:
            window = Window(col, row, block.shape[2], block.shape[1])
            target.write(block, [index + 1 for index in found], window=window)

        _write_blocks(bands, ledger, put)
        target.update_tags(**tags)
        for index, name in enumerate(ledger.names, start=1):
            target.set_band_description(index, name)
            units = str(dataset[name].attrs.get("units", ""))
            if units:
                target.set_band_unit(index, units)
            target.update_tags(index, **ledger.statistics(index - 1), LONG_NAME=_long_name(dataset, name))


def _add_overviews(staged: Path, shape: tuple[int, int], blocksize: int) -> None:
    """Add halved rasters until one fits into a tile; the COG driver would, in memory that grows with the raster."""
    halvings = max(0, math.ceil(math.log2(max(shape) / blocksize)))
    if halvings:
        with (
            rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=_BLOCK, GDAL_NUM_THREADS="1"),
            rasterio.open(staged, "r+") as target,
        ):
            target.build_overviews([2**power for power in range(1, halvings + 1)], Resampling.average)


def _check_tiff(file: Path, ledger: _Ledger) -> None:
    """Read a written file back; a full disk can leave one that opens and is not whole."""
    with rasterio.open(file) as source:
        if source.count != len(ledger.names) or source.shape != ledger.shape or source.crs is None:
            raise CorruptFileError(
                f"{file.name}: read back with {source.count} bands of {source.shape} cells instead of "
                f"{len(ledger.names)} of {ledger.shape}, or without its CRS"
            )
        ledger.check(lambda row, col, h, w: source.read(window=Window(col, row, w, h)), file.name)


# -- Zarr --------------------------------------------------------------------------------------


def check_store(argument: str, path: str | os.PathLike[str]) -> Path:
    """Return `path` as a Path where a store can appear: a new name, or that of a store."""
    store = Path(path)
    if store.suffix.lower() != ".zarr" or not store.is_dir():
        return check_output_file(argument, store, (".zarr",))
    if any(store.iterdir()) and not any((store / mark).is_file() for mark in _MARKS_OF_A_STORE):
        raise OutputError(f"{argument}={str(path)!r}: is a folder and no Zarr store; take another name, or remove it")
    if not os.access(store.parent, os.W_OK):
        raise OutputError(f"{argument}={str(path)!r}: the folder {str(store.parent)!r} cannot be written to")
    return store


def _check_array_names(names: Mapping[str, Any]) -> None:
    """Raise where the name of a band is none of a folder: in a store, each array is one."""
    wrong = [name for name in names if not name.strip(".") or name.startswith("__") or {"/", "\\"} & set(name)]
    if wrong:
        raise InputError(
            f"data: the band {wrong[0]!r} cannot be the name of a folder in a Zarr store; rename it, for example "
            f"data.rename({{{wrong[0]!r}: 'a_name'}})"
        )


def _new_arrays(store: Path, grid: Grid, dataset: xr.Dataset, names: list[str]) -> list[zarr.Array[Any]]:
    """Make a store with the coordinates and an empty array per band; return the arrays."""
    import zarr

    frame = grid.dataset({}).assign_attrs({"source": f"geoprospect {__version__}"} | _plain(dataset.attrs))
    # Format 2, not 3: it has consolidated metadata, and GDAL 3.10 and the QGIS on it read no other.
    frame.to_zarr(store, mode="w", zarr_format=2, consolidated=False)
    group = zarr.open_group(store, mode="r+")
    arrays = []
    for name in names:
        attrs = _plain(dataset[name].attrs) | {"long_name": _long_name(dataset, name)}
        array = group.create_array(
            name, shape=grid.shape, chunks=(_BLOCK, _BLOCK), dtype="float32", fill_value=np.nan,
            attributes=attrs | {"grid_mapping": "spatial_ref", "_ARRAY_DIMENSIONS": ["y", "x"]},
        )  # fmt: skip
        arrays.append(array)
    return arrays


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as JSON can hold them: numbers of NumPy as numbers, the rest as text."""
    found: dict[str, Any] = json.loads(json.dumps({str(key): value for key, value in attrs.items()}, default=_as_json))
    return found


def _as_json(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else str(value)


def _check_zarr(store: Path, grid: Grid, ledger: _Ledger) -> None:
    """Read a written store back, as a user will."""
    with xr.open_zarr(store, decode_coords="all", chunks=None) as data:
        if set(data.data_vars) != set(ledger.names) or Grid.of(data) != grid:
            raise CorruptFileError(f"{store.name}: reads back with other bands, or on another grid")
        bands = [data[name].variable for name in ledger.names]

        def get(row: int, col: int, height: int, width: int) -> NDArray[np.float32]:
            return np.stack([band[row : row + height, col : col + width].to_numpy() for band in bands])

        ledger.check(get, store.name)
