"""Training and test that share no ground: splits of windows, how far they must lie apart, and the proof."""

from __future__ import annotations

import itertools
import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geoprospect._checks import check_int, check_names, check_number, check_rng, first_rows, user_level
from geoprospect.errors import DataWarning, InputError, SeparationError
from geoprospect.grid import Grid
from geoprospect.windows.regions import Fold, clusters, compact_regions, dealt, nearest, separated, shared_ground
from geoprospect.windows.settings import Scheme, check_scheme
from geoprospect.windows.variogram import correlation_length, variogram
from geoprospect.windows.windows import Windows, check_windows

log = logging.getLogger("geoprospect")


# Windows of a class below which a training is too small; a fold with fewer gives a warning.
FEWEST = 10
# One of so many folds is held out for early stopping.
_MONITOR_FOLDS = 5
# Fractions of the correlation range that are tried as the default buffer.
_BUFFERS = (1.0, 1 / 2, 1 / 4, 0.0)

# A block is four footprints wide, so that half of its ground is farther than half a footprint from its edge; two at
# least, and, within that, small enough for two blocks a fold.
_FOOTPRINTS = (2.0, 4.0)
_PER_FOLD = 2

# Share of the windows of a class that a buffer must leave to train on, of those that would be left without one; the
# least that nearest neighbour distance matching leaves, too (Milà et al. 2022, https://doi.org/10.1111/2041-210X.13851).
_LEAVES = 0.5

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Rule:
    """What a split is asked to be."""

    folds: int
    buffer: float
    scheme: Scheme
    block: float | None
    context: int


def spatial_folds(
    windows: Windows,
    folds: int = 5,
    buffer: float = 0.0,
    *,
    scheme: Scheme = "regions",
    block: float | None = None,
    context: int = 0,
) -> list[Fold]:
    """Split windows so that training and test share no ground.

    Each window belongs to one region, ore to that of its deposit, and each region is the test once.
    Every other window whose footprint comes within `buffer` of a footprint of the test is left out of
    that training. A footprint is the whole window, in which crops slide, and `context` around it.

    Parameters
    ----------
    windows : Windows
        Windows to split; background (barren) windows of all draws are treated in the same way.
    folds : int, default 5
        Number of regions; fewer where the deposits form fewer clusters, linked by steps of less than a
        window, or stand in fewer blocks. Of no effect for 'leave-one-cluster-out'.
    buffer : float, default 0
        Further distance between the footprints of training and test, in CRS units.
    scheme : {'regions', 'blocks', 'clusters', 'leave-one-cluster-out'}, default 'regions'
        What is held out together: compact regions of deposits (Ward's clustering [1]_); square blocks
        of ground [2]_, dealt out over the folds; clusters of deposits, dealt out over the folds; or
        each cluster for itself. There, deposits are of one cluster that are linked by steps of less
        than a footprint and the buffer. A barren window goes with the nearest deposit, or its block.
    block : float, optional
        Side of the blocks of 'blocks', in CRS units. Default: four footprints and buffers, at least
        two, and within that small enough for two blocks a fold.
    context : int, default 0
        Cells around a window that the network sees as well, in training with a halo or in dense
        prediction. A window of zoom z covers z cells of the grid for each.

    Returns
    -------
    list of (train, test)
        Indices into `windows`, each in ascending order. What is in neither was left out because it
        comes too near. A window is in one test at most.

    Raises
    ------
    SeparationError
        When fewer than two folds can be made. It is an `InputError`.
    InputError
        When a setting is out of its range, or there is no ore.

    Warns
    -----
    DataWarning
        When regions are left out, because their test or training lacks a class, or when a training
        is left with fewer than ten windows of a class.

    References
    ----------
    .. [1] Ward, J. H. (1963). Hierarchical grouping to optimize an objective function. Journal of the
       American Statistical Association 58, 236-244. https://doi.org/10.1080/01621459.1963.10500845
    .. [2] Roberts, D. R. et al. (2017). Cross-validation strategies for data with temporal, spatial,
       hierarchical, or phylogenetic structure. Ecography 40, 913-929. https://doi.org/10.1111/ecog.02881

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=60, rng=0)
    >>> len(gp.spatial_folds(windows, folds=4))
    4
    >>> train, test = gp.spatial_folds(windows, folds=4, scheme="clusters")[0]
    >>> float(gp.audit(windows[train], windows[test]).max())
    0.0
    """
    rule = _checked(windows, folds, buffer, scheme, block, context)
    regions = _parts(windows, _divided(windows, rule), rule)
    lacking = [lacks for fit, test in regions if (lacks := _lacks(windows, fit, test))]
    parts = [(fit, test) for fit, test in regions if not _lacks(windows, fit, test)]
    why = ", ".join(f"{count} without {what}" for what, count in Counter(itertools.chain(*lacking)).items())
    asked = "folds" if rule.scheme == "leave-one-cluster-out" else f"folds={rule.folds}"
    if len(parts) < 2:
        raise SeparationError(_too_few(windows, rule, f"{asked}: {len(parts)} of {len(regions)}", why))
    if lacking:
        warnings.warn(
            f"{asked}: {len(lacking)} of {len(regions)} regions are left out ({why}); {len(parts)} folds are made",
            DataWarning,
            stacklevel=user_level(),
        )
    left = [_counts(windows, fit) for fit, _ in parts]
    poor = [pair for pair in left if min(pair) < FEWEST]
    if poor:
        ore, barren = min(poor, key=min)
        warnings.warn(
            f"folds: {len(poor)} of {len(left)} have fewer than {FEWEST} training windows of a class (one has "
            f"{ore} ore and {barren} barren); pass smaller windows, a smaller buffer, or more windows",
            DataWarning,
            stacklevel=user_level(),
        )
    if rule.scheme != "leave-one-cluster-out" and len(parts) < rule.folds:
        log.info("%d folds instead of %d: the deposits form no more groups", len(parts), rule.folds)
    return parts


