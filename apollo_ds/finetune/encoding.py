"""Open a task's files as text in UTF-8."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from apollo_ds.errors import UserError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BEGINNING = 4096
"""Bytes."""


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a file of UTF-8, with or without a byte order mark. Errors while it is read become UserErrors too.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
        if beginning.startswith(_UTF_16) or b"\0" in beginning:
            raise UserError(f"{path}: is UTF-16, or no text; save it as UTF-8")
        with path.open(encoding="utf-8-sig", newline="") as text:
            yield text
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
