"""The table of interpolation methods: one entry makes a method known everywhere."""

import dataclasses
import inspect

import numpy as np
import pytest
from affine import Affine

import geoprospect as gp
from geoprospect._settings import descriptions
from geoprospect.errors import InputError
from geoprospect.gridding.methods import METHODS, InterpolationMethod, InterpolationOptions, InterpolationSettings

GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (12, 16))


@dataclasses.dataclass
class Level:
    """A surface with one value per element everywhere."""

    values: np.ndarray

    def evaluate(self, points):
        return np.repeat(self.values[:, None], len(points), axis=1), None


def fit_level(points, values, settings, elements=None):
    return Level(np.nanmean(values, axis=0) * settings.power)


@pytest.fixture
def level(monkeypatch):
    """Add a method to the table: the mean of all samples, times the power."""
    method = InterpolationMethod("level", "mean of all samples", ("power",), fit_level)
    monkeypatch.setitem(METHODS, method.name, method)
    return method


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    left, bottom, right, top = GRID.bounds
    points = np.column_stack([rng.uniform(left, right, 40), rng.uniform(bottom, top, 40)])
    return gp.Samples(points, rng.lognormal(3, 1, (40, 2)), ("Cu", "Au"), ("ppm", "ppb"), GRID.crs)


@pytest.mark.usefixtures("level")
def test_an_added_method_interpolates_in_memory_and_lazily(samples):
    expected = np.broadcast_to(np.float32(3 * samples["Au"].values.mean()), GRID.shape)
    for chunks in (None, 5):
        found = gp.interpolate(samples, GRID, "level", power=3, chunks=chunks)
        np.testing.assert_array_equal(found["Au"], expected)


@pytest.mark.usefixtures("level")
def test_an_added_method_is_validated_by_leaving_samples_out(samples):
    scores = gp.validate_gridding(samples, "level", power=1, folds=3)
    assert scores.description.startswith("level; ")
    assert (scores.table["parameters"] == "power=1").all()
    copper = samples["Cu"].values[:, 0]
    first = scores.predictions.query("element == 'Cu' and sample == 0")
    assert first["leave-one-out"].item() == pytest.approx(copper[1:].mean())


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("call", [lambda s, m, **o: gp.interpolate(s, GRID, m, **o), gp.validate_gridding])
def test_errors_list_an_added_method(samples, call):
    with pytest.raises(InputError, match=r"needs one of 'idw', .*, 'spline', 'level'; did you mean 'level'\?"):
        call(samples, "levle")
    with pytest.raises(InputError, match=r"radius=5: does not apply to method='level'; .*method='idw' or 'nearest'"):
        call(samples, "level", radius=5)
    with pytest.raises(InputError, match=r"power=2: does not apply .*method='idw' or 'idw-direct' or 'level'"):
        call(samples, "linear", power=2)


# -- the entries themselves --------------------------------------------------------------------


def test_options_and_settings_have_the_same_keys():
    names = [field.name for field in dataclasses.fields(InterpolationSettings)]
    assert list(InterpolationOptions.__annotations__) == names
    assert set(descriptions(InterpolationSettings)) == set(names)


def test_each_setting_belongs_to_a_method():
    known = {field.name for field in dataclasses.fields(InterpolationSettings)}
    assert {name for method in METHODS.values() for name in method.settings} == known
    assert all(set(method.fixed) <= known - set(method.settings) for method in METHODS.values())


@pytest.mark.parametrize("name", METHODS)
def test_the_documentation_of_interpolate_names_a_method(name):
    text = inspect.getdoc(gp.interpolate)
    assert f"'{name}'" in text
    for setting in METHODS[name].settings:
        (entry,) = [part for part in text.split("\n    - ") if part.startswith(f"{setting} : ")]
        assert f"'{name}'" in entry.split("\n\n")[0]


def test_changed_settings_are_those_that_are_not_defaults():
    assert InterpolationSettings().changed() == {}
    assert InterpolationSettings(k=None, power=2, min_samples=3.0).changed() == {"k": None, "min_samples": 3}


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("idw", {}, "k=12, power=2"),
        ("idw", {"k": None, "radius": 500}, "all samples, power=2, radius=500"),
        ("idw", {"min_samples": 2}, "k=12, power=2, min_samples=2"),
        ("idw-direct", {"power": 3}, "power=3"),
        ("nearest", {}, "nearest"),
        ("kriging", {}, "k=12, variogram=spherical"),
        ("spline", {"damping": 0.1}, "damping=0.1"),
    ],
)
def test_settings_are_summarised_in_words(method, settings, words):
    entry = METHODS[method]
    assert entry.summary(entry.settings_from(settings)) == words
