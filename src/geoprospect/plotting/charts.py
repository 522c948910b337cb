"""Statistical figures: curves, bars and matrices of a screening, a training or a table of samples.

Every function draws into the `ax` that it is given, or makes a figure of its own, and returns
the `Axes`; only `ecdf_panel`, which has an axes for each element, returns a `Figure`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from scipy.special import betaincinv
from scipy.stats import binom, norm, qmc

from geoprospect._checks import check_choice, check_int, check_names, check_number
from geoprospect.errors import InputError
from geoprospect.geochem.samples import Samples
from geoprospect.geochem.transforms import robust_pca
from geoprospect.plotting._axes import (
    BARREN,
    COLOURS,
    GREY,
    ORE,
    colours_for,
    legend_below,
    log_ticks,
    new_axes,
    plain_text,
)
from geoprospect.screening.screen import RULES, Rule
from geoprospect.stats.auc import auc_interval
from geoprospect.stats.metrics import rank_auc

Floats = NDArray[np.float64]

_STYLES = ("-", "--", ":", "-.")
# More confidence bands than these hide each other.
_BANDS = 4
_DRAWS = 512
# Cells that correlations are measured on at most: 3 s for 57 bands.
_CELLS = 100_000
# More values than these in a row cannot be read.
_PRINTED = 20
# Half the side of a biplot; the longest ray is 1.
_REACH = 1.25
# Behind text that lines run through.
_HALO = (patheffects.withStroke(linewidth=2, foreground="white"),)
# The same behind numbers, of which a line would make others.
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1}


class _HasCounts(Protocol):
    @property
    def tp(self) -> int: ...
    @property
    def fp(self) -> int: ...
    @property
    def fn(self) -> int: ...
    @property
    def tn(self) -> int: ...


def roc_panel(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    level: float = 0.95,
    bands: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw receiver operating characteristics with the area under each, best first in the legend.

    Parameters
    ----------
    curves : mapping of str to (labels, scores)
        Per name the labels (1 ore, 0 barren) and the scores, both of shape (n_samples,);
        higher scores mean ore.
    level : float, default 0.95
        Of the intervals in the legend, which are those of `auc_interval`, and of the bands.
    bands : bool, optional
        Whether to shade the confidence band of each curve. Default: where there are up to four.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When there is no curve, labels and scores differ in length, are not finite, or do not
        hold both classes, or the level is not between 0 and 1.

    Notes
    -----
    A band is for the true positive rate at one false positive rate f at a time, not for the curve as
    a whole, and supposes independent points; deposits in clusters know less. Of n barren points the
    number beyond the threshold of f is binomial (n, f), whatever their distribution; given the ore
    points beyond it, the rate has the beta distribution of Jeffreys' interval [1]_. The band spans the
    quantiles of 512 draws of both, quasi-random and so the same every time. The percentiles of a
    stratified bootstrap are too narrow for few deposits, and of no width for a perfect separation.

    References
    ----------
    .. [1] Brown, L. D., Cai, T. T. & DasGupta, A. (2001). Interval estimation for a binomial proportion.
       Statistical Science 16, 101-133. https://doi.org/10.1214/ss/1009213286

    Examples
    --------
    >>> import geoprospect as gp
    >>> ax = gp.plotting.roc_panel({"Cu": ([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.8])})
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['0.750 (0.23–0.97)  Cu', '0.500  chance']
    """
    from sklearn.metrics import roc_curve

    if not curves:
        raise InputError("curves: is empty, needs at least one name with its labels and scores")
    checked = {name: _labels_and_values("curves", name, pair, both=True) for name, pair in curves.items()}
    intervals = {name: auc_interval(*pair, level) for name, pair in checked.items()}
    ax = new_axes(ax, (6.6, 4.6))
    lines: list[tuple[float, Line2D]] = []
    for number, (name, (labels, scores)) in enumerate(checked.items()):
        false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=True)
        area, (low, high) = rank_auc(labels, scores), intervals[name]
        style, colour = _STYLES[number // len(COLOURS) % len(_STYLES)], COLOURS[number % len(COLOURS)]
        (line,) = ax.plot(false_rate, true_rate, style, color=colour, linewidth=1.4)
        line.set_label(f"{area:.3f} ({low:.2f}–{high:.2f})  {plain_text(name)}")
        lines.append((area, line))
        if bands or (bands is None and len(checked) <= _BANDS):
            n_ore, n_barren = int(labels.sum()), int((1 - labels).sum())
            band = _roc_band(false_rate, true_rate, n_ore, n_barren, level)
            ax.fill_between(*band, color=colour, alpha=0.14, linewidth=0, zorder=1)
    (chance,) = ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, dashes=(4, 3), zorder=1, label="0.500  chance")
    ranked = [line for _, line in sorted(lines, key=lambda pair: -pair[0])]
    ax.legend(handles=[*ranked, chance], title=f"AUC ({100 * level:g} % interval)", alignment="left", frameon=False,
              fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.02))  # fmt: skip
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.set(xlabel="false positive rate (barren called ore)", ylabel="true positive rate (ore called ore)")
    return ax


