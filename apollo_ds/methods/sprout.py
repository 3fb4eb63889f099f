"""Two layers for most of the run, then all, the new ones silent until they learn: this project's own recipe.

A single late growth under a level learning rate is Bu's (2025, arXiv 2511.04981). Apollo's part of `deep_jump`, a depth
drawn at random while layers are shared, is left away, because runs without it ended lower. Two layers end far lower
than one (docs/methods/sprout.md) and cost little more beside the head.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from apollo_ds.methods._base import SamplerName
from apollo_ds.methods.deep_jump import DeepJump
from apollo_ds.schedule.stage import NewLayers


class Sprout(DeepJump):
    """`deep_jump` from two layers, which run once each, to all layers, which begin silent."""

    name: Literal["sprout"] = "sprout"  # type: ignore[assignment]
    first_layers: int = Field(default=2, ge=1)
    sampler: SamplerName = "none"
    new_layers: NewLayers = "zero"
    was: ClassVar[Mapping[str, Any]] = {"first_layers": 1}
