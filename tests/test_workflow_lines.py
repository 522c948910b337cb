"""The lines on the first page of the README, run word for word but for their sizes."""

import re
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
import xarray as xr

import geoprospect as gp
from geoprospect.validation.scores import Scores

README = Path(__file__).parents[1] / "README.md"

# From the paper's size to one that a test can wait for: (what stands there, what is run, how often).
SIZES = [
    ("shape=(3072, 3072)", "shape=(96, 96)", 1),
    ("size=256, crop=224", "size=16, crop=14", 1),
    ('network="resnet50"', 'network="shufflenet_v2_x1_0", epochs=1, device="cpu"', 2),
    ("stride=32", "stride=8", 1),
]


def readme_lines() -> str:
    """The first Python block of the README."""
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)[0]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small layers on many threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fieldwork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gp.synthetic.SyntheticSurvey:
    """The two files that the lines begin with, as a laboratory and a geologist would send them."""
    area = gp.synthetic.make_survey(rng=0)
    degrees = area.samples.to_crs("EPSG:4326")
    columns = {f"{name}_{unit}": degrees.values[:, i] for i, (name, unit) in enumerate(zip(
        degrees.elements, degrees.units, strict=True))}  # fmt: skip
    table = pd.DataFrame({"lon": degrees.points[:, 0], "lat": degrees.points[:, 1], **columns})
    table.to_csv(tmp_path / "stream_sediments.csv", index=False)
    area.deposits.to_crs("EPSG:4326").to_file(tmp_path / "deposits.geojson", driver="GeoJSON")
    monkeypatch.chdir(tmp_path)
    return area


def test_the_lines_lead_from_a_table_of_samples_to_a_map(
    fieldwork: gp.synthetic.SyntheticSurvey, tmp_path: Path
) -> None:
    lines = readme_lines()
    assert 'gp.read_samples("stream_sediments.csv", x="lon", y="lat", crs="EPSG:4326")' in lines
    for written, run, times in SIZES:
        assert lines.count(written) == times, written
        lines = lines.replace(written, run)
    names: dict[str, object] = {}
    exec(compile(lines, "README.md", "exec"), names)

    samples, deposits, survey, result, targets = (
        names[name] for name in ("samples", "deposits", "survey", "result", "targets")
    )
    assert isinstance(samples, gp.Samples)
    assert samples.elements == fieldwork.samples.elements
    assert samples.units == fieldwork.samples.units
    np.testing.assert_allclose(samples.values, fieldwork.samples.values, rtol=1e-12)
    assert isinstance(deposits, gpd.GeoDataFrame)
    assert len(deposits) == 40

    assert isinstance(survey, xr.Dataset)
    assert {name: band.attrs["units"] for name, band in survey.data_vars.items()} == dict(
        zip(fieldwork.samples.elements, fieldwork.samples.units, strict=True)
    )
    assert gp.Grid.of(survey).crs.to_epsg() == 32649  # the UTM zone of the area, chosen
    ranking, windows = names["ranking"], names["windows"]
    assert isinstance(ranking, pd.DataFrame)
    selected = set(ranking.index[ranking["selected"]])
    assert len(selected & set(fieldwork.carriers)) >= 4  # those that truly know the ore lead
    assert isinstance(windows, gp.Windows)
    assert (int(windows.labels.sum()), len(windows)) == (212, 437)

    scores, model = names["scores"], names["model"]
    assert isinstance(scores, Scores)
    assert "shufflenet_v2_x1_0" in scores.summary
    assert scores.table.loc["random forest", "auc"] > 0.6
    assert isinstance(model, gp.ProspectivityModel)
    assert set(model.bands) == selected

    assert isinstance(result, xr.Dataset)
    probability = result["probability"]
    assert probability.shape == ((96 - 14) // 8 + 1,) * 2
    assert probability.to_numpy().min() >= 0
    assert probability.to_numpy().max() <= 1
    assert isinstance(targets, gpd.GeoDataFrame)
    assert targets["rank"].tolist() == list(range(1, len(targets) + 1))
    assert targets["max_probability"].is_monotonic_decreasing

    with rasterio.open(tmp_path / "prospectivity.tif") as written:
        assert written.crs.to_epsg() == 32649
        assert written.descriptions == ("probability", "valid", "dissimilarity")
        np.testing.assert_array_equal(written.read(1), probability.to_numpy())
        assert written.transform.almost_equals(gp.Grid.of(result).transform)
        assert written.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "deposits.geojson", "prospectivity.tif", "stream_sediments.csv",
    ]  # fmt: skip
