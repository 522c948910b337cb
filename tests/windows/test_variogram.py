"""The variogram of a band: its classes are what they say, and a model that is known comes back."""

import numpy as np
import pytest
from scipy.optimize import brentq, nnls
from scipy.stats import norm, rankdata

from geoprospect.windows import variogram as kernel
from geoprospect.windows.variogram import correlation_length, variogram

LAGS = np.geomspace(1, 100, 20)
COUNTS = np.linspace(2000, 500, 20)
MODELS = {
    "exponential": lambda h, a: 1 - np.exp(np.log(0.05) * h / a),
    "spherical": lambda h, a: np.where(h < a, 1.5 * h / a - 0.5 * (h / a) ** 3, 1.0),
    "gaussian": lambda h, a: 1 - np.exp(np.log(0.05) * (h / a) ** 2),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("nugget", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("length", [4.0, 20.0, 50.0])
def test_a_model_that_is_known_comes_back(model, nugget, length):
    gamma = 2.5 * (nugget + (1 - nugget) * MODELS[model](LAGS, length))

    def above(h):
        return (1 - nugget) * (1 - MODELS[model](np.array(h), length)) - 0.05

    assert correlation_length(LAGS, gamma, COUNTS, 1.0) == pytest.approx(brentq(above, 1e-6, 3 * length), rel=0.03)


def test_a_flat_variogram_has_the_range_of_a_cell():
    wobble = 1 + 0.03 * np.random.default_rng(0).normal(size=20)
    assert correlation_length(LAGS, wobble, COUNTS, 7.0) == 7.0
    assert correlation_length(LAGS, np.ones(20), COUNTS, 7.0) == 7.0
    # Nine tenths are nugget and what is left is gone within a cell.
    assert correlation_length(LAGS, 0.9 + 0.1 * MODELS["exponential"](LAGS, 3.0), COUNTS, 2.0) == 2.0


def test_a_variogram_that_rises_to_the_end_has_its_range_beyond():
    assert correlation_length(LAGS, LAGS**1.5, COUNTS, 1.0) > 100
    assert correlation_length(LAGS, LAGS, COUNTS, 1.0) > 100


def test_too_few_classes_or_one_value_have_no_range():
    assert correlation_length(LAGS[:4], LAGS[:4], COUNTS[:4], 1.0) is None
    assert correlation_length(LAGS, np.zeros(20), COUNTS, 1.0) is None


def test_nugget_and_sill_are_those_of_non_negative_least_squares():
    draw = np.random.default_rng(0)
    for _ in range(50):
        gamma, weights = (
            draw.uniform(0, 1, 20) + draw.choice([-1, 0, 1]) * np.linspace(0, 2, 20) + 2,
            draw.uniform(size=20),
        )
        shapes = np.array([MODELS["exponential"](LAGS, a) for a in (0.1, 3.0, 40.0, 900.0)])
        nugget, sill, loss = kernel._fitted(shapes, gamma, weights)
        for shape, *found in zip(shapes, nugget, sill, loss, strict=True):
            root = np.sqrt(weights)
            best, misfit = nnls(np.column_stack([root, root * shape]), root * gamma)
            assert found[2] == pytest.approx(misfit**2, rel=1e-6)
            if np.ptp(shape) > 1e-3:
                assert found[:2] == pytest.approx(best, rel=1e-5, abs=1e-8)


def test_classes_hold_the_pairs_of_their_distance():
    """On a plane that rises by the column, half the mean square of the steps across is the semivariance."""
    cells = np.broadcast_to(np.arange(200.0), (50, 200))
    lags, gammas, counts = variogram(cells, (10.0, 10.0), 2000, np.random.default_rng(0))
    edges = np.geomspace(10, 1000, 21)
    assert (np.diff(lags[6:]) > 0).all()
    assert (lags[10:] > edges[10:-1] - 10).all()
    assert (lags[10:] < edges[11:] + 10).all()
    assert counts.max() <= 2000
    assert (counts >= 30).all()
    assert (np.diff(gammas[6:15]) > 0).all()


def test_scores_are_those_of_the_normal_distribution_by_rank():
    values = [np.array([3.0, 1.0, 1.0]), np.array([9.0, 4.0, 1.0, 7.0])]
    score = kernel._normal_scores(values)
    every = np.concatenate(values)
    np.testing.assert_allclose(score(every), norm.ppf((rankdata(every) - 0.5) / 7))


def test_cells_are_never_taken_off_the_grid_or_where_there_are_no_data():
    """A margin of another value, and cells without data, would both show."""
    inner = np.random.default_rng(0).normal(size=(40, 40))
    inner[10:20] = np.nan
    lags, gammas, counts = variogram(inner, (1.0, 1.0), 1000, np.random.default_rng(1))
    assert np.isfinite(gammas).all()
    assert np.isfinite(lags).all()
    assert counts.min() >= 30
    assert abs(np.average(gammas, weights=counts) - 1) < 0.1


@pytest.mark.parametrize(
    "values", [np.full((8, 8), np.nan), np.full((1, 1), 3.0), np.zeros((0, 4))], ids=["none", "one", "empty"]
)
def test_without_cells_there_are_no_classes(values):
    lags, gammas, counts = variogram(values, (1.0, 1.0), 100, np.random.default_rng(0))
    assert lags.size == gammas.size == counts.size == 0
