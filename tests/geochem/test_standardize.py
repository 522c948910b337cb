"""Units, transforms and scales: the same for samples and bands, with a way back and no unit that lies."""

import dataclasses
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st
from small_survey import GRID, samples, survey

import geoprospect as gp
from geoprospect.errors import InputError


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
