"""Stages whose feed-forward matrices are held as factors: under each ZeRO stage, cut short, exported, branched."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train, train_with_interruptions, trained
from transformers import AutoModelForCausalLM

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.planning.plan import plan
from apollo_ds.training.export_run import export_run

FACTORED = {
    "name": "compound_grow",
    "moments": "map",
    "stage_list": [
        {"fraction": 1 / 3, "layers": 3, "intermediate_size": 32, "feed_forward_rank": 8},
        {"fraction": 1 / 3, "layers": 3, "feed_forward_rank": 8},
        {"fraction": 1 / 3},
    ],
}


def recipe_of(out: Path, **changes: Any) -> Recipe:
    every = {"steps": 12, "save_every": 2, "eval_every": 3, "keep_every": 2}
    return tiny("gpt2", out, method=FACTORED, **{**every, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A run from beginning to end, under ZeRO 1."""
    recipe = recipe_of(tmp_path_factory.mktemp("factored") / "whole")
    pool(2).run(train, recipe)
    return recipe


def test_factors_widen_without_a_change_and_train(whole: Recipe) -> None:
    widened, stacked = events(whole, "growth")
    assert widened["loss_after"] == pytest.approx(widened["loss_before"], abs=1e-5)
    assert stacked["loss_after"] != stacked["loss_before"]
    assert [stage["function"] for stage in plan(whole)["stages"]] == ["initialised", "unchanged", "changed (stack)"]
    assert events(whole, "eval")[-1]["loss"] < events(whole, "eval")[0]["loss"]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_run_cut_short_among_factors_ends_as_one_that_was_not(stage: int, whole: Recipe, tmp_path: Path) -> None:
    cut = recipe_of(tmp_path / "cut", deepspeed=zero(stage))
    pool(2).run(train_with_interruptions, cut, [3, 7, 10])
    if stage == 1:
        assert trained(cut) == trained(whole)
    assert losses(cut) == pytest.approx(losses(whole), abs=1e-4, rel=0)


def test_an_export_multiplies_the_factors_out(whole: Recipe, tmp_path: Path) -> None:
    """Right after the step at which the stage was evaluated."""
    recipe = recipe_of(tmp_path / "run", save_every=3, keep_every=3)
    pool(2).run(train, recipe)
    export_run(RunFolder(recipe.out), tmp_path / "model", step=6)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert model.config.num_hidden_layers == 3 and model.config.n_inner == 64
    found = pool(2).run(_loss_of, recipe, str(tmp_path / "model"))[0]
    (told,) = [event["loss"] for event in events(recipe, "eval") if event["step"] == 6]
    assert found == pytest.approx(told, abs=1e-5)


def _loss_of(processes: Any, recipe: Recipe, folder: str) -> float:
    """The held-out loss of an exported model, by the class of `transformers` alone."""
    from apollo_ds.data.batches import BatchSource
    from apollo_ds.data.text import Text

    source = BatchSource(Text.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    (batch,) = source.validation_batches(recipe.eval_samples, recipe.eval_samples, 0, 1)
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=batch[0]).logits
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[2].flatten()))


@pytest.mark.parametrize("step", [2, 6])
def test_a_branch_of_such_a_stage_is_the_run_that_was_planned_so(step: int, whole: Recipe, tmp_path: Path) -> None:
    branch = recipe_of(tmp_path / "branch", branch_from=f"{whole.out}@{step}")
    pool(2).run(train, branch)
    assert losses(branch) == losses(whole)  # the other run's steps first


def test_factors_are_not_begun_from_whole_matrices(whole: Recipe, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"init_from: .* has whole feed-forward matrices, and the run's first stage has"
    ):
        recipe_of(tmp_path / "begun", init_from=str(whole.out))
