"""Training windows: ore windows over each deposit, background windows at random positions without one."""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Sequence
from typing import Any, Unpack

import geopandas as gpd
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import check_choice, check_int, check_rng, first_rows, user_level
from geoprospect._settings import with_settings
from geoprospect.errors import DataWarning, InputError
from geoprospect.grid import Grid, grid_of_survey
from geoprospect.io.deposits import check_deposits
from geoprospect.windows.dissimilar import dissimilarity, farthest, rounded_up, window_means
from geoprospect.windows.settings import RECIPES, WindowOptions, WindowSettings
from geoprospect.windows.valid_cells import cells_with_data, summed_area, valid_positions
from geoprospect.windows.windows import Windows

# Positions among which the least like ore are looked for; of more, so many are drawn.
_CANDIDATES = 20_000


def sample_windows(
    survey: xr.Dataset,
    deposits: gpd.GeoDataFrame,
    size: int = 256,
    crop: int = 224,
    n_ore: int = 212,
    n_barren: int = 225,
    rng: int | np.random.Generator | None = None,
    *,
    recipe: str | None = None,
    mask: xr.DataArray | None = None,
    **settings: Unpack[WindowOptions],
) -> Windows:
    """Draw training windows: ore windows over each deposit, background (barren) windows elsewhere.

    The default sizes and counts are those of Gao et al. [1]_. Ore windows are divided equally over the
    deposits, at different positions from which the window contains its deposit. Background windows are drawn
    at random from all positions where a window contains no deposit. Both obey the same rules
    (`min_valid`, `step`, `zooms`, `mask`), so that the position of a window does not reveal its label.

    Background means that no deposit is known there. Two options limit the effect of unknown
    deposits: several draws, whose spread measures the influence of the choice [2]_, and background
    windows that are least like the ore windows [3]_.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands with dims (y, x), in memory or chunked. Only the grid and the cells with data are used,
        except with ``barren="dissimilar"``.
    deposits : GeoDataFrame
        Points; those off the grid are left out with a warning.
    size : int, default 256
        Width and height of a window, in cells.
    crop : int, default 224
        Width and height of the part that the network sees, in cells.
    n_ore, n_barren : int, default 212 and 225
        Number of ore windows, and of background windows in each draw.
    rng : int, Generator or None
        Draws the positions.
    recipe : {'gao2022'}, optional
        Require the set of the paper: 212 ore windows, one random draw of 225 background windows, 256 cells
        cropped to 224. The paper does not give `buffer`, `min_valid`, `slide` and `step`; these stay free.
    mask : DataArray of bool, optional
        Cells that windows may cover, on the grid of the survey: a permissive tract, or cells near
        samples. Cells outside count as cells without data.
    **settings
        Fields of `WindowSettings`:

        - ``buffer`` (0): distance between background windows and deposits, in CRS units;
        - ``min_valid`` (0.5): smallest fraction of cells with data in a window;
        - ``slide`` (1): how far a deposit may be from the middle of its windows, 0 to 1;
        - ``step`` (1): cells between two possible positions;
        - ``zooms`` ((1,)): scales to divide the windows over;
        - ``barren`` ('random'): 'dissimilar' takes background windows least like ore;
        - ``dissimilar`` (0.5): fraction of the positions that count as least like ore;
        - ``draws`` (1): independent draws of background windows.

    Returns
    -------
    Windows
        Ore windows first, by deposit, then the background windows, draw by draw.

    Raises
    ------
    InputError
        When no deposit is on the grid, a band has no data at all, a window is larger than the grid, an argument
        contradicts the recipe, or there are fewer positions than windows. The message names the arguments to change.

    Warns
    -----
    DataWarning
        When deposits are off the grid, only one is left, there are more than `n_ore`, or some have
        fewer possible windows than the others.

    References
    ----------
    .. [1] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433
    .. [2] Zuo, R. and Wang, Z. (2020). Effects of random negative training samples on mineral
       prospectivity mapping. https://doi.org/10.1007/s11053-020-09668-6
    .. [3] Carranza, E. J. M., Hale, M. and Faassen, C. (2008). Selection of coherent deposit-type
       locations and their application in data-driven mineral prospectivity mapping.
       https://doi.org/10.1016/j.oregeorev.2007.07.001

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=50, rng=0)
    >>> int(windows.labels.sum()), len(windows)
    (40, 90)
    >>> gp.sample_windows(survey, area.deposits, 8, 7, 80, 90, rng=0, zooms=(1, 2), draws=5)
    Windows(80 ore, 450 barren in 5 draws; 8 cells (3.43 and 6.86 km) cropped to 7; 40 deposits)
    """
    size, crop, chosen = check_int("size", size), check_int("crop", crop), with_settings(WindowSettings(), {**settings})
    zooms, draws = chosen.zooms, chosen.draws
    n_ore, n_barren = (check_int(name, n, len(zooms)) for name, n in (("n_ore", n_ore), ("n_barren", n_barren)))
    if recipe is not None:
        _check_recipe(recipe, {**vars(chosen), "size": size, "crop": crop, "n_ore": n_ore, "n_barren": n_barren,
                               "mask": mask})  # fmt: skip
    generator, grid = check_rng(rng), grid_of_survey(survey)
    ids, points = _deposits_on(grid, check_deposits(deposits))
    _check_size(grid, size, crop, zooms, recipe)
    table = summed_area(cells_with_data(survey, grid, mask))
    enough = [valid_positions(table, size * zoom, chosen.step, chosen.min_valid) for zoom in zooms]
    cells = np.column_stack(grid.rowcol(*points.T))  # (D, 2): row, col
    ore = _ore_windows(cells, ids, enough, size, n_ore, chosen, generator)  # (n_ore, 4): row, col, zoom, deposit
    # For each zoom the positions without a deposit, and the numbers of those to draw from.
    pools: list[tuple[NDArray[np.bool_], Sequence[int] | NDArray[np.int64]]] = []
    for zoom, positions, n in zip(zooms, enough, _equal_parts(n_barren, len(zooms)), strict=True):
        _close_near_deposits(positions, cells, size * zoom, grid, chosen)
        room = rounded_up(int(np.count_nonzero(positions)), chosen.fraction)
        if room < n:
            raise InputError(
                f"n_barren={n_barren}: only {room} positions remain for a window of {size * zoom} cells without a "
                f"deposit, {n} are needed; {_fixes('n_barren', room, chosen, mask is not None)}"
            )
        pools.append((positions, range(np.count_nonzero(positions))))
    if chosen.barren == "dissimilar":
        pools = [
            (positions, _least_like(survey, size * zoom, n, ore[ore[:, 2] == zoom], positions, chosen, generator))
            for zoom, (positions, _), n in zip(zooms, pools, _equal_parts(n_barren, len(zooms)), strict=True)
        ]
    drawn = []  # each (n_barren, 3): row, col, zoom
    for _ in range(draws):
        for zoom, (positions, pool), n in zip(zooms, pools, _equal_parts(n_barren, len(zooms)), strict=True):
            which = np.sort([pool[i] for i in generator.choice(len(pool), n, replace=False)])
            drawn.append(np.column_stack([_nth(positions, which) * chosen.step, np.full(n, zoom)]))
    rows, cols, zoom = np.concatenate([ore[:, :3], *drawn]).T
    return Windows(
        grid=grid,
        rows=rows,
        cols=cols,
        labels=np.repeat([1, 0], [n_ore, draws * n_barren]),
        deposits=np.concatenate([ore[:, 3], np.full(draws * n_barren, -1)]),
        deposit_ids=ids,
        deposit_points=points,
        size=size,
        crop=crop,
        zooms=zoom,
        draw=np.repeat([-1, *(range(draws) if draws > 1 else [-1])], [n_ore, *[n_barren] * draws]),
    )


