"""Figures: maps with north up, and the panels that go with them.

Every function draws into the `ax` that it is given, or makes a figure of its own, and returns
the `Axes`. Nothing is computed here that another module has computed already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from geoprospect._checks import check_int, check_names, check_number, check_output_file
from geoprospect.errors import CRSError, InputError
from geoprospect.grid import Grid, HasGeometry
from geoprospect.maps import (
    BARREN,
    COLOURS,
    GREY,
    ORE,
    band_label,
    cell_values,
    check_layers,
    colour_scaled,
    colours_for,
    draw_base,
    draw_cells,
    draw_deposits,
    draw_raster,
    draw_samples,
    finish_map,
    frame_of,
    legend_below,
    log_ticks,
    new_axes,
    new_map,
    plain_text,
    rings,
)

_STYLES = ("-", "--", ":", "-.")
# Beneath outlines in colour.
_PALE = LinearSegmentedColormap.from_list("pale", ["white", "0.5"])


class HasFootprints(Protocol):
    """Anything with a grid and labelled rectangles on it: `Windows`."""

    @property
    def grid(self) -> Grid:
        """Where the rectangles lie."""
        ...

    def footprints(self) -> gpd.GeoDataFrame:
        """Return one rectangle per window, with its ``label``."""
        ...


class _HasCounts(Protocol):
    @property
    def tp(self) -> int: ...
    @property
    def fp(self) -> int: ...
    @property
    def fn(self) -> int: ...
    @property
    def tn(self) -> int: ...


def element_map(
    survey: xr.Dataset,
    element: str,
    *,
    samples: HasGeometry | None = None,
    deposits: HasGeometry | None = None,
    base: gpd.GeoDataFrame | None = None,
    log: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Map one band of a survey; the colours span its 2 % to 98 % quantiles.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands of shape (ny, nx) with dims (y, x) and a CRS.
    element : str
        The band to draw. Its ``long_name`` and ``units`` label the colourbar.
    samples, deposits : Samples or GeoDataFrame, optional
        Points, in any CRS.
    base : GeoDataFrame, optional
        Geology or any other vector layer in any CRS, drawn beneath a translucent map.
    log : bool, optional
        Logarithmic colours. Default: where all values are positive and the upper quantile is at
        least ten times the lower.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    NameNotFoundError
        When the survey has no such band.
    InputError
        When the band has no finite value, or `log` is asked for and not all are positive.
    CRSError
        When the survey or a layer has no CRS, or a layer does not fit the map's.

    Examples
    --------
    >>> import geoprospect as gp
    >>> grid = gp.Grid.covering(gp.Samples([[0, 0], [900, 900]], [[1], [2]], ["Cu"], ["ppm"], "EPSG:32649"), shape=3)
    >>> survey = grid.dataset({"Cu": np.arange(9.0).reshape(3, 3)}, {"Cu": {"units": "ppm"}})
    >>> ax = gp.plotting.element_map(survey, "Cu")
    >>> ax.get_xlabel(), ax.images[0].colorbar.ax.get_ylabel()
    ('Easting (km)', 'Cu (ppm)')
    """
    band = _band(survey, element)
    grid, scaled = Grid.of(band), colour_scaled(band, log)
    check_layers(grid, samples=samples, deposits=deposits, base=base)
    ax = new_map(ax, grid)
    draw_base(ax, base, grid)
    draw_raster(ax, grid, scaled, "viridis", band_label(band), base)
    handles = [*draw_samples(ax, samples, grid), *draw_deposits(ax, deposits, grid)]
    return finish_map(ax, grid, handles)


def probability_map(
    probability: xr.DataArray,
    *,
    deposits: HasGeometry | None = None,
    cells: gpd.GeoDataFrame | None = None,
    base: gpd.GeoDataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Map a probability of ore on a scale from 0 to 1; where it is NaN nothing is drawn.

    Parameters
    ----------
    probability : xarray.DataArray of shape (ny, nx)
        Probability of class 1. Unless ``attrs["calibrated"]`` is true the colourbar says
        "uncalibrated".
    deposits : GeoDataFrame, optional
        Known deposits, in any CRS.
    cells : GeoDataFrame, optional
        Rectangles with their number in ``cell``; where there is a ``label``, those with label 1
        stand out.
    base : GeoDataFrame, optional
        Geology or any other vector layer in any CRS, drawn beneath a translucent map.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When `probability` is not one band with values from 0 to 1.
    NameNotFoundError
        When `cells` has no column ``cell``.
    CRSError
        When the probability or a layer has no CRS.
    """
    if not isinstance(probability, xr.DataArray):
        raise InputError(
            f"probability: is a {type(probability).__name__}, needs one band as a DataArray; "
            "pass for example result.probability"
        )
    grid, values = Grid.of(probability), cell_values(probability, "probability")
    if values.count() and not 0 <= values.min() <= values.max() <= 1:
        raise InputError(
            f"probability: has values from {values.min():g} to {values.max():g}, needs 0 to 1; "
            "draw other bands with element_map"
        )
    check_layers(grid, deposits=deposits, cells=cells, base=base)
    frame = frame_of(grid, cells)  # the map ends half a window inside the survey, the cells do not
    ax = new_map(ax, frame)
    draw_base(ax, base, frame)
    note = "" if probability.attrs.get("calibrated") else " (uncalibrated)"
    draw_raster(ax, grid, (values, Normalize(0, 1), "neither"), "cividis", f"probability of ore{note}", base)
    handles = [*draw_cells(ax, cells, grid), *draw_deposits(ax, deposits, frame)]
    return finish_map(ax, frame, handles, gaps=frame.bounds != grid.bounds)


def windows_overlay(
    windows: HasFootprints,
    survey: xr.Dataset | None = None,
    *,
    element: str | None = None,
    deposits: HasGeometry | None = None,
    base: gpd.GeoDataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Outline ore and barren windows, over a band in grey where a survey is given.

    Parameters
    ----------
    windows : Windows
        The windows; their ``footprints()`` are drawn.
    survey : xarray.Dataset, optional
        Bands in the CRS of the windows.
    element : str, optional
        The band to draw; may be left out where `survey` has only one.
    deposits : GeoDataFrame, optional
        Known deposits, in any CRS.
    base : GeoDataFrame, optional
        Geology or any other vector layer in any CRS.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When `element` is given without a survey, or left out where there are several bands.
    NameNotFoundError
        When the survey has no such band.
    CRSError
        When survey and windows differ in CRS.
    """
    footprints = _footprints(windows)
    band = _backdrop(survey, element, windows.grid)
    grid = windows.grid if band is None else Grid.of(band)
    scaled = None if band is None else colour_scaled(band, None)
    check_layers(grid, deposits=deposits, base=base)
    ax = new_map(ax, grid)
    draw_base(ax, base, grid)
    if band is not None and scaled is not None:
        draw_raster(ax, grid, scaled, _PALE, band_label(band), base)
    handles: list[Artist] = []
    for label, name, colour in ((0, "barren", BARREN), (1, "ore", ORE)):
        chosen = footprints[footprints["label"].eq(label)]
        ax.add_collection(LineCollection(rings(chosen), colors=colour, linewidths=0.8, alpha=0.8, zorder=4 + label))
        handles.insert(0, Line2D([], [], color=colour, label=f"{name} windows ({len(chosen)})"))
    handles += draw_deposits(ax, deposits, grid, "black")
    return finish_map(ax, grid, handles)


def folds_map(windows: HasFootprints, folds: Sequence[tuple[ArrayLike, ArrayLike]], *, ax: Axes | None = None) -> Axes:
    """Colour windows by the fold that tests them; ore windows are filled, barren ones outlined.

    Parameters
    ----------
    windows : Windows
        The windows; their ``footprints()`` are drawn.
    folds : sequence of (train, test)
        Indices into the windows.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When there is no fold, or an index leads to no window.
    """
    footprints = _footprints(windows)
    tested = _tested(folds, len(footprints))
    ax = new_map(ax, windows.grid)
    handles: list[Artist] = []
    for number, (at, colour) in enumerate(zip(tested, colours_for(len(tested)), strict=True), start=1):
        chosen = footprints.iloc[at]
        faces = [to_rgba(colour, 0.2 if label == 1 else 0) for label in chosen["label"]]
        ax.add_collection(PolyCollection(rings(chosen), facecolors=faces, edgecolors=colour, linewidths=0.8))
        handles.append(Patch(facecolor=to_rgba(colour, 0.4), edgecolor=colour, label=f"fold {number} ({at.size})"))
    return finish_map(ax, windows.grid, handles)


def roc_panel(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, ax: Axes | None = None) -> Axes:
    """Draw receiver operating characteristics with the area under each, best first in the legend.

    Parameters
    ----------
    curves : mapping of str to (labels, scores)
        Per name the labels (1 ore, 0 barren) and the scores, both of shape (n_samples,);
        higher scores mean ore.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When there is no curve, or labels and scores differ in length, are not finite, or do not
        hold both classes.

    Examples
    --------
    >>> import geoprospect as gp
    >>> ax = gp.plotting.roc_panel({"Cu": ([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.8])})
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['0.750  Cu', '0.500  chance']
    """
    from sklearn.metrics import auc, roc_curve

    if not curves:
        raise InputError("curves: is empty, needs at least one name with its labels and scores")
    checked = {name: _labels_and_scores(name, *pair) for name, pair in curves.items()}
    ax = new_axes(ax, (5.9, 4.6))
    lines: list[tuple[float, Line2D]] = []
    for number, (name, (labels, scores)) in enumerate(checked.items()):
        false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=True)
        area = float(auc(false_rate, true_rate))
        style = _STYLES[number // len(COLOURS) % len(_STYLES)]
        (line,) = ax.plot(false_rate, true_rate, style, color=COLOURS[number % len(COLOURS)], linewidth=1.4)
        line.set_label(f"{area:.3f}  {plain_text(name)}")
        lines.append((area, line))
    (chance,) = ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, dashes=(4, 3), zorder=1, label="0.500  chance")
    ranked = [line for _, line in sorted(lines, key=lambda pair: -pair[0])]
    ax.legend(handles=[*ranked, chance], title="AUC", alignment="left", frameon=False, fontsize=8,
              loc="upper left", bbox_to_anchor=(1.0, 1.02))  # fmt: skip
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.set(xlabel="false positive rate (barren called ore)", ylabel="true positive rate (ore called ore)")
    return ax


