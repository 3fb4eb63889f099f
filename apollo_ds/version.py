"""The version of this package, which `setup.py` reads too, and the versions of other packages."""

from importlib import metadata

__version__ = "0.1.0"


def installed_version(package: str) -> str | None:
    """The version of a package that is installed; None if it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
