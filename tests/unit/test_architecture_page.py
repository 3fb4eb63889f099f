"""The page that says where things are: all rooms are on it, in the order of the import contract; all files exist."""

import re
import tomllib

import pytest
from project import PROJECT

PAGE = (PROJECT / "docs" / "development" / "architecture.md").read_text()
FILES = [f"/{path.relative_to(PROJECT).as_posix()}" for path in PROJECT.rglob("*.py") if ".venv" not in path.parts]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE)))
ROWS = re.findall(r"^\| (`.*?) \|", PAGE.partition("## Imports")[0], re.MULTILINE)
ROOMS = [name for row in ROWS for name in re.findall(r"`([\w/.]+)`", row)]


@pytest.mark.parametrize("name", NAMED)
def test_a_file_on_the_page_exists(name: str) -> None:
    assert any(file.endswith(f"/{name}") for file in FILES)


def test_each_room_is_on_the_page() -> None:
    package = PROJECT / "apollo_ds"
    rooms = {path.parent.name + "/" for path in package.glob("*/__init__.py")} | {p.name for p in package.glob("*.py")}
    assert rooms == {name for name in ROOMS if name.count("/") <= name.endswith("/")}


def test_rooms_are_in_the_order_of_the_contract() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    order = [name.strip().removeprefix("apollo_ds.") for layer in layers for name in layer.split("|")]
    found = [name.removesuffix("/").removesuffix(".py") for name in ROOMS]
    assert [name for name in found if name in order] == order[:-1]
