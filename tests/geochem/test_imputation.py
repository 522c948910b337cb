"""Estimates for values below detection: published figures, slow references, and distributions whose truth is known."""

import math

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import geoprospect as gp
from geoprospect.errors import DataWarning, InputError
from geoprospect.geochem import imputation
from geoprospect.geochem.imputation import METHODS, impute, plotting_positions

# Limits, measured values and what is estimated below the limits. Helsel & Cohn (1988), appendix B, cut off there after
# two decimals: https://doi.org/10.1029/WR024i012p01997
HELSEL_COHN = [1.0] * 6 + [10.0] * 3, [3.0, 7.0, 9.0, 12.0, 15.0, 20.0, 27.0, 33.0, 50.0]
HELSEL_COHN_ESTIMATES = [0.475, 0.855, 1.115, 1.275, 1.765, 2.345, 2.505, 3.035, 4.805]
# Arsenic in Manoa Stream, Oahu (µg/L): Helsel, D. R. (2005). Nondetects and Data Analysis, Wiley.
OAHU = [0.9] + [1.0] * 4 + [2.0] * 8, [0.5, 0.5, 0.5, 0.6, 0.7, 0.7, 0.9, 1.5, 1.7, 2.8, 3.2]
OAHU_ESTIMATES = [0.35, 0.41, 0.46, 0.57, 0.58, 0.61, 0.68, 0.76, 0.81, 0.95, 0.98, 1.14, 1.42]
# An example of the package NADA for R (Lee & Helsel 2005, https://doi.org/10.1016/j.cageo.2005.03.012), as in the tests
# of statsmodels.imputation.ros. One estimate, 1.104, is above its limit of 1.
NADA_MEASURED = [0.101, 0.136, 0.34, 0.457, 0.514, 0.629, 0.638, 0.774, 0.788, 1.0, 1.1, 2.0, 2.0, 2.404, 2.86, 3.0]
NADA_MEASURED += [3.0, 3.705, 4.0, 5.0, 5.96, 6.0, 7.214, 16.0, 17.716, 25.0, 51.0]
NADA = [0.09] * 3 + [0.9] * 3 + [1.0] * 17, NADA_MEASURED
NADA_ESTIMATES = [0.01711, 0.01908, 0.03374, 0.03826, 0.05287, 0.06081, 0.07506, 0.08746, 0.10082, 0.1307, 0.16539]
NADA_ESTIMATES += [0.20569, 0.25258, 0.25258, 0.30725, 0.37123, 0.44637, 0.53507, 0.58544, 0.64042, 0.76644, 0.91851]
NADA_ESTIMATES += [1.10391]
NAN = math.nan


def one_element(limits, measured):
    """Return values, limits and marks of one element, in no order."""
    order = np.random.default_rng(0).permutation(len(limits) + len(measured))
    values = np.r_[np.full(len(limits), NAN), measured][order, None]
    bounds = np.r_[limits, np.full(len(measured), NAN)][order, None]
    return values, bounds, np.isnan(values)


def compositions(n, d, rng, factors=2):
    """Return n samples of d parts that vary by a few common factors and by themselves, in ppm."""
    load = rng.normal(size=(d, factors))
    logs = rng.normal(3, 1, d) + rng.normal(size=(n, factors)) @ load.T + rng.normal(0, 0.4, (n, d))
    return 1e6 * np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)


def censored_at(truth, shares):
    """Return values, limits and marks where the lowest share of each element is below detection."""
    limits = np.array([np.quantile(column, share) for column, share in zip(truth.T, shares, strict=True)])
    limits = np.where(np.array(shares) > 0, limits, NAN) * np.ones_like(truth)
    censored = truth < limits
    return np.where(censored, NAN, truth), limits, censored


def clr(values):
    logs = np.log(values)
    return logs - logs.mean(axis=1, keepdims=True)


# -- what holds for every method ---------------------------------------------------------------


