"""`Table`: elements of samples, or bands of a survey, as named columns of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geoprospect.errors import InputError
from geoprospect.geochem.samples import Samples

Data = TypeVar("Data", Samples, xr.Dataset)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Bands or elements as flat columns."""

    kind: str  # 'survey' or 'samples'
    names: list[str]
    units: list[str]
    long_names: list[str]
    columns: list[NDArray[Any]]  # each (N,)
    dtype: np.dtype[Any]  # of what comes back

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def row(self) -> str:
        """What a row is called."""
        return "cell" if self.kind == "survey" else "sample"

    def items(self) -> Sequence[tuple[str, NDArray[Any], str]]:
        """Return name, values and unit of every column."""
        return list(zip(self.names, self.columns, self.units, strict=True))

    def labels(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return what rows are called: samples from 0, cells from 1."""
        return rows + (self.kind == "survey")

    def block(self, rows: NDArray[np.intp] | slice) -> Floats:
        """Return some rows side by side, (n, n_columns); what is infinite is missing."""
        block = np.column_stack([column[rows] for column in self.columns]).astype(np.float64)
        block[np.isinf(block)] = np.nan
        return block

    def frame(self, rows: NDArray[np.intp], values: Floats) -> pd.DataFrame:
        """Return a block with the names of its columns and rows."""
        return pd.DataFrame(values, index=self.labels(rows), columns=self.names)


def names_of(data: Any) -> list[str]:
    """Return the names of elements or bands; raise where it is neither."""
    if isinstance(data, Samples):
        return list(data.elements)
    if isinstance(data, xr.Dataset):
        return [str(name) for name in data.data_vars]
    raise InputError(
        f"data: is a {type(data).__name__}, needs a Dataset of bands or Samples; a single band is "
        "survey[['Cu']], with two pairs of brackets"
    )


def units_of(data: Samples | xr.Dataset) -> list[str]:
    """Return their units, '' where unknown."""
    if isinstance(data, Samples):
        return list(data.units)
    return [str(data[name].attrs.get("units", "")) for name in data.data_vars]


def table_of(data: Samples | xr.Dataset) -> Table:
    """Return the columns of samples, or of bands that share their dims; those of dask are computed."""
    names, units = names_of(data), units_of(data)
    if not names:
        raise InputError("data: has no bands or elements")
    if isinstance(data, Samples):
        return Table("samples", names, units, names, list(data.values.T), np.dtype(np.float64))
    first = data[names[0]]
    odd = [name for name in names if data[name].dims != first.dims]
    if odd:
        raise InputError(
            f"survey[{odd[0]!r}]: has dims {data[odd[0]].dims}, {names[0]!r} has {first.dims}; "
            f"leave it out: survey.drop_vars({odd[0]!r})"
        )
    long_names = [str(data[name].attrs.get("long_name", name)) for name in names]
    dtype = np.result_type(*(data[name].dtype for name in names))
    dtype = dtype if np.issubdtype(dtype, np.floating) else np.dtype(np.float32)
    return Table("survey", names, units, long_names, [data[name].to_numpy().ravel() for name in names], dtype)


def as_samples(
    samples: Samples, names: Sequence[str], columns: Sequence[NDArray[Any]], units: Sequence[str],
    limits: NDArray[Any] | None,
) -> Samples:  # fmt: skip
    """Return samples with other columns. Marks of values beyond a limit stay where the name does."""
    at = [samples.elements.index(name) if name in samples.elements else -1 for name in names]
    known = np.array(at) >= 0
    return replace(
        samples, values=np.column_stack(columns), elements=tuple(names), units=tuple(units),
        limits=np.full((len(samples), len(names)), np.nan) if limits is None else limits,
        censored=samples.censored[:, at] & known, over_range=samples.over_range[:, at] & known,
    )  # fmt: skip


def as_survey(
    survey: xr.Dataset, names: Sequence[str], bands: Sequence[Any], units: Sequence[str], long_names: Sequence[str]
) -> xr.Dataset:
    """Return a survey with other bands, flat or not, in the place of its own."""
    old = [survey[name] for name in survey.data_vars]
    result = survey.drop_vars([str(name) for name in survey.data_vars])
    taken = [name for name in names if name in result.variables]
    if taken:
        raise InputError(f"survey: {taken[0]!r} is the name of a coordinate; rename the band")
    for name, band, unit, long_name in zip(names, bands, units, long_names, strict=True):
        like = old[min(len(result.data_vars), len(old) - 1)]
        result[name] = (like.dims, band.reshape(like.shape), {"units": unit, "long_name": long_name})
        # Not the whole encoding: a dtype of int16 would cut z-scores to whole numbers in a NetCDF file.
        kept = {key: like.encoding[key] for key in ("grid_mapping",) if key in like.encoding}
        result[name].encoding.update({"_FillValue": np.nan, **kept})
    return result
