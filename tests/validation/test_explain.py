"""What the networks look at: known answers for networks whose weights are known."""

import dataclasses
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from torch import Tensor, nn

import geoprospect as gp
from geoprospect.errors import (
    DataWarning,
    DependencyError,
    DeviceError,
    InputError,
    NameNotFoundError,
    SeparationError,
)
from geoprospect.models.architectures import ARCHITECTURES
from geoprospect.models.model import ProspectivityModel
from geoprospect.models.networks import build_network
from geoprospect.models.training import fit_networks
from geoprospect.prediction.predict import predict_windows
from geoprospect.validation import explain
from geoprospect.validation.explain import attribute, element_importance
from geoprospect.windows.windows import Windows

pytestmark = pytest.mark.usefixtures("one_thread")


GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (72, 96))
WIDE = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (320, 384))


class Means(nn.Module):
    """Log-odds are a weighted sum of the means of the bands over the window."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        odds = x.mean(dim=(2, 3)) @ self.weights
        return torch.stack([torch.zeros_like(odds), odds], dim=1)


def make_model(
    networks: list[nn.Module], bands: tuple[str, ...] = ("Cu", "Au", "W"), size: int = 8, crop: int = 8,
    network: str = "shufflenet_v2_x1_0",
) -> ProspectivityModel:  # fmt: skip
    n = len(bands)
    return ProspectivityModel(
        networks=tuple(net.eval() for net in networks), network=network, bands=bands, units=("ppm",) * n,
        offset=np.full(n, 2.0), scale=np.full(n, 0.5), size=size, crop=crop, cell_size=(100.0, 100.0), seed=1,
        history=pd.DataFrame({"loss": [0.1]}), settings={},
    )  # fmt: skip


def make_survey(bands: dict[str, NDArray[Any]], grid: gp.Grid = GRID) -> xr.Dataset:
    """A survey whose bands, scaled by the model, are the given ones."""
    unscaled = {name: (2.0 + 0.5 * values).astype(np.float32) for name, values in bands.items()}
    return grid.dataset(unscaled, {name: {"units": "ppm"} for name in bands})


def noise(names: tuple[str, ...] = ("Cu", "Au", "W"), seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Blocks of one window each with a level of their own, so that window means differ."""
    draws = np.random.default_rng(seed)
    return {name: np.kron(draws.normal(size=(9, 12)), np.ones((8, 8))) for name in names}


def tiles(bands: dict[str, NDArray[Any]], by: str = "Cu") -> tuple[Windows, list[tuple[NDArray[Any], NDArray[Any]]]]:
    """Windows side by side, ore where one band is high, each ore window with a deposit of its own; two folds."""
    rows, cols = (a.ravel() * 8 for a in np.mgrid[:9, :12])
    level = bands[by][rows, cols]
    labels = (level > np.median(level)).astype(int)
    x, y = GRID.x[cols] + 350, GRID.y[rows] - 350
    ore = labels == 1
    deposits = np.where(ore, np.cumsum(ore) - 1, -1)
    points = np.column_stack([x, y])[ore]
    windows = Windows(GRID, rows, cols, labels, deposits, tuple(range(ore.sum())), points, 8, 8)
    west, east = np.flatnonzero(cols < 48), np.flatnonzero(cols >= 48)
    return windows, [(east, west), (west, east)]


# ---------------------------------------------------------------- importance


def test_the_band_that_makes_the_labels_is_all_that_matters() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    models = [make_model([Means([3.0, 0.0, 0.0])]), make_model([Means([1.0, 0.0, 0.0])])]
    table = element_importance(models, make_survey(bands), windows, folds, rng=0, device="cpu")
    assert list(table.index) == ["Cu", "Au", "W"]
    assert table.index.name == "band"
    assert list(table.columns) == ["importance", "std", "low", "high"]
    # Every pair is ranked rightly before, and half of them after.
    assert table.attrs["auc"] == 1
    assert table.loc["Cu", "importance"] == pytest.approx(0.5, abs=0.05)
    assert 0 < table.loc["Cu", "low"] <= table.loc["Cu", "importance"] <= table.loc["Cu", "high"] < 1
    # What the networks give no weight changes nothing, to the last bit.
    assert (table.loc[["Au", "W"]] == 0).all(axis=None)


