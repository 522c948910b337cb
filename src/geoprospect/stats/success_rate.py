"""Success and prediction rates: fraction of the deposits in the best-ranked fraction of the area."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from geoprospect._checks import check_number, first_rows, user_level
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.grid import Grid, cell_areas

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rates:
    """The share of the ground that must be taken, best first, to capture each deposit.

    Parameters
    ----------
    low, high : ndarray of shape (n_deposits,)
        Share of the ground that is better than the deposit's place, and share that is as good or better.
        In between the ground cannot be told apart, and the deposit is captured in proportion: a constant
        map captures nothing but the share that is taken.
    weights : ndarray of shape (n_deposits,), optional
        How much each deposit counts, at least 0, for example its tonnage. Default: all alike.

    Raises
    ------
    InputError
        When there is no deposit, or the arrays do not fit together.

    Examples
    --------
    >>> import geoprospect as gp
    >>> gp.stats.Rates(low=[0.0, 0.1, 0.1, 0.6], high=[0.1, 0.2, 0.2, 0.7])
    Rates(4 deposits: 25 % of them in the best 10 % of the ground, 75 % in 20 %;
      P-A crossing at 75 % in 25 %, normalized density 3.00; area under the curve 0.75)
    """

    low: Floats
    high: Floats
    weights: Floats | None = None

    if TYPE_CHECKING:  # what may be passed; the fields above say what is kept

        def __init__(self, low: ArrayLike, high: ArrayLike, weights: ArrayLike | None = None) -> None: ...

    def __post_init__(self) -> None:
        """Normalise, check and freeze."""
        low, high = (_numbers(name, getattr(self, name)) for name in ("low", "high"))
        if not low.size or low.shape != high.shape:
            raise InputError(f"low, high: have shapes {low.shape} and {high.shape}, need one (n_deposits,), at least 1")
        wrong = ~((low >= 0) & (low <= high) & (high <= 1))
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise InputError(f"low, high: {low[at]:g} to {high[at]:g} is no part of the ground, which runs from 0 to 1")
        weights = None if self.weights is None else _check_weights(self.weights, low.size)
        for name, value in (("low", low), ("high", high), ("weights", weights)):
            if value is not None:
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """Return the number of deposits."""
        return self.low.size

    def __repr__(self) -> str:
        """What is captured where, the crossing and the area."""
        shares = *self._captured(np.array([0.1, 0.2])), *self.crossing
        # Rounded first: the last digits of a sum must not decide which way a half is rounded.
        tenth, fifth, area, captured = (f"{round(100 * share, 6):.0f} %" for share in shares)
        return (
            f"Rates({len(self)} deposit{'s' if len(self) != 1 else ''}: {tenth} of them in the best 10 % of the "
            f"ground, {fifth} in 20 %;\n  P-A crossing at {captured} in {area}, normalized density {self.density:.2f}; "
            f"area under the curve {self.auc:.2f})"
        )

    @overload
    def capture(self, area: float) -> float: ...

    @overload
    def capture(self, area: ArrayLike) -> Floats: ...

    def capture(self, area: ArrayLike) -> float | Floats:
        """Return the share of the deposits in the best `area` of the ground.

        Parameters
        ----------
        area : float or array_like
            Share of the ground, between 0 and 1.

        Returns
        -------
        float or ndarray of the shape of `area`

        Raises
        ------
        InputError
            When an area is not between 0 and 1.

        Examples
        --------
        >>> import geoprospect as gp
        >>> gp.stats.Rates(low=[0.0, 0.1], high=[0.1, 0.3]).capture([0.05, 0.2, 0.5])
        array([0.25, 0.75, 1.  ])
        """
        share = _numbers("area", area)
        if not ((share >= 0) & (share <= 1)).all():
            raise InputError(f"area={area!r}: needs shares of the ground between 0 and 1, for example 0.1")
        captured = self._captured(share.ravel()).reshape(share.shape)
        return captured if share.ndim else float(captured)

    @property
    def crossing(self) -> tuple[float, float]:
        """Share of the ground, and of the deposits in it, where they add up to 1: the crossing of the P-A plot."""
        area, captured = self._corners
        # Area and capture both rise along the curve, so it meets captured = 1 - area once; steps are upright.
        at = max(int(np.searchsorted(area + captured, 1.0)), 1)
        (a0, a1), (c0, c1) = area[at - 1 : at + 1], captured[at - 1 : at + 1]
        on_edge = (1 - a0 - c0) / (a1 + c1 - a0 - c0)
        share = float(a0 + on_edge * (a1 - a0))
        return share, 1 - share

    @property
    def density(self) -> float:
        """Normalized density: captured share over area share at the crossing; 1 by chance."""
        area, captured = self.crossing
        return captured / area if area > 0 else math.inf

    @property
    def auc(self) -> float:
        """Area under the curve of captured deposits over area; 0.5 by chance."""
        return float(1 - (self._shares * (self.low + self.high)).sum() / 2)

    def to_frame(self) -> pd.DataFrame:
        """Return the curve by its corners, from (0, 0) to (1, 1).

        Returns
        -------
        DataFrame
            ``area`` and ``captured``, both rising; straight in between. An area comes twice where the curve
            steps up.
        """
        area, captured = self._corners
        return pd.DataFrame({"area": area, "captured": captured})

    @property
    def _shares(self) -> Floats:
        """Weights that add up to 1."""
        weights = np.ones(len(self)) if self.weights is None else self.weights
        shares: Floats = weights / weights.sum()
        return shares

    def _captured(self, area: Floats, before_steps: bool = False) -> Floats:
        """Return the captured share at areas, (A,); or just short of them, which differs where the curve steps."""
        order = np.argsort(self.low, kind="stable")
        result = np.zeros(area.size)
        # Deposits with an interval rise linearly in it, those with none are a step. In a loop over deposits, because
        # there are tens of them and may be many areas.
        for low, high, share in zip(self.low[order], self.high[order], self._shares[order], strict=True):
            if high > low:
                result += share * np.clip((area - low) / (high - low), 0, 1)
            else:
                result += share * (area > low if before_steps else area >= low)
        return np.minimum(result, 1)

    @property
    def _corners(self) -> tuple[Floats, Floats]:
        """Return areas and captured shares where the curve bends or steps."""
        edges = np.unique(np.concatenate([[0.0, 1.0], self.low, self.high]))
        area = np.repeat(edges, 2)
        captured = np.column_stack([self._captured(edges, before_steps=True), self._captured(edges)]).ravel()
        captured[0], captured[-1] = 0, 1
        new = np.append(True, (np.diff(area) > 0) | (np.diff(captured) > 0))
        return area[new], captured[new]


def rates(
    probability: xr.DataArray,
    deposits: gpd.GeoDataFrame,
    *,
    reach: float | None = None,
    weights: ArrayLike | None = None,
) -> Rates:
    """Return which share of the deposits lies in which share of the ground of a map, best first.

    Of deposits that the map was made from it is a success rate, of others a prediction rate [1]_: only the
    second says what the map is worth.

    Parameters
    ----------
    probability : xarray.DataArray
        A map with dims (y, x), of probabilities or anything else that is higher where ore is likelier. NaN
        is no ground and never counts as area.
    deposits : GeoDataFrame
        Points. Each has the score of the cell that holds it, one by one where a cell holds several.
    reach : float, optional
        A deposit on no ground takes the nearest cell with ground whose centre is at most that far, in units
        of the CRS. Default: it is left out with a warning, as are those farther.
    weights : array_like of shape (n_deposits,), optional
        How much each deposit counts, at least 0. Default: all alike.

    Returns
    -------
    Rates
        Cells of a projected grid count alike: take an equal-area projection, or one that hardly distorts
        areas over the survey (UTM does not; Web Mercator does). In a CRS of degrees they count by their
        area on the ellipsoid.

    Raises
    ------
    InputError
        When the map is no DataArray with dims (y, x) or has no ground, when no deposit lies on it or one has
        no place; or for a reach on a map in degrees.
    CRSError
        When the map or the deposits carry no CRS.

    References
    ----------
    .. [1] Chung, C.-J. F. & Fabbri, A. G. (2003). Validation of spatial prediction models for landslide
       hazard mapping. Natural Hazards 30, 451-472. https://doi.org/10.1023/B:NHAZ.0000007172.62651.2b
    .. [2] Yousefi, M. & Carranza, E. J. M. (2015). Prediction-area (P-A) plot and C-A fractal analysis to
       classify and evaluate evidential maps for mineral prospectivity modeling. Computers & Geosciences 79,
       69-81. https://doi.org/10.1016/j.cageo.2015.03.007

    Examples
    --------
    >>> import geopandas as gpd
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 200), (2, 2))
    >>> score = grid.dataset({"score": np.array([[0.9, 0.4], [0.2, np.nan]])}).score
    >>> mine = gpd.GeoDataFrame(geometry=gpd.points_from_xy([150], [150]), crs=grid.crs)
    >>> found = gp.stats.rates(score, mine)  # in the second best of three cells
    >>> found.low.round(3), found.high.round(3)
    (array([0.333]), array([0.667]))
    """
    if not isinstance(probability, xr.DataArray):
        raise InputError(
            f"probability: is a {type(probability).__name__}, needs one variable of the map; pass result.probability"
        )
    if set(probability.dims) != {"y", "x"}:
        raise InputError(f"probability: has dims {probability.dims}, needs ('y', 'x'); pick one variable of the result")
    if deposits.crs is None:
        raise CRSError("deposits: carry no CRS; set one with .set_crs('EPSG:…')")
    within = None if reach is None else check_number("reach", reach, above=0)
    counts = None if weights is None else _check_weights(weights, len(deposits))
    grid = Grid.of(probability)
    if within is not None and grid.crs.is_geographic:
        raise InputError(f"reach={reach!r}: the map is in {grid.unit}s, which are no distances; project it first")
    score = probability.transpose("y", "x").to_numpy()
    ground = ~np.isnan(score)
    if not ground.any():
        raise InputError("probability: has no ground, every cell is NaN")
    found = _scores_of(score, grid, np.column_stack(grid.points(deposits.geometry)), within)
    known = ~np.isnan(found)
    if not known.all():
        _warn_of(deposits, ~known)
    each = cell_areas(grid)  # (ny, 1)
    area = np.broadcast_to(each / each.max(), grid.shape)[ground]
    low, high = _intervals(score[ground], area, found[known])
    return Rates(low, high, None if counts is None else counts[known])


def rates_within(
    fold: ArrayLike,
    score: ArrayLike,
    deposit_fold: ArrayLike,
    deposit_score: ArrayLike,
    *,
    area: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Rates:
    """Return the rates of deposits each of which was scored in the fold that held it out.

    Scores of different trainings cannot be compared, ranks can: every deposit is ranked among the ground of
    its own fold, and all deposits are then taken together.

    Parameters
    ----------
    fold, score : array_like of shape (n_ground,)
        Number of the fold of each piece of ground and its score there; NaN is no ground.
    deposit_fold, deposit_score : array_like of shape (n_deposits,)
        The same of the deposits; not NaN.
    area : array_like of shape (n_ground,), optional
        Area of each piece of ground. Default: all alike.
    weights : array_like of shape (n_deposits,), optional
        How much each deposit counts.

    Returns
    -------
    Rates

    Raises
    ------
    InputError
        When the arguments do not fit together, a deposit has no score, or its fold has no ground.
    """
    values, of_deposit = _numbers("score", score), _numbers("deposit_score", deposit_score)
    at, deposit_at = np.asarray(fold), np.asarray(deposit_fold)
    areas = np.ones(values.shape) if area is None else _numbers("area", area)
    if values.ndim != 1 or not (at.shape == values.shape == areas.shape):
        raise InputError(
            f"fold, score, area: have shapes {at.shape}, {values.shape}, {areas.shape}; need one (n_ground,)"
        )
    if of_deposit.ndim != 1 or deposit_at.shape != of_deposit.shape:
        raise InputError(
            f"deposit_fold, deposit_score: have shapes {deposit_at.shape}, {of_deposit.shape}; need one (n_deposits,)"
        )
    missing = np.flatnonzero(np.isnan(of_deposit))
    if missing.size:
        raise InputError(f"deposit_score: missing at {first_rows(missing)}; leave these deposits out")
    low, high = np.empty(of_deposit.size), np.empty(of_deposit.size)
    for one in np.unique(deposit_at):
        ground, mine = (at == one) & ~np.isnan(values), deposit_at == one
        if not areas[ground].sum() > 0:
            raise InputError(
                f"fold: there is no ground with a score in fold {one}, which has {int(mine.sum())} deposits"
            )
        low[mine], high[mine] = _intervals(values[ground], areas[ground], of_deposit[mine])
    return Rates(low, high, weights)


def _numbers(name: str, values: ArrayLike) -> Floats:
    """Return a copy in float64."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: needs numbers, got {values!r:.100}") from None


