"""Estimate the intensity of deposits and their expected number from probabilities of windows."""

from __future__ import annotations

import logging
import math
import warnings
from functools import lru_cache
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.special import wrightomega

from geoprospect._checks import check_number, first_rows, user_level
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.grid import Grid, cell_areas, ellipsoid, unit_km
from geoprospect.stats.calibration import SURE, checked_probability, log_odds

log = logging.getLogger("geoprospect")

Floats = NDArray[np.float64]

# More is a mistake in the units, and a table of all numbers up to it would not fit.
_MOST, _CROWDED = 100_000, 1000.0
# Totals beyond a billionth are left out; between them at most so many numbers are looked at.
_TAIL, _NODES = 1e-9, 256


def intensity(probability: xr.DataArray, n_deposits: float, *, window_area: float | None = None) -> xr.DataArray:
    """Turn calibrated probabilities of windows into deposits per km² that sum to a stated number.

    A probability of ore in a balanced set of windows is no count: ore is as frequent among those windows
    as barren ground, every deposit is in many of them, and so is every place in many windows of the map.
    What it does tell is how much likelier a place is than another. With ``m`` deposits expected in a
    window, windows slid over deposits fall there in proportion to ``m``, and barren windows drawn where no
    deposit lies in proportion to ``exp(-m)`` (a Poisson process), so that

    ``p / (1 - p) = c m exp(m)``.

    The constant is the prior correction of King and Zeng [1]_ for the ore share that was chosen. It need
    not be known: it is the one with which the deposits of the whole map sum to `n_deposits`.

    Parameters
    ----------
    probability : xarray.DataArray
        With dims (y, x), and before these one for several models or draws at most. Calibrated
        (`Calibration.apply`); NaN is no ground.
    n_deposits : float
        Number of deposits on the ground of the map, known ones and those expected to be undiscovered.
        Deposits on the rim where the map is NaN do not belong to it.
    window_area : float, optional
        Area in km² within which a deposit made a window ore. Default: a square as wide as the
        ``window_width`` in the attributes of the map says. Where deposits in a window are rare it hardly
        matters.

    Returns
    -------
    xarray.DataArray
        Deposits per km², on the same grid; NaN where there is no ground. Every map of several is
        normalised on its own.

    Raises
    ------
    InputError
        When values are not within 0 and 1, there is no ground, or the area of a window is not known.
    CRSError
        When the map has no CRS.

    Warns
    -----
    DataWarning
        When the map says that it is uncalibrated, or holds probabilities beyond 1e-6 and 1 - 1e-6, which
        are taken for these.

    Notes
    -----
    The true intensity is seen through the window: what comes out is its mean over a window about each
    place. Peaks narrower than a window are lower and wider than they are. Areas are those of the plane in
    a projected CRS, of the ellipsoid for a grid in degrees.

    References
    ----------
    .. [1] King, G. & Zeng, L. (2001). Logistic regression in rare events data. Political Analysis 9,
       137-163. https://doi.org/10.1093/oxfordjournals.pan.a004868

    Examples
    --------
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(1000, 0, 0, 0, -1000, 2000), (2, 3))
    >>> p = grid.dataset({"p": np.array([[0.5, 0.5, 0.9], [0.1, 0.5, np.nan]])}).p
    >>> density = gp.intensity(p, n_deposits=0.1, window_area=1)
    >>> density.to_numpy().round(4)
    array([[0.0087, 0.0087, 0.0731],
           [0.001 , 0.0087,    nan]], dtype=float32)
    >>> round(float(density.sum()), 4)  # cells of 1 km²
    0.1
    """
    total = check_number("n_deposits", n_deposits, above=0)
    grid, p = _checked_map("probability", probability)
    p, _ = checked_probability(p)
    if not np.isfinite(p).any(axis=(1, 2)).all():
        raise InputError("probability: is NaN everywhere, so there is no ground")
    _warn_of_probabilities(probability, p)
    area, window = cell_areas(grid), _window_areas(probability, grid, window_area)
    density = np.stack([_window_counts(one, area / window, total) for one in log_odds(p)]) / window  # (M, Y, X)
    result = probability.transpose(..., "y", "x")
    result = result.copy(data=density.reshape(result.shape).astype(np.float32))
    width = {key: value for key, value in probability.attrs.items() if key == "window_width"}
    result.attrs = {
        "units": "km-2",
        "long_name": f"deposits per km² (of {total:g} in all)",
        "n_deposits": total,
        **width,
    }
    result.encoding = dict(probability.encoding)
    return result.rename("intensity")


