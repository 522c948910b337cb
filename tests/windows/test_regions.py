"""Folds: what they call apart is apart, whatever the order of the points."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from geoprospect.errors import InputError
from geoprospect.windows.regions import (
    check_folds,
    clusters,
    compact_regions,
    dealt,
    nearest,
    overlaps,
    separated,
    shared_ground,
)

whole = st.integers(-5, 15).map(float)
anywhere = st.floats(-100, 100).map(lambda v: round(v, 3))
points = st.one_of(
    st.lists(st.tuples(whole, whole), min_size=1, max_size=14),
    st.lists(st.tuples(anywhere, anywhere), min_size=1, max_size=14),
    st.lists(st.tuples(whole, st.just(0.0)), min_size=1, max_size=14),
).map(lambda p: np.array(p, dtype=float))
boxes = st.lists(st.tuples(whole, whole, st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12).map(
    lambda b: np.array([(x, y, x + w, y + h) for x, y, w, h in b], dtype=float)
)
buffers = st.sampled_from([0.0, 0.5, 1.0, 3.0])


def rectangles(bounds):
    return shapely.box(*bounds.T)


# -- rectangles --------------------------------------------------------------------------------


@given(a=boxes, b=boxes)
def test_rectangles_overlap_when_they_share_an_area(a, b):
    shared = shapely.area(shapely.intersection(rectangles(a)[:, None], rectangles(b)[None, :]))
    np.testing.assert_array_equal(overlaps(a, b), (shared > 0).any(axis=1))


@given(a=boxes, b=boxes, buffer=st.sampled_from([0.5, 1.0, 2**0.5, 3.0, 5.0]))
def test_with_a_buffer_they_overlap_when_they_come_nearer(a, b, buffer):
    # From corner to corner as the crow flies; 1.41421 and 5 are distances of corners on a lattice.
    distance = shapely.distance(rectangles(a)[:, None], rectangles(b)[None, :])
    shared = shapely.area(shapely.intersection(rectangles(a)[:, None], rectangles(b)[None, :]))
    np.testing.assert_array_equal(overlaps(a, b, buffer), ((distance < buffer * (1 - 1e-9)) | (shared > 0)).any(axis=1))


@given(seed=st.integers(0, 2**31), n=st.sampled_from([1, 31, 32, 33, 200]), buffer=buffers, wide=st.booleans())
def test_many_rectangles_are_compared_as_few_are(seed, n, buffer, wide):
    draw = np.random.default_rng(seed)
    corner = draw.integers(0, [400, 3 if wide else 400], (n + 60, 2)).astype(float)
    every = np.column_stack([corner, corner + draw.integers(1, 12, (n + 60, 2))])
    a, b = every[:60], every[60:]
    expected = np.any([overlaps(a, one[None], buffer) for one in b], axis=0)
    np.testing.assert_array_equal(overlaps(a, b, buffer), expected)


def test_rounding_does_not_bring_rectangles_nearer():
    # 0.7 - 0.4 is a little less than 0.3.
    assert not overlaps(np.array([[0.7, 0.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 0.4, 1.0]]), buffer=0.3).any()


def test_a_shared_edge_is_no_overlap():
    one = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert not overlaps(one, np.array([[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 1.0, 2.0], [1.0, 1.0, 2.0, 2.0]])).any()
    assert overlaps(one, np.array([[0.999, 0.0, 2.0, 1.0]])).all()
    assert not overlaps(one, np.array([[4.0, 0.0, 5.0, 1.0]]), buffer=3.0).any()
    assert overlaps(one, np.array([[4.0, 0.0, 5.0, 1.0]]), buffer=3.001).all()


def test_nothing_overlaps_nothing():
    one = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert overlaps(one, np.empty((0, 4))).tolist() == [False]
    assert overlaps(np.empty((0, 4)), one).tolist() == []


@given(a=boxes, b=boxes)
def test_shared_ground_is_that_of_polygons(a, b):
    union = shapely.union_all(rectangles(b))
    expected = shapely.area(shapely.intersection(rectangles(a), union)) / shapely.area(rectangles(a))
    np.testing.assert_allclose(shared_ground(a, b), expected, rtol=0, atol=1e-12)


def test_ground_is_not_shared_with_nothing():
    one = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert shared_ground(one, np.empty((0, 4))).tolist() == [0]
    assert shared_ground(np.empty((0, 4)), one).tolist() == []
    assert shared_ground(np.empty((0, 4)), np.empty((0, 4))).tolist() == []


@given(bounds=boxes, buffer=buffers, seed=st.integers(0, 2**31), n=st.integers(1, 4))
def test_training_ground_is_never_test_ground(bounds, buffer, seed, n):
    region = np.random.default_rng(seed).integers(0, n, len(bounds))
    found = separated(bounds, region, buffer)
    assert len(found) == len(np.unique(region))
    assert sorted(np.concatenate([test for _, test in found]).tolist()) == list(range(len(bounds)))
    shapes = rectangles(bounds)
    for train, test in found:
        assert len(set(region[test])) == 1
        assert not set(region[train]) & set(region[test])
        if train.size:
            shared = shapely.area(shapely.intersection(shapes[train][:, None], shapes[test][None, :]))
            assert shared.max() == 0
            assert shapely.distance(shapes[train][:, None], shapes[test][None, :]).min() >= buffer
        assert train.tolist() == sorted(train)
        # Nothing is given away: what is in neither part comes too near.
        dropped = np.setdiff1d(np.arange(len(bounds)), np.concatenate([train, test]))
        assert overlaps(bounds[dropped], bounds[test], buffer).all()


def test_a_row_of_rectangles_by_hand():
    bounds = np.array([[i, 0, i + 1.5, 1] for i in range(6)], dtype=float)
    (train, test), (other, rest) = separated(bounds, np.array([0, 0, 0, 1, 1, 1]))
    assert (train.tolist(), test.tolist()) == ([4, 5], [0, 1, 2])
    assert (other.tolist(), rest.tolist()) == ([0, 1], [3, 4, 5])
    train, test = separated(bounds, np.array([0, 0, 0, 1, 1, 1]), buffer=1.0)[0]
    assert (train.tolist(), test.tolist()) == ([5], [0, 1, 2])


# -- points ------------------------------------------------------------------------------------


@given(points=points, n=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_regions_do_not_depend_on_the_order_of_the_points(points, n, seed):
    order = np.random.default_rng(seed).permutation(len(points))
    np.testing.assert_array_equal(compact_regions(points[order], n), compact_regions(points, n)[order])


@given(points=points, n=st.integers(1, 6))
def test_there_are_at_most_n_regions_numbered_from_west_to_east(points, n):
    region = compact_regions(points, n)
    assert region.shape == (len(points),)
    assert np.unique(region).tolist() == list(range(region.max() + 1))
    assert region.max() < n
    places, first = np.unique(points, axis=0, return_index=True)
    middles = [places[region[first] == one, 0].mean() for one in range(region.max() + 1)]
    assert (np.diff(middles) >= -1e-9).all()
    for place in places:
        assert len(set(region[(points == place).all(axis=1)])) == 1, "one place is in one region"


@pytest.mark.parametrize("n", [2, 3, 4])
def test_groups_that_lie_apart_become_the_regions(n):
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(n), 8))
    middles = np.array([[0, 0], [50, 40], [90, -30], [140, 10]])
    np.testing.assert_array_equal(compact_regions(middles[group] + rng.normal(0, 3, (8 * n, 2)), n), group)


def test_enough_places_make_all_regions():
    lattice = np.array([(x, y) for x in range(5) for y in range(4)], dtype=float)
    assert np.unique(compact_regions(lattice + 1e-3 * lattice**2, 5)).size == 5


def test_two_points_or_one_are_no_trouble():
    assert compact_regions(np.array([[0.0, 9.0], [9.0, 0.0]]), 2).tolist() == [0, 1]
    assert compact_regions(np.array([[3.0, 4.0]]), 3).tolist() == [0]
    assert compact_regions(np.array([[3.0, 4.0]] * 5), 3).tolist() == [0] * 5
    assert clusters(np.array([[3.0, 4.0]]), 1.0).tolist() == [0]
    assert len(set(clusters(np.array([[0.0, 9.0], [9.0, 0.0]]), 1.0))) == 2


@given(points=points, distance=st.sampled_from([0.5, 1.0, 2**0.5, 2.0, 7.3, 40.0]))
def test_clusters_are_the_connected_parts(points, distance):
    _, expected = connected_components(cdist(points, points) <= distance, directed=False)
    found = clusters(points, distance)
    same = found[:, None] == found[None, :]
    np.testing.assert_array_equal(same, expected[:, None] == expected[None, :])
    assert np.unique(found).tolist() == list(range(found.max() + 1))
    places, first = np.unique(points, axis=0, return_index=True)
    middles = [places[found[first] == one, 0].mean() for one in range(found.max() + 1)]
    assert (np.diff(middles) >= -1e-9).all()
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_array_equal(clusters(points[order], distance), found[order])


@given(points=points, anchors=points)
def test_the_nearest_anchor_is_nearest(points, anchors):
    found = nearest(points, anchors)
    distance = cdist(points, anchors)
    np.testing.assert_allclose(distance[np.arange(len(points)), found], distance.min(axis=1), atol=1e-12)


# -- sharing out -------------------------------------------------------------------------------

loads = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=30).map(np.array)


@given(load=loads, n=st.integers(1, 6))
def test_every_hand_gets_deposits_and_none_much_more_than_another(load, n):
    n = max(1, min(n, int((load[:, 0] > 0).sum())))
    hand = dealt(load, n)
    held = np.array([load[hand == one].sum(axis=0) for one in range(n)])
    assert held.sum() == load.sum()
    if load[:, 0].any():
        assert (held[:, 0] > 0).all()
        # The last unit that the fullest hand got was dealt to what was then the emptiest.
        assert np.ptp(held[:, 0]) <= load[:, 0].max()
    np.testing.assert_array_equal(hand, dealt(load, n))


def test_units_are_dealt_by_hand():
    assert dealt(np.array([[1, 0], [5, 0], [3, 0], [1, 0]]), 2).tolist() == [1, 0, 1, 1]
    # Ground without deposits goes where barren windows are lacking, the fullest first.
    assert dealt(np.array([[4, 0], [1, 5], [0, 2], [0, 4], [0, 3]]), 2).tolist() == [0, 1, 1, 0, 0]
    # As many deposits: the one with fewer barren windows so far.
    assert dealt(np.array([[2, 9], [2, 1], [1, 1]]), 2).tolist() == [0, 1, 1]


# -- splits of the user's own ------------------------------------------------------------------


def test_splits_come_back_as_arrays_of_whole_numbers():
    ((fit, test),) = check_folds([([2.0, 0.0], range(3, 5))], 5)
    assert (fit.tolist(), test.tolist()) == ([2, 0], [3, 4])
    assert fit.dtype == test.dtype == np.int64
    assert len(check_folds(iter([([0], [1]), ([1], [0])]), 2)) == 2


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("five", "folds='five': needs one or more pairs"),
        (None, "folds=None: needs one or more pairs"),
        ([], r"folds=\[\]: needs one or more pairs"),
        (["ab"], "fold 1 is 'ab', needs a pair"),
        ([([0], [1]), 3], "fold 2 is 3, needs a pair"),
        ([([0], [1], [2])], r"fold 1 is \(\[0\], \[1\], \[2\]\), needs a pair"),
        ([([0], [8])], "test of fold 1 is no list of indices into 8 windows: it holds 8; .* from 0 to 7"),
        ([([0], [1]), ([-1], [1])], "training of fold 2 .* it holds -1"),
        ([([0.5], [1])], "it holds 0.5"),
        ([([np.nan], [1])], "it holds nan"),
        ([([0], [])], "test of fold 1 .* it is empty"),
        ([([0], [1, 2, 1])], "1 stands in it more than once"),
        ([(np.arange(8) < 4, np.arange(8) >= 4)], r"it is a mask, and np\.flatnonzero\(mask\) makes one of it"),
        ([(["a"], [1])], r"it is \['a'\]"),
        ([([[0, 1]], [2])], r"it is \[\[0, 1\]\]"),
        ([([[0, 1], [2]], [3])], r"it is \[\[0, 1\], \[2\]\]"),
        ([(0, 1)], "training of fold 1 .* it is 0"),
    ],
    ids=str,
)
def test_what_is_no_split_is_refused_with_what_it_holds(folds, message):
    with pytest.raises(InputError, match=message):
        check_folds(folds, 8)
