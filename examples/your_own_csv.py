"""Bring your own tables: a CSV of samples and one of deposits go in, a map and a layer of targets come out.

Without --samples and --deposits two small tables are written first, to show what they look like:

    sample,lon,lat,Cu_ppm,Au_ppb,…      id,name,commodity,lon,lat
    0,109.8643,22.1509,20.7,<0.3,…      1,A-01,Sb-Hg,109.9354,22.0581
"""

import argparse
import logging
from pathlib import Path

import geoprospect as gp

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--samples", type=Path, help="CSV with coordinates and elements, units in the headers")
parser.add_argument("--deposits", type=Path, help="CSV or vector file of known deposits")
parser.add_argument("--crs", default="EPSG:4326", help="CRS of the CSV files")
parser.add_argument("--resolution", type=float, default=200, help="cell size in metres")
parser.add_argument("--size", type=int, default=16, help="width of a window, in cells")
parser.add_argument("--ore", type=int, default=160, help="ore windows")
parser.add_argument("--barren", type=int, default=200, help="barren windows")
parser.add_argument("--network", default="resnet18")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--folds", type=int, default=4, help="spatial folds")
parser.add_argument("--out", type=Path, default=Path("your_own_csv"), help="folder for the results")
parser.add_argument("--device", default="auto")


def write_example_tables(folder: Path) -> tuple[Path, Path]:
    """Write two tables as a laboratory and a survey would hand them over."""
    area = gp.synthetic.make_survey(n_samples=2500, shape=64, rng=0)
    table = area.samples.to_crs("EPSG:4326").to_frame()
    table.insert(0, "lat", table.geometry.y.round(5))
    table.insert(0, "lon", table.geometry.x.round(5))
    units = area.samples.summary()["unit"]
    headers = {element: f"{element}_{unit}" for element, unit in units.items()}
    table = table.drop(columns="geometry").rename(columns=headers).round(5)
    gold = table["Au_ppb"].map("{:.2f}".format).where(table["Au_ppb"].notna(), "")
    table["Au_ppb"] = gold.mask(table["Au_ppb"] < 0.3, "<0.3")  # below detection
    deposits = area.deposits.to_crs("EPSG:4326")
    places = deposits.assign(lon=deposits.geometry.x.round(5), lat=deposits.geometry.y.round(5)).drop(
        columns="geometry"
    )
    table.to_csv(folder / "samples.csv", index_label="sample")
    places.to_csv(folder / "deposits.csv", index=False)
    return folder / "samples.csv", folder / "deposits.csv"


def main() -> None:
    options = parser.parse_args()
    if (options.samples is None) != (options.deposits is None):
        parser.error("give both --samples and --deposits, or none of them for an example")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("geoprospect").setLevel(logging.INFO)  # what the library decides for you
    options.out.mkdir(parents=True, exist_ok=True)
    paths = (options.samples, options.deposits) if options.samples else write_example_tables(options.out)

    samples = gp.read_samples(paths[0], crs=options.crs)
    print(samples.summary().round(2).to_string())  # look at this first: units, gaps, values below detection
    text = paths[1].suffix.lower() == ".csv"  # other files say their own CRS
    deposits = gp.read_deposits(paths[1], crs=options.crs if text else None)

    grid = gp.Grid.covering(samples, resolution=options.resolution)
    survey = gp.interpolate(samples, grid)
    ranking = gp.screen(survey, deposits, rng=0)
    print(ranking[["auc", "z_auc", "p_family", "selected"]].round(3).to_string())
    selected = list(ranking.index[ranking.selected])
    chosen = survey[selected] if selected else survey

    crop = options.size * 7 // 8
    windows = gp.sample_windows(survey, deposits, options.size, crop, options.ore, options.barren, rng=0)
    training = {"epochs": options.epochs, "device": options.device}
    scores = gp.cross_validate(windows, survey, options.network, options.folds, rng=0, screen="shift", **training)
    model = gp.train(windows, chosen, options.network, rng=0, **training)

    result = gp.predict(model, survey, device=options.device)
    targets = gp.delineate(result.probability, threshold=0.5, deposits=deposits)
    gp.write_layers({"targets": targets, "deposits": deposits}, options.out / "targets.gpkg")
    path = gp.write_cog(result, options.out / "prospectivity.tif")
    print(f"\n{scores}\n\n{path}: {len(targets)} targets")


if __name__ == "__main__":
    main()
