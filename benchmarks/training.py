"""How fast training is fed, against the ways in which windows are usually fed to torch; on a GPU also the whole paper.

Feed efficiency is the time of the library's own steps on one batch that lies on the device, over the time with the
windows drawn, cut, turned and cropped. All rows train the same network on as many windows, in one run, taking turns;
the shortest of the epochs counts. "Feeding alone" is the time of an epoch's batches, on the device, with no network
behind them.

- geoprospect: the survey lies on the device, windows are gathered there by index;
- DataLoader: a map-style Dataset that cuts and turns each window with numpy, default collation, 0 or 2 workers;
- TorchGeo's style: a random sampler of bounding boxes in CRS units and a dataset that reads each from a tiled,
  compressed GeoTIFF through rasterio (left out where rasterio is not installed); written here after its manner,
  TorchGeo itself is not used.

    python benchmarks/training.py [cpu|cuda]
"""

import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from affine import Affine
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

import geoprospect as gp
from geoprospect.models import training
from geoprospect.models._patches import channels_last
from geoprospect.models.networks import build_network

try:
    import rasterio
except ImportError:
    rasterio = None

device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda" if torch.cuda.is_available() else "cpu")
GPU = device.type == "cuda"
NAME, CELLS, SIZE, CROP, N, ROUNDS = ("resnet50", 3072, 256, 224, 437, 5) if GPU else ("resnet18", 512, 64, 56, 64, 15)
BANDS, BATCH = 8, 32

