"""What the networks look at: how much each element matters, and where on the ground."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from geoprospect._checks import check_choice, check_int, check_names, check_number, check_rng, user_level
from geoprospect._devices import resolve_device
from geoprospect.errors import DataWarning, DependencyError, InputError
from geoprospect.grid import Grid, grid_of_survey
from geoprospect.models._batches import in_batches, on_device
from geoprospect.models._patches import gather
from geoprospect.models.architectures import ARCHITECTURES, FEATURE_STRIDE
from geoprospect.models.model import ProspectivityModel, check_fit
from geoprospect.models.networks import last_features
from geoprospect.prediction.predict import ore
from geoprospect.stats.bootstrap import bootstrap_aucs
from geoprospect.stats.metrics import rank_auc
from geoprospect.windows.regions import Fold, check_folds
from geoprospect.windows.spatial_folds import check_separate, independent_units
from geoprospect.windows.valid_cells import valid_fraction
from geoprospect.windows.windows import Windows

log = logging.getLogger("geoprospect")

METHODS = ("integrated_gradients", "gradcam")
_LEVEL = 0.95
_REPLICATES = 2000
_WINDOWS = 64  # at once, forwards only
_BACKWARDS = 16  # at once, where the activations of every layer are kept
# Share of the differences that integrated gradients may leave unexplained before that is said. With 50 steps, trained
# networks with batch normalisation leave 2 to 8 % (200 steps: 1 %).
_UNEXPLAINED = 0.1
# Log-odds for each window below which that is no matter: a change of the probability by one hundredth at most.
_NO_MATTER = 0.04


class _Places(NamedTuple):
    """North-west cells of crops on the grid, and how many cells of the grid one of theirs is wide."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    zooms: NDArray[np.int64]

    def at(self, which: Any) -> _Places:
        return _Places(self.rows[which], self.cols[which], self.zooms[which])


# ---------------------------------------------------------------- how much each element matters


def element_importance(
    models: Sequence[ProspectivityModel],
    survey: xr.Dataset,
    windows: Windows,
    folds: Sequence[Fold],
    *,
    repeats: int = 10,
    groups: Mapping[str, Sequence[str]] | None = None,
    rng: int | np.random.Generator | None = None,
    device: str = "auto",
    progress: bool = False,
) -> pd.DataFrame:
    """Return how much the ranking of windows suffers when one element is shuffled among them.

    Permutation importance [1]_ [2]_ on ground that the models have not seen: within each fold, the
    patches of one band are exchanged at random between the test windows, whole patches, so that level
    and texture go together; the importance is the mean drop of the rank AUC within folds.

    Parameters
    ----------
    models : sequence of ProspectivityModel
        One for each fold, trained on its training windows only.
    survey : xarray.Dataset
        The survey that they were trained on. A band that a model does not use counts as 0 in its fold.
    windows : Windows
        That `folds` counts in. Each is seen in its central crop, as in `predict_windows`.
    folds : sequence of (train, test)
        From `spatial_folds`. Only the test windows are looked at; they must share no ground with the training.
    repeats : int, default 10
        Shuffles of every band or group in every fold.
    groups : mapping of str to sequence of str, optional
        Bands that are shuffled together, by the name of the group. Correlated elements stand in for each
        other, so that each alone may seem worthless; their group shows what they are worth together. Bands in
        no group are shuffled alone.
    rng : int, Generator or None
        Draws the shuffles and the resamples.
    device : str, default 'auto'
        'cpu', 'cuda', 'cuda:1', … ; 'auto' takes a GPU where there is one.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row for each band or group, the most important first: ``importance``, the mean drop of the AUC
        over folds and repeats; ``std``, the standard deviation of the drop over folds and repeats;
        ``low`` and ``high``, the 95 % interval over resamples of deposit clusters and barren blocks. The
        interval says how far the importance hangs on these deposits and barren windows; it does not cover
        another training or other shuffles. ``attrs["auc"]`` holds the AUC before anything was shuffled.

    Raises
    ------
    InputError
        When models, folds, windows and survey do not fit together, or a test lacks ore or barren windows.
    SeparationError
        When a test shares ground with its training. It is an `InputError`.
    NameNotFoundError
        When a group names a band that no model uses.

    Warns
    -----
    DataWarning
        When the models do not rank better than chance, so that their importances mean nothing, or
        windows without data are left out.

    References
    ----------
    .. [1] Breiman, L. (2001). Random forests. Machine Learning 45, 5-32.
       https://doi.org/10.1023/A:1010933404324
    .. [2] Fisher, A., Rudin, C. & Dominici, F. (2019). All models are wrong, but many are useful.
       Journal of Machine Learning Research 20(177). https://doi.org/10.48550/arXiv.1801.01489

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Ag", "W"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=40, rng=0)
    >>> folds = gp.spatial_folds(windows, folds=2)
    >>> models = [
    ...     gp.train(windows[fit], survey, "resnet18", epochs=2, device="cpu", rng=0) for fit, test in folds
    ... ]
    >>> importance = gp.element_importance(models, survey, windows, folds, repeats=2, rng=0, device="cpu")
    >>> importance.index[0]  # silver carries haloes in this survey, tungsten none
    'Ag'
    """
    repeats, generator, target = check_int("repeats", repeats), check_rng(rng), resolve_device(device)
    folds = _check_models(models, survey, windows, folds)
    names = _grouped(models, groups)
    parts, total = [], len(names) * repeats * sum(len(model.networks) for model in models)
    with tqdm(total=total, desc="shuffling", unit="pass", disable=not progress) as bar:
        for number, (model, (_, test)) in enumerate(zip(models, folds, strict=True), start=1):
            parts.append(_shuffled_fold(model, survey, windows, test, number, names, repeats, generator, target, bar))
    tested = pd.concat([part for part, _ in parts], ignore_index=True)
    scores = np.concatenate([part for _, part in parts], axis=1)  # (1 + G R, N)
    unit = tested.groupby(["fold", independent_units(windows)[tested["window"]]]).ngroup().to_numpy()
    return _importance_table(list(names), tested, scores, unit, generator)


