"""Pretrain a small language model on your own text, from files to a model that writes.

    python pretrain_on_your_text.py                  # English that this machine already has: its documentation
    python pretrain_on_your_text.py books/           # your text: files, a folder of them, JSON lines or parquet
    python pretrain_on_your_text.py books/ --minutes 60

What it shows: the five commands that lead from text to a model, each printed before it runs.
How long it takes: four to five minutes on two CPU cores with the default text, two of them for training. More text
takes longer to prepare, and `--minutes` says how long training may take.
What comes out: in the folder `pretrained/` the prepared text, a recipe with a comment on each key, and a run with its
checkpoints, its report and a model that `transformers` loads. The model is tiny: it writes words, and little sense.

Interrupted? Start it again: what is done stays, and training goes on from its last checkpoint.
"""

# What you can choose
import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

PROGRAMS = {"apollo-prep": "data_prep", "apollo-ds": "apollo_ds"}


def main(*words: str) -> None:
    """Run the five commands in a folder of their own."""
    parser = argparse.ArgumentParser(description="Pretrain a small language model on your own text.")
    parser.add_argument("text", nargs="?", help="a file or a folder of text [default: this machine's documentation]")
    parser.add_argument("--minutes", type=float, default=2, help="how long training may take [default: 2]")
    parser.add_argument("--prompt", default="The function returns", help="what the model is to continue")
    parser.add_argument("--out", type=Path, default=Path("pretrained"), help="where all goes [default: pretrained]")
    options = parser.parse_args(words)
    source = str(Path(options.text).expanduser().resolve()) if options.text else "docs"
    options.out.mkdir(parents=True, exist_ok=True)
    os.chdir(options.out)
    print(f"In the folder {Path.cwd()}:")

    # 1. The text becomes tokens. The tokenizer is trained on it, too.
    if not Path("data/mine/manifest.json").is_file():
        run("apollo-prep", "build", "--source", source, "--tokenizer", "bpe", "--vocab-size", "4096",
            "--out", "data/mine")  # fmt: skip

    # 2. A recipe whose training takes so long on this machine. Open the file: it is yours to change.
    if not Path("my.yaml").is_file():
        run("apollo-ds", "init", "--data", "data/mine", "--budget", f"{options.minutes * 60:.0f}s", "--out", "my.yaml")

    # 3. What the recipe will do and cost. Nothing is trained.
    run("apollo-ds", "plan", "my.yaml")

    # 4. Training. The last lines say where the report and the model are.
    run("apollo-ds", "train", "my.yaml")

    # 5. The model continues a text.
    run("apollo-ds", "generate", "runs/my", options.prompt, "--max-new-tokens", "60")

    print(
        f"""
Look at it:
  report       {Path("runs/my/report/report.md").resolve()}
  TensorBoard  tensorboard --logdir {Path("runs").resolve()}
In your own program:
  AutoModelForCausalLM.from_pretrained("{Path("runs/my/export").resolve()}")"""
    )


# How a command is run
def run(*words: str) -> None:
    """Print a command as you would type it, run it, and end if it fails."""
    print(f"\n$ {shlex.join(words)}", flush=True)
    program, *arguments = words
    # As `apollo-ds ...` does, but also where the environment of this Python is not activated.
    code = subprocess.run([sys.executable, "-m", PROGRAMS[program], *arguments], check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
