"""The lines of a run."""

from typing import Any

import pytest
from planned import schedule, stages

from apollo_ds.training.console import RunConsole

STEP: dict[str, Any] = {
    "step": 40,
    "stage": 0,
    "depth": 0,
    "unique_layers": 0,
    "loss": 7.5,
    "grad_norm": 0.5,
    "lr": 1e-3,
    "flops": 1e12,
}
GROWTH: dict[str, Any] = {"step": 320, "seconds": 1.5, "loss_before": 6.5, "loss_after": 6.5012}


def lines(capsys: pytest.CaptureFixture[str], *steps: dict[str, Any]) -> list[str]:
    console = RunConsole(schedule(stages("dpt", "gpt2")), shown=True)
    for record in steps:
        console.step(record, 1000.0, 60.0)
    console.growth({**GROWTH, "from": 0, "to": 4, "map_name": "random layers"})
    return capsys.readouterr().out.splitlines()


def test_a_run_without_layers_is_shown_as_any(capsys: pytest.CaptureFixture[str]) -> None:
    step, growth = lines(capsys, STEP)
    assert step.split()[:8] == ["40", "1/2", "0", "of", "0", "7.5000", "0.50", "1.00e-03"]
    assert step.endswith("0:01:00")
    assert "grow 0 -> 4 layers at step 320 by random layers, 1.5 s: held-out loss 6.5000 -> 6.5012 (+0.0012)" in growth


def test_the_rate_of_what_is_new_stands_behind_while_it_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    plain, other, _ = lines(capsys, STEP, {**STEP, "step": 80, "new_lr": 1.3e-3})
    assert "new" not in plain
    assert other.endswith("0:01:00  lr of what is new 1.30e-03")
