"""Transforms of element bands. Each rewrites units and long names, because xarray keeps old ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from geoprospect._checks import check_choice
from geoprospect.errors import InputError


def standardize(survey: xr.Dataset, method: Literal["zscore", "minmax"] = "zscore") -> tuple[xr.Dataset, pd.DataFrame]:
    """Bring every band to one scale.

    `train` fits its own scaling and the model carries it, so nothing needs to be standardized
    before training; this is for other uses.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands with dims (y, x); NaN where there are no data.
    method : {'zscore', 'minmax'}, default 'zscore'
        'zscore': (v - mean) / standard deviation (population); 'minmax': (v - min) / (max - min).

    Returns
    -------
    scaled : xarray.Dataset
        The bands as float32, with ``units`` '1' and a long name that says what was done.
    constants : pandas.DataFrame
        Indexed by band: ``offset`` and ``scale`` with v = scaled * scale + offset, ``units`` and
        ``method``.

    Raises
    ------
    InputError
        When a band has no data or is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from affine import Affine
    >>> import geoprospect as gp
    >>> grid = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 0), (1, 3))
    >>> survey = grid.dataset({"Cu": np.array([[10.0, 20.0, 30.0]])}, {"Cu": {"units": "ppm"}})
    >>> scaled, constants = gp.standardize(survey, method="minmax")
    >>> scaled["Cu"].values
    array([[0. , 0.5, 1. ]], dtype=float32)
    >>> constants
          offset  scale units  method
    band
    Cu      10.0   20.0   ppm  minmax
    """
    check_choice("method", method, ("zscore", "minmax"))
    rows, scaled = [], survey.copy(deep=False)
    for name in map(str, survey.data_vars):
        band = survey[name]
        values = band.to_numpy()
        valid = values[np.isfinite(values)].astype(np.float64)
        if valid.size == 0 or valid.min() == valid.max():
            state = "has no data" if valid.size == 0 else f"is {valid[0]:g} everywhere"
            raise InputError(
                f"survey[{name!r}]: {state} and cannot be scaled; leave it out: survey.drop_vars({name!r})"
            )
        if method == "zscore":
            offset, scale, words = valid.mean(), valid.std(), "z-score"
        else:
            offset, scale, words = valid.min(), np.ptp(valid), "0 to 1"
        units = str(band.attrs.get("units", ""))
        attrs = {"units": "1", "long_name": f"{band.attrs.get('long_name', name)} ({words})"}
        scaled[name] = (band.dims, ((values - offset) / scale).astype(np.float32), attrs)
        # Not the whole encoding: a dtype of int16 would cut z-scores to whole numbers in a NetCDF file.
        kept = {key: band.encoding[key] for key in ("grid_mapping",) if key in band.encoding}
        scaled[name].encoding.update({"_FillValue": np.nan, **kept})
        rows.append((name, offset, scale, units, method))
    constants = pd.DataFrame(rows, columns=["band", "offset", "scale", "units", "method"]).set_index("band")
    return scaled, constants
