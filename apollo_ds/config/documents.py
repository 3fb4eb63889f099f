"""Read YAML or JSON that a user has written. Each value is what the text says, or is refused with its line."""

import json
import re
from collections.abc import Hashable, Iterator
from json import decoder, scanner
from typing import Any

import yaml

from apollo_ds.errors import UserError

PATHS = ("data", "out", "source", "init_from", "branch_from", "recipe", "deepspeed")
"""Keys whose values are paths. They stay text as written, even if YAML reads `2024-11-26`, `no` or `1e3` otherwise."""
NOT_YAML = "not valid YAML"
"""The beginning of a message on text that is not valid YAML."""
_DEEPEST = 40
_MOST_VALUES = 100_000
"""The most values of a document. Each use of an alias counts with all that it stands for."""
_MOST_DIGITS = 400
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_MAP = "tag:yaml.org,2002:map"
_WEIGHTS = "!weights"


def parse_yaml(text: str, weighs: bool = False) -> list[Any]:
    """The documents of a YAML text. With `weighs` each document is read as the value of a recipe's `data`.

    Raises:
        UserError: it is not YAML, a key comes twice or is not text, or it is too deep or too large. The message does
            not name the file.
    """
    try:
        return list(yaml.load_all(text, Loader=_Weights if weighs else _Loader))
    except yaml.YAMLError as error:
        raise UserError(_in_words(error)) from None
    except RecursionError:
        raise UserError(f"nested more than {_DEEPEST} deep") from None


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        UserError: it is not JSON, a key comes twice, or it is too deep. The message does not name the file.
    """
    try:
        return _Decoder().decode(text)
    except json.JSONDecodeError as error:
        raise UserError(f"not valid JSON: {error}") from None
    except RecursionError:
        raise UserError(f"nested more than {_DEEPEST} deep") from None


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, a date is text, and each key of a mapping comes once."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in known if tag not in (_INT, _FLOAT, "tag:yaml.org,2002:timestamp")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UserError(f"nested more than {_DEEPEST} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_document(self) -> yaml.Node:
        node = super().compose_document()
        assert node is not None  # PyYAML calls this only if there is a document
        _check_size(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):  # such as `!!map 3`
            return super().construct_mapping(node, deep)
        seen: set[str] = set()
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            if key.tag != _TEXT:
                what = f"the key {key.value}" if isinstance(key, yaml.ScalarNode) else "a key"
                raise _Refused(key, f"{what} is not text; quote it")
            if key.value in seen:
                raise _Refused(key, f"the key {key.value} comes twice; remove one")
            seen.add(key.value)
            if key.value in PATHS and node.tag != _WEIGHTS:
                _take_as_written(value)
            if key.value == "data" and node.tag != _WEIGHTS:
                _take_as_weights(value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A whole number or a fraction by the rules of YAML 1.2: `010` is ten, and `1e-3` needs no point."""
        text = node.value.replace("_", "")
        if len(text) > _MOST_DIGITS:
            raise _Refused(node, f"a number of {len(text):,} digits is too long")
        if text.lstrip("+-").lower() in (".inf", ".nan"):
            text = text.replace(".", "")
        return int(text) if node.tag == _INT else float(text)


_Loader.add_implicit_resolver(_INT, re.compile(r"^[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
for _tag in (_INT, _FLOAT):
    _Loader.add_constructor(_tag, _Loader.construct_number)


_Loader.add_constructor(_WEIGHTS, _Loader.yaml_constructors[_MAP])


class _Weights(_Loader):
    """YAML that is read as the value of a recipe's `data`."""

    def compose_document(self) -> yaml.Node:
        node = super().compose_document()
        _take_as_weights(node)
        return node


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that this project refuses."""

    def __init__(self, node: yaml.Node, problem: str) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


def _in_words(error: yaml.YAMLError) -> str:
    if isinstance(error, _Refused):
        assert error.problem_mark is not None
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        place = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
        return f"{NOT_YAML}: {place}: {error.problem or error.context}"
    return f"{NOT_YAML}: {' '.join(str(error).split())}"


def _take_as_written(value: yaml.Node) -> None:
    """Read a plain scalar, or each one of a list, as text. An empty value stays empty."""
    for node in value.value if isinstance(value, yaml.SequenceNode) else [value]:
        if isinstance(node, yaml.ScalarNode) and node.tag != _NULL:
            node.tag = _TEXT


def _take_as_weights(value: yaml.Node) -> None:
    """Let a folder in a mapping, or in a list of mappings, have the name of a recipe's key: `{out: 0.5}`."""
    for node in value.value if isinstance(value, yaml.SequenceNode) else [value]:
        if node.tag == _MAP:
            node.tag = _WEIGHTS


def _check_size(document: yaml.Node) -> None:
    """Refuse a document that its aliases make very large or endless."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > _DEEPEST:
            raise _Refused(node, f"nested more than {_DEEPEST} deep")
        if id(node) not in sizes:
            sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in _parts(node))
        if sizes[id(node)] > _MOST_VALUES:
            raise _Refused(node, f"holds more than {_MOST_VALUES:,} values, with what its aliases stand for")
        return sizes[id(node)]

    size(document, 0)


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


class _Decoder(json.JSONDecoder):
    """JSON without NaN and infinity, and with each key once in an object."""

    def __init__(self) -> None:
        super().__init__(parse_constant=_refuse, parse_int=_whole)
        self.parse_object = self._object
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]  # the scanner in C would not call `_object`

    def _object(self, where: tuple[str, int], strict: bool, scan: Any, *others: Any) -> tuple[Any, int]:
        pairs, end = decoder.JSONObject(where, strict, scan, None, list, *others[2:])  # type: ignore[attr-defined]
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                text, start = where
                second = [match.start() for match in re.finditer(re.escape(json.dumps(key)), text[start:end])][-1]
                line = text.count("\n", 0, start + second) + 1
                raise UserError(f"line {line}: the key {key} comes twice; remove one")
            found[key] = value
        return found, end


def _refuse(constant: str) -> None:
    raise UserError(f"not valid JSON: {constant} is no number that JSON knows")


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise UserError(f"a number of {len(digits):,} digits is too long")
    return int(digits)
