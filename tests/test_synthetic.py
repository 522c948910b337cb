from functools import cache

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)
from scipy.spatial import cKDTree
from scipy.stats import skew
from sklearn.metrics import roc_auc_score

from geoprospect import synthetic
from geoprospect.errors import InputError
from geoprospect.synthetic import SyntheticSurvey, make_survey

OTHERS = "Pb Zn Mn As W B Bi F".split()
# Between the 1st and 99th percentile of stream sediments in South China, generously.
RANGES = {
    "Cu": (1, 400), "Pb": (3, 300), "Zn": (10, 500), "Mn": (30, 8000), "As": (0.2, 250), "Sn": (0.3, 80),
    "W": (0.1, 60), "Ag": (0.005, 2), "Au": (0.03, 80), "B": (2, 600), "Sb": (0.02, 25), "Bi": (0.01, 10),
    "Mo": (0.05, 20), "Hg": (3, 1000), "F": (80, 2500), "Ba": (80, 3000),
}  # fmt: skip


@cache
def survey(area: str = "A", rng: int = 0, signal: float = 1.0) -> SyntheticSurvey:
    return make_survey(area, rng=rng, signal=signal)


def make_small(**settings) -> SyntheticSurvey:
    return make_survey(**{"n_samples": 500, "shape": 48, "rng": 0, **settings})


# Made again only in tests of repeated calls. All surveys of one seed share a land, which takes most of the time.
small = cache(make_small)


def random_ground(one, n=2000):
    left, bottom, right, top = one.grid.bounds
    return np.random.default_rng(1).uniform([left, bottom], [right, top], (n, 2))


def deposit_points(one):
    return np.column_stack(one.grid.points(one.deposits.geometry))


def sample_points(one):
    return np.column_stack(one.grid.points(one.samples.geometry))


def at_cells(one, band, xy):
    row, col = one.grid.rowcol(*xy.T)
    return one.truth[band].values[row, col]


def auc(at_deposits, elsewhere):
    return roc_auc_score(np.r_[np.ones(len(at_deposits)), np.zeros(len(elsewhere))], np.r_[at_deposits, elsewhere])


def element_auc(one, element):
    """AUC of the mean logarithm of the five nearest samples, deposits against random ground."""
    logs = np.log(one.samples[element].values[:, 0])
    present = ~np.isnan(logs)
    tree = cKDTree(sample_points(one)[present])
    places = deposit_points(one), random_ground(one)
    return auc(*(logs[present][tree.query(xy, k=5)[1]].mean(axis=1) for xy in places))


def assert_same(one, other):
    np.testing.assert_array_equal(one.samples.points, other.samples.points)
    np.testing.assert_array_equal(one.samples.values, other.samples.values)
    assert one.deposits.equals(other.deposits)
    assert one.undiscovered.equals(other.undiscovered)
    assert one.halos.equals(other.halos)
    assert one.truth.identical(other.truth)


def test_the_same_seed_gives_the_same_bytes():
    first = small()
    synthetic._make_land.cache_clear()
    assert_same(first, make_small())
    assert_same(first, make_small())  # on the land that is kept


def test_a_generator_gives_what_its_seed_gives_and_then_another_survey():
    generator = np.random.default_rng(0)
    first, second = make_small(rng=generator), make_small(rng=generator)
    assert_same(first, small())
    assert first.seed is None
    assert small().seed == 0
    assert not np.array_equal(first.samples.values, second.samples.values)


def test_another_seed_gives_another_survey():
    one, other = small(), small(rng=1)
    assert not np.array_equal(one.samples.points, other.samples.points)
    assert not one.deposits.geometry.equals(other.deposits.geometry)
    assert not one.truth.identical(other.truth)


# One AUC of 40 clustered deposits scatters by about 0.06, the mean over four seeds by 0.03.
@pytest.mark.parametrize(("seeds", "off"), [(1, 0.2), pytest.param(4, 0.1, marks=pytest.mark.slow)])
def test_carriers_rise_at_deposits_and_other_elements_do_not(seeds, off):
    mean = {e: np.mean([element_auc(survey(rng=s), e) for s in range(seeds)]) for e in survey().samples.elements}
    assert all(abs(mean[element] - 0.78) < off for element in survey().carriers), mean
    assert all(abs(mean[element] - 0.5) < off for element in OTHERS), mean
    assert abs(np.mean([mean[element] for element in OTHERS]) - 0.5) < 0.05


