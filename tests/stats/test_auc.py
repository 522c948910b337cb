"""Errors of AUCs agree with slow definitions, with scipy, with what was published, and with simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm
from scipy.stats.contingency import odds_ratio
from sklearn.metrics import roc_auc_score

import geoprospect as gp
from geoprospect.errors import InputError

# Hanley & McNeil (1982), table I: ratings of 58 normal and 51 abnormal images on five steps.
RATED_NORMAL, RATED_ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
LABELS = np.repeat([0, 1], [58, 51])
RATINGS = np.concatenate([np.repeat(np.arange(1, 6), RATED_NORMAL), np.repeat(np.arange(1, 6), RATED_ABNORMAL)])
# The elements of table 1 of Gao et al. (2022): AUC = 0.5 + k/244 on 122 and 122 points.
TABLE_1 = {"Au": 25, "Sn": 26, "Ag": 43, "Mn": 14, "Zn": 11, "Sb": 23, "Hg": 34, "W": 19, "B": 22, "Cu": 32, "Ba": 28,
           "Pb": 19, "As": 16, "Bi": 22, "Mo": 24, "F": 17}  # fmt: skip
LABELLED = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=4, max_size=40).filter(
    lambda pairs: 2 <= sum(one for one, _ in pairs) <= len(pairs) - 2
)


def slow_delong(labels, *scores):
    """Return the covariance of AUCs by the definition of DeLong et al. (1988): all pairs, structural components."""
    ore = np.array(labels, dtype=bool)
    parts = []
    for one in scores:
        x, y = np.array(one, dtype=float)[ore], np.array(one, dtype=float)[~ore]
        psi = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        parts.append((psi.mean(axis=1), psi.mean(axis=0)))
    m, n = ore.sum(), (~ore).sum()
    cov = np.empty((len(scores), len(scores)))
    for i, (v10, v01) in enumerate(parts):
        for j, (w10, w01) in enumerate(parts):
            s10 = ((v10 - v10.mean()) * (w10 - w10.mean())).sum() / (m - 1)
            s01 = ((v01 - v01.mean()) * (w01 - w01.mean())).sum() / (n - 1)
            cov[i, j] = s10 / m + s01 / n
    return cov


# -- standard errors -----------------------------------------------------------------------------


@given(LABELLED)
def test_delongs_error_is_that_of_its_definition(pairs):
    labels, scores = zip(*pairs, strict=True)
    expected = math.sqrt(max(slow_delong(labels, scores)[0, 0], 0))
    assert gp.stats.auc_standard_error(labels, scores) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(LABELLED)
def test_the_null_z_is_that_of_mann_and_whitney(pairs):
    labels, scores = map(np.array, zip(*pairs, strict=True))
    z = gp.stats.null_z(labels, scores)
    if scores.min() == scores.max():
        assert z == 0
        return
    test = mannwhitneyu(scores[labels], scores[~labels], method="asymptotic", use_continuity=False)
    assert 2 * norm.sf(abs(z)) == pytest.approx(test.pvalue, rel=1e-9)
    assert np.sign(z) == np.sign(gp.stats.rank_auc(labels, scores) - 0.5)


@given(LABELLED)
def test_ranks_alone_count_and_swapped_labels_mirror(pairs):
    labels, scores = map(np.array, zip(*pairs, strict=True))
    for how in ("delong", "hanley-mcneil", "null"):
        se = gp.stats.auc_standard_error(labels, scores, how)
        assert gp.stats.auc_standard_error(labels, np.exp(scores) * 1e3, how) == pytest.approx(se, abs=1e-12)
        if how != "hanley-mcneil":  # which is not the same for n1 and n2
            assert gp.stats.auc_standard_error(~labels, scores, how) == pytest.approx(se, abs=1e-12)
    low, high = gp.stats.auc_interval(labels, scores)
    auc = gp.stats.rank_auc(labels, scores)
    assert 0 <= low <= auc <= high <= 1
    assert high > low
    assert gp.stats.auc_interval(~labels, scores) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_the_images_of_hanley_and_mcneil():
    assert gp.stats.rank_auc(LABELS, RATINGS) == pytest.approx(0.893, abs=5e-4)
    assert gp.stats.auc_standard_error(LABELS, RATINGS, "hanley-mcneil") == pytest.approx(0.032, abs=1e-3)
    assert gp.stats.rank_auc(LABELS, RATINGS) == pytest.approx(roc_auc_score(LABELS, RATINGS), rel=1e-12)
    assert gp.stats.auc_standard_error(LABELS, RATINGS) == pytest.approx(math.sqrt(slow_delong(LABELS, RATINGS)[0, 0]))


def test_hard_labels_have_the_error_of_two_proportions():
    labels = np.repeat([1, 0], [40, 60])
    called = np.concatenate([np.repeat([1, 0], [30, 10]), np.repeat([1, 0], [15, 45])])
    se = gp.stats.auc_standard_error(labels, called, "binomial")
    assert se == pytest.approx(math.sqrt(0.75 * 0.25 / 40 + 0.75 * 0.25 / 60) / 2)
    # DeLong's is the same but for n - 1 in place of n.
    assert gp.stats.auc_standard_error(labels, called) == pytest.approx(se, rel=0.02)
    assert gp.stats.auc_standard_error(labels, np.ones(100), "binomial") == 0
    with pytest.raises(InputError, match="scores: have 3 different values"):
        gp.stats.auc_standard_error(labels, np.arange(100) % 3, "binomial")


def test_each_proportion_of_hard_labels_has_the_error_of_its_own_count():
    labels = np.repeat([1, 0], [10, 90])
    called = np.repeat([1, 0, 1, 0], [5, 5, 9, 81])  # half of the ore, 9 in 10 of the barren
    expected = math.sqrt(0.5 * 0.5 / 10 + 0.9 * 0.1 / 90) / 2
    assert gp.stats.auc_standard_error(labels, called, "binomial") == pytest.approx(expected)


def test_the_binomial_error_makes_gold_of_table_1_more_certain_than_the_paper_says():
    a = 0.5 + 25 / 244
    # As many right in both classes: 0.6025 of 122 is no whole number, so the nearest two.
    right = round(a * 122 - 0.5), round(a * 122 + 0.5)
    called = np.concatenate(
        [np.repeat([1, 0], [right[1], 122 - right[1]]), np.repeat([0, 1], [right[0], 122 - right[0]])]
    )
    labels = np.repeat([1, 0], 122)
    assert gp.stats.rank_auc(labels, called) == pytest.approx(a)
    assert (a - 0.5) / gp.stats.auc_standard_error(labels, called, "binomial") == pytest.approx(3.27, abs=0.01)
    assert (a - 0.5) / gp.stats.auc_standard_error(labels, called, "hanley-mcneil") == pytest.approx(2.8395, abs=1e-4)


@pytest.mark.parametrize(
    "how", ["delong", *(pytest.param(one, marks=pytest.mark.slow) for one in ("hanley-mcneil", "null"))]
)
def test_errors_are_the_spread_of_repeated_surveys(how):
    rng = np.random.default_rng(0)
    shift = 0.0 if how == "null" else 1.0
    labels = np.repeat([1, 0], [30, 50])
    scores = rng.normal(size=(3000, 80)) + shift * labels
    aucs = [gp.stats.rank_auc(labels, one) for one in scores]
    errors = [gp.stats.auc_standard_error(labels, one, how) for one in scores[:500]]
    assert np.mean(errors) == pytest.approx(np.std(aucs), rel=0.06)


@pytest.mark.parametrize("separation", [1.0, *(pytest.param(one, marks=pytest.mark.slow) for one in (0.0, 2.5))])
def test_intervals_hold_the_truth_as_often_as_they_say_or_more(separation):
    rng = np.random.default_rng(1)
    truth = norm.cdf(separation / math.sqrt(2))
    labels = np.repeat([1, 0], [25, 40])
    draws = (rng.normal(size=65) + separation * labels for _ in range(1500))
    held = [low <= truth <= high for low, high in (gp.stats.auc_interval(labels, one, 0.9) for one in draws)]
    assert 0.88 <= np.mean(held) <= 0.975


def test_perfect_and_absent_classes_are_defined():
    assert gp.stats.auc_standard_error([0, 0, 1, 1], [1, 2, 3, 4]) == 0
    assert gp.stats.auc_standard_error([0, 0, 1, 1], [1, 1, 1, 1], "null") == 0
    assert gp.stats.null_z([0, 0, 1, 1], [1, 1, 1, 1]) == 0
    assert math.isnan(gp.stats.auc_standard_error([1, 1], [1, 2]))
    assert math.isnan(gp.stats.auc_standard_error([1, 0, 0], [1, 2, 3]))  # one point has no variance
    assert math.isnan(gp.stats.null_z([0, 0], [1, 2]))
    assert np.isnan(gp.stats.auc_interval([0, 0], [1, 2])).all()
    low, high = gp.stats.auc_interval(np.repeat([0, 1], 50), np.arange(100))
    assert 0.9 < low < 1
    assert high == 1
    assert gp.stats.auc_interval(np.repeat([1, 0], 50), np.arange(100)) == pytest.approx((0, 1 - low))
    with pytest.raises(InputError, match="scores: need numbers"):
        gp.stats.rank_auc([0, 1], ["low", "high"])
    for level in (0, 1, 95):
        with pytest.raises(InputError, match="level"):
            gp.stats.auc_interval([0, 1], [1, 2], level)


@pytest.mark.slow
def test_intervals_of_few_ore_points_hold_the_truth_too():
    rng = np.random.default_rng(3)
    truth = norm.cdf(2 / math.sqrt(2))
    labels = np.repeat([1, 0], [5, 300])
    bounds = [gp.stats.auc_interval(labels, rng.normal(size=305) + 2 * labels) for _ in range(1000)]
    assert 0.93 <= np.mean([low <= truth <= high for low, high in bounds]) <= 0.99


@pytest.mark.parametrize(("n_ore", "n_barren"), [(3, 3), (10, 40), (5, 2000)])
def test_the_bound_of_a_perfect_separation_is_newcombes(n_ore, n_barren):
    labels = np.repeat([1, 0], [n_ore, n_barren])
    low, _ = gp.stats.auc_interval(labels, labels)
    m = (n_ore + n_barren) / 2 - 1
    variance = low * (1 - low) * (1 + m * (1 - low) / (2 - low) + m * low / (1 + low)) / (n_ore * n_barren)
    assert 1 - low == pytest.approx(norm.isf(0.025) * math.sqrt(variance), rel=1e-6)


# -- two scores ----------------------------------------------------------------------------------


@given(LABELLED, st.integers(0, 2**31))
def test_paired_scores_are_compared_as_delong_defines(pairs, seed):
    labels, a = map(np.array, zip(*pairs, strict=True))
    b = np.round(a + np.random.default_rng(seed).normal(size=a.size))
    compared = gp.stats.compare_aucs(labels, a, b)
    cov = slow_delong(labels, a, b)
    se = math.sqrt(max(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1], 0))
    assert compared.se == pytest.approx(se, abs=1e-8)
    assert compared.difference == pytest.approx(gp.stats.rank_auc(labels, a) - gp.stats.rank_auc(labels, b))
    if se > 1e-6:
        assert compared.p == pytest.approx(2 * norm.sf(abs(compared.difference) / se))
    reverse = gp.stats.compare_aucs(labels, b, a)
    assert (reverse.z, reverse.p) == pytest.approx((-compared.z, compared.p))


def test_a_score_does_not_differ_from_itself_and_lone_points_cannot_be_compared():
    same = gp.stats.compare_aucs(LABELS, RATINGS, RATINGS * 2 + 1)
    assert (same.difference, same.z, same.p) == (0, 0, 1)
    with pytest.raises(InputError, match="1 ore points"):
        gp.stats.compare_aucs([1, 0, 0], [1, 2, 3], [1, 2, 3])


@pytest.mark.slow
def test_equal_scores_are_told_apart_at_the_nominal_rate():
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 0], [40, 60])
    signal = rng.normal(size=(800, 100)) + labels
    p = [gp.stats.compare_aucs(labels, one + rng.normal(size=100), one + rng.normal(size=100)).p for one in signal]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_intervals_are_for_levels_between_0_and_1(level):
    with pytest.raises(InputError, match="level"):
        gp.stats.auc_interval([1, 0, 1, 0], [4, 3, 2, 1], level)


# -- many p values -------------------------------------------------------------------------------


def stepwise(p, alpha, up):
    """Return what Holm (1979) rejects going down, or Benjamini & Hochberg (1995) going up, step by step."""
    order, m = np.argsort(p, kind="stable"), len(p)
    rejected = np.zeros(m, dtype=bool)
    if up:
        passing = [i for i in range(m) if p[order[i]] <= alpha * (i + 1) / m]
        rejected[order[: max(passing, default=-1) + 1]] = True
        return rejected
    for step, i in enumerate(order):
        if p[i] > alpha / (m - step):
            break
        rejected[i] = True
    return rejected


@pytest.mark.parametrize("method", ["holm", "bh"])
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20), alpha=st.floats(0.001, 0.5))
def test_corrected_p_values_select_what_the_procedure_rejects(method, p, alpha):
    corrected = gp.stats.adjust_p(p, method)
    clear = np.abs(corrected - alpha) > 1e-12
    np.testing.assert_array_equal((corrected <= alpha)[clear], stepwise(np.array(p), alpha, method == "bh")[clear])
    assert (corrected >= np.array(p) - 1e-15).all()
    assert (corrected <= 1).all()


def test_corrections_by_hand():
    np.testing.assert_allclose(gp.stats.adjust_p([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(gp.stats.adjust_p([0.9, math.nan, 0.02]), [0.9, math.nan, 0.04])
    np.testing.assert_allclose(gp.stats.adjust_p([0.01, 0.04, 0.03, 0.005], "bh"), [0.02, 0.04, 0.04, 0.02])
    assert np.isnan(gp.stats.adjust_p([math.nan], "bh")).all()
    assert gp.stats.adjust_p([]).size == 0
    for wrong in ([1.1], [-0.1], [[0.1]], [math.inf], ["a"]):
        with pytest.raises(InputError, match="p: needs"):
            gp.stats.adjust_p(wrong)


def test_holm_keeps_three_elements_of_table_1_and_bh_five():
    p = [2 * norm.sf(gp.stats.z_auc(0.5 + k / 244, 122, 122)[1]) for k in TABLE_1.values()]
    kept = {
        how: {e for e, one in zip(TABLE_1, gp.stats.adjust_p(p, how), strict=True) if one <= 0.01}
        for how in ("holm", "bh")
    }
    assert kept == {"holm": {"Ag", "Hg", "Cu"}, "bh": {"Ag", "Hg", "Cu", "Ba", "Sn"}}


# -- weights of evidence -------------------------------------------------------------------------


def test_the_contrast_is_a_log_odds_ratio():
    # Woolf (1955), https://doi.org/10.1111/j.1469-1809.1955.tb01348.x: ulcers and blood group O in London;
    # ratio 1.4500, its log 0.3716, weight (one over the variance) 304.9.
    ulcer, control = (911, 579), (4578, 4219)
    weights = gp.stats.weights_of_evidence(ulcer[0], sum(ulcer), ulcer[0] + control[0], sum(ulcer + control))
    assert weights.contrast == pytest.approx(0.3716, abs=5e-5)
    assert 1 / weights.contrast_se**2 == pytest.approx(304.9, abs=0.05)
    table = [[ulcer[0], control[0]], [ulcer[1], control[1]]]
    assert math.exp(weights.contrast) == pytest.approx(odds_ratio(table, kind="sample").statistic)
    assert weights.studentised == weights.contrast / weights.contrast_se
    assert weights.w_plus == pytest.approx(math.log((911 / 1490) / (4578 / 8797)))
    assert weights.w_minus == pytest.approx(math.log((579 / 1490) / (4219 / 8797)))


def test_weights_of_many_patterns_and_of_empty_ones():
    many = gp.stats.weights_of_evidence([5, 0, 10], 10, [100, 100, 100], 1000)
    assert np.isfinite(many.contrast).all()
    assert many.contrast[1] < 0 < many.contrast[0] < many.contrast[2]
    alone = gp.stats.weights_of_evidence(0, 10, 100, 1000)
    assert alone.contrast == many.contrast[1] == pytest.approx(math.log((0.5 * 890.5) / (10.5 * 100.5)))
    nothing = gp.stats.weights_of_evidence(1, 10, 100, 1000)
    assert nothing.contrast == pytest.approx(0)
    for counts in ((11, 10, 100, 1000), (5, 10, 4, 1000), (5, 10, 995, 999), (math.nan, 1, 1, 5)):
        with pytest.raises(InputError, match="cannot be counts"):
            gp.stats.weights_of_evidence(*counts)
    for counts in (("many", 10, 100, 1000), ([1, 2], [10, 10, 10], 100, 1000)):
        with pytest.raises(InputError, match=r"n_pattern_ore=.*need numbers, or arrays of one shape"):
            gp.stats.weights_of_evidence(*counts)
