"""The data check: it agrees with the reader, counts what was planted, and says what to type."""

import csv
import doctest
import math
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from example_counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyproj import CRS

import geoprospect as gp
from geoprospect.cli import cli
from geoprospect.errors import DataWarning, GeoprospectError, InputError, MissingFileError, NameNotFoundError
from geoprospect.geochem.sample_check import character_map, check_samples

UTM = "EPSG:32649"


def write(path, columns):
    """Write a table of columns of cells as they are."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def regular(n, step=1000.0, **columns):
    """Return a table of n x n places, a step apart."""
    x, y = (a.ravel() for a in np.meshgrid(np.arange(n) * step + 4e5, np.arange(n) * step + 2.4e6))
    values = np.random.default_rng(0).lognormal(3, 0.5, n * n).round(3)
    return {"x": x, "y": y, "Cu_ppm": values, **columns}


def read(path, **arguments):
    """Return what read_samples gives, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            return gp.read_samples(path, **arguments)
        except GeoprospectError as err:
            return err


@pytest.fixture
def dirty(tmp_path):
    """A table with a known number of everything."""
    n = 40
    cells = {
        "id": [f"s{i}" for i in range(n)],
        "lon": np.linspace(110, 111, n).round(4),
        "lat": np.tile([22.0, 22.1, 22.3, 22.2], n // 4),
        "Cu_ppm": ["12.5", "<0.5", "<0.5", "<2", ">1000", "0", "-9999", "-9999", "", "NA", *map(str, range(1, 31))],
        "Au_ppb": ["-5", "-5", "-2", *["7.5"] * 36, "8"],
        "Zn": ["3"] * n,
        "Hg_ppb": ["<10"] * 30 + ["12"] * 10,
        "remark": ["fine"] * n,
    }
    return write(tmp_path / "dirty.csv", cells)


# -- what it counts and advises ----------------------------------------------------------------


def test_a_clean_table_is_usable_and_needs_no_arguments(tmp_path):
    path = write(tmp_path / "clean.csv", regular(10))
    check = check_samples(path, crs=UTM)
    assert check.usable
    assert check.settled
    assert check.arguments == {}
    assert (check.problems["level"] == "note").all()
    assert check.verdict() == "clean.csv: usable"
    np.testing.assert_array_equal(check.samples.values, gp.read_samples(path, crs=UTM).values)
    assert f"gp.read_samples({str(path)!r}, crs='{UTM}')" in str(check)


def test_cells_are_counted_for_what_they_are(dirty):
    elements = check_samples(dirty, crs="EPSG:4326").elements
    counts = ["n", "missing", "censored", "limits", "over_range", "zeros", "negative", "sentinel"]
    assert elements.loc["Cu", counts].tolist() == [36, 2, 3, 2, 1, 1, 0, 2]
    assert elements.loc["Au", counts].tolist() == [40, 0, 0, 0, 0, 0, 3, 0]
    assert elements.loc["Hg", counts].tolist() == [40, 0, 30, 1, 0, 0, 0, 0]
    assert elements.loc["Cu", ["lowest_limit", "highest_limit"]].tolist() == [0.5, 2.0]
    assert elements.loc[["Cu", "Zn"], "header"].tolist() == ["Cu_ppm", "Zn"]
    assert elements["unit"].tolist() == ["ppm", "ppb", "", "ppb"]


def test_the_spread_is_that_of_the_values_as_they_will_be_read(dirty):
    elements = check_samples(dirty, crs="EPSG:4326").elements
    assert elements.loc["Cu", ["min", "max"]].tolist() == [0.0, 1000.0]
    assert elements.loc["Au", ["min", "median", "max"]].tolist() == [7.5, 7.5, 8.0]  # negative ones are below detection
    assert elements.loc["Hg", ["min", "median", "max"]].tolist() == [12.0, 5.0, 12.0]  # most are half of 10


def test_the_arguments_settle_what_arguments_can_settle(dirty):
    check = check_samples(dirty, crs="EPSG:4326")
    assert not check.usable
    assert check.settled
    assert check.arguments == {"missing": [-9999.0], "negative": "below"}
    assert isinstance(read(dirty, crs="EPSG:4326"), InputError)
    samples = read(dirty, crs="EPSG:4326", **check.arguments)
    np.testing.assert_array_equal(samples.values, check.samples.values)
    assert samples.censored[:, 1].sum() == 3
    assert check_samples(dirty, crs="EPSG:4326", **check.arguments).usable


def test_what_was_declared_before_stays_declared(dirty):
    check = check_samples(dirty, crs="EPSG:4326", missing=[-2], negative="below")
    assert check.arguments == {"missing": [-2, -9999.0]}
    assert read(dirty, crs="EPSG:4326", negative="below", **check.arguments).censored[:, 1].sum() == 2


def test_a_cell_that_no_argument_explains_leaves_the_table_unsettled(tmp_path):
    table = regular(4)
    table["Cu_ppm"] = ["inf", "-9999", *table["Cu_ppm"][2:]]
    check = check_samples(write(tmp_path / "t.csv", table), crs=UTM)
    assert not check.usable
    assert not check.settled
    assert check.arguments == {"missing": [-9999.0]}
    assert check.samples is None
    assert "What is left stands below." in str(check)
    assert len(check.points) == 16


def test_below_raise_makes_censored_values_an_error(dirty):
    check = check_samples(dirty, crs="EPSG:4326", missing=-9999, negative="missing", below="raise")
    assert not check.usable
    assert check.arguments == {"below": "half"}
    assert isinstance(read(dirty, crs="EPSG:4326", missing=-9999, negative="missing", **check.arguments), gp.Samples)


def test_arguments_may_be_objects_and_the_call_can_be_typed(tmp_path):
    path = write(tmp_path / "t.csv", regular(4, Sn=np.arange(16)))
    check = check_samples(
        path, crs=CRS(UTM), elements=np.array(["Cu"]), units={"Cu": "ppb"}, missing=[np.int64(-3), np.float64(7)]
    )
    assert check.usable
    call = next(line for line in str(check).splitlines() if "to read it" in line).split("to read it")[1]
    assert eval(call, {"gp": gp}).units == ("ppb",)
    assert check.elements.index.tolist() == ["Cu"]


def test_columns_that_tell_nothing_are_named(dirty):
    problems = check_samples(dirty, crs="EPSG:4326").problems
    warned = dict(problems[problems["level"] == "warning"][["where", "message"]].itertuples(index=False))
    assert "is 3 in every sample" in warned["Zn"]
    assert "30 of 40 values are below detection" in warned["Hg_ppb"]
    assert "Cu_ppm" not in warned


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({}, {}, "in which CRS"),
        ({"x": "lon"}, {"crs": UTM}, "these are degrees"),
        ({}, {"crs": "EPSG:4326"}, "these are no degrees"),
        ({"x": "eastwards", "y": "northwards"}, {"crs": UTM}, "no coordinate columns"),
        ({"Cu_ppm": "colour"}, {"crs": UTM}, "no header is an element"),
    ],
)
def test_what_is_wrong_with_places_and_columns_is_said_and_raises_nothing(tmp_path, changes, arguments, said):
    table = {changes.get(name, name): cells for name, cells in regular(5).items()}
    if "lon" in table:
        table = {"lon": np.linspace(110, 111, 25), "lat": np.linspace(20, 21, 25), "Cu_ppm": table["Cu_ppm"]}
    path = write(tmp_path / "t.csv", table)
    check = check_samples(path, **arguments)
    assert not check.usable
    assert not check.settled
    assert said in check.problems.loc[check.problems["level"] == "error", "message"].iloc[0]
    assert isinstance(read(path, **arguments), GeoprospectError)
    assert check.report(full=True)


