"""`support` and the warning about cells that are too fine."""

import math
import re
import warnings

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

import geoprospect as gp
from geoprospect.errors import CRSError, DataWarning, InputError
from geoprospect.geochem.samples import sample_spacing
from geoprospect.gridding import sample_support
from geoprospect.gridding.sample_support import support, warn_if_finer

UTM = "EPSG:32649"
GRID = gp.Grid(UTM, Affine(100, 0, 500_000, 0, -50, 2_400_000), (30, 40))
NAN = math.nan


def samples(points, values=None, crs=UTM):
    values = np.ones((len(points), 1)) if values is None else np.asarray(values, dtype=float)
    names = ["Cu", "Au", "Zn"][: values.shape[1]]
    return gp.Samples(points, values, names, ["ppm"] * len(names), crs)


def scattered(n=80, seed=0, beyond=1500):
    rng = np.random.default_rng(seed)
    left, bottom, right, top = GRID.bounds
    return np.column_stack(
        [rng.uniform(left - beyond, right + beyond, n), rng.uniform(bottom - beyond, top + beyond, n)]
    )


def square(size, resolution=100.0):
    return gp.Grid(UTM, Affine(resolution, 0, 0, 0, -resolution, size * resolution), (size, size))


# -- the bands ---------------------------------------------------------------------------------


def test_the_distance_is_that_of_the_nearest_of_all_samples():
    points = scattered()
    x, y = np.meshgrid(GRID.x, GRID.y)
    expected = np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1]).min(axis=-1)
    np.testing.assert_allclose(support(samples(points), GRID)["distance"], expected, rtol=1e-6)


def test_on_a_sample_the_distance_is_nought():
    found = support(samples([[GRID.x[7], GRID.y[3]]]), GRID)["distance"].values
    assert found[3, 7] == 0
    assert found[3, 9] == 200
    assert found[5, 7] == 100
    assert found.argmin() == 3 * 40 + 7


def test_samples_without_any_value_do_not_count():
    here, there = [GRID.x[2], GRID.y[2]], [GRID.x[30], GRID.y[20]]
    found = support(samples([here, there], [[NAN, NAN], [NAN, 3.0]]), GRID, window=1)
    assert float(found["distance"][20, 30]) == 0
    assert float(found["distance"][2, 2]) > 0
    assert float(found["n_samples"].sum()) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 29, 200])
