"""Statistical figures are checked by what they hold: curves, bands, bars, thresholds, places of labels."""

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from scipy.stats import beta, binom, norm, spearmanr
from sklearn.metrics import roc_curve

import geoprospect as gp
from geoprospect import plotting
from geoprospect.errors import DataWarning, InputError, NameNotFoundError
from geoprospect.plotting import charts
from geoprospect.plotting.charts import (
    censoring_bars,
    confusion_matrix,
    correlation_matrix,
    ecdf_panel,
    log_ratio_biplot,
    roc_panel,
    training_curves,
    z_auc_bars,
)

NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _no_figure_left() -> Iterator[None]:
    yield
    plt.close("all")


def labels_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def drawn(ax: Axes) -> Axes:
    """Draw the whole figure: some errors and warnings come only then."""
    ax.figure.canvas.draw()
    return ax


def texts_of(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def names_on(ax: Axes) -> list[str]:
    return [tick.get_text() for tick in ax.get_yticklabels()]


def samples(values, names=None, **extra) -> gp.Samples:
    values = np.asarray(values, dtype=np.float64)
    names = [f"E{i}" for i in range(values.shape[1])] if names is None else names
    points = np.column_stack([np.arange(len(values)), np.zeros(len(values))])
    return gp.Samples(points, values, names, ["ppm"] * len(names), "EPSG:32649", **extra)


def lognormal(n: int = 200, e: int = 5, seed: int = 0) -> gp.Samples:
    return samples(np.random.default_rng(seed).lognormal(2, 1, (n, e)))


# -- receiver operating characteristics --------------------------------------------------------


def test_roc_curves_are_ranked_by_their_area_beside_the_diagonal():
    truth = [0, 0, 1, 1]
    ax = drawn(roc_panel({"Pb": (truth, [4, 3, 2, 1]), "Cu": (np.array(truth, bool), [1, 2, 3, 4])}))
    assert [label.split()[0] for label in labels_of(ax)] == ["1.000", "0.000", "0.500"]
    assert [label.split()[-1] for label in labels_of(ax)] == ["Cu", "Pb", "chance"]
    np.testing.assert_array_equal(ax.lines[-1].get_xydata(), [[0, 0], [1, 1]])
    assert (ax.lines[1].get_xdata()[0], ax.lines[1].get_ydata()[-1]) == (0, 1)
    assert ax.get_aspect() == 1


def test_many_roc_curves_differ_in_colour_or_dash():
    ax = roc_panel({str(i): ([0, 1], [0, 1]) for i in range(16)})
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines[:-1]}) == 16


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_legend_holds_the_interval_of_the_area(level: float):
    rng = np.random.default_rng(0)
    truth, scores = np.repeat([0, 1], [40, 20]), rng.normal(np.repeat([0, 1], [40, 20]))
    low, high = gp.stats.auc_interval(truth, scores, level)
    ax = roc_panel({"Cu": (truth, scores)}, level=level)
    assert labels_of(ax)[0] == f"{gp.stats.rank_auc(truth, scores):.3f} ({low:.2f}–{high:.2f})  Cu"
    assert ax.get_legend().get_title().get_text() == f"AUC ({100 * level:g} % interval)"


def test_bands_are_there_for_up_to_four_curves_unless_told_otherwise():
    curves = {str(i): ([0, 0, 1, 1], [1, 2, 2, 3]) for i in range(5)}
    few = dict(list(curves.items())[:4])
    assert [len(roc_panel(which).collections) for which in (curves, few)] == [0, 4]
    assert [len(roc_panel(curves, bands=bands).collections) for bands in (True, False)] == [5, 0]


def band(truth, scores, level=0.95):
    rates = roc_curve(truth, scores)[:2]
    return charts._roc_band(*rates, int(np.sum(truth)), int(len(truth) - np.sum(truth)), level)


def test_with_very_much_barren_ground_the_band_is_jeffreys_interval_of_a_proportion():
    scores = np.concatenate([np.linspace(0, 1, 400_001), [0.25, 0.55, 0.55, 0.85, 0.85, 0.85, 0.95, 2, 2, 2]])
    at, low, high = band(np.repeat([0, 1], [400_001, 10]), scores)
    for beyond, hits in ((0.03, 3), (0.1, 4), (0.3, 7), (0.6, 9), (0.9, 10)):
        near = np.abs(at - beyond).argmin()
        expected = beta.ppf([0.025, 0.975], hits + 0.5, 10 - hits + 0.5)
        np.testing.assert_allclose([low[near], high[near]], expected, atol=0.01)