@pytest.mark.parametrize(("method", "factor"), [("half", 0.5), ("sqrt2", 0.5**0.5), ("nan", NAN)])
def test_a_share_of_the_limit_or_nothing_takes_the_place(method, factor):
    values = np.array([[7.0, 3.0], [5.0, NAN], [NAN, 2.0]])
    limits = np.array([[2.0, NAN], [NAN, NAN], [4.0, 8.0]])
    censored = np.array([[True, False], [False, False], [True, True]])
    found = impute(values, limits, censored, method)
    np.testing.assert_allclose(found, [[2 * factor, 3], [5, NAN], [4 * factor, 8 * factor]], rtol=1e-15)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=examples(30, 100))
@given(seed=st.integers(0, 2**32), share=st.floats(0.02, 0.7), gaps=st.floats(0, 0.3))
def test_measured_and_missing_stay_and_estimates_lie_between_zero_and_their_limit(method, seed, share, gaps):
    rng = np.random.default_rng(seed)
    truth = rng.lognormal(0, rng.uniform(0.1, 3), (60, 5)) * rng.lognormal(0, 1, (60, 1))
    limits = np.quantile(truth, np.clip(share * np.array([0.5, 1.0, 1.3]), 0, 0.75), axis=0)[rng.integers(0, 3, 60)]
    missing = rng.random(truth.shape) < gaps
    missing[:, 0] = False
    censored = (truth < limits) & ~missing
    censored[:, 0] = False
    values = np.where(missing, NAN, np.where(censored, -1.0, truth))
    given_values, given_limits = values.copy(), limits.copy()
    found = impute(values, limits, censored, method)
    np.testing.assert_array_equal(found[~censored], values[~censored])
    if method != "nan":
        assert (found[censored] > 0).all()
        assert (found[censored] < limits[censored]).all()
    np.testing.assert_array_equal(values, given_values)
    np.testing.assert_array_equal(limits, given_limits)
    np.testing.assert_array_equal(found, impute(values, limits, censored, method))


@pytest.mark.parametrize("method", METHODS)
def test_where_nothing_is_censored_nothing_changes(method):
    values = np.array([[0.0, NAN], [-3.0, 2.0]])
    none = np.zeros((2, 2), dtype=bool)
    np.testing.assert_array_equal(impute(values, np.full((2, 2), NAN), none, method), values)


def test_a_method_that_is_not_known_is_an_error():
    with pytest.raises(InputError, match=r"method='lrme'.*did you mean 'lrem'"):
        impute(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1), dtype=bool), "lrme")


@pytest.mark.parametrize("method", ["half", "sqrt2", "ros", "lrem"])
@pytest.mark.parametrize(("limit", "words"), [(NAN, "with no limit"), (math.inf, "no limit"), (0.0, "a limit of 0")])
def test_a_limit_that_is_missing_or_zero_is_an_error(method, limit, words):
    values, limits, censored = np.ones((9, 2)), np.ones((9, 2)), np.zeros((9, 2), dtype=bool)
    censored[:3, 1], limits[:2, 1] = True, limit
    with pytest.raises(InputError, match=rf"{words}.*\(Au: 2\).*method='nan'"):
        impute(values, limits, censored, method, elements=["Cu", "Au"])
    assert np.isnan(impute(values, limits, censored, "nan")[:3, 1]).all()


@pytest.mark.parametrize("method", ["ros", "lrem"])
def test_too_few_measured_values_are_an_error_that_counts_them(method):
    values = np.column_stack(
        [np.arange(1, 21.0), np.r_[np.full(17, NAN), 2, 3, 4], np.r_[np.full(10, NAN), [5, 6] * 5]]
    )
    censored = np.isnan(values)
    with pytest.raises(InputError, match=r"\(Au: 3 of 20, 3 different, Ag: 10 of 20, 2 different\).*method='half'"):
        impute(values, np.ones((20, 3)), censored, method, elements=["Cu", "Au", "Ag"])


