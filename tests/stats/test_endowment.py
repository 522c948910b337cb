"""Intensities and expected deposits against the points that they were simulated from."""

import itertools
import math
import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from scipy import ndimage, stats
from scipy.optimize import brentq
from scipy.special import lambertw

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.grid import cell_areas
from geoprospect.models.networks import build_network
from geoprospect.stats import endowment
from geoprospect.stats.endowment import expected_deposits, intensity, overdispersion
from geoprospect.windows.sampling import sample_windows

NAN = math.nan
UTM = "EPSG:32649"
SCORES = {"log_loss": 0.6, "brier": 0.2, "slope": 0.5}


# -- intensity ---------------------------------------------------------------------------------


def as_map(values, cell=1000.0, crs=UTM, corner=(0.0, 0.0), attrs=None):
    values = np.asarray(values, dtype=np.float64)
    grid = gp.Grid(crs, Affine(cell, 0, corner[0], 0, -cell, corner[1]), values.shape)
    return grid.dataset({"p": values}, {"p": attrs or {}}).p


def test_intensity_solves_its_equation_and_sums_to_the_number_of_deposits():
    p = np.random.default_rng(0).uniform(0.01, 0.99, (8, 9))
    p[2, 3] = NAN
    density = intensity(as_map(p, cell=500), 12.5, window_area=4.0)
    m = density.to_numpy().astype(float) * 4
    assert float(density.sum()) * 0.25 == pytest.approx(12.5, rel=1e-6)
    ratio = m * np.exp(m) / (p / (1 - p))
    np.testing.assert_allclose(ratio[~np.isnan(p)], np.nanmedian(ratio), rtol=1e-5)
    assert np.isnan(m).sum() == 1


@pytest.mark.parametrize("total", [1e-3, 1.0, 40.0, 1000.0])
def test_intensity_is_that_of_a_slow_search(total):
    p = np.random.default_rng(1).uniform(1e-5, 1 - 1e-5, (5, 6))
    odds = p / (1 - p)

    def counts(log_c):
        return lambertw(odds * np.exp(log_c)).real

    log_c = brentq(lambda one: counts(one).sum() / 9 - total, -30, 690)
    np.testing.assert_allclose(intensity(as_map(p), total, window_area=9.0), counts(log_c) / 9, rtol=1e-5)


def test_where_deposits_are_rare_intensity_goes_with_the_odds_whatever_the_share_of_ore_windows():
    p = np.random.default_rng(2).uniform(0.05, 0.95, (6, 6))
    odds = p / (1 - p)
    rare = intensity(as_map(p), 1e-4, window_area=1.0).to_numpy()
    np.testing.assert_allclose(rare, 1e-4 * odds / odds.sum(), rtol=1e-3)
    # Three barren windows for each of ore: the odds are a third, and the map is the same.
    unbalanced = as_map(odds / 3 / (1 + odds / 3))
    for total in (1e-4, 50):
        one, other = (intensity(each, total, window_area=1.0) for each in (as_map(p), unbalanced))
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_the_window_is_taken_from_the_map_and_units_are_those_of_its_crs():
    p = np.random.default_rng(3).uniform(0.1, 0.9, (4, 4))
    metres = intensity(as_map(p, attrs={"window_width": 3000.0}), 20)
    np.testing.assert_array_equal(metres, intensity(as_map(p), 20, window_area=9.0))
    feet = 1 / 0.3048006096012192  # US survey feet
    in_feet = as_map(p, cell=1000 * feet, crs="EPSG:2263", attrs={"window_width": 3000 * feet})
    np.testing.assert_allclose(intensity(in_feet, 20), metres, rtol=1e-6)


def test_the_window_of_a_map_of_oblong_cells_has_its_own_area():
    """A model of windows of 8 x 8 cells of 100 x 50 m: 0.32 km²."""
    grid = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -50, 2_400_000), (24, 24))
    survey = grid.dataset({"Cu": np.random.default_rng(0).normal(size=grid.shape)}, {"Cu": {"units": "ppm"}})
    model = gp.ProspectivityModel(
        networks=(build_network("shufflenet_v2_x1_0", 1).eval(),), network="shufflenet_v2_x1_0", bands=("Cu",),
        units=("ppm",), offset=np.zeros(1), scale=np.ones(1), size=8, crop=8, cell_size=(50.0, 100.0), seed=0,
        history=pd.DataFrame(), settings={},
    )  # fmt: skip
    p = gp.predict(model, survey, stride=4, device="cpu").probability.assign_attrs(calibrated=1, long_name="calibrated")
    np.testing.assert_array_equal(intensity(p, 3), intensity(p, 3, window_area=0.32))


