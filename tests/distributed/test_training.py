"""Whole runs through the trainer: ZeRO stages and numbers of ranks agree, and growths change no loss."""

from pathlib import Path

import pytest
import torch
from corpora import corpus
from places import assert_places_agree
from ranks import pool
from recipes import tiny, zero
from runs import events, train
from transformers import AutoModelForMaskedLM

from apollo_ds.checkpoint.export import export
from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.hardware import peak_memory_bytes
from apollo_ds.engine.malloc import return_freed_memory
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.events import read_metrics


@pytest.mark.parametrize(
    ("family", "places"), [("bert", [(1, 0), (1, 2), (2, 1), (2, 3)]), ("gpt2", [(1, 1), (1, 3), (2, 0), (2, 2)])]
)
def test_zero_stages_and_rank_counts_agree_across_growth(
    family: str, places: list[tuple[int, int]], tmp_path: Path
) -> None:
    assert_places_agree(family, places, tmp_path, steps=20)


@pytest.fixture(scope="module")
def in_bf16(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A run through two growths that has kept a checkpoint of each stage."""
    out = tmp_path_factory.mktemp("bf16") / "run"
    recipe = tiny("bert", out, keep_checkpoints=9, deepspeed=zero(1, "bf16"))
    pool(2).run(train, recipe)
    return recipe


def test_growth_in_bf16_leaves_the_held_out_loss_unchanged(in_bf16: Recipe) -> None:
    growths = events(in_bf16, "growth")
    assert [(growth["from"], growth["to"]) for growth in growths] == [(1, 3), (3, 6)]
    for growth in growths:
        assert growth["loss_before"] == growth["loss_after"]


def test_a_run_before_its_last_growth_exports_at_full_depth(in_bf16: Recipe, tmp_path: Path) -> None:
    saved = SavedState(verify(in_bf16.out / "checkpoints" / "step-5"))
    stage = in_bf16.schedule().stages[saved.manifest.course.stage]
    export(saved, stage, corpus("bert"), tmp_path / "model")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    first, *others = (list(layer.parameters()) for layer in model.bert.encoder.layer)
    assert len(others) == 5
    assert all(torch.equal(a, b) for layer in others for a, b in zip(layer, first, strict=True))


def train_after_a_peak(processes: Processes, recipe: Recipe) -> int:
    """Train when much more memory than that was in use before; how much had been."""
    torch.ones(150, 2**20)  # 600 MiB
    return_freed_memory()
    before = peak_memory_bytes(processes.device)
    train(processes, recipe)
    return before


def test_the_peak_of_a_growth_is_its_own(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run")
    most = max(pool(2).run(train_after_a_peak, recipe))
    recorded = read_metrics(recipe.out / "metrics.jsonl")
    of_growths = [event["peak_memory_bytes"] for event in recorded if event["event"] == "growth"]
    of_steps = [event["memory_bytes"] for event in recorded if event["event"] == "ranks"]
    assert len(of_growths) == 2
    assert max(*of_growths, of_steps[-1]) < most - 200 * 2**20
