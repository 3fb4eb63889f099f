"""The one exception that is the user's to fix."""


class UserError(Exception):
    """A mistake in the recipe, the data or the machine's set-up.

    Its message is one sentence that names the file or key and the fix. The command line prints it without a
    traceback, on one rank, and exits with code 2.
    """
