"""Transforms: the same for samples and bands, with a way back and no unit that lies."""

import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from affine import Affine
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted
from small_survey import GRID, samples

import geoprospect as gp
from geoprospect.errors import DataWarning, InputError, NameNotFoundError
from geoprospect.geochem import transforms
from geoprospect.geochem.log_ratios import ALR, CLR, ILR, Log10
from geoprospect.geochem.transforms import inverse_transform, robust_pca, transform
from geoprospect.geochem.units import convert_units, unit_factor

# -- transforms --------------------------------------------------------------------------------


def positive(seed=0):
    """A survey in ppm and ppb with a corner without data, and one cell that lacks Zn."""
    rng = np.random.default_rng(seed)
    bands = {name: rng.lognormal(3, 1, GRID.shape).astype(np.float32) for name in ("Cu", "Zn", "Au")}
    for band in bands.values():
        band[0, :2] = np.nan
    attrs = {"Cu": {"units": "ppm", "long_name": "copper"}, "Zn": {"units": "ppm"}, "Au": {"units": "ppb"}}
    return GRID.dataset(bands, attrs)


def test_logarithms_say_of_what():
    given = samples()
    logs = transform(given, "log10")
    assert logs.units == ("log10(ppm)", "log10(ppm)", "log10(ppb)")
    np.testing.assert_allclose(logs.values, np.log10(given.values))
    np.testing.assert_allclose(logs.limits, np.log10(given.limits))
    np.testing.assert_array_equal(logs.censored, given.censored)
    np.testing.assert_array_equal(logs.over_range, given.over_range)
    bands = transform(positive(), "log10")
    assert bands["Cu"].attrs == {"units": "log10(ppm)", "long_name": "logarithm of copper"}
    assert bands["Cu"].dtype == np.float32
    assert gp.Grid.of(bands) == GRID


