"""The places that can be told apart, cells of a survey or samples, and which of them are ore and which barren."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import geopandas as gpd
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoprospect._checks import check_number, first_rows, user_level
from geoprospect.errors import DataWarning, InputError
from geoprospect.geochem.samples import Samples
from geoprospect.grid import Grid, check_north_up
from geoprospect.windows.regions import compact_regions, nearest

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

# Fewer ore places than this make no normal distribution.
_FEW = 5
# Places that stand for the whole ground where it has more: a rank among them is off by 0.002 at most.
_GROUND = 50_000
# Regions in which a support vector machine is tested on the others.
_REGIONS = 5


@dataclass(frozen=True)
class Ground:
    """Places that have values: the cells of a survey, or samples."""

    names: list[str]
    with_data: NDArray[np.bool_]  # (N,) in some band
    extent: tuple[float, float]
    points_of: Callable[[gpd.GeoDataFrame], Floats]  # deposits to (D, 2)
    place_of: Callable[[Floats], Places]  # (D, 2) to (D,), -1 where there is none
    position: Callable[[Places], Floats]  # (K,) to (K, 2)
    values: Callable[[Places], Floats]  # (K,) to (K, bands)
    where: str  # what deposits off the ground do not lie


def ground_of(survey: xr.Dataset | Samples, reach: float | None) -> Ground:
    """Return the places of a survey or of samples; `reach` is for samples, None for one by their spacing."""
    if isinstance(survey, Samples):
        return _ground_of_samples(survey, reach)
    if not isinstance(survey, xr.Dataset):
        raise InputError(
            f"survey: is a {type(survey).__name__}, needs a Dataset of bands or Samples; a single band is "
            "survey[['Cu']], with two pairs of brackets"
        )
    if reach is not None:
        raise InputError(f"reach={reach:g}: needs samples; leave it out for a survey, whose cells contain deposits")
    grid = Grid.of(survey)
    check_north_up(grid, "survey")
    names = [
        str(name)
        for name, band in survey.data_vars.items()
        if set(band.dims) == {"y", "x"} and (np.issubdtype(band.dtype, np.number) or band.dtype == bool)
    ]
    if not names:
        raise InputError("survey: has no band of numbers with dims (y, x)")
    nx = grid.shape[1]
    bands = survey[names].transpose("y", "x")
    # One band after the other where they are in memory, one pass over the chunks where they are not.
    with_data = np.asarray(reduce(operator.or_, (np.isfinite(bands[name].data) for name in names)), dtype=bool)

    def place_of(points: Floats) -> Places:
        row, col = grid.rowcol(*points.T)
        places: Places = np.where(grid.contains(*points.T), row * nx + col, -1)
        return places

    def values(places: Places) -> Floats:
        row, col = (xr.DataArray(at, dims="place") for at in np.divmod(places, nx))
        taken = bands.isel(y=row, x=col).compute()
        return np.column_stack([taken[name].to_numpy().astype(np.float64) for name in names])

    def position(places: Places) -> Floats:
        row, col = np.divmod(places, nx)
        return np.column_stack([grid.x[col], grid.y[row]])

    def points_of(deposits: gpd.GeoDataFrame) -> Floats:
        return np.column_stack(grid.points(deposits.geometry))

    left, bottom, right, top = grid.bounds
    return Ground(
        names, with_data.ravel(), (right - left, top - bottom), points_of,
        place_of, position, values, f"on the grid {grid.bounds} in {grid.crs.name!r}",
    )  # fmt: skip


def _ground_of_samples(samples: Samples, reach: float | None) -> Ground:
    grid = Grid.covering(samples, shape=(1, 1))  # for its CRS: metres where the samples are in degrees
    every = np.column_stack(grid.points(samples.geometry))
    # Samples of one place are one, with the mean of their values, as in gridding: a duplicate of ore is not barren.
    points, of = np.unique(every, axis=0, return_inverse=True)
    known = np.isfinite(samples.values)
    total, count = np.zeros((len(points), known.shape[1])), np.zeros((len(points), known.shape[1]))
    np.add.at(total, of.ravel(), np.where(known, samples.values, 0.0))
    np.add.at(count, of.ravel(), known)
    values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    tree = cKDTree(points)
    within = check_number("reach", reach, above=0) if reach is not None else _reach(points, tree)

    def place_of(where: Floats) -> Places:
        distance, place = tree.query(where, distance_upper_bound=within)
        return np.where(np.isfinite(distance), place, -1).astype(np.int64)

    width, height = np.ptp(points, axis=0)
    return Ground(
        list(samples.elements), np.asarray((count > 0).any(axis=1), dtype=bool), (float(width), float(height)),
        lambda deposits: np.column_stack(grid.points(deposits.geometry)), place_of, lambda places: points[places],
        lambda places: values[places], f"within {within:.4g} {grid.unit}s of a sample, in {grid.crs.name!r}",
    )  # fmt: skip


def _reach(points: Floats, tree: cKDTree) -> float:
    """Return twice the distance to the next place that nine in ten places have.

    By the median, ground with few samples would fall apart beside ground with many, and shifts would lose points that
    the pattern itself does not.
    """
    if len(points) < 2:
        raise InputError("survey: fewer than two places with samples; there is nothing to compare")
    return float(2 * np.quantile(tree.query(points, k=2)[0][:, 1], 0.9))


def place_with_data(ground: Ground) -> Callable[[Floats], Places]:
    """Return `place_of` that knows only places with data."""

    def place_of(points: Floats) -> Places:
        places = ground.place_of(points)
        return np.where(ground.with_data[places] & (places >= 0), places, -1)

    return place_of


def ore_places(ground: Ground, points: Floats, deposits: gpd.GeoDataFrame) -> Places:
    """Return the places, ascending, that hold a deposit."""
    places = place_with_data(ground)(points)
    inside = places >= 0
    if not inside.any():
        raise InputError(
            f"deposits: none of the {len(deposits)} lies {ground.where}, where there are data; are both CRS right?"
        )
    if not inside.all():
        ids = deposits["id"].to_numpy() if "id" in deposits.columns else np.arange(1, len(deposits) + 1)
        warnings.warn(
            f"deposits: {int((~inside).sum())} do not lie {ground.where}, where there are data, and are left out "
            f"(id {first_rows(ids[~inside])})",
            DataWarning,
            stacklevel=user_level(),
        )
    ore: Places = np.unique(places[inside])
    if ore.size < _FEW:
        warnings.warn(
            f"deposits: only {ore.size} places hold one; no statistics mean much below {_FEW}",
            DataWarning,
            stacklevel=user_level(),
        )
    return ore


def draw_barren(
    ground: Ground, ore: Places, points: Floats, n: int, draws: int, buffer: float, rng: np.random.Generator
) -> list[Places]:
    """Draw places without a deposit that have data in some band."""
    free = ground.with_data.copy()
    free[ore] = False
    places = np.flatnonzero(free)
    tree = cKDTree(points)

    def far(some: Places) -> Places:
        """Return those beyond the buffer."""
        if not buffer or not some.size:
            return some
        kept: Places = some[tree.query(ground.position(some))[0] > buffer]
        return kept

    drawn = []
    for _ in range(draws):
        # Looking at all distances of a large survey would take longer than everything else.
        some = far(rng.choice(places, min(places.size, 4 * n if buffer else n), replace=False))[:n]
        if some.size < n:
            every = far(places)
            some = every if every.size <= n else rng.choice(every, n, replace=False)
        drawn.append(np.sort(some))
        if not some.size:
            raise InputError(
                f"survey: no place with data lies outside of the deposits (buffer={buffer:g}): no barren ground"
            )
    return drawn


def background(ground: Ground, rng: np.random.Generator) -> tuple[Places, Floats]:
    """Return places that stand for the whole ground, deposits included, and their values."""
    places = np.flatnonzero(ground.with_data)
    if places.size > _GROUND:
        places = np.sort(rng.choice(places, _GROUND, replace=False))
    return places, ground.values(places)


def regions(ground: Ground, places: Places, rng: np.random.Generator) -> Callable[[Places], Places]:
    """Cut the ground into compact regions that do not depend on where the deposits are."""
    anchors = ground.position(places if places.size <= 1000 else rng.choice(places, 1000, replace=False))
    region = compact_regions(anchors, _REGIONS)
    return lambda some: region[nearest(ground.position(some), anchors)]
