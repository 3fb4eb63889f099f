"""`apollo-ds keys`: explain the keys of a recipe."""

from typing import Annotated

import typer

from data_prep.output import Output

EXAMPLES = """
apollo-ds keys
apollo-ds keys learning
apollo-ds keys sprout
"""


def keys(
    word: Annotated[
        str,
        typer.Argument(
            metavar="WORD",
            help="Only the keys with this word in their names, such as learning; or only those of one method, "
            "optimizer or model family, such as sprout.",
        ),
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all keys as a page of Markdown.")] = False,
) -> None:
    """Explain what a recipe may hold.

    Shows each key with its type, its default and what it means. Methods are at the end.
    """
    from apollo_ds.config.keys import markdown as page
    from apollo_ds.config.keys import print_keys

    if markdown:
        print(page(), end="")
    else:
        print_keys(word, Output())
