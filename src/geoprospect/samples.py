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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS

from geoprospect._checks import (
    check_choice,
    check_crs,
    check_input_file,
    check_names,
    first_rows,
)
from geoprospect.assays import element_columns, names_and_units, parse_column
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.tables import (
    check_text_crs,
    coordinate_columns,
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

    Raises
    ------
    InputError
        When shapes do not fit, coordinates or values are infinite, or names repeat.
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

    if TYPE_CHECKING:  # what may be passed; the fields above say what is kept

        def __init__(
            self, points: ArrayLike, values: ArrayLike, elements: Sequence[str], units: Sequence[str], crs: Any,
            limits: ArrayLike | None = None, censored: ArrayLike | None = None,
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
        censored = np.zeros(values.shape, dtype=bool) if self.censored is None else self.censored
        fields: dict[str, Any] = {
            "points": points, "values": values, "elements": elements, "units": units, "crs": crs,
            "limits": _frozen(limits, np.float64), "censored": _frozen(censored, np.bool_),
        }  # fmt: skip
        for name in ("limits", "censored"):
            if np.shape(fields[name]) != values.shape:
                raise InputError(f"{name}: have shape {np.shape(fields[name])}, need that of values, {values.shape}")
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
        return type(self)(points, self.values, self.elements, self.units, target, self.limits, self.censored)

    def summary(self) -> pd.DataFrame:
        """Return unit, counts and quartiles of every element.

        Returns
        -------
        pandas.DataFrame
            Indexed by element: ``unit``, ``n`` (values present, censored ones included),
            ``missing``, ``censored``, ``min``, ``q25``, ``median``, ``q75``, ``max``.
        """
        rows = []
        for j, unit in enumerate(self.units):
            column = self.values[:, j]
            present = column[~np.isnan(column)]
            spread = np.quantile(present, [0, 0.25, 0.5, 0.75, 1]) if present.size else np.full(5, np.nan)
            rows.append((unit, present.size, len(self) - present.size, int(self.censored[:, j].sum()), *spread))
        columns = ["unit", "n", "missing", "censored", "min", "q25", "median", "q75", "max"]
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
    below: Literal["half", "sqrt2", "nan", "raise"] = "half",
    negative: Literal["raise", "below", "missing"] = "raise",
    layer: str | None = None,
    encoding: str = "utf-8-sig",
) -> Samples:
    r"""Read a table of samples.

    Parameters
    ----------
    path : path-like
        CSV (comma, semicolon or tab; plain or .gz; a decimal comma where the delimiter is not
        one) or any vector file of points that OGR reads.
    x, y : str, optional
        Coordinate columns of a CSV; without them the usual names are looked for, and what was
        taken is logged.
    crs : optional
        CRS of the coordinates. Needed for a CSV; never guessed.
    elements : sequence of str, optional
        Columns to take, by header ('Cu_ppm') or by element ('Cu'). Default: every column of
        numbers whose header is an element or oxide, or ends in a unit.
    units : str or mapping, optional
        One unit for all, or a unit per element or header. Default: from the headers.
    missing : float, str or iterable of them, optional
        What stands for a missing value besides an empty cell, NA, NaN, N/A, null and none:
        sentinels such as -9999, or words such as 'ND'.
    below : {'half', 'sqrt2', 'nan', 'raise'}, default 'half'
        What to put for a value reported as '<limit': limit/2, limit/√2, NaN, or an error. The
        limit and the fact stay in `Samples.limits` and `Samples.censored`.
    negative : {'raise', 'below', 'missing'}, default 'raise'
        What a negative concentration is: an error, 'below its absolute value', or missing.
    layer : str, optional
        Layer of a vector file that has several.
    encoding : str, default 'utf-8-sig'
        Encoding of a CSV; the default reads UTF-8 with or without a byte order mark.

    Returns
    -------
    Samples
        Values in the units of the table.

    Raises
    ------
    InputError
        When the table is ragged or empty, a column is not numeric, a value is infinite, or a
        concentration is negative and not declared. The message names column and rows.
    NameNotFoundError
        When a column is not there.
    CRSError
        When the CRS is missing or does not fit the coordinates.
    MissingFileError
        When there is no such file.

    Warns
    -----
    DataWarning
        When rows have no coordinates (they are left out), or samples share a place.

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
    check_choice("below", below, ("half", "sqrt2", "nan", "raise"))
    check_choice("negative", negative, ("raise", "below", "missing"))
    absent = [missing] if isinstance(missing, (str, int, float)) else list(missing or ())
    file = check_input_file("path", path)
    if is_text_table(file):
        frame, lines = read_text_table(file, encoding)
        x, y = coordinate_columns(frame, x, y)
        crs = check_text_crs(crs, frame, x, y)
        # A sentinel such as -99 may be a longitude, a word is none.
        words = [word for word in absent if isinstance(word, str)]
        east, north = (parse_column(frame[name], name, lines, words, "raise", "keep")[0] for name in (x, y))
        taken = {x, y}
    else:
        table = read_vector(file, layer, crs, "samples")
        lines, crs, taken = np.arange(1, len(table) + 1), table.crs, {table.geometry.name}
        east, north = point_coordinates(table)
        frame = pd.DataFrame(table.drop(columns=table.geometry.name))
    columns = element_columns(frame, elements, taken)
    placed = np.isfinite(east) & np.isfinite(north)
    if not placed.all():
        rows = first_rows(lines[~placed])
        warnings.warn(
            f"{file.name}: left out {int((~placed).sum())} rows without coordinates (row {rows})",
            DataWarning,
            stacklevel=2,
        )
    if not placed.any():
        raise InputError(f"path={str(file)!r}: no row has coordinates; is the table empty?")
    names, unit_list = names_and_units(columns, units)
    parsed = [parse_column(frame[c], c, lines, absent, below, negative) for c in columns]
    values, limits = (np.column_stack([one[k] for one in parsed])[placed] for k in (0, 1))
    samples = Samples(np.column_stack([east, north])[placed], values, names, unit_list, crs, limits, ~np.isnan(limits))
    _report(samples, file.name)
    return samples


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
        text, lines = read_text_table(file, encoding)
        x, y = coordinate_columns(text, x, y)
        crs = check_text_crs(crs, text, x, y)
        east, north = (parse_column(text[name], name, lines, None, "raise", "keep")[0] for name in (x, y))
        frame = gpd.GeoDataFrame(with_numbers(text), geometry=gpd.points_from_xy(east, north), crs=crs)
        placeless = ~np.isfinite(east + north)
    else:
        frame = read_vector(file, layer, crs, "deposits")
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
    _check_coordinates(np.column_stack(point_coordinates(frame)), frame.crs)
    frame = _with_known_names(frame)
    if where is not None:
        try:
            frame = frame[_matches(frame, where)]
        except Exception as err:  # pandas raises nearly anything on a bad expression
            raise InputError(
                f"where={where!r}: cannot be applied ({err}); it is a pandas query over the columns "
                f"{', '.join(map(str, frame.columns))}, for example \"commodity == 'Copper'\""
            ) from err
    if frame.empty:
        raise InputError(f"path={str(file)!r}, where={where!r}: no deposit is left; check the filter against the file")
    if len(frame) == 1:
        warnings.warn(f"{file.name}: only one deposit; nothing can be validated on one", DataWarning, stacklevel=2)
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


def _frozen(values: ArrayLike, dtype: type) -> NDArray[Any]:
    """Return a read-only array of its own."""
    array: NDArray[Any] = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _check_coordinates(points: NDArray[np.float64], crs: CRS) -> None:
    """Raise where coordinates cannot be what the CRS says; warn far outside its area of use."""
    if not np.isfinite(points).all():
        raise InputError(
            f"points: sample {np.argwhere(~np.isfinite(points))[0][0]} has no finite coordinates; leave it out"
        )
    if len(points) == 0:
        return
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    extent = f"x runs from {west:g} to {east:g}, y from {south:g} to {north:g}"
    if crs.is_geographic:
        if max(abs(south), abs(north)) > 90 and max(abs(west), abs(east)) <= 90:
            raise CRSError(f"crs={crs.name!r}: {extent}: no latitude exceeds 90; did you swap x and y?")
        if max(abs(south), abs(north)) > 90 or max(abs(west), abs(east)) > 360:
            raise CRSError(
                f"crs={crs.name!r}: {extent}: these are no degrees; name the projection of the table "
                "in crs=, for example 'EPSG:32649'"
            )
    area = crs.area_of_use
    if area is not None and area.west < area.east:
        corners = gpd.GeoSeries.from_xy([west, east], [south, north], crs=crs).to_crs("EPSG:4326")
        lon, lat = corners.x.to_numpy(), corners.y.to_numpy()
        outside = not np.isfinite(lon + lat).all() or lon[1] < area.west - 6 or lon[0] > area.east + 6
        if outside or lat[1] < area.south - 6 or lat[0] > area.north + 6:
            warnings.warn(
                f"crs={crs.name!r}: {extent}: this is far outside the area that it is made for "
                f"({area.name}); is it the right one?",
                DataWarning,
                stacklevel=4,
            )


def _report(samples: Samples, file_name: str) -> None:
    """Log what was censored; warn where samples share a place."""
    censored = {name: int(n) for name, n in zip(samples.elements, samples.censored.sum(axis=0), strict=True) if n}
    if censored:
        log.info("%s: values below detection: %s", file_name, ", ".join(f"{k} {v}" for k, v in censored.items()))
    shared = len(samples) - len(np.unique(samples.points, axis=0))
    if shared:
        warnings.warn(
            f"{file_name}: {shared} samples share their place with another; gridding takes the mean there",
            DataWarning,
            stacklevel=3,
        )


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
