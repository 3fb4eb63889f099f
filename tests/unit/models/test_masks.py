"""Attention with masks and shared keys: on every path what the formula gives in fp64, and its gradients."""

from functools import partial
from itertools import product
from unittest.mock import patch

import pytest
import torch
from emulated_gpu import HostWaits, flex_on_a_cpu
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.nn.attention.flex_attention import BlockMask
from transformers import ModernBertConfig
from transformers.masking_utils import create_bidirectional_sliding_window_mask

from apollo_ds.models import attention as paths
from apollo_ds.models.attention import attention
from apollo_ds.models.masks import Mask, attention_mask, takes_blocks

TOKENS, HEAD = 21, 16
LENGTHS = ([4, 1, 9, 7], [21])
PLACES = torch.tensor([[place for length in lengths for place in range(length)] for lengths in LENGTHS])


def seen(in_documents: bool, is_causal: bool, window: int | None) -> Tensor:
    """Who sees whom (batch, tokens, tokens), told one pair at a time."""
    result = torch.zeros(len(LENGTHS), TOKENS, TOKENS, dtype=torch.bool)
    for sample, lengths in enumerate(LENGTHS):
        document = [number for number, length in enumerate(lengths) for _ in range(length)]
        for query in range(TOKENS):
            for key in range(TOKENS):
                apart = in_documents and document[query] != document[key]
                too_far = window is not None and abs(query - key) > window
                result[sample, query, key] = not (apart or too_far or (is_causal and key > query))
    return result


def mask_of(in_documents: bool, is_causal: bool, window: int | None, in_blocks: bool = False) -> Mask | None:
    places = PLACES if in_documents else None
    return attention_mask(PLACES, places, is_causal=is_causal, window=window, in_blocks=in_blocks)


every_mask = pytest.mark.parametrize(
    ("in_documents", "is_causal", "window"),
    [
        (False, True, None),
        (False, False, None),
        (True, True, None),
        (True, False, None),
        (False, False, 3),
        (True, False, 3),
        (True, True, 5),
    ],
)


@every_mask
def test_a_mask_says_who_sees_whom(in_documents: bool, is_causal: bool, window: int | None) -> None:
    found = mask_of(in_documents, is_causal, window)
    if not in_documents and window is None:
        assert found is None
        return
    assert isinstance(found, Tensor)
    assert torch.equal(found.expand(len(LENGTHS), 1, TOKENS, TOKENS)[:, 0], seen(in_documents, is_causal, window))


def test_a_window_is_as_wide_as_that_of_transformers() -> None:
    config = ModernBertConfig(local_attention=8, attn_implementation="sdpa")
    theirs = create_bidirectional_sliding_window_mask(config, torch.zeros(1, TOKENS, 4), None)
    assert torch.equal(theirs, mask_of(False, False, config.sliding_window))


def test_making_a_mask_never_waits_for_a_gpu() -> None:
    with HostWaits() as waits:
        for in_blocks in (False, True):
            mask_of(True, True, None, in_blocks)
            mask_of(False, False, 3, in_blocks)
    assert waits.places == []


@pytest.mark.parametrize(
    ("device", "dropout", "head_size", "is_there", "expected"),
    [
        ("cuda", 0.0, 64, True, True),
        ("cpu", 0.0, 64, True, False),
        ("cuda", 0.1, 64, True, False),
        ("cuda", 0.0, 8, True, False),
        ("cuda", 0.0, 64, False, False),
    ],
)
def test_blocks_need_a_gpu_triton_and_no_dropout(
    device: str, dropout: float, head_size: int, is_there: bool, expected: bool
) -> None:
    with patch("apollo_ds.models.masks.find_spec", lambda name: name if is_there else None):
        assert takes_blocks(torch.device(device), dropout, head_size) == expected


class Layer(nn.Module):
    """A layer as `attention` sees it."""

    def __init__(self, is_causal: bool) -> None:
        super().__init__()
        self.is_causal = is_causal


