"""Check that the trackers that a recipe names can be used on this machine. `training/trackers/` runs them."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal

from apollo_ds.errors import UserError

TrackerName = Literal["tensorboard", "wandb", "mlflow"]
_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow-skinny"}


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Check that each tracker is installed, and knows where to record. No tracker is imported.

    Raises:
        UserError: a tracker is not installed, or does not know where to record.
    """
    for name in names:
        found = find_spec(name)
        if found is None or found.origin is None:  # no origin: only a folder of that name in the working directory
            raise UserError(
                f"trackers: {name} is not installed; run `pip install {_PACKAGES[name]}`, or leave it out of trackers"
            )
    if "mlflow" in names and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "trackers: mlflow needs MLFLOW_TRACKING_URI in the environment, which says where it records; set it to a "
            "server's address, or to a folder such as file:mlruns"
        )