def test_importance_is_that_of_a_slow_reference() -> None:
    """Means over tiles, shuffled with the same draws."""
    bands = noise(seed=3)
    windows, folds = tiles(bands)
    weights = np.array([1.0, 0.7, -0.4])
    model = make_model([Means(weights.tolist())])
    table = element_importance([model, model], make_survey(bands), windows, folds, repeats=4, rng=5, device="cpu")
    draws, drops, base = np.random.default_rng(5), [], []
    for _, test in folds:
        means = np.column_stack([bands[name][windows.rows[test], windows.cols[test]] for name in ("Cu", "Au", "W")])
        auc = gp.stats.rank_auc(windows.labels[test], means @ weights)
        base.append(auc)
        drops.append([])
        for band in range(3):
            for _ in range(4):
                mixed = means.copy()
                mixed[:, band] = means[draws.permutation(test.size), band]
                drops[-1].append(auc - gp.stats.rank_auc(windows.labels[test], mixed @ weights))
    expected = np.array(drops).reshape(2, 3, 4)
    assert table.attrs["auc"] == pytest.approx(np.mean(base), abs=1e-9)
    found = table.loc[["Cu", "Au", "W"]]
    np.testing.assert_allclose(found["importance"], expected.mean(axis=(0, 2)), atol=1e-9)
    np.testing.assert_allclose(found["std"], expected.std(axis=(0, 2)), atol=1e-9)