def test_area_b_keeps_the_same_carriers():
    one = survey("B")
    assert one.carriers == survey().carriers
    assert np.mean([element_auc(one, e) for e in one.carriers]) > np.mean([element_auc(one, e) for e in OTHERS]) + 0.15


def test_carriers_and_other_elements_are_the_sixteen():
    one = small()
    assert set(one.carriers) | set(OTHERS) == set(one.samples.elements)
    assert {e for e, amplitude in one.amplitudes.items() if amplitude > 0} == set(one.carriers)


def test_without_signal_the_samples_do_not_depend_on_the_deposits():
    few, many = small(signal=0, n_deposits=3), small(signal=0, n_deposits=60)
    assert len(few.deposits) == 3
    assert len(many.deposits) == 60
    np.testing.assert_array_equal(few.samples.values, many.samples.values)
    np.testing.assert_array_equal(few.samples.points, many.samples.points)


def test_signal_moves_nothing_but_the_carriers():
    without, with_halo = survey(signal=0.0), survey()
    assert without.deposits.equals(with_halo.deposits)
    np.testing.assert_array_equal(without.samples.points, with_halo.samples.points)
    np.testing.assert_array_equal(without.samples[OTHERS].values, with_halo.samples[OTHERS].values)
    np.testing.assert_array_equal(np.isnan(without.samples.values), np.isnan(with_halo.samples.values))


def test_the_halo_of_the_truth_is_what_the_carriers_gained():
    # The default grid is the lattice that the land is made on, so the truth is met exactly.
    gained = np.log(survey().samples["Ag"].values / survey(signal=0.0).samples["Ag"].values)[:, 0]
    expected = survey().amplitudes["Ag"] * at_cells(survey(), "halo", survey().samples.points)
    np.testing.assert_allclose(gained, expected, atol=1e-5)
    assert gained.max() > 0.5


def test_more_signal_means_a_higher_auc():
    scores = [np.mean([element_auc(survey(signal=s), e) for e in survey().carriers]) for s in (0.0, 1.0, 3.0)]
    assert abs(scores[0] - 0.5) < 0.12
    assert scores[0] + 0.15 < scores[1] < scores[2] - 0.03


def test_deposits_do_not_depend_on_samples_or_shape():
    assert small().deposits.equals(small(n_samples=300, shape=32).deposits)


def test_samples_have_the_count_and_density_of_the_paper():
    one = survey()
    left, bottom, right, top = one.grid.bounds
    area = (right - left) * (top - bottom)
    assert one.samples.values.shape == (7234, 16)
    assert area / 1e6 == pytest.approx(1694, abs=1)
    assert np.sqrt(area / len(one.samples)) == pytest.approx(484, abs=1)
    # Evenly spread, as a survey is, and not on a lattice.
    nearest = cKDTree(one.samples.points).query(one.samples.points, k=2)[0][:, 1]
    assert 250 < np.median(nearest) < 484
    assert nearest.std() > 60
    assert cKDTree(one.samples.points).query(random_ground(one))[0].max() < 1500
    assert len(np.unique(one.samples.points, axis=0)) == len(one.samples)


def test_samples_lie_on_the_drainage():
    one = survey()
    at_samples, anywhere = (at_cells(one, "drainage", xy) for xy in (one.samples.points, random_ground(one)))
    assert np.mean(at_samples > 0.1) > 0.75
    assert np.mean(anywhere > 0.1) < 0.3


def test_drainage_gathers_downhill_until_it_leaves_the_area():
    catchment = survey().truth.drainage.values
    edge = np.r_[catchment[0], catchment[-1], catchment[1:-1, 0], catchment[1:-1, -1]]
    assert catchment.min() == pytest.approx(0.1072**2, rel=1e-5)
    assert edge.sum() == pytest.approx(41.1648**2, rel=1e-5)
    assert np.corrcoef(np.log(catchment).ravel(), survey().truth.elevation.values.ravel())[0, 1] < -0.1


