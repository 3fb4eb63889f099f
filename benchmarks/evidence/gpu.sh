#!/usr/bin/env bash
# What growing saves, on GPUs:   bash benchmarks/evidence/gpu.sh MINUTES [GRID.yaml ...]
# Trains for so many minutes, GPT-2's grid if none is named, a run on each GPU; the same command goes on from there, from
# the folder that the grid names as `out`, which must be kept. A minute before the end the runs are told to save. All
# are recorded then, those under way as such. Exits with 1 if a run failed. It has not been run on a GPU yet.
# The text is prepared before, from books.parquet or a folder of books, 30 million tokens in 60 MB each:
#   options="--source books.parquet --vocab-size 8192 --validation-fraction 0.03"
#   apollo-prep build $options --tokenizer bpe --out data/books-bpe
#   apollo-prep build $options --tokenizer wordpiece --out data/books-wordpiece
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -x .venv/bin/python ]; then PATH="$PWD/.venv/bin:$PATH"; fi
[[ "${1-}" =~ ^0*([2-9]|[1-9][0-9]{1,5})$ ]] || {
    echo "gpu.sh: MINUTES must be a whole number of at least 2, the last of which is for saving: gpu.sh 30 GRID.yaml" >&2
    exit 2
}
end=$(($(date +%s) + 60 * 10#$1 - 60))
jobs=$(nvidia-smi -L 2> /dev/null | wc -l || true)
[ "$jobs" -gt 0 ] || jobs=1
shift
[ "$#" -gt 0 ] || set -- benchmarks/evidence/recipe/gpt2-gpu.yaml
failed=0
for grid in "$@"; do
    left=$((end - $(date +%s)))
    status=0
    if [ "$left" -gt 0 ]; then
        timeout "$left" apollo-ds sweep "$grid" --jobs "$jobs" || status=$?
    fi
    [ "$status" -le 1 ] || [ "$status" -eq 124 ] || exit "$status" # 1: a run failed, 124: the time is up
    [ "$status" -ne 1 ] || failed=1
    python benchmarks/evidence/evidence.py record "$grid"
done
python benchmarks/evidence/evidence.py pages
exit "$failed"