def test_the_auc_before_is_that_of_predicted_windows() -> None:
    bands = noise(seed=1)
    windows, folds = tiles(bands)
    survey, model = (
        make_survey(bands),
        make_model([lively(build_network("shufflenet_v2_x1_0", 3)), Means([0.0, 1.0, 0.0])]),
    )
    with pytest.warns(DataWarning):  # it was never trained
        table = element_importance([model, model], survey, windows, folds, repeats=1, rng=0, device="cpu")
    expected = [
        gp.stats.rank_auc(windows.labels[test], predict_windows(model, survey, windows[test], "cpu"))
        for _, test in folds
    ]
    assert table.attrs["auc"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_elements_that_stand_in_for_each_other_matter_together() -> None:
    bands = noise()
    bands["Au"] = bands["Cu"] + 1e-3
    windows, folds = tiles(bands)
    models, survey = [make_model([Means([1.0, 1.0, 0.0])])] * 2, make_survey(bands)
    alone = element_importance(models, survey, windows, folds, rng=0, device="cpu")
    groups = {"chalcophile": ["Cu", "Au"]}
    together = element_importance(models, survey, windows, folds, groups=groups, rng=0, device="cpu")
    assert sorted(together.index) == ["W", "chalcophile"]
    assert together.loc["chalcophile", "importance"] == pytest.approx(0.5, abs=0.05)
    assert alone.loc[["Cu", "Au"], "importance"].max() < 0.35
    assert alone.loc["Cu", "importance"] == pytest.approx(alone.loc["Au", "importance"], abs=0.05)


def test_a_whole_patch_is_shuffled_so_texture_counts_as_well() -> None:
    """A network that sees the contrast within a window and not its level."""

    class Contrast(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            odds = x[:, 0].std(dim=(1, 2))
            return torch.stack([-odds, odds], dim=1)

    bands = noise()
    windows, folds = tiles(bands)
    checks = np.indices(GRID.shape).sum(axis=0) % 2 * 2 - 1
    textured = {"Cu": checks * np.exp(bands["Cu"]), "Au": bands["Au"], "W": bands["W"]}  # all window means are 0
    table = element_importance(
        [make_model([Contrast()])] * 2, make_survey(textured), windows, folds, rng=0, device="cpu"
    )
    assert table.attrs["auc"] == 1
    assert table.loc["Cu", "importance"] == pytest.approx(0.5, abs=0.05)


def test_a_planted_element_is_found_by_networks_that_were_trained() -> None:
    bands = {name: np.random.default_rng(i).normal(size=GRID.shape) for i, name in enumerate(("Au", "Cu", "W"))}
    windows, folds = tiles(noise())
    bands["Cu"] += np.where(noise()["Cu"] > np.median(noise()["Cu"]), 1.0, -1.0)
    survey = make_survey(bands)
    models = [fit_networks(windows[fit], survey, "resnet18", epochs=2, device="cpu", rng=0) for fit, _ in folds]
    table = element_importance(models, survey, windows, folds, repeats=2, rng=0, device="cpu")
    assert table.index[0] == "Cu"
    assert table.attrs["auc"] > 0.9
    assert table.loc["Cu", "low"] > 0.2
    assert table.loc[["Au", "W"], "importance"].abs().max() < 0.1


def test_the_interval_covers_other_deposits_and_barren_ground() -> None:
    """Many surveys of one kind: the interval of one holds the mean of all about as often as it says."""
    found = []
    for seed in range(20):
        bands = noise(("Cu", "Au"), seed)
        draws = np.random.default_rng(1000 + seed)
        truth = {"Cu": bands["Cu"] + np.kron(draws.normal(size=(9, 12)), np.ones((8, 8)))}
        windows, folds = tiles(truth)
        models = [make_model([Means([1.0, 0.5])], ("Cu", "Au"))] * 2
        table = element_importance(models, make_survey(bands), windows, folds, repeats=3, rng=seed, device="cpu")
        found.append(table.loc["Cu"])
    table = pd.DataFrame(found)
    mean = table["importance"].mean()
    covered = ((table["low"] <= mean) & (table["high"] >= mean)).mean()
    assert 0.8 <= covered <= 1
    assert (table["high"] - table["low"]).mean() < 8 * table["importance"].std()


def test_a_band_that_a_fold_does_not_use_counts_as_nothing_there() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    models = [make_model([Means([1.0, 0.0, 0.0])]), make_model([Means([1.0])], ("Cu",))]
    survey = make_survey(bands)
    table = element_importance(models, survey, windows, folds, rng=0, device="cpu")
    assert sorted(table.index) == ["Au", "Cu", "W"]
    grouped = element_importance(models, survey, windows, folds, groups={"all": ["Cu", "Au", "W"]}, rng=0, device="cpu")
    assert grouped.loc["all", "importance"] == pytest.approx(0.5, abs=0.05)


def test_windows_are_shuffled_among_those_of_their_zoom_only() -> None:
    zooms = np.array([1, 2, 1, 2, 2, 1, 3])
    draws, moved = np.random.default_rng(0), False
    for _ in range(20):
        given = explain._shuffle(zooms, draws)
        assert sorted(given) == list(range(7))
        assert (zooms[given] == zooms).all()
        moved |= bool((given != np.arange(7)).any())
    assert moved


def test_the_same_seed_gives_the_same_importances_and_another_seed_others() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    models, survey = [make_model([Means([1.0, 0.5, 0.2])])] * 2, make_survey(bands)
    one, again, other = (
        element_importance(models, survey, windows, folds, repeats=2, rng=seed, device="cpu") for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, again, check_exact=True)
    assert not np.array_equal(one["importance"], other["importance"])


def test_models_that_rank_by_chance_are_named() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    models = [make_model([Means([0.0, 1.0, 0.0])])] * 2
    with pytest.warns(DataWarning, match=r"no better than chance \(AUC 0\.\d\d, 95 % interval from 0\.[0-4]"):
        element_importance(models, make_survey(bands), windows, folds, repeats=2, rng=0, device="cpu")


def test_windows_without_data_are_left_out_and_counted() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    bands["W"][:8, :16] = np.nan  # of two windows in the west
    models = [make_model([Means([1.0, 0.0, 0.0])])] * 2
    with pytest.warns(DataWarning, match="2 of 54 in fold 1 have no data"):
        table = element_importance(models, make_survey(bands), windows, folds, repeats=2, rng=0, device="cpu")
    assert table.attrs["auc"] == 1


def test_a_test_without_one_class_ranks_nothing() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    barren = np.flatnonzero(windows.labels == 0)
    with pytest.raises(InputError, match="test of fold 2 lacks ore or barren"):
        element_importance(
            [make_model([Means([1.0, 0, 0])])] * 2, make_survey(bands), windows, [folds[0], (folds[1][0], barren)],
            rng=0, device="cpu",
        )  # fmt: skip


def test_a_test_on_ground_of_the_training_is_refused_as_in_cross_validation() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    every, models = np.arange(len(windows)), [make_model([Means([1.0, 0, 0])])] * 2
    with pytest.raises(SeparationError, match=r"in split 2 108 of 108 test windows share ground with the training"):
        element_importance(models, make_survey(bands), windows, [folds[0], (every, every)], rng=0, device="cpu")
    halo = [dataclasses.replace(model, settings={"halo": 32}) for model in models]
    with pytest.raises(SeparationError, match="in split 1"):  # with its context, each half sees the other
        element_importance(halo, make_survey(bands), windows, folds, rng=0, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": 1}, "1 for 2 folds"),
        ({"models": 0, "folds": []}, "0 for 0 folds"),
        ({"folds": "outside"}, "test of fold 2 is no list of indices into 108"),
        ({"folds": "negative"}, "test of fold 2 is no list"),
        ({"folds": "empty"}, "test of fold 2 is no list"),
        ({"crop": 7}, "do not fit the model"),
        ({"repeats": 0}, "repeats=0"),
        ({"groups": {"none": []}}, "'none'.*is empty"),
        ({"groups": {"W": ["Cu"]}}, "'W' is the name of a band outside"),
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], message: str) -> None:
    bands = noise()
    windows, folds = tiles(bands)
    models = [make_model([Means([1.0, 0, 0])], crop=change.pop("crop", 8))] * change.pop("models", 2)
    wrong = {"outside": [0, 108], "negative": [-1, 3], "empty": []}
    if isinstance(change.get("folds"), str):
        change["folds"] = [folds[0], (folds[1][0], np.array(wrong[change["folds"]], dtype=np.int64))]
    arguments: dict[str, Any] = {"folds": folds, "rng": 0, "device": "cpu"} | change
    with pytest.raises(InputError, match=message):
        element_importance(models, make_survey(bands), windows, **arguments)


def test_a_group_with_an_unknown_band_is_refused_with_the_nearest() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    with pytest.raises(NameNotFoundError, match=r"groups\['base'\].*no band 'cu'.*did you mean 'Cu'"):
        element_importance(
            [make_model([Means([1.0, 0, 0])])] * 2, make_survey(bands), windows, folds, groups={"base": ["cu"]},
            device="cpu",
        )  # fmt: skip


# ---------------------------------------------------------------- integrated gradients


def window(row: int, col: int, size: int, crop: int, grid: gp.Grid = GRID, zoom: int = 1) -> Windows:
    return Windows(grid, [row], [col], [0], [-1], (), np.empty((0, 2)), size, crop, zooms=[zoom])


def log_odds(network: nn.Module, x: NDArray[Any]) -> float:
    with torch.no_grad():
        logits = network(torch.from_numpy(x[None].astype(np.float32)))[0]
    return float(logits[1] - logits[0])


def test_shares_of_a_linear_network_are_its_weights_times_the_bands() -> None:
    bands = noise()
    weights = [1.5, -0.7, 0.0]
    result = attribute(make_model([Means(weights)]), make_survey(bands), window(16, 40, 8, 8), steps=1, device="cpu")
    assert list(result.data_vars) == ["Cu", "Au", "W"]
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[16:24, 40:48] = True
    for name, weight in zip(bands, weights, strict=True):
        assert np.isnan(result[name].values[~inside]).all()
        np.testing.assert_allclose(result[name].values[inside], weight * bands[name][inside] / 64, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "resnet50"])
