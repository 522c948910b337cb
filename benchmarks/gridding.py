"""Inverse distance weighting of 7,234 samples x 16 elements onto 3072 x 3072 cells, side by side in one run.

Everybody runs on all cores, at the best setting that its documentation names, in a process of its own that times
itself. Those whose ratio is claimed take turns, so that the noise of the machine falls on all of them. A ratio compares
turns, each the median of its runs: the least of many runs over the least of few would flatter. Buffers of the result
have been written to before the clock starts, but for the cold calls: the first touch of 0.6 GB may take seconds. What
would take too long is run in part and scaled, wall and CPU seconds: a factor stands beside it. Errors are the largest
of 2,000 cells against sums in float64, relative to the weighted mean of absolute values; cells whose 12th and 13th
sample are equally far are left out, because either is right there.

Peers get coordinates that count from the corner of the grid, because some of them round to float32.

    python benchmarks/gridding.py [--side 3072]
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

# Heavy modules are imported where they are used: a child's peak of memory begins with that of its parent, and the cold
# call counts its imports.

N_SAMPLES, K, POWER, ROUNDS = 7234, 12, 2.0, 3
MISSING = (0.0,) * 4 + (0.01,) * 4 + (0.1,) * 4 + (0.3,) * 3 + (0.7,)  # a survey of 13 masks
EXTENT, CORNER, CRS = 41_164.8, (376_000.0, 2_450_000.0), "EPSG:32649"
ROWS = 64  # of a block that a peer is asked for at once: larger ones are no faster and need more memory
TILE = 128


REUSED, COLD = "geoprospect, buffer reused", "geoprospect, cold call, fresh buffer"
ONE_MASK = "geoprospect, one mask"


# -- the survey --------------------------------------------------------------------------------


def streams(n_samples, rng):
    """Return places of stream sediments, in metres from the north-west corner; shape (N, 2).

    Walks down a tilted plane with a sample after every step, three times as dense on two map sheets; 3 % in tight
    clusters, 1 % taken twice at the same place, all to the metre.
    """
    import numpy as np

    spacing = EXTENT / np.sqrt(n_samples)
    walks, steps = 1 + n_samples // 5, 60
    starts = rng.uniform((-0.2 * EXTENT, -EXTENT), (1.2 * EXTENT, 0.4 * EXTENT), (walks, 1, 2))
    heading = rng.normal(0, 0.7, (walks, 1)) + np.cumsum(rng.normal(0, 0.25, (walks, steps)), axis=1)
    length = spacing * rng.uniform(0.4, 0.9, (walks, steps))
    ways = np.cumsum(np.stack([length * np.sin(heading), -length * np.cos(heading)], axis=-1), axis=1)
    places = (starts + ways).reshape(-1, 2)
    places = places[((places > (0, -EXTENT)) & (places < (EXTENT, 0))).all(axis=1)]
    sheet = np.floor(places * (4, -4) / EXTENT).astype(int)
    dense = ((sheet == (1, 1)) | (sheet == (2, 3))).all(axis=1)
    places = rng.permutation(places[dense | (rng.random(len(places)) < 1 / 3)])[:n_samples]
    assert len(places) == n_samples
    cluster, twice = np.split(rng.permutation(n_samples)[: n_samples // 25], [3 * n_samples // 100])
    centres = places[rng.integers(0, n_samples, 5)]
    places[cluster] = centres[rng.integers(0, 5, cluster.size)] + rng.normal(0, 0.2 * spacing, (cluster.size, 2))
    places[twice] = places[rng.integers(0, n_samples, twice.size)]
    return np.round(np.clip(places, (0, -EXTENT), (EXTENT, 0)))


def measured_values(n_samples, n_elements, rng):
    """Return concentrations and, every fourth, log-ratios of both signs; shape (N, C)."""
    import numpy as np

    values = rng.lognormal(0, 1, (n_samples, n_elements))
    values[:, 3::4] = np.log(values[:, 3::4])
    return values


def without(values, missing, rng):
    """Return the values with a share of each element missing."""
    import numpy as np

    return np.where(rng.random(values.shape) < missing, np.nan, values)


def load(folder):
    import numpy as np

    with np.load(folder / "survey.npz") as survey:
        return survey["points"], survey["values"]


def as_samples(points, values, side):
    """Return the survey as geoprospect has it, in UTM, and the grid."""
    from affine import Affine

    import geoprospect as gp

    names = tuple(f"e{i:02}" for i in range(values.shape[1]))
    cell = EXTENT / side
    grid = gp.Grid(CRS, Affine(cell, 0, CORNER[0], 0, -cell, CORNER[1]), (side, side))
    return gp.Samples(points + CORNER, values, names, ("ppm",) * len(names), CRS), grid


def prepare(folder, side):
    """Write the survey, also for GDAL, compile what will be called, and find the radii that GDAL asks for."""
    import geopandas as gpd
    import numpy as np
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    points, values = streams(N_SAMPLES, rng), measured_values(N_SAMPLES, len(MISSING), rng)
    np.savez(folder / "survey.npz", points=points, values=values)
    for name, corner in (("local", (0, 0)), ("utm", CORNER)):
        table = gpd.GeoDataFrame({"v": values[:, 0]}, geometry=gpd.points_from_xy(*(points + corner).T), crs=CRS)
        table.to_file(folder / f"{name}.gpkg", layer="samples", engine="pyogrio")
    small = as_samples(points, values, 256)
    warnings.simplefilter("ignore")
    import geoprospect as gp

    gp.interpolate(*small, k=K)
    gp.interpolate(*small, k=None)
    coarse = min(side, 384)
    distance = cKDTree(points).query(centres_of(coarse, 0, coarse), K)[0][:, -1]
    # Between two places a distance cannot grow by more than they are apart.
    sure = distance.max() + EXTENT / coarse
    yield "radius", {"sure": float(sure), "most": float(np.quantile(distance, 0.99))}


# -- measuring ---------------------------------------------------------------------------------


def measure(work, repeats=1, factor=1.0):
    """Return wall and CPU seconds of each call, and the peak of memory so far, in GB."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, spent = time.perf_counter(), time.process_time()
        work()
        wall.append(factor * (time.perf_counter() - start))
        cpu.append(factor * (time.process_time() - spent))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"wall": wall, "cpu": cpu, "peak": peak, "factor": factor}


