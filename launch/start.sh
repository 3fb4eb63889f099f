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
ranks=()
if ! { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }; then
    export DS_ACCELERATOR=cpu GOMP_SPINCOUNT=0
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    ranks=(--num_accelerators 2)
fi

# SIGTERM, SIGUSR1 and Ctrl-C reach the ranks as SIGUSR1, on which they save a checkpoint and exit
# (apollo_ds/training/faults/stop_signal.py).
# DeepSpeed's launchers would not pass them on, so they ignore it, and are kept from the others in a group of their own.
# If this script is killed, they notice, and do the same.
export APOLLO_DS_STARTED_BY=$$
trap '' USR1
set -m
# The launcher's only warning says that there is no hostfile, which a single machine does not need.
deepspeed --log_level error --master_port "$MASTER_PORT" "${ranks[@]}" "$script" "$@" </dev/null &
job=$!
trap 'kill -USR1 -- "-$job" 2>/dev/null || true' TERM USR1 INT
code=0
wait "$job" || code=$?
while kill -0 "$job" 2>/dev/null; do # a signal ended the wait, not the job
    code=0
    wait "$job" || code=$?
done
exit "$code"
