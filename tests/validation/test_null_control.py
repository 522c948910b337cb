"""Cross-validation with randomly shifted deposits."""

import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import geoprospect as gp
from geoprospect.errors import InputError
from geoprospect.models import training
from geoprospect.validation import null_control

pytestmark = pytest.mark.usefixtures("one_thread")


CUT = {"size": 8, "crop": 7, "n_ore": 40, "n_barren": 60}


@pytest.fixture(scope="module")
def area():
    return gp.synthetic.make_survey(shape=(96, 96), signal=0, rng=0)


@pytest.fixture(scope="module")
def survey(area):
    return gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]


def test_a_shift_moves_the_pattern_as_one_and_wraps_it_around():
    grid = gp.Grid.covering(gp.Samples([[0, 0], [10_000, 10_000]], [[1], [2]], ["Cu"], ["ppm"], "EPSG:32649"), shape=50)
    points = np.array([[2000.0, 2000], [2500, 2000], [9000, 9500]])
    (left, bottom, right, top), data = grid.bounds, np.ones(grid.shape, dtype=bool)
    for seed in range(20):
        moved = null_control._shifted(points, grid, data, np.random.default_rng(seed))
        assert grid.contains(moved.geometry.x, moved.geometry.y).all()
        step = np.column_stack([moved.geometry.x, moved.geometry.y]) - points
        around = np.mod(step, [right - left, top - bottom])
        np.testing.assert_allclose(around, np.broadcast_to(around[0], around.shape), atol=1e-6)
        assert np.abs(step).max() > 0.1 * (right - left)


def test_a_shift_lands_on_ground_with_data_or_is_an_error():
    grid = gp.Grid.covering(gp.Samples([[0, 0], [10_000, 10_000]], [[1], [2]], ["Cu"], ["ppm"], "EPSG:32649"), shape=50)
    data = np.zeros(grid.shape, dtype=bool)
    data[:, :25] = True
    points = np.array([[6000.0, 2000], [6500, 2000]])
    for seed in range(10):
        moved = null_control._shifted(points, grid, data, np.random.default_rng(seed))
        assert data[grid.rowcol(moved.geometry.x.to_numpy(), moved.geometry.y.to_numpy())].all()
    with pytest.raises(InputError, match="clip the survey"):
        null_control._shifted(points, grid, ~np.ones(grid.shape, dtype=bool), np.random.default_rng(0))


class Memory(nn.Module):
    """Many random features of a whole window and a head: remembers ground, for next to nothing."""

    def __init__(self, n_bands: int, seed: int) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        self.features = nn.Conv2d(n_bands, 1024, CUT["crop"])
        for parameter in self.features.parameters():
            size = 2 / parameter[0].numel() ** 0.5
            parameter.requires_grad_(False).copy_(torch.randn(parameter.shape, generator=draws) * size)
        self.head = nn.Sequential(nn.BatchNorm1d(1024), nn.Linear(1024, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.relu(self.features(x)).flatten(1))
        return logits


def test_where_there_is_nothing_separate_ground_finds_nothing_and_the_papers_protocol_does(area, monkeypatch):
    monkeypatch.setattr(
        training, "build_network", lambda name, n_bands, weights=None, seed=0, **options: Memory(n_bands, seed)
    )
    survey = gp.interpolate(area.samples, area.grid)[["Cu", "Pb", "Zn", "Mn", "As", "Sn"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        control = gp.null_control(
            survey, area.deposits, "shufflenet_v2_x1_0", n=6, rng=1, folds=3, device="cpu", recipe="quick", lr=0.02,
            windows={"size": 8, "crop": 7, "n_ore": 150, "n_barren": 150},
        )  # fmt: skip
    assert len(control.table) == 6
    assert abs(control.table["auc"].mean() - 0.5) < 0.1
    assert control.coverage >= 4 / 6
    assert control.table["paper_auc"].mean() > 0.6
    assert control.table["paper_covers"].mean() <= 1 / 6
    assert (control.table["overlap"] > 0.5).all()
    assert "the bands cannot know" in repr(control)
    assert control.to_frame() is not control.table


def test_the_null_control_is_the_same_with_the_same_seed(area, survey):
    one, two = (
        gp.null_control(
            survey, area.deposits, "shufflenet_v2_x1_0", n=1, rng=4, folds=2, epochs=1, device="cpu", buffer=0.0,
            windows=CUT,
        ).table
        for _ in range(2)
    )  # fmt: skip
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_deposits_off_the_grid_have_no_null(survey):
    far = gpd.GeoDataFrame(geometry=gpd.points_from_xy([0.0], [0.0]), crs=survey.rio.crs)
    with pytest.raises(InputError, match="are both CRS right"):
        gp.null_control(survey, far)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (
            {"siz": 8, "crop": 7},
            r"windows={'siz': 8}: sample_windows has no argument 'siz'; did you mean 'size'.* mask",
        ),
        ({"size": 8, "rng": 3}, "windows={'rng': …}: rng of sample_windows is not set here; leave it out"),
        ([8, 7], r"windows=\[8, 7\]: needs a mapping of arguments of sample_windows, such as {'size': 8"),
    ],
    ids=str,
)
def test_windows_that_cannot_be_cut_are_refused_by_name(area, survey, windows, message):
    with pytest.raises(InputError, match=message):
        gp.null_control(survey, area.deposits, "shufflenet_v2_x1_0", n=1, rng=0, windows=windows)


def test_deposits_and_survey_of_a_null_are_named(area, survey):
    with pytest.raises(InputError, match=r"deposits=\[\(1, 2\)\]: needs a GeoDataFrame of points"):
        gp.null_control(survey, [(1, 2)], windows=CUT)
    with pytest.raises(InputError, match="survey: is a GeoDataFrame, needs an xarray Dataset"):
        gp.null_control(area.deposits, survey, windows=CUT)
    with pytest.raises(InputError, match="survey: has no data at all in Au"):
        gp.null_control(survey.assign(Au=survey.Au * np.nan), area.deposits, windows=CUT)
