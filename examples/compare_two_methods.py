"""Compare two methods honestly: for the same cost, each at its best learning rate, by several seeds.

    python compare_two_methods.py                                    # short samples first, against scratch
    python compare_two_methods.py early_doubling                     # another method
    python compare_two_methods.py g_stack early_doubling             # two methods that grow
    python compare_two_methods.py midas --recipe my.yaml --seeds 5   # your model, your text

What it shows: how `apollo-ds plan` gives both methods the same number of operations, how `apollo-ds sweep` trains each
at three learning rates and then, at its best one, with more seeds, and how to read what comes out.
How long it takes: about four minutes on two CPU cores, where it trains ten small models, two at a time. Your own recipe
takes ten times as long as it takes now. On a machine with one GPU say `--jobs 1`.
What comes out: the answer with its spread, and what must not be concluded from it. `compared/comparison/compare.md` is
the page with all numbers and figures.

Interrupted? Start it again: runs that are complete are not trained again.
It needs scipy, which apollo_ds brings with its extra `finetune`: `pip install scipy`.
"""

# What you can choose
import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

import apollo_ds

try:
    from scipy.stats import ttest_1samp
except ImportError:
    sys.exit("compare_two_methods.py: needs scipy; run `pip install scipy`")

PROGRAMS = {"apollo-prep": "data_prep", "apollo-ds": "apollo_ds"}
SHORT_TO_LONG = "{name: short_to_long, divisors: [4, 2, 1], until: [0.3, 0.6]}"
"""A quarter of a sample's length until 30% of the steps, half of it until 60%, then all of it."""
BASE = """\
model: {family: llama, num_layers: 6, hidden_size: 64, num_heads: 2, intermediate_size: 176, vocab_size: 1024}
method: scratch
data: data/docs-1024
out: runs/base
steps: 500
seq_len: 128
global_batch_size: 8
micro_batch_size: 8
learning_rate: 4.0e-3
weight_decay: 0.1
adam_betas: [0.9, 0.95]
eval_every: 50
save_every: 1000
deepspeed: ds_configs/zero1.json
"""


def main(*words: str) -> None:
    """Train what has to be compared, and say what came out."""
    parser = argparse.ArgumentParser(description="Compare two methods for the same cost.")
    parser.add_argument("method", nargs="?", default=SHORT_TO_LONG, help="a name, or a mapping in YAML")
    parser.add_argument("baseline", nargs="?", default="scratch", help="what it is compared with [default: scratch]")
    parser.add_argument("--recipe", type=Path, help="a recipe of yours [default: a small model, this machine's text]")
    parser.add_argument("--steps", type=int, help="of the baseline [default: the recipe's]")
    parser.add_argument("--seeds", type=int, default=3, help="at the best learning rate of each [default: 3]")
    parser.add_argument("--jobs", default="2", help="runs at a time [default: 2]")
    parser.add_argument("--out", type=Path, default=Path("compared"), help="where all goes [default: compared]")
    options = parser.parse_args(words)
    if options.seeds < 2:
        parser.error("--seeds: one seed has no spread; take 2 or more")
    recipe = options.recipe.resolve() if options.recipe else Path("base.yaml")
    options.out.mkdir(parents=True, exist_ok=True)
    os.chdir(options.out)
    if not options.recipe:
        recipe.write_text(BASE)
        if not Path("data/docs-1024/manifest.json").is_file():
            run("apollo-prep", "build", "--source", "docs", "--tokenizer", "bpe", "--vocab-size", "1024",
                "--validation-fraction", "0.03", "--out", "data/docs-1024")  # fmt: skip
    compare(recipe, [options.baseline, options.method], options)


