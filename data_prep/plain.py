"""Plain text in terminals."""

import os

_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"}


def is_plain() -> bool:
    """Whether the environment asks for no escape sequences: by NO_COLOR (no-color.org), or by a TERM that has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")


def without_controls(text: str) -> str:
    """A text that anybody or a model wrote, with \ufffd for each character that a terminal would obey."""
    return text.translate(_CONTROLS)
