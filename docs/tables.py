"""Write the tables of config.md and cli.md, whose rows are fields of the configuration and options of the commands.

Run it without arguments after a change of settings: ``python docs/tables.py``.
"""

import json
import re
from pathlib import Path
from typing import get_args, get_origin

import click

from geoprospect import cli, config

DOCS = Path(__file__).parent


def with_tables(page, tables):
    """Return a page with the rows of the table below each second-level heading replaced."""
    for heading, rows in tables.items():
        below = re.compile(rf"(^## {re.escape(heading)}\n(?:(?!^## ).*\n)*?\|[-|]+\|\n)((?:\|.*\n)*)", re.MULTILINE)
        found = below.search(page)
        if found is None:
            raise SystemExit(f"there is no heading {heading!r} with a table below it")
        known = dict(re.findall(r"^\| (`[^`]+`) \|.*\| (.*) \|$", found[2], re.MULTILINE))
        text = "".join(f"| {key} | {default} | {what or known.get(key, '')} |\n" for key, default, what in rows)
        page = page[: found.start(2)] + text + page[found.end(2) :]
    return page


def sentence(text, choices):
    """Return a description as a cell of a table, with the choices that it does not name."""
    text = text.replace("|", "\\|").removesuffix(".")
    return text if all(choice in text for choice in choices) else f"{text}: {', '.join(choices)}"


def config_tables():
    """Return the rows of each section of the configuration."""
    tables = {}
    top = []
    for name, field in config.Config.model_fields.items():
        section = config.section_of(field.annotation)
        if section is None:
            top.append((f"`{name}`", toml(field), ""))
            continue
        texts = config.descriptions_of(section)
        tables[name] = [
            (f"`{key}`", toml(one), sentence(texts[key], choices_of(one.annotation)))
            for key, one in config.fields_of(section).items()
        ]
    return {"Top level": top, **tables}


def choices_of(annotation):
    """Return the words that a field takes."""
    words = get_args(annotation) if str(get_origin(annotation)) == "typing.Literal" else ()
    return [word for word in words if isinstance(word, str)]


def toml(field):
    """Return the default of a field as it would be written in the file."""
    if field.is_required():
        return "*needed*"
    return "–" if field.default is None else f"`{json.dumps(field.default)}`"


def cli_tables():
    """Return the rows of each command."""
    return {
        f"geoprospect {name}": [
            (
                f"`{one.name.upper() if isinstance(one, click.Argument) else one.opts[0]}`",
                option_default(one),
                sentence(getattr(one, "help", None) or "", getattr(one.type, "choices", ())),
            )
            for one in command.params
        ]
        for name, command in cli.cli.commands.items()
    }


def option_default(parameter):
    """Return the default of a parameter."""
    if parameter.required:
        return "*needed*"
    default = parameter.get_default(click.Context(cli.cli), call=False)
    return f"`{default}`" if isinstance(default, (str, int, float, Path)) else "–"


if __name__ == "__main__":
    for file, tables in (("config.md", config_tables()), ("cli.md", cli_tables())):
        page = (DOCS / file).read_text(encoding="utf-8")
        (DOCS / file).write_text(with_tables(page, tables), encoding="utf-8")
