"""Inverse distance weighting as a regressor of scikit-learn: any points, any number of features, float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data

from geoprospect._checks import check_int, check_number

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Pairs of a point and a neighbour that are worked on at once: 2 MB per array of float64.
_PAIRS = 2**18
# Neighbours asked for beyond the k-th, so that a few ties there are seen without asking again.
_SPARE = 4
# Relative slack of a distance, far above what float64 loses on it.
_ROUNDING = 1e-9


class IDW(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Inverse distance weighting by the rules of `interpolate`, for any points.

    A location takes the mean of the `k` nearest training points, weighted by 1 / distance**power
    [1]_. Of points at the same distance the one that comes first in the table is nearer. On a training
    point its own value comes back; where several coincide, their mean. Fulfils the contract of
    scikit-learn, so it works in ``GridSearchCV`` and ``Pipeline``.

    Parameters
    ----------
    k : int or None, default 12
        Number of nearest points; None takes all.
    power : float, default 2
        Exponent of the distance, more than 0.
    radius : float, optional
        Points farther than this, in units of the features, do not count. Default: all do.
    min_samples : int, default 1
        Locations with fewer points that count are NaN.

    Attributes
    ----------
    points_ : ndarray of shape (n_samples, n_features)
        The training points.
    values_ : ndarray of shape (n_samples, n_outputs)
        The values there.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Their names, where `X` had some.

    Notes
    -----
    Distances are float64 squares of the plain differences, so a tie here is a tie for anybody who
    computes them in the same way. Missing values are refused: fit each element on the samples that
    have it, as `validate_gridding` does.

    References
    ----------
    .. [1] Shepard, D. (1968). A two-dimensional interpolation function for irregularly-spaced
       data. Proc. 23rd ACM National Conference, 517-524. https://doi.org/10.1145/800186.810616

    Examples
    --------
    >>> import geoprospect as gp
    >>> points, copper = [[0, 0], [300, 0], [0, 400]], [10.0, 40.0, 20.0]
    >>> gp.IDW(k=2).fit(points, copper).predict([[100, 0], [0, 0]])
    array([16., 10.])
    """

    def __init__(
        self, k: int | None = 12, power: float = 2.0, radius: float | None = None, min_samples: int = 1
    ) -> None:
        self.k = k
        self.power = power
        self.radius = radius
        self.min_samples = min_samples

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Keep the points and their values.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Coordinates; for distances in metres, of a projected CRS.
        y : array_like of shape (n_samples,) or (n_samples, n_outputs)
            Values there, finite.

        Returns
        -------
        IDW
            Itself.

        Raises
        ------
        InputError
            When a setting is out of its range.
        """
        self._rule()
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        # Copied: what the caller does to his arrays later must not reach the tree.
        self.points_: Floats = np.array(X, dtype=np.float64, order="C")
        self.values_: Floats = np.array(y, dtype=np.float64).reshape(len(self.points_), -1)
        self._flat = np.ndim(y) == 1
        self._tree = cKDTree(self.points_)
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Return the weighted means at some places.

        Parameters
        ----------
        X : array_like of shape (n_places, n_features)
            Coordinates, as in `fit`.

        Returns
        -------
        ndarray of shape (n_places,) or (n_places, n_outputs)
            In the units of `y`; NaN where fewer than `min_samples` points count.
        """
        check_is_fitted(self)
        places = validate_data(self, X, dtype=np.float64, reset=False)
        k, power, reach, least = self._rule()
        means = np.empty((len(places), self.values_.shape[1]))
        for rows, square, who in _neighbours(self._tree, places, k):
            means[rows] = _weighted_mean(square, who, self.values_, power, reach, least)
        return means[:, 0] if self._flat else means

    def _rule(self) -> tuple[int | None, float, float, int]:
        """Return k, power, radius and min_samples, checked here: a parameter search sets them without asking."""
        k = None if self.k is None else check_int("k", self.k)
        reach = math.inf if self.radius is None else check_number("radius", self.radius, above=0)
        return k, check_number("power", self.power, above=0), reach, check_int("min_samples", self.min_samples)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class Memory(dict[tuple[bytes, bytes], tuple[Floats, Indices]]):
    """Neighbours that a parameter search has found; `most` of them for each location.

    Keys are the training points and the locations, as bytes.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __deepcopy__(self, memo: Any) -> Self:
        """Return itself: scikit-learn copies the parameters of every candidate, and these are to share it."""
        return self


class SearchedIDW(IDW):
    """`IDW` inside a search for k and power, where the same places are predicted from the same points many times.

    Finding neighbours takes twenty times as long as weighting them, so it is done once for all candidates. For
    arrays that are checked: finite float64 points, (N, F), and values, (N, C).

    Parameters
    ----------
    memory : Memory
        Shared by all candidates.
    k : int, default 12
        At most ``memory.most``.
    power : float, default 2
        Exponent of the distance.
    """

    def __init__(self, memory: Memory, k: int = 12, power: float = 2.0) -> None:
        super().__init__(k, power)
        self.memory = memory

    def fit(self, X: Any, y: Any) -> Self:
        """Keep the points and their values."""
        self.points_, self.values_ = X, y
        return self

    def predict(self, X: Any) -> Floats:
        """Return the weighted means at the places, (M, C)."""
        key = self.points_.tobytes(), X.tobytes()
        if key not in self.memory:
            self.memory[key] = _ranked(self.points_, X, self.memory.most)
        square, who = self.memory[key]
        return _weighted_mean(square[:, : self.k], who[:, : self.k], self.values_, self.power, math.inf, 1)


def leave_one_out(
    X: ArrayLike,
    y: ArrayLike,
    k: int | None = 12,
    power: float = 2.0,
    radius: float | None = None,
    min_samples: int = 1,
) -> Floats:
    """Predict every sample from all others, as `IDW` would; one search for neighbours serves all of them.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Coordinates. A sample at the same place is another sample, and counts.
    y : array_like of shape (n_samples,) or (n_samples, n_outputs)
        Values there, finite.
    k, power, radius, min_samples : optional
        As in `IDW`.

    Returns
    -------
    ndarray of the shape of `y`
        NaN where fewer than `min_samples` others count, as for a sample that is the only one.

    Raises
    ------
    InputError
        When a setting is out of its range.
    """
    k, power, reach, least = IDW(k, power, radius, min_samples)._rule()
    points, values = check_X_y(X, y, dtype=np.float64, multi_output=True, y_numeric=True)
    if len(points) == 1:
        return np.full(values.shape, np.nan)
    table = values.reshape(len(values), -1).astype(np.float64)
    means = np.empty(table.shape)
    for rows, square, who in _neighbours(cKDTree(points), points, None if k is None else k + 1):
        square, who = _without_oneself(square, who, np.arange(rows.start, rows.stop))
        means[rows] = _weighted_mean(square, who, table, power, reach, least)
    return means.reshape(values.shape)


def _without_oneself(square: Floats, who: Indices | None, me: Indices) -> tuple[Floats, Indices]:
    """Take each point itself out of its row; where it does not stand there, because others coincide, the last one."""
    who = np.broadcast_to(np.arange(square.shape[1]), square.shape) if who is None else who
    others = who != me[:, None]
    others[others.all(axis=1), -1] = False
    shape = len(square), square.shape[1] - 1
    return square[others].reshape(shape), who[others].reshape(shape)


def _neighbours(tree: cKDTree, places: Floats, k: int | None) -> Iterator[tuple[slice, Floats, Indices | None]]:
    """Yield (rows, squared distances, indices) of the k nearest points of the tree, for some places at a time.

    Sorted by distance, then by index. Without `k`, or with one that reaches all points, they stand as in the
    table, and there are no indices.
    """
    k = tree.n if k is None else min(k, tree.n)
    asked = tree.n if k == tree.n else min(k + _SPARE, tree.n)
    step = max(1, _PAIRS // asked)
    for start in range(0, len(places), step):
        rows = slice(start, min(start + step, len(places)))
        if k == tree.n:
            yield rows, _squares(places[rows], tree.data), None
        else:
            yield rows, *_nearest(tree, places[rows], k, asked)


def _ranked(points: Floats, places: Floats, most: int) -> tuple[Floats, Indices]:
    """Return squared distances and indices of the nearest points, or of all, by distance and then by index."""
    parts = []
    for _, square, who in _neighbours(cKDTree(points), places, most):
        if who is None:
            who = np.argsort(square, axis=1, kind="stable")
            square = np.take_along_axis(square, who, axis=1)
        parts.append((square, who))
    squares, indices = zip(*parts, strict=True)
    return np.concatenate(squares), np.concatenate(indices)


def _nearest(tree: cKDTree, places: Floats, k: int, asked: int) -> tuple[Floats, Indices]:
    """Return squared distances and indices of the k nearest points.

    The tree breaks ties as it likes, so it is asked for more than k, and they are sorted here. Where all that
    came back are as far as the k-th, points that did not come back may tie as well: there it is asked again,
    for twice as many.
    """
    who = tree.query(places, k=asked)[1].reshape(len(places), asked).astype(np.int64)
    square = _squares(places, tree.data, who)
    order = np.lexsort((who, square), axis=-1)
    square, who = np.take_along_axis(square, order, axis=1), np.take_along_axis(who, order, axis=1)
    unsure = np.flatnonzero(square[:, -1] <= square[:, k - 1] * (1 + _ROUNDING))
    square, who = square[:, :k].copy(), who[:, :k].copy()
    if asked < tree.n and unsure.size:
        more = min(2 * asked, tree.n)
        for some in np.array_split(unsure, math.ceil(unsure.size * more / _PAIRS)):
            square[some], who[some] = _nearest(tree, places[some], k, more)
    return square, who


def _squares(places: Floats, points: Floats, who: Indices | None = None) -> Floats:
    """Return the squared distances of each place from all points, or from those it is given; (M, K)."""
    total = np.zeros((len(places), len(points)) if who is None else who.shape)
    for place, point in zip(places.T, points.T, strict=True):  # by feature: no array is larger than the result
        total += (place[:, None] - (point if who is None else point[who])) ** 2
    return total


def _weighted_mean(
    square: Floats, who: Indices | None, values: Floats, power: float, reach: float, least: int
) -> Floats:
    """Return the means of the values, (M, C), weighted relative to the nearest point so that nothing overflows."""
    nearest = square.min(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 on a sample; its weight is 1, as for any nearest
        weight = np.where(square == nearest, 1.0, (nearest / square) ** (power / 2))
    counts = square <= reach * reach
    weight[~counts] = 0
    total = weight.sum(axis=1)
    if who is None:
        sums = weight @ values
    else:  # by output: gathering all of them at once would take C times the memory
        sums = np.column_stack([(weight * column[who]).sum(axis=1) for column in values.T])
    enough = counts.sum(axis=1) >= least
    return np.where(enough[:, None], sums / np.where(enough, total, 1)[:, None], np.nan)