def centres_of(side, top, rows, height=None):
    """Return the cell centres of some rows, from the north-west corner; shape (rows * side, 2)."""
    import numpy as np

    x = (np.arange(side) + 0.5) * (EXTENT / side)
    y = -(np.arange(top, top + rows) + 0.5) * (EXTENT / (height or side))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def exact(points, values, at, k, power=POWER):
    """Return weighted means and weighted means of absolute values in float64, each (C, n); NaN where samples tie."""
    import numpy as np

    found = np.empty((2, values.shape[1], len(at)))
    for start in range(0, len(at), 250):
        part = slice(start, start + 250)
        square = ((at[part, None] - points) ** 2).sum(axis=-1)
        for c, column in enumerate(values.T):
            there = ~np.isnan(column)
            near, v = square[:, there], np.broadcast_to(column[there], (len(square), there.sum()))
            tied = np.zeros(len(near), bool)
            if k is not None:
                order = np.argpartition(near, (k - 1, k), axis=1)[:, : k + 1]
                near, v = (np.take_along_axis(a, order, axis=1) for a in (near, v))
                tied = near[:, k] - near[:, k - 1] <= 1e-12 * near[:, k]
                near, v = near[:, :k], v[:, :k]
            weight = np.maximum(near, 1e-18) ** (-power / 2)
            for row, terms in enumerate((v, np.abs(v))):
                found[row, c, part] = np.where(tied, np.nan, (weight * terms).sum(axis=1) / weight.sum(axis=1))
    return found


