"""What the plan says that a growth does to the function."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from recipes import tiny
from rich.console import Console

from apollo_ds.planning.effect import effect_of_growth
from apollo_ds.planning.plan import print_plan
from apollo_ds.schedule.stage import GrowthRule, Stage


@pytest.mark.parametrize(("sampler", "effect"), [("none", "unchanged"), ("lvps", "changed (zero)")])
def test_silent_layers_keep_the_function_only_where_no_layer_ran_twice(sampler: Any, effect: str) -> None:
    printed = StringIO()
    method = {"name": "deep_jump", "sampler": sampler, "new_layers": "zero"}
    print_plan(tiny("gpt2", "none", method=method), Console(file=printed, width=100))
    (growth,) = [line for line in printed.getvalue().splitlines() if line.split()[:1] == ["2"]]
    assert growth.rstrip().endswith(f" {effect}")


def test_pooled_tokens_and_factors_are_told() -> None:
    printed = StringIO()
    listed = [{"fraction": 0.5, "pool": 4, "feed_forward_rank": 8}, {"fraction": 0.5}]
    method = {"name": "compound_grow", "stage_list": listed}
    print_plan(tiny("bert", "none", method=method), Console(file=printed, width=100))
    first, second = [line for line in printed.getvalue().splitlines() if line.split()[:1] in (["1"], ["2"])]
    assert " 32/64 r8 " in first and " 32/64 " in second
    assert " 32/4 " in first and " 32 " in second
    assert second.rstrip().endswith("changed (pool 4 -> 1)")


def test_layers_that_run_more_often_change_the_function() -> None:
    two = Stage("test", 10, tiny("gpt2", "unused").model, 2, 32)
    shared = replace(two, depth_distribution=(0.0, 0.0, 0.5, 0.5))
    assert effect_of_growth([two, shared], 1) == "changed (depth 2 -> 5)"
    wider = replace(shared, growth=GrowthRule(moments="reset"))
    assert effect_of_growth([two, wider], 1) == "changed (depth 2 -> 5)"
    assert effect_of_growth([two, replace(two, seq_len=16)], 1) == "goes on"
