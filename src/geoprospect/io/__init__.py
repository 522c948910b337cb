"""Open and write files: tables, deposits, rasters, vector layers."""
