"""The readers: what a table says is read exactly, what it does not say is asked for, what is wrong is refused."""

import dataclasses
import gzip
import html
import logging
import math
import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from example_counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyproj import CRS

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, GeoprospectError, InputError, MissingFileError, NameNotFoundError

UTM = "EPSG:32649"
HEADER = "id,lon,lat,Cu_ppm,Zn_ppm\n"


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a text or bytes and reads it as samples."""

    def read(content, name="samples.csv", crs="EPSG:4326", **settings):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return gp.read_samples(path, crs=crs, **settings)

    return read


@pytest.fixture
def layer(tmp_path):
    """Return a function that writes text or a frame and reads it as deposits."""

    def read(content, name=None, crs=None, **settings):
        if isinstance(content, str):
            path = tmp_path / (name or "deposits.csv")
            path.write_text(content, encoding="utf-8")
            crs = crs or "EPSG:4326"
        else:
            path = tmp_path / (name or "deposits.gpkg")
            content.to_file(path)
        return gp.read_deposits(path, crs=crs, **settings)

    return read


def one_column(*cells, header="Cu_ppm"):
    """Return a table of one element, each sample in its own place."""
    return f"lon,lat,{header}\n" + "".join(f"{110 + k},22,{cell}\n" for k, cell in enumerate(cells))


def some_samples(**changes):
    given = {
        "points": [[500_000, 2.4e6], [500_100, 2.4e6]],
        "values": [[1.0, 2.0], [3.0, math.nan]],
        "elements": ["Cu", "Zn"],
        "units": ["ppm", "ppb"],
        "crs": UTM,
    }
    return gp.Samples(**{**given, **changes})


# -- the value ---------------------------------------------------------------------------------


def test_arrays_are_read_only_and_its_own():
    points, values = np.array([[5e5, 2.4e6]]), np.array([[1.0]])
    limits, censored, over_range = np.array([[2.0]]), np.array([[True]]), np.array([[False]])
    samples = gp.Samples(points, values, ["Cu"], ["ppm"], UTM, limits, censored, over_range)
    for array in (points, values, limits, censored, over_range):
        array[:] = 0
    assert samples.points.tolist() == [[5e5, 2.4e6]]
    assert samples.values.tolist() == [[1.0]]
    assert samples.limits.tolist() == [[2.0]]
    assert samples.censored.tolist() == [[True]]
    assert samples.over_range.tolist() == [[False]]
    for array in (samples.points, samples.values, samples.limits, samples.censored, samples.over_range):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 7
    with pytest.raises(AttributeError):
        samples.values = values


def test_changing_the_frame_does_not_change_the_samples():
    samples = some_samples()
    frame = samples.to_frame()
    frame.loc[0, "Cu"] = 99
    assert samples.values[0, 0] == 1.0


def test_without_limits_nothing_is_censored():
    samples = some_samples()
    assert np.isnan(samples.limits).all()
    assert not samples.censored.any()
    assert not samples.over_range.any()
    assert samples.limits.shape == samples.censored.shape == samples.over_range.shape == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": [1, 2]}, r"points: have shape \(2,\), need \(n_samples, 2\)"),
        ({"points": [[1, 2, 3], [1, 2, 3]]}, r"points: have shape \(2, 3\)"),
        ({"values": [[1, 2]]}, r"values: have shape \(1, 2\), need \(n_samples, n_elements\) = \(2, 2\)"),
        ({"values": [1, 2]}, r"values: have shape \(2,\)"),
        ({"units": ["ppm"]}, "units: 1 of them for 2 elements; give '' where unknown"),
        ({"elements": ["Cu", "Cu"]}, "elements: 'Cu' stands more than once; names must differ"),
        ({"values": [[1, 2], [3, math.inf]]}, "values: sample 1 has an infinite Zn; use NaN for missing"),
        ({"points": [[1, 2], [3, math.nan]]}, "points: sample 1 has no finite coordinates; leave it out"),
        ({"points": [[1, 2], [3, math.inf]]}, "points: sample 1 has no finite coordinates"),
        ({"limits": [[1]]}, r"limits: have shape \(1, 1\), need that of values, \(2, 2\)"),
        ({"censored": [True, False]}, r"censored: have shape \(2,\)"),
        ({"over_range": [[True]]}, r"over_range: have shape \(1, 1\)"),
        (
            {"censored": [[False, True], [False, False]], "over_range": [[False, True], [True, False]]},
            "over_range: Zn of sample 0 is censored too; a value is one or neither",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        some_samples(**changes)


def test_samples_need_a_crs():
    with pytest.raises(CRSError, match="never guessed"):
        some_samples(crs=None)


def test_a_selection_keeps_order_units_limits_and_crs():
    samples = some_samples(
        limits=[[1, 2], [3, 4]], censored=[[True, False], [False, True]], over_range=[[False, True], [False, False]]
    )
    part = samples[["Zn", "Cu"]]
    assert (part.elements, part.units, part.crs) == (("Zn", "Cu"), ("ppb", "ppm"), samples.crs)
    np.testing.assert_array_equal(part.values, samples.values[:, ::-1])
    np.testing.assert_array_equal(part.limits, samples.limits[:, ::-1])
    np.testing.assert_array_equal(part.censored, samples.censored[:, ::-1])
    np.testing.assert_array_equal(part.over_range, samples.over_range[:, ::-1])
    assert samples["Cu"].elements == ("Cu",)
    with pytest.raises(NameNotFoundError, match="there is no element 'Pb'; there are Cu, Zn"):
        samples["Pb"]


def test_the_summary_counts_what_is_there_missing_and_censored():
    summary = some_samples(limits=[[2, math.nan]] * 2, censored=[[True, False], [False, False]]).summary()
    assert summary.loc["Cu", ["unit", "n", "missing", "censored", "median"]].tolist() == ["ppm", 2, 0, 1, 2.0]
    assert summary.loc["Zn", ["unit", "n", "missing", "censored", "max"]].tolist() == ["ppb", 1, 1, 0, 2.0]


def test_the_summary_counts_zeros_and_what_is_over_range():
    summary = some_samples(values=[[0, 9], [0, 9]], over_range=[[False, True], [False, False]]).summary()
    assert summary["zeros"].tolist() == [2, 0]
    assert summary["over_range"].tolist() == [0, 1]


def test_the_summary_of_an_element_that_is_all_missing_is_nan():
    summary = some_samples(values=[[1, math.nan], [2, math.nan]]).summary()
    assert summary.loc["Zn", ["n", "missing"]].tolist() == [0, 2]
    assert math.isnan(summary.loc["Zn", "median"])


def test_the_frame_and_the_points_carry_the_crs():
    samples = some_samples()
    assert samples.to_frame().crs == samples.geometry.crs == CRS(UTM)
    assert samples.to_frame().columns.tolist() == ["Cu", "Zn", "geometry"]
    assert samples.geometry.x.tolist() == [500_000, 500_100]


def test_points_go_to_another_crs_and_back():
    samples = some_samples(limits=[[1, 2], [3, 4]], over_range=[[False, True], [False, False]])
    there = samples.to_crs("EPSG:4326")
    assert there.crs == CRS("EPSG:4326")
    assert there.points[0] == pytest.approx([111.0, 21.70], abs=0.01)
    back = there.to_crs(UTM)
    np.testing.assert_allclose(back.points, samples.points, atol=1e-6)
    np.testing.assert_array_equal(back.limits, samples.limits)
    np.testing.assert_array_equal(back.over_range, samples.over_range)


def test_points_without_a_place_in_another_crs_are_refused():
    samples = gp.Samples([[0, 0], [170, 0]], [[1], [2]], ["Cu"], ["ppm"], "EPSG:4326")
    with pytest.raises(CRSError, match=r"1 of 2 points have no place there, the first \(170, 0\)"):
        samples.to_crs("+proj=gnom +lat_0=0 +lon_0=0")


def test_the_repr_is_short_however_many_elements():
    many = gp.Samples([[0, 0]], np.ones((1, 12)), [f"E{k}" for k in range(12)], [""] * 12, UTM)
    assert repr(many) == ("Samples(1 samples of 12 elements: E0, E1, E2, E3, E4, E5, E6, E7, …; WGS 84 / UTM zone 49N)")


def test_markup_in_names_is_escaped_in_a_notebook(table):
    evil = "<script>alert</script>"
    samples = table(f"lon,lat,{evil}_ppm\n110,22,5\n", units=f"<img src=x onerror=alert({1})>")
    shown = samples._repr_html_()
    assert evil in samples.elements[0]
    assert "<script" not in shown
    assert "<img" not in shown
    assert html.escape("<script>") in shown


# -- rows 1 and 9: coordinates and their CRS ---------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("lon", "lat"),
        ("LONGITUDE", "LATITUDE"),
        ("Easting", "Northing"),
        ("X", "Y"),
        ("XCOO", "YCOO"),
        ("coord_x", "coord_y"),
    ],
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_the_usual_coordinate_columns_are_found_and_said(table, caplog, x, y, quote):
    with caplog.at_level(logging.INFO, "geoprospect"):
        samples = table(f"{quote}{y}{quote},{quote}{x}{quote},Cu_ppm\n22,110,5\n")
    assert samples.points.tolist() == [[110, 22]]
    assert f"coordinates are in the columns {x!r} and {y!r}" in caplog.text


@pytest.mark.parametrize(
    "header", ["rechts,hoch,Cu_ppm", "lon,hoch,Cu_ppm", "rechts,lat,Cu_ppm", "lon,northing,Cu_ppm"]
)
def test_coordinate_columns_that_cannot_be_found_are_asked_for(table, header):
    with pytest.raises(NameNotFoundError) as caught:
        table(f"{header}\n110,22,5\n")
    for part in (", ".join(header.split(",")), "x='lon', y='lat'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("x", "y"), [("nowhere", None), (None, "nowhere"), ("nowhere", "lat"), ("lon", "nowhere")])
def test_a_coordinate_column_that_is_not_there_is_refused(table, x, y):
    with pytest.raises(NameNotFoundError, match="there is no column 'nowhere'; there are id, lon, lat, Cu_ppm, Zn_ppm"):
        table(HEADER + "1,110,22,5,6\n", x=x, y=y)


def test_one_given_coordinate_is_paired_with_its_own_partner(table):
    text = "lon,lat,x,y,Cu_ppm\n110,22,500000,2400000,5\n"
    assert table(text, x="x", crs=UTM).points.tolist() == [[500_000, 2_400_000]]
    assert table(text, y="y", crs=UTM).points.tolist() == [[500_000, 2_400_000]]
    assert table(text).points.tolist() == [[110, 22]]


def test_one_column_cannot_be_both_coordinates(table):
    with pytest.raises(InputError, match="x='lon', y='lon': one column cannot be both"):
        table(HEADER + "1,110,22,5,6\n", x="lon", y="lon")


def test_yttrium_is_not_a_northing(table):
    samples = table("Y,Zr,x,y\n7,8,500000,2400000\n", crs=UTM)
    assert samples.points.tolist() == [[500_000, 2_400_000]]
    assert samples.elements == ("Y", "Zr")
    assert table("lon,lat,Y_ppm\n110,22,5\n").elements == ("Y",)
    assert table("lon,lat,Y\n110,22,5\n").elements == ("Y",)


def test_a_northing_is_not_yttrium(table):
    assert table("lon,lat,X,Y,Cu\n110,22,500000,2400000,5\n").elements == ("Cu",)
    assert table("X,Y,V,U\n110,22,5,6\n").elements == ("V", "U")


@pytest.mark.parametrize(("x", "suggestion"), [("110", "crs='EPSG:4326'"), ("500000", "crs='EPSG:32649'")])
def test_a_missing_crs_is_asked_for(table, x, suggestion):
    with pytest.raises(CRSError, match=f"does not say in which CRS 'lon' and 'lat' are; pass .*{suggestion}"):
        table(HEADER + f"1,{x},22,5,6\n", crs=None)


def test_an_unknown_crs_is_refused(table):
    with pytest.raises(CRSError, match="crs='EPSG:0': not a known CRS"):
        table(HEADER + "1,110,22,5,6\n", crs="EPSG:0")


# -- row 2: below detection, and other text ----------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "limit"),
    [("<0.5", 0.5), ("< 0.5", 0.5), (" <0.5 ", 0.5), ("<.5", 0.5), ("<5", 5), ("<5e-3", 0.005), ("<1.", 1)],
)
@pytest.mark.parametrize(("below", "factor"), [("half", 0.5), ("sqrt2", 0.5**0.5), ("nan", math.nan)])
def test_a_value_below_detection_is_replaced_and_its_limit_kept(table, cell, limit, below, factor):
    samples = table(one_column("7", cell), below=below)
    np.testing.assert_array_equal(samples.values[:, 0], [7, limit * factor])
    np.testing.assert_array_equal(samples.limits[:, 0], [math.nan, limit])
    assert samples.censored[:, 0].tolist() == [False, True]


def test_values_below_detection_are_counted_in_the_log(table, caplog):
    with caplog.at_level(logging.INFO, "geoprospect"):
        table(one_column("<1", "2", "<3"))
    assert "values below detection: Cu_ppm 2" in caplog.text


def test_values_below_detection_can_be_refused(table):
    with pytest.raises(
        InputError, match=r"column 'Cu_ppm': 2 values below detection \(row 2, 4\); choose below='half'"
    ):
        table(one_column("<1", "2", "<3"), below="raise")


@pytest.mark.parametrize("option", ["below", "negative"])
def test_an_unknown_policy_is_refused(table, option):
    with pytest.raises(InputError, match=f"{option}='zero': needs one of"):
        table(one_column("1"), **{option: "zero"})


@pytest.mark.parametrize(
    "cell", [">", ">x", ">0", ">-1", "N", "n.s.s.", "<", "<x", "<-1", "<<1", "5 ppm", "1 00", "0x10", "1_000", "١٢"]
)
def test_other_text_is_refused_with_its_row_and_the_cure_works(table, cell):
    text = one_column("1", cell, "3", cell)
    with pytest.raises(InputError) as caught:
        table(text)
    assert str(caught.value) == (
        f"column 'Cu_ppm': {cell!r} is no number (row 3, 5); if it stands for a missing value, pass missing=[{cell!r}]"
    )
    np.testing.assert_array_equal(table(text, missing=[cell]).values[:, 0], [1, math.nan, 3, math.nan])


# -- row 3: sentinels and negatives ------------------------------------------------------------


def test_undeclared_negatives_are_refused_with_the_most_frequent_and_both_cures_work(table):
    text = one_column("5", "-1", "6", "-1", "-0.1")
    with pytest.raises(InputError) as caught:
        table(text)
    message = str(caught.value)
    assert "column 'Cu_ppm': 3 negative concentrations (row 3, 5, 6), most often -1 (2 times)" in message
    assert "pass missing=[-1]" in message
    assert "negative='below'" in message
    assert table(text, negative="below").censored.sum() == 3
    assert table(text, missing=[-1, -0.1]).summary().loc["Cu", "missing"] == 3


@pytest.mark.parametrize(
    "missing", [[-9999], -9999, np.int64(-9999), (999999, -9999.0), "-9999", iter([-9999]), {-9999}]
)
def test_declared_sentinels_become_missing_in_every_column(table, missing):
    samples = table(HEADER + "1,110,22,-9999,5\n2,111,22,6,-9999\n", missing=missing)
    np.testing.assert_array_equal(samples.values, [[math.nan, 5], [6, math.nan]])
    assert not samples.censored.any()


@pytest.mark.parametrize("missing", ["ND", ["nd", "x"], iter(["ND"])])
def test_declared_words_become_missing_in_every_column(table, missing):
    samples = table(HEADER + "1,110,22,ND,5\n2,111,22,6,ND\n", missing=missing)
    np.testing.assert_array_equal(samples.values, [[math.nan, 5], [6, math.nan]])


def test_a_negative_can_mean_below_its_absolute_value(table):
    samples = table(one_column("5", "-2", "<3"), negative="below")
    assert samples.values[:, 0].tolist() == [5, 1, 1.5]
    np.testing.assert_array_equal(samples.limits[:, 0], [math.nan, 2, 3])
    assert samples.censored[:, 0].tolist() == [False, True, True]


def test_a_negative_can_mean_missing(table):
    samples = table(one_column("5", "-2"), negative="missing")
    assert math.isnan(samples.values[1, 0])
    assert not samples.censored.any()


def test_sentinels_are_taken_out_before_negatives_mean_anything(table):
    samples = table(one_column("5", "-2", "-9999"), negative="below", missing=[-9999])
    np.testing.assert_array_equal(samples.values[:, 0], [5, 1, math.nan])


@settings(max_examples=examples(25, 100))
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=10))
def test_each_policy_treats_negatives_and_nothing_else(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "negatives.csv"
    path.write_text(one_column(*map(repr, values)), encoding="utf-8")
    values = np.array(values)
    below = gp.read_samples(path, crs=4326, missing=[], negative="below").values[:, 0]
    np.testing.assert_array_equal(below, np.where(values < 0, -values / 2, values))
    missing = gp.read_samples(path, crs=4326, missing=[], negative="missing").values[:, 0]
    np.testing.assert_array_equal(missing, np.where(values < 0, math.nan, values))
    if (values < 0).any():
        with pytest.raises(InputError, match="negative concentrations"):
            gp.read_samples(path, crs=4326, missing=[])
    else:
        np.testing.assert_array_equal(gp.read_samples(path, crs=4326, missing=[]).values[:, 0], values)


def test_negative_coordinates_are_no_concentrations(table):
    assert table("lon,lat,Cu_ppm\n-99,-33,5\n", missing=[-99]).points.tolist() == [[-99, -33]]


# -- row 4: dialects ---------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_decimal_comma_is_read_and_said(table, caplog, delimiter):
    text = "lon;lat;Cu_ppm;Zn_ppm;note\n110,5;22,25;0,5;<0,1;a, b\n110,75;22,5;1,5E-03;12;c\n".replace(";", delimiter)
    with caplog.at_level(logging.INFO, "geoprospect"):
        samples = table(text)
    assert samples.points.tolist() == [[110.5, 22.25], [110.75, 22.5]]
    assert samples.values.tolist() == [[0.5, 0.05], [0.0015, 12]]
    assert samples.limits[0, 1] == 0.1
    assert "read with a decimal comma: lon, lat, Cu_ppm, Zn_ppm" in caplog.text
    assert "the delimiter is a" in caplog.text


def test_a_decimal_comma_of_three_digits_is_clear_beside_another(table):
    assert table("lon;lat;Cu\n110,125;22,5;1,250\n").values.tolist() == [[1.25]]


@pytest.mark.parametrize("text", ["lon;lat;Cu\n110.1;22;1,250\n", "lon;lat;Cu\n110;22;12,500\n111;22;\n"])
def test_a_comma_that_may_part_thousands_is_refused(table, text):
    with pytest.raises(InputError, match=r"column 'Cu': is the comma in '1.*' a decimal one, or does it part"):
        table(text)


def test_commas_and_points_in_one_column_are_refused(table):
    with pytest.raises(InputError, match="column 'Cu': has both decimal commas and points"):
        table("lon;lat;Cu\n110;22;1,5\n111;22;1.5\n")


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1.234,56", 1234.56), ("1.234.567", 1234567), ("1'000", 1000), ("1 000,5", 1000.5), ("12\u00a0345", 12345)],
)
def test_thousands_separators_beside_a_decimal_comma_are_taken_out_and_said(table, caplog, cell, value):
    with caplog.at_level(logging.INFO, "geoprospect"):
        samples = table(f"lon;lat;Cu\n110;22;{cell}\n111;22;0,5\n", missing=[])
    assert samples.values[:, 0].tolist() == [value, 0.5]
    assert "read without its thousands separators: Cu" in caplog.text


@pytest.mark.parametrize(
    ("cell", "value"), [("1,250.5", 1250.5), ("1,234,567", 1234567), ("1 250", 1250), ("1'250.25", 1250.25)]
)
def test_thousands_separators_that_can_be_nothing_else_are_taken_out(table, cell, value):
    assert table(one_column(f'"{cell}"', "0.5", f'"<{cell}"', header="Cu")).values[:, 0].tolist() == [
        value, 0.5, value / 2,
    ]  # fmt: skip


def test_one_number_with_thousands_explains_the_others_of_its_column(table):
    assert table(one_column('"1,250"', '"2,000.5"')).values[:, 0].tolist() == [1250, 2000.5]


@pytest.mark.parametrize(
    ("cell", "other"),
    [("1,234,567", "0,5"), ("1.5", "0,5"), ("1.234,5", "0.5"), ("1,234.5", "1,5"), ("1.250", "0,5")],
)
def test_two_notations_in_one_column_are_refused(table, cell, other):
    with pytest.raises(InputError, match=r"column 'Cu': has both decimal commas and points \('.*'\); make them one"):
        table(f"lon;lat;Cu\n110;22;{cell}\n111;22;{other}\n")


def test_points_that_may_part_thousands_beside_decimal_commas_are_refused(table):
    with pytest.raises(InputError, match=r"column 'Zn': is the point in '1\.250' a decimal one, or does it part"):
        table("lon;lat;Cu;Zn\n110;22;0,5;1.250\n111;22;1,5;3\n")
    assert table("lon;lat;Cu;Zn\n110;22;0,5;1.25\n111;22;1,5;1.250\n").values[:, 1].tolist() == [1.25, 1.25]


def test_a_comma_that_may_part_thousands_is_refused_in_quotes_too(table):
    with pytest.raises(InputError, match=r"column 'Cu_ppm': is the comma in '1,000' a decimal one"):
        table(one_column('"1,000"', "3.5"))


def test_columns_that_are_not_taken_may_be_written_as_they_like(table):
    assert table('lon,lat,Cu,depth\n110,22,5,"1,000"\n').values.tolist() == [[5]]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_read(table, newline):
    assert table(one_column("5", "6").replace("\n", newline)).values.ravel().tolist() == [5, 6]


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.txt", "a.tsv", "a b – ü.csv"])
def test_every_name_of_a_text_table_is_read(table, name):
    assert table(one_column("5"), name=name).values.tolist() == [[5]]


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ", "a.txt.gz"])
def test_a_compressed_table_is_read(table, name):
    assert table(gzip.compress(one_column("5").encode()), name=name).values.tolist() == [[5]]


# -- row 5: broken text ------------------------------------------------------------------------


def test_a_byte_order_mark_is_not_part_of_the_first_name(table):
    assert table(b"\xef\xbb\xbf" + b"lon,lat,Cu_ppm\n110,22,5\n").points.tolist() == [[110, 22]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "gbk", "latin-1", "cp1252"])
def test_other_encodings_are_read_when_named(table, encoding):
    word = "矿" if encoding in ("gbk", "utf-16", "utf-16-le") else "é"
    data = f"place,lon,lat,Cu_ppm\n{word},110,22,5\n".encode(encoding)
    assert table(data, encoding=encoding).values.tolist() == [[5]]
    with pytest.raises(InputError, match=r"not utf-8-sig text|holds NUL") as caught:
        table(data)
    assert "utf-16" in str(caught.value)


def test_a_wrong_encoding_is_refused(table):
    with pytest.raises(InputError, match=r"not utf-16 text"):
        table(one_column("5"), encoding="utf-16")
    with pytest.raises(InputError, match=r"not utf-32 text"):
        table(one_column("5"), encoding="utf-32")


@pytest.mark.parametrize("encoding", ["klingon", "hex", "rot13"])
def test_an_unknown_encoding_is_refused(table, encoding):
    with pytest.raises(InputError, match=f"encoding='{encoding}': there is no such text encoding"):
        table(one_column("5"), encoding=encoding)


def test_nul_characters_are_refused_with_their_line(table):
    with pytest.raises(InputError, match=r"holds NUL characters in line 3; is it text, or is its encoding 'utf-16'\?"):
        table(one_column("5", "\0"))


@pytest.mark.parametrize("row", ["2,111,22,5", "2,111,22,5,6,7", "2,111,22,5,6,", "2"])
def test_ragged_rows_are_refused_with_their_line(table, row):
    with pytest.raises(InputError, match="the header has 5 columns, line 3 other numbers; look there for a stray"):
        table(HEADER + f"1,110,22,5,6\n{row}\n3,112,22,5,6\n")


def test_trailing_commas_in_all_rows_do_not_shift_columns(table):
    with pytest.raises(InputError, match="line 2, 3 other numbers"):
        table(HEADER + "1,110,22,5,6,\n2,111,22,7,8,\n")
    assert table("lon,lat,Cu_ppm,\n110,22,5,\n").values.tolist() == [[5]]


def test_empty_columns_that_a_spreadsheet_adds_are_none(table):
    assert table("lon,lat,Cu_ppm,,,\n110,22,5,,,\n,,,,,\n").values.tolist() == [[5]]
    with pytest.raises(InputError, match="column '' stands 2 times"):
        table("lon,lat,Cu_ppm,,\n110,22,5,,x\n110,22,5,x,\n")


@pytest.mark.parametrize("title", ["ALS Chemex\nCertificate,VA10\n", "sep=,\n", "ALS,,,,,,\n,,,,,,\nVA10,,,,,,\n"])
def test_lines_above_the_header_are_refused_with_what_to_do(table, title):
    with pytest.raises(InputError, match=r"line 1 .*remove what stands above the header"):
        table(title + "id,lon,lat,Cu_ppm,Zn_ppm,a,b\n1,110,22,5,6,,\n2,111,22,7,8,,\n")


@pytest.mark.parametrize("delimiter", ["|", " "])
def test_a_table_of_one_column_is_refused(table, delimiter):
    with pytest.raises(InputError, match=r"has one column, 'lon.lat.Cu_ppm'; write a comma, a semicolon or a tab"):
        table("lon,lat,Cu_ppm\n110,22,5\n".replace(",", delimiter))


@pytest.mark.parametrize("header", ["经度,纬度", "Longitud,Latitud"])
def test_coordinates_have_names_in_other_languages(table, header):
    assert table(f"{header},Cu_ppm\n110,22,5\n").points.tolist() == [[110, 22]]


def test_a_few_places_that_are_no_degrees_are_named(table):
    rows = "".join(f"{110 + i / 10},22,{i}\n" for i in range(1, 9))
    with pytest.raises(
        CRSError, match=r"2 of 10 places are no degrees \(row 10, 11\), the first \(22, 110\); are x and y"
    ):
        table("lon,lat,Cu_ppm\n" + rows + "22,110,5\n22,111,5\n")


def test_kilometres_are_told_from_metres(table):
    rows = "".join(f"{420 + i},{5200 + i},{i}\n" for i in range(1, 9))
    with pytest.warns(DataWarning, match="are these kilometres"):
        table("Easting,Northing,Cu_ppm\n" + rows, crs="EPSG:32617")


@pytest.mark.parametrize(("name", "values"), [("UTM_Zone", ("16", "17N")), ("Datum", ("NAD27", "WGS84"))])
def test_several_zones_or_datums_in_one_table_are_said(table, name, values):
    rows = "400000,5200000,{},5\n401000,5200000,{},6\n"
    with pytest.warns(DataWarning, match=f"column '{name}' tells of several coordinate systems"):
        table(f"x,y,{name},Cu_ppm\n" + rows.format(*values), crs="EPSG:32617")
    assert len(table(f"x,y,{name},Cu_ppm\n" + rows.format(values[0], ""), crs="EPSG:32617")) == 2
    assert len(table("x,y,zone,Cu_ppm\n" + rows.format("oxide", "sulphide"), crs="EPSG:32617")) == 2


def test_duplicate_headers_are_refused(table):
    with pytest.raises(InputError, match="column 'Cu_ppm' stands 2 times in the header; rename all but one"):
        table("lon,lat,Cu_ppm, Cu_ppm\n110,22,5,6\n")


def test_quoted_line_breaks_and_delimiters_stay_in_their_cell(table):
    text = 'note,lon,lat,"Cu\n(ppm)"\n"a\nb, c",110,22,5\n"say ""hi""",111,22,6\n'
    samples = table(text)
    assert samples.values.ravel().tolist() == [5, 6]
    assert (samples.elements, samples.units) == (("Cu",), ("ppm",))
    assert table('"Cu\n(ppm)";lon;lat\n5;110;22\n').values.tolist() == [[5]]


