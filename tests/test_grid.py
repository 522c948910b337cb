"""`Grid`: cells lie where they say, cover what they must, and survive a trip through xarray."""

import logging
import math

import dask.array
import geopandas as gpd
import numpy as np
import pytest
import rioxarray
import shapely
import xarray as xr
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

import geoprospect as gp
from geoprospect.errors import CRSError, InputError

UTM = "EPSG:32649"
GRID = gp.Grid(UTM, Affine(10, 0, 500_000, 0, -20, 2_400_000), (20, 30))

cell_sizes = st.floats(1e-3, 1e5)
corners = st.floats(-1e7, 1e7)
sides = st.integers(1, 400)
grids = st.builds(
    lambda dx, dy, left, top, ny, nx: gp.Grid(UTM, Affine(dx, 0, left, 0, -dy, top), (ny, nx)),
    cell_sizes, cell_sizes, corners, corners, sides, sides,
)  # fmt: skip
# Coordinates as they come: anywhere, on round numbers, in a row, all in one place.
coordinates = st.one_of(
    st.floats(-1e7, 1e7), st.integers(-(10**5), 10**5).map(lambda k: k * 0.1), st.just(0.0), st.just(123_456.789)
)
places = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=12)


def points(xy, crs=UTM):
    return gpd.GeoSeries(shapely.points(np.asarray(xy, dtype=float)), crs=crs)


def band(grid, **attrs):
    values = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
    return grid.dataset({"Cu": values}, {"Cu": attrs})


# -- the value ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 0, 0, 10, 0),
        Affine(10, 10, 0, 10, 10, 0),  # flat
        Affine(8, -6, 0, 6, 8, 0),  # turned and mirrored
        Affine(math.nan, 6, 0, 6, -8, 0),
        Affine(-10, 0, 0, 0, -10, 0),
        Affine(0, 0, 0, 0, -10, 0),
        Affine(10, 0, math.nan, 0, -10, 0),
        Affine(10, 0, 0, 0, -math.inf, 0),
    ],
)
def test_a_transform_that_is_not_finite_or_mirrored_is_refused(transform):
    with pytest.raises(InputError, match=r"^transform=\(.*\): needs a finite transform of rows from west to east"):
        gp.Grid(UTM, transform, (2, 3))


def test_rows_and_columns_that_are_not_at_right_angles_are_refused():
    with pytest.raises(InputError, match=r"at right angles; bring a sheared raster .* read_bands"):
        gp.Grid(UTM, Affine(10, 3, 0, 0, -10, 0), (2, 3))


def test_a_turn_that_moves_no_cell_is_none():
    grid = gp.Grid(UTM, Affine(10, 1e-14, 0, -1e-13, -10, 0), (200, 300))
    assert grid.north_up
    assert grid == gp.Grid(UTM, Affine(10, 0, 0, 0, -10, 0), (200, 300))
    assert not gp.Grid(UTM, Affine(10, 1e-6, 0, 1e-6, -10, 0), (200, 300)).north_up


@pytest.mark.parametrize("transform", [None, (10, 0, 0, 0, -10, 0), "10 0 0"])
def test_a_transform_that_is_no_affine_is_refused(transform):
    with pytest.raises(InputError, match=r"needs an affine.Affine"):
        gp.Grid(UTM, transform, (2, 3))


@pytest.mark.parametrize("shape", [(0, 3), (2,), (2.5, 3), None, (2, math.inf)])
def test_a_shape_that_is_not_two_positive_whole_numbers_is_refused(shape):
    with pytest.raises(InputError, match=r"^shape"):
        gp.Grid(UTM, Affine(10, 0, 0, 0, -10, 0), shape)


def test_a_grid_without_a_crs_is_refused():
    with pytest.raises(CRSError, match="never guessed"):
        gp.Grid(None, Affine(10, 0, 0, 0, -10, 0), (2, 3))


def test_what_is_given_is_normalised():
    grid = gp.Grid(32649, Affine(10, 0, 0, 0, -10, 0), np.array([2, 3]))
    assert isinstance(grid.crs, CRS)
    assert grid.shape == (2, 3)
    assert all(type(n) is int for n in grid.shape)


def test_a_grid_cannot_be_changed():
    with pytest.raises(AttributeError):
        GRID.shape = (1, 1)


def test_edges_and_centres_follow_from_the_transform():
    assert GRID.bounds == (500_000, 2_399_600, 500_300, 2_400_000)
    assert GRID.resolution == (20, 10)
    assert GRID.unit == "metre"
    assert (GRID.x[0], GRID.x[-1], len(GRID.x)) == (500_005, 500_295, 30)
    assert (GRID.y[0], GRID.y[-1], len(GRID.y)) == (2_399_990, 2_399_610, 20)


