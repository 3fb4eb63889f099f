"""What bash offers at Tab, by the script that `--show-completion` prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from recipes import tiny

from apollo_ds.config.run_folder import RunFolder
from apollo_ds.methods import METHODS

# What readline does before it asks: = and : are words of their own.
_TAB = """
source script.sh
compopt() { local IFS=" "; echo "compopt $*"; }
COMP_LINE="$1"; COMP_POINT=${#1}
spaced="${1//=/ = }"; COMP_WORDS=(${spaced//:/ : })
[[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_apollo_ds_completion ./apollo-ds
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script, a program, a recipe and a run are."""
    folder = tmp_path_factory.mktemp("completion")
    program = folder / "apollo-ds"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m apollo_ds "$@"\n')
    program.chmod(0o755)
    (folder / "mine.yaml").touch()
    RunFolder(folder / "runs" / "first").create(tiny("bert", folder / "runs" / "first"))
    script = subprocess.run(
        ["./apollo-ds", "--show-completion", "bash"],
        cwd=folder,
        env={**_environment(), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    (folder / "script.sh").write_text(script.stdout)
    (folder / "tab.sh").write_text(_TAB)
    return folder


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def offered(folder: Path, line: str) -> list[str]:
    command = ["bash", "tab.sh", line]
    return subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, check=True
    ).stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("apollo-ds tr", ["train"]),
        ("apollo-ds train lea", ["compopt -o nospace", "learning_rate="]),
        ("apollo-ds train method=ap", ["apollo"]),
        ("apollo-ds train method=", list(METHODS)),
        ("apollo-ds train steps=10 method.jump", ["compopt -o nospace", "method.jump_at="]),
        ("apollo-ds train lr_schedule=", ["cosine", "linear", "wsd", "constant"]),
        ("apollo-ds train document_mask=", ["true", "false"]),
        ("apollo-ds train optimizer=m", ["muon"]),
        ("apollo-ds train model.family=ll", ["llama"]),
        ("apollo-ds train bert-b", ["bert-base"]),
        ("apollo-ds train min", ["mine.yaml"]),
        ("apollo-ds train init_from=runs/f", ["runs/first"]),
        ("apollo-ds train data=text/", [""]),  # files, by bash itself
        ("apollo-ds train --ra", ["--ranks"]),
        ("apollo-ds export ", ["runs/first"]),
        ("apollo-ds finetune runs/first --task=ss", ["sst2"]),
        ("apollo-ds init --family bert", ["bert"]),
    ],
)
def test_what_may_come_next_is_offered(line: str, words: list[str], folder: Path) -> None:
    assert offered(folder, line) == words
