"""Which device computes."""

from __future__ import annotations

import functools
import logging
import re

import torch

from geoprospect.errors import DeviceError, InputError

log = logging.getLogger("geoprospect")


@functools.cache
def _say_once(chosen: str) -> None:
    log.info("device='auto': computing on %s", chosen)


def resolve_device(device: str) -> torch.device:
    """Return the torch device for 'auto', 'cpu', 'cuda' or 'cuda:n'."""
    if device == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
        _say_once(chosen)
        return torch.device(chosen)
    # torch knows many more names ('meta', 'mps', 'cpu:3', 0); nothing here was tried on them.
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", str(device)) or not isinstance(device, (str, torch.device)):
        raise InputError(f"device={device!r}: needs 'auto', 'cpu', 'cuda' or 'cuda:1'")
    found = torch.device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device={device!r}: torch {torch.__version__} sees no CUDA device; install the NVIDIA driver and the "
            "CUDA build of torch (pip install torch torchvision), or pass device='cpu'"
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device={device!r}: there are only {torch.cuda.device_count()} CUDA devices")
    return found
