"""Options of methods that a recipe sets in vain: each is refused where the recipe is read, and taken where recorded."""

from pathlib import Path

import pytest
import yaml
from recipes import tiny
from sources import needed_words

from apollo_ds.config.load import load_recipe, resolve
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS


def words(*method: str) -> list[str]:
    return [f"method={method[0]}", *(f"method.{option}" for option in method[1:])]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six layers, 400 steps."""
    folder = tmp_path_factory.mktemp("effects")
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**tiny("gpt2", folder / "run", steps=400).plain(), "method": "scratch"}))
    return str(path)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (("sprout", "first_layers=6"), "method.first_layers: 6 are all of the model's 6 layers"),
        (("deep_jump", "first_layers=9"), "method.first_layers: 9 are all of the model's 6 layers"),
        (
            ("early_doubling", "grow_at=[0.1,0.2,0.4]"),
            "6 layers can only be 1, 3, 6 in turn, which needs 2 of the 3",
        ),
        (("sprout", "noise=0.1"), "method.noise: 0.1 has no effect here"),
        (("apollo", "width=aki"), "method.width: 'aki' has no effect here"),
        (("apollo", "rewarm_fraction=0.3"), "method.rewarm_fraction: 0.3 has no effect here"),
        (("apollo", "rewarm=all", "rewarm_fraction=0"), "rewarm_fraction: 0 of 400 steps is too short"),
        (("apollo", "rewarm_from=0.5"), "method.rewarm_from: 0.5 has no effect here"),
        (("apollo", "rewarm_to=1.3"), "method.rewarm_to: 1.3 has no effect here"),
        (("apollo", "rewarm=new", "rewarm_from=1"), "has no effect here"),
        (
            ("apollo", "rewarm=new", "rewarm_fraction=0", "rewarm_from=1", "rewarm_to=1.3"),
            "method.rewarm_fraction: 0 of 400 steps is too short",
        ),
        (("apollo", "rewarm=new", "rewarm_from=1.3", "rewarm_to=1.3", "rewarm_fraction=0.1"), "has no effect here"),
        (("staged", "rewarm=new", "rewarm_fraction=0.001"), "is too short; use at least 0.005, which is two steps"),
        (("apollo", "rewarm=new", "rewarm_to=0"), "method.rewarm_to: must be greater than 0"),
        (("apollo", "sampler=none", "shared_rate=0.5"), "method.shared_rate: 0.5 has no effect here"),
        (("apollo", "sampler=none", "layer_map=stack"), "method.layer_map: 'stack' has no effect here"),
        (("apollo", "sampler=none", "draw=micro_step"), "method.draw: 'micro_step' has no effect here"),
        (("apollo", "deep_end=0.001"), "method.deep_end: 0.001 has no effect here"),
        (("apollo", "layers=[6]", "grow_at=[]"), "method: apollo with these options changes nothing for 6 layers"),
        (("g_stack", "factor=4"), None),
        (("g_stack", "factor=5"), "method.factor: 5 does not divide the model's 6 layers; use one of 2, 3, 6"),
        (("g_stack", "grow_at=law"), "method.grow_at: the law asks for"),
        (("g_stack", "grow_at=soon"), "method.grow_at: must be a fraction between 0 and 1, or law, not 'soon'"),
        (("g_stack", "grow_at=1"), "method.grow_at: must be a fraction between 0 and 1, or law, not 1"),
        (("g_stack", "grow_at=true"), "method.grow_at: must be a number, not True"),
        (("compound_grow", "stage_list=[]"), "method.stage_list: must be a list of at least 1"),
        (("compound_grow", "stage_list=3"), "method.stage_list: must be a list in brackets, not 3"),
        (("compound_grow", "stage_list=[{layers: 3}]"), "method.stage_list[0].fraction is missing"),
        (
            ("compound_grow", "stage_list=[{fraction: 0.5, layer: 3}]"),
            "unknown key method.stage_list[0].layer; did you mean method.stage_list[0].layers?",
        ),
        (("compound_grow", "stage_list=[{fraction: 1}]"), "method: compound_grow with these options changes nothing"),
        (
            ("compound_grow", "stage_list=[{fraction: 0.5, seq_len: 16}, {fraction: 0.5}]", "width=aki"),
            "method.width: 'aki' has no effect here",
        ),
        (("[compound_grow, {name: short_to_long, divisors: [16, 1]}]",), "method.divisors: 16 does not divide the 8"),
        (("midas", "block_size=4"), "method.block_size: 4 does not divide the model's 6 layers; use one of 1, 2, 3"),
        (("midas", "block_size=6"), "method: midas with these options changes nothing for 6 layers"),
        (("midas", "alpha=-1"), "method.alpha: must be at least 0"),
        (("mslt", "blocks=5"), "method.blocks: 5 does not divide the model's 6 layers"),
        (("mslt", "blocks=1"), "method: mslt with these options changes nothing"),
        (("ligo", "learning_steps=21"), "method.learning_steps: 21 are more than a twentieth of 400 steps; use at mo"),
        (("mango", "source_layers_divisor=4"), "method.source_layers_divisor: 4 does not divide"),
        (("bert2bert", "growth_map=interpolate"), "method.growth_map: 'interpolate' has no effect here"),
        (("net2net", "noise=0.1"), "method.noise: 0.1 has no effect here"),
        (("pld", "theta=1"), "method: pld with these options changes nothing"),
        (("decreasing_drop", "maximum=0"), "method: decreasing_drop with these options changes nothing"),
        (("raptr", "lengths=[1, 1]"), "method: raptr with these options changes nothing"),
        (("raptr", "lengths=[0.1, 1]"), "method.lengths: 0.1 of 6 layers are fewer than two"),
        (("raptr", "lengths=[]"), "method.lengths: must be a list of at least 1"),
        (("raptr", "lengths=[1.5]"), "method.lengths[0]: must be at most 1"),
        (("short_to_long", "until=[1.5]"), "method.until: 2 lengths need"),
        (("short_to_long", "until=[0.9999]"), "method.until: 2 lengths need"),
        (("short_to_long", "divisors=[1, 1]"), "method: short_to_long with these options changes nothing"),
        (
            ("[sprout, {name: pld, theta: 1}]",),
            "method[1]: pld with these options changes nothing for 6 layers; change",
        ),
        (("[{name: sprout, noise: 0.5}, pld]",), "method.noise: 0.5 has no effect here"),
        (
            ("[{name: sprout, jump_at: 0.67}, {name: progressive_residual, fraction: 0.9}]",),
            "method.fraction: layers that are new at step 268 would rise for 360 steps, and the run ends after 132",
        ),
        (
            ("[progressive_residual, {name: progressive_residual, fraction: 0.5}]",),
            "method: progressive_residual stands in the list twice",
        ),
    ],
    ids=str,
)
def test_an_option_in_vain_is_refused(method: tuple[str, ...], expected: str | None, recipe: str) -> None:
    if expected is None:
        load_recipe(recipe, words(*method))
        return
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, words(*method))
    assert str(caught.value).startswith("command line: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "method",
    [
        *((name,) for name in METHODS),
        ("apollo", "layers=[1, 2, 3, 6]"),  # what follows from the model may be stated
        ("apollo", "noise=0.1"),
        ("apollo", "layer_map=stack"),
        ("apollo", "draw=micro_step"),
        ("apollo", "rewarm=new"),
        ("apollo", "rewarm=new", "rewarm_from=1", "rewarm_to=1.3"),
        ("apollo", "rewarm=all", "rewarm_fraction=0", "rewarm_to=0.7"),
        ("decreasing_drop", "rescale=true"),
        ("g_stack", "factor=6"),
        ("g_stack", "moments=map"),
        ("midas", "block_size=1"),
        ("compound_grow", "restarts_learning_rate=true"),
        ("compound_grow", "stage_list=[{fraction: 0.5, layers: 2}, {fraction: 0.5}]"),
        ("compound_grow", "stage_list=[{fraction: 0.5, learning_rate_scale: 2}, {fraction: 0.5}]"),
        ("midas", "alpha=0"),
        ("midas", "growth_map=stack"),
        ("ligo", "learning_steps=20"),
        ("net2net", "growth_map=stack"),
        ("[scratch, pld]",),
        ("[sprout, pld, short_to_long]",),
    ],
    ids=str,
)
def test_an_option_with_an_effect_is_taken(method: tuple[str, ...], recipe: str) -> None:
    first = needed_words(method[0], load_recipe(recipe).model)
    load_recipe(recipe, [first, *words(*method)[1:]])


def test_compound_growth_needs_samples_that_can_be_shortened(recipe: str) -> None:
    with pytest.raises(UserError, match=r"method: compound_grow begins with a 4th of seq_len, which 4 must divide"):
        load_recipe(recipe, ["method=compound_grow", "seq_len=30"])


def test_a_model_that_is_too_small_for_a_method_is_told(recipe: str) -> None:
    with pytest.raises(UserError, match=r"method: stackbert with these options changes nothing for 5 layers; change"):
        load_recipe(recipe, ["method=stackbert", "model.num_layers=5"])


def test_a_run_that_has_begun_may_go_on_with_an_option_in_vain(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    overrides = ["method=sprout", "method.noise=0.1"]
    assert load_recipe(recipe, [*overrides, f"out={tmp_path}"])
    with pytest.raises(UserError, match="noise"):
        load_recipe(recipe, [*overrides, f"out={tmp_path / 'new'}"])


def test_what_a_run_was_trained_under_is_read_whatever_its_effect(recipe: str) -> None:
    recorded = load_recipe(recipe, ["method=sprout"]).plain()
    recorded["method"]["first_layers"] = 9
    assert len(resolve(recorded, "config.yaml").schedule().stages) == 1