def test_the_repr_says_size_cells_and_crs():
    assert repr(GRID) == "Grid(20 x 30 cells of 20 x 10 m, WGS 84 / UTM zone 49N)"
    assert "°" in repr(gp.Grid("EPSG:4326", Affine(0.5, 0, 0, 0, -0.5, 0), (2, 2)))


def test_equal_grids_are_equal_and_hash_alike():
    other = gp.Grid(CRS(UTM).to_wkt(), Affine(10, 0, 500_000 + 1e-7, 0, -20, 2_400_000), [20, 30])
    assert other == GRID
    assert hash(other) == hash(GRID)
    assert len({other, GRID}) == 1


@pytest.mark.parametrize(
    "other",
    [
        gp.Grid("EPSG:32650", GRID.transform, GRID.shape),
        gp.Grid(UTM, GRID.transform, (20, 31)),
        gp.Grid(UTM, GRID.transform, (30, 20)),
        gp.Grid(UTM, Affine(10, 0, 500_000.01, 0, -20, 2_400_000), GRID.shape),
        gp.Grid(UTM, Affine(20, 0, 500_000, 0, -20, 2_400_000), GRID.shape),
        "a grid",
        None,
    ],
)
def test_grids_that_differ_are_not_equal(other):
    assert other != GRID


def test_equality_looks_at_the_finer_side_of_a_cell():
    flat = gp.Grid(UTM, Affine(1e-3, 0, 0, 0, -1e5, 0), (2, 2))
    assert flat != gp.Grid(UTM, Affine(1e-3, 0, 0.01, 0, -1e5, 0), (2, 2))


# -- rows and columns --------------------------------------------------------------------------


@given(grids)
def test_a_point_on_a_cell_centre_comes_back_there(grid):
    assume(min(grid.resolution) > 1e-8 * max(map(abs, grid.bounds)))
    xx, yy = np.meshgrid(grid.x, grid.y)
    row, col = grid.rowcol(xx, yy)
    assert (row == np.arange(grid.shape[0])[:, None]).all()
    assert (col == np.arange(grid.shape[1])[None, :]).all()
    assert grid.contains(xx, yy).all()


@given(grids, st.floats(-1e7, 1e7), st.floats(-1e7, 1e7))
def test_a_point_lies_between_the_edges_of_its_cell(grid, x, y):
    row, col = grid.rowcol(x, y)
    t, slack = grid.transform, 1e-9 * 1e7
    assert t.c + t.a * col - slack <= x <= t.c + t.a * (col + 1) + slack
    assert t.f + t.e * (row + 1) - slack <= y <= t.f + t.e * row + slack
    assert grid.contains(x, y) == (0 <= row < grid.shape[0] and 0 <= col < grid.shape[1])


def test_a_point_between_two_cells_belongs_to_the_south_and_east():
    row, col = GRID.rowcol([500_000, 500_010, 500_300], [2_400_000, 2_399_980, 2_399_600])
    assert row.tolist() == [0, 1, 20]
    assert col.tolist() == [0, 1, 30]
    assert GRID.contains([500_000, 500_300], [2_400_000, 2_399_990]).tolist() == [True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_a_point_without_a_place_has_no_cell(bad):
    assert GRID.contains([bad, 500_005], [2_399_990, 2_399_990]).tolist() == [False, True]
    assert not GRID.contains(500_005, bad)
    with pytest.raises(InputError, match="need finite coordinates"):
        GRID.rowcol([500_005, bad], [2_399_990, 2_399_990])
    with pytest.raises(InputError, match="need finite coordinates"):
        GRID.rowcol(500_005, bad)


def test_points_are_brought_into_the_crs_of_the_grid():
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(500_005, 2_399_990)
    x, y = GRID.points(points([(lon, lat)], "EPSG:4326"))
    assert (x[0], y[0]) == pytest.approx((500_005, 2_399_990), abs=1e-4)


@pytest.mark.parametrize("bad", [None, shapely.Point(), shapely.Point(math.inf, 0)])
def test_points_without_a_place_are_refused_with_their_row(bad):
    series = gpd.GeoSeries([shapely.Point(500_005, 2_399_990), bad], crs=UTM)
    with pytest.raises(InputError, match=r"1 of 2 points are missing, empty or infinite \(row 2\)"):
        GRID.points(series)


def test_polygons_are_no_points():
    with pytest.raises(InputError, match="is Polygon, needs points"):
        GRID.points(points([(0, 0)]).buffer(1))


# -- covering ----------------------------------------------------------------------------------


@given(places, st.tuples(sides, sides), st.sampled_from([0.0, 0.1, 250.0]))
def test_a_grid_of_a_given_shape_covers_every_point(xy, shape, pad):
    xy = np.array(xy)
    assume(pad > 0 or np.ptp(xy, axis=0).max() > 0)
    grid = gp.Grid.covering(points(xy), shape=shape, pad=pad)
    assert grid.shape == shape
    assert grid.contains(*xy.T).all()
    dy, dx = grid.resolution
    assert dy == pytest.approx(dx)


@given(places, st.one_of(st.sampled_from([0.1, 0.3, 0.7, 1.0, 30.0, 100.0]), st.floats(1e-2, 1e6)))
def test_a_grid_of_a_given_resolution_covers_every_point_on_whole_multiples(xy, size):
    xy = np.array(xy)
    grid = gp.Grid.covering(points(xy), resolution=size)
    assert grid.contains(*xy.T).all()
    left, bottom, right, top = grid.bounds
    assert (left / size, top / size) == (pytest.approx(round(left / size)), pytest.approx(round(top / size)))
    # No row or column more than the points need, but for rounding.
    slack = size * (1 + 1e-6) + 1e-8
    assert xy[:, 0].min() - left <= slack
    assert right - xy[:, 0].max() <= slack
    assert xy[:, 1].min() - bottom <= slack
    assert top - xy[:, 1].max() <= slack


@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 100.0])
def test_points_a_hair_outside_a_multiple_of_the_resolution_are_covered(size):
    # Divided by the size, many of these round onto the multiple that they lie west or north of.
    for k in [*range(-2600, -2500), 0, *range(2500, 2600)]:
        x, y = math.nextafter(k * size, -math.inf), math.nextafter(k * size, math.inf)
        assert gp.Grid.covering(points([(x, y)]), resolution=size).contains(x, y)


