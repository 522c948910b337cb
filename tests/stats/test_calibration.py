"""Calibration against fits by hand."""

import dataclasses
import json
import math
import warnings

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

import geoprospect as gp
from geoprospect.errors import DataWarning, InputError
from geoprospect.stats import calibration as module
from geoprospect.stats.calibration import Calibration, calibrate, cross_calibrated

NAN = math.nan
UTM = "EPSG:32649"
SCORES = {"log_loss": 0.6, "brier": 0.2, "slope": 0.5}


def too_sure(rng, n, factor=2.5):
    """Return labels of windows and probabilities whose logits are `factor` times what they should be."""
    z = rng.normal(0, 1.5, n)
    return (rng.random(n) < expit(z)).astype(int), expit(factor * z)


# -- calibrate ---------------------------------------------------------------------------------


def test_the_temperature_that_was_put_in_comes_out():
    labels, p = too_sure(np.random.default_rng(0), 4000)
    found = calibrate(labels, p, rng=0)
    assert found.method == "temperature"
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.low < 2.5 < found.high
    assert found.before["slope"] == pytest.approx(0.4, rel=0.1)
    assert found.after["slope"] == pytest.approx(1, abs=0.05)
    assert all(found.after[name] < found.before[name] for name in ("log_loss", "brier"))


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_is_that_of_a_logistic_regression_through_the_origin(seed):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    labels, p = too_sure(rng, 60, rng.uniform(0.5, 4))
    weights = rng.uniform(0.2, 3, 60)
    line = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    line.fit(logit(p)[:, None], labels, weights)
    found = calibrate(labels, p, weights=weights, rng=0).temperature
    assert found == pytest.approx(1 / line.coef_[0, 0], rel=1e-5)


def test_no_other_temperature_is_likelier():
    labels, p = too_sure(np.random.default_rng(3), 80)
    best = calibrate(labels, p, rng=0).after["log_loss"]
    for temperature in np.geomspace(0.5, 10, 200):
        q = expit(logit(p) / temperature)
        assert -np.log(np.where(labels == 1, q, 1 - q)).mean() >= best - 1e-12


def test_a_window_of_weight_two_counts_as_two():
    labels, p = too_sure(np.random.default_rng(1), 40)
    weights = np.random.default_rng(2).integers(1, 4, 40)
    once = calibrate(labels, p, weights=weights, rng=0).temperature
    assert once == pytest.approx(calibrate(np.repeat(labels, weights), np.repeat(p, weights), rng=0).temperature)


def test_scores_before_and_after_are_those_of_the_metrics():
    labels, p = too_sure(np.random.default_rng(4), 50)
    found = calibrate(labels, p, rng=0)
    for probabilities, scores in ((p, found.before), (found.apply(p), found.after)):
        assert scores["brier"] == gp.stats.brier_score(labels, probabilities)
        assert scores["slope"] == gp.stats.calibration_slope(labels, probabilities)[0]
        right = np.where(labels == 1, probabilities, 1 - probabilities)
        assert scores["log_loss"] == pytest.approx(-np.log(right).mean())
    assert found.to_frame().loc["brier"].to_list() == [found.before["brier"], found.after["brier"]]


def clustered(rng, n_clusters=25, windows=4):
    """Return labels, probabilities and clusters; all windows of a cluster are alike, and T is 2."""
    truth = np.repeat([1, 0], n_clusters)
    z = 2 * rng.normal(np.where(truth == 1, 0.7, -0.7), 1) * 0.7
    return (np.repeat(a, windows) for a in (truth, expit(2 * z), np.arange(2 * n_clusters)))


@pytest.mark.slow
def test_the_interval_holds_the_temperature_nearly_as_often_as_it_says_with_clusters_and_not_without():
    rng = np.random.default_rng(0)
    hits = {"clusters": 0, "windows": 0}
    for _ in range(80):
        labels, p, clusters = clustered(rng)
        for name, given_clusters in (("clusters", clusters), ("windows", None)):
            found = calibrate(labels, p, given_clusters, method="temperature", rng=rng)
            hits[name] += found.low <= 2 <= found.high
    assert 0.84 <= hits["clusters"] / 80 <= 0.99
    assert hits["windows"] / 80 < 0.75


def test_the_interval_is_that_of_refitting_every_resample():
    labels, p, clusters = clustered(np.random.default_rng(5), 12, 3)
    found = calibrate(labels, p, clusters, rng=7)
    rng = np.random.default_rng(7)
    counts = [rng.multinomial(12, np.full(12, 1 / 12), size=1000) for _ in range(2)]
    # Clusters are numbered from the ore ones on.
    weights = np.concatenate(counts, axis=1)[:, clusters]
    each = [module._temperature(labels == 1, logit(p), weight) for weight in weights]
    assert [found.low, found.high] == pytest.approx(np.quantile(each, [0.025, 0.975]), rel=2e-3)


