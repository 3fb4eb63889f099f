"""Runs that make a trained model deeper: what was old stays where only the new layers train."""

from functools import cache
from math import isfinite
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train, train_with_interruptions, trained
from torch import Tensor

from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.recipe import Recipe
from apollo_ds.growth.counters import MOMENTS, WEIGHT
from apollo_ds.models.families import FAMILIES
from apollo_ds.planning.plan import plan

SOURCE_STEPS, STEPS = 12, 8
ORIGINS = (0, 1, 1, 2, 3, 3)
"""The source's layer that each of six is made from, of four by block expansion."""
NEW = (2, 5)


@cache
def source(family: str, layers: int = 4) -> Recipe:
    """A trained model of the same width."""
    out = mkdtemp(prefix="apollo-ds-source-")
    model = {**tiny(family, out).model.model_dump(), "num_layers": layers}
    recipe = tiny(family, out, model=model, method="scratch", steps=SOURCE_STEPS)
    pool(2).run(train, recipe)
    return recipe


def upscaled(family: str, out: Path, folder: Path, **changes: Any) -> Recipe:
    method = {"name": "upscale", "source": str(folder), **changes.pop("options", {"train": "new"})}
    return tiny(family, out, **{"method": method, "steps": STEPS, **changes})


def saved(recipe: Recipe, key: str = WEIGHT) -> dict[str, Tensor]:
    state = SavedState(verify(recipe.out / "checkpoints" / f"step-{recipe.steps}"))
    return {name: state.gather(name, key, torch.device("cpu")) for name in state.names()}


def layer_of(name: str, family: str) -> int | None:
    rest = name.removeprefix(f"model.{FAMILIES[family].blocks}.")
    return None if rest == name else int(rest.partition(".")[0])


def assert_learns(run: Recipe) -> None:
    assert len(losses(run)) == STEPS and all(map(isfinite, losses(run)))
    assert events(run, "end")[0]["loss"] < events(run, "growth")[0]["loss_after"]


CASES: list[tuple[str, dict[str, Any]]] = [
    ("gpt_neox", {"deepspeed": zero(0)}),  # its head has a matrix of its own
    ("gpt_neox", {"deepspeed": zero(1)}),
    ("gpt_neox", {"deepspeed": zero(2)}),
    ("gpt_neox", {"deepspeed": zero(3)}),
    ("gpt_neox", {"deepspeed": zero(3, "bf16")}),
    ("gpt2", {"deepspeed": zero(3), "activation_checkpointing": True}),
    ("gpt2", {"deepspeed": zero(1, "bf16"), "micro_batch_size": 2}),
    ("llama", {"deepspeed": zero(2), "activation_checkpointing": True, "micro_batch_size": 2}),
    ("bert", {"deepspeed": zero(1)}),
]


@pytest.mark.parametrize(("family", "changes"), CASES, ids=str)
def test_the_new_layers_alone_train(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    small = source(family)
    run = upscaled(family, tmp_path / "run", small.out, **changes)
    assert pool(2).run(train, run) == [None, None]

    before, after = saved(small), saved(run)
    moments = [saved(run, key) for key in MOMENTS]
    for name, weight in after.items():
        layer = layer_of(name, family)
        if layer in NEW:
            assert weight.any() and moments[0][name].any(), name
        else:
            blocks = f"model.{FAMILIES[family].blocks}."
            old = name if layer is None else name.replace(f"{blocks}{layer}.", f"{blocks}{ORIGINS[layer]}.", 1)
            assert torch.equal(weight, before[old]), name
            assert not any(moment[name].any() for moment in moments), name

    assert_learns(run)
    (growth,) = events(run, "growth")
    if FAMILIES[family].is_pre_norm:
        assert growth["loss_after"] == pytest.approx(growth["loss_before"], abs=1e-6)
        assert plan(run)["stages"][-1]["function"] == "unchanged"
    assert events(run, "end")[0]["flops"] == pytest.approx(plan(run)["total"]["flops"])


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("train_what", ["new", "all"])
def test_a_run_cut_short_goes_on_to_the_byte(stage: int, train_what: str, tmp_path: Path) -> None:
    whole, cut = (
        upscaled(
            "gpt2",
            tmp_path / name,
            source("gpt2").out,
            options={"train": train_what},
            save_every=3,
            deepspeed=zero(stage),
        )
        for name in ("whole", "cut")
    )
    pool(2).run(train, whole)
    pool(2).run(train_with_interruptions, cut, [2, 5])
    assert trained(cut) == trained(whole)
    for key in (WEIGHT, *MOMENTS):
        ended, expected = saved(cut, key), saved(whole, key)
        assert all(torch.equal(ended[name], expected[name]) for name in expected)


def test_a_model_is_made_deeper_once_more(tmp_path: Path) -> None:
    first = upscaled("gpt2", tmp_path / "first", source("gpt2", 3).out)
    pool(2).run(train, first)
    model = {**first.model.model_dump(), "num_layers": 8}
    second = upscaled("gpt2", tmp_path / "second", first.out, model=model)
    assert pool(2).run(train, second) == [None, None]
    assert events(second, "growth")[0]["loss_after"] == pytest.approx(events(first, "end")[0]["loss"], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "family"),
    [
        ({"growth_map": "duplicate_middle", "new_layers": "copy"}, "llama"),
        ({"growth_map": "stack", "new_layers": "copy", "moments": "map"}, "gpt2"),
        ({"growth_map": "duplicate_middle", "new_layers": "copy", "train": "new"}, "qwen3"),
    ],
    ids=str,
)
def test_other_ways_to_make_it_deeper(options: dict[str, str], family: str, tmp_path: Path) -> None:
    run = upscaled(family, tmp_path / "run", source(family).out, options=options)
    assert pool(2).run(train, run) == [None, None]
    assert_learns(run)
