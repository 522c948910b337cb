"""The plan of a map: its windows, bytes, and operations."""

import pytest
from disk_maps import as_model, make_survey

import geoprospect as gp
from geoprospect.models.networks import build_network

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_plan_counts_windows_bytes_and_operations() -> None:
    plan = gp.plan_inference(as_model(), make_survey(), 3, "cpu")
    assert plan.windows == 18 * 26 == plan.grid.shape[0] * plan.grid.shape[1]
    assert plan.bytes_survey == 61 * 83 * 2 * 4
    assert plan.bytes_read == (17 * 3 + 8) * (25 * 3 + 8) * 2 * 4
    assert plan.bytes_written == plan.windows * 3 * 4
    # Two operations a product: 5 x 2 x 3 x 3 weights at 6 x 6 places, and 20 x 2.
    assert plan.flops == 2 * plan.windows * 2 * (5 * 2 * 9 * 36 + 20 * 2)
    assert "468 windows every 3 cells (mode 'window')" in plan.summary
    assert plan.to_frame().loc["windows", "value"] == 468
    dense = gp.plan_inference(
        as_model(build_network("shufflenet_v2_x1_0", 2).eval(), crop=32, size=32), make_survey(), 8, "cpu", mode="dense"
    )
    assert dense.settings.halo == 288
    assert dense.flops > 0
