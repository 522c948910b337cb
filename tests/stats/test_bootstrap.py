"""Resampled AUCs agree with a loop that counts pairs."""

import tracemalloc

import numpy as np
import pytest

import geoprospect as gp
from geoprospect.errors import InputError
from geoprospect.stats import bootstrap
from geoprospect.stats.bootstrap import auc_of_folds, bootstrap_aucs


def case(seed, n=60, methods=3, folds=3, mixed=False):
    """Return labels, tied scores, folds and clusters in random order."""
    rng = np.random.default_rng(seed)
    fold = rng.integers(0, folds, n)
    labels = rng.integers(0, 2, n)
    cluster = 100 * fold + rng.integers(0, 5, n) + (0 if mixed else 50 * labels)
    scores = np.round(rng.normal(size=(methods, n)) + labels * rng.normal(size=(methods, 1)), 1)
    return labels, scores, fold, cluster


def slow_auc(labels, scores, fold, weight):
    """Return the mean over folds of the weighted shares of pairs that are won; NaN where no fold has both classes."""
    aucs = []
    for one in np.unique(fold):
        ore, barren = np.flatnonzero((fold == one) & (labels == 1)), np.flatnonzero((fold == one) & (labels == 0))
        pairs = won = 0.0
        for a in ore:
            for b in barren:
                both = weight[a] * weight[b]
                pairs += both
                won += both * ((scores[a] > scores[b]) + 0.5 * (scores[a] == scores[b]))
        if pairs:
            aucs.append(won / pairs)
    return np.mean(aucs) if aucs else np.nan


def redrawn(labels, cluster, replicates, seed):
    """Return the weights of all points in every resample, drawn in the order in which the kernel draws."""
    rng = np.random.default_rng(seed)
    weight = np.empty((replicates, labels.size))
    for label in (1, 0):
        units, index = np.unique(cluster[labels == label], return_inverse=True)
        weight[:, labels == label] = rng.multinomial(units.size, np.full(units.size, 1 / units.size), replicates)[
            :, index
        ]
    return weight


@pytest.mark.parametrize("kind", ["apart", "of both classes", "in several folds"])
@pytest.mark.parametrize("seed", range(3))
def test_every_replicate_is_that_of_a_loop_over_pairs(seed, kind):
    labels, scores, fold, cluster = case(seed, mixed=kind == "of both classes")
    cluster = cluster % 100 if kind == "in several folds" else cluster
    found = bootstrap_aucs(labels, scores, fold, cluster, 15, rng=seed)
    weights = redrawn(labels, cluster, 15, seed)
    expected = [[slow_auc(labels, one, fold, weight) for weight in weights] for one in scores]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.std(axis=1).min() > 0.01


def test_blocks_do_not_show(monkeypatch):
    labels, scores, fold, cluster = case(7, n=200)
    whole = bootstrap_aucs(labels, scores, fold, cluster, 50, rng=1)
    monkeypatch.setattr(bootstrap, "_BLOCK", 7)
    weights = redrawn(labels, cluster, 50, 1)
    monkeypatch.setattr(bootstrap, "_draw", lambda n, replicates, rng: next(drawn))
    drawn = iter([_per_unit(weights, labels, cluster, label) for label in (1, 0)])
    np.testing.assert_allclose(bootstrap_aucs(labels, scores, fold, cluster, 50, rng=1), whole, rtol=1e-12)


def _per_unit(weights, labels, cluster, label):
    part = np.flatnonzero(labels == label)
    _, first = np.unique(cluster[part], return_index=True)
    return weights[:, part[first]].astype(np.uint16)


def test_without_resampling_it_is_the_mean_of_the_rank_aucs_of_the_folds():
    labels, scores, fold, _ = case(2)
    expected = [np.mean([gp.stats.rank_auc(labels[fold == f], one[fold == f]) for f in range(3)]) for one in scores]
    np.testing.assert_allclose(auc_of_folds(labels, scores, fold), expected, rtol=1e-12)


def test_replicates_spread_like_surveys_with_other_clusters():
    rng = np.random.default_rng(0)
    fold, labels = np.repeat([0, 1], 300), np.tile(np.repeat([1, 0], 150), 2)
    cluster = np.arange(600) // 5
    surveys = labels + rng.normal(size=(400, 120))[:, cluster] + 0.5 * rng.normal(size=(400, 600))
    expected = auc_of_folds(labels, surveys, fold).std()
    replicates = bootstrap_aucs(labels, surveys[:10], fold, cluster, 300, rng=0)
    assert replicates.std(axis=1).mean() == pytest.approx(expected, rel=0.1)
    single = bootstrap_aucs(labels, surveys[:10], fold, np.arange(600), 100, rng=0)
    assert single.std(axis=1).mean() < 0.7 * expected


