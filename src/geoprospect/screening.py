"""Which elements know where the ore is."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from geoprospect._checks import check_choice, check_int, check_number, check_rng, first_rows
from geoprospect.errors import DataWarning, InputError
from geoprospect.grid import Grid
from geoprospect.metrics import rank_auc, z_auc

# Fewer ore cells than this make no normal distribution.
_FEW = 5


def screen(
    survey: xr.Dataset,
    deposits: gpd.GeoDataFrame,
    alpha: float = 0.01,
    rng: int | np.random.Generator | None = 0,
    *,
    rule: Literal["holm", "gao2022"] = "holm",
    n_barren: int = 2000,
) -> pd.DataFrame:
    """Rank the bands by how well they tell deposits from random ground.

    Each band is scored by the rank AUC of its values in the cells that hold a deposit against
    those in random cells that hold none, with Hanley and McNeil's standard error [1]_ and
    Z_AUC = (AUC - 0.5)/SE. This is a measure of scores; Gao et al. [2]_ use hard labels of a
    support vector machine in the same formula.

    Deposits lie in clusters and concentrations are alike nearby, so the points are not
    independent and the p values are too small: read the order rather than the numbers.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands with dims (y, x); NaN where there are no data.
    deposits : GeoDataFrame
        Points; those that share a cell count once, those off the grid do not count.
    alpha : float, default 0.01
        Level of the selection.
    rng : int, Generator or None, default 0
        Draws the barren cells.
    rule : {'holm', 'gao2022'}, default 'holm'
        What selects: the two-sided p after Holm's correction over all bands [3]_, or, as in the
        paper, an uncorrected Z_AUC of at least 2.58 (for alpha = 0.01) and only where ore is
        enriched.
    n_barren : int, default 2000
        Number of barren cells to draw; all of them where there are fewer.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``element``, the highest abs(z_auc) first: ``auc`` (below 0.5 where ore is
        depleted), ``se``, ``z_auc``, ``p`` (two-sided), ``p_holm``, ``direction``, ``n_ore``,
        ``n_barren``, ``selected``. Bands that are constant or lack values at the deposits are not
        scorable: NaN and not selected.

    Raises
    ------
    InputError
        When no deposit lies on the grid, or no ground is left for barren cells.

    References
    ----------
    .. [1] Hanley, J. A. & McNeil, B. J. (1982). https://doi.org/10.1148/radiology.143.1.7063747
    .. [2] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433
    .. [3] Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian
       Journal of Statistics 6, 65-70. https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> import geopandas as gpd
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 2000), (20, 20))
    >>> east = np.tile(np.arange(20.0), (20, 1))
    >>> survey = grid.dataset({"Cu": east, "F": east.T})
    >>> places = gpd.points_from_xy([1850, 1950, 1950, 1850, 1750], [150, 950, 1850, 450, 1450])
    >>> mines = gpd.GeoDataFrame(geometry=places, crs=32649)
    >>> gp.screen(survey, mines)[["auc", "direction", "selected"]].round(2)
              auc direction  selected
    element
    Cu       0.94  enriched      True
    F        0.52  enriched     False
    """
    alpha = check_number("alpha", alpha, above=0, maximum=1)
    check_choice("rule", rule, ("holm", "gao2022"))
    points = screening_points(survey, deposits, rng, n_barren=n_barren)
    rows = [(name, *_score(*labelled)) for name, labelled in points.items()]
    columns = ["element", "auc", "se", "z_auc", "p", "direction", "n_ore", "n_barren"]
    ranking = pd.DataFrame(rows, columns=columns).set_index("element")
    ranking.insert(4, "p_holm", _holm(ranking["p"].to_numpy()))
    if rule == "holm":
        ranking["selected"] = ranking["p_holm"] <= alpha
    else:
        ranking["selected"] = ranking["z_auc"] >= round(float(norm.isf(alpha / 2)), 2)
    return ranking.sort_values("z_auc", key=lambda z: -z.abs(), kind="stable", na_position="last")


def screening_points(
    survey: xr.Dataset,
    deposits: gpd.GeoDataFrame,
    rng: int | np.random.Generator | None = 0,
    *,
    n_barren: int = 2000,
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return what `screen` scores: for every band the labels and values of its ore and barren cells.

    Parameters
    ----------
    survey, deposits, rng, n_barren
        As in `screen`; the same `rng` gives the same cells.

    Returns
    -------
    dict of str to (labels, values)
        Arrays of shape (n,): 1 for cells that hold a deposit, 0 for barren ones, and the values of the
        band there; cells without data are left out.

    Raises
    ------
    InputError
        As in `screen`.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)
    >>> labels, values = gp.screening_points(survey, area.deposits, n_barren=500)["Cu"]
    >>> round(gp.rank_auc(labels, values), 3) == gp.screen(survey, area.deposits, n_barren=500).auc["Cu"].round(3)
    np.True_
    """
    generator, grid = check_rng(rng), Grid.of(survey)
    names = [str(name) for name, band in survey.data_vars.items() if set(band.dims) == {"y", "x"}]
    if not names:
        raise InputError("survey: has no band with dims (y, x)")
    ore = ore_cells(grid, deposits)
    barren = _draw_barren(survey, names, ore, check_int("n_barren", n_barren), generator)
    if ore.size < _FEW:
        warnings.warn(
            f"deposits: only {ore.size} cells hold one; standard errors and p values mean little below {_FEW}",
            DataWarning,
            stacklevel=3,
        )
    cells = np.concatenate([ore, barren])
    labels = np.repeat([1, 0], [ore.size, barren.size])
    points = {}
    for name in names:
        values = survey[name].transpose("y", "x").to_numpy().ravel()[cells].astype(np.float64)
        present = np.isfinite(values)
        points[name] = (labels[present], values[present])
    return points


