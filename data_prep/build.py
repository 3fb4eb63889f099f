"""Make a folder of shards from sources, in steps that a killed build can go on with.

The steps are: plan the parts, make the tokenizer, encode every part, choose documents, and merge. The manifest comes
last, once every file that it lists is on disk. Until then OUT/work keeps the finished steps, so that the same command
continues.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from data_prep import files, parts, sources
from data_prep.choose import Choice, choose, held_out_shares, large_shares
from data_prep.errors import DataError
from data_prep.folder import WORK, begin_writing, remove_work
from data_prep.manifest import FORMAT, NAME, UNHASHED, Manifest, read_manifest, write_manifest
from data_prep.merge import merge
from data_prep.options import Options
from data_prep.parts import Documents, Job
from data_prep.pool import check_workers, encode_all
from data_prep.sources import Part
from data_prep.verify import check_tokenizer, note_verified, verify, verify_once
from data_prep.work import Untrained, begin, describe_files, files_of, opened, refuse_others, stamp_of_tokenizer

Encode = Callable[[Job, list[Part]], None]
"""A function that encodes every part of a plan, or raises an error."""


def build(options: Options, out: Path, workers: int, console: Console) -> Manifest:
    """Make the shards, or finish a build that was stopped. Finished shards are checked and not changed.

    Args:
        options: what to make.
        out: the folder for the shards.
        workers: how many processes encode. The result is the same for any number.
        console: where progress is shown.
    Returns:
        The manifest.
    Raises:
        DataError: the input cannot be used, `out` holds other work or damaged shards, or the disk is full or fails.
    """
    check_workers(workers)
    return finish(options, out, console, lambda job, plan: encode_all(job, plan, workers, console))


def finish(
    options: Options, out: Path, console: Console, encode: Encode, untrained: Untrained | None = None
) -> Manifest:
    """Make the shards, with a function of the caller's that encodes the parts.

    Args:
        options: what to make.
        out: the folder for the shards.
        console: where progress is shown.
        encode: called with all parts. It encodes them, or raises an error if they are not encoded.
        untrained: called in place of training the tokenizer, if one is to be trained.
    Returns:
        The manifest.
    Raises:
        DataError: for the reasons that `build` names.
    """
    if os.path.lexists(out / NAME):
        return finished(options, out, console)
    with opened(options, out) as work:
        if os.path.lexists(out / NAME):  # another process has finished since
            return finished(options, out, console)
        files.remove_unfinished(out / NAME)
        manifest = _make(options, out, work, console, encode, untrained)
        write_manifest(out, manifest)
        note_verified(out, manifest)  # megatron-core has just read the shards, and their hashes have been computed
        remove_work(work)
    return manifest


def finished(options: Options, out: Path, console: Console) -> Manifest:
    """Check finished shards, print what has changed since they were made, and return their manifest.

    Raises:
        DataError: the shards are damaged, or were made with other options.
    """
    manifest = read_manifest(out)
    refuse_others(manifest.options, asdict(options), out, of=out)
    if manifest.format != UNHASHED:
        verify_once(out)
    else:
        manifest = verify(out).with_hashes(describe_files(out / manifest.tokenizer.path))
        write_manifest(out, manifest)
        note_verified(out, manifest)
        console.print(f"{out}: every file is as it was written; the manifest now has a hash of itself", soft_wrap=True)
    remove_work(out / WORK)
    stamps = [source.stamp for source in manifest.sources]
    if stamps != [sources.stamp(source) for source in options.sources]:
        console.print(f"the sources have changed since {out} was made: remove {out} to make it again", soft_wrap=True)
    if manifest.tokenizer.made_from not in (None, stamp_of_tokenizer(options)):
        console.print(
            f"the tokenizer {options.tokenizer} has changed since {out} was made: remove {out} to make it again",
            soft_wrap=True,
        )
    return manifest


def _make(
    options: Options, out: Path, work: Path, console: Console, encode: Encode, untrained: Untrained | None
) -> Manifest:
    """Take each step that is not yet done, and return the manifest."""
    begun = begin(options, out, work, console, untrained)
    job, plan = begun.job, begun.plan
    encode(job, plan)
    with console.status("writing the shards"):
        documents = parts.load_documents(job, plan)
        choice = _choose(options, job, plan, documents)
        described = _describe_sources(options, job, plan, documents, choice)
        begin_writing(out, work)
        shards = merge(job, plan, documents, choice, out)
        saved = copy_tokenizer(begun.tokenizer, out / "tokenizer")
    shares = held_out_shares(choice, documents.lengths, _origin(options, plan, documents))
    for told in large_shares([source.name for source in options.sources], shares, options.validation_fraction):
        console.print(told, highlight=False, soft_wrap=True)
    values = {
        "format": FORMAT,
        "tokenizer": {
            "path": "tokenizer",
            "sha256": files.sha256(job.tokenizer_json),
            "files": saved,
            "made_from": begun.made_from,
            **asdict(begun.facts),
        },
        "sources": described,
        **shards,
        "options": json.loads(json.dumps(asdict(options))),
    }
    manifest = Manifest.model_validate(values)
    check_tokenizer(out, manifest)
    return manifest


def copy_tokenizer(folder: Path, target: Path) -> dict[str, files.Description]:
    """Copy the files of a tokenizer, and return their sizes and hashes by name.

    Other files in the target folder stay: they may be a user's.
    """
    target.mkdir(exist_ok=True)
    for path in files_of(folder):
        files.remove_unfinished(target / path.name)
        files.copy(path, target / path.name)
    return describe_files(folder)


def _choose(options: Options, job: Job, plan: list[Part], documents: Documents) -> Choice:
    """Check that every source has documents, and choose among them."""
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


def _origin(options: Options, plan: list[Part], documents: Documents) -> npt.NDArray[np.intp]:
    """For each document the number of its source, from 0, shape (documents,)."""
    names = [source.name for source in options.sources]
    return np.repeat([names.index(part.source) for part in plan], documents.counts)


def _describe_sources(
    options: Options, job: Job, plan: list[Part], documents: Documents, choice: Choice
) -> list[dict[str, Any]]:
    """The manifest's `sources`: for each source how many documents are written, and how many were dropped and why."""
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
