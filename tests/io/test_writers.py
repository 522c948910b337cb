"""Rasters that are written: they come back as every GIS reads them, from NumPy or dask, in little memory."""

import dataclasses
import hashlib
import itertools
import math
import os
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.env import get_gdal_config
from rio_cogeo.cogeo import cog_validate

import geoprospect as gp
from geoprospect._settings import descriptions
from geoprospect.errors import CRSError, DataWarning, InputError, OutputError
from geoprospect.io import writers as writers_module
from geoprospect.io.writers import WriteKeywords, WriteSettings

UTM = "EPSG:32649"
GRID = gp.Grid(UTM, Affine(100, 0, 500_000, 0, -100, 2_400_000), (40, 60))
WIDE = gp.Grid(UTM, GRID.transform, (1100, 700))  # of 3 x 2 blocks, all but two of them cut off
OLD_GDAL = tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 11)
TIFF_WRITERS = {"cog": gp.write_cog, "geotiff": gp.write_geotiff}
WRITERS = {
    "cog": (gp.write_cog, "map.tif"),
    "geotiff": (gp.write_geotiff, "map.tif"),
    "zarr": (gp.write_zarr, "map.zarr"),
}

writers = pytest.mark.parametrize("write", TIFF_WRITERS.values(), ids=TIFF_WRITERS.keys())
all_writers = pytest.mark.parametrize(("write", "name"), WRITERS.values(), ids=WRITERS.keys())


def noise(shape=GRID.shape, seed=0):
    return np.random.default_rng(seed).normal(50, 10, shape).astype(np.float32)


def survey(grid=GRID):
    """Return three bands: with holes, in other units, without any data."""
    cu, au = noise(grid.shape, 1), noise(grid.shape, 2) * 1e-4
    cu[:5, 7:20] = np.nan
    bands = {"Cu": cu, "Au": au, "nothing": np.full(grid.shape, np.nan, dtype=np.float32)}
    data = grid.dataset(bands, {"Cu": {"units": "ppm", "long_name": "copper"}, "Au": {"units": "µg/kg"}})
    data.attrs = {"method": "idw", "k": 12, "note": "Über die Länge"}
    return data


