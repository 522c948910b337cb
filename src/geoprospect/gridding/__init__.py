"""Interpolate samples to element bands."""