def test_rows_are_numbered_by_their_line_whatever_stands_before(table):
    text = 'note,lon,lat,Cu_ppm\n"two\nlines",110,22,5\n\n,,,\nx,111,22,oops\n'
    with pytest.raises(InputError, match=r"'oops' is no number \(row 6\)"):
        table(text)


def test_a_quote_that_is_never_closed_is_refused(table):
    for cell in ('"6', '"' + "x" * 200_000):
        with pytest.raises(InputError, match=r"line 3 begins no row of a table .* look for a quote that is not closed"):
            table(one_column("5", cell, "7"))
    with pytest.raises(InputError, match=r"line 2 begins no row of a table"):
        table('lon,lat,Cu_ppm,note\n110,22,5,"this swallows\n111,22,6,the rest\n')


def test_a_quote_inside_a_quoted_text_must_be_doubled(table):
    with pytest.raises(InputError, match=r"line 2 begins no row of a table .* not doubled inside a text"):
        table('note,lon,lat,Cu_ppm\n"the "old" mine",110,22,5\n')
    assert table('note,lon,lat,Cu_ppm\n12" core,110,22,5\n').values.tolist() == [[5]]


def test_a_compressed_table_that_is_cut_or_damaged_is_refused(table):
    whole = gzip.compress(one_column(*range(60)).encode())
    damaged = bytearray(whole)
    damaged[20] ^= 0xFF
    for data in (whole[: len(whole) // 2], bytes(damaged), whole[:-4], b"not compressed"):
        with pytest.raises(GeoprospectError, match=r"a\.csv\.gz': cannot be read"):
            table(data, name="a.csv.gz")


# -- row 6: NA ---------------------------------------------------------------------------------


def test_na_is_missing_in_a_sodium_column_and_sodium_in_the_header(table):
    samples = table("lon,lat,NA,Na2O_pct\n110,22,NA,5\n111,22,3,n/a\n")
    assert samples.elements == ("Na", "Na2O")
    np.testing.assert_array_equal(samples.values, [[math.nan, 5], [3, math.nan]])


@pytest.mark.parametrize("cell", ["missing", "NULLS", "nil", "?", "*", "#DIV/0!", "<NA>", "-nan", "1.#IND", "-1.#QNAN"])
def test_no_other_word_is_missing_by_itself(table, cell):
    with pytest.raises(InputError, match="is no number"):
        table(one_column("5", cell))


# -- row 7: shared places ----------------------------------------------------------------------


def test_samples_that_share_a_place_are_counted(table):
    with pytest.warns(DataWarning, match="2 samples share their place with another; gridding takes the mean") as caught:
        samples = table("lon,lat,Cu\n110,22,1\n110,22,2\n111,22,3\n110,22,1\n")
    assert len(samples) == 4
    assert caught[0].filename == __file__


@settings(max_examples=examples(40, 100))
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_the_count_of_shared_places_is_right(tmp_path_factory, places):
    path = tmp_path_factory.getbasetemp() / "places.csv"
    path.write_text("lon,lat,Cu\n" + "".join(f"{x},{y},1\n" for x, y in places), encoding="utf-8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gp.read_samples(path, crs="EPSG:4326")
    shared = len(places) - len(set(places))
    assert [str(one.message).split(" samples")[0].split()[-1] for one in caught] == [str(shared)] * (shared > 0)


# -- row 8: wrong coordinates ------------------------------------------------------------------


def test_swapped_latitude_and_longitude_are_seen(table):
    with pytest.raises(CRSError, match=r"no latitude exceeds 90; did you swap x and y.* pass x='lon', y='lat'$"):
        table(one_column("5"), x="lat", y="lon")


@pytest.mark.parametrize("xy", ["500000,2400000", "361,20", "200,100"])
def test_projected_numbers_are_not_degrees(table, xy):
    with pytest.raises(CRSError, match="these are no degrees; name the projection of the table in crs="):
        table(f"x,y,Cu\n{xy},5\n")


@pytest.mark.parametrize("xy", ["2400000,500000", "500000,-5e6", "5e7,2.4e6", "1e300,1e300"])
def test_coordinates_far_outside_the_area_of_the_crs_are_warned_of(table, xy):
    with pytest.warns(DataWarning, match=r"far outside the area that it is made for .* is it the right one\?"):
        table(f"x,y,Cu\n{xy},5\n", crs=UTM)


@pytest.mark.parametrize(("xy", "crs"), [("500000,2400000", UTM), ("110,22", "EPSG:4326"), ("-110,-22", "EPSG:4326")])
def test_coordinates_inside_the_area_of_the_crs_pass_in_silence(table, xy, crs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(table(f"x,y,Cu\n{xy},5\n", crs=crs)) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda near, far: some_samples(points=far.points),
        lambda near, far: dataclasses.replace(near, points=far.points),
        lambda near, far: far[["Cu"]],
    ],
    ids=["made", "replaced", "a part"],
)
def test_places_outside_of_their_crs_are_warned_of_on_the_line_of_the_user(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        far = some_samples(points=[[2.4e6, 5e5], [2.4e6, 6e5]])
    with pytest.warns(DataWarning, match="far outside the area") as caught:
        make(some_samples(), far)
    assert caught[0].filename == __file__


# -- rows without a place, row 12: nothing, infinite, missing ----------------------------------


def test_rows_without_coordinates_are_left_out_and_counted(table):
    with pytest.warns(DataWarning, match=r"samples\.csv: left out 2 rows without coordinates \(row 3, 4\)") as caught:
        samples = table("lon,lat,Cu\n110,22,1\n,22,2\n111,NA,3\n112,22,4\n")
    assert samples.values.ravel().tolist() == [1, 4]
    assert caught[0].filename == __file__


def test_declared_words_are_missing_among_coordinates_too(table):
    with pytest.warns(DataWarning, match="left out 1 rows"):
        assert len(table("lon,lat,Cu\n110,22,1\nND,22,2\n", missing=["ND"])) == 1


def test_a_table_without_any_coordinates_is_refused(table):
    with pytest.raises(InputError, match="no row has coordinates"):
        table("lon,lat,Cu\n,,1\n,,2\n")


@pytest.mark.parametrize("cell", ["<5", "abc", "12°30'"])
def test_text_among_coordinates_is_refused(table, cell):
    with pytest.raises(InputError, match=r"column 'lon': .*row 2"):
        table(f"lon,lat,Cu\n{cell},22,1\n")


@pytest.mark.parametrize("cell", ["inf", "-inf", "Infinity", "1e400", "-1e400", "<1e400"])
@pytest.mark.parametrize("below", ["half", "nan"])
def test_infinite_and_too_large_numbers_are_refused(table, cell, below):
    with pytest.raises(InputError, match=r"column 'Cu_ppm': infinite or too large a number \(row 3\)"):
        table(one_column("5", cell), below=below)


@pytest.mark.parametrize("column", ["lon", "lat"])
@pytest.mark.parametrize("cell", ["inf", "1e400"])
def test_infinite_coordinates_are_refused(table, column, cell):
    row = {"lon": "110", "lat": "22"} | {column: cell}
    with pytest.raises(InputError, match=f"column '{column}': infinite"):
        table(f"lon,lat,Cu\n{row['lon']},{row['lat']},1\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has nothing in it"),
        ("\n\n  \n", "has nothing in it"),
        ("\ufeff", "has nothing in it"),
        (HEADER, "has a header but no rows"),
        (HEADER + "\n,,,,\n", "has a header but no rows"),
    ],
)
def test_a_table_without_rows_is_refused(table, content, message):
    with pytest.raises(InputError, match=rf"path='.*samples\.csv': {message}"):
        table(content)


def test_an_element_that_is_all_missing_is_kept_as_nan(table):
    samples = table(HEADER + "1,110,22,5,\n2,111,22,6,\n")
    assert np.isnan(samples.values[:, 1]).all()
    assert samples.summary().loc["Zn", "missing"] == 2


def test_a_missing_file_is_refused_with_its_neighbour(tmp_path):
    (tmp_path / "samples.csv").write_text(one_column("5"), encoding="utf-8")
    with pytest.raises(MissingFileError, match=r"did you mean 'samples\.csv'"):
        gp.read_samples(tmp_path / "sample.csv", crs=4326)


# -- names and units ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "element", "unit"),
    [
        ("Cu_ppm", "Cu", "ppm"),
        ("Cu (ppm)", "Cu", "ppm"),
        ("Cu [mg/kg]", "Cu", "ppm"),
        ("Cu_mgkg", "Cu", "ppm"),
        ("Cu PPM", "Cu", "ppm"),
        ("Cu_ppm_icp", "Cu", "ppm"),
        ("Cu_ICP_ppm", "Cu", "ppm"),
        ("As_ug/g", "As", "ppm"),
        ("As_µg/g", "As", "ppm"),
        ("As_μg/g", "As", "ppm"),
        ("Au_ug/kg", "Au", "ppb"),
        ("Au_µg/kg", "Au", "ppb"),
        ("Au_ugkg", "Au", "ppb"),
        ("Au_ppb", "Au", "ppb"),
        ("Au_g/t", "Au", "ppm"),
        ("SiO2_%", "SiO2", "%"),
        ("SiO2_pct", "SiO2", "%"),
        ("SiO2 (wt. %)", "SiO2", "%"),
        ("SiO2_wt%", "SiO2", "%"),
        ("TFe2O3_percent_xrf", "TFe2O3", "%"),
        ("CU", "Cu", ""),
        ("cu_ppm", "Cu", "ppm"),
        ("FE2O3_PCT", "Fe2O3", "%"),
        ("Cu_mg_kg", "Cu", "ppm"),
        ("Cu mg kg-1", "Cu", "ppm"),
        ("Cu..ppm.", "Cu", "ppm"),
        ("Pb wt.%", "Pb", "%"),
        ("Al_XRF", "Al", ""),
        ("Ag_INAA", "Ag", ""),
        ("AS_ICP40", "As", ""),
        ("Cu ICP-MS", "Cu", ""),
        ("F_IC", "F", ""),
        ("Cu", "Cu", ""),
        ("copper", "copper", ""),
        ("sio2", "SiO2", ""),
        ("mgo", "MgO", ""),
        ("LOI", "LOI", ""),
    ],
)
def test_element_and_unit_are_read_from_the_header(table, header, element, unit):
    samples = table(f"id,lon,lat,{header},note\n1,110,22,5,x\n")
    assert (samples.elements, samples.units) == ((element,), (unit,))


