"""The training loop."""

from __future__ import annotations

import math
import os

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from geoprospect._checks import check_int, check_number, check_rng
from geoprospect._kernels.devices import resolve_device
from geoprospect._kernels.patches import gather
from geoprospect.errors import DivergenceError, InputError
from geoprospect.grid import Grid
from geoprospect.model import ProspectivityModel, stack_bands
from geoprospect.networks import build_network
from geoprospect.windows import Windows

_HALVE_EVERY = 30


def train(
    windows: Windows,
    survey: xr.Dataset,
    network: str = "resnet50",
    epochs: int = 120,
    batch: int = 32,
    lr: float = 0.01,
    momentum: float = 0.1,
    weight_decay: float = 1e-4,
    n_models: int = 1,
    device: str = "auto",
    rng: int | np.random.Generator | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> ProspectivityModel:
    """Train networks to tell ore windows from barren ones.

    The recipe of Gao et al. [1]_: stochastic gradient descent on the cross-entropy, the
    learning rate halved every 30 epochs, and before each epoch random flips and a random crop of
    every window. Crops of ore windows always hold their deposit. Bands are scaled to mean 0 and
    standard deviation 1 over the ground of the training windows only; the model keeps the scaling.

    Parameters
    ----------
    windows : Windows
        Where to look, on the grid of `survey`.
    survey : xarray.Dataset
        Bands with dims (y, x) in their own units; all of them are used. NaN is replaced by the mean.
    network : {'resnet50', 'resnet18', 'mobilenet_v2', 'googlenet', 'shufflenet_v2_x1_0'}
        Architecture.
    epochs : int, default 120
        How often every window is seen.
    batch : int, default 32
        Windows per step, at most; an epoch is cut into steps of nearly one size.
    lr, momentum, weight_decay : float
        Of the gradient descent.
    n_models : int, default 1
        Trainings from different random weights; their spread is the uncertainty of the map.
    device : str, default 'auto'
        'cpu', 'cuda', 'cuda:1', … ; 'auto' takes a GPU where there is one.
    rng : int, Generator or None
        Draws weights, order, flips and crops. Same seed, device and versions: same bytes.
    weights : path-like, optional
        A .safetensors file to start from instead of random weights.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    ProspectivityModel
        With ``history``: mean loss and accuracy of every epoch, on the augmented training windows.

    Raises
    ------
    InputError
        When windows and survey have different grids, a class is missing, or a band has no data on
        the training ground.
    DivergenceError
        When the loss is no longer finite; the message names epoch and batch.

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
    ['model', 'epoch', 'loss', 'accuracy', 'learning_rate']
    """
    epochs, batch = check_int("epochs", epochs), check_int("batch", batch, 2)
    n_models = check_int("n_models", n_models)
    lr = check_number("lr", lr, above=0)
    momentum = check_number("momentum", momentum, minimum=0, maximum=1)
    weight_decay = check_number("weight_decay", weight_decay, minimum=0)
    bands = _check_ground(windows, survey)
    target = resolve_device(device)
    generator = check_rng(rng)
    seed = int(generator.integers(2**31))
    offset, scale = _fit_scaling(windows, survey, bands)
    stack = torch.from_numpy(stack_bands(survey, bands, offset, scale)[0]).to(target)  # (C, Y, X)
    networks, history = [], []
    for i, child in enumerate(np.random.SeedSequence(seed).spawn(n_models)):
        draws = np.random.default_rng(child)
        net = build_network(network, len(bands), weights, int(draws.integers(2**31))).to(target)
        rows = _fit(
            net,
            stack,
            windows,
            epochs,
            batch,
            lr,
            momentum,
            weight_decay,
            draws,
            tqdm(range(epochs), desc=f"training {i + 1} of {n_models}", unit="epoch", disable=not progress),
        )
        networks.append(net.eval().cpu())
        history += [{"model": i, **row} for row in rows]
    return ProspectivityModel(
        networks=tuple(networks), network=network, bands=bands,
        units=tuple(str(survey[name].attrs.get("units", "")) for name in bands), offset=offset, scale=scale,
        size=windows.size, crop=windows.crop, cell_size=windows.grid.resolution, seed=seed,
        history=pd.DataFrame(history),
        settings={"recipe": "gao2022", "epochs": epochs, "batch": batch, "lr": lr, "momentum": momentum,
                  "weight_decay": weight_decay, "device": target.type, "n_windows": len(windows),
                  "n_ore": int(windows.labels.sum())},
    )  # fmt: skip


def _fit(
    net: nn.Module, stack: Tensor, windows: Windows, epochs: int, batch: int, lr: float, momentum: float,
    weight_decay: float, draws: np.random.Generator, bar: tqdm,
) -> list[dict[str, float]]:  # fmt: skip
    """Train one network; return loss, accuracy and learning rate of every epoch.

    The stack stays on the device, and windows are cut there by index. What is random comes from
    `draws`, on the CPU, so that every device sees the same windows in the same order.
    """
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, _HALVE_EVERY, gamma=0.5)
    labels = torch.from_numpy(windows.labels.copy()).to(stack.device)  # (N,)
    corners = np.column_stack([windows.rows, windows.cols])  # (N, 2)
    least, greatest = windows.crop_range()
    history = []
    cuda = [stack.device] if stack.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        _seed_dropout(int(draws.integers(2**31)), stack.device)
        net.train()
        for epoch in bar:
            places = corners + draws.integers(least, greatest, endpoint=True)
            flips = draws.integers(2, size=(2, len(windows)), dtype=np.int64).astype(bool)
            order = draws.permutation(len(windows))
            total, right = 0.0, 0
            for step, chosen in enumerate(_batches(order, batch)):
                rows, cols = (torch.from_numpy(places[chosen, i]).to(stack.device) for i in (0, 1))  # (B,)
                flip_y, flip_x = (torch.from_numpy(f[chosen]).to(stack.device) for f in flips)
                x = gather(stack, rows, cols, windows.crop, (flip_y, flip_x))  # (B, C, H, W)
                truth = labels[torch.from_numpy(chosen).to(stack.device)]  # (B,)
                logits = net(x)  # (B, 2)
                loss = nn.functional.cross_entropy(logits, truth)
                if not torch.isfinite(loss):
                    raise DivergenceError(
                        f"the loss is {loss.item()} in epoch {epoch + 1}, batch {step + 1}; take a smaller lr than "
                        f"{lr:g}, and look for extreme values in the survey"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item() * len(chosen)
                right += int((logits.argmax(1) == truth).sum())
            row = {"epoch": epoch + 1, "loss": total / len(windows), "accuracy": right / len(windows),
                   "learning_rate": optimizer.param_groups[0]["lr"]}  # fmt: skip
            history.append(row)
            schedule.step()
            bar.set_postfix(loss=f"{row['loss']:.4f}", accuracy=f"{row['accuracy']:.3f}")
    return history


def _seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of this device; torch.manual_seed would reseed every GPU."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _batches(order: NDArray[np.int64], batch: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches of nearly one size, at most `batch`.

    Over a remainder of a few windows the batch normalisation divides by next to nothing, and a single
    step can ruin the weights.
    """
    parts = min(math.ceil(len(order) / batch), len(order) // 2)  # never of a single window, which has no variance
    return np.array_split(order, max(parts, 1))


def _check_ground(windows: Windows, survey: xr.Dataset) -> tuple[str, ...]:
    """Return the bands to train on, when windows and survey fit together."""
    grid = Grid.of(survey)
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
    for row, col in zip(windows.rows, windows.cols, strict=True):
        ground[row : row + windows.size, col : col + windows.size] = True
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
