"""The gathering kernel, against plain slices."""

import contextlib
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from geoprospect.models import _patches
from geoprospect.models._patches import channels_last, gather

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def numbered_stack(n_bands: int, ny: int, nx: int) -> NDArray[np.float32]:
    """Every cell of every band has a number of its own."""
    return np.arange(n_bands * ny * nx, dtype=np.float32).reshape(n_bands, ny, nx)


def by_slices(
    stack: NDArray[np.float32], rows: list[int], cols: list[int], size: int, flips: list[tuple[bool, bool]]
) -> NDArray[np.float32]:
    patches = []
    for row, col, (upside_down, mirrored) in zip(rows, cols, flips, strict=True):
        patch = stack[:, row : row + size, col : col + size]
        patch = patch[:, ::-1] if upside_down else patch
        patches.append(patch[:, :, ::-1] if mirrored else patch)
    return np.stack(patches)


def by_reference(
    stack: NDArray[np.float64], rows: list[int], cols: list[int], size: int, turns: list[tuple[bool, bool, bool]],
    zooms: list[int], halo: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Cut out of a raster with wide margins of 0, mean by mean, then turned."""
    margin = 60
    wide = np.pad(stack, ((0, 0), (margin, margin), (margin, margin)))
    patches = []
    for row, col, (upside_down, mirrored, swapped), zoom in zip(rows, cols, turns, zooms, strict=True):
        width = size + 2 * halo
        top, left = row - halo * zoom + margin, col - halo * zoom + margin
        block = wide[:, top : top + width * zoom, left : left + width * zoom]
        patch = block.reshape(len(stack), width, zoom, width, zoom).mean(axis=(2, 4))
        patch = patch[:, ::-1] if upside_down else patch
        patch = patch[:, :, ::-1] if mirrored else patch
        patches.append(patch.transpose(0, 2, 1) if swapped else patch)
    return np.stack(patches)


@st.composite
def places(draw: st.DrawFn) -> tuple[Any, ...]:
    size, halo, n = draw(st.integers(1, 6)), draw(st.integers(0, 3)), draw(st.integers(1, 5))
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 11)), draw(st.integers(1, 11))
    rows, cols = (draw(st.lists(st.integers(-9, 14), min_size=n, max_size=n)) for _ in range(2))
    turns = draw(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=n, max_size=n))
    zooms = draw(st.lists(st.integers(1, 3), min_size=n, max_size=n))
    return shape, rows, cols, size, turns, zooms, halo


@pytest.mark.parametrize("layout", [lambda stack: stack, channels_last], ids=["band by band", "cell by cell"])
@given(places())
def test_patches_are_means_of_the_stack_turned_as_asked_and_0_off_the_raster(
    layout: Callable[[Tensor], Tensor], case: tuple[Any, ...]
) -> None:
    shape, rows, cols, size, turns, zooms, halo = case
    stack = np.random.default_rng(0).normal(size=shape)
    upside_down, mirrored, swapped = torch.tensor(turns).T
    expected = by_reference(stack, rows, cols, size, turns, zooms, halo)
    for dtype, close in ((np.float64, 1e-14), (np.float32, 1e-6)):
        found = gather(
            layout(torch.from_numpy(stack.astype(dtype))), torch.tensor(rows), torch.tensor(cols), size,
            (upside_down, mirrored), swapped, zooms=np.array(zooms), halo=halo,
        ).numpy()  # (B, C, H, W)  # fmt: skip
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=close)


def test_patches_without_zoom_are_the_cells_themselves_bit_for_bit() -> None:
    stack = numbered_stack(2, 9, 8)
    turns = [(bool(k & 1), bool(k & 2), bool(k & 4)) for k in range(8)]
    flips = torch.tensor(turns).T
    at = torch.arange(8) % 5
    found = gather(torch.from_numpy(stack), at, at, 4, (flips[0], flips[1]), flips[2]).numpy()
    expected = by_reference(stack, at.tolist(), at.tolist(), 4, turns, [1] * 8, 0)
    np.testing.assert_array_equal(found, expected)
    assert len({patch.tobytes() for patch in gather(torch.from_numpy(stack), at * 0, at * 0, 4, (flips[0], flips[1]),
                                                    flips[2]).numpy()}) == 8  # fmt: skip


@pytest.mark.parametrize("quarter", range(4))
def test_flips_and_exchange_together_make_the_quarter_turns_of_numpy(quarter: int) -> None:
    """What the training draws without mirror images: exchange when odd, and the flips that go with it."""
    swapped, half = bool(quarter % 2), quarter >= 2
    stack, at = numbered_stack(1, 5, 5), torch.tensor([0])
    flips = (torch.tensor([half]), torch.tensor([half != swapped]))
    found = gather(torch.from_numpy(stack), at, at, 5, flips, torch.tensor([swapped]))
    np.testing.assert_array_equal(found[0, 0].numpy(), np.rot90(stack[0], quarter))


def test_patches_without_flips_lie_as_in_the_stack_up_to_its_last_corner() -> None:
    stack = numbered_stack(2, 7, 9)
    rows, cols = [0, 0, 4, 4], [0, 6, 0, 6]  # the four corners
    found = gather(torch.from_numpy(stack), torch.tensor(rows), torch.tensor(cols), 3)
    np.testing.assert_array_equal(found.numpy(), by_slices(stack, rows, cols, 3, [(False, False)] * 4))


def test_the_first_flip_turns_rows_and_the_second_columns() -> None:
    stack, at = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([0, 0])
    found = gather(stack, at, at, 2, (torch.tensor([True, False]), torch.tensor([False, True])))
    assert found[:, 0].tolist() == [[[3, 4], [1, 2]], [[2, 1], [4, 3]]]


def test_patches_are_copies_in_the_layout_of_the_stack_and_leave_it_alone() -> None:
    stack = torch.zeros(3, 8, 8)
    rows, cols, zooms = torch.tensor([1, 2]), torch.tensor([3, 4]), np.array([1, 2])
    for more in ({}, {"zooms": zooms}):
        plain, last = gather(stack, rows, cols, 2, **more), gather(channels_last(stack), rows, cols, 2, **more)
        assert plain.shape == last.shape == (2, 3, 2, 2)
        assert plain.is_contiguous()
        assert last.is_contiguous(memory_format=torch.channels_last)
        plain += 1
    assert stack.abs().sum() == 0


def test_the_stack_by_cells_is_the_same_stack() -> None:
    stack = torch.from_numpy(numbered_stack(3, 4, 5))
    last = channels_last(stack)
    assert torch.equal(last, stack)
    assert last.stride() == (1, 15, 3)
    assert channels_last(last).data_ptr() == last.data_ptr()


def test_a_patch_beyond_the_edge_is_0_there_and_no_neighbouring_row() -> None:
    found = gather(torch.ones(1, 5, 5), torch.tensor([2, -1]), torch.tensor([3, -4]), 3)
    assert found[0, 0].tolist() == [[1, 1, 0]] * 3
    assert found[1].abs().sum() == 0
    # Not even where the cell that is not there would be one without a number.
    assert gather(torch.full((1, 2, 2), torch.nan), torch.tensor([5]), torch.tensor([5]), 1).tolist() == [[[[0]]]]


def test_a_number_that_is_none_reaches_only_the_cells_that_hold_it() -> None:
    stack = torch.zeros(1, 6, 6)
    stack[0, 2, 2] = torch.nan
    found = gather(stack, torch.tensor([0]), torch.tensor([0]), 3, zooms=np.array([2]))
    assert torch.isnan(found[0, 0]).nonzero().tolist() == [[1, 1]]


@pytest.mark.cuda
@needs_gpu
def test_patches_on_a_gpu_are_those_of_the_cpu() -> None:
    stack = torch.from_numpy(numbered_stack(3, 20, 30))
    rows, cols = torch.tensor([0, 5, 12, -3]), torch.tensor([22, 1, 9, 28])
    flags = torch.tensor([[True, False, True, True], [False, True, True, False], [False, False, True, True]])
    for layout, memory in ((lambda s: s, torch.contiguous_format), (channels_last, torch.channels_last)):
        for more in ({}, {"halo": 4}, {"zooms": np.array([1, 2, 2, 3])}, {"zooms": np.array([1, 2, 1, 2]), "halo": 2}):
            here = gather(layout(stack), rows, cols, 8, (flags[0], flags[1]), flags[2], **more)
            on = [tensor.cuda() for tensor in (rows, cols, *flags)]
            there = gather(layout(stack.cuda()), on[0], on[1], 8, (on[2], on[3]), on[4], **more)
            assert there.is_cuda
            assert there.is_contiguous(memory_format=memory)
            torch.testing.assert_close(there.cpu(), here, rtol=1e-6, atol=0)
            if "zooms" not in more:
                assert torch.equal(there.cpu(), here)


def test_the_kernel_for_gpus_cuts_what_the_kernels_of_torch_cut() -> None:
    """Run by triton's interpreter, which needs no GPU, and has to be asked for before triton is imported."""
    pytest.importorskip("triton")
    code = """
        import numpy as np, torch
        from geoprospect.models import _patches, _patches_triton
        draws = np.random.default_rng(0)
        for case in range(24):
            shape, n = draws.integers((1, 1, 1), (6, 14, 14)), draws.integers(1, 6)
            size, halo = draws.integers((1, 0), (7, 4)).tolist()
            dtype = [torch.float32, torch.float64][case % 2]
            stack = _patches.channels_last(torch.from_numpy(draws.normal(size=shape)).to(dtype))
            # Columns of tables, whose numbers do not lie side by side.
            rows, cols = torch.from_numpy(draws.integers(-9, 14, (n, 2))).T
            flags = torch.from_numpy(draws.random((n, 3)) < 0.5).T
            zooms = draws.integers(1, 4, (n, 2))[:, 0]
            flip, transpose = (flags[0], flags[1]) if case % 3 else None, flags[2] if case % 5 else None
            zoomed = case % 4 > 0
            expected = _patches.gather(
                stack, rows, cols, size, flip, transpose, zooms=zooms if zoomed else None, halo=halo
            )
            found = _patches_triton.gather(
                stack, rows, cols, size, flip, transpose, torch.from_numpy(zooms) if zoomed else None, halo
            )
            assert found.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(found, expected, rtol=1e-6 if zoomed else 0, atol=1e-6 if zoomed else 0)
        stack[:] = torch.nan
        far = torch.tensor([40, -40])
        assert not _patches_triton.gather(stack, far, far, 3, None, None, None, 0).any()
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


class OfItsOwnKindError(Exception):
    """As triton's errors are."""


@pytest.fixture
def asked_anew():
    _patches._on_gpu.cache_clear()
    yield
    _patches._on_gpu.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize("fault", [None, OfItsOwnKindError("ptxas"), RuntimeError("no compiler")], ids=repr)
def test_a_gpu_on_which_triton_does_not_work_is_served_by_torch(
    fault: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = None if fault is None else types.ModuleType("broken")
    if broken is not None:
        broken.gather = mock.Mock(side_effect=fault)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "geoprospect.models._patches_triton", broken)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    with caplog.at_level("WARNING", logger="geoprospect"):
        assert _patches._on_gpu(torch.device("cpu")) is None
    assert "triton cannot be used" in caplog.text


@pytest.mark.usefixtures("asked_anew")
def test_a_gpu_without_memory_is_not_taken_for_one_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    full = types.ModuleType("full")
    full.gather = mock.Mock(side_effect=torch.OutOfMemoryError("full"))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "geoprospect.models._patches_triton", full)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    with pytest.raises(torch.OutOfMemoryError):
        _patches._on_gpu(torch.device("cpu"))
