"""`standardize`: one scale for every band, constants that lead back, and no unit that lies."""

import math

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st

import geoprospect as gp
from geoprospect.errors import InputError

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
