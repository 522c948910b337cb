"""Masses of formulas and factors of units: known numbers, ways back, and refusals that say what to do."""

import itertools

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoprospect.errors import InputError
from geoprospect.geochem import units as units_module
from geoprospect.geochem.units import check_unit, composition, formula_weight, is_unit, oxide_factor, unit_factor

UNITS = sorted(units_module._FRACTIONS)


@pytest.mark.parametrize(
    ("formula", "weight"),
    [("H2O", 18.015), ("SiO2", 60.083), ("Fe2O3", 159.687), ("FeO", 71.844), ("CaCO3", 100.086), ("Au", 196.97),
     ("KAlSi3O8", 278.327), ("CO", 28.010), ("Co", 58.933)],
)  # fmt: skip
def test_formulas_have_the_weights_of_the_handbook(formula, weight):
    assert formula_weight(formula) == pytest.approx(weight, abs=2e-3)


def test_every_element_that_headers_are_searched_for_has_a_weight():
    symbols = (
        "Ag Al As Au B Ba Be Bi Br C Ca Cd Ce Cl Co Cr Cs Cu Dy Er Eu F Fe Ga Gd Ge Hf Hg Ho I In Ir K La Li Lu Mg Mn "
        "Mo N Na Nb Nd Ni Os P Pb Pd Pr Pt Rb Re Rh Ru S Sb Sc Se Si Sm Sn Sr Ta Tb Te Th Ti Tl Tm U V W Y Yb Zn Zr"
    )
    assert set(symbols.split()) <= set(units_module.ATOMIC_WEIGHTS)


def test_weights_rise_with_the_atomic_number_but_for_the_known_pairs():
    weights = list(units_module.ATOMIC_WEIGHTS.items())
    falls = [(a, b) for (a, x), (b, y) in itertools.pairwise(weights) if y < x]
    assert falls == [("Ar", "K"), ("Co", "Ni"), ("Te", "I"), ("Th", "Pa")]


@pytest.mark.parametrize(
    ("species", "to", "factor"),
    [("Fe2O3", "Fe", 0.6994), ("Fe2O3", "FeO", 0.8998), ("FeO", "Fe2O3", 1.1113), ("SiO2", "Si", 0.4674),
     ("Al2O3", "Al", 0.5293), ("P2O5", "P", 0.4364), ("K", "K2O", 1.2046), ("Na2O", "Na", 0.7419),
     ("CaCO3", "CaO", 0.5603), ("C", "CO2", 3.6641), ("Cu", "Cu", 1.0), ("U3O8", "U", 0.8480)],
)  # fmt: skip
def test_oxides_and_metals_have_the_factors_of_the_handbook(species, to, factor):
    assert oxide_factor(species, to) == pytest.approx(factor, abs=5e-5)
    assert oxide_factor(to, species) * oxide_factor(species, to) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("name", ["TFe2O3", "Fe2O3T", "Fe2O3t", "Fe2O3*", " Fe2O3 "])
def test_total_iron_has_the_mass_of_its_oxide(name):
    assert composition(name) == {"Fe": 2, "O": 3}


@pytest.mark.parametrize("name", ["FeOT", "FeOt", "TFeO", "FeO*"])
def test_total_iron_may_be_given_as_feo(name):
    assert oxide_factor(name, "Fe") == oxide_factor("FeO", "Fe")


def test_total_iron_may_be_given_as_the_metal():
    assert composition("TFe") == {"Fe": 1}


@pytest.mark.parametrize("name", ["LOI", "TC", "TOC", "pH", "", "Total", "Fe2O3_pct", "Cu ppm", "Fe0", "Xx2O3", "2Fe"])
def test_what_is_no_formula_is_refused(name):
    with pytest.raises(InputError, match=r"is no chemical formula.*'Fe2O3'.*leave them out"):
        formula_weight(name)


def test_a_formula_in_capitals_is_not_guessed_but_proposed():
    with pytest.raises(InputError, match="did you mean 'TiO2'"):
        formula_weight("TIO2X")
    with pytest.raises(InputError, match="did you mean 'Zn'"):
        formula_weight("ZN")


@pytest.mark.parametrize(("species", "to"), [("Fe2O3", "Cu"), ("Fe2O3", "O"), ("FeS2", "CuFeS2"), ("KAlSi3O8", "AlSi")])
def test_species_that_do_not_share_one_element_are_refused(species, to):
    with pytest.raises(InputError, match=r"share .*need one to go by"):
        oxide_factor(species, to)


@pytest.mark.parametrize(
    ("unit", "to", "factor"),
    [("ppm", "%", 1e-4), ("%", "ppm", 1e4), ("ppm", "ppb", 1e3), ("ppb", "ppm", 1e-3), ("g/t", "ppm", 1.0),
     ("mg/kg", "ppm", 1.0), ("ug/kg", "ppb", 1.0), ("mg/t", "ppb", 1.0), ("g/kg", "%", 0.1), ("ppt", "ppb", 1e-3),
     ("1", "ppm", 1e6), ("%", "1", 0.01)],
)  # fmt: skip
def test_units_have_exact_factors(unit, to, factor):
    assert unit_factor(unit, to) == factor


def test_an_ounce_is_the_troy_ounce_per_short_ton():
    assert unit_factor("oz/t", "g/t") == pytest.approx(31.1034768 / 0.90718474, rel=1e-12)


@given(st.sampled_from(UNITS), st.sampled_from(UNITS), st.sampled_from(UNITS))
def test_a_detour_over_another_unit_changes_nothing(first, second, third):
    detour = unit_factor(first, second) * unit_factor(second, third)
    assert detour == pytest.approx(unit_factor(first, third), rel=1e-14)


@pytest.mark.parametrize(
    ("written", "usual"),
    [("PPM", "ppm"), (" ppb", "ppb"), ("pct", "%"), ("wt.%", "%"), ("Wt %", "%"), ("µg/kg", "ug/kg"),
     ("μg/g", "ug/g"), ("gpt", "g/t")],
)  # fmt: skip
def test_spellings_of_units_are_understood(written, usual):
    assert check_unit("unit", written) == usual
    assert is_unit(written)


@pytest.mark.parametrize(
    ("unit", "state"), [("", "no unit is known"), ("m", "is no unit"), ("log10(ppm)", "is no unit")]
)
def test_what_is_no_unit_of_concentration_is_refused(unit, state):
    assert not is_unit(unit)
    with pytest.raises(InputError, match=f"{state}.*ppm"):
        unit_factor("ppm", unit)


@pytest.mark.data
@pytest.mark.parametrize(
    ("oxide", "metal"), [("Fe2O3", "Fe"), ("Al2O3", "Al"), ("CaO", "Ca"), ("K2O", "K"), ("SiO2", "Si"), ("Na2O", "Na")]
)
def test_a_laboratory_that_reports_both_used_the_same_factors(data_folder, oxide, metal):
    kola = pd.read_csv(data_folder / "classics" / "StatDA_chorizon.csv")
    ratio = (kola[f"{metal}_XRF"] / kola[oxide]).median() * unit_factor("ppm", "%")
    assert ratio == pytest.approx(oxide_factor(oxide, metal), rel=4e-3)
