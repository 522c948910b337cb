"""Geochemical samples: units, headers, detection limits, duplicates, log-ratios, transforms."""
