"""Calibrate the scores of windows by temperature scaling or isotonic regression."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, overload

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from geoprospect._checks import check_choice, check_int, check_number, check_rng, user_level
from geoprospect.errors import DataWarning, InputError
from geoprospect.stats.metrics import brier_score, calibration_slope, labels_and_scores

Method = Literal["auto", "temperature", "isotonic"]
Floats = NDArray[np.float64]

# A probability is taken for at least this and at most one less this, as by `calibration_slope`.
SURE = 1e-6
# Clusters of deposits from which on a step function can be told from chance.
_ENOUGH = 50
_COLDEST, _HOTTEST = 0.05, 20.0  # temperatures beyond these say that there is none
_AT_THE_END = 1.01  # of an interval that ends there
_REPLICATES = 1000
_SCORES = ("log_loss", "brier", "slope")
CALIBRATED = "probability of ore in a balanced set of windows (calibrated)"


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
    >>> from geoprospect.stats.calibration import Calibration
    >>> calibration = Calibration("temperature", 2.0, 1.5, 2.8, 23, scores, scores)
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
            scores = getattr(self, name)
            if not isinstance(scores, Mapping) or set(scores) != set(_SCORES):
                raise InputError(f"{name}={scores!r:.100}: needs the scores {', '.join(_SCORES)}")
            checked = {score: _number_or_nan(f"{name}[{score!r}]", scores[score]) for score in _SCORES}
            object.__setattr__(self, name, checked)
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

    @property
    def is_told(self) -> bool:
        """Whether the clusters tell the temperature: its interval ends within 0.05 to 20, all that is tried."""
        if self.method == "isotonic":
            return True
        return self.low > _COLDEST * _AT_THE_END and self.high < _HOTTEST / _AT_THE_END  # False where they are NaN

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
        result.attrs.update(units="1", long_name=CALIBRATED, calibrated=1)
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
        p, kind = checked_probability(probability)
        if self.method == "isotonic":
            x, y = np.array(self.knots).T
            result = np.where(np.isnan(p), np.nan, np.interp(p, x, y))
        else:
            result = expit(log_odds(p) / self.temperature)
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
        low, high = _temperature_interval(ore, log_odds(p), weight, unit, generator)
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


def log_odds(p: Floats) -> Floats:
    """Return ln(p / (1 - p)) of probabilities that are nowhere quite sure."""
    z: Floats = logit(np.clip(p, SURE, 1 - SURE))
    return z


def checked_probability(probability: ArrayLike) -> tuple[Floats, np.dtype[Any]]:
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
    checked_probability(p)
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
    temperature = _temperature(ore, log_odds(p), weight)
    if temperature in (_COLDEST, _HOTTEST):
        what = (
            "are right without an error, or all near 0.5" if temperature == _COLDEST else "do not tell ore from barren"
        )
        warnings.warn(
            f"probabilities: {what}, so that no temperature fits; {temperature:g} is taken",
            DataWarning,
            stacklevel=user_level(),
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
    z = log_odds(p)
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


def _checked_knots(knots: Any) -> tuple[tuple[float, float], ...]:
    try:
        pairs = np.array([(float(x), float(y)) for x, y in knots], dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"knots={knots!r:.100}: need pairs of a probability and what it becomes") from None
    inside = pairs.size > 0 and bool(((pairs >= 0) & (pairs <= 1)).all())
    if not inside or (np.diff(pairs[:, 0]) <= 0).any() or (np.diff(pairs[:, 1]) < 0).any():
        raise InputError(f"knots={knots!r:.100}: need rising pairs of numbers between 0 and 1, at least one")
    return tuple((x, y) for x, y in pairs.tolist())
