#!/usr/bin/env bash
"exec" "${0%/*}/start.sh" "$0" "$@"
# Bash runs the line above and stops there: start.sh hands this file to DeepSpeed's launcher. The launcher runs it with
# Python on each rank, to which that line is a string, and what follows the program.
import sys

from apollo_ds.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
