"""Runs whose layers and lengths grow, and hashes of the samples that each rank reads."""

import hashlib
from pathlib import Path
from typing import Literal

from recipes import tiny

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.text import Text
from apollo_ds.methods import Method, Run
from apollo_ds.models.pretraining import Batch
from apollo_ds.planning.micro_batch import micro_batch_of
from apollo_ds.schedule.depth import SAMPLERS
from apollo_ds.schedule.stage import Stage

STEPS_A_STAGE = 3
STAGES = ((1, 8), (3, 16), (6, 32))


class Lengthening(Method):
    """More layers and longer samples from stage to stage."""

    name: Literal["lengthening"] = "lengthening"

    def stages(self, run: Run) -> list[Stage]:
        return [
            Stage(
                method=self.name,
                steps=STEPS_A_STAGE,
                shape=run.shape,
                unique_layers=layers,
                seq_len=seq_len,
                depth_distribution=SAMPLERS["none"](layers, layers),
                layer_map="interpolate",
            )
            for layers, seq_len in STAGES
        ]


def recipe_of(family: str, out: Path, micro_batch_size: int) -> Recipe:
    steps = STEPS_A_STAGE * len(STAGES)
    recipe = tiny(family, out, steps=steps, micro_batch_size=micro_batch_size, eval_every=steps, save_every=steps)
    return recipe.model_copy(update={"method": Lengthening()})


def digests(batches: list[Batch]) -> list[str]:
    """A hash of each sample's inputs, scored positions and labels."""
    rows = [row for batch in batches for row in zip(*batch, strict=True)]
    return [hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in row)).hexdigest() for row in rows]


def joined(of_ranks: list[list[list[str]]]) -> list[list[str]]:
    """Each step's hashes, of all ranks in their order."""
    return [[sample for part in parts for sample in part] for parts in zip(*of_ranks, strict=True)]


def read_by(recipe: Recipe, rank: int, ranks: int) -> list[list[str]]:
    """The hashes of what one rank reads at each step."""
    source = BatchSource(Text.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    schedule = recipe.schedule()
    plans = [schedule.at(step) for step in range(schedule.total_steps)]
    micro = [micro_batch_of(recipe, schedule.stages[plan.stage], plan, ranks) for plan in plans]
    batches = [
        source.micro_batches(plan.first_token, plan.seq_len, recipe.global_batch_size, size, rank, ranks)
        for plan, size in zip(plans, micro, strict=True)
    ]
    assert all(len(ids) == size for parts, size in zip(batches, micro, strict=True) for ids, _, _ in parts)
    assert all(len(ids[0]) == plan.seq_len for parts, plan in zip(batches, plans, strict=True) for ids, _, _ in parts)
    return [digests(parts) for parts in batches]
