"""Packages that only some commands need: each is an extra of this package, in `setup.py`."""

from importlib.util import find_spec

from apollo_ds.errors import UserError

EXTRAS = {
    "finetune": {"sklearn": "scikit-learn", "scipy": "scipy", "torchmetrics": "torchmetrics"},
    "eval": {"lm_eval": "lm-evaluation-harness", "accelerate": "accelerate"},
}
"""The modules that a command of the extra's name imports, and what they are known as."""


def is_installed(module: str) -> bool:
    """Whether a module can be imported. It is not imported."""
    found = find_spec(module)
    return found is not None and found.origin is not None  # without one it is a folder in the working directory


def check_extra(name: str) -> None:
    """Refuse a command whose extra is not installed, before any work is done.

    Raises:
        UserError: a package is missing; says how to install it.
    """
    missing = [package for module, package in EXTRAS[name].items() if not is_installed(module)]
    if missing:
        *first, last = missing
        names, be = (f"{', '.join(first)} and {last}", "are") if first else (last, "is")
        raise UserError(f"{name}: needs {names}, which {be} not installed; run `pip install 'apollo_ds[{name}]'`")
