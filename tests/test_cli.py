"""The command line: thin over the verbs, with messages and exit codes."""

import ast
import logging
import os
import signal
import subprocess
import sys
import time
import warnings

import geopandas as gpd
import pandas as pd
import pytest
import rasterio
from click.testing import CliRunner

import geoprospect as gp
from geoprospect.cli import cli, main
from geoprospect.errors import InputError


def call(*arguments, cwd=None, env=None):
    command = [sys.executable, "-c", "from geoprospect.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **(env or {})})


@pytest.fixture(autouse=True)
def keep_global_state():
    """The command sets up logging and warnings for its process; tests share theirs."""
    log, show = logging.getLogger("geoprospect"), warnings.showwarning
    handlers, level = log.handlers, log.level
    yield
    log.handlers, warnings.showwarning = handlers, show
    log.setLevel(level)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    area = gp.synthetic.make_survey(shape=(96, 96), n_samples=600, rng=3)
    frame = pd.DataFrame(area.samples.values[:, :4], columns=[f"{e}_ppm" for e in area.samples.elements[:4]])
    frame.insert(0, "x", area.samples.points[:, 0])
    frame.insert(1, "y", area.samples.points[:, 1])
    frame.to_csv(folder / "samples.csv", index=False)
    area.deposits.to_file(folder / "deposits.gpkg")
    return folder


def test_the_single_steps_lead_from_a_table_to_targets(tables, tmp_path):
    survey, deposits = tmp_path / "survey.tif", tables / "deposits.gpkg"
    steps = [
        ("grid", tables / "samples.csv", "--crs", "EPSG:32649", "--resolution", 430, "--out", survey),
        ("screen", survey, deposits, "--out", tmp_path / "ranking.csv"),
        ("train", survey, deposits, "--bands", "Cu, Zn", "--size", 16, "--crop", 14, "--n-ore", 60, "--n-barren", 60,
         "--network", "shufflenet_v2_x1_0", "--epochs", 1, "--folds", 2, "--out", tmp_path / "model"),
        ("predict", tmp_path / "model", survey, "--stride", 8, "--out", tmp_path / "map.tif"),
        ("targets", tmp_path / "map.tif", "--threshold", 0.1, "--deposits", deposits, "--out", tmp_path / "t.gpkg"),
    ]  # fmt: skip
    for step in steps:
        result = CliRunner().invoke(cli, list(map(str, step)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert pd.read_csv(tmp_path / "ranking.csv", index_col="element")["auc"].between(0, 1).all()
    assert gp.ProspectivityModel.load(tmp_path / "model").bands == ("Cu", "Zn")
    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.crs.to_epsg() == 32649
    more = ["predict", tmp_path / "model", survey, "--stride", 8, "--device", "cpu,cpu", "--out", tmp_path / "n.tif"]
    assert "windows every 8 cells" in CliRunner().invoke(cli, [*map(str, more), "--plan"]).output
    assert not (tmp_path / "n.tif").exists()
    assert CliRunner().invoke(cli, list(map(str, more))).exit_code == 0
    assert (tmp_path / "n.tif").read_bytes() == (tmp_path / "map.tif").read_bytes()
    assert "max_probability" in gpd.read_file(tmp_path / "t.gpkg", layer="targets").columns


def test_a_fault_is_a_message_and_exit_code_1_not_a_traceback(tables, tmp_path):
    result = call("grid", tables / "samples.csv", "--out", tmp_path / "survey.tif")
    assert result.returncode == 1
    assert "crs=None" in result.stderr
    assert "or an option --name" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_option_is_exit_code_2(tables):
    result = call("grid", tables / "samples.csv", "--outt", "x.tif")
    assert result.returncode == 2
    assert "--out" in result.stderr


def test_unknown_keys_of_the_toml_are_said_with_the_right_one(tmp_path):
    (tmp_path / "s.toml").write_text('[samples]\npath = "s"\n[deposits]\npath = "d"\n[window]\nsize = 3\n')
    result = call("run", "s.toml", "--out", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "window is no key of this section; did you mean 'windows'?" in result.stderr


def interrupt(process):
    """Press Ctrl-C; once more where a library has swallowed the first, as a user would."""
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.communicate()[1]


@pytest.mark.parametrize("note", [None, "checkpoint='kept': holds the training up to epoch 2 of network 1 of 1"])
def test_an_interrupt_is_one_line_and_says_where_the_training_is_kept(monkeypatch, capsys, tmp_path, note):
    def train(*args, **settings):
        err = KeyboardInterrupt()
        if note is not None:
            err.add_note(note)
        raise err

    for name in ("survey.tif", "deposits.gpkg"):
        (tmp_path / name).touch()
    for name in ("read_survey", "read_deposits", "sample_windows"):
        monkeypatch.setitem(vars(gp), name, lambda *args, **settings: None)
    monkeypatch.setitem(vars(gp), "train", train)
    called = ["train", tmp_path / "survey.tif", tmp_path / "deposits.gpkg", "--folds", 0, "--out", tmp_path / "model"]
    monkeypatch.setattr(sys, "argv", ["geoprospect", "--quiet", *map(str, called)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    said = "interrupted; files that were not complete are not there"
    assert capsys.readouterr().err.split("\n") == ["", f"{said}; {note}" if note else said, ""]


@pytest.mark.slow
def test_ctrl_c_is_exit_code_130_and_leaves_no_part_of_a_file(tmp_path):
    command = [
        sys.executable,
        "-c",
        # A shell that runs the tests in the background has them ignore the signal, and their children too.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from geoprospect.cli import main; main()",
        "demo",
        "--out",
        str(tmp_path / "demo"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    survey = tmp_path / "demo" / "survey.tif"
    for _ in range(600):
        if survey.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    errors = interrupt(process)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "demo").rglob(".*"))


def test_every_command_explains_itself():
    listed = call("--help").stdout
    for command in ("demo", "run", "grid", "screen", "train", "predict", "targets"):
        assert command in listed
        assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0
    assert call("--version").stdout.strip().endswith(gp.__version__)


# -- options made of the sections of the configuration -----------------------------------------


@pytest.fixture
def given(monkeypatch, tmp_path):
    """Return a function that calls a command, and what the reader of its table was called with."""
    (tmp_path / "samples.csv").write_text("lon,lat,Cu\n110,22,1\n", encoding="utf-8")

    def read(path, **options):
        raise InputError(repr(options))

    def call_with(*options):
        monkeypatch.setitem(vars(gp), "read_samples", read)
        command = ["grid", str(tmp_path / "samples.csv"), *map(str, options), "--out", str(tmp_path / "survey.tif")]
        result = CliRunner().invoke(cli, command)
        return str(result.exception) if isinstance(result.exception, InputError) else result.output

    return call_with


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {}),
        (["--crs", "EPSG:4326", "--x", "lon"], {"x": "lon", "crs": "EPSG:4326"}),
        (["--elements", "Cu, Au"], {"elements": ("Cu", "Au")}),
        (["--missing", "-9999", "--missing", "ND"], {"missing": (-9999.0, "ND")}),
        (["--units", "ppm"], {"units": "ppm"}),
        (["--units", "Cu=ppm", "--units", "Fe=%"], {"units": {"Cu": "ppm", "Fe": "%"}}),
        (["--limits", "0.5"], {"limits": 0.5}),
        (["--limits", "Au=0.5"], {"limits": {"Au": 0.5}}),
        (["--flags", "false"], {"flags": False}),
        (["--flags", "Cu=Cu_q"], {"flags": {"Cu": "Cu_q"}}),
        (["--below", "nan", "--encoding", "gbk", "--layer", "a"], {"layer": "a", "below": "nan", "encoding": "gbk"}),
    ],
)
def test_options_of_a_table_are_what_the_reader_gets(given, options, expected):
    assert ast.literal_eval(given(*options)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--below", "hal"], "Invalid value for '--below': 'hal' is not one of 'half'"),
        (["--limits", "much"], "Invalid value for '--limits': 'much'"),
        (["--k", "2.5"], "Invalid value for '--k': '2.5'"),
        (["--k", "0"], "Invalid value for '--k': '0': input should be greater than or equal to 1"),
        (["--shape", "3"], "Invalid value for '--shape'"),
        (["--belo", "nan"], "No such option"),
    ],
)
def test_a_wrong_value_is_refused_with_its_option(given, options, message):
    assert message in given(*options)


def test_all_nearest_samples_may_be_asked_for(tables, tmp_path, monkeypatch):
    found = {}
    monkeypatch.setitem(vars(gp), "interpolate", lambda *args, **settings: found.update(settings) or args[0])
    command = ["grid", tables / "samples.csv", "--crs", "EPSG:32649", "--out", tmp_path / "s.tif", "--k"]
    for word, expected in (("all", None), ("7", 7)):
        CliRunner().invoke(cli, [*map(str, command), word])
        assert found["k"] == expected


def test_the_list_of_commands_does_not_load_the_configuration():
    code = (
        "import sys; from geoprospect.cli import cli; cli.main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pydantic" not in loaded.split("Commands:")[1]
