"""`IDW` as a regressor: the rules of the gridding kernel, and the contract of scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from geoprospect.errors import InputError
from geoprospect.gridding import idw
from geoprospect.gridding._idw_nearest import idw_nearest
from geoprospect.gridding.idw import IDW, leave_one_out


def reference(points, values, places, k=None, power=2.0, radius=math.inf, min_samples=1):
    """Every distance in float64, neighbours by distance and then by index, one place after the other."""
    means = np.full((len(places), values.shape[1]), np.nan)
    for row, place in enumerate(places):
        square = ((place - points) ** 2).sum(axis=1)
        order = np.lexsort((np.arange(len(points)), square))[:k]
        square, nearest = square[order], square[order][0]
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(square == nearest, 1.0, (nearest / square) ** (power / 2))
        weight[square > radius**2] = 0
        if (square <= radius**2).sum() >= min_samples:
            means[row] = weight @ values[order] / weight.sum()
    return means


def others(points, values, **options):
    """The same for each sample from all others."""
    rows = [np.delete(np.arange(len(points)), i) for i in range(len(points))]
    return np.vstack([reference(points[r], values[r], points[[i]], **options) for i, r in enumerate(rows)])


def layout(name, n, features, rng):
    if name == "lattice":
        return rng.integers(0, 5, (n, features)).astype(float)
    if name == "twice":
        return rng.uniform(0, 1000, (n, features))[rng.integers(0, n, n)]
    if name == "one place":
        return np.full((n, features), 7.0)
    return 5e5 + rng.uniform(0, 1000, (n, features))


# -- the contract ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [IDW(), IDW(k=None, power=1), IDW(k=1)], ids=repr)
def test_it_keeps_the_contract_of_scikit_learn(model):
    results = check_estimator(model, on_skip=None, on_fail=None)
    assert [one["check_name"] for one in results if one["status"] == "failed"] == []
    assert sum(one["status"] == "passed" for one in results) > 40


def test_a_grid_search_finds_the_power_and_number_that_made_the_values():
    rng = np.random.default_rng(0)
    anchors, places = rng.uniform(0, 100, (40, 2)), rng.uniform(0, 100, (400, 2))
    # Noise about a plane: the more neighbours are averaged, the better.
    noisy = places[:, 0] + rng.normal(0, 60, 400)
    search = GridSearchCV(IDW(), {"k": [1, 3, 40], "power": [0.5, 6.0]}, cv=5).fit(places, noisy)
    assert search.best_params_ == {"k": 40, "power": 0.5}
    assert search.predict(anchors).shape == (40,)


def test_it_works_at_the_end_of_a_pipeline():
    points, values = [[0.0, 0.0], [1.0, 1000.0], [2.0, 0.0]], [1.0, 2.0, 4.0]
    scaled = make_pipeline(StandardScaler(), IDW(k=1)).fit(points, values)
    assert scaled.predict([[1.9, 400.0]]) == 4


def test_a_setting_out_of_its_range_is_refused_when_fitted():
    for options, message in [
        ({"k": 0}, "k=0"),
        ({"k": 2.5}, "k=2.5"),
        ({"power": 0}, "power=0"),
        ({"radius": -1}, "radius=-1"),
        ({"min_samples": 0}, "min_samples=0"),
    ]:
        with pytest.raises(InputError, match=message):
            IDW(**options).fit([[0.0, 0.0]], [1.0])
        with pytest.raises(InputError, match=message):
            leave_one_out([[0.0, 0.0]], [1.0], **options)


def test_missing_values_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        IDW().fit([[0.0, 0.0], [1.0, 1.0]], [1.0, math.nan])


def test_what_happens_to_the_callers_arrays_later_does_not_matter():
    points, values = np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([1.0, 2.0])
    model = IDW(k=1).fit(points, values)
    points[:], values[:] = 99, 99
    np.testing.assert_array_equal(model.predict([[1.0, 0.0], [9.0, 0.0]]), [1, 2])


# -- the rules ---------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.sampled_from(["scattered", "lattice", "twice", "one place"]),
    st.integers(1, 60),
    st.integers(1, 3),
    st.sampled_from([1, 2, 7, 12, 1000, None]),
    st.sampled_from([2.0, 1.0, 3.5]),
    st.sampled_from([math.inf, 300.0, 2.0]),
    st.sampled_from([1, 3]),
    st.integers(0, 2**32 - 1),
)
def test_every_layout_agrees_with_the_reference(name, n, features, k, power, radius, least, seed):
    rng = np.random.default_rng(seed)
    points, values = layout(name, n, features, rng), rng.normal(size=(n, 2))
    places = np.vstack([layout(name, 20, features, rng), points[:3]])
    rule = {"k": k, "power": power, "min_samples": least}
    found = IDW(radius=None if math.isinf(radius) else radius, **rule).fit(points, values).predict(places)
    np.testing.assert_allclose(found, reference(points, values, places, radius=radius, **rule), atol=1e-12)
    left_out = leave_one_out(points, values, radius=None if math.isinf(radius) else radius, **rule)
    expected = others(points, values, radius=radius, **rule) if n > 1 else np.full((1, 2), np.nan)
    np.testing.assert_allclose(left_out, expected, atol=1e-12)


def test_it_agrees_with_the_gridding_kernel():
    rng = np.random.default_rng(1)
    points, values = rng.integers(0, 40, (300, 2)).astype(float), rng.lognormal(size=(300, 3))
    grid = np.empty((3, 40, 40), dtype=np.float32)
    idw_nearest(points, values, (0.0, 40.0), (1.0, -1.0), 12, 2.0, grid)
    x, y = np.meshgrid(np.arange(40) + 0.5, 39.5 - np.arange(40))
    found = IDW().fit(points, values).predict(np.column_stack([x.ravel(), y.ravel()]))
    np.testing.assert_allclose(grid.reshape(3, -1).T, found, rtol=1e-5)


def test_of_points_equally_far_the_first_in_the_table_is_nearer():
    ring = np.array([[np.cos(a), np.sin(a)] for a in np.arange(4) * np.pi / 2]).round()
    for turn in range(4):
        points = np.roll(ring, turn, axis=0)
        assert IDW(k=1).fit(points, [1.0, 2.0, 3.0, 4.0]).predict([[0.0, 0.0]]) == 1
        assert IDW(k=3).fit(points, [1.0, 2.0, 3.0, 4.0]).predict([[0.0, 0.0]]) == 2


def test_a_thousand_points_at_one_place_are_taken_in_the_order_of_the_table():
    points, values = np.zeros((1000, 2)), np.arange(1000.0)
    assert IDW(k=5).fit(points, values).predict([[3.0, 4.0]]) == 2


def test_a_plane_comes_back_in_the_middle_of_its_corners():
    points = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=float)
    assert IDW(k=4).fit(points, points @ [2, 3]).predict([[5.0, 5.0]]) == 25


def test_points_at_one_place_give_their_mean_there():
    model = IDW(k=3).fit([[1.0, 1.0], [1.0, 1.0], [9.0, 9.0]], [1.0, 3.0, 50.0])
    assert model.predict([[1.0, 1.0]]) == 2


def test_a_place_with_too_few_points_within_the_radius_is_nan():
    model = IDW(radius=5, min_samples=2).fit([[0.0], [4.0], [100.0]], [1.0, 3.0, 9.0])
    np.testing.assert_array_equal(model.predict([[2.0], [-3.0], [100.0]]), [2, np.nan, np.nan])


def test_one_output_is_flat_and_several_are_not():
    points = [[0.0, 0.0], [1.0, 0.0]]
    assert IDW().fit(points, [1.0, 2.0]).predict(points).shape == (2,)
    assert IDW().fit(points, [[1.0], [2.0]]).predict(points).shape == (2, 1)
    assert leave_one_out(points, [1.0, 2.0]).tolist() == [2, 1]
    assert leave_one_out(points, [[1.0], [2.0]]).shape == (2, 1)


def test_parts_give_the_same_as_the_whole(monkeypatch):
    rng = np.random.default_rng(2)
    points, values = rng.integers(0, 9, (80, 2)).astype(float), rng.normal(size=(80, 2))
    places = rng.integers(0, 9, (500, 2)).astype(float)
    whole = [IDW(k=k).fit(points, values).predict(places) for k in (6, None)]
    alone = [leave_one_out(points, values, k) for k in (6, None)]
    monkeypatch.setattr(idw, "_PAIRS", 90)
    np.testing.assert_array_equal(IDW(k=6).fit(points, values).predict(places), whole[0])
    np.testing.assert_array_equal(leave_one_out(points, values, 6), alone[0])
    np.testing.assert_allclose(IDW(k=None).fit(points, values).predict(places), whole[1], rtol=1e-13)
    np.testing.assert_allclose(leave_one_out(points, values, None), alone[1], rtol=1e-13)


# -- leave-one-out -----------------------------------------------------------------------------


def test_a_sample_at_the_same_place_is_another_sample():
    found = leave_one_out([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0]], [1.0, 7.0, 100.0])
    np.testing.assert_array_equal(found, [7, 1, 4])


def test_the_only_sample_cannot_be_predicted():
    assert np.isnan(leave_one_out([[0.0, 0.0]], [1.0])).all()
