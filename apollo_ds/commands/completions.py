"""The words that a shell offers when the user presses Tab."""

from collections.abc import Callable, Iterable
from glob import glob
from pathlib import Path
from typing import Any, get_args


def beginning(names: Iterable[str]) -> Callable[[str], list[str]]:
    """A completer that offers those of the names that begin with what was typed."""
    known = list(names)
    return lambda incomplete: [name for name in known if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Folders of runs, here or one folder below, whose paths begin with what was typed."""
    found = [*glob(f"{incomplete}*"), *glob(f"{incomplete}*/*")]
    return sorted(folder for folder in found if Path(folder, "config.yaml").is_file())


def keys_and_recipes(incomplete: str) -> list[str]:
    """`key=` for all keys that begin with what was typed, and recipes from here and from the package.

    Behind `key=` it offers the key's values, if they have names. If it offers nothing, a shell offers files.
    """
    key, sign, begun = incomplete.partition("=")
    if sign:
        return [f"{key}={value}" for value in _values(key, begun)]
    from apollo_ds.config.packaged import recipe_names

    words = [*(f"{name}=" for name in _keys(within=incomplete)), *recipe_names(), *sorted(glob("*.yaml"))]
    return beginning(words)(incomplete)


def _keys(within: str) -> list[str]:
    """The names of keys. Keys inside a model or method are offered once their dot is typed."""
    from apollo_ds.config.recipe import Recipe

    if "." not in within:
        return list(Recipe.model_fields)
    from apollo_ds.methods import METHODS
    from apollo_ds.models.families import shape_classes

    outer = within.partition(".")[0]
    kinds = {"method": METHODS.values(), "model": shape_classes().values()}.get(outer, ())
    return sorted({f"{outer}.{name}" for kind in kinds for name in kind.model_fields})


def _values(key: str, begun: str) -> list[str]:
    if key in ("init_from", "branch_from", "method.source"):
        return runs(begun)
    if key in ("method", "method.name"):
        from apollo_ds.methods import METHODS

        return list(METHODS)
    if key in ("model", "model.family"):
        from apollo_ds.models.families import FAMILIES, PRESETS

        return list(FAMILIES if key == "model.family" else PRESETS)
    from apollo_ds.config.recipe import Recipe
    from apollo_ds.engine.optimizers import OPTIMIZERS

    if key == "optimizer":
        return list(OPTIMIZERS)
    field = Recipe.model_fields.get(key)
    return _named(field.annotation) if field else []


def _named(annotation: Any) -> list[str]:
    """The named values of a type, or of such a type with None. Empty for other types."""
    if annotation is bool:
        return ["true", "false"]
    parts = get_args(annotation)
    return [name for part in parts for name in ([part] if isinstance(part, str) else _named(part))]