def test_shares_add_up_to_the_difference_of_the_log_odds(name: str) -> None:
    """The axiom of completeness, on the map."""
    draws = np.random.default_rng(2)
    scale = 0.1 if name == "mobilenet_v2" else 1  # whose ReLU6 are full at this loudness, a bend at every step
    bands = {band: draws.normal(size=GRID.shape) * scale for band in ("Cu", "Au")}
    network = lively(build_network(name, 2)).eval()
    model = make_model([network], ("Cu", "Au"), 40, 32, name)
    result = attribute(
        model, make_survey(bands), window(4, 8, 40, 32), steps=200 if name == "mobilenet_v2" else 60, device="cpu"
    )
    patch = np.stack(list(bands.values()))[:, 8:40, 12:44]  # the central crop
    difference = log_odds(network, patch) - log_odds(network, np.zeros_like(patch))
    assert abs(difference) > 1e-3
    total = sum(float(result[band].sum(dtype="float64")) for band in bands)
    assert total == pytest.approx(difference, rel=0.02)
    assert result.attrs["unexplained"] == pytest.approx(abs(total - difference) / abs(difference), abs=1e-3)
    assert int(result["Cu"].notnull().sum()) == 32 * 32


def lively(network: nn.Module) -> nn.Module:
    """Weights with which signals keep their size; a head that is loud."""
    torch.manual_seed(4)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
        if name.startswith(("fc.w", "classifier.1.w")):
            parameter.data.normal_(0, 0.3)
    return network