def test_swapped_degrees_are_seen(tmp_path):
    path = write(tmp_path / "t.csv", {"lon": [22, 22.1], "lat": [110, 110.1], "Cu_ppm": [1, 2]})
    check = check_samples(path, crs="EPSG:4326")
    assert not check.usable
    assert check.grid is None
    assert "swap" in str(check)


def test_what_is_no_table_raises_what_the_reader_raises(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere\.csv"):
        check_samples(tmp_path / "nowhere.csv")
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("x,y,Cu_ppm\n1,2,3\n1,2\n")
    with pytest.raises(InputError, match="line 3"):
        check_samples(ragged, crs=UTM)
    path = write(tmp_path / "t.csv", regular(3))
    with pytest.raises(NameNotFoundError, match="Sn"):
        check_samples(path, crs=UTM, elements=["Sn"])
    with pytest.raises(InputError, match="below='none'"):
        check_samples(path, crs=UTM, below="none")


def test_a_vector_file_is_checked_like_a_table(tmp_path):
    frame = pd.DataFrame(regular(5))
    points = gpd.GeoDataFrame(frame[["Cu_ppm"]], geometry=gpd.points_from_xy(frame["x"], frame["y"]), crs=UTM)
    points.loc[3, "Cu_ppm"] = -9999
    points.to_file(tmp_path / "samples.gpkg")
    check = check_samples(tmp_path / "samples.gpkg")
    assert check.arguments == {"missing": [-9999.0]}
    assert check.table.crs == points.crs


# -- it agrees with the reader -----------------------------------------------------------------

CELLS = st.sampled_from(
    ["1.5", "20", "3e2", "7", "0", "", "NA", "<0.5", "< 2", ">1000", "-0.5", "-9999", "-99", "-999", "99999", "1e31",
     "inf", "ND", "n.a.", "trace", "-", "<", "<0", "12 ppm", "1,5", "0.5*", "None", "1e400", "-inf", "<-1"]
)  # fmt: skip
PLACES = st.sampled_from(["110.1", "110.2", "110.25", "22.5", "95", "", "110.3", "500000", "x"])
TABLES = st.integers(1, 7).flatmap(
    lambda n: st.fixed_dictionaries(
        {
            "x": st.lists(PLACES, min_size=n, max_size=n),
            "y": st.lists(st.sampled_from(["22.1", "22.2", "-22", "22.3", "", "2400000"]), min_size=n, max_size=n),
            "Cu_ppm": st.lists(CELLS, min_size=n, max_size=n),
            "Fe_pct": st.lists(CELLS, min_size=n, max_size=n),
            "Au": st.lists(CELLS, min_size=n, max_size=n),
            "Au_flag": st.lists(st.sampled_from(["", "<", "N", ">", "?"]), min_size=n, max_size=n),
        }
    )
)
ARGUMENTS = st.fixed_dictionaries(
    {
        "crs": st.sampled_from(["EPSG:4326", "EPSG:32649", None]),
        "missing": st.sampled_from([None, [], [-9999], ["ND", -99], "trace", -0.5]),
        "negative": st.sampled_from(["raise", "below", "missing"]),
        "zero": st.sampled_from(["keep", "below", "missing"]),
        "below": st.sampled_from(["half", "sqrt2", "nan", "raise"]),
        "limits": st.sampled_from([None, 0.3, {"Cu": 1.0}]),
        "flags": st.sampled_from([None, False, {"Au": "Au_flag"}]),
    }
)
PLAIN = {"crs": "EPSG:4326", "missing": None, "negative": "raise", "zero": "keep", "below": "half", "limits": None,
         "flags": None}  # fmt: skip


@settings(max_examples=examples(30, 120))
@given(TABLES, ARGUMENTS)
@example(
    {"x": ["110.1"], "y": ["22.1"], "Cu_ppm": ["<0.5"], "Fe_pct": ["ND"], "Au": [""], "Au_flag": ["?"]},
    PLAIN | {"below": "raise"},
)
@example(  # nothing is known about the limit, so the cell is missing, and not refused
    {"x": ["110.1"], "y": ["22.1"], "Cu_ppm": ["ND"], "Fe_pct": [""], "Au": [""], "Au_flag": [""]},
    PLAIN | {"below": "raise"},
)
def test_usable_is_what_the_reader_can_read(tmp_path, table, arguments):
    path = write(tmp_path / "t.csv", table)
    check, samples = check_samples(path, **arguments), read(path, **arguments)
    assert check.usable is isinstance(samples, gp.Samples), samples
    after = read(path, **(arguments | check.arguments))
    assert check.settled is isinstance(after, gp.Samples), after
    if check.settled:
        np.testing.assert_array_equal(after.values, check.samples.values)
        np.testing.assert_array_equal(after.limits, check.samples.limits)
    assert check.usable <= check.settled
    assert not (check.usable and check.arguments)
    elements = check.elements
    assert (elements["n"] + elements["missing"] + elements["sentinel"] == len(table["x"])).all()
    assert all((check.report(), check.report(full=True), check._repr_html_(), repr(check)))


# -- the ground --------------------------------------------------------------------------------


def test_the_map_has_north_at_the_top_and_west_at_the_left():
    x, y = np.array([0.0, 0.0, 100.0]), np.array([0.0, 60.0, 60.0])
    lines = character_map(x, y, ("north-west", "south-east"))
    assert lines[0] == "  north-west"
    assert lines[-1].endswith("south-east")
    body = [line[3:-1] for line in lines[2:-2]]
    assert (body[0][0], body[0][-1], body[-1][0], body[-1][-1]) == ("#", "#", "#", " ")
    assert sum(line.count("#") for line in body) == 3
    assert len(body) == len(body[0]) * 0.6 / 2  # a sign is twice as high as wide


@settings(max_examples=examples(40, 100))
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=60))
def test_every_point_is_on_the_map_and_the_map_is_no_larger_than_it_may_be(points):
    x, y = np.array(points).T
    body = [line[3:-1] for line in character_map(x, y)[2:-2]]
    assert 1 <= len(body) <= 18
    assert {len(line) for line in body} <= set(range(1, 61))
    drawn = sum(sign != " " for line in body for sign in line)
    assert 1 <= drawn <= len(np.unique(points, axis=0))


