"""Standard errors, intervals and tests of ROC AUCs; corrected p values; weights of evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import false_discovery_control, norm, rankdata

from geoprospect._checks import check_choice, check_number
from geoprospect.errors import InputError
from geoprospect.stats.metrics import labels_and_scores, rank_auc, z_auc

# Rounding leaves about 1e-17 of a variance that is 0.
_NO_ERROR = 1e-9


def auc_standard_error(
    labels: ArrayLike,
    scores: ArrayLike,
    method: Literal["delong", "hanley-mcneil", "binomial", "null"] = "delong",
) -> float:
    """Return the standard error of the rank AUC.

    It takes the points to be independent; samples of one survey are not, and the error is then too
    small.

    Parameters
    ----------
    labels : array_like of shape (n,)
        1 ore, 0 barren.
    scores : array_like of shape (n,)
        Finite numbers; higher means more likely ore.
    method : {'delong', 'hanley-mcneil', 'binomial', 'null'}, default 'delong'
        - 'delong': from the data, without any assumption about their distribution [1]_, by ranks [2]_.
        - 'hanley-mcneil': from the AUC and the counts alone [3]_; as in `z_auc`.
        - 'binomial': for hard labels, of which the AUC is the mean of two proportions.
        - 'null': what it would be if scores had nothing to do with labels, corrected for ties: that of
          the Mann-Whitney test. For testing whether there is anything; not for intervals.

    Returns
    -------
    float
        0 where the classes are separated perfectly (but for 'null'), and for 'null' where all scores
        are equal; NaN where a class is absent, and for 'delong' where it has one point only.

    Raises
    ------
    InputError
        When labels and scores do not fit together, or scores are no hard labels for 'binomial'.

    References
    ----------
    .. [1] DeLong, E. R., DeLong, D. M. & Clarke-Pearson, D. L. (1988). Comparing the areas under two or
       more correlated receiver operating characteristic curves. Biometrics 44, 837-845.
       https://doi.org/10.2307/2531595
    .. [2] Sun, X. & Xu, W. (2014). Fast implementation of DeLong's algorithm. IEEE Signal Processing
       Letters 21, 1389-1393. https://doi.org/10.1109/LSP.2014.2337313
    .. [3] Hanley, J. A. & McNeil, B. J. (1982). https://doi.org/10.1148/radiology.143.1.7063747

    Examples
    --------
    >>> import geoprospect as gp
    >>> labels, scores = [0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.5, 0.4, 0.7, 0.8]
    >>> [round(gp.stats.auc_standard_error(labels, scores, how), 3) for how in ("delong", "hanley-mcneil", "null")]
    [0.192, 0.184, 0.251]
    """
    check_choice("method", method, ("delong", "hanley-mcneil", "binomial", "null"))
    ore, values = labels_and_scores(labels, scores)
    n_ore, n_barren = int(ore.sum()), int((~ore).sum())
    if not n_ore or not n_barren:
        return math.nan
    if method == "hanley-mcneil":
        return z_auc(rank_auc(ore, values), n_ore, n_barren)[0]
    if method == "binomial":
        found = np.unique(values)
        if found.size > 2:
            raise InputError(
                f"scores: have {found.size} different values; the binomial error is for hard labels, which have two: "
                "pass method='delong'"
            )
        high = values == found[-1]
        right = high[ore].mean(), (~high[~ore]).mean()
        return math.sqrt(sum(p * (1 - p) / n for p, n in zip(right, (n_ore, n_barren), strict=True))) / 2
    if method == "null":
        n = n_ore + n_barren
        _, tied = np.unique(values, return_counts=True)
        ties = float((tied.astype(np.float64) ** 3 - tied).sum()) / (n * (n - 1))
        return math.sqrt(max(n + 1 - ties, 0.0) / (12 * n_ore * n_barren))
    return math.sqrt(float(_delong_covariance(ore, values[None])[0, 0]))


def auc_interval(labels: ArrayLike, scores: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return a confidence interval of the rank AUC for independent points.

    The score interval from Hanley and McNeil's variance, method 5 of Newcombe [1]_: the AUCs from which
    the measured one is not farther than chance would bring it. With few ore points it holds the truth as
    often as it says or somewhat more, where AUC ± 1.96 standard errors does not; and it has a width for a
    perfect separation.

    Parameters
    ----------
    labels, scores
        As in `rank_auc`.
    level : float, default 0.95
        Share of such intervals that hold the true AUC.

    Returns
    -------
    low, high : float
        NaN where a class is absent.

    References
    ----------
    .. [1] Newcombe, R. G. (2006). Confidence intervals for an effect size measure based on the
       Mann-Whitney statistic. Part 2. Statistics in Medicine 25, 559-573.
       https://doi.org/10.1002/sim.2324

    Examples
    --------
    >>> import geoprospect as gp
    >>> low, high = gp.stats.auc_interval([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6])
    >>> round(low, 3), round(high, 3)
    (0.501, 1.0)
    """
    share = check_number("level", level, above=0)
    if share >= 1:
        raise InputError(f"level={level!r}: needs a number between 0 and 1, for example 0.95")
    ore, values = labels_and_scores(labels, scores)
    n_ore, n_barren = int(ore.sum()), int((~ore).sum())
    if not n_ore or not n_barren:
        return math.nan, math.nan
    area, z = rank_auc(ore, values), float(norm.isf((1 - share) / 2))
    return _score_bound(area, n_ore, n_barren, -z), _score_bound(area, n_ore, n_barren, z)


