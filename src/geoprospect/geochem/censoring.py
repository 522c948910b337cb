"""Samples with values below detection: what stands in for them, where they are, how many they are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from geoprospect.errors import InputError
from geoprospect.geochem.imputation import impute
from geoprospect.geochem.samples import Samples


def replace_censored(samples: Samples, method: Literal["half", "sqrt2", "nan", "ros", "lrem"] = "half") -> Samples:
    """Put other values in the place of those below detection.

    Parameters
    ----------
    samples : Samples
        Concentrations as they were measured, with detection limits where `censored`.
    method : {'half', 'sqrt2', 'nan', 'ros', 'lrem'}, default 'half'
        - 'half', 'sqrt2': limit/2, limit/√2 [1]_;
        - 'nan': missing;
        - 'ros': regression on order statistics, each element by itself [2]_ [3]_. Right for the mean and
          the spread of an element; which of the samples below one limit gets which value is drawn,
          always alike, so it is not for maps and ratios;
        - 'lrem': log-ratio EM, from all elements together [4]_ [5]_: what a sample has most likely, given
          what is measured in it. For log-ratios, factors and maps.

    Returns
    -------
    Samples
        With other values; `limits`, `censored` and all measured values as they were. Estimates are
        above 0 and below their limits.

    Raises
    ------
    InputError
        When a limit is missing or not above 0, or values are logarithms already; with 'ros' and 'lrem'
        when an element has fewer than three different values above detection, or fewer than 20 % of its
        values, or one of 0 or less; with 'lrem' when samples are not more than elements, or nothing is
        measured in one that has values below detection.

    Warns
    -----
    DataWarning
        When 'lrem' has not come to rest.

    Notes
    -----
    Values over range count as measured. 'lrem' takes any units, and one that is unknown: a factor of an
    element moves the mean of its log-ratios and nothing else. It uses what is missing in one element and
    measured in others, and leaves missing what is missing; elements that are measured in fewer than 20 %
    of the samples are not asked about others. More samples than elements are the least it takes; with
    fewer than twice as many, estimates may be no better than half the limit. Where several values of a
    sample are censored it goes beyond the published algorithm, which cuts off each distribution as if it
    were the only one: here the joint distribution is cut, by expectation propagation [6]_. That is close
    where elements have a variation of their own; of elements that are nearly copies (correlation above
    0.99) and censored together, estimates come out too low.

    References
    ----------
    .. [1] Hornung, R. W. & Reed, L. D. (1990). Estimation of average concentration in the presence of
       nondetectable values. Applied Occupational and Environmental Hygiene 5, 46-51.
       https://doi.org/10.1080/1047322X.1990.10389587
    .. [2] Helsel, D. R. & Cohn, T. A. (1988). Estimation of descriptive statistics for multiply censored
       water quality data. Water Resources Research 24, 1997-2004.
       https://doi.org/10.1029/WR024i012p01997
    .. [3] Lee, L. & Helsel, D. (2005). Statistical analysis of water-quality data containing multiple
       detection limits: S-language software for regression on order statistics. Computers &
       Geosciences 31, 1241-1248. https://doi.org/10.1016/j.cageo.2005.03.012
    .. [4] Palarea-Albaladejo, J. & Martín-Fernández, J. A. (2008). A modified EM alr-algorithm for
       replacing rounded zeros in compositional data sets. Computers & Geosciences 34, 902-917.
       https://doi.org/10.1016/j.cageo.2007.09.015
    .. [5] Palarea-Albaladejo, J. & Martín-Fernández, J. A. (2015). zCompositions: R package for
       multivariate imputation of left-censored data under a compositional approach. Chemometrics and
       Intelligent Laboratory Systems 143, 85-96. https://doi.org/10.1016/j.chemolab.2015.02.019
    .. [6] Cunningham, J. P., Hennig, P. & Lacoste-Julien, S. (2011). Gaussian probabilities and
       expectation propagation. https://doi.org/10.48550/arXiv.1111.6832

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[0, 0], [0, 90]], [[12.5, 1.0], [30.0, 0.25]], ["Cu", "Au"], ["ppm", "ppb"], "EPSG:32649",
    ...                      limits=[[float("nan")] * 2, [float("nan"), 0.5]], censored=[[False] * 2, [False, True]])
    >>> gp.replace_censored(samples, "sqrt2").values.round(3)
    array([[12.5  ,  1.   ],
           [30.   ,  0.354]])
    """
    _check_samples(samples)
    logs = [
        name
        for name, unit, below in zip(samples.elements, samples.units, samples.censored.T, strict=True)
        if unit.startswith("log10(") and below.any()
    ]
    if logs:
        raise InputError(f"samples: {logs[0]!r} is a logarithm; replace concentrations, and transform them afterwards")
    values = impute(samples.values, samples.limits, samples.censored, method, elements=samples.elements)
    return replace(samples, values=values)


def censoring_indicator(samples: Samples) -> Samples:
    """Say of every value whether it is below detection.

    Gridded, the indicator is the share of samples nearby that are below detection: it shows limits
    of laboratories and campaigns that a map of concentrations would show as geology.

    Parameters
    ----------
    samples : Samples
        With `censored` marks.

    Returns
    -------
    Samples
        ``Cu_censored`` for ``Cu``, in unit '1': 1 where below the limit, 0 where measured, NaN where
        missing.

    Examples
    --------
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[50, 50], [250, 50]], [[0.5], [30.0]], ["Cu"], ["ppm"], "EPSG:32649",
    ...                      limits=[[1], [float("nan")]], censored=[[True], [False]])
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 100), (1, 3))
    >>> gp.interpolate(gp.censoring_indicator(samples), grid)["Cu_censored"].values
    array([[1. , 0.5, 0. ]], dtype=float32)
    """
    _check_samples(samples)
    missing = np.isnan(samples.values) & ~samples.censored
    return Samples(
        samples.points,
        np.where(missing, np.nan, samples.censored),
        [f"{element}_censored" for element in samples.elements],
        ["1"] * len(samples.elements),
        samples.crs,
    )


def censoring_table(samples: Samples) -> pd.DataFrame:
    """Count values below detection and say what their limits are.

    Parameters
    ----------
    samples : Samples
        With detection limits where `censored`.

    Returns
    -------
    pandas.DataFrame
        Indexed by element: ``unit``; ``n``, values that are measured or below detection; ``censored``
        and ``fraction``, how many and what share of them are below; ``over_range``; ``limits``, how many
        different ones, ``lowest_limit`` and ``highest_limit``, in ``unit``; ``detected_below``, the share
        of measured values that are less than the highest limit. Where it is large, laboratories or
        campaigns differ: what one measured, another did not see.

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[0, 0], [0, 90], [0, 180]], [[0.5], [30.0], [2.0]], ["Cu"], ["ppm"], "EPSG:32649",
    ...                      limits=[[1], [float("nan")], [4]], censored=[[True], [False], [True]])
    >>> gp.censoring_table(samples)[["n", "censored", "fraction", "limits", "highest_limit", "detected_below"]].round(2)
             n  censored  fraction  limits  highest_limit  detected_below
    element
    Cu       3         2      0.67       2            4.0             0.0
    """
    _check_samples(samples)
    rows = []
    for at, unit in enumerate(samples.units):
        below, values = samples.censored[:, at], samples.values[:, at]
        measured = values[~below & ~np.isnan(values)]
        n = len(measured) + int(below.sum())
        limits = np.unique(samples.limits[below, at])
        limits = limits[~np.isnan(limits)]
        lowest, highest = (limits[0], limits[-1]) if len(limits) else (math.nan, math.nan)
        row: dict[str, Any] = {
            "unit": unit, "n": n, "censored": int(below.sum()), "fraction": below.sum() / n if n else math.nan,
            "over_range": int(samples.over_range[:, at].sum()), "limits": len(limits), "lowest_limit": lowest,
            "highest_limit": highest,
            "detected_below": np.mean(measured < highest) if len(limits) and len(measured) else math.nan,
        }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(samples.elements, name="element"))


def _check_samples(samples: Samples) -> None:
    if not isinstance(samples, Samples):
        raise InputError(f"samples: is a {type(samples).__name__}, needs Samples; read a table with read_samples(path)")
