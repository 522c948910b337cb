"""Shares of ground and of deposits agree with counting cells; ground without data is no ground."""

import itertools
import math
import warnings

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.stats.success_rate import Rates, rates, rates_within

GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (30, 40))
RATES = st.lists(
    st.tuples(st.sampled_from([0, 0.1, 0.25, 0.5, 0.9, 1]), st.sampled_from([0, 0.1, 0.25, 0.5, 0.9, 1])),
    min_size=1,
    max_size=9,
).map(lambda pairs: Rates(*np.sort(pairs, axis=1).T))


def map_of(score, grid=GRID):
    return grid.dataset({"score": np.asarray(score, dtype=np.float32)}).score


def mines(rows, cols, crs="EPSG:32649"):
    """Return deposits in the middle of cells."""
    points = shapely.points(500_050 + 100 * np.asarray(cols), 2_399_950 - 100 * np.asarray(rows))
    return gpd.GeoDataFrame(geometry=points, crs="EPSG:32649").to_crs(crs)


def random_map(seed, decimals=1, missing=0.2):
    """Return scores with ties and gaps, and cells with data that hold deposits."""
    rng = np.random.default_rng(seed)
    score = np.round(rng.normal(size=GRID.shape), decimals)
    score[rng.random(GRID.shape) < missing] = np.nan
    rows, cols = np.nonzero(np.isfinite(score))
    picked = rng.choice(rows.size, 15)
    return score, rows[picked], cols[picked]


def slow_capture(score, rows, cols, area, weights=None):
    """Return the captured share by filling the ground up, level by level, and sharing out the last one."""
    ground = np.sort(np.unique(score[np.isfinite(score)]))[::-1]
    n = np.isfinite(score).sum()
    weights = np.ones(len(rows)) if weights is None else weights
    left, captured = area * n, 0.0
    for level in ground:
        cells = (score == level).sum()
        taken = min(left / cells, 1)
        captured += taken * weights[score[rows, cols] == level].sum()
        left -= taken * cells
        if left <= 1e-12:
            break
    return captured / weights.sum()


