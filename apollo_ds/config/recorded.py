"""Read and write a run's config.yaml: its recipe, the hashes of its text, and the versions that it ran with.

An earlier version may have written the file. Keys that did not exist then get the value of what the run did.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_jsonable_python

from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.models.families import shape_class_of
from data_prep import files

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The loader in C if it is installed: a comparison reads hundreds of files."""


class Recorded(BaseModel):
    """The content of config.yaml. Earlier versions did not write the keys that may be None."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    recipe: dict[str, Any]
    """The recipe, completed by `with_defaults`."""
    run: str | None = None
    """A hash of what must stay the same during the run: its text, and the keys of its recipe that may not change."""
    tokenizer: str | None = None
    """The hash of the text's tokenizer, as in `Corpus`."""
    held_out: str | None = None
    """The hash of the held-out tokens."""
    train: str | None = None
    """The hash of the training tokens."""
    versions: dict[str, str | None] | None = None
    """The versions of Python and of packages. None for a package that was not installed."""
    git_commit: str | None = None
    git_diff: str | None = None
    """A hash of how the code differed from its commit, from `run_folder.git_diff`."""
    ranks: int | None = None


def read_recorded(path: Path) -> Recorded:
    """Read a run's config.yaml.

    Raises:
        UserError: the file is missing or damaged, or was changed since the run wrote it.
    """
    try:
        values = yaml.load(path.read_bytes(), Loader=_YAML)
        if not isinstance(values, dict) or not isinstance(values.get("recipe"), dict):
            raise TypeError
        digest, is_of_before = values.pop(files.HASH, None), "run" not in values  # before the hash a run had no name
        if digest != files.hash_of_values(values) and (digest is not None or not is_of_before):
            raise ValueError
        return Recorded.model_validate({**values, "recipe": with_defaults(values["recipe"])})
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError, RecursionError):
        raise UserError(
            f"{path}: missing, damaged, or changed since the run wrote it; restore it, or choose another folder with "
            "out=..."
        ) from None


def write_recorded(path: Path, values: Mapping[str, Any]) -> None:
    """Write config.yaml in one step, with a hash of its content.

    Raises:
        OSError: the file cannot be written.
    """
    files.write_text(path, yaml.safe_dump({**values, files.HASH: files.hash_of_values(values)}, sort_keys=False))


def with_defaults(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the recipe of a run folder. Keys that did not exist when it was written get their defaults.

    If runs of that time did something else than the default, the class says so in `was`, and that value is taken.
    """
    values = {**_defaults(Recipe), **Recipe.was, **recorded}
    shape = shape_class_of(values["model"])
    values["model"] = {**_defaults(shape), **shape.was, **values["model"]}
    values["method"] = _method_with_defaults(values["method"])
    return values


def _method_with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    if "parts" in options:
        return {**options, "parts": [_method_with_defaults(part) for part in options["parts"]]}
    kind = METHODS.get(str(options["name"]))
    return {**({**_defaults(kind), **kind.was} if kind else {}), **options}


def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """The defaults of a class, without those that depend on other values."""
    fixed = {
        k: field for k, field in kind.model_fields.items() if not field.is_required() and not field.default_factory
    }
    return {key: to_jsonable_python(field.default) for key, field in fixed.items()}
