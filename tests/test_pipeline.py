"""The whole way, on the synthetic survey and on files."""

import functools
import json
import types
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio

import geoprospect as gp
from geoprospect import pipeline
from geoprospect.errors import GeoprospectError, OutputError

SMALL = {
    "grid": {"shape": (96, 96)},
    "windows": {"size": 16, "crop": 14, "n_ore": 60, "n_barren": 60},
    "training": {"network": "shufflenet_v2_x1_0", "epochs": 1},
    "validation": {"folds": 2, "map_stride": 16},
    "prediction": {"stride": 8},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Write a small synthetic survey as a user would have it: degrees in a CSV, deposits in a GeoJSON."""
    folder = tmp_path_factory.mktemp("tables")
    area = gp.synthetic.make_survey(shape=(96, 96), n_samples=900, rng=3)
    degrees = area.samples.to_crs("EPSG:4326")
    units = [unit.replace("%", "pct") for unit in degrees.units]
    frame = pd.DataFrame(degrees.values, columns=[f"{e}_{u}" for e, u in zip(degrees.elements, units, strict=True)])
    frame.insert(0, "lon", degrees.points[:, 0])
    frame.insert(1, "lat", degrees.points[:, 1])
    frame.to_csv(folder / "samples.csv", index=False)
    area.deposits.to_crs("EPSG:4326").to_file(folder / "deposits.geojson")
    return folder


@pytest.fixture(scope="module")
def done(tables, tmp_path_factory):
    config = gp.Config(
        samples={"path": str(tables / "samples.csv"), "crs": "EPSG:4326", "elements": ("Cu", "Au", "Ag", "Pb")},
        deposits={"path": str(tables / "deposits.geojson")},
        **SMALL,
    )
    return gp.run(config, tmp_path_factory.mktemp("out") / "results", device="cpu")


def test_a_run_leaves_every_file_that_it_names(done):
    names = {str(path.relative_to(done.folder)) for path in done.folder.rglob("*") if path.is_file()}
    expected = {"survey.tif", "prospectivity.tif", "out_of_fold.tif", "ranking.csv", "targets.gpkg", "scores.json",
                "model/model.json", "model/manifest.json", "model/network-0.safetensors"}  # fmt: skip
    drawn = ("z_auc", "ecdf", "roc", "windows", "folds", "training", "methods", "success_rates", "prospectivity",
             "confusion_paper_protocol")  # fmt: skip
    figures = {f"figures/{name}.png" for name in drawn}
    assert expected | figures <= names
    assert {name for name in names if name.startswith("figures/element_")}
    assert not [name for name in names if name.startswith(".") or "staged" in name]


def test_the_page_on_files_names_every_figure(done):
    page = (Path(__file__).parents[1] / "docs" / "files.md").read_text(encoding="utf-8")
    for figure in (done.folder / "figures").iterdir():
        assert f"`{figure.name}`" in page or figure.name.startswith("element_")


def test_the_control_by_distance_is_no_share_on_the_map_off_the_training(done):
    with rasterio.open(done.folder / "out_of_fold.tif") as source:
        units = dict(zip(source.descriptions, source.units, strict=True))
        at = source.descriptions.index("nearest deposit") + 1
        assert "distance to the nearest deposit" in source.tags(at)["LONG_NAME"]
        assert np.nanmax(source.read(at)) <= 0
    assert units.pop("nearest deposit") == "metre"
    assert set(units.values()) == {"1"}


def test_the_map_on_disk_is_the_map_in_memory(done):
    with rasterio.open(done.folder / "prospectivity.tif") as source:
        assert source.descriptions[0] == "probability"
        np.testing.assert_array_equal(source.read(1), done.result.probability.values)
        assert source.transform.almost_equals(gp.Grid.of(done.result).transform)


def test_the_saved_model_draws_the_same_map(done):
    model = gp.ProspectivityModel.load(done.folder / "model")
    again = gp.predict(model, gp.read_survey(done.folder / "survey.tif"), stride=8, device="cpu")
    np.testing.assert_array_equal(again.probability.values, done.result.probability.values)


def test_the_scores_put_the_honest_ones_first_and_name_the_others(done):
    scores = json.loads((done.folder / "scores.json").read_text())
    keys = list(scores)
    assert keys.index("spatially_separated") < keys.index("paper_protocol")
    assert "trained on" in scores["paper_protocol"]["what"]
    methods = {row["method"]: row for row in scores["spatially_separated"]["methods"]}
    assert list(methods) == done.scores.table.index.tolist()
    assert {"shufflenet_v2_x1_0", "best element", "nearest deposit", "no chemistry"} < set(methods)
    assert methods["shufflenet_v2_x1_0"]["auc"] == pytest.approx(done.scores.table.loc["shufflenet_v2_x1_0", "auc"])
    assert scores["paper_protocol"]["tp"] == done.paper_protocol.tp
    assert (scores["calibration"] is None) is (done.model.calibration is None)


def test_the_map_is_calibrated_by_what_the_folds_tell_or_says_nothing_of_it(done):
    if done.model.calibration is None:
        assert "calibrated" not in done.result
        return
    expected = done.scores.calibrate(rng=0).apply(done.result.probability)
    np.testing.assert_allclose(done.result["calibrated"], expected, rtol=0, atol=1e-7)
    assert done.result["calibrated"].attrs["calibrated"] == 1
    with rasterio.open(done.folder / "prospectivity.tif") as source:
        assert "calibrated" in source.descriptions


def test_where_the_folds_do_not_tell_how_sure_to_be_the_map_is_not_calibrated(caplog):
    draws = np.random.default_rng(0)
    label = np.tile([1, 0], 40)
    against_all_sense = np.where(label, 0.1, 0.9) + 0.01 * draws.random(80)
    scores = types.SimpleNamespace(calibrate=lambda rng: gp.calibrate(label, against_all_sense, np.arange(80), rng=rng))
    config = gp.Config(samples={"path": "a"}, deposits={"path": "b"})
    assert pipeline._calibration(scores, config) is None
    assert "the map is not calibrated" in caplog.text


def test_the_layers_hold_targets_cells_and_deposits(done):
    path = done.folder / "targets.gpkg"
    assert len(gpd.read_file(path, layer="targets")) == len(done.targets)
    assert gpd.read_file(path, layer="cells")["cell"].tolist() == list(range(1, 37))
    assert len(gpd.read_file(path, layer="deposits")) == 40


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out what `done` shows already and these tests do not ask for."""
    monkeypatch.setattr(pipeline, "_draw", lambda *_: None)


@pytest.fixture
def no_baselines(monkeypatch):
    monkeypatch.setattr(pipeline, "cross_validate", functools.partial(pipeline.cross_validate, baselines={}))


@pytest.mark.usefixtures("no_figures")
def test_same_files_same_seed_same_bytes(done, tables, tmp_path):
    config = gp.Config(
        samples={"path": str(tables / "samples.csv"), "crs": "EPSG:4326", "elements": ("Cu", "Au", "Ag", "Pb")},
        deposits={"path": str(tables / "deposits.geojson")},
        **SMALL,
    )
    again = gp.run(config, tmp_path / "again", device="cpu")
    for name in ("survey.tif", "prospectivity.tif", "ranking.csv", "scores.json", "model/network-0.safetensors"):
        assert (again.folder / name).read_bytes() == (done.folder / name).read_bytes(), name


@pytest.mark.usefixtures("no_figures", "no_baselines")
def test_no_screening_keeps_every_band_and_other_evidence_joins(tables, tmp_path):
    grid = gp.Grid.covering(gp.read_samples(tables / "samples.csv", crs=4326), shape=(96, 96))
    rng = np.random.default_rng(0)
    gp.write_geotiff(grid.dataset({"m": rng.normal(size=(96, 96))}), tmp_path / "magnetics.tif")
    config = gp.Config(
        samples={"path": str(tables / "samples.csv"), "crs": "EPSG:4326", "elements": ("Cu",)},
        deposits={"path": str(tables / "deposits.geojson")},
        bands=[{"path": str(tmp_path / "magnetics.tif")}],
        screening={"rule": "none"},
        **SMALL,
    )
    assert gp.run(config, tmp_path / "out", device="cpu").model.bands == ("Cu", "magnetics")


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(pipeline, "make_survey", lambda **_: pytest.fail("computed first"))
    with pytest.raises(OutputError, match="out="):
        pipeline.demo(tmp_path / "file" / "out")


def test_a_fault_in_the_input_leaves_no_results(tables, tmp_path):
    config = gp.Config(samples={"path": str(tables / "samples.csv")}, deposits={"path": "none.geojson"})
    with pytest.raises(GeoprospectError, match="crs=None"):
        gp.run(config, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.filterwarnings("ignore:deposits. only 1 places")
def test_deposits_too_close_to_validate_still_give_a_map_that_says_so(tables, tmp_path, caplog):
    deposits = gpd.read_file(tables / "deposits.geojson").iloc[[0]]
    gpd.GeoDataFrame(deposits).to_file(tmp_path / "one.gpkg")
    config = gp.Config(
        samples={"path": str(tables / "samples.csv"), "crs": "EPSG:4326", "elements": ("Cu",)},
        deposits={"path": str(tmp_path / "one.gpkg")},
        screening={"rule": "none"},
        **SMALL,
    )
    with pytest.warns(gp.errors.DataWarning, match="only one"):
        done = gp.run(config, tmp_path / "out", device="cpu")
    assert done.scores is None
    assert "NOT VALIDATED" in repr(done)
    assert "NOT VALIDATED" in caplog.text
    assert json.loads((done.folder / "scores.json").read_text())["spatially_separated"] == {"what": done.summary}
    assert done.result.probability.notnull().all()


@pytest.mark.usefixtures("no_figures", "no_baselines")
def test_an_element_without_data_is_left_out_and_said(tables, tmp_path, caplog):
    frame = pd.read_csv(tables / "samples.csv")
    frame["Te_ppm"], frame["Se_ppm"] = "", 0.5
    frame.to_csv(tmp_path / "samples.csv", index=False)
    config = gp.Config(
        samples={"path": str(tmp_path / "samples.csv"), "crs": "EPSG:4326", "elements": ("Cu", "Te", "Se")},
        deposits={"path": str(tables / "deposits.geojson")},
        **SMALL,
    )
    assert gp.run(config, tmp_path / "out", device="cpu").model.bands == ("Cu",)
    assert "left out, because they have no data at the deposits or are constant: Te, Se" in caplog.text
