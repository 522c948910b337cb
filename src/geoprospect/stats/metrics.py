"""Scores of rankings, probabilities and two-class maps."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Self

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata

from geoprospect._checks import check_int, check_number, user_level
from geoprospect.errors import CRSError, DataWarning, InputError, NameNotFoundError

# Probabilities of 0 and 1 have no logit; a logit of 13.8 is as far out as `calibration_slope` takes them for.
_SURE = 1e-6


def rank_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that an ore score exceeds a barren one, ties counting one half.

    The Mann-Whitney form of the area under the ROC curve [1]_.

    Parameters
    ----------
    labels : array_like of shape (n,)
        1 ore, 0 barren.
    scores : array_like of shape (n,)
        Finite numbers; higher means more likely ore.

    Returns
    -------
    float
        Between 0 and 1; NaN when one of the classes is absent.

    References
    ----------
    .. [1] Hanley, J. A. & McNeil, B. J. (1982). The meaning and use of the area under a receiver
       operating characteristic (ROC) curve. Radiology 143, 29-36.
       https://doi.org/10.1148/radiology.143.1.7063747

    Examples
    --------
    >>> import geoprospect as gp
    >>> gp.stats.rank_auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    ore, values = labels_and_scores(labels, scores)
    n_ore = int(ore.sum())
    n_barren = ore.size - n_ore
    if n_ore == 0 or n_barren == 0:
        return math.nan
    # Not roc_auc_score of scikit-learn: screening calls this for every shift, and ranks are several times faster.
    u = rankdata(values)[ore].sum() - n_ore * (n_ore + 1) / 2
    return float(u / (n_ore * n_barren))


def z_auc(auc: float, n_ore: int, n_barren: int) -> tuple[float, float]:
    """Return the standard error of an AUC and its distance from 0.5 in standard errors.

    Hanley and McNeil's [1]_ ``SE² = [A(1-A) + (n1-1)(Q1-A²) + (n2-1)(Q2-A²)] / (n1 n2)`` with
    ``Q1 = A/(2-A)``, ``Q2 = 2A²/(1+A)`` and ``Z = (A - 0.5)/SE``. Below 0.5 it is the mirror image
    of 1 - A. It is made for scores; for hard labels, as Gao et al. [2]_ use it, the binomial
    error is the right one.

    Parameters
    ----------
    auc : float
        Between 0 and 1.
    n_ore, n_barren : int
        Number of ore and barren points that it was measured on.

    Returns
    -------
    se : float
        Standard error; 0 at an AUC of 0 or 1, where Z is infinite.
    z : float
        (auc - 0.5) / se.

    Raises
    ------
    InputError
        When the AUC is not within 0 and 1, or a count is not positive.

    References
    ----------
    .. [1] Hanley, J. A. & McNeil, B. J. (1982). https://doi.org/10.1148/radiology.143.1.7063747
    .. [2] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433

    Examples
    --------
    Silver in Table 1 of Gao et al.: 0.5 + 43/244.

    >>> import geoprospect as gp
    >>> se, z = gp.stats.z_auc(0.5 + 43 / 244, 122, 122)
    >>> round(z, 4)
    5.1563
    """
    area = check_number("auc", auc, minimum=0, maximum=1)
    n1, n2 = check_int("n_ore", n_ore), check_int("n_barren", n_barren)
    a = max(area, 1 - area)
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    variance = (a * (1 - a) + (n1 - 1) * (q1 - a**2) + (n2 - 1) * (q2 - a**2)) / (n1 * n2)
    se = math.sqrt(max(variance, 0.0))
    return se, (area - 0.5) / se if se > 0 else math.copysign(math.inf, area - 0.5)


@dataclass(frozen=True)
class Evaluation:
    """Counts of a two-class map and what follows from them.

    Parameters
    ----------
    tp, fp, fn, tn : int
        Cells called ore that are, called ore that are not, missed, and rightly called barren.
    rank_auc : float, optional
        AUC of the scores before they were cut into two classes; NaN where there were none.

    Examples
    --------
    The 144 cells of Gao et al. (2022), https://doi.org/10.3390/app122211433:

    >>> import geoprospect as gp
    >>> gp.stats.Evaluation(tp=16, fp=7, fn=13, tn=108).to_frame().round(4)
                       value
    score
    accuracy          0.8611
    accuracy_barren   0.7986
    balanced_accuracy 0.7454
    recall            0.5517
    precision         0.6957
    f1                0.6154
    macro_f1          0.7653
    rank_auc             NaN
    """

    tp: int
    fp: int
    fn: int
    tn: int
    rank_auc: float = math.nan

    def __post_init__(self) -> None:
        """Check the counts."""
        for name in ("tp", "fp", "fn", "tn"):
            object.__setattr__(self, name, check_int(name, getattr(self, name), 0))
        if self.n == 0:
            raise InputError("tp, fp, fn, tn: all are 0, so there is nothing to evaluate")

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> Self:
        """Count true labels against scores cut at `threshold`.

        Parameters
        ----------
        labels : array_like of shape (n,)
            1 ore, 0 barren.
        scores : array_like of shape (n,)
            Finite numbers; from `threshold` on a cell is called ore.
        threshold : float, default 0.5

        Returns
        -------
        Evaluation
        """
        ore, values = labels_and_scores(labels, scores)
        # Compared as they came: 0.7 in float32 lies below 0.7 in float64.
        called = np.asarray(scores) >= check_number("threshold", threshold)
        tp, fp = int((called & ore).sum()), int((called & ~ore).sum())
        fn, tn = int((~called & ore).sum()), int((~called & ~ore).sum())
        return cls(tp, fp, fn, tn, rank_auc(ore, values))

    @property
    def n(self) -> int:
        """Number of cells."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def accuracy(self) -> float:
        """Share of cells called rightly; look at `accuracy_barren` beside it."""
        return (self.tp + self.tn) / self.n

    @property
    def accuracy_barren(self) -> float:
        """Share that calling every cell barren would get right."""
        return (self.fp + self.tn) / self.n

    @property
    def recall(self) -> float:
        """Share of the ore cells that were found."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Share of the barren cells that were called barren."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float:
        """Share of the cells called ore that are."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of recall and specificity: what the paper prints as the AUC."""
        return (self.recall + self.specificity) / 2

    @property
    def f1(self) -> float:
        """F1 of the ore class."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def macro_f1(self) -> float:
        """Mean of the F1 of both classes: what the paper prints as the F1."""
        return (self.f1 + _ratio(2 * self.tn, 2 * self.tn + self.fp + self.fn)) / 2

    def to_frame(self) -> pd.DataFrame:
        """Return the scores, one a row."""
        names = [
            "accuracy",
            "accuracy_barren",
            "balanced_accuracy",
            "recall",
            "precision",
            "f1",
            "macro_f1",
            "rank_auc",
        ]
        return pd.DataFrame({"value": [getattr(self, n) for n in names]}, index=pd.Index(names, name="score"))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean precision over the ore points, each at the threshold that just finds it.

    The sum of ``(R_k - R_(k-1)) P_k`` over the distinct scores, the highest first, with recall R and
    precision P; points of one score are taken together [1]_. Unlike the AUC it depends on how many barren
    points there are: by chance it is the share of ore. It looks at the top of the ranking, where the
    drilling is done.

    Parameters
    ----------
    labels, scores
        As in `rank_auc`.

    Returns
    -------
    float
        Above 0 and up to 1; NaN where there is no ore.

    Raises
    ------
    InputError
        When labels and scores do not fit together.

    References
    ----------
    .. [1] Davis, J. & Goadrich, M. (2006). The relationship between precision-recall and ROC curves.
       Proceedings of the 23rd International Conference on Machine Learning, 233-240.
       https://doi.org/10.1145/1143844.1143874

    Examples
    --------
    >>> import geoprospect as gp
    >>> round(gp.stats.average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    ore, values = labels_and_scores(labels, scores)
    if not ore.any():
        return math.nan
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(ore, values))


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared difference of probabilities and what was there [1]_.

    Parameters
    ----------
    labels : array_like of shape (n,)
        1 ore, 0 barren.
    probabilities : array_like of shape (n,)
        Of ore, between 0 and 1.

    Returns
    -------
    float
        0 where every probability is right and sure, 0.25 where all are 0.5, 1 at worst; NaN without
        points.

    Raises
    ------
    InputError
        When labels and probabilities do not fit together, or these are not within 0 and 1.

    References
    ----------
    .. [1] Brier, G. W. (1950). Verification of forecasts expressed in terms of probability. Monthly
       Weather Review 78, 1-3. https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2

    Examples
    --------
    >>> import geoprospect as gp
    >>> round(gp.stats.brier_score([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.3]), 4)
    0.0375
    """
    ore, p = _labels_and_probabilities(labels, probabilities)
    if not p.size:
        return math.nan
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(ore, p, pos_label=True))


