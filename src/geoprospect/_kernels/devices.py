"""Which device computes."""

from __future__ import annotations

import logging

import torch

from geoprospect.errors import DeviceError, InputError

log = logging.getLogger("geoprospect")


def resolve_device(device: str) -> torch.device:
    """Return the torch device for 'auto', 'cpu', 'cuda' or 'cuda:n'."""
    if device == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
        log.info("device='auto': computing on %s", chosen)
        return torch.device(chosen)
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"device={device!r}: needs 'auto', 'cpu', 'cuda' or 'cuda:1'") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"device={device!r}: torch {torch.__version__} sees no CUDA device; install the NVIDIA driver and the "
            "CUDA build of torch (pip install torch torchvision), or pass device='cpu'"
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device={device!r}: there are only {torch.cuda.device_count()} CUDA devices")
    return found
