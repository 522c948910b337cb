"""Figures of a validation say what its tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import geoprospect as gp
from geoprospect.errors import InputError, NameNotFoundError

TABLE = pd.DataFrame(
    {"auc": [0.7, 0.65], "low": [0.5, 0.35], "high": [0.9, 0.8]}, index=["resnet18", "cost $5"]
)  # fmt: skip
NULL = pd.DataFrame({
    "auc": [0.6, 0.4, 0.5], "low": [0.55, 0.2, 0.3], "high": [0.7, 0.6, 0.7],
    "paper_auc": [0.9, 0.8, 0.95], "paper_low": [0.8, 0.45, 0.9], "paper_high": [1.0, 0.9, 1.0],
})  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_methods_stand_in_the_order_of_the_table_with_their_numbers():
    ax = gp.plotting.auc_intervals(TABLE)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["resnet18", r"cost \$5"]
    assert ax.yaxis_inverted()
    assert [text.get_text() for text in ax.texts] == ["0.70  (0.50 – 0.90)", "0.65  (0.35 – 0.80)"]
    assert ax.get_xlim()[0] <= 0.35


def test_a_curve_of_captures_is_that_of_the_rates_and_its_dot_the_crossing():
    rates = gp.stats.Rates(low=[0.0, 0.3], high=[0.1, 0.4])
    ax = gp.plotting.success_rates({"map": rates})
    curve = max(ax.lines, key=lambda line: len(line.get_xdata()))
    np.testing.assert_allclose(curve.get_ydata(), rates.capture(curve.get_xdata()))
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert (dots[0].get_xdata()[0], dots[0].get_ydata()[0]) == rates.crossing
    assert ax.get_legend().get_texts()[0].get_text() == "map: 67% in 33%"


@pytest.mark.parametrize("n", [8, 20])
def test_curves_differ_in_colour_or_dash(n):
    ax = gp.plotting.success_rates({f"method {i}": gp.stats.Rates(low=[0.1], high=[0.2]) for i in range(n)})
    curves = [line for line in ax.lines if len(line.get_xdata()) > 2]
    looks = [(to_hex(line.get_color()), line.get_linestyle()) for line in curves]
    assert len(set(looks)) == n
    assert [(to_hex(one.get_color()), one.get_linestyle()) for one in ax.get_legend().get_lines()] == looks
    assert len({colour for colour, _ in looks[:8]}) == 8  # a network and its baselines


def test_the_legend_of_the_null_control_counts_intervals_that_hold_one_half():
    ax = gp.plotting.null_control_intervals(NULL)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "separate ground: 2 of 3 intervals hold 0.5", "the paper's protocol: 1 of 3 intervals hold 0.5"
    ]  # fmt: skip


@pytest.mark.parametrize("draw", [gp.plotting.auc_intervals, gp.plotting.null_control_intervals])
def test_a_table_without_rows_or_columns_is_refused(draw):
    table = TABLE if draw is gp.plotting.auc_intervals else NULL
    with pytest.raises(InputError, match="is empty"):
        draw(table.iloc[:0])
    with pytest.raises(NameNotFoundError, match="low"):
        draw(table.drop(columns="low"))


def test_no_curve_is_refused():
    with pytest.raises(InputError, match="is empty"):
        gp.plotting.success_rates({})
