"""Every method, trained end to end on real text by two ranks, at ZeRO 1 and 3, and cut short in each of its stages."""

from pathlib import Path
from typing import Any

import pytest
import torch
from corpora import corpus
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train, train_with_interruptions

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.methods import METHODS
from apollo_ds.models.families import PRESETS
from apollo_ds.models.flops import parameters
from apollo_ds.planning.plan import plan

# What the defaults would make too short or too rare for a run of 24 steps.
OPTIONS: dict[str, dict[str, Any]] = {
    "apollo": {"grow_at": [0.25, 0.5]},
    "g_stack": {"grow_at": 0.25},
    "mslt": {"blocks": 2},
    "bert2bert": {"prefix_fraction": 0.3},
    "pld": {"gamma": 10.0},
    "swe": {"unshare_at": 0.5, "adaptive": True},
    "short_to_long": {"until": [0.5]},
}
FAMILIES = {"bert2bert": "bert", "mslt": "bert", "pld": "roberta_prelayernorm", "compound_grow": "bert"}
COMBINATIONS: dict[str, list[Any]] = {
    "deep_jump+decreasing_drop+short_to_long": [
        {"name": "deep_jump", "jump_at": 0.5},
        "decreasing_drop",
        {"name": "short_to_long", "until": [0.75]},
    ],
    "sprout,new_layers=silent": [{"name": "sprout", "new_layers": "silent"}],
}
CASES = [*METHODS, *COMBINATIONS]


def small_run(method: str, out: Path, **changes: Any) -> Recipe:
    family = FAMILIES.get(method, "gpt2")
    text = corpus(family, real=True)
    model = {
        "family": family,
        "num_layers": 4,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "vocab_size": text.vocab_size,
        "max_position_embeddings": 32,
    }
    options = COMBINATIONS.get(method) or {"name": method, **OPTIONS.get(method, {})}
    values = {
        "model": model,
        "method": options,
        "data": str(text.folder),
        "steps": 24,
        "eval_every": 4,
        "save_every": 1,
    }
    return tiny(family, out, **{**values, **changes})


@pytest.mark.parametrize("method", CASES)
def test_a_method_trains_through_its_stages_and_resumes_in_each(method: str, tmp_path: Path) -> None:
    whole = small_run(method, tmp_path / "whole")
    pool(2).run(train, whole)
    done, curve = events(whole, "step"), torch.tensor(losses(whole))
    stages = {event["stage"] for event in done}
    assert len(curve) == 24
    assert stages == set(range(len(whole.schedule().stages)))
    assert events(whole, "eval")[-1]["loss"] < events(whole, "eval")[0]["loss"]
    middles = [[event["step"] for event in done if event["stage"] == stage] for stage in sorted(stages)]
    stops = [steps[len(steps) // 2] for steps in middles]

    cut = small_run(method, tmp_path / "cut")
    pool(2).run(train_with_interruptions, cut, stops)
    assert len(events(cut, "resume")) == len(stops)
    for kind in ("step", "eval", "growth"):
        assert events(cut, kind) == events(whole, kind)

    sharded = small_run(method, tmp_path / "sharded", deepspeed=zero(3))
    pool(2).run(train_with_interruptions, sharded, stops)
    assert torch.allclose(torch.tensor(losses(sharded)), curve, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_plan_of_every_method_for_every_preset(method: str, preset: str) -> None:
    recipe = planned(method, preset, steps=2000)
    stages, total = plan(recipe)["stages"], plan(recipe)["total"]
    assert sum(stage["steps"] for stage in stages) == 2000
    assert sum(stage["flops_share"] for stage in stages) == pytest.approx(1)
    assert 0 < total["flops"] <= total["scratch_flops"] * 1.01
    assert (
        stages[-1]["parameters"]
        == stages[-1]["trainable_parameters"]
        == parameters(recipe.model, recipe.model.num_layers)
    )


@pytest.mark.parametrize("method", CASES)
def test_what_a_run_costs_is_what_was_planned(method: str) -> None:
    recipe = planned(method, "bert-base", steps=6_000)
    schedule = recipe.schedule()
    used = sum(schedule.flops(schedule.at(step)) for step in range(6_000))
    assert used == pytest.approx(plan(recipe)["total"]["flops"], rel=0.01)


def planned(method: str, preset: str, steps: int) -> Recipe:
    values = {"data": "none", "out": "none", "global_batch_size": 8, "micro_batch_size": 8, "learning_rate": 1e-3}
    method_options = COMBINATIONS.get(method, method)
    return resolve(
        {**values, "model": preset, "method": method_options, "steps": steps, "eval_every": 9, "save_every": 9}, "test"
    )
