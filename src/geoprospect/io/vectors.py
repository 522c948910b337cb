"""Writer of vector layers to a GeoPackage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd

from geoprospect._checks import check_output_file
from geoprospect.errors import CorruptFileError, InputError
from geoprospect.io.atomic import published


def write_layers(layers: Mapping[str, gpd.GeoDataFrame], path: str | os.PathLike[str]) -> Path:
    """Write several vector layers into one GeoPackage.

    The file is written beside its place, read back, and only then given its name.

    Parameters
    ----------
    layers : mapping of str to GeoDataFrame
        Layers by name; an empty one is kept, with its columns.
    path : path-like
        A name that ends in .gpkg, in a folder that exists.

    Returns
    -------
    pathlib.Path
        Where the file is.

    Raises
    ------
    InputError
        When there is no layer.
    OutputError
        When the file cannot be written whole; what stood there before is untouched.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> cells = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 400), (4, 4)).cells(2, 2)
    >>> gp.write_layers({"cells": cells}, pathlib.Path(tempfile.mkdtemp()) / "cells.gpkg").name
    'cells.gpkg'
    """
    if not layers:
        raise InputError("layers: there are none; pass for example {'targets': targets}")
    file = check_output_file("path", path, (".gpkg",))

    def verify(written: Path) -> None:
        for name, frame in layers.items():
            if len(gpd.read_file(written, layer=name)) != len(frame):
                raise CorruptFileError(f"{file.name}: layer {name!r} does not read back with {len(frame)} rows")

    with published(file, verify) as beside:
        for name, frame in layers.items():
            # A column "fid" would be taken for GeoPackage's own key.
            frame.rename(columns={"fid": "fid_"}).to_file(beside, layer=name, driver="GPKG")
    return file
