"""Which recipe to train by, measured on separate ground of several surveys.

Every recipe trains on the same windows and folds of every survey: synthetic ones that neither the demo nor the tests
use, and copper on the Arabian Shield where GEOPROSPECT_DATA is set. "over default" is the mean difference to the first
recipe over pairs of one survey and one seed, with its standard error; on one real survey the seeds share the ground, so
there it tells of chance in training alone. The best baselines stand below for comparison. Ten hours on two cores, five
minutes on an H200 with 14 workers and CUDA's MPS (nvidia-cuda-mps-control -d); a folder keeps what is done, and a call
that names it again goes on; with 0 workers it only shows what is there.

    python benchmarks/recipes.py FOLDER [--workers 2] [--device auto] [--network resnet18] [--small]
        [--surveys 1 2 ...] [--recipes default gao2022 ...]

--small is what two cores can do in an hour: cells twice as wide, windows of half the cells, three folds, 20 epochs, and
those recipes that take no more; synthetic surveys only.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import geopandas as gpd
import pandas as pd
import shapely
import torch

import geoprospect as gp

RECIPES = {
    "default": {},
    "gao2022": {"recipe": "gao2022"},
    "dropout 0.5": {"dropout": 0.5},
    "3 networks": {"n_models": 3},
    "group normalisation": {"norm": "group"},
    "weight decay 0.005": {"weight_decay": 5e-3},
    "120 epochs": {"epochs": 120},
    "15 epochs": {"epochs": 15},
    "lr 0.003": {"lr": 0.003},
    "lr 0.03": {"lr": 0.03},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "no turns": {"flips": False, "rotations": False},
}
SMALL = {
    "default": {"epochs": 20},
    "gao2022": {"recipe": "gao2022", "epochs": 20, "halve_every": 5},
    "dropout 0.5": {"epochs": 20, "dropout": 0.5},
    "3 networks": {"epochs": 20, "n_models": 3},
    "group normalisation": {"epochs": 20, "norm": "group"},
    "weight decay 0.005": {"epochs": 20, "weight_decay": 5e-3},
    "lr 0.003": {"epochs": 20, "lr": 0.003},
    "no turns": {"epochs": 20, "flips": False, "rotations": False},
}
REAL_SEEDS = range(3)


def synthetic(seed, scale=1):
    """The demo's layout on another survey."""
    area = gp.synthetic.make_survey(shape=(384 // scale, 384 // scale), rng=seed)
    survey = gp.interpolate(area.samples, area.grid)
    return gp.sample_windows(survey, area.deposits, size=32 // scale, crop=28 // scale, rng=seed), survey


def arabian_shield(data):
    """Copper, as in examples/arabian_shield.toml."""
    found = json.loads((Path(data) / "arabian_shield" / "deposits.geojson").read_text())["features"]
    points = [shapely.Point(one["geometry"]["coordinates"]) for one in found
              if one["properties"]["major_commodity"] == "Copper"]  # fmt: skip
    samples = gp.read_samples(Path(data) / "arabian_shield" / "samples_clean.csv.gz", crs="EPSG:4326")
    survey = gp.interpolate(samples, gp.Grid.covering(samples, resolution=200))
    deposits = gpd.GeoDataFrame(geometry=points, crs=4326)
    return gp.sample_windows(survey, deposits, size=24, crop=21, rng=0), survey


def one(study, survey_name, recipe_name, seed, device, network, settings, baselines):
    torch.set_num_threads(1)
    windows, survey = pickle.loads(study)
    start = time.perf_counter()
    scores = gp.cross_validate(
        windows, survey, network, rng=seed, device=device, map_stride=0, paper_protocol=False,
        baselines=baselines, **settings,
    )  # fmt: skip
    table = scores.table[["auc", "average_precision"]].to_dict("index")
    return {"survey": survey_name, "recipe": recipe_name, "seed": seed, "network": network, "table": table,
            "seconds": round(time.perf_counter() - start, 1)}  # fmt: skip


def report(lines, network, recipes):
    rows = [(r["survey"], r["seed"], r["recipe"], *r["table"][network].values()) for r in lines]
    runs = pd.DataFrame(rows, columns=["survey", "seed", "recipe", "auc", "ap"])
    for group, part in runs.groupby(runs["survey"].str.startswith("synthetic").map({True: "synthetic", False: "real"})):
        auc, ap = (part.pivot_table(index=["survey", "seed"], columns="recipe", values=name) for name in ("auc", "ap"))
        print(f"\n{group}: {len(auc)} trainings of each\n")
        print("| recipe | AUC | over default | standard error | average precision | over default | n |")
        print("|---|---|---|---|---|---|---|")
        first = next(iter(recipes))
        for name in [name for name in recipes if name in auc]:
            cells = []
            for values in (auc, ap):
                gain = (values[name] - values[first]).dropna()
                cells += [f"{values[name].mean():.3f}", f"{gain.mean():+.3f}", f"{gain.sem():.3f}"]
            print(f"| {name} | {' | '.join(cells[:3])} | {' | '.join(cells[3:5])} | {auc[name].notna().sum()} |")
        others = pd.DataFrame(
            {name: value["auc"] for name, value in r["table"].items() if name != network}
            for r in lines if len(r["table"]) > 1 and r["survey"].startswith("synthetic") == (group == "synthetic")
        )  # fmt: skip
        print("\nbaselines on the same windows: " + ", ".join(f"{k} {v:.3f}" for k, v in others.mean().items()))


def trained(asked, recipes, done):
    """Train what is not done yet, and yield each as it comes."""
    studies = {f"synthetic {seed}": synthetic(seed, 2 if asked.small else 1) for seed in asked.surveys}
    if (data := os.environ.get("GEOPROSPECT_DATA")) and not asked.small:
        studies["Arabian Shield"] = arabian_shield(data)
    packed = {name: pickle.dumps(study) for name, study in studies.items()}
    each = [(name, seed) for name in studies for seed in (REAL_SEEDS if name == "Arabian Shield" else [0])]
    with concurrent.futures.ProcessPoolExecutor(asked.workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(
                one, packed[survey], survey, recipe, seed, asked.device, asked.network,
                {"folds": 3 if asked.small else 5, **recipes[recipe]}, {} if place else None,
            )
            for place, recipe in enumerate(recipes) for survey, seed in each if (survey, recipe, seed) not in done
        ]  # fmt: skip
        for job in concurrent.futures.as_completed(jobs):
            yield job.result()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--surveys", type=int, nargs="+", default=range(1, 9), help="seeds of the synthetic surveys")
    parser.add_argument("--recipes", nargs="+", help="names of some")
    asked = parser.parse_args()
    recipes = {k: v for k, v in (SMALL if asked.small else RECIPES).items() if not asked.recipes or k in asked.recipes}
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = asked.folder / f"{asked.network}{'-small' if asked.small else ''}.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    if asked.workers:
        done = {(r["survey"], r["recipe"], r["seed"]) for r in lines}
        with kept.open("a") as file:
            for line in trained(asked, recipes, done):
                print(json.dumps(line), file=file, flush=True)
                lines.append(line)
    print(f"geoprospect {gp.__version__}, torch {torch.__version__}; {asked.network}, rank AUC within folds")
    report(lines, asked.network, recipes)


if __name__ == "__main__":
    main()