@pytest.mark.parametrize("method", ["ros", "lrem"])
def test_zero_has_no_logarithm(method):
    values, limits, censored = one_element([1.0] * 4, [0.0, -2.0, 3.0, 4.0, 5.0, 6.0])
    with pytest.raises(InputError, match=r"0 or negative \(column 0: 2\).*zero='below'"):
        impute(values, limits, censored, method)


# -- regression on order statistics ------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "estimates", "atol"),
    [(HELSEL_COHN, HELSEL_COHN_ESTIMATES, 0.0051), (OAHU, OAHU_ESTIMATES, 0.0051), (NADA, NADA_ESTIMATES, 6e-6)],
    ids=["1988", "Oahu", "NADA"],
)
def test_the_line_of_order_statistics_gives_the_published_estimates(data, estimates, atol):
    values, limits, censored = (one[:, 0] for one in one_element(*data))
    np.testing.assert_allclose(np.sort(on_the_line(values, limits, censored)), estimates, atol=atol)


def on_the_line(values, limits, censored, positions=plotting_positions):
    """Return what regression on order statistics puts in the place of the censored, wherever their limits are."""
    x = np.where(censored, limits, values)
    score = stats.norm.ppf(positions(x, censored))
    line = stats.linregress(score[~censored], np.log(x[~censored]))
    return np.exp(line.intercept + line.slope * score[censored])


def slow_positions(x, censored):
    """Helsel and Cohn's formulas, limit after limit; the lowest interval has no limit."""
    limits = [0.0, *sorted(set(x[censored]))]
    exceed = [0.0] * (len(limits) + 1)
    above, at = [0] * len(limits), [0] * len(limits)
    for j in reversed(range(len(limits))):
        upper = limits[j + 1] if j + 1 < len(limits) else math.inf
        above[j] = sum(limits[j] <= v < upper for v in x[~censored])
        below = sum(v < limits[j] for v in x[~censored]) + sum(v <= limits[j] for v in x[censored])
        at[j] = sum(v == limits[j] for v in x[censored])
        share = above[j] / (above[j] + below) if above[j] + below else 1.0
        exceed[j] = exceed[j + 1] + share * (1 - exceed[j + 1])
    positions, seen = np.empty(len(x)), {}
    for i in sorted(range(len(x)), key=lambda i: x[i]):
        j = max(j for j in range(len(limits)) if limits[j] <= x[i])
        key = j, bool(censored[i])
        seen[key] = rank = seen.get(key, 0) + 1
        if censored[i]:
            positions[i] = (1 - exceed[j]) * rank / (at[j] + 1)
        else:
            positions[i] = 1 - exceed[j] + (exceed[j] - exceed[j + 1]) * rank / (above[j] + 1)
    return positions


@given(seed=st.integers(0, 2**32), n=st.integers(2, 60), n_limits=st.integers(1, 5))
def test_plotting_positions_are_those_of_the_formulas(seed, n, n_limits):
    rng = np.random.default_rng(seed)
    truth = rng.lognormal(0, 1, n).round(1) + 0.1  # with ties, also with limits
    limits = rng.choice([0.3, 0.5, 1.0, 2.0, 9.0][:n_limits], n)
    censored = truth < limits
    censored[0] = True
    x = np.where(censored, limits, truth)
    found = plotting_positions(x, censored)
    assert ((found > 0) & (found < 1)).all()
    np.testing.assert_allclose(found, slow_positions(x, censored), rtol=1e-12)


@given(seed=st.integers(0, 2**32))
def test_ros_stands_on_the_line_or_just_below_the_limit(seed):
    rng = np.random.default_rng(seed)
    truth = rng.lognormal(0, 1, 50)
    limits = rng.choice([0.3, 0.6, 1.0], 50)
    censored = truth < limits
    censored[:2], censored[2:12] = True, False
    expected = np.minimum(on_the_line(truth, limits, censored, slow_positions), limits[censored])
    found = impute(truth[:, None], limits[:, None], censored[:, None], "ros")[censored, 0]
    for limit in np.unique(limits[censored]):  # which is which below one limit is drawn
        same = limits[censored] == limit
        np.testing.assert_allclose(np.sort(found[same]), np.sort(expected[same]), rtol=1e-9)