@pytest.mark.parametrize("f", [0.3, 0.5, 0.7])
def test_with_very_much_ore_the_band_is_the_spread_of_a_binomial_threshold(f: float):
    # Ten barren values evenly among the ore: with k of them above a threshold that may lie anywhere up
    # to the next, the rate is (k - 1/2 + u)/10, of which the distribution function is linear in between.
    scores = np.concatenate([(np.arange(10) + 0.5) / 10, np.linspace(0, 1, 100_001)])
    at, low, high = band(np.repeat([0, 1], [10, 100_001]), scores, 0.8)
    expected = (np.interp([0.1, 0.9], binom.cdf(np.arange(-1, 11), 10, f), np.arange(12)) - 0.5) / 10
    np.testing.assert_allclose([np.interp(f, at, low), np.interp(f, at, high)], expected, atol=0.01)


def test_a_perfect_separation_leaves_a_band_with_a_width():
    at, low, high = band([0] * 30 + [1] * 8, np.arange(38.0))
    inner = (at > 0.2) & (at < 1)
    assert (low[inner] < 0.8).all()
    assert (high[inner] > 0.99).all()
    assert (at[-1], low[-1], high[-1]) == (1, 1, 1)


@settings(max_examples=8)
@given(
    arrays(int, st.integers(1, 12), elements=st.integers(0, 4)),
    arrays(int, st.integers(1, 12), elements=st.integers(0, 4)),
    st.sampled_from([0.5, 0.9, 0.99]),
)
def test_a_band_lies_within_0_and_1_rises_and_is_wider_for_a_higher_level(ore, barren, level):
    truth = np.repeat([1, 0], [len(ore), len(barren)])
    at, low, high = band(truth, np.concatenate([ore, barren]), level)
    assert ((low >= 0) & (low <= high) & (high <= 1)).all()
    assert (np.diff(at) > 0).all()
    assert (np.diff(low) >= -1e-12).all()
    assert (np.diff(high) >= -1e-12).all()
    _, lower, higher = band(truth, np.concatenate([ore, barren]), 0.995)
    assert ((lower <= low) & (high <= higher)).all()


def test_the_band_is_the_same_every_time():
    once, again = (band([0, 0, 0, 1, 1], [1, 2, 3, 2.5, 4]) for _ in range(2))
    np.testing.assert_array_equal(once, again)


@pytest.mark.slow
def test_the_band_covers_the_true_curve_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), []
    for _ in range(60):
        truth = np.repeat([1, 0], [15, 60])
        at, low, high = band(truth, rng.normal(1.5 * truth))
        true_rate = norm.sf(norm.isf(at) - 1.5)
        covered.append(((low <= true_rate) & (true_rate <= high))[[20, 30, 40, 50, 60, 80]])
    assert (np.mean(covered, axis=0) >= 0.88).all()  # 0.95 less two and a half standard errors of 60 draws


# -- bars of Z_AUC -----------------------------------------------------------------------------


def ranking(*z: float) -> pd.DataFrame:
    names = ["Zn", "Ag", "Cu", "Pb"][: len(z)]
    return pd.DataFrame({"auc": 0.6, "z_auc": z, "selected": np.array(z) > 3}, index=pd.Index(names, name="element"))


def thresholds_of(ax: Axes) -> dict[str, list[float]]:
    return {
        style: [round(line.get_xdata()[0], 3) for line in ax.lines if line.get_linestyle() == style]
        for style in (":", "--")
    }


def test_bars_are_sorted_and_the_selected_stand_out():
    ax = drawn(z_auc_bars(ranking(1.2, 5.2, 3.7)))
    assert names_on(ax) == ["Ag", "Cu", "Zn"]
    assert [bar.get_width() for bar in ax.patches] == [5.2, 3.7, 1.2]
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert colours[0] == colours[1] != colours[2]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first bar is on top
    assert ax.get_xlim()[0] == 0
    assert labels_of(ax) == ["selected", "not selected", "single element: 2.58", "best of 3 elements: 2.94"]


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_the_second_line_divides_the_level_among_the_elements_that_are_scorable(alpha: float):
    ax = z_auc_bars(ranking(1, 2, NAN, 4), alpha=alpha)
    expected = {":": [norm.ppf(1 - alpha / 2)], "--": [norm.ppf(1 - alpha / 6)]}
    assert thresholds_of(ax) == {style: [pytest.approx(at[0], abs=1e-3)] for style, at in expected.items()}


@pytest.mark.parametrize("z", [(1.0,), (NAN, NAN), (3.0, NAN)])
def test_a_single_element_needs_no_correction(z: tuple[float, ...]):
    ax = drawn(z_auc_bars(ranking(*z)))
    assert thresholds_of(ax) == {":": [], "--": [2.576]}
    assert labels_of(ax) == ["not selected", "single element: 2.58"]


