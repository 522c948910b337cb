"""Windows as a value: what they cover, where crops may lie, what fits together. Checked by geometry."""

import dataclasses
import math

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import geoprospect as gp
from geoprospect.errors import InputError

CELL = 100.0
GRID = gp.Grid("EPSG:32649", Affine(CELL, 0, 500_000, 0, -CELL, 2_400_000), (24, 30))
LEFT, BOTTOM, RIGHT, TOP = GRID.bounds

# Places in cells from the north-west corner: anywhere, on lines between cells, on the rim.
along = st.one_of(st.floats(0, 1 - 1e-6), st.sampled_from([0.0, 0.5, 0.25, 1 - 1e-6]))


def holds(bounds, point):
    """Return whether a rectangle holds a point; its north and west sides belong to it."""
    left, bottom, right, top = bounds
    return left <= point[0] < right and bottom < point[1] <= top


def drawn(seed=0, **settings_):
    places = np.array([(3.5, 4.5), (12.2, 20.1), (20.0, 9.0)])
    points = shapely.points(LEFT + CELL * places[:, 1], TOP - CELL * places[:, 0])
    deposits = gpd.GeoDataFrame({"id": ["a", "b", "c"]}, geometry=points, crs="EPSG:32649")
    survey = GRID.dataset({"Cu": np.ones(GRID.shape, dtype=np.float32)})
    arguments = {"size": 6, "crop": 4, "n_ore": 21, "n_barren": 30} | settings_
    return gp.sample_windows(survey, deposits, rng=seed, **arguments)


def some(**change):
    """Return four windows, two of them ore, of zooms 1 to 3."""
    fields = {"grid": GRID, "rows": [0, 20, 6, 12], "cols": [26, 0, 10, 3], "labels": [1, 0, 1, 0],
              "deposits": [0, -1, 1, -1], "deposit_ids": ("a", "b"), "size": 4, "crop": 3, "zooms": [1, 1, 3, 2],
              "deposit_points": [[LEFT + 2650, TOP - 50], [LEFT + 1550, TOP - 950]]}  # fmt: skip
    return gp.Windows(**(fields | change))


# -- crops -------------------------------------------------------------------------------------


