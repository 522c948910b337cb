"""The networks, against torchvision's own."""

import os
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, get_args

import geopandas as gpd
import numpy as np
import pytest
import torch
import torchvision
from affine import Affine
from safetensors.torch import save_file
from torch import Tensor, nn

import geoprospect as gp
from geoprospect.config import TrainingSection, fields_of
from geoprospect.errors import DataWarning, DependencyError, InputError, MissingFileError
from geoprospect.models.architectures import ARCHITECTURES, Architecture
from geoprospect.models.networks import (
    Crop,
    build_network,
    group_count,
    last_features,
    set_halo,
)

pytestmark = pytest.mark.usefixtures("one_thread")


FIRST = {name: f"{one.first_convolution}.weight" for name, one in ARCHITECTURES.items()}
SMALL = "shufflenet_v2_x1_0"
OF_TORCHVISION = [name for name in ARCHITECTURES if hasattr(torchvision.models, name)]
LIGHT = [name for name in OF_TORCHVISION if name != "resnet50"]  # resnet18 is of its class


def torchvisions_own(name: str, classes: int = 2) -> nn.Module:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    network: nn.Module = getattr(torchvision.models, name)(weights=None, num_classes=classes, **options)
    return network


def lived_in(network: nn.Module) -> nn.Module:
    """Give batch normalisation the statistics of a network that has seen data."""
    draws = torch.Generator().manual_seed(5)
    for key, tensor in network.state_dict().items():
        if key.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=draws) * 0.1)
        elif key.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=draws) + 0.5)
    return network


def loud(network: nn.Module) -> nn.Module:
    """Give convolutions weights with which signals keep their size; googlenet's own let them vanish."""
    torch.manual_seed(6)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
    return network


def saved(network: nn.Module, file: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, file)
    return file


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def shapes(network: nn.Module, leave_out: tuple[str, ...]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in network.state_dict().items() if not key.startswith(leave_out)}


def outline(network: nn.Module) -> list[tuple[str, str]]:
    """Name and settings of every layer that has no layers in it, but for the one that cuts off a halo."""
    layers = [(name, layer) for name, layer in network.named_modules() if not list(layer.children())]
    return [(name.removesuffix(".1") if "pool" in name else name, repr(layer))
            for name, layer in layers if not isinstance(layer, Crop)]  # fmt: skip


@pytest.mark.parametrize(("name", "n_bands"), [("resnet50", 8), *((name, n) for name in LIGHT for n in (1, 3, 8))])
def test_a_network_is_torchvisions_own_but_for_its_first_convolution(name: str, n_bands: int) -> None:
    with torch.device("meta"):  # shapes without numbers
        own = torchvisions_own(name)
    network = build_network(name, n_bands)
    first = network.state_dict()[FIRST[name]]
    assert first.shape[1] == n_bands
    assert first.shape[0] == own.state_dict()[FIRST[name]].shape[0]
    assert shapes(network, (FIRST[name],)) == shapes(own, (FIRST[name],))
    layer = FIRST[name].removesuffix(".weight")
    differing = {a[0] for a, b in zip(outline(network), outline(own), strict=True) if a != b}
    assert differing == ({layer} if n_bands != 3 else set())
    mine, theirs = network.get_submodule(layer), own.get_submodule(layer)
    for setting in ("kernel_size", "stride", "padding", "dilation", "groups", "bias"):
        assert getattr(mine, setting) == getattr(theirs, setting)
    assert network.training
    with torch.no_grad():
        assert network.eval()(torch.zeros(2, n_bands, 16, 16)).shape == (2, 2)


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_with_torchvisions_weights_every_bit_of_the_logits_is_torchvisions(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    own = lived_in(torchvisions_own(name))
    mine = build_network(name, 3, saved(own, tmp_path / "own.safetensors"), seed=99)
    x = torch.randn(3, 3, 40, 33, generator=torch.Generator().manual_seed(2))
    for training in (False, True):
        answers = []
        for network in (own, mine):
            torch.manual_seed(7)  # of the dropout
            answers.append(network.train(training)(x))
        assert torch.equal(*answers)
        assert answers[0].std() > 0
    assert same_weights(own, mine)  # the running statistics moved alike, too


@pytest.mark.parametrize("n_bands", [1, 2, 8])
def test_a_widened_first_convolution_answers_a_constant_image_as_before(n_bands: int, tmp_path: Path) -> None:
    own = torchvisions_own(SMALL)
    mine = build_network(SMALL, n_bands, saved(own, tmp_path / "own.safetensors"))
    level = torch.full((1, 1, 16, 16), 1.7)
    with torch.no_grad():
        before = own.get_submodule("conv1.0")(level.repeat(1, 3, 1, 1))
        after = mine.get_submodule("conv1.0")(level.repeat(1, n_bands, 1, 1))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    kernel = mine.state_dict()[FIRST[SMALL]]
    assert all(torch.equal(kernel[:, band], kernel[:, 0]) for band in range(n_bands))


@pytest.mark.parametrize("name", [SMALL, "mobilenet_v2"])
def test_a_head_for_other_classes_is_left_out_and_the_trunk_is_taken(name: str, tmp_path: Path) -> None:
    own = torchvisions_own(name, classes=1000)
    mine = build_network(name, 3, saved(own, tmp_path / "imagenet.safetensors"), seed=4).state_dict()
    fresh = build_network(name, 3, seed=4).state_dict()
    for key, tensor in own.state_dict().items():
        source = fresh[key] if key.startswith(ARCHITECTURES[name].head) else tensor
        assert torch.equal(mine[key], source), key


def test_the_auxiliary_heads_of_a_trained_googlenet_are_ignored(tmp_path: Path) -> None:
    own = torchvision.models.googlenet(weights=None, num_classes=2, aux_logits=True, init_weights=False)
    mine = build_network("googlenet", 3, saved(own, tmp_path / "own.safetensors")).state_dict()
    assert not any(key.startswith("aux") for key in mine)
    assert all(torch.equal(tensor, own.state_dict()[key]) for key, tensor in mine.items())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    one, again, other = (build_network(SMALL, 5, seed=seed) for seed in (3, 3, 4))
    assert same_weights(one, again)
    assert not same_weights(one, other)
    key = FIRST[SMALL]
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])


