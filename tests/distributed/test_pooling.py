"""Stages whose layers run on pooled tokens: under each ZeRO stage, cut short, shared by ranks, exported, branched."""

from pathlib import Path
from typing import Any

import pytest
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train, train_with_interruptions, trained

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.training.export_run import export_run

POOLED = {
    "name": "compound_grow",
    "moments": "map",
    "stage_list": [{"fraction": 0.5, "layers": 3, "pool": 4}, {"fraction": 0.25, "pool": 2}, {"fraction": 0.25}],
}


def recipe_of(out: Path, family: str = "bert", **changes: Any) -> Recipe:
    every = {"steps": 12, "save_every": 2, "eval_every": 3, "keep_every": 2}
    return tiny(family, out, method=POOLED, **{**every, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A run from beginning to end, under ZeRO 1."""
    recipe = recipe_of(tmp_path_factory.mktemp("pooled") / "whole")
    pool(2).run(train, recipe)
    return recipe


def test_each_stage_trains_and_a_growth_ends_the_pooling(whole: Recipe) -> None:
    assert [event["step"] for event in events(whole, "growth")] == [6, 9]
    assert [(event["from"], event["to"]) for event in events(whole, "growth")] == [(3, 6), (6, 6)]
    assert all(event["loss_after"] != event["loss_before"] for event in events(whole, "growth"))
    assert events(whole, "eval")[-1]["loss"] < events(whole, "eval")[0]["loss"]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_run_cut_short_among_pooled_tokens_ends_as_one_that_was_not(
    stage: int, whole: Recipe, tmp_path: Path
) -> None:
    cut = recipe_of(tmp_path / "cut", deepspeed=zero(stage))
    pool(2).run(train_with_interruptions, cut, [3, 7])
    if stage == 1:
        assert trained(cut) == trained(whole)
    assert losses(cut) == pytest.approx(losses(whole), abs=1e-4, rel=0)


@pytest.mark.parametrize("family", ["roberta_prelayernorm", "modernbert"])
def test_ranks_that_share_samples_pool_their_own_tokens(family: str, tmp_path: Path) -> None:
    apart, shared = (recipe_of(tmp_path / str(n), family, sequence_parallel=n) for n in (1, 2))
    for recipe in (apart, shared):
        pool(2).run(train, recipe)
    assert losses(shared) == pytest.approx(losses(apart), abs=1e-5, rel=0)


def test_a_checkpoint_of_such_a_stage_is_not_exported_and_later_ones_are(whole: Recipe, tmp_path: Path) -> None:
    run = RunFolder(whole.out)
    with pytest.raises(UserError, match=r"at step 4 the layers run on pooled tokens, which no class of transformers"):
        export_run(run, tmp_path / "model", step=4)
    assert export_run(run, tmp_path / "model", step=10).checkpoint == run.checkpoints / "step-10"


@pytest.mark.parametrize("step", [4, 6, 8])
def test_a_branch_of_such_a_stage_is_the_run_that_was_planned_so(step: int, whole: Recipe, tmp_path: Path) -> None:
    branch = recipe_of(tmp_path / "branch", branch_from=f"{whole.out}@{step}")
    pool(2).run(train, branch)
    assert losses(branch) == losses(whole)  # the other run's steps first
