"""How well a support vector machine tells ore from barren points by one element alone. Arrays only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geoprospect.stats.metrics import rank_auc

Floats = NDArray[np.float64]


def svm_scores(labels: NDArray[np.int64], values: Floats, region: NDArray[np.int64] | None = None) -> Floats:
    """Return the distance of each point from the boundary of a support vector machine, ore above 0.

    Radial kernel, C = 1, classes weighted to equal shares, values scaled by mean and standard
    deviation of what it is fitted on: scikit-learn's defaults but for the weights.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        1 ore, 0 barren.
    values : ndarray of shape (n,)
        Concentrations, finite.
    region : ndarray of shape (n,), optional
        Region of each point. Those of a region are tested by the machine that was fitted on the
        others. Default: all are tested by the machine that was fitted on all (resubstitution).

    Returns
    -------
    ndarray of shape (n,)
        NaN where the points of the other regions are of one class only.
    """
    if region is None:
        return _fit_and_test(labels, values, values)
    scores = np.full(labels.shape, np.nan)
    for one in np.unique(region):
        test = region == one
        scores[test] = _fit_and_test(labels[~test], values[~test], values[test])
    return scores


def auc_of_labels(labels: NDArray[np.int64], scores: Floats) -> float:
    """Return the AUC of the labels that the machine gives: its balanced accuracy."""
    known = ~np.isnan(scores)
    return rank_auc(labels[known], scores[known] > 0)


def auc_of_scores(labels: NDArray[np.int64], scores: Floats, region: NDArray[np.int64] | None = None) -> float:
    """Return the AUC of the scores; over regions, the mean within them, weighted by their pairs of ore and barren.

    Scores of two machines cannot be compared, so the pairs of different regions do not count.
    """
    parts = [np.ones(labels.shape, dtype=bool)] if region is None else [region == one for one in np.unique(region)]
    areas, pairs = [], []
    for part in parts:
        here = part & ~np.isnan(scores)
        n_ore = int(labels[here].sum())
        if 0 < n_ore < here.sum():
            areas.append(rank_auc(labels[here], scores[here]))
            pairs.append(n_ore * (int(here.sum()) - n_ore))
    return float(np.average(areas, weights=pairs)) if areas else math.nan


def _fit_and_test(labels: NDArray[np.int64], values: Floats, test: Floats) -> Floats:
    from sklearn import config_context
    from sklearn.svm import SVC

    if np.unique(labels).size < 2:
        return np.full(test.shape, np.nan)
    mean, spread = values.mean(), values.std()
    if spread == 0:
        return np.zeros(test.shape)
    # Checked already, and thousands of small machines are fitted.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        machine = SVC(class_weight="balanced").fit(((values - mean) / spread)[:, None], labels)
        scores: Floats = machine.decision_function(((test - mean) / spread)[:, None])
    return scores
