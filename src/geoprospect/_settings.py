"""Settings that belong together: frozen dataclasses whose fields may be given as keyword arguments."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from geoprospect._checks import did_you_mean
from geoprospect.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")


def with_settings(start: S, given: dict[str, Any]) -> S:
    """Return settings with some fields replaced.

    Parameters
    ----------
    start : dataclass
        The settings to start from; its ``__post_init__`` checks the values.
    given : dict
        Fields to replace, as a public function received them in ``**settings``.

    Raises
    ------
    InputError
        When there is no such field, or a value is out of its range.
    """
    known = [field.name for field in fields(start)]
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"{name}={value!r}: there is no such setting{did_you_mean(name, known)}; there are {', '.join(known)}"
            )
    return replace(start, **given)


def descriptions(settings: type[Any]) -> dict[str, str]:
    """Return the first sentence that the docstring of a settings class says of each field.

    Parameters
    ----------
    settings : type
        A dataclass with a numpydoc docstring; entries such as ``x, y : str`` describe several fields.
    """
    text = inspect.getdoc(settings) or ""
    section = re.search(r"Parameters\n-+\n(.*?)(?=\n\n\w[^\n]*\n-+\n|\Z)", text, re.DOTALL)
    found = {}
    for entry in re.finditer(
        r"^([\w, ]+?)(?: :[^\n]*)?\n((?:    [^\n]*\n?|\n)+)", section[1] if section else "", re.MULTILINE
    ):
        words = " ".join(entry[2].split())
        sentence = re.split(r"(?<=[.;:])\s", words, maxsplit=1)[0].rstrip(".;:")
        for name in entry[1].split(","):
            found[name.strip()] = sentence + "."
    return found
