"""Scenes for faults: commands that write, the folder that each starts from, and the result that it must reach."""

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from faults import Fault, arm, disarm
from forking import Ended, in_child
from prep_command import run_here
from recipes import tiny, write
from runs import trained
from texts import make_texts, write_jsonl

from apollo_ds.__main__ import main
from apollo_ds.checkpoint.find import newest_sound, step_of
from apollo_ds.config.recipe import Recipe


@dataclass(frozen=True)
class Scene:
    """A command in a folder."""

    name: str
    start: Path
    """What the folder holds before it."""
    folder: Path
    act: Callable[[], None]
    result: Callable[[], Any]
    """What must be the same however often it was disturbed."""
    sound: Callable[[], int]
    """The step of the newest sound checkpoint; 0 without one."""

    def begin(self) -> None:
        """Bring the folder to its start."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.start, self.folder, symlinks=True)


def small_run(place: Path) -> Recipe:
    """Four steps, a growth after two, and two checkpoints of which one is kept."""
    method = {"name": "apollo", "layers": [1, 6], "grow_at": [0.5]}
    return tiny("gpt2", place / "run", steps=4, save_every=2, keep_checkpoints=1, eval_every=2, method=method)


def training_scenes(place: Path) -> list[Scene]:
    """A run in a new folder; a run that was killed as it saved its last checkpoint; an export."""
    folder = place / "runs"
    recipe = small_run(folder)
    act = partial(main, ["train", write(recipe, place / "recipe.yaml")])
    new, stopped, finished = (place / name for name in ("new", "stopped", "finished"))
    new.mkdir()
    fresh = Scene("train", new, folder, act, partial(_trained, recipe), partial(sound_step, recipe.out))
    fresh.begin()
    done = undisturbed(fresh, place)
    shutil.copytree(folder, finished)
    fresh.begin()
    saving = next(n for n, line in enumerate(done) if "step-4.partial" in line)
    disturbed(fresh, place, saving + 3, Fault.KILL)
    shutil.copytree(folder, stopped)
    exported = folder / "model"
    return [
        fresh,
        Scene("resume", stopped, folder, act, fresh.result, fresh.sound),
        Scene(
            "export",
            finished,
            folder,
            partial(main, ["export", str(recipe.out), str(exported)]),
            partial(_model, exported),
            fresh.sound,
        ),
    ]


def preparation_scene(place: Path) -> Scene:
    """The preparation of two files."""
    folder, start = place / "texts", place / "no-text"
    start.mkdir()
    sources = [write_jsonl(place / f"{name}.jsonl", make_texts(30, seed)) for seed, name in enumerate("ab")]
    words = [word for source in sources for word in ("--source", source)]
    act = partial(
        run_here, "build", *words, "--tokenizer", "bpe", "--vocab-size", 300, "--out", folder / "out", "--workers", 1
    )
    return Scene("build", start, folder, act, partial(_prepared, folder / "out"), lambda: 0)


def undisturbed(scene: Scene, place: Path) -> list[str]:
    """Let the command come to its end; returns its file operations."""
    ended = disturbed(scene, place, 0, Fault.NONE)
    assert ended.code == 0, ended.output
    return operations(place)


def disturbed(scene: Scene, place: Path, number: int, fault: Fault) -> Ended:
    """Run the command with a fault at one of its operations."""

    def act() -> None:
        arm(scene.folder, number, fault, place / "operations")
        scene.act()

    ended = in_child(act, place / "log")
    disarm()  # the state is this process's too
    return ended


def operations(place: Path) -> list[str]:
    """What the last disturbed command did, up to the fault: the operation, a tab, the path."""
    return (place / "operations").read_text().splitlines()


def sound_step(run: Path) -> int:
    """The step of a run's newest sound checkpoint; 0 without one."""
    newest, _ = newest_sound(run / "checkpoints")
    return step_of(newest) if newest else 0


def contents(folder: Path) -> dict[str, str]:
    """The hash of each file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


_TIMED = ("README.md", "manifest.json")
"""The card of an exported model tells how long training took, and no loss of a damaged record; the manifest has the
card's hash."""


def _trained(recipe: Recipe) -> Any:
    """Weights, moments, metrics, the export, and which pages and figures there are."""
    weights = {name: digest for name, digest in contents(recipe.out / "checkpoints").items() if "safetensors" in name}
    report = {name for name in contents(recipe.out / "report") if (recipe.out / "report" / name).stat().st_size}
    return weights, trained(recipe), _model(recipe.out / "export"), report


def _model(exported: Path) -> dict[str, str]:
    return {name: digest for name, digest in contents(exported).items() if name not in _TIMED}


def _prepared(out: Path) -> dict[str, str]:
    """All but the note of when the files were written."""
    return {name: digest for name, digest in contents(out).items() if not name.startswith("cache/")}


PLACES = {
    r"\.removed": "prune",
    r"checkpoints/": "save",
    r"events\.out": "TensorBoard",
    r"metrics": "metrics",
    r"export|model": "export",
    r"report": "report",
    r"out/work": "parts of text",
    r"out/(train|validation)": "merge",
    r"out": "folder of shards",
}


def place_of(path: str) -> str:
    """What a file belongs to."""
    return next((name for pattern, name in PLACES.items() if re.search(pattern, path)), "run folder")
