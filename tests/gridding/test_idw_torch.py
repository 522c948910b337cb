"""The gridding kernel for torch devices against a slow float64 reference."""

import itertools
import re

import numpy as np
import pytest
import torch
from gridding_truth import DX, DY, LAYOUTS, NORTH, WEST, layout, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from geoprospect.errors import DeviceError
from geoprospect.gridding import _idw_torch

CPU = torch.device("cpu")

on_every_device = pytest.mark.parametrize(
    "device",
    [
        CPU,
        pytest.param(
            torch.device("cuda"),
            marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")],
        ),
    ],
    ids=str,
)


def grid(points, values, shape, k=12, power=2.0, geometry=(WEST, NORTH, DX, DY), device=CPU, **options):
    west, north, dx, dy = geometry
    found = _idw_torch.idw_on_device(points, values, (west, north), (dx, dy), shape, k, power, device, **options)
    assert found.shape == (values.shape[1], *shape)
    assert found.dtype == torch.float32
    assert found.device.type == device.type
    return found.cpu().numpy()


def assert_exact(points, values, shape, device=CPU, memory=None, **options):
    found = grid(points, values, shape, device=device, memory=memory, **options)
    mean, size = reference(points, values, shape, **options)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(mean))
    error = np.abs(found - mean) / np.where(size > 0, size, 1)
    assert np.nanmax(error, initial=0) <= 2e-6
    return found


def holes(values, share, rng):
    values[rng.random(values.shape) < share] = np.nan
    return values


@pytest.fixture
def small_blocks(monkeypatch):
    """Many tiles, chunks and sums on a small grid."""
    for name, value in {"SPAN": 2, "SQUARE": 16, "CHUNK": 64, "SUMMED": 32, "SLAB": 128}.items():
        monkeypatch.setattr(_idw_torch, name, value)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=120)
@given(
    st.sampled_from(LAYOUTS),
    st.integers(1, 120),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([1, 2, 3, 12, 40, 1000, None, None]),
    st.sampled_from([2.0, 2.0, 1.0, 0.5, 3.5, 12.0]),
    st.sampled_from([np.inf, np.inf, 150.0, 20.0]),
    st.sampled_from([1, 1, 3]),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.integers(0, 2**32 - 1),
)
def test_every_layout_agrees_with_the_reference(name, n, shape, k, power, radius, min_samples, missing, seed):
    rng = np.random.default_rng(seed)
    points = layout(name, n, shape, rng)
    values = rng.normal(0, 1, (len(points), 5)) * 10.0 ** rng.integers(-3, 4)  # both signs
    values = holes(values, missing, rng)
    assert_exact(points, values, shape, k=k, power=power, radius=radius, min_samples=min_samples)


@on_every_device
@pytest.mark.parametrize("k", [1, 12, 300, None])
def test_blocks_of_the_real_size_agree_with_the_reference(k, device):
    rng, shape = np.random.default_rng(0), (70, 45)
    for name in LAYOUTS:
        points = layout(name, 400, shape, rng)
        values = rng.lognormal(size=(len(points), 3)) * [1e-3, 1e4, -1]
        values[:, 2:] = holes(values[:, 2:], 0.4, rng)
        assert_exact(points, values, shape, k=k, device=device)


