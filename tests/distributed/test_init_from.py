"""Runs whose first weights are those of a model that is trained already."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from ranks import pool
from recipes import tiny, zero
from runs import WSD, events, losses, run_of, train

from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.growth.counters import WEIGHT
from apollo_ds.planning.plan import plan
from apollo_ds.training import run as training


@cache
def source(family: str = "gpt2") -> Recipe:
    """A run trained to its end."""
    return run_of(tiny(family, mkdtemp(prefix="apollo-ds-source-"), **WSD))


def first_state(processes: Processes, recipe: Recipe, trained: Path) -> tuple[bool, int, float]:
    """Whether the weights before the first step are the source's; Adam's step; and the sum of its moments."""
    state = SavedState(verify(trained / "checkpoints" / "step-20"))
    with training.make_trainer(recipe, processes) as trainer:
        engine, same, moments = trainer.engine, True, 0.0
        for name, _, part in engine.slices():
            whole = state.gather(name, WEIGHT, processes.device).flatten()
            same &= whole[part.start : part.start + part.length].equal(part.tensors[WEIGHT].cpu())
            moments += sum(float(part.tensors[key].abs().sum()) for key in ("exp_avg", "exp_avg_sq"))
        return same, engine.capture().counters.adam_step, moments


@pytest.mark.parametrize("stage", [1, 3])
def test_the_weights_are_the_source_s_and_the_moments_are_new(stage: int, tmp_path: Path) -> None:
    run = tiny("gpt2", tmp_path / "run", init_from=str(source().out), deepspeed=zero(stage), **WSD)
    for same, adam_step, moments in pool(2).run(first_state, run, source().out):
        assert (same, adam_step, moments) == (True, 0, 0.0)


def test_training_goes_on_with_a_warm_up_of_its_own(tmp_path: Path) -> None:
    run = run_of(tiny("gpt2", tmp_path / "run", init_from=f"{source().out}@20", **WSD))
    assert events(run, "growth") == []
    rates = [event["lr"] for event in events(run, "step")]
    assert rates[0] == pytest.approx(run.learning_rate / 2) and rates[1] == rates[5] == run.learning_rate
    assert losses(run)[0] < losses(source())[0]
    spent = events(source(), "end")[0]["flops"]
    assert plan(run)["total"]["source_flops"] == events(run, "start")[0]["source_flops"] == spent
    assert plan(run)["stages"][1]["function"] == "goes on"


def test_the_first_model_of_a_growing_run_may_be_given(tmp_path: Path) -> None:
    small = run_of(tiny("gpt2", tmp_path / "small", model={**source().model.model_dump(), "num_layers": 2}, **WSD))
    run = run_of(tiny("gpt2", tmp_path / "run", init_from=str(small.out), **{**WSD, "method": "sprout"}))
    assert [(event["from"], event["to"]) for event in events(run, "growth")] == [(2, 6)]
    assert losses(run)[0] < losses(small)[0]


GROWING = ["mslt", "sprout", "staged", "swe"]


@pytest.mark.parametrize("name", GROWING)
def test_growing_methods_take_a_source(name: str, tmp_path: Path) -> None:
    """It takes the place of the method's smaller stages, whose steps the first one has that is left."""
    deeper = {**source().model.model_dump(), "num_layers": 12}
    run = tiny(
        "gpt2", tmp_path / "run", model=deeper, method={"name": name, "source": str(source().out)}, deepspeed=zero(1)
    )
    assert sum(stage.steps for stage in run.schedule().stages) == run.steps
    run_of(run)
    growths = events(run, "growth")
    assert growths[-1]["to"] == 12
    assert growths[0]["from"] == 6
    assert growths[0]["loss_before"] == pytest.approx(events(source(), "end")[0]["loss"], abs=1e-6)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"model": {"num_layers": 12}}, "is not the run's first model, of 12 layers of 32 units"),
    "width": ({"model": {"hidden_size": 64, "num_heads": 4}}, "is not the run's first model, of 6 layers of 64 units"),
    "epsilon": ({"model": {"norm_epsilon": 1e-6}}, "(its norm_epsilon is 1e-05, not 1e-06)"),
    "vocabulary": ({"model": {"vocab_size": 81}}, "vocab_size is 300, and growth keeps it"),
    "two sources": ({"method": {"name": "net2net", "source": "OUT"}}, "the method starts from"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_started_from(case: str, tmp_path: Path) -> None:
    changes, expected = REFUSED[case]
    method = changes.get("method", "scratch")
    if isinstance(method, dict):
        method = {**method, "source": str(source().out)}
    model = {**source().model.model_dump(), **changes.get("model", {})}
    with pytest.raises(UserError) as refused:
        tiny("gpt2", tmp_path / "run", init_from=str(source().out), **{**WSD, "method": method, "model": model})
    assert expected in str(refused.value)


def test_a_source_that_is_gone_is_told_by_its_key(tmp_path: Path) -> None:
    small = run_of(tiny("gpt2", tmp_path / "small", **WSD))
    run = tiny("gpt2", tmp_path / "run", init_from=str(small.out), **WSD)
    (small.out / "checkpoints" / "step-20" / "rank-00000.safetensors").unlink()
    told = pool(2).run(train, run)
    assert told[0] == told[1]
    assert str(told[0]).startswith("init_from: ")
