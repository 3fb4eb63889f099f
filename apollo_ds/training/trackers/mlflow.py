"""MLflow. It records where MLFLOW_TRACKING_URI says, on a server or in a folder."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import Metric

_EXPERIMENT = "apollo_ds"
_TAG = "apollo_ds.run"
"""The tag by which a later start finds its run: MLflow gives runs ids of its own."""
_MOST_METRICS = 1000
"""That one request may hold."""
_MOST_PARAMETERS = 100
_LONGEST_VALUE = 6000
"""Characters."""


class MLflow:
    """Logs to one run of MLflow, and goes on in it when the run goes on."""

    begins_anew: ClassVar[bool] = False

    def start(self, run: TrackedRun) -> str:
        """See `Tracker`."""
        where = os.environ["MLFLOW_TRACKING_URI"]
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is refused without it
        from mlflow import MlflowClient

        self._client = MlflowClient(where)
        self._pending: list[Metric] = []
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT))
        found = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{run.id}'")
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            self._run = self._client.create_run(experiment, tags={_TAG: run.id}, run_name=run.name).info.run_id
            self._log_recipe(run)
        return f"run {self._run} at {where}"

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another run has just created it
            if found := self._client.get_experiment_by_name(name):
                return str(found.experiment_id)
            raise

    def _log_recipe(self, run: TrackedRun) -> None:
        from mlflow.entities import Param

        parameters = [Param(key, str(value)[:_LONGEST_VALUE]) for key, value in run.recipe.items()]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[first : first + _MOST_PARAMETERS])

    def record(self, point: Point) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        values = {**point.scalars, **{f"progress/{key}": value for key, value in point.progress.items()}}
        milliseconds = int(point.time * 1000)
        self._pending += [Metric(_name(tag), value, milliseconds, point.step) for tag, value in values.items()]
        for tag, text in point.texts.items():
            self._client.log_text(self._run, text, str(Path(tag, f"step-{point.step}.md")))

    def flush(self) -> None:
        """See `Tracker`."""
        for first in range(0, len(self._pending), _MOST_METRICS):
            self._client.log_batch(self._run, metrics=self._pending[first : first + _MOST_METRICS])
        self._pending.clear()

    def close(self, is_finished: bool) -> None:
        """See `Tracker`."""
        self.flush()
        self._client.set_terminated(self._run, "FINISHED" if is_finished else "KILLED")


def _name(tag: str) -> str:
    """The tag in the characters that MLflow allows; names of held-out texts may have others."""
    return re.sub(r"[^\w\-. /]", "_", tag)
