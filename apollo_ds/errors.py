"""What a caller of the package has to know of: the user's mistakes, and other ends of a run than its own."""


class UserError(Exception):
    """A mistake in the recipe, the data or the machine's set-up.

    Its message is one sentence that names the file or key and the fix. The command line prints it without a
    traceback, on one rank, and exits with code 2.
    """


class Stopped(Exception):
    """The run was asked to stop, and has saved. The same call goes on with it."""


class RunFailed(Exception):
    """A rank died or hung. The message says how; the same call goes on from the last checkpoint."""


EXIT_USER_ERROR = 2
"""A `UserError`."""
EXIT_OWN_FAULT = 70
"""EX_SOFTWARE of sysexits.h: an error that is no mistake of the user's. One line names the file with the traceback."""
EXIT_LOST_RANK = 76
"""EX_PROTOCOL of sysexits.h: another rank was gone. How that one ended is what matters."""
EXIT_HANG = 124
"""As `timeout` reports it: a rank made no progress."""
EXIT_STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: the run was told to stop and has saved a checkpoint. The same command resumes it."""
EXIT_INTERRUPTED = 130
"""As a shell reports a process that Ctrl-C has ended."""
