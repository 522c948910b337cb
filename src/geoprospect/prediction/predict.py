"""From a trained model to a map."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import asdict
from typing import Any, Literal, Unpack

import geopandas as gpd
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from geoprospect._checks import check_int, check_number, check_shape, user_level
from geoprospect._devices import resolve_device
from geoprospect._settings import with_settings
from geoprospect.errors import DataWarning, InputError
from geoprospect.geochem.samples import Samples
from geoprospect.grid import Grid, grid_of_survey
from geoprospect.gridding.sample_support import Distances, places_on
from geoprospect.io.sources import InMemory, Source
from geoprospect.models._batches import in_batches, on_device
from geoprospect.models._patches import channels_last, gather
from geoprospect.models.applicability import mean_threshold
from geoprospect.models.dense import STRIDES
from geoprospect.models.model import ProspectivityModel, check_fit, check_match, check_model
from geoprospect.models.networks import set_halo
from geoprospect.prediction.engine import (
    Engine,
    Tile,
    bands_of,
    batch_for,
    computing_alike,
    halo_of,
    padded,
    readable,
    ruined,
    tiles,
)
from geoprospect.prediction.settings import MapSettings, Mode, PredictionOptions, PredictionSettings
from geoprospect.stats.calibration import CALIBRATED
from geoprospect.windows.valid_cells import valid_fraction
from geoprospect.windows.windows import Windows

log = logging.getLogger("geoprospect")

_BATCH = 64


def predict(
    model: ProspectivityModel,
    survey: xr.Dataset,
    stride: int | None = None,
    device: str = "auto",
    *,
    samples: Samples | None = None,
    progress: bool = False,
    **settings: Unpack[PredictionOptions],
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
    samples : Samples, optional
        From which the survey was made; the map then has a band ``support``, the distance from the nearest one.
    progress : bool, default False
        Show a progress bar.
    **settings
        Fields of `PredictionSettings`:

        - ``mode`` : {'window', 'dense', 'auto'}, default 'window'. 'window' applies the network to each window alone,
          as training and validation do. 'dense' computes the features of the area once, and averages them within each
          window: many times faster where the stride is a multiple of 8, with another result, because a window is seen
          with its context (`check_dense` compares the two). It needs a stride that is a multiple of 4, and a model
          trained with a `halo`. 'auto' is 'dense' for models with a halo whose own check passed
          (`ProspectivityModel.dense_checked`), else 'window'; the attribute ``mode`` of the map has the choice.
        - ``min_valid`` : float, default 0.5. Windows with a smaller fraction of cells with data are NaN.
        - ``edge`` : {'drop', 'pad'}, default 'drop'. 'drop' leaves out windows that extend beyond the survey, so the
          map is half a window smaller on every side. 'pad' covers the whole survey: cells beyond it count as missing,
          and `min_valid` decides; at 0.5 the windows about the corners remain NaN.
        - ``more`` : sequence of {'logit', 'n_models', 'activation'}. Further bands. ``logit`` is the log odds of ore,
          the mean over the models, which does not saturate as the probability does. ``n_models`` counts the models
          that gave an answer. ``activation`` is the part of the logit from the middle of the window, in mode 'dense'.
        - ``precision`` : {'auto', 'float32'}. 'auto' computes features in bfloat16 on a GPU, in float32 on the CPU.

    Returns
    -------
    xarray.Dataset
        On the grid of the window centres (see `Grid.strided`): ``probability`` of ore in the window
        about the cell, the mean over the models, uncalibrated; ``valid``, the share of cells
        with data; with several models ``std``, their standard deviation; where the model carries a
        calibration, ``calibrated``; where it knows the features of its training windows
        (`ProspectivityModel.with_applicability`), ``dissimilarity`` of the window from them, whose attribute
        ``threshold`` is where the area of applicability ends; and what was asked for. float32, dims (y, x).

    Raises
    ------
    NameNotFoundError, InputError
        When bands are missing, or units or cell size differ from the model's; when `mode` is 'dense' and the stride is
        no multiple of 4, or the network cannot be slid exactly; when there is no such band, or none of the samples
        lies on the map.
    CRSError
        When samples are given and the survey is in degrees.
    DeviceError
        When the device cannot be used.

    Warns
    -----
    DataWarning
        When `mode` is 'dense' and the model was trained without a halo, no window has enough data, or the
        stride leaves a single cell of a survey that is larger than a window.

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
    check_model(model)
    grid_of_survey(survey, others=", map it piece by piece with predict_to_cog", turned=True)
    target, inside = resolve_device(device), InMemory(survey)
    how = map_settings(model, inside, stride, target, with_settings(PredictionSettings(), dict(settings)))
    warn_of_windows_alone(model, how.mode)
    source = padded(inside, model.crop, how)
    grid = source.grid.strided(model.crop, how.stride)
    support = {} if samples is None else {"support": Distances(places_on(samples, grid), grid)[:, :]}
    maps = predicted(model, source, how, target, progress)
    bands, whole = attributes(model, source.grid, how)
    result = grid.dataset(maps | support, bands)
    result.attrs.update(whole)
    warn_of_little(result, model.crop, source.grid, how, stride)
    return result


def warn_of_little(found: xr.Dataset, crop: int, ground: Grid, settings: MapSettings, stride: int | None) -> None:
    """Warn where a map, of NumPy or dask, is empty, or a single cell of much ground."""
    if stride is not None and found["valid"].size == 1 and max(ground.shape) > crop:
        warnings.warn(
            f"stride={stride}: the map is a single cell, the window in the north-west corner, and the survey has "
            f"{ground.shape[0]} x {ground.shape[1]} cells; the stride is in cells of the survey: pass a smaller one, "
            "or leave it out",
            DataWarning,
            stacklevel=user_level(),
        )
    if not bool(found["probability"].notnull().any()):
        most = float(found["valid"].max())
        warnings.warn(
            f"survey: no window has enough data, so the map is empty: at most {most:.0%} of a window have data in all "
            f"bands of the model, min_valid={settings.min_valid:g}; look at where the survey has data"
            + (", or pass a smaller min_valid" if most else ""),
            DataWarning,
            stacklevel=user_level(),
        )


def predicted(
    model: ProspectivityModel, source: Source, settings: MapSettings, device: torch.device, progress: bool
) -> dict[str, NDArray[np.float32]]:
    """Return the bands of a map, whole and in memory; of a survey that is padded already."""
    grid = source.grid.strided(model.crop, settings.stride)
    maps = {name: np.full(grid.shape, np.nan, np.float32) for name in bands_of(model, settings)}
    engine = Engine(model, settings, device)
    total = grid.shape[0] * grid.shape[1]
    bar = tqdm(total=total, desc="predicting", unit="window", disable=not progress)
    with bar, computing_alike(settings):
        for strip in strips_of(model, source, settings):
            for tile, found in engine.run(source, strip, bar.update):
                for name, values in found.items():
                    maps[name][tile.rows, tile.cols] = values
    return maps


def strips_of(model: ProspectivityModel, source: Source, settings: MapSettings) -> list[list[Tile]]:
    """Return the tiles of the map of a survey, by strips."""
    shape = source.grid.strided(model.crop, settings.stride).shape
    a_cell = bytes_per_cell(model)
    return tiles(shape, model.crop, settings, a_cell, readable(source.block, source.grid.shape, a_cell, settings))


def bytes_per_cell(model: ProspectivityModel) -> int:
    """Return the bytes of a cell of scaled ground."""
    return next(model.networks[0].parameters(), torch.zeros(())).element_size() * len(model.bands)


def map_settings(
    model: ProspectivityModel, source: Source, stride: int | None, device: torch.device, chosen: PredictionSettings
) -> MapSettings:
    """Return the settings of a map: those that were chosen, and what follows from the model, survey and device.

    Raises
    ------
    NameNotFoundError, InputError, DeviceError
        As `predict`.
    """
    mode = chosen_mode(model, chosen.mode)
    check_match(model, source.units, source.grid.resolution)
    step = default_stride(model, mode) if stride is None else check_int("stride", stride)
    if chosen.edge == "drop" and model.crop > min(source.grid.shape):
        raise InputError(
            f"survey: has only {source.grid.shape[0]} x {source.grid.shape[1]} cells, and the model sees windows of "
            f"{model.crop}; pass edge='pad', which counts cells beyond the survey as missing"
        )
    return MapSettings(
        **{**asdict(chosen), "mode": mode}, stride=step, device=device.type,
        dtype="bfloat16" if chosen.precision == "auto" and device.type == "cuda" else "float32",
        batch=batch_for(model.crop, device), threads=torch.get_num_threads(),
        halo=halo_of(model, step) if mode == "dense" else 0,
    )  # fmt: skip


def attributes(model: ProspectivityModel, grid: Grid, settings: MapSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes of a map's bands, and those of the map itself; `grid` is the survey's."""
    bands: dict[str, dict[str, Any]] = {
        "probability": {
            "units": "1",
            "long_name": "probability of ore (uncalibrated)",
            "window_width": model.crop * math.sqrt(grid.cell_area),
        },
        "valid": {"units": "1", "long_name": "share of the window with data"},
        "std": {"units": "1", "long_name": "standard deviation of the probability over the models"},
        "calibrated": {
            "units": "1",
            "long_name": CALIBRATED,
            "window_width": model.crop * math.sqrt(grid.cell_area),
            "calibrated": 1,
        },
        "dissimilarity": {
            "units": "1",
            "long_name": "dissimilarity of the features from those of the training windows",
        },
        "logit": {"units": "1", "long_name": "logarithm of the odds of ore, mean over the models"},
        "n_models": {"units": "1", "long_name": "models that gave an answer"},
        "activation": {"units": "1", "long_name": "logarithm of the odds of ore by the middle of the window"},
        "support": {"units": grid.unit, "long_name": "distance to the nearest sample"},
    }
    whole = {
        "network": model.network, "n_models": len(model.networks), "window": model.crop, "stride": settings.stride,
        "mode": settings.mode, "edge": settings.edge, "bands": ", ".join(model.bands), "training_seed": model.seed,
    }  # fmt: skip
    if model.applicability is not None:
        threshold = mean_threshold(model.applicability, settings.mode)
        bands["dissimilarity"]["threshold"] = whole["dissimilarity_threshold"] = threshold
    return bands, whole


