"""fp16 as GPUs compute it, on a CPU: it trains as fp32 does, and its loss scale goes through growths unharmed."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from emulated_gpu import fp16_as_on_a_gpu
from ranks import pool
from recipes import tiny, zero
from runs import events, train

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes

STAGES = (0, 1, 2, 3)
WINDOW = 3
"""Steps without an overflow after which the scale doubles."""


@dataclass
class Course:
    """The loss scale after each step, whether the step was skipped, and what ended the run if it is not its end."""

    scales: list[float]
    skipped: list[bool]
    complaint: str | None = None


def trained(processes: Processes, recipe: Recipe, stop_after: int | None = None) -> Course:
    """Train in emulated fp16."""
    course, step = Course([], []), Engine.train_step

    def followed(engine: Engine, *arguments: Any, **options: Any) -> Any:
        result = step(engine, *arguments, **options)
        course.scales.append(engine.loss_scaling.state()["cur_scale"])
        course.skipped.append(math.isinf(float(result.grad_norm)))
        return result

    with fp16_as_on_a_gpu(), pytest.MonkeyPatch.context() as patching:
        patching.setattr(Engine, "train_step", followed)
        course.complaint = train(processes, recipe, stop_after)
    return course


def recipe_of(out: Path, deepspeed: dict[str, Any], **changes: Any) -> Recipe:
    """Two growths. Adam's epsilon is so great that an update depends on how large the gradient is."""
    return tiny("gpt2", out, log_every=1, adam_epsilon=1e-2, learning_rate=0.03, deepspeed=deepspeed, **changes)


def fp16(stage: int, power: int) -> dict[str, Any]:
    config = {**zero(stage, "fp16"), "gradient_clipping": 0.5}
    config["fp16"] = {"enabled": True, "initial_scale_power": power, "loss_scale_window": WINDOW}
    return config


@pytest.fixture(scope="module")
def in_fp32(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    recipe = recipe_of(tmp_path_factory.mktemp("fp32") / "run", {**zero(1), "gradient_clipping": 0.5})
    pool(2).run(train, recipe)
    return recipe


@pytest.mark.parametrize("stage", STAGES)
def test_fp16_trains_as_fp32_does_whatever_the_scale(stage: int, in_fp32: Recipe, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "run", fp16(stage, power=6))
    course = pool(2).run(trained, recipe)[0]
    assert not any(course.skipped)
    assert len(set(course.scales)) > 4
    assert any(event["grad_norm"] > 1 for event in events(in_fp32, "step")), "clipping has to have an effect"
    for ours, theirs in zip(events(recipe, "step"), events(in_fp32, "step"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.01)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=0.03)
    for growth in events(recipe, "growth"):
        assert growth["loss_before"] == growth["loss_after"]


@pytest.mark.parametrize("stage", [0, 3])
def test_muon_trains_in_fp16_as_in_fp32(stage: int, tmp_path: Path) -> None:
    half = recipe_of(tmp_path / "half", fp16(stage, power=6), optimizer="muon")
    full = recipe_of(tmp_path / "full", {**zero(1), "gradient_clipping": 0.5}, optimizer="muon")
    assert not any(pool(2).run(trained, half)[0].skipped)
    pool(2).run(train, full)
    for ours, theirs in zip(events(half, "step"), events(full, "step"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.03)


@pytest.mark.parametrize(("stage", "optimizer"), [(1, "adamw"), (2, "adamw"), (3, "adamw"), (3, "muon")])
def test_the_scale_goes_on_through_growths_as_if_there_were_none(stage: int, optimizer: str, tmp_path: Path) -> None:
    """It begins far too high, so that a growth comes while it falls; later it rises and falls again."""
    recipe = recipe_of(tmp_path / "run", fp16(stage, power=24), optimizer=optimizer)
    course, *others = pool(2).run(trained, recipe)
    assert others == [course]
    assert course.skipped[:6] == [True] * 6
    assert not all(course.skipped)
    assert course.scales == expected_scales(2.0**24, course.skipped)
    assert [event["grad_norm"] is None for event in events(recipe, "step")] == course.skipped


def expected_scales(scale: float, skipped: list[bool]) -> list[float]:
    """DeepSpeed's rule: of two overflows in a row the second halves it, and so do those after it."""
    patience, last, scales = 2, -1, []
    for step, overflow in enumerate(skipped):
        if overflow:
            scale, patience, last = (scale / 2 if patience == 1 else scale), 1, step
        elif step - last > 1 and (step - last - 1) % WINDOW == 0:
            scale, patience = scale * 2, 2
        scales.append(scale)
    return scales


@pytest.mark.parametrize(("stage", "scale"), [(0, {"loss_scale": 2.0**32}), (1, {"min_loss_scale": 2**32})])
def test_a_scale_that_cannot_fall_is_told(stage: int, scale: dict[str, Any], tmp_path: Path) -> None:
    config = fp16(stage, power=32)
    config["fp16"] |= scale
    (complaint,) = {course.complaint for course in pool(2).run(trained, recipe_of(tmp_path / "run", config))}
    assert complaint
    assert "deepspeed.fp16: 10 steps in a row overflowed at a loss scale of 4.29497e+09, which cannot fall" in complaint


@pytest.mark.parametrize("stage", [0, 1])
def test_a_fixed_scale_is_the_configuration_s_also_where_a_run_goes_on(stage: int, tmp_path: Path) -> None:
    config = fp16(stage, power=6)
    config["fp16"]["loss_scale"] = 2.0**32
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", save_every=3, deepspeed=config)
    pool(2).run(trained, recipe, 5)
    config["fp16"]["loss_scale"] = 128.0
    course = pool(2).run(trained, recipe.model_copy(update={"deepspeed": config}))[0]
    assert course.complaint is None
    assert set(course.scales) == {128.0}
    assert not any(course.skipped)


def test_overflows_at_a_fixed_scale_are_counted_across_starts(tmp_path: Path) -> None:
    config = fp16(1, power=6)
    config["fp16"]["loss_scale"] = 2.0**32
    recipe = tiny("gpt2", tmp_path / "run", method="scratch", save_every=3, deepspeed=config)
    pool(2).run(trained, recipe, 7)
    course = pool(2).run(trained, recipe)[0]
    assert len(course.scales) == 3, "six overflows were before, and the tenth is the last"
    assert course.complaint


def test_a_rank_that_cannot_compute_in_it_says_so(tmp_path: Path) -> None:
    """Where no launcher has told what the ranks train on, only they know."""
    recipe = tiny("gpt2", tmp_path / "run", deepspeed=zero(1, "fp16"))
    assert pool(1).run(train, recipe) == ["deepspeed.fp16: rank 0 has no GPU that computes in it; use bf16 or fp32"]