def hold_back(
    windows: Windows, n_ore: int = 102, n_barren: int = 104, rng: int | np.random.Generator | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split windows at random into training and test, as Table 2 of Gao et al. [1]_ does.

    The test windows overlap the training windows, often those of the same deposit. A network that memorises
    the training area scores high on them and may have no skill elsewhere. This function repeats the paper;
    `spatial_folds` and `cross_validate` separate training and test, and `audit` measures the overlap.

    The paper tests 102 ore and 104 background (barren) windows, and trains on 212 and 225. It does not state
    whether the test windows are among these. Here they are: of 437 windows, 231 are left for training.
    To train on 437, cut 314 and 329 windows and hold out 102 and 104.

    Parameters
    ----------
    windows : Windows
        Of one draw.
    n_ore, n_barren : int, default 102 and 104
        How many ore and background windows to hold out; at least one of each must be left.
    rng : int, Generator or None
        Draws the test windows.

    Returns
    -------
    train, test : ndarray of int
        Indices into `windows`, ascending; no window is in both.

    Raises
    ------
    InputError
        When no window of a class would be left for training, or there are several draws.

    References
    ----------
    .. [1] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples["Cu"], area.grid)
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, rng=0)
    >>> train, test = gp.hold_back(windows, rng=0)
    >>> windows[train]
    Windows(110 ore, 121 barren; 8 cells (3.43 km) cropped to 7; 40 deposits)
    """
    n_ore, n_barren, generator = check_int("n_ore", n_ore), check_int("n_barren", n_barren), check_rng(rng)
    if windows.n_draws > 1:
        raise InputError(f"windows: has {windows.n_draws} draws, needs one; pass windows.of_draw(0)")
    test = []
    for name, label, n in (("n_ore", 1, n_ore), ("n_barren", 0, n_barren)):
        at = np.flatnonzero(windows.labels == label)
        if n >= at.size:
            fix = f"pass {name}={at.size - 1} or fewer" if at.size > 1 else "pass more windows"
            raise InputError(f"{name}={n}: of {at.size} windows none would be left for training; {fix}")
        test.append(generator.choice(at, n, replace=False))
    held = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(windows)), held), held


# -- checks ----------------------------------------------------------------------------------------------


def _check_recipe(recipe: str, given: dict[str, Any]) -> None:
    """Raise where an argument contradicts the recipe."""
    for name, value in RECIPES[check_choice("recipe", recipe, RECIPES)].items():
        array = isinstance(given[name], xr.DataArray)
        if array or given[name] != value:
            shown = "" if array else f"={given[name]!r}"
            raise InputError(f"{name}{shown}: recipe={recipe!r} has {name}={value!r}; leave out one of the two")


def _check_size(grid: Grid, size: int, crop: int, zooms: tuple[int, ...], recipe: str | None) -> None:
    """Raise where a window is larger than the grid, or smaller than its crop, before any cell is read."""
    (ny, nx), widest = grid.shape, max(zooms)
    most = min(ny, nx) // widest
    if crop <= size <= most:
        return
    if size <= most:
        raise InputError(f"crop={crop}: is more than the window of size={size}; pass crop={size} or less")
    covers = f", zooms={zooms}: a window covers up to {size * widest} cells each way, and" if widest > 1 else ":"
    fix = f"pass size={most} or less" if most else "pass smaller zooms"
    if most and crop > most:
        fix += f" with crop={max(1, crop * most // max(size, crop))} or less"
    if most and recipe:
        fix += f", without recipe={recipe!r}"
    raise InputError(f"size={size}{covers} the survey has only {ny} x {nx} cells; {fix}")


def _fixes(count: str, room: int, chosen: WindowSettings, masked: bool = False) -> str:
    """Return which arguments of `sample_windows` to change, with their values, where there are too few positions."""
    ore = count == "n_ore"
    smaller = [count] * (room > 0) + ["size"] * (not ore)
    smaller += [f"buffer ({chosen.buffer:g})"] * (chosen.buffer > 0 and not ore)
    smaller += [f"min_valid ({chosen.min_valid:g})"] * (chosen.min_valid > 0) + [f"step ({chosen.step})"] * (
        chosen.step > 1
    )
    larger = ["size"] * ore + [f"slide ({chosen.slide:g})"] * (ore and chosen.slide < 1) + ["mask"] * masked
    larger += [f"dissimilar ({chosen.dissimilar:g})"] * (not ore and chosen.fraction < 1)
    choices = [f"a smaller {', '.join(smaller)}"] * bool(smaller) + [f"a larger {', '.join(larger)}"] * bool(larger)
    return f"pass {' or '.join(choices)}"


def _deposits_on(grid: Grid, deposits: gpd.GeoDataFrame) -> tuple[tuple[Any, ...], NDArray[np.float64]]:
    """Return ids and points of the deposits on the grid."""
    if len(deposits) == 0:
        raise InputError("deposits: there are none; at least one is needed")
    x, y = grid.points(deposits.geometry)
    inside = grid.contains(x, y)
    ids = deposits["id"].to_numpy() if "id" in deposits.columns else np.arange(1, len(deposits) + 1)
    if not inside.any():
        raise InputError(
            f"deposits: none of the {len(deposits)} is on the grid {grid.bounds} in {grid.crs.name!r}; "
            "are both CRS right?"
        )
    if not inside.all():
        warnings.warn(
            f"deposits: {int((~inside).sum())} are off the grid and are left out (id {first_rows(ids[~inside])})",
            DataWarning,
            stacklevel=user_level(),
        )
    if inside.sum() == 1:
        warnings.warn(
            "deposits: only one is on the grid; validation needs two or more", DataWarning, stacklevel=user_level()
        )
    return tuple(ids[inside].tolist()), np.column_stack([x, y])[inside]


# -- ore windows -----------------------------------------------------------------------------------------


def _ore_windows(
    cells: NDArray[np.int64], ids: tuple[Any, ...], enough: list[NDArray[np.bool_]], size: int, n_ore: int,
    chosen: WindowSettings, rng: np.random.Generator,
) -> NDArray[np.int64]:  # fmt: skip
    """Draw different positions of windows that contain their deposit, divided equally over the deposits.

    Returns (n_ore, 4): row, col, zoom, deposit; by deposit.
    """
    n, step = len(cells), chosen.step
    if n_ore < n:
        warnings.warn(
            f"n_ore={n_ore}: there are {n} deposits, so {n - n_ore} of them have no window",
            DataWarning,
            stacklevel=user_level(),
        )
    given, room, drawn = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), []
    for zoom, positions, wanted in zip(chosen.zooms, enough, _equal_parts(n_ore, len(chosen.zooms)), strict=True):
        width = size * zoom
        # The middle of an even window is between two cells, half a cell from both. Rounded because 0.29 * 100 < 29.
        reach = max(round(chosen.slide * width / 2, 9), 0.5)
        least = max(0, math.ceil((width - 1) / 2 - reach))  # offset of the deposit's cell in its window
        greatest = min(width - 1, math.floor((width - 1) / 2 + reach))
        around = [
            (_slice(r - greatest, r - least, step), _slice(c - greatest, c - least, step)) for r, c in cells.tolist()
        ]
        own = np.array([np.count_nonzero(positions[at]) for at in around])
        if own.sum() < wanted:
            raise InputError(
                f"n_ore={n_ore}: only {own.sum()} different windows of {width} cells contain a deposit, {wanted} are "
                f"needed; {_fixes('n_ore', int(own.sum()), chosen)}"
            )
        share = _divided(wanted, own, given, rng)
        for d, k in enumerate(share):
            which = np.sort(rng.choice(own[d], k, replace=False))
            place = _nth(positions[around[d]], which) + np.array([around[d][0].start, around[d][1].start])
            drawn.append(np.column_stack([place * step, np.full((k, 2), (zoom, d))]))
        given, room = given + share, room + own
    cramped = np.flatnonzero((given == room) & (given < given.max() - 1))
    if cramped.size:
        warnings.warn(
            f"deposits: {cramped.size} at the edge of the data have fewer possible windows (id "
            f"{first_rows([ids[d] for d in cramped])}: {first_rows(room[cramped])}), and the others get more; "
            "extend the grid (pad) for more positions",
            DataWarning,
            stacklevel=user_level(),
        )
    found = np.concatenate(drawn)
    return found[np.argsort(found[:, 3], kind="stable")]


def _slice(first: int, last: int, step: int) -> slice:
    """Return the positions, `step` cells apart, from one cell to another."""
    begin = -(-max(first, 0) // step)
    return slice(begin, max(begin, last // step + 1))


def _divided(
    total: int, room: NDArray[np.int64], given: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Distribute `total` as evenly as capacities allow, counting what was given; assign the remainder at random."""

    def filled(level: int) -> NDArray[np.int64]:
        share: NDArray[np.int64] = np.clip(level - given, 0, room)
        return share

    level = bisect.bisect_right(range(int((given + room).max()) + 1), total, key=lambda k: int(filled(k).sum())) - 1
    share = filled(level)
    more = rng.permutation(np.flatnonzero(filled(level + 1) > share))[: total - int(share.sum())]
    share[more] += 1
    return share


