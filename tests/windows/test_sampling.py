"""Where windows are cut: each rule against trying all places."""

import math
import re
import statistics
import tracemalloc
import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.windows import dissimilar, sampling, valid_cells
from geoprospect.windows.settings import WindowOptions, WindowSettings

CELL = 100.0
GRID = gp.Grid("EPSG:32649", Affine(CELL, 0, 500_000, 0, -CELL, 2_400_000), (24, 30))
LEFT, BOTTOM, RIGHT, TOP = GRID.bounds

# Places in cells from the north-west corner: anywhere, on lines between cells, on the rim.
along = st.one_of(st.floats(0, 1 - 1e-6), st.sampled_from([0.0, 0.5, 0.25, 1 - 1e-6]))


def survey(grid=GRID, **bands):
    return grid.dataset({"Cu": np.ones(grid.shape, dtype=np.float32), **bands})


def mines(places, ids=None, crs="EPSG:32649"):
    """Return deposits at (row, col) in cells from the north-west corner."""
    row, col = np.array(places, dtype=float).reshape(-1, 2).T
    frame = {} if ids is None else {"id": ids}
    points = shapely.points(LEFT + CELL * col, TOP - CELL * row)
    return gpd.GeoDataFrame(frame, geometry=points, crs="EPSG:32649").to_crs(crs)


def holds(bounds, point):
    """Return whether a rectangle holds a point; its north and west sides belong to it."""
    left, bottom, right, top = bounds
    return left <= point[0] < right and bottom < point[1] <= top


def places_of(point, size, grid=GRID):
    """Return every place from which a window on the grid holds the point, by trying all."""
    ny, nx = grid.shape
    t = grid.transform
    return {
        (r, c)
        for r in range(ny - size + 1)
        for c in range(nx - size + 1)
        if holds((t.c + t.a * c, t.f + t.e * (r + size), t.c + t.a * (c + size), t.f + t.e * r), point)
    }


def free_places(points, size, buffer):
    """Return every place of a window whole cells away from the cells of all points, by trying all."""
    margin = math.ceil(buffer / CELL)
    row, col = (index[:, None] for index in GRID.rowcol(*points.T))
    r, c = (index.ravel() for index in np.mgrid[: 24 - size + 1, : 30 - size + 1])
    down, across = np.maximum(r - row - 1, row - r - size), np.maximum(c - col - 1, col - c - size)
    return np.flatnonzero((np.maximum(down, across) >= margin).all(axis=0))


