"""Cutting patches out of a stack of bands by index, on whatever device the stack lies."""

from __future__ import annotations

import torch
from torch import Tensor


def gather(stack: Tensor, rows: Tensor, cols: Tensor, size: int, flip: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Return the patches of `size` cells whose north-west cells are given.

    Parameters
    ----------
    stack : (C, Y, X)
    rows, cols : (B,) int64, on the device of the stack
    size : height and width, H = W
    flip : two (B,) bool: turn upside down, turn left to right

    Returns
    -------
    (B, C, H, W), contiguous
    """
    step = torch.arange(size, device=stack.device)
    down = rows[:, None] + step  # (B, H)
    right = cols[:, None] + step  # (B, W)
    if flip is not None:
        down = torch.where(flip[0][:, None], down.flip(1), down)
        right = torch.where(flip[1][:, None], right.flip(1), right)
    patches = stack[:, down[:, :, None], right[:, None, :]]  # (C, B, H, W)
    return patches.transpose(0, 1).contiguous()
