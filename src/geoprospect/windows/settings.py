"""Settings of windows and folds: where windows may be, and how they are split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from geoprospect._checks import check_choice, check_int, check_number
from geoprospect.errors import InputError

Barren = Literal["random", "dissimilar"]
Scheme = Literal["regions", "blocks", "clusters", "leave-one-cluster-out"]

# What each recipe fixes. The paper does not give buffer, min_valid, slide and step.
RECIPES: dict[str, dict[str, Any]] = {
    "gao2022": {
        "size": 256,
        "crop": 224,
        "n_ore": 212,
        "n_barren": 225,
        "mask": None,
        "zooms": (1,),
        "barren": "random",
        "draws": 1,
    }
}


@dataclass(frozen=True)
class WindowSettings:
    """Where `sample_windows` puts windows.

    Parameters
    ----------
    buffer : float, default 0
        Distance that background windows keep from every deposit, in CRS units.
    min_valid : float, default 0.5
        Smallest fraction of the cells of a window that have data in all bands and are within the mask.
    slide : float, default 1
        Greatest distance of a deposit from the middle of its windows, as a fraction of half the window.
        1 is anywhere in the window, 0 is the cell in the middle.
    step : int, default 1
        Windows begin on every `step`-th row and column of the grid.
    zooms : int or iterable of int, default (1,)
        Scales that ore and background windows are divided over equally. A window of zoom 2 covers
        twice the distance each way, seen as means of 2 x 2 cells.
    barren : {'random', 'dissimilar'}, default 'random'
        Where background windows are drawn from: all positions without a deposit, or those of them that
        are least like the ore windows. The latter makes the task easier, and scores on such windows
        are too high; `least_like_ore` does the same within a fold.
    dissimilar : float, default 0.5
        Fraction of the positions to draw from, the least like ore first, with ``barren='dissimilar'``.
    draws : int, default 1
        Independent draws of background windows. No position occurs twice within one; see ``Windows.of_draw``.

    Raises
    ------
    InputError
        When a value is out of its range, or `dissimilar` is set with ``barren='random'``.

    Examples
    --------
    >>> from geoprospect.windows.settings import WindowSettings
    >>> WindowSettings(zooms=2, buffer=500).zooms
    (2,)
    """

    buffer: float = 0.0
    min_valid: float = 0.5
    slide: float = 1.0
    step: int = 1
    zooms: tuple[int, ...] = (1,)
    barren: Barren = "random"
    dissimilar: float = 0.5
    draws: int = 1

    def __post_init__(self) -> None:
        """Normalise and check."""
        zooms = list(self.zooms) if isinstance(self.zooms, Iterable) else [self.zooms]
        checked: dict[str, Any] = {
            "buffer": check_number("buffer", self.buffer, minimum=0),
            "min_valid": check_number("min_valid", self.min_valid, minimum=0, maximum=1),
            "slide": check_number("slide", self.slide, minimum=0, maximum=1),
            "step": check_int("step", self.step),
            "zooms": tuple(check_int("zooms", zoom) for zoom in zooms),
            "barren": check_choice("barren", self.barren, ("random", "dissimilar")),
            "dissimilar": check_number("dissimilar", self.dissimilar, above=0, maximum=1),
            "draws": check_int("draws", self.draws),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if not zooms or len(set(zooms)) < len(zooms):
            raise InputError(f"zooms={self.zooms!r}: needs one or more different whole numbers, for example (1, 2)")
        if self.barren == "random" and self.dissimilar != 0.5:
            raise InputError(
                f"dissimilar={self.dissimilar:g}: barren='random' draws from all positions; pass barren='dissimilar'"
            )

    @property
    def fraction(self) -> float:
        """Fraction of the background positions that may be drawn from."""
        return 1.0 if self.barren == "random" else self.dissimilar


class WindowOptions(TypedDict, total=False):
    """Fields of `WindowSettings` as keyword arguments."""

    buffer: float
    min_valid: float
    slide: float
    step: int
    zooms: int | Iterable[int]
    barren: Barren
    dissimilar: float
    draws: int


@dataclass(frozen=True)
class Folds:
    """How `cross_validate` splits windows into spatially separated folds.

    Parameters
    ----------
    n : int, default 5
        Number of folds. There are fewer where the deposits form fewer clusters; 'leave-one-cluster-out'
        ignores it.
    scheme : {'regions', 'blocks', 'clusters', 'leave-one-cluster-out'}, default 'regions'
        What is held out together, as in `spatial_folds`.
    block : float, optional
        Side of the blocks in CRS units, with ``scheme='blocks'``. Default: as in `spatial_folds`.
    buffer : float, optional
        Distance between the footprints of training and test windows, in CRS units. Default: the
        correlation range of the survey, or the largest part of it that leaves enough training windows.

    Raises
    ------
    InputError
        When a value is out of its range, or `block` is given with another scheme.

    Examples
    --------
    >>> import geoprospect as gp
    >>> gp.Folds(n=4, scheme="blocks", block=5000)
    Folds(n=4, scheme='blocks', block=5000.0, buffer=None)
    """

    n: int = 5
    scheme: Scheme = "regions"
    block: float | None = None
    buffer: float | None = None

    def __post_init__(self) -> None:
        """Normalise and check."""
        object.__setattr__(self, "n", check_int("n", self.n, 2))
        check_scheme(self.scheme, self.block)
        if self.block is not None:
            object.__setattr__(self, "block", check_number("block", self.block, above=0))
        if self.buffer is not None:
            object.__setattr__(self, "buffer", check_number("buffer", self.buffer, minimum=0))


def check_scheme(scheme: str, block: float | None) -> None:
    """Check the scheme of the folds, and that `block` fits it."""
    check_choice("scheme", scheme, get_args(Scheme))
    if block is not None and scheme != "blocks":
        raise InputError(f"block={block!r}: needs scheme='blocks'; leave block out or set that scheme")
