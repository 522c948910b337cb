"""On structured ground without a signal, the test by shifts rejects at its rate and the textbook does not."""

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from scipy.stats import binom

import geoprospect as gp

SIDE, BANDS, LEVEL = 64, 4, 0.05
GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (SIDE, SIDE))


def smooth(rng, length):
    """Return a Gaussian field with a Gaussian covariance of this length in cells."""
    side = 2 * SIDE  # twice as wide, because the transform is periodic
    k2 = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side)[None] ** 2
    noise = np.fft.rfft2(rng.normal(size=(side, side)))
    return np.fft.irfft2(noise * np.exp(-2 * (np.pi * length) ** 2 * k2), s=(side, side))[:SIDE, :SIDE]


def ground():
    """Return the cells with data: an irregular survey with a corner cut out."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    return ~((x > 0.7) & (y < 0.35)) & ((x - 0.45) ** 2 + (y - 0.5) ** 2 < 0.36)


def simulated(seed, length, clusters):
    """Return a survey without a signal, and deposits in clusters that know nothing of it."""
    rng, there = np.random.default_rng(seed), ground()
    survey = GRID.dataset({f"E{i}": np.where(there, smooth(rng, length), np.nan) for i in range(BANDS)})
    centres, cells = rng.permutation(np.argwhere(there))[:clusters], []
    while len(cells) < 24:
        cell = centres[rng.integers(clusters)] + rng.normal(scale=2.5, size=2).round().astype(int)
        if (cell >= 0).all() and (cell < SIDE).all() and there[tuple(cell)]:
            cells.append(cell)
    row, col = np.array(cells).T
    return survey, gpd.GeoDataFrame(geometry=gpd.points_from_xy(GRID.x[col], GRID.y[row]), crs=GRID.crs)


def rates(n, length=6.0, clusters=6):
    """Return how often one element is found by shifts, any by shifts, one by the uncorrected Z_AUC."""
    found = np.zeros((n, 3))
    for seed in range(n):
        survey, deposits = simulated(seed, length, clusters)
        ranking = gp.screen(survey, deposits, LEVEL, seed, n_barren=500, draws=1, permutations=199)
        found[seed] = (ranking.loc["E0", "p_shift"] <= LEVEL, (ranking["p_family"] <= LEVEL).any(),
                       abs(ranking.loc["E0", "z_auc"]) >= 2.58)  # fmt: skip
    return found.sum(axis=0).astype(int)


def within(n, confidence=0.99):
    """Return the least and the most rejections that chance allows at the nominal rate."""
    return binom.ppf((1 - confidence) / 2, n, LEVEL), binom.ppf((1 + confidence) / 2, n, LEVEL)


def test_a_few_surveys_without_a_signal():
    single, family, textbook = rates(50)
    high = within(50)[1]
    assert single <= high, single
    assert family <= high, family
    assert textbook >= 0.1 * 50, textbook  # ten times its nominal 1 %


@pytest.mark.slow
@pytest.mark.parametrize(("length", "clusters"), [(3.0, 6), (6.0, 6), (6.0, 24), (12.0, 4)])
def test_many_surveys_without_a_signal(length, clusters):
    n = 500
    single, family, textbook = rates(n, length, clusters)
    low, high = within(n)
    assert low <= single <= high, single
    assert low <= family <= high, family
    print(f"length {length}, {clusters} clusters: {single / n:.3f} single, {family / n:.3f} family, "
          f"{textbook / n:.3f} with |Z_AUC| >= 2.58")  # fmt: skip
    if clusters < 24:
        assert textbook >= 0.1 * n, textbook


@pytest.mark.slow
def test_a_signal_is_found():
    found = 0
    for seed in range(40):
        survey, deposits = simulated(seed, 6.0, 6)
        x, y = (
            np.searchsorted(at, where) for at, where in ((GRID.x, deposits.geometry.x), (-GRID.y, -deposits.geometry.y))
        )
        halo = np.zeros((SIDE, SIDE))
        halo[y, x] = 1
        kernel = np.exp(-(np.arange(-6, 7) ** 2) / 8)
        halo = np.apply_along_axis(
            np.convolve, 0, np.apply_along_axis(np.convolve, 1, halo, kernel, "same"), kernel, "same"
        )
        carrier = survey["E0"] + (halo / halo.max() * 3 * float(survey["E0"].std()))
        ranking = gp.screen(survey.assign(E0=carrier), deposits, LEVEL, seed, permutations=399)
        found += bool(ranking.loc["E0", "selected"])
    assert found >= 30, found
