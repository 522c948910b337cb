"""Readers of rasters and of vector layers as bands on a grid."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.features
import rasterio.warp
import rioxarray  # noqa: F401  (whoever reads or writes rasters finds .rio on every Dataset)
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geoprospect._checks import check_choice, check_crs, check_input_file
from geoprospect.errors import CorruptFileError, CRSError, InputError
from geoprospect.grid import Grid

_RESAMPLING = ("auto", "nearest", "bilinear", "cubic", "average", "mode")
_TIFF_SUFFIXES = (".tif", ".tiff")
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
    for name, path in named_files("paths", paths).items():
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
    """Read a GeoTIFF, COG or Zarr store as it lies: every band a variable on the grid of the file.

    Parameters
    ----------
    path : path-like
        A GeoTIFF, such as `write_cog` writes, or a Zarr store, such as `write_zarr` writes. One whose rows run from
        south to north is turned over.

    Returns
    -------
    xarray.Dataset
        float32 variables with dims (y, x), named by the descriptions of the bands ('band_1', …
        without), NaN where the file has nodata, with ``units`` and ``long_name``.

    Raises
    ------
    InputError
        When the file is no GeoTIFF or Zarr store, or two bands have one description.
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
    if os.path.isdir(path) and Path(path).suffix.lower() == ".zarr":  # noqa: PTH112
        return _read_store(Path(path))
    file = check_input_file("path", path)
    with open_geotiff(file, "path") as source:
        grid, flipped = as_it_lies(source)
        names = named_bands(source, "path", file)
        try:
            values = [
                _unpacked(source, i, source.read(i, out_dtype="float32", masked=True).filled(np.nan))
                for i in source.indexes
            ]
            values = [plane[::-1] if flipped else plane for plane in values]
        except rasterio.RasterioIOError as err:
            raise CorruptFileError(f"{file}: cannot be read ({err}); the file is damaged") from err
        attrs = {
            name: {"units": source.units[i] or "", "long_name": source.tags(i + 1).get("LONG_NAME", name)}
            for i, name in enumerate(names)
        }
    return grid.dataset(dict(zip(names, values, strict=True)), attrs)


def named_files(
    argument: str,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]],
) -> dict[str, str | os.PathLike[str]]:
    """Return files by name; without a name, by the stem of the file."""
    if isinstance(paths, Mapping):
        return {str(name): path for name, path in paths.items()}
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    named = {Path(path).stem: path for path in listed}
    if len(named) < len(listed):
        raise InputError(f"{argument}: two files have the same stem; name them: {{'a': 'one/x.tif', 'b': 'two/x.tif'}}")
    return named


def open_geotiff(file: Path, argument: str) -> rasterio.DatasetReader:
    """Open a GeoTIFF, and nothing else."""
    try:
        # A .tif may be a VRT that reads any other file; naming the driver refuses it.
        return rasterio.open(file, driver="GTiff")
    except rasterio.RasterioIOError as err:
        raise InputError(f"{argument}={str(file)!r}: cannot be read as a GeoTIFF ({err})") from err


def as_it_lies(source: rasterio.DatasetReader) -> tuple[Grid, bool]:
    """Return the grid of an open file, and whether it is mirrored and its rows are to be turned over."""
    t, (ny, nx) = source.transform, source.shape
    flipped = t.a * t.e - t.b * t.d > 0  # as where rows run from south to north
    if flipped:
        t = Affine(t.a, 0 - t.b, t.c + ny * t.b, t.d, -t.e, t.f + ny * t.e)
    return Grid(source.crs.to_wkt() if source.crs else None, t, (ny, nx)), flipped


def named_bands(source: rasterio.DatasetReader, argument: str, file: Path) -> list[str]:
    """Return the names of the bands of an open file: their descriptions."""
    names = [name or f"band_{i}" for i, name in enumerate(source.descriptions, start=1)]
    if len(set(names)) < len(names):
        raise InputError(f"{argument}={str(file)!r}: two bands have one description among {', '.join(names)}")
    return names


def _read_store(store: Path) -> xr.Dataset:
    """Read the bands of a Zarr store."""
    try:
        source = xr.open_zarr(store, decode_coords="all", chunks=None)
    except Exception as err:  # xarray and zarr raise many kinds
        raise InputError(f"path={str(store)!r}: cannot be read as a Zarr store ({err})") from err
    with source:
        grid = Grid.of(source)
        bands = {str(name): band for name, band in source.data_vars.items() if set(band.dims) == {"y", "x"}}
        try:
            values = {
                name: band.transpose("y", "x").to_numpy().astype(np.float32, copy=False) for name, band in bands.items()
            }
        except Exception as err:  # each codec has errors of its own
            raise CorruptFileError(f"{store}: cannot be read ({err}); the store is damaged") from err
    attrs = {
        name: {"units": str(band.attrs.get("units", "")), "long_name": str(band.attrs.get("long_name", name))}
        for name, band in bands.items()
    }
    return grid.dataset(values, attrs)


def _unpacked(source: rasterio.DatasetReader, index: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values in the units of the band, where a file stores them as multiples of a scale from an offset."""
    return values * np.float32(source.scales[index - 1]) + np.float32(source.offsets[index - 1])


def _read_raster(
    file: Path, name: str, grid: Grid, resampling: str, crs: Any
) -> dict[str, tuple[NDArray[np.float32], str]]:
    """Read every band of a GeoTIFF onto the grid."""
    with open_geotiff(file, "paths") as source:
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
            finer = (right - left) / grid.shape[1] > 2 * math.hypot(source.transform.a, source.transform.d)
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