def test_a_limit_above_all_measured_values_moves_no_other_estimate():
    limits, measured = HELSEL_COHN
    values, bounds, censored = one_element(limits, measured)
    before = impute(values, bounds, censored, "ros")
    more = [np.vstack([one, row]) for one, row in ((values, [[NAN]]), (bounds, [[400.0]]), (censored, [[True]]))]
    after = impute(*more, "ros")
    np.testing.assert_allclose(np.sort(after[:-1], axis=0), np.sort(before, axis=0), rtol=1e-12)
    assert min(measured) < after[-1, 0] < max(measured), "it may be anything, and gets the middle"


def test_ros_recovers_mean_and_spread_of_the_logarithms_where_half_the_limit_does_not():
    rng = np.random.default_rng(1)
    truth = rng.lognormal(1, 1.2, (4000, 1))
    limits = rng.choice([1.0, 2.0, 4.0], (4000, 1))
    censored = truth < limits
    assert 0.3 < censored.mean() < 0.5
    errors = {}
    for method in ("ros", "half"):
        logs = np.log(impute(np.where(censored, NAN, truth), limits, censored, method))
        errors[method] = abs(logs.mean() - 1), abs(logs.std() - 1.2)
    assert max(errors["ros"]) < 0.04
    assert max(errors["half"]) > 0.15


def test_ros_makes_no_trend_along_the_table_and_no_correlation():
    rng = np.random.default_rng(2)
    truth = rng.lognormal(0, 1, (3000, 2))
    censored = truth < 0.8
    found = np.log(impute(truth, np.full(truth.shape, 0.8), censored, "ros"))
    both = censored.all(axis=1)
    assert both.sum() > 400
    assert abs(np.corrcoef(found[both].T)[0, 1]) < 0.12
    assert abs(stats.spearmanr(found[censored[:, 0], 0], np.arange(censored[:, 0].sum())).statistic) < 0.08


# -- log-ratio EM ------------------------------------------------------------------------------


def textbook_em(values, limits, censored, steps=2000):
    """EM on additive log-ratios to the last part, sample by sample; not more than one part censored in each."""
    logs = np.log(np.where(censored, limits / 2, values))
    y = logs[:, :-1] - logs[:, -1:]
    ceilings = np.log(limits[:, :-1]) - logs[:, -1:]
    spread = np.zeros((y.shape[1], y.shape[1]))
    for _ in range(steps):
        mean = y.mean(axis=0)
        cov = ((y - mean).T @ (y - mean) + spread) / len(y)
        spread, before = np.zeros_like(cov), y.copy()
        for i in np.flatnonzero(censored.any(axis=1)):
            (h,) = np.flatnonzero(censored[i])
            rest = [j for j in range(y.shape[1]) if j != h]
            slope = np.linalg.solve(cov[np.ix_(rest, rest)], cov[rest, h])
            middle, sd = mean[h] + slope @ (y[i, rest] - mean[rest]), math.sqrt(cov[h, h] - slope @ cov[rest, h])
            at = (ceilings[i, h] - middle) / sd
            ratio = math.exp(-(at**2) / 2) / math.sqrt(math.pi / 2) / math.erfc(-at / math.sqrt(2))
            y[i, h] = middle - sd * ratio
            spread[h, h] += sd**2 * (1 - at * ratio - ratio**2)
        if np.abs(y - before).max() < 1e-7:
            break
    return np.exp(np.column_stack([y + logs[:, -1:], logs[:, -1]]))


