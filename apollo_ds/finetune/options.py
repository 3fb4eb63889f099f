"""The command's options."""

import argparse
from collections.abc import Callable
from math import isfinite

from apollo_ds.config.packaged import path_argument
from apollo_ds.finetune.tasks import TASK_NAMES

_EXAMPLE = """\
example:
  apollo-ds finetune runs/mine --task rte --data glue/RTE --seeds 5 --learning-rate 2e-5 5e-5

Files are train.tsv and dev.tsv, whose first line names the columns, or .jsonl; of squad train.json and dev.json.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `apollo-ds finetune`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLE
    parser.add_argument(
        "model", metavar="MODEL", help="a run's folder, an exported model, or any checkpoint of transformers"
    )
    parser.add_argument("--task", required=True, choices=TASK_NAMES, help="what to train and measure")
    parser.add_argument(
        "--data", required=True, type=path_argument, metavar="FOLDER", help="where the task's files are"
    )
    parser.add_argument(
        "--seeds",
        type=_whole,
        nargs="+",
        default=[5],
        metavar="N",
        help="one number: how many seeds, from 1; several: these seeds; default 5",
    )
    parser.add_argument(
        "--learning-rate",
        type=_positive,
        nargs="+",
        default=[2e-5],
        metavar="RATE",
        help="one or several; the best is reported; default 2e-5, small models need more",
    )
    parser.add_argument("--epochs", type=_whole, default=3, metavar="N", help="passes over the examples; default 3")
    parser.add_argument("--batch-size", type=_whole, default=32, metavar="N", help="examples a step; default 32")
    parser.add_argument(
        "--max-length", type=_at_least(16), metavar="N", help="most tokens of an example; default 128, squad 384"
    )
    parser.add_argument("--max-train-samples", type=_whole, metavar="N", help="train on N examples, chosen at random")
    parser.add_argument("--out", type=path_argument, metavar="FOLDER", help="for results; default RUN/finetune/TASK")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def _positive(word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word} is not a number") from None
    if not (isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{word} is not above 0")
    return number


def _at_least(least: int) -> Callable[[str], int]:
    def whole(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{word} is below {least}")
        return number

    return whole


_whole = _at_least(1)