def error(out, points, values, k, rows=None, power=POWER):
    """Return the largest error of a result (C, Y, X), of which some rows may have been made."""
    import numpy as np

    rng, side = np.random.default_rng(1), out.shape[2]
    row = rng.choice(np.arange(out.shape[1]) if rows is None else rows, 2000)
    col = rng.integers(0, side, 2000)
    at = np.column_stack([(col + 0.5) * (EXTENT / side), -(row + 0.5) * (EXTENT / out.shape[1])])
    mean, size = exact(points, values[:, : len(out)], at, k, power)
    return float(np.nanmax(np.abs(out[:, row, col] - mean) / size))


# -- peers -------------------------------------------------------------------------------------


def written(side):
    import numpy as np

    return np.ones((len(MISSING), side, side), dtype=np.float32)


def blocks(side, every=1):
    for top in range(0, side, ROWS * every):
        yield top, centres_of(side, top, ROWS)


def spread(query, single, out, every=1):
    """Fill the blocks from one query of (squared distances, indices) for all elements: sparse weights times values."""
    import numpy as np
    from scipy.sparse import csr_matrix

    n_samples = len(single)
    for top, at in blocks(out.shape[2], every):
        square, index = query(at)
        weight = (1 / np.maximum(square, 1e-18)).astype(np.float32)
        weight /= weight.sum(axis=1, keepdims=True)
        table = csr_matrix((weight.ravel(), index.ravel(), np.arange(0, weight.size + 1, K)), (len(at), n_samples))
        out[:, top : top + ROWS] = (table @ single).T.reshape(-1, ROWS, out.shape[2])


def scipy_tree(folder, side):
    import numpy as np
    import scipy.sparse  # noqa: F401  (imported before the clock)
    from scipy.spatial import cKDTree

    (points, values), out = load(folder), written(side)
    single = values.astype(np.float32)

    def work():
        tree = cKDTree(points)

        def query(at):
            distance, index = tree.query(at, K, workers=-1)
            return distance**2, index

        spread(query, single, out)

    record = measure(work)
    yield "scipy cKDTree, one query, all cores", {**record, "error": error(out, points, values, K)}


def scipy_masks(folder, side, every=4):
    """A tree for every mask, because a tree knows of no missing values."""
    import numpy as np
    import scipy.sparse  # noqa: F401
    from scipy.spatial import cKDTree

    (points, values), out = load(folder), written(side)
    values = without(values, MISSING, np.random.default_rng(2))
    single = values.astype(np.float32)
    whole = [c for c, share in enumerate(MISSING) if not share]

    def work():
        for members in [whole] + [[c] for c, share in enumerate(MISSING) if share]:
            there = ~np.isnan(values[:, members[0]])
            tree, made = cKDTree(points[there]), np.empty((len(members), *out.shape[1:]), np.float32)

            def query(at, tree=tree):
                distance, index = tree.query(at, K, workers=-1)
                return distance**2, index

            spread(query, single[there][:, members], made, every)
            out[members] = made

    rows = [top + i for top, _ in blocks(side, every) for i in range(ROWS)]
    record = measure(work, factor=side / len(rows))
    yield "scipy cKDTree, 13 masks, a query for each", {**record, "error": error(out, points, values, K, rows)}


def pykdtree_tree(folder, side, dtype="float32"):
    import numpy as np
    import scipy.sparse  # noqa: F401
    from pykdtree.kdtree import KDTree

    (points, values), out = load(folder), written(side)
    single = values.astype(np.float32)

    def work():
        tree = KDTree(points.astype(dtype))
        spread(lambda at: tree.query(at.astype(dtype), K, sqr_dists=True), single, out)

    record = measure(work)
    yield f"pykdtree {dtype}, one query, all cores", {**record, "error": error(out, points, values, K)}


def pykdtree_double(folder, side):
    yield from pykdtree_tree(folder, side, "float64")


