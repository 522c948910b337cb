"""Cross-validate a network and its baselines in spatially separated folds."""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoprospect._checks import check_arguments, check_choice, check_int, check_rng, user_level
from geoprospect.errors import DataWarning, InputError, SeparationError
from geoprospect.geochem.samples import Samples
from geoprospect.grid import grid_of_survey
from geoprospect.models.model import ProspectivityModel
from geoprospect.models.recipe import Recipe
from geoprospect.models.training import fit_networks
from geoprospect.prediction.predict import predict_windows
from geoprospect.screening.screen import RULES, Rule
from geoprospect.screening.screen import screen as screen_bands
from geoprospect.stats.auc import auc_interval
from geoprospect.stats.calibration import calibrate
from geoprospect.stats.metrics import Evaluation, brier_score, rank_auc
from geoprospect.validation.baselines import (
    BASELINES,
    PROBABILISTIC,
    Baseline,
    Evidence,
    estimator_baseline,
    gives_probabilities,
)
from geoprospect.validation.scores import Scores, map_rates, score_table
from geoprospect.windows.regions import Fold, check_folds, nearest, overlaps
from geoprospect.windows.sampling import hold_back
from geoprospect.windows.settings import Folds
from geoprospect.windows.spatial_folds import (
    audit,
    check_separate,
    default_buffer,
    deposit_clusters,
    fold_counts,
    footprints,
    independent_units,
    spatial_folds,
)
from geoprospect.windows.windows import Windows, check_windows

log = logging.getLogger("geoprospect")

# A map of about this many places is enough for shares of the ground.
_PLACES = 2500
_PAPER_SHARE = (102 / 212, 104 / 225)  # of ore and barren windows that the paper keeps back
_NO_CHEMISTRY = "no chemistry"