def test_weights_beyond_the_first_convolution_do_not_depend_on_the_number_of_bands() -> None:
    three, eight = build_network(SMALL, 3, seed=1).state_dict(), build_network(SMALL, 8, seed=1).state_dict()
    assert all(torch.equal(three[key], eight[key]) for key in three if key != FIRST[SMALL])


def test_the_global_generators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reseeded: list[Any] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)  # waits for the first GPU call where none is
    before = torch.get_rng_state()
    build_network(SMALL, 4, seed=11)
    assert torch.equal(torch.get_rng_state(), before)
    assert reseeded == []


def test_a_seed_does_not_depend_on_the_global_generator() -> None:
    torch.manual_seed(1)
    one = build_network(SMALL, 4, seed=11)
    torch.manual_seed(2)
    assert same_weights(one, build_network(SMALL, 4, seed=11))


@pytest.mark.parametrize("name", ["resnet34", "ResNet50", "resnet", "", None, 50])
def test_an_unknown_network_is_refused_with_the_known_ones(name: Any) -> None:
    with pytest.raises(InputError, match=r"network=.*'resnet50'.*'shufflenet_v2_x1_0'"):
        build_network(name, 3)


@pytest.mark.parametrize("n_bands", [0, -1, 2.5, True, None])
def test_no_bands_are_refused(n_bands: Any) -> None:
    with pytest.raises(InputError, match="n_bands"):
        build_network(SMALL, n_bands)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pkl", ".safetensors"])
def test_a_pickle_is_refused_and_not_executed_whatever_it_is_called(suffix: str, tmp_path: Path) -> None:
    file, sprung = tmp_path / f"weights{suffix}", tmp_path / "sprung"
    file.write_bytes(pickle.dumps(Trap(str(sprung))))
    with pytest.raises(InputError, match="no safetensors file"):
        build_network(SMALL, 3, file)
    assert not sprung.exists()
    pickle.loads(file.read_bytes())  # the trap does work
    assert sprung.exists()


def test_a_torch_file_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    torch.save(torchvisions_own(SMALL).state_dict(), tmp_path / "own.pth")
    with pytest.raises(InputError, match="save_file"):
        build_network(SMALL, 3, tmp_path / "own.pth")


@pytest.mark.parametrize("keep", [0, 4, 8, 1000, 0.5, -1])
def test_a_truncated_file_is_refused(keep: float, tmp_path: Path) -> None:
    file = saved(torchvisions_own(SMALL), tmp_path / "own.safetensors")
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data))] if keep == 0.5 else data[: int(keep)])
    with pytest.raises(InputError, match="no safetensors file"):
        build_network(SMALL, 3, file)