def sklearn_neighbors(folder, side):
    import numpy as np
    from sklearn.neighbors import KNeighborsRegressor

    (points, values), out = load(folder), written(side)
    single = values.astype(np.float32)

    def work():
        # Its own weights="distance" is power 1.
        fitted = KNeighborsRegressor(
            K, weights=lambda distance: np.maximum(distance, 1e-9) ** -2, algorithm="kd_tree", n_jobs=-1
        ).fit(points, single)
        for top, at in blocks(side):
            out[:, top : top + ROWS] = fitted.predict(at).T.reshape(-1, ROWS, side)

    record = measure(work)
    yield "scikit-learn KNeighborsRegressor, n_jobs=-1", {**record, "error": error(out, points, values, K)}


def verde_neighbors(folder, side):
    """One element a fit. Its reduction sees no distances, so it is a plain mean of the 12: held against that."""
    import numpy as np
    import verde

    (points, values), out = load(folder), np.ones((1, side, side), dtype=np.float32)

    def work():
        fitted = verde.KNeighbors(k=K, reduction=np.mean).fit(tuple(points.T), values[:, 0])
        for top, at in blocks(side):
            out[0, top : top + ROWS] = fitted.predict(tuple(at.T)).reshape(ROWS, side)

    record = measure(work, factor=len(MISSING))
    yield "verde KNeighbors (a mean without weights)", {**record, "error": error(out, points, values, K, power=0)}


def gdal_grid(folder, side, algorithm, rows, survey="local"):
    """Run gdal_grid for one element on some rows, and return what it took and the raster; scaled to all of them.

    Starting up and reading the samples is taken from a run of one row, and is not multiplied by the rows.
    """
    left, top = CORNER if survey == "utm" else (0, 0)
    taken = {}
    for height in (1, rows):
        command = ["gdal_grid", "-q", "-a", algorithm, "-ot", "Float32", "-l", "samples", "-zfield", "v"]
        command += ["-txe", str(left), str(left + EXTENT), "-tye", str(top), str(top - EXTENT)]
        command += ["-outsize", str(side), str(height), "--config", "GDAL_NUM_THREADS", "ALL_CPUS"]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*command, folder / f"{survey}.gpkg", folder / "gdal.tif"], check=True)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        taken[height] = wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    factor, n = side / rows, len(MISSING)
    wall, cpu = ([n * (one + factor * (some - one))] for one, some in zip(taken[1], taken[rows], strict=True))
    record = {"wall": wall, "cpu": cpu, "peak": after.ru_maxrss / 1e6, "factor": factor * n}

    import rasterio

    with rasterio.open(folder / "gdal.tif") as file:
        assert file.transform.e < 0
        return record, file.read()


def gdal_nearest(folder, side, which="sure"):
    radius = json.loads((folder / "radius.json").read_text())[which]
    rows = side // 16
    record, out = gdal_grid(folder, side, f"invdistnn:power=2:max_points={K}:radius={radius}", rows)
    record["error"] = error(out, *load(folder), K)
    reach = "each cell" if which == "sure" else "99 % of cells"
    yield f"gdal_grid invdistnn, radius of {radius:,.0f} m: {K} samples for {reach}", record


def gdal_nearest_most(folder, side):
    yield from gdal_nearest(folder, side, "most")


def gdal_all(folder, side):
    """With these very settings GDAL has a path of AVX instructions in float32."""
    record, out = gdal_grid(folder, side, "invdist:power=2:smoothing=0", side)
    yield "gdal_grid invdist (AVX, float32)", {**record, "error": error(out, *load(folder), None)}


def gdal_all_utm(folder, side):
    rows = side // 16
    record, out = gdal_grid(folder, side, "invdist:power=2:smoothing=0", rows, "utm")
    yield "gdal_grid invdist, UTM coordinates as they come", {**record, "error": error(out, *load(folder), None)}


# -- geoprospect -------------------------------------------------------------------------------


def arguments(points, side):
    return points, (0.0, 0.0), (EXTENT / side, -EXTENT / side)


