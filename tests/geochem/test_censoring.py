"""Samples with values below detection: what changes, what stays, what is counted."""

import math

import numpy as np
import pandas as pd
import pytest
from affine import Affine

import geoprospect as gp
from geoprospect.errors import DataWarning, InputError
from geoprospect.geochem.censoring import censoring_indicator, censoring_table, replace_censored
from geoprospect.geochem.imputation import METHODS, impute

UTM = "EPSG:32649"
NAN = math.nan


def survey(n=200, rng=0):
    """Return samples of Cu, Zn and Au: Au below two limits, Cu over range, something missing."""
    rng = np.random.default_rng(rng)
    common = rng.normal(size=(n, 1))
    truth = np.exp(np.array([3.0, 4.0, 0.0]) + common + rng.normal(0, 0.5, (n, 3)))
    limits = np.full((n, 3), NAN)
    limits[:, 2] = np.where(np.arange(n) % 2, 0.5, 1.0)
    censored = truth < limits
    values = np.where(censored, limits / 2, truth)
    over = np.zeros_like(censored)
    over[3, 0], values[3, 0] = True, 500
    values[4, 1] = values[5, 2] = NAN
    censored[5, 2] = False
    limits = np.where(censored, limits, np.where(over, 500, NAN))
    points = np.column_stack([np.arange(n) * 100.0, np.zeros(n)])
    return gp.Samples(points, values, ["Cu", "Zn", "Au"], ["ppm", "ppm", "ppb"], UTM, limits, censored, over)


@pytest.mark.parametrize("method", METHODS)
def test_other_values_take_the_place_and_all_else_stays(method):
    samples = survey()
    found = replace_censored(samples, method)
    below = samples.censored
    expected = impute(samples.values, samples.limits, below, method)
    np.testing.assert_array_equal(found.values, expected)
    assert found.values[~below].tobytes() == samples.values[~below].tobytes()
    for name in ("points", "limits", "censored", "over_range"):
        np.testing.assert_array_equal(getattr(found, name), getattr(samples, name))
    assert (found.elements, found.units, found.crs) == (samples.elements, samples.units, samples.crs)


@pytest.mark.parametrize("first", METHODS)
@pytest.mark.parametrize("second", METHODS)
def test_a_second_method_does_not_see_what_the_first_one_did(first, second):
    samples = survey()
    again = replace_censored(replace_censored(samples, first), second)
    np.testing.assert_array_equal(again.values, replace_censored(samples, second).values)


def test_half_the_limit_is_the_default():
    samples = survey()
    np.testing.assert_array_equal(replace_censored(samples).values, samples.values)


def test_limits_that_samples_made_by_hand_lack_are_an_error():
    samples = gp.Samples([[0, 0], [0, 9]], [[1.0], [2.0]], ["Au"], ["ppb"], UTM, censored=[[True], [False]])
    with pytest.raises(InputError, match=r"limits: .* no limit \(Au: 1\); give the limit"):
        replace_censored(samples)
    assert math.isnan(replace_censored(samples, "nan").values[0, 0])


def test_logarithms_come_after():
    samples = survey()
    with pytest.raises(InputError, match=r"'Au' is a logarithm; replace concentrations"):
        replace_censored(gp.transform(samples, "log10"))
    assert gp.transform(replace_censored(samples, "lrem"), "log10").censored.sum() == samples.censored.sum()


def test_log_ratios_come_after():
    samples = gp.convert_units(survey(), "ppm")
    with pytest.warns(DataWarning, match="2 of 200 samples lack some"):
        ratios = gp.transform(samples, "clr")
    assert ratios.censored.sum() == samples.censored.sum() > 0
    with pytest.raises(InputError, match=r"log-ratios have no limits: replace concentrations"):
        replace_censored(ratios)


def test_a_method_that_is_not_known_is_an_error():
    with pytest.raises(InputError, match=r"method='mean': needs one of 'half', 'sqrt2', 'nan', 'ros', 'lrem'"):
        replace_censored(survey(), "mean")


@pytest.mark.parametrize("function", [replace_censored, censoring_indicator, censoring_table])
def test_a_table_is_no_samples(function):
    with pytest.raises(InputError, match="samples: is a DataFrame, needs Samples"):
        function(pd.DataFrame())


