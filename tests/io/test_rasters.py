"""Raster files that are read: every value lands where it lies."""

import json
import math
import re
import warnings

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

import geoprospect as gp
from geoprospect.errors import CorruptFileError, CRSError, InputError, MissingFileError

UTM = "EPSG:32649"
GRID = gp.Grid(UTM, Affine(100, 0, 500_000, 0, -100, 2_400_000), (40, 60))
LEFT, BOTTOM, RIGHT, TOP = GRID.bounds


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


def tif(path, values, grid=GRID, crs=UTM, nodata=None, dtype=None, transform=None, descriptions=(), **profile):
    """Write a GeoTIFF with rasterio alone."""
    values = np.asarray(values) if np.ndim(values) == 3 else np.asarray(values)[None]
    values = values.astype(dtype) if dtype else values
    count, height, width = values.shape
    transform = grid.transform if transform is None else transform
    with rasterio.open(
        path, "w", driver="GTiff", dtype=values.dtype, count=count, height=height, width=width, crs=crs,
        transform=transform, nodata=nodata, **profile,
    ) as target:  # fmt: skip
        target.write(values)
        for index, name in enumerate(descriptions, start=1):
            target.set_band_description(index, name)
    return path


def layer(path, geometry, crs=UTM, **columns):
    gpd.GeoDataFrame(columns, geometry=geometry, crs=crs).to_file(path)
    return path


# -- reading rasters: place and orientation ----------------------------------------------------


def coordinates(grid, crs):
    """Return the x and y that the centres of a grid have in a CRS, shape (2, ny, nx)."""
    x, y = np.meshgrid(grid.x, grid.y)
    return np.array(Transformer.from_crs(grid.crs, crs, always_xy=True).transform(x, y))


@pytest.mark.parametrize("resampling", ["auto", "bilinear", "cubic", "average"])
@pytest.mark.parametrize(
    ("cell", "shift"), [(100, 0), (100, 37), (250, 13), (33, 5)], ids=["same", "shifted", "coarser", "finer"]
)
def test_a_raster_that_holds_its_own_coordinates_comes_out_as_those_of_the_grid(cell, shift, resampling, tmp_path):
    wider = gp.Grid(UTM, Affine(cell, 0, LEFT - 5000 + shift, 0, -cell, TOP + 5000 - shift),
                    (math.ceil(14_000 / cell), math.ceil(16_000 / cell)))  # fmt: skip
    path = tif(tmp_path / "xy.tif", coordinates(wider, UTM) - [[[LEFT]], [[TOP]]], wider, descriptions="ab")
    found = gp.read_bands(path, GRID, resampling=resampling)
    x, y = coordinates(GRID, UTM)
    # The mean over whole cells of the raster is not that over the cell of the grid: part of a cell is off.
    averaged = resampling == "average" or (resampling == "auto" and cell == 33)
    off = cell / 2 if averaged else 0.02
    np.testing.assert_allclose(found["a"], x - LEFT, atol=off)
    np.testing.assert_allclose(found["b"], y - TOP, atol=off)


@pytest.mark.parametrize("south_up", [False, True])
@pytest.mark.parametrize(("step", "expected"), [(0.002, "bilinear"), (0.0002, "average")])
def test_a_raster_in_degrees_is_reprojected_to_its_place(step, expected, south_up, tmp_path):
    lon, lat = coordinates(GRID, "EPSG:4326")
    west, north = lon.min() - 0.05, lat.max() + 0.05
    ny, nx = math.ceil((np.ptp(lat) + 0.1) / step), math.ceil((np.ptp(lon) + 0.1) / step)
    degrees = gp.Grid("EPSG:4326", Affine(step, 0, west, 0, -step, north), (ny, nx))
    values, transform = coordinates(degrees, UTM) - [[[LEFT]], [[TOP]]], degrees.transform
    if south_up:
        values, transform = values[:, ::-1], transform @ Affine.translation(0, ny) @ Affine.scale(1, -1)
    path = tif(tmp_path / "xy.tif", values, crs="EPSG:4326", transform=transform, descriptions="ab")
    found = gp.read_bands(path, GRID)
    x, y = coordinates(GRID, UTM)
    np.testing.assert_allclose(found["a"], x - LEFT, atol=12.5)  # GDAL may be off by 1/8 of a cell of the grid
    np.testing.assert_allclose(found["b"], y - TOP, atol=12.5)
    assert abs(float((found["a"] - (x - LEFT)).mean())) < 2
    assert abs(float((found["b"] - (y - TOP)).mean())) < 2
    np.testing.assert_array_equal(found["a"], gp.read_bands(path, GRID, resampling=expected)["a"])


