"""Tables and vector layers from disk, whatever their delimiter, their encoding and their names for x and y."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import CRS

from geoprospect._checks import (
    check_crs,
    check_names,
    first_rows,
    user_level,
)
from geoprospect.errors import CRSError, DataWarning, InputError, NameNotFoundError
from geoprospect.io.number_parsing import with_decimal_points
from geoprospect.io.problems import Problem

# The usual names of coordinate columns, most telling first; compared in lower case.
_X_NAMES = ("lon", "longitude", "long", "lon_dd", "longitude_dd", "x", "easting", "east", "coord_x", "x_coord",
            "xcoord", "xcoo", "xloc", "utm_x", "utm_e", "utm_easting", "point_x", "longitud", "este",
            "经度")  # fmt: skip
_Y_NAMES = ("lat", "latitude", "lat", "lat_dd", "latitude_dd", "y", "northing", "north", "coord_y", "y_coord",
            "ycoord", "ycoo", "yloc", "utm_y", "utm_n", "utm_northing", "point_y", "latitud", "norte",
            "纬度")  # fmt: skip
_FIRST_LINE = re.compile(r'\s*((?:"[^"]*"|[^"\r\n])*)')  # up to a line break that is not in quotes
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, .xls
_FEW = 0.5  # share of the places up to which what is wrong with them lies with these, not with the CRS
_INVISIBLE = "\u200b\ufeff"  # blanks of no width: from web pages, and where files were joined
_MOST_TEXT = 2 * 10**9  # characters; a table takes several times that in memory


def is_text_table(file: Path) -> bool:
    """Return whether the name is that of a delimited text, plain or gzipped."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return bool(suffixes) and (
        suffixes[-1] in (".csv", ".txt", ".tsv") or suffixes[-2:] in ([".csv", ".gz"], [".txt", ".gz"], [".tsv", ".gz"])
    )


@dataclass(frozen=True, eq=False)
class TextTable:
    """A delimited text: its cells, decimal points in them, the line that each row ends on, and what was found."""

    frame: pd.DataFrame
    lines: NDArray[np.int64]
    problems: tuple[Problem, ...]


def read_text_table(file: Path, encoding: str) -> TextTable:
    """Read a delimited text as strings.

    pandas shifts or drops cells of ragged rows without a word, so rows are counted here.
    """
    text = _read_text(file, encoding)
    first_line = _FIRST_LINE.match(text)
    head = re.sub(r'"[^"]*"', "", first_line[1] if first_line else "")
    delimiter = max(_DELIMITERS, key=head.count)
    rows = _split_rows(text, delimiter, file)
    if len(rows) < 2:
        raise InputError(f"path={str(file)!r}: has {'a header but no rows' if rows else 'nothing in it'}")
    header = [name.strip() for name in rows[0][1]]
    _check_even(rows, file)
    columns = list(zip(*(row for _, row in rows[1:]), strict=True))
    # What a spreadsheet adds at the right: neither a header nor a cell.
    used = [at for at, name in enumerate(header) if name or any(cell.strip() for cell in columns[at])]
    header, columns = [header[at] for at in used], [columns[at] for at in used]
    if 2 * header.count("") >= len(header):
        raise InputError(
            f"path={str(file)!r}: line {rows[0][0]} names {len(header) - header.count('')} of {len(header)} columns; "
            "remove what stands above the header, or name them"
        )
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InputError(
            f"path={str(file)!r}: column {twice[0]!r} stands {header.count(twice[0])} times in the header; "
            "rename all but one"
        )
    frame = pd.DataFrame(dict(zip(header, map(list, columns), strict=True)), dtype="str")
    lines = np.array([line for line, _ in rows[1:]], dtype=np.int64)
    problems = (
        [] if delimiter == "," else [Problem("note", "", f"the delimiter is {_DELIMITERS[delimiter]}", "delimiter")]
    )
    problems += with_decimal_points(frame, lines, together=delimiter != ",")
    return TextTable(frame, lines, tuple(problems))


