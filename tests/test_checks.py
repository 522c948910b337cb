"""Each check returns the normalised value, or raises with argument, value, rule and cure."""

import dataclasses
import math
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from geoprospect import _checks
from geoprospect.errors import CRSError, InputError, MissingFileError, NameNotFoundError, OutputError

NOT_NUMBERS = [math.nan, math.inf, -math.inf, np.nan, np.float32("inf"), True, False, np.True_, "3", "", None, [3], 3j]


@pytest.mark.parametrize("value", [1, 2, 2.0, np.int8(7), np.uint64(7), np.float32(3), 10**400])
def test_whole_numbers_pass_and_become_int(value):
    checked = _checks.check_int("size", value)
    assert type(checked) is int
    assert checked == value


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 2.5, 0, -1, np.float64(0.5), np.array([1, 2])])
def test_anything_but_a_whole_number_from_the_minimum_is_refused(value):
    with pytest.raises(InputError, match=r"^size=.*: needs a whole number of at least 1$") as caught:
        _checks.check_int("size", value)
    assert repr(value) in str(caught.value)


def test_the_minimum_itself_passes():
    assert _checks.check_int("rng", 0, minimum=0) == 0
    with pytest.raises(InputError, match="k=4: needs a whole number of at least 5"):
        _checks.check_int("k", 4, minimum=5)


@given(st.integers(-(10**30), 10**30))
def test_every_integer_passes_its_own_minimum_and_no_greater_one(value):
    assert _checks.check_int("n", value, minimum=value) == value
    with pytest.raises(InputError):
        _checks.check_int("n", value, minimum=value + 1)


@pytest.mark.parametrize("value", [0, -1, 2.5, np.float32(0.5), np.int16(-3), 1.7e308])
def test_finite_numbers_pass_and_become_float(value):
    checked = _checks.check_number("power", value)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 10**400, np.array([1.0])])
def test_anything_but_a_finite_number_is_refused(value):
    with pytest.raises(InputError, match=r"^power=.*: needs a number, finite$"):
        _checks.check_number("power", value)


@pytest.mark.parametrize(
    ("limits", "good", "bad", "rule"),
    [
        ({"minimum": 0}, 0, -1e-9, "at least 0"),
        ({"minimum": 0, "maximum": 1}, 1, 1.0000001, "at least 0 and at most 1"),
        ({"above": 0}, 1e-300, 0, "more than 0"),
        ({"above": 0, "maximum": 1}, 1, 0, "more than 0 and at most 1"),
    ],
)
def test_the_limits_of_a_number_are_kept_and_said(limits, good, bad, rule):
    assert _checks.check_number("p", good, **limits) == good
    with pytest.raises(InputError) as caught:
        _checks.check_number("p", bad, **limits)
    assert str(caught.value) == f"p={bad!r}: needs a number, {rule}"


def test_a_choice_is_one_of_the_options():
    assert _checks.check_choice("below", "half", ("half", "nan")) == "half"


@pytest.mark.parametrize("value", ["", "HALF", None, 1, ["half"], np.array(["half", "nan"]), {"half": 1}])
@pytest.mark.parametrize("options", [("half", "nan"), {"half", "nan"}, {"half": 1, "nan": 2}])
def test_any_other_choice_is_refused_with_the_options(value, options):
    with pytest.raises(InputError, match=r"below=.*: needs one of '(half|nan)', '(half|nan)'"):
        _checks.check_choice("below", value, options)


def test_a_slip_in_a_choice_is_answered_with_the_nearest_option():
    with pytest.raises(InputError, match=r"did you mean 'resnet50'\?$"):
        _checks.check_choice("network", "ResNet-50", ("resnet50", "mobilenet_v2"))


def test_names_come_back_as_a_list_in_the_order_asked_for():
    assert _checks.check_names("elements", ("Zn", "Cu"), ("Cu", "Zn")) == ["Zn", "Cu"]
    assert _checks.check_names("elements", "Cu", ("Cu", "Zn")) == ["Cu"]


