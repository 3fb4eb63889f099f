"""How a run's end is told: what it came to, and what asked it to stop."""

import signal
from pathlib import Path

import pytest

from apollo_ds.errors import UserError
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
