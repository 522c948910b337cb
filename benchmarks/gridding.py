"""k = 12 nearest-sample gridding of 7,234 samples x 16 elements onto 3072 x 3072 cells, side by side in one run.

Peers at their best: one neighbour query for all elements, all cores. They are run on every 8th block of rows and
scaled, which is marked; ours is run whole, into a buffer that has been written to before.

    python benchmarks/gridding.py
"""

import os
import time

import numba
import numpy as np
import scipy
import scipy.sparse
import sklearn
from scipy.spatial import cKDTree
from sklearn.neighbors import KNeighborsRegressor

import geoprospect as gp
from geoprospect._kernels.idw import idw_nearest

K, ROWS, EVERY = 12, 64, 8
area = gp.synthetic.make_survey(shape=(3072, 3072), missing=0, rng=0)
points, values, grid = area.samples.points, area.samples.values, area.grid
values = np.where(np.isnan(values), 1.0, values)
single = values.astype(np.float32)
t, out = grid.transform, np.zeros((values.shape[1], *grid.shape), dtype=np.float32)


def ours(values):
    idw_nearest(points, values, (t.c, t.f), (t.a, t.e), K, 2.0, out)


def blocks():
    for top in range(0, grid.shape[0], ROWS * EVERY):
        x, y = np.meshgrid(grid.x, grid.y[top : top + ROWS])
        yield top, np.column_stack([x.ravel(), y.ravel()])


def by_tree(query):
    for top, centres in blocks():
        distance, index = query(centres)
        weight = 1 / np.maximum(distance, 1e-9) ** 2
        weight /= weight.sum(axis=1, keepdims=True)
        table = scipy.sparse.csr_matrix(
            (weight.ravel(), index.ravel(), np.arange(0, weight.size + 1, K)), (len(weight), len(points))
        )
        out[:, top : top + ROWS] = (table @ single).T.reshape(-1, ROWS, grid.shape[1])


def by_scipy():
    tree = cKDTree(points)
    by_tree(lambda centres: tree.query(centres, K, workers=-1))


def by_pykdtree():
    from pykdtree.kdtree import KDTree

    tree = KDTree(points)
    by_tree(lambda centres: tree.query(centres, K))


def by_sklearn():
    fitted = KNeighborsRegressor(K, weights=lambda d: 1 / np.maximum(d, 1e-9) ** 2, n_jobs=-1).fit(points, single)
    for top, centres in blocks():
        out[:, top : top + ROWS] = fitted.predict(centres).T.reshape(-1, ROWS, grid.shape[1])


def seconds(work, repeats):
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


ours(values)  # compiles, and touches the buffer
masks = np.where(np.random.default_rng(0).random((len(values), 13)) < 0.1, np.nan, 1.0)
holes = values.copy()
holes[:, :13] *= masks
rows = [
    (f"scipy {scipy.__version__} cKDTree (scaled)", EVERY * seconds(by_scipy, 1)),
    ("geoprospect, buffer reused", seconds(lambda: ours(values), 5)),
    ("geoprospect, 13 elements with gaps of their own", seconds(lambda: ours(holes), 2)),
    (f"scikit-learn {sklearn.__version__} KNeighborsRegressor (scaled)", EVERY * seconds(by_sklearn, 1)),
]
try:
    import pykdtree

    rows.append((f"pykdtree {getattr(pykdtree, '__version__', '')} (scaled)", EVERY * seconds(by_pykdtree, 1)))
except ImportError:
    print("pykdtree is not installed: pip install pykdtree")
print(f"geoprospect {gp.__version__}, numba {numba.__version__}, numpy {np.__version__}, {os.cpu_count()} cores\n")
print("| what | wall, s | times as fast as scipy |\n|---|---|---|")
for name, wall in rows:
    print(f"| {name} | {wall:.2f} | {rows[0][1] / wall:.1f} |")
