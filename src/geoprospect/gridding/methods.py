"""Table of the interpolation methods, and their settings.

`METHODS` has one entry per method. `interpolate`, `validate_gridding`, the configuration, the command line and the
messages of errors take their lists from it. To add a method, add an entry here and its kernel in a module of its own;
a setting that no method has yet is a new field of `InterpolationSettings` and a new key of `InterpolationOptions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from geoprospect._checks import check_choice, check_int, check_number
from geoprospect._settings import with_settings
from geoprospect.errors import InputError
from geoprospect.gridding import surfaces
from geoprospect.gridding.surfaces import PartwiseSurface, Surface, columns_by_gaps, fit_surface

Floats: TypeAlias = NDArray[np.float64]
Variogram: TypeAlias = Literal["spherical", "exponential", "gaussian"]


@dataclass(frozen=True)
class InterpolationSettings:
    """Settings of the interpolation methods; `InterpolationMethod.settings` names those that a method has.

    Parameters
    ----------
    k : int or None, default 12
        Number of nearest samples that a cell is computed from. None takes all samples.
    power : float, default 2
        Exponent of the distance in the weights, more than 0.
    radius : float, optional
        Largest distance of a sample that is used, in CRS units of the grid. Default: no limit, which fills
        cells far beyond the samples.
    min_samples : int, default 1
        Smallest number of samples that makes a value. Cells with fewer are NaN.
    variogram : {'spherical', 'exponential', 'gaussian'}, default 'spherical'
        Model that is fitted to the variogram of each element.
    damping : float, optional
        Smoothing of a spline: how far it may miss its samples. A number without unit; 1e-6 is little,
        0.01 much. Default: it passes through its samples.

    Raises
    ------
    InputError
        When a value is out of its range.
    """

    k: int | None = 12
    power: float = 2.0
    radius: float | None = None
    min_samples: int = 1
    variogram: Variogram = "spherical"
    damping: float | None = None

    def __post_init__(self) -> None:
        """Normalise and check."""
        checked = {
            "k": None if self.k is None else check_int("k", self.k),
            "power": check_number("power", self.power, above=0),
            "radius": None if self.radius is None else check_number("radius", self.radius, above=0),
            "min_samples": check_int("min_samples", self.min_samples),
            "variogram": check_choice("variogram", self.variogram, get_args(Variogram)),
            "damping": None if self.damping is None else check_number("damping", self.damping, minimum=0),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def changed(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, to pass on as keyword arguments."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != one.default}


class InterpolationOptions(TypedDict, total=False):
    """Fields of `InterpolationSettings` as keyword arguments."""

    k: int | None
    power: float
    radius: float | None
    min_samples: int
    variogram: Variogram
    damping: float | None


@dataclass(frozen=True)
class CellBlock:
    """A rectangle of cells of a north-up grid.

    Parameters
    ----------
    origin : tuple of float
        x and y of the north-west corner of the whole grid.
    step : tuple of float
        x and y from one cell to the next; y is negative.
    first : tuple of int
        Row and column of the north-west cell of the block in the whole grid.
    shape : tuple of int
        Rows and columns of the block.
    """

    origin: tuple[float, float]
    step: tuple[float, float]
    first: tuple[int, int]
    shape: tuple[int, int]


class Fit(Protocol):
    """Fit a surface to points (N, 2) and values (N, C); NaN where missing. `elements` names the columns in errors."""

    def __call__(
        self, points: Floats, values: Floats, settings: InterpolationSettings, elements: Sequence[str] | None = None, /
    ) -> Surface:
        """Return the surface of all elements."""


class Fill(Protocol):
    """Fill the cells of a block directly, without a surface that is evaluated at their centres."""

    def __call__(
        self,
        points: Floats,
        values: Floats,
        settings: InterpolationSettings,
        block: CellBlock,
        threads: int | None,
        done: Callable[[int], object],
        /,
    ) -> NDArray[np.float32]:
        """Return the bands (C, Y, X); call `done` with the number of cells of each part that is finished."""


@dataclass(frozen=True, eq=False)
class InterpolationMethod:
    """An entry of the table of methods.

    Parameters
    ----------
    name : str
        Value of ``method=``.
    description : str
        What the method does, in one line.
    settings : tuple of str
        Fields of `InterpolationSettings` that apply; others are refused.
    fit : Fit
        How a surface is fitted to samples; it is evaluated at cell centres, or at samples left out.
    fixed : mapping, optional
        Settings that the method sets itself.
    fill : Fill, optional
        A faster way to fill cells.
    leave_one_out : callable, optional
        A faster way to predict each sample from all others: (points, values, settings) -> (N, C).
    check : callable, optional
        Raises InputError where settings contradict each other or the task is not practical:
        (settings, number of samples, of cells, of elements).
    has_variance : bool, default False
        Whether the surface has a variance.
    """

    name: str
    description: str
    settings: tuple[str, ...]
    fit: Fit
    fixed: Mapping[str, Any] = field(default_factory=dict)
    fill: Fill | None = None
    leave_one_out: Callable[[Floats, Floats, InterpolationSettings], Floats] | None = None
    check: Callable[[InterpolationSettings, int, int, int], None] | None = None
    has_variance: bool = False

    def settings_from(self, given: Mapping[str, Any]) -> InterpolationSettings:
        """Return checked settings from the keyword arguments of a public function.

        Raises
        ------
        InputError
            When a setting is unknown, out of its range, or does not apply to the method.
        """
        settings = replace(with_settings(InterpolationSettings(), dict(given)), **self.fixed)
        for name, value in given.items():
            if name not in self.settings:
                users = " or ".join(repr(one.name) for one in METHODS.values() if name in one.settings)
                raise InputError(
                    f"{name}={value!r}: does not apply to method={self.name!r}; leave it out, or pass method={users}"
                )
        return settings

    def summary(self, settings: InterpolationSettings) -> str:
        """Return the settings that apply in words, such as 'k=12, power=2'."""
        given = {name: getattr(settings, name) for name in self.settings}
        words = ["all samples"] if given.get("k", 0) is None else []
        words += [
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in given.items()
            if value is not None and (name, value) != ("min_samples", 1)
        ]
        return ", ".join(words) or self.name


def method_named(name: Any) -> InterpolationMethod:
    """Return the entry of a method, or raise InputError that lists them."""
    return METHODS[check_choice("method", name, METHODS)]


# -- inverse distance weighting ----------------------------------------------------------------


def _check_weights(settings: InterpolationSettings, n_samples: int, n_cells: int, n_elements: int) -> None:
    if settings.k is not None and settings.min_samples > settings.k:
        raise InputError(
            f"min_samples={settings.min_samples}: a cell takes only {settings.k} samples (k), so none would have a "
            "value; pass a greater k or a smaller min_samples"
        )


def _fill_weights(
    points: Floats, values: Floats, settings: InterpolationSettings, block: CellBlock, threads: int | None,
    done: Callable[[int], object], *, direct: bool = False,
) -> NDArray[np.float32]:  # fmt: skip
    out = np.empty((values.shape[1], *block.shape), dtype=np.float32)
    # With a radius few of all samples count, and the search for the nearest is made for those.
    if settings.k is None and settings.radius is None:
        from geoprospect.gridding._idw_all import idw_all

        idw_all(
            points, values, block.origin, block.step, settings.power, out, block.first, settings.min_samples, direct,
            threads, done,
        )  # fmt: skip
    else:
        from geoprospect.gridding._idw_nearest import idw_nearest

        idw_nearest(
            points, values, block.origin, block.step, settings.k or len(points), settings.power, out, block.first,
            math.inf if settings.radius is None else settings.radius, settings.min_samples, threads, done,
        )  # fmt: skip
    return out


def _fit_weights(
    points: Floats, values: Floats, settings: InterpolationSettings, elements: Sequence[str] | None = None
) -> Surface:
    from geoprospect.gridding.idw import IDW

    parts = []
    for columns, rows in columns_by_gaps(values):
        model = IDW(settings.k, settings.power, settings.radius, settings.min_samples)
        parts.append((columns, partial(_predict, model.fit(points[rows], values[rows[:, None], columns]))))
    return PartwiseSurface(values.shape[1], np.zeros(2), tuple(parts), has_variance=False)


def _predict(model: Any, points: Floats) -> tuple[Floats, None]:
    return model.predict(points).T, None


def weights_left_out(points: Floats, values: Floats, settings: InterpolationSettings) -> Floats:
    """Return each sample predicted by inverse distance weighting of all others, (N, C)."""
    from geoprospect.gridding.idw import leave_one_out

    predicted = np.full(values.shape, np.nan)
    for columns, rows in columns_by_gaps(values):
        at = rows[:, None], columns
        predicted[at] = leave_one_out(
            points[rows], values[at], settings.k, settings.power, settings.radius, settings.min_samples
        )
    return predicted


# -- surfaces ----------------------------------------------------------------------------------


def _fit_triangles(
    points: Floats, values: Floats, settings: InterpolationSettings, elements: Sequence[str] | None = None, *,
    smooth: bool,
) -> Surface:  # fmt: skip
    return fit_surface(partial(surfaces.fit_triangles, smooth=smooth), points, values, elements)


def _check_kriging(settings: InterpolationSettings, n_samples: int, n_cells: int, n_elements: int) -> None:
    if settings.k is None:
        raise InputError("k=None: kriging works from the nearest samples; pass their number, for example k=12")
    surfaces.check_kriging_size(n_samples, n_cells, n_elements, settings.k)


def _fit_kriging(
    points: Floats, values: Floats, settings: InterpolationSettings, elements: Sequence[str] | None = None
) -> Surface:
    fit = partial(surfaces.fit_kriging, k=settings.k or len(points), variogram=settings.variogram)
    return fit_surface(fit, points, values, elements, has_variance=True)


def _check_spline(settings: InterpolationSettings, n_samples: int, n_cells: int, n_elements: int) -> None:
    surfaces.check_spline_size(n_samples, n_cells)


def _fit_spline(
    points: Floats, values: Floats, settings: InterpolationSettings, elements: Sequence[str] | None = None
) -> Surface:
    fit = partial(surfaces.fit_spline, smoothing=settings.damping or 0.0)
    return fit_surface(fit, points, values, elements)


METHODS: dict[str, InterpolationMethod] = {
    method.name: method
    for method in (
        InterpolationMethod(
            "idw",
            "inverse distance weighting of the k nearest samples",
            ("k", "power", "radius", "min_samples"),
            _fit_weights,
            fill=_fill_weights,
            leave_one_out=weights_left_out,
            check=_check_weights,
        ),
        InterpolationMethod(
            "idw-direct",
            "inverse distance weighting of all samples, summed in float64",
            ("power", "min_samples"),
            _fit_weights,
            fixed={"k": None},
            fill=partial(_fill_weights, direct=True),
            leave_one_out=weights_left_out,
        ),
        InterpolationMethod(
            "nearest",
            "value of the nearest sample",
            ("radius",),
            _fit_weights,
            fixed={"k": 1},
            fill=_fill_weights,
            leave_one_out=weights_left_out,
        ),
        InterpolationMethod("linear", "plane triangles between the samples", (), partial(_fit_triangles, smooth=False)),
        InterpolationMethod("cubic", "smooth triangles between the samples", (), partial(_fit_triangles, smooth=True)),
        InterpolationMethod(
            "kriging",
            "ordinary kriging of the k nearest samples, with its variance",
            ("k", "variogram"),
            _fit_kriging,
            check=_check_kriging,
            has_variance=True,
        ),
        InterpolationMethod(
            "spline", "surface of least bending (thin-plate spline)", ("damping",), _fit_spline, check=_check_spline
        ),
    )
}
