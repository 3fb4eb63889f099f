"""Every family, also with sizes that differ from its defaults, and small shapes of them."""

from copy import copy
from typing import Any

import torch

from apollo_ds.models.families import FAMILIES
from apollo_ds.models.family import Family
from apollo_ds.models.layer_map import LayerMap, placed
from apollo_ds.models.pretraining import Batch
from apollo_ds.models.shape import ModelShape

_CHANGES = "sizes_of_a_test"


def _variant(name: str, **changes: Any) -> Family:
    family = copy(FAMILIES[name])
    setattr(family, _CHANGES, changes)
    return family


VARIANTS: dict[str, Family] = {
    **FAMILIES,
    "llama, untied": _variant("llama", tie_word_embeddings=False),
    "llama, not grouped": _variant("llama", num_key_value_heads=None),
    "gpt_neox, untied": _variant("gpt_neox", tie_word_embeddings=False),
}


def small_shape(family: Family, layers: int, **sizes: Any) -> ModelShape:
    """A shape of a family, with grouped heads and short windows where it has any."""
    known = family.shape_class.model_fields
    own = {"num_key_value_heads": sizes["num_heads"] // 2, "local_attention": 4, **getattr(family, _CHANGES, {})}
    given = {**{key: value for key, value in own.items() if key in known and value is not None}, **sizes}
    return family.shape_class(family=family.name, num_layers=layers, **given)


def shape_of(family: Family, layers: int, width: int = 1, inner: int = 1, **changes: Any) -> ModelShape:
    """A shape so many times as wide, and so many times as wide within, as the smallest."""
    sizes = {"hidden_size": 8 * width, "num_heads": 2 * width, "intermediate_size": 12 * inner, "vocab_size": 31}
    return small_shape(family, layers, **{"max_position_embeddings": 10, **sizes, **changes})


def batch_of(of: ModelShape, scored: int = 3) -> Batch:
    """Samples as long as the model allows, scored at some positions."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(of.vocab_size, (3, of.max_position_embeddings), generator=generator)
    positions = torch.arange(scored).expand(3, scored) * (of.max_position_embeddings // scored)
    return ids, positions, torch.randint(of.vocab_size, (3, scored), generator=generator)


def all_global(family: Family) -> dict[str, int]:
    """Sizes with which all layers see the whole sample, so that a layer may run anywhere."""
    return {key: 1 for key in ("global_attention_every",) if key in family.shape_class.model_fields}


def plus_first(family: Family, layers: int) -> int:
    """So many layers that are alike, and one more where the first is unlike them."""
    return layers + family.first_layer_is_unlike


def small_map(family: Family, name: str, old: int, new: int) -> LayerMap:
    """The map of a name between so many layers that are alike; see `plus_first`."""
    return placed(name, plus_first(family, old), plus_first(family, new), family.first_layer_is_unlike)
