"""Reading what a run has recorded. Nothing here imports torch."""

import json
from pathlib import Path
from typing import Any

from apollo_ds.errors import UserError


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All events of a run, in order; a last line that a crash cut short is left out.

    Raises:
        UserError: a line is damaged.
    """
    events = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            events += [json.loads(line)] if line else []
        except ValueError:
            raise UserError(f"{path}: line {number} is damaged; restore the file, or remove that line") from None
    return events
