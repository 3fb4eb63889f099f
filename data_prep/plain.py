"""Plain text in terminals."""

import os

_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"}


def is_plain() -> bool:
    """Whether the environment asks for output without escape sequences, by NO_COLOR (no-color.org) or by TERM."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")


def without_controls(text: str) -> str:
    """A text from outside, with \ufffd in place of each control character, which a terminal would obey."""
    return text.translate(_CONTROLS)
