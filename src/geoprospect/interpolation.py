"""From samples to element bands on a grid."""

from __future__ import annotations

import contextlib
import math
import os

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from geoprospect._checks import check_choice, check_int, check_number
from geoprospect._kernels.idw import idw_nearest
from geoprospect.errors import CRSError, InputError
from geoprospect.grid import Grid
from geoprospect.samples import Samples

# Rows that are filled between two steps of the progress bar; whole superblocks of the kernel.
_ROWS = 512


def interpolate(
    samples: Samples,
    grid: Grid,
    method: str = "idw",
    k: int = 12,
    power: float = 2.0,
    *,
    radius: float | None = None,
    min_samples: int = 1,
    progress: bool = False,
) -> xr.Dataset:
    """Interpolate every element onto the grid by inverse distance weighting.

    A cell takes the mean of the `k` nearest samples that have a value of the element,
    weighted by 1 / distance**power between sample and cell centre [1]_. Of samples at the same
    distance the one that stands first in the table is nearer. A sample on a cell centre gives its
    own value there; where several lie on it, their mean.

    Parameters
    ----------
    samples : Samples
        Points in degrees are projected onto the CRS of the grid first.
    grid : Grid
        Must be in a projected CRS, because distances are metric.
    method : {'idw'}, default 'idw'
        How to interpolate.
    k : int, default 12
        Number of nearest samples.
    power : float, default 2
        Exponent of the distance, more than 0.
    radius : float, optional
        Samples farther than this (CRS units of the grid) do not count. Default: all do, which
        carries values far beyond the samples.
    min_samples : int, default 1
        Cells with fewer samples that count are NaN.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        One float32 variable per element, dims (y, x), with ``units`` and ``long_name``. An element
        without any value is NaN everywhere.

    Raises
    ------
    CRSError
        When the grid is in degrees, or the samples have no place in its CRS.
    InputError
        When an argument is out of its range, or no sample lies on the grid.

    Notes
    -----
    Exact: the error against float64 arithmetic stays below 2e-6 of the weighted mean of absolute
    values. The bytes do not depend on the number of threads. The first call of a new installation
    compiles for some seconds; later ones find the result on the disk.

    References
    ----------
    .. [1] Shepard, D. (1968). A two-dimensional interpolation function for irregularly-spaced
       data. Proc. 23rd ACM National Conference, 517-524. https://doi.org/10.1145/800186.810616

    Examples
    --------
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[50, 50], [250, 50]], [[10.0], [30.0]], ("Cu",), ("ppm",), "EPSG:32649")
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 100), (1, 3))
    >>> gp.interpolate(samples, grid)["Cu"].values
    array([[10., 20., 30.]], dtype=float32)
    """
    with contextlib.suppress(ImportError):
        import rioxarray  # noqa: F401  (so that the survey has .rio; where rasterio is absent it has not)
    if not isinstance(samples, Samples):
        raise InputError(f"samples: is a {type(samples).__name__}, needs Samples; read a table with read_samples(path)")
    check_choice("method", method, ("idw",))
    k, power = check_int("k", k), check_number("power", power, above=0)
    min_samples = check_int("min_samples", min_samples)
    reach = math.inf if radius is None else check_number("radius", radius, above=0)
    if not grid.crs.is_projected:
        raise CRSError(
            f"grid: is in {grid.crs.name!r}, where distances are no lengths; take a projected CRS, "
            "for example Grid.covering(samples), which chooses one"
        )
    moved = samples if samples.crs == grid.crs else samples.to_crs(grid.crs)
    if not grid.contains(*moved.points.T).any():
        raise InputError("samples: none of them lies on the grid; are both CRS right?")
    _check_memory(len(samples.elements), grid)
    t = grid.transform
    bands = np.empty((len(samples.elements), *grid.shape), dtype=np.float32)
    with tqdm(total=grid.shape[0], desc="gridding", unit="row", disable=not progress) as bar:
        for top in range(0, grid.shape[0], _ROWS):
            part = bands[:, top : top + _ROWS]
            idw_nearest(
                moved.points, moved.values, (t.c, t.f), (t.a, t.e), k, power, part, (top, 0), reach, min_samples
            )
            bar.update(part.shape[1])
    return grid.dataset(
        dict(zip(samples.elements, bands, strict=True)),
        {e: {"units": u, "long_name": e} for e, u in zip(samples.elements, samples.units, strict=True)},
    )


def _check_memory(n_bands: int, grid: Grid) -> None:
    """Raise where the bands cannot lie in the memory of this machine; allocating might only kill the process later."""
    needed = 4 * n_bands * math.prod(grid.shape)
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return
    if needed > memory:
        raise InputError(
            f"grid: {grid} makes {needed / 2**30:,.0f} GiB of {n_bands} bands, this machine has "
            f"{memory / 2**30:,.0f}; take larger cells (a resolution is in {grid.unit}s, not degrees) or fewer elements"
        )
