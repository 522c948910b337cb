"""From a trained model to a map."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import geopandas as gpd
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn
from tqdm.auto import tqdm

from geoprospect._checks import check_choice, check_int, check_number, check_rng, check_shape
from geoprospect._kernels.devices import resolve_device
from geoprospect._kernels.patches import channels_last, gather
from geoprospect.dense import STRIDES, Dense, slid
from geoprospect.errors import DataWarning, DeviceError, DivergenceError, InputError
from geoprospect.grid import Grid
from geoprospect.metrics import rank_auc
from geoprospect.model import ProspectivityModel
from geoprospect.networks import set_halo
from geoprospect.windows import Windows

log = logging.getLogger("geoprospect")

Mode = Literal["window", "dense"]
_BATCH = 64
# Cells along a side of a tile of dense inference, context included: about 2 GB of resnet50's features.
_TILE, _TILE_AT_4 = 2048, 1024
# From where on two modes are taken for one.
_SAME_RANKS, _CHANGED_SIDES, _LOST_AUC = 0.95, 0.05, 0.02


def predict(
    model: ProspectivityModel,
    survey: xr.Dataset,
    stride: int | None = None,
    device: str = "auto",
    *,
    mode: Mode = "window",
    min_valid: float = 0.5,
    progress: bool = False,
) -> xr.Dataset:
    """Slide the model over a survey and map the probability of ore.

    Parameters
    ----------
    model : ProspectivityModel
        From `train`.
    survey : xarray.Dataset
        Must hold the model's bands in its units and cell size; bands are taken by name.
    stride : int, optional
        Cells between two windows, and the cell size of the map in cells of the survey. Default: an
        eighth of the model's window; with mode 'dense' the multiple of 4 next to it.
    device : str, default 'auto'
        'cpu', 'cuda', 'cuda:1', … ; 'auto' takes a GPU where there is one.
    mode : {'window', 'dense'}, default 'window'
        'window' cuts every window out and asks the network, as training and validation do. 'dense' computes the
        features of the ground once, and of every window the mean over its own: many times faster where the stride is a
        multiple of 8, and another answer, since a window is then seen with its surroundings (`check_dense` compares).
        For models that were trained with a `halo`, and strides that are multiples of 4.
    min_valid : float, default 0.5
        Windows with a smaller share of cells with data are NaN and not computed.
    progress : bool, default False
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        On the grid of the window centres (see `Grid.strided`): ``probability`` of ore in the window
        about the cell, the mean over the models, uncalibrated; ``valid``, the share of cells
        with data; with several models ``std``, their standard deviation. float32, dims (y, x).

    Raises
    ------
    NameNotFoundError, InputError
        When bands are missing, or units or cell size differ from the model's; when `mode` is 'dense' and the stride is
        no multiple of 4, or the network cannot be slid exactly.
    DeviceError
        When the device cannot be used.

    Warns
    -----
    DataWarning
        When `mode` is 'dense' and the model was trained without a halo.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> dict(gp.predict(model, survey, stride=4, device="cpu").sizes)
    {'y': 15, 'x': 15}
    """
    check_choice("mode", mode, get_args(Mode))
    if mode == "dense" and not model.settings.get("halo"):
        warnings.warn(
            "mode='dense': the model was trained without a halo, on windows that end at their edge, and has not "
            "learned to see them with their surroundings; train with halo=64, or see with check_dense how far the map "
            "is from that of mode='window'",
            DataWarning,
            stacklevel=2,
        )
    return _predicted(model, survey, stride, device, mode, min_valid, progress)


def _predicted(
    model: ProspectivityModel, survey: xr.Dataset, stride: int | None, device: str, mode: Mode, min_valid: float,
    progress: bool,
) -> xr.Dataset:  # fmt: skip
    step = _default_stride(model, mode) if stride is None else check_int("stride", stride)
    min_valid = check_number("min_valid", min_valid, minimum=0, maximum=1)
    grid = Grid.of(survey).strided(model.crop, step)
    if mode == "dense":
        mean, std, share = _predict_ground(model, survey, grid.shape, step, device, min_valid, progress)
    else:
        rows, cols = (a.ravel() * step for a in np.meshgrid(*map(np.arange, grid.shape), indexing="ij"))
        mean, std, share = _predict_places(model, survey, rows, cols, device, min_valid, progress)
    bands = {"probability": mean, "valid": share}
    attrs: dict[str, dict[str, Any]] = {
        "probability": {
            "units": "1",
            "long_name": "probability of ore (uncalibrated)",
            "window_width": model.crop * max(Grid.of(survey).resolution),
        },
        "valid": {"units": "1", "long_name": "share of the window with data"},
        "std": {"units": "1", "long_name": "standard deviation of the probability over the models"},
    }
    if len(model.networks) > 1:
        bands["std"] = std
    result = grid.dataset({name: band.reshape(grid.shape) for name, band in bands.items()}, attrs)
    result.attrs.update(
        network=model.network,
        n_models=len(model.networks),
        window=model.crop,
        stride=step,
        mode=mode,
        bands=", ".join(model.bands),
        training_seed=model.seed,
    )
    return result


def predict_cells(
    model: ProspectivityModel,
    survey: xr.Dataset,
    shape: tuple[int, int] = (12, 12),
    device: str = "auto",
    *,
    threshold: float = 0.5,
    min_valid: float = 0.5,
) -> gpd.GeoDataFrame:
    """Cut a survey into numbered cells and predict each from the crop at its middle.

    This is the map of Gao et al. [1]_: 12 x 12 cells, numbered row by row from the north-west.

    Parameters
    ----------
    model : ProspectivityModel
        From `train`.
    survey : xarray.Dataset
        As in `predict`.
    shape : tuple of int, default (12, 12)
        Rows and columns of cells. The paper's cells are as wide as its windows.
    device : str, default 'auto'
        As in `predict`.
    threshold : float, default 0.5
        Probability from which a cell is labelled ore.
    min_valid : float, default 0.5
        Cells with a smaller share of data have no probability.

    Returns
    -------
    GeoDataFrame
        The rectangles of `Grid.cells` with ``probability``, ``std`` where there are several models,
        and ``label`` (1 ore, 0 barren; <NA> without data).

    Raises
    ------
    InputError
        When the crop of the model is larger than the survey, or bands do not match.

    References
    ----------
    .. [1] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> len(gp.predict_cells(model, survey, shape=(8, 8), device="cpu"))
    64
    """
    threshold = check_number("threshold", threshold)
    min_valid = check_number("min_valid", min_valid, minimum=0, maximum=1)
    cells = Grid.of(survey).cells(*check_shape("shape", shape))
    corner = []
    for start, length, limit in (("row", "height", survey.sizes["y"]), ("col", "width", survey.sizes["x"])):
        if model.crop > limit:
            raise InputError(f"survey: has only {limit} cells in one direction, the model looks at {model.crop}")
        middle = cells[start].to_numpy() + (cells[length].to_numpy() - model.crop) // 2
        corner.append(np.clip(middle, 0, limit - model.crop))
    mean, std, _ = _predict_places(model, survey, corner[0], corner[1], device, min_valid, progress=False)
    cells["probability"] = mean.astype(np.float64)
    if len(model.networks) > 1:
        cells["std"] = std.astype(np.float64)
    label = (cells["probability"] >= threshold).astype("Int8")
    cells["label"] = label.mask(cells["probability"].isna())
    return cells


def predict_windows(
    model: ProspectivityModel, survey: xr.Dataset, windows: Windows, device: str = "auto", *, halo: int = 0
) -> NDArray[np.float64]:
    """Predict windows from their central crop, as validation does.

    A window of zoom z is seen as in training: each cell the mean of z x z cells of the survey.

    Parameters
    ----------
    model : ProspectivityModel
        From `train`.
    survey : xarray.Dataset
        As in `predict`, on the grid of `windows`.
    windows : Windows
        Of the model's crop.
    device : str, default 'auto'
        As in `predict`.
    halo : int, default 0
        Cells of context that the network sees on every side of the crop, a multiple of 32; for models
        that were trained with a halo. Off the survey the context is 0, the mean of training.

    Returns
    -------
    ndarray of shape (n_windows,)
        Probability of ore, the mean over the models; NaN where the crop has no data at all.

    Raises
    ------
    InputError
        When grid or crop differ, or `halo` is no multiple of 32.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> gp.predict_windows(model, survey, windows[:3], device="cpu").shape
    (3,)
    """
    halo = check_int("halo", halo, 0)
    if windows.crop != model.crop or windows.grid != Grid.of(survey):
        raise InputError(f"windows: {windows} do not fit the model (crop {model.crop}) on {Grid.of(survey)}")
    row, col = (np.column_stack([windows.rows, windows.cols]) + windows.central_crop()).T
    mean, _, _ = _predict_places(model, survey, row, col, device, 0.0, False, windows.zooms, halo)
    return mean.astype(np.float64)


@dataclass(frozen=True)
class DenseCheck:
    """How far the two modes of `predict` are apart on a survey.

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
    >>> from geoprospect import DenseCheck
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


