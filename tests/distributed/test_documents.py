"""Whole runs on two ranks in which documents do not see each other. A new model family is tested without a change."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from corpora import corpus
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train, trained

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.text import Text
from apollo_ds.engine.processes import Processes
from apollo_ds.growth.state import State
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import Batch
from apollo_ds.schedule.stage import Stage
from apollo_ds.training.gradient_agreement import gradient_agreement

SHORT: dict[str, Any] = {"steps": 12, "save_every": 3, "eval_every": 6, "document_mask": True}


def run(recipe: Recipe, stop_after: int | None = None) -> Recipe:
    pool(2).run(train, recipe, stop_after)
    return recipe


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_on_real_text_cut_short_goes_on_as_if_it_had_not_been(family: str, tmp_path: Path) -> None:
    text = corpus(family, real=True)
    model = {**tiny(family, "unused").model.model_dump(), "vocab_size": text.vocab_size}
    model["max_position_embeddings"] = 256
    changes = {**SHORT, "data": str(text.folder), "model": model, "seq_len": 256}
    whole, cut, apart = (tiny(family, tmp_path / name, **changes) for name in ("whole", "cut", "apart"))
    run(whole)
    run(cut, 7)
    run(cut)
    assert [event["step"] for event in events(cut, "resume")] == [6]
    assert trained(cut) == trained(whole)
    growths = events(whole, "growth")
    assert [growth["loss_before"] for growth in growths] == [growth["loss_after"] for growth in growths]
    together = run(apart.model_copy(update={"document_mask": False}))
    assert losses(together) != losses(whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_zero_stage_gives_the_same_losses(family: str, tmp_path: Path) -> None:
    runs = [run(tiny(family, tmp_path / str(stage), **SHORT, deepspeed=zero(stage))) for stage in range(4)]
    assert len(losses(runs[0])) == SHORT["steps"]
    for other in runs[1:]:
        assert losses(other) == pytest.approx(losses(runs[0]), abs=1e-5)
        assert events(other, "eval")[-1]["loss"] == pytest.approx(events(runs[0], "eval")[-1]["loss"], abs=1e-5)


def test_shorter_samples_part_the_documents_that_start_in_them(tmp_path: Path) -> None:
    method = ["deep_jump", {"name": "short_to_long", "until": [0.5]}]
    masked, plain = (
        tiny("gpt2", tmp_path / str(parts), **{**SHORT, "document_mask": parts}, method=method, seed=1)
        for parts in (True, False)
    )
    documents_start = []
    source = BatchSource(Text.open(masked.data), masked.model, masked.seq_len, masked.seed, parts_documents=True)
    for step in range(masked.steps):
        plan = masked.schedule().at(step)
        (batch,) = source.micro_batches(plan.first_token, plan.seq_len, 8, 8, 0, 1)
        documents_start.append(bool((batch[3][:, 1:] == 0).any()))
    differ = [one != other for one, other in zip(losses(run(masked)), losses(run(plain)), strict=True)]
    first = documents_start.index(True)
    assert differ == [False] * first + [True] * (masked.steps - first)
    assert 0 < first < 6  # while samples are short


def sizes_measured(processes: Processes, recipe: Recipe) -> list[list[tuple[int, ...]]]:
    """Train, and see which tensors the agreement of gradients is measured on."""
    seen = []

    def note(state: State, stage: Stage, batch: Batch, *how: Any) -> float:
        seen.append([tuple(tensor.shape) for tensor in batch])
        return gradient_agreement(state, stage, batch, *how)

    with patch("apollo_ds.training.trainer.gradient_agreement", note):
        train(processes, recipe)
    return seen


def test_the_agreement_of_gradients_is_measured_with_it(tmp_path: Path) -> None:
    method = {"name": "swe", "adaptive": True, "unshare_at": 0.9}
    recipe = tiny("gpt2", tmp_path / "run", **{**SHORT, "eval_every": 4}, method=method)
    found = pool(2).run(sizes_measured, recipe)
    assert found == [[[(4, 32)] * 4] * 2] * 2
