"""Whether a map by the features of the ground can stand for one by windows."""

from __future__ import annotations

import math

import geopandas as gpd
import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from geoprospect._checks import check_int, check_rng
from geoprospect._devices import resolve_device
from geoprospect.errors import InputError
from geoprospect.grid import Grid
from geoprospect.io.sources import InMemory
from geoprospect.models.dense import DenseCheck
from geoprospect.models.model import ProspectivityModel
from geoprospect.prediction.engine import computing_alike
from geoprospect.prediction.predict import map_settings, predict_places, predicted
from geoprospect.prediction.settings import PredictionSettings
from geoprospect.stats.metrics import rank_auc


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
        A model carries one from ``model.dense_checked(check)`` on, for ``predict(mode="auto")``.

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
    n, draws = check_int("n", n, 2), check_rng(rng)
    target, source = resolve_device(device), InMemory(survey)
    settings = map_settings(
        model, source, stride, target, PredictionSettings(mode="dense", min_valid=min_valid, precision="float32")
    )
    ground, step = predicted(model, source, settings, target, progress=False)["probability"], settings.stride
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
    with computing_alike(settings):
        alone, _, _ = predict_places(model, survey, row * step, col * step, device, min_valid, progress=False)
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
