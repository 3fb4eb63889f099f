"""A list of blocks that runs in the order of a layer map: this is how a shared layer runs several times."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from apollo_ds.models.depth_scale import PositionScales
from apollo_ds.models.layer_map import LayerMap
from apollo_ds.models.pooling import PooledTokens
from apollo_ds.models.scale_hooks import ScaleHooks


class LayerView(nn.ModuleList):
    """A list of unique blocks that iterates in the order of a layer map, so a block may run several times.

    Indexing and `len` see the unique blocks; only iteration, which is how the models run them, follows the map.
    """

    def __init__(self, blocks: list[nn.Module], attention_types: Sequence[str] = ()) -> None:
        """`attention_types` names each position's kind of attention, for a class that asks a block for it."""
        super().__init__(blocks)
        self.order: LayerMap = tuple(range(len(blocks)))
        self.positions: tuple[int, ...] = ()
        self.scales: tuple[float, ...] = ()
        self.first_trained = 0
        self.pool = 1
        self.hooks: ScaleHooks | None = None
        self.position_scales: tuple[PositionScales, ...] = ()
        self._attention_types = attention_types

    def __iter__(self) -> Iterator[nn.Module]:
        """The blocks as they run, with gradients from number `first_trained` on.

        With a `pool` above 1 they run on so many times fewer tokens; see `models.pooling`.
        """
        tokens = PooledTokens(self.pool) if self.pool > 1 else None
        for number, index in enumerate(self.order):
            if number == self.first_trained > 0:
                torch.set_grad_enabled(True)
            yield self._placed(number, self[index], tokens)

    def _placed(self, number: int, block: nn.Module, tokens: PooledTokens | None) -> nn.Module:
        """Return the block for place `number` in the order; it is the block itself if nothing depends on the place."""
        scale = self.scales[number] if self.scales else 1.0
        kind = None
        if self._attention_types:
            kind = self._attention_types[self.positions[number] if self.positions else number]
        place = partial(self.hooks.place, self.position_scales[number]) if self.hooks else None
        if tokens is not None:
            ends = (number == 0, number + 1 == len(self.order))
            return cast(nn.Module, _Pooled(block, scale, kind, place, tokens, *ends))
        if kind is None and place is None and scale == 1.0:
            return block
        return cast(nn.Module, _Placed(block, scale, kind, place))

    def __getitem__(self, index: Any) -> Any:
        """Return a unique block by its number, or the view itself for a slice that holds all blocks that run.

        Raises:
            IndexError: the slice leaves out blocks that run. torch's own slice would lose the order.
        """
        if not isinstance(index, slice):
            return super().__getitem__(index)
        if index.start or index.step not in (None, 1) or (index.stop is not None and index.stop < len(self.order)):
            raise IndexError(f"{index} of {len(self.order)} layers that run would leave some out")
        return self


class _Placed:
    """A block at one position. Its change to the hidden states is multiplied: x + scale (block(x) - x)."""

    def __init__(
        self, block: nn.Module, scale: float, attention_type: str | None, place: Callable[[torch.device], None] | None
    ) -> None:
        self.block = block
        self.scale = scale
        self.attention_type = attention_type
        self.place = place

    def __call__(self, hidden: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if self.place:
            self.place(hidden.device)
        changed: Tensor = self.block(hidden, *arguments, **options)
        return changed if self.scale == 1.0 else torch.lerp(hidden, changed, self.scale)


class _Pooled(_Placed):
    """A block at one position, on groups of tokens: the first pools what it reads, the last restores the tokens."""

    def __init__(
        self,
        block: nn.Module,
        scale: float,
        attention_type: str | None,
        place: Callable[[torch.device], None] | None,
        tokens: PooledTokens,
        is_first: bool,
        is_last: bool,
    ) -> None:
        super().__init__(block, scale, attention_type, place)
        self.tokens = tokens
        self.is_first = is_first
        self.is_last = is_last

    def __call__(self, hidden: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if options.get("position_embeddings") is not None:  # rotary ones, of all tokens
            options["position_embeddings"] = tuple(map(self.tokens.of_groups, options["position_embeddings"]))
        changed = super().__call__(self.tokens.enter(hidden) if self.is_first else hidden, *arguments, **options)
        return self.tokens.leave(changed) if self.is_last else changed
