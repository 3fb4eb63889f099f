"""What all ranks do after a step, together: go on, stop, or fail."""

from enum import IntEnum

from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel
from apollo_ds.errors import Stopped, UserError
from apollo_ds.training.faults.stop_signal import StopRequest


class _Wish(IntEnum):
    GO_ON = 0
    STOP = 1
    FAIL = 2


class Consensus:
    """Ranks ask each other before a step and hear the answer after it, so that no step waits for it."""

    def __init__(self, processes: Processes, request: StopRequest) -> None:
        self.request = request
        self._channel = SideChannel(processes)
        self._failure: str | None = None

    def ask(self, failure: str | None) -> None:
        """Begin to find out what all ranks want; `failure` says why this one cannot go on."""
        self._failure = failure
        wish = _Wish.FAIL if failure else _Wish.STOP if self.request.reason else _Wish.GO_ON
        self._pending = self._channel.start_maximum(wish)

    def stop_is_wanted(self) -> bool:
        """The answer to `ask`: whether some rank has been asked to stop.

        Raises:
            UserError: some rank cannot go on; on every rank.
        """
        wish = self._pending.wait()
        if wish == _Wish.FAIL:
            raise UserError(next(failure for failure in self._channel.exchange(self._failure) if failure))
        return wish == _Wish.STOP

    def stop(self, step: int) -> None:
        """End the run, which has saved.

        Raises:
            Stopped: always.
        """
        reasons = self._channel.exchange(self.request.reason)
        heard = sum(reason is not None for reason in reasons)
        first = next(reason for reason in reasons if reason)
        raise Stopped(f"{first} ({heard} of {len(reasons)} ranks): stopped after step {step:,}, saved")

    def close(self) -> None:
        """All ranks together."""
        self._channel.close()
