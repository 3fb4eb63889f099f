"""One training state, whatever it was saved under: other ZeRO stages, rank counts and precisions."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from engines import offload
from ranks import pool
from rebuilding import load_and_go_on, save_and_go_on
from recipes import tiny, zero

from apollo_ds.config.recipe import Recipe

MORE = 8


class Saved(NamedTuple):
    """A checkpoint of two ranks under ZeRO 1 in fp32, and the losses of the steps that followed there."""

    recipe: Recipe
    folder: Path
    losses: torch.Tensor


@pytest.fixture(scope="module", params=[("map", "adamw"), ("zero_new", "adamw"), ("zero_new", "muon")])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return save("gpt2", *request.param, tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module", params=["adamw", "muon"])
def saved_in_fp32(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return save("bert", "map", request.param, tmp_path_factory.mktemp("saved"))


def save(family: str, moments: str, optimizer: str, folder: Path) -> Saved:
    method = {"name": "apollo", "layers": [3, 6], "grow_at": [0.25], "moments": moments}
    recipe = tiny(family, "unused", method=method, optimizer=optimizer, steps=40, deepspeed=zero(1))
    return Saved(recipe, folder, torch.tensor(pool(2).run(save_and_go_on, recipe, folder, MORE)[0]))


@pytest.mark.parametrize(("world_size", "stage"), [(1, 3), (2, 0)])
def test_a_state_saved_on_two_ranks_continues_elsewhere(saved: Saved, world_size: int, stage: int) -> None:
    other = saved.recipe.model_copy(update={"deepspeed": zero(stage), "micro_batch_size": 2})
    equal, losses = pool(world_size).run(load_and_go_on, other, saved.folder, MORE)[0]
    assert equal
    assert torch.allclose(torch.tensor(losses), saved.losses, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "configuration",
    [zero(0, "bf16"), zero(2, "bf16"), offload(2), offload(3)],
    ids=["zero0-bf16", "zero2-bf16", "zero2-offload", "zero3-offload"],
)
def test_a_state_saved_in_fp32_loads_exactly_in_other_precisions(configuration: Any, saved_in_fp32: Saved) -> None:
    other = saved_in_fp32.recipe.model_copy(update={"deepspeed": configuration})
    equal, losses = pool(2).run(load_and_go_on, other, saved_in_fp32.folder, MORE)[0]
    assert equal
    assert torch.allclose(torch.tensor(losses), saved_in_fp32.losses, atol=0.05)
