"""Runs that begin without layers, on ranks: the growth, resuming, branches, exports, and what they record."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from engines import train_steps, whole_state
from ranks import pool
from rebuilding import engine_for
from recipes import tiny, zero
from runs import WSD, events, files_of, losses, run_of, trained
from transformers import AutoModelForCausalLM

from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.restore import grow
from apollo_ds.errors import UserError
from apollo_ds.growth.transition import growth_into
from apollo_ds.models.pretraining import skeleton
from apollo_ds.planning.traffic import checkpoint_bytes
from apollo_ds.training.export_run import export_run

GROWS_AT, STEPS = 10, 20
OPTIONS: dict[str, Any] = {**WSD, "method": {"name": "dpt", "grow_at": 0.5}, "save_every": 5, "keep_every": 5}


def recipe_of(out: Path, family: str = "gpt2", **changes: Any) -> Recipe:
    return tiny(family, out, **{**OPTIONS, **changes})


@cache
def whole() -> Recipe:
    """A run of 20 steps that is not disturbed; tests only read it."""
    return run_of(recipe_of(Path(mkdtemp(prefix="apollo-ds-zero-layers-")) / "run"))


def state_at(recipe: Recipe, step: int) -> dict[str, torch.Tensor]:
    state = SavedState(verify(recipe.out / "checkpoints" / f"step-{step}"))
    found = {
        f"{name}/{key}": state.gather(name, key, torch.device("cpu"))
        for name in state.names()
        for key in state.counters.tensors
    }
    state.close()
    return found


def test_what_it_records() -> None:
    recipe = whole()
    (growth,) = events(recipe, "growth")
    assert [growth[key] for key in ("step", "from", "to", "map", "map_name", "new_layers")] == [
        *(GROWS_AT, 0, 6),
        *([-1] * 6, "random layers", "random"),
    ]
    assert [(event["depth"], event["unique_layers"]) for event in events(recipe, "step")] == [(0, 0)] * 10 + [
        (6, 6)
    ] * 10
    assert [event["depth"] for event in events(recipe, "eval")] == [0, 6]
    assert losses(recipe)[-1] < losses(recipe)[0]
    for step, number in ((5, 0), (20, 1)):
        size = sum(tensor.nbytes for tensor in state_at(recipe, step).values())
        assert size == checkpoint_bytes(recipe, recipe.schedule().stages, number)


def states_around_the_growth(processes: Processes, recipe: Recipe) -> tuple[dict[str, torch.Tensor], ...]:
    """The whole training state after three steps without layers, and after the growth."""
    engine = engine_for(recipe, 0, processes)
    train_steps(processes, engine, recipe, range(3))
    before, state = whole_state(processes, engine), engine.capture()
    engine.close()
    engine = engine_for(recipe, 1, processes, seed=recipe.seed)
    old, new = recipe.schedule().stages
    grow(engine, state, growth_into(new, old, recipe.seed))
    after = whole_state(processes, engine)
    engine.close()
    return before, after


@pytest.mark.parametrize(
    ("stage", "precision"), [*((stage, "fp32") for stage in range(4)), *((stage, "bf16") for stage in (1, 2, 3))]
)
def test_the_growth_keeps_what_there_was_to_the_bit(stage: int, precision: str) -> None:
    recipe = recipe_of(Path("unused"), deepspeed=zero(stage, precision))
    ((before, after), _) = pool(2).run(states_around_the_growth, recipe)
    fresh = dict(skeleton(recipe.model, 6).initial_values(recipe.seed))
    names = {key.rpartition("/")[0] for key in after}
    assert {key.rpartition("/")[0] for key in before} < names
    for name in names:
        is_old = f"{name}/weight" in before
        for key in ("weight", "exp_avg", "exp_avg_sq"):
            blank = fresh[name] if key == "weight" else torch.zeros_like(fresh[name])
            blank = blank.bfloat16().float() if precision == "bf16" else blank
            assert torch.equal(after[f"{name}/{key}"], before[f"{name}/{key}"] if is_old else blank), (name, key)
        assert bool((after[f"{name}/cohort"] == (not is_old)).all())


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("stops", [(7,), (9, 12)])
def test_a_run_that_was_killed_goes_on_to_the_bit(stage: int, stops: tuple[int, ...], tmp_path: Path) -> None:
    undisturbed = run_of(recipe_of(tmp_path / "undisturbed", deepspeed=zero(stage)))
    resumed = run_of(recipe_of(tmp_path / "resumed", deepspeed=zero(stage)), stops)
    assert trained(resumed) == trained(undisturbed)
    assert files_of(resumed, STEPS) == files_of(undisturbed, STEPS)
    assert torch.allclose(torch.tensor(losses(resumed)), torch.tensor(losses(whole())), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"activation_checkpointing": True}, 1e-4),
        ({"sequence_parallel": 2}, 1e-4),
        ({"zero_by_stage": True, "deepspeed": zero(2)}, 1e-4),
        ({"deepspeed": zero(1, "bf16")}, 0.03),
    ],
    ids=str,
)
def test_other_ways_to_train_it_come_to_the_same(changes: dict[str, Any], tolerance: float, tmp_path: Path) -> None:
    recipe = run_of(recipe_of(tmp_path / "run", **changes))
    assert torch.allclose(torch.tensor(losses(recipe)), torch.tensor(losses(whole())), atol=tolerance, rtol=0)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox", "modernbert", "roberta_prelayernorm"])
def test_other_families_grow_from_what_they_have(family: str, tmp_path: Path) -> None:
    recipe = run_of(recipe_of(tmp_path / "run", family))
    (growth,) = events(recipe, "growth")
    assert growth["from"] == recipe.schedule().stages[0].unique_layers
    assert losses(recipe)[-1] < losses(recipe)[0]


def test_a_model_without_layers_is_exported(tmp_path: Path) -> None:
    export_run(RunFolder(whole().out), tmp_path / "model", step=5)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert model.config.num_hidden_layers == 0
    saved = state_at(whole(), 5)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, saved[f"model.{name}/weight"]), name


def test_a_branch_before_the_growth(tmp_path: Path) -> None:
    later = {"method": {"name": "dpt", "grow_at": 0.6}}
    planned = run_of(recipe_of(tmp_path / "planned", **later))
    branch = run_of(recipe_of(tmp_path / "branch", **later, branch_from=f"{whole().out}@5"))
    assert files_of(branch, STEPS) == files_of(planned, STEPS)
    with pytest.raises(UserError, match=r"branch_from: .* has no layers yet, and this recipe would make its 6"):
        recipe_of(tmp_path / "scratch", method="scratch", branch_from=f"{whole().out}@5")
    with pytest.raises(UserError, match=r"init_from: .* is not the run's first model, of 0 layers"):
        recipe_of(tmp_path / "init", init_from=str(whole().out))
