"""Every method, cut short in each of its stages; under ZeRO 3 too, saved after each step."""

from math import isfinite
from pathlib import Path

import pytest
import torch
from every_method import CASES, middles, small_run
from ranks import pool
from recipes import zero
from runs import events, losses, train, train_with_interruptions, trained

from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.models.families import FAMILIES
from apollo_ds.planning.effect import effect_of_growth
from apollo_ds.planning.plan import plan
from apollo_ds.schedule.growable import check_growths


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_every_family_or_says_why_not(method: str, family: str, tmp_path: Path) -> None:
    try:
        recipe = small_run(method, tmp_path / "run", family)
        check_growths(recipe.schedule().stages)
        plan(recipe)
    except UserError as error:
        assert family == "modernbert" and method in ("ligo", "mango"), error
        assert str(error).count(". ") == 0
        return
    assert pool(2).run(train, recipe) == [None, None]
    found = losses(recipe)
    assert len(found) == 24 and all(map(isfinite, found)) and found[-1] < found[0]
    for growth in events(recipe, "growth"):
        number = recipe.schedule().stage_number(growth["step"])
        if effect_of_growth(recipe.schedule().stages, number).startswith("unchanged"):
            assert growth["loss_after"] == pytest.approx(growth["loss_before"], abs=1e-5)


@pytest.mark.parametrize("method", CASES)
def test_a_method_resumes_in_each_stage(method: str, tmp_path: Path) -> None:
    whole = small_run(method, tmp_path / "whole")
    pool(2).run(train, whole)
    stops = middles(whole)
    cut = small_run(method, tmp_path / "cut")
    pool(2).run(train_with_interruptions, cut, stops)
    assert trained(cut) == trained(whole)
    sharded = small_run(method, tmp_path / "sharded", save_every=1, deepspeed=zero(3))
    pool(2).run(train_with_interruptions, sharded, stops)
    # The step in which it dies has not been saved yet.
    assert [event["step"] for event in events(sharded, "resume")] == [stop - 1 for stop in stops]
    assert torch.allclose(torch.tensor(losses(sharded)), torch.tensor(losses(whole)), atol=1e-4, rtol=0)