def test_intensity_says_what_it_is():
    attrs = {"units": "1", "long_name": "calibrated", "calibrated": 1, "window_width": 3000.0}
    density = intensity(as_map([[0.5, 0.4]], attrs=attrs), 7)
    assert density.name == "intensity"
    assert density.dtype == np.float32
    assert density.attrs == {
        "units": "km-2", "long_name": "deposits per km² (of 7 in all)", "n_deposits": 7.0, "window_width": 3000.0
    }  # fmt: skip
    assert density.encoding["grid_mapping"] == "spatial_ref"
    assert gp.Grid.of(density) == gp.Grid.of(as_map([[0.5, 0.4]]))


def test_several_maps_are_normalised_one_by_one():
    maps = np.random.default_rng(4).uniform(0.1, 0.9, (3, 4, 5))
    together = xr.concat([as_map(one) for one in maps], dim="model")
    density = intensity(together, 9, window_area=2.0)
    assert density.dims == ("model", "y", "x")
    for one, alone in zip(density, maps, strict=True):
        np.testing.assert_array_equal(one, intensity(as_map(alone), 9, window_area=2.0))
    np.testing.assert_array_equal(intensity(together.transpose("x", "model", "y"), 9, window_area=2.0), density)


def test_probabilities_of_0_and_1_are_taken_for_less_sure_and_said():
    with pytest.warns(DataWarning, match="2 of 3 values lie beyond 1e-06 and 1 - 1e-06"):
        density = intensity(as_map([[0.0, 0.5, 1.0, NAN]]), 5, window_area=1.0)
    same = intensity(as_map([[1e-6, 0.5, 1 - 1e-6, NAN]]), 5, window_area=1.0)
    np.testing.assert_array_equal(density, same)
    assert np.isfinite(density[0, :3]).all()


def test_a_map_that_is_uncalibrated_is_said():
    with pytest.warns(DataWarning, match="uncalibrated"):
        intensity(as_map([[0.4, 0.5]], attrs={"long_name": "probability of ore (uncalibrated)"}), 5, window_area=1.0)


@pytest.mark.parametrize(("data", "arguments", "said"), [
    (as_map([[0.5, 1.5]]), {}, "1 values, the first 1.5"),
    (as_map([[NAN, NAN]]), {}, "NaN everywhere"),
    (as_map([[0.5, 0.5]]).to_dataset(), {}, "is a Dataset"),
    (as_map([[0.5, 0.5]])[0], {}, "has dims"),
    (as_map([[0.5, 0.5]]).expand_dims(["a", "b"]), {}, "has dims"),
    (as_map([[0.5, 0.5]]), {"window_area": None}, "pass window_area="),
    (as_map([[0.5, 0.5]]), {"window_area": 0}, "window_area=0"),
    (as_map([[0.5, 0.5]], attrs={"window_width": -1}), {"window_area": None}, "window_width"),
    (as_map([[0.5, 0.5]]), {"n_deposits": 0}, "n_deposits=0"),
    (as_map([[0.5, 0.5]]), {"n_deposits": NAN}, "n_deposits=nan"),
])  # fmt: skip
def test_what_gives_no_intensity_is_said(data, arguments, said):
    with pytest.raises(InputError, match=said):
        intensity(data, **({"n_deposits": 5, "window_area": 1.0} | arguments))


def test_one_map_of_several_without_ground_is_said():
    both = xr.concat([as_map([[0.5, 0.5]]), as_map([[NAN, NAN]])], dim="model")
    with pytest.raises(InputError, match="NaN everywhere"):
        intensity(both, 5, window_area=1.0)


def test_a_map_without_a_crs_has_no_intensity():
    with pytest.raises(CRSError):
        intensity(as_map([[0.5, 0.5]]).drop_vars("spatial_ref"), 5, window_area=1.0)


@pytest.mark.parametrize("crs", ["EPSG:4326", "+proj=longlat +R=6371000 +type=crs", "EPSG:4807"])
def test_cells_in_degrees_have_their_area_on_the_ellipsoid(crs):
    grid = gp.Grid(crs, Affine(0.5, 0, 20, 0, -0.25, 61), (8, 2))
    found = cell_areas(grid)[:, 0]
    geod: Geod = grid.crs.get_geod()
    degrees = math.degrees(grid.crs.axis_info[0].unit_conversion_factor)  # EPSG:4807 counts in grads
    for row, area in enumerate(found):
        south, north = (61 - 0.25 * (row + 1)) * degrees, (61 - 0.25 * row) * degrees
        x = np.linspace(20, 20.5, 2000) * degrees  # many points, because a geodesic leaves its parallel
        expected, _ = geod.polygon_area_perimeter(
            np.concatenate([x, x[::-1]]), np.concatenate([np.full(2000, south), np.full(2000, north)])
        )
        assert area == pytest.approx(abs(expected) / 1e6, rel=1e-6)


def test_the_whole_earth_is_as_large_as_it_is():
    grid = gp.Grid("EPSG:4326", Affine(10, 0, -180, 0, -10, 90), (18, 36))
    assert cell_areas(grid).sum() * 36 == pytest.approx(510_065_622, rel=1e-8)


