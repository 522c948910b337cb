"""What the map is worth on ground that it has not seen."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import check_int, check_number, check_rng
from geoprospect.errors import DataWarning, InputError, SeparationError
from geoprospect.folds import Fold, clusters, compact_regions, nearest, separated
from geoprospect.inference import predict_windows
from geoprospect.metrics import Evaluation, rank_auc
from geoprospect.screening import Rule
from geoprospect.screening import screen as screen_bands
from geoprospect.training import train
from geoprospect.windows import Windows

log = logging.getLogger("geoprospect")

_LEVEL = 0.95
_REPLICATES = 2000
# (features of the training windows, their labels, features of the test windows, seed) -> scores
_Baseline = Callable[[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], int], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Scores:
    """Out-of-fold scores of a network and its baselines on the same windows.

    Parameters
    ----------
    table : pandas.DataFrame
        Indexed by method, the network first: ``auc`` (rank AUC within folds, averaged), ``low`` and
        ``high`` (95 % interval by bootstrap over deposit clusters and barren blocks), ``beats``
        (share of the replicates in which the network is better), and for the network
        ``balanced_accuracy`` and ``macro_f1`` at 0.5.
    windows : pandas.DataFrame
        One row per tested window: ``window``, ``fold``, ``label``, ``cluster`` and one column of
        out-of-fold scores per method.
    folds : pandas.DataFrame
        One row per fold: counts of ore and barren windows in training and test, windows
        ``dropped`` because they touch the test ground, deposits in the test, ``bands`` used, and
        the AUC of each method.
    separation : str
        How training and test were kept apart.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=60, rng=0)
    >>> scores = gp.cross_validate(windows, survey, "resnet18", folds=2, epochs=1, device="cpu", rng=0)
    >>> list(scores.table.index)
    ['resnet18', 'best element', 'logistic regression', 'random forest']
    """

    table: pd.DataFrame
    windows: pd.DataFrame
    folds: pd.DataFrame
    separation: str

    def to_frame(self) -> pd.DataFrame:
        """Return the table of methods."""
        return self.table.copy()

    @property
    def summary(self) -> str:
        """Say in one sentence whether the network beats the best baseline."""
        network, baselines = self.table.iloc[0], self.table.iloc[1:]
        best = baselines.iloc[int(baselines["auc"].argmax())]
        share = float(best["beats"])
        verdict = (
            "is better than" if share >= 0.975 else "is worse than" if share <= 0.025 else "cannot be told apart from"
        )
        return (
            f"On ground that it has not seen, {network.name} (AUC {network['auc']:.3f}, 95 % interval "
            f"{network['low']:.3f} to {network['high']:.3f}) {verdict} the best baseline, {best.name} "
            f"(AUC {best['auc']:.3f}, {best['low']:.3f} to {best['high']:.3f})."
        )

    def __repr__(self) -> str:
        """Table and sentence."""
        return f"Scores({self.separation})\n{self.table.round(3).to_string()}\n{self.summary}"


def spatial_folds(windows: Windows, folds: int = 5, buffer: float = 0.0) -> list[Fold]:
    """Split windows by compact regions of deposits, so that training and test share no ground.

    Deposits are grouped into regions (Ward's clustering); an ore window belongs to the region of
    its deposit, a barren one to that of the nearest deposit. Each region is the test once, and
    every window whose footprint touches one of the test is left out of the training.

    Parameters
    ----------
    windows : Windows
        To be split.
    folds : int, default 5
        Number of regions; fewer where the deposits form fewer separate clusters.
    buffer : float, default 0
        Further distance between the footprints of training and test, in CRS units.

    Returns
    -------
    list of (train, test)
        Indices into `windows`. Regions whose test or training lacks a class are left out with a
        warning.

    Raises
    ------
    SeparationError
        When fewer than two folds can be made. It is an `InputError`.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=60, rng=0)
    >>> len(gp.spatial_folds(windows, folds=4))
    4
    """
    folds, buffer = check_int("folds", folds, 2), check_number("buffer", buffer, minimum=0)
    used = np.unique(windows.deposits[windows.deposits >= 0])
    points = windows.deposit_points[used]
    if not used.size:
        raise InputError("windows: hold no ore, so there is nothing to separate")
    n_clusters = len(np.unique(clusters(points, _width(windows))))
    if n_clusters < folds:
        log.info("%d folds instead of %d: the deposits form that many clusters a window apart", n_clusters, folds)
    region_of_deposit = compact_regions(points, min(folds, max(n_clusters, 2)))
    anchors = np.where(windows.labels[:, None] == 1, windows.deposit_points[windows.deposits], windows.centres)
    result, lacking = [], []
    for number, (fit, test) in enumerate(
        separated(windows.bounds, region_of_deposit[nearest(anchors, points)], buffer)
    ):
        if all(len(np.unique(windows.labels[part])) == 2 for part in (fit, test)):
            result.append((fit, test))
        else:
            lacking.append(number + 1)
    if len(result) < 2:
        raise SeparationError(
            f"windows: {len(result)} of {folds} folds can be made: windows {_width(windows):g} wide around "
            f"{used.size} deposits in {n_clusters} clusters leave no separate ground; take smaller windows, more "
            f"barren windows, or another number of folds than folds={folds}"
        )
    if lacking:
        warnings.warn(
            f"folds: {len(lacking)} of {len(lacking) + len(result)} regions are left out, because ore or barren "
            "windows are lacking in their test, or in what is left to train on",
            DataWarning,
            stacklevel=2,
        )
    return result


def cross_validate(
    windows: Windows,
    survey: xr.Dataset,
    network: str = "resnet50",
    folds: int = 5,
    rng: int | np.random.Generator | None = None,
    *,
    buffer: float = 0.0,
    screen: Rule | Mapping[str, Any] | None = None,
    alpha: float = 0.01,
    device: str = "auto",
    **training: Any,
) -> Scores:
    """Train and test a network on spatially separated ground, with baselines on the same windows.

    Everything is fitted inside the fold, from training windows only: the scaling, the screening
    (with `screen`), the network and the baselines. Baselines see the mean of every band over the
    crop of a window: the best single element (and its direction) of the training windows, a
    logistic regression and a random forest.

    Parameters
    ----------
    windows : Windows
        On the grid of `survey`.
    survey : xarray.Dataset
        Bands with dims (y, x).
    network : str, default 'resnet50'
        As in `train`.
    folds : int, default 5
        As in `spatial_folds`.
    rng : int, Generator or None
        Draws for training, baselines and bootstrap.
    buffer : float, default 0
        As in `spatial_folds`.
    screen : {'shift', 'holm', 'bh', 'gao2022'} or mapping, optional
        Select bands in each fold by this rule of `screen`, or with these arguments of it, from the
        deposits and the ground of the training only; where none passes, all are kept. Default: use all
        bands of `survey`.
    alpha : float, default 0.01
        Level of the screening.
    device : str, default 'auto'
        As in `train`.
    **training
        Further arguments of `train`: epochs, batch, lr, n_models, progress, …

    Returns
    -------
    Scores
        With a table of methods, the out-of-fold scores and the counts per fold.

    Raises
    ------
    SeparationError
        When too little separate ground is left. It is an `InputError`.
    InputError
        When windows and survey do not fit together.

    Notes
    -----
    AUCs are computed within folds and averaged: one over the pooled scores compares scores of
    different trainings. Intervals resample clusters of deposits (those less than a window apart)
    and blocks of barren windows, never single windows, which overlap.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=60, rng=0)
    >>> scores = gp.cross_validate(windows, survey, "resnet18", folds=2, epochs=1, device="cpu", rng=0)
    >>> scores.folds[["train_ore", "test_ore"]].gt(0).all().all()
    np.True_
    """
    generator = check_rng(rng)
    parts, per_fold = [], []
    for number, (fit, test) in enumerate(spatial_folds(windows, folds, buffer), start=1):
        seed = int(generator.integers(2**31))
        ground = survey if screen is None else _screened(survey, windows[fit], windows[test], screen, alpha, seed)
        log.info("fold %d: %d windows to train on, %d to test", number, fit.size, test.size)
        model = train(windows[fit], ground, network, device=device, rng=seed, **training)
        part = pd.DataFrame({"window": test, "fold": number, "label": windows.labels[test]})
        part[network] = predict_windows(model, ground, windows[test], device)
        known = part[network].notna().to_numpy()
        if not known.all():
            warnings.warn(
                f"windows: {int((~known).sum())} of {test.size} in fold {number} have no data in their middle "
                "and are not tested",
                DataWarning,
                stacklevel=2,
            )
            part, test = part[known], test[known]
        features = _window_means(model.stack(ground)[0], windows)
        for name, baseline in _BASELINES.items():
            part[name] = baseline(features[fit], windows.labels[fit], features[test], seed)
        parts.append(part)
        counts = {
            f"{what}_{kind}": int((windows.labels[at] == label).sum())
            for what, at in (("train", fit), ("test", test))
            for kind, label in (("ore", 1), ("barren", 0))
        }
        n_deposits = len(np.unique(windows.deposits[test][windows.deposits[test] >= 0]))
        per_fold.append({"fold": number, **counts, "dropped": len(windows) - fit.size - known.size,
                         "test_deposits": n_deposits, "bands": ", ".join(map(str, ground.data_vars)),
                         **{m: rank_auc(part["label"], part[m]) for m in (network, *_BASELINES)}})  # fmt: skip
    tested = pd.concat(parts, ignore_index=True)
    tested["cluster"] = _independent_units(windows)[tested["window"]]
    separation = (
        f"spatially separated: {len(parts)} compact regions of deposits, no shared ground"
        + (f", {buffer:g} {windows.grid.unit}s apart" if buffer else "")
    )  # fmt: skip
    table = _score_table(tested, [network, *_BASELINES], generator)
    return Scores(table, tested, pd.DataFrame(per_fold).set_index("fold"), separation)


def _width(windows: Windows) -> float:
    """Return the longer side of a window, in CRS units."""
    return windows.size * max(windows.grid.resolution)


def _screened(
    survey: xr.Dataset, fit: Windows, test: Windows, how: Rule | Mapping[str, Any], alpha: float, seed: int
) -> xr.Dataset:
    """Return the bands that pass with the deposits and the ground of the training only."""
    closed = np.zeros(fit.grid.shape, dtype=bool)
    for row, col in zip(test.rows, test.cols, strict=True):
        closed[row : row + test.size, col : col + test.size] = True
    known = np.unique(fit.deposits[fit.deposits >= 0])
    points = gpd.GeoDataFrame(geometry=gpd.points_from_xy(*fit.deposit_points[known].T), crs=fit.grid.crs)
    settings: Mapping[str, Any] = how if isinstance(how, Mapping) else {"rule": how}
    # All deposits but those of the training are hidden with the ground of the test.
    ranking = screen_bands(survey.where(xr.DataArray(~closed, dims=("y", "x"))), points, alpha, seed, **settings)
    chosen = list(ranking.index[ranking["selected"]])
    if not chosen:
        log.info("no band passes the screening in this fold; all are kept")
        return survey
    return survey[[name for name in survey.data_vars if name in chosen]]


def _window_means(stack: NDArray[np.float32], windows: Windows) -> NDArray[np.float64]:
    """Return the mean of every band over the central crop of every window, (N, C).

    From the stack that the network saw, (C, Y, X): scaled on the training ground, where no data are 0.
    """
    corners = np.column_stack([windows.rows, windows.cols]) + windows.central_crop()
    # One by one: in a summed table a single -3e38 far away, an undeclared nodata, would drown all others.
    return np.stack(
        [
            stack[:, row : row + windows.crop, col : col + windows.crop].mean(axis=(1, 2), dtype=np.float64)
            for row, col in corners
        ]
    )


def _best_element(
    x: NDArray[np.float64], labels: NDArray[np.int64], x_test: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Score by the one band that ranks the training windows best, either way up."""
    aucs = np.array([rank_auc(labels, column) for column in x.T])
    best = int(np.abs(aucs - 0.5).argmax())
    return x_test[:, best] if aucs[best] >= 0.5 else -x_test[:, best]


