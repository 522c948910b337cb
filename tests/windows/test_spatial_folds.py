"""Separation: training and test share no ground by any scheme, and what is said of it is so."""

import dataclasses
import logging
import re
import time
import warnings
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from affine import Affine
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geoprospect as gp
from geoprospect.errors import DataWarning, InputError, NameNotFoundError, SeparationError
from geoprospect.windows import spatial_folds as spatial_folds_module
from geoprospect.windows.spatial_folds import (
    FEWEST,
    audit,
    correlation_range,
    default_buffer,
    fold_counts,
    held_out,
    spatial_folds,
)

GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (60, 60))
# Four clusters of two deposits: north-west, south-west, north-east, south-east.
PLACES = [(9, 10), (12, 12), (48, 11), (50, 8), (10, 47), (12, 50), (49, 48), (52, 51)]
SCHEMES = ["regions", "blocks", "clusters", "leave-one-cluster-out"]


def windows_at(
    ore: list[tuple[int, int, int]],
    barren: list[tuple[int, int]],
    places: list[tuple[int, int]],
    size: int = 6,
    grid: gp.Grid = GRID,
    **more: Any,
) -> gp.Windows:
    """Windows by hand: (row, col, deposit) and (row, col)."""
    corners = np.array([(row, col) for row, col, _ in ore] + barren)
    return gp.Windows(
        grid, corners[:, 0], corners[:, 1], [1] * len(ore) + [0] * len(barren),
        [deposit for _, _, deposit in ore] + [-1] * len(barren), range(len(places)),
        [(grid.x[col], grid.y[row]) for row, col in places], size=size, crop=size, **more,
    )  # fmt: skip


def laid_out(
    seed: int = 3,
    places: list[tuple[int, int]] = PLACES,
    size: int = 6,
    n_ore: int = 32,
    n_barren: int = 60,
    zooms: tuple[int, ...] = (1,),
    draws: int = 1,
    grid: gp.Grid = GRID,
) -> gp.Windows:
    """Ore windows that hold their deposit and barren ones anywhere, of any zoom and draw."""
    draw = np.random.default_rng(seed)
    zoom = draw.choice(zooms, n_ore + n_barren)
    deposits = np.concatenate([np.arange(n_ore) % len(places), np.full(n_barren, -1)])
    last = np.array(grid.shape) - (size * zoom)[:, None]  # (N, 2)
    corners = draw.integers(0, last + 1)
    held = np.array(places)[deposits[:n_ore]]
    corners[:n_ore] = np.clip(held - draw.integers(0, (size * zoom[:n_ore])[:, None], (n_ore, 2)), 0, last[:n_ore])
    number = np.concatenate([np.full(n_ore, -1), draw.integers(0, draws, n_barren) if draws > 1 else [-1] * n_barren])
    return gp.Windows(
        grid, *corners.T, deposits >= 0, deposits, range(len(places)),
        [(grid.x[col], grid.y[row]) for row, col in places], size=size, crop=size, zooms=zoom, draw=number,
    )  # fmt: skip


def boxes(windows: gp.Windows, context: int = 0) -> NDArray[np.object_]:
    """The ground of windows and context as polygons, reckoned anew."""
    (dy, dx), around = windows.grid.resolution, context * windows.zooms
    left, bottom, right, top = windows.bounds.T
    return np.asarray(
        shapely.box(left - around * dx, bottom - around * dy, right + around * dx, top + around * dy), dtype=object
    )


def fold_table(windows: gp.Windows, split: list[Any]) -> pd.DataFrame:
    """Return the counts of every fold, one in a row."""
    return pd.DataFrame([fold_counts(windows, *one) for one in split], index=range(1, len(split) + 1))