@pytest.mark.parametrize(
    "header",
    ["Cu_bdl", "Cu_ppm_flag", "Cu_ppm_dl", "Cu_ppm_rsd", "unit", "method_ppm", "depth", "ELEV", "cu", "y", "note"],
)
def test_columns_that_are_no_assays_are_not_taken(table, caplog, header):
    with caplog.at_level(logging.INFO, "geoprospect"):
        assert table(f"lon,lat,Zn_ppm,{header}\n110,22,5,1\n").elements == ("Zn",)
    assert f"columns not taken as elements: {header}" in caplog.text


def test_a_table_without_assays_is_refused_with_the_cure(table):
    with pytest.raises(
        NameNotFoundError, match=r"no header is an element or ends in a unit among depth; .*elements=\["
    ):
        table("lon,lat,depth\n110,22,5\n")


def test_two_methods_of_one_element_keep_their_whole_headers(table):
    samples = table("lon,lat,Cu_ppm_icp,Cu_ppm_xrf,Zn_ppm\n110,22,5,6,7\n")
    assert samples.elements == ("Cu_ppm_icp", "Cu_ppm_xrf", "Zn")
    assert samples.units == ("ppm", "ppm", "ppm")


def test_elements_are_chosen_by_header_or_by_element_in_the_order_given(table):
    text = "lon,lat,Cu_ppm,Zn_ppm,depth\n110,22,5,6,7\n"
    assert table(text, elements=["Zn", "Cu_ppm"]).elements == ("Zn", "Cu")
    assert table(text, elements=["Zn", "Cu_ppm"]).values.tolist() == [[6, 5]]
    assert table(text, elements="Zn").elements == ("Zn",)
    assert table(text, elements=["depth"]).elements == ("depth",)


