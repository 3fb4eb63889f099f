"""What any tracker is told at each start, and that none of them can end or hold up the run."""

import logging
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
from tracked import cut_after_six_and_resumed_from_three, record, start

from apollo_ds.training.trackers import trackers
from apollo_ds.training.trackers.follower import Follower
from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.run_id import FILE
from apollo_ds.training.trackers.tracker import TrackedRun


class Memory:
    """Keeps what it is told, over all starts."""

    needs_id: ClassVar[bool] = True
    runs: ClassVar[list[TrackedRun]] = []
    points: ClassVar[list[Point]] = []
    ends: ClassVar[list[bool]] = []

    def start(self, run: TrackedRun) -> str:
        self.runs.append(run)
        return "in [memory]"

    def record(self, point: Point) -> None:
        self.points.append(point)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self, is_finished: bool) -> None:
        self.ends.append(is_finished)


class Broken(Memory):
    """Fails at the third point."""

    told = 0

    def record(self, point: Point) -> None:
        self.told += 1
        if self.told == 3:
            raise ConnectionError("the server [503] is away\nand more")


class Deaf(Memory):
    """Hangs until it is let go, as where a network is gone."""

    let_go = threading.Event()

    def start(self, run: TrackedRun) -> str:
        self.let_go.wait(60)
        return ""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Memory, Broken, Deaf):
        monkeypatch.setitem(trackers._TRACKERS, kind.__name__.lower(), kind)
    for told in (Memory.runs, Memory.points, Memory.ends):
        told.clear()


def steps(tag: str = "loss/train") -> list[int]:
    return [point.step for point in Memory.points if tag in point.scalars]


def test_each_start_tells_the_whole_run_and_that_it_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    cut_after_six_and_resumed_from_three(tmp_path / "demo", "memory")
    first, second = Memory.runs
    assert first == second
    assert first.name == "demo"
    assert first.recipe["method.name"] == "apollo"
    assert steps() == steps("loss/held_out") == [1, 2, 3, 4, 5, 6, *range(1, 9)]
    assert Memory.ends == [False, True]


def test_a_run_that_begins_anew_is_another_run(tmp_path: Path) -> None:
    for _ in range(2):
        metrics = start(tmp_path, "memory")
        record(metrics, 1, 2)
        metrics.close()
    assert Memory.runs[0].id != Memory.runs[1].id
    assert steps() == [1, 2, 1, 2]


def test_a_tracker_that_is_added_later_is_told_the_steps_before(tmp_path: Path) -> None:
    metrics = start(tmp_path, "tensorboard")
    record(metrics, 1, 3)
    kept = metrics.bytes
    metrics.close()
    assert not (tmp_path / FILE).exists()
    metrics = start(tmp_path, "tensorboard", "memory", keep_bytes=kept)
    record(metrics, 4, 5)
    metrics.close()
    assert steps() == [1, 2, 3, 4, 5]


def test_a_growth_before_the_first_step_is_told(tmp_path: Path) -> None:
    metrics = start(tmp_path, "memory")
    metrics.write("growth", step=0, **{"from": 1, "to": 3}, loss_before=4.25, loss_after=4.5)
    metrics.close()
    assert [point.step for point in Memory.points] == [0]


def test_a_run_whose_id_is_lost_gets_another_one(tmp_path: Path) -> None:
    metrics = start(tmp_path, "memory")
    record(metrics, 1, 2)
    kept = metrics.bytes
    metrics.close()
    (tmp_path / FILE).write_text("")
    start(tmp_path, "memory", keep_bytes=kept).close()
    assert "" != Memory.runs[1].id != Memory.runs[0].id


def test_lines_that_a_crash_of_the_machine_cut_short_are_left_out(tmp_path: Path) -> None:
    metrics = start(tmp_path)
    record(metrics, 1, 3)
    kept = metrics.bytes
    metrics.close()
    start(tmp_path, "memory", keep_bytes=kept - 10).close()
    assert (steps(), steps("loss/held_out")) == ([1, 2, 3], [1, 2])


def test_where_it_records_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "apollo_ds"):
        start(tmp_path, "memory").close()
    assert caplog.messages == ["memory: in [memory]"]


def test_one_that_fails_is_told_of_in_one_line_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = start(tmp_path, "broken", "memory")
    record(metrics, 1, 3)
    metrics.secure()
    metrics.close()
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "broken failed: ConnectionError: the server [503] is away; the run goes on without it"
    ]
    assert steps() == [1, 2, 3]
    assert metrics.failure is None


def test_one_that_hangs_holds_up_neither_a_checkpoint_nor_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    follower = Follower("deaf", Deaf(), most_waiting=2)
    begun = time.monotonic()
    follower.start(TrackedRun("demo", tmp_path, "id", {}), ())
    for number in range(5):
        follower.tell(Point(number, 0.0, {"loss/train": 1.0}, {}, {}))
    assert caplog.messages == ["deaf is 2 records behind; the run goes on without it"]
    follower.close(is_finished=True, patience=0.2)
    assert time.monotonic() - begun < 10
    assert len(caplog.messages) == 1
    Deaf.let_go.set()


def test_one_that_does_not_end_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Deaf.let_go.clear()
    follower = Follower("deaf", Deaf())
    follower.start(TrackedRun("demo", tmp_path, "id", {}), ())
    follower.close(is_finished=True, patience=0.2)
    (line,) = caplog.messages
    assert line == "deaf is still busy after 0.2 s; what it has not sent is in metrics.jsonl"
    Deaf.let_go.set()
