"""Validators of plain values. Each returns the normalised value or raises."""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError as ProjCRSError

from geoprospect.errors import CRSError, InputError, MissingFileError, NameNotFoundError, OutputError


def check_int(name: str, value: Any, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`; 2.0 passes, 2.5 and True do not."""
    whole = not isinstance(value, bool) and isinstance(value, (int, float, np.integer, np.floating))
    # An int is not asked whether it is finite: beyond 1e308 that overflows.
    if not whole or not (isinstance(value, int) or math.isfinite(value)) or int(value) != value or value < minimum:
        raise InputError(f"{name}={value!r}: needs a whole number of at least {minimum}")
    return int(value)


def check_number(
    name: str, value: Any, minimum: float = -math.inf, maximum: float = math.inf, above: float = -math.inf
) -> float:
    """Return `value` as a finite float within [`minimum`, `maximum`] and greater than `above`."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    # An int beyond 1e308 has no float; asking math.isfinite overflows.
    fits = number and (abs(value) <= sys.float_info.max if isinstance(value, int) else math.isfinite(value))
    if not fits or not minimum <= value <= maximum or value <= above:
        low = f"more than {above:g}" if math.isfinite(above) else f"at least {minimum:g}"
        rule = low if math.isinf(maximum) else f"{low} and at most {maximum:g}"
        rule = "finite" if math.isinf(maximum) and math.isinf(minimum) and math.isinf(above) else rule
        raise InputError(f"{name}={value!r}: needs a number, {rule}")
    return float(value)


def check_choice(name: str, value: Any, options: Collection[str]) -> str:
    """Return `value` when it is one of `options`."""
    if not isinstance(value, str) or value not in options:
        raise InputError(
            f"{name}={value!r}: needs one of {', '.join(map(repr, options))}{did_you_mean(str(value), options)}"
        )
    return str(value)


def check_names(name: str, wanted: Iterable[str], present: Collection[str], what: str = "band") -> list[str]:
    """Return `wanted` as a list when all of them are among `present`."""
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    absent = [one for one in names if one not in present]
    if absent:
        raise NameNotFoundError(
            f"{name}: there is no {what} {absent[0]!r}; there are "
            f"{', '.join(map(str, present))}{did_you_mean(str(absent[0]), present)}"
        )
    return names


def check_shape(name: str, value: Any, minimum: int = 1) -> tuple[int, int]:
    """Return `value` as (ny, nx); one number stands for both."""
    pair = (value, value) if isinstance(value, (int, np.integer)) else value
    try:
        ny, nx = pair
    except (TypeError, ValueError):
        raise InputError(f"{name}={value!r}: needs two whole numbers (rows, columns)") from None
    return check_int(f"{name}[0]", ny, minimum), check_int(f"{name}[1]", nx, minimum)


def check_crs(name: str, value: Any) -> CRS:
    """Return `value` (an EPSG code, a WKT or PROJ string, a CRS) as a `pyproj.CRS`."""
    if value is None:
        raise CRSError(f"{name}=None: a CRS is needed and never guessed; pass for example {name}='EPSG:4326'")
    try:
        return CRS.from_user_input(value)
    except ProjCRSError as err:
        raise CRSError(f"{name}={value!r}: not a known CRS; pass for example {name}='EPSG:4326' ({err})") from None


def check_rng(rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return a generator: the one given, one seeded with an int, or a fresh one."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(None if rng is None else check_int("rng", rng, 0))


def check_input_file(name: str, path: str | os.PathLike[str]) -> Path:
    """Return `path` as a Path to an existing local file."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"{name}={path!r}: needs the path of a file, as text or a Path")
    text = os.fsdecode(path)
    if "://" in text or text.startswith("/vsi"):
        raise InputError(f"{name}={text!r}: needs a local file; download it first")
    file = Path(text)
    # os.path, because Path.is_file raises on a name that is too long.
    if os.path.isdir(file):  # noqa: PTH112
        raise InputError(f"{name}={text!r}: is a folder; name a file in it")
    if not os.path.isfile(file):  # noqa: PTH113
        folder = os.path.isdir(file.parent)  # noqa: PTH112
        near = [other.name for other in file.parent.iterdir()] if folder else []
        where = "" if folder else f" (nor a folder {str(file.parent)!r})"
        raise MissingFileError(f"{name}={text!r}: there is no such file{where}{did_you_mean(file.name, near)}")
    return file


def check_output_file(name: str, path: str | os.PathLike[str], suffixes: Collection[str]) -> Path:
    """Return `path` as a Path that can be written: its folder exists, its suffix is one of `suffixes`."""
    file = Path(path)
    if file.suffix.lower() not in suffixes:
        raise InputError(f"{name}={str(path)!r}: needs a name that ends in {' or '.join(suffixes)}")
    if not file.parent.is_dir():
        raise OutputError(f"{name}={str(path)!r}: the folder {str(file.parent)!r} does not exist; make it first")
    if not os.access(file.parent, os.W_OK):
        raise OutputError(f"{name}={str(path)!r}: the folder {str(file.parent)!r} cannot be written to")
    if file.is_dir():
        raise OutputError(f"{name}={str(path)!r}: is a folder, needs a file")
    return file


def check_arguments(
    name: str, given: Any, function: Callable[..., Any], own: Collection[str], example: str
) -> dict[str, Any]:
    """Return `given` as a dict when its keys are arguments of `function`, and none of those that are `own`."""
    if not isinstance(given, Mapping):
        raise InputError(f"{name}={given!r}: needs a mapping of arguments of {function.__name__}, such as {example}")
    known = []
    function = inspect.unwrap(function)
    for parameter in inspect.signature(function).parameters.values():
        options = re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation))
        known += list(function.__globals__[options[1]].__annotations__) if options else [parameter.name]
    known = [one for one in known if one not in own]
    for key, value in given.items():
        if key in own:
            raise InputError(f"{name}={{{key!r}: …}}: {key} of {function.__name__} is not set here; leave it out")
        if key not in known:
            raise InputError(
                f"{name}={{{key!r}: {value!r}}}: {function.__name__} has no argument {key!r}"
                f"{did_you_mean(str(key), known)}; there are {', '.join(known)}"
            )
    return dict(given)


def nearest_name(value: str, options: Iterable[str]) -> str | None:
    """Return the option nearest to `value`, whatever the case; None where none is near."""
    by_lower = {str(option).lower(): str(option) for option in options}
    near = difflib.get_close_matches(value.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[near[0]] if near else None


def did_you_mean(value: str, options: Iterable[str]) -> str:
    """Return '; did you mean …?' for the option nearest to `value`, or nothing."""
    near = nearest_name(value, options)
    return f"; did you mean {near!r}?" if near is not None else ""


def shown(value: Any, length: int = 60) -> str:
    """Return what stands for a value in a message: its repr, at most a line of it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def user_level() -> int:
    """Return the `stacklevel` by which a warning points at the line that called this library, however deep it comes."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and _is_within(frame.f_code.co_filename, str(frame.f_globals.get("__name__"))):
        frame, level = frame.f_back, level + 1
    return level


def _is_within(file: str, module: str) -> bool:
    """Return whether a line is of this library: its files, the `__init__` of its dataclasses, what copies these."""
    package = os.path.dirname(__file__) + os.sep  # noqa: PTH120
    generated = file == "<string>" and module.startswith(f"{__package__}.")
    return file.startswith(package) or generated or module in ("dataclasses", "copy")


def first_rows(rows: Iterable[Any], limit: int = 5) -> str:
    """Return '3, 7, 12 and 4 more' for a message about many rows."""
    listed = list(rows)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(str(row) for row in listed[:limit]) + more
