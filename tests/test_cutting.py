"""Where windows are cut: each rule against trying all places."""

import math
import re
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


# ---------------------------------------------------------------- the paper's set, and rules beyond it


def test_the_recipe_of_the_paper_gives_its_set_and_no_other():
    grid = gp.Grid("EPSG:32649", Affine(CELL, 0, 500_000, 0, -CELL, 2_400_000), (700, 640))
    wide = grid.dataset({"Cu": np.ones(grid.shape, dtype=np.float32)})
    windows = gp.sample_windows(wide, mines([(300.5, 300.5), (400.5, 310.5)]), recipe="gao2022", rng=0)
    assert (int(windows.labels.sum()), int((windows.labels == 0).sum())) == (212, 225)
    assert (windows.size, windows.crop, windows.n_draws) == (256, 224, 1)
    for contradiction in ({"size": 32, "crop": 28}, {"n_ore": 100}, {"draws": 2}, {"zooms": (1, 2)}):
        with pytest.raises(InputError, match=rf"{next(iter(contradiction))}="):
            gp.sample_windows(wide, mines([(300.5, 300.5)]), recipe="gao2022", **contradiction)


def test_with_no_slide_the_deposit_stands_in_the_middle():
    windows = drawn(slide=0.0, size=7, crop=5, n_ore=3)
    row, col = GRID.rowcol(*windows.deposit_points[windows.deposits[windows.labels == 1]].T)
    ore = windows[windows.labels == 1]
    assert (row - ore.rows == 3).all()
    assert (col - ore.cols == 3).all()


def test_with_half_the_slide_the_deposit_stays_in_the_middle_half():
    windows = drawn(slide=0.5, size=8, crop=6, n_ore=12)
    ore = windows[windows.labels == 1]
    row, col = GRID.rowcol(*ore.deposit_points[ore.deposits].T)
    for offset in (row - ore.rows, col - ore.cols):
        assert (np.abs(offset + 0.5 - 4) <= 2.5).all()
        assert len(set(offset.tolist())) > 1


def test_places_lie_a_step_apart():
    windows = drawn(step=2, n_ore=9, n_barren=20)
    for label in (0, 1):
        for of in set(windows.deposits[windows.labels == label].tolist()):
            some = windows[(windows.labels == label) & (windows.deposits == of)]
            assert (np.diff(np.unique(some.rows)) % 2 == 0).all()
            assert (np.diff(np.unique(some.cols)) % 2 == 0).all()


def test_every_zoom_has_its_share_of_ore_and_of_barren_windows():
    windows = drawn(zooms=(1, 2), size=4, crop=3, n_ore=20, n_barren=30)
    for label, n in ((1, 10), (0, 15)):
        assert [(windows.zooms[windows.labels == label] == zoom).sum() for zoom in (1, 2)] == [n, n]
    for bounds, deposit in zip(windows.bounds, windows.deposits, strict=True):
        if deposit >= 0:
            assert holds(bounds, windows.deposit_points[deposit])
        else:
            assert not any(holds(bounds, point) for point in windows.deposit_points)
    assert set(np.round((windows.bounds[:, 2] - windows.bounds[:, 0]) / CELL).astype(int)) == {4, 8}


def test_draws_share_their_ore_and_differ_in_their_barren_windows():
    windows = drawn(draws=3)
    assert windows.n_draws == 3
    places = []
    for k in range(3):
        one = windows.of_draw(k)
        assert (int(one.labels.sum()), int((one.labels == 0).sum())) == (21, 30)
        barren = list(zip(one.rows[one.labels == 0].tolist(), one.cols[one.labels == 0].tolist(), strict=True))
        assert len(set(barren)) == 30
        places.append(set(barren))
    assert places[0] != places[1] != places[2]


def test_dissimilar_barren_windows_lie_where_bands_are_least_like_ore():
    """Copper rises to the east; ore lies in the middle of its range, so both ends are unlike it."""
    east = np.broadcast_to(np.linspace(-1, 1, 30), GRID.shape).astype(np.float32)
    ground = GRID.dataset({"Cu": east + 0.01 * np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)})
    ore = mines([(3.5, 14.5), (12.2, 15.1), (20.0, 14.0)])
    settings_ = {"size": 4, "crop": 3, "n_ore": 12, "n_barren": 40, "rng": 0}
    unlike = gp.sample_windows(ground, ore, barren="dissimilar", dissimilar=0.3, **settings_)
    random = gp.sample_windows(ground, ore, **settings_)
    off = [np.abs(w.cols[w.labels == 0] + 2 - 15) for w in (unlike, random)]
    assert off[0].min() > 7
    assert off[1].min() < 5


def test_windows_lie_in_the_mask():
    mask = GRID.dataset({"m": np.zeros(GRID.shape)})["m"].astype(bool)
    mask[:, :24] = True
    windows = gp.sample_windows(
        survey(), mines([(3.5, 4.5), (12.2, 18.1)]), 6, 4, 10, 30, rng=0, mask=mask, min_valid=1.0
    )
    assert (windows.cols + 6 <= 24).all()
    with pytest.raises(InputError, match="mask"):
        gp.sample_windows(survey(), mines([(3.5, 4.5), (12.2, 18.1)]), 6, 4, 10, 30, mask=mask.isel(y=slice(1, None)))


def test_what_would_do_does():
    with pytest.raises(InputError, match=r"n_barren=\d+") as caught:
        drawn(n_barren=100_000)

    most = int(re.findall(r"n_barren=(\d+)", str(caught.value).split("; ")[-1])[0])
    assert (drawn(n_barren=most).labels == 0).sum() == most
    with pytest.raises(InputError, match="n_barren"):
        drawn(n_barren=most + 1)


def test_a_chunked_survey_gives_the_same_windows():
    ground = survey()
    ground["Cu"][:, 10:13] = np.nan
    arguments = {"size": 6, "crop": 4, "n_ore": 10, "n_barren": 20, "rng": 0}
    one = gp.sample_windows(ground, mines([(3.5, 4.5), (12.2, 20.1)]), **arguments)
    two = gp.sample_windows(ground.chunk({"y": 7, "x": 9}), mines([(3.5, 4.5), (12.2, 20.1)]), **arguments)
    assert np.array_equal(one.rows, two.rows)
    assert np.array_equal(one.cols, two.cols)


# ---------------------------------------------------------------- windows kept back


def test_windows_kept_back_are_those_of_table_2_and_in_no_other_part():
    windows = drawn(n_ore=60, n_barren=80)
    train, test = gp.hold_back(windows, 30, 40, rng=0)
    assert not set(train) & set(test)
    assert sorted([*train, *test]) == list(range(140))
    assert (windows.labels[test] == 1).sum() == 30
    assert (windows.labels[test] == 0).sum() == 40
    assert gp.audit(windows[train], windows[test]).mean() > 0.5  # it measures memory


def test_more_windows_than_there_are_cannot_be_kept_back():
    with pytest.raises(InputError, match="n_ore"):
        gp.hold_back(drawn(), 21, 10)
    with pytest.raises(InputError, match="draws"):
        gp.hold_back(drawn(draws=2), 5, 5)
