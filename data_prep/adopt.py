"""Make a folder of prepared text from shards of other tools. The shards are neither copied nor changed.

The folder gets the tokenizer and a manifest. For each shard and each split it also gets an index of those documents of
the shard that belong to the split. An adoption that was stopped leaves nothing: the same command begins anew.
"""

import os
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from data_prep import files, given_tokenizer, progress, tokenizer
from data_prep.adoption import Adoption
from data_prep.build import copy_tokenizer
from data_prep.choose import choose, held_out_shares, large_shares
from data_prep.counted import counted
from data_prep.errors import DataError
from data_prep.folder import WORK, begin_writing, check_free, remove_work
from data_prep.foreign import ForeignShard, find, open_shard
from data_prep.manifest import FORMAT, NAME, Manifest, read_manifest, write_manifest
from data_prep.merge import entropy
from data_prep.own_fault import sentence_of
from data_prep.scan import Scan, Tally, scan, tally_of
from data_prep.shards import write_index
from data_prep.text_bytes import TextBytes
from data_prep.tokenizer import TokenizerFacts
from data_prep.verify import check_tokenizer, note_verified, verify_once
from data_prep.work import refuse_others

Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Read:
    """A shard that has been read, and marks of the documents that are held out, shape (documents,)."""

    shard: ForeignShard
    scan: Scan
    held_out: Marks


def adopt(adoption: Adoption, out: Path, console: Console) -> Manifest:
    """Make a folder of prepared text from shards that stay where they are, or check one that is there already.

    Args:
        adoption: what the user asked for: the shards, the tokenizer and what to hold out.
        out: the folder.
        console: where progress is shown.
    Returns:
        The manifest.
    Raises:
        DataError: the shards or the tokenizer cannot be used, `out` holds other files, or the disk is full or fails.
    """
    try:
        if os.path.lexists(out / NAME):
            return _finished(adoption, out, console)
        held_out = find(adoption.validation)
        prefixes = [prefix for prefix in find(adoption.shards) if prefix not in held_out]
        _check_outside(adoption, [*prefixes, *held_out], out)
        check_free(out)
        work = out.resolve() / WORK
        work.mkdir(parents=True, exist_ok=True)
        with files.locked(work):
            if os.path.lexists(out / NAME):  # another process has finished since
                return _finished(adoption, out, console)
            if (work / "options.json").exists():
                raise DataError(f"{out}: a build has begun there: give another --out, or remove {work}")
            files.remove_unfinished(out / NAME)
            manifest = _make(adoption, prefixes, held_out, out, console)
            write_manifest(out, manifest)
            note_verified(out, manifest)
            remove_work(work)
    except OSError as error:
        raise DataError(sentence_of(error, out)) from error
    return manifest


def _finished(adoption: Adoption, out: Path, console: Console) -> Manifest:
    manifest = read_manifest(out)
    refuse_others(manifest.options, adoption.options, out, of=out)
    verify_once(out)
    console.print(f"{out}: is finished, and every file is as it was written", highlight=False, soft_wrap=True)
    remove_work(out / WORK)
    if manifest.tokenizer.made_from != given_tokenizer.stamp(adoption.tokenizer):
        told = f"the tokenizer {adoption.tokenizer} has changed since {out} was made: remove {out} to make it again"
        console.print(told, highlight=False, soft_wrap=True)
    listed = sorted(source.location for source in manifest.sources)
    if listed != sorted(str(prefix) for prefix in {*find(adoption.shards), *find(adoption.validation)}):
        told = f"there are other shards than when {out} was made: remove {out} to make it again"
        console.print(told, highlight=False, soft_wrap=True)
    return manifest


def _check_outside(adoption: Adoption, prefixes: list[Path], out: Path) -> None:
    """Raise a DataError if `out` lies among the shards."""
    folders = [Path(name).resolve() for name in (*adoption.shards, *adoption.validation) if os.path.isdir(name)]
    place = out.resolve()
    if any(place.is_relative_to(folder) for folder in folders) or place in [p.parent.resolve() for p in prefixes]:
        raise DataError(f"{out}: is among the shards, where nothing is written: give another --out")


