#!/usr/bin/env bash
# What growing saves, on one GPU:   bash benchmarks/evidence/gpu.sh MINUTES [GRID ...]
# Trains for so many minutes, GPT-2's grid if none is named; the same command goes on from there, and the results that
# are there by then are under benchmarks/evidence/recipe. It has not been run on a GPU yet.
# The text is prepared before, from books.parquet or a folder of books, 30 million tokens in 60 MB each:
#   apollo-prep build --source books.parquet --tokenizer bpe --vocab-size 8192 --out data/books-bpe
#   apollo-prep build --source books.parquet --tokenizer wordpiece --vocab-size 8192 --out data/books-wordpiece
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -x .venv/bin/python ]; then PATH="$PWD/.venv/bin:$PATH"; fi
minutes="$1"
shift
[ "$#" -gt 0 ] || set -- recipe/gpt2-gpu
status=0
timeout "${minutes}m" python benchmarks/evidence/evidence.py "$@" || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 124 ]
