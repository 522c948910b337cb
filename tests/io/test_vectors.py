"""Layers that a GIS opens."""

import geopandas as gpd
import pyogrio
import pytest

import geoprospect as gp
from geoprospect.errors import InputError, OutputError


@pytest.fixture
def points():
    return gpd.GeoDataFrame({"id": [1, 2]}, geometry=gpd.points_from_xy([0, 1], [0, 1]), crs="EPSG:32649")


def test_layers_come_back_with_their_names_values_and_crs(points, tmp_path):
    path = gp.write_layers({"deposits": points, "cells": points.assign(label=[0, 1])}, tmp_path / "out.gpkg")
    assert set(pyogrio.list_layers(path)[:, 0]) == {"deposits", "cells"}
    back = gpd.read_file(path, layer="cells")
    assert back["label"].tolist() == [0, 1]
    assert back.crs == points.crs
    assert back.geometry.geom_equals(points.geometry).all()


def test_an_empty_layer_keeps_its_columns(points, tmp_path):
    path = gp.write_layers({"targets": points.iloc[:0]}, tmp_path / "out.gpkg")
    back = gpd.read_file(path, layer="targets")
    assert back.empty
    assert "id" in back.columns


def test_a_column_called_fid_does_not_clash_with_the_key_of_the_file(points, tmp_path):
    path = gp.write_layers({"deposits": points.assign(fid=[7, 7])}, tmp_path / "out.gpkg")
    assert gpd.read_file(path)["fid_"].tolist() == [7, 7]


def test_an_older_file_is_replaced_whole(points, tmp_path):
    gp.write_layers({"old": points}, tmp_path / "out.gpkg")
    gp.write_layers({"new": points}, tmp_path / "out.gpkg")
    assert pyogrio.list_layers(tmp_path / "out.gpkg")[:, 0].tolist() == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["out.gpkg"]


def test_what_cannot_be_written_is_said(points, tmp_path):
    with pytest.raises(InputError, match="layers: there are none"):
        gp.write_layers({}, tmp_path / "out.gpkg")
    with pytest.raises(InputError, match=r"ends in \.gpkg"):
        gp.write_layers({"a": points}, tmp_path / "out.shp")
    with pytest.raises(OutputError, match="does not exist"):
        gp.write_layers({"a": points}, tmp_path / "nowhere" / "out.gpkg")