def test_a_file_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent\.safetensors"):
        build_network(SMALL, 3, tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ("mobilenet_v2", "resnet18"),
        ("resnet18", "mobilenet_v2"),
        ("resnet18", "resnet50"),
        ("resnet34", "resnet18"),  # holds all of resnet18, in the same shapes, and more
        ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    ],
)
def test_the_weights_of_another_architecture_are_refused(theirs: str, mine: str, tmp_path: Path) -> None:
    file = saved(torchvisions_own(theirs), tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match=f"do not belong to network='{mine}'"):
        build_network(mine, 3, file)


def edited(file: Path, key: str, tensor: Tensor | None) -> Path:
    state = {name: value.clone() for name, value in torchvisions_own(SMALL).state_dict().items()}
    state.pop(key)
    if tensor is not None:
        state[key] = tensor
    save_file(state, file)
    return file


@pytest.mark.parametrize("tensor", [None, torch.zeros(3), torch.zeros(24, 3, 5, 5), torch.zeros(7, 3, 3, 3)])
def test_a_first_convolution_that_is_missing_or_of_another_kind_is_refused(
    tensor: Tensor | None, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"do not belong.*{FIRST[SMALL]}"):
        build_network(SMALL, 3, edited(tmp_path / "edited.safetensors", FIRST[SMALL], tensor))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    kernel = torch.zeros(24, 3, 3, 3)
    kernel[1, 2, 0, 0] = value
    with pytest.raises(InputError, match=rf"{FIRST[SMALL]}.*not finite"):
        build_network(SMALL, 3, edited(tmp_path / "edited.safetensors", FIRST[SMALL], kernel))


def broken_torchvision(error: Exception) -> types.ModuleType:
    def fail(name: str) -> Any:
        raise error

    module = types.ModuleType("torchvision")
    module.__dict__["__getattr__"] = fail
    return module


@pytest.mark.parametrize(
    "error",
    [RuntimeError("operator torchvision::nms does not exist"), ImportError("undefined symbol"), AttributeError("ops")],
)
def test_a_torchvision_that_does_not_fit_torch_is_named_with_the_cure(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", broken_torchvision(error))
    monkeypatch.delitem(sys.modules, "torchvision.models", raising=False)
    with pytest.raises(DependencyError, match="pip install --force-reinstall torch torchvision") as caught:
        build_network(SMALL, 3)
    assert isinstance(caught.value, ImportError)
    assert torch.__version__ in str(caught.value)


def test_a_missing_torchvision_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DependencyError, match="pip install"):
        build_network(SMALL, 3)


# ---------------------------------------------------------------- group normalisation


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (2048, 32), (32, 16), (24, 12), (16, 8), (58, 29), (116, 29), (144, 24), (7, 1)]
)
def test_groups_divide_the_channels_and_hold_two_at_least(channels: int, groups: int) -> None:
    assert group_count(channels) == groups


@pytest.mark.parametrize("name", LIGHT)
def test_group_normalisation_replaces_every_batch_normalisation_and_no_name(name: str) -> None:
    batch, group = build_network(name, 3, seed=2), build_network(name, 3, seed=2, norm="group")
    kept = {key for key in batch.state_dict() if "running_" not in key and "num_batches" not in key}
    state = group.state_dict()
    assert set(state) == kept
    assert all(torch.equal(state[key], batch.state_dict()[key]) for key in kept)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in group.modules())
    norms = [layer for layer in group.modules() if isinstance(layer, nn.GroupNorm)]
    assert len(norms) == sum(isinstance(layer, nn.BatchNorm2d) for layer in batch.modules())
    assert all(layer.num_groups == group_count(layer.num_channels) for layer in norms)


def test_with_group_normalisation_a_window_does_not_see_the_others_of_its_batch() -> None:
    x = torch.randn(4, 2, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grouped, batched = (build_network("resnet18", 2, norm=norm).double() for norm in ("group", "batch"))
    torch.testing.assert_close(grouped(x)[:1], grouped(x[:1]), rtol=0, atol=1e-12)
    assert not torch.allclose(batched(x)[:1], batched(torch.cat([x[:1], 2 * x[1:]]))[:1], atol=1e-3)


def test_group_normalisation_computes_what_the_reference_says() -> None:
    layer = build_network("resnet18", 1, norm="group").get_submodule("bn1")
    x = torch.randn(2, 64, 5, 4, generator=torch.Generator().manual_seed(1))
    groups = x.reshape(2, 32, 2 * 5 * 4)
    expected = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected.reshape(x.shape))


