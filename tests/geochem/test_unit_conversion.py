"""Units, transforms and scales: the same for samples and bands, with a way back and no unit that lies."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from small_survey import GRID, samples, survey

import geoprospect as gp
from geoprospect.errors import InputError, NameNotFoundError
from geoprospect.geochem.transforms import inverse_transform, transform
from geoprospect.geochem.units import convert_units


def test_one_unit_for_all():
    given = samples()
    converted = convert_units(given, "ppm")
    assert converted.units == ("ppm", "ppm", "ppm")
    np.testing.assert_allclose(converted.values, given.values * [1, 1, 1e-3])
    np.testing.assert_allclose(converted.limits, given.limits * [1, 1, 1e-3])
    np.testing.assert_array_equal(converted.censored, given.censored)
    np.testing.assert_array_equal(converted.over_range, given.over_range)


@pytest.mark.parametrize(
    ("to", "name", "unit", "value"),
    [("Fe ppm", "Fe", "ppm", 69943.0), ("Fe", "Fe", "%", 6.9943), ("ppm", "Fe2O3", "ppm", 1e5),
     ("g/t", "Fe2O3", "g/t", 1e5), ("PPB", "Fe2O3", "ppb", 1e8),
     ("FeO %", "FeO", "%", 8.9981), ("1", "Fe2O3", "1", 0.1), ("%", "Fe2O3", "%", 10.0)],
)  # fmt: skip
def test_a_species_a_unit_or_both(to, name, unit, value):
    iron = gp.Samples([[0, 0]], [[10.0, 5.0]], ["Fe2O3", "Cu"], ["%", "ppm"], "EPSG:32649")
    converted = convert_units(iron, {"Fe2O3": to})
    assert (converted.elements, converted.units) == ((name, "Cu"), (unit, "ppm"))
    np.testing.assert_allclose(converted.values, [[value, 5.0]], rtol=1e-4)


@given(st.sampled_from(["Fe", "FeO", "Fe2O3"]), st.sampled_from(["%", "ppm", "oz/t"]), st.floats(1e-3, 1e5))
def test_a_conversion_and_back_changes_nothing(species, unit, value):
    given = gp.Samples([[0, 0]], [[value]], ["TFe2O3"], ["%"], "EPSG:32649")
    there = convert_units(given, {"TFe2O3": f"{species} {unit}"})
    back = convert_units(there, {species: "TFe2O3 %"})
    assert (back.elements, back.units) == (given.elements, given.units)
    np.testing.assert_allclose(back.values, given.values, rtol=1e-12)


def test_bands_are_converted_where_they_are():
    data = survey()
    data["Cu"].encoding.update(dtype="int16", scale_factor=0.1)
    converted = convert_units(data, {"Cu": "ppb", "Au": "ppm"})
    assert converted["Cu"].attrs == {"units": "ppb", "long_name": "copper"}
    assert converted["Cu"].dtype == np.float32
    assert converted["Cu"].encoding == {"grid_mapping": "spatial_ref", "_FillValue": pytest.approx(np.nan, nan_ok=True)}
    assert gp.Grid.of(converted) == GRID
    np.testing.assert_allclose(converted["Cu"], data["Cu"] * 1000, rtol=1e-6)


def test_bands_that_are_not_named_stay_as_they_are():
    data = survey().assign(rock=(("y", "x"), np.ones(GRID.shape, dtype=np.int16), {"flag_values": [1, 2]}))
    converted = convert_units(data, {"Cu": "ppb"})
    assert list(converted.data_vars) == ["Cu", "Au", "rock"]
    xr.testing.assert_identical(converted[["Au", "rock"]], data[["Au", "rock"]])
    xr.testing.assert_identical(convert_units(data, {}), data)


def test_a_band_of_another_species_has_another_name_and_its_place():
    bands = {"Fe2O3": np.full(GRID.shape, 10, dtype=np.float32), "Cu": np.ones(GRID.shape, dtype=np.int16)}
    data = GRID.dataset(bands, {"Fe2O3": {"units": "%", "long_name": "total iron"}, "Cu": {"units": "ppm"}})
    converted = convert_units(data, {"Fe2O3": "Fe ppm", "Cu": "%"})
    assert list(converted.data_vars) == ["Fe", "Cu"]
    assert converted["Fe"].attrs == {"units": "ppm", "long_name": "Fe, from total iron"}
    assert converted["Cu"].dtype == np.float32
    assert convert_units(data.drop_attrs(), {"Fe2O3": "Fe"})["Fe"].attrs == {"units": "", "long_name": "Fe"}


@pytest.mark.parametrize(
    ("to", "error", "message"),
    [
        ("ppq", InputError, "to='ppq': is no unit"),
        ({"Cu": "Zn"}, InputError, "share no element besides oxygen"),
        ({"Cu": "LOI"}, InputError, r"to\['Cu'\]='LOI': .*no chemical formula"),
        ({"Cu": "Cu ppm extra"}, InputError, "needs a unit"),
        ({"Cu": "ppm Cu"}, InputError, "needs a unit"),
        ({"Ag": "ppm"}, NameNotFoundError, "no band or element 'Ag'"),
    ],
)
def test_what_cannot_be_converted_is_refused(to, error, message):
    with pytest.raises(error, match=message):
        convert_units(samples(), to)


def test_an_unknown_unit_is_refused_with_a_cure():
    given = dataclasses.replace(samples(), units=("ppm", "", "log10(ppb)"))
    with pytest.raises(InputError, match=r"data\['Zn'\]: its unit is not known.*units=\{'Zn': 'ppm'\}"):
        convert_units(given, "ppm")
    with pytest.raises(InputError, match=r"data\['Au'\]: is in 'log10\(ppb\)', which is no unit of concentration"):
        convert_units(given, {"Au": "ppm"})
    assert convert_units(given, {"Cu": "%"}).units == ("%", "", "log10(ppb)")


def test_two_bands_of_one_name_are_refused():
    given = samples(names="Fe2O3 Fe Au")
    with pytest.raises(InputError, match="'Fe2O3' and 'Fe' would both be named 'Fe'"):
        convert_units(given, {"Fe2O3": "Fe"})
    with pytest.raises(InputError, match="'x' is the name of a coordinate"):
        inverse_transform(*fitted_with_a_coordinate())


def fitted_with_a_coordinate():
    model = PCA(1).fit(pd.DataFrame({"x": [1.0, 2.0, 4.0], "Cu": [3.0, 1.0, 1.0]}))
    return GRID.dataset({"pca0": np.ones(GRID.shape)}), model


@pytest.mark.parametrize("call", [lambda d: convert_units(d, "ppm"), lambda d: transform(d, "log10"), gp.standardize])
def test_only_samples_and_datasets_are_taken(call):
    with pytest.raises(InputError, match=r"data: is a DataArray, needs a Dataset of bands or Samples.*\[\['Cu'\]\]"):
        call(survey()["Cu"])