def test_an_element_of_two_methods_must_be_named_in_full(table):
    text = "lon,lat,Cu_ppm_icp,Cu_ppm_xrf\n110,22,5,6\n"
    with pytest.raises(InputError, match="'Cu' may be any of 'Cu_ppm_icp', 'Cu_ppm_xrf'; give the whole header"):
        table(text, elements=["Cu"])
    assert table(text, elements=["Cu_ppm_xrf"]).values.tolist() == [[6]]


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (["Pb"], "there is no column 'Pb'; there are id, Cu_ppm, Zn_ppm"),
        (["cu_ppm"], "did you mean 'Cu_ppm'"),
        (["lon"], "there is no column 'lon'"),
        ([5], "there is no column '5'"),
    ],
)
def test_an_element_that_is_not_there_is_refused(table, elements, message):
    with pytest.raises(NameNotFoundError, match=message):
        table(HEADER + "1,110,22,5,6\n", elements=elements)


def test_no_elements_at_all_are_refused(table):
    with pytest.raises(InputError, match=r"elements=\[\]: needs at least one"):
        table(HEADER + "1,110,22,5,6\n", elements=[])


def test_one_column_cannot_be_two_elements(table):
    with pytest.raises(InputError, match="stands more than once"):
        table(HEADER + "1,110,22,5,6\n", elements=["Cu", "Cu_ppm"])


