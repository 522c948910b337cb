"""Rank elements by how well they separate known deposits from background."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Unpack

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm
from tqdm.auto import tqdm

from geoprospect._checks import check_choice, check_int, check_number, check_rng, first_rows
from geoprospect._settings import with_settings
from geoprospect.errors import InputError
from geoprospect.geochem.samples import Samples
from geoprospect.io.deposits import check_deposits
from geoprospect.screening.cells import (
    Floats,
    Ground,
    Places,
    background,
    draw_barren,
    ground_of,
    ore_places,
    place_with_data,
    regions,
)
from geoprospect.screening.settings import ScreenOptions, ScreenSettings
from geoprospect.screening.shifts import family_wise, p_values, shifted_places, standardised
from geoprospect.screening.svm import auc_of_labels, auc_of_scores, svm_scores
from geoprospect.stats.auc import adjust_p, auc_standard_error, weights_of_evidence
from geoprospect.stats.metrics import rank_auc, z_auc

Rule = Literal["shift", "holm", "bh", "gao2022"]
RULES = ("shift", "holm", "bh", "gao2022")


def screen(
    survey: xr.Dataset | Samples,
    deposits: gpd.GeoDataFrame,
    alpha: float = 0.01,
    rng: int | np.random.Generator | None = 0,
    *,
    rule: Rule = "shift",
    progress: bool = False,
    **settings: Unpack[ScreenOptions],
) -> pd.DataFrame:
    """Rank elements by how well they separate deposits from background cells, with a test by random shifts.

    Each element is scored by the AUC of its values at the deposits against those at background (barren) cells.
    Deposits are clustered and concentrations are spatially correlated, so the textbook p value, which
    assumes independent points, is far too small. The default selection therefore shifts the
    deposit pattern at random over the study area [1]_, and compares the scores of the shifts
    with that of the deposits. The greatest score over all elements of each shift corrects for the
    number of elements [2]_.

    Parameters
    ----------
    survey : xarray.Dataset or Samples
        Bands with dims (y, x), NaN where there are no data. Or raw samples: each sample location then
        counts as a cell, and a deposit has the values of the nearest one.
    deposits : GeoDataFrame
        Points; those that share a cell count once, those outside of the study area do not count.
    alpha : float, default 0.01
        Level of the selection.
    rng : int, Generator or None, default 0
        Draws background cells and shifts.
    rule : {'shift', 'holm', 'bh', 'gao2022'}, default 'shift'
        What selects: ``p_family`` (random shifts, family-wise), ``p_holm`` or ``p_bh`` (textbook p,
        corrected), each at most `alpha`; or, as in Gao et al. [3]_, an uncorrected Z_AUC of at least
        2.58 (for alpha = 0.01) after Hanley and McNeil, and only where ore is enriched.
    progress : bool, default False
        Show a progress bar.
    **settings
        Fields of `ScreenSettings`:

        - ``statistic`` ('rank'): AUC of concentrations, or of the labels of a support vector machine ('svm');
        - ``validation`` ('spatial'): where the machine is tested; 'resubstitution' as in the paper;
        - ``error`` (by statistic and rule): standard error in ``z_auc``;
        - ``alternative`` ('two-sided'): or 'enriched', 'depleted';
        - ``n_barren`` (2000, or as many as ore cells for a machine): background cells in a draw;
        - ``draws`` (10): draws of background cells;
        - ``buffer`` (0): distance between background cells and deposits, in units of the CRS;
        - ``reach`` (by the spacing): greatest distance of a deposit from its sample;
        - ``permutations`` (1999): random shifts;
        - ``pattern_area`` (0.1): fraction of the area in the pattern of the weights of evidence.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``element``, the clearest first:

        - ``auc`` (below 0.5 where ore is depleted), ``auc_sd`` over the draws, for a machine also
          ``auc_scores``, the AUC of its scores;
        - ``se`` and ``z_auc`` = (auc - 0.5) / se; infinite for a perfect separation;
        - ``z_null``: distance from 0.5 in standard errors of the null hypothesis (the Mann-Whitney
          test), finite always; ``p`` from it; ``p_holm``, ``p_bh`` corrected for the number of
          elements;
        - ``p_shift`` = (b + 1)/(m + 1) from random shifts, ``p_family`` corrected;
        - ``contrast``, ``contrast_studentised`` of the weights of evidence [4]_;
        - ``direction`` ('enriched', 'depleted', 'not scorable'), ``n_ore``, ``n_barren``,
          ``selected``.

        Elements that are constant or lack values at the deposits are not scorable: NaN and not
        selected.

    Raises
    ------
    InputError
        When the survey has no data, no deposit lies on the ground, no ground is left for barren places, arguments
        contradict each other, or the ground is too patchy to shift the deposits over.

    Warns
    -----
    DataWarning
        When deposits are left out, or there are fewer than five.

    References
    ----------
    .. [1] Mrkvička, T., Dvořák, J., González, J. A. & Mateu, J. (2021). Revisiting the random shift
       approach for testing in spatial statistics. Spatial Statistics 42, 100430.
       https://doi.org/10.1016/j.spasta.2020.100430
    .. [2] Westfall, P. H. & Young, S. S. (1993). Resampling-based multiple testing. Wiley.
    .. [3] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433
    .. [4] Bonham-Carter, G. F. (1994). Geographic information systems for geoscientists. Pergamon.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> ranking = gp.screen(area.samples, area.deposits, alpha=0.05)
    >>> ranking[["auc", "p_family", "selected"]].round(2).head(3)
              auc  p_family  selected
    element
    Ag       0.87       0.0      True
    Cu       0.82       0.0      True
    Au       0.80       0.0      True
    """
    alpha, how = check_number("alpha", alpha, above=0, maximum=1), with_settings(ScreenSettings(), {**settings})
    check_choice("rule", rule, RULES)
    statistic, alternative, m = how.statistic, how.alternative, how.permutations
    if rule == "gao2022" and how.error not in (None, "hanley-mcneil"):
        raise InputError(
            f"error={how.error!r}: rule='gao2022' has a threshold for Hanley and McNeil's error; leave error out"
        )
    own = "hanley-mcneil" if rule == "gao2022" else "delong" if statistic == "rank" else "binomial"
    error = how.error or own
    if rule == "gao2022" and alternative == "depleted":
        raise InputError("alternative='depleted', rule='gao2022': the paper keeps what is enriched; pass another rule")
    if rule == "shift" and 1 / (m + 1) > alpha:
        raise InputError(
            f"permutations={m}: p cannot be less than 1/{m + 1}, so nothing can be selected at alpha={alpha:g}; "
            f"pass permutations={math.ceil(10 / alpha) - 1} or more, or another rule"
        )
    generator = check_rng(rng)
    ground = ground_of(survey, how.reach)
    if not ground.with_data.any():
        raise InputError(f"survey: has no data in any of {first_rows(ground.names, 8)}; look at what it was made from")
    points = ground.points_of(check_deposits(deposits))
    ore = ore_places(ground, points, deposits)
    wanted = how.n_barren or (2000 if statistic == "rank" else ore.size)
    barren = draw_barren(ground, ore, points, wanted, how.draws, how.buffer, generator)
    standing, whole = background(ground, generator)
    region = regions(ground, standing, generator) if statistic == "svm" and how.validation == "spatial" else None
    ranking = _scores(ground, ore, barren, statistic, error, region)
    scorable = ranking["auc"].notna().to_numpy()
    ranking["p"] = _normal_p(ranking["z_null"].to_numpy(), "enriched" if statistic == "svm" else alternative)
    ranking["p_holm"], ranking["p_bh"] = (adjust_p(ranking["p"].to_numpy(), how) for how in ("holm", "bh"))
    ranking["p_shift"] = ranking["p_family"] = np.nan
    if m and scorable.any():
        # From the middle of its place, so that deposits of one cell are one, whatever their order.
        places = shifted_places(ground.position(ore), ground.extent, place_with_data(ground), m, generator)
        if statistic == "rank":
            means, counts = _mean_ranks(ground, places, whole)
        else:
            means, counts = _machine_aucs(ground, places, barren[0], region, progress)
        scores = standardised(means[:, scorable], counts[:, scorable])
        sides = "enriched" if statistic == "svm" else alternative
        ranking.loc[scorable, "p_shift"] = p_values(scores, sides)
        ranking.loc[scorable, "p_family"] = family_wise(scores, sides)
    ranking = ranking.join(_contrasts(ground, ore, whole, ranking["direction"], how.pattern_area))
    if rule == "gao2022":
        ranking["selected"] = ranking["z_auc"] >= round(float(norm.isf(alpha / 2)), 2)
    else:
        ranking["selected"] = ranking[{"shift": "p_family", "holm": "p_holm", "bh": "p_bh"}[rule]] <= alpha
    order = ["auc", "auc_sd", *(["auc_scores"] if statistic == "svm" else []), "se", "z_auc", "z_null", "p", "p_holm",
             "p_bh", "p_shift", "p_family", "contrast", "contrast_studentised", "direction", "n_ore", "n_barren",
             "selected"]  # fmt: skip
    return ranking[order].sort_values("z_null", key=lambda z: -z.abs(), kind="stable", na_position="last")


def screening_points(
    survey: xr.Dataset | Samples,
    deposits: gpd.GeoDataFrame,
    rng: int | np.random.Generator | None = 0,
    *,
    n_barren: int = 2000,
    buffer: float = 0.0,
    reach: float | None = None,
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return what `screen` scores in its first draw: for every band the labels and values of ore and barren places.

    Parameters
    ----------
    survey, deposits, rng, n_barren, buffer, reach
        As in `screen`; the same arguments give the same places.

    Returns
    -------
    dict of str to (labels, values)
        Arrays of shape (n,): 1 for places that hold a deposit, 0 for barren ones, and the values of the
        band there; places without data are left out.

    Raises
    ------
    InputError
        As in `screen`.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)
    >>> labels, values = gp.screening_points(survey, area.deposits, n_barren=500)["Cu"]
    >>> ranking = gp.screen(survey, area.deposits, n_barren=500, draws=1)
    >>> round(gp.stats.rank_auc(labels, values), 3) == ranking.auc["Cu"].round(3)
    np.True_
    """
    generator, ground = check_rng(rng), ground_of(survey, reach)
    points = ground.points_of(deposits)
    ore = ore_places(ground, points, deposits)
    near = check_number("buffer", buffer, minimum=0)
    (barren,) = draw_barren(ground, ore, points, check_int("n_barren", n_barren), 1, near, generator)
    return _labelled(ground, ore, barren)


