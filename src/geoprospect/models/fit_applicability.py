"""The training windows of a model among the features of its networks."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from geoprospect._devices import resolve_device
from geoprospect.errors import InputError
from geoprospect.models._batches import in_batches, on_device
from geoprospect.models._patches import channels_last, gather
from geoprospect.models.applicability import Applicability, Reference
from geoprospect.models.architectures import FEATURE_STRIDE
from geoprospect.models.dense import Dense
from geoprospect.models.model import ProspectivityModel, check_fit
from geoprospect.models.networks import head_of, with_projection
from geoprospect.windows.spatial_folds import held_out
from geoprospect.windows.windows import Windows

_DIRECTIONS = 64
_SEED = 20210301  # of the directions, which are kept with the model
_BATCH = 64
_AT_ONCE = 2**22  # distances: 32 MB, and some masks


def fit_applicability(
    model: ProspectivityModel, windows: Windows, survey: xr.Dataset, device: str = "auto"
) -> tuple[Applicability, ...]:
    """Return the features of the training windows of a model, against which its maps are compared.

    `train` does this for every model. Call it for models that were saved without.

    The threshold is that of Meyer and Pebesma [1]_: of the distances of every training window to the nearest one that
    shares no ground with it, the largest that is not further above the upper quartile than 1.5 times the distance
    between the quartiles.

    Parameters
    ----------
    model : ProspectivityModel
        From `train`.
    windows : Windows
        Those that were given to `train`. Of several draws each network takes its own; what a training with `patience`
        held out is left out.
    survey : xarray.Dataset
        That it was trained on.
    device : str, default 'auto'
        As in `predict`.

    Returns
    -------
    tuple of Applicability
        One per network, for `ProspectivityModel.with_applicability`.

    Raises
    ------
    NameNotFoundError, InputError
        When the survey lacks bands or differs in units or cell size, when windows do not fit the model or the survey,
        or when there are fewer than two windows.
    DeviceError
        When the device cannot be used.

    References
    ----------
    .. [1] Meyer, H. & Pebesma, E. (2021). https://doi.org/10.1111/2041-210X.13650

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> (known,) = gp.fit_applicability(model, windows, survey, device="cpu")  # of one network
    >>> known.window.threshold == model.applicability[0].window.threshold  # train has fitted it
    True
    >>> result = gp.predict(model, survey, stride=4, device="cpu")
    >>> (result.dissimilarity <= result.dissimilarity.threshold).mean().item() > 0.9
    True
    """
    target = resolve_device(device)
    check_fit(model, windows, survey)
    recipe = model.recipe()
    trained_on = held_out(windows, recipe.patience, recipe.halo)[0]
    stack = channels_last(torch.from_numpy(model.stack(survey)[0]).to(target))  # (C, Y, X)
    found = []
    for number, network in enumerate(model.networks):
        own = trained_on.of_draw(number % windows.n_draws)
        if len(own) < 2:
            raise InputError(f"windows: draw {number % windows.n_draws} has {len(own)}, a distance needs two")
        directions = _directions(head_of(network)[1].in_features)
        with on_device(network, target):
            alone = _reference(_projected(network, directions, stack, own), own)
            slid = _slid(network, directions, stack, own) if model.settings.get("halo") else None
        found.append(Applicability(directions.numpy(), alone, slid))
    return tuple(found)


def _directions(n: int) -> Tensor:
    """Return random directions (k, n) on which projections keep squared lengths on average."""
    draws = np.random.default_rng(_SEED).normal(size=(_DIRECTIONS, n)) / math.sqrt(_DIRECTIONS)
    return torch.from_numpy(draws.astype(np.float32))


def _projected(network: nn.Module, directions: Tensor, stack: Tensor, windows: Windows) -> NDArray[np.float32]:
    """Return the projections of what the head is given for the central crop of each window, (n, k)."""
    kept: list[Tensor] = []
    head = head_of(network)[1]
    handle = head.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
    rows, cols = _crops(windows)

    def run(at: slice, size: int) -> NDArray[np.float32]:
        row, col = (torch.from_numpy(a[at]).to(stack.device) for a in (rows, cols))
        network(gather(stack, row, col, windows.crop, zooms=windows.zooms[at]).to(head.weight))
        features = kept.pop().cpu()
        found: NDArray[np.float32] = (features @ directions.to(features.dtype).T).numpy()
        return found

    try:
        with torch.inference_mode():
            parts = [found for _, found in in_batches(run, len(windows), _BATCH, stack.device, "a single window")]
    finally:
        handle.remove()
    return np.concatenate(parts)


def _slid(network: nn.Module, directions: Tensor, stack: Tensor, windows: Windows) -> Reference | None:
    """Return the windows as mode 'dense' sees them, the ground ending at the rim of the survey as there.

    Of those that see the cells as they are; None where there are fewer than two, or the network cannot be slid.
    """
    plain = windows[windows.zooms == 1]
    if len(plain) < 2:
        return None
    try:
        dense = Dense(with_projection(network, directions), windows.crop, FEATURE_STRIDE).to(stack.device)
    except InputError:  # as with group normalisation, which looks at the whole image
        return None
    points = []
    with torch.inference_mode():
        for place in zip(*_crops(plain), strict=True):
            # Cut where the features fall as they do in a map whose windows begin with the survey's first cell.
            first = [at - dense.halo if at >= dense.halo else at % FEATURE_STRIDE for at in map(int, place)]
            rows, cols = (slice(start, at + windows.crop + dense.halo) for start, at in zip(first, place, strict=True))
            context = tuple(int(at) - start for at, start in zip(place, first, strict=True))
            found = dense(stack[None, :, rows, cols].to(dense.head.weight), context)
            points.append(found[0, 2:, 0, 0].cpu().numpy())
    return _reference(np.stack(points), plain)


def _crops(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row and column of what the network sees of each window."""
    rows, cols = (np.column_stack([windows.rows, windows.cols]) + windows.central_crop()).T
    return rows, cols


def _reference(points: NDArray[np.float32], windows: Windows) -> Reference:
    """Return the projections of windows with their mean distance and the threshold in units of it."""
    # A product of matrices loses the digits of distances much shorter than the points: these are taken from the first.
    at = torch.from_numpy(points).double()
    at = at - at[0]
    n, total, nearest = len(points), 0.0, np.empty(len(points))
    for start in range(0, n, step := max(1, _AT_ONCE // n)):
        some = slice(start, start + step)
        distance = torch.cdist(at[some], at).numpy()  # (R, n)
        np.fill_diagonal(distance[:, some], 0.0)
        total += float(distance.sum())
        distance[~(_apart(windows, windows.rows, some) | _apart(windows, windows.cols, some))] = np.inf
        nearest[some] = distance.min(axis=1)
    scale = total / max(1, n * (n - 1)) or 1.0  # of a network that answers all alike
    nearest = nearest[np.isfinite(nearest)]
    if not nearest.size:
        return Reference(points, scale, math.nan)
    low, high = np.quantile(nearest, [0.25, 0.75])
    return Reference(points, scale, float(nearest[nearest <= high + 1.5 * (high - low)].max() / scale))


def _apart(windows: Windows, first: NDArray[np.int64], some: slice) -> NDArray[np.bool_]:
    """Return which of some windows end before each window begins, or begin after it ends, (R, n)."""
    end = first + windows.widths
    return (first[some, None] >= end) | (first >= end[some, None])
