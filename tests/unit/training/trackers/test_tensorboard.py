"""TensorBoard has each step once over every axis, in one run, however often the run was cut short."""

import errno
from pathlib import Path
from unittest.mock import patch

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter
from tracked import cut_after_six_and_resumed_from_three, record, start, step

_SAMPLES = [{"prompt": "The cat", "text": " sees."}, {"prompt": "a [MASK] dog", "text": "a big dog"}]
_AXES = {"loss": 1, "loss_by_tokens": 1000, "loss_by_gflop": 1_000_000}


def recorded(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


@pytest.mark.parametrize("group", _AXES)
def test_each_step_is_there_once_over_each_axis(group: str, tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path, "tensorboard")
    for tag, values in (("train", [5 - n / 8 for n in range(1, 9)]), ("held_out", list(range(1, 9)))):
        points = recorded(tmp_path).Scalars(f"{group}/{tag}")
        assert [(point.step, point.value) for point in points] == [
            (number * _AXES[group], value) for number, value in enumerate(values, 1)
        ]


def test_no_scalar_loses_points_when_a_run_is_resumed(tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path, "tensorboard")
    found = recorded(tmp_path)
    points = {tag: len(found.Scalars(tag)) for tag in found.Tags()["scalars"]}
    assert points == dict.fromkeys(points, 8)


def test_losses_come_first_and_all_is_one_run(tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path, "tensorboard")
    groups = [tag.split("/")[0] for tag in sorted(recorded(tmp_path).Tags()["scalars"])]
    assert list(dict.fromkeys(groups)) == ["loss", "loss_by_gflop", "loss_by_tokens", "model", "optimizer", "speed"]
    assert [path.parent for path in tmp_path.rglob("*tfevents*")] == [tmp_path]


def test_the_relative_axis_is_the_time_that_the_run_has_trained(tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path, "tensorboard")
    points = recorded(tmp_path).Scalars("loss/train")
    assert [point.wall_time - points[0].wall_time for point in points] == pytest.approx(
        [10.0 * number for number in range(8)], abs=0.1
    )


def test_a_run_that_saved_nothing_begins_anew(tmp_path: Path) -> None:
    for last in (3, 2):
        metrics = start(tmp_path, "tensorboard")
        record(metrics, 1, last)
        metrics.close()
    assert [point.step for point in recorded(tmp_path).Scalars("loss/train")] == [1, 2]


def test_what_an_earlier_version_wrote_over_other_axes_is_no_run_any_more(tmp_path: Path) -> None:
    for axis in ("by_tokens", "by_gflop", "by_seconds"):
        (tmp_path / axis).mkdir()
        (tmp_path / axis / "events.out.tfevents.1795932217.host.24486.1").write_bytes(b"old")
    (tmp_path / "by_seconds" / "notes.txt").write_text("not ours")
    metrics = start(tmp_path, "tensorboard")
    record(metrics, 1, 1)
    metrics.close()
    assert [path.parent for path in tmp_path.rglob("*tfevents*")] == [tmp_path]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["by_seconds"]


def test_the_rate_of_what_is_new_is_there_while_it_is_another(tmp_path: Path) -> None:
    metrics = start(tmp_path, "tensorboard")
    for number in range(1, 5):
        metrics.write("step", **step(number, **({"new_lr": 0.25} if number > 2 else {})))
    metrics.close()
    found = recorded(tmp_path).Scalars("optimizer/new_learning_rate")
    assert [(event.step, event.value) for event in found] == [(3, 0.25), (4, 0.25)]


def test_each_text_has_its_own_losses(tmp_path: Path) -> None:
    metrics = start(tmp_path, "tensorboard")
    record(metrics, 1, 2, losses={"law": 2.0}, bits_per_byte=1.0, bits_per_byte_of={"law": 0.5})
    metrics.close()
    found = recorded(tmp_path)
    for tag, value in {
        "loss_of_text/law": 2.0,
        "loss_of_text_bits_per_byte/law": 0.5,
        "loss/held_out_bits_per_byte": 1.0,
    }.items():
        assert [point.value for point in found.Scalars(tag)] == [value, value]


def test_a_growth_and_samples_are_texts(tmp_path: Path) -> None:
    metrics = start(tmp_path, "tensorboard")
    metrics.write("growth", step=0, **{"from": 1, "to": 3}, loss_before=4.25, loss_after=float("inf"))
    metrics.write("samples", step=5, samples=_SAMPLES)
    metrics.close()
    texts = {tag: recorded(tmp_path).Tensors(f"{tag}/text_summary")[0] for tag in ("growth", "samples")}
    assert {tag: (text.step, text.tensor_proto.string_val[0].decode()) for tag, text in texts.items()} == {
        "growth": (0, "1 -> 3 layers, held-out loss 4.2500 -> not finite"),
        "samples": (5, "**The cat** sees.\n\n---\n\n**a [MASK] dog**\n\na big dog"),
    }


def test_the_recipe_is_there_as_hyper_parameters(tmp_path: Path) -> None:
    start(tmp_path, "tensorboard").close()
    content = recorded(tmp_path).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    parameters = HParamsPluginData.FromString(content).session_start_info.hparams
    assert parameters["steps"].number_value == 8
    assert parameters["model.num_layers"].number_value == 6
    assert parameters["method.name"].string_value == "apollo"
    assert parameters["adam_betas"].string_value == "[0.9, 0.98]"
    assert parameters["init_from"].string_value == "none"


def test_a_disk_that_it_fills_is_told_of_once_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = start(tmp_path, "tensorboard")
    with patch.object(RecordWriter, "write", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        record(metrics, 1, 3)
        metrics.secure()
        metrics.close()
    (line,) = caplog.messages
    assert line.startswith("tensorboard failed: OSError: ")
    assert line.endswith("No space left on device; the run goes on without it")
    kept = (tmp_path / "metrics.jsonl").stat().st_size
    start(tmp_path, "tensorboard", keep_bytes=kept).close()
    assert [point.step for point in recorded(tmp_path).Scalars("loss/train")] == [1, 2, 3]