def quietly(windows: gp.Windows, *args: Any, **settings: Any) -> list[Any]:
    """Return the split; where there is none, the example is no example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            return spatial_folds(windows, *args, **settings)
        except SeparationError:
            reject()


WINDOWS = laid_out()


# -- no ground is shared -----------------------------------------------------------------------


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000), n_deposits=st.integers(2, 14), folds=st.integers(2, 6), size=st.integers(1, 8),
    buffer=st.sampled_from([0.0, 0.1, 100.0, 250.0]), scheme=st.sampled_from(SCHEMES), context=st.integers(0, 3),
    zooms=st.sampled_from([(1,), (1, 2), (1, 3)]), draws=st.sampled_from([1, 3]), dy=st.sampled_from([100.0, 70.3]),
)  # fmt: skip
def test_no_training_ground_is_test_ground(
    seed: int, n_deposits: int, folds: int, size: int, buffer: float, scheme: str, context: int,
    zooms: tuple[int, ...], draws: int, dy: float,
) -> None:  # fmt: skip
    grid = gp.Grid(GRID.crs, Affine(100, 0, 500_000, 0, -dy, 2_400_000), (60, 60))
    places = [(int(r), int(c)) for r, c in np.random.default_rng(seed).integers(0, 60, (n_deposits, 2))]
    windows = laid_out(seed, places, size, 2 * n_deposits, 60, zooms, draws, grid)
    split = quietly(windows, folds, buffer, scheme=scheme, context=context)
    shapes = boxes(windows, context)
    assert len(split) >= 2
    for fit, test in split:
        tree = shapely.STRtree(shapes[test])
        near = tree.query_nearest(shapes[fit], return_distance=True, all_matches=False)[1]
        assert (near >= buffer - 1e-6).all()
        pairs = tree.query(shapes[fit], predicate="intersects")
        shared = shapely.area(shapely.intersection(shapes[fit][pairs[0]], shapes[test][pairs[1]]))
        assert (shared <= 1e-3).all()  # of cells of 7,000 m²: edges in floating point
        assert (audit(windows[fit], windows[test], context) == 0).all()
        assert set(windows.labels[fit]) == set(windows.labels[test]) == {0, 1}
        # Nothing is given away: what is neither trained on nor tested comes too near.
        rest = np.setdiff1d(np.arange(len(windows)), np.concatenate([fit, test]))
        if rest.size:
            distance = tree.query_nearest(shapes[rest], return_distance=True, all_matches=False)[1]
            assert (distance <= buffer + 1e-6).all()
            if not buffer:
                assert (audit(windows[test], windows[rest], context) > 0).all()
    tested = np.concatenate([test for _, test in split])
    assert len(np.unique(tested)) == len(tested)
    fold_of = {int(window): number for number, (_, test) in enumerate(split) for window in test}
    for deposit in range(n_deposits):
        mine = np.flatnonzero(windows.deposits == deposit)
        assert len({fold_of.get(int(window)) for window in mine}) == 1  # together, in one test or in none


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_windows_are_split_the_same_whatever_the_order_of_the_deposits(scheme: str) -> None:
    order = np.random.default_rng(1).permutation(len(PLACES))
    back = np.argsort(order)
    moved = dataclasses.replace(
        WINDOWS,
        deposits=np.where(WINDOWS.deposits < 0, -1, back[WINDOWS.deposits]),
        deposit_points=WINDOWS.deposit_points[order],
    )
    one, other = (spatial_folds(windows, 4, scheme=scheme) for windows in (WINDOWS, moved))
    for (fit, test), (fit_moved, test_moved) in zip(one, other, strict=True):
        assert fit.tolist() == fit_moved.tolist()
        assert test.tolist() == test_moved.tolist()


# -- which go together -------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["regions", "clusters", "leave-one-cluster-out"])
def test_clusters_of_deposits_are_the_tests(scheme: str) -> None:
    split = spatial_folds(WINDOWS, folds=4, scheme=scheme)
    tested = [sorted(set(WINDOWS.deposits[test].tolist()) - {-1}) for _, test in split]
    assert sorted(tested) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert np.array_equal(np.sort(np.concatenate([test for _, test in split])), np.arange(len(WINDOWS)))
    if scheme != "clusters":  # numbered from west to east
        assert sorted(tested[:2]) == [[0, 1], [2, 3]]


def test_clusters_are_shared_out_by_their_deposits() -> None:
    """Clusters of four, two, one and one deposits in two folds: four on either side."""
    places = [(5, 5), (6, 7), (8, 5), (9, 9), (5, 50), (8, 52), (50, 5), (50, 52)]
    windows = laid_out(0, places, n_ore=40)
    tested = [set(windows.deposits[test].tolist()) - {-1} for _, test in spatial_folds(windows, 2, scheme="clusters")]
    assert tested == [{0, 1, 2, 3}, {4, 5, 6, 7}]


@pytest.mark.parametrize(("buffer", "context", "zooms", "n"), [
    (0.0, 0, (1,), 2), (99.0, 0, (1,), 2), (100.0, 0, (1,), 1), (0.0, 1, (1,), 1), (0.0, 0, (2,), 1),
])  # fmt: skip
def test_a_cluster_is_linked_by_footprints_and_the_buffer(
    buffer: float, context: int, zooms: tuple[int, ...], n: int
) -> None:
    places = [(30, 20), (30, 27)]  # 700 m apart; windows of 600 m
    windows = laid_out(0, places, 6, 40, 40, zooms)
    rule = spatial_folds_module._Rule(5, buffer, "clusters", None, context)
    assert len(np.unique(spatial_folds_module._cluster(windows, rule))) == n


def test_leave_one_cluster_out_tests_every_cluster_whatever_the_number_of_folds() -> None:
    assert len(spatial_folds(WINDOWS, 2, scheme="leave-one-cluster-out")) == 4


def test_blocks_are_squares_from_the_north_west_corner_with_even_folds() -> None:
    split = spatial_folds(WINDOWS, 4, scheme="blocks", block=1500.0)
    middle = np.where(WINDOWS.labels[:, None] == 1, WINDOWS.deposit_points[WINDOWS.deposits], WINDOWS.centres)
    square = np.floor((middle - (500_000, 2_400_000)) * (1, -1) / 1500)
    fold = np.full(len(WINDOWS), -1)
    for number, (_, test) in enumerate(split):
        fold[test] = number
    assert (fold >= 0).all()
    for one in np.unique(square, axis=0):
        assert len(set(fold[(square == one).all(axis=1)])) == 1
    assert len(np.unique(square, axis=0)) > 8
    table = fold_table(WINDOWS, split)
    assert np.ptp(table.test_deposits) <= 1
    assert np.ptp(table.test_barren) <= 6  # the fullest of 16 blocks


@pytest.mark.parametrize(("size", "folds", "side"), [(6, 5, 6000 / 10**0.5), (2, 5, 800.0), (12, 5, 2400.0)])
def test_a_block_is_four_footprints_or_what_two_blocks_a_fold_allow(size: int, folds: int, side: float) -> None:
    rule = spatial_folds_module._Rule(folds, 0.0, "blocks", None, 0)
    assert spatial_folds_module._block_side(laid_out(size=size), rule) == pytest.approx(side)


def test_an_ore_window_goes_with_its_deposit_though_one_of_another_region_is_nearer_to_its_middle() -> None:
    """A chain of deposits that is cut in two; windows to both sides of each reach over to the next."""
    places = [(30, col) for col in range(7, 53, 5)] + [(8, 52)]
    ore = [(row - 3, col - shift, i) for i, (row, col) in enumerate(places) for shift in (0, 5)]
    windows = windows_at(ore, [(50, 4), (50, 14), (50, 44), (50, 54)], places)
    with pytest.warns(DataWarning, match="fewer than 10"):
        split = spatial_folds(windows, folds=2)
    tested = [set(windows.deposits[test].tolist()) - {-1} for _, test in split]
    assert all(len(deposits) > 2 for deposits in tested)
    assert tested[0] | tested[1] == set(range(len(places)))
    assert not tested[0] & tested[1]


def test_windows_that_share_an_edge_are_apart_and_a_buffer_or_context_parts_them() -> None:
    places = [(5, 5), (5, 45)]
    windows = windows_at(
        [(3, 3, 0), (3, 43, 1), (4, 4, 0), (4, 42, 1)], [(20, 19), (20, 25), (20, 31), (40, 5)], places
    )
    # Three barren windows in a row touch; the one in the middle goes with the eastern deposit.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert [len(fit) + len(test) for fit, test in spatial_folds(windows, 2)] == [8, 8]
        assert [len(fit) + len(test) for fit, test in spatial_folds(windows, 2, buffer=1.0)] == [7, 7]
        assert [len(fit) + len(test) for fit, test in spatial_folds(windows, 2, context=1)] == [7, 7]
        table = fold_table(windows, spatial_folds(windows, 2, buffer=1.0))
    assert table.dropped.tolist() == [1, 1]
    assert table.loc[1].to_dict() == {
        "train_ore": 2, "train_barren": 1, "test_ore": 2, "test_barren": 2, "test_deposits": 1, "dropped": 1,
    }  # fmt: skip


def test_there_are_no_more_folds_than_clusters_of_deposits(caplog: pytest.LogCaptureFixture) -> None:
    windows = laid_out(0, [(9, 10), (12, 12), (11, 9), (49, 48), (52, 51), (50, 50)])
    with caplog.at_level(logging.INFO, logger="geoprospect"):
        assert len(spatial_folds(windows, folds=5)) == 2
    assert "2 folds instead of 5" in caplog.text


# -- what is left to train on ------------------------------------------------------------------


def test_a_region_without_barren_windows_is_left_out_with_a_warning() -> None:
    places = [(5, 5), (5, 50), (50, 5)]
    ore = [(3 + i % 3, 1 + i % 4, 0) for i in range(10)] + [(3 + i % 3, 46 + i % 4, 1) for i in range(10)]
    ore += [(48, 1 + i % 4, 2) for i in range(10)]
    barren = [(14 + i % 3, 4) for i in range(10)] + [(14 + i % 3, 50) for i in range(10)]  # none near the third
    windows = windows_at(ore, barren, places)
    left_out = r"^folds=3: 1 of 3 regions are left out \(1 without barren window to test\); 2 folds are made$"
    with pytest.warns(DataWarning, match=left_out) as caught:
        split = spatial_folds(windows, folds=3)
    assert caught[0].filename == __file__
    with pytest.warns(DataWarning, match="^folds=50: 1 of 3 regions are left out"):
        spatial_folds(windows, folds=50)
    with pytest.warns(DataWarning, match="^folds: 1 of 3 regions"):
        spatial_folds(windows, scheme="leave-one-cluster-out")
    assert [set(windows.deposits[test].tolist()) for _, test in split] == [{-1, 0}, {-1, 1}]
    assert all(2 in windows.deposits[fit] for fit, _ in split)  # it still trains


def test_folds_with_little_to_train_on_are_counted_in_a_warning() -> None:
    windows = laid_out(n_ore=FEWEST, n_barren=60)
    with pytest.warns(DataWarning, match=r"4 of 4 have fewer than 10 .* \d ore and \d+ barren"):
        assert len(spatial_folds(windows, 4)) == 4


def test_of_several_draws_the_poorest_must_have_barren_windows_to_train_on() -> None:
    draw = np.where(WINDOWS.labels == 1, -1, 0)
    draw[-1] = 1  # draw 1 has one window, in the last test
    windows = dataclasses.replace(WINDOWS, draw=draw)
    number = next(i for i, (_, test) in enumerate(spatial_folds(WINDOWS, 4)) if len(WINDOWS) - 1 in test)
    with pytest.warns(DataWarning) as caught:
        split = spatial_folds(windows, 4)
    assert len(split) == 3
    assert not any(len(WINDOWS) - 1 in test for _, test in split), number
    assert "1 without barren window to train on" in str(caught[0].message)
    assert "3 of 3 have fewer than 10" in str(caught[1].message)


# -- too few folds -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "asked", "message"),
    [
        (laid_out(size=26), {},
         r"folds=4: \d of 4 regions can be tested, two are needed, with 8 deposits in 4 clusters "
         r"\(.*\d without (ore|barren window) to train on.*\); pass smaller or more windows \(size 26\) "
         r"or fewer folds or another scheme \('regions'\)$"),
        (WINDOWS, {"buffer": 4000.0}, r"fewer folds or a smaller buffer \(4000\) or another scheme"),
        (WINDOWS, {"context": 20}, r"fewer folds or a smaller context \(20\) or another scheme"),
        (laid_out(1, size=26), {"scheme": "blocks", "block": 800.0},
         r"another block \(800\) or another scheme \('blocks'\)$"),
        (laid_out(size=26), {"scheme": "leave-one-cluster-out"},
         r"^folds: .*; pass smaller or more windows \(size 26\) or another scheme"),
        (laid_out(n_barren=0), {}, r"4 without barren window to train on"),
        (laid_out(places=[(30, 30)]), {}, "all ore windows have one location"),
        (laid_out(places=[(30, 30), (30, 30)]), {}, "all ore windows have one location"),
    ],
    ids=["size", "buffer", "context", "block", "clusters", "no barren", "one deposit", "one location"],
)  # fmt: skip
def test_too_few_folds_name_the_arguments(windows: gp.Windows, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SeparationError, match=message):
        spatial_folds(windows, 4, **asked)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"folds": 1}, "folds="), ({"folds": 2.5}, "folds="), ({"buffer": -1}, "buffer="),
        ({"buffer": np.nan}, "buffer="),
        ({"scheme": "random"}, "scheme='random'"), ({"scheme": "block"}, "did you mean 'blocks'"),
        ({"block": 0, "scheme": "blocks"}, "block=0"), ({"block": 800.0}, "block=800.0: needs scheme='blocks'"),
        ({"context": -1}, "context=-1"), ({"context": 0.5}, "context=0.5"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(changed: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=re.escape(name)):
        spatial_folds(WINDOWS, **changed)


def test_folds_are_normalised() -> None:
    assert gp.Folds(4.0, "blocks", 800, 0) == gp.Folds(n=4, scheme="blocks", block=800.0, buffer=0.0)  # type: ignore[arg-type]
    assert gp.Folds() == gp.Folds(5, "regions", None, None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"n": 1}, "n=1: needs"), ({"scheme": "block"}, "did you mean 'blocks'"), ({"buffer": -1}, "buffer=-1: needs"),
     ({"block": 0, "scheme": "blocks"}, "block=0: needs"), ({"block": 800}, "block=800: needs scheme='blocks'")],
    ids=str,
)  # fmt: skip
def test_folds_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        gp.Folds(**changed)


def test_windows_without_ore_cannot_be_split() -> None:
    with pytest.raises(InputError, match="hold no ore"):
        spatial_folds(WINDOWS[WINDOWS.labels == 0])


def test_a_survey_is_none_of_windows() -> None:
    with pytest.raises(InputError, match="windows: is a Dataset, needs Windows, as from sample_windows"):
        gp.spatial_folds(xr.Dataset(), 3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_thousands_of_windows_take_a_moment(scheme: str) -> None:
    grid = gp.Grid(GRID.crs, GRID.transform, (600, 600))
    places = [(int(r), int(c)) for r, c in np.random.default_rng(0).integers(0, 600, (40, 2))]
    windows = laid_out(0, places, 20, 2000, 8000, grid=grid)
    start = time.process_time()
    quietly(windows, scheme=scheme)
    assert time.process_time() - start < 5


# -- windows held out for early stopping -------------------------------------------------------


@pytest.mark.filterwarnings("ignore::geoprospect.errors.DataWarning")
def test_context_of_zoomed_windows_separates_held_out_windows() -> None:
    grid = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (400, 1300))
    # Six groups 200 cells apart: windows of 2 x 8 cells and 2 x 32 of halo on each side are 144 wide.
    col = np.repeat(150 + 200 * np.arange(6), 4)
    labels, deposits = np.tile([1, 1, 0, 0], 6), np.where(np.tile([1, 1, 0, 0], 6), np.repeat(np.arange(6), 4), -1)
    points = [(grid.x[at + 3], grid.y[203]) for at in col[::4]]
    windows = gp.Windows(grid, np.full(24, 200), col, labels, deposits, range(6), points, size=8, crop=8,
                         zooms=np.full(24, 2))  # fmt: skip
    fit, watched = held_out(windows, 2, 32)
    assert watched is not None
    assert len(fit) + len(watched) == len(windows)
    assert gp.audit(fit, watched, context=32).max() == 0


@pytest.mark.filterwarnings("ignore::geoprospect.errors.DataWarning")
def test_about_a_fifth_of_the_deposits_is_held_out() -> None:
    places = [(row, col) for row in (10, 30, 50) for col in (10, 30, 50)]
    windows = laid_out(0, places, n_ore=36, n_barren=90)
    fit, watched = held_out(windows, 3, 0)
    assert watched is not None
    assert len(set(watched.deposits.tolist()) - {-1}) in (1, 2)
    assert audit(fit, watched).max() == 0
    assert held_out(windows, None, 0) == (windows, None)


# -- audit -------------------------------------------------------------------------------------


def masks(windows: gp.Windows, context: int) -> list[NDArray[np.bool_]]:
    """The cells of the grid under each window."""
    result = []
    for row, col, width, zoom in zip(windows.rows, windows.cols, windows.widths, windows.zooms, strict=True):
        one, around = np.zeros(windows.grid.shape, dtype=bool), context * zoom
        one[max(0, row - around) : row + width + around, max(0, col - around) : col + width + around] = True
        result.append(one)
    return result


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000), size=st.integers(1, 9), context=st.integers(0, 4),
    zooms=st.sampled_from([(1,), (1, 2), (3,)]), n=st.integers(0, 92),
)  # fmt: skip
def test_the_audit_is_that_of_masks(seed: int, size: int, context: int, zooms: tuple[int, ...], n: int) -> None:
    windows = laid_out(seed, size=size, zooms=zooms)[np.random.default_rng(seed).permutation(92)]
    train, test = windows[:n], windows[n:]
    seen = np.any([np.zeros(GRID.shape, dtype=bool), *masks(train, context)], axis=0)
    expected = [seen[one].mean() for one in masks(test, context)]
    np.testing.assert_allclose(audit(train, test, context), np.array(expected), rtol=0, atol=1e-12)


def test_an_audit_by_hand() -> None:
    windows = windows_at([(10, 10, 0)], [(10, 13), (13, 10), (16, 16), (10, 10)], [(12, 12)])
    assert audit(windows[:1], windows).tolist() == [1, 0.5, 0.5, 0, 1]
    assert audit(windows[[0, 0]], windows[[3]]).tolist() == [0]  # they meet in a corner
    assert audit(windows[[0]], windows[[3]], context=1).tolist() == [4 / 64]
    assert audit(windows[1:3], windows[:1]).tolist() == [0.75]  # twice covered is covered once
    assert audit(windows[:0], windows).tolist() == [0] * 5
    assert audit(windows, windows[:0]).tolist() == []
    assert audit(windows[:0], windows[:0]).tolist() == []


def test_a_random_split_does_not_pass_the_audit() -> None:
    order = np.random.default_rng(0).permutation(len(WINDOWS))
    assert audit(WINDOWS[order[:70]], WINDOWS[order[70:]]).mean() > 0.3


def test_an_audit_over_two_grids_is_refused() -> None:
    other = gp.Grid(GRID.crs, Affine(50, 0, 500_000, 0, -50, 2_400_000), (60, 60))
    with pytest.raises(InputError, match="train, test: stand on two grids"):
        audit(WINDOWS, laid_out(grid=other))
    with pytest.raises(InputError, match="context=-1"):
        audit(WINDOWS, WINDOWS, -1)


# -- the range of correlation ------------------------------------------------------------------


def field(length: float, seed: int, shape: tuple[int, int] = (128, 128)) -> NDArray[np.float64]:
    """A field whose correlation falls to 0.05 at `length` cells, exponentially; by its spectrum."""
    draws = np.random.default_rng(seed)
    down, across = (np.minimum(np.arange(2 * n), 2 * n - np.arange(2 * n)) for n in shape)
    spectrum = np.fft.fft2(0.05 ** (np.hypot(down[:, None], across) / length)).real.clip(0)
    noise = draws.normal(size=spectrum.shape) + 1j * draws.normal(size=spectrum.shape)
    whole = np.fft.fft2(np.sqrt(spectrum / spectrum.size) * noise).real
    return np.asarray(whole[: shape[0], : shape[1]], dtype=np.float64)


def survey_of(bands: dict[str, NDArray[Any]], dy: float = 100.0) -> xr.Dataset:
    shape = next(iter(bands.values())).shape
    grid = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -dy, 2_400_000), shape)
    return grid.dataset(bands)


@pytest.mark.parametrize("length", [5, 12, 25])
def test_the_range_of_a_simulated_field_is_found_within_a_quarter(length: int) -> None:
    bands = {f"b{seed}": np.exp(field(length, seed)).astype(np.float32) for seed in range(5)}  # skewed
    assert correlation_range(survey_of(bands), rng=0) == pytest.approx(100 * length, rel=0.25)


def test_noise_has_the_range_of_a_cell() -> None:
    bands = {f"b{seed}": np.random.default_rng(seed).normal(size=(80, 80)) for seed in range(5)}
    for name in bands:
        assert correlation_range(survey_of(bands), name, rng=0) == 100


def test_a_trend_is_limited_to_half_the_extent_and_flagged() -> None:
    rows, cols = np.mgrid[:40, :80].astype(float)
    survey = survey_of({"Cu": cols + rows, "Au": field(5, 0, (40, 80))})
    with pytest.warns(DataWarning, match=r"1 of 1 bands vary up to the edge .*\(Cu\)"):
        assert correlation_range(survey, ["Cu"], rng=0) == 4000
    with pytest.warns(DataWarning, match="1 of 2 bands"):
        assert 400 < correlation_range(survey, rng=0) < 4000
    assert correlation_range(survey, "Au", rng=0) < 1000  # and nothing is said


def test_it_is_the_median_over_the_bands_in_units_of_the_crs() -> None:
    bands = {"a": field(5, 0), "b": field(12, 1), "c": np.exp(3 * field(25, 2))}
    one = [correlation_range(survey_of({name: bands[name]}), rng=0) for name in bands]
    assert one[0] < one[1] < one[2]
    assert one[0] < correlation_range(survey_of(bands), rng=0) < one[2]
    stretched = np.repeat(bands["b"], 2, axis=0)  # the same ground in cells half as high
    assert correlation_range(survey_of({"b": stretched}, dy=50.0), rng=0) == pytest.approx(one[1], rel=0.15)


def test_only_the_order_of_the_values_counts() -> None:
    band = field(12, 0)
    plain, bent = (correlation_range(survey_of({"a": one}), rng=0) for one in (band, np.exp(5 * band)))
    assert plain == bent


def test_cells_without_data_are_not_looked_at() -> None:
    band = field(12, 0)
    whole = correlation_range(survey_of({"a": band}), rng=0)
    holed = np.where(np.random.default_rng(0).random(band.shape) < 0.5, np.nan, band)
    holed[:, :30] = np.nan
    assert correlation_range(survey_of({"a": holed}), rng=0) == pytest.approx(whole, rel=0.3)
    lazy = survey_of({"a": holed}).chunk({"y": 50, "x": 50})
    assert correlation_range(lazy, rng=0) == correlation_range(survey_of({"a": holed}), rng=0)


def test_the_same_seed_gives_the_same_range() -> None:
    survey = survey_of({"a": field(12, 0)})
    assert correlation_range(survey, rng=7) == correlation_range(survey, rng=np.random.default_rng(7))
    assert correlation_range(survey, rng=7) != correlation_range(survey, rng=8)


def test_a_survey_without_variation_has_no_range() -> None:
    empty, one = np.full((20, 20), np.nan), np.ones((20, 20))
    survey = survey_of({"empty": empty, "one": one, "mask": one > 0})
    with pytest.raises(InputError, match="has no band of numbers"):
        correlation_range(survey, rng=0)
    assert default_buffer(WINDOWS, survey)[0] == 0
    with pytest.raises(NameNotFoundError, match="no band 'two'"):
        correlation_range(survey, "two")
    with pytest.raises(InputError, match="n=10: needs a whole number of at least 100"):
        correlation_range(survey, n=10)


# -- the default buffer ------------------------------------------------------------------------


def cut_from(length: int, size: int = 3) -> tuple[gp.Windows, xr.Dataset]:
    places = [(r, c) for r in (15, 60, 105) for c in (15, 60, 105)]
    survey = survey_of({f"b{seed}": field(length, seed) for seed in range(3)})
    return laid_out(0, places, size, 54, 90, grid=gp.Grid.of(survey)), survey


def worst_share(windows: gp.Windows, folds: int, buffer: float, scheme: str) -> float:
    """Least share of the training windows of a class that the buffer leaves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        free = fold_table(windows, spatial_folds(windows, folds, scheme=scheme))
        try:
            table = fold_table(windows, spatial_folds(windows, folds, buffer, scheme=scheme))
        except SeparationError:
            return 0.0
    if len(table) < len(free):
        return 0.0
    assert table[["test_ore", "test_barren"]].equals(free[["test_ore", "test_barren"]])
    return float((table[["train_ore", "train_barren"]] / free[["train_ore", "train_barren"]]).min().min())


