"""The page docs/reference/commands.md, from the definitions of both command lines.

python docs/site/commands.py > docs/reference/commands.md
"""

from collections.abc import Iterator, Mapping
from html import escape
from importlib import import_module
from textwrap import fill
from typing import Any

import typer
from typer.core import TyperArgument

from apollo_ds.__main__ import app as apollo_ds
from apollo_ds.commands import GROUPS
from data_prep.__main__ import app as apollo_prep
from data_prep.commands import GROUPS as PREP_GROUPS
from data_prep.help_page import called, explained, usage

_INTRODUCTION = """# Commands

`apollo-ds` trains and uses models. `apollo-prep` prepares text. `apollo-ds COMMAND --help` shows what this page says,
in the terminal. `python docs/site/commands.py > docs/reference/commands.md` writes this page from the definitions of
the commands, and a test compares the two.

`apollo-ds --install-completion` makes the Tab key complete commands, options, recipe keys and their values. Open a new
shell after it.

Every command ends with an exit code:

| code | meaning |
|---|---|
| 0 | it has done what it was asked |
| 2 | a mistake of yours, such as a wrong key or a full disk; one line on stderr says what to do |
| 70 | a fault of ours; the line names the file that has the traceback |
| 75 | `train` and `sweep`: stopped by a signal, with a checkpoint; the same command resumes |
| 76 | `train`: a rank ended while others waited for it; they end within seconds |
| 124 | `train`: a rank hung, and the watchdog ended the job |
| 130 | stopped by Ctrl-C |
"""


def page() -> str:
    """The page as Markdown."""
    programs = (("apollo-ds", "apollo_ds", apollo_ds, GROUPS), ("apollo-prep", "data_prep", apollo_prep, PREP_GROUPS))
    lines = [_INTRODUCTION]
    for program, package, app, groups in programs:
        lines += _of_program(program, package, app, groups)
    return "\n".join(lines)


def _of_program(program: str, package: str, app: typer.Typer, groups: Mapping[str, Any]) -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    above = typer.Context(group, info_name=program)
    for commands in groups.values():
        for name in commands:
            command = group.get_command(above, name)
            context = typer.Context(command, info_name=name, parent=above)
            examples = import_module(f"{package}.commands.{name}").EXAMPLES.strip()
            parameters = command.get_params(context)
            yield f"## {program} {name}\n"
            yield from (fill(_joined(part), 120) + "\n" for part in command.help.split("\n\n"))
            yield f"```text\n{' '.join([program, name, *usage(parameters, context)])}\n```\n"
            yield from _table(parameters, context)
            yield "```console"
            yield from (f"$ {line}" if not line.startswith(" ") else line for line in examples.splitlines() if line)
            yield "```\n"


def _table(parameters: list[Any], context: Any) -> Iterator[str]:
    """What it takes, a row each; options that have a title in the help, below it."""
    yield "| argument or option | meaning |\n|---|---|"
    for param in parameters:
        if not param.hidden and param.name != "help":
            name = param.display_name_raw if isinstance(param, TyperArgument) else called(param, context)
            yield f"| {_code(name)} | {_in_cell(_joined(explained(param)))} |"
    yield ""


def _code(name: str) -> str:
    """A name in a table. GitHub wants its bars escaped, and Python-Markdown would show the escape."""
    return f"<code>{escape(name).replace('|', '&#124;')}</code>" if "|" in name else f"`{name}`"


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")


def _joined(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    print(page(), end="")
