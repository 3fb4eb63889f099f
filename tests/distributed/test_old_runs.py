"""A run that an earlier version wrote goes on, and stands beside runs of today."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from ranks import pool
from runs import events

from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.load import load_resolved
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.compare.comparable import difference
from apollo_ds.experiments.history import RunHistory
from apollo_ds.training.run import make_trainer

FIXTURES = Path(__file__).parents[1] / "fixtures"
TEXT = FIXTURES / "format_2" / "text"
STEPS, STOPPED_AFTER = 20, 8


class Resumed(NamedTuple):
    """An old run in a folder of its own that has been gone on with to its end."""

    old: Path
    recipe: Recipe
    began_as_saved: list[bool]
    """Of each rank."""

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        """What the version that wrote it recorded of one kind when nobody stopped it."""
        lines = (self.old / "undisturbed" / "metrics.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]


@pytest.fixture(scope="module", params=[2, 3])
def resumed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    old, folder = FIXTURES / f"format_{request.param}", tmp_path_factory.mktemp("old")
    shutil.copytree(old / "run", folder / "run")
    recorded = load_resolved(folder / "run" / "config.yaml")
    recipe = recorded.model_copy(update={"out": folder / "run", "data": TEXT})
    return Resumed(old, recipe, pool(2).run(go_on, recipe))


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


def test_it_begins_with_the_weights_moments_and_ages_that_were_saved(resumed: Resumed) -> None:
    assert resumed.began_as_saved == [True, True]


def test_it_goes_on_as_the_version_that_wrote_it_would_have(resumed: Resumed) -> None:
    recipe, recorded = resumed.recipe, resumed.recorded
    steps, expected = events(recipe, "step"), recorded("step")
    assert len(steps) == len(expected) == STEPS
    for key in ("step", "stage", "unique_layers", "depth", "seq_len", "tokens", "flops", "lr", "skipped_steps"):
        assert [step[key] for step in steps] == [step[key] for step in expected], key
    # Equal to the bit on one machine; another's kernels round otherwise.
    for key in ("loss", "grad_norm"):
        assert [step[key] for step in steps] == pytest.approx([step[key] for step in expected], rel=1e-3), key
    assert [growth["to"] for growth in events(recipe, "growth")] == [growth["to"] for growth in recorded("growth")]
    assert events(recipe, "eval")[-1]["loss"] == pytest.approx(recorded("eval")[-1]["loss"], rel=1e-3)


def test_it_can_be_compared_with_runs_of_today(resumed: Resumed) -> None:
    old, new = (RunHistory.read(folder) for folder in (resumed.old / "undisturbed", resumed.recipe.out))
    assert old.finished and new.finished
    assert difference(old, new) is None
    assert new.final.cost.flops == old.final.cost.flops
    assert new.final.loss == pytest.approx(old.final.loss, rel=1e-3)
