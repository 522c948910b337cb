"""Logarithms and log-ratios of concentrations, and factors of them, as transformers of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.covariance import MinCovDet
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from geoprospect._checks import check_int, check_names, check_number, did_you_mean, first_rows
from geoprospect.errors import InputError

Floats = NDArray[np.float64]

# Robust covariances need several samples for each dimension; below that they are chance.
_PER_DIMENSION = 5
# Smallest variance, relative to the largest, that is more than rounding.
_FLAT = 1e-12
# Parts of a side that a name of a coordinate lists.
_LISTED = 3


class Log10(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Logarithm to base 10 of positive values; NaN stays NaN.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where `X` had some.

    Examples
    --------
    >>> import geoprospect as gp
    >>> gp.Log10().fit_transform([[1.0, 10.0], [100.0, 0.1]])
    array([[ 0.,  1.],
           [ 2., -1.]])
    """

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Remember the columns.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Positive values; NaN where missing.
        y : ignored
            There by the contract of scikit-learn.

        Returns
        -------
        Log10
            Itself.

        Raises
        ------
        InputError
            When a value is 0 or negative.
        """
        _check_rows(self, X, validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan"))
        return self

    def transform(self, X: ArrayLike) -> Floats:
        """Return the logarithms, of the shape of `X`.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Positive values; NaN where missing.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Logarithms to base 10.
        """
        check_is_fitted(self)
        values = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        _check_rows(self, X, values)
        logs: Floats = np.log10(values)
        return logs

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Return 10 to the power of `X`.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Logarithms to base 10.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Values.
        """
        check_is_fitted(self)
        logs = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        powers: Floats = 10.0**logs
        return powers

    def long_names_out(self, long_names: Sequence[str]) -> list[str]:
        """Return what the columns are, for a legend."""
        return [f"logarithm of {name}" for name in long_names]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.allow_nan = True
        return tags


