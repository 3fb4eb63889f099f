"""Two layers train for most of the run, then all. New layers add nothing until they learn. This project's own recipe.

The single late growth under a level learning rate comes from Bu (2025, arXiv 2511.04981). `deep_jump` also runs shared
layers at a random depth, as Apollo does. That is left out, because runs without it ended with a lower loss. Two layers
end with a far lower loss than one (docs/methods/sprout.md), and the second costs little compared with the head.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from apollo_ds.methods._base import SamplerName
from apollo_ds.methods.deep_jump import DeepJump
from apollo_ds.schedule.stage import NewLayers


class Sprout(DeepJump):
    """`deep_jump` from two layers that run once each to all layers. The new layers add nothing at first."""

    name: Literal["sprout"] = "sprout"  # type: ignore[assignment]
    first_layers: int = Field(default=2, ge=1)
    sampler: SamplerName = "none"
    new_layers: NewLayers = "zero"
    was: ClassVar[Mapping[str, Any]] = {"first_layers": 1}
