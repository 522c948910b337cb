"""Networks slid over the ground: against their windows with context, in float64, tile by tile."""

import copy
import dataclasses
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from scipy.stats import spearmanr
from shapely import Point
from torch import Tensor, nn

import geoprospect as gp
from geoprospect.errors import DataWarning, DeviceError, DivergenceError, InputError
from geoprospect.models import dense
from geoprospect.models.architectures import ARCHITECTURES
from geoprospect.models.dense import Dense, DenseCheck
from geoprospect.models.networks import Crop, build_network, last_features, set_halo
from geoprospect.prediction import engine
from geoprospect.prediction.settings import MapSettings

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = "shufflenet_v2_x1_0"


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and statistics with which no layer is idle: a fresh network hides errors."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in ((module.running_var, 0.5, 1.5), (module.weight, 0.5, 1.5),
                                          (module.running_mean, -0.3, 0.3), (module.bias, -0.2, 0.4)):  # fmt: skip
                    tensor.uniform_(low, high, generator=draws)  # type: ignore[union-attr]
            elif isinstance(module, nn.Conv2d):
                fan = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan) ** 0.5, generator=draws)
    return network.eval()


@pytest.mark.parametrize(("name", "stride", "crop"), [
    ("mobilenet_v2", 32, 40), ("googlenet", 32, 33), (SMALL, 32, 96), (SMALL, 8, 28),
    pytest.param("resnet18", 32, 33, marks=pytest.mark.slow),
    *(pytest.param(name, stride, crop, marks=pytest.mark.slow) for name in ARCHITECTURES
      for stride, crop in ((32, 224), (16, 96), (8, 57), (4, 40))),
])  # fmt: skip
def test_windows_of_a_tile_are_windows_with_their_context(name: str, stride: int, crop: int) -> None:
    network = lively(build_network(name, 3)).double()
    assert Dense(network, crop, stride).halo == ARCHITECTURES[name].exact_halo
    assert largest_difference(network, crop, stride) < 1e-12


