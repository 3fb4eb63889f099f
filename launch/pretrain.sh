#!/usr/bin/env bash
"exec" "env" "PATH=${0%pretrain.sh}../.venv/bin:$PATH" "python3" "$0" "$@"
# This file is a Bash script and a Python script. Bash runs the line above, which replaces Bash by Python with this same
# file; the project's own Python if there is one. Python takes that line for a string and goes on below. So do the ranks
# that DeepSpeed's launcher starts.
import sys

from apollo_ds.__main__ import main
from apollo_ds.training.handover import hand_over

if __name__ == "__main__":
    hand_over()
    main(["train", *sys.argv[1:]])