@pytest.mark.parametrize(
    ("x", "width", "n"), [(7_322_015.953741584, 0.019221246980926067, 22), (263_623.5917324381, 6.2017596e-6, 123)]
)
def test_points_far_from_the_origin_and_close_together_are_covered(x, width, n):
    xy = np.array([(x, x), (x + width, x + width)])
    assert gp.Grid.covering(points(xy), shape=(n, n)).contains(*xy.T).all()


def test_points_on_the_edges_of_cells_lie_in_the_grid():
    xy = [(0, 0), (300, 0), (0, 200), (300, 200)]
    grid = gp.Grid.covering(points(xy), resolution=100)
    assert grid.bounds == (0, -100, 400, 200)
    assert grid.contains(*np.transpose(xy)).all()


def test_the_points_lie_in_the_middle_of_the_narrower_direction():
    grid = gp.Grid.covering(points([(0, 0), (100, 1000)]), shape=(100, 100))
    left, bottom, right, top = grid.bounds
    assert ((left + right) / 2, (bottom + top) / 2) == pytest.approx((50, 500))
    assert grid.resolution == pytest.approx((10, 10))


def test_the_margin_is_kept_on_all_sides():
    left, bottom, right, top = gp.Grid.covering(points([(0, 0), (100, 100)]), resolution=10, pad=35).bounds
    assert left <= -35
    assert bottom <= -35
    assert right >= 135
    assert top >= 135


def test_without_shape_or_resolution_cells_are_a_quarter_of_the_spacing():
    xx, yy = np.meshgrid(np.arange(5) * 400.0, np.arange(5) * 400.0)
    assert gp.Grid.covering(points(np.column_stack([xx.ravel(), yy.ravel()]))).resolution == (100, 100)


def test_repeated_places_do_not_spoil_the_spacing():
    xy = [(0, 0), (0, 0), (0, 0), (400, 0), (800, 0)]
    assert gp.Grid.covering(points(xy)).resolution == (100, 100)


def test_one_place_gives_no_cell_size_but_takes_one():
    one = points([(123.4, 567.8)] * 3)
    with pytest.raises(InputError, match=r"fewer than two places.* pass resolution="):
        gp.Grid.covering(one)
    with pytest.raises(InputError, match=r"all points coincide.* pass resolution="):
        gp.Grid.covering(one, shape=8)
    grid = gp.Grid.covering(one, resolution=10)
    assert grid.shape == (1, 1)
    assert grid.contains(123.4, 567.8)


def test_no_points_cannot_be_covered():
    with pytest.raises(InputError, match="there are no points to cover"):
        gp.Grid.covering(gpd.GeoSeries([], crs=UTM))


def test_shape_and_resolution_exclude_each_other():
    with pytest.raises(InputError, match="shape=3, resolution=10: give one of them"):
        gp.Grid.covering(points([(0, 0), (1, 1)]), shape=3, resolution=10)


@pytest.mark.parametrize("value", [0, -10, math.nan, math.inf, "10", True])
def test_a_resolution_that_is_no_positive_number_is_refused(value):
    with pytest.raises(InputError, match=r"^resolution=.*more than 0"):
        gp.Grid.covering(points([(0, 0), (1, 1)]), resolution=value)


