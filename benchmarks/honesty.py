"""What the two ways of scoring say on the synthetic survey, with and without signal.

Stands behind the figures of the README and of docs/synthetic.md. Takes two demos: minutes on two cores.

    python benchmarks/honesty.py
"""

import tempfile
import time

import numpy
import torch

import geoprospect as gp
from geoprospect.pipeline import demo

print(f"geoprospect {gp.__version__}, torch {torch.__version__}, numpy {numpy.__version__}\n")
print("| signal | method | AUC on separate ground | 95 % interval | rank AUC of the paper's protocol | its accuracy |")
print("|---|---|---|---|---|---|")
for signal in (1.0, 0.0):
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = demo(folder, signal=signal)
    seconds = time.perf_counter() - start
    for method, row in done.scores.table.iterrows():
        network = method == done.scores.table.index[0]
        paper = f"{done.paper_protocol.rank_auc:.2f} | {done.paper_protocol.accuracy:.2f}" if network else "– | –"
        print(f"| {signal:g} | {method} | {row['auc']:.2f} | {row['low']:.2f} – {row['high']:.2f} | {paper} |")
    print(f"| {signal:g} | *the whole demo took {seconds:.0f} s* | | | | |", flush=True)
