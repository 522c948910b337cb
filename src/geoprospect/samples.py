"""`Samples` and the readers of sample tables and deposit layers."""

from __future__ import annotations

import ast
import html
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS

from geoprospect._checks import check_choice, check_crs, check_input_file, check_names, first_rows, shown, user_level
from geoprospect.assays import Problem, listed, scan_numbers, standing_limits, summed_up
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.imputation import replace as impute
from geoprospect.scanning import Table, raise_errors, scan_table
from geoprospect.tables import (
    check_text_crs,
    check_vector_crs,
    coordinate_columns,
    coordinate_faults,
    is_text_table,
    point_coordinates,
    read_text_table,
    read_vector,
    with_numbers,
)

log = logging.getLogger("geoprospect")
# What a deposit filter may call: nothing that writes files or reaches into Python (`to_csv`, `__globals__`).
_QUERY_METHODS = frozenset(
    "str dt isin between isna notna isnull notnull fillna abs round eq ne lt le gt ge duplicated x y "
    "contains startswith endswith match fullmatch lower upper strip lstrip rstrip casefold len find count get "
    "replace slice split extract isdigit isnumeric isalpha year month day min max mean median std sum".split()
)


_VALUES = 8  # of a column that are listed where a filter finds none


@dataclass(frozen=True, eq=False)
class Samples:
    """Point measurements of element concentrations. Arrays are read-only.

    Parameters
    ----------
    points : array_like of shape (n_samples, 2)
        Coordinates (x, y) in units of `crs`, finite.
    values : array_like of shape (n_samples, n_elements)
        Concentrations in `units`; NaN where missing. Where `censored`, the replacement that
        the reader chose.
    elements : sequence of str
        Names, one for each column of `values`, no two alike.
    units : sequence of str
        Unit of each element: 'ppm', 'ppb', '%', … ; '' where unknown.
    crs : pyproj.CRS or anything that it understands
        CRS of the points.
    limits : array_like of shape (n_samples, n_elements), optional
        Detection limit that a value was reported below, in `units`; NaN where none was.
    censored : array_like of bool of shape (n_samples, n_elements), optional
        True where a value was reported as below its limit.
    over_range : array_like of bool of shape (n_samples, n_elements), optional
        True where a value was reported as above the upper limit of its method: `values` and
        `limits` hold that limit, the concentration is at least as high.

    Raises
    ------
    InputError
        When shapes do not fit, coordinates or values are infinite, names repeat, or a value is
        both below and above a limit.
    CRSError
        When the CRS is missing, or the coordinates lie outside of what it allows.

    Examples
    --------
    >>> import geoprospect as gp
    >>> samples = gp.Samples([[0, 0], [0, 90]], [[12.5, 1.2], [30, float("nan")]], ["Cu", "Au"],
    ...                      ["ppm", "ppb"], "EPSG:32649")
    >>> samples
    Samples(2 samples of 2 elements: Cu, Au; WGS 84 / UTM zone 49N)
    >>> samples.summary()[["unit", "n", "missing", "median"]]
            unit  n  missing  median
    element
    Cu       ppm  2        0   21.25
    Au       ppb  1        1    1.20
    """

    points: NDArray[np.float64]
    values: NDArray[np.float64]
    elements: tuple[str, ...]
    units: tuple[str, ...]
    crs: CRS
    limits: NDArray[np.float64] = None  # type: ignore[assignment]  # filled in by __post_init__
    censored: NDArray[np.bool_] = None  # type: ignore[assignment]
    over_range: NDArray[np.bool_] = None  # type: ignore[assignment]

    if TYPE_CHECKING:  # what may be passed; the fields above say what is kept

        def __init__(
            self, points: ArrayLike, values: ArrayLike, elements: Sequence[str], units: Sequence[str], crs: Any,
            limits: ArrayLike | None = None, censored: ArrayLike | None = None, over_range: ArrayLike | None = None,
        ) -> None: ...  # fmt: skip

    def __post_init__(self) -> None:
        """Normalise, check and freeze."""
        points = _frozen(self.points, np.float64)
        values = _frozen(self.values, np.float64)
        elements, units = tuple(map(str, self.elements)), tuple(map(str, self.units))
        if points.ndim != 2 or points.shape[1] != 2:
            raise InputError(f"points: have shape {points.shape}, need (n_samples, 2)")
        if values.shape != (len(points), len(elements)):
            raise InputError(
                f"values: have shape {values.shape}, need (n_samples, n_elements) = ({len(points)}, {len(elements)})"
            )
        if len(units) != len(elements):
            raise InputError(f"units: {len(units)} of them for {len(elements)} elements; give '' where unknown")
        twice = [name for name, count in Counter(elements).items() if count > 1]
        if twice:
            raise InputError(f"elements: {twice[0]!r} stands more than once; names must differ")
        if np.isinf(values).any():
            row, column = np.argwhere(np.isinf(values))[0]
            raise InputError(f"values: sample {row} has an infinite {elements[column]}; use NaN for missing")
        crs = check_crs("crs", self.crs)
        _check_coordinates(points, crs)
        limits = np.full(values.shape, np.nan) if self.limits is None else self.limits
        censored, over_range = (
            np.zeros(values.shape, dtype=bool) if mask is None else mask for mask in (self.censored, self.over_range)
        )
        fields: dict[str, Any] = {
            "points": points, "values": values, "elements": elements, "units": units, "crs": crs,
            "limits": _frozen(limits, np.float64), "censored": _frozen(censored, np.bool_),
            "over_range": _frozen(over_range, np.bool_),
        }  # fmt: skip
        for name in ("limits", "censored", "over_range"):
            if np.shape(fields[name]) != values.shape:
                raise InputError(f"{name}: have shape {np.shape(fields[name])}, need that of values, {values.shape}")
        both = fields["censored"] & fields["over_range"]
        if both.any():
            row, column = np.argwhere(both)[0]
            raise InputError(
                f"over_range: {elements[column]} of sample {row} is censored too; a value is one or neither"
            )
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.points)

    def __getitem__(self, elements: str | Sequence[str]) -> Self:
        """Return the same samples with these elements only."""
        names = check_names("elements", [elements] if isinstance(elements, str) else elements, self.elements, "element")
        at = [self.elements.index(name) for name in names]
        return type(self)(
            self.points,
            self.values[:, at],
            tuple(names),
            tuple(self.units[i] for i in at),
            self.crs,
            self.limits[:, at],
            self.censored[:, at],
            self.over_range[:, at],
        )

    @property
    def geometry(self) -> gpd.GeoSeries:
        """The points as a GeoSeries."""
        return gpd.GeoSeries(shapely.points(self.points), crs=self.crs)

    def to_frame(self) -> gpd.GeoDataFrame:
        """Return a GeoDataFrame with one column per element."""
        return gpd.GeoDataFrame(dict(zip(self.elements, self.values.T, strict=True)), geometry=self.geometry)

    def to_crs(self, crs: Any) -> Self:
        """Return the same samples with their points in another CRS."""
        target = check_crs("crs", crs)
        moved = self.geometry.to_crs(target)
        points = np.column_stack([moved.x, moved.y])
        lost = ~np.isfinite(points).all(axis=1)
        if lost.any():
            raise CRSError(
                f"crs={target.name!r}: {int(lost.sum())} of {len(self)} points have no place there, the first "
                f"({', '.join(f'{v:g}' for v in self.points[lost][0])}); choose a CRS made for their area"
            )
        return replace(self, points=points, crs=target)

    def summary(self) -> pd.DataFrame:
        """Return unit, counts and quartiles of every element.

        Returns
        -------
        pandas.DataFrame
            Indexed by element: ``unit``, ``n`` (values present, censored ones included),
            ``missing``, ``censored``, ``over_range``, ``zeros``, ``min``, ``q25``, ``median``,
            ``q75``, ``max``.
        """
        rows = []
        for j, unit in enumerate(self.units):
            column = self.values[:, j]
            present = column[~np.isnan(column)]
            spread = np.quantile(present, [0, 0.25, 0.5, 0.75, 1]) if present.size else np.full(5, np.nan)
            below, above = (int(mask[:, j].sum()) for mask in (self.censored, self.over_range))
            counts = (present.size, len(self) - present.size, below, above, int((present == 0).sum()))
            rows.append((unit, *counts, *spread))
        columns = ["unit", "n", "missing", "censored", "over_range", "zeros", "min", "q25", "median", "q75", "max"]
        return pd.DataFrame(rows, columns=columns, index=pd.Index(self.elements, name="element"))

    def __repr__(self) -> str:
        """Counts, names and the CRS."""
        names = ", ".join(self.elements[:8]) + (", …" if len(self.elements) > 8 else "")
        return f"Samples({len(self)} samples of {len(self.elements)} elements: {names}; {self.crs.name})"

    def _repr_html_(self) -> str:
        """Show the summary table in a notebook; names are escaped."""
        table = self.summary().to_html(float_format=lambda v: f"{v:.4g}", escape=True)
        return f"<p><b>{len(self)} samples</b>, {html.escape(self.crs.name)}</p>{table}"


