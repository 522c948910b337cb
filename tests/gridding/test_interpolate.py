"""`interpolate`: what was sampled comes back at its place, the right way up, in its units."""

import dataclasses
import math
import os
import signal
import time

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Transformer

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, InputError

UTM = "EPSG:32649"
GRID = gp.Grid(UTM, Affine(100, 0, 500_000, 0, -50, 2_400_000), (30, 40))
NAN = math.nan


def samples(points, values, elements=("Cu",), units=("ppm",), crs=UTM):
    return gp.Samples(points, np.asarray(values, dtype=float).reshape(len(points), -1), elements, units, crs)


def scattered(n=60, seed=0, grid=GRID):
    rng = np.random.default_rng(seed)
    left, bottom, right, top = grid.bounds
    points = np.column_stack([rng.uniform(left, right, n), rng.uniform(bottom, top, n)])
    return samples(points, rng.lognormal(3, 1, (n, 2)), ("Cu", "Au"), ("ppm", "ppb"))


def test_a_plane_sampled_on_the_corners_of_the_cells_comes_back_in_their_middle():
    left, bottom, right, top = GRID.bounds
    x, y = (a.ravel() for a in np.meshgrid(np.arange(left, right + 1, 100), np.arange(bottom, top + 1, 50)))
    lattice = samples(np.column_stack([x, y]), np.column_stack([x - left, y - bottom]), ("x_", "y_"), ("m", "m"))
    found = gp.interpolate(lattice, GRID, k=4)
    # Four corners, equally far: their mean is the plane at the middle. North is up, nothing is shifted.
    np.testing.assert_allclose(found["x_"], np.tile(GRID.x - left, (30, 1)), atol=1e-3)
    np.testing.assert_allclose(found["y_"], np.tile(GRID.y - bottom, (40, 1)).T, atol=1e-3)
    assert float(found["y_"][0, 0]) > float(found["y_"][-1, 0])


@pytest.mark.parametrize("k", [1, 3, 12])
def test_samples_on_cell_centres_come_back_exactly(k):
    rng = np.random.default_rng(0)
    row, col = (a[:25] for a in np.divmod(rng.permutation(1200), 40))
    values = rng.normal(0, 100, 25)
    found = gp.interpolate(samples(np.column_stack([GRID.x[col], GRID.y[row]]), values), GRID, k=k)["Cu"].values
    np.testing.assert_array_equal(found[row, col], values.astype(np.float32))


def test_one_sample_is_one_value_everywhere():
    found = gp.interpolate(samples([[500_010, 2_399_990]], [4.25]), GRID)
    assert (found["Cu"] == 4.25).all()


def test_samples_outside_of_the_grid_count_as_neighbours():
    inside, outside = [GRID.x[5], GRID.y[3]], [GRID.x[5] - 3000, GRID.y[3]]
    cu = gp.interpolate(samples([inside, outside], [1.0, 9.0]), GRID, k=2, power=1)["Cu"]
    assert float(cu[3, 5]) == 1
    # 500 m from one, 2500 m from the other.
    assert float(cu[3, 0]) == pytest.approx((1 / 500 + 9 / 2500) / (1 / 500 + 1 / 2500), rel=1e-6)


def test_samples_in_degrees_are_projected():
    survey = scattered()
    degrees = survey.to_crs("EPSG:4326")
    np.testing.assert_allclose(gp.interpolate(degrees, GRID)["Cu"], gp.interpolate(survey, GRID)["Cu"], rtol=1e-4)
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(GRID.x[7], GRID.y[2])
    one = samples([[lon, lat], [lon + 0.02, lat - 0.009]], [5.0, 1.0], crs="EPSG:4326")
    assert int(gp.interpolate(one, GRID)["Cu"].values.argmax()) == 2 * 40 + 7


def test_nearness_is_measured_in_metres_not_degrees():
    # At 65 degrees north a degree of longitude is less than half as long as one of latitude.
    grid = gp.Grid("EPSG:32635", Affine(100, 0, 499_950, 0, -100, 7_210_000), (1, 1))
    lon, lat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(grid.x[0], grid.y[0])
    survey = samples(
        [[lon + 0.010, lat], [lon, lat + 0.006], [lon, lat + 1e-4]], [[1.0], [2.0], [NAN]], crs="EPSG:4326"
    )
    assert float(gp.interpolate(survey, grid, k=1)["Cu"][0, 0]) == 1