def z_auc_bars(ranking: pd.DataFrame, *, alpha: float = 0.01, rule: Rule | None = None, ax: Axes | None = None) -> Axes:
    """Draw the Z_AUC of every element as a bar, highest on top, the selected ones in colour.

    Parameters
    ----------
    ranking : pandas.DataFrame
        Indexed by element, with columns ``z_auc`` (NaN where not scorable, infinite for a perfect
        separation) and ``selected`` (bool), as from `screen`.
    alpha : float, default 0.01
        Level of the two lines, two-sided: the dotted one is for a single element, 2.58 for 0.01. The
        more elements are tried, the higher the best of them is by chance; the dashed line is the
        threshold divided among all that are scorable (Bonferroni, the first step of Holm). Where a
        Z_AUC is negative there is one of each below 0 too.
    rule : {'shift', 'holm', 'bh', 'gao2022'}, optional
        That of `screen` by which the ranking was selected, at `alpha`. The legend says so: what is in
        colour was not selected by the lines.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    NameNotFoundError
        When a column is not there.
    InputError
        When the ranking is empty, ``selected`` holds anything but True and False, `alpha` is not
        between 0 and 1, or there is no such rule.

    Notes
    -----
    Both lines suppose independent points. `screen` selects by random shifts unless told otherwise, so
    a bar beyond the lines may well not be selected: deposits in clusters are fewer than they seem.

    Examples
    --------
    >>> import pandas as pd
    >>> import geoprospect as gp
    >>> ranking = pd.DataFrame({"z_auc": [1.2, 3.7], "selected": [False, True]}, index=["Zn", "Cu"])
    >>> ax = gp.plotting.z_auc_bars(ranking, rule="shift")
    >>> print(ax.get_legend().get_title().get_text())
    colour: p_family ≤ 0.01 by random shifts of the deposits
    lines: what independent points would need
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['Cu', 'Zn']
    >>> [text.get_text() for text in ax.get_legend().get_texts()][2:]
    ['single element: 2.58', 'best of 2 elements: 2.81']
    """
    if check_number("alpha", alpha, above=0, maximum=1) == 1:
        raise InputError(f"alpha={alpha!r}: needs a number between 0 and 1, for example 0.01")
    if rule is not None:
        check_choice("rule", rule, RULES)
    check_names("ranking", ["z_auc", "selected"], list(ranking.columns), "column")
    if ranking.empty:
        raise InputError("ranking: is empty, needs a row per element")
    if not ranking["selected"].isin([True, False]).all():
        raise InputError(f"ranking['selected']: has {ranking['selected'].unique()!r}, needs True and False")
    ordered = ranking.sort_values("z_auc", ascending=False, na_position="last", kind="stable")
    z, chosen = ordered["z_auc"].to_numpy(dtype=np.float64), ordered["selected"].to_numpy(dtype=bool)
    scorable = int((~np.isnan(z)).sum())
    tried = {1: ":", max(scorable, 1): "--"}
    thresholds = {n: float(norm.isf(alpha / 2 / n)) for n in tried}
    finite = [*z[np.isfinite(z)], *thresholds.values()]
    signs = (1, -1) if (z < 0).any() else (1,)
    lowest, highest = min(0.0, *finite, *(sign * one for one in thresholds.values() for sign in signs)), max(finite)
    crowded = len(z) > 30
    room = (0.08 if crowded else 0.12) * (highest - lowest)  # for the numbers
    left, right = lowest - room if lowest else 0.0, highest + room
    ax = new_axes(ax, (8.4, 1.7 + 0.155 * len(z)) if crowded else (5.6, 1.7 + 0.24 * len(z)))
    places, ends = np.arange(len(z)), np.nan_to_num(z, posinf=right, neginf=left)
    ax.barh(places, ends, height=0.72, color=np.where(chosen, COLOURS[0], GREY))
    for place, value, end in zip(places, z, ends, strict=True):
        endless = math.isinf(value)
        side = (-1 if value < 0 else 1) * (-1 if endless else 1)  # inside of what reaches the edge
        text = "n/a" if math.isnan(value) else "∞" if endless else f"{value:.2f}".replace("-", "−")
        ax.annotate(text, (end, place), (3 * side, 0), textcoords="offset points", va="center",
                    ha="left" if side > 0 else "right", fontsize=10 if endless else 7 if crowded else 8,
                    color="white" if endless and chosen[place] else "black",
                    bbox=None if endless else _PAPER)  # fmt: skip
    kinds = ((chosen, COLOURS[0], "selected"), (~chosen, GREY, "not selected"))
    handles: list[Artist] = [Patch(color=colour, label=label) for some, colour, label in kinds if some.any()]
    for n, style in tried.items():
        drawn = [ax.axvline(sign * thresholds[n], color="0.15", linestyle=style, linewidth=1) for sign in signs]
        both = "±" if len(signs) == 2 else ""
        whose = "single element" if n == 1 else f"best of {n} elements"
        drawn[0].set_label(f"{whose}: {both}{thresholds[n]:.2f}")
        handles.append(drawn[0])
    ax.axvline(0, color="0.15", linewidth=0.8)
    ax.set_yticks(places, [plain_text(name) for name in ordered.index], fontsize=7 if crowded else None)
    ax.set(xlim=(left, right), ylim=(len(z) - 0.4, -0.6), xlabel=r"$Z_\mathrm{AUC}$")
    ax.spines[["top", "right"]].set_visible(False)
    legend_below(ax, handles, columns=2)
    legend = ax.get_legend()
    if legend is not None and rule is not None:
        reason = {
            "shift": f"p_family ≤ {alpha:g} by random shifts of the deposits",
            "holm": f"p_holm ≤ {alpha:g}, Holm's correction",
            "bh": f"p_bh ≤ {alpha:g}, Benjamini and Hochberg's correction",
            "gao2022": rf"$Z_\mathrm{{AUC}}$ ≥ {norm.isf(alpha / 2):.2f}, enriched only",
        }[rule]
        legend.set_alignment("left")
        legend.set_title(f"colour: {reason}\nlines: what independent points would need")
        legend.get_title().set_fontsize(8)
    return ax


