"""What a process says of the error that ends it, in one line, on one rank, and its exit code."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from apollo_ds.errors import EXIT_LOST_RANK, EXIT_OWN_FAULT, EXIT_USER_ERROR, UserError
from apollo_ds.ranks import RankOf
from apollo_ds.training.faults.stop_signal import STARTED_BY
from data_prep.own_fault import sentence_of, tell_own_fault

if TYPE_CHECKING:
    from torch.distributed import Store

_PROGRAM = "apollo-ds"
_SECONDS_TO_ANSWER = 5.0
_SECONDS_TO_COME_UP = 60.0
_SECONDS_FOR_THE_CAUSE = 3.0
"""In which DeepSpeed's launcher, which looks each second, sees how the lost rank ended, and takes that exit code."""
_LOSSES = ("gloo/transport/", "remote process exited", "ncclRemoteError")
"""What torch says when another rank's connection has gone, in errors that have no class of their own."""
_OUT_OF_MEMORY = (
    "the memory is used up: lower micro_batch_size or set activation_checkpointing=true; where the model itself does "
    "not fit, give it more ranks and a higher ZeRO stage, or make it smaller"
)

_SAME_GPU = "Duplicate GPU detected"
"""What NCCL says where two ranks have one GPU."""
_ONE_GPU_EACH = (
    "LOCAL_RANK: two ranks have the same GPU; let each rank of a machine have a number of its own in LOCAL_RANK or see "
    "another GPU, and start no more ranks than there are GPUs"
)


def say_last_words(error: Exception, folder: Path | None = None, has_joined: bool = False) -> int:
    """Say why this process ends, if it is the one to say it; the exit code.

    A traceback goes to a file in `folder`, or in the folder for temporary files. A rank that `has_joined` the others
    has met the first one.
    """
    code = exit_code_of(error)
    is_told_of = code == EXIT_LOST_RANK and STARTED_BY in os.environ  # by `training/launch.py`, which sees all ends
    if code == EXIT_LOST_RANK and not is_told_of:
        time.sleep(_SECONDS_FOR_THE_CAUSE)
    if not is_told_of and _is_first_to_tell(has_joined):
        with suppress(OSError):  # nobody reads it
            sys.stdout.flush()
            print(_words(error, code, folder), file=sys.stderr, flush=True)
    return code


def exit_code_of(error: Exception) -> int:
    """The exit code for an error: by whether the user, another rank, or this program caused it."""
    if isinstance(error, UserError) or _mistake(error):
        return EXIT_USER_ERROR
    return EXIT_LOST_RANK if _is_loss_of_a_rank(error) else EXIT_OWN_FAULT


def _words(error: Exception, code: int, folder: Path | None) -> str:
    if code == EXIT_USER_ERROR:
        return f"{_PROGRAM}: {_mistake(error) or error}"
    if code == EXIT_LOST_RANK:
        return f"{_PROGRAM}: another rank is gone, and its launcher says how; the same command resumes"
    return tell_own_fault(_PROGRAM, error, folder)


def _mistake(error: Exception) -> str | None:
    """A sentence for an error of the machine; None for any other."""
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


def _is_first_to_tell(has_joined: bool) -> bool:
    """Whether this rank is the first that asks. The first rank keeps the count, where all ranks meet.

    Where it does not answer, it is gone and has told why. A rank that fails early waits for it to come up.
    """
    try:
        place = RankOf.this_process() or RankOf(0, 1)
    except UserError:
        return True  # nobody knows where the ranks would meet
    is_first_rank = place.rank == 0
    if place.count == 1 or (is_first_rank and not has_joined):
        return True
    answer: list[bool] = []
    asking = threading.Thread(target=_ask, args=(_common_store if has_joined else _store_from_outside, answer))
    asking.daemon = True
    asking.start()
    asking.join(_SECONDS_TO_ANSWER if has_joined else _SECONDS_TO_COME_UP)
    return answer[0] if answer else is_first_rank


def _ask(store: Callable[[], "Store"], answer: list[bool]) -> None:
    with suppress(RuntimeError):  # there is no answer
        answer.append(store().add("told", 1) == 1)


def _common_store() -> "Store":
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def _store_from_outside() -> "Store":
    """What the first rank keeps, for a rank that has not joined it; waits until it is there."""
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    while True:
        with suppress(OSError):
            socket.create_connection(place).close()
            break
        time.sleep(0.5)
    from torch.distributed import TCPStore

    return TCPStore(*place, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_SECONDS_TO_ANSWER))