rng = np.random.default_rng(0)
cells = rng.normal(size=(BANDS, CELLS, CELLS)).astype(np.float32)
grid = gp.Grid("EPSG:32649", Affine(10, 0, 0, 0, -10, 0), (CELLS, CELLS))
rows, cols = rng.integers(0, CELLS - SIZE, (2, N))
labels = np.arange(N) % 2
points = np.column_stack([grid.x[cols[labels == 1] + SIZE // 2], grid.y[rows[labels == 1] + SIZE // 2]])
deposits = np.where(labels == 1, np.cumsum(labels) - 1, -1)
windows = gp.Windows(grid, rows, cols, labels, deposits, range(len(points)), points, SIZE, CROP)
recipe = gp.Recipe.of("default", batch=BATCH, lr=1e-3)


class Cut(Dataset):
    """A window at a time, out of an array, cropped and flipped with numpy."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        top, left = windows.rows[i], windows.cols[i]
        x = cells[:, top : top + SIZE, left : left + SIZE]
        dy, dx = np.random.randint(0, SIZE - CROP + 1, 2)  # noqa: NPY002
        return turned(x[:, dy : dy + CROP, dx : dx + CROP]), labels[i]


def turned(x):
    flip_y, flip_x, swap = np.random.randint(0, 2, 3)  # noqa: NPY002
    x = x[:, ::-1] if flip_y else x
    x = x[:, :, ::-1] if flip_x else x
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1) if swap else x))


class RandomBoxes(Sampler):
    """Bounding boxes at random places, in CRS units."""

    def __iter__(self):
        left, bottom, right, top = grid.bounds
        side = CROP * 10
        for _ in range(N):
            x, y = rng.uniform(left, right - side), rng.uniform(bottom, top - side)
            yield x, y, x + side, y + side

    def __len__(self):
        return N


class Raster(Dataset):
    """Reads a bounding box from a file at each call."""

    def __init__(self, path):
        self.path = path

    def __getitem__(self, box):
        with rasterio.open(self.path) as source:
            window = rasterio.windows.from_bounds(*box, transform=source.transform)
            x = source.read(window=window.round_offsets(), out_shape=(BANDS, CROP, CROP))
        return turned(x), int(box[0] > box[1])


def step(network, optimizer, x, truth):
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=GPU):
        logits = network(x)
    torch.nn.functional.cross_entropy(logits.float(), truth).backward()
    optimizer.step()


def network_and_optimizer():
    network = build_network(NAME, BANDS).to(device, memory_format=torch.channels_last)
    return network, torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)


class Plain:
    """The usual loop over batches that something yields."""

    def __init__(self, batches):
        self.batches = batches
        self.network, self.optimizer = network_and_optimizer()

    def feed(self, number):
        for x, truth in self.batches:
            yield (
                x.to(device, non_blocking=True, memory_format=torch.channels_last),
                truth.to(device, non_blocking=True),
            )

    def train(self, number):
        self.network.train()
        for x, truth in self.feed(number):
            step(self.network, self.optimizer, x, truth)


class Ours:
    """The loop of the library."""

    def __init__(self):
        stack = channels_last(torch.from_numpy(cells).to(device))
        self.task = training._Task(windows, None, stack, recipe, 0, 0, 0, tqdm(disable=True))
        self.network, self.optimizer = network_and_optimizer()

    def feed(self, number):
        looks = training._Looks.drawn(windows, recipe, self.task.draws(number), device)
        for part in training._slices(0, N, -(-N // BATCH)):
            yield looks.cut(self.task.stack, part, CROP, 0)

    def train(self, number):
        training._epoch(self.network, self.optimizer, self.task, number)


class Batches:
    """Stands for the windows of an epoch, and gives one batch that lies on the device."""

    def __init__(self, batches):
        self.of_size = {len(truth): (x, truth) for x, truth in batches}

    def drawn(self, *_):
        return self

    def cut(self, stack, part, *_):
        return self.of_size[part.stop - part.start]


class Resident(Ours):
    """The loop of the library on one batch: what is left when nothing has to be drawn or cut."""

    def __init__(self):
        super().__init__()
        self.batches = Batches(resident())

    def feed(self, number):
        return ()

    def train(self, number):
        with mock.patch.object(training, "_Looks", self.batches):
            super().train(number)


def resident():
    """Return one batch of each size that an epoch has, on the device."""
    whole = torch.randn(BATCH, BANDS, CROP, CROP, device=device).to(memory_format=torch.channels_last)
    truth = torch.arange(BATCH, device=device) % 2
    sizes = [part.stop - part.start for part in training._slices(0, N, -(-N // BATCH))]
    return [(whole[:size], truth[:size]) for size in sizes]


def loader(dataset, workers, **order):
    return DataLoader(dataset, BATCH, num_workers=workers, persistent_workers=workers > 0, pin_memory=GPU, **order)


def seconds(work):
    start = time.perf_counter()
    work()
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def exhaust(batches):
    for _ in batches:
        pass


def as_geotiff(folder):
    path = Path(folder) / "survey.tif"
    profile = {"driver": "GTiff", "width": CELLS, "height": CELLS, "count": BANDS, "dtype": "float32", "tiled": True,
               "compress": "deflate", "crs": "EPSG:32649", "transform": grid.transform}  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(cells)
    return path


def compare(folder):
    ways = {
        "one resident batch": Resident(),
        "geoprospect": Ours(),
        "one resident batch, plain loop": Plain(resident()),
        "DataLoader, 0 workers": Plain(loader(Cut(), 0, shuffle=True)),
        "DataLoader, 2 workers": Plain(loader(Cut(), 2, shuffle=True)),
    }
    if rasterio is not None:
        raster = Raster(as_geotiff(folder))
        ways["TorchGeo's style, 0 workers"] = Plain(loader(raster, 0, sampler=RandomBoxes()))
        ways["TorchGeo's style, 2 workers"] = Plain(loader(raster, 2, sampler=RandomBoxes()))
    fed, trained = {way: [] for way in ways}, {way: [] for way in ways}
    with training._as_if_alone(device, recipe):
        for number in range(1, ROUNDS + 2):
            for name, way in ways.items():
                fed[name].append(seconds(lambda way=way, number=number: exhaust(way.feed(number))))
                trained[name].append(seconds(lambda way=way, number=number: way.train(number)))
    alone, took = ({name: min(times[1:]) for name, times in each.items()} for each in (fed, trained))
    print(
        "| windows from | feeding alone, ms | training, ms | windows/s | feed efficiency | geoprospect is faster by |"
    )
    print("|---|---|---|---|---|---|")
    for name, each in took.items():
        efficiency, ratio = took["one resident batch"] / each, each / took["geoprospect"]
        times = f"{1000 * alone[name]:.1f} | {1000 * each:.0f} | {N / each:.1f}"
        print(f"| {name} | {times} | {efficiency:.3f} | {ratio:.2f} |")


def the_paper():
    """Train by the paper's recipe from the call to the model; in float32 for a quarter of the epochs."""
    survey = grid.dataset({f"b{i}": band for i, band in enumerate(cells)})
    for precision, epochs in (("auto", 120), ("float32", 30)):
        start = time.perf_counter()
        model = training.fit_networks(
            windows, survey, "resnet50", "gao2022", device="cuda", rng=0, precision=precision, epochs=epochs
        )
        took = time.perf_counter() - start
        print(f"gao2022, precision={precision!r}: {len(model.history)} epochs of {N} windows in {took:.1f} s")


if __name__ == "__main__":
    where = torch.cuda.get_device_name() if GPU else f"CPU, {torch.get_num_threads()} threads"
    print(f"geoprospect {gp.__version__}, torch {torch.__version__}, {where}; {NAME}, {N} windows of {BANDS} x {CROP}²")
    print(f"cropped from {SIZE}², batches of {BATCH}, {CELLS}² cells; the shortest of {ROUNDS} epochs, taking turns\n")
    with tempfile.TemporaryDirectory() as folder:
        compare(folder)
    if GPU:
        the_paper()