def test_a_rotated_raster_comes_out_straight(tmp_path):
    transform = Affine.translation(LEFT + 3000, TOP + 4000) @ Affine.rotation(-40) @ Affine.scale(80, -80)
    col, row = np.meshgrid(np.arange(150) + 0.5, np.arange(150) + 0.5)
    x, y = transform @ (col, row)
    path = tif(tmp_path / "xy.tif", np.array([x - LEFT, y - TOP]), transform=transform, descriptions="ab")
    found = gp.read_bands(path, GRID, resampling="bilinear")
    wanted = coordinates(GRID, UTM)
    inside = np.isfinite(found["a"].values)
    assert inside.mean() > 0.5
    # GDAL weighs a turned neighbourhood with a kernel along rows and columns: a tenth of a cell off at most.
    np.testing.assert_allclose(found["a"].values[inside], (wanted[0] - LEFT)[inside], atol=8)
    np.testing.assert_allclose(found["b"].values[inside], (wanted[1] - TOP)[inside], atol=8)


@pytest.mark.parametrize("angle", [0, 90, -40])
def test_how_fine_a_raster_is_does_not_depend_on_how_it_lies(angle, tmp_path):
    """Of twice the cells of the grid and more it is averaged, of larger ones not."""
    for size, expected in ((400, "bilinear"), (30, "average")):
        transform = Affine.translation(LEFT + 3000, TOP - 2000) @ Affine.rotation(angle) @ Affine.scale(size, -size)
        transform = transform @ Affine.translation(-100, -100)
        path = tif(tmp_path / f"{size}.tif", noise((200, 200)), transform=transform)
        found, wanted = (gp.read_bands(path, GRID, resampling=how) for how in ("auto", expected))
        np.testing.assert_array_equal(found[str(size)], wanted[str(size)])


def test_a_finer_raster_is_averaged_exactly(tmp_path):
    fine = gp.Grid(UTM, Affine(20, 0, LEFT, 0, -20, TOP), (200, 300))
    values = noise(fine.shape)
    found = gp.read_bands(tif(tmp_path / "fine.tif", values, fine), GRID)["fine"]
    np.testing.assert_allclose(found, values.reshape(40, 5, 60, 5).mean(axis=(1, 3)), rtol=1e-5)


def test_an_average_leaves_nodata_out(tmp_path):
    fine = gp.Grid(UTM, Affine(20, 0, LEFT, 0, -20, TOP), (200, 300))
    values = noise(fine.shape)
    values[::2] = -9999
    values[:5, :5] = -9999
    found = gp.read_bands(tif(tmp_path / "fine.tif", values, fine, nodata=-9999), GRID)["fine"].values
    kept = np.ma.masked_equal(values, -9999).reshape(40, 5, 60, 5).mean(axis=(1, 3))
    np.testing.assert_allclose(found, kept.filled(np.nan), rtol=1e-5)
    assert math.isnan(found[0, 0])


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 255), ("int16", -32768), ("int32", 0), ("float32", -3.4028230607370965e38),
                          ("float64", -1e30), ("float32", math.nan)]
)  # fmt: skip
def test_nodata_of_any_type_is_nan(dtype, nodata, tmp_path):
    values = np.full(GRID.shape, 7, dtype=dtype)
    values[3, 4] = values[0, 0] = nodata
    found = gp.read_bands(tif(tmp_path / "codes.tif", values, nodata=nodata), GRID)["codes"].values
    assert found.dtype == np.float32
    assert math.isnan(found[3, 4])
    assert math.isnan(found[0, 0])
    assert (found == 7).sum() == found.size - 2