@pytest.mark.parametrize("scheme", ["regions", "leave-one-cluster-out"])
def test_the_range_is_the_buffer_where_it_leaves_enough(scheme: str) -> None:
    windows, survey = cut_from(8)
    span = correlation_range(survey, rng=0)
    buffer, sentence = default_buffer(windows, survey, 5, scheme)
    assert buffer == span
    assert re.fullmatch(
        r"buffer of \d+ m: the correlation range of \d+ m, which leaves \d+ of \d+ (ore|barren) windows to train on",
        sentence,
    )
    left, before = map(int, re.search(r"(\d+) of (\d+)", sentence).groups())  # type: ignore[union-attr]
    assert left / before == pytest.approx(worst_share(windows, 5, buffer, scheme))
    assert left / before >= 0.5


def test_a_range_that_takes_too_much_is_halved_until_it_does_not() -> None:
    windows, survey = cut_from(70)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        span = correlation_range(survey, rng=0)
    buffer, sentence = default_buffer(windows, survey)
    assert span / buffer in (2, 4)
    assert worst_share(windows, 5, buffer, "regions") >= 0.5
    assert re.match(
        rf"buffer of [\d.]+ k?m: the correlation range of {span / 1000:.3g} km.* would leave "
        r"(fewer than two folds|\d+ of \d+ (ore|barren) windows to train on)$",
        sentence,
    )
    assert worst_share(windows, 5, 2 * buffer, "regions") < 0.5


