"""Settings as dataclasses: keywords replace fields, unknown ones are refused, docstrings describe them."""

import dataclasses

import pytest

import geoprospect as gp
from geoprospect._settings import descriptions, with_settings
from geoprospect.errors import InputError


def test_given_fields_are_replaced_and_the_others_kept():
    start = gp.Recipe(epochs=3)
    changed = with_settings(start, {"batch": 8})
    assert (changed.epochs, changed.batch) == (3, 8)
    assert start.batch == 32


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"epoch=3: there is no such setting; did you mean 'epochs'\?; there are"):
        with_settings(gp.Recipe(), {"epoch": 3})


def test_a_value_out_of_its_range_is_refused():
    with pytest.raises(InputError, match="epochs=0: needs a whole number of at least 1"):
        with_settings(gp.Recipe(), {"epochs": 0})


def test_the_docstring_describes_every_field():
    found = descriptions(gp.Recipe)
    assert set(found) == {field.name for field in dataclasses.fields(gp.Recipe)}
    assert found["epochs"] == "How often every window is seen."


def test_one_entry_may_describe_several_fields():
    class Two:
        """Two numbers.

        Parameters
        ----------
        x, y : float
            Coordinates. In metres.
        z : float, default 1
            Height.

        Raises
        ------
        InputError
            Never.
        """

    assert descriptions(Two) == {"x": "Coordinates.", "y": "Coordinates.", "z": "Height."}
