"""Surfaces through scattered samples by libraries made for it: triangles, kriging, splines.

`fit_surface` turns samples into a `Surface`, which is evaluated at any points: the cells of a grid, part by part, or
samples that were left out.

scipy does the triangles and the spline. Natural-neighbour interpolation is not in scipy; 'cubic' is the nearest
to it that is. A spline of verde (1.9, with scikit-learn 1.9) misses its own samples by more than their noise and is
solved again for every element; scipy's `RBFInterpolator` is the same bi-harmonic spline with a plane beside it, passes
through its samples, and does not change with the unit of length.

Kriging takes the models of the variogram and their fit from gstools and solves its systems with LAPACK here, because
the two libraries that krige do not suit thousands of samples and millions of cells: `gstools.krige` knows no
neighbourhood, and PyKrige builds the matrix of all pairs of samples again in every call (7,000 samples: 2 seconds and
1.3 GB, growing with the square). Both agree with what is done here; the tests compare with gstools.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geoprospect.errors import InputError

# What takes longer than one or two hours, or more memory than a laptop has, is refused. Measured on one core:
# kriging takes 3 to 7 microseconds for a cell of an element from 12 neighbours, and grows with their square. A spline
# takes 10 to 15 nanoseconds for a pair of a cell and a sample, whatever the number of elements that have values at
# the same places; at 20,000 samples its matrix has 3.2 GB and takes two minutes. Triangles take less than half a
# microsecond for a cell of an element, and a second for 100,000 samples: they have no limit.
_MOST_KRIGED = 1_000_000_000  # cells x elements, from 12 neighbours
_MOST_SPLINED = 250_000_000_000  # cells x samples
_MOST_SPLINE_SAMPLES = 20_000

# Samples nearer than this fraction of the extent, 1 cm in 100 km, count as one location: coordinates that were
# projected twice do not return to the same digits, and for a spline two values there are an infinite slope.
_ONE_PLACE = 1e-7
# Places in a strip narrower than this fraction of its length are on a line: triangles in it come out by rounding.
_ONE_LINE = 1e-4
# A variogram of fewer places is noise: 20 of them make 190 pairs, some 13 for a class of distances.
_FEWEST_KRIGED = 20
# The habits of gstat: 15 classes up to a third of the diagonal of the box around the samples.
_CLASSES = 15
_REACH = 1 / 3
# Pairs that a variogram is estimated from; more would only take memory (28 bytes each).
_PAIRS = 10_000_000
# Upper limit of a fitted range, in longest lags: samples have no information about longer distances.
_LONGEST_RANGE = 10
# Smallest nugget as a fraction of the variance of an element: without one, a gaussian variogram makes systems
# that float64 cannot solve. A sample still comes back exactly.
_LEAST_NUGGET = 1e-6
# Numbers in the systems that are solved at once: few enough for the cache.
_BLOCK = 300_000

_Floats: TypeAlias = NDArray[np.float64]
# Takes points (M, 2), returns mean and variance (c, M) of c elements.
Part: TypeAlias = Callable[[_Floats], tuple[_Floats, _Floats | None]]


class Surface(Protocol):
    """Interpolated values of every element at any points."""

    def evaluate(self, points: _Floats) -> tuple[_Floats, _Floats | None]:
        """Return the value of every element at the points.

        Parameters
        ----------
        points : ndarray of shape (n_points, 2)
            Coordinates (x, y) in the CRS of the samples.

        Returns
        -------
        mean : ndarray of shape (n_elements, n_points)
            In the units of the elements; NaN where the surface is not defined.
        variance : ndarray of shape (n_elements, n_points) or None
            Kriging variance, in the squared units of the elements; None for the other methods.
        """


def fit_surface(
    fit: Callable[[_Floats, _Floats, str], Part],
    points: _Floats,
    values: _Floats,
    elements: Sequence[str] | None = None,
    *,
    has_variance: bool = False,
) -> Surface:
    """Fit a surface to scattered samples, for every element from the samples that have a value of it.

    Of samples at one location the mean is used. An element without any value is NaN everywhere.

    Parameters
    ----------
    fit : callable
        `fit_triangles`, `fit_kriging` or `fit_spline` with their options: takes places (n, 2), values there
        (n, c) and the name of the first element, for errors.
    points : ndarray of shape (n_samples, 2)
        Coordinates (x, y) in units of length.
    values : ndarray of shape (n_samples, n_elements)
        NaN where missing.
    elements : sequence of str, optional
        Names of the columns of `values`, for the messages of errors.
    has_variance : bool, default False
        Whether `fit` gives a variance.

    Returns
    -------
    Surface
        Its method ``evaluate(points)`` returns mean and, for kriging, variance.

    Raises
    ------
    InputError
        When an element has too few values for the method.

    Examples
    --------
    >>> import numpy as np
    >>> from geoprospect.gridding.surfaces import fit_surface, fit_triangles
    >>> corners = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    >>> plane = fit_surface(fit_triangles, corners, np.array([[1.0], [2.0], [3.0]]))
    >>> plane.evaluate(np.array([[50.0, 50.0], [100.0, 100.0]]))
    (array([[2.5, nan]]), None)
    """
    points, values = np.asarray(points, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or values.ndim != 2 or len(points) != len(values):
        raise InputError(
            f"points, values: have shapes {points.shape} and {values.shape}, need (n_samples, 2) and "
            "(n_samples, n_elements)"
        )
    # Northings of millions would take digits from squares and products of coordinates.
    origin = (points.min(axis=0) + points.max(axis=0)) / 2 if len(points) else np.zeros(2)
    names = (
        [f"values[:, {j}]" for j in range(values.shape[1])]
        if elements is None
        else [f"samples[{e!r}]" for e in elements]
    )
    parts = tuple(
        (columns, fit(*_averaged((points - origin)[rows], values[rows][:, columns]), names[columns[0]]))
        for columns, rows in columns_by_gaps(values)
    )
    return PartwiseSurface(values.shape[1], origin, parts, has_variance)


def check_kriging_size(n_samples: int, n_cells: int, n_elements: int, k: int) -> None:
    """Raise InputError where kriging from k samples would take hours."""
    k = min(k, n_samples)
    most = int(_MOST_KRIGED / max(1, (k / 12) ** 2))
    if n_cells * n_elements > most:
        raise InputError(
            f"method='kriging': {n_cells:,} cells of {n_elements} elements are {n_cells * n_elements:,}, which takes "
            f"hours; from k={k} neighbours the limit is {most:,}; take a coarser resolution, fewer elements or "
            "method='idw'"
        )


def check_spline_size(n_samples: int, n_cells: int) -> None:
    """Raise InputError where a spline would take hours or more memory than a laptop has."""
    if n_samples > _MOST_SPLINE_SAMPLES:
        raise InputError(
            f"method='spline': {n_samples:,} samples make a matrix of {8 * n_samples**2 / 1e9:,.1f} GB; the limit is "
            f"{_MOST_SPLINE_SAMPLES:,} samples; take fewer samples, method='kriging' or method='idw'"
        )
    if n_samples * n_cells > _MOST_SPLINED:
        raise InputError(
            f"method='spline': {n_cells:,} cells from {n_samples:,} samples are {n_samples * n_cells:,} pairs, which "
            f"takes hours; the limit is {_MOST_SPLINED:,}; take a coarser resolution or method='idw'"
        )


@dataclass(frozen=True, eq=False)
class PartwiseSurface:
    """A `Surface` made of parts, one for each set of elements with the same missing values."""

    n_elements: int
    origin: _Floats
    parts: tuple[tuple[list[int], Part], ...]
    has_variance: bool

    def evaluate(self, points: _Floats) -> tuple[_Floats, _Floats | None]:
        """Return mean and variance at the points."""
        local = np.asarray(points, dtype=np.float64) - self.origin
        mean = np.full((self.n_elements, len(local)), np.nan)  # (C, M)
        variance = mean.copy() if self.has_variance else None
        for columns, part in self.parts:
            mean[columns], spread = part(local)
            if variance is not None:
                variance[columns] = spread
        return mean, variance


def columns_by_gaps(values: _Floats) -> Iterator[tuple[list[int], NDArray[np.intp]]]:
    """Yield the columns that lack the same values, and the rows that have them; empty columns are left out."""
    present = ~np.isnan(values)
    alike: dict[bytes, list[int]] = {}
    for column in range(values.shape[1]):
        alike.setdefault(present[:, column].tobytes(), []).append(column)
    for columns in alike.values():
        rows = np.flatnonzero(present[:, columns[0]])
        if rows.size:
            yield columns, rows


def _averaged(points: _Floats, values: _Floats) -> tuple[_Floats, _Floats]:
    """Return each place once, in order of x and y, with the mean of its values."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    places, at = np.unique(points, axis=0, return_inverse=True)
    at = at.ravel()  # numpy 2.0 gives it another dimension
    pairs = cKDTree(places).query_pairs(_ONE_PLACE * np.ptp(places, axis=0).max(), output_type="ndarray")
    if len(pairs):
        near = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(places), len(places)))
        at = connected_components(near, directed=False)[1][at]
    _, first, at, count = np.unique(at, return_index=True, return_inverse=True, return_counts=True)
    total = np.zeros((len(first), values.shape[1]))
    np.add.at(total, at, values)
    order = np.lexsort(points[first].T[::-1])
    return points[first][order], (total / count[:, None])[order]