def calibration_slope(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, float]:
    """Return the slope and the intercept that would put probabilities right.

    The maximum-likelihood fit of ``logit(p of ore) = intercept + slope * logit(probability)``, after Cox
    [1]_. Calibrated probabilities have slope 1 and intercept 0. A slope below 1 says that they are too
    sure, near 0 and 1 alike; above 1, that they are too timid. Probabilities are taken for at least 1e-6
    and at most 1 - 1e-6.

    Parameters
    ----------
    labels, probabilities
        As in `brier_score`.

    Returns
    -------
    slope, intercept : float
        NaN where the fit has no end: a class is absent, all probabilities are the same, or they separate
        ore from barren without an error, or all but.

    Raises
    ------
    InputError
        When labels and probabilities do not fit together, or these are not within 0 and 1.

    References
    ----------
    .. [1] Cox, D. R. (1958). Two further applications of a model for binary regression. Biometrika 45,
       562-565. https://doi.org/10.1093/biomet/45.3-4.562

    Examples
    --------
    Odds of 9 to 1 that hold three times in four only:

    >>> import geoprospect as gp
    >>> slope, intercept = gp.stats.calibration_slope([1, 1, 1, 0, 0, 0, 0, 1], [0.9] * 4 + [0.1] * 4)
    >>> round(slope, 3), round(abs(intercept), 3)
    (0.5, 0.0)
    """
    ore, p = _labels_and_probabilities(labels, probabilities)
    x = logit(np.clip(p, _SURE, 1 - _SURE))
    if not ore.any() or ore.all():
        return math.nan, math.nan
    # The likelihood has a maximum only where the classes overlap on both sides.
    if not (x[ore].min() < x[~ore].max() and x[~ore].min() < x[ore].max()):
        return math.nan, math.nan
    # Centred and scaled, so that the two coefficients hardly depend on each other.
    middle, spread = x.mean(), x.std()
    offset, rise = _logistic_line((x - middle) / spread, ore)
    slope = rise / float(spread)
    return slope, offset - slope * float(middle)


