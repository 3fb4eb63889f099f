"""The citation names the version that is installed."""

import yaml
from project import PROJECT

import apollo_ds


def test_the_citation_and_the_package_are_of_one_version() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert citation["version"] == apollo_ds.__version__
