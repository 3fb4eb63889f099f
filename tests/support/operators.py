"""Learned growth operators between small models."""

import torch
from small_models import build
from torch import Tensor

from apollo_ds.growth.learned.ligo import LiGO
from apollo_ds.growth.learned.mango import Mango
from apollo_ds.growth.learned.operator import LearnedOperator
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.shape import ModelShape

FAMILY_NAMES = sorted(name for name, family in FAMILIES.items() if not family.first_layer_is_unlike)
"""The families whose layers can be mixed."""


OPERATORS = [LiGO, Mango]


def shape(family: str, layers: int, width: int = 1, ffn: int = 2) -> ModelShape:
    return FAMILIES[family].shape_class(
        family=family,
        num_layers=layers,
        hidden_size=8 * width,
        num_heads=2 * width,
        intermediate_size=8 * ffn,
        vocab_size=128,
        max_position_embeddings=16,
    )


def between(kind: type[LearnedOperator], family: str, layers: tuple[int, int], width: int = 2) -> LearnedOperator:
    old, new = layers
    return kind(shape(family, old), old, shape(family, new, width, 2 * width), new)


def small_weights(operator: LearnedOperator) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    model = build(operator.old, operator.old_layers, seed=1)
    return {n: p.detach() + 0.1 * torch.randn(p.shape, generator=generator) for n, p in model.named_parameters()}