def chosen_mode(model: ProspectivityModel, mode: Mode) -> Literal["window", "dense"]:
    """Return the mode; 'auto' becomes 'dense' when the model passed its own check, and the log has the reason."""
    if mode != "auto":
        return mode
    if not model.settings.get("halo"):
        why = "the model was trained without a halo"
    elif model.dense_check is None:
        why = "the model carries no check (model.dense_checked(check_dense(model, survey)))"
    elif not model.dense_check.passed:
        why = model.dense_check.summary
    else:
        log.info("mode='auto': 'dense'. %s", model.dense_check.summary)
        return "dense"
    log.info("mode='auto': 'window', because %s", why)
    return "window"


def warn_of_windows_alone(model: ProspectivityModel, mode: str) -> None:
    """Warn where a model is slid over the ground that never saw a window with its surroundings."""
    if mode == "dense" and not model.settings.get("halo"):
        warnings.warn(
            "mode='dense': the model was trained without a halo, on windows that end at their edge, and has not "
            "learned to see them with their surroundings; train with halo=64, or see with check_dense how far the map "
            "is from that of mode='window'",
            DataWarning,
            stacklevel=user_level(),
        )


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
    check_model(model)
    threshold = check_number("threshold", threshold)
    min_valid = check_number("min_valid", min_valid, minimum=0, maximum=1)
    cells = grid_of_survey(survey, turned=True).cells(*check_shape("shape", shape))
    corner = []
    for start, length, limit in (("row", "height", survey.sizes["y"]), ("col", "width", survey.sizes["x"])):
        if model.crop > limit:
            raise InputError(f"survey: has only {limit} cells in one direction, the model looks at {model.crop}")
        middle = cells[start].to_numpy() + (cells[length].to_numpy() - model.crop) // 2
        corner.append(np.clip(middle, 0, limit - model.crop))
    mean, std, _ = predict_places(model, survey, corner[0], corner[1], device, min_valid, progress=False)
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
    check_fit(model, windows, survey)
    row, col = (np.column_stack([windows.rows, windows.cols]) + windows.central_crop()).T
    mean, _, _ = predict_places(model, survey, row, col, device, 0.0, False, windows.zooms, halo)
    return mean.astype(np.float64)


