"""Errors of gridded values: samples predicted from other samples, near ones and far ones."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import CRS
from tqdm.auto import tqdm

from geoprospect._checks import check_int, check_number, check_rng
from geoprospect.errors import CRSError, InputError, SeparationError
from geoprospect.geochem.samples import Samples, sample_spacing
from geoprospect.grid import Grid
from geoprospect.gridding.idw import IDW, Memory, SearchedIDW
from geoprospect.gridding.methods import (
    METHODS,
    InterpolationMethod,
    InterpolationOptions,
    InterpolationSettings,
    method_named,
    weights_left_out,
)
from geoprospect.gridding.surfaces import columns_by_gaps

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
# (rows of the training, rows of the test (M,)) -> values predicted for the test, (M, C)
_Fit = Callable[[Indices, Indices], Floats]
# Per name of a split: values predicted out of fold, (N, C), and the settings of each element in words.
_Splits = dict[str, tuple[Floats, list[str]]]

# What a search tries.
_POWERS = (1.0, 2.0, 3.0, 4.0)
_NUMBERS = (4, 8, 12, 16, 24, 32)
# A surface is fitted again for each sample left out: up to so many samples, in fewer random folds beyond.
_MOST_REFITS = 200
_RANDOM_FOLDS = 20
# Side of a block in spacings, and the least number of blocks along the longer side of a survey.
_SPACINGS = 10
_ALONG = 5


@dataclass(frozen=True, eq=False)
class GriddingScores:
    """Errors of gridded values at samples that the gridding did not see.

    Parameters
    ----------
    table : pandas.DataFrame
        Indexed by element and split ('leave-one-out' or '20 random folds', and 'blocks'):
        ``unit``; ``n`` values measured; ``not_predicted``, those of them without a prediction, which
        the errors leave out; ``rmse``, ``mae``, ``bias`` (mean of predicted - measured) and the
        standard deviation ``sd`` of the same measured values, all in the unit: where rmse ≥ sd, their
        mean predicts no worse. Then ``n_log10`` values where measured and predicted are above 0, with
        ``rmse_log10``, ``mae_log10``, ``bias_log10`` and ``sd_log10``; NaN where there are none. A
        spline may predict less than 0; such predictions are left out, so compare ``n_log10``.
        ``parameters`` has the settings, and on which samples a search chose them.
    predictions : pandas.DataFrame
        One row per measured value: ``sample`` (row in the table of samples), ``x``, ``y`` (in the
        CRS of the validation), ``fold`` (of the blocks), ``element``, ``measured``, and one column
        of predictions per split.
    best : pandas.DataFrame or None
        Of a search, indexed by element: the ``k`` and ``power`` with the least ``rmse`` (root mean
        squared error of a fold, averaged over the folds of blocks). NaN where an element's samples
        fill fewer than 3 folds.
    spacing : float
        Median distance between neighbouring sample locations, in CRS units; NaN for one location.
    block : float
        Side of the square blocks, in CRS units.
    description : str
        Method, blocks and folds in words.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> scores = gp.validate_gridding(area.samples[["Cu", "Au"]], method="nearest", rng=0)
    >>> scores.to_frame()["n"]
    element  split
    Cu       leave-one-out    7234
             blocks           7234
    Au       leave-one-out    6808
             blocks           6808
    Name: n, dtype: int64
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    best: pd.DataFrame | None
    spacing: float
    block: float
    description: str

    def to_frame(self) -> pd.DataFrame:
        """Return the table of errors."""
        return self.table.copy()

    @property
    def summary(self) -> str:
        """How much larger the error on blocks is, and which elements are predicted no better than by their mean."""
        near, far = (self.table.xs(split, level="split") for split in self.table.index.unique("split"))
        ratio = (far["rmse"] / near["rmse"]).replace(math.inf, math.nan).median()
        lost = list(far.index[(far["rmse"] >= far["sd"]) & (far["sd"] > 0)])
        text = f"On blocks without samples the error is {ratio:.3g} times that between samples (median over elements)."
        if math.isnan(ratio):
            text = "No element has an error both between samples and on blocks without samples."
        return f"{text} There the mean of all predicts no worse: {', '.join(map(str, lost))}." if lost else text

    def __repr__(self) -> str:
        """Description, the main columns and the summary."""
        columns = ["unit", "n", "not_predicted", "rmse", "sd", "bias", "rmse_log10", "sd_log10", "parameters"]
        table = self.table[columns].to_string(float_format=lambda v: f"{v:.3g}")
        return f"GriddingScores({self.description})\n{table}\n{self.summary}"


