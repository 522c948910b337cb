"""Cells, flags, limits and codes of assay tables: read as the laboratory meant them, or refused."""

import ast
import logging
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from example_counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

import geoprospect as gp
from geoprospect.errors import DataWarning, GeoprospectError, InputError, NameNotFoundError
from geoprospect.geochem.assays import Reading, scan_column, standing_limits
from geoprospect.geochem.column_scan import raise_errors, scan_table
from geoprospect.geochem.headers import read_header
from geoprospect.geochem.table_options import TableArguments
from geoprospect.io.problems import joint_cure


@pytest.fixture
def read(tmp_path):
    """Return a function that writes columns as a table, each row in its own place, and reads it."""

    def write_and_read(columns, scan=False, **settings):
        path = write(tmp_path / "samples.csv", columns)
        settings = {"crs": 4326, **settings}
        return scan_table(path, TableArguments(**settings)) if scan else gp.read_samples(path, **settings)

    return write_and_read


def write(path, columns):
    """Write {header: cells} with coordinates before it; cells with a delimiter are quoted."""
    rows = ["lon,lat," + ",".join(columns)]
    for k, cells in enumerate(zip(*columns.values(), strict=True)):
        quoted = (f'"{cell}"' if "," in str(cell) else str(cell) for cell in cells)
        rows.append(f"{100 + k / 100},22," + ",".join(quoted))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def expect(samples, values, limits=None, censored=None, over_range=None, element=0):
    """Compare one column of samples with what it must be."""
    n = len(values)
    np.testing.assert_array_equal(samples.values[:, element], values)
    np.testing.assert_array_equal(samples.limits[:, element], [math.nan] * n if limits is None else limits)
    assert samples.censored[:, element].tolist() == (censored or [False] * n)
    assert samples.over_range[:, element].tolist() == (over_range or [False] * n)


