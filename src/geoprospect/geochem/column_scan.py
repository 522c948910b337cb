"""Scan of a table of samples: its coordinates, its columns of assays, and all problems found in them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import CRS

from geoprospect._checks import check_input_file, check_names, first_rows
from geoprospect.errors import CRSError, InputError, NameNotFoundError
from geoprospect.geochem.assays import Column, Reading, is_code, says_flags, scan_column
from geoprospect.geochem.headers import (
    FLAG_WORDS,
    LIMIT_WORDS,
    Header,
    assay_headers,
    companions,
    element_names,
    given_for,
    known_unit,
    named_elements,
    unconverted,
)
from geoprospect.geochem.table_options import TableArguments
from geoprospect.io.number_parsing import cells_as_text, scan_numbers
from geoprospect.io.problems import Problem, joint_cure, summed_up
from geoprospect.io.tables import (
    around_the_world,
    check_text_crs,
    check_vector_crs,
    coordinate_columns,
    coordinate_faults,
    is_text_table,
    point_coordinates,
    read_text_table,
    read_vector,
)

_CONFLICT = 0.5  # values at one place that differ by more than this share of their mean
_ELSEWHERE = 10.0  # degrees or metres from (0, 0) at which a survey does not hold it
_UNITS_WITHIN = 3  # rows below the header among which one of units is looked for
_OF_COORDINATES = frozenset("m km metre metres meter meters deg degree degrees dd °".split())
# Columns that say in which system the coordinates of a row are.
_SYSTEMS = {"zone": "zone", "utm_zone": "zone", "utmzone": "zone", "datum": "datum", "epsg": "crs", "crs": "crs"}
_MOST_OF_IT = 0.5  # a row is one of units where they are more than this share of its cells


@dataclass(frozen=True, eq=False)
class Table:
    """A table of samples as scanned.

    Parameters
    ----------
    file : Path
        Where it was read from.
    lines : ndarray of int of shape (n,)
        The line of the file, or number of the feature, of each row.
    x_name, y_name : str
        Columns of the coordinates; '' in a vector file, or where none were found.
    points : ndarray of shape (n, 2)
        Coordinates, NaN where a row has none.
    crs : pyproj.CRS or None
        None where it is missing or wrong; `problems` says what is.
    columns : tuple of Column
        The assays, each of n rows.
    skipped : tuple of str
        Headers that were not taken as anything.
    problems : tuple of Problem
        Those of the table as a whole; those of a column are in the column.
    """

    file: Path
    lines: NDArray[np.int64]
    x_name: str
    y_name: str
    points: NDArray[np.float64]
    crs: CRS | None
    columns: tuple[Column, ...]
    skipped: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def placed(self) -> NDArray[np.bool_]:
        """True for rows with coordinates."""
        return np.asarray(np.isfinite(self.points).all(axis=1))

    @property
    def all_problems(self) -> tuple[Problem, ...]:
        """Problems of the table and of its columns."""
        return (*self.problems, *(problem for column in self.columns for problem in column.problems))


def scan_table(path: str | os.PathLike[str], given: TableArguments) -> Table:
    """Scan a table of samples.

    Raises
    ------
    InputError
        When the file is no table at all: ragged, empty, of another encoding.
    NameNotFoundError
        When an argument names what is not there.
    MissingFileError
        When there is no such file.
    """
    reading = Reading(given.missing or (), given.missing == (), given.negative, given.zero)
    file = check_input_file("path", path)
    source = _text_source(file, given, reading) if is_text_table(file) else _layer(file, given.layer, given.crs)
    frame, lines, points = source.frame, source.lines, source.points
    problems = list(source.problems)
    names = [name for name in frame.columns if name not in (source.x_name, source.y_name)]
    headers = assay_headers(names, given.elements, source.units)
    if not headers:
        message = (
            f"elements=None: no header is an element or ends in a unit among {', '.join(names)}; "
            f"name the columns, for example elements={named_elements(names)[:3] or ['Cu', 'Zn']}, units='ppm'"
        )
        problems.append(Problem("error", "", message, "no-elements"))
    plan = _Plan.of(frame, headers, names, given, source.units)
    columns = _others_followed([_scanned(source, header, at, plan, reading) for at, header in enumerate(headers)], plan)
    used = {h.text for h in headers} | set(plan.flags.values()) | set(plan.limit_columns.values())
    skipped = tuple(name for name in names if name not in used)
    problems += [*plan.notes, *_of_places(points, lines, source.crs, columns), *_of_systems(frame, source)]
    if given.elements is None and headers:
        problems += _of_skipped(skipped)
    return Table(file, lines, source.x_name, source.y_name, points, source.crs, columns, skipped, tuple(problems))


@dataclass(frozen=True, eq=False)
class _Source:
    """What a file holds, before its columns are told apart."""

    frame: pd.DataFrame
    lines: NDArray[np.int64]
    points: NDArray[np.float64]
    crs: CRS | None
    problems: tuple[Problem, ...]
    x_name: str = ""
    y_name: str = ""
    units: Mapping[str, str] = field(default_factory=dict)  # of a row of units
    written: tuple[Problem, ...] = ()  # how the numbers of each column are written


def _text_source(file: Path, given: TableArguments, reading: Reading) -> _Source:
    text = read_text_table(file, given.encoding)
    frame, lines, units = _without_units_row(text.frame, text.lines)
    problems: list[Problem] = []
    x_name = y_name = ""
    known: CRS | None = None
    try:
        x_name, y_name = coordinate_columns(frame, given.x, given.y)
        problems.append(_note(f"coordinates are in the columns {x_name!r} and {y_name!r}", "coordinates"))
        known = check_text_crs(given.crs, frame, x_name, y_name)
    except NameNotFoundError as err:
        if any(name is not None and name not in frame.columns for name in (given.x, given.y)):
            raise
        problems.append(Problem("error", "", str(err), "no-coordinates"))
    except CRSError as err:
        problems.append(_wrong_crs(err, given.crs))
    points, found = _text_points(frame, x_name, y_name, lines, reading)
    problems += [problem for problem in text.problems if problem.where in ("", x_name, y_name)]
    return _Source(
        frame, lines, points, known, (*problems, *found), x_name, y_name, units,
        tuple(problem for problem in text.problems if problem.where),
    )  # fmt: skip


def _layer(file: Path, layer: str | None, crs: Any) -> _Source:
    features = read_vector(file, layer, "samples")
    points = np.column_stack(point_coordinates(features))
    frame = pd.DataFrame(features.drop(columns=features.geometry.name))
    frame.columns = frame.columns.map(str)
    lines = np.arange(1, len(features) + 1)
    try:
        return _Source(frame, lines, points, check_vector_crs(crs, features), ())
    except CRSError as err:
        return _Source(frame, lines, points, None, (_wrong_crs(err, crs),))


def _wrong_crs(error: CRSError, crs: Any) -> Problem:
    return Problem("error", "", str(error), "no-crs" if crs is None else "crs")


def _of_skipped(skipped: tuple[str, ...]) -> list[Problem]:
    """Return what is to be said of columns that were not taken."""
    notes = [_note(f"columns not taken as elements: {', '.join(skipped)}", "skipped")] if skipped else []
    alike = named_elements(skipped)
    if alike:
        message = f"not taken, though they name an element (elements= takes them): {', '.join(alike)}"
        notes.append(_note(message, "element-like"))
    strange = unconverted(skipped)
    if strange:
        message = f"not taken, because their unit is not read (write them in ppm, ppb or %): {', '.join(strange)}"
        notes.append(_note(message, "other-unit"))
    return notes


def raise_errors(table: Table) -> None:
    """Raise one error that sums up all that keeps a table from being read; nothing where nothing does."""
    errors = [problem for problem in table.all_problems if problem.level == "error"]
    for kinds, exception in (
        (("no-coordinates", "no-elements"), NameNotFoundError),
        (("no-crs", "crs", "swapped"), CRSError),
    ):
        first = next((problem for problem in errors if problem.kind in kinds), None)
        if first is not None:
            raise exception(first.message)
    if errors:
        _raise_summed_up(errors, table.file.name)


def _raise_summed_up(errors: Sequence[Problem], file_name: str) -> NoReturn:
    sentences = summed_up(errors)
    if len(sentences) == 1 and len(errors) == 1:
        raise InputError(sentences[0])
    cure = joint_cure(errors)
    call = ", ".join(f"{key}={_shown(value)}" for key, value in cure.items())
    if len(sentences) == 1:
        raise InputError(f"{file_name}: {sentences[0]}" + (f"\n  read_samples(…, {call})" if call else ""))
    listed = "\n".join(f"  - {sentence}" for sentence in sentences)
    way = f"\nIf all of that is so: read_samples(…, {call})" if call else ""
    raise InputError(f"{file_name}: has to be settled before it can be read:\n{listed}{way}")


def _shown(value: Any) -> str:
    """Return a value as one would type it."""
    if isinstance(value, list):
        return f"[{', '.join(f'{one:.15g}' if isinstance(one, float) else repr(one) for one in value)}]"
    return repr(value)


def _note(message: str, kind: str) -> Problem:
    return Problem("note", "", message, kind)


def _without_units_row(
    frame: pd.DataFrame, lines: NDArray[np.int64]
) -> tuple[pd.DataFrame, NDArray[np.int64], dict[str, str]]:
    """Take off a row of units below the header, and return the unit of each column that has one there.

    It is the first row, or stands below rows of methods and the like, which hold no number either.
    """
    for at in range(min(_UNITS_WITHIN, len(frame) - 1)):
        filled = {name: cell.strip() for name, cell in frame.iloc[at].items() if cell.strip()}
        units = {str(name): known_unit(cell) for name, cell in filled.items() if known_unit(cell)}
        if pd.to_numeric(pd.Series(list(filled.values()), dtype="str"), errors="coerce").notna().any():
            break
        others = [cell for cell in filled.values() if cell.lower() not in _OF_COORDINATES]
        if units and len(units) > _MOST_OF_IT * len(others):
            return frame.iloc[at + 1 :].reset_index(drop=True), lines[at + 1 :], units
    return frame, lines, {}


def _text_points(
    frame: pd.DataFrame, x_name: str, y_name: str, lines: NDArray[np.int64], reading: Reading
) -> tuple[NDArray[np.float64], list[Problem]]:
    """Return the coordinates of a text table; -9999 in both of them is none, and said until it is declared."""
    if not x_name:
        return np.full((len(frame), 2), np.nan), []
    # A word is never a coordinate; a number such as -99 may be one.
    (east, wrong), (north, wrong_too) = (
        scan_numbers(frame[name], name, lines, reading.words) for name in (x_name, y_name)
    )
    points = np.column_stack([east, north])
    points[(east == north) & np.isin(east, reading.codes)] = np.nan
    alike = set() if reading.no_codes else set(east[east == north].tolist())
    coded = (east == north) & np.isin(points[:, 0], [number for number in alike if is_code(number)])
    if not coded.any() or coded.all():
        return points, [*wrong, *wrong_too]
    codes = sorted(set(points[coded, 0].tolist()))
    points[coded] = np.nan
    shown = ", ".join(f"{code:.15g}" for code in codes)
    message = (
        f"columns {x_name!r} and {y_name!r}: {shown} in both (row {first_rows(lines[coded])}) looks like a code for "
        f"'no place'; pass missing=[{shown}], or missing=[] if the table has no such codes"
    )
    cure = {"missing": [*reading.missing, *codes]}
    return points, [*wrong, *wrong_too, Problem("error", x_name, message, "sentinel", int(coded.sum()), cure)]


@dataclass(frozen=True, eq=False)
class _Plan:
    """What belongs to each column of assays: its name, unit, limits and flags."""

    names: list[str]
    units: list[str]
    limits: dict[str, float]
    limit_columns: dict[str, str]
    flags: dict[str, str]
    notes: list[Problem]

    @classmethod
    def of(
        cls, frame: pd.DataFrame, headers: list[Header], names: list[str], arguments: TableArguments,
        in_units: Mapping[str, str],
    ) -> _Plan:  # fmt: skip
        elements, units, notes = element_names(headers), arguments.units, []
        respelled = list(dict.fromkeys(f"{h.analyte} is {h.element}" for h in headers if h.analyte != h.element))
        if respelled:
            notes.append(_note(f"elements are spelled as usual: {first_rows(respelled)}", "respelled"))
        if in_units:
            notes.append(_note("a row below the header is one of units", "units-row"))
        given = {h.text: units for h in headers} if isinstance(units, str) else given_for(
            "units", units or {}, headers, elements
        )  # fmt: skip
        for h in headers:
            below = in_units.get(h.text, h.unit)
            if h.unit and below != h.unit and h.text not in given:
                message = (
                    f"column {h.text!r}: the header says {h.unit}, the row of units {below}; pass units= to settle it"
                )
                notes.append(Problem("warning", h.text, message, "two-units"))
        known = [str(given.get(h.text, h.unit or in_units.get(h.text, ""))) for h in headers]
        bare = [name for name, unit in zip(elements, known, strict=True) if not unit]
        if bare:
            notes.append(_note(f"no unit is known for {', '.join(bare)}; give units=", "no-unit"))
        others = [name for name in names if name not in {h.text for h in headers}]
        return cls(
            elements, known, _given_limits(arguments.limits, headers, elements),
            companions(headers, others, LIMIT_WORDS),
            _flag_columns(frame, headers, elements, others, arguments.flags, notes), notes,
        )  # fmt: skip


def _given_limits(
    limits: Mapping[str, float] | float | None, headers: list[Header], names: list[str]
) -> dict[str, float]:
    """Return the limit that the user gives for each header."""
    if limits is None:
        return {}
    if isinstance(limits, Mapping):
        return {text: float(limit) for text, limit in given_for("limits", limits, headers, names).items()}
    return dict.fromkeys((h.text for h in headers), limits)


def _flag_columns(
    frame: pd.DataFrame, headers: list[Header], names: list[str], others: list[str],
    flags: Mapping[str, str] | Literal[False] | None, notes: list[Problem],
) -> dict[str, str]:  # fmt: skip
    """Return the column of flags of each header that has one: those given, or those that are recognised."""
    if flags is False:
        return {}
    if flags is not None:
        found = {text: str(column) for text, column in given_for("flags", flags, headers, names).items()}
        check_names("flags", found.values(), list(frame.columns), "column")
        return found
    found = companions(headers, others, FLAG_WORDS)
    after = dict(zip(frame.columns, frame.columns[1:], strict=False))
    for header in headers:
        beside = after.get(header.text)
        if header.text not in found and beside in others and says_flags(frame[beside], beside, header.analyte):
            found[header.text] = beside
    if found:
        shown = ", ".join(f"{column} for {text}" for text, column in list(found.items())[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        notes.append(_note(f"columns of flags that are followed: {shown}{more}", "flags-used"))
    return found


def _scanned(source: _Source, header: Header, at: int, plan: _Plan, reading: Reading) -> Column:
    """Return one column, scanned with the limits and flags that belong to it."""
    text, frame = header.text, source.frame
    limit: float | NDArray[np.float64] | None = plan.limits.get(text)
    if limit is None and text in plan.limit_columns:
        limit = _limits_in(frame[plan.limit_columns[text]])
    flags = plan.flags.get(text)
    column = scan_column(
        frame[text], text, plan.names[at], plan.units[at], source.lines, reading,
        limit=limit, flags=None if flags is None else frame[flags].rename(flags),
    )  # fmt: skip
    notation = [problem for problem in source.written if problem.where == text]
    unread = any(problem.level == "error" for problem in notation)
    # Where its notation is in doubt, that its cells are no numbers goes without saying.
    rest = [problem for problem in column.problems if not (unread and problem.kind == "text")]
    return replace(column, problems=(*notation, *rest))


def _others_followed(columns: Sequence[Column], plan: _Plan) -> tuple[Column, ...]:
    """Return the columns, where flags that say nothing are cured by following those of the other columns."""
    strange = {column.header for column in columns for problem in column.problems if problem.kind == "flag"}
    flags = {text: name for text, name in plan.flags.items() if text not in strange} or False
    return tuple(
        replace(
            column,
            problems=tuple(
                replace(problem, cure={"flags": flags}) if problem.kind == "flag" and problem.cure else problem
                for problem in column.problems
            ),
        )
        for column in columns
    )


def _limits_in(cells: pd.Series) -> NDArray[np.float64]:
    """Return the limits that a column of them says, NaN where it says none."""
    texts = [text.strip().lstrip("<≤ ") for text in cells_as_text(cells)]
    limits = np.array(pd.to_numeric(np.array(texts, dtype=object), errors="coerce"), dtype=np.float64)
    limits[~(np.isfinite(limits) & (limits > 0))] = np.nan
    return limits


def _of_places(
    points: NDArray[np.float64], lines: NDArray[np.int64], crs: CRS | None, columns: Sequence[Column]
) -> list[Problem]:
    """Return what is to be said of the coordinates."""
    problems = []
    placed = np.asarray(np.isfinite(points).all(axis=1))
    if not placed.any():
        return [Problem("error", "", "no row has coordinates; is the table empty?", "placeless", len(placed))]
    if not placed.all():
        n, rows = int((~placed).sum()), first_rows(lines[~placed])
        problems.append(Problem("warning", "", f"left out {n} rows without coordinates (row {rows})", "placeless", n))
    problems += _at_zero(points, lines)
    if crs is not None:
        problems += coordinate_faults(points[placed], crs, lines[placed]) or around_the_world(points[placed][:, 0], crs)
    values = np.column_stack([column.values for column in columns])[placed] if columns else np.empty((placed.sum(), 0))
    shared, conflicts, places = _shared_places(points[placed], values)
    if shared:
        differ = (
            f"; at {conflicts} of these {places} places values of an element differ by more than half of their mean"
            if conflicts
            else ""
        )
        message = f"{shared} samples share their place with another; gridding takes the mean there{differ}"
        problems.append(Problem("warning", "", message, "shared-places", shared))
    return problems


def _of_systems(frame: pd.DataFrame, source: _Source) -> list[Problem]:
    """Return the warning about a column that says that coordinates are in several zones or on several datums."""
    placed, found = np.asarray(np.isfinite(source.points).all(axis=1)), []
    for name in frame.columns:
        kind = _SYSTEMS.get(str(name).lower().replace(" ", "_"))
        if kind is None or not source.x_name or name in (source.x_name, source.y_name):
            continue
        count = Counter(text.strip() for text in np.array(cells_as_text(frame[name]), dtype=object)[placed])
        del count[""]
        zones = all(re.fullmatch(r"\d{1,2}\s*[A-Za-z]?", text) for text in count)
        if len(count) < 2 or (kind == "zone" and (not zones or (source.crs is not None and source.crs.is_geographic))):
            continue
        shown = ", ".join(f"{text} {n}" for text, n in count.most_common(4))
        message = (
            f"column {name!r} tells of several coordinate systems ({shown}), but crs= is one; take the table apart, or "
            "the coordinates to one system"
        )
        found.append(Problem("warning", "", message, "several-systems", len(placed)))
    return found


def _at_zero(points: NDArray[np.float64], lines: NDArray[np.int64]) -> list[Problem]:
    """Return the warning about rows at (0, 0) when the survey is elsewhere: no coordinates, written as zeros."""
    zero = (points == 0).all(axis=1)
    others = points[~zero & np.isfinite(points).all(axis=1)]
    if not zero.any() or not len(others):
        return []
    extent = float(np.hypot(*np.ptp(others, axis=0)))
    if float(np.hypot(*others.T).min()) < max(extent, _ELSEWHERE):
        return []
    n, rows = int(zero.sum()), first_rows(lines[zero])
    where = f"{n} samples lie at x = 0, y = 0, far from all others (row {rows})"
    message = f"{where}; if they have no coordinates, empty those cells"
    return [Problem("warning", "", message, "at-zero", n)]


def _shared_places(points: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[int, int, int]:
    """Return how many samples are not the first at their place, at how many places values conflict, and of how many."""
    _, place, count = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(count[place.ravel()] > 1)
    if not shared.size:
        return 0, 0, 0
    order = shared[np.argsort(place.ravel()[shared], kind="stable")]
    starts = np.flatnonzero(np.diff(place.ravel()[order], prepend=-1))
    lowest, highest = (f.reduceat(values[order], starts, axis=0) for f in (np.fmin, np.fmax))
    present = ~np.isnan(values[order])
    number = np.maximum(np.add.reduceat(present.astype(int), starts, axis=0), 1)
    mean = np.add.reduceat(np.where(present, values[order], 0), starts, axis=0) / number
    with np.errstate(invalid="ignore"):
        conflict = (highest - lowest > _CONFLICT * np.abs(mean)).any(axis=1)
    return int(len(points) - len(count)), int(conflict.sum()), len(starts)
