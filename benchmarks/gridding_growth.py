"""How the time of inverse distance weighting grows, one thing at a time.

The base is 7,234 samples x 16 elements onto 3072 x 3072 cells, one mask, k = 12, power 2, all cores. The buffer of the
result has been written to before the clock starts. Samples are those of gridding.py; more of them lie closer.

    python benchmarks/gridding_growth.py [--side 3072]
"""

import argparse
import statistics

import numpy as np
from gridding import EXTENT, N_SAMPLES, POWER, K, describe, measure, measured_values, streams, without

from geoprospect.gridding._idw_all import idw_all
from geoprospect.gridding._idw_nearest import idw_nearest

ELEMENTS, RUNS = 16, 3


def seconds(side, n_samples=N_SAMPLES, n_elements=ELEMENTS, k=K, n_masks=1):
    """Return the seconds of some runs."""
    rng = np.random.default_rng(0)
    points, values = streams(n_samples, rng), measured_values(n_samples, n_elements, rng)
    # The first elements are whole, one mask; each of the others lacks a tenth of its own.
    values = without(values, [0.0] * (n_elements - n_masks + 1) + [0.1] * (n_masks - 1), rng)
    out = np.ones((n_elements, side, side), dtype=np.float32)
    place = points, values, (0.0, 0.0), (EXTENT / side, -EXTENT / side)

    def work():
        if k is None:
            idw_all(*place, POWER, out)
        else:
            idw_nearest(*place, k, POWER, out)

    return measure(work, RUNS)["wall"]


def table(title, name, sizes, call):
    """Print the seconds for each size; `call` takes one."""
    print(f"\n## {title}\n\n| {name} | wall, s: least | median | over the row above | over the first |")
    print("|---|---|---|---|---|")
    least = []
    for size in sizes:
        wall = call(size)
        least.append(min(wall))
        ratios = f"{least[-1] / least[-2]:.2f} | {least[-1] / least[0]:.2f}" if len(least) > 1 else " | "
        print(f"| {size:,} | {least[-1]:.3f} | {statistics.median(wall):.3f} | {ratios} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=3072, help="cells along the grid; smaller to try")
    side = parser.parse_args().side
    print(f"Base: {N_SAMPLES:,} samples x {ELEMENTS} elements -> {side} x {side} cells, k = {K}, power {POWER:g}")
    describe("geoprospect numba numpy".split())
    for k in (K, None):  # compile, or load what was compiled
        seconds(256, k=k)
    many, few = (1000, N_SAMPLES, 50_000, 200_000), (1, 4, 16, 64)
    sides = (side // 4, side // 2, side, 2 * side)
    table("Nearest samples: grid", "cells along a side", sides, seconds)
    table("Nearest samples: samples", "samples", many, lambda n: seconds(side, n_samples=n))
    table("Nearest samples: elements", "elements", few, lambda n: seconds(side, n_elements=n))
    table("Nearest samples: neighbours", "k", (1, 4, 12, 50, 200), lambda k: seconds(side, k=k))
    table("Nearest samples: masks", "different masks", (1, 2, 4, 8, 16), lambda n: seconds(side, n_masks=n))
    table("All samples: samples", "samples", many, lambda n: seconds(side, n_samples=n, k=None))
    table("All samples: elements", "elements", few, lambda n: seconds(side, n_elements=n, k=None))


if __name__ == "__main__":
    main()
