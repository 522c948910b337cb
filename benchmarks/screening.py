"""Time and memory of `screen` on 16 bands of 3072 x 3072 cells with 50 deposits, its parts, and a plain way beside it.

The plain way is a whole-band mask and scikit-learn's `roc_auc_score` on the same points, without any test by shifts.
"""

import resource
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import scipy
import sklearn
from affine import Affine
from sklearn.metrics import roc_auc_score

import geoprospect as gp

SIDE, BANDS, DEPOSITS = 3072, 16, 50


def smooth(rng: np.random.Generator) -> np.ndarray:
    """Return a smooth field, like a gridded element."""
    coarse = rng.normal(size=(SIDE // 32, SIDE // 32))
    return scipy.ndimage.zoom(coarse, 32, order=1).astype(np.float32)


def peak() -> float:
    """Return the peak of resident memory so far, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return (kilobytes or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])[0] / 1e6


def main() -> None:
    rng = np.random.default_rng(0)
    grid = gp.Grid("EPSG:32649", Affine(13.4, 0, 5e5, 0, -13.4, 2.5e6), (SIDE, SIDE))
    survey = grid.dataset({f"E{band:02}": smooth(rng) for band in range(BANDS)})
    left, bottom, right, top = grid.bounds
    places = gpd.points_from_xy(rng.uniform(left, right, DEPOSITS), rng.uniform(bottom, top, DEPOSITS))
    deposits = gpd.GeoDataFrame(geometry=places, crs=grid.crs)
    size = sum(band.nbytes for band in survey.data_vars.values()) / 1e9
    print(f"{BANDS} bands x {SIDE}² cells ({size:.2f} GB), {DEPOSITS} deposits; scikit-learn {sklearn.__version__}")
    before = peak()
    rows = []
    for what, arguments in (
        ("screen: 10 draws, 1,999 shifts (default)", {}),
        ("screen: 10 draws, no shifts", {"permutations": 0, "rule": "holm"}),
        ("screen: 10 draws, 9,999 shifts", {"permutations": 9999}),
        ("screen: 100,000 barren cells in one draw", {"n_barren": 100_000, "draws": 1}),
    ):
        start = time.perf_counter()
        gp.screen(survey, deposits, rng=0, **arguments)
        rows.append((what, time.perf_counter() - start, peak() - before))
    start = time.perf_counter()
    points = gp.screening_points(survey, deposits, rng=0)
    rows.append(("screening_points: one draw", time.perf_counter() - start, peak() - before))
    start = time.perf_counter()
    for labels, values in points.values():
        roc_auc_score(labels, values)
    rows.append((f"  roc_auc_score on those {labels.size} points", time.perf_counter() - start, peak() - before))
    print(f"{'':44}{'seconds':>9}{'peak above the survey, GB':>28}")
    for what, seconds, memory in rows:
        print(f"{what:44}{seconds:9.2f}{memory:28.2f}")


if __name__ == "__main__":
    main()