def test_shades_tell_dense_ground_from_sparse():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 60, (2, 20_000))
    x = np.r_[x[(x > 30) | (rng.random(20_000) < 0.2)]]
    y = rng.uniform(0, 36, len(x))
    body = [line[3:-1] for line in character_map(x, y)[2:-2]]
    weight = np.array([[" ·:+#".index(sign) for sign in line] for line in body])
    assert weight[:, :28].mean() < 0.5 * weight[:, 32:].mean()


def test_the_grid_and_the_spacing_are_those_that_the_library_takes(tmp_path):
    path = write(tmp_path / "t.csv", regular(30, 600.0))
    check = check_samples(path, crs=UTM)
    assert check.spacing == pytest.approx(600)
    assert check.grid == gp.Grid.covering(gp.read_samples(path, crs=UTM))
    assert check.grid.resolution == (150, 150)
    assert "cells of 150 m" in str(check)


def test_lengths_are_metres_whatever_the_unit_of_the_crs(tmp_path):
    table = regular(12, 1000.0)
    table["x"], table["y"] = table["x"] * 3 + 1e6, table["y"] - 7e5
    check = check_samples(write(tmp_path / "t.csv", table), crs="EPSG:2232")  # US feet
    assert check.spacing == pytest.approx(304.8, abs=0.1)
    assert check.grid.resolution == (250, 250)
    assert "250 US survey foot" in str(check)