def test_values_are_in_plausible_units_and_ranges():
    table = survey(signal=1.0).samples.summary()
    assert dict(table["unit"][table["unit"] != "ppm"]) == {"Au": "ppb", "Hg": "ppb"}
    for element, (low, high) in RANGES.items():
        assert low < table.loc[element, "min"] < table.loc[element, "max"] < high, element
    assert table.loc["Cu", "median"] == pytest.approx(20, rel=0.25)
    assert table.loc["Au", "median"] == pytest.approx(1.5, rel=0.25)
    assert table.loc["Ba", "median"] == pytest.approx(450, rel=0.25)


def test_the_share_of_missing_values_is_as_asked():
    absent = np.isnan(survey().samples.values)
    assert absent.mean() == pytest.approx(0.015, abs=0.002)
    assert 0 < absent.any(axis=0).sum() < 16
    assert not np.isnan(small(missing=0).samples.values).any()


@pytest.mark.parametrize("element", OTHERS)
def test_concentrations_are_roughly_log_normal(element):
    values = survey().samples[element].values[:, 0]
    values = values[~np.isnan(values)]
    assert abs(skew(np.log(values))) < 0.4
    assert skew(values) > 0.4


def test_nearby_samples_are_more_alike_than_distant_ones():
    points, logs = survey().samples.points, np.log(survey().samples["Pb"].values[:, 0])
    near = cKDTree(points).query(points, k=2)[1][:, 1]
    shuffled = np.random.default_rng(0).permutation(len(points))
    semivariance = [0.5 * np.mean((logs - logs[other]) ** 2) for other in (near, shuffled)]
    assert 0.2 < semivariance[0] / semivariance[1] < 0.6  # a nugget, and structure above it


def test_elements_of_one_rock_go_together():
    logs = np.log(survey().samples[["W", "Bi", "Mn"]].values)
    tin_granite = np.corrcoef(logs[~np.isnan(logs).any(axis=1)].T)
    assert tin_granite[0, 1] > 0.15
    assert tin_granite[0, 1] > tin_granite[0, 2]


@pytest.mark.parametrize("area", ["A", "B"])
def test_samples_and_deposits_lie_inside_the_grid(area):
    one = survey(area)
    for table in (one.samples, one.deposits, one.undiscovered):
        assert one.grid.contains(*one.grid.points(table.geometry)).all()
    assert one.grid.shape == (384, 384)
    assert one.deposits.crs == one.samples.crs == one.undiscovered.crs


