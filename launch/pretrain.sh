#!/usr/bin/env bash
"exec" "env" "PATH=${0%pretrain.sh}../.venv/bin:$PATH" "python3" "$0" "$@"
# Bash runs the line above and stops there: it starts Python, that of the project's environment if there is one, with
# this file. To Python, also on each rank that DeepSpeed's launcher starts, that line is a string.
import sys

from apollo_ds.__main__ import main
from apollo_ds.training.handover import hand_over

if __name__ == "__main__":
    hand_over()
    main(["train", *sys.argv[1:]])
