"""Several texts and their weights in a recipe, and named held-out sets: what may be written, and what is refused."""

from pathlib import Path

import pytest
import yaml
from least_recipe import LEAST

from apollo_ds.config.load import load_recipe
from apollo_ds.config.recorded import read_recorded, write_recorded
from apollo_ds.errors import UserError


def load(folder: Path, written: str, overrides: tuple[str, ...] = ()) -> dict[Path, float] | Path:
    """The `data` of a recipe's file that ends with some lines."""
    rest = yaml.safe_dump({key: value for key, value in LEAST.items() if key not in ("data", "held_out")})
    (folder / "recipe.yaml").write_text(f"{rest}\n{written}\n")
    return load_recipe(folder / "recipe.yaml", overrides).data


@pytest.mark.parametrize("name", ["data", "out", "source", "recipe"])
@pytest.mark.parametrize("written", ["{{{name}: 0.7, books: 0.3}}", "\n  {name}: 0.7\n  books: 0.3"])
def test_a_folder_may_be_called_as_a_key_that_holds_a_path(name: str, written: str, tmp_path: Path) -> None:
    expected = {Path(name): 0.7, Path("books"): 0.3}
    assert load(tmp_path, f"data: {written.format(name=name)}") == expected
    assert load(tmp_path, "data: wiki", (f"data={{{name}: 0.7, books: 0.3}}",)) == expected
    assert load(tmp_path, "data: {books: 0.3}", (f"data.{name}=0.7",)) == expected


def test_a_folder_with_a_dot_in_its_name_may_have_its_weight_set(tmp_path: Path) -> None:
    written = "data: {data/wiki.v2: 0.7, data/books: 0.3}"
    changed = load(tmp_path, written, ("data.data/wiki.v2=0.5", "data.../law=1"))
    assert changed == {Path("data/wiki.v2"): 0.5, Path("data/books"): 0.3, Path("../law"): 1.0}


def test_white_space_before_a_mapping_makes_no_path_of_it(tmp_path: Path) -> None:
    assert load(tmp_path, "data: wiki", ("data= {wiki: 1}",)) == {Path("wiki"): 1.0}


def test_a_weight_beside_a_single_folder_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"command line: data: wiki is one folder; write all of them and their weights"):
        load(tmp_path, "data: wiki", ("data.books=1",))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("data: [wiki, books]", r"data: must be a folder, or folders and their weights, such as .*, not \['wiki', 'b"),
        ("data: null", "data: must be a folder, or folders and their weights, such as .*, not none"),
        ("data: {}", "data: is empty; name a folder, or folders and their weights"),
        ("data: {wiki}", "data: wiki has no weight; write a colon, a space and a number behind it"),
        ("data: {wiki:1, books: 1}", "data: wiki:1 has no weight"),
        ("data: {wiki: 1, ./wiki: 2}", "data: names wiki twice; give it one weight"),
        ("data: {2024: 1}", "the key 2024 is not text; quote it"),
        *(
            (f"data: {{wiki: {weight}, books: 1}}", "data: the weight of wiki must be a number above 0, at most 9,007,")
            for weight in ("0", "-1", ".nan", ".inf", "true", "'0.5'", "x", "[1]", "1e308")
        ),
        ("data: w\nheld_out: {a b: x}", "held_out.a b: 'a b' is no name for held-out text; use letters"),
        ("data: w\nheld_out: {law: {x: 1}}", "held_out.law: must be a path"),
        ("data: w\nheld_out: {law: ''}", "held_out.law: is empty; name a folder"),
    ],
)
def test_a_mistake_is_told_with_its_key(written: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"recipe.yaml: .*{told}") as refusal:
        load(tmp_path, written)
    assert "lax" not in str(refusal.value) and "[key]" not in str(refusal.value)


def test_a_run_folder_gives_back_the_weights_that_it_holds(tmp_path: Path) -> None:
    load(tmp_path, "data: {data: 0.7, '1e3': 0.2, 'no': 0.1}")
    recipe = load_recipe(tmp_path / "recipe.yaml").plain()
    write_recorded(tmp_path / "config.yaml", {"recipe": recipe, "run": "1"})
    assert read_recorded(tmp_path / "config.yaml").recipe["data"] == {"data": 0.7, "1e3": 0.2, "no": 0.1}
