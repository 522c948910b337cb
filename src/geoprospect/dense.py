"""Networks for windows turned into networks for ground: the trunk once over a tile, then a sliding mean.

A network from `build_network` looks at a window, pools its features and answers. Slid over the ground, it computes the
same features again and again. `Dense` computes them once. Strides below that of the features come from turning strides
into dilations, which is what shifting the tile cell by cell and stitching the results would give [1]_, [2]_.

References
----------
.. [1] Yu, F. & Koltun, V. (2016). Multi-scale context aggregation by dilated convolutions. ICLR.
   https://doi.org/10.48550/arXiv.1511.07122
.. [2] Sermanet, P. et al. (2014). OverFeat: integrated recognition, localization and detection using convolutional
   networks. ICLR. https://doi.org/10.48550/arXiv.1312.6229
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geoprospect._checks import check_int
from geoprospect.errors import InputError
from geoprospect.networks import FEATURE_STRIDE, Crop, set_halo, traced

STRIDES = (4, 8, 16, 32)  # cells from one feature to the next that a trunk can be turned to
# Modules and functions that treat every cell alike.
_POINTWISE_MODULES = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Identity, nn.Dropout)
_POINTWISE_CALLS: set[Callable[..., Any]] = {
    operator.add, operator.iadd, operator.mul, torch.add, torch.mul, torch.relu, nn.functional.relu,
    nn.functional.relu6, nn.functional.dropout,
}  # fmt: skip
_HEAD_MODULES = (nn.AdaptiveAvgPool2d, nn.Flatten, nn.Dropout, nn.Identity)
_HEAD_CALLS: set[Callable[..., Any]] = {torch.flatten, nn.functional.adaptive_avg_pool2d, nn.functional.dropout}
_AGREES = 1e-9  # of the largest logit, in float64


class _Place(NamedTuple):
    """Where the values of a layer lie on the ground, in cells of the input."""

    step: int  # from one value to the next
    apart: int  # values between two that the network for windows has
    low: int  # the first cell that the value at 0 sees; below 0 to the north and west
    high: int  # the last


class Dense(nn.Module):
    """A network that answers for every window of a tile at once.

    Of a window whose context lies in the tile it gives what the network for windows gives with that context
    (`set_halo` with `halo`), up to rounding. At an edge of the tile its layers pad as they do at the edge of a window.

    Parameters
    ----------
    network : torch.nn.Module
        From `build_network`, in evaluation mode; it is copied.
    crop : int
        Height and width of a window, in cells.
    stride : {4, 8, 16, 32}
        Cells from one window to the next.

    Attributes
    ----------
    halo : int
        Cells of context on every side beyond which a window sees nothing, a multiple of 32.
    stride, crop : int
        As given.

    Raises
    ------
    InputError
        When the network holds a layer that looks at the whole image, as attention, squeeze-and-excitation and group
        normalisation do, or is in training mode.
    """

    def __init__(self, network: nn.Module, crop: int, stride: int) -> None:
        super().__init__()
        self.crop = check_int("crop", crop)
        if stride not in STRIDES:
            raise InputError(f"stride={stride!r}: a trunk can be turned to {', '.join(map(str, STRIDES))}")
        if network.training:
            raise InputError("network: is in training mode; call network.eval()")
        self.stride = stride
        graph = traced(copy.deepcopy(network))
        places = _placed(graph, stride)
        end = _end_of_trunk(graph)
        head = _only_head(graph, end)
        self.features = _count(network, self.crop)  # along a side of a window
        beyond = places[end].high - (self.crop - 1 - (self.features - 1) * FEATURE_STRIDE)
        self.halo = -(-max(0, -places[end].low, beyond) // FEATURE_STRIDE) * FEATURE_STRIDE
        self.head = nn.Conv2d(head.in_features, head.out_features, 1).to(head.weight)
        with torch.no_grad():
            self.head.weight.copy_(head.weight[:, :, None, None])
            self.head.bias.copy_(head.bias)  # type: ignore[union-attr]
        self.trunk = _cut_off(graph, end)
        _fold_norms(self.trunk)
        self.eval().requires_grad_(False)

    def forward(self, tile: Tensor, context: tuple[int, int] = (0, 0), shape: tuple[int, int] = (1, 1)) -> Tensor:
        """Return the logits of windows of a tile.

        Parameters
        ----------
        tile : (B, C, H, W)
            Cells of the windows and their context.
        context : tuple of int
            Cells to the north and to the west of the first window, multiples of `stride`.
        shape : tuple of int
            Windows down and across.

        Returns
        -------
        (B, 2, n, m)
            Logits of barren and ore.
        """
        logits: Tensor = self.head(self.trunk(tile))
        # The head is linear, so it may go before the mean over the features of a window.
        apart = FEATURE_STRIDE // self.stride
        rows, cols = (
            slice(before // self.stride, before // self.stride + n + (self.features - 1) * apart)
            for before, n in zip(context, shape, strict=True)
        )
        logits = logits[..., rows, cols]
        mean = logits.new_full((logits.shape[1], 1, self.features, self.features), 1 / self.features**2)
        return nn.functional.conv2d(logits, mean, dilation=apart, groups=logits.shape[1])


def check_agreement(network: nn.Module, crop: int, stride: int) -> float:
    """Return the largest difference of logits between windows with context and the tile, over the largest logit.

    Computed in float64 on random ground of two by two windows.

    Parameters
    ----------
    network, crop, stride
        As for `Dense`.

    Raises
    ------
    InputError
        When they differ by more than rounding.
    """
    alone = copy.deepcopy(network).double().cpu()
    tiled = Dense(alone, crop, stride)
    draws, halo = torch.Generator().manual_seed(0), tiled.halo
    side = stride + crop + 2 * halo
    tile = torch.randn(1, _bands(network), side, side, generator=draws, dtype=torch.float64)
    set_halo(alone, halo)
    with torch.inference_mode():
        found = tiled(tile, (halo, halo), (2, 2))[0].flatten(1).T  # (4, 2)
        width = crop + 2 * halo
        windows = [tile[..., r : r + width, c : c + width] for r in (0, stride) for c in (0, stride)]
        expected = torch.cat([alone(window) for window in windows])
    gap = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    if not gap < _AGREES:
        raise InputError(
            f"network: windows and ground differ by {gap:.1e} of the largest logit; it cannot be slid exactly, take "
            "mode='window'"
        )
    return gap


def _count(network: nn.Module, crop: int) -> int:
    """Return how many features a crop has along a side."""
    crops = [module for module in network.modules() if isinstance(module, Crop)]
    found: list[int] = []
    handle = crops[0].register_forward_hook(lambda module, given, out: found.append(out.shape[-1]))
    try:
        weight = next(network.parameters())
        with torch.inference_mode():
            network(torch.zeros(1, _bands(network), crop, crop, dtype=weight.dtype, device=weight.device))
    finally:
        handle.remove()
    return found[0]


def _bands(network: nn.Module) -> int:
    return next(module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))


# -- the graph ---------------------------------------------------------------------------------


def _placed(graph: fx.GraphModule, stride: int) -> dict[fx.Node, _Place]:
    """Turn strides beyond `stride` into dilations, in place, and return where the values of every layer lie."""
    places: dict[fx.Node, _Place] = {}
    changed: dict[str, int] = {}  # module: the dilation that it was given
    for node in graph.graph.nodes:
        before = [places[one] for one in node.all_input_nodes if one in places]
        if node.op == "placeholder":
            places[node] = _Place(1, 1, 0, 0)
            continue
        if not before:
            continue
        step, apart = before[0].step, before[0].apart
        if any((one.step, one.apart) != (step, apart) for one in before):
            raise _refused(node, "joins layers of different strides")
        place = _Place(step, apart, min(one.low for one in before), max(one.high for one in before))
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, Crop):
            places[node] = place
            break
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
            if changed.setdefault(str(node.target), apart) != apart:
                raise _refused(node, "is used at different strides")
            places[node] = _dilated(graph, node, module, place, stride)
        elif isinstance(module, _POINTWISE_MODULES) or _is_pointwise(node):
            places[node] = place
        else:
            raise _refused(node, "does not treat every place alike")
    return places


class _WidePool(nn.Module):
    """Pools the maximum about every cell.

    torch pads by half a kernel at most, however far the cells of the kernel lie apart, and has no place for what a pool
    of several cells rounds up to at the far edge.
    """

    def __init__(self, kernel: int, dilation: int, before: int, after: int) -> None:
        super().__init__()
        self.kernel, self.dilation, self.margin = kernel, dilation, [before, after] * 2

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, self.margin, value=-torch.inf)
        return nn.functional.max_pool2d(padded, self.kernel, 1, 0, self.dilation)


def _dilated(graph: fx.GraphModule, node: fx.Node, module: nn.Conv2d | nn.MaxPool2d, at: _Place, stride: int) -> _Place:
    """Give a layer the dilation of its place; return where its values lie."""
    (kernel, pace, padding, dilation) = (
        _one_number(node, getattr(module, name)) for name in ("kernel_size", "stride", "padding", "dilation")
    )
    origin = at.step * at.apart  # cells between two values in the network for windows
    low, high = at.low - padding * origin, at.high + (dilation * (kernel - 1) - padding) * origin
    further = origin * pace > stride
    spread, before = dilation * at.apart, padding * at.apart
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            raise _refused(node, f"pads by {module.padding_mode!r}")
        module.dilation, module.padding = (spread, spread), (before, before)
        module.stride = (1, 1) if further else (pace, pace)
    elif further or at.apart > 1:
        after = spread * (kernel - 1) - before if module.ceil_mode else before
        graph.set_submodule(str(node.target), _WidePool(kernel, spread, before, after))
    return _Place(at.step if further else at.step * pace, at.apart * pace if further else at.apart, low, high)


def _one_number(node: fx.Node, value: Any) -> int:
    numbers = {value} if isinstance(value, (int, str)) else set(value)
    if len(numbers) != 1 or isinstance(value, str):
        raise _refused(node, f"has {value} along rows and columns")
    return int(numbers.pop())


def _is_pointwise(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in ("add", "add_", "mul", "mul_", "relu", "relu_", "contiguous") or _by_channel(node)
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        return node.target in _POINTWISE_CALLS or name == "channel_shuffle" or _by_channel(node)
    return False


def _by_channel(node: fx.Node) -> bool:
    """Whether channels are joined, cut apart, or one of the parts is taken."""
    if node.target is operator.getitem:
        return isinstance(node.args[1], int)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    place = {"cat": 1, "chunk": 2, "split": 2}.get(name)
    if place is None:
        return False
    return bool((node.args[place] if len(node.args) > place else node.kwargs.get("dim", 0)) == 1)


def _refused(node: fx.Node, why: str) -> InputError:
    return InputError(f"network: {node.target} {why}, so it cannot be slid over the ground exactly; take mode='window'")


def _end_of_trunk(graph: fx.GraphModule) -> fx.Node:
    node: fx.Node
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), Crop):
            return node
    raise InputError("network: does not come from build_network; build it there")


def _only_head(graph: fx.GraphModule, end: fx.Node) -> nn.Linear:
    """Return the linear layer behind the pooling, or raise where anything else stands there."""
    linear = None
    behind = False
    for node in graph.graph.nodes:
        if node is end:
            behind = True
            continue
        if not behind or node.op == "output":
            continue
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear) and linear is None:
            linear = module
        elif not (isinstance(module, _HEAD_MODULES) or node.target in _HEAD_CALLS or _is_mean(node)):
            raise _refused(node, "stands between the pooled features and the answer")
    if linear is None:
        raise InputError("network: has no linear layer behind its pooling; take mode='window'")
    return linear


def _is_mean(node: fx.Node) -> bool:
    return node.op == "call_method" and node.target == "mean" and list(node.args[1]) in ([2, 3], [-2, -1])  # type: ignore[arg-type]


def _cut_off(graph: fx.GraphModule, end: fx.Node) -> fx.GraphModule:
    """Return the graph up to the last features."""
    for node in reversed(list(graph.graph.nodes)):
        if node.op == "output":
            node.args = (end.all_input_nodes[0],)
            break
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _fold_norms(graph: fx.GraphModule) -> None:
    """Put every batch normalisation that follows a convolution into its weights."""
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(graph.get_submodule(str(node.target)), nn.BatchNorm2d):
            continue
        before = node.args[0]
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        convolution, norm = (graph.get_submodule(str(one.target)) for one in (before, node))
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            graph.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
