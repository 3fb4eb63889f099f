"""Explain a word that was given as a recipe and is none, and suggest what was meant."""

from pathlib import Path

from apollo_ds.config.not_a_run import is_model
from apollo_ds.config.packaged import expanded, recipe_names
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.methods import METHODS
from apollo_ds.models.families import PRESETS
from data_prep.did_you_mean import choice, nearest
from data_prep.manifest import NAME as MANIFEST


def not_a_recipe(name: Path | str) -> str:
    """One sentence on a name that is neither a file nor a recipe of the package."""
    path = expanded(name)
    if RunFolder(path).exists:
        return (
            f"{name}: is the folder of a run, not a recipe; the command that started the run resumes it, and "
            f"init_from={name} begins a new run with its weights"
        )
    if is_model(path):
        return f"{name}: is a saved model, not a recipe; init_from=hf:{name} begins a run with its weights"
    if (path / MANIFEST).is_file():
        return f"{name}: is a folder of prepared text, not a recipe; write data={name}"
    if path.is_dir():
        return f"{name}: is a folder, not a recipe; name a YAML file"
    for key, known in (("method", METHODS), ("model", PRESETS)):
        if str(name) in known:
            return f"{name}: is a {'preset of a model' if key == 'model' else key}, not a recipe; write {key}={name}"
    near = _beside(path)
    if near:
        return f"{name}: there is no such recipe; did you mean {near}?"
    if path.suffix or len(path.parts) > 1:
        return f"{name}: there is no such recipe; `apollo-ds init` writes one"
    fix = choice(recipe_names(), name)
    return f"{name}: there is no such recipe; {fix if fix.endswith('?') else f'name a YAML file, or {fix}'}"


def _beside(path: Path) -> str:
    """A YAML file in the same folder with nearly the same name. Empty if there is none."""
    files = {file.stem: file for file in sorted(path.parent.glob("*.y*ml"))}
    near = nearest(files, path.stem)
    return str(files[near]) if near in files else ""
