"""Axes, colours, legends and layers of maps with north up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import shapely
import xarray as xr
from affine import Affine
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray
from pyproj import Transformer

from geoprospect._checks import check_names
from geoprospect.errors import CRSError, InputError
from geoprospect.grid import Grid, HasGeometry

# Okabe & Ito's colours, told apart with any colour vision; without the yellow, faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ORE, BARREN, GREY = "#D55E00", "#0072B2", "#B4B4B4"
_NO_DATA: dict[str, Any] = {"facecolor": "#F2F2F2", "edgecolor": "#C4C4C4", "hatch": "////", "linewidth": 0.0}
# From this ratio of the robust range's ends on, a linear scale hides the lower half of the values.
_WIDE = 10.0


_Cells = np.ma.MaskedArray[Any, np.dtype[np.float32]]
# Values, their colour scale, and on which sides they reach beyond it.
_Scaled = tuple[_Cells, Normalize, Literal["neither", "min", "max", "both"]]


def check_layers(grid: Grid, **layers: Any) -> None:
    """Raise for a layer that cannot be drawn, before a figure is made that would be left over."""
    for name, layer in layers.items():
        if layer is not None and name in ("samples", "deposits"):
            _points(name, layer, grid)
        elif layer is not None and layer.crs is None:
            raise CRSError(f"{name}: no CRS is known, and one is never guessed; set it with .set_crs('EPSG:…')")
    if layers.get("cells") is not None:
        check_names("cells", ["cell"], list(layers["cells"].columns), "column")


def new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return `ax`, or the axes of a new figure of `size` inches."""
    if ax is None:
        made: Axes = plt.subplots(figsize=size, layout="constrained")[1]
        return made
    if not isinstance(ax, Axes):
        raise InputError(f"ax={ax!r}: needs a matplotlib Axes; make one with figure, ax = plt.subplots()")
    return ax


def new_map(ax: Axes | None, grid: Grid) -> Axes:
    """Return an axes for a map of the grid, in its proportions."""
    height = _height(grid)
    size = (5.4, 5.4 * height) if height <= 1.3 else (7.0 / height, 7.0)
    return new_axes(ax, (max(size[0], 2.5) + 1.5, max(size[1], 1.5) + 1.1))


def _aspect(grid: Grid) -> float:
    """Return the length of a unit northwards over one eastwards; degrees of longitude shrink with latitude."""
    middle = (grid.bounds[1] + grid.bounds[3]) / 2
    return float(1 / max(np.cos(np.radians(middle)), 0.05)) if grid.crs.is_geographic else 1.0


def _height(grid: Grid) -> float:
    """Return the height of the map over its width."""
    left, bottom, right, top = grid.bounds
    return (top - bottom) / (right - left) * _aspect(grid)


def frame_of(grid: Grid, layer: gpd.GeoDataFrame | None) -> Grid:
    """Return the grid, or one cell about it and the layer where that reaches farther."""
    if layer is None or layer.empty:
        return grid
    bounds = np.array([grid.bounds, layer.to_crs(grid.crs).total_bounds])
    (left, bottom), (right, top) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    if (left, bottom, right, top) == grid.bounds:
        return grid
    return Grid(grid.crs, Affine(right - left, 0, left, 0, bottom - top, top), (1, 1))


def finish_map(ax: Axes, grid: Grid, handles: Sequence[Artist], gaps: bool = False) -> Axes:
    """Set limits, labels and legend, after the layers, which may reach beyond the grid.

    With `gaps` some of the map has no data even where no image has a masked cell.
    """
    left, bottom, right, top = grid.bounds
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect=_aspect(grid))
    # Hatching would shine through a translucent map; there the base shows where data are missing.
    masked = any(np.ma.is_masked(image.get_array()) for image in ax.images)
    if (masked or gaps) and all(image.get_alpha() is None for image in ax.images):
        ax.patch.set(**_NO_DATA)
        handles = [*handles, Patch(**_NO_DATA, label="no data, or no window fits" if gaps else "no data")]
    scale, unit = (1000, "km") if grid.unit == "metre" else (1, grid.unit)
    names = ("Longitude (°)", "Latitude (°)") if grid.crs.is_geographic else (f"Easting ({unit})", f"Northing ({unit})")
    for axis, name, share in zip((ax.xaxis, ax.yaxis), names, (1 / _height(grid), _height(grid)), strict=True):
        # geopandas labels the axes of a base layer in small print.
        axis.set_label_text(plain_text(name), fontsize=plt.rcParams["axes.labelsize"])
        # A side that is short on paper has room for few labels.
        axis.set_major_locator(MaxNLocator(max(2, round(6 * min(1, share))), steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / scale + 0.0:.10g}"))
    ax.set_title(plain_text(grid.crs.name), loc="right", fontsize=7, color="0.4", pad=3)
    if handles:
        legend_below(ax, handles)
    return ax


def legend_below(ax: Axes, handles: Sequence[Artist], columns: int = 5) -> None:
    """Put the legend under the axis label, a fixed number of points down, where it hides no data."""
    down = ScaledTranslation(0, -36 / 72, ax.figure.dpi_scale_trans)
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=ax.transAxes + down,
              ncols=min(columns, len(handles)), frameon=False, fontsize=8, borderaxespad=0)  # fmt: skip


