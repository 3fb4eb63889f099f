"""Functions that ranks of a pool run, to report the state that a rank holds after it has loaded a saved model."""

from pathlib import Path

import torch
from engines import train_steps, whole_state

from apollo_ds.checkpoint.hf_state import HfState
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.source_model import read_model
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.restore import load
from apollo_ds.models.pretraining import skeleton


def load_and_train(processes: Processes, recipe: Recipe, folder: Path) -> tuple[dict[str, bool], list[float]]:
    """Whether each tensor of the engine's state is that of the files, and losses of two steps from there."""
    state = HfState.open(read_model(str(folder)))
    engine = Engine(
        skeleton(recipe.model, recipe.model.num_layers), recipe.engine_options(processes.world_size), processes
    )
    load(engine, state)
    held = whole_state(processes, engine)
    equal = {
        f"{name}/{tensor}": torch.equal(held[f"{name}/{tensor}"], state.gather(name, tensor, processes.device))
        for name in state.names()
        for tensor in state.counters.tensors
    }
    state.close()
    losses = train_steps(processes, engine, recipe, range(2))
    engine.close()
    return equal, losses
