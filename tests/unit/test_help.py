"""What `--help` of each command prints: all of it within 80 columns, with examples that the command takes."""

import re
import shlex
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
import typer
from typer.core import TyperOption

from apollo_ds.__main__ import app as trains
from apollo_ds.__main__ import main
from apollo_ds.commands import GROUPS
from data_prep.__main__ import app as prepares
from data_prep.commands import GROUPS as PREP_GROUPS

PROGRAMS = {"apollo-ds": (trains, GROUPS), "apollo-prep": (prepares, PREP_GROUPS)}
COMMANDS = [(program, name) for program, (_, groups) in PROGRAMS.items() for group in groups.values() for name in group]


def command_of(program: str, name: str) -> tuple[Any, Any]:
    """A command, and the context that its words are read in."""
    group = typer.main.get_command(PROGRAMS[program][0])
    above = typer.Context(group, info_name=program)
    command = group.get_command(above, name)  # type: ignore[attr-defined]
    return command, typer.Context(command, info_name=name, parent=above)


def examples_of(program: str, name: str) -> list[str]:
    lines = import_module(f"{'apollo_ds' if program == 'apollo-ds' else 'data_prep'}.commands.{name}").EXAMPLES
    return [line for line in lines.replace("\\\n", " ").strip().splitlines() if line]


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_the_help_fits_80_columns_and_explains_each_option(
    program: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command, context = command_of(program, name)
    page = command.get_help(context)
    assert max(map(len, page.splitlines())) <= 80
    assert "<" not in page.replace("< runs.txt", "") and "\u2026" not in page
    for param in command.get_params(context):
        if isinstance(param, TyperOption) and not param.hidden:
            assert f"\n  {', '.join(sorted(param.opts, key=len))}" in page
            assert param.help and param.help.endswith((".", ")"))


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_its_first_sentence_is_what_the_list_of_commands_says(program: str, name: str) -> None:
    command, _ = command_of(program, name)
    groups = PROGRAMS[program][1]
    assert command.help.split("\n\n")[0] == next(group[name] for group in groups.values() if name in group)


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_each_example_is_a_command_that_is_taken(program: str, name: str) -> None:
    parts = [part for line in examples_of(program, name) for part in re.split(r" \| | > ", line)]
    own = [shlex.split(part) for part in parts if part.startswith(program)]
    assert own
    for words in own:
        assert words[:2] == [program, name]
        command, context = command_of(program, name)
        command.parse_args(context, words[2:])


def test_a_terminal_has_bold_titles_unless_it_has_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, has_bold in (({}, True), ({"NO_COLOR": "1"}, False)):
        script = f"script -qec '{sys.executable} -m apollo_ds train -h' /dev/null"
        with monkeypatch.context() as patch:
            patch.delenv("NO_COLOR", raising=False)
            for key, value in variables.items():
                patch.setenv(key, value)
            said = subprocess.run(script, shell=True, capture_output=True, text=True, check=True).stdout
        assert ("\x1b[1mOptions" in said) == has_bold
        assert "Options" in said


@pytest.mark.parametrize("words", [[], ["help"], ["-h"], ["--help"]], ids=str)
def test_without_a_command_there_is_the_list_of_them(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr().out
    assert end.value.code == 0
    for group, commands in GROUPS.items():
        assert f"\n{group}:\n" in said
        assert all(f"\n  {name} " in said and does in said for name, does in commands.items())


def test_help_of_a_command_by_the_word_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["help", "train"])
    assert capsys.readouterr().out.startswith("Usage: apollo-ds train [RECIPE] [key=value]... [OPTIONS]\n")


def test_help_imports_no_command_but_the_one_that_is_asked_for() -> None:
    program = (
        "import sys; from apollo_ds.__main__ import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: print(*(name for name in sys.modules if name.startswith('apollo_ds.commands.')))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = {name.rpartition(".")[2] for name in said.splitlines()[-1].split()}
    assert loaded & {name for group in GROUPS.values() for name in group} == {"train"}