def test_the_indicator_is_one_below_zero_above_and_missing_where_missing():
    samples = survey()
    found = censoring_indicator(samples)
    assert found.elements == ("Cu_censored", "Zn_censored", "Au_censored")
    assert found.units == ("1", "1", "1")
    np.testing.assert_array_equal(found.values == 1, samples.censored)
    np.testing.assert_array_equal(np.isnan(found.values), np.isnan(samples.values))
    assert not found.censored.any()
    assert not found.over_range.any()
    assert np.isnan(found.limits).all()


def test_the_indicator_knows_values_that_were_left_out():
    samples = survey()
    left_out = replace_censored(samples, "nan")
    np.testing.assert_array_equal(censoring_indicator(left_out).values, censoring_indicator(samples).values)
    pd.testing.assert_frame_equal(censoring_table(left_out), censoring_table(samples))


def test_a_map_of_the_indicator_is_the_share_below_detection():
    n = 40
    points = np.random.default_rng(1).uniform(0, 4000, (n, 2))
    west = points[:, 0] < 2000  # one laboratory measured from 1 on, the other from 0.1 on
    values = np.full((n, 1), 0.5)
    samples = gp.Samples(points, values, ["Au"], ["ppb"], UTM, np.where(west, 1, NAN)[:, None], west[:, None])
    grid = gp.Grid(UTM, Affine(500, 0, 0, 0, -500, 4000), (8, 8))
    band = gp.interpolate(censoring_indicator(samples), grid, k=4)["Au_censored"]
    assert band.attrs == {"units": "1", "long_name": "Au_censored"}
    assert ((band >= 0) & (band <= 1)).all()
    assert (band[:, :2] == 1).mean() > 0.9
    assert (band[:, -2:] == 0).mean() > 0.9


def test_the_table_counts_limits_and_what_lies_below_the_highest():
    limits = [[NAN], [NAN], [1.0], [1.0], [4.0], [NAN], [50.0]]
    values = [[0.7], [9.0], [0.5], [0.5], [2.0], [NAN], [50.0]]
    below = [[False], [False], [True], [True], [True], [False], [False]]
    over = [[False]] * 6 + [[True]]
    points = [[0, 90 * i] for i in range(7)]
    row = censoring_table(gp.Samples(points, values, ["Au"], ["ppb"], UTM, limits, below, over)).loc["Au"]
    assert row["unit"] == "ppb"
    assert row[["n", "censored", "over_range", "limits"]].tolist() == [6, 3, 1, 2]
    assert row[["fraction", "lowest_limit", "highest_limit"]].tolist() == [0.5, 1.0, 4.0]
    assert row["detected_below"] == pytest.approx(1 / 3)


def test_elements_without_anything_below_detection_or_without_anything_have_rows():
    samples = gp.Samples([[0, 0], [0, 9]], [[1.0, NAN], [2.0, NAN]], ["Cu", "Au"], ["ppm", "ppb"], UTM)
    table = censoring_table(samples)
    assert table[["n", "censored", "limits"]].to_numpy().tolist() == [[2, 0, 0], [0, 0, 0]]
    assert table.loc["Cu", "fraction"] == 0
    assert math.isnan(table.loc["Au", "fraction"])
    assert table[["lowest_limit", "highest_limit", "detected_below"]].isna().all(axis=None)


def test_the_reader_and_the_function_give_the_same(tmp_path):
    samples = survey()
    lines = ["x,y,Cu_ppm,Zn_ppm,Au_ppb"]
    for point, values, limits, below in zip(
        samples.points, samples.values, samples.limits, samples.censored, strict=True
    ):
        cells = [
            f"<{limit!r}" if low else "" if math.isnan(value) else repr(value)
            for value, limit, low in zip(values.tolist(), limits.tolist(), below, strict=True)
        ]
        lines.append(",".join([*map(repr, point.tolist()), *cells]))
    path = tmp_path / "samples.csv"
    path.write_text("\n".join(lines))
    for method in METHODS:
        read = gp.read_samples(path, crs=UTM, below=method)
        np.testing.assert_array_equal(read.values, replace_censored(samples, method).values)
        np.testing.assert_array_equal(read.censored, samples.censored)