def test_a_resolution_too_fine_to_count_in_is_refused():
    with pytest.raises(InputError, match="too fine"):
        gp.Grid.covering(points([(1e5, 1e5), (2e5, 2e5)]), resolution=1e-320)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, None])
def test_a_margin_that_is_negative_or_no_number_is_refused(value):
    with pytest.raises(InputError, match=r"^pad="):
        gp.Grid.covering(points([(0, 0), (1, 1)]), resolution=1, pad=value)


def test_samples_and_frames_are_covered_like_their_points():
    samples = gp.Samples([[0, 0], [90, 60]], [[1], [2]], ["Cu"], ["ppm"], UTM)
    of_points = gp.Grid.covering(points([(0, 0), (90, 60)]), resolution=10)
    assert gp.Grid.covering(samples, resolution=10) == of_points
    assert gp.Grid.covering(samples.to_frame(), resolution=10) == of_points


# -- the choice of a CRS -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lonlat", "epsg"),
    [
        ([(109.8, 21.8), (110.2, 22.2)], 32649),
        ([(43.6, -23.2), (44.6, -24.0)], 32738),
        ([(-8, 55), (-5, 54)], 32629),
        ([(179.2, 10), (179.9, 11)], 32660),
        ([(250, 40), (251, 42)], 32612),  # longitudes from 0 to 360
        ([(181, -17), (183, -18)], 32701),
    ],
)
def test_points_in_degrees_get_their_utm_zone_and_it_is_said(lonlat, epsg, caplog):
    with caplog.at_level(logging.INFO, "geoprospect"):
        grid = gp.Grid.covering(points(lonlat, "EPSG:4326"), resolution=1000)
    assert grid.crs == CRS(epsg)
    assert f"their grid is in {CRS(epsg).name}" in caplog.text


@pytest.mark.parametrize("lonlat", [[(100, 20), (120, 40)], [(10, 85), (20, 88)], [(10, -85), (20, -81)]])
def test_wide_and_polar_surveys_get_an_equal_area_projection(lonlat):
    grid = gp.Grid.covering(points(lonlat, "EPSG:4326"), resolution=10_000)
    assert grid.crs.is_projected
    assert "Lambert Azimuthal Equal Area" in grid.crs.coordinate_operation.method_name
    assert grid.crs.name.startswith("WGS 84 / Equal area about")
    assert grid.unit == "metre"
    x, y = grid.points(points(lonlat, "EPSG:4326"))
    assert grid.contains(x, y).all()


@given(st.floats(-170, 170), st.floats(-78, 78))
@settings(max_examples=25)
def test_distances_on_a_chosen_grid_are_metric_and_the_same_in_all_directions(lon, lat):
    from pyproj import Geod

    step = 0.05
    lonlat = [(lon, lat), (lon + step / math.cos(math.radians(lat)), lat), (lon, lat + step)]
    grid = gp.Grid.covering(points(lonlat, "EPSG:4326"), resolution=100)
    x, y = grid.points(points(lonlat, "EPSG:4326"))
    for k in (1, 2):
        true = Geod(ellps="WGS84").inv(*lonlat[0], *lonlat[k])[2]
        assert math.hypot(x[k] - x[0], y[k] - y[0]) == pytest.approx(true, rel=1e-3)


def test_a_survey_across_the_antimeridian_asks_for_a_crs():
    fiji = points([(179.5, -17), (-179.5, -18)], "EPSG:4326")
    with pytest.raises(CRSError, match=r"antimeridian.*pass crs="):
        gp.Grid.covering(fiji, resolution=1000)
    grid = gp.Grid.covering(fiji, resolution=1000, crs="EPSG:3460")
    assert grid.shape[1] < 200


def test_points_without_a_crs_are_refused():
    with pytest.raises(CRSError, match="carry no CRS, and one is never guessed"):
        gp.Grid.covering(points([(0, 0), (1, 1)], None), resolution=1)
    with pytest.raises(CRSError, match="carries no CRS, and one is never guessed"):
        GRID.points(points([(0, 0)], None))


def test_a_projected_crs_is_kept_and_a_given_one_taken():
    assert gp.Grid.covering(points([(5e5, 0), (6e5, 1e5)]), resolution=1000).crs == CRS(UTM)
    assert gp.Grid.covering(points([(5e5, 0), (6e5, 1e5)]), resolution=1000, crs=3857).crs == CRS(3857)


