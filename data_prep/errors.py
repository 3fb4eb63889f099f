"""The one error a user sees, and what a library's error says."""


class DataError(Exception):
    """Something wrong with the input or the shards, said in one sentence that names it and the fix."""


class Busy(DataError):
    """Another process works in the folder."""


class Missing(DataError):
    """The folder holds no shards."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line; the name of its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