def test_a_grid_in_degrees_sums_to_its_deposits_on_the_ellipsoid():
    p = np.random.default_rng(5).uniform(0.1, 0.9, (30, 4))
    density = intensity(as_map(p, cell=1.0, crs="EPSG:4326", corner=(10, 70), attrs={"window_width": 3.0}), 80)
    areas = cell_areas(gp.Grid.of(density))
    assert float((density * areas).sum()) == pytest.approx(80, rel=1e-6)
    assert areas[-1, 0] > 2 * areas[0, 0]


# -- from windows to the ground, on a simulated truth --------------------------------------------

SIDE = 64  # cells of 1 km
TRUTH = gp.Grid(UTM, Affine(1000, 0, 0, 0, -1000, SIDE * 1000), (SIDE, SIDE))


def smooth(rng, length):
    """Return a Gaussian field of variance 1."""
    values = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), length, mode="wrap")
    return values / values.std()


def truth(rng, total, length=8.0, contrast=1.0):
    """Return an intensity in deposits per cell of 1 km² that sums to `total`."""
    values = np.exp(contrast * smooth(rng, length))
    return values * total / values.sum()


def draw(rng, density, n):
    """Return n points, (n, 2), drawn from an intensity."""
    row, col = np.divmod(rng.choice(density.size, n, p=density.ravel() / density.sum()), SIDE)
    return np.column_stack([col + rng.random(n), SIDE - row - rng.random(n)]) * 1000


def draw_clusters(rng, density, size, spread):
    """Return points of a Thomas process: parents, `size` children of each on average, `spread` km about it."""
    parents = draw(rng, density, rng.poisson(density.sum() / size))
    children = np.repeat(parents, rng.poisson(size, len(parents)), axis=0)
    return (children + rng.normal(0, spread * 1000, children.shape)) % (SIDE * 1000)


def as_points(xy):
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(*xy.T), crs=UTM)


def density_map(values):
    return TRUTH.dataset({"intensity": values.astype(np.float32)}).intensity