def expected_deposits(
    intensity: xr.DataArray,
    polygons: gpd.GeoDataFrame | gpd.GeoSeries,
    *,
    level: float = 0.95,
    n_deposits_sd: float | None = None,
    dispersion: float = 1.0,
    known: gpd.GeoDataFrame | None = None,
) -> pd.DataFrame:
    """Return how many deposits to expect in each polygon, with an interval of their number.

    The expected number is the intensity summed over the polygon, cells on its edge by the share of them
    that lies inside. The interval is one of the **number of deposits**, not of the expected number: given
    the total N on the map, each deposit falls into the polygon with a chance of ``q``, its share of the
    intensity. So the number is binomial, and what is not known widens it:

    - the total, by `n_deposits_sd`;
    - deposits that come together, by `dispersion`;
    - the intensity, where several maps are given, best five or more: the spread of ``q`` over them, of which
      the truth is taken for one more.

    The last two make the binomial a beta-binomial.

    Parameters
    ----------
    intensity : xarray.DataArray
        Deposits per km², from `intensity`: dims (y, x), and before these one for several models or draws
        at most. Its sum over the ground is the total that is expected.
    polygons : GeoDataFrame or GeoSeries
        Polygons in any CRS, for example licence areas.
    level : float, default 0.95
        Share of such intervals that hold the number, if what was stated holds.
    n_deposits_sd : float, optional
        Standard deviation of the total, with `known` of those to be found; 0 where it is known. Default:
        that of a Poisson number with the expected total as its mean, times the root of `dispersion`.
    dispersion : float, default 1
        Variance of the number of deposits in such a polygon over that of a Poisson process with this
        intensity; at least 1, at most 1000. See `overdispersion`.
    known : GeoDataFrame, optional
        Known deposits. The rest of the total is undiscovered, and taken to be spread like the intensity.

    Returns
    -------
    pandas.DataFrame
        Indexed like `polygons`: ``area_km2`` of the polygon, ``covered``, the share of it that is ground
        of the map, ``expected``, ``low`` and ``high`` for all deposits on that ground, known or not. With
        `known` also ``known``, their number there, and ``undiscovered``, ``undiscovered_low`` and
        ``undiscovered_high`` for the others. Missing where no ground is covered.

    Raises
    ------
    InputError
        When a geometry is no valid polygon, a number is out of range, or more deposits are known than the
        map has in all.
    CRSError
        When polygons, map or known deposits have no CRS, or a polygon has no place in that of the map.

    Warns
    -----
    DataWarning
        When a polygon lies partly or wholly off the ground of the map, or known deposits do.

    Notes
    -----
    Undiscovered deposits are not what is expected less what is known: under a Poisson process the number
    still to be found does not depend on how many were found. Where more was looked for than elsewhere,
    fewer are left than this says.

    Examples
    --------
    >>> import geopandas as gpd
    >>> import numpy as np
    >>> import shapely
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(1000, 0, 0, 0, -1000, 4000), (4, 10))
    >>> density = grid.dataset({"density": np.full((4, 10), 0.5)}).density
    >>> areas = gpd.GeoSeries([shapely.box(0, 0, 2500, 4000)], index=["A"], crs="EPSG:32649")
    >>> gp.expected_deposits(density, areas)
       area_km2  covered  expected  low  high
    A      10.0      1.0       5.0    1    10
    >>> gp.expected_deposits(density, areas, n_deposits_sd=0)  # 20 in all, neither more nor less
       area_km2  covered  expected  low  high
    A      10.0      1.0       5.0    2     9
    """
    level = check_number("level", level, above=0)
    if level >= 1:
        raise InputError(f"level={level!r}: needs a number between 0 and 1, for example 0.95")
    sd = None if n_deposits_sd is None else check_number("n_deposits_sd", n_deposits_sd, minimum=0)
    dispersion = check_number("dispersion", dispersion, minimum=1, maximum=_CROWDED)
    grid, maps = _checked_intensity(intensity)
    shapes, area, ground = _polygons_on(polygons, grid), cell_areas(grid), np.isfinite(maps[0])
    total, shares = _shares(maps, area)
    points = None if known is None else _known_on(known, grid, ground)
    if points is not None and len(points) > total:
        raise InputError(
            f"known: {len(points)} deposits are known on the ground of the map, whose intensity sums to {total:g}; "
            "n_deposits of intensity(…) counts the known ones and those to be found"
        )
    left = None if points is None else total - len(points)
    uncertain = total if left is None else left
    if sd is not None and sd > 2 * uncertain:
        raise InputError(
            f"n_deposits_sd={sd:g}: is more than twice the {uncertain:g} deposits that it belongs to (with known=, "
            "those to be found); if that little is known of the total, no interval can be given"
        )
    # A clustered process that is thinned to what is left is clustered less.
    thinned = 1 + (dispersion - 1) * (left or 0) / total
    rows = []
    for shape in shapes:
        covered, share, spread = _share_of_ground(shape, grid, area * ground, shares)
        whole = _polygon_area(shape, grid)
        correlation = _correlation(share, spread, (dispersion - 1) / (total + dispersion - 1))
        low, high = _interval(share, correlation, *_totals(total, sd, dispersion), level)
        row = {"area_km2": whole, "covered": min(covered / whole, 1.0), "expected": share * total}
        row |= {"low": low, "high": high}
        if points is not None and left is not None:
            low, high = _interval(share, correlation, *_totals(left, sd, thinned), level)
            row |= {"known": int(shapely.intersects_xy(shape, points).sum()) if len(points) else 0}
            row |= {"undiscovered": share * left, "undiscovered_low": low, "undiscovered_high": high}
        rows.append(row)
    return _table(rows, polygons.index, points is not None)


