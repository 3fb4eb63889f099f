"""What the methods promise: what is exact, what gets gradients, what stays as it is, what is not communicated."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from statistics import mean
from typing import Any

import deepspeed
import pytest
import torch
from corpora import corpus
from ranks import pool
from recipes import tiny, zero
from torch.utils.flop_counter import FlopCounterMode

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.between_stages import growth_between
from apollo_ds.growth.stage_model import build_for
from apollo_ds.growth.state import WEIGHT, Counters
from apollo_ds.methods import METHODS, Run
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.flops import scored_positions, trainable_parameters
from apollo_ds.models.pretraining import PretrainingModel, build
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.learning_rate import LearningRate
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import Stage
from apollo_ds.schedule.triggers import Evidence, GradientsDisagree, SlopeFlatterThan


def shape(family: str, layers: int = 4, **changes: Any) -> ModelShape:
    sizes = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "vocab_size": 97}
    return ModelShape(family=family, num_layers=layers, max_position_embeddings=32, **{**sizes, **changes})


def stages(method: str, family: str, steps: int = 400, **options: Any) -> list[Stage]:
    return METHODS[method](name=method, **options).stages(Run(shape(family), steps, seq_len=16))


def schedule(planned: list[Stage]) -> Schedule:
    return Schedule(planned, 4, LearningRate("cosine", 1e-3, warmup_fraction=0.1), seed=1)


def batch(of: ModelShape, seq_len: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    ids = torch.randint(1, of.vocab_size, (2, seq_len))
    scored = scored_positions(of, seq_len)
    return ids, torch.arange(scored).expand(2, scored), ids[:, :scored]


def grown(old_stage: Stage, new_stage: Stage, seed: int = 0) -> tuple[PretrainingModel, PretrainingModel]:
    """A randomised model of the old stage, and what grows from it."""
    old = build(old_stage.shape, old_stage.unique_layers, seed=1)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    new = build(new_stage.shape, new_stage.unique_layers, seed=2)
    growth = growth_between(old_stage, new_stage, f"model.{FAMILIES[old_stage.shape.family].blocks}", seed)
    weights = {name: parameter.detach() for name, parameter in old.named_parameters()}
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            sources = {source: weights[source] for source in growth.sources(name, set(weights))}
            weight = growth.apply(name, WEIGHT, sources, Counters())
            assert weight is not None
            parameter.copy_(weight)
    return old, new


# What a step runs, costs and gives gradients to.


@pytest.mark.parametrize("family", ["bert", "roberta_prelayernorm", "gpt2"])
@pytest.mark.parametrize("frozen", [1, 3])
def test_the_cost_of_a_frozen_prefix_is_what_the_counter_counts(family: str, frozen: int) -> None:
    stage = replace(stages("scratch", family)[0], frozen_layers=frozen)
    planned = schedule([stage])
    model = build_for(stage, seed=0)
    assert isinstance(model, PretrainingModel)
    model.model.set_attn_implementation("eager")  # the counter does not see fused attention
    plan = planned.at(0)
    model.run_in_order(plan.layer_map, plan.scales, plan.first_trained)
    with FlopCounterMode(display=False) as counter:
        model(*batch(stage.shape)).backward()
    assert counter.get_total_flops() == planned.flops(plan) / planned.global_batch_size * 2
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    blocks = f"model.{model.family.blocks}"
    assert trained
    assert not any(name.startswith(tuple(f"{blocks}.{i}." for i in range(frozen))) for name in trained)
    assert not any("embed" in name or "wte" in name or "wpe" in name for name in trained)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_bert2bert_s_first_stage_trains_the_top_of_a_prefix(family: str) -> None:
    planned = schedule(stages("bert2bert", family))
    prefixes = planned.stages[1]
    assert [depth for depth, _ in prefixes.depths()] == [1, 2, 3, 4]
    first = planned.first_steps[1]
    plans = {plan.depth: plan for plan in map(planned.at, range(first, first + prefixes.steps))}
    assert sorted(plans) == [1, 2, 3, 4]
    for depth, plan in plans.items():
        model = build_for(prefixes, seed=0)
        assert isinstance(model, PretrainingModel)
        model.model.set_attn_implementation("eager")
        model.run_in_order(plan.layer_map, plan.scales, plan.first_trained)
        with FlopCounterMode(display=False) as counter:
            model(*batch(prefixes.shape)).backward()
        assert counter.get_total_flops() == planned.flops(plan) / planned.global_batch_size * 2
        with_gradient = {i for i in range(4) if any(p.grad is not None for p in model.layers[i].parameters())}
        assert plan.layer_map == tuple(range(depth))
        assert with_gradient == {depth - 1}


def test_the_published_shares_of_dropping() -> None:
    """Mean blocks kept of 12: PLD tends to 72.9%, RaPTr's mean is 9, decreasing drop skips a quarter of its maximum."""
    deep = Run(shape("gpt2", 12), 10_000, seq_len=16)
    expected = {("pld", ()): 0.729 * 12, ("raptr", ()): 9.0, ("decreasing_drop", (("maximum", 0.8),)): 0.8 * 12}
    for (method, options), depth in expected.items():
        planned = schedule(METHODS[method](name=method, **dict(options)).stages(deep))
        assert planned.expected_depth(0) == pytest.approx(depth, rel=0.01), method
        assert mean(planned.at(step).depth for step in range(0, 10_000, 5)) == pytest.approx(depth, rel=0.03), method


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


