"""The engine of a stage: made for it, filled from a state, and grown into the next stage's."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from apollo_ds.config.deepspeed import precision, with_buckets
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.hardware import DTYPES, peak_memory_bytes, reset_peak_memory
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.stage_model import build_for
from apollo_ds.growth.transition import growth_into, needs_initial_values
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.planning.zero import under_zero, zero_stages
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import Stage


@dataclass(frozen=True)
class StageEngines:
    """Makes the engine of each stage of a recipe on this rank."""

    recipe: Recipe
    processes: Processes
    say: Callable[[str], None] = lambda line: None

    def zero_stages(self, schedule: Schedule) -> list[int]:
        """The ZeRO stage that each stage trains under."""
        return zero_stages(self.recipe, schedule.stages, self.processes.world_size)

    def build(self, schedule: Schedule, number: int, initialised: bool) -> Engine:
        """The engine of a stage; if it is not `initialised`, it is to be filled from a state."""
        stage, zero = schedule.stages[number], self.zero_stages(schedule)[number]
        seed = self.recipe.seed if initialised or needs_initial_values(stage) else None
        is_filled = seed is None
        # Weights that are to be filled need not be copied from the host. Under ZeRO 3 a GPU may not hold them all.
        place = self.processes.device if is_filled and zero < 3 else torch.device("cpu")
        with place, _default_dtype(DTYPES[precision(self.recipe.deepspeed)] if is_filled else torch.float32):
            model = build_for(
                stage,
                seed,
                activation_checkpointing=self.recipe.activation_checkpointing,
                compile_blocks=self.recipe.compile_blocks,
            )
        if self.recipe.compile_blocks and not stage.learned_growth:
            self.say("[bold]  compile[/] the layers as they first run, which may take seconds to minutes")
        options = under_zero(self.recipe, zero).engine_options(self.processes.world_size)
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        return Engine(model, replace(options, deepspeed=with_buckets(options.deepspeed, trained)), self.processes)

    def grow(self, engine: Engine, schedule: Schedule, old: int, new: int) -> tuple[Engine, dict[str, Any]]:
        """The new stage's engine, with the training state carried over, and what is recorded of it.

        The old engine is closed.
        """
        started = time.perf_counter()
        before, after = schedule.stages[old], schedule.stages[new]
        growth = growth_into(after, before, self.recipe.seed)
        reset_peak_memory(self.processes.device)
        state = engine.capture()
        engine.close()
        engine = self.build(schedule, new, initialised=False)
        engine.restore(state, growth)
        peak = peak_memory_bytes(self.processes.device)
        reset_peak_memory(self.processes.device)  # what is recorded from now on is the stage's own
        return engine, {
            "from": before.unique_layers,
            "to": after.unique_layers,
            "map": list(growth.depth.layer_map) if isinstance(growth, Growth) else None,
            "map_name": _name_of_growth(before, after),
            "zero_stage": self.zero_stages(schedule)[new],
            "seconds": time.perf_counter() - started,
            "peak_memory_bytes": peak,
        }


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make weights in the number format in which DeepSpeed will have them: so it makes no copy of them first.

    It is one for all threads, none of which makes tensors of a format that is not named.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _name_of_growth(old: Stage, new: Stage) -> str:
    learned = new.learned_growth or old.learned_growth
    return learned.operator if learned else new.growth.layer_map