# -- the scores ----------------------------------------------------------------------------------


def _labelled(ground: Ground, ore: Places, barren: Places) -> dict[str, tuple[NDArray[np.int64], Floats]]:
    labels, values = np.repeat([1, 0], [ore.size, barren.size]), ground.values(np.concatenate([ore, barren]))
    present = np.isfinite(values)
    return {name: (labels[present[:, band]], values[present[:, band], band]) for band, name in enumerate(ground.names)}


def _scores(
    ground: Ground, ore: Places, barren: list[Places], statistic: str, error: Any,
    region: Callable[[Places], Places] | None,
) -> pd.DataFrame:  # fmt: skip
    """Return auc, its spread over the draws, errors, direction and counts of every band."""
    per_draw: dict[str, list[dict[str, float]]] = {name: [] for name in ground.names}
    for some in barren:
        values = ground.values(np.concatenate([ore, some]))
        labels = np.repeat([1, 0], [ore.size, some.size])
        of = None if region is None else region(np.concatenate([ore, some]))
        for band, name in enumerate(ground.names):
            there = np.isfinite(values[:, band])
            inside = None if of is None else of[there]
            per_draw[name].append(_score(labels[there], values[there, band], statistic, error, inside))
    rows = []
    for name, scores in per_draw.items():
        table = pd.DataFrame(scores)
        mean = table.mean()
        n_ore, n_barren = int(table["n_ore"].iloc[0]), int(table["n_barren"].iloc[0])
        auc = mean["auc"] if table["auc"].notna().all() else math.nan
        if math.isnan(auc):
            rows.append({"element": name, "n_ore": n_ore, "n_barren": n_barren, "direction": "not scorable"})
            continue
        se = z_auc(auc, n_ore, n_barren)[0] if error == "hanley-mcneil" else mean["se"]
        rows.append({
            "element": name, "auc": auc, "auc_sd": table["auc"].std() if len(table) > 1 else math.nan,
            "auc_scores": mean["auc_scores"], "se": se, "z_auc": _ratio(auc - 0.5, se),
            "z_null": _ratio(auc - 0.5, mean["se_null"]), "n_ore": n_ore, "n_barren": n_barren,
            "direction": "enriched" if mean["rank_auc"] >= 0.5 else "depleted",
        })  # fmt: skip
    columns = ["element", "auc", "auc_sd", "auc_scores", "se", "z_auc", "z_null", "direction", "n_ore", "n_barren"]
    return pd.DataFrame(rows, columns=columns).set_index("element")