def training_curves(history: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw loss (left, solid, logarithmic) and accuracy (right, dotted) of every model by epoch.

    Parameters
    ----------
    history : pandas.DataFrame
        One row per model and epoch: ``model``, ``epoch``, ``loss``, ``accuracy`` (0 to 1).
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure. The accuracy gets a twin of it.

    Returns
    -------
    matplotlib.axes.Axes
        That of the loss.

    Raises
    ------
    NameNotFoundError
        When a column is not there.
    InputError
        When the history is empty.
    """
    check_names("history", ["model", "epoch", "loss", "accuracy"], list(history.columns), "column")
    if history.empty:
        raise InputError("history: is empty, needs a row per model and epoch; was anything trained?")
    ax = new_axes(ax, (6.4, 4.2))
    # A new twin becomes the current axes of the figure, which is the caller's to choose.
    current = ax.figure.gca()
    twin = ax.twinx()
    ax.figure.sca(current)
    models = list(history.sort_values("epoch").groupby("model"))
    handles: list[Artist] = []
    for (name, rows), colour in zip(models, colours_for(len(models)), strict=True):
        # A single epoch has no line to show.
        marker = "o" if len(rows) == 1 else ""
        handles += ax.plot(rows["epoch"], rows["loss"], marker=marker, color=colour, linewidth=1.5)
        handles[-1].set_label(f"model {name}")
        twin.plot(rows["epoch"], rows["accuracy"], marker=marker, color=colour, linewidth=1.2, linestyle=":")
    if (history["loss"] > 0).all():
        ax.set_yscale("log")
        ax.set_yticks(log_ticks(history["loss"].min() / 1.2, history["loss"].max() * 1.2))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="epoch", ylabel="loss (solid)")
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    low = float(np.nan_to_num(history["accuracy"].min()))
    twin.set(ylabel="accuracy (dotted)", ylim=(max(0.0, np.floor(low * 10) / 10), 1.01))
    ax.grid(axis="x", color="0.9", linewidth=0.6)
    legend_below(ax, handles)
    return ax


def confusion_matrix(evaluation: _HasCounts, *, ax: Axes | None = None) -> Axes:
    r"""Draw the 2 x 2 table of true against predicted class, with counts and shares of each row.

    Parameters
    ----------
    evaluation : object
        With the counts ``tp``, ``fp``, ``fn`` and ``tn``; ore is the positive class.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When a count is not a whole number of at least 0.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import geoprospect as gp
    >>> ax = gp.plotting.confusion_matrix(SimpleNamespace(tp=16, fp=7, fn=13, tn=108))
    >>> [text.get_text() for text in ax.texts]
    ['16\n55.2 %', '13\n44.8 %', '7\n6.1 %', '108\n93.9 %']
    """
    tp, fn, fp, tn = (
        check_int(f"evaluation.{name}", getattr(evaluation, name, None), 0) for name in ("tp", "fn", "fp", "tn")
    )
    counts = np.array([[tp, fn], [fp, tn]])  # rows true, columns predicted
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    ax = new_axes(ax, (3.8, 3.8))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, col), count in np.ndenumerate(counts):
        share = f"{100 * shares[row, col]:.1f} %" if totals[row] else "–"
        colour = "white" if shares[row, col] > 0.6 else "black"
        ax.text(col, row, f"{count}\n{share}", ha="center", va="center", color=colour, fontsize=12)
    ax.set_xticks([0, 1], ["ore", "barren"])
    ax.set_yticks([0, 1], [f"ore\n({totals[0]})", f"barren\n({totals[1]})"])
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    ax.axhline(0.5, color="white", linewidth=3)
    return ax


def ecdf_panel(
    points: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    elements: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    log: bool = True,
    columns: int = 4,
) -> Figure:
    """Draw the cumulative distributions of ore and of barren values, a small panel for each element.

    Parameters
    ----------
    points : mapping of str to (labels, values)
        Per element the labels (1 ore, 0 barren) and the values, both of shape (n,), as from
        `screening_points`.
    elements : sequence of str, optional
        Which to draw, in this order. Default: all.
    units : mapping of str to str, optional
        Units of the values, per element; they stand below the axes.
    log : bool, default True
        Logarithmic values. Zeros have no place on such an axis: the curve begins at their share.
        An element with negative values, such as a log-ratio, gets a linear axis.
    columns : int, default 4
        Panels side by side.

    Returns
    -------
    matplotlib.figure.Figure
        Titles give the AUC, n/a where a class is absent. ``gp.plotting.save(figure.axes[0], path)``
        writes it.

    Raises
    ------
    InputError
        When there is no element, or labels and values differ in length or are not finite.
    NameNotFoundError
        When an element is not there.

    Examples
    --------
    >>> import geoprospect as gp
    >>> figure = gp.plotting.ecdf_panel({"Cu": ([0, 0, 1, 1], [10, 40, 30, 80])})
    >>> figure.axes[0].get_title(loc="left")
    'Cu   AUC 0.75'
    """
    if not isinstance(points, Mapping) or not points:
        raise InputError(f"points: {points!r} holds no element; pass what screening_points returns")
    names = list(points) if elements is None else check_names("elements", elements, list(points), "element")
    names = list(dict.fromkeys(names))
    if not names:
        raise InputError("elements: is empty, needs at least one; None stands for all")
    checked = {name: _labels_and_values("points", name, points[name]) for name in names}
    across = min(check_int("columns", columns), len(names))
    rows = math.ceil(len(names) / across)
    size = (1.9 * across + 0.5, 1.6 * rows + 0.8)
    figure, grid = plt.subplots(rows, across, squeeze=False, figsize=size, layout="constrained", sharey=True)
    for ax, (name, (labels, values)) in zip(grid.flat, checked.items(), strict=False):
        _draw_ecdfs(ax, labels, values, log)
        area = rank_auc(labels, values)
        shown = "n/a" if math.isnan(area) else f"{area:.2f}"
        ax.set_title(f"{plain_text(name)}   AUC {shown}", loc="left", fontsize=8)
        unit = (units or {}).get(name, "")
        if unit not in ("", "1"):
            ax.set_xlabel(plain_text(unit), loc="right", fontsize=7, labelpad=1)
    for ax in grid.flat[len(names) :]:
        ax.set_axis_off()
    handles = [Line2D([], [], color=ORE, label="ore"), Line2D([], [], color=BARREN, label="barren")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.supylabel("share of values up to here", fontsize=9)
    return figure


def censoring_bars(samples: Samples, *, ax: Axes | None = None) -> Axes:
    """Draw what share of the samples has each element measured, below detection, over range or missing.

    Parameters
    ----------
    samples : Samples
        With `censored`, `over_range` and `limits` as the reader of samples keeps them.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The least measured element on top. Beside the bars stands how many different detection limits
        an element has: several tell of laboratories or campaigns that were put together.

    Raises
    ------
    InputError
        When there is no sample or no element.

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[0, 0], [0, 90]], [[12.5, 0.5], [30, 2]], ["Cu", "Au"], ["ppm", "ppb"], "EPSG:32649",
    ...                      limits=[[float("nan"), 1], [float("nan")] * 2], censored=[[False, True], [False] * 2])
    >>> ax = gp.plotting.censoring_bars(samples)
    >>> [label.get_text() for label in ax.get_yticklabels()], [text.get_text() for text in ax.texts]
    (['Au', 'Cu'], ['1 limit', ''])
    """
    _check_samples(samples, 1)
    if not len(samples):
        raise InputError("samples: are none, needs at least one")
    marked = samples.censored | samples.over_range
    shares = {
        "measured": (~np.isnan(samples.values) & ~marked).mean(axis=0),
        "below detection": samples.censored.mean(axis=0),
        "over range": samples.over_range.mean(axis=0),
        "missing": (np.isnan(samples.values) & ~marked).mean(axis=0),
    }
    order = np.lexsort((-shares["below detection"], shares["measured"]))
    n, places = len(order), np.arange(len(order))
    crowded = n > 30
    ax = new_axes(ax, (5.8, 1.3 + (0.17 if crowded else 0.24) * n))
    left, handles = np.zeros(n), []
    for (name, share), colour in zip(shares.items(), (COLOURS[0], COLOURS[4], COLOURS[1], "0.85"), strict=True):
        if share.any():
            ax.barh(places, 100 * share[order], left=left, height=0.8, color=colour)
            left += 100 * share[order]
            handles.append(Patch(color=colour, label=name))
    detection = np.where(samples.over_range, np.nan, samples.limits)
    for place, column in enumerate(detection[:, order].T):
        different = np.unique(column[~np.isnan(column)]).size
        text = f"{different} limit{'s' if different > 1 else ''}" if different else ""
        ax.annotate(text, (100, place), (4, 0), textcoords="offset points", va="center", annotation_clip=False,
                    fontsize=6.5 if crowded else 8, color="0.3")  # fmt: skip
    ax.set_yticks(places, [plain_text(samples.elements[at]) for at in order], fontsize=7 if crowded else 9)
    ax.set(xlim=(0, 100), ylim=(n - 0.4, -0.6), xlabel=f"% of {len(samples):,} samples")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right"]].set_visible(False)
    legend_below(ax, handles)
    return ax


def correlation_matrix(
    data: Samples | xr.Dataset,
    *,
    method: Literal["spearman", "pearson"] = "spearman",
    order: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw how elements or bands go with each other, those that are alike side by side.

    Parameters
    ----------
    data : Samples or xarray.Dataset
        Samples; where one of two values is missing the pair does not count. Or bands that share their
        dims, which are compared at up to 100,000 of the cells that have all of them, evenly drawn.
    method : {'spearman', 'pearson'}, default 'spearman'
        Of ranks or of the values themselves. Concentrations are skewed, so that Pearson's is led by
        a few samples; take log-ratios for it, `transform(samples, CLR())`.
    order : bool, default True
        Whether to order by average-linkage clustering of 1 - r; else as they come.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Up to 20 elements have their values printed. What is constant, or has less than three pairs,
        has no correlation and is grey.

    Raises
    ------
    InputError
        When there are less than two elements, or no sample or cell has data.

    Notes
    -----
    Parts of a whole are not free: concentrations that sum up to a constant correlate negatively
    without any cause. Between traces that hardly matters, between major oxides it does.

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[0, 0], [0, 1], [1, 1]], [[1, 9, 2], [2, 5, 3], [3, 4, 9]], ["Cu", "Ni", "Au"],
    ...                      ["ppm"] * 3, "EPSG:32649")
    >>> ax = gp.plotting.correlation_matrix(samples)
    >>> ax.images[0].get_array().tolist()
    [[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]
    """
    check_choice("method", method, ("spearman", "pearson"))
    table = _columns(data)
    correlation = table.corr(method, min_periods=3).to_numpy(copy=True)
    at = _clustered(correlation) if order else np.arange(len(correlation))
    correlation, names = correlation[np.ix_(at, at)], [plain_text(table.columns[i]) for i in at]
    n = len(names)
    printed = n <= _PRINTED
    side = max((0.36 if printed else 0.155) * n, 1.8)
    ax = new_axes(ax, (side + 1.8, side + 0.9))
    image = ax.imshow(correlation, cmap=plt.get_cmap("RdBu_r").with_extremes(bad="0.85"), vmin=-1, vmax=1)
    if printed:
        for (row, col), value in np.ndenumerate(correlation):
            text = "–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
            ax.text(col, row, text, ha="center", va="center", fontsize=6.5,
                    color="white" if abs(value) > 0.65 else "black")  # fmt: skip
    small = 8 if printed else 6.5
    ax.set_xticks(np.arange(n), names, rotation=90, fontsize=small)
    ax.set_yticks(np.arange(n), names, fontsize=small)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0, 0.04, 1)), ticks=[-1, -0.5, 0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.set_label("Spearman's rank correlation" if method == "spearman" else "Pearson's correlation")
    return ax


def log_ratio_biplot(samples: Samples, *, robust: bool = True, ax: Axes | None = None) -> Axes:
    """Draw samples and elements along the two main directions of their log-ratios.

    A covariance biplot of centred log-ratios [1]_: the distance between the tips of two rays goes with
    the standard deviation of the log-ratio of these elements, so tips that lie together rise and fall
    together; a ray shows where samples are rich in its element, compared with all others.

    Parameters
    ----------
    samples : Samples
        Positive concentrations of three elements or more; units may differ.
    robust : bool, default True
        Whether location and covariance are those of the minimum covariance determinant, which
        outliers do not move; see `robust_pca`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Rays and points are scaled apart from each other, as in every biplot, and have no ticks: the
        longest ray is as long as the 98 % quantile of the points from the middle.

    Raises
    ------
    InputError
        When there are less than three elements, a value is 0 or negative, or the rows are too few or
        too flat for a robust covariance; see `robust_pca`.

    Warns
    -----
    DataWarning
        When samples lack some of their values; they are left out.

    References
    ----------
    .. [1] Aitchison, J. & Greenacre, M. (2002). Biplots of compositional data. Journal of the Royal
       Statistical Society C 51, 375-392. https://doi.org/10.1111/1467-9876.00275

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.synthetic.make_survey(n_samples=300, shape=64, rng=0).samples
    >>> ax = gp.plotting.log_ratio_biplot(samples[["Cu", "Pb", "Zn", "Mn"]])
    >>> sorted(text.get_text() for text in ax.texts)
    ['Cu', 'Mn', 'Pb', 'Zn']
    """
    _check_samples(samples, 3)
    scores, loadings = robust_pca(samples, 2, robust=robust)
    explained = np.array(loadings.attrs["explained_variance"])
    # Standard deviations but for a common factor, which the scales of rays and points take away.
    spread = np.sqrt(np.maximum(explained, 1e-12))
    rays = loadings.to_numpy() * spread
    rays /= np.hypot(*rays.T).max()
    points = scores.values[~np.isnan(scores.values).any(axis=1)] / spread
    points /= np.quantile(np.hypot(*points.T), 0.98) or 1
    ax = new_axes(ax, (6.2, 6.2))
    beyond = int((np.abs(points).max(axis=1) > _REACH).sum())
    ax.plot(*points.T, "o", color=GREY, markersize=2.2, markeredgewidth=0, alpha=0.7, zorder=1)
    for x, y in rays:
        ax.plot([0, x], [0, y], color=COLOURS[0], linewidth=0.9, zorder=2)
    names = [plain_text(name) for name in loadings.index]
    size = 9 if len(names) <= 25 else 7
    unit = ax.get_window_extent().width / ax.figure.dpi * 72 / (2 * _REACH)  # points of print
    boxes = np.array([(0.62 * size * len(name.strip()) + 2, 1.15 * size) for name in names]) / unit
    wanted = rays + _unit(rays) * (boxes / 2 + 2 / unit)
    placed = np.clip(_spread(wanted, boxes), boxes / 2 - _REACH, _REACH - boxes / 2)
    for name, tip, start, (x, y) in zip(names, rays, wanted, placed, strict=True):
        if math.hypot(x - start[0], y - start[1]) > size / unit:
            ax.plot([tip[0], x], [tip[1], y], color="0.6", linewidth=0.5, zorder=2)
        ax.text(x, y, name, ha="center", va="center", fontsize=size, color=COLOURS[0], zorder=3, path_effects=_HALO)
    ax.set(xlim=(-_REACH, _REACH), ylim=(-_REACH, _REACH), aspect="equal", xticks=[], yticks=[])
    for axis, share, name in zip((ax.xaxis, ax.yaxis), explained, loadings.columns, strict=True):
        axis.set_label_text(f"{name} ({100 * share:.0f} % of the variance)")
    if beyond:
        ax.set_title(f"{beyond} of {len(points):,} samples lie outside", loc="right", fontsize=7, color="0.4", pad=3)
    return ax


def _labels_and_values(
    what: str, name: str, pair: tuple[ArrayLike, ArrayLike], both: bool = False
) -> tuple[NDArray[np.int8], Floats]:
    """Return labels and values of one element, checked; with `both`, both classes are needed."""
    truth, values = np.asarray(pair[0]), np.asarray(pair[1], dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise InputError(f"{what}[{name!r}]: labels have shape {truth.shape}, values {values.shape}; need one of each")
    if not np.isin(truth, (0, 1)).all() or (both and len(np.unique(truth)) != 2):
        needed = "both 0 (barren) and 1 (ore)" if both else "0 (barren) and 1 (ore)"
        raise InputError(f"{what}[{name!r}]: labels are {np.unique(truth)[:5]}, needs {needed}")
    if not np.isfinite(values).all():
        raise InputError(f"{what}[{name!r}]: {int((~np.isfinite(values)).sum())} values are not finite; leave them out")
    return truth.astype(np.int8), values


def _check_samples(samples: Samples, least: int) -> None:
    if not isinstance(samples, Samples):
        raise InputError(f"samples: is a {type(samples).__name__}, needs Samples; read_samples makes them")
    if len(samples.elements) < least:
        raise InputError(f"samples: have {len(samples.elements)} elements, needs at least {least}")


def _roc_band(
    false_rate: Floats, true_rate: Floats, n_ore: int, n_barren: int, level: float
) -> tuple[Floats, Floats, Floats]:
    """Return false positive rates and the ends of the pointwise interval of the true positive rate at each."""
    at = np.sin(np.linspace(0, np.pi / 2, 101)) ** 2  # a curve is steep near 0 or near 1
    crossing, between, ore = qmc.Halton(3, scramble=False).fast_forward(1).random(_DRAWS).T  # the first is 0
    # The threshold lies between two barren values: count those above it, and the ore above the one and the other.
    above = binom.ppf(crossing, n_barren, at[:, None])  # (101, _DRAWS)
    fewer = np.where(above > 0, np.interp((above - 0.5) / n_barren, false_rate, true_rate), 0)
    more = np.where(above < n_barren, np.interp((above + 0.5) / n_barren, false_rate, true_rate), 1)
    hits = n_ore * (fewer + between * (more - fewer))
    rates = betaincinv(hits + 0.5, n_ore - hits + 0.5, ore)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2], axis=1)
    low[-1] = high[-1] = 1  # where all is called ore
    return at, low, high


