"""The command line: parse, call one public function, write."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import click
from click.core import ParameterSource

from geoprospect._version import __version__
from geoprospect.errors import GeoprospectError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_INTERRUPTED = 130  # what a shell expects after Ctrl-C


def main() -> None:
    """Run the command line; turn the library's errors into a message and an exit code."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as err:
        err.show()
        sys.exit(err.exit_code)
    except (click.Abort, KeyboardInterrupt) as err:
        notes = getattr(err.__cause__ or err, "__notes__", [])  # click raises its own from the interrupt
        click.echo("; ".join(["interrupted; files that were not complete are not there", *notes]), err=True)
        sys.exit(_INTERRUPTED)
    except GeoprospectError as err:
        click.echo(f"Error: {err}", err=True)
        if "pass " in str(err) and "=" in str(err):
            click.echo(
                "What to pass as name=value is a key of the TOML file, or an option --name (see --help).", err=True
            )
        sys.exit(1)


# -- options that are fields of a section of the configuration ---------------------------------


class _Value(click.ParamType):  # type: ignore[type-arg]
    """A value of a field: checked by its type, and split at commas where it is a tuple."""

    def __init__(self, annotation: Any, name: str, split: bool) -> None:
        from pydantic import TypeAdapter

        self.adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        self.name, self.split = name, split

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of a text."""
        if self.split and isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        try:
            return self.adapter.validate_python(value)
        except ValueError as err:
            reasons: Any = err
            self.fail(f"{value!r}: {reasons.errors()[0]['msg'].lower()}", param, ctx)


def _option(name: str, field: FieldInfo, text: str) -> click.Option:
    """Return the option of a field."""
    kinds = [kind for kind in _members(field.annotation) if kind is not NoneType]
    choices = [choice for kind in kinds for choice in (get_args(kind) if get_origin(kind) is Literal else ())]
    containers = {get_origin(kind) for kind in kinds}
    how: dict[str, Any] = {"help": text, "show_default": field.default not in (None, ())}
    if kinds == [bool]:
        return click.Option([f"--{name}/--no-{name}"], default=field.default, **how)
    if all(isinstance(choice, str) for choice in choices) and all(get_origin(kind) is Literal for kind in kinds):
        return click.Option([f"--{name}"], type=click.Choice(choices), default=field.default, **how)
    annotation: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    kinds_shown = {str: "text", int: "integer", float: "number"}
    if containers & {dict, Mapping} or kinds == [tuple[float | str, ...]]:
        pairs, adapter = bool(containers & {dict, Mapping}), _Value(annotation, "text", False)

        def join(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> Any:
            return adapter.convert(_pairs(given) if pairs else [_number(one) for one in given], param, ctx)

        metavar = "[NAME=]VALUE" if pairs else None
        return click.Option([f"--{name}"], multiple=True, callback=join, metavar=metavar, help=text)
    split = tuple in containers
    kind = "list" if split else next(word for one, word in kinds_shown.items() if one in kinds)
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return click.Option([f"--{name}"], type=_Value(annotation, kind, split), default=default, **how)


def _members(annotation: Any) -> list[Any]:
    """Return the types that a union is made of, or the one type, without constraints."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for one in get_args(annotation) for member in _members(one)]
    return [annotation]


def _pairs(texts: tuple[str, ...]) -> Any:
    """Return {'Cu': 'ppm'} for 'Cu=ppm', the value for a value alone, and None for nothing."""
    if len(texts) == 1 and "=" not in texts[0]:
        return False if texts[0].lower() == "false" else texts[0]
    return {name: value for name, _, value in (text.partition("=") for text in texts)} or None


def _number(text: str) -> float | str:
    """Return a number where a text is one, else the text."""
    return float(text) if re.fullmatch(r"-?\d+(\.\d*)?(e[+-]?\d+)?", text.lower()) else text