def _equal_parts(n: int, parts: int) -> list[int]:
    """Return `n` in equal parts; the first ones get the remainder."""
    return [n // parts + (i < n % parts) for i in range(parts)]


# -- background windows ----------------------------------------------------------------------------------


def _close_near_deposits(
    positions: NDArray[np.bool_], cells: NDArray[np.int64], width: int, grid: Grid, chosen: WindowSettings
) -> None:
    """Set positions to False where a window contains a deposit or is within the buffer of one."""
    down, across = (math.ceil(chosen.buffer / length) for length in grid.resolution)
    for r, c in cells.tolist():
        rows = _slice(r - width + 1 - down, r + down, chosen.step)
        positions[rows, _slice(c - width + 1 - across, c + across, chosen.step)] = False


def _least_like(
    survey: xr.Dataset, width: int, n_barren: int, ore: NDArray[np.int64], positions: NDArray[np.bool_],
    chosen: WindowSettings, rng: np.random.Generator,
) -> NDArray[np.int64]:  # fmt: skip
    """Return the numbers of the positions whose windows are least like the ore windows of the same zoom."""
    room, wanted = int(np.count_nonzero(positions)), max(_CANDIDATES, math.ceil(n_barren / chosen.fraction))
    pool = np.arange(room) if room <= wanted else np.sort(rng.choice(room, wanted, replace=False))
    rows, cols = np.concatenate([ore[:, :2], _nth(positions, pool) * chosen.step]).T
    means = window_means(survey, rows, cols, np.full(len(rows), width))
    return pool[farthest(dissimilarity(means[: len(ore)], means[len(ore) :]), chosen.fraction)]


def _nth(cells: NDArray[np.bool_], which: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return row and column, (N, 2), of the true cells with numbers `which`, counted row by row from 0."""
    before = np.concatenate([[0], np.cumsum(np.count_nonzero(cells, axis=1))])
    rows = np.searchsorted(before, which, side="right") - 1
    cols = np.empty_like(rows)
    for row in np.unique(rows):
        mine = rows == row
        cols[mine] = np.flatnonzero(cells[row])[which[mine] - before[row]]
    return np.column_stack([rows, cols])
