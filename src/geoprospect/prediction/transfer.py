"""A model on another area: what matches, what does not, and what its map there is worth."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import binom

from geoprospect._checks import check_choice, check_number
from geoprospect.errors import InputError
from geoprospect.geochem.units import unit_factor
from geoprospect.grid import Grid, cell_areas, check_north_up, grid_of_survey
from geoprospect.io.deposits import check_deposits
from geoprospect.models.model import ProspectivityModel
from geoprospect.prediction.predict import predict
from geoprospect.prediction.settings import Mode
from geoprospect.stats.success_rate import Rates, rates

Scaling = Literal["model", "own"]
# Cell sizes closer than this share are one: a projection rounds.
_CELL_TOLERANCE = 0.01
# As rasterio numbers them.
_BILINEAR, _AVERAGE = 1, 5


@dataclass(frozen=True, eq=False)
class Transfer:
    """A model's map of another area; `transfer` makes it.

    Parameters
    ----------
    result : xarray.Dataset
        The map, as from `predict`.
    bands : pandas.DataFrame
        One row per band of the model: ``taken`` (the survey's name), ``unit`` (the survey's), ``factor`` (to the
        model's unit), and ``shift`` and ``spread``: mean and standard deviation of its values here in the scaling of
        the training, where they were 0 and 1.
    scaling : {'model', 'own'}
        By which the network saw them.
    threshold : float
        From which ground counts as ore.
    n_deposits, covered : int
        Known deposits on the map, and those on ground that counts as ore.
    area_share : float
        Share of the map that counts as ore; NaN without a map.
    p_value : float
        Chance that as many deposits or more lie on such a share when each is put on the map at random.
    rates : Rates or None
        Which share of the deposits lies in which share of the ground, best first; None without deposits.

    Examples
    --------
    >>> import geoprospect as gp
    >>> done = gp.transfer(model, survey, deposits)  # doctest: +SKIP
    >>> print(done.summary)  # doctest: +SKIP
    """

    result: xr.Dataset
    bands: pd.DataFrame
    scaling: str
    threshold: float
    n_deposits: int
    covered: int
    area_share: float
    p_value: float
    rates: Rates | None

    def __repr__(self) -> str:
        """Say in one sentence what the map is worth, and how far the bands are from those of the training."""
        return f"Transfer(scaling {self.scaling!r})\n{self.summary}\n{self.bands}"

    @property
    def summary(self) -> str:
        """What the map is worth, in one sentence."""
        if self.rates is None:
            return (
                f"{self.area_share:.1%} of the map is at {self.threshold:g} or above; without known deposits nothing "
                "says what that is worth."
            )
        luck = "no better than chance" if self.p_value > 0.05 else "more than chance"
        return (
            f"{self.covered} of {self.n_deposits} deposits lie on the {self.area_share:.1%} of the map that is at "
            f"{self.threshold:g} or above: {luck} (p = {self.p_value:.2g} for deposits put down at random, one by one)."
        )


def transfer(
    model: ProspectivityModel,
    survey: xr.Dataset,
    deposits: gpd.GeoDataFrame | None = None,
    stride: int | None = None,
    device: str = "auto",
    *,
    names: Mapping[str, str] | None = None,
    scaling: Scaling = "model",
    resample: bool = False,
    threshold: float = 0.5,
    mode: Mode = "window",
    min_valid: float = 0.5,
    progress: bool = False,
) -> Transfer:
    """Map another area with a model, and say what the map is worth there.

    Bands are matched by name and converted to the units of the training. What does not match is listed whole, before
    anything is computed.

    Parameters
    ----------
    model : ProspectivityModel
        From `train`.
    survey : xarray.Dataset
        The other area; may hold more bands.
    deposits : GeoDataFrame, optional
        Known deposits of the other area, which the model has not seen.
    stride, device, mode, min_valid, progress
        As in `predict`.
    names : mapping of str to str, optional
        The survey's name for bands of the model that are called otherwise there: {'Fe': 'Fe_total'}.
    scaling : {'model', 'own'}, default 'model'
        'model' scales by mean and standard deviation of the training ground: a concentration means the same on both
        areas. 'own' scales by those of the other area: a concentration means how unusual it is there.
    resample : bool, default False
        Bring the survey to the cell size of the training where it differs: averaged to greater cells, bilinear to
        smaller ones.
    threshold : float, default 0.5
        Probability from which ground counts as ore.

    Returns
    -------
    Transfer
        "All deposits are covered" means nothing by itself: a map that is ore everywhere does that. So the share of the
        map stands beside it, and the chance of as much by luck, from a binomial distribution. Deposits in
        clusters are fewer facts than their number, and make that chance too small.

    Raises
    ------
    InputError
        When bands are missing, units cannot be converted, or the cell size differs and `resample` is False: with a
        table of all that does not match.

    Warns
    -----
    DataWarning
        When deposits lie on no ground of the map.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area, other = (gp.synthetic.make_survey(area=name, shape=(64, 64), rng=0) for name in "AB")
    >>> survey, there = (gp.interpolate(one.samples[["Cu", "Au"]], one.grid) for one in (area, other))
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> done = gp.transfer(model, there, stride=4, device="cpu", resample=True)
    >>> done.bands["unit"].to_dict(), done.bands["factor"].to_dict()
    ({'Cu': 'ppm', 'Au': 'ppm'}, {'Cu': 1.0, 'Au': 1000.0})
    """
    check_choice("scaling", scaling, ("model", "own"))
    threshold = check_number("threshold", threshold, minimum=0, maximum=1)
    if deposits is not None:
        check_deposits(deposits)
    taken = _matched(model, survey, dict(names or {}), resample)
    converted = _converted(model, survey, taken)
    if resample:
        converted = _resampled(converted, model.cell_size)
    values = [converted[band].to_numpy().astype(np.float64) for band in model.bands]
    known = [one[np.isfinite(one)] for one in values]
    empty = [band for band, one in zip(model.bands, known, strict=True) if not one.size]
    if empty:
        raise InputError(f"survey: {empty[0]} has no data; leave it out of the model's bands, or take another survey")
    mean, spread = (np.array([take(one) for one in known]) for take in (np.mean, np.std))
    table = taken.assign(shift=(mean - model.offset) / model.scale, spread=spread / model.scale)
    if scaling == "own":
        flat = [band for band, sd in zip(model.bands, spread, strict=True) if not sd > 0]
        if flat:
            raise InputError(f"scaling='own': {flat[0]} is the same everywhere and has no scale; take 'model'")
        # What was learnt of its probabilities was learnt under the other scaling.
        model = replace(model, offset=mean, scale=spread, calibration=None, dense_check=None)
    result = predict(model, converted, stride, device, mode=mode, min_valid=min_valid, progress=progress)
    result.attrs["scaling"] = scaling
    return Transfer(result, table, scaling, threshold, *_worth(result.probability, deposits, threshold))


def _matched(model: ProspectivityModel, survey: xr.Dataset, names: dict[str, str], resample: bool) -> pd.DataFrame:
    """Return which band of the survey stands for each of the model's; raise with all that does not match."""
    grid = grid_of_survey(survey, turned=True)
    there, wrong, rows = list(map(str, survey.data_vars)), [], []
    wrong += [f"names: {band!r} is no band of the model" for band in names if band not in model.bands]
    for band, unit in zip(model.bands, model.units, strict=True):
        name = names.get(band, band)
        if name not in there:
            near = difflib.get_close_matches(name, there, 1, cutoff=0.4)
            absent = (
                f"names={{{band!r}: {name!r}}}: the survey has no band {name!r}" if band in names else "no such band"
            )
            wrong.append(f"{band}: {absent}" + (f"; names={{{band!r}: {near[0]!r}}}?" if near else ""))
            continue
        found, factor = str(survey[name].attrs.get("units", "")), 1.0
        if found != unit:
            try:
                factor = unit_factor(found, unit)
            except InputError as err:
                wrong.append(f"{band}: in {found!r}, trained in {unit!r} ({err})")
        rows.append((band, name, found, factor))
    if grid.crs.is_geographic:
        wrong.append(f"cell size: in {grid.unit}s; project the survey first, with interpolate or survey.rio.reproject")
    elif not resample and not np.allclose(grid.resolution, model.cell_size, rtol=_CELL_TOLERANCE, atol=0):
        wrong.append(
            "cell size: {:g} x {:g}, trained on {:g} x {:g}; pass resample=True".format(
                *grid.resolution, *model.cell_size
            )
        )
    if wrong:
        raise InputError(
            "survey: does not match the model:\n  " + "\n  ".join(wrong) + f"\nthe survey has {', '.join(there)}"
        )
    return pd.DataFrame(rows, columns=["band", "taken", "unit", "factor"]).set_index("band")


def _converted(model: ProspectivityModel, survey: xr.Dataset, taken: pd.DataFrame) -> xr.Dataset:
    """Return the model's bands under its names and in its units."""
    found = {}
    for band, unit in zip(model.bands, model.units, strict=True):
        source = survey[taken.loc[band, "taken"]]
        found[band] = (source * np.float32(taken.loc[band, "factor"])).assign_attrs(source.attrs | {"units": unit})
    return xr.Dataset(found)


def _resampled(survey: xr.Dataset, cell: tuple[float, float]) -> xr.Dataset:
    """Return the survey on cells of this size (dy, dx), from the same north-west corner."""
    import rioxarray  # noqa: F401  (training and prediction in memory need no raster library)

    grid = Grid.of(survey)
    if np.allclose(grid.resolution, cell, rtol=_CELL_TOLERANCE, atol=0):
        return survey
    check_north_up(grid, "survey")
    coarser = cell[0] * cell[1] > grid.resolution[0] * grid.resolution[1]
    (dy, dx), (ny, nx) = cell, grid.shape
    shape = (max(1, round(ny * grid.resolution[0] / dy)), max(1, round(nx * grid.resolution[1] / dx)))
    transform = type(grid.transform)(dx, 0, grid.transform.c, 0, -dy, grid.transform.f)
    moved = {}
    for name, band in survey.data_vars.items():
        kept = band.rio.write_crs(grid.crs.to_wkt()).rio.write_transform(grid.transform).rio.write_nodata(np.nan)
        moved[str(name)] = kept.rio.reproject(
            grid.crs.to_wkt(), transform=transform, shape=shape, resampling=_AVERAGE if coarser else _BILINEAR
        ).to_numpy()
    attrs = {str(name): band.attrs for name, band in survey.data_vars.items()}
    return Grid(grid.crs, transform, shape).dataset(moved, attrs)


def _worth(
    probability: xr.DataArray, deposits: gpd.GeoDataFrame | None, threshold: float
) -> tuple[int, int, float, float, Rates | None]:
    """Return deposits on the map, those on ore ground, its share, the chance of as many, and the rates."""
    score, grid = probability.to_numpy(), Grid.of(probability)
    area: NDArray[np.float64] = np.broadcast_to(cell_areas(grid), grid.shape) * np.isfinite(score)
    share = float(area[score >= threshold].sum() / area.sum()) if area.any() else np.nan
    if deposits is None:
        return 0, 0, share, np.nan, None
    found = rates(probability, deposits)
    x, y = grid.points(deposits.geometry)
    row, col = (at[grid.contains(x, y)] for at in grid.rowcol(x, y))
    at_deposits = score[row, col]
    n, covered = int(np.isfinite(at_deposits).sum()), int((at_deposits >= threshold).sum())
    return n, covered, share, float(binom.sf(covered - 1, n, share)), found