def read_samples(
    path: str | os.PathLike[str],
    x: str | None = None,
    y: str | None = None,
    crs: Any = None,
    elements: Sequence[str] | None = None,
    units: str | Mapping[str, str] | None = None,
    missing: Iterable[float | str] | float | str | None = None,
    *,
    below: Literal["half", "sqrt2", "nan", "raise", "ros", "lrem"] = "half",
    negative: Literal["raise", "below", "missing"] = "raise",
    zero: Literal["keep", "below", "missing"] = "keep",
    limits: Mapping[str, float] | float | None = None,
    flags: Mapping[str, str] | Literal[False] | None = None,
    layer: str | None = None,
    encoding: str = "utf-8-sig",
) -> Samples:
    r"""Read a table of samples.

    Parameters
    ----------
    path : path-like
        CSV (comma, semicolon or tab; plain or .gz) or any vector file of points that OGR reads.
        Decimal commas and thousands separators are read where they can be nothing else.
    x, y : str, optional
        Coordinate columns of a CSV; without them the usual names are looked for, and what was
        taken is logged.
    crs : optional
        CRS of the coordinates. Needed for a CSV; never guessed.
    elements : sequence of str, optional
        Columns to take, by header ('Cu_ppm') or by element ('Cu'). Default: every column whose
        header is an element or oxide, alone or with a method ('Al_XRF'), or ends in a unit.
    units : str or mapping, optional
        One unit for all, or a unit per element or header. Default: from the headers, or a row of
        units below them.
    missing : float, str or iterable of them, optional
        What stands for a missing value besides an empty cell, NA, NaN, N/A, null and none:
        codes such as -9999, or words such as 'ND', which would mean below detection otherwise.
        An empty list says that no number stands for 'no value', and that those which look like
        it are concentrations.
    below : {'half', 'sqrt2', 'nan', 'raise', 'ros', 'lrem'}, default 'half'
        What to put for a value reported as below detection: limit/2, limit/√2, NaN, or an error;
        or values estimated from the distribution of the element (`'ros'`) or from all elements
        together (`'lrem'`), see `replace_censored`. The limit and the fact stay in
        `Samples.limits` and `Samples.censored`.
    negative : {'raise', 'below', 'missing'}, default 'raise'
        What a negative concentration is: an error, 'below its absolute value', or missing.
    zero : {'keep', 'below', 'missing'}, default 'keep'
        What a concentration of zero is: kept and counted, 'below a limit not said', or missing.
    limits : float or mapping, optional
        Detection limit, for all or per element or header, of values that are below detection
        without saying below what (ND, BDL, a flag beside a zero). Without it the limit is looked
        for in a column of limits ('Cu_dl'), then in the other cells of the column; else the
        smallest measured value stands in, with a warning.
    flags : mapping or False, optional
        Columns that say which values are below detection ('<', L, N, BDL, U, 1, true) or over
        range ('>', G), per element or header: ``{"Cu": "Cu_flag"}``. By default those that their
        names tell ('Cu_bdl', 'Cu_qual') are followed, and logged; False ignores them.
    layer : str, optional
        Layer of a vector file that has several.
    encoding : str, default 'utf-8-sig'
        Encoding of a CSV; the default reads UTF-8 with or without a byte order mark.

    Returns
    -------
    Samples
        Values in the units of the table. Elements are spelled as usual ('CU' is 'Cu'); where two
        columns have the same one, their whole headers are the names. What was reported as '>1000'
        is 1000 and marked in `Samples.over_range`.

    Raises
    ------
    InputError
        When the table is ragged or empty, a column is not numeric, a value is infinite or more
        than all of a sample, a concentration is negative and not declared, or a number looks like
        a code for 'no value'. The message names columns and rows, and the call that settles it.
    NameNotFoundError
        When a column is not there.
    CRSError
        When the CRS is missing or does not fit the coordinates.
    MissingFileError
        When there is no such file.

    Warns
    -----
    DataWarning
        When rows have no coordinates (they are left out), samples share a place, a detection
        limit is not known, or coordinates are far from where the CRS is used.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoprospect as gp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.csv"
    >>> _ = path.write_text("id,lon,lat,Cu_ppm,Au_ppb\n1,110.1,22.1,18.5,<0.5\n2,110.2,22.1,41,2.1\n")
    >>> samples = gp.read_samples(path, crs="EPSG:4326")
    >>> samples.summary()[["unit", "n", "censored", "max"]]
            unit  n  censored   max
    element
    Cu       ppm  2         0  41.0
    Au       ppb  2         1   2.1
    """
    check_choice("below", below, ("half", "sqrt2", "nan", "raise", "ros", "lrem"))
    table = scan_table(
        path, x, y, crs, elements, units, missing, flags=flags, limits=limits, negative=negative, zero=zero,
        layer=layer, encoding=encoding,
    )  # fmt: skip
    raise_errors(
        replace(table, problems=tuple(_with_columns(one, table.x_name, table.y_name) for one in table.problems))
    )
    for sentence in listed([problem for problem in table.all_problems if problem.level == "note"]):
        log.info("%s: %s", table.file.name, sentence)
    for sentence in summed_up([problem for problem in table.all_problems if problem.level == "warning"]):
        warnings.warn(f"{table.file.name}: {sentence}", DataWarning, stacklevel=user_level())
    return samples_of(table, below)


