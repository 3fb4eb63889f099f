"""Which parameters an optimizer updates alike, and at which rate."""

from dataclasses import replace
from typing import Any

import pytest
from recipes import tiny

from apollo_ds.engine.parameter_groups import parameter_groups
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import PretrainingModel, skeleton


def grouped(family: str, optimizer: Any, **changes: Any) -> tuple[PretrainingModel, list[dict[str, Any]]]:
    recipe = tiny(family, "unused", optimizer=optimizer)
    model = skeleton(recipe.model, 2)
    return model, parameter_groups(model, replace(recipe.engine_options(1), **changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_muon_trains_the_matrices_of_the_layers_and_nothing_else(family: str) -> None:
    model, groups = grouped(family, "muon")
    names = {parameter: name for name, parameter in model.named_parameters()}
    muon = {names[parameter] for group in groups if group["use_muon"] for parameter in group["params"]}
    blocks = f"model.{model.family.blocks}."
    assert muon == {name for name, p in model.named_parameters() if name.startswith(blocks) and p.dim() > 1}
    assert muon
    assert sum(len(group["params"]) for group in groups) == len(names)
    for name in muon:
        first, second = model.family.dimensions(name)
        assert {first.side, second.side} == {"out", "in"}  # so that it is known which are outputs


def test_adamw_has_two_groups_unless_rates_differ() -> None:
    _, groups = grouped("gpt2", "adamw")
    assert [group["weight_decay"] > 0 for group in groups] == [True, False]
    factors = {"matrix_lr_factor": 2.0, "embedding_lr_factor": 3.0, "vector_lr_factor": 4.0}
    model, groups = grouped("gpt2", {"name": "adamw", **factors}, block_lr_factor=0.5, block_epsilon_factor=0.1)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[p]: (group["lr_factor"], group["eps"]) for group in groups for p in group["params"]}
    assert rates["model.transformer.wte.weight"] == (3.0, pytest.approx(1e-8))
    assert rates["model.transformer.h.0.attn.c_attn.weight"] == (1.0, pytest.approx(1e-9))
    assert rates["model.transformer.h.0.ln_1.weight"] == (2.0, pytest.approx(1e-9))
    assert rates["model.transformer.ln_f.weight"] == (4.0, pytest.approx(1e-8))