def test_an_absent_name_is_refused_with_those_present():
    with pytest.raises(NameNotFoundError) as caught:
        _checks.check_names("elements", ["Cu", "Zinc_pp"], ["Cu", "Zinc_ppm"], "column")
    assert str(caught.value) == (
        "elements: there is no column 'Zinc_pp'; there are Cu, Zinc_ppm; did you mean 'Zinc_ppm'?"
    )


def test_names_that_are_no_text_are_refused_too():
    with pytest.raises(NameNotFoundError, match="there is no band 5; there are Cu"):
        _checks.check_names("bands", [5], ["Cu"])


@pytest.mark.parametrize("value", [7, np.int64(7), (7, 7), [7.0, 7], np.array([7, 7])])
def test_a_shape_is_two_whole_numbers_or_one_for_both(value):
    assert _checks.check_shape("shape", value) == (7, 7)


@pytest.mark.parametrize(
    "value", [None, 7.5, (7,), (7, 7, 7), "ab", (7, 0), (7, -1), (7, math.nan), True, (True, 7), {}]
)
def test_any_other_shape_is_refused(value):
    with pytest.raises(InputError, match=r"^shape.*: needs (two whole numbers|a whole number of at least 1)"):
        _checks.check_shape("shape", value)


def test_a_shape_with_one_bad_side_says_which():
    with pytest.raises(InputError, match=r"^shape\[1\]=0: "):
        _checks.check_shape("shape", (7, 0))


@pytest.mark.parametrize("value", ["EPSG:4326", 4326, np.int64(4326), CRS(4326), CRS(4326).to_wkt(), "OGC:CRS84"])
def test_what_pyproj_understands_is_a_crs(value):
    checked = _checks.check_crs("crs", value)
    assert isinstance(checked, CRS)
    assert checked.is_geographic


def test_a_missing_crs_is_never_guessed():
    with pytest.raises(
        CRSError, match=r"crs=None: a CRS is needed and never guessed; pass for example crs='EPSG:4326'"
    ):
        _checks.check_crs("crs", None)


@pytest.mark.parametrize("value", ["", "EPSG:0", "WGS", 0, -1, True, math.nan, 4326.0, [], {}, object(), b"EPSG:4326"])
def test_an_unknown_crs_is_refused(value):
    with pytest.raises(CRSError, match=r"crs=.*: not a known CRS; pass for example crs='EPSG:4326'"):
        _checks.check_crs("crs", value)


def test_a_generator_passes_through_and_a_seed_makes_one():
    generator = np.random.default_rng(0)
    assert _checks.check_rng(generator) is generator
    assert _checks.check_rng(7).random() == np.random.default_rng(7).random()
    assert _checks.check_rng(np.int64(7)).random() == np.random.default_rng(7).random()


def test_without_a_seed_two_generators_differ():
    assert _checks.check_rng(None).random() != _checks.check_rng(None).random()


@pytest.mark.parametrize("value", [-1, 1.5, "7", True, math.nan, np.random.RandomState(0)])
def test_any_other_seed_is_refused(value):
    with pytest.raises(InputError, match=r"^rng=.*: needs a whole number of at least 0"):
        _checks.check_rng(value)


def test_an_existing_file_comes_back_as_a_path(tmp_path):
    file = tmp_path / "a b – ü.csv"
    file.touch()
    assert _checks.check_input_file("path", file) == file
    assert _checks.check_input_file("path", str(file)) == file


def test_a_missing_file_is_refused_with_its_nearest_neighbour(tmp_path):
    (tmp_path / "samples.csv").touch()
    with pytest.raises(MissingFileError, match=r"there is no such file; did you mean 'samples\.csv'\?"):
        _checks.check_input_file("path", tmp_path / "sample.csv")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nor a folder '.*nowhere'"):
        _checks.check_input_file("path", tmp_path / "nowhere" / "a.csv")


@pytest.mark.parametrize("name", ["x" * 300, "nul\0.csv"])
def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path, name):
    with pytest.raises(MissingFileError, match="there is no such file"):
        _checks.check_input_file("path", tmp_path / name)


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        _checks.check_input_file("path", tmp_path)


@pytest.mark.parametrize(
    "value", ["https://a.org/b.csv", "s3://b/c.tif", "/vsicurl/https://a.org/b.tif", "/vsizip/a.zip"]
)
def test_an_address_is_not_a_local_file(value):
    with pytest.raises(InputError, match=r"path='.*': needs a local file; download it first"):
        _checks.check_input_file("path", value)


