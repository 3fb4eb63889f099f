"""A run whose stages train under different ZeRO stages."""

from pathlib import Path

import torch
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train, trained

from apollo_ds.config.recipe import Recipe
from apollo_ds.planning.zero import zero_stages


def stages_of(recipe: Recipe, ranks: int) -> list[int]:
    return zero_stages(recipe, recipe.schedule().stages, ranks)


def test_a_run_whose_stages_differ_trains_alike_and_goes_on_alike(tmp_path: Path) -> None:
    config = zero(3, "bf16")
    alike, whole, cut = (
        tiny("gpt2", tmp_path / name, steps=8, save_every=3, deepspeed=config, zero_by_stage=name != "alike")
        for name in ("alike", "whole", "cut")
    )
    pool(2).run(train, alike)
    pool(2).run(train, whole)
    pool(2).run(train, cut, 4)
    pool(2).run(train, cut)
    under = [event["zero_stage"] for event in (*events(whole, "start"), *events(whole, "growth"))]
    assert under == stages_of(whole, ranks=2)
    assert under[0] < under[-1] == 3
    assert torch.allclose(torch.tensor(losses(whole)), torch.tensor(losses(alike)), atol=2e-2, rtol=0)
    assert trained(cut) == trained(whole)