def test_a_mask_inside_the_file_is_nan(tmp_path):
    mask = np.full(GRID.shape, 255, dtype=np.uint8)
    mask[:, :10] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = tif(tmp_path / "masked.tif", np.full(GRID.shape, 3, dtype=np.int16))
        with rasterio.open(path, "r+") as target:
            target.write_mask(mask)
    found = gp.read_bands(path, GRID)["masked"].values
    assert np.isnan(found[:, :10]).all()
    assert (found[:, 11:] == 3).all()


def test_packed_integers_are_unpacked(tmp_path):
    path = tif(tmp_path / "packed.tif", np.full(GRID.shape, 50, dtype=np.int16), nodata=-1)
    with rasterio.open(path, "r+") as target:
        target.scales, target.offsets = (0.1,), (-2.0,)
    np.testing.assert_allclose(gp.read_bands(path, GRID)["packed"], 3.0, rtol=1e-6)
    np.testing.assert_allclose(gp.read_survey(path)["band_1"], 3.0, rtol=1e-6)


def test_beyond_the_raster_is_nan(tmp_path):
    path = tif(tmp_path / "part.tif", noise((40, 30)), transform=GRID.transform)
    found = gp.read_bands(path, GRID)["part"].values
    assert np.isfinite(found[:, :30]).all()
    assert np.isnan(found[:, 31:]).all()


def test_class_codes_are_not_blended(tmp_path):
    fine = gp.Grid(UTM, Affine(20, 0, LEFT, 0, -20, TOP), (200, 300))
    codes = np.random.default_rng(0).choice([1, 50, 200], fine.shape).astype(np.uint8)
    path = tif(tmp_path / "codes.tif", codes, fine)
    for resampling in ("nearest", "mode"):
        found = gp.read_bands(path, GRID, resampling=resampling)["codes"].values
        assert set(np.unique(found)) == {1, 50, 200}, resampling
    np.testing.assert_array_equal(gp.read_bands(path, GRID, resampling="nearest")["codes"], codes[2::5, 2::5])


# -- reading rasters: names and refusals -------------------------------------------------------


def test_bands_are_called_by_their_descriptions_the_file_or_the_mapping(tmp_path):
    many = tif(tmp_path / "many.tif", np.ones((3, *GRID.shape)), descriptions=("K", "", "Th"))
    one = tif(tmp_path / "one.tif", np.ones(GRID.shape), descriptions=("whatever",))
    assert list(gp.read_bands([many, one], GRID)) == ["K", "many_2", "Th", "one"]
    assert list(gp.read_bands({"a": one, "b": str(many)}, GRID)) == ["a", "K", "b_2", "Th"]
    assert list(gp.read_bands(str(one), GRID)) == ["one"]


def test_bands_carry_units_names_and_the_grid(tmp_path):
    path = gp.write_cog(survey(), tmp_path / "map.tif")
    found = gp.read_bands(path, GRID)
    assert gp.Grid.of(found) == GRID
    assert found["Cu"].attrs == {"units": "ppm", "long_name": "Cu"}
    assert found["Cu"].dims == ("y", "x")
    assert found["Cu"].dtype == np.float32


def test_bands_of_one_name_are_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    one, two = tif(tmp_path / "x.tif", noise()), tif(tmp_path / "sub" / "x.tif", noise())
    with pytest.raises(InputError, match="two files have the same stem"):
        gp.read_bands([one, two], GRID)
    k = tif(tmp_path / "K.tif", noise())
    both = tif(tmp_path / "both.tif", np.ones((2, *GRID.shape)), descriptions=("K", "Th"))
    with pytest.raises(InputError, match="two bands would be called 'K'"):
        gp.read_bands([k, both], GRID)
    twice = tif(tmp_path / "twice.tif", np.ones((2, *GRID.shape)), descriptions=("K", "K"))
    with pytest.raises(InputError, match=r"twice\.tif.*two of its bands are called 'K'"):
        gp.read_bands(twice, GRID)
    with pytest.raises(InputError, match="two bands have one description"):
        gp.read_survey(twice)


