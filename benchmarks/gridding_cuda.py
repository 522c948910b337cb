"""Inverse distance weighting of 7,234 samples x 16 elements onto 3072 x 3072 cells, on a GPU.

Samples lie at random. One mask: no value is missing. 13 masks: 4 elements are whole, 4 lack 1 % of their values, 4 lack
10 %, 3 lack 30 % and 1 lacks 70 %, each others. The error is the largest of 2,000 random cells against brute force in
float64, relative to the weighted mean of absolute values. Without a GPU the grid is 384 x 384, on the CPU.

    python benchmarks/gridding_cuda.py
"""

import time

import numpy as np
import torch

from geoprospect.gridding._idw_torch import idw_on_device

N, SIDE, CELL, REPEATS = 7234, 3072, 30.0, 3
MISSING = [0.0] * 4 + [0.01] * 4 + [0.1] * 4 + [0.3] * 3 + [0.7]
ORIGIN = (500_000.0, 2_600_000.0)

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
side = SIDE if device.type == "cuda" else SIDE // 8
step = (CELL * SIDE / side, -CELL * SIDE / side)
rng = np.random.default_rng(0)
points = np.array(ORIGIN) + rng.uniform(0, CELL * SIDE, (N, 2)) * (1, -1)
whole = rng.lognormal(0, 1, (N, len(MISSING)))
holed = np.where(rng.random(whole.shape) < MISSING, np.nan, whole)


def finish():
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(values, k):
    """Return the best of some runs after one that warms up, the result, and the peak of memory in GB."""
    best = np.inf
    for _ in range(1 + REPEATS if device.type == "cuda" else 2):
        out = None  # a result takes 0.6 GB
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        finish()
        start = time.perf_counter()
        out = idw_on_device(points, values, ORIGIN, step, (side, side), k, 2.0, device)
        finish()
        best = min(best if _ else np.inf, time.perf_counter() - start)
    return best, out, torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else np.nan


def error(out, values, k, n_cells=2000):
    rows, cols = np.random.default_rng(1).integers(0, side, (2, n_cells))
    found = out[:, torch.from_numpy(rows).to(device), torch.from_numpy(cols).to(device)].cpu().numpy()
    x, y = ORIGIN[0] + step[0] * (cols + 0.5), ORIGIN[1] + step[1] * (rows + 0.5)
    worst = 0.0
    for element, column in zip(found, values.T, strict=True):
        there = ~np.isnan(column)
        square = (x[:, None] - points[there, 0]) ** 2 + (y[:, None] - points[there, 1]) ** 2
        value = np.broadcast_to(column[there], square.shape)
        if k is not None:
            order = np.argsort(square, axis=1, kind="stable")[:, :k]
            square, value = (np.take_along_axis(a, order, axis=1) for a in (square, value))
        weight = square.min(axis=1, keepdims=True) / square
        worst = max(worst, np.abs(element / ((weight * value).sum(axis=1) / weight.sum(axis=1)) - 1).max())
    return worst


name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
print(f"{name}, torch {torch.__version__}, {N:,} samples x {len(MISSING)} elements -> {side} x {side}\n")
if device.type == "cpu":
    print(f"No GPU here: one run on a grid of {side} x {side} cells on the CPU, which says nothing about a GPU.\n")
print("| samples | masks | wall, s | largest error | peak, GB |\n|---|---|---|---|---|")
for k in (12, None):
    for masks, values in ((1, whole), (13, holed)):
        wall, out, peak = seconds(values, k)
        print(f"| {f'{k} nearest' if k else 'all'} | {masks} | {wall:.3f} | {error(out, values, k):.1e} | {peak:.1f} |")
