"""Units and scales of elements, for samples and bands alike. Each rewrites units and long names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geoprospect._checks import check_choice, check_names
from geoprospect.errors import InputError
from geoprospect.geochem.columns import Data, Table, as_samples, as_survey, names_of, table_of, units_of
from geoprospect.geochem.samples import Samples
from geoprospect.geochem.units import check_unit, is_unit, oxide_factor, unit_factor

# What makes the median absolute deviation of a normal distribution its standard deviation.
_MAD = 1.4826


def standardize(data: Data, method: Literal["zscore", "minmax", "robust"] = "zscore") -> tuple[Data, pd.DataFrame]:
    """Bring every band or element to one scale.

    `train` fits its own scaling and the model carries it, so nothing needs to be standardized
    before training; this is for other uses.

    Parameters
    ----------
    data : xarray.Dataset or Samples
        Bands with dims (y, x), or samples; NaN where there are no data.
    method : {'zscore', 'minmax', 'robust'}, default 'zscore'
        'zscore': (v - mean) / standard deviation (population); 'minmax': (v - min) / (max - min);
        'robust': (v - median) / (1.4826 × median absolute deviation), which a few high values do
        not move.

    Returns
    -------
    scaled : xarray.Dataset or Samples
        The bands as float32, with ``units`` '1' and a long name that says what was done; or the
        samples in unit '1', their limits scaled like their values.
    constants : pandas.DataFrame
        Indexed by band or element: ``offset`` and ``scale`` with v = scaled * scale + offset,
        ``units`` and ``method``.

    Raises
    ------
    InputError
        When a band has no data, is constant, or with 'robust' holds one value in half of its cells
        or more.

    Examples
    --------
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 0), (1, 3))
    >>> survey = grid.dataset({"Cu": np.array([[10.0, 20.0, 30.0]])}, {"Cu": {"units": "ppm"}})
    >>> scaled, constants = gp.standardize(survey, method="minmax")
    >>> scaled["Cu"].values
    array([[0. , 0.5, 1. ]], dtype=float32)
    >>> constants
          offset  scale units  method
    band
    Cu      10.0   20.0   ppm  minmax
    """
    check_choice("method", method, ("zscore", "minmax", "robust"))
    table = table_of(data)
    words = {"zscore": "z-score", "minmax": "0 to 1", "robust": "robust z-score"}[method]
    offset, scale = np.array(_scales(table, method)).T
    constants = pd.DataFrame(
        {"offset": offset, "scale": scale, "units": table.units, "method": method},
        index=pd.Index(table.names, name="element" if isinstance(data, Samples) else "band"),
    )
    columns = [(v - o) / s for v, o, s in zip(table.columns, offset, scale, strict=True)]
    long_names = [f"{name} ({words})" for name in table.long_names]
    if isinstance(data, Samples):
        limits = (data.limits - offset) / scale
        return as_samples(data, table.names, columns, ["1"] * len(columns), limits), constants
    bands = [column.astype(np.float32) for column in columns]
    return as_survey(data, table.names, bands, ["1"] * len(bands), long_names), constants


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


def _scales(table: Table, method: str) -> list[tuple[float, float]]:
    return [_scale(table, name, values, method) for name, values, _ in table.items()]


def _scale(table: Table, name: str, values: NDArray[Any], method: str) -> tuple[float, float]:
    """Return offset and scale of a band, or raise where it has none."""
    valid = values[np.isfinite(values)].astype(np.float64)
    cure = (
        f"leave it out: survey.drop_vars({name!r})"
        if table.kind == "survey"
        else "leave it out: samples[[…]] takes the others"
    )
    if valid.size == 0 or valid.min() == valid.max():
        state = "has no data" if valid.size == 0 else f"is {valid[0]:g} everywhere"
        raise InputError(f"{table.kind}[{name!r}]: {state} and cannot be scaled; {cure}")
    if method == "zscore":
        return float(valid.mean()), float(valid.std())
    if method == "minmax":
        return float(valid.min()), float(np.ptp(valid))
    median = float(np.median(valid))
    deviation = float(np.median(np.abs(valid - median)))
    if deviation == 0:
        raise InputError(
            f"{table.kind}[{name!r}]: is {median:g} in {(valid == median).mean():.0%} of its values, so that their "
            f"median absolute deviation is 0; take method='zscore', or {cure}"
        )
    return median, _MAD * deviation


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
