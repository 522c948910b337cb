"""Where windows are cut: slid over each deposit, and drawn where none lies."""

from __future__ import annotations

import functools
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import geopandas as gpd
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import check_choice, check_int, check_number, check_rng, first_rows, user_level
from geoprospect.errors import DataWarning, InputError
from geoprospect.grid import Grid, grid_of_survey
from geoprospect.io.deposits import check_deposits
from geoprospect.windows.windows import Windows, check_windows

# What the paper fixes. Buffer, slide, step and min_valid it leaves open.
_RECIPES: dict[str, dict[str, Any]] = {
    "gao2022": {
        "size": 256,
        "crop": 224,
        "n_ore": 212,
        "n_barren": 225,
        "zooms": (1,),
        "barren": "random",
        "mask": None,
        "draws": 1,
    }
}
# The share of a window that the paper's network sees.
_PAPER_CROP = (224, 256)
# Places among which the least like ore are looked for; of more, so many are drawn.
_CANDIDATES = 20_000
# How far the correlation of bands is shrunk towards none: closed or collinear bands leave it singular.
_SHRINKAGE = 0.1
# Rows of places judged at once: some MB, where the whole grid would take hundreds.
_ROWS = 256


@dataclass(frozen=True)
class _Rules:
    """What is asked of a set of windows; see `sample_windows`."""

    size: int
    n_ore: int
    n_barren: int
    buffer: float
    min_valid: float
    slide: float
    step: int
    zooms: tuple[int, ...]
    share: float  # of the barren places, the least like ore, that may be drawn from

    @property
    def parts(self) -> list[tuple[int, int, int]]:
        """Width in cells, ore windows and barren windows of each zoom."""
        ore, barren = _shared_out(self.n_ore, len(self.zooms)), _shared_out(self.n_barren, len(self.zooms))
        return [(self.size * zoom, n, m) for zoom, n, m in zip(self.zooms, ore, barren, strict=True)]


