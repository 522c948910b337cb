"""From model to map: against a loop over windows, and in its right place on the ground."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import geoprospect as gp
from geoprospect.errors import DataWarning, DeviceError, DivergenceError, InputError, NameNotFoundError
from geoprospect.models.networks import build_network, last_features, set_halo
from geoprospect.prediction import engine

pytestmark = pytest.mark.usefixtures("one_thread")


CRS = "EPSG:32649"
BANDS = ("Cu", "Au")


def make_grid(ny: int, nx: int) -> gp.Grid:
    return gp.Grid(CRS, Affine(50, 0, 512_000, 0, -50, 2_345_000), (ny, nx))


def make_survey(ny: int = 26, nx: int = 31, holes: float = 0.0) -> xr.Dataset:
    draws = np.random.default_rng(ny * 100 + nx)
    bands = {name: draws.lognormal(2, 0.5, (ny, nx)).astype(np.float32) for name in BANDS}
    for band in bands.values():
        band[draws.random((ny, nx)) < holes] = np.nan
    return make_grid(ny, nx).dataset(bands, {name: {"units": "ppm"} for name in BANDS})


def as_model(
    *networks: nn.Module, crop: int = 8, size: int | None = None, plain: bool = False
) -> gp.ProspectivityModel:
    """A model about some networks; `plain` shows them the first band as it is."""
    bands = BANDS[:1] if plain else BANDS
    return gp.ProspectivityModel(
        networks=tuple(network.eval() for network in networks), network="by hand", bands=bands,
        units=("ppm",) * len(bands), offset=np.zeros(1) if plain else np.array([8.0, 7.0]),
        scale=np.ones(1) if plain else np.array([4.0, 3.0]), size=size or crop, crop=crop, cell_size=(50.0, 50.0),
        seed=12, history=pd.DataFrame(), settings={},
    )  # fmt: skip


def tiny(seed: int = 0) -> nn.Module:
    """A few layers, batch normalisation among them, whose probabilities are spread over (0, 1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 2)
        )
    for key, tensor in network.state_dict().items():
        if key.endswith("running_var"):
            tensor.fill_(0.3)
    network[5].weight.data *= 3
    return network


class Kept(list[Any]):
    """One list, also for copies of who holds it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Kept":
        return self


class Watched(nn.Module):
    """Keeps what it is shown, its copies too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen = Kept()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.numpy().copy())
        logits: Tensor = self.inner(x)
        return logits


class Centre(nn.Module):
    """Logit: the value at the centre of the window (of an even one, the mean of the four cells there)."""

    def forward(self, x: Tensor) -> Tensor:
        low, high = (x.shape[-1] - 1) // 2, x.shape[-1] // 2 + 1
        logit = x[:, 0, low:high, low:high].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def by_loop(
    model: gp.ProspectivityModel, survey: xr.Dataset, stride: int, min_valid: float = 0.5
) -> dict[str, NDArray[np.float64]]:
    """Every window by itself, in float64."""
    values = np.stack([survey[name].values.astype(np.float64) for name in model.bands])
    valid = np.isfinite(values).all(axis=0)
    scaled = (values - model.offset[:, None, None]) / model.scale[:, None, None]
    scaled[~np.isfinite(values)] = 0
    networks = [network.double() for network in model.networks]
    crop, (ny, nx) = model.crop, valid.shape
    rows, cols = range(0, ny - crop + 1, stride), range(0, nx - crop + 1, stride)
    each = np.full((len(networks), len(rows), len(cols)), np.nan)
    share = np.empty((len(rows), len(cols)))
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            part = np.s_[row : row + crop, col : col + crop]
            share[i, j] = np.count_nonzero(valid[part]) / crop**2
            if share[i, j] >= min_valid and share[i, j] > 0:
                with torch.no_grad():
                    x = torch.from_numpy(scaled[None, :, part[0], part[1]])  # (1, C, H, W)
                    each[:, i, j] = [torch.softmax(network(x), 1)[0, 1].item() for network in networks]
    for network in networks:
        network.float()
    found = {"probability": each.mean(axis=0), "valid": share}
    return found | ({"std": each.std(axis=0, ddof=1)} if len(networks) > 1 else {})


# ---------------------------------------------------------------- the map against a loop