# -- the curve ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_captured_shares_are_those_of_filling_up_the_ground_level_by_level(seed):
    score, rows, cols = random_map(seed)
    weights = np.random.default_rng(seed).integers(0, 5, rows.size).astype(float)
    found, weighed = rates(map_of(score), mines(rows, cols)), rates(map_of(score), mines(rows, cols), weights=weights)
    area = np.linspace(0, 1, 23)
    score = score.astype(np.float32)
    np.testing.assert_allclose(found.capture(area), [slow_capture(score, rows, cols, a) for a in area], atol=1e-12)
    np.testing.assert_allclose(
        weighed.capture(area), [slow_capture(score, rows, cols, a, weights) for a in area], atol=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_area_under_the_curve_is_the_auc_of_deposits_among_all_cells(seed):
    score, rows, cols = random_map(seed)
    found = rates(map_of(score), mines(rows, cols))
    ground = score[np.isfinite(score)]
    labels = np.repeat([1, 0], [rows.size, ground.size])
    assert found.auc == pytest.approx(gp.stats.rank_auc(labels, np.concatenate([score[rows, cols], ground])), abs=1e-9)
    frame = found.to_frame()
    assert np.trapezoid(frame["captured"], frame["area"]) == pytest.approx(found.auc)


def test_a_constant_map_captures_what_is_taken():
    found = rates(map_of(np.full(GRID.shape, 0.3)), mines([1, 2, 2], [3, 4, 4]))
    area = np.linspace(0, 1, 11)
    np.testing.assert_allclose(found.capture(area), area)
    assert found.crossing == (0.5, 0.5)
    assert (found.density, found.auc) == (1, 0.5)
    assert found.to_frame().to_numpy().tolist() == [[0, 0], [1, 1]]


def test_a_perfect_and_a_reversed_map():
    score = np.zeros(GRID.shape)
    score[:3] = 1  # a tenth of the ground
    best = rates(map_of(score), mines([0, 1, 2], [5, 6, 7]))
    assert best.capture(0.1) == 1
    assert best.capture(0.05) == pytest.approx(0.5)
    # Within the tenth the deposits are captured in proportion: 10 a = 1 - a.
    assert best.crossing == pytest.approx((1 / 11, 10 / 11))
    assert best.density == pytest.approx(10)
    worst = rates(map_of(-score), mines([0, 1, 2], [5, 6, 7]))
    assert worst.capture([0.9, 0.95]) == pytest.approx([0, 0.5])
    assert worst.auc == pytest.approx(1 - best.auc)
    assert worst.density == pytest.approx(1 / best.density)


def test_the_crossing_is_where_published_curves_cross():
    # A curve with 68 % of the deposits in 32 % of the ground, by its corners: density 2.125.
    found = Rates(low=[0] * 68 + [0.32] * 32, high=[0.32] * 68 + [1] * 32)
    assert found.crossing == pytest.approx((0.32, 0.68))
    assert found.density == pytest.approx(0.68 / 0.32)


@given(RATES)
def test_the_crossing_is_on_both_lines_of_the_plot(found):
    area, captured = found.crossing
    assert captured == pytest.approx(1 - area)
    below = found.capture(max(area - 1e-9, 0)) if area > 1e-9 else 0.0
    assert below - 1e-6 <= captured <= found.capture(min(area + 1e-9, 1)) + 1e-6
    assert found.density == (pytest.approx(captured / area) if area else math.inf)


@given(RATES)
def test_the_curve_rises_from_nothing_to_everything(found):
    frame = found.to_frame()
    assert frame.iloc[0].tolist() == [0, 0]
    assert frame.iloc[-1].tolist() == [1, 1]
    assert (np.diff(frame.to_numpy(), axis=0) >= 0).all()
    assert (np.diff(frame.to_numpy(), axis=0).max(axis=1) > 0).all()
    assert np.trapezoid(frame["captured"], frame["area"]) == pytest.approx(found.auc)
    assert found.capture(1) == pytest.approx(1)
    # In between, the curve is the straight line through its corners.
    for (a0, c0), (a1, c1) in zip(frame.to_numpy()[:-1], frame.to_numpy()[1:], strict=True):
        if a1 > a0:
            assert found.capture((a0 + a1) / 2) == pytest.approx((c0 + c1) / 2)


def test_a_deposit_better_than_all_ground_is_a_step():
    found = Rates([0.0, 0.3], [0.0, 0.3])
    assert found.capture([0.0, 0.29, 0.3]).tolist() == [0.5, 0.5, 1]
    assert found.crossing == pytest.approx((0.3, 0.7))
    above = Rates([0.0], [0.0])
    assert above.crossing == (0, 1)
    assert above.density == math.inf
    assert above.to_frame().to_numpy().tolist() == [[0, 0], [0, 1], [1, 1]]


def test_shapes_of_areas_are_kept():
    found = Rates([0.0, 0.5], [0.5, 1.0])
    assert isinstance(found.capture(0.25), float)
    assert found.capture(np.full((2, 3), 0.25)).shape == (2, 3)
    for wrong in (-0.1, 1.1, [0.5, math.nan], "much"):
        with pytest.raises(InputError, match="area"):
            found.capture(wrong)


def test_weights_count_and_a_weight_of_nothing_does_not():
    found = Rates([0.0, 0.5, 0.0], [0.1, 0.6, 0.0], weights=[3, 1, 0])
    assert found.capture(0.1) == 0.75
    assert found.auc == pytest.approx(1 - (3 * 0.05 + 0.55) / 4)
    assert len(found) == 3


def test_the_arrays_are_copies_that_cannot_be_changed():
    low = np.array([0.0, 0.5])
    found = Rates(low, [0.1, 0.6], [1, 2])
    low[0] = 0.7
    assert found.low[0] == 0
    for array in (found.low, found.high, found.weights):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.3


def test_the_repr_says_what_was_found():
    text = repr(Rates([0.0, 0.1, 0.1, 0.6], [0.1, 0.2, 0.2, 0.7]))
    assert "4 deposits: 25 % of them in the best 10 % of the ground, 75 % in 20 %" in text
    assert "crossing at 75 % in 25 %, normalized density 3.00; area under the curve 0.75" in text
    assert "1 deposit:" in repr(Rates([0], [1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(([], []), "at least 1"), (([0.1], [0.1, 0.2]), "have shapes"), (([0.3], [0.2]), "0.3 to 0.2 is no part"),
     (([-0.1], [0.2]), "no part"), (([0.1], [1.2]), "no part"), (([math.nan], [1]), "no part"),
     ((["a"], [1]), "low: needs numbers"), (([0], [1], [-1]), "weights"), (([0], [1], [0]), "not all 0"),
     (([0], [1], [1, 2]), "weights"), (([0], [1], [math.nan]), "weights")],
)  # fmt: skip
def test_what_are_no_rates_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Rates(*arguments)


# -- maps --------------------------------------------------------------------------------------


def test_ground_without_data_is_no_area():
    score = np.full(GRID.shape, np.nan)
    score[:10], score[10:15] = 1, 2
    found = rates(map_of(score), mines([12], [3]))
    assert (found.low[0], found.high[0]) == pytest.approx((0, 1 / 3))


def test_deposits_on_no_ground_are_said_and_left_out():
    score, rows, cols = random_map(0)
    gap = np.argwhere(np.isnan(score))[0]
    some = mines([*rows, gap[0], 99], [*cols, gap[1], 0]).assign(id=[f"mine {i}" for i in range(17)])
    with pytest.warns(DataWarning, match=r"2 of 17 lie on no ground of the map .*\(id mine 15, mine 16\)") as caught:
        found = rates(map_of(score), some, weights=np.arange(17))
    assert caught[0].filename == __file__
    expected = rates(map_of(score), mines(rows, cols), weights=np.arange(15))
    np.testing.assert_array_equal(found.low, expected.low)
    np.testing.assert_array_equal(found.weights, expected.weights)
    some.loc[0, "geometry"] = None
    with pytest.raises(InputError, match="1 of 17 points are missing"):
        rates(map_of(score), some)
    with pytest.raises(InputError, match=r"none of the 1 lies on ground of the map; .*reach="):
        rates(map_of(score), mines([99], [0]))


def test_a_reach_takes_the_nearest_ground():
    score = np.arange(1200.0).reshape(GRID.shape)
    score[10:20, 10:20] = np.nan
    # In row 15 of the gap, two cells from its western edge; three and a half to the east of the grid; in the middle.
    some = mines([15, 3, 15], [11, 43.5, 14])
    with pytest.warns(DataWarning, match="1 of 3"):
        found = rates(map_of(score), some, reach=450)
    expected = rates(map_of(score), mines([15, 3], [9, 39]))
    np.testing.assert_array_equal(found.low, expected.low)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(rates(map_of(score), some, reach=500)) == 3
    with pytest.warns(DataWarning, match="2 of 3"):
        found = rates(map_of(score), mines([15, 3, 0], [11, 43.5, 0]), reach=150)
    assert found.low[0] == pytest.approx(1099 / 1100)
    with pytest.raises(InputError, match="reach"):
        rates(map_of(score), some, reach=0)


def test_a_reach_is_a_circle():
    score = np.full(GRID.shape, np.nan)
    score[10, 10], score[20, 20] = 1, 2
    with pytest.raises(InputError, match="none of the 1 lies on ground"):
        rates(map_of(score), mines([13], [13]), reach=400)
    assert rates(map_of(score), mines([13], [13]), reach=425).low[0] == 0.5


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32650"])
def test_deposits_may_come_in_another_crs(crs):
    score, rows, cols = random_map(1)
    there, here = rates(map_of(score), mines(rows, cols, crs)), rates(map_of(score), mines(rows, cols))
    np.testing.assert_array_equal(there.low, here.low)


def test_the_order_of_the_dims_and_other_dtypes_do_not_matter():
    score, rows, cols = random_map(2)
    expected = rates(map_of(score), mines(rows, cols))
    np.testing.assert_array_equal(rates(map_of(score).transpose("x", "y"), mines(rows, cols)).low, expected.low)
    chunked = rates(map_of(score).chunk({"y": 7}), mines(rows, cols))
    np.testing.assert_array_equal(chunked.high, expected.high)


def test_in_degrees_cells_count_by_their_area_on_the_ellipsoid():
    grid = gp.Grid("EPSG:4326", Affine(1, 0, 0, 0, -30, 90), (3, 10))
    score = grid.dataset({"score": np.repeat([[3.0], [2.0], [1.0]], 10, axis=1)}).score
    mine = gpd.GeoDataFrame(geometry=gpd.points_from_xy([5.5], [45]), crs="EPSG:4326")
    found = rates(score, mine)  # rows of 60 to 90, 30 to 60 and 0 to 30 degrees
    # Strips a fiftieth of a degree high, whose edges are nearly parallels.
    edges = np.linspace(0, 90, 90 * 50 + 1)
    strip = [Geod(ellps="WGS84").polygon_area_perimeter([0, 1, 1, 0], [a, a, b, b])[0]
             for a, b in itertools.pairwise(edges)]  # fmt: skip
    _, middle, north = np.reshape(strip, (3, -1)).sum(axis=1) / np.sum(strip)
    assert (found.low[0], found.high[0]) == pytest.approx((north, north + middle), rel=1e-4)
    assert found.low[0] != pytest.approx(1 - math.sqrt(3) / 2, rel=1e-3)  # as on a sphere
    with pytest.raises(InputError, match="reach=5: the map is in degrees"):
        rates(score, mine, reach=5)


def test_maps_and_deposits_that_are_none_are_refused():
    score, rows, cols = random_map(0)
    good, some = map_of(score), mines(rows, cols)
    with pytest.raises(InputError, match="is a Dataset, needs one variable"):
        rates(good.to_dataset(), some)
    with pytest.raises(InputError, match="needs \\('y', 'x'\\)"):
        rates(xr.concat([good, good], "model"), some)
    with pytest.raises(InputError, match="has no ground"):
        rates(map_of(np.full(GRID.shape, np.nan)), some)
    with pytest.raises(CRSError, match="deposits: carry no CRS"):
        rates(good, some.set_crs(None, allow_override=True))
    with pytest.raises(InputError, match="weights"):
        rates(good, some, weights=[1, 2])


# -- folds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_ranks_are_taken_within_folds(seed):
    rng = np.random.default_rng(seed)
    fold, score = rng.integers(0, 3, 200), np.round(rng.normal(size=200), 1)
    score[rng.random(200) < 0.1] = np.nan
    area, deposit_fold = rng.uniform(1, 3, 200), rng.integers(0, 3, 12)
    deposit_score = np.round(rng.normal(size=12) + 0.5, 1)
    found = rates_within(fold, score, deposit_fold, deposit_score, area=area)
    for low, high, own, value in zip(found.low, found.high, deposit_fold, deposit_score, strict=True):
        here = (fold == own) & ~np.isnan(score)
        total = area[here].sum()
        assert low == pytest.approx(area[here & (score > value)].sum() / total)
        assert high == pytest.approx(area[here & (score >= value)].sum() / total)
    # What another training gives everywhere, higher or lower, changes nothing.
    moved = rates_within(fold, score + 10 * fold, deposit_fold, deposit_score + 10 * deposit_fold, area=area)
    np.testing.assert_allclose(moved.low, found.low)


def test_one_fold_is_the_whole_map():
    score, rows, cols = random_map(3)
    score = score.astype(np.float32)
    whole = rates(map_of(score), mines(rows, cols), weights=np.arange(15))
    fold = np.zeros(score.size)
    found = rates_within(fold, score.ravel(), np.zeros(15), score[rows, cols], weights=np.arange(15))
    np.testing.assert_allclose(found.low, whole.low)
    np.testing.assert_allclose(found.high, whole.high)
    assert found.auc == pytest.approx(whole.auc)


def test_scores_without_a_limit_are_ranked_too():
    found = rates_within([0, 0, 0, 0], [math.inf, 1, 0, -math.inf], [0, 0], [math.inf, -math.inf])
    assert found.low.tolist() == [0, 0.75]
    assert found.high.tolist() == [0.25, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 0], [1], [0], [1]), "fold, score, area: have shapes"),
        (([0], [1], [0, 1], [1]), "deposit_fold, deposit_score"),
        (([0], [1], [0], [math.nan]), "deposit_score: missing at 0"),
        (([0], [math.nan], [0], [1]), "no ground with a score in fold 0"),
        (([0], [1], [0, 1, 1], [1, 1, 1]), "fold 1, which has 2 deposits"),
        (([0], ["a"], [0], [1]), "score: needs numbers"),
        (([0], [1], [], []), "at least 1"),
    ],
)
def test_folds_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        rates_within(*arguments)
