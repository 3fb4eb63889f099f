"""Makes attention masks, which say which tokens of a sample see each other.

A mask is made once in a forward pass, from the whole samples, and all layers use it. Nothing here looks at values, so
the host never waits for a GPU.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, and_masks, create_block_mask

Mask = Tensor | BlockMask
"""A tensor (batch, 1, tokens, tokens) that is true where a query (row) sees a key (column); or the same as blocks, of
which FlexAttention skips those in which nothing is seen. A batch of 1 stands for any batch size."""
Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Whether a query sees a key, from the numbers of sample, head, query and key."""
_LEAST_HEAD = 16
"""The smallest head size that FlexAttention's kernels take."""


def attention_mask(
    tokens: Tensor, places: Tensor | None, *, is_causal: bool, window: int | None = None, in_blocks: bool = False
) -> Mask | None:
    """The mask for samples, or None where attention needs none: it knows by itself whether it is causal.

    Args:
        tokens: the samples, shape (batch, tokens); only shape and device matter.
        places: each token's place in its document, from 0, of the same shape; None where documents see each other.
        is_causal: whether a token sees none that come after it.
        window: how far away a token still sees others, to either side.
        in_blocks: whether to make a `BlockMask`, where `takes_blocks` allows it.
    """
    if places is None and window is None:
        return None
    count, batch = tokens.shape[1], 1 if places is None else len(places)
    order = torch.arange(count, device=tokens.device)
    sees = and_masks(*_rules(None if places is None else order - places, is_causal, window))
    if not in_blocks:
        samples = torch.arange(batch, device=tokens.device)[:, None, None, None]
        return sees(samples, samples, order[:, None], order).expand(batch, 1, count, count)
    blocks = create_block_mask(sees, batch, None, count, count, tokens.device)
    blocks.ndim = 4  # type: ignore[attr-defined]  # GPT-2's class asks a mask for it
    return blocks


def takes_blocks(device: torch.device, dropout: float, head_size: int) -> bool:
    """Whether attention takes masks as blocks: FlexAttention needs a GPU and Triton, and knows no dropout."""
    return device.type == "cuda" and dropout == 0 and head_size >= _LEAST_HEAD and find_spec("triton") is not None


def _rules(documents: Tensor | None, is_causal: bool, window: int | None) -> Iterator[Rule]:
    """Yield the rules that must all hold. `documents` (batch, tokens) has one number for all tokens of a document."""
    if documents is not None:
        yield lambda sample, head, query, key: documents[sample, query] == documents[sample, key]
    if is_causal:
        yield lambda sample, head, query, key: key <= query
    if window is not None:
        yield lambda sample, head, query, key: (query - key).abs() <= window
