"""Track a run with MLflow. MLFLOW_TRACKING_URI names the server or folder that stores it."""

import logging
import os
import re
from typing import TYPE_CHECKING, ClassVar

from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import Metric

_EXPERIMENT = "apollo_ds"
_RUN = "apollo_ds.run"
"""The tag with the run's id, by which a later start finds the run. MLflow gives runs other ids of its own."""
_TOLD = "apollo_ds.told"
"""The tag with the last step that was sent completely."""
_MOST_METRICS = 900
"""The most metrics in one request. MLflow allows a thousand, tags included."""
_MOST_PARAMETERS = 100
_LONGEST_VALUE = 6000
"""Characters."""


class MLflow:
    """Logs to one run of MLflow, and continues it when the run resumes.

    MLflow stores a step twice if it is sent twice. So a step is sent when the next one begins, together with a tag that
    says so. A later start reads the tag, and sends only later steps.
    """

    needs_id: ClassVar[bool] = True

    def start(self, run: TrackedRun) -> str:
        """Begin the run, or continue the one with the same id. Returns where it can be seen."""
        where = os.environ["MLFLOW_TRACKING_URI"]
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow refuses a folder without it
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns about each try; a final failure is told once
        from mlflow import MlflowClient

        self._client = MlflowClient(where)
        self._pending: dict[tuple[int, str], Metric] = {}
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT))
        found = self._client.search_runs([experiment], f"tags.`{_RUN}` = '{run.id}'")
        if found:
            self._run = found[0].info.run_id
            self._told = int(found[0].data.tags.get(_TOLD, -1))
            self._client.update_run(self._run, status="RUNNING")
        else:
            self._run = self._client.create_run(experiment, tags={_RUN: run.id}, run_name=run.name).info.run_id
            self._told = -1
            self._log_recipe(run)
        return f"run {self._run} at {where}"

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another run has just created the experiment
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _log_recipe(self, run: TrackedRun) -> None:
        from mlflow.entities import Param

        parameters = [Param(key, str(value)[:_LONGEST_VALUE]) for key, value in run.recipe.items()]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[first : first + _MOST_PARAMETERS])

    def record(self, point: Point) -> None:
        """Keep a point's values until a later step arrives; write its texts at once."""
        from mlflow.entities import Metric

        for tag, text in point.texts.items():  # a file, equal to that of an earlier start
            self._client.log_text(self._run, text, f"{tag}/step-{point.step}.md")
        if point.step > self._told:
            values = {**point.scalars, **{f"progress/{key}": value for key, value in point.progress.items()}}
            milliseconds = int(point.time * 1000)
            for tag, value in values.items():  # a step and its evaluation have the same progress
                self._pending[point.step, tag] = Metric(_name(tag), value, milliseconds, point.step)

    def flush(self) -> None:
        """Send the values of all steps but the last, which may still get more."""
        self._send(below=max((step for step, _ in self._pending), default=0))

    def close(self, is_finished: bool) -> None:
        """Send the remaining values, and mark the run as finished or stopped."""
        self._send(below=max((step for step, _ in self._pending), default=0) + 1)
        self._client.set_terminated(self._run, "FINISHED" if is_finished else "KILLED")

    def _send(self, below: int) -> None:
        """Send the waiting values of steps below `below`, together with the tag that says so."""
        from mlflow.entities import RunTag

        ready = [metric for (step, _), metric in self._pending.items() if step < below]
        self._pending = {key: metric for key, metric in self._pending.items() if key[0] >= below}
        for first in range(0, len(ready), _MOST_METRICS):
            batch, is_last = ready[first : first + _MOST_METRICS], first + _MOST_METRICS >= len(ready)
            told = batch[-1].step if is_last else batch[-1].step - 1  # the next batch may have the rest of that step
            self._client.log_batch(self._run, metrics=batch, tags=[RunTag(_TOLD, str(told))])


def _name(tag: str) -> str:
    """Replace the characters that MLflow does not allow. Names of held-out texts may have them."""
    return re.sub(r"[^\w\-. /]", "_", tag)
