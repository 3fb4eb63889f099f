"""Ranks that share samples (`sequence_parallel`), or weights within groups (hpZ), train as ranks that do not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from runs import events, train
from torch import nn

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.models.attention import attention
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.masks import attention_mask

SHORT: dict[str, Any] = {"steps": 12, "save_every": 3, "eval_every": 6}


def run(ranks: int, recipe: Recipe, stop_after: int | None = None) -> Recipe:
    pool(ranks).run(train, recipe, stop_after)
    return recipe


def assert_trained_alike(recipe: Recipe, other: Recipe, tolerance: float) -> None:
    for kind, key in (("step", "loss"), ("step", "grad_norm"), ("eval", "loss"), ("growth", "loss_after")):
        ours, theirs = ([event[key] for event in events(one, kind)] for one in (recipe, other))
        assert ours
        assert ours == pytest.approx(theirs, abs=tolerance, rel=0), (kind, key)
    for event in events(recipe, "growth"):
        assert event["loss_after"] == pytest.approx(event["loss_before"], abs=1e-6)


@pytest.mark.parametrize(
    ("family", "changes", "tolerance"),
    [
        ("bert", {"deepspeed": zero(1)}, 1e-5),
        ("gpt2", {"deepspeed": zero(3), "activation_checkpointing": True}, 1e-5),
        ("gpt2", {"deepspeed": zero(1, "bf16")}, 2e-2),
    ],
    ids=["masked", "causal-zero3-checkpointed", "bf16"],
)
def test_shared_samples_train_as_whole_ones(
    family: str, changes: dict[str, Any], tolerance: float, tmp_path: Path
) -> None:
    whole = run(2, tiny(family, tmp_path / "whole", **SHORT, **changes))
    shared = run(2, tiny(family, tmp_path / "shared", **SHORT, **changes, sequence_parallel=2))
    assert_trained_alike(shared, whole, tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_samples_part_documents_as_whole_ones(family: str, tmp_path: Path) -> None:
    whole, shared = (tiny(family, tmp_path / str(n), **SHORT, document_mask=True, sequence_parallel=n) for n in (1, 2))
    assert_trained_alike(run(2, shared), run(2, whole), 1e-5)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_at_another_degree(before: int, after: int, tmp_path: Path) -> None:
    whole = run(2, tiny("bert", tmp_path / "whole", **SHORT))
    cut = run(2, tiny("bert", tmp_path / "cut", **SHORT, sequence_parallel=before), 7)
    run(2, cut.model_copy(update={"sequence_parallel": after}))
    assert_trained_alike(cut, whole, 1e-5)


class Layer(nn.Module):
    """A causal layer as attention sees it."""

    is_causal = True


def distance_from_whole(processes: Processes, shared: int, documents: bool) -> float:
    """How far attention of shared samples is from this rank's part of attention of whole ones, and its gradients."""
    random = torch.Generator().manual_seed(0)
    sizes = [(2, count, 8, 16) for count in (12, shared, shared)]
    whole = [torch.randn(size, generator=random).requires_grad_() for size in sizes]
    parts = processes.sharing(2)
    assert parts is not None
    places = torch.tensor([[0, 1, 2, 0, 1, 0, 1, 2], [0, 1, 2, 3, 4, 5, 0, 1]])
    mask = attention_mask(places, places if documents else None, is_causal=True)
    layer, sharing = Layer(), Layer()
    sharing.sample_parts = parts  # type: ignore[assignment]
    own = [tensor.detach().chunk(2, dim=2)[parts.number].clone().requires_grad_() for tensor in whole]
    result = attention(layer, *whole, mask)[0]
    result.square().sum().backward()
    found = attention(sharing, *own, mask)[0]
    found.square().sum().backward()
    pairs = [(found, parts.own(result))]
    pairs += [(a.grad, b.grad.chunk(2, dim=2)[parts.number]) for a, b in zip(own, whole, strict=True)]
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("shared", [12, 4, 3, 1])
def test_keys_that_heads_share_reach_all_ranks_whether_or_not_these_divide_them(shared: int, documents: bool) -> None:
    assert max(pool(2).run(distance_from_whole, shared, documents)) < 1e-5


def test_weights_copied_within_groups_of_ranks_train_to_the_bit_alike(tmp_path: Path) -> None:
    config = zero(3)
    config["zero_optimization"]["zero_hpz_partition_size"] = 2
    plain = run(2, tiny("gpt2", tmp_path / "plain", **SHORT, deepspeed=zero(3)))
    copied = run(2, tiny("gpt2", tmp_path / "copied", **SHORT, deepspeed=config), 7)
    run(2, copied)
    assert_trained_alike(copied, plain, 0)
