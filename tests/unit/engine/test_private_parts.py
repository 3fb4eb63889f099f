"""The page on the insides of DeepSpeed names private parts that the engine uses, and the installed version has them."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from project import PROJECT

ENGINE = PROJECT / "apollo_ds" / "engine"
ROW = re.compile(r"^\| `(?P<file>\w+\.py)` \|[^|]*\| (?P<names>`[^|]*) \|$", re.MULTILINE)
ROWS = ROW.findall((PROJECT / "docs" / "development" / "deepspeed.md").read_text())


@pytest.fixture(scope="module")
def deepspeed() -> str:
    """All of its code that may have such a name."""
    spec = find_spec("deepspeed")
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    folders = ("runtime", "ops", "utils", "monitor")
    return "\n".join(path.read_text() for folder in folders for path in (package / folder).rglob("*.py"))


def test_the_page_has_rows() -> None:
    assert {file for file, _ in ROWS} >= {"layout.py", "teardown.py", "loss_scaling.py"}


@pytest.mark.parametrize(("file", "names"), ROWS)
def test_a_private_part_is_used_where_the_page_says_and_is_there(file: str, names: str, deepspeed: str) -> None:
    code = (ENGINE / file).read_text()
    for name in re.findall(r"`([^`]+)`", names):
        word = re.compile(rf"\b{name.rpartition('.')[2]}\b")
        assert word.search(code), f"apollo_ds/engine/{file} does not use {name}"
        assert word.search(deepspeed), f"DeepSpeed has no {name}"