def _check_plane(places: _Floats, name: str, method: str) -> None:
    """Raise where the places do not carry a plane."""
    n = len(places)
    spread = np.linalg.svd(places - places.mean(axis=0), compute_uv=False) if n > 2 else np.zeros(2)
    if spread[1] <= _ONE_LINE * spread[0]:
        line = ", all on one line" if n > 2 else ""
        raise InputError(
            f"{name}: has values at {n} place{'s' * (n > 1)}{line}; method={method!r} needs three that are not on one "
            "line; take method='nearest' or 'idw'"
        )


_blas_lock = threading.Lock()
_blas_users: list[Any] = []  # one entry for each that is inside; the first is the limit


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread; the limit is the process's, so the first in sets it and the last out lifts it."""
    from threadpoolctl import threadpool_limits

    with _blas_lock:
        _blas_users.append(None if _blas_users else threadpool_limits(1, "blas"))
    try:
        yield
    finally:
        with _blas_lock:
            if len(_blas_users) == 1:
                _blas_users.pop().restore_original_limits()
            else:
                _blas_users.pop()


def fit_triangles(places: _Floats, values: _Floats, name: str, smooth: bool = False) -> Part:
    """Return the surface of plane (Delaunay) or smooth (Clough-Tocher) triangles; all columns share them.

    It is NaN outside the convex hull of the places.
    """
    from scipy.interpolate import CloughTocher2DInterpolator, LinearNDInterpolator

    _check_plane(places, name, "cubic" if smooth else "linear")
    surface = (CloughTocher2DInterpolator if smooth else LinearNDInterpolator)(places, values)
    # What finds the triangle of a point is made at the first question, by a call of LAPACK for every triangle;
    # threads that wait for each other there turn a tenth of a second into many.
    with _one_blas_thread():
        _ = surface.tri.transform
    return lambda points: (surface(points).T, None)