def _draw_ecdfs(ax: Axes, labels: NDArray[np.int8], values: Floats, log: bool) -> None:
    log = log and bool(values.size) and values.min() >= 0 and values.max() > 0
    placed = values[values > 0] if log else values
    low, high = (float(placed.min()), float(placed.max())) if placed.size else (0.0, 1.0)
    if log:
        low, high = low / (high / low) ** 0.04 / 1.05, high * (high / low) ** 0.04 * 1.05
        ax.set_xscale("log")
        ticks = log_ticks(low, high)
        ax.set_xticks(ticks[:: max(1, math.ceil(len(ticks) / 4))])
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        pad = 0.04 * (high - low) or 1.0
        low, high = low - pad, high + pad
        ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for label, colour in ((0, BARREN), (1, ORE)):
        some = np.sort(values[labels == label])
        if some.size:
            # From edge to edge; what the axis has no place for is there from the beginning.
            begin = int((some < low).sum())
            steps = np.arange(begin, some.size + 1) / some.size
            ax.step([low, *some[begin:], high], [*steps, 1], where="post", color=colour, linewidth=1.3)
    ax.set(xlim=(low, high), ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
    # In the corner that the curves leave free: they rise about the medians.
    medians = [float(np.median(values[labels == label])) for label in (0, 1) if (labels == label).any()]
    across = ax.transAxes.inverted().transform(ax.transData.transform([(max(low, one), 0) for one in medians or [low]]))
    x, y, ha, va = (0.97, 0.05, "right", "bottom") if across[:, 0].mean() < 0.5 else (0.03, 0.97, "left", "top")
    n_ore = int(labels.sum())
    ax.text(x, y, f"{n_ore:,} ore\n{len(labels) - n_ore:,} barren", transform=ax.transAxes, ha=ha, va=va, fontsize=6.5,
            color="0.35")  # fmt: skip
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def _columns(data: Samples | xr.Dataset) -> pd.DataFrame:
    """Return the values as columns, of a survey at cells that are evenly drawn from those with all bands."""
    if isinstance(data, Samples):
        table = pd.DataFrame(data.values, columns=list(data.elements))
    elif isinstance(data, xr.Dataset):
        bands = {str(name): band for name, band in data.data_vars.items()}
        dims = next(iter(bands.values())).dims if bands else ()
        odd = [name for name, band in bands.items() if set(band.dims) != set(dims)]
        if odd:
            raise InputError(
                f"data[{odd[0]!r}]: has dims {bands[odd[0]].dims}, others {dims}; leave it out: "
                f"data.drop_vars({odd[0]!r})"
            )
        # One band at a time, twice: a survey may be larger than the memory.
        flat = {name: band.transpose(*dims) for name, band in bands.items()}
        finite, there = {}, np.ones(next(iter(bands.values())).size if bands else 0, dtype=bool)
        for name, band in flat.items():
            present = np.isfinite(band.to_numpy().ravel())
            finite[name] = int(present.sum())
            there &= present
        cells = np.flatnonzero(there)
        if bands and not cells.size:
            sparse = min(finite, key=lambda name: finite[name])
            raise InputError(
                f"data: no cell has a value of all of {', '.join(bands)}; leave out what is sparse, such as "
                f"{sparse!r} with {finite[sparse]} cells: data.drop_vars({sparse!r})"
            )
        if cells.size > _CELLS:
            cells = cells[np.linspace(0, cells.size - 1, _CELLS).astype(np.intp)]
        table = pd.DataFrame({name: band.to_numpy().ravel()[cells].astype(np.float64) for name, band in flat.items()})
    else:
        raise InputError(f"data: is a {type(data).__name__}, needs Samples or a Dataset of bands")
    if table.shape[1] < 2:
        raise InputError(f"data: has {table.shape[1]} elements, needs at least 2 to compare")
    if not table.notna().to_numpy().any():
        raise InputError("data: has no value; were all of them below detection and left out?")
    return table


def _clustered(correlation: Floats) -> NDArray[np.intp]:
    """Return an order in which what is alike stands side by side; what has no correlation is like nothing."""
    distance = np.clip(1 - np.nan_to_num(correlation), 0, 2)
    np.fill_diagonal(distance, 0)
    tree = hierarchy.linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    leaves: NDArray[np.intp] = hierarchy.leaves_list(tree).astype(np.intp)
    return leaves


def _unit(vectors: Floats) -> Floats:
    """Return vectors of length 1 in the same directions."""
    scaled: Floats = vectors / np.maximum(np.hypot(*vectors.T), 1e-12)[:, None]
    return scaled


def _spread(centres: Floats, boxes: Floats) -> Floats:
    """Return the centres (n, 2) of boxes of these sizes (n, 2), moved apart where they overlap.

    Two that overlap give way by half each, on the axis where less is needed, in up to 500 rounds.
    """
    at = centres.copy()
    first, second = np.triu_indices(len(at), 1)
    needed = (boxes[first] + boxes[second]) / 2
    for _ in range(500):
        apart = at[first] - at[second]
        lack = needed - np.abs(apart)  # positive on both axes where boxes overlap
        hit = np.flatnonzero((lack > 1e-6).all(axis=1))
        if not hit.size:
            break
        for one in hit:
            axis = int(lack[one].argmin())
            move = 0.25 * lack[one, axis] * (1 if apart[one, axis] >= 0 else -1)
            at[first[one], axis] += move
            at[second[one], axis] -= move
    return at
