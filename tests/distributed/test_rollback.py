"""Numbers that go wrong: steps without a finite gradient change nothing; loss spikes lead back, once, past the data."""

from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest
from poison import assert_poison_changes_nothing
from ranks import pool
from recipes import tiny
from runs import events, train

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.events import read_metrics
from apollo_ds.models.pretraining import Batch
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.training.rank_batches import RankBatches


@pytest.mark.parametrize(
    ("stage", "precision", "poison"),
    [(0, "fp32", nan), (1, "bf16", nan), (1, "bf16", inf), (2, "fp32", nan), (3, "bf16", nan)],
)
def test_a_poisoned_loss_on_one_rank_leaves_all_ranks_as_they_were(stage: int, precision: str, poison: float) -> None:
    assert_poison_changes_nothing(stage, precision, poison)


def train_with_bad_data(processes: Processes, recipe: Recipe, first: int, last: int, factor: float) -> str | None:
    """Train, where losses are multiplied while the data between two token positions is read."""
    positions: dict[int, int] = {}
    batches_of, train_step = RankBatches.of_step, Engine.train_step

    def noted(batches: RankBatches, schedule: Schedule, step: int, skipped_tokens: int) -> list[Batch]:
        positions[step] = schedule.at(step).first_token + skipped_tokens
        return batches_of(batches, schedule, step, skipped_tokens)

    def multiplied(engine: Engine, batches: Any, plans: Any, *rest: Any) -> Any:
        forward = engine.model.forward
        if first <= positions[plans[0].step] < last:
            engine.model.forward = lambda *batch: forward(*batch) * factor
        try:
            return train_step(engine, batches, plans, *rest)
        finally:
            engine.model.forward = forward

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RankBatches, "of_step", noted)
        patch.setattr(Engine, "train_step", multiplied)
        return train(processes, recipe)


BATCH_TOKENS = 8 * 32


@pytest.mark.parametrize("factor", [nan, 10.0])
def test_bad_data_is_passed_over_once(factor: float, tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", steps=80, save_every=20, bad_steps=3, log_every=5)
    # Steps 51 to 55 read it, and it shows at step 53; the run goes back to 40 and past what 41 to 53 read.
    bad = (50 * BATCH_TOKENS, 55 * BATCH_TOKENS)
    assert pool(2).run(train_with_bad_data, recipe, *bad, factor) == [None, None]
    (rollback,) = events(recipe, "rollback")
    assert (rollback["step"], rollback["to"], rollback["went_wrong_at"]) == (40, 40, 53)
    assert rollback["tokens"] == 13 * BATCH_TOKENS
    step_40 = next(event for event in events(recipe, "step") if event["step"] == 40)
    assert rollback["lost_flops"] == pytest.approx(
        15 / 40 * step_40["flops"]
    )  # the third bad step in a row was the 55th
    assert rollback["lost_seconds"] > 0
    steps = [event["step"] for event in events(recipe, "step")]
    assert steps == list(range(1, 81))
    losses = [event["loss"] for event in events(recipe, "step")]
    spoiled = [number for number, loss in enumerate(losses, 1) if loss is None or loss > 8]
    assert spoiled == [41, 42]  # what is left of the bad data, too short to matter
    assert read_metrics(recipe.out / "metrics.jsonl")[-1]["event"] == "end"
    skipped = [event["skipped_steps"] for event in events(recipe, "step")]
    assert skipped[-1] == (2 if isnan(factor) else 0)


def test_what_passing_over_data_does_not_mend_ends_the_run_with_a_report(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", steps=80, save_every=20, bad_steps=3, log_every=5)
    said = pool(2).run(train_with_bad_data, recipe, 50 * BATCH_TOKENS, 1000 * BATCH_TOKENS, nan)
    assert said[0] == said[1]
    assert "training went wrong at step 43: 3 steps in a row had no finite loss or gradient" in said[0]
    assert "it had gone wrong at step 53 before" in said[0]
    assert "lower learning_rate" in said[0]
    assert (recipe.out / "checkpoints" / "latest").read_text() == "step-40"