def test_lrem_agrees_with_the_textbook_where_one_part_is_censored():
    rng = np.random.default_rng(3)
    truth = compositions(80, 4, rng)
    limits = np.quantile(truth, [0.3, 0.5], axis=0)[rng.integers(0, 2, 80)]
    censored = truth < limits
    censored[:, -1] = False
    censored &= np.cumsum(censored, axis=1) == 1
    assert censored.sum() > 30
    found = impute(np.where(censored, NAN, truth), limits, censored, "lrem")
    np.testing.assert_allclose(found, textbook_em(truth, limits, censored), rtol=2e-3)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_moments_of_several_truncated_logarithms_are_those_of_a_brute_force_sample(d):
    rng = np.random.default_rng(d)
    spread = rng.normal(size=(d + 2, d))
    cov, mean, ceilings = spread.T @ spread / d + 0.3 * np.eye(d), rng.normal(size=d), rng.normal(0.3, 0.5, d)
    drawn = rng.multivariate_normal(mean, cov, 2_000_000)
    drawn = drawn[(drawn[:, :-1] < ceilings[:-1]).all(axis=1)]  # the last is missing, not below a limit
    assert len(drawn) > 20_000
    ceilings[-1] = math.inf
    which, zeros = np.arange(d)[None], np.zeros((1, d))
    factors = zeros, zeros
    for _ in range(100):
        middle, within, *factors = imputation._hidden(
            zeros.copy(), mean[None], np.linalg.inv(cov), ceilings[None], which, *factors
        )
    sd = np.sqrt(np.diag(cov))
    np.testing.assert_allclose(middle[0] / sd, drawn.mean(axis=0) / sd, atol=0.02)
    np.testing.assert_allclose(within[0] / np.outer(sd, sd), np.cov(drawn.T) / np.outer(sd, sd), atol=0.03)


def test_far_tails_of_the_normal_distribution_are_no_trouble():
    which, zero = np.zeros((1, 1), dtype=int), np.zeros((1, 1))
    for ceiling in (-1e4, -300.0, -30.0, 0.0, 30.0, 1e4):
        middle, within, *_ = imputation._hidden(zero.copy(), zero, np.eye(1), zero + ceiling, which, zero, zero)
        assert np.isfinite(middle).all()
        assert middle[0, 0] < min(ceiling, 1e-9)
        if -1e3 < ceiling < -1:
            assert middle[0, 0] - ceiling == pytest.approx(1 / ceiling, rel=0.2)
        assert within[0, 0, 0] == 1, "the factor comes in the next step"


def log_ratio_errors(truth, values):
    """Return how far mean, covariance and correlations of log-ratios are from those of the truth, root mean square."""
    true, found = clr(truth), clr(values)
    sd = true.std(axis=0)
    return (
        np.sqrt(np.mean(((found.mean(axis=0) - true.mean(axis=0)) / sd) ** 2)),
        np.sqrt(np.mean(((np.cov(found.T) - np.cov(true.T)) / np.outer(sd, sd)) ** 2)),
        np.sqrt(np.mean((np.corrcoef(found.T) - np.corrcoef(true.T)) ** 2)),
    )


@pytest.mark.parametrize("seed", range(4))
def test_lrem_recovers_mean_and_covariance_of_log_ratios_better_than_half_the_limit(seed):
    truth = compositions(1000, 10, np.random.default_rng(seed))
    values, limits, censored = censored_at(truth, [0.3] * 6 + [0.0] * 4)
    found = {method: impute(values, limits, censored, method) for method in ("half", "lrem")}
    half, lrem = (log_ratio_errors(truth, found[method]) for method in ("half", "lrem"))
    assert all(ours < 0.6 * theirs for ours, theirs in zip(lrem, half, strict=True)), (lrem, half)
    missed = {method: np.sqrt(np.mean(np.log(one[censored] / truth[censored]) ** 2)) for method, one in found.items()}
    assert missed["lrem"] < 0.75 * missed["half"]
    assert abs(np.log(found["lrem"][censored] / truth[censored]).mean()) < 0.05


def test_no_part_needs_to_be_complete():
    rng = np.random.default_rng(5)
    truth = compositions(600, 9, rng)
    values, limits, censored = censored_at(truth, [0.15] * 9)
    holes = (rng.random(truth.shape) < 0.1) & ~censored
    values[holes] = NAN
    assert np.isnan(values).any(axis=0).all()
    found = impute(values, limits, censored, "lrem")
    assert np.isnan(found[holes]).all()
    missed = np.log(found[censored] / truth[censored])
    assert np.sqrt(np.mean(missed**2)) < np.sqrt(np.mean(np.log(limits[censored] / 2 / truth[censored]) ** 2))
    assert abs(missed.mean()) < 0.1


