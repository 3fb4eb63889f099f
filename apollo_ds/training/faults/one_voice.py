"""Choose the one rank that prints why a run fails: the first that asks rank 0.

A rank that has connected to rank 0 asks the store that rank 0 keeps. A rank that fails earlier waits until rank 0
listens. If rank 0 itself fails that early, it prints the reason, and then tells the ranks that connect that it has.
"""

import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from apollo_ds.errors import UserError
from apollo_ds.ranks import RankOf

if TYPE_CHECKING:
    from torch.distributed import Store

_SECONDS_TO_ANSWER = 5.0
_SECONDS_TO_COME_UP = 60.0
_SECONDS_TO_BE_ASKED = 10.0
"""The time for which rank 0 answers. Ranks that were started together fail for the same reason within it."""
_SECONDS_OF_SILENCE = 0.3
"""The time without a message after which a connection counts as a question. A rank that wants to join the run sends
something at once; one that asks only listens."""
_TOLD = b"told"
_NOWHERE = (LookupError, ValueError, OverflowError)
"""The errors that a missing or wrong MASTER_ADDR or MASTER_PORT causes."""


def is_to_tell(has_joined: bool) -> bool:
    """Whether this rank is the first that asks, and so prints the reason.

    If rank 0 does not answer, it has ended and printed the reason itself. `has_joined` says whether this rank has
    connected to rank 0.
    """
    place = _place()
    if place is None or place.count == 1 or (place.rank == 0 and not has_joined):
        return True
    answer: list[bool] = []
    asking = threading.Thread(target=_ask, args=(_joined_answer if has_joined else _answer_from_outside, answer))
    asking.daemon = True
    asking.start()
    asking.join(_SECONDS_TO_ANSWER if has_joined else _SECONDS_TO_COME_UP)
    return answer[0] if answer else place.rank == 0


def _place() -> RankOf | None:
    """This rank's number and the number of ranks; None if the environment does not state them."""
    try:
        return RankOf.this_process() or RankOf(0, 1)
    except UserError:
        return None


def _ask(whether: Callable[[], bool], answer: list[bool]) -> None:
    with suppress(RuntimeError, OSError, *_NOWHERE):  # there is no answer
        answer.append(whether())


def _joined_answer() -> bool:
    return _common_store().add("told", 1) == 1


def _common_store() -> "Store":
    """The store of rank 0, for a rank that has connected to it."""
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def _answer_from_outside() -> bool:
    """Wait until rank 0 listens, and ask it, for a rank that has not connected to it before."""
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    while (said := _said_by_first(where)) is None:
        time.sleep(0.5)
    if said == _TOLD:
        return False
    from torch.distributed import TCPStore

    store = TCPStore(*where, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_SECONDS_TO_ANSWER))
    return store.add("told", 1) == 1


def _said_by_first(where: tuple[str, int]) -> bytes | None:
    """The first bytes that an address sends; empty if it sends none, None if nothing listens there."""
    try:
        with socket.create_connection(where, timeout=_SECONDS_TO_ANSWER) as connection:
            connection.settimeout(3 * _SECONDS_OF_SILENCE)
            with suppress(TimeoutError):
                return connection.recv(len(_TOLD))
            return b""
    except OSError:
        return None


def tell_the_others() -> None:
    """If this is rank 0 of several, tell the ranks that connect within ten seconds that it has printed the reason."""
    place = _place()
    if place is None or place.rank != 0 or place.count == 1:
        return
    with suppress(OSError, *_NOWHERE), _Answers(place.count - 1) as answers:
        until = time.monotonic() + _SECONDS_TO_BE_ASKED
        while answers.expected and time.monotonic() < until:
            answers.handle_request()


class _Answers(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    timeout = 0.5

    def __init__(self, expected: int) -> None:
        self.expected = expected
        """The number of ranks that have not connected yet."""
        super().__init__((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), _Answer)


class _Answer(socketserver.BaseRequestHandler):
    server: _Answers

    def handle(self) -> None:
        """Answer a rank that asks, and let go of a rank that wants to join the run."""
        self.request.settimeout(_SECONDS_OF_SILENCE)
        with suppress(OSError):
            try:
                self.request.recv(1)
            except TimeoutError:
                self.request.sendall(_TOLD)
        self.server.expected -= 1
