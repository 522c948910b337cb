"""The pipeline of Gao et al. (2022) on a synthetic survey, in miniature, with honest scores beside the paper's.

The paper: 3072 x 3072 cells, windows of 256 cells cropped to 224, 120 epochs of ResNet-50.
https://doi.org/10.3390/app122211433
"""

import argparse
from pathlib import Path

import geoprospect as gp

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--out", type=Path, default=Path("paper_pipeline"), help="folder for the map and the targets")
parser.add_argument("--cells", type=int, default=384, help="rows and columns of the grid; 3072 in the paper")
parser.add_argument("--ore", type=int, default=212, help="ore windows")
parser.add_argument("--barren", type=int, default=225, help="barren windows")
parser.add_argument("--network", default="resnet18", help="resnet50 in the paper")
parser.add_argument("--epochs", type=int, default=15, help="120 in the paper")
parser.add_argument("--folds", type=int, default=5, help="spatial folds; the paper has none")
parser.add_argument("--stride", type=int, default=4, help="cells between two windows of the map")
parser.add_argument("--signal", type=float, default=1.0, help="strength of the haloes; 0 for none")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--device", default="auto")


def main() -> None:
    options = parser.parse_args()
    seed, training = options.seed, {"epochs": options.epochs, "device": options.device}
    size = options.cells // 12  # 12 x 12 windows tile the survey, as in the paper
    crop = size * 7 // 8  # 224 of 256
    options.out.mkdir(parents=True, exist_ok=True)

    # Samples to element bands. The survey is not public, so it is made up, with a known truth.
    area = gp.synthetic.make_survey(shape=options.cells, signal=options.signal, rng=seed)
    survey = gp.interpolate(area.samples, area.grid, k=12, power=2)
    print(area, area.grid, sep="\n")

    # Which elements know where the ore is? The paper's rule: Z_AUC of at least 2.58.
    ranking = gp.screen(survey, area.deposits, rng=seed, rule="gao2022")
    print(ranking[["auc", "z_auc", "selected"]].round(3).to_string())
    selected = list(ranking.index[ranking.selected])
    chosen = survey[selected] if selected else survey

    # Windows, and what a network is worth on ground that it has not seen. The bands are chosen in each fold.
    windows = gp.sample_windows(survey, area.deposits, size, crop, options.ore, options.barren, rng=seed)
    print(windows)
    scores = gp.cross_validate(windows, survey, options.network, options.folds, rng=seed, screen="gao2022", **training)

    # The model of the map is trained on all windows.
    model = gp.train(windows, chosen, options.network, rng=seed, **training)
    model.save(options.out / "model")
    result = gp.predict(model, survey, stride=options.stride, device=options.device)
    path = gp.write_cog(result, options.out / "prospectivity.tif")
    targets = gp.delineate(result.probability, deposits=area.deposits)
    cells = gp.predict_cells(model, survey, (12, 12), options.device)
    gp.write_layers({"targets": targets, "cells": cells}, options.out / "targets.gpkg")

    # The paper's protocol: cells of the very ground that the model was trained on.
    paper = gp.stats.evaluate(cells, area.deposits)
    print(
        f"\nThe paper's protocol, on ground that was trained on: accuracy {paper.accuracy:.3f} (all barren: "
        f"{paper.accuracy_barren:.3f}), balanced accuracy {paper.balanced_accuracy:.3f}"
    )
    print(f"\nOn separated ground:\n{scores}")
    print(f"\n{path}: {len(targets)} targets, {int((~targets.known).sum())} of them without a known deposit")


if __name__ == "__main__":
    main()