def evaluate(cells: gpd.GeoDataFrame, deposits: gpd.GeoDataFrame, threshold: float = 0.5) -> Evaluation:
    """Compare predicted cells with known deposits: a cell is ore when it holds one.

    Parameters
    ----------
    cells : GeoDataFrame
        Rectangles with a column ``probability``, as `predict_cells` returns them; cells without a
        probability (NaN) are left out.
    deposits : GeoDataFrame
        Points; those outside of all cells are left out with a warning.
    threshold : float, default 0.5
        Probability from which a cell is called ore.

    Returns
    -------
    Evaluation
        Confusion counts, accuracy, balanced accuracy, recall, precision, F1, macro F1, and the
        rank AUC of the probabilities.

    Raises
    ------
    NameNotFoundError
        When `cells` has no column ``probability``.
    InputError
        When no cell has a probability.
    CRSError
        When `cells` or `deposits` have no CRS.

    Examples
    --------
    >>> import geopandas as gpd
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> cells = gp.Grid("EPSG:32649", Affine(10, 0, 0, 0, -10, 20), (2, 2)).cells(2, 2)
    >>> cells["probability"] = [0.9, 0.2, 0.6, 0.1]
    >>> deposit = gpd.GeoDataFrame(geometry=gpd.points_from_xy([5], [15]), crs="EPSG:32649")
    >>> gp.stats.evaluate(cells, deposit)
    Evaluation(tp=1, fp=1, fn=0, tn=2, rank_auc=1.0)
    """
    if "probability" not in cells.columns:
        raise NameNotFoundError(
            f"cells: has no column 'probability' but {', '.join(map(str, cells.columns))}; "
            "make them with predict_cells(model, survey)"
        )
    if deposits.crs is None:
        raise CRSError("deposits: carry no CRS; set one with .set_crs('EPSG:…')")
    if cells.crs is None:
        raise CRSError("cells: carry no CRS; set one with .set_crs('EPSG:…')")
    known = cells[cells["probability"].notna()]
    if known.empty:
        raise InputError("cells: none has a probability")
    # "intersects" keeps a point on the line between two cells; the first cell, to the north-west, takes it.
    hits = known.sindex.query(deposits.geometry.to_crs(cells.crs), predicate="intersects", sort=True)
    deposit, first = np.unique(hits[0], return_index=True)
    if deposit.size < len(deposits):
        warnings.warn(
            f"deposits: {len(deposits) - deposit.size} of {len(deposits)} lie outside of all cells",
            DataWarning,
            stacklevel=user_level(),
        )
    ore = np.isin(np.arange(len(known)), hits[1][first])
    return Evaluation.of(ore, known["probability"].to_numpy(), threshold)


