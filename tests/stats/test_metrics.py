"""Numbers under their right names, against scikit-learn and against what the paper prints."""

import math
import warnings

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, InputError, NameNotFoundError
from geoprospect.stats.metrics import average_precision, brier_score, calibration_slope

# Scores with many ties, and any scores at all.
scores = st.one_of(st.integers(0, 3).map(float), st.floats(-1e9, 1e9))
labelled = st.lists(st.tuples(st.booleans(), scores), min_size=2, max_size=60)


# -- rank AUC ----------------------------------------------------------------------------------


@given(pairs=labelled)
def test_the_rank_auc_is_that_of_scikit_learn(pairs):
    labels, values = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    assume(0 < labels.sum() < labels.size)
    assert gp.stats.rank_auc(labels, values) == pytest.approx(roc_auc_score(labels, values), abs=1e-12)


@given(pairs=labelled)
def test_the_rank_auc_counts_pairs(pairs):
    ore, barren = [s for label, s in pairs if label], [s for label, s in pairs if not label]
    found = gp.stats.rank_auc([int(label) for label, _ in pairs], [s for _, s in pairs])
    if not ore or not barren:
        assert math.isnan(found)
    else:
        wins = sum((a > b) + 0.5 * (a == b) for a in ore for b in barren)
        assert found == pytest.approx(wins / (len(ore) * len(barren)), abs=1e-12)


@given(pairs=labelled)
def test_turning_the_scores_round_mirrors_the_rank_auc(pairs):
    labels, values = [int(a) for a, _ in pairs], np.array([b for _, b in pairs])
    assume(0 < sum(labels) < len(labels))
    assert gp.stats.rank_auc(labels, -values) == pytest.approx(1 - gp.stats.rank_auc(labels, values), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "values", "message"),
    [([0, 1], [1.0], "have shapes"), ([[0, 1]], [[1.0, 2.0]], "have shapes"), ([0, 2], [1.0, 2.0], r"hold \[2\]"),
     ([0, 1], [1.0, math.nan], "1 of 2 are not finite"), ([0, 1], [math.inf, math.nan], "2 of 2 are not finite")],
)  # fmt: skip
def test_labels_and_scores_that_do_not_fit_are_refused(labels, values, message):
    with pytest.raises(InputError, match=message):
        gp.stats.rank_auc(labels, values)


# -- Z_AUC -------------------------------------------------------------------------------------

# Table 1 of Gao et al. (2022): the AUC is 0.5 + k/244 on 122 ore and 122 barren points.
TABLE_1 = {
    "Au": (25, 0.6024, 2.8395), "Sn": (26, 0.6065, 2.9595), "Ag": (43, 0.6762, 5.1563), "Mn": (14, 0.5573, 1.5617),
    "Zn": (11, 0.5450, 1.2232), "Sb": (23, 0.5942, 2.6017), "Hg": (34, 0.6393, 3.9516), "W": (19, 0.5778, 2.1341),
    "B": (22, 0.5901, 2.4839), "Cu": (32, 0.6311, 3.6977), "Ba": (28, 0.6147, 3.2020), "Pb": (19, 0.5778, 2.1341),
    "As": (16, 0.5655, 1.7893), "Bi": (22, 0.5901, 2.4839), "Mo": (24, 0.5983, 2.7203), "F": (17, 0.5696, 1.9037),
}  # fmt: skip


@pytest.mark.parametrize(("k", "auc", "z"), TABLE_1.values(), ids=TABLE_1.keys())
def test_z_auc_is_what_table_1_prints(k, auc, z):
    exact = 0.5 + k / 244
    assert abs(gp.stats.z_auc(exact, 122, 122)[1] - z) < 1e-4  # the paper cuts digits off, it does not round
    assert 0 <= exact - auc < 1e-4


def test_the_paper_selects_eight_elements_at_2_58():
    selected = {name for name, (k, _, _) in TABLE_1.items() if gp.stats.z_auc(0.5 + k / 244, 122, 122)[1] >= 2.58}
    assert selected == {"Au", "Sn", "Cu", "Ag", "Ba", "Sb", "Hg", "Mo"}


