"""What import-linter cannot check: a light import, documented names, no unpickling, no printing."""

import ast
import inspect
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpydoc.docscrape
import pytest

import geoprospect as gp
from geoprospect import errors

SOURCE = Path(gp.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

FORBIDDEN = {"pickle", "cPickle", "joblib", "shelve", "dill", "cloudpickle", "marshal"}
HEAVY = ("torch", "torchvision", "sklearn", "dask", "matplotlib", "numba", "gstools", "zarr")


def forbidden_imports(text):
    """Return the libraries that load whatever a file says, and that a source text imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            found |= {str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return sorted(name for name in found if name.split(".")[0] in FORBIDDEN or name == "torch.load")


def call_violations(module, text):
    """Return the calls that run or load what nobody checked, and those that print."""
    wrong = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        pickles = called.split(".")[-1] in ("read_pickle", "to_pickle")
        if pickles or called in ("eval", "exec", "builtins.eval", "builtins.exec", "torch.load"):
            wrong.append(f"{module} calls {called} in line {node.lineno}")
        if called == "print" and module != "cli":
            wrong.append(f"{module} prints in line {node.lineno}")
        if any(key.arg == "allow_pickle" and ast.unparse(key.value) != "False" for key in node.keywords):
            wrong.append(f"{module} allows pickle in line {node.lineno}")
    return wrong


# -- the rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_imports_what_unpickles(path):
    assert forbidden_imports(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_prints_evaluates_or_loads_what_nobody_checked(path):
    assert call_violations(path.stem, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_warning_counts_its_way_to_the_line_of_the_user(path):
    levels = [
        keyword.value.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "stacklevel" and isinstance(keyword.value, ast.Constant)
    ]
    assert levels == []  # user_level() is right from wherever it is called


def test_no_module_has_a_name_that_says_nothing():
    names = {part for path in FILES for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert {"errors", "grid", "io", "samples"} <= names
    assert not names & {"utils", "util", "helpers", "misc", "common", "core", "base", "tools"}


# -- the checkers themselves -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "def late():\n    import pickle as p",
        "from joblib import load",
        "from torch import load",
        "import importlib\nimportlib.import_module('dill')",
    ],
)
def test_the_import_checker_sees_a_planted_violation(text):
    assert len(forbidden_imports(text)) >= 1


def test_the_import_checker_lets_other_imports_pass():
    assert forbidden_imports("import torch, numpy\nfrom geoprospect.grid import Grid\nfrom . import x") == []


@pytest.mark.parametrize(
    "text",
    [
        "print(1)",
        "eval('1')",
        "exec('1')",
        "torch.load(path)",
        "pd.read_pickle(path)",
        "np.load(path, allow_pickle=True)",
        "def f():\n    print(1)",
    ],
)
def test_the_call_checker_sees_a_planted_violation(text):
    assert len(call_violations("grid", text)) == 1


def test_the_call_checker_lets_pandas_evaluate_and_the_command_line_print():
    assert call_violations("samples", "frame.eval(where)\nmodel.eval()\nlog.info('print(1)')") == []
    assert call_violations("cli", "print(1)") == []


# -- the import --------------------------------------------------------------------------------


def test_the_import_is_light():
    code = (
        "import time; start = time.perf_counter(); import geoprospect; took = time.perf_counter() - start\n"
        "import json, sys; print(json.dumps([took, sorted(sys.modules)]))"
    )
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    assert statistics.median(took for took, _ in runs) < 0.5
    assert not {name.split(".")[0] for name in runs[0][1]} & set(HEAVY)


def test_reading_samples_loads_nothing_heavy():
    code = "import sys, geoprospect; geoprospect.read_samples, geoprospect.Grid; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {name.split(".")[0] for name in loaded} & {"torch", "torchvision", "sklearn", "matplotlib", "numba"}


# -- public names ------------------------------------------------------------------------------

SUBMODULES = [gp.errors, gp.plotting, gp.stats, gp.synthetic]
PUBLIC = {name: getattr(gp, name) for name in gp.__all__ if name != "__version__"}
PUBLIC = {name: one for name, one in PUBLIC.items() if one not in SUBMODULES}
PUBLIC |= {f"stats.{name}": getattr(gp.stats, name) for name in gp.stats.__all__}


def parameters_of(thing):
    """Return the names in the signature of a function or class."""
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


def test_public_names_are_listed_once_and_shown():
    assert len(set(gp.__all__)) == len(gp.__all__)
    assert set(gp.__all__) <= set(dir(gp))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nowhere"):
        gp.nowhere  # noqa: B018


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?([a-z.+-].*)?", gp.__version__)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_where_it_should_be(name):
    thing = PUBLIC[name]
    assert thing.__name__ == name.split(".")[-1]
    assert thing.__module__.startswith("geoprospect.")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name):
    thing = PUBLIC[name]
    doc = numpydoc.docscrape.get_doc_object(thing)
    assert doc["Summary"] != [""]
    assert doc["Examples"], "needs an example"
    if parameters_of(thing):
        assert doc["Parameters"], "needs its parameters"
    if not inspect.isclass(thing):
        assert doc["Returns"] or doc["Yields"], "needs what it returns"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_of_a_public_name_is_documented(name):
    thing = PUBLIC[name]
    doc = numpydoc.docscrape.get_doc_object(thing)
    # numpydoc writes 'x, y, layer : optional' as one entry, and stars before *args.
    documented = {part.strip().lstrip("*") for entry in doc["Parameters"] for part in entry.name.split(",")}
    assert set(parameters_of(thing)) - documented == set()
    assert documented - set(parameters_of(thing)) == set()


def test_the_documentation_check_sees_a_missing_parameter():
    def half_documented(x, y):
        """Do a thing.

        Parameters
        ----------
        x : int
            A number.
        """

    doc = numpydoc.docscrape.get_doc_object(half_documented)
    assert set(parameters_of(half_documented)) - {entry.name for entry in doc["Parameters"]} == {"y"}


# -- exceptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, one in inspect.getmembers(errors, inspect.isclass)])
def test_every_exception_is_also_a_builtin(name):
    one = getattr(errors, name)
    builtins = {base for base in one.__mro__ if base.__module__ == "builtins"} - {Exception, BaseException, object}
    assert builtins or one is errors.GeoprospectError
    assert one.__doc__


IN_MEMORY = """
import sys
for name in ("rasterio", "pyogrio", "rioxarray", "matplotlib"):
    sys.modules[name] = None  # importing it raises
import geoprospect as gp
area = gp.synthetic.make_survey(shape=(48, 48), n_samples=400, rng=0)
survey = gp.interpolate(area.samples["Cu"], area.grid, "nearest")  # compiles nothing
windows = gp.sample_windows(survey, area.deposits, 8, 8, 40, 40, rng=0)
import torch
assert torch.get_num_threads() == 1
model = gp.train(windows, survey, "shufflenet_v2_x1_0", epochs=1, device="cpu", rng=0)
print(gp.predict(model, survey, device="cpu").probability.notnull().all().item())
"""


def test_training_and_prediction_in_memory_need_no_raster_or_vector_files():
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", IN_MEMORY], env=one_thread, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "True", result.stderr


def test_type_checkers_find_the_stubs():
    assert (SOURCE / "py.typed").is_file()
    assert (SOURCE / "__init__.pyi").is_file()
    assert (SOURCE / "stats" / "__init__.pyi").is_file()


def test_no_public_function_has_more_than_14_named_arguments():
    crowded = {
        name: len(parameters_of(one))
        for name, one in PUBLIC.items()
        if inspect.isfunction(one) and len(parameters_of(one)) > 14
    }
    assert crowded == {}
