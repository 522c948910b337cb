"""Whether a map by the features of the ground can stand for one by windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from geoprospect._checks import check_int, check_rng
from geoprospect._kernels.devices import resolve_device
from geoprospect.errors import InputError
from geoprospect.grid import Grid
from geoprospect.inference import predict_places, predicted, settings_for
from geoprospect.metrics import rank_auc
from geoprospect.model import ProspectivityModel
from geoprospect.sources import InMemory

# From where on two modes are taken for one.
_SAME_RANKS, _CHANGED_SIDES, _LOST_AUC = 0.95, 0.05, 0.02


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
    n, draws = check_int("n", n, 2), check_rng(rng)
    target, source = resolve_device(device), InMemory(survey)
    settings = settings_for(model, source, stride, "dense", min_valid, target, "float32")
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
