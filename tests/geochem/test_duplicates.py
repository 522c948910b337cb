"""Precision from duplicates: published numbers, planted errors, and what may not change the answer."""

import math

import numpy as np
import pandas as pd
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import geoprospect as gp
from geoprospect.errors import CRSError, InputError
from geoprospect.geochem.duplicates import duplicate_precision, thompson_howarth, variance_components, within_places

UTM = "EPSG:32649"
# Nitrate (mg/kg) in eight lettuce fields, two samples of each, each analysed twice: Eurachem/CITAC Guide
# "Measurement uncertainty arising from sampling", example A1. Classical analysis of variance there: mean 4345.6,
# standard deviations 556.28 between fields, 518.16 of sampling, 148.18 of analysis.
NITRATE = np.array(
    [
        [3898, 4139, 4466, 4693], [3910, 3993, 4201, 4126], [5708, 5903, 4061, 3782], [5028, 4754, 5450, 5416],
        [4640, 4401, 4248, 4191], [5182, 5023, 4662, 4839], [3028, 3224, 3023, 2901], [3966, 4283, 4131, 3788],
    ],
    dtype=float,
)  # fmt: skip


def in_groups(groups, crs=UTM, **more):
    """Return samples of Cu with one place for each group of values."""
    points = [(1000.0 * place, 0.0) for place, group in enumerate(groups) for _ in group]
    return gp.Samples(points, [[value] for group in groups for value in group], ["Cu"], ["ppm"], crs, **more)


def simulated(n, rsd, rng, spread=1.0, floor=0.0):
    """Return n pairs whose results have an error of `rsd` % of the truth, and `floor` besides."""
    truth = np.exp(rng.normal(3, spread, n))
    return (truth + rng.normal(size=(2, n)) * (floor + rsd / 100 * truth)).T


# -- known answers -----------------------------------------------------------------------------


def test_the_published_standard_deviations_of_analysis_and_sampling_come_out():
    analyses = NITRATE.reshape(16, 2)
    found = duplicate_precision(in_groups(analyses)).loc["Cu"]
    assert found["sd"] == pytest.approx(148.18, abs=0.005)
    assert found["n_pairs"] == 16
    means = analyses.mean(axis=1)
    within, between = variance_components(means, np.repeat(np.arange(8), 2))
    assert math.sqrt(within - found["sd"] ** 2 / 2) == pytest.approx(518.16, abs=0.005)
    assert math.sqrt(between) == pytest.approx(556.28, abs=0.005)


def test_two_pairs_worked_by_hand():
    found = duplicate_precision(in_groups([[18, 22], [45, 55], [30]])).loc["Cu"]
    assert found["n_places"] == found["n_pairs"] == 2
    assert found["rsd"] == pytest.approx(100 * math.sqrt((2 * 0.1**2 + 2 * 0.1**2) / 2))
    assert found["rsd_se"] == pytest.approx(found["rsd"] / 2)
    assert found["sd"] == pytest.approx(math.sqrt((8 + 50) / 2))
    assert found[["s0", "k", "rsd_median", "beyond", "p_target"]].isna().all()


def test_places_with_more_than_two_values_are_pooled_by_their_degrees_of_freedom():
    groups = [[9, 10, 11], [4, 6], [20, 24, 28, 20]]
    found = duplicate_precision(in_groups(groups)).loc["Cu"]
    spare = np.array([2, 1, 3])
    variances = np.array([np.var(group, ddof=1) for group in groups])
    means = np.array([np.mean(group) for group in groups])
    assert found["n_places"] == 3
    assert found["n_pairs"] == 4
    assert found["sd"] == pytest.approx(math.sqrt((spare * variances).sum() / 6))
    assert found["rsd"] == pytest.approx(100 * math.sqrt((spare * variances / means**2).sum() / 6))


