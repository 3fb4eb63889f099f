"""A9, B1, B3, B4: text, names and files in folders that people touch."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rows import Judged, case, damaged
from run_bench import Bench, edit, ended, flip

from apollo_ds.checkpoint.find import hash_of


@damaged("A9", "train.bin truncated before the start", 25, refuses=True, names="train.bin")
def _(bench: Bench) -> None:
    os.truncate(bench.text / "train.bin", 1000)


@damaged(
    "A9",
    "a flipped bit in train.bin, its time as it was, verify=full",
    25,
    "verify=full",
    refuses=True,
    names="train.bin",
)
def _(bench: Bench) -> None:
    flip(bench.text / "train.bin")


@damaged("A9", "a flipped bit in the manifest of the text", 25, refuses=True, names="manifest.json")
def _(bench: Bench) -> None:
    flip(bench.text / "manifest.json", 60)


@case("A9", "train.bin truncated while the run reads it")
def _(bench: Bench) -> Judged:
    bench.begin(10)
    running = bench.train_until(2)
    os.truncate(bench.text / "train.bin", 0)
    done = ended(running)
    told = len(done.sentences) == 1 and "cut short" in done.sentences[0] and "Traceback" not in done.output
    return done, told and done.code == 128 + signal.SIGBUS


@damaged("B1", "a folder step-10-good", 25, refuses=False)
def _(bench: Bench) -> None:
    shutil.copytree(bench.checkpoint(10), bench.run / "checkpoints" / "step-10-good")


@damaged("B1", "a file step-40.tar.gz and a folder step-final", 25, refuses=False)
def _(bench: Bench) -> None:
    (bench.run / "checkpoints" / "step-40.tar.gz").write_bytes(b"x")
    (bench.run / "checkpoints" / "step-final").mkdir()


@damaged("B1", "a file step-30", 25, refuses=False)
def _(bench: Bench) -> None:
    bench.checkpoint(30).write_bytes(b"x")


@damaged("B1", "latest with the byte ff", 25, refuses=False)
def _(bench: Bench) -> None:
    (bench.run / "checkpoints" / "latest").write_bytes(b"\xff")


@damaged("B1", "latest is a folder", 25)
def _(bench: Bench) -> None:
    (bench.run / "checkpoints" / "latest").unlink()
    (bench.run / "checkpoints" / "latest").mkdir()


@case("B1", "latest is a link to a file of the user's")
def _(bench: Bench) -> Judged:
    bench.begin(25)
    with _precious(bench) as precious:
        (bench.run / "checkpoints" / "latest").unlink()
        (bench.run / "checkpoints" / "latest").symlink_to(precious)
        done = bench.train()
        return done, done.code == 0 and bench.is_calm and precious.read_text() == "precious"


@case("B1", "cp -r of step-10 to step-10-good while the run trains; then it trains on, and is exported")
def _(bench: Bench) -> Judged:
    bench.begin(10)
    running = bench.train_until(2)
    shutil.copytree(bench.checkpoint(10), bench.run / "checkpoints" / "step-10-good")
    done = ended(running)
    exported = bench.export(bench.place / "model")
    shutil.rmtree(bench.place / "model", ignore_errors=True)
    return done, done.code == exported.code == 0 and bench.is_calm


@case("B1", "export beside step-10-good, step-40.tar.gz, step-final")
def _(bench: Bench) -> Judged:
    bench.begin()
    shutil.copytree(bench.checkpoint(10), bench.run / "checkpoints" / "step-10-good")
    (bench.run / "checkpoints" / "step-40.tar.gz").write_bytes(b"x")
    (bench.run / "checkpoints" / "step-final").mkdir()
    done = bench.export(bench.place / "model")
    there = (bench.place / "model" / "model.safetensors").is_file()
    shutil.rmtree(bench.place / "model", ignore_errors=True)
    return done, done.code == 0 and there


@case("B3", "export onto a file")
def _(bench: Bench) -> Judged:
    bench.begin()
    with _precious(bench) as precious:
        done = bench.export(precious)
        return done, done.refused and precious.read_text() == "precious"


@case("B3", "export into a folder with other files")
def _(bench: Bench) -> Judged:
    bench.begin()
    folder = bench.place / "taken"
    folder.mkdir()
    for name in ("config.json", "notes.txt"):
        (folder / name).write_text("precious")
    done = bench.export(folder)
    kept = all((folder / name).read_text() == "precious" for name in ("config.json", "notes.txt"))
    left = len(list(folder.iterdir()))
    shutil.rmtree(folder)
    return done, done.refused and kept and left == 2


@case("B3", "export onto a full disk")
def _(bench: Bench) -> Judged:
    bench.begin()
    disk = bench.place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "none", disk], check=True)
    try:
        done = bench.export(disk / "model")
    finally:
        subprocess.run(["umount", disk], check=True)
    return done, done.refused


@case("B4", "latest.partial, config.partial and manifests' unfinished names are links to a file of the user's")
def _(bench: Bench) -> Judged:
    bench.begin(25)
    with _precious(bench) as precious:
        for name in ("checkpoints/latest.partial", "config.partial", "checkpoints/latest.tmp", "config.yaml.tmp"):
            (bench.run / name).symlink_to(precious)
        done = bench.train()
        return done, done.code == 0 and bench.is_calm and precious.read_text() == "precious"


@case("B4", "step-30.partial is a link to a folder of the user's")
def _(bench: Bench) -> Judged:
    bench.begin(25)
    with _precious(bench) as precious:
        bench.checkpoint(30).with_name("step-30.partial").symlink_to(precious.parent)
        done = bench.train()
        equal = done.code == 0 and bench.is_calm
        return done, (equal or done.refused) and [path.name for path in precious.parent.iterdir()] == [precious.name]


@damaged("B4", "a manifest names a file of another step by ../, with right hashes", 25)
def _(bench: Bench) -> None:
    def change(values: dict) -> None:  # type: ignore[type-arg]
        del values["files"]["rank-00001.safetensors"]
        values["files"]["../step-20/rank-00001.safetensors"] = hash_of(bench.checkpoint(20) / "rank-00001.safetensors")

    edit(bench.checkpoint(25) / "manifest.json", change, rehash=True)


@contextmanager
def _precious(bench: Bench) -> Iterator[Path]:
    """A file that nobody may touch, alone in its folder."""
    folder = bench.place / "precious"
    folder.mkdir()
    (folder / "file").write_text("precious")
    yield folder / "file"
    shutil.rmtree(folder)