def _logistic_regression(
    x: NDArray[np.float64], labels: NDArray[np.int64], x_test: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)).fit(x, labels)
    scores: NDArray[np.float64] = fitted.predict_proba(x_test)[:, 1]
    return scores


def _random_forest(
    x: NDArray[np.float64], labels: NDArray[np.int64], x_test: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(300, class_weight="balanced", min_samples_leaf=2, random_state=seed)
    scores: NDArray[np.float64] = forest.fit(x, labels).predict_proba(x_test)[:, 1]
    return scores


_BASELINES: dict[str, _Baseline] = {
    "best element": _best_element,
    "logistic regression": _logistic_regression,
    "random forest": _random_forest,
}


def _independent_units(windows: Windows) -> NDArray[np.int64]:
    """Return for each window the unit that is resampled: its cluster of deposits, or its barren block."""
    unit = np.empty(len(windows), dtype=np.int64)
    cluster_of_deposit = clusters(windows.deposit_points, _width(windows))
    ore = windows.labels == 1
    unit[ore] = cluster_of_deposit[windows.deposits[ore]]
    blocks = np.floor(windows.centres[~ore] / (2 * _width(windows))).astype(np.int64)
    _, block = np.unique(blocks, axis=0, return_inverse=True)
    unit[~ore] = cluster_of_deposit.max(initial=0) + 1 + block.ravel()
    return unit


def _score_table(tested: pd.DataFrame, methods: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Return AUC within folds, its interval, and how often the network is ahead, per method."""
    replicates = _bootstrap(tested, methods, rng)  # (M, R)
    point = _bootstrap(tested, methods, None)[:, 0]
    margin = (1 - _LEVEL) / 2
    low, high = np.nanquantile(replicates, [margin, 1 - margin], axis=1)
    # NaN, for all methods alike, where a resample left every fold without ore or barren.
    drawn = replicates[:, np.isfinite(replicates[0])]
    beats = np.mean(drawn[0] > drawn, axis=1) + np.mean(drawn[0] == drawn, axis=1) / 2
    table = pd.DataFrame(
        {"auc": point, "low": low, "high": high, "beats": beats}, index=pd.Index(methods, name="method")
    )
    table.loc[methods[0], "beats"] = np.nan
    evaluation = Evaluation.of(tested["label"], tested[methods[0]])
    for name in ("balanced_accuracy", "macro_f1"):
        table[name] = np.nan
        table.loc[methods[0], name] = getattr(evaluation, name)
    return table


def _bootstrap(tested: pd.DataFrame, methods: list[str], rng: np.random.Generator | None) -> NDArray[np.float64]:
    """Return the mean AUC within folds, (M, R), over resamples of the units, or once as they are.

    A unit drawn twice counts its windows twice. With the matrix of won comparisons of a fold the
    AUC of a resample is a quotient of weighted sums, so nothing is sorted again.
    """
    ore = tested["label"].to_numpy() == 1
    unit = tested["cluster"].to_numpy()
    weight = np.ones((1 if rng is None else _REPLICATES, len(tested)))  # (R, N)
    if rng is not None:
        for part in (ore, ~ore):
            units, index = np.unique(unit[part], return_inverse=True)
            drawn = rng.multinomial(units.size, np.full(units.size, 1 / units.size), size=_REPLICATES)
            weight[:, part] = drawn[:, index]
    result = np.full((len(methods), len(weight)), np.nan)
    folds = tested["fold"].to_numpy()
    for m, method in enumerate(methods):
        score = tested[method].to_numpy()
        aucs = []
        for fold in np.unique(folds):
            a, b = (folds == fold) & ore, (folds == fold) & ~ore
            won = (score[a][:, None] > score[b]) + 0.5 * (score[a][:, None] == score[b])  # (n_ore, n_barren)
            pairs = weight[:, a].sum(axis=1) * weight[:, b].sum(axis=1)
            with np.errstate(invalid="ignore"):
                aucs.append(np.einsum("ra,ab,rb->r", weight[:, a], won, weight[:, b], optimize=True) / pairs)
        each = np.array(aucs)  # (F, R); NaN where a resample left a fold without ore or barren
        present = np.isfinite(each)
        with np.errstate(invalid="ignore"):
            result[m] = np.where(present, each, 0).sum(axis=0) / present.sum(axis=0)
    return result
