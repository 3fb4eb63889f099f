"""Read the files of SQuAD 1.1: questions about a text."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from apollo_ds.errors import UserError
from apollo_ds.finetune.encoding import open_text
from data_prep.json_keys import KeyTwice, once_each


@dataclass(frozen=True)
class Question:
    """A question, the text with its answer, and the answers that people gave: the start and the words of each."""

    question: str
    context: str
    answers: tuple[tuple[int, str], ...]


class _Values(BaseModel):
    """The keys that are read. A file may hold more."""

    model_config = ConfigDict(strict=True)


class _Answer(_Values):
    answer_start: NonNegativeInt
    text: str


class _Asked(_Values):
    question: str
    answers: list[_Answer]
    id: str | int | None = None
    is_impossible: bool = False


class _Paragraph(_Values):
    context: str
    qas: list[_Asked]


class _Article(_Values):
    paragraphs: list[_Paragraph]


class _Squad(_Values):
    data: list[_Article]


def read_questions(path: Path) -> list[Question]:
    """Read every question of a file, in order.

    Raises:
        UserError: the file cannot be read, is not in SQuAD's format, or has a question without an answer in the text.
    """
    try:
        with open_text(path) as file:
            text = file.read()
        articles = _Squad.model_validate_json(text).data
        json.loads(text, object_pairs_hook=once_each)  # only this finds keys that come twice
    except KeyTwice as twice:
        raise UserError(f"{path}: has the key {twice} twice in one object; keep one") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        told = f"{where}: {first['msg']}" if where else first["msg"]
        raise UserError(f"{path}: is not in the format of SQuAD 1.1 ({told}); use its own files") from None
    paragraphs = [paragraph for article in articles for paragraph in article.paragraphs]
    questions = [_question(path, asked, paragraph.context) for paragraph in paragraphs for asked in paragraph.qas]
    if not questions:
        raise UserError(f"{path}: holds no questions; use SQuAD 1.1's own file")
    return questions


def _question(path: Path, asked: _Asked, context: str) -> Question:
    name = asked.question if asked.id is None else asked.id
    if asked.is_impossible or not asked.answers:
        raise UserError(f"{path}: question {name} has no answer; use SQuAD 1.1, where each has one, not 2.0")
    answers = tuple((answer.answer_start, answer.text) for answer in asked.answers)
    for start, text in answers:
        if not text.strip() or context[start : start + len(text)] != text:
            raise UserError(
                f"{path}: question {name}: the text does not hold the answer {text[:40]!r} at {start}; correct it"
            )
    return Question(asked.question.strip(), context, answers)