def overdispersion(intensity: xr.DataArray, deposits: gpd.GeoDataFrame, width: float) -> float:
    """Return how much more the number of deposits varies from block to block than the intensity says.

    The ground is cut into square blocks. With ``o`` deposits found in a block, ``e`` expected there (scaled
    to as many deposits in all) and ``n`` in all it is ``sum((o - e)²) / sum(e (1 - e/n))``: about 1 for
    deposits that are spread like the intensity and do not heed each other.

    Parameters
    ----------
    intensity : xarray.DataArray
        Deposits per km², as in `expected_deposits`; of several maps their mean.
    deposits : GeoDataFrame
        Known deposits; those off the ground of the map are left out with a warning. Where the intensity
        was fitted to these very deposits, it comes out too low: take a map out of fold.
    width : float
        Width of a block in CRS units: about as large as the polygons that it is wanted for. Clusters
        narrower than a block come out whole.

    Returns
    -------
    float
        At least 1, the `dispersion` of `expected_deposits`. With B blocks it is known to about
        ``sqrt(2/B)`` of its value.

    Raises
    ------
    InputError
        When fewer than two blocks or two deposits have ground.
    CRSError
        When map or deposits have no CRS.

    Examples
    --------
    >>> import geopandas as gpd
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(1000, 0, 0, 0, -1000, 4000), (4, 8))
    >>> density = grid.dataset({"density": np.full((4, 8), 0.5)}).density
    >>> together = gpd.GeoDataFrame(geometry=gpd.points_from_xy([100, 200, 300, 5000], [100] * 4), crs="EPSG:32649")
    >>> gp.stats.overdispersion(density, together, width=2000)
    2.2857142857142856
    """
    width = check_number("width", width, above=0)
    grid, maps = _checked_intensity(intensity)
    ground = np.isfinite(maps[0])
    points = _known_on(deposits, grid, ground, "deposits")
    per_cell = np.where(ground, maps.mean(axis=0) * cell_areas(grid), 0)
    left, _, _, top = grid.bounds
    down, right = ((top - grid.y) // width).astype(np.int64), ((grid.x - left) // width).astype(np.int64)
    block = down[:, None] * (right.max() + 1) + right  # (Y, X)
    n_blocks = int(block.max()) + 1
    expected = np.bincount(block.ravel(), per_cell.ravel(), n_blocks)
    row, col = grid.rowcol(*points.T)
    found = np.bincount(block[row, col], minlength=n_blocks)
    if len(points) < 2 or (expected > 0).sum() < 2:
        raise InputError(
            f"deposits, width={width:g}: {len(points)} deposits and {int((expected > 0).sum())} blocks have ground; "
            "two of each are needed; take a smaller width"
        )
    expected *= len(points) / expected.sum()
    variance = (expected * (1 - expected / len(points))).sum()
    return max(1.0, float(((found - expected) ** 2).sum() / variance))


# -- the ground --------------------------------------------------------------------------------


def _checked_map(name: str, data: Any) -> tuple[Grid, Floats]:
    """Return the grid and the values of one map or several, (M, Y, X) in float64."""
    if not isinstance(data, xr.DataArray):
        raise InputError(
            f"{name}: is a {type(data).__name__}, needs one variable of the map, for example result.probability"
        )
    if not {"y", "x"} <= set(data.dims) or data.ndim > 3:
        raise InputError(f"{name}: has dims {data.dims}, needs ('y', 'x'), and one more for several maps at most")
    grid = Grid.of(data)
    values: Floats = data.transpose(..., "y", "x").to_numpy().astype(np.float64)
    return grid, values.reshape(-1, *grid.shape)


def _checked_intensity(intensity: Any) -> tuple[Grid, Floats]:
    """Return the grid and the maps, (M, Y, X), which have their ground in common."""
    grid, maps = _checked_map("intensity", intensity)
    ground = np.isfinite(maps)
    if (maps < 0).any() or np.isinf(maps).any():
        raise InputError("intensity: has values that are negative or infinite; make it with intensity(probability, …)")
    if (ground != ground[0]).any():
        raise InputError("intensity: the maps differ in where they are NaN; put them on common ground with .where(…)")
    if not (np.nansum(maps, axis=(1, 2)) > 0).all():
        raise InputError("intensity: is 0 or NaN everywhere, so there is nothing to share out")
    return grid, maps


def _warn_of_probabilities(probability: xr.DataArray, p: Floats) -> None:
    if "uncalibrated" in str(probability.attrs.get("long_name", "")):
        warnings.warn(
            "probability: is uncalibrated, so the contrasts of the intensity are too strong; fit calibrate(…) out of "
            "fold and pass calibration.apply(probability)",
            DataWarning,
            stacklevel=user_level(),
        )
    sure = int(((p < SURE) | (p > 1 - SURE)).sum())
    if sure:
        warnings.warn(
            f"probability: {sure} of {int(np.isfinite(p).sum())} values lie beyond {SURE:g} and 1 - {SURE:g} and are "
            "taken for these: no window is that sure",
            DataWarning,
            stacklevel=user_level(),
        )


def _window_areas(probability: xr.DataArray, grid: Grid, window_area: float | None) -> Floats:
    """Return the area of a window in km² in each row, (Y, 1)."""
    if window_area is not None:
        return np.full((grid.shape[0], 1), check_number("window_area", window_area, above=0))
    width = probability.attrs.get("window_width")
    if width is None:
        raise InputError(
            "probability: does not say how wide its windows are (attribute 'window_width'); pass window_area= in km²"
        )
    cells = check_number("probability.attrs['window_width']", width, above=0) ** 2 / grid.cell_area
    return cell_areas(grid) * cells


def _window_counts(z: Floats, share: Floats, total: float) -> Floats:
    """Return the deposits in the window about each cell, m with ``m exp(m) = odds / c``, NaN where z is.

    `share` is the area of a cell over that of a window; ``(m * share).sum()`` is `total`. In logarithms
    ``m + log(m) = z + shift`` is Wright's omega function. The sum is convex in the shift, so that Newton's
    method, once beyond the root, comes down to it.
    """
    ground = np.isfinite(z)
    at, part = z[ground], np.broadcast_to(share, z.shape)[ground]
    top = at.max()
    shift = math.log(total) - top - math.log(float((part * np.exp(at - top)).sum()))
    for _ in range(200):
        m = wrightomega(at + shift)
        step = (total - float((part * m).sum())) / float((part * m / (1 + m)).sum())
        shift += step
        if abs(step) < 1e-10:
            break
    result = np.full(z.shape, np.nan)
    result[ground] = wrightomega(at + shift)
    log.info("log odds of the windows are shifted by %.2f to those of the ground", shift)
    return result


def _polygons_on(polygons: Any, grid: Grid) -> NDArray[np.object_]:
    """Return valid polygons in the CRS of the grid."""
    if not isinstance(polygons, (gpd.GeoDataFrame, gpd.GeoSeries)):
        raise InputError(
            f"polygons: is a {type(polygons).__name__}, needs a GeoDataFrame or GeoSeries; wrap one polygon as "
            "geopandas.GeoSeries([polygon], crs='EPSG:…')"
        )
    geometry = polygons.geometry
    if geometry.crs is None:
        raise CRSError("polygons: carry no CRS, and one is never guessed; set it with .set_crs('EPSG:…')")
    kinds = geometry.geom_type.isin(["Polygon", "MultiPolygon"]).to_numpy() & ~geometry.is_empty.to_numpy()
    if not kinds.all():
        raise InputError(
            f"polygons: row {first_rows(np.flatnonzero(~kinds) + 1)} is missing, empty or no polygon; leave it out, or "
            "take points as circles with .buffer(…)"
        )
    valid = geometry.is_valid.to_numpy()
    if not valid.all():
        raise InputError(
            f"polygons: row {first_rows(np.flatnonzero(~valid) + 1)} crosses itself; mend it with .make_valid()"
        )
    if geometry.crs == grid.crs:
        return geometry.to_numpy()  # type: ignore[no-any-return]
    # A straight edge in one CRS is a curve in another: its course is kept by points in between.
    box = geometry.bounds.to_numpy()
    length = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) / 100
    dense = gpd.GeoSeries(shapely.segmentize(geometry.to_numpy(), length), crs=geometry.crs).to_crs(grid.crs).to_numpy()
    lost = np.array([not np.isfinite(shapely.get_coordinates(one)).all() for one in dense])
    if lost.any():
        raise CRSError(
            f"polygons: row {first_rows(np.flatnonzero(lost) + 1)} has no place in {grid.crs.name!r}; is their CRS "
            f"({geometry.crs.name!r}) right, or are x and y swapped?"
        )
    return shapely.make_valid(dense)  # type: ignore[no-any-return]