def validate_gridding(
    samples: Samples,
    method: str = "idw",
    *,
    folds: int = 10,
    block: float | None = None,
    search: bool = False,
    rng: int | np.random.Generator | None = 0,
    crs: Any = None,
    progress: bool = False,
    **settings: Unpack[InterpolationOptions],
) -> GriddingScores:
    """Measure how well a gridding method predicts samples that it has not seen.

    Each element is predicted twice. Leave-one-out predicts every sample from all others: the error
    between samples. Spatial blocks [1]_ predict all samples of some squares of the area from those of
    the others: the error farther from samples. Where samples come in clusters or along roads and
    streams, each has near neighbours that most cells of a grid have not, so leave-one-out is too
    good to be true of the grid; the blocks are the harder test, and the more honest one there.

    Parameters
    ----------
    samples : Samples
        Points in degrees are projected first. Each element is fitted on the samples that have it.
    method : str, default 'idw'
        A method of `interpolate`.
    folds : int, default 10
        Number of folds that the blocks are dealt to; fewer where there are fewer blocks.
    block : float, optional
        Side of the square blocks in CRS units. Default: 10 times the spacing of the samples (median
        distance between neighbouring locations), or a fifth of the longer side of the survey where
        that is less. `GriddingScores.block` has the value.
    search : bool, default False
        For 'idw', choose `k` from 4, 8, 12, 16, 24, 32 and `power` from 1, 2, 3, 4 for each element
        with scikit-learn's ``GridSearchCV``: least root mean squared error of a fold, averaged over
        the folds of blocks. The errors on blocks are then nested: the settings that predict a fold
        were chosen on the other folds alone. The errors of leave-one-out are of the final choice,
        which was made on the same samples; ``parameters`` in the table notes it.
    rng : int, Generator or None, default 0
        Deals blocks to folds.
    crs : optional
        Projected CRS to measure distances in. Default: that of the samples, or for degrees the one
        that `Grid.covering` chooses.
    progress : bool, default False
        Show a progress bar.
    **settings
        Settings of the method, as in `interpolate`: k, power, radius, min_samples, variogram,
        damping. One that does not apply to the method is refused. With `search`, `k` and `power` are
        those of elements with samples in too few folds.

    Returns
    -------
    GriddingScores
        Errors per element and split, predictions, and what a search found.

    Raises
    ------
    InputError
        When a setting is out of its range or does not apply to the method, `search` is combined
        with another method than 'idw', or fewer than two samples have a value.
    SeparationError
        When the samples are all in one block, or a search has fewer than 3 folds.
    CRSError
        When the CRS is not projected, or the samples have no coordinates in it.

    Notes
    -----
    For 'idw', 'idw-direct' and 'nearest' leave-one-out is exact for any number of samples. The other
    methods have to be fitted again for each sample left out; beyond 200 samples they are validated
    in random folds instead, and the split is called '20 random folds'.

    Samples at one location predict each other in leave-one-out; blocks never separate them. The number of
    samples in a fold is as even as whole blocks allow (scikit-learn's ``GroupKFold``).

    7,234 samples of 16 elements take a fifth of a second on one core for 'idw', and 6 with a search.
    Elements that lack the same samples share the work: where each lacks others, 1 and 45 seconds.
    'linear' and 'cubic' take a second for each of them, 'kriging' 5, a 'spline' 3 minutes for all.

    References
    ----------
    .. [1] Roberts, D. R. et al. (2017). Cross-validation strategies for data with temporal,
       spatial, hierarchical, or phylogenetic structure. Ecography 40, 913-929.
       https://doi.org/10.1111/ecog.02881

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> scores = gp.validate_gridding(area.samples[["Cu", "Au"]], k=8, rng=0)
    >>> scores.table["rmse"] < scores.table["sd"]
    element  split
    Cu       leave-one-out    True
             blocks           True
    Au       leave-one-out    True
             blocks           True
    dtype: bool
    """
    if not isinstance(samples, Samples):
        raise InputError(f"samples: is a {type(samples).__name__}, needs Samples; read a table with read_samples(path)")
    chosen = method_named(method)
    rules = chosen.settings_from(settings)
    folds, side = check_int("folds", folds, 2), None if block is None else check_number("block", block, above=0)
    if search and method != "idw":
        raise InputError(f"search=True, method={method!r}: a search is for method='idw'; leave it out")
    if search and {"radius", "min_samples"} & set(settings):
        raise InputError(
            f"search=True, radius={rules.radius}, min_samples={rules.min_samples}: a search chooses from all samples; "
            "leave out radius and min_samples"
        )
    generator = check_rng(rng)
    points, target = _projected(samples, crs)
    held = np.flatnonzero(~np.isnan(samples.values).all(axis=1))
    if held.size < 2:
        raise InputError(f"samples: {held.size} of {len(samples)} have a value; needs two, one to predict the other")
    points, values = points[held], samples.values[held]
    spacing = sample_spacing(*points.T)
    if side is None:
        if math.isnan(spacing):
            raise SeparationError("samples: are all at one location, so no block is without them")
        side = min(_SPACINGS * spacing, float(np.ptp(points, axis=0).max()) / _ALONG)
    fold = _block_folds(points, side, folds, generator)
    n_folds, best = int(fold.max()) + 1, None
    if search and n_folds < 3:
        raise SeparationError(f"search=True: blocks of {side:g} make {n_folds} folds, needs 3; pass a smaller block")
    if chosen.check is not None:
        chosen.check(rules, len(points), len(points), values.shape[1])
    with tqdm(desc="validating", unit="fold", disable=not progress) as bar:
        if search:
            splits, best = _by_search(points, values, fold, rules, samples.elements, bar)
        else:
            chosen.fit(points, values, rules, samples.elements)  # raises where an element has too few samples
            splits = _by_method(points, values, fold, chosen, rules, generator, bar)
    unit = str(target.axis_info[0].unit_name)
    lengths = f"blocks of {_length(side, unit)} in {n_folds} folds; samples {_length(spacing, unit)} apart"
    return GriddingScores(
        _table(samples.elements, samples.units, values, splits),
        _predictions(samples.elements, held, points, fold, values, splits),
        best,
        spacing,
        side,
        f"{method}; {lengths}; {target.name}",
    )


