"""Interpolation of samples to element bands on a grid."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm.auto import tqdm

from geoprospect.errors import CRSError, InputError
from geoprospect.geochem.samples import Samples
from geoprospect.grid import Grid, check_north_up
from geoprospect.gridding.methods import (
    CellBlock,
    Fill,
    InterpolationOptions,
    InterpolationSettings,
    method_named,
)
from geoprospect.gridding.sample_support import warn_if_finer
from geoprospect.gridding.surfaces import Surface

# Cells at which a surface is evaluated at once; bounds what its library holds beside the result.
_CELLS = 2**18


def interpolate(
    samples: Samples,
    grid: Grid,
    method: str = "idw",
    *,
    chunks: int | tuple[int, int] | str | None = None,
    progress: bool = False,
    **settings: Unpack[InterpolationOptions],
) -> xr.Dataset:
    """Interpolate every element onto the grid.

    By default by inverse distance weighting: a cell takes the mean of the `k` nearest samples that
    have a value of the element, weighted by 1 / distance**power between sample and cell centre
    [1]_. Of samples at the same distance the one that comes first in the table is nearer. A
    sample on a cell centre gives its own value there; where several of the `k` coincide with it,
    their mean.

    Parameters
    ----------
    samples : Samples
        Points in degrees are projected onto the CRS of the grid first.
    grid : Grid
        Must be in a projected CRS, because distances are metric.
    method : str, default 'idw'
        - 'idw': inverse distance weighting;
        - 'idw-direct': the same from all samples, each summed at every cell in float64: slow, the
          reference for the error of the fast sums;
        - 'nearest': the value of the nearest sample;
        - 'linear', 'cubic': plane or smooth triangles between the samples, NaN outside their hull;
        - 'kriging': ordinary kriging from the `k` nearest samples, with its variance as a second
          variable ``<element>_variance``;
        - 'spline': the surface of least bending.

        `validate_gridding` measures the error of each on the samples.
    chunks : int, tuple of int or 'auto', optional
        Height and width, in cells, of the chunks of a lazy result: nothing is computed before it is
        asked for, on the scheduler that dask uses then. For grids larger than memory, written
        with `write_cog` or `write_zarr`.
    progress : bool, default False
        Show a progress bar.
    **settings
        Settings of the method; one that does not apply to it is refused.

        - k : int or None, default 12. Number of nearest samples ('idw', 'kriging'). None takes all
          samples ('idw').
        - power : float, default 2. Exponent of the distance ('idw', 'idw-direct').
        - radius : float, optional. Largest distance of a sample that is used, in CRS units of the
          grid ('idw', 'nearest'). Default: no limit, which fills cells far beyond the samples.
        - min_samples : int, default 1. Cells with fewer samples are NaN ('idw', 'idw-direct').
        - variogram : {'spherical', 'exponential', 'gaussian'}, default 'spherical'. Model that is
          fitted to the variogram of each element ('kriging').
        - damping : float, optional. How far a spline may miss its samples to be smoother
          ('spline'). Default: it passes through them.

    Returns
    -------
    xarray.Dataset
        One float32 variable per element, dims (y, x), with ``units`` and ``long_name``; backed by
        dask where `chunks` is given. An element without any value is NaN everywhere. Where values
        were below detection, ``censored_fraction`` in the attributes is their fraction of the samples.

    Raises
    ------
    CRSError
        When the grid is in degrees, or the samples have no coordinates in its CRS.
    InputError
        When a setting is out of its range or does not apply to the method, no sample is on the
        grid, the grid is larger than memory and `chunks` is not given, or a method is not
        practical for its size.

    Warns
    -----
    DataWarning
        When cells are more than ten times finer than the sample spacing.

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
    if not isinstance(samples, Samples):
        raise InputError(f"samples: is a {type(samples).__name__}, needs Samples; read a table with read_samples(path)")
    chosen = method_named(method)
    rules = chosen.settings_from(settings)
    if chosen.check is not None:
        chosen.check(rules, len(samples), math.prod(grid.shape), len(samples.elements))
    if not grid.crs.is_projected:
        raise CRSError(
            f"grid: is in {grid.crs.name!r}, where distances are no lengths; take a projected CRS, "
            "for example Grid.covering(samples), which chooses one"
        )
    check_north_up(grid, "grid")
    moved = samples if samples.crs == grid.crs else samples.to_crs(grid.crs)
    if not grid.contains(*moved.points.T).any():
        raise InputError("samples: none of them is on the grid; check the CRS of both")
    names, attrs = _describe(samples, chosen.has_variance)
    fill: Fill = chosen.fill or partial(
        _fill_from_surface, chosen.fit(moved.points, moved.values, rules, samples.elements), len(names)
    )
    t = grid.transform
    gridder = _Gridder(moved.points, moved.values, rules, (t.c, t.f), (t.a, t.e), fill)
    warn_if_finer(gridder.points, grid)
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
    """Samples in the CRS of a grid, its geometry, and how cells are filled; sent to the workers of a cluster."""

    points: NDArray[np.float64]  # (N, 2)
    values: NDArray[np.float64]  # (N, C)
    settings: InterpolationSettings
    origin: tuple[float, float]
    step: tuple[float, float]
    fill_block: Fill

    def fill(
        self, first: tuple[int, int], shape: tuple[int, int], threads: int | None, done: Callable[[int], object]
    ) -> NDArray[np.float32]:
        """Return the bands (B, *shape) of the part of the grid from cell `first` on."""
        block = CellBlock(self.origin, self.step, first, shape)
        return self.fill_block(self.points, self.values, self.settings, block, threads, done)


