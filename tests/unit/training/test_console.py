"""The lines of a run: which of them stay, and what they say."""

from dataclasses import replace
from typing import Any

import pytest

from apollo_ds.training import console as consoles
from apollo_ds.training.console import RunConsole

from .test_step_line import STANDING

GROWTH: dict[str, Any] = {"step": 320, "from": 0, "to": 4, "loss_before": 6.5, "loss_after": 6.5012}
EVALUATION: dict[str, Any] = {"step": 320, "loss": 6.5012, "depth": 4}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is said."""
    caplog.set_level("INFO", "apollo_ds")
    return caplog


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "grow  step 320: 0 -> 4 layers, held-out loss 6.5000 -> 6.5012 (+0.0012)"),
        ({"loss_after": 6.5}, "grow  step 320: 0 -> 4 layers, held-out loss 6.5000 -> 6.5000 (unchanged)"),
        ({"loss_after": 6.50000001}, "grow  step 320: 0 -> 4 layers, held-out loss 6.5000 -> 6.5000 (unchanged)"),
    ],
)
def test_a_growth(changes: dict[str, Any], told: str, log: pytest.LogCaptureFixture) -> None:
    RunConsole(shown=True).growth({**GROWTH, **changes})
    assert log.messages == [told]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "eval  step 320: held-out loss 6.5012, depth 4"),
        ({"bits_per_byte": 2.1}, "eval  step 320: held-out loss 6.5012, 2.1000 bits a byte, depth 4"),
        ({"losses": {"[wiki]": 6.0}}, "eval  step 320: held-out loss 6.5012, depth 4; [wiki] 6.0000"),
    ],
)
def test_an_evaluation(changes: dict[str, Any], told: str, log: pytest.LogCaptureFixture) -> None:
    RunConsole(shown=True).evaluation({**EVALUATION, **changes})
    assert log.messages == [told]


def test_a_straggler_is_warned_of_once(log: pytest.LogCaptureFixture) -> None:
    console = RunConsole(shown=True)
    for _ in range(3):
        console.straggler({"own_seconds": [1.0, 2.5], "slowest_rank": 1, "slowdown": 2.5})
    assert log.messages == [
        "rank 1 is 2.5 times slower than the others: 2.500 s a step for its batch and its forward pass"
    ]
    assert log.records[0].levelname == "WARNING"
    console.straggler({"own_seconds": [2.0, 1.0], "slowest_rank": 0, "slowdown": 2.0})
    assert log.messages[-1].startswith("rank 0 is 2.0 times slower")


def steps_told(log: pytest.LogCaptureFixture) -> list[int]:
    return [int(line.split()[1].partition("/")[0].replace(",", "")) for line in log.messages]


def test_twenty_lines_of_steps_stay(log: pytest.LogCaptureFixture) -> None:
    console = RunConsole(shown=True)
    for step in range(10, 20_001, 10):
        console.step(replace(STANDING, step=step))
    assert steps_told(log) == [10, *range(1000, 20_001, 1000)]


def test_the_lines_of_a_resumed_run_stay_at_the_same_steps(log: pytest.LogCaptureFixture) -> None:
    console = RunConsole(shown=True)
    for step in range(1510, 5001, 10):
        console.step(replace(STANDING, step=step))
    assert steps_told(log) == [1510, 2000, 3000, 4000, 5000]


def test_a_slow_run_has_a_line_every_ten_minutes(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    console, now = RunConsole(shown=True), 0.0
    monkeypatch.setattr(consoles.time, "monotonic", lambda: now)
    for step in range(10, 101, 10):
        now += 250
        console.step(replace(STANDING, step=step))
    assert steps_told(log) == [10, 40, 70, 100]


def test_ranks_beside_the_first_say_nothing(log: pytest.LogCaptureFixture) -> None:
    console = RunConsole(shown=False)
    console.step(STANDING)
    console.growth(GROWTH)
    console.evaluation(EVALUATION)
    console.warn("wrong")
    console.finish({"cost": "1 TFLOP"})
    assert log.messages == []
