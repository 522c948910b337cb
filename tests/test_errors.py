"""Every exception is ours and also the builtin that a user would catch."""

import inspect

import pytest

from geoprospect import errors

EXCEPTIONS = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, Exception) and not issubclass(one, Warning) and one is not errors.GeoprospectError
]


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.CRSError, ValueError),
        (errors.NameNotFoundError, KeyError),
        (errors.MissingFileError, FileNotFoundError),
        (errors.CorruptFileError, OSError),
        (errors.OutputError, OSError),
        (errors.DependencyError, ImportError),
        (errors.DeviceError, RuntimeError),
        (errors.DivergenceError, FloatingPointError),
    ],
)
def test_the_builtin_catches_ours(ours, builtin):
    with pytest.raises(builtin, match="what is wrong"):
        raise ours("what is wrong")
    with pytest.raises(errors.GeoprospectError, match="what is wrong"):
        raise ours("what is wrong")


@pytest.mark.parametrize("ours", EXCEPTIONS)
def test_no_exception_stands_on_bare_exception_alone(ours):
    builtins = [one for one in ours.__mro__ if one.__module__ == "builtins"]
    assert set(builtins) - {Exception, BaseException, object}


@pytest.mark.parametrize("ours", EXCEPTIONS)
def test_the_message_is_shown_as_it_was_written(ours):
    assert str(ours("column 'Cu': is empty")) == "column 'Cu': is empty"


def test_a_name_error_without_a_message_is_empty():
    assert str(errors.NameNotFoundError()) == ""


def test_a_crs_error_is_an_input_error():
    assert issubclass(errors.CRSError, errors.InputError)


def test_data_warnings_can_be_filtered_as_user_warnings():
    assert issubclass(errors.DataWarning, UserWarning)
    assert not issubclass(errors.DataWarning, errors.GeoprospectError)
