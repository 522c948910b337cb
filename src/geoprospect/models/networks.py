"""Convolutional networks for windows of n bands: torchvision's, with their first convolution widened."""

from __future__ import annotations

import copy
import functools
import operator
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geoprospect._checks import check_choice, check_input_file, check_int, check_number, user_level
from geoprospect.errors import DataWarning, DependencyError, InputError
from geoprospect.models.architectures import ARCHITECTURES, FEATURE_STRIDE, Architecture, torchvision_models

NORMS = ("batch", "group")
_GROUPS = 32  # of Wu & He (2018)
_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
_AUXILIARY = ("aux1.", "aux2.")  # heads that GoogLeNet has in training only


def build_network(
    name: str,
    n_bands: int,
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    *,
    norm: str = "batch",
    dropout: float | None = None,
) -> nn.Module:
    """Build a two-class network for windows of `n_bands` bands.

    Parameters
    ----------
    name : str
        A key of `geoprospect.models.architectures.ARCHITECTURES`. The names in the state are those of torchvision.
    n_bands : int
        Number of input bands.
    weights : path-like, optional
        A .safetensors file with a state of the same architecture. A first convolution for another
        number of bands is averaged over its bands and rescaled, so that responses keep their size;
        a head for other classes is left out.
    seed : int, default 0
        Seed of the random weights; the global generator is left alone.
    norm : {'batch', 'group'}, default 'batch'
        Normalisation between the layers. 'group' replaces every batch normalisation by group
        normalisation [1]_, which does not depend on the other windows of the batch: in 32 groups
        of channels, or as many as divide the channels and leave two in each.
    dropout : float, optional
        Share of the last features that training drops before the head, at least 0 and below 1.
        None keeps what the architecture has: 0.2 in mobilenet_v2 and googlenet, none in the others.

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

    Warns
    -----
    DataWarning
        When weights that were trained with batch normalisation start a network with group
        normalisation: the filters are taken, the running statistics have no place in it.

    References
    ----------
    .. [1] Wu, Y. & He, K. (2018). Group normalization. ECCV, 3-19.
       https://doi.org/10.1007/978-3-030-01261-8_1
    """
    architecture = ARCHITECTURES[check_choice("network", name, ARCHITECTURES)]
    check_choice("norm", norm, NORMS)
    n_bands = check_int("n_bands", n_bands)
    share = None if dropout is None else check_number("dropout", dropout, minimum=0)
    if share is not None and share >= 1:
        raise InputError(f"dropout={dropout!r}: needs a share of at least 0 and below 1; at 1 nothing would be left")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
        network = _widened(name, architecture, n_bands)
        # Last, so that the other weights are those of the network without it.
        if share is not None:
            _set_dropout(network, architecture.head, share)
    if norm == "group":
        norms = {path: module for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
        for path, module in norms.items():
            groups = group_count(module.num_features)
            network.set_submodule(path, nn.GroupNorm(groups, module.num_features, eps=module.eps))
    end = network.get_submodule(architecture.trunk_end)
    if isinstance(end, nn.Sequential):  # the trunk; it is pooled by a function
        end.append(Crop())
    else:  # the pooling
        network.set_submodule(architecture.trunk_end, nn.Sequential(Crop(), end))
    if weights is not None:
        _load(network, name, n_bands, weights)
    return network


def set_halo(network: nn.Module, cells: int) -> None:
    """Tell a network that its input carries so many more cells of context on every side.

    The context takes part in the convolutions; its features are cut off before the pooling, so
    that what is pooled are the features of the window itself, seen with its surroundings.

    Parameters
    ----------
    network : torch.nn.Module
        From `build_network`; changed in place.
    cells : int
        Width of the context, a multiple of 32, the stride of the last features. 0 switches back to windows
        without context.

    Raises
    ------
    InputError
        When `cells` is no such multiple, or the network is not from `build_network`.

    Examples
    --------
    >>> import torch
    >>> from geoprospect.models.networks import build_network, set_halo
    >>> network = build_network("resnet18", 2).eval()
    >>> set_halo(network, 32)
    >>> network(torch.zeros(1, 2, 32 + 64 + 32, 32 + 64 + 32)).shape
    torch.Size([1, 2])
    """
    cells = check_int("cells", cells, 0)
    if cells % FEATURE_STRIDE:
        below = cells // FEATURE_STRIDE * FEATURE_STRIDE
        raise InputError(
            f"cells={cells}: a halo needs a multiple of {FEATURE_STRIDE}, the cells from one feature to the next; take "
            f"{below} or {below + FEATURE_STRIDE}"
        )
    last_features(network).features = cells // FEATURE_STRIDE


def graph_of(network: nn.Module) -> fx.GraphModule:
    """Return a network from `build_network`, in evaluation, as a graph with layers of its own.

    Every batch normalisation is in the weights of the convolution before it.
    """
    shuffle = torchvision_models().shufflenetv2.channel_shuffle

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return isinstance(module, (Crop, nn.Linear)) or super().is_leaf_module(module, name)

    graph = Tracer(autowrap_functions=(shuffle,)).trace(network)
    calls = [node for node in graph.nodes if node.op == "call_module"]
    uses = Counter(str(node.target) for node in calls)
    layers: dict[str, Any] = {}
    for node in calls:
        layer, before = network.get_submodule(str(node.target)), node.args[0]
        if isinstance(layer, nn.BatchNorm2d) and isinstance(before, fx.Node) and before.op == "call_module":
            convolution = network.get_submodule(str(before.target))
            once = len(before.users) == uses[str(before.target)] == 1
            if once and isinstance(convolution, nn.Conv2d):
                layers[str(before.target)] = fuse_conv_bn_eval(convolution, layer)
                node.replace_all_uses_with(before)
                graph.erase_node(node)
                continue
        layers[str(node.target)] = layer
    own = {name: copy.deepcopy(one) if one is network.get_submodule(name) else one for name, one in layers.items()}
    named = [str(node.target) for node in graph.nodes if node.op == "get_attr"]
    own |= {name: copy.deepcopy(operator.attrgetter(name)(network)) for name in named}
    return fx.GraphModule(own, graph).eval()


def folded(network: nn.Module) -> nn.Module:
    """Return a copy for evaluation, with every batch normalisation in the weights of the convolution before it.

    In mixed precision its mean over the image and its head compute in the precision of the weights. A network that is
    not from `build_network` is copied as it is.
    """
    if not any(isinstance(module, Crop) for module in network.modules()):
        return copy.deepcopy(network).eval()
    graph = graph_of(copy.deepcopy(network).eval() if network.training else network)
    dtype = next(graph.parameters()).dtype
    for name, module in list(graph.named_modules()):
        if isinstance(module, (Crop, nn.Linear)):
            graph.set_submodule(name, _InFull(module, dtype))
    return graph.requires_grad_(False)


def in_full(x: Tensor) -> torch.autocast:
    """Return the context in which nothing is cast to less than its own precision."""
    return torch.autocast(x.device.type, enabled=False)


class _InFull(nn.Module):
    """A module that computes in one precision, whatever surrounds it."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, x: Tensor) -> Tensor:
        with in_full(x):
            found: Tensor = self.module(x.to(self.dtype))
        return found


def head_of(network: nn.Module) -> tuple[str, nn.Linear]:
    """Return the layer that turns the mean features of a window into logits, and its name.

    Raises
    ------
    InputError
        When the network has no such layer, as those that are not from `build_network`.
    """
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise InputError(f"network: {type(network).__name__} does not come from build_network; build it there")
    return found[-1]


def with_projection(network: nn.Module, directions: Tensor) -> nn.Module:
    """Return a copy whose answers are the logits and, beside them, the features projected on directions (k, F)."""
    copied = copy.deepcopy(network)
    name, head = head_of(copied)
    wide = nn.Linear(head.in_features, head.out_features + len(directions)).to(head.weight)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([head.weight, directions.to(head.weight)]))
        wide.bias.zero_()[: head.out_features].copy_(head.bias)
    copied.set_submodule(name, wide.train(head.training).requires_grad_(False))
    return copied


def last_features(network: nn.Module) -> Crop:
    """Return the layer whose output are the last features before they are pooled, (B, F, H/32, W/32).

    Raises
    ------
    InputError
        When the network is not from `build_network`.
    """
    for module in network.modules():
        if isinstance(module, Crop):
            return module
    raise InputError(f"network: {type(network).__name__} does not come from build_network; build it there")


class Crop(nn.Module):
    """Cuts the features of the context off; has no weights, so names in the state stay torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.features = 0  # to cut off on every side

    def forward(self, x: Tensor) -> Tensor:  # (B, F, H, W)
        """Return what is left of the features, at least one of them."""
        k, (height, width) = self.features, x.shape[-2:]
        if k == 0:
            return x
        if k >= min(height, width):
            raise InputError(
                f"the input has {height} x {width} features, all within the halo of {k}; pass windows that carry "
                f"{k * FEATURE_STRIDE} more cells on every side, or call set_halo(network, 0)"
            )
        # googlenet rounds down: of a window of less than 32 cells with its halo there are only 2 k features.
        return x[..., k : max(height - k, k + 1), k : max(width - k, k + 1)]

    def extra_repr(self) -> str:
        """Show how many features are cut off."""
        return f"features={self.features}"


class _DropoutLinear(nn.Linear):
    """A head that drops a share of its input in training, under the names of a plain one."""

    share: float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, self.share, self.training))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dropout={self.share}"


