"""Results of a cross-validation: `Scores` and its table of methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import check_names
from geoprospect.errors import InputError
from geoprospect.stats.bootstrap import bootstrap_aucs
from geoprospect.stats.calibration import Calibration, calibrate
from geoprospect.stats.metrics import Evaluation, average_precision, brier_score, calibration_slope, rank_auc
from geoprospect.stats.success_rate import Rates, rates_within
from geoprospect.windows.regions import Fold

if TYPE_CHECKING:
    from geoprospect.models.model import ProspectivityModel

_LEVEL = 0.95
_REPLICATES = 2000
_SHARES = (5, 10, 20)  # per cent of the ground
# Below this a resample of the clusters of deposits has too few different outcomes for its quantiles to mean much.
_FEW_CLUSTERS = 6
_SHOWN = ["auc", "low", "high", "difference", "beats", "average_precision", "capture_10", "density"]


@dataclass(frozen=True, eq=False)
class Scores:
    """Out-of-fold scores of a network and its baselines on the same windows.

    Parameters
    ----------
    table : pandas.DataFrame
        Indexed by method, the network first. ``auc``: rank AUC within folds, averaged, with ``low`` and
        ``high``, its 95 % interval by bootstrap over clusters of deposits and blocks of barren ground. For
        each baseline ``difference``, the network's AUC less its own, with ``difference_low`` and
        ``difference_high`` by the paired bootstrap over the same clusters; ``beats``, the fraction of resamples
        in which the network is better.
        ``average_precision`` within folds, averaged; ``balanced_accuracy``, ``macro_f1``, ``brier`` and
        ``calibration_slope`` of methods that give probabilities, at 0.5 where they need a threshold. From
        the out-of-fold map: ``capture_5``, ``capture_10``, ``capture_20``, the share of deposits in the
        best 5, 10 and 20 % of the ground, each with ``_low`` and ``_high``, its 95 % interval by
        bootstrap over clusters of deposits; ``crossing``, the share captured where the curves of the
        prediction-area plot cross; ``density``, the normalized density there.
    windows : pandas.DataFrame
        One row per tested window: ``window``, ``fold``, ``label``, ``cluster`` (the unit that is
        resampled) and one column of out-of-fold scores per method.
    folds : pandas.DataFrame
        One row per fold: counts of ore and barren windows in training and test, windows ``dropped``
        because they touch the test ground, deposits in the test, ``bands`` used, and the AUC of each
        method.
    separation : str
        How training and test were kept apart.
    map : xarray.Dataset or None
        Out-of-fold map: one band per method with dims (y, x), ``fold`` and NaN where no network was
        trained off the place. Comparable within a fold only.
    map_deposits : pandas.DataFrame
        The deposits on the map: ``deposit_id``, ``fold``, and the map's score of each method.
    draws : pandas.DataFrame or None
        With several draws of barren windows, AUC of the network per draw, trained and tested on it.
    paper : pandas.Series or None
        The protocol of Gao et al. [1]_ beside it: windows kept back at random from the same ground
        (``n_train``, ``n_test``), their ``auc`` with the interval that independent windows would have,
        ``accuracy``, and ``overlap``, the mean share of a kept
        back window that was trained on. It measures memory.
    splits : tuple of (train, test)
        Indices into the windows, per fold.
    models : tuple of ProspectivityModel
        The network of each fold, where they were kept.

    References
    ----------
    .. [1] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=60, rng=0)
    >>> scores = gp.cross_validate(windows, survey, "resnet18", folds=2, epochs=1, device="cpu", rng=0)
    >>> list(scores.table.index)[:4]
    ['resnet18', 'best element', 'logistic regression', 'random forest']
    >>> scores.rates("random forest").capture(1.0)
    1.0
    """

    table: pd.DataFrame
    windows: pd.DataFrame
    folds: pd.DataFrame
    separation: str
    map: xr.Dataset | None = None
    map_deposits: pd.DataFrame | None = None
    draws: pd.DataFrame | None = None
    paper: pd.Series | None = None
    splits: tuple[Fold, ...] = ()
    models: tuple[ProspectivityModel, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return the table of methods."""
        return self.table.copy()

    @property
    def n_clusters(self) -> int:
        """Number of separate clusters of deposits that were tested: the evidence there is."""
        return int(self.windows.loc[self.windows["label"] == 1, "cluster"].nunique())

    @property
    def summary(self) -> str:
        """Say in one sentence whether the network beats the best baseline, and in one what both maps hold."""
        network, baselines = self.table.iloc[0], self.table.iloc[1:]
        said = f"{network.name} (AUC {network['auc']:.3f}, 95 % interval {network['low']:.3f} to {network['high']:.3f})"
        few = (
            f"; with {self.n_clusters} separate clusters of deposits these intervals are too narrow"
            if self.n_clusters < _FEW_CLUSTERS
            else ""
        )
        if baselines.empty:
            return f"On ground that it has not seen, {said} stands without a baseline{few}."
        best = baselines.iloc[int(baselines["auc"].argmax())]
        share = float(best["beats"])
        margin = (1 - _LEVEL) / 2
        verdict = (
            "is better than"
            if share >= 1 - margin
            else "is worse than"
            if share <= margin
            else "cannot be told apart from"
        )
        return (
            f"On ground that it has not seen, {said} {verdict} the best baseline, {best.name} "
            f"(AUC {best['auc']:.3f}, {best['low']:.3f} to {best['high']:.3f}){few}.{self._captured()}"
        )

    def _captured(self) -> str:
        """Say what the best tenth of the maps holds: a network that wins among windows may lose on the ground."""
        network, baselines = self.table.iloc[0], self.table.iloc[1:]
        if "capture_10" not in self.table or not baselines["capture_10"].notna().any():
            return ""
        most = baselines.loc[baselines["capture_10"].idxmax()]
        return (
            f" The tenth of the ground that it ranks first holds {network['capture_10']:.0%} of the deposits, "
            f"that of {most.name} {most['capture_10']:.0%}."
        )

    def __repr__(self) -> str:
        """The main columns of the table, the paper's protocol and the sentence."""
        shown = [name for name in _SHOWN if name in self.table and self.table[name].notna().any()]
        paper = (
            ""
            if self.paper is None
            else f"\nBeside it, the paper's protocol: AUC {self.paper['auc']:.3f} on windows kept back at random, "
            f"{self.paper['overlap']:.0%} of whose ground was trained on"
        )
        table = self.table[shown].round(3).to_string(na_rep="")
        return f"Scores({self.separation})\n{table}{paper}\n{self.summary}"

    def pooled_auc(self, method: str | None = None) -> float:
        """Return the AUC over the scores of all folds in one heap.

        It compares scores of different trainings, and is biased under the null where the share of ore
        differs between folds: stated for comparison with the literature only.

        Parameters
        ----------
        method : str, optional
            A row of the table. Default: the network.

        Returns
        -------
        float

        Raises
        ------
        NameNotFoundError
            When there is no such method.
        """
        return rank_auc(self.windows["label"], self.windows[self._method(method)])

    def rates(self, method: str | None = None) -> Rates:
        """Return which share of the deposits lies in the best share of the ground, ranked within folds.

        Parameters
        ----------
        method : str, optional
            A row of the table. Default: the network.

        Returns
        -------
        Rates
            Of the out-of-fold map.

        Raises
        ------
        NameNotFoundError
            When there is no such method.
        InputError
            When no map was made.
        """
        name = self._method(method)
        if self.map is None or self.map_deposits is None:
            raise InputError("map: none was made; call cross_validate without map_stride=0")
        return map_rates(self.map, self.map_deposits, name)

    def calibrate(self, method: str | None = None, **settings: object) -> Calibration:
        """Fit a calibration on the out-of-fold scores, for the model that is trained on everything.

        Parameters
        ----------
        method : str, optional
            A row of the table that gives probabilities. Default: the network.
        **settings
            Further arguments of `calibrate`.

        Returns
        -------
        Calibration

        Raises
        ------
        NameNotFoundError
            When there is no such method.
        InputError
            When its scores are no probabilities.
        """
        tested = self.windows
        return calibrate(tested["label"], tested[self._method(method)], tested["cluster"], **settings)  # type: ignore[arg-type]

    def _method(self, method: str | None) -> str:
        name = str(self.table.index[0]) if method is None else method
        return check_names("method", name, list(self.table.index), "method")[0]


