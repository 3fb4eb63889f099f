"""The pages of docs/methods: one for each method, all in one order."""

import re
from pathlib import Path

import pytest

from apollo_ds.methods import METHODS

PROJECT = Path(__file__).resolve().parents[3]
PAGES = PROJECT / "docs" / "methods"
SECTIONS = [
    "## Try it",
    "## When to use it",
    "## Options",
    "## What differs from the paper",
    "## What the paper claims",
    "## What this project measured",
]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_each_method_has_a_page_with_the_same_sections(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    assert page.startswith(f"# {name}: ")
    assert re.findall(r"^## .*", page, re.MULTILINE) == SECTIONS


def test_the_tables_and_the_navigation_have_all_methods_in_one_order() -> None:
    rows = re.compile(r"^\| \[(\w+)\]\(\1\.md\)", re.MULTILINE)
    overview = rows.findall((PAGES / "README.md").read_text())
    navigation = re.findall(r"- (\w+): methods/\1\.md", (PROJECT / "mkdocs.yml").read_text())
    assert sorted(overview) == sorted(METHODS)
    assert overview == rows.findall((PAGES / "compared.md").read_text()) == navigation
