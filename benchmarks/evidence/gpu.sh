#!/usr/bin/env bash
# What growing saves, on one GPU:   bash benchmarks/evidence/gpu.sh MINUTES [GRID ...]
# Trains for so many minutes, GPT-2's grid if none is named; the same command goes on from there, and the results that
# are there by then are under benchmarks/evidence/recipe. It has not been run on a GPU yet.
# The text is prepared before, from books.parquet or a folder of books, 30 million tokens in 60 MB each:
#   options="--source books.parquet --vocab-size 8192 --validation-fraction 0.03"
#   apollo-prep build $options --tokenizer bpe --out data/books-bpe
#   apollo-prep build $options --tokenizer wordpiece --out data/books-wordpiece
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -x .venv/bin/python ]; then PATH="$PWD/.venv/bin:$PATH"; fi
python="$(command -v python || command -v python3)"
minutes="$1"
shift
[ "$#" -gt 0 ] || set -- recipe/gpt2-gpu
status=0
timeout "${minutes}m" "$python" benchmarks/evidence/evidence.py "$@" || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 124 ]
