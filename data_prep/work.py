"""Prepare the folder OUT/work before anything is encoded: the options, the parts and the tokenizer.

Processes on several machines may begin the same work at the same time. Each of them makes the same files and folders,
and each file and folder gets its name in one step.
"""

import errno
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep import files, given_tokenizer, readers, sources, tokenizer
from data_prep.errors import DataError
from data_prep.fast import check_library
from data_prep.folder import WORK, check_free
from data_prep.options import Options
from data_prep.own_fault import sentence_of
from data_prep.parts import Job
from data_prep.sources import Part
from data_prep.tokenizer import TokenizerFacts

Untrained = Callable[[Path], None]
"""A function that is called if the tokenizer is not trained yet. When it returns, the tokenizer's folder exists."""


@dataclass(frozen=True)
class Begun:
    """Work that has begun: the parts in order, how each is encoded, and the tokenizer.

    `made_from` is a hash of the files that the tokenizer was made from. It is None if the tokenizer was trained.
    """

    plan: list[Part]
    job: Job
    tokenizer: Path
    facts: TokenizerFacts
    made_from: str | None


@contextmanager
def opened(options: Options, out: Path, shared: bool = False) -> Iterator[Path]:
    """Make and lock the folder of work in `out`. Processes with `shared` keep out only those without it.

    Raises:
        DataError: another process has locked it, or `out` holds other files. Errors of the machine become DataErrors
            too, also inside the context.
    """
    work = out.resolve() / WORK
    try:
        sources.check_outside(options.sources, out)
        check_free(out)
        check_library(options.encoder, options.tokenizer)
        work.mkdir(parents=True, exist_ok=True)
        with files.locked(work, shared):
            yield work
    except Exception as error:
        sentence = sentence_of(error, out)
        if sentence is None:
            raise
        raise DataError(sentence) from error


def begin(options: Options, out: Path, work: Path, console: Console, untrained: Untrained | None = None) -> Begun:
    """Plan the parts and make the tokenizer, or find a tokenizer that was made before.

    Args:
        options: what to make.
        out: the folder for the shards, for messages.
        work: the folder of work, opened.
        console: where progress is shown.
        untrained: called in place of training the tokenizer, if one is to be trained.
    Raises:
        DataError: the input cannot be used, or the work was begun with other options.
    """
    begun = work / "options.json"
    if begun.exists():
        kept = _read_options(begun)
        del kept["sources"]  # sources may change: finished parts of others do no harm, and are used if these come back
        refuse_others(kept, asdict(options), out, of=work)
    sources.check_apart(options.sources)
    with console.status("looking at the sources"):
        plan = [part for source in options.sources for part in sources.plan(source, options.text_column, work)]
    for told in filter(None, map(sources.left_out, options.sources)):
        console.print(told, highlight=False, soft_wrap=True)
    with console.status(f"tokenizer: {options.tokenizer}"):
        made_from = stamp_of_tokenizer(options)  # taken before it is read, so that a later change is noticed
        folder = _make_tokenizer(options, plan, work, untrained)
        facts = tokenizer.facts(folder, options.tokenizer)
    files.write_hashed(begun, asdict(options))
    job = _job(options, work, folder, facts)
    job.folder.mkdir(exist_ok=True)
    return Begun(plan, job, folder, facts, made_from)


def _job(options: Options, work: Path, folder: Path, facts: TokenizerFacts) -> Job:
    """How each part is encoded. The folder's name is a hash of all of it, so that different jobs share no files."""
    near = options.deduplicate == "near"
    decides = [files.sha256(folder / "tokenizer.json"), options.text_column, asdict(options.cleaning)]
    key = files.key([*decides, facts.vocab_size, facts.end_of_document, near, options.encoder])
    return Job(
        folder=work / f"parts-{key[:16]}",
        column=options.text_column,
        cleaning=options.cleaning,
        tokenizer_json=folder / "tokenizer.json",
        vocab_size=facts.vocab_size,
        end_of_document=facts.end_of_document,
        near=near,
        library=options.encoder,
    )


