"""A prepared run that is damaged again and again, the commands that meet it, and what a user then sees."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpora import corpus
from launching import SCRIPT, environment, start, wait_for_steps
from project import PROJECT
from recipes import tiny, write
from runs import trained
from scenes import contents, sound_step

from apollo_ds.errors import EXIT_USER_ERROR
from data_prep.files import HASH, read_json, write_hashed, write_json

STEPS = 40
SECONDS = 120
RANKS = "2"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    output: str

    @property
    def sentences(self) -> list[str]:
        """The lines in which it says what is wrong."""
        return [line for line in self.output.splitlines() if line.startswith(("apollo-ds: ", "apollo-prep: "))]

    @property
    def refused(self) -> bool:
        """Whether it ended with one sentence about the user's mistake, and nothing else."""
        return self.code == EXIT_USER_ERROR and len(self.sentences) == 1 and "Traceback" not in self.output

    @property
    def told(self) -> str:
        """What a table has room for."""
        if self.sentences:
            return " / ".join(self.sentences)
        if "Traceback" in self.output:
            return f"TRACEBACK: {self.output.strip().splitlines()[-1]}"
        return next((line for line in self.output.splitlines() if "going back" in line or "warns" in line), "")


class Bench:
    """A run of 40 steps on two ranks, saved at each fifth, and copies of it that come to harm."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.run = place / "run"
        self.text = place / "text"
        self.recipe_file = place / "recipe.yaml"
        shutil.copytree(corpus("gpt2").folder, self.text)
        self.recipe = tiny(
            "gpt2", self.run, data=str(self.text), steps=STEPS, save_every=5, log_every=1, keep_checkpoints=20
        )
        write(self.recipe, self.recipe_file)
        calm = self.train()
        assert calm.code == 0, calm.output
        self._kept, self._kept_text = place / "kept", place / "kept-text"
        shutil.copytree(self.run, self._kept)
        shutil.copytree(self.text, self._kept_text)
        self._wanted = self._result()

    def begin(self, step: int = STEPS) -> None:
        """Bring back the run and its text, as the run was when it had just saved after a step; 0: no run."""
        for path, kept in ((self.run, self._kept), (self.text, self._kept_text)):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(kept, path)
        if step == 0:
            shutil.rmtree(self.run)
        elif step < STEPS:
            for saved in range(step + 5, STEPS + 1, 5):
                shutil.rmtree(self.checkpoint(saved))
            shutil.rmtree(self.run / "export")
            shutil.rmtree(self.run / "report")
            (self.run / "checkpoints" / "latest").write_text(f"step-{step}")

    def empty(self) -> Path:
        """An empty folder, for a case that needs no run; that of the case before is gone."""
        folder = self.place / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def checkpoint(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.run / "checkpoints" / f"step-{step}"

    def command(self, *words: str, ranks: str = RANKS) -> list[str]:
        """A user's command that trains."""
        return ["bash", SCRIPT, str(self.recipe_file), "--ranks", ranks, f"out={self.run}", *words]

    def train(self, *words: str) -> Done:
        """Train to the end."""
        return ended(start(*self.command(*words)))

    def train_until(self, steps: int, *words: str, resumes: int = 1) -> "subprocess.Popen[str]":
        """Train, and return when so many steps have been recorded."""
        started = start(*self.command(*words))
        wait_for_steps(started, self.run, steps, resumes)
        return started

    def export(self, folder: Path) -> Done:
        """Export the newest checkpoint."""
        return apollo_ds("export", str(self.run), str(folder))

    @property
    def is_calm(self) -> bool:
        """Whether weights, moments and metrics are those of a run that nothing happened to."""
        return self._result() == self._wanted

    @property
    def sound(self) -> int:
        """The step of the newest sound checkpoint."""
        return sound_step(self.run)

    def _result(self) -> Any:
        return contents_of_checkpoint(self.checkpoint(STEPS)), trained(self.recipe)


def contents_of_checkpoint(checkpoint: Path) -> dict[str, str]:
    """The hashes of the files of ranks."""
    return {name: digest for name, digest in contents(checkpoint).items() if name.endswith("safetensors")}


def apollo_ds(*words: str) -> Done:
    """A command that needs no ranks."""
    return ended(start(sys.executable, "-m", "apollo_ds", *words))


def apollo_prep(*words: str) -> Done:
    """A command that prepares text."""
    return ended(start(sys.executable, "-m", "data_prep", *words))


def first_wrong(dones: Iterable[Done], right: Callable[[Done], bool]) -> tuple[Done, bool]:
    """The first of several commands that did not end as it should, or the last one; and whether all did."""
    done = None
    for done in dones:
        if not right(done):
            return done, False
    assert done is not None, "a case of no command"
    return done, True


def ended(process: "subprocess.Popen[str]", seconds: float = SECONDS) -> Done:
    """Wait for a command; one that hangs is killed."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        for child in _ranks_of(process):
            child.kill()
        output, _ = process.communicate()
        return Done(-signal.SIGKILL, f"{output}\nhangs: killed after {seconds:.0f} s")
    return Done(process.returncode, output)


def _ranks_of(process: "subprocess.Popen[str]") -> list[Any]:
    import psutil

    return [p for p in psutil.process_iter() if _started_by(p, process.pid)]


def _started_by(process: Any, launcher: int) -> bool:
    import psutil

    try:
        return process.environ().get("APOLLO_DS_STARTED_BY") == str(launcher)
    except psutil.Error:
        return False


def flip(path: Path, place: int = -100) -> None:
    """Flip one bit of a file, and leave its time of change."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def edit(path: Path, change: Callable[[dict[str, Any]], object], rehash: bool = False) -> None:
    """Change a JSON file; with `rehash` as one would who knows of its hash."""
    values = read_json(path)
    change(values)
    if rehash and values.pop(HASH, None):
        write_hashed(path, values)
    else:
        write_json(path, values)


def in_namespace(mount: str, command: list[str], **variables: str) -> "subprocess.Popen[str]":
    """A command that sees a file system that others do not see."""
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *command],
        cwd=PROJECT,
        env={**environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]
