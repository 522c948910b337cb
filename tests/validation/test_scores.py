"""What a cross-validation found: the table, its intervals and its sentence."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import geoprospect as gp
from geoprospect.errors import InputError
from geoprospect.validation.scores import Scores, score_table


def make_tested(seed: int = 0, n_units: int = 8, per_unit: int = 4, shift: float = 1.0) -> pd.DataFrame:
    """Scores that are alike within a cluster, as those of overlapping windows are."""
    draws = np.random.default_rng(seed)
    rows = []
    for unit in range(2 * n_units):
        label = int(unit < n_units)
        level = draws.normal(shift * label)
        for _ in range(per_unit):
            value = level + 0.1 * draws.normal()
            rows.append((unit % 3 + 1, label, unit, value, round(value), -value))
    return pd.DataFrame(rows, columns=["fold", "label", "cluster", "net", "coarse", "reversed"])


METHODS_OF_TOY = ["net", "coarse", "reversed"]


def test_more_windows_on_the_same_ground_do_not_narrow_the_interval() -> None:
    tested = make_tested()
    tenfold = pd.concat([tested] * 10, ignore_index=True)
    wide, same = (score_table(table, METHODS_OF_TOY, set(), np.random.default_rng(0)) for table in (tested, tenfold))
    assert same.loc["net", "auc"] == pytest.approx(wide.loc["net", "auc"])
    width, width_tenfold = ((table["high"] - table["low"])["net"] for table in (wide, same))
    assert width > 0.15
    assert width_tenfold == pytest.approx(width, rel=0.01)


def test_more_clusters_do_narrow_the_interval() -> None:
    few, many = (score_table(make_tested(n_units=n), METHODS_OF_TOY, set(), np.random.default_rng(0)) for n in (6, 96))
    assert (many["high"] - many["low"])["net"] < (few["high"] - few["low"])["net"] / 2


@pytest.mark.parametrize(
    ("network", "baseline", "share"), [("value", "noise", 1.0), ("noise", "value", 0.0), ("value", "value", 0.5)]
)
def test_beats_is_the_share_of_resamples_in_which_the_network_is_ahead(
    network: str, baseline: str, share: float
) -> None:
    tested = make_tested(n_units=30)
    perfect = tested["label"] + 0.0
    noise = pd.Series(np.random.default_rng(0).normal(size=len(tested)))
    columns = {"value": perfect, "noise": noise}
    tested = tested.assign(network=columns[network], baseline=columns[baseline])
    table = score_table(tested, ["network", "baseline"], set(), np.random.default_rng(0))
    assert np.isnan(table.loc["network", "beats"])
    assert table.loc["baseline", "beats"] == share


def test_resamples_that_tell_nothing_do_not_count_against_the_network() -> None:
    """With one cluster a fold, many resamples have ore in one fold and barren ground in the other."""
    tested = pd.DataFrame({
        "fold": [1, 1, 2, 2], "label": [1, 0, 1, 0], "cluster": [0, 1, 2, 3],
        "network": [1.0, 0.0, 1.0, 0.0], "baseline": [0.0, 1.0, 0.0, 1.0],
    })  # fmt: skip
    table = score_table(tested, ["network", "baseline"], set(), np.random.default_rng(0))
    assert table.loc["baseline", "beats"] == 1.0
    assert table.loc["network", ["auc", "low", "high"]].tolist() == [1, 1, 1]


def by_hand(beats: float, n_clusters: int = 8) -> Scores:
    table = pd.DataFrame(
        {
            "auc": [0.712, 0.65, 0.7, 0.69], "low": [0.6, 0.5, 0.61, 0.6], "high": [0.8, 0.8, 0.79, 0.78],
            "beats": [np.nan, 0.999, beats, 0.001], "balanced_accuracy": [0.6, np.nan, np.nan, np.nan],
            "macro_f1": [0.5, np.nan, np.nan, np.nan],
        },
        index=pd.Index(["resnet50", "best element", "logistic regression", "random forest"], name="method"),
    )  # fmt: skip
    windows = pd.DataFrame({"label": 1, "cluster": range(n_clusters)})
    return Scores(table, windows, pd.DataFrame(), "spatially separated: 5 regions")


@pytest.mark.parametrize(
    ("beats", "verdict"),
    [
        (0.975, "is better than"),
        (1.0, "is better than"),
        (0.974, "cannot be told apart from"),
        (0.5, "cannot be told apart from"),
        (0.026, "cannot be told apart from"),
        (0.025, "is worse than"),
        (0.0, "is worse than"),
    ],
)
def test_the_summary_says_better_worse_or_undecided_than_the_best_baseline(beats: float, verdict: str) -> None:
    assert by_hand(beats).summary == (
        "On ground that it has not seen, resnet50 (AUC 0.712, 95 % interval 0.600 to 0.800) "
        f"{verdict} the best baseline, logistic regression (AUC 0.700, 0.610 to 0.790)."
    )


def test_the_summary_says_what_the_best_tenth_of_the_maps_holds() -> None:
    scores = by_hand(0.5)
    scores.table["capture_10"] = [0.439, *np.linspace(0.889, 0.1, len(scores.table) - 1)]
    name = scores.table.index[1]
    assert scores.summary.endswith(
        f" The tenth of the ground that it ranks first holds 44% of the deposits, that of {name} 89%."
    )
    scores.table["capture_10"] = np.nan  # without a map
    assert "tenth" not in scores.summary


def test_the_repr_shows_separation_table_and_sentence() -> None:
    scores = by_hand(0.5)
    text = repr(scores)
    assert text.startswith("Scores(spatially separated: 5 regions)\n")
    assert text.endswith(scores.summary)
    for word in ("auc", "beats", "random forest", "0.712"):
        assert word in text


def test_the_frame_is_a_copy() -> None:
    scores = by_hand(0.5)
    frame = scores.to_frame()
    frame["auc"] = 0.0
    assert scores.table["auc"].iloc[0] == 0.712


def test_with_few_clusters_the_summary_says_that_intervals_are_too_narrow() -> None:
    assert by_hand(0.5, 5).summary.endswith("; with 5 separate clusters of deposits these intervals are too narrow.")
    assert "too narrow" not in by_hand(0.5, 6).summary


def test_without_a_baseline_the_summary_says_so() -> None:
    scores = by_hand(0.5)
    alone = dataclasses.replace(scores, table=scores.table.iloc[:1])
    assert alone.summary.endswith("stands without a baseline.")


def test_a_difference_is_that_of_the_aucs_and_its_interval_holds_it() -> None:
    table = score_table(make_tested(n_units=20), METHODS_OF_TOY, set(), np.random.default_rng(0))
    for name in METHODS_OF_TOY[1:]:
        row = table.loc[name]
        assert row["difference"] == pytest.approx(table.loc["net", "auc"] - row["auc"], abs=1e-12)
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert table.loc["reversed", "difference_low"] > 0
    assert table.loc["coarse", "difference_low"] < 0


def test_the_pooled_auc_is_that_of_one_heap_and_not_that_of_the_folds() -> None:
    """Two folds, each perfect, whose scores lie apart."""
    windows = pd.DataFrame({"fold": [1, 1, 2, 2], "label": [1, 0, 1, 0], "cluster": range(4), "net": [4.0, 3, 2, 1]})
    table = score_table(windows, ["net"], set(), np.random.default_rng(0))
    scores = Scores(table, windows, pd.DataFrame(), "")
    assert table.loc["net", "auc"] == 1.0
    assert scores.pooled_auc() == 0.75
    with pytest.raises(InputError, match="without map_stride=0"):
        scores.rates()


def test_capture_and_its_interval_come_from_the_deposits_by_cluster() -> None:
    """Nine deposits of one cluster at the top of the ground, one of another at its bottom."""
    low = np.array([0.0] * 9 + [0.9])
    rates = {"net": gp.stats.Rates(low=low, high=low + 0.05)}
    tested = make_tested()
    one, each = (
        score_table(tested, ["net"], set(), np.random.default_rng(0), rates, clusters).loc["net"]
        for clusters in (np.repeat([0, 1], [9, 1]), np.arange(10))
    )
    assert one["capture_5"] == one["capture_20"] == pytest.approx(0.9)
    for share in (5, 10, 20):
        assert (one[f"capture_{share}_low"], one[f"capture_{share}_high"]) == pytest.approx((0.0, 1.0))
        assert 0.5 < each[f"capture_{share}_low"] < each[f"capture_{share}"] < each[f"capture_{share}_high"]
