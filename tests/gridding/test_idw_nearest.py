"""The gridding kernel against a slow float64 reference."""

import numpy as np
import pytest
from gridding_truth import DX, DY, LAYOUTS, NORTH, WEST, layout, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from geoprospect.gridding import _idw_nearest


def grid(points, values, shape, k=12, power=2.0, first=(0, 0), geometry=(WEST, NORTH, DX, DY), **options):
    west, north, dx, dy = geometry
    out = np.empty((values.shape[1], *shape), dtype=np.float32)
    _idw_nearest.idw_nearest(points, values, (west, north), (dx, dy), k, power, out, first, **options)
    return out


def assert_exact(points, values, shape, **options):
    found, (mean, size) = grid(points, values, shape, **options), reference(points, values, shape, **options)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(mean))
    error = np.abs(found - mean) / np.where(size > 0, size, 1)
    assert np.nanmax(error, initial=0) <= 2e-6
    return found


@settings(max_examples=120)
@given(
    st.sampled_from(LAYOUTS),
    st.integers(1, 120),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.sampled_from([1, 2, 3, 12, 40, 1000]),
    st.sampled_from([2.0, 2.0, 1.0, 0.5, 3.5, 12.0]),
    st.sampled_from([np.inf, np.inf, 150.0, 20.0]),
    st.sampled_from([1, 1, 3]),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.integers(0, 2**32 - 1),
)
def test_every_layout_agrees_with_the_reference(name, n, shape, k, power, radius, min_samples, missing, seed):
    rng = np.random.default_rng(seed)
    points = layout(name, n, shape, rng)
    values = rng.normal(0, 1, (len(points), 5)) * 10.0 ** rng.integers(-3, 4)  # both signs
    values[rng.random(values.shape) < missing] = np.nan
    assert_exact(points, values, shape, k=k, power=power, radius=radius, min_samples=min_samples)


@pytest.mark.parametrize("spacing", [1, 2, 3])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_ties_on_a_lattice_go_by_the_index_of_the_sample(spacing, offset):
    rng = np.random.default_rng(spacing)
    shape, geometry = (37, 41), (0.0, 37.0, 1.0, -1.0)
    points = np.array(np.meshgrid(np.arange(0, 41, spacing), np.arange(0, 37, spacing))).reshape(2, -1).T + offset
    points = points[rng.permutation(len(points))]
    assert_exact(points, rng.normal(size=(len(points), 1)), shape, k=7, geometry=geometry)


def test_thousands_of_samples_in_one_block_agree():
    rng = np.random.default_rng(0)
    cluster = (WEST + 8 * DX, NORTH + 8 * DY) + rng.uniform(-5, 5, (5_000, 2)) * DX
    points = np.r_[cluster, layout("scattered", 50, (20, 20), rng)]
    assert_exact(points, rng.normal(size=(len(points), 2)), (20, 20))


def test_a_grid_as_wide_as_the_earth_agrees_with_the_reference():
    rng = np.random.default_rng(1)
    geometry = (-2e7, 1e7, 5e5, -5e5)
    points = rng.uniform(-1, 1, (200, 2)) * (2e7, 1e7)
    assert_exact(points, rng.lognormal(size=(200, 3)), (40, 80), geometry=geometry)


def test_a_huge_weight_does_not_overflow():
    points = np.array([[np.nextafter(0.5, 0), -0.5], [3.6, -2.7]])
    found = grid(points, np.array([[1e6], [2e6]]), (4, 8), geometry=(0.0, 0.0, 1.0, -1.0))
    assert found[0, 0, 0] == 1e6


def test_the_nearest_sample_comes_back_to_the_last_digit():
    rng = np.random.default_rng(0)
    points = np.array([5e5, 2.4e6]) + rng.uniform(0, 1, (200, 2)) * [6400, -6400]
    points = np.r_[points, points + rng.normal(0, 1e-5, points.shape)]
    values = np.arange(1, 401.0)[:, None]
    found = assert_exact(points, values, (64, 64), k=1, geometry=(5e5, 2.4e6, 100.0, -100.0))
    assert np.isin(found, values).all()


def test_centimetre_cells_far_from_the_origin_are_ranked_rightly():
    points = np.array([[490030.0600026838, 4100065.976075628], [490029.90999731654, 4100065.8260702607]])
    assert_exact(points, np.array([[0.0], [1.0]]), (16, 16), k=1, geometry=(490029.83, 4100065.9060729444, 0.01, -0.01))