def test_weights_of_batch_normalisation_start_a_group_network_without_their_statistics(tmp_path: Path) -> None:
    torch.manual_seed(3)
    own = lived_in(torchvisions_own(SMALL))
    with pytest.warns(DataWarning, match=r"own\.safetensors.*norm='group' takes their filters"):
        mine = build_network(SMALL, 3, saved(own, tmp_path / "own.safetensors"), norm="group").state_dict()
    assert all(torch.equal(tensor, own.state_dict()[key]) for key, tensor in mine.items())


def test_weights_of_a_group_network_start_another_and_no_batch_network(tmp_path: Path) -> None:
    own = build_network(SMALL, 3, seed=8, norm="group")
    file = saved(own, tmp_path / "own.safetensors")
    assert same_weights(build_network(SMALL, 3, file, norm="group"), own)
    with pytest.raises(InputError, match=r"do not belong.*running_mean is missing"):
        build_network(SMALL, 3, file)


def test_the_statistics_of_foreign_layers_are_not_left_out_in_silence(tmp_path: Path) -> None:
    file = saved(torchvisions_own("resnet34"), tmp_path / "foreign.safetensors")
    with pytest.warns(DataWarning), pytest.raises(InputError, match="is too much"):
        build_network("resnet18", 3, file, norm="group")


@pytest.mark.parametrize("norm", ["layer", "Batch", "", None, 2])
def test_an_unknown_normalisation_is_refused(norm: Any) -> None:
    with pytest.raises(InputError, match=r"norm=.*'batch', 'group'"):
        build_network(SMALL, 3, norm=norm)


# ---------------------------------------------------------------- dropout


@pytest.mark.parametrize("name", LIGHT)
def test_dropout_changes_no_name_and_no_weight(name: str) -> None:
    assert same_weights(build_network(name, 2, seed=3, dropout=0.4), build_network(name, 2, seed=3))


@pytest.mark.parametrize("name", LIGHT)
def test_dropout_drops_its_share_of_the_heads_input_in_training_only(name: str) -> None:
    network = build_network(name, 1, dropout=0.75)
    head = network.get_submodule("classifier.1" if name == "mobilenet_v2" else "fc")
    assert isinstance(head, nn.Linear)
    # Sums of what the head is given, features of 1 each: the mean stays 1, the share of zeros is 0.75.
    head.weight.data.fill_(1 / head.in_features)
    head.bias.data.zero_()
    ones = torch.ones(64, head.in_features)
    before = nn.Sequential(network.get_submodule("classifier")) if name == "mobilenet_v2" else None
    before = nn.Sequential(network.get_submodule("dropout"), head) if name == "googlenet" else before or head
    torch.manual_seed(4)
    answers = before(ones)[:, 0].detach()
    assert float(answers.mean()) == pytest.approx(1, abs=0.03)
    # Each is a mean of kept inputs of 1 / 0.25 = 4: variance 4² · 0.75 · 0.25 / inputs.
    assert float(answers.std()) == pytest.approx((3 / head.in_features) ** 0.5, rel=0.3)
    assert torch.equal(before.eval()(ones), head(ones))


@pytest.mark.parametrize("name", LIGHT)
def test_no_dropout_asked_for_is_the_architectures_own(name: str) -> None:
    own, mine, none = torchvisions_own(name), build_network(name, 3), build_network(name, 3, dropout=0)
    shares = [[layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)] for net in (own, mine, none)]
    assert shares[0] == shares[1] == [0.2] * len(shares[1])
    assert set(shares[2]) <= {0}
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    assert torch.equal(none(x), none(x))  # nothing is drawn


def test_another_draw_of_the_dropout_gives_other_logits_and_the_same_seed_the_same() -> None:
    network, x = build_network("resnet18", 1, dropout=0.5), torch.ones(2, 1, 32, 32)
    answers = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        answers.append(network(x))
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])
    assert "dropout=0.5" in repr(network)


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5, float("nan"), True, "half"])
def test_a_dropout_that_is_no_share_is_refused(dropout: Any) -> None:
    with pytest.raises(InputError, match="dropout="):
        build_network(SMALL, 3, dropout=dropout)


