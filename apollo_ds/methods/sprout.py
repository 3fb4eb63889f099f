"""One layer for most of the run, then all, the new ones silent until they learn: this project's own recipe.

A single late growth under a level learning rate is Bu's (2025, arXiv 2511.04981). Apollo's part of `deep_jump`, a depth
drawn at random while the layer is shared, is left away, because runs without it ended lower.
"""

from typing import Literal

from apollo_ds.methods.base import SamplerName
from apollo_ds.methods.deep_jump import DeepJump
from apollo_ds.stage import NewLayers


class Sprout(DeepJump):
    """`deep_jump` of a layer that runs once, to silent ones."""

    name: Literal["sprout"] = "sprout"  # type: ignore[assignment]
    sampler: SamplerName = "none"
    new_layers: NewLayers = "zero"