@pytest.mark.parametrize("value", [None, 5, b"a.csv", ["a.csv"]])
def test_what_is_no_path_is_refused(value):
    with pytest.raises(InputError, match=r"^path=.*: needs the path of a file"):
        _checks.check_input_file("path", value)


def test_an_output_file_needs_a_folder_and_a_known_suffix(tmp_path):
    assert _checks.check_output_file("path", str(tmp_path / "a.TIF"), [".tif"]) == tmp_path / "a.TIF"
    with pytest.raises(InputError, match=r"path='.*a\.png': needs a name that ends in \.tif or \.tiff"):
        _checks.check_output_file("path", tmp_path / "a.png", [".tif", ".tiff"])
    with pytest.raises(OutputError, match=r"the folder '.*nowhere' does not exist; make it first"):
        _checks.check_output_file("path", tmp_path / "nowhere" / "a.tif", [".tif"])


def test_an_output_file_is_not_a_folder(tmp_path):
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(OutputError, match="is a folder, needs a file"):
        _checks.check_output_file("path", tmp_path / "a.tif", [".tif"])


def test_a_read_only_folder_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(_checks.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot be written to"):
        _checks.check_output_file("path", Path(tmp_path) / "a.tif", [".tif"])


def test_did_you_mean_ignores_case_and_stays_silent_when_nothing_is_near():
    assert _checks.did_you_mean("cu_PPM", ["Cu_ppm", "Zn_ppm"]) == "; did you mean 'Cu_ppm'?"
    assert _checks.did_you_mean("gold", ["Cu_ppm", "Zn_ppm"]) == ""
    assert _checks.did_you_mean("gold", []) == ""


def test_many_rows_are_told_by_the_first_few():
    assert _checks.first_rows(range(1, 4)) == "1, 2, 3"
    assert _checks.first_rows(np.arange(1, 8)) == "1, 2, 3, 4, 5 and 2 more"
    assert _checks.first_rows([]) == ""


def test_arguments_of_a_function_pass_as_a_dict():
    given = MappingProxyType({"a": 1, "b": 2})
    assert _checks.check_arguments("how", given, lambda x, a, b: None, ("x",), "{'a': 1}") == {"a": 1, "b": 2}
    assert _checks.check_arguments("how", {}, lambda x: None, ("x",), "{}") == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"alpa": 3},
            r"^how=\{'alpa': 3\}: fit has no argument 'alpa'; did you mean 'alpha'\?; there are alpha, beta$",
        ),
        ({"survey": 3}, r"^how=\{'survey': …\}: survey of fit is not set here; leave it out$"),
        ([1], r"^how=\[1\]: needs a mapping of arguments of fit, such as \{'alpha': 1\}$"),
    ],
    ids=str,
)
def test_what_is_no_argument_of_a_function_is_refused_with_the_nearest(given, message):
    def fit(survey, alpha, beta):
        raise AssertionError

    with pytest.raises(InputError, match=message):
        _checks.check_arguments("how", given, fit, ("survey",), "{'alpha': 1}")


def test_a_value_is_shown_on_one_line():
    assert _checks.shown("ab") == "'ab'"
    assert _checks.shown(np.ones((3, 1)), 20) == "array([[1.], [1.], …"
    assert len(_checks.shown("a" * 500)) == 60


@pytest.mark.parametrize(
    ("file", "module", "within"),
    [
        (_checks.__file__, "geoprospect._checks", True),
        ("<string>", "geoprospect.geochem.samples", True),  # what dataclasses generate
        ("<string>", "__main__", False),  # python -c
        (dataclasses.__file__, "dataclasses", True),  # replace
        (__file__, "test_checks", False),
        ("<doctest geoprospect.geochem.samples[0]>", "geoprospect.geochem.samples", False),
    ],
)
def test_lines_of_the_library_are_told_from_those_of_the_user(file, module, within):
    assert _checks._is_within(file, module) is within


def test_a_level_is_that_of_the_first_line_outside_of_the_library():
    assert _checks.user_level() == 1
