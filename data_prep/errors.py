"""The one error a user sees."""


class DataError(Exception):
    """Something wrong with the input or the shards, said in one sentence that names it and the fix."""


class Busy(DataError):
    """Another process works in the folder."""


class Missing(DataError):
    """The folder holds no shards."""
