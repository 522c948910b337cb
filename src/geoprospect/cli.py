"""The command line: parse, call one public function, write."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from geoprospect._version import __version__
from geoprospect.errors import GeoprospectError
from geoprospect.gridding.methods import METHODS, InterpolationSettings

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


def _out(suffix: str) -> Callable[[Any], Any]:
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option("--out", type=kind, required=True, help=f"File to write ({suffix}).")


def _table_options(command: Any) -> Any:
    """Add the options of `read_samples` that most tables need."""
    for option in (
        click.option("--x", help="Column of x or longitude; the usual names are found."),
        click.option("--y", help="Column of y or latitude."),
        click.option("--crs", help="CRS of a CSV, for example EPSG:4326."),
        click.option("--elements", help="Columns to take, separated by commas; default: all that look like elements."),
        click.option("--units", help="Unit of all elements whose header has none."),
        click.option("--missing", multiple=True, help="Number or word that means missing, for example -9999."),
        click.option("--negative", type=click.Choice(["raise", "below", "missing"]), default="raise",
                     show_default=True, help="What a negative concentration is: below its absolute value, missing, …"),
        click.option("--zero", type=click.Choice(["keep", "below", "missing"]), default="keep", show_default=True,
                     help="What a zero is."),
        click.option("--encoding", default="utf-8-sig", show_default=True, help="Of a CSV: latin-1, gbk, utf-16, …"),
    ):  # fmt: skip
        command = option(command)
    return command


_below = click.option(
    "--below", type=click.Choice(["half", "sqrt2", "nan", "raise", "ros", "lrem"]), default="half", show_default=True,
    help="What stands for a value below detection.",
)  # fmt: skip
_where = click.option("--where", help="Which deposits, for example \"commodity == 'Copper'\".")
_deposits_crs = click.option("--deposits-crs", help="CRS of a deposits CSV.")
_seed = click.option("--seed", type=int, default=0, show_default=True, help="From which everything draws.")
_device = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …; auto takes a GPU.")
_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
@click.option("--quiet", is_flag=True, help="Say only what went wrong.")
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
@click.option("--signal", type=float, default=1.0, show_default=True, help="Strength of the planted haloes; 0: none.")
@_seed
@_device
def demo(out: Path, signal: float, seed: int, device: str) -> None:
    """Do the whole way on the embedded synthetic survey."""
    from geoprospect.pipeline import demo as whole_way

    click.echo(
        "A synthetic survey shaped like that of Gao et al. (2022), in miniature: 384 x 384 cells instead of\n"
        "3072 x 3072, windows of 32 cells instead of 256, resnet18 for 15 epochs instead of resnet50 for 120.\n"
    )
    _report(whole_way(out, signal=signal, seed=seed, device=device, progress=sys.stderr.isatty()))


@cli.command()
@click.argument("toml", type=_file)
@click.option("--out", type=_folder, required=True, help="Folder for the results.")
@_device
def run(toml: Path, out: Path, device: str) -> None:
    """Do the whole way on your own files, described in a TOML file."""
    from geoprospect.config import load_config

    config = load_config(toml)  # first, because what comes next takes seconds to load
    from geoprospect.pipeline import run as whole_way

    _report(whole_way(config, out, device=device, progress=sys.stderr.isatty()))


@cli.command()
@click.argument("samples", type=_file)
@_table_options
@click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), help="Also draw the report (.png).")
@click.option("--full", is_flag=True, help="List every element and every note.")
def check(
    samples: Path, x: str | None, y: str | None, crs: str | None, elements: str | None, units: str | None,
    missing: tuple[str, ...], negative: Any, zero: Any, encoding: str, figure: Path | None, full: bool,
) -> None:  # fmt: skip
    """Look a table of samples through; exit code 1 where it cannot be read as it is."""
    from geoprospect.geochem.sample_check import check_samples

    found = check_samples(
        samples, x, y, crs, _names(elements), units, _codes(missing), negative=negative, zero=zero, encoding=encoding
    )
    click.echo(found.report(full))
    if figure is not None:
        from geoprospect.plotting.sample_check_figure import write_check_figure

        click.echo(f"\n{write_check_figure(found, figure)}")
    if not found.usable:
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("samples", type=_file)
@_table_options
@_below
@click.option("--resolution", type=float, help="Cell size in metres; default: a quarter of the sample spacing.")
@click.option("--grid-crs", help="CRS of the grid; default: that of the samples, or their UTM zone.")
@click.option(
    "--method", type=click.Choice(list(METHODS)), default="idw", show_default=True,
    help="; ".join(f"{one.name}: {one.description}" for one in METHODS.values()) + ".",
)  # fmt: skip
@click.option("--k", default="12", show_default=True, help="Nearest samples, or all.")
@click.option("--power", type=float, default=2.0, show_default=True, help="Exponent of the distance.")
@click.option("--radius", type=float, help="No values farther than this from a sample.")
@click.option("--chunks", type=int, help="Cells along the pieces of a raster larger than memory, for example 1024.")
@_out(".tif")
def grid(
    samples: Path, x: str | None, y: str | None, crs: str | None, elements: str | None, units: str | None,
    missing: tuple[str, ...], negative: Any, zero: Any, encoding: str, below: Any, resolution: float | None,
    grid_crs: str | None, method: str, k: str, power: float, radius: float | None, chunks: int | None, out: Path,
) -> None:  # fmt: skip
    """Interpolate a table of samples into a raster of element bands (COG)."""
    import geoprospect as gp

    table = gp.read_samples(
        samples,
        x,
        y,
        crs,
        _names(elements),
        units,
        _codes(missing),
        below=below,
        negative=negative,
        zero=zero,
        encoding=encoding,
    )
    cells = gp.Grid.covering(table, resolution=resolution, crs=grid_crs)
    settings = InterpolationSettings(k=None if k == "all" else _whole_number(k), power=power, radius=radius)
    survey = gp.interpolate(table, cells, method, chunks=chunks, progress=sys.stderr.isatty(), **settings.changed())
    click.echo(f"{gp.write_cog(survey, out)}: {len(survey)} bands on {cells}")


@cli.command()
@click.argument("survey", type=_file)
@click.argument("deposits", type=_file)
@_table_options
@_below
@_where
@_deposits_crs
@click.option("--alpha", type=float, default=0.01, show_default=True, help="Level of the selection.")
@click.option("--rule", type=click.Choice(["shift", "holm", "bh", "gao2022"]), default="shift", show_default=True)
@click.option("--statistic", type=click.Choice(["rank", "svm"]), default="rank", show_default=True)
@click.option("--validation", type=click.Choice(["spatial", "resubstitution"]), default="spatial", show_default=True,
              help="Where a machine is tested.")  # fmt: skip
@click.option("--permutations", type=int, default=1999, show_default=True, help="Random shifts of the deposits.")
@click.option("--draws", type=int, default=10, show_default=True, help="Draws of barren places.")
@click.option("--reach", type=float, help="With a table: deposits farther from every sample are left out.")
@_seed
@_out(".csv")
def screen(
    survey: Path, deposits: Path, x: str | None, y: str | None, crs: str | None, elements: str | None,
    units: str | None, missing: tuple[str, ...], negative: Any, zero: Any, encoding: str, below: Any, where: str | None,
    deposits_crs: str | None, alpha: float, rule: Any, statistic: Any, validation: Any, permutations: int, draws: int,
    reach: float | None, seed: int, out: Path,
) -> None:  # fmt: skip
    """Rank elements by how well they tell deposits from barren ground: bands of a raster, or a table of samples."""
    import geoprospect as gp

    known = gp.read_deposits(deposits, deposits_crs, where)
    ground: Any
    if survey.suffix.lower() in (".tif", ".tiff", ".vrt", ".zarr"):
        ground = gp.read_survey(survey)
        ground = ground if elements is None else ground[_names(elements)]
    else:
        ground = gp.read_samples(
            survey,
            x,
            y,
            crs,
            _names(elements),
            units,
            _codes(missing),
            below=below,
            negative=negative,
            zero=zero,
            encoding=encoding,
        )
    ranking = gp.screen(
        ground, known, alpha, seed, rule=rule, statistic=statistic, validation=validation, permutations=permutations,
        draws=draws, reach=reach, progress=sys.stderr.isatty(),
    )  # fmt: skip
    ranking.to_csv(out)
    shown = ranking.drop(columns=["p_holm", "p_bh", "contrast"])
    click.echo(shown.round(4).to_string())
    click.echo(
        f"{out}: {int(ranking['selected'].sum())} of {len(ranking)} elements selected by rule {rule!r} at {alpha:g}"
    )


@cli.command()
@click.argument("survey", type=_file)
@click.argument("deposits", type=_file)
@_where
@_deposits_crs
@click.option("--bands", help="Bands to train on, separated by commas; default: all.")
@click.option("--size", type=int, default=256, show_default=True, help="Window, in cells.")
@click.option("--crop", type=int, default=224, show_default=True, help="Part of a window that the network sees.")
@click.option("--n-ore", type=int, default=212, show_default=True)
@click.option("--n-barren", type=int, default=225, show_default=True)
@click.option("--network", default="resnet50", show_default=True)
@click.option("--recipe", type=click.Choice(["default", "gao2022", "quick"]), default="default", show_default=True,
              help="Settings of the training.")  # fmt: skip
@click.option("--epochs", type=int, help="How often every window is seen; default: that of the recipe.")
@click.option("--n-models", type=int, default=1, show_default=True)
@click.option("--draws", type=int, default=1, show_default=True, help="Draws of barren windows; networks for each.")
@click.option("--checkpoint", type=_folder, help="Folder to save the training in as it goes, and to go on from.")
@click.option("--folds", type=int, default=5, show_default=True, help="Spatial folds; 0 to skip the validation.")
@_seed
@_device
@click.option("--out", type=_folder, required=True, help="Folder for the model.")
def train(
    survey: Path, deposits: Path, where: str | None, deposits_crs: str | None, bands: str | None, size: int, crop: int,
    n_ore: int, n_barren: int, network: str, recipe: Any, epochs: int | None, n_models: int, draws: int,
    checkpoint: Path | None, folds: int, seed: int, device: str, out: Path,
) -> None:  # fmt: skip
    """Validate on spatially separated ground, then train on all windows and save the model."""
    import geoprospect as gp
    from geoprospect._checks import check_names

    ground = gp.read_survey(survey)
    if bands:
        ground = ground[
            check_names("--bands", [name.strip() for name in bands.split(",")], list(map(str, ground.data_vars)))
        ]
    known = gp.read_deposits(deposits, deposits_crs, where)
    windows = gp.sample_windows(ground, known, size, crop, n_ore, n_barren, rng=seed, draws=draws)
    settings: dict[str, Any] = {"recipe": recipe, "n_models": n_models, "device": device,
                                "progress": sys.stderr.isatty()}  # fmt: skip
    if epochs is not None:
        settings["epochs"] = epochs
    if folds:
        click.echo(gp.cross_validate(windows, ground, network, folds, seed, **settings))
    model = gp.train(windows, ground, network, rng=seed, checkpoint=checkpoint, **settings)
    model = model.with_applicability(gp.fit_applicability(model, windows, ground, device))
    click.echo(f"{model.save(out)}: {model}")


@cli.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("survey", type=click.Path(exists=True, path_type=Path))
@click.option("--stride", type=int, help="Cells between windows; default: an eighth of the window.")
@click.option(
    "--mode",
    type=click.Choice(["window", "dense", "auto"]),
    default="window",
    show_default=True,
    help="Every window by itself, or the features of the ground once.",
)
@click.option("--min-valid", type=float, default=0.5, show_default=True, help="Least share of a window with data.")
@click.option(
    "--edge",
    type=click.Choice(["drop", "pad"]),
    default="drop",
    show_default=True,
    help="Leave the rim of the survey out, or take what is beyond it as ground without data.",
)
@click.option("--more", help="Further bands, separated by commas: logit, n_models, activation.")
@click.option("--samples", type=_file, help="Samples, for a band with the distance from the nearest one.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, cuda:1, …; auto takes a GPU. Several, separated by commas, share the map out.",
)
@click.option("--tune", is_flag=True, help="Probe what is fastest here; the last digits may differ from run to run.")
@click.option("--plan", is_flag=True, help="Only say what the map will take.")
@click.option("--anew", is_flag=True, help="Begin anew, instead of going on from where an earlier call stopped.")
@_out(".tif or .zarr")
def predict(
    model: Path, survey: Path, stride: int | None, mode: str, min_valid: float, edge: str, more: str | None,
    samples: Path | None, device: str, tune: bool, plan: bool, anew: bool, out: Path,
) -> None:  # fmt: skip
    """Map the probability of ore with a saved model, of a GeoTIFF or Zarr store of any size."""
    import geoprospect as gp

    trained, devices = gp.ProspectivityModel.load(model), device.split(",")
    how: dict[str, Any] = {"mode": mode, "min_valid": min_valid, "edge": edge, "more": _names(more) or (),
                           "deterministic": not tune}  # fmt: skip
    if plan:
        planned = gp.plan_inference(trained, survey, stride, devices[0], **how)
        click.echo(planned.summary)
        return
    path = gp.predict_to_cog(
        trained, survey, out, stride, devices, samples=None if samples is None else gp.read_samples(samples),
        resume=not anew, progress=sys.stderr.isatty(), **how,
    )  # fmt: skip
    from geoprospect.io.disk_sources import open_source

    click.echo(f"{path}: {open_source(path).grid}")


@cli.command()
@click.argument("prospectivity", type=_file)
@click.option("--threshold", type=float, default=0.5, show_default=True, help="Least probability of a target.")
@click.option("--min-area", type=float, default=0.0, show_default=True, help="Least area in km².")
@click.option("--deposits", type=_file, help="Known deposits, to tell new targets from known ground.")
@click.option("--reach", type=float, help="Distance within which a deposit belongs to a target; take half the window.")
@_where
@_deposits_crs
@_out(".gpkg")
def targets(
    prospectivity: Path, threshold: float, min_area: float, deposits: Path | None, reach: float | None,
    where: str | None, deposits_crs: str | None, out: Path,
) -> None:  # fmt: skip
    """Outline and rank the targets of a probability map."""
    import geoprospect as gp
    from geoprospect._checks import check_names

    result = gp.read_survey(prospectivity)
    check_names("prospectivity", ["probability"], list(map(str, result.data_vars)))
    known = None if deposits is None else gp.read_deposits(deposits, deposits_crs, where)
    found = gp.delineate(result["probability"], threshold, known, min_area=min_area, reach=reach)
    click.echo(f"{gp.write_layers({'targets': found}, out)}: {len(found)} targets")


def _names(text: str | None) -> list[str] | None:
    """Return the names in a list with commas."""
    return [name.strip() for name in text.split(",")] if text else None


def _codes(texts: tuple[str, ...]) -> list[float | str] | None:
    """Return numbers as numbers and words as words; None where there is neither."""
    return [float(text) if re.fullmatch(r"-?\d+(\.\d*)?(e[+-]?\d+)?", text.lower()) else text for text in texts] or None


def _whole_number(text: str) -> Any:
    """Return a number where the text is one; else the text, for the library to refuse."""
    return int(text) if text.strip().lstrip("+-").isdigit() else text


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
