"""The gathering kernel, against plain slices."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoprospect._kernels.patches import gather

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


@st.composite
def places(draw: st.DrawFn) -> tuple[tuple[int, int, int], list[int], list[int], int, list[tuple[bool, bool]]]:
    size = draw(st.integers(1, 6))
    n_bands, ny, nx = draw(st.integers(1, 3)), draw(st.integers(size, 11)), draw(st.integers(size, 11))
    n = draw(st.integers(1, 5))
    rows = draw(st.lists(st.integers(0, ny - size), min_size=n, max_size=n))
    cols = draw(st.lists(st.integers(0, nx - size), min_size=n, max_size=n))
    flips = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n))
    return (n_bands, ny, nx), rows, cols, size, flips


@given(places())
def test_patches_are_the_slices_of_the_stack_flipped_as_asked(case) -> None:
    shape, rows, cols, size, flips = case
    stack = numbered_stack(*shape)
    upside_down, mirrored = (torch.tensor([f[i] for f in flips]) for i in (0, 1))
    found = gather(
        torch.from_numpy(stack), torch.tensor(rows), torch.tensor(cols), size, (upside_down, mirrored)
    ).numpy()  # (B, C, H, W)
    np.testing.assert_array_equal(found, by_slices(stack, rows, cols, size, flips))


def test_patches_without_flips_lie_as_in_the_stack_up_to_its_last_corner() -> None:
    stack = numbered_stack(2, 7, 9)
    rows, cols = [0, 0, 4, 4], [0, 6, 0, 6]  # the four corners
    found = gather(torch.from_numpy(stack), torch.tensor(rows), torch.tensor(cols), 3)
    np.testing.assert_array_equal(found.numpy(), by_slices(stack, rows, cols, 3, [(False, False)] * 4))


def test_the_first_flip_turns_rows_and_the_second_columns() -> None:
    stack, at = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([0, 0])
    found = gather(stack, at, at, 2, (torch.tensor([True, False]), torch.tensor([False, True])))
    assert found[:, 0].tolist() == [[[3, 4], [1, 2]], [[2, 1], [4, 3]]]


def test_patches_are_contiguous_copies_that_leave_the_stack_alone() -> None:
    stack = torch.zeros(3, 8, 8)
    found = gather(stack, torch.tensor([1, 2]), torch.tensor([3, 4]), 4)
    assert found.shape == (2, 3, 4, 4)
    assert found.is_contiguous()
    found += 1
    assert stack.abs().sum() == 0


def test_a_patch_beyond_the_edge_is_an_error_and_no_neighbouring_row() -> None:
    with pytest.raises((IndexError, RuntimeError)):
        gather(torch.zeros(1, 5, 5), torch.tensor([2]), torch.tensor([3]), 3)


@pytest.mark.cuda
@needs_gpu
def test_patches_on_a_gpu_are_those_of_the_cpu() -> None:
    stack, rows, cols = torch.from_numpy(numbered_stack(3, 20, 30)), torch.tensor([0, 5, 12]), torch.tensor([22, 1, 9])
    flips = (torch.tensor([True, False, True]), torch.tensor([False, True, True]))
    here = gather(stack, rows, cols, 8, flips)
    there = gather(stack.cuda(), rows.cuda(), cols.cuda(), 8, (flips[0].cuda(), flips[1].cuda()))
    assert there.is_cuda
    assert there.is_contiguous()
    assert torch.equal(there.cpu(), here)