def held_out(windows: Windows, patience: int | None, context: int) -> tuple[Windows, Windows | None]:
    """Return the windows to train on and those held out for early stopping, with about a fifth of the deposits.

    Parameters
    ----------
    windows : Windows
        All windows of a training.
    patience : int or None
        Setting of the recipe; with None, no windows are held out.
    context : int
        As in `spatial_folds`.

    Raises
    ------
    SeparationError
        When windows cannot be split, or a draw lacks a class in one of the two parts.
    """
    if patience is None:
        return windows, None
    fix = "pass patience=None to train on all windows"
    try:
        folds = spatial_folds(windows, _MONITOR_FOLDS, context=context)
    except SeparationError as err:
        raise SeparationError(f"patience={patience}: needs windows apart from the training ({err}); or {fix}") from err
    known = len(np.unique(windows.deposits[windows.deposits >= 0]))
    shares = [len(np.unique(windows.deposits[test][windows.deposits[test] >= 0])) / known for _, test in folds]
    fit, test = folds[int(np.argmin(np.abs(np.array(shares) - 1 / _MONITOR_FOLDS)))]
    for draw in range(windows.n_draws):
        member = (windows.draw == -1) | (windows.draw == draw)
        if any(len(np.unique(windows.labels[part][member[part]])) < 2 for part in (fit, test)):
            raise SeparationError(
                f"patience={patience}: draw {draw} lacks ore or barren windows in training or in the held-out region; "
                f"draw more barren windows, or {fix}"
            )
    log.info("patience: %d of %d windows are held out, %d are trained on", len(test), len(windows), len(fit))
    return windows[fit], windows[test]


def fold_counts(windows: Windows, fit: _Ints, test: _Ints) -> dict[str, int]:
    """Return how many windows of each class, and deposits, a fold has, and how many windows are in neither part."""
    counts = {
        f"{what}_{kind}": int((windows.labels[at] == label).sum())
        for what, at in (("train", fit), ("test", test))
        for kind, label in (("ore", 1), ("barren", 0))
    }
    deposits = windows.deposits[test]
    dropped = len(windows) - len(fit) - len(test)
    return counts | {"test_deposits": len(np.unique(deposits[deposits >= 0])), "dropped": dropped}