def test_a_dropped_block_is_the_identity_and_scaling_is_unbiased() -> None:
    model = build(shape("gpt2"), 4, seed=0).eval()
    hidden = torch.randn(2, 8, 32)

    def run(order: tuple[int, ...], scales: tuple[float, ...]) -> torch.Tensor:
        model.run_in_order(order, scales)
        result = hidden
        for block in model.layers:
            result = block(result)
        return result

    chance = 0.7
    whole, without = run((0, 1), ()), run((0,), ())
    with torch.no_grad():
        dropped_or_scaled = chance * run((0, 1), (1.0, 1 / chance)) + (1 - chance) * without
    assert torch.allclose(dropped_or_scaled, whole, atol=1e-5)


def test_pld_leaves_a_post_norm_model_s_blocks_unscaled() -> None:
    assert all(plan.scales == (1.0,) * plan.depth for plan in map(schedule(stages("pld", "bert")).at, range(100, 200)))


def test_micro_batches_may_draw_depths_of_their_own() -> None:
    together, apart = (schedule(stages("apollo", "gpt2", draw=draw)) for draw in ("step", "micro_step"))
    depths = [
        [planned.at(step, micro).depth for micro in range(8)] for planned in (together, apart) for step in range(9)
    ]
    assert all(len(set(step)) == 1 for step in depths[:9])
    assert any(len(set(step)) > 1 for step in depths[9:])


def test_a_tied_layer_can_be_given_the_mean_of_its_gradients() -> None:
    of = shape("gpt2")
    summed, averaged = (build(of, 1, seed=0) for _ in range(2))
    averaged.average_tied_gradients()
    for model in (summed, averaged):
        model.run_in_order((0, 0, 0, 0))
        model(*batch(of)).backward()
    for a, b in zip(summed.layers[0].parameters(), averaged.layers[0].parameters(), strict=True):
        assert torch.allclose(a.grad / 4, b.grad, atol=1e-7)


# What a growth leaves as it is.


@pytest.mark.parametrize("family", ["bert", "roberta_prelayernorm", "gpt2"])
@pytest.mark.parametrize("width", ["tiled", "uneven", "block_diagonal"])
@pytest.mark.parametrize(
    "narrow", [{"intermediate_size": 32}, {"hidden_size": 16, "num_heads": 1, "intermediate_size": 32}]
)
def test_widening_leaves_the_loss_as_it_is(family: str, width: str, narrow: dict[str, int]) -> None:
    new = stages("scratch", family)[0]
    new = replace(new, growth=replace(new.growth, width=width))
    small, large = grown(replace(new, shape=shape(family, **narrow)), new)
    assert float(small(*batch(small.shape))) == pytest.approx(float(large(*batch(large.shape))), abs=1e-5)


def test_compound_grow_s_widening_is_exact_and_its_copies_part() -> None:
    before, after = stages("compound_grow", "bert")[:2]
    before = replace(before, unique_layers=after.unique_layers)
    small, large = grown(before, after)
    assert float(small(*batch(small.shape))) == pytest.approx(float(large(*batch(large.shape))), abs=1e-5)
    large(*batch(large.shape)).backward()
    gradient = large.model.get_parameter("bert.encoder.layer.0.intermediate.dense.weight").grad
    first, copy = gradient.chunk(2)
    assert not torch.allclose(first, copy, rtol=0.05)