class _Command(click.Command):
    """A command with options that are made from sections of the configuration.

    They are made when they are first used: `geoprospect --help` lists the commands and need not load the sections.
    """

    _own: list[click.Parameter]
    _made: bool

    @property
    def params(self) -> list[click.Parameter]:
        """The parameters: arguments, options of the sections, other options."""
        if not self._made:
            self._made = True
            arguments = [one for one in self._own if isinstance(one, click.Argument)]
            others = [one for one in self._own if not isinstance(one, click.Argument)]
            self._own = [*arguments, *(one for made in self._of_sections().values() for one in made.values()), *others]
        return self._own

    @params.setter
    def params(self, own: list[click.Parameter]) -> None:
        self._own, self._made = own, False

    def _of_sections(self) -> dict[str, dict[str, click.Option]]:
        """Return the option of each field of each section, by the parameter that takes the section."""
        from geoprospect import config

        made: dict[str, dict[str, click.Option]] = {}
        for parameter, section, leave_out, prefix, rename in getattr(self.callback, "sections", ()):
            texts = config.descriptions_of(getattr(config, section))
            made[parameter] = {
                name: _option(rename.get(name, prefix + name).replace("_", "-"), field, texts[name])
                for name, field in config.fields_of(getattr(config, section)).items()
                if name not in leave_out
            }
        return made

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command with a mapping for each section, of what was given; the rest is left to the defaults."""
        for parameter, options in self._of_sections().items():
            values = {name: (ctx.get_parameter_source(str(one.name)), ctx.params.pop(str(one.name)))
                      for name, one in options.items()}  # fmt: skip
            ctx.params[parameter] = {
                name: value for name, (source, value) in values.items() if source is not ParameterSource.DEFAULT
            }
        return super().invoke(ctx)


def _section(
    parameter: str, section: str, leave_out: Sequence[str] = (), prefix: str = "", **rename: str
) -> Callable[[Any], Any]:
    """Give a command the options of a section; it takes what was given of them as one mapping.

    Parameters
    ----------
    parameter : str
        The parameter of the command that takes the mapping.
    section : str
        Name of the section in `geoprospect.config`.
    leave_out : sequence of str
        Fields without an option.
    prefix : str
        Begin of every name, for example ``deposits_``.
    **rename : str
        Names of options by field.
    """

    def add(function: Any) -> Any:
        # Decorators are applied from the last one to the first.
        function.sections = [(parameter, section, leave_out, prefix, rename), *getattr(function, "sections", ())]
        return function

    return add


def _out(suffix: str) -> Callable[[Any], Any]:
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option("--out", type=kind, required=True, help=f"File to write ({suffix}).")


_table = _section("table", "SamplesSection", leave_out=["path"])
_known = _section("known", "DepositsSection", leave_out=["path"], prefix="deposits_", where="where")
_seed = click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random number.")
_device = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …; auto takes a GPU.")
_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


class _Group(click.Group):
    command_class = _Command


# -- commands ----------------------------------------------------------------------------------


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
@click.option("--quiet", is_flag=True, help="Print errors and warnings only.")
def cli(quiet: bool) -> None:
    """Map mineral prospectivity from geochemical samples and known deposits."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("geoprospect")
    log.handlers = [handler]
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    said: set[str] = set()

    def say_once(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            click.echo(f"warning: {message}", err=True)

    warnings.showwarning = say_once


@cli.command()
@click.option("--out", type=_folder, default=Path("demo"), show_default=True, help="Folder for the results.")
@click.option("--signal", type=float, default=1.0, show_default=True, help="Strength of the planted haloes (0 none).")
@_seed
@_device
def demo(out: Path, signal: float, seed: int, device: str) -> None:
    """Run the full workflow on a synthetic survey."""
    from geoprospect.pipeline import demo as workflow

    click.echo(
        "A synthetic survey shaped like that of Gao et al. (2022), in miniature: 384 x 384 cells instead of\n"
        "3072 x 3072, windows of 32 cells instead of 256, resnet18 for 15 epochs instead of resnet50 for 120.\n"
    )
    _report(workflow(out, signal=signal, seed=seed, device=device, progress=sys.stderr.isatty()))


@cli.command()
@click.argument("toml", type=_file)
@click.option("--out", type=_folder, required=True, help="Folder for the results.")
@_device
def run(toml: Path, out: Path, device: str) -> None:
    """Run the full workflow on your own files, which a TOML file describes."""
    from geoprospect.config import load_config

    config = load_config(toml)  # first, because what comes next takes seconds to load
    from geoprospect.pipeline import run as workflow

    _report(workflow(config, out, device=device, progress=sys.stderr.isatty()))


@cli.command()
@click.argument("samples", type=_file)
@_table
@click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), help="Also draw the report (.png).")
@click.option("--full", is_flag=True, help="List every element and every note.")
def check(samples: Path, table: dict[str, Any], figure: Path | None, full: bool) -> None:
    """Check a table of samples; exit code 1 where it cannot be read as it is."""
    from geoprospect.geochem.sample_check import check_samples

    found = check_samples(samples, **table)
    click.echo(found.report(full))
    if figure is not None:
        from geoprospect.plotting.sample_check_figure import write_check_figure

        click.echo(f"\n{write_check_figure(found, figure)}")
    if not found.usable:
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("samples", type=_file)
@_table
@_section("cells", "GridSection", crs="grid_crs")
@_section("settings", "InterpolationSection")
@click.option("--chunks", type=int, help="Cells along the chunks of a raster larger than memory, for example 1024.")
@_out(".tif")
def grid(
    samples: Path, table: dict[str, Any], cells: dict[str, Any], settings: dict[str, Any], chunks: int | None,
    out: Path,
) -> None:  # fmt: skip
    """Interpolate a table of samples to a raster of element bands (COG)."""
    import geoprospect as gp

    points = gp.read_samples(samples, **table)
    target = gp.Grid.covering(points, **cells)
    survey = gp.interpolate(points, target, chunks=chunks, progress=sys.stderr.isatty(), **settings)
    click.echo(f"{gp.write_cog(survey, out)}: {len(survey)} bands on {target}")


