"""Stages that something has ended before they were done, in branches and in runs with more steps."""

from pathlib import Path
from typing import Any

import pytest
from ranks import pool
from recipes import tiny
from runs import WSD, events, files_of, losses, train

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.methods import staged

STEEP = {"width": -50.0, "depth": -50.0}
"""Slopes that no loss falls by, so that a stage ends at its third evaluation."""


def train_to_ends(processes: Processes, recipe: Recipe, stop_after: int | None = None) -> str | None:
    """Train under such slopes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged, "_SLOPES", STEEP)
        return train(processes, recipe, stop_after)


@pytest.fixture(autouse=True)
def _slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "_SLOPES", STEEP)


def recipe_of(out: Path, steps: int, **changes: Any) -> Recipe:
    """A run whose first stage may take 10 steps, and ends at step 6."""
    method = {"name": "staged", "operators": ["depth"], "grow_at": [10 / steps]}
    options = {**WSD, "warmup_fraction": 2 / steps, "eval_every": 2, "keep_every": 2, "method": method}
    return tiny("gpt2", out, **{**options, "steps": steps, **changes})


def run_of(recipe: Recipe) -> Recipe:
    assert pool(2).run(train_to_ends, recipe) == [None, None]
    return recipe


@pytest.mark.parametrize("step", [4, 6, 8])
def test_a_branch_has_them_too(step: int, tmp_path: Path) -> None:
    """Also where it begins at that step, before the growth."""
    trunk = run_of(recipe_of(tmp_path / "trunk", 20, save_every=2))
    planned = run_of(recipe_of(tmp_path / "planned", 24))
    branch = run_of(recipe_of(tmp_path / "branch", 24, branch_from=f"{trunk.out}@{step}"))
    assert [event["step"] for event in events(branch, "growth")] == [6]
    assert losses(branch) == losses(planned)
    assert files_of(branch, 24) == files_of(planned, 24)


@pytest.mark.parametrize("stop", [7, None])
def test_a_run_with_more_steps_has_them_too(stop: int | None, tmp_path: Path) -> None:
    """Also where it was killed right after the end of the stage, and had saved that but not grown."""
    planned = run_of(recipe_of(tmp_path / "planned", 30))
    pool(2).run(train_to_ends, recipe_of(tmp_path / "run", 20, save_every=20), stop)
    extended = run_of(recipe_of(tmp_path / "run", 30, save_every=20))
    assert [event["step"] for event in events(extended, "growth")] == [6]
    assert losses(extended) == losses(planned)
    assert files_of(extended, 30) == files_of(planned, 30)