@pytest.mark.filterwarnings("ignore:stride=50. the map is a single cell")
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 8, 11, 50])
@pytest.mark.parametrize(("ny", "nx"), [(26, 31), (8, 8), (8, 20), (33, 9)])
def test_the_map_is_that_of_a_loop_over_windows(stride: int, ny: int, nx: int) -> None:
    model, survey = as_model(tiny(1)), make_survey(ny, nx, holes=0.2)
    found, expected = gp.predict(model, survey, stride, "cpu"), by_loop(model, survey, stride)
    assert set(found.data_vars) == {"probability", "valid"}
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].dims == ("y", "x")
        np.testing.assert_allclose(found[name].values, values, rtol=0, atol=1e-6, err_msg=name)
    if found.sizes["y"] > 5:
        assert np.nanstd(expected["probability"]) > 0.01


def padded(survey: xr.Dataset, crop: int, stride: int) -> tuple[xr.Dataset, tuple[int, int]]:
    """Lay ground without data around a survey, by whole strides, until the cells of the map cover it."""
    grid, before, after = gp.Grid.of(survey), [], []
    for length in grid.shape:
        north = 0
        while crop / 2 - stride / 2 - north > 0:  # the first cell of the map begins within
            north += stride
        n = 1
        while (n - 1) * stride + crop / 2 + stride / 2 < north + length:  # the last one ends within
            n += 1
        before.append(north)
        after.append(max(0, (n - 1) * stride + crop - north - length))
    around = ((before[0], after[0]), (before[1], after[1]))
    wide = grid.part(
        -before[0], -before[1], tuple(n + b + a for n, b, a in zip(grid.shape, before, after, strict=True))
    )
    bands = {
        str(name): np.pad(band.values.astype(np.float32), around, constant_values=np.nan)
        for name, band in survey.data_vars.items()
    }
    attrs = {str(name): dict(band.attrs) for name, band in survey.data_vars.items()}
    return wide.dataset(bands, attrs), (before[0], before[1])


