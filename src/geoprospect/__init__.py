"""Mineral prospectivity mapping on rasters: from geochemical samples and known deposits to a probability map.

The public names are below; each is loaded when it is first used, so that importing this
package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from geoprospect._version import __version__

if TYPE_CHECKING:  # what type checkers and editors see; a test holds it against _HOMES
    from geoprospect import errors as errors
    from geoprospect import plotting as plotting
    from geoprospect import synthetic as synthetic
    from geoprospect.catalog import write_layers as write_layers
    from geoprospect.config import Config as Config
    from geoprospect.config import load_config as load_config
    from geoprospect.exports import write_cog as write_cog
    from geoprospect.exports import write_geotiff as write_geotiff
    from geoprospect.exports import write_zarr as write_zarr
    from geoprospect.geochemistry import standardize as standardize
    from geoprospect.grid import Grid as Grid
    from geoprospect.gridding import GriddingScores as GriddingScores
    from geoprospect.gridding import validate_gridding as validate_gridding
    from geoprospect.inference import predict as predict
    from geoprospect.inference import predict_cells as predict_cells
    from geoprospect.inference import predict_windows as predict_windows
    from geoprospect.interpolation import interpolate as interpolate
    from geoprospect.interpolation import interpolate_on_device as interpolate_on_device
    from geoprospect.metrics import Evaluation as Evaluation
    from geoprospect.metrics import evaluate as evaluate
    from geoprospect.metrics import rank_auc as rank_auc
    from geoprospect.metrics import z_auc as z_auc
    from geoprospect.model import ProspectivityModel as ProspectivityModel
    from geoprospect.pipeline import Run as Run
    from geoprospect.pipeline import run as run
    from geoprospect.rasters import read_bands as read_bands
    from geoprospect.rasters import read_survey as read_survey
    from geoprospect.regressors import IDW as IDW
    from geoprospect.samples import Samples as Samples
    from geoprospect.samples import read_deposits as read_deposits
    from geoprospect.samples import read_samples as read_samples
    from geoprospect.sampling import support as support
    from geoprospect.screening import screen as screen
    from geoprospect.screening import screening_points as screening_points
    from geoprospect.targets import delineate as delineate
    from geoprospect.training import train as train
    from geoprospect.validation import Scores as Scores
    from geoprospect.validation import cross_validate as cross_validate
    from geoprospect.validation import spatial_folds as spatial_folds
    from geoprospect.windows import Windows as Windows
    from geoprospect.windows import sample_windows as sample_windows

# Where each public name lives.
_HOMES = {
    "catalog": ["write_layers"],
    "config": ["Config", "load_config"],
    "exports": ["write_cog", "write_geotiff", "write_zarr"],
    "geochemistry": ["standardize"],
    "grid": ["Grid"],
    "gridding": ["GriddingScores", "validate_gridding"],
    "inference": ["predict", "predict_cells", "predict_windows"],
    "interpolation": ["interpolate", "interpolate_on_device"],
    "metrics": ["Evaluation", "evaluate", "rank_auc", "z_auc"],
    "model": ["ProspectivityModel"],
    "pipeline": ["Run", "run"],
    "rasters": ["read_bands", "read_survey"],
    "regressors": ["IDW"],
    "samples": ["Samples", "read_deposits", "read_samples"],
    "sampling": ["support"],
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
