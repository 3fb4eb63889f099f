"""Which run a folder's is to trackers that keep many runs."""

import secrets
from contextlib import suppress
from pathlib import Path

from data_prep import files

FILE = "tracker_id"


def run_id(folder: Path, goes_on: bool) -> str:
    """The id by which trackers know the run. One that begins anew gets a new id, so that no tracker mixes the two."""
    path = folder / FILE
    if goes_on:
        with suppress(OSError, ValueError):
            if known := path.read_text().strip():
                return known
    made = secrets.token_hex(8)
    with suppress(OSError):  # on a full disk metrics.jsonl cannot be written either, and ends the run with a reason
        files.write_text(path, made + "\n")
    return made
