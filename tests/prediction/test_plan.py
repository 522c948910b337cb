"""The plan of a map: its windows, bytes, operations and seconds, and what is probed."""

import dataclasses

import numpy as np
import pytest
import torch
from disk_maps import as_model, batches_take, make_survey

import geoprospect as gp
from geoprospect.models.networks import build_network
from geoprospect.prediction import engine
from geoprospect.prediction import plan as plan_module

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({16: 1.0, 32: 1.0, 64: 1.0, 128: 1.0}, 128),
        ({16: 1.0, 32: 2.0, 64: 4.0, 128: 8.0}, 16),  # no faster: the smallest
        ({16: 1.0, 32: 1.92, 64: 3.85, 128: 7.7}, 16),  # nor by less than a twentieth
        ({16: 1.0, 32: 1.5, 64: 4.0, 128: 8.0}, 32),
        ({16: 1.0, 32: 1.0}, 32),  # for more there is no memory
    ],
)
def test_the_batch_that_is_fastest_is_found(
    seconds: dict[int, float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, survey = as_model(), make_survey()
    seconds = dict(seconds)
    tried = batches_take(seconds, monkeypatch)
    assert gp.plan_inference(model, survey, 3, "cpu", deterministic=False).settings.batch == best
    assert tried[: len(seconds)] == sorted(seconds)
    long = engine.Settings(3, "window", 0.5, "cuda", "bfloat16", 64, 1)
    speed = best / seconds[best]
    for windows, pays in ((int(speed * 290), False), (int(speed * 310), True)):
        assert plan_module.probed(model, long, torch.device("cuda"), windows).compiled == pays
    dense = dataclasses.replace(long, mode="dense")
    assert plan_module.probed(model, dense, torch.device("cuda"), 10**9) == dense
    seconds[64] = 1.0  # by which the plan tells the time
    assert gp.plan_inference(model, survey, 3, "cpu").settings.batch == 64


def test_the_plan_counts_windows_bytes_and_operations() -> None:
    plan = gp.plan_inference(as_model(), make_survey(), 3, "cpu")
    assert plan.windows == 18 * 26 == plan.grid.shape[0] * plan.grid.shape[1]
    assert plan.bytes_survey == 61 * 83 * 2 * 4
    assert plan.bytes_read == (17 * 3 + 8) * (25 * 3 + 8) * 2 * 4
    assert plan.bytes_written == plan.windows * 3 * 4
    # Two operations a product: 5 x 2 x 3 x 3 weights at 6 x 6 places, and 20 x 2.
    assert plan.flops == 2 * plan.windows * 2 * (5 * 2 * 9 * 36 + 20 * 2)
    assert "468 windows every 3 cells (mode 'window')" in plan.summary
    assert 0 < plan.seconds < 60
    assert "s of computing" in plan.summary
    assert np.isnan(dataclasses.replace(plan, seconds=np.nan).to_frame().loc["seconds", "value"])
    assert plan.to_frame().loc["windows", "value"] == 468
    dense = gp.plan_inference(
        as_model(build_network("shufflenet_v2_x1_0", 2).eval(), crop=32, size=32), make_survey(), 8, "cpu", mode="dense"
    )
    assert dense.settings.halo == 288
    assert dense.flops > 0