def test_only_the_planted_cells_get_a_share_north_up() -> None:
    """An L of high copper, on ground where all else has its mean: no flip and no shift would pass."""
    shape = np.zeros(GRID.shape)
    shape[20:30, 50] = shape[29, 50:54] = 3.0
    survey = make_survey({"Cu": shape, "Au": np.zeros(GRID.shape)})
    model = make_model([lively(build_network("resnet18", 2))], ("Cu", "Au"), 32, 32)
    result = attribute(model, survey, window(6, 36, 32, 32), device="cpu")
    found = result["Cu"].values
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[6:38, 36:68] = True
    assert np.isnan(found[~inside]).all()
    assert (found[inside & (shape == 0)] == 0).all()
    assert (found[shape > 0] != 0).all()
    assert (result["Au"].values[inside] == 0).all()
    assert gp.Grid.of(result) == GRID
    assert result["Cu"].attrs["units"] == "1"
    assert "Cu" in result["Cu"].attrs["long_name"]
    assert result["Cu"].dtype == np.float32
    top = result["Cu"].where(result["Cu"] != 0).dropna("y", how="all").dropna("x", how="all")
    assert float(top.y[0]) == GRID.y[20]
    assert float(top.x[0]) == GRID.x[50]


def test_shares_are_means_over_windows_and_networks() -> None:
    bands = noise()
    survey = make_survey(bands)
    networks: list[nn.Module] = [Means([1.0, 0.0, 0.0]), Means([3.0, 0.0, 0.0])]
    two = Windows(GRID, [0, 4], [0, 2], [0, 0], [-1, -1], (), np.empty((0, 2)), 8, 8)
    result = attribute(make_model(networks), survey, two, steps=2, device="cpu")
    looked = np.zeros(GRID.shape, dtype=bool)
    looked[:8, :8] = looked[4:12, 2:10] = True
    np.testing.assert_allclose(result["Cu"].values[looked], 2 * bands["Cu"][looked] / 64, atol=1e-6)
    assert np.isnan(result["Cu"].values[~looked]).all()
    assert result.attrs["n_windows"] == 2


def test_in_a_zoomed_window_every_cell_of_the_grid_has_its_own_share() -> None:
    bands = {name: np.random.default_rng(i).normal(size=GRID.shape) for i, name in enumerate(("Cu", "Au", "W"))}
    zoomed = window(10, 20, 10, 8, zoom=3)  # 30 cells, of which the middle 24 are seen
    result = attribute(make_model([Means([2.0, 0, 0])], size=10), make_survey(bands), zoomed, steps=1, device="cpu")
    seen = np.zeros(GRID.shape, dtype=bool)
    seen[13:37, 23:47] = True
    np.testing.assert_allclose(result["Cu"].values[seen], 2 * bands["Cu"][seen] / 24**2, atol=1e-6)
    assert np.isnan(result["Cu"].values[~seen]).all()


def test_no_data_have_no_share() -> None:
    bands = noise()
    bands["Cu"][3, 4] = np.nan
    result = attribute(make_model([Means([1.0, 1.0, 0])]), make_survey(bands), window(0, 0, 8, 8), device="cpu")
    assert result["Cu"].values[3, 4] == 0
    assert result["Au"].values[3, 4] != 0