def kernel(folder, side):
    from geoprospect.gridding._idw_nearest import idw_nearest

    (points, values), out = load(folder), written(side)
    points, *place = arguments(points, side)

    def work():
        idw_nearest(points, values, *place, K, POWER, out)

    work()  # loads what was compiled
    record = measure(work, 5)
    yield REUSED, {**record, "error": error(out, points, values, K)}


def masks(folder, side):
    """One mask and many, in turns."""
    import numpy as np

    from geoprospect.gridding._idw_nearest import idw_nearest

    (points, values), out, rng = load(folder), written(side), np.random.default_rng(2)
    points, *place = arguments(points, side)
    surveys = {
        ONE_MASK: values,
        "geoprospect, 13 masks (4 whole, 4 lack 1 %, 4 10 %, 3 30 %, 1 70 %)": without(values, MISSING, rng),
        "geoprospect, 14 masks (3 whole, 13 lack 10 %)": without(values, (0.0,) * 3 + (0.1,) * 13, rng),
    }
    records = {name: [] for name in surveys}
    for turn in range(6):
        for name, holed in surveys.items():
            record = measure(lambda holed=holed: idw_nearest(points, holed, *place, K, POWER, out))
            if turn:  # the first loads what was compiled
                records[name].append(record)
            if turn == 5:
                record["error"] = error(out, points, holed, K)
    for name, found in records.items():
        wall, cpu = ([r[what][0] for r in found] for what in ("wall", "cpu"))
        yield name, {**found[-1], "wall": wall, "cpu": cpu, "turns": wall}


def cold(folder, side, k=K):
    """Call the public function once, and say too how long that took from the start of Python on."""
    warnings.simplefilter("ignore")  # cells are finer than the samples warrant
    samples, grid = as_samples(*load(folder), side)
    import rioxarray  # noqa: F401

    from geoprospect import interpolate

    found = []
    record = measure(lambda: found.append(interpolate(samples, grid, k=k)))
    since, cpu = time.time() - float(os.environ["STARTED"]), time.process_time()
    record["error"] = error(found[0].to_dataarray().values, *load(folder), k)
    yield COLD, record
    yield "geoprospect, the same with Python's start and imports", {**record, "wall": [since], "cpu": [cpu]}


def far(folder, side):
    from geoprospect.gridding._idw_all import idw_all

    (points, values), out = load(folder), written(side)
    points, *place = arguments(points, side)

    def work():
        idw_all(points, values, *place, POWER, out)

    work()
    record = measure(work, 3)
    yield REUSED, {**record, "error": error(out, points, values, None)}


def far_cold(folder, side):
    yield from cold(folder, side, None)


def direct(folder, side, every=8):
    import numpy as np

    from geoprospect.gridding._idw_all import idw_all

    (points, values), out = load(folder), written(side)
    points, *place = arguments(points, side)
    part = np.ones((len(MISSING), TILE, side), dtype=np.float32)
    tops = range(0, side, TILE * every)

    def work():
        for top in tops:
            idw_all(points, values, *place, POWER, part, (top, 0), direct=True)
            out[:, top : top + TILE] = part

    idw_all(points, values, *place, POWER, part[:, :, :TILE].copy(), direct=True)
    rows = [top + i for top in tops for i in range(TILE)]
    record = measure(work, factor=side / len(rows))
    yield "geoprospect, method='idw-direct' (float64)", {**record, "error": error(out, points, values, None, rows)}


# -- the run -----------------------------------------------------------------------------------


def run(name, folder, side):
    """Run a contender in a process of its own."""
    env = {**os.environ, "STARTED": str(time.time())}
    command = [sys.executable, __file__, "--side", str(side), "--contender", name, "--folder", folder]
    found = subprocess.run(command, env=env, capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"{name}: {found.stderr}")
    return json.loads(found.stdout.splitlines()[-1])