def _check_models(
    models: Sequence[ProspectivityModel], survey: xr.Dataset, windows: Windows, folds: Sequence[Fold]
) -> list[Fold]:
    """Return the folds, when there is a model for each that has not seen the ground of its test."""
    splits = [] if isinstance(folds, Sequence) and not folds else check_folds(folds, len(windows))
    if len(models) != len(splits) or not len(models):
        raise InputError(
            f"models: {len(models)} for {len(splits)} folds; needs one for each, trained on its training windows"
        )
    for number, (model, (_, test)) in enumerate(zip(models, splits, strict=True), start=1):
        check_fit(model, windows, survey)
        if len(np.unique(windows.labels[test])) < 2:
            raise InputError(f"folds: the test of fold {number} lacks ore or barren windows, so it ranks nothing")
    check_separate(windows, splits, max(int(model.settings.get("halo") or 0) for model in models))
    return splits


def _grouped(
    models: Sequence[ProspectivityModel], groups: Mapping[str, Sequence[str]] | None
) -> dict[str, tuple[str, ...]]:
    """Return the bands that are shuffled together, by name: the groups, then each band that is in none."""
    bands = list(dict.fromkeys(band for model in models for band in model.bands))
    result: dict[str, tuple[str, ...]] = {}
    for name, members in (groups or {}).items():
        result[str(name)] = tuple(check_names(f"groups[{name!r}]", members, bands))
        if not result[str(name)]:
            raise InputError(f"groups[{name!r}]: is empty; name bands in it, or leave it out")
    grouped = {band for members in result.values() for band in members}
    alone = [band for band in bands if band not in grouped]
    taken = [name for name in result if name in alone]
    if taken:
        raise InputError(f"groups: {taken[0]!r} is the name of a band outside of the group; take another name")
    return result | {band: (band,) for band in alone}


