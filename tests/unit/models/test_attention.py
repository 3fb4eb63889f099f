"""Attention by matrix products is PyTorch's fused attention, but for rounding, and is used only where it is faster."""

from unittest.mock import patch

import pytest
import torch
from batches import FAMILIES, model_and_batch
from torch import Tensor

from apollo_ds.models.attention import ATTENTION
from apollo_ds.models.pretraining import PretrainingModel

FUSED = "torch.nn.functional.scaled_dot_product_attention"


def loss_and_gradients(model: PretrainingModel, batch: tuple[Tensor, ...], implementation: str) -> list[Tensor]:
    model.model.config._attn_implementation = implementation
    loss = model(*batch)
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


@pytest.mark.parametrize("family", FAMILIES)
def test_products_give_what_fused_attention_gives(family: str) -> None:
    model, batch = model_and_batch(family, samples=3)
    precise = loss_and_gradients(model, batch, "sdpa")
    model.bfloat16()
    fused = loss_and_gradients(model, batch, "sdpa")
    with patch(FUSED, side_effect=AssertionError("not by products")):
        products = loss_and_gradients(model, batch, ATTENTION)

    def distance(found: list[Tensor]) -> float:
        """From the gradients in fp32, as a part of them."""
        pairs = zip(found[1:], precise[1:], strict=True)
        squares = [torch.stack([(a.float() - b).square().sum(), b.square().sum()]) for a, b in pairs]
        apart, whole = torch.stack(squares).sum(dim=0).sqrt()
        return float(apart / whole)

    assert float(products[0]) == pytest.approx(float(precise[0]), abs=2e-2)
    assert distance(products) < 1.2 * distance(fused) < 0.1


def test_a_gpu_would_not_have_to_wait_for_a_look_at_the_positions() -> None:
    model, batch = model_and_batch("gpt2", samples=2)
    with patch("transformers.masking_utils.find_packed_sequence_indices", side_effect=AssertionError("looks")):
        model(*batch)


def test_fp32_and_long_samples_and_dropout_use_fused_attention() -> None:
    model, batch = model_and_batch("gpt2", samples=2)
    for expected, actual in zip(
        loss_and_gradients(model, batch, "sdpa"), loss_and_gradients(model, batch, ATTENTION), strict=True
    ):
        assert torch.equal(expected, actual)
    model.bfloat16()
    with patch("apollo_ds.models.attention._LONGEST_BY_PRODUCTS", 31):
        assert model_is_fused(model, batch)
    assert not model_is_fused(model, batch)
    for layer in model.layers.children():
        layer.attn.attn_dropout.p = 0.5
    assert model_is_fused(model, batch)


def model_is_fused(model: PretrainingModel, batch: tuple[Tensor, ...]) -> bool:
    used = []

    def fused(query: Tensor, *_: object, **__: object) -> Tensor:
        used.append(query)
        return query

    with patch(FUSED, fused):
        model(*batch)
    return len(used) == model.unique_layers