def test_a_grid_in_degrees_is_refused():
    grid = gp.Grid("EPSG:4326", Affine(0.01, 0, 110, 0, -0.01, 22), (10, 10))
    with pytest.raises(CRSError, match=r"distances are no lengths.*Grid\.covering"):
        gp.interpolate(samples([[110.05, 21.95]], [1.0], crs="EPSG:4326"), grid)


def test_samples_without_a_place_in_the_crs_of_the_grid_are_refused():
    hemisphere = gp.Grid("+proj=ortho +lat_0=22 +lon_0=111", Affine(100, 0, -500, 0, -100, 500), (10, 10))
    with pytest.raises(CRSError, match="have no place there"):
        gp.interpolate(samples([[-70.0, 0.0], [111, 21.7]], [1.0, 2.0], crs="EPSG:4326"), hemisphere)


def test_samples_beside_the_grid_are_refused():
    with pytest.raises(InputError, match="none of them is on the grid"):
        gp.interpolate(samples([[0, 0], [900_000, 2_399_000]], [1.0, 2.0]), GRID)


def test_missing_values_and_missing_elements():
    points = [[GRID.x[3], GRID.y[3]], [GRID.x[30], GRID.y[20]]]
    survey = samples(points, [[1.0, NAN, NAN], [5.0, 7.0, NAN]], ("Cu", "Au", "F"), ("ppm", "ppb", "%"))
    found = gp.interpolate(survey, GRID)
    assert float(found["Cu"][3, 3]) == 1
    assert (found["Au"] == 7).all()
    assert found["F"].isnull().all()


def test_an_element_does_not_depend_on_the_company_it_keeps():
    survey = scattered()
    values = survey.values.copy()
    values[::3, 1] = NAN
    holed = samples(survey.points, values, ("Cu", "Au"), ("ppm", "ppb"))
    together = gp.interpolate(holed, GRID)
    for name in ("Cu", "Au"):
        np.testing.assert_array_equal(together[name], gp.interpolate(holed[name], GRID)[name])


def test_beyond_the_radius_there_is_nothing():
    point = [GRID.x[10], GRID.y[10]]
    found = gp.interpolate(samples([point], [3.0]), GRID, radius=500)["Cu"].values
    distance = np.hypot(*np.meshgrid(GRID.x - point[0], GRID.y - point[1]))
    np.testing.assert_array_equal(np.isnan(found), distance > 500)
    assert (distance == 500).any(), "the rim itself must be among the cells"
    assert (found[distance <= 500] == 3).all()


def test_a_band_says_how_many_of_its_samples_were_below_detection():
    plain = scattered()
    censored = np.zeros(plain.values.shape, dtype=bool)
    censored[:7, 0] = True
    values = plain.values.copy()
    values[:10, 0] = math.nan  # 7 below detection that were left out, 3 missing
    marked = dataclasses.replace(plain, values=values, limits=np.where(censored, 1.0, math.nan), censored=censored)
    found = gp.interpolate(marked, GRID)
    assert found["Cu"].attrs["censored_fraction"] == round(7 / (len(plain) - 3), 4)
    assert "censored_fraction" not in found["Au"].attrs
    unmarked = gp.interpolate(dataclasses.replace(plain, values=values), GRID)
    for name in ("Cu", "Au"):
        assert found[name].values.tobytes() == unmarked[name].values.tobytes()
    kriged = gp.interpolate(marked, GRID, "kriging")
    assert "censored_fraction" in kriged["Cu"].attrs
    assert "censored_fraction" not in kriged["Cu_variance"].attrs


def test_bands_say_what_they_are():
    found = gp.interpolate(scattered(), GRID)
    assert list(found) == ["Cu", "Au"]
    assert found["Au"].attrs == {"units": "ppb", "long_name": "Au"}
    assert found["Cu"].dims == ("y", "x")
    assert found["Cu"].dtype == np.float32
    assert math.isnan(found["Cu"].encoding["_FillValue"])
    assert found.rio.crs == CRS(UTM)
    assert gp.Grid.of(found) == GRID


