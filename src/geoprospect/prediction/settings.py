"""Settings of a map: those that a user chooses, and those that follow from the model, the survey and the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from geoprospect._checks import check_choice, check_number
from geoprospect.errors import InputError

Mode = Literal["window", "dense", "auto"]
Edge = Literal["drop", "pad"]
Precision = Literal["auto", "float32"]
# Bands that a map has only when they are requested, in their order.
MORE_BANDS = ("logit", "n_models", "activation")


@dataclass(frozen=True)
class PredictionSettings:
    """Settings of `predict`, `predict_to_cog` and `plan_inference`.

    Parameters
    ----------
    mode : {'window', 'dense', 'auto'}
        Apply the network to each window ('window') or to the whole area at once ('dense'). 'auto' chooses 'dense' for
        models with a halo whose own check passed.
    min_valid : float, default 0.5
        Least fraction of cells with data in a window. Other windows are NaN and are not computed.
    edge : {'drop', 'pad'}
        Leave out windows that extend beyond the survey ('drop'), or treat cells beyond it as missing ('pad').
    more : sequence of {'logit', 'n_models', 'activation'}
        Further bands among logit, n_models and activation. The band 'activation' needs mode 'dense'.
    precision : {'auto', 'float32'}
        Number format of the features. 'auto' is bfloat16 on a GPU and float32 on the CPU.

    Raises
    ------
    InputError
        When a value is out of range, or two contradict each other.
    """

    mode: Mode = "window"
    min_valid: float = 0.5
    edge: Edge = "drop"
    more: tuple[str, ...] = ()
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        """Normalise and check."""
        check_choice("mode", self.mode, get_args(Mode))
        object.__setattr__(self, "min_valid", check_number("min_valid", self.min_valid, minimum=0, maximum=1))
        check_choice("edge", self.edge, get_args(Edge))
        check_choice("precision", self.precision, get_args(Precision))
        more: Any = self.more
        if isinstance(more, str) or not isinstance(more, Iterable) or not all(isinstance(name, str) for name in more):
            raise InputError(f"more={more!r}: needs a list of names, such as ['logit']")
        for name in more:
            check_choice("more", name, MORE_BANDS)
        if "activation" in more and self.mode == "window":
            raise InputError(
                "more: 'activation' needs mode='dense', which computes the features of the whole area; pass that, or "
                "explain windows with attribute(…, method='gradcam')"
            )
        object.__setattr__(self, "more", tuple(name for name in MORE_BANDS if name in more))


class PredictionOptions(TypedDict, total=False):
    """Fields of `PredictionSettings` as keyword arguments."""

    mode: Mode
    min_valid: float
    edge: Edge
    more: Sequence[str]
    precision: Precision


@dataclass(frozen=True, kw_only=True)
class MapSettings(PredictionSettings):
    """Settings of one map. With the model and the survey they determine its bytes.

    The mode is 'window' or 'dense'.

    Parameters
    ----------
    stride : int
        Cells of the survey from one window to the next.
    device : str
        Kind of device, 'cpu' or 'cuda'.
    dtype : {'float32', 'bfloat16'}
        Number format of the features.
    batch : int
        Windows per pass, in mode 'window'.
    threads : int
        Threads of torch, on the CPU.
    halo : int
        Cells of context, in mode 'dense'.
    """

    stride: int
    device: str
    dtype: Literal["float32", "bfloat16"]
    batch: int
    threads: int
    halo: int = 0