@on_every_device
@pytest.mark.parametrize("spacing", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_ties_on_a_lattice_go_by_the_index_of_the_sample(spacing, offset, device):
    rng = np.random.default_rng(spacing)
    shape, geometry = (37, 41), (0.0, 37.0, 1.0, -1.0)
    points = np.array(np.meshgrid(np.arange(0, 41, spacing), np.arange(0, 37, spacing))).reshape(2, -1).T + offset
    points = points[rng.permutation(len(points))]
    values = holes(rng.normal(size=(len(points), 3)), 0.1, rng)
    assert_exact(points, values, shape, k=7, geometry=geometry, device=device)


@on_every_device
@pytest.mark.parametrize("k", [12, None])
def test_ten_thousand_samples_in_one_block_agree_with_the_reference(k, device):
    rng, shape = np.random.default_rng(0), (12, 24)
    cluster = (WEST + 8 * DX, NORTH + 8 * DY) + rng.uniform(-5, 5, (10_000, 2)) * DX
    points = np.r_[cluster, layout("scattered", 50, shape, rng)]
    assert_exact(points, rng.normal(size=(len(points), 2)), shape, k=k, device=device)


@on_every_device
@pytest.mark.parametrize("k", [12, None])
def test_a_grid_as_wide_as_the_earth_agrees_with_the_reference(k, device):
    rng = np.random.default_rng(1)
    geometry = (-2e7, 1e7, 5e5, -5e5)
    points = rng.uniform(-1, 1, (200, 2)) * (2e7, 1e7)
    assert_exact(points, rng.lognormal(size=(200, 3)), (40, 80), k=k, geometry=geometry, device=device)


@on_every_device
@pytest.mark.parametrize("k", [5, None])
def test_an_element_that_a_coincident_sample_lacks_takes_the_others(k, device):
    rng = np.random.default_rng(2)
    at = rng.permutation(30 * 30)[:60]
    points = np.array([WEST, NORTH]) + np.array([DX, DY]) * (np.column_stack([at % 30, at // 30]) + 0.5)
    points = np.r_[points, points[:20] + 1e-7]  # and one that all but coincides
    values = rng.lognormal(size=(80, 4)).astype(np.float32).astype(np.float64)
    values[:60:2, 1] = values[:40, 2] = np.nan
    found = assert_exact(points, values, (30, 30), k=k, device=device)
    np.testing.assert_array_equal(found[0, at // 30, at % 30], values[:60, 0])
    there = ~np.isnan(values[:60, 1])
    np.testing.assert_array_equal(found[1, at // 30, at % 30][there], values[:60, 1][there])


@on_every_device
@pytest.mark.parametrize("power", [0.3, 4.0, 60.0, 400.0])
def test_any_power_agrees_with_the_reference_when_all_samples_count(power, device):
    rng = np.random.default_rng(3)
    points = layout("scattered", 300, (30, 30), rng)
    values = holes(rng.normal(size=(300, 3)), 0.5, rng)
    values[3:, 2] = np.nan  # far from most cells
    assert_exact(points, values, (30, 30), k=None, power=power, device=device)


def test_samples_a_hand_apart_on_a_wide_grid_agree_with_the_reference():
    rng = np.random.default_rng(4)
    points = np.array([WEST, NORTH]) + rng.uniform(0, 0.1, (50, 2))
    assert_exact(points, rng.normal(size=(50, 2)), (30, 30), k=None, power=4.0, geometry=(WEST, NORTH, 1e5, -1e5))


@on_every_device
@pytest.mark.parametrize("k", [12, None])
def test_sums_over_many_samples_of_one_sign_stay_exact(k, device):
    """Far from all samples their weights are about the same, and float32 would lose most."""
    rng = np.random.default_rng(5)
    points = np.array([WEST - 1e4, NORTH]) + rng.uniform(-500, 500, (10_000, 2))
    assert_exact(points, rng.uniform(1, 2, (10_000, 2)), (5, 9), k=k and 5000, device=device)


@pytest.mark.parametrize("k", [12, None])
@pytest.mark.parametrize("memory", [1, 20_000, 300_000])
def test_a_tight_budget_gives_the_same_result(memory, k):
    rng = np.random.default_rng(6)
    points, shape = layout("cluster", 100, (40, 50), rng), (40, 50)
    values = holes(rng.normal(size=(len(points), 4)), 0.2, rng)
    found = assert_exact(points, values, shape, k=k, memory=memory)
    np.testing.assert_allclose(found, grid(points, values, shape, k=k), rtol=1e-6, atol=1e-6)


def test_a_small_budget_is_kept(monkeypatch):
    """No matrix that is sorted is larger than the budget allows, unless it is one row of one block."""
    rng = np.random.default_rng(7)
    sizes, average = [], _idw_torch._average
    monkeypatch.setattr(_idw_torch, "_average", lambda *a: sizes.append((a, average(*a))) or sizes[-1][1])
    points = layout("cluster", 400, (100, 100), rng)
    assert_exact(points, rng.normal(size=(len(points), 1)), (100, 100), memory=10**6)
    pairs = [x.numel() * y.shape[1] * points.shape[1] for (points, _, x, y, _), _ in sizes]
    assert max(pairs) * _idw_torch.PAIR <= 10**6
    assert np.mean(pairs) * _idw_torch.PAIR > 0.5 * 10**6  # and it is made use of


class OutOfMemory:
    """Runs out of memory in some calls one after the other, and works in all others."""

    def __init__(self, work, times, first=0):
        self.work, self.first, self.last, self.calls = work, first, first + times, 0

    def __call__(self, *args, **options):
        self.calls += 1
        if self.first < self.calls <= self.last:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.work(*args, **options)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize(
    ("k", "name"), [(12, "nonzero"), (12, "_average"), (12, "bmm"), (None, "bmm"), (None, "_relative")]
)
def test_where_memory_runs_out_half_as_much_is_tried(k, name, times, monkeypatch, caplog):
    rng = np.random.default_rng(8)
    points = layout("cell centres", 100, (40, 50), rng)
    values = holes(rng.normal(size=(100, 3)), 0.2, rng)
    place = {"bmm": torch, "nonzero": torch.Tensor}.get(name, _idw_torch)
    failing = OutOfMemory(getattr(place, name), times, first=1)  # amid the work
    with caplog.at_level("INFO", logger="geoprospect"), monkeypatch.context() as patch:
        patch.setattr(place, name, lambda *args: failing(*args))
        found = grid(points, values, (40, 50), k=k)
    assert failing.calls > failing.last
    assert len(caplog.records) == times
    assert "134217728" in caplog.text
    np.testing.assert_allclose(found, grid(points, values, (40, 50), k=k), rtol=1e-6)


@pytest.mark.parametrize("name", ["bmm", "full"])
@pytest.mark.parametrize("k", [12, None])
def test_a_device_without_any_memory_is_an_error_with_the_numbers_and_the_cure(k, name, monkeypatch):
    monkeypatch.setattr(torch, name, OutOfMemory(None, 10**9))
    points = layout("scattered", 30, (10, 11), np.random.default_rng(9))
    with pytest.raises(DeviceError, match="device='cpu'") as caught:
        grid(points, np.ones((30, 2)), (10, 11), k=k)
    assert re.search(r"no memory for [\d,]+ bytes beside|30 samples and 2 elements of 10 x 11", str(caught.value))
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


@pytest.mark.parametrize("name", ["bmm", "_relative"])
def test_any_other_failure_goes_through(name, monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(torch if name == "bmm" else _idw_torch, name, broken)
    with pytest.raises(RuntimeError, match="illegal"):
        grid(layout("scattered", 30, (10, 11), np.random.default_rng(9)), np.ones((30, 2)), (10, 11))


@on_every_device
@pytest.mark.parametrize("k", [12, None])
def test_any_part_of_a_grid_is_that_of_the_whole(k, device):
    rng = np.random.default_rng(10)
    points, shape = layout("scattered", 400, (150, 170), rng), (150, 170)
    values = holes(rng.normal(size=(400, 5)), 0.2, rng)
    whole = grid(points, values, shape, k=k, device=device)
    for row, col, height, width in [(0, 0, 64, 64), (1, 1, 149, 169), (63, 65, 2, 3), (149, 0, 1, 170)]:
        part = grid(points, values, (height, width), k=k, device=device, first=(row, col))
        same = whole[:, row : row + height, col : col + width]
        np.testing.assert_allclose(part, same, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("n", "k", "side"), [(7234, 12, 16), (7234, 1, 4), (7234, 40, 32), (400, 12, 32), (10**6, 12, 4)]
)
def test_the_denser_the_samples_the_smaller_the_blocks(n, k, side):
    points = np.random.default_rng(0).uniform(0, 3072, (n, 2))
    assert _idw_torch._side(points, k, (1.0, -1.0)) == side
    assert _idw_torch._side(points * 1e5, k, (1e5, -1e5)) == side


def test_a_part_far_inside_a_grid_has_the_tiles_of_the_whole():
    cells = _idw_torch.Cells((0.0, 0.0), (1.0, -1.0), (20, 9), (101, 47), 4, CPU)
    assert cells.y.flatten()[[0, -1]].tolist() == [-100.5, -123.5]
    assert cells.x.flatten()[[0, -1]].tolist() == [44.5, 55.5]
    rows, cols = zip(*cells.tiles(3), strict=True)
    assert list(dict.fromkeys((r.start, r.stop) for r in rows)) == [(0, 2), (2, 5), (5, 6)]
    assert list(dict.fromkeys((c.start, c.stop) for c in cols)) == [(0, 1), (1, 3)]


@on_every_device
@pytest.mark.parametrize("k", [12, None])
def test_two_runs_give_the_same_bytes(k, device):
    rng = np.random.default_rng(11)
    points = layout("twice", 600, (90, 80), rng)
    values = holes(rng.normal(size=(600, 6)), 0.2, rng)
    once, again = (grid(points, values, (90, 80), k=k, device=device).tobytes() for _ in range(2))
    assert once == again


@on_every_device
@pytest.mark.parametrize("k", [3, None])
def test_a_sample_at_the_radius_counts_and_one_beyond_does_not(k, device):
    points, values = np.array([[WEST + 3.5 * DX, NORTH + 0.5 * DY]]), np.array([[7.0]])
    reach = abs(points[0, 0] - (WEST + 0.5 * DX))
    assert grid(points, values, (1, 8), k=k, radius=reach, device=device)[0, 0, 0] == 7
    assert np.isnan(grid(points, values, (1, 8), k=k, radius=reach * 0.999, device=device)[0, 0, 0])
    assert np.isnan(grid(points, values, (1, 8), k=k, radius=DX / 9, device=device)[0, 0, :3]).all()


def test_the_fewest_samples_are_counted_even_where_their_weights_vanish():
    """On a sample the others have weight 0 and still count."""
    points = np.array([[WEST + 0.5 * DX, NORTH + 0.5 * DY], [WEST + 1.5 * DX, NORTH + 0.5 * DY]])
    found = grid(points, np.array([[5.0], [9.0]]), (1, 20), min_samples=2, radius=3 * DX)
    assert found[0, 0, 0] == 5
    assert np.isnan(found[0, 0, 10:]).all()


@pytest.mark.parametrize("k", [12, None])
def test_an_element_without_values_is_nan_and_leaves_the_others_alone(k):
    rng = np.random.default_rng(12)
    points, values = layout("scattered", 30, (20, 20), rng), rng.normal(size=(30, 3))
    alone = grid(points, values[:, [0, 2]], (20, 20), k=k)
    values[:, 1] = np.nan
    found = grid(points, values, (20, 20), k=k)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], alone)


@pytest.mark.parametrize("k", [12, None])
@pytest.mark.parametrize("n", [0, 5])
def test_without_any_value_all_is_nan(n, k):
    assert np.isnan(grid(np.zeros((n, 2)), np.full((n, 3), np.nan), (4, 5), k=k)).all()


@pytest.mark.parametrize("k", [12, None])
def test_an_element_that_is_0_everywhere_stays_0(k):
    points = layout("scattered", 30, (20, 20), np.random.default_rng(13))
    np.testing.assert_array_equal(grid(points, np.zeros((30, 2)), (20, 20), k=k), 0)


def settings_of_products():
    """Return what holds for the products of float32 matrices; torch before 2.9 has one setting for all."""
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        return [torch.get_float32_matmul_precision()]
    return [getattr(torch.backends, name).matmul.fp32_precision for name in ("cuda", "mkldnn")]


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_are_in_full_precision_and_the_setting_of_the_caller_stays(precision, monkeypatch):
    points, values = layout("scattered", 200, (20, 20), np.random.default_rng(14)), np.full((200, 1), 1 / 3)
    seen, bmm = [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *args: seen.append(settings_of_products()) or bmm(*args))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        wanted = settings_of_products()
        assert_exact(points, values, (20, 20), k=None)
        assert settings_of_products() == wanted
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(itertools.chain(*seen)) <= {"ieee", "highest"}
    assert seen


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_tf32_does_not_reach_a_gpu_that_allows_it():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        rng = np.random.default_rng(15)
        points = layout("scattered", 2000, (60, 60), rng)
        assert_exact(points, rng.normal(size=(2000, 16)), (60, 60), k=None, device=torch.device("cuda"))
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("k", [12, None])
def test_a_gpu_keeps_the_budget(k):
    """Beside samples, result, one tile and the workspace of the products a step takes no more than it may."""
    rng = np.random.default_rng(16)
    points, values = layout("scattered", 5000, (1000, 1000), rng), rng.normal(size=(5000, 2))
    for memory in (32 * 2**20, 256 * 2**20):
        torch.cuda.reset_peak_memory_stats()
        grid(points, values, (1000, 1000), k=k, device=torch.device("cuda"), memory=memory)
        assert torch.cuda.max_memory_allocated() < memory + 128 * 2**20
