"""The embedded corpus: English prose from the documentation that comes with Python and the installed packages.

Every machine has it, and no network is needed. It is the same wherever the same packages are installed.
"""

import ast
import hashlib
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from platform import python_version
from pydoc_data.topics import topics

SHORTEST_PARAGRAPH = 80
SHORTEST_DOCUMENT = 200

DOCSTRING = re.compile(r'^[ \t]*(r?("""|\'\'\').*?\2)', re.S | re.M | re.I)
ROLE = re.compile(r":[\w:+-]+:`[~!]?([^`<]+?)(?:\s*<[^`>]*>)?`")
EMPHASIS = re.compile(r"`{1,2}([^`]+)`{1,2}_{0,2}|\*{1,2}(\w[^*]*)\*{1,2}|\[`?([^\]`]+)`?\]\([^)]*\)")
PLAIN_WORD = re.compile(r"[\"'(]*(?:[A-Z]?[a-z]+|[A-Z]+)(?:['\u2019-][A-Za-z]+)*[.,;:!?)\"']*")
FUNCTION_WORD = re.compile(
    "a|about|all|also|an|and|any|are|as|at|be|been|but|by|can|do|does|each|for|from|has|have|if|in|into|is|it|its"
    "|may|more|must|no|not|of|on|one|only|or|other|set|should|so|such|than|that|the|their|then|there|these|they"
    "|this|to|use|used|using|was|when|where|which|while|will|with|without|you",
    re.I,
)


def documents() -> Iterator[str]:
    """Yield the corpus: a document for each help topic, then one for each module. Blank lines part its paragraphs.

    No paragraph occurs twice. Topics are ordered by name, and modules by path.
    """
    seen: set[str] = set()
    for name in sorted(topics):
        yield from _document([topics[name]], seen)
    for path in _modules():
        source = path.read_text(encoding="utf-8", errors="replace")
        yield from _document(_docstrings(source), seen)


def fingerprint() -> str:
    """A hash of the Python version and the installed distributions. They determine the corpus."""
    installed = sorted(f"{d.metadata['Name']}=={d.version}" for d in distributions())
    return hashlib.sha256("\n".join([python_version(), *installed]).encode()).hexdigest()


def _modules() -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    packages = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    standard = [p for p in library.rglob("*.py") if not {"site-packages", "dist-packages"} & set(p.parts)]
    installed = [p for folder in packages for p in folder.rglob("*.py")]
    return sorted(standard) + sorted(installed)


def _docstrings(source: str) -> Iterator[str]:
    """Yield the triple-quoted strings that start a line. To parse whole modules would take ten times as long."""
    for match in DOCSTRING.finditer(source):
        if len(match[1]) < SHORTEST_PARAGRAPH:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):  # strings of other packages may have invalid escapes
                text = ast.literal_eval(match[1])
        except (SyntaxError, ValueError):
            continue
        yield inspect.cleandoc(text)


def _document(texts: Iterator[str] | list[str], seen: set[str]) -> Iterator[str]:
    """Yield the prose paragraphs of `texts` that are not in `seen` as one document, if they are long enough."""
    new = []
    long_enough = (p for text in texts for p in _paragraphs(text) if len(p) >= SHORTEST_PARAGRAPH)
    for paragraph in map(_without_markup, long_enough):
        if paragraph not in seen and _is_prose(paragraph):
            seen.add(paragraph)
            new.append(paragraph)
    document = "\n\n".join(new)
    if len(document) >= SHORTEST_DOCUMENT:
        yield document


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs: neighbouring lines of the same indentation, joined to one line."""
    lines: list[str] = []
    indent = 0
    for line in [*text.expandtabs().splitlines(), ""]:
        stripped = line.strip()
        if lines and (not stripped or len(line) - len(line.lstrip()) != indent):
            yield " ".join(lines)
            lines = []
        if stripped:
            indent = len(line) - len(line.lstrip())
            lines.append(stripped)


def _without_markup(paragraph: str) -> str:
    return EMPHASIS.sub(lambda m: m[1] or m[2] or m[3], ROLE.sub(r"\1", paragraph))


def _is_prose(paragraph: str) -> bool:
    """Whether a paragraph is English prose: it starts and ends like a sentence, and is mostly plain words."""
    if len(paragraph) < SHORTEST_PARAGRAPH or paragraph[-1] not in ".!?":
        return False
    if not paragraph[0].isupper() or ">>>" in paragraph or "---" in paragraph or "://" in paragraph:
        return False
    words = paragraph.split()
    plain = sum(PLAIN_WORD.fullmatch(word) is not None for word in words)
    function = sum(FUNCTION_WORD.fullmatch(word) is not None for word in words)
    return plain > 0.82 * len(words) and function > 0.25 * len(words)