@pytest.mark.parametrize("length", [16, 24, 32, 40, 48, 56])
def test_the_largest_share_that_leaves_half_of_each_class_is_taken(length: int) -> None:
    windows, survey = cut_from(length)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        span = correlation_range(survey, rng=0)
    shares = [1.0, 0.5, 0.25, 0.0]
    expected = next(share for share in shares if worst_share(windows, 5, share * span, "regions") >= 0.5)
    assert default_buffer(windows, survey)[0] == expected * span


def test_where_none_leaves_enough_there_is_no_buffer_and_a_trend_is_said() -> None:
    windows = laid_out(size=12)
    rows, _ = np.mgrid[:60, :60].astype(float)
    buffer, sentence = default_buffer(windows, survey_of({"a": rows}), 4)
    assert buffer == 0
    assert sentence.startswith("no buffer: the correlation range of 3 km (half the extent: the bands vary up to")
    with pytest.raises(InputError, match="scheme='none'"):
        default_buffer(windows, survey_of({"a": rows}), 4, "none")


def test_a_survey_goes_from_its_range_to_folds_that_keep_it() -> None:
    area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    survey = gp.interpolate(area.samples[["Cu", "Sn"]], area.grid)
    windows = gp.sample_windows(survey, gpd.GeoDataFrame(area.deposits), 8, 7, 40, 60, rng=0)
    buffer, sentence = default_buffer(windows, survey, 4)
    assert 0 < buffer <= correlation_range(survey, rng=0)
    assert "the correlation range of" in sentence
    assert len(quietly(windows, 4, buffer)) >= 2
