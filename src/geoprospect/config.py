"""Configuration of a run: sections of a TOML file and their schema.

A section takes its fields, types, defaults and checks from the dataclass with the settings of the function that it is
for, where there is one, and adds the other arguments of the function. The documentation and the command line take
names, defaults and descriptions from here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from geoprospect import _settings
from geoprospect._checks import check_input_file, did_you_mean, shown
from geoprospect.errors import InputError
from geoprospect.geochem.table_options import TableArguments
from geoprospect.gridding.methods import METHODS, InterpolationSettings
from geoprospect.models.architectures import ARCHITECTURES
from geoprospect.models.recipe import RECIPES, Recipe
from geoprospect.prediction.settings import PredictionSettings
from geoprospect.screening.settings import ScreenSettings
from geoprospect.windows.settings import Folds, Scheme, WindowSettings

_Positive = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, le=1)]
# TOML has no None: the word "all" is None.
_PositiveOrAll = Annotated[_Positive | None, BeforeValidator(lambda given: None if given == "all" else given)]
_STRICT = ConfigDict(extra="forbid")


def _left_out(settings: type[Any]) -> type[Any]:
    """Return a dataclass with the fields of another, each of them None where it is left out."""
    hints = get_type_hints(settings)
    return dataclasses.make_dataclass(
        f"{settings.__name__}LeftOut",
        [(field.name, hints[field.name] | None, None) for field in dataclasses.fields(settings)],
        namespace={"__doc__": settings.__doc__, "__module__": __name__},
        kw_only=True,
        frozen=True,
    )


if TYPE_CHECKING:
    _RecipeLeftOut = Recipe  # type checkers cannot know that its fields may be None
else:
    _RecipeLeftOut = _left_out(Recipe)


class _Section:
    """A section; its fields are arguments of the function that it is for."""

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the function."""
        return {name: getattr(self, name) for name in fields_of(type(self))}


def fields_of(section: type[Any]) -> dict[str, FieldInfo]:
    """Return the fields of a section by name: its own, then those of the classes it is made of, in their order."""
    names: list[str] = []
    for one in section.__mro__:
        own = list(inspect.get_annotations(one))
        names = [name for name in names if name not in own] + own
    return {name: section.__pydantic_fields__[name] for name in names if name in section.__pydantic_fields__}