def inputs(heads: int, shared: int) -> list[Tensor]:
    """Query, key and value in fp64, laid out as transformers does."""
    random = torch.Generator().manual_seed(heads)
    sizes = [(len(LENGTHS), TOKENS, count, HEAD) for count in (heads, shared, shared)]
    return [torch.randn(size, generator=random, dtype=torch.float64).transpose(1, 2) for size in sizes]


def outcome(result: Tensor, given: list[Tensor]) -> list[Tensor]:
    """The result and the gradients of a weighted sum of it, in fp64."""
    weights = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view(result.shape)
    gradients = torch.autograd.grad((result.double() * weights).sum(), given)
    return [tensor.detach().double() for tensor in (result, *gradients)]


def formula(query: Tensor, key: Tensor, value: Tensor, sees: Tensor) -> Tensor:
    """Attention head by head, without a trick."""
    sharing = query.shape[1] // key.shape[1]
    heads = []
    for head in range(query.shape[1]):
        scores = query[:, head] @ key[:, head // sharing].transpose(1, 2) / HEAD**0.5
        heads.append(scores.masked_fill(~sees, -torch.inf).softmax(dim=2) @ value[:, head // sharing])
    return torch.stack(heads, dim=2)


@every_mask
@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (4, 2), (6, 2), (3, 1)])
@pytest.mark.parametrize("path", ["fused", "fused in bf16", "products", "blocks"])
def test_attention_is_the_formula_s(
    path: str, heads: int, shared: int, in_documents: bool, is_causal: bool, window: int | None
) -> None:
    in_blocks, half = path == "blocks", path in ("fused in bf16", "products")
    mask = mask_of(in_documents, is_causal, window, in_blocks)
    if in_blocks and mask is None:
        pytest.skip("nothing to put in blocks")
    assert isinstance(mask, BlockMask) == in_blocks
    exact = [tensor.bfloat16().double() if half else tensor for tensor in inputs(heads, shared)]
    given = [tensor.to(torch.bfloat16 if half else torch.float32).requires_grad_() for tensor in exact]
    with flex_on_a_cpu(), patch.object(paths, "_LONGEST_BY_PRODUCTS", TOKENS if path == "products" else 0):
        found = outcome(attention(Layer(is_causal), *given, mask)[0], given)
    leaves = [tensor.requires_grad_() for tensor in exact]
    expected = outcome(formula(*leaves, seen(in_documents, is_causal, window)), leaves)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert float((ours - theirs).norm() / theirs.norm()) < (1e-2 if half else 1e-6)


def test_more_kinds_of_kernels_are_compiled_than_pytorch_usually_would() -> None:
    """One for each kind of mask, and with and without gradients; two for different numbers of samples and of tokens."""
    torch.compiler.reset()
    counter = CompileCounter()
    with patch.object(torch, "compile", partial(torch.compile, backend=counter)):
        flex = paths.compiled_flex_attention.__wrapped__()
    with flex_on_a_cpu():
        for batch, tokens, window, trains in product((2, 3), (128, 256), (None, 8), (True, False)):
            places = torch.arange(tokens).remainder(50).expand(batch, tokens)
            mask = attention_mask(places, places, is_causal=True, window=window, in_blocks=True)
            given = torch.randn(batch, 2, tokens, HEAD, requires_grad=trains)
            with torch.set_grad_enabled(trains):
                flex(given, given, given, block_mask=mask)
    assert 8 < counter.frame_count < paths._MOST_KERNELS


def test_products_copy_no_shared_keys() -> None:
    given = [tensor.bfloat16() for tensor in inputs(6, 2)]
    with patch.object(Tensor, "repeat_interleave", side_effect=AssertionError("copies")):
        attention(Layer(True), *given, mask_of(True, True, None))
        with pytest.raises(AssertionError, match="copies"):
            attention(Layer(True), *(tensor.float() for tensor in given), mask_of(True, True, None))