def test_the_window_counts_the_samples_that_a_loop_counts(size):
    points = scattered()
    row, col = GRID.rowcol(*points.T)
    top, left = (np.arange(n) - size // 2 for n in GRID.shape)
    in_row = (row >= top[:, None]) & (row < top[:, None] + size)  # (Y, N)
    in_col = (col >= left[:, None]) & (col < left[:, None] + size)  # (X, N)
    found = support(samples(points), GRID, window=size)["n_samples"].values
    np.testing.assert_array_equal(found, in_row.astype(int) @ in_col.T.astype(int))
    assert found.max() > 0


def test_an_odd_window_has_the_cell_in_its_middle():
    found = support(samples([[GRID.x[20], GRID.y[15]]]), GRID, window=5)["n_samples"].values
    expected = np.zeros(GRID.shape)
    expected[13:18, 18:23] = 1
    np.testing.assert_array_equal(found, expected)


def test_the_centre_of_an_even_window_lies_on_the_north_west_corner_of_its_cell():
    """So that the cell is the one that `rowcol` finds for the centre of the window, as in `Grid.strided`."""
    found = support(samples([[GRID.x[20], GRID.y[15]]]), GRID, window=4)["n_samples"].values
    windows = GRID.strided(4, 1)
    holds = np.zeros(GRID.shape)
    for row in range(windows.shape[0]):
        for col in range(windows.shape[1]):
            at = GRID.rowcol(windows.x[col], windows.y[row])
            holds[at] = row <= 15 < row + 4 and col <= 20 < col + 4
    np.testing.assert_array_equal(found, holds)


def test_samples_at_one_place_are_counted_one_by_one():
    found = support(samples([[GRID.x[4], GRID.y[4]]] * 3), GRID, window=1)["n_samples"]
    assert float(found[4, 4]) == 3


def test_a_window_as_wide_as_the_earth_counts_all_samples():
    found = support(samples(scattered()), GRID, window=10**9)["n_samples"]
    assert (found == 80).all()


def test_parts_give_the_same_as_the_whole(monkeypatch):
    whole = support(samples(scattered()), GRID)["distance"]
    for cells in (7, 64):
        monkeypatch.setattr(sample_support, "_CELLS", cells)
        np.testing.assert_array_equal(support(samples(scattered()), GRID)["distance"], whole)


def test_samples_in_degrees_are_projected():
    survey = samples(scattered())
    found = support(survey.to_crs("EPSG:4326"), GRID)["distance"]
    np.testing.assert_allclose(found, support(survey, GRID)["distance"], atol=0.01)


def test_bands_say_what_they_are():
    found = support(samples(scattered()), GRID, window=3)
    assert list(found) == ["distance", "n_samples"]
    assert found["distance"].attrs == {"units": "metre", "long_name": "distance to the nearest sample"}
    assert found["n_samples"].attrs == {"units": "samples", "long_name": "samples within 3 x 3 cells"}
    assert {band.dtype for band in found.values()} == {np.dtype(np.float32)}
    assert found.rio.crs == CRS(UTM)
    assert gp.Grid.of(found) == GRID
    assert list(support(samples(scattered()), GRID)) == ["distance"]


def test_what_cannot_be_measured_is_refused():
    survey, degrees = samples(scattered()), gp.Grid("EPSG:4326", Affine(0.01, 0, 110, 0, -0.01, 22), (10, 10))
    with pytest.raises(CRSError, match="distances are no lengths"):
        support(survey, degrees)
    with pytest.raises(InputError, match="window=0"):
        support(survey, GRID, window=0)
    with pytest.raises(InputError, match="needs Samples"):
        support(survey.to_frame(), GRID)
    with pytest.raises(InputError, match="lies on the grid"):
        support(samples([[0.0, 0.0]]), GRID)
    with pytest.raises(InputError, match="those with a value"):
        support(samples([[GRID.x[0], GRID.y[0]]], [[NAN]]), GRID)


# -- the warning -------------------------------------------------------------------------------


def lattice(spacing, n=5):
    return np.array(np.meshgrid(np.arange(n), np.arange(n))).reshape(2, -1).T * spacing + spacing / 2


def test_the_spacing_of_a_lattice_is_its_step():
    assert sample_spacing(*lattice(300.0).T) == 300
    assert sample_spacing(*np.repeat(lattice(300.0), 3, axis=0).T) == 300
    assert math.isnan(sample_spacing(np.zeros(4), np.zeros(4)))
    assert math.isnan(sample_spacing(np.zeros(0), np.zeros(0)))


def public(points, grid):
    warn_if_finer(points, grid)


def test_cells_much_finer_than_the_samples_are_warned_about():
    # 25 samples 1500 m apart on 300 x 300 cells of 25 m.
    with pytest.warns(DataWarning) as caught:
        public(lattice(1500.0), square(300, 25.0))
    message = str(caught[0].message)
    assert "cell size of 25 x 25 m is 1/60 of the sample spacing" in message
    assert "1500 m" in message
    assert "about 3,600 cells" in message
    assert message.endswith("resolution=380")
    assert caught[0].filename == __file__, "the line of the user is shown"


def test_the_resolution_it_names_is_the_one_that_a_grid_takes_by_default():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 30_000, (200, 2))
    grid = gp.Grid.covering(samples(points), resolution=20)
    with pytest.warns(DataWarning) as caught:
        public(points, grid)
    named = float(re.search(r"resolution=(\S+)$", str(caught[0].message)).group(1))
    assert gp.Grid.covering(samples(points)).resolution == (named, named)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        public(points, gp.Grid.covering(samples(points)))


@pytest.mark.parametrize(("cell", "warned"), [(29.9, True), (30.0, False), (400.0, False)])
def test_ten_times_finer_is_still_no_reason(cell, warned):
    grid = gp.Grid(UTM, Affine(cell, 0, 0, 0, -cell, 1500), (50, 50))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        public(lattice(300.0), grid)
    assert bool(caught) == warned


def test_the_longer_side_of_oblong_cells_decides():
    grid = gp.Grid(UTM, Affine(100, 0, 0, 0, -1, 1500), (1500, 15))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        public(lattice(300.0), grid)


def test_places_off_the_grid_are_neighbours_but_do_not_set_the_spacing():
    dense = np.column_stack([np.arange(500) * 10.0 + 50_000, np.zeros(500)])
    with pytest.warns(DataWarning, match=r"1500 m, the median"):
        public(np.vstack([lattice(1500.0), dense]), square(300, 25.0))


@pytest.mark.parametrize(
    "points", [[[50.0, 50.0]], [[50.0, 50.0]] * 4, [[5e6, 5e6], [6e6, 6e6]], np.empty((0, 2))], ids=len
)
def test_samples_without_a_spacing_give_no_warning(points):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        public(np.asarray(points), square(100, 1.0))