def test_the_standard_error_is_that_of_hanley_and_mcneil():
    # A worked by hand: A = 0.8, n1 = 10, n2 = 20; Q1 = 2/3, Q2 = 32/45.
    variance = (0.16 + 9 * (2 / 3 - 0.64) + 19 * (32 / 45 - 0.64)) / 200
    se, z = gp.stats.z_auc(0.8, 10, 20)
    assert se == pytest.approx(math.sqrt(variance), rel=1e-12)
    assert z == pytest.approx(0.3 / math.sqrt(variance), rel=1e-12)


@given(auc=st.floats(0, 1), n_ore=st.integers(1, 500), n_barren=st.integers(1, 500))
def test_below_one_half_z_is_the_mirror_image(auc, n_ore, n_barren):
    se, z = gp.stats.z_auc(auc, n_ore, n_barren)
    mirrored_se, mirrored_z = gp.stats.z_auc(1 - auc, n_ore, n_barren)
    assert mirrored_se == pytest.approx(se, rel=1e-6, abs=1e-9)
    assert math.isinf(z) or mirrored_z == pytest.approx(-z, rel=1e-6, abs=1e-9)
    assert se >= 0
    assert z * (auc - 0.5) >= 0


def test_at_the_ends_and_in_the_middle():
    assert gp.stats.z_auc(1, 10, 10) == (0.0, math.inf)
    assert gp.stats.z_auc(0, 10, 10) == (0.0, -math.inf)
    se, z = gp.stats.z_auc(0.5, 10, 10)
    assert z == 0
    # At 0.5 it is the variance of the Mann-Whitney statistic, (n1 + n2 + 1) / (12 n1 n2).
    assert se == pytest.approx(math.sqrt(21 / 1200), rel=1e-12)


def test_one_point_of_each_kind_is_a_coin():
    se, z = gp.stats.z_auc(0.75, 1, 1)
    assert se == pytest.approx(math.sqrt(0.75 * 0.25))
    assert z == pytest.approx(0.25 / se)


@pytest.mark.parametrize("arguments", [(1.1, 5, 5), (-0.1, 5, 5), (math.nan, 5, 5), (0.6, 0, 5), (0.6, 5, 2.5)])
def test_z_auc_refuses_what_is_no_auc_or_no_count(arguments):
    with pytest.raises(InputError):
        gp.stats.z_auc(*arguments)


# -- counts ------------------------------------------------------------------------------------


def test_the_headline_of_the_paper_follows_from_its_counts():
    found = gp.stats.Evaluation(tp=16, fp=7, fn=13, tn=108)
    assert found.n == 144
    assert round(found.accuracy, 4) == 0.8611
    assert round(found.balanced_accuracy, 4) == 0.7454
    assert round(found.macro_f1, 4) == 0.7653
    assert round(found.accuracy_barren, 4) == 0.7986


# Table 2: of 102 ore and 104 barren windows these were found. Only for ResNet is an AUC known (it prints 56.53).
@pytest.mark.parametrize(
    ("tp", "tn", "accuracy", "balanced"),
    [(17, 98, 0.5583, 0.5545), (20, 92, 0.5437, 0.5403), (18, 96, 0.5534, 0.5498), (25, 92, 0.5680, 0.5649)],
    ids=["MobileNet", "GoogLeNet", "ShuffleNet", "ResNet"],
)
def test_the_matrices_of_table_2(tp, tn, accuracy, balanced):
    found = gp.stats.Evaluation(tp=tp, fn=102 - tp, tn=tn, fp=104 - tn)
    assert round(found.accuracy, 4) == accuracy
    assert round(found.balanced_accuracy, 4) == balanced


def test_the_best_network_of_table_2_would_not_pass_the_papers_own_screen():
    resnet = gp.stats.Evaluation(tp=25, fn=77, tn=92, fp=12)
    assert gp.stats.z_auc(resnet.balanced_accuracy, 102, 104)[1] == pytest.approx(1.6, abs=0.05)


