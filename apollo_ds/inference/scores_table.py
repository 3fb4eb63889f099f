"""Print the scores of tasks, for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from apollo_ds.inference.evaluation import Score

_BETTER = {True: "higher", False: "lower", None: ""}


def print_scores(scores: Sequence[Score], console: Console) -> None:
    """Print a table with a row for each metric of each task, with its standard error."""
    table = Table("task", "metric", "value", "standard error", "better", "examples")
    for column in (2, 3, 5):
        table.columns[column].justify = "right"
    for score in scores:
        error = "" if score.stderr is None else f"{score.stderr:.4f}"
        examples = "" if score.examples is None else f"{score.examples:,}"
        row = (score.task, score.metric, f"{score.value:.4f}", error, _BETTER[score.higher_is_better], examples)
        table.add_row(*map(escape, row))
    console.print(table)
