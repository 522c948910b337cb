"""One TOML file, one schema."""

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import geoprospect as gp
from geoprospect import config as schema
from geoprospect.errors import InputError, MissingFileError
from geoprospect.geochem.table_options import TableArguments, TableOptions
from geoprospect.gridding.methods import METHODS, InterpolationSettings
from geoprospect.models.recipe import RECIPES
from geoprospect.prediction.settings import PredictionSettings
from geoprospect.screening.settings import ScreenSettings
from geoprospect.windows.settings import WindowSettings

FIELDS = schema.Config.model_fields.values()
SECTIONS = [section for field in FIELDS if (section := schema.section_of(field.annotation))]
LEAST = '[samples]\npath = "samples.csv"\n[deposits]\npath = "deposits.geojson"\n'


@pytest.fixture
def load(tmp_path):
    def write_and_load(text):
        path = tmp_path / "survey.toml"
        path.write_text(text, encoding="utf-8")
        return gp.load_config(path)

    return write_and_load


def test_two_paths_are_enough(load, tmp_path):
    config = load(LEAST)
    assert config.samples.path == str(tmp_path / "samples.csv")
    assert config.deposits.path == str(tmp_path / "deposits.geojson")
    assert config.training.arguments()["network"] == "resnet50"


def test_an_absolute_path_stays(load, tmp_path):
    assert load(LEAST.replace("samples.csv", "/data/s.csv")).samples.path == "/data/s.csv"


def test_environment_variables_in_paths_are_filled_in(load, monkeypatch):
    monkeypatch.setenv("SURVEYS", "/surveys")
    assert load(LEAST.replace("samples.csv", "$SURVEYS/s.csv")).samples.path == "/surveys/s.csv"
    assert load(LEAST.replace("samples.csv", "${SURVEYS}/s.csv")).samples.path == "/surveys/s.csv"


def test_a_variable_that_is_not_set_is_named_with_the_cure(load, monkeypatch):
    monkeypatch.delenv("SURVEYS", raising=False)
    with pytest.raises(InputError, match=r"the environment variable SURVEYS is not set; set it, for example export"):
        load(LEAST.replace("samples.csv", "$SURVEYS/s.csv"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[training]\nepoch = 3", "training.epoch is no key of this section; did you mean 'epochs'?"),
        ("[trainig]\nepochs = 3", "trainig is no key of this section; did you mean 'training'?"),
        ("[grid]\nzzz = 1", "grid.zzz is no key of this section; there are shape, resolution, crs, pad"),
        ("[[bands]]\npath = 'a.tif'\nnam = 'a'", "bands.0.nam is no key of this section; did you mean 'name'?"),
        ("[windows]\nsize = 0", "windows.size = 0: input should be greater than or equal to 1"),
        ("[training]\nepochs = 0", "training.epochs=0: needs a whole number of at least 1"),
        ("[training]\nprior = 0.1\nlabel_smoothing = 0.1", "training.prior=0.1: the positive-unlabelled loss has"),
        ("[training]\nnetwork = 'vgg'", "training.network = 'vgg': input should be 'resnet50'"),
        ("[windows]\nsize = 2.5", "windows.size = 2.5:"),
    ],
)
def test_what_is_wrong_is_named_and_the_right_key_suggested(load, more, message):
    with pytest.raises(InputError) as caught:
        load(f"{LEAST}{more}\n")
    assert f"survey.toml: {message}" in str(caught.value)


