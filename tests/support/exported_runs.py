"""A run that an earlier version left, exported into the working directory, and what is there before and after."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from apollo_ds.checkpoint.export import Exported, export
from apollo_ds.checkpoint.export_folder import Replaces
from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.load import load_resolved
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError

OLD = Path(__file__).parents[1] / "fixtures" / "format_2"


def old_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a checkpoint, `run`, and its text, `text`, in this folder, which becomes the working directory."""
    shutil.copytree(OLD / "run", folder / "run")
    shutil.copytree(OLD / "text", folder / "text")
    monkeypatch.chdir(folder)
    return RunFolder(Path("run"))


def write(
    folder: Path,
    run: str | None = "one",
    text: Path = Path("text"),
    replaces: Replaces = Replaces.SAME,
    card: str | None = None,
) -> Exported:
    """Export the run's checkpoint as if its config.yaml named the run so."""
    saved = Path("run/checkpoints/step-8")
    sound = verify(saved)
    state = SavedState(replace(sound, manifest=sound.manifest.model_copy(update={"run": run})))
    stage = load_resolved(Path("run/config.yaml")).schedule().stages[1]
    return export(state, stage, Corpus.open(text), folder, replaces, card=card)


def refusal(action: Callable[[], object]) -> str:
    """Why an action is refused, which leaves everything as it was."""
    before = listing()
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    assert listing() == before
    return str(caught.value)


def listing() -> dict[str, bytes | None]:
    """All that is below the working directory, with the content of files."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