def messages(samples_of):
    """Return samples and the warnings that came with them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = samples_of()
    return samples, [str(one.message) for one in caught]


# -- headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "element", "unit"),
    [
        ("w(Cu)/10-6", "Cu", "ppm"), ("ω(Au)/10⁻⁹", "Au", "ppb"), ("w(Fe2O3)/%", "Fe2O3", "%"),
        ("Hg(10-9)", "Hg", "ppb"), ("Ag/×10-9", "Ag", "ppb"),
        ("Cu（ppm）", "Cu", "ppm"), ("W(10-6)", "W", "ppm"), ("W(ppm)", "W", "ppm"),
        ("CUPPM", "Cu", "ppm"), ("Fe%", "Fe", "%"), ("ppm Cu", "Cu", "ppm"), ("% Fe", "Fe", "%"),
        ("ME-ICP61 Ag ppm", "Ag", "ppm"), ("Soil_Cu_ppm", "Cu", "ppm"), ("Organic C %", "C", "%"),
        ("Fe2O3TOT_pct", "Fe2O3tot", "%"), ("eU_ppm", "eU", "ppm"), ("EU_PPM", "Eu", "ppm"), ("Se_ppm", "Se", "ppm"),
    ],
)  # fmt: skip
def test_headers_of_real_surveys_are_assays(header, element, unit):
    said = read_header(header)
    assert (said.element, said.unit, said.assay) == (element, unit, True)


@pytest.mark.parametrize("form", ["{}_ppm", "{} (ppb)", "{}ppm", "w({})/10-6"])
def test_every_element_is_an_assay_in_every_spelling(form):
    symbols = (
        "Ag Al As Au B Ba Be Bi Br C Ca Cd Ce Cl Co Cr Cs Cu Dy Er Eu F Fe Ga Gd Ge Hf Hg Ho I In Ir K La Li Lu Mg Mn "
        "Mo N Na Nb Nd Ni Os P Pb Pd Pr Pt Rb Re Rh Ru S Sb Sc Se Si Sm Sn Sr Ta Tb Te Th Ti Tl Tm U V W Y Yb Zn Zr "
        "SiO2 Al2O3"
    ).split()
    for symbol in symbols:
        for header in {form.format(symbol), form.format(symbol.upper())}:
            assert (read_header(header).element, read_header(header).assay) == (symbol, True), header


@pytest.mark.parametrize(
    "header",
    ["log_Cu_ppm", "ln(Cu_ppm)", "Cu_ppm_log10", "Cu ± ppm", "Cu +/- ppm", "Cu_ppm_2SE", "Cu_ppm_stdev", "Clay%",
     "Slope S %", "SUMPCT", "Depth_10-6", "Top5_As", "wt%"],
)  # fmt: skip
def test_what_is_no_concentration_of_an_element_is_no_assay(header):
    assert not read_header(header).assay


def test_headers_that_name_an_element_but_are_not_taken_are_said(tmp_path, caplog):
    path = tmp_path / "s.csv"
    path.write_text("lon,lat,Cu_ppm,Top5_As,CU_511P,C_LabID,As_err\n110,22,5,6,7,8,9\n", encoding="utf-8")
    with caplog.at_level(logging.INFO, "geoprospect"):
        assert gp.read_samples(path, crs=4326).elements == ("Cu",)
    assert "though they name an element (elements= takes them): Top5_As, CU_511P\n" in caplog.text
    path.write_text("lon,lat,depth,A_Ag,A_Cu\n110,22,5,6,7\n", encoding="utf-8")
    with pytest.raises(NameNotFoundError, match=r"for example elements=\['A_Ag', 'A_Cu'\]"):
        gp.read_samples(path, crs=4326)
    assert gp.read_samples(path, crs=4326, elements=["A_Ag", "A_Cu"], units="ppm").values.tolist() == [[6, 7]]


# -- below detection and over range, in the cell ------------------------------------------------


@pytest.mark.parametrize("cell", ["<0.5", "< 0.5", "<=0.5", "≤0.5", "≤ 0.5", "<.5", "<5e-1"])
def test_below_a_limit(read, cell):
    expect(read({"Cu_ppm": ["7", cell]}), [7, 0.25], [math.nan, 0.5], [False, True])


@pytest.mark.parametrize("cell", [">1000", "> 1000", ">=1000", "≥1000", ">1e3"])
def test_over_range_keeps_the_limit_and_is_counted(read, caplog, cell):
    with caplog.at_level(logging.INFO, "geoprospect"):
        expect(read({"Cu_ppm": ["7", cell]}), [7, 1000], [math.nan, 1000], over_range=[False, True])
    assert "values above the upper limit: Cu_ppm 1" in caplog.text


WORDS = ["ND", "N.D.", "n.d.", "nd", "BDL", "b.d.l.", "b.d.", "<DL", "< LOD", "<MDL", "<lld", "below detection",
         "Not detected", "tr", "trace", "-", "--", "<0"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_words_mean_below_a_limit_that_another_cell_states(read, word):
    expect(read({"Cu_ppm": ["7", word, "<2"]}), [7, 1, 1], [math.nan, 2, 2], [False, True, True])


@pytest.mark.parametrize("word", [word for word in WORDS if word != "<0"])
def test_declared_words_are_missing_instead(read, word):
    expect(read({"Cu_ppm": ["7", word]}, missing=[word]), [7, math.nan])


def test_words_are_named_in_the_log_with_the_way_to_mean_something_else(read, caplog):
    with caplog.at_level(logging.INFO, "geoprospect"):
        read({"Cu_ppm": ["7", "-", "<2"]})
    assert "words that are read as below detection: Cu_ppm 1" in caplog.text


def test_na_is_missing_also_in_a_sodium_column(read):
    expect(read({"Na": ["NA", "3"]}, units="ppm"), [math.nan, 3])


# -- limits that the cell does not say ----------------------------------------------------------


def test_a_limit_that_nothing_says_is_the_smallest_measured_value_with_a_warning(read):
    samples, said = messages(lambda: read({"Cu_ppm": ["7", "ND", "3", "ND", ">9"]}))
    expect(samples, [7, 1.5, 3, 1.5, 9], [math.nan, 3, math.nan, 3, 9], [False, True, False, True, False],
           [False, False, False, False, True])  # fmt: skip
    assert len(said) == 1
    assert "column 'Cu_ppm': 2 values below a detection limit that the table does not say" in said[0]
    assert "limits={'Cu': 3}" in said[0]


def test_two_stated_limits_are_no_answer(read):
    with pytest.warns(DataWarning, match="the smallest measured value, 7, stands in"):
        samples = read({"Cu_ppm": ["7", "ND", "<2", "<3"]})
    assert samples.limits[1, 0] == 7


def test_where_nothing_is_measured_either_values_are_missing(read):
    with pytest.warns(DataWarning, match="nothing is measured either, so they are missing"):
        expect(read({"Cu_ppm": ["ND", "ND"]}), [math.nan] * 2)


@pytest.mark.parametrize("limits", [0.5, {"Cu": 0.5}, {"Cu_ppm": 0.5}])
def test_a_limit_can_be_given(read, limits):
    expect(read({"Cu_ppm": ["7", "ND", "<2"]}, limits=limits), [7, 0.25, 1], [math.nan, 0.5, 2], [False, True, True])


@pytest.mark.parametrize("header", ["Cu_ppm_dl", "Cu_dl", "Cu_lod", "Cu_mdl", "Cu_lld", "Cu DL (ppm)", "dl_Cu"])
def test_a_column_of_limits_gives_that_of_each_row(read, header):
    samples = read({"Cu_ppm": ["ND", "ND", "7"], header: ["0.5", "<2", "2"]})
    expect(samples, [0.25, 1, 7], [0.5, 2, math.nan], [True, True, False])
    assert samples.elements == ("Cu",)


def test_a_given_limit_is_stronger_than_a_column_and_that_than_other_cells(read):
    columns = {"Cu_ppm": ["ND", "<2", "ND", "7"], "Cu_dl": ["0.5", "", "", ""]}
    assert read(columns).limits[:3, 0].tolist() == [0.5, 2, 2]
    assert read(columns, limits={"Cu": 4}).limits[:3, 0].tolist() == [4, 2, 4]


def test_limits_in_another_unit_are_not_taken(read):
    with pytest.warns(DataWarning, match="does not say"):
        samples = read({"Cu_ppm": ["ND", "7"], "Cu_ppb_dl": ["500", "500"]})
    assert samples.limits[0, 0] == 7


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        ({"Pb": 1}, NameNotFoundError, "limits: there is no element 'Pb'; there are Cu"),
        ({"Cu": 0}, InputError, r"limits\['Cu'\]=0: needs a number, more than 0"),
        ("1", InputError, "limits='1': needs a number"),
    ],
)
def test_limits_that_are_none_are_refused(read, limits, error, message):
    with pytest.raises(error, match=message):
        read({"Cu_ppm": ["ND"]}, limits=limits)


@pytest.mark.parametrize(("below", "factor"), [("half", 0.5), ("sqrt2", 0.5**0.5), ("nan", math.nan)])
def test_what_stands_for_a_censored_value_is_chosen(read, below, factor):
    expect(read({"Cu_ppm": ["7", "<2"]}, below=below), [7, 2 * factor], [math.nan, 2], [False, True])


@pytest.mark.parametrize("below", ["ros", "lrem"])
def test_models_of_what_is_below_are_given_values_limits_and_names(read, monkeypatch, below):
    given = []

    def impute(values, limits, censored, method, *, elements):
        given.append((censored.tolist(), method, list(elements)))
        return np.where(censored, limits / 8, values)

    monkeypatch.setattr("geoprospect.geochem.samples.impute", impute)
    expect(read({"Cu_ppm": ["7", "<2", "ND"]}, below=below), [7, 0.25, 0.25], [math.nan, 2, 2], [False, True, True])
    assert given == [([[False], [True], [True]], below, ["Cu"])]


# -- flags --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Cu_bdl",
        "Cu_ppm_flag",
        "Cu_qual",
        "Cu qualifier",
        "CU_Q",
        "Cu.sign",
        "Cu_censored",
        "Cu_remark_code",
        "Cu_ppm_q",
    ],
)
@pytest.mark.parametrize("flag", ["<", "L", "N", "BDL", "ND", "U"])
def test_flags_say_which_values_are_below_the_limit_shown(read, header, flag):
    samples = read({"Cu_ppm": ["5", "7", "2"], header: ["", "=", flag], "Zn_ppm": [1, 2, 3]})
    expect(samples, [5, 7, 1], [math.nan, math.nan, 2], [False, False, True])
    expect(samples, [1, 2, 3], element=1)


@pytest.mark.parametrize("flag", [">", "G"])
def test_flags_say_which_values_are_over_range(read, flag):
    expect(read({"Cu_ppm": ["5", "700"], "Cu_qual": ["", flag]}), [5, 700], [math.nan, 700], over_range=[False, True])


@pytest.mark.parametrize("shown", ["0", "0.0", "", "-1"])
def test_a_flag_beside_no_positive_number_leaves_the_limit_unknown(read, shown):
    columns = {"Cu_ppm": ["5", shown], "Cu_flag": ["", "<"]}
    with pytest.warns(DataWarning, match="the smallest measured value, 5, stands in"):
        expect(read(columns), [5, 2.5], [math.nan, 5], [False, True])
    expect(read(columns, limits=2), [5, 1], [math.nan, 2], [False, True])


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("true", "False"), ("yes", "no"), ("Y", "N"), ("T", "F"), ("1", "")]
)
def test_flags_may_be_yes_and_no(read, yes, no):
    expect(read({"Cu_ppm": ["5", "2"], "Cu_bdl": [no, yes]}), [5, 1], [math.nan, 2], [False, True])


def test_a_lone_n_means_not_detected_and_beside_a_y_it_means_no(read):
    assert read({"Cu_ppm": ["5", "2"], "Cu_q": ["", "N"]}).censored[:, 0].tolist() == [False, True]
    assert read({"Cu_ppm": ["5", "2"], "Cu_q": ["Y", "N"]}).censored[:, 0].tolist() == [True, False]


def test_a_one_in_a_column_of_quality_is_not_a_flag_of_detection(read):
    with pytest.raises(InputError, match=r"column 'Cu_qc': '1' says neither below detection .* flags=False"):
        read({"Cu_ppm": ["5", "2"], "Cu_qc": ["", "1"]})


def test_unknown_flags_are_refused_and_both_cures_work(read):
    columns = {"Cu_ppm": ["5", "2", "3"], "Cu_q": ["", "H", "L"], "Zn_ppm": [1, 2, 3], "Zn_q": ["L", "", ""]}
    with pytest.raises(InputError, match=r"column 'Cu_q': 'H' says neither below detection .* \(row 3\)"):
        read(columns)
    assert not read(columns, flags=False).censored.any()
    assert read(columns, flags={"Zn": "Zn_q"}).censored.tolist() == [[False, True], [False, False], [False, False]]


def test_the_flags_that_are_followed_are_said(read, caplog):
    with caplog.at_level(logging.INFO, "geoprospect"):
        read({"Cu_ppm": ["5", "2"], "Cu_q": ["", "L"]})
    assert "columns of flags that are followed: Cu_q for Cu_ppm" in caplog.text


def test_flags_can_be_named_and_must_be_there(read):
    columns = {"Cu_ppm": ["5", "2"], "remarks of the laboratory": ["", "<"]}
    assert read(columns, flags={"Cu": "remarks of the laboratory"}).censored[:, 0].tolist() == [False, True]
    with pytest.raises(NameNotFoundError, match="flags: there is no column 'remark'"):
        read(columns, flags={"Cu": "remark"})
    with pytest.raises(NameNotFoundError, match="flags: there is no element 'Pb'"):
        read(columns, flags={"Pb": "remarks of the laboratory"})
    with pytest.raises(InputError, match="flags=True: needs a mapping"):
        read(columns, flags=True)


def test_signs_right_beside_an_assay_are_its_flags_whatever_their_header(read):
    columns = {"Zr_ppm_511": ["5", "2", "9"], "Zr_511P_T": ["", "<", "!"], "K_ppm_511P": ["1", "2", "3"]}
    expect(read(columns), [5, 1, 9], [math.nan, 2, math.nan], [False, True, False])


def test_letters_beside_an_assay_are_flags_only_where_the_header_says_so(read):
    assert not read({"Cu_ppm": ["5", "2"], "hemisphere": ["N", "N"]}).censored.any()
    assert read({"Cu_ppm": ["5", "2"], "Cu_usgs": ["", "N"]}).censored[:, 0].tolist() == [False, True]


def test_of_two_columns_of_an_element_only_the_whole_header_tells_whose_flags_they_are(read):
    columns = {
        "AS_AA": ["5", "2"],
        "AS_ICP40": ["6", "3"],
        "note": ["", ""],
        "AS_ICP40_Q": ["", "N"],
        "AS_Q": ["", "N"],
    }
    samples = read(columns, units="ppm")
    assert samples.censored.tolist() == [[False, False], [False, True]]


def test_a_flag_and_a_sign_in_the_cell_agree(read):
    columns = {"Cu_ppm": ["<2", ">9", "7"], "Cu_flag": ["<", ">", ""]}
    expect(read(columns), [1, 9, 7], [2, 9, math.nan], [True, False, False], [False, True, False])


# -- codes for 'no value' -----------------------------------------------------------------------

CODES = ["-9999", "-9999.0", "-9999.00", "-999", "-99999", "-999.99", "-1e30", "-1.7e308", "-3.4e38", "-2147483648",
         "-32768", "99999", "999999", "1e30", "1.70141e38"]  # fmt: skip


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("negative", ["raise", "below"])
def test_codes_are_refused_until_they_are_declared_however_they_are_written(read, code, negative):
    columns = {"Cu": ["5", code, "6"]}
    with pytest.raises(InputError, match=r"column 'Cu': .* once \(row 3\) looks like a code for 'no value'") as caught:
        read(columns, negative=negative)
    assert f"pass missing=[{float(code):.15g}]" in str(caught.value)
    expect(read(columns, negative=negative, missing=[float(code)]), [5, math.nan, 6])
    expect(read(columns, negative=negative, missing=code), [5, math.nan, 6])


def test_an_empty_list_says_that_there_are_no_codes(read):
    columns = {"Cu": ["5", "99999", "-999"]}
    expect(read(columns, missing=[], negative="below"), [5, 99999, 499.5], [math.nan, math.nan, 999],
           [False, False, True])  # fmt: skip


@pytest.mark.parametrize("code", [-99, -88, -77, -9])
def test_smaller_codes_are_told_from_limits_by_what_is_usual(read, code):
    low, high = ["3", "4", str(code)], ["300", "400", str(code)]
    with pytest.raises(InputError, match=rf"column 'Cu': {code} once .* looks like a code"):
        read({"Cu": low}, negative="below")
    assert read({"Cu": high}, negative="below").limits[2, 0] == -code
    # Who has declared codes has looked for them.
    assert read({"Cu": low}, negative="below", missing=[-9999]).limits[2, 0] == -code


def test_several_limits_in_one_column_are_natural(read):
    samples = read({"Cu_ppm": ["5", "-0.5", "-1", "-2"]}, negative="below")
    np.testing.assert_array_equal(samples.limits[:, 0], [math.nan, 0.5, 1, 2])


def test_negatives_that_are_missing_need_no_codes(read):
    expect(read({"Cu_ppm": ["5", "-9999", "-1"]}, negative="missing"), [5, math.nan, math.nan])


def test_one_error_of_readable_length_sums_up_a_wide_table(read):
    columns = {
        f"E{j}_ppm": ["-9999" if j < 118 else "3", "-0.5" if j < 80 else "4", "12", "n.s.s." if j == 7 else "5"]
        for j in range(120)
    }
    with pytest.raises(InputError) as caught:
        read(columns)
    message = str(caught.value)
    assert len(message) < 1200
    for part in (
        "'no value' in 118 columns (118 cells: E0_ppm, E1_ppm, E2_ppm and 115 more)",
        "negative concentrations in 80 columns (80 cells",
        "column 'E7_ppm': 'n.s.s.' is no number (row 5)",
        "read_samples(…, missing=[-9999, 'n.s.s.'], negative='below')",
    ):
        assert part in message
    samples = read(columns, missing=[-9999, "n.s.s."], negative="below")
    assert samples.censored.sum() == 80
    assert np.isnan(samples.values).sum() == 119


def test_what_is_declared_already_stays_in_the_call_to_type(read):
    columns = {"Cu": ["5", "-999", "-9999"], "Zn": ["5", "-999", "-9999"]}
    with pytest.raises(InputError, match=r"read_samples\(…, missing=\[-999, -9999\]\)"):
        read(columns, missing=[-999.0])


# -- zeros and what cannot be -------------------------------------------------------------------


def test_zeros_are_kept_and_counted_or_are_what_one_says(read, caplog):
    columns = {"Cu_ppm": ["5", "0", "0.0", "<2"]}
    with caplog.at_level(logging.INFO, "geoprospect"):
        expect(read(columns), [5, 0, 0, 1], [math.nan] * 3 + [2], [False, False, False, True])
    assert "zeros: Cu_ppm 2" in caplog.text
    expect(read(columns, zero="below"), [5, 1, 1, 1], [math.nan, 2, 2, 2], [False, True, True, True])
    expect(read(columns, zero="missing"), [5, math.nan, math.nan, 1], [math.nan] * 3 + [2], [False] * 3 + [True])
    with pytest.raises(InputError, match="zero='drop': needs one of"):
        read(columns, zero="drop")


@pytest.mark.parametrize(
    ("header", "cell"), [("Cu_ppm", "1200000"), ("Cu_ppb", "1.2e9"), ("Cu_pct", "106"), ("Cu_mg/kg", ">2e6")]
)
def test_more_than_all_of_a_sample_is_refused(read, header, cell):
    with pytest.raises(InputError, match=rf"column '{header}': 1 values above .* which is all there can be \(row 3\)"):
        read({header: ["5", cell]})


def test_the_unit_that_is_given_counts(read):
    columns = {"Cu": ["5", "300"]}
    assert read(columns).values.max() == 300
    with pytest.raises(InputError, match="above 100 %"):
        read(columns, units="%")


def test_percentages_may_be_rounded(read):
    assert messages(lambda: read({"SiO2_pct": ["5", "100.4"]}))[1] == []
    with pytest.warns(DataWarning, match="1 values above 100 %"):
        read({"SiO2_pct": ["5", "104"]})


def test_a_unit_that_seems_to_change_within_a_column_is_warned_of(read):
    with pytest.warns(
        DataWarning, match=r"the highest value, 500000, is 1e\+05 times the median; does the unit change"
    ):
        read({"Au_ppb": [*["4"] * 12, "500000"]})


# -- headers and rows of units ------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Al_XRF", "Ag_INAA", "Cu_AA", "Cu_ICP", "AU_FA", "F_IC", "As ICP-MS", "W_ICPAES2"])
def test_methods_behind_a_symbol_make_an_assay(header):
    assert read_header(header).assay


@pytest.mark.parametrize(
    "header", ["C_PAR", "pH", "V_min", "P_T", "As_is", "Date", "X.ASP", "NO3_IC", "Au_oz/t", "I_1"]
)
def test_other_words_behind_a_symbol_do_not(header):
    assert not read_header(header).assay


def test_two_methods_of_one_element_are_told_apart_and_the_bare_header_is_preferred(read):
    columns = {"Al": [1, 2], "Al_XRF": [3, 4], "CU": [5, 6]}
    assert read(columns, units="ppm").elements == ("Al", "Al_XRF", "Cu")
    assert read(columns, elements=["Al", "Cu"], units="ppm").values.tolist() == [[1, 5], [2, 6]]


@pytest.mark.parametrize("given", ["CU", "Cu"])
def test_an_element_is_found_as_it_is_written_and_as_it_is_spelled(read, given):
    samples = read({"CU": [5, 6], "ZN": [1, 2]}, elements=[given], units={given: "ppm"})
    assert (samples.elements, samples.units) == (("Cu",), ("ppm",))


def test_new_spellings_are_said(read, caplog):
    with caplog.at_level(logging.INFO, "geoprospect"):
        read({"CU": [5], "MGO": [1], "Zn": [2]})
    assert "elements are spelled as usual: CU is Cu, MGO is MgO" in caplog.text


def test_a_unit_that_is_not_read_is_said(read, caplog):
    with caplog.at_level(logging.INFO, "geoprospect"):
        assert read({"Au_oz/t": [1], "Cu_ppm": [2]}).elements == ("Cu",)
    assert "not taken, because their unit is not read (write them in ppm, ppb or %): Au_oz/t" in caplog.text
    assert read({"Au_oz/t": [1]}, elements=["Au"]).units == ("oz/t",)


def test_a_row_of_units_below_the_header_is_read_as_such(tmp_path, caplog):
    path = tmp_path / "s.csv"
    path.write_text("id,lon,lat,Cu,Zn_ppm,Au,note\n,deg,deg,ppm,ppm,ppb,\nA,110,22,5,6,7,x\n", encoding="utf-8")
    with caplog.at_level(logging.INFO, "geoprospect"):
        samples = gp.read_samples(path, crs=4326)
    assert dict(zip(samples.elements, samples.units, strict=True)) == {"Cu": "ppm", "Zn": "ppm", "Au": "ppb"}
    assert samples.values.tolist() == [[5, 6, 7]]
    assert "a row below the header is one of units" in caplog.text


def test_a_row_of_units_may_stand_below_one_of_methods(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("id,x,y,Cu,Au\nMETHOD,,,ME-ICP61,Au-AA23\nUNIT,m,m,ppm,ppb\nA,4e5,2e6,5,6\n", encoding="utf-8")
    samples = gp.read_samples(path, crs=32649)
    assert samples.units == ("ppm", "ppb")
    assert samples.values.tolist() == [[5, 6]]


def test_a_header_and_a_row_of_units_that_contradict_each_other_are_said(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("lon,lat,Fe_ppm,Cu\n,,%,ppm\n110,22,5,6\n", encoding="utf-8")
    with pytest.warns(DataWarning, match="column 'Fe_ppm': the header says ppm, the row of units %"):
        gp.read_samples(path, crs=4326)
    assert gp.read_samples(path, crs=4326, units={"Fe": "%"}).units == ("%", "ppm")


@pytest.mark.parametrize("row", [",deg,deg,0.5,0.5", ",deg,deg,x,ppm"])
def test_another_row_below_the_header_is_not_guessed(tmp_path, row):
    path = tmp_path / "s.csv"
    path.write_text(f"id,lon,lat,Cu,Zn\n{row}\nA,110,22,5,6\n", encoding="utf-8")
    with pytest.raises(InputError, match="is no number"):
        gp.read_samples(path, crs=4326)


# -- files and places ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["s.xlsx", "s.xls", "s.ods"])
def test_spreadsheets_are_refused_with_the_cure(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(InputError, match=r"is a spreadsheet; save the sheet as CSV"):
        gp.read_samples(tmp_path / name, crs=4326)


@pytest.mark.parametrize("first", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_spreadsheet_under_the_name_of_a_text_is_seen(tmp_path, first):
    (tmp_path / "s.csv").write_bytes(first + bytes(range(256)))
    with pytest.raises(InputError, match=r"is a spreadsheet; save the sheet as CSV"):
        gp.read_samples(tmp_path / "s.csv", crs=4326)


def test_a_text_larger_than_memory_should_hold_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "s.csv", {"Cu_ppm": range(50)})
    monkeypatch.setattr("geoprospect.io.tables._MOST_TEXT", 100)
    with pytest.raises(InputError, match="holds more than 1e-07 GB of text"):
        gp.read_samples(path, crs=4326)


def test_values_that_conflict_at_one_place_are_counted(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("x,y,Cu,Zn\n1,1,5,5\n1,1,5.5,\n2,2,5,1\n2,2,5,9\n3,3,1,1\n", encoding="utf-8")
    with pytest.warns(DataWarning, match="2 samples share their place .* at 1 of these 2 places values of an element"):
        gp.read_samples(path, crs=4326)


def test_a_survey_across_the_antimeridian_is_warned_of(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("lon,lat,Cu_ppm\n179.5,-17,5\n-179.5,-17,6\n", encoding="utf-8")
    with pytest.warns(DataWarning, match="longitudes run from -179.5 to 179.5, .* across the antimeridian"):
        gp.read_samples(path, crs=4326)


def test_samples_at_zero_far_from_the_survey_are_warned_of(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("lon,lat,Cu_ppm\n110,22,5\n0,0,6\n111,23,6\n", encoding="utf-8")
    with pytest.warns(DataWarning, match=r"1 samples lie at x = 0, y = 0, far from all others \(row 3\)"):
        gp.read_samples(path, crs=4326)
    path.write_text("lon,lat,Cu_ppm\n1,0,5\n0,0,6\n", encoding="utf-8")
    assert len(gp.read_samples(path, crs=4326)) == 2


def test_a_column_that_says_what_is_below_is_followed(read):
    expect(read({"Cu_ppm": ["5", "7"], "Cu_below": ["TRUE", "FALSE"]}), [2.5, 7], [5, math.nan], [True, False])


def test_letters_of_unknown_meaning_beside_flags_are_never_cured_by_ignoring_the_flags(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("lon,lat,Cu_ppm,Cu_ppm_Q\n110,22,5,L\n111,22,6,H\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"'H' says neither .*\(row 3\); write what they mean, or empty them"
    ) as caught:
        gp.read_samples(path, crs=4326)
    assert "flags=" not in str(caught.value)


def test_a_column_of_remarks_is_left_while_other_flags_are_followed(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("lon,lat,Cu_ppm,Cu_bdl,Zn_ppm,Zn_remark\n110,22,5,1,7,ok\n111,22,6,0,8,bad\n", encoding="utf-8")
    cure = joint_cure(scan_table(path, TableArguments(crs=4326)).all_problems)
    assert cure == {"flags": {"Cu_ppm": "Cu_bdl"}}
    assert gp.read_samples(path, crs=4326, **cure).censored.tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("blank", ["\u00a0", "\u2009", "\u3000", "\u200b", "\ufeff"])
def test_blanks_of_any_sort_around_a_number_are_none_of_it(read, blank):
    expect(read({"Cu_ppm": [f"12{blank}", f"{blank}<5", f"{blank}7"]}), [12, 2.5, 7], [math.nan, 5, math.nan],
           [False, True, False])  # fmt: skip


def test_several_words_are_declared_in_one_go(read):
    words = ["*", "?", "n/s", "I.S.", "#DIV/0!", "#REF!"]
    with pytest.raises(InputError) as caught:
        read({"Cu_ppm": [*words, "5"]})
    assert f"missing={words!r}" in str(caught.value)
    expect(read({"Cu_ppm": [*words, "5"]}, missing=words), [math.nan] * 6 + [5])


def test_degrees_and_minutes_are_refused_with_what_to_write(tmp_path):
    path = tmp_path / "s.csv"
    for lon in ('"110°12\'30""E"', "110.2W"):
        path.write_text(f"lon,lat,Cu_ppm\n{lon},22,5\n111,22,6\n", encoding="utf-8")
        with pytest.raises(InputError, match=r"\(row 2\); write decimal degrees, west and south negative"):
            gp.read_samples(path, crs=4326)


def test_a_declared_code_in_both_coordinates_is_no_place(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("lon,lat,Cu_ppm\n110,22,5\n-9999,-9999,6\n", encoding="utf-8")
    with pytest.warns(DataWarning, match="left out 1 rows without coordinates"):
        assert len(gp.read_samples(path, crs=4326, missing=[-9999])) == 1
    with pytest.raises(InputError, match=r"columns 'lon' and 'lat': -9999 in both \(row 3\) .*pass missing=\[-9999\]"):
        gp.read_samples(path, crs=4326)
    # At sea, or in metres, nothing else tells.
    path.write_text("x,y,Cu_ppm\n400000,2400000,5\n-9999,-9999,6\n", encoding="utf-8")
    with pytest.raises(InputError, match="'no place'"):
        gp.read_samples(path, crs=32649)


# -- the scan does not raise --------------------------------------------------------------------


def test_a_scan_finds_everything_at_once(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("a,b,Cu_ppm,Zn_ppm\n110,22,x,-9999\n111,22,inf,0\n112,22,>5,ND\n", encoding="utf-8")
    table = scan_table(path, TableArguments())
    kinds = {problem.kind for problem in table.all_problems}
    assert {"no-coordinates", "text", "infinite", "sentinel", "zero", "over-range", "unknown-limit"} <= kinds
    assert table.crs is None
    assert np.isnan(table.points).all()
    copper, zinc = table.columns
    np.testing.assert_array_equal(copper.values, [math.nan, math.nan, 5])
    assert copper.above.tolist() == [False, False, True]
    np.testing.assert_array_equal(zinc.values, [-9999, 0, math.nan])
    assert zinc.below.tolist() == [False, False, True]
    assert np.isnan(zinc.limits).all()
    with pytest.raises(NameNotFoundError, match="no coordinate columns"):
        raise_errors(table)


def test_a_scan_says_what_is_wrong_with_the_crs(read):
    table = read({"Cu_ppm": [1, 2]}, scan=True, crs=None)
    assert [problem.kind for problem in table.problems if problem.level == "error"] == ["no-crs"]
    table = read({"Cu_ppm": [1, 2]}, scan=True, x="lat", y="lon")
    assert [problem.kind for problem in table.problems if problem.level == "error"] == ["swapped"]


def test_a_scan_without_assays_has_no_columns(read):
    table = read({"depth": [1, 2]}, scan=True)
    assert table.columns == ()
    assert [problem.kind for problem in table.problems if problem.level == "error"] == ["no-elements"]


def test_a_cure_settles_its_problem(read):
    columns = {"Cu_ppm": ["5", "-9999", "x"], "Zn_ppm": ["-0.5", "7", "0"], "Zn_q": ["", "H", ""]}
    settled: dict = {}
    for problem in read(columns, scan=True).all_problems:
        settled |= {key: value for key, value in problem.cure.items() if problem.level == "error"}
    settled["missing"] = [-9999, "x"]
    assert not [p for p in read(columns, scan=True, **settled).all_problems if p.level == "error"]


def test_standing_limits_fill_in_only_where_none_is_known():
    column = scan_column(pd.Series(["ND", "<2", "<3", "7", ">9"]), "Cu", "Cu", "ppm", np.arange(5), Reading())
    np.testing.assert_array_equal(column.limits, [math.nan, 2, 3, math.nan, 9])
    np.testing.assert_array_equal(standing_limits(column), [7, 2, 3, math.nan, 9])


def test_a_list_in_quotes_does_not_tell_how_numbers_are_written(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text('lon,lat,Cu_ppm,pits\n110,22,"1,250","3,4"\n', encoding="utf-8")
    with pytest.raises(InputError, match="column 'Cu_ppm': is the comma in '1,250' a decimal one"):
        gp.read_samples(path, crs=4326)


# -- a grammar of cells -------------------------------------------------------------------------


def in_notation(number, notation):
    """Write a number as laboratories and spreadsheets do."""
    text = f"{number:.2f}"
    return {
        "plain": text,
        "short": f"{number:g}",
        "exponent": f"{number:.6e}",
        "comma": text.replace(".", ","),
        "german": f"{number:,.2f}".replace(",", " ").replace(".", ",").replace(" ", "."),
        "english": f"{number:,.2f}",
        "swiss": f"{number:,.2f}".replace(",", "'"),
        "blank": f"{number:,.2f}".replace(",", "\u00a0"),
    }[notation]


amounts = st.integers(1, 900_000).map(lambda n: n / 100)
marks = st.sampled_from(["", "", "", "<", "< ", ">", "≥ "])
empty = st.sampled_from(["", " ", "NA", "nan", "N/A", "null", "None", "-9999", "nss"])


def table_of(column, notation, tmp_path_factory, name):
    """Write cells drawn as (mark, number) or as text, and return what must be read."""
    rows, values, limits = [], [], []
    for k, cell in enumerate(column):
        if isinstance(cell, str):
            text, value, limit = cell, math.nan, math.nan
        else:
            mark, number = cell
            text = mark + in_notation(number, notation)
            number = float(
                in_notation(
                    number, "short" if notation == "short" else "exponent" if notation == "exponent" else "plain"
                )
            )
            limit = number if mark else math.nan
            value = number / 2 if "<" in mark else number
        rows.append(f"{100 + k};22;{text}")
        values.append(value)
        limits.append(limit)
    path = tmp_path_factory.getbasetemp() / name
    path.write_text("lon;lat;Cu\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path, np.array(values), np.array(limits)


@given(
    st.lists(st.tuples(marks, amounts) | empty, min_size=1, max_size=15),
    st.sampled_from(["plain", "short", "exponent", "comma", "german", "english", "swiss", "blank"]),
)
@example([("", 1250.0), ("<", 0.5)], "german")
def test_a_cell_in_any_notation_is_read_as_the_number_it_is(tmp_path_factory, column, notation):
    path, values, limits = table_of(column, notation, tmp_path_factory, "notations.csv")
    samples = gp.read_samples(path, crs="EPSG:4326", missing=[-9999, "nss"])
    np.testing.assert_array_equal(samples.values[:, 0], values)
    np.testing.assert_array_equal(samples.limits[:, 0], limits)
    np.testing.assert_array_equal(samples.censored | samples.over_range, ~np.isnan(samples.limits))


cells = st.one_of(
    amounts.map(str), amounts.map(lambda v: f"<{v}"), amounts.map(lambda v: f">{v}"), amounts.map(lambda v: f"-{v}"),
    st.sampled_from("ND - tr NA -9999 999999 0 inf x 1,250 1,5 1.250 < N L".split()), st.just(""),
)  # fmt: skip


def typed(call):
    """Return the arguments in the call that an error proposes."""
    return {one.arg: ast.literal_eval(one.value) for one in ast.parse(f"f({call}", mode="eval").body.keywords}


@given(st.lists(st.tuples(cells, cells, st.sampled_from(["", "<", "L", "G", "H", "1", "!"])), min_size=1, max_size=6))
@settings(max_examples=examples(50, 150))
def test_any_mixture_is_read_or_refused_and_the_call_that_is_proposed_helps(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "mixture.csv"
    lines = [f'{100 + k},22,"{a}","{b}",{flag}' for k, (a, b, flag) in enumerate(rows)]
    path.write_text("lon,lat,Cu_ppm,Zn_ppm,Zn_q\n" + "\n".join(lines) + "\n", encoding="utf-8")
    arguments: dict = {}
    proposals = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        while len(proposals) < 4:
            try:
                samples = gp.read_samples(path, crs=4326, **arguments)
            except GeoprospectError as refusal:
                before, _, call = str(refusal).rpartition("read_samples(…, ")
                if not before:  # one thing to settle, or nothing that an argument settles
                    return
                assert call not in proposals
                proposals.append(call)
                arguments |= typed(call)
                continue
            break
    assert np.isfinite(samples.limits[samples.censored | samples.over_range]).all()
    assert (samples.values[samples.over_range] == samples.limits[samples.over_range]).all()
    assert not (samples.values < 0).any()


# -- real surveys -------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("name", ["samples_clean", "samples_original"])
def test_finnish_till_is_read_with_its_flags(data_folder, name):
    path = data_folder / "finland_till" / f"{name}.csv.gz"
    coordinates = {"x": "x", "y": "y"} if name == "samples_clean" else {}
    with pytest.warns(DataWarning, match=r"does not say in 4 columns \(188 cells"):
        samples = gp.read_samples(path, crs="EPSG:3067", **coordinates)
    counts = samples.summary()
    assert samples.values.shape == (1112, 22)
    assert counts["censored"][["Zr", "Th", "K", "Co"]].tolist() == [166, 19, 2, 1]
    assert counts["zeros"][["Zr", "Th"]].tolist() == [16, 7]
    assert counts["censored"].sum() == 188
    limits = {"Zr": 0.2, "Th": 0.5, "K": 1, "Co": 0.5}
    given = gp.read_samples(path, crs="EPSG:3067", limits=limits, **coordinates)
    assert set(given["Zr"].limits[given["Zr"].censored]) == {0.2}
    assert not gp.read_samples(path, crs="EPSG:3067", flags=False, **coordinates).censored.any()


@pytest.mark.data
def test_kola_soils_are_read_with_the_methods_of_their_headers(data_folder):
    samples = gp.read_samples(data_folder / "classics" / "StatDA_chorizon.csv", crs="EPSG:32635", units="ppm")
    assert (len(samples), len(samples.elements)) == (605, 98)
    assert {"Al", "Al_XRF", "Al2O3", "Ce", "Ag_INAA", "F"} <= set(samples.elements)
    assert not {"pH", "EC", "ASP", "NO3_IC"} & set(samples.elements)


@pytest.mark.data
def test_the_zeros_of_the_marked_kola_horizon_can_be_below_detection(data_folder):
    path = data_folder / "classics" / "robCompositions_chorizonDL.csv"
    kept = gp.read_samples(path, crs="EPSG:32635", units="ppm").summary()["zeros"]
    assert kept.sum() == 42
    with pytest.warns(DataWarning, match=r"does not say in 8 columns \(42 cells"):
        below = gp.read_samples(path, crs="EPSG:32635", units="ppm", zero="below")
    np.testing.assert_array_equal(below.summary()["censored"], kept)
    assert (below.values > 0).all()


@pytest.mark.data
def test_the_capitals_of_northern_ireland_are_elements(data_folder):
    path = data_folder / "tellus_ireland" / "NI_set1_original.csv.gz"
    with pytest.warns(DataWarning, match="30 samples share their place .* at 27 of these 30 places"):
        samples = gp.read_samples(path, crs="EPSG:29903", units={"FE2O3": "%", "CU": "ppm"})
    units = dict(zip(samples.elements, samples.units, strict=True))
    assert units["Fe2O3"] == "%"
    assert units["Cu"] == "ppm"
    assert samples.summary()["zeros"][["Cu", "As"]].tolist() == [7, 7]
