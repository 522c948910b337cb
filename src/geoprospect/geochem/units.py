"""Units of concentration: atomic weights, oxide factors, conversion of samples and bands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from geoprospect._checks import check_names, did_you_mean
from geoprospect.errors import InputError
from geoprospect.geochem.columns import Data, as_survey, names_of, units_of
from geoprospect.geochem.samples import Samples

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


def convert_units(data: Data, to: str | Mapping[str, str]) -> Data:
    """Convert concentrations to another unit, or to another species of the same element.

    Parameters
    ----------
    data : xarray.Dataset or Samples
        Bands or elements with known units.
    to : str or mapping
        One unit for all, such as 'ppm'; or for some of them, by name, a unit ('ppb'), a species
        ('Fe') or both ('Fe ppm'). Species are formulas: an oxide, a metal, total iron as TFe2O3,
        Fe2O3T or FeOT. Units: see `geoprospect.geochem.units.unit_factor`.

    Returns
    -------
    xarray.Dataset or Samples
        Values in the new units, with detection limits; what was converted to a species has its
        name. float32 stays float32, and bands backed by dask stay lazy.

    Raises
    ------
    InputError
        When a unit or species is unknown, no unit is known where one is needed, or two bands would
        have one name.
    NameNotFoundError
        When a name is not there.

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[0, 0], [0, 90]], [[6.0, 0.5], [4.0, 2.5]], ["TFe2O3", "Au"], ["%", "ppm"], "EPSG:32649")
    >>> converted = gp.convert_units(samples, {"TFe2O3": "Fe ppm", "Au": "ppb"})
    >>> converted.elements, converted.units
    (('Fe', 'Au'), ('ppm', 'ppb'))
    >>> converted.values.round()
    array([[41966.,   500.],
           [27977.,  2500.]])
    """
    names, units = names_of(data), units_of(data)
    wanted = dict.fromkeys(names, check_unit("to", to)) if isinstance(to, str) else dict(to)
    check_names("to", wanted, names, "band or element")
    plans = [plan_of(name, unit, wanted.get(name)) for name, unit in zip(names, units, strict=True)]
    new_names, new_units = [plan.name for plan in plans], [plan.unit for plan in plans]
    twice = [name for name, count in Counter(new_names).items() if count > 1]
    if twice:
        both = [name for name, new in zip(names, new_names, strict=True) if new == twice[0]]
        raise InputError(
            f"to: {' and '.join(map(repr, both))} would both be named {twice[0]!r}; leave one of them out first"
        )
    if isinstance(data, Samples):
        factors = np.array([plan.factor for plan in plans])
        return replace(
            data, values=data.values * factors, limits=data.limits * factors,
            elements=tuple(new_names), units=tuple(new_units),
        )  # fmt: skip
    bands, long_names = [], []
    for name, plan in zip(names, plans, strict=True):
        band = data[name].variable
        same = np.issubdtype(band.dtype, np.floating)
        bands.append(band.data * plan.factor if same else (band.data * plan.factor).astype(np.float32))
        long_name = str(data[name].attrs.get("long_name", name))
        species = plan.name if long_name == name else f"{plan.name}, from {long_name}"
        long_names.append(long_name if plan.name == name else species)
    result = as_survey(data, new_names, bands, new_units, long_names)
    for name in set(names) - set(wanted):  # such as a class or an elevation, with all that is known of it
        result[name] = data[name]
    return result


@dataclass(frozen=True)
class _Plan:
    """What becomes of a band when units are converted."""

    name: str
    unit: str
    factor: float


def plan_of(name: str, unit: str, to: str | None) -> _Plan:
    """Return new name and unit, and the factor to them; `to` is a unit, a species, or both."""
    if to is None:
        return _Plan(name, unit, 1.0)
    words = str(to).split()
    species, target = (words[0], words[1]) if len(words) == 2 else ("", str(to).strip())
    if not species and not is_unit(target):
        species, target = target, unit
    if len(words) > 2 or (len(words) == 2 and not is_unit(target)):
        raise InputError(f"to[{name!r}]={to!r}: needs a unit ('ppm'), a species ('Fe'), or both ('Fe ppm')")
    factor = 1.0
    if species:
        try:
            factor = oxide_factor(name, species)
        except InputError as err:
            raise InputError(f"to[{name!r}]={to!r}: {err}") from None
    if target == unit:
        return _Plan(species or name, unit, factor)
    if not unit:
        raise InputError(
            f"data[{name!r}]: its unit is not known; say it, read_samples(…, units={{{name!r}: 'ppm'}}) or "
            f"survey[{name!r}].attrs['units'] = 'ppm'"
        )
    return _Plan(species or name, check_unit("to", target), factor * _factor(name, unit, target))


def _factor(name: str, unit: str, to: str) -> float:
    """Return the factor between units, or raise with the name of the band."""
    if not is_unit(unit):
        raise InputError(
            f"data[{name!r}]: is in {unit!r}, which is no unit of concentration; leave it out, or name the bands to "
            "convert: to={'Cu': 'ppm'}"
        )
    return unit_factor(unit, to)