def _score(
    labels: NDArray[np.int64], values: Floats, statistic: str, error: Any, region: Places | None
) -> dict[str, float]:
    n_ore = int(labels.sum())
    counts: dict[str, float] = {"n_ore": n_ore, "n_barren": labels.size - n_ore}
    if not n_ore or n_ore == labels.size or values.min() == values.max():
        return {**counts, "auc": math.nan, "auc_scores": math.nan, "se": math.nan, "se_null": math.nan,
                "rank_auc": math.nan}  # fmt: skip
    rank = rank_auc(labels, values)
    if statistic == "rank":
        auc, of_scores, told = rank, math.nan, values
    else:
        scores = svm_scores(labels, values, region)
        known = ~np.isnan(scores)
        auc, of_scores = auc_of_labels(labels, scores), auc_of_scores(labels, scores, region)
        labels, told = labels[known], (scores[known] > 0).astype(np.float64)
    return {
        **counts, "auc": auc, "auc_scores": of_scores, "rank_auc": rank,
        "se": math.nan if error == "hanley-mcneil" else auc_standard_error(labels, told, error),
        "se_null": auc_standard_error(labels, told, "null"),
    }  # fmt: skip


def _ratio(part: float, whole: float) -> float:
    """Return part / whole; 0 for 0 / 0, infinite for a part of nothing."""
    if whole > 0 or math.isnan(whole):
        return part / whole
    return math.copysign(math.inf, part) if part else 0.0


