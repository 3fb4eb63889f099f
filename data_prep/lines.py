"""Read the lines of plain and compressed files in UTF-8, one at a time. A line has a greatest length."""

import codecs
import io
from collections.abc import Iterator

import pyarrow

from data_prep.errors import DataError, first_line
from data_prep.span import Span, compression_of

LONGEST_TEXT_BYTES = 64 << 20
"""The most bytes of a decompressed line, or of a text in a parquet file. All of it is held in memory."""
BUFFER_BYTES = 1 << 20
HEAD_BYTES = 1 << 10
_MARKS = {  # longer marks first: the mark of UTF-32 starts with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

_OTHERS = {
    b"\x1f\x8b": ("compressed by gzip", "name it .gz"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "name it .zst"),
    b"BZh": ("compressed by bzip2", "name it .bz2"),
    b"\xfd7zXZ": ("compressed by xz", "unpack it by unxz"),
    b"PK\x03\x04": ("a zip archive", "unpack it"),
    b"PAR1": ("parquet", "name it .parquet"),
    b"%PDF": ("a PDF", "leave it out, or extract its text"),
}
"""Kinds of files that are not text, by their first bytes, and what to do about each."""


def lines(span: Span) -> Iterator[tuple[int, bytes]]:
    """Yield `(offset, line)` for the lines that start in the span. Offsets count decompressed bytes.

    A byte order mark at the start of the file is left out.

    Raises:
        DataError: the file cannot be read, a line is too long, or the first line is not UTF-8.
    """
    try:
        with _open(span.path) as stream:
            offset = span.start
            if offset:
                stream.seek(offset - 1)
                offset += len(_next_line(stream, span.path, offset)) - 1
            while offset < span.stop and (line := _next_line(stream, span.path, offset)):
                if offset == 0 and b"\0" in line[:HEAD_BYTES]:  # text in UTF-16 may happen to be valid UTF-8
                    raise not_utf8(span.path, offset)
                yield offset, line.removeprefix(codecs.BOM_UTF8) if offset == 0 else line
                offset += len(line)
    except OSError as error:
        raise unreadable(span.path, error) from error


def place_of(path: str, offset: int) -> str:
    """For messages: the file, and the number (from 1) of the line at an offset of its decompressed bytes."""
    number = 1
    with _open(path) as stream:
        while offset > 0 and (block := stream.read(min(offset, BUFFER_BYTES))):
            number += block.count(b"\n")
            offset -= len(block)
    return f"{path}: line {number}"


def unreadable(path: str, error: Exception) -> DataError:
    """The error for a file that is damaged or cannot be read."""
    reason = first_line(error).rstrip(".")
    return DataError(f"{path}: cannot be read ({reason}): mend or replace it, or leave it out")


def not_utf8(path: str, offset: int) -> DataError:
    """The error for a line that is not UTF-8. It says what kind of file this seems to be."""
    with _open(path) as stream:
        head = stream.read(HEAD_BYTES)
    for magic, (what, fix) in _OTHERS.items():
        if head.startswith(magic):
            return DataError(f"{path}: is {what}, whatever its name: {fix}")
    encoding = _encoding_of(head)
    if encoding is None:
        return DataError(
            f"{place_of(path, offset)} is not valid UTF-8: find out the file's encoding and convert it "
            "(iconv -f ENCODING -t UTF-8), or mend it or leave it out"
        )
    return DataError(
        f"{place_of(path, offset)} is not valid UTF-8: if the file is of {encoding}, convert it "
        f"(iconv -f {encoding} -t UTF-8) and run again; otherwise mend it or leave it out"
    )


def _open(path: str) -> io.BufferedReader:
    return io.BufferedReader(pyarrow.input_stream(path, compression=compression_of(path)), BUFFER_BYTES)


def _next_line(stream: io.BufferedReader, path: str, offset: int) -> bytes:
    line = stream.readline(LONGEST_TEXT_BYTES + 1)
    if len(line) > LONGEST_TEXT_BYTES:
        raise DataError(
            f"{place_of(path, offset)} is longer than {LONGEST_TEXT_BYTES >> 20} MiB, the most that is allowed: "
            "break it into documents, one a line"
        )
    return line


def _encoding_of(head: bytes) -> str | None:
    """The encoding that a byte order mark or zero bytes point to. None if nothing does."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    zeros = [head[place::4].count(0) for place in range(4)]
    if not any(zeros):
        return None
    if zeros[1] and zeros[2]:
        return "UTF-32LE" if zeros[3] > zeros[0] else "UTF-32BE"
    return "UTF-16LE" if zeros[1] + zeros[3] > zeros[0] + zeros[2] else "UTF-16BE"