@pytest.mark.filterwarnings("ignore:survey. no window has enough data")
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize(("ny", "nx"), [(26, 31), (8, 8), (5, 20), (33, 3)])
def test_with_padding_the_map_covers_the_survey_and_is_that_of_a_loop_over_a_padded_one(
    stride: int, ny: int, nx: int
) -> None:
    model, survey = as_model(tiny(1)), make_survey(ny, nx, holes=0.2)
    wide, before = padded(survey, model.crop, stride)
    for min_valid in (0.5, 0.1):
        found = gp.predict(model, survey, stride, "cpu", edge="pad", min_valid=min_valid)
        for name, values in by_loop(model, wide, stride, min_valid).items():
            np.testing.assert_allclose(found[name].values, values, rtol=0, atol=1e-6, err_msg=name)
    grid, inside = gp.Grid.of(found), gp.Grid.of(survey)
    assert grid.shape == gp.Grid.of(wide).strided(model.crop, stride).shape
    beyond = (np.array(inside.bounds) - grid.bounds) * [1, 1, -1, -1] / inside.resolution[0]
    assert (beyond >= 0).all()
    assert (beyond < stride).all()  # and no cell more than it takes
    if min(ny, nx) >= model.crop:
        alone = gp.predict(model, survey, stride, "cpu", min_valid=0.1)
        row, col = (margin // stride for margin in before)
        part = found.isel(y=slice(row, row + alone.sizes["y"]), x=slice(col, col + alone.sizes["x"]))
        np.testing.assert_allclose(part.probability, alone.probability, rtol=0, atol=1e-6)
        np.testing.assert_allclose(part.x, alone.x, rtol=0, atol=1e-6)
        np.testing.assert_allclose(part.y, alone.y, rtol=0, atol=1e-6)


def test_with_padding_the_corners_are_empty_at_half_and_full_at_a_quarter() -> None:
    model, survey = as_model(tiny(1)), make_survey(24, 24)
    for min_valid, corner in ((0.5, False), (0.2, True)):
        found = gp.predict(model, survey, 2, "cpu", edge="pad", min_valid=min_valid).probability
        assert bool(np.isfinite(found[0, 0])) == corner
        assert found[0, 2:-2].notnull().all()  # half of the window lies on the survey
        assert found[1:-1, 1:-1].notnull().all()


def test_further_bands_are_made_when_they_are_asked_for() -> None:
    networks, survey = [tiny(1), tiny(2)], make_survey(holes=0.3)
    model = as_model(*networks)
    found = gp.predict(model, survey, 3, "cpu", more=["n_models", "logit"], min_valid=0.4)
    assert list(found.data_vars) == ["probability", "valid", "std", "logit", "n_models"]
    each = [by_loop(as_model(network), survey, 3, 0.4)["probability"] for network in networks]
    np.testing.assert_allclose(found.logit, np.mean([np.log(p / (1 - p)) for p in each], axis=0), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.n_models, 2.0 * np.isfinite(each[0]))
    assert 0 < found.n_models.mean() < 2
    assert found.logit.attrs["units"] == found.n_models.attrs["units"] == "1"


@pytest.mark.parametrize("mode", ["drop", "pad"])
def test_the_support_is_the_distance_of_the_cells_of_the_map_from_the_nearest_sample(mode: str) -> None:
    model, survey = as_model(tiny(1)), make_survey(24, 30)
    draws = np.random.default_rng(0)
    x, y = (
        draws.uniform(low, high, 9)
        for low, high in zip(gp.Grid.of(survey).bounds[:2], gp.Grid.of(survey).bounds[2:], strict=True)
    )
    samples = gp.Samples(np.column_stack([x, y]), np.ones((9, 1)), ("Cu",), ("ppm",), gp.Grid.of(survey).crs)
    found = gp.predict(model, survey, 3, "cpu", edge=mode, samples=samples)
    expected = np.hypot(found.x.values[None, :, None] - x, found.y.values[:, None, None] - y).min(axis=2)
    np.testing.assert_allclose(found.support, expected, rtol=1e-6)
    assert found.support.attrs["units"] == gp.Grid.of(survey).unit


def test_bands_edges_and_samples_that_are_none_are_refused() -> None:
    model, survey = as_model(tiny(1)), make_survey()
    with pytest.raises(InputError, match=r"edge='mirror': .*drop"):
        gp.predict(model, survey, 3, "cpu", edge="mirror")
    with pytest.raises(InputError, match="more"):
        gp.predict(model, survey, 3, "cpu", more=["logits"])
    for names in ("logit", None, [1]):
        with pytest.raises(InputError, match=r"more=.*: needs a list of names"):
            gp.predict(model, survey, 3, "cpu", more=names)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'activation' needs mode='dense'"):
        gp.predict(model, survey, 3, "cpu", more=["activation"])
    far = gp.Samples([[0.0, 0.0]], [[1.0]], ("Cu",), ("ppm",), gp.Grid.of(survey).crs)
    with pytest.raises(InputError, match="samples: none of those with a value lies on the grid"):
        gp.predict(model, survey, 3, "cpu", samples=far)


def test_with_several_models_the_map_has_their_mean_and_standard_deviation() -> None:
    networks = [tiny(seed) for seed in (1, 2, 3)]
    survey = make_survey(holes=0.3)
    found, expected = (
        gp.predict(as_model(*networks), survey, 3, "cpu"),
        by_loop(as_model(*networks), survey, 3),
    )
    singly = np.stack([gp.predict(as_model(one), survey, 3, "cpu")["probability"].values for one in networks])
    assert np.isnan(singly).any()
    np.testing.assert_allclose(found["std"].values, singly.astype(np.float64).std(axis=0, ddof=1), atol=1e-6)
    for name in ("probability", "valid", "std"):
        np.testing.assert_allclose(found[name].values, expected[name], rtol=0, atol=1e-6)
    assert found.attrs["n_models"] == 3
    assert "std" not in gp.predict(as_model(networks[0]), survey, 3, "cpu")


@pytest.mark.parametrize(("name", "variance"), [("resnet18", 0.5), ("shufflenet_v2_x1_0", 0.12)])
def test_a_real_network_gives_the_map_of_the_loop_too(name: str, variance: float) -> None:
    network = build_network(name, 2, seed=3)
    with torch.no_grad():  # statistics of data, as after a training
        for key, tensor in network.state_dict().items():
            if key.endswith("running_var"):
                tensor.fill_(variance)
    model, survey = as_model(network, crop=16), make_survey(24, 30)
    expected = by_loop(model, survey, 5)["probability"]
    assert np.std(expected) > 1e-4
    np.testing.assert_allclose(gp.predict(model, survey, 5, "cpu")["probability"].values, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_size_of_the_batch_does_not_show(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, survey = as_model(tiny(1), tiny(2)), make_survey(holes=0.3)
    expected = gp.predict(model, survey, 2, "cpu")
    monkeypatch.setitem(engine._BATCH, "cpu", batch)
    found = gp.predict(model, survey, 2, "cpu")
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name].values, expected[name].values, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "rearranged",
    [
        lambda s: s[["Au", "Cu"]],
        lambda s: s.transpose("x", "y"),
        lambda s: s.assign(W=s["Cu"] * 3)[["W", "Au", "Cu"]],
    ],
    ids=["other order", "transposed", "more bands"],
)
def test_bands_are_taken_by_name_so_their_order_changes_no_byte(
    rearranged: Callable[[xr.Dataset], xr.Dataset],
) -> None:
    model, survey = as_model(tiny(1)), make_survey(holes=0.1)
    expected, found = (gp.predict(model, one, 3, "cpu") for one in (survey, rearranged(survey)))
    for name in ("probability", "valid"):
        assert found[name].values.tobytes() == expected[name].values.tobytes()


# ---------------------------------------------------------------- in its place


@given(st.integers(3, 12), st.integers(1, 6), st.integers(14, 27), st.integers(14, 33))
def test_the_brightest_cell_of_the_map_lies_over_the_brightest_cell_of_the_survey(
    crop: int, stride: int, row: int, col: int
) -> None:
    """Values fall with the distance from one cell, so the window centred nearest to it wins."""
    grid = make_grid(42, 48)
    y, x = np.mgrid[:42, :48]
    peak = (3 - np.hypot(y - row, x - col) / 10).astype(np.float32)
    survey = grid.dataset({"Cu": peak}, {"Cu": {"units": "ppm"}})
    result = gp.predict(as_model(Centre(), crop=crop, plain=True), survey, stride, "cpu")
    i, j = np.unravel_index(result["probability"].values.argmax(), result["probability"].shape)
    # The cell of the map may lie half its width away, where the windows do not fall on the cell.
    assert abs(float(result.y[i]) - grid.y[row]) <= 50 * stride / 2 + 1e-6
    assert abs(float(result.x[j]) - grid.x[col]) <= 50 * stride / 2 + 1e-6
    if crop % 2 and stride == 1:
        assert float(result.y[i]) == pytest.approx(grid.y[row], abs=1e-6)
        assert float(result.x[j]) == pytest.approx(grid.x[col], abs=1e-6)


def test_with_odd_windows_at_every_cell_the_map_is_the_survey_without_its_rim() -> None:
    survey = make_survey(17, 19)
    result = gp.predict(as_model(Centre(), crop=5, plain=True), survey, 1, "cpu")
    inner = survey["Cu"].isel(y=slice(2, -2), x=slice(2, -2))
    np.testing.assert_allclose(result.y, inner.y, atol=1e-6)
    np.testing.assert_allclose(result.x, inner.x, atol=1e-6)
    expected = 1 / (1 + np.exp(-inner.values.astype(np.float64)))
    np.testing.assert_allclose(result["probability"].values, expected, rtol=0, atol=1e-6)


def test_the_map_is_north_up_with_crs_units_and_names() -> None:
    result = gp.predict(as_model(tiny()), make_survey(), 4, "cpu")
    grid = gp.Grid.of(result)
    assert grid == make_grid(26, 31).strided(8, 4)
    assert grid.resolution == (200, 200)
    assert (np.diff(result.y) < 0).all()
    assert (np.diff(result.x) > 0).all()
    assert grid.crs == CRS
    assert "uncalibrated" in result["probability"].attrs["long_name"]
    assert {band.attrs["units"] for band in result.data_vars.values()} == {"1"}
    assert {key: result.attrs[key] for key in ("stride", "window", "n_models", "bands", "training_seed")} == {
        "stride": 4, "window": 8, "n_models": 1, "bands": "Cu, Au", "training_seed": 12,
    }  # fmt: skip


@pytest.mark.parametrize(("size", "stride"), [(64, 8), (20, 2), (7, 1), (4, 1)])
def test_without_a_stride_it_is_an_eighth_of_the_window(size: int, stride: int) -> None:
    result = gp.predict(as_model(tiny(), crop=min(size, 8), size=size), make_survey(), device="cpu")
    assert result.attrs["stride"] == stride


# ---------------------------------------------------------------- ground without data


def test_windows_without_data_have_no_probability_and_are_not_computed() -> None:
    survey = make_survey(24, 32)
    survey["Cu"][:, :12] = np.nan  # one band is enough
    survey["Au"][16:, :] = np.nan
    watched = Watched(tiny())
    result = gp.predict(as_model(watched), survey, 2, "cpu", min_valid=0.0)
    p, valid = result["probability"].values, result["valid"].values
    assert (np.isnan(p) == (valid == 0)).all()
    assert 0 < np.isnan(p).sum() < p.size
    seen = np.concatenate(watched.seen)  # (B, C, H, W)
    assert len(seen) == np.isfinite(p).sum()
    assert np.isfinite(seen).all()
    assert not (seen == 0).all(axis=(1, 2, 3)).any()


def test_a_survey_without_any_data_gives_a_map_of_nothing_and_asks_no_network() -> None:
    survey, watched = make_survey(), Watched(tiny())
    survey["Cu"][:] = np.nan
    with pytest.warns(DataWarning, match="no window has enough data"):
        result = gp.predict(as_model(watched), survey, 4, "cpu")
    assert np.isnan(result["probability"]).all()
    assert (result["valid"] == 0).all()
    assert watched.seen == []


@pytest.mark.filterwarnings("ignore:survey. no window has enough data")
@pytest.mark.parametrize("holes", [0.0, 0.05, 0.5, 0.95])
def test_the_share_of_data_is_counted_exactly(holes: float) -> None:
    model, survey = as_model(tiny(), crop=7), make_survey(19, 23, holes)
    found = gp.predict(model, survey, 3, "cpu", min_valid=1.0)["valid"].values
    expected = by_loop(model, survey, 3, min_valid=2.0)["valid"]
    assert (found == expected.astype(np.float32)).all()


# 7 of 10 is less in float32 than in float64, and must not fail a min_valid of 0.7 for that.
@pytest.mark.parametrize("tenths", range(1, 11))
def test_a_window_with_just_enough_data_is_computed_and_one_cell_less_is_not(tenths: int) -> None:
    survey = make_survey(10, 21)
    for first, missing in ((0, 100 - 10 * tenths), (11, 100 - 10 * tenths + 1)):
        block = survey["Au"].values[:, first : first + 10]
        block[np.unravel_index(np.arange(missing), block.shape)] = np.nan
    p = gp.predict(as_model(tiny(), crop=10), survey, 11, "cpu", min_valid=tenths / 10)["probability"].values
    assert np.isfinite(p[0]).tolist() == [True, False]


# ---------------------------------------------------------------- cells


def test_cells_are_numbered_row_by_row_from_the_north_west_and_predicted_from_their_middle() -> None:
    survey, model = make_survey(12 * 9, 12 * 11), as_model(tiny(), crop=5)
    cells = gp.predict_cells(model, survey, device="cpu")
    assert cells["cell"].tolist() == list(range(1, 145))
    stack = torch.from_numpy(model.stack(survey)[0])
    for cell, i, j in ((1, 0, 0), (12, 0, 11), (13, 1, 0), (144, 11, 11), (67, 5, 6)):
        top, left = i * 9 + 2, j * 11 + 3  # the middle 5 of 9 rows and of 11 columns
        with torch.no_grad():
            logits = model.networks[0](stack[None, :, top : top + 5, left : left + 5])
        row = cells.iloc[cell - 1]
        assert row["probability"] == pytest.approx(torch.softmax(logits, 1)[0, 1].item(), abs=1e-6)
        grid = make_grid(108, 132)
        assert row.geometry.centroid.y == pytest.approx(grid.y[top + 2], abs=1e-6)
        assert row.geometry.centroid.x == pytest.approx(grid.x[left + 2], abs=1e-6)
    north_west = cells.iloc[0].geometry.bounds
    assert (north_west[0], north_west[3]) == make_grid(108, 132).bounds[0::3]
    assert cells.crs == CRS
    assert cells["probability"].nunique() > 100


def test_cells_are_labelled_from_the_threshold_on_and_not_at_all_without_data() -> None:
    survey = make_survey(40, 40)
    survey["Cu"][:10, :20] = np.nan
    model = as_model(tiny())
    cells = gp.predict_cells(model, survey, (4, 4), "cpu")
    p = cells["probability"]
    assert np.flatnonzero(p.isna()).tolist() == [0, 1]
    assert cells["label"].isna().tolist() == p.isna().tolist()
    threshold = float(p[5])
    cells = gp.predict_cells(model, survey, (4, 4), "cpu", threshold=threshold)
    expected = (p[2:] >= threshold).astype(int).tolist()
    assert 0 < sum(expected) < 14
    assert cells["label"][2:].astype(int).tolist() == expected
    assert cells["label"][5] == 1
    assert cells["label"].dtype == "Int8"


def test_cells_have_a_standard_deviation_with_several_models_only() -> None:
    networks, survey = [tiny(1), tiny(2)], make_survey()
    both = gp.predict_cells(as_model(*networks), survey, (3, 3), "cpu")
    singly = [gp.predict_cells(as_model(one), survey, (3, 3), "cpu") for one in networks]
    assert "std" not in singly[0]
    difference = (singly[0]["probability"] - singly[1]["probability"]).abs()
    np.testing.assert_allclose(both["std"], difference / np.sqrt(2), atol=1e-6)
    np.testing.assert_allclose(
        both["probability"], (singly[0]["probability"] + singly[1]["probability"]) / 2, atol=1e-6
    )


def test_crops_larger_than_the_cells_stay_on_the_survey() -> None:
    watched = Watched(tiny())
    survey = make_survey(20, 20)
    cells = gp.predict_cells(as_model(watched, crop=12), survey, (10, 10), "cpu")
    assert cells["probability"].notna().all()
    stack = as_model(watched, crop=12).stack(survey)[0]
    np.testing.assert_array_equal(watched.seen[0][0], stack[:, :12, :12])
    np.testing.assert_array_equal(watched.seen[-1][-1], stack[:, 8:, 8:])


def test_a_crop_larger_than_the_survey_is_refused() -> None:
    survey = make_survey(30, 7)
    with pytest.raises(InputError, match="only 7 cells"):
        gp.predict_cells(as_model(tiny()), survey, (2, 2), "cpu")
    with pytest.raises(InputError, match=r"survey: has only 30 x 7 cells.* windows of 8; pass edge='pad'"):
        gp.predict(as_model(tiny()), survey, 1, "cpu")
    assert gp.predict(as_model(tiny()), survey, 1, "cpu", edge="pad").probability.notnull().any()


@pytest.mark.parametrize("call", [gp.predict, gp.predict_cells, gp.plan_inference])
def test_what_is_no_model_is_named(call: Any) -> None:
    with pytest.raises(InputError, match="model: is a NoneType, needs a ProspectivityModel"):
        call(None, make_survey())


# ---------------------------------------------------------------- windows


def test_windows_are_predicted_from_the_crop_nearest_to_their_middle_that_holds_the_deposit() -> None:
    survey, model = make_survey(40, 40), as_model(tiny(), crop=6, size=10)
    grid = make_grid(40, 40)
    # The deposit in the middle of its window, in the north-west corner, in the south-east one; and barren.
    windows = gp.Windows(grid, [11, 15, 6, 29], [11, 15, 6, 2], [1, 1, 1, 0], [0, 0, 0, -1], ("mine",),
                         [(grid.x[15], grid.y[15])], size=10, crop=6)  # fmt: skip
    corners = [(13, 13), (15, 15), (10, 10), (31, 4)]
    stack = torch.from_numpy(model.stack(survey)[0])
    with torch.no_grad():
        x = torch.stack([stack[:, row : row + 6, col : col + 6] for row, col in corners])
        expected = torch.softmax(model.networks[0](x), 1)[:, 1].numpy()
    found = gp.predict_windows(model, survey, windows, "cpu")
    assert found.dtype == np.float64
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_windows_of_all_zooms_are_seen_as_means_over_their_blocks_of_cells() -> None:
    survey, model, grid = make_survey(60, 60, holes=0.1), as_model(tiny(), crop=6, size=8), make_grid(60, 60)
    zooms = np.array([1, 2, 3, 2])
    windows = gp.Windows(grid, [3, 10, 20, 40], [5, 12, 22, 2], [0, 1, 0, 0], [-1, 0, -1, -1], ("mine",),
                         [(grid.x[13], grid.y[12])], size=8, crop=6, zooms=zooms)  # fmt: skip
    stack = model.stack(survey)[0].astype(np.float64)
    shown = []
    for k, (row, col) in enumerate(np.column_stack([windows.rows, windows.cols]) + windows.central_crop()):
        wide = 6 * zooms[k]
        blocks = stack[:, row : row + wide, col : col + wide].reshape(2, 6, zooms[k], 6, zooms[k])
        shown.append(blocks.mean(axis=(2, 4)))
    with torch.no_grad():
        logits = model.networks[0](torch.from_numpy(np.stack(shown).astype(np.float32)))
    found = gp.predict_windows(model, survey, windows, "cpu")
    np.testing.assert_allclose(found, torch.softmax(logits, 1)[:, 1].numpy(), rtol=0, atol=1e-6)
    survey["Cu"][20:40, 22:44] = np.nan  # the whole ground of the third, but for its last rows and columns
    survey["Cu"][12:18, 14:20] = np.nan  # a quarter of the second
    assert np.isfinite(gp.predict_windows(model, survey, windows, "cpu")).all()
    survey["Cu"][20:44, 22:46] = np.nan
    assert np.isfinite(gp.predict_windows(model, survey, windows, "cpu")).tolist() == [True, True, False, True]


def test_with_a_halo_the_network_sees_the_ground_around_and_zeros_off_the_survey() -> None:
    survey, grid = make_survey(120, 110), make_grid(120, 110)
    network = build_network("shufflenet_v2_x1_0", 2, seed=3)
    model = as_model(network, crop=32)
    windows = gp.Windows(grid, [40, 0], [38, 70], [0, 0], [-1, -1], (), [], size=32, crop=32)
    stack = np.pad(model.stack(survey)[0], ((0, 0), (32, 32), (32, 32)))
    wide = np.stack([stack[:, row : row + 96, col : col + 96] for row, col in ((40, 38), (0, 70))])
    set_halo(network, 32)
    with torch.no_grad():
        expected = torch.softmax(network(torch.from_numpy(wide)), 1)[:, 1].numpy()
    set_halo(network, 0)
    found = gp.predict_windows(model, survey, windows, "cpu", halo=32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert last_features(network).features == 0
    plain = gp.predict_windows(model, survey, windows, "cpu")
    with torch.no_grad():
        middle = torch.softmax(network(torch.from_numpy(wide[:, :, 32:64, 32:64].copy())), 1)[:, 1].numpy()
    np.testing.assert_allclose(plain, middle, rtol=0, atol=1e-6)


@pytest.mark.parametrize("halo", [-32, 1.5, 33, "32"])
def test_a_halo_that_is_no_multiple_of_32_cells_is_refused(halo: Any) -> None:
    windows = gp.Windows(make_grid(40, 40), [4], [4], [0], [-1], (), [], size=32, crop=32)
    model = as_model(build_network("shufflenet_v2_x1_0", 2), crop=32)
    with pytest.raises(InputError, match="multiple of 32" if halo == 33 else "halo="):
        gp.predict_windows(model, make_survey(40, 40), windows, "cpu", halo=halo)
    assert last_features(model.networks[0]).features == 0


def test_windows_with_a_little_data_are_predicted_and_those_without_are_nan() -> None:
    survey, grid = make_survey(20, 40), make_grid(20, 40)
    survey["Cu"][:, 20:] = np.nan
    windows = gp.Windows(grid, [0, 0, 0], [0, 13, 25], [0, 0, 0], [-1, -1, -1], (), [], size=8, crop=8)
    assert np.isfinite(gp.predict_windows(as_model(tiny()), survey, windows, "cpu")).tolist() == [True, True, False]


def test_windows_of_another_crop_or_grid_are_refused() -> None:
    survey, model = make_survey(20, 20), as_model(tiny())
    for grid, crop in ((make_grid(20, 20), 6), (make_grid(21, 20), 8)):
        windows = gp.Windows(grid, [0], [0], [0], [-1], (), [], size=8, crop=crop)
        with pytest.raises(InputError, match="do not fit the model"):
            gp.predict_windows(model, survey, windows, "cpu")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("stride", [0, -1, 2.5, True, "3", float("nan")])
def test_a_stride_that_is_no_number_of_cells_is_refused(stride: Any) -> None:
    with pytest.raises(InputError, match="stride="):
        gp.predict(as_model(tiny()), make_survey(), stride, "cpu")


@pytest.mark.parametrize("min_valid", [-0.1, 1.1, float("nan"), None])
def test_a_least_share_of_data_out_of_range_is_refused(min_valid: Any) -> None:
    for function in (gp.predict, gp.predict_cells):
        with pytest.raises(InputError, match="min_valid="):
            function(as_model(tiny()), make_survey(), device="cpu", min_valid=min_valid)


def test_a_threshold_that_is_no_number_is_refused_before_anything_is_computed() -> None:
    watched = Watched(tiny())
    with pytest.raises(InputError, match="threshold="):
        gp.predict_cells(as_model(watched), make_survey(), (2, 2), "cpu", threshold=float("nan"))
    assert watched.seen == []


def test_a_survey_that_does_not_match_the_model_is_refused_by_all_three() -> None:
    model, survey, grid = as_model(tiny()), make_survey(), make_grid(26, 31)
    windows = gp.Windows(grid, [0], [0], [0], [-1], (), [], size=8, crop=8)
    other = survey.copy(deep=True)
    other["Au"].attrs["units"] = "ppb"
    for predict in (
        lambda s: gp.predict(model, s, 4, "cpu"),
        lambda s: gp.predict_cells(model, s, (2, 2), "cpu"),
        lambda s: gp.predict_windows(model, s, windows, "cpu"),
    ):
        with pytest.raises(InputError, match="Au: units 'ppb', trained in 'ppm'"):
            predict(other)
        with pytest.raises(NameNotFoundError, match="lacks the bands Au"):
            predict(survey[["Cu"]])


# ---------------------------------------------------------------- memory, and what is left behind


class Small(nn.Module):
    """A device on which only so many windows fit."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most
        self.asked = Kept()

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        logits: Tensor = self.inner(x)
        return logits


def test_where_memory_runs_out_the_batch_is_halved_and_the_map_is_the_same(caplog: pytest.LogCaptureFixture) -> None:
    survey = make_survey(holes=0.2)
    expected = gp.predict(as_model(tiny(1)), survey, 2, "cpu")
    small = Small(tiny(1), most=20)
    with caplog.at_level(logging.INFO, logger="geoprospect"):
        found = gp.predict(as_model(small), survey, 2, "cpu")
    np.testing.assert_allclose(found["probability"].values, expected["probability"].values, rtol=0, atol=1e-6)
    assert small.asked[:3] == [64, 32, 16]
    assert max(small.asked[3:]) == 16
    assert "memory" in caplog.text


def test_where_not_even_one_window_fits_the_numbers_are_told() -> None:
    small = Small(tiny(), most=0)
    with pytest.raises(DeviceError, match=r"2 bands of 8 x 8 cells.*device='cpu'.*2\.00 GiB") as caught:
        gp.predict(as_model(small), make_survey(), 2, "cpu")
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert small.asked == [64, 32, 16, 8, 4, 2, 1]


def test_another_fault_of_the_device_is_not_taken_for_a_lack_of_memory() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access") as caught:
        gp.predict(as_model(Broken()), make_survey(), 2, "cpu")
    assert not isinstance(caught.value, DeviceError)


def test_a_network_that_gives_no_numbers_is_named_and_makes_no_map() -> None:
    ruined = tiny(2)
    ruined[5].weight.data[0, 0] = float("nan")
    with pytest.raises(DivergenceError, match=r"network 1 .*not finite"):
        gp.predict(as_model(tiny(1), ruined), make_survey(), 3, "cpu")


def test_model_survey_and_generators_are_left_as_they_were() -> None:
    model, survey = as_model(tiny(1), tiny(2)), make_survey(holes=0.2)
    before, kept = survey.copy(deep=True), [{k: v.clone() for k, v in n.state_dict().items()} for n in model.networks]
    state = torch.get_rng_state()
    gp.predict(model, survey, 3, "cpu")
    xr.testing.assert_identical(survey, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    for network, earlier in zip(model.networks, kept, strict=True):
        assert all(torch.equal(tensor, earlier[key]) for key, tensor in network.state_dict().items())
        assert not network.training


def test_progress_is_shown_only_when_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    model, survey = as_model(tiny()), make_survey()
    gp.predict(model, survey, 4, "cpu")
    assert capfd.readouterr() == ("", "")
    gp.predict(model, survey, 4, "cpu", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "30/30" in err


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_map_of_a_gpu_is_that_of_the_cpu_and_the_model_comes_back() -> None:
    model, survey = as_model(tiny(1), tiny(2)), make_survey(holes=0.2)
    here, there = (gp.predict(model, survey, 2, device, precision="float32") for device in ("cpu", "cuda"))
    for name in here.data_vars:
        np.testing.assert_allclose(there[name].values, here[name].values, rtol=0, atol=1e-4)
    assert {p.device.type for network in model.networks for p in network.parameters()} == {"cpu"}


# ---------------------------------------------------------------- a map that says little


def test_a_map_without_a_window_that_has_enough_data_is_warned_of() -> None:
    survey = make_survey()
    holes = survey.where((np.arange(26) % 4 == 0)[:, None] & np.ones(31, dtype=bool))
    with pytest.warns(
        DataWarning, match=r"at most 25% of a window .*, min_valid=0\.5; .* pass a smaller min"
    ) as caught:
        found = gp.predict(as_model(tiny()), holes, stride=4, device="cpu")
    assert np.isnan(found.probability).all()
    assert caught[0].filename == __file__
    gp.predict(as_model(tiny()), holes, stride=4, device="cpu", min_valid=0.2)
    with pytest.warns(DataWarning, match=r"at most 0% of a window .*look at where the survey has data$"):
        gp.predict(as_model(tiny()), survey * np.nan, stride=4, device="cpu")


def test_a_stride_that_leaves_a_single_cell_of_much_ground_is_warned_of() -> None:
    with pytest.warns(DataWarning, match=r"stride=1000: the map is a single cell.* 26 x 31 cells") as caught:
        found = gp.predict(as_model(tiny()), make_survey(), stride=1000, device="cpu")
    assert found.probability.shape == (1, 1)
    assert caught[0].filename == __file__
    assert gp.predict(as_model(tiny()), make_survey(8, 8), stride=1000, device="cpu").probability.size == 1


def test_what_is_passed_in_the_wrong_place_is_named() -> None:
    with pytest.raises(InputError, match=r"^survey='x\.tif': .* read_survey\(path\), .* with predict_to_cog"):
        gp.predict(as_model(tiny()), "x.tif")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^model: is a Dataset, needs a ProspectivityModel, as from train$"):
        gp.predict(make_survey(), as_model(tiny()))  # type: ignore[arg-type]