def test_a_text_column_asked_for_as_an_element_is_refused(table):
    with pytest.raises(InputError, match=r"column 'note': 'x' is no number \(row 2\)"):
        table("lon,lat,note,Cu\n110,22,x,5\n", elements=["note"])


def test_units_are_given_for_all_or_by_element_or_header(table):
    text = "lon,lat,Cu,Zn_ppm\n110,22,5,6\n"
    assert table(text, units="ppb").units == ("ppb", "ppb")
    assert table(text, units={"Cu": "ppm"}).units == ("ppm", "ppm")
    assert table(text, units={"Zn_ppm": "mg/kg"}).units == ("", "mg/kg")
    with pytest.raises(NameNotFoundError, match="units: there is no element 'Pb'; there are Cu, Zn"):
        table(text, units={"Pb": "ppm"})


def test_an_unknown_unit_is_said(table, caplog):
    with caplog.at_level(logging.INFO, "geoprospect"):
        table("lon,lat,Cu,Zn_ppm\n110,22,5,6\n")
    assert "no unit is known for Cu; give units=" in caplog.text


# -- exactness and fuzz ------------------------------------------------------------------------

numbers = st.floats(0, 9998)  # beyond that, some look like codes for 'no value'
degrees = st.tuples(st.floats(-89, 89), st.floats(-89, 89))


