"""The terminal, or whatever else reads what a command prints."""

from typing import Any

from rich.console import Console

from data_prep.plain import is_plain


class Output(Console):
    """A console that raises a `BrokenPipeError` where its reader has ended, as under `| head`.

    rich would end the command by itself, without a word. And under NO_COLOR rich leaves out colours alone; this console
    then prints no escape sequence at all, and moves no bar.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(force_terminal=False if is_plain() else None, **options)

    def on_broken_pipe(self) -> None:
        """Let the error through."""
        raise  # noqa: PLE0704 (within rich's `except`)


UNREAD = "what read the output has ended"
"""What both commands say of it, before they end with exit code 2."""
