"""No rank holds a whole model to make it or to fill it, and its weights are those of a model that is made whole."""

from dataclasses import replace

import psutil
import pytest
import torch
from engines import whole_state
from ranks import pool
from recipes import tiny, zero
from transformers.initialization import no_init_weights

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.hardware import DTYPES, peak_memory_bytes, reset_peak_memory
from apollo_ds.engine.malloc import keep_freed_memory, return_freed_memory
from apollo_ds.engine.placement import place_weights
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.stage_model import build_for
from apollo_ds.growth.state import joined
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.frozen import Frozen
from apollo_ds.models.pretraining import frozen_names, skeleton

_LAYERS = 3


def differences(processes: Processes, recipe: Recipe, frozen: Frozen) -> list[str]:
    """Which weights of a fresh engine, in which some layers may not train, are not those of `transformers`."""
    stage = replace(recipe.schedule().stages[0], unique_layers=_LAYERS, frozen=frozen)
    options = recipe.engine_options(processes.world_size)
    engine = Engine(build_for(stage), options, processes, seed=5)
    found = whole_state(processes, engine)
    engine.close()
    family = FAMILIES[recipe.model.family]
    config = family.config(recipe.model.model_copy(update={"num_layers": _LAYERS}))
    with no_init_weights(), torch.random.fork_rng():
        whole = family.model_class()(config)
    config.num_hidden_layers = recipe.model.num_layers
    with torch.random.fork_rng():
        torch.manual_seed(5)
        whole.init_weights()
    dtype, is_frozen = DTYPES[options.precision], frozen_names(recipe.model, frozen)
    return [
        name
        for name, value in ((f"model.{name}", value.detach()) for name, value in whole.named_parameters())
        # What trains begins as the low precision has it.
        if not torch.equal(found[f"{name}/weight"], value if is_frozen(name) else value.to(dtype).float())
    ]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_engine_begins_with_the_weights_of_a_model_that_is_made_whole(
    family: str, stage: int, precision: str
) -> None:
    recipe = tiny(family, "unused", method="scratch", deepspeed=zero(stage, precision))
    for frozen in (Frozen(), Frozen((0, 1)), Frozen((0, 2), head=True)):
        assert pool(2).run(differences, recipe, frozen) == [[], []]


def peak_of_placing(processes: Processes, recipe: Recipe, seed: int | None) -> tuple[int, int, int]:
    """Bytes at the peak, of all weights, and of the largest part that is drawn at a time, while a model is placed."""
    model = skeleton(recipe.model, recipe.model.num_layers)
    keep_freed_memory()
    used = [torch.ones(2**20) for _ in range(100)]  # what training leaves: room in which tensors are made
    kept = used[::10]
    del used
    sizes = [parameter.numel() * 4 for parameter in model.parameters()]
    block = sum(parameter.numel() * 4 for parameter in model.layers[0].parameters())
    return_freed_memory()
    before = psutil.Process().memory_info().rss
    reset_peak_memory(processes.device)
    place_weights(model, recipe.engine_options(processes.world_size), processes, seed)
    peak = peak_memory_bytes(processes.device) - before
    del kept
    return peak, sum(sizes), max(block, *sizes)


@pytest.mark.parametrize("seed", [1, None])
def test_under_zero_3_no_rank_holds_the_whole_model(seed: int | None) -> None:
    sizes = {"num_layers": 24, "hidden_size": 512, "num_heads": 8, "intermediate_size": 2048}
    recipe = tiny("gpt2", "unused", method="scratch", deepspeed=zero(3))
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=sizes)})
    for peak, whole, block in pool(2).run(peak_of_placing, recipe, seed):
        assert whole > 300e6  # enough that nothing else counts
        assert peak < 1.1 * whole / 2 + block, (peak, whole, block)


def join_parts(processes: Processes, parts: list[list[int]]) -> list[int]:
    own = torch.tensor(parts[processes.rank], dtype=torch.int32).view(torch.float32)
    start = sum(map(len, parts[: processes.rank]))
    return joined(own, start, sum(map(len, parts)), processes.device).view(torch.int32).tolist()


def test_parts_are_joined_to_the_bit() -> None:
    """A sum of floating-point numbers would lose the sign of -0.0, and what a NaN holds."""
    minus_zero, nan = -(2**31), 0x7FC00123
    parts = [[minus_zero, 5, 0], [nan, -(2**31) + 1]]
    assert pool(2).run(join_parts, parts) == [[number for part in parts for number in part]] * 2
