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
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, fx, nn

from geoprospect._checks import check_int, check_number
from geoprospect.errors import InputError
from geoprospect.models.architectures import FEATURE_STRIDE
from geoprospect.models.networks import Crop, graph_of, head_of, in_full, last_features, set_halo

STRIDES = (4, 8, 16, 32)  # cells from one feature to the next that a trunk can be turned to
# Modules and functions that treat every cell alike.
_POINTWISE_MODULES = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Identity, nn.Dropout)
_POINTWISE_CALLS: set[Callable[..., Any]] = {
    operator.add, operator.iadd, operator.mul, torch.add, torch.mul, torch.relu, nn.functional.relu,
    nn.functional.relu6, nn.functional.dropout,
}  # fmt: skip
_AGREES = 1e-3  # of the largest feature, in float32; a layer in the wrong place is off by far more
_SMALL_CROP = 33  # cells, with which a network is tried
# What follows from the layers of a network alone, however many networks have them.
_TRIED: set[tuple[str, int]] = set()  # layers, stride
_HALOS: dict[tuple[str, int, int], int] = {}  # by layers, crop and stride
_FEATURES: dict[tuple[str, int], int] = {}  # along a side of a window, by layers and crop


# From where on two modes are taken for one.
_SAME_RANKS, _CHANGED_SIDES, _LOST_AUC = 0.95, 0.05, 0.02


@dataclass(frozen=True)
class DenseCheck:
    """How far the two modes of `predict` are apart on a survey; from `check_dense`.

    Parameters
    ----------
    n : int
        Windows that were compared.
    mean_difference, difference_99, largest_difference : float
        Of the probability by window from the dense one: mean of the absolute value, its 99th percentile, its largest.
    change_side : float
        Share of the windows that are on the other side of 0.5.
    rank_correlation : float
        Spearman's, between the probabilities of both modes.
    auc_window, auc_dense : float
        Rank AUC of windows that hold a deposit against those that hold none; NaN without deposits. On ground that
        was trained on they tell of the difference of the modes only.

    Examples
    --------
    >>> from geoprospect.models.dense import DenseCheck
    >>> DenseCheck(500, 0.01, 0.05, 0.2, 0.004, 0.993, 0.91, 0.90).passed
    True
    """

    n: int
    mean_difference: float
    difference_99: float
    largest_difference: float
    change_side: float
    rank_correlation: float
    auc_window: float = math.nan
    auc_dense: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; NaN becomes None."""
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the check that `to_dict` wrote.

        Raises
        ------
        InputError
            When a key is missing or unknown, or a value is no number.
        """
        names = {one.name for one in fields(cls)}
        if set(values) != names:
            raise InputError(f"values: has {sorted(values)}, needs exactly the keys {sorted(names)}")
        numbers = {name: math.nan if v is None else check_number(name, v) for name, v in values.items() if name != "n"}
        return cls(n=check_int("n", values["n"]), **numbers)

    @property
    def passed(self) -> bool:
        """Whether both modes give the same map for practical purposes.

        Ranks agree to 0.95, at most 5 % of the windows change side, and the AUC is not lower by more than 0.02.
        """
        worse = self.auc_window - self.auc_dense > _LOST_AUC  # False where there is none
        return self.rank_correlation >= _SAME_RANKS and self.change_side <= _CHANGED_SIDES and not worse

    @property
    def summary(self) -> str:
        """Say in one sentence whether the dense map can stand for the one by windows."""
        verdict = "can stand for" if self.passed else "is another map than"
        ore = (
            ""
            if math.isnan(self.auc_dense)
            else f", AUC {self.auc_window:.3f} by window and {self.auc_dense:.3f} dense"
        )
        return (
            f"The dense map {verdict} the one by windows: over {self.n} windows the probability differs by "
            f"{self.mean_difference:.3f} on average and {self.difference_99:.3f} in the worst hundredth, "
            f"{self.change_side:.1%} change side at 0.5, rank correlation {self.rank_correlation:.3f}{ore}."
        )


