"""A run that an earlier version wrote goes on, and stands beside runs of today."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import pool
from runs import events

from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.load import load_resolved
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.training.run import make_trainer

OLD = Path(__file__).parents[1] / "fixtures" / "format_2"
STEPS, STOPPED_AFTER = 20, 8


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, list[bool]]:
    """The old run in a folder of its own, gone on with to its end; whether each rank began with the state as saved."""
    folder = tmp_path_factory.mktemp("old")
    shutil.copytree(OLD / "run", folder / "run")
    recorded = load_resolved(folder / "run" / "config.yaml")
    recipe = recorded.model_copy(update={"out": folder / "run", "data": OLD / "text"})
    return recipe, pool(2).run(go_on, recipe)


def go_on(processes: Processes, recipe: Recipe) -> bool:
    """Train to the end; whether this rank's state was the checkpoint's before."""
    with make_trainer(recipe, processes) as trainer:
        saved = SavedState(verify(recipe.out / "checkpoints" / f"step-{STOPPED_AFTER}"))
        state = trainer.engine.capture()
        same = state.counters == saved.counters and [*state.names()] == [*saved.names()]
        for name, part in state.slices.items():
            for key, tensor in part.tensors.items():
                whole = saved.gather(name, key, torch.device("cpu")).flatten()
                same &= torch.equal(tensor, whole.narrow(0, part.start, tensor.numel()))
        trainer.train()
    return same


def recorded(kind: str) -> list[dict[str, Any]]:
    lines = (OLD / "undisturbed" / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_it_begins_with_the_weights_moments_and_ages_that_were_saved(resumed: tuple[Recipe, list[bool]]) -> None:
    _, same = resumed
    assert same == [True, True]


def test_it_goes_on_as_the_version_that_wrote_it_would_have(resumed: tuple[Recipe, list[bool]]) -> None:
    recipe, _ = resumed
    steps, expected = events(recipe, "step"), recorded("step")
    assert len(steps) == len(expected) == STEPS
    for key in ("step", "stage", "unique_layers", "depth", "seq_len", "tokens", "flops", "lr", "skipped_steps"):
        assert [step[key] for step in steps] == [step[key] for step in expected], key
    # Equal to the bit on one machine; another's kernels round otherwise.
    for key in ("loss", "grad_norm"):
        assert [step[key] for step in steps] == pytest.approx([step[key] for step in expected], rel=1e-3), key
    assert [growth["to"] for growth in events(recipe, "growth")] == [growth["to"] for growth in recorded("growth")]
    assert events(recipe, "eval")[-1]["loss"] == pytest.approx(recorded("eval")[-1]["loss"], rel=1e-3)


def test_it_can_be_compared_with_runs_of_today(resumed: tuple[Recipe, list[bool]]) -> None:
    recipe, _ = resumed
    comparison = Comparison.of([OLD / "undisturbed", recipe.out])
    old, new = (group.runs[0] for group in comparison.groups)
    assert old.finished and new.finished
    assert comparison.target is not None
    assert new.final.cost.flops == old.final.cost.flops
    assert new.final.loss == pytest.approx(comparison.target.loss, rel=1e-3)
