"""Mineral prospectivity mapping on rasters: from geochemical samples and known deposits to a probability map.

The public names are below; each is loaded when it is first used, so that importing this
package stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

from geoprospect._version import __version__

# Where each public name lives.
_HOMES = {
    "grid": ["Grid"],
    "samples": ["Samples", "read_deposits", "read_samples"],
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
_PUBLIC_MODULES = ["errors", "plotting", "synthetic"]

__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"geoprospect.{_MODULES[name]}"), name)
    if name in _PUBLIC_MODULES:
        return importlib.import_module(f"geoprospect.{name}")
    raise AttributeError(f"module 'geoprospect' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__, *_PUBLIC_MODULES})