def test_a_negative_z_has_thresholds_of_its_own():
    ax = drawn(z_auc_bars(ranking(1.2, -5.2, 3.7, NAN)))
    assert thresholds_of(ax) == {":": [2.576, -2.576], "--": [2.935, -2.935]}
    assert names_on(ax) == ["Cu", "Zn", "Ag", "Pb"]
    assert texts_of(ax) == ["3.70", "1.20", "−5.20", "n/a"]
    assert labels_of(ax)[2:] == ["single element: ±2.58", "best of 3 elements: ±2.94"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [("shift", "p_family ≤ 0.05 by random shifts"), ("holm", "p_holm ≤ 0.05"), ("bh", "p_bh ≤ 0.05"),
     ("gao2022", "≥ 1.96, enriched only")],
)  # fmt: skip
def test_the_legend_says_what_decides_the_colour(rule, said: str):
    title = drawn(z_auc_bars(ranking(1.2, 5.2), alpha=0.05, rule=rule)).get_legend().get_title().get_text()
    assert title.startswith("colour: ")
    assert said in title
    assert "lines: what independent points would need" in title
    assert z_auc_bars(ranking(1.2)).get_legend().get_title().get_text() == ""


@pytest.mark.parametrize(("z", "kinds"), [((1.2, 2.0), ["not selected"]), ((4.0, 5.0), ["selected"])])
def test_the_legend_names_no_colour_that_is_not_there(z: tuple[float, float], kinds: list[str]):
    assert labels_of(z_auc_bars(ranking(*z)))[:-2] == kinds


def test_many_bars_make_no_strip_and_numbers_lie_on_white_above_the_lines():
    z = np.linspace(20, -14, 57)
    many = pd.DataFrame({"z_auc": z, "selected": False}, index=[f"E{i}" for i in range(57)])
    ax = drawn(z_auc_bars(many))
    width, height = ax.figure.get_size_inches()
    assert height < 1.5 * width
    highest = max(line.get_zorder() for line in ax.lines)
    assert all(text.get_zorder() > highest and to_hex(text.get_bbox_patch().get_fc()) == "#ffffff" for text in ax.texts)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))


@pytest.mark.parametrize("z", [(INF, 1.2), (INF, INF), (-INF, 2.0), (INF, -INF)])
def test_a_perfect_separation_reaches_the_edge_and_says_so(z: tuple[float, float]):
    ax = drawn(z_auc_bars(ranking(*z)))
    left, right = ax.get_xlim()
    assert texts_of(ax).count("∞") == np.isinf(z).sum()
    for value, bar in zip(sorted(z, reverse=True), ax.patches, strict=True):
        edge = right if value == INF else left if value == -INF else value
        assert bar.get_width() == pytest.approx(edge)
    frame = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1


# -- training and confusion --------------------------------------------------------------------


def history(models: int = 2, epochs: int = 5) -> pd.DataFrame:
    rows = [(m, e, 0.5 / e, 1 - 0.3 / e, 0.01) for m in range(models) for e in range(1, epochs + 1)]
    return pd.DataFrame(rows, columns=["model", "epoch", "loss", "accuracy", "learning_rate"])


def test_training_has_a_line_per_model_for_loss_and_for_accuracy():
    ax = drawn(training_curves(history().sample(frac=1, random_state=0)))
    twin = next(other for other in ax.figure.axes if other is not ax)
    assert (len(ax.lines), len(twin.lines)) == (2, 2)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(twin.lines[1].get_ydata(), 1 - 0.3 / np.arange(1, 6))
    assert ax.get_yscale() == "log"
    assert twin.get_ylim()[0] <= 0.7
    assert labels_of(ax) == ["model 0", "model 1"]
    assert "loss" in ax.get_ylabel()
    assert "accuracy" in twin.get_ylabel()


def test_training_with_a_loss_of_zero_a_single_epoch_or_many_models_is_drawn():
    assert drawn(training_curves(history().assign(loss=0.0))).get_yscale() == "linear"
    assert drawn(training_curves(history(1, 1))).lines[0].get_marker() == "o"
    assert len(drawn(training_curves(history(12, 2).assign(accuracy=np.nan))).lines) == 12