def test_a_wrong_crs_gives_an_error_not_infinity():
    with pytest.raises(CRSError, match=r"2 of 2 points, the first POINT \(500000 2400000\).*are x and y swapped\?"):
        gp.Grid.covering(points([(5e5, 2.4e6), (5.1e5, 2.5e6)], "EPSG:4326"), resolution=1000, crs=UTM)
    with pytest.raises(CRSError, match="have no place in"):
        GRID.points(points([(2.4e60, 5e50)], "EPSG:32650"))


@pytest.mark.parametrize("bad", [None, shapely.Point(), shapely.Point(math.inf, math.inf), shapely.box(0, 0, 1, 1)])
@pytest.mark.parametrize("crs", ["EPSG:4326", UTM])
def test_geometries_without_a_place_cannot_be_covered(bad, crs):
    with pytest.raises(InputError, match=r"missing, empty or infinite|needs points"):
        gp.Grid.covering(gpd.GeoSeries([shapely.Point(1, 2), bad], crs=crs), resolution=1)


# -- xarray ------------------------------------------------------------------------------------


def test_a_dataset_carries_crs_transform_and_attributes():
    data = band(GRID, units="ppm", long_name="copper")
    assert data.Cu.dims == ("y", "x")
    assert CRS.from_user_input(data.rio.crs.to_wkt()) == CRS(UTM)
    assert data.rio.transform() == GRID.transform
    assert data.rio.transform(recalc=True).almost_equals(GRID.transform)
    assert data.Cu.attrs == {"units": "ppm", "long_name": "copper"}
    assert np.isnan(data.Cu.encoding["_FillValue"])
    assert data.Cu.encoding["grid_mapping"] == "spatial_ref"
    assert (data.Cu.rio.crs, data.Cu.rio.transform()) == (data.rio.crs, GRID.transform)
    assert data.x.attrs["standard_name"] == "projection_x_coordinate"
    np.testing.assert_array_equal(data.x, GRID.x)
    np.testing.assert_array_equal(data.y, GRID.y)


def test_only_floating_bands_have_nan_for_nodata():
    data = GRID.dataset({"mask": np.zeros(GRID.shape, dtype=np.uint8)})
    assert "_FillValue" not in data.mask.encoding
    assert data.mask.dtype == np.uint8


def test_a_band_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"bands\['Cu'\]: has shape \(30, 20\), the grid has \(20, 30\)"):
        GRID.dataset({"Cu": np.zeros((30, 20))})


@pytest.mark.parametrize("name", ["x", "y", "spatial_ref"])
def test_a_band_cannot_be_called_like_a_coordinate(name):
    with pytest.raises(InputError, match=f"bands: '{name}' is the name of a coordinate"):
        GRID.dataset({name: np.zeros(GRID.shape)})


@given(grids)
@settings(max_examples=20)
def test_a_grid_comes_back_from_its_dataset(grid):
    assume(min(grid.resolution) > 1e-6 * max(map(abs, grid.bounds)))
    data = grid.dataset({"Cu": np.zeros(grid.shape, dtype=np.float32)})
    assert gp.Grid.of(data) == grid
    assert gp.Grid.of(data.Cu) == grid


def test_a_grid_comes_back_from_coordinates_alone():
    data = band(GRID).drop_vars("spatial_ref").rio.write_crs(UTM)
    assert "GeoTransform" not in data.spatial_ref.attrs
    assert gp.Grid.of(data) == GRID


def test_a_grid_comes_back_from_the_transform_alone():
    assert gp.Grid.of(band(GRID).drop_vars(["x", "y"])) == GRID


def test_a_grid_comes_back_from_a_file_in_memory():
    data = band(GRID)
    assert gp.Grid.of(xr.load_dataset(data.to_netcdf(), decode_coords="all")) == GRID


def test_a_reprojected_dataset_has_the_grid_that_was_asked_for():
    moved = band(GRID).rio.reproject("EPSG:32650", resolution=15)
    grid = gp.Grid.of(moved)
    assert grid.crs == CRS("EPSG:32650")
    assert grid.resolution == pytest.approx((15, 15))
    assert grid.bounds == pytest.approx(moved.rio.bounds())


def test_a_dataset_reprojected_onto_another_has_its_grid():
    target = gp.Grid(UTM, Affine(7, 0, 500_020, 0, -7, 2_399_900), (11, 13))
    assert gp.Grid.of(band(GRID).rio.reproject_match(band(target))) == target


def test_a_clipped_dataset_has_the_grid_of_the_part():
    clipped = band(GRID).rio.clip_box(500_050, 2_399_700, 500_145, 2_399_895)
    grid = gp.Grid.of(clipped)
    np.testing.assert_allclose(grid.x, clipped.x)
    np.testing.assert_allclose(grid.y, clipped.y)


