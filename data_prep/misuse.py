"""Say in one sentence what is wrong with the words of a command line, and what to write instead."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from typer.core import TyperGroup
from typer.exceptions import TyperException

from data_prep.did_you_mean import choice, nearest

WRONG_KINDS = {
    "bool_parsing": "choose true or false",
    "float_parsing": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "less_than_equal": "must be at most {le}",
}
"""Our words for a value that is not a number of the right kind, by the type of pydantic's error."""
_DASHES = "\u2013\u2014\u2212"
_QUOTES = "\u201c\u201d\u2018\u2019\u201e"
_SPACES = "\u00a0\u200b"


class Misused(Exception):
    """A command does not take these words. The message is one sentence that names them, and what is probably meant."""


def check_characters(words: Sequence[str], are_prose: bool = False) -> None:
    """Look for the dashes, quotes and spaces that word processors and web pages put in place of plain ones.

    A word with an ordinary space in it was in quotes, so it is a text and is not checked. If the arguments of a command
    are prose (`are_prose`), only long dashes are looked for: a prompt may be in curly quotes.

    Raises:
        Misused: a word begins with a long dash, has curly quotes around it, or has a space that shells do not split at.
    """
    for word in (word for word in words if word and " " not in word):
        if word[0] in _DASHES:
            raise Misused(f"{word} begins with a long dash; write --{word.lstrip(_DASHES + '-')}")
        if are_prose:
            continue
        if any(part and (part[0] in _QUOTES or part[-1] in _QUOTES) for part in word.split("=")):
            raise Misused(f"{word} has curly quotes; write straight ones (') or none")
        if any(space in word for space in _SPACES):
            raise Misused(f"{word!a} has a special space, as text from web pages may have; type an ordinary one")


def sentence_of(mistake: TyperException, program: str) -> str:
    """A mistake as one sentence: `there is no option --rnaks; did you mean --ranks? See apollo-ds train --help`."""
    context: Any = getattr(mistake, "ctx", None)
    said = _said(mistake, context)
    see = f"{context.command_path if context else program} --help"
    return f"{said} See {see}" if said.endswith("?") else f"{said}; see {see}"


def _said(mistake: Any, context: Any) -> str:
    kind = type(mistake).__name__  # typer does not export these classes
    if kind == "NoSuchOption":
        return _no_option(mistake.option_name, context)
    if kind == "MissingParameter":
        examples = context.command.epilog.strip().splitlines()
        return f"{_name(mistake.param)} is missing, as in: {' '.join(_first(examples).split())}"
    if kind == "BadParameter":
        return f"{_name(mistake.param)}: {_wrong_value(mistake)}" if mistake.param else str(mistake.message)
    if kind == "BadOptionUsage":
        option = next(param for param in context.command.get_params(context) if mistake.option_name in param.opts)
        if option.is_flag:
            return f"{mistake.option_name} takes no value; write {mistake.option_name} alone"
        return f"{mistake.option_name} needs a value: {mistake.option_name} {option.metavar}"
    return str(mistake.format_message()).rstrip(".")


def _first(examples: Sequence[str]) -> str:
    """The first example, which may be several lines long."""
    last = next(place for place, line in enumerate(examples) if not line.endswith("\\"))
    return " ".join(line.removesuffix("\\") for line in examples[: last + 1])


def _no_option(option: str, context: Any) -> str:
    command = context.command
    if explained := context.find_root().command.explain(option, context):
        return str(explained)
    names = [name for param in command.get_params(context) if not param.hidden for name in param.opts]
    none = f"there is no option {option}"
    if near := nearest(names, option):
        return f"{none}; did you mean {near}?"
    if not isinstance(command, TyperGroup):
        return none
    commands = command.list_commands(context)
    having = [name for name in commands if _has_option(command.get_command(context, name), option)]
    if not having:
        return none
    behind = next((word for word in context.obj if word in commands), having[0])
    return f"{none} before the command; write it behind, as in {context.command_path} {behind} {option}"


def _has_option(command: Any, option: str) -> bool:
    return any(option in param.opts for param in command.params)


def _name(param: Any) -> str:
    return next((name for name in param.opts if name.startswith("--")), param.display_name_raw)


def _wrong_value(mistake: Any) -> str:
    error = mistake.__cause__
    if not isinstance(error, ValidationError):
        return str(mistake.message)
    first, choices = error.errors()[0], mistake.param.type_descriptor.choices
    if choices:
        return f"there is no {first['input']}; {choice(choices, first['input'])}"
    words = WRONG_KINDS.get(first["type"], first["msg"])
    return f"{words.format(**first.get('ctx', {}))}, not {first['input']}"
