"""Cross-validation: that nothing of the test is known in training, and that its numbers mean what they say."""

import dataclasses
import logging
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from torch import nn

import geoprospect as gp
from geoprospect.errors import DataWarning, InputError, SeparationError
from geoprospect.models import training
from geoprospect.validation import cross_validation
from geoprospect.validation.baselines import BASELINES, Evidence
from geoprospect.validation.scores import Scores

pytestmark = pytest.mark.usefixtures("one_thread", "few_trees")


GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (60, 60))
# Four clusters of two deposits: north-west, south-west, north-east, south-east.
PLACES = [(9, 10), (12, 12), (48, 11), (50, 8), (10, 47), (12, 50), (49, 48), (52, 51)]
METHODS = ["shufflenet_v2_x1_0", *(name for name in BASELINES if name != "no chemistry")]


def deposits_at(places: list[tuple[int, int]]) -> gpd.GeoDataFrame:
    rows, cols = np.array(places).T
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(GRID.x[cols], GRID.y[rows]), crs=GRID.crs)


def make_survey(height: float = 8.0, seed: int = 0) -> xr.Dataset:
    """Copper is bright and silver dark about the deposits; gold and tin know nothing of them."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[: GRID.shape[0], : GRID.shape[1]]
    halo = height * sum(np.exp(-((y - row) ** 2 + (x - col) ** 2) / 8) for row, col in PLACES)
    noise = draws.normal(size=(4, *GRID.shape))
    bands = {"Cu": 20 + halo + noise[0], "Ag": 9 - halo + noise[1], "Au": noise[2], "Sn": noise[3]}
    return GRID.dataset({name: band.astype(np.float32) for name, band in bands.items()})


def cut(size: int = 6, crop: int = 5, n_ore: int = 32, n_barren: int = 60) -> gp.Windows:
    return gp.sample_windows(SURVEY, deposits_at(PLACES), size, crop, n_ore, n_barren, rng=3)


SURVEY = make_survey()
WINDOWS = cut()
FOLDS = gp.Folds(4, buffer=0)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a network of a few weights under the name of a great one, where only the folds are in question."""

    def build(name: str, n_bands: int, weights: Any = None, seed: int = 0, **options: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(n_bands, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(4, 2),
            )  # fmt: skip

    monkeypatch.setattr(training, "build_network", build)


@pytest.fixture
def without_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forests and the boosting take most of the time."""
    slow = ("random forest", "gradient boosting")  # a copy, because what is put back would stand at the end
    monkeypatch.setattr(cross_validation, "BASELINES", {n: one for n, one in BASELINES.items() if n not in slow})


def cross_validate(windows: gp.Windows = WINDOWS, survey: xr.Dataset = SURVEY, **changed: Any) -> Scores:
    asked: dict[str, Any] = {
        "network": "shufflenet_v2_x1_0", "folds": FOLDS, "rng": 0, "epochs": 1, "device": "cpu", "recipe": "gao2022",
        "map_stride": 0, "paper_protocol": False, "baselines": {},
    }  # fmt: skip
    return gp.cross_validate(windows, survey, **asked | changed)


def ground(windows: gp.Windows) -> NDArray[np.bool_]:
    covered = np.zeros(GRID.shape, dtype=bool)
    for row, col in zip(windows.rows, windows.cols, strict=True):
        covered[row : row + windows.size, col : col + windows.size] = True
    return covered


def windows_at(
    ore: list[tuple[int, int, int]], barren: list[tuple[int, int]], places: list[tuple[int, int]], size: int = 6
) -> gp.Windows:
    """Windows by hand: (row, col, deposit) and (row, col)."""
    corners = np.array([(row, col) for row, col, _ in ore] + barren)
    return gp.Windows(
        GRID, corners[:, 0], corners[:, 1], [1] * len(ore) + [0] * len(barren),
        [deposit for _, _, deposit in ore] + [-1] * len(barren), range(len(places)),
        [(GRID.x[col], GRID.y[row]) for row, col in places], size=size, crop=size,
    )  # fmt: skip


# ---------------------------------------------------------------- nothing of the test is known in training


class Trained:
    """What each fold's training was given, and what it made of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows: list[gp.Windows] = []
        self.models: list[gp.ProspectivityModel] = []
        self.predicted: list[gp.Windows] = []
        train, predict_windows = cross_validation.fit_networks, cross_validation.predict_windows

        def spy_train(windows: gp.Windows, survey: xr.Dataset, *args: Any, **settings: Any) -> gp.ProspectivityModel:
            self.windows.append(windows)
            self.models.append(train(windows, survey, *args, **settings))
            return self.models[-1]

        def spy_predict(model: Any, survey: Any, windows: gp.Windows, device: str) -> NDArray[np.float64]:
            self.predicted.append(windows)
            return predict_windows(model, survey, windows, device)

        monkeypatch.setattr(cross_validation, "fit_networks", spy_train)
        monkeypatch.setattr(cross_validation, "predict_windows", spy_predict)

    @property
    def bytes(self) -> list[bytes]:
        """Weights, bands and scaling of every fold's model."""
        return [
            b"".join(tensor.numpy().tobytes() for tensor in model.networks[0].state_dict().values())
            + model.offset.tobytes() + model.scale.tobytes() + repr(model.bands).encode()
            for model in self.models
        ]  # fmt: skip


@pytest.mark.usefixtures("tiny", "without_forest")
def test_each_fold_trains_on_its_training_windows_and_predicts_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained(monkeypatch)
    cross_validate()
    split = gp.spatial_folds(WINDOWS, 4)
    assert len(trained.windows) == len(trained.predicted) == len(split)
    for (fit, test), fitted, predicted in zip(split, trained.windows, trained.predicted, strict=True):
        for wanted, got in ((WINDOWS[fit], fitted), (cross_validation.seen(WINDOWS[test]), predicted)):
            for name in ("rows", "cols", "labels", "deposits"):
                assert np.array_equal(getattr(got, name), getattr(wanted, name))
        assert not (ground(fitted) & ground(predicted)).any()


@pytest.mark.usefixtures("tiny", "without_forest")
@pytest.mark.parametrize(
    ("screen", "training"),
    [
        (None, {}), ({"rule": "holm", "alpha": 0.05}, {}), ({"rule": "gao2022", "alpha": 0.05}, {}),
        (None, {"patience": 1, "epochs": 4, "lr": 0.1}),
    ],
    ids=["scaling", "holm", "gao2022", "early stopping"],
)  # fmt: skip
def test_whatever_lies_on_the_test_ground_the_model_of_the_fold_is_the_same(
    screen: Any, training: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bands that give the ore away on the test ground of the first fold, and nowhere else."""
    test = WINDOWS[gp.spatial_folds(WINDOWS, 4)[0][1]]
    planted = SURVEY.copy(deep=True)
    for name in ("Cu", "Ag", "Au", "Sn"):
        planted[name].values[ground(test)] = -1000
    ore = ground(test[test.labels == 1])
    planted["Sn"].values[ore] = 1e6
    trained = Trained(monkeypatch)
    for survey in (SURVEY, planted):
        cross_validate(survey=survey, screen=screen, **training)
    clean, poisoned = trained.bytes[:4], trained.bytes[4:]
    assert poisoned[0] == clean[0]
    moved = [poisoned[i] != clean[i] for i in (1, 2, 3)]  # there it is training ground
    assert any(moved) if training else all(moved)  # or between training and what is held out to stop by


@pytest.mark.usefixtures("tiny", "without_forest")
def test_baselines_do_not_see_the_test_ground_either(monkeypatch: pytest.MonkeyPatch) -> None:
    test = WINDOWS[gp.spatial_folds(WINDOWS, 4)[0][1]]
    holed = SURVEY.copy(deep=True)
    holed["Cu"].values[np.random.default_rng(0).random(GRID.shape) < 0.2] = np.nan  # what fills them must not tell
    planted = holed.copy(deep=True)
    for name in planted.data_vars:
        planted[name].values[ground(test)] = 12345.0
    fitted: list[bytes] = []

    def spy(evidence: Evidence, fit: Any, labels: Any, test: Any, seed: int) -> NDArray[np.float64]:
        fitted.append(evidence.means[fit].tobytes())
        return evidence.means[test][:, 0]

    monkeypatch.setitem(cross_validation.BASELINES, "best element", spy)
    for survey in (holed, planted):
        cross_validate(survey=survey, baselines=None)
    assert fitted[0] == fitted[4]
    assert fitted[1] != fitted[5]


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_screening_sees_neither_the_deposits_nor_the_ground_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[xr.Dataset, gpd.GeoDataFrame]] = []
    real = cross_validation.screen_bands

    def spy(survey: xr.Dataset, deposits: gpd.GeoDataFrame, *args: Any, **settings: Any) -> pd.DataFrame:
        calls.append((survey, deposits))
        return real(survey, deposits, *args, **settings)

    monkeypatch.setattr(cross_validation, "screen_bands", spy)
    scores = cross_validate(screen="holm")
    split = gp.spatial_folds(WINDOWS, 4)
    assert len(calls) == 4
    for (fit, test), (survey, deposits) in zip(split, calls, strict=True):
        closed = ground(WINDOWS[test])
        for name in SURVEY.data_vars:
            assert np.isnan(survey[name].values[closed]).all()
            differs = ~closed & ~np.isclose(survey[name].values, SURVEY[name].values, equal_nan=True)
            assert {tuple(at) for at in np.argwhere(differs)} <= set(PLACES)  # of deposits that are not trained on
        mine = sorted(map(tuple, np.column_stack([deposits.geometry.x, deposits.geometry.y]).tolist()))
        wanted = WINDOWS.deposit_points[np.unique(WINDOWS.deposits[fit][WINDOWS.deposits[fit] >= 0])]
        assert mine == sorted(map(tuple, wanted.tolist()))
        theirs = WINDOWS.deposit_points[np.unique(WINDOWS.deposits[test][WINDOWS.deposits[test] >= 0])]
        assert not set(mine) & set(map(tuple, theirs.tolist()))
    assert scores.folds["bands"].str.contains("Cu").all()
    assert not scores.folds["bands"].str.contains("Sn").any()


@pytest.mark.usefixtures("tiny", "without_forest")
def test_where_no_band_passes_the_screening_all_are_kept_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="geoprospect"):
        scores = cross_validate(survey=SURVEY[["Au", "Sn"]], screen={"rule": "holm", "alpha": 1e-6})
    assert scores.folds["bands"].tolist() == ["Au, Sn"] * 4
    assert caplog.text.count("no band passes") == 4


# ---------------------------------------------------------------- the scores


@pytest.fixture(scope="module")
def scores(few_trees: None) -> Scores:
    """A real network on the toy survey."""
    return gp.cross_validate(
        WINDOWS,
        SURVEY,
        "shufflenet_v2_x1_0",
        folds=FOLDS,
        rng=0,
        epochs=1,
        device="cpu",
        map_stride=8,
        paper_protocol=False,
    )


def test_a_band_that_knows_the_ore_is_found_by_every_baseline(scores: Scores) -> None:
    assert scores.table.index.tolist() == ["shufflenet_v2_x1_0", *METHODS[1:]]
    assert (scores.table.loc[METHODS[1:6], "auc"] > 0.97).all()
    assert scores.table.loc["nearest deposit", "auc"] < 0.9
    assert (scores.table["low"] <= scores.table["auc"]).all()
    assert (scores.table["high"] >= scores.table["auc"]).all()


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_best_element_may_be_one_that_ore_lacks() -> None:
    table = cross_validate(survey=SURVEY[["Ag", "Sn"]], baselines=None).table
    assert table.loc["best element", "auc"] > 0.97


@pytest.mark.usefixtures("tiny")
def test_noise_is_not_told_from_chance() -> None:
    table = cross_validate(survey=SURVEY[["Au", "Sn"]], baselines=None, epochs=2).table
    assert table.index.tolist() == METHODS
    table = table.drop(index="nearest deposit")  # whose barren windows lie between the regions, nearer to the others
    assert (table["low"] < 0.5).all()
    assert (table["high"] > 0.5).all()
    assert (table["high"] - table["low"] > 0.1).all()


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_same_seed_gives_the_same_scores_and_another_seed_others() -> None:
    one, again, other = cross_validate(rng=5), cross_validate(rng=5), cross_validate(rng=6)
    for name in ("table", "windows", "folds"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(again, name), check_exact=True)
    assert not one.windows["shufflenet_v2_x1_0"].equals(other.windows["shufflenet_v2_x1_0"])
    assert not one.table["low"].equals(other.table["low"])


def test_every_window_is_listed_once_with_its_fold_label_and_scores(scores: Scores) -> None:
    listed, split = scores.windows.set_index("window"), gp.spatial_folds(WINDOWS, 4)
    assert sorted(listed.index) == list(range(len(WINDOWS)))
    assert (listed["label"].to_numpy() == WINDOWS.labels[listed.index]).all()
    for number, (_, test) in enumerate(split, start=1):
        assert (listed.loc[test, "fold"] == number).all()
    assert list(scores.windows.columns) == ["window", "fold", "label", *scores.table.index, "cluster"]
    assert np.isfinite(scores.windows[scores.table.index]).all(axis=None)


def test_the_counts_of_the_folds_add_up(scores: Scores) -> None:
    folds = scores.folds
    for number, (fit, test) in enumerate(gp.spatial_folds(WINDOWS, 4), start=1):
        row = folds.loc[number]
        assert (row["train_ore"], row["train_barren"]) == (WINDOWS.labels[fit].sum(), (WINDOWS.labels[fit] == 0).sum())
        assert (row["test_ore"], row["test_barren"]) == (WINDOWS.labels[test].sum(), (WINDOWS.labels[test] == 0).sum())
        assert row["dropped"] == len(WINDOWS) - len(fit) - len(test)
        assert row["test_deposits"] == 2
        part = scores.windows[scores.windows["fold"] == number]
        for method in scores.table.index:
            assert row[method] == gp.stats.rank_auc(part["label"], part[method])
    np.testing.assert_allclose(folds[scores.table.index].mean(), scores.table["auc"], rtol=1e-12)


def test_the_scores_at_one_half_are_those_of_all_tested_windows(scores: Scores) -> None:
    network = scores.table.index[0]
    evaluation = gp.stats.Evaluation.of(scores.windows["label"], scores.windows[network])
    assert scores.table.loc[network, "balanced_accuracy"] == evaluation.balanced_accuracy
    assert scores.table.loc[network, "macro_f1"] == evaluation.macro_f1
    silent = ["best element", "weights of evidence", "nearest deposit"]  # they give no probabilities
    assert scores.table.loc[silent, ["balanced_accuracy", "macro_f1", "brier"]].isna().all(axis=None)
    assert scores.table.drop(index=silent)["brier"].between(0, 1).all()


def test_features_of_the_baselines_are_means_over_the_crop() -> None:
    stack = np.random.default_rng(0).normal(size=(3, *GRID.shape)).astype(np.float32) * 100
    found = cross_validation.window_means(stack, cross_validation.seen(WINDOWS))
    offset = WINDOWS.central_crop()
    assert found.shape == (len(WINDOWS), 3)
    for i in range(len(WINDOWS)):
        row, col = WINDOWS.rows[i] + offset[i, 0], WINDOWS.cols[i] + offset[i, 1]
        expected = stack[:, row : row + 5, col : col + 5].mean(axis=(1, 2), dtype=np.float64)
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("tiny", "without_forest")
@pytest.mark.parametrize("value", [np.inf, np.nan, -3.4e38])
def test_an_infinite_missing_or_absurd_value_far_away_changes_nothing(value: float) -> None:
    far = ~ground(WINDOWS)
    survey = SURVEY.copy(deep=True)
    survey["Cu"].values[tuple(np.argwhere(far)[0])] = value
    found, expected = (cross_validate(survey=one, baselines=None).table for one in (survey, SURVEY))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.filterwarnings("ignore:folds. 4 of 4 have fewer than 10")
@pytest.mark.usefixtures("tiny", "without_forest")
def test_windows_without_data_are_not_tested_and_that_is_said() -> None:
    windows = windows_at(
        [(8, 8, 0), (9, 7, 0), (46, 9, 1), (47, 7, 1), (8, 46, 2), (9, 45, 2), (46, 46, 3), (47, 47, 3)],
        [(20, 8), (24, 12), (38, 8), (34, 14), (20, 45), (24, 40), (38, 45), (34, 40)],
        [PLACES[0], PLACES[2], PLACES[4], PLACES[6]],
    )
    survey = SURVEY.copy(deep=True)
    survey["Cu"].values[20:26, 8:14] = np.nan
    with pytest.warns(DataWarning, match="1 of 4 in fold"):
        scores = cross_validate(windows, survey)
    assert sorted(scores.windows["window"]) == [i for i in range(16) if i != 8]
    assert sorted(scores.folds["test_barren"]) == [1, 2, 2, 2]
    assert scores.folds["dropped"].tolist() == [0, 0, 0, 0]
    assert np.isfinite(scores.table["auc"]).all()


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_separation_is_said_with_its_buffer() -> None:
    said = "spatially separated: 4 compact regions of deposits, no ground shared by whole windows"
    assert cross_validate().separation == said
    assert cross_validate(folds=gp.Folds(4, buffer=150)).separation == f"{said}, footprints 150 metres apart"


@pytest.mark.usefixtures("tiny", "without_forest")
def test_settings_of_the_training_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained(monkeypatch)
    cross_validate(epochs=2, batch=9, lr=0.5, n_models=2)
    for model in trained.models:
        assert (len(model.networks), model.settings["epochs"], model.settings["batch"]) == (2, 2, 9)
        assert model.settings["lr"] == 0.5
    assert len({model.seed for model in trained.models}) == 4
    with pytest.raises(InputError, match="epoch_count"):
        cross_validate(epoch_count=2)


def test_a_survey_on_another_grid_is_refused() -> None:
    with pytest.raises(InputError, match="cut them on this survey"):
        cross_validate(survey=SURVEY.isel(y=slice(1, None)))


# ---------------------------------------------------------------- what is resampled


def test_ore_windows_of_one_cluster_and_barren_ones_of_one_block_are_one_unit() -> None:
    places = [(9, 10), (12, 12), (48, 11)]
    windows = windows_at(
        [(6, 8, 0), (8, 9, 1), (45, 9, 2), (46, 8, 2)], [(0, 18), (2, 20), (0, 50), (30, 30), (30, 29)], places
    )
    unit = cross_validation.independent_units(windows)
    assert unit[0] == unit[1] != unit[2] == unit[3]
    assert not set(unit[:4]) & set(unit[4:])
    assert unit[4] == unit[5] != unit[6]
    assert unit[6] != unit[7] == unit[8]


# ---------------------------------------------------------------- what else is found


@pytest.mark.usefixtures("tiny", "without_forest")
def test_no_place_of_the_map_was_seen_by_the_network_that_scores_it() -> None:
    scores = cross_validate(map_stride=3)
    assert scores.map is not None
    fold = scores.map["fold"].to_numpy()
    assert fold.shape == ((60 - 5) // 3 + 1,) * 2
    assert set(np.unique(fold[np.isfinite(fold)])) == {1, 2, 3, 4}
    for number, (fit, _) in enumerate(gp.spatial_folds(WINDOWS, 4), start=1):
        trained = ground(WINDOWS[fit])
        for row, col in np.argwhere(fold == number) * 3:
            assert not trained[row : row + 5, col : col + 5].any()
    assert scores.map_deposits is not None
    assert scores.map_deposits["deposit"].is_unique


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_map_captures_deposits_that_the_bands_give_away() -> None:
    scores = cross_validate(survey=SURVEY[["Cu"]], baselines=None, map_stride=2)
    assert scores.table.loc["best element", "capture_20"] > 0.9
    assert scores.table.loc["nearest deposit", "capture_20"] < 0.6
    assert scores.rates("best element").capture(1.0) == 1.0
    with pytest.raises(KeyError, match="there is no method 'gold'"):
        scores.rates("gold")


@pytest.mark.usefixtures("tiny", "without_forest")
def test_splits_that_share_ground_are_refused_with_the_cure() -> None:
    half = np.arange(len(WINDOWS)) % 2 == 0
    with pytest.raises(SeparationError, match=r"in split 1 .* leave the training windows out that audit\(\) shows"):
        cross_validate(folds=[(np.flatnonzero(half), np.flatnonzero(~half))])


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("five", "folds='five': needs a whole number of at least 2, Folds\\(…\\), or pairs"),
        (None, "folds=None: needs a whole number"),
        (2.5, "folds=2.5: needs a whole number"),
        ([], r"folds=\[\]: needs one or more pairs"),
        ([(np.arange(40), np.arange(40, 100))], "test of fold 1 is no list of indices into 92 windows: it holds 92"),
        ([(np.arange(10), np.arange(10, 20))], "all 10 training windows of fold 1 are ore; both are needed"),
        ([(np.arange(5, 40), np.arange(3))], "the test of fold 1 lacks ore or barren windows"),
    ],
    ids=str,
)
def test_splits_that_are_none_are_refused_before_anything_is_trained(folds: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cross_validate(folds=folds)


@pytest.mark.usefixtures("tiny", "without_forest")
def test_all_splits_are_looked_at_before_the_first_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained(monkeypatch)
    every = np.arange(len(WINDOWS))
    with pytest.raises(SeparationError, match="in split 5"):
        cross_validate(folds=[*gp.spatial_folds(WINDOWS, 4), (every, every)])
    assert not trained.models


@pytest.mark.parametrize(
    ("screen", "message"),
    [
        ("shft", "^screen='shft': needs one of .*did you mean 'shift'"),
        ({"rule": "hol"}, r"^screen\['rule'\]='hol': needs one of .*did you mean 'holm'"),
        ({"rul": "holm"}, "^screen={'rul': 'holm'}: screen has no argument 'rul'; did you mean 'rule'"),
        ({"rng": 0}, "^screen={'rng': …}: rng of screen is not set here; leave it out"),
        (3, "^screen=3: needs one of"),
    ],
    ids=str,
)
def test_a_screening_that_is_none_is_named_as_it_was_passed(screen: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cross_validate(screen=screen)


def test_windows_and_survey_in_each_others_place_are_named() -> None:
    with pytest.raises(InputError, match=r"windows: is a Dataset, needs Windows.*they come first, then the survey"):
        cross_validate(SURVEY, WINDOWS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"survey='survey\.tif': is a str, needs an xarray Dataset"):
        cross_validate(survey="survey.tif")  # type: ignore[arg-type]


@pytest.mark.parametrize("zoom", [1, 3])
def test_a_place_of_the_map_shares_no_ground_with_a_halo_that_was_trained_on(zoom: int) -> None:
    grid = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -70, 2_400_000), (20, 600))
    windows = gp.Windows(grid, [0, 0], [0, 580], [1, 0], [0, -1], range(1), [(grid.x[2], grid.y[2])], size=6, crop=6,
                         zooms=[zoom, zoom])  # fmt: skip
    col = np.arange(0, 594)
    none = np.zeros(col.size, dtype=np.int64)
    places = dataclasses.replace(
        windows, rows=none, cols=col, labels=none, deposits=none - 1, zooms=none + 1, draw=none - 1
    )
    splits = [(np.array([0]), np.array([1]))]
    study: Any = SimpleNamespace(windows=windows, context=32)
    fold = cross_validation._fold_of_places(places, study, splits, apart=0.0)
    assert col[fold == 1].min() == 6 * zoom + 32 * zoom + 32  # the window, its halo, and that of the place


@pytest.mark.usefixtures("tiny", "without_forest")
def test_warnings_from_within_point_at_the_line_of_the_user() -> None:
    some = np.flatnonzero((WINDOWS.labels == 0) | (np.arange(len(WINDOWS)) % 4 == 0))  # two ore windows a region
    windows, survey = WINDOWS[some], SURVEY.copy(deep=True)
    row, col = int(windows.rows[-1]), int(windows.cols[-1])
    survey["Cu"].values[row : row + 6, col : col + 6] = np.nan
    with pytest.warns(DataWarning) as caught:
        cross_validate(windows, survey)
    told = [one for one in caught if issubclass(one.category, DataWarning)]
    for said in ("fewer than 10 training windows", "have no data in their middle"):
        assert any(said in str(one.message) for one in told)
    assert {one.filename for one in told} == {__file__}


@pytest.mark.usefixtures("tiny", "without_forest")
def test_warnings_of_the_screening_within_a_fold_point_at_the_line_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoprospect.screening.cells._FEW", 100)
    with pytest.warns(DataWarning, match=r"only \d+ places hold one") as caught:
        cross_validate(screen={"rule": "holm", "permutations": 0, "draws": 1})
    assert {one.filename for one in caught if issubclass(one.category, DataWarning)} == {__file__}


@pytest.mark.usefixtures("tiny", "without_forest")
def test_folds_hold_the_scheme_and_the_block() -> None:
    scores = cross_validate(folds=gp.Folds(2, "blocks", 3000, 0))
    assert "2 sets of square blocks" in scores.separation
    splits = gp.spatial_folds(WINDOWS, 2, scheme="blocks", block=3000)
    for ours, theirs in zip(scores.splits, splits, strict=True):
        assert np.array_equal(ours[0], theirs[0])
        assert np.array_equal(ours[1], theirs[1])


def test_settings_of_folds_are_not_settings_of_the_training() -> None:
    for name, value in (("buffer", 0.0), ("block", 100.0), ("alpha", 0.05)):
        with pytest.raises(InputError, match=f"{name}={value}: there is no such setting"):
            cross_validate(**{name: value})


@pytest.mark.usefixtures("tiny", "without_forest")
def test_splits_of_ones_own_that_share_none_give_the_scores_of_the_same_folds() -> None:
    mine = cross_validate(folds=gp.spatial_folds(WINDOWS, 4))
    pd.testing.assert_frame_equal(mine.windows, cross_validate().windows)
    assert "given by the user, checked" in mine.separation


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_papers_protocol_stands_beside_with_the_ground_it_shares() -> None:
    paper = cross_validate(paper_protocol=True).paper
    assert paper is not None
    assert paper["n_test"] == round(102 / 212 * 32) + round(104 / 225 * 60)
    assert paper["n_train"] == len(WINDOWS) - paper["n_test"]
    assert 0.1 < paper["overlap"] < 1
    assert paper["low"] <= paper["auc"] <= paper["high"]


@pytest.mark.usefixtures("tiny", "without_forest")
def test_every_draw_of_barren_windows_has_its_networks_and_its_score() -> None:
    windows = gp.sample_windows(SURVEY, deposits_at(PLACES), 6, 5, 32, 60, rng=3, draws=3)
    scores = cross_validate(windows, keep_models=True)
    assert scores.draws is not None
    assert scores.draws.index.tolist() == [0, 1, 2]
    assert scores.draws["auc"].nunique() == 3
    assert [len(model.networks) for model in scores.models] == [3] * 4


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_calibration_of_a_fold_knows_nothing_of_its_test_ground(monkeypatch: pytest.MonkeyPatch) -> None:
    test = WINDOWS[gp.spatial_folds(WINDOWS, 4)[0][1]]
    planted = SURVEY.copy(deep=True)
    for name in planted.data_vars:
        planted[name].values[ground(test)] = 1e4
    found: list[float] = []
    real = cross_validation.calibrate

    def spy(*args: Any, **settings: Any) -> Any:
        calibration = real(*args, **settings)
        found.append(calibration.temperature)
        return calibration

    monkeypatch.setattr(cross_validation, "calibrate", spy)
    for survey in (SURVEY, planted):
        scores = cross_validate(survey=survey, calibrated=True, epochs=6, lr=0.1)
    assert len(found) == 8
    assert found[0] == found[4]
    assert any(found[i] != found[i + 4] for i in (1, 2, 3))
    assert scores.folds["brier_calibrated"].between(0, 1).all()


@pytest.mark.usefixtures("tiny", "without_forest")
def test_a_classifier_of_ones_own_joins_under_its_name_and_an_empty_mapping_leaves_all_out() -> None:
    from sklearn.naive_bayes import GaussianNB

    table = cross_validate(baselines={"naive Bayes": GaussianNB()}).table
    assert table.loc["naive Bayes", "auc"] > 0.9
    assert 0 <= table.loc["naive Bayes", "brier"] < 0.25  # it gives probabilities
    assert cross_validate(baselines={}).table.index.tolist() == ["shufflenet_v2_x1_0"]
    with pytest.raises(InputError, match="'best element' is the name of one that is there already"):
        cross_validate(baselines={"best element": GaussianNB()})


@pytest.mark.usefixtures("tiny", "without_forest")
def test_a_control_that_knows_only_where_samples_lie_finds_sampling_about_deposits() -> None:
    draws = np.random.default_rng(0)
    rows, cols = np.array(PLACES).T
    mines = np.column_stack([GRID.x[cols], GRID.y[rows]])
    near = (mines[:, None] + draws.normal(0, 150, (len(mines), 40, 2))).reshape(-1, 2)
    far = np.column_stack([draws.uniform(500_000, 506_000, 60), draws.uniform(2_394_000, 2_400_000, 60)])
    points = np.concatenate([near, far])
    samples = gp.Samples(points, np.ones((len(points), 1)), ["Cu"], ["ppm"], "EPSG:32649")
    table = cross_validate(survey=SURVEY[["Sn"]], baselines=None, samples=samples).table
    assert table.loc["no chemistry", "auc"] > 0.9
    assert "no chemistry" not in cross_validate(baselines=None).table.index
