"""A figure of what `check_samples` found in a table: map, values per element and sample spacing."""

from __future__ import annotations

import os
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoprospect._checks import check_int, check_output_file
from geoprospect.errors import CorruptFileError, InputError
from geoprospect.geochem.sample_check import SampleCheck
from geoprospect.io.atomic import published
from geoprospect.plotting._axes import COLOURS, GREY, legend_below, log_ticks, plain_text

# More bars than these cannot be read.
_BARS = 30
_FIRST_BYTES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


def write_check_figure(check: SampleCheck, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    r"""Draw what a check of samples found: a map of the samples, what the cells are, and how far samples lie apart.

    Parameters
    ----------
    check : SampleCheck
        As `check_samples` returns it, usable or not.
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
        When the name has another suffix, its folder does not exist, or the disk is full.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoprospect as gp
    >>> from geoprospect.plotting.sample_check_figure import write_check_figure
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "samples.csv").write_text("lon,lat,Cu_ppm\n110.1,22.1,18.5\n110.2,22.1,<5\n")
    >>> write_check_figure(gp.check_samples(folder / "samples.csv", crs="EPSG:4326"), folder / "check.png").name
    'check.png'
    """
    if not isinstance(check, SampleCheck):
        raise InputError(f"check: is a {type(check).__name__}, needs what check_samples returns")
    file, dpi = check_output_file("path", path, tuple(_FIRST_BYTES)), check_int("dpi", dpi)
    if check.grid is None:
        x, y = check.points.T
    else:
        x, y = check.grid.points(gpd.GeoSeries.from_xy(*check.points.T, crs=check.table.crs))
    bars = min(max(len(check.elements), 8), _BARS)
    figure, axes = plt.subplot_mosaic(
        [["map", "cells"], ["spacing", "cells"]], figsize=(11, max(6.0, 1.5 + 0.24 * bars)),
        height_ratios=(3, 1.3), width_ratios=(1.25, 1), layout="constrained",
    )  # fmt: skip
    try:
        figure.suptitle(plain_text(check.verdict()), fontsize="large")
        _map(axes["map"], x, y, check)
        _cells(axes["cells"], check.elements, len(check.table.lines))
        _spacing(axes["spacing"], x, y, check)
        with published(file, _verify) as beside:
            figure.savefig(beside, dpi=dpi)
    finally:
        plt.close(figure)
    return file


def _verify(file: Path) -> None:
    with file.open("rb") as stream:
        start = stream.read(8)
    if not start.startswith(_FIRST_BYTES[file.suffix.lower()]):
        raise CorruptFileError(f"{file}: begins with {start!r}, which is no {file.suffix} file")


def _map(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], check: SampleCheck) -> None:
    """Draw how many samples lie where."""
    ax.set_aspect("equal", adjustable="datalim")
    metres = check.grid is not None and check.grid.unit == "metre"
    if len(x) >= 200:
        drawn = ax.hexbin(x, y, gridsize=max(8, min(60, int(len(x) ** 0.5 / 1.5))), mincnt=1, cmap="viridis_r",
                          norm=LogNorm(), linewidths=0.2)  # fmt: skip
        bar = ax.get_figure(root=True).colorbar(drawn, ax=ax, label="samples", shrink=0.8)  # type: ignore[union-attr]
        bar.set_ticks(log_ticks(1, float(drawn.get_array().max())))  # type: ignore[union-attr]
        bar.minorticks_off()
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        ax.plot(x, y, "o", ms=3, color=GREY)
    if metres:
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}"))
    crs = check.grid.crs if check.grid is not None else check.table.crs
    ax.set_title(f"{len(x):,} samples", fontsize="medium")
    ax.set_xlabel(plain_text(f"{'km, ' if metres else ''}{'CRS unknown' if crs is None else crs.name}"))


def _cells(ax: Axes, elements: pd.DataFrame, n_rows: int) -> None:
    """Draw what share of the cells of each element is measured, censored, over range, a code or negative, missing."""
    lost = elements[["censored", "over_range", "negative", "sentinel", "missing"]].sum(axis=1).to_numpy()
    shown = elements.iloc[(-lost).argsort(kind="stable")[:_BARS]]
    parts = {
        "measured": shown["n"] - shown["censored"] - shown["over_range"] - shown["negative"],
        "below detection": shown["censored"], "over range": shown["over_range"], "negative": shown["negative"],
        "code for no value": shown["sentinel"], "missing": shown["missing"],
    }  # fmt: skip
    colours = dict(zip(parts, [COLOURS[0], *COLOURS[1:5], "0.85"], strict=True))
    place, left = np.arange(len(shown)), np.zeros(len(shown))
    handles: list[Artist] = []
    for name, count in parts.items():
        if count.any():
            share = 100 * count.to_numpy() / max(n_rows, 1)
            ax.barh(place, share, left=left, color=colours[name], height=0.8)
            handles.append(Patch(color=colours[name], label=name))
            left += share
    ax.set_yticks(place, [plain_text(name) for name in shown.index], fontsize="small")
    ax.set_ylim(max(len(shown), 8) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of samples")
    which = "Cells" if len(shown) == len(elements) else f"{len(shown)} of {len(elements)} elements"
    ax.set_title(f"{which}, least measured first", fontsize="medium")
    if handles:
        legend_below(ax, handles, columns=3)


def _spacing(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], check: SampleCheck) -> None:
    """Draw how far it is from each place to the next."""
    places = np.unique(np.column_stack([x, y]), axis=0)
    if check.grid is None or len(places) < 2:
        ax.text(0.5, 0.5, "spacing unknown", ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return
    gap = cKDTree(places).query(places, k=2)[0][:, 1]
    low, high = float(gap.min()), float(gap.max())
    edges = np.geomspace(low, high, 41) if high > low else np.array([low * 0.9, low * 1.1])
    ax.hist(gap, bins=edges.tolist(), color=GREY)
    ax.set_xscale("log")
    ax.set_xticks(log_ticks(edges[0], edges[-1]))
    ax.minorticks_off()
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    size, unit = check.grid.resolution[0], "m" if check.grid.unit == "metre" else check.grid.unit
    ax.axvline(float(np.median(gap)), color=COLOURS[1], label=f"median {float(f'{np.median(gap):.3g}'):,g} {unit}")
    ax.axvline(size, color=COLOURS[2], ls="--", label=f"cell {size:,g} {unit}")
    ax.set_xlabel(f"distance to the next place ({unit})")
    ax.set_ylabel("places")
    ax.legend(fontsize="small", frameon=False)
