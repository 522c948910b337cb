"""Surfaces through samples by triangles, kriging and splines: they pass through the samples and match references."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from geoprospect.errors import InputError
from geoprospect.gridding.methods import METHODS as REGISTRY
from geoprospect.gridding.surfaces import _fit_variogram, _variograms, check_kriging_size, check_spline_size
from geoprospect.gridding.surfaces import fit_surface as fit_parts

NAN = math.nan
METHODS = ("linear", "cubic", "kriging", "spline")
VARIOGRAMS = ("spherical", "exponential", "gaussian")
ORIGIN = np.array([500_000.0, 2_400_000.0])
TRIANGLES = ("linear", "cubic")


def fit_surface(method, points, values, **settings):
    """Fit by the name of a method; settings of other methods are ignored."""
    entry = REGISTRY[method]
    own = {name: value for name, value in settings.items() if name in entry.settings}
    return entry.fit(points, values, entry.settings_from(own))


def scattered(n=80, seed=0, elements=2):
    rng = np.random.default_rng(seed)
    points = ORIGIN + rng.uniform(0, 30_000, (n, 2))
    waves = np.sin(points[:, :1] / 5000) + np.cos(points[:, 1:] / 7000)
    return points, 50 + 10 * waves + rng.normal(0, 2, (n, elements))


def inside(n=200, seed=1):
    return ORIGIN + np.random.default_rng(seed).uniform(10_000, 20_000, (n, 2))


def at(*offsets):
    return ORIGIN + np.array(offsets, dtype=float)


def fitted(points, values, variogram="spherical"):
    """Return nugget, partial sill and model of one element, in its units and those of length."""
    length, scale = np.hypot(*np.ptp(points, axis=0)) / 3, values.std()
    lags, gammas, counts = _variograms(points / length, values[:, None] / scale)
    model = _fit_variogram(variogram, lags, gammas[0], counts)
    kind = type(model)
    return kind(dim=2, var=model.var * scale**2, len_scale=model.len_scale * length, nugget=model.nugget * scale**2)


def ordinary_kriging(points, values, target, model, k):
    """Solve one system as it stands in the textbooks, by semivariances."""
    distance = np.hypot(*(points - target).T)
    near = np.argsort(distance, kind="stable")[:k]
    apart = np.hypot(*(points[near, None] - points[None, near]).transpose(2, 0, 1))
    gamma = model.variogram(apart)
    gamma[np.diag_indices(k)] = 0
    system = np.block([[gamma, np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
    right = np.append(model.variogram(distance[near]), 1)
    solution = np.linalg.solve(system, right)
    return solution[:k] @ values[near], solution @ right


@pytest.mark.parametrize("method", METHODS)
def test_samples_come_back_at_their_places(method):
    points, values = scattered()
    mean, _ = fit_surface(method, points, values).evaluate(points)
    np.testing.assert_allclose(mean, values.T, rtol=1e-9)


@pytest.mark.parametrize(("method", "tolerance"), [("linear", 1e-12), ("cubic", 1e-6), ("spline", 1e-10)])
def test_a_plane_comes_back(method, tolerance):
    points, _ = scattered()
    target = inside()

    def plane(at):
        return 3 + (at - ORIGIN) @ [[0.5, 0.0], [-0.2, 1.0]]

    mean, variance = fit_surface(method, points, plane(points)).evaluate(target)
    np.testing.assert_allclose(mean, plane(target).T, rtol=tolerance)
    assert variance is None


@pytest.mark.parametrize("method", METHODS)
def test_x_is_x_and_y_is_y(method):
    points, _ = scattered(400)
    values = points - ORIGIN
    east, north = fit_surface(method, points, values, variogram="gaussian").evaluate(at((5000, 25_000)))[0][:, 0]
    assert east == pytest.approx(5000, abs=300)
    assert north == pytest.approx(25_000, abs=300)


@pytest.mark.parametrize("method", METHODS)
def test_the_shape_is_elements_by_points(method):
    points, values = scattered(elements=3)
    mean, variance = fit_surface(method, points, values).evaluate(inside(7))
    assert mean.shape == (3, 7)
    assert mean.dtype == np.float64
    assert variance is None or variance.shape == (3, 7)
    assert (variance is not None) == (method == "kriging")
    assert fit_surface(method, points, values).evaluate(np.empty((0, 2)))[0].shape == (3, 0)


@pytest.mark.parametrize("method", TRIANGLES)
def test_outside_of_the_samples_triangles_say_nothing(method):
    points, values = scattered()
    mean, _ = fit_surface(method, points, values).evaluate(at((-10_000, 0), (15_000, 15_000)))
    assert np.isnan(mean[:, 0]).all()
    assert np.isfinite(mean[:, 1]).all()


def test_linear_has_creases_and_cubic_has_none():
    points = np.array([[0, 0], [0, 2], [2, 0], [2, 2], [1, 1]], dtype=float)
    values = np.array([[0, 0, 0, 0, 1]], dtype=float).T
    beside = np.array([[1 - 1e-3, 1], [1, 1], [1 + 1e-3, 1]])
    slopes = {
        method: np.diff(fit_surface(method, points, values).evaluate(beside)[0][0]) / 1e-3 for method in TRIANGLES
    }
    np.testing.assert_allclose(slopes["linear"], [1, -1], atol=1e-9)
    np.testing.assert_allclose(slopes["cubic"], 0, atol=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_an_element_does_not_depend_on_the_company_it_keeps(method):
    points, values = scattered(elements=4)
    values[::3, 1] = NAN
    values[::4, 3] = NAN
    target = np.vstack([inside(), points[:3]])
    together = fit_surface(method, points, values).evaluate(target)
    for j in range(4):
        there = ~np.isnan(values[:, j])
        alone = fit_surface(method, points[there], values[there, j : j + 1]).evaluate(target)
        for both, one in zip(together, alone, strict=True):
            if one is not None:
                # The origin moves with the samples, so that the search for the variogram ends elsewhere by a little.
                np.testing.assert_allclose(both[j], one[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_an_element_without_values_is_missing(method):
    points, values = scattered()
    values[:, 1] = NAN
    mean, variance = fit_surface(method, points, values).evaluate(inside())
    assert np.isfinite(mean[0]).all()
    assert np.isnan(mean[1]).all()
    assert variance is None or (np.isfinite(variance[0]).all() and np.isnan(variance[1]).all())
    assert np.isnan(fit_surface(method, np.empty((0, 2)), np.empty((0, 2))).evaluate(inside())[0]).all()


@pytest.mark.parametrize("gap", [0, 1e-6])
@pytest.mark.parametrize("method", METHODS)
def test_of_samples_at_one_place_the_mean_counts(method, gap):
    points, values = scattered()
    twice = np.vstack([points, points[:2] + gap])
    higher = np.vstack([values, values[:2] + np.array([[6, NAN], [0, 0]])])
    surface = fit_surface(method, twice, higher)
    once = values.copy()
    once[0, 0] += 3
    target = np.vstack([inside(), points])
    np.testing.assert_allclose(
        surface.evaluate(target)[0], fit_surface(method, points, once).evaluate(target)[0], rtol=1e-6
    )
    assert surface.evaluate(points[:1])[0][:, 0] == pytest.approx(values[0] + [3, 0], rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_far_from_the_origin_values_are_as_near_it(method):
    points, values = scattered()
    here, target = np.round((points - ORIGIN) * 64) / 64, np.round((inside() - ORIGIN) * 64) / 64
    shift = [2.0**20, 2.0**22]
    near = fit_surface(method, here, values).evaluate(target)[0]
    np.testing.assert_allclose(fit_surface(method, here + shift, values).evaluate(target + shift)[0], near, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_neither_the_unit_of_length_nor_that_of_the_element_matters(method):
    points, values = scattered()
    target = inside()
    mean, variance = fit_surface(method, points, values, damping=1e-3).evaluate(target)
    feet, spread = fit_surface(method, points / 0.3048, values * 1000, damping=1e-3).evaluate(target / 0.3048)
    np.testing.assert_allclose(feet, mean * 1000, rtol=1e-5)
    if variance is not None:
        np.testing.assert_allclose(spread, variance * 1e6, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_samples_give_the_same_bytes_in_one_part_or_several(method):
    points, values = scattered()
    target = inside(3000)
    whole, first = (fit_surface(method, points, values).evaluate(target) for _ in range(2))
    assert whole[0].tobytes() == first[0].tobytes()
    surface = fit_surface(method, points, values)
    parts = [surface.evaluate(target[part])[0] for part in (slice(0, 1001), slice(1001, 3000))]
    np.testing.assert_allclose(np.hstack(parts), whole[0], rtol=1e-13)


def test_a_damped_spline_passes_beside_noise():
    points, _ = scattered(300)
    truth = np.sin((points[:, :1] - ORIGIN[0]) / 8000)
    noisy = truth + np.random.default_rng(3).normal(0, 0.3, truth.shape)
    errors = [
        np.sqrt(np.mean((fit_surface("spline", points, noisy, damping=damping).evaluate(points)[0].T - truth) ** 2))
        for damping in (None, 0.0, 1e-2)
    ]
    assert errors[0] == errors[1]
    assert errors[2] < errors[0] / 2


@pytest.mark.parametrize("variogram", VARIOGRAMS)
@pytest.mark.parametrize("k", [1, 2, 12, 500])
def test_kriging_is_what_the_textbook_says(variogram, k):
    points, values = scattered()
    target = np.vstack([inside(15), at((-20_000, 5000))])
    mean, variance = fit_surface("kriging", points, values, k=k, variogram=variogram).evaluate(target)
    for j in range(2):
        model = fitted(points, values[:, j], variogram)
        truth = np.array([ordinary_kriging(points, values[:, j], at, model, min(k, 80)) for at in target])
        np.testing.assert_allclose(mean[j], truth[:, 0], rtol=1e-6)
        np.testing.assert_allclose(variance[j], truth[:, 1], rtol=1e-5, atol=1e-6 * model.sill)


@pytest.mark.parametrize("variogram", VARIOGRAMS)
def test_kriging_from_all_samples_is_what_gstools_says(variogram):
    import gstools

    points, values = scattered()
    target = np.vstack([inside(), points[:5]])
    mean, variance = fit_surface("kriging", points, values[:, :1], k=80, variogram=variogram).evaluate(target)
    model = fitted(points, values[:, 0], variogram)
    judge = gstools.krige.Ordinary(model, points.T, values[:, 0], exact=True)
    there, spread = judge(target.T)
    np.testing.assert_allclose(mean[0], there, rtol=1e-6)
    np.testing.assert_allclose(variance[0], spread, rtol=1e-5, atol=1e-6 * model.sill)


@pytest.mark.parametrize("variogram", VARIOGRAMS)
def test_the_variance_of_kriging_is_nothing_at_a_sample_and_grows_away_from_all(variogram):
    points, values = scattered()
    surface = fit_surface("kriging", points, values, variogram=variogram)
    mean, variance = surface.evaluate(points)
    np.testing.assert_allclose(mean, values.T, rtol=1e-14)
    assert (variance == 0).all()
    _, variance = surface.evaluate(at(*((x, 15_000) for x in (30_000, 33_000, 36_000, 50_000))))
    assert (np.diff(variance, axis=1) > 0).all()
    assert (variance[:, 0] > 0).all()


def test_beside_a_sample_the_variance_is_the_nugget_twice_over_or_less():
    points, values = scattered(300)
    model = fitted(points, values[:, 0], "gaussian")
    assert model.nugget == pytest.approx(4, rel=0.3), "the variance of the noise in these samples"
    surface = fit_surface("kriging", points, values[:, :1], variogram="gaussian")
    _, variance = surface.evaluate(points[:1] + 1e-3)
    assert model.nugget < variance[0, 0] < 2 * model.nugget


def test_a_constant_element_is_kriged_to_its_constant():
    points, values = scattered()
    values[:, 1] = 0.1
    mean, variance = fit_surface("kriging", points, values).evaluate(inside())
    assert (mean[1] == 0.1).all()
    assert (variance[1] == 0).all()
    assert (variance[0] > 0).all()


@pytest.mark.parametrize("variogram", VARIOGRAMS)
@pytest.mark.parametrize(
    "values",
    [np.arange(50.0), np.arange(50.0) ** 2, np.r_[np.zeros(49), 1e6], 1e9 + np.arange(50) % 2, 1e-12 * np.arange(50)],
    ids=["a slope", "a parabola", "one outlier", "little on much", "tiny"],
)
def test_odd_elements_are_kriged_to_finite_numbers(variogram, values):
    points = ORIGIN + np.column_stack([np.arange(50) * 100.0, np.random.default_rng(0).uniform(0, 500, 50)])
    mean, variance = fit_surface("kriging", points, values[:, None], variogram=variogram).evaluate(
        ORIGIN + np.random.default_rng(1).uniform(0, 5000, (100, 2))
    )
    assert np.isfinite(mean).all()
    assert (variance >= 0).all()


def test_a_variogram_from_every_so_many_th_place_is_nearly_that_of_all(monkeypatch):
    points, values = scattered(1000)
    order = np.lexsort(points.T[::-1])
    places, heights = points[order] / 14_000, values[order]
    whole = _variograms(places, heights)
    monkeypatch.setattr("geoprospect.gridding.surfaces._PAIRS", 250_000)
    some = _variograms(places, heights)
    assert some[2].sum() == pytest.approx(whole[2].sum() / 4, rel=0.05)
    np.testing.assert_allclose(some[0], whole[0], rtol=0.05)
    np.testing.assert_allclose(some[1], whole[1], rtol=0.2)


@pytest.mark.parametrize("method", ["linear", "cubic", "spline"])
@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0, 0]], r"at 1 place; method='{}' needs three"),
        ([[0, 0], [1, 5]], r"at 2 places; method='{}' needs three"),
        ([[0, 0], [0, 0], [1, 5], [1, 5]], r"at 2 places; method='{}' needs three"),
        ([[0, 0], [10, 5], [20, 10], [400, 200]], r"at 4 places, all on one line; method='{}'.*'nearest' or 'idw'"),
    ],
)
def test_what_carries_no_plane_is_refused(method, points, message):
    values = np.full((len(points), 2), NAN)
    values[:, 1] = 1
    with pytest.raises(InputError, match=r"values\[:, 1\]: has values " + message.format(method)):
        fit_surface(method, ORIGIN + points, values)


def test_too_few_places_for_a_variogram_are_refused():
    points, values = scattered()
    values[19:, 1] = NAN
    with pytest.raises(InputError, match=r"values\[:, 1\]: has values at 19 places; .*needs 20 .*take method='idw'"):
        fit_surface("kriging", points, values)
    with pytest.raises(InputError, match="at 1 place; "):
        fit_surface("kriging", points[:1], values[:1])


def test_clusters_without_distances_between_are_refused():
    rng = np.random.default_rng(0)
    points = np.vstack([rng.uniform(0, 1, (15, 2)), 1e5 + rng.uniform(0, 1, (15, 2))])
    with pytest.raises(InputError, match=r"30 places are in clusters: only 1 of 15 classes .*take method='idw'"):
        fit_surface("kriging", points, rng.normal(size=(30, 1)))


@pytest.mark.parametrize(("points", "values"), [((5, 3), (5, 1)), ((5, 2), (5,)), ((5, 2), (4, 1)), ((5,), (5, 1))])
def test_arrays_that_do_not_fit_are_refused(points, values):
    with pytest.raises(InputError, match=r"points, values: have shapes .* need \(n_samples, 2\) and"):
        fit_parts(None, np.zeros(points), np.zeros(values))


@pytest.mark.parametrize(
    ("check", "arguments", "message"),
    [
        (
            check_kriging_size,
            (7000, 9_437_184, 200, 12),
            r"9,437,184 cells of 200 elements are 1,887,436,800.*limit is 1,000,000,000",
        ),
        (
            check_kriging_size,
            (7000, 9_437_184, 20, 60),
            r"from k=60 neighbours the limit is 40,000,000; take a coarser",
        ),
        (check_spline_size, (30_000, 100), r"30,000 samples make a matrix of 7\.2 GB.*limit is 20,000 samples.*'idw'"),
        (
            check_spline_size,
            (7000, 94_371_840),
            r"from 7,000 samples are 660,602,880,000 pairs.*250,000,000,000.*'idw'",
        ),
    ],
)
def test_what_would_take_hours_is_refused(check, arguments, message):
    with pytest.raises(InputError, match=message):
        check(*arguments)


def test_a_survey_of_usual_size_passes():
    check_kriging_size(7000, 3072 * 3072, 20, 12)
    check_kriging_size(20, 3072 * 3072, 20, 500)
    check_spline_size(7000, 3072 * 3072)


@pytest.mark.data
def test_the_variogram_of_zinc_on_the_meuse_is_that_of_gstat(data_folder):
    meuse = pd.read_csv(data_folder / "classics" / "sp_meuse.csv")
    points, zinc = meuse[["x", "y"]].to_numpy(dtype=float), np.log(meuse["zinc"].to_numpy(dtype=float))
    length = np.hypot(*np.ptp(points, axis=0)) / 3
    lags, gammas, counts = _variograms(points / length, zinc[:, None])
    np.testing.assert_array_equal(counts[:3] / 2, [57, 299, 419])  # each pair from both of its ends
    np.testing.assert_allclose(lags[:3] * length, [79.29, 163.97, 267.36], atol=0.006)
    np.testing.assert_allclose(gammas[0, :3], [0.12345, 0.21622, 0.30279], atol=6e-6)
    model = fitted(points, zinc)
    assert (model.nugget, model.var, model.len_scale) == pytest.approx((0.05066, 0.59060, 897.02), rel=2e-4)


@pytest.mark.data
@pytest.mark.parametrize("variogram", VARIOGRAMS)
def test_zinc_on_the_meuse_is_kriged_as_the_textbook_says(data_folder, variogram):
    meuse = pd.read_csv(data_folder / "classics" / "sp_meuse.csv")
    cells = pd.read_csv(data_folder / "classics" / "sp_meuse.grid.csv")[["x", "y"]].to_numpy(dtype=float, copy=True)[
        ::40
    ]
    # Beside the cell centres, from which samples are equally far: there neighbours are a matter of taste.
    cells += np.array([0.37, 0.11])
    points, zinc = meuse[["x", "y"]].to_numpy(dtype=float), meuse["zinc"].to_numpy(dtype=float)
    mean, variance = fit_surface("kriging", points, zinc[:, None], variogram=variogram).evaluate(cells)
    model = fitted(points, zinc, variogram)
    truth = np.array([ordinary_kriging(points, zinc, at, model, 12) for at in cells])
    np.testing.assert_allclose(mean[0], truth[:, 0], rtol=1e-6)
    np.testing.assert_allclose(variance[0], truth[:, 1], rtol=1e-5, atol=1e-6 * model.sill)


def test_after_many_threads_blas_has_as_many_as_before():
    def threads():
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    rng = np.random.default_rng(0)
    with threadpool_limits(2, "blas"):
        before = threads()
        surface = fit_surface("kriging", rng.uniform(0, 1000, (60, 2)), rng.normal(size=(60, 1)))
        with ThreadPoolExecutor(4) as pool:
            parts = list(pool.map(lambda part: surface.evaluate(part)[0], [rng.uniform(0, 1000, (500, 2))] * 20))
        assert threads() == before
    for part in parts:
        np.testing.assert_array_equal(part, parts[0])
