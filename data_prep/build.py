"""Sources to a folder of shards, in steps that a killed run leaves where they were.

The steps: plan the parts, make the tokenizer, encode every part, choose documents, merge, and write the manifest
last, once all that it lists is on disk. What is finished is kept in OUT/work until then, so that the same command
continues.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from data_prep import files, given_tokenizer, parts, readers, sources, tokenizer
from data_prep.choose import SLACK, Choice, choose, held_out_shares
from data_prep.errors import DataError
from data_prep.folder import WORK, begin_writing, check_free, remove_work
from data_prep.manifest import FORMAT, NAME, UNHASHED, Manifest, read_manifest, write_manifest
from data_prep.merge import merge
from data_prep.options import Options
from data_prep.own_fault import sentence_of
from data_prep.parts import Documents, Job
from data_prep.pool import encode_all
from data_prep.sources import Part
from data_prep.verify import check_tokenizer, note_verified, verify, verify_once


def build(options: Options, out: Path, workers: int, console: Console) -> Manifest:
    """Make the shards, or finish making them; those that are there already are left as they are.

    Args:
        options: what to make.
        out: the folder for the shards.
        workers: processes that encode; the result is the same for any number.
        console: where progress is shown.
    Returns:
        The manifest.
    Raises:
        DataError: input that cannot be used, other work or damaged shards in `out`, or a disk that is full or fails.
    """
    if workers < 1:
        raise DataError(f"--workers {workers}: must be at least 1")
    if os.path.lexists(out / NAME):
        return _finished(options, out, console)
    work = out.resolve() / WORK
    try:
        sources.check_outside(options.sources, out)
        check_free(out)
        work.mkdir(parents=True, exist_ok=True)
        with files.locked(work):
            if os.path.lexists(out / NAME):  # another process has finished since
                return _finished(options, out, console)
            files.remove_unfinished(out / NAME)
            manifest = _make(options, out, work, workers, console)
            write_manifest(out, manifest)
            note_verified(out, manifest)  # megatron-core has just read the shards, and their hashes have been computed
            remove_work(work)
    except Exception as error:
        sentence = sentence_of(error, out)
        if sentence is None:
            raise
        raise DataError(sentence) from error
    return manifest


def _finished(options: Options, out: Path, console: Console) -> Manifest:
    manifest = read_manifest(out)
    _refuse_others(manifest.options, options, out, of=out)
    if manifest.format != UNHASHED:
        verify_once(out)
    else:
        manifest = verify(out).with_hashes(_describe_files(out / manifest.tokenizer.path))
        write_manifest(out, manifest)
        note_verified(out, manifest)
        console.print(f"{out}: every file is as it was written; the manifest now has a hash of itself", soft_wrap=True)
    remove_work(out / WORK)
    stamps = [source.stamp for source in manifest.sources]
    if stamps != [sources.stamp(source) for source in options.sources]:
        console.print(f"the sources have changed since {out} was made: remove {out} to make it again", soft_wrap=True)
    if manifest.tokenizer.made_from not in (None, _stamp_of_tokenizer(options)):
        console.print(
            f"the tokenizer {options.tokenizer} has changed since {out} was made: remove {out} to make it again",
            soft_wrap=True,
        )
    return manifest


def _refuse_others(made_with: dict[str, Any], options: Options, out: Path, of: Path) -> None:
    """Raise a DataError where the files of a folder were made, or begun, with other options."""
    wanted = json.loads(json.dumps(asdict(options)))
    for key, value in made_with.items():
        if wanted.get(key) != value:
            raise DataError(
                f"{out}: was begun with {key} {_as_typed(value)}, not {_as_typed(wanted.get(key))}: "
                f"run with the former, give another --out, or remove {of}"
            )


def _as_typed(value: Any) -> str:
    """An option's value much as a user types it."""
    if isinstance(value, list):
        return " ".join(f"{source['name']}={source['location']}" for source in value)
    if isinstance(value, dict):
        return " ".join(f"{name}={weight}" for name, weight in value.items()) or "none"
    return "none" if value is None else str(value)


def _make(options: Options, out: Path, work: Path, workers: int, console: Console) -> Manifest:
    """Take each step that is not done, and return the manifest."""
    begun = work / "options.json"
    if begun.exists():
        kept = _read_options(begun)
        del kept["sources"]  # what is kept of others is of use if they come back, and in the way of none
        _refuse_others(kept, options, out, of=work)
    sources.check_apart(options.sources)
    with console.status("looking at the sources"):
        plan = [part for source in options.sources for part in sources.plan(source, options.text_column, work)]
    for told in filter(None, map(sources.left_out, options.sources)):
        console.print(told, highlight=False, soft_wrap=True)
    with console.status(f"tokenizer: {options.tokenizer}"):
        made_from = _stamp_of_tokenizer(options)  # before it is read, so that a change meanwhile is noticed
        folder = _make_tokenizer(options, plan, work)
        facts = tokenizer.facts(folder, options.tokenizer)
    files.write_hashed(begun, asdict(options))
    sha256 = files.sha256(folder / "tokenizer.json")
    job = Job(
        folder=work / f"parts-{sha256[:16]}",
        column=options.text_column,
        cleaning=options.cleaning,
        tokenizer_json=folder / "tokenizer.json",
        vocab_size=facts.vocab_size,
        end_of_document=facts.end_of_document,
        near=options.deduplicate == "near",
    )
    job.folder.mkdir(exist_ok=True)
    encode_all(job, plan, workers, console)
    with console.status("writing the shards"):
        documents = parts.load_documents(job, plan)
        choice = _choose(options, job, plan, documents)
        described = _describe_sources(options, job, plan, documents, choice)
        begin_writing(out, work)
        shards = merge(job, plan, documents, choice, out)
        saved = copy_tokenizer(folder, out / "tokenizer")
    _tell_large_shares(options, held_out_shares(choice, documents.lengths, _origin(options, plan, documents)), console)
    values = {
        "format": FORMAT,
        "tokenizer": {"path": "tokenizer", "sha256": sha256, "files": saved, "made_from": made_from, **asdict(facts)},
        "sources": described,
        **shards,
        "options": json.loads(json.dumps(asdict(options))),
    }
    manifest = Manifest.model_validate(values)
    check_tokenizer(out, manifest)
    return manifest


