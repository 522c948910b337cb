"""Tables and vector layers from disk, whatever their delimiter, their encoding and their names for x and y."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
)
from geoprospect.assays import Problem
from geoprospect.errors import CRSError, InputError, NameNotFoundError

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

# Ways to write numbers that a plain reader does not know, named by their examples. A blank is any of those in use.
_SIGN, _BLANK = r"[<>≤≥=+-]*\s*", "[ '’\u00a0\u2009\u202f]"
_NOTATIONS = {
    kind: re.compile(_SIGN + pattern)
    for kind, pattern in {
        "1,234": r"[1-9][0-9]{0,2},[0-9]{3}",
        "1,2": r"[0-9]+,[0-9]+([eE][+-]?[0-9]+)?",
        "1,234,567": r"[0-9]{1,3}(,[0-9]{3}){2,}",
        "1,234.5": r"[0-9]{1,3}(,[0-9]{3})+\.[0-9]+",
        "1.234.567": r"[0-9]{1,3}(\.[0-9]{3}){2,}",
        "1.234,5": r"[0-9]{1,3}(\.[0-9]{3})+,[0-9]+",
        "1 234": rf"[0-9]{{1,3}}({_BLANK}[0-9]{{3}})+",
        "1 234.5": rf"[0-9]{{1,3}}({_BLANK}[0-9]{{3}})+\.[0-9]+",
        "1 234,5": rf"[0-9]{{1,3}}({_BLANK}[0-9]{{3}})+,[0-9]+",
    }.items()
}
_DECIMAL_COMMA, _DECIMAL_POINT = {"1,2", "1.234,5", "1 234,5"}, {"1,234.5", "1 234.5"}
_COMMA_THOUSANDS, _POINT_THOUSANDS = {"1,234,567", "1,234.5"}, {"1.234.567", "1.234,5"}
_PLAIN_POINT = re.compile(_SIGN + r"[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?")
_PLAIN_NUMBER = re.compile(_SIGN + r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_MAYBE_POINT_THOUSANDS = re.compile(_SIGN + r"[1-9][0-9]{0,2}\.[0-9]{3}")
_SEPARATOR = re.compile(rf",|\.[0-9]{{3}}\.|[0-9]{_BLANK}[0-9]")
_DIGITS_AND_SIGNS = re.compile(rf"{_SIGN}[0-9](?:[0-9.,]|{_BLANK})*([eE][+-]?[0-9]+)?")
_BLANK_BETWEEN = re.compile(rf"(?<=[0-9]){_BLANK}(?=[0-9]{{3}})")


def with_numbers(text: pd.DataFrame) -> pd.DataFrame:
    """Make empty cells missing, and columns of nothing but numbers numeric, except codes such as 007."""
    columns = {}
    for name in text.columns:
        cells = text[name].str.strip()
        filled = cells[cells != ""]
        numbers = pd.to_numeric(filled, errors="coerce")
        plain = len(filled) and numbers.notna().all() and not filled.str.match(r"[+-]?0\d").any()
        columns[name] = numbers.reindex(cells.index) if plain else cells.where(cells != "", None)
    return pd.DataFrame(columns, index=text.index)


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


def with_decimal_points(frame: pd.DataFrame, lines: NDArray[np.int64], together: bool) -> list[Problem]:
    """Write numbers with a decimal point and nothing else between their digits, in place, where the table tells how.

    1,250 is a thousand in one half of the world and one in the other; 0,5 or 1,250.5 tells which. Where commas are no
    delimiters, one column tells for the others (`together`); where they are, what is quoted may be a list.
    """
    notations = {name: _notation(frame[name]) for name in frame.columns}
    decimal_somewhere = together and any(not _DECIMAL_COMMA.isdisjoint(kinds) for kinds in notations.values())
    thousands_somewhere = together and any(not _COMMA_THOUSANDS.isdisjoint(kinds) for kinds in notations.values())
    problems = []
    for name, kinds in notations.items():
        if not kinds and not decimal_somewhere:
            continue
        decimal, thousands = not _DECIMAL_COMMA.isdisjoint(kinds), not _COMMA_THOUSANDS.isdisjoint(kinds)
        if "1,234" in kinds and not decimal and not thousands and decimal_somewhere != thousands_somewhere:
            decimal, thousands = decimal_somewhere, thousands_somewhere
        point_thousands = not _POINT_THOUSANDS.isdisjoint(kinds)
        plain, unclear = _decimal_points(frame[name]) if kinds or decimal_somewhere else (False, "")
        point = plain or not _DECIMAL_POINT.isdisjoint(kinds) or (bool(unclear) and not point_thousands)
        if (decimal and (thousands or point)) or (point_thousands and (thousands or point)):
            example = next(cell for kind, cell in kinds.items() if "," in kind or kind in _POINT_THOUSANDS)
            rows = _rows_of(frame[name], example, lines)
            message = f"column {name!r}: has both decimal commas and points ({example!r}); make them one (row {rows})"
            problems.append(Problem("error", name, message, "mixed-decimal", 1))
        elif "1,234" in kinds and not decimal and not thousands:
            problems.append(_unclear(frame[name], "comma", kinds["1,234"], lines))
        elif decimal_somewhere and unclear and not plain and not thousands and not point_thousands:
            problems.append(_unclear(frame[name], "point", unclear, lines))
        elif kinds:
            frame[name] = _rewritten(frame[name], decimal, thousands, point_thousands)
            if decimal:
                problems.append(Problem("note", name, f"{name} is read with a decimal comma", "decimal-comma"))
            grouped = [cell for kind, cell in kinds.items() if kind not in ("1,2", "1,234")]
            if grouped or thousands:
                message = f"{name} is read without its thousands separators ({(grouped or [kinds['1,234']])[0]!r})"
                problems.append(Problem("note", name, message, "thousands"))
    return problems


def _rows_of(column: pd.Series, cell: str, lines: NDArray[np.int64]) -> str:
    return first_rows(lines[(column.str.strip() == cell).to_numpy()])


def _unclear(column: pd.Series, sign: str, example: str, lines: NDArray[np.int64]) -> Problem:
    name = str(column.name)
    return Problem(
        "error", name,
        f"column {name!r}: is the {sign} in {example!r} a decimal one, or does it part thousands (row "
        f"{_rows_of(column, example, lines)})? Nothing in the table tells; write decimal points, or no thousands "
        "separators",
        "ambiguous-comma", 1,
    )  # fmt: skip


def _notation(column: pd.Series) -> dict[str, str]:
    """Return the ways in which the numbers of a column are written, each with an example; plain ones are left out.

    Nothing where a comma is part of no number, or where most cells are no numbers: the column is a text.
    """
    cells = column.tolist()
    if not _SEPARATOR.search("\n".join(cells)):  # the whole column at once, because most have none
        return {}
    found: dict[str, str] = {}
    for cell in {cell.strip() for cell in cells if _SEPARATOR.search(cell)}:
        kind = next((kind for kind, pattern in _NOTATIONS.items() if pattern.fullmatch(cell)), None)
        if kind is not None:
            found.setdefault(kind, cell)
        elif "," in cell:
            return {}
    # A blank between digits is more often one between words.
    return found if not found.keys() <= {"1 234"} or _mostly_numbers(cells) else {}


def _mostly_numbers(cells: Sequence[str]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip()]
    numbers = sum(bool(_PLAIN_NUMBER.fullmatch(cell) or _NOTATIONS["1 234"].fullmatch(cell)) for cell in filled)
    return 2 * numbers > len(filled)


def _decimal_points(column: pd.Series) -> tuple[bool, str]:
    """Return whether some points are surely decimal ones, and an example of one that may part thousands."""
    with_point = column[column.str.contains(".", regex=False)].str.strip()
    plain = with_point[with_point.str.fullmatch(_PLAIN_POINT)]
    unclear = plain[plain.str.fullmatch(_MAYBE_POINT_THOUSANDS)]
    return len(unclear) < len(plain), "" if unclear.empty else str(unclear.iloc[0])


def _rewritten(column: pd.Series, decimal: bool, thousands: bool, point_thousands: bool) -> pd.Series:
    """Return a column whose numbers have decimal points and nothing else between their digits; texts stay."""
    numbers = column.str.strip().str.fullmatch(_DIGITS_AND_SIGNS)
    cells = column[numbers].str.replace(_BLANK_BETWEEN, "", regex=True)
    if thousands:
        cells = cells.str.replace(",", "", regex=False)
    if point_thousands:
        cells = cells.str.replace(".", "", regex=False)
    if decimal:
        cells = cells.str.replace(",", ".", regex=False)
    return cells.reindex(column.index).fillna(column)


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
