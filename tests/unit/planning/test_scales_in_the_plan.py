"""The plan says by what a model scales its branches, for a person and for a program."""

from io import StringIO
from typing import Any

import pytest
from recipes import tiny
from rich.console import Console

from apollo_ds.config.recipe import Recipe
from apollo_ds.planning.plan import plan, print_plan


def recipe(**scales: Any) -> Recipe:
    model = {**tiny("gpt2", "none").model.model_dump(), **scales}
    return tiny("gpt2", "none", model=model, method={"name": "sprout", "jump_at": 0.5})


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ({}, ""),
        ({"residual_scale": "depth_sqrt"}, ", branches x 1/sqrt(2L)"),
        (
            {"residual_scale": "complete_p", "complete_p_alpha": 0.75, "base_layers": 3, "layernorm_scale": True},
            ", branches x (L/3)^-0.75, what they read x 1/sqrt(l)",
        ),
    ],
)
def test_the_first_line_names_the_scales(scales: dict[str, Any], words: str) -> None:
    printed = StringIO()
    print_plan(recipe(**scales), Console(file=printed, width=200))
    assert printed.getvalue().splitlines()[0].endswith(f"20 steps{words}")


def test_each_stage_has_its_factor() -> None:
    stages = plan(recipe(residual_scale="complete_p"))["stages"]
    assert [stage["residual_scale"] for stage in stages] == pytest.approx([1, 1 / 3])
    assert [stage["residual_scale"] for stage in plan(recipe())["stages"]] == [1, 1]