@pytest.mark.parametrize("family", ["roberta_prelayernorm", "gpt2"])
@pytest.mark.parametrize("method", ["staged", "net2net"])
def test_growths_that_preserve_a_pre_norm_function(family: str, method: str) -> None:
    planned = stages(method, family, **({"width": "tiled"} if method == "net2net" else {}))
    for before, after in pairwise(planned):
        old, new = grown(before, after)
        assert float(old(*batch(old.shape))) == pytest.approx(float(new(*batch(new.shape))), abs=2e-5)


def test_block_diagonal_doubling_halves_every_gradient_but_the_final_norm_s() -> None:
    new = stages("scratch", "gpt2")[0]
    new = replace(new, growth=replace(new.growth, width="block_diagonal"))
    old = replace(new, shape=shape("gpt2", hidden_size=16, num_heads=1, intermediate_size=32))
    small, large = grown(old, new)
    for model in (small, large):
        model(*batch(model.shape)).backward()
    name = "transformer.h.1.mlp.c_fc.weight"
    before, after = (model.model.get_parameter(name).grad for model in (small, large))
    assert torch.allclose(after, before.repeat(2, 2) / 2, atol=1e-6)  # also off the diagonal, where the weight is zero
    before, after = (model.model.get_parameter("transformer.ln_f.weight").grad for model in (small, large))
    assert torch.allclose(after, before.repeat(2), atol=1e-6)


# What the course of a run is.


def test_the_learning_rate_restarts_with_a_new_course() -> None:
    planned = schedule(stages("g_stack", "gpt2", grow_at=0.25))
    rates = [planned.at(step).learning_rate for step in range(400)]
    assert max(rates[:100]) == max(rates[100:]) == pytest.approx(1e-3)
    assert rates[99] < 2e-6
    assert rates[100] == pytest.approx(1e-3 / 30)
    assert rates[399] < 2e-6


def test_the_learning_rate_goes_back_where_staged_training_grows() -> None:
    planned = schedule(stages("staged", "gpt2", rewarm="none"))
    rates = [planned.at(step).learning_rate for step in range(400)]
    assert rates[100] == pytest.approx(rates[round(100 / 1.776)], rel=1e-6)
    assert rates[100] > rates[99]
    assert rates[399] < 1e-5


def test_a_stage_that_ends_early_gives_its_steps_to_the_last() -> None:
    planned = schedule(stages("staged", "gpt2"))
    planned.end_stage(60)
    assert planned.stage_steps == [60, 100, 240]
    assert planned.at(60).stage == 1
    assert planned.total_steps == 400


def test_a_flat_loss_ends_a_stage_and_a_steep_one_does_not() -> None:
    trigger = SlopeFlatterThan(-0.05)
    flops = [1e9, 2e9, 4e9]
    assert not trigger.fires(Evidence(flops[:2], [3.0, 3.0]))
    assert trigger.fires(Evidence(flops, [3.0, 2.99, 2.98]))
    assert not trigger.fires(Evidence(flops, [3.0, 2.7, 2.4]))


def test_layers_part_when_gradients_disagree_three_times_running() -> None:
    assert not GradientsDisagree().fires(Evidence(correlations=[0.2, 0.9, 0.2, 0.2]))
    assert GradientsDisagree().fires(Evidence(correlations=[0.9, 0.2, 0.4, 0.1]))


# What the engine does with it.


class Traffic:
    """Counts the elements that this rank hands to DeepSpeed's collective operations."""

    def __init__(self) -> None:
        self.backend = deepspeed.comm.comm.cdb
        self.elements = 0
        self.originals = {
            name: getattr(self.backend, name)
            for name in dir(self.backend)
            if name.startswith(("all_", "reduce", "broadcast", "inference_all"))
            and callable(getattr(self.backend, name))
        }

    def __enter__(self) -> "Traffic":
        for name, original in self.originals.items():
            setattr(self.backend, name, partial(self._count, original))
        return self

    def _count(self, original: Any, *arguments: Any, **options: Any) -> Any:
        tensors = [value for value in (*arguments, *options.values()) if isinstance(value, torch.Tensor)]
        self.elements += max((tensor.numel() for tensor in tensors), default=0)
        return original(*arguments, **options)

    def __exit__(self, *_: Any) -> None:
        for name, original in self.originals.items():
            setattr(self.backend, name, original)