def test_a_large_survey_gets_the_smallest_window_on_cells_of_the_grid(tmp_path):
    window = check_samples(write(tmp_path / "t.csv", regular(70)), crs=UTM).window
    assert window["resolution"] == 250
    assert (window["size"], window["crop"]) == (32, 28)
    assert window["width"] == 8000
    assert window["samples"] == 81  # 9 x 9 about a sample: those on the rim count
    assert window["abreast"] == 8


def test_a_smaller_survey_gets_finer_cells_and_a_small_one_a_warning(tmp_path):
    check = check_samples(write(tmp_path / "t.csv", regular(40)), crs=UTM)
    assert check.window["size"] == 32
    assert 100 <= check.window["resolution"] < 250
    assert check.window["samples"] >= 16
    assert check.window["abreast"] >= 8
    assert f"cells of {check.window['resolution']:g} m" in str(check)
    small = check_samples(write(tmp_path / "t.csv", regular(15)), crs=UTM)
    assert small.window["abreast"] < 8
    assert "can hardly be tested" in " ".join(str(small).split())
    tiny = check_samples(write(tmp_path / "t.csv", regular(3)), crs=UTM)
    assert tiny.window is None
    assert "none holds 16 samples" in str(tiny)


def test_the_window_is_one_that_the_library_can_cut(tmp_path):
    table, rng = regular(40), np.random.default_rng(0)
    for name in ("x", "y"):
        table[name] = table[name] + rng.uniform(-400, 400, 1600)
    path = write(tmp_path / "t.csv", table)
    check = check_samples(path, crs=UTM)
    samples, window = gp.read_samples(path, crs=UTM), check.window
    grid = gp.Grid.covering(samples, resolution=window["resolution"])
    assert min(grid.shape) // window["size"] >= window["abreast"]
    held = gp.support(samples, grid, window=window["size"]).n_samples
    assert float(held.median()) == pytest.approx(window["samples"], rel=0.2)


