"""Attention: PyTorch's fused one, but for bf16 on a CPU, where two matrix products are faster."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from apollo_ds.models.sample_parts import SampleParts

ATTENTION = "apollo_ds"
"""What a model's configuration calls it."""
_LONGEST_BY_PRODUCTS = 512
"""Tokens. The backward needs a probability for each pair of tokens; for longer samples these would fill most memory."""


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """softmax(query key^T / sqrt(head size)) value, with the signature that transformers expects.

    Query, key and value have the shape (batch, heads, tokens, head size), the result (batch, tokens, heads, head size).
    The tokens are those that this rank holds: where ranks share samples, the module has their `sample_parts`.
    """
    parts: SampleParts | None = getattr(module, "sample_parts", None)
    if parts is None:
        return _of_whole_samples(module, query, key, value, mask, **options), None
    query, key, value = parts.gather_tokens(query, key, value)
    return parts.gather_heads(_of_whole_samples(module, query, key, value, mask, **options)), None


def _of_whole_samples(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> Tensor:
    """See `attention`.

    In bf16 on a CPU, the backward of PyTorch 2.13's fused attention takes several times as long as these products.
    """
    tokens = query.shape[2]
    by_products = query.device.type == "cpu" and query.dtype == torch.bfloat16 and tokens <= _LONGEST_BY_PRODUCTS
    if not by_products or mask is not None or options.get("dropout") or key.shape != query.shape:
        result: Tensor = sdpa_attention_forward(module, query, key, value, mask, **options)[0]
        return result
    q, k, v = (part.flatten(0, 1) for part in (query, key, value))
    is_causal = options.get("is_causal")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    bias = q.new_full((tokens, tokens), -torch.inf).triu(1) if causal else q.new_zeros(())
    scale = options.get("scaling") or query.shape[3] ** -0.5
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), beta=float(causal), alpha=scale)
    return (scores.softmax(dim=2) @ v).view_as(query).transpose(1, 2).contiguous()


# No mask is registered for it: to find out that none is needed, transformers would look at the positions, and so make
# the host wait for the GPU in every step.
AttentionInterface.register(ATTENTION, attention)
