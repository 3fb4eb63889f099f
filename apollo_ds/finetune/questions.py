"""Questions about a text, as SQuAD 1.1's files hold them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apollo_ds.errors import UserError


@dataclass(frozen=True)
class Question:
    """A question, the text that holds its answer, and the answers that people gave: where they start, what they are."""

    question: str
    context: str
    answers: tuple[tuple[int, str], ...]


def read_questions(path: Path) -> list[Question]:
    """Every question of a file, in order.

    Raises:
        UserError: it cannot be read, is not in SQuAD's format, or has questions without an answer in the text.
    """
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        questions = [
            _question(path, asked, paragraph["context"])
            for article in articles
            for paragraph in article["paragraphs"]
            for asked in paragraph["qas"]
        ]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path}: is not in the format of SQuAD 1.1 ({told}); use its own files") from None
    if not questions:
        raise UserError(f"{path}: holds no questions; use SQuAD 1.1's own file")
    return questions


def _question(path: Path, asked: dict[str, Any], context: str) -> Question:
    name = asked.get("id", asked["question"])
    if asked.get("is_impossible") or not asked["answers"]:
        raise UserError(f"{path}: question {name} has no answer; use SQuAD 1.1, where each has one, not 2.0")
    answers = tuple((int(answer["answer_start"]), str(answer["text"])) for answer in asked["answers"])
    for start, text in answers:
        if not text.strip() or context[start : start + len(text)] != text:
            raise UserError(
                f"{path}: question {name}: the text does not hold the answer {text[:40]!r} at {start}; correct it"
            )
    return Question(asked["question"].strip(), context, answers)