class _LogRatio(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What the three log-ratios share: the parts, the rest, and the way back by closing."""

    closure: float
    rest: bool

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Remember the parts.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_parts)
            Positive parts, all in one unit.
        y : ignored
            There by the contract of scikit-learn.

        Returns
        -------
        _LogRatio
            Itself.

        Raises
        ------
        InputError
            When a part is 0 or negative, leaves no room for the rest, or a setting does not fit.
        """
        check_number("closure", self.closure, above=0)
        self._whole(X, validate_data(self, X, dtype=np.float64, ensure_min_features=1 if self.rest else 2))
        self._settle(self._parts())
        return self

    def transform(self, X: ArrayLike) -> Floats:
        """Return the log-ratios.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_parts)
            Positive parts, all in the unit of those in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_ratios)
            Natural logarithms of ratios.
        """
        check_is_fitted(self)
        whole = self._whole(X, validate_data(self, X, dtype=np.float64, reset=False))
        return self._ratios(np.log(whole))

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Return parts that sum up to `closure`, without the rest where there is one.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_ratios)
            Log-ratios.

        Returns
        -------
        ndarray of shape (n_samples, n_parts)
            Positive parts.
        """
        check_is_fitted(self)
        ratios = check_array(X, dtype=np.float64)
        expected = len(self.get_feature_names_out())
        if ratios.shape[1] != expected:
            raise InputError(f"X: has {ratios.shape[1]} columns, needs the {expected} log-ratios that transform gives")
        logs = self._logs(ratios)
        parts = np.exp(logs - logs.max(axis=1, keepdims=True))  # nothing overflows: the largest is 1
        parts *= self.closure / parts.sum(axis=1, keepdims=True)
        return np.asarray(parts[:, : self.n_features_in_])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the log-ratios.

        Parameters
        ----------
        input_features : array_like of str, optional
            Names of the parts, where `fit` saw none.

        Returns
        -------
        ndarray of str
            One for each.
        """
        return np.array(self._names(self._parts(input_features)), dtype=object)

    def _parts(self, input_features: Any = None) -> list[str]:
        """Return the names of the parts, the rest included."""
        names = [str(name) for name in super().get_feature_names_out(input_features)]
        if self.rest and "rest" in names:
            raise InputError("rest=True: a part is named 'rest' already; rename it")
        return [*names, "rest"] if self.rest else names

    def _whole(self, X: Any, parts: Floats) -> Floats:
        """Return the parts with the rest, where it is asked for, all checked to be positive."""
        _check_rows(self, X, parts)
        if not self.rest:
            return parts
        total = parts.sum(axis=1)
        over = np.flatnonzero(total >= self.closure)
        if over.size:
            raise InputError(
                f"closure={self.closure!r}: the parts of {over.size} rows leave no rest (row "
                f"{first_rows(_labels(X, over))}; those of the first sum up to {total[over[0]]:g}); closure is the "
                "whole in the unit of the parts: 1e6 for ppm, 100 for %"
            )
        return np.column_stack([parts, self.closure - total])

    def _settle(self, parts: list[str]) -> None:
        """Resolve settings that depend on the parts."""

    def _ratios(self, logs: Floats) -> Floats:
        raise NotImplementedError

    def _logs(self, ratios: Floats) -> Floats:
        """Return logarithms of the parts, but for a constant in each row."""
        raise NotImplementedError

    def _names(self, parts: list[str]) -> list[str]:
        raise NotImplementedError

    def long_names_out(self, long_names: Sequence[str]) -> list[str]:
        """Return what the log-ratios are, for a legend."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


class CLR(_LogRatio):
    """Centred log-ratio: each part against the geometric mean of all parts.

    ``clr(x)_i = ln(x_i / g(x))``, with the geometric mean g of the parts of a sample [1]_. It has a
    column for each part and keeps distances, but its columns sum up to 0, so that their covariance
    is singular. The clr of some elements is not what it is among all elements, because the mean
    is another one; `rest` makes the difference small where the elements are traces.

    Parameters
    ----------
    closure : float, default 1
        What the parts sum up to: those that `inverse_transform` returns, and with `rest` those of
        every sample, the rest included; then 1e6 for ppm, 100 for %.
    rest : bool, default False
        Whether to add what is missing in the whole as a part of its own, named 'rest'.

    Attributes
    ----------
    n_features_in_ : int
        Number of parts, without the rest.
    feature_names_in_ : ndarray of str
        Their names, where `X` had some.

    See Also
    --------
    ALR : against one part.
    ILR : orthonormal coordinates.

    References
    ----------
    .. [1] Aitchison, J. (1982). The statistical analysis of compositional data. Journal of the Royal
       Statistical Society B 44, 139-177. https://doi.org/10.1111/j.2517-6161.1982.tb01195.x

    Examples
    --------
    >>> import geoprospect as gp
    >>> clr = gp.CLR().fit([[0.1, 0.3, 0.4, 0.2]])
    >>> clr.transform([[0.1, 0.3, 0.4, 0.2]]).round(4)
    array([[-0.7945,  0.3041,  0.5918, -0.1014]])
    >>> clr.inverse_transform([[-0.7945, 0.3041, 0.5918, -0.1014]]).round(4)
    array([[0.1, 0.3, 0.4, 0.2]])
    """

    def __init__(self, closure: float = 1.0, rest: bool = False) -> None:
        self.closure = closure
        self.rest = rest

    def _ratios(self, logs: Floats) -> Floats:
        centred: Floats = logs - logs.mean(axis=1, keepdims=True)
        return centred

    def _logs(self, ratios: Floats) -> Floats:
        return ratios

    def _names(self, parts: list[str]) -> list[str]:
        return parts

    def long_names_out(self, long_names: Sequence[str]) -> list[str]:
        """Return what the log-ratios are, for a legend."""
        return [f"{name}, centred log-ratio" for name in [*long_names, *(["rest"] if self.rest else [])]]


class ALR(_LogRatio):
    """Additive log-ratio: each part against one of them.

    ``alr(x)_i = ln(x_i / x_d)`` with the denominator d [1]_, for example an immobile element such as
    Zr, Ti or Al. Easy to read, and the same for a subset of the elements; but it does not keep
    distances, so it is not for clustering or principal components.

    Parameters
    ----------
    denominator : str or int, default -1
        Name or position of the part that all others are divided by. With `rest` the last one, and
        so the default, is the rest.
    closure : float, default 1
        As in `CLR`.
    rest : bool, default False
        As in `CLR`.

    Attributes
    ----------
    denominator_ : int
        Position of the denominator.
    n_features_in_ : int
        Number of parts, without the rest.
    feature_names_in_ : ndarray of str
        Their names, where `X` had some.

    References
    ----------
    .. [1] Aitchison, J. (1982). The statistical analysis of compositional data. Journal of the Royal
       Statistical Society B 44, 139-177. https://doi.org/10.1111/j.2517-6161.1982.tb01195.x

    Examples
    --------
    >>> import pandas as pd
    >>> import geoprospect as gp
    >>> alr = gp.ALR(denominator="Zr").set_output(transform="pandas")
    >>> alr.fit_transform(pd.DataFrame({"Cu": [20.0, 80.0], "Zr": [200.0, 200.0], "Ni": [10.0, 20.0]})).round(3)
       Cu_over_Zr  Ni_over_Zr
    0      -2.303      -2.996
    1      -0.916      -2.303
    """

    def __init__(self, denominator: str | int = -1, closure: float = 1.0, rest: bool = False) -> None:
        self.denominator = denominator
        self.closure = closure
        self.rest = rest

    def _settle(self, parts: list[str]) -> None:
        if isinstance(self.denominator, str):
            check_names("denominator", self.denominator, parts, "part")
            self.denominator_ = parts.index(self.denominator)
            return
        at = check_int("denominator", self.denominator, -len(parts))
        if at >= len(parts):
            raise InputError(f"denominator={at}: there are {len(parts)} parts, counted from 0")
        self.denominator_ = at % len(parts)

    def _ratios(self, logs: Floats) -> Floats:
        below = logs[:, [self.denominator_]]
        return np.delete(logs, self.denominator_, axis=1) - below

    def _logs(self, ratios: Floats) -> Floats:
        return np.insert(ratios, self.denominator_, 0.0, axis=1)

    def _names(self, parts: list[str]) -> list[str]:
        below = parts[self.denominator_]
        return [f"{part}_over_{below}" for part in parts if part != below]

    def long_names_out(self, long_names: Sequence[str]) -> list[str]:
        """Return what the log-ratios are, for a legend."""
        whole = [*long_names, *(["rest"] if self.rest else [])]
        below = whole.pop(self.denominator_)
        return [f"{name} / {below}, additive log-ratio" for name in whole]


class ILR(_LogRatio):
    """Isometric log-ratio: orthonormal coordinates, one fewer than there are parts.

    Each coordinate is a balance: the logarithm of the geometric mean of some parts over that of
    others, times ``sqrt(r s / (r + s))`` for r and s parts [1]_. Distances and angles are those of the
    clr, and the covariance is regular, which regressions and robust methods need.

    Parameters
    ----------
    partition : None, sequence of str, or array_like of shape (n_parts - 1, n_parts), optional
        Which parts a coordinate contrasts. None: pivot coordinates [2]_, each part against all that
        follow it, so that the first coordinate holds all that is to be known of the first part.
        Names of all parts: pivot coordinates in that order. A matrix: a sequential binary
        partition, 1 above and -1 below the line, 0 where a part does not take part. The rest, where
        there is one, is the last part, and is named 'rest'.
    closure : float, default 1
        As in `CLR`.
    rest : bool, default False
        As in `CLR`.

    Attributes
    ----------
    signs_ : ndarray of shape (n_parts - 1, n_parts)
        The partition.
    contrasts_ : ndarray of shape (n_parts - 1, n_parts)
        The orthonormal basis: ``ilr(x) = contrasts_ @ clr(x)``.
    n_features_in_ : int
        Number of parts, without the rest.
    feature_names_in_ : ndarray of str
        Their names, where `X` had some.

    References
    ----------
    .. [1] Egozcue, J. J., Pawlowsky-Glahn, V., Mateu-Figueras, G. & Barceló-Vidal, C. (2003). Isometric logratio
       transformations for compositional data analysis. Mathematical Geology 35, 279-300.
       https://doi.org/10.1023/A:1023818214614
    .. [2] Fišerová, E. & Hron, K. (2011). On the interpretation of orthonormal coordinates for
       compositional data. Mathematical Geosciences 43, 455-468. https://doi.org/10.1007/s11004-011-9333-x

    Examples
    --------
    >>> import pandas as pd
    >>> import geoprospect as gp
    >>> table = pd.DataFrame({"Cu": [0.1, 0.2], "Zn": [0.3, 0.3], "Pb": [0.6, 0.5]})
    >>> ilr = gp.ILR([[-1, 1, -1], [1, 0, -1]]).set_output(transform="pandas")
    >>> ilr.fit_transform(table).round(3)
       ilr1_Zn_over_Cu_Pb  ilr2_Cu_over_Pb
    0               0.166           -1.267
    1              -0.043           -0.648
    """

    def __init__(self, partition: Any = None, closure: float = 1.0, rest: bool = False) -> None:
        self.partition = partition
        self.closure = closure
        self.rest = rest

    def _settle(self, parts: list[str]) -> None:
        n = len(parts)
        given = None if self.partition is None else np.asarray(self.partition)
        if given is None or given.dtype.kind in "UOT":
            order = list(range(n)) if given is None else _order(list(map(str, given.ravel())), parts)
            self.signs_: Floats = np.zeros((n - 1, n))
            self.signs_[:, order] = pivot_signs(n)
        else:
            self.signs_ = _check_partition(given, n)
        self.contrasts_: Floats = balances(self.signs_)

    def _ratios(self, logs: Floats) -> Floats:
        coordinates: Floats = logs @ self.contrasts_.T
        return coordinates

    def _logs(self, ratios: Floats) -> Floats:
        logs: Floats = ratios @ self.contrasts_
        return logs

    def _names(self, parts: list[str]) -> list[str]:
        def side(row: Floats, sign: int) -> str:
            names = [part for part, one in zip(parts, row, strict=True) if one == sign]
            return "_".join([*names[:_LISTED], *([f"and_{len(names) - _LISTED}"] if len(names) > _LISTED else [])])

        # Numbered, so that two of which only the first parts are listed have different names.
        return [f"ilr{i}_{side(row, 1)}_over_{side(row, -1)}" for i, row in enumerate(self.signs_, 1)]

    def long_names_out(self, long_names: Sequence[str]) -> list[str]:
        """Return what the log-ratios are, for a legend."""
        whole = [*long_names, *(["rest"] if self.rest else [])]

        def side(row: Floats, sign: int) -> str:
            return ", ".join(name for name, one in zip(whole, row, strict=True) if one == sign)

        return [f"({side(row, 1)}) / ({side(row, -1)}), isometric log-ratio" for row in self.signs_]


class CompositionalPCA(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Principal components of log-ratios, robust against outliers.

    The parts are taken to isometric log-ratios, where location and covariance are those of the
    minimum covariance determinant; eigenvectors are carried back to centred log-ratios, so that
    there is a loading for each part [1]_.

    Parameters
    ----------
    n_factors : int, default 3
        Number of components.
    robust : bool, default True
        Whether to use the minimum covariance determinant; else mean and covariance of all rows.
    random_state : int, default 0
        Seed of its starting subsets.

    Attributes
    ----------
    center_ : ndarray of shape (n_parts,)
        Location as a clr.
    loadings_ : ndarray of shape (n_parts, n_factors)
        Eigenvectors as clr: columns of length 1 that sum up to 0. The largest by absolute value
        is positive.
    explained_variance_ratio_ : ndarray of shape (n_factors,)
        Shares of the total variance.

    References
    ----------
    .. [1] Filzmoser, P., Hron, K. & Reimann, C. (2009). Principal component analysis for compositional
       data with outliers. Environmetrics 20, 621-632. https://doi.org/10.1002/env.966

    Examples
    --------
    >>> import numpy as np
    >>> from geoprospect.geochem.log_ratios import CompositionalPCA
    >>> parts = np.random.default_rng(0).lognormal([0, 1, 2], [1, 0.1, 0.1], (200, 3))
    >>> CompositionalPCA(1).fit(parts).loadings_.round(2)
    array([[ 0.82],
           [-0.41],
           [-0.41]])
    """

    def __init__(self, n_factors: int = 3, robust: bool = True, random_state: int = 0) -> None:
        self.n_factors = n_factors
        self.robust = robust
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Find location and components.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_parts)
            Positive parts; their units may differ, as a factor moves a column of logarithms only.
        y : ignored
            There by the contract of scikit-learn.

        Returns
        -------
        CompositionalPCA
            Itself.

        Raises
        ------
        InputError
            When a part is 0 or negative, there are too few rows for so many parts, or half of the
            rows or more hold the same ratio of some parts.
        """
        parts = validate_data(self, X, dtype=np.float64, ensure_min_features=2, ensure_min_samples=2)
        _check_rows(self, X, parts)
        n, p = len(parts), parts.shape[1] - 1
        most = check_int("n_factors", self.n_factors)
        if most > min(p, n - 1):
            raise InputError(f"n_factors={most}: {p + 1} parts and {n} rows have at most {min(p, n - 1)}")
        if self.robust and n < _PER_DIMENSION * p:
            raise InputError(
                f"robust=True: {n} complete rows are too few for {p + 1} parts, needs at least "
                f"{_PER_DIMENSION * p}, {_PER_DIMENSION} for each log-ratio; pass robust=False or take fewer elements"
            )
        basis = balances(pivot_signs(p + 1))  # (D-1, D)
        coordinates = np.log(parts) @ basis.T  # (N, D-1)
        location, covariance = self._moments(coordinates, parts)
        variances, vectors = np.linalg.eigh(covariance)
        variances, vectors = variances[::-1], vectors[:, ::-1]
        if self.robust and variances[-1] <= _FLAT * variances[0]:
            raise self._flat(parts)
        if not variances[0] > 0:
            raise InputError("X: all rows hold the same ratios; there is nothing to explain")
        loadings = basis.T @ vectors[:, :most]
        largest = np.abs(loadings).argmax(axis=0)
        self.loadings_: Floats = loadings * np.sign(loadings[largest, np.arange(most)])
        self.center_: Floats = location @ basis
        self.explained_variance_ratio_: Floats = variances[:most] / variances.sum()
        return self

    def transform(self, X: ArrayLike) -> Floats:
        """Return the scores.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_parts)
            Positive parts in the units of those in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_factors)
            Coordinates along the components; 0 at the location.
        """
        check_is_fitted(self)
        parts = validate_data(self, X, dtype=np.float64, reset=False)
        _check_rows(self, X, parts)
        # The columns of loadings sum up to 0: logarithms need not be centred by row.
        scores: Floats = (np.log(parts) - self.center_) @ self.loadings_
        return scores

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return F1, F2, …"""  # noqa: D400
        check_is_fitted(self)
        return np.array([f"F{i}" for i in range(1, self.loadings_.shape[1] + 1)], dtype=object)

    def long_names_out(self, long_names: Sequence[str]) -> list[str]:
        """Return what the factors are, for a legend."""
        kind = "robust factor" if self.robust else "factor"
        return [
            f"{kind} {i} ({share:.0%} of the variance)" for i, share in enumerate(self.explained_variance_ratio_, 1)
        ]

    def _moments(self, coordinates: Floats, parts: Floats) -> tuple[Floats, Floats]:
        """Return location and covariance of the coordinates."""
        if not self.robust:
            return coordinates.mean(axis=0), np.atleast_2d(np.cov(coordinates.T))
        with warnings.catch_warnings():
            # What it warns of is a covariance without full rank, and that is looked at afterwards.
            warnings.simplefilter("ignore")
            try:
                mcd = MinCovDet(random_state=self.random_state).fit(coordinates)
            except ValueError as err:
                raise self._flat(parts) from err
        return mcd.location_, mcd.covariance_

    def _flat(self, parts: Floats) -> InputError:
        """Return the error for rows of which half and more lie in a plane."""
        shares = [np.unique(column, return_counts=True)[1].max() / len(column) for column in parts.T]
        worst = int(np.argmax(shares))
        name = getattr(self, "feature_names_in_", np.arange(parts.shape[1]))[worst]
        return InputError(
            f"robust=True: in half of the rows or more some parts keep the same ratio, so that their covariance has "
            f"no full rank; the most repeated value is of {name!r} ({shares[worst]:.0%} of the rows). Leave out "
            "elements that are mostly below detection or copies of others, or pass robust=False"
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def pivot_signs(n_parts: int) -> Floats:
    """Return the partition of pivot coordinates, (n_parts - 1, n_parts): each part against all that follow."""
    return np.eye(n_parts - 1, n_parts) - np.triu(np.ones((n_parts - 1, n_parts)), 1)


def balances(signs: Floats) -> Floats:
    """Return the contrasts of a partition: rows of length 1 that sum up to 0; of the shape of `signs`."""
    above, below = (signs > 0).sum(axis=1, keepdims=True), (signs < 0).sum(axis=1, keepdims=True)
    up, down = np.sqrt(below / (above * (above + below))), np.sqrt(above / (below * (above + below)))
    return np.where(signs > 0, up, np.where(signs < 0, -down, 0.0))


def check_positive(values: NDArray[Any], name: str, labels: Any = None, row: str = "row") -> None:
    """Raise where a finite value of a column, (N,), is 0 or negative and has no logarithm."""
    wrong = np.flatnonzero(values <= 0)
    if wrong.size:
        where = first_rows(wrong if labels is None else np.asarray(labels)[wrong])
        raise InputError(
            f"column {name!r}: {wrong.size} values are 0 or negative ({row} {where}; the first is "
            f"{values[wrong[0]]:g}) and have no logarithm; replace those below detection, for example with "
            "replace_censored(samples), or leave the column out"
        )


def _check_rows(estimator: Any, X: Any, values: Floats) -> None:
    """Raise where a value is 0 or negative, naming its column and row as the caller does."""
    names = getattr(estimator, "feature_names_in_", [f"x{j}" for j in range(values.shape[1])])
    for name, column in zip(names, values.T, strict=True):
        check_positive(column, str(name), getattr(X, "index", None))


def _labels(X: Any, rows: NDArray[np.intp]) -> Any:
    """Return what the caller calls these rows."""
    return np.asarray(X.index)[rows] if hasattr(X, "index") and not isinstance(X, list) else rows


def _order(names: list[str], parts: list[str]) -> list[int]:
    """Return the positions of the parts in the order of their names."""
    if sorted(names) != sorted(parts):
        odd = sorted(set(names) ^ set(parts)) or names
        raise InputError(
            f"partition: {odd[0]!r} is not once among both; it needs the names of all parts, {', '.join(parts)}"
            f"{did_you_mean(odd[0], parts)}"
        )
    return [parts.index(name) for name in names]


def _check_partition(signs: NDArray[Any], n: int) -> Floats:
    """Return a sequential binary partition of n parts as floats."""
    rule = f"needs {n - 1} rows for {n} parts, of 1, -1 and 0"
    if signs.shape != (n - 1, n):
        raise InputError(f"partition: has shape {signs.shape}, {rule}")
    if not np.isin(signs, (-1, 0, 1)).all():
        raise InputError(f"partition: holds {signs[~np.isin(signs, (-1, 0, 1))][0]!r}, {rule}")
    one_sided = np.flatnonzero(((signs > 0).sum(axis=1) == 0) | ((signs < 0).sum(axis=1) == 0))
    if one_sided.size:
        raise InputError(f"partition[{one_sided[0]}]={signs[one_sided[0]].tolist()}: needs a 1 and a -1")
    basis = balances(signs.astype(np.float64))
    odd = np.argwhere(np.abs(basis @ basis.T - np.eye(n - 1)) > 1e-9)
    if odd.size:
        i, j = odd[0]
        raise InputError(
            f"partition: rows {i} and {j} overlap; each row splits one group of an earlier row in two, or the whole"
        )
    return signs.astype(np.float64)
