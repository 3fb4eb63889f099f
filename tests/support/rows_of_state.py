"""A1 to A8: state that is damaged, mixed up or gone."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from corpora import write_real_text
from launching import free_port, ranks_of, start
from rows import Judged, case, damaged
from run_bench import RANKS, STEPS, Bench, Done, edit, ended, flip, in_namespace, lines_of
from shared_memory import shared_memory

from apollo_ds.errors import EXIT_STOPPED, EXIT_USER_ERROR


def _weights(bench: Bench, step: int) -> Path:
    return bench.checkpoint(step) / "rank-00001.safetensors"


@damaged("A1", "mkdir -p checkpoints/step-99 in a new folder, keep_checkpoints=1", 0, "keep_checkpoints=1")
def _(bench: Bench) -> None:
    bench.checkpoint(99).mkdir(parents=True)


@damaged("A1", "an empty step-99 beside sound ones, keep_checkpoints=1", 25, "keep_checkpoints=1", refuses=False)
def _(bench: Bench) -> None:
    bench.checkpoint(99).mkdir()


@damaged("A1", "a flipped bit in step-25, keep_checkpoints=1", 25, "keep_checkpoints=1", refuses=False)
def _(bench: Bench) -> None:
    flip(_weights(bench, 25))


@damaged("A1", "all checkpoints damaged", 10, refuses=True)
def _(bench: Bench) -> None:
    for step in (5, 10):
        flip(_weights(bench, step))


@case("A1", "a flipped bit in step-25, keep_checkpoints=1, killed after the next save: a save is left")
def _(bench: Bench) -> Judged:
    bench.begin(25)
    flip(_weights(bench, 25))
    running = bench.train_until(4, "keep_checkpoints=1")
    os.killpg(running.pid, signal.SIGKILL)
    ended(running)
    left = bench.sound
    done = bench.train("keep_checkpoints=1")
    return done, left >= 20 and done.code == 0 and bench.is_calm


@case("A1", "three damaged newest, keep_checkpoints=1, SIGTERM: the save that it speaks of is there")
def _(bench: Bench) -> Judged:
    bench.begin(30)
    for step in (20, 25, 30):
        flip(_weights(bench, step))
    running = bench.train_until(2, "keep_checkpoints=1")
    running.send_signal(signal.SIGTERM)
    done = ended(running)
    saved = bench.sound
    again = bench.train("keep_checkpoints=1")
    return done, done.code == EXIT_STOPPED and saved > 15 and again.code == 0 and bench.is_calm


@damaged("A2", "memory.skipped_tokens 0 -> 4 in a manifest", 25, refuses=False)
def _(bench: Bench) -> None:
    edit(bench.checkpoint(25) / "manifest.json", lambda values: values["memory"].update(skipped_tokens=4))


@damaged("A2", "course.stage_steps of the first stage + 1 in a manifest", 25, refuses=False)
def _(bench: Bench) -> None:
    def change(values: dict) -> None:  # type: ignore[type-arg]
        values["course"]["stage_steps"][0] += 1

    edit(bench.checkpoint(25) / "manifest.json", change)


@damaged("A2", "totals.step is text, with a right hash", 25)
def _(bench: Bench) -> None:
    edit(bench.checkpoint(25) / "manifest.json", lambda values: values["totals"].update(step="many"), rehash=True)


@damaged("A2", "format 99, with a right hash", 25)
def _(bench: Bench) -> None:
    edit(bench.checkpoint(25) / "manifest.json", lambda values: values.update(format=99), rehash=True)


@damaged("A2", "the files lack a rank, with a right hash", 25)
def _(bench: Bench) -> None:
    manifest = bench.checkpoint(25) / "manifest.json"
    edit(manifest, lambda values: values["files"].pop("rank-00001.safetensors"), rehash=True)


@case("A3", "two jobs with two learning rates start at once in one folder")
def _(bench: Bench) -> Judged:
    bench.begin(0)
    jobs = [start(*bench.command(f"learning_rate={rate}")) for rate in ("0.003", "0.002")]
    dones = [ended(job) for job in jobs]
    refused = next((done for done in dones if done.code), dones[0])
    return refused, sorted(done.code for done in dones) == [0, EXIT_USER_ERROR] and refused.refused


@case("A3", "a job, and an export from its folder at once")
def _(bench: Bench) -> Judged:
    bench.begin(25)
    running = bench.train_until(2)
    exported = bench.export(bench.place / "beside")
    done = ended(running)
    shutil.rmtree(bench.place / "beside", ignore_errors=True)
    return exported, exported.code == 0 and done.code == 0 and bench.is_calm


def _other_text(bench: Bench) -> Path:
    folder = bench.place / "other-text"
    if not folder.exists():
        write_real_text(bench.place / "other.jsonl")
        words = ["--source", bench.place / "other.jsonl", "--tokenizer", "bpe", "--vocab-size", "300", "--out", folder]
        subprocess.run([sys.executable, "-m", "data_prep", "build", *words], check=True, capture_output=True)
    return folder


@case("A4", "resume with data= of another tokenizer of the same size")
def _(bench: Bench) -> Judged:
    bench.begin(25)
    before = (bench.run / "config.yaml").read_bytes()
    done = bench.train(f"data={_other_text(bench)}")
    return done, done.refused and (bench.run / "config.yaml").read_bytes() == before


@damaged("A4", "another tokenizer's text in the same folder", 25, refuses=True)
def _(bench: Bench) -> None:
    shutil.rmtree(bench.text)
    shutil.copytree(_other_text(bench), bench.text)


@damaged("A4", "config.yaml deleted, another learning rate", 25, "learning_rate=0.002", refuses=True)
def _(bench: Bench) -> None:
    (bench.run / "config.yaml").unlink()


@damaged("A4", "config.yaml deleted", 25)
def _(bench: Bench) -> None:
    (bench.run / "config.yaml").unlink()


@case("A4", "export, with another tokenizer in the data folder")
def _(bench: Bench) -> Judged:
    bench.begin()
    shutil.rmtree(bench.text)
    shutil.copytree(_other_text(bench), bench.text)
    done = bench.export(bench.place / "of-other-text")
    return done, done.refused and not (bench.place / "of-other-text").exists()


@case("A5", "rank 1 does not see step-30")
def _(bench: Bench) -> Judged:
    bench.begin(30)
    words = [sys.executable, "-m", "apollo_ds", "train", str(bench.recipe_file), f"out={bench.run}"]
    shared = {"WORLD_SIZE": RANKS, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    hidden = f"mount -t tmpfs none {bench.checkpoint(30)}"
    ranks = [
        in_namespace(mount, words, RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank, mount in enumerate(["true", hidden])
    ]
    first, second = (ended(rank) for rank in ranks)
    equal = first.code == second.code == 0 and bench.is_calm
    resumed = {event["step"] for event in lines_of(bench.run / "metrics.jsonl") if event["event"] == "resume"}
    both = Done(max(first.code, second.code), first.output + second.output)
    return both, equal or (both.refused and first.code == EXIT_USER_ERROR and not resumed - {25, 30})


@case("A6", "kill -9 of everything, then the same command: what is left in /dev/shm")
def _(bench: Bench) -> Judged:
    bench.begin(25)
    before = shared_memory()
    running = bench.train_until(2)
    ranks = ranks_of(bench.run)
    running.kill()
    for rank in ranks:
        rank.kill()
    ended(running)
    done = bench.train()
    left = shared_memory() - before
    return Done(done.code, f"{done.output}\napollo-ds warns: left in /dev/shm: {len(left)} files"), not left and (
        done.code == 0 and bench.is_calm
    )


@case("A7", "/dev/shm of 64 MB")
def _(bench: Bench) -> Judged:
    bench.begin(0)
    done = ended(in_namespace("mount -t tmpfs -o size=64m none /dev/shm", bench.command()))
    return done, done.code == 0 and bench.is_calm  # nothing is kept there


@damaged("A8", "metrics.jsonl cut in half", 25, refuses=True, names="metrics.jsonl")
def _(bench: Bench) -> None:
    os.truncate(bench.run / "metrics.jsonl", 3000)


@case("A8", "metrics.jsonl deleted")
def _(bench: Bench) -> Judged:
    bench.begin(25)
    (bench.run / "metrics.jsonl").unlink()
    done = bench.train()
    return done, done.code == 0 and "metrics.jsonl: is gone; the run goes on without" in " ".join(done.output.split())


@damaged("A8", "one digit of metrics.jsonl changed", 25, refuses=True, names="metrics.jsonl")
def _(bench: Bench) -> None:
    metrics = bench.run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"lr": 0.00', '"lr": 0.01', 1))


@damaged("A8", "one digit of metrics.jsonl of a finished run changed", STEPS, refuses=True, names="metrics.jsonl")
def _(bench: Bench) -> None:
    metrics = bench.run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"lr": 0.00', '"lr": 0.01', 1))
