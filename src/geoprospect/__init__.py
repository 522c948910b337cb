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
    "catalog": ["write_layers"],
    "config": ["Config", "load_config"],
    "geochemistry": ["standardize"],
    "grid": ["Grid"],
    "inference": ["predict", "predict_cells", "predict_windows"],
    "interpolation": ["interpolate"],
    "metrics": ["Evaluation", "evaluate", "rank_auc", "z_auc"],
    "model": ["ProspectivityModel"],
    "pipeline": ["Run", "run"],
    "rasters": ["read_bands", "read_survey", "write_cog", "write_geotiff"],
    "samples": ["Samples", "read_deposits", "read_samples"],
    "screening": ["screen", "screening_points"],
    "targets": ["delineate"],
    "training": ["train"],
    "validation": ["Scores", "cross_validate", "spatial_folds"],
    "windows": ["Windows", "sample_windows"],
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
