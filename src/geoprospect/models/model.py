"""`ProspectivityModel`: trained networks and all that is needed to use them on another day."""

from __future__ import annotations

import json
import keyword
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geoprospect._checks import check_int, nearest_name
from geoprospect._version import __version__
from geoprospect.errors import CorruptFileError, InputError, MissingFileError, NameNotFoundError, OutputError
from geoprospect.grid import grid_of_survey
from geoprospect.io.atomic import check_manifest, check_named, published, write_manifest
from geoprospect.models.applicability import Applicability
from geoprospect.models.dense import DenseCheck
from geoprospect.models.networks import build_network, head_of
from geoprospect.models.recipe import Recipe
from geoprospect.stats.calibration import Calibration
from geoprospect.windows.windows import Windows, check_windows

_FORMAT = 1
_META = "model.json"
_AREA = "applicability-{}.safetensors"
A = TypeVar("A", NDArray[np.float64], Tensor)
# Cell sizes closer than this share are one: a projection rounds.
_CELL_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class ProspectivityModel:
    """Trained networks with their bands, units, scaling, window and history.

    Made by `train`; applied by `predict` and `predict_cells`.

    Parameters
    ----------
    networks : tuple of torch.nn.Module
        One per training, in evaluation mode, on the CPU.
    network : str
        Architecture of them all.
    bands, units : tuple of str
        Names of the input bands in their order, and their units.
    offset, scale : ndarray of shape (n_bands,)
        The network sees (value - offset) / scale.
    size, crop : int
        Window that it was trained on and the part of it that it sees, in cells.
    cell_size : tuple of float
        (dy, dx) of the survey that it was trained on, in units of its CRS.
    seed : int
        From which the trainings drew.
    history : pandas.DataFrame
        One row per model and epoch: ``model``, ``epoch``, ``loss``, ``accuracy``, ``learning_rate``.
    settings : dict
        The training's other settings, for the record.
    norm : {'batch', 'group'}, default 'batch'
        Normalisation in the networks, as in `build_network`.
    calibration : Calibration, optional
        What makes its probabilities hold among balanced windows; maps then have a band ``calibrated``.
    dense_check : DenseCheck, optional
        What `check_dense` found, for ``predict(mode="auto")``.
    applicability : tuple of Applicability, optional
        Where the training windows lie among the features of each network; maps then have a band ``dissimilarity``.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> model
    ProspectivityModel(1 x resnet18 on 2 bands (Cu, Au), windows of 8 cells cropped to 8)
    """

    networks: tuple[nn.Module, ...]
    network: str
    bands: tuple[str, ...]
    units: tuple[str, ...]
    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    size: int
    crop: int
    cell_size: tuple[float, float]
    seed: int
    history: pd.DataFrame
    settings: dict[str, Any]
    norm: str = "batch"
    calibration: Calibration | None = None
    dense_check: DenseCheck | None = None
    applicability: tuple[Applicability, ...] | None = None

    def __repr__(self) -> str:
        """Architecture, bands and window."""
        names = ", ".join(self.bands[:8]) + (", …" if len(self.bands) > 8 else "")
        return (
            f"{type(self).__name__}({len(self.networks)} x {self.network} on {len(self.bands)} bands ({names}), "
            f"windows of {self.size} cells cropped to {self.crop})"
        )

    def calibrated(self, calibration: Calibration) -> Self:
        """Return the model with a calibration, which it keeps and its maps apply.

        Parameters
        ----------
        calibration : Calibration
            Learnt from windows that the networks have not seen: ``scores.calibrate()`` after `cross_validate`.

        Returns
        -------
        ProspectivityModel
            With the same networks.

        Raises
        ------
        InputError
            When it is no `Calibration`.
        """
        if not isinstance(calibration, Calibration):
            raise InputError(
                f"calibration: is a {type(calibration).__name__}, needs a Calibration, as scores.calibrate() returns it"
            )
        return replace(self, calibration=calibration)

    def dense_checked(self, check: DenseCheck) -> Self:
        """Return the model with what `check_dense` found, which it keeps and ``predict(mode="auto")`` goes by.

        Parameters
        ----------
        check : DenseCheck
            Of this model, on a survey that is like those to come.

        Returns
        -------
        ProspectivityModel
            With the same networks.

        Raises
        ------
        InputError
            When it is no `DenseCheck`.
        """
        if not isinstance(check, DenseCheck):
            raise InputError(f"check: is a {type(check).__name__}, needs a DenseCheck, as check_dense returns it")
        return replace(self, dense_check=check)

    def with_applicability(self, areas: Sequence[Applicability]) -> Self:
        """Return the model with the features of its training windows, which it keeps and its maps are compared with.

        Parameters
        ----------
        areas : sequence of Applicability
            One per network, from `fit_applicability`.

        Returns
        -------
        ProspectivityModel
            With the same networks.

        Raises
        ------
        InputError
            When there is not one `Applicability` for each network.
        """
        given = tuple(areas) if isinstance(areas, Iterable) else ()
        if not all(isinstance(one, Applicability) for one in given) or len(given) != len(self.networks):
            raise InputError(
                f"areas: needs one Applicability for each of the {len(self.networks)} networks, as fit_applicability "
                "returns them"
            )
        if not _same_features(given, self.networks):
            raise InputError("areas: are of networks with another number of features; fit them to this model")
        return replace(self, applicability=given)

    def recipe(self) -> Recipe:
        """Return how it was trained; what `settings` does not say as in the recipe 'default'.

        Returns
        -------
        Recipe
        """
        known = {one.name for one in fields(Recipe)}
        return Recipe(**{name: value for name, value in self.settings.items() if name in known})

    def stack(self, survey: xr.Dataset) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Take the model's bands out of a survey, scaled as in training.

        Parameters
        ----------
        survey : xarray.Dataset
            Must hold all bands of the model, in its units and cell size; others are ignored.

        Returns
        -------
        stack : ndarray of float32 of shape (n_bands, ny, nx)
            0 (the mean of training) where there are no data.
        valid : ndarray of bool of shape (ny, nx)
            Where all bands have data.

        Raises
        ------
        NameNotFoundError
            When bands are missing.
        InputError
            When units or cell size differ; the message lists every difference.
        """
        units = {str(name): str(band.attrs.get("units", "")) for name, band in survey.data_vars.items()}
        check_match(self, units, grid_of_survey(survey, turned=True).resolution)
        return stack_bands(survey, self.bands, self.offset, self.scale)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write weights (safetensors), description (JSON) and checksums into a folder.

        The folder appears, or replaces an older model, only when it is complete and read back.

        Parameters
        ----------
        folder : path-like
            A new name, or an earlier model's folder.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        OutputError
            When it cannot be written, or `folder` holds something that is no model.
        """
        path = Path(folder)
        if path.exists() and not (path / _META).is_file():
            raise OutputError(f"folder={str(path)!r}: is there and holds no model; take a new name")
        if not path.absolute().parent.is_dir():
            raise OutputError(f"folder={str(path)!r}: the folder {str(path.parent)!r} does not exist; make it first")
        meta = {
            "format": _FORMAT, "network": self.network, "norm": self.norm, "n_models": len(self.networks),
            "bands": list(self.bands), "units": list(self.units),
            "offset": self.offset.tolist(), "scale": self.scale.tolist(),
            "size": self.size, "crop": self.crop, "cell_size": list(self.cell_size), "seed": self.seed,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "dense_check": None if self.dense_check is None else self.dense_check.to_dict(),
            "applicability": None if self.applicability is None else [one.numbers() for one in self.applicability],
            "settings": self.settings, "history": self.history.to_dict(orient="list"),
            "versions": {"geoprospect": __version__, "torch": str(torch.__version__),
                         "python": platform.python_version()},
        }  # fmt: skip
        with published(path, lambda written: _same_weights(type(self).load(written), self)) as beside:
            beside.mkdir()
            for i, network in enumerate(self.networks):
                save_file(
                    {k: v.contiguous() for k, v in network.state_dict().items()}, beside / f"network-{i}.safetensors"
                )
            for i, area in enumerate(self.applicability or ()):
                save_file(area.tensors(), beside / _AREA.format(i))
            (beside / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
            write_manifest(beside)
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a model that `save` wrote.

        Parameters
        ----------
        folder : path-like
            Its folder.

        Returns
        -------
        ProspectivityModel
            With its networks on the CPU, in evaluation mode.

        Raises
        ------
        MissingFileError
            When there is no model.
        CorruptFileError
            When a file is damaged or was changed, or its weights do not fit its description.
        """
        path = Path(folder)
        if not (path / _META).is_file():
            raise MissingFileError(
                f"folder={str(path)!r}: holds no model; it is a folder that ProspectivityModel.save wrote"
            )
        named = check_manifest(path, [_META])
        try:
            meta = json.loads((path / _META).read_text(encoding="utf-8"))
            if meta["format"] != _FORMAT:
                raise CorruptFileError(
                    f"{path / _META}: has format {meta['format']}, this version reads {_FORMAT}; update geoprospect"
                )
            bands = tuple(map(str, meta["bands"]))
            n_models = check_int("n_models", meta["n_models"])
            norm = meta.get("norm", "batch")  # of which earlier descriptions say nothing
            files = [f"network-{i}.safetensors" for i in range(n_models)]
            areas = {_AREA.format(i): numbers for i, numbers in enumerate(meta.get("applicability") or ())}
            check_named(path, named, [*files, *areas])
            networks = tuple(_read_network(path / file, meta["network"], len(bands), norm) for file in files)
            model = cls(
                networks=networks, network=meta["network"], bands=bands, units=tuple(map(str, meta["units"])),
                offset=np.array(meta["offset"], dtype=np.float64), scale=np.array(meta["scale"], dtype=np.float64),
                size=check_int("size", meta["size"]), crop=check_int("crop", meta["crop"]),
                cell_size=(float(meta["cell_size"][0]), float(meta["cell_size"][1])),
                seed=check_int("seed", meta["seed"], 0), history=pd.DataFrame(meta["history"]),
                settings=dict(meta["settings"]), norm=norm,
                calibration=Calibration.from_dict(meta["calibration"]) if meta.get("calibration") else None,
                dense_check=DenseCheck.from_dict(meta["dense_check"]) if meta.get("dense_check") else None,
                applicability=tuple(_read_area(path / f, numbers) for f, numbers in areas.items()) or None,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, IndexError, RecursionError) as err:
            raise CorruptFileError(f"{path / _META}: does not describe a model ({err})") from err
        _check_description(model, path / _META)
        return model


def standardized(values: A, offset: Any, scale: Any) -> A:
    """Scale float64 values in place as the networks see them, and return them; round them to float32 afterwards."""
    values -= offset
    values /= scale
    return values


def stack_bands(
    survey: xr.Dataset, bands: tuple[str, ...], offset: NDArray[np.float64], scale: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return scaled bands (C, Y, X) with 0 for no data, and where all have data (Y, X)."""
    stack = np.empty((len(bands), survey.sizes["y"], survey.sizes["x"]), dtype=np.float32)
    valid = np.ones(stack.shape[1:], dtype=bool)
    for plane, name, o, s in zip(stack, bands, offset, scale, strict=True):
        values = survey[name].transpose("y", "x").to_numpy()
        finite = np.isfinite(values)
        valid &= finite
        plane[...] = np.where(finite, standardized(values.astype(np.float64), o, s), 0)
    return stack, valid


def check_model(model: Any) -> None:
    """Raise where `model` is none.

    Raises
    ------
    InputError
    """
    if not isinstance(model, ProspectivityModel):
        raise InputError(f"model: is a {type(model).__name__}, needs a ProspectivityModel, as from train")


def check_fit(model: ProspectivityModel, windows: Windows, survey: xr.Dataset) -> None:
    """Raise where windows are not of the model's crop, or not cut on the survey.

    Raises
    ------
    InputError
    """
    check_model(model)
    check_windows(windows, survey)
    grid = grid_of_survey(survey)
    if windows.crop != model.crop or windows.grid != grid:
        raise InputError(f"windows: {windows} do not fit the model (crop {model.crop}) on {grid}")


def check_match(model: ProspectivityModel, units: Mapping[str, str], cell: tuple[float, float]) -> None:
    """Raise with every difference between what the model was trained on and a survey.

    Parameters
    ----------
    model : ProspectivityModel
        With its bands.
    units : mapping of str to str
        Of the survey's bands.
    cell : tuple of float
        Cell size (dy, dx) of the survey.

    Raises
    ------
    NameNotFoundError
        When bands are missing.
    InputError
        When units or cell size differ.
    """
    absent = [band for band in model.bands if band not in units]
    if absent:
        others = [band for band in units if band not in model.bands]
        near = {found: band for band in absent if (found := nearest_name(band, others)) is not None}
        raise NameNotFoundError(
            f"survey: lacks the bands {', '.join(absent)} of the model; it has {', '.join(units)}{_rename(near)}"
        )
    differences = [
        f"{band}: units {units[band]!r}, trained in {unit!r}"
        for band, unit in zip(model.bands, model.units, strict=True)
        if units[band] != unit
    ]
    cures, calls = (["convert the units"], _convert(model, units)) if differences else ([], "")
    if not np.allclose(cell, model.cell_size, rtol=_CELL_TOLERANCE, atol=0):
        cures.append("interpolate onto a grid of that cell size")
        calls += ", or let gp.transfer(model, survey, resample=True) do it"
        differences.append(
            f"cell size {cell[0]:g} x {cell[1]:g}, trained on {model.cell_size[0]:g} x {model.cell_size[1]:g}"
        )
    if differences:
        raise InputError(
            "survey: does not match the model:\n  " + "\n  ".join(differences) + f"\n{' and '.join(cures)}{calls}"
        )


def _rename(near: Mapping[str, str]) -> str:
    """Return the call that renames bands to those of the model, as the end of a message; nothing where none is near."""
    if not near:
        return ""
    plain = all(name.isidentifier() and not keyword.iskeyword(name) for name in near)
    names = ", ".join(f"{name}={band!r}" for name, band in near.items()) if plain else repr(dict(near))
    return f"; did you mean {', '.join(near)}? rename: survey.rename({names})"


def _convert(model: ProspectivityModel, units: Mapping[str, str]) -> str:
    """Return the call that converts bands to the units of the model; where a unit is not known, where to write it."""
    wrong = {band: unit for band, unit in zip(model.bands, model.units, strict=True) if units[band] != unit}
    unknown = [band for band, unit in wrong.items() if not (unit and units[band])]
    if unknown:
        return f"; where a unit is not said but known, set it: survey[{unknown[0]!r}].attrs['units'] = …"
    return f": gp.convert_units(survey, {wrong})"


def _check_description(model: ProspectivityModel, file: Path) -> None:
    """Raise where numbers that were read one by one do not fit together."""
    n, finite = len(model.bands), bool(np.isfinite([*model.offset.ravel(), *model.scale.ravel()]).all())
    if not (model.offset.shape == model.scale.shape == (n,) and finite and (model.scale > 0).all()):
        raise CorruptFileError(f"{file}: its scaling is not one finite offset and positive scale per band")
    if len(model.units) != n:
        raise CorruptFileError(f"{file}: has {len(model.units)} units for {n} bands")
    areas = model.applicability
    if areas is not None and (len(areas) != len(model.networks) or not _same_features(areas, model.networks)):
        raise CorruptFileError(f"{file}: its training features are not those of its networks")
    if model.crop > model.size or not all(0 < step < math.inf for step in model.cell_size):
        raise CorruptFileError(
            f"{file}: size={model.size}, crop={model.crop}, cell_size={model.cell_size} describe no window"
        )


def _same_features(areas: Sequence[Applicability], networks: Sequence[nn.Module]) -> bool:
    """Return whether areas are of as many features as the heads of the networks have."""
    pairs = zip(areas, networks, strict=True)
    return all(area.projection.shape[1] == head_of(network)[1].in_features for area, network in pairs)


def _read_network(file: Path, name: str, n_bands: int, norm: str) -> nn.Module:
    network = build_network(name, n_bands, norm=norm)
    try:
        state = load_file(file)
        network.load_state_dict(state, strict=True)
    except (SafetensorError, OSError, RuntimeError) as err:
        raise CorruptFileError(
            f"{file}: its weights do not fit a {name} of {n_bands} bands, norm={norm!r} ({err})"
        ) from err
    bad = [key for key, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if bad:
        raise CorruptFileError(f"{file}: {bad[0]} holds values that are not finite")
    return network.eval()


def _read_area(file: Path, numbers: Mapping[str, Any]) -> Applicability:
    try:
        return Applicability.from_parts(load_file(file), numbers)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as err:
        raise CorruptFileError(f"{file}: does not describe the features of training windows ({err})") from err


def _same_weights(read: ProspectivityModel, meant: ProspectivityModel) -> None:
    for one, other in zip(read.networks, meant.networks, strict=True):
        for key, tensor in other.state_dict().items():
            if not torch.equal(one.state_dict()[key], tensor.cpu()):
                raise CorruptFileError(f"{key} does not read back as it was written")