@pytest.mark.parametrize("away", [0, 25, 80, 500])
def test_a_dense_cluster_some_way_off_agrees_with_the_reference(away):
    rng = np.random.default_rng(away)
    cluster = (WEST + (10 + away) * DX, NORTH + 10 * DY) + rng.uniform(-10, 10, (3_000, 2)) * DX
    assert_exact(cluster, rng.normal(size=(3_000, 2)), (20, 20))


def test_one_sample_beyond_the_reach_of_integers_counts():
    points = np.array([[WEST + 1e12, NORTH - 1e12]])
    assert (grid(points, np.array([[4.0]]), (3, 70)) == 4).all()


def test_a_sample_on_a_cell_centre_comes_back_exactly():
    rng = np.random.default_rng(2)
    row, col = rng.permutation(30)[:10], rng.permutation(30)[:10]
    points = np.column_stack([WEST + DX * (col + 0.5), NORTH + DY * (row + 0.5)])
    values = rng.lognormal(size=(10, 3)).astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(grid(points, values, (30, 30))[:, row, col], values.T)


def test_samples_at_one_place_give_their_mean_there():
    points = np.array([[WEST + 5.5 * DX, NORTH + 5.5 * DY]] * 2 + [[WEST, NORTH]])
    assert grid(points, np.array([[1.0], [3.0], [50.0]]), (10, 10))[0, 5, 5] == 2


def test_any_part_of_a_grid_is_the_same_to_the_byte():
    rng = np.random.default_rng(3)
    points, shape = layout("scattered", 400, (150, 170), rng), (150, 170)
    values = rng.normal(size=(400, 5))
    values[rng.random(values.shape) < 0.2] = np.nan
    whole = grid(points, values, shape)
    for row, col, height, width in [
        (0, 0, 64, 64),
        (1, 1, 149, 169),
        (63, 65, 2, 3),
        (149, 0, 1, 170),
        (16, 130, 70, 40),
    ]:
        part = grid(points, values, (height, width), first=(row, col))
        assert part.tobytes() == np.ascontiguousarray(whole[:, row : row + height, col : col + width]).tobytes()


def test_the_number_of_threads_does_not_change_a_byte():
    rng = np.random.default_rng(0)
    points, values = rng.uniform(0, 200, (500, 2)), rng.normal(size=(500, 3))
    one, two = (grid(points, values, (200, 200), geometry=(0.0, 200.0, 1.0, -1.0), threads=n) for n in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_a_sample_at_the_radius_counts_and_one_beyond_does_not():
    points, values = np.array([[WEST + 3.5 * DX, NORTH + 0.5 * DY]]), np.array([[7.0]])
    reach = abs(points[0, 0] - (WEST + 0.5 * DX))
    assert grid(points, values, (1, 8), radius=reach)[0, 0, 0] == 7
    assert np.isnan(grid(points, values, (1, 8), radius=reach * 0.999)[0, 0, 0])


def test_the_fewest_samples_are_counted_even_where_their_weights_vanish():
    """On a sample the others have weight 0 and still count."""
    points = np.array([[WEST + 0.5 * DX, NORTH + 0.5 * DY], [WEST + 1.5 * DX, NORTH + 0.5 * DY]])
    found = grid(points, np.array([[5.0], [9.0]]), (1, 20), min_samples=2, radius=3 * DX)
    assert found[0, 0, 0] == 5
    assert np.isnan(found[0, 0, 10:]).all()


def test_a_mean_is_never_beyond_the_values_that_it_is_made_of():
    rng = np.random.default_rng(5)
    points, values = layout("scattered", 300, (40, 40), rng), np.full((300, 3), 0.3)
    values[:, 1] = rng.choice([0.1, 0.7], 300)
    values[::3, 2] = np.nan
    found = grid(points, values, (40, 40))
    assert (found[[0, 2]] == np.float32(0.3)).all()
    assert found[1].min() >= np.float32(0.1)
    assert found[1].max() <= np.float32(0.7)


def test_an_element_without_values_is_nan_and_leaves_the_others_alone():
    rng = np.random.default_rng(4)
    points, values = layout("scattered", 30, (20, 20), rng), rng.normal(size=(30, 3))
    alone = grid(points, values[:, [0, 2]], (20, 20))
    values[:, 1] = np.nan
    found = grid(points, values, (20, 20))
    assert np.isnan(found[1]).all()
    assert found[[0, 2]].tobytes() == alone.tobytes()