@pytest.mark.parametrize("data", [samples(), positive()], ids=["samples", "survey"])
@pytest.mark.parametrize(
    "model",
    [Log10(), PowerTransformer("box-cox"), CLR(1e6, rest=True), ALR(closure=1e6, rest=True),
     ILR(closure=1e6, rest=True), StandardScaler(), PCA(3), make_pipeline(CLR(1e6, rest=True), StandardScaler())],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_every_transform_has_a_way_back(data, model):
    model, given = clone(model), convert_units(data, "ppm")
    back = inverse_transform(transform(given, model), model)
    assert type(back) is type(data)
    if isinstance(given, gp.Samples):
        assert (back.elements, back.units) == (given.elements, given.units)
        np.testing.assert_allclose(back.values, given.values, rtol=1e-6)
    else:
        assert list(back.data_vars) == list(given.data_vars)
        for name in given:
            assert back[name].attrs == {"long_name": name, **given[name].attrs}
            np.testing.assert_allclose(back[name], given[name], rtol=2e-3)


@pytest.mark.parametrize("name", ["clr", "alr", "ilr", "boxcox"])
def test_samples_and_bands_get_the_same_numbers(name):
    data = positive()
    table = np.column_stack([data[one].to_numpy().ravel() for one in data]).astype(float)
    there = gp.Samples(np.argwhere(np.ones(GRID.shape)), table, list(data), ["ppm", "ppm", "ppb"], "EPSG:32649")
    here, bands = transform(there, name), transform(data, name)
    assert here.elements == tuple(bands.data_vars)
    for column, band in zip(here.values.T, bands, strict=True):
        np.testing.assert_allclose(column, bands[band].to_numpy().ravel(), rtol=1e-3, atol=1e-4)
        assert bands[band].attrs["units"] == "1"


def test_parts_are_brought_to_one_unit_first(caplog):
    given = samples()
    with caplog.at_level(logging.INFO, "geoprospect"):
        mixed = transform(given, "clr")
    assert "brought to ppm" in caplog.text
    np.testing.assert_allclose(mixed.values, CLR().fit_transform(convert_units(given, "ppm").values))
    assert mixed.elements == given.elements


def test_log_ratios_ask_for_units_and_for_the_whole_in_them():
    with pytest.raises(InputError, match=r"data\['Zn'\]: its unit is not known"):
        transform(dataclasses.replace(samples(), units=("ppm", "", "ppb")), "clr")
    with pytest.raises(InputError, match="closure=100: the parts are in ppm, of which the whole has 1e\\+06"):
        transform(samples(), CLR(100, rest=True))


def test_a_fitted_log_ratio_brings_another_survey_to_its_unit():
    clr = CLR(1e6, rest=True)
    given = dataclasses.replace(samples(names="Cu Zn Pb"), units=("PPM", "ppm", "g/t"))
    first = transform(given, clr)
    np.testing.assert_allclose(transform(convert_units(given, "%"), clr).values, first.values)
    np.testing.assert_array_equal(transform(given, clr).values, first.values)


def test_the_unit_of_a_logarithm_leads_back_whatever_it_is():
    given = dataclasses.replace(samples(), units=("(ppm)²", "", "%"))
    log10 = Log10()
    assert inverse_transform(transform(given, log10), log10).units == given.units


def test_a_closed_way_back_is_in_shares_and_says_so():
    clr = CLR(100.0)
    back = inverse_transform(transform(positive(), clr), clr)
    assert back["Cu"].attrs == {"units": "%", "long_name": "copper, of parts that sum up to 100"}
    total = back.to_array().sum("variable", skipna=False).to_numpy()
    np.testing.assert_allclose(total[~np.isnan(total)], 100, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "names", "long_name"),
    [
        ("clr", ["Cu", "Zn", "Au"], "copper, centred log-ratio"),
        (CLR(1e6, rest=True), ["Cu", "Zn", "Au", "rest"], "copper, centred log-ratio"),
        (ALR("Zn"), ["Cu_over_Zn", "Au_over_Zn"], "copper / Zn, additive log-ratio"),
        ("ilr", ["ilr1_Cu_over_Zn_Au", "ilr2_Zn_over_Au"], "(copper) / (Zn, Au), isometric log-ratio"),
        (StandardScaler(), ["Cu", "Zn", "Au"], "copper (StandardScaler)"),
        (PCA(2), ["pca0", "pca1"], "pca0 (PCA)"),
        (make_pipeline(CLR(), PCA(1)), ["pca0"], "pca0 (CLR, PCA)"),
        (FunctionTransformer(np.sqrt), ["Cu", "Zn", "Au"], "copper (FunctionTransformer)"),
        (FunctionTransformer(lambda f: np.asarray(f)[:, :2]), ["functiontransformer0", "functiontransformer1"],
         "functiontransformer0 (FunctionTransformer)"),
    ],
    ids=["clr", "clr with the rest", "alr", "ilr", "scaler", "pca", "pipeline", "function", "lambda"],
)  # fmt: skip
def test_bands_get_the_names_of_the_transformer(model, names, long_name):
    result = transform(positive(), model)
    assert list(result.data_vars) == names
    assert result[names[0]].attrs["long_name"] == long_name
    assert gp.Grid.of(result) == GRID
    assert result.rio.crs == positive().rio.crs


def test_box_cox_says_its_power():
    model = PowerTransformer("box-cox", standardize=False)
    result = transform(positive(), model)
    assert result["Cu"].attrs["long_name"] == f"copper (Box-Cox, λ = {model.lambdas_[0]:.2g})"
    cu = positive()["Cu"].to_numpy().astype(float)
    np.testing.assert_allclose(result["Cu"], (cu ** model.lambdas_[0] - 1) / model.lambdas_[0], rtol=1e-4, atol=1e-4)


