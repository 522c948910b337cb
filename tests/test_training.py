"""The training loop: what it sees, what it must not see, and that the same seed gives the same bytes."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
from geoprospect import training
from geoprospect.errors import DeviceError, DivergenceError, InputError
from geoprospect.networks import build_network

SMALL = "shufflenet_v2_x1_0"
GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (48, 60))
# Row and column of the deposits, well apart.
DEPOSITS = [(8, 8), (8, 40), (22, 24), (38, 10), (40, 46), (24, 52)]


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
    return gp.train(windows, survey, **settings | changed)


def weight_bytes(model: gp.ProspectivityModel, which: int = 0) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.networks[which].state_dict().values())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a network of a few weights instead of torchvision's, where only the loop is in question."""

    def build(name: str, n_bands: int, weights: Any = None, seed: int = 0) -> nn.Module:
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
    """What each step cut out of the stack: north-west cells, flips and pixels."""
    steps: Seen = []
    real = training.gather

    def spy(stack: Tensor, rows: Tensor, cols: Tensor, size: int, flip: tuple[Tensor, Tensor]) -> Tensor:
        x = real(stack, rows, cols, size, flip)
        step = {"rows": rows, "cols": cols, "flip_y": flip[0], "flip_x": flip[1], "x": x}
        steps.append({name: tensor.numpy().copy() for name, tensor in step.items()})
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
    model = train(fit, survey, network="resnet18", epochs=15, batch=16)
    assert model.history["loss"].iloc[-1] < model.history["loss"].iloc[0] / 2
    assert gp.rank_auc(held_back.labels, gp.predict_windows(model, survey, held_back, "cpu")) > 0.9