def test_the_line_of_thompson_and_howarth_goes_through_groups_of_eleven():
    mean = np.repeat([10.0, 20.0, 40.0, 80.0, 160.0], 11)
    difference = np.repeat([1.5, 2.5, 4.5, 8.5, 16.5], 11) * np.tile(np.r_[np.full(5, 0.5), 1, np.full(5, 3.0)], 5)
    order = np.random.default_rng(0).permutation(55)
    rest = np.full(10, 1000.0)
    s0, k = thompson_howarth(np.r_[mean[order], rest], np.r_[difference[order], rest])
    factor = 1 / (math.sqrt(2) * 0.6744898)
    assert s0 == pytest.approx(0.5 * factor, rel=1e-5)
    assert k == pytest.approx(0.1 * factor, rel=1e-5)
    assert np.isnan(thompson_howarth(np.full(22, 3.0), np.ones(22))).all()


def test_a_planted_error_of_ten_per_cent_is_found_within_its_standard_error():
    off = []
    for seed in range(60):
        found = duplicate_precision(in_groups(simulated(80, 10, np.random.default_rng(seed)))).loc["Cu"]
        off.append((found["rsd"] - 10) / found["rsd_se"])
    # The error of a mean of 60 is 0.13; the standard error is that of the estimate, within what 60 tell.
    assert abs(np.mean(off)) < 0.4
    assert 0.75 < np.std(off) < 1.25


def test_the_line_finds_a_planted_floor_and_slope():
    pairs = simulated(4000, 8, np.random.default_rng(1), floor=1.5)
    found = duplicate_precision(in_groups(pairs[(pairs > 0).all(axis=1)])).loc["Cu"]
    assert found["k"] == pytest.approx(0.08, abs=0.008)
    assert found["s0"] == pytest.approx(1.5, abs=0.2)
    assert found["rsd_median"] == pytest.approx(100 * (0.08 + 1.5 / np.median(pairs)), abs=1)


def test_few_pairs_give_no_line_and_no_chart():
    for n, chart, line in ((9, False, False), (10, True, False), (49, True, False), (50, True, True)):
        found = duplicate_precision(in_groups(simulated(n, 5, np.random.default_rng(n)))).loc["Cu"]
        assert math.isfinite(found["p_target"]) is chart
        assert math.isfinite(found["k"]) is line


def test_the_chart_tells_precision_that_keeps_the_target_from_that_which_does_not():
    rng = np.random.default_rng(3)
    p = [duplicate_precision(in_groups(simulated(30, 10, rng))).loc["Cu", "p_target"] for _ in range(200)]
    assert 0.01 < np.mean(np.array(p) < 0.1) < 0.15  # a discrete test keeps its level
    assert duplicate_precision(in_groups(simulated(30, 30, rng))).loc["Cu", "p_target"] < 0.001
    exact = duplicate_precision(in_groups([[5, 5]] * 12)).loc["Cu"]
    assert exact["beyond"] == 0
    assert exact["p_target"] == 1
    assert exact["rsd"] == 0
    assert math.isnan(exact["anova_share"])
    assert duplicate_precision(in_groups([[5, 8]] * 12), target=100).loc["Cu", "beyond"] == 0
    assert duplicate_precision(in_groups([[5, 8]] * 12), target=1).loc["Cu", "beyond"] == 12


def test_the_share_of_the_variance_is_the_planted_one():
    rng = np.random.default_rng(5)
    place, error = rng.normal(0, 0.4, (3000, 1)), rng.normal(0, 0.2, (3000, 2))
    found = duplicate_precision(in_groups(10 ** (1 + place + error))).loc["Cu"]
    assert found["anova_share"] == pytest.approx(0.2, abs=0.01)
    assert found["p_places"] < 1e-10
    noise = duplicate_precision(in_groups(10 ** rng.normal(1, 0.2, (3000, 2)))).loc["Cu"]
    assert noise["anova_share"] > 0.95
    assert noise["p_places"] > 0.01
    still = duplicate_precision(in_groups([[5, 5], [7, 7]])).loc["Cu"]
    assert still["anova_share"] == still["p_places"] == 0


