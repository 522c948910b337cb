"""How fast maps are made: window by window against other ways of sliding, and the features of the ground once.

Random weights, bands of noise, in memory. All rows of a table predict the same windows of the same survey, in turn;
the shortest of the rounds counts. Times are CPU seconds on one thread, or wall seconds on a GPU.

- the network alone: one batch that lies on the device, again and again: what feeding cannot beat;
- a plain loop: one window at a time, cut from an array, scaled, and sent;
- MONAI: `sliding_window_inference` over the scaled survey on the device, the probability of a window spread over its
  cells, as its merging by means wants it (left out where MONAI is not installed);
- TorchGeo's style: a sampler of boxes, a dataset that cuts and scales each, torch's DataLoader; written here after its
  manner, TorchGeo itself is not used.

Of the dense table the windows are predicted in part, and their time is scaled by their number. "resident" leaves out
what comes before: the networks are ready, and the ground lies on the device, scaled.

    python benchmarks/inference.py [--device cpu] [--cells 1024] [--strides 64] [--networks resnet50] [--rounds 3]
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from affine import Affine
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

import geoprospect as gp
from geoprospect.io.sources import InMemory
from geoprospect.models.architectures import ARCHITECTURES
from geoprospect.models.networks import build_network
from geoprospect.prediction.engine import Engine, Ground, tiles
from geoprospect.prediction.predict import map_settings
from geoprospect.prediction.settings import PredictionSettings

try:
    import monai
    from monai.inferers import sliding_window_inference
except ImportError:
    monai = None

BANDS, SIZE, CROP = 8, 256, 224
SLOW_WINDOWS = 1024  # of which the time of a plain loop and of TorchGeo's style is taken, and scaled
WINDOWS_ALONE = 49  # of which the time of one window is taken in the dense table


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


def seconds(work, device, rounds=1):
    """The shortest of some rounds; the first call is not counted."""
    return in_turn({"": work}, device, rounds)[""]


def in_turn(works, device, rounds):
    """The shortest of some rounds of each, one after the other; the first is not counted."""
    best = dict.fromkeys(works, float("inf"))
    for number in range(rounds + 1):
        for name, work in works.items():
            now = time.process_time if device.type == "cpu" else time.perf_counter
            start = now()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                best[name] = min(best[name], now() - start)
    return best


def most_flops(device, low):
    """Operations a second of a product of large matrices."""
    n = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16 if low else torch.float32) for _ in range(2))
    return 2 * n**3 / seconds(lambda: a @ b, device, 5)


class Boxes(Dataset):
    """A window at a time, as TorchGeo's datasets give them."""

    def __init__(self, cells, stride, most):
        self.cells = cells
        self.places = [(r, c) for r in range(0, cells.shape[1] - CROP + 1, stride)
                       for c in range(0, cells.shape[2] - CROP + 1, stride)][:most]  # fmt: skip

    def __len__(self):
        return len(self.places)

    def __getitem__(self, i):
        row, col = self.places[i]
        return torch.from_numpy((self.cells[:, row : row + CROP, col : col + CROP] - 0.0) / 1.0)


def of_the_engine(model, survey, settings, device):
    source = InMemory(survey)
    strips = tiles(source.grid.strided(CROP, settings.stride).shape, CROP, settings, 4 * BANDS)
    engine = Engine(model, settings, device)

    def work():
        return sum(found["probability"].size for strip in strips for _, found in engine.run(source, strip))

    return work, engine