def _make(adoption: Adoption, prefixes: list[Path], held_out: list[Path], out: Path, console: Console) -> Manifest:
    """Read the shards and write every file but the manifest. Return the manifest."""
    if adoption.validation and not prefixes:
        raise DataError(f"--validation {shlex.join(adoption.validation)}: leaves no shard to train on: name others too")
    with console.status("looking at the shards"):
        shards = [open_shard(prefix) for prefix in (*prefixes, *held_out)]
        _tell(shards, console)
        stamps = _stamps(shards)
    work = out.resolve() / WORK
    made_from = given_tokenizer.stamp(adoption.tokenizer)  # taken before it is read, so that a later change is noticed
    folder, facts = _load_tokenizer(adoption.tokenizer, work, console)
    scans = _scan_all(shards, facts, console)
    _tell_unended(shards, scans, facts, folder, console)
    if held_out:
        marks = [np.full(len(shard.ends), i >= len(prefixes)) for i, shard in enumerate(shards)]
        _tell_shared(scans, marks, console)
    else:
        marks = _choose(shards, scans, adoption.validation_fraction, console)
    read = [_Read(*of_shard) for of_shard in zip(shards, scans, marks, strict=True)]
    tallies = _tallies(read, facts.vocab_size)
    text_bytes = TextBytes(folder / "tokenizer.json", facts.vocab_size)
    if _stamps(shards) != stamps:
        raise DataError(f"{out}: its shards have changed while they were read: run the same command again")
    begin_writing(out, work)
    saved, sha256 = copy_tokenizer(folder, out / "tokenizer"), files.sha256(folder / "tokenizer.json")
    values = {
        "format": FORMAT,
        "tokenizer": {"path": "tokenizer", "sha256": sha256, "files": saved, "made_from": made_from, **asdict(facts)},
        "sources": [_source(of_shard, text_bytes) for of_shard in read],
        "splits": {
            split: {**_write_split(split, read, out), "bytes": text_bytes.of(tally)} for split, tally in tallies.items()
        },
        "unigram_entropy": entropy(tallies["train"].counts),
        "options": adoption.options,
    }
    manifest = Manifest.model_validate(values)
    check_tokenizer(out, manifest)
    return manifest


def _stamps(shards: list[ForeignShard]) -> list[tuple[int, int]]:
    """The size in bytes and the time of change in nanoseconds of each file of tokens."""
    return [(status.st_size, status.st_mtime_ns) for status in (shard.path.stat() for shard in shards)]


def _tell(shards: list[ForeignShard], console: Console) -> None:
    documents = sum(len(shard.ends) for shard in shards)
    console.print(f"{counted(len(shards), 'shard')}, {counted(documents, 'document')}", highlight=False)
    if empty := sum(shard.empty for shard in shards):
        console.print(f"{empty:,} more documents are empty and left out", highlight=False)


def _load_tokenizer(name: str, work: Path, console: Console) -> tuple[Path, TokenizerFacts]:
    """Save the tokenizer in the folder of work, and read the facts that shards need."""
    folder = work / f"tokenizer-{files.key([name])}"
    shutil.rmtree(folder, ignore_errors=True)
    with console.status(f"tokenizer: {name}"):
        given_tokenizer.load(name, folder)
        facts = tokenizer.facts(folder, name)
    return folder, facts


def _scan_all(shards: list[ForeignShard], facts: TokenizerFacts, console: Console) -> list[Scan]:
    with progress.shown("read", sum(shard.path.stat().st_size for shard in shards), console) as add:
        return [scan(shard, facts.vocab_size, facts.end_of_document, add) for shard in shards]


