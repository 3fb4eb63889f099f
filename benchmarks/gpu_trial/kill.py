"""Killing a run without warning, with all the processes that it has started."""

import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from gpu_trial.places import IS_TINY, WORK

_PATIENCE = 240.0 if IS_TINY else 60.0
_AFTER_CHECKPOINT = 0.2
"""Seconds, in which the run gets into the middle of something."""


def kill_after_checkpoint(checkpoints: int, command: Sequence[str]) -> None:
    """Start the run `killed`, and kill it as soon as it has so many checkpoints, or when patience ends."""
    launcher = psutil.Popen(command)
    give_up = time.monotonic() + _PATIENCE
    while _checkpoints() < checkpoints and launcher.poll() is None and time.monotonic() < give_up:
        time.sleep(0.1)
    time.sleep(_AFTER_CHECKPOINT)
    if launcher.poll() is not None:
        print(f"ended with {launcher.returncode} before it was killed")
        return
    family = [launcher, *launcher.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    launcher.wait()
    print(f"killed {len(family)} processes when there were {_checkpoints()} checkpoints")


def _checkpoints() -> int:
    folder = WORK / "killed" / "checkpoints"
    return sum(path.name.removeprefix("step-").isdigit() for path in folder.glob("step-*"))
