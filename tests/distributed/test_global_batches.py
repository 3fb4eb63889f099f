"""What engines are fed: the same global batches for any ranks and accumulation, while layers and lengths grow."""

from pathlib import Path
from typing import Any

import pytest
from lengthening import digests, joined, read_by, recipe_of
from ranks import pool
from recipes import tiny
from runs import events, train

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import Batch


def test_the_held_out_loss_does_not_depend_on_ranks_that_do_not_divide_the_samples(tmp_path: Path) -> None:
    losses = []
    for ranks in (1, 2):
        recipe = tiny("gpt2", tmp_path / str(ranks), method="scratch", steps=1, eval_samples=5)
        pool(ranks).run(train, recipe)
        losses.append(events(recipe, "eval")[-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


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
