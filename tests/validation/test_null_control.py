"""Cross-validation with randomly shifted deposits."""

import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import torch
from torch import nn

import geoprospect as gp
from geoprospect.errors import InputError, SeparationError
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


def test_patterns_are_shifts_of_the_deposits_on_data(area, survey, monkeypatch):
    west = survey.where(survey.x < float(survey.x.mean()))
    patterns = []

    def one_pattern(survey, deposits, network, cut, settings, generator):
        patterns.append(deposits)
        if len(patterns) == 2:
            raise SeparationError("too near")
        return {"auc": 0.5}

    monkeypatch.setattr(null_control, "_one_pattern", one_pattern)
    control = gp.null_control(west, area.deposits, n=4, rng=0)
    assert (len(control.table), control.skipped, len(patterns)) == (4, 1, 5)
    x, y = area.grid.points(area.deposits.geometry)
    points, grid = np.column_stack([x, y]), area.grid
    (left, bottom, right, top) = grid.bounds
    for moved in patterns:
        landed = shapely.get_coordinates(moved.geometry.to_numpy())
        # Some shift brings all of them from a deposit.
        shifts = [landed[0] - one for one in points]
        hits = [np.abs(landed[:, None] - (points + shift)).max(axis=2).min(axis=1).max() < 1e-6 for shift in shifts]
        (shift,) = (shift for shift, hit in zip(shifts, hits, strict=True) if hit)
        assert abs(shift[0]) >= 0.1 * (right - left) or abs(shift[1]) >= 0.1 * (top - bottom)
        row, col = grid.rowcol(*landed.T)
        assert np.isfinite(west["Cu"].values[row, col]).all()


def test_too_few_patterns_are_an_error(area, survey, monkeypatch):
    def refuse(*args):
        raise SeparationError("too near")

    monkeypatch.setattr(null_control, "_one_pattern", refuse)
    with pytest.raises(InputError, match=r"n=2: of 6 random shifts only 0 keep .* \(too near\); pass a smaller n"):
        gp.null_control(survey, area.deposits, n=2, rng=0)


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
            survey, area.deposits, "shufflenet_v2_x1_0", n=3, rng=1, folds=2, device="cpu", recipe="quick",
            lr=0.02, epochs=12,
            windows={"size": 8, "crop": 7, "n_ore": 120, "n_barren": 120},
        )  # fmt: skip
    assert len(control.table) == 3
    assert abs(control.table["auc"].mean() - 0.5) < 0.1
    assert control.coverage >= 2 / 3
    assert control.table["paper_auc"].mean() > 0.6
    assert control.table["paper_covers"].mean() <= 1 / 3
    assert (control.table["overlap"] > 0.5).all()
    assert "random shifts of the deposits" in repr(control)
    assert control.to_frame() is not control.table


def test_the_null_control_is_the_same_with_the_same_seed(area, survey):
    one, two = (
        gp.null_control(
            survey, area.deposits, "shufflenet_v2_x1_0", n=1, rng=4, folds=gp.Folds(2, buffer=0.0),
            epochs=1, device="cpu", windows=CUT,
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
            r"windows={'siz': 8}: sample_windows has no argument 'siz'; did you mean 'size'.* draws",
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
