"""The honest table of examples/arabian_shield.toml, as the README quotes it.

GEOPROSPECT_DATA=/path/to/data python benchmarks/arabian_shield.py
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import torch

import geoprospect as gp

if not os.environ.get("GEOPROSPECT_DATA"):
    print("GEOPROSPECT_DATA is not set: the real surveys are not here")
    sys.exit(0)

config = gp.load_config(Path(__file__).parents[1] / "examples" / "arabian_shield.toml")
start = time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    done = gp.run(config, folder)
print(f"geoprospect {gp.__version__}, torch {torch.__version__}; {time.perf_counter() - start:.0f} s\n")
print("| method | AUC on separate ground | 95 % interval | deposits in the best tenth of the ground |")
print("|---|---|---|---|")
for method, row in done.scores.table.iterrows():
    print(f"| {method} | {row['auc']:.2f} | {row['low']:.2f} – {row['high']:.2f} | {row['capture_10']:.0%} |")
paper = done.paper_protocol
print(
    f"\npaper's protocol: rank AUC {paper.rank_auc:.2f}, accuracy {paper.accuracy:.2f} "
    f"(all barren {paper.accuracy_barren:.2f})"
)
print(done.scores.folds.drop(columns="bands").round(3).to_string())
