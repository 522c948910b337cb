"""Where a model may be believed: how far what it sees is from what it was trained on.

A network answers for any ground, also for ground unlike any that it has seen. The dissimilarity index [1]_ is the
distance of a window from the nearest training window among the features that the head of the network looks at, in
units of the mean distance between training windows. Up to the threshold a window is as near to a training window as
these are to each other across the survey; beyond it lies ground outside the area of applicability.

Features are many, up to 2,048; distances are taken between their projections on fewer random directions, which keep
them to some ten per cent [2]_. A projection is linear, so the head makes it along with its answer.

References
----------
.. [1] Meyer, H. & Pebesma, E. (2021). Predicting into unknown space? Estimating the area of applicability of spatial
   prediction models. Methods in Ecology and Evolution 12, 1620-1633. https://doi.org/10.1111/2041-210X.13650
.. [2] Johnson, W. B. & Lindenstrauss, J. (1984). Extensions of Lipschitz mappings into a Hilbert space. Contemporary
   Mathematics 26, 189-206. https://doi.org/10.1090/conm/026/737400
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_AT_ONCE = 2**24  # distances


class Reference(NamedTuple):
    """Training windows among the features of a network, as one mode of `predict` sees them.

    Parameters
    ----------
    points : ndarray of float32 of shape (n_windows, k)
        Their projections.
    scale : float
        Mean distance between two of them.
    threshold : float
        Dissimilarity beyond which ground is outside the area of applicability; NaN where no two windows are apart.
    """

    points: NDArray[np.float32]
    scale: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Applicability:
    """Where the training windows of one network lie among its features; from `fit_applicability`.

    Parameters
    ----------
    projection : ndarray of float32 of shape (k, n_features)
        Directions on which features are projected.
    window : Reference
        Windows by themselves.
    dense : Reference, optional
        Windows with all the surroundings that the network sees; of one that was trained with a halo.

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(64, 64), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=8, n_ore=40, n_barren=40, rng=0)
    >>> model = gp.train(windows, survey, network="resnet18", epochs=1, device="cpu", rng=0)
    >>> (known,) = gp.fit_applicability(model, windows, survey, device="cpu")  # of one network
    >>> known.window.points.shape, 0 < known.window.threshold < 2
    ((80, 64), True)
    """

    projection: NDArray[np.float32]
    window: Reference
    dense: Reference | None = None

    def reference(self, mode: str) -> Reference:
        """Return the training windows as a mode of `predict` sees them; by themselves where that is all there is."""
        return self.dense if mode == "dense" and self.dense is not None else self.window

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file of tensors can hold."""
        arrays = {"projection": self.projection, **{mode: one.points for mode, one in self._modes()}}
        return {name: torch.from_numpy(values).contiguous() for name, values in arrays.items()}

    def numbers(self) -> dict[str, dict[str, float | None]]:
        """Return the rest, as JSON can hold it; NaN becomes None."""
        return {
            mode: {"scale": one.scale, "threshold": None if math.isnan(one.threshold) else one.threshold}
            for mode, one in self._modes()
        }

    def _modes(self) -> list[tuple[str, Reference]]:
        return [("window", self.window), *([("dense", self.dense)] if self.dense is not None else [])]

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> Self:
        """Return what `tensors` and `numbers` describe.

        Raises
        ------
        KeyError, ValueError
            When they do not fit together.
        """
        projection, modes = tensors["projection"].numpy(), {}
        for mode, one in numbers.items():
            points, scale = tensors[mode].numpy(), float(one["scale"])
            threshold = math.nan if one["threshold"] is None else float(one["threshold"])
            if points.shape[1:] != projection.shape[:1] or not (np.isfinite(points).all() and scale > 0):
                raise ValueError(f"mode {mode}: {points.shape} projections on {len(projection)} directions, {scale=}")
            modes[mode] = Reference(points, scale, threshold)
        return cls(projection, **modes)


def dissimilarity(features: Tensor, points: Tensor, scale: float) -> Tensor:
    """Return the distance from the nearest training window, in units of `scale`.

    Parameters
    ----------
    features : (N, k)
        Projections of windows.
    points : (n, k)
        Of the training windows.
    scale : float
        Mean distance between these.

    Returns
    -------
    (N,)
    """
    step = max(1, _AT_ONCE // len(points))
    # By differences: the way by a product of matrices loses the digits of small distances.
    near = [
        torch.cdist(features[start : start + step], points, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
        for start in range(0, len(features), step)
    ]
    return torch.cat(near) / scale if near else features.new_empty(0)


def mean_threshold(areas: Sequence[Applicability], mode: str) -> float:
    """Return the threshold of the mean over networks."""
    return float(np.mean([area.reference(mode).threshold for area in areas]))