@pytest.mark.parametrize("rows", [slice(3, 9), slice(0, 20), slice(0, None, 2), slice(18, 20)])
@pytest.mark.parametrize("cols", [slice(5, None), slice(0, 7), slice(1, None, 3)])
def test_a_sliced_dataset_has_the_grid_of_the_part_though_its_transform_is_stale(rows, cols):
    part = band(GRID).isel(y=rows, x=cols)
    grid = gp.Grid.of(part)
    assert grid.shape == (part.sizes["y"], part.sizes["x"])
    np.testing.assert_allclose(grid.x, part.x)
    np.testing.assert_allclose(grid.y, part.y)


def test_one_row_needs_a_stored_transform():
    row = gp.Grid(UTM, GRID.transform, (1, 30))
    data = band(row)
    assert gp.Grid.of(data) == row
    bare = data.drop_vars("spatial_ref").rio.write_crs(UTM)
    with pytest.raises(InputError, match=r"the cell size is unknown; set it with data\.rio\.write_transform"):
        gp.Grid.of(bare)


def test_data_that_run_northwards_are_refused():
    upside_down = band(GRID).isel(y=slice(None, None, -1))
    with pytest.raises(InputError, match=r"north.up"):
        gp.Grid.of(upside_down)
    with pytest.raises(InputError, match=r"north.up"):
        gp.Grid.of(upside_down.drop_vars("spatial_ref").rio.write_crs(UTM))


def test_data_that_run_westwards_are_refused():
    with pytest.raises(InputError, match=r"north.up"):
        gp.Grid.of(band(GRID).isel(x=slice(None, None, -1)))


@pytest.mark.parametrize("dim", ["x", "y"])
def test_uneven_coordinates_are_refused(dim):
    uneven = band(GRID)[dim].to_numpy().copy()
    uneven[3] += 0.1
    data = band(GRID).assign_coords({dim: uneven}).drop_vars("spatial_ref").rio.write_crs(UTM)
    with pytest.raises(InputError, match="even steps"):
        gp.Grid.of(data)


def test_uneven_columns_are_seen_beside_tall_cells():
    tall = gp.Grid(UTM, Affine(1, 0, 0, 0, -10_000, 0), (4, 30))
    uneven = tall.x.copy()
    uneven[3] += 0.5
    with pytest.raises(InputError, match="even steps"):
        gp.Grid.of(band(tall).assign_coords(x=uneven))


def test_data_without_a_crs_are_refused():
    data = xr.Dataset({"Cu": (("y", "x"), np.zeros((2, 2)))}, coords={"y": [1.0, 0.0], "x": [0.0, 1.0]})
    with pytest.raises(CRSError, match=r"carries no CRS; set one with data\.rio\.write_crs"):
        gp.Grid.of(data)


def test_other_names_of_dims_are_refused_with_the_cure():
    data = xr.Dataset({"Cu": (("lat", "lon"), np.zeros((2, 2)))})
    with pytest.raises(InputError, match=r"dims are \('lat', 'lon'\), needs 'y' and 'x'; rename them"):
        gp.Grid.of(data)


# -- parts -------------------------------------------------------------------------------------


def test_cells_are_numbered_row_by_row_from_the_north_west_from_one():
    cells = GRID.cells(4, 5)
    assert cells.cell.tolist() == list(range(1, 21))
    x, y = cells.centroid.x.to_numpy().reshape(4, 5), cells.centroid.y.to_numpy().reshape(4, 5)
    assert (np.diff(x, axis=1) > 0).all()
    assert (np.diff(y, axis=0) < 0).all()
    assert cells.geometry[0].bounds == (500_000, 2_399_900, 500_060, 2_400_000)
    assert cells.crs == GRID.crs


@given(sides, sides, st.data())
def test_cells_part_the_grid_exactly(ny, nx, data):
    rows, cols = data.draw(st.integers(1, min(ny, 12))), data.draw(st.integers(1, min(nx, 12)))
    grid = gp.Grid(UTM, Affine(10, 0, 5e5, 0, -20, 2.4e6), (ny, nx))
    cells = grid.cells(rows, cols)
    count = np.zeros(grid.shape, dtype=int)
    for part in cells.itertuples():
        count[part.row : part.row + part.height, part.col : part.col + part.width] += 1
    assert (count == 1).all()
    assert cells.area.sum() == pytest.approx(ny * nx * 200)
    assert shapely.union_all(cells.geometry.to_numpy()).area == pytest.approx(ny * nx * 200)
    assert np.ptp(cells.height) <= 1
    assert np.ptp(cells.width) <= 1


@pytest.mark.parametrize(("rows", "cols"), [(21, 1), (1, 31)])
def test_no_more_cells_than_the_grid_has(rows, cols):
    with pytest.raises(InputError, match="the grid has only 20 x 30 cells"):
        GRID.cells(rows, cols)


