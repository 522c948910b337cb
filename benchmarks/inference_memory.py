"""Memory and bytes of maps from disk to disk, of a small and of a large survey.

Each map is made by a process of its own from a COG (or a Zarr store), with a small network and windows far apart, so
that reading is what takes the time. "cells read" counts whole rows of blocks, as the plan does; "peak" is the most
memory that the process held, Python, torch and all.

    python benchmarks/inference_memory.py [--cells 3072 20000] [--bands 4] [--stride 128]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

import geoprospect as gp
from geoprospect.models.networks import build_network

SIZE, CROP = 256, 224


def survey(folder, cells, bands, compress):
    """Write smooth noise, one block row after the other."""
    path, draws = Path(folder) / f"{cells}.tif", np.random.default_rng(0)
    profile = {"driver": "GTiff", "width": cells, "height": cells, "count": bands, "dtype": "float32", "tiled": True,
               "blockxsize": 512, "blockysize": 512, "compress": compress, "predictor": 3, "crs": "EPSG:32649",
               "transform": Affine(10, 0, 0, 0, -10, 0), "bigtiff": "if_safer"}  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        for row in range(0, cells, 512):
            height = min(512, cells - row)
            coarse = draws.normal(size=(bands, height // 64 + 1, cells // 64 + 1)).astype(np.float32)
            fine = np.round(coarse.repeat(64, 1).repeat(64, 2)[:, :height, :cells], 1)
            target.write(fine, window=Window(0, row, cells, height))
        for band in range(1, bands + 1):
            target.set_band_description(band, f"b{band}")
            target.set_band_unit(band, "ppm")
    return path


def make(path, bands, stride):
    """Make the map in this process and say what it took."""
    torch.set_num_threads(1)
    names = tuple(f"b{band}" for band in range(1, bands + 1))
    model = gp.ProspectivityModel(
        networks=(build_network("shufflenet_v2_x1_0", bands).eval(),), network="shufflenet_v2_x1_0", bands=names,
        units=("ppm",) * bands, offset=np.zeros(bands), scale=np.ones(bands), size=SIZE, crop=CROP,
        cell_size=(10.0, 10.0), seed=0, history=pd.DataFrame(), settings={},
    )  # fmt: skip
    start = time.perf_counter()
    gp.predict_to_cog(model, path, Path(path).with_suffix(".map.tif"), stride, "cpu")
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = gp.plan_inference(model, path, stride, "cpu")
    read = plan.bytes_read / plan.bytes_survey
    print(f"{plan.windows:,} | {took:.0f} | {read:.2f} | {peak / 2**20:.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, nargs="+", default=[3072, 20_000])
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--stride", type=int, default=128)
    parser.add_argument("--compress", default="deflate")
    parser.add_argument("--path")
    asked = parser.parse_args()
    if asked.path:
        make(asked.path, asked.bands, asked.stride)
        return
    print(f"geoprospect {gp.__version__}, torch {torch.__version__}; {asked.bands} bands, {asked.compress},")
    print(f"shufflenet, windows of {CROP} every {asked.stride} cells\n")
    print("| cells | windows | wall, s | cells read / cells | peak, GB |\n|---|---|---|---|---|")
    for cells in asked.cells:
        with tempfile.TemporaryDirectory() as folder:
            path = survey(folder, cells, asked.bands, asked.compress)
            call = [sys.executable, "-W", "ignore", __file__, "--path", path, "--bands", str(asked.bands)]
            done = subprocess.run([*call, "--stride", str(asked.stride)], check=True, capture_output=True, text=True)
            print(f"| {cells:,}² | {done.stdout.strip()} |", flush=True)


if __name__ == "__main__":
    main()
