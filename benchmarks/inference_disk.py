"""Maps from disk to disk: what compression, missing data and a stop cost, beside the same map in memory.

Each case is a process of its own on one thread of torch, with a network of random weights; all look at the same noise
through the same windows. "time" is CPU seconds, of reading and writing too, over those of `predict` on the survey in
memory without gaps. Without data in half of it: the western half; in 95 %: all but a strip in the east. "cells asked
for" are those of the pieces that were read, over those of the survey; "bytes read" are those that the process read,
over those of the file.

- after a stop: the call that takes the map up when half of its tiles are there;
- a loop over windows: each read from the COG, scaled, and asked for by itself; a tenth of them, and the time scaled.

    python benchmarks/inference_disk.py [--cells 2048] [--network shufflenet_v2_x1_0] [--stride 32]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import rasterio.shutil
import torch
from affine import Affine
from rasterio.windows import Window

import geoprospect as gp
from geoprospect.io import disk_sources
from geoprospect.models.networks import build_network
from geoprospect.prediction import resume

BANDS, SIZE, CROP = 4, 256, 224


class StoppedError(Exception):
    """Half of the tiles are there."""


def model_of(network):
    names = tuple(f"b{band}" for band in range(BANDS))
    return gp.ProspectivityModel(
        networks=(build_network(network, BANDS).eval(),), network=network, bands=names, units=("ppm",) * BANDS,
        offset=np.zeros(BANDS), scale=np.ones(BANDS), size=SIZE, crop=CROP, cell_size=(10.0, 10.0), seed=0,
        history=pd.DataFrame(), settings={"halo": 64},
    )  # fmt: skip


def survey_of(cells, without):
    """Noise on hills, rounded as assays are; a share of the ground, from the west, without data."""
    draws = np.random.default_rng(0)
    grid = gp.Grid("EPSG:32649", Affine(10, 0, 0, 0, -10, 0), (cells, cells))
    bands = {}
    for band in range(BANDS):
        hills = draws.normal(size=(cells // 64 + 1, cells // 64 + 1)).repeat(64, 0).repeat(64, 1)[:cells, :cells]
        values = np.round(hills + 0.1 * draws.normal(size=grid.shape), 2).astype(np.float32)
        values[:, : int(cells * without)] = np.nan
        bands[f"b{band}"] = values
    return grid.dataset(bands, {name: {"units": "ppm"} for name in bands})


def keep(survey, kind, folder):
    """Write a survey in some way and return where it is."""
    if kind == "Zarr":
        return gp.write_zarr(survey, folder / "survey.zarr")
    path = gp.write_cog(survey, folder / "survey.tif")
    if kind == "COG, zstd":
        with rasterio.open(path) as source:
            how = {"driver": "COG", "compress": "zstd", "predictor": 3, "blocksize": 512}
            rasterio.shutil.copy(source, folder / "zstd.tif", **how)
        path = folder / "zstd.tif"
    return path


def from_disk():
    """Return the bytes that this process has read so far."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


def by_loop(model, path, stride):
    """Every tenth window: read, scaled and asked for by itself."""
    with rasterio.open(path) as source, torch.inference_mode():
        places = [
            (row, col)
            for row in range(0, source.height - CROP + 1, stride)
            for col in range(0, source.width - CROP + 1, stride)
        ]
        some = places[::10]
        start = time.process_time()
        for row, col in some:
            values = source.read(window=Window(col, row, CROP, CROP))
            valid = np.isfinite(values)
            x = np.where(valid, (values - model.offset[:, None, None]) / model.scale[:, None, None], 0)
            torch.softmax(model.networks[0](torch.from_numpy(x[None].astype(np.float32))), 1)[0, 1].item()
    return (time.process_time() - start) * len(places) / len(some)


