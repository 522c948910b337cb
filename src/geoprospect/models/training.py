"""Train networks on windows, and fit where their predictions apply."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import itertools
import logging
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self, Unpack

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from geoprospect._checks import check_input_file, check_int, check_rng
from geoprospect._devices import resolve_device
from geoprospect._version import __version__
from geoprospect.errors import CorruptFileError, DeviceError, DivergenceError, InputError
from geoprospect.grid import grid_of_survey
from geoprospect.models._patches import channels_last, gather
from geoprospect.models.checkpoints import Checkpoint, Kept, checksum
from geoprospect.models.fit_applicability import fit_applicability
from geoprospect.models.model import ProspectivityModel, stack_bands
from geoprospect.models.networks import Crop, build_network, set_halo
from geoprospect.models.recipe import Recipe, RecipeOptions
from geoprospect.stats.metrics import rank_auc
from geoprospect.windows.spatial_folds import held_out
from geoprospect.windows.windows import Windows, check_windows

log = logging.getLogger("geoprospect")

_PASSES = 4  # over the training windows, for the statistics of networks that saw context
# (logits (B, 2), labels (B,)) -> what is descended and what is reported, each summed over the windows
_Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def train(
    windows: Windows,
    survey: xr.Dataset,
    network: str = "resnet50",
    recipe: str | Recipe = "default",
    rng: int | np.random.Generator | None = None,
    *,
    n_models: int = 1,
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **settings: Unpack[RecipeOptions],
) -> ProspectivityModel:
    """Train networks to tell ore windows from barren ones.

    Stochastic gradient descent by a `Recipe`; before each epoch every window is turned and cropped
    at random. Crops of ore windows always hold their deposit. Bands are scaled to mean 0 and
    standard deviation 1 over the ground of the training windows only; the model keeps the scaling. The
    model also keeps the features of its training windows: maps report their distance to each window.

    Parameters
    ----------
    windows : Windows
        Where to look, on the grid of `survey`. With several draws of barren windows each network
        sees one of them.
    survey : xarray.Dataset
        Bands with dims (y, x) in their own units; all of them are used. NaN is replaced by the mean.
    network : str, default 'resnet50'
        Architecture: a key of `geoprospect.models.architectures.ARCHITECTURES`.
    recipe : {'default', 'gao2022', 'quick'} or Recipe
        How to train. 'gao2022' is the paper's [1]_; 'quick' is for a first look on a CPU.
    rng : int, Generator or None
        Draws weights, order, turns and crops. Same seed, device, versions and, on the CPU, number of
        threads: same bytes.
    n_models : int, default 1
        Trainings from different random weights, for each draw of the windows; their spread is the
        uncertainty of the map.
    device : str, default 'auto'
        'cpu', 'cuda', 'cuda:1', … ; 'auto' takes a GPU where there is one.
    weights : path-like, optional
        A .safetensors file to start from instead of random weights.
    checkpoint : path-like, optional
        A folder in which the training is kept twice a minute at most. The same call goes on from
        there after a stop, and gives the bytes that it would have given without one; a note on the
        `KeyboardInterrupt` of Ctrl-C says how far it has come. The folder can be loaded as a
        `ProspectivityModel` at any time, without its applicability.
    progress : bool, default False
        Show a progress bar.
    **settings
        Fields of `Recipe` that replace those of `recipe`: epochs, batch, lr, momentum, nesterov, weight_decay,
        schedule, halve_every, warmup, flips, rotations, label_smoothing, class_weight, accumulate, halo, halo_from,
        norm, dropout, prior, patience, precision. `Recipe` describes each.

    Returns
    -------
    ProspectivityModel
        With ``history``: mean loss and accuracy of every epoch, on the augmented training windows;
        with `patience` also AUC and loss on the separate ground.
        Its ``applicability`` holds the features of the training windows, as `fit_applicability` returns them.

    Raises
    ------
    InputError
        When windows and survey have different grids, a class is missing, a band has no data on the
        training ground, there is no such setting, or the checkpoint was begun with other arguments.
    SeparationError
        When `patience` is given and no separate ground can be cut off. It is an `InputError`.
    DivergenceError
        When the loss is no longer finite; the message names epoch and batch, and ``model`` of the
        error is the `ProspectivityModel` of the last epoch before, or None.
    DeviceError
        When the device cannot be used or has too little memory.

    References
    ----------
    .. [1] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=2, device="cpu", rng=0)
    >>> list(model.history.columns)
    ['model', 'draw', 'epoch', 'loss', 'accuracy', 'learning_rate']
    """
    model = fit_networks(
        windows, survey, network, recipe, rng, n_models=n_models, device=device, weights=weights,
        checkpoint=checkpoint, progress=progress, **settings,
    )  # fmt: skip
    return model.with_applicability(fit_applicability(model, windows, survey, device))


def fit_networks(
    windows: Windows,
    survey: xr.Dataset,
    network: str = "resnet50",
    recipe: str | Recipe = "default",
    rng: int | np.random.Generator | None = None,
    *,
    n_models: int = 1,
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **settings: Unpack[RecipeOptions],
) -> ProspectivityModel:
    """Do what `train` does, without fitting the applicability.

    Parameters
    ----------
    windows, survey, network, recipe, rng, n_models, device, weights, checkpoint, progress, **settings
        As in `train`.

    Returns
    -------
    ProspectivityModel
        Without `applicability`. Cross-validation and checkpoints have no use for it.

    Raises
    ------
    InputError, SeparationError, DivergenceError, DeviceError
        As `train`.
    """
    how, n_models = Recipe.of(recipe, **settings), check_int("n_models", n_models)
    bands, target = _check_ground(windows, survey), resolve_device(device)
    keeper = None if checkpoint is None else Checkpoint(checkpoint)
    before = keeper.seed() if keeper is not None and rng is None else None
    seed = int(check_rng(rng).integers(2**31)) if before is None else before
    fit, monitor = held_out(windows, how.patience, how.halo)
    offset, scale = _fit_scaling(fit, survey, bands)
    cells = stack_bands(survey, bands, offset, scale)[0]  # (C, Y, X)
    build = functools.partial(build_network, network, len(bands), weights, norm=how.norm, dropout=how.dropout)
    frame = functools.partial(
        ProspectivityModel,
        network=network, bands=bands, units=tuple(str(survey[name].attrs.get("units", "")) for name in bands),
        offset=offset, scale=scale, size=windows.size, crop=windows.crop, cell_size=windows.grid.resolution,
        seed=seed, norm=how.norm,
        settings={"recipe": recipe if isinstance(recipe, str) else "own", **asdict(how), "n_models": n_models,
                  "n_draws": windows.n_draws, "device": target.type, "n_windows": len(fit),
                  "n_ore": int(fit.labels.sum()), **_told(monitor)},
    )  # fmt: skip
    plan = {} if keeper is None else _plan(windows, cells, frame, weights, network)
    ensemble = _Ensemble(frame, build, n_models * windows.n_draws, keeper, plan)
    with ensemble.said_where_kept():
        if len(ensemble.done) < ensemble.total:
            stack = channels_last(torch.from_numpy(cells).to(target))  # (C, Y, X)
            with _as_if_alone(target, how), ensemble.bar(how.epochs, progress) as bar:
                for number in range(len(ensemble.done), ensemble.total):
                    draw = number % windows.n_draws
                    watched = None if monitor is None else monitor.of_draw(draw)
                    ensemble.add(_Task(fit.of_draw(draw), watched, stack, how, seed, number, draw, bar))
        return ensemble.finished()


@dataclass(frozen=True)
class _Task:
    """What stays the same over the epochs of one network."""

    windows: Windows
    monitor: Windows | None
    stack: Tensor
    recipe: Recipe
    seed: int
    number: int
    draw: int
    bar: tqdm

    def draws(self, epoch: int) -> np.random.Generator:
        """Return the random numbers of an epoch, counted from 1; 0 for the weights.

        They hang on nothing but seed, network and epoch, so a training that goes on needs no state
        of a generator. They are drawn on the CPU: every device sees the same windows in the same order.
        """
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.number, epoch)))

    @functools.cached_property
    def loss(self) -> _Loss:
        return _loss_of(self.recipe, self.windows.labels, self.stack.device)


@dataclass(frozen=True)
class _Best:
    """The epoch that did best on the separate ground."""

    epoch: int
    auc: float
    loss: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class _Good:
    """A network at the end of an epoch after which all its numbers are finite."""

    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    momentum: dict[str, Tensor] = field(default_factory=dict)
    rows: tuple[dict[str, Any], ...] = ()
    best: _Best | None = None

    def waited(self, recipe: Recipe) -> bool:
        """Return whether early stopping applies."""
        return recipe.patience is not None and self.best is not None and self.epoch - self.best.epoch >= recipe.patience


class _Ensemble:
    """The networks that are trained in turn, and the last good state of the one at hand."""

    def __init__(
        self, frame: functools.partial[ProspectivityModel], build: Callable[..., nn.Module], total: int,
        keeper: Checkpoint | None, plan: dict[str, Any],
    ) -> None:  # fmt: skip
        self.frame, self.build, self.total, self.keeper, self.plan = frame, build, total, keeper, plan
        self.done: list[nn.Module] = []
        self.rows: list[dict[str, Any]] = []
        self.net: nn.Module | None = None
        self.good = _Good()
        self.kept = keeper.read(plan) if keeper is not None else None
        self.on_disk: tuple[int, int] | None = None  # finished networks, and epochs of the next one
        if self.kept is not None:
            count = self.kept.member
            self.on_disk = count, self.kept.epoch
            self.done = list(self.kept.model.networks[:count])
            self.rows = [row for row in self.kept.model.history.to_dict("records") if row["model"] < count]
            log.info("checkpoint: going on after %d of %d networks, epoch %d", count, total, self.kept.epoch)

    def bar(self, epochs: int, progress: bool) -> tqdm:
        """Return a bar over the epochs of all networks, so that its time left is that of the whole."""
        initial = len(self.done) * epochs
        return tqdm(total=self.total * epochs, initial=initial, desc="training", unit="epoch", disable=not progress)

    def add(self, task: _Task) -> None:
        """Train one more network."""
        seed = int(task.draws(0).integers(2**31))
        net = self.build(seed=seed).to(task.stack.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(
            net.parameters(), lr=task.recipe.lr, momentum=task.recipe.momentum, nesterov=task.recipe.nesterov,
            weight_decay=task.recipe.weight_decay,
        )  # fmt: skip
        self.net, self.good = net, self._taken_up(net, optimizer)
        task.bar.set_description(f"training {task.number + 1} of {self.total}")
        try:
            self._go_through_the_epochs(net, optimizer, task)
        except DivergenceError as err:
            raise self._with_what_is_left(err) from None
        except torch.OutOfMemoryError as err:
            raise _too_little_memory(task, err) from err
        self.rows += self.good.rows
        self.done.append(_at_rest(net, self.good))
        self.net, self.good = None, _Good()

    def _go_through_the_epochs(self, net: nn.Module, optimizer: torch.optim.Optimizer, task: _Task) -> None:
        recipe, start = task.recipe, self.good.epoch
        task.bar.update(start)
        try:
            while self.good.epoch < recipe.epochs and not self.good.waited(recipe):
                row = _epoch(net, optimizer, task, self.good.epoch + 1)
                self.good = _remembered(net, optimizer, task, row, self.good)
                task.bar.set_postfix(loss=f"{row['loss']:.4f}", accuracy=f"{row['accuracy']:.3f}")
                task.bar.update()
                if self.keeper is not None and self.keeper.due():
                    self.keep()
            if recipe.sees_context and any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
                self.good = _with_statistics_of_the_ground(net, task, self.good)
        except BaseException:  # Ctrl-C too
            self.keep()
            raise
        task.bar.update(recipe.epochs - self.good.epoch)  # what an early stop has saved

    def _taken_up(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> _Good:
        """Put the kept state of this network into it; it is a new one where nothing is kept."""
        kept, self.kept = self.kept, None
        if kept is None or not kept.epoch:
            return _Good()
        weights, momentum = (
            {name.removeprefix(f"{kind}/"): t for name, t in kept.tensors.items() if name.startswith(f"{kind}/")}
            for kind in ("weights", "momentum")
        )
        try:
            net.load_state_dict(weights, strict=True)
            for name, parameter in net.named_parameters():
                if momentum:
                    buffer = torch.empty_like(parameter, requires_grad=False)
                    optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum[name])
        except (RuntimeError, KeyError) as err:
            raise CorruptFileError(f"checkpoint: its tensors do not fit the network ({err})") from err
        rows = [row for row in kept.model.history.to_dict("records") if row["model"] == kept.member]
        shown = kept.model.networks[kept.member].state_dict()
        best = None if kept.best is None else _Best(*kept.best, weights=_copied(shown))
        return _Good(kept.epoch, _copied(net.state_dict()), _momentum(net, optimizer), tuple(rows), best)

    def model(self) -> ProspectivityModel | None:
        """Return the finished networks and the current one as far as it is; None before the first epoch."""
        networks, rows = list(self.done), [*self.rows, *self.good.rows]
        if self.net is not None and self.good.epoch:
            networks.append(_at_rest(self.net, self.good))
        settings = self.frame.keywords["settings"] | _best_epochs(rows)
        history = pd.DataFrame(rows)
        return self.frame(networks=tuple(networks), history=history, settings=settings) if networks else None

    def finished(self) -> ProspectivityModel:
        """Return the model of all networks, and keep it without a state to go on from."""
        model = self.model()
        assert model is not None  # there is at least one network
        if self.keeper is not None and not (self.kept and self.kept.finished):
            self.keep()
        return model

    def keep(self) -> None:
        """Write the last good state, where there is one."""
        model, good = self.model(), self.good
        if self.keeper is None or model is None:
            return
        tensors = {f"weights/{name}": t for name, t in good.weights.items()}
        tensors |= {f"momentum/{name}": t for name, t in good.momentum.items()}
        best = None if good.best is None else (good.best.epoch, good.best.auc, good.best.loss)
        finished = len(self.done) == self.total
        self.keeper.write(Kept(model, model.seed, finished, len(self.done), good.epoch, tensors, best), self.plan)
        self.on_disk = len(self.done), good.epoch

    @contextlib.contextmanager
    def said_where_kept(self) -> Iterator[None]:
        """Say on an interrupt where the training is kept and how far it has come there."""
        try:
            yield
        except KeyboardInterrupt as err:
            if self.keeper is not None:
                err.add_note(f"checkpoint={str(self.keeper.path)!r}: {self._how_far()}")
            raise

    def _how_far(self) -> str:
        if self.on_disk is None:
            return "holds nothing yet, no epoch was finished; the same call begins anew"
        count, epoch = self.on_disk
        if count == self.total:
            return "holds the finished training; the same call returns it"
        done = f"epoch {epoch} of network {count + 1}" if epoch else f"network {count}"
        return f"holds the training up to {done} of {self.total}; the same call goes on from there"

    def _with_what_is_left(self, err: DivergenceError) -> DivergenceError:
        """Say in the error where the last good state is, and hand it over."""
        model = self.model()
        where = f"in {str(self.keeper.path)!r}" if self.keeper is not None else "the .model of this error"
        left = f"the last good state, of epoch {self.good.epoch} of network {len(self.done) + 1}, is {where}"
        told = DivergenceError(f"{err}; {left if model is not None else 'there is no good state before'}")
        told.model = model
        return told


def _epoch(net: nn.Module, optimizer: torch.optim.Optimizer, task: _Task, epoch: int) -> dict[str, Any]:
    """Train for one epoch, counted from 1; return its line of the history.

    The stack stays on the device and windows are cut there by index. Losses stay there too and
    are read once, at the end: reading makes the device wait.
    """
    recipe, device, n = task.recipe, task.stack.device, len(task.windows)
    draws = task.draws(epoch)
    _seed_dropout(int(draws.integers(2**31)), device)
    looks = _Looks.drawn(task.windows, recipe, draws, device)
    steps = _slices(0, n, math.ceil(n / (recipe.batch * recipe.accumulate)))
    losses = torch.zeros(len(steps), dtype=torch.float64, device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    rate = optimizer.param_groups[0]["lr"] = recipe.learning_rate(epoch - 1)
    net.train()
    for step, chosen in enumerate(steps):
        halo = recipe.halo_at(epoch - 1, step)
        if recipe.halo:
            set_halo(net, halo)
        optimizer.zero_grad(set_to_none=True)
        for part in _slices(chosen.start, chosen.stop, recipe.accumulate):
            x, truth = looks.cut(task.stack, part, task.windows.crop, halo)  # (B, C, H, W), (B,)
            with _precision(recipe, device):
                logits = net(x)  # (B, 2)
            descended, reported = task.loss(logits.float(), truth)
            (descended / (chosen.stop - chosen.start)).backward()
            losses[step] += reported.detach()
            right += (logits.argmax(1) == truth).sum()
        optimizer.step()
    total = _sum_of_finite(losses, steps, epoch, recipe)
    return {"model": task.number, "draw": task.draw, "epoch": epoch, "loss": total / n,
            "accuracy": right.item() / n, "learning_rate": rate, **_watched(net, task)}  # fmt: skip


@dataclass(frozen=True)
class _Looks:
    """Where and how an epoch looks at its windows, in its order; each of shape (N,), on the device."""

    rows: Tensor
    cols: Tensor
    flip_y: Tensor
    flip_x: Tensor
    transpose: Tensor
    truth: Tensor
    zooms: NDArray[np.int64] | None

    @classmethod
    def drawn(cls, windows: Windows, recipe: Recipe, draws: np.random.Generator, device: torch.device) -> Self:
        """Draw an order, crops and turns; they go to the device in one piece."""
        corners = np.column_stack([windows.rows, windows.cols])
        places = corners + draws.integers(*windows.crop_range(), endpoint=True)  # (N, 2)
        turns = _turns(draws.integers(2, size=(3, len(windows))), recipe)  # (3, N)
        order = _spread(windows.labels, draws) if recipe.prior is not None else draws.permutation(len(windows))
        table = np.vstack([places.T, turns, windows.labels]).take(order, axis=1)  # (6, N), row by row in memory
        rows, cols, *flags, truth = torch.from_numpy(table).to(device)
        zooms = windows.zooms[order] if (windows.zooms > 1).any() else None
        flip_y, flip_x, transpose = (flag.bool() for flag in flags)
        return cls(rows, cols, flip_y, flip_x, transpose, truth, zooms)

    @classmethod
    def central(cls, windows: Windows, device: torch.device) -> Self:
        """Look at the crop nearest to the middle of every window, as it lies."""
        places = np.column_stack([windows.rows, windows.cols]) + windows.central_crop()
        rows, cols, truth = torch.from_numpy(np.vstack([places.T, windows.labels])).to(device)
        as_it_lies = torch.zeros_like(rows, dtype=torch.bool)
        return cls(rows, cols, as_it_lies, as_it_lies, as_it_lies, truth, windows.zooms)

    def cut(self, stack: Tensor, part: slice, crop: int, halo: int) -> tuple[Tensor, Tensor]:
        """Return patches (B, C, H, W) and labels (B,) of some of the windows."""
        x = gather(
            stack, self.rows[part], self.cols[part], crop, (self.flip_y[part], self.flip_x[part]),
            self.transpose[part], zooms=None if self.zooms is None else self.zooms[part], halo=halo,
        )  # fmt: skip
        return x, self.truth[part]


def _turns(bits: NDArray[np.int64], recipe: Recipe) -> NDArray[np.int64]:
    """Return whether to flip rows, flip columns and exchange both, (3, N), from random bits."""
    flip_y, flip_x, transpose = bits
    nothing = np.zeros_like(flip_y)
    if recipe.flips:
        return np.stack([flip_y, flip_x, transpose if recipe.rotations else nothing])
    # Without mirror images: an odd number of quarter turns exchanges both and flips one of them.
    return np.stack([flip_y, flip_y ^ transpose, transpose]) if recipe.rotations else np.stack([nothing] * 3)


def _spread(labels: NDArray[np.int64], draws: np.random.Generator) -> NDArray[np.int64]:
    """Return a random order in which every stretch holds each label in its share.

    The positive-unlabelled risk compares means over the ore and the unlabelled of a step, so no
    step may be without one.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        at = np.flatnonzero(labels == label)
        place[at] = (draws.permutation(at.size) + draws.random()) / at.size
    return np.argsort(place, kind="stable")