def refuse_others(made_with: dict[str, Any], options: dict[str, Any], out: Path, of: Path) -> None:
    """Check that the options are those with which the files of a folder were made or begun.

    Raises:
        DataError: an option differs. The message names both values.
    """
    wanted = json.loads(json.dumps(options))
    for key, value in made_with.items():
        if _compared(wanted.get(key)) != _compared(value):
            raise DataError(
                f"{out}: was begun with {key} {_as_typed(value)}, not {_as_typed(wanted.get(key))}: "
                f"run with the former, give another --out, or remove {of}"
            )


def _compared(value: Any) -> Any:
    """An option's value for comparison: `books` and `books/` become the same."""
    if isinstance(value, list):
        return [{**source, "location": source["location"].rstrip("/")} for source in value]
    return value


def _as_typed(value: Any) -> str:
    """An option's value roughly as a user types it."""
    if isinstance(value, list):
        return " ".join(f"{source['name']}={source['location']}" for source in value)
    if isinstance(value, dict):
        return " ".join(f"{name}={weight}" for name, weight in value.items()) or "none"
    return "none" if value in (None, "") else str(value)


def _read_options(path: Path) -> dict[str, Any]:
    with suppress(ValueError):
        options, is_hashed = files.read_hashed(path)
        if is_hashed:
            return options
    raise DataError(
        f"{path}: damaged, or not of a build: if it is of one, remove it and run the same command again; "
        "otherwise give another --out"
    )


def _make_tokenizer(options: Options, plan: list[Part], work: Path, untrained: Untrained | None) -> Path:
    """Train or load the tokenizer. A trained one is used again while the text that it was trained on stays the same."""
    if options.tokenizer not in tokenizer.TRAINERS:
        with _unfinished(work, options.tokenizer) as unfinished:
            given_tokenizer.load(options.tokenizer, unfinished)
            folder = work / f"tokenizer-{files.key([options.tokenizer, describe_files(unfinished)])}"
            _take_place(unfinished, folder)
        return folder
    trained_on = [options.vocab_size, asdict(options.cleaning), *(part.key for part in plan)]
    folder = work / f"tokenizer-{files.key([options.tokenizer, *trained_on])}"
    if folder.exists():
        return folder
    if untrained:
        untrained(folder)
        return folder
    with _unfinished(work, options.tokenizer) as unfinished:
        tokenizer.train(options.tokenizer, lambda: _sample(options, plan), options.vocab_size, unfinished)
        _take_place(unfinished, folder)
    return folder


def _sample(options: Options, plan: list[Part]) -> Iterator[str]:
    """The documents that a tokenizer is trained on."""
    total = sum(part.size for part in plan)
    everything = (text for p in plan for s in p.spans for text in readers.read(s, options.text_column))
    for text in options.cleaning.apply(everything, Counter()):
        if tokenizer.in_training_sample(text, total):
            yield text


@contextmanager
def _unfinished(work: Path, name: str) -> Iterator[Path]:
    """A temporary folder in which this process makes a tokenizer of this name."""
    folder = files.own_unfinished(work / f"tokenizer-{files.key([name])}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_place(unfinished: Path, folder: Path) -> None:
    """Rename a finished folder, unless another process has already made the same one."""
    files.sync_folder(unfinished)
    try:
        unfinished.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    files.sync(folder.parent)


def stamp_of_tokenizer(options: Options) -> str | None:
    """A hash of the files of a tokenizer that the user gave. None if the tokenizer is trained."""
    return None if options.tokenizer in tokenizer.TRAINERS else given_tokenizer.stamp(options.tokenizer)


def describe_files(folder: Path) -> dict[str, files.Description]:
    """The sizes and hashes of the files of a tokenizer's folder, by name."""
    return {path.name: files.describe(path) for path in files_of(folder)}


def files_of(folder: Path) -> list[Path]:
    """The files of a tokenizer's folder that are not hidden, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
