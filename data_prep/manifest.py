"""The manifest of a folder of shards. It says what is in them, and has a hash of each file that anything reads."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from data_prep import files
from data_prep.errors import DataError, Missing
from data_prep.own_fault import sentence_of

NAME = "manifest.json"
FORMAT = 3
"""The number of today's format. docs/reference/upgrading.md says which versions write and read which format."""
UNHASHED = 1
"""The first format. It has no hash of the manifest, and a hash of only one of the tokenizer's files."""
_PAIR = re.compile(r"(train|validation)(-[0-9]{5})?")
"""The names that the shards of a split may have, without suffixes."""


def _plain(name: str) -> str:
    if PurePosixPath(name).name != name or "\0" in name:
        raise ValueError("not the plain name of a file")
    return name


def _absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute() or "\0" in path:
        raise ValueError("not an absolute path")
    return path


PlainName = Annotated[str, AfterValidator(_plain)]


class _Values(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Values):
    """The size of a file, and its 64-bit XXH3 hash in hexadecimal digits."""

    bytes: NonNegativeInt
    xxh3: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]

    @classmethod
    def of(cls, path: Path) -> Self:
        """The entry of a file as it is now."""
        return cls.model_validate(files.describe(path))


class ShardEntry(FileEntry):
    """One of the two files of a shard."""

    location: Annotated[str, AfterValidator(_absolute)] | None = None
    """The absolute path of a file that `apollo-prep adopt` left where it was. None for a file in the folder."""


class TokenizerEntry(_Values):
    """The folder of the shards' tokenizer, and the facts about it that shards and training need."""

    path: PlainName
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """The hash of `tokenizer.json`. A run recognises its tokenizer by it."""
    files: dict[PlainName, FileEntry] = {}
    made_from: str | None = None
    """A hash of the files that the tokenizer was made from, to notice that they have changed. None for a tokenizer that
    was trained, and in manifests of earlier versions."""
    kind: str
    vocab_size: PositiveInt
    end_of_document: NonNegativeInt
    cls: NonNegativeInt | None
    mask: NonNegativeInt | None
    pad: NonNegativeInt | None
    special: list[NonNegativeInt]

    @model_validator(mode="after")
    def _ids_are_in_the_vocabulary(self) -> Self:
        ids = [self.end_of_document, *self.special, self.cls or 0, self.mask or 0, self.pad or 0]
        if max(ids) >= self.vocab_size:
            raise ValueError("a token beyond the vocabulary")
        return self


class SourceEntry(_Values):
    """What a source gave. `dropped` counts by reason the documents that were left out.

    `stamp` changes when the source does. `bytes` counts bytes of text. It is None if the exact number is not known.
    """

    name: str
    location: str
    documents: NonNegativeInt
    bytes: NonNegativeInt | None
    dropped: dict[str, NonNegativeInt]
    stamp: str


class SplitEntry(_Values):
    """The tokens of one split: training or validation."""

    documents: PositiveInt
    tokens: PositiveInt
    bytes: NonNegativeInt | None = None
    """The bytes of the documents' text in UTF-8. A document that is written twice counts twice. None if the exact
    number is not known, and in manifests of earlier versions."""
    files: dict[PlainName, ShardEntry]

    @property
    def prefixes(self) -> list[str]:
        """The names of the split's shards without `.bin` and `.idx`, in order."""
        return sorted({PurePosixPath(name).stem for name in self.files})

    @property
    def hash(self) -> str:
        """The hash of the split's tokens: that of its only file, or one of all its shards and their indexes."""
        if len(self.files) == 2 and not any(file.location for file in self.files.values()):
            return next(file.xxh3 for name, file in self.files.items() if name.endswith(".bin"))
        return files.key([self.files[name].xxh3 for name in sorted(self.files)])