def descriptions_of(section: type[Any]) -> dict[str, str]:
    """Return the first sentence about each field in the docstrings of a section and the classes it is made of."""
    found: dict[str, str] = {}
    for one in reversed(section.__mro__):
        found |= _settings.descriptions(one)
    return {name: found[name] for name in fields_of(section)}


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SamplesSection(_Section, TableArguments):
    """Arguments of `read_samples`.

    Parameters
    ----------
    path : str
        CSV or vector file of samples.
    """

    path: str
    crs: str | int | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DepositsSection(_Section):
    """Arguments of `read_deposits`.

    Parameters
    ----------
    path : str
        Vector file or CSV of known deposits.
    crs : str or int, optional
        CRS of a CSV, or of a vector file that has none.
    where : str, optional
        Which deposits to keep, a pandas query such as "commodity == 'Copper'".
    x : str, optional
        Column of x or longitude of a CSV.
    y : str, optional
        Column of y or latitude of a CSV.
    layer : str, optional
        Layer of a vector file that has several.
    encoding : str
        Encoding of a CSV, such as latin-1, gbk or utf-16.
    """

    path: str
    crs: str | int | None = None
    where: str | None = None
    x: str | None = None
    y: str | None = None
    layer: str | None = None
    encoding: str = "utf-8-sig"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GridSection(_Section):
    """Arguments of `Grid.covering`.

    Parameters
    ----------
    shape : tuple of int, optional
        Rows and columns of the grid.
    resolution : float, optional
        Cell size in units of the CRS (default a quarter of the sample spacing).
    crs : str or int, optional
        CRS of the grid (default that of the samples, or their UTM zone).
    pad : float
        Margin around the samples, in units of the CRS.
    """

    shape: tuple[_Positive, _Positive] | None = None
    resolution: Annotated[float, Field(gt=0)] | None = None
    crs: str | int | None = None
    pad: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class InterpolationSection(_Section, InterpolationSettings):
    """Arguments of `interpolate`.

    Parameters
    ----------
    method : str
        Interpolation method.
    k : int or "all"
        Number of nearest samples that a cell is computed from, or "all".
    """

    method: Literal[tuple(METHODS)] = "idw"  # type: ignore[valid-type]
    k: _PositiveOrAll = 12

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments: the method and the settings that differ from their defaults."""
        return {"method": self.method, **self.changed()}


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class BandsSection(_Section):
    """Arguments of `read_bands`, once for each `[[bands]]`.

    Parameters
    ----------
    path : str
        Raster or vector file.
    name : str, optional
        Name of the band (default that of the file).
    column : str, optional
        Attribute of a polygon layer that holds the classes.
    resampling : str
        Resampling method.
    crs : str or int, optional
        CRS of a file that has none.
    """

    path: str
    name: str | None = None
    column: str | None = None
    resampling: Literal["auto", "nearest", "bilinear", "cubic", "average", "mode"] = "auto"
    crs: str | int | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ScreeningSection(_Section, ScreenSettings):
    """Arguments of `screen`.

    Parameters
    ----------
    rule : str
        Rule of the selection, with "none" for all bands.
    alpha : float
        Level of the selection.
    """

    rule: Literal["shift", "holm", "bh", "gao2022", "none"] = "shift"
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.01

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `screen` but for its level."""
        given = super().arguments()
        del given["alpha"]
        return {**given, "rule": "holm" if self.rule == "none" else self.rule}


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class WindowsSection(_Section, WindowSettings):
    """Arguments of `sample_windows`.

    Parameters
    ----------
    size : int
        Width of a window, in cells.
    crop : int
        Width of the part of a window that the network sees, in cells.
    n_ore : int
        Number of ore windows.
    n_barren : int
        Number of background windows.
    recipe : str, optional
        Windows as in the paper, with "gao2022".
    """

    size: _Positive = 256
    crop: _Positive = 224
    n_ore: _Positive = 212
    n_barren: _Positive = 225
    recipe: Literal["gao2022"] | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainingSection(_Section, _RecipeLeftOut):
    """Arguments of `train`; the fields of `Recipe` that are left out are those of the recipe.

    Parameters
    ----------
    network : str
        Architecture of the network.
    recipe : str
        Recipe that provides the settings which are left out.
    n_models : int
        Networks for each replicate of background windows, whose spread is a band of the map.
    weights : str, optional
        Safetensors file with weights to start from.
    """

    network: Literal[tuple(ARCHITECTURES)] = "resnet50"  # type: ignore[valid-type]
    recipe: Literal[tuple(RECIPES)] = "default"  # type: ignore[valid-type]
    n_models: _Positive = 1
    weights: str | None = None

    def __post_init__(self) -> None:
        """Check the settings together with those of the recipe."""
        names = [field.name for field in dataclasses.fields(Recipe)]
        Recipe.of(self.recipe, **{name: value for name, value in self.arguments().items() if name in names})

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `train` that were not left out."""
        return {name: value for name, value in super().arguments().items() if value is not None}


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ValidationSection(_Section):
    """Arguments of `cross_validate`.

    Parameters
    ----------
    folds : int
        Number of spatial folds; fewer where deposits form fewer clusters.
    scheme : str
        Scheme of the spatial folds.
    block : float, optional
        Side of a square block, in units of the CRS.
    buffer : float, optional
        Distance between training and test windows (default the range of spatial correlation, as far as it fits).
    calibrated : bool
        Also calibrate within each fold, which trains twice.
    map_stride : int, optional
        Cells between windows of the out-of-fold map, 0 for no map.
    paper_protocol : bool
        Also validate on a held-out random split, as in the paper.
    """

    folds: Annotated[int, Field(ge=2)] = 5
    scheme: Scheme = "regions"
    block: float | None = None
    buffer: float | None = None
    calibrated: bool = False
    map_stride: Annotated[int, Field(ge=0)] | None = None
    paper_protocol: bool = True

    def __post_init__(self) -> None:
        """Check the settings of the folds."""
        self.arguments()

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments, with those of `Folds` as one object."""
        given = super().arguments()
        for name in ("scheme", "block", "buffer"):
            del given[name]
        return {**given, "folds": Folds(self.folds, self.scheme, self.block, self.buffer)}


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PredictionSection(_Section, PredictionSettings):
    """Arguments of `predict` and `predict_cells`.

    Parameters
    ----------
    stride : int, optional
        Cells between windows (default an eighth of the window).
    cells : tuple of int, optional
        Rows and columns of numbered cells (default cells as wide as the windows).
    """

    stride: _Positive | None = None
    cells: tuple[_Positive, _Positive] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `predict`."""
        return {name: value for name, value in super().arguments().items() if name != "cells"}


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TargetsSection(_Section):
    """Arguments of `delineate`.

    Parameters
    ----------
    threshold : float
        Smallest probability of a target.
    min_area : float
        Smallest area of a target, in km².
    """

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_area: Annotated[float, Field(ge=0)] = 0.0


class Config(BaseModel):
    """A whole run. Every section but ``samples`` and ``deposits`` may be left out.

    Parameters
    ----------
    samples, deposits, grid, interpolation, bands, screening, windows, training, validation, prediction, targets
        Sections; their keys are the arguments of the functions that they name.
    title : str
        Title of the reports.
    seed : int
        Seed of every random number.

    Raises
    ------
    InputError
        When a section or key is unknown (the message suggests the right one), one is missing, or a value is
        out of its range.

    Examples
    --------
    >>> import geoprospect as gp
    >>> config = gp.Config(samples={"path": "samples.csv", "crs": "EPSG:4326"}, deposits={"path": "mines.gpkg"})
    >>> config.training.network, config.windows.size
    ('resnet50', 256)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: SamplesSection
    deposits: DepositsSection
    grid: GridSection = GridSection()
    interpolation: InterpolationSection = InterpolationSection()
    bands: tuple[BandsSection, ...] = ()
    screening: ScreeningSection = ScreeningSection()
    windows: WindowsSection = WindowsSection()
    training: TrainingSection = TrainingSection()
    validation: ValidationSection = ValidationSection()
    prediction: PredictionSection = PredictionSection()
    targets: TargetsSection = TargetsSection()
    title: str = "survey"
    seed: Annotated[int, Field(ge=0)] = 0

    def __init__(self, /, **sections: Any) -> None:
        """Check the sections."""
        with _explained("sections"):
            super().__init__(**sections)

    @classmethod
    def model_validate(cls, obj: Any, **how: Any) -> Self:
        """Return the configuration that a mapping of sections describes."""
        if isinstance(obj, Mapping) and (wrong := [key for key in obj if not isinstance(key, str)]):
            raise InputError(f"obj: has the key {wrong[0]!r}; sections have names, such as 'samples'")
        with _explained("obj"):
            return super().model_validate(obj, **how)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **how: Any) -> Self:
        """Return the configuration that a text in JSON describes."""
        with _explained("json_data"):
            return super().model_validate_json(json_data, **how)

    @classmethod
    def model_validate_strings(cls, obj: Any, **how: Any) -> Self:
        """Return the configuration that a mapping of sections describes, all their values texts."""
        with _explained("obj"):
            return super().model_validate_strings(obj, **how)


