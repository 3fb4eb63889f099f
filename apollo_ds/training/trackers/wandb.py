"""Track a run with Weights & Biases. Its own environment variables set the server, or that it works offline."""

import os
from html import escape
from pathlib import Path
from typing import ClassVar

from apollo_ds.training.trackers.point import Point
from apollo_ds.training.trackers.tracker import TrackedRun

_PROJECT = "apollo_ds"


class WeightsAndBiases:
    """Logs to one run of W&B, and continues it when the run resumes. W&B accepts no step below the last that it has.

    Offline, W&B does not know which steps it has. So the folder of each start holds the whole run up to then.
    """

    needs_id: ClassVar[bool] = True

    def start(self, run: TrackedRun) -> str:
        """Begin the run, or continue the one with the same id. Returns its address."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # do not report W&B's own errors to its makers
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
        """Log a point's values and texts, unless W&B has them from an earlier start."""
        import wandb

        progress = {f"progress/{key}": value for key, value in point.progress.items()}
        texts = {tag: wandb.Html(f"<pre>{escape(text)}</pre>") for tag, text in point.texts.items()}
        if point.step >= self._first_step:
            self._run.log({**point.scalars, **texts, **progress}, step=point.step)
        elif texts and point.step == self._first_step - 1:  # a growth right after the earlier start's last step
            self._run.log(texts, step=self._first_step)

    def flush(self) -> None:
        """Do nothing: W&B sends by itself."""

    def close(self, is_finished: bool) -> None:
        """Mark the run as finished or stopped, and wait until W&B has written everything."""
        import wandb

        self._run.finish(exit_code=0 if is_finished else 1)
        wandb.teardown()  # waits until W&B's own process has written everything