def lazy(make, chunk, grid=WIDE, count=2):
    """Return bands of which `make(top, left, shape)` computes each chunk, all bands at once."""

    def of_block(block_info=None):
        (_, top, left) = (start for start, _ in block_info[None]["array-location"])
        return make(top, left, block_info[None]["chunk-shape"])

    chunks = [tuple(min(chunk, size - at) for at in range(0, size, chunk)) for size in grid.shape]
    cube = da.map_blocks(of_block, chunks=((count,), *chunks), dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    return grid.dataset({f"band {k}": cube[k] for k in range(count)})


def content(path):
    """Return a digest of a file, or of all files of a folder and their names."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return hashlib.sha256(b"".join(str(file.relative_to(path)).encode() + file.read_bytes() for file in files)).digest()


# -- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [40, 512, 513, 1500])
def test_a_cog_is_valid_in_the_strict_sense(side, tmp_path):
    grid = gp.Grid(UTM, GRID.transform, (side, side))
    path = gp.write_cog(grid.dataset({"Cu": noise(grid.shape)}), tmp_path / "map.tif")
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as source:
        assert source.profile["compress"] == "deflate"
        assert source.overviews(1) == ([2, 4] if side == 1500 else [2] if side == 513 else [])


def test_overviews_are_averages_and_not_empty(tmp_path):
    grid = gp.Grid(UTM, GRID.transform, (1500, 1500))
    values = noise(grid.shape)
    values[:, :700] = np.nan
    path = gp.write_cog(grid.dataset({"Cu": values}), tmp_path / "map.tif")
    with rasterio.open(path, overview_level=0) as source:
        smaller = source.read(1)
    blocks = values.reshape(750, 2, 750, 2)
    assert np.isnan(smaller[:, :350]).all()
    np.testing.assert_allclose(smaller[:, 350:], blocks.mean(axis=(1, 3))[:, 350:], rtol=1e-5)


@writers
def test_a_file_says_what_it_holds(write, tmp_path):
    data = survey()
    with rasterio.open(write(data, tmp_path / "map.tif", tags={"AREA": "Pangxidong"})) as source:
        assert source.descriptions == ("Cu", "Au", "nothing")
        assert source.units == ("ppm", "µg/kg", None)
        assert source.dtypes == ("float32",) * 3
        assert all(math.isnan(value) for value in source.nodatavals)
        assert source.crs.to_epsg() == 32649
        assert source.transform == GRID.transform
        tags, statistics = source.tags(), source.tags(1)
    assert tags["TIFFTAG_SOFTWARE"] == f"geoprospect {gp.__version__}"
    assert tags["AREA"] == "Pangxidong"
    assert (tags["METHOD"], tags["K"], tags["NOTE"]) == ("idw", "12", "Über die Länge")
    cu = data["Cu"].values[np.isfinite(data["Cu"].values)].astype(np.float64)
    for key, value in {"MINIMUM": cu.min(), "MAXIMUM": cu.max(), "MEAN": cu.mean(), "STDDEV": cu.std()}.items():
        assert float(statistics[f"STATISTICS_{key}"]) == pytest.approx(value, rel=1e-7)
    assert float(statistics["STATISTICS_VALID_PERCENT"]) == pytest.approx(100 * cu.size / data["Cu"].size)
    assert statistics["LONG_NAME"] == "copper"


@writers
def test_what_is_written_comes_back_exactly(write, tmp_path):
    data = survey()
    path = write(data, tmp_path / "map.tif")
    with rasterio.open(path) as source:
        np.testing.assert_array_equal(source.read(), data.to_array().to_numpy())
    again = gp.read_survey(path)
    assert gp.Grid.of(again) == GRID
    for name in data.data_vars:
        np.testing.assert_array_equal(again[name], data[name])
    assert again["Cu"].attrs == {"units": "ppm", "long_name": "copper"}
    # Bilinear resampling onto the very same cells changes nothing, holes and their rims included.
    np.testing.assert_array_equal(gp.read_bands(path, GRID)["Cu"], data["Cu"])


@writers
def test_the_same_input_gives_the_same_bytes(write, tmp_path):
    first, second = (write(survey(), tmp_path / name).read_bytes() for name in ("a.tif", "b.tif"))
    assert first == second


@writers
def test_a_raster_with_its_dims_turned_lies_the_right_way_round(write, tmp_path):
    data = survey()
    path = write(data["Cu"].transpose("x", "y").to_dataset(), tmp_path / "map.tif")
    np.testing.assert_array_equal(gp.read_survey(path)["Cu"], data["Cu"])


def test_integers_booleans_and_nameless_arrays_are_written_as_float32(tmp_path):
    data = GRID.dataset({"code": np.arange(2400).reshape(40, 60), "yes": noise() > 50})
    found = gp.read_survey(gp.write_cog(data, tmp_path / "map.tif"))
    assert found["code"].dtype == np.float32
    np.testing.assert_array_equal(found["code"], data["code"])
    np.testing.assert_array_equal(found["yes"], data["yes"].astype(float))
    nameless = gp.read_survey(gp.write_geotiff(data["code"].rename(None), tmp_path / "one.tif"))
    assert list(nameless) == ["band"]


def test_variables_without_a_place_are_not_written(tmp_path):
    data = survey().assign(depth=("level", [1.0, 2.0]))
    assert "depth" not in gp.read_survey(gp.write_cog(data, tmp_path / "map.tif"))


@writers
@pytest.mark.parametrize("name", ["map.tif", "MAP.TIFF", "karte für süd.tif", "地図 2.tif", "a[1]*?.b.tif", "-x.tif"])
def test_one_file_appears_under_any_name_and_nothing_else(write, name, tmp_path):
    for _ in range(2):
        assert write(survey(), tmp_path / name) == tmp_path / name
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert list(gp.read_survey(tmp_path / name)) == ["Cu", "Au", "nothing"]


@writers
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("map.png", InputError, r"needs a name that ends in \.tif or \.tiff"),
        ("map", InputError, r"needs a name that ends in"),
        ("nowhere/map.tif", OutputError, r"nowhere' does not exist; make it first"),
        ("folder.tif", OutputError, "is a folder"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_before_anything(write, name, error, message, tmp_path):
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(error, match=message):
        write(survey(), tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.tif"]


@writers
@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (survey().drop_vars(["Cu", "Au", "nothing"]), InputError, "nothing to write"),
        (survey().drop_vars("spatial_ref"), CRSError, "no CRS"),
        (survey().isel(x=[0, 1, 5]), InputError, "even steps"),
    ],
    ids=["no band", "no CRS", "no grid"],
)
def test_data_that_are_no_raster_are_refused(write, data, error, message, tmp_path):
    with pytest.raises(error, match=message):
        write(data, tmp_path / "map.tif")
    assert list(tmp_path.iterdir()) == []


# -- settings ----------------------------------------------------------------------------------


def test_the_keywords_of_the_writers_are_the_fields():
    names = [field.name for field in dataclasses.fields(WriteSettings)]
    assert list(WriteKeywords.__annotations__) == names
    assert set(descriptions(WriteSettings)) == set(names)


def predictor(path):
    return rasterio.open(path).tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", "1")


@writers
@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({}, {"compress": "deflate", "predictor": "3", "blockxsize": 512}),
        ({"compress": "lzw"}, {"compress": "lzw", "predictor": "3"}),
        ({"compress": "zstd", "predictor": "horizontal"}, {"compress": "zstd", "predictor": "2"}),
        ({"predictor": "none"}, {"compress": "deflate", "predictor": "1"}),
        ({"compress": "none"}, {"compress": None, "predictor": "1"}),
        ({"blocksize": 256}, {"blockxsize": 256, "blockysize": 256}),
        ({"interleave": "pixel"}, {"interleave": "pixel"}),
        ({"interleave": "band"}, {"interleave": "band"}),
    ],
)
def test_each_setting_is_read_back(write, given, read, tmp_path):
    grid = gp.Grid(UTM, GRID.transform, (520, 520))
    data = grid.dataset({"Cu": noise(grid.shape, 1), "Au": noise(grid.shape, 2)})
    if write is gp.write_cog and given == {"interleave": "band"} and OLD_GDAL:
        with pytest.raises(InputError, match=r"interleave='band': GDAL 3\.\d+\.\d+ writes no such COG"):
            write(data, tmp_path / "map.tif", **given)
        return
    path = write(data, tmp_path / "map.tif", **given)
    with rasterio.open(path) as source:
        found = {"compress": None, **source.profile} | {"predictor": predictor(path)}
        assert {name: found[name] for name in read} == read
        np.testing.assert_array_equal(source.read(1), data["Cu"].values)
        overviews = [2, 4] if given == {"blocksize": 256} else [2]
        assert source.overviews(1) == (overviews if write is gp.write_cog else [])
    assert write is gp.write_geotiff or cog_validate(path, strict=True, quiet=True)[0]


@writers
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"compress": "jpeg"}, "compress='jpeg': needs one of 'deflate', 'lzw', 'zstd', 'none'"),
        ({"predictor": 3}, "predictor=3: needs one of 'float', 'horizontal', 'none'"),
        ({"blocksize": 500}, "blocksize=500: needs a multiple of 16 from 64 to 4096, for example blocksize=496"),
        ({"blocksize": 32}, "blocksize=32: needs a whole number of at least 64"),
        ({"blocksize": 8192}, "blocksize=8192: needs a multiple of 16 from 64 to 4096, for example blocksize=4096"),
        ({"interleave": "line"}, "interleave='line': needs one of 'pixel', 'band'"),
        ({"compres": "lzw"}, r"compres='lzw': there is no such setting; did you mean 'compress'\?"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(write, given, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write(survey(), tmp_path / "map.tif", **given)
    assert list(tmp_path.iterdir()) == []


def test_an_old_gdal_writes_no_cog_of_separate_bands(tmp_path, monkeypatch):
    monkeypatch.setattr(rasterio, "__gdal_version__", "3.10.2")
    with pytest.raises(InputError, match=r"interleave='band': GDAL 3\.10\.2 writes no such COG"):
        gp.write_cog(survey(), tmp_path / "map.tif", interleave="band")


# -- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a:b", "a=b", "a b", ""])
def test_a_tag_that_geotiff_would_lose_is_refused(key, tmp_path):
    with pytest.raises(InputError, match="which GeoTIFF does not keep"):
        gp.write_cog(survey(), tmp_path / "map.tif", tags={key: "1"})


@writers
def test_a_file_that_reads_back_otherwise_is_not_published(write, tmp_path, monkeypatch):
    path = tmp_path / "map.tif"
    write(survey(), path)
    before = path.read_bytes()
    read = rasterio.io.DatasetReader.read

    def rotten(self, *args, **kwargs):
        values = read(self, *args, **kwargs)
        values[..., 11, 13] += 1
        return values

    monkeypatch.setattr(rasterio.io.DatasetReader, "read", rotten)
    with pytest.raises(OutputError, match="does not read back as it was written"):
        write(GRID.dataset({"Cu": noise()}), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["map.tif"]


def test_a_raster_in_a_local_crs_without_a_code_keeps_it(tmp_path):
    crs = "+proj=laea +lat_0=22.5 +lon_0=110.25 +datum=WGS84 +units=m"
    grid = gp.Grid(crs, Affine(50.5, 0, -1000, 0, -50.5, 1000), (20, 30))
    found = gp.read_survey(gp.write_cog(grid.dataset({"Cu": noise(grid.shape)}), tmp_path / "map.tif"))
    assert gp.Grid.of(found) == grid


# -- larger than memory ------------------------------------------------------------------------


def holed(shape, seed):
    values = noise(shape, seed)
    values[noise(shape, seed + 1) > 60] = np.nan
    values[:512, :512] = np.nan  # a block without any data
    return values


@all_writers
def test_the_bytes_are_the_same_from_numpy_and_from_dask_in_any_chunks(write, name, tmp_path):
    values = {"Cu": holed(WIDE.shape, 1), "Au": holed(WIDE.shape, 2)}
    data = WIDE.dataset(values, {"Cu": {"units": "ppm"}})
    wanted = content(write(data, tmp_path / name))
    other_nan = np.where(np.isnan(values["Cu"]), np.uint32(0xFFC00001).view(np.float32), values["Cu"])
    cases = [
        (data.chunk({"y": 512, "x": 512}), "threads", 3),
        (data.chunk({"y": 100, "x": 700}), "threads", 2),
        (data.chunk({"y": 333, "x": 157}), "threads", 5),
        (data.chunk({"y": 1100, "x": 51}), "synchronous", 1),
        (data.chunk(), "threads", 1),
        (data.assign(Au=data["Au"].chunk({"y": 700, "x": 300})), "threads", 2),
        (data.assign(Cu=data["Cu"].chunk({"y": 90}), Au=data["Au"].chunk({"x": 90})), "threads", 2),
        (data.transpose("x", "y").chunk({"x": 201}), "threads", 2),
        (data.assign(Cu=data["Cu"].copy(data=other_nan)), "threads", 1),
    ]
    # All writers cut and join the chunks by the same lines, so that one of them is enough for every case.
    for case, scheduler, workers in cases if write is gp.write_zarr else cases[::4]:
        with dask.config.set(scheduler=scheduler, num_workers=workers):
            assert content(write(case, tmp_path / name)) == wanted, (case.chunks, scheduler)


@all_writers
@pytest.mark.parametrize("chunk", [100, 512, 700])
def test_each_chunk_is_computed_once_for_all_bands(write, name, chunk, tmp_path):
    made = []

    def make(top, left, shape):
        made.append((top, left))
        return np.full(shape, top + left, dtype=np.float32)

    write(lazy(make, chunk, count=2), tmp_path / name)
    assert sorted(made) == list(itertools.product(range(0, 1100, chunk), range(0, 700, chunk)))


@all_writers
@pytest.mark.parametrize("error", [ValueError, MemoryError, FileNotFoundError])
def test_an_error_of_a_task_comes_through_and_the_old_file_stays(write, name, error, tmp_path):
    before = content(write(survey(), tmp_path / name))

    def make(top, left, shape):
        if top > 600:
            raise error("from the task")
        return np.zeros(shape, dtype=np.float32)

    with pytest.raises(error, match="from the task") as caught:
        write(lazy(make, 100), tmp_path / name)
    assert not isinstance(caught.value, OutputError), "the disk is not to blame"
    assert content(tmp_path / name) == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


@all_writers
@pytest.mark.parametrize("place", ["nowhere/{}", "{}.png", "taken/{}"])
def test_nothing_is_computed_before_the_place_is_known_to_be_good(write, name, place, tmp_path):
    (tmp_path / "taken" / name).mkdir(parents=True)
    (tmp_path / "taken" / name / "thesis.txt").touch()

    def make(top, left, shape):
        raise AssertionError("computed")

    with pytest.raises((InputError, OutputError), match=r"does not exist|needs a name that ends|is a folder"):
        write(lazy(make, 512), tmp_path / place.format(name))
    assert [file.name for file in (tmp_path / "taken" / name).iterdir()] == ["thesis.txt"]


@writers
def test_statistics_over_many_blocks_keep_their_digits(write, tmp_path):
    values = (1e6 + noise(WIDE.shape)).astype(np.float32)
    values[700:, :300] = np.nan
    with rasterio.open(write(WIDE.dataset({"z": values}), tmp_path / "map.tif")) as source:
        found = source.tags(1)
    valid = values[np.isfinite(values)].astype(np.float64)
    for key, value in {
        "MINIMUM": valid.min(),
        "MAXIMUM": valid.max(),
        "MEAN": valid.mean(),
        "STDDEV": valid.std(),
    }.items():
        assert float(found[f"STATISTICS_{key}"]) == pytest.approx(value, rel=5e-9), key  # nine digits are kept


@settings(max_examples=50)
@given(
    rows=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    cols=st.lists(st.integers(1, 20), min_size=1, max_size=5),
)
def test_pieces_of_any_size_become_whole_blocks_each_once(rows, cols):
    values = np.arange(2 * sum(rows) * sum(cols), dtype=np.float32).reshape(2, sum(rows), sum(cols))
    tops, lefts = np.cumsum([0, *rows]), np.cumsum([0, *cols])
    pieces = (
        (top, left, list(values[:, top : top + height, left : left + width]))
        for (top, height), (left, width) in itertools.product(
            zip(tops, rows, strict=False), zip(lefts, cols, strict=False)
        )
    )
    joined, seen = np.full_like(values, np.nan), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers_module, "_BLOCK", 8)
        for row, col, block in writers_module._blocks(pieces, values.shape[1:], 2):
            joined[:, row : row + 8, col : col + 8] = block
            seen.append((row, col))
    np.testing.assert_array_equal(joined, values)
    assert sorted(seen) == list(itertools.product(range(0, sum(rows), 8), range(0, sum(cols), 8)))


@pytest.mark.parametrize("set_before", [None, 123 * 2**20])
def test_the_cache_of_gdal_is_afterwards_as_large_as_before(set_before, tmp_path):
    with rasterio.Env(**({"GDAL_CACHEMAX": set_before} if set_before else {})):
        before = get_gdal_config("GDAL_CACHEMAX")
        gp.write_cog(survey(), tmp_path / "map.tif")
        assert get_gdal_config("GDAL_CACHEMAX") == before


_MEMORY = """
import sys
from pathlib import Path
import dask.array as da, numpy as np
from affine import Affine
import geoprospect as gp
from geoprospect.io import writers as writers_module

writers_module._CACHE_BYTES = writers_module._GROUP_BYTES = 8 * 2**20  # which the smaller raster fills too
write, path, side = getattr(gp, sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
grid = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (side, side))

def make(block_info=None):
    return np.full(block_info[None]["chunk-shape"], sum(block_info[None]["chunk-location"]), dtype=np.float32)

chunks = (512,) * (side // 512)
cube = da.map_blocks(make, chunks=((2,), chunks, chunks), dtype="float32", meta=np.empty((0, 0, 0), "float32"))
write(grid.dataset({"a": cube[0], "b": cube[1]}), path)
# Not ru_maxrss, which counts what the process had before it became this script.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@all_writers
def test_nine_times_the_raster_needs_no_more_memory(write, name, tmp_path):
    peaks = []
    # What malloc keeps of the memory that was given back differs from run to run; here it keeps little.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    for side in (1536, 4608):  # 18 and 162 MiB
        command = [sys.executable, "-c", _MEMORY, write.__name__, tmp_path / name, str(side)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 32, peaks


_CLUSTER = """
import sys
from pathlib import Path
import dask.array as da, numpy as np
from affine import Affine
from distributed import Client, LocalCluster
import geoprospect as gp
from geoprospect.io import writers as writers_module

if __name__ == "__main__":
    grid = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (1100, 700))
    bands = {"a": np.arange(770_000, dtype=np.float32).reshape(1100, 700)}
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster):
        cluster.wait_for_workers(2)
        print(writers_module._workers())
        gp.write_cog(grid.dataset(bands).chunk({"y": 300, "x": 300}), Path(sys.argv[1]) / "cluster.tif")
    gp.write_cog(grid.dataset(bands), Path(sys.argv[1]) / "numpy.tif")
"""


@pytest.mark.slow
def test_a_cluster_computes_where_there_is_one(tmp_path):
    (tmp_path / "script.py").write_text(_CLUSTER)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2"]
    assert (tmp_path / "cluster.tif").read_bytes() == (tmp_path / "numpy.tif").read_bytes()


# -- Zarr --------------------------------------------------------------------------------------


def test_a_store_says_what_it_holds(tmp_path):
    data = survey(WIDE)
    data["Cu"].attrs["detection_limit"] = np.float32(0.5)
    path = gp.write_zarr(data, tmp_path / "map.zarr")
    assert path == tmp_path / "map.zarr"
    with xr.open_zarr(path, decode_coords="all") as found:
        assert gp.Grid.of(found) == WIDE
        assert found.rio.crs.to_epsg() == 32649
        assert set(found) == {"Cu", "Au", "nothing"}
        assert found["Cu"].chunks == ((512, 512, 76), (512, 188))
        assert found["Cu"].attrs == {"units": "ppm", "long_name": "copper", "detection_limit": 0.5}
        assert found["Au"].attrs == {"units": "µg/kg", "long_name": "Au"}
        assert found.attrs == {"source": f"geoprospect {gp.__version__}", **data.attrs}
        for name in data.data_vars:
            assert found[name].dtype == np.float32
            np.testing.assert_array_equal(found[name], data[name])


def test_gdal_reads_a_store(tmp_path):
    path = gp.write_zarr(survey(), tmp_path / "map.zarr")
    with rasterio.open(f'ZARR:"{path}":/Cu') as source:
        assert source.transform == GRID.transform
        assert source.crs.to_epsg() == 32649
        assert math.isnan(source.nodata)
        np.testing.assert_array_equal(source.read(1), survey()["Cu"])


def test_a_turned_raster_comes_back_and_a_store_of_it_is_warned_of(tmp_path):
    grid = gp.Grid("EPSG:32649", Affine(8, 6, 500_000, 6, -8, 2_400_000), (5, 7))
    data = grid.dataset(
        {"Cu": np.arange(35, dtype="float32").reshape(5, 7)}, {"Cu": {"units": "ppm", "long_name": "Cu"}}
    )
    from_file = gp.read_survey(gp.write_cog(data, tmp_path / "a.tif"))
    with pytest.warns(DataWarning, match=r"QGIS do not see in a Zarr store; write a \.tif") as caught:
        store = gp.write_zarr(data, tmp_path / "a.zarr")
    assert caught[0].filename == __file__
    for found in (from_file, gp.read_survey(store)):
        xr.testing.assert_equal(found, data)
        assert gp.Grid.of(found) == grid
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):  # or the warning may go
        rasterio.open(f'ZARR:"{store}":/Cu').close()


def test_a_store_replaces_an_older_one_whole(tmp_path):
    gp.write_zarr(survey(WIDE), tmp_path / "map.zarr")
    gp.write_zarr(GRID.dataset({"U": noise()}), tmp_path / "map.zarr")
    assert list(gp.read_survey(tmp_path / "map.zarr")) == ["U"]
    assert not (tmp_path / "map.zarr" / "Cu").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["map.zarr"]


def test_integers_and_nameless_arrays_go_into_a_store_as_float32(tmp_path):
    codes = GRID.dataset({"code": np.arange(2400).reshape(40, 60)})["code"]
    found = gp.read_survey(gp.write_zarr(codes.rename(None), tmp_path / "map.zarr"))
    assert found["band"].dtype == np.float32
    np.testing.assert_array_equal(found["band"], codes)


@pytest.mark.parametrize("name", ["map", "map.tif", "map.zarr.zip"])
def test_a_store_needs_the_name_of_one(name, tmp_path):
    with pytest.raises(InputError, match=r"needs a name that ends in \.zarr"):
        gp.write_zarr(survey(), tmp_path / name)


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path):
    (tmp_path / "map.zarr").mkdir()
    gp.write_zarr(survey(), tmp_path / "map.zarr")  # an empty folder may be
    (tmp_path / "work.zarr").mkdir()
    (tmp_path / "work.zarr" / "thesis.txt").touch()
    with pytest.raises(OutputError, match="is a folder and no Zarr store"):
        gp.write_zarr(survey(), tmp_path / "work.zarr")
    assert (tmp_path / "work.zarr" / "thesis.txt").exists()


@pytest.mark.parametrize("name", ["Cu/Zn", "Cu\\Zn", "..", "", "__a"])
def test_a_band_that_cannot_be_a_folder_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        gp.write_zarr(GRID.dataset({name: noise()}), tmp_path / "map.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loss", ["removed", "changed"])
def test_a_store_that_reads_back_otherwise_is_not_published(loss, tmp_path, monkeypatch):
    before = content(gp.write_zarr(survey(), tmp_path / "map.zarr"))
    consolidate = zarr.consolidate_metadata

    def lose(store):
        consolidate(store)
        if loss == "removed":
            (store / "Cu" / "1.0").unlink()  # reads as NaN, without a word
        else:
            (store / "Cu" / "1.0").write_bytes((store / "Cu" / "1.1").read_bytes())

    monkeypatch.setattr(zarr, "consolidate_metadata", lose)
    with pytest.raises(OutputError, match="band 'Cu' does not read back as it was written"):
        gp.write_zarr(survey(WIDE), tmp_path / "map.zarr")
    assert content(tmp_path / "map.zarr") == before
    assert [file.name for file in tmp_path.iterdir()] == ["map.zarr"]