class Step(nn.Module):
    """Nothing up to a mean of 0.9 and steep from there: two points of the path see none of it."""

    def forward(self, x: Tensor) -> Tensor:
        odds = nn.functional.relu(x.mean(dim=(1, 2, 3)) - 0.9)
        return torch.stack([-odds, odds], dim=1)


def test_an_integration_in_too_few_steps_is_named_with_more() -> None:
    ones = {name: np.ones(GRID.shape) for name in ("Cu", "Au", "W")}
    model, survey = make_model([Step()]), make_survey(ones)
    with pytest.warns(DataWarning, match=r"steps=2: the integration missed 100%.*take steps=8"):
        attribute(model, survey, window(0, 0, 8, 8), steps=2, device="cpu")
    assert attribute(model, survey, window(0, 0, 8, 8), steps=400, device="cpu").attrs["unexplained"] < 0.05


def test_a_small_difference_that_is_missed_is_no_matter() -> None:
    class Faint(Step):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 10

    ones = {name: np.ones(GRID.shape) for name in ("Cu", "Au", "W")}
    result = attribute(make_model([Faint()]), make_survey(ones), window(0, 0, 8, 8), steps=2, device="cpu")
    assert result.attrs["unexplained"] == pytest.approx(1)


def test_group_normalisation_leaves_no_path_to_integrate_along() -> None:
    model = replace(make_model([build_network("resnet18", 3, norm="group")]), norm="group")
    survey, one = make_survey(noise()), window(0, 0, 8, 8)
    with pytest.raises(InputError, match="take method='gradcam', or train with norm='batch'"):
        attribute(model, survey, one, device="cpu")
    assert int(attribute(model, survey, one, "gradcam", device="cpu")["gradcam"].notnull().sum()) == 64


# ---------------------------------------------------------------- Grad-CAM


def additive(name: str) -> nn.Module:
    """A network whose log-odds are the mean of all last features, none of them negative."""
    network = lively(build_network(name, 1))
    head = network.get_submodule("classifier.1" if name == "mobilenet_v2" else "fc")
    assert isinstance(head, nn.Linear)
    head.weight.data[0], head.weight.data[1] = 0.0, 1.0
    head.bias.data.zero_()
    return network


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])  # on either of the origins that there are
def test_a_planted_blob_lights_up_where_it_lies(name: str) -> None:
    """The light above that of empty ground, over blobs at many places: no shift by half a feature, 16 cells."""
    model = make_model([additive(name)], ("Cu",), 256, 256, name)
    empty = attribute(model, make_survey({"Cu": np.zeros(WIDE.shape)}, WIDE), window(16, 64, 256, 256, WIDE), "gradcam",
                      device="cpu")  # fmt: skip
    misses = []
    for row, col in [(110, 150), (127, 175), (143, 201), (160, 226), (176, 252)]:
        blob = np.zeros(WIDE.shape)
        blob[row - 6 : row + 7, col - 6 : col + 7] = 4.0
        lit = attribute(model, make_survey({"Cu": blob}, WIDE), window(16, 64, 256, 256, WIDE), "gradcam", device="cpu")
        light = np.nan_to_num(np.abs(lit["gradcam"].values - empty["gradcam"].values))
        peak = np.unravel_index(light.argmax(), light.shape)
        assert max(abs(int(peak[0]) - row), abs(int(peak[1]) - col)) <= 32
        light = light**4  # of the peak, not of what shines about it
        y, x = (np.arange(n) for n in WIDE.shape)
        misses.append([(light.sum(1) @ y) / light.sum() - row, (light.sum(0) @ x) / light.sum() - col])
    assert np.abs(np.mean(misses, axis=0)).max() < 5


