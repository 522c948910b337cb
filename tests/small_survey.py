"""A small survey and samples of two and three elements, with gaps, limits and values over range."""

import numpy as np
import rioxarray  # noqa: F401  (for .rio)
from affine import Affine

import geoprospect as gp

GRID = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 0), (4, 5))


def survey():
    rng = np.random.default_rng(0)
    cu, au = rng.lognormal(3, 1, GRID.shape).astype(np.float32), rng.normal(-5, 1e-3, GRID.shape)
    cu[0, :2] = np.nan
    attrs = {"Cu": {"units": "ppm", "long_name": "copper", "valid_max": 100}, "Au": {"units": "ppb"}}
    return GRID.dataset({"Cu": cu, "Au": au}, attrs)


def samples(n=40, names="Cu Zn Au", units="ppm ppm ppb", seed=0):
    rng, names, units = np.random.default_rng(seed), names.split(), units.split()
    values = rng.lognormal(3, 1, (n, len(names)))
    censored = np.zeros(values.shape, dtype=bool)
    censored[:3, -1] = True
    over = np.zeros(values.shape, dtype=bool)
    over[5, 0] = True
    limits = np.where(censored, 2 * values, np.where(over, values, np.nan))
    points = rng.uniform([5e5, 2e6], [5.1e5, 2.01e6], (n, 2))
    return gp.Samples(points, values, names, units, "EPSG:32649", limits, censored, over)