def null_z(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return how far the rank AUC lies from 0.5, in standard errors of the null hypothesis.

    The Mann-Whitney test by its normal approximation, corrected for ties: it is this, and not Z_AUC,
    that tests whether scores have anything to do with labels. It is finite for a perfect separation
    too.

    Parameters
    ----------
    labels, scores
        As in `rank_auc`.

    Returns
    -------
    float
        0 where all scores are equal; NaN where a class is absent.

    Examples
    --------
    >>> import geoprospect as gp
    >>> round(gp.stats.null_z([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6]), 3)
    1.964
    """
    se = auc_standard_error(labels, scores, "null")
    return 0.0 if se == 0 else (rank_auc(labels, scores) - 0.5) / se


@dataclass(frozen=True)
class AUCComparison:
    """Two AUCs of the same points, and whether they differ.

    Parameters
    ----------
    auc_a, auc_b : float
        Their rank AUCs.
    se : float
        Standard error of the difference; smaller than that of either where both rank the points alike.
    z, p : float
        Difference in standard errors, and the two-sided p value.

    Examples
    --------
    >>> import geoprospect as gp
    >>> gp.stats.AUCComparison(auc_a=0.8, auc_b=0.7, se=0.05, z=2.0, p=0.0455).p
    0.0455
    """

    auc_a: float
    auc_b: float
    se: float
    z: float
    p: float

    @property
    def difference(self) -> float:
        """The first AUC less the second."""
        return self.auc_a - self.auc_b


def compare_aucs(labels: ArrayLike, a: ArrayLike, b: ArrayLike) -> AUCComparison:
    """Compare the AUCs of two scores of the same, independent points, after DeLong et al. [1]_.

    Parameters
    ----------
    labels : array_like of shape (n,)
        1 ore, 0 barren.
    a, b : array_like of shape (n,)
        Two scores.

    Returns
    -------
    AUCComparison
        With z 0 and p 1 where both rank the points alike.

    Raises
    ------
    InputError
        When labels and scores do not fit together, or a class has fewer than two points.

    References
    ----------
    .. [1] DeLong, E. R., DeLong, D. M. & Clarke-Pearson, D. L. (1988).
       https://doi.org/10.2307/2531595

    Examples
    --------
    >>> import geoprospect as gp
    >>> compared = gp.stats.compare_aucs([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6], [1, 3, 5, 4, 2, 6])
    >>> round(compared.difference, 3), round(compared.p, 3)
    (0.222, 0.371)
    """
    ore, first = labels_and_scores(labels, a)
    _, second = labels_and_scores(labels, b)
    for what, n in (("ore", ore.sum()), ("barren", (~ore).sum())):
        if n < 2:
            raise InputError(f"labels: {n} {what} points; two of each class are needed to compare AUCs")
    covariance = _delong_covariance(ore, np.stack([first, second]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    auc_a, auc_b = rank_auc(ore, first), rank_auc(ore, second)
    se = math.sqrt(max(float(variance), 0.0))
    if se > _NO_ERROR:
        z = (auc_a - auc_b) / se
    else:
        z = math.copysign(math.inf, auc_a - auc_b) if abs(auc_a - auc_b) > _NO_ERROR else 0.0
    return AUCComparison(auc_a, auc_b, se, z, float(2 * norm.sf(abs(z))))


def adjust_p(p: ArrayLike, method: Literal["holm", "bh"] = "holm") -> NDArray[np.float64]:
    """Correct p values for their number.

    Parameters
    ----------
    p : array_like of shape (n,)
        Between 0 and 1; NaN stays NaN and does not count.
    method : {'holm', 'bh'}, default 'holm'
        'holm': the chance of any false discovery stays below the level [1]_. 'bh': the expected
        share of false ones among the discoveries does, if the tests are independent or positively
        dependent [2]_.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    InputError
        When a value is not between 0 and 1.

    References
    ----------
    .. [1] Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian
       Journal of Statistics 6, 65-70. https://www.jstor.org/stable/4615733
    .. [2] Benjamini, Y. & Hochberg, Y. (1995). Controlling the false discovery rate. Journal of the
       Royal Statistical Society B 57, 289-300. https://doi.org/10.1111/j.2517-6161.1995.tb02031.x

    Examples
    --------
    >>> import geoprospect as gp
    >>> gp.stats.adjust_p([0.01, 0.04, 0.03, float("nan")])
    array([0.03, 0.06, 0.06,  nan])
    """
    check_choice("method", method, ("holm", "bh"))
    try:
        given = np.asarray(p, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"p: needs numbers between 0 and 1 of shape (n,), got {p!r:.200}") from None
    known = np.isfinite(given)
    if given.ndim != 1 or not ((given[known] >= 0) & (given[known] <= 1)).all() or np.isinf(given).any():
        raise InputError(f"p: needs numbers between 0 and 1 of shape (n,), got {given!r:.200}")
    corrected = np.full(given.shape, np.nan)
    if method == "bh":
        if known.any():
            corrected[known] = false_discovery_control(given[known])
        return corrected
    # Holm's procedure by hand: scipy has none.
    order = np.argsort(given)  # NaN last
    m = int(known.sum())
    stepped = given[order[:m]] * (m - np.arange(m))
    corrected[order[:m]] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected


@dataclass(frozen=True)
class WeightsOfEvidence:
    """Weights of evidence of a binary pattern.

    Parameters
    ----------
    w_plus, w_minus : float or ndarray
        Log of how much likelier ore is in and outside the pattern than it was before.
    contrast : float or ndarray
        ``w_plus - w_minus``; 0 where the pattern says nothing.
    contrast_se : float or ndarray
        Its standard error for independent deposits.
    studentised : float or ndarray
        ``contrast / contrast_se``.

    Examples
    --------
    >>> import geoprospect as gp
    >>> weights = gp.stats.weights_of_evidence(n_pattern_ore=8, n_ore=10, n_pattern=100, n=1000)
    >>> [round(float(one), 2) for one in (weights.w_plus, weights.w_minus, weights.contrast)]
    [2.15, -1.51, 3.66]
    """

    w_plus: Any
    w_minus: Any
    contrast: Any
    contrast_se: Any
    studentised: Any


def weights_of_evidence(n_pattern_ore: Any, n_ore: Any, n_pattern: Any, n: Any) -> WeightsOfEvidence:
    """Return the weights of evidence of a binary pattern, from counts of unit cells [1]_.

    Parameters
    ----------
    n_pattern_ore : int or array_like
        Ore cells in the pattern.
    n_ore : int or array_like
        Ore cells in all.
    n_pattern : int or array_like
        Cells in the pattern.
    n : int or array_like
        Cells in all. Where the cells are small beside the deposits' distances, their size hardly
        matters.

    Returns
    -------
    WeightsOfEvidence
        Where one of the four counts is 0, 0.5 is added to each of them, so that no weight is infinite.

    Raises
    ------
    InputError
        When the counts contradict each other.

    References
    ----------
    .. [1] Agterberg, F. P., Bonham-Carter, G. F. & Wright, D. F. (1990). Statistical pattern integration
       for mineral exploration. In: Gaál, G. & Merriam, D. F. (eds.): Computer applications in resource
       estimation, 1-21. Pergamon.

    Examples
    --------
    >>> import geoprospect as gp
    >>> weights = gp.stats.weights_of_evidence(n_pattern_ore=30, n_ore=40, n_pattern=1000, n=3000)
    >>> round(float(weights.contrast), 2), round(float(weights.studentised), 1)
    (1.82, 4.9)
    """
    said = f"n_pattern_ore={n_pattern_ore!r}, n_ore={n_ore!r}, n_pattern={n_pattern!r}, n={n!r}"
    try:
        in_pattern, ore, pattern, cells = np.broadcast_arrays(
            *(np.asarray(count, dtype=np.float64) for count in (n_pattern_ore, n_ore, n_pattern, n))
        )
    except (TypeError, ValueError) as err:
        raise InputError(f"{said}: need numbers, or arrays of one shape ({err})") from None
    table = np.stack([in_pattern, ore - in_pattern, pattern - in_pattern, cells - ore - pattern + in_pattern])
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise InputError(
            f"{said}: these cannot be counts of cells; ore cells of the pattern are both of the ore cells and of the "
            "pattern, and all are of n"
        )
    table = table + 0.5 * (table == 0).any(axis=0)
    hit, missed, false, rest = table
    w_plus = np.log(hit / (hit + missed)) - np.log(false / (false + rest))
    w_minus = np.log(missed / (hit + missed)) - np.log(rest / (false + rest))
    se = np.sqrt((1 / table).sum(axis=0))
    contrast = w_plus - w_minus
    return WeightsOfEvidence(w_plus, w_minus, contrast, se, contrast / se)


def _delong_covariance(ore: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance of the AUCs of several scores, (S, n), by ranks; NaN if a class has only one point.

    From the structural components: for each ore point the fraction of barren points below it, and for each barren point
    the fraction of ore points above it. Ties count one half.
    """
    n_ore, n_barren = int(ore.sum()), int((~ore).sum())
    if min(n_ore, n_barren) < 2:
        return np.full((len(scores), len(scores)), np.nan)
    all_ranks = rankdata(scores, axis=1)
    beaten = (all_ranks[:, ore] - rankdata(scores[:, ore], axis=1)) / n_barren  # (S, n_ore)
    topped = 1 - (all_ranks[:, ~ore] - rankdata(scores[:, ~ore], axis=1)) / n_ore  # (S, n_barren)
    return np.atleast_2d(np.cov(beaten)) / n_ore + np.atleast_2d(np.cov(topped)) / n_barren


def _score_bound(area: float, n_ore: int, n_barren: int, z: float) -> float:
    """Return the AUC that lies z standard errors from `area`, in errors that it would have itself."""
    n = (n_ore + n_barren) / 2

    def off(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + (n - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return theta - area - z * math.sqrt(max(spread, 0.0) / (n_ore * n_barren))

    end = 1.0 if z > 0 else 0.0
    if area == end:
        return area
    # At 0 and 1 the error is 0, so an AUC there is a root of its own; the bound is the other one.
    start = min(max(area, 1e-12), 1 - 1e-12)
    return float(brentq(off, start, end))
