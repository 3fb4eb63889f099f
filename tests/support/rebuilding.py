"""Engines that are taken down and built again, and states that go from one to another."""

import gc
from pathlib import Path

import psutil
import torch
from engines import offload, train_steps, whole_state
from recipes import zero

from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.progress import Course, LossMemory, Progress
from apollo_ds.checkpoint.save import save_checkpoint
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.restore import grow, load
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.growth.transition import growth_into
from apollo_ds.growth.weights_and_moments import no_growth
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import skeleton
from apollo_ds.schedule.totals import Totals

SAVED_AT = 6


def engine_for(recipe: Recipe, stage: int, processes: Processes, seed: int = 1) -> Engine:
    """The engine of a stage, with weights from a seed."""
    model = skeleton(recipe.model, recipe.schedule().stages[stage].unique_layers)
    return Engine(model, recipe.engine_options(processes.world_size), processes, seed)


def save_and_go_on(processes: Processes, recipe: Recipe, folder: Path, more: int) -> list[float]:
    """Six steps across a growth, a checkpoint, and the losses of some more steps."""
    engine = engine_for(recipe, 0, processes)
    train_steps(processes, engine, recipe, range(5))
    state = engine.capture()
    engine.close()
    engine = engine_for(recipe, 1, processes)
    before, after = recipe.schedule().stages
    grow(engine, state, growth_into(after, before, seed=0))
    train_steps(processes, engine, recipe, range(5, SAVED_AT))
    progress = Progress(
        Totals(step=SAVED_AT), Course(1, [5, 15]), metrics_bytes=0, metrics_hash="", memory=LossMemory()
    )
    save_checkpoint(folder, engine.capture(), progress, "run", SideChannel(processes))
    losses = train_steps(processes, engine, recipe, range(SAVED_AT, SAVED_AT + more))
    engine.close()
    return losses


def load_and_go_on(processes: Processes, recipe: Recipe, folder: Path, more: int) -> tuple[bool, list[float]]:
    """Whether the loaded state equals the saved one to the bit, and the losses of some more steps."""
    engine = engine_for(recipe, 1, processes, seed=2)
    saved = SavedState(verify(folder / f"step-{SAVED_AT}"))
    load(engine, saved)
    read = float(processes.sum(torch.tensor(float(saved.bytes_read), dtype=torch.float64)))
    assert read <= sum(path.stat().st_size for path in saved.folder.glob("rank-*"))  # whatever the number of ranks
    loaded = whole_state(processes, engine)
    expected = {
        f"{name}/{key}": saved.gather(name, key, torch.device("cpu"))
        for name in saved.names()
        for key in saved.counters.tensors
    }
    equal = loaded.keys() == expected.keys() and all(torch.equal(loaded[key], expected[key]) for key in expected)
    losses = train_steps(processes, engine, recipe, range(SAVED_AT, SAVED_AT + more))
    engine.close()
    return equal, losses


def rebuild_often(processes: Processes, recipe: Recipe, times: int) -> list[int]:
    """Resident memory after each of so many rebuilds."""
    engine = engine_for(recipe, 0, processes)
    sizes = []
    for step in range(times):
        train_steps(processes, engine, recipe, range(step, step + 1))
        state = engine.capture()
        engine.close()
        engine = engine_for(recipe, 0, processes)
        grow(engine, state, no_growth(3, f"model.{FAMILIES[recipe.model.family].blocks}", recipe.model.family))
        del state
        gc.collect()
        sizes.append(psutil.Process().memory_info().rss)
    engine.close()
    return sizes


def train_and_perhaps_rebuild(
    processes: Processes, recipe: Recipe, rebuild: bool
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Three steps, perhaps a growth from 3 to 3 layers, five more steps."""
    engine = Engine(skeleton(recipe.model, 3), recipe.engine_options(processes.world_size), processes, seed=1)
    losses = train_steps(processes, engine, recipe, range(3))
    if rebuild:
        state = engine.capture()
        engine.close()
        engine = Engine(skeleton(recipe.model, 3), recipe.engine_options(processes.world_size), processes, seed=2)
        grow(engine, state, no_growth(3, f"model.{FAMILIES[recipe.model.family].blocks}", recipe.model.family))
    losses += train_steps(processes, engine, recipe, range(3, 8))
    result = whole_state(processes, engine)
    engine.close()
    return losses, result


CONFIGURATIONS = {
    **{f"zero{stage}-{precision}": zero(stage, precision) for stage in range(4) for precision in ("fp32", "bf16")},
    "zero1-bf16-fp32-accumulation": {**zero(1, "bf16"), "data_types": {"grad_accum_dtype": "fp32"}},
    "zero2-offload": offload(2),
    "zero3-offload": offload(3),
}
