"""One TOML file, one schema: what a run does."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoprospect._checks import check_input_file, did_you_mean, shown
from geoprospect.errors import InputError
from geoprospect.gridding.methods import METHODS, InterpolationSettings, Variogram

_Positive = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SamplesSection(_Section):
    """What `read_samples` is called with."""

    path: str
    x: str | None = None
    y: str | None = None
    crs: str | int | None = None
    elements: tuple[str, ...] | None = None
    units: str | dict[str, str] | None = None
    missing: tuple[float | str, ...] | None = None
    below: Literal["half", "sqrt2", "nan", "raise", "ros", "lrem"] = "half"
    negative: Literal["raise", "below", "missing"] = "raise"
    zero: Literal["keep", "below", "missing"] = "keep"
    limits: float | dict[str, float] | None = None
    flags: Literal[False] | dict[str, str] | None = None
    layer: str | None = None
    encoding: str = "utf-8-sig"


class DepositsSection(_Section):
    """What `read_deposits` is called with."""

    path: str
    crs: str | int | None = None
    where: str | None = None
    x: str | None = None
    y: str | None = None
    layer: str | None = None
    encoding: str = "utf-8-sig"


class GridSection(_Section):
    """What `Grid.covering` is called with."""

    shape: tuple[_Positive, _Positive] | None = None
    resolution: Annotated[float, Field(gt=0)] | None = None
    crs: str | int | None = None
    pad: Annotated[float, Field(ge=0)] = 0.0


class InterpolationSection(_Section):
    """What `interpolate` is called with; TOML knows no None, so "all" stands for every sample."""

    method: Literal[tuple(METHODS)] = "idw"  # type: ignore[valid-type]
    k: _Positive | Literal["all"] = 12
    power: Annotated[float, Field(gt=0)] = 2.0
    radius: Annotated[float, Field(gt=0)] | None = None
    min_samples: _Positive = 1
    variogram: Variogram = "spherical"
    damping: Annotated[float, Field(ge=0)] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments: the method and the settings that differ from their defaults."""
        settings = {**self.model_dump(exclude={"method"}), "k": None if self.k == "all" else self.k}
        return {"method": self.method, **InterpolationSettings(**settings).changed()}


class BandsSection(_Section):
    """What `read_bands` is called with, once for each."""

    path: str
    name: str | None = None
    column: str | None = None
    resampling: Literal["auto", "nearest", "bilinear", "cubic", "average", "mode"] = "auto"
    crs: str | int | None = None


class ScreeningSection(_Section):
    """What `screen` is called with; 'none' keeps every band."""

    rule: Literal["shift", "holm", "bh", "gao2022", "none"] = "shift"
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.01
    statistic: Literal["rank", "svm"] = "rank"
    validation: Literal["spatial", "resubstitution"] = "spatial"
    alternative: Literal["two-sided", "enriched", "depleted"] = "two-sided"
    n_barren: _Positive | None = None
    draws: _Positive = 10
    buffer: Annotated[float, Field(ge=0)] = 0.0
    permutations: Annotated[int, Field(ge=0)] = 1999

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `screen` but for its level."""
        return {**self.model_dump(exclude={"alpha"}), "rule": "holm" if self.rule == "none" else self.rule}


class WindowsSection(_Section):
    """What `sample_windows` is called with."""

    size: _Positive = 256
    crop: _Positive = 224
    n_ore: _Positive = 212
    n_barren: _Positive = 225
    buffer: Annotated[float, Field(ge=0)] = 0.0
    recipe: Literal["gao2022"] | None = None
    slide: _Share = 1.0
    step: _Positive = 1
    zooms: tuple[_Positive, ...] = (1,)
    barren: Literal["random", "dissimilar"] = "random"
    dissimilar: Annotated[float, Field(gt=0, le=1)] = 0.5
    draws: _Positive = 1
    min_valid: _Share = 0.5


class TrainingSection(_Section):
    """What `train` is called with; settings that are left out are those of the recipe."""

    network: Literal["resnet50", "resnet18", "mobilenet_v2", "googlenet", "shufflenet_v2_x1_0"] = "resnet50"
    recipe: Literal["default", "gao2022", "quick"] = "default"
    n_models: _Positive = 1
    weights: str | None = None
    epochs: _Positive | None = None
    batch: Annotated[int, Field(ge=2)] | None = None
    lr: Annotated[float, Field(gt=0)] | None = None
    momentum: _Share | None = None
    nesterov: bool | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    schedule: Literal["cosine", "halve", "constant"] | None = None
    halve_every: _Positive | None = None
    warmup: Annotated[int, Field(ge=0)] | None = None
    flips: bool | None = None
    rotations: bool | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    class_weight: Literal["balanced"] | None = None
    accumulate: _Positive | None = None
    halo: Annotated[int, Field(ge=0, multiple_of=32)] | None = None
    halo_from: _Share | None = None
    norm: Literal["batch", "group"] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    prior: Annotated[float, Field(gt=0, lt=1)] | None = None
    patience: _Positive | None = None
    precision: Literal["auto", "float32"] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments: what was left to the recipe is left out."""
        return self.model_dump(exclude_none=True)