def compare(recipe: Path, methods: list[str], options: argparse.Namespace) -> None:
    """Give both the same cost, train them, and judge."""
    # 1. The same cost. A cheaper step is no gain by itself: whoever has it gets more steps.
    own = apollo_ds.load_recipe(recipe)
    steps = options.steps or own.steps
    costs = [cost_of(recipe, method, steps) for method in methods]
    lengths = [round(steps * costs[0] / cost) for cost in costs]
    print("\nFor the same cost:")
    for method, length in zip(methods, lengths, strict=True):
        print(f"  {method}: {length:,} steps, {cost_of(recipe, method, length):.4g} FLOPs")

    # 2. The same chances: as many learning rates for each, and the best one of each by as many seeds.
    rates = [own.learning_rate * factor for factor in (0.5, 1, 2)]
    parts: list[dict[str, Any]] = [
        {
            "set": {"steps": length, "eval_every": max(1, length // 10)},
            "grid": {"method": [yaml.safe_load(method)], "learning_rate": rates, "seed": [1]},
            "further_seeds": list(range(2, options.seeds + 1)),
        }
        for method, length in zip(methods, lengths, strict=True)
    ]
    parts[0] = {"recipe": str(recipe), "out": "runs", **parts[0]}
    Path("sweep.yaml").write_text(yaml.safe_dump_all(parts, sort_keys=False))
    run("apollo-ds", "sweep", "sweep.yaml", "--jobs", options.jobs)
    run("apollo-ds", "compare", "runs", "--tuned", "--out", "comparison", quiet=True)

    # 3. The answer.
    losses = [losses_of(recipe, method) for method in methods]
    names = [name_of(method) for method in methods]
    print("\nLast held-out loss in nats per token, each method at its best learning rate:")
    for name, (rate, by_seed) in zip(names, losses, strict=True):
        shown = "  ".join(f"{loss:.4f}" for loss in by_seed.values())
        print(f"  {name}, learning rate {rate:g}: {shown}")
    print_answer(names, [list(by_seed.values()) for _, by_seed in losses], unigram_entropy())
    print_limits(names, [rate for rate, _ in losses], rates, lengths)


def cost_of(recipe: Path, method: str, steps: int) -> float:
    """The operations of a run, which `plan` counts without training anything."""
    words = [str(recipe), f"method={method}", f"steps={steps}", "--json"]
    planned = subprocess.run(
        [sys.executable, "-m", "apollo_ds", "plan", *words], stdout=subprocess.PIPE, text=True, check=False
    )
    if planned.returncode:
        sys.exit(planned.returncode)
    return json.loads(planned.stdout)["total"]["flops"]


def name_of(method: str) -> str:
    """What to call a method in a sentence; one with options of its own that is compared with itself is spelt out."""
    read = yaml.safe_load(method)
    return read["name"] if isinstance(read, dict) else method


def losses_of(recipe: Path, method: str) -> tuple[float, dict[int, float]]:
    """The learning rate that a method has run most seeds at, and its last held-out loss by each seed."""
    wanted = apollo_ds.load_recipe(recipe, [f"method={method}"]).model_dump(mode="json")["method"]
    found: dict[float, dict[int, float]] = {}
    for config in Path("runs").glob("*/config.yaml"):
        settings = yaml.safe_load(config.read_text())["recipe"]
        if settings["method"] == wanted:
            loss = apollo_ds.Outcome.read(config.parent).loss
            found.setdefault(settings["learning_rate"], {})[settings["seed"]] = loss
    rate = max(found, key=lambda rate: len(found[rate]))
    return rate, dict(sorted(found[rate].items()))


def unigram_entropy() -> float:
    """The loss of the best guess without context, from the record of any of the runs."""
    record = next(Path("runs").glob("*/metrics.jsonl"))
    return json.loads(record.read_text().splitlines()[0])["unigram_entropy"]


def print_answer(methods: list[str], losses: list[list[float]], unigram_entropy: float) -> None:
    """The difference, seed by seed, and whether it is one."""
    differences = [ours - theirs for theirs, ours in zip(*losses, strict=True)]
    low, high = ttest_1samp(differences, 0).confidence_interval(0.95)
    baseline, method = methods
    print(f"  difference: {mean(differences):+.4f} ± {stdev(differences):.4f}, with 95% from {low:+.4f} to {high:+.4f}")
    if mean(losses[0]) >= unigram_entropy:
        print(f"\nAnswer: none, because {baseline} learned nothing. A guess without context is as good; train longer.")
    elif low < 0 < high:
        print(f"\nAnswer: {len(differences)} seeds cannot tell {method} from {baseline}.")
        print("More seeds may, such as --seeds 6. Decide on their number before you look again.")
    else:
        print(f"\nAnswer: {method} ends {'lower' if high < 0 else 'higher'} than {baseline} here, for the same cost.")


def print_limits(methods: list[str], best: list[float], rates: list[float], lengths: list[int]) -> None:
    """What the answer does not say."""
    print("\nWhat you must not conclude from it:")
    for method, rate in zip(methods, best, strict=True):
        if rate in (rates[0], rates[-1]):
            end = "lowest" if rate == rates[0] else "highest"
            print(f"- {method} at its best: its best rate is the {end} that was tried. Try further ones.")
    if lengths[0] != lengths[1]:
        print(f"- That {methods[1]} itself is why: it took {lengths[1]:,} steps, and {methods[0]} {lengths[0]:,}.")
        print(f"  More and smaller steps may be all of it. Try {methods[0]} with a smaller batch, too.")
    print("- Anything of other models, texts, batches, optimizers or budgets.")
    print("- Anything of time: the cost is in operations, and the runs shared the cores.")
    print("- That either is the best for its cost: fewer layers, trained for longer, may be")
    print("  better. `apollo-ds compare --frontier` compares with such models.")
    print("- That the losses are fair to the last digit: seed 1 chose the learning rates,")
    print("  so it flatters both methods a little.")
    print(f"\nThe page with all numbers: {Path('comparison/compare.md').resolve()}")


# How a command is run
def run(*words: str, quiet: bool = False) -> None:
    """Print a command as you would type it, run it, and end if it fails."""
    print(f"\n$ {shlex.join(words)}", flush=True)
    program, *arguments = words
    # As `apollo-ds ...` does, but also where the environment of this Python is not activated.
    command = [sys.executable, "-m", PROGRAMS[program], *arguments]
    code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL if quiet else None).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
