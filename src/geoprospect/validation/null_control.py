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
from geoprospect.grid import Grid, grid_of_survey
from geoprospect.io.deposits import check_deposits
from geoprospect.validation.cross_validation import cross_validate
from geoprospect.windows.sampling import sample_windows
from geoprospect.windows.valid_cells import cells_with_data

_LEVEL = 0.95
# Share of the deposits that must land on ground with data for a shift to count, and how often one is looked for.
_LANDED = 0.8
_TRIES = 1000


@dataclass(frozen=True, eq=False)
class NullControl:
    """What cross-validation says of deposits that the bands cannot know.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per shifted pattern: ``auc``, ``low`` and ``high`` on separate ground, ``covers`` (the
        interval holds 0.5), the same of the paper's protocol (``paper_auc``, ``paper_low``,
        ``paper_high``, ``paper_covers``) with its ``overlap``, and ``n_deposits`` and ``n_clusters``.
    skipped : int
        Patterns that left no separate ground, and were replaced by others.

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
        """Share of the patterns whose 95 % interval holds 0.5."""
        return float(self.table["covers"].mean())

    @property
    def summary(self) -> str:
        """Say in two sentences what the two protocols make of nothing."""
        n, t = len(self.table), self.table
        low, high = binom.interval(0.95, n, _LEVEL)
        return (
            f"On {n} patterns of deposits that the bands cannot know, separate ground gives a mean AUC of "
            f"{t['auc'].mean():.3f}, and its 95 % intervals hold 0.5 in {int(t['covers'].sum())} of {n} "
            f"({low:.0f} to {high:.0f} would be chance). The paper's protocol gives {t['paper_auc'].mean():.3f} on the "
            f"same data, and its intervals hold 0.5 in {int(t['paper_covers'].sum())}."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        return self.table.copy()

    def __repr__(self) -> str:
        """The sentences."""
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
    """Cross-validate with deposits shifted at random: what the same machinery makes of nothing.

    The pattern of deposits is shifted as a whole over the survey, which it leaves on one side and enters on
    the other; its clusters stay, and whatever the bands knew of it is gone. A protocol that then reports
    more than chance reports its own memory.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands with dims (y, x).
    deposits : GeoDataFrame
        Points.
    network : str, default 'resnet50'
        As in `train`.
    n : int, default 20
        Number of shifts; each is one whole cross-validation.
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
        AUC and interval of every shift, on separate ground and by the paper's protocol.

    Raises
    ------
    InputError
        When no shift leaves the deposits on ground with data and with separate ground, or `windows` holds what
        `sample_windows` does not know.

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
        raise InputError("deposits: none lies on the grid of the survey; are both CRS right?")
    data = cells_with_data(survey, grid)
    rows: list[dict[str, Any]] = []
    skipped = 0
    with tqdm(total=n, desc="null control", unit="pattern", disable=not progress) as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # of deposits at edges, of each of the shifts
        while len(rows) < n:
            moved = _shifted(points, grid, data, generator)
            try:
                rows.append(_one_pattern(survey, moved, network, cut, settings, generator))
                bar.update()
            except SeparationError as err:
                skipped += 1
                if skipped > 2 * n:
                    raise InputError(
                        f"deposits: {skipped} of {skipped + len(rows)} shifts leave no separate ground ({err})"
                    ) from err
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


def _shifted(
    points: NDArray[np.float64], grid: Grid, data: NDArray[np.bool_], rng: np.random.Generator
) -> gpd.GeoDataFrame:
    """Return the deposits moved as one over the ground, those that land where there are data."""
    left, bottom, right, top = grid.bounds
    corner, extent = np.array([left, bottom]), np.array([right - left, top - bottom])
    for _ in range(_TRIES):
        # At least a tenth of the ground to one side, or the pattern lies where it lay.
        shift = rng.uniform(0, 1, 2)
        if (np.minimum(shift, 1 - shift) < 0.1).all():
            continue
        moved = corner + np.mod(points - corner + shift * extent, extent)
        row, col = grid.rowcol(*moved.T)
        landed = data[np.clip(row, 0, grid.shape[0] - 1), np.clip(col, 0, grid.shape[1] - 1)]
        if landed.mean() >= _LANDED:
            return gpd.GeoDataFrame(geometry=gpd.points_from_xy(*moved[landed].T), crs=grid.crs)
    raise InputError(
        f"deposits: none of {_TRIES} shifts leaves {_LANDED:.0%} of them on ground with data; clip the survey to "
        "where it has data"
    )
