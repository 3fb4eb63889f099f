"""The layout of `--help`: usage, arguments, options in groups, and examples to copy, within 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperArgument


def usage(parameters: Sequence[Any], context: Any) -> list[str]:
    """The words of a usage line. What must be given comes first: `RUN [WORD]... --out FILE [OPTIONS]`."""
    arguments = [param for param in parameters if isinstance(param, TyperArgument)]
    required = [called(param, context) for param in parameters if param.required and param not in arguments]
    return [*map(_place, arguments), *required, "[OPTIONS]"]


def write_parameters(parameters: Sequence[Any], context: Any, formatter: Any) -> None:
    """Write the arguments, then the options. Options of a group stand below the group's title."""
    groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in parameters:
        if param.hidden:
            continue
        is_argument = isinstance(param, TyperArgument)
        title = param.rich_help_panel or ("Arguments" if is_argument else "Options")
        name = param.display_name_raw if is_argument else called(param, context)
        groups.setdefault(title, []).append((name, explained(param)))
    for title, rows in groups.items():
        if rows:
            write_rows(title, rows, formatter)


def write_rows(title: str, rows: Sequence[tuple[str, str]], formatter: Any) -> None:
    """Write a table of two columns below its title."""
    with formatter.section(_bold(title)):
        formatter.write_dl(rows)


def write_groups(groups: Mapping[str, Mapping[str, str]], formatter: Any) -> None:
    """Write the commands of each group, with columns of the same width."""
    width = max(len(name) for commands in groups.values() for name in commands)
    for title, commands in groups.items():
        write_rows(title, [(name.ljust(width), does) for name, does in commands.items()], formatter)


def write_examples(examples: str, formatter: Any) -> None:
    """Write the lines of the examples as they are."""
    with formatter.section(_bold("Examples")):
        formatter.write("".join(f"  {line}\n" for line in examples.strip().splitlines() if line))


def _bold(text: str) -> str:
    return typer.style(text, bold=True)  # a pipe gets it plain


def _place(argument: TyperArgument) -> str:
    """An argument in a usage line: `RUN...` if there may be several, and in brackets if it may be left out."""
    name = argument.display_name_raw
    return (name if argument.required else f"[{name}]") + ("..." if argument.nargs != 1 else "")


def called(option: Any, context: Any) -> str:
    """An option with the name of its value, such as `--ranks N`."""
    value = [] if option.is_flag else [option.metavar or option.display_type(context).strip("<>")]
    return " ".join([", ".join(sorted(option.opts, key=len)), *value])


def explained(param: Any) -> str:
    """The help text of an argument or option, with its default."""
    default = param.show_default if isinstance(param.show_default, str) else param.default
    is_told = param.show_default and default not in (None, False, "", [], ())
    is_required = param.required and not isinstance(param, TyperArgument)  # the usage line shows it for an argument
    ends = [f"[default: {default}]"] if is_told else ["[required]"] if is_required else []
    return " ".join([param.help or "", *ends])
