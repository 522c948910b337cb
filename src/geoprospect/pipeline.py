"""The whole way, from tables to files: what `geoprospect run` and `geoprospect demo` do."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import xarray as xr

from geoprospect._version import __version__
from geoprospect.config import Config
from geoprospect.errors import DataWarning, InputError, OutputError, SeparationError
from geoprospect.geochem.samples import Samples, read_samples
from geoprospect.grid import Grid
from geoprospect.gridding.interpolate import interpolate
from geoprospect.io.atomic import published
from geoprospect.io.deposits import read_deposits
from geoprospect.io.rasters import read_bands
from geoprospect.io.vectors import write_layers
from geoprospect.io.writers import write_cog
from geoprospect.models.model import ProspectivityModel
from geoprospect.models.training import train
from geoprospect.prediction.predict import predict, predict_cells
from geoprospect.prediction.targets import delineate
from geoprospect.screening.screen import screen, screening_points
from geoprospect.stats.calibration import Calibration
from geoprospect.stats.metrics import Evaluation, evaluate
from geoprospect.synthetic import make_survey
from geoprospect.validation.cross_validation import cross_validate
from geoprospect.validation.scores import Scores
from geoprospect.windows.sampling import sample_windows
from geoprospect.windows.windows import Windows

log = logging.getLogger("geoprospect")

PAPER_PROTOCOL = (
    "protocol of Gao et al. (2022): cells of the very ground that the model was trained on; this measures memory, "
    "not what the map is worth elsewhere"
)

KEPT_BACK = (
    "protocol of Table 2 of Gao et al. (2022): windows kept back at random, which overlap those that were trained on; "
    "this measures memory too"
)

NOT_VALIDATED = (
    "NOT VALIDATED: the deposits leave no separate ground to test on, so nothing is known of what the map is worth."
)

# The demo in miniature: the paper's 12 x 12 windows, an eighth of its cells, a smaller network.
_DEMO = {
    "title": "synthetic survey",
    "grid": {"shape": (384, 384)},
    "windows": {"size": 32, "crop": 28},
    "training": {"network": "resnet18", "epochs": 15},
    "prediction": {"stride": 4},
}


@dataclass(frozen=True, eq=False)
class Run:
    """What a run made, in memory and on disk.

    Parameters
    ----------
    survey, result : xarray.Dataset
        All bands; the prospectivity map.
    ranking : pandas.DataFrame
        From `screen`.
    model : ProspectivityModel
        Trained on all windows.
    scores : Scores or None
        On spatially separated ground; None where the deposits allow none.
    paper_protocol : Evaluation
        On the cells of the ground that was trained on.
    targets, cells : GeoDataFrame
        From `delineate` and `predict_cells`.
    folder : pathlib.Path
        Where the files are.

    Examples
    --------
    >>> import geoprospect as gp
    >>> done = gp.run(gp.load_config("survey.toml"), "results")  # doctest: +SKIP
    >>> print(done.summary)  # doctest: +SKIP
    """

    survey: xr.Dataset
    result: xr.Dataset
    ranking: pd.DataFrame
    model: ProspectivityModel
    scores: Scores | None
    paper_protocol: Evaluation
    targets: gpd.GeoDataFrame
    cells: gpd.GeoDataFrame
    folder: Path

    def __repr__(self) -> str:
        """Where it is and what it is worth."""
        return f"Run({str(self.folder)!r}, {len(self.targets)} targets)\n{self.summary}"

    @property
    def summary(self) -> str:
        """What the map is worth, in one sentence."""
        return NOT_VALIDATED if self.scores is None else self.scores.summary


def run(config: Config, out: str | os.PathLike[str], *, device: str = "auto", progress: bool = False) -> Run:
    """Do a whole run: from the files that `config` names to a folder of results.

    Parameters
    ----------
    config : Config
        From `load_config`, or made in Python.
    out : path-like
        Folder for the results; made where it does not exist. Files of an earlier run are replaced,
        each when its successor is complete.
    device : str, default 'auto'
        As in `train`.
    progress : bool, default False
        Show progress bars.

    Returns
    -------
    Run
        And in `out`: ``survey.tif``, ``prospectivity.tif``, ``out_of_fold.tif`` (COG), ``ranking.csv``,
        ``targets.gpkg``, ``scores.json``, ``model/``, ``figures/*.png``.

    Raises
    ------
    GeoprospectError
        What the single steps raise.

    Examples
    --------
    >>> import geoprospect as gp
    >>> run = gp.run(gp.load_config("survey.toml"), "results")  # doctest: +SKIP
    >>> run.scores.table  # doctest: +SKIP
    """
    folder = _folder(out)
    c = config
    samples = read_samples(**c.samples.arguments())
    deposits = read_deposits(**c.deposits.arguments())
    log.info("%s\n%d deposits", samples, len(deposits))
    grid = Grid.covering(samples, **c.grid.arguments())
    log.info("%s", grid)
    return _prospect(samples, deposits, grid, config, folder, device, progress)


def demo(
    out: str | os.PathLike[str], *, signal: float = 1.0, seed: int = 0, device: str = "auto", progress: bool = False
) -> Run:
    """Do a whole run on the synthetic survey, small enough for two CPU cores.

    Parameters
    ----------
    out : path-like
        As in `run`.
    signal : float, default 1
        Strength of the haloes about the planted deposits; 0 for none.
    seed : int, default 0
        Of the survey and of the run.
    device, progress
        As in `run`.

    Returns
    -------
    Run
        As from `run`.
    """
    folder = _folder(out)
    area = make_survey(shape=_DEMO["grid"]["shape"], signal=signal, rng=seed)  # type: ignore[index]
    config = Config.model_validate(
        {**_DEMO, "samples": {"path": "synthetic"}, "deposits": {"path": "synthetic"}, "seed": seed}
    )
    log.info("%s\n%s", area, area.grid)
    return _prospect(area.samples, area.deposits, area.grid, config, folder, device, progress)


def _prospect(
    samples: Samples, deposits: gpd.GeoDataFrame, grid: Grid, c: Config, folder: Path, device: str, progress: bool
) -> Run:
    """Go the way from samples to files."""
    gridded = interpolate(samples, grid, progress=progress, **c.interpolation.arguments())
    survey = gridded[list(samples.elements)]  # a kriging variance tells of samples, not of ore
    for band in c.bands:
        paths = {band.name: band.path} if band.name else band.path
        more = read_bands(paths, grid, column=band.column, resampling=band.resampling, crs=band.crs)
        twice = set(more.data_vars) & set(survey.data_vars)
        if twice:
            raise InputError(f"bands: {band.path!r} brings a second band {min(map(str, twice))!r}; give it a name =")
        survey = survey.assign(more.data_vars)
    write_cog(gridded.assign(survey.data_vars), folder / "survey.tif")
    ranking = screen(survey, deposits, c.screening.alpha, c.seed, progress=progress, **c.screening.arguments())
    _write_text(folder / "ranking.csv", ranking.to_csv())
    survey = _with_something_to_say(survey, ranking)
    chosen = survey[_chosen(ranking, survey, c)]
    windows = sample_windows(survey, deposits, rng=c.seed, **c.windows.arguments())
    log.info("%s", windows)
    training = {**c.training.arguments(), "device": device, "progress": progress}
    scores = _validate(windows, survey, samples, c, training)
    if scores is not None and scores.map is not None:
        write_cog(scores.map, folder / "out_of_fold.tif")
    model = train(windows, chosen, rng=c.seed, **training)
    calibration = None if scores is None else _calibration(scores, c)
    if calibration is not None:
        model = model.calibrated(calibration)
    model.save(folder / "model")
    result = predict(model, survey, device=device, samples=samples, progress=progress, **c.prediction.arguments())
    write_cog(result, folder / "prospectivity.tif")
    shape = c.prediction.cells or (grid.shape[0] // windows.size, grid.shape[1] // windows.size)
    cells = predict_cells(model, survey, shape, device, min_valid=c.prediction.min_valid)
    paper = evaluate(cells, deposits)
    targets = delineate(result.probability, deposits=deposits, **c.targets.arguments())
    write_layers({"targets": targets, "cells": cells, "deposits": deposits}, folder / "targets.gpkg")
    done = Run(survey, result, ranking, model, scores, paper, targets, cells, folder)
    _write_text(folder / "scores.json", json.dumps(_as_json(done, c), indent=2, allow_nan=False) + "\n")
    _draw(done, samples, deposits, windows, c)
    return done


def _with_something_to_say(survey: xr.Dataset, ranking: pd.DataFrame) -> xr.Dataset:
    """Return the survey without bands that are empty or the same everywhere; they would leave no valid window."""
    mute = [str(name) for name in ranking.index[ranking["direction"] == "not scorable"]]
    if mute:
        log.warning("left out, because they have no data at the deposits or are constant: %s", ", ".join(mute))
    if len(mute) == len(ranking):
        raise InputError("samples: no element has data at the deposits that differ from place to place")
    return survey.drop_vars(mute)


def _validate(
    windows: Windows, survey: xr.Dataset, samples: Samples, c: Config, training: dict[str, Any]
) -> Scores | None:
    """Cross-validate; None, with a warning, where the deposits allow no separate ground."""
    try:
        return cross_validate(
            windows,
            survey,
            rng=c.seed,
            screen=None if _rule(c) is None else {**c.screening.arguments(), "alpha": c.screening.alpha},
            samples=samples,
            **c.validation.arguments(),
            **training,
        )
    except SeparationError as err:
        log.warning("NOT VALIDATED, the map is only memory: %s", err)
        return None


def _calibration(scores: Scores, c: Config) -> Calibration | None:
    """Learn how sure the network may be, on ground that it has not seen; None where that ground does not tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        try:
            found = scores.calibrate(rng=c.seed)
        except DataWarning as warning:
            log.warning("the map is not calibrated: %s", warning)
            return None
    if not found.is_told:
        log.warning(
            "the map is not calibrated: on %d clusters of deposits the temperature is anything from %.2g to %.2g",
            found.n_clusters, found.low, found.high,
        )  # fmt: skip
        return None
    return found


def _rule(c: Config) -> Any:
    return None if c.screening.rule == "none" else c.screening.rule


def _chosen(ranking: pd.DataFrame, survey: xr.Dataset, c: Config) -> list[str]:
    """Return the bands to train on; all that have data where the screening finds none."""
    selected = set(ranking.index[ranking["selected"]])
    if _rule(c) is None or not selected:
        if _rule(c) is not None:
            log.warning("no band passes the screening (%s at %g); all are kept", _rule(c), c.screening.alpha)
        selected = set(ranking.index[ranking["auc"].notna()])
    chosen = [str(name) for name in survey.data_vars if name in selected]
    log.info("%d of %d bands: %s", len(chosen), len(survey.data_vars), ", ".join(chosen))
    return chosen


def _folder(out: str | os.PathLike[str]) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"out={str(out)!r}: cannot be made ({err}); take a folder that you may write to") from err
    if not os.access(folder, os.W_OK):
        raise OutputError(f"out={str(out)!r}: cannot be written to; take another folder")
    return folder


def _write_text(path: Path, text: str) -> None:
    def verify(written: Path) -> None:
        if written.read_text(encoding="utf-8") != text:
            raise OutputError(f"path={str(path)!r}: does not read back as it was written")

    with published(path, verify) as beside:
        beside.write_text(text, encoding="utf-8")


def _as_json(done: Run, c: Config) -> dict[str, Any]:
    """Return the scores, the honest ones first."""
    scores = done.scores
    return {
        "title": c.title,
        "spatially_separated": {"what": NOT_VALIDATED}
        if scores is None
        else {
            "what": f"{scores.separation}; AUC is the rank AUC within folds, averaged; intervals are 95 %",
            "summary": scores.summary,
            "methods": _records(scores.table),
            "folds": _records(scores.folds),
            "draws": None if scores.draws is None else _records(scores.draws),
        },
        "windows_kept_back": None
        if scores is None or scores.paper is None
        else {"what": KEPT_BACK, **_plain(scores.paper.to_dict())},
        "paper_protocol": {
            "what": PAPER_PROTOCOL,
            **{key: getattr(done.paper_protocol, key) for key in ("tp", "fp", "fn", "tn")},
            **_plain(done.paper_protocol.to_frame()["value"].to_dict()),
        },
        "calibration": None if done.model.calibration is None else done.model.calibration.to_dict(),
        "bands": list(done.model.bands),
        "n_targets": len(done.targets),
        "n_new_targets": int((~done.targets["known"]).sum()),
        "settings": c.model_dump(mode="json", exclude={"samples": {"path"}, "deposits": {"path"}, "bands": True}),
        "versions": {"geoprospect": __version__, "python": platform.python_version()},
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [_plain(row) for row in frame.reset_index().to_dict(orient="records")]


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Return values that JSON knows; what is infinite or not a number becomes null."""
    plain = {str(k): v.item() if hasattr(v, "item") else v for k, v in row.items()}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plain.items()}


def _draw(done: Run, samples: Samples, deposits: gpd.GeoDataFrame, windows: Windows, c: Config) -> None:
    """Save the figures."""
    from geoprospect import plotting

    bands = list(done.model.bands)
    by_rank = [name for name in done.ranking.index if name in bands]
    rule = c.screening.arguments()["rule"]
    points = screening_points(
        done.survey, deposits, c.seed, n_barren=c.screening.n_barren or 2000, buffer=c.screening.buffer
    )
    one_draw = "AUC of one draw of barren places"
    if c.screening.draws > 1:
        one_draw += f"; ranking.csv has the mean of {c.screening.draws}"
    units = {str(name): str(band.attrs.get("units", "")) for name, band in done.survey.data_vars.items()}
    inside = samples.to_crs(Grid.of(done.survey).crs)
    folder = done.folder / "figures"
    folder.mkdir(exist_ok=True)
    for name in by_rank[:8]:
        plotting.save(
            plotting.element_map(done.survey, name, samples=inside, deposits=deposits),
            folder / f"element_{_file_stem(name)}.png",
        )
    scored = done.ranking[done.ranking["auc"].notna()]
    plotting.save(plotting.z_auc_bars(scored, alpha=c.screening.alpha, rule=rule), folder / "z_auc.png")
    panel = plotting.ecdf_panel(points, elements=list(scored.index[:16]), units=units)
    panel.suptitle(one_draw, fontsize=8)
    plotting.save(panel.axes[0], folder / "ecdf.png")
    depleted = done.ranking["direction"].eq("depleted")
    curves = {f"{name} (depleted)" if depleted[name] else name: points[name] for name in by_rank[:8]}
    roc = plotting.roc_panel(curves)
    roc.set_title(one_draw, fontsize=8)
    plotting.save(roc, folder / "roc.png")
    plotting.save(
        plotting.windows_overlay(windows, done.survey, element=by_rank[0], deposits=deposits), folder / "windows.png"
    )
    if done.scores is not None:
        folds: list[tuple[list[int], Any]] = [([], part["window"]) for _, part in done.scores.windows.groupby("fold")]
        plotting.save(plotting.folds_map(windows, folds), folder / "folds.png")
        plotting.save(plotting.auc_intervals(done.scores.table), folder / "methods.png")
        if done.scores.map is not None:
            rates = {str(name): done.scores.rates(str(name)) for name in done.scores.table.index}
            captures = plotting.success_rates(rates)
            captures.set_title(
                f"{len(next(iter(rates.values())))} of {len(deposits)} deposits lie on the out-of-fold map", fontsize=8
            )
            plotting.save(captures, folder / "success_rates.png")
    plotting.save(plotting.training_curves(done.model.history), folder / "training.png")
    plotting.save(
        plotting.probability_map(done.result.probability, deposits=deposits, cells=done.cells),
        folder / "prospectivity.png",
    )
    plotting.save(plotting.confusion_matrix(done.paper_protocol), folder / "confusion_paper_protocol.png")


def _file_stem(name: str) -> str:
    """Return a name that every file system takes."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
