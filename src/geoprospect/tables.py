"""Tables and vector layers from disk, whatever their delimiter, their encoding and their names for x and y."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
import zlib
from collections import Counter
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
from geoprospect.errors import CRSError, InputError, NameNotFoundError

log = logging.getLogger("geoprospect")

# The usual names of coordinate columns, most telling first; compared in lower case.
_X_NAMES = ("lon", "longitude", "long", "lon_dd", "longitude_dd", "x", "easting", "east", "coord_x", "x_coord",
            "xcoord", "xcoo", "xloc", "utm_x", "utm_e", "utm_easting", "point_x")  # fmt: skip
_Y_NAMES = ("lat", "latitude", "lat", "lat_dd", "latitude_dd", "y", "northing", "north", "coord_y", "y_coord",
            "ycoord", "ycoo", "yloc", "utm_y", "utm_n", "utm_northing", "point_y")  # fmt: skip
_FIRST_LINE = re.compile(r'\s*((?:"[^"]*"|[^"\r\n])*)')  # up to a line break that is not in quotes
_DECIMAL_COMMA = re.compile(r"^[<+-]?\s*\d+,\d+([eE][+-]?\d+)?$")
_MAYBE_THOUSANDS = re.compile(r"^[<+-]?\s*[1-9]\d{0,2}(,\d{3})+$")
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


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


def read_text_table(file: Path, encoding: str) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Read a delimited text as strings; also return the line that each row ends on, for messages.

    pandas shifts or drops cells of ragged rows without a word, so rows are counted here.
    """
    text = _read_text(file, encoding)
    first_line = _FIRST_LINE.match(text)
    head = re.sub(r'"[^"]*"', "", first_line[1] if first_line else "")
    delimiter = max(_DELIMITERS, key=head.count)
    if delimiter != ",":
        log.info("%s: the delimiter is %s", file.name, _DELIMITERS[delimiter])
    rows = _split_rows(text, delimiter, file)
    if len(rows) < 2:
        raise InputError(f"path={str(file)!r}: has {'a header but no rows' if rows else 'nothing in it'}")
    header = [name.strip() for name in rows[0][1]]
    ragged = [line for line, row in rows[1:] if len(row) != len(header)]
    if ragged:
        raise InputError(
            f"path={str(file)!r}: the header has {len(header)} columns, line {first_rows(ragged)} other "
            "numbers; look there for a stray delimiter or an unquoted text"
        )
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InputError(
            f"path={str(file)!r}: column {twice[0]!r} stands {header.count(twice[0])} times in the header; "
            "rename all but one"
        )
    frame = pd.DataFrame([row for _, row in rows[1:]], columns=header, dtype=str)
    lines = np.array([line for line, _ in rows[1:]], dtype=np.int64)
    return (_decimal_points(frame, file.name) if delimiter != "," else frame), lines


def _read_text(file: Path, encoding: str) -> str:
    """Return the text of a file, plain or gzipped."""
    try:
        with (
            gzip.open(file, "rt", encoding=encoding, newline="")
            if file.suffix.lower() == ".gz"
            else file.open(encoding=encoding, newline="")
        ) as stream:
            text = stream.read()
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


def _decimal_points(frame: pd.DataFrame, file_name: str) -> pd.DataFrame:
    """Turn decimal commas into points where a column has them and nothing else."""
    commas = {}
    for name in frame.columns:
        cells = frame[name].str.strip()
        with_comma = cells[cells.str.contains(",", regex=False)]
        if len(with_comma) and with_comma.str.match(_DECIMAL_COMMA).all():
            if cells.str.contains(".", regex=False).any():
                raise InputError(
                    f"column {name!r}: has both decimal commas and points ({with_comma.iloc[0]!r}); make them one"
                )
            commas[name] = with_comma
    # 1,250 is a thousand in one half of the world and one in the other; 0,5 in any column tells which.
    if commas and all(cells.str.match(_MAYBE_THOUSANDS).all() for cells in commas.values()):
        name, cells = next(iter(commas.items()))
        raise InputError(
            f"column {name!r}: is the comma in {cells.iloc[0]!r} a decimal one, or does it part thousands? "
            "Nothing in the table tells; write decimal points, or no thousands separators"
        )
    for name in commas:
        frame[name] = frame[name].str.replace(",", ".", regex=False)
        log.info("%s: %s is read with a decimal comma", file_name, name)
    return frame


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
            log.info("coordinates are in the columns %r and %r", *found)
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


def read_vector(file: Path, layer: str | None, crs: Any, what: str) -> gpd.GeoDataFrame:
    """Read one layer with a CRS and no empty geometry."""
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

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
    if frame.crs is None:
        return frame.set_crs(check_crs("crs", crs))
    if crs is not None and check_crs("crs", crs) != frame.crs:
        raise CRSError(f"crs={crs!r}: the file says {frame.crs.name!r}; leave crs out, or correct the file")
    return frame


def point_coordinates(frame: gpd.GeoDataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of points, NaN for empty or missing ones."""
    kinds = set(frame.geom_type.dropna())
    if kinds - {"Point"}:
        raise InputError(f"geometry: is {', '.join(sorted(kinds))}, needs points")
    # Not shapely.get_x, which raises on an empty point.
    return frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