def test_an_element_that_one_campaign_did_not_analyse_does_not_bend_the_others():
    truth = compositions(1200, 6, np.random.default_rng(6))
    values, limits, censored = censored_at(truth, [0.4, 0.4, 0.0, 0.0, 0.0, 0.0])
    whole = impute(values, limits, censored, "lrem")
    values[600:, 3] = NAN
    part = impute(values, limits, censored, "lrem")
    assert np.isnan(part[600:, 3]).all()
    for at in (slice(0, 600), slice(600, None)):
        missed = np.log(part[at, :2][censored[at, :2]] / truth[at, :2][censored[at, :2]])
        assert abs(missed.mean()) < 0.12
    np.testing.assert_allclose(np.log(part[:600, :2]), np.log(whole[:600, :2]), atol=0.25)


def test_units_and_dilution_change_nothing_but_the_scale():
    rng = np.random.default_rng(7)
    truth = compositions(300, 5, rng)
    values, limits, censored = censored_at(truth, [0.3, 0.3, 0.2, 0.0, 0.0])
    plain = impute(values, limits, censored, "lrem")
    for factor in (np.array([1e-4, 1e3, 1.0, 1e4, 7.0]), rng.lognormal(0, 2, (300, 1))):
        scaled = impute(values * factor, limits * factor, censored, "lrem")
        np.testing.assert_allclose(scaled, plain * factor, rtol=2e-3)  # to where the steps come to rest


@pytest.mark.parametrize("n", [9, 40])
def test_elements_that_vary_little_are_estimated_as_those_that_vary_much(n):
    values, limits, censored = censored_at(compositions(n, 8, np.random.default_rng(15)), [0.3] * 4 + [0.0] * 4)
    much = impute(values, limits, censored, "lrem")
    little = impute(values**0.01, limits**0.01, censored, "lrem")
    np.testing.assert_allclose(np.log(little), 0.01 * np.log(much), rtol=1e-6)


def test_a_copy_of_an_element_tells_what_the_other_method_did_not_see():
    rng = np.random.default_rng(8)
    truth = compositions(200, 5, rng)
    truth[:, 1] = 1.43 * truth[:, 0]  # Fe2O3 beside Fe
    values, limits, censored = censored_at(truth, [0.4, 0.0, 0.2, 0.0, 0.0])
    found = impute(values, limits, censored, "lrem")
    np.testing.assert_allclose(found[:, 0], truth[:, 0], rtol=5e-3)


def test_two_elements_that_keep_one_ratio_are_enough():
    iron = np.random.default_rng(8).lognormal(1, 0.5, 50)
    values, limits, censored = censored_at(np.column_stack([iron, 1.43 * iron]), [0.4, 0.0])
    np.testing.assert_allclose(impute(values, limits, censored, "lrem")[:, 0], iron, rtol=1e-4)


def test_parts_that_are_almost_as_many_as_samples_give_finite_estimates():
    truth = compositions(25, 20, np.random.default_rng(9))
    values, limits, censored = censored_at(truth, [0.3] * 15 + [0.0] * 5)
    found = impute(values, limits, censored, "lrem")
    assert np.isfinite(found).all()


def test_lrem_needs_more_samples_than_elements_and_two_elements():
    truth = compositions(10, 10, np.random.default_rng(10))
    values, limits, censored = censored_at(truth, [0.3] + [0.0] * 9)
    with pytest.raises(InputError, match=r"10 samples of 10 elements.*more samples than elements"):
        impute(values, limits, censored, "lrem")
    with pytest.raises(InputError, match=r"samples of 1 elements; needs two"):
        impute(values[:, :1], limits[:, :1], censored[:, :1], "lrem")


