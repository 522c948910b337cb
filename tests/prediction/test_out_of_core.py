"""Maps from disk to disk: those of `predict`, whatever the survey is kept in, and whoever makes it."""

import json
import math
import multiprocessing
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import torch
import xarray as xr
from affine import Affine
from disk_maps import BANDS, GRID, StoppedError, as_model, make_survey, same, stopped_after, tiny
from torch import nn

import geoprospect as gp
from geoprospect.errors import CorruptFileError, CRSError, DataWarning, InputError, NameNotFoundError, OutputError
from geoprospect.io import disk_sources
from geoprospect.io.sources import Padded
from geoprospect.models.networks import build_network
from geoprospect.prediction import engine

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- what a survey is kept in


def written(kind: str, survey: xr.Dataset, folder: Path) -> Any:
    """Keep a survey in some way."""
    if kind == "numpy":
        return survey
    if kind == "dask":
        return survey.chunk({"y": 17, "x": 29})
    if kind == "COG":
        return gp.write_cog(survey, folder / "survey.tif")
    if kind == "GeoTIFF":
        return str(gp.write_geotiff(survey, folder / "survey.tif"))
    if kind == "Zarr":
        return gp.write_zarr(survey, folder / "survey.zarr")
    if kind == "one file a band":
        return {name: gp.write_geotiff(survey[[name]], folder / f"{name}.tif") for name in BANDS}
    return [gp.write_geotiff(survey[[name]], folder / f"{name}.tif") for name in BANDS]


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("kind", ["numpy", "dask", "COG", "GeoTIFF", "Zarr", "one file a band", "a list of files"])
def test_the_map_is_that_of_predict_whatever_the_survey_is_kept_in(kind: str, tmp_path: Path) -> None:
    model, survey = as_model(), make_survey()
    path = gp.predict_to_cog(model, written(kind, survey, tmp_path), tmp_path / "map.tif", 3, "cpu")
    assert path == tmp_path / "map.tif"
    same(gp.read_survey(path), gp.predict(model, survey, 3, "cpu"))
    assert not list(tmp_path.glob("*.partial"))
    assert gp.plan_inference(model, written("dask", survey, tmp_path), 3, "cpu").n_tiles > 6


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("kind", ["numpy", "dask", "COG", "Zarr"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_padding_and_further_bands_go_to_disk_too(kind: str, dtype: str, tmp_path: Path) -> None:
    """Of whole numbers without nodata, too: there is no number for what is off the survey."""
    model, survey = as_model(), make_survey()
    if dtype == "uint8":
        survey = survey.fillna(0).astype(dtype)
        survey["Au"].attrs["units"], survey["Cu"].attrs["units"] = "ppb", "ppm"
    draws = np.random.default_rng(0)
    points = np.column_stack([draws.uniform(512_000, 516_000, 20), draws.uniform(2_342_000, 2_345_000, 20)])
    how: Any = {"edge": "pad", "more": ["logit"], "min_valid": 0.3}
    how["samples"] = gp.Samples(points, np.ones((20, 1)), ("Cu",), ("ppm",), GRID.crs)
    path = gp.predict_to_cog(model, written(kind, survey, tmp_path), tmp_path / "map.tif", 3, "cpu", **how)
    expected = gp.predict(model, survey, 3, "cpu", **how)
    assert {"logit", "support"} < set(expected.data_vars)
    same(gp.read_survey(path), expected)
    del how["samples"]
    plan = gp.plan_inference(model, survey, 3, "cpu", **how)
    assert plan.grid == gp.Grid.of(expected)
    assert plan.survey_shape == GRID.shape
    assert plan.bytes_read < 1.7 * plan.bytes_survey  # strips of 40 columns share windows; never what is off it


@pytest.mark.usefixtures("small_tiles")
def test_a_map_may_become_a_store(tmp_path: Path) -> None:
    model, survey = as_model(), make_survey()
    path = gp.predict_to_cog(model, survey, tmp_path / "map.zarr", 4, "cpu")
    same(gp.read_survey(path), gp.predict(model, survey, 4, "cpu"))
    assert gp.predict_to_cog(model, survey, path, 5, "cpu") == path  # in its place
    assert gp.read_survey(path).probability.shape == gp.predict(model, survey, 5, "cpu").probability.shape


def packed(kept: dict[str, Any], path: Path, nodata: float | None, mask: bool = False) -> Path:
    """Write integers with a scale and an offset, by rasterio itself."""
    profile = {"driver": "GTiff", "dtype": "int16", "count": 2, "height": GRID.shape[0], "width": GRID.shape[1],
               "crs": GRID.crs.to_wkt(), "transform": GRID.transform, "nodata": nodata}  # fmt: skip
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as target:
        for index, name in enumerate(BANDS, start=1):
            target.write(kept[name], index)
            target.set_band_description(index, name)
            target.set_band_unit(index, "ppm" if name == "Cu" else "ppb")
        target.scales, target.offsets = (0.01, 0.5), (1.0, 0.0)
        if mask:
            target.write_mask(kept["mask"])
    return path


@pytest.mark.parametrize("how", ["nodata", "mask", "all valid"])
def test_integers_with_scale_offset_and_nodata_are_read_as_read_survey_reads_them(how: str, tmp_path: Path) -> None:
    draws = np.random.default_rng(3)
    kept: dict[str, Any] = {name: draws.integers(0, 3000, GRID.shape).astype(np.int16) for name in BANDS}
    if how == "nodata":
        kept["Cu"][5:20, 7:30] = -32768
    kept["mask"] = np.where(draws.random(GRID.shape) < 0.2, 0, 255).astype(np.uint8)
    path = packed(kept, tmp_path / "survey.tif", -32768 if how == "nodata" else None, how == "mask")
    survey = gp.read_survey(path)
    assert survey["Cu"].isnull().any() == (how != "all valid")
    same(gp.read_survey(gp.predict_to_cog(as_model(), path, tmp_path / "m.tif", 3, "cpu")),
         gp.predict(as_model(), survey, 3, "cpu"))  # fmt: skip


@pytest.mark.usefixtures("small_tiles")
def test_a_file_whose_rows_run_from_south_to_north_is_turned_over(tmp_path: Path) -> None:
    survey = make_survey()
    upright = gp.write_geotiff(survey, tmp_path / "upright.tif")
    t = GRID.transform
    turned = {"transform": Affine(t.a, 0, t.c, 0, -t.e, t.f + 61 * t.e)}
    with (
        rasterio.open(upright) as source,
        rasterio.open(tmp_path / "flipped.tif", "w", **source.profile | turned) as target,
    ):
        target.write(source.read()[:, ::-1])
        target.descriptions, target.units = source.descriptions, source.units
    xr.testing.assert_identical(gp.read_survey(tmp_path / "flipped.tif"), gp.read_survey(upright))
    maps = [gp.predict_to_cog(as_model(), tmp_path / f"{n}.tif", tmp_path / f"map-{n}.tif", 3, "cpu").read_bytes()
            for n in ("upright", "flipped")]  # fmt: skip
    assert maps[0] == maps[1]


class Middle(nn.Module):
    """The logit is the value in the middle of the window."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logit = x[:, 0, x.shape[2] // 2, x.shape[3] // 2]
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


WHERE = {
    "UTM": ("EPSG:32649", Affine(50, 0, 512_000, 0, -50, 2_345_000)),
    "from south to north": ("EPSG:32649", Affine(50, 0, 512_000, 0, 50, 2_340_000)),
    "degrees": ("EPSG:4326", Affine(0.01, 0, 43.2, 0, -0.02, 23.9)),
    "degrees over the date line": ("EPSG:4326", Affine(0.01, 0, 179.8, 0, -0.02, -16.0)),
    "Arctic": ("EPSG:3413", Affine(1000, 0, -250_000, 0, -1000, 120_000)),
    "Antarctic": ("EPSG:3031", Affine(500, 0, 1_000_000, 0, -500, -700_000)),
    "turned": ("EPSG:32649", Affine(40, 30, 512_000, 30, -40, 2_345_000)),
    "turned, mirrored": ("EPSG:32649", Affine(40, -30, 512_000, 30, 40, 2_345_000)),
    "by a quarter": ("EPSG:32649", Affine(0, 50, 512_000, 50, 0, 2_345_000)),
    "upside down": ("EPSG:32649", Affine(-50, 0, 512_000, 0, 50, 2_345_000)),
    "turned, degrees": ("EPSG:4326", Affine(0.008, 0.006, 43.2, 0.006, -0.008, 23.9)),
    "turned, oblong": ("EPSG:32649", Affine(40, 45, 512_000, 30, -60, 2_345_000)),
}


@pytest.mark.parametrize("edge", ["drop", "pad"])
@pytest.mark.parametrize("where", WHERE)
def test_one_bright_pixel_shines_where_it_lies(where: str, edge: str, tmp_path: Path) -> None:
    """Written and looked up by rasterio alone, in longitude and latitude."""
    (crs, transform), (row, col) = WHERE[where], (17, 31)
    values = np.zeros((40, 53), np.float32)
    values[row, col] = 5
    profile = {"driver": "GTiff", "height": 40, "width": 53, "count": 1, "dtype": "float32"}
    with rasterio.open(tmp_path / "survey.tif", "w", crs=crs, transform=transform, **profile) as target:
        target.write(values, 1)
        target.set_band_description(1, "Cu")
        target.set_band_unit(1, "ppm")
    model = as_model(
        Middle().eval(), bands=("Cu",), units=("ppm",), offset=np.zeros(1), scale=np.ones(1), size=7, crop=7,
        cell_size=(math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d)),
    )  # fmt: skip
    path = gp.predict_to_cog(model, tmp_path / "survey.tif", tmp_path / "map.tif", 1, "cpu", edge=edge, min_valid=0.1)
    with rasterio.open(path) as found:
        probability = found.read(1)
        assert found.crs == rasterio.crs.CRS.from_string(crs)
        assert (np.nan_to_num(probability) > 0.9).sum() == 1
        shining = found.xy(*np.unravel_index(np.nanargmax(probability), probability.shape))
        assert found.shape == ((34, 47) if edge == "drop" else (40, 53))
    bright = transform @ (col + 0.5, row + 0.5)
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    np.testing.assert_allclose(to_degrees.transform(*shining), to_degrees.transform(*bright), rtol=0, atol=1e-9)
    in_memory = gp.predict(model, gp.read_survey(tmp_path / "survey.tif"), 1, "cpu", edge=edge, min_valid=0.1)
    xr.testing.assert_equal(in_memory, gp.read_survey(path))
    first = gp.delineate(in_memory.probability, threshold=0.9).iloc[0]
    np.testing.assert_allclose(to_degrees.transform(first.x, first.y), to_degrees.transform(*bright), rtol=0, atol=1e-9)
    corners = shapely.Polygon(transform @ at for at in ((col, row), (col + 1, row), (col + 1, row + 1), (col, row + 1)))
    assert first.geometry.symmetric_difference(corners).area < 1e-6 * corners.area


def test_nodata_that_a_band_cannot_hold_as_it_is_written_is_found_all_the_same(tmp_path: Path) -> None:
    survey = make_survey(holes=0)
    path = gp.write_geotiff(survey, tmp_path / "survey.tif")
    with rasterio.open(path) as source:
        profile, values = source.profile | {"nodata": -3.4e38}, source.read()
        names, units = source.descriptions, source.units
    values[:, 10:30, 10:50] = np.float32(-3.4e38)
    with rasterio.open(tmp_path / "odd.tif", "w", **profile) as target:
        target.write(values)
        target.descriptions, target.units = names, units
    found = gp.read_survey(gp.predict_to_cog(as_model(), tmp_path / "odd.tif", tmp_path / "m.tif", 3, "cpu"))
    same(found, gp.predict(as_model(), gp.read_survey(tmp_path / "odd.tif"), 3, "cpu"))
    assert found.probability.isnull().any()


def test_dense_maps_go_to_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = as_model(build_network("shufflenet_v2_x1_0", 2, seed=1).eval(), crop=32, size=32)
    survey = make_survey(grid=gp.Grid(GRID.crs, GRID.transform, (150, 190)))
    expected = gp.predict(model, survey, 8, "cpu", mode="dense")
    monkeypatch.setattr(engine, "side_of_part", lambda crop, settings: 5)
    monkeypatch.setitem(engine._HELD_BYTES, "cpu", 1)
    monkeypatch.setattr(engine, "_LEAST_ROWS", 1)
    source = gp.write_cog(survey, tmp_path / "survey.tif")
    found = gp.read_survey(gp.predict_to_cog(model, source, tmp_path / "m.tif", 8, "cpu", mode="dense"))
    np.testing.assert_allclose(found.probability, expected.probability, atol=1e-5)


@pytest.mark.usefixtures("small_tiles")
def test_every_block_is_read_once_but_where_strips_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times, lines = np.zeros(GRID.shape, dtype=int), []
    read = disk_sources._Tiffs.read

    def counting(self: Any, bands: tuple[str, ...], rows: slice, cols: slice, into: Any) -> Any:
        assert bands == BANDS  # Zn is none of the model's
        times[rows, cols] += 1
        lines.append(rows.stop - rows.start)
        return read(self, bands, rows, cols, into)

    monkeypatch.setattr(disk_sources._Tiffs, "read", counting)
    source = gp.write_cog(make_survey(), tmp_path / "survey.tif")
    plan = gp.plan_inference(as_model(), source, 3, "cpu")
    gp.predict_to_cog(as_model(), source, tmp_path / "m.tif", 3, "cpu")
    edges = {tile.left * 3 for strip in plan.strips for tile in strip} - {0}
    assert len(edges) > 1
    twice = {col for edge in edges for col in range(edge, edge + 8)}
    assert set(np.flatnonzero((times > 1).any(axis=0))) <= twice
    assert times.max() == 2
    seen = tuple(slice(3 * (n - 1) + 8) for n in plan.grid.shape)
    assert (times[seen] >= 1).all()
    assert sum(lines) * GRID.shape[1] * 2 * 4 == plan.bytes_read  # a block is as wide as this survey


def test_values_that_are_not_there_reach_no_network_and_ground_without_any_is_not_computed(tmp_path: Path) -> None:
    survey = make_survey(holes=0)
    survey["Cu"][20:] = np.nan
    found = gp.read_survey(gp.predict_to_cog(as_model(), survey, tmp_path / "m.tif", 4, "cpu"))
    assert found.probability.isnull().equals(found.valid < 0.5)
    assert 0 < found.probability.isnull().mean() < 1


# ---------------------------------------------------------------- several devices, and a cluster


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("n", [2, 3])
def test_the_bytes_do_not_depend_on_the_number_of_devices(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = as_model(), gp.write_cog(make_survey(), tmp_path / "survey.tif")
    alone = gp.predict_to_cog(model, source, tmp_path / "alone.tif", 3, "cpu").read_bytes()
    threads: set[str] = set()
    by_window = engine.Engine._by_window

    def watched(self: engine.Engine, *args: Any) -> None:
        threads.add(f"{threading.current_thread().name} {torch.get_num_threads()}")
        time.sleep(0.02)
        by_window(self, *args)

    monkeypatch.setattr(engine.Engine, "_by_window", watched)
    assert gp.predict_to_cog(model, source, tmp_path / "m.tif", 3, ["cpu"] * n).read_bytes() == alone
    assert len(threads) == n
    assert all(name.endswith(" 1") for name in threads)


@pytest.mark.usefixtures("small_tiles")
def test_a_fault_on_one_of_several_devices_is_raised_and_what_is_made_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, survey = as_model(), make_survey()
    whole = gp.predict_to_cog(model, survey, tmp_path / "whole.tif", 3, "cpu").read_bytes()
    by_window, left = engine.Engine._by_window, [6]

    def failing(self: engine.Engine, *args: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StoppedError
        by_window(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Engine, "_by_window", failing)
        with pytest.raises(StoppedError):
            gp.predict_to_cog(model, survey, tmp_path / "m.tif", 3, ["cpu", "cpu"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("geoprospect")]
    assert '"tile"' in (tmp_path / "m.tif.partial" / "journal.jsonl").read_text()
    assert gp.predict_to_cog(model, survey, tmp_path / "m.tif", 3, ["cpu", "cpu"]).read_bytes() == whole


def test_real_networks_run_on_several_devices_and_leave_torch_as_it_was(tmp_path: Path) -> None:
    model = as_model(build_network("shufflenet_v2_x1_0", 2, seed=1).eval(), crop=16, size=16)
    call, alone = nn.Module.__call__, gp.predict(model, make_survey(), 9, "cpu")
    path = gp.predict_to_cog(model, make_survey(), tmp_path / "m.tif", 9, ["cpu", "cpu", "cpu"])
    same(gp.read_survey(path), alone)
    assert nn.Module.__call__ is call


def test_devices_of_two_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs one or several of one kind"):
        gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, [])


class Deadly(nn.Module):
    """Kills the process that asks it, once."""

    def __init__(self, mark: Path, inner: nn.Module) -> None:
        super().__init__()
        self.mark, self.inner, self.home = mark, inner, os.getpid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if os.getpid() != self.home and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        answer: torch.Tensor = self.inner(x)
        return answer


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("deadly", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_cluster_makes_the_same_bytes_also_when_a_worker_is_killed(deadly: bool, tmp_path: Path) -> None:
    distributed = pytest.importorskip("dask.distributed")
    source = gp.write_cog(make_survey(), tmp_path / "survey.tif")
    model = as_model(Deadly(tmp_path / "mark", tiny(1)), tiny(2)) if deadly else as_model()
    alone = gp.predict_to_cog(model, source, tmp_path / "alone.tif", 3, "cpu").read_bytes()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=deadly, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        path = gp.predict_to_cog(model, source, tmp_path / "m.tif", 3, "cpu", client=client)
    assert path.read_bytes() == alone
    assert (tmp_path / "mark").exists() is deadly


# ---------------------------------------------------------------- faults


def test_a_map_of_nothing_and_one_of_a_single_cell_are_warned_of(tmp_path: Path) -> None:
    survey = make_survey()
    with pytest.warns(DataWarning, match=r"stride=1000: the map is a single cell.* 61 x 83 cells"):
        gp.predict_to_cog(as_model(), survey, tmp_path / "one.tif", 1000, "cpu", min_valid=0)
    with pytest.warns(DataWarning, match=r"no window has enough data.* at most 0%"):
        path = gp.predict_to_cog(as_model(), survey * np.nan, tmp_path / "none.tif", 3, "cpu")
    assert gp.read_survey(path).probability.isnull().all()
    assert not list(tmp_path.glob("*.partial"))


def test_what_does_not_fit_is_told_before_anything_is_written(tmp_path: Path) -> None:
    survey = make_survey()
    source = gp.write_cog(survey, tmp_path / "survey.tif")
    with pytest.raises(NameNotFoundError, match="lacks the bands Pb of the model; it has"):
        gp.predict_to_cog(as_model(bands=("Cu", "Pb")), source, tmp_path / "m.tif", 3, "cpu")
    with pytest.raises(InputError, match="Au: units 'ppb', trained in 'ppm'"):
        gp.predict_to_cog(as_model(units=("ppm", "ppm")), source, tmp_path / "m.tif", 3, "cpu")
    with pytest.raises(InputError, match="cell size 50 x 50, trained on 25 x 25"):
        gp.predict_to_cog(as_model(cell_size=(25.0, 25.0)), source, tmp_path / "m.tif", 3, "cpu")
    with pytest.raises(OutputError, match="does not exist"):
        gp.predict_to_cog(as_model(), source, tmp_path / "nowhere" / "m.tif", 3, "cpu")
    with pytest.raises((InputError, OutputError), match=r"\.tif"):
        gp.predict_to_cog(as_model(), source, tmp_path / "m.png", 3, "cpu")
    with pytest.raises(InputError, match="survey: is a int"):
        gp.predict_to_cog(as_model(), 3, tmp_path / "m.tif", 3, "cpu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="survey: names no file"):
        gp.predict_to_cog(as_model(), [], tmp_path / "m.tif", 3, "cpu")
    assert [file.name for file in tmp_path.iterdir()] == ["survey.tif"]


def test_files_on_different_grids_are_refused(tmp_path: Path) -> None:
    survey = make_survey()
    files = {name: gp.write_geotiff(survey[[name]], tmp_path / f"{name}.tif") for name in BANDS}
    files["Au"] = gp.write_geotiff(survey[["Au"]].isel(x=slice(1, None)), tmp_path / "other.tif")
    with pytest.raises(InputError, match=r"other.tif lies on .*, Cu.tif on .*read_bands"):
        gp.plan_inference(as_model(), files, 3, "cpu")
    with pytest.raises(InputError, match="two bands are called 'Cu'"):
        disk_sources.open_source([files["Cu"], gp.write_geotiff(survey[["Cu"]], tmp_path / "again.tif")])


def test_a_damaged_survey_is_named(tmp_path: Path) -> None:
    source = gp.write_geotiff(make_survey(), tmp_path / "survey.tif")
    with source.open("r+b") as stream:
        stream.truncate(source.stat().st_size // 2)
    with pytest.raises((CorruptFileError, InputError), match=re.escape(str(source))):
        gp.predict_to_cog(as_model(), source, tmp_path / "m.tif", 3, "cpu")
    assert not (tmp_path / "m.tif").exists()
    # No tile was made of it, so a whole survey is not refused for being another.
    same(gp.read_survey(gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")),
         gp.predict(as_model(), make_survey(), 3, "cpu"))  # fmt: skip


def test_a_survey_without_a_crs_is_refused(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 30, "width": 30,
               "transform": GRID.transform}  # fmt: skip
    with rasterio.open(tmp_path / "s.tif", "w", **profile) as target:
        target.write(np.zeros((1, 30, 30), np.float32))
    with pytest.raises(CRSError):
        disk_sources.open_source(tmp_path / "s.tif")


@pytest.mark.usefixtures("small_tiles")
def test_the_threads_of_torch_are_those_of_the_plan_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopped_after(1, patch)
        with pytest.raises(StoppedError):
            gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")
    plan = json.loads((tmp_path / "m.tif.partial" / "plan.json").read_text())
    assert plan["settings"]["threads"] == 1
    seen: list[int] = []
    by_window = engine.Engine._by_window
    monkeypatch.setattr(
        engine.Engine,
        "_by_window",
        lambda self, *args: (seen.append(torch.get_num_threads()), by_window(self, *args))[1],
    )
    torch.set_num_threads(2)
    gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")
    assert torch.get_num_threads() == 2
    assert set(seen) == {1}


@pytest.mark.parametrize("kind", ["numpy", "dask", "COG", "Zarr", "one file a band"])
def test_a_source_reads_into_memory_that_is_there(kind: str, tmp_path: Path) -> None:
    source = disk_sources.open_source(written(kind, make_survey(), tmp_path))
    rows, cols = slice(3, 9), slice(5, 17)
    there = np.full((2, 6, 12), 7, source.dtype(BANDS))
    assert source.read(BANDS, rows, cols, there) is there
    np.testing.assert_array_equal(there, source.read(BANDS, rows, cols))
    around = Padded(source, ((4, 0), (8, 8)))
    assert around.read(BANDS, slice(7, 13), slice(13, 25), there) is there
    np.testing.assert_array_equal(there, source.read(BANDS, rows, cols))
    beyond = around.read(BANDS, slice(1, 7), slice(13, 25), there)
    assert np.isnan(beyond[:, :3]).all()
    np.testing.assert_array_equal(beyond[:, 3:], source.read(BANDS, slice(0, 3), cols))


def test_a_source_may_go_to_another_process(tmp_path: Path) -> None:
    source = disk_sources.open_source(gp.write_cog(make_survey(), tmp_path / "survey.tif"))
    here = source.read(BANDS, slice(3, 9), slice(5, 8))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(source.read, (BANDS, slice(3, 9), slice(5, 8)))
    np.testing.assert_array_equal(here, there)
