"""Baseline methods that score the same windows in the same folds as the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from geoprospect.errors import InputError
from geoprospect.stats.auc import weights_of_evidence
from geoprospect.stats.metrics import rank_auc

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the baselines of one fold may know of the windows.

    Parameters
    ----------
    means : ndarray of shape (n_windows, n_bands)
        Mean of each band over the crop of a window, scaled on the training ground, no data 0.
    centres : ndarray of shape (n_windows, 2)
        Middle of each window, (x, y) in units of the CRS.
    deposit_points : ndarray of shape (n_deposits, 2)
        The deposits of the training, (x, y); none of the test.
    sampling : ndarray of shape (n_windows, n_numbers), optional
        Numbers that know where samples were taken and nothing of what is in them: the distance to the
        nearest sample, samples per area.

    Raises
    ------
    InputError
        When the arrays do not fit together or hold a number that is not finite.

    Examples
    --------
    >>> from geoprospect.validation.baselines import Evidence
    >>> Evidence(means=[[0.1, 2.0], [0.3, -1.0]], centres=[[50, 50], [150, 50]], deposit_points=[[60, 40]])
    Evidence(2 windows, 2 bands, 1 deposit, nothing of the sampling)
    """

    means: Floats
    centres: Floats
    deposit_points: Floats
    sampling: Floats | None = None

    if TYPE_CHECKING:  # what may be passed; the fields above say what is kept

        def __init__(
            self, means: ArrayLike, centres: ArrayLike, deposit_points: ArrayLike, sampling: ArrayLike | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        """Normalise, check and freeze."""
        for name in ("means", "centres", "deposit_points", "sampling"):
            value = getattr(self, name)
            if value is not None or name != "sampling":
                object.__setattr__(self, name, _table(name, value))
        n = len(self.means)
        for name in ("centres", "sampling"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise InputError(f"{name}: has {len(value)} rows for {n} windows in means")
        for name in ("centres", "deposit_points"):
            if getattr(self, name).shape[1] != 2:
                raise InputError(f"{name}: has shape {getattr(self, name).shape}, needs two columns, x and y")

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.means)

    def __repr__(self) -> str:
        """Counts."""
        deposits = f"{len(self.deposit_points)} deposit{'s' if len(self.deposit_points) != 1 else ''}"
        sampling = "nothing of the sampling" if self.sampling is None else f"{self.sampling.shape[1]} of the sampling"
        return f"Evidence({len(self)} windows, {self.means.shape[1]} bands, {deposits}, {sampling})"


# (evidence, training windows, their labels, test windows, seed) -> scores of the test windows
Baseline = Callable[[Evidence, Index, Index, Index, int], Floats]


def best_element(evidence: Evidence, train: Index, labels: Index, test: Index, seed: int) -> Floats:
    """Score by the one band that ranks the training windows best, either way up."""
    _check_labels(train, labels)
    aucs = np.array([rank_auc(labels, column) for column in evidence.means[train].T])
    best = int(np.abs(aucs - 0.5).argmax())
    scores: Floats = evidence.means[test, best] * (1 if aucs[best] >= 0.5 else -1)
    return scores


def logistic_regression(evidence: Evidence, train: Index, labels: Index, test: Index, seed: int) -> Floats:
    """Score by all bands, weighted; ore and barren count alike."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    return _fitted(model, evidence.means, train, labels, test)


def random_forest(evidence: Evidence, train: Index, labels: Index, test: Index, seed: int) -> Floats:
    """Score by 300 trees, which know thresholds and what bands say together."""
    return _fitted(_forest(seed), evidence.means, train, labels, test)


def gradient_boosting(evidence: Evidence, train: Index, labels: Index, test: Index, seed: int) -> Floats:
    """Score by small trees of which each mends the errors of those before.

    Trees on exact thresholds: histograms are for tens of thousands of points. Each tree sees half of the windows and a
    few of the bands, which few windows need more than anything else.
    """
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    _check_labels(train, labels)
    model = GradientBoostingClassifier(
        n_estimators=150, learning_rate=0.05, max_depth=3, min_samples_leaf=5, subsample=0.5, max_features="sqrt",
        random_state=seed,
    )  # fmt: skip
    model.fit(evidence.means[train], labels, sample_weight=compute_sample_weight("balanced", labels))
    return _scores(model, evidence.means[test])


def sum_of_weights(evidence: Evidence, train: Index, labels: Index, test: Index, seed: int) -> Floats:
    """Score by the sum of weights of evidence over the bands [1]_.

    Each band is cut in two at the value of a training window where the studentised contrast is largest, either way up;
    a window has W+ of the bands that reach it there and W- of the others. Bands that are alike count twice, so the sum
    ranks windows but is no probability.

    References
    ----------
    .. [1] Agterberg, F. P., Bonham-Carter, G. F. & Wright, D. F. (1990). Statistical pattern integration for mineral
       exploration. In: Gaál, G. & Merriam, D. F. (eds.): Computer applications in resource estimation, 1-21. Pergamon.
    """
    _check_labels(train, labels)
    threshold, w_plus, w_minus = _best_cuts(evidence.means[train], labels == 1)
    scores: Floats = np.where(evidence.means[test] >= threshold, w_plus, w_minus).sum(axis=1)
    return scores


def nearest_deposit(evidence: Evidence, train: Index, labels: Index, test: Index, seed: int) -> Floats:
    """Score by nearness to a deposit of the training, whatever the bands say."""
    if not len(evidence.deposit_points):
        raise InputError("deposit_points: is empty; the distance to the nearest needs one of the training deposits")
    scores: Floats = -cKDTree(evidence.deposit_points).query(evidence.centres[test])[0]
    return scores


def no_chemistry(evidence: Evidence, train: Index, labels: Index, test: Index, seed: int) -> Floats:
    """Score by where samples were taken, with a random forest: what looks like ore because people looked there."""
    if evidence.sampling is None:
        raise InputError("sampling: is None, so nothing is known of where samples were taken; pass it to Evidence")
    return _fitted(_forest(seed), evidence.sampling, train, labels, test)


# In the order of tables and figures.
BASELINES: dict[str, Baseline] = {
    "best element": best_element,
    "logistic regression": logistic_regression,
    "random forest": random_forest,
    "gradient boosting": gradient_boosting,
    "weights of evidence": sum_of_weights,
    "nearest deposit": nearest_deposit,
    "no chemistry": no_chemistry,
}
# Those whose scores are probabilities, of as many ore as barren windows.
PROBABILISTIC = frozenset({"logistic regression", "random forest", "gradient boosting", "no chemistry"})


def gives_probabilities(estimator: Any) -> bool:
    """Return whether the scores of `estimator_baseline` are probabilities."""
    return hasattr(estimator, "predict_proba")


def estimator_baseline(estimator: Any) -> Baseline:
    """Return a baseline that fits a classifier of scikit-learn's kind to the means of the bands.

    Parameters
    ----------
    estimator : classifier
        With ``get_params``, ``fit`` and ``predict_proba`` or ``decision_function``: one of scikit-learn, a
        pipeline, a search over settings, or another library's that keeps to that interface. It is cloned
        for every fold and stays as it is; where its ``random_state`` (or that of a part) is None, the seed
        of the fold is taken.

    Returns
    -------
    callable
        (evidence, train, labels of train, test, seed) to the scores of the test windows, the probability
        of ore where there is one.

    Raises
    ------
    InputError
        When it is no such classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from geoprospect.validation.baselines import Evidence, estimator_baseline
    >>> means = [[0.0], [0.1], [1.0], [1.1], [0.9]]
    >>> evidence = Evidence(means, centres=np.zeros((5, 2)), deposit_points=[[0, 0]])
    >>> neighbours = estimator_baseline(KNeighborsClassifier(2))
    >>> neighbours(evidence, np.arange(4), np.array([0, 0, 1, 1]), np.array([4]), 0)
    array([1.])
    """
    from sklearn.base import clone

    if isinstance(estimator, type):
        raise InputError(f"estimator={estimator.__name__}: is a class, needs an object; write {estimator.__name__}()")
    missing = [name for name in ("get_params", "fit") if not hasattr(estimator, name)]
    if not (gives_probabilities(estimator) or hasattr(estimator, "decision_function")):
        missing.append("predict_proba or decision_function")
    if missing:
        raise InputError(
            f"estimator={estimator!r:.100}: has no {' and no '.join(missing)}; it needs the interface of a classifier "
            "of scikit-learn. sklearn.ensemble.BaggingClassifier makes shares of votes of one that gives labels only"
        )

    def baseline(evidence: Evidence, train: Index, labels: Index, test: Index, seed: int) -> Floats:
        return _fitted(_seeded(clone(estimator), seed), evidence.means, train, labels, test)

    return baseline


def _table(name: str, values: ArrayLike) -> Floats:
    """Return a frozen copy, (rows, columns), of finite numbers."""
    try:
        table = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: needs numbers, got {values!r:.100}") from None
    if name == "deposit_points" and not table.size:
        table = table.reshape(0, 2)
    if table.ndim != 2 or not table.shape[1]:
        raise InputError(f"{name}: has shape {table.shape}, needs rows and columns")
    if not np.isfinite(table).all():
        raise InputError(
            f"{name}: {int((~np.isfinite(table)).sum())} numbers are not finite; put 0 where there are no data"
        )
    table.flags.writeable = False
    return table


def _check_labels(train: Index, labels: Index) -> None:
    """Raise where there is nothing to tell apart."""
    if len(labels) != len(train):
        raise InputError(f"labels: {len(labels)} for {len(train)} training windows")
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"labels: the {len(labels)} training windows are of one class; a baseline needs ore and barren ones: take "
            "fewer folds"
        )


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(300, class_weight="balanced", min_samples_leaf=2, random_state=seed)


def _fitted(model: Any, features: Floats, train: Index, labels: Index, test: Index) -> Floats:
    """Fit a classifier to the training windows and score those of the test."""
    _check_labels(train, labels)
    return _scores(model.fit(features[train], labels), features[test])


def _scores(model: Any, features: Floats) -> Floats:
    """Return the probability of ore, or what the model decides by."""
    if not len(features):
        return np.empty(0)
    if gives_probabilities(model):
        ore = int(np.flatnonzero(np.asarray(model.classes_) == 1)[0])
        return np.asarray(model.predict_proba(features), dtype=np.float64)[:, ore]
    return np.asarray(model.decision_function(features), dtype=np.float64)


def _seeded(model: Any, seed: int) -> Any:
    """Set every random state that was left open, that of parts too."""
    free = [
        name
        for name, value in model.get_params(deep=True).items()
        if value is None and name.rsplit("__", 1)[-1] == "random_state"
    ]
    return model.set_params(**dict.fromkeys(sorted(free), seed)) if free else model


def _best_cuts(values: Floats, ore: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Return per band, (C,), the value of the largest studentised contrast, and W+ and W- of the pattern from it on."""
    n, n_bands = values.shape
    highest_first = np.argsort(-values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, highest_first, axis=0)  # (N, C)
    # A pattern of the k highest windows for each k that does not cut equal values apart, nor takes all.
    ends = np.vstack([ordered[:-1] > ordered[1:], np.zeros((1, n_bands), dtype=bool)])
    hits = np.cumsum(ore[highest_first], axis=0)
    weights = weights_of_evidence(hits, int(ore.sum()), np.arange(1, n + 1)[:, None], n)
    best = np.where(ends, np.abs(weights.studentised), -1.0).argmax(axis=0)
    at = best, np.arange(n_bands)
    constant = ~ends.any(axis=0)  # says nothing
    w_plus, w_minus = (np.where(constant, 0.0, one[at]) for one in (weights.w_plus, weights.w_minus))
    return ordered[at], w_plus, w_minus
