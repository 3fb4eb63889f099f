"""The types of the values of a recipe's keys: how each is read and checked."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from apollo_ds.config.packaged import expanded
from apollo_ds.config.source_model import sizes_of
from apollo_ds.data.text import Data as _Data
from apollo_ds.errors import shown
from apollo_ds.methods import NAMED, named_by
from apollo_ds.models.families import AnyShape
from apollo_ds.schedule.source import BranchPoint, Source

Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]
_LONGEST_NAME = 255
_PATH = {"type": "string", "format": "path"}
_MIXTURE = "{data/wiki: 0.7, data/books: 0.3}"
_MOST_WEIGHT = 2**53


def _usable(path: Any) -> Any:
    """A path with `~` at its beginning expanded, which a shell does not do in `out=~/runs`."""
    if not isinstance(path, str | Path):
        return path
    try:
        longest = max((len(part.encode()) for part in Path(path).parts), default=0)
    except UnicodeEncodeError:
        raise ValueError(f"{path!r} is not text of Unicode characters; give the folder another name") from None
    if not str(path):
        raise ValueError("is empty; name a folder")
    if "\0" in str(path) or longest > _LONGEST_NAME:
        raise ValueError(f"the name is too long, or has a NUL in it; give one of at most {_LONGEST_NAME} bytes")
    return expanded(path)


def _weighted(data: Any) -> Any:
    """Check the value of `data`: a folder, or a mapping of folders to weights above 0."""
    if isinstance(data, str | Path):
        return _usable(data)
    if not isinstance(data, Mapping):
        given = "none" if data is None else shown(data)
        raise ValueError(f"must be a folder, or folders and their weights, such as {_MIXTURE}, not {given}")
    if not data:
        raise ValueError(f"is empty; name a folder, or folders and their weights, such as {_MIXTURE}")
    weights: dict[Path, float] = {}
    for folder, weight in data.items():
        if weight is None:
            raise ValueError(f"{folder} has no weight; write a colon, a space and a number behind it, as in {_MIXTURE}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= _MOST_WEIGHT:
            raise ValueError(
                f"the weight of {folder} must be a number above 0, at most {_MOST_WEIGHT:,}, not {shown(weight)}"
            )
        path = _usable(folder)
        if path in weights:
            raise ValueError(f"names {path} twice; give it one weight")
        weights[path] = float(weight)
    return weights


def _plain(name: str) -> str:
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"{shown(name)} is no name for held-out text; use letters, digits, - and _")
    return name


def _named(key: str) -> BeforeValidator:
    """A validator that reads the source that a key names. `config.load` passes the reader as the validation context."""

    def read(named: Any, info: ValidationInfo) -> Any:
        return named_by(key, named, info)

    return BeforeValidator(read)


def _sizes(model: Any, info: ValidationInfo) -> Any:
    """A model's sizes, read by `sizes_of`. A run that is loaded again uses the sizes that it has recorded."""
    reader: Any = info.context
    return sizes_of(model, reader.sizes) if reader else sizes_of(model)


Folder = Annotated[Path, BeforeValidator(_usable)]
Data = Annotated[_Data, BeforeValidator(_weighted), WithJsonSchema({"anyOf": [_PATH, {"type": "object"}]})]
HeldOut = dict[Annotated[str, AfterValidator(_plain)], Folder]
Model = Annotated[AnyShape, BeforeValidator(_sizes)]
InitFrom = Annotated[Source | None, _named("init_from"), WithJsonSchema(NAMED)]
BranchFrom = Annotated[BranchPoint | None, _named("branch_from"), WithJsonSchema(NAMED)]
