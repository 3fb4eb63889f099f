"""Check that the trackers that a recipe names can be used on this machine. `training/trackers/` runs them."""

import os
from collections.abc import Sequence
from typing import Literal

from apollo_ds.errors import UserError
from apollo_ds.extras import is_installed

TrackerName = Literal["tensorboard", "wandb", "mlflow"]
_PACKAGES = {"tensorboard": "tensorboard", "wandb": "'apollo_ds[wandb]'", "mlflow": "'apollo_ds[mlflow]'"}


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Check that each tracker is installed, and knows where to record. No tracker is imported.

    Raises:
        UserError: a tracker is not installed, or does not know where to record.
    """
    for name in names:
        if not is_installed(name):
            raise UserError(
                f"trackers: {name} is not installed; run `pip install {_PACKAGES[name]}`, or leave it out of trackers"
            )
    if "mlflow" in names and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "trackers: mlflow needs MLFLOW_TRACKING_URI in the environment, which says where it records; set it to a "
            "server's address, or to a folder such as file:mlruns"
        )