def plain_text(text: object) -> str:
    """Return `text` so that matplotlib shows it as it is: no mathematics, no hidden legend entry."""
    shown = str(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def colours_for(count: int) -> list[Any]:
    """Return `count` colours that can be told apart."""
    return list(COLOURS[:count]) if count <= len(COLOURS) else list(plt.get_cmap("viridis")(np.linspace(0, 1, count)))


def band_label(band: xr.DataArray) -> str:
    """Return the name of a band with its unit."""
    name, units = band.attrs.get("long_name") or band.name, band.attrs.get("units")
    return f"{name} ({units})" if units and units != "1" else str(name)


def cell_values(band: xr.DataArray, what: str) -> _Cells:
    """Return the band as (ny, nx), masked where it is not finite."""
    if set(band.dims) != {"y", "x"}:
        raise InputError(f"{what}: {band.name!r} has dims {band.dims}, needs ('y', 'x'); select one layer")
    return np.ma.masked_invalid(np.asarray(band.transpose("y", "x"), dtype=np.float32))


def colour_scaled(band: xr.DataArray, log: bool | None) -> _Scaled:
    """Return the values of a band of the survey with a colour scale over their robust range."""
    values = cell_values(band, "survey")
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


def draw_raster(
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
        bar.set_ticks(log_ticks(*(float(end) for end in (norm.vmin, norm.vmax) if end is not None)))
        bar.minorticks_off()
        bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
    bar.set_label(plain_text(label))


def log_ticks(low: float, high: float) -> list[float]:
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


def draw_base(ax: Axes, base: gpd.GeoDataFrame | None, grid: Grid) -> None:
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


def _points(what: str, layer: HasGeometry, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of the points of a layer that lie on the map."""
    kinds = set(layer.geometry.geom_type)
    if kinds - {"Point"}:
        raise InputError(f"{what}: geometry is {', '.join(map(str, kinds))}, needs points; take representative_point()")
    x, y = grid.points(layer.geometry)
    on = grid.contains(x, y)
    return x[on], y[on]


def draw_samples(ax: Axes, samples: HasGeometry | None, grid: Grid) -> list[Artist]:
    """Draw the samples on the map as small points; return their legend entries."""
    if samples is None:
        return []
    x, y = _points("samples", samples, grid)
    size = float(np.clip(3000 / max(len(x), 1), 0.8, 8))
    ax.scatter(x, y, s=size, color="black", linewidths=0, alpha=0.7, zorder=3)
    return [Line2D([], [], color="black", marker="o", markersize=2.5, linestyle="", label=f"samples ({len(x)})")]


def draw_deposits(ax: Axes, deposits: HasGeometry | None, grid: Grid, colour: str = ORE) -> list[Artist]:
    """Draw the deposits on the map as triangles; return their legend entries."""
    if deposits is None:
        return []
    x, y = _points("deposits", deposits, grid)
    drawn = ax.scatter(x, y, s=34, marker="^", color=colour, edgecolors="white", linewidths=0.9, zorder=7)
    drawn.set_label(f"known deposits ({len(x)})")
    return [drawn]


def draw_cells(
    ax: Axes, cells: gpd.GeoDataFrame | None, grid: Grid, deposits: HasGeometry | None = None
) -> list[Artist]:
    """Outline numbered rectangles, ore ones on top; the number stands in a corner off the deposits, or above them."""
    if cells is None:
        return []
    x, y = (np.empty(0),) * 2 if deposits is None else _points("deposits", deposits, grid)
    placed = cells.to_crs(grid.crs)
    ore = placed["label"].eq(1).to_numpy() if "label" in placed.columns else np.zeros(len(placed), dtype=bool)
    # White on black can be seen on the dark, the bright and the empty.
    dark = [patheffects.withStroke(linewidth=2.2, foreground="black")]
    ax.add_collection(LineCollection(rings(placed[~ore]), colors="0.75", linewidths=0.3, zorder=4))
    ax.add_collection(LineCollection(rings(placed[ore]), colors="white", linewidths=1.1, zorder=4, path_effects=dark))
    halo = [patheffects.withStroke(linewidth=1.6, foreground="black")]
    for number, rectangle, bold in zip(placed["cell"], placed.geometry, ore, strict=True):
        place, east, south = _free_corner(rectangle.bounds, x, y)
        ax.annotate(plain_text(number), place, (-2 if east else 2, 2 if south else -2), textcoords="offset points",
                    ha="right" if east else "left", va="bottom" if south else "top", zorder=8,
                    fontsize=6 if bold else 5, fontweight="bold" if bold else "normal", color="white",
                    path_effects=halo, annotation_clip=True)  # fmt: skip
    outline = Line2D([], [], color="white", linewidth=1.1, path_effects=dark, label=f"cells called ore ({ore.sum()})")
    return [outline] if ore.any() else []


def _free_corner(
    bounds: tuple[float, float, float, float], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[tuple[float, float], bool, bool]:
    """Return a corner of a cell, and whether it is an eastern and a southern one: where no point is in the way.

    The north-western one where that is free; else the one that is farthest from any point.
    """
    left, bottom, right, top = bounds
    across, down = (x - left) / (right - left), (top - y) / (top - bottom)  # in cells
    corners = [(east, south) for south in (False, True) for east in (False, True)]
    # A number takes up some half of a small cell, beginning at the corner.
    gap = [np.hypot(across - abs(e - 0.25), down - abs(s - 0.2)).min(initial=9.0) for e, s in corners]
    east, south = corners[0 if gap[0] > 0.4 else int(np.argmax(gap))]
    return (right if east else left, bottom if south else top), east, south


def rings(frame: gpd.GeoDataFrame) -> list[NDArray[np.float64]]:
    """Return the corners of every rectangle, shape (5, 2)."""
    return [shapely.get_coordinates(rectangle) for rectangle in frame.geometry]
