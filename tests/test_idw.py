"""The gridding kernel against the textbook: every distance, in float64, one cell at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoprospect._kernels.idw import idw_nearest

X, Y = np.arange(0.5, 9), np.arange(6.5, 0, -1)  # 9 x 7 cells of 1

# Places as they come: anywhere, on cell centres, on a lattice with many ties, in a row.
somewhere = st.integers(-3 * 64, 12 * 64).map(lambda k: k / 64)
centre = st.integers(-2, 11).map(lambda k: k + 0.5)
places = st.one_of(
    st.lists(st.tuples(somewhere, somewhere), min_size=1, max_size=25),
    st.lists(st.tuples(centre, centre), min_size=1, max_size=25),
    st.lists(st.tuples(somewhere, st.just(3.5)), min_size=1, max_size=12),
    st.lists(st.sampled_from([(0.5, 0.5), (4.0, 4.0), (4.0, 4.25), (8.5, 6.5)]), min_size=1, max_size=12),
).map(np.array)


def textbook(points, values, x, y, k, power, radius):
    """Return the least and greatest right value of a cell, and the scale of its rounding.

    Which of several equally far points are among the k nearest is nobody's business.
    """
    present = ~np.isnan(values)
    unique = np.unique(points[present], axis=0)
    means = np.array([values[present & (points == place).all(axis=1)].mean() for place in unique])
    distance = np.array([math.dist(place, (x, y)) for place in unique])
    near = distance <= radius * (1 + 1e-9)
    distance, means = distance[near], means[near]
    if not distance.size:
        return math.nan, math.nan, 0.0
    if (distance == 0).any():
        value = float(means[distance == 0][0])
        return value, value, abs(value)
    last = np.sort(distance)[min(k, distance.size) - 1]
    surely = distance < last * (1 - 1e-9)
    tied = np.sort(means[np.abs(distance / last - 1) <= 1e-9])
    left = min(k, distance.size) - int(surely.sum())
    weight = distance[surely] ** -power
    total = weight.sum() + left * last**-power
    rest = float(np.dot(weight, means[surely]))
    low, high = (float(rest + last**-power * chosen.sum()) / total for chosen in (tied[:left], tied[-left:]))
    scale = (np.dot(weight, np.abs(means[surely])) + last**-power * np.sort(np.abs(tied))[-left:].sum()) / total
    return low, high, float(scale)


def check(points, values, found, k, power, radius, x=X, y=Y):
    for c in range(values.shape[1]):
        for i, north in enumerate(y):
            for j, east in enumerate(x):
                low, high, scale = textbook(points, values[:, c], east, north, k, power, radius)
                if math.isnan(low):
                    assert math.isnan(found[c, i, j])
                else:
                    assert low - 2e-6 * scale <= found[c, i, j] <= high + 2e-6 * scale, (c, i, j)


@given(
    points=places,
    k=st.integers(1, 30),
    power=st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.5]),
    radius=st.sampled_from([0.25, 1.0, 2.5, 5.0, math.inf]),
    seed=st.integers(0, 2**31),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_every_cell_is_that_of_the_textbook(points, k, power, radius, seed, missing):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 10 ** rng.uniform(-3, 6), (len(points), 3))  # both signs
    values[:, 2] = np.abs(values[:, 2])
    values[rng.random(values.shape) < missing] = np.nan
    found = idw_nearest(points, values, X, Y, k, power, radius)
    assert found.shape == (3, Y.size, X.size)
    assert found.dtype == np.float32
    check(points, values, found, k, power, radius)


@given(points=places, k=st.integers(1, 12), power=st.floats(0.1, 50), seed=st.integers(0, 2**31))
def test_no_value_leaves_the_range_of_the_samples(points, k, power, seed):
    values = np.random.default_rng(seed).normal(0, 100, (len(points), 1))
    found = idw_nearest(points, values, X, Y, k, power)
    slack = 1e-6 * np.abs(values).max()
    assert values.min() - slack <= found.min() <= found.max() <= values.max() + slack


@pytest.mark.parametrize("offset", [(1e6, 0), (500_000, 5_000_000), (-2e7, 1e7)])
def test_large_coordinates_cost_no_digits(offset):
    rng = np.random.default_rng(1)
    points, values = rng.integers(0, 9 * 64, (40, 2)) / 64, rng.normal(0, 50, (40, 2))
    near = idw_nearest(points, values, X, Y, 12, 2.0)
    far = idw_nearest(points + offset, values, X + offset[0], Y + offset[1], 12, 2.0)
    np.testing.assert_allclose(far, near, rtol=0, atol=2e-6 * 150)
    check(points + offset, values, far, 12, 2.0, math.inf, X + offset[0], Y + offset[1])


@given(points=places, seed=st.integers(0, 2**31), power=st.floats(0.1, 10))
def test_a_sample_on_a_cell_centre_comes_back_there_exactly(points, seed, power):
    values = np.random.default_rng(seed).normal(0, 100, (len(points), 1))
    found = idw_nearest(points, values, X, Y, 5, power)[0]
    for place in np.unique(points, axis=0):
        i, j = np.flatnonzero(place[1] == Y), np.flatnonzero(place[0] == X)
        if i.size and j.size:
            here = values[(points == place).all(axis=1), 0]
            assert found[i[0], j[0]] == pytest.approx(here.mean(), rel=1e-6, abs=1e-6 * np.abs(here).max())
            if here.size == 1:
                assert found[i[0], j[0]] == np.float32(here[0])


@given(points=places, seed=st.integers(0, 2**31), k=st.integers(1, 30))
def test_samples_at_one_place_count_as_one_with_their_mean(points, seed, k):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 10, (len(points), 1))
    places_, at = np.unique(points, axis=0, return_inverse=True)
    means = np.array([[values[at.ravel() == i, 0].mean()] for i in range(len(places_))])
    merged = idw_nearest(places_, means, X, Y, k, 2.0)
    found = idw_nearest(points, values, X, Y, k, 2.0)
    if len(places_) < len(points):  # otherwise ties may fall out the other way
        np.testing.assert_allclose(found, merged, rtol=0, atol=1e-4)


def test_two_samples_at_one_place_give_their_mean_even_to_the_nearest_alone():
    found = idw_nearest(np.array([[4.5, 4.5], [4.5, 4.5]]), np.array([[1.0], [3.0]]), X, Y, 1, 2.0)
    assert (found == 2).all()


@given(points=places, seed=st.integers(0, 2**31))
def test_the_order_of_the_samples_does_not_matter(points, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 10, (len(points), 2))
    order = rng.permutation(len(points))
    k = len(points)  # no tie is cut
    found, other = (idw_nearest(points[o], values[o], X, Y, k, 2.0) for o in (np.arange(k), order))
    np.testing.assert_allclose(found, other, rtol=0, atol=2e-5)


@given(points=places, seed=st.integers(0, 2**31))
def test_a_mirrored_survey_gives_a_mirrored_map(points, seed):
    values = np.random.default_rng(seed).normal(0, 10, (len(points), 1))
    k = len(points)
    found = idw_nearest(points, values, X, Y, k, 2.0)
    east = idw_nearest(points * [-1, 1] + [9, 0], values, X, Y, k, 2.0)
    north = idw_nearest(points * [1, -1] + [0, 7], values, X, Y, k, 2.0)
    np.testing.assert_allclose(east, found[:, :, ::-1], rtol=0, atol=2e-5)
    np.testing.assert_allclose(north, found[:, ::-1], rtol=0, atol=2e-5)


def test_a_missing_value_is_as_if_the_sample_were_not_there():
    rng = np.random.default_rng(3)
    points, values = rng.uniform(0, 9, (30, 2)), rng.normal(size=(30, 2))
    gone = rng.random(30) < 0.4
    values[gone, 1] = np.nan
    found = idw_nearest(points, values, X, Y, 4, 2.0)
    np.testing.assert_array_equal(found[1], idw_nearest(points[~gone], values[~gone, 1:], X, Y, 4, 2.0)[0])
    np.testing.assert_array_equal(found[0], idw_nearest(points, values[:, :1], X, Y, 4, 2.0)[0])


def test_an_element_without_any_value_is_nan_everywhere():
    values = np.array([[1.0, np.nan], [2.0, np.nan]])
    found = idw_nearest(np.array([[0.0, 0.0], [9.0, 9.0]]), values, X, Y, 3, 2.0)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_the_radius_includes_its_rim_and_nothing_beyond():
    # Three to four to five: a distance of exactly 5 to the cell in the north-west.
    point = np.array([[X[0] + 3, Y[0] - 4]])
    values = np.array([[7.0]])
    for offset in (0.0, 12_345_678.9):
        at = (point + offset, values, X + offset, Y + offset, 1, 2.0)
        assert idw_nearest(*at, radius=5.0)[0, 0, 0] == 7
        assert math.isnan(idw_nearest(*at, radius=4.999)[0, 0, 0])
        inside = np.hypot(*np.meshgrid(X - point[0, 0], Y - point[0, 1])) <= 4.999
        np.testing.assert_array_equal(np.isfinite(idw_nearest(*at, radius=4.999)[0]), inside)


def test_a_sample_beyond_the_radius_does_not_count_where_another_is_near():
    points, values = np.array([[0.5, 6.5], [8.5, 6.5]]), np.array([[1.0], [100.0]])
    found = idw_nearest(points, values, X, Y, 2, 2.0, radius=3.0)[0]
    assert (found[0, :4] == 1).all()
    assert np.isnan(found[0, 4])
    assert (found[0, 5:] == 100).all()


@given(points=places, lookups=st.integers(1, 200))
def test_blocks_of_rows_change_nothing(points, lookups):
    values = np.random.default_rng(0).normal(size=(len(points), 2))
    whole = idw_nearest(points, values, X, Y, 5, 2.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoprospect._kernels.idw._CHUNK_LOOKUPS", lookups)
        np.testing.assert_array_equal(idw_nearest(points, values, X, Y, 5, 2.0), whole)


@given(points=places, seed=st.integers(0, 99))
def test_every_row_of_every_pattern_is_reported_once(points, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(points), 4))
    values[rng.random(values.shape) < 0.5] = np.nan
    values[:, 3] = values[:, 0]
    done = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoprospect._kernels.idw._CHUNK_LOOKUPS", 30)
        idw_nearest(points, values, X, Y, 5, 2.0, advance=done.append)
    assert sum(done) == Y.size * len({tuple(column) for column in np.isnan(values).T})


def test_more_neighbours_than_samples_are_all_samples():
    rng = np.random.default_rng(0)
    points, values = rng.uniform(0, 9, (6, 2)), rng.normal(size=(6, 1))
    np.testing.assert_array_equal(
        idw_nearest(points, values, X, Y, 10**9, 2.0), idw_nearest(points, values, X, Y, 6, 2.0)
    )


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_distances_of_any_size_neither_overflow_nor_vanish(scale):
    points, values = np.array([[0.0, 0.0], [4.0, 0.0]]), np.array([[1.0], [2.0]])
    found = idw_nearest(points * scale, values, np.array([1.0]) * scale, np.array([0.0]), 2, 4.0)
    assert found[0, 0, 0] == pytest.approx((1 + 2 / 3**4) / (1 + 1 / 3**4), rel=1e-6)


def test_a_large_power_is_the_nearest_neighbour():
    rng = np.random.default_rng(5)
    points, values = rng.uniform(0, 9, (20, 2)), rng.normal(size=(20, 1))
    np.testing.assert_allclose(
        idw_nearest(points, values, X, Y, 12, 1e6), idw_nearest(points, values, X, Y, 1, 2.0), atol=1e-3
    )