_S = TypeVar("_S", SamplesSection, DepositsSection, BandsSection, TrainingSection)


def load_config(path: str | os.PathLike[str]) -> Config:
    r"""Read the TOML file of a run.

    Paths in it are relative to the file; ``$NAME`` and ``${NAME}`` in a path stand for environment
    variables.

    Parameters
    ----------
    path : path-like
        The TOML file.

    Returns
    -------
    Config
        With absolute paths.

    Raises
    ------
    MissingFileError
        When there is no such file.
    InputError
        When it is no TOML, has unknown or duplicate keys (the message suggests the right one), a
        value is out of its range, or an environment variable is not set.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoprospect as gp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "survey.toml"
    >>> _ = path.write_text('[samples]\npath = "s.csv"\n[deposits]\npath = "d.gpkg"\n[training]\nepoch = 3\n')
    >>> gp.load_config(path)
    Traceback (most recent call last):
        ...
    geoprospect.errors.InputError: survey.toml: training.epoch is no key of this section; did you mean 'epochs'?
    """
    file = check_input_file("path", path)
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise InputError(f"{file.name}: is no valid TOML ({err})") from err
    try:
        config = Config(**raw)
    except InputError as err:
        raise InputError("\n".join(f"{file.name}: {line}" for line in str(err).splitlines())) from None
    base = file.absolute().parent
    return config.model_copy(
        update={
            "samples": _with_path(config.samples, base),
            "deposits": _with_path(config.deposits, base),
            "bands": tuple(_with_path(band, base) for band in config.bands),
            "training": _with_path(config.training, base, "weights"),
        }
    )


def _with_path(section: _S, base: Path, key: str = "path") -> _S:
    """Return the section with an absolute path, its environment variables filled in."""
    text = getattr(section, key)
    if text is None:
        return section
    expanded = os.path.expandvars(text)
    unset = re.search(r"\$\{?(\w+)\}?", expanded)
    if unset:
        raise InputError(
            f"{key} = {text!r}: the environment variable {unset[1]} is not set; set it, for example "
            f"export {unset[1]}=/data, or write the path out"
        )
    changed: Any = {key: str(base / expanded)}
    return dataclasses.replace(section, **changed)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Raise what pydantic refuses of an argument as an `InputError`, a line for each fault."""
    try:
        yield
    except ValidationError as err:
        raise InputError("\n".join(_explain(error, name) for error in err.errors())) from None


def _explain(error: Any, name: str) -> str:
    """Return one line about a fault, with the nearest known key."""
    cause = error.get("ctx", {}).get("error")
    where = ".".join(map(str, error["loc"]))
    if isinstance(cause, InputError):  # of the settings of a section; those of `Config` have been explained
        return f"{where}.{cause}" if where else str(cause)
    if not where and error["type"] == "json_invalid":
        return f"{name}: is no valid JSON ({cause})"
    if not where:
        rule = "needs a mapping of sections, such as {'samples': {'path': 's.csv'}, …}"
        return f"{name}={shown(error['input'])}: {rule}"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *parents, key = error["loc"]
        known = _keys_of(tuple(parents))
        hint = did_you_mean(str(key), known) or f"; there are {', '.join(known)}"
        return f"{where} is no key of this section{hint}"
    if error["type"] == "missing":
        return f"{where} is missing"
    return f"{where} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def section_of(annotation: Any) -> Any:
    """Return the section that a field of `Config` holds, alone or several times; None where it holds none."""
    return next((a for a in (annotation, *get_args(annotation)) if hasattr(a, "__pydantic_fields__")), None)


def _keys_of(parents: tuple[Any, ...]) -> list[str]:
    """Return the keys of a section."""
    return list(fields_of(section_of(Config.model_fields[parents[0]].annotation)) if parents else Config.model_fields)