def _widened(name: str, architecture: Architecture, n_bands: int) -> nn.Module:
    """Return the network with its first convolution for `n_bands`."""
    network, path = architecture.constructor(), architecture.first_convolution
    first = network.get_submodule(path)
    if not isinstance(first, nn.Conv2d):
        raise _unsupported(f"{path} of {name} is no convolution")
    if n_bands != first.in_channels:
        shape: Any = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
        widened = nn.Conv2d(n_bands, first.out_channels, bias=first.bias is not None, **shape)
        nn.init.kaiming_normal_(widened.weight, mode="fan_out", nonlinearity="relu")
        network.set_submodule(path, widened)
    if architecture.smallest > 1:
        network.register_forward_pre_hook(functools.partial(_check_size, name=name, smallest=architecture.smallest))
    return network


def _check_size(network: nn.Module, given: tuple[Tensor, ...], name: str, smallest: int) -> None:
    """Raise an error that names the argument, before a layer fails without one."""
    height, width = given[0].shape[-2:]
    if min(height, width) < smallest:
        raise InputError(
            f"network={name!r}: windows of {height} x {width} cells are too small, it needs {smallest} at least; take "
            "larger crops or another network, for example 'resnet18'"
        )


def _set_dropout(network: nn.Module, path: str, share: float) -> None:
    """Drop `share` of the head's input: in the architecture's own dropout, or in a head that does it."""
    own = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    for module in own:
        module.p = share
    if not own:
        head = network.get_submodule(path)
        if not isinstance(head, nn.Linear):
            raise _unsupported(f"the head of {type(network).__name__} is not linear")
        dropping = _DropoutLinear(head.in_features, head.out_features)
        dropping.weight, dropping.bias, dropping.share = head.weight, head.bias, share
        network.set_submodule(path, dropping)


