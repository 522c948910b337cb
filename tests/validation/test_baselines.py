"""Baselines find what is planted, find nothing in noise, and never see the labels of the test."""

import math

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import geoprospect as gp
from geoprospect.errors import InputError
from geoprospect.validation.baselines import (
    BASELINES,
    PROBABILISTIC,
    Evidence,
    _best_cuts,
    estimator_baseline,
    gives_probabilities,
)

pytestmark = pytest.mark.usefixtures("few_trees")

TRAIN, TEST = np.arange(1, 240, 2), np.arange(0, 240, 2)
BANDS = [name for name in BASELINES if name not in ("nearest deposit", "no chemistry")]


def planted(seed, strength=1.0, where=("bands",)):
    """Return evidence of 240 windows in which one kind of number knows the labels, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.empty(240, dtype=np.int64)
    labels[TRAIN], labels[TEST] = rng.permutation(120) % 2, rng.permutation(120) % 2
    means, sampling = rng.normal(size=(240, 5)), rng.normal(size=(240, 2))
    deposits = rng.uniform(0, 100, (8, 2))
    centres = rng.uniform(0, 100, (240, 2))
    if "bands" in where:
        means[:, 3] -= strength * labels  # depleted at the ore
        means[:, 1] += strength * labels
    if "sampling" in where:
        sampling[:, 0] += strength * labels
    if "distance" in where:
        near = deposits[rng.integers(0, 8, 240)] + rng.normal(size=(240, 2)) * 5
        centres = np.where(labels[:, None] == 1, near, centres)
    return Evidence(means, centres, deposits, sampling), labels


def auc_of(baseline, evidence, labels, seed=0):
    return gp.stats.rank_auc(labels[TEST], baseline(evidence, TRAIN, labels[TRAIN], TEST, seed))


def test_they_stand_in_the_order_of_the_table():
    assert list(BASELINES) == [
        "best element", "logistic regression", "random forest", "gradient boosting", "weights of evidence",
        "nearest deposit", "no chemistry",
    ]  # fmt: skip
    assert set(BASELINES) > PROBABILISTIC


# -- signal and noise --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "where", "least"),
    [*((name, "bands", 0.75) for name in BANDS), ("nearest deposit", "distance", 0.75),
     ("no chemistry", "sampling", 0.65)],
)  # fmt: skip
def test_each_finds_what_it_can_know(name, where, least):
    assert auc_of(BASELINES[name], *planted(1, strength=1.2, where=(where,))) > least


@pytest.mark.parametrize("name", BASELINES)
def test_each_is_blind_to_what_it_cannot_know(name):
    known = {"nearest deposit": "distance", "no chemistry": "sampling"}.get(name, "bands")
    hidden = {"bands", "distance", "sampling"} - {known}
    # One AUC of 60 and 60 windows is off by 0.053.
    assert auc_of(BASELINES[name], *planted(1, strength=2.0, where=hidden)) == pytest.approx(0.5, abs=0.16)


@pytest.mark.parametrize("name", BASELINES)
def test_each_finds_nothing_in_noise(name):
    aucs = [auc_of(BASELINES[name], *planted(seed, strength=0.0)) for seed in range(3)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.09)


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_gives_the_same_scores_and_all_are_finite(name):
    evidence, labels = planted(2)
    first, again, other = (BASELINES[name](evidence, TRAIN, labels[TRAIN], TEST, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert first.shape == TEST.shape
    assert np.isfinite(first).all()
    draws = name in ("random forest", "gradient boosting", "no chemistry")
    assert (first != other).any() == draws
    if name in PROBABILISTIC:
        assert first.min() >= 0
        assert first.max() <= 1


@pytest.mark.parametrize("name", BASELINES)
def test_windows_of_the_test_do_not_change_each_others_scores(name):
    evidence, labels = planted(3)
    moved = evidence.means.copy(), evidence.centres.copy(), evidence.sampling.copy()
    for table in moved:
        table[TEST[10:]] = 50
    changed = Evidence(moved[0], moved[1], evidence.deposit_points, moved[2])
    before = BASELINES[name](evidence, TRAIN, labels[TRAIN], TEST[:10], 0)
    after = BASELINES[name](changed, TRAIN, labels[TRAIN], TEST, 0)
    np.testing.assert_allclose(after[:10], before, rtol=1e-12)
    assert (after[10:] == after[10]).all()


# -- edges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_constant_bands_do_no_harm(name):
    evidence, labels = planted(4)
    means = evidence.means.copy()
    means[:, [0, 2, 4]] = 0, 7, -1
    some = Evidence(means, evidence.centres, evidence.deposit_points, evidence.sampling)
    assert np.isfinite(BASELINES[name](some, TRAIN, labels[TRAIN], TEST, 0)).all()
    nothing = Evidence(np.zeros((240, 3)), np.zeros((240, 2)), [[0, 0]], np.zeros((240, 1)))
    scores = BASELINES[name](nothing, TRAIN, labels[TRAIN], TEST, 0)
    assert np.ptp(scores) == 0
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "nearest deposit"])
@pytest.mark.parametrize("one", [0, 1])
def test_a_single_class_is_refused(name, one):
    evidence, _ = planted(0)
    with pytest.raises(InputError, match="the 120 training windows are of one class"):
        BASELINES[name](evidence, TRAIN, np.full(120, one), TEST, 0)
    with pytest.raises(InputError, match="3 for 120 training windows"):
        BASELINES[name](evidence, TRAIN, np.array([0, 1, 1]), TEST, 0)


@pytest.mark.parametrize("name", BASELINES)
def test_an_empty_test_has_no_scores(name):
    evidence, labels = planted(0)
    assert BASELINES[name](evidence, TRAIN, labels[TRAIN], TEST[:0], 0).shape == (0,)


def test_what_is_not_known_cannot_be_used():
    evidence, labels = planted(0)
    bare = Evidence(evidence.means, evidence.centres, [])
    with pytest.raises(InputError, match="sampling: is None"):
        BASELINES["no chemistry"](bare, TRAIN, labels[TRAIN], TEST, 0)
    with pytest.raises(InputError, match="deposit_points: is empty"):
        BASELINES["nearest deposit"](bare, TRAIN, labels[TRAIN], TEST, 0)


def test_evidence_is_checked_copied_and_frozen():
    means = np.zeros((4, 2))
    evidence = Evidence(means, np.zeros((4, 2)), [[1, 1]], np.ones((4, 3)))
    means[:] = 5
    assert evidence.means.max() == 0
    assert len(evidence) == 4
    assert repr(evidence) == "Evidence(4 windows, 2 bands, 1 deposit, 3 of the sampling)"
    with pytest.raises(ValueError, match="read-only"):
        evidence.means[0] = 1
    good = {"means": means, "centres": means, "deposit_points": [[1, 1]], "sampling": means}
    for wrong, message in (
        ({"centres": means[:3]}, "centres: has 3 rows for 4 windows"),
        ({"sampling": means[:2]}, "sampling: has 2 rows"),
        ({"means": [1, 2]}, "means: has shape"),
        ({"means": None}, "means: has shape"),
        ({"deposit_points": [[1, 2, 3]]}, "deposit_points: has shape"),
        ({"centres": np.zeros((4, 3))}, "two columns"),
        ({"means": [[math.nan]] * 4}, "means: 4 numbers are not finite; put 0"),
        ({"sampling": [["a"]]}, "sampling: needs"),
    ):
        with pytest.raises(InputError, match=message):
            Evidence(**(good | wrong))


# -- one by one --------------------------------------------------------------------------------


def test_the_best_element_is_picked_in_the_training_either_way_up():
    evidence, labels = planted(0, strength=3.0)
    means = evidence.means.copy()
    means[TEST, 3], means[:, 1] = np.arange(120), 0
    scores = BASELINES["best element"](
        Evidence(means, evidence.centres, evidence.deposit_points), TRAIN, labels[TRAIN], TEST, 0
    )
    np.testing.assert_array_equal(scores, -np.arange(120))


def test_the_nearest_deposit_is_the_distance_turned_round():
    evidence = Evidence(np.zeros((2, 1)), [[0, 0], [10, 0]], [[3, 4], [11, 0]])
    np.testing.assert_allclose(BASELINES["nearest deposit"](evidence, [], [], np.arange(2), 0), [-5, -1])


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_cuts_are_those_of_trying_every_threshold(decimals):
    rng = np.random.default_rng(decimals)
    ore = rng.random(60) < 0.4
    values = np.round(rng.normal(size=(60, 6)) + ore[:, None] * [0, 1, -1, 2, -2, 0.5], decimals)
    found = zip(*_best_cuts(values, ore), strict=True)
    for column, (threshold, w_plus, w_minus) in zip(values.T, found, strict=True):
        tried = {
            t: gp.stats.weights_of_evidence((ore & (column >= t)).sum(), ore.sum(), (column >= t).sum(), 60)
            for t in np.unique(column)[1:]  # from the least value on is no pattern
        }
        best = max(abs(one.studentised) for one in tried.values())
        assert abs(tried[threshold].studentised) == pytest.approx(best)
        assert (w_plus, w_minus) == pytest.approx((tried[threshold].w_plus, tried[threshold].w_minus))


def test_the_weights_of_evidence_add_up():
    means = np.array([[1, 5], [1, 5], [1, 0], [0, 5], [0, 0], [0, 0], [1, 0], [0, 5]], dtype=float)
    labels = np.array([1, 1, 1, 0, 0, 0])
    evidence = Evidence(means, np.zeros((8, 2)), [[0, 0]])
    both = [gp.stats.weights_of_evidence(3, 3, 3, 6), gp.stats.weights_of_evidence(2, 3, 3, 6)]
    scores = BASELINES["weights of evidence"](evidence, np.arange(6), labels, np.arange(6, 8), 0)
    assert scores == pytest.approx([both[0].w_plus + both[1].w_minus, both[0].w_minus + both[1].w_plus])


def test_a_band_that_is_constant_in_the_training_has_no_weights():
    evidence, labels = planted(0)
    means = np.where(np.isin(np.arange(240), TRAIN)[:, None], 7.0, evidence.means)
    scores = BASELINES["weights of evidence"](
        Evidence(means, evidence.centres, evidence.deposit_points), TRAIN[:51], labels[TRAIN[:51]], TEST, 0
    )
    assert labels[TRAIN[:51]].mean() != 0.5
    assert (scores == 0).all()


def test_depleted_ground_has_weights_too():
    evidence, labels = planted(0, strength=3.0)
    only = Evidence(evidence.means[:, [3]], evidence.centres, evidence.deposit_points)
    assert auc_of(BASELINES["weights of evidence"], only, labels) > 0.8


# -- other classifiers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "probable"),
    [(LogisticRegression(), True), (RidgeClassifier(), False), (make_pipeline(StandardScaler(), LinearSVC()), False),
     (GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2), True)],
    ids=["logistic", "ridge", "pipeline", "search"],
)  # fmt: skip
def test_any_classifier_of_scikit_learn_is_a_baseline(estimator, probable):
    evidence, labels = planted(5, strength=1.5)
    baseline = estimator_baseline(estimator)
    assert gives_probabilities(estimator) == probable
    assert auc_of(baseline, evidence, labels) > 0.8
    fitted = clone(estimator).fit(evidence.means[TRAIN], labels[TRAIN])
    expected = (
        fitted.predict_proba(evidence.means[TEST])[:, 1] if probable else fitted.decision_function(evidence.means[TEST])
    )
    np.testing.assert_allclose(baseline(evidence, TRAIN, labels[TRAIN], TEST, 0), expected)
    with pytest.raises(InputError, match="one class"):
        baseline(evidence, TRAIN, np.ones(120), TEST, 0)


def test_the_given_estimator_stays_as_it_is_and_open_random_states_take_the_seed():
    evidence, labels = planted(5)
    free = make_pipeline(StandardScaler(), RandomForestClassifier(5))
    baseline = estimator_baseline(free)
    scores = [baseline(evidence, TRAIN, labels[TRAIN], TEST, seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()
    assert free[-1].random_state is None
    assert not hasattr(free[-1], "estimators_")
    fixed = estimator_baseline(RandomForestClassifier(5, random_state=3))
    np.testing.assert_array_equal(*(fixed(evidence, TRAIN, labels[TRAIN], TEST, seed) for seed in (1, 2)))


class OnlyLabels(ClassifierMixin, BaseEstimator):
    """Says ore where the second band is above 0.5."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, x):
        return (x[:, 1] > 0.5).astype(int)


def test_what_is_no_classifier_is_refused_with_a_cure_that_works():
    for wrong, message in (
        (OnlyLabels(), r"OnlyLabels\(\): has no predict_proba or decision_function; .*BaggingClassifier"),
        (RandomForestClassifier, r"is a class, needs an object; write RandomForestClassifier\(\)"),
        (StandardScaler(), "has no predict_proba or decision_function"),
        ("forest", "has no get_params and no fit and no predict_proba or decision_function"),
    ):
        with pytest.raises(InputError, match=message):
            estimator_baseline(wrong)
    evidence, labels = planted(5, strength=1.5)
    assert auc_of(estimator_baseline(BaggingClassifier(OnlyLabels(), 3)), evidence, labels) > 0.65
