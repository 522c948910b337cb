from .auc import AUCComparison as AUCComparison
from .auc import WeightsOfEvidence as WeightsOfEvidence
from .auc import adjust_p as adjust_p
from .auc import auc_interval as auc_interval
from .auc import auc_standard_error as auc_standard_error
from .auc import compare_aucs as compare_aucs
from .auc import null_z as null_z
from .auc import weights_of_evidence as weights_of_evidence
from .endowment import overdispersion as overdispersion
from .metrics import Evaluation as Evaluation
from .metrics import average_precision as average_precision
from .metrics import brier_score as brier_score
from .metrics import calibration_slope as calibration_slope
from .metrics import evaluate as evaluate
from .metrics import rank_auc as rank_auc
from .metrics import z_auc as z_auc
from .success_rate import Rates as Rates
from .success_rate import rates as rates

__all__ = [
    "AUCComparison",
    "Evaluation",
    "Rates",
    "WeightsOfEvidence",
    "adjust_p",
    "auc_interval",
    "auc_standard_error",
    "average_precision",
    "brier_score",
    "calibration_slope",
    "compare_aucs",
    "evaluate",
    "null_z",
    "overdispersion",
    "rank_auc",
    "rates",
    "weights_of_evidence",
    "z_auc",
]