def ore_cells(grid: Grid, deposits: gpd.GeoDataFrame) -> NDArray[np.int64]:
    """Return the flat indices, ascending, of the cells that hold a deposit."""
    x, y = grid.points(deposits.geometry)
    inside = grid.contains(x, y)
    if not inside.any():
        raise InputError(
            f"deposits: none of the {len(deposits)} lies on the grid {grid.bounds} in {grid.crs.name!r}; "
            "are both CRS right?"
        )
    if not inside.all():
        ids = deposits["id"].to_numpy() if "id" in deposits.columns else np.arange(1, len(deposits) + 1)
        warnings.warn(
            f"deposits: {int((~inside).sum())} lie off the grid and are left out (id {first_rows(ids[~inside])})",
            DataWarning,
            stacklevel=4,
        )
    row, col = grid.rowcol(x[inside], y[inside])
    cells: NDArray[np.int64] = np.unique(row * grid.shape[1] + col)
    return cells


def _draw_barren(
    survey: xr.Dataset, names: list[str], ore: NDArray[np.int64], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw cells without a deposit that have data in some band."""
    ground = np.zeros(survey.sizes["y"] * survey.sizes["x"], dtype=bool)
    for name in names:
        ground |= np.isfinite(survey[name].transpose("y", "x").to_numpy()).ravel()
    ground[ore] = False
    free = np.flatnonzero(ground)
    if not free.size:
        raise InputError("survey: no cell with data lies outside of the deposits, so there is no barren ground")
    drawn: NDArray[np.int64] = free if free.size <= n else np.sort(rng.choice(free, n, replace=False))
    return drawn


def _score(labels: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[float, float, float, float, str, int, int]:
    """Return auc, se, z, two-sided p, direction and the two counts of one band."""
    n_ore = int(labels.sum())
    n_barren = labels.size - n_ore
    if not n_ore or not n_barren or values.min() == values.max():
        return math.nan, math.nan, math.nan, math.nan, "not scorable", n_ore, n_barren
    auc = rank_auc(labels, values)
    se, z = z_auc(auc, n_ore, n_barren)
    return auc, se, z, float(2 * norm.sf(abs(z))), "enriched" if auc >= 0.5 else "depleted", n_ore, n_barren


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p values corrected for their number; NaN stays and does not count."""
    order = np.argsort(p)  # NaN last
    m = int(np.isfinite(p).sum())
    corrected = np.full(p.shape, np.nan)
    stepped = p[order[:m]] * (m - np.arange(m))
    corrected[order[:m]] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected
