"""Figures: maps with north up, and the panels that go with them.

Every function draws into the `ax` that it is given, or makes a figure of its own, and returns
the `Axes`. Nothing is computed here that another module has computed already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import shapely
import xarray as xr
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray
from pyproj import Transformer

from geoprospect._checks import check_int, check_names, check_number, check_output_file
from geoprospect.errors import CRSError, InputError
from geoprospect.grid import Grid, HasGeometry

# Okabe & Ito's colours, told apart with any colour vision; without the yellow, faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_ORE, _BARREN, _GREY = "#D55E00", "#0072B2", "#B4B4B4"
_STYLES = ("-", "--", ":", "-.")
_NO_DATA: dict[str, Any] = {"facecolor": "#F2F2F2", "edgecolor": "#C4C4C4", "hatch": "////", "linewidth": 0.0}
# Beneath outlines in colour.
_PALE = LinearSegmentedColormap.from_list("pale", ["white", "0.5"])
# From this ratio of the robust range's ends on, a linear scale hides the lower half of the values.
_WIDE = 10.0


_Cells = np.ma.MaskedArray[Any, np.dtype[np.float32]]
# Values, their colour scale, and on which sides they reach beyond it.
_Scaled = tuple[_Cells, Normalize, Literal["neither", "min", "max", "both"]]


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
    grid, scaled = Grid.of(band), _scaled(band, log)
    _check_layers(grid, samples=samples, deposits=deposits, base=base)
    ax = _new_map(ax, grid)
    _draw_base(ax, base, grid)
    _draw_raster(ax, grid, scaled, "viridis", _band_label(band), base)
    handles = [*_draw_samples(ax, samples, grid), *_draw_deposits(ax, deposits, grid)]
    return _finish_map(ax, grid, handles)


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
    grid, values = Grid.of(probability), _values(probability, "probability")
    if values.count() and not 0 <= values.min() <= values.max() <= 1:
        raise InputError(
            f"probability: has values from {values.min():g} to {values.max():g}, needs 0 to 1; "
            "draw other bands with element_map"
        )
    _check_layers(grid, deposits=deposits, cells=cells, base=base)
    ax = _new_map(ax, grid)
    _draw_base(ax, base, grid)
    note = "" if probability.attrs.get("calibrated") else " (uncalibrated)"
    _draw_raster(ax, grid, (values, Normalize(0, 1), "neither"), "cividis", f"probability of ore{note}", base)
    handles = [*_draw_cells(ax, cells, grid), *_draw_deposits(ax, deposits, grid)]
    return _finish_map(ax, grid, handles)


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
    scaled = None if band is None else _scaled(band, None)
    _check_layers(grid, deposits=deposits, base=base)
    ax = _new_map(ax, grid)
    _draw_base(ax, base, grid)
    if band is not None and scaled is not None:
        _draw_raster(ax, grid, scaled, _PALE, _band_label(band), base)
    handles: list[Artist] = []
    for label, name, colour in ((0, "barren", _BARREN), (1, "ore", _ORE)):
        chosen = footprints[footprints["label"].eq(label)]
        ax.add_collection(LineCollection(_rings(chosen), colors=colour, linewidths=0.8, alpha=0.8, zorder=4 + label))
        handles.insert(0, Line2D([], [], color=colour, label=f"{name} windows ({len(chosen)})"))
    handles += _draw_deposits(ax, deposits, grid, "black")
    return _finish_map(ax, grid, handles)


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
    ax = _new_map(ax, windows.grid)
    handles: list[Artist] = []
    for number, (at, colour) in enumerate(zip(tested, _colours(len(tested)), strict=True), start=1):
        chosen = footprints.iloc[at]
        faces = [to_rgba(colour, 0.2 if label == 1 else 0) for label in chosen["label"]]
        ax.add_collection(PolyCollection(_rings(chosen), facecolors=faces, edgecolors=colour, linewidths=0.8))
        handles.append(Patch(facecolor=to_rgba(colour, 0.4), edgecolor=colour, label=f"fold {number} ({at.size})"))
    return _finish_map(ax, windows.grid, handles)


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
    ax = _new_axes(ax, (5.9, 4.6))
    lines: list[tuple[float, Line2D]] = []
    for number, (name, (labels, scores)) in enumerate(checked.items()):
        false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=True)
        area = float(auc(false_rate, true_rate))
        style = _STYLES[number // len(_COLOURS) % len(_STYLES)]
        (line,) = ax.plot(false_rate, true_rate, style, color=_COLOURS[number % len(_COLOURS)], linewidth=1.4)
        line.set_label(f"{area:.3f}  {_plain(name)}")
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
    ax = _new_axes(ax, (5.6, 1.3 + 0.24 * len(z)))
    bars = ax.barh(np.arange(len(z)), np.nan_to_num(z), height=0.72, color=np.where(chosen, _COLOURS[0], _GREY))
    ax.bar_label(
        bars, ["n/a" if np.isnan(value) else f"{value:.2f}".replace("-", "−") for value in z], padding=3, fontsize=8
    )
    signs = (1, -1) if (z < 0).any() else (1,)
    lines = [ax.axvline(sign * threshold, color="0.15", linestyle="--", linewidth=1) for sign in signs]
    lines[0].set_label(f"threshold {'±' if len(signs) == 2 else ''}{threshold:g}")
    ax.axvline(0, color="0.15", linewidth=0.8)
    ax.set_yticks(np.arange(len(z)), [_plain(name) for name in ordered.index])
    ax.set(ylim=(len(z) - 0.4, -0.6), xlabel=r"$Z_\mathrm{AUC}$")
    ax.margins(x=0.1)
    ax.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=_COLOURS[0], label="selected"), Patch(color=_GREY, label="not selected"), lines[0]]
    _legend_below(ax, handles)
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
    ax = _new_axes(ax, (6.4, 4.2))
    # A new twin becomes the current axes of the figure, which is the caller's to choose.
    current = ax.figure.gca()
    twin = ax.twinx()
    ax.figure.sca(current)
    models = list(history.sort_values("epoch").groupby("model"))
    handles: list[Artist] = []
    for (name, rows), colour in zip(models, _colours(len(models)), strict=True):
        # A single epoch has no line to show.
        marker = "o" if len(rows) == 1 else ""
        handles += ax.plot(rows["epoch"], rows["loss"], marker=marker, color=colour, linewidth=1.5)
        handles[-1].set_label(f"model {name}")
        twin.plot(rows["epoch"], rows["accuracy"], marker=marker, color=colour, linewidth=1.2, linestyle=":")
    if (history["loss"] > 0).all():
        ax.set_yscale("log")
        ax.set_yticks(_log_ticks(history["loss"].min() / 1.2, history["loss"].max() * 1.2))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="epoch", ylabel="loss (solid)")
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    low = float(np.nan_to_num(history["accuracy"].min()))
    twin.set(ylabel="accuracy (dotted)", ylim=(max(0.0, np.floor(low * 10) / 10), 1.01))
    ax.grid(axis="x", color="0.9", linewidth=0.6)
    _legend_below(ax, handles)
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
    ax = _new_axes(ax, (3.8, 3.8))
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


def _check_layers(grid: Grid, **layers: Any) -> None:
    """Raise for a layer that cannot be drawn, before a figure is made that would be left over."""
    for name, layer in layers.items():
        if layer is not None and name in ("samples", "deposits"):
            _points(name, layer, grid)
        elif layer is not None and layer.crs is None:
            raise CRSError(f"{name}: no CRS is known, and one is never guessed; set it with .set_crs('EPSG:…')")
    if layers.get("cells") is not None:
        check_names("cells", ["cell"], list(layers["cells"].columns), "column")


def _new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return `ax`, or the axes of a new figure of `size` inches."""
    if ax is None:
        made: Axes = plt.subplots(figsize=size, layout="constrained")[1]
        return made
    if not isinstance(ax, Axes):
        raise InputError(f"ax={ax!r}: needs a matplotlib Axes; make one with figure, ax = plt.subplots()")
    return ax


def _new_map(ax: Axes | None, grid: Grid) -> Axes:
    height = _height(grid)
    size = (5.4, 5.4 * height) if height <= 1.3 else (7.0 / height, 7.0)
    return _new_axes(ax, (max(size[0], 2.5) + 1.5, max(size[1], 1.5) + 1.1))


def _aspect(grid: Grid) -> float:
    """Return the length of a unit northwards over one eastwards; degrees of longitude shrink with latitude."""
    middle = (grid.bounds[1] + grid.bounds[3]) / 2
    return float(1 / max(np.cos(np.radians(middle)), 0.05)) if grid.crs.is_geographic else 1.0


def _height(grid: Grid) -> float:
    """Return the height of the map over its width."""
    left, bottom, right, top = grid.bounds
    return (top - bottom) / (right - left) * _aspect(grid)


def _finish_map(ax: Axes, grid: Grid, handles: Sequence[Artist]) -> Axes:
    """Set limits, labels and legend, after the layers, which may reach beyond the grid."""
    left, bottom, right, top = grid.bounds
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect=_aspect(grid))
    # Hatching would shine through a translucent map; there the base shows where data are missing.
    if any(np.ma.is_masked(image.get_array()) and image.get_alpha() is None for image in ax.images):
        ax.patch.set(**_NO_DATA)
        handles = [*handles, Patch(**_NO_DATA, label="no data")]
    scale, unit = (1000, "km") if grid.unit == "metre" else (1, grid.unit)
    names = ("Longitude (°)", "Latitude (°)") if grid.crs.is_geographic else (f"Easting ({unit})", f"Northing ({unit})")
    for axis, name, share in zip((ax.xaxis, ax.yaxis), names, (1 / _height(grid), _height(grid)), strict=True):
        # geopandas labels the axes of a base layer in small print.
        axis.set_label_text(_plain(name), fontsize=plt.rcParams["axes.labelsize"])
        # A side that is short on paper has room for few labels.
        axis.set_major_locator(MaxNLocator(max(2, round(6 * min(1, share))), steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / scale + 0.0:.10g}"))
    ax.set_title(_plain(grid.crs.name), loc="right", fontsize=7, color="0.4", pad=3)
    if handles:
        _legend_below(ax, handles)
    return ax


def _legend_below(ax: Axes, handles: Sequence[Artist], columns: int = 5) -> None:
    """Put the legend under the axis label, a fixed number of points down, where it hides no data."""
    down = ScaledTranslation(0, -36 / 72, ax.figure.dpi_scale_trans)
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=ax.transAxes + down,
              ncols=min(columns, len(handles)), frameon=False, fontsize=8, borderaxespad=0)  # fmt: skip


def _plain(text: object) -> str:
    """Return `text` so that matplotlib shows it as it is: no mathematics, no hidden legend entry."""
    shown = str(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _colours(count: int) -> list[Any]:
    """Return `count` colours that can be told apart."""
    return list(_COLOURS[:count]) if count <= len(_COLOURS) else list(plt.get_cmap("viridis")(np.linspace(0, 1, count)))


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


def _band_label(band: xr.DataArray) -> str:
    name, units = band.attrs.get("long_name") or band.name, band.attrs.get("units")
    return f"{name} ({units})" if units and units != "1" else str(name)


def _values(band: xr.DataArray, what: str) -> _Cells:
    """Return the band as (ny, nx), masked where it is not finite."""
    if set(band.dims) != {"y", "x"}:
        raise InputError(f"{what}: {band.name!r} has dims {band.dims}, needs ('y', 'x'); select one layer")
    return np.ma.masked_invalid(np.asarray(band.transpose("y", "x"), dtype=np.float32))


def _scaled(band: xr.DataArray, log: bool | None) -> _Scaled:
    """Return the values of a band of the survey with a colour scale over their robust range."""
    values = _values(band, "survey")
    finite = values.compressed()
    if not finite.size:
        raise InputError(f"survey: {band.name!r} has no finite value to draw; choose another band")
    least, most = float(finite.min()), float(finite.max())
    low, high = (float(q) for q in np.quantile(finite, (0.02, 0.98)))
    # A band that is constant but for a few cells has no robust range.
    low, high = (low, high) if low < high else (least, most)
    if log and least <= 0:
        raise InputError(f"log=True: {band.name!r} has values down to {least:g}, needs positive ones; pass log=False")
    log = (least > 0 and high >= _WIDE * low) if log is None else log
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
    norm = LogNorm(low, high) if log else Normalize(low, high)
    if least < low:
        return values, norm, "both" if most > high else "min"
    return values, norm, "max" if most > high else "neither"


def _draw_raster(
    ax: Axes, grid: Grid, scaled: _Scaled, cmap: str | Colormap, label: str, base: gpd.GeoDataFrame | None
) -> None:
    """Draw cells, translucent over a base, and a colourbar exactly as high as the map."""
    values, norm, beyond = scaled
    left, bottom, right, top = grid.bounds
    # Cells as they are: smoothing would spread NaN and invent values.
    image = ax.imshow(values, extent=(left, right, bottom, top), origin="upper", interpolation="nearest",
                      cmap=cmap, norm=norm, alpha=None if base is None else 0.7, zorder=2)  # fmt: skip
    wide = min(max(1, _height(grid)), 3)
    inset = ax.inset_axes((1 + 0.03 * wide, 0, 0.04 * wide, 1))
    bar = ax.figure.colorbar(image, cax=inset, extend=beyond)
    if isinstance(norm, LogNorm):
        bar.set_ticks(_log_ticks(*(float(end) for end in (norm.vmin, norm.vmax) if end is not None)))
        bar.minorticks_off()
        bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
    bar.set_label(_plain(label))


def _log_ticks(low: float, high: float) -> list[float]:
    """Return at least four round numbers between `low` and `high`, evenly spread on a log scale if possible."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ([1], [1, 3], [1, 2, 5], range(1, 10)):
        ticks = np.multiply.outer(decades, steps).ravel()
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= 4:
            break
    else:
        ticks = np.asarray(MaxNLocator(4).tick_values(low, high))
    return [float(tick) for tick in ticks if low <= tick <= high]


def _draw_base(ax: Axes, base: gpd.GeoDataFrame | None, grid: Grid) -> None:
    """Draw the part of a vector layer that lies under the map, in greys."""
    if base is None:
        return
    # Clipped before it is projected: far corners of a world map have no place in a UTM zone.
    box = Transformer.from_crs(grid.crs, base.crs, always_xy=True).transform_bounds(*grid.bounds)
    near = base.clip(box) if box[0] < box[2] else base
    near = near.to_crs(grid.crs).explode()
    near = near[np.isfinite(near.bounds).all(axis=1)]
    areas = near[near.geom_type == "Polygon"]
    other = near[near.geom_type != "Polygon"]
    if len(areas):
        areas.plot(ax=ax, facecolor="0.8", edgecolor="0.25", linewidth=0.5, aspect=None, zorder=1)
    if len(other):
        other.plot(ax=ax, color="0.25", linewidth=0.7, markersize=4, aspect=None, zorder=1)


def _points(what: str, layer: HasGeometry, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return x and y of a point layer on the map, and how many lie on it."""
    kinds = set(layer.geometry.geom_type)
    if kinds - {"Point"}:
        raise InputError(f"{what}: geometry is {', '.join(map(str, kinds))}, needs points; take representative_point()")
    x, y = grid.points(layer.geometry)
    return x, y, int(grid.contains(x, y).sum())


def _draw_samples(ax: Axes, samples: HasGeometry | None, grid: Grid) -> list[Artist]:
    if samples is None:
        return []
    x, y, inside = _points("samples", samples, grid)
    size = float(np.clip(3000 / max(len(x), 1), 0.8, 8))
    ax.scatter(x, y, s=size, color="black", linewidths=0, alpha=0.7, zorder=3)
    return [Line2D([], [], color="black", marker="o", markersize=2.5, linestyle="", label=f"samples ({inside})")]


def _draw_deposits(ax: Axes, deposits: HasGeometry | None, grid: Grid, colour: str = _ORE) -> list[Artist]:
    if deposits is None:
        return []
    x, y, inside = _points("deposits", deposits, grid)
    drawn = ax.scatter(x, y, s=34, marker="^", color=colour, edgecolors="white", linewidths=0.9, zorder=7)
    drawn.set_label(f"known deposits ({inside})")
    return [drawn]


def _draw_cells(ax: Axes, cells: gpd.GeoDataFrame | None, grid: Grid) -> list[Artist]:
    """Outline numbered rectangles, ore ones on top; the number stands in the north-west corner, off the deposits."""
    if cells is None:
        return []
    placed = cells.to_crs(grid.crs)
    ore = placed["label"].eq(1).to_numpy() if "label" in placed.columns else np.zeros(len(placed), dtype=bool)
    # White on black can be seen on the dark, the bright and the empty.
    dark = [patheffects.withStroke(linewidth=2.2, foreground="black")]
    ax.add_collection(LineCollection(_rings(placed[~ore]), colors="0.75", linewidths=0.3, zorder=4))
    ax.add_collection(LineCollection(_rings(placed[ore]), colors="white", linewidths=1.1, zorder=4, path_effects=dark))
    halo = [patheffects.withStroke(linewidth=1.2, foreground="black")]
    for number, rectangle, bold in zip(placed["cell"], placed.geometry, ore, strict=True):
        left, _, _, top = rectangle.bounds
        ax.annotate(_plain(number), (left, top), (2, -2), textcoords="offset points", ha="left", va="top", zorder=5,
                    fontsize=6 if bold else 5, fontweight="bold" if bold else "normal", color="white",
                    path_effects=halo, annotation_clip=True)  # fmt: skip
    outline = Line2D([], [], color="white", linewidth=1.1, path_effects=dark, label=f"ore cells ({ore.sum()})")
    return [outline] if ore.any() else []


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


def _rings(frame: gpd.GeoDataFrame) -> list[NDArray[np.float64]]:
    """Return the corners of every rectangle, shape (5, 2)."""
    return [shapely.get_coordinates(rectangle) for rectangle in frame.geometry]


def _labels_and_scores(name: str, labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    truth, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != score.shape:
        raise InputError(f"curves[{name!r}]: labels have shape {truth.shape}, scores {score.shape}; need one of each")
    if not np.isin(truth, (0, 1)).all() or len(np.unique(truth)) != 2:
        raise InputError(f"curves[{name!r}]: labels are {np.unique(truth)[:5]}, needs both 0 (barren) and 1 (ore)")
    if not np.isfinite(score).all():
        raise InputError(f"curves[{name!r}]: {int((~np.isfinite(score)).sum())} scores are not finite; leave them out")
    return truth.astype(np.int8), score
