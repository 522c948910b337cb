"""Synthetic geochemical surveys with known deposits and known truth, for tests, examples and controls."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from scipy import fft, interpolate, sparse, special

from geoprospect._checks import check_choice, check_crs, check_int, check_number, check_rng, check_shape
from geoprospect.errors import InputError
from geoprospect.geochem.samples import Samples
from geoprospect.grid import Grid

Floats = NDArray[np.float64]

# The land is made on a fixed lattice, so that it depends on neither the samples nor the grid
# asked for. Fields are made on a wider one: the FFT wraps, and opposite edges must not agree.
_SIDE, _WIDE = 384, 512
_SPACING = 484.0  # m; 7,234 samples on 1,694 km²
_TRANSPORT = 1000.0  # m downstream over which the weight of a source falls to 1/e
_APART = 700.0  # m between ore bodies at least
_HIDDEN = 1 / 3  # undiscovered ore bodies per known one

# How the variance of a log-concentration divides, and over what lengths in metres.
_REGIONAL, _LOCAL, _SINGLE = 0.25, 0.45, 0.30
_REGIONAL_LENGTH, _LOCAL_LENGTH = 4000.0, 1600.0


class _Element(NamedTuple):
    """Median in ppm, standard deviation of the logarithm, halo in such deviations, loadings.

    The loadings are on three regional factors: granite, sulphide, mafic rock and soil.
    """

    median: float
    deviation: float
    halo: float
    loadings: tuple[float, float, float]


# Medians near those of stream sediments in South China. The carriers are the eight elements
# that Gao et al. select, the strongest haloes in the order of their AUC.
_ELEMENTS = {
    "Cu": _Element(20, 0.45, 1.8, (-0.2, 0.6, 0.8)),
    "Pb": _Element(30, 0.40, 0, (0.5, 0.8, -0.1)),
    "Zn": _Element(70, 0.35, 0, (0.1, 0.7, 0.6)),
    "Mn": _Element(500, 0.50, 0, (-0.1, 0.2, 0.9)),
    "As": _Element(8, 0.70, 0, (-0.1, 0.9, 0.2)),
    "Sn": _Element(4, 0.50, 1.6, (0.9, 0.2, -0.2)),
    "W": _Element(2.5, 0.55, 0, (0.9, 0.2, -0.1)),
    "Ag": _Element(0.08, 0.45, 2.1, (0.2, 0.9, 0.0)),
    "Au": _Element(0.0015, 0.70, 1.55, (-0.1, 0.8, 0.3)),
    "B": _Element(40, 0.50, 0, (0.4, 0.2, -0.6)),
    "Sb": _Element(0.6, 0.65, 1.45, (-0.2, 0.9, 0.1)),
    "Bi": _Element(0.4, 0.60, 0, (0.9, 0.4, -0.1)),
    "Mo": _Element(0.9, 0.50, 1.5, (0.7, 0.4, 0.1)),
    "Hg": _Element(0.05, 0.50, 1.95, (-0.3, 0.7, 0.2)),
    "F": _Element(450, 0.30, 0, (0.8, 0.1, 0.2)),
    "Ba": _Element(450, 0.30, 1.65, (0.5, -0.2, 0.3)),
}
_CARRIERS = tuple("Au Sn Cu Ag Ba Sb Hg Mo".split())
_COMMODITIES = ("Ag", "Au", "Cu", "Sn", "Mo", "Sb-Hg", "Ba")
_PER_PPM = {"ppm": 1.0, "ppb": 1e3, "%": 1e-4}
# Analyses that fail more often than others; the mean over the 16 elements is 1.
_MISSING_WEIGHT = {"Au": 4.0, "Hg": 4.0, "F": 4.0, "Sb": 2.0, "Bi": 2.0}


class _Area(NamedTuple):
    """Where an area lies, how it is reported, and how far its medians stray (in logarithm)."""

    crs: str
    samples_crs: str
    corner: tuple[float, float]  # left, top
    side: float
    n_deposits: int
    units: dict[str, str]  # those that are not ppm
    stray: float


_AREAS = {
    "A": _Area("EPSG:32649", "EPSG:32649", (376_000, 2_450_000), 41_164.8, 40, {"Au": "ppb", "Hg": "ppb"}, 0.0),
    "B": _Area("EPSG:4547", "EPSG:4326", (575_000, 2_725_000), 30_720.0, 24,
               {"Ag": "ppb", "Mn": "%", "F": "%", "Ba": "%"}, 0.25),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class SyntheticSurvey:
    """A survey and the truth behind it; `make_survey` makes one.

    Parameters
    ----------
    area : str
        'A' or 'B'.
    samples : Samples
        Stream sediments, NaN where an analysis is missing.
    deposits : GeoDataFrame
        Known deposits: ``id`` (from 1), ``name``, ``commodity`` and points, in the CRS of the samples.
    carriers : tuple of str
        The elements that carry haloes; the other elements know nothing of the ore.
    grid : Grid
        Square cells that cover the survey, in a projected CRS.
    truth : xarray.Dataset
        On `grid`: ``ore_potential`` (0 to 1, the ore bodies were drawn from its square), ``halo``
        (0 to 1), ``drainage`` (catchment in km²), ``elevation`` (m). NaN outside of the survey.
    undiscovered : GeoDataFrame
        Ore bodies with haloes that are no known deposits; columns as in `deposits`.
    halos : GeoDataFrame
        One row per ore body, known ones first: ``id``, ``known``, ``width`` (m, between the points of
        half strength) and ``strength`` (0 to 1).
    amplitudes : dict of str to float
        What ``halo`` = 1 adds to the natural logarithm of each element's concentration.
    signal : float
        Factor of all haloes.
    seed : int or None
        The seed, where one was given.
    """

    area: str
    samples: Samples
    deposits: gpd.GeoDataFrame
    carriers: tuple[str, ...]
    grid: Grid
    truth: xr.Dataset = field(repr=False)
    undiscovered: gpd.GeoDataFrame
    halos: gpd.GeoDataFrame
    amplitudes: dict[str, float]
    signal: float
    seed: int | None

    def __repr__(self) -> str:
        """What there is, and how it was made."""
        (ny, nx), (n, c) = self.grid.shape, self.samples.values.shape
        return (
            f"SyntheticSurvey(area {self.area}: {n} samples of {c} elements, {len(self.deposits)} deposits "
            f"and {len(self.undiscovered)} undiscovered, grid of {ny} x {nx} cells, signal {self.signal:g}, "
            f"seed {self.seed})"
        )


class _Land(NamedTuple):
    """What lies on the lattice; fields have shape (_SIDE**2,), row by row from the north-west."""

    corner: tuple[float, float]
    cell: float  # m
    elevation: Floats  # m
    receiver: NDArray[np.int64]  # the cell that a cell drains to, -1 at an outlet
    catchment: Floats  # km²


class _Ore(NamedTuple):
    """Ore bodies, known ones first."""

    potential: Floats  # (_SIDE**2,)
    xy: Floats  # (n, 2)
    width: Floats  # (n,)
    strength: Floats  # (n,)


def make_survey(
    area: str = "A",
    *,
    signal: float = 1.0,
    shape: int | tuple[int, int] = (384, 384),
    n_samples: int | None = None,
    n_deposits: int | None = None,
    missing: float = 0.015,
    rng: int | np.random.Generator | None = 0,
) -> SyntheticSurvey:
    """Make a geochemical survey with deposits whose truth is known.

    It is shaped like that of Gao et al. [1]_. On a fractal terrain with its drainage, stream
    sediments are sampled in channels, one in each block of some 484 m. The logarithm of a
    concentration is the sum of regional factors shared between elements, a field of the
    element's own and noise of the single sample; what comes from the rocks is averaged over the
    ground upstream, nearer ground weighing more. Ore bodies are drawn from an ore potential
    that depends on neither terrain nor background. Around and downstream of them the carriers
    are enriched. No draw depends on `signal`: surveys that differ in it alone share places,
    deposits, background, noise and gaps, byte for byte. Likewise the deposits depend on neither
    `shape` nor `n_samples`.

    Parameters
    ----------
    area : {'A', 'B'}, default 'A'
        A is 41 x 41 km in UTM. B, for transfers, is 31 x 31 km with samples in degrees, a grid in
        another CRS, other units (Au in ppm, Mn in %, …) and slightly other medians.
    signal : float, default 1.0
        Factor of the haloes, at least 0. With 0 the chemistry is independent of the deposits;
        with 1 a single carrier reaches an AUC of about 0.7 to 0.85 at the deposits.
    shape : int or tuple of int, default (384, 384)
        Rows and columns (ny, nx) of the grid; 3072 in the paper.
    n_samples : int, optional
        Number of samples, at least 16. Default: one per 484 m squared, 7,234 in A.
    n_deposits : int, optional
        Number of known deposits. Default: 40 in A, 24 in B. A third more are undiscovered.
    missing : float, default 0.015
        Share of missing values, at most 0.2; they are those of Au, Hg, F, Sb and Bi.
    rng : int, Generator or None, default 0
        Seed or generator; None gives another survey each time.

    Returns
    -------
    SyntheticSurvey

    Raises
    ------
    InputError
        When an argument is out of its range.

    References
    ----------
    .. [1] Gao, L. et al. (2022). Applied Sciences 12(22), 11433. https://doi.org/10.3390/app122211433

    Examples
    --------
    >>> import geoprospect as gp
    >>> survey = gp.synthetic.make_survey(n_samples=500, shape=96, rng=7)
    >>> survey
    SyntheticSurvey(area A: 500 samples of 16 elements, 40 deposits and 13 undiscovered, grid of 96 x 96 cells,
    signal 1, seed 7)
    >>> survey.samples[["Cu", "Au"]]
    Samples(500 samples of 2 elements: Cu, Au; WGS 84 / UTM zone 49N)
    >>> survey.grid
    Grid(96 x 96 cells of 428.8 x 428.8 m, WGS 84 / UTM zone 49N)
    """
    place = _AREAS[check_choice("area", area, _AREAS)]
    signal = check_number("signal", signal, minimum=0)
    shape = check_shape("shape", shape)
    # Where n is not given: the paper's 7,234 in A, and its density elsewhere.
    n_samples = round((place.side / _SPACING) ** 2) if n_samples is None else check_int("n_samples", n_samples, 16)
    n_deposits = place.n_deposits if n_deposits is None else check_int("n_deposits", n_deposits)
    missing = check_number("missing", missing, minimum=0, maximum=0.2)
    _check_at_most("n_samples", n_samples, _SIDE**2 // 4, "the land is made of 384 x 384 cells")
    _check_at_most("n_deposits", n_deposits, 200, "they must lie 700 m apart")

    # A stream for each step, so that one step's settings do not move the next one's numbers.
    root = int(check_rng(rng).integers(2**63))
    _, for_ore, for_places, for_rocks = _streams(root, area)
    land = _make_land(root, area)
    ore = _draw_ore(for_ore, land, n_deposits)
    halo = _washed(_halo(ore, land)[:, None], land)[:, 0]
    at, points = _sample_channels(for_places, land, n_samples)
    log_ppm = _background(for_rocks, land, at, place.stray)  # (N, C)
    amplitudes = {name: signal * one.halo * one.deviation for name, one in _ELEMENTS.items()}
    log_ppm += halo[at, None] * np.array(list(amplitudes.values()))

    units = tuple(place.units.get(name, "ppm") for name in _ELEMENTS)
    values = np.exp(log_ppm) * np.array([_PER_PPM[unit] for unit in units])
    weights = np.array([_MISSING_WEIGHT.get(name, 0.0) for name in _ELEMENTS])
    values[for_places.random(values.shape) < missing * weights] = np.nan
    grid = _grid(place, shape)
    samples = Samples(points, values, tuple(_ELEMENTS), units, check_crs("crs", place.crs)).to_crs(place.samples_crs)
    bodies = _bodies(for_ore, ore, area, n_deposits, place)
    columns = ["id", "name", "commodity", "geometry"]
    return SyntheticSurvey(
        area=area,
        samples=samples,
        deposits=bodies.loc[bodies["known"], columns],
        carriers=_CARRIERS,
        grid=grid,
        truth=_truth(grid, land, ore, halo),
        undiscovered=bodies.loc[~bodies["known"], columns].reset_index(drop=True),
        halos=bodies[["id", "known", "width", "strength", "geometry"]],
        amplitudes=amplitudes,
        signal=signal,
        seed=None if rng is None or isinstance(rng, np.random.Generator) else int(rng),
    )


def _streams(root: int, area: str) -> list[np.random.Generator]:
    """Return the generators of land, ore, places and rocks."""
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence([root, ord(area)]).spawn(4)]


def _check_at_most(name: str, value: int, maximum: int, reason: str) -> None:
    if value > maximum:
        raise InputError(f"{name}={value}: needs at most {maximum}, because {reason}; ask for fewer")


def _random_field(rng: np.random.Generator, amplitude: Callable[[Floats, Floats], Floats]) -> Floats:
    """Return Gaussian noise of shape (_SIDE, _SIDE), mean 0 and deviation 1, filtered in the Fourier domain.

    `amplitude` takes the frequencies down and across in cycles per cell.
    """
    frequency = np.asarray(fft.fftfreq(_WIDE), dtype=np.float64)
    down, across = frequency[:, None], np.abs(frequency[None, : _WIDE // 2 + 1])  # irfft needs one half
    spectrum = fft.rfft2(rng.standard_normal((_WIDE, _WIDE))) * amplitude(down, across)
    values: Floats = fft.irfft2(spectrum, s=(_WIDE, _WIDE))[:_SIDE, :_SIDE]
    scaled: Floats = (values - values.mean()) / values.std()
    return scaled


def _smooth_field(rng: np.random.Generator, length: float, stretch: float = 1.0) -> Floats:
    """Return a field of correlation length `length` in cells, `stretch` times that along north-east."""

    def amplitude(down: Floats, across: Floats) -> Floats:
        # Rows run south, so north-east is (-1, 1).
        along, over = (across - down) / np.sqrt(2), (across + down) / np.sqrt(2)
        # A Gaussian filter of length/sqrt(2) has a Gaussian covariance of `length`.
        filtered: Floats = np.exp(-((np.pi * length) ** 2) * ((stretch * along) ** 2 + over**2))
        return filtered

    return _random_field(rng, amplitude)


@functools.lru_cache(maxsize=4)  # surveys of one seed lie on one land, whatever their samples, signal and shape
def _make_land(root: int, area: str) -> _Land:
    """Make a fractal terrain that falls to the south-east, and its drainage."""
    place, rng = _AREAS[area], _streams(root, area)[0]
    cell = place.side / _SIDE
    # A power law, flattened above some 15 km, is how real relief is distributed over lengths.
    relief = _random_field(rng, lambda down, across: (down**2 + across**2 + (cell / 15_000) ** 2) ** -1.0)
    slope = np.linspace(1, -1, _SIDE)
    surface = relief + 0.8 * (slope[:, None] + slope[None, :])
    elevation = (60 + 900 * (surface - surface.min()) / np.ptp(surface)).ravel()
    receiver = _receivers(elevation)
    cells = _accumulated(np.ones((_SIDE**2, 1)), receiver, 1.0)[:, 0]
    land = _Land(place.corner, cell, elevation, receiver, cells * (cell / 1000) ** 2)
    for kept in (land.elevation, land.receiver, land.catchment):
        kept.flags.writeable = False
    return land


def _receivers(elevation: Floats) -> NDArray[np.int64]:
    """Return the cell that each cell drains to, -1 on the rim.

    A least-cost search [1]_: from the rim inwards the lowest cell known is opened next, and
    its new neighbours drain to it. A closed hollow is opened over its lowest saddle and cut
    from its floor, so that it holds a stream and not a flat lake.

    .. [1] Ehlschlaeger, C. (1989). Using the A* search algorithm to develop hydrologic models
       from digital elevation data. Proc. International GIS Symposium '89, 275-281.
    """
    rim = np.ones((_SIDE, _SIDE), dtype=bool)
    rim[1:-1, 1:-1] = False
    # Lists: the loop reads single cells, and that is slow on arrays. The edge is known from the start, and
    # so are the indices beyond the array: negative ones read the end of the list.
    known = rim.ravel().tolist() + [True] * (_SIDE + 1)
    receiver = [-1] * elevation.size
    # Ranks of the elevation, which a heap compares faster than pairs of elevation and cell.
    lowest_first = np.argsort(elevation, kind="stable")
    ranks = np.empty_like(lowest_first)
    ranks[lowest_first] = np.arange(elevation.size)
    heap, cell_of, rank = ranks[rim.ravel()].tolist(), lowest_first.tolist(), ranks.tolist()
    heapq.heapify(heap)
    steps = [_SIDE * down + across for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across]
    while heap:
        i = cell_of[heapq.heappop(heap)]
        for step in steps:
            j = i + step
            if not known[j]:
                known[j], receiver[j] = True, i
                heapq.heappush(heap, rank[j])
    return np.array(receiver)


def _accumulated(source: Floats, receiver: NDArray[np.int64], kept: float) -> Floats:
    """Return each cell's own source plus `kept` of what each upstream neighbour has; shape (cells, k).

    With P the flow from cell to receiver that is (1 + Q)(1 + Q²)(1 + Q⁴)… source, Q = kept P:
    every factor doubles the length of the way that is counted, until Q has left the area.
    """
    giver = np.flatnonzero(receiver >= 0)
    size = receiver.size
    flow = sparse.csr_array((np.full(giver.size, kept), (receiver[giver], giver)), shape=(size, size))
    total = source
    while flow.nnz:
        total = total + flow @ total
        flow = flow @ flow
        flow.data[flow.data < 1e-9] = 0
        flow.eliminate_zeros()
    return total


def _washed(field: Floats, land: _Land) -> Floats:
    """Average a field over the ground upstream, nearer ground weighing more; shape (cells, k)."""
    with_weight = np.column_stack([field, np.ones(len(field))])
    total = _accumulated(with_weight, land.receiver, float(np.exp(-land.cell / _TRANSPORT)))
    mean: Floats = total[:, :-1] / total[:, -1:]
    return mean


def _draw_ore(rng: np.random.Generator, land: _Land, n_deposits: int) -> _Ore:
    """Draw known and undiscovered ore bodies from a potential that strikes north-east."""
    structure = _smooth_field(rng, 1500 / land.cell, stretch=2.5)
    potential = special.expit(3.5 * (structure - 1.1)).ravel()
    # The largest keys are a draw without replacement, with chances as the potential squared.
    keys = 2 * np.log(potential) + rng.gumbel(size=potential.size)
    offset = rng.uniform(-0.5, 0.5, (potential.size, 2))
    places = _centres(land) + offset * land.cell
    wanted = n_deposits + round(_HIDDEN * n_deposits)
    xy = np.empty((0, 2))
    for candidate in places[np.argsort(-keys)]:
        if len(xy) == wanted:
            break
        if not len(xy) or np.hypot(*(xy - candidate).T).min() >= _APART:
            xy = np.vstack([xy, candidate])
    # The first draws lie on the best ground: shuffle, or what is undiscovered would be the poor rest.
    xy = rng.permutation(xy)
    return _Ore(potential, xy, rng.uniform(1500, 2500, len(xy)), rng.uniform(0.5, 1.0, len(xy)))


def _halo(ore: _Ore, land: _Land) -> Floats:
    """Return the haloes in the rock, 0 to 1; where they overlap they fill up, not add up."""
    clear = np.ones((_SIDE, _SIDE))
    x, y = _centres(land)[:: _SIDE + 1].T  # each row and column once: the diagonal
    for xy, width, strength in zip(ore.xy, ore.width, ore.strength, strict=True):
        across, down = (np.exp2(-4 * ((axis - at) / width) ** 2) for axis, at in zip((x, y), xy, strict=True))
        clear *= 1 - strength * np.outer(down, across)
    halo: Floats = 1 - clear.ravel()
    return halo


def _centres(land: _Land) -> Floats:
    """Return the cell centres, (cells, 2)."""
    row, col = np.divmod(np.arange(_SIDE**2), _SIDE)
    return np.column_stack([land.corner[0] + (col + 0.5) * land.cell, land.corner[1] - (row + 0.5) * land.cell])


def _sample_channels(rng: np.random.Generator, land: _Land, n_samples: int) -> tuple[NDArray[np.int64], Floats]:
    """Choose a channel in each of just enough blocks; return the cells, (N,), and points, (N, 2)."""
    blocks = int(np.ceil(np.sqrt(n_samples)))
    row, col = np.divmod(np.arange(_SIDE**2), _SIDE)
    block = (row * blocks // _SIDE) * blocks + col * blocks // _SIDE
    # In the field one takes the larger stream, but not always the largest.
    choice = np.log(land.catchment) + 0.3 * rng.gumbel(size=_SIDE**2)
    ranked = np.lexsort([-choice, block])
    _, first = np.unique(block[ranked], return_index=True)
    at = np.sort(rng.permutation(ranked[first])[:n_samples])
    points = _centres(land)[at] + rng.uniform(-0.4, 0.4, (n_samples, 2)) * land.cell
    return at, points


def _background(rng: np.random.Generator, land: _Land, at: NDArray[np.int64], stray: float) -> Floats:
    """Return the logarithm of concentrations in ppm without ore, at the cells `at`; (N, C)."""
    medians, deviations = (np.array([one[k] for one in _ELEMENTS.values()]) for k in (0, 1))
    loadings = np.array([one.loadings for one in _ELEMENTS.values()])  # (C, 3)
    loadings = loadings / np.linalg.norm(loadings, axis=1, keepdims=True)
    regional = [_smooth_field(rng, _REGIONAL_LENGTH / land.cell).ravel() for _ in range(loadings.shape[1])]
    local = [_smooth_field(rng, _LOCAL_LENGTH / land.cell).ravel() for _ in _ELEMENTS]
    rocks = np.sqrt(_REGIONAL) * np.stack(regional, axis=1) @ loadings.T + np.sqrt(_LOCAL) * np.stack(local, axis=1)
    noise = np.sqrt(_SINGLE) * rng.standard_normal((at.size, len(_ELEMENTS)))
    centre = np.log(medians) + stray * rng.standard_normal(len(_ELEMENTS))
    logs: Floats = centre + deviations * (_washed(rocks, land)[at] + noise)
    return logs


def _bodies(rng: np.random.Generator, ore: _Ore, area: str, n_deposits: int, place: _Area) -> gpd.GeoDataFrame:
    """Return all ore bodies as one table in the CRS of the samples."""
    number = np.arange(1, len(ore.xy) + 1)
    columns = {
        "id": number,
        "name": [f"{area}-{i:02d}" for i in number],
        "commodity": rng.choice(_COMMODITIES, len(number)),
        "known": number <= n_deposits,
        "width": ore.width,
        "strength": ore.strength,
    }
    return gpd.GeoDataFrame(columns, geometry=shapely.points(ore.xy), crs=place.crs).to_crs(place.samples_crs)


def _grid(place: _Area, shape: tuple[int, int]) -> Grid:
    """Return square cells that cover the area, which lies in the middle of the longer direction."""
    (ny, nx), (left, top) = shape, place.corner
    size = place.side / min(shape)
    left, top = left - (nx * size - place.side) / 2, top + (ny * size - place.side) / 2
    return Grid(check_crs("crs", place.crs), Affine(size, 0, left, 0, -size, top), shape)


def _truth(grid: Grid, land: _Land, ore: _Ore, halo: Floats) -> xr.Dataset:
    """Bring the fields from the lattice onto the grid."""
    row = (land.corner[1] - grid.y) / land.cell - 0.5
    col = (grid.x - land.corner[0]) / land.cell - 0.5
    inside = np.logical_and.outer(*(np.abs(i - (_SIDE - 1) / 2) <= _SIDE / 2 for i in (row, col)))
    row, col = np.clip(row, 0, _SIDE - 1), np.clip(col, 0, _SIDE - 1)
    nodes = np.arange(_SIDE)

    def linear(values: Floats) -> NDArray[np.float32]:
        lattice = interpolate.RectBivariateSpline(nodes, nodes, values.reshape(_SIDE, _SIDE), kx=1, ky=1)
        return np.where(inside, lattice(row, col), np.nan).astype(np.float32)

    # The nearest cell: a river must not bleed into the slopes beside it.
    nearest = land.catchment.reshape(_SIDE, _SIDE)[np.ix_(np.rint(row).astype(int), np.rint(col).astype(int))]
    bands = {
        "ore_potential": linear(ore.potential),
        "halo": linear(halo),
        "drainage": np.where(inside, nearest, np.nan).astype(np.float32),
        "elevation": linear(land.elevation),
    }
    named = {
        "ore_potential": {"units": "1", "long_name": "ore potential, the truth"},
        "halo": {"units": "1", "long_name": "strength of ore haloes"},
        "drainage": {"units": "km2", "long_name": "catchment area"},
        "elevation": {"units": "m", "long_name": "elevation"},
    }
    return grid.dataset(bands, named)
