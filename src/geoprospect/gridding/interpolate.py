"""From samples to element bands on a grid."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm.auto import tqdm

from geoprospect._checks import check_choice, check_int, check_number
from geoprospect.errors import CRSError, InputError
from geoprospect.geochem.samples import Samples
from geoprospect.grid import Grid, check_north_up
from geoprospect.gridding._idw_all import idw_all
from geoprospect.gridding._idw_nearest import idw_nearest
from geoprospect.gridding.sample_support import warn_if_finer
from geoprospect.gridding.surfaces import METHODS as SURFACES
from geoprospect.gridding.surfaces import Surface, check_size, fit_surface

METHODS = ("idw", "idw-direct", "nearest", *SURFACES)
# Cells that a surface is asked for at once; bounds what its library holds beside the result.
_CELLS = 2**18


def interpolate(
    samples: Samples,
    grid: Grid,
    method: str = "idw",
    k: int | None = 12,
    power: float = 2.0,
    *,
    radius: float | None = None,
    min_samples: int = 1,
    variogram: str = "spherical",
    damping: float | None = None,
    chunks: int | tuple[int, int] | str | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Interpolate every element onto the grid.

    By default by inverse distance weighting: a cell takes the mean of the `k` nearest samples that
    have a value of the element, weighted by 1 / distance**power between sample and cell centre
    [1]_. Of samples at the same distance the one that stands first in the table is nearer. A
    sample on a cell centre gives its own value there; where several of the `k` lie on it, their
    mean.

    Parameters
    ----------
    samples : Samples
        Points in degrees are projected onto the CRS of the grid first.
    grid : Grid
        Must be in a projected CRS, because distances are metric.
    method : str, default 'idw'
        - 'idw': inverse distance weighting;
        - 'idw-direct': the same from all samples, whatever `k`, each summed at every cell in float64:
          slow, and what the error of the fast sums is measured against;
        - 'nearest': the value of the nearest sample;
        - 'linear', 'cubic': plane or smooth triangles between the samples, NaN outside of their hull;
        - 'kriging': ordinary kriging from the `k` nearest samples, with its variance as a second
          variable ``<element>_variance``;
        - 'spline': the surface of least bending.

        `validate_gridding` tells which of them suits the samples.
    k : int or None, default 12
        Number of nearest samples for 'idw' and 'kriging'. None takes all samples ('idw').
    power : float, default 2
        Exponent of the distance, more than 0.
    radius : float, optional
        Samples farther than this (CRS units of the grid) do not count ('idw', 'nearest'). Default:
        all do, which carries values far beyond the samples.
    min_samples : int, default 1
        Cells with fewer samples that count are NaN ('idw', 'nearest').
    variogram : {'spherical', 'exponential', 'gaussian'}, default 'spherical'
        Model that is fitted to the variogram of each element ('kriging').
    damping : float, optional
        How much a spline may pass beside its samples to be smoother; default: not at all.
    chunks : int, tuple of int or 'auto', optional
        Height and width, in cells, of the chunks of a lazy result: nothing is computed before it is
        asked for, on whatever scheduler dask uses then. For grids larger than memory, written
        with `write_cog` or `write_zarr`.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        One float32 variable per element, dims (y, x), with ``units`` and ``long_name``; backed by
        dask where `chunks` is given. An element without any value is NaN everywhere. Where values
        were below detection, ``censored_fraction`` in the attributes is their share in the samples.

    Raises
    ------
    CRSError
        When the grid is in degrees, or the samples have no place in its CRS.
    InputError
        When an argument is out of its range, no sample lies on the grid, the grid is larger than
        memory and `chunks` is not given, or a method is not practical for its size.

    Warns
    -----
    DataWarning
        When cells are more than ten times finer than the samples lie apart.

    Notes
    -----
    The error of inverse distance weighting against float64 arithmetic stays below 2e-6 of the
    weighted mean of absolute values: the `k` nearest are exact, and with ``k=None`` far samples
    are summed at Chebyshev nodes, up to power 4. Where the nearest values are 0, it may be 1e-30 of
    the greatest value. No mean leaves the range of the values of its element. The bytes depend
    neither on the number of threads nor on `chunks`. The first call of a new installation compiles
    for up to half a minute; later ones find the result on the disk.

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
    gridder = _gridder(samples, grid, method, k, power, radius, min_samples, variogram, damping)
    warn_if_finer(gridder.points, grid)
    names, attrs = _describe(samples, method)
    if chunks is not None:
        stack = _lazy(gridder, grid, len(names), chunks)
    else:
        _check_memory(len(names), grid)
        with tqdm(
            total=math.prod(grid.shape), desc="gridding", unit="cell", unit_scale=True, disable=not progress
        ) as bar:
            stack = gridder.fill((0, 0), grid.shape, None, bar.update)
    return grid.dataset(dict(zip(names, stack, strict=True)), attrs)


@dataclass(frozen=True, eq=False)
class _Gridder:
    """Samples in the CRS of a grid, its geometry, and how to fill any part of it; goes to the workers of a cluster."""

    points: NDArray[np.float64]  # (N, 2)
    values: NDArray[np.float64]  # (N, C)
    origin: tuple[float, float]
    step: tuple[float, float]
    method: str
    k: int | None
    power: float
    radius: float
    min_samples: int
    surface: Surface | None

    def fill(
        self, first: tuple[int, int], shape: tuple[int, int], threads: int | None, done: Callable[[int], object]
    ) -> NDArray[np.float32]:
        """Return the bands (B, *shape) of the part of the grid from cell `first` on."""
        if self.surface is not None:
            return self._ask(self.surface, first, shape, done)
        out = np.empty((self.values.shape[1], *shape), dtype=np.float32)
        args = (self.points, self.values, self.origin, self.step)
        # With a radius few of all samples count, and those are what the search for the nearest is made for.
        if self.k is None and self.radius == math.inf:
            direct = self.method == "idw-direct"
            idw_all(*args, self.power, out, first, self.min_samples, direct, threads, done)
        else:
            k = self.k or len(self.points)
            idw_nearest(*args, k, self.power, out, first, self.radius, self.min_samples, threads, done)
        return out

    def _ask(
        self, surface: Surface, first: tuple[int, int], shape: tuple[int, int], done: Callable[[int], object]
    ) -> NDArray[np.float32]:
        """Ask a surface for its height, and its variance if it has one, at the cell centres."""
        (west, north), (dx, dy), (ny, nx) = self.origin, self.step, shape
        x = west + dx * (first[1] + np.arange(nx) + 0.5)
        y = north + dy * (first[0] + np.arange(ny) + 0.5)
        n_bands = self.values.shape[1] * (2 if self.method == "kriging" else 1)
        out, rows = np.empty((n_bands, ny, nx), dtype=np.float32), max(1, _CELLS // nx)
        for top in range(0, ny, rows):
            at = np.stack(np.meshgrid(x, y[top : top + rows]), axis=-1)  # (rows, nx, 2)
            mean, variance = surface.evaluate(at.reshape(-1, 2))
            both = mean if variance is None else np.concatenate([mean, variance])
            out[:, top : top + rows] = both.reshape(n_bands, *at.shape[:2])
            done(at.shape[0] * nx)
        return out


def _gridder(
    samples: Samples, grid: Grid, method: str, k: int | None, power: float, radius: float | None, min_samples: int,
    variogram: str, damping: float | None,
) -> _Gridder:  # fmt: skip
    """Check the arguments of `interpolate`, bring the samples into the CRS of the grid, fit a surface where one is."""
    if not isinstance(samples, Samples):
        raise InputError(f"samples: is a {type(samples).__name__}, needs Samples; read a table with read_samples(path)")
    check_choice("method", method, METHODS)
    k, power = None if k is None else check_int("k", k), check_number("power", power, above=0)
    min_samples = check_int("min_samples", min_samples)
    reach = math.inf if radius is None else check_number("radius", radius, above=0)
    if method == "idw-direct":
        k = None
        if radius is not None:
            raise InputError(f"method='idw-direct', radius={radius!r}: sums all samples; pass method='idw', k=None")
    if method == "kriging" and k is None:
        raise InputError("k=None: kriging works from the nearest samples; pass their number, for example k=12")
    most = 1 if method == "nearest" else k
    if most is not None and min_samples > most and method not in SURFACES:
        raise InputError(
            f"min_samples={min_samples}: a cell takes only {most} samples (k), so none would have a value; pass a "
            "greater k or a smaller min_samples"
        )
    if method in SURFACES and (radius is not None or min_samples > 1):
        raise InputError(
            f"radius={radius!r}, min_samples={min_samples}: belong to 'idw' and 'nearest', not to {method!r}; "
            "mask its result by gp.support(samples, grid).distance"
        )
    if not grid.crs.is_projected:
        raise CRSError(
            f"grid: is in {grid.crs.name!r}, where distances are no lengths; take a projected CRS, "
            "for example Grid.covering(samples), which chooses one"
        )
    check_north_up(grid, "grid")
    moved = samples if samples.crs == grid.crs else samples.to_crs(grid.crs)
    if not grid.contains(*moved.points.T).any():
        raise InputError("samples: none of them lies on the grid; are both CRS right?")
    surface = None
    if method in SURFACES:
        check_size(method, len(samples), math.prod(grid.shape), len(samples.elements), k or 1)
        surface = fit_surface(
            method,
            moved.points,
            moved.values,
            k=k or 1,
            variogram=variogram,
            damping=damping,
            elements=samples.elements,
        )
    t = grid.transform
    return _Gridder(
        moved.points, moved.values, (t.c, t.f), (t.a, t.e), method, 1 if method == "nearest" else k, power, reach,
        min_samples, surface,
    )  # fmt: skip


def _describe(samples: Samples, method: str) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the names of the bands and what they say of themselves."""
    attrs: dict[str, dict[str, Any]] = {
        e: {"units": u, "long_name": e} for e, u in zip(samples.elements, samples.units, strict=True)
    }
    censored, present = samples.censored, samples.censored | ~np.isnan(samples.values)
    for at in np.flatnonzero(censored.any(axis=0)).tolist():
        share = float(censored[:, at].sum() / present[:, at].sum())
        attrs[samples.elements[at]]["censored_fraction"] = round(share, 4)
    if method == "kriging":
        for element, unit in zip(samples.elements, samples.units, strict=True):
            name = f"{element}_variance"
            if name in attrs:
                raise InputError(f"samples: {name!r} is the name of an element, and of the kriging variance; rename it")
            attrs[name] = {"units": f"({unit})²" if unit else "", "long_name": f"kriging variance of {element}"}
    return list(attrs), attrs