def _slices(start: int, stop: int, parts: int) -> list[slice]:
    """Cut a range into parts of nearly one size, of two or more.

    Over a remainder of a few windows the batch normalisation divides by next to nothing, and a single
    step can ruin the weights; a single window has no variance at all.
    """
    edges = np.linspace(start, stop, max(1, min(parts, (stop - start) // 2)) + 1).astype(int).tolist()
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _loss_of(recipe: Recipe, labels: NDArray[np.int64], device: torch.device) -> _Loss:
    if recipe.prior is not None:
        return functools.partial(_positive_unlabelled, prior=recipe.prior)
    weight = None
    if recipe.class_weight == "balanced":
        counts = np.bincount(labels, minlength=2)
        weight = torch.from_numpy(len(labels) / (2 * counts)).float().to(device)  # (2,)
    return functools.partial(_cross_entropy, weight=weight, smoothing=recipe.label_smoothing)


def _cross_entropy(logits: Tensor, truth: Tensor, weight: Tensor | None, smoothing: float) -> tuple[Tensor, Tensor]:
    """Weighted by class, and not divided by the weights of a batch: so parts of a batch add up to it."""
    total = nn.functional.cross_entropy(logits, truth, weight, reduction="none", label_smoothing=smoothing).sum()
    return total, total


def _positive_unlabelled(logits: Tensor, truth: Tensor, prior: float) -> tuple[Tensor, Tensor]:
    """Non-negative risk of Kiryo et al. (2017) with the logistic loss; 1 is ore, 0 unlabelled.

    Unlabelled ground is taken as barren, less the share of ore that hides in it. Where that
    difference is negative the network has learned single windows, and unlearns (their algorithm 1).
    """
    margin, ore = logits[:, 1] - logits[:, 0], (truth == 1).float()
    n_ore, n_rest = ore.sum().clamp(min=1), (1 - ore).sum().clamp(min=1)
    as_ore, as_barren = nn.functional.softplus(-margin), nn.functional.softplus(margin)
    positive = prior * (as_ore * ore).sum() / n_ore
    negative = (as_barren * (1 - ore)).sum() / n_rest - prior * (as_barren * ore).sum() / n_ore
    descended = torch.where(negative >= 0, positive + negative, -negative)
    return descended * len(truth), (positive + negative.clamp(min=0)) * len(truth)


def _precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Mixed precision where it is wanted and a GPU has it; bfloat16 needs no scaling of the loss."""
    mixed = recipe.precision == "auto" and device.type == "cuda"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed)


def _sum_of_finite(losses: Tensor, steps: list[slice], epoch: int, recipe: Recipe) -> float:
    """Return the sum over all windows, or raise with the first batch that has none."""
    read = losses.cpu()
    bad = torch.nonzero(~torch.isfinite(read))
    if len(bad):
        step = int(bad[0])
        raise DivergenceError(
            f"the loss is {read[step] / (steps[step].stop - steps[step].start):g} in epoch {epoch}, batch {step + 1}; "
            f"take a smaller lr than {recipe.lr:g}, and look for extreme values in the survey"
        )
    return float(read.sum())


@torch.no_grad()
def _watched(net: nn.Module, task: _Task) -> dict[str, float]:
    """Return AUC and loss on the separate ground, of central crops without context."""
    if task.monitor is None:
        return {}
    net.eval()
    if task.recipe.halo:
        set_halo(net, 0)
    looks = _Looks.central(task.monitor, task.stack.device)
    parts = _slices(0, len(task.monitor), math.ceil(len(task.monitor) / task.recipe.batch))
    with _precision(task.recipe, task.stack.device):
        logits = torch.cat([net(looks.cut(task.stack, part, task.monitor.crop, 0)[0]).float() for part in parts])
    loss = float(task.loss(logits, looks.truth)[1]) / len(task.monitor)
    margin = (logits[:, 1] - logits[:, 0]).cpu().numpy().astype(np.float64)
    auc = rank_auc(task.monitor.labels, margin) if np.isfinite(margin).all() else math.nan
    return {"monitor_auc": auc, "monitor_loss": loss}


def _remembered(
    net: nn.Module, optimizer: torch.optim.Optimizer, task: _Task, row: dict[str, Any], before: _Good
) -> _Good:
    """Return the state after an epoch, or raise when the last step of it has ruined the weights."""
    state = _copied(net.state_dict())
    finite = [torch.isfinite(t).all() for t in state.values() if t.is_floating_point()]
    if not torch.stack(finite).all():
        raise DivergenceError(
            f"the weights are no longer finite after the last batch of epoch {row['epoch']}; take a smaller lr than "
            f"{task.recipe.lr:g}, and look for extreme values in the survey"
        )
    best = before.best
    if task.monitor is not None and (best is None or _merit(row) > _merit(before.rows[best.epoch - 1])):
        best = _Best(row["epoch"], row["monitor_auc"], row["monitor_loss"], state)
    return _Good(row["epoch"], state, _momentum(net, optimizer), (*before.rows, row), best)


@torch.no_grad()
def _with_statistics_of_the_ground(net: nn.Module, task: _Task, good: _Good) -> _Good:
    """Return the state with running statistics that are plain means over the training windows with their context.

    Those that training leaves are of its last steps, half of them without context. With these, windows are told apart
    better, cut out as well as slid over the ground (benchmarks/halo.py).
    """
    recipe = task.recipe
    net.load_state_dict(good.best.weights if good.best is not None else good.weights)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    net.train()
    set_halo(net, recipe.halo)
    n, device = len(task.windows), task.stack.device
    for number in range(_PASSES):
        looks = _Looks.drawn(task.windows, recipe, task.draws(recipe.epochs + 1 + number), device)
        for part in _slices(0, n, math.ceil(n / recipe.batch)):
            with _precision(recipe, device):
                net(looks.cut(task.stack, part, task.windows.crop, recipe.halo)[0])
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
    state = _copied(net.state_dict())
    return replace(good, weights=state, best=None if good.best is None else replace(good.best, weights=state))


def _merit(row: dict[str, Any]) -> tuple[float, float]:
    """Rank epochs by AUC, and by the loss where that is the same; what is not finite comes last."""
    auc, loss = row["monitor_auc"], row["monitor_loss"]
    return (auc, -loss) if math.isfinite(auc) and math.isfinite(loss) else (-math.inf, -math.inf)


def _best_epochs(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Return the epoch whose weights were taken, for each network in turn, where ground was held out."""
    if not rows or "monitor_auc" not in rows[0]:
        return {}
    networks = [[row for row in rows if row["model"] == number] for number in sorted({row["model"] for row in rows})]
    return {"best_epochs": [int(max(one, key=_merit)["epoch"]) for one in networks]}


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _momentum(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the memory of the gradient descent by the names of the weights; empty without momentum."""
    buffers = {name: optimizer.state[p].get("momentum_buffer") for name, p in net.named_parameters()}
    return {name: buffer.clone() for name, buffer in buffers.items() if buffer is not None}


def _at_rest(net: nn.Module, good: _Good) -> nn.Module:
    """Return a copy of the network as it is to be used: best weights, on the CPU, in evaluation mode, no context."""
    result = copy.deepcopy(net)
    result.load_state_dict(good.best.weights if good.best is not None else good.weights)
    if any(isinstance(module, Crop) for module in result.modules()):
        set_halo(result, 0)
    rested: nn.Module = result.cpu().to(memory_format=torch.contiguous_format)
    return rested.eval().requires_grad_(True)


def _too_little_memory(task: _Task, err: torch.OutOfMemoryError) -> DeviceError:
    recipe, crop = task.recipe, task.windows.crop + 2 * task.recipe.halo
    cure = f"batch={max(2, recipe.batch // 2)}, accumulate={2 * recipe.accumulate} makes the same steps with less"
    return DeviceError(
        f"device={str(task.stack.device)!r}: has no memory to train on batch={recipe.batch} windows of "
        f"{task.stack.shape[0]} bands of {crop} x {crop} cells at once; {cure} ({err})"
    )


@contextlib.contextmanager
def _as_if_alone(device: torch.device, recipe: Recipe) -> Iterator[None]:
    """Leave torch's generators as they were, and have cuDNN compute the same in every run."""
    cuda = device.type == "cuda"
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=recipe.precision == "auto"
    )
    with torch.random.fork_rng(devices=[device] if cuda else []), flags if cuda else contextlib.nullcontext():
        yield


def _seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of this device; torch.manual_seed would reseed every GPU."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _told(monitor: Windows | None) -> dict[str, Any]:
    """Return what a model says of the ground that was held out."""
    if monitor is None:
        return {}
    ids = [str(monitor.deposit_ids[i]) for i in np.unique(monitor.deposits[monitor.deposits >= 0])]
    n_ore = int(monitor.labels.sum())
    return {"held_out": {"n_ore": n_ore, "n_barren": len(monitor) - n_ore, "deposits": ids}}


def _plan(
    windows: Windows, cells: NDArray[np.float32], frame: functools.partial[ProspectivityModel],
    weights: str | os.PathLike[str] | None, network: str,
) -> dict[str, Any]:  # fmt: skip
    """Return all that the result depends on, by name; a checkpoint is for this only."""
    said = frame.keywords
    names = ("rows", "cols", "labels", "deposits", "zooms", "draw", "deposit_points")
    start = None
    if weights is not None:
        with check_input_file("weights", weights).open("rb") as stream:
            start = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "network": network, "bands": list(said["bands"]), "units": list(said["units"]), "weights": start,
        "survey": checksum(cells, said["offset"], said["scale"]), "grid": str(windows.grid),
        "windows": checksum(*(getattr(windows, name) for name in names)), "size": windows.size, "crop": windows.crop,
        "rng": said["seed"], "geoprospect": __version__, "torch": str(torch.__version__), "numpy": np.__version__,
        **{name: value for name, value in said["settings"].items() if name != "recipe"},
    }  # fmt: skip


def _check_ground(windows: Windows, survey: xr.Dataset) -> tuple[str, ...]:
    """Return the bands to train on, when windows and survey fit together."""
    check_windows(windows, survey)
    grid = grid_of_survey(survey)
    if not len(windows):
        raise InputError("windows: there are none, so there is nothing to learn from; cut them with sample_windows")
    if grid != windows.grid:
        raise InputError(f"windows: were cut on {windows.grid}, the survey lies on {grid}; cut them on this survey")
    if len(np.unique(windows.labels)) < 2:
        raise InputError(
            f"windows: all {len(windows)} are {'ore' if windows.labels.any() else 'barren'}; both are needed"
        )
    bands = tuple(str(name) for name, band in survey.data_vars.items() if set(band.dims) == {"y", "x"})
    if not bands:
        raise InputError("survey: has no band with dims (y, x)")
    return bands


def _fit_scaling(
    windows: Windows, survey: xr.Dataset, bands: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each band over the ground of the windows."""
    ground = np.zeros(windows.grid.shape, dtype=bool)
    for row, col, width in zip(windows.rows, windows.cols, windows.widths, strict=True):
        ground[row : row + width, col : col + width] = True
    offset, scale = np.empty(len(bands)), np.empty(len(bands))
    for i, name in enumerate(bands):
        values = survey[name].transpose("y", "x").to_numpy()[ground]
        values = values[np.isfinite(values)].astype(np.float64)
        if not values.size:
            raise InputError(
                f"survey[{name!r}]: has no data on the training ground; leave it out: survey.drop_vars({name!r})"
            )
        # A class that does not occur here is constant: it then tells nothing, and does no harm. The
        # deviation of a constant is not asked: rounding makes it 1e-17, not 0.
        constant = values.min() == values.max()
        offset[i], scale[i] = (values[0], 1.0) if constant else (values.mean(), values.std())
    return offset, scale