def z_auc_bars(ranking: pd.DataFrame, *, threshold: float = 2.58, ax: Axes | None = None) -> Axes:
    """Draw the Z_AUC of every element as a bar, highest on top, the selected ones in colour.

    Parameters
    ----------
    ranking : pandas.DataFrame
        Indexed by element, with columns ``z_auc`` and ``selected`` (bool), as from `screen`.
    threshold : float, default 2.58
        Where to draw the dashed line; 2.58 is two-sided p = .01. Where a Z_AUC is negative there
        is one at ``-threshold`` too.
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
        When the ranking is empty or ``selected`` holds anything but True and False.

    Examples
    --------
    >>> import geoprospect as gp
    >>> ranking = pd.DataFrame({"z_auc": [1.2, 3.7], "selected": [False, True]}, index=["Zn", "Cu"])
    >>> ax = gp.plotting.z_auc_bars(ranking)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['Cu', 'Zn']
    """
    threshold = check_number("threshold", threshold, above=0)
    check_names("ranking", ["z_auc", "selected"], list(ranking.columns), "column")
    if ranking.empty:
        raise InputError("ranking: is empty, needs a row per element")
    if not ranking["selected"].isin([True, False]).all():
        raise InputError(f"ranking['selected']: has {ranking['selected'].unique()!r}, needs True and False")
    ordered = ranking.sort_values("z_auc", ascending=False, na_position="last", kind="stable")
    z, chosen = ordered["z_auc"].to_numpy(dtype=np.float64), ordered["selected"].to_numpy(dtype=bool)
    ax = new_axes(ax, (5.6, 1.3 + 0.24 * len(z)))
    bars = ax.barh(np.arange(len(z)), np.nan_to_num(z), height=0.72, color=np.where(chosen, COLOURS[0], GREY))
    ax.bar_label(
        bars, ["n/a" if np.isnan(value) else f"{value:.2f}".replace("-", "−") for value in z], padding=3, fontsize=8
    )
    signs = (1, -1) if (z < 0).any() else (1,)
    lines = [ax.axvline(sign * threshold, color="0.15", linestyle="--", linewidth=1) for sign in signs]
    lines[0].set_label(f"threshold {'±' if len(signs) == 2 else ''}{threshold:g}")
    ax.axvline(0, color="0.15", linewidth=0.8)
    ax.set_yticks(np.arange(len(z)), [plain_text(name) for name in ordered.index])
    ax.set(ylim=(len(z) - 0.4, -0.6), xlabel=r"$Z_\mathrm{AUC}$")
    ax.margins(x=0.1)
    ax.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=COLOURS[0], label="selected"), Patch(color=GREY, label="not selected"), lines[0]]
    legend_below(ax, handles)
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


