"""Which trackers a recipe may name, and whether they can be used here. `training/trackers/` has what they do."""

import os
from collections.abc import Sequence
from typing import Literal

from apollo_ds.errors import UserError
from apollo_ds.extras import is_installed

TrackerName = Literal["tensorboard", "wandb", "mlflow"]
_PACKAGES = {"tensorboard": "tensorboard", "wandb": "'apollo_ds[wandb]'", "mlflow": "'apollo_ds[mlflow]'"}


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Check that each is installed, and knows where to record. It imports none of them.

    Raises:
        UserError: one is not installed, or does not.
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
