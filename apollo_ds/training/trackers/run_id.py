"""The id of a folder's run for trackers that keep many runs."""

import secrets
from contextlib import suppress
from pathlib import Path

from data_prep import files

FILE = "tracker_id"


def run_id(folder: Path, goes_on: bool) -> str:
    """The id of the run for trackers. A run that starts over gets a new id, so that no tracker mixes the two runs."""
    path = folder / FILE
    if goes_on:
        with suppress(OSError, ValueError):
            if known := path.read_text().strip():
                return known
    made = secrets.token_hex(8)
    with suppress(OSError):  # on a full disk metrics.jsonl cannot be written either, which ends the run with a message
        files.write_text(path, made + "\n")
    return made