def test_marks_stay_where_a_name_does():
    given = samples()
    ratios = transform(given, CLR(1e6, rest=True))
    np.testing.assert_array_equal(ratios.censored[:, :3], given.censored)
    np.testing.assert_array_equal(ratios.over_range[:, :3], given.over_range)
    assert not ratios.censored[:, 3].any()
    assert np.isnan(ratios.limits).all()
    assert not transform(given, "ilr").censored.any()


def test_a_cell_that_lacks_a_part_is_missing_in_all_and_counted():
    data = positive()
    data["Zn"][2, 3] = np.nan
    with pytest.warns(DataWarning, match=r"1 of 20 cells lack some of their values, most often Zn \(1\)"):
        ratios = transform(data, "clr")
    assert all(bool(np.isnan(ratios[name][2, 3])) for name in ratios)
    assert int(np.isnan(ratios["Cu"]).sum()) == 3


def test_a_transformer_of_single_columns_loses_no_value():
    data = positive()
    data["Zn"][2, 3] = np.nan
    for model in ("log10", "boxcox", StandardScaler()):
        result = transform(data, model)
        assert int(np.isnan(result["Cu"]).sum()) == 2
        assert int(np.isnan(result["Zn"]).sum()) == 3


def test_zeros_are_refused_with_their_place():
    given = samples()
    values = given.values.copy()
    values[[4, 7], 1] = 0
    for model in ("log10", "boxcox", "clr", CLR(), make_pipeline(ILR(), PCA(1))):
        with pytest.raises(InputError, match=r"column 'Zn': 2 values are 0 or negative \(sample 4, 7;.*replace_cens"):
            transform(dataclasses.replace(given, values=values), model)
    data = positive()
    data["Au"][3, 4] = 0
    with pytest.raises(InputError, match=r"column 'Au': 1 values are 0 or negative \(cell 20;"):
        transform(data, "log10")


def test_one_that_is_fitted_is_used_as_it_is():
    first, second = samples(), samples(seed=1)
    scaler = StandardScaler()
    transform(first, scaler)
    mean = scaler.mean_.copy()
    moved = transform(second, scaler)
    np.testing.assert_array_equal(scaler.mean_, mean)
    np.testing.assert_allclose(moved.values * scaler.scale_ + mean, second.values)
    # By name, whatever stands beside them.
    shuffled = transform(second[["Au", "Cu", "Zn"]], scaler)
    np.testing.assert_array_equal(shuffled.values, moved.values)
    with pytest.raises(NameNotFoundError, match="no band 'Zn'"):
        transform(second[["Cu", "Au"]], scaler)
    with pytest.raises(
        InputError, match=r"data\['Au'\]: is in '%', the transformer was fitted in 'ppb'.*convert_units"
    ):
        transform(convert_units(second, {"Au": "%"}), scaler)


def test_one_that_was_fitted_on_a_plain_array_goes_by_position():
    given = samples()
    scaler = StandardScaler().fit(given.values)
    scaled = transform(given, scaler)
    assert scaled.elements == ("Cu", "Zn", "Au")
    with pytest.raises(InputError, match="has 2 bands or elements, the transformer was fitted on 3"):
        transform(given[["Cu", "Zn"]], scaler)


def test_a_name_leaves_no_trace_and_an_instance_keeps_the_fit():
    model = PCA(2)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    transform(samples(), model)
    assert list(model.feature_names_in_) == ["Cu", "Zn", "Au"]
    assert model.units_in_ == {"Cu": "ppm", "Zn": "ppm", "Au": "ppb"}


def test_the_fit_takes_cells_evenly(monkeypatch):
    monkeypatch.setattr(transforms, "_FIT_CELLS", 6)
    data = GRID.dataset({"Cu": np.arange(20.0).reshape(GRID.shape)}, {"Cu": {"units": "ppm"}})
    scaler = StandardScaler()
    transform(data, scaler)
    assert scaler.n_samples_seen_ == 6
    assert scaler.mean_[0] == pytest.approx(np.mean([0, 3, 7, 11, 15, 19]))


