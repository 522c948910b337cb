"""`Header`: the element and unit that a column header names, and the columns of flags and limits beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from geoprospect._checks import did_you_mean
from geoprospect.errors import InputError, NameNotFoundError

_UNITS = {
    "ppm": "ppm", "mgkg": "ppm", "mg/kg": "ppm", "ug/g": "ppm", "ugg": "ppm", "g/t": "ppm", "gt": "ppm", "gpt": "ppm",
    "g/tonne": "ppm", "ppb": "ppb", "ugkg": "ppb", "ug/kg": "ppb", "ng/g": "ppb", "mg/t": "ppb", "ppt": "ppt",
    "ng/kg": "ppt", "pct": "%", "percent": "%", "perc": "%", "per/cent": "%", "%": "%", "wt%": "%", "wtpct": "%",
    "mass%": "%",
}  # fmt: skip
# Units of concentrations that are not converted here; a column in them is taken only when it is asked for.
_OTHER_UNITS = {
    "oz/t": "oz/t", "oz/ton": "oz/t", "ozt": "oz/t", "opt": "oz/t", "g/kg": "g/kg", "mg/l": "mg/l", "ug/l": "ug/l",
    "mgl": "mg/l", "ugl": "ug/l", "cps": "cps",
}  # fmt: skip
_PER_UNIT = {"ppt": 1e12, "ppb": 1e9, "ppm": 1e6, "%": 100.0}

# What laboratories report, so not the noble gases and the short-lived.
_SYMBOLS = (
    "Ag Al As Au B Ba Be Bi Br C Ca Cd Ce Cl Co Cr Cs Cu Dy Er Eu F Fe Ga Gd Ge Hf Hg Ho I In Ir K La Li Lu Mg Mn Mo "
    "N Na Nb Nd Ni Os P Pb Pd Pr Pt Rb Re Rh Ru S Sb Sc Se Si Sm Sn Sr Ta Tb Te Th Ti Tl Tm U V W Y Yb Zn Zr SiO2 "
    "TiO2 Al2O3 Fe2O3 TFe2O3 Fe2O3T Fe2O3tot FeO FeOT FeOtot MnO MgO CaO Na2O K2O P2O5 Cr2O3 SO3 BaO LOI TOC TC"
).split()
# For tables like meuse.
_NAMES = (
    "Silver Aluminium Arsenic Gold Boron Barium Beryllium Bismuth Cadmium Cerium Cobalt Chromium Copper Fluorine Iron "
    "Gallium Mercury Lanthanum Lithium Magnesium Manganese Molybdenum Niobium Nickel Lead Palladium Platinum Antimony "
    "Scandium Selenium Tin Strontium Tellurium Thorium Titanium Thallium Uranium Vanadium Tungsten Yttrium Zinc "
    "Zirconium"
).split()
_SPELLINGS = {symbol.lower(): symbol for symbol in _SYMBOLS}
# Without a unit, only these spellings are assays: a bare 'in' or 'co' may be anything.
_ANALYTES = frozenset(
    spelling for s in (*_SYMBOLS, *_NAMES) for spelling in (s, s.upper(), *([s.lower()] if len(s) > 2 else []))
)
_AS_USUAL = frozenset((*_SYMBOLS, *_NAMES))
_ANALYTES_LOWER = frozenset(s.lower() for s in (*_SYMBOLS, *_NAMES))
# How laboratories and surveys name methods behind an element: Al_XRF, Ag_INAA, Cu_ICP40, Au_FA, F_IC.
_METHOD = re.compile(
    r"(icp|icpms|icpaes|icpoes|icpes|ms|aes|oes|es|ees|dcpaes|dcp|xrf|edxrf|wdxrf|pxrf|inaa|naa|iinaa|dnaa|aa|aas|"
    r"faas|gfaas|gaas|hgaas|hg|cvaas|cvaa|cv|afs|fa|fire|ic|ise|ir|irs|gr|grav|gc|titr|comb|leco|dn|epma|"
    r"ar|aqr|aqua|regia|4a|me|total|tot|part|partial)\d{0,3}"
)
# What may stand before an element in a percentage, besides a method: Organic C %.
_OF_WHAT = frozenset("org organic inorg inorganic".split())
# Mass fractions as Chinese surveys write them: w(Cu)/10-6, w(Fe2O3)/%, Hg(×10⁻⁹).
_MASS_FRACTION = re.compile(r"^\s*[wωW]\s*[(（]\s*([A-Za-z0-9]+)\s*[)）]\s*/?")
_POWER = re.compile(r"(?:^|[/(（×*])\s*[×x*]?\s*10\s*\^?\s*[-−⁻]\s*([269²⁶⁹])(?![0-9])")
_POWER_UNITS = {"2": "%", "²": "%", "6": "ppm", "⁶": "ppm", "9": "ppb", "⁹": "ppb"}

FLAG_WORDS = frozenset("bdl below flag flg qual qualifier q qc sign censored cens remark remarks rmk code lt".split())
LIMIT_WORDS = frozenset("dl lod mdl lld ldl ld loq detlim".split())
_NOT_VALUES = (
    FLAG_WORDS
    | LIMIT_WORDS
    | frozenset(
        "unit units method rsd sd std stdev stddev var 1se 2se sigma 1sigma 2sigma 1s 2s ± +/ err error unc "
        "uncertainty log log10 ln lg clr alr ilr zscore rank percentile".split()
    )
)
# In one word, as in tables whose headers have ten letters at most: CUPPM, Fe%.
_UNIT_AT_END = re.compile(r"([A-Za-z0-9]+?)(ppm|ppb|pct|%)", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """A header and what it says."""

    text: str
    analyte: str  # as it is written, 'CU'; the whole header where it names none
    element: str  # spelled as usual, 'Cu'
    unit: str
    assay: bool


def read_header(text: str) -> Header:
    """Return what a header says: 'CU_ppm_icp' is Cu in ppm."""
    tokens = header_tokens(text)
    lower = [_plain(token) for token in tokens]
    if not tokens or any(token in _NOT_VALUES for token in lower):
        return Header(text, text, text, "", False)
    # 'mg/kg' may come as two words.
    words = [*lower[1:], *(f"{a}/{b}" for a, b in pairwise(lower[1:]))]
    units = [_UNITS[word] for word in words if word in _UNITS]
    at = _place_of_analyte(tokens) if units else 0
    # eU is uranium as its daughters tell, not europium.
    element = tokens[at] if tokens[at] == "eU" else _SPELLINGS.get(lower[at], tokens[at])
    if units:
        # A percentage may be of anything: clay, slope, cover.
        known = lower[at] in _ANALYTES_LOWER and all(_METHOD.fullmatch(w) or w in _OF_WHAT for w in lower[:at])
        return Header(text, tokens[at], element, units[0], units[0] != "%" or known)
    other = [_OTHER_UNITS[word] for word in words if word in _OTHER_UNITS]
    if other:
        return Header(text, tokens[0], element, other[0], False)
    if tokens[0] in _ANALYTES and all(_METHOD.fullmatch(token) for token in lower[1:]):
        return Header(text, tokens[0], element, "", True)
    return Header(text, text, text, "", False)


def _place_of_analyte(tokens: Sequence[str]) -> int:
    """Return which word of a header with a unit is the element: the first, or the one that a method stands before."""
    if tokens[0].lower() in _ANALYTES_LOWER:
        return 0
    return next((at for at, token in enumerate(tokens) if token in _ANALYTES), 0)


def header_tokens(text: str) -> list[str]:
    """Return the words of a header."""
    fraction = _MASS_FRACTION.match(text)
    of_what = fraction is not None and fraction[1].lower() in _ANALYTES_LOWER  # W(ppm) is tungsten
    words = _with_unit(_MASS_FRACTION.sub(r"\1 (", text) if of_what else text)
    tokens = [token for token in re.split(r"[\s_()（）\[\]{},;:.*#?-]+", words.strip()) if token]
    words_and_units = [(token, _UNIT_AT_END.fullmatch(token)) for token in tokens]  # CUPPM is Cu and ppm
    tokens = [
        part
        for token, found in words_and_units
        for part in (found.groups() if found and found[1].lower() in _ANALYTES_LOWER else (token,))
    ]
    return [*tokens[1:], tokens[0]] if len(tokens) > 1 and _plain(tokens[0]) in _UNITS else tokens


def _with_unit(text: str) -> str:
    """Return a header whose power of ten is spelled as the unit that it is: 'Cu/10-6' is 'Cu ppm'."""
    return _POWER.sub(lambda found: f" {_POWER_UNITS[found[1]]} ", text)


def unconverted(names: Sequence[str]) -> list[str]:
    """Return those headers that are in a unit of concentration which is not read: 'Au_oz/t'."""
    return [name for name in names if (unit := read_header(name).unit) and not known_unit(unit)]


def named_elements(names: Sequence[str]) -> list[str]:
    """Return those headers that are not read as assays but have an element among their words: 'Top5_As', 'CU_511P'."""
    found = []
    for name in names:
        tokens = header_tokens(name)
        symbols = [t for at, t in enumerate(tokens) if len(t) > 1 and (t in _AS_USUAL or (at == 0 and t in _ANALYTES))]
        if symbols and not {token.lower() for token in tokens} & _NOT_VALUES and not read_header(name).unit:
            found.append(name)
    return found


def known_unit(text: str) -> str:
    """Return 'ppm' for 'mg/kg', 'PPM' or '(g/t)'; '' for what is no unit of concentration."""
    word = _plain(_with_unit(text)).strip("()[] ").replace(" ", "").replace(".", "")
    return _UNITS.get(word, "")


def highest_possible(unit: str) -> float:
    """Return what an element can reach at most in this unit; infinity where the unit is unknown."""
    return _PER_UNIT.get(known_unit(unit), float("inf"))


def _plain(token: str) -> str:
    return token.lower().replace("µ", "u").replace("μ", "u")  # the sign and the letter


def assay_headers(
    names: Sequence[str], elements: Sequence[str] | None, with_unit: Collection[str] = ()
) -> list[Header]:
    """Return the columns to take, in the order of the table or of `elements`; none where no header is an assay.

    `with_unit` are those that a row of units below the header gives a unit.
    """
    headers = [read_header(name) for name in names]
    if elements is None:
        # Beside a bare X, a bare Y is a northing, not yttrium.
        northing = {"Y"} if "X" in names else set()
        assays = [h for h in headers if h.assay or (h.text in with_unit and h.text.lower() in _ANALYTES_LOWER)]
        return [h for h in assays if h.text not in northing]
    by_text = {h.text: h for h in headers}
    chosen = []
    for wanted in [elements] if isinstance(elements, str) else elements:
        matches = (
            [by_text[wanted]]
            if wanted in by_text
            else [] or [h for h in headers if h.analyte == wanted] or [h for h in headers if h.element == wanted]
        )
        if not matches:
            raise NameNotFoundError(
                f"elements: there is no column {wanted!r}; there are {', '.join(names)}"
                f"{did_you_mean(str(wanted), [*names, *(h.element for h in headers)])}"
            )
        if len(matches) > 1:
            alike = ", ".join(repr(h.text) for h in matches)
            raise InputError(f"elements: {wanted!r} may be any of {alike}; give the whole header")
        chosen.append(matches[0])
    if not chosen:
        raise InputError("elements=[]: needs at least one; leave it out to take all that the table has")
    twice = [text for text, count in Counter(h.text for h in chosen).items() if count > 1]
    if twice:
        raise InputError(f"elements: {twice[0]!r} stands more than once; name each column once")
    return chosen


def element_names(headers: Sequence[Header]) -> list[str]:
    """Return the element of each column, or the whole header where two columns have the same."""
    count = Counter(h.element for h in headers)
    return [h.element if count[h.element] == 1 else h.text for h in headers]


def given_for(
    argument: str, given: Mapping[str, Any], headers: Sequence[Header], names: Sequence[str]
) -> dict[str, Any]:
    """Return what a mapping by element or header gives for each header; refuse names that are no column."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        exact = [h.text for h, name in zip(headers, names, strict=True) if key in (name, h.text)]
        matches = exact or [h.text for h in headers if key in (h.analyte, h.element)]
        if not matches:
            raise NameNotFoundError(
                f"{argument}: there is no element {key!r}; there are {', '.join(names)}{did_you_mean(str(key), names)}"
            )
        found.update(dict.fromkeys(matches, value))
    return found


def companions(headers: Sequence[Header], others: Sequence[str], words: Collection[str]) -> dict[str, str]:
    """Return, for the headers of assays, the column beside them that their name and one of `words` make.

    'Cu_ppm_dl', 'Cu_dl' and 'Cu DL (ppm)' belong to 'Cu_ppm'; where an element has several columns,
    only the whole header tells which is meant.
    """
    by_words: dict[tuple[str, ...], str] = {tuple(map(_plain, header_tokens(h.text))): h.text for h in headers}
    count = Counter(h.element for h in headers)
    by_element = {h.analyte.lower(): h for h in headers if count[h.element] == 1}
    found: dict[str, str] = {}
    for other in others:
        tokens = [_plain(token) for token in header_tokens(other)]
        rest = [token for token in tokens if token not in words]
        if not rest or len(rest) == len(tokens):
            continue
        exact = by_words.get(tuple(rest))
        alone = by_element.get(rest[0])
        unit = read_header(" ".join(rest)).unit
        if exact is not None:
            found.setdefault(exact, other)
        elif alone is not None and (len(rest) == 1 or (unit and unit == alone.unit)):
            found.setdefault(alone.text, other)
    return found
