"""Layers that run on pooled tokens: what they see, what is restored behind them, and what it costs."""

import pytest
import torch
from families import VARIANTS, all_global, batch_of, shape_of
from growths import randomised
from small_models import build
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.models.family import Family
from apollo_ds.models.flops import training_flops
from apollo_ds.models.pooling import PooledTokens
from apollo_ds.models.pretraining import Batch, PretrainingModel

MASKED = {name: family for name, family in VARIANTS.items() if family.is_masked}
every_masked_family = pytest.mark.parametrize("family", MASKED.values(), ids=MASKED)


def pooled_model(family: Family, pool: int, layers: int = 3) -> tuple[PretrainingModel, Batch]:
    of = shape_of(family, layers, width=4, inner=5, vocab_size=311, max_position_embeddings=32, **all_global(family))
    model = randomised(build(of, layers, seed=0))
    model.pool_tokens(pool)
    return model, batch_of(of, family.scored_positions(32))


def test_what_leaves_the_layers_unchanged_is_what_entered() -> None:
    hidden = torch.randn(2, 12, 5)
    tokens = PooledTokens(4)
    means = tokens.enter(hidden)
    assert torch.allclose(means[:, 1], hidden[:, 4:8].mean(dim=1))
    assert torch.allclose(tokens.leave(means), hidden, atol=1e-6)


@every_masked_family
@pytest.mark.parametrize("scales", [(), (0.5, 1.0, 0.5)])
def test_the_layers_see_groups_and_the_head_sees_tokens(family: Family, scales: tuple[float, ...]) -> None:
    model, samples = pooled_model(family, 4)
    seen: list[tuple[int, ...]] = []
    for block in model.layers.children():
        block.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].shape[1], output.shape[1])))
    model.run_in_order((0, 1, 2), scales)
    loss = model(*samples)
    assert seen == [(8, 8)] * 3
    together = (samples[0], torch.tensor([[4, 5, 6]] * 3), samples[2][:, :3])  # of one group
    ids = together[0].clone()
    ids[:, 4:7] = 7
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.layers.parameters())
    label = torch.full((3, 1), 9)
    losses = [model(ids, torch.full((3, 1), place), label).item() for place in (4, 5, 6)]
    if family.name != "modernbert":  # which has no positions but in its attention
        assert len({round(value, 6) for value in losses}) == 3


@every_masked_family
def test_groups_of_one_token_are_the_tokens(family: Family) -> None:
    model, samples = pooled_model(family, 1)
    plain = model(*samples)
    assert not torch.equal(plain, pooled_model(family, 2)[0](*samples))
    assert torch.equal(plain, pooled_model(family, 1)[0](*samples))


@every_masked_family
def test_activations_may_be_checkpointed(family: Family) -> None:
    (plain, samples), (checkpointed, _) = pooled_model(family, 4), pooled_model(family, 4)
    checkpointed.checkpoint_activations()
    for model in (plain, checkpointed.train()):
        model(*samples).backward()
    for (name, one), other in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6), name


@every_masked_family
@pytest.mark.parametrize(("pool", "first_trained"), [(4, 0), (2, 0), (4, 1)])
def test_operations_are_what_the_counter_counts(family: Family, pool: int, first_trained: int) -> None:
    model, samples = pooled_model(family, pool)
    model.model.set_attn_implementation("eager")
    model.run_in_order((0, 1, 2), first_trained=first_trained)
    for name, parameter in model.named_parameters():
        if first_trained and name.startswith(f"model.{family.blocks}.0."):
            parameter.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        model(*samples).backward()
    assert counter.get_total_flops() == training_flops(model.shape, 3, 32, 3, first_trained, pool=pool)
