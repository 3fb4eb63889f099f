"""The citation names the version that is installed."""

import yaml
from project import PROJECT


def test_the_citation_and_the_package_are_of_one_version() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert f'version="{citation["version"]}",' in (PROJECT / "setup.py").read_text()