def gather(folder, side, turns, once):
    """Run some in turns, others once, and put the results of each together."""
    records = {}
    for name in [*turns] * ROUNDS + [*once]:
        for label, record in run(name, folder, side).items():
            kept = records.setdefault(label, {**record, "wall": [], "cpu": [], "turns": []})
            kept["wall"] += record["wall"]
            kept["cpu"] += record["cpu"]
            kept["turns"] += record.get("turns", [statistics.median(record["wall"])])
            kept["peak"] = max(kept["peak"], record["peak"])
            kept["error"] = max(kept["error"], record["error"])
    return records


def show(title, records, ours):
    """Print a table of seconds, and one of the ratios to our own."""
    print(f"\n## {title}\n\n| what | runs | scaled by | wall, s: least | median | CPU, s | peak, GB | largest error |")
    print("|---|---|---|---|---|---|---|---|")
    for label, r in records.items():
        least, median, cpu = min(r["wall"]), statistics.median(r["wall"]), statistics.median(r["cpu"])
        factor = "" if r["factor"] == 1 else f"{r['factor']:g}"
        print(
            f"| {label} | {len(r['wall'])} | {factor} | {least:.2f} | {median:.2f} | {cpu:.2f} | {r['peak']:.2f} "
            f"| {r['error']:.1e} |"
        )
    print(f"\n| seconds over those of | {' | '.join(f'{label}: medians | least' for label in ours)} |")
    print(f"|---|{'---|---|' * len(ours)}")
    for label, r in records.items():
        ratios = []
        for own in (records[o]["turns"] for o in ours):
            ratios.append(f"{statistics.median(r['turns']) / statistics.median(own):.2f}")
            # The least of a few over the only one says nothing.
            ratios.append(f"{min(r['turns']) / min(own):.2f}" if len(r["turns"]) == len(own) else "")
        print(f"| {label} | {' | '.join(ratios)} |")
    sys.stdout.flush()


def describe(packages):
    """Print the machine and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = [line.split(":")[1].strip() for line in lines if "model name" in line]
    versions = [f"Python {sys.version.split()[0]}"]
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} is not installed")
    if shutil.which("gdal_grid"):
        said = subprocess.run(["gdal_grid", "--version"], capture_output=True, text=True).stdout
        versions.append(f"gdal_grid {said.split(',')[0].split()[-1]}")
    print(f"{os.cpu_count()} cores of {found[0] if found else '?'}, load {os.getloadavg()[0]:.1f} at the start")
    print(", ".join(versions), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=3072, help="cells along the grid, a multiple of 512")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender:
        (contender,) = (f for f in (prepare, *ALL) if f.__name__ == asked.contender)
        print(json.dumps(dict(contender(asked.folder, asked.side))))
        return
    print(f"{N_SAMPLES:,} samples x {len(MISSING)} elements -> {asked.side} x {asked.side} cells, power {POWER:g}")
    describe("geoprospect numba numpy scipy scikit-learn pykdtree verde".split())
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        (folder / "radius.json").write_text(json.dumps(run("prepare", folder, asked.side)["radius"]))
        for title, turns, once, ours in TABLES:
            turns, once = ([f.__name__ for f in some if there(f)] for some in (turns, once))
            show(title, gather(folder, asked.side, turns, once), ours)


def there(contender):
    """Return whether what a contender needs is installed."""
    name = contender.__name__.split("_")[0]
    if name == "gdal":
        return shutil.which("gdal_grid") is not None
    return name not in ("pykdtree", "verde") or importlib.util.find_spec(name) is not None


# Title, those that take turns, those that run once, whose seconds the others are divided by.
TABLES = (
    (f"{K} nearest samples", (kernel, cold, scipy_tree, pykdtree_tree),
     (pykdtree_double, sklearn_neighbors, verde_neighbors, gdal_nearest, gdal_nearest_most), (REUSED, COLD)),
    (f"{K} nearest samples, some values missing", (), (masks, scipy_masks), (ONE_MASK,)),
    ("All samples", (far, far_cold, gdal_all), (gdal_all_utm, direct), (REUSED, COLD)),
)  # fmt: skip
ALL = [contender for _, turns, once, _ in TABLES for contender in (*turns, *once)]

if __name__ == "__main__":
    main()
