"""Arrays in, arrays out: no CRS, no xarray, no checks. Callers have checked what they pass."""