def test_blocks_give_the_same_as_the_whole(monkeypatch):
    whole = transform(positive(), "ilr")
    monkeypatch.setattr(transforms, "_BLOCK", 3)
    xr.testing.assert_identical(transform(positive(), "ilr"), whole)


def test_bands_of_dask_stay_lazy_for_units_and_logarithms():
    data = positive().chunk({"y": 2})
    for lazy, eager in [
        (convert_units(data, "ppb"), convert_units(positive(), "ppb")),
        (transform(data, "log10"), transform(positive(), "log10")),
    ]:
        assert lazy.chunks["y"] == (2, 2)
        xr.testing.assert_allclose(lazy.compute(), eager)
        assert lazy["Cu"].attrs == eager["Cu"].attrs
        assert lazy["Cu"].dtype == np.float32
    assert not transform(data, "clr").chunks
    data["Cu"] = data["Cu"].where(data["Cu"].y != data.y[3], 0)
    lazy = transform(data, "log10")
    with pytest.raises(InputError, match="column 'Cu': 5 values are 0 or negative"):
        lazy.compute()


def test_logarithms_of_dask_lead_back_too():
    log10 = Log10()
    back = inverse_transform(transform(positive().chunk({"y": 2}), log10), log10)
    assert back["Cu"].attrs == positive()["Cu"].attrs
    np.testing.assert_allclose(back["Cu"], positive()["Cu"], rtol=1e-5)


def test_infinite_cells_are_missing_after_a_transform():
    data = positive()
    data["Cu"][3, 3] = np.inf
    assert np.isnan(transform(data, "log10")["Cu"][3, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transform(samples(), "log"), "transformer='log': needs one of 'log10'"),
        (lambda: transform(samples(), CLR), "is no transformer of scikit-learn; pass an instance"),
        (lambda: transform(samples(), 3), "transformer=3: is no transformer"),
        (lambda: inverse_transform(samples(), "clr"), "transformer='clr': has no way back; pass the instance"),
        (lambda: inverse_transform(samples(), CLR()), "is not fitted; pass the instance"),
        (lambda: inverse_transform(samples(names="pca0", units="1"), PCA(1).fit(np.eye(3))), "fitted on a plain array"),
        (lambda: transform(positive().where(positive()["Cu"] < 0), "clr"), "no row has a value of all of Cu, Zn, Au"),
        (lambda: transform(xr.Dataset(), "log10"), "has no bands"),
        (lambda: transform(positive().assign(t=("z", [1.0])), "log10"), r"survey\['t'\]: has dims"),
    ],
)
def test_what_cannot_be_transformed_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_given_data_stay_as_they_were():
    data = positive()
    before = data.copy(deep=True)
    for call in (lambda d: convert_units(d, "%"), lambda d: transform(d, "clr"), lambda d: gp.standardize(d, "robust")):
        call(data)
        xr.testing.assert_identical(data, before)


# -- factors -----------------------------------------------------------------------------------


def test_factors_come_with_loadings_and_their_share():
    given = samples(200, "Cu Ni Ba Zr", "ppm ppm % ppm")
    scores, loadings = robust_pca(given, 2)
    assert (scores.elements, scores.units) == (("F1", "F2"), ("1", "1"))
    assert list(loadings.index) == ["Cu", "Ni", "Ba", "Zr"]
    shares = loadings.attrs["explained_variance"]
    assert len(shares) == 2
    assert 1 > shares[0] > shares[1] > 0
    ratios = CLR().fit_transform(given.values) @ loadings.to_numpy()
    np.testing.assert_allclose(np.ptp(scores.values - ratios, axis=0), 0, atol=1e-9)
    again, _ = robust_pca(given, 2)
    np.testing.assert_array_equal(again.values, scores.values)


