"""Cross-validation of several networks."""

import numpy as np
import pytest

import geoprospect as gp
from geoprospect.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


CUT = {"size": 8, "crop": 7, "n_ore": 40, "n_barren": 40}


@pytest.fixture(scope="module")
def area():
    return gp.synthetic.make_survey(shape=(96, 96), signal=0, rng=0)


@pytest.fixture(scope="module")
def survey(area):
    return gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]


@pytest.fixture(scope="module")
def table(area, survey):
    windows = gp.sample_windows(survey, area.deposits, rng=0, **CUT)
    return gp.compare_networks(
        windows,
        survey,
        ["shufflenet_v2_x1_0", "resnet18"],
        folds=gp.Folds(2, buffer=0.0),
        epochs=1,
        device="cpu",
        rng=0,
    )


def test_networks_come_first_by_their_auc_and_the_baselines_once_each(table):
    assert set(table.index[:2]) == {"shufflenet_v2_x1_0", "resnet18"}
    assert table["auc"].iloc[0] >= table["auc"].iloc[1]
    assert table.index[2:].tolist() == [
        "best element", "logistic regression", "random forest", "gradient boosting", "weights of evidence",
        "nearest deposit",
    ]  # fmt: skip
    assert table.index.is_unique


def test_differences_are_to_the_first_row_and_weights_are_counted(table):
    assert np.isnan(table["difference"].iloc[0])
    np.testing.assert_allclose(table["difference"].iloc[1:], table["auc"].iloc[0] - table["auc"].iloc[1:], atol=1e-12)
    assert table.loc["resnet18", "weights"] == pytest.approx(11.17, abs=0.01)
    assert table["seconds"].notna().sum() == 2


@pytest.mark.parametrize("networks", [["resnet18"], "resnet18", ["resnet18", "resnet18"], ["resnet18", "vgg"]], ids=str)
def test_fewer_than_two_different_networks_are_refused(area, survey, networks):
    windows = gp.sample_windows(survey, area.deposits, rng=0, **CUT)
    with pytest.raises(InputError, match="two or more different ones"):
        gp.compare_networks(windows, survey, networks)
