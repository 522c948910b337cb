"""Cross-validation: that nothing of the test is known in training, and that its numbers mean what they say."""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import torch
import xarray as xr
from affine import Affine
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import geoprospect as gp
from geoprospect import training, validation
from geoprospect.errors import DataWarning, InputError, SeparationError

GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (60, 60))
# Four clusters of two deposits: north-west, south-west, north-east, south-east.
PLACES = [(9, 10), (12, 12), (48, 11), (50, 8), (10, 47), (12, 50), (49, 48), (52, 51)]
METHODS = ["resnet18", "best element", "logistic regression", "random forest"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small layers on many threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a network of a few weights under the name of a great one, where only the folds are in question."""

    def build(name: str, n_bands: int, weights: Any = None, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(n_bands, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(4, 2),
            )  # fmt: skip

    monkeypatch.setattr(training, "build_network", build)


@pytest.fixture
def without_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The random forest takes most of the time."""
    monkeypatch.delitem(validation._BASELINES, "random forest")


def cross_validate(windows: gp.Windows = WINDOWS, survey: xr.Dataset = SURVEY, **changed: Any) -> gp.Scores:
    asked: dict[str, Any] = {"network": "resnet18", "folds": 4, "rng": 0, "epochs": 1, "device": "cpu"}
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


# ---------------------------------------------------------------- the split


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000), n_deposits=st.integers(2, 14), folds=st.integers(2, 6), size=st.integers(3, 8),
    buffer=st.sampled_from([0.0, 100.0, 250.0]),
)  # fmt: skip
def test_no_training_ground_is_test_ground(seed: int, n_deposits: int, folds: int, size: int, buffer: float) -> None:
    draws = np.random.default_rng(seed)
    places = [(int(row), int(col)) for row, col in draws.integers(0, 60, (n_deposits, 2))]
    windows = gp.sample_windows(SURVEY, deposits_at(places), size, size, 2 * n_deposits, 60, rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            split = gp.spatial_folds(windows, folds, buffer)
        except InputError:
            reject()
    boxes = windows.footprints().geometry.to_numpy()
    assert 2 <= len(split) <= folds
    for fit, test in split:
        assert not set(fit) & set(test)
        nearest = shapely.STRtree(boxes[test]).query_nearest(boxes[fit], return_distance=True, all_matches=False)[1]
        assert (nearest >= buffer - 1e-6).all()
        pairs = shapely.STRtree(boxes[test]).query(boxes[fit], predicate="intersects")
        shared = shapely.area(shapely.intersection(boxes[fit][pairs[0]], boxes[test][pairs[1]]))
        assert (shared == 0).all()
        assert set(windows.labels[fit]) == set(windows.labels[test]) == {0, 1}
    tested = np.concatenate([test for _, test in split])
    assert len(np.unique(tested)) == len(tested)
    fold_of = {int(window): number for number, (_, test) in enumerate(split) for window in test}
    for deposit in range(n_deposits):
        mine = np.flatnonzero(windows.deposits == deposit)
        assert len({fold_of.get(int(window)) for window in mine}) == 1  # together, in one test or in none


def test_clusters_of_deposits_are_the_regions_from_west_to_east() -> None:
    split = gp.spatial_folds(WINDOWS, folds=4)
    tested = [sorted(set(WINDOWS.deposits[test].tolist()) - {-1}) for _, test in split]
    assert sorted(tested[:2]) == [[0, 1], [2, 3]]
    assert sorted(tested[2:]) == [[4, 5], [6, 7]]
    assert np.array_equal(np.sort(np.concatenate([test for _, test in split])), np.arange(len(WINDOWS)))


def test_an_ore_window_goes_with_its_deposit_though_one_of_another_region_is_nearer_to_its_middle() -> None:
    """A chain of deposits that is cut in two; windows to both sides of each reach over to the next."""
    places = [(30, col) for col in range(7, 53, 5)] + [(8, 52)]
    ore = [(row - 3, col - shift, i) for i, (row, col) in enumerate(places) for shift in (0, 5)]
    windows = windows_at(ore, [(50, 4), (50, 14), (50, 44), (50, 54)], places)
    split = gp.spatial_folds(windows, folds=2)
    tested = [set(windows.deposits[test].tolist()) - {-1} for _, test in split]
    assert all(len(deposits) > 2 for deposits in tested)
    assert tested[0] | tested[1] == set(range(len(places)))
    assert not tested[0] & tested[1]


def test_what_neither_trains_nor_tests_touches_the_test_ground() -> None:
    windows = cut(size=12, crop=10)
    boxes, dropped = windows.footprints().geometry.to_numpy(), 0
    for fit, test in gp.spatial_folds(windows, folds=4):
        rest = np.setdiff1d(np.arange(len(windows)), np.concatenate([fit, test]))
        shared = shapely.area(shapely.intersection(boxes[rest], shapely.union_all(boxes[test])))
        assert (shared > 0).all()
        dropped += len(rest)
    assert dropped > 0


def test_windows_that_share_an_edge_are_apart_and_a_buffer_parts_them() -> None:
    places = [(5, 5), (5, 45)]
    windows = windows_at(
        [(3, 3, 0), (3, 43, 1), (4, 4, 0), (4, 42, 1)], [(20, 19), (20, 25), (20, 31), (40, 5)], places
    )
    # Three barren windows in a row touch; the one in the middle goes with the eastern deposit.
    split = gp.spatial_folds(windows, folds=2)
    assert [len(fit) + len(test) for fit, test in split] == [8, 8]
    parted = gp.spatial_folds(windows, folds=2, buffer=1.0)
    assert [len(fit) + len(test) for fit, test in parted] == [7, 7]


def test_there_are_no_more_folds_than_clusters_of_deposits(caplog: pytest.LogCaptureFixture) -> None:
    places = [(9, 10), (12, 12), (11, 9), (49, 48), (52, 51), (50, 50)]
    windows = gp.sample_windows(SURVEY, deposits_at(places), 6, 5, 30, 60, rng=0)
    with caplog.at_level(logging.INFO, logger="geoprospect"):
        split = gp.spatial_folds(windows, folds=5)
    assert len(split) == 2
    assert "2 folds instead of 5" in caplog.text


def test_windows_too_wide_to_part_the_ground_are_an_error_with_the_cure() -> None:
    windows = cut(size=34, crop=30, n_ore=30, n_barren=12)
    with pytest.raises(SeparationError, match="take smaller windows") as caught:
        gp.spatial_folds(windows, folds=4)
    assert "windows 3400 wide around 8 deposits" in str(caught.value)
    assert "folds=4" in str(caught.value)


def test_a_region_without_barren_windows_is_left_out_with_a_warning() -> None:
    places = [(5, 5), (5, 50), (50, 5)]
    ore = [(3, 3, 0), (4, 2, 0), (3, 48, 1), (2, 47, 1), (48, 3, 2), (47, 2, 2)]
    windows = windows_at(ore, [(14, 4), (2, 14), (14, 50), (3, 38)], places)  # none near the third deposit
    with pytest.warns(DataWarning, match="1 of 3 regions are left out"):
        split = gp.spatial_folds(windows, folds=3)
    assert [set(windows.deposits[test].tolist()) for _, test in split] == [{-1, 0}, {-1, 1}]
    assert all(2 in windows.deposits[fit] for fit, _ in split)  # it still trains


def test_one_deposit_cannot_be_validated() -> None:
    windows = windows_at([(3, 3, 0), (4, 2, 0)], [(30, 30), (40, 40)], [(5, 5)])
    with pytest.raises(SeparationError, match="around 1 deposits"):
        gp.spatial_folds(windows)


def test_windows_without_ore_cannot_be_split() -> None:
    with pytest.raises(InputError, match="hold no ore"):
        gp.spatial_folds(WINDOWS[WINDOWS.labels == 0])


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"folds": 1}, "folds"), ({"folds": 2.5}, "folds"), ({"buffer": -1}, "buffer"), ({"buffer": np.nan}, "buffer")],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(changed: dict[str, Any], name: str) -> None:
    for split in (lambda: gp.spatial_folds(WINDOWS, **changed), lambda: cross_validate(**changed)):
        with pytest.raises(InputError, match=f"{name}="):
            split()


