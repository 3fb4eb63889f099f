"""Weights & Biases. Where it records, and whether it asks a server, is what its own environment variables say."""

import os
from html import escape
from pathlib import Path
from typing import ClassVar

from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun

_PROJECT = "apollo_ds"


class WeightsAndBiases:
    """Logs to one run of W&B, and goes on in it when the run goes on. W&B takes no step below the last that it has.

    Offline it does not know what it has, so that each start's folder has the whole run up to its end.
    """

    needs_id: ClassVar[bool] = True

    def start(self, run: TrackedRun) -> str:
        """Begin the run, or go on with the one of the same id. Return its address."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # faults of its own are told to nobody unasked
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.name,
            id=run.id,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", run.folder),
            config=dict(run.recipe),
            settings=wandb.Settings(console="off", silent=True),
        )
        self._first_step = self._run.starting_step
        if self._run.offline:
            return f"offline; `wandb sync {Path(self._run.dir).parent}` sends it"
        return self._run.url or ""

    def record(self, point: Point) -> None:
        """Log a point's values and texts, unless W&B has them from before a resume."""
        import wandb

        progress = {f"progress/{key}": value for key, value in point.progress.items()}
        texts = {tag: wandb.Html(f"<pre>{escape(text)}</pre>") for tag, text in point.texts.items()}
        if point.step >= self._first_step:
            self._run.log({**point.scalars, **texts, **progress}, step=point.step)
        elif texts and point.step == self._first_step - 1:  # a growth that follows the last step of the start before
            self._run.log(texts, step=self._first_step)

    def flush(self) -> None:
        """Do nothing: W&B sends by itself."""

    def close(self, is_finished: bool) -> None:
        """Mark the run as finished or stopped, and wait until W&B has written everything."""
        import wandb

        self._run.finish(exit_code=0 if is_finished else 1)
        wandb.teardown()  # only then has its own process written everything
