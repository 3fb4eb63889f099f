"""The console that commands print to: a terminal, a pipe or a file."""

from typing import Any

from rich.console import Console

from data_prep.plain import is_plain


class Output(Console):
    """A console that raises a `BrokenPipeError` if the program that reads it has ended, such as `head`.

    rich's own console would end the command without a message. Under NO_COLOR rich leaves out only colours. This
    console then prints no escape sequence at all, and no moving bar.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(force_terminal=False if is_plain() else None, **options)

    def on_broken_pipe(self) -> None:
        """Let the error through."""
        raise  # noqa: PLE0704 (within rich's `except`)


UNREAD = "the program that read the output has ended"
"""The message of both commands for it. They then end with exit code 2."""
