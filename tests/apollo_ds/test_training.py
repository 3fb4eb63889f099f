"""Whole runs through the trainer: ZeRO stages agree, a killed run goes on as if nothing had happened."""

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from corpora import corpus
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from apollo_ds.checkpoint.export import export
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.finetune.pretrained import Pretrained
from apollo_ds.finetune.problem import Problem
from apollo_ds.models.pretraining import PretrainingModel


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_zero_stages_and_rank_counts_agree_across_growth(family: str, tmp_path: Path) -> None:
    curves = {}
    for world_size, stage in product((1, 2), range(4)):
        recipe = tiny(family, tmp_path / f"{world_size}-{stage}", steps=50, deepspeed=zero(stage))
        pool(world_size).run(train, recipe)
        curves[world_size, stage] = torch.tensor(losses(recipe))
    reference = curves[1, 0]
    assert len(reference) == 50
    assert reference[-1] < reference[0] - 0.5
    for variant, curve in curves.items():
        assert torch.allclose(curve, reference, atol=1e-4, rtol=0), variant


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_growth_leaves_the_held_out_loss_unchanged(precision: str, tmp_path: Path) -> None:
    recipe = tiny("bert", tmp_path / "run", deepspeed=zero(1, precision))
    pool(2).run(train, recipe)
    growths = events(recipe, "growth")
    assert [(growth["from"], growth["to"]) for growth in growths] == [(1, 3), (3, 6)]
    for growth in growths:
        assert growth["loss_before"] == growth["loss_after"]


@pytest.mark.parametrize("stop_after", [4, 5, 7, 13])
def test_a_run_cut_short_goes_on_as_if_it_had_not_been(stop_after: int, tmp_path: Path) -> None:
    whole = tiny("gpt2", tmp_path / "whole", save_every=3)
    cut = tiny("gpt2", tmp_path / "cut", save_every=3)
    pool(2).run(train, whole)
    pool(2).run(train, cut, stop_after)
    pool(2).run(train, cut)
    assert len(events(cut, "resume")) == 1
    for kind in ("step", "eval", "growth"):
        assert events(cut, kind) == events(whole, kind)


def test_a_run_with_dropout_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    shape = {**tiny("bert", "unused").model.model_dump(), "dropout": 0.1}
    whole, cut = (tiny("bert", tmp_path / name, model=shape, steps=12, save_every=4) for name in ("whole", "cut"))
    pool(2).run(train, whole)
    pool(2).run(train, cut, 6)
    pool(2).run(train, cut)
    assert losses(cut) == losses(whole)
    assert len(set(losses(whole))) == 12


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", save_every=5)
    pool(2).run(train, recipe)
    before = losses(recipe)
    damaged = recipe.out / "checkpoints" / "step-20" / "rank-00001.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    pool(2).run(train, recipe)
    assert events(recipe, "resume")[-1]["step"] == 15
    assert losses(recipe) == before


def test_checkpoints_of_two_ranks_continue_on_one(tmp_path: Path) -> None:
    recipe = tiny("bert", tmp_path / "run")
    pool(2).run(train, recipe)
    shutil.rmtree(recipe.out / "checkpoints" / "step-20")
    before = torch.tensor(losses(recipe))
    pool(1).run(train, tiny("bert", recipe.out, deepspeed=zero(2)))
    assert torch.allclose(torch.tensor(losses(recipe)), before, atol=1e-5, rtol=0)


CLASSIFICATION = Problem(
    "AutoModelForSequenceClassification", outputs=lambda outputs: outputs.logits, train=[], held_out=[]
)


@pytest.mark.parametrize(("family", "auto"), [("bert", AutoModelForMaskedLM), ("gpt2", AutoModelForCausalLM)])
def test_the_exported_model_has_the_last_held_out_loss(family: str, auto: Any, tmp_path: Path) -> None:
    recipe = tiny(family, tmp_path / "run")
    pool(2).run(train, recipe)
    folder = recipe.out / "export"
    export(SavedState(recipe.out / "checkpoints" / "step-20"), recipe, corpus(family), folder)
    loaded = auto.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).vocab_size == recipe.model.vocab_size
    assert json.loads((folder / "config.json").read_text())["architectures"]
    model = PretrainingModel(recipe.model, loaded).eval()
    source = BatchSource(corpus(family), recipe.model, recipe.seq_len, recipe.seed)
    with torch.no_grad():
        batches = [float(model(*batch)) for batch in source.validation_batches(16, 4, rank=0, world_size=1)]
    assert sum(batches) / len(batches) == pytest.approx(events(recipe, "eval")[-1]["loss"], abs=1e-6)
    tuned: Any = Pretrained.open(str(recipe.out)).build(CLASSIFICATION, seed=1)
    blocks = model.family.blocks
    for name, weight in loaded.get_submodule(blocks).state_dict().items():
        assert torch.equal(weight, tuned.get_submodule(blocks).state_dict()[name])


def test_a_run_before_its_last_growth_exports_at_full_depth(tmp_path: Path) -> None:
    recipe = tiny("bert", tmp_path / "run", keep_checkpoints=9)
    pool(2).run(train, recipe)
    export(SavedState(recipe.out / "checkpoints" / "step-5"), recipe, corpus("bert"), tmp_path / "model")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    layers = model.bert.encoder.layer
    assert len(layers) == 6
    assert all(
        torch.equal(a, b) for layer in layers for a, b in zip(layer.parameters(), layers[0].parameters(), strict=True)
    )


def train_and_crash(processes: Processes, recipe: Recipe, method: str, call: int) -> None:
    """Train, and die right after an engine's method has been called so often."""

    class Crash(Exception):
        pass

    original = getattr(Engine, method)
    calls = 0

    def crash(engine: Engine, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        result = original(engine, *arguments, **options)
        if calls == call:
            raise Crash
        return result

    setattr(Engine, method, crash)
    try:
        with pytest.raises(Crash):
            train(processes, recipe)
    finally:
        setattr(Engine, method, original)


@pytest.mark.parametrize(
    ("where", "call"),
    [
        # Saving at steps 5 and 10 captures too: the second capture is that of the growth at step 5.
        pytest.param("capture", 2, id="after capture"),
        pytest.param("close", 1, id="after teardown"),
        pytest.param("_set_counters", 1, id="during restore"),
        pytest.param("restore", 1, id="after restore"),
        pytest.param("train_step", 7, id="before the next checkpoint"),
    ],
)
def test_a_crash_inside_a_growth_loses_nothing(where: str, call: int, tmp_path: Path) -> None:
    whole, crashed = tiny("gpt2", tmp_path / "whole"), tiny("gpt2", tmp_path / "crashed")
    pool(2).run(train, whole)
    pool(2).run(train_and_crash, crashed, where, call)
    pool(2).run(train, crashed)
    for kind in ("step", "eval", "growth"):
        assert events(crashed, kind) == events(whole, kind)
