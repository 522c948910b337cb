"""Every example runs as it stands, small, and leaves what it promises."""

import logging
import runpy
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import torch

import geoprospect as gp

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
FEW = "--ore 40 --barren 70 --epochs 1 --folds 2 --network shufflenet_v2_x1_0 --device cpu"
SMALL = {
    "gridding_methods": "--samples 250 --resolution 800",
    "paper_pipeline": f"--cells 96 --stride 4 {FEW}",
    "your_own_csv": f"--resolution 600 --size 8 {FEW}",
}


@pytest.fixture
def one_thread():
    """Keep torch to one thread: on a busy machine several wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, one_thread):
    def run(name, *more):
        root, log = logging.getLogger(), logging.getLogger("geoprospect")
        handlers, level = root.handlers[:], log.level
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *SMALL[name].split(), "--out", "out", *map(str, more)])
        try:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        finally:
            root.handlers[:] = handlers
            log.setLevel(level)
        return tmp_path / "out", capsys.readouterr().out

    return run


def check_map(path, crs):
    result = gp.read_survey(path)
    probability = result["probability"].to_numpy()
    known = probability[np.isfinite(probability)]
    assert gp.Grid.of(result).crs.to_epsg() == crs
    assert known.size > 0.5 * probability.size
    assert known.min() >= 0
    assert known.max() <= 1


def test_every_example_is_run_and_short():
    assert {path.stem for path in SCRIPTS} == set(SMALL)
    for path in SCRIPTS:
        assert len(path.read_text(encoding="utf-8").splitlines()) < 100, path.name


def test_the_paper_pipeline(run):
    out, said = run("paper_pipeline")
    check_map(out / "prospectivity.tif", 32649)
    assert "On ground that it has not seen" in said
    assert "on ground that was trained on" in said
    assert len(gpd.read_file(out / "targets.gpkg", layer="cells")) == 144
    assert "Au" in gp.ProspectivityModel.load(out / "model").bands


def test_your_own_csv_without_one(run):
    out, said = run("your_own_csv")
    check_map(out / "prospectivity.tif", 32649)
    assert "On ground that it has not seen" in said
    assert len(gpd.read_file(out / "targets.gpkg", layer="deposits")) == 40
    samples = gp.read_samples(out / "samples.csv", crs="EPSG:4326")
    assert samples.censored.sum() > 0
    assert set(samples.units) == {"ppm", "ppb"}


def test_your_own_csv_needs_both_tables(run, capsys):
    with pytest.raises(SystemExit):
        run("your_own_csv", "--samples", "samples.csv")
    assert "both --samples and --deposits" in capsys.readouterr().err


def test_gridding_methods(run):
    out, said = run("gridding_methods")
    assert (out / "methods.png").stat().st_size > 100_000
    table = said.split("Errors on blocks")[1].splitlines()[2:8]
    assert {line.split()[0] for line in table} == {"nearest", "idw", "linear", "cubic", "kriging", "spline"}
