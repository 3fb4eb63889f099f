"""More layers: which old layer each new one is, or what stands in its place."""

from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

from apollo_ds.models.axes import Dimensions
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.fused import join, split
from apollo_ds.models.layer_map import NO_LAYER, LayerMap, added
from apollo_ds.rng import Stream, random_bits
from apollo_ds.schedule.stage import FRESH, NewLayers


@dataclass(frozen=True)
class DepthMap:
    """New layer i is made from the old layer `layer_map[i]`.

    The first layer made from an old one is that old layer itself. With the map 0 0 1, positions 0 and 2 are old layers
    and position 1 is new. With `NO_LAYER` in its place a layer is made from nothing: it is new, and silent or random.
    `new_layers` says how new layers begin:
    - copy: the same weights;
    - zero: the same, but what writes into the residual stream is zero: a pre-LN model's function does not change;
    - silent: as freshly initialised, but what writes into the residual stream is zero: the same for pre-LN;
    - identity: normalisations and biases are zero, matrices identities (Shen et al. 2022), each of query, key and value
      by itself: the same for pre-LN, and nothing for post-LN, whose function it would destroy. What a matrix has beyond
      its square part is as in a copy: zeros on both sides of a feed-forward unit would stay zeros for ever. So would
      those of a gated one, a product of two zeros: `schedule.growable` refuses it;
    - random: as freshly initialised.

    `noise` is added to the matrices of copies: normal numbers, whose standard deviation is `noise` times the matrix's
    own. They are the same on every rank for the same seed, and differ from growth to growth.

    `gradient_share` is the gradient of a layer after the growth, as a part of what the layer that it is made from had
    before: 1/3 where that one ran at three positions, whose gradients were added up, and this one runs at one.

    `heads` is their number, which an identity needs where query, key and value of each lie together.

    `blocks` is the path of the block list: layer i's parameters are named `{blocks}.{i}.{rest}`.
    """

    layer_map: LayerMap
    blocks: str
    family: str
    new_layers: NewLayers = "copy"
    noise: float = 0.0
    seed: int = 0
    gradient_share: float = 1.0
    heads: int = 0

    def source(self, name: str) -> str:
        """The old parameter that a new one is made from, where it is not made from nothing."""
        index = self.layer_index(name)
        return name if index is None else self.renamed(name, self.layer_map[index])

    def layer_index(self, name: str) -> int | None:
        """The layer that a parameter belongs to; None outside of the blocks."""
        if not name.startswith(f"{self.blocks}."):
            return None
        return int(name.removeprefix(f"{self.blocks}.").partition(".")[0])

    def renamed(self, name: str, layer: int) -> str:
        """The same parameter of another layer."""
        rest = name.removeprefix(f"{self.blocks}.").partition(".")[2]
        return f"{self.blocks}.{layer}.{rest}"

    def share(self, name: str) -> float:
        """`gradient_share` of a parameter; 1 outside of the blocks, and in a first layer that can only run once."""
        index = self.layer_index(name)
        is_first = index == 0 and FAMILIES[self.family].first_layer_is_unlike
        return 1.0 if index is None or is_first else self.gradient_share

    def is_new(self, name: str) -> bool:
        """Whether the parameter belongs to a new layer rather than to an old one in a new place."""
        index = self.layer_index(name)
        return index is not None and index in added(self.layer_map)

    def is_from_nothing(self, name: str) -> bool:
        """Whether the parameter belongs to a new layer that no old one is the source of."""
        index = self.layer_index(name)
        return index is not None and self.layer_map[index] == NO_LAYER

    def weight_from_nothing(self, name: str) -> Tensor | None:
        """The weight of a layer that is made from nothing: None to leave it as it was initialised, or one zero for all
        of its elements, without dimensions.
        """
        is_silent = self.new_layers == "silent" and FAMILIES[self.family].is_residual_output(name)
        return torch.zeros(()) if is_silent else None

    def weight(self, name: str, source: Tensor) -> Tensor | None:
        """The new weight from the old one; None to leave it as it was initialised."""
        if not self.is_new(name):
            return source
        if self.new_layers == "copy":
            return source + self.noise * self._noise(name, source) if self.noise and source.dim() > 1 else source
        if self.new_layers in ("zero", "silent") and FAMILIES[self.family].is_residual_output(name):
            return torch.zeros_like(source)
        if self.new_layers == "zero":
            return source
        if self.new_layers in FRESH:
            return None
        family = FAMILIES[self.family]
        if family.is_normalisation(name) or source.dim() == 1:
            return torch.zeros_like(source)
        return _with_identities(source, family.dimensions(name), self.heads)

    def _noise(self, name: str, like: Tensor) -> Tensor:
        """Numbers of the spread of a matrix, drawn on the CPU so that they do not depend on the device."""
        bits = random_bits(self.seed, Stream.GROWTH, len(self.layer_map), crc32(name.encode()))
        drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(int(bits) >> 1), dtype=like.dtype)
        return drawn.to(like.device) * like.std()


def _with_identities(source: Tensor, dimensions: Dimensions, heads: int) -> Tensor:
    """A matrix whose square part is the identity, or each of whose parts has one if it is fused."""
    parts = [part.clone() for part in split(source, dimensions, heads)]
    for part in parts:
        side = min(part.shape)
        part[:side, :side] = torch.eye(side, dtype=part.dtype, device=part.device)
    return join(parts, dimensions, heads)