VALIDATED = [
    gp.Config.model_validate,
    lambda given: gp.Config.model_validate_json(json.dumps(given)),
    gp.Config.model_validate_strings,
]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"windows": {"siz": 3}}, "^windows.siz is no key of this section; did you mean 'size'\\?$"),
        ({"window": {"size": 3}}, "^window is no key of this section; did you mean 'windows'"),
        ({"deposits": {}}, "^deposits.path is missing$"),
        ({"training": {"epochs": 0}}, "^training.epochs=0: needs a whole number of at least 1$"),
        ({"self": 3}, "^self is no key of this section"),
    ],
    ids=str,
)
def test_a_configuration_made_in_python_is_refused_as_a_file_is(sections, message):
    least = {"samples": {"path": "s.csv"}, "deposits": {"path": "d.gpkg"}}
    for make in (lambda given: gp.Config(**given), *VALIDATED):
        with pytest.raises(InputError, match=message):
            make(least | sections)
        with pytest.raises(InputError, match=r"^samples is missing\ndeposits is missing$"):
            make({})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gp.Config.model_validate(3), "^obj=3: needs a mapping of sections, such as {'samples'"),
        (lambda: gp.Config.model_validate(None), "^obj=None: needs a mapping"),
        (lambda: gp.Config.model_validate({1: {}}), "^obj: has the key 1; sections have names"),
        (lambda: gp.Config.model_validate_strings(["samples"]), r"^obj=\['samples'\]: needs a mapping"),
        (lambda: gp.Config.model_validate_json("[3]"), r"^json_data=\[3\]: needs a mapping"),
        (lambda: gp.Config.model_validate_json("{"), "^json_data: is no valid JSON .EOF while parsing"),
    ],
)
def test_what_is_no_configuration_at_all_is_refused(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "pydantic" not in str(caught.value)


def test_a_configuration_can_be_validated_from_what_was_written():
    config = gp.Config(samples={"path": "s.csv"}, deposits={"path": "d.gpkg"}, windows={"size": 32, "zooms": (1, 2)})
    assert gp.Config.model_validate(config) is config
    assert gp.Config.model_validate(config.model_dump()) == config
    assert gp.Config.model_validate_json(config.model_dump_json()) == config
    assert (
        gp.Config.model_validate_strings({"samples": {"path": "s"}, "deposits": {"path": "d"}, "seed": "3"}).seed == 3
    )


def test_every_fault_is_reported_at_once(load):
    with pytest.raises(InputError) as caught:
        load(LEAST + "[training]\nbatch = 1\n[windows]\nsiz = 3\ncrop = 0\n")
    assert len(str(caught.value).splitlines()) == 3


def test_limits_and_flags_are_one_for_all_or_a_table(load):
    one = load(LEAST.replace("[deposits]", "limits = 0.5\nflags = false\nmissing = []\n[deposits]")).samples
    assert (one.limits, one.flags, one.missing) == (0.5, False, ())
    each = load(LEAST.replace("[deposits]", "limits = { Au = 0.5 }\nflags = { Cu = 'Cu_q' }\n[deposits]")).samples
    assert (each.limits, each.flags) == ({"Au": 0.5}, {"Cu": "Cu_q"})


def test_a_missing_section_a_duplicate_key_and_broken_toml_are_errors(load):
    with pytest.raises(InputError, match="deposits is missing"):
        load('[samples]\npath = "s.csv"\n')
    with pytest.raises(InputError, match="no valid TOML"):
        load(LEAST + "[grid]\npad = 1\npad = 2\n")
    with pytest.raises(InputError, match="no valid TOML"):
        load("samples = [")


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        gp.load_config(tmp_path / "none.toml")


def test_the_shipped_example_is_valid(monkeypatch):
    monkeypatch.setenv("GEOPROSPECT_DATA", "/data")
    config = gp.load_config(Path(__file__).parents[1] / "examples" / "arabian_shield.toml")
    assert config.samples.path == "/data/arabian_shield/samples_clean.csv.gz"


@pytest.mark.parametrize(
    ("section", "function", "settings"),
    [
        (schema.SamplesSection, gp.read_samples, TableOptions),
        (schema.DepositsSection, gp.read_deposits, None),
        (schema.GridSection, gp.Grid.covering, None),
        (schema.InterpolationSection, gp.interpolate, InterpolationSettings),
        (schema.BandsSection, gp.read_bands, None),
        (schema.ScreeningSection, gp.screen, ScreenSettings),
        (schema.WindowsSection, gp.sample_windows, WindowSettings),
        (schema.TrainingSection, gp.train, gp.Recipe),
        (schema.ValidationSection, gp.cross_validate, gp.Folds),
        (schema.PredictionSection, gp.predict, PredictionSettings),
        (schema.TargetsSection, gp.delineate, None),
    ],
)
def test_keys_and_defaults_of_a_section_are_those_of_its_function(section, function, settings):
    defaults = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    if settings is not None:  # which are given as keywords
        left_out = settings is gp.Recipe
        defaults |= {field.name: None if left_out else field.default for field in dataclasses.fields(settings)}
    for name, field in schema.fields_of(section).items():
        if name == "cells" or (section is schema.BandsSection and name in ("path", "name")):
            continue  # arguments of another function, or made of both
        assert name in defaults
        if not field.is_required():
            assert field.default == defaults[name]


def test_the_keys_of_an_interpolation_are_its_settings():
    section = schema.fields_of(schema.InterpolationSection)
    assert get_args(section["method"].annotation) == tuple(METHODS)
    known = {field.name: field.default for field in dataclasses.fields(InterpolationSettings)}
    assert {name: field.default for name, field in section.items() if name != "method"} == known


def test_only_changed_interpolation_settings_are_passed_on():
    assert schema.InterpolationSection(method="linear").arguments() == {"method": "linear"}
    assert schema.InterpolationSection(k="all", radius=500).arguments() == {"method": "idw", "k": None, "radius": 500.0}


def test_the_settings_of_a_training_are_those_of_a_recipe_and_left_to_it():
    names = [field.name for field in dataclasses.fields(gp.Recipe)]
    section = schema.fields_of(schema.TrainingSection)
    assert set(names) <= set(section)
    assert all(section[name].default is None for name in names)
    assert get_args(section["recipe"].annotation) == tuple(RECIPES)
    assert schema.TrainingSection(epochs=3, network="resnet18").arguments() == {
        "network": "resnet18", "recipe": "default", "n_models": 1, "epochs": 3
    }  # fmt: skip


def test_the_settings_of_a_table_are_fields_of_its_section():
    names = [field.name for field in dataclasses.fields(TableArguments)]
    section = schema.fields_of(schema.SamplesSection)
    assert set(section) == {"path", *names}
    assert all(section[name].default == getattr(TableArguments, name) for name in names)


def test_a_wrong_value_of_a_table_option_is_explained(load):
    with pytest.raises(InputError, match=r"samples.below = 'hal': input should be 'half', 'sqrt2'"):
        load(LEAST.replace("[deposits]", "below = 'hal'\n[deposits]"))
    with pytest.raises(InputError, match=r"samples.limits\['Au'\]=0(\.0)?: needs a number, more than 0"):
        load(LEAST.replace("[deposits]", "limits = { Au = 0 }\n[deposits]"))


def test_all_is_the_none_of_a_file(load):
    assert load(LEAST + "[interpolation]\nk = 'all'\n").interpolation.k is None
    assert load(LEAST).interpolation.k == 12
    with pytest.raises(InputError, match=r"interpolation.k = 'al': input should be"):
        load(LEAST + "[interpolation]\nk = 'al'\n")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_of_a_section_is_described(section):
    assert schema.descriptions_of(section).keys() == schema.fields_of(section).keys()


def test_the_configuration_loads_nothing_heavy():
    code = "import sys, geoprospect.config; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"torch", "sklearn", "numba", "rasterio", "pandas", "geopandas", "xarray", "scipy", "matplotlib"}
    assert not {name.split(".")[0] for name in loaded} & heavy


def test_the_lines_in_the_readme_are_a_valid_configuration(load):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    config = load(readme.split("```toml\n")[1].split("```")[0])
    assert config.windows.size == 32
    assert config.samples.missing == (-9999,)


def test_too_few_folds_are_refused_under_the_name_of_the_key():
    with pytest.raises(InputError, match=r"^validation\.folds = 1: "):
        gp.Config(samples={"path": "a.csv"}, deposits={"path": "b.gpkg"}, validation={"folds": 1})
