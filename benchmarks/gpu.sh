#!/usr/bin/env bash
# The whole check on a GPU in one command, under 10 minutes. Needs torch, torchvision, captum, numpy, scipy, pandas, xarray,
# scikit-learn, safetensors, tqdm, geopandas, shapely, pyproj, affine, numba, pytest and hypothesis; no rasterio or pyogrio.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
python3 -m pytest -q -m cuda -p no:cacheprovider tests/models/test_patches.py \
    tests/models/test_training.py tests/models/test_checkpoints.py tests/models/test_dense.py \
    tests/prediction/test_predict.py tests/prediction/test_engine.py tests/validation/test_explain.py
python3 benchmarks/training.py cuda
python3 benchmarks/inference.py --device cuda --cells 3072 --rounds 2