def _read_options(path: Path) -> dict[str, Any]:
    with suppress(ValueError):
        options, is_hashed = files.read_hashed(path)
        if is_hashed:
            return options
    raise DataError(
        f"{path}: damaged, or not of a build: if it is of one, remove it and run the same command again; "
        "otherwise give another --out"
    )


def copy_tokenizer(folder: Path, target: Path) -> dict[str, files.Description]:
    """Copy the files of a tokenizer, and describe them. Files of other names may be a user's, and stay."""
    target.mkdir(exist_ok=True)
    for path in _files_of(folder):
        files.remove_unfinished(target / path.name)
        files.copy(path, target / path.name)
    return _describe_files(folder)


def _describe_files(folder: Path) -> dict[str, files.Description]:
    return {path.name: files.describe(path) for path in _files_of(folder)}


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _make_tokenizer(options: Options, plan: list[Part], work: Path) -> Path:
    """Train or load the tokenizer; a trained one is kept for as long as what it was trained on is the same."""

    def texts() -> Iterator[str]:
        total = sum(part.size for part in plan)
        everything = (text for p in plan for s in p.spans for text in readers.read(s, options.text_column))
        for text in options.cleaning.apply(everything, Counter()):
            if tokenizer.in_training_sample(text, total):
                yield text

    trained = options.tokenizer in tokenizer.TRAINERS
    trained_on = [options.vocab_size, asdict(options.cleaning), *(part.key for part in plan)] if trained else []
    folder = work / f"tokenizer-{files.key([options.tokenizer, *trained_on])}"
    if trained and folder.exists():
        return folder
    unfinished = folder.with_suffix(".tmp")
    for left_over in (folder, unfinished):
        shutil.rmtree(left_over, ignore_errors=True)
    if trained:
        tokenizer.train(options.tokenizer, texts, options.vocab_size, unfinished)
    else:
        given_tokenizer.load(options.tokenizer, unfinished)
    files.sync_folder(unfinished)
    unfinished.rename(folder)
    files.sync(work)
    return folder


def _stamp_of_tokenizer(options: Options) -> str | None:
    return None if options.tokenizer in tokenizer.TRAINERS else given_tokenizer.stamp(options.tokenizer)


def _choose(options: Options, job: Job, plan: list[Part], documents: Documents) -> Choice:
    """Choose documents, once every source is known to have some."""
    origin = _origin(options, plan, documents)
    for source, count in zip(options.sources, np.bincount(origin, minlength=len(options.sources)), strict=True):
        if count == 0:
            least, work = options.min_characters, job.folder.parent
            lower = f"shorter than {least} characters: leave it out, or lower --min-characters and remove {work}"
            raise DataError(f"{source.location}: every document is {'empty: leave it out' if least <= 1 else lower}")
    pairs = zip(plan, documents.counts, strict=True)
    return choose(
        hashes=documents.hashes,
        lengths=documents.lengths,
        origin=origin,
        weights=[options.weights.get(source.name, 1.0) for source in options.sources],
        fraction=options.validation_fraction,
        deduplicate=options.deduplicate is not None,
        signatures={job.path(part, ".npy"): count for part, count in pairs if count} if job.near else {},
    )


def _tell_large_shares(options: Options, shares: npt.NDArray[np.float64], console: Console) -> None:
    """Say where far more is held out than was asked for, which few or long documents make necessary."""
    for source, share in zip(options.sources, shares, strict=True):
        if share > SLACK * max(options.validation_fraction, 0.01):
            told = f"{source.name}: {share:.1%} of its tokens are held out, not {options.validation_fraction:.1%}"
            console.print(f"{told}: its documents are few or long", highlight=False, soft_wrap=True)


def _origin(options: Options, plan: list[Part], documents: Documents) -> npt.NDArray[np.intp]:
    """The number of the source of each document, shape (documents,)."""
    names = [source.name for source in options.sources]
    return np.repeat([names.index(part.source) for part in plan], documents.counts)


def _describe_sources(
    options: Options, job: Job, plan: list[Part], documents: Documents, choice: Choice
) -> list[dict[str, Any]]:
    """The manifest's `sources`: the documents of each that are written, and how many were dropped and why."""
    origin = _origin(options, plan, documents)
    described = []
    for i, source in enumerate(options.sources):
        dropped = sum((parts.load_dropped(job, part) for part in plan if part.source == source.name), Counter())
        written = (origin == i) & (choice.copies > 0)
        described.append(
            {
                "name": source.name,
                "location": source.location,
                "documents": int(written.sum()),
                "bytes": int(documents.sizes[written].sum()),
                "dropped": {
                    **dropped,
                    "duplicate": int(choice.duplicate[origin == i].sum()),
                    "near_duplicate": int(choice.near_duplicate[origin == i].sum()),
                },
                "stamp": sources.stamp(source),
            }
        )
    return described
