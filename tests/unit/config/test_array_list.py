"""`@LIST` on a command line: each task of an array trains the line of its number."""

import json
from pathlib import Path

import pytest
from recipes import tiny, write

from apollo_ds.__main__ import main
from apollo_ds.config.array_list import with_lists_read
from apollo_ds.config.packaged import DEFAULT_RECIPE
from apollo_ds.config.words import split_recipe
from apollo_ds.errors import UserError

_LINES = "# of the first grid\r\nmethod=scratch  out=a b=1\r\n\r\n   \r\nmine.yaml out=b\r\n#\r\nmethod=apollo\tout=c"


@pytest.fixture
def listed(tmp_path: Path) -> str:
    path = tmp_path / "list.txt"
    path.write_bytes(_LINES.encode())
    return f"@{path}"


@pytest.mark.parametrize(
    ("task", "recipe", "words"),
    [
        ("1", DEFAULT_RECIPE, ["seed=1", "method=scratch", "out=a", "b=1", "seed=2"]),
        ("2", Path("mine.yaml"), ["seed=1", "out=b", "seed=2"]),
        ("3", DEFAULT_RECIPE, ["seed=1", "method=apollo", "out=c", "seed=2"]),
    ],
)
def test_a_task_takes_the_line_of_its_number(
    task: str, recipe: Path, words: list[str], listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
    assert split_recipe(["seed=1", listed, "seed=2"]) == (recipe, words)


@pytest.mark.parametrize("number", ["4", "0", "-1", "x"])
def test_a_task_beyond_the_list_says_so(
    number: str, listed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", number)
    sentence = f"{listed[1:]}: has no line {number} for this task of the array; it has 3, counted from 1 without"
    assert _complaint(capsys, listed).startswith(f"apollo-ds: {sentence}")


def test_a_list_that_is_not_there_and_a_task_of_no_array_say_so(
    listed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    sentence = f"apollo-ds: SLURM_ARRAY_TASK_ID: is not set, though {listed} is given; start the tasks by `sbatch"
    assert _complaint(capsys, listed).startswith(sentence)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert _complaint(capsys, f"@{tmp_path}/none") == f"apollo-ds: {tmp_path}/none: there is no such list\n"
    assert _complaint(capsys, f"@{tmp_path}") == f"apollo-ds: {tmp_path}: cannot be read: Is a directory\n"
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "is not text in UTF-8" in _complaint(capsys, f"@{tmp_path}/binary")


def test_plan_takes_a_list_too_also_after_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write(tiny("gpt2", tmp_path / "run"), tmp_path / "recipe.yaml")
    (tmp_path / "list").write_text("steps=30\nsteps=40\n")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    main(["plan", recipe, "--json", f"@{tmp_path}/list"])
    assert json.loads(capsys.readouterr().out)["total"]["steps"] == 40


def _complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["train", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("method='[deep_jump, pld]' my words", "line 1: .* it is split at spaces, and no shell reads it"),
        ("seed=1  # the first", "line 1: .* remarks on their own lines"),
    ],
)
def test_a_line_of_more_than_words_is_named(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    (tmp_path / "list").write_text(line)
    with pytest.raises(UserError, match=said):
        with_lists_read([f"@{tmp_path / 'list'}"])
    with pytest.raises(UserError, match=r"^@: name a list"):
        with_lists_read(["@"])