def test_a_confusion_matrix_has_true_classes_in_rows():
    ax = drawn(confusion_matrix(SimpleNamespace(tp=16, fp=7, fn=13, tn=108)))
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts == {(0, 0): "16\n55.2 %", (1, 0): "13\n44.8 %", (0, 1): "7\n6.1 %", (1, 1): "108\n93.9 %"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["ore", "barren"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # ore on top


def test_a_class_that_does_not_occur_has_no_percentage():
    ax = confusion_matrix(SimpleNamespace(tp=0, fp=0, fn=0, tn=5))
    assert texts_of(ax)[:2] == ["0\n–", "0\n–"]


# -- cumulative distributions ------------------------------------------------------------------


def height(line, x: float) -> float:
    """Return the height of a step curve at x."""
    xs, ys = line.get_data()
    return float(np.asarray(ys)[np.searchsorted(np.asarray(xs), x, side="right") - 1])


def test_a_curve_is_the_share_of_values_up_to_a_place():
    rng = np.random.default_rng(0)
    truth, values = np.repeat([1, 0], [30, 200]), rng.lognormal(1, 1, 230).round(1) + 0.1
    (ax,) = ecdf_panel({"Cu": (truth, values)}).axes
    barren, ore = ax.lines
    assert (to_hex(barren.get_color()), to_hex(ore.get_color())) == ("#0072b2", "#d55e00")
    for x in [*values[:20], 1.0, 5.0]:
        assert height(ore, x) == pytest.approx((values[:30] <= x).mean())
        assert height(barren, x) == pytest.approx((values[30:] <= x).mean())
    assert ax.get_xscale() == "log"
    assert ax.get_title(loc="left") == f"Cu   AUC {gp.stats.rank_auc(truth, values):.2f}"
    assert texts_of(ax) == ["30 ore\n200 barren"]
    for line in ax.lines:
        assert tuple(line.get_xdata()[[0, -1]]) == ax.get_xlim()
        assert line.get_ydata()[-1] == 1


def test_zeros_are_counted_at_the_edge_of_a_logarithmic_axis():
    truth, values = np.repeat([1, 0], 4), np.array([0, 1, 10, 100, 0, 0, 0, 1000.0])
    (ax,) = ecdf_panel({"Cu": (truth, values)}).axes
    assert [line.get_ydata()[0] for line in ax.lines] == [0.75, 0.25]
    assert ax.get_xscale() == "log"
    assert ax.get_xlim()[0] > 0
    (ax,) = ecdf_panel({"Cu": (truth, values)}, log=False).axes
    assert (ax.get_xscale(), [line.get_ydata()[0] for line in ax.lines]) == ("linear", [0, 0])


@pytest.mark.parametrize(
    "values",
    [[-1, 2, 3, 4], [0, 0, 0, 0], [5, 5, 5, 5], [-3, -3, -3, -3], [1e-9, 1, 1e6, 1e9], [1.0, 1.01, 1.02, 1.03]],
)
@pytest.mark.parametrize("truth", [[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_any_values_are_drawn_on_an_axis_that_suits_them(values, truth):
    ax = drawn(ecdf_panel({"Cu": (truth, values)}).axes[0])
    assert ax.get_xscale() == ("log" if min(values) >= 0 < max(values) else "linear")
    assert len(ax.lines) == len(set(truth))
    assert 1 <= len(ax.get_xticks()) <= 5
    assert ("n/a" in ax.get_title(loc="left")) == (len(set(truth)) == 1)


def test_elements_are_chosen_and_laid_out_in_their_order():
    points = {name: ([0, 1], [1, 2]) for name in ("Cu", "Zn", "$_a$", "_b")} | {"none": ([], [])}
    figure = ecdf_panel(points, elements=["_b", "Cu", "Cu", "none"], columns=2)
    figure.canvas.draw()
    assert [ax.get_title(loc="left").split("  ")[0] for ax in figure.axes] == [" _b", "Cu", "none", ""]
    assert [ax.axison for ax in figure.axes] == [True, True, True, False]
    assert len(ecdf_panel(points).axes) == 8
    assert len(ecdf_panel(points, columns=9).axes) == 5


def test_a_unit_stands_below_the_axis_where_it_is_known():
    points = {name: ([0, 1], [1, 2]) for name in ("Cu", "Au", "ratio", "W")}
    figure = ecdf_panel(points, units={"Cu": "ppm", "Au": "$_p", "ratio": "1"})
    assert [ax.get_xlabel() for ax in figure.axes] == ["ppm", r"\$_p", "", ""]


def test_what_screening_points_returns_is_drawn():
    area = gp.synthetic.make_survey(n_samples=300, shape=64, rng=0)
    points = gp.screening_points(area.samples, area.deposits)
    figure = ecdf_panel(points, elements=["Cu", "Zn"])
    assert [len(ax.lines) for ax in figure.axes] == [2, 2]


# -- what is below detection -------------------------------------------------------------------


def mixed() -> gp.Samples:
    """Four samples: A measured; B half below two limits; C over range, below, missing; D never measured."""
    values = [[1, 1, 9, NAN], [1, 2, 9, NAN], [1, 3, 1, NAN], [1, 4, NAN, NAN]]
    limits = np.full((4, 4), NAN)
    limits[:2, 1], limits[:2, 2], limits[2, 2], limits[:2, 3] = (1, 2), 9, 1, 5
    censored, over = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    censored[:2, 1] = censored[2, 2] = censored[:2, 3] = True
    over[:2, 2] = True
    return samples(values, ["A", "B", "C", "D"], limits=limits, censored=censored, over_range=over)


def test_bars_show_what_share_is_measured_censored_over_range_and_missing():
    ax = drawn(censoring_bars(mixed()))
    assert names_on(ax) == ["D", "C", "B", "A"]  # least measured on top; of two, the more censored
    assert labels_of(ax) == ["measured", "below detection", "over range", "missing"]
    shares = np.array([bar.get_width() for bar in ax.patches]).reshape(4, 4)
    np.testing.assert_allclose(shares, [[0, 0, 50, 100], [50, 25, 50, 0], [0, 50, 0, 0], [50, 25, 0, 0]])
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches[-4:]]
    np.testing.assert_allclose(ends, 100)
    assert texts_of(ax) == ["1 limit", "1 limit", "2 limits", ""]
    assert ax.get_xlabel() == "% of 4 samples"


def test_what_does_not_occur_is_not_in_the_legend():
    assert labels_of(censoring_bars(lognormal())) == ["measured"]


def boxes_of(texts) -> list:
    return [text.get_window_extent() for text in texts if text.get_text()]


def test_sixty_elements_can_be_read():
    ax = drawn(censoring_bars(lognormal(30, 60)))
    boxes = boxes_of(ax.get_yticklabels())
    assert len(boxes) == 60
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))
    assert min(label.get_fontsize() for label in ax.get_yticklabels()) >= 7


# -- correlations ------------------------------------------------------------------------------


def test_correlations_are_spearmans_in_the_order_of_the_labels():
    data = lognormal(60, 6)
    ax = drawn(correlation_matrix(data))
    at = [data.elements.index(name) for name in names_on(ax)]
    assert sorted(at) == list(range(6))
    np.testing.assert_allclose(ax.images[0].get_array(), spearmanr(data.values[:, at]).statistic, atol=1e-12)
    assert names_on(ax) == [tick.get_text() for tick in ax.get_xticklabels()]
    assert ax.images[0].get_clim() == (-1, 1)
    assert texts_of(ax)[1] == f"{ax.images[0].get_array()[0, 1]:.2f}".replace("-", "−")


def test_pearsons_is_of_the_values():
    data = lognormal(60, 3)
    ax = correlation_matrix(data, method="pearson", order=False)
    np.testing.assert_allclose(ax.images[0].get_array(), np.corrcoef(data.values.T), atol=1e-12)
    assert names_on(ax) == ["E0", "E1", "E2"]


def test_what_goes_together_stands_together():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 300))
    noise = rng.normal(scale=0.3, size=(300, 6))
    values = np.exp(np.column_stack([one, other, one, other, one, other]) + noise)
    names = names_on(correlation_matrix(samples(values)))
    assert {"".join(sorted(names[:3])), "".join(sorted(names[3:]))} == {"E0E2E4", "E1E3E5"}