def test_far_from_the_origin_values_are_as_near_it():
    # Eastings and northings of millions: shifting everything by multiples of a power of two changes no distance.
    near = gp.Grid(UTM, Affine(100, 0, 0, 0, -50, 0), (30, 40))
    survey = scattered(grid=near)
    points = np.round(survey.points * 64) / 64
    here = gp.interpolate(samples(points, survey.values, ("Cu", "Au"), ("", "")), near)
    shift = np.array([2.0**20, 2.0**22])
    far = gp.Grid(UTM, Affine(100, 0, shift[0], 0, -50, shift[1]), (30, 40))
    there = gp.interpolate(samples(points + shift, survey.values, ("Cu", "Au"), ("", "")), far)
    for name in ("Cu", "Au"):
        np.testing.assert_allclose(there[name], here[name], rtol=2e-6)


def test_feet_are_as_good_as_metres():
    feet = gp.Grid("EPSG:2263", Affine(100, 0, 980_000, 0, -100, 200_000), (5, 5))
    points = shapely.get_coordinates(shapely.points([980_050, 980_450], [199_950, 199_950]))
    found = gp.interpolate(samples(points, [0.0, 1.0], crs="EPSG:2263"), feet)["Cu"]
    np.testing.assert_allclose(found[0], [0, 0.1, 0.5, 0.9, 1], rtol=1e-6)


def test_the_same_samples_give_the_same_bytes_with_and_without_a_progress_bar(capsys):
    first, second = (gp.interpolate(scattered(), GRID, progress=on) for on in (False, True))
    assert first["Au"].values.tobytes() == second["Au"].values.tobytes()
    assert "1.20k/1.20k" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"method": "krigging"}, "method='krigging'.*did you mean 'kriging'"), ({"k": 0}, "k=0"),
     ({"k": 2.5}, "k=2.5"), ({"power": 0}, "power=0"), ({"power": NAN}, "power=nan"),
     ({"radius": 0}, "radius=0"), ({"radius": -5}, "radius=-5"),
     ({"method": "kriging", "k": None}, "k=None: kriging works from the nearest"),
     ({"method": "kriging", "variogram": "linear"}, "variogram='linear'"),
     ({"method": "spline", "damping": -1}, "damping=-1"),
     ({"method": "linear", "radius": 500.0}, "radius=500.0: does not apply to method='linear'; .*'idw' or 'nearest'"),
     ({"method": "cubic", "min_samples": 3}, "min_samples=3: does not apply"),
     ({"method": "spline", "k": 12}, "k=12: does not apply to method='spline'; leave it out, .*'idw' or 'kriging'"),
     ({"variogram": "gaussian"}, "variogram='gaussian': does not apply to method='idw'"),
     ({"devise": "cpu"}, "devise='cpu': there is no such setting"),
     ({"min_samples": 13}, r"min_samples=13: a cell takes only 12 samples \(k\)"),
     ({"method": "nearest", "min_samples": 2}, "min_samples=2: does not apply"),
     ({"method": "idw-direct", "radius": 9.0}, "radius=9.0: does not apply"),
     ({"chunks": 0}, "chunks=0"), ({"chunks": "a few"}, "chunks='a few'"), ({"chunks": (10, 10, 10)}, "chunks="),
     ({"chunks": 2.5}, "chunks=2.5")],
)  # fmt: skip
def test_a_setting_out_of_its_range_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        gp.interpolate(scattered(), GRID, **arguments)


# -- all samples ---------------------------------------------------------------------------------


def test_all_samples_agree_with_the_direct_sums():
    survey = scattered(300)
    fast, direct = gp.interpolate(survey, GRID, k=None), gp.interpolate(survey, GRID, "idw-direct")
    for name in survey.elements:
        np.testing.assert_allclose(fast[name], direct[name], rtol=2e-6)
    # And with the k nearest, where k is all of them.
    np.testing.assert_allclose(fast["Cu"], gp.interpolate(survey, GRID, k=300)["Cu"], rtol=4e-6)


def test_all_samples_within_a_radius_are_no_others():
    survey = scattered(300)
    found = gp.interpolate(survey, GRID, k=None, radius=150, min_samples=2)
    np.testing.assert_array_equal(found["Au"], gp.interpolate(survey, GRID, k=300, radius=150, min_samples=2)["Au"])
    assert found["Au"].isnull().any()


