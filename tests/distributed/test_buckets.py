"""Gradients are averaged in buckets: as large as is good for the model, and without effect on training."""

from pathlib import Path
from typing import Any

import pytest
from ranks import pool
from recipes import tiny, zero
from runs import losses, train

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.training.growing import StageEngines


def buckets_of(processes: Processes, recipe: Recipe, stage: int) -> tuple[int, bool, int]:
    """What DeepSpeed itself has: elements of a bucket, whether it overlaps with the backward, and all parameters."""
    engine = StageEngines(recipe, processes).build(recipe.schedule(), stage, initialised=True)
    optimizer, trained = engine.deepspeed.optimizer, sum(p.numel() for p in engine.model.parameters())
    engine.close()
    return optimizer.reduce_bucket_size, optimizer.overlap_comm, trained


def overlapping(stage: int, **keys: Any) -> dict[str, Any]:
    config = zero(stage, "bf16")
    return {**config, "zero_optimization": {**config["zero_optimization"], "overlap_comm": True, **keys}}


@pytest.mark.parametrize("zero_stage", [1, 2])
def test_a_model_smaller_than_a_bucket_has_one_and_overlaps_nothing(zero_stage: int) -> None:
    recipe = tiny("gpt2", "unused", deepspeed=overlapping(zero_stage))
    for stage in (0, 2):
        elements, overlaps, trained = pool(2).run(buckets_of, recipe, stage)[0]
        assert (elements, overlaps) == (trained, False)


@pytest.mark.parametrize("zero_stage", [1, 2])
def test_several_buckets_overlap_and_train_alike(zero_stage: int, tmp_path: Path) -> None:
    small = overlapping(zero_stage, reduce_bucket_size=5000)
    several, one = (
        tiny("gpt2", tmp_path / name, steps=8, deepspeed=config)
        for name, config in (("several", small), ("one", overlapping(zero_stage)))
    )
    elements, overlaps, trained = pool(2).run(buckets_of, several, 2)[0]
    assert (elements, overlaps) == (5000, True)
    assert trained > 4 * elements
    for recipe in (several, one):
        pool(2).run(train, recipe)
    assert losses(several) == losses(one)