def score_table(
    tested: pd.DataFrame,
    methods: Sequence[str],
    probabilistic: Collection[str],
    rng: np.random.Generator,
    rates: dict[str, Rates] | None = None,
    deposit_clusters: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Return the table of `Scores` from the tested windows, and from the rates on the out-of-fold map.

    `deposit_clusters` has the cluster of every deposit of the rates, in their order.
    """
    labels, fold, cluster = (tested[name].to_numpy() for name in ("label", "fold", "cluster"))
    scores = tested[list(methods)].to_numpy().T  # (M, N)
    replicates = bootstrap_aucs(labels, scores, fold, cluster, _REPLICATES, rng)  # (M, R)
    margin = [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]
    rows: list[dict[str, float]] = []
    for m, method in enumerate(methods):
        row: dict[str, float] = {"auc": within_folds(rank_auc, tested, method)}
        row["low"], row["high"] = np.nanquantile(replicates[m], margin)
        if m:
            row["difference"] = rows[0]["auc"] - row["auc"]
            # NaN, for all methods alike, where a resample left every fold without ore or barren windows.
            differences = (replicates[0] - replicates[m])[np.isfinite(replicates[0])]
            row["difference_low"], row["difference_high"] = np.quantile(differences, margin)
            row["beats"] = float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
        row["average_precision"] = within_folds(average_precision, tested, method)
        if method in probabilistic:
            cut = Evaluation.of(labels, scores[m])
            row |= {"balanced_accuracy": cut.balanced_accuracy, "macro_f1": cut.macro_f1}
            row["brier"] = brier_score(labels, scores[m])
            row["calibration_slope"] = calibration_slope(labels, scores[m])[0]
        if rates is not None and deposit_clusters is not None:
            row |= _of_map(rates[method], deposit_clusters, rng)
        rows.append(row)
    table = pd.DataFrame(rows, index=pd.Index(list(methods), name="method"))
    first = [name for name in _ORDER if name in table]
    return table[first]


_ORDER = [
    "auc", "low", "high", "difference", "difference_low", "difference_high", "beats",
    "average_precision", "balanced_accuracy", "macro_f1", "brier", "calibration_slope",
    *(f"capture_{share}{bound}" for share in _SHARES for bound in ("", "_low", "_high")), "crossing", "density",
]  # fmt: skip


def within_folds(measure: Callable[..., float], tested: pd.DataFrame, method: str) -> float:
    """Return a measure of labels and scores within folds, averaged."""
    return float(np.mean([measure(part["label"], part[method]) for _, part in tested.groupby("fold")]))


def map_rates(coarse: xr.Dataset, deposits: pd.DataFrame, method: str) -> Rates:
    """Return the rates of a method on an out-of-fold map."""
    fold, score = coarse["fold"].to_numpy().ravel(), coarse[method].to_numpy().ravel()
    on = np.isfinite(score) & np.isfinite(fold)
    known = deposits[method].notna()
    return rates_within(fold[on].astype(np.int64), score[on], deposits.loc[known, "fold"], deposits.loc[known, method])


def _of_map(rates: Rates, clusters: NDArray[np.int64], rng: np.random.Generator) -> dict[str, float]:
    """Return captures with their intervals over clusters of deposits, the crossing and the density there."""
    units, unit = np.unique(clusters, return_inverse=True)
    drawn = rng.multinomial(units.size, np.full(units.size, 1 / units.size), size=_REPLICATES)[:, unit]  # (R, D)
    each = [Rates(np.array([low]), np.array([high])) for low, high in zip(rates.low, rates.high, strict=True)]
    row = {}
    for share in _SHARES:
        found = np.array([one.capture(share / 100) for one in each])  # (D,)
        interval = np.quantile((drawn * found).sum(axis=1) / drawn.sum(axis=1), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        row[f"capture_{share}"] = float(rates.capture(share / 100))
        row |= dict(zip((f"capture_{share}_low", f"capture_{share}_high"), map(float, interval), strict=True))
    return row | {"crossing": rates.crossing[1], "density": rates.density}