def box_sums(values, width):
    total = np.zeros((SIDE + 1, SIDE + 1))
    total[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    return total[width:, width:] - total[:-width, width:] - total[width:, :-width] + total[:-width, :-width]


def drawn_windows(rng, density, width, patterns):
    """Count, per place, the ore and barren windows that `sample_windows` cuts over simulated deposits."""
    ground = TRUTH.dataset({"band": np.zeros((SIDE, SIDE), dtype=np.float32)})
    counts = np.zeros((2, SIDE - width + 1, SIDE - width + 1))
    for _ in range(patterns):
        deposits = as_points(draw(rng, density, max(2, rng.poisson(density.sum()))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # deposits at the edge have room for fewer windows
            windows = sample_windows(ground, deposits, width, width, 60, 60, rng=rng)
        np.add.at(counts, (windows.labels, windows.rows, windows.cols), 1)
    return counts[1], counts[0]


def off(density, expected):
    """Return the root mean square of the logarithm of the ratio, each deposit counting alike."""
    density = density * expected.sum() / density.sum()
    return math.sqrt(np.average(np.log(density / expected) ** 2, weights=expected))


@pytest.mark.parametrize(
    ("total", "contrast", "patterns"),
    [pytest.param(15, 1.3, 110, id="rare"), pytest.param(120, 1.0, 80, id="frequent", marks=pytest.mark.slow)],
)
def test_windows_drawn_from_a_known_intensity_give_it_back(total, contrast, patterns):
    rng, width = np.random.default_rng(total), 6
    density = truth(rng, total, contrast=contrast)
    inside = box_sums(density, width)  # expected deposits in a window
    ore, barren = drawn_windows(rng, density, width, patterns)
    # What a perfect classifier says: the share of ore among windows of places with as many deposits to expect.
    bins = np.searchsorted(np.quantile(inside, np.linspace(0, 1, 21)[1:-1]), inside)
    counts = [np.bincount(bins.ravel(), kind.ravel(), 20) for kind in (ore, barren)]
    p = (counts[0] / (counts[0] + counts[1]))[bins]
    shifted = TRUTH.strided(width, 1)
    found = intensity(shifted.dataset({"p": p}).p, inside.sum() / width**2, window_area=width**2).to_numpy()
    assert off(found, inside) < 0.13
    # Neither the probability of a window taken as it is, nor its odds alone, give the intensity back.
    assert off(-np.log1p(-p), inside) > 1.5 * off(found, inside)
    assert off(p / (1 - p), inside) > 1.5 * off(found, inside)
    # Against the truth itself the window is a blur.
    margin = width // 2
    middle = density[margin : margin + len(found), margin : margin + len(found)]
    assert off(inside, middle) > 0.05
    assert off(found, middle) < 0.2


# -- expected_deposits -------------------------------------------------------------------------

AREAS = gpd.GeoSeries(
    [
        shapely.box(3300, 3300, 15_700, 15_700),
        shapely.box(20_000, 20_000, 40_000, 40_000),
        shapely.box(0, 32_000, 64_000, 64_000),
    ],
    index=["south-west", "middle", "north"],
    crs=UTM,
)


def inside_areas(xy):
    return np.array([shapely.contains_xy(one, xy).sum() for one in AREAS]) if len(xy) else np.zeros(len(AREAS))


def held(table, counts, low="low", high="high"):
    """Return the share of counts, (surveys, areas), that lie in the interval."""
    bounds = (table[name].to_numpy(dtype=float) for name in (low, high))
    return ((counts >= next(bounds)) & (counts <= next(bounds))).mean(axis=0)


def star(rng, scale):
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    reach = rng.uniform(0.2, 1, 9) * scale
    return np.column_stack([reach * np.cos(angle), reach * np.sin(angle)])


@pytest.mark.parametrize("seed", range(12))
def test_cells_on_the_edge_count_by_their_share(seed):
    rng = np.random.default_rng(seed)
    grid = gp.Grid(UTM, Affine(3, 0, 10, 0, -2, 50), tuple(rng.integers(1, 24, 2).tolist()))
    centre = np.array([10 + 1.5 * grid.shape[1], 50 - grid.shape[0]])
    outline = shapely.make_valid(shapely.Polygon(centre + star(rng, 30), [centre + star(rng, 4)]))
    row, col, share = endowment._coverage(outline, grid)
    found = np.zeros(grid.shape)
    np.add.at(found, (row, col), share)
    rows, cols = np.indices(grid.shape).reshape(2, -1)
    expected = shapely.area(shapely.intersection(outline, grid.boxes(rows, cols, 1, 1))) / 6
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-9)
    assert len(set(zip(row.tolist(), col.tolist(), strict=True))) == len(row)


def test_a_polygon_with_parts_and_one_that_only_touches():
    grid = gp.Grid(UTM, Affine(1, 0, 0, 0, -1, 4), (4, 4))
    parts = shapely.union_all([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3.5, 4)])
    assert endowment._coverage(parts, grid)[2].sum() == pytest.approx(4)
    assert endowment._coverage(shapely.box(4, 0, 6, 4), grid)[2].size == 0


def test_areas_that_share_no_ground_add_up():
    density = density_map(truth(np.random.default_rng(0), 37))
    cuts = np.array([0, 7_321.5, 30_000, 64_000])
    boxes = [shapely.box(a, c, b, d) for a, b in itertools.pairwise(cuts) for c, d in itertools.pairwise(cuts)]
    table = expected_deposits(density, gpd.GeoSeries(boxes, crs=UTM))
    assert table["expected"].sum() == pytest.approx(37, rel=1e-6)
    assert table["area_km2"].sum() == pytest.approx(64**2)
    assert (table["covered"] > 1 - 1e-9).all()


def test_polygons_are_brought_into_the_crs_of_the_map():
    grid = gp.Grid(UTM, Affine(1000, 0, 400_000, 0, -1000, 2_500_000), (40, 40))
    density = grid.dataset({"d": np.random.default_rng(0).uniform(0.001, 0.1, (40, 40))}).d
    there = gpd.GeoSeries([shapely.box(405_500, 2_470_250, 430_000, 2_490_000)], crs=UTM)
    here = expected_deposits(density, there)
    moved = expected_deposits(density, gpd.GeoSeries(shapely.segmentize(there.to_numpy(), 500), crs=UTM).to_crs(4326))
    assert moved["expected"][0] == pytest.approx(here["expected"][0], rel=1e-5)
    assert moved["area_km2"][0] == pytest.approx(here["area_km2"][0], rel=1e-5)


def test_a_long_edge_keeps_its_course_in_another_crs():
    grid = gp.Grid("EPSG:3035", Affine(10_000, 0, 2_500_000, 0, -10_000, 5_000_000), (300, 400))
    density = grid.dataset({"d": np.full((300, 400), 1e-4)}).d
    straight = shapely.box(0, 50, 20, 55)
    dense = shapely.segmentize(straight, 0.02)
    corners, many = (gpd.GeoSeries([one], crs=4326) for one in (straight, dense))
    a, b = (expected_deposits(density, one)["expected"][0] for one in (corners, many))
    assert a == pytest.approx(b, rel=1e-3)


def test_on_a_grid_in_degrees_areas_are_those_of_the_ellipsoid():
    grid = gp.Grid("EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 60), (50, 50))
    density = grid.dataset({"d": np.full((50, 50), 2e-4)}).d
    table = expected_deposits(density, gpd.GeoSeries([shapely.box(11.05, 56, 13, 59)], crs=4326))
    assert table["expected"][0] == pytest.approx(2e-4 * table["area_km2"][0], rel=1e-5)
    assert table["covered"][0] == pytest.approx(1, abs=1e-5)


def test_where_the_total_is_known_the_number_is_binomial():
    density = density_map(truth(np.random.default_rng(1), 50))
    table = expected_deposits(density, AREAS, n_deposits_sd=0)
    for row in table.itertuples():
        low, high = stats.binom.ppf([0.025, 0.975], 50, row.expected / 50)
        assert (row.low, row.high) == (low, high)


def test_where_the_total_is_expected_the_number_is_poisson():
    density = density_map(truth(np.random.default_rng(1), 50))
    for level in (0.5, 0.8, 0.95):
        table = expected_deposits(density, AREAS, level=level)
        for row in table.itertuples():
            low, high = stats.poisson.ppf([(1 - level) / 2, (1 + level) / 2], row.expected)
            assert (row.low, row.high) == (low, high)


def test_deposits_that_come_together_are_negative_binomial():
    density = density_map(truth(np.random.default_rng(1), 50))
    table = expected_deposits(density, AREAS, dispersion=3)
    for row in table.itertuples():
        low, high = stats.nbinom.ppf([0.025, 0.975], row.expected / 2, 1 / 3)
        assert (row.low, row.high) == (low, high)


def test_what_is_left_of_clustered_deposits_is_clustered_less():
    density = density_map(truth(np.random.default_rng(1), 50))
    table = expected_deposits(density, AREAS, dispersion=5, known=as_points(np.full((40, 2), 500.0)))
    # 10 of 50 are left, so that of 4 others in a cluster 0.8 are.
    for row in table.itertuples():
        low, high = stats.nbinom.ppf([0.025, 0.975], row.undiscovered / 0.8, 1 / 1.8)
        assert (row.undiscovered_low, row.undiscovered_high) == (low, high)


def test_a_total_between_two_whole_numbers_is_shared_out_between_them():
    numbers, weight = endowment._totals(7.25, 0.0, 1.0)
    assert numbers.tolist() == [7, 8]
    assert weight == pytest.approx([0.75, 0.25])


@settings(max_examples=40)
@given(mean=st.floats(0.01, 300), ratio=st.floats(0, 2), dispersion=st.floats(1, 8), given_sd=st.booleans())
def test_totals_have_the_mean_and_the_spread_that_were_stated(mean, ratio, dispersion, given_sd):
    numbers, weight = endowment._totals(mean, ratio * mean if given_sd else None, dispersion)
    assert weight.sum() == pytest.approx(1)
    assert (numbers >= 0).all()
    found = float((weight * numbers).sum())
    assert found == pytest.approx(mean, rel=3e-3)
    variance = float((weight * (numbers - found) ** 2).sum())
    if not given_sd:
        assert variance == pytest.approx(mean * dispersion, rel=0.01)
    elif ratio < 0.5:  # whole numbers add up to a quarter; a long tail is cut
        assert 0.9 * (ratio * mean) ** 2 - 0.01 <= variance <= (ratio * mean) ** 2 + 0.26


def test_a_great_many_totals_are_looked_at_in_steps():
    numbers, weight = endowment._totals(50_000.0, None, 1.0)
    assert numbers.size <= 256
    assert float((weight * numbers).sum()) == pytest.approx(50_000, rel=1e-4)
    assert math.sqrt((weight * (numbers - 50_000.0) ** 2).sum()) == pytest.approx(math.sqrt(50_000), rel=0.02)


@pytest.mark.parametrize("fixed", [True, False], ids=["total known", "total expected"])
def test_intervals_of_poisson_deposits_hold_as_many_as_they_say(fixed):
    rng = np.random.default_rng(2)
    density = truth(rng, 50)
    table = expected_deposits(density_map(density), AREAS, n_deposits_sd=0 if fixed else None)
    counts = np.array([inside_areas(draw(rng, density, 50 if fixed else rng.poisson(50))) for _ in range(1500)])
    np.testing.assert_allclose(counts.mean(axis=0), table["expected"], rtol=0.05)
    share = held(table, counts)
    assert (share >= 0.94).all()
    assert share.min() < 0.985  # not merely wide
    tails = [
        (counts < table["low"].to_numpy(dtype=float)).mean(axis=0),
        (counts > table["high"].to_numpy(dtype=float)).mean(axis=0),
    ]
    assert np.max(tails) < 0.035


def test_intervals_of_clustered_deposits_hold_with_dispersion_and_not_without():
    rng = np.random.default_rng(3)
    parents = truth(rng, 60)
    density = ndimage.gaussian_filter(parents, 1.5, mode="wrap")  # children lie about their parents
    counts = np.array([inside_areas(draw_clusters(rng, parents, 3, 1.5)) for _ in range(1000)])
    np.testing.assert_allclose(
        counts.mean(axis=0), expected_deposits(density_map(density), AREAS)["expected"], rtol=0.1
    )
    plain, wide = (held(expected_deposits(density_map(density), AREAS, dispersion=d), counts) for d in (1, 4))
    assert plain.min() < 0.8
    assert (wide >= 0.94).all()


@pytest.mark.slow
def test_dispersion_measured_on_one_pattern_widens_the_interval_enough_for_most_others():
    rng = np.random.default_rng(4)
    parents = truth(rng, 60)
    density = density_map(ndimage.gaussian_filter(parents, 1.5, mode="wrap"))
    hits = []
    for _ in range(40):
        measured = overdispersion(density, as_points(draw_clusters(rng, parents, 3, 1.5)), 16_000)
        table = expected_deposits(density, AREAS, dispersion=measured)
        others = np.array([inside_areas(draw_clusters(rng, parents, 3, 1.5)) for _ in range(8)])
        hits.append(held(table, others))
    share = np.mean(hits, axis=0)
    assert (share >= [0.92, 0.92, 0.84]).all()  # half of the survey is wider than the blocks


@pytest.mark.slow
def test_intervals_hold_with_an_intensity_that_is_not_known_where_its_maps_differ_as_much():
    rng = np.random.default_rng(5)
    base = np.log(truth(rng, 60))
    hits = []
    for _ in range(75):
        fields = [np.exp(base + 0.6 * smooth(rng, 8)) for _ in range(9)]
        maps, real = np.split(np.array([60 * one / one.sum() for one in fields]), [5])
        together = TRUTH.dataset({str(at): one for at, one in enumerate(maps)}).to_dataarray("model")
        counts = np.array([inside_areas(draw(rng, one, rng.poisson(60))) for one in real])
        hits.append([held(expected_deposits(one, AREAS), counts) for one in (together[0], together)])
    one_map, all_maps = np.mean(hits, axis=0)
    assert one_map.min() < 0.85
    assert (all_maps >= 0.91).all()


def test_intervals_hold_with_a_total_that_is_not_known():
    rng = np.random.default_rng(6)
    density = truth(rng, 60)
    totals = rng.gamma(16, 60 / 16, 800).round().astype(int)  # 60 give or take 15
    counts = np.array([inside_areas(draw(rng, density, n)) for n in totals])
    sure, unsure = (held(expected_deposits(density_map(density), AREAS, n_deposits_sd=sd), counts) for sd in (0, 15))
    assert sure.min() < 0.85
    assert (unsure >= 0.94).all()


@pytest.mark.parametrize(
    "size", [pytest.param(0, id="poisson"), pytest.param(3, id="clustered", marks=pytest.mark.slow)]
)
def test_intervals_of_undiscovered_deposits_hold(size):
    rng = np.random.default_rng(7)
    parents = truth(rng, 60)
    density = ndimage.gaussian_filter(parents, 1.5, mode="wrap") if size else parents
    hits, tables = [], {}
    for _ in range(500):
        xy = draw_clusters(rng, parents, size, 1.5) if size else draw(rng, density, rng.poisson(60))
        found = rng.random(len(xy)) < 0.6
        total = int(found.sum()) + 24  # known, and those that are expected to be left
        if total not in tables:  # the interval depends on the number of known deposits alone
            known = as_points(xy[found])
            tables[total] = expected_deposits(
                density_map(density * total / 60), AREAS, known=known, dispersion=1 + size
            )
            assert tables[total]["known"].to_list() == inside_areas(xy[found]).tolist()
            np.testing.assert_allclose(tables[total]["undiscovered"], tables[total]["expected"] * 24 / total)
        hits.append(held(tables[total], inside_areas(xy[~found])[None], "undiscovered_low", "undiscovered_high"))
    assert (np.mean(hits, axis=0) >= 0.93).all()


def test_everything_that_is_not_known_widens_the_interval():
    density = density_map(truth(np.random.default_rng(8), 80))
    other = density_map(truth(np.random.default_rng(9), 80))
    narrow = expected_deposits(density, AREAS, n_deposits_sd=0)
    both = xr.concat([density, density, other], dim="draw")
    for wider in (
        expected_deposits(density, AREAS, n_deposits_sd=30),
        expected_deposits(density, AREAS, n_deposits_sd=0, dispersion=4),
        expected_deposits(density, AREAS, n_deposits_sd=0, level=0.999),
    ):
        assert (wider["low"] <= narrow["low"]).all()
        assert (wider["high"] > narrow["high"]).all()
    spread = expected_deposits(both, AREAS, n_deposits_sd=0)
    width, before = (one["high"] - one["low"] for one in (spread, narrow))
    assert (width >= before).all()
    assert width.sum() > 1.5 * before.sum()


def test_maps_that_agree_are_as_good_as_one():
    density = density_map(truth(np.random.default_rng(8), 20))
    same = xr.concat([density] * 4, dim="model")
    pd.testing.assert_frame_equal(expected_deposits(same, AREAS), expected_deposits(density, AREAS))


def test_only_ground_of_the_map_counts_and_what_lies_off_it_is_said():
    values = np.full((4, 10), 0.5)
    values[:, 5:] = NAN
    density = gp.Grid(UTM, Affine(1000, 0, 0, 0, -1000, 4000), (4, 10)).dataset({"d": values}).d
    shapes = [shapely.box(0, 0, 2000, 4000), shapely.box(4000, 0, 8000, 4000), shapely.box(-2000, 0, 2000, 4000),
              shapely.box(6000, 0, 7000, 1000), shapely.box(50_000, 0, 60_000, 9000)]  # fmt: skip
    areas = gpd.GeoDataFrame({"name": list("abcde")}, geometry=shapes, crs=UTM).set_index("name")
    mines = as_points(np.array([[500.0, 500.0], [7000.0, 500.0], [4500.0, 500.0]]))
    with pytest.warns(DataWarning) as said:
        table = expected_deposits(density, areas, known=mines)
    assert [str(one.message) for one in said] == [
        "known: 1 of 3 deposits lie off the ground of the map and are left out",
        "polygons: 4 of 5 lie partly or wholly off the ground of the map, which alone counts: b (25%), c (50%), "
        "d (0%), e (0%)",
    ]
    assert table["covered"].to_list() == pytest.approx([1, 0.25, 0.5, 0, 0])
    assert table["area_km2"].to_list() == pytest.approx([8, 16, 16, 1, 90])
    assert table["expected"].to_list()[:3] == pytest.approx([4, 2, 4])
    assert table["known"].to_list() == [1, 1, 1, 0, 0]
    assert table.loc[["d", "e"], ["expected", "low", "high", "undiscovered", "undiscovered_low"]].isna().all(axis=None)
    assert table.index.equals(areas.index)


def test_the_table_has_its_columns_and_kinds():
    density = density_map(truth(np.random.default_rng(0), 10))
    table = expected_deposits(density, AREAS, known=as_points(np.array([[5000.0, 5000.0]])))
    assert table.columns.to_list() == ["area_km2", "covered", "expected", "low", "high", "known", "undiscovered",
                                       "undiscovered_low", "undiscovered_high"]  # fmt: skip
    assert table.index.to_list() == ["south-west", "middle", "north"]
    empty = expected_deposits(density, AREAS.iloc[:0], known=as_points(np.array([[5000.0, 5000.0]])))
    assert empty.dtypes.to_dict() == table.dtypes.to_dict()
    assert str(table["low"].dtype) == "Int64"


def test_no_intensity_in_an_area_means_no_deposits_and_the_whole_ground_means_all():
    values = np.ones((2, 4)) * 0.5
    values[:, 2:] = 0
    density = gp.Grid(UTM, Affine(1000, 0, 0, 0, -1000, 2000), (2, 4)).dataset({"d": values}).d
    areas = gpd.GeoSeries([shapely.box(2000, 0, 4000, 2000), shapely.box(0, 0, 4000, 2000)], crs=UTM)
    for dispersion in (1, 5):
        table = expected_deposits(density, areas, n_deposits_sd=0, dispersion=dispersion)
        assert table[["expected", "low", "high"]].to_numpy().tolist() == [[0, 0, 0], [2, 2, 2]]


def test_when_all_deposits_are_known_none_is_left():
    density = density_map(truth(np.random.default_rng(0), 3))
    mines = as_points(np.array([[5000.0, 5000.0], [6000.0, 6000.0], [30_500.0, 30_500.0]]))
    table = expected_deposits(density, AREAS, known=mines)
    assert (table[["undiscovered", "undiscovered_low", "undiscovered_high"]] == 0).all(axis=None)
    assert table["known"].to_list() == [2, 1, 0]
    none = expected_deposits(density, AREAS, known=mines.iloc[:0])
    assert none["known"].to_list() == [0] * 3
    np.testing.assert_array_equal(none["undiscovered_high"], none["high"])


TINY = density_map(np.full((SIDE, SIDE), 10 / SIDE**2))


@pytest.mark.parametrize(("polygons", "error", "said"), [
    (shapely.box(0, 0, 1, 1), InputError, "polygons: is a Polygon, needs a GeoDataFrame"),
    (gpd.GeoSeries([shapely.box(0, 0, 1, 1)]), CRSError, "polygons: carry no CRS"),
    (gpd.GeoSeries([shapely.box(0, 0, 1, 1), shapely.Point(0, 0)], crs=UTM), InputError, r"row 2 .*\.buffer"),
    (gpd.GeoSeries([None, shapely.box(0, 0, 1, 1)], crs=UTM), InputError, "row 1 is missing"),
    (gpd.GeoSeries([shapely.Polygon()], crs=UTM), InputError, "row 1 is missing, empty"),
    (gpd.GeoSeries([shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])], crs=UTM), InputError, "crosses itself"),
    (gpd.GeoSeries([shapely.box(2_000_000, 95, 2_000_001, 96)], crs=4326), CRSError, "no place in"),
])  # fmt: skip
def test_polygons_that_are_none_are_said(polygons, error, said):
    with pytest.raises(error, match=said):
        expected_deposits(TINY, polygons)


