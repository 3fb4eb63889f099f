#!/usr/bin/env bash
# Start launch/pretrain.sh on every GPU of this machine, or on two CPU ranks.
set -euo pipefail
script=$1
shift
if [ -x "$(dirname "$script")/../.venv/bin/deepspeed" ]; then
    PATH="$(cd "$(dirname "$script")/../.venv/bin" && pwd):$PATH"
fi
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    exec deepspeed "$script" "$@"
fi
export DS_ACCELERATOR=cpu GOMP_SPINCOUNT=0
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec deepspeed --num_accelerators 2 "$script" "$@"
