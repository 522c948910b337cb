"""ROC AUC and its intervals, weights of evidence, bootstrap, success rates, calibration, expected deposits."""
