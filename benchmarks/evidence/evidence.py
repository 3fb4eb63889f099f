"""Records the runs behind each question on what growing saves, and makes the pages from the records.

    python benchmarks/evidence/evidence.py record GRID.yaml ...    runs become the record of their grid
    python benchmarks/evidence/evidence.py pages                   every page and figure, from the records alone

`apollo-ds sweep GRID.yaml` trains the runs, in the folder that the file names as `out`. README.md of this folder says
what a record is.
"""

import argparse
import sys
from pathlib import Path

import downstream
import headline
import page
import saving
from questions import ALL, DOWNSTREAM, HERE, SAVING, write_index
from records import record

from apollo_ds.errors import EXIT_USER_ERROR, UserError


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    recording = commands.add_parser("record", help="turn runs into the record of their grid")
    recording.add_argument("grids", type=Path, nargs="+", metavar="GRID.yaml")
    recording.add_argument("--anew", action="store_true", help="forget the recorded runs that have no folder here")
    recording.set_defaults(command=_record)
    writing = commands.add_parser("pages", help="make pages and figures from the records")
    writing.add_argument("questions", type=Path, nargs="*", metavar="QUESTION", help="a folder; by default all")
    writing.set_defaults(command=_write_pages)
    options = parser.parse_args()
    try:
        options.command(options)
    except UserError as error:
        print(f"evidence.py: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)


def _record(options: argparse.Namespace) -> None:
    for grid in options.grids:
        print(record(grid, options.anew), flush=True)


def _write_pages(options: argparse.Namespace) -> None:
    writers = {DOWNSTREAM: downstream.write, SAVING: saving.write}
    for question in options.questions or [HERE / name for name in ALL]:
        writers.get(question.name, page.write)(question)
    write_index(HERE)
    headline.write()


if __name__ == "__main__":
    main()
