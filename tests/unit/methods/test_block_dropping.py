"""Methods that skip blocks or train a part of them: which ones, how often, and at what cost."""

from statistics import mean

import pytest
from planned import batch, schedule, shape, stages
from small_models import filled
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.growth.stage_model import build_for
from apollo_ds.methods import METHODS, Run
from apollo_ds.models.pretraining import PretrainingModel
from apollo_ds.planning.step_flops import step_flops


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_bert2bert_s_first_stage_trains_the_top_of_a_prefix(family: str) -> None:
    planned = schedule(stages("bert2bert", family))
    prefixes = planned.stages[1]
    assert [depth for depth, _ in prefixes.depths()] == [1, 2, 3, 4]
    first = planned.first_steps[1]
    plans = {plan.depth: plan for plan in map(planned.at, range(first, first + prefixes.steps))}
    assert sorted(plans) == [1, 2, 3, 4]
    for depth, plan in plans.items():
        model = filled(build_for(prefixes), seed=0)
        assert isinstance(model, PretrainingModel)
        model.model.set_attn_implementation("eager")
        model.run_in_order(plan.layer_map, plan.scales, plan.first_trained)
        with FlopCounterMode(display=False) as counter:
            model(*batch(prefixes.shape)).backward()
        assert counter.get_total_flops() == step_flops(planned, plan) / planned.global_batch_size * 2
        with_gradient = {i for i in range(4) if any(p.grad is not None for p in model.layers[i].parameters())}
        assert plan.layer_map == tuple(range(depth))
        assert with_gradient == {depth - 1}


def test_the_published_shares_of_dropping() -> None:
    """Mean blocks kept of 12: PLD tends to 72.9%, RaPTr's mean is 9, decreasing drop skips a quarter of its maximum."""
    deep = Run(shape("gpt2", 12), 10_000, seq_len=16, global_batch_size=4)
    expected = {("pld", ()): 0.729 * 12, ("raptr", ()): 9.0, ("decreasing_drop", (("maximum", 0.8),)): 0.8 * 12}
    for (method, options), depth in expected.items():
        planned = schedule(METHODS[method](name=method, **dict(options)).stages(deep))
        assert planned.expected_depth(0) == pytest.approx(depth, rel=0.01), method
        assert mean(planned.at(step).depth for step in range(0, 10_000, 10)) == pytest.approx(depth, rel=0.03), method


def test_pld_drops_nothing_at_first_and_the_top_most() -> None:
    planned = schedule(stages("pld", "gpt2", steps=4000))
    assert planned.at(0).layer_map == (0, 1, 2, 3)
    late = [planned.at(step).layer_map for step in range(1000, 4000)]
    kept = [mean(layer in layer_map for layer_map in late) for layer in range(4)]
    assert kept == pytest.approx([1 - 0.5 * (layer + 1) / 4 for layer in range(4)], abs=0.04)


def test_raptr_always_runs_the_first_and_the_last_block() -> None:
    planned = schedule(stages("raptr", "gpt2"))
    assert all({0, 3} <= set(planned.at(step).layer_map) for step in range(400))
    assert {planned.at(step).depth for step in range(300, 400)} == {4}


def test_pld_leaves_a_post_norm_model_s_blocks_unscaled() -> None:
    assert all(plan.scales == (1.0,) * plan.depth for plan in map(schedule(stages("pld", "bert")).at, range(100, 200)))