def audit(train: Windows, test: Windows, context: int = 0) -> NDArray[np.float64]:
    """Return how much of the ground of each test window was trained on.

    Parameters
    ----------
    train, test : Windows
        On one grid.
    context : int, default 0
        Cells around the windows, of training and test, that the network sees as well; as in
        `spatial_folds`.

    Returns
    -------
    ndarray of shape (n_test,)
        Share of the cells of each test footprint, those on the grid, that lie under some training
        footprint: 0 where none does, as after `spatial_folds`; 1 where all do.

    Raises
    ------
    InputError
        When the two are not on one grid.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=60, rng=0)
    >>> bool((gp.audit(windows[::2], windows[1::2]) > 0).mean() > 0.5)  # every other one
    True
    >>> train, test = gp.spatial_folds(windows, folds=4)[0]
    >>> float(gp.audit(windows[train], windows[test]).max())
    0.0
    """
    context = check_int("context", context, 0)
    if train.grid != test.grid:
        raise InputError(f"train, test: stand on two grids, {train.grid!r} and {test.grid!r}; cut both from one survey")
    seen, asked = (footprints(part, context, clipped=True) for part in (train, test))
    return shared_ground(asked, seen)


def check_separate(windows: Windows, folds: Iterable[Fold], context: int = 0) -> None:
    """Raise where a test of these splits shares ground with its training."""
    for number, (fit, test) in enumerate(folds, start=1):
        shared = audit(windows[fit], windows[test], context=context)
        if shared.max(initial=0) > 0:
            raise SeparationError(
                f"folds: in split {number} {int((shared > 0).sum())} of {shared.size} test windows share ground with "
                f"the training, up to {shared.max():.0%} of a window; leave the training windows out that audit() "
                "shows, or take spatial_folds"
            )


def correlation_range(
    survey: xr.Dataset,
    bands: str | Iterable[str] | None = None,
    rng: int | np.random.Generator | None = None,
    *,
    n: int = 2000,
) -> float:
    """Return the distance within which cells of a survey are alike: the range of its spatial correlation.

    For each band the variogram of its normal scores is estimated from random cells, each paired with
    others at distances from one cell to half the extent. The range is where the best of an
    exponential, a spherical and a gaussian model, with a nugget, comes to 95 % of its sill; that is
    where the correlation has fallen to 0.05.

    Parameters
    ----------
    survey : xarray.Dataset
        Bands with dims (y, x).
    bands : str or iterable of str, optional
        Those that are looked at. Default: all that hold numbers.
    rng : int, Generator or None
        Draws the cells.
    n : int, default 2000
        Cells that are drawn in each band.

    Returns
    -------
    float
        The median over the bands, in CRS units: at least a cell, which is what a band of noise has,
        and at most half the longer side of the grid.

    Raises
    ------
    InputError
        When no band has enough cells with different values.
    NameNotFoundError
        When a band is not there.

    Warns
    -----
    DataWarning
        When at least half of the bands have no range within the survey, as with a trend.

    Notes
    -----
    A gridded band is as smooth as its gridding made it: the range is at least that of the
    interpolation, some distances between samples, also where the samples themselves are noise. On a
    grid in degrees it is in degrees, and the same in both directions.

    References
    ----------
    .. [1] Valavi, R., Elith, J., Lahoz-Monfort, J. J. & Guillera-Arroita, G. (2019). blockCV. Methods in
       Ecology and Evolution 10, 225-232. https://doi.org/10.1111/2041-210X.13107

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)
    >>> spacing = gp.correlation_range(survey, ["Cu", "Ag"], rng=0)
    >>> max(area.grid.resolution) < spacing < 48 * max(area.grid.resolution)
    True
    """
    table = _ranges(survey, bands, rng, n)
    if table.empty:
        raise InputError(
            "survey: has no band of numbers with dims (y, x) and enough cells with different values for a range; "
            "name a distance yourself, such as buffer=2000"
        )
    limited = int(table["limited"].sum())
    if 2 * limited >= len(table):
        warnings.warn(
            f"survey: {limited} of {len(table)} bands vary up to the edge of the survey and have no range within it "
            f"({first_rows(table.index[table['limited']])}); half the extent is taken for theirs",
            DataWarning,
            stacklevel=user_level(),
        )
    return float(table["range"].median())


