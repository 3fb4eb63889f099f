"""Print the tokens that a model fills in, for people or for a pipe."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from apollo_ds.inference.filling import Filled
from data_prep.plain import without_controls


def print_filled(filled: Sequence[Filled], console: Console) -> None:
    """Print a table for each sentence.

    In a pipe it prints a line with tabs for each token, and an empty line between sentences.
    """
    for number, one in enumerate(filled):
        if number:
            console.print()
        if console.is_terminal:
            console.print(Text(without_controls(one.text), style="bold"))
            console.print(_table(one))
        else:
            _print_lines(one)


def _table(filled: Filled) -> Table:
    table = Table("mask", "token", "probability")
    table.columns[2].justify = "right"
    for number, candidates in enumerate(filled.masks, start=1):
        for candidate in candidates:
            table.add_row(str(number), escape(without_controls(candidate.token)), f"{candidate.probability:.1%}")
        table.add_section()
    return table


def _print_lines(filled: Filled) -> None:
    for number, candidates in enumerate(filled.masks, start=1):
        for candidate in candidates:
            print(number, candidate.token, f"{candidate.probability:.4g}", sep="\t")
