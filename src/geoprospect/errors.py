"""The exceptions and warnings of geoprospect.

Every one is also the builtin that a user would catch without knowing this
library: ``except ValueError`` catches an `InputError`.
"""


class GeoprospectError(Exception):
    """Whatever geoprospect raises on purpose."""


class InputError(GeoprospectError, ValueError):
    """An argument, a table or a raster that breaks a rule."""


class CRSError(InputError):
    """A coordinate reference system that is missing, unknown or does not fit."""


class SeparationError(InputError):
    """Deposits or windows that leave no separate ground to test on."""


class NameNotFoundError(GeoprospectError, KeyError):
    """A column, band, element or key that is not there."""

    def __str__(self) -> str:
        """Return the message as it is; `KeyError` would show its repr."""
        return str(self.args[0]) if self.args else ""


class MissingFileError(GeoprospectError, FileNotFoundError):
    """A path that leads nowhere."""


class CorruptFileError(GeoprospectError, OSError):
    """A file that cannot be read, or is not what its manifest says."""


class OutputError(GeoprospectError, OSError):
    """A result that could not be written whole; what stood there before still stands."""


class DependencyError(GeoprospectError, ImportError):
    """A library that is missing or broken on this machine."""


class DeviceError(GeoprospectError, RuntimeError):
    """A computing device that was asked for and cannot be used."""


class DivergenceError(GeoprospectError, FloatingPointError):
    """A training whose loss is no longer a finite number.

    ``model`` is the `ProspectivityModel` of the last good epoch, or None.
    """

    model: object = None


class DataWarning(UserWarning):
    """Something in the data that was handled, and that the user should know of."""