def _normal_p(z: Floats, alternative: str) -> Floats:
    if alternative == "two-sided":
        return np.asarray(2 * norm.sf(np.abs(z)))
    return np.asarray(norm.sf(z if alternative == "enriched" else -z))


# -- the shifts ----------------------------------------------------------------------------------


def _mean_ranks(ground: Ground, places: Places, whole: Floats) -> tuple[Floats, Places]:
    """Return the mean rank among all the ground, 0 to 1, of each pattern in each band, and the points it is of.

    This is the AUC against the whole ground instead of the barren places, in the same order, so that the
    deposits where they lie are compared with the same as those that were shifted.
    """
    used, back = np.unique(places, return_inverse=True)
    values = np.full((used.size, len(ground.names)), np.nan)
    values[used >= 0] = ground.values(used[used >= 0])
    means, counts = (
        np.zeros((len(places), len(ground.names))),
        np.zeros((len(places), len(ground.names)), dtype=np.int64),
    )
    for band in range(len(ground.names)):
        known = np.sort(whole[np.isfinite(whole[:, band]), band])
        if not known.size:
            continue
        rank = (np.searchsorted(known, values[:, band]) + np.searchsorted(known, values[:, band], "right")) / 2
        there = np.isfinite(values[:, band])
        rank, present = np.where(there, rank / known.size, 0.0), there[back].reshape(places.shape)
        counts[:, band] = present.sum(axis=1)
        means[:, band] = rank[back].reshape(places.shape).sum(axis=1) / np.maximum(counts[:, band], 1)
    return means, counts


def _machine_aucs(
    ground: Ground, places: Places, barren: Places, region: Callable[[Places], Places] | None, progress: bool
) -> tuple[Floats, Places]:
    """Return the AUC of labels of a machine fitted anew for each pattern and band, and the ore places it had."""
    means = np.full((len(places), len(ground.names)), 0.5)
    counts = np.zeros(means.shape, dtype=np.int64)
    barren_values = ground.values(barren)
    barren_regions = None if region is None else region(barren)
    for row, pattern in enumerate(tqdm(places, desc="shifts", disable=not progress)):
        ore = pattern[pattern >= 0]
        values = np.concatenate([ground.values(ore), barren_values])
        labels = np.repeat([1, 0], [ore.size, barren.size])
        of = None if region is None else np.concatenate([region(ore), barren_regions])
        for band in range(len(ground.names)):
            there = np.isfinite(values[:, band])
            counts[row, band] = int(labels[there].sum())
            scores = svm_scores(labels[there], values[there, band], None if of is None else of[there])
            auc = auc_of_labels(labels[there], scores)
            means[row, band] = 0.5 if math.isnan(auc) else auc
    return means, counts


def _contrasts(ground: Ground, ore: Places, whole: Floats, direction: pd.Series, area: float) -> pd.DataFrame:
    """Return the contrast of weights of evidence of every band, and its studentised value."""
    values, rows = ground.values(ore), []
    for band, name in enumerate(ground.names):
        known = whole[np.isfinite(whole[:, band]), band]
        at_ore = values[np.isfinite(values[:, band]), band]
        if direction[name] == "not scorable":
            rows.append((math.nan, math.nan))
            continue
        sign = 1.0 if direction[name] == "enriched" else -1.0
        limit = np.quantile(sign * known, 1 - area)
        share = float((sign * known >= limit).mean())
        n = round(ground.with_data.sum() * known.size / len(whole))
        hits = int((sign * at_ore >= limit).sum())
        # Of a large ground the share is that of a part, which may hold fewer places than ore does.
        pattern = min(max(round(share * n), hits), n - (at_ore.size - hits))
        weights = weights_of_evidence(hits, at_ore.size, pattern, n)
        rows.append((float(weights.contrast), float(weights.studentised)))
    return pd.DataFrame(rows, columns=["contrast", "contrast_studentised"], index=direction.index)
