"""Gridding from all samples against plain float64 sums."""

import numpy as np
import pytest
from gridding_truth import DX, DY, LAYOUTS, NORTH, WEST, layout
from hypothesis import given, settings
from hypothesis import strategies as st

from geoprospect.gridding import _idw_all

# Of the weighted mean of absolute values; what `interpolate` promises.
LIMIT = 2e-6
GEOMETRY = (WEST, NORTH, DX, DY)


def grid(points, values, shape, power=2.0, first=(0, 0), geometry=GEOMETRY, **options):
    west, north, dx, dy = geometry
    out = np.full((values.shape[1], *shape), -7, dtype=np.float32)
    _idw_all.idw_all(points, values, (west, north), (dx, dy), power, out, first, **options)
    return out


def reference(points, values, rows, cols, power=2.0, geometry=GEOMETRY):
    """Sums over all samples in float64 at some cells; also of the absolute values."""
    west, north, dx, dy = geometry
    x, y = west + dx * (cols + 0.5), north + dy * (rows + 0.5)
    square = (x[:, None] - points[:, 0]) ** 2 + (y[:, None] - points[:, 1]) ** 2
    mean, size = (np.full((values.shape[1], x.size), np.nan) for _ in range(2))
    for e, column in enumerate(values.T):
        present = ~np.isnan(column)
        if not present.any():
            continue
        d2, v = square[:, present], column[present]
        nearest = d2.min(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(d2 == nearest, 1.0, (nearest / d2) ** (power / 2))
        mean[e] = weight @ v / weight.sum(axis=1)
        size[e] = weight @ abs(v) / weight.sum(axis=1)
    return mean, size


def assert_close(points, values, shape, rng, n_cells=400, limit=LIMIT, **options):
    found = grid(points, values, shape, **options)
    rows, cols = rng.integers(0, shape[0], n_cells), rng.integers(0, shape[1], n_cells)
    known = {key: options[key] for key in ("power", "geometry") if key in options}
    mean, size = reference(points, values, rows, cols, **known)
    np.testing.assert_array_equal(np.isnan(found[:, rows, cols]), np.isnan(mean))
    error = np.abs(found[:, rows, cols] - mean) / np.where(size > 0, size, 1)
    assert np.nanmax(error, initial=0) <= limit
    return found


@settings(max_examples=60)
@given(
    st.sampled_from(LAYOUTS),
    st.integers(1, 400),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from([2.0, 2.0, 1.0, 0.5, 3.0, 4.0, 7.5]),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.integers(0, 2**32 - 1),
)
def test_every_layout_agrees_with_float64(name, n, shape, power, missing, seed):
    rng = np.random.default_rng(seed)
    points = layout(name, n, shape, rng)
    values = rng.normal(0, 1, (len(points), 5)) * 10.0 ** rng.integers(-3, 4)  # both signs
    values[rng.random(values.shape) < missing] = np.nan
    assert_close(points, values, shape, rng, power=power)


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_a_dense_cluster_at_the_edge_of_a_tile_agrees_with_float64(power):
    rng = np.random.default_rng(0)
    edge = (WEST + 128 * DX, NORTH + 128 * DY)
    points = np.r_[edge + rng.normal(0, 0.5, (5_000, 2)) * DX, layout("scattered", 30, (256, 400), rng)]
    values = np.column_stack([rng.normal(size=len(points)), np.where(np.arange(len(points)) % 2, 1e3, -1e3)])
    assert_close(points, values, (256, 400), rng, n_cells=500, power=power)


@pytest.mark.parametrize("distance", [1.0, 2.49, 2.51, 4.0, 40.0])
def test_a_few_samples_just_within_and_just_beyond_the_box_agree_with_float64(distance):
    rng = np.random.default_rng(1)
    middle, half = (WEST + 64 * DX, NORTH + 64 * DY), 64 * DX
    angle = rng.uniform(0, 2 * np.pi, 3)
    points = middle + distance * half * np.column_stack([np.cos(angle), np.sin(angle)])
    assert_close(points, rng.normal(size=(3, 4)), (128, 128), rng, n_cells=4_000)
    corner = middle + distance * half * np.array([[1, 0], [0, 1], [-1, -1.0]])
    assert_close(corner, rng.normal(size=(3, 4)), (128, 128), rng, n_cells=4_000)


def test_many_samples_agree_with_float64():
    rng = np.random.default_rng(2)
    points = layout("scattered", 30_000, (150, 150), rng)
    assert_close(points, rng.normal(size=(30_000, 2)), (150, 150), rng, n_cells=100)


def test_cells_four_times_as_wide_as_high_agree_with_float64():
    rng = np.random.default_rng(3)
    geometry = (WEST, NORTH, 40.0, -10.0)
    points = (WEST, NORTH) + rng.uniform(-0.5, 1.5, (500, 2)) * (200 * 40.0, -300 * 10.0)
    for oblong in (geometry, (WEST, NORTH, 10.0, -40.0)):
        assert_close(points, rng.normal(size=(500, 3)), (300, 200), rng, geometry=oblong)


def test_a_grid_as_wide_as_the_earth_agrees_with_float64():
    rng = np.random.default_rng(4)
    points = rng.uniform(-1, 1, (300, 2)) * (2e7, 1e7)
    assert_close(points, rng.lognormal(size=(300, 3)), (200, 400), rng, geometry=(-2e7, 1e7, 1e5, -1e5))


def test_on_a_sample_the_elements_that_lack_it_take_the_others():
    points = np.array([[WEST + 5.5 * DX, NORTH + 5.5 * DY]] * 3 + [[WEST, NORTH]])
    values = np.array([[1.0, np.nan], [3.0, np.nan], [5.0, np.nan], [50.0, 9.0]])
    for direct in (False, True):
        found = grid(points, values, (10, 10), direct=direct)
        assert found[0, 5, 5] == 3
        assert (found[1] == 9).all()


CENTRE = np.array([WEST + 5.5 * DX, NORTH + 5.5 * DY])


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("apart", [0.0, 1e-10, 1e-6, 1e-3, 0.1])
def test_two_samples_close_to_a_cell_centre_are_told_apart(power, apart):
    rng = np.random.default_rng(9)
    points = np.r_[CENTRE + np.array([[apart, 0], [-4 * apart, 0]]), layout("scattered", 30, (12, 12), rng)]
    values = np.column_stack([np.r_[1.0, 100.0, np.full(30, 5.0)], np.r_[np.nan, 1e9, np.full(30, -2e9)]])
    found = grid(points, values, (12, 12), power=power)[:, 5, 5]
    mean, size = reference(points, values, np.array([5]), np.array([5]), power=power)
    assert (np.abs(found - mean[:, 0]) <= LIMIT * size[:, 0]).all()


def test_samples_ten_thousand_million_cells_away_agree_with_float64():
    rng = np.random.default_rng(10)
    points = np.array([[1e7, 1.0], [1.5e7, -1e7], [-2e7, 3e6]])
    for cell in (1e-2, 1e-4, 1e-6):
        for power in (2.0, 4.0):
            geometry = (0.0, 0.0, cell, -cell)
            assert_close(points, rng.normal(size=(3, 2)), (20, 20), rng, power=power, geometry=geometry)


def test_the_direct_sums_do_not_vanish_for_an_element_that_lacks_the_nearest_sample():
    points = np.array(
        [[WEST + np.nextafter(0.5, 0) * DX, NORTH + 0.5 * DY], [WEST + 300 * DX, NORTH], [WEST, NORTH + 400 * DY]]
    )
    values = np.array([[1.0, np.nan, np.nan], [2.0, 3.0, 4.0], [4.0, 5.0, 7.0]])
    found = grid(points, values, (4, 8), power=20.0, direct=True)
    mean, _ = reference(points, values, np.array([0]), np.array([0]), power=20.0)
    np.testing.assert_allclose(found[:, 0, 0], mean[:, 0], rtol=1e-6)


def test_the_direct_sums_are_exact():
    rng = np.random.default_rng(5)
    for name in LAYOUTS:
        points = layout(name, 60, (40, 70), rng)
        values = rng.normal(size=(len(points), 3))
        values[rng.random(values.shape) < 0.3] = np.nan
        for power in (2.0, 0.7, 9.0):
            assert_close(points, values, (40, 70), rng, limit=2e-7, direct=True, power=power)


def test_any_part_of_a_grid_is_the_same_to_the_byte_whatever_the_threads():
    rng = np.random.default_rng(6)
    points, shape = layout("scattered", 300, (290, 310), rng), (290, 310)
    values = rng.normal(size=(300, 3))
    values[rng.random(values.shape) < 0.2] = np.nan
    for direct in (False, True):
        whole = grid(points, values, shape, direct=direct, threads=2)
        for row, col, height, width in [(0, 0, 128, 128), (1, 1, 289, 309), (127, 129, 2, 3), (140, 250, 60, 60)]:
            part = grid(points, values, (height, width), first=(row, col), direct=direct, threads=1)
            assert part.tobytes() == np.ascontiguousarray(whole[:, row : row + height, col : col + width]).tobytes()


def test_a_mean_is_never_beyond_the_values_that_it_is_made_of():
    rng = np.random.default_rng(8)
    points, values = layout("scattered", 300, (140, 140), rng), np.full((300, 2), 0.3)
    values[::3, 1] = np.nan
    for direct in (False, True):
        assert (grid(points, values, (140, 140), direct=direct) == np.float32(0.3)).all()


def test_an_element_with_too_few_samples_is_nan():
    rng = np.random.default_rng(7)
    points, values = layout("scattered", 10, (20, 20), rng), rng.normal(size=(10, 2))
    values[:8, 1] = np.nan
    found = grid(points, values, (20, 20), min_samples=3)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
