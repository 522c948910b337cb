"""A model on another area: what is matched and converted, what is refused, and what the map is said to be worth."""

import dataclasses
import re
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from scipy.stats import binom
from torch import Tensor, nn

import geoprospect as gp
from geoprospect.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


class Bright(nn.Module):
    """Says ore where the mean of the first band, as the network sees it, is above 1."""

    def forward(self, x: Tensor) -> Tensor:
        logit = 20 * (x[:, 0].mean(dim=(1, 2)) - 1)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def make_model(**changes: Any) -> gp.ProspectivityModel:
    model = gp.ProspectivityModel(
        networks=(Bright().eval(),), network="by hand", bands=("Cu", "Fe"), units=("ppm", "%"),
        offset=np.array([10.0, 2.0]), scale=np.array([5.0, 1.0]), size=4, crop=4, cell_size=(100.0, 100.0), seed=0,
        history=pd.DataFrame(), settings={},
    )  # fmt: skip
    return dataclasses.replace(model, **changes)


def make_survey(cell: float = 100, cu: str = "ppm", crs: str = "EPSG:32650", **names: str) -> xr.Dataset:
    """Copper of 10, and of 30 in the north-west quarter, in ppm."""
    n = round(4000 / cell)
    copper = np.full((n, n), 10.0, dtype=np.float32)
    copper[: n // 2, : n // 2] = 30
    iron = np.linspace(1, 3, n * n, dtype=np.float32).reshape(n, n)
    grid = gp.Grid(crs, Affine(cell, 0, 600_000, 0, -cell, 2_000_000), (n, n))
    copper = copper * {"ppm": 1, "ppb": 1000, "%": 1e-4}[cu]
    bands = {names.get("Cu", "Cu"): copper, names.get("Fe", "Fe"): iron, "Zn": iron}
    units = {names.get("Cu", "Cu"): {"units": cu}, names.get("Fe", "Fe"): {"units": "%"}, "Zn": {"units": "ppm"}}
    return grid.dataset({name: np.asarray(v, dtype=np.float32) for name, v in bands.items()}, units)


def points(*places: tuple[float, float]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(*zip(*places, strict=True)), crs="EPSG:32650")


INSIDE, OUTSIDE = (600_800, 1_999_200), (603_000, 1_997_000)


def test_the_map_is_that_of_predict_where_all_matches() -> None:
    done = gp.transfer(make_model(), make_survey(), stride=2, device="cpu")
    expected = gp.predict(make_model(), make_survey(), stride=2, device="cpu")
    xr.testing.assert_equal(done.result, expected)
    assert done.result.attrs["scaling"] == "model"
    assert done.rates is None
    assert "without known deposits nothing says what that is worth" in done.summary


@pytest.mark.parametrize("unit", ["ppb", "%"])
def test_units_are_converted_and_names_matched(unit: str) -> None:
    expected = gp.transfer(make_model(), make_survey(), stride=2, device="cpu")
    survey = make_survey(cu=unit, Fe="Fe_total")
    done = gp.transfer(make_model(), survey, stride=2, device="cpu", names={"Fe": "Fe_total"})
    np.testing.assert_allclose(done.result.probability, expected.result.probability, atol=1e-5)
    assert done.bands.loc["Cu", "factor"] == pytest.approx({"ppb": 1e-3, "%": 1e4}[unit])
    assert done.bands["taken"].to_dict() == {"Cu": "Cu", "Fe": "Fe_total"}
    assert survey["Cu"].attrs["units"] == unit  # left alone


def test_how_far_the_bands_are_from_those_of_the_training_is_told() -> None:
    done = gp.transfer(make_model(), make_survey(), stride=2, device="cpu")
    values = make_survey()["Cu"].values
    assert done.bands.loc["Cu", "shift"] == pytest.approx((values.mean() - 10) / 5, rel=1e-5)
    assert done.bands.loc["Cu", "spread"] == pytest.approx(values.std() / 5, rel=1e-5)


def test_own_scaling_takes_what_is_unusual_here() -> None:
    richer = make_survey()
    richer["Cu"] = (richer["Cu"] * 10).assign_attrs(units="ppm")  # 100 and 300: all of it ore to the model's eyes
    shares = {how: gp.transfer(make_model(), richer, stride=2, device="cpu", scaling=how).area_share  # type: ignore[arg-type]
              for how in ("model", "own")}  # fmt: skip
    assert shares["model"] == 1
    assert shares["own"] == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("cell", [50.0, 200.0])
def test_other_cells_are_resampled_in_their_place(cell: float) -> None:
    expected = gp.transfer(make_model(), make_survey(), points(INSIDE), stride=2, device="cpu")
    done = gp.transfer(make_model(), make_survey(cell), points(INSIDE), stride=2, device="cpu", resample=True)
    assert gp.Grid.of(done.result) == gp.Grid.of(expected.result)
    differ = np.abs(done.result.probability - expected.result.probability) > 0.5
    assert differ.mean() < 0.02  # along the edge of the rich quarter
    assert done.covered == 1
    assert done.area_share == pytest.approx(expected.area_share, abs=0.03)


def test_coverage_stands_beside_the_share_of_the_map_and_the_chance_of_as_much() -> None:
    done = gp.transfer(make_model(), make_survey(), points(INSIDE, INSIDE, INSIDE, OUTSIDE), stride=2, device="cpu")
    score = done.result.probability.values
    share = np.mean(score >= 0.5)
    assert 0.2 < share < 0.3
    assert (done.n_deposits, done.covered, done.area_share) == (4, 3, pytest.approx(share))
    assert done.p_value == pytest.approx(sum(binom.pmf(k, 4, share) for k in (3, 4)))
    assert "3 of 4 deposits lie on the" in done.summary
    assert done.rates is not None


def test_a_map_that_is_ore_everywhere_covers_all_and_says_nothing() -> None:
    done = gp.transfer(make_model(), make_survey(), points(INSIDE, OUTSIDE), stride=2, device="cpu", threshold=0)
    assert (done.covered, done.area_share, done.p_value) == (2, 1, 1)
    assert "no better than chance" in done.summary


def test_the_chance_is_what_deposits_put_down_at_random_get() -> None:
    done = gp.transfer(make_model(), make_survey(), points(*[INSIDE] * 3, OUTSIDE), stride=2, device="cpu")
    hot = done.result.probability.values.ravel() >= 0.5
    draws = np.random.default_rng(0)
    covered = hot[draws.integers(hot.size, size=(20_000, 4))].sum(axis=1)
    assert np.mean(covered >= 3) == pytest.approx(done.p_value, abs=0.005)


def test_all_that_does_not_match_stands_in_one_message() -> None:
    survey = make_survey(200, Cu="Cu_ppm").drop_vars("Fe").rename(Zn="Fe")
    with pytest.raises(InputError) as caught:
        gp.transfer(make_model(), survey, device="cpu", names={"Pb": "Pb"})
    message = str(caught.value)
    assert "names: 'Pb' is no band of the model" in message
    assert re.search(r"Cu: no such band; names=\{'Cu': 'Cu_ppm'\}\?", message)
    assert "cell size: 200 x 200, trained on 100 x 100; pass resample=True" in message
    assert "the survey has Cu_ppm, Fe" in message


def test_a_name_that_the_survey_does_not_have_is_named_and_not_the_band() -> None:
    with pytest.raises(InputError, match=r"Cu: names=\{'Cu': 'Copper'\}: the survey has no band 'Copper'\n"):
        gp.transfer(make_model(), make_survey(), device="cpu", names={"Cu": "Copper"})


def test_units_that_cannot_be_converted_and_degrees_are_named() -> None:
    survey = make_survey()
    survey["Fe"].attrs["units"] = "mSv"
    with pytest.raises(InputError, match=r"Fe: in 'mSv', trained in '%'"):
        gp.transfer(make_model(), survey, device="cpu")
    grid = gp.Grid("EPSG:4326", Affine(0.001, 0, 100, 0, -0.001, 20), (40, 40))
    degrees = grid.dataset(
        {n: make_survey()[n].values for n in ("Cu", "Fe")}, {"Cu": {"units": "ppm"}, "Fe": {"units": "%"}}
    )
    with pytest.raises(InputError, match="cell size: in degrees; project the survey first"):
        gp.transfer(make_model(), degrees, device="cpu", resample=True)


def test_a_path_is_not_a_survey() -> None:
    with pytest.raises(InputError, match="is a str, needs an xarray Dataset; read a file with read_survey"):
        gp.transfer(make_model(), "survey.tif", device="cpu")  # type: ignore[arg-type]


def test_what_is_no_table_of_deposits_is_refused_before_the_map_is_made() -> None:
    with pytest.raises(InputError, match="deposits: is a int, needs a GeoDataFrame of points; read a file with"):
        gp.transfer(make_model(), make_survey(), 4, device="cpu")  # type: ignore[arg-type]


def test_a_band_without_spread_has_no_scale_of_its_own() -> None:
    survey = make_survey()
    survey["Fe"][:] = 2
    with pytest.raises(InputError, match="scaling='own': Fe is the same everywhere"):
        gp.transfer(make_model(), survey, device="cpu", scaling="own")
