"""What a run records: JSON lines and TensorBoard scalars, each step once however often the run was cut short."""

import errno
import json
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import pytest
import xxhash
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from apollo_ds.errors import UserError
from apollo_ds.experiments.events import read_metrics
from apollo_ds.schedule.totals import Totals
from apollo_ds.training.metrics import Metrics


def step(number: int) -> dict[str, float]:
    return {
        "step": number,
        "loss": 5 - number / 10,
        "lr": 1e-3,
        "grad_norm": 1.5,
        "depth": 3,
        "unique_layers": 1,
        "tokens_per_second": 1e4,
        "tokens": totals(number).tokens,
        "flops": totals(number).flops,
        "seconds": totals(number).seconds,
    }


def totals(number: int) -> Totals:
    return Totals(step=number, tokens=number * 1000, flops=number * 1e15, seconds=number * 10.0)


def cut_after_six_and_resumed_from_three(folder: Path) -> None:
    """Steps 1 to 6, a checkpoint at 3, held-out losses at each step; then from 3 to 8."""
    metrics = Metrics(folder, keep_bytes=0, totals=Totals())
    for number in range(1, 7):
        metrics.write("step", **step(number))
        metrics.write("eval", **asdict(totals(number)), loss=float(number))
        if number == 3:
            kept = metrics.bytes
    metrics.close()
    metrics = Metrics(folder, keep_bytes=kept, totals=totals(3))
    metrics.write("resume", step=3, ranks=2)
    for number in range(4, 9):
        metrics.write("step", **step(number))
        metrics.write("eval", **asdict(totals(number)), loss=float(number))
    metrics.close()


def scalars(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
    metrics.write("start", step=0, ranks=2, method="apollo")
    metrics.write("step", **step(1))
    metrics.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"event": "start", "step": 0, "ranks": 2, "method": "apollo"},
        {"event": "step", **step(1)},
    ]


def test_numbers_keep_the_digits_of_fp32(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
    metrics.write("end", loss=1 / 3, step=123_456_789_012, seconds=0.1 + 0.2)
    metrics.close()
    line = (tmp_path / "metrics.jsonl").read_text()
    assert line == '{"event": "end", "loss": 0.333333333, "step": 123456789012, "seconds": 0.3}\n'


def test_length_and_hash_are_those_of_the_file_also_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for keep in (0, 40):
        metrics = Metrics(tmp_path, keep_bytes=keep, totals=Totals())
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
    assert events[6] == {"event": "resume", "step": 3, "ranks": 2}


def test_a_run_that_saved_nothing_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
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
    metrics = Metrics(tmp_path, keep_bytes=500, totals=totals(3))  # what the checkpoint saw was longer
    metrics.write("resume", step=3)
    metrics.close()
    assert [event["event"] for event in read_metrics(tmp_path / "metrics.jsonl")] == ["start", "resume"]


def test_tensorboard_has_each_step_once(tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path)
    recorded = scalars(tmp_path)
    for tag in ("loss/train", "loss/held_out", "optimizer/learning_rate", "optimizer/grad_norm", "growth/depth"):
        assert [event.step for event in recorded.Scalars(tag)] == list(range(1, 9)), tag
    assert [event.value for event in recorded.Scalars("loss/train")] == pytest.approx([5 - n / 10 for n in range(1, 9)])


def test_tensorboard_has_the_rate_of_what_is_new_while_it_is_another(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
    for number in range(1, 5):
        metrics.write("step", **step(number), **({"new_lr": 1.3e-3} if number > 2 else {}))
    metrics.close()
    found = [(event.step, event.value) for event in scalars(tmp_path).Scalars("optimizer/new_learning_rate")]
    assert found == [(3, pytest.approx(1.3e-3)), (4, pytest.approx(1.3e-3))]


def test_tensorboard_of_a_run_that_saved_nothing_begins_anew(tmp_path: Path) -> None:
    for losses in ((5.0, 4.0, 3.0), (5.0, 4.5)):
        metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
        for number, loss in enumerate(losses, 1):
            metrics.write("step", **{**step(number), "loss": loss})
        metrics.close()
    assert [(event.step, event.value) for event in scalars(tmp_path).Scalars("loss/train")] == [(1, 5.0), (2, 4.5)]


def test_no_tensorboard_scalar_loses_points_when_a_run_is_resumed(tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path)
    recorded = scalars(tmp_path)
    points = {tag: len(recorded.Scalars(tag)) for tag in recorded.Tags()["scalars"]}
    assert points == dict.fromkeys(points, 8)


def test_a_growth_is_a_text_in_tensorboard(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
    metrics.write("growth", step=5, **{"from": 1, "to": 3}, loss_before=4.25, loss_after=4.5)
    metrics.close()
    (event,) = scalars(tmp_path).Tensors("growth/text_summary")
    assert event.step == 5
    assert event.tensor_proto.string_val[0] == b"1 -> 3 layers, held-out loss 4.2500 -> 4.5000"


@pytest.mark.parametrize(("axis", "unit"), [("tokens", 1000), ("gflop", 1_000_000), ("seconds", 10)])
def test_losses_over_other_axes_are_there_once_after_a_resume(axis: str, unit: int, tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path)
    recorded = scalars(tmp_path / f"by_{axis}")
    for loss in ("train", "held_out"):
        points = [event.step for event in recorded.Scalars(f"loss_by_{axis}/{loss}")]
        assert points == [number * unit for number in range(1, 9)]


def test_the_recipe_is_there_as_hyper_parameters(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
    metrics.describe({"method": {"name": "apollo"}, "steps": 600, "adam_betas": [0.9, 0.98]})
    metrics.close()
    content = scalars(tmp_path).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    parameters = HParamsPluginData.FromString(content).session_start_info.hparams
    assert parameters["steps"].number_value == 600
    assert parameters["method"].string_value == "{'name': 'apollo'}"


def test_a_disk_that_tensorboard_fills_is_told_of_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # not pytest's
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
    with patch.object(RecordWriter, "write", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        metrics.write("step", **step(1))
        with pytest.raises(UserError, match="No space left on device"):
            metrics.secure()
    assert "No space left on device" in str(metrics.failure)
    assert capfd.readouterr().err == ""
    metrics.close()


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
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
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
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
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
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
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

    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
    metrics.write("step", **step(1))
    kept = metrics.bytes
    monkeypatch.setattr(os, "fsync", fails)
    metrics.flush()
    metrics.write("step", **step(2))
    assert metrics.bytes == kept == (tmp_path / "metrics.jsonl").stat().st_size
    assert str(metrics.failure).startswith(f"{tmp_path / 'metrics.jsonl'}: cannot be written: Input/output error; free")
    metrics.close()


def test_a_fault_of_our_own_in_writing_is_raised_where_the_loop_waits(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, keep_bytes=0, totals=Totals())
    metrics.write("growth", step=1)  # without what a growth records
    with pytest.raises(KeyError):
        metrics.secure()
