#!/usr/bin/env bash
# Start launch/pretrain.sh on every GPU of this machine, or on two CPU ranks.
set -euo pipefail
script=$1
shift
if [ -x "$(dirname "$script")/../.venv/bin/deepspeed" ]; then
    PATH="$(cd "$(dirname "$script")/../.venv/bin" && pwd):$PATH"
fi
# A free port for the ranks to meet at, so that several runs may share the machine.
MASTER_PORT=${MASTER_PORT:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    exec deepspeed --log_level warning --master_port "$MASTER_PORT" "$script" "$@"
fi
export DS_ACCELERATOR=cpu GOMP_SPINCOUNT=0
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec deepspeed --log_level warning --master_port "$MASTER_PORT" --num_accelerators 2 "$script" "$@"
