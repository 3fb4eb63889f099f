"""Pages link to files of the repository outside docs/, such as the records of a measurement: the site takes them in.

A page says `[results](../../benchmarks/results/methods.md)`, which a reader of the repository can follow. MkDocs knows
the files of docs/ only, so this hook adds each file that is linked, and those that these link, below `repository/`.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = "repository"
"""Where the site has the files from outside docs/."""
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link outside docs/, and what that links in turn."""
    left = [Path(file.abs_src_path or "") for file in files.documentation_pages()]
    taken = set[Path]()
    while left:
        page = left.pop()
        for path in _linked(page):
            if path not in taken and not _in_docs(path) and path.is_file():
                taken.add(path)
                if path.suffix == ".md":
                    left.append(path)
    for path in sorted(taken):
        files.append(File.generated(config, _place(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links that leave docs/ to where the site has the file."""
    source = Path(page.file.abs_src_path or "")
    here = os.path.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        path = _target(source, link["path"])
        if _in_docs(path) and _in_docs(source):
            return link[0]
        return os.path.relpath(_place(path), here or ".") + (link["anchor"] or "")

    return LINK.sub(moved, markdown)


def _linked(page: Path) -> Iterator[Path]:
    for link in LINK.finditer(page.read_text()):
        yield _target(page, link["path"])


def _target(page: Path, link: str) -> Path:
    """The file that a link of a page means; a folder means its page."""
    path = Path(os.path.normpath(page.parent / link))
    pages = [path / name for name in ("README.md", "report.md") if (path / name).is_file()]
    return pages[0] if pages else path


def _in_docs(path: Path) -> bool:
    return path.is_relative_to(PROJECT / "docs")


def _place(path: Path) -> str:
    """Where the site has a file of the repository."""
    folder = PROJECT / "docs" if _in_docs(path) else PROJECT
    place = path.relative_to(folder).as_posix()
    return place if _in_docs(path) else f"{FOLDER}/{place}"
