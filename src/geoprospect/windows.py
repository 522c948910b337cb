"""`Windows`: where the network looks, and what is known of each place. No pixels inside."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import geopandas as gpd
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from geoprospect._checks import check_int, check_number, check_rng, first_rows
from geoprospect.errors import DataWarning, InputError
from geoprospect.grid import Grid


@dataclass(frozen=True, eq=False)
class Windows:
    """Square windows on a grid with their labels.

    Parameters
    ----------
    grid : Grid
        The grid that rows and columns count on.
    rows, cols : ndarray of int of shape (n_windows,)
        North-west cell of each window.
    labels : ndarray of int of shape (n_windows,)
        1 ore, 0 barren.
    deposits : ndarray of int of shape (n_windows,)
        Index into `deposit_ids` of the deposit that an ore window was slid over; -1 for barren.
    deposit_ids : tuple
        Ids of all deposits on the grid.
    deposit_points : ndarray of shape (n_deposits, 2)
        Their coordinates (x, y) in the CRS of the grid.
    size : int
        Width and height of a window, in cells.
    crop : int
        Width and height of the part that the network sees, in cells; at most `size`.

    Raises
    ------
    InputError
        When arrays do not fit together or a window leaves the grid.

    Examples
    --------
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 0), (64, 64))
    >>> gp.Windows(grid, [0, 32], [0, 32], [1, 0], [0, -1], ("mine",), [[800, -800]], size=32, crop=28)
    Windows(1 ore, 1 barren; 32 cells (3.2 km) cropped to 28; 1 deposit)
    """

    grid: Grid
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    labels: NDArray[np.int64]
    deposits: NDArray[np.int64]
    deposit_ids: tuple[Any, ...]
    deposit_points: NDArray[np.float64]
    size: int
    crop: int

    if TYPE_CHECKING:  # what may be passed; the fields above say what is kept

        def __init__(
            self, grid: Grid, rows: ArrayLike, cols: ArrayLike, labels: ArrayLike, deposits: ArrayLike,
            deposit_ids: Sequence[Any], deposit_points: ArrayLike, size: int, crop: int,
        ) -> None: ...  # fmt: skip

    def __post_init__(self) -> None:
        """Normalise, check and freeze."""
        for name in ("rows", "cols", "labels", "deposits"):
            _freeze(self, name, np.array(getattr(self, name), dtype=np.int64))
        _freeze(self, "deposit_points", np.array(self.deposit_points, dtype=np.float64).reshape(-1, 2))
        object.__setattr__(self, "deposit_ids", tuple(self.deposit_ids))
        size, crop = check_int("size", self.size), check_int("crop", self.crop)
        if crop > size:
            raise InputError(f"crop={crop}: is more than the window of size={size}")
        if len({len(getattr(self, name)) for name in ("rows", "cols", "labels", "deposits")}) > 1:
            raise InputError("rows, cols, labels, deposits: need one entry per window each")
        if len(self.deposit_ids) != len(self.deposit_points):
            raise InputError(f"deposit_points: {len(self.deposit_points)} for {len(self.deposit_ids)} deposit_ids")
        (ny, nx), last = self.grid.shape, len(self.deposit_ids)
        outside = (self.rows < 0) | (self.cols < 0) | (self.rows + size > ny) | (self.cols + size > nx)
        if outside.any():
            raise InputError(f"rows, cols: window {first_rows(np.flatnonzero(outside))} leaves the grid of {ny} x {nx}")
        if not np.isin(self.labels, (0, 1)).all() or ((self.deposits == -1) != (self.labels == 0)).any():
            raise InputError("labels, deposits: need 1 with the index of a deposit, or 0 with -1")
        wrong = (self.deposits < -1) | (self.deposits >= last)
        if wrong.any():
            raise InputError(f"deposits: {self.deposits[wrong][0]} is no index into {last} deposit_ids")

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.rows)

    def __getitem__(self, which: Any) -> Self:
        """Return some of the windows, by indices or mask; all deposits stay known."""
        at = np.arange(len(self))[which].reshape(-1)
        return replace(self, rows=self.rows[at], cols=self.cols[at], labels=self.labels[at], deposits=self.deposits[at])

    def __repr__(self) -> str:
        """Counts and sizes."""
        ore, width = int(self.labels.sum()), self.size * self.grid.resolution[1]
        length = f"{width / 1000:.3g} km" if self.grid.unit == "metre" else f"{width:.3g} {self.grid.unit}"
        n = len(self.deposit_ids)
        return (
            f"Windows({ore} ore, {len(self) - ore} barren; {self.size} cells ({length}) cropped to {self.crop}; "
            f"{n} deposit{'s' if n != 1 else ''})"
        )

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Outer edges, shape (n_windows, 4), as (left, bottom, right, top)."""
        t = self.grid.transform
        left, top = t.c + t.a * self.cols, t.f + t.e * self.rows
        return np.column_stack([left, top + t.e * self.size, left + t.a * self.size, top])

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of each window, shape (n_windows, 2), as (x, y)."""
        left, bottom, right, top = self.bounds.T
        return np.column_stack([(left + right) / 2, (bottom + top) / 2])

    def footprints(self) -> gpd.GeoDataFrame:
        """Return the windows as rectangles.

        Returns
        -------
        GeoDataFrame
            Columns ``label``, ``deposit_id`` (None for barren), ``row``, ``col`` and the rectangle.
        """
        ids = [self.deposit_ids[i] if i >= 0 else None for i in self.deposits]
        frame = {"label": self.labels, "deposit_id": ids, "row": self.rows, "col": self.cols}
        boxes = self.grid.boxes(self.rows, self.cols, self.size, self.size)
        return gpd.GeoDataFrame(frame, geometry=boxes, crs=self.grid.crs)

    def crop_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the least and greatest offset of a crop, each of shape (n_windows, 2) as (row, col).

        A crop may lie anywhere in a barren window; in an ore window it must still hold the
        deposit, or its label would be wrong.
        """
        slack = self.size - self.crop
        least = np.zeros((len(self), 2), dtype=np.int64)
        greatest = np.full((len(self), 2), slack, dtype=np.int64)
        ore = self.labels == 1
        if ore.any():
            place = np.column_stack(self.grid.rowcol(*self.deposit_points[self.deposits[ore]].T))
            offset = place - np.column_stack([self.rows[ore], self.cols[ore]])  # of the deposit in its window
            least[ore] = np.clip(offset - self.crop + 1, 0, slack)
            greatest[ore] = np.clip(offset, 0, slack)
        return least, greatest

    def central_crop(self) -> NDArray[np.int64]:
        """Return the offset (row, col) of the crop nearest to the middle that `crop_range` allows."""
        middle: NDArray[np.int64] = np.clip((self.size - self.crop) // 2, *self.crop_range())
        return middle


def sample_windows(
    survey: xr.Dataset,
    deposits: gpd.GeoDataFrame,
    size: int = 256,
    crop: int = 224,
    n_ore: int = 212,
    n_barren: int = 225,
    buffer: float = 0.0,
    rng: int | np.random.Generator | None = None,
    *,
    min_valid: float = 0.5,
) -> Windows:
    """Cut training windows: slid over each deposit, and drawn where none lies.

    The counts and sizes of Gao et al. [1]_ are the defaults. Ore windows are shared out evenly
    over the deposits; each is a different place from which the window holds its deposit. Barren
    windows are drawn at random from all places where a window holds no deposit.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands with dims (y, x). Only their grid and where they have data matter.
    deposits : GeoDataFrame
        Points; those off the grid are left out with a warning.
    size : int, default 256
        Width and height of a window, in cells.
    crop : int, default 224
        Width and height of the part that the network will see, in cells.
    n_ore, n_barren : int, default 212 and 225
        How many windows of each kind.
    buffer : float, default 0
        Distance that barren windows keep from every deposit, in CRS units.
    rng : int, Generator or None
        Draws the places.
    min_valid : float, default 0.5
        Least share of cells in a window that have data in all bands.

    Returns
    -------
    Windows
        Ore windows first, by deposit, then the barren ones.

    Raises
    ------
    InputError
        When no deposit lies on the grid, the window is larger than the grid, or fewer places than
        asked for are left for ore or barren windows.

    Warns
    -----
    DataWarning
        When deposits lie off the grid, only one is left, or there are more than `n_ore`.

    References
    ----------
    .. [1] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=50, rng=0)
    >>> int(windows.labels.sum()), len(windows)
    (40, 90)
    """
    size, crop = check_int("size", size), check_int("crop", crop)
    n_ore, n_barren = check_int("n_ore", n_ore), check_int("n_barren", n_barren)
    buffer = check_number("buffer", buffer, minimum=0)
    min_valid = check_number("min_valid", min_valid, minimum=0, maximum=1)
    generator, grid = check_rng(rng), Grid.of(survey)
    if size > min(grid.shape):
        raise InputError(
            f"size={size}: the survey has only {grid.shape[0]} x {grid.shape[1]} cells; take smaller windows"
        )
    if crop > size:
        raise InputError(f"crop={crop}: is more than the window of size={size}")
    ids, points = _deposits_on(grid, deposits)
    valid = _valid_corners(survey, grid, size, min_valid)
    row, col = grid.rowcol(*points.T)
    ore_rows, ore_cols, ore_deposits = _slide(row, col, valid, size, n_ore, ids, generator)
    barren = _barren_corners(row, col, valid, size, grid, buffer)
    free = np.flatnonzero(barren)
    if free.size < n_barren:
        raise InputError(
            f"n_barren={n_barren}: only {free.size} places are left for a window without a deposit "
            f"(size={size}, buffer={buffer:g}, min_valid={min_valid:g}); ask for fewer, or lower size or buffer"
        )
    drawn = np.sort(generator.choice(free, n_barren, replace=False))
    barren_rows, barren_cols = np.divmod(drawn, barren.shape[1])
    return Windows(
        grid=grid,
        rows=np.concatenate([ore_rows, barren_rows]),
        cols=np.concatenate([ore_cols, barren_cols]),
        labels=np.repeat([1, 0], [n_ore, n_barren]),
        deposits=np.concatenate([ore_deposits, np.full(n_barren, -1)]),
        deposit_ids=ids,
        deposit_points=points,
        size=size,
        crop=crop,
    )


def _freeze(target: object, name: str, array: NDArray[Any]) -> None:
    array.flags.writeable = False
    object.__setattr__(target, name, array)


def _deposits_on(grid: Grid, deposits: gpd.GeoDataFrame) -> tuple[tuple[Any, ...], NDArray[np.float64]]:
    """Return ids and points of the deposits on the grid."""
    if len(deposits) == 0:
        raise InputError("deposits: there are none, so there is nothing to learn from")
    x, y = grid.points(deposits.geometry)
    inside = grid.contains(x, y)
    ids = deposits["id"].to_numpy() if "id" in deposits.columns else np.arange(1, len(deposits) + 1)
    if not inside.any():
        raise InputError(
            f"deposits: none of the {len(deposits)} lies on the grid {grid.bounds} in {grid.crs.name!r}; "
            "are both CRS right?"
        )
    if not inside.all():
        warnings.warn(
            f"deposits: {int((~inside).sum())} lie off the grid and are left out (id {first_rows(ids[~inside])})",
            DataWarning,
            stacklevel=3,
        )
    if inside.sum() == 1:
        warnings.warn("deposits: only one lies on the grid; nothing can be validated on one", DataWarning, stacklevel=3)
    return tuple(ids[inside].tolist()), np.column_stack([x, y])[inside]


def _valid_corners(survey: xr.Dataset, grid: Grid, size: int, min_valid: float) -> NDArray[np.bool_]:
    """Return the north-west cells whose window has enough data, shape (ny - size + 1, nx - size + 1)."""
    data = np.ones(grid.shape, dtype=bool)
    for band in survey.data_vars.values():
        if set(band.dims) == {"y", "x"}:
            data &= np.isfinite(band.transpose("y", "x").to_numpy())
    total = np.zeros((grid.shape[0] + 1, grid.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(data, axis=0), axis=1, out=total[1:, 1:])
    count = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    enough: NDArray[np.bool_] = count >= min_valid * size * size
    return enough


def _slide(
    row: NDArray[np.int64], col: NDArray[np.int64], valid: NDArray[np.bool_], size: int, n_ore: int,
    ids: tuple[Any, ...], rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Draw `n_ore` different places of windows that hold their deposit, evenly over the deposits."""
    n = len(row)
    if n_ore < n:
        warnings.warn(
            f"n_ore={n_ore}: there are {n} deposits, so {n - n_ore} of them have no window", DataWarning, stacklevel=3
        )
    places = []
    for r, c in zip(row, col, strict=True):
        # Places from which the window holds the deposit and stays on the grid.
        top, left = max(0, r - size + 1), max(0, c - size + 1)
        places.append(np.argwhere(valid[top : r + 1, left : c + 1]) + np.array([top, left]))
    room = np.array([len(at) for at in places])
    share = _share_out(n_ore, room, rng)
    if share.sum() < n_ore:
        raise InputError(
            f"n_ore={n_ore}: only {room.sum()} different windows of {size} cells hold a deposit; ask for fewer, "
            "or take smaller windows or a lower min_valid"
        )
    cramped = np.flatnonzero((share == room) & (share < share.max() - 1))
    if cramped.size:
        warnings.warn(
            f"deposits: {cramped.size} at the edge of the data have room for few windows (id "
            f"{first_rows([ids[d] for d in cramped])}: {first_rows(room[cramped])}); the others have more instead; "
            "a wider grid (pad) gives room",
            DataWarning,
            stacklevel=3,
        )
    drawn = [at[np.sort(rng.choice(len(at), k, replace=False))] for at, k in zip(places, share, strict=True)]
    rows, cols = np.concatenate(drawn).T
    return rows, cols, np.repeat(np.arange(n), share)


def _share_out(total: int, room: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Share `total` out as evenly as the room of each allows; what is left over goes by lot."""
    level = int(np.searchsorted([np.minimum(room, k).sum() for k in range(room.max() + 1)], total, side="right")) - 1
    share: NDArray[np.int64] = np.minimum(room, level)
    more = rng.permutation(np.flatnonzero(room > level))[: total - int(share.sum())]
    share[more] += 1
    return share


def _barren_corners(
    row: NDArray[np.int64], col: NDArray[np.int64], valid: NDArray[np.bool_], size: int, grid: Grid, buffer: float
) -> NDArray[np.bool_]:
    """Return the north-west cells whose window holds no deposit and keeps `buffer` from all."""
    free = valid.copy()
    margin_y, margin_x = (math.ceil(buffer / step) for step in grid.resolution)
    for r, c in zip(row, col, strict=True):
        free[max(0, r - size + 1 - margin_y) : r + 1 + margin_y, max(0, c - size + 1 - margin_x) : c + 1 + margin_x] = (
            False
        )
    return free
