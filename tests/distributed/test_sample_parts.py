"""Ranks that share samples (`sequence_parallel`): losses, growth and resuming are those of whole samples."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train

from apollo_ds.config.recipe import Recipe


def run(ranks: int, recipe: Recipe, stop_after: int | None = None) -> Recipe:
    pool(ranks).run(train, recipe, stop_after)
    return recipe


def same(recipe: Recipe, other: Recipe, tolerance: float = 1e-5) -> None:
    for kind, key in (("step", "loss"), ("step", "grad_norm"), ("eval", "loss"), ("growth", "loss_after")):
        ours, theirs = ([event[key] for event in events(one, kind)] for one in (recipe, other))
        print(kind, key, max(abs(a - b) for a, b in zip(ours, theirs, strict=True)))
        assert ours == pytest.approx(theirs, abs=tolerance, rel=0)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_x(family: str, tmp_path: Path) -> None:
    whole = run(2, tiny(family, tmp_path / "whole"))
    parts = run(2, tiny(family, tmp_path / "parts", sequence_parallel=2))
    same(parts, whole)
    print(losses(parts)[-1])
