"""Commands in forked children of a process that has imported everything, so that each takes a second and not ten."""

import atexit
import contextlib
import gc
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from signal import SIGKILL
from tempfile import mkdtemp
from typing import Any

from faults import preload
from launching import free_port

from apollo_ds.errors import EXIT_STOPPED, EXIT_USER_ERROR

_IMPORTED = [
    "apollo_ds.checkpoint.export",
    "apollo_ds.experiments.report",
    "apollo_ds.finetune.command",
    "apollo_ds.training.run",
    "apollo_ds.training.trainer",
    "data_prep.indexed",
    "torch.utils.tensorboard.summary",
]
KILLED = -9
TOO_LONG = -14
_SECONDS = 100


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    """Its exit code; -9 if it was killed, `TOO_LONG` if it had to be."""
    output: str

    @property
    def sentences(self) -> list[str]:
        """The lines in which a command says what is wrong."""
        return [line for line in self.output.splitlines() if line.startswith(("apollo-ds: ", "apollo-prep: "))]

    @property
    def fault(self) -> str:
        """Return what no user may see: a wrong exit code, a traceback, or a mistake without its one sentence."""
        if self.code not in (0, EXIT_USER_ERROR, EXIT_STOPPED, KILLED):
            return f"exit code {self.code}: {self.output.strip()[-300:]}"
        if "Traceback" in self.output:
            return f"a traceback: {self.output.strip()[-300:]}"
        if self.code == EXIT_USER_ERROR and len(self.sentences) != 1:
            return f"{len(self.sentences)} sentences: {self.output.strip()[-300:]}"
        return ""


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """An empty folder for a script of faults, whose file operations are seen and which has imported everything."""
    preload()
    load()
    place = Path(mkdtemp(prefix=f"apollo-ds-{name}-"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def load() -> None:
    """Import all that commands import, start no thread, and have figures drawn empty, since drawing takes seconds."""
    for name in _IMPORTED:
        import_module(name)
    import matplotlib.figure
    import torch

    torch.set_num_threads(1)
    draw = matplotlib.figure.Figure.savefig

    def draw_empty(_: Any, *arguments: Any, **options: Any) -> None:
        draw(matplotlib.figure.Figure((1, 1)), *arguments, **options)

    matplotlib.figure.Figure.savefig = draw_empty  # type: ignore[method-assign]
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1


def in_child(action: Callable[[], object], log: Path) -> Ended:
    """Run something in a forked child as the only rank of a run."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_a_rank(log)
        _end_as_python_does(action)
    give_up = time.monotonic() + _SECONDS
    while time.monotonic() < give_up:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))
        time.sleep(0.005)
    os.kill(child, SIGKILL)
    os.waitpid(child, 0)
    return Ended(TOO_LONG, log.read_text(errors="replace"))


def _be_a_rank(log: Path) -> None:
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(
        RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port()
    )


def _end_as_python_does(action: Callable[[], object]) -> None:
    code = 1
    try:
        action()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
