"""Rebuilding the engine around the same training state changes nothing, at every ZeRO stage and precision."""

import pytest
import torch
from ranks import pool
from rebuilding import CONFIGURATIONS, train_and_perhaps_rebuild
from recipes import tiny

ALONE = ("zero0-fp32", "zero3-bf16")
TOGETHER = [name for name in CONFIGURATIONS if name not in ("zero0-bf16", "zero1-fp32", "zero2-bf16", "zero3-fp32")]
"""What one rank trains under, and what two do: each ZeRO stage, and each precision with and without sharding."""
OF_MUON = ("zero0-fp32", "zero0-bf16", "zero1-bf16-fp32-accumulation", "zero2-fp32", "zero3-bf16", "zero3-offload")
"""What two ranks train under with Muon: each way in which DeepSpeed holds the weights that it updates."""


@pytest.mark.parametrize(
    ("family", "optimizer", "configuration", "world_size"),
    [
        *(("bert", "adamw", name, 1) for name in ALONE),
        *(("bert", "adamw", name, 2) for name in TOGETHER),
        *(("gpt2", "muon", name, 2) for name in OF_MUON),
    ],
)
def test_identity_growth_is_exact(family: str, optimizer: str, configuration: str, world_size: int) -> None:
    method = {"name": "apollo", "layers": [3, 6], "grow_at": [0.9]}
    recipe = tiny(family, "unused", method=method, optimizer=optimizer, deepspeed=CONFIGURATIONS[configuration])
    plain, plain_state = pool(world_size).run(train_and_perhaps_rebuild, recipe, False)[0]
    rebuilt, rebuilt_state = pool(world_size).run(train_and_perhaps_rebuild, recipe, True)[0]
    assert plain == rebuilt
    assert plain[-1] < plain[0]
    for name, tensor in plain_state.items():
        assert torch.equal(tensor, rebuilt_state[name]), name
