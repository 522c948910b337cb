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
    from geoprospect.config import Config as Config
    from geoprospect.config import load_config as load_config
    from geoprospect.geochem.censoring import censoring_indicator as censoring_indicator
    from geoprospect.geochem.censoring import censoring_table as censoring_table
    from geoprospect.geochem.censoring import replace_censored as replace_censored
    from geoprospect.geochem.duplicates import duplicate_precision as duplicate_precision
    from geoprospect.geochem.log_ratios import ALR as ALR
    from geoprospect.geochem.log_ratios import CLR as CLR
    from geoprospect.geochem.log_ratios import ILR as ILR
    from geoprospect.geochem.log_ratios import Log10 as Log10
    from geoprospect.geochem.sample_check import SampleCheck as SampleCheck
    from geoprospect.geochem.sample_check import check_samples as check_samples
    from geoprospect.geochem.samples import Samples as Samples
    from geoprospect.geochem.samples import read_samples as read_samples
    from geoprospect.geochem.transforms import inverse_transform as inverse_transform
    from geoprospect.geochem.transforms import robust_pca as robust_pca
    from geoprospect.geochem.transforms import standardize as standardize
    from geoprospect.geochem.transforms import transform as transform
    from geoprospect.geochem.units import convert_units as convert_units
    from geoprospect.grid import Grid as Grid
    from geoprospect.gridding.idw import IDW as IDW
    from geoprospect.gridding.interpolate import interpolate as interpolate
    from geoprospect.gridding.interpolate import interpolate_on_device as interpolate_on_device
    from geoprospect.gridding.sample_support import support as support
    from geoprospect.gridding.validate import GriddingScores as GriddingScores
    from geoprospect.gridding.validate import validate_gridding as validate_gridding
    from geoprospect.io.deposits import read_deposits as read_deposits
    from geoprospect.io.rasters import read_bands as read_bands
    from geoprospect.io.rasters import read_survey as read_survey
    from geoprospect.io.vectors import write_layers as write_layers
    from geoprospect.io.writers import write_cog as write_cog
    from geoprospect.io.writers import write_geotiff as write_geotiff
    from geoprospect.io.writers import write_zarr as write_zarr
    from geoprospect.models.applicability import Applicability as Applicability
    from geoprospect.models.dense import DenseCheck as DenseCheck
    from geoprospect.models.fit_applicability import fit_applicability as fit_applicability
    from geoprospect.models.model import ProspectivityModel as ProspectivityModel
    from geoprospect.models.recipe import Recipe as Recipe
    from geoprospect.models.training import train as train
    from geoprospect.pipeline import Run as Run
    from geoprospect.pipeline import run as run
    from geoprospect.prediction.dense_check import check_dense as check_dense
    from geoprospect.prediction.out_of_core import predict_to_cog as predict_to_cog
    from geoprospect.prediction.plan import Plan as Plan
    from geoprospect.prediction.plan import plan_inference as plan_inference
    from geoprospect.prediction.predict import predict as predict
    from geoprospect.prediction.predict import predict_cells as predict_cells
    from geoprospect.prediction.predict import predict_windows as predict_windows
    from geoprospect.prediction.targets import delineate as delineate
    from geoprospect.prediction.transfer import Transfer as Transfer
    from geoprospect.prediction.transfer import transfer as transfer
    from geoprospect.screening.screen import screen as screen
    from geoprospect.screening.screen import screening_points as screening_points
    from geoprospect.stats.auc import AUCComparison as AUCComparison
    from geoprospect.stats.auc import WeightsOfEvidence as WeightsOfEvidence
    from geoprospect.stats.auc import adjust_p as adjust_p
    from geoprospect.stats.auc import auc_interval as auc_interval
    from geoprospect.stats.auc import auc_standard_error as auc_standard_error
    from geoprospect.stats.auc import clustered_auc as clustered_auc
    from geoprospect.stats.auc import clustered_auc_interval as clustered_auc_interval
    from geoprospect.stats.auc import compare_aucs as compare_aucs
    from geoprospect.stats.auc import compare_clustered_aucs as compare_clustered_aucs
    from geoprospect.stats.auc import null_z as null_z
    from geoprospect.stats.auc import weights_of_evidence as weights_of_evidence
    from geoprospect.stats.calibration import Calibration as Calibration
    from geoprospect.stats.calibration import calibrate as calibrate
    from geoprospect.stats.calibration import cross_calibrated as cross_calibrated
    from geoprospect.stats.endowment import expected_deposits as expected_deposits
    from geoprospect.stats.endowment import intensity as intensity
    from geoprospect.stats.endowment import overdispersion as overdispersion
    from geoprospect.stats.metrics import Evaluation as Evaluation
    from geoprospect.stats.metrics import average_precision as average_precision
    from geoprospect.stats.metrics import brier_score as brier_score
    from geoprospect.stats.metrics import calibration_slope as calibration_slope
    from geoprospect.stats.metrics import evaluate as evaluate
    from geoprospect.stats.metrics import rank_auc as rank_auc
    from geoprospect.stats.metrics import z_auc as z_auc
    from geoprospect.stats.success_rate import Rates as Rates
    from geoprospect.stats.success_rate import rates as rates
    from geoprospect.validation.cross_validation import cross_validate as cross_validate
    from geoprospect.validation.explain import attribute as attribute
    from geoprospect.validation.explain import element_importance as element_importance
    from geoprospect.validation.null_control import NullControl as NullControl
    from geoprospect.validation.null_control import compare_networks as compare_networks
    from geoprospect.validation.null_control import null_control as null_control
    from geoprospect.validation.scores import Scores as Scores
    from geoprospect.windows.sampling import hold_back as hold_back
    from geoprospect.windows.sampling import least_like_ore as least_like_ore
    from geoprospect.windows.sampling import sample_windows as sample_windows
    from geoprospect.windows.spatial_folds import audit as audit
    from geoprospect.windows.spatial_folds import correlation_range as correlation_range
    from geoprospect.windows.spatial_folds import spatial_folds as spatial_folds
    from geoprospect.windows.windows import Windows as Windows

