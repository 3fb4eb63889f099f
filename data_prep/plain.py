"""Whether terminals are shown plain text."""

import os


def is_plain() -> bool:
    """Whether the environment asks for no escape sequences: by NO_COLOR (no-color.org), or by a TERM that has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")
