"""Networks on a device, and windows that go through them in batches that fit into its memory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from geoprospect.errors import DeviceError

log = logging.getLogger("geoprospect")

R = TypeVar("R")


def in_batches(
    run: Callable[[slice, int], R], n: int, batch: int, device: torch.device, window: str,
    reduced: Callable[[int], Any] = lambda batch: None,
) -> Iterator[tuple[slice, R]]:  # fmt: skip
    """Yield the batches of `n` windows with their results. Halve the batch where the device runs out of memory.

    Parameters
    ----------
    run : callable
        Takes the windows of a batch, as a slice, and the current size of batches; returns its result.
    n, batch : int
        Windows, and windows per batch at first.
    device : torch.device
        Where `run` computes.
    window : str
        Description of a single window, for the error.
    reduced : callable, optional
        Receives each new size of batches, before memory is released.

    Raises
    ------
    DeviceError
        When the memory does not suffice for a single window.
    """
    start = 0
    while start < n:
        at = slice(start, min(start + batch, n))
        try:
            result = run(at, batch)
        except torch.OutOfMemoryError as err:
            if batch == 1:
                raise DeviceError(
                    f"device={str(device)!r}: has no memory for {window} beside the survey; close other programs, or "
                    f"pass device='cpu' ({err})"
                ) from err
        else:
            yield at, result
            del result
            start = at.stop
            continue
        # Here, because inside of `except` the traceback still holds what is to be freed.
        batch //= 2
        log.info("the device has no memory for %d windows at once; trying %d", 2 * batch, batch)
        reduced(batch)
        torch.cuda.empty_cache()


@contextlib.contextmanager
def on_device(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Have a network on a device for a while, and on the CPU afterwards."""
    try:
        yield network.to(device)
    finally:
        network.cpu()