def check_dense(
    model: ProspectivityModel,
    survey: xr.Dataset,
    stride: int | None = None,
    deposits: gpd.GeoDataFrame | None = None,
    n: int = 1000,
    device: str = "auto",
    rng: int | np.random.Generator | None = None,
    *,
    min_valid: float = 0.5,
) -> DenseCheck:
    """Compare ``predict(mode="dense")`` with windows that are cut out, on the same survey.

    Parameters
    ----------
    model, survey, device, min_valid
        As in `predict`.
    stride : int, optional
        Multiple of 4 cells. Default: as in `predict`.
    deposits : GeoDataFrame, optional
        Points; all windows that hold one are compared, and an AUC is given for both modes.
    n : int, default 1000
        Windows that are taken at random besides.
    rng : int, Generator or None
        Draws them.

    Returns
    -------
    DenseCheck

    Raises
    ------
    InputError
        As `predict`, and when fewer than two windows have data.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, halo=32, device="cpu", rng=0)
    >>> check = gp.check_dense(model, survey, stride=4, deposits=area.deposits, n=50, device="cpu", rng=0)
    >>> print(check.summary)
    The dense map ... the one by windows: over ...
    """
    step = _default_stride(model, "dense") if stride is None else check_int("stride", stride)
    n, draws = check_int("n", n, 2), check_rng(rng)
    ground = _predicted(model, survey, step, device, "dense", min_valid, progress=False).probability.to_numpy()
    known = np.isfinite(ground)
    if known.sum() < 2:
        raise InputError(
            f"survey: {int(known.sum())} windows have min_valid={min_valid:g} of their cells with data, two are "
            "needed; take a smaller stride or min_valid, or more ground"
        )
    holds = np.zeros(ground.shape, dtype=bool)
    if deposits is not None:
        grid = Grid.of(survey)
        x, y = grid.points(deposits.geometry)
        for row, col in np.column_stack(grid.rowcol(x, y))[grid.contains(x, y)]:
            first = (max(0, -(-(at - model.crop + 1) // step)) for at in (row, col))
            holds[tuple(slice(low, at // step + 1) for low, at in zip(first, (row, col), strict=True))] = True
    others = np.flatnonzero(known & ~holds)
    chosen = np.union1d(np.flatnonzero(known & holds), draws.choice(others, min(n, others.size), replace=False))
    row, col = np.unravel_index(chosen, ground.shape)
    alone, _, _ = _predict_places(model, survey, row * step, col * step, device, min_valid, progress=False)
    on_ground, label = ground.ravel()[chosen], holds.ravel()[chosen]
    gap, both = np.abs(alone - on_ground), label.any() and not label.all()
    differ = np.ptp(alone) > 0 and np.ptp(on_ground) > 0
    return DenseCheck(
        n=chosen.size,
        mean_difference=float(gap.mean()),
        difference_99=float(np.quantile(gap, 0.99)),
        largest_difference=float(gap.max()),
        change_side=float(np.mean((alone > 0.5) != (on_ground > 0.5))),
        rank_correlation=float(spearmanr(alone, on_ground).statistic) if differ else math.nan,
        auc_window=rank_auc(label, alone) if both else math.nan,
        auc_dense=rank_auc(label, on_ground) if both else math.nan,
    )


def _predict_places(
    model: ProspectivityModel, survey: xr.Dataset, rows: NDArray[np.int64], cols: NDArray[np.int64], device: str,
    min_valid: float, progress: bool, zooms: NDArray[np.int64] | None = None, halo: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """Return mean and standard deviation of the probability, and the share of data, per place."""
    zooms = np.ones(rows.size, dtype=np.int64) if zooms is None else zooms
    target = resolve_device(device)
    bands, valid = model.stack(survey)
    share = _share_valid(valid, rows, cols, model.crop * zooms)
    wanted = np.flatnonzero((share >= min_valid) & (share > 0))
    stack = channels_last(torch.from_numpy(bands).to(target))  # (C, Y, X)
    places = (rows[wanted], cols[wanted], zooms[wanted])
    each = np.full((len(model.networks), rows.size), np.nan, dtype=np.float32)
    total = len(model.networks) * wanted.size
    with torch.inference_mode(), tqdm(total=total, desc="predicting", unit="window", disable=not progress) as bar:
        for i, network in enumerate(model.networks):
            try:
                with _context(network, halo):
                    each[i, wanted] = _ore(network.to(target), stack, places, model.crop, halo, bar)
            finally:
                network.cpu()
            if not np.isfinite(each[i, wanted]).all():
                raise _ruined(i)
    return *_summed_up(each), share


def _summed_up(each: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation over the networks."""
    spread = each.std(axis=0, ddof=1) if len(each) > 1 else np.zeros(each.shape[1:], dtype=np.float32)
    return each.mean(axis=0), spread


def _predict_ground(
    model: ProspectivityModel, survey: xr.Dataset, shape: tuple[int, int], step: int, device: str, min_valid: float,
    progress: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """Return mean and standard deviation of the probability, and the share of data, from features of the ground."""
    trunk_stride = next((stride for stride in sorted(STRIDES, reverse=True) if step % stride == 0), None)
    if trunk_stride is None:
        raise InputError(
            f"stride={step}: mode='dense' takes multiples of {STRIDES[0]} cells; take stride={_near(step)}, or "
            "mode='window'"
        )
    target = resolve_device(device)
    bands, valid = model.stack(survey)
    rows, cols = (a.ravel() * step for a in np.meshgrid(*map(np.arange, shape), indexing="ij"))
    share = _share_valid(valid, rows, cols, model.crop)
    wanted = ((share >= min_valid) & (share > 0)).reshape(shape)
    stack = torch.from_numpy(bands)
    each = np.full((len(model.networks), *shape), np.nan, dtype=np.float32)
    total = len(model.networks) * int(wanted.sum())
    with torch.inference_mode(), tqdm(total=total, desc="predicting", unit="window", disable=not progress) as bar:
        for i, network in enumerate(model.networks):
            dense = slid(network, model.crop, trunk_stride)
            dense = dense.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
            todo = _tiles(shape, step, dense)
            while todo:
                tile = todo.pop()
                if not wanted[tile].any():
                    continue
                found = _ore_of_ground(dense, stack, tile, step, target)
                if found is None:
                    # Here, because inside of `except` the traceback still holds what is to be freed.
                    torch.cuda.empty_cache()
                    todo += _quarters(tile)
                    continue
                each[i][tile] = found
                bar.update(int(wanted[tile].sum()))
            if not np.isfinite(each[i][wanted]).all():
                raise _ruined(i)
    each[:, ~wanted] = np.nan
    return *_summed_up(each), share


def _tiles(shape: tuple[int, int], step: int, dense: Dense) -> list[tuple[slice, slice]]:
    """Cut the windows of a map into tiles of some GB of features, of which less than half is context."""
    about = 2 * dense.halo + dense.crop
    side = max(_TILE_AT_4 if dense.stride == STRIDES[0] else _TILE, 2 * about)
    n = (side - about) // step + 1
    starts = itertools.product(range(0, shape[0], n), range(0, shape[1], n))
    return [(slice(row, min(row + n, shape[0])), slice(col, min(col + n, shape[1]))) for row, col in starts]


def _quarters(tile: tuple[slice, slice]) -> list[tuple[slice, slice]]:
    rows, cols = (
        [slice(at.start, middle), slice(middle, at.stop)] if (middle := (at.start + at.stop) // 2) > at.start else [at]
        for at in tile
    )
    return list(itertools.product(rows, cols))


def _ore_of_ground(
    dense: Dense, stack: Tensor, tile: tuple[slice, slice], step: int, device: torch.device
) -> NDArray[np.float32] | None:
    """Return the probability of ore of the windows of a tile, (n, m); None where the device has no memory for them."""
    part, context, shape = [], [], []
    for at, length in zip(tile, stack.shape[1:], strict=True):
        first, last = at.start * step, (at.stop - 1) * step + dense.crop
        start = max(0, first - dense.halo)
        part.append(slice(start, min(length, last + dense.halo)))
        context.append(first - start)
        shape.append((at.stop - 1 - at.start) * step // dense.stride + 1)
    ground = stack[:, part[0], part[1]]
    try:
        cells = ground.to(device)[None].contiguous(memory_format=torch.channels_last)
        logits = dense(cells, (context[0], context[1]), (shape[0], shape[1]))[0].float()
    except torch.OutOfMemoryError as err:
        if all(at.stop - at.start == 1 for at in tile):
            raise DeviceError(
                f"device={str(device)!r}: has no memory for one window of {dense.crop} cells with {dense.halo} cells "
                f"of context; close other programs, pass device='cpu', or mode='window' ({err})"
            ) from err
        log.info("the device has no memory for a tile of %d x %d cells; it is cut into quarters", *ground.shape[1:])
        return None
    ore: NDArray[np.float32] = torch.softmax(logits, dim=0)[1].cpu().numpy()
    sparse = step // dense.stride
    return ore[::sparse, ::sparse]


def _default_stride(model: ProspectivityModel, mode: Mode) -> int:
    return _near(model.size // 8) if mode == "dense" else max(1, model.size // 8)


def _near(step: int) -> int:
    """Return the next multiple of the smallest stride of a trunk."""
    return max(STRIDES[0], round(step / STRIDES[0]) * STRIDES[0])


def _ruined(number: int) -> DivergenceError:
    return DivergenceError(
        f"model: network {number} gives values that are not finite; it was ruined in training; train again with a "
        "smaller lr or a larger batch"
    )


@contextlib.contextmanager
def _context(network: nn.Module, halo: int) -> Iterator[None]:
    """Have the network cut the features of the context off, and take it back afterwards."""
    if halo:
        set_halo(network, halo)
    try:
        yield
    finally:
        if halo:
            set_halo(network, 0)


def _ore(
    net: nn.Module, stack: Tensor, places: tuple[NDArray[np.int64], ...], crop: int, halo: int, bar: tqdm
) -> NDArray[np.float32]:
    """Return the probability of ore per place; where memory runs out, go on with half the batch."""
    rows, cols, zooms = places
    result = np.empty(rows.size, dtype=np.float32)
    start, batch = 0, _BATCH
    while start < rows.size:
        at = slice(start, start + batch)
        row, col = (torch.from_numpy(a[at]).to(stack.device) for a in (rows, cols))
        try:
            logits = net(gather(stack, row, col, crop, zooms=zooms[at], halo=halo))  # (B, 2)
            result[at] = torch.softmax(logits.float(), dim=1)[:, 1].cpu().numpy()
        except torch.OutOfMemoryError as err:
            if batch == 1:
                raise DeviceError(
                    f"device={str(stack.device)!r}: has no memory for one window of {stack.shape[0]} bands of {crop} x "
                    f"{crop} cells beside the survey; close other programs, or pass device='cpu' ({err})"
                ) from err
            batch //= 2
        else:
            start += row.numel()
            bar.update(row.numel())
            continue
        # Here, because inside of `except` the traceback still holds what is to be freed.
        log.info("the device has no memory for %d windows at once; trying %d", 2 * batch, batch)
        torch.cuda.empty_cache()
    return result


def _share_valid(
    valid: NDArray[np.bool_], rows: NDArray[np.int64], cols: NDArray[np.int64], crop: int | NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the share of cells with data in the crop at each place, from a summed table."""
    total = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(valid, axis=0), axis=1, out=total[1:, 1:])
    bottom, right = rows + crop, cols + crop
    count = total[bottom, right] - total[rows, right] - total[bottom, cols] + total[rows, cols]
    share: NDArray[np.float32] = (count / crop**2).astype(np.float32)
    return share
