"""How large ground is: areas of cells, on the ellipsoid where coordinates are angles."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod

from geoprospect.errors import CRSError
from geoprospect.grid import Grid

Floats = NDArray[np.float64]


def unit_km(crs: CRS) -> float:
    """Return the length of one unit of a projected CRS in km."""
    return float(crs.axis_info[0].unit_conversion_factor) / 1000


def cell_areas(grid: Grid) -> Floats:
    """Return the area of the cells of each row in km², (Y, 1)."""
    if not grid.crs.is_geographic:
        return np.full((grid.shape[0], 1), grid.cell_area * unit_km(grid.crs) ** 2)
    dy, dx = grid.resolution
    to_radians = float(grid.crs.axis_info[0].unit_conversion_factor)
    edges = np.clip(grid.bounds[3] - dy * np.arange(grid.shape[0] + 1), -np.pi / 2 / to_radians, np.pi / 2 / to_radians)
    geod = ellipsoid(grid.crs)
    zone: Floats = -np.diff(_authalic(np.sin(edges * to_radians), math.sqrt(geod.es)))
    return (geod.a / 1000) ** 2 / 2 * dx * to_radians * zone[:, None]


def ellipsoid(crs: CRS) -> Geod:
    """Return the ellipsoid of a CRS, to measure on."""
    geod = crs.get_geod()
    if geod is None:
        raise CRSError(f"crs={crs.name!r}: has no ellipsoid, so there are no areas; bring the map into a projected CRS")
    return geod


def _authalic(sine: Floats, e: float) -> Floats:
    """Return what the area between equator and latitude grows with: 2 sin(latitude) on a sphere."""
    if e < 1e-9:
        return 2 * sine
    return (1 - e**2) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e)