def one(case):
    """Make one map in this process, and print what it took as JSON."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model, folder = model_of(case["network"]), Path(case["folder"])
    how = {"stride": case["stride"], "device": "cpu", "mode": case["mode"]}
    # What is loaded and compiled on the first call is not counted.
    gp.predict_to_cog(model, survey_of(512, 0), folder / "first.tif", **how)
    if case["kind"] == "memory":
        survey = survey_of(case["cells"], case["without"])
        start = time.process_time()
        gp.predict(model, survey, **how)
        print(json.dumps({"time": time.process_time() - start, "peak": peak()}))
        return
    path = Path(case["path"])
    if case["kind"] == "loop":
        print(json.dumps({"time": by_loop(model, path, case["stride"]), "peak": peak()}))
        return
    asked, kind = [0], disk_sources._Store if path.suffix == ".zarr" else disk_sources._Tiffs
    read = kind.read

    def counted(self, bands, rows, cols, into=None):
        asked[0] += (rows.stop - rows.start) * (cols.stop - cols.start)
        return read(self, bands, rows, cols, into)

    kind.read = counted
    if case["kind"] == "stop":
        entered, left = resume.Partial.keep, [gp.plan_inference(model, path, **how).n_tiles // 2]

        def until_half(self, *found):
            if not left[0]:
                raise StoppedError
            left[0] -= 1
            entered(self, *found)

        resume.Partial.keep = until_half
        try:
            gp.predict_to_cog(model, path, folder / "map.tif", **how)
        except StoppedError:
            resume.Partial.keep = entered
    asked[0], before, start = 0, from_disk(), time.process_time()
    gp.predict_to_cog(model, path, folder / "map.tif", **how)
    took = time.process_time() - start
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    print(
        json.dumps({
            "time": took, "read": asked[0] / case["cells"] ** 2, "disk": (from_disk() - before) / size, "peak": peak(),
        })
    )  # fmt: skip


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=2048)
    parser.add_argument("--network", default="shufflenet_v2_x1_0")
    parser.add_argument("--stride", type=int, default=32)
    parser.add_argument("--case")
    asked = parser.parse_args()
    if asked.case:
        one(json.loads(asked.case))
        return
    print(f"geoprospect {gp.__version__}, torch {torch.__version__}, rasterio {rasterio.__version__}; {asked.network},")
    print(f"{BANDS} bands of {asked.cells:,}² cells, windows of {CROP} every {asked.stride}\n")
    print("| survey | without data | mode | time | cells asked for | bytes read | peak, GB |")
    print("|---|---|---|---|---|---|---|")
    whole = {}

    def told(name, kind, without, mode, path=None):
        with tempfile.TemporaryDirectory() as folder:
            case = {"kind": kind, "without": without, "mode": mode, "folder": folder, "path": str(path)}
            case |= {name: getattr(asked, name) for name in ("cells", "network", "stride")}
            call = [sys.executable, __file__, "--case", json.dumps(case)]
            done = subprocess.run(call, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        whole.setdefault(mode, found["time"])  # the first of a mode: in memory, without gaps
        took = f"{found['time'] / whole[mode]:.2f}" + (f" ({found['time']:.1f} s)" if kind == "memory" else "")
        read = f"{found['read']:.2f} | {found['disk']:.2f}" if "read" in found else "– | –"
        print(f"| {name} | {without:.0%} | {mode} | {took} | {read} | {found['peak']:.2f} |", flush=True)

    for mode in ("window", "dense"):
        for without in (0, 0.5, 0.95):
            told("in memory", "memory", without, mode)
    for without in (0, 0.5, 0.95):
        for kind in ("COG, deflate", "COG, zstd", "Zarr"):
            with tempfile.TemporaryDirectory() as folder:
                path = keep(survey_of(asked.cells, without), kind, Path(folder))
                for mode in ("window", "dense"):
                    told(kind, "disk", without, mode, path)
                if kind == "COG, deflate" and not without:
                    for mode in ("window", "dense"):
                        told("COG, deflate, after a stop at half", "stop", without, mode, path)
                    told("COG, deflate, a loop over windows", "loop", without, "window", path)


if __name__ == "__main__":
    main()