def default_buffer(
    windows: Windows,
    survey: xr.Dataset,
    folds: int = 5,
    scheme: Scheme = "regions",
    context: int = 0,
    *,
    block: float | None = None,
    rng: int | np.random.Generator | None = 0,
) -> tuple[float, str]:
    """Return how far training and test should lie apart beyond their footprints, and a sentence that says why.

    The range of correlation is taken where it leaves enough to train on, else the largest of its
    half, its quarter and 0 that does. Enough is: two folds at least, and in each of them, of ore and
    of barren alike, at least half of the training windows that the same fold has without a buffer.

    Parameters
    ----------
    windows, folds, scheme, context, block
        As for `spatial_folds`.
    survey : xarray.Dataset
        Whose correlation is looked at.
    rng : int, Generator or None, default 0
        As for `correlation_range`.

    Returns
    -------
    buffer : float
        In CRS units, to be given to `spatial_folds`.
    sentence : str
        What was taken, and what a larger one would have left.
    """
    rule = _checked(windows, folds, 0.0, scheme, block, context)
    table = _ranges(survey, None, rng, 2000)
    if table.empty:
        return 0.0, "no buffer: no band of the survey has a range of correlation"
    span, first = float(table["range"].median()), ""
    for share in _BUFFERS:
        buffer = share * span
        enough, left = _what_is_left(windows, replace(rule, buffer=buffer))
        first = first or left
        if enough:
            break
    reach = f"the correlation range of {_length(windows.grid, span)}"
    if 2 * table["limited"].sum() >= len(table):
        reach += " (half the extent: the bands vary up to the edge of the survey)"
    if share == 1:
        return buffer, f"buffer of {_length(windows.grid, buffer)}: {reach}, which leaves {left}"
    chosen = f"buffer of {_length(windows.grid, buffer)}" if buffer else "no buffer"
    return buffer, f"{chosen}: {reach} would leave {first}"


def deposit_clusters(windows: Windows) -> _Ints:
    """Return the cluster of every deposit: those linked by steps of less than the widest window are one."""
    return clusters(windows.deposit_points, _width(windows, 0))


def independent_units(windows: Windows) -> _Ints:
    """Return for each window what is resampled as one: its cluster of deposits, or its block of barren ground."""
    cluster = deposit_clusters(windows)
    unit: _Ints = cluster.max(initial=0) + windows.blocks()  # blocks count from 1
    ore = windows.labels == 1
    unit[ore] = cluster[windows.deposits[ore]]
    return unit


def _checked(windows: Windows, folds: int, buffer: float, scheme: str, block: float | None, context: int) -> _Rule:
    """Return what is asked for, checked."""
    check_windows(windows)
    if not (windows.labels == 1).any():
        raise InputError("windows: hold no ore, so there is nothing to separate; cut them with sample_windows")
    check_scheme(scheme, block)
    return _Rule(
        check_int("folds", folds, 2),
        check_number("buffer", buffer, minimum=0),
        cast("Scheme", scheme),
        None if block is None else check_number("block", block, above=0),
        check_int("context", context, 0),
    )


# -- regions -----------------------------------------------------------------------------------


def footprints(windows: Windows, context: int, clipped: bool = False) -> _Floats:
    """Return (left, bottom, right, top) of windows and context in cells from the north-west corner, up positive.

    In whole cells, so that an edge which two windows share is the same number in both.
    """
    around = context * windows.zooms
    left, top = windows.cols - around, windows.rows - around
    right, bottom = windows.cols + windows.widths + around, windows.rows + windows.widths + around
    if clipped:
        (ny, nx), (left, top) = windows.grid.shape, (np.maximum(left, 0), np.maximum(top, 0))
        right, bottom = np.minimum(right, nx), np.minimum(bottom, ny)
    return np.column_stack([left, -bottom, right, -top]).astype(np.float64)


