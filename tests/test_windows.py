"""Windows: ore windows hold their deposit, barren ones none, all lie on the grid. Checked by geometry."""

import dataclasses
import math
import warnings

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, InputError

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
        with pytest.raises(InputError, match=r"places are left|different windows"):
            sample(survey(), deposits, **arguments)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "deposits: .* have room for few windows", DataWarning)
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


@given(spot=st.tuples(along, along), size=st.integers(2, 9), less=st.integers(0, 7), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_crops_of_ore_windows_are_just_those_that_hold_the_deposit(spot, size, less, seed):
    deposits = mines([(spot[0] * 24, spot[1] * 30), (12.5, 15.5)])
    crop = max(1, size - less)
    n_ore = 2 * min(4, *(len(places_of(spot, size)) for spot in shapely.get_coordinates(deposits.geometry.to_numpy())))
    windows = sample(survey(), deposits, size=size, crop=crop, n_ore=n_ore, n_barren=3, rng=seed)
    least, greatest = windows.crop_range()
    central = windows.central_crop()
    t, slack = GRID.transform, size - crop
    for w in range(len(windows)):
        for down in range(slack + 1):
            for across in range(slack + 1):
                r, c = windows.rows[w] + down, windows.cols[w] + across
                bounds = (t.c + t.a * c, t.f + t.e * (r + crop), t.c + t.a * (c + crop), t.f + t.e * r)
                allowed = least[w, 0] <= down <= greatest[w, 0] and least[w, 1] <= across <= greatest[w, 1]
                point = windows.deposit_points[windows.deposits[w]]
                assert allowed == (windows.labels[w] == 0 or holds(bounds, point))
    assert (least <= central).all()
    assert (central <= greatest).all()
    free = [d for d in range(len(windows)) if windows.labels[d] == 0]
    assert (central[free] == slack // 2).all()
    wanted = np.clip(slack // 2, least, greatest)
    np.testing.assert_array_equal(central, wanted)


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
    with pytest.raises(InputError, match="n_barren=474: only 473 places are left"):
        sample(survey(), deposits, size=6, crop=6, n_ore=2, n_barren=474, rng=0)


@pytest.mark.parametrize(("row", "col"), [(0, 0), (0, 29.99), (23.99, 0), (23.99, 29.99)])
def test_a_deposit_in_a_corner_has_one_place(row, col):
    windows = sample(survey(), mines([(row, col), (12, 15)]), size=5, crop=5, n_ore=2, n_barren=3, rng=0)
    own = windows[windows.deposits == 0]
    assert (own.rows.tolist(), own.cols.tolist()) == ([0 if row < 1 else 19], [0 if col < 1 else 25])
    with pytest.warns(DataWarning, match=r"1 at the edge of the data have room for few windows \(id 1: 1\)"):
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
    with pytest.warns(DataWarning, match=r"2 lie off the grid and are left out \(id south rim, north\)"):
        windows = gp.sample_windows(survey(), deposits, size=4, crop=4, n_ore=6, n_barren=5, rng=0)
    assert windows.deposit_ids == ("in", "mid")
    assert set(windows.footprints()["deposit_id"].dropna()) == {"in", "mid"}


def test_deposits_without_ids_are_numbered_from_1_in_the_order_of_the_file():
    deposits = mines([(3.5, 4.5), (-5, 4.5), (12.5, 20.5)])
    with pytest.warns(DataWarning, match=r"1 lie off the grid and are left out \(id 2\)"):
        assert gp.sample_windows(survey(), deposits, 4, 4, 6, 5, rng=0).deposit_ids == (1, 3)


def test_a_single_deposit_is_warned_of():
    with pytest.warns(DataWarning, match="only one lies on the grid; nothing can be validated"):
        windows = gp.sample_windows(survey(), mines([(3.5, 4.5)]), 4, 4, 6, 5, rng=0)
    assert len(windows) == 11


def test_more_deposits_than_ore_windows_are_warned_of():
    with pytest.warns(DataWarning, match="there are 3 deposits, so 1 of them have no window"):
        windows = drawn(n_ore=2)
    assert len(set(windows.deposits[:2])) == 2


def test_no_deposit_on_the_grid_is_an_error():
    with pytest.raises(InputError, match="none of the 2 lies on the grid"):
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
    bands = survey(Au=np.full(GRID.shape, np.nan))
    with pytest.raises(InputError, match="only 0 different windows"):
        sample(bands, mines([(3, 4), (9, 9)]), 4, 4, 6, 5, rng=0)


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
     ({"n_ore": 200}, "n_ore=200: only 80 different windows of 6 cells hold a deposit"),
     ({"buffer": 5000}, "only 0 places are left")],
)  # fmt: skip
def test_a_setting_that_cannot_be_met_is_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        drawn(**settings_)


# -- the value ---------------------------------------------------------------------------------


def test_a_part_keeps_its_deposits():
    windows = drawn()
    mask = windows.labels == 1
    for which, expected in [
        (mask, np.flatnonzero(mask)), ([4, 0, 4], [4, 0, 4]), (slice(40, None), range(40, 51)), (-1, [50]),
        (np.array([], dtype=int), []), ([], []),
    ]:  # fmt: skip
        part = windows[which]
        assert len(part) == len(list(expected))
        for name in ("rows", "cols", "labels", "deposits"):
            np.testing.assert_array_equal(getattr(part, name), getattr(windows, name)[list(expected)])
        assert part.deposit_ids == ("a", "b", "c")
    with pytest.raises(IndexError):
        windows[51]


def test_nothing_in_it_can_be_changed():
    windows = drawn()
    for name in ("rows", "cols", "labels", "deposits", "deposit_points"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(windows, name)[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        windows.size = 3


def test_it_holds_copies():
    rows = np.array([0, 3])
    windows = gp.Windows(GRID, rows, [0, 3], [1, 0], [0, -1], ("a",), [[LEFT, TOP]], 4, 3)
    rows[0] = 9
    assert windows.rows.tolist() == [0, 3]


def test_footprints_are_the_boxes_of_the_grid():
    windows = drawn()
    frame = windows.footprints()
    assert frame.crs == GRID.crs
    assert shapely.equals(frame.geometry.to_numpy(), GRID.boxes(windows.rows, windows.cols, 6, 6)).all()
    np.testing.assert_array_equal(shapely.bounds(frame.geometry.to_numpy()), windows.bounds)
    np.testing.assert_allclose(shapely.get_coordinates(frame.centroid.to_numpy()), windows.centres)
    assert frame["deposit_id"].to_list()[:1] == ["a"]
    assert frame["deposit_id"][windows.labels == 0].isna().all()
    row, col = GRID.rowcol(*(windows.centres.T))
    np.testing.assert_array_equal(row, windows.rows + 3)
    np.testing.assert_array_equal(col, windows.cols + 3)


def test_it_says_how_much_it_is():
    assert repr(drawn()) == "Windows(21 ore, 30 barren; 6 cells (0.6 km) cropped to 4; 3 deposits)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 5}, "crop=5: is more than the window of size=4"),
        ({"size": 2.5}, "size=2.5"),
        ({"rows": [0]}, "need one entry per window each"),
        ({"labels": [1, 0, 0]}, "need one entry per window each"),
        ({"rows": [0, 21]}, "window 1 leaves the grid of 24 x 30"),
        ({"cols": [27, 0]}, "window 0 leaves the grid"),
        ({"cols": [-1, 0]}, "window 0 leaves the grid"),
        ({"labels": [1, 2]}, "labels, deposits: need"),
        ({"deposits": [-1, -1]}, "labels, deposits: need"),
        ({"deposits": [0, 0]}, "labels, deposits: need"),
        ({"deposits": [0, -2]}, "labels, deposits: need"),
        ({"deposits": [-2, -1]}, "deposits: -2 is no index"),
        ({"deposits": [1, -1]}, "deposits: 1 is no index into 1 deposit_ids"),
        ({"deposit_ids": ("a", "b")}, "deposit_points: 1 for 2 deposit_ids"),
    ],
)
def test_windows_that_do_not_fit_together_are_refused(change, message):
    fields = {"grid": GRID, "rows": [0, 20], "cols": [26, 0], "labels": [1, 0], "deposits": [0, -1],
              "deposit_ids": ("a",), "deposit_points": [[LEFT + 2650, TOP - 50]], "size": 4, "crop": 3}  # fmt: skip
    assert len(gp.Windows(**fields)) == 2
    with pytest.raises(InputError, match=message):
        gp.Windows(**(fields | change))


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
