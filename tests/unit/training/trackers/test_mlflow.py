"""MLflow has each step once, however often the run was cut short. A stand-in shows it, and MLflow if installed."""

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tracked import cut_after_six_and_resumed_from_three, record, start, used

_STEPS = list(range(1, 9))


@dataclass
class Store:
    """What a stand-in of MLflow was told, in the form of its client."""

    where: str
    runs: list[SimpleNamespace] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    largest: int = 0

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id="7") if self.runs else None

    def create_experiment(self, name: str) -> str:
        assert name == "apollo_ds"
        return "7"

    def search_runs(self, experiments: list[str], condition: str) -> list[SimpleNamespace]:
        assert experiments == ["7"]
        return [run for run in self.runs if condition == f"tags.`apollo_ds.run` = '{run.data.tags['apollo_ds.run']}'"]

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> SimpleNamespace:
        info = SimpleNamespace(run_id=f"{run_name}-{len(self.runs)}", status="RUNNING")
        self.runs.append(SimpleNamespace(info=info, data=SimpleNamespace(tags=dict(tags))))
        return self.runs[-1]

    def update_run(self, run: str, status: str) -> None:
        self._of(run).info.status = status

    set_terminated = update_run

    def log_batch(self, run: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        self.largest = max(self.largest, len(metrics) + len(params) + len(tags))
        self.metrics += metrics
        self.parameters |= {parameter.key: parameter.value for parameter in params}
        self._of(run).data.tags |= {tag.key: tag.value for tag in tags}

    def log_text(self, run: str, text: str, path: str) -> None:
        self.files[path] = text

    def _of(self, name: str) -> SimpleNamespace:
        (found,) = (run for run in self.runs if run.info.run_id == name)
        return found


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    made = Store("http://server")
    module, entities, exceptions = (ModuleType(f"mlflow{name}") for name in ("", ".entities", ".exceptions"))
    module.MlflowClient = lambda where: made if where == made.where else None  # type: ignore[attr-defined]
    keys = {"Metric": ("key", "value", "timestamp", "step"), "Param": ("key", "value"), "RunTag": ("key", "value")}
    for kind, names in keys.items():
        setattr(entities, kind, lambda *values, names=names: SimpleNamespace(**dict(zip(names, values, strict=True))))
    exceptions.MlflowException = RuntimeError  # type: ignore[attr-defined]
    for each in (module, entities, exceptions):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return made


def steps(store: Store, tag: str) -> list[int]:
    return [metric.step for metric in store.metrics if metric.key == tag]


def test_each_step_is_there_once_in_one_run(store: Store, tmp_path: Path) -> None:
    cut_after_six_and_resumed_from_three(tmp_path, "mlflow")
    assert [run.info.status for run in store.runs] == ["FINISHED"]
    for tag in ("loss/train", "loss/held_out", "model/depth", "progress/seconds"):
        assert steps(store, tag) == _STEPS, tag
    first, second, *_, last = (metric for metric in store.metrics if metric.key == "progress/tokens")
    assert (first.value, last.value, second.timestamp - first.timestamp) == (1000, 8000, 10_000)
    assert store.parameters["method.name"] == "apollo"


def test_a_run_that_stopped_is_not_finished(store: Store, tmp_path: Path) -> None:
    metrics = start(tmp_path, "mlflow")
    record(metrics, 1, 2)
    metrics.close()
    assert store.runs[0].info.status == "KILLED"
    assert steps(store, "loss/held_out") == [1, 2]


def test_a_step_of_which_an_evaluation_is_missing_is_sent_when_that_is_there(store: Store, tmp_path: Path) -> None:
    metrics = start(tmp_path, "mlflow")
    record(metrics, 1, 3)
    metrics.secure()
    kept = metrics.bytes  # and now the process is killed
    metrics._trackers._followers[0]._thread.close()
    assert steps(store, "loss/train") == steps(store, "loss/held_out") == [1, 2]
    metrics = start(tmp_path, "mlflow", keep_bytes=kept)
    record(metrics, 4, 4)
    metrics.close()
    assert steps(store, "loss/train") == steps(store, "loss/held_out") == [1, 2, 3, 4]


def test_growths_and_samples_are_files(store: Store, tmp_path: Path) -> None:
    metrics = start(tmp_path, "mlflow")
    metrics.write("growth", step=0, **{"from": 1, "to": 3}, loss_before=4.25, loss_after=4.5)
    metrics.write("samples", step=5, samples=[{"prompt": "The cat", "text": " sees."}])
    metrics.close()
    assert store.files == {
        "growth/step-0.md": "1 -> 3 layers, held-out loss 4.2500 -> 4.5000",
        "samples/step-5.md": "**The cat** sees.",
    }


def test_a_long_run_is_sent_in_requests_of_a_size_that_servers_take(store: Store, tmp_path: Path) -> None:
    metrics = start(tmp_path)
    record(metrics, 1, 400)
    kept = metrics.bytes
    metrics.close()
    start(tmp_path, "mlflow", keep_bytes=kept).close()
    assert steps(store, "loss/train") == list(range(1, 401))
    assert store.largest <= 1000


def test_names_of_texts_are_in_characters_that_it_takes(store: Store, tmp_path: Path) -> None:
    metrics = start(tmp_path, "mlflow")
    metrics.write("eval", step=1, **used(1), loss=2.0, losses={"law (old)": 3.0})
    metrics.close()
    assert steps(store, "loss_of_text/law _old_") == [1]


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed")
def test_a_folder_of_mlflow_has_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/store")
    folder = tmp_path / "demo"
    folder.mkdir()
    cut_after_six_and_resumed_from_three(folder, "mlflow")
    from mlflow import MlflowClient

    client = MlflowClient(f"file:{tmp_path}/store")
    experiment = client.get_experiment_by_name("apollo_ds")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["model.num_layers"]) == ("demo", "FINISHED", "6")
    for tag in ("loss/train", "loss/held_out"):
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, tag)] == _STEPS