def samples_of(table: Table, below: str) -> Samples:
    """Return the samples of a table without errors, with what stands for values below detection."""
    columns, placed = table.columns, table.placed
    limits = np.column_stack([standing_limits(column) for column in columns])[placed]
    values, censored, over = (
        np.column_stack([getattr(column, name) for column in columns])[placed] for name in ("values", "below", "above")
    )
    censored &= ~np.isnan(limits)  # below a limit of which nothing is known: missing
    if below == "raise" and censored.any():
        names = [columns[at].header for at in np.flatnonzero(censored.any(axis=0))]
        rows = first_rows(table.lines[placed][censored.any(axis=1)])
        raise InputError(
            f"column {first_rows(map(repr, names), 3)}: {int(censored.sum())} values below detection (row {rows}); "
            "choose below='half', 'sqrt2', 'nan', 'ros' or 'lrem'"
        )
    elements = [column.element for column in columns]
    if censored.any():
        values = impute(values, limits, censored, below, elements=elements)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said already
        return Samples(
            table.points[placed], values, elements, [column.unit for column in columns], table.crs, limits, censored,
            over,
        )  # fmt: skip


def read_deposits(
    path: str | os.PathLike[str],
    crs: Any = None,
    where: str | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    layer: str | None = None,
    encoding: str = "utf-8-sig",
) -> gpd.GeoDataFrame:
    r"""Read known deposits as points.

    Parameters
    ----------
    path : path-like
        Any vector file that OGR reads (polygons and lines give a point inside), or a CSV.
    crs : optional
        CRS of a CSV, or of a vector file that does not say.
    where : str, optional
        Which rows to keep, a pandas query over the columns of the file, ``name`` and
        ``commodity`` included: ``"commodity == 'Copper'"``,
        ``"commodity.str.contains('Au', na=False)"``.
    x, y, layer, encoding : optional
        As in `read_samples`.

    Returns
    -------
    GeoDataFrame
        Points with the columns of the file and ``id`` (unique; 1, 2, … where the file has
        none), ``name`` and ``commodity`` where a column like them is present.

    Raises
    ------
    InputError
        When nothing is left, a geometry is missing, or `where` cannot be understood.
    CRSError
        When the file has no CRS and none is given.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoprospect as gp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "deposits.csv"
    >>> _ = path.write_text("name,lon,lat,commodity\nA,110.1,22.1,Copper\nB,110.3,22.2,Copper\nC,110.2,22.4,Gold\n")
    >>> gp.read_deposits(path, crs="EPSG:4326", where="commodity == 'Copper'")[["id", "name", "geometry"]]
       id name            geometry
    0   1    A  POINT (110.1 22.1)
    1   2    B  POINT (110.3 22.2)
    """
    file = check_input_file("path", path)
    if is_text_table(file):
        text = read_text_table(file, encoding)
        lines, cells = text.lines, text.frame
        x, y = coordinate_columns(cells, x, y)
        (east, wrong), (north, wrong_too) = (scan_numbers(cells[name], name, lines) for name in (x, y))
        for problem in (*text.problems, *wrong, *wrong_too):
            if problem.level == "error" and problem.where in (x, y):
                raise InputError(problem.message)
            log.info("%s: %s", file.name, problem.message)
        log.info("%s: coordinates are in the columns %r and %r", file.name, x, y)
        crs = check_text_crs(crs, cells, x, y)
        frame = gpd.GeoDataFrame(with_numbers(cells), geometry=gpd.points_from_xy(east, north), crs=crs)
        placeless = ~np.isfinite(east + north)
    else:
        frame = read_vector(file, layer, "deposits")
        known_crs = check_vector_crs(crs, frame)
        frame = frame if frame.crs is not None else frame.set_crs(known_crs)
        lines = np.arange(1, len(frame) + 1)
        placeless = (frame.geometry.isna() | frame.geometry.is_empty).to_numpy()
    if placeless.any():
        rows = first_rows(lines[placeless])
        raise InputError(f"path={str(file)!r}: deposits without a place (row {rows}); remove them or give coordinates")
    if (frame.geom_type == "MultiPoint").any():
        frame = frame.explode(index_parts=False, ignore_index=True)
    if not (frame.geom_type == "Point").all():
        log.info("%s: lines and polygons stand as a point inside them", file.name)
        frame = frame.set_geometry(frame.representative_point())
    columns = (x or "", y or "") if is_text_table(file) else ("", "")
    _check_coordinates(np.column_stack(point_coordinates(frame)), frame.crs, columns)
    every = frame = _with_known_names(frame)
    if where is not None:
        try:
            frame = frame[_matches(frame, where)]
        except Exception as err:  # pandas raises nearly anything on a bad expression
            raise InputError(
                f"where={where!r}: cannot be applied ({err}); it is a pandas query over the columns "
                f"{', '.join(map(str, frame.columns))}, for example \"commodity == 'Copper'\""
            ) from err
    if frame.empty:
        there = "" if where is None else _what_there_is(every, where)
        raise InputError(
            f"path={str(file)!r}, where={where!r}: no deposit is left; check the filter against the file{there}"
        )
    if len(frame) == 1:
        warnings.warn(
            f"{file.name}: only one deposit; nothing can be validated on one", DataWarning, stacklevel=user_level()
        )
    return frame.reset_index(drop=True)