def cross_validate(
    windows: Windows,
    survey: xr.Dataset,
    network: str = "resnet50",
    folds: int | Folds | Sequence[Fold] = 5,
    rng: int | np.random.Generator | None = None,
    *,
    screen: Rule | Mapping[str, Any] | None = None,
    baselines: Mapping[str, Any] | None = None,
    samples: Samples | None = None,
    calibrated: bool = False,
    map_stride: int | None = None,
    paper_protocol: bool = True,
    keep_models: bool = False,
    device: str = "auto",
    **settings: Any,
) -> Scores:
    """Cross-validate a network in spatially separated folds, with baselines on the same windows.

    Everything is fitted inside the fold, from training windows only: the scaling, the screening
    (with `screen`), early stopping and calibration (if asked for), the network and the baselines.
    `audit` checks in every fold that training and test windows do not overlap. Baselines get the mean of
    every band over the crop of a window.

    Parameters
    ----------
    windows : Windows
        On the grid of `survey`. With several draws of barren windows a network is trained on each.
    survey : xarray.Dataset
        Bands with dims (y, x).
    network : str, default 'resnet50'
        As in `train`.
    folds : int, Folds or sequence of (train, test), default 5
        The number of folds; `Folds`, which also has the scheme, the blocks and the buffer; or your own splits,
        pairs of indices into the windows that do not overlap. With a number, or without `Folds.buffer`, the
        buffer is the range of spatial correlation of the survey, or as much of it as leaves enough training
        windows; `Scores.separation` reports it.
    rng : int, Generator or None
        Draws for training, baselines and bootstrap.
    screen : {'shift', 'holm', 'bh', 'gao2022'} or mapping, optional
        Select bands in each fold by this rule of `screen`, or by a mapping of its settings, such as
        ``{"rule": "holm", "alpha": 0.05}``. It uses only the deposits and cells outside of the test windows. All
        bands are kept where none passes. Default: use all bands of `survey`.
    baselines : mapping, optional
        Further baselines by name: anything with scikit-learn's classifier interface, for example
        ``{"xgb": XGBClassifier()}``. An empty mapping leaves all baselines out.
    samples : Samples, optional
        Those that the survey was gridded from: adds a control that knows where samples were taken and
        nothing of what they hold.
    calibrated : bool, default False
        Also calibrate in each fold, on separate ground cut off from its training windows: a second training
        for every fold. Adds the Brier score of calibrated probabilities to ``folds``.
    map_stride : int, optional
        Cells between two places of the out-of-fold map. Default: half a crop, or more where that would be over
        2,500 places; 0 for no map.
    paper_protocol : bool, default True
        Also keep windows back at random, as the paper does: one more training.
    keep_models : bool, default False
        Keep the network of every fold, for `element_importance`.
    device : str, default 'auto'
        As in `train`.
    **settings
        Further arguments of `train`: recipe, n_models, weights, progress, and the fields of `Recipe`
        (epochs, batch, lr, …).

    Returns
    -------
    Scores
        With a table of methods, the out-of-fold scores, an out-of-fold map and the counts per fold.

    Raises
    ------
    SeparationError
        When too few separate windows are left, or your own splits overlap. It is an `InputError`.
    InputError
        When windows and survey have different grids, or `folds` or `screen` is not of the types above.

    Warns
    -----
    DataWarning
        When tested windows have no data in their middle, or the correlation range leaves too little.

    Notes
    -----
    AUCs are computed within folds and averaged: one over the pooled scores compares scores of
    different trainings. Intervals resample clusters of deposits (those less than a window apart)
    and blocks of barren windows, never single windows, which overlap.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=60, rng=0)
    >>> scores = gp.cross_validate(windows, survey, "resnet18", folds=2, epochs=1, device="cpu", rng=0)
    >>> scores.folds[["train_ore", "test_ore"]].gt(0).all().all()
    np.True_
    """
    generator = check_rng(rng)
    check_windows(windows, survey)
    grid_of_survey(survey)
    fields = {field.name for field in dataclasses.fields(Recipe)}
    recipe = Recipe.of(
        settings.get("recipe", "default"), **{name: value for name, value in settings.items() if name in fields}
    )
    study = _Study(
        windows, survey, network, {"device": device, **settings}, _check_screen(screen), _with(baselines, samples),
        samples, calibrated, recipe.halo,
    )  # fmt: skip
    splits, separation, apart = _splits(study, folds)
    check_separate(windows, splits, study.context)  # those of spatial_folds too
    places, step = _places(windows, map_stride)
    fold_of_place = _fold_of_places(places, study, splits, apart)
    found = []
    for number, (fit, test) in enumerate(splits, start=1):
        log.info("fold %d: %d windows to train on, %d to test", number, fit.size, test.size)
        seed = int(generator.integers(2**31))
        found.append(_one_fold(study, number, fit, test, places[fold_of_place == number], seed))
    methods = [network, *study.baselines]
    tested = pd.concat([one.tested for one in found], ignore_index=True)
    tested["cluster"] = independent_units(windows)[tested["window"]]
    chart, on_map = _chart(windows, places, step, fold_of_place, found, methods)
    rates, of_deposit = None, None
    if chart is not None and on_map is not None and len(on_map):
        rates = {name: map_rates(chart, on_map, name) for name in methods}
        of_deposit = deposit_clusters(windows)[on_map["deposit"]]
    probable = {network} | PROBABILISTIC | {n for n, one in (baselines or {}).items() if gives_probabilities(one)}
    seed = int(generator.integers(2**31))
    draws = None
    if windows.n_draws > 1:
        mean = np.nanmean(np.stack([one.draws for one in found]), axis=0)
        draws = pd.DataFrame({"auc": mean}, index=pd.RangeIndex(windows.n_draws, name="draw"))
    return Scores(
        table=score_table(tested, methods, probable, generator, rates, of_deposit),
        windows=tested,
        folds=pd.DataFrame([one.row for one in found]).set_index("fold"),
        separation=separation,
        map=chart,
        map_deposits=on_map,
        draws=draws,
        paper=_paper_protocol(study, seed) if paper_protocol else None,
        splits=tuple(splits),
        models=tuple(one.model for one in found) if keep_models else (),
    )


@dataclass(frozen=True)
class _Study:
    """What is the same in every fold."""

    windows: Windows
    survey: xr.Dataset
    network: str
    training: Mapping[str, Any]
    screen: Mapping[str, Any] | None  # settings of `screen`
    baselines: Mapping[str, Baseline]
    samples: Samples | None
    calibrated: bool
    context: int  # cells about a window that the network sees besides


