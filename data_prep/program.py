"""The commands of a program. A command is imported when it is called. It explains words that it does not take."""

from collections.abc import Container, Sequence
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from data_prep.did_you_mean import choice
from data_prep.help_page import usage, write_examples, write_groups, write_parameters
from data_prep.misuse import Misused


class Command(TyperCommand):
    """One command. Its `epilog` holds its examples."""

    allow_extra_args = True  # so that `parse_args` can say what is wrong with them

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words.

        Raises:
            Misused: there are more words than the command takes.
        """
        parameters = self.get_params(ctx)
        several = {name for param in parameters if (param.metavar or "").endswith("...") for name in param.opts}
        try:
            super().parse_args(ctx, repeated(args, several))
        except TyperException as mistake:
            mistake.ctx = ctx  # type: ignore[attr-defined]  # typer does not set it if a value is missing
            raise
        if ctx.args and not ctx.resilient_parsing:
            taken = " ".join([ctx.command_path, *self.collect_usage_pieces(ctx)])
            raise Misused(f"{ctx.args[0]} is one word too many; put quotes around a value with spaces: {taken}")
        return []

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The part of the usage line behind the command's name."""
        return usage(self.get_params(ctx), ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options."""
        write_parameters(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples."""
        write_examples(self.epilog or "", formatter)


class Commands(TyperGroup):
    """All commands of a program."""

    package: ClassVar[str]
    """The package of their files. The command `train` is in `train.py`: a function `train`, and `EXAMPLES`."""
    prose: ClassVar[Container[str]] = ()
    """The commands whose arguments are texts, which may have any characters."""
    groups: ClassVar[dict[str, dict[str, str]]]
    """The groups of the help by their titles. Each has its commands, with a sentence that says what a command does."""

    def explain(self, word: str, context: Any) -> str | None:
        """A message for a word that is not a command, or not an option of the context's command. None if unknown."""
        return None

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands, in the order of the help."""
        return [name for group in self.groups.values() for name in group]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name. None if there is none."""
        return _command(f"{self.package}.{cmd_name}") if cmd_name in self.list_commands(ctx) else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str, Any, list[str]]:
        """The command that the first word names, and the other words.

        Raises:
            Misused: there is no command of this name.
        """
        word, *others = args
        command = self.get_command(ctx, word)
        if command is None and not ctx.resilient_parsing:
            none = f"there is no command {word}; {choice(self.list_commands(ctx), word)}"
            raise Misused(self.explain(word, ctx) or none)
        return word, command, others

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The part of the usage line behind the program's name."""
        return ["COMMAND ..."]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options of the program itself."""
        write_groups(self.groups, formatter)
        write_parameters(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write where to read more."""
        formatter.write_paragraph()
        formatter.write_text(f"{ctx.command_path} COMMAND --help explains a command, with examples.")

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """The names of commands that begin with what was typed. No command is imported."""
        from typer._click.shell_completion import CompletionItem  # typer does not export it

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*map(CompletionItem, names), *super(TyperGroup, self).shell_complete(ctx, incomplete)]


def repeated(words: Sequence[str], options: Container[str]) -> list[str]:
    """Rewrite `--seeds 1 2` as `--seeds 1 --seeds 2`, for these options. `--frontier runs/*` needs this too."""
    spread: list[str] = []
    option, has_value = "", False
    for word in words:
        if word.startswith("-"):
            option, has_value = (word if word in options else ""), False
        elif option and has_value:
            spread.append(option)
        else:
            has_value = bool(option)
        spread.append(word)
    return spread


@cache
def _command(module: str) -> Any:
    name, found = module.rpartition(".")[2], import_module(module)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(name, cls=Command, epilog=found.EXAMPLES)(getattr(found, name))
    return typer.main.get_command(alone)
