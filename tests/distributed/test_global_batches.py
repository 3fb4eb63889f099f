"""What engines are fed: the same global batches for any ranks and accumulation, while layers and lengths grow."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import pytest
from ranks import pool
from recipes import tiny
from runs import events, train

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.methods._base import Method, Run
from apollo_ds.models.pretraining import Batch
from apollo_ds.planning.micro_batch import micro_batch_of
from apollo_ds.schedule.depth import SAMPLERS
from apollo_ds.schedule.stage import Stage


def test_the_held_out_loss_does_not_depend_on_ranks_that_do_not_divide_the_samples(tmp_path: Path) -> None:
    losses = []
    for ranks in (1, 2):
        recipe = tiny("gpt2", tmp_path / str(ranks), method="scratch", steps=1, eval_samples=5)
        pool(ranks).run(train, recipe)
        losses.append(events(recipe, "eval")[-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


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
    source = BatchSource(Corpus.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
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


def fed(processes: Processes, recipe: Recipe) -> list[list[str]]:
    """Train, and return the hashes of what this rank's engine was given at each step."""
    steps: list[list[str]] = []
    train_step = Engine.train_step

    def record(self: Engine, batches: list[Batch], *how: Any) -> Any:
        steps.append(digests(batches))
        return train_step(self, batches, *how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "train_step", record)
        train(processes, recipe)
    return steps


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_engines_are_fed_these_batches(ranks: int, family: str, tmp_path: Path) -> None:
    recipe = recipe_of(family, tmp_path, micro_batch_size=2)
    whole = read_by(recipe, rank=0, ranks=1)
    assert joined(pool(ranks).run(fed, recipe)) == whole
