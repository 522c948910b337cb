"""The engine: tiles, what is read for them, and its answers against plain loops in float64."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import geoprospect as gp
from geoprospect.io.sources import InMemory, Packing
from geoprospect.models.dense import Dense
from geoprospect.models.networks import build_network, folded, set_halo
from geoprospect.prediction import engine
from geoprospect.prediction.engine import Engine, Tile, ground_of, reads, tiles
from geoprospect.prediction.settings import MapSettings

pytestmark = pytest.mark.usefixtures("one_thread")

BANDS = ("a", "b")


def how(stride: int, mode: Any = "window", halo: int = 0, batch: int = 7) -> MapSettings:
    return MapSettings(mode=mode, stride=stride, device="cpu", dtype="float32", batch=batch, threads=1, halo=halo)


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give statistics and biases that are not those of a new network, which hide errors."""
    draws = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=draws) * 0.2)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=draws) + 0.5)
        elif name.endswith("bias"):
            tensor.copy_(torch.randn(tensor.shape, generator=draws) * 0.1)
    return network.eval()


def as_model(*networks: nn.Module, crop: int) -> gp.ProspectivityModel:
    return gp.ProspectivityModel(
        networks=networks, network="by hand", bands=BANDS, units=("ppm", "ppm"), offset=np.array([0.3, -0.2]),
        scale=np.array([1.5, 0.7]), size=crop, crop=crop, cell_size=(50.0, 50.0), seed=1, history=pd.DataFrame(),
        settings={"halo": 64},
    )  # fmt: skip


def survey(ny: int, nx: int, holes: float = 0.0, seed: int = 0) -> xr.Dataset:
    draws = np.random.default_rng(seed)
    bands = {name: draws.normal(size=(ny, nx)).astype(np.float32) for name in BANDS}
    for values in bands.values():
        values[draws.random((ny, nx)) < holes] = np.nan
    grid = gp.Grid("EPSG:32649", Affine(50, 0, 0, 0, -50, 0), (ny, nx))
    return grid.dataset(bands, {name: {"units": "ppm"} for name in BANDS})