def test_missing_values_leave_out_their_pair_and_constants_are_grey():
    values = np.random.default_rng(0).lognormal(size=(40, 4))
    values[:10, 0], values[30:, 1], values[:, 3] = NAN, NAN, 7
    ax = drawn(correlation_matrix(samples(values), order=False))
    array = ax.images[0].get_array()
    assert array[0, 1] == pytest.approx(spearmanr(values[10:30, 0], values[10:30, 1]).statistic)
    assert np.isnan(array[3].filled(NAN)).all()
    assert texts_of(ax)[-1] == "–"
    assert len(names_on(correlation_matrix(samples(values)))) == 4
    two = samples([[1, NAN, 2], [2, 5, 1], [NAN, 6, 3], [3, 7, NAN], [4, NAN, 9]])
    assert np.isnan(correlation_matrix(two, order=False).images[0].get_array().filled(NAN)[0, 1])  # two pairs only


def test_values_are_printed_for_up_to_twenty_elements():
    assert len(correlation_matrix(lognormal(50, 20)).texts) == 400
    assert len(correlation_matrix(lognormal(50, 21)).texts) == 0


def test_a_survey_is_compared_where_all_bands_have_data(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 50))
    b = a + b
    a[:10], b[:, :5] = np.nan, np.inf
    survey = xr.Dataset({"a": (("y", "x"), a), "b": (("x", "y"), b.T)})
    there = np.isfinite(a) & np.isfinite(b)
    expected = spearmanr(a[there], b[there]).statistic
    assert correlation_matrix(survey).images[0].get_array()[0, 1] == pytest.approx(expected)
    monkeypatch.setattr(charts, "_CELLS", 100)
    fewer = correlation_matrix(survey).images[0].get_array()[0, 1]
    assert fewer != pytest.approx(expected, abs=1e-12)
    assert fewer == pytest.approx(expected, abs=0.2)