def _lazy(gridder: _Gridder, grid: Grid, n_bands: int, chunks: int | tuple[int, int] | str) -> Any:
    """Return a dask array (B, Y, X) whose chunks are filled when they are asked for.

    One task fills all bands of a chunk, in one thread, because dask has threads of its own.
    """
    import dask.array
    from dask.base import tokenize
    from dask.delayed import delayed

    try:
        rows, cols = dask.array.core.normalize_chunks(chunks, grid.shape, dtype=np.dtype(f"V{4 * n_bands}"))
        if not all(isinstance(size, int) and size > 0 for size in (*rows, *cols)):
            raise ValueError("sizes are not positive whole numbers")
    except (TypeError, ValueError, ArithmeticError) as err:
        raise InputError(
            f"chunks={chunks!r}: needs a number of cells, two of them (rows, columns), or 'auto' ({err})"
        ) from None
    # The samples stand in the graph once, not in every task.
    held = delayed(gridder, pure=True, traverse=False)
    return dask.array.map_blocks(
        _fill_chunk, held, chunks=((n_bands,), rows, cols), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32),
        name=f"interpolate-{tokenize(gridder, grid, rows, cols)}",
    )  # fmt: skip


def _fill_chunk(gridder: _Gridder, block_info: Any = None) -> NDArray[np.float32]:
    """Fill one chunk; `block_info` is where dask says which."""
    _, (top, bottom), (left, right) = block_info[None]["array-location"]
    return gridder.fill((top, left), (bottom - top, right - left), 1, lambda cells: None)


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
            f"{memory / 2**30:,.0f}; pass chunks=1024 and write the result with write_cog, or take larger cells (a "
            f"resolution is in {grid.unit}s, not degrees)"
        )
