"""Which run of a tracker's a run folder belongs to, and up to where the tracker has been told of it."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from data_prep import files

FILE = "trackers.json"


class Told(BaseModel):
    """Up to where a run has been told: all steps below one, and of that one the events of these names."""

    step: int = -1
    events: set[str] = set()

    def includes(self, step: int, event: str) -> bool:
        """Whether an event of a step has been told."""
        return step < self.step or (step == self.step and event in self.events)


class Identity(BaseModel):
    """A run as one tracker knows it."""

    id: str
    told: Told = Told()


_Identities = TypeAdapter(dict[str, Identity])


def identify(folder: Path, names: Sequence[str], goes_on: bool, recorded: Told) -> dict[str, Identity]:
    """The run's identity for each tracker; writes it down for the next start.

    A run that begins anew gets new ones, so that no tracker mixes it with what was there before. `recorded` is up to
    where the last start recorded, which may lie behind the checkpoint.
    """
    known = _read(folder / FILE) if goes_on else {}
    now = {
        name: Identity(id=known[name].id, told=max(known[name].told, recorded, key=lambda told: told.step))
        if name in known
        else Identity(id=secrets.token_hex(8))
        for name in names
    }
    if now:
        with suppress(OSError):  # on a full disk metrics.jsonl cannot be written either, and ends the run with a reason
            files.write_json(folder / FILE, _Identities.dump_python({**known, **now}, mode="json"))
    return now


def _read(path: Path) -> dict[str, Identity]:
    with suppress(OSError, ValueError):
        return _Identities.validate_python(files.read_json(path))
    return {}
