"""Which gridding method suits the samples? Six of them predict samples that they have not seen; three are drawn."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import geoprospect as gp

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--out", type=Path, default=Path("gridding_methods"), help="folder for the figure")
parser.add_argument("--element", default="Cu")
parser.add_argument("--samples", type=int, default=600, help="number of samples; a real survey has thousands")
parser.add_argument("--resolution", type=float, default=250, help="cell size in metres")
parser.add_argument("--seed", type=int, default=0)

METHODS = ("nearest", "idw", "linear", "cubic", "kriging", "spline")
DRAWN = ("idw", "kriging", "linear")


def compare(samples: gp.Samples, seed: int) -> pd.DataFrame:
    """Return the errors of every method on blocks of ground without samples."""
    predicted, rows = {}, {}
    for method in METHODS:
        scores = gp.validate_gridding(samples, method, rng=seed)
        predicted[method] = scores.predictions["blocks"]
        rows[method] = scores.table.xs("blocks", level="split").iloc[0]
    # Triangles predict nothing outside of the outermost samples, where it is hardest: only what all predict is fair.
    measured, shared = scores.predictions["measured"], pd.DataFrame(predicted).dropna()
    error = shared.sub(measured[shared.index], axis=0)
    table = pd.DataFrame(rows).T[["n", "not_predicted", "rmse", "sd"]]
    return table.assign(rmse_shared=np.sqrt((error**2).mean())).sort_values("rmse_shared")


def draw(samples: gp.Samples, grid: gp.Grid, path: Path) -> Path:
    """Map the element by three methods in the same colours, and the distance to the nearest sample."""
    (element,) = samples.elements
    figure, axes = plt.subplots(2, 2, figsize=(11.5, 10), layout="constrained")
    figure.get_layout_engine().set(wspace=0.08)  # room for the labels of the colourbars
    low, high = np.nanquantile(samples.values, (0.05, 0.95))
    for ax, method in zip(axes.flat, DRAWN, strict=False):
        survey = gp.interpolate(samples, grid, method)
        gp.plotting.element_map(survey, element, log=False, ax=ax)
        ax.images[0].set_clim(low, high)  # one scale, or the maps could not be compared
        ax.set_title(method, loc="left")
    last = axes.flat[-1]
    gp.plotting.element_map(gp.support(samples, grid), "distance", samples=samples, log=False, ax=last)
    last.set_title("support", loc="left")
    return gp.plotting.save(last, path)


def main() -> None:
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    area = gp.synthetic.make_survey(n_samples=options.samples, shape=96, rng=options.seed)
    samples = area.samples[[options.element]]
    grid = gp.Grid.covering(samples, resolution=options.resolution)
    print(samples, grid, sep="\n")

    table = compare(samples, options.seed)
    print(f"\nErrors on blocks of ground without samples, in {samples.units[0]}:")
    print(table.astype(float).round(2).to_string())

    best = table.index[0]
    scores = gp.validate_gridding(samples, best, rng=options.seed)
    print(f"\n{scores}\n\n{draw(samples, grid, options.out / 'methods.png')}")


if __name__ == "__main__":
    main()