def test_a_sample_in_which_nothing_is_measured_is_an_error():
    truth = compositions(50, 3, np.random.default_rng(11))
    values, limits, censored = censored_at(truth, [0.2, 0.2, 0.0])
    values[7], censored[7], limits[7] = NAN, [True, True, False], 1.0
    with pytest.raises(
        InputError, match=r"1 samples have values below detection and none that is measured \(sample 7\)"
    ):
        impute(values, limits, censored, "lrem")
    censored[7] = False  # missing altogether: nothing to do
    assert np.isnan(impute(values, limits, censored, "lrem")[7]).all()


def test_an_element_that_is_hardly_measured_is_not_asked():
    truth = compositions(200, 4, np.random.default_rng(12))
    values, limits, censored = censored_at(truth, [0.3, 0.0, 0.0, 0.0])
    values[10:, 3] = NAN
    found = impute(values, limits, censored, "lrem")
    np.testing.assert_array_equal(found[:, :3], impute(values[:, :3], limits[:, :3], censored[:, :3], "lrem"))
    np.testing.assert_array_equal(found[:, 3], values[:, 3])


def test_many_samples_are_solved_in_blocks_with_the_same_result(monkeypatch):
    values, limits, censored = censored_at(compositions(300, 5, np.random.default_rng(14)), [0.3] * 3 + [0.0] * 2)
    whole = impute(values, limits, censored, "lrem")
    monkeypatch.setattr(imputation, "_BLOCK", 50)
    np.testing.assert_allclose(impute(values, limits, censored, "lrem"), whole, rtol=1e-9)


def test_steps_that_do_not_come_to_rest_are_said(monkeypatch):
    monkeypatch.setattr(imputation, "_STEPS", 3)
    truth = compositions(100, 4, np.random.default_rng(13))
    with pytest.warns(DataWarning, match=r"has not come to rest after 3 steps.*\(100 of 4 elements\)"):
        impute(*censored_at(truth, [0.5, 0.0, 0.0, 0.0]), "lrem")


# -- real surveys ------------------------------------------------------------------------------


@pytest.mark.data
def test_kola_soils_are_recovered_better_than_by_half_the_limit(data_folder):
    path = data_folder / "classics" / "robCompositions_chorizonDL.csv"
    names = ["Al", "Ba", "Ca", "Co", "Cr", "Cu", "Fe", "La", "Mg", "Mn", "Ni", "P", "Pb", "Sr", "V", "Y", "Zn"]
    samples = gp.read_samples(path, "XCOO", "YCOO", "EPSG:32636", names, "ppm")
    truth = samples.values
    assert (truth > 0).all()
    values, limits, censored = censored_at(
        truth, [0.3 if name in ("Cu", "Ni", "Co", "La", "Zn") else 0.0 for name in names]
    )
    missed = {
        method: np.log(impute(values, limits, censored, method)[censored] / truth[censored])
        for method in ("half", "ros", "lrem")
    }
    rms = {method: np.sqrt(np.mean(one**2)) for method, one in missed.items()}
    assert rms["lrem"] < 0.7 * rms["half"]
    assert rms["lrem"] < rms["ros"]
    assert abs(missed["lrem"].mean()) < 0.1


@pytest.mark.data
def test_kola_soils_with_their_own_limits(data_folder):
    path = data_folder / "classics" / "robCompositions_chorizonDL.csv"
    names = ["Ag", "Al", "As", "Ba", "Bi", "Ca", "Cr", "Cu", "Fe", "K", "Mg", "Mn", "S", "Sc", "Zn"]
    with pytest.warns(DataWarning, match="detection limit"):
        samples = gp.read_samples(path, "XCOO", "YCOO", "EPSG:32636", names, "ppm", zero="below")
    assert samples.censored.sum() == 33
    found = gp.replace_censored(samples, "lrem")
    below = samples.censored
    assert ((found.values[below] > 0) & (found.values[below] < samples.limits[below])).all()
    np.testing.assert_array_equal(found.values[~below], samples.values[~below])