def _fill_from_surface(
    surface: Surface, n_bands: int, points: Any, values: Any, settings: Any, block: CellBlock, threads: Any,
    done: Callable[[int], object],
) -> NDArray[np.float32]:  # fmt: skip
    """Evaluate a surface, and its variance if it has one, at the cell centres of a block; a `Fill`."""
    (west, north), (dx, dy), (ny, nx) = block.origin, block.step, block.shape
    x = west + dx * (block.first[1] + np.arange(nx) + 0.5)
    y = north + dy * (block.first[0] + np.arange(ny) + 0.5)
    out, rows = np.empty((n_bands, ny, nx), dtype=np.float32), max(1, _CELLS // nx)
    for top in range(0, ny, rows):
        at = np.stack(np.meshgrid(x, y[top : top + rows]), axis=-1)  # (rows, nx, 2)
        mean, variance = surface.evaluate(at.reshape(-1, 2))
        both = mean if variance is None else np.concatenate([mean, variance])
        out[:, top : top + rows] = both.reshape(n_bands, *at.shape[:2])
        done(at.shape[0] * nx)
    return out


def _describe(samples: Samples, has_variance: bool) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the names of the bands and their attributes."""
    attrs: dict[str, dict[str, Any]] = {
        e: {"units": u, "long_name": e} for e, u in zip(samples.elements, samples.units, strict=True)
    }
    censored, present = samples.censored, samples.censored | ~np.isnan(samples.values)
    for at in np.flatnonzero(censored.any(axis=0)).tolist():
        share = float(censored[:, at].sum() / present[:, at].sum())
        attrs[samples.elements[at]]["censored_fraction"] = round(share, 4)
    if has_variance:
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
    # The samples are in the graph once, not in every task.
    held = delayed(gridder, pure=True, traverse=False)
    return dask.array.map_blocks(
        _fill_chunk, held, chunks=((n_bands,), rows, cols), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32),
        name=f"interpolate-{tokenize(gridder, grid, rows, cols)}",
    )  # fmt: skip


def _fill_chunk(gridder: _Gridder, block_info: Any = None) -> NDArray[np.float32]:
    """Fill one chunk; dask passes its position as `block_info`."""
    _, (top, bottom), (left, right) = block_info[None]["array-location"]
    return gridder.fill((top, left), (bottom - top, right - left), 1, lambda cells: None)


def _check_memory(n_bands: int, grid: Grid) -> None:
    """Raise where the bands do not fit into memory; allocating them might only kill the process later."""
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
