"""The documentation cannot go stale: its tables are those of the code, its Python runs, its links lead somewhere."""

import doctest
import importlib
import logging
import re
import runpy
from pathlib import Path

import pytest
import torch

import geoprospect as gp
from geoprospect import cli, config, errors, plotting, stats, synthetic

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def fences(text):
    """Return (language, text) of every fenced block, its indentation taken away."""
    return [
        (language, re.sub(rf"^{indent}", "", body, flags=re.MULTILINE))
        for indent, language, body in FENCE.findall(text)
    ]


def sections(text):
    """Return the text below each second-level heading."""
    parts = re.split(r"^## (.+)\n", FENCE.sub("", text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table_rows(text):
    """Return the cells of every table row below a header, Markdown kept."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = {at for at, row in enumerate(rows) if set("".join(row)) <= set("-: ")}
    return [row for at, row in enumerate(rows) if at not in rules and at + 1 not in rules]


# -- Python in the pages -----------------------------------------------------------------------


@pytest.fixture
def same_log_level():
    """Set back what a page may set."""
    log = logging.getLogger("geoprospect")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture
def one_thread():
    """Keep torch to one thread: on a busy machine several wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("one_thread", "same_log_level")
def test_the_python_of_a_page_does_what_it_says(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = [body for language, body in fences(path.read_text(encoding="utf-8")) if language == "python"]
    assert [body for body in blocks if not body.startswith(">>>")] == [], "Python in a page runs, with its output"
    if not blocks:
        return
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, path.stem, str(path), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    said = []
    runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_an_example_that_went_stale_is_seen():
    (block,) = fences("text\n\n  ```python\n  >>> 1 + 1\n  3\n  ```\n")
    test = doctest.DocTestParser().get_doctest(block[1], {}, "stale", None, 0)
    assert doctest.DocTestRunner().run(test, out=lambda text: None).failed == 1


# -- tables that have a twin in the code -------------------------------------------------------


CONFIG_SECTIONS = [
    name for name, field in config.Config.model_fields.items() if config.section_of(field.annotation) is not None
]
TABLES = runpy.run_path(str(DOCS / "tables.py"))


def test_every_section_of_the_configuration_has_its_table():
    assert set(sections(page("config.md"))) == {"Top level", "In Python", *CONFIG_SECTIONS}


def test_every_command_has_its_table():
    assert set(sections(page("cli.md"))) == {f"geoprospect {name}" for name in cli.cli.commands}
    assert all(option in page("cli.md") for one in cli.cli.params for option in one.opts)


@pytest.mark.parametrize(("name", "made"), [("config.md", "config_tables"), ("cli.md", "cli_tables")])
def test_the_tables_are_up_to_date(name, made):
    tables = TABLES[made]()
    assert page(name) == TABLES["with_tables"](page(name), tables), "run python docs/tables.py"
    assert all(what for rows in tables.values() for key, _, what in rows if key.startswith("`--"))


def test_the_configuration_that_is_shown_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOPROSPECT_DATA", str(tmp_path))
    for name in ("config.md", "index.md"):
        (text,) = [body for language, body in fences(page(name)) if language == "toml"]
        (tmp_path / "survey.toml").write_text(text, encoding="utf-8")
        assert gp.load_config(tmp_path / "survey.toml").samples.crs == "EPSG:4326"


def test_the_commands_that_are_shown_exist():
    for path in PAGES:
        for command in re.findall(r"^geoprospect (\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert command in cli.cli.commands, path.name


# -- the reference -----------------------------------------------------------------------------


def functions_and_classes(module):
    """Return the public names of a submodule; its protocols are for type checkers."""
    own = [name for name, one in vars(module).items() if getattr(one, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [name for name in own if callable(getattr(module, name))])
    return {name for name in names if not name.startswith(("_", "Has"))}


def test_the_reference_has_every_public_name_once():
    entries = re.findall(r"^   ([\w.]+)$", page("api.md"), flags=re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert "`gp.__version__`" in page("api.md")
    submodules = (errors, plotting, stats, synthetic)
    listed = {f"{one.__name__.split('.')[1]}.{name}" for one in submodules for name in functions_and_classes(one)}
    modules = {one.__name__.split(".")[1] for one in submodules}
    assert set(entries) >= set(gp.__all__) - {"__version__"} - modules | listed - {"synthetic.Floats"}


def test_the_reference_lists_nothing_that_is_not_there():
    for entry in re.findall(r"^   ([\w.]+)$", page("api.md"), flags=re.MULTILINE):
        module, _, name = f"geoprospect.{entry}".rpartition(".")
        assert hasattr(importlib.import_module(module), name), entry


# -- the pages together ------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_links_of_a_page_lead_to_pages(path):
    for target in re.findall(r"\]\(([^)#\s]+\.md)", path.read_text(encoding="utf-8")):
        assert (DOCS / target).is_file(), target


def test_every_page_is_in_the_table_of_the_front_page():
    named = {row[0].removeprefix("[](").removesuffix(")") for row in table_rows(sections(page("index.md"))["Pages"])}
    assert named == {path.name for path in PAGES} - {"index.md"}