def _matches(frame: gpd.GeoDataFrame, where: str) -> NDArray[np.bool_]:
    """Apply a pandas query that can only compare: a filter may come from a file that somebody else wrote."""
    tree = ast.parse(re.sub(r"`[^`]*`", "column", where.strip()), mode="eval")
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        if name.startswith("_") or (isinstance(node, ast.Attribute) and name not in _QUERY_METHODS):
            raise ValueError(f"{name!r} is not allowed in a filter")
    found = frame.eval(where.strip(), engine="python", local_dict={}, global_dict={})
    # Where a text is missing, `str` methods may answer with neither True nor False.
    answers = found.dropna().convert_dtypes() if isinstance(found, pd.Series) else None
    if answers is None or (len(answers) and not pd.api.types.is_bool_dtype(answers)):
        raise ValueError("it does not say yes or no for each row")
    keep: NDArray[np.bool_] = found.astype("boolean").fillna(False).to_numpy(dtype=bool)
    return keep


def _what_there_is(frame: gpd.GeoDataFrame, where: str) -> str:
    """Return what the columns hold that a filter names: the values that stand most often, or the range of numbers."""
    named = {getattr(node, "id", "") for node in ast.walk(ast.parse(re.sub(r"`[^`]*`", "column", where.strip())))}
    named |= set(re.findall(r"`([^`]*)`", where))
    told = []
    for name in [column for column in frame.columns if column in named and column != frame.active_geometry_name]:
        values, numbers = frame[name].dropna(), pd.api.types.is_numeric_dtype(frame[name])
        counts = values.value_counts() if numbers else values.astype(str).value_counts()
        if numbers and len(counts) > _VALUES:
            told.append(f"{name} runs from {values.min():g} to {values.max():g}")
        elif len(counts):
            told.append(f"{name} is {first_rows(map(shown, counts.index.tolist()), _VALUES)}")
        else:
            told.append(f"{name} is empty")
    return f", where {' and '.join(told)}" if told else ""