def test_the_same_seed_gives_the_same_interval():
    labels, p, clusters = clustered(np.random.default_rng(0))
    a, b, c = (calibrate(labels, p, clusters, rng=seed) for seed in (1, 1, 2))
    assert a == b
    assert (a.low, a.high) != (c.low, c.high)
    assert a.temperature == c.temperature


def test_clusters_are_counted_where_they_hold_ore_and_may_have_any_names():
    found = calibrate([1, 1, 1, 0, 0, 1], [0.9, 0.8, 0.3, 0.2, 0.6, 0.7], list("aabcdb"), rng=0)
    assert found.n_clusters == 2
    assert math.isfinite(found.low)


def test_one_cluster_of_deposits_gives_no_interval():
    found = calibrate([1, 1, 0, 0], [0.9, 0.4, 0.2, 0.6], [0, 0, 1, 2], rng=0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert "to" not in repr(found).split(";")[0]


@pytest.mark.parametrize(("p", "temperature", "said"), [
    ([0.6, 0.7, 0.2, 0.3], 0.05, "right without an error"),
    ([0.2, 0.3, 0.6, 0.7], 20.0, "do not tell ore from barren"),
])  # fmt: skip
def test_where_no_temperature_fits_a_bound_is_taken_and_said(p, temperature, said):
    with pytest.warns(DataWarning, match=said):
        assert calibrate([1, 1, 0, 0], p, rng=0).temperature == temperature


def test_probabilities_that_say_nothing_stay_as_they_are():
    found = calibrate([1, 0, 1, 0], [0.5] * 4, rng=0)
    assert found.temperature == 1
    assert math.isnan(found.low)
    assert found.before["log_loss"] == found.after["log_loss"] == pytest.approx(math.log(2))


def test_the_surest_probabilities_have_a_logit_too():
    found = calibrate([1, 1, 1, 0, 0, 0], [1.0, 1.0, 0.0, 0.0, 0.0, 1.0], rng=0)
    assert found.temperature == pytest.approx(logit(1 - 1e-6) / math.log(2), rel=1e-6)
    assert found.apply([0.0, 1.0]) == pytest.approx([1 / 3, 2 / 3])


def many_clusters(rng, n=120):
    """Return windows, one per cluster, whose probabilities are wrong in a way that no temperature mends."""
    p = rng.random(n * 2)
    return (rng.random(n * 2) < p**3).astype(int), p, np.arange(n * 2)


def test_with_fifty_clusters_of_ore_the_line_may_bend():
    labels, p, clusters = many_clusters(np.random.default_rng(0))
    assert labels.sum() >= 50
    found, scaled = (calibrate(labels, p, clusters, method=how, rng=0) for how in ("auto", "temperature"))
    assert found.method == "isotonic"
    assert math.isnan(found.temperature)
    assert math.isnan(found.low)
    assert found.after["log_loss"] < scaled.after["log_loss"] - 0.05
    least = 1 / (found.n_clusters + 2)
    y = np.array(found.knots)[:, 1]
    assert (np.diff(y) >= 0).all()
    assert y.min() == least
    assert y.max() <= 1 - least


def test_the_isotonic_line_is_that_of_scikit_learn_within_what_the_clusters_allow():
    from sklearn.isotonic import IsotonicRegression

    labels, p, clusters = many_clusters(np.random.default_rng(1))
    weights = np.random.default_rng(2).uniform(0.5, 2, p.size)
    found = calibrate(labels, p, clusters, method="isotonic", weights=weights)
    least = 1 / (labels.sum() + 2)
    line = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(p, labels, weights)
    grid = np.linspace(0, 1, 501)
    np.testing.assert_allclose(found.apply(grid), line.predict(grid), atol=1e-12)
    assert np.isnan(found.apply([NAN, 0.5])).tolist() == [True, False]


def test_auto_is_temperature_below_fifty_clusters_and_without_any():
    labels, p, clusters = many_clusters(np.random.default_rng(0))
    ore = np.flatnonzero(labels)
    few = np.concatenate([ore[:49], np.flatnonzero(labels == 0)])
    enough = np.concatenate([ore[:50], np.flatnonzero(labels == 0)])
    assert calibrate(labels[few], p[few], clusters[few], rng=0).method == "temperature"
    assert calibrate(labels[enough], p[enough], clusters[enough], rng=0).method == "isotonic"
    assert calibrate(labels, p, rng=0).method == "temperature"


@pytest.mark.parametrize(("arguments", "said"), [
    ({"labels": [1, 1], "probabilities": [0.5, 0.6]}, "labels: hold 2 ore and 0 barren"),
    ({"labels": [0, 0], "probabilities": [0.5, 0.6]}, "labels: hold 0 ore and 2 barren"),
    ({"labels": [0, 1, 1]}, "shapes"),
    ({"labels": [0, 2]}, "labels: hold"),
    ({"probabilities": [0.5, 1.2]}, "1 values, the first 1.2, are not within 0 and 1"),
    ({"probabilities": [0.5, -3]}, "not within 0 and 1"),
    ({"probabilities": [0.5, NAN]}, "not finite"),
    ({"clusters": [1, 2, 3]}, r"clusters: have shape \(3,\), need one for each of the 2"),
    ({"weights": [1, 0]}, "weights: need a number above 0"),
    ({"weights": [1, NAN]}, "weights: need a number above 0"),
    ({"weights": [1, 2, 3]}, "weights: need a number above 0"),
    ({"weights": ["a", "b"]}, "weights: need numbers"),
    ({"method": "platt"}, "method='platt': needs one of"),
    ({"method": "isotonic"}, "needs at least 50 clusters with ore .*not given.*method='temperature'"),
    ({"method": "isotonic", "clusters": [1, 2]}, "needs at least 50 clusters with ore .there are 1."),
    ({"rng": -1}, "rng=-1"),
])  # fmt: skip
def test_what_cannot_be_calibrated_is_said(arguments, said):
    with pytest.raises(InputError, match=said):
        calibrate(**({"labels": [0, 1], "probabilities": [0.6, 0.5]} | arguments))


# -- Calibration -------------------------------------------------------------------------------

HALVED = Calibration("temperature", 2.0, 1.5, 2.8, 23, SCORES, SCORES)
BENT = Calibration(
    "isotonic", NAN, NAN, NAN, 60, SCORES, SCORES | {"slope": NAN}, ((0.1, 0.05), (0.5, 0.2), (0.9, 0.9))
)


@settings(max_examples=60)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20), temperature=st.floats(0.05, 20))
def test_temperature_keeps_the_ranking_and_one_half(p, temperature):
    result = dataclasses.replace(HALVED, temperature=temperature).apply(sorted(p))
    assert ((result >= 0) & (result <= 1)).all()
    assert (np.diff(result) >= 0).all()
    assert dataclasses.replace(HALVED, temperature=temperature).apply(0.5) == 0.5


