#!/bin/bash
# What there is to know about this machine's GPU, from a bare source tree: no installation of fastclust, only the
# machine's own Python with torch, numba, scikit-learn and, where it is there, triton. Peers that are absent are said so;
# peers that are pure Python may lie in the folder PEERS. Ends within nine minutes: each part has a limit of its own.
#   bench/gpu.sh OUT                         on a GPU
#   DEVICE=cpu SIZES=100 bench/gpu.sh OUT    the same path without one: Triton's kernels run in its interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?"give a folder for the results"}
mkdir -p "$out"
export PYTHONPATH="$PWD:$PWD/kernels${PEERS:+:$PEERS}${PYTHONPATH:+:$PYTHONPATH}"
device=${DEVICE:-cuda} python=${PYTHON:-python3} rows=10000000
if [[ $device == cpu ]]; then
  export TRITON_INTERPRET=1
  rows=${SIZES:-100} rows=${rows%%,*}
fi
failed=0
# A part that fails or hangs does not take the others with it.
part() {
  local limit=$1 name=$2
  shift 2
  echo "== $name (at most $limit s)"
  timeout --kill-after 10 "$limit" "$python" -u -m "$@" || { echo "== $name: exit $?"; failed=1; }
}
part 340 "k-means and Mahalanobis" bench.gpu_kmeans --device "$device" --rows "$rows" --seconds 240 --out "$out/kmeans.jsonl"
part 120 "t-SNE" bench.gpu_tsne --device "$device" --sizes "${SIZES:-20000,70000,1000000}" --out "$out/tsne.jsonl"
part 60 "learning" bench.gpu_learning --device "$device" --out "$out/learning.jsonl"
part 20 "table" bench.gpu_table "$out"
exit $failed
