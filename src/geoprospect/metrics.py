"""How good a ranking or a map is, each number under its right name."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Self

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from geoprospect._checks import check_int, check_number
from geoprospect.errors import CRSError, DataWarning, InputError, NameNotFoundError


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
    >>> gp.rank_auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    ore, values = labels_and_scores(labels, scores)
    n_ore = int(ore.sum())
    n_barren = ore.size - n_ore
    if n_ore == 0 or n_barren == 0:
        return math.nan
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
    >>> se, z = gp.z_auc(0.5 + 43 / 244, 122, 122)
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
    >>> gp.Evaluation(tp=16, fp=7, fn=13, tn=108).to_frame().round(4)
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
    >>> gp.evaluate(cells, deposit)
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
            stacklevel=2,
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