@dataclass(frozen=True)
class _Found:
    """What one fold found."""

    model: ProspectivityModel
    tested: pd.DataFrame  # window, fold, label and the scores of each method
    on_places: dict[str, NDArray[np.float64]]  # scores of each method on the places of the map
    draws: NDArray[np.float64]  # AUC of each draw
    row: dict[str, Any]


def _one_fold(
    study: _Study, number: int, fit: NDArray[np.int64], test: NDArray[np.int64], places: Windows, seed: int
) -> _Found:
    """Train on one part of the windows, score the other and the places of the map."""
    windows = study.windows
    bands = study.survey if study.screen is None else _screened(study, windows[fit], windows[test], seed)
    model = fit_networks(windows[fit], bands, study.network, rng=seed, **study.training)
    looked = _joined(seen(windows[test]), places)
    each = _each_draw(model, windows.n_draws, bands, looked, study.training["device"])  # (draws, n)
    known = np.isfinite(each[0, : test.size])
    if not known.all():
        warnings.warn(
            f"windows: {int((~known).sum())} of {test.size} in fold {number} have no data in their middle "
            "and are not tested",
            DataWarning,
            stacklevel=user_level(),
        )
    scores = {study.network: each.mean(axis=0), **_baseline_scores(study, model, bands, fit, looked, seed)}
    tested = pd.DataFrame({"window": test, "fold": number, "label": windows.labels[test]})
    tested = tested.assign(**{name: score[: test.size] for name, score in scores.items()})[known]
    row = {"fold": number, **fold_counts(windows, fit, test[known]), "dropped": len(windows) - fit.size - test.size,
           "bands": ", ".join(map(str, bands.data_vars)),
           **{name: rank_auc(tested["label"], tested[name]) for name in scores}}  # fmt: skip
    if study.calibrated:
        row["brier_calibrated"] = _calibrated_brier(study, bands, fit, tested, seed)
    draw = windows.draw[test[known]]
    aucs = []
    for k, score in enumerate(each[:, : test.size][:, known]):
        mine = np.isin(draw, (-1, k))  # the ore windows, and the barren ones of this draw
        aucs.append(rank_auc(windows.labels[test[known]][mine], score[mine]))
    on_places = {name: score[test.size :] for name, score in scores.items()}
    return _Found(model, tested, on_places, np.array(aucs), row)


def _check_screen(screen: Any) -> Mapping[str, Any] | None:
    """Return the settings of `screen` that select the bands in each fold."""
    if screen is None:
        return None
    if not isinstance(screen, Mapping):
        return {"rule": check_choice("screen", screen, RULES)}
    own = ("survey", "deposits", "rng")
    how = check_arguments("screen", screen, screen_bands, own, "{'rule': 'holm'}")
    check_choice("screen['rule']", how.get("rule", RULES[0]), RULES)
    return how


def _given_folds(folds: Any, windows: Windows) -> list[Fold]:
    """Return the splits of the user; raise where a class is missing in the training or the test of one."""
    if isinstance(folds, str) or not isinstance(folds, Iterable):
        raise InputError(
            f"folds={folds!r}: needs a whole number of at least 2, Folds(…), or pairs (train, test) of indices into "
            "the windows, as spatial_folds returns them"
        )
    splits = check_folds(folds, len(windows))
    for number, (fit, test) in enumerate(splits, start=1):
        if len(np.unique(windows.labels[fit])) < 2:
            kind = "ore" if windows.labels[fit].any() else "barren"
            raise InputError(f"folds: all {fit.size} training windows of fold {number} are {kind}; both are needed")
        if len(np.unique(windows.labels[test])) < 2:
            raise InputError(f"folds: the test of fold {number} lacks ore or barren windows, so it ranks nothing")
    return splits


