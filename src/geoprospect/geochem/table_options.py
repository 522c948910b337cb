"""`TableOptions` and `TableArguments`: how a table of samples is read, in plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypedDict, get_args

import numpy as np

from geoprospect._checks import check_choice, check_number
from geoprospect._settings import with_settings
from geoprospect.errors import InputError

Below = Literal["half", "sqrt2", "nan", "raise", "ros", "lrem"]
Negative = Literal["raise", "below", "missing"]
Zero = Literal["keep", "below", "missing"]


@dataclass(frozen=True)
class TableOptions:
    """How the cells of a table of samples are read.

    `read_samples` and `check_samples` take these as keyword arguments.

    Parameters
    ----------
    below : {'half', 'sqrt2', 'nan', 'raise', 'ros', 'lrem'}
        Replacement of values below detection. It is limit/2, limit/√2, NaN, an error, or an estimate from the
        distribution of the element ('ros') or of all elements ('lrem'), see `replace_censored`. The limits and
        the marks stay in `Samples.limits` and `Samples.censored`.
    negative : {'raise', 'below', 'missing'}
        Meaning of a negative concentration. It is an error, below its absolute value, or missing.
    zero : {'keep', 'below', 'missing'}
        Meaning of a concentration of zero. It is a value, below an unknown limit, or missing.
    limits : float or mapping, optional
        Detection limit of values whose cells give none (ND, BDL), for all elements or per element or
        header. Default: the column of limits ('Cu_dl'), else the limit in the other
        cells of the column, else the smallest measured value, with a warning.
    flags : mapping or False, optional
        Column of flags of each element or header (default by the names of columns); false ignores flags. An example
        is ``{"Cu": "Cu_flag"}``. Flags mark values below detection ('<', L, N, BDL, U, 1, true) or over range
        ('>', G). By default columns such as 'Cu_bdl' and 'Cu_qual' are followed and logged.
    encoding : str, default 'utf-8-sig'
        Encoding of a CSV, such as latin-1, gbk or utf-16. The default reads UTF-8 with or without a byte
        order mark.

    Raises
    ------
    InputError
        When a value is not allowed.
    """

    below: Below = "half"
    negative: Negative = "raise"
    zero: Zero = "keep"
    limits: float | Mapping[str, float] | None = None
    flags: Mapping[str, str] | Literal[False] | None = None
    encoding: str = "utf-8-sig"

    def __post_init__(self) -> None:
        """Normalise and check."""
        for name, choices in (("below", Below), ("negative", Negative), ("zero", Zero)):
            check_choice(name, getattr(self, name), get_args(choices))
        if isinstance(self.limits, Mapping):
            for key, limit in self.limits.items():
                check_number(f"limits[{key!r}]", limit, above=0)
        elif self.limits is not None:
            object.__setattr__(self, "limits", check_number("limits", self.limits, above=0))
        if self.flags not in (None, False) and not isinstance(self.flags, Mapping):
            raise InputError(
                f"flags={self.flags!r}: needs a mapping of elements to columns, False to ignore flags, or None"
            )
        if not isinstance(self.encoding, str):
            raise InputError(f"encoding={self.encoding!r}: needs the name of an encoding, such as 'latin-1'")


class TableKeywords(TypedDict, total=False):
    """The fields of `TableOptions`, as keyword arguments."""

    below: Below
    negative: Negative
    zero: Zero
    limits: float | Mapping[str, float] | None
    flags: Mapping[str, str] | Literal[False] | None
    encoding: str


@dataclass(frozen=True)
class TableArguments(TableOptions):
    """All arguments of `read_samples` and `check_samples` but the path; the other fields are those of `TableOptions`.

    Parameters
    ----------
    x : str, optional
        Column of x or longitude of a CSV (default by the usual names).
    y : str, optional
        Column of y or latitude of a CSV (default by the usual names).
    crs : optional
        CRS of the coordinates, such as EPSG:4326, which a CSV needs. It is never guessed.
    elements : sequence of str, optional
        Columns to read, by header or element (default all whose header is an element or has a unit). An element
        or oxide may stand alone or with a method ('Al_XRF').
    units : str or mapping, optional
        Unit of all elements, or units per element or header (default from the headers). A row of units below
        the headers is read too.
    missing : sequence of float or str, optional
        Numbers and words that mean missing, such as -9999 or ND. An empty cell, NA, NaN, N/A, null and none
        always do. An empty sequence means that no number does, and that those which look like it
        are concentrations.
    layer : str, optional
        Layer of a vector file that has several.
    """

    x: str | None = None
    y: str | None = None
    crs: Any = None
    elements: tuple[str, ...] | None = None
    units: str | Mapping[str, str] | None = None
    missing: tuple[float | str, ...] | None = None
    layer: str | None = None

    @classmethod
    def of(
        cls, x: str | None, y: str | None, crs: Any, elements: Sequence[str] | None,
        units: str | Mapping[str, str] | None, missing: Iterable[float | str] | float | str | None,
        layer: str | None, options: Mapping[str, Any],
    ) -> Self:  # fmt: skip
        """Return the arguments that a reader of tables received."""
        if isinstance(missing, (str, float, int, np.number)):
            missing = (missing,)
        names = (elements,) if isinstance(elements, str) else elements
        given = cls(
            x=x, y=y, crs=crs, elements=None if names is None else tuple(map(str, names)), units=units,
            missing=None if missing is None else tuple(missing), layer=layer,
        )  # fmt: skip
        return with_settings(given, dict(options))
