"""The stages of methods for a model of a few thousand parameters, and batches for it."""

from typing import Any

import torch
from families import small_shape
from sources import needed

from apollo_ds.methods import METHODS, Run
from apollo_ds.models.families import FAMILIES, PRESETS, family_of
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.learning_rate import LearningRate
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import Stage

BATCH, SEQ_LEN = 8, 128
"""Of `bert_base_schedule`, in samples and tokens."""


def shape(family: str, layers: int = 4, **changes: Any) -> ModelShape:
    sizes = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "vocab_size": 97}
    values = {"max_position_embeddings": 32, **sizes, **changes}
    return small_shape(FAMILIES[family], layers, **values)


def stages(method: str, family: str, steps: int = 400, of: ModelShape | None = None, **options: Any) -> list[Stage]:
    of = of or shape(family)
    return METHODS[method](name=method, **{**needed(method, of), **options}).stages(
        Run(of, steps, seq_len=16, global_batch_size=4)
    )


def schedule(planned: list[Stage]) -> Schedule:
    return Schedule(tuple(planned), 4, LearningRate("cosine", 1e-3, warmup_fraction=0.1), seed=1)


def bert_base_schedule(
    method: str = "apollo", steps: int = 400, seed: int = 42, policy: Any = "cosine", **options: Any
) -> Schedule:
    planned = METHODS[method](name=method, **options).stages(Run(PRESETS["bert-base"], steps, SEQ_LEN, BATCH))
    return Schedule(tuple(planned), BATCH, LearningRate(policy, 1e-3, warmup_fraction=1 / 40), seed)


def batch(of: ModelShape, seq_len: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    ids = torch.randint(1, of.vocab_size, (2, seq_len))
    scored = family_of(of).scored_positions(seq_len)
    return ids, torch.arange(scored).expand(2, scored), ids[:, :scored]
