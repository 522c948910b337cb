"""Cross-validation with randomly shifted deposits, which the bands cannot predict."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import binom
from tqdm.auto import tqdm

from geoprospect._checks import check_arguments, check_int, check_rng
from geoprospect.errors import DataWarning, InputError, SeparationError
from geoprospect.grid import grid_of_survey
from geoprospect.io.deposits import check_deposits
from geoprospect.screening.shifts import random_shifts
from geoprospect.validation.cross_validation import cross_validate
from geoprospect.windows.sampling import sample_windows
from geoprospect.windows.valid_cells import cells_with_data

_LEVEL = 0.95
# Smallest shift in x or in y, as a fraction of the survey: after a smaller one the bands still predict the deposits.
_APART = 0.1
# Shifts per pattern: so many may leave too few windows for separate folds.
_SPARE = 3


@dataclass(frozen=True, eq=False)
class NullControl:
    """Cross-validation scores of randomly shifted deposits, which the bands cannot predict.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per shifted pattern: ``auc``, ``low`` and ``high`` of spatially separated folds, ``covers``
        (the interval contains 0.5), the same of the paper's protocol (``paper_auc``, ``paper_low``,
        ``paper_high``, ``paper_covers``) with its ``overlap``, and ``n_deposits`` and ``n_clusters``.
    skipped : int
        Patterns that did not allow separate folds, and were replaced by others.

    Examples
    --------
    >>> import pandas as pd
    >>> import geoprospect as gp
    >>> frame = pd.DataFrame({"auc": [0.5, 0.6], "covers": [True, True], "paper_auc": 0.9, "paper_covers": False})
    >>> NullControl(frame, 0).coverage
    1.0
    """

    table: pd.DataFrame
    skipped: int

    @property
    def coverage(self) -> float:
        """Fraction of the patterns whose 95 % interval contains 0.5."""
        return float(self.table["covers"].mean())

    @property
    def summary(self) -> str:
        """What the two protocols report without any signal, in three sentences."""
        n, t = len(self.table), self.table
        low, high = binom.interval(0.95, n, _LEVEL)
        return (
            f"On {n} random shifts of the deposits, spatially separated folds give a mean AUC of "
            f"{t['auc'].mean():.3f}, and {int(t['covers'].sum())} of {n} 95 % intervals contain 0.5. "
            f"By chance, {low:.0f} to {high:.0f} would contain it. "
            f"The paper's protocol gives a mean AUC of {t['paper_auc'].mean():.3f} on the same data, and "
            f"{int(t['paper_covers'].sum())} of its intervals contain 0.5."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        return self.table.copy()

    def __repr__(self) -> str:
        """Number of patterns and summary."""
        return f"NullControl({len(self.table)} patterns)\n{self.summary}"


def null_control(
    survey: xr.Dataset,
    deposits: gpd.GeoDataFrame,
    network: str = "resnet50",
    n: int = 20,
    rng: int | np.random.Generator | None = None,
    *,
    windows: Mapping[str, Any] | None = None,
    progress: bool = False,
    **settings: Any,
) -> NullControl:
    """Cross-validate with randomly shifted deposits, to measure what a protocol reports without any signal.

    Each pattern is a random shift of all deposits together, as in the test of `screen`: the clusters
    stay, deposits that leave the cells with data are dropped, and the relation to the bands is lost [1]_.
    Shifts are at least a tenth of the survey in x or in y. A protocol that reports an AUC well above 0.5
    for such patterns measures spatial leakage.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands with dims (y, x).
    deposits : GeoDataFrame
        Points.
    network : str, default 'resnet50'
        As in `train`.
    n : int, default 20
        Number of patterns; each needs one complete cross-validation.
    rng : int, Generator or None
        Draws shifts, windows and trainings.
    windows : mapping, optional
        Arguments of `sample_windows`: size, crop, n_ore, …
    progress : bool, default False
        Show a progress bar.
    **settings
        Further arguments of `cross_validate`: folds, epochs, screen, device, …

    Returns
    -------
    NullControl
        AUC and interval of every pattern, with spatially separated folds and by the paper's protocol.

    Raises
    ------
    InputError
        When no deposit is on the grid, too few shifts keep deposits on cells with data and allow separate
        folds, or `windows` has a key that is not an argument of `sample_windows`.

    References
    ----------
    .. [1] Mrkvička, T., Dvořák, J., González, J. A. & Mateu, J. (2021). Revisiting the random shift
       approach for testing in spatial statistics. Spatial Statistics 42, 100430.
       https://doi.org/10.1016/j.spasta.2020.100430

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), signal=0, rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> control = gp.null_control(
    ...     survey, area.deposits, "resnet18", n=2, rng=0, folds=2, epochs=1, device="cpu",
    ...     windows={"size": 8, "crop": 7, "n_ore": 40, "n_barren": 60},
    ... )
    >>> len(control.table)
    2
    """
    n, generator = check_int("n", n), check_rng(rng)
    grid, own = grid_of_survey(survey), ("survey", "deposits", "rng")
    cut = check_arguments("windows", {} if windows is None else windows, sample_windows, own, "{'size': 8, 'crop': 7}")
    check_deposits(deposits)
    settings = {"baselines": {}, "map_stride": 0, **settings, "paper_protocol": True}
    x, y = grid.points(deposits.geometry)
    points = np.column_stack([x, y])[grid.contains(x, y)]
    if not len(points):
        raise InputError("deposits: none is on the grid of the survey; are both CRS right?")
    data, (left, bottom, right, top) = cells_with_data(survey, grid), grid.bounds

    def place_of(points: NDArray[np.float64]) -> NDArray[np.int64]:
        inside = grid.contains(*points.T)
        row, col = (np.where(inside, index, 0) for index in grid.rowcol(*points.T))
        return np.where(inside & data[row, col], row * grid.shape[1] + col, -1)

    shifts, places = random_shifts(points, (right - left, top - bottom), place_of, _SPARE * n, generator, _APART)
    rows: list[dict[str, Any]] = []
    skipped, why = 0, ""
    with tqdm(total=n, desc="null control", unit="pattern", disable=not progress) as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # of deposits at edges, of each of the shifts
        for shift, place in zip(shifts, places, strict=True):
            if len(rows) == n:
                break
            moved = gpd.GeoDataFrame(geometry=gpd.points_from_xy(*(points[place >= 0] + shift).T), crs=grid.crs)
            try:
                rows.append(_one_pattern(survey, moved, network, cut, settings, generator))
                bar.update()
            except SeparationError as err:
                skipped, why = skipped + 1, f" ({err})"
    if len(rows) < n:
        raise InputError(
            f"n={n}: of {len(shifts)} random shifts only {len(rows)} keep deposits on cells with data and leave "
            f"separate folds{why}; pass a smaller n, smaller windows, or a survey clipped to its data"
        )
    return NullControl(pd.DataFrame(rows, index=pd.RangeIndex(n, name="pattern")), skipped)


def _one_pattern(
    survey: xr.Dataset, deposits: gpd.GeoDataFrame, network: str, cut: dict[str, Any], settings: dict[str, Any],
    generator: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """Return one row of the table."""
    seed = int(generator.integers(2**31))
    scores = cross_validate(sample_windows(survey, deposits, rng=seed, **cut), survey, network, rng=seed, **settings)
    row, paper = scores.table.iloc[0], scores.paper
    if paper is None:
        raise AssertionError("the paper's protocol was asked for")
    return {
        "auc": row["auc"], "low": row["low"], "high": row["high"], "covers": row["low"] <= 0.5 <= row["high"],
        "paper_auc": paper["auc"], "paper_low": paper["low"], "paper_high": paper["high"],
        "paper_covers": paper["low"] <= 0.5 <= paper["high"], "overlap": paper["overlap"],
        "n_deposits": len(deposits), "n_clusters": scores.n_clusters,
    }  # fmt: skip
