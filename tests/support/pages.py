"""The pages of the project, and the blocks of code in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from project import PROJECT

PAGES = sorted(
    str(path.relative_to(PROJECT))
    for path in (*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("ds_configs/*.md"))
    if path.name != "CHANGELOG.md"
)
"""README, CONTRIBUTING, the site, and what explains the DeepSpeed files."""
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_NOT_RUN = re.compile(r"<!-- not run: ?(?P<reason>.*?) ?-->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    page: str
    line: int
    """Where its first line stands."""
    language: str
    """As behind the three ticks, such as `console`; empty where there is none."""
    text: str
    not_run: str | None
    """Why tests do not run it; None if they do."""

    @property
    def place(self) -> str:
        """Where a reader finds it, as `docs/guides/data.md:12`."""
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each command: of a line that begins with `$`, and of those that it goes on in."""
        found: list[str] = []
        goes_on = False
        for line in self.text.splitlines():
            if goes_on:
                found[-1] += "\n" + line.removesuffix("\\")
            elif line.lstrip().startswith("$ "):
                found.append(line.strip().removeprefix("$ ").removesuffix("\\"))
            else:
                continue
            goes_on = line.endswith("\\") or _is_open(found[-1])
        return [part for words in found for part in _parts(shlex.split(words, comments=True))]


def _is_open(words: str) -> bool:
    """Whether a quotation goes on in the next line."""
    try:
        shlex.split(words, comments=True)
    except ValueError:
        return True
    return False


def _parts(words: list[str]) -> Iterator[list[str]]:
    """The commands of a line, without what is piped, redirected, or set for one command."""
    ends = [number for number, word in enumerate(words) if word in ("|", "&&", ";", ">", ">>", "<", "2>")]
    begins = 0
    for end in (*ends, len(words)):
        part = words[begins:end]
        while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
            part = part[1:]
        if part and (begins == 0 or words[begins - 1] in ("|", "&&", ";")):
            yield part
        begins = end + 1


@cache
def blocks(page: str, language: str = "") -> tuple[Block, ...]:
    """The blocks of a page, of one language if it is given, in their order."""
    text = (PROJECT / page).read_text()
    found = []
    for fence in _FENCE.finditer(text):
        marked = _NOT_RUN.search(text[: fence.start()])
        line = text.count("\n", 0, fence.start()) + 2
        code = "\n".join(row.removeprefix(fence["indent"]) for row in fence["text"].splitlines())
        found.append(Block(page, line, fence["language"], code, marked["reason"] if marked else None))
    return tuple(block for block in found if language in ("", block.language))
