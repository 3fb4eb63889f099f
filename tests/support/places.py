"""The same run in other places: numbers of ranks, each under a ZeRO stage."""

from pathlib import Path

import torch
from ranks import pool
from recipes import tiny, zero
from runs import losses, train


def assert_places_agree(family: str, places: list[tuple[int, int]], folder: Path, steps: int) -> None:
    """Train through two growths in each place, which is a number of ranks and a ZeRO stage; the losses are equal."""
    curves = {}
    for world_size, stage in places:
        recipe = tiny(family, folder / f"{world_size}-{stage}", steps=steps, save_every=steps, deepspeed=zero(stage))
        pool(world_size).run(train, recipe)
        curves[world_size, stage] = torch.tensor(losses(recipe))
    reference = curves[places[0]]
    assert len(reference) == steps
    assert reference[-1] < reference[0] - 0.5
    for place, curve in curves.items():
        assert torch.allclose(curve, reference, atol=1e-4, rtol=0), place