def test_the_kernels_agree_with_a_loop():
    rng = np.random.default_rng(8)
    group = np.sort(rng.permutation(np.r_[np.arange(12), np.arange(12), rng.integers(0, 12, 15)]))
    values = rng.normal(5, 1, len(group)) + group
    parts = [values[group == one] for one in range(12)]
    variance, mean, freedom = within_places(values, group)
    np.testing.assert_allclose(variance, [part.var(ddof=1) for part in parts])
    np.testing.assert_allclose(mean, [part.mean() for part in parts])
    np.testing.assert_array_equal(freedom, [len(part) - 1 for part in parts])
    total = ((values - values.mean()) ** 2).sum()
    inside = sum(((part - part.mean()) ** 2).sum() for part in parts)
    size = (len(values) - sum(len(part) ** 2 for part in parts) / len(values)) / 11
    within, between = variance_components(values, group)
    assert within == pytest.approx(inside / (len(values) - 12))
    assert between == pytest.approx(((total - inside) / 11 - within) / size)


# -- which samples are duplicates --------------------------------------------------------------


def test_samples_nearer_than_the_tolerance_are_one_place():
    points = [[0, 0], [8, 0], [16, 0], [500, 0], [509, 0], [900, 900]]
    samples = gp.Samples(points, [[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]], ["Cu"], ["ppm"], UTM)
    counts = {
        t: duplicate_precision(samples, tolerance=t).loc["Cu", ["n_places", "n_pairs"]].tolist() for t in (0, 8, 9)
    }
    assert counts == {0: [0, 0], 8: [1, 1], 9: [2, 2]}


def test_the_tolerance_is_in_metres_whatever_the_unit_of_the_crs():
    metres = gp.Samples([[500_000, 4_400_000], [500_010, 4_400_000]], [[1.0], [2.0]], ["Cu"], ["ppm"], "EPSG:32613")
    for crs in ("EPSG:32613", "EPSG:4326", "EPSG:2232"):  # the last in US feet
        moved = metres.to_crs(crs)
        assert duplicate_precision(moved, tolerance=10.2).loc["Cu", "n_pairs"] == 1
        assert duplicate_precision(moved, tolerance=9.8).loc["Cu", "n_pairs"] == 0


def test_pairs_may_be_named():
    samples = in_groups([[10], [12], [20], [26], [5]])
    named = duplicate_precision(samples, pairs=[[0, 1], [2, 3]])
    placed = duplicate_precision(in_groups([[10, 12], [20, 26], [5]]))
    pd.testing.assert_frame_equal(named, placed)


def test_places_with_a_value_that_is_not_measured_are_left_out_and_counted():
    values = [[10], [12], [0.5], [9], [7], [math.nan], [0], [4], [1000], [900], [3], [5]]
    groups = np.reshape(values, (6, 2))
    censored, over = np.zeros((12, 1), dtype=bool), np.zeros((12, 1), dtype=bool)
    censored[2], over[8] = True, True
    samples = in_groups(groups, limits=np.where(censored | over, 1.0, math.nan), censored=censored, over_range=over)
    found = duplicate_precision(samples).loc["Cu"]
    assert found[["n_places", "n_pairs", "left_out"]].tolist() == [2, 2, 3]
    assert found["rsd"] == pytest.approx(duplicate_precision(in_groups([[10, 12], [3, 5]])).loc["Cu", "rsd"])
    as_missing = in_groups([[math.nan, 3.0]], limits=[[1], [math.nan]], censored=[[True], [False]])
    assert duplicate_precision(as_missing).loc["Cu", "left_out"] == 1


