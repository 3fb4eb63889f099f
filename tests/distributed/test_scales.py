"""Scales that know the depth, on ranks: under every ZeRO stage, computed again, shared, through growths and exports."""

from pathlib import Path
from typing import Any

import pytest
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train
from safetensors.torch import load_file

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.engine import layout
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES
from apollo_ds.training.export_run import export_run
from apollo_ds.training.growing import StageEngines

SCALES = {"residual_scale": "complete_p", "layernorm_scale": True}
SHORT: dict[str, Any] = {"steps": 12, "eval_every": 4, "save_every": 4}


def recipe(out: Path, family: str = "gpt2", scales: dict[str, Any] = SCALES, **changes: Any) -> Recipe:
    """Apollo's shared layers, at drawn depths."""
    plain = tiny(family, out, **SHORT)
    model = {**plain.model.model_dump(), **scales}
    return tiny(family, out, **{**SHORT, "model": model, **changes})


def run(recipe: Recipe) -> Recipe:
    found = pool(2).run(train, recipe)
    assert found == [None, None]
    return recipe


WAYS: dict[str, dict[str, Any]] = {
    "zero0": {"deepspeed": zero(0)},
    "zero2": {"deepspeed": zero(2)},
    "zero3": {"deepspeed": zero(3)},
    "checkpointed": {"activation_checkpointing": True},
    "zero3-checkpointed": {"deepspeed": zero(3), "activation_checkpointing": True},
    "shared-samples": {"sequence_parallel": 2},
}


def test_a_run_is_the_same_however_it_is_spread(tmp_path: Path) -> None:
    expected = losses(run(recipe(tmp_path / "zero1")))
    for name, changes in WAYS.items():
        assert losses(run(recipe(tmp_path / name, **changes))) == pytest.approx(expected, abs=2e-5), name
    assert losses(run(recipe(tmp_path / "plain", scales={}))) != pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.is_pre_norm and name != "gpt2"])
def test_every_family_checkpoints_with_scales(family: str, tmp_path: Path) -> None:
    kept, again = (recipe(tmp_path / str(on), family, activation_checkpointing=on) for on in (False, True))
    assert losses(run(again)) == pytest.approx(losses(run(kept)), abs=2e-5)
    for event in events(kept, "growth"):
        assert event["loss_after"] == pytest.approx(event["loss_before"], abs=1e-5)


def test_dropout_is_computed_again_as_it_was(tmp_path: Path) -> None:
    kept, again = (
        recipe(tmp_path / str(on), scales={**SCALES, "dropout": 0.1}, activation_checkpointing=on)
        for on in (False, True)
    )
    assert losses(run(again)) == pytest.approx(losses(run(kept)), abs=2e-5)


def test_silent_layers_keep_the_loss_where_the_scale_of_the_old_ones_falls(tmp_path: Path) -> None:
    grown = run(recipe(tmp_path / "run", method={"name": "sprout", "jump_at": 0.5, "moments": "map_scaled"}))
    (event,) = events(grown, "growth")
    assert event["loss_after"] == pytest.approx(event["loss_before"], abs=1e-5)


def test_a_model_without_scales_begins_a_run_with_them(tmp_path: Path) -> None:
    plain = run(recipe(tmp_path / "plain", scales={}, method="scratch"))
    scaled = run(recipe(tmp_path / "scaled", method="scratch", init_from=str(plain.out)))
    (event,) = events(scaled, "growth")
    assert event["loss_before"] == pytest.approx(events(plain, "eval")[-1]["loss"], abs=1e-5)
    assert event["loss_after"] == pytest.approx(event["loss_before"], abs=1e-5)


def test_an_export_in_the_middle_of_a_rise_has_the_branches_of_its_step(tmp_path: Path) -> None:
    rising = {"name": "progressive_residual", "fraction": 1.0}
    done = run(recipe(tmp_path / "run", scales={"residual_scale": "none"}, method=rising))
    exported, end = (tmp_path / name for name in ("middle", "end"))
    export_run(RunFolder(Path(done.out)), exported, step=8)
    export_run(RunFolder(Path(done.out)), end, step=12)
    schedule = done.schedule()
    assert schedule.risen(0, 8, 6)[-1] == pytest.approx(8 / 12)
    assert schedule.risen(0, 12, 6) == ()
    for key, value in (("branch_from", f"{done.out}@8"), ("init_from", f"{done.out}@8")):
        with pytest.raises(UserError, match=f"{key}: at step 8 of .* new layers are still rising"):
            recipe(tmp_path / "next", scales={"residual_scale": "none"}, method="scratch", **{key: value})
    weights = [load_file(folder / "model.safetensors") for folder in (exported, end)]
    middle, last = (float(found["transformer.h.5.mlp.c_proj.weight"].norm()) for found in weights)
    assert middle / last == pytest.approx(8 / 12, rel=0.1), "but for four small steps"


def rates_and_epsilons(processes: Processes, recipe: Recipe, number: int) -> dict[str, tuple[float, float]]:
    """What a stage's optimizer multiplies the learning rate by, and its epsilon, by the name of the parameter."""
    engine = StageEngines(recipe, processes).build(recipe.schedule(), number, initialised=True)
    names = {parameter: name for name, parameter in engine.model.named_parameters()}
    groups = layout.flat_groups(engine.deepspeed)
    found = {names[p]: (g.options["lr_factor"], g.options["eps"]) for g in groups for p in g.parameters}
    engine.close()
    return found


@pytest.mark.parametrize(("number", "layers"), [(0, 3), (1, 6)])
def test_layers_learn_at_completep_s_rate_of_their_depth(number: int, layers: int) -> None:
    scales = {"residual_scale": "complete_p", "complete_p_alpha": 0.5, "base_layers": 2}
    growing = recipe(Path("unused"), scales=scales, method={"name": "stackbert"}, deepspeed=zero(1))
    assert growing.schedule().stages[number].evaluation_depth == layers
    (found,) = pool(1).run(rates_and_epsilons, growing, number)
    for name, (rate, epsilon) in found.items():
        ratio = layers / 2 if ".h." in name else 1.0
        assert rate == pytest.approx(ratio**-0.5), name
        assert epsilon == pytest.approx(growing.adam_epsilon * ratio**-0.5), name
