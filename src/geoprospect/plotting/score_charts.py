"""Charts of validation results: AUC intervals of methods, success rates, the null control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from geoprospect._checks import check_names
from geoprospect.errors import InputError
from geoprospect.plotting._axes import COLOURS, GREY, legend_below, new_axes, plain_text

_STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
# One more, so that a network and its seven baselines are eight colours.
_COLOURS = (*COLOURS, "#7A4B1E")
_AREA = np.linspace(0, 1, 501)


class HasCapture(Protocol):
    """Anything that says which share of the deposits a share of the ground captures: `Rates`."""

    def capture(self, area: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share captured in the best `area` of the ground."""
        ...

    @property
    def crossing(self) -> tuple[float, float]:
        """Where the curves of the prediction-area plot cross: share of the ground, share captured."""
        ...


def auc_intervals(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the AUC of every method with its interval, in the order of the table.

    Parameters
    ----------
    table : pandas.DataFrame
        Indexed by method, with columns ``auc``, ``low`` and ``high``, as `Scores.table` has them. The
        first method, the network, is in colour.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    NameNotFoundError
        When a column is not there.
    InputError
        When the table is empty.

    Examples
    --------
    >>> import pandas as pd
    >>> import geoprospect as gp
    >>> table = pd.DataFrame({"auc": [0.7, 0.6], "low": 0.4, "high": 0.8}, index=["resnet18", "random forest"])
    >>> ax = gp.plotting.auc_intervals(table)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['resnet18', 'random forest']
    """
    check_names("table", ["auc", "low", "high"], list(table.columns), "column")
    if table.empty:
        raise InputError("table: is empty, needs a row per method")
    ax = new_axes(ax, (5.6, 1.2 + 0.3 * len(table)))
    at = np.arange(len(table))
    colours = np.where(at == 0, COLOURS[0], GREY)
    ax.axvline(0.5, color="0.15", linestyle=":", linewidth=1)
    ax.hlines(at, table["low"], table["high"], color=colours, linewidth=4)
    ax.plot(table["auc"], at, "o", color="black", markersize=5)
    for place, row in zip(at, table[["auc", "low", "high"]].to_numpy(), strict=True):
        text = f"{row[0]:.2f}  ({row[1]:.2f} – {row[2]:.2f})"
        ax.annotate(text, (1.0, place), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                    va="center", fontsize=8, annotation_clip=False)  # fmt: skip
    ax.set_yticks(at, [plain_text(name) for name in table.index])
    left = min(0.4, float(np.floor(10 * table["low"].min()) / 10))
    ax.set(xlim=(left, 1.0), ylim=(len(table) - 0.5, -0.5), xlabel="AUC within folds (95 % interval; dotted: chance)")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def success_rates(rates: Mapping[str, HasCapture], *, ax: Axes | None = None) -> Axes:
    """Draw which share of the deposits lies in the best share of the ground.

    Parameters
    ----------
    rates : mapping of str to Rates
        One curve per name, as from `rates` or `Scores.rates`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When there is no curve.

    Notes
    -----
    The grey line falls as the ground that is left; where it meets a curve (the dot) is the crossing of the
    prediction-area plot. The dotted line is what ground taken at random captures.

    Examples
    --------
    >>> import geoprospect as gp
    >>> rates = gp.stats.Rates(low=[0.0, 0.3], high=[0.1, 0.4])
    >>> ax = gp.plotting.success_rates({"map": rates})
    >>> ax.get_xlabel()
    'share of the ground, best first'
    """
    if not rates:
        raise InputError("rates: is empty, needs a curve or more")
    ax = new_axes(ax, (4.8, 4.8))
    ax.plot([0, 1], [0, 1], ":", color="0.15", linewidth=1)
    ax.plot([0, 1], [1, 0], "-", color=GREY, linewidth=1)
    handles = []
    for i, (name, one) in enumerate(rates.items()):
        area, captured = one.crossing
        colour = _COLOURS[i % len(_COLOURS)]
        style = _STYLES[i // len(_COLOURS) % len(_STYLES)]
        ax.plot(_AREA, one.capture(_AREA), style, color=colour, linewidth=1.8)
        ax.plot([area], [captured], "o", color=colour, markersize=5)
        label = f"{plain_text(name)}: {captured:.0%} in {area:.0%}"
        handles.append(Line2D([], [], color=colour, linestyle=style, marker="o", markersize=5, label=label))
    ax.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel="share of the ground, best first",
           ylabel="share of the deposits in it")  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    ax.spines[["top", "right"]].set_visible(False)
    legend_below(ax, handles, columns=1)
    return ax


def null_control_intervals(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw what separate ground and the paper's protocol say of deposits that no band can know.

    Parameters
    ----------
    table : pandas.DataFrame
        As `NullControl.table`: ``auc``, ``low``, ``high``, ``paper_auc``, ``paper_low``, ``paper_high``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    NameNotFoundError
        When a column is not there.
    InputError
        When the table is empty.

    Examples
    --------
    >>> import pandas as pd
    >>> import geoprospect as gp
    >>> row = {"auc": 0.5, "low": 0.3, "high": 0.7, "paper_auc": 0.9, "paper_low": 0.8, "paper_high": 1.0}
    >>> gp.plotting.null_control_intervals(pd.DataFrame([row])).get_xlabel()
    'shifted pattern of deposits'
    """
    names = ["auc", "low", "high", "paper_auc", "paper_low", "paper_high"]
    check_names("table", names, list(table.columns), "column")
    if table.empty:
        raise InputError("table: is empty, needs a row per pattern")
    ordered = table.sort_values("auc")
    ax = new_axes(ax, (6.4, 4.0))
    at = np.arange(1, len(ordered) + 1)
    ax.axhline(0.5, color="0.15", linestyle=":", linewidth=1)
    handles = []
    for prefix, label, colour, aside in (
        ("", "separate ground", COLOURS[0], -0.12),
        ("paper_", "the paper's protocol", COLOURS[1], 0.12),
    ):
        low, high = ordered[f"{prefix}low"], ordered[f"{prefix}high"]
        ax.vlines(at + aside, low, high, color=colour, linewidth=2)
        ax.plot(at + aside, ordered[f"{prefix}auc"], "o", color=colour, markersize=4)
        holds = int(((low <= 0.5) & (high >= 0.5)).sum())
        text = f"{label}: {holds} of {len(ordered)} intervals hold 0.5"
        handles.append(Line2D([], [], color=colour, marker="o", markersize=4, linewidth=2, label=text))
    ax.set(xlabel="shifted pattern of deposits", ylabel="AUC with 95 % interval", ylim=(0, 1.02))
    ax.set_xticks(at if len(at) <= 30 else at[:: len(at) // 20])
    ax.spines[["top", "right"]].set_visible(False)
    legend_below(ax, handles, columns=1)
    return ax
