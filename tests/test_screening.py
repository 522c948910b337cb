"""`screen` finds what was planted, and little else."""

import math

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.screening import _holm, ore_cells

GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (50, 60))
COLUMNS = ["auc", "se", "z_auc", "p", "p_holm", "direction", "n_ore", "n_barren", "selected"]


def mines(cells, crs="EPSG:32649", within=(0.5, 0.5)):
    """Return deposits in cells given as (row, col)."""
    row, col = np.array(cells, dtype=float).T
    points = shapely.points(500_000 + 100 * (col + within[0]), 2_400_000 - 100 * (row + within[1]))
    return gpd.GeoDataFrame(geometry=points, crs="EPSG:32649").to_crs(crs)


def drawn(n, seed=0):
    """Return n different cells."""
    return np.column_stack(np.divmod(np.random.default_rng(seed).permutation(3000)[:n], 60))


def planted(n=20, seed=0, strength=2.0):
    """Return a survey in which Cu is high and F low at the deposits and Zn knows nothing, and the deposits."""
    rng, at = np.random.default_rng(seed + 1), drawn(n, seed)
    bands = {name: rng.normal(size=GRID.shape).astype(np.float32) for name in ("Zn", "Cu", "F")}
    bands["Cu"][tuple(at.T)] += strength
    bands["F"][tuple(at.T)] -= strength
    return GRID.dataset(bands), mines(at)


# -- what is found -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_element_is_found_and_an_idle_one_is_not(seed):
    survey, deposits = planted(seed=seed)
    ranking = gp.screen(survey, deposits)
    assert list(ranking.columns) == COLUMNS
    assert ranking.index.name == "element"
    assert ranking["selected"].to_dict() == {"Cu": True, "F": True, "Zn": False}
    assert ranking.index[-1] == "Zn"
    assert ranking["direction"][["Cu", "F"]].to_list() == ["enriched", "depleted"]
    assert ranking.loc["Cu", "auc"] > 0.85
    assert ranking.loc["F", "auc"] < 0.15
    assert (ranking["n_ore"] == 20).all()
    assert (ranking["n_barren"] == 2000).all()


def test_the_numbers_are_those_of_their_definitions():
    survey, deposits = planted()
    ranking = gp.screen(survey, deposits, n_barren=3000)  # all cells, so nothing is left to chance
    ore = np.isin(np.arange(3000), ore_cells(GRID, deposits))
    p = []
    for name in survey:
        auc = gp.rank_auc(ore, survey[name].values.ravel())
        se, z = gp.z_auc(auc, 20, 2980)
        p.append(2 * norm.sf(abs(z)))
        assert ranking.loc[name, ["auc", "se", "z_auc", "p"]].to_list() == [auc, se, z, p[-1]]
    np.testing.assert_array_equal(ranking.loc[list(survey), "p_holm"], _holm(np.array(p)))
    assert (ranking["n_barren"] == 2980).all()
    assert ranking["z_auc"].abs().is_monotonic_decreasing


def selected(signal, seed):
    area = gp.synthetic.make_survey(shape=(96, 96), signal=signal, rng=seed)
    ranking = gp.screen(gp.interpolate(area.samples, area.grid), area.deposits)
    found, carriers = set(ranking.index[ranking["selected"]]), set(area.carriers)
    return len(found & carriers), len(found - carriers)


def test_carriers_are_selected_and_other_elements_rarely():
    hits, false_alarms = zip(*(selected(1.0, seed) for seed in range(3)), strict=True)
    assert sum(count == 8 for count in hits) >= 2, hits
    assert min(hits) >= 7, hits
    assert sum(false_alarms) <= 1, false_alarms


def test_without_a_signal_next_to_nothing_is_selected():
    assert sum(sum(selected(0.0, seed)) for seed in range(2)) <= 1


# -- Holm --------------------------------------------------------------------------------------


def stepwise(p, alpha):
    """Return what Holm (1979) rejects, step by step."""
    rejected = np.zeros(len(p), dtype=bool)
    for step, i in enumerate(np.argsort(p, kind="stable")):
        if p[i] > alpha / (len(p) - step):
            break
        rejected[i] = True
    return rejected


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20), alpha=st.floats(0.001, 0.5))
def test_corrected_p_values_select_what_holm_rejects(p, alpha):
    corrected = _holm(np.array(p))
    clear = np.abs(corrected - alpha) > 1e-12
    np.testing.assert_array_equal((corrected <= alpha)[clear], stepwise(np.array(p), alpha)[clear])
    assert (corrected >= p).all()
    assert (corrected <= 1).all()