@dataclass(frozen=True)
class _Ground:
    """What places are judged by: the summed table of cells with data, and the cells of the deposits."""

    grid: Grid
    known: NDArray[np.integer[Any]]  # (Y + 1, X + 1)
    row: NDArray[np.int64]  # (D,)
    col: NDArray[np.int64]


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
    recipe: str | None = None,
    slide: float = 1.0,
    step: int = 1,
    zooms: int | Iterable[int] = (1,),
    barren: str = "random",
    dissimilar: float = 0.5,
    mask: xr.DataArray | None = None,
    draws: int = 1,
) -> Windows:
    """Cut training windows: slid over each deposit, and drawn where none lies.

    The counts and sizes of Gao et al. [1]_ are the defaults. Ore windows are shared out evenly
    over the deposits; each is a different place from which the window holds its deposit. Barren
    windows are drawn at random from all places where a window holds no deposit. Both kinds keep the
    same rules (`min_valid`, `step`, `zooms`, `mask`), so that where a window lies never tells what it is.

    Barren means that no deposit is known there, not that there is none. Two remedies are offered:
    several draws, whose spread shows how much hangs on the choice [2]_, and barren windows that
    look least like ore [3]_.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands with dims (y, x), in memory or chunked. Only their grid and where they have data matter,
        but for ``barren="dissimilar"``.
    deposits : GeoDataFrame
        Points; those off the grid are left out with a warning.
    size : int, default 256
        Width and height of a window, in cells.
    crop : int, default 224
        Width and height of the part that the network will see, in cells.
    n_ore, n_barren : int, default 212 and 225
        How many windows of each kind; `n_barren` for each draw.
    buffer : float, default 0
        Distance that barren windows keep from every deposit, in CRS units.
    rng : int, Generator or None
        Draws the places.
    min_valid : float, default 0.5
        Least share of cells in a window that have data in all bands, within the mask.
    recipe : {'gao2022'}, optional
        Holds the set to that of the paper: 212 ore windows by sliding, 225 barren at random, 256 cells
        cropped to 224. What the paper leaves open (`buffer`, `slide`, `step`, `min_valid`) stays free.
    slide : float, default 1
        How far from the middle of its windows a deposit may lie, as a share of half the window: 1 for
        anywhere in the window, 0 for the cell in the middle.
    step : int, default 1
        Windows begin on every `step`-th row and column of the grid.
    zooms : int or iterable of int, default (1,)
        Zooms to share the windows out over, ore and barren ones alike, so that zoom never tells the label.
        A window of zoom 2 covers twice the ground each way, seen as means of 2 x 2 cells.
    barren : {'random', 'dissimilar'}, default 'random'
        From where barren windows are drawn: all places without a deposit, or those of them that are
        least like the ore windows. The latter makes the task easier, and scores on such windows
        too high; see `least_like_ore`, which does it within a fold.
    dissimilar : float, default 0.5
        With ``barren="dissimilar"``: the share of places to draw from, the least like ore first.
    mask : DataArray of bool, optional
        Ground that windows may lie on, on the grid of the survey: a permissive tract, or where samples
        are near enough. Cells outside count as cells without data.
    draws : int, default 1
        Independent draws of barren windows; no place comes twice within one. See ``Windows.of_draw``.

    Returns
    -------
    Windows
        Ore windows first, by deposit, then the barren ones, draw by draw.

    Raises
    ------
    InputError
        When no deposit lies on the grid, a band has no data at all, a window is larger than the grid,
        an argument contradicts the recipe, or fewer places than asked for are left. The message then says which other
        values would do.

    Warns
    -----
    DataWarning
        When deposits lie off the grid, only one is left, there are more than `n_ore`, or some have
        room for fewer windows than the others.

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
    size, crop, draws = check_int("size", size), check_int("crop", crop), check_int("draws", draws)
    scales = _check_zooms(zooms)
    rules = _Rules(
        size=size,
        n_ore=check_int("n_ore", n_ore, minimum=len(scales)),
        n_barren=check_int("n_barren", n_barren, minimum=len(scales)),
        buffer=check_number("buffer", buffer, minimum=0),
        min_valid=check_number("min_valid", min_valid, minimum=0, maximum=1),
        slide=check_number("slide", slide, minimum=0, maximum=1),
        step=check_int("step", step),
        zooms=scales,
        share=_check_barren(barren, dissimilar),
    )
    given = {"size": size, "crop": crop, "n_ore": rules.n_ore, "n_barren": rules.n_barren}
    _check_recipe(recipe, given | {"zooms": scales, "barren": barren, "mask": mask, "draws": draws})
    generator, grid = check_rng(rng), grid_of_survey(survey)
    ids, points = _deposits_on(grid, check_deposits(deposits))
    without = "" if recipe is None else f", without recipe={recipe!r}"
    if any(band.chunks for band in _bands(survey)):  # what they are made from may take hours
        _check_shape(grid, rules, crop, without)
    ground = _Ground(grid, _summed(cells_with_data(survey, grid, mask)), *grid.rowcol(*points.T))
    _check_size(ground, rules, crop, without)
    ore = _slide(ground, rules, crop, ids, generator)  # (n_ore, 4): row, col, zoom, deposit
    free = _barren_places(ground, rules, crop, mask is not None)
    pools: list[Sequence[int] | NDArray[np.int64]] = [range(np.count_nonzero(places)) for places in free]
    if barren == "dissimilar":
        pools = [_least_like(survey, grid, rules, z, ore, free[z], generator) for z in range(len(scales))]
    drawn = [_draw_barren(rules, free, pools, generator) for _ in range(draws)]  # each (n_barren, 3): row, col, zoom
    rows, cols, zoom = np.concatenate([ore[:, :3], *drawn]).T
    return Windows(
        grid=grid,
        rows=rows,
        cols=cols,
        labels=np.repeat([1, 0], [rules.n_ore, draws * rules.n_barren]),
        deposits=np.concatenate([ore[:, 3], np.full(draws * rules.n_barren, -1)]),
        deposit_ids=ids,
        deposit_points=points,
        size=size,
        crop=crop,
        zooms=zoom,
        draw=np.repeat([-1, *(range(draws) if draws > 1 else [-1])], [rules.n_ore, *[rules.n_barren] * draws]),
    )


def least_like_ore(windows: Windows, survey: xr.Dataset, share: float = 0.5) -> NDArray[np.int64]:
    """Keep the ore windows, and of the barren ones those that look least like them.

    What ``sample_windows(…, barren="dissimilar")`` does to places, done to windows that are there. Give it
    the training windows of a fold: barren windows of the test are then left as they were drawn, and
    ore windows of the test have no say. Chosen on all windows at once, the barren ones of a test
    would be far from its ore by choice, and the scores too high.

    Each window is the mean of each band over it, as a normal score among the windows given, so that
    neither units nor outliers weigh. How little a window is like ore is its distance from the nearest ore
    window, in the metric of Mahalanobis: bands that go together count once. The correlation is that of the
    barren windows, shrunk by a tenth towards none.

    Parameters
    ----------
    windows : Windows
        Of both kinds. Each zoom and each draw is taken by itself.
    survey : xarray.Dataset
        Bands on the grid of the windows; all of them count.
    share : float, default 0.5
        Share of the barren windows to keep, rounded up.

    Returns
    -------
    ndarray of int
        Indices into `windows`, ascending.

    Raises
    ------
    InputError
        When a kind is missing at some zoom, or the survey lies on another grid.

    References
    ----------
    Carranza, E. J. M., Hale, M. and Faassen, C. (2008). Selection of coherent deposit-type locations and
    their application in data-driven mineral prospectivity mapping.
    https://doi.org/10.1016/j.oregeorev.2007.07.001

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples[["Cu", "Ag"]], area.grid)
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=50, rng=0)
    >>> windows[gp.least_like_ore(windows, survey, share=0.6)]
    Windows(40 ore, 30 barren; 8 cells (3.43 km) cropped to 7; 40 deposits)
    """
    check_windows(windows, survey)
    share, grid = check_number("share", share, above=0, maximum=1), grid_of_survey(survey)
    if grid != windows.grid:
        raise InputError(
            f"survey: lies on {grid}, the windows were cut on {windows.grid}; take the survey of the windows"
        )
    means = _means(survey, grid, windows.rows, windows.cols, windows.widths)
    kept = [np.flatnonzero(windows.labels == 1)]
    for zoom in np.unique(windows.zooms):
        ore = np.flatnonzero((windows.labels == 1) & (windows.zooms == zoom))
        other = np.flatnonzero((windows.labels == 0) & (windows.zooms == zoom))
        if not ore.size or not other.size:
            raise InputError(
                f"windows: {ore.size} ore and {other.size} barren ones have zoom {zoom}; both kinds are needed at each"
            )
        distance = _unlikeness(means[ore], means[other])
        for draw in np.unique(windows.draw[other]):
            mine = windows.draw[other] == draw
            kept.append(other[mine][_farthest(distance[mine], share)])
    return np.sort(np.concatenate(kept))


def hold_back(
    windows: Windows, n_ore: int = 102, n_barren: int = 104, rng: int | np.random.Generator | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep windows back at random for a test, as Table 2 of Gao et al. [1]_ does: this measures memory.

    Windows that were kept back overlap those that are trained on, most of them with windows of the very same
    deposit. A network that remembers the ground does well on them and may be worth nothing elsewhere. It is here
    to repeat the paper. `audit` says how much of the test ground was trained on; `spatial_folds`
    and `cross_validate` keep the two apart.

    The table fits 102 ore and 104 barren windows, drawn from the ground of the 212 and 225 that train.
    The paper does not say whether they are among these or were cut in addition. Here they are among the
    windows given, so that none is in both parts: of 437 windows, 231 are left for training. To train on
    437 beside them, cut 314 and 329 and keep 102 and 104 back.

    Parameters
    ----------
    windows : Windows
        Of one draw.
    n_ore, n_barren : int, default 102 and 104
        How many of each kind to keep back; at least one of each must be left.
    rng : int, Generator or None
        Draws them.

    Returns
    -------
    train, test : ndarray of int
        Indices into `windows`, ascending; no window is in both.

    Raises
    ------
    InputError
        When fewer windows are there than to keep back and one more, or there are several draws.

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
        raise InputError(f"windows: has {windows.n_draws} draws; keep back from one, windows.of_draw(0)")
    test = []
    for name, label, n in (("n_ore", 1, n_ore), ("n_barren", 0, n_barren)):
        at = np.flatnonzero(windows.labels == label)
        if n >= at.size:
            cure = f"keep back at most {at.size - 1}" if at.size > 1 else "cut more windows"
            raise InputError(f"{name}={n}: of {at.size} windows none would be left for training; {cure}")
        test.append(generator.choice(at, n, replace=False))
    held = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(windows)), held), held


# -- what may be asked -----------------------------------------------------------------------------------


def _check_zooms(zooms: int | Iterable[int]) -> tuple[int, ...]:
    listed = list(zooms) if isinstance(zooms, Iterable) else [zooms]
    scales = tuple(check_int("zooms", zoom) for zoom in listed)
    if not scales or len(set(scales)) < len(scales):
        raise InputError(f"zooms={zooms!r}: needs one or more different whole numbers, for example (1, 2)")
    return scales


def _check_barren(barren: str, dissimilar: float) -> float:
    """Return the share of barren places to draw from."""
    check_choice("barren", barren, ("random", "dissimilar"))
    share = check_number("dissimilar", dissimilar, above=0, maximum=1)
    if barren == "random" and share != 0.5:
        raise InputError(f"dissimilar={share:g}: barren='random' draws from all places; pass barren='dissimilar'")
    return 1.0 if barren == "random" else share


def _check_recipe(recipe: str | None, given: dict[str, Any]) -> None:
    """Raise where an argument contradicts the recipe."""
    if recipe is None:
        return
    for name, value in _RECIPES[check_choice("recipe", recipe, _RECIPES)].items():
        array = isinstance(given[name], xr.DataArray)
        if array or given[name] != value:
            shown = "" if array else f"={given[name]!r}"
            raise InputError(f"{name}{shown}: recipe={recipe!r} has {name}={value!r}; leave out one of the two")


def _check_size(ground: _Ground, rules: _Rules, crop: int, without: str) -> None:
    """Raise where a window has no room on the grid, or is smaller than its crop; say which size would do."""
    size, most = rules.size, _largest(ground.grid, rules)
    if crop <= size <= most:
        return
    seen, said = _share_seen(crop, size), _without_room(ground.grid, rules, crop)
    if size > most:
        said += f"; take at most size={most}" if most else "; take smaller zooms"
    elif _fits(ground, rules, "size", int, size):
        raise InputError(f"{said}; crop={seen} would do")
    start = min(size - 1, most)
    k = _walk(functools.partial(_fits, ground, rules, "size", lambda k: start - k), start)
    if k is None:
        raise InputError(said if size > most else f"{said}; take at most crop={size}")
    raise InputError(f"{said}; size={start - k}{_with_crop(seen, start - k, size)} would do{without}")


def _check_shape(grid: Grid, rules: _Rules, crop: int, without: str) -> None:
    """Raise where a window has no room on the grid, or is smaller than its crop, before any cell is looked at."""
    size, most = rules.size, _largest(grid, rules)
    if crop <= size <= most:
        return
    said = _without_room(grid, rules, crop)
    if size <= most:
        raise InputError(f"{said}; take at most crop={size}")
    if not most:
        raise InputError(f"{said}; take smaller zooms")
    raise InputError(f"{said}; take at most size={most}{_with_crop(_share_seen(crop, size), most, size)}{without}")


def _largest(grid: Grid, rules: _Rules) -> int:
    """Return the size of the largest windows that have room on the grid."""
    return min(grid.shape) // max(rules.zooms)


def _without_room(grid: Grid, rules: _Rules, crop: int) -> str:
    """Say that windows are larger than the grid, or smaller than their crop."""
    (ny, nx), size, widest = grid.shape, rules.size, max(rules.zooms)
    if size <= _largest(grid, rules):
        return f"crop={crop}: is more than the window of size={size}"
    covers = f", zooms={rules.zooms}: a window covers up to {size * widest} cells each way, and"
    return f"size={size}{covers if widest > 1 else ':'} the survey has only {ny} x {nx} cells"


def _share_seen(crop: int, size: int) -> int:
    """Return the crop; the share of the window that the paper's is, where it is larger than the window."""
    return crop if crop <= size else max(1, size * _PAPER_CROP[0] // _PAPER_CROP[1])


def _with_crop(crop: int, size: int, before: int) -> str:
    """Return ' with crop=…', the same share of a smaller window; nothing where the crop has room in it."""
    return f" with crop={max(1, int(crop * size // before))}" if size < crop else ""


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
            stacklevel=user_level(),
        )
    if inside.sum() == 1:
        warnings.warn(
            "deposits: only one lies on the grid; nothing can be validated on one", DataWarning, stacklevel=user_level()
        )
    return tuple(ids[inside].tolist()), np.column_stack([x, y])[inside]


