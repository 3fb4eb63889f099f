#!/usr/bin/env bash
# Whether the project works on one GPU, in less than nine minutes:   bash benchmarks/gpu_trial.sh
# Six parts, each bounded, each going on past what fails; TRIAL_ONLY="runs speed" picks some:
#   runs         BERT and GPT-2 train through their growths
#   families     Llama and ModernBERT, with masks of documents and windows in blocks, also compiled
#   precisions   ZeRO 0 to 3 in bf16, fp16 and fp32, each through a growth
#   compiled     BERT and GPT-2 through a growth with compiled layers
#   resume       a run is killed twice and resumed, and compared with one that was left alone
#   speed        where a step makes the host wait, and tokens a second beside a loop by hand and the stock Trainer
# Leaves results.json, which begins with PASS and FAIL, results.md and logs.txt in $OUT, or in build/gpu_trial.
# TRIAL_TINY=1 rehearses at toy size, also on a CPU. TRIAL_SECONDS is the time for all parts.
# Where a folder .whl/ of wheels lies in the project's root, they are used: for a machine with torch and no network.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export OUT=${OUT:-$root/build/gpu_trial} TRIAL_TINY=${TRIAL_TINY:-} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
TRIAL_STARTED=$(date +%s) TRIAL_WORK=$(mktemp -d)
export TRIAL_STARTED TRIAL_WORK
trap 'rm -rf "$TRIAL_WORK"' EXIT
mkdir -p "$OUT"
only=" ${TRIAL_ONLY:-runs families precisions compiled resume speed} "
budget=${TRIAL_SECONDS:-540}
export PYTHONPATH=$root:$root/benchmarks
if [ -x .venv/bin/python ]; then PATH="$root/.venv/bin:$PATH"; fi
python=$(command -v python3 || command -v python)

left() { echo $((budget - $(date +%s) + TRIAL_STARTED)); }

use_wheels() {
    local site=$TRIAL_WORK/site
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl ||
        exit 1
    export PYTHONPATH=$site:$PYTHONPATH PATH=$site/bin:$PATH
}
if compgen -G ".whl/*.whl" >/dev/null; then use_wheels; fi

# -- sizes
if [ -n "$TRIAL_TINY" ]; then
    model=(model.num_layers=12 model.hidden_size=64 model.num_heads=1 model.intermediate_size=128)
    size=(seq_len=32 global_batch_size=8 micro_batch_size=8 eval_samples=8)
    small=("${size[@]}") long=("${size[@]}") steps=40 short=24 patience=4 groups=1
else
    model=() size=(seq_len=512 global_batch_size=64 micro_batch_size=64 eval_samples=256)
    long=(seq_len=1024 global_batch_size=32 micro_batch_size=32 eval_samples=64)
    small=(seq_len=128 global_batch_size=32 micro_batch_size=16 eval_samples=64) steps=200 short=48 patience=1
    groups=4
fi

# -- text, by the project's own builder, where the benchmarks look for it
prepare() { # TOKENIZER FOLDER
    [ -f "data/$2/manifest.json" ] || "$python" -m data_prep build --source docs --tokenizer "$1" --vocab-size 4096 \
        --validation-fraction 0.03 --out "data/$2" >"$TRIAL_WORK/prepare-$1.log" 2>&1
}
prepare wordpiece docs-wordpiece &
prepare bpe docs &
wait
words() { "$python" -c "import json; print(json.load(open('data/$1/manifest.json'))['tokenizer']['vocab_size'])"; }
bert=(launch/recipes/bert-base.yaml data=data/docs-wordpiece model.vocab_size="$(words docs-wordpiece)" model.dropout=0)
gpt=(launch/recipes/gpt2-base.yaml data=data/docs model.vocab_size="$(words docs)" model.dropout=0)
through_a_growth=("${small[@]}" 'method.layers=[6,12]' 'method.grow_at=[0.5]' steps=$short eval_every=12)

# train NAME SECONDS WORDS...   trains as a user does. Its log is NAME.log; NAME.code has its exit code and its seconds.
train() {
    local name=$1 limit=$(($2 * patience)) began
    began=$(date +%s)
    shift 2
    timeout -k 5 "$limit" bash launch/pretrain.sh "$@" "${model[@]}" out="$TRIAL_WORK/$name" log_every=5 \
        learning_rate=3.0e-4 >"$TRIAL_WORK/$name.log" 2>&1
    echo "$? $(($(date +%s) - began))" >"$TRIAL_WORK/$name.code"
}

