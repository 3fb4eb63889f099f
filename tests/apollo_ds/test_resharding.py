"""One training state, whatever it was saved under: other ZeRO stages, rank counts, precisions, and many rebuilds."""

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from corpora import corpus
from ranks import pool
from recipes import tiny, zero
from test_engine import offload, train, whole_state

from apollo_ds.checkpoint import save as checkpoint
from apollo_ds.checkpoint.position import Course, Memory, Position
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.growth.between_stages import growth_between
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import build
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.totals import Totals

SAVED_AT, MORE = 6, 20


def engine_for(recipe: Recipe, stage: int, processes: Processes, seed: int = 1) -> Engine:
    return Engine(build(recipe.model, recipe.schedule().stages[stage].unique_layers, seed), recipe, processes)


def growth_into(recipe: Recipe, stage: int) -> Any:
    stages = recipe.schedule().stages
    return growth_between(stages[stage - 1], stages[stage], f"model.{FAMILIES[recipe.model.family].blocks}", seed=0)


def save_and_go_on(processes: Processes, recipe: Recipe, folder: Path) -> list[float]:
    """Six steps across a growth, a checkpoint, and the losses of the next twenty."""
    engine = engine_for(recipe, 0, processes)
    train(processes, engine, recipe, range(5))
    state = engine.capture()
    engine.close()
    engine = engine_for(recipe, 1, processes)
    engine.restore(state, growth_into(recipe, 1))
    train(processes, engine, recipe, range(5, SAVED_AT))
    position = Position(Totals(step=SAVED_AT), Course(1, [5, 5, 10]), metrics_bytes=0, memory=Memory())
    checkpoint.save(folder, engine.capture(), position, SideChannel(processes))
    losses = train(processes, engine, recipe, range(SAVED_AT, SAVED_AT + MORE))
    engine.close()
    return losses


def load_and_go_on(processes: Processes, recipe: Recipe, folder: Path) -> tuple[bool, list[float]]:
    """Whether the loaded state equals the saved one to the bit, and the losses of the next twenty steps."""
    engine = engine_for(recipe, 1, processes, seed=2)
    saved = SavedState(folder / f"step-{SAVED_AT}")
    engine.restore(saved)
    loaded = whole_state(processes, engine)
    expected = {
        f"{name}/{key}": saved.gather(name, key, torch.device("cpu"))
        for name in saved.names()
        for key in saved.counters.tensors
    }
    equal = loaded.keys() == expected.keys() and all(torch.equal(loaded[key], expected[key]) for key in expected)
    losses = train(processes, engine, recipe, range(SAVED_AT, SAVED_AT + MORE))
    engine.close()
    return equal, losses


EVERYWHERE = [(1, 0), (1, 2), (1, 3), (2, 0), (2, 2), (2, 3), (4, 0), (4, 1), (4, 2), (4, 3)]
"""Numbers of ranks and ZeRO stages."""


@pytest.mark.parametrize(("moments", "places"), [("map", [(1, 0), (2, 3), (4, 1)]), ("zero_new", EVERYWHERE)])
def test_a_state_saved_on_two_ranks_continues_everywhere(
    moments: str, places: list[tuple[int, int]], tmp_path: Path
) -> None:
    method = {"name": "apollo", "layers": [3, 6], "grow_at": [0.25], "moments": moments}
    recipe = tiny("gpt2", "unused", method=method, steps=40, deepspeed=zero(1))
    reference = torch.tensor(pool(2).run(save_and_go_on, recipe, tmp_path)[0])
    for world_size, stage in places:
        other = recipe.model_copy(update={"deepspeed": zero(stage), "micro_batch_size": 2})
        equal, losses = pool(world_size).run(load_and_go_on, other, tmp_path)[0]
        assert equal, (world_size, stage)
        assert torch.allclose(torch.tensor(losses), reference, atol=1e-5, rtol=0), (world_size, stage)


@pytest.mark.parametrize("configuration", [zero(0, "bf16"), zero(2, "bf16"), offload(2), offload(3)])
def test_a_state_saved_in_fp32_loads_exactly_in_other_precisions(configuration: Any, tmp_path: Path) -> None:
    method = {"name": "apollo", "layers": [3, 6], "grow_at": [0.25]}
    recipe = tiny("bert", "unused", method=method, steps=40)
    reference = torch.tensor(pool(2).run(save_and_go_on, recipe, tmp_path)[0])
    other = recipe.model_copy(update={"deepspeed": configuration})
    equal, losses = pool(2).run(load_and_go_on, other, tmp_path)[0]
    assert equal
    assert torch.allclose(torch.tensor(losses), reference, atol=0.05)


def rebuild_often(processes: Processes, recipe: Recipe, times: int) -> list[int]:
    """Resident memory after each of so many rebuilds."""
    engine = engine_for(recipe, 0, processes)
    sizes = []
    for step in range(times):
        train(processes, engine, recipe, range(step, step + 1))
        state = engine.capture()
        engine.close()
        engine = engine_for(recipe, 0, processes)
        engine.restore(state)
        del state
        gc.collect()
        sizes.append(psutil.Process().memory_info().rss)
    engine.close()
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 3])
def test_rebuilds_leave_no_memory_behind(stage: int) -> None:
    shape = ModelShape(
        family="bert",
        num_layers=6,
        hidden_size=192,
        num_heads=3,
        intermediate_size=768,
        vocab_size=corpus("bert").vocab_size,
        max_position_embeddings=32,
    )
    method = {"name": "scratch"}
    recipe = tiny("bert", "unused", model=shape.model_dump(), method=method, deepspeed=zero(stage, "bf16"))
    for sizes in pool(2).run(rebuild_often, recipe, 12):
        assert sizes[-1] < 1.03 * sizes[1], sizes


def left_over(processes: Processes, recipe: Recipe) -> tuple[list[int], list[int], list[bool]]:
    """Process groups and threads after each of three rebuilds, and whether each old engine is gone."""
    groups, threads, gone = [], [], []
    for step in range(3):
        engine = engine_for(recipe, 0, processes)
        train(processes, engine, recipe, range(step, step + 1))
        reference = weakref.ref(engine.deepspeed)
        engine.close()
        gone.append(reference() is None)
        groups.append(len(torch.distributed.distributed_c10d._world.pg_map))
        threads.append(threading.active_count())
    return groups, threads, gone


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_an_engine_taken_down_leaves_nothing(stage: int) -> None:
    recipe = tiny("bert", "unused", method="scratch", deepspeed=zero(stage, "bf16"))
    for groups, threads, gone in pool(2).run(left_over, recipe):
        assert groups[-1] == groups[0]
        assert threads[-1] == threads[0]
        assert all(gone)
