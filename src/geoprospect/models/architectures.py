"""The registry of network architectures.

It imports torch and torchvision only when a network is built, so that the configuration and the command line can list
the architectures quickly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geoprospect.errors import DependencyError

if TYPE_CHECKING:
    from torch import nn

FEATURE_STRIDE = 32  # cells of the input from one of the last features to the next, in all architectures


@dataclass(frozen=True)
class Architecture:
    """A convolutional network and what the rest of the package has to know of it.

    Parameters
    ----------
    constructor : callable
        Returns the network with random weights, for two classes. `build_network` widens its first convolution.
    first_convolution : str
        Path of the first convolution among the modules.
    trunk_end : str
        Path of the pooling behind the last features; or of the trunk, a `torch.nn.Sequential`, where the network calls
        a function for the pooling.
    head : str
        Path of the linear layer that turns pooled features into logits.
    exact_halo : int
        Cells of context, a multiple of 32, with which the features of a window equal those of the whole raster. This
        holds for batch normalisation in evaluation; the mean of a group covers the whole image.
    feature_origin : int, default 0
        Centre of the field of view of the first feature, in cells from the centre of the first cell of the input.
        Padding on both sides and strides of 2 put it on the first cell.
    smallest : int, default 1
        Smallest input that the network accepts, in cells along a side.
    """

    constructor: Callable[[], nn.Module]
    first_convolution: str
    trunk_end: str
    head: str
    exact_halo: int
    feature_origin: int = 0
    smallest: int = 1


def torchvision_models() -> Any:
    """Return the module `torchvision.models`.

    Raises
    ------
    DependencyError
        When torchvision is missing, or was built for another torch.
    """
    try:
        from torchvision import models
    except (ImportError, RuntimeError, AttributeError) as err:  # mixed builds raise RuntimeError
        import torch

        raise DependencyError(
            f"torchvision cannot be used with torch {torch.__version__} ({err}); install both from one index: "
            "pip install --force-reinstall torch torchvision"
        ) from err
    return models


def _torchvision(name: str, **options: Any) -> nn.Module:
    network: nn.Module = getattr(torchvision_models(), name)(weights=None, num_classes=2, **options)
    return network


def _googlenet() -> nn.Module:
    network = _torchvision("googlenet", aux_logits=False, init_weights=True)
    network.transform_input = False  # type: ignore[assignment]  # its RGB statistics mean nothing for element bands
    return network


# The one list of architectures. A new entry needs nothing else; tests/models/test_networks.py tests every entry.
ARCHITECTURES: dict[str, Architecture] = {
    "resnet50": Architecture(functools.partial(_torchvision, "resnet50"), "conv1", "avgpool", "fc", 224),
    "resnet18": Architecture(functools.partial(_torchvision, "resnet18"), "conv1", "avgpool", "fc", 224),
    "mobilenet_v2": Architecture(
        functools.partial(_torchvision, "mobilenet_v2"), "features.0.0", "features", "classifier.1", 256
    ),
    # A pooling without padding shifts its field of view. Four halvings of 15 cells leave one.
    "googlenet": Architecture(_googlenet, "conv1.conv", "avgpool", "fc", 192, feature_origin=22, smallest=15),
    "shufflenet_v2_x1_0": Architecture(
        functools.partial(_torchvision, "shufflenet_v2_x1_0"), "conv1.0", "conv5", "fc", 288
    ),
}
