"""What a run records: JSON lines, each step once however often the run was cut short."""

import errno
import json
import os
import threading
import time
from pathlib import Path

import pytest
import xxhash

from apollo_ds.experiments.events import read_metrics
from apollo_ds.training.metrics import Metrics
from apollo_ds.training.trackers.trackers import Trackers


def opened(folder: Path, keep_bytes: int = 0) -> Metrics:
    return Metrics(folder, keep_bytes, Trackers(folder, {}, ()))


def step(number: int) -> dict[str, float]:
    return {"step": number, "loss": 5 - number / 10, "tokens": number * 1000}


def cut_after_six_and_resumed_from_three(folder: Path) -> None:
    """Steps 1 to 6, a checkpoint at 3; then from 3 to 8."""
    metrics = opened(folder)
    for number in range(1, 7):
        metrics.write("step", **step(number))
        if number == 3:
            kept = metrics.bytes
    metrics.close()
    metrics = opened(folder, keep_bytes=kept)
    metrics.write("resume", step=3, ranks=2)
    for number in range(4, 9):
        metrics.write("step", **step(number))
    metrics.close()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    metrics = opened(tmp_path)
    metrics.write("start", step=0, ranks=2, method="apollo")
    metrics.write("step", **step(1))
    metrics.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"event": "start", "step": 0, "ranks": 2, "method": "apollo"},
        {"event": "step", **step(1)},
    ]


def test_numbers_keep_the_digits_of_fp32(tmp_path: Path) -> None:
    metrics = opened(tmp_path)
    metrics.write("end", loss=1 / 3, step=123_456_789_012, seconds=0.1 + 0.2)
    metrics.close()
    line = (tmp_path / "metrics.jsonl").read_text()
    assert line == '{"event": "end", "loss": 0.333333333, "step": 123456789012, "seconds": 0.3}\n'


def test_length_and_hash_are_those_of_the_file_also_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for keep in (0, 40):
        metrics = opened(tmp_path, keep_bytes=keep)
        metrics.write("step", **step(1))
        metrics.flush()
        assert metrics.bytes == path.stat().st_size > keep
        assert metrics.hash == xxhash.xxh3_128_hexdigest(path.read_bytes())
        metrics.close()


def test_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path)
    events = read_metrics(tmp_path / "metrics.jsonl")
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 9))
    assert [event["event"] for event in events].count("resume") == 1
    assert events[3] == {"event": "resume", "step": 3, "ranks": 2}


def test_a_run_that_saved_nothing_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        metrics = opened(tmp_path)
        metrics.write("step", **step(1))
        metrics.close()
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


@pytest.mark.parametrize("rest", [b'{"event": "step", "st', b"{", b""])
def test_a_line_that_a_crash_cut_short_is_ignored(rest: bytes, tmp_path: Path) -> None:
    whole = json.dumps({"event": "step", "step": 1}).encode()
    (tmp_path / "metrics.jsonl").write_bytes(whole + b"\n" + rest)
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"event": "step", "step": 1}]


def test_metrics_that_a_crash_of_the_machine_lost_leave_a_readable_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"event": "start", "step": 0}\n')
    metrics = opened(tmp_path, keep_bytes=500)  # what the checkpoint saw was longer
    metrics.write("resume", step=3)
    metrics.close()
    assert [event["event"] for event in read_metrics(tmp_path / "metrics.jsonl")] == ["start", "resume"]


class SlowDisk:
    """A disk that answers no fsync until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.synced = 0
        self._fsync = os.fsync

    def fsync(self, descriptor: int) -> None:
        self.let_go.wait(10)
        self._fsync(descriptor)
        self.synced += 1


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    disk = SlowDisk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


def test_the_loop_does_not_wait_for_a_slow_disk_which_syncs_once_for_all_it_is_behind(
    tmp_path: Path, slow_disk: SlowDisk
) -> None:
    metrics = opened(tmp_path)
    begun = time.monotonic()
    for number in range(1, 9):
        metrics.write("step", **step(number))
        metrics.flush()
    assert time.monotonic() - begun < 5
    slow_disk.let_go.set()
    metrics.secure()
    assert slow_disk.synced <= 3
    metrics.close()


def test_what_a_checkpoint_names_is_waited_for(tmp_path: Path, slow_disk: SlowDisk) -> None:
    metrics = opened(tmp_path)
    metrics.write("step", **step(1))
    saving = threading.Thread(target=metrics.secure)
    saving.start()
    saving.join(0.3)
    assert saving.is_alive()
    slow_disk.let_go.set()
    saving.join()
    assert slow_disk.synced
    metrics.close()


def test_a_disk_that_falls_far_behind_holds_up_the_loop_and_nothing_is_lost(
    tmp_path: Path, slow_disk: SlowDisk
) -> None:
    metrics = opened(tmp_path)
    metrics.flush()
    loop = threading.Thread(target=lambda: [metrics.write("note", step=number) for number in range(2000)])
    loop.start()
    loop.join(0.5)
    assert loop.is_alive()
    slow_disk.let_go.set()
    loop.join()
    assert metrics.bytes == (tmp_path / "metrics.jsonl").stat().st_size
    metrics.close()
    assert [event["step"] for event in read_metrics(tmp_path / "metrics.jsonl")] == list(range(2000))


def test_a_disk_that_fails_is_told_of_without_asking_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    metrics = opened(tmp_path)
    metrics.write("step", **step(1))
    kept = metrics.bytes
    monkeypatch.setattr(os, "fsync", fails)
    metrics.flush()
    metrics.write("step", **step(2))
    assert metrics.bytes == kept == (tmp_path / "metrics.jsonl").stat().st_size
    assert str(metrics.failure).startswith(f"{tmp_path / 'metrics.jsonl'}: cannot be written: Input/output error; free")
    metrics.close()


def test_a_fault_of_our_own_in_writing_is_raised_where_the_loop_waits(tmp_path: Path) -> None:
    metrics = opened(tmp_path)
    metrics.write("growth", step=1)  # without what a growth records
    with pytest.raises(KeyError):
        metrics.secure()
