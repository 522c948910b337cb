"""Memory of gridding 4 elements block by block into a file, for a small and a large grid.

Each is gridded and written in a process of its own, `write_cog(interpolate(samples, grid, chunks=1024), path)`, with
cells of the same size and the same samples spread over the grid. The peak of memory is that of the process, with Python
and libraries; the large grid should need no more than 1.1 times that of the small one. Needs some 20 GB on the disk.

    python benchmarks/gridding_memory.py [--side 20000] [--folder /somewhere/with/room]
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from gridding import describe

# Nothing heavy is imported here: a child's peak of memory begins with that of its parent.

SMALL, CHUNKS, ELEMENTS, CELL = 3072, 1024, 4, 13.4
RUNS = 3  # of the small grid, whose peak is a matter of which allocations meet
# A COG is staged without compression, with overviews, before it is copied; values of float32 hardly compress.
BYTES = ELEMENTS * 4 * 2.7


def write(how, side, folder):
    """Grid and write, and say what that took."""
    import numpy as np
    from affine import Affine
    from gridding import EXTENT, N_SAMPLES, measured_values, streams

    import geoprospect as gp

    warnings.simplefilter("ignore")  # cells are finer than the samples warrant
    rng, corner = np.random.default_rng(0), np.array([376_000.0, 2_450_000.0])
    points, names = streams(N_SAMPLES, rng) * (CELL * side / EXTENT) + corner, tuple("abcd")
    samples = gp.Samples(points, measured_values(N_SAMPLES, ELEMENTS, rng), names, ("ppm",) * ELEMENTS, "EPSG:32649")
    grid = gp.Grid("EPSG:32649", Affine(CELL, 0, corner[0], 0, -CELL, corner[1]), (side, side))
    writers = {"cog": (gp.write_cog, "survey.tif"), "zarr": (gp.write_zarr, "survey.zarr")}
    writer, name = writers[how]
    start = time.perf_counter()
    written = writer(gp.interpolate(samples, grid, chunks=CHUNKS), folder / name)
    wall = time.perf_counter() - start
    files = [file for file in written.rglob("*") if file.is_file()] if written.is_dir() else [written]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"wall": wall, "peak": peak, "size": sum(file.stat().st_size for file in files) / 1e9}


def run(how, side, folder):
    """Write in a process of its own, and delete what was written."""
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        command = [sys.executable, __file__, "--write", how, "--side", str(side), "--folder", kept]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            sys.exit(f"{how}, {side}: {found.stderr}")
        return json.loads(found.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000, help="cells along the large grid")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where there is room")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        print(json.dumps(write(asked.write, asked.side, asked.folder)))
        return
    need, free = BYTES * asked.side**2, shutil.disk_usage(asked.folder).free
    if need > free:
        sys.exit(f"{asked.folder} has {free / 1e9:.0f} GB free, {need / 1e9:.0f} are needed; pass another --folder")
    print(f"4 elements, chunks of {CHUNKS} cells; at most {need / 1e9:.0f} GB of {free / 1e9:.0f} free on the disk")
    describe("geoprospect dask numba numpy rasterio xarray zarr".split())
    for how in ("cog", "zarr"):
        run(how, 1024, asked.folder)  # so that everything is compiled
    print("\n| what | cells along a side | raster, GB | file, GB | wall, s | peak, GB | over the small grid |")
    print("|---|---|---|---|---|---|---|")
    for how in ("cog", "zarr"):
        small = None
        for side in (SMALL, asked.side):
            found = [run(how, side, asked.folder) for _ in range(RUNS if small is None else 1)]
            r = {what: statistics.median(one[what] for one in found) for what in found[0]}
            small, peaks = small or r["peak"], " ".join(f"{one['peak']:.3f}" for one in found)
            print(
                f"| write_{how} | {side:,} | {ELEMENTS * 4 * side**2 / 1e9:.2f} | {r['size']:.2f} | {r['wall']:.1f} "
                f"| {peaks} | {r['peak'] / small:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