# -- biplots -----------------------------------------------------------------------------------


def rays_of(ax: Axes) -> dict[str, np.ndarray]:
    rays = [line.get_xydata()[1] for line in ax.lines if len(line.get_xydata()) == 2 and not line.get_xydata()[0].any()]
    return dict(zip(texts_of(ax), rays, strict=True))


def biplot_samples(n: int = 400) -> gp.Samples:
    """Two that rise together, two that rise together apart from them, one on its own."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, n))
    logs = np.column_stack([one, one, 0.6 * other, 0.6 * other, np.zeros(n)])
    return samples(np.exp(logs + rng.normal(scale=0.05, size=(n, 5))), ["Cu", "Au", "Ni", "Cr", "Zr"])


@pytest.mark.parametrize("robust", [True, False])
def test_links_between_rays_are_the_standard_deviations_of_log_ratios(robust: bool):
    data = biplot_samples()
    rays = rays_of(drawn(log_ratio_biplot(data, robust=robust)))
    assert max(np.hypot(*ray) for ray in rays.values()) == pytest.approx(1)
    logs = dict(zip(data.elements, np.log(data.values).T, strict=True))
    pairs = [("Cu", "Ni"), ("Cu", "Zr"), ("Au", "Cr"), ("Ni", "Zr")]
    links = np.array([np.hypot(*(rays[a] - rays[b])) for a, b in pairs])
    spreads = np.array([(logs[a] - logs[b]).std() for a, b in pairs])
    np.testing.assert_allclose(links / links[0], spreads / spreads[0], rtol=0.1 if robust else 0.01)
    assert np.hypot(*(rays["Cu"] - rays["Au"])) < 0.1


def test_points_lie_to_the_side_of_the_elements_that_they_are_rich_in():
    data = biplot_samples()
    ax = log_ratio_biplot(data, robust=False)
    points, rays = ax.lines[0].get_xydata(), rays_of(ax)
    clr = np.log(data.values) - np.log(data.values).mean(axis=1, keepdims=True)
    for name, column in zip(data.elements, clr.T, strict=True):
        if name != "Zr":
            assert np.corrcoef(points @ rays[name], column)[0, 1] > 0.95
    assert np.quantile(np.hypot(*points.T), 0.98) == pytest.approx(1)
    spread = np.cov(points.T)  # of a covariance biplot: alike in all directions
    np.testing.assert_allclose(spread / spread[0, 0], np.eye(2), atol=0.01)


def test_axes_tell_the_share_of_the_variance():
    data = biplot_samples()
    shares = gp.robust_pca(data, 2)[1].attrs["explained_variance"]
    ax = log_ratio_biplot(data)
    assert ax.get_xlabel() == f"F1 ({100 * shares[0]:.0f} % of the variance)"
    assert ax.get_ylabel() == f"F2 ({100 * shares[1]:.0f} % of the variance)"
    assert ax.get_aspect() == 1


def test_incomplete_samples_are_left_out_and_far_ones_counted():
    values = biplot_samples().values.copy()
    values[:3, 0], values[5, 1] = NAN, 1e9
    with pytest.warns(DataWarning, match="3"):
        ax = drawn(log_ratio_biplot(samples(values, ["Cu", "Au", "Ni", "Cr", "Zr"])))
    assert len(ax.lines[0].get_xydata()) == 397
    beyond = (np.abs(ax.lines[0].get_xydata()).max(axis=1) > ax.get_xlim()[1]).sum()
    assert ax.get_title(loc="right") == f"{beyond} of 397 samples lie outside"
    assert beyond >= 1


@given(st.integers(2, 25), st.integers(0, 1000))
def test_boxes_are_moved_apart_and_none_without_need(n, seed):
    rng = np.random.default_rng(seed)
    centres, boxes = rng.normal(scale=0.3, size=(n, 2)), rng.uniform(0.02, 0.12, (n, 2))
    at = charts._spread(centres, boxes)
    for i in range(n):
        for j in range(i):
            assert (np.abs(at[i] - at[j]) - (boxes[i] + boxes[j]) / 2).max() > -0.005
    alone = np.arange(n)[:, None] * np.array([1.0, 1.0])
    np.testing.assert_array_equal(charts._spread(alone, boxes), alone)


def test_names_of_a_biplot_do_not_lie_on_each_other():
    rng = np.random.default_rng(3)
    logs = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 24)) + rng.normal(scale=0.5, size=(500, 24))
    ax = drawn(log_ratio_biplot(samples(np.exp(logs), [f"El{i}" for i in range(24)]), robust=False))
    boxes = boxes_of(ax.texts)
    frame = ax.get_window_extent()
    over = [
        min(a.x1, b.x1) - max(a.x0, b.x0)
        for i, a in enumerate(boxes)
        for b in boxes[:i]
        if min(a.y1, b.y1) - max(a.y0, b.y0) > 2  # pixels: margins of the letters may touch
    ]
    assert max(over) < 2
    assert all(frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) for box in boxes)


# -- all of them -------------------------------------------------------------------------------

FIGURES = {
    "roc_panel": lambda **ax: roc_panel({"Cu": ([0, 1], [0, 1])}, **ax),
    "z_auc_bars": lambda **ax: z_auc_bars(ranking(1, 2, 4), **ax),
    "training_curves": lambda **ax: training_curves(history(), **ax),
    "confusion_matrix": lambda **ax: confusion_matrix(SimpleNamespace(tp=1, fp=2, fn=3, tn=4), **ax),
    "censoring_bars": lambda **ax: censoring_bars(mixed(), **ax),
    "correlation_matrix": lambda **ax: correlation_matrix(lognormal(), **ax),
    "log_ratio_biplot": lambda **ax: log_ratio_biplot(lognormal(), robust=False, **ax),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_drawn_into_given_axes_opens_no_other_and_changes_no_setting(name: str):
    figure, (given_axes, other) = plt.subplots(1, 2)
    plt.sca(other)
    before = dict(mpl.rcParams)
    assert FIGURES[name](ax=given_axes) is given_axes
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is other
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", FIGURES)
def test_without_axes_one_figure_is_made(name: str):
    ax = FIGURES[name]()
    assert plt.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_no_axes_is_refused(name: str):
    with pytest.raises(InputError, match="needs a matplotlib Axes; make one"):
        FIGURES[name](ax="left")


def test_names_with_dollars_and_underscores_are_shown_as_they_are(tmp_path):
    name, shown = "_a$b_{$", r" _a\$b_{\$"
    ax = drawn(roc_panel({name: ([0, 1], [0, 1]), "_": ([0, 1], [1, 0])}))
    assert len(labels_of(ax)) == 3
    ax = drawn(z_auc_bars(pd.DataFrame({"z_auc": [1.0], "selected": [True]}, index=[name])))
    assert names_on(ax) == [shown]
    data = samples(lognormal(50, 3).values, [name, "$", "b"])
    assert shown in names_on(drawn(censoring_bars(data)))
    assert shown in names_on(drawn(correlation_matrix(data)))
    assert shown in texts_of(drawn(log_ratio_biplot(data, robust=False)))
    figure = ecdf_panel({name: ([0, 1], [1, 2])})
    assert figure.axes[0].get_title(loc="left").startswith(shown)
    assert plotting.save(figure.axes[0], tmp_path / "ecdf.png").is_file()


ONE = gp.Samples([[0, 0]], [[1.0]], ["Cu"], ["ppm"], "EPSG:32649")
WRONG = {
    "no curve": (lambda: roc_panel({}), InputError, "curves: is empty"),
    "one class": (lambda: roc_panel({"Cu": ([1, 1], [0, 1])}), InputError, "needs both 0"),
    "labels that are no labels": (lambda: roc_panel({"Cu": ([0, 2], [0, 1])}), InputError, "needs both 0"),
    "too few scores": (lambda: roc_panel({"Cu": ([0, 1], [1])}), InputError, "values \\(1,\\)"),
    "a NaN score": (lambda: roc_panel({"Cu": ([0, 1], [1, NAN])}), InputError, "1 values are not finite"),
    "a level of one": (lambda: roc_panel({"Cu": ([0, 1], [0, 1])}, level=1), InputError, "level=1"),
    "a missing column": (
        lambda: z_auc_bars(ranking(1, 2).drop(columns="z_auc")), NameNotFoundError, "no column 'z_auc'"
    ),
    "an empty ranking": (lambda: z_auc_bars(ranking()), InputError, "ranking: is empty"),
    "a level below zero": (lambda: z_auc_bars(ranking(1, 2), alpha=-1), InputError, "more than 0"),
    "a level that lets all pass": (lambda: z_auc_bars(ranking(1, 2), alpha=1), InputError, "alpha=1: needs"),
    "a choice that is none": (
        lambda: z_auc_bars(ranking(1, 2).assign(selected="yes")), InputError, "needs True and False"
    ),
    "a history without loss": (
        lambda: training_curves(history().drop(columns="loss")), NameNotFoundError, "no column 'loss'"
    ),
    "an empty history": (lambda: training_curves(history(0)), InputError, "was anything trained"),
    "half a hit": (
        lambda: confusion_matrix(SimpleNamespace(tp=0.5, fp=0, fn=0, tn=0)), InputError, r"evaluation.tp=0.5"
    ),
    "no count": (lambda: confusion_matrix(SimpleNamespace(tp=1)), InputError, "evaluation.fn=None"),
    "no points": (lambda: ecdf_panel({}), InputError, "what screening_points returns"),
    "samples for points": (lambda: ecdf_panel(ONE), InputError, "what screening_points returns"),
    "an unknown element": (
        lambda: ecdf_panel({"Cu": ([0, 1], [1, 2])}, elements=["cu"]), NameNotFoundError, "did you mean 'Cu'"
    ),
    "no element": (lambda: ecdf_panel({"Cu": ([0, 1], [1, 2])}, elements=[]), InputError, "elements: is empty"),
    "no column": (lambda: ecdf_panel({"Cu": ([0, 1], [1, 2])}, columns=0), InputError, "columns=0"),
    "a NaN point": (lambda: ecdf_panel({"Cu": ([0, 1], [1, NAN])}), InputError, r"points\['Cu'\]: 1 values are not"),
    "labels of a third class": (lambda: ecdf_panel({"Cu": ([0, 2], [1, 2])}), InputError, "needs 0 .barren. and 1"),
    "a frame for samples": (lambda: censoring_bars(ranking(1, 2)), InputError, "is a DataFrame, needs Samples"),
    "no samples": (lambda: censoring_bars(samples(np.empty((0, 2)))), InputError, "samples: are none"),
    "samples of nothing": (lambda: censoring_bars(samples(np.empty((2, 0)))), InputError, "have 0 elements"),
    "one element": (lambda: correlation_matrix(ONE), InputError, "has 1 elements, needs at least 2"),
    "a survey of nothing": (lambda: correlation_matrix(xr.Dataset()), InputError, "has 0 elements"),
    "a method that is none": (lambda: correlation_matrix(ONE, method="Spearman"), InputError, "did you mean"),
    "a frame for data": (lambda: correlation_matrix(ranking(1, 2)), InputError, "data: is a DataFrame"),
    "bands of other dims": (
        lambda: correlation_matrix(xr.Dataset({"a": (("y", "x"), np.eye(2)), "b": ("y", [1.0, 2.0])})),
        InputError, r"drop_vars\('b'\)"
    ),
    "bands that share no cell": (
        lambda: correlation_matrix(xr.Dataset({"a": ("y", [1.0, 2, NAN]), "b": ("y", [NAN, NAN, 1])})),
        InputError, "'b' with 1 cells"
    ),
    "no value": (lambda: correlation_matrix(samples(np.full((3, 2), NAN))), InputError, "data: has no value"),
    "a biplot of two": (lambda: log_ratio_biplot(lognormal(50, 2)), InputError, "have 2 elements, needs at least 3"),
    "zeros in a biplot": (lambda: log_ratio_biplot(samples(np.zeros((50, 3)))), InputError, "0 or negative"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named_and_leaves_no_figure(case: str):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()
    assert not plt.get_fignums()


# -- real surveys ------------------------------------------------------------------------------


@pytest.mark.data
def test_the_arabian_shield_is_drawn_with_its_57_elements(data_folder):
    shield = gp.read_samples(data_folder / "arabian_shield" / "samples_clean.csv.gz", crs="EPSG:4326")
    names = names_on(drawn(correlation_matrix(shield)))
    assert abs(names.index("Zr") - names.index("Hf")) == 1  # the twins of geochemistry
    assert len(censoring_bars(shield).get_yticks()) == 57
    rays = rays_of(log_ratio_biplot(shield[["Cu", "Cr", "Ni", "K2O", "Rb", "SiO2", "Zr", "Hf"]]))
    assert np.hypot(*(rays["Zr"] - rays["Hf"])) < 0.15 < np.hypot(*(rays["Cr"] - rays["Rb"]))


@pytest.mark.data
def test_finnish_till_shows_what_lay_below_detection(data_folder):
    path = data_folder / "finland_till" / "samples_clean.csv.gz"
    with pytest.warns(DataWarning, match="below a detection limit that the table does not say"):
        till = gp.read_samples(path, x="x", y="y", crs="EPSG:3067", zero="below")
    ax = censoring_bars(till)
    assert names_on(ax)[0] == "Zr"
    assert texts_of(ax)[0] == "1 limit"
