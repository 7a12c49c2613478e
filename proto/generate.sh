#!/bin/sh
# Regenerates fastclust/v1 from proto/. With --check: fails when the committed files differ from what would be generated.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=.
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
PATH="$(dirname "$python"):$PATH" "$python" -m grpc_tools.protoc -I proto \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="$out" --mypy_grpc_out="$out" proto/fastclust/v1/*.proto
if [ "$out" != . ]; then
  diff -r --exclude=__init__.py --exclude=__pycache__ "$out/fastclust/v1" fastclust/v1 ||
    { echo "stubs differ from proto/: run proto/generate.sh and commit fastclust/v1" >&2; exit 1; }
fi
