"""Convolutional networks for windows of n bands: torchvision's, with their first convolution widened."""

from __future__ import annotations

import os
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from geoprospect._checks import check_choice, check_input_file, check_int
from geoprospect.errors import DependencyError, InputError

# Name of the network and of its first convolution, as torchvision calls them.
_FIRST_CONVOLUTION = {
    "resnet50": "conv1",
    "resnet18": "conv1",
    "mobilenet_v2": "features.0.0",
    "googlenet": "conv1.conv",
    "shufflenet_v2_x1_0": "conv1.0",
}
NETWORKS = tuple(_FIRST_CONVOLUTION)
_HEADS = ("fc.", "classifier.")
_AUXILIARY = ("aux1.", "aux2.")  # heads that GoogLeNet has in training only


def build_network(name: str, n_bands: int, weights: str | os.PathLike[str] | None = None, seed: int = 0) -> nn.Module:
    """Build a two-class network for windows of `n_bands` bands.

    Parameters
    ----------
    name : {'resnet50', 'resnet18', 'mobilenet_v2', 'googlenet', 'shufflenet_v2_x1_0'}
        Architecture, as in torchvision.
    n_bands : int
        Number of input bands.
    weights : path-like, optional
        A .safetensors file with a state of the same architecture. A first convolution for another
        number of bands is averaged over its bands and rescaled, so that responses keep their size;
        a head for other classes is left out.
    seed : int, default 0
        Seed of the random weights; the global generator is left alone.

    Returns
    -------
    torch.nn.Module
        On the CPU, in training mode, from (B, n_bands, H, W) to (B, 2) logits for barren and ore.

    Raises
    ------
    InputError
        When the name is unknown, or the weights do not belong to the architecture.
    DependencyError
        When torch and torchvision do not fit together.
    """
    check_choice("network", name, NETWORKS)
    n_bands = check_int("n_bands", n_bands)
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
        network: nn.Module = getattr(_torchvision_models(), name)(weights=None, num_classes=2, **options)
        first = network.get_submodule(_FIRST_CONVOLUTION[name])
        if not isinstance(first, nn.Conv2d):
            raise DependencyError(
                f"torchvision: {_FIRST_CONVOLUTION[name]} of {name} is no convolution; "
                "this release of torchvision is not supported"
            )
        if n_bands != first.in_channels:
            shape: Any = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
            widened = nn.Conv2d(n_bands, first.out_channels, bias=first.bias is not None, **shape)
            nn.init.kaiming_normal_(widened.weight, mode="fan_out", nonlinearity="relu")
            network.set_submodule(_FIRST_CONVOLUTION[name], widened)
    if name == "googlenet":
        network.transform_input = False  # type: ignore[assignment]  # its RGB statistics mean nothing for element bands
    if weights is not None:
        _load(network, name, n_bands, weights)
    return network


def _torchvision_models() -> Any:
    try:
        from torchvision import models
    except (ImportError, RuntimeError, AttributeError) as err:  # mixed builds raise RuntimeError
        raise DependencyError(
            f"torchvision cannot be used with torch {torch.__version__} ({err}); install both from one index: "
            "pip install --force-reinstall torch torchvision"
        ) from err
    return models


def _load(network: nn.Module, name: str, n_bands: int, weights: str | os.PathLike[str]) -> None:
    """Load a state, its first convolution brought to `n_bands`; a head of other classes stays random."""
    file = check_input_file("weights", weights)
    try:
        state: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as err:
        raise InputError(
            f"weights={str(file)!r}: is no safetensors file ({err}); convert a torch file once with "
            "safetensors.torch.save_file(state_dict, …)"
        ) from err
    own = network.state_dict()
    key = f"{_FIRST_CONVOLUTION[name]}.weight"
    if key in state and state[key].ndim == 4 and state[key].shape[1] != n_bands:
        mean = state[key].mean(dim=1, keepdim=True)
        state[key] = (mean * (state[key].shape[1] / n_bands)).repeat(1, n_bands, 1, 1)
    kept = {k: v for k, v in state.items() if not (k.startswith(_HEADS) and k in own and v.shape != own[k].shape)}
    wrong = [f"{k} has another shape" for k in own if k in kept and kept[k].shape != own[k].shape]
    wrong += [
        f"{k} is missing" for k in own if k not in kept and not k.startswith(_HEADS) and "num_batches_tracked" not in k
    ]
    # A deeper network of the same family holds all that a shallower one asks for, and more.
    wrong += [f"{k} is too much" for k in kept if k not in own and not k.startswith((*_HEADS, *_AUXILIARY))]
    if wrong:
        raise InputError(f"weights={str(file)!r}: do not belong to network={name!r}: {wrong[0]}")
    bad = [k for k, v in kept.items() if not torch.isfinite(v).all()]
    if bad:
        raise InputError(f"weights={str(file)!r}: {bad[0]} holds values that are not finite")
    network.load_state_dict(kept, strict=False)