def test_a_raster_without_a_crs_needs_one(tmp_path):
    path = tif(tmp_path / "bare.tif", noise(), crs=None)
    with pytest.raises(CRSError, match="never guessed"):
        gp.read_bands(path, GRID)
    with pytest.raises(CRSError, match="never guessed"):
        gp.read_survey(path)
    np.testing.assert_array_equal(gp.read_bands(path, GRID, crs=UTM)["bare"], noise())


def test_the_crs_of_a_file_stands_above_the_one_given(tmp_path):
    path = tif(tmp_path / "own.tif", noise())
    np.testing.assert_array_equal(gp.read_bands(path, GRID, crs="EPSG:32648")["own"], noise())


@pytest.mark.parametrize("shift", [(6000, 0), (-6000, 0), (0, 4000), (0, -4000)])
def test_a_raster_beside_the_grid_is_refused(shift, tmp_path):
    path = tif(tmp_path / "far.tif", noise(), transform=Affine.translation(*shift) @ GRID.transform)
    with pytest.raises(InputError, match=r"far\.tif.*does not touch the grid"):
        gp.read_bands(path, GRID)
    near = Affine.translation(*(np.array(shift) * 0.9)) @ GRID.transform
    assert np.isfinite(gp.read_bands(tif(tmp_path / "near.tif", noise(), transform=near), GRID)["near"]).any()


def test_a_vrt_that_calls_itself_a_tif_is_refused(tmp_path):
    secret = tif(tmp_path / "secret.tif", noise())
    rasterio.shutil.copy(secret, tmp_path / "link.vrt", driver="VRT")
    (tmp_path / "link.vrt").rename(tmp_path / "innocent.tif")
    with rasterio.open(tmp_path / "innocent.tif") as source:
        assert source.driver == "VRT", "GDAL itself follows it"
    for read in (lambda path: gp.read_bands(path, GRID), gp.read_survey):
        with pytest.raises(InputError, match="cannot be read as a GeoTIFF"):
            read(tmp_path / "innocent.tif")


def test_a_vector_vrt_under_any_name_is_refused(tmp_path):
    secret = layer(tmp_path / "secret.geojson", [shapely.Point(LEFT + 50, TOP - 50)])
    text = (
        f'<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{secret}</SrcDataSource>'
        "</OGRVRTLayer></OGRVRTDataSource>"
    )
    (tmp_path / "innocent.geojson").write_text(text)
    assert len(gpd.read_file(tmp_path / "innocent.geojson")) == 1, "OGR itself follows it"
    with pytest.raises(InputError, match="only points to data elsewhere"):
        gp.read_bands(tmp_path / "innocent.geojson", GRID)


@pytest.mark.parametrize(
    "path", ["https://example.org/a.tif", "/vsicurl/https://example.org/a.tif", "s3://b/a.tif", "/vsizip/a.zip/a.tif"]
)
def test_a_remote_address_is_refused(path):
    with pytest.raises(InputError, match="needs a local file"):
        gp.read_bands(path, GRID)


def test_a_file_that_is_not_there_is_missing(tmp_path):
    tif(tmp_path / "magnetics.tif", noise())
    with pytest.raises(MissingFileError, match=r"did you mean 'magnetics\.tif'"):
        gp.read_bands(tmp_path / "magnetic.tif", GRID)