runs() {
    train bert-apollo 120 "${bert[@]}" "${size[@]}" steps=$steps eval_every=20 save_every=100 &
    train gpt2-apollo 120 "${gpt[@]}" "${long[@]}" steps=$steps eval_every=20 save_every=100 &
    train gpt2-sprout 120 "${gpt[@]}" "${small[@]}" method=sprout steps=$short eval_every=12 save_every=24 &
    wait
}

families() {
    local parted=(document_mask=true method=sprout steps=$short eval_every=12 save_every=24)
    local llama=(launch/recipes/llama-160m.yaml data=data/docs model.vocab_size="$(words docs)"
        model.num_key_value_heads=$groups "${long[@]}" "${parted[@]}")
    train llama 120 "${llama[@]}" &
    train llama-compiled 120 "${llama[@]}" compile_blocks=true &
    train modernbert 120 launch/recipes/modernbert-base.yaml data=data/docs-wordpiece \
        model.vocab_size="$(words docs-wordpiece)" "${size[@]}" "${parted[@]}" &
    wait
}

precisions() { # four at a time; then fp16 with a vocabulary that has to be filled up, and an optimizer on the CPU
    local number=0 zero precision file
    for zero in 0 1 2 3; do
        for precision in bf16 fp16 fp32; do
            if [ "$precision$zero" = fp322 ] || [ "$(left)" -lt 150 ]; then continue; fi # fp32 at 2: as 0 on one rank
            file=(ds_configs/zero1_$precision.json deepspeed.zero_optimization.stage=$zero)
            if [ $precision = bf16 ]; then file=(ds_configs/zero$zero.json deepspeed.bf16.enabled=true); fi
            train "zero$zero-$precision" 90 "${bert[@]}" "${through_a_growth[@]}" save_every=24 \
                deepspeed="${file[0]}" "${file[1]}" &
            number=$((number + 1))
            if ((number % 4 == 0)); then wait; fi
        done
    done
    wait
    if [ "$(left)" -lt 150 ]; then return; fi
    train padded-fp16 90 launch/recipes/gpt2-base.yaml data=data/docs model.vocab_size=$(($(words docs) + 3)) \
        model.dropout=0 "${through_a_growth[@]}" save_every=24 deepspeed=ds_configs/zero1_fp16.json &
    train offloaded 90 "${bert[@]}" "${through_a_growth[@]}" save_every=24 deepspeed=ds_configs/zero2_offload.json &
    wait
}

compiled() {
    if [ "$(left)" -le 120 ]; then return; fi
    local family
    for family in bert gpt; do
        local -n words=$family
        train "$family-compiled" 120 "${words[@]}" "${through_a_growth[@]}" save_every=24 compile_blocks=true &
    done
    wait
}

resume() {
    if [ "$(left)" -le 120 ]; then return; fi
    local words=("${bert[@]}" "${through_a_growth[@]}" save_every=4) kills
    train undisturbed 90 "${words[@]}" &
    for kills in 1 2; do
        "$python" -m gpu_trial kill $kills bash launch/pretrain.sh "${words[@]}" "${model[@]}" \
            out="$TRIAL_WORK/killed" log_every=1 learning_rate=3.0e-4 >"$TRIAL_WORK/killed-$kills.log" 2>&1
    done
    train killed 90 "${words[@]}"
    wait
}

speed() {
    if [ "$(left)" -le 30 ]; then return; fi
    TRIAL_LIMIT=$(($(left) - 15)) timeout -k 5 $(($(left) - 5)) "$python" -m gpu_trial speed >"$TRIAL_WORK/speed.log" 2>&1
    echo "$? 0" >"$TRIAL_WORK/speed.code"
}

for part in runs families precisions compiled resume speed; do
    if [[ $only == *" $part "* ]]; then $part; fi
done
timeout 60 "$python" -m gpu_trial judge
code=$?
for log in "$TRIAL_WORK"/*.log; do
    echo "=== $(basename "$log")"
    tail -n 60 "$log"
done >"$OUT/logs.txt"
exit $code