@settings(max_examples=examples(40, 100))
@given(st.lists(st.tuples(degrees, numbers, numbers), min_size=1, max_size=9, unique_by=lambda row: row[0]))
def test_values_come_through_a_table_exactly(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "exact.csv"
    frame = pd.DataFrame([(*xy, *values) for xy, *values in rows], columns=["lon", "lat", "Cu_ppm", "Zn_ppm"])
    frame.to_csv(path, index=False)
    samples = gp.read_samples(path, crs="EPSG:4326")
    np.testing.assert_array_equal(samples.points, frame[["lon", "lat"]])
    np.testing.assert_array_equal(samples.values, frame[["Cu_ppm", "Zn_ppm"]])


scraps = st.sampled_from(
    ["lon", "lat", "x", "y", "Cu_ppm", "Y", "X", "id", ",", ",", ",", ";", "\t", "\n", "\n", "\r\n", '"', "110", "22",
     "-9999", "<0.5", "<", "1,5", "1,250", "inf", "1e400", "NA", "nan", "", " ", "\0", "\ufeff", "铜", "'", "%",
     "(ppm)", ">5", "0x1F"]
)  # fmt: skip


def read_or_refuse(path, **settings):
    """Return samples, or the refusal; anything else that is raised fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)
        try:
            return gp.read_samples(path, **settings)
        except GeoprospectError as refusal:
            return refusal


@given(st.lists(scraps, max_size=60).map("".join), st.sampled_from(["EPSG:4326", UTM]))
@settings(max_examples=examples(100, 300))
@example("lon,lat,Cu_ppm\n110,22,5\n", "EPSG:4326")
@example("x,y,Cu_ppm\n1e308,-1e308,5\n1,1,5\n", UTM)
def test_any_text_is_read_or_refused(tmp_path_factory, text, crs):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_text(text, encoding="utf-8", newline="")
    answer = read_or_refuse(path, crs=crs)
    assert isinstance(answer, GeoprospectError) or len(answer) > 0


@given(st.binary(max_size=200), st.sampled_from(["utf-8-sig", "utf-16", "gbk", "latin-1", "utf-7", "utf-32"]))
@settings(max_examples=examples(70, 200))
@example("lon,lat,Cu_ppm\n110,22,5\n".encode("utf-16"), "utf-16")
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, encoding):
    for name in ("fuzz.csv", "fuzz.csv.gz"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(data)
        answer = read_or_refuse(path, crs=4326, encoding=encoding)
        assert isinstance(answer, GeoprospectError) or len(answer) > 0


@given(st.lists(scraps, min_size=1, max_size=40).map("".join))
@settings(max_examples=examples(70, 200))
def test_any_row_below_a_good_header_is_read_or_refused(tmp_path_factory, row):
    path = tmp_path_factory.getbasetemp() / "row.csv"
    path.write_text(f"lon,lat,Cu_ppm\n110,22,5\n{row}\n", encoding="utf-8", newline="")
    answer = read_or_refuse(path, crs=4326)
    assert isinstance(answer, GeoprospectError) or answer.values[0, 0] == 5


@given(st.data())
@settings(max_examples=60)
def test_a_compressed_table_with_a_flipped_byte_is_read_or_refused(tmp_path_factory, data):
    whole = bytearray(gzip.compress(one_column(*range(30)).encode(), mtime=0))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.csv.gz"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    answer = read_or_refuse(path, crs=UTM)
    assert isinstance(answer, GeoprospectError) or answer.values.ravel().tolist() == list(range(30))


# -- row 21 and vector files -------------------------------------------------------------------


def point_layer(crs="EPSG:4326", **columns):
    columns = columns or {"Cu_ppm": [5.0, 6.5], "note": ["a", "b"]}
    return gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy([110, 111], [22, 23]), crs=crs)


@pytest.mark.parametrize("name", ["s.gpkg", "s.geojson", "s.shp"])
def test_samples_are_read_from_vector_files_with_their_crs(tmp_path, name):
    point_layer().to_file(tmp_path / name)
    samples = gp.read_samples(tmp_path / name)
    assert samples.points.tolist() == [[110, 22], [111, 23]]
    assert (samples.elements, samples.units) == (("Cu",), ("ppm",))
    assert samples.values.ravel().tolist() == [5, 6.5]
    assert samples.crs == CRS("EPSG:4326")
    assert gp.read_samples(tmp_path / name, crs="EPSG:4326").crs == samples.crs


def test_text_cells_of_a_vector_file_are_read_like_those_of_a_table(tmp_path):
    point_layer(Cu_ppm=["<0.5", None], Zn_ppm=[-9999.0, 3.0]).to_file(tmp_path / "s.gpkg")
    samples = gp.read_samples(tmp_path / "s.gpkg", missing=[-9999])
    np.testing.assert_array_equal(samples.values, [[0.25, math.nan], [math.nan, 3]])
    with pytest.raises(InputError, match=r"column 'Zn_ppm': -9999 once \(row 1\) looks like a code for 'no value'"):
        gp.read_samples(tmp_path / "s.gpkg")


def test_one_of_several_layers_must_be_named(tmp_path):
    path = tmp_path / "s.gpkg"
    point_layer().to_file(path, layer="stream")
    point_layer(Zn_ppm=[1, 2]).to_file(path, layer="soil")
    with pytest.raises(InputError, match="has the layers 'stream', 'soil'; name one in layer="):
        gp.read_samples(path)
    assert gp.read_samples(path, layer="soil").elements == ("Zn",)
    with pytest.raises(
        NameNotFoundError, match="layer: there is no layer 'soils'; there are stream, soil; did you mean"
    ):
        gp.read_samples(path, layer="soils")


def test_polygons_are_no_samples(tmp_path):
    frame = point_layer(UTM)
    frame.set_geometry(frame.buffer(1)).to_file(tmp_path / "s.gpkg")
    with pytest.raises(InputError, match="geometry: is Polygon, needs points"):
        gp.read_samples(tmp_path / "s.gpkg")


@pytest.mark.parametrize("place", [None, shapely.Point()])
def test_features_without_a_place_are_left_out_of_samples(tmp_path, place):
    point_layer().set_geometry([shapely.Point(110, 22), place], crs=4326).to_file(tmp_path / "s.gpkg")
    with pytest.warns(DataWarning, match=r"left out 1 rows without coordinates \(row 2\)"):
        assert len(gp.read_samples(tmp_path / "s.gpkg")) == 1


def test_another_crs_than_the_file_says_is_refused(tmp_path):
    point_layer().to_file(tmp_path / "s.gpkg")
    with pytest.raises(CRSError, match="crs='EPSG:32649': the file says 'WGS 84'; leave crs out, or correct the file"):
        gp.read_samples(tmp_path / "s.gpkg", crs=UTM)


def test_a_vector_file_without_a_crs_needs_one(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # geopandas says that a CRS is missing
        point_layer(None).to_file(tmp_path / "s.shp")
    with pytest.raises(CRSError, match="never guessed"):
        gp.read_samples(tmp_path / "s.shp")
    assert gp.read_samples(tmp_path / "s.shp", crs="EPSG:4326").crs == CRS("EPSG:4326")


def test_an_empty_layer_is_refused(tmp_path):
    point_layer().iloc[:0].to_file(tmp_path / "s.gpkg")
    with pytest.raises(InputError, match="the layer is empty"):
        gp.read_samples(tmp_path / "s.gpkg")


@pytest.mark.parametrize("name", ["s.gpkg", "s.geojson", "s.shp", "s.xyz", "s"])
@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b'{"type": "FeatureCollection", "features": [', b"SQLite format 3\0"]
)
def test_what_is_no_vector_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as a vector file|the layer is empty|has no geometry"):
        gp.read_samples(tmp_path / name, crs=4326)


@pytest.mark.parametrize("name", ["s.gpkg", "s.vrt", "s.geojson", "s.xml"])
@pytest.mark.parametrize("read", [gp.read_samples, gp.read_deposits])
def test_a_virtual_layer_that_reads_another_file_is_refused(tmp_path, name, read):
    (tmp_path / "secret.csv").write_text(one_column("5"), encoding="utf-8")
    (tmp_path / name).write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{tmp_path / "secret.csv"}</SrcDataSource>'
        "<LayerSRS>EPSG:4326</LayerSRS><GeometryType>wkbPoint</GeometryType>"
        '<GeometryField encoding="PointFromColumns" x="lon" y="lat"/></OGRVRTLayer></OGRVRTDataSource>',
        encoding="utf-8",
    )
    with pytest.raises(InputError, match="only points to data elsewhere"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "path", ["https://example.org/s.csv", "/vsicurl/https://example.org/s.gpkg", "s3://b/s.geojson"]
)
@pytest.mark.parametrize("read", [gp.read_samples, gp.read_deposits])
def test_addresses_are_refused(path, read):
    with pytest.raises(InputError, match="needs a local file; download it first"):
        read(path, crs=4326)


# -- deposits ----------------------------------------------------------------------------------

DEPOSITS = "name,lon,lat,commodity,grade\nA,110,22,Copper,1.5\nB,111,22,Gold,\nC,112,22,,3\nD,113,22,Copper,0.5\n"


def test_deposits_are_points_with_ids_names_and_commodities(layer):
    deposits = layer(DEPOSITS)
    assert deposits.id.tolist() == [1, 2, 3, 4]
    assert deposits.name.tolist() == ["A", "B", "C", "D"]
    assert deposits.commodity.isna().tolist() == [False, False, True, False]
    assert deposits.grade.tolist()[0] == 1.5
    assert deposits.crs == CRS("EPSG:4326")
    assert (deposits.geom_type == "Point").all()
    assert deposits.geometry.x.tolist() == [110, 111, 112, 113]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("commodity == 'Copper'", "AD"),
        ("commodity.str.contains('Copper|Gold', na=False)", "ABD"),
        ("commodity.str.contains('o')", "ABD"),
        ("~commodity.str.contains('Gold', na=False)", "ACD"),
        ("commodity.isna() or name == 'A'", "AC"),
        ("grade > 1", "AC"),
        ("commodity in ['Gold', 'Copper'] and not grade > 1", "BD"),
        ("`name` != 'A'", "BCD"),
        ("name.isin(['B', 'C'])", "BC"),
        ("id >= 3", "CD"),
        ("geometry.x < 111.5", "AB"),
    ],
)
def test_a_filter_keeps_what_it_says_and_the_ids_stay(layer, where, left):
    deposits = layer(DEPOSITS, where=where)
    assert "".join(deposits["name"]) == left
    assert deposits.id.tolist() == ["ABCD".index(name) + 1 for name in left]
    assert deposits.index.tolist() == list(range(len(left)))


@pytest.mark.parametrize(
    "where",
    [
        "__import__('os').system('touch {mark}')",
        "@pd.io.common.os.system('touch {mark}')",
        "@x",
        "name.to_csv('{mark}')",
        "name.to_pickle('{mark}')",
        "geometry.to_file('{mark}')",
        "name.str.__class__",
        "name.map(name.__init__.__globals__['os'].system)",
        "name.__init__.__globals__['__builtins__']['open']('{mark}', 'w')",
        "name.pipe(print)",
        "name.apply(str)",
        "name.eval('1')",
        "(lambda: name)()",
        "[x for x in name]",
        "name == 'A'; import os",
        "name = 'A'",
        "name == 'A'\nname == 'B'",
        "_x == 1",
    ],
)
def test_a_filter_cannot_do_anything_but_compare(layer, tmp_path, where):
    mark = tmp_path / "mark"
    where = where.format(mark=mark)
    with pytest.raises(InputError) as caught:
        layer(DEPOSITS, where=where)
    assert f"where={where!r}: cannot be applied" in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "where", ["", "  ", "nowhere == 1", "commodity", "grade", "1", "True", "name >", "name > 5", "'A'"]
)
def test_a_filter_that_says_nothing_about_the_rows_is_refused_with_the_columns(layer, where):
    with pytest.raises(InputError, match=r"cannot be applied .* columns name, lon, lat, commodity, grade.*for example"):
        layer(DEPOSITS, where=where)


def test_a_filter_that_leaves_nothing_is_refused(layer):
    with pytest.raises(InputError, match="where=\"commodity == 'Tin'\": no deposit is left; check the filter"):
        layer(DEPOSITS, where="commodity == 'Tin'")


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("commodity == 'Cu'", "where commodity is 'Copper', 'Gold', 'A0', 'A1', 'A2', 'A3', 'A4', 'A5' and 3 more"),
        ("commodity == 'Gold' and grade > 30", "commodity is 'Copper', 'Gold'"),
        ("grade > 30", "the file, where grade runs from 0.5 to 13"),
        ("`the kind` == 'vein'", "where the kind is 'skarn'"),
        ("empty == 3", "where empty is empty"),
    ],
)  # fmt: skip
def test_a_filter_that_leaves_nothing_is_told_what_there_is(layer, where, told):
    kinds = ["Copper"] * 3 + ["Gold"] * 2 + [f"A{i}" for i in range(9)]
    rows = [f"d{i},{110 + i / 100},22,{kind},{i or 0.5},skarn," for i, kind in enumerate(kinds)]
    with pytest.raises(InputError) as caught:
        layer("\n".join(["name,lon,lat,commodity,grade,the kind,empty", *rows]), where=where)
    assert told in str(caught.value)


def test_one_deposit_is_warned_of(layer):
    with pytest.warns(DataWarning, match="only one deposit; nothing can be validated on one") as caught:
        assert len(layer(DEPOSITS, where="name == 'A'")) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("content", "message"), [("", "has nothing in it"), ("name,lon,lat\n", "a header but no rows")]
)
def test_a_deposit_table_without_rows_is_refused(layer, content, message):
    with pytest.raises(InputError, match=message):
        layer(content)


def test_a_deposit_without_a_place_is_refused_with_its_row(layer):
    with pytest.raises(InputError, match=r"deposits without a place \(row 3\); remove them or give coordinates"):
        layer("name,lon,lat\nA,110,22\nB,,22\nC,111,22\n")


@pytest.mark.parametrize("place", [None, shapely.Point(), shapely.Polygon()])
def test_a_deposit_feature_without_a_place_is_refused_with_its_row(layer, place):
    with pytest.raises(InputError, match=r"deposits without a place \(row 2\)"):
        layer(point_layer().set_geometry([shapely.Point(110, 22), place], crs=4326))


def test_deposits_of_a_table_need_a_crs(tmp_path):
    (tmp_path / "d.csv").write_text(DEPOSITS, encoding="utf-8")
    with pytest.raises(CRSError, match="crs=None: a text table does not say"):
        gp.read_deposits(tmp_path / "d.csv")


def test_deposits_with_swapped_coordinates_are_refused(layer):
    with pytest.raises(CRSError, match=r"did you swap x and y.* pass x='lon', y='lat'$"):
        layer(DEPOSITS, x="lat", y="lon")


@pytest.mark.parametrize("name", ["d.gpkg", "d.geojson", "d.shp"])
def test_polygons_and_lines_give_a_point_inside(layer, caplog, name):
    horseshoe = shapely.Polygon([(0, 0), (9, 0), (9, 9), (8, 9), (8, 1), (1, 1), (1, 9), (0, 9)])
    frame = gpd.GeoDataFrame({"name": ["A", "B"]}, geometry=[horseshoe, shapely.box(20, 20, 30, 30)], crs=4326)
    with caplog.at_level(logging.INFO, "geoprospect"):
        deposits = layer(frame, name=name)
    assert (deposits.geom_type == "Point").all()
    assert frame.covers(deposits.geometry).all()
    assert deposits.geometry.name == "geometry"
    assert "stand as a point inside" in caplog.text


def test_the_parts_of_a_multipoint_are_deposits_with_ids_of_their_own(layer):
    frame = point_layer(id=[7, 8]).set_geometry([shapely.MultiPoint([(0, 0), (1, 1)]), shapely.Point(2, 2)], crs=4326)
    deposits = layer(frame)
    assert len(deposits) == 3
    assert deposits.id.is_unique


def test_ids_of_the_file_are_kept_where_they_are_unique(layer):
    assert layer("ID,lon,lat\n7,110,22\n9,111,22\n").id.tolist() == [7, 9]
    assert layer("objectid,lon,lat\n007,110,22\n009,111,22\n").id.tolist() == ["007", "009"]
    assert layer("id,lon,lat\n7,110,22\n7,111,22\n").id.tolist() == [1, 2]
    assert layer("id,lon,lat\n7,110,22\n,111,22\n").id.tolist() == [1, 2]


@pytest.mark.parametrize(
    "header", ["english_name,major_commodity", "Site_Name,COMMOD1", "NAME,Commodity", "deposit,commodities"]
)
def test_names_and_commodities_are_recognised_and_can_be_filtered(layer, header):
    deposits = layer(f"{header},lon,lat\nA,Copper,110,22\nB,Gold,111,22\nC,Gold,112,22\n", where="commodity == 'Gold'")
    assert deposits["name"].tolist() == ["B", "C"]
    assert deposits.commodity.tolist() == ["Gold", "Gold"]


def test_numbers_of_a_deposit_table_that_may_be_read_in_two_ways_stay_text(layer):
    deposits = layer('name,lon,lat,tonnes,road,ref\nA,110,22,"1,250",12 345,"1, 2"\nB,111,22,"3,400",Route 12 345,x\n')
    assert deposits.tonnes.tolist() == ["1,250", "3,400"]
    assert deposits.road.tolist() == ["12 345", "Route 12 345"]
    assert deposits.ref.tolist() == ["1, 2", "x"]


def test_a_deposit_layer_needs_no_name(layer):
    deposits = layer("lon,lat\n110,22\n111,22\n")
    assert deposits.id.tolist() == [1, 2]
    assert "commodity" not in deposits


def test_a_deposit_layer_of_another_crs_is_refused(layer):
    with pytest.raises(CRSError, match="the file says"):
        layer(point_layer(), crs=UTM)


def test_markup_in_deposit_names_is_escaped_in_a_notebook(layer):
    deposits = layer("name,lon,lat\n<script>alert(1)</script>,110,22\nB,111,22\n")
    assert "<script>" not in deposits._repr_html_()


def deposits_or_refusal(path, **settings):
    """Return deposits, or the refusal; anything else that is raised fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            return gp.read_deposits(path, crs=4326, **settings)
        except GeoprospectError as refusal:
            return refusal


@given(st.lists(scraps, max_size=40).map("".join))
@settings(max_examples=examples(50, 150))
def test_any_text_is_read_as_deposits_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "deposits_fuzz.csv"
    path.write_text(f"lon,lat,name\n110,22,A\n{text}", encoding="utf-8", newline="")
    answer = deposits_or_refusal(path)
    assert isinstance(answer, GeoprospectError) or answer.geometry[0] == shapely.Point(110, 22)


words = st.sampled_from("name == 'A' grade ( ) . str < @ __x__ [ ] ` and not 1".split())


@given(st.text(max_size=40) | st.lists(words, max_size=9).map(" ".join))
@settings(max_examples=examples(50, 150))
@example("name == 'A'")
def test_any_filter_is_applied_or_refused(tmp_path_factory, where):
    path = tmp_path_factory.getbasetemp() / "filter_fuzz.csv"
    path.write_text(DEPOSITS, encoding="utf-8")
    answer = deposits_or_refusal(path, where=where)
    assert "where=" in str(answer) if isinstance(answer, GeoprospectError) else 1 <= len(answer) <= 4


# -- real surveys ------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("name", ["samples_clean", "samples_original"])
def test_the_arabian_shield_is_read_whole(data_folder, name):
    samples = gp.read_samples(data_folder / "arabian_shield" / f"{name}.csv.gz", crs="EPSG:4326")
    assert samples.values.shape == (1243, 57)
    assert set(samples.units) == {"ppm", "ppb", "%"}
    assert dict(zip(samples.elements, samples.units, strict=True))["Au"] == "ppb"
    assert not np.isnan(samples.values).any()
    assert samples.summary().loc["Cu", "median"] == pytest.approx(14.669, abs=1e-3)
    west, south, east, north = samples.geometry.total_bounds
    assert (west, south, east, north) == pytest.approx((43.65318, 23.20816, 44.61542, 23.99224))


@pytest.mark.data
def test_the_arabian_shield_has_twenty_copper_occurrences(data_folder):
    path = data_folder / "arabian_shield" / "deposits.geojson"
    deposits = gp.read_deposits(path)
    assert len(deposits) == 47
    assert deposits.id.is_unique
    assert deposits["name"].notna().all()
    assert len(gp.read_deposits(path, where="commodity == 'Copper'")) == 20
    assert len(gp.read_deposits(path, where="commodity == 'Gold'")) == 16


@pytest.mark.data
def test_the_arabian_shield_lies_on_its_utm_grid(data_folder):
    samples = gp.read_samples(data_folder / "arabian_shield" / "samples_clean.csv.gz", crs="EPSG:4326")
    grid = gp.Grid.covering(samples, shape=(512, 512))
    assert grid.crs == CRS("EPSG:32638")
    assert grid.contains(*grid.points(samples.geometry)).all()


@pytest.mark.data
def test_meuse_is_read_by_the_names_of_its_metals(data_folder):
    samples = gp.read_samples(data_folder / "classics" / "sp_meuse.csv", crs="EPSG:28992", units="ppm")
    assert len(samples) == 155
    assert samples.elements == ("cadmium", "copper", "lead", "zinc")
    assert samples["zinc"].values.mean() == pytest.approx(469.716, abs=1e-3)


@pytest.mark.data
def test_kola_moss_is_read_with_its_gaps(data_folder):
    samples = gp.read_samples(data_folder / "classics" / "StatDA_moss.csv", crs="EPSG:32635", units="ppm")
    assert (len(samples), len(samples.elements)) == (594, 39)
    assert samples.summary().loc["Au", "missing"] > 0
    assert "Y" in samples.elements


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows", "elements"), [("samples_clean_roi", 5508, 55), ("samples_clean_ni", 5875, 37)]
)
def test_tellus_is_read_with_its_shared_places(data_folder, name, rows, elements):
    path = data_folder / "tellus_ireland" / f"{name}.csv.gz"
    with pytest.warns(DataWarning, match="share their place"):
        samples = gp.read_samples(path, x="x", y="y", crs="EPSG:29903")
    assert samples.values.shape == (rows, elements)


