"""The site of the pages: it builds without a warning, and a browser gets all of it from one place."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from project import PROJECT


class _Fetched(HTMLParser):
    """What a browser fetches for a page without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = dict(attributes)
        is_fetched = tag in ("script", "img", "iframe") or (tag == "link" and told.get("rel") in ("stylesheet", "icon"))
        self.addresses += [told.get("src") or told.get("href") or ""] if is_fetched else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a broken link or anchor, or a page that is in no menu, raises."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.chdir(PROJECT)
        build(load_config(str(PROJECT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def test_a_browser_asks_no_other_server(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        fetched = _Fetched()
        fetched.feed(page.read_text())
        assert fetched.addresses
        assert not [address for address in fetched.addresses if re.match(r"(https?:)?//", address)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()[\"' ]*(https?:)?//", sheet.read_text()), sheet


def test_what_pages_show_and_link_is_in_the_site(site: Path) -> None:
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:src|href)="([^"#?:]+)[^":]*"', page.read_text()):
            if not link.startswith("/"):
                assert (page.parent / link).exists(), f"{page}: {link}"