def test_the_light_of_features_is_their_share_in_the_log_odds() -> None:
    """With a linear head, Grad-CAM is the class activation map: features times weights over their number."""
    network = lively(build_network("resnet18", 1)).eval()
    head = network.get_submodule("fc")
    patch = np.random.default_rng(0).normal(size=(1, 64, 96))
    kept: list[Tensor] = []
    hook = network.get_submodule("layer4").register_forward_hook(lambda module, given, left: kept.append(left))
    log_odds(network, patch)
    hook.remove()
    assert isinstance(head, nn.Linear)
    weights = head.weight[1] - head.weight[0]
    expected = torch.relu((kept[0][0] * weights[:, None, None]).sum(0) / 6).detach().numpy()  # (2, 3)
    x = torch.from_numpy(patch[None].astype(np.float32)).requires_grad_()
    light, missed, due = explain._gradcam(network, x, 1, "resnet18", 1, 1)
    found = light.numpy()[0, 0]
    np.testing.assert_allclose(found[::32, ::32], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[16, 32], expected[:, 1].mean(), rtol=1e-4)  # half way down, of the second column
    np.testing.assert_allclose(found[32:, 64:], expected[1, 2], rtol=1e-4)  # beyond the last features theirs hold
    assert not missed.any()
    assert not due.any()


@pytest.mark.parametrize(("zoom", "origin"), [(1, 0), (1, 22), (2, 0), (3, 22)])
def test_features_are_interpolated_between_the_middles_of_what_they_see(zoom: int, origin: int) -> None:
    n_cells = 160 * zoom
    weights = explain._interpolation(5, n_cells, zoom, origin).numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights.min() >= 0
    middles = origin + 32 * np.arange(5)
    cell = (np.arange(n_cells) + 0.5) / zoom - 0.5
    for feature in range(5):
        np.testing.assert_allclose(weights[:, feature], np.interp(cell, middles, np.eye(5)[feature]), atol=1e-12)


def test_a_single_feature_covers_the_whole_window() -> None:
    assert (explain._interpolation(1, 8, 1, 22) == 1).all()


def test_light_is_never_negative_and_nan_where_no_window_looked() -> None:
    draws = np.random.default_rng(5)
    survey = make_survey({"Cu": draws.normal(size=GRID.shape)})
    model = make_model([additive("resnet18"), lively(build_network("resnet18", 1))], ("Cu",), 64, 64)
    result = attribute(model, survey, window(2, 10, 64, 64), "gradcam", device="cpu")
    values = result["gradcam"].values
    assert list(result.data_vars) == ["gradcam"]
    assert np.isnan(values).sum() == values.size - 64 * 64
    assert np.nanmin(values) >= 0
    assert np.nanmax(values) > 0
    assert "unexplained" not in result.attrs


# ---------------------------------------------------------------- where


def test_bounds_take_the_windows_whose_map_cells_lie_within() -> None:
    survey, model = make_survey(noise()), make_model([Means([1.0, 0, 0])])
    left, top = GRID.x[0] - 50, GRID.y[0] + 50
    # Middles of windows lie 400 m + 200 m k from the edges: 5 across, 3 down.
    bounds = (left + 1_000, top - 1_700, left + 1_900, top - 1_100)
    result = attribute(model, survey, bounds, stride=2, steps=1, device="cpu")
    probability = gp.predict(model, survey, 2, "cpu").probability
    within = probability.sel(x=slice(bounds[0], bounds[2]), y=slice(bounds[3], bounds[1]))
    assert result.attrs["n_windows"] == within.size == 15
    looked = result["Cu"].notnull().values
    rows, cols = np.flatnonzero(looked.any(axis=1)), np.flatnonzero(looked.any(axis=0))
    half = 4  # cells from the middle of a window to its edge
    assert rows[0] == (top - float(within.y[0])) / 100 - half
    assert rows[-1] == (top - float(within.y[-1])) / 100 + half - 1
    assert cols[0] == (float(within.x[0]) - left) / 100 - half
    assert cols[-1] == (float(within.x[-1]) - left) / 100 + half - 1


def test_without_bounds_every_window_of_the_map_is_explained() -> None:
    survey, model = make_survey(noise()), make_model([Means([1.0, 0, 0])])
    result = attribute(model, survey, stride=8, steps=1, device="cpu")
    assert result.attrs["n_windows"] == 9 * 12
    np.testing.assert_allclose(result["Cu"].values, noise()["Cu"] / 64, atol=1e-6)