# -- other methods -------------------------------------------------------------------------------


def plane(n=400):
    """Samples of x and y themselves, which reach beyond the grid on all sides."""
    rng = np.random.default_rng(1)
    left, bottom, right, top = GRID.bounds
    points = np.column_stack([rng.uniform(left - 500, right + 500, n), rng.uniform(bottom - 500, top + 500, n)])
    return samples(points, points - [left, bottom], ("east", "north"), ("m", "m"))


@pytest.mark.parametrize("method", ["linear", "cubic", "spline"])
def test_a_plane_comes_back_unshifted_and_north_up(method):
    found = gp.interpolate(plane(), GRID, method)
    left, bottom, _, _ = GRID.bounds
    np.testing.assert_allclose(found["east"], np.tile(GRID.x - left, (30, 1)), atol=0.01)
    np.testing.assert_allclose(found["north"], np.tile(GRID.y - bottom, (40, 1)).T, atol=0.01)


@pytest.mark.parametrize("method", ["nearest", "idw", "idw-direct", "linear", "cubic", "kriging", "spline"])
def test_a_high_sample_on_a_cell_centre_is_there_and_nowhere_else(method):
    survey = scattered(80)
    points, values = survey.points.copy(), np.ones((80, 1))
    points[17], values[17] = (GRID.x[31], GRID.y[4]), 100
    found = gp.interpolate(samples(points, values), GRID, method)["Cu"].values
    assert found[4, 31] == pytest.approx(100, rel=1e-4)
    # Upside down, left to right and transposed it would be here.
    for row, col in [(25, 31), (4, 8), (25, 8), (29, 4)]:
        assert not found[row, col] > 50


def test_the_nearest_sample_is_the_nearest():
    survey = scattered(50)
    found = gp.interpolate(survey, GRID, "nearest")
    x, y = np.meshgrid(GRID.x, GRID.y)
    square = (x[..., None] - survey.points[:, 0]) ** 2 + (y[..., None] - survey.points[:, 1]) ** 2
    np.testing.assert_array_equal(found["Au"], survey["Au"].values[square.argmin(axis=-1), 0].astype(np.float32))


def test_kriging_brings_its_variance_along():
    survey = scattered(80)
    points = survey.points.copy()
    points[0] = GRID.x[10], GRID.y[10]
    found = gp.interpolate(samples(points, survey.values, ("Cu", "Au"), ("ppm", "")), GRID, "kriging")
    assert list(found) == ["Cu", "Au", "Cu_variance", "Au_variance"]
    assert found["Cu_variance"].attrs == {"units": "(ppm)²", "long_name": "kriging variance of Cu"}
    assert found["Au_variance"].attrs["units"] == ""
    assert float(found["Cu"][10, 10]) == pytest.approx(survey.values[0, 0], rel=1e-5)
    assert float(found["Cu_variance"][10, 10]) == pytest.approx(0, abs=1e-3)
    assert (found["Cu_variance"].values >= -1e-3).all()
    assert float(found["Cu_variance"].max()) > 0


@pytest.mark.parametrize("method", ["linear", "cubic", "kriging", "spline"])
def test_an_element_with_too_few_samples_for_a_surface_is_named(method):
    values = scattered().values.copy()
    values[2:, 1] = NAN
    with pytest.raises(InputError, match=r"samples\['Au'\]: has values at 2 places.*method='(nearest|idw)'"):
        gp.interpolate(samples(scattered().points, values, ("Cu", "Au"), ("", "")), GRID, method)


def test_an_element_that_is_called_like_a_variance_is_refused():
    with pytest.raises(InputError, match="'Cu_variance' is the name of an element"):
        gp.interpolate(
            samples(scattered().points, scattered().values, ("Cu", "Cu_variance"), ("", "")), GRID, "kriging"
        )


def test_a_spline_of_too_many_samples_is_refused_before_it_is_begun():
    with pytest.raises(InputError, match="method='idw'"):
        gp.interpolate(scattered(30_000), GRID, "spline")


