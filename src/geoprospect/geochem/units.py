"""Atomic weights, masses of formulas, and factors between units of concentration."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

from geoprospect._checks import did_you_mean
from geoprospect.errors import InputError

# Standard atomic weights 2021, abridged to five digits (https://doi.org/10.1515/pac-2019-0603). Elements without
# a stable or long-lived isotope have none.
ATOMIC_WEIGHTS = {
    "H": 1.008, "He": 4.0026, "Li": 6.94, "Be": 9.0122, "B": 10.81, "C": 12.011, "N": 14.007, "O": 15.999,
    "F": 18.998, "Ne": 20.18, "Na": 22.99, "Mg": 24.305, "Al": 26.982, "Si": 28.085, "P": 30.974, "S": 32.06,
    "Cl": 35.45, "Ar": 39.95, "K": 39.098, "Ca": 40.078, "Sc": 44.956, "Ti": 47.867, "V": 50.942, "Cr": 51.996,
    "Mn": 54.938, "Fe": 55.845, "Co": 58.933, "Ni": 58.693, "Cu": 63.546, "Zn": 65.38, "Ga": 69.723, "Ge": 72.63,
    "As": 74.922, "Se": 78.971, "Br": 79.904, "Kr": 83.798, "Rb": 85.468, "Sr": 87.62, "Y": 88.906, "Zr": 91.224,
    "Nb": 92.906, "Mo": 95.95, "Ru": 101.07, "Rh": 102.91, "Pd": 106.42, "Ag": 107.87, "Cd": 112.41, "In": 114.82,
    "Sn": 118.71, "Sb": 121.76, "Te": 127.6, "I": 126.9, "Xe": 131.29, "Cs": 132.91, "Ba": 137.33, "La": 138.91,
    "Ce": 140.12, "Pr": 140.91, "Nd": 144.24, "Sm": 150.36, "Eu": 151.96, "Gd": 157.25, "Tb": 158.93, "Dy": 162.5,
    "Ho": 164.93, "Er": 167.26, "Tm": 168.93, "Yb": 173.05, "Lu": 174.97, "Hf": 178.49, "Ta": 180.95, "W": 183.84,
    "Re": 186.21, "Os": 190.23, "Ir": 192.22, "Pt": 195.08, "Au": 196.97, "Hg": 200.59, "Tl": 204.38, "Pb": 207.2,
    "Bi": 208.98, "Th": 232.04, "Pa": 231.04, "U": 238.03,
}  # fmt: skip

# Mass fractions, exact, so that 1 ppm is 0.0001 % and not 0.00009999…
_FRACTIONS = {
    "1": Fraction(1), "%": Fraction(1, 10**2), "g/kg": Fraction(1, 10**3), "kg/t": Fraction(1, 10**3),
    "ppm": Fraction(1, 10**6), "mg/kg": Fraction(1, 10**6), "ug/g": Fraction(1, 10**6), "g/t": Fraction(1, 10**6),
    "ppb": Fraction(1, 10**9), "ug/kg": Fraction(1, 10**9), "ng/g": Fraction(1, 10**9), "mg/t": Fraction(1, 10**9),
    "ppt": Fraction(1, 10**12), "ng/kg": Fraction(1, 10**12),
    "oz/t": Fraction(480, 2000 * 7000),  # grains in a troy ounce and in a short ton of 2,000 lb
}  # fmt: skip
_SPELLINGS = {"pct": "%", "percent": "%", "wt%": "%", "wt.%": "%", "wtpct": "%", "gpt": "g/t"}

_TOKEN = re.compile(r"([A-Z][a-z]?)(\d*)")
# Iron is reported as one of its oxides, or as the metal, for all of it: TFe2O3, Fe2O3T, Fe2O3t, FeOT, TFeO, FeO*, TFe.
_TOTAL_IRON = re.compile(r"T?(Fe2O3|FeO|Fe)(?:T|t|\*)?")


def composition(formula: str) -> dict[str, int]:
    """Return the numbers of atoms in a formula.

    Parameters
    ----------
    formula : str
        Symbols and counts without brackets: 'Fe2O3', 'CaCO3', 'Cu'. Total iron may be written TFe2O3, Fe2O3T,
        Fe2O3t, FeOT, TFeO, and so on: what is analysed as Fe2O3 and contains all iron has the mass of Fe2O3.

    Returns
    -------
    dict of str to int
        Atoms of each element.

    Raises
    ------
    InputError
        When it is no formula, as LOI, TC and pH are none.

    Examples
    --------
    >>> from geoprospect.geochem.units import composition
    >>> composition("TFe2O3")
    {'Fe': 2, 'O': 3}
    """
    text = str(formula).strip()
    iron = _TOTAL_IRON.fullmatch(text)
    tokens = _TOKEN.findall(iron[1] if iron else text)
    whole = "".join(symbol + count for symbol, count in tokens) == (iron[1] if iron else text)
    unknown = [symbol for symbol, count in tokens if symbol not in ATOMIC_WEIGHTS or count.startswith("0")]
    if not tokens or not whole or unknown:
        options = [*ATOMIC_WEIGHTS, "SiO2", "TiO2", "Al2O3", "Fe2O3", "FeO", "MnO", "MgO", "CaO", "Na2O", "K2O", "P2O5"]
        raise InputError(
            f"formula={formula!r}: is no chemical formula; needs symbols and counts without brackets, such as 'Fe2O3'"
            f"{did_you_mean(text, options)}. Quantities such as LOI, TC or pH have no formula: leave them out"
        )
    atoms: Counter[str] = Counter()
    for symbol, count in tokens:
        atoms[symbol] += int(count or 1)
    return dict(atoms)


def formula_weight(formula: str) -> float:
    """Return the mass of a formula.

    Parameters
    ----------
    formula : str
        As in `composition`.

    Returns
    -------
    float
        In g/mol, from the abridged standard atomic weights of 2021 [1]_.

    Raises
    ------
    InputError
        When it is no formula.

    References
    ----------
    .. [1] Prohaska, T. et al. (2022). Standard atomic weights of the elements 2021 (IUPAC Technical Report).
       Pure and Applied Chemistry 94, 573-600. https://doi.org/10.1515/pac-2019-0603

    Examples
    --------
    >>> from geoprospect.geochem.units import formula_weight
    >>> round(formula_weight("Fe2O3"), 3)
    159.687
    """
    return sum(ATOMIC_WEIGHTS[symbol] * count for symbol, count in composition(formula).items())


def oxide_factor(species: str, to: str) -> float:
    """Return how much of one species is in another, or is made of it.

    Parameters
    ----------
    species, to : str
        Formulas that share one element besides oxygen: 'Fe2O3' and 'Fe', 'FeO' and 'Fe2O3', 'CaCO3' and 'CO2'.

    Returns
    -------
    float
        Mass of `to` per mass of `species`, both with the same amount of the shared element.

    Raises
    ------
    InputError
        When one is no formula, or they share none or several elements besides oxygen.

    Examples
    --------
    >>> from geoprospect.geochem.units import oxide_factor
    >>> round(oxide_factor("Fe2O3", "Fe"), 4)
    0.6994
    >>> round(oxide_factor("Si", "SiO2"), 4)
    2.1393
    """
    first, second = composition(species), composition(to)
    if first == second:
        return 1.0
    shared = [symbol for symbol in first if symbol in second and symbol != "O"]
    if len(shared) != 1:
        both = f"share {', '.join(shared)}" if shared else "share no element besides oxygen"
        raise InputError(
            f"species={species!r}, to={to!r}: they {both}, need one to go by; name a species of the same element, "
            "such as 'Fe' for 'Fe2O3'"
        )
    atoms = first[shared[0]] / second[shared[0]]
    return atoms * formula_weight(to) / formula_weight(species)


def check_unit(name: str, unit: str) -> str:
    """Return the usual spelling of a unit of concentration: 'PPM' is 'ppm', 'pct' is '%', 'µg/kg' is 'ug/kg'."""
    text = str(unit).strip().lower().replace("µ", "u").replace("μ", "u").replace(" ", "")  # the sign and the letter
    text = _SPELLINGS.get(text, text)
    if text not in _FRACTIONS:
        state = "no unit is known" if not text else "is no unit of concentration that can be converted"
        raise InputError(f"{name}={unit!r}: {state}; needs one of {', '.join(_FRACTIONS)} ('1' is a mass fraction)")
    return text


def unit_factor(unit: str, to: str) -> float:
    """Return the factor from one unit of concentration to another.

    Parameters
    ----------
    unit, to : str
        '%', 'g/kg', 'kg/t', 'ppm', 'mg/kg', 'ug/g', 'g/t', 'ppb', 'ug/kg', 'ng/g', 'mg/t', 'ppt' (parts per
        trillion, 1e-12), 'ng/kg', 'oz/t', or '1' for a mass fraction. 'oz/t' is the troy ounce per short ton,
        34.2857 g/t, as North American assays have it; it is not an ounce per tonne.

    Returns
    -------
    float
        What a value in `unit` is multiplied by to be in `to`.

    Raises
    ------
    InputError
        When a unit is unknown.

    Examples
    --------
    >>> from geoprospect.geochem.units import unit_factor
    >>> unit_factor("ppm", "%")
    0.0001
    >>> round(unit_factor("oz/t", "g/t"), 4)
    34.2857
    """
    return float(_FRACTIONS[check_unit("unit", unit)] / _FRACTIONS[check_unit("to", to)])


def is_unit(text: str) -> bool:
    """Return whether a text is a unit that can be converted."""
    try:
        check_unit("unit", text)
    except InputError:
        return False
    return True