# ---------------------------------------------------------------- nothing of the test is known in training


class Trained:
    """What each fold's training was given, and what it made of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows: list[gp.Windows] = []
        self.models: list[gp.ProspectivityModel] = []
        self.predicted: list[gp.Windows] = []
        train, predict_windows = validation.train, validation.predict_windows

        def spy_train(windows: gp.Windows, survey: xr.Dataset, *args: Any, **settings: Any) -> gp.ProspectivityModel:
            self.windows.append(windows)
            self.models.append(train(windows, survey, *args, **settings))
            return self.models[-1]

        def spy_predict(model: Any, survey: Any, windows: gp.Windows, device: str) -> NDArray[np.float64]:
            self.predicted.append(windows)
            return predict_windows(model, survey, windows, device)

        monkeypatch.setattr(validation, "train", spy_train)
        monkeypatch.setattr(validation, "predict_windows", spy_predict)

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
        for at, got in ((fit, fitted), (test, predicted)):
            for name in ("rows", "cols", "labels", "deposits"):
                assert np.array_equal(getattr(got, name), getattr(WINDOWS[at], name))
        assert not (ground(fitted) & ground(predicted)).any()


@pytest.mark.usefixtures("tiny", "without_forest")
@pytest.mark.parametrize("screen", [None, "holm", "gao2022"])
def test_whatever_lies_on_the_test_ground_the_model_of_the_fold_is_the_same(
    screen: Any, monkeypatch: pytest.MonkeyPatch
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
        cross_validate(survey=survey, screen=screen, alpha=0.05)
    clean, poisoned = trained.bytes[:4], trained.bytes[4:]
    assert poisoned[0] == clean[0]
    assert all(poisoned[i] != clean[i] for i in (1, 2, 3))  # there it is training ground


@pytest.mark.usefixtures("tiny", "without_forest")
def test_baselines_do_not_see_the_test_ground_either(monkeypatch: pytest.MonkeyPatch) -> None:
    test = WINDOWS[gp.spatial_folds(WINDOWS, 4)[0][1]]
    holed = SURVEY.copy(deep=True)
    holed["Cu"].values[np.random.default_rng(0).random(GRID.shape) < 0.2] = np.nan  # what fills them must not tell
    planted = holed.copy(deep=True)
    for name in planted.data_vars:
        planted[name].values[ground(test)] = 12345.0
    fitted: list[bytes] = []

    def spy(x: NDArray[np.float64], labels: Any, x_test: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        fitted.append(x.tobytes())
        return x_test[:, 0]

    monkeypatch.setitem(validation._BASELINES, "best element", spy)
    for survey in (holed, planted):
        cross_validate(survey=survey)
    assert fitted[0] == fitted[4]
    assert fitted[1] != fitted[5]


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_screening_sees_neither_the_deposits_nor_the_ground_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[xr.Dataset, gpd.GeoDataFrame]] = []
    real = validation.screen_bands

    def spy(survey: xr.Dataset, deposits: gpd.GeoDataFrame, *args: Any, **settings: Any) -> pd.DataFrame:
        calls.append((survey, deposits))
        return real(survey, deposits, *args, **settings)

    monkeypatch.setattr(validation, "screen_bands", spy)
    scores = cross_validate(screen="holm", alpha=0.05)
    split = gp.spatial_folds(WINDOWS, 4)
    assert len(calls) == 4
    for (fit, test), (survey, deposits) in zip(split, calls, strict=True):
        closed = ground(WINDOWS[test])
        for name in SURVEY.data_vars:
            assert np.isnan(survey[name].values[closed]).all()
            assert np.array_equal(survey[name].values[~closed], SURVEY[name].values[~closed])
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
        scores = cross_validate(survey=SURVEY[["Au", "Sn"]], screen="holm", alpha=1e-6)
    assert scores.folds["bands"].tolist() == ["Au, Sn"] * 4
    assert caplog.text.count("no band passes") == 4


# ---------------------------------------------------------------- the scores


@pytest.fixture(scope="module")
def scores() -> gp.Scores:
    """A real network on the toy survey."""
    return gp.cross_validate(WINDOWS, SURVEY, "shufflenet_v2_x1_0", folds=4, rng=0, epochs=1, device="cpu")


def test_a_band_that_knows_the_ore_is_found_by_every_baseline(scores: gp.Scores) -> None:
    assert scores.table.index.tolist() == ["shufflenet_v2_x1_0", *METHODS[1:]]
    assert (scores.table["auc"].iloc[1:] > 0.97).all()
    assert (scores.table["low"] <= scores.table["auc"]).all()
    assert (scores.table["high"] >= scores.table["auc"]).all()


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_best_element_may_be_one_that_ore_lacks() -> None:
    table = cross_validate(survey=SURVEY[["Ag", "Sn"]]).table
    assert table.loc["best element", "auc"] > 0.97


@pytest.mark.usefixtures("tiny")
def test_noise_is_not_told_from_chance() -> None:
    table = cross_validate(survey=SURVEY[["Au", "Sn"]], epochs=2).table
    assert table.index.tolist() == METHODS
    assert (table["low"] < 0.5).all()
    assert (table["high"] > 0.5).all()
    assert (table["high"] - table["low"] > 0.1).all()


@pytest.mark.usefixtures("tiny", "without_forest")
def test_the_same_seed_gives_the_same_scores_and_another_seed_others() -> None:
    one, again, other = cross_validate(rng=5), cross_validate(rng=5), cross_validate(rng=6)
    for name in ("table", "windows", "folds"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(again, name), check_exact=True)
    assert not one.windows["resnet18"].equals(other.windows["resnet18"])
    assert not one.table["low"].equals(other.table["low"])


def test_every_window_is_listed_once_with_its_fold_label_and_scores(scores: gp.Scores) -> None:
    listed, split = scores.windows.set_index("window"), gp.spatial_folds(WINDOWS, 4)
    assert sorted(listed.index) == list(range(len(WINDOWS)))
    assert (listed["label"].to_numpy() == WINDOWS.labels[listed.index]).all()
    for number, (_, test) in enumerate(split, start=1):
        assert (listed.loc[test, "fold"] == number).all()
    assert list(scores.windows.columns) == ["window", "fold", "label", *scores.table.index, "cluster"]
    assert np.isfinite(scores.windows[scores.table.index]).all(axis=None)


def test_the_counts_of_the_folds_add_up(scores: gp.Scores) -> None:
    folds = scores.folds
    for number, (fit, test) in enumerate(gp.spatial_folds(WINDOWS, 4), start=1):
        row = folds.loc[number]
        assert (row["train_ore"], row["train_barren"]) == (WINDOWS.labels[fit].sum(), (WINDOWS.labels[fit] == 0).sum())
        assert (row["test_ore"], row["test_barren"]) == (WINDOWS.labels[test].sum(), (WINDOWS.labels[test] == 0).sum())
        assert row["dropped"] == len(WINDOWS) - len(fit) - len(test)
        assert row["test_deposits"] == 2
        part = scores.windows[scores.windows["fold"] == number]
        for method in scores.table.index:
            assert row[method] == gp.rank_auc(part["label"], part[method])
    np.testing.assert_allclose(folds[scores.table.index].mean(), scores.table["auc"], rtol=1e-12)


def test_the_scores_at_one_half_are_those_of_all_tested_windows(scores: gp.Scores) -> None:
    network = scores.table.index[0]
    evaluation = gp.Evaluation.of(scores.windows["label"], scores.windows[network])
    assert scores.table.loc[network, "balanced_accuracy"] == evaluation.balanced_accuracy
    assert scores.table.loc[network, "macro_f1"] == evaluation.macro_f1
    assert scores.table[["balanced_accuracy", "macro_f1"]].iloc[1:].isna().all(axis=None)


def test_features_of_the_baselines_are_means_over_the_crop() -> None:
    stack = np.random.default_rng(0).normal(size=(3, *GRID.shape)).astype(np.float32) * 100
    found = validation._window_means(stack, WINDOWS)
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
    pd.testing.assert_frame_equal(cross_validate(survey=survey).table, cross_validate().table, check_exact=True)


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
    assert cross_validate().separation == "spatially separated: 4 compact regions of deposits, no shared ground"
    assert cross_validate(buffer=150).separation.endswith("no shared ground, 150 metres apart")


@pytest.mark.usefixtures("tiny", "without_forest")
def test_settings_of_the_training_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained(monkeypatch)
    cross_validate(epochs=2, batch=9, lr=0.5, n_models=2)
    for model in trained.models:
        assert (len(model.networks), model.settings["epochs"], model.settings["batch"]) == (2, 2, 9)
        assert model.settings["lr"] == 0.5
    assert len({model.seed for model in trained.models}) == 4
    with pytest.raises(TypeError, match="epoch_count"):
        cross_validate(epoch_count=2)


def test_a_survey_on_another_grid_is_refused() -> None:
    with pytest.raises(InputError, match="cut them on this survey"):
        cross_validate(survey=SURVEY.isel(y=slice(1, None)))


# ---------------------------------------------------------------- the interval


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


def test_without_resampling_the_auc_is_the_mean_over_the_folds() -> None:
    tested = make_tested()
    found = validation._bootstrap(tested, METHODS_OF_TOY, None)
    assert found.shape == (3, 1)
    for method, value in zip(METHODS_OF_TOY, found[:, 0], strict=True):
        aucs = [gp.rank_auc(part["label"], part[method]) for _, part in tested.groupby("fold")]
        assert value == pytest.approx(np.mean(aucs), abs=1e-12)
    assert found[0, 0] == pytest.approx(1 - found[2, 0], abs=1e-12)


def test_a_resample_is_the_table_with_each_cluster_as_often_as_it_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "_REPLICATES", 25)
    tested = make_tested(n_units=5)
    found = validation._bootstrap(tested, METHODS_OF_TOY, np.random.default_rng(3))
    draws = np.random.default_rng(3)
    counts = np.hstack([draws.multinomial(5, np.full(5, 1 / 5), size=25) for _ in ("ore", "barren")])  # (R, units)
    for r, count in enumerate(counts):
        drawn = tested.loc[np.repeat(tested.index, count[tested["cluster"]])]
        for m, method in enumerate(METHODS_OF_TOY):
            aucs = [gp.rank_auc(part["label"], part[method]) for _, part in drawn.groupby("fold")]
            assert found[m, r] == pytest.approx(np.nanmean(aucs), abs=1e-12)


def test_more_windows_on_the_same_ground_do_not_narrow_the_interval() -> None:
    tested = make_tested()
    tenfold = pd.concat([tested] * 10, ignore_index=True)
    wide, same = (
        validation._score_table(table, METHODS_OF_TOY, np.random.default_rng(0)) for table in (tested, tenfold)
    )
    assert same.loc["net", "auc"] == pytest.approx(wide.loc["net", "auc"])
    width, width_tenfold = ((table["high"] - table["low"])["net"] for table in (wide, same))
    assert width > 0.15
    assert width_tenfold == pytest.approx(width, rel=0.01)


def test_more_clusters_do_narrow_the_interval() -> None:
    few, many = (
        validation._score_table(make_tested(n_units=n), METHODS_OF_TOY, np.random.default_rng(0)) for n in (6, 96)
    )
    assert (many["high"] - many["low"])["net"] < (few["high"] - few["low"])["net"] / 2


def test_ore_windows_of_one_cluster_and_barren_ones_of_one_block_are_one_unit() -> None:
    places = [(9, 10), (12, 12), (48, 11)]
    windows = windows_at(
        [(6, 8, 0), (8, 9, 1), (45, 9, 2), (46, 8, 2)], [(0, 18), (2, 20), (0, 50), (30, 30), (30, 29)], places
    )
    unit = validation._independent_units(windows)
    assert unit[0] == unit[1] != unit[2] == unit[3]
    assert not set(unit[:4]) & set(unit[4:])
    assert unit[4] == unit[5] != unit[6]
    assert unit[6] != unit[7] == unit[8]


# ---------------------------------------------------------------- who is ahead


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
    table = validation._score_table(tested, ["network", "baseline"], np.random.default_rng(0))
    assert np.isnan(table.loc["network", "beats"])
    assert table.loc["baseline", "beats"] == share


def test_resamples_that_tell_nothing_do_not_count_against_the_network() -> None:
    """With one cluster a fold, many resamples have ore in one fold and barren ground in the other."""
    tested = pd.DataFrame({
        "fold": [1, 1, 2, 2], "label": [1, 0, 1, 0], "cluster": [0, 1, 2, 3],
        "network": [1.0, 0.0, 1.0, 0.0], "baseline": [0.0, 1.0, 0.0, 1.0],
    })  # fmt: skip
    assert np.isnan(validation._bootstrap(tested, ["network"], np.random.default_rng(0))).mean() > 0.05
    table = validation._score_table(tested, ["network", "baseline"], np.random.default_rng(0))
    assert table.loc["baseline", "beats"] == 1.0
    assert table.loc["network", ["auc", "low", "high"]].tolist() == [1, 1, 1]


def by_hand(beats: float) -> gp.Scores:
    table = pd.DataFrame(
        {
            "auc": [0.712, 0.65, 0.7, 0.69], "low": [0.6, 0.5, 0.61, 0.6], "high": [0.8, 0.8, 0.79, 0.78],
            "beats": [np.nan, 0.999, beats, 0.001], "balanced_accuracy": [0.6, np.nan, np.nan, np.nan],
            "macro_f1": [0.5, np.nan, np.nan, np.nan],
        },
        index=pd.Index(["resnet50", "best element", "logistic regression", "random forest"], name="method"),
    )  # fmt: skip
    return gp.Scores(table, pd.DataFrame(), pd.DataFrame(), "spatially separated: 5 regions")


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
