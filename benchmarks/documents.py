"""Measures the cost of keeping documents apart on a CPU, and the saving by shared keys; results/documents.md

    python benchmarks/documents.py

Steps, attention alone, and reading; processor time of one thread, in bf16. All ways of a table take turns, the first
round is left out, and a ratio is that of two ways in one round. A sample's documents are cut at random, four on
average. On a CPU attention computes all pairs of tokens all the same; FlexAttention, which leaves out blocks of them,
needs a GPU and was not measured.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed.pacing import join_alone
from torch import Tensor, nn

from apollo_ds.config.load import resolve
from apollo_ds.data.demo import default_text_folder, prepare_default_text
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.attention import attention
from apollo_ds.models.families import preset
from apollo_ds.models.masks import attention_mask
from apollo_ds.models.pretraining import skeleton

RESULTS = Path(__file__).parent / "results"
DEEPSPEED = Path(__file__).parents[1] / "ds_configs" / "zero1_cpu.json"
ROUNDS = 25
LAYERS, HIDDEN, TOKENS_A_STEP, DOCUMENTS = 4, 512, 2048, 4
HEADS, HEAD = 8, 64
STEPS = (("bert-base", 128), ("bert-base", 512), ("gpt2-base", 128), ("gpt2-base", 512), ("gpt2-base", 1024))
GROUPS = (8, 2, 1)
"""Numbers of key-value heads."""
Ways = Mapping[str, Callable[[], object]]


class Layer(nn.Module):
    """A causal layer as attention sees it."""

    is_causal = True


def places(samples: int, length: int) -> Tensor:
    """Return each token's place in its document, for documents of random lengths; shape (samples, length)."""
    starts = torch.rand(samples, length, generator=torch.Generator().manual_seed(0)) < DOCUMENTS / length
    starts[:, 0] = True
    order = torch.arange(length)
    return order - torch.where(starts, order, 0).cummax(dim=1).values


def steps(name: str, length: int, processes: Processes) -> Ways:
    """An optimizer step without and with places."""
    changes = {"num_layers": LAYERS, "hidden_size": HIDDEN, "num_heads": HEADS, "intermediate_size": 4 * HIDDEN}
    sizes = {"vocab_size": 8192, "max_position_embeddings": length}
    shape = preset(name).model_copy(update={**changes, **sizes})
    samples = TOKENS_A_STEP // length
    values = {"model": shape.model_dump(), "method": "scratch", "data": "none", "out": "none", "steps": 100}
    often = {"learning_rate": 1e-4, "eval_every": 1, "save_every": 1, "seq_len": length}
    counts = {"global_batch_size": samples, "micro_batch_size": samples}
    given = {**values, **often, **counts, "deepspeed": json.loads(DEEPSPEED.read_text())}
    recipe = resolve(given, "benchmark").settled(processes.computes_bf16, processes.world_size)
    engine = Engine(skeleton(shape, LAYERS), recipe.engine_options(1), processes, seed=0)
    scored = engine.model.family.scored_positions(length)
    ids = torch.randint(shape.vocab_size, (samples, length))
    batch = (ids, torch.arange(scored).expand(samples, scored), ids[:, :scored].contiguous())
    plan = replace(recipe.schedule().at(0), learning_rate=1e-4)
    parted = (*batch, places(samples, length))
    return {
        "whole samples": lambda: engine.train_step([batch], [plan]),
        "parted": lambda: engine.train_step([parted], [plan]),
    }


def attentions(length: int) -> Ways:
    """Attention alone, forward and backward, with fewer and fewer key-value heads, without and with documents."""
    samples, ways = TOKENS_A_STEP // length, {}
    parted = places(samples, length)
    for mask in (None, attention_mask(parted, parted, is_causal=True)):
        for shared in GROUPS:
            heads = (HEADS, shared, shared)
            given = [
                torch.randn(samples, length, count, HEAD, dtype=torch.bfloat16).transpose(1, 2).requires_grad_()
                for count in heads
            ]

            def run(given: list[Tensor] = given, mask: Any = mask) -> None:
                attention(Layer(), *given, mask)[0].sum().backward()

            def copied(given: list[Tensor] = given, mask: Any = mask, times: int = HEADS // shared) -> None:
                query, *rest = given
                attention(Layer(), query, *(part.repeat_interleave(times, dim=1) for part in rest), mask)[
                    0
                ].sum().backward()

            suffix = "" if mask is None else ", parted"
            ways[f"{shared} key-value heads{suffix}"] = run
            if shared < HEADS:
                ways[f"{shared} copied{suffix}"] = copied
    return ways


def reading(length: int) -> Ways:
    """256 samples of the package's English, without and with places."""
    folder = default_text_folder(Path("data/docs"), preset("gpt2-base"))
    prepare_default_text(folder, preset("gpt2-base").model_copy(update={"vocab_size": 4096}))
    stream = TokenStream(folder, "train", length, 42)
    positions = np.arange(256) * length
    return {
        "whole samples": lambda: stream.read(positions, length),
        "parted": lambda: stream.read_in_documents(positions, length),
    }


def measure(ways: Ways) -> dict[str, list[float]]:
    """Processor seconds of each way in each round but the first."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS + 1):
        for way, function in ways.items():
            began = time.process_time()
            function()
            taken[way].append(time.process_time() - began)
    return {way: seconds[1:] for way, seconds in taken.items()}


def table(title: str, cases: Mapping[str, dict[str, list[float]]]) -> str:
    """Markdown: medians, and each way's time as a part of the first's."""
    lines = [f"## {title}", "", "| | way | median | part of the first | middle half |", "|---|---|---|---|---|"]
    for case, ways in cases.items():
        first = next(iter(ways.values()))
        for way, seconds in ways.items():
            ratios = [own / other for own, other in zip(seconds, first, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            median = statistics.median(seconds) * 1000
            lines.append(f"| {case} | {way} | {median:,.2f} ms | {middle:.1%} | {low:.1%} to {high:.1%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    processes = join_alone()
    about = f"{LAYERS} layers, hidden {HIDDEN}, {TOKENS_A_STEP:,} tokens, bf16; medians of {ROUNDS}."
    parts: dict[str, dict[str, Ways]] = {
        f"A step: {about}": {f"{name}, {length} tokens": steps(name, length, processes) for name, length in STEPS},
        f"Causal attention alone, {HEADS} heads of {HEAD}": {f"{n} tokens": attentions(n) for n in (128, 512, 1024)},
        "Reading 256 samples": {f"{length} tokens": reading(length) for length in (128, 1024)},
    }
    tables = []
    for title, cases in parts.items():
        tables.append(table(title, {case: measure(ways) for case, ways in cases.items()}))
        print(tables[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "documents.md").write_text("\n".join(tables))
    processes.leave()


if __name__ == "__main__":
    main()
