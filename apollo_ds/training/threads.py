"""How many threads a rank computes with where several share the cores of one machine."""

import os
from collections.abc import MutableMapping

from apollo_ds.gpus import visible_gpus
from apollo_ds.ranks import ranks_of_this_machine
from apollo_ds.training.faults.stop_signal import STARTED_BY


def share_cores(environment: MutableMapping[str, str]) -> None:
    """Have OpenMP use one thread that does not spin while it waits, unless the user has chosen otherwise.

    It reads this when torch is imported.
    """
    environment.setdefault("GOMP_SPINCOUNT", "0")
    environment.setdefault("OMP_NUM_THREADS", "1")


def share_cores_with_other_ranks() -> None:
    """Do so in this rank's own environment, where a launcher of others has started several of them on CPUs."""
    if STARTED_BY not in os.environ and (ranks_of_this_machine() or 1) > 1 and not visible_gpus():
        share_cores(os.environ)