@settings(max_examples=40)
@given(pairs=labelled, threshold=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_the_scores_are_those_of_scikit_learn(pairs, threshold):
    labels, values = np.array([int(a) for a, _ in pairs]), np.array([b for _, b in pairs])
    called = (values >= threshold).astype(int)
    found = gp.stats.Evaluation.of(labels, values, threshold)
    (tn, fp), (fn, tp) = confusion_matrix(labels, called, labels=[0, 1]).tolist()
    assert (found.tp, found.fp, found.fn, found.tn) == (tp, fp, fn, tn)
    assert found.recall == pytest.approx(recall_score(labels, called, zero_division=0))
    assert found.precision == pytest.approx(precision_score(labels, called, zero_division=0))
    assert found.f1 == pytest.approx(f1_score(labels, called, zero_division=0))
    if 0 < labels.sum() < labels.size:
        assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, called))
        assert found.macro_f1 == pytest.approx(
            f1_score(labels, called, average="macro", labels=[0, 1], zero_division=0)
        )
        assert found.rank_auc == pytest.approx(roc_auc_score(labels, values))


def test_a_score_at_the_threshold_is_called_ore_in_its_own_precision():
    for kind in (np.float32, np.float64):
        assert gp.stats.Evaluation.of([1, 0], np.array([0.7, 0.1], dtype=kind), threshold=0.7).tp == 1


def test_the_frame_holds_the_numbers_of_the_properties():
    found = gp.stats.Evaluation(3, 1, 2, 4, 0.75)
    frame = found.to_frame()["value"]
    assert frame["recall"] == 0.6
    assert frame["rank_auc"] == 0.75
    assert all(frame[name] == getattr(found, name) for name in frame.index)


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (-1, 0, 0, 2), (1.5, 0, 0, 0)])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(InputError):
        gp.stats.Evaluation(*counts)


# -- precision, probabilities ------------------------------------------------------------------

# Probabilities with ties, 0 and 1, and any at all.
chances = st.one_of(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.floats(0, 1))
foretold = st.lists(st.tuples(st.booleans(), chances), min_size=2, max_size=40)


@settings(max_examples=40)
@given(pairs=labelled)
def test_the_average_precision_is_that_of_its_definition(pairs):
    labels, values = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    assume(labels.any())
    total, recall = 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        found = labels[values >= threshold]
        total += (found.sum() / labels.sum() - recall) * found.mean()
        recall = found.sum() / labels.sum()
    assert average_precision(labels, values) == pytest.approx(total, abs=1e-12)


def test_the_average_precision_by_hand():
    # The highest score is barren, then two ore points with one score, then a barren one.
    assert average_precision([0, 1, 1, 0], [4, 3, 3, 1]) == pytest.approx(2 / 3)
    assert average_precision([1, 1, 0, 0], [4, 3, 2, 1]) == 1
    assert average_precision([0, 0, 0, 1], [1, 1, 1, 1]) == 0.25  # a constant score: the share of ore
    assert average_precision([0, 1, 0, 1], [4, 3, 2, 1]) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert math.isnan(average_precision([0, 0], [1, 2]))


@given(pairs=foretold)
def test_the_brier_score_is_that_of_its_definition(pairs):
    labels, p = np.array([int(a) for a, _ in pairs]), np.array([b for _, b in pairs])
    assert brier_score(labels, p) == pytest.approx(np.mean((p - labels) ** 2), abs=1e-12)


def test_the_brier_score_by_hand():
    assert brier_score([1, 0], [1, 0]) == 0
    assert brier_score([1, 0], [0, 1]) == 1
    assert brier_score([1, 0, 0, 0], [0.5] * 4) == 0.25
    assert brier_score([1, 0], [0.6, 0.4]) == pytest.approx(0.16)
    assert math.isnan(brier_score([], []))


def recalibrated(labels, p):
    """Return slope and intercept of scikit-learn's unpenalised logistic regression on the clipped logits."""
    x = logit(np.clip(p, 1e-6, 1 - 1e-6))[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000, solver="newton-cholesky").fit(x, labels)
    return fitted.coef_[0, 0], fitted.intercept_[0]