def test_factors_of_bands_are_bands(monkeypatch):
    grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 0), (30, 30))
    rng = np.random.default_rng(0)
    bands = {name: rng.lognormal(0, 1 + i, grid.shape).astype(np.float32) for i, name in enumerate("ABC")}
    bands["A"][0, 0] = np.nan
    data = grid.dataset(bands)
    with pytest.warns(DataWarning, match="1 of 900 cells lack"):
        scores, loadings = robust_pca(data, 1, robust=False)
    assert scores["F1"].attrs == {
        "units": "1", "long_name": f"factor 1 ({loadings.attrs['explained_variance'][0]:.0%} of the variance)",
    }  # fmt: skip
    assert gp.Grid.of(scores) == grid
    assert loadings["F1"].idxmax() == "C"
    monkeypatch.setattr(transforms, "_FACTOR_CELLS", 100)
    with pytest.warns(DataWarning):
        fewer, _ = robust_pca(data, 1, robust=False)
    assert 0 < float(abs(fewer["F1"] - scores["F1"]).max()) < 1


@pytest.mark.data
def test_the_first_factor_of_moss_in_kola_is_the_smelters(data_folder):
    folder = data_folder / "classics"
    moss = pd.read_csv(folder / "StatDA_moss.csv")
    names = "Ag Al As B Ba Bi Ca Cd Co Cr Cu Fe Hg K Mg Mn Mo Na Ni P Pb Rb S Sb Si Sr Th Tl U V Zn".split()
    points = moss[["XCOO", "YCOO"]].to_numpy()
    scores, loadings = robust_pca(gp.Samples(points, moss[names], names, ["ppm"] * len(names), "EPSG:32635"))
    # Nickel, copper and cobalt are what is smelted; the plants take up manganese, rubidium and thallium themselves.
    assert list(loadings["F1"].nlargest(3).index) == ["Ni", "Co", "Cu"]
    assert set(loadings["F1"].nsmallest(3).index) == {"Tl", "Mn", "Rb"}
    zones = [shapely.Polygon(pd.read_csv(folder / f"StatDA_smelter_zone_{name}.csv")) for name in ("monch", "nizap")]
    inside = np.any([shapely.contains_xy(zone, *points.T) for zone in zones], axis=0)
    assert gp.stats.rank_auc(inside, scores.values[:, 0]) > 0.95
    # The classical factor, computed by hand: eigenvectors of the covariance of the clr.
    logs = np.log(moss[names].to_numpy())
    ratios = logs - logs.mean(axis=1, keepdims=True)
    expected = np.linalg.eigh(np.cov(ratios.T))[1][:, -1]
    classical = robust_pca(gp.Samples(points, moss[names], names, [""] * len(names), "EPSG:32635"), robust=False)[1]
    assert abs(classical["F1"] @ expected) == pytest.approx(1, abs=1e-9)


@pytest.mark.data
def test_ranks_do_not_see_a_logarithm_but_a_log_ratio(data_folder):
    till = pd.read_csv(data_folder / "finland_till" / "samples_clean.csv.gz")
    columns = [c for c in till if c.endswith("_ppm") and (till[c] > 0).all()]
    names = [c.removesuffix("_ppm") for c in columns]
    points = np.random.default_rng(0).uniform([4e5, 7.5e6], [5e5, 7.6e6], (len(till), 2))
    given = gp.Samples(points, till[columns], names, ["ppm"] * len(names), "EPSG:3067")
    north = given.values[:, names.index("Mg")] > 6000
    copper = names.index("Cu")
    plain, logs, ratios = (
        gp.stats.rank_auc(north, one.values[:, copper])
        for one in (given, transform(given, "log10"), transform(given, "clr"))
    )
    assert logs == plain
    assert abs(ratios - plain) > 0.02


def test_a_whole_is_what_its_unit_says():
    assert [unit_factor("1", unit) for unit in ("ppm", "%", "ppb")] == [1e6, 100, 1e9]
