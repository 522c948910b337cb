"""The machine on one element: its labels, its scores, and the ground that it is tested on."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import geoprospect as gp
from geoprospect.screening.svm import auc_of_labels, auc_of_scores, svm_scores


def drawn(seed=0, n=30, shift=1.0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [n, n + 10])
    return labels, np.exp(rng.normal(size=labels.size) + shift * labels), rng.integers(0, 4, labels.size)


def test_the_scores_are_those_of_a_plain_pipeline():
    labels, values, region = drawn()
    machine = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
    np.testing.assert_allclose(
        svm_scores(labels, values), machine.fit(values[:, None], labels).decision_function(values[:, None])
    )
    tested = svm_scores(labels, values, region)
    for one in range(4):
        test = region == one
        machine.fit(values[~test, None], labels[~test])
        np.testing.assert_allclose(tested[test], machine.decision_function(values[test, None]))


def test_units_make_no_difference():
    labels, values, region = drawn()
    np.testing.assert_allclose(svm_scores(labels, values * 1e4, region), svm_scores(labels, values, region))


def test_the_auc_of_labels_is_the_balanced_accuracy():
    labels, values, region = drawn()
    scores = svm_scores(labels, values, region)
    right = [(scores[labels == 1] > 0).mean(), (scores[labels == 0] <= 0).mean()]
    assert auc_of_labels(labels, scores) == pytest.approx(np.mean(right))
    assert auc_of_labels(labels, scores) != pytest.approx(gp.stats.rank_auc(labels, scores))


def test_scores_of_two_machines_are_not_compared():
    labels, values, region = drawn()
    scores = svm_scores(labels, values, region)
    parts = [(gp.stats.rank_auc(labels[region == r], scores[region == r]),
              labels[region == r].sum() * (1 - labels[region == r]).sum()) for r in range(4)]  # fmt: skip
    expected = np.average([a for a, _ in parts], weights=[w for _, w in parts])
    assert auc_of_scores(labels, scores, region) == pytest.approx(expected)
    assert auc_of_scores(labels, scores + 100 * region, region) == pytest.approx(expected)
    assert auc_of_scores(labels, scores) == gp.stats.rank_auc(labels, scores)


def test_a_region_that_holds_all_of_a_class_cannot_be_tested():
    labels, values, _ = drawn()
    scores = svm_scores(labels, values, labels)
    assert np.isnan(scores).all()
    assert np.isnan(auc_of_labels(labels, scores))
    assert np.isnan(auc_of_scores(labels, scores, labels))


def test_a_constant_says_nothing():
    labels, values, region = drawn()
    assert (svm_scores(labels, np.ones_like(values), region) == 0).all()
    assert auc_of_labels(labels, svm_scores(labels, np.ones_like(values))) == 0.5
