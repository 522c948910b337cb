"""Figures: maps and charts.

Every function draws into the `ax` that it is given, or makes a figure of its own, and returns
the `Axes`. Nothing is computed here that another module has computed already.
"""

from geoprospect.plotting.charts import (
    censoring_bars,
    confusion_matrix,
    correlation_matrix,
    ecdf_panel,
    log_ratio_biplot,
    roc_panel,
    training_curves,
    z_auc_bars,
)
from geoprospect.plotting.maps import element_map, folds_map, probability_map, save, windows_overlay
from geoprospect.plotting.score_charts import auc_intervals, null_control_intervals, success_rates

__all__ = [
    "auc_intervals",
    "censoring_bars",
    "confusion_matrix",
    "correlation_matrix",
    "ecdf_panel",
    "element_map",
    "folds_map",
    "log_ratio_biplot",
    "null_control_intervals",
    "probability_map",
    "roc_panel",
    "save",
    "success_rates",
    "training_curves",
    "windows_overlay",
    "z_auc_bars",
]