def check_deposits(deposits: Any) -> gpd.GeoDataFrame:
    """Return deposits when they are a GeoDataFrame, or raise with how to make one."""
    if not isinstance(deposits, gpd.GeoDataFrame):
        plain = isinstance(deposits, (str, os.PathLike, list, tuple))
        what = f"deposits={shown(deposits)}" if plain else f"deposits: is a {type(deposits).__name__}"
        raise InputError(
            f"{what}{':' if plain else ','} needs a GeoDataFrame of points; read a file with read_deposits(path), or "
            "make one with geopandas.GeoDataFrame(geometry=geopandas.points_from_xy(x, y), crs=…)"
        )
    if deposits.active_geometry_name is None:
        raise InputError("deposits: the GeoDataFrame has no geometry; set it with deposits.set_geometry(…)")
    return deposits


def _with_columns(problem: Problem, x: str, y: str) -> Problem:
    """Say, of coordinates that are swapped, which columns to pass."""
    if problem.kind != "swapped" or not (x and y):
        return problem
    return replace(problem, message=f"{problem.message} pass x={y!r}, y={x!r}")


def _frozen(values: ArrayLike, dtype: type) -> NDArray[Any]:
    """Return a read-only array of its own."""
    array: NDArray[Any] = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _check_coordinates(points: NDArray[np.float64], crs: CRS, columns: tuple[str, str] = ("", "")) -> None:
    """Raise where coordinates cannot be what the CRS says; warn far outside its area of use."""
    if not np.isfinite(points).all():
        raise InputError(
            f"points: sample {np.argwhere(~np.isfinite(points))[0][0]} has no finite coordinates; leave it out"
        )
    for problem in coordinate_faults(points, crs):
        if problem.level == "error":
            raise CRSError(_with_columns(problem, *columns).message)
        warnings.warn(problem.message, DataWarning, stacklevel=user_level())


def _with_known_names(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Give a deposit layer the columns id, name and commodity where it has something like them."""
    known = {
        "name": ("name", "english_name", "site_name", "deposit_name", "dep_name", "deposit"),
        "commodity": ("commodity", "major_commodity", "main_commodity", "primary_commodity", "commodities", "commod1"),
        "id": ("id", "deposit_id", "dep_id", "objectid", "fid"),
    }
    by_lower = {str(column).lower(): column for column in reversed(frame.columns)}
    for target, usual in known.items():
        source = next((by_lower[name] for name in usual if name in by_lower), None)
        if source is not None and target not in frame.columns:
            frame[target] = frame[source]
    if "id" not in frame.columns or frame["id"].isna().any() or frame["id"].duplicated().any():
        if "id" in frame.columns:
            log.info("the ids of the deposits are not unique; they are numbered 1 to %d instead", len(frame))
        frame["id"] = np.arange(1, len(frame) + 1)
    return frame
