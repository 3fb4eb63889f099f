"""Every number of ranks with every ZeRO stage, and many rebuilds: what a landing proves for a few of them."""

from itertools import product
from math import nan
from pathlib import Path

import pytest
import torch
from corpora import corpus
from places import assert_places_agree
from poison import assert_poison_changes_nothing
from ranks import pool
from rebuilding import (
    CONFIGURATIONS,
    load_and_go_on,
    rebuild_often,
    save_and_go_on,
    train_and_perhaps_rebuild,
)
from recipes import tiny, zero
from runs import losses, train, train_in_chunks

MORE = 20
EVERYWHERE = [(1, 0), (1, 2), (1, 3), (2, 0), (2, 2), (2, 3), (4, 0), (4, 1), (4, 2), (4, 3)]
"""Numbers of ranks and ZeRO stages."""


@pytest.mark.parametrize("moments", ["map", "zero_new"])
def test_a_state_saved_on_two_ranks_continues_everywhere(moments: str, tmp_path: Path) -> None:
    method = {"name": "apollo", "layers": [3, 6], "grow_at": [0.25], "moments": moments}
    recipe = tiny("gpt2", "unused", method=method, steps=40, deepspeed=zero(1))
    reference = torch.tensor(pool(2).run(save_and_go_on, recipe, tmp_path, MORE)[0])
    for world_size, stage in EVERYWHERE:
        other = recipe.model_copy(update={"deepspeed": zero(stage), "micro_batch_size": 2})
        equal, losses = pool(world_size).run(load_and_go_on, other, tmp_path, MORE)[0]
        assert equal, (world_size, stage)
        assert torch.allclose(torch.tensor(losses), reference, atol=1e-5, rtol=0), (world_size, stage)


@pytest.mark.parametrize("stage", [1, 3])
def test_many_rebuilds_leave_no_memory_behind(stage: int) -> None:
    shape = tiny("bert", "unused").model.model_copy(
        update={"hidden_size": 192, "num_heads": 3, "intermediate_size": 768, "vocab_size": corpus("bert").vocab_size}
    )
    deepspeed = zero(stage, "bf16")
    recipe = tiny("bert", "unused", model=shape.model_dump(), method="scratch", deepspeed=deepspeed)
    for sizes in pool(2).run(rebuild_often, recipe, 12):
        assert sizes[-1] < 1.03 * sizes[1], sizes


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_identity_growth_is_exact(configuration: str, world_size: int) -> None:
    method = {"name": "apollo", "layers": [3, 6], "grow_at": [0.9]}
    recipe = tiny("bert", "unused", method=method, deepspeed=CONFIGURATIONS[configuration])
    (plain, plain_state), (rebuilt, rebuilt_state) = (
        pool(world_size).run(train_and_perhaps_rebuild, recipe, rebuild)[0] for rebuild in (False, True)
    )
    assert plain == rebuilt
    for name, tensor in plain_state.items():
        assert torch.equal(tensor, rebuilt_state[name]), name


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_zero_stages_and_rank_counts_agree_across_growth(family: str, tmp_path: Path) -> None:
    assert_places_agree(family, [*product((1, 2), range(4))], tmp_path, steps=50)


@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_poisoned_loss_on_one_rank_leaves_all_ranks_as_they_were(stage: int, precision: str) -> None:
    assert_poison_changes_nothing(stage, precision, nan)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize(("stage", "precision"), [(3, "fp32"), (1, "bf16")])
def test_an_engine_trains_alike_with_logits_in_chunks(stage: int, precision: str, family: str, tmp_path: Path) -> None:
    at_once, in_chunks = (
        tiny(family, tmp_path / name, steps=12, micro_batch_size=8, deepspeed=zero(stage, precision))
        for name in ("at once", "in chunks")
    )
    pool(2).run(train, at_once)
    pool(2).run(train_in_chunks, in_chunks)
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    assert torch.allclose(torch.tensor(losses(in_chunks)), torch.tensor(losses(at_once)), atol=tolerance, rtol=0)