def fit_spline(places: _Floats, values: _Floats, name: str, smoothing: float = 0.0) -> Part:
    """Return the thin-plate (bi-harmonic) spline with a plane beside it [1]_; all columns share the solution.

    It overshoots between samples and runs away outside them. `smoothing` depends neither on the unit of length nor
    on that of the element.

    References
    ----------
    .. [1] Sandwell, D. T. (1987). Biharmonic spline interpolation of GEOS-3 and SEASAT altimeter
       data. Geophysical Research Letters 14(2), 139-142. https://doi.org/10.1029/GL014i002p00139
    """
    from scipy.interpolate import RBFInterpolator

    _check_plane(places, name, "spline")
    # Lengths relative to the extent, so that the damping has no unit.
    size = np.ptp(places, axis=0).max()
    surface = RBFInterpolator(places / size, values, smoothing=smoothing, kernel="thin_plate_spline", degree=1)
    return lambda points: (surface(points / size).T, None)


def fit_kriging(places: _Floats, values: _Floats, name: str, k: int = 12, variogram: str = "spherical") -> Part:
    """Return the kriged surface; all columns share neighbours and distances, each has its own variogram.

    The variogram has a nugget and is fitted as gstat does [1]_: 15 classes up to a third of the diagonal, weights of
    pairs / distance². Values are taken as they are; a skewed element is better kriged as its logarithm. Of samples
    at the same distance as the last of the `k` any may be taken, always the same.

    The nugget is variation at distances shorter than those sampled, not error of measurement: a sample comes back
    exactly, with a variance of 0, and beside it mean and variance jump by the nugget. Both also jump, by little,
    where one neighbour gives way to another. An element with one value everywhere has a variance of 0.

    References
    ----------
    .. [1] Pebesma, E. J. (2004). Multivariable geostatistics in S: the gstat package. Computers &
       Geosciences 30(7), 683-691. https://doi.org/10.1016/j.cageo.2004.03.012
    """
    from scipy.spatial import cKDTree

    if len(places) < _FEWEST_KRIGED:
        raise InputError(
            f"{name}: has values at {len(places)} place{'s' * (len(places) > 1)}; method='kriging' needs "
            f"{_FEWEST_KRIGED} for a variogram; take method='idw'"
        )
    # In units of the longest lag and of the standard deviation every fit is about as hard as any other.
    length = float(np.hypot(*np.ptp(places, axis=0))) * _REACH
    offset, scale = values.mean(axis=0), values.std(axis=0)
    constant = values.min(axis=0) == values.max(axis=0)
    offset[constant], scale[constant] = values[0, constant], 1
    scaled = (values - offset) / scale
    lags, gammas, counts = _variograms(places / length, scaled)
    if len(lags) < 4 and not constant.all():
        raise InputError(
            f"{name}: its {len(places)} places are in clusters: only {len(lags)} of {_CLASSES} classes of distances "
            "have pairs, too few for a variogram; take method='idw'"
        )
    models = [
        None if same else _fit_variogram(variogram, lags, gamma, counts)
        for same, gamma in zip(constant, gammas, strict=True)
    ]
    tree = cKDTree(places / length)
    nearest = list(range(1, min(k, len(places)) + 1))
    step = max(1, _BLOCK // (len(nearest) + 1) ** 2)

    def evaluate(points: _Floats) -> tuple[_Floats, _Floats]:
        mean, variance = np.empty((2, len(models), len(points)))
        with _one_blas_thread():  # the systems are small: threads would only wait for each other
            for start in range(0, len(points), step):
                block = slice(start, start + step)
                distance, near = tree.query(points[block] / length, k=nearest)  # (M, K)
                apart = _distances_within(tree.data[near])
                for j, model in enumerate(models):
                    mean[j, block], variance[j, block] = _krige(model, apart, distance, scaled[near, j])
        return mean * scale[:, None] + offset[:, None], variance * scale[:, None] ** 2

    return evaluate


def _variograms(places: _Floats, values: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Return mean lag, semivariance of every column and number of pairs of the classes that have any."""
    from scipy.spatial.distance import cdist

    # Where all pairs are too many, every so many-th place is paired with all others: this keeps the short
    # lags, which a smaller sample would lose. The places are in order of x, so that those are spread.
    step = -(-(len(places) ** 2) // _PAIRS)
    distance = cdist(places[::step], places)
    one, other = np.nonzero((distance > 0) & (distance < 1))
    lag = distance[one, other]
    kind = (lag * _CLASSES).astype(np.intp)
    count = np.bincount(kind, minlength=_CLASSES)
    some = count > 0
    sums = [np.bincount(kind, lag, _CLASSES)]
    sums += [np.bincount(kind, (column[::step][one] - column[other]) ** 2 / 2, _CLASSES) for column in values.T]
    means = np.array(sums)[:, some] / count[some]
    return means[0], means[1:], count[some].astype(np.float64)


def _fit_variogram(variogram: str, lags: _Floats, gamma: _Floats, counts: _Floats) -> Any:
    """Return the `gstools.CovModel` that fits best with weights of pairs / lag²."""
    import gstools
    from scipy.optimize import OptimizeWarning

    model = getattr(gstools, variogram.capitalize())(dim=2)
    model.set_arg_bounds(check_args=False, len_scale=[0, _LONGEST_RANGE])
    with warnings.catch_warnings():
        # It warns of unknown errors of the parameters, as where a pure nugget has no range; they are not used.
        warnings.simplefilter("ignore", OptimizeWarning)
        model.fit_variogram(lags, gamma, weights=np.sqrt(counts) / lags, loss="linear", max_eval=10_000)
    model.nugget = max(model.nugget, _LEAST_NUGGET)
    return model


def _distances_within(points: _Floats) -> _Floats:
    """Return the distances of all pairs in each set of points: (M, K, 2) -> (M, K (K - 1) / 2)."""
    one, other = np.triu_indices(points.shape[1], 1)
    between = points[:, one] - points[:, other]
    return np.asarray(np.sqrt((between * between).sum(axis=-1)))


def _krige(model: Any, apart: _Floats, distance: _Floats, values: _Floats) -> tuple[_Floats, _Floats]:
    """Return mean and variance from K neighbours each, by the ordinary-kriging system of every point.

    `apart` (M, K (K - 1) / 2) are the distances between the neighbours, `distance` (M, K) those from the point;
    `values` (M, K). Without a model the values are all the same.
    """
    if model is None:
        return values[:, 0], np.zeros(len(values))
    m, k = distance.shape
    one, other = np.triu_indices(k, 1)
    itself = np.arange(k)
    system = np.ones((m, k + 1, k + 1))
    system[:, one, other] = system[:, other, one] = model.covariance(apart)
    system[:, itself, itself] = model.sill
    system[:, k, k] = 0
    right = np.ones((m, k + 1))
    right[:, :k] = model.covariance(distance)
    weights = np.linalg.solve(system, right[:, :, None])[:, :, 0]  # the last is the Lagrange multiplier
    mean = (weights[:, :k] * values).sum(axis=1)
    variance = np.maximum(model.sill - (weights * right).sum(axis=1), 0)
    # On a sample the covariance with it is the sill, nugget included, and the system gives its value.
    here = distance[:, 0] == 0
    mean[here], variance[here] = values[here, 0], 0
    return mean, variance
