#!/usr/bin/env bash
# Speed on one GPU:   bash benchmarks/gpu.sh [FOLDER]
# Run benchmarks/gpu_trial.sh before it: that checks in nine minutes whether the project works on the GPU at all.
# It has not been run as a whole: on an H200 a schedule of 240 steps took more than 110 seconds.
# Leaves throughput.json, .md and .png, and the traces of a shallow and of a deep step. What fails is said, and keeps
# nothing else from being measured.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ -x .venv/bin/python ]; then PATH="$PWD/.venv/bin:$PATH"; fi
python="$(command -v python || command -v python3)"
out="${1:-benchmarks/results/gpu}"
failed=0

throughput() {
    "$python" benchmarks/throughput.py --out "$out" "$@" || { echo "failed: $*" >&2; failed=1; }
}

throughput peak schedule --steps 480 --settings bert-base-512 bert-base-512-compiled
throughput peak schedule --steps 480 --settings bert-base-128
throughput peak schedule --steps 480 --settings gpt2-base-1024
throughput peak schedule --steps 240 --settings bert-large-512
throughput depth profile --rounds 18 --settings bert-base-512
throughput against --rounds 12 --settings bert-base-128 gpt2-base-1024
exit "$failed"