def test_wrong_folds_and_clusters_are_refused():
    labels, scores = [1, 1, 0, 0], [[3, 2, 2, 1]]
    with pytest.raises(InputError, match=r"clusters: have shape \(3,\), need one for each of the 4 points"):
        bootstrap_aucs(labels, scores, [1, 1, 1, 1], [7, 7, 8], 5)
    with pytest.raises(InputError, match="folds: have shape"):
        auc_of_folds(labels, scores, 1)
    for missing in ([1, 2, np.nan, 4], [1, 2, None, 4]):
        with pytest.raises(InputError, match="clusters: missing at 2"):
            bootstrap_aucs(labels, scores, [1, 1, 1, 1], missing, 5)


def test_methods_see_the_same_resamples_and_a_seed_is_a_seed():
    labels, scores, fold, cluster = case(4)
    doubled = bootstrap_aucs(labels, np.stack([scores[0], 3 * scores[0], -scores[0]]), fold, cluster, 300, rng=5)
    np.testing.assert_array_equal(doubled[0], doubled[1])
    np.testing.assert_allclose(doubled[0], 1 - doubled[2])
    np.testing.assert_array_equal(doubled[0], bootstrap_aucs(labels, scores[:1], fold, cluster, 300, rng=5)[0])
    assert (doubled[0] != bootstrap_aucs(labels, scores[:1], fold, cluster, 300, rng=6)[0]).any()


def test_a_resample_without_a_class_in_a_fold_leaves_the_fold_out():
    # Fold 0 has one cluster of ore and fold 1 another: some resamples have one of them twice.
    labels, fold, cluster = np.array([1, 0, 1, 0]), np.array([0, 0, 1, 1]), np.arange(4)
    scores = np.array([[2.0, 1.0, 1.0, 2.0]])  # AUC 1 in fold 0 and 0 in fold 1
    found = bootstrap_aucs(labels, scores, fold, cluster, 400, rng=0)
    values = found[np.isfinite(found)]
    assert set(values) == {0.0, 0.5, 1.0}
    # Ore twice from one fold and barren twice from the other: no fold is left, in 2 of 16 draws.
    assert np.isnan(found).mean() == pytest.approx(1 / 8, abs=0.05)
    assert np.isnan(bootstrap_aucs([1, 1], [[1, 2]], [0, 0], [0, 1], 5, rng=0)).all()
    assert np.isnan(auc_of_folds([0, 0], [[1, 2], [2, 1]], [0, 0])).all()
    assert auc_of_folds([0, 0], [[1, 2], [2, 1]], [0, 0]).shape == (2,)


def test_memory_does_not_grow_with_windows_squared_times_replicates():
    rng = np.random.default_rng(0)
    n, replicates = 3000, 1000
    labels, fold = rng.integers(0, 2, n), rng.integers(0, 2, n)
    cluster = 1000 * fold + rng.integers(0, 100, n)
    tracemalloc.start()
    bootstrap_aucs(labels, rng.normal(size=(2, n)), fold, cluster, replicates, rng=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # replicates x windows alone would be 24 MB


def test_arguments_that_do_not_fit_are_refused():
    labels, scores, fold, cluster = case(0)
    with pytest.raises(InputError, match=r"need \(N,\) and \(M, N\)"):
        bootstrap_aucs(labels, scores[0], fold, cluster)
    with pytest.raises(InputError, match="labels: need 1"):
        auc_of_folds(labels + 1, scores, fold)
    with pytest.raises(InputError, match="1 are not finite"):
        auc_of_folds(labels, np.where(np.arange(scores.size).reshape(scores.shape) == 3, np.nan, scores), fold)
    with pytest.raises(InputError, match="clusters: have shape"):
        bootstrap_aucs(labels, scores, fold, cluster[1:])
    with pytest.raises(InputError, match="folds: have shape"):
        auc_of_folds(labels, scores, fold[:-1])
    with pytest.raises(InputError, match="replicates=0"):
        bootstrap_aucs(labels, scores, fold, cluster, 0)