class ValidationSection(_Section):
    """What `cross_validate` is called with."""

    folds: Annotated[int, Field(ge=2)] = 5
    scheme: Literal["regions", "blocks", "clusters", "leave-one-cluster-out"] = "regions"
    block: Annotated[float, Field(gt=0)] | None = None
    buffer: Annotated[float, Field(ge=0)] | None = None
    calibrated: bool = False
    map_stride: Annotated[int, Field(ge=0)] | None = None
    paper_protocol: bool = True


class PredictionSection(_Section):
    """What `predict` and `predict_cells` are called with; cells as wide as the windows by default."""

    stride: _Positive | None = None
    cells: tuple[_Positive, _Positive] | None = None
    min_valid: _Share = 0.5
    edge: Literal["drop", "pad"] = "drop"


class TargetsSection(_Section):
    """What `delineate` is called with."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_area: Annotated[float, Field(ge=0)] = 0.0


class Config(_Section):
    """A whole run. Every section but ``samples`` and ``deposits`` may be left out.

    Parameters
    ----------
    samples, deposits, grid, interpolation, bands, screening, windows, training, validation, prediction, targets
        Sections; their keys are the arguments of the functions that they name.
    title : str
        Stands in what is printed.
    seed : int
        From which everything draws.

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


_S = TypeVar("_S", bound=_Section)


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
    return section.model_copy(update={key: str(base / expanded)})


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Raise what pydantic refuses of an argument as an `InputError`, a line for each fault."""
    try:
        yield
    except ValidationError as err:
        raise InputError("\n".join(_explain(error, name) for error in err.errors())) from None


def _explain(error: Any, name: str) -> str:
    """Say in one line what is wrong, and suggest the nearest known key."""
    if not error["loc"]:
        return _explain_whole(error, name)
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        *parents, key = error["loc"]
        known = _keys_of(tuple(parents))
        cure = did_you_mean(str(key), known) or f"; there are {', '.join(known)}"
        return f"{where} is no key of this section{cure}"
    if error["type"] == "missing":
        return f"{where} is missing"
    return f"{where} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _explain_whole(error: Any, name: str) -> str:
    """Say what is wrong where no section can be looked at; what `Config` itself refused has been explained."""
    if isinstance(error.get("ctx", {}).get("error"), InputError):
        return str(error["ctx"]["error"])
    if error["type"] == "json_invalid":
        return f"{name}: is no valid JSON ({error['ctx']['error']})"
    return f"{name}={shown(error['input'])}: needs a mapping of sections, such as {{'samples': {{'path': 's.csv'}}, …}}"


def _keys_of(parents: tuple[Any, ...]) -> list[str]:
    """Return the keys that a section knows."""
    section: Any = Config
    for name in parents:
        if isinstance(name, str) and name in section.model_fields:
            annotation = section.model_fields[name].annotation
            section = next((a for a in (annotation, *get_args(annotation)) if _is_section(a)), section)
    return list(section.model_fields)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, _Section)
