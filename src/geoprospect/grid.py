"""`Grid`: where the cells of a raster lie. One small immutable value, and how to choose it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Geod

from geoprospect._checks import check_crs, check_int, check_number, check_shape, first_rows
from geoprospect.errors import CRSError, InputError

log = logging.getLogger("geoprospect")

# A UTM zone is 6 degrees wide and distorts by 4e-4; twice as far out, by 4e-3.
_WIDEST_FOR_UTM = 12.0
_SHEAR = 0.02  # cosine of the angle between rows and columns, about a degree off
# Dims of a grid that is turned against its CRS, and the coordinates that number its cells.
_NUMBERED = (("y", "row"), ("x", "column"))


class HasGeometry(Protocol):
    """Anything with points and a CRS: `Samples`, a GeoDataFrame."""

    @property
    def geometry(self) -> gpd.GeoSeries:
        """The points."""
        ...


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the cells of a raster lie: CRS, transform and shape.

    Rows run from west to east and follow each other from north to south. A grid may also be turned against its CRS,
    as rasters along flight lines are: a model maps such a survey as it lies, all else wants it north up.

    Parameters
    ----------
    crs : pyproj.CRS or anything that it understands
        Coordinate reference system of the cells.
    transform : affine.Affine
        From (column, row) of a cell's north-west corner to (x, y), in CRS units.
    shape : tuple of int
        Rows and columns, (ny, nx).

    Raises
    ------
    CRSError
        When `crs` is missing or unknown.
    InputError
        When the transform is mirrored, as where rows run from south to north, sheared or not finite, or the shape is
        not positive.

    Examples
    --------
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (4, 6))
    >>> grid.bounds
    (500000.0, 2399600.0, 500600.0, 2400000.0)
    >>> grid.y
    array([2399950., 2399850., 2399750., 2399650.])
    """

    crs: CRS
    transform: Affine
    shape: tuple[int, int]

    if TYPE_CHECKING:  # what may be passed; the fields above say what is kept

        def __init__(self, crs: Any, transform: Affine, shape: int | tuple[int, int]) -> None: ...

    def __post_init__(self) -> None:
        """Normalise and check; a `Grid` that exists is a valid one."""
        object.__setattr__(self, "crs", check_crs("crs", self.crs))
        object.__setattr__(self, "shape", check_shape("shape", self.shape))
        t = self.transform
        if not isinstance(t, Affine):
            raise InputError(
                f"transform={t!r}: needs an affine.Affine; a GDAL tuple becomes one by Affine.from_gdal(*…)"
            )
        if not all(math.isfinite(v) for v in t[:6]) or not t.a * t.e - t.b * t.d < 0:
            raise InputError(
                f"transform={tuple(t[:6])}: needs a finite transform of rows from west to east and from north to "
                "south (a > 0, e < 0), or one that is turned from there; turn a raster over whose rows run from south "
                "to north, for example data[::-1]"
            )
        if abs(t.a * t.b + t.d * t.e) > _SHEAR * math.hypot(t.a, t.d) * math.hypot(t.b, t.e):
            raise InputError(
                f"transform={tuple(t[:6])}: needs rows and columns at right angles; bring a sheared raster onto a grid "
                "with read_bands(path, grid)"
            )
        # What programs write for none, after a rounding or two: no cell moves by a millionth of its size.
        if t.a > 0 > t.e and max(abs(t.b / t.a) * self.shape[0], abs(t.d / t.e) * self.shape[1]) < 1e-6:
            object.__setattr__(self, "transform", Affine(t.a, 0, t.c, 0, t.e, t.f))

    @classmethod
    def covering(
        cls,
        samples: HasGeometry,
        shape: int | tuple[int, int] | None = None,
        resolution: float | None = None,
        crs: Any = None,
        pad: float = 0.0,
    ) -> Self:
        """Choose a grid of square cells that covers all points.

        Parameters
        ----------
        samples : Samples or GeoDataFrame
            The points to cover.
        shape : int or tuple of int, optional
            Rows and columns (ny, nx). The cell size follows from the wider direction; the
            points lie in the middle of the other.
        resolution : float, optional
            Cell size in metres (units of `crs`). Edges lie on whole multiples of it. Without
            `shape` and `resolution` it is a quarter of the median distance between neighbouring
            points, to two digits.
        crs : optional
            CRS of the grid. Default: that of the points where it is projected; for points in
            degrees their UTM zone, or an equal-area projection about their centre where they
            spread over more than one zone or lie near a pole.
        pad : float, default 0
            Margin around the points, in units of `crs`.

        Returns
        -------
        Grid

        Raises
        ------
        InputError
            When both `shape` and `resolution` are given, or the points are too few to tell.
        CRSError
            When the points cross the antimeridian and no `crs` is given, or leave the area
            where `crs` is defined.

        Examples
        --------
        >>> import geopandas as gpd
        >>> import geoprospect as gp
        >>> points = gpd.GeoSeries.from_xy([109.8, 110.2], [21.8, 22.2], crs="EPSG:4326")
        >>> gp.Grid.covering(points, resolution=100)
        Grid(441 x 417 cells of 100 x 100 m, WGS 84 / UTM zone 49N)
        """
        if shape is not None and resolution is not None:
            raise InputError(f"shape={shape!r}, resolution={resolution!r}: give one of them, the other follows")
        pad = check_number("pad", pad, minimum=0)
        x, y, target = _projected(samples.geometry, crs)
        left, bottom, right, top = x.min() - pad, y.min() - pad, x.max() + pad, y.max() + pad
        width, height = right - left, top - bottom
        if shape is not None:
            ny, nx = check_shape("shape", shape)
            if max(width, height) <= 0:
                raise InputError("samples: all points coincide, so their extent gives no cell size; pass resolution=")
            # A hair wider than the points, more than rounding can take away, so that those on the rim fall inside.
            hair = 8 * float(np.spacing(max(abs(left), abs(right), abs(bottom), abs(top))))
            size = max((width + hair) / nx, (height + hair) / ny) * (1 + 1e-9)
            left, top = (left + right - nx * size) / 2, (bottom + top + ny * size) / 2
            return cls(target, Affine(size, 0, left, 0, -size, top), (ny, nx))
        size = _quarter_spacing(x, y) if resolution is None else check_number("resolution", resolution, above=0)
        if max(abs(left), abs(right), abs(bottom), abs(top)) >= 2**53 * size:
            raise InputError(f"resolution={size!r}: too fine to number the cells; pass a greater one")
        # The quotients are rounded: a point just outside the edge they give moves the edge by a cell.
        west, north = math.floor(left / size), math.ceil(top / size)
        west, north = west - (west * size > left), north + (north * size < top)
        # floor + 1, as in rowcol: a point on the east or south edge belongs to the next cell.
        nx = math.floor((right - west * size) / size) + 1
        ny = math.floor((bottom - north * size) / -size) + 1
        return cls(target, Affine(size, 0, west * size, 0, -size, north * size), (ny, nx))

    @classmethod
    def of(cls, data: xr.Dataset | xr.DataArray) -> Self:
        """Return the grid of georeferenced data with dims (y, x).

        Parameters
        ----------
        data : xarray.Dataset or xarray.DataArray
            With a CF grid mapping, as rioxarray and this library write it.

        Returns
        -------
        Grid

        Raises
        ------
        InputError
            When the dims are not (y, x), or the coordinates are not regular and north-up.
        CRSError
            When the data carry no CRS.
        """
        if not isinstance(data, (xr.Dataset, xr.DataArray)):
            raise InputError(
                f"data: is a {type(data).__name__}, needs an xarray Dataset; read a file with read_survey(path), or "
                "make one with interpolate(samples, grid)"
            )
        absent = [dim for dim in ("y", "x") if dim not in data.sizes]
        if absent:
            raise InputError(
                f"data: dims are {tuple(data.sizes)}, needs 'y' and 'x'; rename them, "
                "for example data.rename(lat='y', lon='x')"
            )
        mapping = _grid_mapping(data)
        crs, shape = _stored_crs(mapping), (data.sizes["y"], data.sizes["x"])
        # The stored transform is exact, but goes stale when the data are cut.
        if "GeoTransform" in mapping:
            grid = cls(crs, Affine.from_gdal(*map(float, str(mapping["GeoTransform"]).split())), shape)
            if not grid.north_up and not {"y", "x"} & set(data.coords):
                row, col = _corner_in(data, grid)
                return grid.part(row, col, shape)
            if grid.north_up and _follows(data, grid):
                return grid
        if any(data.sizes[dim] < 2 or dim not in data.coords for dim in ("y", "x")):
            raise InputError(
                "data: one row or column, or no coordinates, so the cell size is unknown; "
                "set it with data.rio.write_transform(…)"
            )
        (top, bottom), (left, right) = (data[dim].to_numpy()[[0, -1]].astype(np.float64) for dim in ("y", "x"))
        dy, dx = (bottom - top) / (shape[0] - 1), (right - left) / (shape[1] - 1)
        if np.isfinite([dx, dy]).all() and dx > 0 and dy < 0:
            grid = cls(crs, Affine(dx, 0, left - dx / 2, 0, dy, top - dy / 2), shape)
            if _follows(data, grid):
                return grid
        raise InputError(
            "data: the coordinates do not run in even steps, north up; "
            "bring the data onto a grid with data.rio.reproject(…)"
        )

    def __eq__(self, other: object) -> bool:
        """Same CRS, shape and, to a millionth of a cell, the same transform."""
        if not isinstance(other, Grid):
            return NotImplemented
        near = self.transform.almost_equals(other.transform, precision=1e-6 * min(self.resolution))
        return self.shape == other.shape and near and self.crs == other.crs

    def __hash__(self) -> int:
        """Hash of what equal grids share exactly."""
        return hash(self.shape)

    def __repr__(self) -> str:
        """Size, cell size and the name of the CRS."""
        (ny, nx), (dy, dx) = self.shape, self.resolution
        unit = {"metre": "m", "degree": "°"}.get(self.unit, self.unit)
        towards = math.degrees(math.atan2(self.transform.d, self.transform.a))
        turned = "" if self.north_up else f", turned by {towards:.6g}°"
        return f"Grid({ny} x {nx} cells of {dy:.6g} x {dx:.6g} {unit}, {self.crs.name}{turned})"

    @property
    def north_up(self) -> bool:
        """Whether rows run from west to east and columns from north to south, along the axes of the CRS."""
        t = self.transform
        return bool(t.b == t.d == 0 and t.a > 0)

    @property
    def resolution(self) -> tuple[float, float]:
        """Cell size (dy, dx), positive, in units of the CRS."""
        t = self.transform
        return (-t.e, t.a) if self.north_up else (math.hypot(t.b, t.e), math.hypot(t.a, t.d))

    @property
    def cell_area(self) -> float:
        """Area of a cell, in squared units of the CRS."""
        t = self.transform
        return abs(t.a * t.e - t.b * t.d)

    @property
    def unit(self) -> str:
        """Name of the unit of the CRS, for example 'metre'."""
        return str(self.crs.axis_info[0].unit_name) if self.crs.axis_info else "unknown"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges (left, bottom, right, top) of a grid that is north up."""
        check_north_up(self)
        t, (ny, nx) = self.transform, self.shape
        return t.c, t.f + ny * t.e, t.c + nx * t.a, t.f

    @property
    def x(self) -> NDArray[np.float64]:
        """Cell centres from west to east, shape (nx,), of a grid that is north up."""
        check_north_up(self)
        return self.transform.c + self.transform.a * (np.arange(self.shape[1], dtype=np.float64) + 0.5)

    @property
    def y(self) -> NDArray[np.float64]:
        """Cell centres from north to south, shape (ny,), of a grid that is north up."""
        check_north_up(self)
        return self.transform.f + self.transform.e * (np.arange(self.shape[0], dtype=np.float64) + 0.5)

    def xy(self, row: ArrayLike, col: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the centres of cells.

        Parameters
        ----------
        row, col : array_like of int
            Of the cells; they may lie outside the grid.

        Returns
        -------
        x, y : ndarray of float
            In the CRS of the grid, of the shape to which both broadcast.
        """
        t, down, right = self.transform, np.asarray(row) + 0.5, np.asarray(col) + 0.5
        return t.c + t.a * right + t.b * down, t.f + t.e * down + t.d * right

    def _place(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the row and column of the cells that hold the points, as floats."""
        t = self.transform
        east, south = np.asarray(x, dtype=np.float64) - t.c, np.asarray(y, dtype=np.float64) - t.f
        if self.north_up:
            return np.floor(south / t.e), np.floor(east / t.a)
        det = t.a * t.e - t.b * t.d
        return np.floor((t.a * south - t.d * east) / det), np.floor((t.e * east - t.b * south) / det)

    def rowcol(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the row and column of the cells that hold the points; outside the grid too.

        A point on the line between two cells belongs to the southern or eastern one.

        Parameters
        ----------
        x, y : array_like
            Coordinates in the CRS of the grid, finite.

        Returns
        -------
        row, col : ndarray of int
            Negative, or beyond `shape`, outside the grid.
        """
        row, col = self._place(x, y)
        # NaN, or further out than integers reach: a cast would give an arbitrary cell.
        if not (np.all(np.abs(row) < 2**62) and np.all(np.abs(col) < 2**62)):
            raise InputError("x, y: need finite coordinates; leave points without a place out")
        return row.astype(np.int64), col.astype(np.int64)

    def contains(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
        """Return which points lie in a cell of the grid; one without finite coordinates does not.

        Parameters
        ----------
        x, y : array_like
            Coordinates in the CRS of the grid.

        Returns
        -------
        ndarray of bool
        """
        row, col = self._place(x, y)
        inside: NDArray[np.bool_] = (row >= 0) & (row < self.shape[0]) & (col >= 0) & (col < self.shape[1])
        return inside

    def points(self, geometry: gpd.GeoSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the coordinates of point geometries in the CRS of the grid.

        Parameters
        ----------
        geometry : GeoSeries
            Points with a CRS.

        Returns
        -------
        x, y : ndarray of float

        Raises
        ------
        CRSError
            When they carry no CRS, or have no place in that of the grid.
        """
        moved = _to_crs(geometry, self.crs)
        return moved.x.to_numpy(), moved.y.to_numpy()

    def cells(self, rows: int, cols: int) -> gpd.GeoDataFrame:
        """Cut the grid into rows x cols rectangles, numbered row by row from the north-west, from 1.

        Where the grid does not divide evenly, rectangles differ by one raster cell.

        Parameters
        ----------
        rows, cols : int
            Number of rectangles down and across.

        Returns
        -------
        GeoDataFrame
            Columns ``cell`` (1 … rows*cols), ``row`` and ``col`` (of the north-west raster
            cell), ``height`` and ``width`` (in raster cells) and the rectangle.

        Examples
        --------
        >>> from affine import Affine
        >>> import geoprospect as gp
        >>> grid = gp.Grid("EPSG:32649", Affine(10, 0, 0, 0, -10, 0), (3072, 3072))
        >>> grid.cells(12, 12).loc[[0, 11, 12], ["cell", "row", "col", "height"]]
            cell  row   col  height
        0      1    0     0     256
        11    12    0  2816     256
        12    13  256     0     256
        """
        rows, cols = check_int("rows", rows), check_int("cols", cols)
        if rows > self.shape[0] or cols > self.shape[1]:
            raise InputError(f"rows={rows}, cols={cols}: the grid has only {self.shape[0]} x {self.shape[1]} cells")
        row_edges = np.arange(rows + 1) * self.shape[0] // rows
        col_edges = np.arange(cols + 1) * self.shape[1] // cols
        row, col = (a.ravel() for a in np.meshgrid(row_edges[:-1], col_edges[:-1], indexing="ij"))
        height, width = (a.ravel() for a in np.meshgrid(np.diff(row_edges), np.diff(col_edges), indexing="ij"))
        frame = {"cell": np.arange(1, rows * cols + 1), "row": row, "col": col, "height": height, "width": width}
        return gpd.GeoDataFrame(frame, geometry=self.boxes(row, col, height, width), crs=self.crs)

    def boxes(self, row: ArrayLike, col: ArrayLike, height: ArrayLike, width: ArrayLike) -> NDArray[np.object_]:
        """Return the rectangles of blocks of cells as polygons.

        Parameters
        ----------
        row, col : array_like of int
            North-west cell of each block.
        height, width : array_like of int
            Size of each block in cells.

        Returns
        -------
        ndarray of shapely.Polygon
        """
        row, col, height, width = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (row, col, height, width)))
        t = self.transform
        if self.north_up:
            left, top = t.c + t.a * col, t.f + t.e * row
            right, bottom = left + t.a * width, top + t.e * height
            polygons: NDArray[np.object_] = np.atleast_1d(shapely.box(left, bottom, right, top))
            return polygons
        across = np.stack([col, col + width, col + width, col], axis=-1)  # of the four corners
        down = np.stack([row, row, row + height, row + height], axis=-1)
        places = np.stack([t.c + t.a * across + t.b * down, t.f + t.d * across + t.e * down], axis=-1)
        turned: NDArray[np.object_] = np.atleast_1d(shapely.polygons(places))
        return turned

    def strided(self, window: int, stride: int) -> Self:
        """Return the grid of the centres of windows of `window` cells placed every `stride` cells.

        Each output cell is `stride` cells wide and lies about the centre of its window:
        ``T · translation(window/2 - stride/2, window/2 - stride/2) · scale(stride)``.

        Parameters
        ----------
        window, stride : int
            In cells of this grid.

        Returns
        -------
        Grid

        Raises
        ------
        InputError
            When the window is larger than the grid.
        """
        window, stride = check_int("window", window), check_int("stride", stride)
        if window > min(self.shape):
            raise InputError(
                f"window={window}: the grid has only {self.shape[0]} x {self.shape[1]} cells; "
                "take smaller windows or a finer grid"
            )
        shift = window / 2 - stride / 2
        t = self.transform
        transform = Affine(
            t.a * stride, t.b * stride, t.c + t.a * shift + t.b * shift,
            t.d * stride, t.e * stride, t.f + t.e * shift + t.d * shift,
        )  # fmt: skip
        ny, nx = ((n - window) // stride + 1 for n in self.shape)
        return type(self)(self.crs, transform, (ny, nx))

    def part(self, row: int, col: int, shape: int | tuple[int, int]) -> Self:
        """Return the grid of a rectangle of cells, which may reach beyond this one.

        Parameters
        ----------
        row, col : int
            North-west cell; negative to the north and west of this grid.
        shape : int or tuple of int
            Rows and columns.

        Returns
        -------
        Grid

        Raises
        ------
        InputError
            When the shape is not of positive whole numbers.
        """
        t = self.transform
        corner = t.c + t.a * col + t.b * row, t.f + t.e * row + t.d * col
        return type(self)(self.crs, Affine(t.a, t.b, corner[0], t.d, t.e, corner[1]), shape)

    def dataset(
        self,
        bands: Mapping[str, NDArray[Any]],
        attrs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> xr.Dataset:
        """Wrap arrays of shape (ny, nx) as a georeferenced Dataset.

        Parameters
        ----------
        bands : mapping of str to ndarray
            One array of shape (ny, nx) per variable.
        attrs : mapping of str to mapping, optional
            Attributes per variable, such as ``units`` and ``long_name``.

        Returns
        -------
        xarray.Dataset
            Dims (y, x), coordinates at cell centres, CRS in ``spatial_ref``. Of a grid that is turned the coordinates
            are ``row`` and ``column``, the numbers of the cells.
        """
        named = ("x", "y") if self.north_up else ("row", "column", "x", "y")
        taken = [name for name in bands if name in (*named, "spatial_ref")]
        if taken:
            raise InputError(f"bands: {taken[0]!r} is the name of a coordinate; rename the band")
        for name, values in bands.items():
            if values.shape != self.shape:
                raise InputError(f"bands[{name!r}]: has shape {values.shape}, the grid has {self.shape}")
        variables = {name: (("y", "x"), values, dict((attrs or {}).get(name, {}))) for name, values in bands.items()}
        t = self.transform
        # The grid mapping of the CF conventions, with GDAL's transform, as rioxarray and GDAL read it. Not
        # written through rioxarray, which loads rasterio: training in memory needs neither.
        mapping = {
            **self.crs.to_cf(),
            "spatial_ref": self.crs.to_wkt(),
            "GeoTransform": " ".join(map(repr, t.to_gdal())),
        }
        coords: dict[str, Any] = {"spatial_ref": ((), 0, mapping)}
        if self.north_up:
            axes = {axis["axis"].lower(): axis for axis in self.crs.cs_to_cf() if "axis" in axis}
            coords = {"y": ("y", self.y, axes.get("y", {})), "x": ("x", self.x, axes.get("x", {})), **coords}
        else:  # so that a part of the data tells where it was cut out
            numbers = {name: (dim, np.arange(n)) for (dim, name), n in zip(_NUMBERED, self.shape, strict=True)}
            coords = numbers | coords
        data = xr.Dataset(variables, coords=coords)
        for name in bands:
            data[name].encoding["grid_mapping"] = "spatial_ref"
            if np.issubdtype(data[name].dtype, np.floating):
                data[name].encoding["_FillValue"] = np.nan
        return data


def check_north_up(grid: Grid, argument: str | None = None) -> None:
    """Raise where a grid is turned against its CRS."""
    if not grid.north_up:
        what = f"{argument}: lies on" if argument else "the raster lies on"
        raise InputError(
            f"{what} {grid!r}, turned against its CRS, and this is for grids that are north up; bring a file onto one "
            "with read_bands(path, grid), and write what is in memory with write_cog first"
        )


def grid_of_survey(survey: Any, others: str = "", *, turned: bool = False) -> Grid:
    """Return the grid of what was passed as `survey`, or raise with that name where it is no Dataset.

    `others` is a further cure where it is a path; `turned` says that the grid need not be north up.
    """
    if isinstance(survey, xr.Dataset):
        grid = Grid.of(survey)
        if not turned:
            check_north_up(grid, "survey")
        return grid
    what = f"survey={str(survey)!r}" if isinstance(survey, (str, os.PathLike)) else "survey"
    cure = f"read a file with read_survey(path){others}, or make one with interpolate(samples, grid)"
    if isinstance(survey, xr.DataArray):
        cure = "a single band is survey[['Cu']], with two pairs of brackets"
    raise InputError(f"{what}: is a {type(survey).__name__}, needs an xarray Dataset; {cure}")


def _grid_mapping(data: xr.Dataset | xr.DataArray) -> dict[str, Any]:
    """Return the attributes of the CF grid mapping of the data."""
    variables = data.variables if isinstance(data, xr.Dataset) else dict(data.coords) | {"": data}
    named = [v.encoding.get("grid_mapping", v.attrs.get("grid_mapping")) for v in variables.values()]
    for name in (*filter(None, named), "spatial_ref"):
        if name in variables:
            return dict(variables[name].attrs)
    return {}


def _stored_crs(mapping: dict[str, Any]) -> CRS:
    """Return the CRS of a grid mapping."""
    text = mapping.get("crs_wkt", mapping.get("spatial_ref"))
    if text is None and "grid_mapping_name" not in mapping:
        raise CRSError("data: carries no CRS; set one with data.rio.write_crs('EPSG:…')")
    return check_crs("data", text) if text is not None else CRS.from_cf(mapping)


def _corner_in(data: xr.Dataset | xr.DataArray, grid: Grid) -> tuple[int, int]:
    """Return the first row and column of data in a turned grid: by the numbers of cells, or the places of rioxarray."""
    numbered, first = [name in data.coords for _, name in _NUMBERED], [0, 0]
    for place, (dim, name) in enumerate(_NUMBERED):
        numbers = data[name].to_numpy() if numbered[place] else np.empty(0)
        first[place] = int(numbers.flat[0]) if numbers.size else 0
        whole = numbers.dtype.kind in "iu" and np.array_equal(numbers, first[place] + np.arange(data.sizes[dim]))
        if any(numbered) and not whole:  # the mean of several is not
            raise InputError(
                f"data: the grid is turned against its CRS, and the coordinate {name!r} does not number its cells one "
                "by one, so their place is unknown; take every cell, in order, and join no parts"
            )
    if all(name in data.coords and data[name].dims == ("y", "x") for name in ("xc", "yc")):
        corners = data[["xc", "yc"]] if isinstance(data, xr.Dataset) else data.coords.to_dataset()
        corners = corners.isel(y=[0, -1], x=[0, -1])
        at = np.stack([corners["xc"].to_numpy(), corners["yc"].to_numpy()])
        row, col = grid.rowcol(*at[:, 0, 0])
        first = [int(row), int(col)]
        last = np.array(grid.shape) - 1
        found = np.stack(grid.xy(first[0] + np.array([[0], [last[0]]]), first[1] + np.array([0, last[1]])))
        if np.abs(found - at).max() > 1e-3 * min(grid.resolution):
            raise InputError(
                "data: the grid is turned against its CRS, and the coordinates 'xc' and 'yc' do not run along its "
                "cells; take every cell, in order"
            )
    return first[0], first[1]


def _follows(data: xr.Dataset | xr.DataArray, grid: Grid) -> bool:
    """Return whether the coordinates, where there are any, run along the cell centres of the grid."""
    atol = 1e-3 * min(grid.resolution)
    return all(
        dim not in data.coords or np.allclose(data[dim].to_numpy(), centres, rtol=0, atol=atol)
        for dim, centres in (("y", grid.y), ("x", grid.x))
    )


def _to_crs(geometry: gpd.GeoSeries, crs: CRS) -> gpd.GeoSeries:
    """Project points; a wrong CRS gives infinite coordinates, not an error, so look."""
    if geometry.crs is None:
        raise CRSError("geometry: carries no CRS, and one is never guessed; set it with .set_crs('EPSG:…')")
    _check_points(geometry)
    moved = geometry.to_crs(crs)
    finite = np.isfinite(moved.x) & np.isfinite(moved.y)
    if not finite.all():
        first = geometry[~finite].iloc[0]
        raise CRSError(
            f"geometry: {int((~finite).sum())} of {len(moved)} points, the first {first.wkt}, have no place "
            f"in {crs.name!r}; is their CRS ({geometry.crs.name!r}) right, or are x and y swapped?"
        )
    return moved


def _check_points(geometry: gpd.GeoSeries) -> None:
    """Raise where a geometry is no point, or a point without a place."""
    kinds = set(geometry.geom_type.dropna()) - {"Point"}
    if kinds:
        raise InputError(f"geometry: is {', '.join(sorted(kinds))}, needs points; take .representative_point()")
    placeless = ~np.isfinite(geometry.x.to_numpy() + geometry.y.to_numpy())
    if placeless.any():
        raise InputError(
            f"geometry: {int(placeless.sum())} of {len(geometry)} points are missing, empty or infinite "
            f"(row {first_rows(np.flatnonzero(placeless) + 1)}); leave them out"
        )


def _projected(geometry: gpd.GeoSeries, crs: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], CRS]:
    """Return x, y and the CRS of points, in `crs` or in a projected one chosen for them."""
    if len(geometry) == 0:
        raise InputError("samples: there are no points to cover")
    if geometry.crs is None:
        raise CRSError("samples: carry no CRS, and one is never guessed; set it with .set_crs('EPSG:…')")
    _check_points(geometry)
    if crs is not None:
        target = check_crs("crs", crs)
    elif geometry.crs.is_geographic:
        target = _metric_crs(geometry)
        log.info("the points are in degrees; their grid is in %s", target.name)
    else:
        target = CRS(geometry.crs)
    moved = _to_crs(geometry, target)
    return moved.x.to_numpy(), moved.y.to_numpy(), target


def _metric_crs(geometry: gpd.GeoSeries) -> CRS:
    """Choose a projection in metres for points in degrees."""
    west, south, east, north = geometry.to_crs("EPSG:4326").total_bounds
    if east - west > 180:
        raise CRSError(
            f"samples: their longitudes run from {west:.3f} to {east:.3f}: a survey across the antimeridian, "
            "or a wrong coordinate; pass crs= with a projection made for the area"
        )
    # Some tables count longitudes from 0 to 360.
    lon, lat = ((west + east) / 2 + 180) % 360 - 180, (south + north) / 2
    if east - west <= _WIDEST_FOR_UTM and south > -80 and north < 84:
        return CRS(gpd.GeoSeries.from_xy([lon], [lat], crs="EPSG:4326").estimate_utm_crs())
    definition = f"+proj=laea +lat_0={lat:.2f} +lon_0={lon:.2f} +datum=WGS84 +units=m +type=crs"
    named = CRS(definition).to_json_dict() | {"name": f"WGS 84 / Equal area about {lon:.2f} E {lat:.2f} N"}
    return CRS.from_json_dict(named)


def _quarter_spacing(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return a quarter of the median distance between neighbouring points, to two digits."""
    from scipy.spatial import cKDTree

    places = np.unique(np.column_stack([x, y]), axis=0)
    if len(places) < 2:
        raise InputError("samples: fewer than two places, so their spacing gives no cell size; pass resolution=")
    distance, _ = cKDTree(places).query(places, k=2)
    size = float(f"{np.median(distance[:, 1]) / 4:.1e}")
    log.info("cells of %g: a quarter of the median distance between neighbouring samples", size)
    return size


def unit_km(crs: CRS) -> float:
    """Return the length of one unit of a projected CRS in km."""
    return float(crs.axis_info[0].unit_conversion_factor) / 1000


def cell_areas(grid: Grid) -> NDArray[np.float64]:
    """Return the area of the cells of each row in km², (Y, 1)."""
    if not grid.crs.is_geographic:
        return np.full((grid.shape[0], 1), grid.cell_area * unit_km(grid.crs) ** 2)
    dy, dx = grid.resolution
    to_radians = float(grid.crs.axis_info[0].unit_conversion_factor)
    edges = np.clip(grid.bounds[3] - dy * np.arange(grid.shape[0] + 1), -np.pi / 2 / to_radians, np.pi / 2 / to_radians)
    geod = ellipsoid(grid.crs)
    zone: NDArray[np.float64] = -np.diff(_authalic(np.sin(edges * to_radians), math.sqrt(geod.es)))
    return (geod.a / 1000) ** 2 / 2 * dx * to_radians * zone[:, None]


def ellipsoid(crs: CRS) -> Geod:
    """Return the ellipsoid of a CRS, to measure on."""
    geod = crs.get_geod()
    if geod is None:
        raise CRSError(f"crs={crs.name!r}: has no ellipsoid, so there are no areas; bring the map into a projected CRS")
    return geod


def _authalic(sine: NDArray[np.float64], e: float) -> NDArray[np.float64]:
    """Return what the area between equator and latitude grows with: 2 sin(latitude) on a sphere."""
    if e < 1e-9:
        return 2 * sine
    return (1 - e**2) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e)