def _width(windows: Windows, context: int) -> float:
    """Return the side of the widest footprint, in CRS units."""
    return float((windows.widths + 2 * context * windows.zooms).max() * max(windows.grid.resolution))


def _anchors(windows: Windows) -> _Floats:
    """Return the place by which each window belongs to a region: its deposit, or its middle (N, 2)."""
    return np.where(windows.labels[:, None] == 1, windows.deposit_points[windows.deposits], windows.centres)


def _known(windows: Windows) -> _Floats:
    """Return the deposits that have windows, (D, 2)."""
    return windows.deposit_points[np.unique(windows.deposits[windows.deposits >= 0])]


def _cluster(windows: Windows, rule: _Rule) -> _Ints:
    """Return the cluster of each deposit that has windows.

    Windows with a deposit in their middle share ground where the two deposits lie less than a footprint apart.
    Regions may cut a cluster, as nothing near the cut is trained on; clusters only say how many there may be. With
    the buffer in the step, one wide enough to link them all would leave two.
    """
    if rule.scheme == "regions":
        return clusters(_known(windows), _width(windows, 0))
    return clusters(_known(windows), _width(windows, rule.context) + rule.buffer)


def _divided(windows: Windows, rule: _Rule) -> _Ints:
    """Return the region of each window."""
    if rule.scheme == "blocks":
        return _by_blocks(windows, rule)
    deposits, anchors = _known(windows), _anchors(windows)
    group = _cluster(windows, rule)
    n_clusters = int(group.max()) + 1
    if rule.scheme == "regions":
        group = compact_regions(deposits, min(rule.folds, max(n_clusters, 2)))
    elif rule.scheme == "clusters":
        barren = group[nearest(anchors[windows.labels == 0], deposits)]
        load = np.column_stack([np.bincount(one, minlength=n_clusters) for one in (group, barren)])
        group = dealt(load, min(rule.folds, n_clusters))[group]
    region: _Ints = group[nearest(anchors, deposits)]
    return region


def _by_blocks(windows: Windows, rule: _Rule) -> _Ints:
    """Return the fold of each window by square blocks from the north-west corner."""
    side = _block_side(windows, rule) if rule.block is None else rule.block
    left, _, right, top = windows.grid.bounds
    abreast = math.ceil((right - left) / side) + 1

    def number(points: _Floats) -> _Ints:
        # Rounded, because 0.3 / 0.1 is a little less than 3.
        blocks = np.floor(np.round((points - (left, top)) * (1, -1) / side, 9))
        return (blocks[:, 1] * abreast + blocks[:, 0]).astype(np.int64)

    known, at = np.unique(number(_anchors(windows)), return_inverse=True)
    deposits = np.searchsorted(known, number(_known(windows)))
    barren = at[windows.labels == 0]
    load = np.column_stack([np.bincount(one, minlength=len(known)) for one in (deposits, barren)])
    fold: _Ints = dealt(load, min(rule.folds, int((load[:, 0] > 0).sum())))[at]
    return fold


def _block_side(windows: Windows, rule: _Rule) -> float:
    """Return the side of blocks where none is given."""
    least, most = (share * (_width(windows, rule.context) + rule.buffer) for share in _FOOTPRINTS)
    left, bottom, right, top = windows.grid.bounds
    return float(np.clip(math.sqrt((right - left) * (top - bottom) / (_PER_FOLD * rule.folds)), least, most))


# -- the split ---------------------------------------------------------------------------------


def _parts(windows: Windows, region: _Ints, rule: _Rule) -> list[Fold]:
    """Return (train, test) of all regions."""
    dy, dx = windows.grid.resolution
    return separated(footprints(windows, rule.context) * (dx, dy, dx, dy), region, rule.buffer)


def _counts(windows: Windows, at: _Ints) -> tuple[int, int]:
    """Return how many ore and barren windows there are; of several draws, the barren ones of the poorest."""
    barren = windows.draw[at[windows.labels[at] == 0]]
    each = np.bincount(barren[barren >= 0], minlength=windows.n_draws) if (windows.draw >= 0).any() else np.zeros(1)
    return int((windows.labels[at] == 1).sum()), int((barren < 0).sum() + each.min())


