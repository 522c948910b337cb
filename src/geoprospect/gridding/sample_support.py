"""Distance to samples and their number around each cell, and a warning about cells that are too fine."""

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoprospect._checks import check_int, user_level
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.geochem.samples import Samples, median_gap
from geoprospect.grid import Grid

# Cells whose nearest sample is searched for at once: some 50 MB.
_CELLS = 2**20
# A warning is given where the sample spacing is more than this many cells.
_FINER = 10
# The spacing of fewer locations is not meaningful.
_FEWEST = 10


def support(samples: Samples, grid: Grid, window: int | None = None) -> xr.Dataset:
    """Map how well the samples support each cell of a grid.

    A gridded value far from every sample is a guess; these bands show where, and serve as a mask,
    for example ``survey.where(gp.support(samples, grid).distance < 5000)``.

    Parameters
    ----------
    samples : Samples
        Only those with a value of at least one element count. Points in degrees are projected onto
        the CRS of the grid first.
    grid : Grid
        Must be in a projected CRS, because distances are metric.
    window : int, optional
        Width and height, in cells, of the square in which samples are counted. It begins
        ``window // 2`` cells north and west of the cell: the cell is in the middle of an odd
        window, and the south-eastern one of the four in the middle of an even one, as a point on
        the line between cells belongs to the southern and eastern one.

    Returns
    -------
    xarray.Dataset
        float32, dims (y, x): ``distance`` from the cell centre to the nearest sample, in CRS units;
        with `window` also ``n_samples``, the number of samples in the window, those beyond the edge
        of the grid included. Samples at one location are counted one by one.

    Raises
    ------
    CRSError
        When the grid is in degrees, or the samples have no coordinates in its CRS.
    InputError
        When `window` is not a positive whole number, or no sample with a value is on the grid.

    Examples
    --------
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[50, 50], [250, 50]], [[10.0], [30.0]], ("Cu",), ("ppm",), "EPSG:32649")
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 100), (1, 4))
    >>> support = gp.support(samples, grid, window=3)
    >>> support.distance.values
    array([[  0., 100.,   0., 100.]], dtype=float32)
    >>> support.n_samples.values
    array([[1., 2., 1., 1.]], dtype=float32)
    """
    with contextlib.suppress(ImportError):
        import rioxarray  # noqa: F401  (so that the bands have .rio; where rasterio is absent they have not)
    size = None if window is None else check_int("window", window)
    points = places_on(samples, grid)
    bands = {"distance": _distance(points, grid)}
    attrs = {"distance": {"units": grid.unit, "long_name": "distance to the nearest sample"}}
    if size is not None:
        bands["n_samples"] = _count(points, grid, size)
        attrs["n_samples"] = {"units": "samples", "long_name": f"samples within {size} x {size} cells"}
    return grid.dataset(bands, attrs)


def places_on(samples: Samples, grid: Grid) -> NDArray[np.float64]:
    """Return the locations (n, 2) of samples with a value, in the projected CRS of a grid.

    Raises
    ------
    CRSError, InputError
        As `support`.
    """
    if not isinstance(samples, Samples):
        raise InputError(f"samples: is a {type(samples).__name__}, needs Samples; read a table with read_samples(path)")
    if not grid.crs.is_projected:
        raise CRSError(
            f"grid: is in {grid.crs.name!r}, where distances are no lengths; take a projected CRS, "
            "for example Grid.covering(samples), which chooses one"
        )
    moved = samples if samples.crs == grid.crs else samples.to_crs(grid.crs)
    points = moved.points[~np.isnan(moved.values).all(axis=1)]
    if not grid.contains(*points.T).any():
        raise InputError("samples: none of those with a value lies on the grid; are both CRS right?")
    return points