def _length(value: float, unit: str) -> str:
    """Return a length in words, in metres or kilometres where the unit is the metre."""
    if unit == "metre":
        return f"{value / 1000:.3g} km" if value >= 1000 else f"{value:.3g} m"
    return f"{value:,.6g} {unit}"


def _projected(samples: Samples, crs: Any) -> tuple[Floats, CRS]:
    """Return the points in a projected CRS, and the CRS: the given one, or that of the default grid."""
    grid = Grid.covering(samples, resolution=1.0, crs=crs)  # only its CRS is wanted; a grid has no cells in memory
    if not grid.crs.is_projected:
        raise CRSError(
            f"crs={grid.crs.name!r}: distances there are no lengths; leave crs= out, or give a projected one, "
            "for example crs='EPSG:32649'"
        )
    return np.column_stack(grid.points(samples.geometry)), grid.crs


def _block_folds(points: Floats, side: float, folds: int, rng: np.random.Generator) -> Indices:
    """Return the fold of each point: square blocks from the south-west corner, dealt out evenly, the fullest first."""
    from sklearn.model_selection import GroupKFold

    corners, block = np.unique(np.floor((points - points.min(axis=0)) / side), axis=0, return_inverse=True)
    if len(corners) < 2:
        raise SeparationError(f"block={side:g}: all samples are in one block of this side; pass a smaller block")
    # Blocks with equal numbers of samples are dealt in the order of their numbers, so the numbers are random.
    group = rng.permutation(len(corners))[block.ravel()]
    fold = np.empty(len(points), dtype=np.int64)
    for number, (_, test) in enumerate(GroupKFold(min(folds, len(corners))).split(points, groups=group)):
        fold[test] = number
    return fold


