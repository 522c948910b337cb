"""`delineate` on maps small enough to draw by hand."""

import math

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import Geod

import geoprospect as gp
from geoprospect.errors import CRSError, InputError

COLUMNS = ["rank", "area_km2", "mean_probability", "max_probability", "n_deposits", "known", "distance_km",
           "x", "y", "geometry"]  # fmt: skip
NAN = math.nan
# Cells of 1 km x 2 km, north-west corner at (0, 10 km).
MAP = [
    [0.9, 0.8, 0.1, 0.1, NAN],
    [0.1, 0.7, 0.1, 0.6, NAN],
    [0.1, 0.1, 0.5, 0.1, 0.6],
    [NAN, NAN, 0.1, 0.1, 0.9],
    [0.5, NAN, 0.1, 0.1, 0.95],
]


def probability(values, cell=(1000, 2000), crs="EPSG:32649", corner=(0, 10_000)):
    values = np.asarray(values, dtype=float)
    grid = gp.Grid(crs, Affine(cell[0], 0, corner[0], 0, -cell[1], corner[1]), values.shape)
    return grid.dataset({"p": values}).p


def mines(*points, crs="EPSG:32649"):
    return gpd.GeoDataFrame(geometry=shapely.points(points), crs=crs)


def test_a_map_drawn_by_hand():
    targets = gp.delineate(probability(MAP))
    assert list(targets.columns) == COLUMNS
    assert targets.crs.to_epsg() == 32649
    assert targets["rank"].to_list() == [1, 2, 3, 4, 5]
    assert targets["max_probability"].to_list() == [0.95, 0.9, 0.6, 0.5, 0.5]
    np.testing.assert_allclose(targets["mean_probability"], [2.45 / 3, 0.8, 0.6, 0.5, 0.5])
    assert targets["area_km2"].to_list() == [6, 6, 2, 2, 2]
    assert targets["x"].to_list()[:3] == [4500, 500, 3500]
    assert targets["y"].to_list()[:3] == [1000, 9000, 7000]
    assert targets["n_deposits"].to_list() == [0] * 5
    assert targets["known"].dtype == bool
    corner = shapely.union_all([shapely.box(0, 8000, 2000, 10_000), shapely.box(1000, 6000, 2000, 8000)])
    assert shapely.equals(targets.geometry[1], corner)


@settings(max_examples=40)
@given(values=arrays(float, (5, 6), elements=st.sampled_from([0.0, 0.4, 0.5, 0.7, 0.9, NAN])),
       threshold=st.sampled_from([0.4, 0.5, 0.8]))  # fmt: skip
def test_targets_are_the_ground_at_or_above_the_threshold(values, threshold):
    targets = gp.delineate(probability(values), threshold)
    x, y = np.meshgrid(500 + 1000 * np.arange(6), 9000 - 2000 * np.arange(5))
    inside = np.zeros(values.shape, dtype=int)
    for target in targets.itertuples():
        here = shapely.contains_xy(target.geometry, x, y)
        inside += here
        assert target.geometry.is_valid
        assert target.geometry.geom_type == "Polygon"
        assert target.area_km2 == pytest.approx(2 * here.sum())
        assert target.mean_probability == pytest.approx(values[here].mean())
        assert target.max_probability == values[here].max()
        assert values[(x == target.x) & (y == target.y) & here].tolist() == [target.max_probability]
    np.testing.assert_array_equal(inside, values >= threshold)
    # Cells that share an edge are in one target: targets touch in corners at most.
    shapes = targets.geometry.to_numpy()
    for i in range(len(shapes)):
        for other in shapes[i + 1 :]:
            assert shapely.length(shapely.intersection(shapes[i], other)) == 0
    order = list(zip(-targets["max_probability"], -targets["mean_probability"].round(12), -targets["area_km2"].round(6),
                     strict=True))  # fmt: skip
    assert order == sorted(order)
    assert targets["rank"].to_list() == list(range(1, len(targets) + 1))


def test_ties_go_to_the_higher_mean_and_then_to_the_larger():
    targets = gp.delineate(probability([[0.9, 0.5, 0, 0.9, 0.7, 0, 0.9, 0.7, 0.8]]))
    assert targets["x"].to_list() == [6500, 3500, 500]
    targets = gp.delineate(probability([[0.9, 0, 0.9, 0.9, 0, 0.9]]))
    assert targets["area_km2"].to_list() == [4, 2, 2]
    assert targets["x"][0] in (2500, 3500)
    assert targets["x"].to_list()[1:] == [500, 5500]


def test_a_hole_stays_a_hole():
    values = np.full((5, 5), 0.8)
    values[2, 2], values[1, 1] = 0.1, NAN
    targets = gp.delineate(probability(values))
    assert len(targets) == 1
    assert targets["area_km2"][0] == 2 * 23
    assert len(targets.geometry[0].interiors) == 2


def test_nan_is_no_ground():
    with_gap, without = (gp.delineate(probability([[0.9, gap, 0.9]])) for gap in (NAN, 0.9))
    assert with_gap["area_km2"].to_list() == [2, 2]
    assert without["area_km2"].to_list() == [6]


