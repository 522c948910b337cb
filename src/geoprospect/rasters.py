"""Raster files in and out: the only place that opens or writes one."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.features
import rasterio.shutil
import rasterio.warp
import rioxarray  # noqa: F401  (whoever reads or writes rasters finds .rio on every Dataset)
import shapely
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geoprospect._checks import check_choice, check_crs, check_input_file, check_output_file
from geoprospect._version import __version__
from geoprospect.errors import CorruptFileError, CRSError, InputError
from geoprospect.grid import Grid
from geoprospect.publishing import published

log = logging.getLogger("geoprospect")

_RESAMPLING = ("auto", "nearest", "bilinear", "cubic", "average", "mode")
_TIFF_SUFFIXES = (".tif", ".tiff")
_BLOCK = 512
# Cells whose distances are looked up in one go; bounds the memory of the query.
_CHUNK_CELLS = 2_000_000


def read_bands(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]],
    grid: Grid,
    *,
    column: str | None = None,
    resampling: str = "auto",
    crs: Any = None,
) -> xr.Dataset:
    """Bring other evidence onto the grid: rasters, polygons, lines and points.

    Parameters
    ----------
    paths : path-like, iterable of path-like, or mapping of str to path-like
        GeoTIFF or COG files, or vector files. In a mapping the keys name the bands.
    grid : Grid
        Where the bands shall lie.
    column : str, optional
        Attribute of polygon layers: one 0/1 band per value of it. Without it a polygon layer
        is one 0/1 band.
    resampling : {'auto', 'nearest', 'bilinear', 'cubic', 'average', 'mode'}, default 'auto'
        How raster values are brought onto the cells; 'auto' averages where the raster is more
        than twice as fine as the grid and is bilinear elsewhere. Take 'nearest' or 'mode' for
        class codes.
    crs : optional
        CRS of files that do not say theirs.

    Returns
    -------
    xarray.Dataset
        One float32 variable per band on `grid`, NaN where there are no data. Lines and points
        become the distance from each cell centre to the nearest of them, in CRS units of the
        grid.

    Raises
    ------
    InputError
        When a file cannot be read, is a VRT or a remote address, does not touch the grid, or two
        bands have one name.
    CRSError
        When a file has no CRS and none is given.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geopandas as gpd
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 400), (4, 4))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "faults.geojson"
    >>> gpd.GeoSeries.from_wkt(["LINESTRING (50 0, 50 400)"], crs="EPSG:32649").to_file(path)
    >>> gp.read_bands(path, grid)["faults"].values[0]
    array([  0., 100., 200., 300.], dtype=float32)
    """
    check_choice("resampling", resampling, _RESAMPLING)
    bands: dict[str, NDArray[np.float32]] = {}
    attrs: dict[str, dict[str, str]] = {}
    for name, path in _named(paths).items():
        file = check_input_file("paths", path)
        if file.suffix.lower() in _TIFF_SUFFIXES:
            found = _read_raster(file, name, grid, resampling, crs)
        else:
            found = _read_vector_bands(file, name, grid, column, crs)
        for band, (values, units) in found.items():
            if band in bands:
                raise InputError(f"paths: two bands would be called {band!r}; name them: {{'a': 'one.tif', 'b': …}}")
            bands[band] = values
            attrs[band] = {"units": units, "long_name": band}
    return grid.dataset(bands, attrs)


def read_survey(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a GeoTIFF or COG as it lies: every band a variable on the grid of the file.

    Parameters
    ----------
    path : path-like
        A north-up GeoTIFF, such as `write_cog` writes.

    Returns
    -------
    xarray.Dataset
        float32 variables with dims (y, x), named by the descriptions of the bands ('band_1', …
        without), NaN where the file has nodata, with ``units`` and ``long_name``.

    Raises
    ------
    InputError
        When the file is no GeoTIFF, is rotated, or two bands have one description.
    CRSError
        When it has no CRS.
    CorruptFileError
        When it is damaged.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 400), (4, 4))
    >>> survey = grid.dataset({"Cu": np.ones((4, 4), "float32")}, {"Cu": {"units": "ppm"}})
    >>> path = gp.write_cog(survey, pathlib.Path(tempfile.mkdtemp()) / "survey.tif")
    >>> gp.read_survey(path)["Cu"].attrs
    {'units': 'ppm', 'long_name': 'Cu'}
    """
    file = check_input_file("path", path)
    with _open(file, "path") as source:
        grid = Grid(source.crs.to_wkt() if source.crs else None, source.transform, source.shape)
        names = [name or f"band_{i}" for i, name in enumerate(source.descriptions, start=1)]
        if len(set(names)) < len(names):
            raise InputError(f"path={str(file)!r}: two bands have one description among {', '.join(names)}")
        try:
            values = [
                _unpacked(source, i, source.read(i, out_dtype="float32", masked=True).filled(np.nan))
                for i in source.indexes
            ]
        except rasterio.RasterioIOError as err:
            raise CorruptFileError(f"{file}: cannot be read ({err}); the file is damaged") from err
        attrs = {
            name: {"units": source.units[i] or "", "long_name": source.tags(i + 1).get("LONG_NAME", name)}
            for i, name in enumerate(names)
        }
    return grid.dataset(dict(zip(names, values, strict=True)), attrs)


