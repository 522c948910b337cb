"""One network for windows and for sliding over the ground: what the halo buys, and which BatchNorm statistics to keep.

resnet18 on synthetic surveys, in spatial folds whose footprints count the context. "no halo" is trained on windows
alone. With a halo, steps with 0 and 64 cells of context alternate in the last third of the epochs; the running
statistics are kept as training left them, or estimated anew over the training windows without context, with it, or of
both in turn; "each its own" takes those without context for windows and those with it for the ground. Scores are rank
AUCs within folds of the windows held out, cut out by themselves ("window") or seen with their context ("dense"), with
the difference of the probabilities between. "another seed" is the yardstick for that: two networks with a halo that
differ in their seed alone, both by window.

    python benchmarks/halo.py [cpu|cuda] [number of surveys]
"""

import copy
import sys
import time

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn

import geoprospect as gp
from geoprospect.models import training
from geoprospect.models._patches import channels_last
from geoprospect.models.networks import set_halo
from geoprospect.prediction.predict import predict_windows
from geoprospect.stats.metrics import rank_auc

HALO, SIZE, CROP, EPOCHS, FOLDS = 64, 64, 56, 30, 3
device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda" if torch.cuda.is_available() else "cpu")
surveys = int(sys.argv[2]) if len(sys.argv) > 2 else 4


@torch.no_grad()
def estimated(model, windows, survey, halos, passes=4):
    """Return the model with running statistics that are the means over the training windows, turned as in training."""
    model = copy.deepcopy(model)
    stack = channels_last(torch.from_numpy(model.stack(survey)[0]).to(device))
    recipe = gp.Recipe.of("default")
    for net in model.networks:
        net.to(device)
        norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
        before = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean of all batches
        net.train()
        for number in range(passes):
            looks = training._Looks.drawn(windows, recipe, np.random.default_rng(number), device)
            for step, part in enumerate(training._slices(0, len(windows), len(windows) // recipe.batch)):
                halo = halos[(step + number) % len(halos)]
                set_halo(net, halo)
                net(looks.cut(stack, part, windows.crop, halo)[0])
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        set_halo(net, 0)
        net.eval().cpu()
    return model


def compared(label, by_window, dense):
    gap, sides = np.abs(by_window - dense), (by_window > 0.5) != (dense > 0.5)
    return {"window": rank_auc(label, by_window), "dense": rank_auc(label, dense), "mean of the gap": gap.mean(),
            "99 % of it": np.quantile(gap, 0.99), "change side": sides.mean(),
            "rank correlation": spearmanr(by_window, dense).statistic}  # fmt: skip


def main():
    start, rows = time.perf_counter(), []
    for seed in range(1, surveys + 1):
        area = gp.synthetic.make_survey(shape=(768, 768), rng=seed)
        survey = gp.interpolate(area.samples, area.grid)
        windows = gp.sample_windows(survey, area.deposits, size=SIZE, crop=CROP, rng=seed)
        for fit, test in gp.spatial_folds(windows, FOLDS, context=HALO):
            fitted, tested = windows[fit], windows[test]
            plain, haloed, again = (
                training.fit_networks(fitted, survey, "resnet18", device=str(device), rng=rng, epochs=EPOCHS, halo=halo)
                for rng, halo in ((seed, 0), (seed, HALO), (seed + 1000, HALO))
            )
            kept = {
                "no halo": plain,
                "halo, as training left them": haloed,
                "halo, of windows": estimated(haloed, fitted, survey, [0]),
                "halo, with context": estimated(haloed, fitted, survey, [HALO]),
                "halo, of both": estimated(haloed, fitted, survey, [0, HALO]),
            }
            seen = {
                name: [predict_windows(model, survey, tested, str(device), halo=halo) for halo in (0, HALO)]
                for name, model in kept.items()
            }
            seen["another seed"] = [
                seen["halo, as training left them"][0], predict_windows(again, survey, tested, str(device))
            ]  # fmt: skip
            seen["halo, each its own"] = [seen["halo, of windows"][0], seen["halo, with context"][1]]
            rows += [{"statistics": name, **compared(tested.labels, *both)} for name, both in seen.items()]
    print(
        f"geoprospect {gp.__version__}, torch {torch.__version__}, {device}; {surveys} surveys x {FOLDS} folds, "
        f"{SIZE} cells cropped to {CROP}, halo {HALO}, {EPOCHS} epochs; {time.perf_counter() - start:.0f} s\n"
    )
    frame = pd.DataFrame(rows)
    groups = frame.groupby("statistics", sort=False)
    parts = {name: part.drop(columns="statistics").reset_index(drop=True) for name, part in groups}
    print("Means over folds; below, the difference to what training left, with the standard error of the pairs.\n")
    print("| " + " | ".join(["statistics", *frame.columns[1:]]) + " |\n|" + "---|" * len(frame.columns))
    left = parts["halo, as training left them"]
    for name, part in parts.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in part.mean()) + " |")
        gain = part - left
        if name != "halo, as training left them":
            cells = (f"{m:+.3f} ± {e:.3f}" for m, e in zip(gain.mean(), gain.sem(), strict=True))
            print("| | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
