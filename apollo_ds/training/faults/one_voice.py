"""Which of the ranks that fail is the one to say why: the first that asks.

Ranks that have met ask the store that the first rank keeps. One that fails before waits until the first rank is there.
The first rank itself, where it fails as early, speaks up, and then tells those that come that it has told.
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
"""In which ranks that were started together fail for the same reason."""
_SECONDS_OF_SILENCE = 0.3
"""A rank that wants to meet the others speaks at once when it is connected; one that asks listens."""
_TOLD = b"told"
_NOWHERE = (LookupError, ValueError, OverflowError)
"""What comes of a place to meet that is not given, or is none."""


def is_to_tell(has_joined: bool) -> bool:
    """Whether this rank is the first that asks. Where the first rank does not answer, it is gone and has told why.

    `has_joined`: whether this rank has met the first one.
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
    """This rank's; None where the environment does not tell."""
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
    """What the first rank keeps, for one that has joined it."""
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def _answer_from_outside() -> bool:
    """What the first rank says to one that has not joined it; waits until it is there."""
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    while (said := _said_by_first(where)) is None:
        time.sleep(0.5)
    if said == _TOLD:
        return False
    from torch.distributed import TCPStore

    store = TCPStore(*where, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_SECONDS_TO_ANSWER))
    return store.add("told", 1) == 1


def _said_by_first(where: tuple[str, int]) -> bytes | None:
    """The first bytes that come from there, or none; None where nobody listens."""
    try:
        with socket.create_connection(where, timeout=_SECONDS_TO_ANSWER) as connection:
            connection.settimeout(3 * _SECONDS_OF_SILENCE)
            with suppress(TimeoutError):
                return connection.recv(len(_TOLD))
            return b""
    except OSError:
        return None


def tell_the_others() -> None:
    """If this is the first rank of several, tell all that come in a while that it has told why it ends."""
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
        """So many ranks have not come yet."""
        super().__init__((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), _Answer)


class _Answer(socketserver.BaseRequestHandler):
    server: _Answers

    def handle(self) -> None:
        """Tell one that asks; let one that wants to meet go."""
        self.request.settimeout(_SECONDS_OF_SILENCE)
        with suppress(OSError):
            try:
                self.request.recv(1)
            except TimeoutError:
                self.request.sendall(_TOLD)
        self.server.expected -= 1