def test_a_head_that_is_not_linear_names_the_release_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torchvision.models.resnet18

    def other_head(**options: Any) -> nn.Module:
        network: nn.Module = real(**options)
        network.set_submodule("fc", nn.Identity())
        return network

    monkeypatch.setattr(torchvision.models, "resnet18", other_head)
    with pytest.raises(DependencyError, match=r"head of ResNet is not linear.*release of torchvision"):
        build_network("resnet18", 3, dropout=0.1)


# ---------------------------------------------------------------- halo


def features(network: nn.Module, x: Tensor) -> Tensor:
    """Return the last features, as they go into the pooling."""
    kept: list[Tensor] = []
    hook = last_features(network).register_forward_hook(lambda module, given, left: kept.append(left))
    with torch.no_grad():
        network(x)
    hook.remove()
    return kept[0]


def smooth(network: nn.Module) -> nn.Module:
    """Make every output depend on all that it sees: weights that cannot cancel, averages instead of maxima."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data.fill_(1 / parameter[0].numel())
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.MaxPool2d):
            sizes: Any = (layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
            network.set_submodule(name, nn.AvgPool2d(*sizes))
    return network.double().eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_a_feature_sees_is_as_wide_as_the_halo_and_lies_about_its_place(name: str) -> None:
    """The first and the last cell on which a feature depends, from the gradient."""
    network = smooth(build_network(name, 1))
    strip = torch.full((1, 1, 640, 32), 0.01, dtype=torch.float64, requires_grad=True)
    kept: list[Tensor] = []
    last_features(network).register_forward_hook(lambda module, given, left: kept.append(left))
    network(strip)
    (gradient,) = torch.autograd.grad(kept[0].sum(dim=(0, 1, 3))[10], strip)
    seen = torch.nonzero(gradient.abs().sum(dim=(0, 1, 3))).ravel()
    first, last = int(seen[0]) - 320, int(seen[-1]) - 320
    assert (first + last) / 2 == ARCHITECTURES[name].feature_origin
    needed = max(-first, last - 31)  # beyond a window of 32 cells, which has one feature
    assert ARCHITECTURES[name].exact_halo - 32 < needed <= ARCHITECTURES[name].exact_halo


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_with_the_exact_halo_features_are_those_of_the_whole_raster(name: str) -> None:
    """On a strip that is cut along its length only; what is cut off is 32 cells at both ends."""
    halo = ARCHITECTURES[name].exact_halo
    network = loud(lived_in(build_network(name, 1))).double().eval()
    draws = torch.Generator().manual_seed(1)
    whole = torch.randn(1, 1, 64 + 2 * (halo + 32), 32, generator=draws, dtype=torch.float64)
    k = halo // 32
    dense = features(network, whole)[:, :, k + 1 : k + 3]
    part = features(network, whole[:, :, 32:-32])[:, :, k : k + 2]
    torch.testing.assert_close(part, dense, rtol=0, atol=1e-12 * float(dense.abs().max()))
    little = features(network, whole[:, :, halo:-halo])[:, :, 1:3]  # 32 cells of context
    assert (little - dense).abs().max() > 1e-6 * dense.abs().max()


def test_pixels_beyond_the_exact_halo_change_nothing_and_those_within_do() -> None:
    halo = ARCHITECTURES[SMALL].exact_halo
    network = smooth(build_network(SMALL, 1))
    set_halo(network, halo + 32)
    side = 32 + 2 * (halo + 32)
    raster = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64).mul_(0.01)
    beyond, within = raster.clone(), raster.clone()
    beyond[..., :32, :] = beyond[..., -32:, :] = beyond[..., :32] = beyond[..., -32:] = 0.5
    within[..., side // 2, halo] += 0.5  # 32 cells from the window
    with torch.no_grad():
        plain, outer, inner = (network(x)[0] for x in (raster, beyond, within))
    torch.testing.assert_close(outer, plain, rtol=0, atol=1e-12)
    assert (inner - plain).abs().max() > 1e-8


@pytest.mark.parametrize("name", LIGHT)
def test_a_halo_is_cut_off_before_the_pooling_and_no_halo_is_the_plain_network(
    name: str,
) -> None:
    height, width = 16, 40  # one feature down, two across
    network = loud(build_network(name, 2)).eval()
    x = torch.randn(2, 2, height + 64, width + 64, generator=torch.Generator().manual_seed(1))
    inside = features(network, x)
    with torch.no_grad():
        plain, window = network(x), features(network, x[..., 32:-32, 32:-32])
        set_halo(network, 32)
        cut, kept = network(x), features(network, x)
        set_halo(network, 0)
        again = network(x)
    assert kept.shape == window.shape  # as many as the window has by itself
    assert torch.equal(kept, inside[..., 1 : 1 + window.shape[2], 1 : 1 + window.shape[3]])
    head = network.get_submodule(ARCHITECTURES[name].head)
    torch.testing.assert_close(cut, head(kept.mean(dim=(2, 3))))
    assert torch.equal(again, plain)
    assert not torch.allclose(cut, plain)


def test_a_halo_adds_nothing_to_the_state() -> None:
    network = build_network(SMALL, 2)
    before = set(network.state_dict())
    set_halo(network, 64)
    assert set(network.state_dict()) == before
    assert last_features(network).features == 2
    assert "features=2" in repr(network)


@pytest.mark.parametrize("cells", [1, 16, 33, -32, 32.5, True, None])
def test_a_halo_that_is_no_multiple_of_32_is_refused(cells: Any) -> None:
    with pytest.raises(InputError, match="cells="):
        set_halo(build_network(SMALL, 1), cells)


def test_the_nearest_halos_are_named() -> None:
    with pytest.raises(InputError, match=r"cells=100.*take 96 or 128"):
        set_halo(build_network(SMALL, 1), 100)


def test_a_network_from_elsewhere_has_no_halo() -> None:
    with pytest.raises(InputError, match="ShuffleNetV2 does not come from build_network"):
        set_halo(torchvisions_own(SMALL), 32)


def test_an_input_without_its_halo_is_refused() -> None:
    network = build_network(SMALL, 1).eval()
    set_halo(network, 64)
    with pytest.raises(InputError, match=r"2 x 2 features.*carry 64 more cells"):
        network(torch.zeros(1, 1, 64, 64))


def test_windows_that_are_too_small_for_googlenet_are_refused_in_words() -> None:
    network = build_network("googlenet", 1).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 15, 15)).shape == (1, 2)
        with pytest.raises(InputError, match=r"'googlenet': windows of 20 x 14 cells.*needs 15 at least"):
            network(torch.zeros(1, 1, 20, 14))


# ---------------------------------------------------------------- the registry


class Toy(nn.Module):
    """Two convolutions, a pooling and a head, under names that no architecture of torchvision has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Conv2d(8, 8, 3, stride=16, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.answer = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        found: Tensor = self.answer(self.pool(self.body(self.stem(x))).flatten(1))
        return found


def test_one_entry_is_all_that_a_new_architecture_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy = Architecture(Toy, "stem.0", "pool", "answer", exact_halo=32, smallest=6)
    monkeypatch.setitem(ARCHITECTURES, "toy", toy)
    grid = gp.Grid("EPSG:32649", Affine(10, 0, 0, 0, -10, 0), (32, 32))
    levels = np.random.default_rng(0).normal(size=(2, 32, 32)).astype(np.float32)
    survey = grid.dataset(dict(zip(("Cu", "Au"), levels, strict=True)))
    deposits = gpd.GeoDataFrame(geometry=gpd.points_from_xy([85.0, 235.0], [-85.0, -235.0]), crs=grid.crs)
    windows = gp.sample_windows(survey, deposits, 8, 8, 8, 8, rng=0)
    model = gp.train(windows, survey, "toy", epochs=2, dropout=0.1, device="cpu", rng=0)
    assert (model.network, model.networks[0].get_submodule("stem.0").in_channels) == ("toy", 2)
    result = gp.predict(model, survey, 8, "cpu")
    assert result.attrs["network"] == "toy"
    assert np.isfinite(result.probability).all()
    again = gp.ProspectivityModel.load(model.save(tmp_path / "model"))
    assert gp.predict(again, survey, 8, "cpu").probability.equals(result.probability)
    with pytest.raises(InputError, match="network='toy': windows of 5 x 5 cells are too small"):
        model.networks[0](torch.zeros(1, 2, 5, 5))


def test_the_guide_lists_every_architecture_with_its_context() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r'^\| `"(\w+)"` \|[^|]*\| (\d+) \|', guide, re.MULTILINE)
    assert rows == [(name, str(one.exact_halo)) for name, one in ARCHITECTURES.items()]


def test_the_configuration_takes_every_architecture() -> None:
    assert get_args(fields_of(TrainingSection)["network"].annotation) == tuple(ARCHITECTURES)


def test_listing_the_architectures_loads_no_torch() -> None:
    code = "import sys, geoprospect.models.architectures, geoprospect.config; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.split() == [b"False"]
