"""`Recipe`: how a network is trained, in plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, Unpack, get_args

from geoprospect._checks import check_choice, check_int, check_number
from geoprospect._settings import with_settings
from geoprospect.errors import InputError

Schedule = Literal["halve", "cosine", "constant"]
SCHEDULES = get_args(Schedule)
# The trunks of all networks halve the resolution five times, so only whole steps of 32 cells can be cut off.
_HALO_STEP = 32
# A warm-up that was made for a long training would be all of a short one.
_WARMUP_SHARE = 4


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    `train` takes the name of a recipe, or one of these, and replaces single settings by keyword.

    Parameters
    ----------
    epochs : int, default 40
        How often every window is seen.
    batch : int, default 32
        Largest number of windows per pass through the network. An epoch is cut into steps of nearly one size.
    lr : float, default 0.01
        Highest learning rate.
    momentum : float, default 0.9
        Momentum of the stochastic gradient descent.
    nesterov : bool, default True
        Use Nesterov's momentum. It needs a `momentum` above 0.
    weight_decay : float, default 5e-4
        Weight decay of the gradient descent, on all weights.
    schedule : {'cosine', 'halve', 'constant'}
        Schedule of the learning rate, one of cosine, halve and constant. 'cosine' falls to nearly 0 along half
        a cosine [1]_; 'halve' halves it every `halve_every` epochs.
    halve_every : int, default 30
        Epochs between two halvings.
    warmup : int, default 5
        Epochs in which the learning rate of the cosine rises to `lr`; at most a quarter of all.
    flips : bool, default True
        Flip windows vertically and horizontally at random.
    rotations : bool, default True
        Rotate windows by 0, 90, 180 or 270 degrees at random.
    label_smoothing : float, default 0
        Fraction of a label that is spread over both classes, below 1.
    class_weight : {None, 'balanced'}
        Weights of the classes, where 'balanced' gives ore and background windows the same total weight.
    accumulate : int, default 1
        Number of passes whose gradients are summed before one step. A step sees `batch` x `accumulate` windows.
    halo : int, default 0
        Cells of context on every side in part of the training, a multiple of 32, for fully convolutional maps
        (mode 'dense').
    halo_from : float, default 2/3
        Fraction of the epochs after which steps with and without the halo alternate.
    norm : {'batch', 'group'}
        Normalisation inside the network, batch or group.
    dropout : float, optional
        Fraction of the features before the head that is left out at random. Default: as in the architecture.
    prior : float, optional
        Fraction of ore among unlabelled cells. Background windows are then taken as unlabelled, and the
        loss is the non-negative risk of positive-unlabelled learning [2]_ instead of cross-entropy.
    patience : int, optional
        Epochs without improvement on held-out windows after which training stops at the best epoch.
    precision : {'auto', 'float32'}
        Number format, where 'auto' is mixed precision (bfloat16) on a GPU and float32 on the CPU.

    Raises
    ------
    InputError
        When a value is out of range, or two contradict each other.

    References
    ----------
    .. [1] Loshchilov, I. and Hutter, F. (2017). SGDR: stochastic gradient descent with warm
       restarts. ICLR. https://doi.org/10.48550/arXiv.1608.03983
    .. [2] Kiryo, R. et al. (2017). Positive-unlabeled learning with non-negative risk estimator.
       NeurIPS 30. https://doi.org/10.48550/arXiv.1703.00593

    Examples
    --------
    >>> import geoprospect as gp
    >>> recipe = gp.Recipe.of("gao2022", epochs=60)
    >>> recipe.batch, [recipe.learning_rate(epoch) for epoch in (0, 29, 30)]
    (32, [0.01, 0.01, 0.005])
    """

    epochs: int = 40
    batch: int = 32
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    halve_every: int = 30
    warmup: int = 5
    flips: bool = True
    rotations: bool = True
    label_smoothing: float = 0.0
    class_weight: Literal["balanced"] | None = None
    accumulate: int = 1
    halo: int = 0
    halo_from: float = 2 / 3
    norm: Literal["batch", "group"] = "batch"
    dropout: float | None = None
    prior: float | None = None
    patience: int | None = None
    precision: Literal["auto", "float32"] = "auto"

    def __post_init__(self) -> None:
        """Normalise and check."""
        self._check_numbers()
        for name, options in (
            ("schedule", SCHEDULES),
            ("norm", ("batch", "group")),
            ("precision", ("auto", "float32")),
        ):
            check_choice(name, getattr(self, name), options)
        for name in ("nesterov", "flips", "rotations"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name}={getattr(self, name)!r}: needs True or False")
        if self.class_weight not in (None, "balanced"):
            raise InputError(f"class_weight={self.class_weight!r}: needs None or 'balanced'")
        self._check_together()

    def _check_numbers(self) -> None:
        low = {"epochs": 1, "batch": 2, "halve_every": 1, "warmup": 0, "accumulate": 1, "halo": 0}
        for name, least in low.items():
            object.__setattr__(self, name, check_int(name, getattr(self, name), least))
        ranges: dict[str, dict[str, float]] = {
            "lr": {"above": 0}, "momentum": {"minimum": 0, "maximum": 1}, "weight_decay": {"minimum": 0},
            "label_smoothing": {"minimum": 0, "maximum": 1}, "halo_from": {"minimum": 0, "maximum": 1},
            "dropout": {"minimum": 0, "maximum": 1}, "prior": {"above": 0, "maximum": 1},
        }  # fmt: skip
        for name, within in ranges.items():
            value = getattr(self, name)
            if value is not None or name not in ("dropout", "prior"):
                object.__setattr__(self, name, check_number(name, value, **within))
        if self.patience is not None:
            object.__setattr__(self, "patience", check_int("patience", self.patience))

    def _check_together(self) -> None:
        """Raise where values that are right one by one contradict each other."""
        if self.halo % _HALO_STEP:
            near = max(_HALO_STEP, round(self.halo / _HALO_STEP) * _HALO_STEP)
            raise InputError(f"halo={self.halo}: needs a multiple of {_HALO_STEP} cells, for example halo={near}")
        if self.nesterov and not self.momentum:
            raise InputError("nesterov=True: needs a momentum above 0; pass nesterov=False with momentum=0")
        for name in ("label_smoothing", "dropout", "prior"):
            if getattr(self, name) == 1:
                raise InputError(f"{name}=1: leaves nothing to learn; needs a number below 1")
        if self.prior is not None and (self.class_weight or self.label_smoothing):
            other = "class_weight" if self.class_weight else "label_smoothing"
            raise InputError(
                f"prior={self.prior:g}: the positive-unlabelled loss has its own weights and labels; leave out {other}"
            )

    @classmethod
    def of(cls, recipe: str | Recipe = "default", **settings: Unpack[RecipeOptions]) -> Recipe:
        """Return a recipe by its name, or the one given, with some settings replaced.

        Parameters
        ----------
        recipe : {'default', 'gao2022', 'quick'} or Recipe
            Where to start from.
        **settings
            Fields to replace: epochs, batch, lr, …

        Returns
        -------
        Recipe
            Checked.

        Raises
        ------
        InputError
            When there is no such recipe or setting, or a value is out of range.
        """
        start = recipe if isinstance(recipe, Recipe) else RECIPES[check_choice("recipe", recipe, RECIPES)]
        return with_settings(start, dict(settings))

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "halve":
            return float(self.lr * 0.5 ** (epoch // self.halve_every))
        rise = min(self.warmup, self.epochs // _WARMUP_SHARE)
        if epoch < rise:
            return self.lr * (epoch + 1) / (rise + 1)
        return self.lr * (1 + math.cos(math.pi * (epoch - rise) / (self.epochs - rise))) / 2

    @property
    def sees_context(self) -> bool:
        """Whether any step has context."""
        return any(self.halo_at(self.epochs - 1, step) for step in (0, 1))

    def halo_at(self, epoch: int, step: int) -> int:
        """Return the cells of context in a step of an epoch, both counted from 0."""
        late = epoch >= self.halo_from * self.epochs
        return self.halo if late and (epoch + step) % 2 else 0


class RecipeOptions(TypedDict, total=False):
    """Fields of `Recipe` as keyword arguments."""

    epochs: int
    batch: int
    lr: float
    momentum: float
    nesterov: bool
    weight_decay: float
    schedule: Schedule
    halve_every: int
    warmup: int
    flips: bool
    rotations: bool
    label_smoothing: float
    class_weight: Literal["balanced"] | None
    accumulate: int
    halo: int
    halo_from: float
    norm: Literal["batch", "group"]
    dropout: float | None
    prior: float | None
    patience: int | None
    precision: Literal["auto", "float32"]


RECIPES = {
    # Batches of 32 with momentum 0.9: a tenth of a learning rate of 0.1 for 256, rounded (Goyal et al. 2017).
    # Epochs: benchmarks/recipes.py finds no gain in three times as many.
    "default": Recipe(),
    "gao2022": Recipe(epochs=120, momentum=0.1, nesterov=False, weight_decay=1e-4, schedule="halve", rotations=False),
    "quick": replace(Recipe(), epochs=20, batch=16, warmup=2),
}
