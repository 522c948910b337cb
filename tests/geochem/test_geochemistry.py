"""Units, transforms and scales: the same for samples and bands, with a way back and no unit that lies."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

import geoprospect as gp
from geoprospect.errors import InputError, NameNotFoundError
from geoprospect.geochem.geochemistry import convert_units
from geoprospect.geochem.transforms import inverse_transform, transform

GRID = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 0), (4, 5))


def survey():
    rng = np.random.default_rng(0)
    cu, au = rng.lognormal(3, 1, GRID.shape).astype(np.float32), rng.normal(-5, 1e-3, GRID.shape)
    cu[0, :2] = np.nan
    attrs = {"Cu": {"units": "ppm", "long_name": "copper", "valid_max": 100}, "Au": {"units": "ppb"}}
    return GRID.dataset({"Cu": cu, "Au": au}, attrs)


def test_z_scores_have_mean_0_and_deviation_1():
    data = survey()
    scaled, constants = gp.standardize(data)
    for name in data:
        assert float(scaled[name].mean(dtype=float)) == pytest.approx(0, abs=1e-6)
        assert float(scaled[name].std(dtype=float)) == pytest.approx(1, rel=1e-6)
        assert constants.loc[name, "offset"] == pytest.approx(float(data[name].mean(dtype=float)))
        assert constants.loc[name, "scale"] == pytest.approx(float(data[name].std(ddof=0, dtype=float)))


def test_minmax_runs_from_0_to_1():
    data = survey()
    scaled, constants = gp.standardize(data, method="minmax")
    for name in data:
        assert (float(scaled[name].min()), float(scaled[name].max())) == (0, 1)
        assert np.nanargmax(scaled[name]) == np.nanargmax(data[name])
    assert constants.loc["Cu", "offset"] == pytest.approx(float(data["Cu"].min()))
    assert set(constants["method"]) == {"minmax"}


@pytest.mark.parametrize("method", ["zscore", "minmax"])
@given(
    values=st.lists(
        st.floats(-1e6, 1e6, width=32) | st.just(math.nan), min_size=GRID.shape[0] * 5, max_size=GRID.shape[0] * 5
    )
)
def test_the_constants_lead_back(method, values):
    band = np.array(values).reshape(GRID.shape)
    known = band[np.isfinite(band)]
    assume(known.size > 1 and np.ptp(known) > 1e-3 * np.abs(known).max())
    data = GRID.dataset({"Cu": band}, {"Cu": {"units": "ppm"}})
    scaled, constants = gp.standardize(data, method=method)
    back = scaled["Cu"].astype(float) * constants.loc["Cu", "scale"] + constants.loc["Cu", "offset"]
    np.testing.assert_allclose(back, band, rtol=0, atol=1e-6 * np.abs(known).max() + 1e-6 * np.ptp(known))


@pytest.mark.parametrize(("method", "words"), [("zscore", "z-score"), ("minmax", "0 to 1")])
def test_units_and_names_say_what_was_done(method, words):
    scaled, constants = gp.standardize(survey(), method=method)
    assert scaled["Cu"].attrs == {"units": "1", "long_name": f"copper ({words})"}
    assert scaled["Au"].attrs == {"units": "1", "long_name": f"Au ({words})"}
    assert list(constants["units"]) == ["ppm", "ppb"]
    assert constants.index.name == "band"


def test_the_survey_stays_as_it_was():
    data = survey()
    before = data.copy(deep=True)
    gp.standardize(data)
    xr.testing.assert_identical(data, before)
    assert data["Cu"].encoding == before["Cu"].encoding


def test_bands_keep_their_place_their_gaps_and_float32():
    data = survey()
    scaled, _ = gp.standardize(data)
    assert gp.Grid.of(scaled) == GRID
    assert scaled["Au"].dtype == np.float32
    np.testing.assert_array_equal(scaled["Cu"].isnull(), data["Cu"].isnull())


def test_the_packing_of_a_file_is_not_inherited(tmp_path):
    data = survey()
    data["Cu"].encoding.update(dtype="int16", scale_factor=0.1, _FillValue=-9999)
    scaled, _ = gp.standardize(data)
    scaled.to_netcdf(tmp_path / "scaled.nc")
    with xr.open_dataset(tmp_path / "scaled.nc", decode_coords="all") as again:
        np.testing.assert_array_equal(again["Cu"], scaled["Cu"])


@pytest.mark.parametrize(
    ("band", "state"),
    [(np.full(GRID.shape, np.nan), "has no data"), (np.full(GRID.shape, 0.1), "is 0.1 everywhere"),
     (np.where(np.eye(4, 5) > 0, np.nan, 7.0), "is 7 everywhere"), (np.full(GRID.shape, np.inf), "has no data")],
)  # fmt: skip
def test_a_band_that_cannot_be_scaled_is_named(band, state):
    data = survey().assign(F=(("y", "x"), band))
    with pytest.raises(InputError, match=rf"survey\['F'\]: {state}.*survey\.drop_vars\('F'\)"):
        gp.standardize(data)
    gp.standardize(data.drop_vars("F"))


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match="method='z-score'"):
        gp.standardize(survey(), method="z-score")


def test_robust_scores_are_not_moved_by_high_values():
    data = survey()
    spoilt = data.copy(deep=True)
    spoilt["Cu"][1, :3] *= 1000
    (_, here), (scaled, there) = (gp.standardize(one, "robust") for one in (data, spoilt))
    values = spoilt["Cu"].to_numpy()[~np.isnan(spoilt["Cu"])].astype(float)
    median = np.median(values)
    assert there.loc["Cu", "offset"] == pytest.approx(median)
    assert there.loc["Cu", "scale"] == pytest.approx(1.4826 * np.median(np.abs(values - median)))
    assert there.loc["Cu", "scale"] < 2 * here.loc["Cu", "scale"]
    assert scaled["Cu"].attrs["long_name"] == "copper (robust z-score)"
    assert float(scaled["Cu"].median()) == pytest.approx(0, abs=1e-6)


def test_of_a_normal_distribution_the_robust_scale_is_the_deviation():
    normal = np.random.default_rng(0).normal(50, 7, (20000, 1))
    points = np.random.default_rng(1).uniform(0, 1e5, (20000, 2))
    _, constants = gp.standardize(gp.Samples(points, normal, ["Cu"], ["ppm"], "EPSG:32649"), "robust")
    assert constants.loc["Cu", "scale"] == pytest.approx(7, rel=0.02)


def test_a_band_that_is_half_one_value_has_no_robust_scale():
    band = np.where(np.arange(20).reshape(GRID.shape) < 12, 0.5, 3.0)
    data = survey().assign(Ag=(("y", "x"), band))
    with pytest.raises(InputError, match=r"survey\['Ag'\]: is 0\.5 in 60% of its values.*method='zscore'"):
        gp.standardize(data, "robust")


def samples(n=40, names="Cu Zn Au", units="ppm ppm ppb", seed=0):
    rng, names, units = np.random.default_rng(seed), names.split(), units.split()
    values = rng.lognormal(3, 1, (n, len(names)))
    censored = np.zeros(values.shape, dtype=bool)
    censored[:3, -1] = True
    over = np.zeros(values.shape, dtype=bool)
    over[5, 0] = True
    limits = np.where(censored, 2 * values, np.where(over, values, np.nan))
    points = rng.uniform([5e5, 2e6], [5.1e5, 2.01e6], (n, 2))
    return gp.Samples(points, values, names, units, "EPSG:32649", limits, censored, over)


def test_samples_are_scaled_with_their_limits():
    given = samples()
    scaled, constants = gp.standardize(given)
    assert constants.index.name == "element"
    assert scaled.units == ("1", "1", "1")
    np.testing.assert_allclose(scaled.values.mean(axis=0), 0, atol=1e-12)
    offset, scale = constants["offset"].to_numpy(), constants["scale"].to_numpy()
    np.testing.assert_allclose(scaled.limits * scale + offset, given.limits)
    np.testing.assert_array_equal(scaled.censored, given.censored)
    np.testing.assert_array_equal(scaled.over_range, given.over_range)
    with pytest.raises(InputError, match=r"samples\['Cu'\]: is 1 everywhere.*samples\[\[…\]\]"):
        gp.standardize(dataclasses.replace(given, values=np.ones(given.values.shape)))


# -- units -------------------------------------------------------------------------------------


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
