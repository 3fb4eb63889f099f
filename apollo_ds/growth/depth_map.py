"""More layers: says which old layer each new layer is made from, and with which weights new layers begin."""

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

    The first layer that is made from an old layer is that old layer itself. With the map 0 0 1, positions 0 and 2 are
    old layers and position 1 is new. Where the map holds `NO_LAYER`, the layer is made from nothing: it is new, and
    silent or random. `new_layers` says with which weights new layers begin:
    - copy: the weights of the old layer;
    - zero: the same, but the matrices that write into the residual stream are zero. The function of a pre-LN model
      does not change;
    - silent: as freshly initialised, but the matrices that write into the residual stream are zero. The function of a
      pre-LN model does not change;
    - identity: normalisations and biases are zero and matrices are identities (Shen et al. 2022); query, key and value
      get an identity each. The function of a pre-LN model does not change. A post-LN model would lose its function, so
      `schedule.growable` refuses it. Outside of its square part a matrix is as in a copy, since zeros on both sides of
      a feed-forward unit would stay zeros for ever. A gated unit would stay zero as well, since it is a product of two
      zeros; `schedule.growable` refuses this, too;
    - random: as freshly initialised.

    `noise` is added to the matrices of copies: normal numbers, whose standard deviation is `noise` times the matrix's
    own. They are the same on every rank for the same seed, and differ from growth to growth.

    `gradient_share` is a layer's gradient after the growth, divided by that of its old layer before. It is 1/3 if the
    old layer added up the gradients of three positions and the new one runs at one.

    `heads` is the number of attention heads. An identity needs it where the query, key and value of each head lie
    together in one matrix.

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
        """Return the name of the old parameter that a new one is made from.

        Do not ask for a parameter of a layer that is made from nothing.
        """
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
        """Whether the parameter belongs to a new layer that is made from no old layer."""
        index = self.layer_index(name)
        return index is not None and self.layer_map[index] == NO_LAYER

    def weight_from_nothing(self, name: str) -> Tensor | None:
        """Return the weight of a parameter whose layer is made from nothing.

        None leaves it as it was initialised. A zero without dimensions stands for zeros in all of its elements.
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
        """Draw normal numbers with a matrix's standard deviation; on the CPU, so that every device gets the same."""
        bits = random_bits(self.seed, Stream.GROWTH, len(self.layer_map), crc32(name.encode()))
        drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(int(bits) >> 1), dtype=like.dtype)
        return drawn.to(like.device) * like.std()


def _with_identities(source: Tensor, dimensions: Dimensions, heads: int) -> Tensor:
    """Return the matrix with the identity in its square part; a fused matrix gets one in each of its parts."""
    parts = [part.clone() for part in split(source, dimensions, heads)]
    for part in parts:
        side = min(part.shape)
        part[:side, :side] = torch.eye(side, dtype=part.dtype, device=part.device)
    return join(parts, dimensions, heads)
