"""Parse the numbers of a table: decimal commas, thousands separators, text among numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geoprospect._checks import first_rows
from geoprospect.io.problems import Problem

# Ways to write numbers that a plain reader does not know, named by their examples. A blank is any of those in use.
_SIGN, _BLANK = r"[<>≤≥=+-]*\s*", "[ '’\u00a0\u2009\u202f]"
_NOTATIONS = {
    kind: re.compile(_SIGN + pattern)
    for kind, pattern in {
        "1,234": r"[1-9][0-9]{0,2},[0-9]{3}",
        "1,2": r"[0-9]+,[0-9]+([eE][+-]?[0-9]+)?",
        "1,234,567": r"[0-9]{1,3}(,[0-9]{3}){2,}",
        "1,234.5": r"[0-9]{1,3}(,[0-9]{3})+\.[0-9]+",
        "1.234.567": r"[0-9]{1,3}(\.[0-9]{3}){2,}",
        "1.234,5": r"[0-9]{1,3}(\.[0-9]{3})+,[0-9]+",
        "1 234": rf"[0-9]{{1,3}}({_BLANK}[0-9]{{3}})+",
        "1 234.5": rf"[0-9]{{1,3}}({_BLANK}[0-9]{{3}})+\.[0-9]+",
        "1 234,5": rf"[0-9]{{1,3}}({_BLANK}[0-9]{{3}})+,[0-9]+",
    }.items()
}
_DECIMAL_COMMA, _DECIMAL_POINT = {"1,2", "1.234,5", "1 234,5"}, {"1,234.5", "1 234.5"}
_COMMA_THOUSANDS, _POINT_THOUSANDS = {"1,234,567", "1,234.5"}, {"1.234.567", "1.234,5"}
_PLAIN_POINT = re.compile(_SIGN + r"[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?")
_PLAIN_NUMBER = re.compile(_SIGN + r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_MAYBE_POINT_THOUSANDS = re.compile(_SIGN + r"[1-9][0-9]{0,2}\.[0-9]{3}")
_SEPARATOR = re.compile(rf",|\.[0-9]{{3}}\.|[0-9]{_BLANK}[0-9]")
_DIGITS_AND_SIGNS = re.compile(rf"{_SIGN}[0-9](?:[0-9.,]|{_BLANK})*([eE][+-]?[0-9]+)?")
_BLANK_BETWEEN = re.compile(rf"(?<=[0-9]){_BLANK}(?=[0-9]{{3}})")
MISSING_WORDS = frozenset({"", "na", "nan", "n/a", "#n/a", "null", "none"})
_DEGREES = re.compile(r"\d\s*°|\d\s*[NSEWO]$")
_FEW_TEXTS, _FEW_WORDS = 4, 12


def with_numbers(text: pd.DataFrame) -> pd.DataFrame:
    """Make empty cells missing, and columns of nothing but numbers numeric, except codes such as 007."""
    columns = {}
    for name in text.columns:
        cells = text[name].str.strip()
        filled = cells[cells != ""]
        numbers = pd.to_numeric(filled, errors="coerce")
        plain = len(filled) and numbers.notna().all() and not filled.str.match(r"[+-]?0\d").any()
        columns[name] = numbers.reindex(cells.index) if plain else cells.where(cells != "", None)
    return pd.DataFrame(columns, index=text.index)


def with_decimal_points(frame: pd.DataFrame, lines: NDArray[np.int64], together: bool) -> list[Problem]:
    """Write numbers with a decimal point and nothing else between their digits, in place, where the table tells how.

    1,250 is a thousand in one half of the world and one in the other; 0,5 or 1,250.5 tells which. Where commas are no
    delimiters, one column tells for the others (`together`); where they are, what is quoted may be a list.
    """
    notations = {name: _notation(frame[name]) for name in frame.columns}
    decimal_somewhere = together and any(not _DECIMAL_COMMA.isdisjoint(kinds) for kinds in notations.values())
    thousands_somewhere = together and any(not _COMMA_THOUSANDS.isdisjoint(kinds) for kinds in notations.values())
    problems = []
    for name, kinds in notations.items():
        if not kinds and not decimal_somewhere:
            continue
        decimal, thousands = not _DECIMAL_COMMA.isdisjoint(kinds), not _COMMA_THOUSANDS.isdisjoint(kinds)
        if "1,234" in kinds and not decimal and not thousands and decimal_somewhere != thousands_somewhere:
            decimal, thousands = decimal_somewhere, thousands_somewhere
        point_thousands = not _POINT_THOUSANDS.isdisjoint(kinds)
        plain, unclear = _decimal_points(frame[name]) if kinds or decimal_somewhere else (False, "")
        point = plain or not _DECIMAL_POINT.isdisjoint(kinds) or (bool(unclear) and not point_thousands)
        if (decimal and (thousands or point)) or (point_thousands and (thousands or point)):
            example = next(cell for kind, cell in kinds.items() if "," in kind or kind in _POINT_THOUSANDS)
            rows = _rows_of(frame[name], example, lines)
            message = f"column {name!r}: has both decimal commas and points ({example!r}); make them one (row {rows})"
            problems.append(Problem("error", name, message, "mixed-decimal", 1))
        elif "1,234" in kinds and not decimal and not thousands:
            problems.append(_unclear(frame[name], "comma", kinds["1,234"], lines))
        elif decimal_somewhere and unclear and not plain and not thousands and not point_thousands:
            problems.append(_unclear(frame[name], "point", unclear, lines))
        elif kinds:
            frame[name] = _rewritten(frame[name], decimal, thousands, point_thousands)
            if decimal:
                problems.append(Problem("note", name, f"{name} is read with a decimal comma", "decimal-comma"))
            grouped = [cell for kind, cell in kinds.items() if kind not in ("1,2", "1,234")]
            if grouped or thousands:
                message = f"{name} is read without its thousands separators ({(grouped or [kinds['1,234']])[0]!r})"
                problems.append(Problem("note", name, message, "thousands"))
    return problems


def _rows_of(column: pd.Series, cell: str, lines: NDArray[np.int64]) -> str:
    return first_rows(lines[(column.str.strip() == cell).to_numpy()])


def _unclear(column: pd.Series, sign: str, example: str, lines: NDArray[np.int64]) -> Problem:
    name = str(column.name)
    return Problem(
        "error", name,
        f"column {name!r}: is the {sign} in {example!r} a decimal one, or does it part thousands (row "
        f"{_rows_of(column, example, lines)})? Nothing in the table tells; write decimal points, or no thousands "
        "separators",
        "ambiguous-comma", 1,
    )  # fmt: skip


def _notation(column: pd.Series) -> dict[str, str]:
    """Return the ways in which the numbers of a column are written, each with an example; plain ones are left out.

    Nothing where a comma is part of no number, or where most cells are no numbers: the column is a text.
    """
    cells = column.tolist()
    if not _SEPARATOR.search("\n".join(cells)):  # the whole column at once, because most have none
        return {}
    found: dict[str, str] = {}
    for cell in {cell.strip() for cell in cells if _SEPARATOR.search(cell)}:
        kind = next((kind for kind, pattern in _NOTATIONS.items() if pattern.fullmatch(cell)), None)
        if kind is not None:
            found.setdefault(kind, cell)
        elif "," in cell:
            return {}
    if found.keys() - {"1 234"}:
        return found
    # A blank between digits is more often one between words.
    filled = [cell.strip() for cell in cells if cell.strip()]
    numbers = sum(bool(_PLAIN_NUMBER.fullmatch(cell) or _NOTATIONS["1 234"].fullmatch(cell)) for cell in filled)
    return found if 2 * numbers > len(filled) else {}


def _decimal_points(column: pd.Series) -> tuple[bool, str]:
    """Return whether some points are surely decimal ones, and an example of one that may part thousands."""
    with_point = column[column.str.contains(".", regex=False)].str.strip()
    plain = with_point[with_point.str.fullmatch(_PLAIN_POINT)]
    unclear = plain[plain.str.fullmatch(_MAYBE_POINT_THOUSANDS)]
    return len(unclear) < len(plain), "" if unclear.empty else str(unclear.iloc[0])


def _rewritten(column: pd.Series, decimal: bool, thousands: bool, point_thousands: bool) -> pd.Series:
    """Return a column whose numbers have decimal points and nothing else between their digits; texts stay."""
    numbers = column.str.strip().str.fullmatch(_DIGITS_AND_SIGNS)
    cells = column[numbers].str.replace(_BLANK_BETWEEN, "", regex=True)
    if thousands:
        cells = cells.str.replace(",", "", regex=False)
    if point_thousands:
        cells = cells.str.replace(".", "", regex=False)
    if decimal:
        cells = cells.str.replace(",", ".", regex=False)
    return cells.reindex(column.index).fillna(column)


def numbers_of(cells: pd.Series, words: Iterable[str] = ()) -> tuple[NDArray[np.float64], list[tuple[int, str]]]:
    """Return the numbers in cells, NaN where there is none; and rows and texts of what is neither number nor missing.

    Texts are looked at only where there is no number, because most cells of a survey are numbers.
    """
    if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan, copy=True), []
    texts = cells_as_text(cells)
    numbers = pd.to_numeric(np.array(texts, dtype=object), errors="coerce")
    values = np.array(numbers, dtype=np.float64)
    missing = MISSING_WORDS | set(words)
    odd = [(int(at), texts[at].strip()) for at in np.flatnonzero(np.isnan(values))]
    odd = [(at, text) for at, text in odd if text.lower() not in missing]
    # pandas knows no blank but the usual one, and a spreadsheet writes others around numbers.
    again = [(at, text) for at, text in odd if text != texts[at]]
    if again:
        at = [at for at, _ in again]
        values[at] = pd.to_numeric(np.array([text for _, text in again], dtype=object), errors="coerce")
    return values, [(at, text) for at, text in odd if np.isnan(values[at])]


def cells_as_text(cells: pd.Series) -> list[str]:
    """Return cells as text, '' where they are missing."""
    return [cell if isinstance(cell, str) else "" if pd.isna(cell) else str(cell) for cell in cells.tolist()]


def scan_numbers(
    cells: pd.Series, header: str, lines: NDArray[np.int64], words: Iterable[str] = ()
) -> tuple[NDArray[np.float64], list[Problem]]:
    """Return plain numbers, such as coordinates, and what is wrong with them."""
    values, odd = numbers_of(cells, words)
    problems = [not_a_number(header, odd, lines, ())] if odd else []
    if any(_DEGREES.search(text) for _, text in odd):
        rows = first_rows(lines[[at for at, _ in odd]])
        message = (
            f"column {header!r}: {odd[0][1]!r} is no number (row {rows}); write decimal degrees, west and south "
            "negative"
        )
        problems = [Problem("error", header, message, "text", len(odd))]
    infinite = np.isinf(values)
    if infinite.any():
        problems.append(infinite_numbers(header, lines[infinite]))
    values[infinite] = np.nan
    return values, problems


def not_a_number(
    header: str, wrong: Sequence[tuple[int, str]], lines: NDArray[np.int64], missing: Sequence[float | str]
) -> Problem:
    """Return the error for texts in a column of numbers."""
    words = list(dict.fromkeys(text for _, text in wrong))
    shown = ", ".join(map(repr, words[:4])) + (" …" if len(words) > 4 else "")
    # As many different words as that, or with figures in them, are no codes, but a column of text.
    figures = any(re.search(r"\d", word) and not word.startswith("#") for word in words)  # #DIV/0! is a word
    few = len(words) <= (_FEW_TEXTS if figures else _FEW_WORDS)
    declare = words if few else []
    return Problem(
        "error", header,
        f"column {header!r}: {shown} is no number (row {first_rows(lines[[at for at, _ in wrong]])}); if it stands for "
        f"a missing value, pass missing=[{', '.join(map(repr, declare or words[:1]))}]",
        "text", len(wrong), {"missing": [*missing, *declare]} if declare else {},
    )  # fmt: skip


def infinite_numbers(header: str, lines: NDArray[np.int64]) -> Problem:
    """Return the error for infinite numbers."""
    message = f"column {header!r}: infinite or too large a number (row {first_rows(lines)}); correct or empty the cell"
    return Problem("error", header, message, "infinite", len(lines))