@cli.command()
@click.argument("survey", type=_file)
@click.argument("deposits", type=_file)
@_table
@_known
@click.option("--rule", type=click.Choice(["shift", "holm", "bh", "gao2022"]), default="shift", show_default=True,
              help="Rule of the selection.")  # fmt: skip
@_section("settings", "ScreeningSection", leave_out=["rule"])
@_seed
@_out(".csv")
def screen(
    survey: Path, deposits: Path, table: dict[str, Any], known: dict[str, Any], rule: Any, settings: dict[str, Any],
    seed: int, out: Path,
) -> None:  # fmt: skip
    """Rank elements, bands of a raster or columns of a table, by how well they separate deposits from background."""
    import geoprospect as gp

    area: Any
    if survey.suffix.lower() in (".tif", ".tiff", ".vrt", ".zarr"):
        area = gp.read_survey(survey)
        area = area[list(table["elements"])] if "elements" in table else area
    else:
        area = gp.read_samples(survey, **table)
    ranking = gp.screen(
        area, gp.read_deposits(deposits, **known), rng=seed, rule=rule, progress=sys.stderr.isatty(), **settings
    )  # fmt: skip
    ranking.to_csv(out)
    click.echo(ranking.drop(columns=["p_holm", "p_bh", "contrast"]).round(4).to_string())
    click.echo(f"{out}: {int(ranking['selected'].sum())} of {len(ranking)} elements selected by rule {rule!r}")


@cli.command()
@click.argument("survey", type=_file)
@click.argument("deposits", type=_file)
@_known
@click.option("--bands", help="Bands to train on, separated by commas; all by default.")
@_section("cut", "WindowsSection", recipe="windows_recipe")
@_section("training", "TrainingSection", leave_out=["weights"])
@click.option("--checkpoint", type=_folder, help="Folder in which the training is saved and from which it resumes.")
@click.option("--folds", type=int, default=5, show_default=True, help="Spatial folds; 0 to skip the validation.")
@_section("validation", "ValidationSection", ["folds"], block="fold_block", buffer="fold_buffer")
@_seed
@_device
@click.option("--out", type=_folder, required=True, help="Folder for the model.")
def train(
    survey: Path, deposits: Path, known: dict[str, Any], bands: str | None, cut: dict[str, Any],
    training: dict[str, Any], checkpoint: Path | None, folds: int, validation: dict[str, Any], seed: int, device: str,
    out: Path,
) -> None:  # fmt: skip
    """Validate on spatially separated folds, then train on all windows and save the model."""
    import geoprospect as gp
    from geoprospect._checks import check_names

    area = gp.read_survey(survey)
    if bands:
        names = [name.strip() for name in bands.split(",")]
        area = area[check_names("--bands", names, list(map(str, area.data_vars)))]
    windows = gp.sample_windows(area, gp.read_deposits(deposits, **known), rng=seed, **cut)
    settings = {"device": device, "progress": sys.stderr.isatty(), **training}
    if folds:
        split = {name: validation.pop(name) for name in ("scheme", "block", "buffer") if name in validation}
        click.echo(gp.cross_validate(windows, area, folds=gp.Folds(folds, **split), rng=seed, **validation, **settings))
    model = gp.train(windows, area, rng=seed, checkpoint=checkpoint, **settings)
    click.echo(f"{model.save(out)}: {model}")


