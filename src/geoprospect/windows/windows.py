"""`Windows`: where the network looks, and what is known of each place. No pixels inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import geopandas as gpd
import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoprospect._checks import check_int, check_number, first_rows
from geoprospect.errors import InputError
from geoprospect.grid import Grid, check_north_up

# One entry for each window.
_PER_WINDOW = ("rows", "cols", "labels", "deposits", "zooms", "draw")


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
        Width and height of a window, in cells of the network's picture.
    crop : int
        Width and height of the part that the network sees, in such cells; at most `size`.
    zooms : ndarray of int of shape (n_windows,), optional
        A window of zoom z covers ``size * z`` cells of the grid each way, and each cell of its
        picture is the mean of z x z of them. Default: 1 everywhere, cells as they are.
    draw : ndarray of int of shape (n_windows,), optional
        -1 for a window that belongs to every draw, as ore windows do; k for a barren window of
        draw k, from 0. Default: -1 everywhere, one draw.

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
    zooms: NDArray[np.int64] = None  # type: ignore[assignment]
    draw: NDArray[np.int64] = None  # type: ignore[assignment]

    if TYPE_CHECKING:  # what may be passed; the fields above say what is kept

        def __init__(
            self, grid: Grid, rows: ArrayLike, cols: ArrayLike, labels: ArrayLike, deposits: ArrayLike,
            deposit_ids: Sequence[Any], deposit_points: ArrayLike, size: int, crop: int,
            zooms: ArrayLike | None = None, draw: ArrayLike | None = None,
        ) -> None: ...  # fmt: skip

    def __post_init__(self) -> None:
        """Normalise, check and freeze."""
        n = np.size(self.rows)
        for name, default in (("zooms", 1), ("draw", -1)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(n, default))
        for name in _PER_WINDOW:
            _freeze(self, name, _whole_numbers(name, getattr(self, name)))
        _freeze(self, "deposit_points", np.array(self.deposit_points, dtype=np.float64).reshape(-1, 2))
        object.__setattr__(self, "deposit_ids", tuple(self.deposit_ids))
        size, crop = check_int("size", self.size), check_int("crop", self.crop)
        if crop > size:
            raise InputError(f"crop={crop}: is more than the window of size={size}")
        if len({len(getattr(self, name)) for name in _PER_WINDOW}) > 1:
            raise InputError(f"{', '.join(_PER_WINDOW)}: need one entry per window each")
        if len(self.deposit_ids) != len(self.deposit_points):
            raise InputError(f"deposit_points: {len(self.deposit_points)} for {len(self.deposit_ids)} deposit_ids")
        self._check_places()
        self._check_labels()

    def _check_places(self) -> None:
        """Raise where a window leaves the grid, or the grid is turned."""
        check_north_up(self.grid, "grid")
        if (self.zooms < 1).any():
            raise InputError(f"zooms: {self.zooms[self.zooms < 1][0]} is no zoom; need whole numbers of at least 1")
        ny, nx = self.grid.shape
        outside = (self.rows < 0) | (self.cols < 0) | (self.rows + self.widths > ny) | (self.cols + self.widths > nx)
        if outside.any():
            raise InputError(f"rows, cols: window {first_rows(np.flatnonzero(outside))} leaves the grid of {ny} x {nx}")

    def _check_labels(self) -> None:
        """Raise where label, deposit and draw do not belong together."""
        if not np.isin(self.labels, (0, 1)).all() or ((self.deposits == -1) != (self.labels == 0)).any():
            raise InputError("labels, deposits: need 1 with the index of a deposit, or 0 with -1")
        last = len(self.deposit_ids)
        wrong = (self.deposits < -1) | (self.deposits >= last)
        if wrong.any():
            raise InputError(f"deposits: {self.deposits[wrong][0]} is no index into {last} deposit_ids")
        wrong = (self.draw < -1) | ((self.draw >= 0) & (self.labels == 1))
        if wrong.any():
            raise InputError(
                f"draw: {self.draw[wrong][0]} for window {first_rows(np.flatnonzero(wrong))}; needs -1 for ore windows "
                "and, for barren ones, -1 or the number of their draw"
            )

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.rows)

    def __getitem__(self, which: Any) -> Self:
        """Return some of the windows, by indices or mask; all deposits stay known."""
        at = np.arange(len(self))[which].reshape(-1)
        return replace(self, **{name: getattr(self, name)[at] for name in _PER_WINDOW})

    def __repr__(self) -> str:
        """Counts and sizes."""
        ore, n, draws = int(self.labels.sum()), len(self.deposit_ids), self.n_draws
        return (
            f"Windows({ore} ore, {len(self) - ore} barren{f' in {draws} draws' if draws > 1 else ''}; "
            f"{self.size} cells ({self._lengths()}) cropped to {self.crop}; {n} deposit{'s' if n != 1 else ''})"
        )

    def _lengths(self) -> str:
        """Return how wide the windows are on the ground, for each zoom."""
        zooms = np.unique(self.zooms) if len(self) else np.ones(1, dtype=np.int64)
        widths = zooms * self.size * self.grid.resolution[1]
        metric = self.grid.unit == "metre"
        numbers = [f"{width:.3g}" for width in (widths / 1000 if metric else widths)]
        both = [", ".join(numbers[:-1]), numbers[-1]] if len(numbers) > 1 else numbers
        return f"{' and '.join(both)} {'km' if metric else self.grid.unit}"

    @property
    def widths(self) -> NDArray[np.int64]:
        """Width and height of each window on the grid, shape (n_windows,), in cells of the grid."""
        return self.size * self.zooms

    @property
    def n_draws(self) -> int:
        """Number of draws of barren windows; 1 where every window belongs to all."""
        return max(1, int(self.draw.max(initial=-1)) + 1)

    def of_draw(self, k: int) -> Self:
        """Return the windows of one draw: those of draw `k` and those that belong to every draw.

        Parameters
        ----------
        k : int
            From 0; less than `n_draws`.

        Returns
        -------
        Windows
            In the same order, as a set of one draw: its ``draw`` is -1 everywhere.

        Raises
        ------
        InputError
            When there is no such draw.
        """
        k = check_int("k", k, minimum=0)
        if k >= self.n_draws:
            raise InputError(f"k={k}: there are {self.n_draws} draws, numbered from 0")
        some = self[(self.draw == -1) | (self.draw == k)]
        return replace(some, draw=np.full(len(some), -1))

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Outer edges, shape (n_windows, 4), as (left, bottom, right, top)."""
        t = self.grid.transform
        left, top = t.c + t.a * self.cols, t.f + t.e * self.rows
        return np.column_stack([left, top + t.e * self.widths, left + t.a * self.widths, top])

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of each window, shape (n_windows, 2), as (x, y)."""
        left, bottom, right, top = self.bounds.T
        return np.column_stack([(left + right) / 2, (bottom + top) / 2])

    def blocks(self, width: float | None = None) -> NDArray[np.int64]:
        """Return the number of the block of ground that holds the middle of each window.

        The ground is cut into blocks from the north-west corner of the grid, numbered row by row
        from 1. Windows of one block overlap or lie side by side: statistics should count them as
        one piece of evidence.

        Parameters
        ----------
        width : float, optional
            Width and height of a block in CRS units. Default: twice those of the widest window.

        Returns
        -------
        ndarray of int of shape (n_windows,)
            A middle on the line between two blocks belongs to the southern or eastern one.
        """
        if width is None:
            cells = np.full(2, 2.0 * self.widths.max(initial=self.size))
        else:
            # Rounded, because 0.3 / 0.1 is a little less than 3.
            cells = np.round(check_number("width", width, above=0) / np.array(self.grid.resolution), 9)
        down = np.floor((self.rows + self.widths / 2) / cells[0]).astype(np.int64)
        right = np.floor((self.cols + self.widths / 2) / cells[1]).astype(np.int64)
        abreast = int(np.ceil(self.grid.shape[1] / cells[1]))
        number: NDArray[np.int64] = down * abreast + right + 1
        return number

    def footprints(self) -> gpd.GeoDataFrame:
        """Return the windows as rectangles.

        Returns
        -------
        GeoDataFrame
            Columns ``label``, ``deposit_id`` (None for barren), ``row``, ``col``, ``zoom``, ``draw``
            and the rectangle.
        """
        ids = [self.deposit_ids[i] if i >= 0 else None for i in self.deposits]
        frame = {"label": self.labels, "deposit_id": ids, "row": self.rows, "col": self.cols}
        frame |= {"zoom": self.zooms, "draw": self.draw}
        boxes = self.grid.boxes(self.rows, self.cols, self.widths, self.widths)
        return gpd.GeoDataFrame(frame, geometry=boxes, crs=self.grid.crs)

    def crop_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the least and greatest offset of a crop, each of shape (n_windows, 2) as (row, col).

        Offsets are in cells of the grid, whatever the zoom. A crop may lie anywhere in a barren
        window; in an ore window it must still hold the deposit, or its label would be wrong.
        """
        seen, slack = self.crop * self.zooms, (self.size - self.crop) * self.zooms
        least = np.zeros((len(self), 2), dtype=np.int64)
        greatest = np.repeat(slack[:, None], 2, axis=1)
        ore = self.labels == 1
        if ore.any():
            place = np.column_stack(self.grid.rowcol(*self.deposit_points[self.deposits[ore]].T))
            offset = place - np.column_stack([self.rows[ore], self.cols[ore]])  # of the deposit in its window
            least[ore] = np.clip(offset - seen[ore, None] + 1, 0, slack[ore, None])
            greatest[ore] = np.clip(offset, 0, slack[ore, None])
        return least, greatest

    def central_crop(self) -> NDArray[np.int64]:
        """Return the offset (row, col) of the crop nearest to the middle that `crop_range` allows."""
        slack = (self.size - self.crop) * self.zooms
        middle: NDArray[np.int64] = np.clip((slack // 2)[:, None], *self.crop_range())
        return middle


def _freeze(target: object, name: str, array: NDArray[Any]) -> None:
    array.flags.writeable = False
    object.__setattr__(target, name, array)


def _whole_numbers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Return a copy as int64; 2.0 passes, 2.5 does not."""
    given = np.asarray(values)
    if given.ndim != 1:
        raise InputError(f"{name}: has shape {given.shape}, needs one whole number per window")
    with np.errstate(invalid="ignore"):  # NaN and inf become some number, which differs
        numbers = given.astype(np.int64)
    if (numbers != given).any():
        raise InputError(f"{name}: {given[numbers != given][0]} is no whole number")
    return numbers


def check_windows(windows: Any, survey: Any = None) -> None:
    """Raise where `windows` are none, and say so where they and the survey stand in each other's place."""
    if not isinstance(windows, Windows):
        swapped = ": they come first, then the survey" if isinstance(survey, Windows) else ""
        raise InputError(f"windows: is a {type(windows).__name__}, needs Windows, as from sample_windows{swapped}")
