"""What a run's cost is measured against."""

from pathlib import Path
from typing import Any

import pytest
from recipes import tiny
from sources import half_as_deep

from apollo_ds.config.recipe import Recipe
from apollo_ds.planning.all_layers import AllLayers, cost_in_words
from apollo_ds.planning.plan import plan
from apollo_ds.schedule.source import SourceModel
from apollo_ds.schedule.totals import Totals


def recipe(**changes: Any) -> Recipe:
    return tiny("gpt2", "unused", **changes)


def planned(of: Recipe) -> Totals:
    total = plan(of)["total"]
    return Totals(total["steps"], total["tokens"], total["flops"], 60.0)


def share(of: Recipe, totals: Totals) -> float:
    return AllLayers.of(of).share(totals.flops, totals.tokens)


def test_all_layers_all_along_save_nothing() -> None:
    fixed = recipe(method="scratch")
    assert share(fixed, planned(fixed)) == pytest.approx(1)
    assert cost_in_words(fixed, planned(fixed)).endswith(" GFLOP, 100.0% of all 6 layers on the same tokens")


def test_the_share_is_the_plans() -> None:
    total = plan(recipe())["total"]
    assert share(recipe(), planned(recipe())) == pytest.approx(total["flops"] / total["scratch_flops"])


def test_shorter_samples_are_measured_against_as_many_tokens() -> None:
    listed = [{"fraction": 0.5, "seq_len": 8}, {"fraction": 0.5}]
    shorter = recipe(method={"name": "compound_grow", "stage_list": listed})
    total = plan(shorter)["total"]
    assert total["flops"] / total["scratch_flops"] < 0.65
    assert 0.9 < share(shorter, planned(shorter)) < 1


def test_what_the_source_has_cost_counts() -> None:
    source = half_as_deep(recipe().model)
    grown = recipe(method={"name": "upscale", "source": source.model_dump(mode="json")})
    own, alone = planned(grown), AllLayers.of(recipe())
    assert share(grown, own) == pytest.approx(
        alone.share(own.flops, own.tokens) + 1e9 / (alone.flops_per_token * own.tokens)
    )
    assert " GFLOP (and 1 GFLOP before it), " in cost_in_words(grown, own)


def test_a_source_whose_cost_nobody_knows_is_named() -> None:
    folder, shape = Path("published"), half_as_deep(recipe().model).shape
    source = SourceModel(hf="published", folder=folder, shape=shape, identity="0", tokenizer=None)
    grown = recipe(method={"name": "upscale", "source": source.model_dump(mode="json")})
    told = cost_in_words(grown, planned(grown))
    assert told.endswith("% of all 6 layers on the same tokens; what hf:published has cost is not known")
