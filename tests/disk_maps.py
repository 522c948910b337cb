"""Models, surveys and stops that the tests of maps from disk to disk share."""

import dataclasses
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from torch import nn

import geoprospect as gp
from geoprospect.prediction import engine
from geoprospect.prediction.resume import Partial

BANDS = ("Cu", "Au")
GRID = gp.Grid("EPSG:32649", Affine(50, 0, 512_000, 0, -50, 2_345_000), (61, 83))


def tiny(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 2)
        )
    network[5].weight.data *= 3
    return network.eval()


def as_model(*networks: nn.Module, **changes: Any) -> gp.ProspectivityModel:
    model = gp.ProspectivityModel(
        networks=networks or (tiny(1), tiny(2)), network="by hand", bands=BANDS, units=("ppm", "ppb"),
        offset=np.array([8.0, 7.0]), scale=np.array([4.0, 3.0]), size=8, crop=8, cell_size=(50.0, 50.0), seed=12,
        history=pd.DataFrame(), settings={"halo": 64},
    )  # fmt: skip
    return dataclasses.replace(model, **changes)


def make_survey(holes: float = 0.15, grid: gp.Grid = GRID) -> xr.Dataset:
    draws = np.random.default_rng(0)
    bands = {"Zn": np.zeros(grid.shape, np.float32)}
    for name in reversed(BANDS):  # neither in the model's order nor alone
        bands[name] = draws.lognormal(2, 0.5, grid.shape).astype(np.float32)
        bands[name][draws.random(grid.shape) < holes] = np.nan
    return grid.dataset(bands, {"Cu": {"units": "ppm"}, "Au": {"units": "ppb"}, "Zn": {"units": "ppm"}})


def same(found: xr.Dataset, expected: xr.Dataset) -> None:
    assert set(found.data_vars) == set(expected.data_vars)
    assert gp.Grid.of(found) == gp.Grid.of(expected)
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name].values, expected[name].values, rtol=0, atol=1e-6, err_msg=str(name))
        assert found[name].attrs["units"] == expected[name].attrs["units"]
        assert found[name].attrs["long_name"] == expected[name].attrs["long_name"]


class StoppedError(Exception):
    """Stands for a kill."""


def stopped_after(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the map stop when so many tiles are entered."""
    keep, left = Partial.keep, [n]

    def keeping(self: Any, *args: Any) -> None:
        if not left[0]:
            raise StoppedError
        left[0] -= 1
        keep(self, *args)

    monkeypatch.setattr(Partial, "keep", keeping)


def small() -> None:
    """Make tiles small in a process of its own, and each of them slow."""
    engine._HELD_BYTES["cpu"], engine._WIDEST, engine._LEAST_ROWS = 40 * 8 * 20, 40, 1
    keep = Partial.keep

    def slowly(self: Any, *args: Any) -> None:
        time.sleep(0.02)
        keep(self, *args)

    Partial.keep = slowly  # type: ignore[assignment, method-assign]
