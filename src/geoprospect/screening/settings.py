"""Settings of `screen`: the statistic, its tests and the background cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from geoprospect._checks import check_choice, check_int, check_number
from geoprospect.errors import InputError

Statistic = Literal["rank", "svm"]
Validation = Literal["spatial", "resubstitution"]
Error = Literal["delong", "binomial", "hanley-mcneil"]
Alternative = Literal["two-sided", "enriched", "depleted"]


@dataclass(frozen=True)
class ScreenSettings:
    """How `screen` scores and tests elements.

    Parameters
    ----------
    statistic : {'rank', 'svm'}, default 'rank'
        What the AUC is computed from: the concentrations, or the hard labels of a support vector machine
        on the one element, as in the paper.
    validation : {'spatial', 'resubstitution'}, default 'spatial'
        Where the support vector machine is tested: in regions that it was not fitted on, or on the points
        that it was fitted on, as in the paper. The latter is above 0.5 without any signal.
    error : {'delong', 'binomial', 'hanley-mcneil'}, optional
        Standard error in ``z_auc``. Default: DeLong's for ranks, the binomial one for hard labels, and
        Hanley and McNeil's for ``rule='gao2022'``.
    alternative : {'two-sided', 'enriched', 'depleted'}, default 'two-sided'
        Direction that the tests look for. A support vector machine uses either direction; its tests are
        for better than chance.
    n_barren : int, optional
        Background (barren) cells in a draw; all where there are fewer. Default: 2,000, and for a support vector
        machine as many as there are ore cells.
    draws : int, default 10
        Draws of background cells; ``auc`` is their mean, ``auc_sd`` their standard deviation.
    buffer : float, default 0
        Smallest distance of background cells from every deposit, in units of the CRS.
    reach : float, optional
        Greatest distance of a deposit from its nearest sample, for samples only. In units of the CRS,
        metres for samples in degrees. Default: twice the distance to the nearest other sample that nine in
        ten samples have.
    permutations : int, default 1999
        Number of random shifts; 0 for none.
    pattern_area : float, default 0.1
        Fraction of the study area that the weights of evidence take as the pattern: the highest values,
        or the lowest where ore is depleted.

    Raises
    ------
    InputError
        When a value is out of its range, or two contradict each other.

    Examples
    --------
    >>> from geoprospect.screening.settings import ScreenSettings
    >>> ScreenSettings(draws=3).permutations
    1999
    """

    statistic: Statistic = "rank"
    validation: Validation = "spatial"
    error: Error | None = None
    alternative: Alternative = "two-sided"
    n_barren: int | None = None
    draws: int = 10
    buffer: float = 0.0
    reach: float | None = None
    permutations: int = 1999
    pattern_area: float = 0.1

    def __post_init__(self) -> None:
        """Normalise and check."""
        check_choice("statistic", self.statistic, ("rank", "svm"))
        check_choice("validation", self.validation, ("spatial", "resubstitution"))
        check_choice("alternative", self.alternative, ("two-sided", "enriched", "depleted"))
        if self.error is not None:
            check_choice("error", self.error, ("delong" if self.statistic == "rank" else "binomial", "hanley-mcneil"))
        if self.n_barren is not None:
            object.__setattr__(self, "n_barren", check_int("n_barren", self.n_barren))
        if self.reach is not None:
            object.__setattr__(self, "reach", check_number("reach", self.reach, above=0))
        object.__setattr__(self, "draws", check_int("draws", self.draws))
        object.__setattr__(self, "buffer", check_number("buffer", self.buffer, minimum=0))
        object.__setattr__(self, "permutations", check_int("permutations", self.permutations, 0))
        object.__setattr__(self, "pattern_area", check_number("pattern_area", self.pattern_area, above=0, maximum=1))
        if self.statistic == "svm" and self.alternative != "two-sided":
            raise InputError(
                f"alternative={self.alternative!r}: a support vector machine uses either direction; leave it out, or "
                "pass statistic='rank'"
            )


class ScreenOptions(TypedDict, total=False):
    """Fields of `ScreenSettings` as keyword arguments."""

    statistic: Statistic
    validation: Validation
    error: Error | None
    alternative: Alternative
    n_barren: int | None
    draws: int
    buffer: float
    reach: float | None
    permutations: int
    pattern_area: float
