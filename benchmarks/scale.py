"""Writes the page of the needs of models of 1.3 to 70 billion parameters on 8, 64 and 512 ranks.

    python benchmarks/scale.py > docs/results/scale.md

It starts nothing. Every figure is what `apollo-ds plan --ranks` computes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.models.flops import parameters
from apollo_ds.planning.forecast import Machine, forecast
from apollo_ds.planning.forecast_table import later_host_bytes
from apollo_ds.planning.in_words import size_in_words, time_in_words
from apollo_ds.planning.plan import plan

RANKS = (8, 64, 512)
PEAK, ROOM, REST = 9.9e14, 80e9, 5e9
"""Of one GPU: operations a second in bf16, bytes of memory, and bytes that are kept free for uncounted memory."""
_CONFIGURATIONS = Path(__file__).parents[1] / "ds_configs"
_BATCH, _SEQ_LEN, _AT_ONCE = 1024, 2048, 4

_INTRODUCTION = """# What a model asks of 8, 64 and 512 ranks

This page is arithmetic. Nobody has run these models: no run of this project has had more than one GPU. `python
benchmarks/scale.py > docs/results/scale.md` writes it, by the formulas of `apollo-ds plan --ranks`, and a test compares
it with them. What the formulas were compared with is [below](#what-was-compared-with-a-run).

Each model is a GPT-2 with heads of {head} and a vocabulary of {vocabulary:,}, grown once from half of its layers. A
step has {batch:,} samples of {seq_len:,} tokens, at most {at_once} of them at once on a rank, in bf16 with
`activation_checkpointing=true`. A node has {on_node} ranks. A rank has {room:.0f} GB of memory and {peak:.0f} TFLOP/s,
of which {utilisation:.0%} are reached. It sends {network:g} GB/s; links within a node are usually faster, those between
nodes may be slower. All ranks together read {storage:g} GB/s from storage. For a model and a machine of your own:
`apollo-ds plan RECIPE --ranks 64 --network 25 --storage 5`.
"""

_NOTES = """## What the columns say

- device: weights, gradients, optimizer, buckets and activations of a rank. Logits, fragments and CUDA's own memory come
  on top; at ZeRO 3 so do the weights that are gathered at the time, up to 2 GB (`stage3_max_live_parameters`). So
  {rest:.0f} of the {room:.0f} GB are left for them, and what needs more than the others is bold.
- host: a node's own memory, of its 8 ranks. Python and its libraries take about 1 GB a rank more. While a run starts, a
  rank holds one layer or one embedding in fp32. Later it holds more: a copy of its part of the state while a checkpoint
  is written; a copy of its part of the old state, and one layer or embedding, while the model grows. The column has
  whichever is more.
  At the run's end the first node also holds the whole model in fp32, which is exported.
- sent: by each rank in a step, of a ring of all ranks. ZeRO 0, 1, 2 and 3 send 2, 3, 2 m + 1 and up to 4 m numbers a
  parameter, where m is the number of micro-batches: 32, 4 and 1 on 8, 64 and 512 ranks. DeepSpeed 0.19.8 sums all
  gradients on all ranks at ZeRO 1 and 2. `use_multi_rank_bucket_allreduce: false` makes it send each sum to its owner
  alone, which is a number a parameter less.
- sending, computing: how long each takes at least in a step of all layers. A part of the sending goes on while the rank
  computes. The second forward pass of `activation_checkpointing` is not counted.
- growth, resume: the least that moving the state takes. A growth sums the old state over all ranks, 24 bytes a
  parameter of the old model. A resume reads the checkpoint twice: all of it for its hashes, and each rank its slice.

## What was compared with a run

- `tests/distributed/test_traffic.py` counts, on two CPU ranks with tiny models, what a step, a growth and a resume
  send, what a resume reads, and what a rank keeps of weights and optimizer, at every ZeRO stage. The formulas are
  within 2%.
- Memory of a host with GPUs was not compared. Where the ranks are CPUs, `python benchmarks/memory.py` measures a
  start, a growth and a resume ([results](../../benchmarks/results/memory.md)); there, too, a resume reads its
  checkpoint twice.
- Memory of a rank was within 10% of four runs on one H200.
- No time was compared. The formulas know nothing of latency, of ranks that wait for each other, of a network that is
  shared, or of what a GPU's own link to the host adds to a growth.
"""


@dataclass(frozen=True)
class Size:
    """One of the page's models."""

    title: str
    layers: int
    hidden_size: int


HEAD, VOCABULARY = 128, 50_257
SIZES = (
    Size("1.3 billion", 24, 2048),
    Size("7 billion", 32, 4096),
    Size("13 billion", 40, 5120),
    Size("70 billion", 86, 8192),
)


def recipe_of(size: Size, configuration: str = "zero1") -> Recipe:
    """The recipe that is planned, with one of `ds_configs/`; its ZeRO stage does not matter, but what it offloads."""
    model = {
        "family": "gpt2",
        "num_layers": size.layers,
        "hidden_size": size.hidden_size,
        "num_heads": size.hidden_size // HEAD,
        "intermediate_size": 4 * size.hidden_size,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": _SEQ_LEN,
    }
    values: dict[str, Any] = {
        "model": model,
        "method": {"name": "sprout", "first_layers": size.layers // 2},
        "data": "unused",
        "out": "unused",
        "steps": 100_000,
        "seq_len": _SEQ_LEN,
        "global_batch_size": _BATCH,
        "micro_batch_size": _AT_ONCE,
        "activation_checkpointing": True,
        "learning_rate": 3e-4,
        "eval_every": 1000,
        "save_every": 1000,
        "peak_flops": PEAK,
        "deepspeed": json.loads((_CONFIGURATIONS / f"{configuration}.json").read_text()),
    }
    return resolve(values, "benchmarks/scale.py")


@cache
def figures(size: Size, ranks: int, configuration: str = "zero1") -> dict[str, Any]:
    """The forecast of a model, and the seconds that a step of all layers computes."""
    recipe, machine = recipe_of(size, configuration), Machine(ranks)
    planned = plan(recipe)
    computing = planned["stages"][-1]["flops_per_step"] / (ranks * PEAK * machine.utilisation)
    return {**forecast(recipe, planned["total"], machine), "computing_seconds": computing}


def fits(size: Size, ranks: int) -> list[int]:
    """The ZeRO stages at which a rank's memory suffices."""
    memory = figures(size, ranks)["memory_bytes"]
    return [int(zero) for zero, needed in memory.items() if needed <= ROOM - REST]


def page() -> str:
    """The whole page."""
    machine = Machine(RANKS[0])
    introduction = _INTRODUCTION.format(
        head=HEAD,
        on_node=machine.ranks_per_node,
        vocabulary=VOCABULARY,
        batch=_BATCH,
        seq_len=_SEQ_LEN,
        at_once=_AT_ONCE,
        room=ROOM / 1e9,
        peak=PEAK / 1e12,
        utilisation=machine.utilisation,
        network=machine.network / 1e9,
        storage=machine.storage / 1e9,
    )
    notes = _NOTES.format(room=ROOM / 1e9, rest=REST / 1e9)
    return "\n".join([introduction, *_first_limits(), *map(_section, SIZES), notes])


def _first_limits() -> Iterator[str]:
    """Yield, for each model and number of ranks, the limit that a user meets first."""
    yield "## What breaks first\n"
    yield "The lowest ZeRO stage at which a rank's memory suffices, and what limits a step there:\n"
    yield f"| parameters | {' | '.join(f'{ranks} ranks' for ranks in RANKS)} |"
    yield f"|---|{'---|' * len(RANKS)}"
    for size in SIZES:
        yield f"| {size.title} | {' | '.join(_first_limit(size, ranks) for ranks in RANKS)} |"
    yield ""


def _first_limit(size: Size, ranks: int) -> str:
    result, fitting = figures(size, ranks), fits(size, ranks)
    if not fitting:
        offloading = figures(size, ranks, "zero3_offload")["by_zero_stage"]["3"]
        return (
            f"memory: ZeRO 3 needs {size_in_words(result['memory_bytes']['3'])}; with `zero3_offload.json` "
            f"{size_in_words(offloading['memory_bytes'])}, and {size_in_words(later_host_bytes(offloading))} "
            "of a node's own"
        )
    zero = fitting[0]
    share = result["by_zero_stage"][str(zero)]["step_sent_seconds"] / result["computing_seconds"]
    limit = f"network, {share:.1f} times as long as computing" if share > 1 else f"computing, network {share:.0%} of it"
    return f"ZeRO {zero}; {limit}"


def _section(size: Size) -> str:
    recipe = recipe_of(size)
    count = parameters(recipe.model, size.layers)
    checkpoint = size_in_words(figures(size, RANKS[0])["checkpoint_bytes"])
    heading = (
        f"## {size.title}\n\n{size.layers} layers x {size.hidden_size:,}: {count / 1e9:.2f} billion parameters, grown "
        f"from {size.layers // 2} layers. A checkpoint has {checkpoint}.\n\n"
        "| ranks | ZeRO | device, a rank | host, starting | host, later | sent a step | sending | computing "
        "| growth | resume |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([heading, *(_row(size, ranks, zero) for ranks in RANKS for zero in range(4)), ""])


def _row(size: Size, ranks: int, zero: int) -> str:
    result = figures(size, ranks)
    of_zero = result["by_zero_stage"][str(zero)]
    memory = size_in_words(of_zero["memory_bytes"])
    cells = (
        str(ranks),
        str(zero),
        memory if zero in fits(size, ranks) else f"**{memory}**",
        size_in_words(of_zero["node_host_bytes_starting"]),
        size_in_words(later_host_bytes(of_zero)),
        size_in_words(of_zero["step_sent_bytes"]),
        time_in_words(of_zero["step_sent_seconds"]),
        time_in_words(result["computing_seconds"]),
        time_in_words(of_zero["growth_seconds"]),
        time_in_words(of_zero["resume_seconds"]),
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(page(), end="")