@cli.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("survey", type=click.Path(exists=True, path_type=Path))
@_section("settings", "PredictionSection", leave_out=["cells"])
@click.option("--samples", type=_file, help="Samples, for a band with the distance to the nearest one.")
@click.option("--device", default="auto", show_default=True,
              help="cpu, cuda, cuda:1, …; auto takes a GPU; several, separated by commas, share the map.")  # fmt: skip
@click.option("--plan", is_flag=True, help="Only print what the map will need.")
@click.option("--anew", is_flag=True, help="Start again instead of resuming an interrupted map.")
@_out(".tif or .zarr")
def predict(
    model: Path, survey: Path, settings: dict[str, Any], samples: Path | None, device: str, plan: bool, anew: bool,
    out: Path,
) -> None:  # fmt: skip
    """Map the probability of ore with a saved model, on a GeoTIFF or Zarr store of any size."""
    import geoprospect as gp

    trained, devices = gp.ProspectivityModel.load(model), device.split(",")
    if plan:
        click.echo(gp.plan_inference(trained, survey, device=devices[0], **settings).summary)
        return
    path = gp.predict_to_cog(
        trained, survey, out, device=devices, samples=None if samples is None else gp.read_samples(samples),
        resume=not anew, progress=sys.stderr.isatty(), **settings,
    )  # fmt: skip
    from geoprospect.io.disk_sources import open_source

    click.echo(f"{path}: {open_source(path).grid}")


@cli.command()
@click.argument("prospectivity", type=_file)
@_section("settings", "TargetsSection")
@click.option("--deposits", type=_file, help="Known deposits, which mark the targets near them as known.")
@click.option("--reach", type=float, help="Distance within which a deposit belongs to a target; take half the window.")
@_known
@_out(".gpkg")
def targets(
    prospectivity: Path, settings: dict[str, Any], deposits: Path | None, reach: float | None, known: dict[str, Any],
    out: Path,
) -> None:  # fmt: skip
    """Outline and rank the targets of a probability map."""
    import geoprospect as gp
    from geoprospect._checks import check_names

    result = gp.read_survey(prospectivity)
    check_names("prospectivity", ["probability"], list(map(str, result.data_vars)))
    near = None if deposits is None else gp.read_deposits(deposits, **known)
    found = gp.delineate(result["probability"], deposits=near, reach=reach, **settings)
    click.echo(f"{gp.write_layers({'targets': found}, out)}: {len(found)} targets")


def _report(done: Any) -> None:
    """Print the scores, the honest ones first, and where everything is."""
    paper = done.paper_protocol
    if done.scores is not None:
        click.echo(f"\n{done.scores!r}")
    else:
        click.echo(done.summary)
    from geoprospect.pipeline import PAPER_PROTOCOL

    click.echo(f"\nBeside it, the {PAPER_PROTOCOL}:")
    click.echo(
        f"accuracy {paper.accuracy:.3f} (all barren: {paper.accuracy_barren:.3f}), balanced accuracy "
        f"{paper.balanced_accuracy:.3f}, macro F1 {paper.macro_f1:.3f}, rank AUC {paper.rank_auc:.3f}"
    )
    new = int((~done.targets["known"]).sum())
    click.echo(
        f"\n{len(done.targets)} targets, {new} of them with no known deposit within half a window. "
        + ("Probabilities are uncalibrated" + (", but for the band 'calibrated'." if done.model.calibration else "."))
    )
    for name, what in (
        ("survey.tif", "element bands (COG)"), ("prospectivity.tif", "probability of ore (COG)"),
        ("out_of_fold.tif", "scores of every method off its training ground (COG)"),
        ("targets.gpkg", "ranked targets, numbered cells, deposits"), ("ranking.csv", "screening of the bands"),
        ("scores.json", "all scores"), ("model", "the trained model"), ("figures", "pictures"),
    ):  # fmt: skip
        if (done.folder / name).exists():
            click.echo(f"  {done.folder / name}  {what}")
