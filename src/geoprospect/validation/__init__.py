"""Cross-validation, baselines, null control and explanation."""
