"""From a probability map to a ranked layer of prospecting targets."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import rasterio.features
import scipy.ndimage
import shapely
import shapely.geometry
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import check_number
from geoprospect.errors import CRSError, InputError
from geoprospect.grid import Grid


def delineate(
    probability: xr.DataArray,
    threshold: float = 0.5,
    deposits: gpd.GeoDataFrame | None = None,
    *,
    min_area: float = 0.0,
    reach: float | None = None,
) -> gpd.GeoDataFrame:
    """Outline connected ground of high probability and rank it.

    Parameters
    ----------
    probability : xarray.DataArray
        Probability of ore with dims (y, x); NaN is no ground.
    threshold : float, default 0.5
        Least probability of a target, within (0, 1].
    deposits : GeoDataFrame, optional
        Known deposits, to tell new targets from known ground.
    min_area : float, default 0
        Targets smaller than this many km² are left out.
    reach : float, optional
        How far outside a target a deposit still counts as its own, in CRS units. Default: half the
        window that the map was predicted from (``window_width`` in its attributes), because a cell
        speaks for the window about it; 0 where the map does not say.

    Returns
    -------
    GeoDataFrame
        Polygons in the CRS of the map, the highest ``max_probability`` first (ties: the higher
        mean, then the larger): ``rank`` from 1, ``area_km2``, ``mean_probability``,
        ``max_probability``, ``n_deposits`` (within `reach`), ``known`` (there are some),
        ``distance_km`` to the nearest deposit (NaN without deposits), ``x`` and ``y`` of the cell with
        the highest probability. Cells belong together when they share an edge.
        Empty when nothing reaches the threshold.

    Raises
    ------
    InputError
        When the dims are not (y, x), or the threshold is out of range.
    CRSError
        When the map or the deposits have no CRS.

    Examples
    --------
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(1000, 0, 0, 0, -1000, 4000), (2, 4))
    >>> p = np.array([[0.9, 0.7, 0.1, 0.6], [0.2, 0.1, 0.1, 0.2]])
    >>> targets = gp.delineate(grid.dataset({"probability": p}).probability)
    >>> targets[["rank", "area_km2", "mean_probability", "x", "y"]]
       rank  area_km2  mean_probability       x       y
    0     1       2.0               0.8   500.0  3500.0
    1     2       1.0               0.6  3500.0  3500.0
    """
    threshold = check_number("threshold", threshold, above=0, maximum=1)
    min_area = check_number("min_area", min_area, minimum=0)
    if not isinstance(probability, xr.DataArray):
        raise InputError(
            f"probability: is a {type(probability).__name__}, needs one variable of the map; pass result.probability"
        )
    if set(probability.dims) != {"y", "x"}:
        raise InputError(f"probability: has dims {probability.dims}, needs ('y', 'x'); pick one variable of the result")
    if deposits is not None and deposits.crs is None:
        raise CRSError("deposits: carry no CRS; set one with .set_crs('EPSG:…')")
    grid = Grid.of(probability)
    values = probability.transpose("y", "x").to_numpy().astype(np.float64)
    # Compared as the map stores them: 0.7 in float32 lies below 0.7 in float64. NaN is no ground.
    labels, n = scipy.ndimage.label((probability.transpose("y", "x") >= threshold).to_numpy())
    at = np.arange(1, n + 1)
    peaks = np.array(scipy.ndimage.maximum_position(values, labels, at), dtype=np.int64).reshape(-1, 2)
    x, y = grid.xy(peaks[:, 0], peaks[:, 1])
    frame = gpd.GeoDataFrame(
        {
            "mean_probability": scipy.ndimage.mean(values, labels, at) if n else np.empty(0),
            "max_probability": values[peaks[:, 0], peaks[:, 1]],
            "x": x,
            "y": y,
        },
        geometry=_outlines(labels.astype(np.int32), grid),
        crs=grid.crs,
    )
    frame["area_km2"] = _square_kilometres(frame)
    margin = float(probability.attrs.get("window_width", 0)) / 2 if reach is None else check_number("reach", reach, 0)
    frame["n_deposits"], frame["distance_km"] = _nearby(frame, deposits, margin)
    frame["known"] = frame["n_deposits"] > 0
    frame = frame[frame["area_km2"] >= min_area]
    frame = frame.sort_values(
        ["max_probability", "mean_probability", "area_km2"],
        ascending=False,
        kind="stable",
        key=lambda column: column.round(9),  # the mean of many 0.7 is not quite 0.7
    )
    frame = frame.reset_index(drop=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    columns = ["rank", "area_km2", "mean_probability", "max_probability", "n_deposits", "known", "distance_km",
               "x", "y", "geometry"]  # fmt: skip
    return frame[columns]


def _outlines(labels: np.ndarray, grid: Grid) -> list[shapely.Geometry]:
    """Return one polygon per label 1 … n, in order."""
    shapes = rasterio.features.shapes(labels, mask=labels > 0, connectivity=4, transform=grid.transform)
    by_label = {int(label): shapely.geometry.shape(outline) for outline, label in shapes}
    return [by_label[label] for label in sorted(by_label)]


def _square_kilometres(frame: gpd.GeoDataFrame) -> gpd.GeoSeries:
    """Return areas; on the ellipsoid where the CRS is in degrees."""
    if frame.crs.is_projected:
        metres = frame.crs.axis_info[0].unit_conversion_factor
        return frame.area * metres**2 / 1e6
    geod = frame.crs.get_geod()
    return frame.geometry.map(lambda polygon: abs(geod.geometry_area_perimeter(polygon)[0]) / 1e6).astype(float)


def _nearby(
    frame: gpd.GeoDataFrame, deposits: gpd.GeoDataFrame | None, reach: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each target the number of deposits within `reach`, and the distance to the nearest in km."""
    if deposits is None or deposits.empty or frame.empty:
        return np.zeros(len(frame), dtype=np.int64), np.full(len(frame), np.nan)
    points = deposits.geometry.to_crs(frame.crs).to_numpy()
    distance = np.array([shapely.distance(target, points) for target in frame.geometry])  # (targets, deposits)
    unit = frame.crs.axis_info[0].unit_conversion_factor if frame.crs.is_projected else np.nan  # degrees are no length
    return (distance <= reach).sum(axis=1), distance.min(axis=1) * unit / 1000