# -- larger than memory --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"k": None}, {"method": "idw-direct"}, {"radius": 300.0, "min_samples": 2}, {"method": "nearest"},
     {"method": "linear"}, {"method": "kriging"}],
    ids=str,
)  # fmt: skip
def test_a_lazy_grid_has_the_same_bytes(settings):
    survey = scattered(80)
    whole = gp.interpolate(survey, GRID, **settings)
    for chunks in (16, (7, 40), (30, 11), "auto"):
        lazy = gp.interpolate(survey, GRID, chunks=chunks, **settings)
        assert all(band.chunks is not None for band in lazy.values())
        assert lazy.attrs == whole.attrs
        computed = lazy.compute(scheduler="threads")
        for name, band in whole.items():
            assert computed[name].values.tobytes() == band.values.tobytes()
            assert lazy[name].attrs == band.attrs
        assert gp.Grid.of(lazy) == GRID


def test_a_huge_lazy_grid_computes_only_the_chunks_asked_for():
    huge = gp.Grid(UTM, Affine(1, 0, 500_000, 0, -1, 2_400_000), (100_000, 100_000))
    with pytest.warns(DataWarning, match="Finer cells"):
        lazy = gp.interpolate(scattered(), huge, chunks=2048)
    assert lazy["Cu"].shape == huge.shape
    at = scattered().points[0]
    (row,), (col,) = huge.rowcol(at[:1], at[1:])
    around = {"y": slice(row - 2, row + 3), "x": slice(col - 2, col + 3)}
    t = huge.transform
    small = gp.Grid(UTM, Affine(1, 0, t.c + col - 2, 0, -1, t.f - (row - 2)), (5, 5))
    np.testing.assert_allclose(
        lazy.isel(around)["Cu"], gp.interpolate(scattered(), small, method="idw")["Cu"], rtol=4e-6
    )


def test_a_grid_larger_than_memory_is_refused_and_the_way_out_is_named(monkeypatch):
    huge = gp.Grid(UTM, Affine(1, 0, 500_000, 0, -1, 2_400_000), (400_000, 400_000))
    with pytest.warns(DataWarning, match="Finer cells"), pytest.raises(InputError, match=r"GiB.*chunks=1024"):
        gp.interpolate(scattered(), huge)


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_though_a_worker_is_killed():
    distributed = pytest.importorskip("distributed")
    grid = gp.Grid(UTM, Affine(10, 0, 500_000, 0, -10, 2_400_000), (640, 640))
    survey = scattered(4000, grid=grid)
    whole = gp.interpolate(survey, grid, k=40)
    lazy = gp.interpolate(survey, grid, k=40, chunks=40)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        futures = client.compute([lazy[name].data for name in lazy])
        victim = next(iter(cluster.workers.values())).pid
        while not client.run(lambda dask_worker: len(dask_worker.data)):
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)
        assert not all(future.done() for future in futures), "the kill came too late to disturb anything"
        found = client.gather(futures)
    for name, values in zip(lazy, found, strict=True):
        assert values.tobytes() == whole[name].values.tobytes()


# -- cells that are too fine ---------------------------------------------------------------------


def test_cells_much_finer_than_the_samples_are_warned_of():
    fine = gp.Grid(UTM, Affine(10, 0, 500_000, 0, -10, 2_400_000), (150, 400))
    with pytest.warns(DataWarning, match="of the sample spacing") as caught:
        gp.interpolate(scattered(20, grid=fine), fine)
    assert caught[0].filename == __file__


@pytest.mark.data
def test_the_arabian_shield_comes_back_at_its_samples(data_folder):
    survey = gp.read_samples(
        data_folder / "arabian_shield" / "samples_clean.csv.gz", x="lon", y="lat", crs="EPSG:4326"
    )[["Cu", "Au"]]
    grid = gp.Grid.covering(survey, resolution=200)
    found = gp.interpolate(survey, grid)
    row, col = grid.rowcol(*grid.points(survey.geometry))
    for name in survey.elements:
        there = survey[name].values[:, 0]
        # A sample lies 76 m from its cell centre on average and 1.6 km from the next one.
        assert np.corrcoef(np.log(found[name].values[row, col]), np.log(there))[0, 1] > 0.97, name
        assert there.min() <= found[name].min()
        assert found[name].max() <= there.max()