@pytest.mark.parametrize("seed", range(40))
def test_the_calibration_slope_is_that_of_an_unpenalised_logistic_regression(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(rng.integers(20, 200)) % int(rng.integers(2, 5)) == 0)
    p = np.round(rng.beta(*rng.choice([0.2, 0.5, 1, 3], 2), labels.size), int(rng.integers(2, 9)))
    slope, intercept = calibration_slope(labels, p)
    assert (slope, intercept) == pytest.approx(recalibrated(labels, p), rel=1e-6, abs=1e-8)


def test_probabilities_that_are_too_sure_have_the_slope_that_mends_them():
    rng = np.random.default_rng(0)
    truth = expit(rng.normal(size=40_000))
    labels = rng.random(truth.size) < truth
    assert calibration_slope(labels, truth) == pytest.approx((1, 0), abs=0.05)
    slope, intercept = calibration_slope(labels, expit(2 * logit(truth) + 1))
    assert (slope, intercept) == pytest.approx((0.5, -0.5), abs=0.05)


def test_probabilities_of_0_and_1_are_taken_for_almost_sure():
    labels, p = [0, 0, 1, 0, 1, 1], np.array([0, 0, 0, 1, 1, 1], dtype=float)
    # Two in three are right on either side: log 2 over the logit of 1 - 1e-6.
    slope, intercept = calibration_slope(labels, p)
    assert slope == pytest.approx(math.log(2) / logit(1 - 1e-6))
    assert intercept == pytest.approx(0, abs=1e-9)


def test_a_slope_that_whole_steps_of_newtons_method_miss_is_found():
    # A sure error far out beside much that is alike: the second step overshoots, and the next ones never come back.
    x = np.concatenate([[-0.326, 0.025, 13], np.linspace(-0.327, -0.306, 60)])
    labels, p = np.repeat([0, 1], [3, 60]), expit(x)
    assert calibration_slope(labels, p) == pytest.approx(recalibrated(labels, p), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "p"),
    [([1, 1], [0.2, 0.8]), ([0, 0], [0.2, 0.8]), ([0, 1, 1, 0], [0.5] * 4), ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]),
     ([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4]), ([0, 0, 1, 1], [0.1, 0.2, 0.2, 0.4]),
     ([0, 1, 0, 0, 1], [0.5, 0.5, 0.5, 0.5, 0.9]), ([0, 0, 1, 1, 0], [0.5, 0.3, 0.5 + 1e-13, 0.5, 0.5 + 1e-13])],
)  # fmt: skip
def test_a_slope_that_has_no_end_is_not_given(labels, p):
    assert np.isnan(calibration_slope(labels, p)).all()


@given(pairs=foretold)
def test_a_slope_is_given_exactly_where_the_classes_overlap(pairs):
    ore, barren = [p for label, p in pairs if label], [p for label, p in pairs if not label]
    slope, intercept = calibration_slope([int(label) for label, _ in pairs], [p for _, p in pairs])
    clip = [np.clip(part, 1e-6, 1 - 1e-6) for part in (ore, barren)]
    overlap = bool(ore and barren) and clip[0].min() < clip[1].max() and clip[1].min() < clip[0].max()
    if not overlap:
        assert math.isnan(slope)
    elif np.ptp(np.concatenate(clip)) > 0.01:
        assert math.isfinite(slope)
    assert math.isnan(slope) == math.isnan(intercept)


@pytest.mark.parametrize("score", [brier_score, calibration_slope])
def test_what_is_no_probability_is_refused(score):
    for wrong in (-0.1, 1.5):
        with pytest.raises(InputError, match=rf"probabilities: {wrong} and 0 more are not within 0 and 1.*rank_auc"):
            score([0, 1], [0.5, wrong])
    with pytest.raises(InputError, match="not finite"):
        score([0, 1], [0.5, math.nan])


# -- evaluate ----------------------------------------------------------------------------------