def _shuffled_fold(
    model: ProspectivityModel, survey: xr.Dataset, windows: Windows, test: NDArray[np.int64], fold: int,
    names: Mapping[str, tuple[str, ...]], repeats: int, rng: np.random.Generator, device: torch.device, bar: tqdm,
) -> tuple[pd.DataFrame, NDArray[np.float64]]:  # fmt: skip
    """Return window, fold and label of the tested windows, and their scores (1 + G R, n), as they are first."""
    test = np.asarray(test, dtype=np.int64)
    bands, valid = model.stack(survey)
    places = _central(windows[test])
    seen = valid_fraction(valid, places.rows, places.cols, model.crop * places.zooms) > 0
    if not seen.all():
        warnings.warn(
            f"windows: {int((~seen).sum())} of {test.size} in fold {fold} have no data in their middle and are left "
            "out",
            DataWarning,
            stacklevel=user_level(),
        )
        test, places = test[seen], places.at(seen)
    labels = windows.labels[test]
    if len(np.unique(labels)) < 2:
        raise InputError(f"folds: the test of fold {fold} lacks ore or barren windows, so it ranks nothing")
    members = [[model.bands.index(band) for band in group if band in model.bands] for group in names.values()]
    shuffles = [(which, _shuffle(places.zooms, rng)) for which in members for _ in range(repeats)]
    stack = torch.from_numpy(bands).to(device)  # (C, Y, X)
    scores = np.zeros((1 + len(shuffles), test.size))
    for network in model.networks:
        with _on(network, device), torch.inference_mode():
            scores += _network_scores(network, stack, places, model.crop, shuffles, bar)
    table = pd.DataFrame({"window": test, "fold": fold, "label": labels})
    return table, scores / len(model.networks)


