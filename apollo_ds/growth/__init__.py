"""Growth: which old parameters a new one comes from, how, and what becomes of its Adam moments.

Everything here is a pure function of tensors. The engine calls it one parameter at a time.
"""

from apollo_ds.growth.between import growth_between
from apollo_ds.growth.depth import DepthMap
from apollo_ds.growth.growth import Growth, no_growth
from apollo_ds.growth.width import AxisMap, WidthMap

__all__ = ["AxisMap", "DepthMap", "Growth", "WidthMap", "growth_between", "no_growth"]