def _check_weights(weights: ArrayLike, n: int) -> Floats:
    """Return one weight per deposit."""
    given = _numbers("weights", weights)
    if given.shape != (n,) or not (np.isfinite(given) & (given >= 0)).all() or not given.sum() > 0:
        raise InputError(f"weights={weights!r:.100}: need {n} numbers, one per deposit, at least 0 and not all 0")
    return given


def _intervals(ground: Floats, area: Floats, deposits: Floats) -> tuple[Floats, Floats]:
    """Return the shares of the area that are better than each deposit, and as good or better."""
    scores, which = np.unique(deposits, return_inverse=True)
    # Sorted are the scores of the deposits, which are few, and not those of the ground.
    better, as_good = (
        np.bincount(np.searchsorted(scores, ground, side), area, minlength=scores.size + 1)[::-1].cumsum()[::-1]
        for side in ("left", "right")
    )
    low, high = (np.minimum(share[1:] / share[0], 1) for share in (better, as_good))
    # Sums in another order: of nothing in between the last digits may differ either way.
    return low[which], np.maximum(low, high)[which]


def _scores_of(score: NDArray[np.floating], grid: Grid, points: Floats, reach: float | None) -> Floats:
    """Return the score of the cell that holds each of the points, (D, 2); NaN where there is no ground."""
    found = np.full(len(points), np.nan)
    inside = grid.contains(*points.T)
    row, col = grid.rowcol(*points[inside].T)
    found[inside] = score[row, col]
    if reach is not None:
        for at in np.flatnonzero(np.isnan(found)):
            found[at] = _nearest_score(score, grid, points[at], reach)
    return found


