"""Report the error that ends a process, in one line and on one rank, and choose the exit code."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from apollo_ds.errors import EXIT_LOST_RANK, EXIT_OWN_FAULT, EXIT_USER_ERROR, UserError
from apollo_ds.training.faults.one_voice import is_to_tell, tell_the_others
from apollo_ds.training.faults.stop_signal import STARTED_BY
from apollo_ds.training.run_log import past_live_line
from data_prep.own_fault import sentence_of, tell_own_fault

_PROGRAM = "apollo-ds"
_SECONDS_FOR_THE_CAUSE = 3.0
"""The wait before a rank exits because another is lost. DeepSpeed's launcher, which checks its ranks each second, then
sees the lost rank first and takes its exit code."""
_LOSSES = ("gloo/transport/", "remote process exited", "ncclRemoteError")
"""Parts of torch's messages for a lost connection to another rank. These errors have no class of their own."""
_OUT_OF_MEMORY = (
    "the memory is used up: lower micro_batch_size or set activation_checkpointing=true; where the model itself does "
    "not fit, give it more ranks and a higher ZeRO stage, or make it smaller"
)

_SAME_GPU = "Duplicate GPU detected"
"""Part of NCCL's message if two ranks use one GPU."""
_ONE_GPU_EACH = (
    "LOCAL_RANK: two ranks have the same GPU; let each rank of a machine have a number of its own in LOCAL_RANK or see "
    "another GPU, and start no more ranks than there are GPUs"
)


def say_last_words(error: Exception, folder: Path | None = None, has_joined: bool = False) -> int:
    """Print why this process ends, if no other rank prints it. Returns the exit code.

    A traceback goes to a file in `folder`, or in the folder for temporary files if that is None. `has_joined` says
    whether this rank has connected to rank 0.
    """
    code = exit_code_of(error)
    is_told_of = code == EXIT_LOST_RANK and STARTED_BY in os.environ  # `training/launch.py` sees how each rank ends
    if code == EXIT_LOST_RANK and not is_told_of:
        time.sleep(_SECONDS_FOR_THE_CAUSE)
    if not is_told_of and is_to_tell(has_joined):
        with suppress(OSError):  # the reader of stderr has gone
            sys.stdout.flush()
            print(past_live_line(sys.stderr) + _words(error, code, folder), file=sys.stderr, flush=True)
    if not has_joined:
        tell_the_others()
    return code


def exit_code_of(error: Exception) -> int:
    """The exit code for an error. It depends on whether the user, another rank or this program caused the error."""
    if isinstance(error, UserError) or _mistake(error):
        return EXIT_USER_ERROR
    return EXIT_LOST_RANK if _is_loss_of_a_rank(error) else EXIT_OWN_FAULT


def _words(error: Exception, code: int, folder: Path | None) -> str:
    if code == EXIT_USER_ERROR:
        return f"{_PROGRAM}: {_mistake(error) or error}"
    if code == EXIT_LOST_RANK:
        return f"{_PROGRAM}: another rank has ended, and its launcher says how; the same command resumes"
    return tell_own_fault(_PROGRAM, error, folder)


def _mistake(error: Exception) -> str | None:
    """A sentence for an error that the machine caused; None for any other."""
    if type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error):  # torch's
        return _OUT_OF_MEMORY
    if _SAME_GPU in str(error):
        return _ONE_GPU_EACH
    return sentence_of(error)


def _is_loss_of_a_rank(error: Exception) -> bool:
    if any(loss in str(error) for loss in _LOSSES):
        return True
    if "torch.distributed" not in sys.modules:
        return False
    from torch.distributed import DistNetworkError, DistStoreError

    return isinstance(error, DistNetworkError | DistStoreError)