def _lacks(windows: Windows, fit: _Ints, test: _Ints) -> tuple[str, ...]:
    """Return what a fold has none of."""
    ore, barren = _counts(windows, fit)
    tested = int((windows.labels[test] == 0).sum())  # the test is of all draws together
    have = {"ore to train on": ore, "barren window to train on": barren, "barren window to test": tested}
    return tuple(what for what, count in have.items() if not count)


def _too_few(windows: Windows, rule: _Rule, made: str, why: str) -> str:
    """Return an error that counts the folds and names the arguments to change."""
    n, n_clusters = len(np.unique(_known(windows), axis=0)), len(np.unique(_cluster(windows, rule)))
    if n == 1:
        return (
            "windows: all ore windows have one location, which cannot be both trained on and tested; use more deposits"
        )
    smaller = [f"buffer ({rule.buffer:g})"] * (rule.buffer > 0) + [f"context ({rule.context})"] * (rule.context > 0)
    fixes = [f"smaller or more windows (size {windows.size})"]
    fixes += ["fewer folds"] * (rule.folds > 2 and rule.scheme != "leave-one-cluster-out")
    fixes += [f"a smaller {' and '.join(smaller)}"] * bool(smaller)
    fixes += [f"another block ({rule.block:g})"] if rule.block else []
    fixes += [f"another scheme ({rule.scheme!r})"]
    return (
        f"{made} regions can be tested, two are needed, with {n} deposits in {n_clusters} "
        f"cluster{'s' * (n_clusters != 1)} ({why}); pass {' or '.join(fixes)}"
    )


def _what_is_left(windows: Windows, rule: _Rule) -> tuple[bool, str]:
    """Return whether a buffer leaves enough to train on, and how much in the fold where it takes most."""
    region = _divided(windows, rule)
    worst, least, folds = "", math.inf, 0
    with_it, without = _parts(windows, region, rule), _parts(windows, region, replace(rule, buffer=0.0))
    for (fit, test), (free, _) in zip(with_it, without, strict=True):
        if _lacks(windows, free, test):
            continue
        folds += 1
        counts = zip(("ore", "barren"), _counts(windows, fit), _counts(windows, free), strict=True)
        for kind, left, before in counts:
            if left / before < least:
                least, worst = left / before, f"{left} of {before} {kind} windows to train on"
    if folds < 2:
        return False, "fewer than two folds"
    return least >= _LEAVES, worst


# -- the range of correlation ------------------------------------------------------------------


def _ranges(
    survey: xr.Dataset, bands: str | Iterable[str] | None, rng: int | np.random.Generator | None, n: int
) -> pd.DataFrame:
    """Return the range of each band in CRS units, and whether it is limited to half the extent."""
    generator, n = check_rng(rng), check_int("n", n, 100)
    grid = Grid.of(survey)
    names = None if bands is None else check_names("bands", bands, list(map(str, survey.data_vars)))
    found: dict[str, tuple[float, bool]] = {}
    for name, band in survey.data_vars.items():
        flat = set(band.dims) == {"y", "x"} and np.issubdtype(band.dtype, np.number)
        if flat and (names is None or str(name) in names):
            values = band.transpose("y", "x").to_numpy()
            one = correlation_length(*variogram(values, grid.resolution, n, generator), max(grid.resolution))
            if one is not None:
                half = max(np.array(grid.shape) * grid.resolution) / 2
                found[str(name)] = (float(min(one, half)), one > half)
    table = pd.DataFrame.from_dict(found, orient="index", columns=["range", "limited"])
    log.info(
        "range of correlation: %s",
        ", ".join(f"{name} {_length(grid, one)}" for name, one in table["range"].items()),
    )
    return table


def _length(grid: Grid, value: float) -> str:
    """Say a length, metres as such or in kilometres."""
    if grid.unit == "metre":
        return f"{value / 1000:.3g} km" if value >= 1000 else f"{value:.3g} m"
    return f"{value:,.6g} {grid.unit}{'s' * (value != 1)}"
