"""The terminal, or whatever else reads what a command prints."""

from rich.console import Console


class Output(Console):
    """A console that raises a `BrokenPipeError` where its reader has ended, as under `| head`.

    rich would end the command by itself, without a word.
    """

    def on_broken_pipe(self) -> None:
        """Let the error through."""
        raise  # noqa: PLE0704 (within rich's `except`)


UNREAD = "what read the output has ended"
"""What both commands say of it, before they end with exit code 2."""
