"""The values of a recipe for a model, a text and a budget. docs/guides/init.md explains the rules and their sources."""

from math import ceil
from pathlib import Path
from typing import Any

from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.choose_model import token_flops

SHORT_TO_LONG: dict[str, Any] = {"name": "short_to_long", "divisors": [4, 2, 1], "until": [0.3, 0.6]}
_FEWEST_STEPS = 500
_WARM_UP_STEPS = 100
_TOKENS_AT_ONCE = 8192
EVALUATIONS, SAVES = 10, 5
"""The most evaluations and checkpoints of a run. One checkpoint is that of the start of the decay."""
_MOST_EVALUATED, _EVALUATED_PART = 256, 0.06
"""The most samples of an evaluation, and the most tokens that all evaluations may read, as a fraction of the training
tokens."""
_HIGHEST_RATE, _HIGHEST_MASKED_RATE = 1e-2, 1e-3

COMMENTS = {
    "model": "its sizes; docs/reference/models.md",
    "model.family": "the kind of model",
    "model.num_layers": "layers at the end of the run",
    "model.hidden_size": "width of the residual stream",
    "model.num_heads": "attention heads of a layer",
    "model.num_key_value_heads": "heads of keys and values",
    "model.intermediate_size": "width of the feed-forward part",
    "model.vocab_size": "the tokenizer's",
    "model.max_position_embeddings": "the most tokens a sample may have",
    "model.initializer_range": "standard deviation of fresh matrices; greater in a narrow model",
    "method": "how the model grows; docs/methods",
    "method.name": "all layers train from the start; samples grow longer",
    "method.divisors": "samples of a quarter of the length, then of half, then of all of it",
    "method.until": "shares of the steps after which the next length begins",
    "data": "where apollo-prep wrote the text",
    "out": "checkpoints, metrics, report and exported model",
    "steps": "optimizer steps of the whole run",
    "seed": "for fresh weights, the order of the text, and masks",
    "seq_len": "tokens a sample",
    "global_batch_size": "samples a step, over all ranks: 0.292 C^0.3271 tokens for C operations",
    "micro_batch_size": "samples a rank computes at once, at most; lower it where memory is short",
    "learning_rate": "peak: 0.3118 C^-0.125 for C operations, at most 1e-2, or 1e-3 in a masked model",
    "lr_schedule": "warm-up, stable, decay: the run can be given more steps later",
    "decay_fraction": "share of the steps over which the learning rate decays",
    "warmup_fraction": "share of the steps over which the learning rate rises",
    "weight_decay": "of matrices and embeddings",
    "adam_betas": "decay of the first and the second moment",
    "eval_every": "steps from one evaluation on held-out text to the next",
    "eval_samples": "held-out samples that each of them reads",
    "save_every": "steps from one checkpoint to the next",
    "deepspeed": "bf16 where the device has it, ZeRO 1, gradients clipped at 1",
}
"""The comment for each key in the recipe's file."""


def recipe_values(
    shape: ModelShape, seq_len: int, flops: float, ranks: int, method: str | dict[str, Any], data: Path, out: Path
) -> dict[str, Any]:
    """The values of a recipe, without the keys that depend on its steps. `flops` counts the whole run's operations."""
    tokens = flops / token_flops(shape, seq_len)
    batch = _batch(min(0.2920 * flops**0.3271, tokens / _FEWEST_STEPS), seq_len, ranks)
    highest = _HIGHEST_MASKED_RATE if family_of(shape).is_masked else _HIGHEST_RATE
    evaluated = int(_EVALUATED_PART * tokens / EVALUATIONS / seq_len)
    return {
        "model": shape.model_dump(mode="json", exclude_defaults=True),
        "method": method,
        "data": str(data),
        "out": str(out),
        "seed": 42,
        "seq_len": seq_len,
        "global_batch_size": batch,
        "micro_batch_size": max(1, min(batch // ranks, _TOKENS_AT_ONCE // seq_len)),
        "learning_rate": float(f"{min(0.3118 * flops**-0.125, highest):.2g}"),
        "lr_schedule": "wsd",
        "decay_fraction": 0.2,
        "weight_decay": 0.1,
        "adam_betas": [0.9, 0.95],
        "eval_samples": max(16, min(evaluated, _MOST_EVALUATED)),
        "deepspeed": "ds_configs/zero1.json",
    }


def with_steps(values: dict[str, Any], steps: int) -> dict[str, Any]:
    """The recipe's values with `steps` and the keys that depend on it, in the order in which they are written."""
    complete = {
        **values,
        "steps": steps,
        "warmup_fraction": float(f"{max(0.01, min(0.1, _WARM_UP_STEPS / steps)):.2g}"),
        "eval_every": ceil(steps / EVALUATIONS),
        "save_every": ceil(steps / (SAVES - 1)),
    }
    return {key: complete[key] for key in COMMENTS if key in complete}


def _batch(tokens: float, seq_len: int, ranks: int) -> int:
    """The number of samples of a step: a power of two for each rank, the largest that has at most `tokens` tokens."""
    each = 1
    while 2 * each * ranks * seq_len <= tokens:
        each *= 2
    return each * ranks
