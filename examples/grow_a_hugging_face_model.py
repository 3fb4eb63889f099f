"""Grow a model that `transformers` saved, and train it on.

    python grow_a_hugging_face_model.py                                  # makes a small Llama first
    python grow_a_hugging_face_model.py models/mine --text books/        # your model, your text
    python grow_a_hugging_face_model.py HuggingFaceTB/SmolLM2-135M --text books/ --steps 1000    # one of the hub

What it shows: a model gets half as many layers again. The new layers begin as copies that write nothing yet, so the
held-out loss before and after the growth is the same number. Then all layers train on.
How long it takes: two to three minutes on two CPU cores with the small Llama. A model of 100 million parameters or
more needs a GPU.
What comes out: in the folder `grown/` a recipe, a run with its report, and the deeper model in `runs/deeper/export`,
which AutoModel loads. A falling loss does not show that the growth was worth it. The last lines say how to find out.

The family must be one of those that `apollo-ds` knows: BERT, GPT-2, GPT-NeoX, Llama, ModernBERT, Qwen3 and
RoBERTa-PreLayerNorm. In BERT, and in most depths of ModernBERT, no new layer is silent, so the loss changes.
"""

# What you can choose
import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import apollo_ds

END = "<|endoftext|>"


def main(*words: str) -> None:
    """Grow the model, train it on, and load what comes out."""
    parser = argparse.ArgumentParser(description="Grow a model that transformers saved, and train it on.")
    parser.add_argument("model", nargs="?", help="a folder, or a name on the hub [default: a small Llama, made here]")
    parser.add_argument("--text", help="files to train on [default: this machine's documentation]")
    parser.add_argument("--steps", type=int, default=200, help="of training after the growth [default: 200]")
    parser.add_argument("--out", type=Path, default=Path("grown"), help="where all goes [default: grown]")
    options = parser.parse_args(words)
    text = str(Path(options.text).expanduser().resolve()) if options.text else "docs"
    model = options.model or "models/small"
    if options.model and Path(model).expanduser().is_dir():
        model = str(Path(model).expanduser().resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    os.chdir(options.out)
    if not options.model and not Path(model, "config.json").is_file():
        make_small_llama(Path(model), options.steps)

    # 1. The text, with the model's own tokenizer: a token must mean what it meant before.
    if not Path("data/mine/manifest.json").is_file():
        tokenizer = model
        if not Path(model).is_dir():  # on the hub
            tokenizer = "models/tokenizer"
            AutoTokenizer.from_pretrained(model).save_pretrained(tokenizer)
        command = ["--source", text, "--tokenizer", tokenizer, "--validation-fraction", "0.03", "--out", "data/mine"]
        print(f"\n$ apollo-prep build {shlex.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", "data_prep", "build", *command], check=False).returncode
        if code:
            sys.exit(code)

    # 2. The recipe, and the training. It resumes where it was interrupted.
    config = AutoConfig.from_pretrained(model)
    Path("deeper.yaml").write_text(recipe_for(model, config, options.steps))
    print("\n>>> apollo_ds.train('deeper.yaml')", flush=True)
    outcome = apollo_ds.train("deeper.yaml")

    tell(outcome, model)


def tell(outcome: apollo_ds.Outcome, model: str) -> None:
    """Say what the growth did, what came out, and how to judge it."""
    # 3. What the growth did, from the run's record.
    lines = (outcome.folder / "metrics.jsonl").read_text().splitlines()
    growth = next(event for event in map(json.loads, lines) if event["event"] == "growth")
    print(f"\nHeld-out loss of {growth['from']} layers, before the growth: {growth['loss_before']:.4f}")
    print(f"Held-out loss of {growth['to']} layers, after it:           {growth['loss_after']:.4f}")
    print(f"Held-out loss after {outcome.totals.step:,} more steps:          {outcome.loss:.4f}")

    # 4. The result is a plain model of transformers.
    export = (outcome.folder / "export").resolve()
    grown = AutoModel.from_pretrained(export)
    print(f"\n{type(grown).__name__} of {grown.config.num_hidden_layers} layers: {export}")
    print(
        f"""
Was the growth worth it? Train the model on as it was. Its steps cost less, so raise
`steps` until both runs cost the same. Then look at both losses:
  cd {Path.cwd()}
  apollo-ds train deeper.yaml out=runs/continued model=hf:{model} method=scratch init_from=hf:{model}
  apollo-ds runs"""
    )


def recipe_for(model: str, config: AutoConfig, steps: int) -> str:
    """Half as many layers again, and what training them takes."""
    layers = config.num_hidden_layers
    return f"""\
model: {{from: "hf:{model}", num_layers: {layers + max(1, layers // 2)}}}
method: {{name: upscale, source: "hf:{model}"}}
data: data/mine
out: runs/deeper
steps: {steps}
seq_len: {min(512, config.max_position_embeddings)}
global_batch_size: 16
micro_batch_size: 4
learning_rate: 1.0e-3
lr_schedule: wsd
decay_fraction: 0.2
weight_decay: 0.1
adam_betas: [0.9, 0.95]
eval_every: {max(1, steps // 4)}
save_every: {max(1, steps // 2)}
deepspeed: ds_configs/zero1.json
"""


# The model that grows if you name none: made and trained by transformers and PyTorch alone.
def make_small_llama(folder: Path, steps: int) -> None:
    """Train a Llama of four layers for a moment, on the pages of Python's own help, and save it."""
    print(f"A small Llama is made by transformers, in {folder}", flush=True)
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(topics.values(), vocab_size=1024, special_tokens=[END], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learned._tokenizer, eos_token=END, model_max_length=128)
    tokens = torch.cat([torch.tensor([*learned.encode(page).ids, tokenizer.eos_token_id]) for page in topics.values()])

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 176, "vocab_size": 1024}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=4, max_position_embeddings=128, **sizes, **ends))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(1, steps + 1):
        starts = torch.randint(len(tokens) - 128, (16,))
        batch = torch.stack([tokens[start : start + 128] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"  step {step}: loss {loss.item():.4f}", flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
