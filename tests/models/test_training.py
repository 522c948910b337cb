"""The training loop: what it sees, what it must not see, and that the same seed gives the same bytes."""

import dataclasses
import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import geopandas as gpd
import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

import geoprospect as gp
from geoprospect.errors import DeviceError, DivergenceError, InputError, SeparationError
from geoprospect.models import training
from geoprospect.models.networks import build_network, last_features

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = "shufflenet_v2_x1_0"
GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (48, 60))
# Row and column of the deposits, well apart.
DEPOSITS = [(8, 8), (8, 40), (22, 24), (38, 10), (40, 46), (24, 52)]


def deposits_at(places: list[tuple[int, int]]) -> gpd.GeoDataFrame:
    rows, cols = np.array(places).T
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(GRID.x[cols], GRID.y[rows]), crs=GRID.crs)


def make_survey(height: float = 4.0, seed: int = 0) -> xr.Dataset:
    """Copper is bright about the deposits; gold knows nothing of them."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[: GRID.shape[0], : GRID.shape[1]]
    halo = sum(np.exp(-((y - row) ** 2 + (x - col) ** 2) / 30) for row, col in DEPOSITS)
    bands = {"Cu": 20 + height * halo + draws.normal(size=GRID.shape), "Au": draws.normal(3, 2, GRID.shape)}
    return GRID.dataset(
        {name: band.astype(np.float32) for name, band in bands.items()},
        {"Cu": {"units": "ppm"}, "Au": {"units": "ppb"}},
    )


def cut(survey: xr.Dataset, n_ore: int = 12, n_barren: int = 14, size: int = 10, crop: int = 8) -> gp.Windows:
    return gp.sample_windows(survey, deposits_at(DEPOSITS), size, crop, n_ore, n_barren, rng=1)


SURVEY = make_survey()
WINDOWS = cut(SURVEY)


def train(windows: gp.Windows = WINDOWS, survey: xr.Dataset = SURVEY, **changed: Any) -> gp.ProspectivityModel:
    settings: dict[str, Any] = {"network": SMALL, "epochs": 1, "batch": 8, "device": "cpu", "rng": 0}
    return training.fit_networks(windows, survey, **settings | changed)


def weight_bytes(model: gp.ProspectivityModel, which: int = 0) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.networks[which].state_dict().values())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a network of a few weights instead of torchvision's, where only the loop is in question."""

    def build(name: str, n_bands: int, weights: Any = None, seed: int = 0, **options: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(n_bands, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(4, 2),
            )  # fmt: skip

    monkeypatch.setattr(training, "build_network", build)


Seen = list[dict[str, NDArray[Any]]]


@pytest.fixture
def seen(tiny: None, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What each step cut out of the stack: north-west cells, turns and pixels."""
    steps: Seen = []
    real = training.gather

    def spy(
        stack: Tensor, rows: Tensor, cols: Tensor, size: int, flip: tuple[Tensor, Tensor], transpose: Tensor,
        **more: Any,
    ) -> Tensor:  # fmt: skip
        x = real(stack, rows, cols, size, flip, transpose, **more)
        step = {"rows": rows, "cols": cols, "flip_y": flip[0], "flip_x": flip[1], "transpose": transpose, "x": x}
        steps.append({name: tensor.numpy().copy() for name, tensor in step.items()} | {"halo": np.array(more["halo"])})
        return x

    monkeypatch.setattr(training, "gather", spy)
    return steps


# ---------------------------------------------------------------- seeds


# mobilenet_v2 has dropout, which draws from torch's own generators.
@pytest.mark.parametrize("network", [SMALL, "mobilenet_v2"])
def test_the_same_seed_gives_the_same_bytes_whatever_the_global_generators_are_at(network: str) -> None:
    torch.manual_seed(1)
    one = train(network=network)
    torch.manual_seed(2)
    again = train(network=network)
    assert weight_bytes(one) == weight_bytes(again)
    assert one.history.equals(again.history)
    assert weight_bytes(train(network=network, rng=1)) != weight_bytes(one)


@pytest.mark.usefixtures("tiny")
def test_a_generator_stands_for_its_seed() -> None:
    assert weight_bytes(train(rng=np.random.default_rng(5))) == weight_bytes(train(rng=5))


@pytest.mark.usefixtures("tiny")
def test_without_a_seed_trainings_differ() -> None:
    one, other = train(rng=None), train(rng=None)
    assert one.seed != other.seed
    assert weight_bytes(one) != weight_bytes(other)


def test_the_global_generators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reseeded: list[Any] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)  # waits for the first GPU call where none is
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    train(network="mobilenet_v2")
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert reseeded == []


@pytest.mark.usefixtures("tiny")
def test_several_models_differ_and_the_first_is_the_one_trained_alone() -> None:
    alone, three = train(), train(n_models=3)
    assert len(three.networks) == 3
    assert len({weight_bytes(three, i) for i in range(3)}) == 3
    assert weight_bytes(three, 0) == weight_bytes(alone)


# ---------------------------------------------------------------- what is learned


def test_ore_that_shows_as_a_bright_blob_is_found_in_windows_held_back() -> None:
    survey = make_survey(height=6.0)
    many = cut(survey, n_ore=40, n_barren=40)
    fit, held_back = many[::2], many[1::2]
    model = train(fit, survey, network="resnet18", recipe="gao2022", epochs=7, batch=16)
    assert model.history["loss"].iloc[-1] < model.history["loss"].iloc[0] / 2
    assert gp.stats.rank_auc(held_back.labels, gp.predict_windows(model, survey, held_back, "cpu")) > 0.9


def test_labels_go_with_their_windows(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copper is the label itself on every window's ground, so each patch says what its label must be."""
    windows = gp.Windows(GRID, [0, 20, 10, 30], [0, 20, 40, 5], [1, 0, 1, 0], [0, -1, 1, -1], "ab",
                         [(GRID.x[4], GRID.y[4]), (GRID.x[44], GRID.y[14])], size=8, crop=8)  # fmt: skip
    copper = np.zeros(GRID.shape, dtype=np.float32)
    copper[0:8, 0:8] = copper[10:18, 40:48] = 1
    truths: list[NDArray[np.int64]] = []
    real = nn.functional.cross_entropy

    def spy(logits: Tensor, truth: Tensor, *args: Any, **options: Any) -> Tensor:
        truths.append(truth.numpy().copy())
        return real(logits, truth, *args, **options)

    monkeypatch.setattr(nn.functional, "cross_entropy", spy)
    train(windows, GRID.dataset({"Cu": copper}), epochs=4, batch=2)
    assert len(truths) == 8
    for step, truth in zip(seen, truths, strict=True):
        assert ((step["x"].mean(axis=(1, 2, 3)) > 0).astype(int) == truth).all()
    assert len({truth.tobytes() for truth in truths}) > 1  # the order is shuffled


@pytest.mark.usefixtures("tiny")
def test_the_recipe_is_gradient_descent_with_the_settings_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    real = torch.optim.SGD

    def spy(parameters: Any, **settings: Any) -> torch.optim.Optimizer:
        asked.append(settings)
        return real(parameters, **settings)

    monkeypatch.setattr(torch.optim, "SGD", spy)
    train(recipe="gao2022")
    train(recipe=gp.Recipe(lr=0.2), lr=0.5, momentum=0.8, weight_decay=0)
    assert asked == [
        {"lr": 0.01, "momentum": 0.1, "nesterov": False, "weight_decay": 1e-4},
        {"lr": 0.5, "momentum": 0.8, "nesterov": True, "weight_decay": 0},
    ]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("recipe", ["gao2022", "default"])
def test_every_step_takes_the_learning_rate_of_the_recipe(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []
    real = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *args: Any) -> Any:
        taken.append(self.param_groups[0]["lr"])
        return real(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    history = train(recipe=recipe, epochs=35, lr=0.08, batch=32).history
    how = gp.Recipe.of(recipe, epochs=35, lr=0.08)
    assert taken == history["learning_rate"].tolist() == [how.learning_rate(epoch) for epoch in range(35)]
    assert len(set(taken)) > 1


@pytest.mark.usefixtures("tiny")
def test_the_history_has_one_row_per_model_and_epoch() -> None:
    history = train(epochs=3, n_models=2).history
    assert list(history.columns) == ["model", "draw", "epoch", "loss", "accuracy", "learning_rate"]
    assert (history["draw"] == 0).all()
    assert history["model"].tolist() == [0, 0, 0, 1, 1, 1]
    assert history["epoch"].tolist() == [1, 2, 3] * 2
    assert np.isfinite(history["loss"]).all()
    assert history["accuracy"].between(0, 1).all()
    right = history["accuracy"] * len(WINDOWS)
    np.testing.assert_allclose(right, right.round(), atol=1e-9)


@pytest.mark.usefixtures("tiny")
def test_the_loss_of_an_epoch_is_the_mean_over_its_windows_not_over_its_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses: list[tuple[float, int]] = []
    real = nn.functional.cross_entropy

    def spy(logits: Tensor, truth: Tensor, *args: Any, **options: Any) -> Tensor:
        losses.append((real(logits.double(), truth).item(), len(truth)))
        return real(logits, truth, *args, **options)

    monkeypatch.setattr(nn.functional, "cross_entropy", spy)
    history = train(windows=WINDOWS[:26], batch=9).history  # batches of 9, 9 and 8
    assert sorted(n for _, n in losses) == [8, 9, 9]
    assert history["loss"][0] == pytest.approx(sum(loss * n for loss, n in losses) / 26, rel=1e-6)


def test_the_model_says_what_it_was_trained_on() -> None:
    model = train(epochs=1, batch=13, lr=0.003)
    assert (model.bands, model.units) == (("Cu", "Au"), ("ppm", "ppb"))
    assert (model.size, model.crop, model.cell_size, model.network) == (10, 8, (100, 100), SMALL)
    assert model.settings | {"epochs": 1, "batch": 13, "lr": 0.003, "n_windows": 26, "n_ore": 12} == model.settings
    assert not model.networks[0].training
    assert {parameter.device.type for parameter in model.networks[0].parameters()} == {"cpu"}


def test_training_starts_from_the_weights_that_are_given(tmp_path: Path) -> None:
    given_weights = build_network(SMALL, 3, seed=77).state_dict()
    save_file({key: tensor.contiguous() for key, tensor in given_weights.items()}, tmp_path / "start.safetensors")
    model = train(weights=tmp_path / "start.safetensors", lr=1e-12, weight_decay=0)
    trained = model.networks[0].state_dict()
    for key in ("stage2.0.branch2.0.weight", "conv5.0.weight", "fc.weight"):
        torch.testing.assert_close(trained[key], given_weights[key], rtol=0, atol=1e-5)
    elsewhere = train(lr=1e-12, weight_decay=0).networks[0].state_dict()
    assert not torch.allclose(elsewhere["conv5.0.weight"], given_weights["conv5.0.weight"], atol=1e-3)


# ---------------------------------------------------------------- what is looked at


def test_every_window_is_seen_once_in_every_epoch_in_another_order(seen: Seen) -> None:
    windows = gp.Windows(GRID, WINDOWS.rows, WINDOWS.cols, WINDOWS.labels, WINDOWS.deposits, WINDOWS.deposit_ids,
                         WINDOWS.deposit_points, size=10, crop=10)  # fmt: skip
    train(windows, epochs=6, batch=8)
    steps = len(seen) // 6
    assert sorted(len(step["rows"]) for step in seen[:steps]) == [6, 6, 7, 7]
    orders = []
    for epoch in range(6):
        part = seen[epoch * steps : (epoch + 1) * steps]
        places = [place for step in part for place in zip(step["rows"].tolist(), step["cols"].tolist(), strict=True)]
        assert sorted(places) == sorted(zip(windows.rows.tolist(), windows.cols.tolist(), strict=True))
        orders.append(tuple(places))
    assert len(set(orders)) == 6


def turns_of(seen: Seen) -> list[tuple[bool, bool, bool]]:
    names = ("flip_y", "flip_x", "transpose")
    return [turn for step in seen for turn in zip(*(step[name].tolist() for name in names), strict=True)]


# Of the eight ways to lay a square, a quarter turn flips one axis and exchanges both.
@pytest.mark.parametrize(
    ("flips", "rotations", "ways"),
    [
        (False, False, [(0, 0, 0)]),
        (True, False, [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]),
        (False, True, [(0, 0, 0), (0, 1, 1), (1, 1, 0), (1, 0, 1)]),
        (True, True, list(itertools.product((0, 1), repeat=3))),
    ],
)
def test_windows_are_turned_in_all_ways_that_the_recipe_has(
    seen: Seen, flips: bool, rotations: bool, ways: list[tuple[int, int, int]]
) -> None:
    train(epochs=12, flips=flips, rotations=rotations)
    found = turns_of(seen)
    assert set(found) == set(ways)
    assert min(found.count(way) for way in set(found)) > 0.6 * len(found) / len(ways)


def test_crops_of_ore_windows_always_hold_the_deposit_and_barren_crops_go_everywhere(seen: Seen) -> None:
    place, size, crop = (12, 14), 9, 5
    corners = [(12 - dy, 14 - dx) for dy in (0, 4, 8) for dx in (0, 3, 8)]  # ore: in the corners too
    barren = [(30, 40)] * 9
    rows, cols = np.array(corners + barren).T
    windows = gp.Windows(GRID, rows, cols, [1] * 9 + [0] * 9, [0] * 9 + [-1] * 9, ("mine",),
                         [(GRID.x[place[1]], GRID.y[place[0]])], size=size, crop=crop)  # fmt: skip
    train(windows, epochs=40, batch=18)
    at = np.concatenate([np.column_stack([step["rows"], step["cols"]]) for step in seen])
    ore, far = at[at[:, 0] < 25], at[at[:, 0] >= 25]
    assert len(ore) == len(far) == 40 * 9
    for axis in (0, 1):
        assert (ore[:, axis] <= place[axis]).all()
        assert (ore[:, axis] + crop > place[axis]).all()
        assert set(far[:, axis] - (30, 40)[axis]) == {0, 1, 2, 3, 4}
        assert len(set(ore[:, axis].tolist())) == crop  # the deposit stands anywhere in its crop


@given(st.integers(2, 200), st.integers(2, 40))
def test_batches_hold_every_window_once_and_are_of_nearly_one_size(n: int, batch: int) -> None:
    parts = training._slices(5, 5 + n, math.ceil(n / batch))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(5, 5 + n))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert max(sizes) <= max(batch, 3)


def test_no_step_is_left_with_a_few_windows(seen: Seen) -> None:
    train(windows=WINDOWS[:26], batch=8)
    assert sorted(len(step["rows"]) for step in seen) == [6, 6, 7, 7]


def test_a_real_network_survives_a_number_of_windows_that_leaves_one_over() -> None:
    assert np.isfinite(train(windows=WINDOWS[[0, 1, 2, 12, 13]], batch=4).history["loss"]).all()


def test_missing_values_do_not_reach_the_network(seen: Seen) -> None:
    survey = SURVEY.copy(deep=True)
    holes = np.random.default_rng(0).random(GRID.shape) < 0.3
    survey["Cu"].values[holes], survey["Au"].values[::7] = np.nan, np.inf
    model = train(survey=survey)
    assert all(np.isfinite(step["x"]).all() for step in seen)
    assert any((step["x"] == 0).any() for step in seen)
    ground = covered(WINDOWS) & ~holes
    assert model.offset[0] == pytest.approx(survey["Cu"].values[ground].astype(np.float64).mean(), rel=1e-12)


# ---------------------------------------------------------------- zooms, halos and draws


def test_windows_of_all_zooms_are_cut_over_their_whole_ground_and_shown_in_one_size(seen: Seen) -> None:
    zooms = np.array([1, 2, 1, 2])
    windows = gp.Windows(GRID, [0, 20, 10, 30], [0, 20, 40, 5], [1, 0, 1, 0], [0, -1, 1, -1], "ab",
                         [(GRID.x[4], GRID.y[4]), (GRID.x[44], GRID.y[14])], size=8, crop=6, zooms=zooms)  # fmt: skip
    numbers = np.arange(48 * 60, dtype=np.float32).reshape(GRID.shape)
    model = train(windows, GRID.dataset({"Cu": numbers}), epochs=30, batch=4, flips=False, rotations=False)
    scaled = model.stack(GRID.dataset({"Cu": numbers}))[0][0].astype(np.float64)
    least: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
    for step in seen:
        assert step["x"].shape == (4, 1, 6, 6)
        for row, col, patch in zip(step["rows"], step["cols"], step["x"][:, 0], strict=True):
            distance = np.abs(windows.rows - row) + np.abs(windows.cols - col)
            k, zoom = int(distance.argmin()), int(zooms[distance.argmin()])
            block = scaled[row : row + 6 * zoom, col : col + 6 * zoom]
            np.testing.assert_allclose(patch, block.reshape(6, zoom, 6, zoom).mean(axis=(1, 3)), atol=1e-5)
            least[k].append(int(row - windows.rows[k]))
    assert set(least[1]) == set(least[3]) == {0, 1, 2, 3, 4}  # barren, zoom 2: a slack of 2 x 2 cells
    assert set(least[2]) == {0, 1, 2}
    assert covered(windows).sum() == 2 * 8**2 + 2 * 16**2 - 6  # which two share
    assert model.offset[0] == pytest.approx(numbers[covered(windows)].astype(np.float64).mean(), rel=1e-12)


def test_a_halo_is_cut_with_its_ground_and_alternates_with_none(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(training, "set_halo", lambda network, cells: told.append(cells))
    train(epochs=3, halo=32, batch=13)
    assert [int(step["halo"]) for step in seen[:6]] == told[:6] == [0, 0, 0, 0, 0, 32]
    assert [step["x"].shape[-1] for step in seen[:6]] == [8] * 5 + [8 + 64]
    wide, scaled = seen[5], train(epochs=1).stack(SURVEY)[0]
    margins = np.pad(scaled, ((0, 0), (40, 40), (40, 40)))  # off the survey there is the mean of training, 0
    for k in range(len(wide["rows"])):
        top, left = wide["rows"][k] + 8, wide["cols"][k] + 8
        patch = margins[:, top : top + 72, left : left + 72]
        patch = patch[:, ::-1] if wide["flip_y"][k] else patch
        patch = patch[:, :, ::-1] if wide["flip_x"][k] else patch
        patch = patch.transpose(0, 2, 1) if wide["transpose"][k] else patch
        np.testing.assert_array_equal(wide["x"][k], patch)


def test_the_features_of_a_halo_are_cut_off_by_real_networks_and_the_model_comes_back_without_one() -> None:
    model = train(epochs=3, halo=32, halo_from=0, batch=13)
    plain = train(epochs=3, batch=13)
    assert weight_bytes(model) != weight_bytes(plain)
    assert last_features(model.networks[0]).features == 0
    assert np.isfinite(gp.predict_windows(model, SURVEY, WINDOWS, "cpu")).all()
    assert model.settings["halo"] == 32


def test_the_statistics_of_a_network_that_saw_context_are_means_over_windows_with_it(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "set_halo", lambda network, cells: None)
    model = train(epochs=3, halo=32, batch=13)
    passes = seen[6:]
    assert len(passes) == training._PASSES * 2
    assert {step["x"].shape[-1] for step in passes} == {8 + 64}
    convolution, norm = model.networks[0][0].double(), model.networks[0][1]  # type: ignore[index]
    with torch.no_grad():
        means = [convolution(torch.from_numpy(step["x"]).double()).mean((0, 2, 3)) for step in passes]
    torch.testing.assert_close(norm.running_mean.double(), torch.stack(means).mean(0), rtol=1e-3, atol=2e-4)
    assert norm.momentum == 0.1
    assert len({step["x"].tobytes() for step in passes}) == len(passes)  # other turns and crops in every pass
    # Without context they stay as training leaves them.
    before = len(seen)
    train(epochs=3, batch=13)
    assert len(seen) == before + 6


def with_draws() -> gp.Windows:
    """Twelve ore windows, and of the fourteen barren ones five in the first draw and nine in the second."""
    draw = np.where(WINDOWS.labels == 1, -1, np.arange(26) >= 17)
    return gp.Windows(GRID, WINDOWS.rows, WINDOWS.cols, WINDOWS.labels, WINDOWS.deposits, WINDOWS.deposit_ids,
                      WINDOWS.deposit_points, size=10, crop=8, draw=draw)  # fmt: skip


def test_every_draw_has_its_networks_and_each_sees_its_own_barren_windows(seen: Seen) -> None:
    windows = with_draws()
    model = train(windows, epochs=2, batch=50, n_models=2)
    assert len(model.networks) == 4
    assert model.history["model"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert model.history["draw"].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert len({weight_bytes(model, i) for i in range(4)}) == 4
    for k, step in enumerate(seen):
        assert len(step["rows"]) == len(windows.of_draw(k // 2 % 2)) == 12 + (5, 9)[k // 2 % 2]
    assert model.settings["n_draws"] == 2


# ---------------------------------------------------------------- the loss


@pytest.fixture
def without_batch_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose windows know nothing of one another."""

    def build(name: str, n_bands: int, weights: Any = None, seed: int = 0, **options: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(n_bands, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(4, 2),
            )  # fmt: skip

    monkeypatch.setattr(training, "build_network", build)


def weights_of(model: gp.ProspectivityModel) -> NDArray[np.float64]:
    return np.concatenate([t.double().numpy().ravel() for t in model.networks[0].state_dict().values()])


@pytest.mark.usefixtures("without_batch_statistics")
@pytest.mark.parametrize("more", [{}, {"class_weight": "balanced"}, {"label_smoothing": 0.1}], ids=str)
def test_accumulated_gradients_are_those_of_the_large_batch(more: dict[str, Any]) -> None:
    common = {"epochs": 4, "lr": 0.5, **more}
    large, parts = train(batch=24, **common), train(batch=6, accumulate=4, **common)
    np.testing.assert_allclose(weights_of(parts), weights_of(large), rtol=0, atol=1e-5)
    np.testing.assert_allclose(parts.history["loss"], large.history["loss"], rtol=1e-5)
    assert np.abs(weights_of(train(batch=6, **common)) - weights_of(large)).max() > 1e-2


def test_accumulation_cuts_no_part_of_a_single_window(seen: Seen) -> None:
    train(batch=2, accumulate=9)
    assert min(len(step["rows"]) for step in seen) >= 2
    assert sum(len(step["rows"]) for step in seen) == 26


def random_logits(n: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = np.random.default_rng(seed)
    logits = torch.from_numpy(draws.normal(0, 3, (n, 2)))
    return logits.requires_grad_(), torch.from_numpy((np.arange(n) % 4 == 0).astype(np.int64))


def test_balanced_weights_make_ore_and_barren_count_alike_and_leave_the_mean_weight_at_1() -> None:
    logits, truth = random_logits()
    loss = training._loss_of(gp.Recipe(class_weight="balanced"), truth.numpy(), torch.device("cpu"))
    p = torch.softmax(logits, 1).detach().numpy()
    each = -np.log(np.where(truth.numpy() == 1, p[:, 1], p[:, 0]))
    ore = truth.numpy() == 1
    expected = 40 * (each[ore].mean() + each[~ore].mean()) / 2
    assert loss(logits.float(), truth)[0].item() == pytest.approx(expected, rel=1e-5)
    plain = training._loss_of(gp.Recipe(), truth.numpy(), torch.device("cpu"))
    assert plain(logits, truth)[0].item() == pytest.approx(each.sum(), rel=1e-9)


def test_label_smoothing_spreads_its_share_over_both_classes() -> None:
    logits, truth = random_logits()
    loss = training._loss_of(gp.Recipe(label_smoothing=0.2), truth.numpy(), torch.device("cpu"))
    p = torch.softmax(logits, 1).detach().numpy()
    target = np.where(truth.numpy()[:, None] == [0, 1], 0.9, 0.1)
    assert loss(logits, truth)[1].item() == pytest.approx(-(target * np.log(p)).sum(), rel=1e-9)


@pytest.mark.parametrize("prior", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_the_positive_unlabelled_risk_is_that_of_kiryo_with_its_way_back(prior: float, seed: int) -> None:
    logits, truth = random_logits(seed=seed)
    descended, reported = training._positive_unlabelled(logits, truth, prior)
    g, ore = (logits[:, 1] - logits[:, 0]).detach().numpy(), truth.numpy() == 1
    as_ore, as_barren = np.log1p(np.exp(-g)), np.log1p(np.exp(g))
    rest = as_barren[~ore].mean() - prior * as_barren[ore].mean()
    assert reported.item() == pytest.approx(40 * (prior * as_ore[ore].mean() + max(rest, 0)), rel=1e-9)
    # The gradient by hand, of the risk or, where it has gone below nothing, of the way back up.
    sigmoid = 1 / (1 + np.exp(-g))
    down = np.where(ore, prior * (sigmoid - 1) / ore.sum(), 0)
    push = np.where(ore, -prior * sigmoid / ore.sum(), sigmoid / (~ore).sum())
    expected = down + push if rest >= 0 else -push
    (slope,) = torch.autograd.grad(descended, logits)
    np.testing.assert_allclose(slope[:, 1].numpy(), 40 * expected, rtol=1e-9, atol=1e-12)


def test_both_branches_of_the_positive_unlabelled_risk_were_tried() -> None:
    signs = set()
    for prior in (0.05, 0.3, 0.9):
        for seed in range(4):
            logits, truth = random_logits(seed=seed)
            g = nn.functional.softplus(logits[:, 1] - logits[:, 0])
            signs.add(bool(g[truth == 0].mean() - prior * g[truth == 1].mean() >= 0))
    assert signs == {True, False}


def test_a_batch_without_ore_or_without_unlabelled_ground_has_a_finite_risk() -> None:
    logits, _ = random_logits()
    for truth in (torch.zeros(40, dtype=torch.int64), torch.ones(40, dtype=torch.int64)):
        assert all(torch.isfinite(one) for one in training._positive_unlabelled(logits, truth, 0.3))


def test_with_the_true_prior_the_positive_unlabelled_risk_finds_the_probability_that_hidden_ore_leaves() -> None:
    """A quarter of the unlabelled is ore that nobody knows: the classifier must come out as if all were labelled."""
    draws = np.random.default_rng(0)
    known = draws.normal(2, 1, 4000)
    hidden = draws.random(12000) < 0.25
    unlabelled = np.where(hidden, draws.normal(2, 1, 12000), draws.normal(0, 1, 12000))
    x = torch.from_numpy(np.concatenate([known, unlabelled]))
    truth = torch.from_numpy(np.repeat([1, 0], [4000, 12000]))
    coefficients = {}
    for kind in ("unlabelled", "as barren"):
        w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([w], max_iter=100)

        def closure(w: Tensor = w, optimizer: Any = optimizer, kind: str = kind) -> Tensor:
            optimizer.zero_grad()
            logits = torch.stack([torch.zeros_like(x), w[0] + w[1] * x], dim=1)
            if kind == "unlabelled":
                loss = training._positive_unlabelled(logits, truth, 0.25)[0] / len(x)
            else:
                loss = nn.functional.cross_entropy(logits, truth)
            loss.backward()
            return loss

        optimizer.step(closure)
        coefficients[kind] = w.detach().numpy()
    # Of two normal distributions: slope 2, and the log odds of the prior less 2.
    np.testing.assert_allclose(coefficients["unlabelled"], [np.log(1 / 3) - 2, 2], atol=0.15)
    assert coefficients["as barren"][1] < 1.5


def test_in_positive_unlabelled_training_every_step_has_ore_and_unlabelled_ground(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths: list[NDArray[np.int64]] = []
    real = training._positive_unlabelled

    def spy(logits: Tensor, truth: Tensor, prior: float) -> tuple[Tensor, Tensor]:
        truths.append(truth.numpy().copy())
        assert prior == 0.2
        return real(logits, truth, prior)

    monkeypatch.setattr(training, "_positive_unlabelled", spy)
    history = train(epochs=10, batch=4, prior=0.2).history
    assert all(set(truth) == {0, 1} for truth in truths)
    assert len({step["rows"].tobytes() for step in seen}) > 60  # the order within a label is by lot
    assert len(seen) == len(truths) == 70
    assert np.isfinite(history["loss"]).all()


# ---------------------------------------------------------------- stopping early


def roomy() -> tuple[gp.Windows, xr.Dataset]:
    """Windows small enough that a fifth of the deposits can be cut off."""
    survey = make_survey(height=6.0)
    return cut(survey, n_ore=36, n_barren=60, size=6, crop=5), survey


@pytest.mark.filterwarnings("ignore::geoprospect.errors.DataWarning")
def test_separate_ground_is_watched_and_never_trained_on(seen: Seen) -> None:
    windows, survey = roomy()
    model = train(windows, survey, epochs=3, patience=3, batch=16)
    assert list(model.history.columns[-2:]) == ["monitor_auc", "monitor_loss"]
    held = model.settings["held_out"]
    assert len(held["deposits"]) == 1  # a fifth of six
    assert held["n_ore"] == 6
    assert model.settings["n_windows"] + held["n_ore"] + held["n_barren"] <= len(windows)
    trained = np.zeros(GRID.shape, dtype=bool)
    watched = np.zeros(GRID.shape, dtype=bool)
    for step in seen:
        as_they_lie = not step["flip_y"].any() and not step["flip_x"].any() and not step["transpose"].any()
        for row, col in zip(step["rows"], step["cols"], strict=True):
            (watched if as_they_lie else trained)[row : row + 5, col : col + 5] = True
    assert watched.any()
    assert not (watched & trained).any()
    assert model.offset[0] == pytest.approx(float(train_ground_mean(model, survey, windows)), rel=1e-9)


def train_ground_mean(model: gp.ProspectivityModel, survey: xr.Dataset, windows: gp.Windows) -> float:
    held = [windows.deposit_ids.index(int(one)) for one in model.settings["held_out"]["deposits"]]
    for fit, test in gp.spatial_folds(windows, 5):
        if set(windows.deposits[test]) - {-1} == set(held):
            ground = np.zeros(GRID.shape, dtype=bool)
            for row, col in zip(windows.rows[fit], windows.cols[fit], strict=True):
                ground[row : row + windows.size, col : col + windows.size] = True
            return float(survey["Cu"].values[ground].astype(np.float64).mean())
    raise AssertionError("the ground held out is no fold")


@pytest.mark.usefixtures("tiny")
@pytest.mark.filterwarnings("ignore::geoprospect.errors.DataWarning")
def test_training_stops_when_nothing_gets_better_and_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, survey = roomy()
    course = [(0.6, 0.7), (0.8, 0.6), (0.8, 0.65), (0.7, 0.1), (0.8, 0.5), (0.79, 0.1), (math.nan, 0.1), (0.8, 0.5)]
    states: list[dict[str, Tensor]] = []

    def watched(net: nn.Module, task: Any) -> dict[str, float]:
        states.append({name: t.clone() for name, t in net.state_dict().items()})
        auc, loss = course[len(states) - 1]
        return {"monitor_auc": auc, "monitor_loss": loss}

    monkeypatch.setattr(training, "_watched", watched)
    model = train(windows, survey, epochs=50, patience=3)
    assert model.history["epoch"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]  # epoch 5 is best: same AUC, smaller loss
    assert model.settings["best_epochs"] == [5]
    for name, tensor in model.networks[0].state_dict().items():
        assert torch.equal(tensor, states[4][name])
    assert not torch.equal(states[4]["0.weight"], states[7]["0.weight"])


@pytest.mark.filterwarnings("ignore::geoprospect.errors.DataWarning")
def test_what_is_watched_is_what_predicting_those_windows_gives() -> None:
    windows, survey = roomy()
    model = train(windows, survey, epochs=2, patience=5, batch=32)
    held = [windows.deposit_ids.index(int(one)) for one in model.settings["held_out"]["deposits"]]
    (test,) = [test for _, test in gp.spatial_folds(windows, 5) if set(windows.deposits[test]) - {-1} == set(held)]
    p = gp.predict_windows(model, survey, windows[test], "cpu")
    best = model.history.iloc[model.settings["best_epochs"][0] - 1]
    truth = windows.labels[test]
    assert best["monitor_auc"] == pytest.approx(gp.stats.rank_auc(truth, p), abs=1e-9)
    assert best["monitor_loss"] == pytest.approx(-np.log(np.where(truth == 1, p, 1 - p)).mean(), rel=1e-4)


@pytest.mark.usefixtures("tiny")
def test_without_separate_ground_the_error_says_how_to_do_without() -> None:
    one = gp.Windows(GRID, [4, 5, 20, 30], [4, 5, 20, 30], [1, 1, 0, 0], [0, 0, -1, -1], ("mine",),
                     [(GRID.x[8], GRID.y[8])], size=10, crop=8)  # fmt: skip
    with pytest.raises(SeparationError, match=r"patience=4: needs windows apart.*pass patience=None"):
        train(one, patience=4)


@pytest.mark.usefixtures("tiny")
@pytest.mark.filterwarnings("ignore::geoprospect.errors.DataWarning")
def test_a_draw_that_has_no_barren_windows_on_the_separate_ground_is_named() -> None:
    windows, survey = roomy()
    draw = np.where(windows.labels == 1, -1, 0)
    draw[np.flatnonzero(draw == 0)[:1]] = 1  # a single one, so it is in training or on the separate ground
    lacking = dataclasses.replace(windows, draw=draw)
    with pytest.raises(SeparationError, match=r"draw 1 lacks ore or barren windows.*patience=None"):
        train(lacking, survey, patience=2)


# ---------------------------------------------------------------- the scaling


def covered(windows: gp.Windows) -> NDArray[np.bool_]:
    ground = np.zeros(GRID.shape, dtype=bool)
    for row, col, width in zip(windows.rows, windows.cols, windows.widths, strict=True):
        ground[row : row + width, col : col + width] = True
    return ground


def test_the_scaling_is_mean_and_deviation_over_the_ground_of_the_windows_each_cell_once() -> None:
    twice = WINDOWS[np.r_[:26, :26]]  # ground that is covered more often does not weigh more
    model = train(windows=twice)
    for i, name in enumerate(("Cu", "Au")):
        values = SURVEY[name].values[covered(WINDOWS)].astype(np.float64)
        assert model.offset[i] == pytest.approx(values.mean(), rel=1e-12)
        assert model.scale[i] == pytest.approx(values.std(), rel=1e-12)


def test_values_off_the_training_ground_change_nothing_in_the_model() -> None:
    ground = covered(WINDOWS)
    assert 0.2 < ground.mean() < 0.9
    poisoned = SURVEY.copy(deep=True)
    for name in ("Cu", "Au"):
        poisoned[name].values[~ground] = 1e6
    clean, planted = train(), train(survey=poisoned)
    assert weight_bytes(clean) == weight_bytes(planted)
    assert clean.offset.tobytes() == planted.offset.tobytes()
    assert clean.scale.tobytes() == planted.scale.tobytes()
    poisoned["Cu"].values[ground] **= 2  # on the ground they do
    assert weight_bytes(train(survey=poisoned)) != weight_bytes(clean)


# 0.1 has no exact binary form: the deviation of many of them, computed, is not 0 but 1e-17.
@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e-30, -1234.567])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_band_is_harmless_and_stays_so_where_it_is_not_constant(
    value: float, dtype: type, seen: Seen
) -> None:
    constant = np.full(GRID.shape, value, dtype=dtype)
    constant[~covered(WINDOWS)] += 1
    survey = SURVEY.assign(Hg=SURVEY["Cu"].copy(data=constant))
    model = train(survey=survey)
    assert model.scale[2] == 1.0
    assert all((step["x"][:, 2] == 0).all() for step in seen)
    assert np.abs(model.stack(survey)[0][2]).max() == pytest.approx(1, rel=1e-3)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("where", ["everywhere", "on the training ground"])
def test_a_band_without_data_is_named_with_the_line_that_leaves_it_out(where: str) -> None:
    survey = SURVEY.copy(deep=True)
    survey["Au"].values[covered(WINDOWS) | (where == "everywhere")] = np.nan
    with pytest.raises(InputError, match=r"survey\['Au'\].*drop_vars\('Au'\)"):
        train(survey=survey)
    assert train(survey=survey.drop_vars("Au")).bands == ("Cu",)


# ---------------------------------------------------------------- refusals


class Explodes(nn.Module):
    """Is finite for some calls, and then is not."""

    def __init__(self, after: int, value: float) -> None:
        super().__init__()
        self.weight, self.calls, self.after, self.value = nn.Parameter(torch.zeros(2)), 0, after, value

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.weight.expand(len(x), 2) + (self.value if self.calls > self.after else 0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training_and_names_epoch_and_batch(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Explodes(4 + 2, value)  # 26 windows in batches of 8: four steps an epoch
    monkeypatch.setattr(training, "build_network", lambda *args, **options: network)
    with pytest.raises(DivergenceError, match=r"epoch 2, batch 3; take a smaller lr than 0\.02") as caught:
        train(epochs=3, lr=0.02)
    assert isinstance(caught.value, FloatingPointError)
    assert network.calls == 8  # seen at the end of the epoch: reading every loss would make a GPU wait


def test_a_divergence_hands_over_the_last_good_state(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = training._epoch, []

    def spy(net: nn.Module, optimizer: Any, task: Any, epoch: int) -> dict[str, Any]:
        calls.append(epoch)
        row = real(net, optimizer, task, epoch)
        if epoch == 4:
            next(iter(net.parameters())).data[0, 0, 0, 0] = float("inf")  # one number is enough
        return row

    monkeypatch.setattr(training, "_epoch", spy)
    # A constant rate, so that three epochs of three are the first three of six.
    with pytest.raises(DivergenceError, match=r"weights.*epoch 4; .*of epoch 3 of network 1.*\.model") as caught:
        train(epochs=6, schedule="constant")
    model = caught.value.model
    assert model.history["epoch"].tolist() == [1, 2, 3]
    assert all(torch.isfinite(t).all() for t in model.networks[0].state_dict().values())
    monkeypatch.undo()
    good = train(epochs=3, schedule="constant")
    assert weight_bytes(model) == weight_bytes(good)


def test_a_learning_rate_far_too_great_is_a_divergence_and_no_model() -> None:
    before = torch.get_rng_state()
    with pytest.raises(DivergenceError, match=r"epoch \d+.*no good state before") as caught:
        train(lr=1e30, epochs=4, warmup=0)
    assert caught.value.model is None
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("which", "kind"), [(slice(12), "ore"), (slice(12, None), "barren")])
def test_one_class_alone_is_refused(which: slice, kind: str) -> None:
    with pytest.raises(InputError, match=f"are {kind}; both are needed"):
        train(windows=WINDOWS[which])


@pytest.mark.usefixtures("tiny")
def test_no_windows_at_all_are_refused() -> None:
    with pytest.raises(InputError, match=r"windows: there are none, .* cut them with sample_windows"):
        train(windows=WINDOWS[[]])


def test_windows_and_survey_in_each_others_place_are_named() -> None:
    with pytest.raises(InputError, match=r"^windows: is a Dataset, needs Windows.*they come first, then the survey$"):
        gp.train(SURVEY, WINDOWS, SMALL)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^windows: is a NoneType, needs Windows, as from sample_windows$"):
        gp.train(None, SURVEY, SMALL)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^survey='s\.tif': is a str, .*; read a file with read_survey"):
        gp.train(WINDOWS, "s.tif", SMALL)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^survey: is a DataArray, .* single band is survey\[\['Cu'\]\]"):
        gp.train(WINDOWS, SURVEY["Cu"], SMALL)  # type: ignore[arg-type]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "other",
    [
        gp.Grid("EPSG:32649", Affine(100, 0, 500_100, 0, -100, 2_400_000), (48, 60)),
        gp.Grid("EPSG:32650", Affine(100, 0, 500_000, 0, -100, 2_400_000), (48, 60)),
        gp.Grid("EPSG:32649", Affine(50, 0, 500_000, 0, -50, 2_400_000), (48, 60)),
        gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (60, 60)),
    ],
    ids=["shifted", "other CRS", "finer", "larger"],
)
def test_a_survey_on_another_grid_is_refused(other: gp.Grid) -> None:
    survey = other.dataset({"Cu": np.ones(other.shape, dtype=np.float32)})
    with pytest.raises(InputError, match="cut them on this survey"):
        train(survey=survey)


@pytest.mark.usefixtures("tiny")
def test_a_survey_without_bands_is_refused() -> None:
    with pytest.raises(InputError, match=r"no band with dims \(y, x\)"):
        train(survey=SURVEY.drop_vars(["Cu", "Au"]).assign(rows=("y", np.zeros(48))))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"batch": 1}, "batch"),
        ({"batch": True}, "batch"),
        ({"lr": 0}, "lr"),
        ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"momentum": 1.5}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"epoch": 3}, "epoch=3: there is no such setting; did you mean 'epochs'"),
        ({"recipe": "gao2020"}, "recipe='gao2020'.*'gao2022'"),
        ({"n_models": 0}, "n_models"),
        ({"network": "resnet9000"}, "network"),
        ({"rng": -1}, "rng"),
        ({"device": "abacus"}, "device"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(changed: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name if "=" in name else f"{name}="):
        train(**changed)


def test_cuda_without_cuda_is_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(training, "build_network", must_not_be_called)
    with pytest.raises(DeviceError, match="device='cpu'"):
        train(device="cuda")


def must_not_be_called(*args: Any, **options: Any) -> nn.Module:
    raise AssertionError("the training had begun")


def test_where_memory_runs_out_the_error_says_what_makes_the_same_steps_with_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Large(Explodes):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(training, "build_network", lambda *args, **options: Large(0, 0.0))
    with pytest.raises(DeviceError, match=r"batch=12 windows of 2 bands of 8 x 8 .*batch=6, accumulate=4.*2\.00 GiB"):
        train(batch=12, accumulate=2)


# ---------------------------------------------------------------- around it


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "rearranged", [lambda s: s.transpose("x", "y"), lambda s: s.assign(rows=("y", np.zeros(48)))], ids=["xy", "1d"]
)
def test_layout_and_other_variables_of_the_survey_change_nothing(
    rearranged: Callable[[xr.Dataset], xr.Dataset],
) -> None:
    assert weight_bytes(train(survey=rearranged(SURVEY))) == weight_bytes(train())


@pytest.mark.usefixtures("tiny")
def test_the_survey_and_the_windows_are_left_as_they_were() -> None:
    survey = SURVEY.copy(deep=True)
    survey["Cu"].values[3, 3] = np.nan
    before = survey.copy(deep=True)
    train(survey=survey)
    xr.testing.assert_identical(survey, before)


@pytest.mark.usefixtures("tiny")
def test_progress_is_shown_only_when_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    train(epochs=2)
    assert capfd.readouterr() == ("", "")
    train(epochs=2, n_models=2, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "training 2 of 2" in err
    assert "loss=" in err
    assert "4/4" in err  # one bar over all networks, so that its time left is that of the whole


# ---------------------------------------------------------------- on a GPU

cuda = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, marks=cuda, id="mixed precision"),
        pytest.param({"precision": "float32"}, marks=cuda, id="float32"),
        pytest.param({"network": "mobilenet_v2", "dropout": 0.5}, marks=cuda, id="dropout"),
        pytest.param({"network": "googlenet", "norm": "group", "accumulate": 2}, marks=cuda, id="group"),
        pytest.param({"halo": 32, "halo_from": 0}, marks=cuda, id="halo"),
    ],
)
def test_on_a_gpu_the_same_seed_gives_the_same_bytes_and_leaves_its_generator_alone(more: dict[str, Any]) -> None:
    at = np.arange(22)
    wide = gp.Windows(GRID, at % 7, at + 2, np.repeat([1, 0], 11), np.repeat([0, -1], 11), ("mine",),
                      [(GRID.x[8], GRID.y[8])], size=34, crop=32)  # fmt: skip
    settings: dict[str, Any] = {"network": "resnet18", "device": "cuda", "epochs": 3, **more}
    torch.cuda.manual_seed(1)
    before = torch.cuda.get_rng_state(), torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32
    one = train(wide, **settings)
    after = torch.cuda.get_rng_state(), torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.cuda.manual_seed(2)
    again = train(wide, **settings)
    assert weight_bytes(one) == weight_bytes(again)
    assert one.history.equals(again.history)
    assert {parameter.device.type for parameter in one.networks[0].parameters()} == {"cpu"}
    assert {parameter.dtype for parameter in one.networks[0].parameters()} == {torch.float32}


class Watching(nn.Module):
    """Says in what precision it was called, and gives logits of its input."""

    dtypes: ClassVar[list[tuple[torch.dtype, bool]]] = []

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(n_bands, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv(x)
        self.dtypes.append((features.dtype, features.is_contiguous(memory_format=torch.channels_last)))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def precisions(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> set[tuple[torch.dtype, bool]]:
    monkeypatch.setattr(training, "build_network", lambda name, n_bands, *args, **more: Watching(n_bands))
    Watching.dtypes.clear()
    train(**settings)
    return set(Watching.dtypes)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_computes_in_bfloat16_unless_float32_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precisions(monkeypatch, device="cuda") == {(torch.bfloat16, True)}
    assert precisions(monkeypatch, device="cuda", precision="float32") == {(torch.float32, True)}


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_cpu_computes_in_float32_with_the_bands_of_a_cell_side_by_side(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert precisions(monkeypatch, precision=precision) == {(torch.float32, True)}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_sees_the_windows_that_the_cpu_sees_and_learns_alike() -> None:
    settings: dict[str, Any] = {"network": "resnet18", "lr": 1e-3, "precision": "float32"}
    # The loss of a first step is that of the same windows and weights; later ones part by rounding.
    for batch, close in ((10_000, 1e-4), (32, 0.1)):
        here, there = (train(device=device, batch=batch, **settings) for device in ("cpu", "cuda"))
        np.testing.assert_allclose(there.history["loss"], here.history["loss"], rtol=close)
