"""Build the engine of a stage, and grow it into the engine of the next stage."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from apollo_ds.config.deepspeed import with_buckets
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine import restore
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.hardware import peak_memory_bytes, reset_peak_memory
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.stage_model import build_for
from apollo_ds.growth.transition import growth_into, needs_initial_values
from apollo_ds.growth.weights_and_moments import Growth
from apollo_ds.models.depth_scale import block_epsilon_factor, block_learning_rate_factor
from apollo_ds.models.sample_parts import SampleParts
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
        """The ZeRO stage of each stage of the schedule."""
        return zero_stages(self.recipe, schedule.stages, self.processes.world_size)

    @cached_property
    def parts(self) -> SampleParts | None:
        """The part of each sample that this rank computes; None if ranks share no samples.

        At the first use all ranks must call it together.
        """
        return self.processes.sharing(self.recipe.sequence_parallel)

    def build(self, schedule: Schedule, number: int, initialised: bool) -> Engine:
        """Build the engine of a stage. If it is not `initialised`, fill it from a state afterwards."""
        stage, zero = schedule.stages[number], self.zero_stages(schedule)[number]
        model = build_for(
            stage,
            rises=schedule.rises(number),
            activation_checkpointing=self.recipe.activation_checkpointing,
            compile_blocks=self.recipe.compile_blocks,
        )
        model.share_samples(self.parts)
        if self.recipe.compile_blocks and not stage.learned_growth:
            self.say("compiling the layers as they first run, which may take seconds to minutes")
        options = under_zero(self.recipe, zero).engine_options(self.processes.world_size)
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        depth = stage.evaluation_depth
        options = replace(
            options,
            deepspeed=with_buckets(options.deepspeed, trained),
            block_lr_factor=block_learning_rate_factor(stage.shape, depth),
            block_epsilon_factor=block_epsilon_factor(stage.shape, depth),
        )
        seed = self.recipe.seed if initialised or needs_initial_values(stage) else None
        return Engine(model, options, self.processes, seed)

    def grow(self, engine: Engine, schedule: Schedule, old: int, new: int) -> tuple[Engine, dict[str, Any]]:
        """Grow the training state into the new stage's engine, and close the old engine.

        Returns:
            The new engine, and the record of the growth for metrics.jsonl.
        """
        started = time.perf_counter()
        before, after = schedule.stages[old], schedule.stages[new]
        growth = growth_into(after, before, self.recipe.seed)
        reset_peak_memory(self.processes.device)
        state = engine.capture()
        engine.close()
        engine = self.build(schedule, new, initialised=False)
        restore.grow(engine, state, growth)
        peak = peak_memory_bytes(self.processes.device)
        reset_peak_memory(self.processes.device)  # later peaks belong to the new stage
        return engine, {
            "from": before.unique_layers,
            "to": after.unique_layers,
            "map": list(growth.depth.layer_map) if isinstance(growth, Growth) else None,
            "map_name": _name_of_growth(before, after),
            "new_layers": None if before.learned_growth or after.learned_growth else after.growth.new_layers,
            "zero_stage": self.zero_stages(schedule)[new],
            "seconds": time.perf_counter() - started,
            "peak_memory_bytes": peak,
        }


def _name_of_growth(old: Stage, new: Stage) -> str:
    learned = new.learned_growth or old.learned_growth
    if learned:
        return learned.operator
    return new.growth.layer_map if old.unique_layers else f"{new.growth.new_layers} layers"