def _splits(study: _Study, folds: int | Folds | Sequence[Fold]) -> tuple[list[Fold], str, float]:
    """Return the splits, a description of their separation, and the distance between footprints."""
    windows, context = study.windows, study.context
    if not isinstance(folds, (int, float, np.integer, Folds)):
        splits = _given_folds(folds, windows)
        return splits, f"{len(splits)} splits given by the user, checked: no shared ground", 0.0
    how = folds if isinstance(folds, Folds) else Folds(check_int("folds", folds, 2))
    apart, why = how.buffer, ""
    if apart is None:
        apart, why = default_buffer(windows, study.survey, how.n, how.scheme, context)
    splits = spatial_folds(windows, how.n, apart, scheme=how.scheme, block=how.block, context=context)
    what = {"regions": "compact regions of deposits", "blocks": "sets of square blocks",
            "clusters": "sets of clusters of deposits",
            "leave-one-cluster-out": "clusters of deposits"}[how.scheme]  # fmt: skip
    around = f" and {context} cells of context" if context else ""
    distance = f", footprints {apart:.4g} {windows.grid.unit}s apart" if apart else ""
    said = f"spatially separated: {len(splits)} {what}, no ground shared by whole windows{around}{distance}"
    return splits, said + (f" ({why})" if why else ""), apart


def _screened(study: _Study, fit: Windows, test: Windows, seed: int) -> xr.Dataset:
    """Return the bands that pass with the deposits and the ground of the training only."""
    survey = study.survey
    closed = np.zeros(fit.grid.shape, dtype=bool)
    for row, col, width in zip(test.rows, test.cols, test.widths, strict=True):
        closed[row : row + width, col : col + width] = True
    known = np.unique(fit.deposits[fit.deposits >= 0])
    hidden = np.setdiff1d(np.arange(len(fit.deposit_ids)), known)
    closed[fit.grid.rowcol(*fit.deposit_points[hidden].T)] = True  # they would count as barren
    points = gpd.GeoDataFrame(geometry=gpd.points_from_xy(*fit.deposit_points[known].T), crs=fit.grid.crs)
    # All deposits but those of the training are hidden with the ground of the test.
    open_ground = survey.where(xr.DataArray(~closed, dims=("y", "x")))
    ranking = screen_bands(open_ground, points, rng=seed, **(study.screen or {}))
    chosen = list(ranking.index[ranking["selected"]])
    if not chosen:
        log.info("no band passes the screening in this fold; all are kept")
        return survey
    return survey[[name for name in survey.data_vars if name in chosen]]


def seen(windows: Windows) -> Windows:
    """Return the windows cut down to what a network sees of them in validation."""
    corner = np.column_stack([windows.rows, windows.cols]) + windows.central_crop()
    return dataclasses.replace(windows, rows=corner[:, 0], cols=corner[:, 1], size=windows.crop)