def save(ax: Axes, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write the figure of an axes to a file and close it.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        As the other functions return it.
    path : path-like
        A name that ends in .png, .svg or .pdf, in a folder that exists.
    dpi : int, default 150
        Dots per inch of a PNG.

    Returns
    -------
    pathlib.Path
        Where the file is.

    Raises
    ------
    InputError, OutputError
        When the name has another suffix, or its folder does not exist.
    """
    file = check_output_file("path", path, (".png", ".svg", ".pdf"))
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.savefig(file, dpi=check_int("dpi", dpi), bbox_inches="tight")
        plt.close(figure)
    return file


def _band(survey: xr.Dataset, element: str) -> xr.DataArray:
    if not isinstance(survey, xr.Dataset):
        raise InputError(f"survey: is a {type(survey).__name__}, needs a Dataset; DataArray.to_dataset makes one")
    (name,) = check_names("element", [element], [str(band) for band in survey.data_vars])
    return survey[name]


def _backdrop(survey: xr.Dataset | None, element: str | None, grid: Grid) -> xr.DataArray | None:
    """Return the band to draw beneath windows, if any."""
    if survey is None:
        if element is not None:
            raise InputError(f"element={element!r}: there is no survey to take it from; pass survey=")
        return None
    if element is None and len(survey.data_vars) != 1:
        raise InputError(f"element=None: survey has {len(survey.data_vars)} bands; name the one to draw")
    band = _band(survey, str(next(iter(survey.data_vars))) if element is None else element)
    if Grid.of(band).crs != grid.crs:
        raise CRSError(
            f"survey: is in {Grid.of(band).crs.name!r}, the windows are in {grid.crs.name!r}; "
            "pass the survey that they were cut from"
        )
    return band


def _footprints(windows: HasFootprints) -> gpd.GeoDataFrame:
    footprints = windows.footprints()
    check_names("windows.footprints()", ["label"], list(footprints.columns), "column")
    return footprints


def _tested(folds: Sequence[tuple[ArrayLike, ArrayLike]], count: int) -> list[NDArray[np.int64]]:
    """Return the test indices of every fold into `count` windows."""
    if not len(folds):
        raise InputError("folds: is empty, needs at least one (train, test)")
    tested = [np.asarray(test) for _, test in folds]
    for number, at in enumerate(tested):
        if at.size and at.dtype.kind not in "iu":
            raise InputError(f"folds[{number}]: tests are of type {at.dtype}, needs whole-number indices")
        if at.size and not 0 <= at.min() <= at.max() < count:
            raise InputError(
                f"folds[{number}]: tests windows {at.min()} to {at.max()}, there are {count}; "
                "make the folds from these windows"
            )
    return [at.astype(np.int64) for at in tested]


def _labels_and_scores(name: str, labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    truth, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != score.shape:
        raise InputError(f"curves[{name!r}]: labels have shape {truth.shape}, scores {score.shape}; need one of each")
    if not np.isin(truth, (0, 1)).all() or len(np.unique(truth)) != 2:
        raise InputError(f"curves[{name!r}]: labels are {np.unique(truth)[:5]}, needs both 0 (barren) and 1 (ore)")
    if not np.isfinite(score).all():
        raise InputError(f"curves[{name!r}]: {int((~np.isfinite(score)).sum())} scores are not finite; leave them out")
    return truth.astype(np.int8), score