def group_count(channels: int) -> int:
    """Return the largest divisor of `channels`, at most 32, that leaves two channels in every group.

    A group of one channel is instance normalisation: it takes the level of every channel away, and of
    a feature map of one cell it leaves nothing.
    """
    return max((g for g in range(1, _GROUPS + 1) if channels % g == 0 and channels >= 2 * g), default=1)


def _unsupported(what: str) -> DependencyError:
    return DependencyError(f"torchvision: {what}; this release of torchvision is not supported")


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
    state = _without_statistics(state, own, file)
    key, head = f"{ARCHITECTURES[name].first_convolution}.weight", f"{ARCHITECTURES[name].head}."
    if key in state and state[key].ndim == 4 and state[key].shape[1] != n_bands:
        mean = state[key].mean(dim=1, keepdim=True)
        state[key] = (mean * (state[key].shape[1] / n_bands)).repeat(1, n_bands, 1, 1)
    kept = {k: v for k, v in state.items() if not (k.startswith(head) and k in own and v.shape != own[k].shape)}
    wrong = [f"{k} has another shape" for k in own if k in kept and kept[k].shape != own[k].shape]
    wrong += [
        f"{k} is missing" for k in own if k not in kept and not k.startswith(head) and "num_batches_tracked" not in k
    ]
    # A deeper network of the same family holds all that a shallower one asks for, and more.
    wrong += [f"{k} is too much" for k in kept if k not in own and not k.startswith((head, *_AUXILIARY))]
    if wrong:
        raise InputError(f"weights={str(file)!r}: do not belong to network={name!r}: {wrong[0]}")
    bad = [k for k, v in kept.items() if not torch.isfinite(v).all()]
    if bad:
        raise InputError(f"weights={str(file)!r}: {bad[0]} holds values that are not finite")
    network.load_state_dict(kept, strict=False)


def _without_statistics(state: dict[str, Tensor], own: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Leave the running statistics of batch normalisation out where the network has group normalisation."""
    statistics = [key for key in state if key.endswith(_STATISTICS) and key not in own]
    # Of a layer that is here; a foreign layer's are kept, to be refused with it.
    statistics = [key for key in statistics if f"{key.rpartition('.')[0]}.weight" in own]
    if statistics and not any(key.endswith(_STATISTICS) for key in own):
        warnings.warn(
            f"weights={str(file)!r}: were trained with batch normalisation; norm='group' takes their filters and not "
            "their running statistics, so the answers mean nothing before it is trained",
            DataWarning,
            stacklevel=user_level(),
        )
        return {key: tensor for key, tensor in state.items() if key not in set(statistics)}
    return state
