"""`train`: networks, and where their predictions apply."""

from __future__ import annotations

import os
from typing import Unpack

import numpy as np
import xarray as xr

from geoprospect.models.fit_applicability import fit_applicability
from geoprospect.models.model import ProspectivityModel
from geoprospect.models.recipe import Recipe, RecipeOptions
from geoprospect.models.training import fit_networks
from geoprospect.windows.windows import Windows


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