def test_ground_with_too_little_data_is_left_out() -> None:
    bands = noise()
    bands["Cu"][:, :48] = np.nan
    survey, model = make_survey(bands), make_model([Means([1.0, 0, 0])])
    result = attribute(model, survey, stride=8, steps=1, device="cpu")
    assert result.attrs["n_windows"] == 9 * 6
    assert np.isnan(result["Au"].values[:, :48]).all()
    with pytest.raises(InputError, match="none of the windows has enough data"):
        attribute(model, survey, window(0, 0, 8, 8), device="cpu")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ((0, 0, 1, 1), r"no middle of a window lies within.*smaller stride"),
        ((1, 2, 3), "needs Windows, or four numbers"),
        ((1, 2, 3, float("nan")), "needs Windows, or four numbers"),
        (("a", 2, 3, 4), "needs Windows, or four numbers"),
        (5, "needs Windows, or four numbers"),
        ((3, 0, 1, 1), "left < right"),
        ((0, 3, 1, 1), "left < right and bottom < top"),
    ],
)
def test_bounds_that_are_none_are_refused(where: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        attribute(make_model([Means([1.0, 0, 0])]), make_survey(noise()), where, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "saliency"}, "method='saliency'.*'integrated_gradients', 'gradcam'"),
        ({"steps": 0}, "steps=0"),
        ({"stride": 0}, "stride=0"),
        ({"min_valid": 2}, "min_valid=2"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"where": window(0, 0, 9, 9)}, "do not fit the model"),
    ],
    ids=str,
)
def test_settings_that_break_a_rule_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attribute(make_model([Means([1.0, 0, 0])]), make_survey(noise()), **{"device": "cpu"} | change)


def test_a_network_without_last_features_has_no_gradcam() -> None:
    with pytest.raises(InputError, match="Means does not come from build_network"):
        attribute(make_model([Means([1.0, 0, 0])]), make_survey(noise()), window(0, 0, 8, 8), "gradcam", device="cpu")


def test_a_missing_captum_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(DependencyError, match="pip install captum"):
        attribute(make_model([Means([1.0, 0, 0])]), make_survey(noise()), window(0, 0, 8, 8), device="cpu")


# ---------------------------------------------------------------- memory


class Hungry(nn.Module):
    """Runs out of memory with more than a few windows at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.inner, self.seen = most, Means([1.0, 0.5, 0.0]), [0]

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        answer: Tensor = self.inner(x)
        return answer


def test_where_memory_runs_out_fewer_windows_are_taken_with_the_same_result() -> None:
    bands = noise()
    windows, folds = tiles(bands)
    survey, few, many = make_survey(bands), make_model([Hungry(5)]), make_model([Means([1.0, 0.5, 0.0])])
    tables = [element_importance([m] * 2, survey, windows, folds, repeats=1, rng=0, device="cpu") for m in (few, many)]
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-12)
    maps = [attribute(model, survey, stride=8, steps=3, device="cpu") for model in (few, many)]
    np.testing.assert_allclose(maps[0]["Cu"], maps[1]["Cu"], atol=1e-7)
    assert isinstance(few.networks[0], Hungry)
    assert max(few.networks[0].seen) <= 64


def test_a_device_without_memory_for_one_window_is_named() -> None:
    with pytest.raises(DeviceError, match="no memory for a single window"):
        attribute(make_model([Hungry(0)]), make_survey(noise()), window(0, 0, 8, 8), device="cpu")


@pytest.mark.cuda
def test_on_the_gpu_the_answers_are_those_of_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    draws = np.random.default_rng(2)
    survey = make_survey({band: draws.normal(size=GRID.shape) for band in ("Cu", "Au")})
    model = make_model([lively(build_network("resnet18", 2))], ("Cu", "Au"), 40, 32)
    for method in explain.METHODS:
        one, other = (attribute(model, survey, window(4, 8, 40, 32), method, device) for device in ("cpu", "cuda"))
        for name in one.data_vars:
            scale = float(np.abs(one[name]).max())
            gap = np.abs(other[name] - one[name]).values[np.isfinite(one[name])] / scale
            # Where a sum lies at the kink of a rectifier, rounding decides on which side.
            assert np.quantile(gap, 0.99) < 1e-3
            assert gap.max() < 0.05
    assert all(not parameter.is_cuda for parameter in model.networks[0].parameters())
