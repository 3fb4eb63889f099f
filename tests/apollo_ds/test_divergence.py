"""Numbers that go wrong: steps without a finite gradient change nothing; loss spikes lead back, once, past the data."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from runs import events, trainer

from apollo_ds.checkpoint.position import Memory
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.experiments.events import read_metrics
from apollo_ds.models.pretraining import build
from apollo_ds.training.faults.loss_spikes import DivergenceWatch, WentWrong


def watch(**changes: Any) -> DivergenceWatch:
    return DivergenceWatch(tiny("gpt2", "unused", **changes), Memory())


def falling_losses(steps: int) -> list[float]:
    noise = random.Random(0)
    return [6 * math.exp(-step / 300) + 2 + noise.gauss(0, 0.2) for step in range(steps)]


def test_a_run_of_noisy_falling_losses_is_left_alone() -> None:
    judge = watch()
    for step, loss in enumerate(falling_losses(2000), 1):
        judge.see(step, 0, loss + (2.5 if step % 50 == 0 else 0), 1.0)  # single outliers too


@pytest.mark.parametrize("height", [4.0, 100.0])
def test_a_spike_is_seen_at_its_third_step(height: float) -> None:
    judge = watch()
    for step, loss in enumerate(falling_losses(500), 1):
        judge.see(step, 0, loss, 1.0)
    for step in (501, 502):
        judge.see(step, 0, 3.1 + height, 1.0)
    with pytest.raises(WentWrong, match="for 3 steps") as seen:
        judge.see(503, 0, 3.1 + height, 1.0)
    assert (seen.value.first, seen.value.last) == (501, 503)


def test_a_new_stage_is_measured_by_its_own_losses() -> None:
    judge = watch()
    for step, loss in enumerate(falling_losses(500), 1):
        judge.see(step, 0, loss, 1.0)
    for step in range(501, 520):
        judge.see(step, 1, 50.0, 1.0)


def test_bad_steps_in_a_row_are_too_many_at_the_limit() -> None:
    judge = watch(bad_steps=4)
    for step, bad in enumerate([1, 1, 1, 0, 1, 1, 1], 1):
        judge.see(step, 0, math.nan if bad else 3.0, math.inf if bad else 1.0)
    with pytest.raises(WentWrong, match="4 steps in a row") as seen:
        judge.see(8, 0, 3.0, math.inf)
    assert (seen.value.first, seen.value.last) == (5, 8)
    assert judge.memory.skipped_steps == 7


def test_overflow_is_usual_in_fp16() -> None:
    judge = watch(bad_steps=2, deepspeed=zero(1, "fp16"))
    for step in range(1, 20):
        judge.see(step, 0, 3.0, math.inf)


def step_with_poison(processes: Processes, recipe: Recipe, poison: float) -> list[Any]:
    """A good step, one with a poisoned loss on the second rank, a good one; and the same without the poisoned one.

    Returns for both: the norms, and the state after all.
    """
    source = BatchSource(Corpus.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    results = []
    for plans in ([0, 1, 2], [0, 2]):
        engine = Engine(build(recipe.model, 6, recipe.seed), recipe, processes)
        norms = []
        for step in plans:
            plan = recipe.schedule().at(step)
            share = recipe.global_batch_size // processes.world_size
            batches = source.micro_batches(plan, recipe.global_batch_size, share, processes.rank, processes.world_size)
            forward = engine.model.forward
            if step == 1 and processes.rank == 1:
                engine.model.forward = lambda *batch, f=forward: f(*batch) * poison
            norms.append(float(engine.train_step(batches, [plan]).grad_norm))
            engine.model.forward = forward
        state = engine.capture()
        results.append((norms, state.counters.adam_step, {name: part.tensors for name, part in state.slices.items()}))
        engine.close()
    return results


@pytest.mark.parametrize(
    ("stage", "precision", "poison"),
    [
        *((stage, precision, math.nan) for stage in range(4) for precision in ("fp32", "bf16")),
        (1, "bf16", math.inf),
    ],
)
def test_a_poisoned_loss_on_one_rank_leaves_all_ranks_as_they_were(stage: int, precision: str, poison: float) -> None:
    recipe = tiny("gpt2", "unused", method="scratch", deepspeed=zero(stage, precision), learning_rate=1e-2)
    for (norms, steps, poisoned), (_, steps_without, clean) in pool(2).run(step_with_poison, recipe, poison):
        assert math.isinf(norms[1])
        assert math.isfinite(norms[0])
        assert math.isfinite(norms[2])
        assert steps == steps_without == 2
        for name, tensors in clean.items():
            for key, tensor in tensors.items():
                assert torch.equal(tensor, poisoned[name][key]), (name, key)


def train_with_bad_data(processes: Processes, recipe: Recipe, first: int, last: int, factor: float) -> str | None:
    """Train, where losses are multiplied while the data between two token positions is read."""
    run = trainer(processes, recipe)
    positions = {}
    batches_of, step = run.source.micro_batches, Engine.train_step

    def noted(plan: Any, *arguments: Any) -> Any:
        positions[plan.step] = plan.first_token
        return batches_of(plan, *arguments)

    def multiplied(engine: Engine, batches: Any, plans: Any, *rest: Any) -> Any:
        forward = engine.model.forward
        if first <= positions[plans[0].step] < last:
            engine.model.forward = lambda *batch: forward(*batch) * factor
        try:
            return step(engine, batches, plans, *rest)
        finally:
            engine.model.forward = forward

    run.source.micro_batches = noted
    Engine.train_step = multiplied
    try:
        run.train()
    except UserError as error:
        return str(error)
    finally:
        Engine.train_step = step
        run.close()
    return None


BATCH_TOKENS = 8 * 32


@pytest.mark.parametrize("factor", [math.nan, 10.0])
def test_bad_data_is_passed_over_once(factor: float, tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", steps=80, save_every=20, bad_steps=3, log_every=5)
    # Steps 51 to 55 read it, and it shows at step 53; the run goes back to 40 and past what 41 to 53 read.
    bad = (50 * BATCH_TOKENS, 55 * BATCH_TOKENS)
    assert pool(2).run(train_with_bad_data, recipe, *bad, factor) == [None, None]
    (detour,) = events(recipe, "detour")
    assert (detour["step"], detour["to"], detour["went_wrong_at"]) == (40, 40, 53)
    assert detour["tokens"] == 13 * BATCH_TOKENS
    step_40 = next(event for event in events(recipe, "step") if event["step"] == 40)
    assert detour["lost_flops"] == pytest.approx(15 / 40 * step_40["flops"])  # the third bad step in a row was the 55th
    assert detour["lost_seconds"] > 0
    steps = [event["step"] for event in events(recipe, "step")]
    assert steps == list(range(1, 81))
    losses = [event["loss"] for event in events(recipe, "step")]
    spoiled = [number for number, loss in enumerate(losses, 1) if loss is None or loss > 8]
    assert spoiled == [41, 42]  # what is left of the bad data, too short to matter
    assert read_metrics(recipe.out / "metrics.jsonl")[-1]["event"] == "end"
    skipped = [event["skipped_steps"] for event in events(recipe, "step")]
    assert skipped[-1] == (2 if math.isnan(factor) else 0)


def test_what_passing_over_data_does_not_mend_ends_the_run_with_a_report(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", steps=80, save_every=20, bad_steps=3, log_every=5)
    said = pool(2).run(train_with_bad_data, recipe, 50 * BATCH_TOKENS, 1000 * BATCH_TOKENS, math.nan)
    assert said[0] == said[1]
    assert "training went wrong at step 43: 3 steps in a row had no finite loss or gradient" in said[0]
    assert "since step 53" in said[0]
    assert "lower learning_rate" in said[0]
    assert (recipe.out / "checkpoints" / "latest").read_text() == "step-40"
