"""Loops that are timed: they run as many steps as they are told to, in a process of their own."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from speed.pacing import Pace, Paced

from apollo_ds.engine.processes import Processes

AFTER_LAST = 0.2


def notes_its_steps(pace: Pace, processes: Processes, notes: Path) -> None:
    """Three steps, each a line in `notes`, and some time after the last."""
    for step in range(3):
        pace.gate()
        with notes.open("a") as lines:
            lines.write(f"{step} of process {os.getpid()}, {processes.world_size} rank\n")
        pace.step_ended()
    time.sleep(AFTER_LAST)


def fails(pace: Pace, processes: Processes) -> None:
    pace.gate()
    raise ValueError("as it happens")


def is_killed(pace: Pace, processes: Processes) -> None:
    pace.gate()
    os._exit(9)


@pytest.fixture
def paced(tmp_path: Path) -> Iterator[Paced]:
    with closing(Paced(notes_its_steps, tmp_path / "notes")) as loop:
        yield loop


def test_a_loop_runs_the_steps_that_it_is_told_to(paced: Paced, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert not notes.exists()
    paced.steps(1)
    assert notes.read_text().split(" of ")[0] == "0"
    seconds = paced.steps(2)
    lines = notes.read_text().splitlines()
    assert [line[0] for line in lines] == ["0", "1", "2"]
    assert f"process {os.getpid()}," not in notes.read_text()
    assert all(line.endswith("1 rank") for line in lines)
    assert AFTER_LAST <= paced.seconds_after_last <= seconds


@pytest.mark.parametrize(
    ("loop", "told"), [(fails, "ValueError: as it happens"), (is_killed, "a loop ended with exit code 9")]
)
def test_a_loop_that_does_not_go_on_says_why(loop: Callable[[Pace, Processes], None], told: str) -> None:
    with closing(Paced(loop)) as paced, pytest.raises(RuntimeError, match=told):
        paced.steps(1)