# Where each public name lives.
_HOMES = {
    "prediction.dense_check": ["check_dense"],
    "models.applicability": ["Applicability"],
    "stats.calibration": ["Calibration", "calibrate", "cross_calibrated"],
    "io.vectors": ["write_layers"],
    "geochem.censoring": ["censoring_indicator", "censoring_table", "replace_censored"],
    "geochem.sample_check": ["SampleCheck", "check_samples"],
    "geochem.log_ratios": ["ALR", "CLR", "ILR", "Log10"],
    "config": ["Config", "load_config"],
    "windows.sampling": ["hold_back", "least_like_ore", "sample_windows"],
    "models.dense": ["DenseCheck"],
    "stats.endowment": ["expected_deposits", "intensity", "overdispersion"],
    "validation.explain": ["attribute", "element_importance"],
    "io.writers": ["write_cog", "write_geotiff", "write_zarr"],
    "geochem.units": ["convert_units"],
    "grid": ["Grid"],
    "gridding.validate": ["GriddingScores", "validate_gridding"],
    "prediction.predict": ["predict", "predict_cells", "predict_windows"],
    "gridding.interpolate": ["interpolate", "interpolate_on_device"],
    "stats.metrics": [
        "Evaluation",
        "average_precision",
        "brier_score",
        "calibration_slope",
        "evaluate",
        "rank_auc",
        "z_auc",
    ],
    "models.model": ["ProspectivityModel"],
    "pipeline": ["Run", "run"],
    "prediction.plan": ["Plan", "plan_inference"],
    "prediction.out_of_core": ["predict_to_cog"],
    "geochem.duplicates": ["duplicate_precision"],
    "io.rasters": ["read_bands", "read_survey"],
    "models.recipe": ["Recipe"],
    "models.fit_applicability": ["fit_applicability"],
    "gridding.idw": ["IDW"],
    "io.deposits": ["read_deposits"],
    "geochem.samples": ["Samples", "read_samples"],
    "gridding.sample_support": ["support"],
    "validation.scores": ["Scores"],
    "screening.screen": ["screen", "screening_points"],
    "windows.spatial_folds": ["audit", "correlation_range", "spatial_folds"],
    "stats.auc": [
        "AUCComparison",
        "WeightsOfEvidence",
        "adjust_p",
        "auc_interval",
        "auc_standard_error",
        "clustered_auc",
        "clustered_auc_interval",
        "compare_aucs",
        "compare_clustered_aucs",
        "null_z",
        "weights_of_evidence",
    ],
    "stats.success_rate": ["Rates", "rates"],
    "prediction.targets": ["delineate"],
    "models.training": ["train"],
    "geochem.transforms": ["standardize", "inverse_transform", "robust_pca", "transform"],
    "prediction.transfer": ["Transfer", "transfer"],
    "validation.null_control": ["NullControl", "compare_networks", "null_control"],
    "validation.cross_validation": ["cross_validate"],
    "windows.windows": ["Windows"],
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