def step_and_look(processes: Processes, recipe: Recipe, stage_number: int, steps: int) -> dict[str, Any]:
    """Train a stage; what its layers hold before and after, and the elements that ranks exchanged in its last step."""
    schedule = recipe.schedule()
    stage = schedule.stages[stage_number]
    engine = Engine(build_for(stage, seed=1), recipe, processes)
    source = BatchSource(corpus(recipe.model.family), recipe.model, recipe.seq_len, recipe.seed)
    first = schedule.first_steps[stage_number]
    seen: list[dict[str, Any]] = []
    for step in range(first, first + steps):
        plan = schedule.at(step)
        micro_batch = recipe.micro_batch(processes.world_size)
        batches = source.micro_batches(
            plan, recipe.global_batch_size, micro_batch, processes.rank, processes.world_size
        )
        with Traffic() as traffic:
            engine.train_step(batches, [plan] * len(batches))
        seen.append({"plan": plan, "state": engine.capture()})
    optimizer_elements = sum(part.length for _, _, part in engine._slices())
    state = [
        {
            name: {key: tensor.clone() for key, tensor in part.tensors.items()}
            for name, part in step["state"].slices.items()
        }
        for step in seen
    ]
    engine.close()
    return {
        "plans": [step["plan"] for step in seen],
        "states": state,
        "optimizer": optimizer_elements,
        "traffic": traffic.elements,
    }


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_skipped_layer_is_moved_by_nothing(stage: int) -> None:
    """Neither momentum nor decay, at every ZeRO stage; the layers that run do move."""
    recipe = tiny(
        "gpt2", "unused", method={"name": "pld", "gamma": 1000.0, "theta": 0.3}, deepspeed=zero(stage), weight_decay=0.1
    )
    (result, _) = pool(2).run(step_and_look, recipe, 0, 8)
    skipped = 0
    for plan, before, after in zip(result["plans"][1:], result["states"], result["states"][1:], strict=False):
        for layer in range(6):
            name = f"model.transformer.h.{layer}.mlp.c_fc.weight"
            if not after[name][WEIGHT].numel():
                continue  # the other rank has it
            same = [torch.equal(before[name][key], after[name][key]) for key in before[name]]
            assert same == [layer not in plan.layer_map] * 3
            skipped += same[0]
    assert skipped


@pytest.mark.parametrize("stage", [1, 2])
def test_a_frozen_prefix_is_not_communicated(stage: int) -> None:
    recipe = tiny("bert", "unused", method={"name": "mslt", "blocks": 3}, deepspeed=zero(stage))
    frozen, joint = (pool(2).run(step_and_look, recipe, number, 1)[0] for number in (2, 3))
    share = recipe_trainable(recipe, 2) / recipe_trainable(recipe, 3)
    assert share < 0.4
    assert frozen["traffic"] == pytest.approx(share * joint["traffic"], rel=0.05)


def recipe_trainable(recipe: Recipe, stage_number: int) -> int:
    stage = recipe.schedule().stages[stage_number]
    return trainable_parameters(stage.shape, stage.unique_layers, stage.frozen_layers)


@pytest.mark.parametrize("stage", [1, 3])
def test_a_frozen_prefix_stays_bit_for_bit_and_holds_no_moments(stage: int) -> None:
    recipe = tiny("bert", "unused", method={"name": "mslt", "blocks": 3}, deepspeed=zero(stage, "bf16"))
    results = pool(2).run(step_and_look, recipe, 1, 3)
    assert sum(result["optimizer"] for result in results) == recipe_trainable(recipe, 1)
    first, last = results[0]["states"][0], results[0]["states"][-1]
    frozen = [name for name in first if ".layer.0." in name or ".layer.1." in name or "embeddings" in name]
    assert len(frozen) == 2 * 16 + 5
    for name in frozen:
        assert set(last[name]) == {WEIGHT}
        assert torch.equal(first[name][WEIGHT], last[name][WEIGHT])
    moving = first["model.bert.encoder.layer.2.output.dense.weight"][WEIGHT]
    assert not torch.equal(moving, last["model.bert.encoder.layer.2.output.dense.weight"][WEIGHT])