def test_a_map_keeps_its_place_and_says_that_it_is_calibrated():
    grid = gp.Grid(UTM, Affine(100, 0, 0, 0, -100, 0), (1, 3))
    attrs = {"units": "1", "long_name": "probability of ore (uncalibrated)", "window_width": 700.0}
    given_map = grid.dataset({"p": np.array([[0.9, NAN, 0.5]], dtype=np.float32)}, {"p": attrs}).p
    result = HALVED.apply(given_map)
    np.testing.assert_allclose(result, [[0.75, NAN, 0.5]], rtol=1e-6)
    assert result.dtype == np.float32
    assert gp.Grid.of(result) == grid
    assert result.encoding == given_map.encoding
    assert result.attrs["long_name"] == "probability of ore in a balanced set of windows (calibrated)"
    assert result.attrs["calibrated"] == 1
    assert result.attrs["window_width"] == 700
    assert given_map.attrs == attrs
    with pytest.raises(InputError, match="calibrated already"):
        HALVED.apply(result)


def test_arrays_keep_their_shape_and_whole_numbers_become_floats():
    assert HALVED.apply(np.full((2, 3, 4), 0.3)).shape == (2, 3, 4)
    assert HALVED.apply([0, 1]).dtype == np.float64
    assert BENT.apply([0.0, 0.1, 0.3, 1.0]) == pytest.approx([0.05, 0.05, 0.125, 0.9])


@pytest.mark.parametrize("wrong", [[1.01], [-0.1], [np.inf], ["high"]])
def test_what_is_no_probability_is_not_calibrated(wrong):
    with pytest.raises(InputError, match="probability: "):
        HALVED.apply(wrong)


@pytest.mark.parametrize("one", [HALVED, BENT], ids=["temperature", "isotonic"])
def test_a_calibration_survives_json(one):
    text = json.dumps(one.to_dict(), allow_nan=False)
    again = Calibration.from_dict(json.loads(text))
    assert again == one
    assert again.apply([0.2, 0.7]).tolist() == one.apply([0.2, 0.7]).tolist()


def test_a_calibration_says_what_it_does():
    assert repr(HALVED) == (
        "Calibration(temperature 2 (1.5 to 2.8); 23 clusters with ore; log loss 0.600 → 0.600, brier 0.200 → 0.200, "
        "slope 0.500 → 0.500)"
    )
    assert "isotonic; 60 clusters" in repr(BENT)