def test_without_duplicates_all_is_unknown_and_nothing_fails():
    for samples in (in_groups([[1], [2]]), in_groups([[5]]), in_groups([[1, math.nan]])):
        found = duplicate_precision(samples).loc["Cu"]
        assert found[["n_places", "n_pairs", "left_out"]].tolist() == [0, 0, 0]
        assert found.drop(["unit", "n_places", "n_pairs", "left_out"]).isna().all()
    nothing = gp.Samples(np.empty((0, 2)), np.empty((0, 1)), ["Cu"], ["ppm"], UTM)
    assert duplicate_precision(nothing, tolerance=0).loc["Cu", "n_pairs"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": -1}, "tolerance=-1"),
        ({"target": 0}, "target=0"),
        ({"pairs": [0, 1]}, r"shape \(2,\)"),
        ({"pairs": [[0.5, 1]]}, "float64"),
        ({"pairs": [[0, 4]]}, "4 is the position of no sample"),
        ({"pairs": [[-1, 2]]}, "-1 is the position"),
        ({"pairs": [[0, 1], [1, 2]]}, "sample 1 stands in them more than once"),
        ({"pairs": [[2, 2]]}, "sample 2 stands in them more than once"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        duplicate_precision(in_groups([[1, 2], [3, 4]]), **arguments)


def test_samples_are_needed_and_degrees_across_the_antimeridian_are_not_projected():
    with pytest.raises(InputError, match="needs Samples"):
        duplicate_precision(pd.DataFrame())
    wide = gp.Samples([[-179, 0], [179, 0]], [[1.0], [2.0]], ["Cu"], ["ppm"], "EPSG:4326")
    with pytest.raises(CRSError, match="antimeridian"):
        duplicate_precision(wide, tolerance=5)
    assert duplicate_precision(wide).loc["Cu", "n_pairs"] == 0


# -- what may not change the answer ------------------------------------------------------------

GROUPS = st.lists(st.lists(st.floats(0.5, 500), min_size=1, max_size=4), min_size=2, max_size=70)


@settings(max_examples=examples(30, 100))
@given(GROUPS, st.sampled_from([1e-3, 10.0, 1000.0, 1e4]), st.randoms(use_true_random=False))
def test_units_change_only_what_has_a_unit_and_the_order_of_places_nothing(groups, factor, random):
    before = duplicate_precision(in_groups(groups)).loc["Cu"].drop("unit").astype(float)
    mixed = random.sample(groups, len(groups))
    after = duplicate_precision(in_groups([[factor * v for v in one] for one in mixed])).loc["Cu"].drop("unit")
    after = after.astype(float)
    for name in ("sd", "s0"):
        after[name] /= factor
    steady = [name for name in before.index if name not in ("beyond", "p_target")]  # a step at the target
    np.testing.assert_allclose(after[steady], before[steady], rtol=1e-6, atol=1e-9)


@settings(max_examples=examples(30, 100))
@given(GROUPS)
def test_shares_and_probabilities_are_between_0_and_1(groups):
    found = duplicate_precision(in_groups(groups)).loc["Cu"]
    shares = found[["anova_share", "p_places", "p_target"]].dropna()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert found["n_pairs"] == sum(len(group) // 2 for group in groups)
    assert not found["rsd"] < 0


# -- a real survey -----------------------------------------------------------------------------


@pytest.mark.data
def test_the_repeated_sites_of_northern_ireland_tell_steady_elements_from_noise(data_folder):
    """31 sites were sampled twice; trace gold and tin near their limits do not repeat, thorium does."""
    table = pd.read_csv(data_folder / "tellus_ireland" / "samples_clean_ni.csv.gz")
    names = ["Cr_ppm", "Th_ppm", "TiO2_pct", "Sn_ppm", "Au_ppb"]
    samples = gp.Samples(table[["x", "y"]], table[names], [n[:2] for n in names], ["ppm"] * 5, "EPSG:29903")
    found = duplicate_precision(samples)
    assert found["n_pairs"].tolist() == [31, 31, 31, 31, 7]
    assert (found.loc[["Cr", "Th", "Ti"], "rsd"] < 11).all()
    assert (found.loc[["Cr", "Th", "Ti"], "anova_share"] < 0.05).all()
    assert (found.loc[["Sn", "Au"], "anova_share"] > 0.5).all()
    assert found.loc["Sn", "p_target"] < 0.001 < found.loc["Cr", "p_target"]
