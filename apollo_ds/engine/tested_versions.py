"""Check that the installed DeepSpeed was tested with this project, since the engine uses private parts of it."""

from importlib import metadata

from packaging.requirements import Requirement


def doubt_of_deepspeed() -> str | None:
    """A warning if the installed version is not in setup.py's range; None if it is, or if no range is known."""
    try:
        stated = [Requirement(text) for text in metadata.requires("apollo_ds") or ()]
    except metadata.PackageNotFoundError:  # a checkout on the path that was not installed
        return None
    installed = metadata.version("deepspeed")
    for requirement in stated:
        if requirement.name == "deepspeed" and not requirement.specifier.contains(installed, prereleases=True):
            return (
                f"DeepSpeed {installed} was not tested, and private parts of it are used; "
                f"if anything goes wrong, use `pip install '{requirement}'`"
            )
    return None
