"""Probability rasters from a trained model, and prospecting targets."""
