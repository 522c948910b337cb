# mypy: disable-error-code="no-untyped-def, untyped-decorator, union-attr"
# triton reads the annotations of a kernel itself, and takes none but its own.
"""Cutting patches on a GPU in one launch. Imported only where triton is there; `patches` says what is computed."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024  # numbers that one program moves


@triton.jit
def _gather(
    out, stack, rows, cols, flip_y, flip_x, transpose, zooms, ny, nx, width, halo, blocks,
    BANDS: tl.constexpr, PADDED: tl.constexpr, CELLS: tl.constexpr,
    FLIPPED: tl.constexpr, TRANSPOSED: tl.constexpr, ZOOMED: tl.constexpr,
):  # fmt: skip
    """Write some cells of one patch, all bands of each; both `stack` (Y, X, C) and `out` (B, H, W, C) lie by cells."""
    program = tl.program_id(0)
    window = (program // blocks).to(tl.int64)
    cell = (program % blocks) * CELLS + tl.arange(0, CELLS)
    down, right = cell // width, cell % width
    if TRANSPOSED:
        swap = tl.load(transpose + window)
        down, right = tl.where(swap, right, down), tl.where(swap, down, right)
    if FLIPPED:
        down = tl.where(tl.load(flip_y + window), width - 1 - down, down)
        right = tl.where(tl.load(flip_x + window), width - 1 - right, right)
    zoom = tl.load(zooms + window) if ZOOMED else 1
    row = tl.load(rows + window) + (down - halo).to(tl.int64) * zoom
    col = tl.load(cols + window) + (right - halo).to(tl.int64) * zoom
    band = tl.arange(0, PADDED)[None, :]
    inside = (cell < width * width)[:, None] & (band < BANDS)
    total = tl.zeros([CELLS, PADDED], dtype=out.dtype.element_ty)
    for offset in range(zoom * zoom):
        y, x = row + offset // zoom, col + offset % zoom
        on = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        total += tl.load(stack + (y * nx + x)[:, None] * BANDS + band, mask=inside & on[:, None], other=0)
    if ZOOMED:
        total = total / (zoom * zoom).to(total.dtype)
    place = (window * width * width + cell)[:, None] * BANDS + band
    tl.store(out + place, total, mask=inside)


def gather(
    stack: Tensor, rows: Tensor, cols: Tensor, size: int, flip: tuple[Tensor, Tensor] | None,
    transpose: Tensor | None, zooms: Tensor | None, halo: int,
) -> Tensor:  # fmt: skip
    """Return what `patches.gather` returns, of a stack that lies by cells; zooms on its device too."""
    (bands, ny, nx), n, width = stack.shape, len(rows), size + 2 * halo
    out = torch.empty(
        (n, bands, width, width), dtype=stack.dtype, device=stack.device, memory_format=torch.channels_last
    )
    padded = triton.next_power_of_2(bands)
    cells = max(1, _BLOCK // padded)
    blocks = triton.cdiv(width * width, cells)
    flip_y, flip_x = (None, None) if flip is None else flip
    # The kernel counts on numbers side by side; columns of a table are not.
    each = [rows if one is None else one.contiguous() for one in (rows, cols, flip_y, flip_x, transpose, zooms)]
    _gather[(n * blocks,)](
        out, stack, *each, ny, nx, width, halo, blocks, bands, padded, cells,
        flip is not None, transpose is not None, zooms is not None,
    )  # fmt: skip
    return out
