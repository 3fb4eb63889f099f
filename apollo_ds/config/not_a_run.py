"""Explain a path that was given as a run's folder and is none, and suggest what was meant."""

from glob import has_magic
from pathlib import Path

from apollo_ds.config.packaged import recipe_names
from apollo_ds.config.run_folder import RunFolder
from data_prep.did_you_mean import choice
from data_prep.manifest import NAME as MANIFEST

_MOST = 5
"""The most runs that a message names as examples."""


def not_a_run(folder: Path, lacks: str = "config.yaml") -> str:
    """One sentence on a path that is not a run's folder, because it lacks the file `lacks`."""
    within = next((parent for parent in folder.parents if RunFolder(parent).exists), None)
    if within and folder.exists():
        return f"{folder}: is a part of the run {within}; name the run"
    if is_model(folder):
        return f"{folder}: is a saved model, not a run; name the run's folder, which is `out` in its recipe"
    if (folder / MANIFEST).is_file():
        return f"{folder}: is a folder of prepared text, not of a run"
    if folder.is_dir():
        inside = _runs_in(folder)
        fix = f"name one of the runs in it: {_few(inside)}" if inside else f"it has no {lacks}"
        return f"{folder}: not a run folder; {fix}"
    if folder.exists():
        return f"{folder}: is a file, not the folder of a run"
    if has_magic(str(folder)):
        return f"{folder}: there is no run with a folder of this name"
    known = runs_beside(folder)
    meant = next((run for run in known if Path(run).name == folder.name), None)
    if meant is None and (str(folder) in recipe_names() or folder.suffix in (".yaml", ".yml")):
        return f"{folder}: is a recipe, not a run; train it, and name the run's folder, which is its `out`"
    if not known:
        return f"{folder}: there is no such run; name the run's folder, which is `out` in its recipe"
    fix = f"did you mean {meant}?" if meant else choice(known[:_MOST], folder)
    return f"{folder}: there is no such run; {fix}"


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model that `transformers` saved. An export has a manifest.json, as prepared text has."""
    return (folder / "config.json").is_file()


def runs_beside(folder: Path) -> list[str]:
    """The runs in the same folder, and those in `runs`."""
    return list(dict.fromkeys([*_runs_in(folder.parent), *_runs_in(Path("runs"))]))


def _runs_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.glob("*") if RunFolder(path).exists)


def _few(runs: list[str]) -> str:
    return ", ".join([*runs[:_MOST], *(["..."] if len(runs) > _MOST else [])])
