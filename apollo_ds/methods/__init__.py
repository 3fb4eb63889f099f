"""Growth methods, one file each. A new one is a file with a `Method` and a line in this table."""

from apollo_ds.methods.apollo import Apollo
from apollo_ds.methods.base import Method, Run
from apollo_ds.methods.scratch import Scratch
from apollo_ds.methods.stackbert import StackBert

METHODS: dict[str, type[Method]] = {
    "scratch": Scratch,
    "apollo": Apollo,
    "stackbert": StackBert,
}

__all__ = ["METHODS", "Method", "Run"]
