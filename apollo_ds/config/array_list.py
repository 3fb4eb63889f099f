"""Read `@LIST` on a command line: it stands for one line of a file, chosen by the number of this SLURM array task."""

import os
from collections.abc import Sequence
from pathlib import Path

from apollo_ds.errors import UserError, shown

SIGN = "@"
_TASK = "SLURM_ARRAY_TASK_ID"


def with_lists_read(words: Sequence[str]) -> list[str]:
    """The words of a command line, with each `@LIST` replaced by the words of this task's line.

    Raises:
        UserError: the file cannot be read, this is not a task of an array, or the list has no line for it.
    """
    return [part for word in words for part in (_line_of(word[1:]) if word.startswith(SIGN) else [word])]


def _line_of(name: str) -> list[str]:
    if not name:
        raise UserError(f"{SIGN}: name a list after it, such as {SIGN}methods.txt")
    task = os.environ.get(_TASK)
    if task is None:
        raise UserError(f"{_TASK}: is not set, though {SIGN}{name} is given; start the tasks by `sbatch --array=1-N`")
    lines = _lines(name)
    number = int(task) if task.isascii() and task.isdecimal() else 0
    if not 1 <= number <= len(lines):
        raise UserError(
            f"{name}: has no line {shown(task)[1:-1]} for this task of the array; it has {len(lines)}, counted from 1 "
            f"without empty ones and those that begin with #: start the tasks by `sbatch --array=1-{len(lines) or 'N'}`"
        )
    words = lines[number - 1].split()
    if sum("=" not in word for word in words) > 1:
        raise UserError(
            f"{name}: line {number}: {shown(lines[number - 1])}: has more than a recipe and key=value words; "
            "it is split at spaces, and no shell reads it: write lists without spaces and quotes, and remarks on their "
            "own lines"
        )
    return words


def _lines(name: str) -> list[str]:
    """The lines of a list, without empty lines and comments."""
    try:
        text = Path(os.path.expanduser(name)).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{name}: there is no such list") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{name}: is not text in UTF-8; name a file with one line of key=value words a task") from None
    return [line for line in map(str.strip, text.split("\n")) if line and not line.startswith("#")]