def test_labels_go_with_their_windows(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copper is the label itself on every window's ground, so each patch says what its label must be."""
    windows = gp.Windows(GRID, [0, 20, 10, 30], [0, 20, 40, 5], [1, 0, 1, 0], [0, -1, 1, -1], "ab",
                         [(GRID.x[4], GRID.y[4]), (GRID.x[44], GRID.y[14])], size=8, crop=8)  # fmt: skip
    copper = np.zeros(GRID.shape, dtype=np.float32)
    copper[0:8, 0:8] = copper[10:18, 40:48] = 1
    truths: list[NDArray[np.int64]] = []
    real = nn.functional.cross_entropy

    def spy(logits: Tensor, truth: Tensor) -> Tensor:
        truths.append(truth.numpy().copy())
        return real(logits, truth)

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
    train()
    train(lr=0.5, momentum=0.9, weight_decay=0)
    assert asked == [
        {"lr": 0.01, "momentum": 0.1, "weight_decay": 1e-4},
        {"lr": 0.5, "momentum": 0.9, "weight_decay": 0},
    ]


@pytest.mark.usefixtures("tiny")
def test_the_learning_rate_is_halved_every_30_epochs() -> None:
    rates = train(epochs=62, lr=0.08, batch=32).history["learning_rate"].to_numpy()
    np.testing.assert_allclose(rates, np.repeat([0.08, 0.04, 0.02], [30, 30, 2]), rtol=1e-12)


@pytest.mark.usefixtures("tiny")
def test_the_history_has_one_row_per_model_and_epoch() -> None:
    history = train(epochs=3, n_models=2).history
    assert list(history.columns) == ["model", "epoch", "loss", "accuracy", "learning_rate"]
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

    def spy(logits: Tensor, truth: Tensor) -> Tensor:
        loss = real(logits, truth)
        losses.append((loss.item(), len(truth)))
        return loss

    monkeypatch.setattr(nn.functional, "cross_entropy", spy)
    history = train(windows=WINDOWS[:26], batch=9).history  # batches of 9, 9 and 8
    assert [n for _, n in losses] == [9, 9, 8]
    assert history["loss"][0] == pytest.approx(sum(loss * n for loss, n in losses) / 26, rel=1e-12)


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


def test_every_window_is_seen_once_in_every_epoch_and_flipped_in_all_ways(seen: Seen) -> None:
    windows = gp.Windows(GRID, WINDOWS.rows, WINDOWS.cols, WINDOWS.labels, WINDOWS.deposits, WINDOWS.deposit_ids,
                         WINDOWS.deposit_points, size=10, crop=10)  # fmt: skip
    train(windows, epochs=6, batch=8)
    steps = len(seen) // 6
    assert [len(step["rows"]) for step in seen[:steps]] == [7, 7, 6, 6]
    orders = []
    for epoch in range(6):
        part = seen[epoch * steps : (epoch + 1) * steps]
        places = [place for step in part for place in zip(step["rows"].tolist(), step["cols"].tolist(), strict=True)]
        assert sorted(places) == sorted(zip(windows.rows.tolist(), windows.cols.tolist(), strict=True))
        orders.append(tuple(places))
    assert len(set(orders)) == 6
    flips = [pair for step in seen for pair in zip(step["flip_y"].tolist(), step["flip_x"].tolist(), strict=True)]
    shares = [flips.count(pair) / len(flips) for pair in [(a, b) for a in (False, True) for b in (False, True)]]
    assert min(shares) > 0.15


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
    parts = training._batches(np.random.default_rng(0).permutation(n), batch)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert max(sizes) <= max(batch, 3)


def test_no_step_is_left_with_a_few_windows(seen: Seen) -> None:
    train(windows=WINDOWS[:26], batch=8)
    assert [len(step["rows"]) for step in seen] == [7, 7, 6, 6]


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


# ---------------------------------------------------------------- the scaling


def covered(windows: gp.Windows) -> NDArray[np.bool_]:
    ground = np.zeros(GRID.shape, dtype=bool)
    for row, col in zip(windows.rows, windows.cols, strict=True):
        ground[row : row + windows.size, col : col + windows.size] = True
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
    clean, planted = train(epochs=2), train(survey=poisoned, epochs=2)
    assert weight_bytes(clean) == weight_bytes(planted)
    assert clean.offset.tobytes() == planted.offset.tobytes()
    assert clean.scale.tobytes() == planted.scale.tobytes()
    poisoned["Cu"].values[ground] **= 2  # on the ground they do
    assert weight_bytes(train(survey=poisoned, epochs=2)) != weight_bytes(clean)


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
    monkeypatch.setattr(training, "build_network", lambda *args: network)
    with pytest.raises(DivergenceError, match=r"epoch 2, batch 3; take a smaller lr than 0\.02") as caught:
        train(epochs=3, lr=0.02)
    assert isinstance(caught.value, FloatingPointError)
    assert network.calls == 7


def test_a_learning_rate_far_too_great_is_a_divergence_and_no_model() -> None:
    before = torch.get_rng_state()
    with pytest.raises(DivergenceError, match=r"epoch \d+, batch \d+"):
        train(lr=1e30, epochs=4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("which", "kind"), [(slice(12), "ore"), (slice(12, None), "barren")])
def test_one_class_alone_is_refused(which: slice, kind: str) -> None:
    with pytest.raises(InputError, match=f"are {kind}; both are needed"):
        train(windows=WINDOWS[which])


@pytest.mark.usefixtures("tiny")
def test_no_windows_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="all 0 are"):
        train(windows=WINDOWS[[]])


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
        ({"n_models": 0}, "n_models"),
        ({"network": "resnet9000"}, "network"),
        ({"rng": -1}, "rng"),
        ({"device": "abacus"}, "device"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(changed: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=f"{name}="):
        train(**changed)


def test_cuda_without_cuda_is_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(training, "build_network", must_not_be_called)
    with pytest.raises(DeviceError, match="device='cpu'"):
        train(device="cuda")


def must_not_be_called(*args: Any) -> nn.Module:
    raise AssertionError("the training had begun")


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
