"""What pages show: commands that the programs take, recipes that load, Python that compiles."""

import re
import shlex
from typing import Any

import commands
import pytest
import typer
from pages import PAGES, Block, blocks
from project import PROJECT

from apollo_ds.__main__ import app as apollo_ds
from apollo_ds.config.documents import parse_yaml
from data_prep.__main__ import app as apollo_prep

PROGRAMS = {"apollo-ds": apollo_ds, "apollo-prep": apollo_prep}
LANGUAGES = {"", "text", "console", "python", "pycon", "yaml", "json", "bash", "makefile", "ini"}
OURS = ("benchmarks/", "containers/", "examples/", "launch/", "tests/")
"""Folders of the repository; what a command reads in them is there."""
TARGETS = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


def check(words: list[str], place: str) -> None:
    """Check one command: that the program takes its words, and that files and targets which it names are there."""
    if words[0] in PROGRAMS:
        group: Any = typer.main.get_command(PROGRAMS[words[0]])
        above = typer.Context(group, info_name=words[0])
        if words[1:2] and not words[1].startswith("-"):
            command = group.get_command(above, words[1])
            assert command, f"{place}: {shlex.join(words)}: there is no such command"
            try:
                command.parse_args(typer.Context(command, info_name=words[1], parent=above), words[2:])
            except typer.Exit:
                pass  # --help
            except Exception as mistake:
                pytest.fail(f"{place}: {shlex.join(words)}: {mistake}")
    elif words[0] == "make":
        assert set(words[1:]) <= TARGETS, f"{place}: {shlex.join(words)}: there is no such target"
    for before, word in zip(("", *words), words, strict=False):
        if word.startswith(OURS) and before != "--out":
            assert (PROJECT / word).exists(), f"{place}: {shlex.join(words)}: there is no {word}"


@pytest.mark.parametrize("page", PAGES)
def test_each_command_of_a_page_is_taken(page: str) -> None:
    for block in blocks(page, "console"):
        for words in block.commands():
            check(words, block.place)


@pytest.mark.parametrize("page", PAGES)
def test_commands_stand_in_console_blocks_behind_a_dollar(page: str) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: {block.language}"
        if block.language == "console":
            assert block.commands(), f"{block.place}: no line begins with $"
        elif block.language in ("", "text"):
            assert "\n$ " not in f"\n{block.text}", f"{block.place}: a command in a block that is not `console`"


@pytest.mark.parametrize("page", PAGES)
def test_each_block_that_is_not_run_has_a_reason(page: str) -> None:
    assert not re.search(r"<!-- not run(?!: \S)", (PROJECT / page).read_text())
    assert all(block.not_run != "" for block in blocks(page))


@pytest.mark.parametrize("page", PAGES)
def test_python_compiles_and_yaml_is_a_mapping(page: str) -> None:
    for block in blocks(page, "python"):
        compile(block.text, block.place, "exec")
    for block in blocks(page, "yaml"):
        assert all(isinstance(part, dict) for part in parse_yaml(block.text)), block.place  # a key comes once


def test_the_page_of_commands_is_what_its_script_prints() -> None:
    page = PROJECT / "docs" / "reference" / "commands.md"
    assert page.read_text() == commands.page(), "python docs/site/commands.py > docs/reference/commands.md"


@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_a_gap_that_was_to_be_filled(page: str) -> None:
    gaps = re.findall(r"^[A-Z][A-Z_]{3,}$|\b(?:TODO|FIXME|TBD)\b", (PROJECT / page).read_text(), re.MULTILINE)
    assert not gaps, f"{page}: {gaps}"


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


def test_a_block_knows_its_commands() -> None:
    text = "$ A=1 apollo-ds train x \\\n    steps=3  # why\nfinished\n$ cat a | apollo-prep build > log\n"
    assert Block("page", 1, "console", text + "$ make test && make docs", None).commands() == [
        ["apollo-ds", "train", "x", "steps=3"],
        ["cat", "a"],
        ["apollo-prep", "build"],
        ["make", "test"],
        ["make", "docs"],
    ]
