"""Windows per second in training and prediction, and how much of the time the network itself takes.

The feed efficiency is the time of the same steps on one batch that already lies on the device, over the time with
windows cut, flipped and cropped out of the survey.

    python benchmarks/training_speed.py [cpu|cuda]
"""

import sys
import time

import numpy as np
import torch
from affine import Affine

import geoprospect as gp
from geoprospect._kernels.patches import gather
from geoprospect.networks import build_network

device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda" if torch.cuda.is_available() else "cpu")
name, cells, size, batch, steps = (
    ("resnet50", 3072, 224, 32, 50) if device.type == "cuda" else ("resnet18", 384, 28, 32, 20)
)
BANDS = 8


def step(network, optimizer, x, truth):
    loss = torch.nn.functional.cross_entropy(network(x), truth)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()


def seconds(work):
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        work()
    return (time.perf_counter() - start) / steps


rng = np.random.default_rng(0)
stack = torch.randn(BANDS, cells, cells, device=device)
network = build_network(name, BANDS).to(device)
optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
truth = torch.randint(0, 2, (batch,), device=device)
fixed = torch.randn(batch, BANDS, size, size, device=device)


def cut():
    rows, cols = (torch.from_numpy(rng.integers(0, cells - size, batch)).to(device) for _ in range(2))
    flips = tuple(torch.from_numpy(rng.integers(0, 2, batch).astype(bool)).to(device) for _ in range(2))
    return gather(stack, rows, cols, size, flips)


resident = seconds(lambda: step(network, optimizer, fixed, truth))
fed = seconds(lambda: step(network, optimizer, cut(), truth))
where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
print(
    f"geoprospect {gp.__version__}, torch {torch.__version__}, {where}; {name}, "
    f"{BANDS} bands, {size} cells, batch {batch}\n"
)
print("| what | ms a step | windows/s |\n|---|---|---|")
print(f"| training, one resident batch | {1000 * resident:.1f} | {batch / resident:.0f} |")
print(f"| training, windows cut from the survey | {1000 * fed:.1f} | {batch / fed:.0f} |")
print(f"\nfeed efficiency {resident / fed:.3f}")

grid = gp.Grid("EPSG:32649", Affine(10, 0, 0, 0, -10, 0), (cells, cells))
bands = [f"b{i}" for i in range(BANDS)]
survey = grid.dataset({band: plane.cpu().numpy() for band, plane in zip(bands, stack, strict=True)})
model = gp.ProspectivityModel(
    (network.eval(),), name, tuple(bands), ("",) * BANDS, np.zeros(BANDS), np.ones(BANDS), size, size, (10.0, 10.0), 0,
    None, {},
)  # fmt: skip
start = time.perf_counter()
result = gp.predict(model, survey, stride=size // 7, device=device.type)
elapsed = time.perf_counter() - start
print(
    f"predict, stride {size // 7}: {result.probability.size} windows in {elapsed:.1f} s, "
    f"{result.probability.size / elapsed:.0f}/s"
)