@given(
    spot=st.tuples(along, along),
    size=st.integers(2, 9),
    less=st.integers(0, 7),
    zooms=st.sampled_from([(1,), (2,), (1, 2), (2, 3)]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
def test_crops_of_ore_windows_are_just_those_that_hold_the_deposit(spot, size, less, zooms, seed):
    rng = np.random.default_rng(seed)
    size = min(size, 24 // max(zooms))
    crop, zoom = max(1, size - less), rng.choice(zooms, 6)
    widths = size * zoom
    points = np.array([[LEFT + CELL * 30 * spot[1], TOP - CELL * 24 * spot[0]]])
    row, col = (int(index[0]) for index in GRID.rowcol(*points.T))
    # Ore windows anywhere about the deposit, barren ones anywhere.
    least_corner = [np.maximum(0, at - widths + 1) for at in (row, col)]
    most_corner = [np.minimum(at, n - widths) for at, n in ((row, 24), (col, 30))]
    rows, cols = (rng.integers(a, b, endpoint=True) for a, b in zip(least_corner, most_corner, strict=True))
    labels = np.array([1, 1, 1, 1, 0, 0])
    windows = gp.Windows(GRID, rows, cols, labels, labels - 1, ("a",), points, size, crop, zoom)
    least, greatest = windows.crop_range()
    t = GRID.transform
    for w, z in enumerate(zoom):
        slack, seen = (size - crop) * z, crop * z
        for down in range(slack + 1):
            for across in range(slack + 1):
                r, c = windows.rows[w] + down, windows.cols[w] + across
                bounds = (t.c + t.a * c, t.f + t.e * (r + seen), t.c + t.a * (c + seen), t.f + t.e * r)
                allowed = least[w, 0] <= down <= greatest[w, 0] and least[w, 1] <= across <= greatest[w, 1]
                assert allowed == (windows.labels[w] == 0 or holds(bounds, points[0]))
    slack = ((size - crop) * zoom)[:, None]
    np.testing.assert_array_equal(windows.central_crop(), np.clip(slack // 2, least, greatest))
    assert (windows.central_crop()[labels == 0] == slack[labels == 0] // 2).all()


def test_crops_of_no_windows_are_none():
    none = drawn()[[]]
    assert [part.shape for part in (*none.crop_range(), none.central_crop())] == [(0, 2)] * 3


# -- zooms -------------------------------------------------------------------------------------


def test_a_zoomed_window_covers_its_ground():
    windows = some()
    assert windows.widths.tolist() == [4, 4, 12, 8]
    for (left, bottom, right, top), r, c, width in zip(
        windows.bounds, windows.rows, windows.cols, windows.widths, strict=True
    ):
        assert (left, top) == (LEFT + CELL * c, TOP - CELL * r)
        assert (right, bottom) == (left + CELL * width, top - CELL * width)
    np.testing.assert_array_equal(windows.centres[2], [LEFT + 1600, TOP - 1200])
    frame = windows.footprints()
    np.testing.assert_array_equal(shapely.bounds(frame.geometry.to_numpy()), windows.bounds)
    assert frame["zoom"].tolist() == [1, 1, 3, 2]
    assert frame["draw"].tolist() == [-1] * 4


def test_windows_have_zoom_1_and_one_draw_where_nothing_is_said():
    windows = some(zooms=None)
    assert windows.zooms.tolist() == [1] * 4
    assert windows.draw.tolist() == [-1] * 4
    assert windows.zooms.dtype == windows.draw.dtype == np.int64
    assert windows.n_draws == 1
    assert drawn()[[]].n_draws == 1


# -- draws -------------------------------------------------------------------------------------


def test_a_draw_has_its_barren_windows_and_those_of_all():
    windows = gp.Windows(
        GRID, [0, 1, 2, 3, 4], [0] * 5, [1, 0, 0, 0, 0], [0, -1, -1, -1, -1], ("a",), [[LEFT, TOP]], 4, 3,
        draw=[-1, 0, 2, -1, 2],
    )  # fmt: skip
    assert windows.n_draws == 3
    assert [windows.of_draw(k).rows.tolist() for k in range(3)] == [[0, 1, 3], [0, 3], [0, 2, 3, 4]]
    for k in range(3):
        assert windows.of_draw(k).n_draws == 1
        assert windows.of_draw(k).draw.tolist() == [-1] * len(windows.of_draw(k))
    assert repr(windows) == "Windows(1 ore, 4 barren in 3 draws; 4 cells (0.4 km) cropped to 3; 1 deposit)"
    with pytest.raises(InputError, match="k=3: there are 3 draws, numbered from 0"):
        windows.of_draw(3)
    with pytest.raises(InputError, match="k=-1"):
        windows.of_draw(-1)


def test_one_draw_is_all_windows():
    windows = drawn()
    np.testing.assert_array_equal(windows.of_draw(0).rows, windows.rows)


# -- blocks ------------------------------------------------------------------------------------


@given(width=st.sampled_from([None, 30.0, 100.0, 250.0, 333.3, 900.0, 5000.0]), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_a_block_is_a_square_of_ground_that_holds_the_middle(width, seed):
    rng = np.random.default_rng(seed)
    zooms = rng.integers(1, 4, 20)
    windows = gp.Windows(
        GRID, rng.integers(0, 25 - 4 * zooms), rng.integers(0, 31 - 4 * zooms), [0] * 20, [-1] * 20, (), [], 4, 3, zooms
    )
    side = 2 * 4 * zooms.max() * CELL if width is None else width
    abreast = math.ceil(30 * CELL / side)
    for number, (x, y) in zip(windows.blocks(width), windows.centres, strict=True):
        down, right = divmod(number - 1, abreast)
        left, top = LEFT + right * side, TOP - down * side
        assert left - 1e-6 <= x < left + side + 1e-6
        assert top - side - 1e-6 < y <= top + 1e-6
    assert (windows.blocks(1e9) == 1).all()


def test_a_middle_on_the_line_belongs_to_the_southern_or_eastern_block():
    # Cells of 0.1 degree: 0.3 / 0.1 is a little less than 3 in floating point.
    grid = gp.Grid("EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 50), (12, 12))
    windows = gp.Windows(grid, [2, 2, 1, 5], [2, 1, 2, 5], [0] * 4, [-1] * 4, (), [], 2, 2)  # middles at 3, 2 and 6
    assert windows.blocks(0.3).tolist() == [6, 5, 2, 11]


def test_blocks_are_two_of_the_widest_windows_wide():
    windows = some()  # the widest covers 12 cells
    assert windows.blocks().tolist() == windows.blocks(24 * CELL).tolist() == [2, 1, 1, 1]
    assert windows[:2].blocks().tolist() == windows[:2].blocks(8 * CELL).tolist()
    assert windows[[]].blocks().shape == (0,)


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), "wide"])
def test_a_block_needs_a_width(width):
    with pytest.raises(InputError, match="width="):
        some().blocks(width)


# -- the value ---------------------------------------------------------------------------------


def test_a_part_keeps_its_deposits():
    windows = drawn(zooms=(1, 2), draws=2, n_barren=15)
    mask = windows.labels == 1
    for which, expected in [
        (mask, np.flatnonzero(mask)), ([4, 0, 4], [4, 0, 4]), (slice(40, None), range(40, 51)), (-1, [50]),
        (np.array([], dtype=int), []), ([], []),
    ]:  # fmt: skip
        part = windows[which]
        assert len(part) == len(list(expected))
        for name in ("rows", "cols", "labels", "deposits", "zooms", "draw"):
            np.testing.assert_array_equal(getattr(part, name), getattr(windows, name)[list(expected)])
        assert part.deposit_ids == ("a", "b", "c")
    with pytest.raises(IndexError):
        windows[51]


def test_nothing_in_it_can_be_changed():
    windows = drawn()
    for name in ("rows", "cols", "labels", "deposits", "zooms", "draw", "deposit_points"):
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
    assert repr(some()) == "Windows(2 ore, 2 barren; 4 cells (0.4, 0.8 and 1.2 km) cropped to 3; 2 deposits)"
    assert repr(some()[:0]) == "Windows(0 ore, 0 barren; 4 cells (0.4 km) cropped to 3; 2 deposits)"
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
        ({"rows": [0, 20.5]}, "rows: 20.5 is no whole number"),
        ({"rows": [[0, 20]]}, r"rows: has shape \(1, 2\), needs one whole number per window"),
        ({"labels": [1, float("nan")]}, "labels: nan is no whole number"),
        ({"zooms": [1, 1, 1]}, "need one entry per window each"),
        ({"zooms": [1, 0]}, "zooms: 0 is no zoom"),
        ({"zooms": [1, 1.5]}, "zooms: 1.5 is no whole number"),
        ({"zooms": [2, 1]}, "window 0 leaves the grid"),
        ({"zooms": [1, 2]}, "window 1 leaves the grid"),
        ({"draw": [-1]}, "need one entry per window each"),
        ({"draw": [0, 0]}, "draw: 0 for window 0; needs -1 for ore windows"),
        ({"draw": [-1, -2]}, "draw: -2 for window 1"),
        ({"deposit_ids": ("a", "b")}, "deposit_points: 1 for 2 deposit_ids"),
    ],
)
def test_windows_that_do_not_fit_together_are_refused(change, message):
    fields = {"grid": GRID, "rows": [0, 20], "cols": [26, 0], "labels": [1, 0], "deposits": [0, -1],
              "deposit_ids": ("a",), "deposit_points": [[LEFT + 2650, TOP - 50]], "size": 4, "crop": 3}  # fmt: skip
    assert len(gp.Windows(**fields)) == 2
    with pytest.raises(InputError, match=message):
        gp.Windows(**(fields | change))
