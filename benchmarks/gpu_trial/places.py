"""What the parts of the trial share: places and limits, which gpu_trial.sh sets, and the names of the loops."""

import os
from pathlib import Path

OURS, BY_HAND, STOCK = "apollo_ds", "by hand", "transformers.Trainer"
"""The loops that are timed."""

WORK = Path(os.environ["TRIAL_WORK"])
"""Where runs and logs are while the trial goes on."""
OUT = Path(os.environ["OUT"])
IS_TINY = bool(os.environ.get("TRIAL_TINY"))
"""Whether this is a rehearsal at toy size."""
STARTED = float(os.environ["TRIAL_STARTED"])
SECONDS_FOR_SPEED = float(os.environ.get("TRIAL_LIMIT", "300"))
SPEED = WORK / "speed.json"
