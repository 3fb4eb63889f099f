"""Noise that tells copies apart."""

from pathlib import Path

import torch
from ranks import pool
from recipes import tiny
from runs import events, losses, train

LAYERS = {"name": "apollo", "layers": [1, 3, 6], "grow_at": [0.25, 0.5]}


def test_a_noisy_growth_is_the_same_on_any_ranks(tmp_path: Path) -> None:
    method = {**LAYERS, "noise": 0.5}
    curves = []
    for ranks in (1, 2):
        recipe = tiny("gpt2", tmp_path / str(ranks), method=method)
        pool(ranks).run(train, recipe)
        curves.append(torch.tensor(losses(recipe)))
        assert all(growth["loss_before"] != growth["loss_after"] for growth in events(recipe, "growth"))
    assert torch.allclose(*curves, atol=1e-4, rtol=0)