def test_odd_places_are_said(tmp_path):
    table = regular(10)
    table["x"][5] += 3e6  # a digit too many
    table["x"][11], table["y"][11] = table["x"][10] + 4, table["y"][10]
    for column in table.values():
        column[20] = column[21]
    problems = check_samples(write(tmp_path / "t.csv", table), crs=UTM).problems
    text = "\n".join(problems["message"])
    assert "1 place more than 50 spacings from all but 8 others (row 7)" in text
    assert "2 places within 50 m of another" in text
    assert "1 row with the place and all assays of another (row 23)" in text
    assert "1 samples share their place" in text


def test_a_few_samples_in_the_other_hemisphere_are_said(tmp_path):
    rng = np.random.default_rng(0)
    table = {"lon": rng.uniform(110, 111, 300), "lat": rng.uniform(22, 23, 300), "Cu_ppm": rng.lognormal(3, 1, 300)}
    table["lat"][-3:] *= -1
    text = "\n".join(check_samples(write(tmp_path / "t.csv", table), crs="EPSG:4326").problems["message"])
    assert "3 places more than 50 spacings from all but 9 others (row 299, 300, 301)" in text


def test_a_row_of_totals_is_not_measured(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y,Cu_ppm,Zn_ppm\n4e5,24e5,5,7\n5e5,24e5,6,7\n,,11,14\n", encoding="utf-8")
    check = check_samples(path, crs=UTM)
    assert check.elements["max"].tolist() == [6, 7]
    assert "is 7 in every sample" in check.report()


def test_a_column_that_is_not_understood_is_not_said_to_be_empty(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x;y;Cu_ppm\n400000;2400000;1,250\n500000;2400000;2,300\n", encoding="utf-8")
    assert "nothing can be scored" not in check_samples(path, crs=UTM).report()


def test_coordinates_beyond_the_earth_are_said(tmp_path):
    table = regular(4)
    table["x"][3] = 1e300
    check = check_samples(write(tmp_path / "t.csv", table), crs=UTM)
    assert check.grid is None
    assert "coordinates reach 1e+300, which is nowhere on Earth" in " ".join(str(check).split())


def test_a_survey_across_the_antimeridian_gets_no_grid_and_no_traceback(tmp_path):
    n = 12
    table = {"lon": [-179.5, 179.5] * n, "lat": np.linspace(-17, -16, 2 * n), "Cu_ppm": np.arange(1.0, 2 * n + 1)}
    check = check_samples(write(tmp_path / "t.csv", table), crs="EPSG:4326")
    assert check.usable
    assert check.grid is None
    assert math.isnan(check.spacing)
    assert "antimeridian" in str(check)


# -- duplicates --------------------------------------------------------------------------------


def test_precision_comes_with_five_places_or_more_and_noise_is_said(tmp_path):
    rng = np.random.default_rng(2)
    truth = 10 ** rng.normal(1, 0.3, 12)
    columns = {
        "x": np.repeat(np.arange(12) * 700.0 + 4e5, 2), "y": np.full(24, 2.4e6),
        "Cu_ppm": np.repeat(truth, 2) * (1 + 0.05 * rng.normal(size=24)), "Sn_ppm": 10 ** rng.normal(1, 0.3, 24),
        "Au_ppb": ["<9"] * 16 + [10, 40, 11, 50, 20, 10, 30, 10],
    }  # fmt: skip
    check = check_samples(write(tmp_path / "t.csv", columns), crs=UTM)
    assert check.precision.loc["Cu", "n_pairs"] == 12
    assert check.elements.loc["Cu", "rsd"] == check.precision.loc["Cu", "rsd"] < 10
    text = " ".join(str(check).split())
    assert "in Sn more than a fifth of the variance" in text
    assert check.precision.loc["Au", "n_pairs"] == 4
    assert math.isnan(check.elements.loc["Au", "rsd"])  # four pairs tell nothing
    assert "Duplicates: 12 places" in text
    few = {name: cells[:8] for name, cells in columns.items()}
    assert check_samples(write(tmp_path / "t.csv", few), crs=UTM).precision is None


# -- the report --------------------------------------------------------------------------------


def government_table(n=300, n_elements=120):
    """Return a table as surveys publish them: two CRS, codes, negatives, qualifiers, many methods."""
    rng = np.random.default_rng(0)
    symbols = "Ag Al As Au Ba Be Bi Ca Cd Ce Co Cr Cs Cu Fe Ga Hf Hg K La Li Mg Mn Mo Na Nb Ni P Pb Rb".split()
    table = {
        "SAMPLE": [f"S{i}" for i in range(n)], "LAB": ["A"] * n, "LAT": rng.uniform(60, 62, n),
        "LON": rng.uniform(-130, -126, n), "UTM_E": rng.uniform(4e5, 6e5, n), "UTM_N": rng.uniform(6.6e6, 6.8e6, n),
    }  # fmt: skip
    for j in range(n_elements):
        values = rng.lognormal(2, 0.7, n).round(2).astype(str).astype(object)
        some = rng.random(n) < 0.1
        values[some] = ["-9999", "-0.5", "<1", ">80", "0", ""][j % 6]
        table[f"{symbols[j % 30]}_ppm_{['ICP', 'XRF', 'INAA', 'AAS'][j // 30]}"] = values
    return table | {"REMARKS": ["none"] * n}


def test_the_report_on_a_government_table_can_be_read(tmp_path):
    path = write(tmp_path / "gov.csv", government_table())
    check = check_samples(path, crs="EPSG:4326")
    lines = str(check).splitlines()
    assert lines[0] == "gov.csv: not usable as it is, 2 things to settle"
    assert len(lines) <= 64
    assert all(len(line) <= 120 for line in lines[4:])
    assert "… and 110 elements with less to say" in str(check)
    full = check.report(full=True)
    assert all(element in full for element in check.elements.index)
    assert check.arguments == {"missing": [-9999.0], "negative": "below"}
    assert check.settled


def test_the_report_in_the_documentation_is_the_one_that_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "checking.md").read_text(encoding="utf-8")
    code, shown = (re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1] for language in ("python", "text"))
    names = {}
    for example_ in doctest.DocTestParser().get_examples(code):
        exec(example_.source, names)
    # The names of areas are PROJ's, and change with it.
    steady = (
        re.sub(r"inside the bounds of:.*?(?=\nCells:)", "", text, flags=re.DOTALL)
        for text in (shown, str(names["check"]))
    )
    assert next(steady).strip() == next(steady)


