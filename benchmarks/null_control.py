"""What the two ways of scoring say of deposits that no band can know, on the synthetic survey without signal.

Stands behind docs/null_control.md; draws its figure where a path is given. Some 25 minutes on two cores, each of which
takes half of the patterns.

    python benchmarks/null_control.py [docs/images/null_control.png]
"""

import concurrent.futures
import multiprocessing
import sys
import time

import pandas as pd
import torch

import geoprospect as gp
from geoprospect.validation.null_control import NullControl

PARTS, PATTERNS, EPOCHS = 4, 6, 12


def part(seed):
    """Six patterns, on one thread."""
    torch.set_num_threads(1)
    area = gp.synthetic.make_survey(shape=(192, 192), signal=0, rng=0)
    survey = gp.interpolate(area.samples, area.grid)
    return gp.null_control(
        survey, area.deposits, "resnet18", n=PATTERNS, rng=seed, recipe="quick", epochs=EPOCHS, batch=32, folds=3,
        windows={"size": 16, "crop": 14},
    )  # fmt: skip


def main():
    start = time.perf_counter()
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(part, range(PARTS)))
    table = pd.concat([one.table for one in parts], ignore_index=True).rename_axis("pattern")
    control = NullControl(table, sum(one.skipped for one in parts))
    print(
        f"geoprospect {gp.__version__}, torch {torch.__version__}; resnet18, {EPOCHS} epochs of recipe 'quick' in "
        f"batches of 32, {time.perf_counter() - start:.0f} s\n"
    )
    print(table.round(3).to_string())
    print(f"\n{control.summary}\n{control.skipped} patterns skipped")
    if len(sys.argv) > 1:
        gp.plotting.save(gp.plotting.null_control_intervals(table), sys.argv[1])


if __name__ == "__main__":
    main()
