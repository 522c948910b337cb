from . import errors as errors
from . import plotting as plotting
from . import stats as stats
from . import synthetic as synthetic
from ._version import __version__ as __version__
from .config import Config as Config
from .config import load_config as load_config
from .geochem.censoring import censoring_indicator as censoring_indicator
from .geochem.censoring import censoring_table as censoring_table
from .geochem.censoring import replace_censored as replace_censored
from .geochem.duplicates import duplicate_precision as duplicate_precision
from .geochem.log_ratios import ALR as ALR
from .geochem.log_ratios import CLR as CLR
from .geochem.log_ratios import ILR as ILR
from .geochem.log_ratios import Log10 as Log10
from .geochem.sample_check import check_samples as check_samples
from .geochem.samples import Samples as Samples
from .geochem.samples import read_samples as read_samples
from .geochem.transforms import inverse_transform as inverse_transform
from .geochem.transforms import robust_pca as robust_pca
from .geochem.transforms import standardize as standardize
from .geochem.transforms import transform as transform
from .geochem.units import convert_units as convert_units
from .grid import Grid as Grid
from .gridding.idw import IDW as IDW
from .gridding.interpolate import interpolate as interpolate
from .gridding.sample_support import support as support
from .gridding.validate import validate_gridding as validate_gridding
from .io.deposits import read_deposits as read_deposits
from .io.rasters import read_bands as read_bands
from .io.rasters import read_survey as read_survey
from .io.vectors import write_layers as write_layers
from .io.writers import write_cog as write_cog
from .io.writers import write_geotiff as write_geotiff
from .io.writers import write_zarr as write_zarr
from .models.fit_applicability import fit_applicability as fit_applicability
from .models.model import ProspectivityModel as ProspectivityModel
from .models.recipe import Recipe as Recipe
from .models.training import train as train
from .pipeline import run as run
from .prediction.dense_check import check_dense as check_dense
from .prediction.out_of_core import predict_to_cog as predict_to_cog
from .prediction.plan import plan_inference as plan_inference
from .prediction.predict import predict as predict
from .prediction.predict import predict_cells as predict_cells
from .prediction.predict import predict_windows as predict_windows
from .prediction.targets import delineate as delineate
from .prediction.transfer import transfer as transfer
from .screening.screen import screen as screen
from .screening.screen import screening_points as screening_points
from .stats.calibration import calibrate as calibrate
from .stats.calibration import cross_calibrated as cross_calibrated
from .stats.endowment import expected_deposits as expected_deposits
from .stats.endowment import intensity as intensity
from .validation.compare_networks import compare_networks as compare_networks
from .validation.cross_validation import cross_validate as cross_validate
from .validation.explain import attribute as attribute
from .validation.explain import element_importance as element_importance
from .validation.null_control import null_control as null_control
from .windows.dissimilar import least_like_ore as least_like_ore
from .windows.sampling import hold_back as hold_back
from .windows.sampling import sample_windows as sample_windows
from .windows.settings import Folds as Folds
from .windows.spatial_folds import audit as audit
from .windows.spatial_folds import correlation_range as correlation_range
from .windows.spatial_folds import spatial_folds as spatial_folds
from .windows.windows import Windows as Windows

__all__ = [
    "ALR",
    "CLR",
    "IDW",
    "ILR",
    "Config",
    "Folds",
    "Grid",
    "Log10",
    "ProspectivityModel",
    "Recipe",
    "Samples",
    "Windows",
    "__version__",
    "attribute",
    "audit",
    "calibrate",
    "censoring_indicator",
    "censoring_table",
    "check_dense",
    "check_samples",
    "compare_networks",
    "convert_units",
    "correlation_range",
    "cross_calibrated",
    "cross_validate",
    "delineate",
    "duplicate_precision",
    "element_importance",
    "errors",
    "expected_deposits",
    "fit_applicability",
    "hold_back",
    "intensity",
    "interpolate",
    "inverse_transform",
    "least_like_ore",
    "load_config",
    "null_control",
    "plan_inference",
    "plotting",
    "predict",
    "predict_cells",
    "predict_to_cog",
    "predict_windows",
    "read_bands",
    "read_deposits",
    "read_samples",
    "read_survey",
    "replace_censored",
    "robust_pca",
    "run",
    "sample_windows",
    "screen",
    "screening_points",
    "spatial_folds",
    "standardize",
    "stats",
    "support",
    "synthetic",
    "train",
    "transfer",
    "transform",
    "validate_gridding",
    "write_cog",
    "write_geotiff",
    "write_layers",
    "write_zarr",
]