def sliding(name, cells, stride, device, rounds, compiled):
    """Other ways of asking the same network about the same windows."""
    model, survey = study(name, cells)
    raw = np.stack([survey[b].values for b in model.bands])
    settings = map_settings(model, InMemory(survey), stride, device, PredictionSettings())
    work, engine = of_the_engine(model, survey, settings, device)
    count = work()
    low = settings.dtype == "bfloat16"
    resident = torch.randn(settings.batch, BANDS, CROP, CROP, device=device).contiguous(
        memory_format=torch.channels_last
    )
    resident = resident.to(engine._ground_dtype)
    net = model.networks[0].to(device, memory_format=torch.channels_last)
    some = min(count, SLOW_WINDOWS)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=low)

    def alone():
        with torch.inference_mode():
            for _ in range(count // settings.batch):
                engine._logits(0, resident, True)
            if left := count % settings.batch:
                engine._logits(0, resident[:left], True)

    def loop():
        with torch.inference_mode(), mixed:
            for row, col in Boxes(raw, stride, some).places:
                window = (raw[None, :, row : row + CROP, col : col + CROP] - 0.0) / 1.0
                torch.softmax(net(torch.from_numpy(window).to(device)).float(), 1)[:, 1].cpu()

    def torchgeo():
        with torch.inference_mode(), mixed:
            for x in DataLoader(Boxes(raw, stride, some), settings.batch):
                torch.softmax(net(x.to(device)).float(), 1)[:, 1].cpu()

    def by_monai():
        with torch.inference_mode(), mixed:
            ground = torch.from_numpy((raw - 0.0) / 1.0)[None].to(device)
            sliding_window_inference(
                ground, CROP, settings.batch,
                lambda x: torch.softmax(net(x).float(), 1)[:, 1:, None, None].expand(-1, 1, CROP, CROP).contiguous(),
                overlap=1 - stride / CROP,
            )  # fmt: skip

    rows = {"the network alone": alone, "geoprospect": work, "a plain loop": loop, "TorchGeo's style": torchgeo}
    if device.type == "cuda" and compiled:
        rows["geoprospect, compiled"], faster = of_the_engine(model, survey, settings, device)
        faster._networks = [torch.compile(one, dynamic=False) for one in faster._networks]
    if monai is not None:
        rows[f"MONAI {monai.__version__}"] = by_monai
    took = in_turn(rows, device, rounds)
    for what in ("a plain loop", "TorchGeo's style"):
        took[what] *= count / some
    net.cpu()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, BANDS, CROP, CROP))
    share = count * counter.get_total_flops() / took["geoprospect"] / most_flops(device, low)
    for what, s in took.items():
        print(
            f"| {name} | {stride} | {what} | {count:,} | {s:.2f} | {count / s:,.1f} | {s / took['geoprospect']:.2f} |",
            flush=True,
        )
    feed, speed = took["the network alone"] / took["geoprospect"], cells**2 / took["geoprospect"] / 1e6
    print(
        f"| {name} | {stride} | *feed efficiency {feed:.3f}, {share:.0%} of a product of matrices, {speed:.2f} million "
        "cells of the survey a second* | | | | |"
    )


def dense(name, cells, device):
    model, survey = study(name, cells)
    sparse = max(1, (cells - CROP) // round(WINDOWS_ALONE**0.5 - 1))
    if device.type == "cuda":  # where few windows are mostly launches, all of them are taken
        sparse = 32
    n = ((cells - CROP) // sparse + 1) ** 2
    some = seconds(resident(model, survey, sparse, "window", device), device)
    before = max(0.0, seconds(lambda: gp.predict(model, survey, sparse, str(device)), device) - some)
    for stride in (32, 16, 8):
        count = ((cells - CROP) // stride + 1) ** 2
        took = seconds(lambda s=stride: gp.predict(model, survey, s, str(device), mode="dense"), device)
        alone = seconds(resident(model, survey, stride, "dense", device), device)
        windows = some / n * count
        print(
            f"| {name} | {stride} | {count:,} | {before + windows:.2f} | {took:.3f} | {(before + windows) / took:.0f} "
            f"| {windows:.2f} | {alone:.4f} | {windows / alone:.0f} |",
            flush=True,
        )


def resident(model, survey, stride, mode, device):
    """Return a call that makes a map from ground that lies on the device, by networks that are ready."""
    source = InMemory(survey)
    settings = map_settings(model, source, stride, device, PredictionSettings(mode=mode))
    engine, (ny, nx) = Engine(model, settings, device), source.grid.shape
    with torch.inference_mode():
        ground = Ground(model, ny, nx, device, engine._ground_dtype, [source.packing(band) for band in model.bands])
        ground.add(torch.from_numpy(source.read(model.bands, slice(0, ny), slice(0, nx))).to(device))
    strips = tiles(source.grid.strided(CROP, stride).shape, CROP, settings, 4 * BANDS)

    def work():
        with torch.inference_mode():
            for tile in (tile for strip in strips for tile in strip):
                engine._predicted(ground, tile, 0, lambda windows: None)

    return work


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cells", type=int, default=1024)
    parser.add_argument("--strides", type=int, nargs="+", help="of the first table; default 64 on a CPU, 32 on a GPU")
    parser.add_argument("--networks", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    strides = asked.strides or [32 if device.type == "cuda" else 64]
    print(f"geoprospect {gp.__version__}, torch {torch.__version__}, {where}; {asked.cells}² cells x {BANDS} bands, "
          f"windows of {CROP}\n")  # fmt: skip
    print("| network | stride | way | windows | s | windows/s | over geoprospect |\n|---|---|---|---|---|---|---|")
    for place, name in enumerate(asked.networks[:2]):
        for stride in strides:
            sliding(name, asked.cells, stride, device, asked.rounds, compiled=place == 0)
    print("\n| network | stride | windows | by window, s (scaled) | dense, s | ratio | by window, resident, s (scaled) "
          "| dense, resident, s | ratio |\n" + "|---" * 9 + "|")  # fmt: skip
    for name in asked.networks:
        dense(name, asked.cells, device)


if __name__ == "__main__":
    main()