@pytest.mark.parametrize("bad", [0, -1, 2.5, True])
def test_a_number_of_cells_that_is_not_positive_and_whole_is_refused(bad):
    with pytest.raises(InputError, match=r"^rows="):
        GRID.cells(bad, 1)
    with pytest.raises(InputError, match=r"^cols="):
        GRID.cells(1, bad)


def test_boxes_have_the_edges_of_their_cells():
    (box,) = GRID.boxes(2, 3, 4, 5)
    assert box.bounds == (500_030, 2_399_880, 500_080, 2_399_960)
    assert len(GRID.boxes([0, 1], [0, 1], 1, [2, 3])) == 2


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 80))
def test_strided_cells_lie_about_the_centres_of_their_windows(ny, nx, window, stride):
    assume(window <= min(ny, nx))
    grid = gp.Grid(UTM, Affine(10, 0, 5e5, 0, -20, 2.4e6), (ny, nx))
    # The centre of a window: halfway between its outer edges.
    x = [5e5 + 10 * (col + window / 2) for col in range(0, nx - window + 1, stride)]
    y = [2.4e6 - 20 * (row + window / 2) for row in range(0, ny - window + 1, stride)]
    coarse = grid.strided(window, stride)
    assert coarse.shape == (len(y), len(x))
    np.testing.assert_allclose(coarse.x, x, rtol=0, atol=1e-6)
    np.testing.assert_allclose(coarse.y, y, rtol=0, atol=1e-6)
    assert coarse.resolution == (20 * stride, 10 * stride)
    assert coarse.crs == grid.crs


def test_strided_by_one_cell_is_the_grid_itself():
    assert GRID.strided(1, 1) == GRID


def test_a_window_larger_than_the_grid_is_refused():
    with pytest.raises(InputError, match=r"window=21: the grid has only 20 x 30 cells"):
        GRID.strided(21, 1)


@pytest.mark.parametrize("bad", [0, -1, 2.5, None])
def test_a_stride_that_is_not_positive_and_whole_is_refused(bad):
    with pytest.raises(InputError, match=r"^stride="):
        GRID.strided(4, bad)
    with pytest.raises(InputError, match=r"^window="):
        GRID.strided(bad, 4)


# -- turned against the CRS --------------------------------------------------------------------

TURNED = {
    "by an angle": Affine(8, 6, 500_000, 6, -8, 2_400_000),
    "by a quarter": Affine(0, 10, 500_000, 10, 0, 2_400_000),
    "by a half": Affine(-10, 0, 500_000, 0, 10, 2_400_000),
    "oblong": Affine(8, 9, 500_000, 6, -12, 2_400_000),
}


@pytest.fixture(params=TURNED)
def turned(request):
    return gp.Grid(UTM, TURNED[request.param], (7, 11))


def test_places_of_a_turned_grid_are_those_of_its_transform(turned):
    row, col = (at.ravel() for at in np.mgrid[-3:10, -2:14])
    places = np.array([turned.transform @ (c + 0.5, r + 0.5) for r, c in zip(row, col, strict=True)])
    np.testing.assert_allclose(np.column_stack(turned.xy(row, col)), places, rtol=0, atol=1e-6)
    rng = np.random.default_rng(1)
    within = places + rng.uniform(-0.49, 0.49, (len(row), 2)) @ np.array(turned.transform[:6]).reshape(2, 3)[:, :2].T
    np.testing.assert_array_equal(turned.rowcol(*within.T), (row, col))
    np.testing.assert_array_equal(turned.contains(*within.T), (row >= 0) & (row < 7) & (col >= 0) & (col < 11))
    assert turned.cell_area == pytest.approx(turned.boxes(0, 0, 1, 1)[0].area)
    assert not turned.north_up


def test_windows_and_parts_of_a_turned_grid_lie_where_their_cells_do(turned):
    strided = turned.strided(4, 3)
    for r, c in np.ndindex(strided.shape):
        x, y = turned.xy(np.arange(4)[:, None] + 3 * r, np.arange(4) + 3 * c)
        np.testing.assert_allclose(strided.xy(r, c), (x.mean(), y.mean()), rtol=0, atol=1e-6)
        box = shapely.union_all(turned.boxes([3 * r], [3 * c], 4, 4))
        np.testing.assert_allclose(box.centroid.coords[0], (x.mean(), y.mean()), rtol=0, atol=1e-6)
        assert box.area == pytest.approx(16 * turned.cell_area)
    np.testing.assert_allclose(turned.part(-2, 3, (4, 4)).xy(2, 1), turned.xy(0, 4), rtol=0, atol=1e-6)
    np.testing.assert_allclose(turned.strided(1, 2).resolution, np.array(turned.resolution) * 2)


