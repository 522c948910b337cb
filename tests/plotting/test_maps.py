"""Figures are checked by what they hold: extents, arrays, coordinates, labels; not by their pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import geopandas as gpd
import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import shapely
import xarray as xr
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_hex

import geoprospect as gp
from geoprospect import plotting
from geoprospect.errors import CRSError, InputError, NameNotFoundError
from geoprospect.plotting import charts

GRID = gp.Grid("EPSG:32649", Affine(1000, 0, 400_000, 0, -1000, 2_450_000), (20, 30))
BRIGHT = (1, 2)  # row and column of the one bright cell, in the north-west


@pytest.fixture(autouse=True)
def _no_figure_left() -> Iterator[None]:
    yield
    plt.close("all")


def survey(**bands: np.ndarray) -> xr.Dataset:
    copper = np.ones(GRID.shape, dtype=np.float32)
    copper[BRIGHT] = 100
    attrs = {"Cu": {"units": "ppm", "long_name": "Cu"}}
    return GRID.dataset({"Cu": copper, **bands}, attrs)


def probability() -> xr.DataArray:
    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(GRID.shape)
    values[-3:, -3:] = np.nan
    return GRID.dataset({"probability": values})["probability"]


def deposits() -> gpd.GeoDataFrame:
    """Two deposits in degrees: one in the bright cell, one outside of the grid."""
    points = gpd.points_from_xy([GRID.x[BRIGHT[1]], 500_000], [GRID.y[BRIGHT[0]], 2_440_000])
    return gpd.GeoDataFrame({"id": [1, 2]}, geometry=points, crs=GRID.crs).to_crs("EPSG:4326")


@dataclass(frozen=True)
class Windows:
    """A stand-in with what the figures use."""

    grid: gp.Grid = GRID

    def footprints(self) -> gpd.GeoDataFrame:
        boxes = self.grid.boxes([0, 1, 10], [0, 1, 20], 5, 5)
        return gpd.GeoDataFrame({"label": [1, 1, 0], "deposit_id": [1, 1, -1]}, geometry=boxes, crs=self.grid.crs)


def labels_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def colourbar_label(ax: Axes) -> str:
    return ax.images[0].colorbar.ax.get_ylabel()


def drawn(ax: Axes) -> Axes:
    """Draw the whole figure: some errors and warnings come only then."""
    ax.figure.canvas.draw()
    return ax


def test_the_image_lies_where_the_grid_lies_with_north_up():
    ax = drawn(plotting.element_map(survey(), "Cu"))
    left, bottom, right, top = GRID.bounds
    image = ax.images[0]
    assert tuple(image.get_extent()) == (left, right, bottom, top)
    assert image.origin == "upper"
    assert ax.get_xlim() == (left, right)
    assert ax.get_ylim() == (bottom, top)
    assert ax.get_aspect() == 1
    assert np.unravel_index(image.get_array().argmax(), GRID.shape) == BRIGHT


def test_a_bright_cell_in_the_north_west_is_painted_at_the_top_left():
    ax = drawn(plotting.element_map(survey(), "Cu"))
    x, y = ax.transData.transform((GRID.x[BRIGHT[1]], GRID.y[BRIGHT[0]]))
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())
    painted = pixels[pixels.shape[0] - 1 - int(y), int(x), :3] / 255
    np.testing.assert_allclose(painted, plt.get_cmap("viridis")(1.0)[:3], atol=0.01)
    assert x < ax.bbox.x0 + ax.bbox.width / 4
    assert y > ax.bbox.y0 + ax.bbox.height * 3 / 4


def test_axes_of_a_metric_map_are_in_kilometres_and_the_crs_is_named():
    ax = drawn(plotting.element_map(survey(), "Cu"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Easting (km)", "Northing (km)")
    assert "410" in [tick.get_text() for tick in ax.get_xticklabels()]
    assert "2440" in [tick.get_text() for tick in ax.get_yticklabels()]
    assert ax.get_title(loc="right") == "WGS 84 / UTM zone 49N"


def test_a_map_in_degrees_says_so_and_keeps_shapes_on_the_ground():
    grid = gp.Grid("EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 61), (20, 30))
    data = grid.dataset({"Cu": np.arange(600.0).reshape(20, 30)})
    ax = drawn(plotting.element_map(data, "Cu"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Longitude (°)", "Latitude (°)")
    assert ax.get_aspect() == pytest.approx(2)  # a degree of longitude at 60° north is half as long


@pytest.mark.parametrize("crs", ["EPSG:2263", "EPSG:3857"])
def test_the_unit_of_the_axes_is_that_of_the_crs(crs: str):
    grid = gp.Grid(crs, Affine(100, 0, 0, 0, -100, 0), (5, 5))
    ax = plotting.element_map(grid.dataset({"Cu": np.eye(5)}), "Cu")
    assert ax.get_xlabel() == ("Easting (km)" if grid.unit == "metre" else f"Easting ({grid.unit})")


def test_deposits_and_samples_are_drawn_at_their_places_in_the_crs_of_the_map():
    ax = drawn(plotting.element_map(survey(), "Cu", samples=deposits(), deposits=deposits()))
    for points in ax.collections:
        np.testing.assert_allclose(points.get_offsets(), [(GRID.x[BRIGHT[1]], GRID.y[BRIGHT[0]])], atol=0.01)
    assert labels_of(ax) == ["samples (1)", "known deposits (1)"]  # the other lies outside


def test_samples_objects_are_taken_as_they_are():
    samples = gp.Samples([[402_500, 2_448_500]], [[1.0]], ["Cu"], ["ppm"], GRID.crs)
    assert labels_of(plotting.element_map(survey(), "Cu", samples=samples)) == ["samples (1)"]


def test_the_colourbar_names_band_and_unit():
    assert colourbar_label(plotting.element_map(survey(), "Cu")) == "Cu (ppm)"
    assert colourbar_label(plotting.element_map(survey(Au=np.eye(20, 30)), "Au")) == "Au"


def test_names_with_dollars_and_underscores_are_shown_as_they_are():
    name = "_a$b_{$"
    ax = drawn(plotting.element_map(GRID.dataset({name: np.eye(20, 30)}, {name: {"units": "$"}}), name))
    assert colourbar_label(ax) == r" _a\$b_{\$ (\$)"


def test_colours_span_the_robust_range():
    values = np.arange(600, dtype=np.float32).reshape(GRID.shape)
    image = plotting.element_map(survey(Au=values), "Au").images[0]
    assert image.get_clim() == pytest.approx(tuple(np.quantile(values, [0.02, 0.98])))
    assert image.colorbar.extend == "both"


def test_colours_are_logarithmic_only_where_values_are_positive_and_widely_spread():
    wide = np.geomspace(1, 1000, 600).reshape(GRID.shape)
    data = survey(wide=wide, narrow=wide**0.1, signed=wide - 2)
    scales = {name: type(plotting.element_map(data, name).images[0].norm) for name in ("wide", "narrow", "signed")}
    assert [name for name, scale in scales.items() if scale is LogNorm] == ["wide"]
    assert isinstance(plotting.element_map(data, "narrow", log=True).images[0].norm, LogNorm)
    assert not isinstance(plotting.element_map(data, "wide", log=False).images[0].norm, LogNorm)
    with pytest.raises(InputError, match="log=True: 'signed' has values down to -1"):
        plotting.element_map(data, "signed", log=True)


@pytest.mark.parametrize(("low", "high"), [(1, 1000), (3, 40), (20, 31), (1.0, 1.1), (1e-6, 1e3)])
def test_a_logarithmic_scale_has_ticks_however_narrow_it_is(low: float, high: float):
    ax = drawn(plotting.element_map(survey(Au=np.geomspace(low, high, 600).reshape(20, 30)), "Au", log=True))
    ticks = [tick.get_text() for tick in ax.images[0].colorbar.ax.get_yticklabels()]
    assert len(ticks) >= 3
    assert all(float(tick) > 0 for tick in ticks)


@pytest.mark.parametrize("log", [False, True])
def test_a_constant_band_is_drawn(log: bool):
    drawn(plotting.element_map(survey(Au=np.full(GRID.shape, 5.0)), "Au", log=log))


def test_missing_cells_are_left_out_and_explained():
    ax = drawn(plotting.probability_map(probability()))
    array = ax.images[0].get_array()
    assert array.mask[-3:, -3:].all()
    assert array.mask.sum() == 9
    assert labels_of(ax) == ["no data"]
    x, y = ax.transData.transform((GRID.x[-2], GRID.y[-2]))
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())
    red, green, blue = (int(v) for v in pixels[pixels.shape[0] - 1 - int(y), int(x), :3])
    assert red == green == blue > 150
    assert labels_of(plotting.probability_map(probability().fillna(0.5))) == []


def test_infinite_values_are_missing_too():
    values = np.ones(GRID.shape)
    values[0, 0] = np.inf
    assert plotting.element_map(survey(Au=values), "Au").images[0].get_array().mask[0, 0]


def test_a_band_stored_with_x_first_is_drawn_upright():
    ax = plotting.element_map(survey().transpose("x", "y"), "Cu")
    assert np.unravel_index(ax.images[0].get_array().argmax(), GRID.shape) == BRIGHT


@pytest.mark.parametrize("kind", ["polygons", "lines", "points", "far away"])
def test_a_base_layer_in_another_crs_is_drawn_beneath_and_cut_to_the_map(kind: str):
    centre = gpd.GeoSeries.from_xy([415_000], [2_440_000], crs=GRID.crs).to_crs("EPSG:4326").iloc[0]
    world = shapely.box(-180, -90, 180, 90)
    line = shapely.LineString([(centre.x - 1, centre.y), (centre.x + 1, centre.y)])
    geometry = {"polygons": world, "lines": line, "points": centre, "far away": shapely.box(0, 0, 1, 1)}[kind]
    base = gpd.GeoDataFrame(geometry=[geometry], crs="EPSG:4326")
    ax = drawn(plotting.element_map(survey(), "Cu", base=base))
    assert len(ax.collections) == (kind != "far away")
    assert all(layer.get_zorder() < ax.images[0].get_zorder() for layer in ax.collections)
    assert ax.get_xlim() == GRID.bounds[::2]
    assert ax.images[0].get_alpha() < 1


def test_samples_without_a_value_of_the_element_are_neither_drawn_nor_counted():
    points = [[402_500, 2_448_500], [404_500, 2_446_500], [999_999, 2_448_500]]
    samples = gp.Samples(points, [[1.0, np.nan], [np.nan, 2], [3, 3]], ["Cu", "Zn"], ["ppm"] * 2, GRID.crs)
    ax = plotting.element_map(survey(magnetics=np.eye(*GRID.shape)), "Cu", samples=samples)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [points[0]])
    assert labels_of(ax) == ["samples (1)"]
    assert labels_of(plotting.element_map(survey(magnetics=np.eye(*GRID.shape)), "magnetics", samples=samples)) == [
        "samples (2)"
    ]


def test_probability_runs_from_0_to_1_and_says_when_it_is_not_calibrated():
    ax = plotting.probability_map(probability() / 2)
    assert ax.images[0].get_clim() == (0, 1)
    assert colourbar_label(ax) == "probability of ore (uncalibrated)"
    calibrated = probability().assign_attrs(calibrated=True)
    assert colourbar_label(plotting.probability_map(calibrated)) == "probability of ore"


def test_cells_carry_their_numbers_and_ore_cells_stand_out():
    cells = GRID.cells(2, 3).assign(label=[0, 1, 0, 0, 0, 1])
    ax = drawn(plotting.probability_map(probability(), cells=cells.to_crs("EPSG:4326"), deposits=deposits()))
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4", "5", "6"]
    assert [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"] == ["2", "6"]
    assert [len(outlines.get_paths()) for outlines in ax.collections[:2]] == [4, 2]
    np.testing.assert_allclose(ax.texts[1].xy, (GRID.bounds[0] + 10_000, GRID.bounds[3]), atol=0.01)
    triangles = ax.collections[-1]
    assert len(triangles.get_offsets()) == 1
    assert all(text.get_zorder() > triangles.get_zorder() and text.get_path_effects() for text in ax.texts)
    assert labels_of(ax) == ["cells called ore (2)", "known deposits (1)", "no data, or no window fits"]
    plain = drawn(plotting.probability_map(probability(), cells=GRID.cells(2, 3)))
    assert not [text for text in plain.texts if text.get_fontweight() == "bold"]


def test_a_cell_number_stands_in_the_north_west_unless_a_deposit_does():
    left, _, _, top = GRID.bounds
    free = drawn(plotting.probability_map(probability(), cells=GRID.cells(2, 3)))
    taken = drawn(plotting.probability_map(probability(), cells=GRID.cells(2, 3), deposits=deposits()))
    np.testing.assert_allclose(free.texts[0].xy, (left, top), atol=0.01)
    np.testing.assert_allclose(taken.texts[0].xy, (left + 10_000, top - 10_000), atol=0.01)
    triangle = taken.transData.transform(taken.collections[-1].get_offsets()[0])
    assert not taken.texts[0].get_window_extent().padded(4).contains(*triangle)
    assert [one.xy for one in taken.texts[1:]] == [one.xy for one in free.texts[1:]]


def test_windows_are_outlined_in_two_colours():
    ax = drawn(plotting.windows_overlay(Windows(), survey(), element="Cu", deposits=deposits()))
    assert labels_of(ax)[:2] == ["ore windows (2)", "barren windows (1)"]
    barren, ore = ax.collections[:2]
    assert to_hex(barren.get_color()[0]) != to_hex(ore.get_color()[0])
    corners = ore.get_segments()[0]
    assert (corners[:, 0].min(), corners[:, 1].max()) == (400_000, 2_450_000)
    assert ax.images[0].get_extent() == [*GRID.bounds[::2], *GRID.bounds[1::2]]


def test_windows_need_no_survey_and_a_single_band_needs_no_name():
    bare = drawn(plotting.windows_overlay(Windows()))
    assert not bare.images
    assert bare.get_xlim() == GRID.bounds[::2]
    assert colourbar_label(plotting.windows_overlay(Windows(), survey())) == "Cu (ppm)"


def test_folds_are_told_apart_by_colour():
    ax = drawn(plotting.folds_map(Windows(), [([2], [0, 1]), ([0, 1], [2]), ([0, 1, 2], [])]))
    assert labels_of(ax) == ["fold 1 (2)", "fold 2 (1)", "fold 3 (0)"]
    first, second = ax.collections[:2]
    assert to_hex(first.get_edgecolor()[0]) != to_hex(second.get_edgecolor()[0])
    assert first.get_facecolor()[0, 3] > second.get_facecolor()[0, 3] == 0  # ore is filled
    drawn(plotting.folds_map(Windows(), [([], [0])] * 12))


FIGURES = {
    "element_map": lambda **ax: plotting.element_map(survey(), "Cu", deposits=deposits(), **ax),
    "probability_map": lambda **ax: plotting.probability_map(probability(), cells=GRID.cells(2, 2), **ax),
    "windows_overlay": lambda **ax: plotting.windows_overlay(Windows(), survey(), **ax),
    "folds_map": lambda **ax: plotting.folds_map(Windows(), [([], [0, 1, 2])], **ax),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_drawn_into_given_axes_opens_no_other_and_changes_no_setting(name: str):
    figure, (given, other) = plt.subplots(1, 2)
    plt.sca(other)
    before = dict(mpl.rcParams)
    assert FIGURES[name](ax=given) is given
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is other
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", FIGURES)
def test_without_axes_one_figure_is_made(name: str):
    ax = FIGURES[name]()
    assert plt.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_no_axes_is_refused(name: str):
    with pytest.raises(InputError, match="needs a matplotlib Axes; make one"):
        FIGURES[name](ax="left")


WRONG = {
    "an unknown band": (lambda: plotting.element_map(survey(), "cu"), NameNotFoundError, "did you mean 'Cu'"),
    "a band for a survey": (lambda: plotting.element_map(survey()["Cu"], "Cu"), InputError, "needs a Dataset"),
    "nothing finite": (
        lambda: plotting.element_map(survey(Au=np.full(GRID.shape, np.nan)), "Au"), InputError, "no finite value"
    ),
    "a stack of layers": (
        lambda: plotting.element_map(survey().expand_dims(model=2), "Cu"), InputError, "select one layer"
    ),
    "polygons for deposits": (
        lambda: plotting.element_map(survey(), "Cu", deposits=GRID.cells(2, 2)), InputError, "Polygon, needs points"
    ),
    "deposits without a CRS": (
        lambda: plotting.element_map(survey(), "Cu", deposits=gpd.GeoSeries.from_xy([0], [0])), CRSError, "no CRS"
    ),
    "a base without a CRS": (
        lambda: plotting.element_map(survey(), "Cu", base=gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)])),
        CRSError, "base: no CRS is known"
    ),
    "cells without a CRS": (
        lambda: plotting.probability_map(probability(), cells=GRID.cells(2, 2).set_crs(None, allow_override=True)),
        CRSError, "cells: no CRS is known"
    ),
    "cells without numbers": (
        lambda: plotting.probability_map(probability(), cells=GRID.cells(2, 2).drop(columns="cell")),
        NameNotFoundError, "no column 'cell'"
    ),
    "a dataset of probabilities": (
        lambda: plotting.probability_map(survey()), InputError, "for example result.probability"
    ),
    "percent": (lambda: plotting.probability_map(probability() * 100), InputError, "from 0 to 99.4992, needs 0 to 1"),
    "an element of no survey": (lambda: plotting.windows_overlay(Windows(), element="Cu"), InputError, "pass survey="),
    "a survey without values": (
        lambda: plotting.windows_overlay(Windows(), survey(Au=np.full(GRID.shape, np.nan)), element="Au"),
        InputError, "no finite value"
    ),
    "one of several bands": (
        lambda: plotting.windows_overlay(Windows(), survey(Au=np.eye(20, 30))), InputError, "has 2 bands; name"
    ),
    "windows of another survey": (
        lambda: plotting.windows_overlay(Windows(gp.Grid("EPSG:32650", GRID.transform, GRID.shape)), survey()),
        CRSError, "survey that they were cut from"
    ),
    "no fold": (lambda: plotting.folds_map(Windows(), []), InputError, "folds: is empty"),
    "a window that is not there": (
        lambda: plotting.folds_map(Windows(), [([0], [1]), ([0], [3])]), InputError, r"folds\[1\]: tests windows 3 to 3"
    ),
    "a mask for indices": (
        lambda: plotting.folds_map(Windows(), [([0], [True, False, True])]), InputError, "type bool, needs whole"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named_and_leaves_no_figure(case: str):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()
    assert not plt.get_fignums()


def test_a_map_with_cells_shows_all_of_them_and_says_where_it_has_no_value():
    survey = gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 6400), (64, 64))
    inner = survey.strided(window=16, stride=4)
    probability = inner.dataset({"probability": np.full(inner.shape, 0.5)}).probability
    ax = plotting.probability_map(probability, cells=survey.cells(4, 4))
    assert ax.get_xlim() == (0, 6400)
    assert ax.get_ylim() == (0, 6400)
    left, bottom, right, top = inner.bounds
    assert tuple(ax.images[0].get_extent()) == (left, right, bottom, top)
    assert "no data, or no window fits" in labels_of(ax)
    plt.close(ax.figure)


def test_the_statistical_figures_are_found_beside_the_maps():
    own = [name for name, one in vars(charts).items() if getattr(one, "__module__", "") == charts.__name__]
    public = {name for name in own if callable(getattr(charts, name)) and not name.startswith("_")}
    assert len(public) == 8
    assert all(getattr(plotting, name) is getattr(charts, name) for name in public)