def scaled(model: gp.ProspectivityModel, data: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = np.stack([data[name].values.astype(np.float64) for name in model.bands])
    valid = np.isfinite(values)
    values = (values - model.offset[:, None, None]) / model.scale[:, None, None]
    return np.where(valid, values, 0), valid.all(axis=0)


def by_loop(model: gp.ProspectivityModel, data: xr.Dataset, stride: int, halo: int = 0) -> NDArray[np.float64]:
    """Every window by itself, with its context where it has some; off the survey that is 0."""
    (values, valid), crop = scaled(model, data), model.crop
    padded = np.pad(values, ((0, 0), (halo, halo), (halo, halo)))
    rows, cols = (range(0, n - crop + 1, stride) for n in valid.shape)
    each = np.full((len(model.networks), len(rows), len(cols)), np.nan)
    for (i, row), (j, col) in itertools.product(enumerate(rows), enumerate(cols)):
        if valid[row : row + crop, col : col + crop].mean() < 0.5:
            continue
        x = torch.from_numpy(padded[None, :, row : row + crop + 2 * halo, col : col + crop + 2 * halo])
        for number, network in enumerate(model.networks):
            set_halo(network, halo)
            with torch.inference_mode():
                each[number, i, j] = torch.softmax(network(x), 1)[0, 1]
            set_halo(network, 0)
    return each


def whole(model: gp.ProspectivityModel, data: xr.Dataset, chosen: MapSettings, strips: Any = None) -> dict[str, Any]:
    """Run the engine over all strips and put the tiles together; every cell must be written once."""
    source = InMemory(data)
    shape = source.grid.strided(model.crop, chosen.stride).shape
    maps: dict[str, NDArray[Any]] = {}
    written = np.zeros(shape, dtype=int)
    running = Engine(model, chosen, torch.device("cpu"))
    for strip in strips or tiles(shape, model.crop, chosen, 8 * len(BANDS), source.block):
        for tile, found in running.run(source, strip):
            written[tile.rows, tile.cols] += 1
            for name, values in found.items():
                maps.setdefault(name, np.full(shape, -1.0))[tile.rows, tile.cols] = values
    assert (written == 1).all()
    return maps


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("name", "norm", "shape", "stride"),
    [
        ("resnet18", "batch", (40, 45), 5),
        ("shufflenet_v2_x1_0", "batch", (36, 35), 1),
        ("resnet18", "group", (64, 50), 13),
    ],
)
def test_window_by_window_it_is_a_plain_loop_in_float64(
    name: str, norm: str, shape: tuple[int, int], stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [lively(build_network(name, 2, seed=seed, norm=norm), seed).double() for seed in (1, 2)]
    model, data = as_model(*networks, crop=32), survey(*shape, holes=0.25)
    monkeypatch.setitem(engine._HELD_BYTES, "cpu", 40 * 45 * 16)
    monkeypatch.setattr(engine, "_LEAST_ROWS", 1)
    monkeypatch.setattr(engine, "_WIDEST", 64)
    found, expected = whole(model, data, how(stride)), by_loop(model, data, stride)
    assert np.isfinite(expected).mean() > 0
    assert np.nanstd(expected) > 1e-4
    np.testing.assert_allclose(found["probability"], expected.mean(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["std"], expected.std(0, ddof=1), rtol=0, atol=1e-12)


def test_dense_it_is_a_plain_loop_over_windows_with_their_context_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    model = as_model(lively(build_network("shufflenet_v2_x1_0", 2, seed=1)).double(), crop=40)
    halo, n = engine.halo_of(model, 16), 3
    data = survey(40 + 16 * (n - 1) + 2 * halo, 40 + 16 * n + 2 * halo, seed=3)
    monkeypatch.setattr(engine, "side_of_part", lambda crop, settings: 20)
    found = whole(model, data, how(16, "dense", halo))["probability"][halo // 16 :, halo // 16 :]
    values, _ = scaled(model, data)
    set_halo(model.networks[0], halo)
    for i, j in ((0, 0), (n - 1, n)):
        x = torch.from_numpy(values[None, :, 16 * i : 16 * i + 40 + 2 * halo, 16 * j : 16 * j + 40 + 2 * halo])
        with torch.inference_mode():
            alone = torch.softmax(model.networks[0](x), 1)[0, 1].item()
        assert found[i, j] == pytest.approx(alone, abs=1e-12)


def test_a_dense_map_is_the_same_whatever_its_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    model = as_model(lively(build_network("shufflenet_v2_x1_0", 2)).double(), crop=40)
    chosen, data = how(32, "dense", engine.halo_of(model, 32)), survey(260, 230, holes=0.2)
    expected = whole(model, data, chosen)["probability"]
    assert np.nanstd(expected) > 1e-4
    shape = expected.shape
    for rows, cols, side in ((3, 100, 100), (5, 4, 2)):
        cut = [
            [Tile(r, min(r + rows, shape[0]), c, min(c + cols, shape[1])) for r in range(0, shape[0], rows)]
            for c in range(0, shape[1], cols)
        ]
        monkeypatch.setattr(engine, "side_of_part", lambda crop, settings, side=side: side)
        again = whole(model, data, chosen, cut)["probability"]
        np.testing.assert_allclose(again, expected, rtol=0, atol=1e-12)
    assert again.tobytes() == whole(model, data, chosen, cut)["probability"].tobytes()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "googlenet", "shufflenet_v2_x1_0"])
def test_folding_the_norms_changes_rounding_only_and_leaves_the_network(name: str) -> None:
    network = lively(build_network(name, 3, seed=2)).double()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fused = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), network(x), rtol=0, atol=1e-12)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_in_mixed_precision_the_head_computes_in_that_of_its_weights() -> None:
    network = folded(lively(build_network("resnet18", 2)))
    x = torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        mixed = network(x)
    with torch.inference_mode():
        full = network(x)
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - full).abs().max() < 0.05


# ---------------------------------------------------------------- tiles, and what is read for them


