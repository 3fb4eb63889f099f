"""The one exception that is the user's to fix."""


class UserError(Exception):
    """A mistake in the recipe, the data or the machine's set-up.

    Its message is one sentence that names the file or key and the fix. The command line prints it without a
    traceback, on one rank, and exits with code 2.
    """


EXIT_USER_ERROR = 2
"""A `UserError`."""
EXIT_HANG = 70
"""EX_SOFTWARE of sysexits.h: a rank made no progress."""
EXIT_STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: the run was told to stop and has saved a checkpoint. The same command resumes it."""
