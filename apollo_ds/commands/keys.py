"""`apollo-ds keys`: what a recipe may hold."""

from typing import Annotated

import typer

from data_prep.output import Output

EXAMPLES = """
apollo-ds keys learning

apollo-ds keys sprout
"""


def keys(
    word: Annotated[
        str, typer.Argument(help="Only the keys with this in their names, such as learning.", show_default=False)
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/keys.md.")] = False,
) -> None:
    """Explain what a recipe may hold: every key, its type, its default and what it means."""
    from apollo_ds.config.keys import markdown as page
    from apollo_ds.config.keys import print_keys

    if markdown:
        print(page(), end="")
    else:
        print_keys(word, Output())