def test_markup_in_a_table_is_text_in_a_notebook(tmp_path):
    bad = "<script>alert(1)</script>_ppm"
    path = write(tmp_path / "t.csv", {**regular(3), bad: ["<img src=x>"] * 9, "<b>note</b>": ["a"] * 9})
    page = check_samples(path, crs=UTM)._repr_html_()
    assert "<script>" not in page
    assert "<img" not in page
    assert "<b>note" not in page
    assert "&lt;script&gt;" in page


def test_the_command_line_says_the_same_and_its_advice_can_be_typed(dirty):
    runner = CliRunner()
    first = runner.invoke(cli, ["check", str(dirty), "--crs", "EPSG:4326"])
    assert first.exit_code == 1
    assert first.stdout.startswith("dirty.csv: not usable as it is, 2 things to settle")
    options = next(line for line in first.stdout.splitlines() if "as options" in line).split("as options")[1]
    second = runner.invoke(cli, ["check", str(dirty), *shlex.split(options)])
    assert second.exit_code == 0
    assert second.stdout.startswith("dirty.csv: usable")
    assert runner.invoke(cli, ["check", str(dirty), *shlex.split(options), "--full"]).stdout.count("\n") > 20


def test_what_is_no_table_is_an_error_and_exit_code_1_on_the_command_line(tmp_path):
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("x,y,Cu_ppm\n1,2,3\n1,2\n")
    command = [sys.executable, "-c", "from geoprospect.cli import main; main()", "check", str(ragged)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Error: path=" in result.stderr
    assert "Traceback" not in result.stderr


def test_words_and_numbers_for_missing_come_through_the_command_line(tmp_path):
    table = regular(4)
    table["Cu_ppm"] = ["not done", "-77", *table["Cu_ppm"][2:]]
    path = write(tmp_path / "t.csv", table)
    arguments = ["check", str(path), "--crs", UTM, "--missing", "not done", "--missing", "-77"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0
    assert "missing=['not done', -77]" in result.stdout


def test_the_check_loads_nothing_heavy():
    code = "import sys, geoprospect.geochem.sample_check; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {name.split(".")[0] for name in loaded} & {"torch", "sklearn", "matplotlib", "numba", "dask"}


# -- real surveys ------------------------------------------------------------------------------


@pytest.mark.data
def test_the_shape_of_northern_ireland_is_seen(data_folder):
    check = check_samples(data_folder / "tellus_ireland" / "samples_clean_ni.csv.gz", "x", "y", crs="EPSG:29903")
    lines = str(check).splitlines()
    top = next(at for at, line in enumerate(lines) if "┌" in line)
    body = [line[3:-1] for line in lines[top + 1 :] if line.startswith("  │")]
    low, high = check.points.min(axis=0), check.points.max(axis=0)

    def sign(x, y):
        return body[int((high[1] - y) / (high[1] - low[1]) * len(body))][
            int((x - low[0]) / (high[0] - low[0]) * len(body[0]))
        ]

    assert sign(305_000, 380_000) == " "  # Lough Neagh
    assert sign(213_000, 420_000) == " "  # Donegal, another state
    assert sign(245_000, 370_000) in ":+#"  # Tyrone
    assert sign(315_000, 425_000) in ":+#"  # Antrim
    assert "Northern Ireland" in " ".join(str(check).split())
    assert check.usable


@pytest.mark.data
def test_real_tables_are_read_as_the_check_says(data_folder):
    for name, arguments in {
        "arabian_shield/samples_clean.csv.gz": {"crs": "EPSG:4326"},
        "classics/StatDA_moss.csv": {"crs": "EPSG:32635"},
        "classics/robCompositions_chorizonDL.csv": {"crs": "EPSG:32635"},
        "classics/sp_meuse.csv": {"crs": "EPSG:28992"},
        "finland_till/samples_clean.csv.gz": {"x": "x", "y": "y", "crs": "EPSG:3067"},
        "tellus_ireland/NI_set1_original.csv.gz": {"crs": "EPSG:29903"},
    }.items():
        check = check_samples(data_folder / name, **arguments)
        assert check.settled, name
        assert check.usable is isinstance(read(data_folder / name, **arguments), gp.Samples), name