def _check_even(rows: list[tuple[int, list[str]]], file: Path) -> None:
    """Refuse rows that are longer or shorter than the header, and a table of a single column."""
    width = len(rows[0][1])
    ragged = [line for line, row in rows[1:] if len(row) != width]
    usual = Counter(len(row) for _, row in rows).most_common(1)[0][0]
    if ragged and 2 * sum(bool(name.strip()) for name in rows[0][1]) <= usual:
        first = next(line for line, row in rows if len(row) == usual)
        raise InputError(
            f"path={str(file)!r}: line {rows[0][0]} has {width} columns, most rows have {usual}, the first of "
            f"them line {first}; remove what stands above the header"
        )
    if ragged:
        raise InputError(
            f"path={str(file)!r}: the header has {width} columns, line {first_rows(ragged)} other "
            "numbers; look there for a stray delimiter or an unquoted text"
        )
    if width == 1:
        raise InputError(
            f"path={str(file)!r}: has one column, {rows[0][1][0].strip()!r}; write a comma, a semicolon or a tab "
            "between columns, and nothing above the header"
        )


def _read_text(file: Path, encoding: str) -> str:
    """Return the text of a file, plain or gzipped."""
    _check_is_text(file)
    try:
        with (
            gzip.open(file, "rt", encoding=encoding, newline="")
            if file.suffix.lower() == ".gz"
            else file.open(encoding=encoding, newline="")
        ) as stream:
            text = stream.read(_MOST_TEXT + 1)
    except UnicodeError as err:  # UTF-16 without its mark raises this, not UnicodeDecodeError
        where = f" (byte {err.start})" if isinstance(err, UnicodeDecodeError) else f" ({err})"
        raise InputError(
            f"path={str(file)!r}: not {encoding} text{where}; name its encoding, for example "
            "encoding='latin-1', 'gbk' or 'utf-16'"
        ) from None
    except LookupError:
        raise InputError(
            f"encoding={encoding!r}: there is no such text encoding; pass for example 'latin-1', 'gbk' or 'utf-16'"
        ) from None
    except (OSError, EOFError, zlib.error) as err:
        raise InputError(f"path={str(file)!r}: cannot be read ({err})") from err
    if len(text) > _MOST_TEXT:
        raise _too_large(file)
    for invisible in _INVISIBLE:
        text = text.replace(invisible, "")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(
            f"path={str(file)!r}: holds NUL characters in line {line}; is it text, or is its encoding 'utf-16'?"
        )
    return text


