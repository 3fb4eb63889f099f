"""Muon on ranks: the same training at each ZeRO stage and number of ranks, through growths, kills and clipped steps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from engines import train_steps, whole_state
from every_method import small_run
from ranks import pool
from rebuilding import engine_for
from recipes import tiny, zero
from runs import events, losses, train, train_with_interruptions, trained

from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.ready import check_ready
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.optimizers import Muon
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError

LIMIT = 0.5
"""Of the gradient's norm, so low that it is met."""
MUON: dict[str, Any] = {"optimizer": "muon", "learning_rate": 0.02}
LAYOUTS = [(1, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]
"""Numbers of ranks and ZeRO stages, beside a single rank without ZeRO. Alone, ZeRO 1 in fp32 is ZeRO 0."""


def moved_by_group(processes: Processes, recipe: Recipe) -> list[float]:
    """By how much matrices of layers, embeddings and vectors have moved in four steps, at most."""
    engine = engine_for(recipe, 0, processes)
    before = whole_state(processes, engine)
    train_steps(processes, engine, recipe, range(4))
    after = whole_state(processes, engine)
    engine.close()
    sizes = [0.0, 0.0, 0.0]
    for name, weight in after.items():
        if name.endswith("/weight"):
            kind = 2 if weight.dim() == 1 else int(".h." not in name)
            sizes[kind] = max(sizes[kind], float((weight - before[name]).abs().max()))
    return sizes


def clipped(family: str, out: Path, stage: int, **changes: Any) -> Recipe:
    """Fifty steps across two growths whose gradients are clipped."""
    grown = {"name": "apollo", "layers": [1, 3, 6], "grow_at": [0.3, 0.6], "moments": "zero_new"}
    configuration = {**zero(stage), "gradient_clipping": LIMIT}
    return tiny(family, out, **{"method": grown, "steps": 50, **MUON, "deepspeed": configuration, **changes})


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_training_is_the_same_at_each_zero_stage_and_number_of_ranks(family: str, tmp_path: Path) -> None:
    alone = clipped(family, tmp_path / "alone", 0)
    pool(1).run(train, alone)
    assert len(events(alone, "growth")) == 2
    assert sum(step["grad_norm"] > LIMIT for step in events(alone, "step")) > 25
    for ranks, stage in LAYOUTS:
        other = clipped(family, tmp_path / f"{ranks}-{stage}", stage)
        pool(ranks).run(train, other)
        assert torch.allclose(torch.tensor(losses(other)), torch.tensor(losses(alone)), atol=1e-4, rtol=0), (
            ranks,
            stage,
        )


def test_clipping_shortens_the_gradient_and_not_the_update(tmp_path: Path) -> None:
    # Without a mean over steps an orthogonal update does not depend on the gradient's length at all.
    forgetful = {"name": "muon", "momentum": 0.0}
    frozen = {"optimizer": forgetful, "adam_betas": [0.0, 0.0], "adam_epsilon": 1e-30, "method": "scratch"}
    hard, soft = (
        clipped("gpt2", tmp_path / str(limit), 1, steps=6, **frozen, deepspeed={**zero(1), "gradient_clipping": limit})
        for limit in (0.01, 0.0)
    )
    for recipe in (hard, soft):
        pool(2).run(train, recipe)
    assert torch.allclose(torch.tensor(losses(hard)), torch.tensor(losses(soft)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("method", "stage"), [("apollo", 1), ("mslt", 3), ("mango", 1), ("upscale", 3), ("dpt", 1)])
def test_a_run_cut_short_goes_on_as_if_it_had_not_been(method: str, stage: int, tmp_path: Path) -> None:
    whole, cut = (small_run(method, tmp_path / name, **MUON, deepspeed=zero(stage)) for name in ("whole", "cut"))
    pool(2).run(train, whole)
    pool(2).run(train_with_interruptions, cut, [7, 14])
    assert trained(cut) == trained(whole)
    assert events(whole, "eval")[-1]["loss"] < events(whole, "eval")[0]["loss"]


@pytest.mark.parametrize("stage", [1, 3])
def test_a_run_goes_on_elsewhere(stage: int, tmp_path: Path) -> None:
    whole, moved = (clipped("gpt2", tmp_path / name, 2, save_every=10) for name in ("whole", "moved"))
    pool(2).run(train, whole)
    pool(2).run(train, moved, 25)
    elsewhere = moved.model_copy(update={"deepspeed": {**zero(stage), "gradient_clipping": LIMIT}})
    pool(1).run(train, elsewhere)
    assert len(events(moved, "resume")) == 1
    assert torch.allclose(torch.tensor(losses(moved)), torch.tensor(losses(whole)), atol=1e-4, rtol=0)


def test_it_trains_in_half_precision(tmp_path: Path) -> None:
    full, half, offloaded = (
        clipped("llama", tmp_path / name, 1, deepspeed=configuration)
        for name, configuration in (("fp32", zero(1)), ("bf16", zero(1, "bf16")), ("zero3", zero(3, "bf16")))
    )
    for recipe in (full, half, offloaded):
        pool(2).run(train, recipe)
    for recipe in (half, offloaded):
        assert events(recipe, "eval")[-1]["loss"] == pytest.approx(events(full, "eval")[-1]["loss"], abs=0.1)


def test_each_group_of_parameters_has_its_learning_rate(tmp_path: Path) -> None:
    """What has a rate of nearly nothing stays as it was drawn, and all else moves."""
    factors = ("matrix_lr_factor", "embedding_lr_factor", "vector_lr_factor")
    for number, factor in enumerate(factors):
        options = {"name": "muon", factor: 1e-6}
        recipe = clipped("gpt2", tmp_path / factor, 1, steps=4, method="scratch", optimizer=options, weight_decay=0.0)
        moved = pool(2).run(moved_by_group, recipe)[0]
        assert [size < 1e-6 for size in moved] == [place == number for place in range(3)]


def trained_with(optimizer: str, out: Path, **changes: Any) -> Recipe:
    """Three layers for ten steps, or what `changes` say."""
    sizes = {**tiny("gpt2", "unused").model.model_dump(), "num_layers": 3}
    values = {
        "model": sizes,
        "method": "scratch",
        "steps": 10,
        "save_every": 5,
        "keep_every": 5,
        "optimizer": optimizer,
    }
    return tiny("gpt2", out, **{**values, **changes})


def test_the_moments_of_another_optimizer_are_refused_or_begin_anew(tmp_path: Path) -> None:
    source = trained_with("adamw", tmp_path / "source")
    assert pool(2).run(train, source) == [None, None]
    with pytest.raises(UserError, match="optimizer"):
        check_ready(source.model_copy(update={"optimizer": Muon()}), 2)
    with pytest.raises(UserError, match=r"branch_from: .* was trained with adamw, whose moments muon cannot use"):
        check_ready(trained_with("muon", tmp_path / "branch", branch_from=f"{source.out}@5"), 2)

    grown = {"name": "upscale", "source": str(source.out)}
    six = {**source.model.model_dump(), "num_layers": 6}
    kept = trained_with("muon", tmp_path / "kept", model=six, method={**grown, "moments": "map"})
    with pytest.raises(UserError, match=r"method.source: .* with method.moments=reset, or use optimizer=adamw"):
        check_ready(kept, 2)
    anew = trained_with("muon", tmp_path / "anew", model=six, method=grown)
    weights = trained_with("muon", tmp_path / "weights", init_from=str(source.out))
    for recipe in (anew, weights):
        check_ready(recipe, 2)
        assert pool(2).run(train, recipe) == [None, None]
        assert losses(recipe)[0] < losses(source)[0]
        assert losses(recipe)[-1] < losses(recipe)[0]


def test_a_checkpoint_says_which_optimizer_wrote_it(tmp_path: Path) -> None:
    recipe = trained_with("muon", tmp_path / "run")
    pool(2).run(train, recipe)
    saved = SavedState(verify(recipe.out / "checkpoints" / "step-10"))
    assert saved.counters.optimizer == "muon"
    matrix = "model.transformer.h.0.attn.c_attn.weight"
    assert saved.gather(matrix, "exp_avg", torch.device("cpu")).any()
    assert not saved.gather(matrix, "exp_avg_sq", torch.device("cpu")).any()
    assert saved.gather("model.transformer.wte.weight", "exp_avg_sq", torch.device("cpu")).any()