def _nearest_score(score: NDArray[np.floating], grid: Grid, point: Floats, reach: float) -> float:
    """Return the score of the nearest cell with ground whose centre is within reach of a point, or NaN."""
    (row, col), (dy, dx), area = grid.rowcol(*point), grid.resolution, grid.cell_area
    rows, cols = (  # apart: the distance from one row or column to the next
        np.arange(max(0, at - math.ceil(reach / apart) - 1), min(n, at + math.ceil(reach / apart) + 2))
        for at, apart, n in ((int(row), area / dx, grid.shape[0]), (int(col), area / dy, grid.shape[1]))
    )
    if not (rows.size and cols.size):
        return math.nan
    near = score[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    x, y = grid.xy(rows[:, None], cols)
    distance = np.hypot(y - point[1], x - point[0])
    distance[np.isnan(near) | (distance > reach)] = np.inf
    nearest = int(distance.argmin())
    return float(near.flat[nearest]) if np.isfinite(distance.flat[nearest]) else math.nan


def _warn_of(deposits: gpd.GeoDataFrame, left_out: NDArray[np.bool_]) -> None:
    """Say which deposits have no score; raise when that is all of them."""
    ids = deposits["id"].to_numpy() if "id" in deposits.columns else np.arange(1, len(deposits) + 1)
    if left_out.all():
        raise InputError(
            f"deposits: none of the {len(deposits)} lies on ground of the map; are both CRS right? reach=… takes the "
            "nearest ground"
        )
    warnings.warn(
        f"deposits: {int(left_out.sum())} of {len(deposits)} lie on no ground of the map and are left out "
        f"(id {first_rows(ids[left_out])})",
        DataWarning,
        stacklevel=user_level(),
    )