class _Place(NamedTuple):
    """Where the values of a layer lie on the ground, in cells of the input."""

    step: int  # from one value to the next
    apart: int  # values from one that the network for windows has to its next; 1 where it has all
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
    activation : bool
        Whether the answers end with what the features in the middle of the window alone say: their part of the
        difference of the logits, whose mean over all features of the window that difference is.

    Raises
    ------
    InputError
        When the network is not from `build_network`, is in training mode, or holds a layer that looks at the whole
        image, as attention, squeeze-and-excitation and group normalisation do.
    """

    def __init__(self, network: nn.Module, crop: int, stride: int) -> None:
        super().__init__()
        self.crop = check_int("crop", crop)
        if stride not in STRIDES:
            raise InputError(f"stride={stride!r}: a trunk can be turned to {', '.join(map(str, STRIDES))}")
        if network.training:
            raise InputError("network: is in training mode; call network.eval()")
        self.stride, self.activation = stride, False
        last_features(network)
        self.features = _count(network, self.crop)  # along a side of a window
        graph = graph_of(network)
        end, place = _placed(graph, stride)
        head = _only_head(graph, end)
        beyond = place.high - (self.crop - 1 - (self.features - 1) * FEATURE_STRIDE)
        self.halo = -(-max(0, -place.low, beyond) // FEATURE_STRIDE) * FEATURE_STRIDE
        self.head = nn.Conv2d(head.in_features, head.out_features, 1).to(head.weight)
        with torch.no_grad():
            self.head.weight.copy_(head.weight[:, :, None, None])
            self.head.bias.copy_(head.bias)  # type: ignore[union-attr]
        self.trunk = _cut_off(graph, end)
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
            Logits of barren and ore; more channels where the head has more, or with `activation`.

        Raises
        ------
        InputError
            When the context is no multiple of the stride, or the tile does not hold so many windows.
        """
        if any(before % self.stride for before in context):
            raise InputError(f"context={context}: needs multiples of the stride, {self.stride} cells")
        ends = [before + (n - 1) * self.stride + self.crop for before, n in zip(context, shape, strict=True)]
        if ends[0] > tile.shape[-2] or ends[1] > tile.shape[-1]:
            raise InputError(
                f"shape={shape}: a tile of {tile.shape[-2]} x {tile.shape[-1]} cells does not hold so many windows of "
                f"{self.crop} cells after a context of {context}"
            )
        features: Tensor = self.trunk(tile)
        with in_full(features):
            return self._over_windows(features.to(self.head.weight.dtype), context, shape)

    def _over_windows(self, features: Tensor, context: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        logits: Tensor = self.head(features)
        # The head is linear, so it may go before the mean over the features of a window.
        apart = FEATURE_STRIDE // self.stride
        first = [before // self.stride for before in context]
        last = [start + n + (self.features - 1) * apart for start, n in zip(first, shape, strict=True)]
        logits = logits[..., first[0] : last[0], first[1] : last[1]]
        mean = logits.new_full((logits.shape[1], 1, self.features, self.features), 1 / self.features**2)
        found = nn.functional.conv2d(logits, mean, dilation=apart, groups=logits.shape[1])
        if not self.activation:
            return found
        middle = mean.new_zeros(1, 1, self.features, self.features)
        inner = slice((self.features - 1) // 2, self.features // 2 + 1)  # one feature, or two by two
        middle[..., inner, inner] = 1 / (inner.stop - inner.start) ** 2
        said = nn.functional.conv2d(logits[:, 1:2] - logits[:, :1], middle, dilation=apart)
        return torch.cat([found, said], 1)


def slid(network: nn.Module, crop: int, stride: int) -> Dense:
    """Return the network for ground, tried on random ground the first time that such layers are met.

    Parameters
    ----------
    network, crop, stride
        As for `Dense`.

    Returns
    -------
    Dense

    Raises
    ------
    InputError
        As `Dense`, and when the features of a tile are not those of windows with their context.
    """
    dense = Dense(network, crop, stride)
    layers = (_trunk_layers(network), stride)
    if layers not in _TRIED:
        gap = _disagreement(network, stride)
        if gap >= _AGREES:
            raise InputError(
                f"network: the features of windows and of the ground differ by {gap:.1e} of the largest one; it "
                "cannot be slid exactly, take mode='window'"
            )
        if gap < _AGREES:  # not where weights are no numbers, which says nothing of the layers
            _TRIED.add(layers)
    return dense


def context_of(network: nn.Module, crop: int, stride: int) -> int:
    """Return the `halo` of a network that is slid, by its layers alone: a new kind of them is converted and tried."""
    layers = (_trunk_layers(network), crop, stride)
    if layers not in _HALOS:
        _HALOS[layers] = slid(network, crop, stride).halo
    return _HALOS[layers]


def _trunk_layers(network: nn.Module) -> str:
    """Return the layers of a network in words, without the head, which may be wider by the applicability."""
    return str(network).replace(str(head_of(network)[1]), "")


@torch.inference_mode()
def _disagreement(network: nn.Module, stride: int) -> float:
    """Return the largest difference of features of a window with context and in a tile, over the largest of them."""
    alone = copy.deepcopy(network).cpu()
    tiled = Dense(alone, _SMALL_CROP, stride)
    halo, width = tiled.halo, _SMALL_CROP + 2 * tiled.halo
    dtype = next(alone.parameters()).dtype
    tile = torch.randn(
        1, _bands(network), width + stride, width + stride, generator=torch.Generator().manual_seed(0), dtype=dtype
    )
    found = tiled.trunk(tile)[..., (halo + stride) // stride :, (halo + stride) // stride :]
    found = found[..., :: FEATURE_STRIDE // stride, :: FEATURE_STRIDE // stride]
    kept: list[Tensor] = []
    set_halo(alone, halo)
    last_features(alone).register_forward_hook(lambda module, given, out: kept.append(out))
    alone(tile[..., stride:, stride:])
    expected = kept[0]  # (1, F, n, n)
    found = found[..., : expected.shape[-2], : expected.shape[-1]]
    return float((found - expected).abs().max() / expected.abs().max())


def _count(network: nn.Module, crop: int) -> int:
    """Return how many features a crop has along a side."""
    layers = (str(network), crop)
    if layers not in _FEATURES:
        copied, found = copy.deepcopy(network), []
        set_halo(copied, 0)
        last_features(copied).register_forward_hook(lambda module, given, out: found.append(out.shape[-1]))
        weight = next(copied.parameters())
        with torch.inference_mode():
            copied(torch.zeros(1, _bands(copied), crop, crop, dtype=weight.dtype, device=weight.device))
        _FEATURES[layers] = found[0]
    return _FEATURES[layers]


def _bands(network: nn.Module) -> int:
    return next(module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))


# -- the graph ---------------------------------------------------------------------------------


def _placed(graph: fx.GraphModule, stride: int) -> tuple[fx.Node, _Place]:
    """Turn strides beyond `stride` into dilations, in place; return the end of the trunk and where its values lie."""
    places: dict[fx.Node, _Place] = {}
    used: set[str] = set()
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            places[node] = _Place(1, 1, 0, 0)
            continue
        before = [places[one] for one in node.all_input_nodes if one in places]
        if not before:
            continue
        if len(before) < len(node.all_input_nodes):
            raise _refused(graph, node, "takes part in weights of its own, which may differ from place to place")
        step, apart = before[0].step, before[0].apart
        if any((one.step, one.apart) != (step, apart) for one in before):
            raise _refused(graph, node, "joins layers of different strides")
        place = _Place(step, apart, min(one.low for one in before), max(one.high for one in before))
        module = _module(graph, node)
        if isinstance(module, Crop):
            return node, place
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
            if str(node.target) in used:
                raise _refused(graph, node, "is used twice")
            used.add(str(node.target))
            places[node] = _dilated(graph, node, module, place, stride)
        elif isinstance(module, _POINTWISE_MODULES) or _is_pointwise(node):
            places[node] = place
        else:
            raise _refused(graph, node, "may look at more of the image than a kernel about each place")
    raise InputError("network: its last features do not go into its answer; build it with build_network")


def _module(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


class _WidePool(nn.Module):
    """Pools the maximum about every cell, with kernels whose cells lie apart.

    torch pads by half a kernel at most, however far its cells lie apart. And a pool of several cells that rounds up
    gives one value more at the far edge: there, margins differ.
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
        _one_number(graph, node, getattr(module, name)) for name in ("kernel_size", "stride", "padding", "dilation")
    )
    origin = at.step * at.apart  # cells between two values in the network for windows
    low, high = at.low - padding * origin, at.high + (dilation * (kernel - 1) - padding) * origin
    further = origin * pace > stride
    spread, before = dilation * at.apart, padding * at.apart
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            raise _refused(graph, node, f"pads by {module.padding_mode!r}")
        module.dilation, module.padding = (spread, spread), (before, before)
        module.stride = (1, 1) if further else (pace, pace)
    elif further or at.apart > 1:
        after = before + (pace - 1) * at.apart if module.ceil_mode else before
        graph.set_submodule(str(node.target), _WidePool(kernel, spread, before, after))
    return _Place(at.step if further else at.step * pace, at.apart * pace if further else at.apart, low, high)


def _one_number(graph: fx.GraphModule, node: fx.Node, value: Any) -> int:
    numbers = {value} if isinstance(value, (int, str)) else set(value)
    if len(numbers) != 1 or isinstance(value, str):
        raise _refused(graph, node, f"has {value} along rows and columns")
    return int(numbers.pop())


def _is_pointwise(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in ("add", "add_", "mul", "mul_", "relu", "relu_", "contiguous") or _by_channel(node)
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        return node.target in _POINTWISE_CALLS or name == "channel_shuffle" or _by_channel(node)
    return False


def _by_channel(node: fx.Node) -> bool:
    """Whether channels are joined or cut apart, or one of the parts is taken."""
    if node.target is operator.getitem:
        whole = node.args[0]
        return isinstance(whole, fx.Node) and _named(whole) in ("chunk", "split") and isinstance(node.args[1], int)
    place = {"cat": 1, "chunk": 2, "split": 2}.get(_named(node))
    return place is not None and _argument(node, place, "dim") == 1


def _named(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _argument(node: fx.Node, place: int, name: str) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name)


def _refused(graph: fx.GraphModule, node: fx.Node, why: str) -> InputError:
    module = _module(graph, node)
    kind = f" ({type(module).__name__})" if module is not None else ""
    inside = list(node.meta.get("nn_module_stack", {}))
    where = f" in {inside[-1]}" if module is None and inside and inside[-1] else ""
    cure = "take mode='window'" + (", or train with norm='batch'" if isinstance(module, nn.GroupNorm) else "")
    return InputError(
        f"network: {_named(node)}{kind}{where} {why}, so it cannot be slid over the ground exactly; {cure}"
    )


def _only_head(graph: fx.GraphModule, end: fx.Node) -> nn.Linear:
    """Return the linear layer behind the pooling, or raise where anything else stands there."""
    nodes = list(graph.graph.nodes)
    linear = None
    for node in nodes[nodes.index(end) + 1 :]:
        module = _module(graph, node)
        if isinstance(module, nn.Linear) and linear is None:
            linear = module
        elif node.op != "output" and not _belongs_to_a_head(node, module):
            raise _refused(graph, node, "stands between the pooled features and the answer")
    if linear is None:
        raise InputError("network: has no linear layer behind its pooling; take mode='window'")
    return linear


def _belongs_to_a_head(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether it is the mean over the whole image, or changes nothing."""
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return module.output_size in (1, (1, 1))
    if isinstance(module, (nn.Flatten, nn.Dropout, nn.Identity)):
        return True
    if node.target is nn.functional.adaptive_avg_pool2d:
        return _argument(node, 1, "output_size") in (1, (1, 1))
    if node.op == "call_method" and node.target == "mean":
        return list(_argument(node, 1, "dim") or ()) in ([2, 3], [-2, -1])
    return node.target in (torch.flatten, nn.functional.dropout)


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
