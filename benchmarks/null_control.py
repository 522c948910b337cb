"""What the two ways of scoring say of deposits that no band can know, on the synthetic survey without signal.

Stands behind docs/null_control.md; draws its figure where a path is given. Some 20 minutes on two cores.

    python benchmarks/null_control.py [docs/images/null_control.png]
"""

import sys
import time

import torch

import geoprospect as gp

PATTERNS, EPOCHS = 30, 30

area = gp.synthetic.make_survey(shape=(384, 384), signal=0, rng=0)
survey = gp.interpolate(area.samples, area.grid)
start = time.perf_counter()
control = gp.null_control(
    survey, area.deposits, "resnet18", n=PATTERNS, rng=0, progress=sys.stderr.isatty(), recipe="quick", epochs=EPOCHS,
    windows={"size": 32, "crop": 28},
)  # fmt: skip
print(
    f"geoprospect {gp.__version__}, torch {torch.__version__}; resnet18, {EPOCHS} epochs of recipe 'quick', "
    f"{time.perf_counter() - start:.0f} s\n"
)
print(control.table.round(3).to_string())
print(f"\n{control.summary}\n{control.skipped} patterns skipped")
if len(sys.argv) > 1:
    gp.plotting.save(gp.plotting.null_control_intervals(control.table), sys.argv[1])
