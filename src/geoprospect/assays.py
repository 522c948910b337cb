"""Columns of assays: which they are, in which unit, and what their cells say."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geoprospect._checks import (
    did_you_mean,
    first_rows,
)
from geoprospect.errors import InputError, NameNotFoundError

log = logging.getLogger("geoprospect")

_UNITS = {
    "ppm": "ppm", "mgkg": "ppm", "mg/kg": "ppm", "ug/g": "ppm", "ugg": "ppm", "g/t": "ppm", "gt": "ppm", "gpt": "ppm",
    "ppb": "ppb", "ugkg": "ppb", "ug/kg": "ppb", "ng/g": "ppb", "mg/t": "ppb", "ppt": "ppt",
    "pct": "%", "percent": "%", "perc": "%", "%": "%", "wt%": "%", "wtpct": "%",
}  # fmt: skip

# What laboratories report, so not the noble gases and the short-lived; names for tables like meuse.
_SYMBOLS = (
    "Ag Al As Au B Ba Be Bi Br C Ca Cd Ce Cl Co Cr Cs Cu Dy Er Eu F Fe Ga Gd Ge Hf Hg Ho I In Ir K La Li Lu Mg Mn Mo "
    "N Na Nb Nd Ni Os P Pb Pd Pr Pt Rb Re Rh Ru S Sb Sc Se Si Sm Sn Sr Ta Tb Te Th Ti Tl Tm U V W Y Yb Zn Zr SiO2 "
    "TiO2 Al2O3 Fe2O3 TFe2O3 Fe2O3T FeO MnO MgO CaO Na2O K2O P2O5 Cr2O3 SO3 BaO LOI TOC TC Silver Aluminium Arsenic "
    "Gold Boron Barium Beryllium Bismuth Cadmium Cerium Cobalt Chromium Copper Fluorine Iron Gallium Mercury "
    "Lanthanum Lithium Magnesium Manganese Molybdenum Niobium Nickel Lead Palladium Platinum Antimony Scandium "
    "Selenium Tin Strontium Tellurium Thorium Titanium Thallium Uranium Vanadium Tungsten Yttrium Zinc Zirconium "
).split()
_ANALYTES = frozenset(_SYMBOLS) | {s.upper() for s in _SYMBOLS} | {s.lower() for s in _SYMBOLS if len(s) > 2}
_ANALYTES_LOWER = frozenset(s.lower() for s in _SYMBOLS)
_NOT_VALUES = {"bdl", "flag", "qual", "qualifier", "dl", "lod", "mdl", "lld", "unit", "method",
               "rsd", "sd", "std", "err", "error", "unc", "uncertainty"}  # fmt: skip
_MISSING = {"", "na", "nan", "n/a", "#n/a", "null", "none"}
_LIMIT = re.compile(r"^\s*<\s*(\d.*|\.\d.*)$")


def _analyte_and_unit(header: str) -> tuple[str, str, bool]:
    """Split 'Cu_ppm_icp' into ('Cu', 'ppm', True); the flag says if it looks like an assay."""
    tokens = [token for token in re.split(r"[\s_()\[\],;:]+", header.strip()) if token]
    if not tokens or any(token.lower() in _NOT_VALUES for token in tokens):
        return header, "", False
    lower = [token.lower().replace("µ", "u").replace("μ", "u") for token in tokens[1:]]  # the sign and the letter
    units = [_UNITS[token] for token in lower if token in _UNITS]
    if units:
        # A percentage may be of anything: clay, slope, cover.
        return tokens[0], units[0], units[0] != "%" or tokens[0].lower() in _ANALYTES_LOWER
    return header, "", header in _ANALYTES


def element_columns(frame: pd.DataFrame, elements: Sequence[str] | None, taken: set[str]) -> list[str]:
    """Return the columns to take, in the order of the table or of `elements`."""
    free = [str(name) for name in frame.columns if name not in taken]
    if elements is None:
        # Beside a bare X, a bare Y is a northing, not yttrium.
        northing = {"Y"} if "X" in frame.columns else set()
        found = [name for name in free if _analyte_and_unit(name)[2] and name not in northing]
        if not found:
            raise NameNotFoundError(
                f"elements=None: no header is an element or ends in a unit among {', '.join(free)}; "
                "name the columns, for example elements=['Cu', 'Zn'], units='ppm'"
            )
        skipped = [name for name in free if name not in found]
        if skipped:
            log.info("columns not taken as elements: %s", ", ".join(skipped))
        return found
    by_analyte: dict[str, list[str]] = {}
    for name in free:
        by_analyte.setdefault(_analyte_and_unit(name)[0], []).append(name)
    columns = []
    for wanted in [elements] if isinstance(elements, str) else elements:
        matches = [wanted] if wanted in free else by_analyte.get(wanted, [])
        if not matches:
            raise NameNotFoundError(
                f"elements: there is no column {wanted!r}; there are {', '.join(free)}"
                f"{did_you_mean(str(wanted), [*free, *by_analyte])}"
            )
        if len(matches) > 1:
            raise InputError(
                f"elements: {wanted!r} may be any of {', '.join(map(repr, matches))}; give the whole header"
            )
        columns.append(matches[0])
    if not columns:
        raise InputError("elements=[]: needs at least one; leave it out to take all that the table has")
    return columns


def names_and_units(
    columns: list[str], units: str | Mapping[str, str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return element names (the whole header where two would be alike) and their units."""
    split = [_analyte_and_unit(column) for column in columns]
    count = Counter(name for name, _, _ in split)
    names = [name if count[name] == 1 else column for (name, _, _), column in zip(split, columns, strict=True)]
    if isinstance(units, str):
        return tuple(names), (units,) * len(names)
    given = dict(units or {})
    unknown = [key for key in given if key not in names and key not in columns]
    if unknown:
        raise NameNotFoundError(
            f"units: there is no element {unknown[0]!r}; there are {', '.join(names)}{did_you_mean(unknown[0], names)}"
        )
    found = [
        given.get(name, given.get(column, unit))
        for name, column, (_, unit, _) in zip(names, columns, split, strict=True)
    ]
    bare = [name for name, unit in zip(names, found, strict=True) if not unit]
    if bare:
        log.info("no unit is known for %s; give units=", ", ".join(bare))
    return tuple(names), tuple(found)


