"""Training windows: sampling, spatial folds, regions, variogram."""
