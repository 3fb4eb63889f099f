"""The kinds of values that a recipe's keys take: how each is read and what it must be."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from apollo_ds.config.packaged import expanded
from apollo_ds.config.source_model import sizes_of
from apollo_ds.methods import NAMED, named_by
from apollo_ds.models.families import AnyShape
from apollo_ds.schedule.source import BranchPoint, Source

Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]
_LONGEST_NAME = 255


def _usable(path: Any) -> Any:
    """The path with the meaning that a shell gives `~` at its beginning; no shell reads `out=~/runs`."""
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


def _named(key: str) -> BeforeValidator:
    """Reads what a key names by a text, with what `config.load` gives the validation as its context."""

    def read(named: Any, info: ValidationInfo) -> Any:
        return named_by(key, named, info)

    return BeforeValidator(read)


def _sizes(model: Any, info: ValidationInfo) -> Any:
    """See `sizes_of`; the context of the validation knows what the run has recorded."""
    reader: Any = info.context
    return sizes_of(model, reader.sizes) if reader else sizes_of(model)


Folder = Annotated[Path, BeforeValidator(_usable)]
Model = Annotated[AnyShape, BeforeValidator(_sizes)]
InitFrom = Annotated[Source | None, _named("init_from"), WithJsonSchema(NAMED)]
BranchFrom = Annotated[BranchPoint | None, _named("branch_from"), WithJsonSchema(NAMED)]