def _joined(a: Windows, b: Windows) -> Windows:
    """Return the windows of both, which are equal but for their places."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(a, name), getattr(b, name)])
        for name in ("rows", "cols", "labels", "deposits", "zooms", "draw")
    }
    return dataclasses.replace(a, **arrays)


def _each_draw(
    model: ProspectivityModel, n_draws: int, bands: xr.Dataset, looked: Windows, device: str
) -> NDArray[np.float64]:
    """Return the probability by the networks of each draw of barren windows, (draws, n)."""
    if n_draws == 1:
        return predict_windows(model, bands, looked, device)[None]
    draw = model.history.groupby("model")["draw"].first().to_numpy()
    parts = [
        dataclasses.replace(model, networks=tuple(model.networks[i] for i in np.flatnonzero(draw == k)))
        for k in np.unique(draw)
    ]
    return np.stack([predict_windows(part, bands, looked, device) for part in parts])


def _calibrated_brier(
    study: _Study, bands: xr.Dataset, fit: NDArray[np.int64], tested: pd.DataFrame, seed: int
) -> float:
    """Calibrate on separate ground within the training, and score the test with it."""
    inside = study.windows[fit]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # of regions left out: the inner split needs one only
            inner = spatial_folds(inside, 3, context=study.context)
    except SeparationError as err:
        log.info("not calibrated in this fold: %s", err)
        return math.nan
    fitted, held = max(inner, key=lambda split: min(split[0].size, split[1].size))
    model = fit_networks(inside[fitted], bands, study.network, rng=seed, **study.training)
    probability = predict_windows(model, bands, inside[held], study.training["device"])
    known = np.isfinite(probability)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # where no temperature fits, the score says it
        calibration = calibrate(
            inside.labels[held][known], probability[known], independent_units(inside)[held][known], method="temperature"
        )
    return brier_score(tested["label"], calibration.apply(tested[study.network].to_numpy()))


def _paper_protocol(study: _Study, seed: int) -> pd.Series:
    """Train on windows drawn at random and test on the others, as the paper does for its Table 2."""
    windows = study.windows.of_draw(0)
    n = [
        max(1, round(share * int((windows.labels == label).sum())))
        for label, share in zip((1, 0), _PAPER_SHARE, strict=True)
    ]
    fit, test = hold_back(windows, n[0], n[1], rng=seed)
    model = fit_networks(windows[fit], study.survey, study.network, rng=seed, **study.training)
    score = predict_windows(model, study.survey, windows[test], study.training["device"])
    known = np.isfinite(score)
    cut = Evaluation.of(windows.labels[test][known], score[known])
    low, high = auc_interval(windows.labels[test][known], score[known])  # as if windows were independent
    return pd.Series({
        "auc": cut.rank_auc, "low": low, "high": high, "accuracy": cut.accuracy, "n_train": fit.size,
        "n_test": int(known.sum()),
        "overlap": float(audit(windows[fit], windows[test]).mean()),
    }, name="paper protocol")  # fmt: skip


# ---------------------------------------------------------------- baselines


def _with(baselines: Mapping[str, Any] | None, samples: Samples | None) -> dict[str, Baseline]:
    """Return the baselines that take part."""
    if baselines is not None and not baselines:
        return {}
    own = {name: one for name, one in BASELINES.items() if name != _NO_CHEMISTRY or samples is not None}
    twice = set(own) & set(baselines or {})
    if twice:
        raise InputError(f"baselines: {min(twice)!r} is the name of one that is there already; take another name")
    return own | {str(name): estimator_baseline(one) for name, one in (baselines or {}).items()}


def _baseline_scores(
    study: _Study, model: ProspectivityModel, bands: xr.Dataset, fit: NDArray[np.int64], looked: Windows, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return what each baseline makes of the windows `looked` at, after the windows `fit`."""
    if not study.baselines:
        return {}
    trained = study.windows[fit]
    every = _joined(seen(trained), looked)
    used = np.unique(trained.deposits[trained.deposits >= 0])
    evidence = Evidence(
        means=window_means(model.stack(bands)[0], every),
        centres=every.centres,
        deposit_points=trained.deposit_points[used],
        sampling=None if study.samples is None else sampling_numbers(study.samples, every),
    )
    at = np.arange(len(every))
    return {
        name: baseline(evidence, at[: fit.size], trained.labels, at[fit.size :], seed)
        for name, baseline in study.baselines.items()
    }


def window_means(stack: NDArray[np.float32], windows: Windows) -> NDArray[np.float64]:
    """Return the mean of every band over every whole window, (N, C).

    From the stack that the network saw, (C, Y, X): scaled on the training ground, where no data are 0.
    """
    # One by one: in a summed table a single -3e38 far away, an undeclared nodata, would drown all others.
    return np.stack(
        [
            stack[:, row : row + width, col : col + width].mean(axis=(1, 2), dtype=np.float64)
            for row, col, width in zip(windows.rows, windows.cols, windows.widths, strict=True)
        ]
    )


def sampling_numbers(samples: Samples, windows: Windows) -> NDArray[np.float64]:
    """Return what is known of the sampling of windows, (N, 2): distance to the nearest sample, and their number."""
    points = np.column_stack(windows.grid.points(samples.geometry))
    tree = cKDTree(points)
    left, bottom, right, top = windows.bounds.T
    share = (np.arange(5) + 0.5) / 5
    x = left[:, None, None] + share[None, :, None] * (right - left)[:, None, None]
    y = bottom[:, None, None] + share[None, None, :] * (top - bottom)[:, None, None]
    at = np.stack(np.broadcast_arrays(x, y), axis=-1).reshape(len(windows), -1, 2)
    distance = tree.query(at.reshape(-1, 2))[0].reshape(len(windows), -1).mean(axis=1)
    radius = (right - left) / 2
    count = tree.query_ball_point(windows.centres, radius, return_length=True)
    return np.column_stack([np.log1p(distance), np.log1p(count)])