def _tell_unended(
    shards: list[ForeignShard], scans: list[Scan], facts: TokenizerFacts, folder: Path, console: Console
) -> None:
    """Say how many documents do not end with the end-of-document token."""
    documents, unended = sum(len(shard.ends) for shard in shards), sum(scan.unended for scan in scans)
    if unended:
        end = tokenizer.token_of(folder, facts.end_of_document)
        console.print(
            f"{unended:,} of {documents:,} documents ({unended / documents:.1%}) do not end with {end} "
            f"({facts.end_of_document}), as Megatron writes them without --append-eod: no token tells a model where "
            "the next document begins; document_mask=true keeps documents apart",
            highlight=False,
            soft_wrap=True,
        )


def _tell_shared(scans: list[Scan], marks: list[Marks], console: Console) -> None:
    """Say how many of the held-out documents that the user chose are also trained on."""
    hashes = np.concatenate([scan.hashes for scan in scans])[:, 0]
    held_out = np.concatenate(marks)
    if shared := int(np.isin(hashes[held_out], hashes[~held_out]).sum()):
        told = f"{shared:,} of the {held_out.sum():,} held-out documents are also among those to train on"
        console.print(told, highlight=False)


def _choose(shards: list[ForeignShard], scans: list[Scan], fraction: float, console: Console) -> list[Marks]:
    """Mark the documents of each shard that are held out, by the hashes of their tokens."""
    hashes = np.concatenate([scan.hashes for scan in scans])
    if len(np.unique(hashes[:, 0])) < 2:
        raise DataError("all documents are equal, and some must be held out: name held-out shards by --validation")
    lengths = np.concatenate([shard.ends - shard.starts for shard in shards]).astype(np.int32)
    origin = np.zeros(len(hashes), np.intp)
    choice = choose(
        hashes=hashes,
        lengths=lengths,
        origin=origin,
        weights=[1.0],
        fraction=fraction,
        deduplicate=False,
        signatures={},
    )
    for told in large_shares(["the text"], held_out_shares(choice, lengths, origin), fraction):
        console.print(told, highlight=False, soft_wrap=True)
    return np.split(choice.held_out, np.cumsum([len(shard.ends) for shard in shards])[:-1])


def _tallies(read: list[_Read], vocab_size: int) -> dict[str, Tally]:
    """The counts of the tokens of each split's documents."""
    tallies = {split: Tally.none(vocab_size) for split in ("train", "validation")}
    for of_shard in read:
        whole = of_shard.scan.tally
        held_out = whole if of_shard.held_out.all() else tally_of(of_shard.shard, of_shard.held_out, vocab_size)
        tallies = {"train": tallies["train"] + whole - held_out, "validation": tallies["validation"] + held_out}
    return tallies


def _source(read: _Read, text_bytes: TextBytes) -> dict[str, Any]:
    prefix = read.shard.index.with_suffix("")
    return {
        "name": prefix.name,
        "location": str(prefix),
        "documents": len(read.shard.ends),
        "bytes": text_bytes.of(read.scan.tally),
        "dropped": {"empty": read.shard.empty},
        "stamp": read.scan.xxh3,
    }


def _write_split(split: str, read: list[_Read], out: Path) -> dict[str, Any]:
    """Write an index for each shard with documents of a split. Return the split's manifest entry, without `bytes`."""
    described: dict[str, files.Description] = {}
    documents = tokens = 0
    for of_shard in read:
        shard = of_shard.shard
        chosen = of_shard.held_out == (split == "validation")
        if not chosen.any():
            continue
        name = f"{split}-{len(described) // 2:05}"
        starts, lengths = shard.starts[chosen], (shard.ends - shard.starts)[chosen]
        write_index(out / f"{name}.idx", shard.dtype, lengths, starts * np.dtype(shard.dtype).itemsize)
        size = shard.path.stat().st_size
        described[f"{name}.bin"] = {"bytes": size, "xxh3": of_shard.scan.xxh3, "location": str(shard.path)}
        described[f"{name}.idx"] = files.describe(out / f"{name}.idx")
        documents, tokens = documents + len(starts), tokens + int(lengths.sum())
    return {"documents": documents, "tokens": tokens, "files": described}