@settings(max_examples=40)
@given(share=st.floats(0.0, 0.97))
def test_a_truncated_raster_is_an_error_that_names_it(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("truncated")
    path = tif(folder / "map.tif", noise((300, 300)), compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    grid = gp.Grid(UTM, GRID.transform, (300, 300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        for read in (lambda: gp.read_bands(path, grid), lambda: gp.read_survey(path)):
            with pytest.raises((InputError, CorruptFileError), match=re.escape(path.name)):
                read()


@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("random")
    for name in ("map.tif", "map.geojson", "map.gpkg", "map.shp"):
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=re.escape(name)):
            gp.read_bands(folder / name, GRID)


def test_an_unknown_resampling_is_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean 'bilinear'"):
        gp.read_bands(tif(tmp_path / "a.tif", noise()), GRID, resampling="bilinar")


# -- reading stores ----------------------------------------------------------------------------


def test_a_store_is_read_as_it_lies(tmp_path):
    data = survey()
    found = gp.read_survey(str(gp.write_zarr(data, tmp_path / "map.zarr")))
    assert gp.Grid.of(found) == GRID
    assert set(found) == {"Cu", "Au", "nothing"}
    assert found["Cu"].attrs == {"units": "ppm", "long_name": "copper"}
    for name in data.data_vars:
        assert isinstance(found[name].data, np.ndarray)
        np.testing.assert_array_equal(found[name], data[name])


def test_a_store_of_other_makers_is_read_as_float32(tmp_path):
    data = GRID.dataset({"code": np.arange(2400, dtype=np.int16).reshape(40, 60)}).transpose("x", "y")
    data.assign(depth=("level", [1.0, 2.0])).to_zarr(tmp_path / "other.zarr", zarr_format=2)
    found = gp.read_survey(tmp_path / "other.zarr")
    assert list(found) == ["code"]
    assert found["code"].dtype == np.float32
    np.testing.assert_array_equal(found["code"], data["code"].T)


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "map.zarr").mkdir()
    with pytest.raises(InputError, match=r"map\.zarr.*cannot be read as a Zarr store"):
        gp.read_survey(tmp_path / "map.zarr")
    with pytest.raises(MissingFileError, match=r"did you mean 'map\.zarr'"):
        gp.read_survey(tmp_path / "mop.zarr")


def test_a_damaged_store_is_an_error_that_names_it(tmp_path):
    path = gp.write_zarr(survey(), tmp_path / "map.zarr")
    (path / "Cu" / "0.0").write_bytes(b"rot")
    with pytest.raises(CorruptFileError, match=r"map\.zarr: cannot be read"):
        gp.read_survey(path)


# -- reading vectors ---------------------------------------------------------------------------

unit = st.floats(-0.2, 1.2)


def on_grid(u, v):
    return LEFT + u * (RIGHT - LEFT), BOTTOM + v * (TOP - BOTTOM)


@settings(max_examples=25)
@given(corners=st.lists(st.tuples(unit, unit), min_size=3, max_size=8))
def test_a_polygon_takes_the_cells_whose_centre_it_holds(tmp_path_factory, corners):
    polygon = shapely.MultiPoint([on_grid(*corner) for corner in corners]).convex_hull
    if polygon.area < 1e4 or not polygon.intersects(shapely.box(*GRID.bounds)):
        return
    path = layer(tmp_path_factory.mktemp("polygon") / "rock.gpkg", [polygon])
    found = gp.read_bands(path, GRID)["rock"].values
    x, y = np.meshgrid(GRID.x, GRID.y)
    clear = shapely.distance(polygon.boundary, shapely.points(x, y)) > 1e-3
    np.testing.assert_array_equal(found[clear], shapely.contains_xy(polygon, x, y)[clear].astype(float))
    assert set(np.unique(found)) <= {0, 1}


def test_polygons_become_one_band_per_class(tmp_path):
    halves = [shapely.box(LEFT, BOTTOM, LEFT + 3000, TOP), shapely.box(LEFT + 3000, BOTTOM, RIGHT, TOP)]
    path = layer(tmp_path / "rock.gpkg", [*halves, shapely.box(LEFT, BOTTOM, LEFT + 100, TOP)],
                 unit=["granite", "shale", None], code=[2, 1, 3])  # fmt: skip
    found = gp.read_bands(path, GRID, column="unit")
    assert list(found) == ["rock_granite", "rock_shale"]
    west = np.arange(60) < 30
    np.testing.assert_array_equal(found["rock_granite"], np.tile(west, (40, 1)))
    np.testing.assert_array_equal(found["rock_shale"], np.tile(~west, (40, 1)))
    assert list(gp.read_bands(path, GRID, column="code")) == ["rock_1", "rock_2", "rock_3"]
    with pytest.raises(InputError, match=r"column='rock': rock\.gpkg has unit, code"):
        gp.read_bands(path, GRID, column="rock")


def test_a_hole_in_a_polygon_is_no_rock(tmp_path):
    outer = shapely.box(*GRID.bounds)
    hole = shapely.box(LEFT + 1000, BOTTOM + 1000, LEFT + 2000, BOTTOM + 3000)
    found = gp.read_bands(layer(tmp_path / "rock.gpkg", [outer - hole]), GRID)["rock"]
    assert int((found == 0).sum()) == 10 * 20
    assert (found.sel(x=slice(LEFT + 1000, LEFT + 2000), y=slice(BOTTOM + 3000, BOTTOM + 1000)) == 0).all()


def test_polygons_in_degrees_land_at_their_place(tmp_path):
    box = shapely.box(LEFT + 1020, BOTTOM + 1020, LEFT + 2980, BOTTOM + 2980)
    path = layer(tmp_path / "rock.geojson", gpd.GeoSeries([box], crs=UTM).to_crs("EPSG:4326"), "EPSG:4326")
    found = gp.read_bands(path, GRID)["rock"]
    assert float(found.sum()) == 20 * 20
    assert float(found.sel(x=slice(LEFT + 1000, LEFT + 3000), y=slice(BOTTOM + 3000, BOTTOM + 1000)).min()) == 1


@settings(max_examples=15)
@given(
    points=st.lists(st.tuples(unit, unit), min_size=1, max_size=5),
    path=st.lists(st.tuples(unit, unit), min_size=2, max_size=5, unique=True),
    kind=st.sampled_from(["points", "lines", "both"]),
)
def test_lines_and_points_become_the_distance_to_the_nearest(tmp_path_factory, points, path, kind):
    shapes = [shapely.Point(on_grid(*p)) for p in points] if kind != "lines" else []
    shapes += [shapely.LineString([on_grid(*p) for p in path])] if kind != "points" else []
    found = gp.read_bands(layer(tmp_path_factory.mktemp("faults") / "faults.gpkg", shapes), GRID)["faults"]
    x, y = np.meshgrid(GRID.x, GRID.y)
    wanted = np.min([shapely.distance(shape, shapely.points(x, y)) for shape in shapes], axis=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-3)
    assert found.attrs["units"] == "metre"


def test_distances_do_not_depend_on_how_many_rows_are_looked_up_at_once(tmp_path, monkeypatch):
    path = layer(tmp_path / "faults.gpkg", [shapely.LineString([(LEFT, BOTTOM), (RIGHT, TOP)])])
    whole = gp.read_bands(path, GRID)["faults"]
    monkeypatch.setattr("geoprospect.io.rasters._CHUNK_CELLS", 7 * GRID.shape[1])
    np.testing.assert_array_equal(gp.read_bands(path, GRID)["faults"], whole)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"type": "FeatureCollection", "features": []}', "holds no feature with a geometry"),
        ("a,b\n1,2\n", "cannot be read|table without geometry"),
        ("", "cannot be read"),
    ],
    ids=["empty", "table", "nothing"],
)
@pytest.mark.parametrize("name", ["layer.geojson", "layer.csv"])
def test_a_file_without_features_is_refused(content, message, name, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        gp.read_bands(tmp_path / name, GRID)
    assert name.endswith("csv") or re.search(message, str(caught.value))


def test_features_without_a_geometry_are_left_out(tmp_path):
    point = shapely.Point(LEFT + 50, TOP - 50)
    path = layer(tmp_path / "mines.gpkg", [None, point, shapely.Point()], name=["a", "b", "c"])
    assert float(gp.read_bands(path, GRID)["mines"][0, 1]) == 100


def test_a_layer_without_a_crs_needs_one(tmp_path):
    path = tmp_path / "mines.shp"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyogrio says that there is no CRS
        layer(path, [shapely.Point(LEFT + 50, TOP - 50)], crs=None, name=["a"])
    with pytest.raises(CRSError, match="never guessed"):
        gp.read_bands(path, GRID)
    assert float(gp.read_bands(path, GRID, crs=UTM)["mines"][0, 1]) == 100


def test_polygons_beside_the_grid_and_coordinates_without_a_place_are_refused(tmp_path):
    far = layer(tmp_path / "far.gpkg", [shapely.box(LEFT - 200, BOTTOM, LEFT - 100, TOP)])
    with pytest.raises(InputError, match="none of its polygons touches the grid"):
        gp.read_bands(far, GRID)
    swapped = {"type": "Point", "coordinates": [22.0, 910.0]}
    (tmp_path / "swapped.geojson").write_text(json.dumps(swapped))
    with pytest.raises(CRSError, match="no place in"):
        gp.read_bands(tmp_path / "swapped.geojson", GRID)


# -- real rasters ------------------------------------------------------------------------------


@pytest.mark.data
def test_the_rasters_of_the_arabian_shield_come_onto_the_grid_of_its_samples(data_folder):
    folder = data_folder / "arabian_shield"
    samples = gp.read_samples(folder / "samples_clean.csv.gz", x="lon", y="lat", crs="EPSG:4326")
    grid = gp.Grid.covering(samples, resolution=1000)
    paths = sorted((folder / "rasters").glob("*.tif"))
    found = gp.read_bands(paths, grid)
    assert list(found) == [path.stem for path in paths]
    for path in paths:
        band = found[path.stem]
        assert float(band.notnull().mean()) > 0.5, path.stem
        with rasterio.open(path) as source:
            known = source.read(1, masked=True).filled(np.nan)
            assert band.min() >= np.nanmin(known)
            assert band.max() <= np.nanmax(known)
            # A cell holds about what the raster says at its middle; every third row is enough to see that.
            x, y = np.meshgrid(grid.x, grid.y[::3])
            points = np.array(Transformer.from_crs(grid.crs, source.crs, always_xy=True).transform(x, y))
            there = np.array([value[0] for value in source.sample(points.reshape(2, -1).T)]).reshape(x.shape)
        both = np.isfinite(there) & band.notnull().values[::3]
        here, there = band.values[::3][both], there[both]
        shifted = np.corrcoef(here[:-7], there[7:])[0, 1]
        assert np.corrcoef(here, there)[0, 1] > max(0.7, shifted), path.stem


@pytest.mark.data
def test_the_rasters_of_flin_flon_know_the_deposits_as_their_makers_say(data_folder):
    folder = data_folder / "raster_flinflon_vms"
    deposits = gp.read_deposits(folder / "deposits.geojson")
    # Their corner, but coarser cells than their 200 m.
    grid = gp.Grid("EPSG:2957", Affine(300, 0, 606_113.39, 0, -300, 6_079_106.77), (397, 354))
    found = gp.read_bands(sorted((folder / "rasters").glob("*.tif")), grid)
    assert len(found) == 6
    for name, band in found.items():
        assert float(band.notnull().mean()) > 0.2, name
        assert float(np.abs(band).max()) < 1e6, f"{name}: nodata must not come through"
    x, y = grid.points(deposits.geometry)
    row, col = grid.rowcol(x, y)
    values = found["fractal_dim"].values
    at = values[row, col]
    at, elsewhere = at[np.isfinite(at)], values[np.isfinite(values)]
    labels = np.repeat([1, 0], [at.size, elsewhere.size])
    assert gp.stats.rank_auc(labels, np.concatenate([at, elsewhere])) == pytest.approx(0.758, abs=0.02)
