"""Attention: PyTorch's fused one, FlexAttention for masks in blocks, and for bf16 on a CPU two matrix products.

Key and value may have fewer heads than the query: each then serves as many neighbouring heads of the query.
"""

from collections.abc import Callable
from functools import cache
from math import gcd
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface

from apollo_ds.models.masks import Mask
from apollo_ds.models.sample_parts import SampleParts

ATTENTION = "apollo_ds"
"""The name of this attention in a model's configuration."""
_LONGEST_BY_PRODUCTS = 512
"""Tokens. The backward needs a probability for each pair of tokens; for longer samples these would fill most memory."""
_MOST_KERNELS = 64


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Mask | None, **options: Any
) -> tuple[Tensor, None]:
    """softmax(query key^T / sqrt(head size)) value, with the signature that transformers expects.

    Query has the shape (batch, heads, tokens, head size), key and value (batch, key-value heads, tokens, head size),
    the result (batch, tokens, heads, head size). The tokens are those that this rank holds: where ranks share samples,
    the module has their `sample_parts`. The mask is of whole samples; see `masks`.
    """
    parts: SampleParts | None = getattr(module, "sample_parts", None)
    if parts is None:
        return _of_whole_samples(module, query, key, value, mask, **options), None
    copies = parts.degree // gcd(parts.degree, key.shape[1])  # so that the ranks can share the heads
    key, value = (part.repeat_interleave(copies, dim=1) if copies > 1 else part for part in (key, value))
    query, key, value = parts.gather_tokens(query, key, value)
    return parts.gather_heads(_of_whole_samples(module, query, key, value, mask, **options)), None


def _of_whole_samples(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Mask | None, **options: Any
) -> Tensor:
    """Attention of whole samples, by two matrix products where these are faster.

    In bf16 on a CPU, the backward of PyTorch 2.13's fused attention takes several times as long as these products.
    """
    scale, dropout = options.get("scaling"), options.get("dropout") or 0.0
    if isinstance(mask, BlockMask):
        assert not dropout, "FlexAttention knows none"
        return _by_blocks(query, key, value, mask, scale)
    is_causal = options.get("is_causal")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    tokens = query.shape[2]
    by_products = query.device.type == "cpu" and query.dtype == torch.bfloat16 and tokens <= _LONGEST_BY_PRODUCTS
    if by_products and not dropout:
        return _by_products(query, key, value, mask, causal, scale or query.shape[3] ** -0.5)
    return _fused(query, key, value, mask, causal, scale, dropout)


def _by_blocks(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scale: float | None) -> Tensor:
    is_compiling = torch.compiler.is_compiling()  # the whole layer, with what is in it
    flex: Any = flex_attention if is_compiling else compiled_flex_attention()
    result: Tensor = flex(query, key, value, block_mask=mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1])
    return result.transpose(1, 2).contiguous()


@cache
def compiled_flex_attention() -> Callable[..., Tensor]:
    """FlexAttention's kernels, compiled for each kind of mask, with and without gradients, and twice for new sizes.

    Beyond PyTorch's own limit, of 8, it would hold a score for each pair of tokens.
    """
    compiled = torch.compile(flex_attention, recompile_limit=_MOST_KERNELS)  # type: ignore[call-overload]
    return cast(Callable[..., Tensor], compiled)


def _by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    batch, heads, tokens, size = key.shape
    # The query's heads that share a key stand one below the other, as rows of one matrix.
    q = query.unflatten(1, (heads, -1)).flatten(2, 3).flatten(0, 1)
    k, v = key.flatten(0, 1), value.flatten(0, 1)
    sharing = q.shape[1] // tokens
    bias = q.new_zeros(())
    if mask is not None:
        seen = q.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf).unsqueeze(2)
        bias = seen.expand(batch, heads, sharing, tokens, tokens).reshape(batch * heads, -1, tokens)
    elif causal:
        bias = q.new_full((tokens, tokens), -torch.inf).triu(1).repeat(sharing, 1)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), beta=float(bias.dim() > 0), alpha=scale)
    return (scores.softmax(dim=2) @ v).view(batch, -1, tokens, size).transpose(1, 2).contiguous()


def _fused(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float | None, dropout: float
) -> Tensor:
    """Run PyTorch's fused attention. Its kernels for masks take no shared keys, so keys are copied for them."""
    sharing = query.shape[1] // key.shape[1]
    if mask is not None and sharing > 1:
        key, value = (part.repeat_interleave(sharing, dim=1) for part in (key, value))
    result = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=causal and mask is None,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return result.transpose(1, 2).contiguous()


# No mask is registered for it: to find out whether one is needed, transformers would look at the positions, and so make
# the host wait for the GPU in every step.
AttentionInterface.register(ATTENTION, attention)
