"""Cutting patches out of a stack of bands by index, on whatever device the stack lies."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger("geoprospect")


def channels_last(stack: Tensor) -> Tensor:
    """Return the stack (C, Y, X) with the bands of a cell side by side in memory.

    A patch then is rows of whole cells, which one index fetches, and a batch of patches lies as
    convolutions like it best.
    """
    return stack.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def gather(
    stack: Tensor,
    rows: Tensor,
    cols: Tensor,
    size: int,
    flip: tuple[Tensor, Tensor] | None = None,
    transpose: Tensor | None = None,
    *,
    zooms: NDArray[np.int64] | None = None,
    halo: int = 0,
) -> Tensor:
    """Return the patches whose north-west cells are given; what lies off the raster is 0.

    Parameters
    ----------
    stack : (C, Y, X), best from `channels_last`
    rows, cols : (B,) int64, on the device of the stack
    size : height and width of a patch, in cells of the patch
    flip : two (B,) bool: turn upside down, turn left to right
    transpose : (B,) bool: then exchange rows and columns
    zooms : (B,) int64, on the CPU: a cell of the patch is the mean of zoom x zoom cells; default 1
    halo : cells of the patch that are added on every side

    Returns
    -------
    (B, C, H, W), H = W = size + 2 halo, in the memory format of the stack
    """
    if stack.is_cuda and _format(stack) == torch.channels_last and (in_one_launch := _on_gpu(stack.device)):
        several = None if zooms is None or zooms.max(initial=1) == 1 else torch.from_numpy(zooms).to(stack.device)
        with torch.cuda.device(stack.device):
            return in_one_launch(stack, rows, cols, size, flip, transpose, several, halo)
    if zooms is None:
        return _cut(stack, rows, cols, size, flip, transpose, 1, halo)
    levels = np.unique(zooms)
    if levels.size == 1:
        return _cut(stack, rows, cols, size, flip, transpose, int(levels[0]), halo)
    parts, places = [], []
    for zoom in levels:
        at = torch.from_numpy(np.flatnonzero(zooms == zoom)).to(stack.device)
        turned = None if flip is None else (flip[0][at], flip[1][at])
        swapped = None if transpose is None else transpose[at]
        parts.append(_cut(stack, rows[at], cols[at], size, turned, swapped, int(zoom), halo))
        places.append(at)
    result = torch.empty_like(parts[0][:1].expand(len(rows), -1, -1, -1), memory_format=_format(stack))
    for at, part in zip(places, parts, strict=True):
        result[at] = part
    return result


@functools.cache
def _on_gpu(device: torch.device) -> Callable[..., Tensor] | None:
    """Return the kernel for a GPU, or None where triton is not installed or finds no compiler for the host."""
    try:
        from geoprospect.models._patches_triton import gather as in_one_launch

        at = torch.zeros(1, dtype=torch.int64, device=device)
        with torch.cuda.device(device):
            in_one_launch(torch.zeros(1, 1, 1, device=device), at, at, 1, None, None, None, 0)
    except torch.OutOfMemoryError:
        raise
    except Exception as err:  # of whatever kind: what only makes it faster must not be why it fails
        log.warning("windows are cut by several kernels of torch, which is slower: triton cannot be used (%s)", err)
        return None
    return in_one_launch


def _cut(
    stack: Tensor, rows: Tensor, cols: Tensor, size: int, flip: tuple[Tensor, Tensor] | None,
    transpose: Tensor | None, zoom: int, halo: int,
) -> Tensor:  # fmt: skip
    """Cut patches of one zoom: the mean over every offset within a block of zoom x zoom cells.

    The offsets are summed one after the other, so that never more than two batches are held.
    """
    step = (torch.arange(size + 2 * halo, device=stack.device) - halo) * zoom
    down = rows[:, None] + step  # (B, H)
    right = cols[:, None] + step  # (B, W)
    if flip is not None:
        down = torch.where(flip[0][:, None], down.flip(1), down)
        right = torch.where(flip[1][:, None], right.flip(1), right)
    total = _pick(stack, down, right, transpose)
    for offset in range(1, zoom * zoom):
        total += _pick(stack, down + offset // zoom, right + offset % zoom, transpose)
    return total if zoom == 1 else total.div_(zoom * zoom)


def _pick(stack: Tensor, down: Tensor, right: Tensor, transpose: Tensor | None) -> Tensor:
    """Return the cells at these rows (B, H) and columns (B, W) as (B, C, H, W), 0 off the raster."""
    (bands, ny, nx), (n, size) = stack.shape, down.shape
    cell = (down.clamp(0, ny - 1) * nx)[:, :, None] + right.clamp(0, nx - 1)[:, None, :]  # (B, H, W)
    off = ((down < 0) | (down >= ny))[:, :, None] | ((right < 0) | (right >= nx))[:, None, :]
    if transpose is not None:
        swap = transpose[:, None, None]
        cell, off = torch.where(swap, cell.mT, cell), torch.where(swap, off.mT, off)
    if _format(stack) == torch.channels_last:
        picked = stack.permute(1, 2, 0).view(-1, bands).index_select(0, cell.reshape(-1))
        patches = picked.view(n, size, size, bands).permute(0, 3, 1, 2)
    else:
        picked = stack.reshape(bands, -1).index_select(1, cell.reshape(-1))
        patches = picked.view(bands, n, size, size).transpose(0, 1).contiguous()
    return patches.masked_fill_(off[:, None], 0)


def _format(stack: Tensor) -> torch.memory_format:
    last = stack.permute(1, 2, 0).is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
