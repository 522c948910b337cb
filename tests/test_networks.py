"""The networks, against torchvision's own."""

import os
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from geoprospect.errors import DependencyError, InputError, MissingFileError
from geoprospect.networks import NETWORKS, build_network

HEADS = ("fc.", "classifier.")
FIRST = {
    "resnet50": "conv1.weight",
    "resnet18": "conv1.weight",
    "mobilenet_v2": "features.0.0.weight",
    "googlenet": "conv1.conv.weight",
    "shufflenet_v2_x1_0": "conv1.0.weight",
}
SMALL = "shufflenet_v2_x1_0"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small layers on many threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def saved(network: nn.Module, file: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, file)
    return file


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def shapes(network: nn.Module, leave_out: tuple[str, ...]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in network.state_dict().items() if not key.startswith(leave_out)}


def outline(network: nn.Module) -> list[tuple[str, str]]:
    """Name and settings of every layer that has no layers in it."""
    return [(name, repr(layer)) for name, layer in network.named_modules() if not list(layer.children())]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n_bands", [1, 3, 8])
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


@pytest.mark.parametrize("name", NETWORKS)
def test_with_torchvisions_weights_the_logits_are_torchvisions_own(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    own = lived_in(torchvisions_own(name)).double().eval()
    mine = build_network(name, 3, saved(own, tmp_path / "own.safetensors"), seed=99).double().eval()
    # Loading rounds to float32: so must the reference.
    own = own.float().double()
    x = torch.randn(2, 3, 17, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        expected = own(x)
        assert expected.std() > 0
        torch.testing.assert_close(mine(x), expected, rtol=0, atol=1e-12)


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
        source = fresh[key] if key.startswith(HEADS) else tensor
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