def _by_method(
    points: Floats, values: Floats, fold: Indices, method: InterpolationMethod, settings: InterpolationSettings,
    rng: np.random.Generator, bar: Any,
) -> _Splits:  # fmt: skip
    """Validate a method; without a fast way to leave one sample out, many samples are left out in random folds."""

    def fit(train: Indices, test: Indices) -> Floats:
        predicted = np.full((len(test), values.shape[1]), np.nan)
        for columns, rows in columns_by_gaps(values[train]):
            with contextlib.suppress(InputError):  # an element with too few samples here is not predicted
                surface = method.fit(points[train][rows], values[train[rows][:, None], columns], settings)
                predicted[:, columns] = surface.evaluate(points[test])[0].T
        return predicted

    n, words = len(values), [method.summary(settings)] * values.shape[1]
    name, left_out = "leave-one-out", None
    if method.leave_one_out is not None:
        left_out = method.leave_one_out(points, values, settings)
    elif n <= _MOST_REFITS:
        left_out = _out_of_fold(values, np.arange(n), fit, bar)
    else:
        name = f"{_RANDOM_FOLDS} random folds"
        left_out = _out_of_fold(values, rng.permutation(np.arange(n) % _RANDOM_FOLDS), fit, bar)
    return {name: (left_out, words), "blocks": (_out_of_fold(values, fold, fit, bar), words)}


def _by_search(
    points: Floats, values: Floats, fold: Indices, given: InterpolationSettings, elements: Sequence[str], bar: Any
) -> tuple[_Splits, pd.DataFrame]:
    """Validate 'idw' with settings that are searched, and return the table of the best ones too.

    Every training on blocks chooses its settings again, from its own folds.
    """
    idw = METHODS["idw"]
    # Three folds, so that two are left to choose on where one is held out.
    found = _search(points, values, fold, given, 3)
    settings, searched = [setting for setting, _ in found], [error < math.inf for _, error in found]
    left_out = np.full(values.shape, np.nan)
    for setting, columns in _columns_by_setting(settings):
        left_out[:, columns] = weights_left_out(points, values[:, columns], setting)

    def fit(train: Indices, test: Indices) -> Floats:
        nested = [setting for setting, _ in _search(points[train], values[train], fold[train], given, 2)]
        predicted = np.full((len(test), values.shape[1]), np.nan)
        for setting, columns in _columns_by_setting(nested):
            surface = idw.fit(points[train], values[train][:, columns], setting)
            predicted[:, columns] = surface.evaluate(points[test])[0].T
        return predicted

    chosen = [
        f"{idw.summary(setting)}, chosen on the same samples" if new else idw.summary(setting)
        for setting, new in zip(settings, searched, strict=True)
    ]
    nested = ["chosen on the other folds" if new else idw.summary(given) for new in searched]
    rows = [(one.k, one.power, error) if error < math.inf else (None, math.nan, math.nan) for one, error in found]
    best = pd.DataFrame(rows, columns=["k", "power", "rmse"], index=pd.Index(elements, name="element"))
    splits = {"leave-one-out": (left_out, chosen), "blocks": (_out_of_fold(values, fold, fit, bar), nested)}
    return splits, best.astype({"k": "Int64", "power": float, "rmse": float})


def _out_of_fold(values: Floats, fold: Indices, fit: _Fit, bar: Any) -> Floats:
    """Return each sample predicted by a fit on the other folds, (N, C)."""
    predicted = np.empty(values.shape)
    numbers = np.unique(fold)
    bar.total = (bar.total or 0) + numbers.size
    for number in numbers:
        test = np.flatnonzero(fold == number)
        predicted[test] = fit(np.flatnonzero(fold != number), test)
        bar.update()
    return predicted


