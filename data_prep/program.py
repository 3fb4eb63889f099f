"""The commands of a program: each is imported when it is asked for, and says what it does not take."""

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
    """One command. Its `epilog` is its examples."""

    allow_extra_args = True  # to say itself what is wrong with them

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words.

        Raises:
            Misused: there are more than it takes.
        """
        parameters = self.get_params(ctx)
        several = {name for param in parameters if (param.metavar or "").endswith("...") for name in param.opts}
        try:
            super().parse_args(ctx, repeated(args, several))
        except TyperException as mistake:
            mistake.ctx = ctx  # type: ignore[attr-defined]  # where a value is missing, typer leaves it out
            raise
        if ctx.args and not ctx.resilient_parsing:
            taken = " ".join([ctx.command_path, *self.collect_usage_pieces(ctx)])
            raise Misused(f"{ctx.args[0]} is one word too many; put quotes around a value with spaces: {taken}")
        return []

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands behind the command's name."""
        return usage(self.get_params(ctx), ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments and options."""
        write_parameters(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples."""
        write_examples(self.epilog or "", formatter)


class Commands(TyperGroup):
    """All commands of a program."""

    package: ClassVar[str]
    """Where their files are. That of `train` is `train.py`, with a function `train` and its `EXAMPLES`."""
    prose: ClassVar[Container[str]] = ()
    """The commands whose arguments are texts, in which any character may stand."""
    groups: ClassVar[dict[str, dict[str, str]]]
    """By the title of a group the names of its commands, and what each does, in a sentence."""

    def explain(self, word: str, context: Any) -> str | None:
        """What else a word means that is no command, or no option of the context's command; None: nothing."""
        return None

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, as the help shows them."""
        return [name for group in self.groups.values() for name in group]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None if there is none."""
        return _command(f"{self.package}.{cmd_name}") if cmd_name in self.list_commands(ctx) else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str, Any, list[str]]:
        """The command that the first word names, and the others.

        Raises:
            Misused: there is no such command.
        """
        word, *others = args
        command = self.get_command(ctx, word)
        if command is None and not ctx.resilient_parsing:
            none = f"there is no command {word}; {choice(self.list_commands(ctx), word)}"
            raise Misused(self.explain(word, ctx) or none)
        return word, command, others

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands behind the program's name."""
        return ["COMMAND ..."]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The commands, then the few options."""
        write_groups(self.groups, formatter)
        write_parameters(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Where to read more."""
        formatter.write_paragraph()
        formatter.write_text(f"{ctx.command_path} COMMAND --help explains a command, with examples.")

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """The names that begin so, without importing the commands."""
        from typer._click.shell_completion import CompletionItem  # it has no public place

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*map(CompletionItem, names), *super(TyperGroup, self).shell_complete(ctx, incomplete)]


def repeated(words: Sequence[str], options: Container[str]) -> list[str]:
    """`--seeds 1 2` as `--seeds 1 --seeds 2`, for these options; a shell gives `--frontier runs/*` so."""
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