@dataclass(frozen=True)
class Distances:
    """A lazy raster of distances to the nearest of some points; indexing computes a part."""

    points: NDArray[np.float64]
    grid: Grid
    dtype: ClassVar = np.dtype(np.float32)
    ndim: ClassVar = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.grid.shape

    def __getitem__(self, place: tuple[slice, slice]) -> NDArray[np.float32]:
        """Return the distances in a rectangle."""
        rows, cols = (range(*at.indices(length)) for at, length in zip(place, self.shape, strict=True))
        return _distance(self.points, self.grid.part(rows.start, cols.start, (len(rows), len(cols))))


def warn_if_finer(points: NDArray[np.float64], grid: Grid) -> None:
    """Warn where the sample spacing is more than ten cells.

    Call it from a public function: the warning points to the line that called that function.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
        Coordinates (x, y) of the samples in the CRS of the grid. The spacing is that of the locations
        on the grid; their neighbours may be beyond its edge. Fewer than ten locations on the grid give
        no warning.
    grid : Grid
        Its cell size is compared; of oblong cells, the longer side.

    Warns
    -----
    DataWarning
        With cell size, spacing, cells per sample, and the cell size that `Grid.covering` would
        choose: a quarter of the spacing, to two digits.
    """
    locations = np.unique(points, axis=0)
    on_grid = grid.contains(*locations.T)
    if on_grid.sum() < _FEWEST:
        return
    spacing, (dy, dx) = median_gap(locations, on_grid), grid.resolution
    if spacing <= _FINER * max(dy, dx):
        return
    per_sample, unit = math.prod(grid.shape) / on_grid.sum(), "m" if grid.unit == "metre" else grid.unit
    warnings.warn(
        f"grid: its cell size of {dy:.6g} x {dx:.6g} {unit} is 1/{spacing / max(dy, dx):.0f} of the sample spacing "
        f"({spacing:.6g} {unit}, the median distance to the nearest neighbour), so each sample informs about "
        f"{per_sample:,.0f} cells. Finer cells add no information; a quarter of the spacing, the default of "
        f"Grid.covering, is resolution={float(f'{spacing / 4:.1e}'):.15g}",
        DataWarning,
        stacklevel=user_level(),
    )


def _distance(points: NDArray[np.float64], grid: Grid) -> NDArray[np.float32]:
    """Return the distance from each cell centre to the nearest of the points, (Y, X)."""
    tree, (ny, nx) = cKDTree(points), grid.shape
    distance = np.empty(grid.shape, dtype=np.float32)
    step, width = max(1, _CELLS // nx), min(nx, _CELLS)
    for top in range(0, ny, step):
        for left in range(0, nx, width):
            rows, cols = np.arange(top, min(top + step, ny)), np.arange(left, min(left + width, nx))
            centres = np.stack(np.broadcast_arrays(*grid.xy(rows[:, None], cols)), axis=-1)
            distance[top : top + step, left : left + width] = tree.query(centres, workers=-1)[0]
    return distance


def _count(points: NDArray[np.float64], grid: Grid, size: int) -> NDArray[np.float32]:
    """Return the number of points in the window around each cell, (Y, X), from a summed-area table.

    The table has rows and columns only for those of the grid that hold a point within reach, so that neither a wide
    window nor a fine grid makes it large.
    """
    row, col = grid.rowcol(*points.T)
    first = [np.arange(n, dtype=np.int64) - size // 2 for n in grid.shape]
    reached = (row >= first[0][0]) & (row < first[0][-1] + size) & (col >= first[1][0]) & (col < first[1][-1] + size)
    (rows, i), (cols, j) = (np.unique(at[reached], return_inverse=True) for at in (row, col))
    total = np.zeros((len(rows) + 1, len(cols) + 1), dtype=np.int32)
    np.add.at(total, (i + 1, j + 1), 1)
    np.cumsum(total, axis=0, out=total)
    np.cumsum(total, axis=1, out=total)
    (top, bottom), (left, right) = (
        (np.searchsorted(held, at), np.searchsorted(held, at + size))
        for held, at in zip((rows, cols), first, strict=True)
    )
    strip = total[bottom] - total[top]
    return (strip[:, right] - strip[:, left]).astype(np.float32)
