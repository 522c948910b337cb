"""How far the features of ground are from those of the training windows."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from torch import nn

import geoprospect as gp
from geoprospect.errors import CorruptFileError, GeoprospectError, InputError
from geoprospect.models import fit_applicability
from geoprospect.models.applicability import Applicability, Reference, dissimilarity
from geoprospect.models.fit_applicability import _directions, _reference
from geoprospect.models.networks import build_network, head_of
from geoprospect.models.training import fit_networks

pytestmark = pytest.mark.usefixtures("one_thread")

GRID = gp.Grid("EPSG:32649", Affine(50, 0, 500_000, 0, -50, 4_000_000), (150, 170))
CROP = 40


def survey(seed: int = 0, times: float = 1.0) -> xr.Dataset:
    draws = np.random.default_rng(seed)
    bands = {name: (times * draws.normal(size=GRID.shape)).astype(np.float32) for name in ("a", "b")}
    return GRID.dataset(bands, {name: {"units": "ppm"} for name in bands})


def windows(n: int = 9, seed: int = 0, draw: Any = None) -> gp.Windows:
    draws = np.random.default_rng(seed)
    rows, cols = draws.integers(0, GRID.shape[0] - 44, n), draws.integers(0, GRID.shape[1] - 44, n)
    return gp.Windows(GRID, rows, cols, [0] * n, [-1] * n, (), np.empty((0, 2)), 44, CROP, draw=draw)


def as_model(*networks: nn.Module, halo: int = 0) -> gp.ProspectivityModel:
    return gp.ProspectivityModel(
        networks=networks, network="shufflenet_v2_x1_0", bands=("a", "b"), units=("ppm", "ppm"),
        offset=np.array([0.1, -0.2]), scale=np.array([1.5, 0.7]), size=44, crop=CROP, cell_size=(50.0, 50.0), seed=1,
        history=pd.DataFrame(), settings={"halo": halo},
    )  # fmt: skip


def lively(seed: int = 0) -> nn.Module:
    """Give statistics that are not those of a new network."""
    network, draws = build_network("shufflenet_v2_x1_0", 2, seed=seed), torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=draws) * 0.2)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=draws) + 0.5)
    return network.eval()


def features_of(model: gp.ProspectivityModel, number: int, data: xr.Dataset, row: int, col: int) -> Any:
    """Return what the head is given for one window."""
    values = np.stack([data[name].values.astype(np.float64) for name in model.bands])
    values = (values - model.offset[:, None, None]) / model.scale[:, None, None]
    network, kept = model.networks[number], []
    handle = head_of(network)[1].register_forward_pre_hook(lambda module, given: kept.append(given[0]))
    with torch.inference_mode():
        network(torch.from_numpy(values[None, :, row : row + CROP, col : col + CROP]))
    handle.remove()
    return kept[0][0].numpy()


def nearest(points: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([min(np.sqrt(((p - o) ** 2).sum()) for o in others) for p in points.astype(np.float64)])


# ---------------------------------------------------------------- the index


def test_the_index_is_the_distance_from_the_nearest_in_units_of_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    points, features = draws.normal(size=(30, 5)), draws.normal(size=(101, 5))
    features[7] = points[3]
    for at_once in (1, 64, 2**24):
        monkeypatch.setattr("geoprospect.models.applicability._AT_ONCE", at_once)
        found = dissimilarity(torch.from_numpy(features), torch.from_numpy(points), 2.5).numpy()
        np.testing.assert_allclose(found, nearest(features, points) / 2.5, rtol=0, atol=1e-12)
    assert found[7] == 0
    assert dissimilarity(torch.empty(0, 5), torch.empty(3, 5), 1.0).shape == (0,)


def test_small_distances_between_large_numbers_keep_their_digits() -> None:
    points = np.full((40, 64), 1000.0, dtype=np.float32)
    features = points + np.float32(0.01)
    found = dissimilarity(torch.from_numpy(features), torch.from_numpy(points), 1.0).numpy()
    np.testing.assert_allclose(found, nearest(features, points), rtol=1e-5)


def test_projections_keep_distances() -> None:
    draws = np.random.default_rng(1)
    features = np.abs(draws.normal(size=(60, 1024)))
    projected = features @ _directions(1024).numpy().T.astype(np.float64)
    upper = np.triu_indices(60, 1)
    ratio = (
        np.linalg.norm(projected[upper[0]] - projected[upper[1]], axis=1)
        / np.linalg.norm(features[upper[0]] - features[upper[1]], axis=1)
    )  # fmt: skip
    assert abs(ratio.mean() - 1) < 0.05
    assert 0.6 < ratio.min() < ratio.max() < 1.4


def test_the_threshold_leaves_out_neighbours_that_share_ground_and_what_is_far_off() -> None:
    # In a row, each beside the next but for the first two, which overlap; the last is far off among the features.
    cols = np.array([0, 4, 48, 92, 0, 48, 92, 124])
    rows = np.array([0, 0, 0, 0, 50, 50, 50, 100])
    n = len(cols)
    at = gp.Windows(GRID, rows, cols, [0] * n, [-1] * n, (), np.empty((0, 2)), 44, CROP)
    points = np.array([0, 0.1, 1, 2.5, 4.1, 5.3, 6.9, 60])[:, None].astype(np.float32)
    found = _reference(points, at)
    distance = np.abs(points - points.T)
    expected = []
    for i in range(n):
        overlapping = [abs(rows[i] - rows[j]) < 44 and abs(cols[i] - cols[j]) < 44 for j in range(n)]
        expected.append(distance[i][~np.array(overlapping)].min())
    low, high = np.quantile(expected, [0.25, 0.75])
    largest = max(d for d in expected if d <= high + 1.5 * (high - low))
    assert expected[0] == 1  # not 0.1
    assert largest < 2  # not 53.1
    assert found.scale == pytest.approx(distance[np.triu_indices(n, 1)].mean())
    assert found.threshold == pytest.approx(largest / found.scale)


@pytest.mark.parametrize("at_once", [1, 90, 1000, 10**6])  # a row, no whole number of rows, several rows, all
def test_the_reference_is_that_of_all_distances_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_applicability, "_AT_ONCE", at_once)
    held: list[int] = []

    def cdist(*args: Any) -> torch.Tensor:
        held.append(math.prod((found := between(*args)).shape))
        return found

    between = torch.cdist
    monkeypatch.setattr(torch, "cdist", cdist)
    n, draws = 83, np.random.default_rng(0)
    zooms = draws.integers(1, 3, n)
    rows, cols = draws.integers(0, 150 - 20 * zooms + 1), draws.integers(0, 170 - 20 * zooms + 1)
    at = gp.Windows(GRID, rows, cols, [0] * n, [-1] * n, (), np.empty((0, 2)), 20, 20, zooms=zooms)
    points = (1000 + draws.normal(size=(n, 64))).astype(np.float32)
    found = _reference(points, at)
    distance = np.sqrt(((points[:, None].astype(np.float64) - points) ** 2).sum(axis=2))
    left, bottom, right, top = at.bounds.T
    shared = (left[:, None] < right) & (left < right[:, None]) & (bottom[:, None] < top) & (bottom < top[:, None])
    expected = np.where(shared, np.inf, distance).min(axis=1)
    low, high = np.quantile(expected, [0.25, 0.75])
    assert found.scale == pytest.approx(distance[np.triu_indices(n, 1)].mean(), rel=1e-12)
    largest = expected[expected <= high + 1.5 * (high - low)].max()
    assert found.threshold == pytest.approx(largest / found.scale, rel=1e-9)
    assert max(held) <= max(at_once, n)


def test_the_scale_of_a_network_that_answers_all_alike_is_one() -> None:
    points = np.tile(np.linspace(1.2345, 2.2345, 64, dtype=np.float32), (300, 1))
    assert _reference(points, windows(300)).scale == 1
    points[7] *= 1 + 1e-6
    off = float(np.sqrt(((points[7].astype(np.float64) - points[0]) ** 2).sum()))
    assert _reference(points, windows(300)).scale == pytest.approx(off * 2 / 300)


def test_windows_that_all_share_ground_have_no_threshold() -> None:
    at = gp.Windows(GRID, [0, 5], [0, 5], [0, 0], [-1, -1], (), np.empty((0, 2)), 44, CROP)
    assert math.isnan(_reference(np.array([[0.0], [1.0]], dtype=np.float32), at).threshold)
    assert _reference(np.zeros((2, 1), dtype=np.float32), at).scale == 1  # never 0


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize("mode", ["window", "dense"])
def test_the_band_is_that_of_a_loop_over_windows_and_the_answers_stay_the_same(mode: str) -> None:
    dense = mode == "dense"
    networks = [lively(seed).double() for seed in ((1,) if dense else (1, 2))]
    plain, data, at = as_model(*networks, halo=64 * dense), survey(3), windows(4 if dense else 9)
    model = plain.with_applicability(gp.fit_applicability(plain, at, data, "cpu"))
    stride = 32
    found, expected = (gp.predict(which, data, stride, "cpu", mode=mode) for which in (model, plain))
    assert "dissimilarity" not in expected
    np.testing.assert_allclose(found.probability, expected.probability, rtol=0, atol=1e-6)
    areas = [area.reference(mode) for area in model.applicability or ()]
    assert found.dissimilarity.threshold == pytest.approx(np.mean([area.threshold for area in areas]))
    assert found.attrs["dissimilarity_threshold"] == found.dissimilarity.threshold
    if dense:  # the features of which have a test of their own
        return
    rows, cols = (np.column_stack([at.rows, at.cols]) + at.central_crop()).T
    for i, j in ((0, 0), (1, 2)):
        alone = []
        for number, area in enumerate(model.applicability or ()):
            directions, places = area.projection.astype(np.float64), zip(rows, cols, strict=True)
            known = np.stack([directions @ features_of(model, number, data, row, col) for row, col in places])
            np.testing.assert_allclose(known, areas[number].points, rtol=0, atol=1e-5)
            here = directions @ features_of(model, number, data, i * stride, j * stride)
            alone.append(nearest(here[None], known)[0] / areas[number].scale)
        assert found.dissimilarity.values[i, j] == pytest.approx(np.mean(alone), rel=1e-4)
        assert np.mean(alone) > 0.05


def test_in_a_dense_map_the_training_windows_lie_where_they_are_known() -> None:
    """At the rim of the survey, where its layers pad, and within, with all surroundings (288 cells)."""
    grid = gp.Grid("EPSG:32649", Affine(50, 0, 500_000, 0, -50, 4_000_000), (720, 720))
    draws = np.random.default_rng(0)
    data = grid.dataset(
        {name: draws.normal(size=grid.shape).astype(np.float32) for name in ("a", "b")},
        {name: {"units": "ppm"} for name in ("a", "b")},
    )
    # Their crops begin 2 cells further on: at rows and columns of the map.
    rows, cols = [318, 350, 286, 30, 670], [318, 286, 350, 62, 350]
    at = gp.Windows(grid, rows, cols, [0] * 5, [-1] * 5, (), np.empty((0, 2)), 44, CROP)
    model = as_model(lively(4).double(), halo=64)
    model = model.with_applicability(gp.fit_applicability(model, at, data, "cpu"))
    found = gp.predict(model, data, 32, "cpu", mode="dense").dissimilarity.values
    places = [(10, 10), (11, 9), (9, 11), (1, 2), (21, 11)]
    assert max(found[place] for place in places) < 1e-5
    others = [found[i, j] for i in range(8, 13) for j in range(8, 13) if (i, j) not in places]
    assert min(others) > 5e-4  # noise looks all alike to it, the rim does not


def test_ground_unlike_the_training_is_told_from_ground_like_it() -> None:
    plain, data = as_model(lively(1)), survey(0)
    model = plain.with_applicability(gp.fit_applicability(plain, windows(40), data, "cpu"))
    like = gp.predict(model, survey(1), 8, "cpu").dissimilarity
    unlike = gp.predict(model, survey(1, times=8), 8, "cpu").dissimilarity
    assert (like <= like.threshold).mean() > 0.9
    assert (unlike > unlike.threshold).mean() > 0.9


def test_train_fits_the_training_windows_but_not_those_held_out() -> None:
    area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    data = gp.interpolate(area.samples[["Cu", "Au"]], area.grid, "nearest")
    at = gp.sample_windows(data, area.deposits, size=8, crop=8, n_ore=60, n_barren=60, rng=0)
    call: dict[str, Any] = {"network": "shufflenet_v2_x1_0", "epochs": 1, "patience": 1, "device": "cpu", "rng": 0}
    model, plain = gp.train(at, data, **call), fit_networks(at, data, **call)
    assert model.applicability is not None
    assert plain.applicability is None
    (kept,), (alone,) = model.applicability, gp.fit_applicability(plain, at, data, "cpu")
    np.testing.assert_array_equal(kept.window.points, alone.window.points)
    assert kept.window.threshold == alone.window.threshold
    assert len(kept.window.points) == model.settings["n_windows"] < len(at)


def test_networks_of_several_draws_are_compared_with_their_own_windows() -> None:
    model, at = as_model(lively(1), lively(2)), windows(9, draw=[-1, -1, 0, 0, 0, 1, 1, 1, 1])
    areas = gp.fit_applicability(model, at, survey(), "cpu")
    assert [len(area.window.points) for area in areas] == [5, 6]
    assert all(area.dense is None for area in areas)  # trained without a halo


def test_a_network_with_a_halo_that_cannot_be_slid_knows_its_windows_by_themselves() -> None:
    model = as_model(build_network("shufflenet_v2_x1_0", 2, norm="group").eval(), halo=64)
    (area,) = gp.fit_applicability(model, windows(), survey(), "cpu")
    assert area.dense is None
    assert area.reference("dense") is area.window


# ---------------------------------------------------------------- kept with the model


def test_it_is_kept_with_the_model(tmp_path: Path) -> None:
    model = as_model(lively(1), lively(2), halo=64)
    model = model.with_applicability(gp.fit_applicability(model, windows(2), survey(), "cpu"))
    again = gp.ProspectivityModel.load(model.save(tmp_path / "model"))
    for one, other in zip(model.applicability or (), again.applicability or (), strict=True):
        np.testing.assert_array_equal(one.projection, other.projection)
        for mode in ("window", "dense"):
            np.testing.assert_array_equal(one.reference(mode).points, other.reference(mode).points)
            assert one.reference(mode)[1:] == other.reference(mode)[1:]
    found, expected = (gp.predict(which, survey(2), 32, "cpu") for which in (again, model))
    xr.testing.assert_identical(found, expected)


def test_no_threshold_stays_none(tmp_path: Path) -> None:
    area = Applicability(np.eye(3, 1024, dtype=np.float32), Reference(np.ones((2, 3), np.float32), 1.0, math.nan))
    model = as_model(lively()).with_applicability([area])
    again = gp.ProspectivityModel.load(model.save(tmp_path / "model"))
    assert again.applicability is not None
    assert math.isnan(again.applicability[0].window.threshold)


@pytest.mark.parametrize("what", ["points", "scale", "missing"])
def test_what_does_not_fit_together_is_a_corrupt_file(what: str, tmp_path: Path) -> None:
    points = np.ones((2, 4 if what == "points" else 3), np.float32)
    area = Applicability(np.ones((3, 1024), np.float32), Reference(points, 0.0 if what == "scale" else 1.0, 0.5))
    model, folder = as_model(lively()).with_applicability([area]), tmp_path / "model"
    if what != "missing":
        with pytest.raises(GeoprospectError, match="does not describe the features"):
            model.save(folder)  # which reads back what it writes
        assert not folder.exists()
        return
    model.save(folder)
    (folder / "applicability-0.safetensors").unlink()
    with pytest.raises(CorruptFileError, match="applicability-0"):
        gp.ProspectivityModel.load(folder)


def test_features_of_another_network_are_a_corrupt_file(tmp_path: Path) -> None:
    area = Applicability(np.ones((3, 7), np.float32), Reference(np.ones((2, 3), np.float32), 1.0, 0.5))
    with pytest.raises(GeoprospectError, match="training features are not those of its networks"):
        dataclasses.replace(as_model(lively()), applicability=(area,)).save(tmp_path / "model")


def test_models_without_it_are_read_as_before(tmp_path: Path) -> None:
    folder = as_model(lively()).save(tmp_path / "model")
    assert json.loads((folder / "model.json").read_text())["applicability"] is None
    assert gp.ProspectivityModel.load(folder).applicability is None


def test_what_is_not_one_for_each_network_is_refused() -> None:
    model = as_model(lively(1), lively(2))
    areas = gp.fit_applicability(model, windows(), survey(), "cpu")
    for wrong in (areas[:1], [], [1, 2]):
        with pytest.raises(InputError, match="areas: needs one Applicability for each of the 2 networks"):
            model.with_applicability(wrong)
    for none in (None, areas[0]):
        with pytest.raises(InputError, match="areas: needs one Applicability"):
            model.with_applicability(none)  # type: ignore[arg-type]
    other = as_model(build_network("resnet18", 2).eval(), build_network("resnet18", 2).eval())
    with pytest.raises(InputError, match="another number of features"):
        other.with_applicability(areas)


def test_windows_of_another_model_or_survey_and_too_few_are_refused() -> None:
    model = as_model(lively())
    with pytest.raises(InputError, match=r"windows: .* do not fit the model"):
        gp.fit_applicability(model, windows(), survey().isel(x=slice(0, 100)), "cpu")
    with pytest.raises(InputError, match="windows: draw 0 has 1, a distance needs two"):
        gp.fit_applicability(model, windows(1), survey(), "cpu")
    with pytest.raises(InputError, match="network: Sequential does not come from build_network"):
        gp.fit_applicability(as_model(nn.Sequential(nn.Conv2d(2, 2, 1))), windows(), survey(), "cpu")