# ---------------------------------------------------------------- the out-of-fold map


def _places(windows: Windows, stride: int | None) -> tuple[Windows, int]:
    """Return places on a regular grid, each a window of one crop, and the cells between two."""
    (ny, nx), crop = windows.grid.shape, windows.crop
    enough = math.ceil(math.sqrt(ny * nx / _PLACES))
    step = max(crop // 2, enough, 1) if stride is None else check_int("map_stride", stride, 0)
    shape = windows.grid.strided(crop, step).shape if step else (0, 0)
    rows, cols = (a.ravel() * step for a in np.meshgrid(*map(np.arange, shape), indexing="ij"))
    none = np.zeros(rows.size, dtype=np.int64)
    places = dataclasses.replace(
        windows, rows=rows, cols=cols, labels=none, deposits=none - 1, size=crop, zooms=none + 1, draw=none - 1
    )
    return places, step


def _fold_of_places(places: Windows, study: _Study, splits: list[Fold], apart: float) -> NDArray[np.int64]:
    """Return the fold, from 1, by whose network a place is scored; -1 where all have seen its ground.

    That of the nearest tested window, where its training is as far off as from the test; else another one.
    """
    fold = np.full(len(places), -1)
    if not len(places):
        return fold
    windows, (dy, dx) = study.windows, study.windows.grid.resolution
    asked, of_windows = (footprints(one, study.context) * (dx, dy, dx, dy) for one in (places, windows))
    free = np.stack([~overlaps(asked, of_windows[fit], apart) for fit, _ in splits])  # (F, P)
    tested = np.concatenate([test for _, test in splits])
    number = np.repeat(np.arange(len(splits)), [test.size for _, test in splits])
    own = number[nearest(places.centres, windows.centres[tested])]
    fold[:] = np.where(free.any(axis=0), free.argmax(axis=0) + 1, -1)
    good = free[own, np.arange(len(places))]
    fold[good] = own[good] + 1
    return fold


def _chart(
    windows: Windows, places: Windows, step: int, fold_of_place: NDArray[np.int64], found: list[_Found],
    methods: list[str],
) -> tuple[xr.Dataset | None, pd.DataFrame | None]:  # fmt: skip
    """Lay the scores of the folds out as a map, and read it at the deposits."""
    if not len(places):
        return None, None
    grid = windows.grid.strided(windows.crop, step)
    planes = {name: np.full(len(places), np.nan) for name in ("fold", *methods)}
    for number, one in enumerate(found, start=1):
        at = fold_of_place == number
        planes["fold"][at] = number
        for name in methods:
            planes[name][at] = one.on_places[name]
    empty = np.isnan(planes[methods[0]])  # no data there; a baseline would score the mean that stands in
    for plane in planes.values():
        plane[empty] = np.nan
    attrs = {name: {"units": "1", "long_name": f"out-of-fold score of {name}"} for name in methods}
    attrs["nearest deposit"] = {"units": grid.unit, "long_name": "negative distance to the nearest deposit"}
    attrs["fold"] = {"units": "1", "long_name": "fold whose network was used"}
    shaped = {name: plane.reshape(grid.shape).astype(np.float32) for name, plane in planes.items()}
    chart = grid.dataset(shaped, attrs)
    used = np.flatnonzero(grid.contains(*windows.deposit_points.T))
    row, col = grid.rowcol(*windows.deposit_points[used].T)
    read = {name: shaped[name][row, col] for name in shaped}
    known = np.isfinite(read["fold"])
    frame = pd.DataFrame({"deposit": used, "deposit_id": [windows.deposit_ids[i] for i in used], **read})[known]
    return chart, frame.astype({"fold": np.int64}).reset_index(drop=True)
