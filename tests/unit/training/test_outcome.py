"""How a run's end is told: what it came to, what asked it to stop, and how long it would still take."""

import signal
from pathlib import Path

import pytest
from recipes import tiny

from apollo_ds.errors import UserError
from apollo_ds.training.console import RunConsole
from apollo_ds.training.faults.stop_signal import STARTED_BY, StopRequest
from apollo_ds.training.run import Outcome


@pytest.mark.parametrize("line", ["", '{"event": "checkpoint", "step": 4}\n'])
def test_a_record_without_an_end_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(line)
    with pytest.raises(UserError, match=r"metrics\.jsonl: does not tell how the run ended; restore"):
        Outcome.read(tmp_path)


def test_what_the_launcher_passes_on_is_not_called_by_the_signal_that_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    request = StopRequest()
    request._note(signal.SIGUSR1)
    assert str(request.reason).startswith("SIGUSR1 on ")
    monkeypatch.setenv(STARTED_BY, "1")
    request._note(signal.SIGUSR1)
    assert str(request.reason).startswith("a signal to stop on ")


def test_a_run_of_more_days_than_a_date_holds_is_shown(tmp_path: Path) -> None:
    console = RunConsole(tiny("gpt2", tmp_path / "run").schedule(), shown=True)
    record = {"step": 1, "stage": 0, "depth": 1, "unique_layers": 1, "loss": 1.0, "grad_norm": 1.0, "lr": 1.0}
    console.step({**record, "flops": 1.0}, tokens_per_second=1.0, eta_seconds=1e30)
