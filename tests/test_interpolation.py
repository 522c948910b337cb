"""`interpolate`: what was sampled comes back at its place, the right way up, in its units."""

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Transformer

import geoprospect as gp
from geoprospect.errors import CRSError, InputError

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
    with pytest.raises(InputError, match="none of them lies on the grid"):
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
    assert "30/30" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"method": "kriging"}, "method='kriging'"), ({"k": 0}, "k=0"), ({"k": 2.5}, "k=2.5"), ({"power": 0}, "power=0"),
     ({"power": NAN}, "power=nan"), ({"radius": 0}, "radius=0"), ({"radius": -5}, "radius=-5")],
)  # fmt: skip
def test_a_setting_out_of_its_range_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        gp.interpolate(scattered(), GRID, **arguments)


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
