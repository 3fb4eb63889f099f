"""List every key of a recipe with its meaning, type and default, as the classes that check the keys define them."""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from apollo_ds.config.complaint import class_within, number
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.optimizers import OPTIMIZERS
from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS
from apollo_ds.models.families import FAMILIES, PRESETS, shape_classes
from apollo_ds.models.shape import ModelShape
from data_prep.did_you_mean import nearest

_HEADINGS = ("key", "type", "default", "meaning")
_INTRODUCTION = (
    "A recipe is a YAML file of these keys. The command line takes them as `key=value`, such as `steps=500` or "
    "`method.jump_at=0.7`. A key with ↻ may have another value when a run is resumed. `apollo-ds keys` prints all of "
    "this, `apollo-ds keys learning` the keys whose names have `learning` in them, `apollo-ds keys sprout` a method's."
)
_MAPPING = "mapping"
_LIST_OF_MAPPINGS = f"list of: {_MAPPING}"
_NAMES = {"integer": "whole number", "boolean": "true or false", "string": "text", "object": _MAPPING, "null": "none"}
_REQUIRED = "must be given"
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Key:
    """The facts about a key that a reader needs, as text."""

    name: str
    type: str
    default: str
    meaning: str
    may_change: bool = False

    @property
    def is_required(self) -> bool:
        """Whether the key has no default."""
        return self.default == _REQUIRED

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The cells of the key's row, below `_HEADINGS`."""
        return (f"{self.name} ↻" if self.may_change else self.name), self.type, self.default, self.meaning


@dataclass(frozen=True)
class Section:
    """Keys that belong together."""

    title: str
    text: str
    keys: Sequence[Key]

    @property
    def names(self) -> list[str]:
        """The names of the section and of its keys."""
        return [self.title.split()[-1], *(key.name for key in self.keys)]

    def is_called(self, word: str) -> bool:
        """Whether the word is the section's title, or the name of its method, optimizer or family."""
        return word.lower() in (self.title, self.title.split()[-1])

    def having(self, word: str) -> "Section":
        """The section with only the keys whose names contain a word. It keeps all keys if the word is its own name."""
        return (
            self if self.is_called(word) else Section(self.title, self.text, [k for k in self.keys if word in k.name])
        )


def sections() -> Iterator[Section]:
    """Yield sections: the recipe's own keys, the sizes of a model, and the options of each optimizer and method."""
    yield Section("A recipe", "", _keys(Recipe, "", Recipe.may_change()))
    sizes = ", ".join(f"`{name}` ({shape.num_layers} x {shape.hidden_size})" for name, shape in PRESETS.items())
    presets = f"Presets, with their layers and hidden size: {sizes}."
    families = f"Families: {', '.join(f'`{name}`' for name in FAMILIES)}."
    yield Section("model", f"{presets} {families}", _keys(ModelShape, "model."))
    for name, shape in shape_classes().items():
        own = [key for key in _keys(shape, "model.") if key.name.removeprefix("model.") not in ModelShape.model_fields]
        if own:
            yield Section(f"model of the family {name}", "", own)
    for kind, classes in (("optimizer", OPTIMIZERS), ("method", METHODS)):
        for name, found in classes.items():
            about = [sys.modules[found.__module__], found] if kind == "method" else [found]
            summary = " ".join(_first_paragraph(of) for of in about)
            options = [key for key in _keys(found, f"{kind}.") if key.name != f"{kind}.name"]
            yield Section(f"{kind} {name}", summary, options)


def _first_paragraph(of: object) -> str:
    return " ".join((of.__doc__ or "").split("\n\n")[0].split())


def print_keys(word: str, console: Console) -> None:
    """Print for people the keys whose names contain a word. An empty word prints all keys.

    Raises:
        UserError: no key and no method has this name.
    """
    found = [part for section in sections() if (part := section.having(word.lower())).keys or section.is_called(word)]
    if not found:
        near = nearest((name.rpartition(".")[2] for section in sections() for name in section.names), word)
        fix = f"did you mean {near}?" if near else "`apollo-ds keys` shows all keys"
        raise UserError(f"{word}: no key has this in its name, and no method has this name; {fix}")
    for section in found:
        console.print(f"[bold]{section.title}[/]")
        if section.text:
            console.print(section.text, markup=False, highlight=False)
        for key in section.keys:
            name, kind, default, meaning = key.cells
            ends = default if key.is_required else f"default {default}"
            said = Text.assemble((name, "bold"), f"  {kind}; {ends}")
            console.print(Padding(said, (1, 0, 0, 2), expand=False), Padding(Text(meaning), (0, 0, 0, 6), expand=False))
        console.print()
    if any(key.may_change for section in found for key in section.keys):
        console.print("↻ may have another value when a run is resumed.")


def markdown() -> str:
    """The text of the page docs/reference/keys.md."""
    lines = ["# The keys of a recipe", "", _INTRODUCTION, ""]
    for section in sections():
        lines += [f"## {section.title}", "", *([section.text, ""] if section.text else [])]
        kind, _, name = section.title.partition(" ")
        lines += [f"[What {name} does, and when to use it](../methods/{name}.md).", ""] if kind == "method" else []
        if section.keys:
            rows = [_HEADINGS, ("---",) * len(_HEADINGS), *(_escaped(key) for key in section.keys)]
            lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(key: Key) -> tuple[str, ...]:
    name, *others = key.cells
    word, _, mark = name.partition(" ")
    return (f"`{word}` {mark}".rstrip(), *(cell.replace("|", "\\|") for cell in others))


def _keys(kind: type[BaseModel], prefix: str, may_change: set[str] | None = None) -> list[Key]:
    schema = kind.model_json_schema()
    found = []
    for name, field in kind.model_fields.items():
        shape = schema["properties"][name]
        key = Key(
            name=prefix + name,
            type=_type(shape),
            default=_default(shape, field.is_required()),
            meaning=_meaning(kind, name),
            may_change=name in (may_change or ()),
        )
        parts = class_within(field.annotation) if key.type.startswith(_LIST_OF_MAPPINGS) else None
        found += [key, *(_keys(parts, f"{key.name}[].") if parts else [])]
    return found


def _meaning(kind: type[BaseModel], name: str) -> str:
    """The docstring of a field, from its own class or from the nearest base class that has one."""
    bases = [base for base in kind.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]
    said = next((docs[name] for docs in map(_docstrings, bases) if name in docs), "")
    return " ".join(said.split())


@cache
def _docstrings(kind: type) -> dict[str, str]:
    """The docstring below each field. Pydantic can read them too, but would take 0.1 seconds at every start."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: text.value.value
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _type(schema: Mapping[str, Any]) -> str:
    """A type in words, such as `whole number > 0`."""
    if "oneOf" in schema or "discriminator" in schema:
        return "name or mapping"
    if "$ref" in schema:
        return _MAPPING
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        inside = schema.get("prefixItems")
        return f"list of {len(inside)}: {_type(inside[0])}" if inside else f"list of: {_type(schema['items'])}"
    name = schema.get("format", _NAMES.get(schema["type"], schema["type"]))
    bounds = [f"{sign} {number(schema[bound])}" for bound, sign in _BOUNDS.items() if bound in schema]
    return " ".join([str(name), ", ".join(bounds)]).rstrip()


def _default(schema: Mapping[str, Any], is_required: bool) -> str:
    if is_required:
        return _REQUIRED
    if schema.get("type") == "object":
        return "empty"
    if "default" not in schema:
        return "depends"
    default = schema["default"]
    return _value(default["name"] if isinstance(default, Mapping) else default)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(part) for part in value)}]"
    if isinstance(value, bool) or value is None:
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
