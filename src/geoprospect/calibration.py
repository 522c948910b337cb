"""From scores of windows to probabilities that hold, and from these to deposits on the ground."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal, Self, overload

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Geod
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, logit, wrightomega

from geoprospect._checks import check_choice, check_int, check_number, check_rng, first_rows
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.grid import Grid
from geoprospect.metrics import brier_score, calibration_slope, labels_and_scores

log = logging.getLogger("geoprospect")

Method = Literal["auto", "temperature", "isotonic"]
Floats = NDArray[np.float64]

# A probability is taken for at least this and at most one less this, as by `calibration_slope`.
_SURE = 1e-6
# Clusters of deposits from which on a step function can be told from chance.
_ENOUGH = 50
_COLDEST, _HOTTEST = 0.05, 20.0  # temperatures beyond these say that there is none
_REPLICATES = 1000
_SCORES = ("log_loss", "brier", "slope")
_CALIBRATED = "probability of ore in a balanced set of windows (calibrated)"
# More is a mistake in the units, and a table of all numbers up to it would not fit.
_MOST, _CROWDED = 100_000, 1000.0
# Totals beyond a billionth are left out; between them at most so many numbers are looked at.
_TAIL, _NODES = 1e-9, 256


@dataclass(frozen=True)
class Calibration:
    """How probabilities of windows are put right; `calibrate` fits one.

    Parameters
    ----------
    method : {'temperature', 'isotonic'}
        'temperature': the logit is divided by one number, which keeps the ranking. 'isotonic': a rising
        line through `knots`, which can tie what was ranked.
    temperature : float
        Above 1 where the probabilities were too sure; NaN for 'isotonic'.
    low, high : float
        95 % interval of the temperature, by bootstrap over clusters; NaN where it has none.
    n_clusters : int
        Number of clusters with ore that it was fitted on.
    before, after : dict of str to float
        ``log_loss``, ``brier`` (Brier score) and ``slope`` (`calibration_slope`, 1 is right) of the
        windows that it was fitted on, each counting once.
    knots : tuple of (float, float), optional
        Probability and what it becomes, for 'isotonic'.

    Raises
    ------
    InputError
        When the numbers cannot be those of a calibration.

    Examples
    --------
    >>> import geoprospect as gp
    >>> scores = {"log_loss": 0.6, "brier": 0.2, "slope": 0.5}
    >>> calibration = gp.Calibration("temperature", 2.0, 1.5, 2.8, 23, scores, scores)
    >>> calibration.apply([0.5, 0.9, 0.99]).round(3)
    array([0.5  , 0.75 , 0.909])
    """

    method: str
    temperature: float
    low: float
    high: float
    n_clusters: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    knots: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Check and normalise; what was read from a file may be anything."""
        check_choice("method", self.method, ("temperature", "isotonic"))
        object.__setattr__(self, "n_clusters", check_int("n_clusters", self.n_clusters))
        for name in ("before", "after"):
            object.__setattr__(self, name, _checked_scores(name, getattr(self, name)))
        for name in ("low", "high"):
            object.__setattr__(self, name, _number_or_nan(name, getattr(self, name)))
        if self.method == "temperature":
            object.__setattr__(self, "temperature", check_number("temperature", self.temperature, above=0))
            object.__setattr__(self, "knots", ())
        else:
            object.__setattr__(self, "temperature", math.nan)
            object.__setattr__(self, "knots", _checked_knots(self.knots))

    def __repr__(self) -> str:
        """Method, what it was fitted on, and what it brought."""
        how = self.method
        if self.method == "temperature":
            how += f" {self.temperature:.3g}" + (
                f" ({self.low:.3g} to {self.high:.3g})" if math.isfinite(self.low) else ""
            )
        change = ", ".join(
            f"{name.replace('_', ' ')} {self.before[name]:.3f} → {self.after[name]:.3f}" for name in _SCORES
        )
        return f"Calibration({how}; {self.n_clusters} clusters with ore; {change})"

    @overload
    def apply(self, probability: xr.DataArray) -> xr.DataArray: ...
    @overload
    def apply(self, probability: ArrayLike) -> NDArray[Any]: ...
    def apply(self, probability: Any) -> Any:
        """Return calibrated probabilities.

        Parameters
        ----------
        probability : array_like or xarray.DataArray
            Of ore, between 0 and 1, of any shape; NaN stays NaN.

        Returns
        -------
        ndarray or xarray.DataArray
            As given. A map keeps its grid, and says that it is calibrated.

        Raises
        ------
        InputError
            When a value is not within 0 and 1, or the map is calibrated already.
        """
        if not isinstance(probability, xr.DataArray):
            return self._put_right(probability)
        if probability.attrs.get("calibrated"):
            raise InputError("probability: is calibrated already; pass the map as predict gave it")
        result = probability.copy(data=self._put_right(probability.to_numpy()))
        result.attrs.update(units="1", long_name=_CALIBRATED, calibrated=1)
        return result

    def to_frame(self) -> pd.DataFrame:
        """Return the scores before and after, one a row."""
        return pd.DataFrame({"before": self.before, "after": self.after}, index=pd.Index(_SCORES, name="score"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; NaN becomes None.

        Returns
        -------
        dict
        """
        values = asdict(self) | {"knots": [list(pair) for pair in self.knots]}
        for name in ("before", "after"):
            values[name] = {score: _none_for_nan(one) for score, one in getattr(self, name).items()}
        return {name: _none_for_nan(value) if isinstance(value, float) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the calibration that `to_dict` wrote.

        Parameters
        ----------
        values : mapping
            As from `to_dict`.

        Returns
        -------
        Calibration

        Raises
        ------
        InputError
            When a key is missing or unknown, or a value cannot be right.
        """
        names = {one.name for one in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            found = sorted(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
            raise InputError(f"values: has {found}, needs exactly the keys {sorted(names)}; pass what to_dict gave")
        return cls(**values)

    def _put_right(self, probability: ArrayLike) -> NDArray[Any]:
        """Return calibrated values; in float32 where they came so."""
        p, kind = _checked_probability(probability)
        if self.method == "isotonic":
            x, y = np.array(self.knots).T
            result = np.where(np.isnan(p), np.nan, np.interp(p, x, y))
        else:
            result = expit(_log_odds(p) / self.temperature)
        return result.astype(kind)


def calibrate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    method: Method = "auto",
    weights: ArrayLike | None = None,
    rng: int | np.random.Generator | None = None,
) -> Calibration:
    """Fit how probabilities of windows are to be put right, from out-of-fold predictions.

    Networks are surer than they should be. Temperature scaling [1]_ divides the logit of every
    probability by one number T, that of the greatest likelihood; it cannot change the ranking, and one
    number can be learnt from few deposits. Isotonic regression [2]_ fits any rising line, and needs many.

    Parameters
    ----------
    labels : array_like of shape (n,)
        1 ore, 0 barren.
    probabilities : array_like of shape (n,)
        Of ore, between 0 and 1, each from a model that has not seen the window or its ground: those of
        training windows say nothing.
    clusters : array_like of shape (n,), optional
        What is independent: the cluster of deposits of an ore window, the block of ground of a barren
        one. Default: every window on its own, which makes the interval far too narrow where windows
        overlap.
    method : {'auto', 'temperature', 'isotonic'}, default 'auto'
        'auto' takes 'isotonic' from 50 clusters with ore on, and 'temperature' below or without
        `clusters`.
    weights : array_like of shape (n,), optional
        How much each window counts in the fit.
    rng : int, Generator or None
        Draws the resamples of the interval.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        When arrays do not fit together, a class is absent, or 'isotonic' is asked for with fewer than 50
        clusters with ore.

    Warns
    -----
    DataWarning
        When no temperature between 0.05 and 20 fits: the probabilities do not tell ore from barren; or they
        do so without an error, or in steps far too small.

    Notes
    -----
    ``after`` is measured on the windows of the fit. What the calibration is worth on others,
    `cross_calibrated` tells. The bootstrap needs clusters: in simulations its interval held the true
    temperature in about 92 % of cases with 25 clusters of each class, in 83 % with 10 and in 77 % with 5.

    References
    ----------
    .. [1] Guo, C., Pleiss, G., Sun, Y. & Weinberger, K. Q. (2017). On calibration of modern neural
       networks. ICML, 1321-1330. https://doi.org/10.48550/arXiv.1706.04599
    .. [2] Zadrozny, B. & Elkan, C. (2002). Transforming classifier scores into accurate multiclass
       probability estimates. KDD, 694-699. https://doi.org/10.1145/775047.775151

    Examples
    --------
    Odds of 9 to 1 that hold three times in four only; at T = 2 they are 3 to 1:

    >>> import geoprospect as gp
    >>> calibration = gp.calibrate([1, 1, 1, 0, 0, 0, 0, 1], [0.9] * 4 + [0.1] * 4, rng=0)
    >>> round(calibration.temperature, 3)
    2.0
    >>> calibration.apply([0.1, 0.5, 0.9]).round(3)
    array([0.25, 0.5 , 0.75])
    """
    check_choice("method", method, ("auto", "temperature", "isotonic"))
    generator = check_rng(rng)
    ore, p = _windows(labels, probabilities)
    weight, unit, given = _checked_weights(weights, p.size), _units(clusters, p.size), clusters is not None
    n_clusters = int(np.unique(unit[ore]).size)
    chosen = _choose(method, n_clusters if given else 0)
    fitted = _fit(chosen, ore, p, weight, n_clusters)
    low, high = math.nan, math.nan
    if chosen == "temperature":
        low, high = _temperature_interval(ore, _log_odds(p), weight, unit, generator)
    return replace(fitted, low=low, high=high, after=_scores_of(ore, fitted.apply(p)))


def cross_calibrated(
    labels: ArrayLike,
    probabilities: ArrayLike,
    folds: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    method: Method = "auto",
) -> Floats:
    """Calibrate the out-of-fold probabilities of every fold by those of the other folds.

    A calibration fitted on the windows that it is scored on flatters itself. Here no window has a part
    in its own.

    Parameters
    ----------
    labels, probabilities, clusters, method
        As in `calibrate`; 'auto' counts the clusters of the other folds.
    folds : array_like of shape (n,)
        The fold that each window was tested in, for example ``scores.windows["fold"]``.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    InputError
        When arrays do not fit together, there is one fold only, or the others of a fold lack a class.

    Examples
    --------
    >>> import geoprospect as gp
    >>> labels, probabilities = [1, 1, 1, 0, 0, 0, 0, 1] * 2, ([0.9] * 4 + [0.1] * 4) * 2
    >>> gp.cross_calibrated(labels, probabilities, folds=[1] * 8 + [2] * 8)[[0, 7, 8, 15]].round(3)
    array([0.75, 0.25, 0.75, 0.25])
    """
    check_choice("method", method, ("auto", "temperature", "isotonic"))
    ore, p = _windows(labels, probabilities)
    unit, fold = _units(clusters, p.size), _units(folds, p.size, "folds")
    if fold.max() < 1:
        raise InputError("folds: hold one fold only, so there is none to calibrate it by; two are needed")
    result = np.empty(p.size)
    for one in range(int(fold.max()) + 1):
        rest = fold != one
        if np.unique(ore[rest]).size < 2:
            what = "ore" if not ore[rest].any() else "barren"
            raise InputError(
                f"folds: the others of fold {np.asarray(folds)[~rest][0]} hold no {what}; take fewer folds"
            )
        n_clusters = int(np.unique(unit[rest & ore]).size)
        chosen = _choose(method, n_clusters if clusters is not None else 0)
        result[~rest] = _fit(chosen, ore[rest], p[rest], np.ones(int(rest.sum())), n_clusters).apply(p[~rest])
    return result


def intensity(probability: xr.DataArray, n_deposits: float, *, window_area: float | None = None) -> xr.DataArray:
    """Turn calibrated probabilities of windows into deposits per km² that sum to a stated number.

    A probability of ore in a balanced set of windows is no count: ore is as frequent among those windows
    as barren ground, every deposit is in many of them, and so is every place in many windows of the map.
    What it does tell is how much likelier a place is than another. With ``m`` deposits expected in a
    window, windows slid over deposits fall there in proportion to ``m``, and barren windows drawn where no
    deposit lies in proportion to ``exp(-m)`` (a Poisson process), so that

    ``p / (1 - p) = c m exp(m)``.

    The constant is the prior correction of King and Zeng [1]_ for the ore share that was chosen. It need
    not be known: it is the one with which the deposits of the whole map sum to `n_deposits`.

    Parameters
    ----------
    probability : xarray.DataArray
        With dims (y, x), and before these one for several models or draws at most. Calibrated
        (`Calibration.apply`); NaN is no ground.
    n_deposits : float
        Number of deposits on the ground of the map, known ones and those expected to be undiscovered.
        Deposits on the rim where the map is NaN do not belong to it.
    window_area : float, optional
        Area in km² within which a deposit made a window ore. Default: a square as wide as the
        ``window_width`` in the attributes of the map says. Where deposits in a window are rare it hardly
        matters.

    Returns
    -------
    xarray.DataArray
        Deposits per km², on the same grid; NaN where there is no ground. Every map of several is
        normalised on its own.

    Raises
    ------
    InputError
        When values are not within 0 and 1, there is no ground, or the area of a window is not known.
    CRSError
        When the map has no CRS.

    Warns
    -----
    DataWarning
        When the map says that it is uncalibrated, or holds probabilities beyond 1e-6 and 1 - 1e-6, which
        are taken for these.

    Notes
    -----
    The true intensity is seen through the window: what comes out is its mean over a window about each
    place. Peaks narrower than a window are lower and wider than they are. Areas are those of the plane in
    a projected CRS, of the ellipsoid for a grid in degrees.

    References
    ----------
    .. [1] King, G. & Zeng, L. (2001). Logistic regression in rare events data. Political Analysis 9,
       137-163. https://doi.org/10.1093/oxfordjournals.pan.a004868

    Examples
    --------
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(1000, 0, 0, 0, -1000, 2000), (2, 3))
    >>> p = grid.dataset({"p": np.array([[0.5, 0.5, 0.9], [0.1, 0.5, np.nan]])}).p
    >>> density = gp.intensity(p, n_deposits=0.1, window_area=1)
    >>> density.to_numpy().round(4)
    array([[0.0087, 0.0087, 0.0731],
           [0.001 , 0.0087,    nan]], dtype=float32)
    >>> round(float(density.sum()), 4)  # cells of 1 km²
    0.1
    """
    total = check_number("n_deposits", n_deposits, above=0)
    grid, p = _checked_map("probability", probability)
    p, _ = _checked_probability(p)
    if not np.isfinite(p).any(axis=(1, 2)).all():
        raise InputError("probability: is NaN everywhere, so there is no ground")
    _warn_of_probabilities(probability, p)
    area, window = _cell_areas(grid), _window_areas(probability, grid, window_area)
    density = np.stack([_window_counts(one, area / window, total) for one in _log_odds(p)]) / window  # (M, Y, X)
    result = probability.transpose(..., "y", "x")
    result = result.copy(data=density.reshape(result.shape).astype(np.float32))
    width = {key: value for key, value in probability.attrs.items() if key == "window_width"}
    result.attrs = {
        "units": "km-2",
        "long_name": f"deposits per km² (of {total:g} in all)",
        "n_deposits": total,
        **width,
    }
    result.encoding = dict(probability.encoding)
    return result.rename("intensity")


def expected_deposits(
    intensity: xr.DataArray,
    polygons: gpd.GeoDataFrame | gpd.GeoSeries,
    *,
    level: float = 0.95,
    n_deposits_sd: float | None = None,
    dispersion: float = 1.0,
    known: gpd.GeoDataFrame | None = None,
) -> pd.DataFrame:
    """Return how many deposits to expect in each polygon, with an interval of their number.

    The expected number is the intensity summed over the polygon, cells on its edge by the share of them
    that lies inside. The interval is one of the **number of deposits**, not of the expected number: given
    the total N on the map, each deposit falls into the polygon with a chance of ``q``, its share of the
    intensity. So the number is binomial, and what is not known widens it:

    - the total, by `n_deposits_sd`;
    - deposits that come together, by `dispersion`;
    - the intensity, where several maps are given, best five or more: the spread of ``q`` over them, of which
      the truth is taken for one more.

    The last two make the binomial a beta-binomial.

    Parameters
    ----------
    intensity : xarray.DataArray
        Deposits per km², from `intensity`: dims (y, x), and before these one for several models or draws
        at most. Its sum over the ground is the total that is expected.
    polygons : GeoDataFrame or GeoSeries
        Polygons in any CRS, for example licence areas.
    level : float, default 0.95
        Share of such intervals that hold the number, if what was stated holds.
    n_deposits_sd : float, optional
        Standard deviation of the total, with `known` of those to be found; 0 where it is known. Default:
        that of a Poisson number with the expected total as its mean, times the root of `dispersion`.
    dispersion : float, default 1
        Variance of the number of deposits in such a polygon over that of a Poisson process with this
        intensity; at least 1, at most 1000. See `overdispersion`.
    known : GeoDataFrame, optional
        Known deposits. The rest of the total is undiscovered, and taken to be spread like the intensity.

    Returns
    -------
    pandas.DataFrame
        Indexed like `polygons`: ``area_km2`` of the polygon, ``covered``, the share of it that is ground
        of the map, ``expected``, ``low`` and ``high`` for all deposits on that ground, known or not. With
        `known` also ``known``, their number there, and ``undiscovered``, ``undiscovered_low`` and
        ``undiscovered_high`` for the others. Missing where no ground is covered.

    Raises
    ------
    InputError
        When a geometry is no valid polygon, a number is out of range, or more deposits are known than the
        map has in all.
    CRSError
        When polygons, map or known deposits have no CRS, or a polygon has no place in that of the map.

    Warns
    -----
    DataWarning
        When a polygon lies partly or wholly off the ground of the map, or known deposits do.

    Notes
    -----
    Undiscovered deposits are not what is expected less what is known: under a Poisson process the number
    still to be found does not depend on how many were found. Where more was looked for than elsewhere,
    fewer are left than this says.

    Examples
    --------
    >>> import geopandas as gpd
    >>> import numpy as np
    >>> import shapely
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(1000, 0, 0, 0, -1000, 4000), (4, 10))
    >>> density = grid.dataset({"density": np.full((4, 10), 0.5)}).density
    >>> areas = gpd.GeoSeries([shapely.box(0, 0, 2500, 4000)], index=["A"], crs="EPSG:32649")
    >>> gp.expected_deposits(density, areas)
       area_km2  covered  expected  low  high
    A      10.0      1.0       5.0    1    10
    >>> gp.expected_deposits(density, areas, n_deposits_sd=0)  # 20 in all, neither more nor less
       area_km2  covered  expected  low  high
    A      10.0      1.0       5.0    2     9
    """
    level = check_number("level", level, above=0)
    if level >= 1:
        raise InputError(f"level={level!r}: needs a number between 0 and 1, for example 0.95")
    sd = None if n_deposits_sd is None else check_number("n_deposits_sd", n_deposits_sd, minimum=0)
    dispersion = check_number("dispersion", dispersion, minimum=1, maximum=_CROWDED)
    grid, maps = _checked_intensity(intensity)
    shapes, area, ground = _polygons_on(polygons, grid), _cell_areas(grid), np.isfinite(maps[0])
    total, shares = _shares(maps, area)
    points = None if known is None else _known_on(known, grid, ground)
    left = None if points is None else _left_to_find(total, len(points))
    _check_sd(sd, total if left is None else left)
    # A clustered process that is thinned to what is left is clustered less.
    thinned = 1 + (dispersion - 1) * (left or 0) / total
    rows = []
    for shape in shapes:
        covered, share, spread = _share_of_ground(shape, grid, area * ground, shares)
        whole = _polygon_area(shape, grid)
        correlation = _correlation(share, spread, (dispersion - 1) / (total + dispersion - 1))
        low, high = _interval(share, correlation, *_totals(total, sd, dispersion), level)
        row = {"area_km2": whole, "covered": min(covered / whole, 1.0), "expected": share * total}
        row |= {"low": low, "high": high}
        if points is not None and left is not None:
            low, high = _interval(share, correlation, *_totals(left, sd, thinned), level)
            row |= {"known": int(shapely.intersects_xy(shape, points).sum()) if len(points) else 0}
            row |= {"undiscovered": share * left, "undiscovered_low": low, "undiscovered_high": high}
        rows.append(row)
    return _table(rows, polygons.index, points is not None)


def overdispersion(intensity: xr.DataArray, deposits: gpd.GeoDataFrame, width: float) -> float:
    """Return how much more the number of deposits varies from block to block than the intensity says.

    The ground is cut into square blocks. With ``o`` deposits found in a block, ``e`` expected there (scaled
    to as many deposits in all) and ``n`` in all it is ``sum((o - e)²) / sum(e (1 - e/n))``: about 1 for
    deposits that are spread like the intensity and do not heed each other.

    Parameters
    ----------
    intensity : xarray.DataArray
        Deposits per km², as in `expected_deposits`; of several maps their mean.
    deposits : GeoDataFrame
        Known deposits; those off the ground of the map are left out with a warning. Where the intensity
        was fitted to these very deposits, it comes out too low: take a map out of fold.
    width : float
        Width of a block in CRS units: about as large as the polygons that it is wanted for. Clusters
        narrower than a block come out whole.

    Returns
    -------
    float
        At least 1, the `dispersion` of `expected_deposits`. With B blocks it is known to about
        ``sqrt(2/B)`` of its value.

    Raises
    ------
    InputError
        When fewer than two blocks or two deposits have ground.
    CRSError
        When map or deposits have no CRS.

    Examples
    --------
    >>> import geopandas as gpd
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(1000, 0, 0, 0, -1000, 4000), (4, 8))
    >>> density = grid.dataset({"density": np.full((4, 8), 0.5)}).density
    >>> together = gpd.GeoDataFrame(geometry=gpd.points_from_xy([100, 200, 300, 5000], [100] * 4), crs="EPSG:32649")
    >>> gp.overdispersion(density, together, width=2000)
    2.2857142857142856
    """
    width = check_number("width", width, above=0)
    grid, maps = _checked_intensity(intensity)
    ground = np.isfinite(maps[0])
    points = _known_on(deposits, grid, ground, "deposits")
    per_cell = np.where(ground, maps.mean(axis=0) * _cell_areas(grid), 0)
    left, _, _, top = grid.bounds
    down, right = ((top - grid.y) // width).astype(np.int64), ((grid.x - left) // width).astype(np.int64)
    block = down[:, None] * (right.max() + 1) + right  # (Y, X)
    n_blocks = int(block.max()) + 1
    expected = np.bincount(block.ravel(), per_cell.ravel(), n_blocks)
    row, col = grid.rowcol(*points.T)
    found = np.bincount(block[row, col], minlength=n_blocks)
    if len(points) < 2 or (expected > 0).sum() < 2:
        raise InputError(
            f"deposits, width={width:g}: {len(points)} deposits and {int((expected > 0).sum())} blocks have ground; "
            "two of each are needed; take a smaller width"
        )
    expected *= len(points) / expected.sum()
    variance = (expected * (1 - expected / len(points))).sum()
    return max(1.0, float(((found - expected) ** 2).sum() / variance))


# -- probabilities of windows ------------------------------------------------------------------


def _log_odds(p: Floats) -> Floats:
    z: Floats = logit(np.clip(p, _SURE, 1 - _SURE))
    return z


def _checked_probability(probability: ArrayLike) -> tuple[Floats, np.dtype[Any]]:
    """Return values in float64, and the type that they came in where that is a float."""
    try:
        given = np.asarray(probability)
        p = given.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"probability: needs numbers between 0 and 1, got {probability!r:.100}") from None
    wrong = (p < 0) | (p > 1)
    if wrong.any():
        raise InputError(
            f"probability: {int(wrong.sum())} values, the first {p[wrong][0]:g}, are not within 0 and 1; logits become "
            "probabilities by 1 / (1 + exp(-logit))"
        )
    return p, given.dtype if np.issubdtype(given.dtype, np.floating) else np.dtype(np.float64)


def _windows(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Return which windows are ore, and their probabilities; both classes are there."""
    ore, p = labels_and_scores(labels, probabilities)
    _checked_probability(p)
    if not ore.any() or ore.all():
        raise InputError(f"labels: hold {int(ore.sum())} ore and {int((~ore).sum())} barren windows; both are needed")
    return ore, p


def _units(clusters: ArrayLike | None, n: int, name: str = "clusters") -> NDArray[np.int64]:
    """Return the cluster of each window, numbered from 0; without any, each its own."""
    if clusters is None:
        return np.arange(n)
    given = np.asarray(clusters)
    if given.shape != (n,):
        raise InputError(f"{name}: have shape {given.shape}, need one for each of the {n} windows")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def _checked_weights(weights: ArrayLike | None, n: int) -> Floats:
    if weights is None:
        return np.ones(n)
    try:
        given = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"weights: need numbers, got {weights!r:.100}") from None
    if given.shape != (n,) or not (np.isfinite(given).all() and (given > 0).all()):
        raise InputError(f"weights: need a number above 0 for each of the {n} windows, got {given!r:.100}")
    return given


def _choose(method: str, n_clusters: int) -> Literal["temperature", "isotonic"]:
    """Return the method; `n_clusters` is 0 where nobody said what is independent."""
    if method == "isotonic" and n_clusters < _ENOUGH:
        had = f"there are {n_clusters}" if n_clusters else "they were not given, and windows of one deposit are no many"
        raise InputError(
            f"method='isotonic': needs at least {_ENOUGH} clusters with ore ({had}), or it follows chance; pass "
            "method='temperature'"
        )
    return "isotonic" if method == "isotonic" or (method == "auto" and n_clusters >= _ENOUGH) else "temperature"


def _fit(
    method: Literal["temperature", "isotonic"], ore: NDArray[np.bool_], p: Floats, weight: Floats, n_clusters: int
) -> Calibration:
    """Return the calibration without an interval, and with ``after`` still as before."""
    before = _scores_of(ore, p)
    if method == "isotonic":
        knots = _isotonic(ore, p, weight, n_clusters)
        return Calibration(method, math.nan, math.nan, math.nan, n_clusters, before, before, knots)
    temperature = _temperature(ore, _log_odds(p), weight)
    if temperature in (_COLDEST, _HOTTEST):
        what = (
            "are right without an error, or all near 0.5" if temperature == _COLDEST else "do not tell ore from barren"
        )
        warnings.warn(
            f"probabilities: {what}, so that no temperature fits; {temperature:g} is taken", DataWarning, stacklevel=3
        )
    return Calibration(method, temperature, math.nan, math.nan, n_clusters, before, before)


def _temperature(ore: NDArray[np.bool_], z: Floats, weight: Floats) -> float:
    """Return the temperature of the greatest likelihood, within its bounds."""
    if not z.any():
        return 1.0  # all are 1/2, and any temperature leaves them there

    def slope(log_t: float) -> float:
        return float((weight * z * (ore - expit(z * math.exp(-log_t)))).sum())

    # The likelihood is concave in 1/T, so its slope there changes sign once: it rises with T.
    if slope(math.log(_COLDEST)) >= 0:
        return _COLDEST
    if slope(math.log(_HOTTEST)) <= 0:
        return _HOTTEST
    return math.exp(brentq(slope, math.log(_COLDEST), math.log(_HOTTEST), xtol=1e-12))


def _temperature_interval(
    ore: NDArray[np.bool_], z: Floats, weight: Floats, unit: NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, float]:
    """Return a 95 % interval of the temperature: clusters with ore and those without are drawn anew.

    The slope of the likelihood of every cluster is tabled over temperatures once. That of a resample is a
    sum of rows, and its temperature where the sum changes sign: nothing is fitted again.
    """
    log_t = np.linspace(math.log(_COLDEST), math.log(_HOTTEST), 301)
    n_units = int(unit.max()) + 1
    table = np.stack(
        [np.bincount(unit, weight * z * (ore - expit(z * math.exp(-one))), n_units) for one in log_t], axis=1
    )  # (U, T)
    with_ore = np.bincount(unit, ore, n_units) > 0
    if with_ore.sum() < 2 or not z.any():
        return math.nan, math.nan
    slope = np.zeros((_REPLICATES, log_t.size))
    for part in (table[with_ore], table[~with_ore]):
        if len(part):
            slope += rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=_REPLICATES) @ part
    low, high = np.quantile(np.exp(_crossings(slope, log_t)), [0.025, 0.975])
    return float(low), float(high)


def _crossings(rising: Floats, at: Floats) -> Floats:
    """Return where each row of rising values becomes positive, linear between two of `at`; else the nearer end."""
    after = (rising <= 0).sum(axis=1)
    right = np.clip(after, 1, at.size - 1)
    rows = np.arange(len(rising))
    a, b = rising[rows, right - 1], rising[rows, right]
    with np.errstate(invalid="ignore", divide="ignore"):
        inside: Floats = at[right - 1] - a / (b - a) * (at[right] - at[right - 1])
    inside[after == 0], inside[after == at.size] = at[0], at[-1]
    return inside


def _isotonic(
    ore: NDArray[np.bool_], p: Floats, weight: Floats, n_clusters: int
) -> tuple[tuple[float, float], ...]:  # fmt: skip
    """Return the knots of the isotonic fit; no surer than so many clusters allow."""
    from sklearn.isotonic import IsotonicRegression

    # A step of nothing but ore would be given 1. Laplace's rule of succession: n of n is not yet always.
    least = 1 / (n_clusters + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least).fit(p, ore.astype(np.float64), weight)
    return tuple(zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True))


def _scores_of(ore: NDArray[np.bool_], p: Floats) -> dict[str, float]:
    z = _log_odds(p)
    return {
        "log_loss": float(np.logaddexp(0, np.where(ore, -z, z)).mean()),
        "brier": brier_score(ore, p),
        "slope": calibration_slope(ore, p)[0],
    }


def _none_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number_or_nan(name: str, value: Any) -> float:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    return check_number(name, value)


def _checked_scores(name: str, scores: Any) -> dict[str, float]:
    if not isinstance(scores, Mapping) or set(scores) != set(_SCORES):
        raise InputError(f"{name}={scores!r:.100}: needs the scores {', '.join(_SCORES)}")
    return {score: _number_or_nan(f"{name}[{score!r}]", scores[score]) for score in _SCORES}


def _checked_knots(knots: Any) -> tuple[tuple[float, float], ...]:
    try:
        pairs = np.array([(float(x), float(y)) for x, y in knots], dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"knots={knots!r:.100}: need pairs of a probability and what it becomes") from None
    inside = pairs.size > 0 and bool(((pairs >= 0) & (pairs <= 1)).all())
    if not inside or (np.diff(pairs[:, 0]) <= 0).any() or (np.diff(pairs[:, 1]) < 0).any():
        raise InputError(f"knots={knots!r:.100}: need rising pairs of numbers between 0 and 1, at least one")
    return tuple((x, y) for x, y in pairs.tolist())


# -- the ground --------------------------------------------------------------------------------


def _checked_map(name: str, data: Any) -> tuple[Grid, Floats]:
    """Return the grid and the values of one map or several, (M, Y, X) in float64."""
    if not isinstance(data, xr.DataArray):
        raise InputError(
            f"{name}: is a {type(data).__name__}, needs one variable of the map, for example result.probability"
        )
    if not {"y", "x"} <= set(data.dims) or data.ndim > 3:
        raise InputError(f"{name}: has dims {data.dims}, needs ('y', 'x'), and one more for several maps at most")
    grid = Grid.of(data)
    values: Floats = data.transpose(..., "y", "x").to_numpy().astype(np.float64)
    return grid, values.reshape(-1, *grid.shape)


def _checked_intensity(intensity: Any) -> tuple[Grid, Floats]:
    """Return the grid and the maps, (M, Y, X), which have their ground in common."""
    grid, maps = _checked_map("intensity", intensity)
    ground = np.isfinite(maps)
    if (maps < 0).any() or np.isinf(maps).any():
        raise InputError("intensity: has values that are negative or infinite; make it with intensity(probability, …)")
    if (ground != ground[0]).any():
        raise InputError("intensity: the maps differ in where they are NaN; put them on common ground with .where(…)")
    if not (np.nansum(maps, axis=(1, 2)) > 0).all():
        raise InputError("intensity: is 0 or NaN everywhere, so there is nothing to share out")
    return grid, maps


def _warn_of_probabilities(probability: xr.DataArray, p: Floats) -> None:
    if "uncalibrated" in str(probability.attrs.get("long_name", "")):
        warnings.warn(
            "probability: is uncalibrated, so the contrasts of the intensity are too strong; fit calibrate(…) out of "
            "fold and pass calibration.apply(probability)",
            DataWarning,
            stacklevel=3,
        )
    sure = int(((p < _SURE) | (p > 1 - _SURE)).sum())
    if sure:
        warnings.warn(
            f"probability: {sure} of {int(np.isfinite(p).sum())} values lie beyond {_SURE:g} and 1 - {_SURE:g} and are "
            "taken for these: no window is that sure",
            DataWarning,
            stacklevel=3,
        )


def _unit_km(crs: CRS) -> float:
    """Return the length of one unit of a projected CRS in km."""
    return float(crs.axis_info[0].unit_conversion_factor) / 1000


def _cell_areas(grid: Grid) -> Floats:
    """Return the area of the cells of each row in km², (Y, 1)."""
    dy, dx = grid.resolution
    if not grid.crs.is_geographic:
        return np.full((grid.shape[0], 1), dx * dy * _unit_km(grid.crs) ** 2)
    to_radians = float(grid.crs.axis_info[0].unit_conversion_factor)
    edges = np.clip(grid.bounds[3] - dy * np.arange(grid.shape[0] + 1), -np.pi / 2 / to_radians, np.pi / 2 / to_radians)
    geod = _geod(grid.crs)
    zone: Floats = -np.diff(_authalic(np.sin(edges * to_radians), math.sqrt(geod.es)))
    return (geod.a / 1000) ** 2 / 2 * dx * to_radians * zone[:, None]


def _geod(crs: CRS) -> Geod:
    geod = crs.get_geod()
    if geod is None:
        raise CRSError(f"crs={crs.name!r}: has no ellipsoid, so there are no areas; bring the map into a projected CRS")
    return geod


def _authalic(sine: Floats, e: float) -> Floats:
    """Return what the area between equator and latitude grows with: 2 sin(latitude) on a sphere."""
    if e < 1e-9:
        return 2 * sine
    return (1 - e**2) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e)


def _window_areas(probability: xr.DataArray, grid: Grid, window_area: float | None) -> Floats:
    """Return the area of a window in km² in each row, (Y, 1)."""
    if window_area is not None:
        return np.full((grid.shape[0], 1), check_number("window_area", window_area, above=0))
    width = probability.attrs.get("window_width")
    if width is None:
        raise InputError(
            "probability: does not say how wide its windows are (attribute 'window_width'); pass window_area= in km²"
        )
    cells = check_number("probability.attrs['window_width']", width, above=0) ** 2 / math.prod(grid.resolution)
    return _cell_areas(grid) * cells


def _window_counts(z: Floats, share: Floats, total: float) -> Floats:
    """Return the deposits in the window about each cell, m with ``m exp(m) = odds / c``, NaN where z is.

    `share` is the area of a cell over that of a window; ``(m * share).sum()`` is `total`. In logarithms
    ``m + log(m) = z + shift`` is Wright's omega function. The sum is convex in the shift, so that Newton's
    method, once beyond the root, comes down to it.
    """
    ground = np.isfinite(z)
    at, part = z[ground], np.broadcast_to(share, z.shape)[ground]
    top = at.max()
    shift = math.log(total) - top - math.log(float((part * np.exp(at - top)).sum()))
    for _ in range(200):
        m = wrightomega(at + shift)
        step = (total - float((part * m).sum())) / float((part * m / (1 + m)).sum())
        shift += step
        if abs(step) < 1e-10:
            break
    result = np.full(z.shape, np.nan)
    result[ground] = wrightomega(at + shift)
    log.info("log odds of the windows are shifted by %.2f to those of the ground", shift)
    return result


def _polygons_on(polygons: Any, grid: Grid) -> NDArray[np.object_]:
    """Return valid polygons in the CRS of the grid."""
    if not isinstance(polygons, (gpd.GeoDataFrame, gpd.GeoSeries)):
        raise InputError(
            f"polygons: is a {type(polygons).__name__}, needs a GeoDataFrame or GeoSeries; wrap one polygon as "
            "geopandas.GeoSeries([polygon], crs='EPSG:…')"
        )
    geometry = polygons.geometry
    if geometry.crs is None:
        raise CRSError("polygons: carry no CRS, and one is never guessed; set it with .set_crs('EPSG:…')")
    kinds = geometry.geom_type.isin(["Polygon", "MultiPolygon"]).to_numpy() & ~geometry.is_empty.to_numpy()
    if not kinds.all():
        raise InputError(
            f"polygons: row {first_rows(np.flatnonzero(~kinds) + 1)} is missing, empty or no polygon; leave it out, or "
            "take points as circles with .buffer(…)"
        )
    valid = geometry.is_valid.to_numpy()
    if not valid.all():
        raise InputError(
            f"polygons: row {first_rows(np.flatnonzero(~valid) + 1)} crosses itself; mend it with .make_valid()"
        )
    if geometry.crs == grid.crs:
        return geometry.to_numpy()  # type: ignore[no-any-return]
    # A straight edge in one CRS is a curve in another: its course is kept by points in between.
    box = geometry.bounds.to_numpy()
    length = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) / 100
    dense = gpd.GeoSeries(shapely.segmentize(geometry.to_numpy(), length), crs=geometry.crs).to_crs(grid.crs).to_numpy()
    lost = np.array([not np.isfinite(shapely.get_coordinates(one)).all() for one in dense])
    if lost.any():
        raise CRSError(
            f"polygons: row {first_rows(np.flatnonzero(lost) + 1)} has no place in {grid.crs.name!r}; is their CRS "
            f"({geometry.crs.name!r}) right, or are x and y swapped?"
        )
    return shapely.make_valid(dense)  # type: ignore[no-any-return]


def _polygon_area(polygon: shapely.Geometry, grid: Grid) -> float:
    """Return the area in km²: in the plane, or on the ellipsoid for a grid in degrees."""
    if not grid.crs.is_geographic:
        return float(polygon.area) * _unit_km(grid.crs) ** 2
    # Between two corners the geodesic leaves the parallel; between many it hardly does.
    left, bottom, right, top = polygon.bounds
    dense = shapely.segmentize(polygon, max(right - left, top - bottom) / 100)
    return abs(float(_geod(grid.crs).geometry_area_perimeter(dense)[0])) / 1e6


def _coverage(polygon: shapely.Geometry, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return the cells that a polygon touches, rows and columns, and the share of each that lies inside.

    Exact. From one block about the polygon down to single cells: a block that lies inside whole is done,
    one on the edge is cut in four. Each keeps only its own piece of the polygon, so that an outline of
    many corners is not cut from the start again.
    """
    left, bottom, right, top = grid.bounds
    piece = shapely.intersection(polygon, shapely.box(left, bottom, right, top))
    if piece.area == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0)
    side = 1 << max(0, math.ceil(math.log2(max(grid.shape))))
    rows, cols, pieces = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.array([piece])
    found = []
    while True:
        boxes = grid.boxes(rows, cols, side, side)
        pieces = shapely.intersection(pieces, boxes)
        share = shapely.area(pieces) / shapely.area(boxes)
        done = (share > 0) if side == 1 else (share > 1 - 1e-12)
        if done.any():
            found.append(_cells_of_blocks(rows[done], cols[done], side, np.minimum(share[done], 1)))
        edge = (share > 0) & ~done
        if not edge.any():
            break
        side //= 2
        rows, cols = (np.repeat(a[edge], 4) for a in (rows, cols))
        pieces = np.repeat(pieces[edge], 4)
        rows, cols = rows + np.resize([0, 0, side, side], rows.size), cols + np.resize([0, side, 0, side], cols.size)
    r, c, share = (np.concatenate(part) for part in zip(*found, strict=True))
    inside = (r < grid.shape[0]) & (c < grid.shape[1])  # rounding can leave a sliver beyond the rim
    return r[inside], c[inside], share[inside]


def _cells_of_blocks(
    rows: NDArray[np.int64], cols: NDArray[np.int64], side: int, share: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:  # fmt: skip
    """Return the single cells of square blocks."""
    down, across = (a.ravel() for a in np.indices((side, side)))
    return (rows[:, None] + down).ravel(), (cols[:, None] + across).ravel(), np.repeat(share, side * side)


def _share_of_ground(
    shape: shapely.Geometry, grid: Grid, ground_area: Floats, shares: Floats
) -> tuple[float, float, float]:  # fmt: skip
    """Return the ground in a polygon in km², its share of all deposits, and the spread of that over the maps."""
    row, col, part = _coverage(shape, grid)
    area = float((ground_area[row, col] * part).sum())
    if area == 0:
        return 0.0, math.nan, math.nan
    each = np.minimum((shares[:, row, col] * part).sum(axis=1), 1)  # (M,)
    # The truth is taken for one more of the maps: it differs from their mean by more than they do from each other.
    spread = float(each.std(ddof=1)) * math.sqrt(1 + 1 / each.size) if each.size > 1 else 0.0
    return area, float(each.mean()), spread


def _known_on(
    deposits: gpd.GeoDataFrame, grid: Grid, ground: NDArray[np.bool_], name: str = "known"
) -> Floats:  # fmt: skip
    """Return the points of deposits on the ground of the map, (D, 2)."""
    if deposits.crs is None:
        raise CRSError(f"{name}: carry no CRS; set one with .set_crs('EPSG:…')")
    x, y = grid.points(deposits.geometry)
    on = grid.contains(x, y)
    row, col = grid.rowcol(x[on], y[on])
    on[on] = ground[row, col]
    if not on.all():
        warnings.warn(
            f"{name}: {int((~on).sum())} of {len(on)} deposits lie off the ground of the map and are left out",
            DataWarning,
            stacklevel=3,
        )
    return np.column_stack([x, y])[on]


# -- numbers of deposits -----------------------------------------------------------------------


def _shares(maps: Floats, area: Floats) -> tuple[float, Floats]:
    """Return the total of the maps, and the share of it in every cell, (M, Y, X)."""
    per_cell = np.nan_to_num(maps) * area
    totals = per_cell.sum(axis=(1, 2))
    total = float(totals.mean())
    if total > _MOST:
        raise InputError(f"intensity: sums to {total:g} deposits; it is needed in deposits per km²")
    if np.ptp(totals) > 1e-3 * total:
        raise InputError(
            f"intensity: the maps sum to {totals.min():g} to {totals.max():g} deposits; make each with "
            "intensity(probability, n_deposits) and the same number"
        )
    # float32 leaves 40.0000012 of 40.
    whole = round(total)
    return float(whole) if abs(total - whole) < 1e-6 * total else total, per_cell / totals[:, None, None]


def _check_sd(sd: float | None, uncertain: float) -> None:
    """Raise where the total varies more than what is uncertain in it can."""
    if sd is not None and sd > 2 * uncertain:
        raise InputError(
            f"n_deposits_sd={sd:g}: is more than twice the {uncertain:g} deposits that it belongs to (with known=, "
            "those to be found); if that little is known of the total, no interval can be given"
        )


def _left_to_find(total: float, n_known: int) -> float:
    """Return the number of undiscovered deposits on the map."""
    if n_known > total:
        raise InputError(
            f"known: {n_known} deposits are known on the ground of the map, whose intensity sums to {total:g}; "
            "n_deposits of intensity(…) counts the known ones and those to be found"
        )
    return total - n_known


def _correlation(share: float, spread: float, clustered: float) -> float:
    """Return how much two deposits have in common: of a cluster, or of an intensity that may be wrong."""
    greatest = share * (1 - share)  # the variance of a share that is either 0 or 1
    common = min(spread**2 / greatest, 1.0) if greatest > 0 else 0.0
    return min(1 - (1 - common) * (1 - clustered), 1 - 1e-9)


@lru_cache(maxsize=8)
def _totals(mean: float, sd: float | None, dispersion: float) -> tuple[NDArray[np.int64], Floats]:
    """Return the numbers that the total may be, and how likely each is.

    Without `sd` it is Poisson, or negative binomial with a variance of `dispersion` times the mean. With
    one it is a gamma variable, each value shared out between the whole numbers beside it, so that the mean
    is kept, and without any spread there is none.
    """
    if mean == 0:
        return np.zeros(1, dtype=np.int64), np.ones(1)
    if sd is None:
        law = stats.poisson(mean) if dispersion == 1 else stats.nbinom(mean / (dispersion - 1), 1 / dispersion)
        low, high = law.ppf([_TAIL, 1 - _TAIL])
        edges = np.unique(np.linspace(low - 1, high, min(_NODES, int(high - low) + 1) + 1).round())
        weight = np.diff(law.cdf(edges))
        return np.ceil((edges[:-1] + 1 + edges[1:]) / 2).astype(np.int64), weight / weight.sum()
    middle = (np.arange(_NODES) + 0.5) / _NODES
    values = stats.gamma.ppf(middle, (mean / sd) ** 2, scale=sd**2 / mean) if sd > 1e-6 * mean else np.array([mean])
    values *= mean / values.mean()  # the last of them stands for a tail, and falls short of it
    below = np.floor(values)
    numbers, at = np.unique(np.concatenate([below, below + 1]), return_inverse=True)
    weight = np.bincount(at, np.concatenate([below + 1 - values, values - below]))
    return numbers.astype(np.int64), weight / weight.sum()


def _interval(
    share: float, correlation: float, numbers: NDArray[np.int64], weight: Floats, level: float
) -> tuple[float, float]:  # fmt: skip
    """Return the least and the greatest number that are not among the (1 - level)/2 at either end."""
    if math.isnan(share):
        return math.nan, math.nan
    chance = _chances(share, correlation, numbers)  # (N, K)
    below = np.cumsum(weight @ chance)
    # A hair, so that rounding takes no number away that stands on the limit.
    tail = (1 - level) / 2 - 1e-12
    return float((below < tail).sum()), float(min((below < 1 - (1 - level) / 2 - 1e-12).sum(), numbers.max()))


def _chances(share: float, correlation: float, numbers: NDArray[np.int64]) -> Floats:
    """Return how likely 0, 1, 2, … of each number of deposits fall into the polygon, (N, K): beta-binomial.

    Its rising factorials are sums of logarithms, which tables hold: no gamma function for every entry, and
    the binomial is the same with powers in their place.
    """
    k: NDArray[np.int64] = np.arange(int(numbers.max()) + 1)
    if share <= 0 or share >= 1:
        return np.equal(k, numbers[:, None] * (share >= 1), dtype=bool).astype(np.float64)
    i = k[:-1].astype(np.float64)
    if correlation < 1e-9:
        inside, outside, all_ = k * math.log(share), k * math.log1p(-share), np.zeros(k.size)
    else:
        like = 1 / correlation - 1
        inside, outside, all_ = (_running(np.log(one + i)) for one in (share * like, (1 - share) * like, like))
    factorial = _running(np.log1p(i))
    rest = numbers[:, None] - k
    at = np.maximum(rest, 0)
    log_chance = factorial[numbers, None] - factorial[k] - factorial[at] + inside[k] + outside[at] - all_[numbers, None]
    chance: Floats = np.exp(np.where(rest >= 0, log_chance, -np.inf))
    return chance


def _running(steps: Floats) -> Floats:
    """Return 0 and the running sums."""
    return np.concatenate([[0.0], np.cumsum(steps)])


def _table(rows: list[dict[str, float]], index: pd.Index, with_known: bool) -> pd.DataFrame:
    """Return the rows as a table, numbers of deposits as whole numbers; say which polygons leave the ground."""
    columns = ["area_km2", "covered", "expected", "low", "high"]
    columns += ["known", "undiscovered", "undiscovered_low", "undiscovered_high"] if with_known else []
    table = pd.DataFrame(rows, index=index, columns=columns)
    whole = [name for name in columns if name == "known" or name.endswith(("low", "high"))]
    table = table.astype(dict.fromkeys(columns, "float64") | dict.fromkeys(whole, "Int64"))
    partly = np.flatnonzero(table["covered"] < 1 - 1e-3)
    if partly.size:
        said = [f"{index[at]} ({table['covered'].iloc[at]:.0%})" for at in partly]
        warnings.warn(
            f"polygons: {partly.size} of {len(table)} lie partly or wholly off the ground of the map, which alone "
            f"counts: {first_rows(said)}",
            DataWarning,
            stacklevel=3,
        )
    return table
