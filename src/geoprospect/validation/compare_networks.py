"""Cross-validation of several networks on the same windows and folds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from tqdm.auto import tqdm

from geoprospect._checks import check_rng
from geoprospect.errors import InputError
from geoprospect.models.architectures import ARCHITECTURES
from geoprospect.models.networks import build_network
from geoprospect.validation.cross_validation import cross_validate
from geoprospect.validation.scores import score_table
from geoprospect.windows.settings import Folds
from geoprospect.windows.windows import Windows

# The four of the paper's Table 2.
PAPER_NETWORKS = ("resnet50", "mobilenet_v2", "googlenet", "shufflenet_v2_x1_0")


def compare_networks(
    windows: Windows,
    survey: xr.Dataset,
    networks: Sequence[str] = PAPER_NETWORKS,
    folds: int | Folds = 5,
    rng: int | np.random.Generator | None = None,
    *,
    progress: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """Cross-validate several networks on the same windows and spatial folds: Table 2 of Gao et al., with intervals.

    Parameters
    ----------
    windows, survey
        As in `cross_validate`.
    networks : sequence of str
        Names as in `train`. Default: the four of Table 2 [1]_.
    folds : int or Folds, default 5
        As in `cross_validate`.
    rng : int, Generator or None
        Every network gets the same seed.
    progress : bool, default False
        Show a progress bar.
    **settings
        Further arguments of `cross_validate`: recipe, epochs, screen, device, …

    Returns
    -------
    pandas.DataFrame
        Indexed by method, networks in the order of their AUC and then the baselines in theirs: the columns of
        `Scores.table`, where ``difference`` and what follows compare with the first row; ``weights``,
        the number of weights in millions, and ``seconds`` that the folds took.

    Raises
    ------
    InputError
        When fewer than two networks are named, or one of them twice.
    SeparationError
        As in `cross_validate`.

    References
    ----------
    .. [1] Gao, L. et al. (2022). https://doi.org/10.3390/app122211433

    Examples
    --------
    >>> import geoprospect as gp
    >>> area = gp.synthetic.make_survey(shape=(96, 96), rng=0)
    >>> survey = gp.interpolate(area.samples, area.grid)[["Cu", "Au"]]
    >>> windows = gp.sample_windows(survey, area.deposits, size=8, crop=7, n_ore=40, n_barren=60, rng=0)
    >>> table = gp.compare_networks(
    ...     windows, survey, ["resnet18", "shufflenet_v2_x1_0"], folds=2, epochs=1, device="cpu", rng=0
    ... )
    >>> sorted(table.index[:2])
    ['resnet18', 'shufflenet_v2_x1_0']
    """
    names = [networks] if isinstance(networks, str) else list(networks)
    unknown = [name for name in names if name not in ARCHITECTURES]
    if len(names) < 2 or len(set(names)) < len(names) or unknown:
        raise InputError(
            f"networks={networks!r}: needs two or more different ones of {', '.join(ARCHITECTURES)}; for one of them "
            "take cross_validate"
        )
    seed = int(check_rng(rng).integers(2**31))
    settings = {"paper_protocol": False, "map_stride": 0, **settings}
    scored, seconds = {}, {}
    for i, name in enumerate(tqdm(names, desc="networks", unit="network", disable=not progress)):
        start = time.perf_counter()
        # Baselines are the same for every network: once is enough.
        scored[name] = cross_validate(
            windows, survey, name, folds, seed, **({**settings, "baselines": {}} if i else settings)
        )
        seconds[name] = time.perf_counter() - start
    first = scored[names[0]]
    baselines = list(first.table.index[1:])
    tested = first.windows.assign(**{name: scored[name].windows[name] for name in names})
    if tested[names].isna().any(axis=None):
        raise InputError("windows: networks were tested on different windows; leave out those without data")
    by_auc = sorted(names, key=lambda name: -float(scored[name].table["auc"].iloc[0]))
    given = {*names, *first.table.index[first.table["brier"].notna()]}
    table = score_table(tested, [*by_auc, *baselines], given, np.random.default_rng(seed))
    n_bands = len(survey.data_vars)
    weights = {name: sum(p.numel() for p in build_network(name, n_bands).parameters()) / 1e6 for name in names}
    return table.assign(weights=pd.Series(weights), seconds=pd.Series(seconds))