# -- the ground ------------------------------------------------------------------------------------------


def _bands(survey: xr.Dataset) -> list[xr.DataArray]:
    """Return the bands, each with dims (y, x); whatever else the survey holds is no band."""
    return [band.transpose("y", "x") for band in survey.data_vars.values() if set(band.dims) == {"y", "x"}]


def cells_with_data(survey: xr.Dataset, grid: Grid, mask: xr.DataArray | None = None) -> NDArray[np.bool_]:
    """Return the cells within the mask that have data in all bands, (Y, X).

    Bands in chunks are looked at chunk by chunk and all at once, so that what they are computed
    from is computed once and never held as a whole.
    """
    cells = np.ones(grid.shape, dtype=bool) if mask is None else _check_mask(mask, grid)
    finite = (np.isfinite(band.variable) for band in _bands(survey))
    known: xr.Variable = functools.reduce(operator.and_, finite, xr.Variable(("y", "x"), cells))
    array: NDArray[np.bool_] = known.to_numpy()
    if not array.any():
        _check_bands(survey)
    return array


def _check_bands(survey: xr.Dataset) -> None:
    """Raise where a band has no data at all: no window can have data in all bands then."""
    bands = {str(band.name): band for band in _bands(survey)}
    empty = [name for name, band in bands.items() if not bool(np.isfinite(band.variable).any())]
    if not empty:
        return
    if len(empty) == len(bands):
        raise InputError(f"survey: has no data in any of {first_rows(empty, 8)}; look at what it was made from")
    raise InputError(
        f"survey: has no data at all in {first_rows(empty, 8)}, and windows need data in all bands; leave it out: "
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
        raise InputError(f"mask: lies on {own}, the survey on {grid}; bring it there with read_bands(path, grid)")
    cells: NDArray[np.bool_] = mask.transpose("y", "x").to_numpy()
    return cells


def _summed(cells: NDArray[np.bool_]) -> NDArray[np.integer[Any]]:
    """Return the summed table of cells, (Y + 1, X + 1)."""
    total = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), dtype=np.int32 if cells.size < 2**31 else np.int64)
    np.cumsum(cells, axis=1, out=total[1:, 1:])
    return _downwards(total)