class Manifest(_Values):
    """The content of a folder of shards. `unigram_entropy` is in nats per token. `options` are those of the build."""

    format: Literal[1, 2, 3]
    tokenizer: TokenizerEntry
    sources: list[SourceEntry]
    splits: dict[str, SplitEntry]
    unigram_entropy: NonNegativeFloat
    options: dict[str, JsonValue]

    @model_validator(mode="after")
    def _lists_all_that_is_read(self) -> Self:
        if set(self.splits) != {"train", "validation"}:
            raise ValueError("not both splits")
        for name, split in self.splits.items():
            pairs = {f"{prefix}{suffix}" for prefix in split.prefixes for suffix in (".bin", ".idx")}
            matches = [_PAIR.fullmatch(prefix) for prefix in split.prefixes]
            if not pairs or set(split.files) != pairs or not all(match and match[1] == name for match in matches):
                raise ValueError("not the files of a split")
        if self.format != UNHASHED and "tokenizer.json" not in self.tokenizer.files:
            raise ValueError("no tokenizer.json")
        return self

    @property
    def shards(self) -> dict[str, ShardEntry]:
        """The entries of the files of both splits, by name."""
        return {name: file for split in self.splits.values() for name, file in split.files.items()}

    def places(self, folder: Path) -> dict[str, Path]:
        """The path of each file of both splits, by name."""
        return {name: Path(file.location or folder / name) for name, file in self.shards.items()}

    def pairs(self, folder: Path, split: str) -> list[tuple[Path, Path]]:
        """The paths of the index and of the tokens of each shard of a split, in order."""
        places = self.places(folder)
        return [(places[f"{prefix}.idx"], places[f"{prefix}.bin"]) for prefix in self.splits[split].prefixes]

    @property
    def is_adopted(self) -> bool:
        """Whether `apollo-prep adopt` made the folder, from shards that lie elsewhere."""
        return any(file.location for file in self.shards.values())

    def with_hashes(self, of_tokenizer: Mapping[str, files.Description]) -> Self:
        """This manifest of the first format as one of today's format, with these hashes of the tokenizer's files."""
        values = self.values()
        values["tokenizer"]["files"] = dict(of_tokenizer)
        return self.model_validate({**values, "format": FORMAT})

    @property
    def tokenizer_json(self) -> str:
        """The path of `tokenizer.json` within the folder."""
        return f"{self.tokenizer.path}/tokenizer.json"

    @property
    def hash(self) -> str:
        """The hash of the manifest. It changes if any listed file does."""
        return files.hash_of_values(self.values())

    def values(self) -> dict[str, Any]:
        """The content of the manifest's file. Keys that its format lacks are left out."""
        return self.model_dump(mode="json", exclude_unset=True)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder of shards.

    Raises:
        Missing: there is no manifest: the folder does not exist, or a build did not finish there.
        DataError: the manifest is damaged or cannot be read, a later version wrote it, or other tools wrote the shards.
    """
    path = folder / NAME
    damaged = DataError(f"{path}: damaged, or not from apollo-prep: restore it, or build the text into another folder")
    try:
        values, is_hashed = files.read_hashed(path)
    except FileNotFoundError:
        if any(folder.glob("*.idx")) and not (folder / "work").exists():
            raise _foreign(
                folder, f"has shards but no {NAME}, so apollo-prep did not make them, or did not finish"
            ) from None
        if Path(f"{folder}.idx").exists():
            raise _foreign(folder, "is the prefix of a shard, not a folder from apollo-prep") from None
        inside = prepared_in(folder)
        fix = f"name {' or '.join(inside)}" if inside else _how_to_make(folder)
        raise Missing(f"{path}: not found: {fix}") from None
    except (ValueError, IsADirectoryError):
        raise damaged from None
    except OSError as error:
        if folder.suffix in (".bin", ".idx") and folder.is_file():
            raise _foreign(folder, "is a file of a shard, not a folder from apollo-prep") from None
        if folder.is_file():
            raise DataError(
                f"{folder}: is a file, not a folder from apollo-prep; make a folder from it by "
                f"apollo-prep build --source {folder} --tokenizer TOKENIZER --out FOLDER"
            ) from None
        raise DataError(sentence_of(error, path)) from None
    try:
        manifest = Manifest.model_validate(values)
    except (ValidationError, RecursionError):
        if not is_hashed:
            raise damaged from None
        raise _of_later_version(path, values.get("format")) from None
    if is_hashed != (manifest.format != UNHASHED):
        raise damaged
    return manifest


def _how_to_make(folder: Path) -> str:
    """The advice for a folder without a manifest. If it has files, and not those of a build, they may be the text."""
    if any(folder.glob("*")) and not (folder / "work").exists():
        return f"make shards from it by apollo-prep build --source {folder} --tokenizer TOKENIZER --out FOLDER"
    return f"make the shards by apollo-prep build --out {folder}"


def prepared_in(folder: Path) -> list[str]:
    """The folders of shards directly inside a folder.

    An exported model also has a file of the manifest's name, but it has config.json too.
    """
    inside = (path.parent for path in folder.glob(f"*/{NAME}"))
    return sorted(str(shards) for shards in inside if not (shards / "config.json").exists())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest. All files that it lists must be on disk: the manifest says that the folder is complete."""
    files.write_hashed(folder / NAME, manifest.values())


def _foreign(given: Path, what: str) -> DataError:
    return DataError(
        f"{given}: {what}; it stays as it is: run `apollo-prep adopt {given} --tokenizer TOKENIZER --out DIR` and "
        "give DIR, or build the text into another folder by apollo-prep build"
    )


def _of_later_version(path: Path, written: object) -> DataError:
    return DataError(
        f"{path}: was written by a later version, in format {written}, and this version reads formats {UNHASHED} to "
        f"{FORMAT}: use the version that wrote it, or build the text again in another folder"
    )
