"""The learning rate of what is new after a growth, from one part of the schedule's to another, on ranks."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from engines import train_steps, whole_state
from ranks import pool
from recipes import tiny, zero
from runs import WSD, events, files_of, losses, run_of, trained

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.restore import grow
from apollo_ds.errors import UserError
from apollo_ds.growth.stage_model import build_for
from apollo_ds.growth.transition import growth_into

GROWS_AT, STEPS = 10, 20
SPARKLING: dict[str, Any] = {
    "moments": "zero_new",
    "rewarm": "new",
    "rewarm_fraction": 0.2,
    "rewarm_from": 1.0,
    "rewarm_to": 1.3,
}
DEEPER = {"name": "sprout", "jump_at": 0.5, "new_layers": "copy", **SPARKLING}
WIDER = {"name": "net2net", "source_fraction": 0.5, "width": "tiled", **SPARKLING}


def recipe_of(out: Path, method: dict[str, Any], **changes: Any) -> Recipe:
    return tiny("gpt2", out, **{**WSD, "method": method, "save_every": 5, "keep_every": 5, **changes})


@cache
def whole(stage: int, growth: str) -> Recipe:
    """An undisturbed run; tests only read it."""
    folder = Path(mkdtemp(prefix="apollo-ds-rate-of-new-"))
    return run_of(recipe_of(folder / "run", {"deeper": DEEPER, "wider": WIDER}[growth], deepspeed=zero(stage)))


@pytest.mark.parametrize("growth", ["deeper", "wider"])
@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("stops", [(12,), (16, 18)])
def test_a_run_that_was_killed_goes_on_to_the_bit(
    growth: str, stage: int, stops: tuple[int, ...], tmp_path: Path
) -> None:
    """Within the warm-up of what is new, and while its rate stays above the others'."""
    undisturbed = whole(stage, growth)
    resumed = run_of(recipe_of(tmp_path / "run", undisturbed.method.model_dump(), deepspeed=zero(stage)), stops)
    assert trained(resumed) == trained(undisturbed)
    assert files_of(resumed, STEPS) == files_of(undisturbed, STEPS)


@pytest.mark.parametrize("growth", ["deeper", "wider"])
def test_zero_3_trains_as_zero_1(growth: str) -> None:
    curves = [torch.tensor(losses(whole(stage, growth))) for stage in (1, 3)]
    assert torch.allclose(*curves, atol=1e-4, rtol=0)


def test_the_rate_is_recorded_beside_that_of_all() -> None:
    recipe = whole(1, "deeper")
    steps = events(recipe, "step")
    assert all("new_lr" not in step for step in steps[:GROWS_AT])
    parts = [step["new_lr"] / step["lr"] for step in steps[GROWS_AT:]]
    assert parts == pytest.approx([1.075, 1.15, 1.225, *[1.3] * 7], rel=1e-6)


def test_with_the_rates_of_all_it_is_another_run(tmp_path: Path) -> None:
    method = {key: value for key, value in DEEPER.items() if not key.startswith("rewarm")}
    plain = run_of(recipe_of(tmp_path / "run", method))
    assert losses(plain)[: GROWS_AT + 1] == losses(whole(1, "deeper"))[: GROWS_AT + 1]
    assert losses(plain)[GROWS_AT + 1 :] != losses(whole(1, "deeper"))[GROWS_AT + 1 :]


def movements(processes: Processes, recipe: Recipe, rewarm: dict[str, Any]) -> dict[str, torch.Tensor]:
    """How far each coordinate goes in the first step after a growth; the tensors of cohorts as they are."""
    changed = {**recipe.method.model_dump(), "moments": "map", **rewarm}
    recipe = tiny("gpt2", "unused", **{**WSD, "method": changed, "weight_decay": 0.0, "deepspeed": recipe.deepspeed})
    old, new = recipe.schedule().stages
    engine = Engine(build_for(old), recipe.engine_options(processes.world_size), processes, seed=1)
    train_steps(processes, engine, recipe, range(3))
    state = engine.capture()
    engine.close()
    engine = Engine(build_for(new), recipe.engine_options(processes.world_size), processes, seed=1)
    grow(engine, state, growth_into(new, old, recipe.seed))
    before = whole_state(processes, engine)
    train_steps(processes, engine, recipe, range(GROWS_AT, GROWS_AT + 1))
    after = whole_state(processes, engine)
    engine.close()
    moved = {key: after[key] - before[key] for key in after if key.endswith("/weight")}
    return {**moved, **{key: after[key] for key in after if key.endswith("/cohort")}}


@pytest.mark.parametrize("method", [DEEPER, WIDER], ids=["deeper", "wider"])
@pytest.mark.parametrize("stage", [1, 3])
def test_new_coordinates_go_so_much_further_and_old_ones_as_far(method: dict[str, Any], stage: int) -> None:
    """Moments are mapped, so that both kinds are of one age and only the rate tells them apart."""
    recipe = recipe_of(Path("unused"), method, deepspeed=zero(stage))
    level = {"rewarm": "new", "rewarm_fraction": 0.0, "rewarm_from": 0.0}
    plain, _ = pool(2).run(movements, recipe, {**level, "rewarm_to": 1.0})
    faster, _ = pool(2).run(movements, recipe, {**level, "rewarm_to": 1.3})
    news = 0
    for key, moved in plain.items():
        if key.endswith("/weight"):
            is_new = plain[key.replace("/weight", "/cohort")] == 1
            news += int(is_new.sum())
            expected = torch.where(is_new, 1.3 * moved, moved)
            assert torch.allclose(faster[key], expected, rtol=1e-2, atol=2e-7), key
    assert 0 < news < sum(moved.numel() for key, moved in plain.items() if key.endswith("/weight"))


def test_more_steps_after_the_growth_keep_the_rate(tmp_path: Path) -> None:
    """A longer run is another plan where its warm-up is longer; with the same steps of it the run goes on."""
    shorter = {**DEEPER, "rewarm_fraction": 0.0, "rewarm_from": 0.0}
    run_of(recipe_of(tmp_path / "run", shorter, decay_fraction=0.2))
    longer = {"steps": 30, "method": {**shorter, "jump_at": 1 / 3}, "warmup_fraction": 2 / 30}
    extended = run_of(recipe_of(tmp_path / "run", **longer))
    planned = run_of(recipe_of(tmp_path / "planned", **longer))
    assert trained(extended) == trained(planned)
    assert {round(step["new_lr"] / step["lr"], 5) for step in events(extended, "step")[GROWS_AT:]} == {1.3}


def test_a_branch_after_such_a_growth_is_refused(tmp_path: Path) -> None:
    trunk = whole(1, "deeper")
    with pytest.raises(
        UserError, match=r"branch_from: step 15 lies after a growth.*rewarm_to=1.3; branch from step 10"
    ):
        recipe_of(tmp_path / "branch", DEEPER, branch_from=f"{trunk.out}@15")
    cut = [DEEPER, {"name": "short_to_long", "until": [0.75]}]
    with pytest.raises(UserError, match=r"branch from step 10 or earlier, or give method\.rewarm=none"):
        recipe_of(tmp_path / "branch", method=cut, branch_from=f"{trunk.out}@15")
    planned = run_of(recipe_of(tmp_path / "planned", {**DEEPER, "rewarm_to": 1.2}))
    branch = run_of(recipe_of(tmp_path / "branch", {**DEEPER, "rewarm_to": 1.2}, branch_from=f"{trunk.out}@10"))
    assert files_of(branch, STEPS) == files_of(planned, STEPS)
