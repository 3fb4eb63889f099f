"""The keys of a recipe, told by the classes that check them."""

import pytest
from project import PROJECT
from rich.console import Console

from apollo_ds.config.keys import Key, markdown, print_keys, sections
from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.methods._stage_list import StageSizes


@pytest.fixture(scope="module")
def keys() -> dict[str, dict[str, Key]]:
    """The keys of each section, by name."""
    return {section.title: {key.name: key for key in section.keys} for section in sections()}


def test_the_page_of_the_documentation_is_what_the_command_prints() -> None:
    page = PROJECT / "docs" / "reference" / "keys.md"
    assert page.read_text() == markdown(), "apollo-ds keys --markdown > docs/reference/keys.md"


def test_every_key_says_what_it_means(keys: dict[str, dict[str, Key]]) -> None:
    assert [key.name for section in keys.values() for key in section.values() if not key.meaning] == []


def test_every_key_and_method_is_told(keys: dict[str, dict[str, Key]]) -> None:
    assert list(keys["A recipe"]) == list(Recipe.model_fields)
    for name, method in METHODS.items():
        options = [f"method.{option}" for option in method.model_fields if option != "name"]
        assert [key for key in keys[f"method {name}"] if "[]" not in key] == options


def test_the_keys_of_a_list_s_parts_are_told(keys: dict[str, dict[str, Key]]) -> None:
    names = list(keys["method compound_grow"])
    parts = [f"method.stage_list[].{key}" for key in StageSizes.model_fields]
    assert names[names.index("method.stage_list") + 1 :][: len(parts)] == parts


@pytest.mark.parametrize(
    ("section", "name", "kind", "default"),
    [
        ("A recipe", "steps", "whole number > 0", "must be given"),
        ("A recipe", "adam_betas", "list of 2: number ≥ 0, < 1", "[0.9, 0.999]"),
        ("A recipe", "lr_schedule", "cosine, linear, wsd, constant or none", "none"),
        ("A recipe", "method", "name or mapping", "must be given"),
        ("A recipe", "deepspeed", "mapping", "empty"),
        ("A recipe", "data", "path or mapping", "must be given"),
        ("model", "model.dropout", "number ≥ 0, < 1", "0"),
        ("method sprout", "method.first_layers", "whole number ≥ 1", "2"),
        ("method sprout", "method.sampler", "lvps, es, us, fs, none", "none"),
        ("method staged", "method.operators", "list of: width, depth, width_and_depth", "[width, depth]"),
        ("method ligo", "method.source", "text or none", "none"),
        ("method ligo", "method.source_fraction", "number ≥ 0, < 1", "depends"),
        ("method compound_grow", "method.stage_list", "list of: mapping or none", "none"),
        ("method compound_grow", "method.stage_list[].fraction", "number > 0, ≤ 1", "must be given"),
        ("method g_stack", "method.grow_at", "number > 0, < 1 or law", "0.1"),
        ("method pld", "method.rescale", "true or false or none", "none"),
    ],
)
def test_types_and_defaults_are_in_words(
    section: str, name: str, kind: str, default: str, keys: dict[str, dict[str, Key]]
) -> None:
    assert (keys[section][name].type, keys[section][name].default) == (kind, default)


def test_an_option_without_words_of_its_own_has_those_of_the_class_above(keys: dict[str, dict[str, Key]]) -> None:
    assert keys["method sprout"]["method.sampler"].meaning == keys["method apollo"]["method.sampler"].meaning


def test_what_may_change_on_resume_is_marked(keys: dict[str, dict[str, Key]]) -> None:
    marked = {key.name for section in keys.values() for key in section.values() if key.may_change}
    assert marked == Recipe.may_change()
    assert {"save_every", "deepspeed", "out"} < marked
    assert not {"steps", "seed", "learning_rate", "model", "method", "global_batch_size"} & marked


def test_a_word_chooses_keys() -> None:
    console = Console(width=160, record=True)
    print_keys("jump", console)
    printed = console.export_text()
    assert printed.count("method.jump_at") == 2  # of deep_jump and of sprout
    assert "method.sampler" not in printed and "seed" not in printed


def test_a_method_s_name_chooses_all_of_its_keys() -> None:
    console = Console(width=160, record=True)
    print_keys("sprout", console)
    printed = console.export_text()
    assert all(f"method.{option}" in printed for option in METHODS["sprout"].model_fields if option != "name")
    assert "deep_jump" not in printed.replace("`deep_jump`", "")


def test_a_method_without_options_is_explained() -> None:
    console = Console(width=80, record=True)
    print_keys("scratch", console)
    assert "the baseline" in console.export_text()


def test_a_terminal_of_80_columns_shows_all_of_a_key() -> None:
    console = Console(width=80, record=True)
    print_keys("moments", console)
    printed = " ".join(console.export_text().split())
    assert "method.moments map, map_scaled, zero_new, reset, keep_index; default map" in printed
    assert "`docs/methods/options.md` explains the rules." in printed


def test_a_bracket_in_a_meaning_is_shown() -> None:
    console = Console(width=300, record=True)
    print_keys("method", console)
    assert "such as `[deep_jump, pld]`" in console.export_text()


def test_a_word_that_no_key_has_is_told() -> None:
    with pytest.raises(
        UserError,
        match=r"jmp: no key has this in its name, and no method has this name; did you mean jump_at",
    ):
        print_keys("jmp", Console())
