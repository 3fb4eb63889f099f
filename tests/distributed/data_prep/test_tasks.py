"""Tasks in processes of their own: at the same time, twice, and killed, without locks and with them."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from prep_command import command, run, run_here
from texts import make_texts, write_jsonl

_WITHOUT_LOCKS = """
import errno, fcntl, os
def flock(file, operation):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = flock
from data_prep.__main__ import main
main()
"""
TASKS = 3


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the note of when they were verified, which has times."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "verified.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    folder = tmp_path_factory.mktemp("sources")
    given: list[str | Path] = ["--tokenizer", "wordpiece", "--vocab-size", "1000", "--deduplicate", "near"]
    for i in range(12):
        given += ["--source", write_jsonl(folder / f"s{i}.jsonl", make_texts(60 + 20 * i, seed=i))]
    return given


@pytest.fixture(scope="module")
def whole(options: list[str | Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one machine makes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run_here("build", *options, "--out", out, "--workers", "1")
    return contents(out)


def start(build: list[str | Path], number: int, locks: bool) -> psutil.Popen:
    words = command(*build, "--part", f"{number}/{TASKS}", "--workers", "2")
    if not locks:
        words[1:3] = ["-c", _WITHOUT_LOCKS]
    assert words[0] == sys.executable
    return psutil.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end_after_kills(build: list[str | Path], locks: bool, kills: int, seed: int) -> None:
    """Run all tasks at the same time; kill one of them so many times, at any moment, and start it again at once."""
    rng = random.Random(seed)
    running = {number: [start(build, number, locks)] for number in range(1, TASKS + 1)}
    for _ in range(kills):
        time.sleep(rng.uniform(0.5, 2))
        number = rng.randint(1, TASKS)
        running[number][-1].kill()
        running[number].append(start(build, number, locks))
    running[2].append(start(build, 2, locks))
    give_up = time.monotonic() + 240
    for process in (process for processes in running.values() for process in processes):
        errors = process.communicate(timeout=max(1, give_up - time.monotonic()))[1]
        assert process.returncode in (0, -9), errors
    assert all(processes[-1].returncode == 0 for processes in running.values())


@pytest.mark.parametrize(("locks", "kills", "seed"), [(True, 5, 1), (False, 5, 2)])
def test_tasks_that_are_killed_make_what_one_machine_makes(
    options: list[str | Path], whole: dict[str, bytes], tmp_path: Path, locks: bool, kills: int, seed: int
) -> None:
    build: list[str | Path] = ["build", *options, "--out", tmp_path / "out"]
    end_after_kills(build, locks, kills, seed)
    run_here(*build, "--merge")
    assert contents(tmp_path / "out") == whole


def test_a_merge_before_its_time_ends_with_code_2_and_names_the_parts(
    options: list[str | Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    build: list[str | Path] = ["build", *options, "--out", tmp_path / "out"]
    assert start(build, 1, locks=True).wait() == 0
    early = run(*build, "--merge")
    assert early.returncode == 2
    assert (
        "pieces of work are not done" in early.stderr
        and "--part I/3 with each I of 2-3, then --merge\n" in early.stderr
    )
    assert not (tmp_path / "out" / "train.bin").exists()
    run_here(*build, "--workers", "1")
    assert contents(tmp_path / "out") == whole
    shutil.rmtree(tmp_path / "out")
