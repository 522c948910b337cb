"""The data check: what a table of samples holds, what stands in the way of reading it, and what to type."""

from __future__ import annotations

import html
import math
import os
import shlex
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Unpack

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import CRS
from scipy.spatial import cKDTree

from geoprospect._checks import first_rows
from geoprospect._settings import with_settings
from geoprospect.errors import DataWarning, GeoprospectError
from geoprospect.geochem.assays import Column, standing_limits
from geoprospect.geochem.column_scan import Table, scan_table
from geoprospect.geochem.duplicates import duplicate_precision
from geoprospect.geochem.samples import Samples, sample_spacing, samples_of
from geoprospect.geochem.table_options import TableArguments, TableKeywords
from geoprospect.grid import Grid
from geoprospect.io.problems import Problem, joint_cure, summed_up

_LEVELS = ("error", "warning", "note")
# Signs in a line of the report; rows and columns of its map, whose signs are twice as high as wide; and the fewest
# samples that a map says anything about.
_WIDTH, _MAP, _FEWEST_FOR_MAP = 100, (18, 60), 10
_SHADES = "·:+#"
# Notes that the head of the report and its table of elements say too.
_SAID_ELSEWHERE = ("coordinates", "skipped", "below", "over-range")
# The longest table of elements that is shown whole, and what is shown of a longer one.
_WHOLE, _PART = 30, 10
# Windows are multiples of 32 cells of which 7/8 are seen (256 -> 224): deep networks halve them five times. One should
# hold so many samples, and so many should find room abreast, so that folds which share no ground can be cut.
_STEP, _CROP = 32, 7 / 8
_SAMPLES_INSIDE, _ABREAST = 16, 8
# Fewer duplicates say little (Stanley and Lawie 2007); noise beyond this share blurs a map (Ramsey et al. 1992).
_FEWEST_PAIRS, _NOISE = 5, 0.2
# Places so many spacings from the next one are more often a slip in a coordinate; so near ones are duplicates.
_FAR, _NEAR, _GROUP = 50, 0.05, 10
# No coordinate of a place on Earth, in whatever unit, is as large as this.
_FARTHEST = 1e10


