"""Growth as a rule on the training state: which old parameters a new one comes from, and how."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from apollo_ds.layer_map import LayerMap
from apollo_ds.schedule import MomentRule
from apollo_ds.state import Counters


@dataclass(frozen=True)
class Growth:
    """The new layer i is a copy of the old layer `layer_map[i]`; everything else stays.

    `blocks` is the path of the block list, so that layer i's parameters are named `{blocks}.{i}.{rest}`.
    """

    layer_map: LayerMap
    blocks: str
    moments: MomentRule

    def source(self, name: str) -> str:
        """The old parameter that a new one is copied from."""
        prefix = f"{self.blocks}."
        if not name.startswith(prefix):
            return name
        index, _, rest = name.removeprefix(prefix).partition(".")
        return f"{prefix}{self.layer_map[int(index)]}.{rest}"

    def apply(self, old: dict[str, Tensor]) -> dict[str, Tensor]:
        """The new parameter's weight and moments from the old one's."""
        if self.moments == "reset":
            return {key: old[key] if key == "weight" else torch.zeros_like(old[key]) for key in old}
        return old

    def counters(self, old: Counters) -> Counters:
        """Reset moments have seen no step."""
        return replace(old, adam_step=0) if self.moments == "reset" else old
