"""Read the events that a run has recorded. Nothing here imports torch."""

import json
import os
import re
from collections.abc import Container, Iterator
from math import isclose
from pathlib import Path
from typing import Any, Self

import xxhash
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from apollo_ds.errors import UserError

Event = dict[str, Any]
_KIND = re.compile(rb'\{"event": *"(\w+)"')
_BLOCK_BYTES = 1 << 16
_ROUNDED = 1 - 1e-6
"""The tolerance for comparing numbers, which are recorded with nine digits."""


def read_metrics(path: Path) -> list[Event]:
    """Read all events of a run, in order. A last line that a crash cut short is left out.

    Raises:
        UserError: the file cannot be read, or a line is not an event.
    """
    return [event for _, event in _numbered(path)]


def read_history(path: Path) -> list[Event]:
    """Read all events of a run as `read_metrics` does, and check each of them.

    Each must have the values that tables and figures need, and must be able to follow the one before.

    Raises:
        UserError: the file cannot be read, or a line is not an event, lacks a value, or cannot follow the one before.
    """
    events = []
    last: Event = {"step": 0, "tokens": 0, "flops": 0, "seconds": 0}
    for number, event in _numbered(path):
        try:
            if event["event"] in _KINDS:
                _KINDS[event["event"]].model_validate(event)
            _check_follows(last, event)
        except ValueError:  # ValidationError is a subclass
            raise _damaged(path, number) from None
        if event["event"] in ("step", "eval"):
            last = {**last, **event}
        events.append(event)
    return events


def events_from_the_end(path: Path, kinds: Container[str]) -> Iterator[Event]:
    """Yield the events of these kinds, the last one first. The file is read only as far as the caller asks for events.

    While it reads, the caller may remove a kind from `kinds`.

    Raises:
        UserError: the file cannot be read, or a line that is read is not an event or lacks a value.
    """
    try:
        for line in _lines_from_the_end(path):
            found = _KIND.match(line)
            if found is None and line:
                raise ValueError
            kind = found[1].decode() if found else ""
            if kind in kinds:
                event = json.loads(line)
                if kind in _KINDS:
                    _KINDS[kind].model_validate(event)
                yield event
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is damaged; restore the file") from None


def _lines_from_the_end(path: Path) -> Iterator[bytes]:
    """Yield the lines, the last one first. A last line that a crash cut short is left out."""
    parts = _parts_from_the_end(path)
    next(parts, None)
    yield from parts


def _parts_from_the_end(path: Path) -> Iterator[bytes]:
    """Yield the parts between line ends, the last one first."""
    rest = b""
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        while start:
            end, start = start, max(0, start - _BLOCK_BYTES)
            file.seek(start)
            rest, *parts = (file.read(end - start) + rest).split(b"\n")
            yield from reversed(parts)
    yield rest


def is_as_recorded(path: Path, size: int, expected: str | None) -> bool:
    """Whether metrics.jsonl still begins with what the run had recorded when it saved a checkpoint.

    Args:
        path: the file.
        size: the number of its bytes at that time.
        expected: the 128-bit XXH3 hash of these bytes. None if an earlier version did not record it.
    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        kept = file.read(size)
    return len(kept) == size and kept.endswith(b"\n") and expected in (None, xxhash.xxh3_128_hexdigest(kept))


def _check_follows(last: Event, event: Event) -> None:
    """Compare an event with the step before it.

    Raises:
        ValueError: the event cannot follow that step.
    """
    match event["event"]:
        case "step":
            sound = all(event[key] > last[key] for key in ("step", "tokens", "flops"))
            sound = sound and event["seconds"] >= last["seconds"] * _ROUNDED
        case "eval":
            sound = event["step"] == last["step"] and isclose(event["flops"], last["flops"], rel_tol=1e-6)
            sound = sound and event["seconds"] >= last["seconds"] * _ROUNDED
        case "growth":
            sound = event["step"] == last["step"]
        case _:
            sound = True
    if not sound:
        raise ValueError("cannot follow the step before it")


def _numbered(path: Path) -> Iterator[tuple[int, Event]]:
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line) if line else None
        except (ValueError, RecursionError):
            raise _damaged(path, number) from None
        if event is None and not line:
            continue
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise _damaged(path, number)
        yield number, event


def _damaged(path: Path, number: int) -> UserError:
    return UserError(f"{path}: line {number} is damaged; restore the file, or remove that line")


class _Event(BaseModel):
    """The keys that are read of an event. It may have more."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Step(_Event):
    step: PositiveInt
    stage: NonNegativeInt
    unique_layers: NonNegativeInt
    depth: NonNegativeFloat
    loss: float | None
    tokens: PositiveInt
    flops: PositiveFloat
    seconds: PositiveFloat

    @model_validator(mode="after")
    def _runs_layers_that_are_there(self) -> Self:
        if self.depth and not self.unique_layers:
            raise ValueError("runs layers, and the model has none")
        return self


class _Evaluation(_Event):
    step: PositiveInt
    loss: float | None
    flops: PositiveFloat
    seconds: PositiveFloat


class _Growth(_Event):
    step: NonNegativeInt
    """The step. 0 if the model of a source grows before the first step."""
    before: NonNegativeInt = Field(alias="from")
    to: PositiveInt
    loss_before: float | None
    loss_after: float | None
    seconds: float


class _Rollback(_Event):
    went_wrong_at: int
    to: int
    lost_flops: float = 0
    lost_seconds: float = 0


class _Start(_Event):
    source: str | None = None
    source_flops: float = 0
    source_tokens: float = 0
    source_seconds: float = 0
    precision: str | None = None
    unigram_entropy: float | None = None


class _Sample(_Event):
    prompt: str
    text: str


class _Samples(_Event):
    step: NonNegativeInt
    samples: list[_Sample]


_KINDS: dict[str, type[_Event]] = {
    "start": _Start,
    "step": _Step,
    "eval": _Evaluation,
    "growth": _Growth,
    "samples": _Samples,
    "rollback": _Rollback,
    "detour": _Rollback,  # its name in earlier versions
}