def largest_difference(network: nn.Module, crop: int, stride: int) -> float:
    """Return that of the logits of windows one cell-stride apart, alone and in a tile, over the largest of them."""
    slid = Dense(network, crop, stride)
    width, halo = crop + 2 * slid.halo, slid.halo
    bands = next(module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
    draws = torch.Generator().manual_seed(0)
    tile = torch.randn(1, bands, width, width + stride, generator=draws, dtype=torch.float64)
    with torch.inference_mode():
        found = slid(tile, (halo, halo), (1, 2))[0, :, 0].T  # (2, 2)
        alone = copy.deepcopy(network)
        set_halo(alone, halo)
        expected = torch.cat([alone(tile[..., col : col + width]) for col in (0, stride)])
    return float((found - expected).abs().max() / expected.abs().max())


def on_ground(network: nn.Module, ground: Tensor, crop: int, stride: int, tile: int) -> np.ndarray:
    """Return the margins of all windows of some ground, by tiles of so many windows."""
    slid = Dense(network, crop, stride).double()
    shape = [(length - crop) // stride + 1 for length in ground.shape[1:]]
    result = np.full(shape, np.nan)
    for row in range(0, shape[0], tile):
        for col in range(0, shape[1], tile):
            part, context, n = [], [], []
            for first, count, length in ((row, shape[0], ground.shape[1]), (col, shape[1], ground.shape[2])):
                last = min(first + tile, count) - 1
                start = max(0, first * stride - slid.halo)
                part.append(slice(start, min(length, last * stride + crop + slid.halo)))
                context.append(first * stride - start)
                n.append(last - first + 1)
            logits = slid(ground[None, :, part[0], part[1]], tuple(context), tuple(n))[0]
            result[row : row + tile, col : col + tile] = logits[1] - logits[0]
    return result


@pytest.mark.parametrize(("name", "stride", "shape"), [
    (SMALL, 32, (405, 330)), pytest.param("googlenet", 16, (260, 333), marks=pytest.mark.slow),
    pytest.param(SMALL, 8, (96, 400), marks=pytest.mark.slow),
    pytest.param("resnet18", 16, (64, 560), marks=pytest.mark.slow),
])  # fmt: skip
def test_any_tiles_give_the_whole_at_the_edges_of_the_ground_too(
    name: str, stride: int, shape: tuple[int, int]
) -> None:
    network = lively(build_network(name, 2)).double()
    ground = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    whole = on_ground(network, ground, 60, stride, 1000)
    assert np.isfinite(whole).all()
    assert whole.std() > 1e-3 * abs(whole).max()
    for tile in (5, 9):
        np.testing.assert_allclose(
            on_ground(network, ground, 60, stride, tile), whole, rtol=0, atol=1e-12 * abs(whole).max()
        )


@pytest.mark.parametrize(
    ("name", "side"), [("googlenet", 124), pytest.param("googlenet", 141, marks=pytest.mark.slow), (SMALL, 141)]
)
def test_any_stride_gives_the_same_windows_the_same_answer_at_the_rim_too(name: str, side: int) -> None:
    """Every window here sees the rim, where googlenet's pools round up."""
    network = lively(build_network(name, 2)).double()
    ground = torch.randn(2, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    by_32 = on_ground(network, ground, 60, 32, 1000)
    for stride in (16, 8, 4):
        every = on_ground(network, ground, 60, stride, 1000)[:: 32 // stride, :: 32 // stride]
        np.testing.assert_allclose(every, by_32, rtol=0, atol=1e-12 * abs(by_32).max())


def test_a_whole_raster_is_the_plain_network_without_its_pooling() -> None:
    """At the edge of the ground a window is padded as the network pads."""
    network = lively(build_network("resnet18", 2)).double()
    ground = torch.randn(1, 2, 200, 170, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept: list[Tensor] = []
    crop = next(module for module in network.modules() if isinstance(module, Crop))
    handle = crop.register_forward_hook(lambda module, given, out: kept.append(out))
    with torch.inference_mode():
        network(ground)
        handle.remove()
        features = kept[0][0]  # (F, 7, 6)
        head: Any = network.get_submodule("fc")
        expected = torch.stack(
            [head(features[:, i : i + 2, j : j + 2].mean((1, 2))) for i in range(5) for j in range(4)]
        )
        found = Dense(network, 64, 32)(ground, (0, 0), (5, 4))[0].flatten(1).T
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


class Squeezed(nn.Module):
    """Weighs channels by their mean over the whole image, as squeeze-and-excitation does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        weighed: Tensor = x * x.mean((2, 3), keepdim=True)
        return weighed


class Weighed(Squeezed):
    """Weighs every place by itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.weights = nn.Parameter(torch.ones(1, 1, 1, 16))

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = self.inner(x) * self.weights
        return weighed


class Attentive(Squeezed):
    """Lets every place look at every other."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        flat = x.flatten(2)
        looked: Tensor = nn.functional.softmax(flat @ flat.transpose(1, 2), -1) @ flat
        return looked.view_as(x)


class First(Squeezed):
    """Takes the first image of a batch."""

    def forward(self, x: Tensor) -> Tensor:
        first: Tensor = self.inner(x)[0]
        return first[None]


@pytest.mark.parametrize(("crop", "inner"), [(32, [0]), (64, [0, 1]), (96, [1]), (128, [1, 2])])
def test_the_activation_is_what_the_middle_of_the_window_says_by_itself(crop: int, inner: list[int]) -> None:
    network = lively(build_network(SMALL, 2, seed=3)).double()
    ground = torch.randn(1, 2, 224, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slid, one = Dense(network, crop, 16), Dense(network, 32, 16)
    plain = slid(ground, (32, 0), (3, 4))[0]
    slid.activation = True
    found = slid(ground, (32, 0), (3, 4))[0]
    assert found.shape == (3, 3, 4)
    torch.testing.assert_close(found[:2], plain, rtol=0, atol=0)
    alone = torch.stack([
        one(ground, (32 + 32 * down, 32 * across), (3, 4))[0] for down in inner for across in inner
    ]).mean(0)  # fmt: skip
    torch.testing.assert_close(found[2], alone[1] - alone[0], rtol=0, atol=1e-12)
    assert found[2].std() > 1e-3


def spoiled(how: str) -> nn.Module:
    network: Any = lively(build_network("resnet18", 2, norm="group" if how == "group" else "batch"))
    if how == "squeezed":
        network.layer2 = Squeezed(network.layer2)
    elif how == "attention":
        network.layer3 = Attentive(network.layer3)
    elif how == "mirrored":
        network.conv1.padding_mode = "reflect"
    elif how == "averaged":
        network.maxpool = nn.AvgPool2d(2)
    elif how == "oblong":
        network.layer1[0].conv1 = nn.Conv2d(64, 64, (1, 3), padding=(0, 1))
    elif how == "deep head":
        network.fc = nn.Sequential(nn.Linear(512, 4), nn.ReLU(), nn.Linear(4, 2))
    elif how == "pooled by the largest":
        network.avgpool = nn.Sequential(network.avgpool[0], nn.AdaptiveMaxPool2d(1))
    elif how == "pooled to four":
        network.avgpool = nn.Sequential(network.avgpool[0], nn.AdaptiveAvgPool2d(2))
        network.fc = nn.Linear(2048, 2)
    elif how == "weighed by place":
        network.layer1 = Weighed(network.layer1)
    elif how == "one of the batch":
        network.layer1 = First(network.layer1)
    elif how == "used twice":
        network.layer4 = nn.Sequential(network.layer4, again := nn.Conv2d(512, 512, 3, padding=1), again)
    return network.eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("how", "named"), [
    ("group", "bn1"), ("squeezed", "mean"), ("attention", "flatten in layer3"), ("mirrored", "conv1"),
    ("averaged", "maxpool"), ("oblong", "layer1.0.conv1"), ("deep head", "fc.1"),
    ("pooled by the largest", "avgpool.1"),
    ("pooled to four", r"avgpool.1 \(AdaptiveAvgPool2d\)"), ("weighed by place", "mul in layer1"),
    ("one of the batch", "getitem in layer1"), ("used twice", r"layer4.1 \(Conv2d\) is used twice"),
])  # fmt: skip
def test_what_cannot_be_slid_exactly_is_refused_by_the_name_of_the_layer(how: str, named: str) -> None:
    with pytest.raises(InputError, match=rf"network: {named}.*mode='window'"):
        Dense(spoiled(how), 64, 16)


def test_a_network_in_training_and_other_strides_are_refused() -> None:
    with pytest.raises(InputError, match=r"call network\.eval"):
        Dense(build_network(SMALL, 2), 32, 16)
    for stride in (2, 12, 64, 16.5):
        with pytest.raises(InputError, match="4, 8, 16, 32"):
            Dense(build_network(SMALL, 2).eval(), 32, stride)  # type: ignore[arg-type]


def test_a_conversion_that_is_not_exact_is_found_when_it_is_first_made(monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively(build_network(SMALL, 2))

    def off(graph: Any, node: Any, module: Any, *rest: Any) -> Any:
        place = dilated(graph, node, module, *rest)
        if node.target == "stage4.1.branch2.3":
            module.dilation, module.padding = (1, 1), (1, 1)
        return place

    dilated = dense._dilated
    monkeypatch.setattr(dense, "_TRIED", set())
    dense.slid(network, 64, 16)
    monkeypatch.setattr(dense, "_dilated", off)
    dense.slid(network, 64, 16)  # the same layers are tried once
    with pytest.raises(InputError, match=r"features of windows and of the ground differ by .* mode='window'"):
        dense.slid(network, 64, 8)


def test_networks_of_the_same_layers_are_slid_each_with_its_own_weights() -> None:
    """What is kept of layers that were met before are numbers of cells, never weights."""
    one, other = (lively(build_network(SMALL, 2), seed) for seed in (1, 2))
    tile = torch.randn(1, 2, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for network in (one, other, one):
            slid = dense.slid(network, 64, 16)
            assert dense.context_of(network, 64, 16) == slid.halo
            expected = network(tile[..., :64, :64])
            torch.testing.assert_close(slid(tile[..., :64, :64])[..., 0, 0], expected, rtol=1e-4, atol=1e-4)
    shared = {tensor.data_ptr() for tensor in one.parameters()}
    assert not shared & {tensor.data_ptr() for tensor in slid.parameters()}


def test_a_halo_that_is_set_changes_nothing_and_stays() -> None:
    network = lively(build_network("resnet18", 2))
    set_halo(network, 32)
    slid = Dense(network, 224, 32)
    assert (slid.features, slid.halo) == (7, 224)
    assert last_features(network).features == 1
    with pytest.raises(InputError, match="does not come from build_network"):
        Dense(nn.Sequential(nn.Conv2d(2, 2, 3)).eval(), 32, 32)


def test_a_tile_that_does_not_hold_what_is_asked_of_it_is_refused() -> None:
    slid, tile = Dense(lively(build_network(SMALL, 2)), 64, 16), torch.zeros(1, 2, 128, 160)
    assert slid(tile, (0, 16), (5, 6)).shape == (1, 2, 5, 6)
    with pytest.raises(InputError, match=r"shape=\(5, 7\): a tile of 128 x 160 cells"):
        slid(tile, (0, 16), (5, 7))
    with pytest.raises(InputError, match=r"context=\(0, 8\): needs multiples of the stride, 16"):
        slid(tile, (0, 8), (1, 1))


def test_the_network_itself_is_left_alone_and_dropout_before_the_head_is_none() -> None:
    network = lively(build_network(SMALL, 2, dropout=0.5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        answer = network(x)
        Dense(network, 64, 8)(x)
        assert torch.equal(network(x), answer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert largest_difference(network.double(), 33, 32) < 1e-12


# -- maps --------------------------------------------------------------------------------------


GRID = gp.Grid("EPSG:32649", Affine(50, 0, 512_000, 0, -50, 2_345_000), (420, 530))


def ground(holes: bool = False) -> xr.Dataset:
    draws = np.random.default_rng(0)
    bands = {name: draws.normal(size=GRID.shape).astype(np.float32) for name in ("Cu", "Au")}
    if holes:
        bands["Cu"][:, :300] = np.nan
        bands["Au"][draws.random(GRID.shape) < 0.1] = np.nan
    return GRID.dataset(bands, {name: {"units": "ppm"} for name in bands})


def small_ground(holes: bool = False) -> xr.Dataset:
    """A part of the ground with the edge of the hole in it."""
    return ground(holes).isel(y=slice(0, 190), x=slice(200, 430))


def as_model(*seeds: int, halo: int = 64, crop: int = 60) -> gp.ProspectivityModel:
    networks: list[Any] = [lively(build_network(SMALL, 2), seed) for seed in seeds]
    x = torch.randn(20, 2, crop, crop, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for network in networks:
            network.fc.weight /= (network(x) @ torch.tensor([-1.0, 1.0])).std()  # or all answers are 0 or 1
    return gp.ProspectivityModel(
        networks=tuple(networks), network=SMALL, bands=("Cu", "Au"),
        units=("ppm", "ppm"), offset=np.array([0.2, -0.1]), scale=np.array([1.5, 0.8]), size=64, crop=crop,
        cell_size=(50.0, 50.0), seed=1, history=pd.DataFrame(), settings={"halo": halo},
    )  # fmt: skip


def test_a_dense_map_has_the_windows_with_context_where_they_lie() -> None:
    """Far from the edges of the ground; the context of predict_windows is 0 beyond them."""
    model, survey = as_model(0), ground()
    found = gp.predict(model, survey, 24, "cpu", mode="dense")
    places = [(7, 10), (7, 11), (8, 10)]  # windows down and right
    rows, cols = (np.array(a) * 24 for a in zip(*places, strict=True))
    nothing = np.zeros(len(rows), dtype=int)
    windows = gp.Windows(GRID, rows, cols, nothing, nothing - 1, [], np.empty((0, 2)), 60, 60)
    expected = gp.predict_windows(model, survey, windows, "cpu", halo=ARCHITECTURES[SMALL].exact_halo)
    np.testing.assert_allclose(found.probability.values[tuple(np.transpose(places))], expected, atol=1e-5)
    assert found.attrs["mode"] == "dense"
    assert gp.Grid.of(found) == GRID.strided(60, 24)
    assert found.probability.values.std() > 0.001


def test_a_dense_map_does_not_depend_on_its_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    model, survey = as_model(0, 1), small_ground(holes=True)
    whole = gp.predict(model, survey, 16, "cpu", mode="dense")
    monkeypatch.setattr(engine, "side_of_part", lambda crop, settings: 9)
    tiled = gp.predict(model, survey, 16, "cpu", mode="dense")
    xr.testing.assert_allclose(whole, tiled, rtol=0, atol=1e-5)
    assert whole["std"].max() > 0


def test_windows_without_data_have_no_answer_and_tiles_of_them_are_not_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "side_of_part", lambda crop, settings: 2)
    seen: list[int] = []
    forward = Dense.forward

    def counting(self: Dense, tile: Tensor, *args: Any) -> Tensor:
        assert torch.isfinite(tile).all()
        seen.append(1)
        return forward(self, tile, *args)

    monkeypatch.setattr(Dense, "forward", counting)
    model, survey = as_model(0), small_ground(holes=True)
    found = gp.predict(model, survey, 32, "cpu", mode="dense")
    by_window = gp.predict(model, survey, 32, "cpu")
    np.testing.assert_array_equal(found.valid, by_window.valid)
    np.testing.assert_array_equal(found.probability.isnull(), by_window.probability.isnull())
    assert 0 < found.probability.isnull().mean() < 1
    empty = by_window.probability.isnull().values
    tiles = sum(not empty[i : i + 2, j : j + 2].all() for i in range(0, empty.shape[0], 2)
                for j in range(0, empty.shape[1], 2))  # fmt: skip
    assert len(seen) == tiles < (empty.shape[0] + 1) // 2 * ((empty.shape[1] + 1) // 2)


@pytest.mark.parametrize(("shape", "step", "tile"), [((94, 94), 32, 1024), ((200, 94), 4, 700), ((1, 500), 64, 2048)])
def test_tiles_cover_every_window_once_and_are_mostly_ground(
    shape: tuple[int, int], step: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine._TILE, "cpu", 2 * tile if step == 4 else tile)
    halo = Dense(lively(build_network(SMALL, 2)), 60, min(step, 32)).halo
    settings = MapSettings(mode="dense", stride=step, device="cpu", dtype="float32", batch=1, threads=1, halo=halo)
    covered = np.zeros(shape, dtype=int)
    for rows, cols in (parts := engine.parts(shape, engine.side_of_part(60, settings))):
        covered[rows, cols] += 1
        assert (rows.stop - 1 - rows.start) * step + 60 + 2 * halo <= max(tile, 2 * (60 + 2 * halo))
    assert (covered == 1).all()
    assert len(parts) > 1


def test_a_stride_of_several_features_takes_every_other_window() -> None:
    model, survey = as_model(0), small_ground()
    fine = gp.predict(model, survey, 32, "cpu", mode="dense").probability
    coarse = gp.predict(model, survey, 64, "cpu", mode="dense").probability
    np.testing.assert_allclose(coarse, fine[::2, ::2], atol=1e-6)
    every = gp.predict(model, survey, 12, "cpu", mode="dense").probability  # by fours
    by_96 = gp.predict(model, survey, 96, "cpu", mode="dense").probability
    np.testing.assert_allclose(every[::8, ::8], by_96, atol=1e-3)


def test_strides_that_are_no_multiples_of_4_and_other_modes_are_refused_with_the_cure() -> None:
    with pytest.raises(InputError, match=r"stride=10: mode='dense' takes multiples of 4 cells; take stride=8"):
        gp.predict(as_model(0), small_ground(), 10, "cpu", mode="dense")
    with pytest.raises(InputError, match="did you mean 'dense'"):
        gp.predict(as_model(0), small_ground(), 16, "cpu", mode="dens")  # type: ignore[arg-type]


def test_the_default_stride_is_one_that_the_mode_takes() -> None:
    model = dataclasses.replace(as_model(0), size=100)  # an eighth: 12
    assert gp.predict(model, small_ground(), device="cpu", mode="dense").attrs["stride"] == 12
    model = dataclasses.replace(model, size=150)  # 18
    found = [gp.predict(model, small_ground(), device="cpu", mode=mode).attrs["stride"] for mode in ("dense", "window")]
    assert found in ([16, 18], [20, 18])
    assert gp.check_dense(model, small_ground(), n=5, device="cpu", rng=0).n == 5


def test_where_memory_runs_out_tiles_are_cut_until_they_fit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, survey = as_model(0), small_ground()
    whole = gp.predict(model, survey, 64, "cpu", mode="dense")
    forward, most = Dense.forward, 7

    def hungry(self: Dense, tile: Tensor, context: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        if shape[0] * shape[1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, tile, context, shape)

    monkeypatch.setattr(Dense, "forward", hungry)
    with caplog.at_level("INFO", logger="geoprospect"):
        cut = gp.predict(model, survey, 64, "cpu", mode="dense")
    xr.testing.assert_allclose(cut, whole, rtol=0, atol=1e-4)
    assert "cut into quarters" in caplog.text
    most = 0
    with pytest.raises(DeviceError, match=r"device='cpu': has no memory for one window of 60 cells with 288"):
        gp.predict(model, survey, 64, "cpu", mode="dense")


def test_a_network_that_was_ruined_in_training_is_named_as_such() -> None:
    model = as_model(0)
    with torch.no_grad():
        next(model.networks[0].parameters()).fill_(torch.nan)
    with pytest.raises(DivergenceError, match="network 0 gives values that are not finite"):
        gp.predict(model, small_ground(), 64, "cpu", mode="dense")


def test_a_model_without_a_halo_is_slid_with_a_warning_only() -> None:
    with pytest.warns(DataWarning, match="trained without a halo"):
        gp.predict(as_model(0, halo=0), small_ground(), 64, "cpu", mode="dense")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gp.predict(as_model(0, halo=0), small_ground(), 64, "cpu")
        gp.check_dense(as_model(0, halo=0), small_ground(), 64, n=5, device="cpu", rng=0)  # is what answers the warning


# -- are they one map? -------------------------------------------------------------------------


def test_a_check_compares_the_two_maps_at_the_windows_and_by_the_deposits() -> None:
    survey = ground(holes=True)
    survey = survey.isel(y=slice(0, 200), x=slice(200, 530))
    model, grid = as_model(0), gp.Grid.of(survey)
    cells = [(0, 150), (100, 150), (199, 329), (120, 297), (50, 10)]  # the last where there are no data
    deposits = gpd.GeoDataFrame(geometry=[Point(grid.x[col], grid.y[row]) for row, col in cells], crs=grid.crs)
    check = gp.check_dense(model, survey, 20, deposits, n=10_000, device="cpu", rng=0)
    alone, slid = (gp.predict(model, survey, 20, "cpu", mode=mode).probability.values for mode in ("window", "dense"))
    holds = np.zeros(alone.shape, dtype=bool)
    for i, j in np.ndindex(alone.shape):
        holds[i, j] = any(0 <= row - 20 * i < 60 and 0 <= col - 20 * j < 60 for row, col in cells)
    known = np.isfinite(alone)
    alone, slid, holds = alone[known], slid[known], holds[known]
    assert check.n == known.sum()
    assert check.mean_difference == pytest.approx(np.abs(alone - slid).mean(), rel=1e-5)
    assert check.largest_difference == pytest.approx(np.abs(alone - slid).max(), rel=1e-5)
    assert check.change_side == np.mean((alone > 0.5) != (slid > 0.5))
    assert check.rank_correlation == pytest.approx(spearmanr(alone, slid).statistic)
    assert check.auc_window == pytest.approx(gp.stats.rank_auc(holds, alone))
    assert check.auc_dense == pytest.approx(gp.stats.rank_auc(holds, slid))
    few = gp.check_dense(model, survey, 20, deposits, n=5, device="cpu", rng=0)
    assert few.n == holds.sum() + 5
    plain = gp.check_dense(model, survey, 20, n=5, device="cpu", rng=0)
    assert plain.n == 5
    assert np.isnan(plain.auc_dense)
    assert "AUC" not in plain.summary


@pytest.mark.parametrize(("changed", "passed"), [
    ({}, True), ({"rank_correlation": 0.94}, False), ({"change_side": 0.06}, False), ({"auc_dense": 0.87}, False),
    ({"auc_dense": 0.99}, True), ({"auc_window": np.nan, "auc_dense": np.nan}, True),
    ({"rank_correlation": np.nan}, False),
])  # fmt: skip
def test_a_check_passes_when_ranks_sides_and_auc_agree(changed: dict[str, float], passed: bool) -> None:
    fields = {"n": 9, "mean_difference": 0.01, "difference_99": 0.1, "largest_difference": 0.2, "change_side": 0.01,
              "rank_correlation": 0.99, "auc_window": 0.9, "auc_dense": 0.89}  # fmt: skip
    check = DenseCheck(**fields | changed)  # type: ignore[arg-type]
    assert check.passed is passed
    assert ("can stand for" in check.summary) is passed


GOOD = DenseCheck(500, 0.01, 0.05, 0.2, 0.004, 0.993)


@pytest.mark.parametrize(
    ("halo", "check", "mode", "why"),
    [
        (64, GOOD, "dense", "can stand for"),
        (0, GOOD, "window", "trained without a halo"),
        (64, None, "window", "carries no check"),
        (64, dataclasses.replace(GOOD, rank_correlation=0.5), "window", "is another map than"),
    ],
)
def test_auto_is_dense_only_where_the_model_has_shown_that_it_may_be(
    halo: int, check: DenseCheck | None, mode: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = dataclasses.replace(as_model(0), settings={"halo": halo}, dense_check=check)
    with caplog.at_level(logging.INFO, logger="geoprospect"):
        found = gp.predict(model, small_ground(), 32, "cpu", mode="auto")
    assert found.attrs["mode"] == mode
    assert f"mode='auto': '{mode}'" in caplog.text
    assert why in caplog.text
    with_halo = dataclasses.replace(model, settings={"halo": 64})
    xr.testing.assert_identical(found, gp.predict(with_halo, small_ground(), 32, "cpu", mode=mode))


def test_a_check_is_kept_with_the_model(tmp_path: Path) -> None:
    model = dataclasses.replace(as_model(0), network=SMALL).dense_checked(GOOD)
    read = gp.ProspectivityModel.load(model.save(tmp_path / "model"))
    assert read.dense_check is not None
    assert repr(read.dense_check) == repr(GOOD)  # NaN is not equal to itself
    assert math.isnan(read.dense_check.auc_dense)
    with pytest.raises(InputError, match="check: is a bool, needs a DenseCheck"):
        model.dense_checked(True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs exactly the keys"):
        DenseCheck.from_dict({"n": 3})


def test_a_check_of_a_survey_without_data_says_so() -> None:
    survey = small_ground()
    with pytest.raises(InputError, match=r"0 windows have min_valid=0\.5"):
        gp.check_dense(as_model(0), survey.where(survey.Cu > 99), 32, device="cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_dense_map_of_a_gpu_is_that_of_the_cpu() -> None:
    model, survey = as_model(0), small_ground(holes=True)
    here, there = (gp.predict(model, survey, 16, device, mode="dense") for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(there.probability.isnull(), here.probability.isnull())
    gap = abs(there.probability - here.probability)
    assert gap.quantile(0.99) < 0.02
