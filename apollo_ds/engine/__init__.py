"""DeepSpeed, and the only package that knows its insides."""

from apollo_ds.engine.engine import Engine, StepResult
from apollo_ds.engine.processes import Processes
from apollo_ds.engine.side_channel import SideChannel

__all__ = ["Engine", "Processes", "SideChannel", "StepResult"]
