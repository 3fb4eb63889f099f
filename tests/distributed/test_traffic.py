"""What ranks hand to collective operations, and keep of a training state, against the closed forms of `plan`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batches import model_and_batch
from ranks import pool
from recipes import tiny, zero
from sources import needed
from torch import Tensor
from traffic import counted, sent

from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.progress import Course, LossMemory, Progress
from apollo_ds.checkpoint.save import save_checkpoint
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.deepspeed import zero_stage
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine import layout, restore
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.flops import parameters
from apollo_ds.planning.micro_batch import samples_at_once
from apollo_ds.planning.traffic import checkpoint_bytes, growth_bytes, resume_bytes, step_bytes
from apollo_ds.planning.zero import stage_bytes
from apollo_ds.schedule.totals import Totals
from apollo_ds.training.growing import StageEngines

RANKS = 2
GROWING = ("apollo", "mslt")
NO_MEMORY = {"stage3_param_persistence_threshold": 0, "stage3_max_reuse_distance": 0, "stage3_prefetch_bucket_size": 0}
"""At ZeRO 3 nothing is kept from one use to the next: a tiny model would be kept as a whole, a great one is not."""


def configured(stage: int, precision: str = "fp32", **keys: Any) -> dict[str, Any]:
    config = zero(stage, precision)
    return {**config, "zero_optimization": {**config["zero_optimization"], **NO_MEMORY, **keys}}


def sent_in_a_step(processes: Processes, recipe: Recipe, number: int) -> Counter[str]:
    """Of the third step of a stage at its greatest depth; the first ones set things up."""
    schedule = recipe.schedule()
    stage = schedule.stages[number]
    engine = StageEngines(recipe, processes).build(schedule, number, initialised=True)
    depth = stage.evaluation_depth
    plan = schedule.at(schedule.first_steps[number])
    plan = replace(plan, layer_map=stage.map_to(depth), first_trained=stage.first_trained(depth), scales=())
    share = recipe.global_batch_size // recipe.sample_groups(processes.world_size)
    at_once = samples_at_once(recipe, stage, depth - plan.first_trained, processes.world_size)
    _, batch = model_and_batch(recipe.model.family, at_once)
    batches = [batch] * (share // at_once)
    for _ in range(3):
        with counted() as counts:
            engine.train_step(batches, [plan] * len(batches))
    engine.close()
    return counts


def check_step(recipe: Recipe, number: int = -1) -> Counter[str]:
    number %= len(recipe.schedule().stages)
    counts = pool(RANKS).run(sent_in_a_step, recipe, number)
    stage = recipe.schedule().stages[number]
    expected = step_bytes(recipe, stage, zero_stage(recipe.deepspeed), RANKS)
    for of_rank in counts:
        assert sent(of_rank, RANKS) == pytest.approx(expected, rel=0.003)
    return counts[0]


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_step_sends_what_the_plan_says(stage: int, precision: str, micro_batches: int) -> None:
    recipe = tiny("gpt2", "unused", deepspeed=configured(stage, precision), micro_batch_size=4 // micro_batches)
    check_step(recipe)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", [0, 3])
def test_a_step_of_muon_sends_what_the_plan_says(stage: int, precision: str) -> None:
    counts = check_step(tiny("llama", "unused", optimizer="muon", deepspeed=configured(stage, precision)))
    assert bool(counts["all_to_all_single"]) == (stage == 3)


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt_neox", "llama", "modernbert"])
def test_ranks_that_share_samples_exchange_what_the_plan_says(family: str, checkpointed: bool) -> None:
    recipe = tiny(family, "unused", deepspeed=configured(1), sequence_parallel=2, activation_checkpointing=checkpointed)
    assert check_step(recipe)["all_to_all_single"] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_layers_are_gathered_once_more(family: str) -> None:
    check_step(tiny(family, "unused", deepspeed=configured(3), activation_checkpointing=True))


def test_a_shared_layer_is_gathered_at_most_as_often_as_it_runs() -> None:
    """In the backward DeepSpeed keeps it until its last use."""
    recipe = tiny("gpt2", "unused", deepspeed=configured(3))
    first = recipe.schedule().stages[0]
    assert first.evaluation_depth > first.unique_layers
    most = step_bytes(recipe, first, 3, RANKS)
    for counts in pool(RANKS).run(sent_in_a_step, recipe, 0):
        assert 0.6 * most < sent(counts, RANKS) < most


FACTORED = {
    "name": "compound_grow",
    "moments": "map",
    "stage_list": [
        {"fraction": 0.25, "layers": 3, "intermediate_size": 48, "feed_forward_rank": 8, "pool": 2},
        {"fraction": 0.25, "intermediate_size": 48, "feed_forward_rank": 8},
        {"fraction": 0.25, "intermediate_size": 48},
        {"fraction": 0.25},
    ],
}


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("family", ["bert", "roberta_prelayernorm"])
def test_factors_are_gathered_in_the_place_of_matrices(family: str, checkpointed: bool) -> None:
    kind = {"deepspeed": configured(3), "activation_checkpointing": checkpointed}
    check_step(tiny(family, "unused", method=FACTORED, **kind), 0)


def test_ranks_that_share_samples_exchange_pooled_tokens() -> None:
    recipe = tiny("bert", "unused", method=FACTORED, deepspeed=configured(1), sequence_parallel=2)
    assert check_step(recipe, 0)["all_to_all_single"] > 0


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_growth_sends_and_captures_factors(number: int) -> None:
    """The second makes cohorts, which the third captures too."""
    recipe = tiny("bert", "unused", method=FACTORED, deepspeed=configured(1))
    stages = recipe.schedule().stages
    expected = growth_bytes(recipe, stages, number, 1, RANKS)
    results = pool(RANKS).run(sent_in_a_growth, recipe, number)
    for counts, _ in results:
        assert sent(counts, RANKS) == pytest.approx(expected, rel=0.02)
    captured = sum(size for _, size in results)
    assert captured == pytest.approx(checkpoint_bytes(recipe, stages, number - 1), rel=0.001)


@pytest.mark.parametrize("stage", [1, 2])
def test_sums_of_owners_alone_are_half_of_it(stage: int) -> None:
    recipe = tiny("bert", "unused", deepspeed=configured(stage, use_multi_rank_bucket_allreduce=False))
    assert check_step(recipe)["reduce"] > 0


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_frozen_layers_send_no_gradients(stage: int) -> None:
    recipe = tiny("gpt2", "unused", method="mslt", deepspeed=configured(stage))
    numbers = [n for n, stage in enumerate(recipe.schedule().stages) if stage.frozen.layers]
    check_step(recipe, numbers[-1])


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "bert"])
def test_gradients_that_pass_frozen_layers_need_their_weights(family: str, stage: int, checkpointed: bool) -> None:
    shape = tiny(family, "unused").model
    method = {"name": "upscale", "train": "new", **needed("upscale", shape)}
    check_step(
        tiny(
            family,
            "unused",
            method=method,
            deepspeed=configured(stage),
            activation_checkpointing=checkpointed,
        )
    )


def sent_in_a_growth(processes: Processes, recipe: Recipe, number: int) -> tuple[Counter[str], int]:
    """When a stage is entered, after the growths before it; and the bytes that this rank captured of the old state."""
    schedule, engines = recipe.schedule(), StageEngines(recipe, processes)
    engine = engines.build(schedule, 0, initialised=True)
    for entered in range(1, number + 1):
        state = engine.capture()
        captured = sum(tensor.nbytes for part in state.slices.values() for tensor in part.tensors.values())
        with counted() as counts:
            engine, _ = engines.grow(engine, schedule, entered - 1, entered)
    engine.close()
    return counts, captured


@pytest.mark.parametrize(
    ("stage", "precision", "method", "optimizer"),
    [
        *(
            (stage, precision, method, "adamw")
            for stage in range(4)
            for precision in ("fp32", "bf16")
            for method in GROWING
        ),
        *((stage, "fp32", "apollo", "muon") for stage in (0, 1, 3)),
    ],
)
def test_a_growth_sends_and_captures_what_the_plan_says(
    stage: int, precision: str, method: str, optimizer: str
) -> None:
    """`mslt` freezes layers and makes cohorts."""
    recipe = tiny("gpt2", "unused", method=method, optimizer=optimizer, deepspeed=configured(stage, precision))
    stages = recipe.schedule().stages
    expected = growth_bytes(recipe, stages, 2, stage, RANKS)
    results = pool(RANKS).run(sent_in_a_growth, recipe, 2)
    for counts, _ in results:
        assert sent(counts, RANKS) == pytest.approx(expected, rel=0.02)
    captured = sum(size for _, size in results)
    assert captured == pytest.approx(checkpoint_bytes(recipe, stages, 1), rel=0.001)


def resumed(processes: Processes, recipe: Recipe, folder: Path) -> tuple[Counter[str], int]:
    """Of the second stage, whose state is saved first; and the bytes that this rank read of it."""
    schedule, engines = recipe.schedule(), StageEngines(recipe, processes)
    engine = engines.build(schedule, 0, initialised=True)
    engine, _ = engines.grow(engine, schedule, 0, 1)
    course = Course(1, [5] * len(schedule.stages))
    progress = Progress(Totals(), course, metrics_bytes=0, metrics_hash="", memory=LossMemory())
    save_checkpoint(folder, engine.capture(), progress, "run", SideChannel(processes))
    engine.close()
    saved, read = SavedState(verify(folder / "step-0")), 0
    read_into = saved.read_into

    def counting(name: str, tensor: str, start: int, target: Tensor) -> None:
        nonlocal read
        read += target.nbytes
        read_into(name, tensor, start, target)

    saved.read_into = counting  # type: ignore[method-assign]
    with counted() as counts:
        engine = engines.build(schedule, 1, initialised=False)
        restore.load(engine, saved)
    engine.close()
    return counts, read


@pytest.mark.parametrize(
    ("stage", "method", "optimizer"),
    [*((stage, method, "adamw") for stage in range(4) for method in GROWING), (0, "mslt", "muon"), (3, "mslt", "muon")],
)
def test_a_resume_sends_and_reads_what_the_plan_says(stage: int, method: str, optimizer: str, tmp_path: Path) -> None:
    recipe = tiny("gpt2", "unused", method=method, optimizer=optimizer, deepspeed=configured(stage, "bf16"))
    stages = recipe.schedule().stages
    results = pool(RANKS).run(resumed, recipe, tmp_path)
    for counts, _ in results:
        assert sent(counts, RANKS) == pytest.approx(resume_bytes(recipe, stages, 1, stage, RANKS), rel=0.01)
    size = checkpoint_bytes(recipe, stages, 1)
    assert sum(read for _, read in results) == pytest.approx(size, rel=0.001)
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert size < on_disk < size + 50_000  # names and places of a tiny model's tensors take some kilobytes


def kept(processes: Processes, recipe: Recipe) -> int:
    """Bytes of this rank's weights, fp32 weights of the optimizer's own, and moments."""
    engine = StageEngines(recipe, processes).build(recipe.schedule(), 0, initialised=True)
    flats = layout.flat_tensors(engine.deepspeed)
    weights = [getattr(parameter, "ds_tensor", parameter) for parameter in engine.model.parameters()]
    moments = [moment for state in layout.adam(engine.deepspeed).state.values() for moment in state.values()]
    tensors = {tensor.data_ptr(): tensor.nbytes for tensor in (*weights, *flats, *moments) if tensor.dim()}
    engine.close()
    return sum(tensors.values())


@pytest.mark.parametrize(
    ("stage", "precision", "optimizer"),
    [
        *((stage, precision, "adamw") for stage in range(4) for precision in ("fp32", "bf16")),
        (0, "fp32", "muon"),
        (1, "bf16", "muon"),
        (3, "bf16", "muon"),
    ],
)
def test_a_rank_keeps_what_the_plan_says(stage: int, precision: str, optimizer: str) -> None:
    """Of weights and optimizer; gradients are there only while a step runs."""
    recipe = tiny("gpt2", "unused", method="scratch", optimizer=optimizer, deepspeed=configured(stage, precision))
    (only,) = recipe.schedule().stages
    number = 4 if precision == "fp32" else 2
    gradients = number * parameters(only.shape, only.unique_layers) / (RANKS if stage >= 2 else 1)
    for size in pool(RANKS).run(kept, recipe):
        assert size == pytest.approx(stage_bytes(recipe, only, stage, RANKS) - gradients, rel=0.01)
