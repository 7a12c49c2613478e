#!/bin/bash
# What there is to know about this machine's GPU, from a bare source tree: no installation of fastclust, only the
# machine's own Python with torch, numba, scikit-learn and, where it is there, triton. Peers that are absent are said so.
#   bench/gpu.sh OUT                         on a GPU
#   DEVICE=cpu SIZES=100 bench/gpu.sh OUT    the same path without one: Triton's kernels run in its interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?"give a folder for the results"}
mkdir -p "$out"
export PYTHONPATH="$PWD:$PWD/kernels${PYTHONPATH:+:$PYTHONPATH}"
device=${DEVICE:-cuda}
if [[ $device == cpu ]]; then export TRITON_INTERPRET=1; fi
"${PYTHON:-python3}" -m bench.gpu_tsne --device "$device" --sizes "${SIZES:-20000,70000,1000000}" --out "$out/tsne.jsonl"