def _split_rows(text: str, delimiter: str, file: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of every row that is not blank, and the line that it ends on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 0
    try:
        for row in reader:
            line = reader.line_num
            if any(cell.strip() for cell in row):
                rows.append((line, row))
    except csv.Error as err:  # without strict=True, a quote left open swallows the rows below it
        raise InputError(
            f"path={str(file)!r}: line {line + 1} begins no row of a table ({err}); look for a quote "
            "that is not closed, or not doubled inside a text"
        ) from None
    return rows


def _check_is_text(file: Path) -> None:
    """Refuse what is too large to be held, and what a spreadsheet wrote under the name of a text."""
    if file.stat().st_size > _MOST_TEXT:
        raise _too_large(file)
    with file.open("rb") as stream:
        first = stream.read(8)
    if first.startswith(_SPREADSHEETS):
        raise not_a_spreadsheet(file)


def _too_large(file: Path) -> InputError:
    return InputError(
        f"path={str(file)!r}: holds more than {_MOST_TEXT / 1e9:g} GB of text; save the columns that are needed, or "
        "parts of its rows, as tables of their own"
    )


def not_a_spreadsheet(file: Path) -> InputError:
    """Return the error for a workbook."""
    return InputError(f"path={str(file)!r}: is a spreadsheet; save the sheet as CSV (UTF-8) and read that")


def coordinate_columns(frame: pd.DataFrame, x: str | None, y: str | None) -> tuple[str, str]:
    """Return the names of the coordinate columns, those given or the usual ones."""
    for argument, given in (("x", x), ("y", y)):
        if given is not None:
            check_names(argument, given, list(frame.columns), "column")
    if x is not None and y is not None:
        if x == y:
            raise InputError(f"x={x!r}, y={y!r}: one column cannot be both; name two")
        return x, y
    by_lower = {str(name).lower(): str(name) for name in reversed(frame.columns)}
    # A header spelled exactly so comes first: beside x and y, 'Y' is yttrium.
    by_lower |= {str(name): str(name) for name in frame.columns if str(name).islower()}
    for x_name, y_name in zip(_X_NAMES, _Y_NAMES, strict=True):
        found = by_lower.get(x_name), by_lower.get(y_name)
        # Where one is given, the other is its partner, not that of another pair.
        if found[0] and found[1] and x in (None, found[0]) and y in (None, found[1]):
            return found[0], found[1]
    raise NameNotFoundError(
        f"x={x!r}, y={y!r}: no coordinate columns with a usual name among "
        f"{', '.join(map(str, frame.columns))}; name them, for example x='lon', y='lat'"
    )


def check_text_crs(crs: Any, frame: pd.DataFrame, x: str, y: str) -> CRS:
    """Return the CRS given for a text table, which does not carry its own, when its numbers can be in it."""
    widest, highest = (pd.to_numeric(frame[name], errors="coerce").abs().max() for name in (x, y))
    degrees = widest <= 180 and highest <= 90
    if crs is None:
        likely = "crs='EPSG:4326' for degrees on WGS 84" if degrees else "for example crs='EPSG:32649'"
        raise CRSError(f"crs=None: a text table does not say in which CRS {x!r} and {y!r} are; pass {likely}")
    known = check_crs("crs", crs)
    if degrees and known.is_projected:
        raise CRSError(
            f"crs={crs!r}: {x!r} stays within ±{widest:g} and {y!r} within ±{highest:g}: these are degrees and no "
            f"lengths in {known.name!r}; pass crs='EPSG:4326' for degrees on WGS 84"
        )
    return known


def read_vector(file: Path, layer: str | None, what: str) -> gpd.GeoDataFrame:
    """Read one layer, with geometries; some of them, and its CRS, may be missing."""
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    if file.suffix.lower() in (".xlsx", ".xls", ".xlsm", ".ods"):
        raise not_a_spreadsheet(file)
    with file.open("rb") as stream:
        if re.search(rb"<OGR\w*DataSource", stream.read(4096)):
            raise InputError(f"path={str(file)!r}: only points to data elsewhere (an OGR VRT); name the file it reads")
    try:
        layers = [str(name) for name in pyogrio.list_layers(file)[:, 0]]
        if layer is None and len(layers) > 1:
            raise InputError(f"path={str(file)!r}: has the layers {', '.join(map(repr, layers))}; name one in layer=")
        if layer is not None:
            check_names("layer", layer, layers, "layer")
        frame = gpd.read_file(file, layer=layer or layers[0])
    except (DataSourceError, DataLayerError, IndexError) as err:
        raise InputError(
            f"path={str(file)!r}: cannot be read as a vector file ({err}); {what} are read from CSV, "
            "GeoPackage, GeoJSON, Shapefile and what else OGR knows"
        ) from err
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(
            f"path={str(file)!r}: the layer has no geometry; save it as CSV and name its columns in x=, y="
        )
    if frame.empty:
        raise InputError(f"path={str(file)!r}: the layer is empty")
    return frame


def check_vector_crs(crs: Any, frame: gpd.GeoDataFrame) -> CRS:
    """Return the CRS of a layer: its own, or the one given where it does not say."""
    if frame.crs is None:
        return check_crs("crs", crs)
    if crs is not None and check_crs("crs", crs) != frame.crs:
        raise CRSError(f"crs={crs!r}: the file says {frame.crs.name!r}; leave crs out, or correct the file")
    return CRS(frame.crs)


def point_coordinates(frame: gpd.GeoDataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of points, NaN for empty or missing ones."""
    kinds = set(frame.geom_type.dropna())
    if kinds - {"Point"}:
        raise InputError(f"geometry: is {', '.join(sorted(kinds))}, needs points")
    # Not shapely.get_x, which raises on an empty point.
    return frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()


def coordinate_faults(points: NDArray[np.float64], crs: CRS, lines: NDArray[np.int64] | None = None) -> list[Problem]:
    """Return what speaks against finite coordinates being in this CRS; `lines` is where they stand."""
    if len(points) == 0:
        return []
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    extent = f"x runs from {west:g} to {east:g}, y from {south:g} to {north:g}"
    if crs.is_geographic:
        if max(abs(south), abs(north)) > 90 and max(abs(west), abs(east)) <= 90:
            message = f"crs={crs.name!r}: {extent}: no latitude exceeds 90; did you swap x and y?"
            return [Problem("error", "", message, "swapped")]
        wrong = (np.abs(points) > (360, 90)).any(axis=1)
        if 0 < wrong.sum() < _FEW * len(points):
            rows = first_rows(np.flatnonzero(wrong) if lines is None else lines[wrong])
            first = ", ".join(f"{number:g}" for number in points[wrong][0])
            message = (
                f"crs={crs.name!r}: {int(wrong.sum())} of {len(points)} places are no degrees (row {rows}), the first "
                f"({first}); are x and y swapped there? correct these cells, or empty them"
            )
            return [Problem("error", "", message, "crs", int(wrong.sum()))]
        if max(abs(south), abs(north)) > 90 or max(abs(west), abs(east)) > 360:
            message = (
                f"crs={crs.name!r}: {extent}: these are no degrees; name the projection of the table "
                "in crs=, for example 'EPSG:32649'"
            )
            return [Problem("error", "", message, "crs")]
    return _far_away(west, south, east, north, crs, extent)


def _far_away(west: float, south: float, east: float, north: float, crs: CRS, extent: str) -> list[Problem]:
    area = crs.area_of_use
    if area is None or area.west >= area.east:
        return []
    lon, lat = _degrees([west, east], [south, north], crs)
    kilometres = False
    if crs.is_projected and not (lon[1] >= area.west and lon[0] <= area.east and lat[1] >= area.south):
        far_lon, far_lat = _degrees([1000 * west, 1000 * east], [1000 * south, 1000 * north], crs)
        kilometres = bool(
            area.west <= far_lon[0] <= far_lon[1] <= area.east and area.south <= far_lat[0] <= far_lat[1] <= area.north
        )
    outside = not np.isfinite(lon + lat).all() or lon[1] < area.west - 6 or lon[0] > area.east + 6
    if not kilometres and not outside and area.south - 6 <= lat[1] and lat[0] <= area.north + 6:
        return []
    message = (
        f"crs={crs.name!r}: {extent}: this is {'' if kilometres else 'far '}outside the area that it is made for "
        f"({area.name}); {'are these kilometres? write metres' if kilometres else 'is it the right one?'}"
    )
    return [Problem("warning", "", message, "far-away")]


def _degrees(x: list[float], y: list[float], crs: CRS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitudes and latitudes on WGS 84, infinite where there are none."""
    corners = gpd.GeoSeries.from_xy(x, y, crs=crs).to_crs("EPSG:4326")
    return corners.x.to_numpy(), corners.y.to_numpy()


def around_the_world(x: NDArray[np.float64], crs: CRS) -> list[Problem]:
    """Return the warning about longitudes that jump at the antimeridian, as in Fiji or Chukotka."""
    if not crs.is_geographic or np.ptp(x) <= 180:
        return []
    message = (
        f"crs={crs.name!r}: longitudes run from {x.min():g} to {x.max():g}, more than half way around the world: a "
        "survey across the antimeridian, or a wrong coordinate; take it to a projection made for its area, "
        "samples.to_crs('EPSG:…'), before it is gridded"
    )
    return [Problem("warning", "", message, "antimeridian")]


def with_columns(problem: Problem, x: str, y: str) -> Problem:
    """Say, of coordinates that are swapped, which columns to pass."""
    if problem.kind != "swapped" or not (x and y):
        return problem
    return replace(problem, message=f"{problem.message} pass x={y!r}, y={x!r}")


def check_coordinates(points: NDArray[np.float64], crs: CRS, columns: tuple[str, str] = ("", "")) -> None:
    """Raise where coordinates cannot be what the CRS says; warn far outside its area of use."""
    if not np.isfinite(points).all():
        raise InputError(
            f"points: sample {np.argwhere(~np.isfinite(points))[0][0]} has no finite coordinates; leave it out"
        )
    for problem in coordinate_faults(points, crs):
        if problem.level == "error":
            raise CRSError(with_columns(problem, *columns).message)
        warnings.warn(problem.message, DataWarning, stacklevel=user_level())
