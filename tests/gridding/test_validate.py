"""`validate_gridding`: errors that are known, on samples near and far."""

import inspect
import math
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

import geoprospect as gp
from geoprospect.errors import CRSError, InputError, SeparationError
from geoprospect.gridding.idw import IDW
from geoprospect.gridding.methods import METHODS, InterpolationSettings
from geoprospect.gridding.validate import GriddingScores, validate_gridding

UTM = "EPSG:32649"
NAN = math.nan


def samples(points, values, elements=None, units=None, crs=UTM):
    values = np.asarray(values, dtype=float).reshape(len(points), -1)
    names = elements or ["Cu", "Au", "Zn", "Pb"][: values.shape[1]]
    return gp.Samples(points, values, names, units or ["ppm"] * len(names), crs)


def scattered(n=120, seed=0, side=10_000.0):
    return np.array([500_000, 2_400_000]) + np.random.default_rng(seed).uniform(0, side, (n, 2))


def smooth(points):
    """A plane of 0 … 40 ppm."""
    return (points - [500_000, 2_400_000]) @ [0.003, 0.001]


def clusters(n=6, each=20, seed=0):
    """Tight clusters far apart, each at a level of its own."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])[:n] * 50_000.0 + 500_000
    points = np.repeat(centres, each, axis=0) + rng.uniform(-500, 500, (n * each, 2))
    return samples(points, np.repeat(rng.normal(100, 30, n), each) + rng.normal(0, 1, n * each))


# -- known errors ------------------------------------------------------------------------------


def test_leave_one_out_is_that_of_a_loop():
    points = scattered(40)
    measured = smooth(points)
    expected = [
        IDW(k=5, power=3).fit(np.delete(points, i, axis=0), np.delete(measured, i)).predict(points[[i]])[0]
        for i in range(40)
    ]
    scores = validate_gridding(samples(points, measured), k=5, power=3)
    np.testing.assert_allclose(scores.predictions["leave-one-out"], expected)
    row = scores.table.loc[("Cu", "leave-one-out")]
    error = np.array(expected) - measured
    assert row["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert row["mae"] == pytest.approx(np.abs(error).mean())
    assert row["bias"] == pytest.approx(error.mean())
    assert row["sd"] == pytest.approx(measured.std())


def test_the_errors_of_blocks_are_those_of_their_folds():
    points = scattered()
    scores = validate_gridding(samples(points, smooth(points)), folds=4, block=1500)
    fold, predicted = scores.predictions["fold"].to_numpy(), scores.predictions["blocks"].to_numpy()
    assert set(fold) == {0, 1, 2, 3}
    for one in range(4):
        model = IDW().fit(points[fold != one], smooth(points)[fold != one])
        np.testing.assert_allclose(predicted[fold == one], model.predict(points[fold == one]))


def test_a_plane_is_predicted_without_error_by_planes():
    points = scattered(50)
    scores = validate_gridding(samples(points, smooth(points)), method="linear")
    assert (scores.table["rmse"] < 1e-9).all()
    assert (scores.table["not_predicted"] > 0).all(), "the hull shrinks where a sample on it is left out"
    assert scores.predictions["leave-one-out"].isna().sum() == scores.table["not_predicted"].iloc[0]


def test_one_value_everywhere_is_predicted_without_error():
    table = validate_gridding(samples(scattered(), np.full(120, 7.0))).table
    assert np.allclose(table[["rmse", "mae", "bias", "sd", "rmse_log10", "bias_log10"]], 0, atol=1e-12)


def test_the_bias_is_predicted_less_measured():
    # Nineteen samples of 1 about one of 101: it is predicted as 1, 100 too little.
    angle = np.arange(19) / 19 * 2 * np.pi
    points = np.vstack([[[0, 0]], np.column_stack([np.cos(angle), np.sin(angle)]) * 1000]) + 500_000
    scores = validate_gridding(samples(points, [101.0] + [1.0] * 19), method="nearest", block=900)
    assert scores.table.loc[("Cu", "leave-one-out"), "bias"] < 0
    assert scores.predictions["leave-one-out"][0] == 1


def test_what_cannot_be_predicted_is_no_better_than_the_mean():
    noise = np.random.default_rng(0).lognormal(size=120)
    scores = validate_gridding(samples(scattered(), noise), method="nearest")
    assert (scores.table["rmse"] >= scores.table["sd"]).all()
    assert "the mean of all predicts no worse: Cu" in scores.summary


def test_of_clusters_leave_one_out_is_optimistic_and_blocks_are_not():
    table = validate_gridding(clusters(), block=30_000, folds=6).table
    near, far = (table.loc[("Cu", split), "rmse"] for split in ("leave-one-out", "blocks"))
    assert near < 1.5, "the noise within a cluster is 1"
    assert far > 20, "the levels of the clusters differ by 30"


def test_of_samples_evenly_spread_neither_is_far_from_the_other():
    points = scattered(400)
    table = validate_gridding(samples(points, smooth(points)), block=700).table
    assert table["rmse"].max() < 3 * table["rmse"].min()


# -- the log scale, missing values -------------------------------------------------------------


def test_the_log_scale_leaves_out_what_has_no_logarithm():
    points = scattered(60)
    measured = np.exp(smooth(points) / 10)
    measured[:7] = 0
    row = validate_gridding(samples(points, measured), method="nearest").table.loc[("Cu", "leave-one-out")]
    predicted = IDW(k=2).fit(points, measured)
    assert row["n"] == 60
    _, who = predicted._tree.query(points, k=2)
    nearest = measured[who[:, 1]]
    both = (measured > 0) & (nearest > 0)
    error = np.log10(nearest[both]) - np.log10(measured[both])
    assert row["n_log10"] == both.sum() < 53
    assert row["rmse_log10"] == pytest.approx(np.sqrt((error**2).mean()))
    assert row["mae_log10"] == pytest.approx(np.abs(error).mean())
    assert row["bias_log10"] == pytest.approx(error.mean())


def test_without_a_positive_value_there_is_no_log_scale():
    table = validate_gridding(samples(scattered(30), np.zeros(30))).table
    assert (table["n_log10"] == 0).all()
    assert table[["rmse_log10", "mae_log10", "bias_log10", "sd_log10"]].isna().all(axis=None)


@pytest.mark.parametrize("method", ["idw", "spline"])
def test_an_element_is_fitted_on_the_samples_that_have_it(method):
    points, rng = scattered(60), np.random.default_rng(3)
    values = np.column_stack([smooth(points), rng.lognormal(size=60), smooth(points) ** 2])
    values[rng.random(60) < 0.3, 1] = NAN
    values[:, 2][::2] = NAN
    survey = samples(points, values)
    together = validate_gridding(survey, method=method, folds=3)
    for column in range(3):
        kept = ~np.isnan(values[:, column])
        assert together.table.loc[(survey.elements[column], "blocks"), "n"] == kept.sum()
    # The folds are those of all samples, so an element alone has others; leave-one-out has none.
    alone = validate_gridding(samples(points[::-1], values[::-1])[["Au"]], method=method, folds=3)
    np.testing.assert_allclose(
        alone.table.loc[("Au", "leave-one-out"), ["rmse", "bias"]].astype(float),
        together.table.loc[("Au", "leave-one-out"), ["rmse", "bias"]].astype(float),
        rtol=1e-6,
    )


def test_elements_with_no_value_or_one_have_no_errors():
    values = np.full((30, 3), NAN)
    values[:, 0], values[4, 2] = smooth(scattered(30)), 5.0
    table = validate_gridding(samples(scattered(30), values)).table
    assert (table.loc["Au", ["n", "not_predicted"]] == 0).all(axis=None)
    assert (table.loc["Zn", ["n", "not_predicted"]] == 1).all(axis=None)
    assert table.loc[["Au", "Zn"], ["rmse", "sd", "rmse_log10"]].isna().all(axis=None)
    assert table.loc["Cu", "rmse"].notna().all()


def test_predictions_stand_beside_what_was_measured():
    points = scattered(30)
    values = np.column_stack([smooth(points), smooth(points) ** 2])
    values[0], values[5, 1] = NAN, NAN
    found = validate_gridding(samples(points, values)).predictions
    assert list(found.columns) == ["sample", "x", "y", "fold", "element", "measured", "leave-one-out", "blocks"]
    assert len(found) == 29 + 28
    for row in (found.iloc[0], found.iloc[40]):
        assert values[row["sample"], ["Cu", "Au"].index(row["element"])] == row["measured"]
        np.testing.assert_array_equal(points[row["sample"]], [row["x"], row["y"]])


# -- blocks ------------------------------------------------------------------------------------


def test_samples_of_one_block_are_in_one_fold_and_folds_are_even():
    points = scattered(1000)
    scores = validate_gridding(samples(points, smooth(points)), block=1000, folds=5)
    frame = scores.predictions
    corner = np.floor((frame[["x", "y"]] - frame[["x", "y"]].min()) / 1000)
    assert (frame["fold"].groupby([corner["x"], corner["y"]]).nunique() == 1).all()
    assert frame["fold"].value_counts().between(190, 210).all()


def test_a_block_is_ten_spacings_or_a_fifth_of_the_survey():
    many, few = scattered(4000), scattered(100)
    scores = validate_gridding(samples(many, smooth(many)), method="nearest")
    assert scores.block == 10 * scores.spacing
    assert f"blocks of {scores.block:.3g} m" in repr(scores)
    scores = validate_gridding(samples(few, smooth(few)), method="nearest")
    assert scores.block == np.ptp(few, axis=0).max() / 5 < 10 * scores.spacing


def test_the_same_rng_gives_the_same_and_another_deals_the_blocks_anew():
    points = scattered(300)
    survey = samples(points, smooth(points))
    first, again, other = (validate_gridding(survey, block=2000, rng=rng) for rng in (0, 0, 1))
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
    assert (first.predictions["fold"] != other.predictions["fold"]).any()
    np.testing.assert_array_equal(first.predictions["leave-one-out"], other.predictions["leave-one-out"])


def test_samples_in_degrees_are_projected():
    points = scattered(80)
    survey = samples(points, smooth(points))
    degrees, metres = (validate_gridding(one, block=2000) for one in (survey.to_crs("EPSG:4326"), survey))
    assert "UTM zone 49N" in repr(degrees)
    np.testing.assert_allclose(degrees.table["rmse"], metres.table["rmse"], rtol=1e-3)
    named = validate_gridding(survey.to_crs("EPSG:4326"), crs="EPSG:32650")
    assert "UTM zone 50N" in repr(named)


# -- the search --------------------------------------------------------------------------------


def noisy(n=150):
    """Au is noise about a level, best averaged over many; Cu a field without noise, best from few."""
    points, rng = scattered(n), np.random.default_rng(5)
    return points, np.column_stack([smooth(points), rng.normal(100, 10, n)])


@pytest.fixture(scope="module")
def searched():
    return validate_gridding(samples(*noisy()), search=True, folds=4)


def test_the_search_finds_what_scikit_learn_finds():
    points, values = noisy()
    values[::7, 1] = NAN
    scores = validate_gridding(samples(points, values), search=True, folds=4)
    fold = scores.predictions.drop_duplicates("sample").set_index("sample")["fold"]
    for name, column in zip(("Cu", "Au"), values.T, strict=True):
        kept = np.flatnonzero(~np.isnan(column))
        labels = fold[kept].to_numpy()
        tried = GridSearchCV(
            IDW(),
            {"k": [4, 8, 12, 16, 24, 32], "power": [1.0, 2.0, 3.0, 4.0]},
            scoring="neg_root_mean_squared_error",
            cv=[(np.flatnonzero(labels != one), np.flatnonzero(labels == one)) for one in range(4)],
        ).fit(points[kept], column[kept])
        best = scores.best.loc[name]
        assert {"k": best["k"], "power": best["power"]} == tried.best_params_
        assert best["rmse"] == pytest.approx(-tried.best_score_)


def test_noise_wants_many_neighbours(searched):
    best = searched.best
    assert best.loc["Au", "k"] >= 16
    assert best.loc["Au", "power"] == 1


def test_each_fold_is_predicted_by_what_was_chosen_without_it(searched):
    points, values = noisy()
    frame = searched.predictions[searched.predictions["element"] == "Cu"]
    fold = frame["fold"].to_numpy()
    for one in range(4):
        train, test = fold != one, fold == one
        inner = fold[train]
        tried = GridSearchCV(
            IDW(),
            {"k": [4, 8, 12, 16, 24, 32], "power": [1.0, 2.0, 3.0, 4.0]},
            scoring="neg_root_mean_squared_error",
            cv=[(np.flatnonzero(inner != i), np.flatnonzero(inner == i)) for i in np.unique(inner)],
        ).fit(points[train], values[train, 0])
        np.testing.assert_allclose(frame["blocks"][test], tried.predict(points[test]))


def test_the_table_notes_what_the_search_saw(searched):
    said = searched.table["parameters"]
    assert said[("Au", "blocks")] == "chosen on the other folds"
    assert re.fullmatch(r"k=\d+, power=1, chosen on the same samples", said[("Au", "leave-one-out")])


def test_an_element_in_two_folds_is_not_searched():
    points, values = noisy()
    first = validate_gridding(samples(points, values), folds=4).predictions.drop_duplicates("sample")
    values[(first["fold"] > 1).to_numpy(), 1] = NAN
    scores = validate_gridding(samples(points, values), search=True, folds=4, k=5)
    assert scores.best.loc["Au"].isna().all()
    assert scores.best.loc["Cu"].notna().all()
    assert (scores.table.loc["Au", "parameters"] == "k=5, power=2").all()
    fixed = validate_gridding(samples(points, values), folds=4, k=5)
    pd.testing.assert_frame_equal(scores.table.loc["Au"], fixed.table.loc["Au"])


# -- the other methods -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["linear", "cubic", "spline", "kriging"])
def test_surfaces_leave_out_one_sample_at_a_time(method):
    points = scattered(28)
    measured = smooth(points) + np.random.default_rng(0).normal(0, 1, 28)
    scores = validate_gridding(samples(points, measured), method=method, folds=4)
    row = 17
    rest = np.arange(28) != row
    surface = METHODS[method].fit(points[rest], measured[rest, None], InterpolationSettings())
    expected = surface.evaluate(points[[row]])[0][0, 0]
    assert scores.predictions["leave-one-out"][row] == pytest.approx(expected, nan_ok=True)
    assert list(scores.table.index.unique("split")) == ["leave-one-out", "blocks"]
    assert scores.best is None


def test_of_many_samples_random_folds_are_not_called_leave_one_out():
    points = scattered(201)
    scores = validate_gridding(samples(points, smooth(points)), method="linear")
    assert list(scores.table.index.unique("split")) == ["20 random folds", "blocks"]
    assert "leave-one-out" not in repr(scores)


def test_options_reach_their_method():
    points = scattered(32)
    survey = samples(points, smooth(points) + np.random.default_rng(0).normal(0, 3, 32))
    spline, damped = (validate_gridding(survey, "spline", folds=3, damping=damping) for damping in (None, 0.1))
    assert (damped.table["rmse"] < spline.table["rmse"]).all()
    assert (damped.table["parameters"] == "damping=0.1").all()
    kriged = validate_gridding(survey, "kriging", k=6, variogram="exponential", folds=3)
    assert (kriged.table["parameters"] == "k=6, variogram=exponential").all()
    everything = validate_gridding(survey, k=None, power=1)
    assert (everything.table["parameters"] == "all samples, power=1").all()


def test_an_element_with_too_few_samples_for_a_surface_is_named():
    values = np.column_stack([smooth(scattered(30)), np.full(30, NAN)])
    values[:2, 1] = 1.0
    with pytest.raises(InputError, match=r"samples\['Au'\]: has values at 2 places"):
        validate_gridding(samples(scattered(30), values), method="linear")


def test_an_element_with_too_few_samples_in_a_fold_is_not_predicted_there():
    values = np.column_stack([smooth(scattered(30)), np.full(30, NAN)])
    values[:3, 1] = 1.0
    table = validate_gridding(samples(scattered(30), values), method="linear", folds=3).table
    assert (table.loc["Au", "not_predicted"] == 3).all()


# -- what it shows and refuses -----------------------------------------------------------------


def test_the_scores_show_themselves():
    scores = validate_gridding(clusters(), block=30_000)
    assert isinstance(scores, GriddingScores)
    text = repr(scores)
    for part in ("idw", "blocks of 30 km in 6 folds", "leave-one-out", "k=12, power=2", "times that between samples"):
        assert part in text
    frame = scores.to_frame()
    frame["rmse"] = 0
    assert (scores.table["rmse"] > 0).all()


def test_a_progress_bar_counts_the_folds(capsys):
    validate_gridding(clusters(), block=30_000, progress=True)
    assert "6/6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "idv"}, InputError, "method='idv': needs one of 'idw', 'idw-direct', 'nearest'"),
        ({"k": 0}, InputError, "k=0"),
        ({"power": 0}, InputError, "power=0"),
        ({"folds": 1}, InputError, "folds=1"),
        ({"block": 0}, InputError, "block=0"),
        ({"rng": "x"}, InputError, "rng='x'"),
        ({"method": "kriging", "k": None}, InputError, "k=None"),
        ({"method": "kriging", "variogram": "conical"}, InputError, "variogram='conical'"),
        ({"method": "spline", "damping": -1}, InputError, "damping=-1"),
        ({"method": "nearest", "k": 3}, InputError, "k=3: does not apply to method='nearest'"),
        ({"search": True, "radius": 500.0}, InputError, "a search chooses from all samples; leave out radius"),
        ({"min_samples": 13}, InputError, "min_samples=13: a cell takes only 12 samples"),
        ({"method": "nearest", "search": True}, InputError, "search=True, method='nearest'"),
        ({"search": True, "folds": 2}, SeparationError, "makes? 2 folds, needs 3"),
        ({"block": 1e6}, SeparationError, "all samples are in one block"),
        ({"crs": "EPSG:4326"}, CRSError, "distances there are no lengths"),
    ],
)
def test_what_makes_no_sense_is_refused(options, error, message):
    points = scattered(40)
    with pytest.raises(error, match=message):
        validate_gridding(samples(points, smooth(points)), **options)


def test_samples_that_leave_nothing_to_predict_from_are_refused():
    with pytest.raises(InputError, match="needs Samples"):
        validate_gridding(samples(scattered(5), np.ones(5)).to_frame())
    with pytest.raises(InputError, match="1 of 2 have a value"):
        validate_gridding(samples(scattered(2), [1.0, NAN]))
    with pytest.raises(SeparationError, match="are all at one location"):
        validate_gridding(samples([[5e5, 2e6]] * 4, np.ones(4)))


def test_the_docstring_says_how_blocks_differ_from_leave_one_out():
    text = " ".join(inspect.getdoc(validate_gridding).split())
    assert "leave-one-out is too good to be true of the grid" in text


# -- real surveys ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def meuse(data_folder):
    path = data_folder / "classics" / "sp_meuse.csv"
    return gp.read_samples(path, crs="EPSG:28992", elements=["zinc"], units="ppm")


@pytest.mark.slow
@pytest.mark.data
def test_on_the_meuse_kriging_beats_weights_and_weights_beat_the_nearest(meuse):
    errors = {
        method: validate_gridding(meuse, method).table["rmse"].xs("leave-one-out", level="split")
        for method in ("kriging", "idw", "nearest")
    }
    assert (errors["kriging"] < errors["idw"]).all()
    assert (errors["idw"] < errors["nearest"]).all()
    # gstat's krige.cv of zinc on its own scale gives some 230 ppm; the standard deviation is 366.
    assert 215 < errors["kriging"]["zinc"] < 245


@pytest.mark.data
def test_on_the_jura_leave_one_out_foretells_the_error_at_the_validation_samples(data_folder):
    pred, val = (
        gp.read_samples(
            data_folder / "classics" / f"gstat_jura.{part}.csv", "long", "lat", "EPSG:4326", ["Co", "Ni"], "ppm"
        ).to_crs("EPSG:21781")
        for part in ("pred", "val")
    )
    table = validate_gridding(pred).table["rmse"].unstack()
    model = IDW().fit(pred.points, pred.values)
    there = np.sqrt(((model.predict(val.points) - val.values) ** 2).mean(axis=0))
    # The validation samples lie between the others: blocks are the harder test.
    np.testing.assert_allclose(table["leave-one-out"], there, rtol=0.25)
    assert (table["blocks"] > table["leave-one-out"]).all()


@pytest.mark.data
def test_the_arabian_shield_is_harder_to_predict_by_blocks(data_folder):
    survey = gp.read_samples(
        data_folder / "arabian_shield" / "samples_clean.csv.gz", x="lon", y="lat", crs="EPSG:4326"
    )[["Cu", "Ni", "Rb", "Zn"]]
    scores = validate_gridding(survey)
    table = scores.table["rmse_log10"].unstack()
    assert (table["blocks"] > 1.1 * table["leave-one-out"]).all()
    assert (scores.table["rmse_log10"] < scores.table["sd_log10"]).all()
    assert 1000 < scores.spacing < 3000