def test_holm_by_hand():
    np.testing.assert_allclose(_holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(_holm(np.array([0.9, math.nan, 0.02])), [0.9, math.nan, 0.04])


def test_holm_keeps_three_elements_of_table_1():
    k = {"Au": 25, "Sn": 26, "Ag": 43, "Mn": 14, "Zn": 11, "Sb": 23, "Hg": 34, "W": 19, "B": 22, "Cu": 32, "Ba": 28,
         "Pb": 19, "As": 16, "Bi": 22, "Mo": 24, "F": 17}  # fmt: skip
    p = np.array([2 * norm.sf(gp.z_auc(0.5 + one / 244, 122, 122)[1]) for one in k.values()])
    assert {name for name, keep in zip(k, _holm(p) <= 0.01, strict=True) if keep} == {"Ag", "Hg", "Cu"}


def test_bands_that_cannot_be_scored_do_not_count_among_the_tests():
    survey, deposits = planted()
    alone = gp.screen(survey, deposits)
    more = survey.assign({f"empty{i}": survey["Cu"] * np.nan for i in range(20)})
    pd.testing.assert_series_equal(gp.screen(more, deposits)["p_holm"][list(alone.index)], alone["p_holm"])


# -- the rules ---------------------------------------------------------------------------------


def test_the_rule_of_the_paper_takes_what_is_enriched_from_2_58_on():
    survey, deposits = planted()
    ranking = gp.screen(survey, deposits, rule="gao2022")
    assert ranking["selected"].to_dict() == {"Cu": True, "F": False, "Zn": False}
    for seed in range(8):
        survey, deposits = planted(seed=seed, strength=0.6)
        ranking = gp.screen(survey, deposits, rule="gao2022")
        np.testing.assert_array_equal(ranking["selected"], ranking["z_auc"] >= 2.58)
        ranking = gp.screen(survey, deposits, rule="gao2022", alpha=0.05)
        np.testing.assert_array_equal(ranking["selected"], ranking["z_auc"] >= 1.96)


def test_a_stricter_level_selects_no_more():
    survey, deposits = planted(strength=0.8)
    loose, strict = (set(r.index[r.selected]) for r in (gp.screen(survey, deposits, alpha=a) for a in (0.5, 1e-9)))
    assert strict < loose


# -- bands that cannot be scored ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["constant", "missing", "missing at the deposits", "only at the deposits", "infinite"])
def test_a_band_that_cannot_be_scored_says_so(kind):
    survey, deposits = planted()
    at = np.zeros(GRID.shape, dtype=bool)
    at.ravel()[ore_cells(GRID, deposits)] = True
    cu = survey["Cu"].values
    band = {
        "constant": np.full_like(cu, 5),
        "missing": np.full_like(cu, np.nan),
        "infinite": np.full_like(cu, np.inf),
        "missing at the deposits": np.where(at, np.nan, cu),
        "only at the deposits": np.where(at, cu, np.nan),
    }[kind]
    ranking = gp.screen(survey.assign(W=(("y", "x"), band)), deposits)
    assert ranking.index[-1] == "W"
    assert ranking.loc["W", "direction"] == "not scorable"
    assert ranking.loc["W", ["auc", "se", "z_auc", "p", "p_holm"]].isna().all()
    assert not ranking.loc["W", "selected"]
    assert ranking["selected"].dtype == bool


def test_a_survey_with_nothing_to_score_selects_nothing():
    survey, deposits = planted()
    ranking = gp.screen(survey * 0 + 1, deposits)
    assert (ranking["direction"] == "not scorable").all()
    assert not ranking["selected"].any()


@pytest.mark.filterwarnings("ignore:deposits. only 3 cells hold one")
def test_ties_count_one_half():
    survey = GRID.dataset({"Cu": np.tile([0.0, 1.0], (50, 30)), "F": np.tile([[0.0], [1.0]], (25, 60))})
    ranking = gp.screen(survey, mines([(0, 1), (0, 3), (1, 5)]), n_barren=3000)
    # Of 2,997 barren cells: all three ore cells beat 1,500 in Cu and tie with the others; in F one of three does so.
    assert ranking.loc["Cu", "auc"] == pytest.approx((1500 + 0.5 * 1497) / 2997)
    assert ranking.loc["F", "auc"] == pytest.approx((2 * 0.5 * 1498 + 1498 + 0.5 * 1499) / (3 * 2997))


def test_gaps_are_left_out_of_the_counts():
    survey, deposits = planted()
    holed = survey["Cu"].values.copy()
    holed.ravel()[ore_cells(GRID, deposits)[:6]] = np.nan
    ranking = gp.screen(survey.assign(Cu=(("y", "x"), holed)), deposits)
    assert ranking.loc["Cu", "n_ore"] == 14
    assert ranking.loc["Zn", "n_ore"] == 20


# -- deposits and barren cells -----------------------------------------------------------------


def test_deposits_that_share_a_cell_count_once():
    survey, deposits = planted()
    twice = pd.concat([deposits, mines(drawn(20), within=(0.1, 0.9))], ignore_index=True)
    pd.testing.assert_frame_equal(gp.screen(survey, twice), gp.screen(survey, deposits))


def test_deposits_may_lie_in_another_crs():
    survey, deposits = planted()
    pd.testing.assert_frame_equal(gp.screen(survey, deposits.to_crs("EPSG:4326")), gp.screen(survey, deposits))


@pytest.mark.filterwarnings("ignore:deposits. 4 lie off the grid")
def test_deposits_off_the_grid_do_not_count():
    survey, deposits = planted()
    more = pd.concat([deposits, mines([(-5, 3), (70, 3), (3, -1), (3, 60)])], ignore_index=True)
    pd.testing.assert_frame_equal(gp.screen(survey, more), gp.screen(survey, deposits))


def test_ore_cells_are_those_that_hold_a_deposit():
    deposits = mines([(49, 59), (0, 0), (0, 1), (0, 1)], within=(0.0, 0.0))
    np.testing.assert_array_equal(ore_cells(GRID, deposits), [0, 1, 2999])


def test_no_deposit_is_drawn_as_barren_ground():
    # All ground but one cell is ore: that cell alone is barren.
    cells = [(r, c) for r in range(50) for c in range(60) if (r, c) != (7, 9)]
    survey = GRID.dataset({"Cu": np.ones(GRID.shape)})
    survey["Cu"][7, 9] = 0
    ranking = gp.screen(survey, mines(cells))
    assert ranking.loc["Cu", ["auc", "n_ore", "n_barren"]].to_list() == [1, 2999, 1]


def test_barren_cells_lie_where_there_are_data():
    survey, deposits = planted()
    held = survey.where(survey["x"] < 500_000 + 3000)
    ranking = gp.screen(held, deposits, n_barren=10_000)
    east = int((drawn(20)[:, 1] >= 30).sum())
    assert (ranking["n_ore"] == 20 - east).all()
    assert (ranking["n_barren"] == 1500 - (20 - east)).all()


def test_the_same_seed_gives_the_same_ranking():
    survey, deposits = planted()
    first, second, other = (gp.screen(survey, deposits, rng=rng, n_barren=300) for rng in (7, 7, 8))
    pd.testing.assert_frame_equal(first, second)
    assert first["auc"].to_dict() != other["auc"].to_dict()
    generator = np.random.default_rng(7)
    pd.testing.assert_frame_equal(gp.screen(survey, deposits, rng=generator, n_barren=300), first)
    assert gp.screen(survey, deposits, rng=generator, n_barren=300)["auc"].to_dict() != first["auc"].to_dict()


def test_screening_points_are_what_is_scored():
    survey, deposits = planted()
    ranking = gp.screen(survey, deposits, rng=3)
    for name, (labels, values) in gp.screening_points(survey, deposits, rng=3).items():
        assert gp.rank_auc(labels, values) == ranking.loc[name, "auc"]


def test_turned_dims_make_no_difference():
    survey, deposits = planted()
    turned = survey.transpose("x", "y")
    pd.testing.assert_frame_equal(gp.screen(turned, deposits), gp.screen(survey, deposits))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s, d: (s, mines([(-9, 3), (99, 3)])), InputError, "none of the 2 lies on the grid"),
        (lambda s, d: (s, d.iloc[:0]), InputError, "none of the 0 lies on the grid"),
        (lambda s, d: (s, d.set_crs(None, allow_override=True)), CRSError, "carries no CRS"),
        (lambda s, d: (s.drop_vars(list(s)), d), InputError, "no band"),
        (lambda s, d: (s * np.nan, d), InputError, "no barren ground"),
        (lambda s, d: (s.drop_vars("spatial_ref"), d), CRSError, "no CRS"),
    ],
)
def test_what_cannot_be_screened_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        gp.screen(*change(*planted()))


@pytest.mark.parametrize(
    "arguments", [{"alpha": 0}, {"alpha": 1.5}, {"rule": "bonferroni"}, {"n_barren": 0}, {"rng": -1}]
)
def test_a_setting_out_of_its_range_is_refused(arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        gp.screen(*planted(), **arguments)


def test_a_handful_of_deposits_and_those_off_the_grid_are_said():
    area = gp.synthetic.make_survey(shape=(48, 48), n_samples=400, rng=0)
    survey = gp.interpolate(area.samples, area.grid)
    with pytest.warns(DataWarning, match="only 3 cells hold one"):
        gp.screen(survey, area.deposits.iloc[:3])
    away = area.deposits.copy()
    away.loc[:1, "geometry"] = away.geometry[:2].translate(1e6)
    with pytest.warns(DataWarning, match=r"2 lie off the grid and are left out \(id 1, 2\)"):
        gp.screen(survey, away)
