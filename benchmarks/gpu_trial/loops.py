"""Seconds a step of whole loops, one after another in this process."""

import math
import os
import time

from speed.contestants import by_hand, ours, stock
from speed.pacing import finish_on_device
from speed.settings import Setting

from apollo_ds.engine.processes import Processes
from gpu_trial.places import BY_HAND, OURS

DROPOUT = 0.1
"""Of published models, and so of the stock model by default."""


class Enough(BaseException):
    """The loop has run as many steps as were wanted. No loop catches it."""


class CountingGate:
    """Times so many steps after the first ones, then leaves the loop."""

    def __init__(self, warm_up: int, count: int) -> None:
        self.seconds = math.nan
        """A step's."""
        self._warm_up = warm_up
        self._count = count
        self._begun = 0
        self._started = 0.0

    def gate(self) -> None:
        """Note the time where the warm-up ends, and leave the loop where all steps are taken."""
        if self._begun == self._warm_up:
            finish_on_device()
            self._started = time.perf_counter()
        if self._begun == self._warm_up + self._count:
            finish_on_device()
            self.seconds = (time.perf_counter() - self._started) / self._count
            raise Enough
        self._begun += 1

    def step_ended(self) -> None:
        """Do nothing: the next step begins with the gate."""


def seconds_a_step(way: str, processes: Processes, setting: Setting, layers: int, warm_up: int, count: int) -> float:
    """The mean of so many steps of a loop, which is then left."""
    os.environ["LOCAL_RANK"] = "0"  # the stock loop removes it
    gate = CountingGate(warm_up, count)
    try:
        if way == OURS:
            ours(gate, processes, setting, layers=layers)
        elif way == BY_HAND:
            by_hand(gate, processes, setting, layers)
        else:
            stock(gate, processes, setting, layers, DROPOUT)
    except Enough:
        pass
    return gate.seconds
