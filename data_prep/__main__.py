"""Make memory-mapped shards of tokens from text, and look into them."""

import argparse
import io
import os
import re
import sys
import time
from pathlib import Path
from typing import NoReturn, get_args

from rich.console import Console

from data_prep import sources
from data_prep.adopt import Adoption, adopt
from data_prep.build import build
from data_prep.errors import DataError
from data_prep.fast import Library
from data_prep.inspection import inspect
from data_prep.manifest import NAME
from data_prep.options import Options
from data_prep.output import UNREAD, Output
from data_prep.own_fault import sentence_of, tell_own_fault
from data_prep.span import FORMATS
from data_prep.summary import summarize
from data_prep.tasks import Task, encode_share, merge_shares

EXAMPLES = """examples:
  apollo-prep build --source docs --tokenizer wordpiece --vocab-size 8192 --out data/docs
  apollo-prep build --source wiki=wikimedia/wikipedia:20231101.en --source books=books/ \\
      --tokenizer vocab.txt --out data/wiki-books --workers 16
  apollo-prep adopt megatron/ --tokenizer tokenizer --out data/mine
"""

SOURCE_HELP = (
    f"docs (the documentation on this machine), a file named {FORMATS}, a folder or glob of them, or a hub data set"
    " ID[:CONFIG]; repeatable"
)
DEDUPLICATE_HELP = "drop documents equal to an earlier one (exact), or also those much like one (near)"
WORKERS_HELP = "processes that encode (default: one a core); --merge encodes nothing"
WEIGHT_HELP = "write the training documents of a source W times (2: twice; 0.5: half of them); repeatable"

PART_HELP = (
    "encode only the I-th of N shares of the work (3/16), as one of several jobs on a shared folder; then --merge"
)

ENCODER_HELP = "the library that gives the ids; fastokens gives those of byte-level BPE faster (default tokenizers)"


def main() -> None:
    """Run the command line.

    A mistake in the input, and what the machine lacks, end it with one sentence and exit code 2, a fault of its own
    with one line and 70.
    """
    arguments = _parser().parse_args()
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal may lack a character that is in the text
        _check_encoding(sys.argv[1:])
        arguments.run(arguments, Output(markup=False))  # names of files may have brackets
        if sys.stdout:  # not where it was closed, as by `>&-`
            sys.stdout.flush()
    except DataError as error:
        _end(f"apollo-prep: {error}", 2)
    except KeyboardInterrupt:
        _end("apollo-prep: stopped; the same command continues", 130)
    except BrokenPipeError:  # as under `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is written when Python ends
        _end(f"apollo-prep: {UNREAD}", 2)
    except Exception as error:
        if sentence := sentence_of(error):
            _end(f"apollo-prep: {sentence}", 2)
        _end(tell_own_fault("apollo-prep", error), os.EX_SOFTWARE)


def _check_encoding(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise DataError(f"{argument!a} is not UTF-8: rename the file or folder") from None


def _end(line: str, code: int) -> NoReturn:
    """Print one line, whatever is in the names of files, and end."""
    print(re.sub(r"[\0-\x1f\x7f]", lambda control: repr(control[0])[1:-1], line), file=sys.stderr)
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "apollo-prep", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("build", help="make shards from text, or finish making them")
    command.set_defaults(run=_build)
    add = command.add_argument
    add("--source", action="append", required=True, metavar="[NAME=]LOCATION", help=SOURCE_HELP)
    add("--tokenizer", required=True, help="wordpiece or bpe (trained), a vocab.txt or a saved tokenizer's folder")
    add("--out", required=True, help="the folder for the shards")
    add("--vocab-size", type=int, default=30522, help="tokens of a trained tokenizer (default 30522)")
    add("--text-column", default="text", help="the column or JSON key of the text (default text)")
    add("--validation-fraction", type=float, default=0.01, help="share of each source held out (default 0.01)")
    add("--weight", action="append", default=[], metavar="NAME=W", help=WEIGHT_HELP)
    add("--normalize", choices=["NFC", "NFKC"], help="a Unicode normal form to bring the text into")
    add("--min-characters", type=int, default=1, help="drop shorter documents (default 1)")
    add("--deduplicate", choices=["exact", "near"], help=DEDUPLICATE_HELP)
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help=WORKERS_HELP)
    add("--encoder", choices=get_args(Library), default="tokenizers", help=ENCODER_HELP)
    by_tasks = command.add_mutually_exclusive_group()
    by_tasks.add_argument("--part", metavar="I/N", help=PART_HELP)
    by_tasks.add_argument("--merge", action="store_true", help="make the shards of what all parts have encoded")
    _add_adopt(
        commands.add_parser("adopt", help="make a folder for data= of shards from Megatron-LM, NeMo or gpt-neox")
    )
    command = commands.add_parser("inspect", help="check shards against their hashes and show what is in them")
    command.set_defaults(run=_inspect)
    command.add_argument("folder", metavar="DIR", help="the folder of shards; a picture is added to it")
    return parser