def test_deposits_are_a_clustered_layer_of_known_ones():
    one = survey()
    assert list(one.deposits.columns) == list(one.undiscovered.columns) == ["id", "name", "commodity", "geometry"]
    assert one.deposits["id"].tolist() == list(range(1, 41))
    assert one.halos["known"].sum() == 40
    assert one.halos["width"].between(1500, 2500).all()
    points = deposit_points(one)
    nearest, random_nearest = (cKDTree(xy).query(xy, k=2)[0][:, 1] for xy in (points, random_ground(one, 40)))
    assert np.median(nearest) < 0.6 * np.median(random_nearest)
    row, col = one.grid.rowcol(*points.T)
    assert 20 <= len(set(zip(row // 32, col // 32, strict=True))) <= 36  # the paper has 29 of 144


@pytest.mark.parametrize("area", ["A", "B"])
def test_the_true_ore_potential_is_high_at_the_deposits(area):
    one = survey(area)
    points = deposit_points(one)
    upside_down = np.column_stack([points[:, 0], one.grid.bounds[1] + one.grid.bounds[3] - points[:, 1]])
    here, elsewhere, mirrored = (at_cells(one, "ore_potential", xy) for xy in (points, random_ground(one), upside_down))
    assert np.median(here) > 0.6 > 0.3 > np.median(elsewhere)
    assert auc(here, elsewhere) > 0.9
    assert auc(mirrored, elsewhere) < 0.75
    assert at_cells(one, "halo", points).mean() > 5 * one.truth["halo"].values.mean()


def test_undiscovered_ore_bodies_have_haloes_too():
    one = survey()
    points = np.column_stack(one.grid.points(one.undiscovered.geometry))
    assert len(points) == 13
    assert np.median(at_cells(one, "halo", points)) > 0.3
    assert cKDTree(deposit_points(one)).query(points)[0].min() >= 700


@pytest.mark.parametrize(("seeds", "off"), [(1, 0.2), pytest.param(4, 0.1, marks=pytest.mark.slow)])
def test_drainage_and_sample_spacing_do_not_give_the_deposits_away(seeds, off):
    scores = {"drainage": [], "elevation": [], "spacing": []}
    for seed in range(seeds):
        one = survey(rng=seed)
        points, ground = deposit_points(one), random_ground(one)
        for band in ("drainage", "elevation"):
            scores[band].append(auc(at_cells(one, band, points), at_cells(one, band, ground)))
        tree = cKDTree(one.samples.points)
        scores["spacing"].append(auc(tree.query(points)[0], tree.query(ground)[0]))
    assert all(abs(np.mean(values) - 0.5) < off for values in scores.values()), scores


def test_area_b_differs_in_crs_units_extent_and_cell_size():
    a, b = survey(), survey("B")
    assert b.samples.crs.is_geographic
    assert b.grid.crs.is_projected
    assert b.grid.crs != a.grid.crs
    assert b.grid.resolution == pytest.approx((80, 80))
    assert a.grid.resolution == pytest.approx((107.2, 107.2))
    assert b.samples.elements == a.samples.elements
    units = {one.area: dict(zip(one.samples.elements, one.samples.units, strict=True)) for one in (a, b)}
    assert units["A"]["Au"] == "ppb"
    assert units["B"]["Au"] == "ppm"
    assert {"ppm", "ppb", "%"} == set(b.samples.units)
    gold, manganese = b.samples.summary().loc[["Au", "Mn"], "median"]
    assert 0.0005 < gold < 0.004
    assert 0.02 < manganese < 0.12
    # Another stream of the same seed: what is drawn has nothing to do with A.
    assert abs(np.corrcoef(a.truth.ore_potential.values.ravel(), b.truth.ore_potential.values.ravel())[0, 1]) < 0.3


def test_an_oblong_grid_has_square_cells_and_no_truth_outside_of_the_survey():
    one = small(shape=(48, 96))
    assert one.grid.resolution[0] == one.grid.resolution[1]
    assert one.truth.sizes == {"y": 48, "x": 96}
    valid = one.truth.ore_potential.notnull().values
    assert valid[:, 24:72].all()
    assert not valid[:, :24].any()
    assert not valid[:, 72:].any()


def test_the_truth_is_georeferenced_and_has_units():
    one = small()
    assert one.truth.rio.crs == one.grid.crs
    assert {name: band.attrs["units"] for name, band in one.truth.items()} == {
        "ore_potential": "1", "halo": "1", "drainage": "km2", "elevation": "m",
    }  # fmt: skip
    for name in ("ore_potential", "halo"):
        assert one.truth[name].dtype == np.float32
        assert 0 <= one.truth[name].min() < one.truth[name].max() <= 1


def test_the_repr_says_what_there_is():
    assert repr(small(signal=0.5)) == (
        "SyntheticSurvey(area A: 500 samples of 16 elements, 40 deposits and 13 undiscovered, "
        "grid of 48 x 48 cells, signal 0.5, seed 0)"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"area": "C"}, "area='C'"),
        ({"signal": -1}, "signal=-1"),
        ({"shape": (0, 5)}, r"shape\[0\]=0"),
        ({"n_samples": 15}, "n_samples=15"),
        ({"n_samples": 10**6}, "n_samples=1000000: needs at most 36864.*ask for fewer"),
        ({"n_deposits": 0}, "n_deposits=0"),
        ({"n_deposits": 201}, "n_deposits=201: needs at most 200"),
        ({"missing": 0.5}, "missing=0.5"),
        ({"rng": -1}, "rng=-1"),
    ],
)
def test_a_wrong_argument_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        make_survey(**settings)


def test_the_extremes_that_are_allowed_work():
    assert len(make_survey(n_samples=36_864, n_deposits=200, shape=4).samples) == 36_864
    assert len(make_survey("B", n_samples=16, n_deposits=200, shape=1).deposits) == 200
