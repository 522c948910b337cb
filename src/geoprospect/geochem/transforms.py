"""Logarithms, log-ratios and factors of elements, for samples and bands alike. Each rewrites units and long names."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import check_choice, check_int, check_names, check_rng, first_rows, user_level
from geoprospect.errors import DataWarning, InputError
from geoprospect.geochem.columns import Data, Floats, Table, as_samples, as_survey, names_of, table_of, units_of
from geoprospect.geochem.samples import Samples
from geoprospect.geochem.units import check_unit, convert_units, is_unit, plan_of, unit_factor

log = logging.getLogger("geoprospect")

# Cells that a transformer is fitted on at most.
_FIT_CELLS = 1_000_000
# The same for a robust covariance, which takes 12 s for so many cells and 30 bands.
_FACTOR_CELLS = 10_000
# Cells that are transformed at once: 20 MB for ten bands.
_BLOCK = 2**18
# What makes the median absolute deviation of a normal distribution its standard deviation.
_MAD = 1.4826


def transform(data: Data, transformer: Any) -> Data:
    """Transform bands or elements: logarithm, Box-Cox, log-ratios, or any transformer of scikit-learn.

    Parameters
    ----------
    data : xarray.Dataset or Samples
        Bands or elements. For log-ratios, with known units: parts in several units are brought to
        ppm first.
    transformer : {'log10', 'boxcox', 'clr', 'alr', 'ilr'} or transformer of scikit-learn
        By name, with its defaults; or an instance such as ``gp.CLR(closure=1e6, rest=True)`` or a
        ``Pipeline``. One that is fitted is used as it is, on the bands that it was fitted on; any
        other is fitted here and keeps the fit, so that `inverse_transform` and another survey can
        use it. It is fitted on the rows with all values present, of a raster on at most
        1,000,000 of them, evenly drawn.

    Returns
    -------
    xarray.Dataset or Samples
        One band or element for each output, in unit '1' ('log10(ppm)' for logarithms), with a long
        name that says what it is. Missing stays missing; where a transformer does not accept NaN,
        a row that lacks one value is missing in all. Of samples, the marks of values beyond a limit
        stay where a name does; limits follow a logarithm and are NaN otherwise.

    Raises
    ------
    InputError
        When a value to be logarithmised is 0 or negative, a unit is unknown or not that of the fit,
        or no row is complete.
    NameNotFoundError
        When a band that a transformer was fitted on is not there.

    Warns
    -----
    DataWarning
        When rows lack some of their values and are missing in the result.

    Notes
    -----
    Bands backed by dask stay lazy with 'log10'; values are then checked when they are computed. All
    other transformers read them, and the result is in memory.

    Examples
    --------
    >>> import geoprospect as gp
    >>> ppm = ["ppm", "ppm"]
    >>> samples = gp.Samples([[0, 0], [0, 90]], [[20.0, 60.0], [40.0, 30.0]], ["Cu", "Zn"], ppm, "EPSG:32649")
    >>> clr = gp.CLR(closure=1e6, rest=True)
    >>> ratios = gp.transform(samples, clr)
    >>> ratios.elements, ratios.units
    (('Cu', 'Zn', 'rest'), ('1', '1', '1'))
    >>> gp.inverse_transform(ratios, clr).values.round(9)
    array([[20., 60.],
           [40., 30.]])
    """
    model = _transformer(transformer)
    result, partial = _transformed(data, model, _FIT_CELLS)
    _warn_partial(partial)
    return result


def inverse_transform(data: Data, transformer: Any) -> Data:
    """Undo a transform.

    Parameters
    ----------
    data : xarray.Dataset or Samples
        What `transform` gave, or predictions of the same bands.
    transformer : transformer of scikit-learn
        The instance that was given to `transform`, which fitted it.

    Returns
    -------
    xarray.Dataset or Samples
        Names, units and long names of what was fitted. Parts from log-ratios without the rest are
        known but for a factor in each row: they sum up to ``closure``, and the unit is that in
        which this is the whole ('1', '%', 'ppm'; '' where there is none).

    Raises
    ------
    InputError
        When the transformer is not fitted or has no way back.
    NameNotFoundError
        When an output of the transformer is not there.

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[0, 0], [0, 90]], [[20.0], [40.0]], ["Cu"], ["ppm"], "EPSG:32649")
    >>> log10 = gp.Log10()
    >>> logs = gp.transform(samples, log10)
    >>> logs.units
    ('log10(ppm)',)
    >>> gp.inverse_transform(logs, log10).units
    ('ppm',)
    """
    if isinstance(transformer, str) or not hasattr(transformer, "inverse_transform"):
        raise InputError(
            f"transformer={transformer!r}: has no way back; pass the instance that transform fitted, "
            "for example clr = gp.CLR(); gp.transform(data, clr)"
        )
    if not _is_fitted(transformer):
        raise InputError(f"transformer={transformer!r}: is not fitted; pass the instance that was given to transform")
    names = [str(name) for name in transformer.get_feature_names_out()]
    before = [str(name) for name in getattr(transformer, "feature_names_in_", names)]
    check_names("data", names, names_of(data))
    table = table_of(data[names])
    # By position where names change: those of the outputs are not those that were seen in the fit.
    columns, partial = _applied(transformer.inverse_transform, transformer, table, named=names == before)
    if len(columns) != len(before):
        raise InputError(
            f"transformer={transformer!r}: was fitted on a plain array; transform gives names to what it fits"
        )
    units, long_names = _origin(transformer, before, table)
    _warn_partial(partial)
    if isinstance(data, Samples):
        limits = 10.0 ** data[names].limits if _is_log10(transformer) else None
        return as_samples(data[names], before, columns, units, limits)
    return as_survey(data[names], before, columns, units, long_names)


def robust_pca(
    data: Data, n_factors: int = 3, *, robust: bool = True, rng: int | np.random.Generator | None = 0
) -> tuple[Data, pd.DataFrame]:
    """Find factors of log-ratios that outliers do not move.

    Elements that rise and fall together, relative to all others, stand behind one factor: a rock
    type, weathering, a mineralisation. Concentrations are taken to isometric log-ratios, location
    and covariance are those of the minimum covariance determinant, and loadings are carried back
    to the elements as centred log-ratios [1]_.

    Parameters
    ----------
    data : xarray.Dataset or Samples
        Positive concentrations. Units may differ and may be unknown: a factor moves a column of
        logarithms and changes no factor.
    n_factors : int, default 3
        Number of factors, fewer than there are elements.
    robust : bool, default True
        False takes mean and covariance of all rows: classical principal components of the clr.
    rng : int or numpy.random.Generator, default 0
        For the starting subsets of the minimum covariance determinant.

    Returns
    -------
    scores : xarray.Dataset or Samples
        ``F1``, ``F2``, … in unit '1', 0 at the robust centre; NaN where an element is missing.
    loadings : pandas.DataFrame
        Indexed by element, a column for each factor: of length 1, summing up to 0; the largest by
        absolute value is positive. ``loadings.attrs['explained_variance']`` holds the share of the
        total variance for each.

    Raises
    ------
    InputError
        When a value is 0 or negative, complete rows are fewer than five for each element but one,
        or half of the rows and more keep some ratio, as elements below detection do.

    Warns
    -----
    DataWarning
        When rows lack some of their values and are missing in the result.

    Notes
    -----
    Fitted on the complete rows, of a raster on at most 10,000 of them, evenly drawn. A gridded
    survey has many cells for each sample: fit on samples where there are some.

    References
    ----------
    .. [1] Filzmoser, P., Hron, K. & Reimann, C. (2009). Principal component analysis for compositional
       data with outliers. Environmetrics 20, 621-632. https://doi.org/10.1002/env.966

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.synthetic.make_survey(n_samples=300, shape=64, rng=0).samples
    >>> complete = samples[["Cu", "Pb", "Zn", "Mn"]]
    >>> scores, loadings = gp.robust_pca(complete, n_factors=2)
    >>> scores.elements
    ('F1', 'F2')
    >>> loadings.shape, len(loadings.attrs["explained_variance"])
    ((4, 2), 2)
    """
    from geoprospect.geochem.log_ratios import CompositionalPCA

    seed = int(check_rng(rng).integers(2**31 - 1))
    model = CompositionalPCA(check_int("n_factors", n_factors), robust=bool(robust), random_state=seed)
    scores, partial = _transformed(data, model, _FACTOR_CELLS)
    _warn_partial(partial)
    index = pd.Index(model.feature_names_in_, name="element")
    loadings = pd.DataFrame(model.loadings_, index=index, columns=model.get_feature_names_out())
    loadings.attrs["explained_variance"] = model.explained_variance_ratio_.tolist()
    return scores, loadings


# -- transformers ------------------------------------------------------------------------------


def _transformer(transformer: Any) -> Any:
    """Return a transformer of scikit-learn for its name, or the one that is given."""
    if isinstance(transformer, str):
        from sklearn.preprocessing import PowerTransformer

        from geoprospect.geochem.log_ratios import ALR, CLR, ILR, Log10

        made: dict[str, Callable[[], Any]] = {
            "log10": Log10, "clr": CLR, "alr": ALR, "ilr": ILR,
            "boxcox": lambda: PowerTransformer(method="box-cox", standardize=False),
        }  # fmt: skip
        return made[check_choice("transformer", transformer, made)]()
    if isinstance(transformer, type) or not (hasattr(transformer, "fit") and hasattr(transformer, "transform")):
        raise InputError(
            f"transformer={transformer!r}: is no transformer of scikit-learn; pass an instance, such as gp.CLR(), "
            "or one of 'log10', 'boxcox', 'clr', 'alr', 'ilr'"
        )
    return transformer


def _first_step(model: Any) -> Any:
    """Return what meets the values first: the first step of a pipeline, or the transformer itself."""
    return _first_step(model.steps[0][1]) if getattr(model, "steps", None) else model


def _is_log10(model: Any) -> bool:
    from geoprospect.geochem.log_ratios import Log10

    return isinstance(model, Log10)


def _log_ratio(model: Any) -> Any:
    """Return the log-ratio that a transformer begins with, or None."""
    from geoprospect.geochem.log_ratios import ALR, CLR, ILR

    first = _first_step(model)
    return first if isinstance(first, (CLR, ALR, ILR)) else None


def _is_fitted(model: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    # Those that need no fit pass the check above; what they saw in one is still to be kept.
    return hasattr(model, "n_features_in_")


def _accepts_nan(model: Any) -> bool:
    tags = model.__sklearn_tags__() if hasattr(model, "__sklearn_tags__") else None
    return bool(tags and tags.input_tags.allow_nan)


def _needs_positive(model: Any) -> bool:
    first = _first_step(model)
    tags = first.__sklearn_tags__() if hasattr(first, "__sklearn_tags__") else None
    ours = type(first).__module__ == "geoprospect.geochem.log_ratios"
    return bool(ours and tags and tags.input_tags.positive_only) or getattr(first, "method", None) == "box-cox"


def _transformed(data: Data, model: Any, most: int) -> tuple[Data, tuple[int, str]]:
    """Fit a transformer where it is not, apply it; return the result and how many rows lack some values."""
    from geoprospect.geochem.log_ratios import check_positive

    fitted = _is_fitted(model)
    data = _taken(data, model) if fitted else data
    data = _in_one_unit(data, model, fitted)
    if isinstance(data, xr.Dataset) and _is_log10(model) and data.chunks:
        return _lazy_log10(data, model), (0, "")
    table = table_of(data)
    if _needs_positive(model):
        for name, column, _ in table.items():
            check_positive(column, name, table.labels(np.arange(len(table))), table.row)
    if fitted:
        _check_same_units(model, table)
    else:
        _fit(model, table, most)
    # One that was fitted on a plain array goes by position.
    columns, partial = _applied(model.transform, model, table, named=not fitted or hasattr(model, "feature_names_in_"))
    names = _names_out(model, table.names, len(columns))
    long_names = _long_names_out(model, table, names)
    units = [f"log10({u})" if u else "log10" for u in table.units] if _is_log10(model) else ["1"] * len(names)
    if isinstance(data, Samples):
        limits = np.log10(np.where(data.limits > 0, data.limits, np.nan)) if _is_log10(model) else None
        return as_samples(data, names, columns, units, limits), partial
    return as_survey(data, names, columns, units, long_names), partial


def _taken(data: Data, model: Any) -> Data:
    """Return the bands that a transformer was fitted on, in their order."""
    names = names_of(data)
    wanted = [str(name) for name in getattr(model, "feature_names_in_", names)]
    if len(wanted) != model.n_features_in_:
        raise InputError(
            f"data: has {len(names)} bands or elements, the transformer was fitted on {model.n_features_in_}"
        )
    return data[check_names("data", wanted, names)]


def _in_one_unit(data: Data, model: Any, fitted: bool) -> Data:
    """Bring the parts of a log-ratio to one unit: that of the fit, their own, or ppm."""
    ratio = _log_ratio(model)
    if ratio is None:
        return data
    names, units = names_of(data), units_of(data)
    for name, unit in zip(names, units, strict=True):
        if not is_unit(unit):
            plan_of(name, unit, "ppm")  # which says what is wrong with it
    seen = {check_unit("units", unit) for unit in (getattr(model, "units_in_", {}).values() if fitted else units)}
    unit = seen.pop() if len(seen) == 1 else "ppm"
    if ratio.rest and ratio.closure != (whole := unit_factor("1", unit)):
        raise InputError(
            f"closure={ratio.closure!r}: the parts are in {unit}, of which the whole has {whole:g}; "
            f"pass closure={whole:g}"
        )
    if any(one != unit for one in units):
        log.info("parts of log-ratios are brought to %s", unit)
        return convert_units(data, unit)
    return data


def _check_same_units(model: Any, table: Table) -> None:
    """Raise where a transformer was fitted in other units; a logarithm may be taken in any."""
    before = getattr(model, "units_in_", {})
    differ = [(name, unit) for name, _, unit in table.items() if before.get(name, unit) != unit]
    if differ and not _is_log10(model):
        name, unit = differ[0]
        raise InputError(
            f"data[{name!r}]: is in {unit!r}, the transformer was fitted in {before[name]!r}; convert it first: "
            f"convert_units(data, {{{name!r}: {before[name]!r}}})"
        )


def _usable(block: Floats, model: Any) -> NDArray[np.bool_]:
    """Return which rows a transformer can take: complete ones, or all with a value where it accepts NaN."""
    present = ~np.isnan(block)
    return np.asarray(present.any(axis=1) if _accepts_nan(model) else present.all(axis=1))


def _fit(model: Any, table: Table, most: int) -> None:
    """Fit on usable rows, evenly drawn, and keep units and long names beside the fit."""
    blocks = (slice(start, start + _BLOCK) for start in range(0, max(len(table), 1), _BLOCK))
    usable = np.flatnonzero(np.concatenate([_usable(table.block(rows), model) for rows in blocks]))
    if not usable.size:
        raise InputError(f"data: no row has a value of all of {', '.join(table.names)}; leave out what is sparse")
    if usable.size > most:
        usable = usable[np.linspace(0, usable.size - 1, most).astype(np.intp)]
    model.fit(table.frame(usable, table.block(usable)))
    model.units_in_ = dict(zip(table.names, table.units, strict=True))
    model.long_names_in_ = dict(zip(table.names, table.long_names, strict=True))


def _applied(
    function: Callable[[Any], Any], model: Any, table: Table, named: bool = True
) -> tuple[list[NDArray[Any]], tuple[int, str]]:
    """Apply a function of a transformer block by block.

    Returns the columns, NaN in rows that cannot be used, and the number of rows that lack some values, with words.
    """
    columns: list[NDArray[Any]] = []
    partial, lacking = 0, Counter[str]()
    for start in range(0, len(table), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(table)))
        block = table.block(slice(start, start + _BLOCK))
        usable, missing = _usable(block, model), np.isnan(block)
        part = ~usable & ~missing.all(axis=1)
        partial += int(part.sum())
        lacking.update(dict(zip(table.names, missing[part].sum(axis=0).tolist(), strict=True)))
        if not usable.any():
            continue
        values = block[usable]
        result = np.asarray(function(table.frame(rows[usable], values) if named else values))
        if not columns:
            columns = [np.full(len(table), np.nan, dtype=table.dtype) for _ in range(result.shape[1])]
        for column, new in zip(columns, result.T, strict=True):
            column[rows[usable]] = new
    if not columns:
        raise InputError(f"data: no row has a value of all of {', '.join(table.names)}; leave out what is sparse")
    words = f"{partial} of {len(table)} {table.row}s"
    return columns, (partial, f"{words} lack some of their values, most often {_most(lacking)}")


def _most(lacking: Counter[str]) -> str:
    return first_rows([f"{name} ({count})" for name, count in lacking.most_common() if count], 3)


def _warn_partial(partial: tuple[int, str]) -> None:
    count, words = partial
    if count:
        warnings.warn(
            f"{words}; they are missing in the result. Leave out what is sparse to keep them",
            DataWarning,
            stacklevel=user_level(),
        )


def _names_out(model: Any, names: list[str], n: int) -> list[str]:
    """Return the names of the outputs; numbered ones where a transformer gives none."""
    try:
        given = () if hasattr(model, "feature_names_in_") else (names,)
        return [str(name) for name in model.get_feature_names_out(*given)]
    except (AttributeError, ValueError):  # as a function without names has none
        return names if n == len(names) else [f"{type(model).__name__.lower()}{i}" for i in range(n)]


def _words(model: Any) -> list[str]:
    """Return what a transformer is called in a long name."""
    if getattr(model, "steps", None):
        return [word for _, step in model.steps for word in _words(step)]
    return ["Box-Cox"] if getattr(model, "method", None) == "box-cox" else [type(model).__name__]


def _long_names_out(model: Any, table: Table, names: list[str]) -> list[str]:
    if hasattr(model, "long_names_out"):
        return list(model.long_names_out(table.long_names))
    known, words = dict(zip(table.names, table.long_names, strict=True)), ", ".join(_words(model))
    if getattr(model, "method", None) == "box-cox":
        powers = dict(zip(table.names, model.lambdas_, strict=True))
        return [f"{known[name]} (Box-Cox, λ = {powers[name]:.2g})" for name in names]
    return [f"{known.get(name, name)} ({words})" for name in names]


def _lazy_log10(survey: xr.Dataset, model: Any) -> xr.Dataset:
    """Return the logarithms of bands that are computed later; so are their checks."""
    from geoprospect.geochem.log_ratios import check_positive

    names = names_of(survey)
    units, long_names = units_of(survey), [str(survey[name].attrs.get("long_name", name)) for name in names]
    if not _is_fitted(model):
        model.fit(pd.DataFrame(np.ones((1, len(names))), columns=names))
        model.long_names_in_ = dict(zip(names, long_names, strict=True))

    def checked(values: NDArray[Any], name: str) -> NDArray[Any]:
        check_positive(values.ravel(), name)
        dtype = values.dtype if np.issubdtype(values.dtype, np.floating) else np.float32
        return np.asarray(np.log10(values, dtype=dtype))

    bands = []
    for name in names:
        dtype = survey[name].dtype if np.issubdtype(survey[name].dtype, np.floating) else np.dtype(np.float32)
        logs = xr.apply_ufunc(checked, survey[name], kwargs={"name": name}, dask="parallelized", output_dtypes=[dtype])
        bands.append(logs.data)
    units = [f"log10({unit})" if unit else "log10" for unit in units]
    return as_survey(survey, names, bands, units, model.long_names_out(long_names))


def _origin(model: Any, names: list[str], table: Table) -> tuple[list[str], list[str]]:
    """Return units and long names of what a transformer was fitted on."""
    known = getattr(model, "long_names_in_", {})
    long_names = [known.get(name, name) for name in names]
    if _is_log10(model):
        return [unit[6:-1] if unit.startswith("log10(") else "" for unit in table.units], long_names
    units = [getattr(model, "units_in_", {}).get(name, "") for name in names]
    ratio = _log_ratio(model)
    if ratio is not None and not ratio.rest:
        whole = {1.0: "1", 100.0: "%", 1e6: "ppm", 1e9: "ppb"}
        units = [whole.get(ratio.closure, "")] * len(names)
        long_names = [f"{name}, of parts that sum up to {ratio.closure:g}" for name in long_names]
    return units, long_names


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
    offset, scale = np.array([_scale(table, name, values, method) for name, values, _ in table.items()]).T
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