def parse_column(
    cells: pd.Series,
    name: str,
    lines: NDArray[np.int64],
    missing: Sequence[float | str] | None,
    below: str,
    negative: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn a column into values and detection limits (NaN where a value is not censored)."""
    words = {str(word).strip().lower() for word in missing or () if isinstance(word, str)}
    sentinels = [float(number) for number in missing or () if not isinstance(number, str)]
    text = cells.astype("string").str.strip().fillna("")
    empty = text.str.lower().isin(_MISSING | words).to_numpy()
    values = pd.to_numeric(text.where(~empty), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    limits = np.full(values.shape, np.nan)
    odd = np.flatnonzero(np.isnan(values) & ~empty)
    if odd.size:
        limit_text = text.iloc[odd].str.extract(_LIMIT, expand=False)
        limits[odd] = pd.to_numeric(limit_text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = odd[np.isnan(limits[odd])]
        if wrong.size:
            shown = ", ".join(sorted({repr(str(text.iloc[i])) for i in wrong[:20]})[:4])
            raise InputError(
                f"column {name!r}: {shown} is no number (row {first_rows(lines[wrong])}); if it stands for "
                f"a missing value, pass missing=[{text.iloc[wrong[0]]!r}]"
            )
    values[np.isin(values, sentinels)] = np.nan
    infinite = np.isinf(values) | np.isinf(limits)
    if infinite.any():
        rows = first_rows(lines[infinite])
        raise InputError(f"column {name!r}: infinite or too large a number (row {rows}); correct or empty the cell")
    if negative != "keep" and (values < 0).any():
        values, limits = _handle_negative(values, limits, name, lines, negative)
    censored = ~np.isnan(limits)
    if censored.any():
        if below == "raise":
            rows = first_rows(lines[censored])
            raise InputError(
                f"column {name!r}: {int(censored.sum())} values below detection (row {rows}); choose "
                "below='half', 'sqrt2' or 'nan'"
            )
        factor = {"half": 0.5, "sqrt2": 0.5**0.5, "nan": np.nan}[below]
        values[censored] = limits[censored] * factor
    return values, limits


def _handle_negative(
    values: NDArray[np.float64], limits: NDArray[np.float64], name: str, lines: NDArray[np.int64], negative: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.flatnonzero(values < 0)
    if negative == "raise":
        common, count = Counter(values[at].tolist()).most_common(1)[0]
        raise InputError(
            f"column {name!r}: {at.size} negative concentrations (row {first_rows(lines[at])}), most often "
            f"{common:g} ({count} times); if that stands for a missing value, pass missing=[{common:g}]; if "
            "negative means 'below detection', pass negative='below'"
        )
    if negative == "below":
        limits[at] = -values[at]
    values[at] = np.nan
    return values, limits