def write_geotiff(
    data: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], *, tags: Mapping[str, str] | None = None
) -> Path:
    """Write a plain tiled GeoTIFF, one band per variable.

    Parameters, returns and errors are those of `write_cog`; there are no overviews.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Variables with dims (y, x) and a CRS.
    path : path-like
        A name that ends in .tif or .tiff, in a folder that exists.
    tags : mapping of str to str, optional
        More metadata for the file.

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
    return _write(data, path, tags, cog=False)


def write_cog(
    data: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], *, tags: Mapping[str, str] | None = None
) -> Path:
    """Write a Cloud Optimized GeoTIFF, one band per variable.

    The file is written beside its place, read back and compared, and only then given its name.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Variables with dims (y, x) and a CRS. Integers are written as float32, with NaN as nodata.
    path : path-like
        A name that ends in .tif or .tiff, in a folder that exists.
    tags : mapping of str to str, optional
        More metadata for the file.

    Returns
    -------
    pathlib.Path
        Where the file is. Its bands carry description, units and statistics; the file carries
        the attributes of the dataset and the version of geoprospect.

    Raises
    ------
    InputError
        When there is nothing to write, the data have no grid, or a tag is malformed.
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
    return _write(data, path, tags, cog=True)


def _named(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]],
) -> dict[str, str | os.PathLike[str]]:
    """Return files by name; without a name, by the stem of the file."""
    if isinstance(paths, Mapping):
        return {str(name): path for name, path in paths.items()}
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    named = {Path(path).stem: path for path in listed}
    if len(named) < len(listed):
        raise InputError("paths: two files have the same stem; name them: {'a': 'one/x.tif', 'b': 'two/x.tif'}")
    return named


def _open(file: Path, argument: str) -> rasterio.DatasetReader:
    try:
        # A .tif may be a VRT that reads any other file; naming the driver refuses it.
        return rasterio.open(file, driver="GTiff")
    except rasterio.RasterioIOError as err:
        raise InputError(f"{argument}={str(file)!r}: cannot be read as a GeoTIFF ({err})") from err


