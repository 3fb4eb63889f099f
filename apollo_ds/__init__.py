"""Pretrain Transformers by growing them while they train.

    import apollo_ds

    outcome = apollo_ds.train("bert-base", "data=data/mine", "out=runs/mine")

Each name below is imported when it is first used, so that `import apollo_ds` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from apollo_ds.version import __version__

if TYPE_CHECKING:
    from apollo_ds.config.load import load_recipe
    from apollo_ds.errors import RunFailed, Stopped, UserError
    from apollo_ds.training.run import Outcome
    from apollo_ds.training.start import train

__all__ = ["Outcome", "RunFailed", "Stopped", "UserError", "__version__", "load_recipe", "train"]

_MODULES = {
    "load_recipe": "config.load",
    "train": "training.start",
    "Outcome": "training.run",
    "UserError": "errors",
    "Stopped": "errors",
    "RunFailed": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
