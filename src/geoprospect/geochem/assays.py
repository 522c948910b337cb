"""Cells of one column of assays: values, detection limits, flags, and the problems found in them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geoprospect._checks import first_rows
from geoprospect.geochem.headers import FLAG_WORDS, header_tokens, highest_possible
from geoprospect.io.number_parsing import MISSING_WORDS, cells_as_text, infinite_numbers, not_a_number, numbers_of
from geoprospect.io.problems import Problem

# Compared without dots, blanks and case: n.d., < DL, Below detection.
_BELOW_WORDS = frozenset(
    "nd bdl bd bld bql <dl <lod <mdl <lld <ldl <ld <loq <ql belowdetection belowdetectionlimit belowdl belowlod "
    "notdetected tr trace traces".split()
)
_DASHES = frozenset({"-", "--", "–", "—"})
_NUMBER = r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
_BELOW = re.compile(rf"(?:<=?|≤)\s*{_NUMBER}")
_ABOVE = re.compile(rf"(?:>=?|≥)\s*{_NUMBER}")

# Numbers that programs write for 'no value'; anything of 1e20 and more is one too (1.7e38, -3.4e38, 1e30).
_CODES = frozenset({-2147483648.0, -2147483647.0, 2147483647.0, -32768.0, -32767.0})
# Those that may be meant as 'below 99': only where that is more than is usually measured.
_DOUBTFUL_CODES = (-99.0, -88.0, -77.0, -9.0)
_HUGE = 1e20
_ROUNDING = 1.005  # sums and oxides come out a little above 100 %
_FAR_ABOVE = 1.05
_UNIT_CHANGE = 1e5

_FLAGS_BELOW = frozenset({"<", "<=", "≤", "l", "n", "bdl", "nd", "u", "lt", "below", "<dl", "<lod", "<mdl", "<lld"})
_FLAGS_ABOVE = frozenset({">", ">=", "≥", "g", "gt", "above"})
_FLAGS_NOTHING = MISSING_WORDS | {"="}
_MARKS = frozenset({"!", "?", "*", "#"})  # draw attention, and say nothing of a limit
_YES_AND_NO = (("true", "false"), ("1", "0"), ("1.0", "0.0"), ("yes", "no"), ("y", "n"), ("t", "f"))
# A 1 below these says that something is amiss, not what.
_NO_YES_OR_NO = frozenset({"qc", "code", "remark", "remarks", "rmk"})


@dataclass(frozen=True, eq=False)
class Column:
    """One column of assays as its cells say, before anything is put in the place of censored values.

    Parameters
    ----------
    header, element, unit : str
        Its header, and what that says.
    values : ndarray of shape (n,)
        In `unit`; NaN where missing or below detection, the limit where over range.
    limits : ndarray of shape (n,)
        Detection limit, or the upper limit where over range; NaN where there is none, or it is
        not known.
    below, above : ndarray of bool of shape (n,)
        Reported as below detection, and as over range.
    problems : tuple of Problem
        What was found.
    """

    header: str
    element: str
    unit: str
    values: NDArray[np.float64]
    limits: NDArray[np.float64]
    below: NDArray[np.bool_]
    above: NDArray[np.bool_]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Reading:
    """How cells are to be read: arguments of `read_samples` in a form that is quick to apply."""

    missing: tuple[float | str, ...] = ()
    no_codes: bool = False  # the user says that no number stands for 'no value'
    negative: str = "raise"
    zero: str = "keep"

    @property
    def words(self) -> frozenset[str]:
        """Words that mean missing, in lower case."""
        return frozenset(word.strip().lower() for word in self.missing if isinstance(word, str))

    @property
    def codes(self) -> list[float]:
        """Numbers that mean missing, '-9999' given as text included."""
        numbers = pd.to_numeric(pd.Series(self.missing, dtype=object), errors="coerce")
        return [float(number) for number in numbers if not np.isnan(number)]


def scan_column(
    cells: pd.Series,
    header: str,
    element: str,
    unit: str,
    lines: NDArray[np.int64],
    reading: Reading,
    *,
    limit: float | NDArray[np.float64] | None = None,
    flags: pd.Series | None = None,
) -> Column:
    """Read the cells of one column; `limit` stands in where a value is below one that is not said.

    `flags` is the column that says which values are below or above a limit.
    """
    n = len(cells)
    empty = Column(
        header, element, unit, np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, bool), np.zeros(n, bool), ()
    )
    column, problems = _of_cells(cells, empty, lines, reading)
    values, limits, below, above = column.values, column.limits, column.below, column.above
    stated = np.unique(limits[below & ~np.isnan(limits)])
    if flags is not None:
        problems += _follow_flags(column, flags, lines)
    values[below | above] = np.nan
    coded = np.isin(values, _codes(values, reading))
    if coded.any():
        problems.append(_coded(values, coded, header, lines, reading))
    negative, zero = (values < 0) & ~coded, values == 0
    if negative.any() and reading.negative == "raise":
        problems.append(_negatives(values, negative, header, lines))
    if negative.any() and reading.negative == "below":
        limits[negative] = -values[negative]
    if zero.any() and reading.zero == "keep":
        what = "a value below detection written down wrongly; logarithms refuse it"
        message = f"column {header!r}: {zero.sum()} zeros (row {first_rows(lines[zero])}): {what}; pass zero='below'"
        problems.append(Problem("note", header, message, "zero", int(zero.sum()), {"zero": "below"}))
    for at, policy in ((negative, reading.negative), (zero, reading.zero)):
        below |= at & (policy == "below")
        values[at & (policy in ("below", "missing"))] = np.nan
    values[above] = limits[above]
    problems += _impossible(np.where(coded, np.nan, np.fmax(values, limits)), header, element, unit, lines)
    for stand_in in (limit, stated[0] if len(stated) == 1 else None):
        unknown = below & np.isnan(limits)
        if stand_in is not None:
            limits[unknown] = np.broadcast_to(stand_in, unknown.shape)[unknown]
    return replace(column, problems=(*problems, *_counts(column)))


def _of_cells(
    cells: pd.Series, column: Column, lines: NDArray[np.int64], reading: Reading
) -> tuple[Column, list[Problem]]:
    """Fill in what each cell says by itself: a number, below a limit, over range, or missing."""
    header, limits, below, above = column.header, column.limits, column.below, column.above
    values, odd = numbers_of(cells, reading.words)
    said = {text: _cell(text) for text in {text for _, text in odd}}
    for at, text in odd:
        sign, limits[at] = said[text]
        below[at], above[at] = sign == "<", sign == ">"
    problems = []
    wrong = [(at, text) for at, text in odd if said[text][0] == ""]
    if wrong:
        problems.append(not_a_number(header, wrong, lines, reading.missing))
    words = Counter(text for _, text in odd if said[text][0] == "<" and np.isnan(said[text][1]))
    if words:
        shown = ", ".join(f"{word!r} {_times(n)}" for word, n in words.most_common(4))
        message = f"column {header!r}: {shown} is read as below detection; pass missing=[…] where it means not analysed"
        cure = {"missing": [*reading.missing, *words]}
        problems.append(Problem("note", header, message, "below-words", words.total(), cure))
    values[np.isin(values, reading.codes)] = np.nan
    infinite = np.isinf(values) | np.isinf(limits)
    if infinite.any():
        problems.append(infinite_numbers(header, lines[infinite]))
        values[infinite] = limits[infinite] = np.nan
        below[infinite] = above[infinite] = False
    return replace(column, values=values), problems


def _follow_flags(column: Column, flags: pd.Series, lines: NDArray[np.int64]) -> list[Problem]:
    """Fill in what the flags beside a column say; a number above zero is the limit that they mean."""
    is_below, is_above, problems = read_flags(flags, str(flags.name), lines)
    values, limits, below, above = column.values, column.limits, column.below, column.above
    is_below &= ~above
    is_above &= ~below & ~is_below & (values > 0)
    shown = (is_below & ~below & (values > 0)) | is_above
    limits[shown] = values[shown]
    below |= is_below
    above |= is_above
    return problems


def standing_limits(column: Column) -> NDArray[np.float64]:
    """Return the limits, and where one is unknown the smallest measured value above zero in its place.

    NaN where nothing is measured at all.
    """
    unknown = column.below & np.isnan(column.limits)
    return np.where(unknown, _smallest(column), column.limits)


def _smallest(column: Column) -> float:
    measured = column.values[(column.values > 0) & ~column.above]
    return float(measured.min()) if measured.size else float("nan")


def _cell(text: str) -> tuple[str, float]:
    """Return ('<', limit), ('>', limit), or ('', NaN) for what is nothing known; the limit is NaN where not said."""
    for sign, pattern in (("<", _BELOW), (">", _ABOVE)):
        match = pattern.fullmatch(text)
        if match:
            number = float(match[1])
            # Below zero says below a limit, but not which; above zero says nothing.
            return (sign, number) if number > 0 else (("<", np.nan) if sign == "<" else ("", np.nan))
    word = re.sub(r"[.\s]", "", text.lower())
    return ("<", np.nan) if word in _BELOW_WORDS or text in _DASHES else ("", np.nan)


def read_flags(
    cells: pd.Series, header: str, lines: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[Problem]]:
    """Return where flags say below and above, and what is to be said of those that say neither."""
    texts = [text.strip() for text in cells_as_text(cells)]
    present = {text.lower() for text in set(texts)} - _FLAGS_NOTHING
    below, nothing = set(_FLAGS_BELOW), _FLAGS_NOTHING | _MARKS
    if not {token.lower() for token in header_tokens(header)} & _NO_YES_OR_NO:
        for yes, no in _YES_AND_NO:
            # A lone N is 'not detected', not 'no'.
            if present and present <= {yes, no} and present != {"n"}:
                below, nothing = {yes}, nothing | {no}
    meaning = {text: text.lower() for text in set(texts)}
    wrong = [(at, text) for at, text in enumerate(texts) if meaning[text] not in below | _FLAGS_ABOVE | nothing]
    marks = Counter(text for text in texts if text in _MARKS)
    problems = []
    if marks:
        shown = ", ".join(f"{mark!r} {_times(n)}" for mark, n in marks.items())
        message = f"column {header!r}: {shown} says nothing of limits and is not followed"
        problems.append(Problem("note", header, message, "flag-marks", marks.total()))
    if wrong:
        shown = ", ".join(map(repr, sorted({text for _, text in wrong})[:4]))
        rows = first_rows(lines[[at for at, _ in wrong]])
        # Beside flags that are known, not to follow the column would make measured values of what is none.
        known = {text.lower() for text in set(texts)} & (below | _FLAGS_ABOVE)
        way = (
            "write what they mean, or empty them"
            if known
            else "name the columns of flags, flags={'Cu': 'Cu_flag'}, or pass flags=False"
        )
        message = (
            f"column {header!r}: {shown} says neither below detection ('<', L, N, BDL, ND, U) nor over range ('>', G) "
            f"(row {rows}); {way}"
        )
        problems.append(Problem("error", header, message, "flag", len(wrong), {} if known else {"flags": False}))
    is_below, is_above = (
        np.fromiter((meaning[text] in those for text in texts), dtype=bool, count=len(texts))
        for those in (below, _FLAGS_ABOVE)
    )
    return is_below, is_above, problems


def says_flags(cells: pd.Series, header: str, beside: str) -> bool:
    """Return whether a column right beside the assay `beside` holds nothing but comparison signs or USGS codes."""
    present = {text.strip() for text in set(cells_as_text(cells))} - {""} - _MARKS
    if not present or not present <= {"<", ">", "=", "≤", "≥", "<=", ">=", "N", "L", "G"}:
        return False
    words = [token.lower() for token in header_tokens(header)]
    # Letters may be anything, N for north; the header must say whose they are.
    return not present & {"N", "L", "G"} or not words or words[0] == beside.lower() or bool(set(words) & FLAG_WORDS)


def is_code(number: float) -> bool:
    """Return whether a number is one that programs write for 'no value': -999, -9999, 99999, 1e30, -32768."""
    whole, _, rest = repr(abs(number)).removesuffix(".0").partition(".")
    nines = set(whole + rest) == {"9"} and len(whole) >= (3 if number < 0 else 5)
    return nines or abs(number) >= _HUGE or number in _CODES


def _codes(values: NDArray[np.float64], reading: Reading) -> list[float]:
    """Return the numbers that look like 'no value' and were not declared, the most frequent first."""
    if reading.no_codes:
        return []
    # Only what is far out can be one, so that not every number is turned into text.
    far = Counter(values[(values <= -999) | (values >= 99999) | np.isin(values, _DOUBTFUL_CODES)].tolist())
    typical = float(np.median(values[values > 0])) if far and (values > 0).any() else 0.0
    return [
        number
        for number, _ in far.most_common()
        if (is_code(number) or (number in _DOUBTFUL_CODES and -number > typical and not reading.missing))
        and (number > 0 or reading.negative != "missing")
    ]


def _coded(
    values: NDArray[np.float64], coded: NDArray[np.bool_], header: str, lines: NDArray[np.int64], reading: Reading
) -> Problem:
    count = Counter(values[coded].tolist())
    shown = ", ".join(f"{number:.15g} {_times(n)}" for number, n in count.most_common(3))
    codes = ", ".join(f"{number:.15g}" for number in count)
    return Problem(
        "error", header,
        f"column {header!r}: {shown} (row {first_rows(lines[coded])}) looks like a code for 'no value' and not like a "
        f"concentration; pass missing=[{codes}], or missing=[] if the table has no such codes",
        "sentinel", int(coded.sum()), {"missing": [*reading.missing, *count]},
    )  # fmt: skip


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _negatives(
    values: NDArray[np.float64], negative: NDArray[np.bool_], header: str, lines: NDArray[np.int64]
) -> Problem:
    common, count = Counter(values[negative].tolist()).most_common(1)[0]
    return Problem(
        "error", header,
        f"column {header!r}: {int(negative.sum())} negative concentrations (row {first_rows(lines[negative])}), most "
        f"often {common:.15g} ({_times(count)}); if negative means 'below detection', pass negative='below'; if that "
        f"stands for a missing value, pass missing=[{common:.15g}]",
        "negative", int(negative.sum()), {"negative": "below"},
    )  # fmt: skip


def _impossible(
    values: NDArray[np.float64], header: str, element: str, unit: str, lines: NDArray[np.int64]
) -> list[Problem]:
    """Return what is more than all of a sample."""
    most = highest_possible(unit)
    at = values > most * _ROUNDING
    if not at.any():
        return []
    highest = float(values[at].max())
    # Percentages are rounded and summed; the other units are not used so near to their end.
    level: Literal["error", "warning"] = "warning" if most == 100 and highest <= most * _FAR_ABOVE else "error"
    return [
        Problem(
            level, header,
            f"column {header!r}: {int(at.sum())} values above {most:,.0f} {unit}, which is all there can be "
            f"(row {first_rows(lines[at])}), the highest {highest:.15g}; is the unit right? pass "
            f"units={{{element!r}: …}}, or missing=[{highest:.15g}] if it stands for a missing value",
            "impossible", int(at.sum()),
        )
    ]  # fmt: skip


def _counts(column: Column) -> list[Problem]:
    """Return notes on what is censored, and warnings where a limit or a unit is in doubt."""
    header, element, problems = column.header, column.element, []
    below, above = int(column.below.sum()), int(column.above.sum())
    if below:
        problems.append(Problem("note", header, f"column {header!r}: {below} values below detection", "below", below))
    if above:
        message = f"column {header!r}: {above} values above the upper limit of their method, kept as that limit"
        problems.append(Problem("note", header, message, "over-range", above))
    unknown = int((column.below & np.isnan(column.limits)).sum())
    if unknown:
        smallest = _smallest(column)
        what = (
            "nothing is measured either, so they are missing"
            if np.isnan(smallest)
            else f"the smallest measured value, {smallest:g}, stands in for it"
        )
        message = (
            f"column {header!r}: {unknown} values below a detection limit that the table does not say; {what}; give "
            f"the limit, for example limits={{{element!r}: {0.5 if np.isnan(smallest) else smallest:g}}}"
        )
        problems.append(Problem("warning", header, message, "unknown-limit", unknown))
    measured = column.values[column.values > 0]
    if measured.size >= 10 and measured.max() > _UNIT_CHANGE * np.median(measured) and measured.max() < _HUGE:
        message = (
            f"column {header!r}: the highest value, {measured.max():g}, is {measured.max() / np.median(measured):.0g} "
            "times the median; does the unit change within the column?"
        )
        problems.append(Problem("warning", header, message, "unit-change", 1))
    return problems