GRID = gp.Grid("EPSG:32649", Affine(1000, 0, 500_000, 0, -1000, 2_400_000), (20, 20))


def cells(probability=(0.9, 0.2, 0.6, 0.1)):
    """Return four cells of 10 km: 1 2 above 3 4."""
    return GRID.cells(2, 2).assign(probability=list(probability))


def deposits(*places, crs="EPSG:32649"):
    """Return deposits at (east, south) in km from the north-west corner."""
    points = [(500_000 + 1000 * east, 2_400_000 - 1000 * south) for east, south in places]
    return gpd.GeoDataFrame(geometry=shapely.points(points), crs="EPSG:32649").to_crs(crs)


def counts(found):
    return found.tp, found.fp, found.fn, found.tn


@pytest.mark.parametrize("crs", ["EPSG:32649", "EPSG:4326", "EPSG:32650"])
def test_a_cell_with_a_deposit_is_ore_in_any_crs(crs):
    found = gp.stats.evaluate(cells(), deposits((1, 1), (19, 19), crs=crs))
    assert counts(found) == (1, 1, 1, 1)
    assert found.rank_auc == 0.5


def test_several_deposits_in_a_cell_make_one_ore_cell():
    assert counts(gp.stats.evaluate(cells(), deposits((1, 1), (2, 2), (9, 9)))) == (1, 1, 0, 2)


@pytest.mark.parametrize(
    ("place", "cell"), [((10, 5), 1), ((5, 10), 1), ((10, 10), 1), ((15, 10), 2), ((10, 15), 3), ((20, 20), 4)]
)
def test_a_deposit_on_the_line_belongs_to_the_cell_in_the_north_west_alone(place, cell):
    probability = np.where(np.arange(1, 5) == cell, 0.9, 0.1)
    found = gp.stats.evaluate(cells(probability), deposits(place))
    assert counts(found) == (1, 0, 0, 3)


def test_deposits_outside_of_all_cells_are_said_and_left_out():
    with pytest.warns(DataWarning, match="2 of 3 lie outside of all cells"):
        found = gp.stats.evaluate(cells(), deposits((1, 1), (-1, 1), (50, 50)))
    assert counts(found) == (1, 1, 0, 2)


def test_without_a_deposit_in_a_cell_there_is_no_rank_auc():
    with pytest.warns(DataWarning, match="1 of 1"):
        found = gp.stats.evaluate(cells(), deposits((-5, 5)))
    assert counts(found) == (0, 2, 0, 2)
    assert math.isnan(found.rank_auc)


def test_cells_without_a_probability_do_not_count():
    with pytest.warns(DataWarning, match="1 of 2 lie outside"):
        found = gp.stats.evaluate(cells([math.nan, 0.2, 0.6, 0.1]), deposits((1, 1), (1, 19)))
    assert counts(found) == (1, 0, 0, 2)


def test_the_threshold_itself_is_ore():
    assert counts(gp.stats.evaluate(cells(), deposits((1, 1)), threshold=0.6)) == (1, 1, 0, 2)
    assert counts(gp.stats.evaluate(cells(), deposits((1, 1)), threshold=0.61)) == (1, 0, 0, 3)


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(NameNotFoundError, match=r"has no column 'probability'.*predict_cells"):
        gp.stats.evaluate(GRID.cells(2, 2), deposits((1, 1)))
    with pytest.raises(InputError, match="none has a probability"):
        gp.stats.evaluate(cells([math.nan] * 4), deposits((1, 1)))
    for bare, whole in ((cells(), deposits((1, 1)).set_crs(None, allow_override=True)),
                        (cells().set_crs(None, allow_override=True), deposits((1, 1)))):  # fmt: skip
        with pytest.raises(CRSError, match="carry no CRS"):
            gp.stats.evaluate(bare, whole)


def test_deposits_without_a_place_are_outside():
    frame = deposits((1, 1), (2, 2))
    frame.loc[1, "geometry"] = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert counts(gp.stats.evaluate(cells(), frame)) == (1, 1, 0, 2)
    assert any("1 of 2" in str(warning.message) for warning in caught)