@given(
    ny=st.integers(20, 400), nx=st.integers(20, 400), crop=st.integers(1, 20), stride=st.integers(1, 40),
    block=st.tuples(st.integers(1, 64), st.integers(1, 64)), held=st.integers(1, 200_000), widest=st.integers(1, 300),
    most=st.integers(1, 10**6), north=st.integers(0, 80),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_tiles_cover_the_map_once_and_have_the_rows_that_they_need(
    ny: int, nx: int, crop: int, stride: int, block: tuple[int, int], held: int, widest: int, most: int, north: int
) -> None:
    shape, chosen = ((ny - crop) // stride + 1, (nx - crop) // stride + 1), how(stride)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_LEAST_ROWS", 1)
        patch.setitem(engine._HELD_BYTES, "cpu", held)
        patch.setattr(engine, "_READ_BYTES", held // 2)
        patch.setattr(engine, "_WIDEST", widest)
        patch.setitem(engine._MOST_CELLS, "cpu", most)
        strips = tiles(shape, crop, chosen, 8, block)
    covered = np.zeros(shape, dtype=int)
    for strip in strips:
        assert len({(tile.left, tile.right) for tile in strip}) == 1
        have, times = set(), np.zeros(ny, dtype=int)
        for tile, rows, cols in reads(strip, crop, chosen, (ny, nx), block, north):
            assert tile.shape[0] == 1 or tile.shape[0] * tile.shape[1] * crop**2 <= most
            covered[tile.rows, tile.cols] += 1
            times[rows] += 1
            have |= set(range(*rows.indices(ny)))
            needed, across = ground_of(tile, crop, chosen, (ny, nx))
            assert set(range(*needed.indices(ny))) <= have
            assert (across.start, across.stop) == (cols.start, cols.stop)
            assert rows.stop == ny or (rows.stop - north) % block[0] == 0 or rows.start == rows.stop
        assert times.max() == 1  # no row twice
    assert (covered == 1).all()


def test_a_survey_of_any_size_is_read_nearly_once_and_needs_the_same_memory() -> None:
    crop, bands = 224, 8
    for mode, stride, halo, most in (("window", 32, 0, 1.05), ("window", 256, 0, 1.05), ("dense", 16, 224, 1.30)):
        chosen, held = how(stride, mode, halo), []
        for side in (3_072, 9_000, 20_000, 50_000):
            n = (side - crop) // stride + 1
            strips = tiles((n, n), crop, chosen, 4 * bands, (512, 512))
            read, largest = 0, 0
            for strip in strips:
                for tile, rows, cols in reads(strip, crop, chosen, (side, side), (512, 512)):
                    blocks = -(-cols.stop // 512) * 512 - cols.start // 512 * 512  # a block is read whole
                    read += (rows.stop - rows.start) * min(blocks, side)
                    top = ground_of(tile, crop, chosen, (side, side))[0].start
                    largest = max(largest, (rows.stop - top) * (cols.stop - cols.start) * 4 * bands)
            assert read <= most * side**2, (mode, side)
            held.append(largest)
        if mode == "window":
            assert max(held) <= engine._HELD_BYTES["cpu"]


@pytest.mark.parametrize("mode", ["window", "dense"])
@pytest.mark.parametrize(
    ("bands", "block"),
    [(5, (4096, 4096)), (20, (512, 512)), (40, (512, 512)), (10, (30_000, 10_000)), (8, (1, 40_000))],
)
def test_many_bands_and_large_blocks_make_strips_narrow_and_not_tiles_tiny(
    bands: int, block: tuple[int, int], mode: Any
) -> None:
    crop, stride, shape = 64, 8, (30_000, 10_000)
    chosen = how(stride, mode, 256 if mode == "dense" else 0)
    block = engine.readable(block, shape, 4 * bands, chosen)
    strips = tiles(((shape[0] - crop) // stride + 1, (shape[1] - crop) // stride + 1), crop, chosen, 4 * bands, block)
    for strip in strips:
        if mode == "dense":
            assert len(strip) <= 30_000 / engine._LEAST_ROWS + 1
        for tile, rows, cols in reads(strip, crop, chosen, shape, block):
            windows = tile.shape[0] * tile.shape[1]
            tall = tile.shape[0] * stride >= engine._LEAST_ROWS or windows * crop**2 > engine._MOST_CELLS["cpu"] / 2
            assert tall or tile is strip[-1]
            top = ground_of(tile, crop, chosen, shape)[0].start
            held = (rows.stop - top) * (cols.stop - cols.start) * 4 * bands
            assert held <= 1.2 * engine._held_bytes(chosen)


def test_dense_no_ground_is_computed_beyond_the_windows_with_data(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = as_model(lively(build_network("shufflenet_v2_x1_0", 2)).double(), crop=40), survey(200, 232)
    for band in data.data_vars.values():
        band[:, :104] = np.nan
        band[160:] = np.nan
    halo, seen = engine.halo_of(model, 16), []
    slide = Engine._slid

    def watched(self: Engine, number: int, dense: Dense, stack: Any, places: Any) -> Any:
        seen.append(places)
        return slide(self, number, dense, stack, places)

    monkeypatch.setattr(Engine, "_slid", watched)
    found = whole(model, data, how(16, "dense", halo))
    wanted = found["valid"] >= 0.5
    rows, cols = (16 * at for at in wanted.nonzero())
    assert seen == [[(rows.min(), rows.max()), (cols.min(), cols.max())]]
    assert cols.min() > 64
    monkeypatch.setattr("geoprospect.prediction.engine._with_data", lambda tile, wanted: tile)
    expected = whole(model, data, how(16, "dense", halo))
    np.testing.assert_allclose(found["probability"], expected["probability"], rtol=0, atol=1e-12)
    assert len(seen) == 2


def test_a_tile_without_data_is_not_brought_to_the_device_and_no_network_sees_what_is_no_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = survey(64, 40)
    data["a"][20:] = np.nan
    data["b"][20:] = np.nan
    taken: list[int] = []
    add = engine.Ground.add
    monkeypatch.setattr(engine.Ground, "add", lambda self, rows: (taken.append(rows.shape[1]), add(self, rows))[1])
    monkeypatch.setitem(engine._HELD_BYTES, "cpu", 1)
    monkeypatch.setattr(engine, "_LEAST_ROWS", 1)
    network = lively(build_network("shufflenet_v2_x1_0", 2))
    seen: list[torch.Tensor] = []
    network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    found = whole(as_model(network, crop=8), data, how(4))
    assert np.isfinite(found["probability"]).sum() == (found["valid"] >= 0.5).sum() > 0
    n_strips = len(tiles((15, 9), 8, how(4), 16))
    assert sum(taken) == 20 * n_strips  # in each of them 8 and then 4 by 4
    assert (found["valid"][5:] == 0).all()


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
def test_packed_values_are_unpacked_and_scaled_as_in_training(dtype: str) -> None:
    draws = np.random.default_rng(0)
    kept = draws.integers(0, 100, (2, 30, 20)).astype(dtype)
    model = as_model(lively(build_network("resnet18", 2)), crop=8)
    ground = engine.Ground(
        model, 30, 20, torch.device("cpu"), torch.float32, [Packing(7.0, 0.5, -3.0), Packing(None)]
    )  # fmt: skip
    ground.add(torch.from_numpy(kept[:, :18]))
    ground.go_down(10)
    ground.add(torch.from_numpy(kept[:, 18:]))
    values = kept.astype(np.float32)
    values[0] = np.where(kept[0] == 7, np.nan, values[0] * np.float32(0.5) + np.float32(-3))
    data = survey(30, 20)
    data["a"][:], data["b"][:] = values
    stack, valid = model.stack(data)
    np.testing.assert_array_equal(ground.stack.numpy(), stack[:, 10:])
    np.testing.assert_array_equal(ground.valid.numpy(), valid[10:])
    assert not valid.all()


def test_dense_networks_of_the_engine_are_copies() -> None:
    network = lively(build_network("shufflenet_v2_x1_0", 2))
    model = as_model(network, crop=40)
    made = Engine(model, how(8, "dense", engine.halo_of(model, 8)), torch.device("cpu"))
    assert isinstance(made._networks[0], Dense)
    mine = {id(parameter) for parameter in network.parameters()}
    assert not mine & {id(parameter) for parameter in made._networks[0].parameters()}


# ---------------------------------------------------------------- on a GPU


def on_gpu(model: gp.ProspectivityModel, data: xr.Dataset, stride: int, mode: Any, precision: str) -> NDArray[Any]:
    halo = engine.halo_of(model, stride) if mode == "dense" else 0
    chosen = MapSettings(mode=mode, stride=stride, device="cuda", dtype=precision, batch=16, threads=1, halo=halo)
    source = InMemory(data)
    strips = tiles(source.grid.strided(model.crop, stride).shape, model.crop, chosen, 8)
    return np.concatenate(
        [
            found["probability"].ravel()
            for strip in strips
            for _, found in Engine(model, chosen, torch.device("cuda")).run(source, strip)
        ]
    )


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "googlenet", "shufflenet_v2_x1_0"])
@pytest.mark.parametrize("mode", ["window", "dense"])
@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_map_of_the_cpu_and_in_bfloat16_nearly_the_same(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = lively(build_network(name, 2, seed=4))
    model, data = as_model(network, crop=64), survey(500, 450, holes=0.1)
    halo = engine.halo_of(model, 16) if mode == "dense" else 0
    here = whole(model, data, how(16, mode, halo))["probability"].ravel()
    full, mixed = (on_gpu(model, data, 16, mode, precision) for precision in ("float32", "bfloat16"))
    known = np.isfinite(here)
    assert (np.isfinite(full) == known).all()
    np.testing.assert_allclose(full[known], here[known], rtol=0, atol=1e-4)
    assert np.abs(mixed - full)[known].max() < 0.02
    assert mixed.tobytes() == on_gpu(model, data, 16, mode, "bfloat16").tobytes()
    monkeypatch.setattr(engine, "_WORTH_RECORDING", 10**9)
    # Not the same bytes: the last batch of a tile is recorded in the size of the others, and not else.
    np.testing.assert_allclose(on_gpu(model, data, 16, mode, "bfloat16"), mixed, rtol=0, atol=2e-3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_networks_whose_norms_stay_are_slid_in_mixed_precision_too() -> None:
    model, data = as_model(lively(build_network("resnet18", 2, norm="group")), crop=64), survey(300, 250)
    full, mixed = (on_gpu(model, data, 8, "window", precision) for precision in ("float32", "bfloat16"))
    assert 0 < np.abs(mixed - full).max() < 0.02