def _downwards(table: NDArray[Any]) -> NDArray[Any]:
    """Sum the rows of a table up from the north, in place; row by row is five times as fast as `cumsum`."""
    for row in range(1, len(table)):
        table[row] += table[row - 1]
    return table


def _enough(ground: _Ground, rules: _Rules, width: int) -> NDArray[np.bool_]:
    """Return which windows have enough data, (rows, columns) of places `step` cells apart."""
    step, least = rules.step, rules.min_valid * width * width
    ny, nx = (n - width for n in ground.grid.shape)
    enough = np.empty((ny // step + 1, nx // step + 1), dtype=bool)
    top, bottom = ground.known[: ny + 1 : step], ground.known[width::step]
    for at in range(0, len(enough), _ROWS):
        strip = bottom[at : at + _ROWS] - top[at : at + _ROWS]
        enough[at : at + _ROWS] = strip[:, width::step] - strip[:, : nx + 1 : step] >= least
    return enough


def _reach(rules: _Rules, width: int) -> tuple[int, int]:
    """Return the least and the greatest offset of a deposit's cell from the north-west cell of its window."""
    # The middle of an even window lies between two cells, half a cell from either. Rounded for the sake of 0.29 * 100.
    reach = max(round(rules.slide * width / 2, 9), 0.5)
    return max(0, math.ceil((width - 1) / 2 - reach)), min(width - 1, math.floor((width - 1) / 2 + reach))


def _sliding(ground: _Ground, rules: _Rules, width: int) -> list[tuple[slice, slice]]:
    """Return for each deposit the rectangle of places from which a window may hold it."""
    least, greatest = _reach(rules, width)
    return [
        (_slice(r - greatest, r - least, rules.step), _slice(c - greatest, c - least, rules.step))
        for r, c in zip(ground.row.tolist(), ground.col.tolist(), strict=True)
    ]


def _slice(first: int, last: int, step: int) -> slice:
    """Return the places `step` cells apart that lie from one cell to another."""
    begin = -(-max(first, 0) // step)
    return slice(begin, max(begin, last // step + 1))


def _free(ground: _Ground, rules: _Rules, width: int, enough: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the windows with enough data hold no deposit and keep the buffer from all."""
    free = enough.copy()
    down, across = (math.ceil(rules.buffer / length) for length in ground.grid.resolution)
    for r, c in zip(ground.row.tolist(), ground.col.tolist(), strict=True):
        rows = _slice(r - width + 1 - down, r + down, rules.step)
        free[rows, _slice(c - width + 1 - across, c + across, rules.step)] = False
    return free


# -- ore -------------------------------------------------------------------------------------------------


def _slide(
    ground: _Ground, rules: _Rules, crop: int, ids: tuple[Any, ...], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw different places of windows that hold their deposit, evenly over the deposits.

    Returns (n_ore, 4): row, col, zoom, deposit; by deposit.
    """
    n = len(ids)
    if rules.n_ore < n:
        warnings.warn(
            f"n_ore={rules.n_ore}: there are {n} deposits, so {n - rules.n_ore} of them have no window",
            DataWarning,
            stacklevel=user_level(),
        )
    given, room, drawn = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), []
    for zoom, (width, n_ore, _) in zip(rules.zooms, rules.parts, strict=True):
        enough, sliding = _enough(ground, rules, width), _sliding(ground, rules, width)
        own = np.array([np.count_nonzero(enough[at]) for at in sliding])
        if own.sum() < n_ore:
            rest = f", {n_ore} wanted at zoom {zoom}" if len(rules.zooms) > 1 else ""
            raise InputError(
                f"n_ore={rules.n_ore}: only {own.sum()} different windows of {width} cells hold a deposit "
                f"(min_valid={rules.min_valid:g}, slide={rules.slide:g}, step={rules.step}{rest}); "
                f"{_cures(ground, rules, crop)}"
            )
        share = _share_out(n_ore, own, given, rng)
        for d, k in enumerate(share):
            which = np.sort(rng.choice(own[d], k, replace=False))
            place = _nth(enough[sliding[d]], which) + np.array([sliding[d][0].start, sliding[d][1].start])
            drawn.append(np.column_stack([place * rules.step, np.full((k, 2), (zoom, d))]))
        given, room = given + share, room + own
    cramped = np.flatnonzero((given == room) & (given < given.max() - 1))
    if cramped.size:
        warnings.warn(
            f"deposits: {cramped.size} at the edge of the data have room for few windows (id "
            f"{first_rows([ids[d] for d in cramped])}: {first_rows(room[cramped])}); the others have more instead; "
            "a wider grid (pad) gives room",
            DataWarning,
            stacklevel=user_level(),
        )
    found = np.concatenate(drawn)
    return found[np.argsort(found[:, 3], kind="stable")]


def _share_out(
    total: int, room: NDArray[np.int64], given: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Share `total` out so that with what was given all have as much as their room allows; the rest goes by lot."""

    def filled(level: int) -> NDArray[np.int64]:
        share: NDArray[np.int64] = np.clip(level - given, 0, room)
        return share

    most = int((given + room).max())
    beyond = _first(lambda k: int(filled(k).sum()) > total, most + 1)
    level = most if beyond is None else max(beyond - 1, 0)
    share = filled(level)
    more = rng.permutation(np.flatnonzero(filled(level + 1) > share))[: total - int(share.sum())]
    share[more] += 1
    return share


# -- barren ----------------------------------------------------------------------------------------------


def _barren_places(ground: _Ground, rules: _Rules, crop: int, masked: bool) -> list[NDArray[np.bool_]]:
    """Return for each zoom the places where a barren window may lie; raise where they are too few."""
    found = []
    for zoom, (width, _, n_barren) in zip(rules.zooms, rules.parts, strict=True):
        free = _free(ground, rules, width, _enough(ground, rules, width))
        room = _kept(int(np.count_nonzero(free)), rules.share)
        if room < n_barren:
            raise InputError(
                f"n_barren={rules.n_barren}: only {room} places are left for a window without a deposit "
                f"({_asked(rules, zoom, n_barren, masked)}); {_cures(ground, rules, crop)}"
            )
        found.append(free)
    return found


def _asked(rules: _Rules, zoom: int, n_barren: int, masked: bool) -> str:
    """Return what is asked of barren places, for a message."""
    words = [f"size={rules.size}", f"buffer={rules.buffer:g}"]
    words.append(f"min_valid={rules.min_valid:g}{' of cells within the mask' if masked else ''}")
    words += [f"step={rules.step}"] if rules.step > 1 else []
    words += [f"dissimilar={rules.share:g}"] if rules.share < 1 else []
    words += [f"{n_barren} wanted at zoom {zoom}"] if len(rules.zooms) > 1 else []
    return ", ".join(words)


def _draw_barren(
    rules: _Rules,
    free: list[NDArray[np.bool_]],
    pools: Sequence[Sequence[int] | NDArray[np.int64]],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw different barren places, (n_barren, 3): row, col, zoom. Pools number the places that are free."""
    drawn = []
    for zoom, places, pool, (_, _, n) in zip(rules.zooms, free, pools, rules.parts, strict=True):
        which = np.sort([pool[i] for i in rng.choice(len(pool), n, replace=False)])
        drawn.append(np.column_stack([_nth(places, which) * rules.step, np.full(n, zoom)]))
    return np.concatenate(drawn)


def _least_like(
    survey: xr.Dataset, grid: Grid, rules: _Rules, z: int, ore: NDArray[np.int64], free: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.int64]:  # fmt: skip
    """Return the numbers of those free places whose windows are least like the ore windows of their zoom."""
    width, _, n_barren = rules.parts[z]
    room, wanted = int(np.count_nonzero(free)), max(_CANDIDATES, math.ceil(n_barren / rules.share))
    pool = np.arange(room) if room <= wanted else np.sort(rng.choice(room, wanted, replace=False))
    places = np.concatenate([ore[ore[:, 2] == rules.zooms[z], :2], _nth(free, pool) * rules.step])
    means = _means(survey, grid, places[:, 0], places[:, 1], np.full(len(places), width))
    n_ore = len(places) - len(pool)
    return pool[_farthest(_unlikeness(means[:n_ore], means[n_ore:]), rules.share)]


def _means(
    survey: xr.Dataset, grid: Grid, rows: NDArray[np.int64], cols: NDArray[np.int64], widths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean of each band over the cells with data of each window, (N, C); NaN where there are none."""

    def inside(table: NDArray[Any]) -> NDArray[Any]:
        below, right = rows + widths, cols + widths
        total: NDArray[Any] = table[below, right] - table[rows, right] - table[below, cols] + table[rows, cols]
        return total

    means, table = [], np.empty((grid.shape[0] + 1, grid.shape[1] + 1))
    before, count = np.empty(0, dtype=bool), np.empty(0, dtype=np.int64)
    for band in _bands(survey):
        values = band.to_numpy()
        known = np.isfinite(values)
        if not np.array_equal(known, before):  # most bands lack data where the last one does
            before, count = known, inside(_summed(known))
        centre = values[known].mean(dtype=np.float64) if known.any() else 0.0  # sums about 0 lose no digits
        table[0], table[:, 0] = 0, 0
        np.cumsum(np.where(known, np.subtract(values, centre, dtype=np.float64), 0), axis=1, out=table[1:, 1:])
        means.append(np.where(count > 0, inside(_downwards(table)) / np.maximum(count, 1) + centre, np.nan))
    if not means:
        raise InputError("survey: has no band with dims (y, x), so no window can be told from another")
    return np.column_stack(means)


def _unlikeness(ore: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each place, (M, C), is from the nearest ore window, (N, C).

    In normal scores, and the metric of Mahalanobis with the shrunk correlation of the places. The nearest,
    not the mean: between two kinds of ore lies ground that is like neither.
    """
    from scipy.spatial.distance import cdist

    scores = np.column_stack([_normal_scores(band) for band in np.concatenate([ore, places]).T])
    own = scores[len(ore) :]
    spread = own.T @ own / len(own)
    spread = (1 - _SHRINKAGE) * spread + _SHRINKAGE * np.eye(len(spread))
    white = np.linalg.solve(np.linalg.cholesky(spread), scores.T).T
    parts = np.array_split(white[len(ore) :], 1 + white.size * len(ore) // 2**24)
    return np.concatenate([cdist(part, white[: len(ore)]).min(axis=1) for part in parts])


def _normal_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal quantiles of the ranks; ties share theirs, no data stands in the middle.

    Means of windows over the same values differ in their last digits, by the order of summing. Ranks would
    blow that up: ground below a limit of detection, all one value, would look as varied as any.
    """
    from scipy.special import ndtri

    scores, known = np.zeros(len(values)), np.flatnonzero(np.isfinite(values))
    if not known.size:
        return scores
    known = known[np.argsort(values[known], kind="stable")]
    ascending = values[known]
    near = max(1e-9 * (ascending[-1] - ascending[0]), 1e-12 * np.abs(ascending).max())
    tie = np.concatenate([[0], np.cumsum(np.diff(ascending) > near)])
    n = np.bincount(tie)
    rank = np.cumsum(n) - (n - 1) / 2
    scores[known] = ndtri((rank[tie] - 0.5) / known.size)
    return scores


def _farthest(distance: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Return the indices, ascending, of the share with the greatest distances."""
    return np.sort(np.argsort(-distance, kind="stable")[: _kept(len(distance), share)])


def _kept(n: int, share: float) -> int:
    """Return the share of `n`, rounded up."""
    return math.ceil(round(share * n, 9))


# -- what would do ---------------------------------------------------------------------------------------


def _room(ground: _Ground, rules: _Rules) -> tuple[list[int], list[int]]:
    """Return how many different ore windows, and barren ones, there are for each zoom."""
    ore, barren = [], []
    for width, _, _ in rules.parts:
        enough = _enough(ground, rules, width)
        ore.append(sum(int(np.count_nonzero(enough[at])) for at in _sliding(ground, rules, width)))
        barren.append(_kept(int(np.count_nonzero(_free(ground, rules, width, enough))), rules.share))
    return ore, barren


def _fits(ground: _Ground, rules: _Rules, name: str, value: Callable[[int], float], k: int) -> bool:
    """Return whether there is room for all windows when one rule is `value(k)`."""
    change: dict[str, Any] = {name: value(k)}
    tried = replace(rules, **change)
    ore, barren = _room(ground, tried)
    return all(a >= n and b >= m for a, b, (_, n, m) in zip(ore, barren, tried.parts, strict=True))


def _cures(ground: _Ground, rules: _Rules, crop: int) -> str:
    """Return 'n_barren=37 or size=20 would do': the changes that alone make room, each of them tried."""
    cell, widest = min(ground.grid.resolution), min(ground.grid.shape) // max(rules.zooms)
    near, holes = math.ceil(rules.buffer / cell) - 1, math.ceil(100 * rules.min_valid) - 1
    off, share = math.floor(100 * rules.slide) + 1, math.floor(100 * rules.share) + 1
    # Each from the next value on, looser with every step. Windows may be too small as well as too large.
    searches: list[tuple[str, Callable[..., int | None], Callable[[int], float], int]] = [
        ("size", _walk, lambda k: rules.size - 1 - k, rules.size - 1),
        ("size", _walk, lambda k: rules.size + 1 + k, widest - rules.size),
        ("buffer", _first, lambda k: _rounded_down((near - k) * cell), near + 1),
        ("min_valid", _first, lambda k: (holes - k) / 100, holes + 1),
        ("step", _first, lambda k: rules.step - 1 - k, rules.step - 1),
        ("slide", _first, lambda k: (off + k) / 100, 101 - off),
        ("share", _first, lambda k: (share + k) / 100, 101 - share),
    ]
    found = _fewer(ground, rules)
    for name, search, value, n in searches:
        k = search(functools.partial(_fits, ground, rules, name, value), n)
        if k is not None:
            found.append(f"{'dissimilar' if name == 'share' else name}={value(k):g}")
            if name == "size":
                found[-1] += _with_crop(crop, int(value(k)), rules.size)
    if not found:
        return "no other size or rule alone makes room: look at where the survey has data, and at several at once"
    return f"{' or '.join(filter(None, [', '.join(found[:-1]), found[-1]]))} would do"


def _fewer(ground: _Ground, rules: _Rules) -> list[str]:
    """Return the counts that would do, as one change; nothing where a zoom would go without."""
    asked = {"n_ore": rules.n_ore, "n_barren": rules.n_barren}
    most = {name: _most(room) for name, room in zip(asked, _room(ground, rules), strict=True)}
    fewer = {name: n for name, n in most.items() if n < asked[name]}
    if min(fewer.values(), default=0) < len(rules.zooms):
        return []
    return [" with ".join(f"{name}={n}" for name, n in fewer.items())]


def _rounded_down(value: float) -> float:
    """Return the value to six digits, and no more than it is: what `:g` shows must still do."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 5) if value else 1.0
    return float(f"{math.floor(value / unit) * unit:.6g}")


def _most(room: list[int]) -> int:
    """Return the greatest number that can be shared out evenly over parts with that room."""
    least = min(room)
    return least * len(room) + room.index(least)


def _shared_out(n: int, parts: int) -> list[int]:
    """Return `n` in equal parts; what is left over goes to the first ones."""
    return [n // parts + (i < n % parts) for i in range(parts)]


def _first(works: Callable[[int], bool], n: int) -> int | None:
    """Return the first of 0 … n - 1 that works, where all after it do; None where the last one does not."""
    if n < 1 or not works(n - 1):
        return None
    low, high = 0, n - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle + 1, high)
    return low


def _walk(works: Callable[[int], bool], n: int) -> int | None:
    """Return a number of 0 … n - 1 that works while the one before does not; None where none is met.

    What makes room at first may take it away further on. So the way is walked in growing steps, and back by halves.
    """
    failed = -1
    while failed < n - 1:
        k = min(failed + 1 + max(failed, 0) // 4, n - 1)
        if works(k):
            back = _first(lambda i, after=failed + 1: works(after + i), k - failed)  # type: ignore[misc]
            return None if back is None else failed + 1 + back
        failed = k
    return None


def _nth(places: NDArray[np.bool_], which: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return row and column, (N, 2), of those of the true places that are numbered `which`, row by row from 0."""
    before = np.concatenate([[0], np.cumsum(np.count_nonzero(places, axis=1))])
    rows = np.searchsorted(before, which, side="right") - 1
    cols = np.empty_like(rows)
    for row in np.unique(rows):
        mine = rows == row
        cols[mine] = np.flatnonzero(places[row])[which[mine] - before[row]]
    return np.column_stack([rows, cols])