def _polygon_area(polygon: shapely.Geometry, grid: Grid) -> float:
    """Return the area in km²: in the plane, or on the ellipsoid for a grid in degrees."""
    if not grid.crs.is_geographic:
        return float(polygon.area) * unit_km(grid.crs) ** 2
    # Between two corners the geodesic leaves the parallel; between many it hardly does.
    left, bottom, right, top = polygon.bounds
    dense = shapely.segmentize(polygon, max(right - left, top - bottom) / 100)
    return abs(float(ellipsoid(grid.crs).geometry_area_perimeter(dense)[0])) / 1e6


def _coverage(polygon: shapely.Geometry, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return the cells that a polygon touches, rows and columns, and the share of each that lies inside.

    Exact. From one block about the polygon down to single cells: a block that lies inside whole is done,
    one on the edge is cut in four. Each keeps only its own piece of the polygon, so that an outline of
    many corners is not cut from the start again.
    """
    left, bottom, right, top = grid.bounds
    piece = shapely.intersection(polygon, shapely.box(left, bottom, right, top))
    if piece.area == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0)
    side = 1 << max(0, math.ceil(math.log2(max(grid.shape))))
    rows, cols, pieces = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.array([piece])
    found = []
    while True:
        boxes = grid.boxes(rows, cols, side, side)
        pieces = shapely.intersection(pieces, boxes)
        share = shapely.area(pieces) / shapely.area(boxes)
        done = (share > 0) if side == 1 else (share > 1 - 1e-12)
        if done.any():
            down, across = (a.ravel() for a in np.indices((side, side)))  # the single cells of a block
            found.append((
                (rows[done, None] + down).ravel(), (cols[done, None] + across).ravel(),
                np.repeat(np.minimum(share[done], 1), side * side),
            ))  # fmt: skip
        edge = (share > 0) & ~done
        if not edge.any():
            break
        side //= 2
        rows, cols = (np.repeat(a[edge], 4) for a in (rows, cols))
        pieces = np.repeat(pieces[edge], 4)
        rows, cols = rows + np.resize([0, 0, side, side], rows.size), cols + np.resize([0, side, 0, side], cols.size)
    r, c, share = (np.concatenate(part) for part in zip(*found, strict=True))
    inside = (r < grid.shape[0]) & (c < grid.shape[1])  # rounding can leave a sliver beyond the rim
    return r[inside], c[inside], share[inside]


def _share_of_ground(
    shape: shapely.Geometry, grid: Grid, ground_area: Floats, shares: Floats
) -> tuple[float, float, float]:  # fmt: skip
    """Return the ground in a polygon in km², its share of all deposits, and the spread of that over the maps."""
    row, col, part = _coverage(shape, grid)
    area = float((ground_area[row, col] * part).sum())
    if area == 0:
        return 0.0, math.nan, math.nan
    each = np.minimum((shares[:, row, col] * part).sum(axis=1), 1)  # (M,)
    # The truth is taken for one more of the maps: it differs from their mean by more than they do from each other.
    spread = float(each.std(ddof=1)) * math.sqrt(1 + 1 / each.size) if each.size > 1 else 0.0
    return area, float(each.mean()), spread


def _known_on(
    deposits: gpd.GeoDataFrame, grid: Grid, ground: NDArray[np.bool_], name: str = "known"
) -> Floats:  # fmt: skip
    """Return the points of deposits on the ground of the map, (D, 2)."""
    if deposits.crs is None:
        raise CRSError(f"{name}: carry no CRS; set one with .set_crs('EPSG:…')")
    x, y = grid.points(deposits.geometry)
    on = grid.contains(x, y)
    row, col = grid.rowcol(x[on], y[on])
    on[on] = ground[row, col]
    if not on.all():
        warnings.warn(
            f"{name}: {int((~on).sum())} of {len(on)} deposits lie off the ground of the map and are left out",
            DataWarning,
            stacklevel=user_level(),
        )
    return np.column_stack([x, y])[on]


# -- numbers of deposits -----------------------------------------------------------------------


def _shares(maps: Floats, area: Floats) -> tuple[float, Floats]:
    """Return the total of the maps, and the share of it in every cell, (M, Y, X)."""
    per_cell = np.nan_to_num(maps) * area
    totals = per_cell.sum(axis=(1, 2))
    total = float(totals.mean())
    if total > _MOST:
        raise InputError(f"intensity: sums to {total:g} deposits; it is needed in deposits per km²")
    if np.ptp(totals) > 1e-3 * total:
        raise InputError(
            f"intensity: the maps sum to {totals.min():g} to {totals.max():g} deposits; make each with "
            "intensity(probability, n_deposits) and the same number"
        )
    # float32 leaves 40.0000012 of 40.
    whole = round(total)
    return float(whole) if abs(total - whole) < 1e-6 * total else total, per_cell / totals[:, None, None]


def _correlation(share: float, spread: float, clustered: float) -> float:
    """Return how much two deposits have in common: of a cluster, or of an intensity that may be wrong."""
    greatest = share * (1 - share)  # the variance of a share that is either 0 or 1
    common = min(spread**2 / greatest, 1.0) if greatest > 0 else 0.0
    return min(1 - (1 - common) * (1 - clustered), 1 - 1e-9)


@lru_cache(maxsize=8)
def _totals(mean: float, sd: float | None, dispersion: float) -> tuple[NDArray[np.int64], Floats]:
    """Return the numbers that the total may be, and how likely each is.

    Without `sd` it is Poisson, or negative binomial with a variance of `dispersion` times the mean. With
    one it is a gamma variable, each value shared out between the whole numbers beside it, so that the mean
    is kept, and without any spread there is none.
    """
    if mean == 0:
        return np.zeros(1, dtype=np.int64), np.ones(1)
    if sd is None:
        law = stats.poisson(mean) if dispersion == 1 else stats.nbinom(mean / (dispersion - 1), 1 / dispersion)
        low, high = law.ppf([_TAIL, 1 - _TAIL])
        edges = np.unique(np.linspace(low - 1, high, min(_NODES, int(high - low) + 1) + 1).round())
        weight = np.diff(law.cdf(edges))
        return np.ceil((edges[:-1] + 1 + edges[1:]) / 2).astype(np.int64), weight / weight.sum()
    middle = (np.arange(_NODES) + 0.5) / _NODES
    values = stats.gamma.ppf(middle, (mean / sd) ** 2, scale=sd**2 / mean) if sd > 1e-6 * mean else np.array([mean])
    values *= mean / values.mean()  # the last of them stands for a tail, and falls short of it
    below = np.floor(values)
    numbers, at = np.unique(np.concatenate([below, below + 1]), return_inverse=True)
    weight = np.bincount(at, np.concatenate([below + 1 - values, values - below]))
    return numbers.astype(np.int64), weight / weight.sum()


def _interval(
    share: float, correlation: float, numbers: NDArray[np.int64], weight: Floats, level: float
) -> tuple[float, float]:  # fmt: skip
    """Return the least and the greatest number that are not among the (1 - level)/2 at either end."""
    if math.isnan(share):
        return math.nan, math.nan
    chance = _chances(share, correlation, numbers)  # (N, K)
    below = np.cumsum(weight @ chance)
    # A hair, so that rounding takes no number away that stands on the limit.
    tail = (1 - level) / 2 - 1e-12
    return float((below < tail).sum()), float(min((below < 1 - (1 - level) / 2 - 1e-12).sum(), numbers.max()))


def _chances(share: float, correlation: float, numbers: NDArray[np.int64]) -> Floats:
    """Return how likely 0, 1, 2, … of each number of deposits fall into the polygon, (N, K): beta-binomial.

    Its rising factorials are sums of logarithms, which tables hold: no gamma function for every entry, and
    the binomial is the same with powers in their place.
    """
    k: NDArray[np.int64] = np.arange(int(numbers.max()) + 1)
    if share <= 0 or share >= 1:
        return np.equal(k, numbers[:, None] * (share >= 1), dtype=bool).astype(np.float64)
    i = k[:-1].astype(np.float64)
    if correlation < 1e-9:
        inside, outside, all_ = k * math.log(share), k * math.log1p(-share), np.zeros(k.size)
    else:
        like = 1 / correlation - 1
        inside, outside, all_ = (_running(np.log(one + i)) for one in (share * like, (1 - share) * like, like))
    factorial = _running(np.log1p(i))
    rest = numbers[:, None] - k
    at = np.maximum(rest, 0)
    log_chance = factorial[numbers, None] - factorial[k] - factorial[at] + inside[k] + outside[at] - all_[numbers, None]
    chance: Floats = np.exp(np.where(rest >= 0, log_chance, -np.inf))
    return chance


def _running(steps: Floats) -> Floats:
    """Return 0 and the running sums."""
    return np.concatenate([[0.0], np.cumsum(steps)])


def _table(rows: list[dict[str, float]], index: pd.Index, with_known: bool) -> pd.DataFrame:
    """Return the rows as a table, numbers of deposits as whole numbers; say which polygons leave the ground."""
    columns = ["area_km2", "covered", "expected", "low", "high"]
    columns += ["known", "undiscovered", "undiscovered_low", "undiscovered_high"] if with_known else []
    table = pd.DataFrame(rows, index=index, columns=columns)
    whole = [name for name in columns if name == "known" or name.endswith(("low", "high"))]
    table = table.astype(dict.fromkeys(columns, "float64") | dict.fromkeys(whole, "Int64"))
    partly = np.flatnonzero(table["covered"] < 1 - 1e-3)
    if partly.size:
        said = [f"{index[at]} ({table['covered'].iloc[at]:.0%})" for at in partly]
        warnings.warn(
            f"polygons: {partly.size} of {len(table)} lie partly or wholly off the ground of the map, which alone "
            f"counts: {first_rows(said)}",
            DataWarning,
            stacklevel=user_level(),
        )
    return table
