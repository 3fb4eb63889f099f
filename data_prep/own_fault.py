"""The last line of a command that failed: it says what the machine lacks, or where the traceback of a bug is."""

import errno
import os
import re
import tempfile
import traceback
from pathlib import Path

from data_prep.errors import first_line
from data_prep.output import UNREAD

_FULL = "the disk is full: free some space and run the same command again"
_DENIED = "may not be read or written by this user: change its permissions, or name another place"
_SENTENCES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "the disk is read-only: make it writable, or name another place",
    errno.EIO: "the disk failed to read or write (input/output error): check the disk, and run the same command again",
    errno.ENOTDIR: "a file is where a folder should be: move it away, or name another place",
    errno.EEXIST: "a file or folder of that name is in the way: move it away, or name another place",
    errno.EISDIR: "a folder is where a file should be: move it away, or name another place",
    errno.ENAMETOOLONG: "the name is too long: give a shorter one",
    errno.EMFILE: "too many files are open: raise the limit by `ulimit -n`",
    errno.ENOMEM: "the memory is used up: free some, or use a machine with more",
    errno.EPIPE: UNREAD,
}
_OF_RUST = re.compile(r"\(os error (\d+)\)")  # libraries in Rust raise plain exceptions
_OF_NUMPY = re.compile(r"\d+ requested and \d+ written")


def sentence_of(error: BaseException, place: Path | None = None) -> str | None:
    """One sentence for an error of a file, the disk or the memory. None for any other error.

    The sentence names `place` if the error names no file.
    """
    number = _number_of(error)
    if number is not None:
        sentence = _SENTENCES.get(number, f"{os.strerror(number)}: mend that and run the same command again")
    elif isinstance(error, OSError):
        sentence = first_line(error)
    else:
        return None
    name = getattr(error, "filename", None) or place
    return f"{os.fsdecode(name)}: {sentence}" if isinstance(name, str | bytes | Path) else sentence


def tell_own_fault(program: str, error: BaseException, folder: Path | None = None) -> str:
    """Write the traceback of a bug to a file, and return one line that names the file.

    Args:
        program: the command's name, such as `apollo-ds`.
        error: the error that was raised.
        folder: where to write the file. If it is None or cannot be written to, the file goes to the folder for
            temporary files.
    """
    name, said = type(error).__name__, first_line(error)
    what = name if said == name else f"{name}: {said}"
    place = _write_traceback(program, error, folder)
    return f"{program}: this is a bug in {program} ({what}); {place}; please report it"


def _write_traceback(program: str, error: BaseException, folder: Path | None) -> str:
    content = "".join(traceback.format_exception(error))
    for choice in (folder, None):
        try:
            descriptor, name = tempfile.mkstemp(".log", f"{program}-fault-", choice)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(content)
        except OSError:
            continue
        return f"the traceback is in {name}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f"it was raised at {frames[-1].filename}:{frames[-1].lineno}, and " if frames else ""
    return f"{where}the traceback could not be written to a file"


def _number_of(error: BaseException) -> int | None:
    """The system's number of an error, as in the module `errno`. None if it has none."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if of_rust := _OF_RUST.search(str(error)):
        return int(of_rust[1])
    return errno.ENOSPC if isinstance(error, OSError) and _OF_NUMPY.search(str(error)) else None
