"""Whole runs through the trainer: ZeRO stages and numbers of ranks agree, and growths change no loss."""

from itertools import product
from pathlib import Path

import pytest
import torch
from corpora import corpus
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train
from transformers import AutoModelForMaskedLM

from apollo_ds.checkpoint.export import export
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_zero_stages_and_rank_counts_agree_across_growth(family: str, tmp_path: Path) -> None:
    curves = {}
    for world_size, stage in product((1, 2), range(4)):
        recipe = tiny(family, tmp_path / f"{world_size}-{stage}", steps=30, save_every=30, deepspeed=zero(stage))
        pool(world_size).run(train, recipe)
        curves[world_size, stage] = torch.tensor(losses(recipe))
    reference = curves[1, 0]
    assert len(reference) == 30
    assert reference[-1] < reference[0] - 0.5
    for variant, curve in curves.items():
        assert torch.allclose(curve, reference, atol=1e-4, rtol=0), variant


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
    saved = SavedState(in_bf16.out / "checkpoints" / "step-5")
    stage = in_bf16.schedule().stages[saved.course.stage]
    export(saved, stage, corpus("bert").tokenizer_folder, tmp_path / "model")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    first, *others = (list(layer.parameters()) for layer in model.bert.encoder.layer)
    assert len(others) == 5
    assert all(torch.equal(a, b) for layer in others for a, b in zip(layer, first, strict=True))