def predict_places(
    model: ProspectivityModel, survey: xr.Dataset, rows: NDArray[np.int64], cols: NDArray[np.int64], device: str,
    min_valid: float, progress: bool, zooms: NDArray[np.int64] | None = None, halo: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """Return mean and standard deviation of the probability, and the share of data, per place."""
    zooms = np.ones(rows.size, dtype=np.int64) if zooms is None else zooms
    target, crop = resolve_device(device), model.crop
    bands, valid = model.stack(survey)
    share = valid_fraction(valid, rows, cols, crop * zooms).astype(np.float32)
    wanted = np.flatnonzero((share >= min_valid) & (share > 0))
    stack = channels_last(torch.from_numpy(bands).to(target))  # (C, Y, X)
    each = np.full((len(model.networks), rows.size), np.nan, dtype=np.float32)
    total = len(model.networks) * wanted.size
    window = f"one window of {len(bands)} bands of {crop} x {crop} cells"
    with torch.inference_mode(), tqdm(total=total, desc="predicting", unit="window", disable=not progress) as bar:
        for i, network in enumerate(model.networks):

            def run(batch: slice, size: int, network: nn.Module = network) -> NDArray[np.float32]:
                at = wanted[batch]
                row, col = (torch.from_numpy(a[at]).to(target) for a in (rows, cols))
                return ore(network(gather(stack, row, col, crop, zooms=zooms[at], halo=halo)))

            if halo:
                set_halo(network, halo)
            try:
                with on_device(network, target):
                    for batch, found in in_batches(run, wanted.size, _BATCH, target, window):
                        each[i, wanted[batch]] = found
                        bar.update(found.size)
            finally:
                if halo:
                    set_halo(network, 0)
            if not np.isfinite(each[i, wanted]).all():
                raise ruined(i)
    spread = each.std(axis=0, ddof=1) if len(each) > 1 else np.zeros(rows.size, dtype=np.float32)
    return each.mean(axis=0), spread, share


def default_stride(model: ProspectivityModel, mode: str) -> int:
    """Return an eighth of a window, in cells; with mode 'dense' the next multiple of what a trunk can be turned to."""
    eighth = model.size // 8
    return max(STRIDES[0], round(eighth / STRIDES[0]) * STRIDES[0]) if mode == "dense" else max(1, eighth)


def ore(logits: Tensor) -> NDArray[np.float32]:
    """Return the probability of ore from logits (B, 2)."""
    probability: NDArray[np.float32] = torch.softmax(logits.float(), dim=1)[:, 1].cpu().numpy()
    return probability