def _ratio(part: int, whole: int) -> float:
    """Return part / whole, and 0 for 0 / 0: nothing called, nothing found."""
    return part / whole if whole else 0.0


def labels_and_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which points are ore, and their scores; raise where these do not fit together."""
    given = np.asarray(labels)
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"scores: need numbers, got {scores!r:.100}") from None
    if given.ndim != 1 or given.shape != values.shape:
        raise InputError(f"labels, scores: have shapes {given.shape} and {values.shape}, need one and the same (n,)")
    if not np.isin(given, (0, 1)).all():
        raise InputError(
            f"labels: hold {sorted(set(given[~np.isin(given, (0, 1))].tolist()))[:3]}, need 1 (ore), 0 (barren)"
        )
    if not np.isfinite(values).all():
        raise InputError(f"scores: {int((~np.isfinite(values)).sum())} of {values.size} are not finite; leave them out")
    return given.astype(bool), values


def _labels_and_probabilities(
    labels: ArrayLike, probabilities: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which points are ore, and their probabilities; raise where these do not fit together."""
    ore, p = labels_and_scores(labels, probabilities)
    wrong = (p < 0) | (p > 1)
    if wrong.any():
        raise InputError(
            f"probabilities: {p[wrong][0]:g} and {int(wrong.sum()) - 1} more are not within 0 and 1; "
            "scores can be ranked (rank_auc), but say no probability"
        )
    return ore, p


def _logistic_line(x: NDArray[np.float64], ore: NDArray[np.bool_]) -> tuple[float, float]:
    """Return offset and rise of the unpenalised logistic regression on one variable, by Newton's method."""
    design = np.column_stack([np.ones_like(x), x])  # (N, 2)
    line, best = np.zeros(2), -x.size * math.log(2)
    for _ in range(100):
        p = expit(design @ line)
        gradient = design.T @ (ore - p)
        try:
            step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design, gradient)
        except np.linalg.LinAlgError:  # classes that overlap by the last digits only: the line stands upright
            return math.nan, math.nan
        # Half of a step that overshoots, and half of that: the likelihood is concave, so it climbs in the end.
        while (climbed := _log_likelihood(design @ (line + step), ore)) < best - 1e-12 * abs(best):
            step /= 2
        line, best = line + step, climbed
        if np.abs(step).max() < 1e-10:
            break
    return float(line[0]), float(line[1])


def _log_likelihood(eta: NDArray[np.float64], ore: NDArray[np.bool_]) -> float:
    """Return the log likelihood of labels under logits."""
    return float(-np.logaddexp(0, np.where(ore, -eta, eta)).sum())