def sample(*args, **kwargs):
    """Sample windows, with the warnings that some deposits call for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return gp.sample_windows(*args, **kwargs)


def drawn(seed=0, **settings_):
    places = [(3.5, 4.5), (12.2, 20.1), (20.0, 9.0)]
    arguments = {"size": 6, "crop": 4, "n_ore": 21, "n_barren": 30} | settings_
    return gp.sample_windows(survey(), mines(places, ids=["a", "b", "c"]), rng=seed, **arguments)


# -- where windows lie -------------------------------------------------------------------------


@settings(max_examples=80)
@given(
    spots=st.lists(st.tuples(along, along), min_size=1, max_size=5),
    size=st.integers(1, 9),
    less=st.integers(0, 4),
    each=st.integers(1, 4),
    buffer=st.sampled_from([0.0, 1.0, 150.0, 200.0, 333.3]),
    seed=st.integers(0, 2**31),
)
def test_ore_windows_hold_their_deposit_and_barren_ones_keep_away(spots, size, less, each, buffer, seed):
    deposits = mines([(row * 24, col * 30) for row, col in spots])
    points = shapely.get_coordinates(deposits.geometry.to_numpy())
    crop, n_ore, n_barren = max(1, size - less), each * len(spots) + len(spots) // 2, 5
    arguments = {"size": size, "crop": crop, "n_ore": n_ore, "n_barren": n_barren, "buffer": buffer, "rng": seed}
    room = np.array([len(places_of(point, size)) for point in points])
    if room.sum() < n_ore or len(free_places(points, size, buffer)) < n_barren:
        with pytest.raises(InputError, match=r"positions remain|different windows"):
            sample(survey(), deposits, **arguments)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "deposits: .* have fewer possible windows", DataWarning)
        windows = sample(survey(), deposits, **arguments)
    assert len(windows) == n_ore + n_barren
    assert windows.labels.tolist() == [1] * n_ore + [0] * n_barren
    np.testing.assert_array_equal(windows.deposit_points, points)
    # On the grid, each of its size.
    left, bottom, right, top = windows.bounds.T
    assert (left >= LEFT).all()
    assert (bottom >= BOTTOM).all()
    assert (right <= RIGHT).all()
    assert (top <= TOP).all()
    np.testing.assert_allclose(right - left, size * CELL)
    np.testing.assert_allclose(top - bottom, size * CELL)
    # Ore windows: evenly shared as far as there is room, each deposit's at different places, each one holds it.
    shares = np.bincount(windows.deposits[:n_ore], minlength=len(spots))
    assert (shares <= room).all()
    assert (shares[shares < shares.max() - 1] == room[shares < shares.max() - 1]).all()
    for d, point in enumerate(points):
        own = windows[windows.deposits == d]
        assert len(set(zip(own.rows, own.cols, strict=True))) == len(own)
        assert set(zip(own.rows.tolist(), own.cols.tolist(), strict=True)) <= places_of(point, size)
    # Barren windows: different places, none holds a deposit or comes nearer to one than the buffer.
    barren = windows[windows.labels == 0]
    assert len(set(zip(barren.rows, barren.cols, strict=True))) == n_barren
    assert (barren.deposits == -1).all()
    for bounds in barren.bounds:
        assert not any(holds(bounds, point) for point in points)
        assert shapely.distance(shapely.box(*bounds), shapely.points(points)).min() >= buffer - 1e-6


def test_all_places_of_a_deposit_can_come_up():
    deposits = mines([(10.5, 10.5), (20.5, 25.5)])
    windows = gp.sample_windows(survey(), deposits, size=4, crop=3, n_ore=32, n_barren=5, rng=0)
    for d, point in enumerate(windows.deposit_points):
        own = windows[windows.deposits == d]
        assert set(zip(own.rows.tolist(), own.cols.tolist(), strict=True)) == places_of(point, 4)
        assert len(own) == 16


def test_all_barren_ground_can_come_up_and_no_more():
    deposits = mines([(0.5, 0.5), (23.5, 29.5)])
    # 19 x 25 places, less the one that each corner takes.
    windows = sample(survey(), deposits, size=6, crop=6, n_ore=2, n_barren=19 * 25 - 2, rng=0)
    assert int((windows.labels == 0).sum()) == 473
    with pytest.raises(InputError, match="n_barren=474: only 473 positions remain"):
        sample(survey(), deposits, size=6, crop=6, n_ore=2, n_barren=474, rng=0)


@pytest.mark.parametrize(("row", "col"), [(0, 0), (0, 29.99), (23.99, 0), (23.99, 29.99)])
def test_a_deposit_in_a_corner_has_one_place(row, col):
    windows = sample(survey(), mines([(row, col), (12, 15)]), size=5, crop=5, n_ore=2, n_barren=3, rng=0)
    own = windows[windows.deposits == 0]
    assert (own.rows.tolist(), own.cols.tolist()) == ([0 if row < 1 else 19], [0 if col < 1 else 25])
    with pytest.warns(DataWarning, match=r"1 at the edge of the data have fewer possible windows \(id 1: 1\)"):
        windows = gp.sample_windows(survey(), mines([(row, col), (12, 15)]), size=5, crop=5, n_ore=6, n_barren=3, rng=0)
    assert np.bincount(windows.deposits[:6]).tolist() == [1, 5]


# -- deposits ----------------------------------------------------------------------------------


def test_deposits_in_degrees_are_as_good():
    deposits = mines([(3.5, 4.5), (12.2, 20.1)])
    first, second = (
        gp.sample_windows(survey(), frame, size=6, crop=4, n_ore=20, n_barren=20, rng=0)
        for frame in (deposits, deposits.to_crs("EPSG:4326"))
    )
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.cols, second.cols)


def test_deposits_off_the_grid_are_named_and_left_out():
    deposits = mines([(3.5, 4.5), (24.0, 4.5), (12.5, 20.5), (-0.1, 3)], ids=["in", "south rim", "mid", "north"])
    with pytest.warns(DataWarning, match=r"2 are off the grid and are left out \(id south rim, north\)"):
        windows = gp.sample_windows(survey(), deposits, size=4, crop=4, n_ore=6, n_barren=5, rng=0)
    assert windows.deposit_ids == ("in", "mid")
    assert set(windows.footprints()["deposit_id"].dropna()) == {"in", "mid"}


def test_deposits_without_ids_are_numbered_from_1_in_the_order_of_the_file():
    deposits = mines([(3.5, 4.5), (-5, 4.5), (12.5, 20.5)])
    with pytest.warns(DataWarning, match=r"1 are off the grid and are left out \(id 2\)"):
        assert gp.sample_windows(survey(), deposits, 4, 4, 6, 5, rng=0).deposit_ids == (1, 3)


def test_a_single_deposit_is_warned_of():
    with pytest.warns(DataWarning, match="only one is on the grid; validation needs two"):
        windows = gp.sample_windows(survey(), mines([(3.5, 4.5)]), 4, 4, 6, 5, rng=0)
    assert len(windows) == 11


def test_more_deposits_than_ore_windows_are_warned_of():
    with pytest.warns(DataWarning, match="there are 3 deposits, so 1 of them have no window"):
        windows = drawn(n_ore=2)
    assert len(set(windows.deposits[:2])) == 2


def test_no_deposit_on_the_grid_is_an_error():
    with pytest.raises(InputError, match="none of the 2 is on the grid"):
        gp.sample_windows(survey(), mines([(-5, 4), (30, 4)]), 4, 4, 6, 5)
    with pytest.raises(InputError, match="there are none"):
        gp.sample_windows(survey(), mines([]), 4, 4, 6, 5)
    with pytest.raises(CRSError, match="carries no CRS"):
        gp.sample_windows(survey(), mines([(3, 4)]).set_crs(None, allow_override=True), 4, 4, 6, 5)


def test_deposits_in_one_cell_may_share_places():
    windows = gp.sample_windows(survey(), mines([(3.2, 4.2), (3.8, 4.8)]), 4, 4, 32, 5, rng=0)
    assert np.bincount(windows.deposits[:32]).tolist() == [16, 16]


# -- data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("min_valid", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_windows_have_the_data_asked_for_in_all_bands(min_valid):
    rng = np.random.default_rng(1)
    au, cu = np.ones(GRID.shape), np.ones(GRID.shape)
    au[:, 18:], cu[:9] = np.nan, np.nan
    au[rng.random(GRID.shape) < 0.03] = np.inf
    bands = survey(Cu=cu, Au=au)
    windows = gp.sample_windows(bands, mines([(15.5, 6.5), (12.2, 14.1)]), 5, 4, 4, 15, rng=0, min_valid=min_valid)
    known = np.isfinite(cu) & np.isfinite(au)
    shares = [known[r : r + 5, c : c + 5].mean() for r, c in zip(windows.rows, windows.cols, strict=True)]
    assert min(shares) >= min_valid
    if min_valid == 0:
        assert min(shares) < 0.25, "without the rule there are such windows"


def test_ground_without_data_leaves_no_place():
    bands = survey(Au=np.where(np.arange(30) > 27, 1.0, np.full(GRID.shape, np.nan)))
    with pytest.raises(InputError, match="only 0 different windows"):
        sample(bands, mines([(3, 4), (9, 9)]), 4, 4, 6, 5, rng=0)


@pytest.mark.parametrize("min_valid", [0.0, 0.5])
def test_a_band_without_any_data_is_named_with_the_call_that_leaves_it_out(min_valid):
    empty, places = np.full(GRID.shape, np.nan), mines([(3, 4), (9, 9)])
    with pytest.raises(InputError, match=r"no data at all in Au, .* drop it: survey\.drop_vars\('Au'\)"):
        gp.sample_windows(survey(Au=empty), places, 4, 4, 6, 5, min_valid=min_valid)
    with pytest.raises(InputError, match=r"no data at all in Au, Sn, .*survey\.drop_vars\(\['Au', 'Sn'\]\)"):
        gp.sample_windows(survey(Au=empty, Sn=empty), places, 4, 4, 6, 5, min_valid=min_valid)
    with pytest.raises(InputError, match="survey: has no data in any of Cu, Au"):
        gp.sample_windows(survey(Cu=empty, Au=empty), places, 4, 4, 6, 5, min_valid=min_valid)


@pytest.mark.parametrize("deposits", [[(1, 2)], "mines.gpkg", pd.DataFrame({"x": [1.0], "y": [2.0]})], ids=str)
def test_deposits_that_are_no_points_are_refused_with_the_way_to_make_them(deposits):
    with pytest.raises(InputError, match=r"^deposits.*needs a GeoDataFrame of points; read a file with read_deposits"):
        gp.sample_windows(survey(), deposits, 4, 4, 6, 5)
    with pytest.raises(InputError, match="deposits: the GeoDataFrame has no geometry"):
        gp.sample_windows(survey(), gpd.GeoDataFrame({"id": [1]}), 4, 4, 6, 5)


def test_arguments_in_each_others_place_are_named():
    with pytest.raises(InputError, match="survey: is a GeoDataFrame, needs an xarray Dataset"):
        gp.sample_windows(mines([(3, 4)]), survey(), 4, 4, 6, 5)
    with pytest.raises(InputError, match=r"windows: is a Dataset, needs Windows.*they come first, then the survey"):
        gp.least_like_ore(survey(), drawn())


@pytest.mark.parametrize("step", [1, 3])
def test_valid_cells_of_windows_are_counted_as_one_by_one(step):
    valid = np.random.default_rng(0).random((23, 31)) < 0.6
    rows, cols = (at.ravel() for at in np.mgrid[0 : 23 - 5 + 1 : step, 0 : 31 - 5 + 1 : step])
    expected = np.array([valid[r : r + 5, c : c + 5].mean() for r, c in zip(rows, cols, strict=True)])
    np.testing.assert_allclose(valid_cells.valid_fraction(valid, rows, cols, 5), expected)
    table = valid_cells.summed_area(valid)
    np.testing.assert_array_equal(valid_cells.valid_positions(table, 5, step, 0.6).ravel(), expected >= 0.6 - 1e-12)


# -- the draw ----------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_windows():
    first, second, other = drawn(5), drawn(5), drawn(6)
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.cols, second.cols)
    assert (first.rows != other.rows).any()
    generator = np.random.default_rng(5)
    np.testing.assert_array_equal(drawn(generator).cols, first.cols)
    assert (drawn(generator).cols != first.cols).any()


@pytest.mark.parametrize(
    ("settings_", "message"),
    [({"size": 25}, "has only 24 x 30 cells"), ({"crop": 7}, "crop=7: is more than the window of size=6"),
     ({"size": 0}, "size=0"), ({"crop": 0}, "crop=0"), ({"n_ore": 0}, "n_ore=0"), ({"n_barren": 0}, "n_barren=0"),
     ({"buffer": -1}, "buffer=-1"), ({"min_valid": 1.1}, "min_valid=1.1"),
     ({"n_ore": 200}, "n_ore=200: only 80 different windows of 6 cells contain a deposit"),
     ({"buffer": 5000}, "only 0 positions remain")],
)  # fmt: skip
def test_a_setting_that_cannot_be_met_is_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        drawn(**settings_)


# -- rules of places ---------------------------------------------------------------------------


def corners_of(point, width, slide, step, known, min_valid):
    """Return every place from which a window may hold the point, by trying all and measuring."""
    (row,), (col,) = GRID.rowcol(*np.reshape(point, (2, 1)))
    found = set()
    for r, c in places_of(point, width):
        # Between the middle of the window and that of the deposit's cell; half a cell is as near as cells allow.
        off = max(abs(row + 0.5 - r - width / 2), abs(col + 0.5 - c - width / 2))
        near = off <= max(slide * width / 2, 0.5) + 1e-9
        whole = known[r : r + width, c : c + width].mean() >= min_valid - 1e-12
        if near and whole and r % step == 0 and c % step == 0:
            found.add((r, c))
    return found


def barren_corners(points, width, buffer, step, known, min_valid):
    """Return every place of a barren window, by trying all."""
    across = 30 - width + 1
    free = (divmod(int(place), across) for place in free_places(points, width, buffer))
    return {
        (r, c)
        for r, c in free
        if r % step == 0 and c % step == 0 and known[r : r + width, c : c + width].mean() >= min_valid - 1e-12
    }


@settings(max_examples=60)
@given(
    spots=st.lists(st.tuples(along, along), min_size=1, max_size=4),
    size=st.integers(1, 7),
    zooms=st.sampled_from([(1,), (2,), (1, 2), (3, 1)]),
    slide=st.sampled_from([0.0, 0.3, 0.58, 1.0]),
    step=st.integers(1, 4),
    min_valid=st.sampled_from([0.0, 0.5, 0.9]),
    buffer=st.sampled_from([0.0, 150.0]),
    draws=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_every_window_keeps_every_rule(spots, size, zooms, slide, step, min_valid, buffer, draws, seed):
    rng = np.random.default_rng(seed)
    known, inside = rng.random(GRID.shape) < 0.9, np.zeros(GRID.shape, dtype=bool)
    inside[:, : rng.integers(20, 31)] = True
    mask = survey()["Cu"].copy(data=inside)
    ground, known = survey(Cu=np.where(known, 1.0, np.nan)), known & inside
    deposits = mines([(row * 24, col * 30) for row, col in spots])
    points = shapely.get_coordinates(deposits.geometry.to_numpy())
    ore_room = {z: [corners_of(p, size * z, slide, step, known, min_valid) for p in points] for z in zooms}
    barren_room = {z: barren_corners(points, size * z, buffer, step, known, min_valid) for z in zooms}
    n_ore, n_barren, n = len(spots) * len(zooms) + 1, 7, len(zooms)
    parts = {z: (n_ore // n + (i < n_ore % n), n_barren // n + (i < n_barren % n)) for i, z in enumerate(zooms)}

    def cut():
        return sample(
            ground, deposits, size, 1, n_ore, n_barren, seed, buffer=buffer,
            min_valid=min_valid, slide=slide, step=step, zooms=zooms, mask=mask, draws=draws,
        )  # fmt: skip

    if any(sum(map(len, ore_room[z])) < parts[z][0] or len(barren_room[z]) < parts[z][1] for z in zooms):
        with pytest.raises(InputError, match=r"positions remain|different windows"):
            cut()
        return
    windows = cut()
    for z in zooms:
        own = windows[windows.zooms == z]
        assert int(own.labels.sum()) == parts[z][0]
        for d, room in enumerate(ore_room[z]):
            mine = own[own.deposits == d]
            at = list(zip(mine.rows.tolist(), mine.cols.tolist(), strict=True))
            assert len(set(at)) == len(at)
            assert set(at) <= room
        for k in range(draws):
            mine = own[(own.labels == 0) & (own.draw == (k if draws > 1 else -1))]
            at = list(zip(mine.rows.tolist(), mine.cols.tolist(), strict=True))
            assert len(set(at)) == len(at) == parts[z][1]
            assert set(at) <= barren_room[z]
    # Over all zooms, no deposit has two windows less than another that has no room for more.
    total = np.bincount(windows.deposits[windows.labels == 1], minlength=len(spots))
    room = np.array([sum(len(ore_room[z][d]) for z in zooms) for d in range(len(spots))])
    assert n > 1 or (total[total < total.max() - 1] == room[total < total.max() - 1]).all()


def test_all_places_that_the_rules_allow_can_come_up():
    deposits = mines([(10.5, 10.5), (17.5, 22.5)])
    rules = {"slide": 0.7, "step": 2}
    known = np.ones(GRID.shape, dtype=bool)
    windows = gp.sample_windows(survey(), deposits, 8, 8, n_ore=18, n_barren=5, rng=0, **rules)
    for d, point in enumerate(windows.deposit_points):
        own = windows[windows.deposits == d]
        at = set(zip(own.rows.tolist(), own.cols.tolist(), strict=True))
        assert at == corners_of(point, 8, 0.7, 2, known, 1.0)
        assert len(at) == 9
    most = len(barren_corners(windows.deposit_points, 8, 0.0, 2, known, 1.0))
    barren = gp.sample_windows(survey(), deposits, 8, 8, n_ore=18, n_barren=most, rng=0, **rules)
    assert len(barren) == 18 + most
    with pytest.raises(InputError, match=f"only {most} positions remain"):
        gp.sample_windows(survey(), deposits, 8, 8, n_ore=18, n_barren=most + 1, rng=0, **rules)


@pytest.mark.parametrize(("size", "offsets"), [(7, {3}), (8, {3, 4}), (1, {0}), (2, {0, 1})])
def test_with_no_slide_a_deposit_stands_in_the_cells_in_the_middle(size, offsets):
    deposits, n = mines([(9.5, 8.5), (14.2, 19.1)]), len(offsets) ** 2
    windows = gp.sample_windows(survey(), deposits, size, 1, n_ore=2 * n, n_barren=5, rng=0, slide=0.0)
    ore = windows[windows.labels == 1]
    row, col = GRID.rowcol(*ore.deposit_points[ore.deposits].T)
    assert set((row - ore.rows).tolist()) == set((col - ore.cols).tolist()) == offsets


# -- zooms -------------------------------------------------------------------------------------


def test_zoom_never_tells_the_label():
    windows = drawn(zooms=(1, 2, 3), size=4, crop=3, n_ore=30, n_barren=45, draws=2)
    for label, draw, n in ((1, -1, 10), (0, 0, 15), (0, 1, 15)):
        own = windows.zooms[(windows.labels == label) & (windows.draw == draw)]
        assert np.bincount(own).tolist() == [0, n, n, n]


def test_zooms_that_do_not_divide_the_windows_differ_by_one():
    windows = drawn(zooms=(1, 2, 3), size=4, crop=3, n_ore=32, n_barren=47)
    assert np.bincount(windows.zooms[windows.labels == 1]).tolist() == [0, 11, 11, 10]
    assert np.bincount(windows.zooms[windows.labels == 0]).tolist() == [0, 16, 16, 15]


@pytest.mark.parametrize("seed", range(8))
def test_zooms_are_shared_out_evenly_over_the_deposits(seed):
    """Of 8 windows of three deposits each has 2 or 3, though of each zoom one deposit has one more than the others."""
    windows = drawn(seed, zooms=(1, 2), size=4, crop=3, n_ore=8)
    assert sorted(np.bincount(windows.deposits[windows.labels == 1])) == [2, 3, 3]
    assert np.bincount(windows.zooms[windows.labels == 1]).tolist() == [0, 4, 4]
    assert (np.diff(windows.deposits[:8]) >= 0).all(), "ore windows come by deposit"


def test_one_zoom_may_be_given_as_a_number():
    np.testing.assert_array_equal(drawn(zooms=2, size=4).rows, drawn(zooms=[2], size=4).rows)
    assert set(drawn(zooms=2, size=4).zooms.tolist()) == {2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zooms": ()}, r"zooms=\(\): needs one or more different whole numbers"),
        ({"zooms": (1, 1)}, r"zooms=\(1, 1\): needs one or more different"),
        ({"zooms": (1, 0)}, "zooms=0"),
        ({"zooms": 1.5}, "zooms=1.5"),
        ({"zooms": (1, 5)}, r"size=6, zooms=\(1, 5\): a window covers up to 30 cells .* pass size=4 or less"),
        ({"zooms": 25}, "pass smaller zooms"),
        ({"size": 25}, "has only 24 x 30 cells; pass size=24 or less"),
        ({"zooms": (1, 2), "n_ore": 1}, "n_ore=1: needs a whole number of at least 2"),
        ({"slide": 1.1}, "slide=1.1"),
        ({"step": 0}, "step=0"),
        ({"draws": 0}, "draws=0"),
        ({"barren": "similar"}, "barren='similar'.*did you mean 'dissimilar'"),
        ({"dissimilar": 0.3}, "dissimilar=0.3: barren='random' draws from all positions"),
        ({"barren": "dissimilar", "dissimilar": 0}, "dissimilar=0"),
        ({"recipe": "gao2021"}, "recipe='gao2021'.*did you mean 'gao2022'"),
    ],
)
def test_a_rule_without_meaning_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        drawn(**change)


def test_settings_and_their_keywords_have_the_same_names():
    assert list(WindowOptions.__annotations__) == list(WindowSettings.__dataclass_fields__)
    with pytest.raises(InputError, match="bufer=5: there is no such setting; did you mean 'buffer'"):
        drawn(bufer=5)


# -- the paper's set ---------------------------------------------------------------------------

WIDE = gp.Grid("EPSG:32649", Affine(CELL, 0, 500_000, 0, -CELL, 2_400_000), (640, 700))


def paper(**change):
    return gp.sample_windows(survey(WIDE), mines([(300.5, 300.5), (320.5, 330.5)]), rng=0, **change)


def test_the_recipe_of_the_paper_gives_its_set():
    windows = paper(recipe="gao2022")
    assert np.bincount(windows.labels).tolist() == [225, 212]
    assert (windows.size, windows.crop, windows.n_draws, set(windows.zooms.tolist())) == (256, 224, 1, {1})
    np.testing.assert_array_equal(windows.cols, paper().cols)
    free = paper(recipe="gao2022", buffer=500.0, slide=0.5, step=4, min_valid=0.9)
    assert np.bincount(free.labels).tolist() == [225, 212]


@pytest.mark.parametrize(
    "change",
    [{"size": 128}, {"crop": 200}, {"n_ore": 211}, {"n_barren": 200}, {"zooms": (1, 2)}, {"barren": "dissimilar"},
     {"draws": 2}],
)  # fmt: skip
def test_what_contradicts_the_recipe_is_named(change):
    ((name, value),) = change.items()
    with pytest.raises(InputError, match=re.escape(f"{name}={value!r}: recipe='gao2022' has {name}=")):
        paper(recipe="gao2022", **change)


def test_the_recipe_has_no_mask():
    with pytest.raises(InputError, match="mask: recipe='gao2022' has mask=None"):
        paper(recipe="gao2022", mask=survey(WIDE)["Cu"] > 0)


# -- the mask ----------------------------------------------------------------------------------


def test_cells_outside_the_mask_count_as_cells_without_data():
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[:, :15] = True
    mask = survey()["Cu"].copy(data=inside)
    arguments = {"size": 6, "crop": 4, "n_ore": 10, "n_barren": 30, "rng": 0, "min_valid": 0.7}
    deposits = mines([(3.5, 4.5), (12.2, 10.1)])
    windows = gp.sample_windows(survey(), deposits, mask=mask, **arguments)
    cut = gp.sample_windows(survey(Cu=np.where(inside, 1.0, np.nan)), deposits, **arguments)
    np.testing.assert_array_equal(windows.cols, cut.cols)
    shares = np.array([inside[r : r + 6, c : c + 6].mean() for r, c in zip(windows.rows, windows.cols, strict=True)])
    assert shares.min() >= 0.7
    assert shares.min() < 1
    turned = gp.sample_windows(survey(), deposits, mask=mask.T, **arguments)
    np.testing.assert_array_equal(turned.cols, windows.cols)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(GRID.shape, dtype=bool), "mask: is ndarray; needs a DataArray of bool"),
        (survey()["Cu"], r"mask: is a DataArray of float32 and dims \('y', 'x'\); needs a DataArray of bool"),
        ((survey()["Cu"] > 0).isel(x=0), r"dims \('y',\); needs"),
        ((survey()["Cu"] > 0).isel(x=slice(1, None)), "mask: is on Grid.*, the survey on Grid"),
        ((survey()["Cu"] > 0).drop_vars("spatial_ref"), "mask: .*carries no CRS"),
        (survey()["Cu"] > 1, "only 0 different windows"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, message):
    with pytest.raises(InputError, match=message):
        drawn(mask=mask)


def test_a_lack_of_barren_ground_in_the_mask_is_said():
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[:6, :10] = inside[10:16, 15:25] = inside[18:, 5:14] = True
    with pytest.raises(InputError, match=r"n_barren=30: only .* min_valid \(0\.9\) or a larger mask$"):
        drawn(mask=survey()["Cu"].copy(data=inside), min_valid=0.9, n_ore=3, n_barren=30)


# -- draws -------------------------------------------------------------------------------------


def test_draws_share_their_ore_and_differ_in_their_barren_windows():
    windows = drawn(draws=3)
    assert windows.n_draws == 3
    assert np.bincount(windows.draw + 1).tolist() == [21, 30, 30, 30]
    assert (windows.draw[windows.labels == 1] == -1).all()
    first, second, third = (
        set(zip(own.rows[21:].tolist(), own.cols[21:].tolist(), strict=True)) for own in map(windows.of_draw, range(3))
    )
    assert len(first) == len(second) == len(third) == 30
    assert len({frozenset(first), frozenset(second), frozenset(third)}) == 3
    np.testing.assert_array_equal(windows.of_draw(0).rows, drawn().rows)


def test_a_draw_may_take_all_the_ground_there_is():
    windows = drawn(draws=2, n_barren=len(free_places(drawn().deposit_points, 6, 0.0)))
    first, second = windows.of_draw(0), windows.of_draw(1)
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.cols, second.cols)


# -- barren windows least like ore -------------------------------------------------------------


def slow_means(ground, windows):
    """Return the mean of each band over each window, cell by cell."""
    rows = []
    for r, c, width in zip(windows.rows, windows.cols, windows.widths, strict=True):
        cells = [band.to_numpy()[r : r + width, c : c + width].astype(np.float64) for band in ground.data_vars.values()]
        rows.append([part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in cells])
    return np.array(rows)


def slow_unlikeness(ore, places):
    """Return the Mahalanobis distance of each place from the nearest ore window, in normal scores, pair by pair."""
    both = np.concatenate([ore, places])
    scores = np.zeros(both.shape)
    for band, column in enumerate(both.T):
        known = np.flatnonzero(np.isfinite(column))
        for at in known:
            same = np.isclose(column[known], column[at], rtol=1e-12, atol=1e-9 * np.ptp(column[known]))
            rank = (~same & (column[known] < column[at])).sum() + (same.sum() + 1) / 2
            scores[at, band] = statistics.NormalDist().inv_cdf((rank - 0.5) / known.size)
    own = scores[len(ore) :]
    spread = 0.9 * np.mean([np.outer(one, one) for one in own], axis=0) + 0.1 * np.eye(both.shape[1])
    inverse = np.linalg.inv(spread)
    return np.array([min(math.sqrt((a - b) @ inverse @ (a - b)) for b in scores[: len(ore)]) for a in own])


def rough(seed=0):
    """Return bands with ties, holes and one that is the sum of two others."""
    rng = np.random.default_rng(seed)
    cu, au = rng.lognormal(3, 1, GRID.shape), rng.integers(0, 3, GRID.shape).astype(float)
    cu[rng.random(GRID.shape) < 0.1] = np.nan
    cu[:5, :5] = np.nan
    au[20:, 20:] = np.inf
    flat = np.full(GRID.shape, 7.0)
    return survey(Cu=cu, Au=au, sum=cu + au, flat=flat)


def test_band_means_agree_with_cells_taken_one_by_one():
    windows = drawn(zooms=(1, 2), n_barren=40)
    corner = gp.Windows(GRID, [0, 19], [0, 25], [0, 0], [-1, -1], (), [], 5, 5)  # where copper, and gold, have no data
    for some in (windows, corner):
        fast = dissimilar.window_means(rough(), some.rows, some.cols, some.widths)
        np.testing.assert_allclose(fast, slow_means(rough(), some), rtol=1e-12)
    assert np.isnan(fast).any()


@pytest.mark.parametrize("seed", range(3))
def test_unlikeness_agrees_with_pairs_taken_one_by_one(seed):
    rng = np.random.default_rng(seed)
    means = np.round(rng.lognormal(size=(40, 3)), 1)  # with ties
    means = np.column_stack([means, means.sum(axis=1), np.ones(40)])
    means[rng.random(means.shape) < 0.05] = np.nan
    np.testing.assert_allclose(
        dissimilar.dissimilarity(means[:8], means[8:]), slow_unlikeness(means[:8], means[8:]), rtol=1e-9, atol=1e-12
    )


def test_unlikeness_knows_no_units():
    rng = np.random.default_rng(0)
    ore, places = rng.lognormal(size=(8, 3)), rng.lognormal(size=(30, 3))
    np.testing.assert_allclose(
        dissimilar.dissimilarity(ore, places), dissimilar.dissimilarity(np.log(ore) * 5, np.log(places) * 5)
    )


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_dissimilar_windows_are_drawn_from_the_least_like_ore(share):
    ground, deposits = rough(), mines([(3.5, 14.5), (12.2, 15.1), (20.0, 9.0)])
    settings_ = {"size": 5, "crop": 4, "n_ore": 12, "n_barren": 60, "zooms": (1, 2), "draws": 2, "rng": 0}
    windows = gp.sample_windows(
        ground, deposits, barren="dissimilar", dissimilar=share, min_valid=0.0, **settings_
    )  # fmt: skip
    for zoom in (1, 2):
        at = free_places(windows.deposit_points, 5 * zoom, 0.0)
        rows, cols = np.divmod(at, 30 - 5 * zoom + 1)
        places = gp.Windows(GRID, rows, cols, 0 * rows, 0 * rows - 1, (), [], 5, 4, np.full(len(at), zoom))
        own = windows[windows.zooms == zoom]
        distance = slow_unlikeness(slow_means(ground, own[own.labels == 1]), slow_means(ground, places))
        least = np.sort(distance)[-math.ceil(share * len(at))]
        of = dict(zip(zip(rows.tolist(), cols.tolist(), strict=True), distance, strict=True))
        for draw in (0, 1):
            barren = own[(own.labels == 0) & (own.draw == draw)]
            assert len(barren) == 30
            assert (
                min(of[place] for place in zip(barren.rows.tolist(), barren.cols.tolist(), strict=True)) >= least - 1e-9
            )


def test_copper_at_both_ends_of_its_range_is_unlike_ore_in_the_middle():
    east = np.broadcast_to(np.linspace(-1, 1, 30), GRID.shape).astype(np.float32)
    ground = survey(Cu=east)
    ore = mines([(3.5, 14.5), (12.2, 15.1), (20.0, 14.0)])
    settings_ = {"size": 4, "crop": 3, "n_ore": 12, "n_barren": 40, "rng": 0}
    unlike = gp.sample_windows(ground, ore, barren="dissimilar", dissimilar=0.3, **settings_)
    random = gp.sample_windows(ground, ore, **settings_)
    off = [np.abs(w.cols[w.labels == 0] + 2 - 15) for w in (unlike, random)]
    assert off[0].min() > 7 > 5 > off[1].min()
    sides = np.sign(unlike.cols[unlike.labels == 0] + 2 - 15)
    assert set(sides.tolist()) == {-1, 1}


def test_of_very_many_places_some_are_looked_at(monkeypatch):
    monkeypatch.setattr(sampling, "_CANDIDATES", 50)
    seen = []
    monkeypatch.setattr(sampling, "dissimilarity", lambda ore, places: seen.append(len(places)) or places[:, 0])
    settings_ = {"barren": "dissimilar", "dissimilar": 0.2, "rng": 0}
    deposits = mines([(3.5, 14.5), (12.2, 15.1)])
    gp.sample_windows(rough(), deposits, 5, 4, 6, 8, **settings_)
    gp.sample_windows(rough(), deposits, 5, 4, 6, 30, **settings_)
    assert seen == [50, 150], "as many as it takes to have the share"


def test_within_a_fold_the_least_like_ore_are_kept_of_each_zoom_and_draw():
    ground = rough()
    deposits, rules = mines([(3.5, 14.5), (12.2, 15.1), (20.0, 9.0)]), {"zooms": (1, 2), "draws": 2, "min_valid": 0.0}
    windows = gp.sample_windows(ground, deposits, 5, 4, 12, 20, rng=0, **rules)
    kept = gp.least_like_ore(windows, ground, share=0.31)
    assert (np.diff(kept) > 0).all()
    assert (windows.labels[kept] == 1).sum() == 12
    for zoom in (1, 2):
        own = np.flatnonzero(windows.zooms == zoom)
        ore, barren = own[windows.labels[own] == 1], own[windows.labels[own] == 0]
        distance = slow_unlikeness(slow_means(ground, windows[ore]), slow_means(ground, windows[barren]))
        for draw in (0, 1):
            mine = windows.draw[barren] == draw
            farthest = barren[mine][np.argsort(-distance[mine], kind="stable")[:4]]  # 0.31 of 10, rounded up
            assert set(farthest) == set(kept) & set(barren[mine])
    np.testing.assert_array_equal(gp.least_like_ore(windows, ground, share=1), np.arange(len(windows)))


def test_windows_held_out_have_no_say_in_which_are_kept():
    """The same training windows are kept whatever the windows of the test are."""
    ground = rough()
    windows = gp.sample_windows(ground, mines([(3.5, 14.5), (12.2, 15.1), (20.0, 9.0)]), 5, 4, 12, 30, rng=0)
    train = windows[windows.deposits != 2]
    alone = gp.Windows(
        GRID, train.rows, train.cols, train.labels, train.deposits, ("a", "b"), train.deposit_points[:2], 5, 4
    )
    np.testing.assert_array_equal(gp.least_like_ore(train, ground), gp.least_like_ore(alone, ground))


def test_what_cannot_be_compared_with_ore_is_refused():
    windows = drawn()
    with pytest.raises(InputError, match="21 ore and 0 barren ones have zoom 1; both kinds"):
        gp.least_like_ore(windows[:21], survey())
    with pytest.raises(InputError, match="share=0"):
        gp.least_like_ore(windows, survey(), share=0)
    with pytest.raises(InputError, match=r"survey: is on Grid.*the windows were cut on Grid"):
        gp.least_like_ore(windows, survey().isel(y=slice(1, None)))
    with pytest.raises(InputError, match="has no band"):
        gp.least_like_ore(windows, survey().drop_vars("Cu"))


# -- too few positions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"n_barren": 1000}, r"n_barren=1000: only \d+ .*; pass a smaller n_barren, size, min_valid \(0.5\)$"),
        ({"buffer": 1233.7}, r"only 0 .*, 30 are needed; pass a smaller size, buffer \(1233.7\), min_valid \(0.5\)$"),
        ({"barren": "dissimilar", "dissimilar": 0.05, "n_barren": 40, "min_valid": 0},
         r"pass a smaller n_barren, size or a larger dissimilar \(0.05\)$"),
        ({"n_ore": 90}, r"n_ore=90: only 80 .*; pass a smaller n_ore, min_valid \(0.5\) or a larger size$"),
        ({"n_ore": 40, "slide": 0.2, "step": 2},
         r"pass a smaller n_ore, min_valid \(0.5\), step \(2\) or a larger size, slide \(0.2\)$"),
        ({"size": 4, "zooms": (1, 4), "n_ore": 40}, r"n_barren=30: only 5 positions remain .*, 15 are"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::geoprospect.errors.DataWarning")
def test_too_few_positions_name_the_arguments(rules, message):
    with pytest.raises(InputError, match=message):
        drawn(**rules)


# -- large and chunked surveys -----------------------------------------------------------------


@pytest.mark.parametrize("barren", ["random", "dissimilar"])
def test_a_chunked_survey_gives_the_same_windows(barren):
    ground, deposits = rough(), mines([(3.5, 14.5), (12.2, 15.1)])
    arguments = {"size": 6, "crop": 4, "n_ore": 10, "n_barren": 20, "rng": 0, "barren": barren}
    one = gp.sample_windows(ground, deposits, **arguments)
    two = gp.sample_windows(ground.chunk({"y": 7, "x": 9}), deposits, **arguments)
    np.testing.assert_array_equal(one.rows, two.rows)
    np.testing.assert_array_equal(one.cols, two.cols)


def test_what_chunked_bands_are_computed_from_is_computed_once():
    dask_array = pytest.importorskip("dask.array")
    calls = []

    def expensive(block):
        calls.append(block.shape)
        return np.ones(block.shape, dtype=np.float32)

    source = dask_array.zeros(GRID.shape, chunks=(12, 15)).map_blocks(
        expensive, dtype=np.float32, meta=np.empty((0, 0))
    )
    ground = survey()
    for k in range(5):
        ground[f"band {k}"] = ("y", "x"), source + k
    gp.sample_windows(ground, mines([(3.5, 14.5), (12.2, 15.1)]), 6, 4, 10, 20, rng=0)
    assert calls == [(12, 15)] * 4


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"size": 25, "crop": 20}, r"^size=25: the survey has only 24 x 30 cells; pass size=24 or less$"),
        ({"size": 48, "crop": 42}, r"^size=48: the survey .*; pass size=24 or less with crop=21 or less$"),
        ({"recipe": "gao2022"}, r"^size=256: .*; pass size=24 or less with crop=21 or less, without recipe='gao2022'$"),
        ({"size": 6, "crop": 4, "zooms": (1, 5)}, r"^size=6, zooms=\(1, 5\): .*; pass size=4 or less$"),
        ({"size": 6, "crop": 4, "zooms": 25}, r"; pass smaller zooms$"),
        ({"size": 6, "crop": 7}, r"^crop=7: is more than the window of size=6; pass crop=6 or less$"),
    ],
    ids=str,
)
def test_windows_without_room_on_a_chunked_survey_are_refused_before_it_is_computed(rules, message):
    dask_array = pytest.importorskip("dask.array")

    def computed(block):
        raise AssertionError

    ground = survey()
    ground["Cu"] = (
        ("y", "x"),
        dask_array.zeros(GRID.shape, chunks=(12, 15)).map_blocks(computed, dtype=np.float32, meta=np.empty((0, 0))),
    )
    with pytest.raises(InputError, match=message):
        gp.sample_windows(ground, mines([(3.5, 14.5), (12.2, 15.1)]), rng=0, **rules)


def test_cutting_takes_little_memory_beside_the_survey():
    grid = gp.Grid("EPSG:32649", Affine(CELL, 0, 500_000, 0, -CELL, 2_400_000), (1200, 1000))
    ground = survey(grid, Au=np.ones(grid.shape, dtype=np.float32))
    deposits = mines([(300.5, 300.5), (700.5, 800.5)])
    gp.sample_windows(ground, deposits, 64, 56, 20, 20, rng=0)  # what is loaded once
    tracemalloc.start()
    gp.sample_windows(ground, deposits, 64, 56, 20, 20, rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * math.prod(grid.shape), "a table of 4 bytes a cell, and some masks"


# -- windows kept back -------------------------------------------------------------------------


def test_windows_kept_back_are_those_of_table_2():
    windows = paper(recipe="gao2022")
    train, test = gp.hold_back(windows, rng=0)
    assert np.bincount(windows.labels[test]).tolist() == [104, 102]
    assert np.bincount(windows.labels[train]).tolist() == [121, 110]
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(437))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    np.testing.assert_array_equal(gp.hold_back(windows, rng=0)[1], test)
    assert (gp.hold_back(windows, rng=1)[1] != test).any()


def test_windows_kept_back_measure_memory():
    windows = drawn(n_ore=60, n_barren=80)
    train, test = gp.hold_back(windows, 30, 40, rng=0)
    assert gp.audit(windows[train], windows[test]).mean() > 0.9


def test_any_window_can_be_kept_back():
    windows, seen = drawn(n_ore=6, n_barren=6), set()
    for seed in range(40):
        seen |= set(gp.hold_back(windows, 2, 2, rng=seed)[1].tolist())
    assert seen == set(range(12))


@pytest.mark.parametrize(
    ("settings_", "counts", "message"),
    [
        ({}, (21, 10), "n_ore=21: of 21 windows none would be left for training; pass n_ore=20 or fewer"),
        ({}, (5, 31), "n_barren=31: of 30 windows none .* pass n_barren=29 or fewer"),
        ({"n_barren": 1}, (5, 1), "n_barren=1: of 1 windows none .*; pass more windows"),
        ({}, (0, 1), "n_ore=0"),
        ({"draws": 2}, (5, 5), r"has 2 draws, needs one; pass windows.of_draw\(0\)"),
    ],
)
def test_more_windows_than_there_are_cannot_be_kept_back(settings_, counts, message):
    with pytest.raises(InputError, match=message):
        gp.hold_back(drawn(**settings_), *counts)


# -- real data ---------------------------------------------------------------------------------


@pytest.mark.data
def test_the_copper_of_the_arabian_shield_gets_its_windows(data_folder):
    folder = data_folder / "arabian_shield"
    samples = gp.read_samples(folder / "samples_clean.csv.gz", x="lon", y="lat", crs="EPSG:4326")[["Cu"]]
    deposits = gp.read_deposits(folder / "deposits.geojson")
    grid = gp.Grid.covering(samples, resolution=500, pad=2000)
    windows = sample(gp.interpolate(samples, grid), deposits, size=16, crop=14, n_ore=94, n_barren=100, rng=0)
    frame = windows.footprints()
    points = shapely.points(windows.deposit_points)
    for label, box in zip(frame["label"], frame.geometry, strict=True):
        assert shapely.intersects(box, points).any() == (label == 1)
