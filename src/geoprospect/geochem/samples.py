"""`Samples`, and the reader of sample tables."""

from __future__ import annotations

import html
import logging
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, Unpack

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS
from scipy.spatial import cKDTree

from geoprospect._checks import check_crs, check_names, first_rows, user_level
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.geochem.assays import standing_limits
from geoprospect.geochem.column_scan import Table, raise_errors, scan_table
from geoprospect.geochem.imputation import impute
from geoprospect.geochem.table_options import TableArguments, TableKeywords
from geoprospect.io.problems import listed, summed_up
from geoprospect.io.tables import (
    check_coordinates,
    with_columns,
)

log = logging.getLogger("geoprospect")


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
        check_coordinates(points, crs)
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
    layer: str | None = None,
    **options: Unpack[TableKeywords],
) -> Samples:
    r"""Read a table of samples.

    Parameters
    ----------
    path : path-like
        CSV (comma, semicolon or tab; plain or .gz) or any vector file of points that OGR reads.
        Decimal commas and thousands separators are read where they have only one meaning.
    x, y : str, optional
        Coordinate columns of a CSV. Default: columns with one of the usual names, which are logged.
    crs : optional
        CRS of the coordinates. A CSV needs it; it is never guessed.
    elements : sequence of str, optional
        Columns to read, by header ('Cu_ppm') or element ('Cu'). Default: every column whose header
        is an element or oxide, alone or with a method ('Al_XRF'), or ends in a unit.
    units : str or mapping, optional
        Unit of all elements, or units per element or header. Default: from the headers, or a row of
        units below them.
    missing : float, str or iterable of them, optional
        Numbers and words that mean missing, besides an empty cell, NA, NaN, N/A, null and none:
        codes such as -9999, or words such as 'ND', which mean below detection otherwise.
        An empty list means that no number does, and that those which look like it are
        concentrations.
    layer : str, optional
        Layer of a vector file that has several.
    **options
        Fields of `TableOptions`, which describes them:

        - ``below``: replacement of values below detection: 'half' (default), 'sqrt2', 'nan', 'raise',
          'ros' or 'lrem';
        - ``negative``: meaning of a negative concentration: 'raise' (default), 'below' or 'missing';
        - ``zero``: meaning of a zero: 'keep' (default), 'below' or 'missing';
        - ``limits``: detection limits, for all elements or per element;
        - ``flags``: columns of flags per element, or False to ignore flags;
        - ``encoding``: encoding of a CSV.

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
    given = TableArguments.of(x, y, crs, elements, units, missing, layer, options)
    table = scan_table(path, given)
    raise_errors(
        replace(table, problems=tuple(with_columns(one, table.x_name, table.y_name) for one in table.problems))
    )
    for sentence in listed([problem for problem in table.all_problems if problem.level == "note"]):
        log.info("%s: %s", table.file.name, sentence)
    for sentence in summed_up([problem for problem in table.all_problems if problem.level == "warning"]):
        warnings.warn(f"{table.file.name}: {sentence}", DataWarning, stacklevel=user_level())
    return samples_of(table, given.below)


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


def _frozen(values: ArrayLike, dtype: type) -> NDArray[Any]:
    """Return a read-only array of its own."""
    array: NDArray[Any] = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def sample_spacing(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the median distance from a place with a sample to the next one, in units of the coordinates.

    Parameters
    ----------
    x, y : ndarray of shape (n_samples,)
        Finite coordinates in a projected CRS. Samples at one place count once.

    Returns
    -------
    float
        NaN where there are fewer than two places.
    """
    return median_gap(np.column_stack([x, y]))


def median_gap(points: NDArray[np.float64], of: NDArray[np.bool_] | None = None) -> float:
    """Return the median distance to the next place, over all places or some; NaN where there is none."""
    places = np.unique(points, axis=0)
    some = places if of is None else places[of]
    if len(places) < 2 or not len(some):
        return math.nan
    distance, _ = cKDTree(places).query(some, k=2)
    return float(np.median(distance[:, 1]))