@pytest.mark.parametrize(("density", "said"), [
    (TINY - 1, "negative or infinite"),
    (TINY + np.inf, "negative or infinite"),
    (TINY * 0, "0 or NaN everywhere"),
    (TINY * NAN, "0 or NaN everywhere"),
    (TINY * 1e6, "deposits per km²"),
    (TINY.to_dataset(), "is a Dataset"),
    (xr.concat([TINY, TINY * 2], dim="model"), "sum to 10 to 20 deposits"),
    (xr.concat([TINY, TINY.where(TINY.x > 9000)], dim="model"), "differ in where they are NaN"),
])  # fmt: skip
def test_an_intensity_that_is_none_is_said(density, said):
    with pytest.raises(InputError, match=said):
        expected_deposits(density, AREAS)


@pytest.mark.parametrize(("arguments", "said"), [
    ({"level": 1}, "level=1"),
    ({"level": 0}, "level=0"),
    ({"n_deposits_sd": -1}, "n_deposits_sd=-1"),
    ({"n_deposits_sd": 21}, "more than twice the 10 deposits"),
    ({"n_deposits_sd": 19, "known": as_points(np.full((1, 2), 500.0))}, "more than twice the 9 deposits"),
    ({"dispersion": 0.9}, "dispersion=0.9"),
    ({"dispersion": 2000}, "dispersion=2000"),
    ({"known": as_points(np.full((11, 2), 500.0))}, "11 deposits are known on the ground of the map, .* sums to 10"),
    ({"known": as_points(np.full((1, 2), 500.0)).set_crs(None, allow_override=True)}, "known: carry no CRS"),
])  # fmt: skip
def test_numbers_that_contradict_each_other_are_said(arguments, said):
    with pytest.raises(InputError, match=said):
        expected_deposits(TINY, AREAS, **arguments)