def _shuffle(zooms: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return whose patch each window is given: that of one with the same zoom, or a patch's texture would change."""
    given = np.arange(zooms.size)
    for zoom in np.unique(zooms):
        at = np.flatnonzero(zooms == zoom)
        given[at] = rng.permutation(at)
    return given


def _network_scores(
    network: nn.Module, stack: Tensor, places: _Places, crop: int,
    shuffles: list[tuple[list[int], NDArray[np.int64]]], bar: tqdm,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the probability of ore (1 + len(shuffles), N): of the windows as they are, then of each shuffle."""

    def probability(batch: slice, size: int) -> NDArray[np.float32]:
        plain = _patches(stack, places.at(batch), crop)  # (B, C, H, W)
        rows = [ore(network(plain))]
        for bands, given in shuffles:
            if bands:
                mixed = plain.clone()
                mixed[:, bands] = _patches(stack[bands], places.at(given[batch]), crop)
            # Of bands that the model does not use there is nothing to shuffle.
            rows.append(ore(network(mixed)) if bands else rows[0])
        return np.stack(rows, axis=1)  # (B, 1 + G R)

    n = places.rows.size
    result = np.empty((n, 1 + len(shuffles)))
    for batch, part in in_batches(probability, n, _WINDOWS, stack.device, "a single window"):
        result[batch] = part
        bar.update(len(shuffles) * len(part) / n)
    return result.T


def _importance_table(
    names: list[str], tested: pd.DataFrame, scores: NDArray[np.float64], unit: NDArray[np.int64],
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Return the drops of the AUC, with intervals, from the scores of all folds (1 + G R, N)."""
    labels, folds = tested["label"].to_numpy(), tested["fold"].to_numpy()
    aucs = np.array([[rank_auc(labels[at], row[at]) for row in scores]
                     for at in (folds == fold for fold in np.unique(folds))])  # (F, 1 + G R)  # fmt: skip
    drops = (aucs[:, :1] - aucs[:, 1:]).reshape(len(aucs), len(names), -1)  # (F, G, R)
    drawn = bootstrap_aucs(labels, scores, folds, unit, _REPLICATES, rng)  # (1 + G R, replicates)
    drawn_drops = drawn[0] - drawn[1:].reshape(len(names), -1, _REPLICATES).mean(axis=1)  # (G, replicates)
    margin = (1 - _LEVEL) / 2
    low, high = np.nanquantile(drawn_drops, [margin, 1 - margin], axis=1)
    table = pd.DataFrame(
        {"importance": drops.mean(axis=(0, 2)), "std": drops.std(axis=(0, 2)), "low": low, "high": high},
        index=pd.Index(names, name="band"),
    )
    auc, least = float(aucs[:, 0].mean()), float(np.nanquantile(drawn[0], margin))
    if least <= 0.5:
        warnings.warn(
            f"models: rank the windows of their tests no better than chance (AUC {auc:.2f}, 95 % interval from "
            f"{least:.2f}); what such models look at says nothing of the ore",
            DataWarning,
            stacklevel=user_level(),
        )
    table.attrs["auc"] = auc
    return table.sort_values("importance", ascending=False, kind="stable")


# ---------------------------------------------------------------- where on the ground


def attribute(
    model: ProspectivityModel,
    survey: xr.Dataset,
    where: Windows | tuple[float, float, float, float] | None = None,
    method: str = "integrated_gradients",
    device: str = "auto",
    *,
    stride: int | None = None,
    steps: int = 50,
    min_valid: float = 0.5,
    progress: bool = False,
) -> xr.Dataset:
    """Map which ground, and which elements on it, speak for ore in a model.

    Both methods explain the log-odds of ore, ln(p / (1 - p)), of every window, and are averaged over the
    windows that cover a cell and over the networks of the model.

    Parameters
    ----------
    model : ProspectivityModel
        From `train`.
    survey : xarray.Dataset
        As in `predict`.
    where : Windows, or (left, bottom, right, top), optional
        Windows to explain, each in its central crop; or bounds in CRS units: those windows of `predict` whose
        middle lies within, that is those behind the cells of the map there. Default: the whole survey.
    method : {'integrated_gradients', 'gradcam'}, default 'integrated_gradients'
        Integrated gradients [1]_ give every band and cell its share in the difference of the log-odds from
        ground where every element has its mean (0 after scaling, which also stands for no data).
        Grad-CAM [2]_ weights the last features of the network by their gradients and shows where
        those that speak for ore are strong; it knows no bands, and has one value for each 32 cells.
    device : str, default 'auto'
        'cpu', 'cuda', 'cuda:1', … ; 'auto' takes a GPU where there is one.
    stride : int, optional
        Cells between two windows within bounds. Default: as in `predict`, an eighth of the model's window.
    steps : int, default 50
        Points of the integration of integrated gradients.
    min_valid : float, default 0.5
        Windows within bounds with a smaller share of cells with data are left out.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        On the grid of the survey, float32, NaN where no window looked. Integrated gradients: one variable
        for each band of the model, positive where it speaks for ore; for a single window, the
        sum over bands and cells is the difference of the log-odds. Grad-CAM: ``gradcam``, 0 or more.
        ``attrs`` hold ``method``, ``n_windows`` and, for integrated gradients, ``unexplained``: the share
        of the differences that the integration missed.

    Raises
    ------
    InputError
        When windows, model and survey do not fit together, no window is left, or integrated gradients are
        asked of networks with group normalisation, in which even faint ground looks like any other, so
        that there is no path to integrate along.
    DependencyError
        When captum is missing.
    DeviceError
        When the device cannot be used, or has no memory for a single window.

    Warns
    -----
    DataWarning
        When integrated gradients miss more than a tenth of the differences.

    Notes
    -----
    The middle of what one of the last features sees is not the middle of the 32 cells that it stands for in
    the layer, but their first cell, because paddings lie on both sides and only one is used [3]_. Grad-CAM is laid on
    the ground by these middles, and interpolated between them.

    References
    ----------
    .. [1] Sundararajan, M., Taly, A. & Yan, Q. (2017). Axiomatic attribution for deep networks. ICML.
       https://doi.org/10.48550/arXiv.1703.01365
    .. [2] Selvaraju, R. R. et al. (2017). Grad-CAM: visual explanations from deep networks via
       gradient-based localization. ICCV, 618-626. https://doi.org/10.1109/ICCV.2017.74
    .. [3] Alsallakh, B. et al. (2021). Mind the pad: CNNs can develop blind spots. ICLR.
       https://doi.org/10.48550/arXiv.2010.02178

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> shares = gp.attribute(model, survey, windows[:2], device="cpu")
    >>> list(shares.data_vars), shares.attrs["n_windows"]
    (['Cu', 'Au'], 2)
    """
    check_choice("method", method, METHODS)
    steps, target = check_int("steps", steps), resolve_device(device)
    min_valid = check_number("min_valid", min_valid, minimum=0, maximum=1)
    if method == "integrated_gradients" and model.norm == "group":
        raise InputError(
            "method='integrated_gradients': group normalisation scales whatever a window holds to one size, so nothing "
            "lies between mean ground and a window; take method='gradcam', or train with norm='batch'"
        )
    grid_of_survey(survey)
    bands, valid = model.stack(survey)
    places = _places(model, survey, where, stride)
    share = valid_fraction(valid, places.rows, places.cols, model.crop * places.zooms)
    places = places.at((share > 0) & (share >= (0 if isinstance(where, Windows) else min_valid)))
    if not places.rows.size:
        raise InputError("where: none of the windows has enough data; explain other ground, or lower min_valid")
    explain = _integrated_gradients if method == "integrated_gradients" else _gradcam
    names = list(model.bands) if method == "integrated_gradients" else ["gradcam"]
    summed = np.zeros((len(names), *valid.shape), dtype=np.float32)
    errors = np.zeros(2)  # missed by the integration, and to be explained
    stack = torch.from_numpy(bands).to(target)  # (C, Y, X)
    total = places.rows.size * len(model.networks)
    with tqdm(total=total, desc="explaining", unit="window", disable=not progress) as bar:
        for network in model.networks:
            with _on(network, target), torch.enable_grad():
                errors += _sum_up(explain, network, stack, places, model, steps, summed, bar)
    return _mapped(Grid.of(survey), names, summed, places, model, method, errors, steps)


def _places(
    model: ProspectivityModel, survey: xr.Dataset, where: Windows | tuple[float, float, float, float] | None,
    stride: int | None,
) -> _Places:  # fmt: skip
    """Return the crops to explain."""
    if isinstance(where, Windows):
        check_fit(model, where, survey)
        return _central(where)
    step = max(1, model.size // 8) if stride is None else check_int("stride", stride)
    grid = Grid.of(survey).strided(model.crop, step)
    left, bottom, right, top = grid.bounds if where is None else _check_bounds(where)
    down = np.flatnonzero((grid.y >= bottom) & (grid.y <= top)) * step
    across = np.flatnonzero((grid.x >= left) & (grid.x <= right)) * step
    if not down.size or not across.size:
        raise InputError(
            f"where={where!r}: no middle of a window lies within; windows lie from {grid.x[0]:.10g} to "
            f"{grid.x[-1]:.10g} and from {grid.y[-1]:.10g} to {grid.y[0]:.10g}, every {step} cells; take wider "
            "bounds or a smaller stride"
        )
    rows, cols = (a.ravel() for a in np.meshgrid(down, across, indexing="ij"))
    return _Places(rows, cols, np.ones_like(rows))


def _check_bounds(where: Any) -> tuple[float, float, float, float]:
    try:
        left, bottom, right, top = (check_number("where", float(value)) for value in where)
    except (TypeError, ValueError):
        raise InputError(f"where={where!r}: needs Windows, or four numbers (left, bottom, right, top)") from None
    if left >= right or bottom >= top:
        raise InputError(f"where={where!r}: needs left < right and bottom < top, as (left, bottom, right, top)")
    return left, bottom, right, top


def _central(windows: Windows) -> _Places:
    rows, cols = (np.column_stack([windows.rows, windows.cols]) + windows.central_crop()).T
    return _Places(rows, cols, windows.zooms)


def _sum_up(
    explain: Callable[..., tuple[Tensor, Tensor, Tensor]], network: nn.Module, stack: Tensor, places: _Places,
    model: ProspectivityModel, steps: int, summed: NDArray[np.float32], bar: tqdm,
) -> NDArray[np.float64]:  # fmt: skip
    """Add what a network says of every window to `summed`; return what was missed and what was to be explained."""
    errors = np.zeros(2)

    for zoom in map(int, np.unique(places.zooms)):
        same = places.at(places.zooms == zoom)

        def run(
            batch: slice, most: int, same: _Places = same, zoom: int = zoom
        ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
            here = same.at(batch)
            # Cells as they are on the grid; the network averages them itself, so that each has its own share.
            x = _patches(stack, here._replace(zooms=np.ones_like(here.zooms)), model.crop * zoom)
            shares, missed, due = explain(network, x.requires_grad_(), zoom, model.network, steps, most)
            sums = [float(part.detach().abs().sum(dtype=torch.float64)) for part in (missed, due)]
            return shares.detach().cpu().numpy(), np.array(sums)

        for batch, (shares, sums) in in_batches(run, same.rows.size, _BACKWARDS, stack.device, "a single window"):
            errors += sums
            for share, row, col in zip(shares, same.rows[batch], same.cols[batch], strict=True):
                height, width = share.shape[1:]
                summed[:, row : row + height, col : col + width] += share
            bar.update(len(shares))
    return errors


def _integrated_gradients(
    network: nn.Module, x: Tensor, zoom: int, name: str, steps: int, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the share of every band and cell (B, C, H, W), what the sums miss (B,), and what they are to be (B,)."""

    def odds(given: Tensor) -> Tensor:
        return _log_odds(network, given, zoom)

    mean = torch.zeros_like(x)
    shares = (
        _captum()
        .IntegratedGradients(odds)
        .attribute(x, mean, n_steps=steps, method="gausslegendre", internal_batch_size=max(most, len(x)))
    )
    with torch.no_grad():
        due = odds(x) - odds(mean[:1])  # (B,)
    return shares, shares.sum(dim=(1, 2, 3)) - due, due


def _gradcam(
    network: nn.Module, x: Tensor, zoom: int, name: str, steps: int, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted last features on the cells of the input (B, 1, H, W); there is nothing to miss."""
    seen = _captum().LayerGradCam(lambda given: _log_odds(network, given, zoom), last_features(network))
    features = seen.attribute(x, relu_attributions=True).detach()  # (B, 1, h, w)
    down, across = (
        _interpolation(features.shape[axis], x.shape[axis], zoom, ARCHITECTURES[name].feature_origin).to(features)
        for axis in (2, 3)
    )  # (H, h), (W, w)
    nothing = torch.zeros(len(x))
    return down @ features @ across.T, nothing, nothing


def _captum() -> Any:
    try:
        from captum import attr
    except ImportError as err:
        raise DependencyError(f"captum: cannot be imported ({err}); install it: pip install captum") from err
    return attr


def _log_odds(network: nn.Module, x: Tensor, zoom: int) -> Tensor:
    """Return ln(p / (1 - p)) of ore for patches (B, C, H, W) of cells as they are on the grid."""
    logits = network(nn.functional.avg_pool2d(x, zoom) if zoom > 1 else x).float()  # (B, 2)
    odds: Tensor = logits[:, 1] - logits[:, 0]
    return odds


def _interpolation(n_features: int, n_cells: int, zoom: int, origin: int) -> Tensor:
    """Return the weights (n_cells, n_features) with which features are laid on the cells of the grid.

    Feature i sees ground about cell ``32 i + origin`` of the picture; beyond the first and the last
    feature, their values hold.
    """
    cell = (np.arange(n_cells) + 0.5) / zoom - 0.5  # of the picture, on which a cell's middle is a whole number
    place = np.clip((cell - origin) / FEATURE_STRIDE, 0, n_features - 1)
    first = np.minimum(place.astype(np.int64), max(n_features - 2, 0))
    weights = np.zeros((n_cells, n_features))
    weights[np.arange(n_cells), first] = 1 - (place - first)
    if n_features > 1:
        weights[np.arange(n_cells), first + 1] = place - first
    return torch.from_numpy(weights)


def _mapped(
    grid: Grid, names: list[str], summed: NDArray[np.float32], places: _Places, model: ProspectivityModel, method: str,
    errors: NDArray[np.float64], steps: int,
) -> xr.Dataset:  # fmt: skip
    """Return the means over windows and networks on the grid, and say what the integration missed."""
    looks = np.zeros(grid.shape, dtype=np.int32)
    for row, col, width in zip(places.rows, places.cols, model.crop * places.zooms, strict=True):
        looks[row : row + width, col : col + width] += 1
    with np.errstate(invalid="ignore"):
        summed /= looks * len(model.networks)  # 0 / 0, NaN, where no window looked
    what = "share in the log-odds of ore" if method == "integrated_gradients" else "features that speak for ore"
    attrs = {name: {"units": "1", "long_name": f"{what} ({name})"} for name in names}
    result = grid.dataset(dict(zip(names, summed, strict=True)), attrs)
    result.attrs.update(method=method, n_windows=int(places.rows.size), network=model.network)
    if method == "integrated_gradients":
        unexplained = float(errors[0] / errors[1]) if errors[1] else 0.0
        result.attrs.update(steps=steps, unexplained=unexplained)
        looked = places.rows.size * len(model.networks)
        if unexplained > _UNEXPLAINED and errors[0] > _NO_MATTER * looked:
            warnings.warn(
                f"steps={steps}: the integration missed {unexplained:.0%} of the differences; take steps={4 * steps}",
                DataWarning,
                stacklevel=user_level(),
            )
    return result


# ---------------------------------------------------------------- what both need


def _patches(stack: Tensor, places: _Places, size: int) -> Tensor:
    rows, cols = (torch.from_numpy(a).to(stack.device) for a in (places.rows, places.cols))
    return gather(stack, rows, cols, size, zooms=places.zooms)


@contextlib.contextmanager
def _on(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Have a network on the device for a while, and there in full float32."""
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with on_device(network, device), exact if device.type == "cuda" else contextlib.nullcontext():
        yield