def test_data_of_a_turned_grid_know_where_they_lie_also_when_they_are_cut(turned):
    data = turned.dataset({"Cu": np.arange(77.0).reshape(7, 11)})
    assert gp.Grid.of(data) == turned
    assert gp.Grid.of(data["Cu"].isel(y=slice(2, 5), x=slice(4, None))) == turned.part(2, 4, (3, 7))
    assert gp.Grid.of(data.drop_vars(["row", "column"])) == turned
    assert data.rio.transform() == turned.transform
    for some in (
        data.isel(y=slice(None, None, 2)), data.isel(x=slice(None, None, -1)), data.drop_vars("row"),
        data.coarsen(y=7, x=11).mean(),
    ):  # fmt: skip
        with pytest.raises(InputError, match="take every cell, in order"):
            gp.Grid.of(some)
    with pytest.raises(InputError, match="'row' is the name of a coordinate"):
        turned.dataset({"row": np.zeros((7, 11))})


@pytest.mark.filterwarnings("ignore:Transform that is non-rectilinear")  # rioxarray
def test_a_part_of_what_rioxarray_opens_lies_where_its_coordinates_say(turned, tmp_path):
    gp.write_cog(turned.dataset({"Cu": np.arange(77, dtype="float32").reshape(7, 11)}), tmp_path / "turned.tif")
    with rioxarray.open_rasterio(tmp_path / "turned.tif", band_as_variable=True) as data:
        if "xc" not in data.coords:  # of a turn by a half there are x and y, which run backwards
            with pytest.raises(InputError, match="do not run in even steps, north up"):
                gp.Grid.of(data)
            return
        assert gp.Grid.of(data) == turned
        assert gp.Grid.of(data.isel(y=slice(2, 5), x=slice(4, None))) == turned.part(2, 4, (3, 7))
        assert gp.Grid.of(data["band_1"].isel(y=[6], x=slice(1, 3))) == turned.part(6, 1, (1, 2))
        with pytest.raises(InputError, match="'xc' and 'yc' do not run along its cells"):
            gp.Grid.of(data.isel(x=slice(None, None, 2)))


@pytest.mark.parametrize("name", ["x", "y", "bounds"])
def test_what_a_turned_grid_does_not_have_is_refused_with_the_cure(name, turned):
    with pytest.raises(InputError, match=r"turned against its CRS.*read_bands\(path, grid\)"):
        getattr(turned, name)


def test_a_turned_survey_is_refused_before_anything_is_computed(turned):
    def computed(block):
        raise AssertionError("a block was computed")

    lazy = dask.array.map_blocks(computed, dask.array.ones((7, 11), chunks=4), dtype=float, meta=np.empty((0, 0)))
    survey = turned.dataset({"Cu": lazy}, {"Cu": {"units": "ppm"}})
    deposits = gpd.GeoDataFrame(geometry=gpd.points_from_xy(*turned.xy([3], [5])), crs=UTM)
    samples = gp.Samples(np.column_stack(turned.xy([3], [5])), [[1.0]], ("Cu",), ("ppm",), UTM)
    for refused in (
        lambda: gp.sample_windows(survey, deposits, size=2, crop=2, rng=0),
        lambda: gp.screen(survey, deposits),
        lambda: gp.interpolate(samples, turned),
    ):
        with pytest.raises(InputError, match="turned against its CRS"):
            refused()


def test_distances_on_a_turned_grid_are_those_of_its_cells(turned):
    place = np.column_stack(turned.xy([3, 0], [5, 9]))
    samples = gp.Samples(place, [[1.0], [2.0]], ("Cu",), ("ppm",), UTM)
    x, y = turned.xy(*np.mgrid[:7, :11])
    expected = np.hypot(x[..., None] - place[:, 0], y[..., None] - place[:, 1]).min(axis=-1)
    np.testing.assert_allclose(gp.support(samples, turned).distance, expected, rtol=1e-5, atol=1e-3)


def test_figures_of_a_turned_raster_are_refused_by_the_name_of_the_argument(turned):
    survey = turned.dataset({"Cu": np.ones((7, 11))})
    with pytest.raises(InputError, match=r"^survey: lies on Grid\(7 x 11 cells .* turned by"):
        gp.plotting.element_map(survey, "Cu")
    with pytest.raises(InputError, match=r"^probability: lies on Grid"):
        gp.plotting.probability_map(survey["Cu"])


def test_blocks_of_a_turned_grid_broadcast_as_those_of_one_that_is_north_up(turned):
    boxes = turned.boxes(0, [0, 2], [[1], [2]], 3)
    assert boxes.shape == GRID.boxes(0, [0, 2], [[1], [2]], 3).shape == (2, 2)
    assert boxes[1, 1].area == pytest.approx(6 * turned.cell_area)
