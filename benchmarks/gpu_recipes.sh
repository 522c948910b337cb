#!/usr/bin/env bash
# Recipes and the statistics kept after halo training, measured on a GPU in one command: some 5 minutes on an H200 with 16
# cores. Trainings are small, so 14 of them share the GPU through CUDA's MPS; without it they take turns.
# What is done is kept in the folder that is given, and a second call goes on from there.
set -euo pipefail
folder="${1:?a folder for the results}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
if command -v nvidia-cuda-mps-control > /dev/null; then
    CUDA_MPS_PIPE_DIRECTORY="$(mktemp -d)"
    CUDA_MPS_LOG_DIRECTORY="$(mktemp -d)"
    export CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
    nvidia-cuda-mps-control -d
    trap 'echo quit | nvidia-cuda-mps-control' EXIT
fi
python3 benchmarks/halo.py cuda > "$folder/halo.md" 2> "$folder/halo.log" &
halo=$!
python3 -W ignore benchmarks/recipes.py "$folder" --workers 14 --device cuda | tee "$folder/recipes.md"
wait "$halo"
cat "$folder/halo.md"