@pytest.mark.parametrize("values", [np.full((3, 3), NAN), np.zeros((3, 3)), [[0.49]]])
@pytest.mark.parametrize("deposits", [None, mines((500, 9000))])
def test_nothing_found_is_an_empty_layer_of_the_same_kind(values, deposits, tmp_path):
    empty, full = gp.delineate(probability(values), deposits=deposits), gp.delineate(probability(MAP))
    assert len(empty) == 0
    assert list(empty.columns) == COLUMNS
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert empty.crs == full.crs
    empty.to_file(tmp_path / "targets.gpkg")
    assert list(gpd.read_file(tmp_path / "targets.gpkg").columns) == COLUMNS


def test_small_targets_are_left_out_and_the_ranks_close_up():
    targets = gp.delineate(probability(MAP), min_area=3)
    assert targets["area_km2"].to_list() == [6, 6]
    assert targets["rank"].to_list() == [1, 2]
    assert targets.index.to_list() == [0, 1]
    assert len(gp.delineate(probability(MAP), min_area=6)) == 2
    assert len(gp.delineate(probability(MAP), min_area=6.001)) == 0


@pytest.mark.parametrize("crs", ["EPSG:32649", "EPSG:4326"])
def test_known_deposits_are_counted(crs):
    corner = (500_000, 2_400_000)
    deposits = [(500, -1000), (1900, -500), (1500, -3500), (4500, -9000), (2500, -1000)]
    points = mines(*(np.array(deposits) + corner)).to_crs(crs)
    targets = gp.delineate(probability(MAP, corner=corner), deposits=points)
    assert targets["n_deposits"].to_list() == [1, 3, 0, 0, 0]
    assert targets["known"].to_list() == [True, True, False, False, False]


def test_areas_in_degrees_are_those_on_the_ellipsoid():
    values = np.zeros((30, 30))
    values[5:20, 5:25], values[9:12, 10:14] = 0.9, 0.0
    found = probability(values, (0.01, 0.01), "EPSG:4326", (10, 60))
    targets = gp.delineate(found)
    grid, geod = gp.Grid.of(found), Geod(ellps="WGS84")
    cells = grid.boxes(*np.nonzero(values), 1, 1)
    area = sum(abs(geod.geometry_area_perimeter(cell)[0]) for cell in cells) / 1e6
    assert targets["area_km2"].to_list() == pytest.approx([area], rel=1e-4)


def test_areas_in_feet_are_in_square_kilometres():
    found = gp.delineate(probability([[0.9]], (1000, 1000), "EPSG:2263"))
    assert found["area_km2"][0] == pytest.approx(0.3048006096**2, rel=1e-9)


def test_turned_dims_make_no_difference():
    straight, turned = probability(MAP), probability(MAP).transpose("x", "y")
    first, second = gp.delineate(straight), gp.delineate(turned)
    assert first.drop(columns="geometry").equals(second.drop(columns="geometry"))
    assert shapely.equals(first.geometry.to_numpy(), second.geometry.to_numpy()).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_threshold_itself_is_a_target_in_the_precision_of_the_map(dtype):
    assert len(gp.delineate(probability([[0.7, 0.1]]).astype(dtype), threshold=0.7)) == 1


def test_a_map_of_ones_is_one_target():
    targets = gp.delineate(probability(np.ones((4, 4))), threshold=1.0)
    assert targets["area_km2"].to_list() == [32]


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1, NAN])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(InputError, match="threshold="):
        gp.delineate(probability(MAP), threshold)


def test_what_is_no_map_is_refused():
    with pytest.raises(InputError, match="min_area=-1"):
        gp.delineate(probability(MAP), min_area=-1)
    with pytest.raises(InputError, match=r"has dims .*'model'.*pick one variable"):
        gp.delineate(probability(MAP).expand_dims(model=2))
    with pytest.raises(CRSError, match="carries no CRS"):
        gp.delineate(probability(MAP).drop_vars("spatial_ref"))
    with pytest.raises(CRSError, match="deposits: carry no CRS"):
        gp.delineate(probability(MAP), deposits=mines((500, 9000), crs=None))


def test_a_deposit_within_half_a_window_of_a_target_makes_it_known():
    grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 1000), (10, 10))
    values = np.zeros(grid.shape)
    values[0, 0] = values[9, 9] = 0.9
    probability = grid.dataset({"p": values}, {"p": {"window_width": 400.0}}).p
    deposit = gpd.GeoDataFrame(geometry=gpd.points_from_xy([290], [950]), crs="EPSG:32649")  # 190 m east of the first
    found = gp.delineate(probability, deposits=deposit).sort_values("x")
    assert found["known"].tolist() == [True, False]
    np.testing.assert_allclose(found["distance_km"], [0.19, np.hypot(900 - 290, 950 - 100) / 1000])
    assert not gp.delineate(probability, deposits=deposit, reach=0)["known"].any()