@pytest.mark.parametrize("change", [
    {"method": "platt"}, {"temperature": 0}, {"temperature": -1.0}, {"temperature": None}, {"temperature": math.inf},
    {"temperature": "2"}, {"low": "x"}, {"high": math.inf}, {"n_clusters": 0}, {"n_clusters": 1.5}, {"before": {}},
    {"after": SCORES | {"more": 1}}, {"after": None}, {"before": SCORES | {"brier": "low"}},
    {"method": "isotonic", "knots": []}, {"method": "isotonic", "knots": [[0.1, 0.2], [0.1, 0.3]]},
    {"method": "isotonic", "knots": [[0.1, 0.3], [0.2, 0.2]]}, {"method": "isotonic", "knots": [[0.1, 1.3]]},
    {"method": "isotonic", "knots": 3}, {"method": "isotonic", "knots": [[0.1, NAN]]},
])  # fmt: skip
def test_a_poisoned_description_is_refused(change):
    with pytest.raises(InputError):
        Calibration.from_dict(HALVED.to_dict() | change)


@pytest.mark.parametrize("values", [{}, {"method": "temperature"}, HALVED.to_dict() | {"more": 1}, None, [1]])
def test_a_description_has_exactly_its_keys(values):
    with pytest.raises(InputError, match="needs exactly the keys"):
        Calibration.from_dict(values)


# -- cross_calibrated --------------------------------------------------------------------------


def test_each_fold_is_calibrated_by_the_others():
    rng = np.random.default_rng(0)
    labels, p = too_sure(rng, 300)
    folds = np.array(["west", "mid", "east"])[rng.integers(0, 3, 300)]
    found = cross_calibrated(labels, p, folds)
    for fold in ("west", "mid", "east"):
        rest = calibrate(labels[folds != fold], p[folds != fold], rng=0)
        np.testing.assert_array_equal(found[folds == fold], rest.apply(p[folds == fold]))


def test_labels_of_a_fold_have_no_part_in_its_own_calibration():
    rng = np.random.default_rng(1)
    labels, p = too_sure(rng, 200)
    folds = rng.integers(0, 4, 200)
    other = np.where(folds == 2, 1 - labels, labels)
    changed = cross_calibrated(labels, p, folds) != cross_calibrated(other, p, folds)
    assert not changed[folds == 2].any()
    assert changed[folds != 2].all()


def test_calibrating_inside_the_fold_is_scored_honestly():
    rng = np.random.default_rng(2)
    inside, across = [], []
    warnings.simplefilter("ignore", DataWarning)  # with few clusters it happens that no temperature fits
    for _ in range(40):
        labels, p, clusters = clustered(rng, 8, 3)
        folds = clusters % 4
        scores = [calibrate(labels, p, clusters, rng=0).apply(p), cross_calibrated(labels, p, folds, clusters)]
        for kept, q in zip((inside, across), scores, strict=True):
            kept.append(-np.log(np.where(labels == 1, q, 1 - q)).mean())
    assert np.mean(across) > np.mean(inside)


def test_fifty_clusters_in_the_other_folds_bend_the_line():
    labels, p, clusters = many_clusters(np.random.default_rng(0), 200)
    folds = np.arange(labels.size) % 4
    rest = folds != 0
    expected = calibrate(labels[rest], p[rest], clusters[rest], method="isotonic").apply(p[~rest])
    np.testing.assert_array_equal(cross_calibrated(labels, p, folds, clusters)[~rest], expected)


@pytest.mark.parametrize(("folds", "method", "said"), [
    ([1, 1, 1, 1], "auto", "folds: hold one fold only"),
    ([1, 1, 2, 2], "auto", "the others of fold 1 hold no ore"),
    ([1, 2, 1, 2, 3], "auto", "folds: have shape"),
    ([1, 2, 1, 2], "isotonic", "at least 50 clusters"),
    ([1, 2, 1, 2], "spline", "method='spline'"),
])  # fmt: skip
def test_folds_that_cannot_calibrate_each_other_are_said(folds, method, said):
    with pytest.raises(InputError, match=said):
        cross_calibrated([1, 1, 0, 0], [0.9, 0.4, 0.3, 0.6], folds, method=method)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(1.0, 3.0, True), (0.05, 3.0, False), (4.36, 19.9999999, False), (math.nan, math.nan, False)],
)
def test_a_temperature_whose_interval_reaches_the_end_is_not_told(low: float, high: float, told: bool) -> None:
    made = gp.calibrate([1, 1, 1, 0, 0, 0, 0, 1], [0.9] * 4 + [0.1] * 4, rng=0)
    assert dataclasses.replace(made, low=low, high=high).is_told == told
