"""Cells of a survey that have data, and sums over windows from summed-area tables."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import first_rows
from geoprospect.errors import InputError
from geoprospect.grid import Grid

# Rows of positions that are compared at once: some MB, where the whole grid would take hundreds.
_ROWS = 256


def bands_of(survey: xr.Dataset) -> list[xr.DataArray]:
    """Return the bands of a survey, those variables that have dims (y, x), in that order of dims."""
    return [band.transpose("y", "x") for band in survey.data_vars.values() if set(band.dims) == {"y", "x"}]


def cells_with_data(survey: xr.Dataset, grid: Grid, mask: xr.DataArray | None = None) -> NDArray[np.bool_]:
    """Return the cells within the mask that have data in all bands, (Y, X).

    Chunked bands are read together, chunk by chunk, so that each chunk is computed once.
    """
    cells = np.ones(grid.shape, dtype=bool) if mask is None else _check_mask(mask, grid)
    finite = (np.isfinite(band.variable) for band in bands_of(survey))
    known: xr.Variable = functools.reduce(operator.and_, finite, xr.Variable(("y", "x"), cells))
    array: NDArray[np.bool_] = known.to_numpy()
    if not array.any():
        _check_bands(survey)
    return array


def _check_bands(survey: xr.Dataset) -> None:
    """Raise an error that names the bands without any data."""
    bands = {str(band.name): band for band in bands_of(survey)}
    empty = [name for name, band in bands.items() if not bool(np.isfinite(band.variable).any())]
    if empty and len(empty) == len(bands):
        raise InputError(f"survey: has no data in any of {first_rows(empty, 8)}; check what it was made from")
    if empty:
        raise InputError(
            f"survey: has no data at all in {first_rows(empty, 8)}, and windows need data in all bands; drop it: "
            f"survey.drop_vars({empty if len(empty) > 1 else empty[0]!r})"
        )


def _check_mask(mask: Any, grid: Grid) -> NDArray[np.bool_]:
    """Return a mask on the grid as an array (Y, X)."""
    if not isinstance(mask, xr.DataArray) or mask.dtype != bool or set(mask.dims) != {"y", "x"}:
        was = (
            f"a DataArray of {mask.dtype} and dims {mask.dims}"
            if isinstance(mask, xr.DataArray)
            else type(mask).__name__
        )
        raise InputError(
            f"mask: is {was}; needs a DataArray of bool with dims (y, x), for example "
            "gp.support(samples, grid).distance < 5000"
        )
    try:
        own = Grid.of(mask)
    except InputError as err:
        raise InputError(f"mask: {err}") from None
    if own != grid:
        raise InputError(f"mask: is on {own}, the survey on {grid}; read it onto that grid with read_bands(path, grid)")
    cells: NDArray[np.bool_] = mask.transpose("y", "x").to_numpy()
    return cells


def summed_area(cells: NDArray[Any]) -> NDArray[Any]:
    """Return the summed-area table of cells, (Y + 1, X + 1): whole numbers of bool cells, else float64."""
    whole = np.int32 if cells.size < 2**31 else np.int64
    table = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), dtype=whole if cells.dtype == bool else np.float64)
    np.cumsum(cells, axis=1, out=table[1:, 1:])
    for row in range(1, len(table)):  # row by row is five times as fast as cumsum along the columns
        table[row] += table[row - 1]
    return table


def window_sums(
    table: NDArray[Any], rows: NDArray[np.int64], cols: NDArray[np.int64], width: int | NDArray[np.int64]
) -> NDArray[Any]:
    """Return the sum over each window, given its north-west cell and its width."""
    below, right = rows + width, cols + width
    sums: NDArray[Any] = table[below, right] - table[rows, right] - table[below, cols] + table[rows, cols]
    return sums


def valid_fraction(
    valid: NDArray[np.bool_], rows: NDArray[np.int64], cols: NDArray[np.int64], width: int | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the fraction of valid cells in each window, given its north-west cell and its width."""
    fraction: NDArray[np.float64] = window_sums(summed_area(valid), rows, cols, width) / width**2
    return fraction


def valid_positions(table: NDArray[Any], width: int, step: int, min_valid: float) -> NDArray[np.bool_]:
    """Return at which positions, `step` cells apart, a window has enough valid cells, (rows, columns).

    Parameters
    ----------
    table : ndarray of shape (Y + 1, X + 1)
        Summed-area table of the valid cells.
    width : int
        Width and height of the windows, in cells.
    step : int
        Cells between two positions.
    min_valid : float
        Smallest fraction of valid cells.
    """
    ny, nx = (n - 1 - width for n in table.shape)
    enough = np.empty((ny // step + 1, nx // step + 1), dtype=bool)
    top, bottom = table[: ny + 1 : step], table[width::step]
    for at in range(0, len(enough), _ROWS):
        strip = bottom[at : at + _ROWS] - top[at : at + _ROWS]
        enough[at : at + _ROWS] = strip[:, width::step] - strip[:, : nx + 1 : step] >= min_valid * width * width
    return enough
