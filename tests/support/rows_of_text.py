"""B2, B5, B6, C7, D9, D10 and what of D5 is text: files that are read, left out or written over."""

import bz2
import gzip
import lzma
import resource
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
from launching import start
from rows import Judged, case
from run_bench import Bench, Done, apollo_ds, apollo_prep, ended, first_wrong
from texts import make_texts, write_jsonl
from tiny_models import exported, write_separable

from data_prep.files import read_json

_GIGABYTE = 2**30


def build(source: object, out: Path, *words: str, tokenizer: object = "bpe") -> Done:
    """Prepare text, with a small vocabulary."""
    size = ["--vocab-size", "300"] if tokenizer in ("bpe", "wordpiece") else []
    chosen = ["--tokenizer", str(tokenizer), *size, "--validation-fraction", "0.1", "--workers", "1"]
    return apollo_prep("build", "--source", str(source), "--out", str(out), *chosen, *words)


def documents(out: Path) -> int:
    """How many documents a build has read."""
    return int(read_json(out / "manifest.json")["sources"][0]["documents"])


def _texts(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    for number, text in enumerate(make_texts(count)):
        (folder / f"{number}.txt").write_text(text)
    return folder


@case("B2", "build into a folder that holds someone's file of a name that it would write")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text")
    dones = []
    for name in ("train.bin", "train.idx", "validation.bin", "validation.idx", "tokenizer/vocab.txt", "manifest.json"):
        file = source.parent / name.replace("/", "-") / name
        file.parent.mkdir(parents=True)
        file.write_text("precious")
        dones.append(build(source, source.parent / name.replace("/", "-")))
        assert file.read_text() == "precious"
    harmless = not any(word in done.told for done in dones for word in ("remove", "delete", "overwrite"))
    done, refused = first_wrong(dones, lambda done: done.refused)
    return done, refused and harmless


@case("B2", "build into a folder of someone's Megatron shards: they stay as they are")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text")
    shards = [source.parent / "out" / f"my_text_document.{kind}" for kind in ("bin", "idx")]
    shards[0].parent.mkdir()
    for shard in shards:
        shard.write_text("precious")
    done = build(source, shards[0].parent)
    return done, done.code == 0 and all(shard.read_text() == "precious" for shard in shards)


@case("B2", "inspect a folder of someone's Megatron shards")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    for name in ("my_text_document.bin", "my_text_document.idx"):
        (folder / name).write_text("precious")
    done = apollo_prep("inspect", str(folder))
    return done, done.refused and "into another folder" in done.told and len(list(folder.iterdir())) == 2


@case("B2", "train into a folder that holds someone's export, report or metrics")
def _(bench: Bench) -> Judged:
    dones = []
    for name in ("export/model.safetensors", "report/report.md", "metrics.jsonl"):
        file = bench.empty() / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("precious")
        dones.append(apollo_ds("train", str(bench.recipe_file), f"out={bench.place / 'case'}"))
        assert file.read_text() == "precious"
    return first_wrong(dones, lambda done: done.refused and "a new run would write over it" in done.told)


@case("B2", "compare and finetune into a folder that holds someone's page of that name; into one without a name")
def _(bench: Bench) -> Judged:
    bench.begin()
    folder = bench.empty()
    write_separable(folder / "task", train=8, dev=8)
    for name in ("compare.md", "results.md"):
        (folder / name).write_text("precious")
    compare = ["compare", str(bench.run), "--out"]
    task = ["--task", "sst2", "--data", str(folder / "task"), "--seeds", "1", "--epochs", "1"]
    finetune = ["finetune", str(exported("bert")), *task, "--out"]
    dones = [apollo_ds(*words, str(folder)) for words in (compare, finetune)]
    unnamed = [apollo_ds(*words, "") for words in (compare, finetune)]
    kept = all((folder / name).read_text() == "precious" for name in ("compare.md", "results.md"))
    told = all(done.code == 2 and "is empty; name a file or folder" in done.output for done in unnamed)
    done, refused = first_wrong(dones, lambda done: done.refused and "move it, or name another" in done.told)
    return done, refused and kept and told


@case("B5", "a loop of links, and two links to one file: 2 files give 2 documents")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text", 2)
    (source / "again").symlink_to(".")
    for name in ("a.txt", "b.txt"):
        (source / name).symlink_to("0.txt")
    done = build(source, source.parent / "out")
    return done, done.code == 0 and documents(source.parent / "out") == 2


@case("B5", "a hard link, and a link to a folder that is also there")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text", 2)
    (source / "hard.txt").hardlink_to(source / "0.txt")
    outside = _texts(source.parent / "outside", 2)
    (outside / "0.txt").write_text("a text that is in no other file")
    (outside / "1.txt").write_text("and another one, which is linked twice")
    for name in ("one", "two"):
        (source / name).symlink_to(outside)
    done = build(source, source.parent / "out")
    return done, done.code == 0 and documents(source.parent / "out") == 4


@case("B6", "of .txt, .TXT, .jsonl, .ndjson, .txt.gz, .bz2, .xz, .json, .md and a dangling link all are read or named")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text", 2)
    text = make_texts(1, seed=9)[0].encode()
    line = b'{"text": "one line of text is a document"}\n'
    (source / "A.TXT").write_bytes(text + b"a")
    (source / "b.txt.gz").write_bytes(gzip.compress(text + b"b"))
    (source / "c.txt.bz2").write_bytes(bz2.compress(text + b"c"))
    (source / "d.jsonl").write_bytes(line)
    (source / "e.ndjson").write_bytes(line.replace(b"one", b"each"))
    (source / "f.txt.xz").write_bytes(lzma.compress(text))
    (source / "g.json").write_bytes(line)
    (source / "h.md").write_bytes(text)
    (source / "i.txt").symlink_to("nowhere")
    done = build(source, source.parent / "out")
    named = all(name in done.output for name in ("f.txt.xz", "g.json", "h.md", "i.txt"))
    return done, done.code == 0 and documents(source.parent / "out") == 7 and named


@case("C7", "one text file of 1.1 MB, four times: at most half is held out")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    shares = []
    for seed in range(4):
        (folder / f"{seed}.txt").write_text("\n\n".join(make_texts(2000, seed=seed))[:1_100_000])
        done = build(folder / f"{seed}.txt", folder / f"out-{seed}")
        tokens = {
            name: split["tokens"] for name, split in read_json(folder / f"out-{seed}/manifest.json")["splits"].items()
        }
        shares.append(tokens["validation"] / sum(tokens.values()))
    told = ", ".join(f"{share:.1%}" for share in shares) + " held out"
    return Done(done.code, f"apollo-prep: {told}"), done.code == 0 and max(shares) <= 0.5


@case("C7", "of two documents one is trained on, and the share of the other is said")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text", 2)
    done = build(source, source.parent / "out")
    splits = read_json(source.parent / "out" / "manifest.json")["splits"]
    return done, [splits[name]["documents"] for name in ("train", "validation")] == [1, 1] and "% of" in done.output


@case("C7", "a single document cannot be split")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text", 1)
    done = build(source, source.parent / "out")
    return done, done.refused


def _refuses(bench: Bench, files: dict[str, bytes], *words: str) -> tuple[Done, bool]:
    folder = bench.empty()
    dones = []
    for name, content in files.items():
        (folder / name).write_bytes(content)
        dones.append(build(folder / name, folder / f"out-{name}", *words))
        assert not (folder / f"out-{name}" / "manifest.json").exists()
    return first_wrong(dones, lambda done: done.refused)


def _table(columns: pyarrow.Table) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(columns, sink)
    return bytes(sink.getvalue())


@case("D9", "parquet whose text is binary or null: the sentence tells the type")
def _(bench: Bench) -> Judged:
    binary = pyarrow.table({"text": pyarrow.array([b"a text"] * 3, pyarrow.binary())})
    nothing = pyarrow.table({"text": pyarrow.nulls(3)})
    judged = [_refuses(bench, {"a.parquet": _table(table)}) for table in (binary, nothing)]
    told = ("holds binary, not text: write", "holds null, not text: write")
    right = all(right and word in done.told for (done, right), word in zip(judged, told, strict=True))
    return judged[1][0], right


@case("D9", "UTF-16, with and without its mark: the sentence says so")
def _(bench: Bench) -> Judged:
    line = '{"text": "one line of text"}\n' * 5
    judged = {
        encoding: _refuses(bench, {"a.jsonl": line.encode(encoding)})
        for encoding in ("UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32LE")
    }
    right = all(right and f"(iconv -f {name} -t UTF-8)" in done.told for name, (done, right) in judged.items())
    return judged["UTF-16LE"][0], right


@case("D9", "Chinese of UTF-16, Shift-JIS, a zip and a gzip with the name of a text: no advice that makes it worse")
def _(bench: Bench) -> Judged:
    text = "中文字猫坐在垫子上" * 20
    files = {
        "a.txt": text.encode("utf-16-le"),
        "b.txt": "日本語の文".encode("shift-jis") * 20,
        "c.txt": b"PK\x03\x04" + b"\0\xff" * 50,
        "d.jsonl": gzip.compress(b'{"text": "x"}\n'),
    }
    judged = [_refuses(bench, {name: content}) for name, content in files.items()]
    told = ("iconv -f ENCODING", "iconv -f ENCODING", "is a zip archive", "name it .gz")
    right = all(right and word in done.told for (done, right), word in zip(judged, told, strict=True))
    return judged[0][0], right


@case("D10", "a .zst of 205 KB that holds one line of 6.7 GB, with 4 GB of address space")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    block = b"a" * 2**20
    with pyarrow.CompressedOutputStream(str(folder / "bomb.jsonl.zst"), "zstd") as packed:
        packed.write(b'{"text": "')
        for _ in range(6400):
            packed.write(block)
        packed.write(b'"}\n')
    # Threads map memory that they never touch, so that the bound must be some gigabytes; the line is larger still.
    resource.setrlimit(resource.RLIMIT_AS, (4 * _GIGABYTE, resource.RLIM_INFINITY))
    try:
        done = build(folder / "bomb.jsonl.zst", folder / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return done, done.refused and "line 1" in done.told and "64 MiB" in done.told


@case("D5", "a build that bad text has stopped goes on with other sources; --out without a name is refused")
def _(bench: Bench) -> Judged:
    folder = bench.empty()
    given, bad = write_jsonl(folder / "a.jsonl", make_texts(20)), folder / "bad.jsonl"
    bad.write_bytes(given.read_bytes() + b"\xff\n")
    stopped = build(bad, folder / "out")
    other = build(given, folder / "out")
    empty = apollo_prep("build", "--source", str(given), "--tokenizer", "bpe", "--out", "")
    return other, stopped.refused and other.code == 0 and empty.refused and "--out is empty" in empty.told


@case("D5", "an empty first .jsonl.gz among others is passed over; alone it is refused")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text")
    (source / "0.jsonl.gz").write_bytes(b"")
    among = build(source, source.parent / "out")
    alone = build(source / "0.jsonl.gz", source.parent / "alone")
    return alone, among.code == 0 and alone.refused


@case("D5", "a .gz that is cut, two columns called text, a corrupt parquet, JSON 5,000 deep")
def _(bench: Bench) -> Judged:
    two = pyarrow.table([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    lines = "".join(f'{{"text": "line {number} of a text"}}\n' for number in range(5000)).encode()
    files = {
        "cut.jsonl.gz": (gzip.compress(lines)[:-20], "cannot be read"),
        "two.parquet": (_table(two), "has 2 columns named 'text'"),
        "corrupt.parquet": (_table(pyarrow.table({"text": make_texts(50)}))[:-40], "cannot be read"),
        "deep.jsonl": (lines + b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "thousands deep"),
    }
    judged = [(_refuses(bench, {name: content}), word) for name, (content, word) in files.items()]
    done, _ = first_wrong((done for (done, _), _ in judged), lambda done: done.refused)
    return done, all(right and word in done.told for (done, right), word in judged)


@case("D5", "--out is a file, or in /proc, or has a name of 256 bytes")
def _(bench: Bench) -> Judged:
    source = _texts(bench.empty() / "text")
    places = [source / "0.txt", Path("/proc/mine"), source.parent / ("x" * 256)]
    return first_wrong((build(source, place) for place in places), lambda done: done.refused)


@case("D5", "output that nobody reads: apollo-prep build | true")
def _(bench: Bench) -> Judged:
    source = write_jsonl(bench.empty() / "text.jsonl", make_texts(20))
    command = [sys.executable, "-m", "data_prep", "build", "--source", str(source), "--tokenizer", "bpe"]
    words = ["--vocab-size", "300", "--out", str(source.parent / "out")]
    done = ended(start("bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "-", *command, *words))
    return done, done.refused or done.code == 0