def _unpacked(source: rasterio.DatasetReader, index: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values in the units of the band, where a file stores them as multiples of a scale from an offset."""
    return values * np.float32(source.scales[index - 1]) + np.float32(source.offsets[index - 1])


def _read_raster(
    file: Path, name: str, grid: Grid, resampling: str, crs: Any
) -> dict[str, tuple[NDArray[np.float32], str]]:
    """Read every band of a GeoTIFF onto the grid."""
    with _open(file, "paths") as source:
        source_crs = check_crs("crs", source.crs.to_wkt() if source.crs else crs)
        left, bottom, right, top = rasterio.warp.transform_bounds(
            grid.crs.to_wkt(), source_crs.to_wkt(), *grid.bounds, densify_pts=21
        )
        west, south, east, north = source.bounds
        if left >= east or right <= west or bottom >= max(north, south) or top <= min(north, south):
            raise InputError(
                f"paths={str(file)!r}: does not touch the grid; it covers {tuple(source.bounds)} in "
                f"{source_crs.name!r}, the grid {(left, bottom, right, top)}"
            )
        if resampling == "auto":
            finer = (right - left) / grid.shape[1] > 2 * abs(source.transform.a)
            resampling = "average" if finer else "bilinear"
        found = {}
        for index in source.indexes:
            values = np.full(grid.shape, np.nan, dtype=np.float32)
            try:
                rasterio.warp.reproject(
                    rasterio.band(source, index), values, src_crs=source_crs.to_wkt(), dst_crs=grid.crs.to_wkt(),
                    dst_transform=grid.transform, dst_nodata=np.nan, init_dest_nodata=True,
                    resampling=Resampling[resampling],
                )  # fmt: skip
            except (rasterio.RasterioIOError, rasterio.errors.WarpOperationError) as err:
                raise CorruptFileError(f"{file}: band {index} cannot be read ({err}); the file is damaged") from err
            label = (source.descriptions[index - 1] or f"{name}_{index}") if source.count > 1 else name
            if label in found:
                raise InputError(f"paths={str(file)!r}: two of its bands are called {label!r}; rename one in the file")
            found[label] = (_unpacked(source, index, values), source.units[index - 1] or "")
    return found


def _read_vector_bands(
    file: Path, name: str, grid: Grid, column: str | None, crs: Any
) -> dict[str, tuple[NDArray[np.float32], str]]:
    """Turn a vector layer into bands: polygons into classes, lines and points into a distance."""
    with file.open("rb") as stream:
        if re.search(rb"<OGR\w*DataSource", stream.read(4096)):
            raise InputError(f"paths={str(file)!r}: only points to data elsewhere (an OGR VRT); name the file it reads")
    try:
        frame = gpd.read_file(file)
    except Exception as err:  # pyogrio raises several kinds
        raise InputError(f"paths={str(file)!r}: cannot be read as a GeoTIFF or a vector file ({err})") from err
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"paths={str(file)!r}: a table without geometry; read_samples reads tables of points")
    if frame.crs is None:
        frame = frame.set_crs(check_crs("crs", crs))
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].to_crs(grid.crs)
    if frame.empty:
        raise InputError(f"paths={str(file)!r}: holds no feature with a geometry")
    if not np.isfinite(frame.total_bounds).all():
        raise CRSError(f"paths={str(file)!r}: its coordinates have no place in {grid.crs.name!r}; is its CRS right?")
    if not set(frame.geom_type) <= {"Polygon", "MultiPolygon"}:
        return {name: (_distance(frame.geometry, grid), grid.unit)}
    if not frame.intersects(shapely.box(*grid.bounds)).any():
        raise InputError(f"paths={str(file)!r}: none of its polygons touches the grid")
    if column is None:
        return {name: (_burn(frame.geometry, grid), "")}
    if column not in frame.columns:
        raise InputError(f"column={column!r}: {file.name} has {', '.join(map(str, frame.columns))}")
    classes = frame[column].dropna().unique()
    return {f"{name}_{value}": (_burn(frame.geometry[frame[column] == value], grid), "") for value in sorted(classes)}


def _burn(geometry: gpd.GeoSeries, grid: Grid) -> NDArray[np.float32]:
    """Return 1 in cells whose centre lies in a polygon, 0 elsewhere."""
    burnt: NDArray[np.float32] = rasterio.features.rasterize(
        geometry, out_shape=grid.shape, transform=grid.transform, fill=0, default_value=1, dtype="float32"
    )
    return burnt


def _distance(geometry: gpd.GeoSeries, grid: Grid) -> NDArray[np.float32]:
    """Return the distance from each cell centre to the nearest geometry, in CRS units."""
    tree = shapely.STRtree(geometry.to_numpy())
    distance = np.empty(grid.shape, dtype=np.float32)
    step = max(1, _CHUNK_CELLS // grid.shape[1])
    for top in range(0, grid.shape[0], step):
        x, y = np.meshgrid(grid.x, grid.y[top : top + step])
        _, found = tree.query_nearest(shapely.points(x.ravel(), y.ravel()), return_distance=True, all_matches=False)
        distance[top : top + step] = found.reshape(x.shape)
    return distance


def _write(
    data: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], tags: Mapping[str, str] | None, cog: bool
) -> Path:
    file = check_output_file("path", path, _TIFF_SUFFIXES)
    dataset = data.to_dataset(name=data.name or "band") if isinstance(data, xr.DataArray) else data
    bands = [str(name) for name, band in dataset.data_vars.items() if set(band.dims) == {"y", "x"}]
    if not bands:
        raise InputError("data: has no variable with dims (y, x); there is nothing to write")
    grid = Grid.of(dataset)
    file_tags = _file_tags(dataset, tags)
    # A dask array written straight to the COG driver raises or zeroes the overviews, and
    # the driver only copies: so a tiled GeoTIFF is staged first.
    with published(file, lambda written: _compare(written, dataset, bands)) as beside:
        if not cog:
            _write_tiled(dataset, bands, grid, beside, file_tags, {"compress": "deflate", "predictor": 3})
            return file
        staged = beside.with_name(f"{beside.name}.staged.tif")  # `published` removes what begins with its name
        _write_tiled(dataset, bands, grid, staged, file_tags, {})
        rasterio.shutil.copy(
            staged, beside, driver="COG", compress="deflate", predictor="yes", blocksize=_BLOCK,
            overview_resampling="average", num_threads="all_cpus",
        )  # fmt: skip
    return file


def _write_tiled(
    dataset: xr.Dataset, bands: list[str], grid: Grid, file: Path, tags: dict[str, str], options: dict[str, Any]
) -> None:
    """Write the bands as a tiled GeoTIFF of float32 with NaN as nodata."""
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": len(bands), "height": grid.shape[0], "width": grid.shape[1],
        "crs": grid.crs.to_wkt(), "transform": grid.transform, "nodata": np.nan, "tiled": True, "blockxsize": _BLOCK,
        "blockysize": _BLOCK, "interleave": "band", "bigtiff": "if_safer",
    }  # fmt: skip
    with rasterio.open(file, "w", **profile, **options) as target:
        target.update_tags(**tags)
        for index, name in enumerate(bands, start=1):
            values = _values(dataset, name)
            target.write(values, index)
            target.set_band_description(index, name)
            units = str(dataset[name].attrs.get("units", ""))
            if units:
                target.set_band_unit(index, units)
            target.update_tags(index, **_statistics(values), LONG_NAME=str(dataset[name].attrs.get("long_name", name)))


def _values(dataset: xr.Dataset, name: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = dataset[name].transpose("y", "x").to_numpy().astype(np.float32, copy=False)
    return values


def _statistics(values: NDArray[np.float32]) -> dict[str, str]:
    """Return the statistics that GIS programs look for, computed in float64 over valid cells."""
    valid = values[np.isfinite(values)]
    if not valid.size:
        return {}
    found = {
        "MINIMUM": valid.min(), "MAXIMUM": valid.max(), "MEAN": valid.mean(dtype=np.float64),
        "STDDEV": valid.std(dtype=np.float64), "VALID_PERCENT": 100 * valid.size / values.size,
    }  # fmt: skip
    return {f"STATISTICS_{key}": f"{value:.9g}" for key, value in found.items()}


def _file_tags(dataset: xr.Dataset, tags: Mapping[str, str] | None) -> dict[str, str]:
    """Return what the file says of itself: no time of day, so the same input gives the same bytes."""
    wrong = [key for key in tags or {} if not key or any(mark in key for mark in ":= ")]
    if wrong:
        raise InputError(f"tags: the key {wrong[0]!r} holds ':', '=' or a space, which GeoTIFF does not keep")
    own = {str(k).upper(): v if isinstance(v, str) else json.dumps(v, default=str) for k, v in dataset.attrs.items()}
    own = {key: value for key, value in own.items() if not any(mark in key for mark in ":= ")}
    return {"TIFFTAG_SOFTWARE": f"geoprospect {__version__}", **own, **dict(tags or {})}


def _compare(file: Path, dataset: xr.Dataset, bands: list[str]) -> None:
    """Read a written file back; a full disk can leave one that opens and is not whole."""
    with rasterio.open(file) as source:
        if source.count != len(bands) or source.crs is None:
            raise CorruptFileError(f"{file.name}: read back with {source.count} bands instead of {len(bands)}")
        for index, name in enumerate(bands, start=1):
            if not np.array_equal(source.read(index), _values(dataset, name), equal_nan=True):
                raise CorruptFileError(f"{file.name}: band {name!r} does not read back as it was written")
