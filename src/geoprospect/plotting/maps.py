"""Draw maps with north up: samples, bands, windows, folds, probability."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from geoprospect._checks import check_int, check_names, check_output_file
from geoprospect.errors import CRSError, InputError
from geoprospect.geochem.samples import Samples
from geoprospect.grid import Grid, HasGeometry, check_north_up
from geoprospect.plotting._axes import (
    BARREN,
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
    new_map,
    rings,
)

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
        Points, in any CRS; those on the grid are drawn and counted. Of `Samples` that hold the element,
        only those with a value of it.
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
    if isinstance(samples, Samples) and element in samples.elements:
        samples = samples.geometry[~np.isnan(samples[element].values[:, 0])]
    grid, scaled = Grid.of(band), colour_scaled(band, log)
    check_north_up(grid, "survey")
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
    check_north_up(grid, "probability")
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
    handles = [*draw_cells(ax, cells, grid, deposits), *draw_deposits(ax, deposits, frame)]
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