@dataclass(frozen=True, eq=False)
class SampleCheck:
    r"""What `check_samples` found in a table. Printed, it is the report.

    Parameters
    ----------
    table : Table
        The table as it is, with its file, its columns of coordinates, and the columns that are not taken.
    given : dict
        The arguments that it was looked at with.
    findings : tuple of Problem
        What is wrong or worth knowing; `problems` shows them as a table.
    usable : bool
        False while `read_samples` raises with these arguments.
    arguments : dict
        What to give `read_samples` besides or instead; empty where nothing is needed.
    settled : bool
        True where `read_samples` does not raise with `arguments`; where it is False, there are cells to correct.
    elements : pandas.DataFrame
        Indexed by element. ``header``, ``unit``; cells of the table: ``n`` (a value, or below or above a limit),
        ``missing`` (or not understood), ``censored``, ``limits`` (different ones), ``lowest_limit``,
        ``highest_limit``, ``over_range``, ``zeros``, ``negative``, ``sentinel``; and, with `arguments`, ``min``,
        ``median``, ``max`` of what is measured (in the median, censored values count as half their limit); ``rsd``
        from duplicates, in %, with at least 5 pairs.
    precision : pandas.DataFrame or None
        What `duplicate_precision` says of `samples`; None with fewer than 5 pairs of every element.
    samples : Samples or None
        What `read_samples` gives with `arguments`; None where it raises.
    spacing : float
        Median distance from a place with a sample to the next one, in metres; NaN where it is not known.
    grid : Grid or None
        What `Grid.covering` makes of the samples.
    window : dict or None
        A window for networks: ``resolution`` (of the grid, in units of its CRS), ``size`` and ``crop`` (cells),
        ``width`` (metres), ``samples`` (median number in it), ``abreast`` (how many find room along the shorter
        side of the survey; fewer than 8 leave little separate ground to test on). None with fewer than 16 samples.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoprospect as gp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.csv"
    >>> _ = path.write_text("lon,lat,Cu_ppm\n110.1,22.1,18.5\n110.2,22.1,-9999\n110.3,22.2,20\n")
    >>> check = gp.check_samples(path, crs="EPSG:4326")
    >>> check
    SampleCheck(samples.csv: not usable as it is, settled by missing=[-9999]; 3 samples of 1 element)
    >>> len(gp.read_samples(path, crs="EPSG:4326", **check.arguments))
    3
    """

    table: Table
    given: dict[str, Any]
    findings: tuple[Problem, ...]
    usable: bool
    arguments: dict[str, Any]
    settled: bool
    elements: pd.DataFrame
    precision: pd.DataFrame | None
    samples: Samples | None
    spacing: float
    grid: Grid | None
    window: dict[str, float] | None

    @property
    def problems(self) -> pd.DataFrame:
        """The findings: ``level`` ('error', 'warning', 'note'), ``where``, ``message``, ``cells`` and ``cure``."""
        rows = [
            (p.level, p.where or self.table.file.name, p.message, p.count, _as_keywords(p.cure)) for p in self.findings
        ]
        return pd.DataFrame(rows, columns=["level", "where", "message", "cells", "cure"])

    @property
    def points(self) -> NDArray[np.float64]:
        """Coordinates of the rows that have them, shape (n_samples, 2), as the table has them."""
        return self.table.points[self.table.placed]

    def verdict(self) -> str:
        """Return in one line whether the table can be used."""
        if self.usable:
            return f"{self.table.file.name}: usable"
        things = len(summed_up(_of_level(self.findings, "error")))
        return f"{self.table.file.name}: not usable as it is, {_counted(things, 'thing')} to settle"

    def report(self, full: bool = False) -> str:
        """Return the report as text.

        Parameters
        ----------
        full : bool, default False
            Also list the elements beyond the first of more than 30, and every note.

        Returns
        -------
        str
        """
        parts = [
            [self.verdict(), *self._what_to_type()],
            self._rows_and_columns(full),
            self._findings(full),
            self._elements(full),
            self._ground(),
            self._duplicates(full),
        ]
        return "\n\n".join("\n".join(part) for part in parts if part)

    def __str__(self) -> str:
        """Return the report."""
        return self.report()

    def __repr__(self) -> str:
        """Verdict and counts."""
        state = "usable" if self.usable else "not usable as it is"
        if self.settled and not self.usable:
            state += f", settled by {_as_keywords(self.arguments)}"
        counts = f"{_counted(len(self.points), 'sample')} of {_counted(len(self.elements), 'element')}"
        return f"SampleCheck({self.table.file.name}: {state}; {counts})"

    def _repr_html_(self) -> str:
        """Show the report in a notebook; whatever the table says is escaped."""
        text = "\n".join([*self._what_to_type(), "", *self._rows_and_columns(False), "", *self._ground()])
        tables = [
            self.problems.to_html(index=False, escape=True),
            self.elements.to_html(escape=True, float_format=_short),
        ]
        return f"<p><b>{html.escape(self.verdict())}</b></p><pre>{html.escape(text)}</pre>{''.join(tables)}"

    def _what_to_type(self) -> list[str]:
        settings = {key: value for key, value in (self.given | self.arguments).items() if value is not None}
        name = str(self.table.file)
        call = f"gp.read_samples({name!r}{', ' if settings else ''}{_as_keywords(settings)})"
        options = _as_options(settings)
        if self.usable:
            return [f"  to read it    {call}"]
        if self.settled:
            typed = [] if options is None else [f"  as options    {options}"]
            return [f"  settled by    {call}", *typed]
        if not self.arguments:
            return ["  What to do stands below."]
        return [f"  in part by    {call}", "  What is left stands below."]

    def _rows_and_columns(self, full: bool) -> list[str]:
        table = self.table
        where = f"; coordinates from {table.x_name!r} and {table.y_name!r}" if table.x_name else ""
        crs = "CRS unknown" if table.crs is None else table.crs.name
        lines = _wrapped(
            f"{_counted(len(table.lines), 'row')}, {_counted(len(self.points), 'sample')} with a place, "
            f"{_counted(len(self.elements), 'element')}{where}; {crs}"
        )
        if table.skipped:
            names = ", ".join(table.skipped) if full else first_rows(table.skipped, 12)
            lines += _wrapped(f"Not taken as elements: {names}")
        return lines

    def _findings(self, full: bool) -> list[str]:
        lines = []
        for level in _LEVELS:
            alike = [p for p in _of_level(self.findings, level) if full or p.kind not in _SAID_ELSEWHERE]
            for sentence in [p.message for p in alike] if full else summed_up(alike):
                lines += _wrapped(sentence, f"  {level:<8} ")
        return lines

    def _elements(self, full: bool) -> list[str]:
        table = self.elements
        if table.empty:
            return []
        trouble = ["missing", "censored", "over_range", "zeros", "negative", "sentinel"]
        shown = table
        if len(table) > _WHOLE and not full:
            # The worst of each sort of trouble, then the second worst of each.
            place = (-table[trouble]).rank(method="first").where(table[trouble] > 0).min(axis=1)
            shown = table.iloc[np.sort(place.to_numpy().argsort(kind="stable")[:_PART])]
        text = shown[["unit", "n", *(name for name in trouble if shown[name].any())]].astype(object).replace(0, "")
        if shown["limits"].any():
            text["limits"] = [_limits(row) for row in shown.itertuples()]
        for name in ("min", "median", "max", "rsd"):
            if shown[name].notna().any():
                text["rsd %" if name == "rsd" else name] = [_short(value) for value in shown[name]]
        text.index = pd.Index([str(name)[:24] for name in shown.index])
        lines = [f"  {line}".rstrip() for line in text.to_string().splitlines()]
        if len(shown) < len(table):
            lines.append(f"  … and {len(table) - len(shown)} elements with less to say (full=True, --full)")
        return lines

    def _ground(self) -> list[str]:
        points, crs = self.points, self.table.crs
        if not len(points):
            return []
        lines = []
        if len(points) >= _FEWEST_FOR_MAP:
            lines = character_map(*_drawn(points, crs, self.grid), _corners(points, crs))
        return [*lines, *(line for text in self._ground_facts() for line in _wrapped(text))]

    def _ground_facts(self) -> list[str]:
        (west, south), (east, north) = self.points.min(axis=0), self.points.max(axis=0)
        facts = [
            f"Extent: x {west:.9g} to {east:.9g}, y {south:.9g} to {north:.9g}{_area(self.points, self.table.crs)}"
        ]
        if self.grid is None or math.isnan(self.spacing):
            return facts
        (ny, nx), size = self.grid.shape, self.grid.resolution[0]
        memory = math.ceil(ny * nx * 4 * max(len(self.elements), 1) / 2**20)
        facts.append(
            f"Cells: samples lie {_length(self.spacing)} apart (median distance to the next place); a quarter of that, "
            f"which Grid.covering takes by itself, gives {ny:,} x {nx:,} cells of {size:g} {_unit(self.grid)}, "
            f"{memory:,} MB for all elements; in {self.grid.crs.name}"
        )
        best = self.window
        if best is None:
            return [*facts, f"Windows: none holds {_SAMPLES_INSIDE} samples, the fewest that a network should look at"]
        finer = "" if best["resolution"] == size else f" of {best['resolution']:g} {_unit(self.grid)}"
        advice = (
            "Take a wider one where the haloes of deposits are wider"
            if best["abreast"] >= _ABREAST
            else f"Folds that share no ground need {_ABREAST}: a network can hardly be tested on so few samples; "
            "grids, screening and models of single cells can"
        )
        facts.append(
            f"Windows: size={best['size']}, crop={best['crop']} cells{finer}, {_length(best['width'])} wide, is the "
            f"smallest that holds {_SAMPLES_INSIDE} samples ({best['samples']:.0f} in the median); "
            f"{best['abreast']} find room abreast. {advice}"
        )
        return facts

    def _duplicates(self, full: bool) -> list[str]:
        if self.precision is None:
            return []
        said = [f"{name} {_short(rsd)}" for name, rsd in self.elements["rsd"].dropna().sort_values().items()]
        if len(said) > _WHOLE and not full:
            said = [*said[: _PART // 2], "…", *said[-_PART:]]
        places = int(self.precision["n_places"].max())
        return _wrapped(
            f"Duplicates: {places} places have several samples. Relative standard deviation of one result, of sampling "
            f"and analysis together, in %: {', '.join(said)}"
        )


def check_samples(
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
) -> SampleCheck:
    r"""Check a table of samples before it is used.

    No cell makes it raise: the report lists what `read_samples` would refuse, with rows and suggested
    arguments. It changes and writes nothing.

    Parameters
    ----------
    path, x, y, crs, elements, units, missing, layer : optional
        As in `read_samples`. Without `crs` the rest of the table is checked.
    **options
        Fields of `TableOptions`, as in `read_samples`: below, negative, zero, limits, flags, encoding.

    Returns
    -------
    SampleCheck
        ``print(check)`` is the report; ``check.arguments`` is what to give `read_samples`.

    Raises
    ------
    MissingFileError, InputError, NameNotFoundError
        When there is no such file, it is no table at all (ragged, another encoding), or an argument
        names a column that is not there: the error that `read_samples` raises too.

    See Also
    --------
    duplicate_precision : how well the assays repeat.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoprospect as gp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.csv"
    >>> _ = path.write_text("lon,lat,Cu_ppm,Au_ppb\n110.1,22.1,18,<0.5\n110.2,22.1,-9999,1.2\n110.3,22.3,20,<1\n")
    >>> check = gp.check_samples(path, crs="EPSG:4326")
    >>> check.usable, check.arguments
    (False, {'missing': [-9999.0]})
    >>> check.elements[["unit", "n", "censored", "limits", "sentinel", "max"]]
            unit  n  censored  limits  sentinel   max
    element
    Cu       ppm  2         0       0         1  20.0
    Au       ppb  3         2       2         0   1.2
    """
    given = TableArguments.of(x, y, crs, elements, units, missing, layer, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the report says what they say
        table = scan_table(path, given)
        problems = [*table.all_problems, *_refused(table, given.below)]
        arguments, cured, settled = _settle(path, table, given)
        usable, samples = settled and not arguments, None
        if settled:
            try:
                samples = samples_of(cured, arguments.get("below", given.below))
            except GeoprospectError as err:  # what no single cell tells, as too few values for a model of them
                problems.append(Problem("error", "", str(err), "unread"))
                usable = settled = False
    elements_table = _element_table(table, cured, arguments)
    precision = None
    if samples is not None:
        precision = duplicate_precision(samples)
        precision = precision if precision["n_pairs"].max() >= _FEWEST_PAIRS else None
    if precision is not None:
        elements_table["rsd"] = precision["rsd"].where(precision["n_pairs"] >= _FEWEST_PAIRS)
    spacing, grid, window, odd = _survey(table)
    findings = [*problems, *odd, *_of_little_use(cured), *_repeated(cured), *_noise(precision)]
    findings.sort(key=lambda problem: _LEVELS.index(problem.level))
    asked = {key: value for key, value in vars(given).items() if value != getattr(TableArguments, key)}
    return SampleCheck(
        table, asked, tuple(findings), usable, arguments, settled, elements_table, precision, samples, spacing, grid,
        window,
    )  # fmt: skip


def character_map(x: NDArray[np.float64], y: NDArray[np.float64], corners: tuple[str, str] = ("", "")) -> list[str]:
    """Draw points with signs, north up: one line for each row, shades for how many points a sign stands for.

    Parameters
    ----------
    x, y : ndarray of shape (n_points,)
        Finite coordinates in units that are as long eastwards as northwards.
    corners : tuple of str
        What to write at the north-western and the south-eastern corner.

    Returns
    -------
    list of str
    """
    width, height = float(np.ptp(x)), float(np.ptp(y))
    # A sign is `size` wide and twice that high.
    size = max(width / _MAP[1], height / _MAP[0] / 2) or 1.0
    # Not more than there is room for, which rounding might give.
    n_rows, n_cols = (
        min(max(1, math.ceil(length)), most)
        for length, most in zip((height / size / 2, width / size), _MAP, strict=True)
    )
    col = np.minimum(((x - x.min()) / size).astype(np.int64), n_cols - 1)
    row = np.minimum(((y.max() - y) / size / 2).astype(np.int64), n_rows - 1)
    count = np.bincount(row * n_cols + col, minlength=n_rows * n_cols).reshape(n_rows, n_cols)
    most = max(1.0, float(np.quantile(count[count > 0], 0.95)))
    shade = np.ceil(count / most * len(_SHADES)).clip(0, len(_SHADES)).astype(np.int64)
    rows = ["".join((" " + _SHADES)[one] for one in line) for line in shade]
    key = f"{_SHADES[-1]} {most:.0f} and more samples" if most > 1 else ""
    return [
        f"  {corners[0]}",
        f"  ┌{'─' * n_cols}┐",
        *(f"  │{line}│" for line in rows),
        f"  └{'─' * n_cols}┘",
        f"  {key:<{max(len(key) + 2, n_cols + 2 - len(corners[1]))}}{corners[1]}".rstrip(),
    ]


def _settle(path: str | os.PathLike[str], table: Table, given: TableArguments) -> tuple[dict[str, Any], Table, bool]:
    """Return the arguments that cure what can be cured, the table read with them, and whether no error is left."""
    arguments: dict[str, Any] = {}
    # What an argument settles may bring another error to light; three rounds are more than was ever needed.
    for round_ in range(4):
        errors = _of_level([*table.all_problems, *_refused(table, given.below)], "error")
        settled = {key: tuple(value) if key == "missing" else value for key, value in joint_cure(errors).items()}
        settled = {key: value for key, value in settled.items() if getattr(given, key) != value}
        if not settled or round_ == 3:
            break
        arguments |= {key: list(value) if key == "missing" else value for key, value in settled.items()}
        given = with_settings(given, settled)
        table = scan_table(path, given)
    return arguments, table, not errors


def _refused(table: Table, below: str) -> list[Problem]:
    """Return what below='raise' refuses."""
    found = []
    for column in table.columns if below == "raise" else ():
        count = int((column.below & ~np.isnan(standing_limits(column)))[table.placed].sum())
        message = f"column {column.header!r}: {count} values below detection; choose below='half', 'sqrt2' or 'nan'"
        if count:
            found.append(Problem("error", column.header, message, "refused", count, {"below": "half"}))
    return found


def _element_table(table: Table, cured: Table, arguments: Mapping[str, Any]) -> pd.DataFrame:
    """Count what the cells of each column are, and describe what is measured."""
    codes = [number for number in arguments.get("missing") or () if isinstance(number, float | int)]
    by_header, placed = {column.header: column for column in cured.columns}, _samples(cured)
    rows = []
    for column in table.columns:
        values, limits = column.values, np.unique(column.limits[column.below & ~np.isnan(column.limits)])
        code = np.isin(values, codes)
        present = (~np.isnan(values) | column.below | column.above) & ~code
        counts = [
            present.sum(), (~present & ~code).sum(), column.below.sum(), len(limits), column.above.sum(),
            (values == 0).sum(), ((values < 0) & ~code).sum(), code.sum(),
        ]  # fmt: skip
        spread = _spread(by_header.get(column.header, column), placed)
        edges = (limits[0], limits[-1]) if len(limits) else (np.nan, np.nan)
        rows.append((column.header, column.unit, *map(int, counts[:4]), *edges, *map(int, counts[4:]), *spread, np.nan))
    names = (
        "header unit n missing censored limits lowest_limit highest_limit over_range zeros negative sentinel "
        "min median max rsd"
    )
    index = pd.Index([column.element for column in table.columns], name="element", dtype=object)
    return pd.DataFrame(rows, columns=names.split(), index=index)


def _samples(table: Table) -> NDArray[np.bool_]:
    """Return which rows are samples: those with a place, or all where nothing is known of places."""
    return table.placed if table.placed.any() else np.ones(len(table.lines), dtype=bool)


def _spread(column: Column, rows: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the least, the median and the greatest measured value, censored ones as half their limit in the median."""
    half = np.where(column.below, column.limits / 2, column.values)
    half, measured = half[~np.isnan(half) & rows], column.values[~np.isnan(column.values) & ~column.below & rows]
    middle = float(np.median(half)) if half.size else math.nan
    return (float(measured.min()), middle, float(measured.max())) if measured.size else (math.nan, middle, math.nan)


def _of_little_use(table: Table) -> list[Problem]:
    """Return the columns that no score can come from, and those that are mostly censored."""
    found, rows = [], _samples(table)
    for column in table.columns:
        name, below = column.header, int((column.below & rows).sum())
        measured = column.values[~np.isnan(column.values) & ~column.below & rows]
        present = measured.size + below
        if measured.size == 0 and _of_level(column.problems, "error"):
            continue  # what it holds is not known yet
        if measured.size == 0 or (below == 0 and np.ptp(measured) == 0):
            what = "holds no measured value" if measured.size == 0 else f"is {measured[0]:g} in every sample"
            message = f"column {name!r}: {what}; nothing can be scored on it, so leave it out"
            found.append(Problem("warning", name, message, "nothing to score", present))
        elif below > present / 2:
            message = (
                f"column {name!r}: {below} of {present} values are below detection; a map of it shows mainly where the "
                "limit changed, so leave it out, or score whether it is above its limit"
            )
            found.append(Problem("warning", name, message, "more than half below detection", below))
    return found


def _repeated(table: Table) -> list[Problem]:
    """Return the rows that stand in the table twice, place and assays alike."""
    if not table.columns:
        return []
    frame = pd.DataFrame(np.column_stack([table.points, *(c.values for c in table.columns)]))
    again = frame.duplicated().to_numpy() & table.placed
    again &= ~frame.iloc[:, 2:].isna().all(axis=1).to_numpy()
    if not again.any():
        return []
    message = (
        f"{_counted(int(again.sum()), 'row')} with the place and all assays of another (row "
        f"{first_rows(table.lines[again])}): copies rather than duplicates; remove them"
    )
    return [Problem("warning", "", message, "identical rows", int(again.sum()))]


def _noise(precision: pd.DataFrame | None) -> list[Problem]:
    """Return which elements repeat so badly that a map of them shows much noise."""
    if precision is None:
        return []
    noisy = precision.index[(precision["anova_share"] > _NOISE) & (precision["n_pairs"] >= _FEWEST_PAIRS)].tolist()
    if not noisy:
        return []
    message = (
        f"in {first_rows(noisy, 40)} more than a fifth of the variance (of logarithms) is between duplicates: noise of "
        "sampling and analysis; read a map of them with care"
    )
    return [Problem("warning", "", message, "noise", 0)]


def _survey(table: Table) -> tuple[float, Grid | None, dict[str, float] | None, list[Problem]]:
    """Return spacing in metres, grid, window, and what is odd about the places."""
    points = table.points[table.placed]
    unplaced = any(p.level == "error" and not p.where for p in table.problems)
    if table.crs is None or unplaced or len(np.unique(points, axis=0)) < 2:
        return math.nan, None, None, []
    if np.abs(points).max() > _FARTHEST:
        message = f"coordinates reach {np.abs(points).max():.3g}, which is nowhere on Earth; look for a slip in them"
        return math.nan, None, None, [Problem("warning", "", message, "no grid", 0)]
    try:
        geometry = gpd.GeoSeries.from_xy(*points.T, crs=table.crs)
        grid = Grid.covering(geometry)
        x, y = grid.points(geometry)
    except GeoprospectError as err:
        return math.nan, None, None, [Problem("warning", "", str(err), "no grid", 0)]
    metres, spacing = _metres(grid), sample_spacing(x, y)
    places, first, count = np.unique(np.column_stack([x, y]), axis=0, return_index=True, return_counts=True)
    # Slips come in small groups too, such as the rows of one sheet with the wrong sign.
    group = max(1, min(_GROUP, len(places) // 10))
    distance = cKDTree(places).query(places, k=group + 1)[0]
    gap, away = distance[:, 1], distance[:, group]
    lines = table.lines[table.placed]
    found = []
    far = away > _FAR * spacing
    if far.any():
        all_but = "any other" if group == 1 else f"all but {group - 1} others"
        message = (
            f"{_counted(int(far.sum()), 'place')} more than {_FAR} spacings from {all_but} (row "
            f"{first_rows(sorted(lines[first[far]]))}); look for a slip in the coordinates"
        )
        found.append(Problem("warning", "", message, "far off", int(count[far].sum())))
    near = gap < _NEAR * spacing
    if near.any():
        message = (
            f"{_counted(int(near.sum()), 'place')} within {_NEAR * spacing * metres:.3g} m of another; if they are "
            f"duplicates, see duplicate_precision(samples, tolerance={float(f'{_NEAR * spacing * metres:.2g}'):g})"
        )
        found.append(Problem("note", "", message, "near", int(count[near].sum())))
    return spacing * metres, grid, _window(places, spacing, grid), found


def _window(places: NDArray[np.float64], spacing: float, grid: Grid) -> dict[str, float] | None:
    """Return the smallest window that holds enough samples.

    On the cells of the grid where enough windows find room abreast, else on finer ones, of which 32 cover the ground.
    """
    if len(places) < _SAMPLES_INSIDE:
        return None
    tree, shorter = cKDTree(places), float(np.ptp(places, axis=0).min())
    # The square about a sample that holds sixteen, itself among them.
    ground = 2 * float(np.median(tree.query(places, [_SAMPLES_INSIDE], p=np.inf)[0]))
    finer = max(float(f"{ground / _STEP * 1.05:.1e}"), float(f"{spacing / 10:.1e}"))  # rounded to two digits, not below
    for resolution in (grid.resolution[0], finer):
        size = _STEP * math.ceil(ground / (_STEP * resolution))
        if shorter >= _ABREAST * size * resolution:
            break
    half = size * resolution / 2
    inside = np.median(tree.query_ball_point(places, half, p=np.inf, return_length=True))
    return {
        "resolution": resolution, "size": size, "crop": int(size * _CROP), "width": 2 * half * _metres(grid),
        "samples": float(inside), "abreast": math.floor(shorter / (2 * half)),
    }  # fmt: skip


def _of_level(problems: Iterable[Problem], level: str) -> list[Problem]:
    return [problem for problem in problems if problem.level == level]


def _metres(grid: Grid) -> float:
    return float(grid.crs.axis_info[0].unit_conversion_factor) if grid.crs.axis_info else 1.0


def _unit(grid: Grid) -> str:
    return "m" if grid.unit == "metre" else grid.unit


def _drawn(
    points: NDArray[np.float64], crs: CRS | None, grid: Grid | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates to draw: projected ones, or degrees shortened eastwards as at their middle."""
    if grid is not None:
        x, y = grid.points(gpd.GeoSeries.from_xy(*points.T, crs=crs))
        return x, y
    x, y = points.T
    degrees = crs.is_geographic if crs is not None else np.abs(points).max() <= 360
    middle = min(abs(float(y.min() + y.max()) / 2), 85.0)
    return (x * math.cos(math.radians(middle)) if degrees else x), y


def _lonlat(points: NDArray[np.float64], crs: CRS | None) -> NDArray[np.float64] | None:
    """Return points in degrees on WGS 84; None where that is not known."""
    if crs is None:
        return None
    moved = gpd.GeoSeries.from_xy(*points.T, crs=crs).to_crs("EPSG:4326")
    found = np.column_stack([moved.x, moved.y])
    # A CRS that is not the right one leaves degrees that are none.
    return found if (np.abs(found) <= (360, 90)).all() else None


def _corners(points: NDArray[np.float64], crs: CRS | None) -> tuple[str, str]:
    """Return what to write at the north-western and the south-eastern corner of a map."""
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    corners = _lonlat(np.array([[west, north], [east, south]]), crs)
    if corners is None:
        return f"{west:.7g}, {north:.7g}", f"{east:.7g}, {south:.7g}"
    return _degrees(*corners[0]), _degrees(*corners[1])


def _degrees(lon: float, lat: float) -> str:
    return f"{abs(lon):.2f}°{'W' if lon < 0 else 'E'} {abs(lat):.2f}°{'S' if lat < 0 else 'N'}"


def _area(points: NDArray[np.float64], crs: CRS | None) -> str:
    """Return the smallest area named in the EPSG register whose bounds hold all points, as the end of a sentence."""
    corners = _lonlat(points, crs)
    if corners is None:
        return ""
    names, bounds = _registered_areas()
    (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
    holds = (bounds[:, :2] <= (west, south)).all(axis=1) & (bounds[:, 2:] >= (east, north)).all(axis=1)
    if not holds.any():
        return ""
    size = (bounds[:, 2] - bounds[:, 0]) * np.diff(np.sin(np.radians(bounds[:, [1, 3]]))).ravel()
    name = names[int(np.where(holds, size, np.inf).argmin())]
    return f"; inside the bounds of: {textwrap.shorten(name, _WIDTH, placeholder=' …')}"


@cache
def _registered_areas() -> tuple[list[str], NDArray[np.float64]]:
    """Return names and bounds (west, south, east, north) of the areas that the CRS of the EPSG register are made for.

    Without those across the antimeridian.
    """
    from pyproj.database import query_crs_info

    known = (info.area_of_use for info in query_crs_info(auth_name="EPSG"))
    areas = {area.name.rstrip("."): area.bounds for area in known if area is not None and area.name}
    kept = {name: box for name, box in areas.items() if box[0] < box[2]}
    return list(kept), np.array(list(kept.values()))


def _as_keywords(settings: Mapping[str, Any]) -> str:
    """Return arguments as one would type them."""
    return ", ".join(f"{key}={_typed(value)}" for key, value in settings.items())


def _typed(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_typed, value))}]"
    if isinstance(value, CRS):
        return repr(value.to_string())
    if isinstance(value, np.generic):
        return _typed(value.item())
    return f"{value:.15g}" if isinstance(value, float) else repr(value)


def _as_options(settings: Mapping[str, Any]) -> str | None:
    """Return arguments as options of the command line; None where it has no way to write one."""
    parts: list[tuple[str, object]] = []
    for key, value in settings.items():
        if key == "missing" and not value:
            return None
        several = value if key == "missing" else [",".join(value) if isinstance(value, list | tuple) else value]
        if isinstance(value, Mapping):
            several = [f"{name}={one}" for name, one in value.items()]
        parts += [(key, f"{one:.15g}" if isinstance(one, float) else one) for one in several]
    return " ".join(f"--{key} {shlex.quote('false' if one is False else str(one))}" for key, one in parts)


def _limits(row: Any) -> str:
    """Return '0.5', '0.5-2 (3)' or nothing."""
    if not row.limits:
        return ""
    low, high = _short(row.lowest_limit), _short(row.highest_limit)
    return low if row.limits == 1 else f"{low}-{high} ({row.limits})"


def _short(value: float) -> str:
    """Return a number with what a reader needs of it."""
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def _length(metres: float) -> str:
    return f"{metres / 1000:.3g} km" if metres >= 1000 else f"{metres:.3g} m"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _wrapped(text: str, label: str = "") -> list[str]:
    """Break a sentence into lines of the report; those after the first stand in as far as the label."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=label, subsequent_indent=" " * max(len(label), 2), break_on_hyphens=False
    )