@pytest.mark.data
def test_tellus_originals_are_read_with_the_units_of_their_headers(data_folder):
    samples = gp.read_samples(data_folder / "tellus_ireland" / "GSI2013_original.csv.gz", crs="EPSG:29903")
    units = dict(zip(samples.elements, samples.units, strict=True))
    assert len(units) == 55
    assert (units["SiO2"], units["Cu"], units["Au"]) == ("%", "ppm", "ppb")


@pytest.mark.data
def test_finnish_till_has_both_its_coordinates(data_folder):
    path = data_folder / "finland_till" / "samples_clean.csv.gz"
    samples = gp.read_samples(path, x="x", y="y", crs="EPSG:3067", elements=["Y", "Cu"])
    assert samples.values.shape == (1112, 2)
    in_degrees = gp.read_samples(path, crs="EPSG:4326", elements=["Y", "Cu"])
    np.testing.assert_allclose(in_degrees.to_crs("EPSG:3067").points, samples.points, atol=1)


@pytest.mark.data
def test_jura_is_read_in_degrees_beside_its_local_kilometres(data_folder):
    samples = gp.read_samples(data_folder / "classics" / "gstat_jura.pred.csv", crs="EPSG:4326", units="ppm")
    assert samples.elements == ("Cd", "Co", "Cr", "Cu", "Ni", "Pb", "Zn")
    assert len(samples) == 259
    assert samples.points.mean(axis=0) == pytest.approx([6.85, 47.13], abs=0.02)


def test_degrees_are_refused_where_lengths_are_meant(table):
    with pytest.raises(CRSError, match=r"these are degrees and no lengths.*pass crs='EPSG:4326'"):
        table("lon,lat,Cu_ppm\n110.2,22.1,5\n110.4,22.3,6\n", crs=UTM)


def test_a_deposit_of_several_polygons_is_one_deposit(tmp_path):
    parts = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 9, 9)])
    path = tmp_path / "deposits.gpkg"
    gpd.GeoDataFrame({"id": [4, 9]}, geometry=[parts, shapely.box(2, 2, 3, 3)], crs="EPSG:4326").to_file(path)
    deposits = gp.read_deposits(path)
    assert deposits["id"].tolist() == [4, 9]
    assert parts.contains(deposits.geometry[0])


@pytest.mark.parametrize("header", ["clay_pct", "slope %", "Cu_ppm_sd", "Cu_ppm_err"])
def test_what_is_no_concentration_is_not_taken(table, header):
    assert table(f"lon,lat,Zn_ppm,{header}\n110,22,5,6\n").elements == ("Zn",)