# -- overdispersion ----------------------------------------------------------------------------


def test_dispersion_of_deposits_that_do_not_heed_each_other_is_one_and_of_clusters_more():
    rng = np.random.default_rng(10)
    parents = truth(rng, 60)
    blurred = ndimage.gaussian_filter(parents, 1.0, mode="wrap")
    single = [overdispersion(density_map(parents), as_points(draw(rng, parents, 60)), 16_000) for _ in range(60)]
    grouped = [
        overdispersion(density_map(blurred), as_points(draw_clusters(rng, parents, 3, 1.0)), 16_000) for _ in range(60)
    ]
    assert np.median(single) < 1.15  # values below 1 are given as 1
    assert 3 < np.mean(grouped) < 4.5  # 1 and 3 more in a cluster


def test_dispersion_is_that_of_counting_by_hand():
    values = np.full((4, 5), 0.25)
    values[0, 4] = NAN
    density = gp.Grid(UTM, Affine(1000, 0, 0, 0, -1000, 4000), (4, 5)).dataset({"d": values}).d
    xy = np.array([[500, 500], [600, 700], [1500, 3500], [4500, 500], [4500, 700], [4600, 500], [4500, 3500]])
    with pytest.warns(DataWarning, match="deposits: 1 of 7"):
        found = overdispersion(density, as_points(xy.astype(float)), 2000)
    # Blocks of 2 x 2 cells row by row, the last of a row 1 wide; 6 deposits on 19 cells.
    expected = np.array([4, 4, 1, 4, 4, 2]) * 6 / 19
    counted = np.array([1, 0, 0, 2, 0, 3])
    assert found == pytest.approx(((counted - expected) ** 2).sum() / (expected * (1 - expected / 6)).sum())


def test_dispersion_of_several_maps_is_that_of_their_mean():
    rng = np.random.default_rng(11)
    maps = [truth(rng, 30), truth(rng, 30)]
    mines = as_points(draw_clusters(rng, maps[0], 3, 1.0))
    together = xr.concat([density_map(one) for one in maps], dim="model")
    mean = density_map(np.mean(maps, axis=0))
    assert overdispersion(together, mines, 9000) == pytest.approx(overdispersion(mean, mines, 9000), rel=1e-5)


@pytest.mark.parametrize(("xy", "width", "said"), [
    ([[500.0, 500.0]], 9000, "1 deposits and 64 blocks"),
    ([[500.0, 500.0]] * 3, 70_000, "3 deposits and 1 blocks"),
    ([[500.0, 500.0]] * 3, 0, "width=0"),
])  # fmt: skip
def test_too_little_to_measure_dispersion_is_said(xy, width, said):
    with pytest.raises(InputError, match=said):
        overdispersion(TINY, as_points(np.array(xy)), width)


def test_dispersion_needs_a_crs():
    with pytest.raises(CRSError, match="deposits: carry no CRS"):
        overdispersion(TINY, as_points(np.full((3, 2), 500.0)).set_crs(None, allow_override=True), 9000)
