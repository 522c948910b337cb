"""Read and check layers of known deposits."""

from __future__ import annotations

import ast
import logging
import os
import re
import warnings
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geoprospect._checks import check_input_file, first_rows, shown, user_level
from geoprospect.errors import DataWarning, InputError
from geoprospect.io.number_parsing import scan_numbers, with_numbers
from geoprospect.io.tables import (
    check_coordinates,
    check_text_crs,
    check_vector_crs,
    coordinate_columns,
    is_text_table,
    point_coordinates,
    read_text_table,
    read_vector,
)

log = logging.getLogger("geoprospect")

# What a deposit filter may call: nothing that writes files or reaches into Python (`to_csv`, `__globals__`).
_QUERY_METHODS = frozenset(
    "str dt isin between isna notna isnull notnull fillna abs round eq ne lt le gt ge duplicated x y "
    "contains startswith endswith match fullmatch lower upper strip lstrip rstrip casefold len find count get "
    "replace slice split extract isdigit isnumeric isalpha year month day min max mean median std sum".split()
)
_VALUES = 8  # of a column that are listed where a filter finds none


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
    check_coordinates(np.column_stack(point_coordinates(frame)), frame.crs, columns)
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
