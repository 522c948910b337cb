"""How fast maps are made: the features of the ground once, against every window by itself.

Random weights, bands of noise, in memory. Both modes run in turn on the same survey; of the windows a part is predicted
and the time scaled by their number, since the whole would take an hour. Times are CPU seconds on one thread, or wall
seconds on a GPU; the first call of each is not counted.

    python benchmarks/inference.py [--device cpu] [--cells 1024] [--networks resnet50 resnet18 ...]
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from affine import Affine

import geoprospect as gp
from geoprospect.networks import NETWORKS, build_network

BANDS, SIZE, CROP = 8, 256, 224
WINDOWS_ALONE = 49  # of which the time of one window is taken


def study(name, cells):
    grid = gp.Grid("EPSG:32649", Affine(10, 0, 0, 0, -10, 0), (cells, cells))
    draws, bands = np.random.default_rng(0), [f"b{i}" for i in range(BANDS)]
    survey = grid.dataset(
        {name: draws.normal(size=grid.shape).astype(np.float32) for name in bands}, {b: {"units": "ppm"} for b in bands}
    )
    model = gp.ProspectivityModel(
        networks=(build_network(name, BANDS).eval(),), network=name, bands=tuple(bands), units=("ppm",) * BANDS,
        offset=np.zeros(BANDS), scale=np.ones(BANDS), size=SIZE, crop=CROP, cell_size=(10.0, 10.0), seed=0,
        history=pd.DataFrame(), settings={"halo": 64},
    )  # fmt: skip
    return model, survey


def seconds(work, gpu):
    work()
    now = time.perf_counter if gpu else time.process_time
    start = now()
    work()
    return now() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cells", type=int, default=1024)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    asked = parser.parse_args()
    gpu = asked.device != "cpu"
    if not gpu:
        torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if gpu else "CPU, one thread"
    print(f"geoprospect {gp.__version__}, torch {torch.__version__}, {where}; {asked.cells}² cells x {BANDS} bands, "
          f"windows of {CROP}\n")  # fmt: skip
    print("| network | stride | windows | by window, s (scaled) | dense, s | ratio |\n|---|---|---|---|---|---|")
    for name in asked.networks:
        model, survey = study(name, asked.cells)
        sparse = max(1, (asked.cells - CROP) // round(WINDOWS_ALONE**0.5 - 1))
        some = seconds(lambda m=model, s=survey, k=sparse: gp.predict(m, s, k, asked.device), gpu)
        one = some / ((asked.cells - CROP) // sparse + 1) ** 2
        for stride in (32, 16, 8):
            count = ((asked.cells - CROP) // stride + 1) ** 2
            dense = seconds(lambda m=model, s=survey, k=stride: gp.predict(m, s, k, asked.device, mode="dense"), gpu)
            print(f"| {name} | {stride} | {count:,} | {one * count:.1f} | {dense:.2f} | {one * count / dense:.0f} |")


if __name__ == "__main__":
    main()