def _columns_by_setting(
    settings: Sequence[InterpolationSettings],
) -> Iterator[tuple[InterpolationSettings, list[int]]]:
    """Yield each of the settings once, and the elements that have it."""
    for one in dict.fromkeys(settings):
        yield one, [column for column, setting in enumerate(settings) if setting == one]


def _search(
    points: Floats, values: Floats, fold: Indices, given: InterpolationSettings, least: int
) -> list[tuple[InterpolationSettings, float]]:
    """Return per element the best setting and its error; the given one where it has samples in too few folds.

    Elements that lack the same samples go through one search, so that they share neighbours; each is scored alone.
    """
    from sklearn.model_selection import GridSearchCV

    found = [(given, math.inf)] * values.shape[1]
    for columns, rows in columns_by_gaps(values):
        numbers = np.unique(fold[rows])
        if numbers.size < least:
            continue
        splits = [(np.flatnonzero(fold[rows] != one), np.flatnonzero(fold[rows] == one)) for one in numbers]
        model, candidates = SearchedIDW(Memory(max(_NUMBERS))), {"k": _NUMBERS, "power": _POWERS}
        tried = GridSearchCV(
            model, candidates, scoring=_negative_errors, cv=splits, refit=False, error_score="raise"
        ).fit(points[rows], values[rows[:, None], columns])
        for place, column in enumerate(columns):
            scores = tried.cv_results_[f"mean_test_{place}"]
            best = tried.cv_results_["params"][int(scores.argmax())]
            found[column] = replace(given, k=best["k"], power=best["power"]), -float(scores.max())
    return found


def _negative_errors(model: IDW, points: Floats, values: Floats) -> dict[str, float]:
    """Return minus the root mean squared error of each output, for scikit-learn, where more is better."""
    errors = np.sqrt(((model.predict(points) - values) ** 2).mean(axis=0))
    return {str(place): -float(error) for place, error in enumerate(errors)}


def _table(elements: Sequence[str], units: Sequence[str], values: Floats, splits: _Splits) -> pd.DataFrame:
    """Return the errors of each element and split."""
    rows = {
        (element, split): {
            "unit": units[column],
            **_errors(values[:, column], predicted[:, column]),
            "parameters": words[column],
        }
        for column, element in enumerate(elements)
        for split, (predicted, words) in splits.items()
    }
    index = pd.MultiIndex.from_tuples(rows, names=["element", "split"])
    return pd.DataFrame(list(rows.values()), index=index)


def _errors(measured: Floats, predicted: Floats) -> dict[str, float]:
    """Return counts and errors of one element, as they are and of the logarithms."""
    known = ~np.isnan(measured)
    both = known & ~np.isnan(predicted)
    positive = both & (measured > 0) & (np.nan_to_num(predicted) > 0)
    logs = np.log10(measured[positive]), np.log10(predicted[positive])
    return {
        "n": int(known.sum()),
        "not_predicted": int((known & ~both).sum()),
        **_moments(measured[both], predicted[both]),
        "n_log10": int(positive.sum()),
        **{f"{name}_log10": value for name, value in _moments(*logs).items()},
    }


def _moments(measured: Floats, predicted: Floats) -> dict[str, float]:
    """Return rmse, mae, bias and the standard deviation of the measured values; NaN without any."""
    if not measured.size:
        return dict.fromkeys(("rmse", "mae", "bias", "sd"), math.nan)
    error = predicted - measured
    return {
        "rmse": math.sqrt(float((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "sd": float(measured.std()),
    }


def _predictions(
    elements: Sequence[str], held: Indices, points: Floats, fold: Indices, values: Floats, splits: _Splits
) -> pd.DataFrame:
    """Return a row per measured value: its location, its fold, and the prediction of each split."""
    column, row = np.nonzero(~np.isnan(values).T)
    frame = {"sample": held[row], "x": points[row, 0], "y": points[row, 1], "fold": fold[row]}
    names = np.array(elements, dtype=object)[column]
    predicted = {split: table[row, column] for split, (table, _) in splits.items()}
    return pd.DataFrame({**frame, "element": names, "measured": values[row, column], **predicted})