def _build(arguments: argparse.Namespace, console: Console) -> None:
    start = time.monotonic()
    out = _folder(arguments.out, "--out")
    options = Options(
        sources=sources.parse(arguments.source),
        weights=_weights(arguments.weight),
        tokenizer=os.path.expanduser(arguments.tokenizer),
        vocab_size=arguments.vocab_size,
        text_column=arguments.text_column,
        validation_fraction=arguments.validation_fraction,
        normalize=arguments.normalize,
        min_characters=arguments.min_characters,
        deduplicate=arguments.deduplicate,
        encoder=arguments.encoder,
    )
    if arguments.part is not None:
        encode_share(options, out, Task.parse(arguments.part), arguments.workers, console)
        return
    if arguments.merge:
        manifest = merge_shares(options, out, console)
    else:
        manifest = build(options, out, arguments.workers, console)
    summarize(manifest, console)
    console.print(f"{time.monotonic() - start:.1f} s; {out / 'manifest.json'}", highlight=False, soft_wrap=True)


def _add_adopt(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_adopt)
    add = command.add_argument
    add("shards", nargs="+", metavar="FOLDER_OR_PREFIX", help="PREFIX of PREFIX.bin and .idx, or a folder of them")
    add("--tokenizer", required=True, help="the vocab.txt or saved folder that the shards were made with")
    add("--out", required=True, help="the folder for the manifest, the tokenizer and indexes; no token is copied")
    held_out = command.add_mutually_exclusive_group()
    add = held_out.add_argument
    add("--validation", action="append", default=[], metavar="PREFIX", help="shards to hold out; repeatable")
    add("--validation-fraction", type=float, default=0.01, help="share of the documents held out (default 0.01)")


def _adopt(arguments: argparse.Namespace, console: Console) -> None:
    start = time.monotonic()
    out = _folder(arguments.out, "--out")
    adoption = Adoption(
        shards=tuple(map(os.path.expanduser, arguments.shards)),
        tokenizer=os.path.expanduser(arguments.tokenizer),
        validation=tuple(map(os.path.expanduser, arguments.validation)),
        validation_fraction=arguments.validation_fraction,
    )
    summarize(adopt(adoption, out, console), console)
    console.print(f"{time.monotonic() - start:.1f} s; {out / NAME}", highlight=False, soft_wrap=True)


def _inspect(arguments: argparse.Namespace, console: Console) -> None:
    inspect(_folder(arguments.folder, "DIR"), console)


def _folder(text: str, name: str) -> Path:
    """A folder that a user typed; no shell expands `~` in `--out=~/text`."""
    if not text:
        raise DataError(f"{name} is empty: name a folder")
    return Path(os.path.expanduser(text))


def _weights(arguments: list[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for argument in arguments:
        name, _, weight = argument.partition("=")
        try:
            number = float(weight)
        except ValueError:
            raise DataError(f"--weight {argument}: not NAME=NUMBER, such as books=2") from None
        if name in weights:
            raise DataError(f"--weight {argument}: {name} has the weight {weights[name]} already: give one")
        weights[name] = number
    return weights


if __name__ == "__main__":
    main()
