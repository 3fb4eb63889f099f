"""The error that a user sees, and the message of a library's error."""


class DataError(Exception):
    """The input or the shards are wrong. The message is one sentence that names the fault and the fix."""


class Busy(DataError):
    """Another process works in the folder."""


class Missing(DataError):
    """The folder holds no shards."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
