"""Problems found in a table: errors, warnings and notes, and the arguments that settle them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from geoprospect._checks import first_rows

_TITLES = {
    "text": "text that is no number", "infinite": "infinite or too large numbers",
    "sentinel": "what looks like a code for 'no value'", "negative": "negative concentrations",
    "impossible": "more than there can be", "flag": "flags that say neither below nor above",
    "mixed-decimal": "both decimal commas and points", "ambiguous-comma": "a comma or point that may part thousands",
    "unknown-limit": "values below a detection limit that the table does not say",
    "unit-change": "a maximum far above the median", "two-units": "two units",
    "zero": "zeros", "below": "values below detection",
    "over-range": "values above the upper limit", "decimal-comma": "read with a decimal comma",
    "thousands": "read without its thousands separators", "below-words": "words that are read as below detection",
    "flag-marks": "marks among flags that are not followed",
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """What is wrong, or worth knowing, about a table or one of its columns.

    Parameters
    ----------
    level : {'error', 'warning', 'note'}
        Errors keep a table from being read.
    where : str
        Header of the column; '' for the table.
    message : str
        What is so, where, the rule, and the cure.
    kind : str
        One word for problems of one sort.
    count : int
        Cells concerned.
    cure : mapping
        Arguments of `read_samples` that would settle it, for example ``{"missing": [-9999.0]}``.
    """

    level: Literal["error", "warning", "note"]
    where: str
    message: str
    kind: str
    count: int = 0
    cure: Mapping[str, Any] = field(default_factory=dict)


def summed_up(problems: Sequence[Problem]) -> list[str]:
    """Return one sentence for each kind of problem, however many columns have it."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind if problem.where else problem.message, []).append(problem)
    sentences = []
    for kind, alike in by_kind.items():
        if len(alike) == 1:
            sentences.append(alike[0].message)
            continue
        cells = f"{sum(p.count for p in alike):,} cells: " if any(p.count for p in alike) else ""
        names = first_rows((p.where for p in alike), 3)
        first = alike[0].message.removeprefix(f"column {alike[0].where!r}: ")
        sentences.append(
            f"{_TITLES.get(kind, kind)} in {len(alike)} columns ({cells}{names}); in {alike[0].where!r}: {first}"
        )
    return sentences


def listed(notes: Sequence[Problem]) -> list[str]:
    """Return one line for each kind of note: 'values below detection: Cu_ppm 2, Zn_ppm 3'."""
    lines: dict[str, list[str]] = {}
    for note in notes:
        columns = lines.setdefault(_TITLES[note.kind] if note.where else note.message, [])
        columns += [f"{note.where} {note.count}" if note.count else note.where] if note.where else []
    return [f"{title}: {', '.join(columns)}" if columns else title for title, columns in lines.items()]


def joint_cure(problems: Sequence[Problem]) -> dict[str, Any]:
    """Return the arguments that would settle all of these problems that an argument settles."""
    cure: dict[str, Any] = {}
    for problem in problems:
        for key, value in problem.cure.items():
            if key == "missing":
                cure[key] = list(dict.fromkeys([*cure.get(key, []), *value]))
            else:
                cure[key] = value
    return cure
