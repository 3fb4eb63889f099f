"""SQuAD 1.1: questions whose answer is a part of a given text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from apollo_ds.errors import UserError
from apollo_ds.finetune.examples import must_find
from apollo_ds.finetune.problem import HeldOut, Problem, Scores
from apollo_ds.finetune.sampling import sample
from apollo_ds.finetune.scores import answer_scores

if TYPE_CHECKING:
    from torch import Tensor

    from apollo_ds.finetune.pretrained import Pretrained


@dataclass(frozen=True)
class Question:
    """A question, the text that holds its answer, and the answers that people gave: where they start, what they are."""

    question: str
    context: str
    answers: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Answering:
    """The questions to train on and those held out."""

    files: Sequence[Path]
    train: list[Question]
    dev: list[Question]

    @classmethod
    def read(cls, folder: Path, max_train_samples: int | None) -> Self:
        """Read both files, and of the training questions at most so many, chosen at random.

        Raises:
            UserError: a file is missing, or is not SQuAD 1.1's.
        """
        files = [must_find(folder, (split, f"{split}-v1.1"), (".json",)) for split in ("train", "dev")]
        train, dev = map(read_questions, files)
        return cls(files, sample(train, max_train_samples), dev)

    @property
    def metrics(self) -> Sequence[str]:
        """See `Source`."""
        return ["f1", "exact_match"]

    @property
    def sizes(self) -> dict[str, int]:
        """See `Source`."""
        return {"train": len(self.train), "dev": len(self.dev)}

    @property
    def baseline(self) -> Scores:
        """See `Source`."""
        return {}

    def problem(self, pretrained: "Pretrained", max_length: int) -> Problem:
        """See `Source`."""
        import torch

        from apollo_ds.finetune.windows import Windows

        train = Windows.of(self.train, pretrained, max_length)
        dev = Windows.of(self.dev, pretrained, max_length)

        def score(rows: "Sequence[Tensor]") -> Scores:
            return answer_scores(dev.answers(rows), [[text for _, text in one.answers] for one in self.dev])

        return Problem(
            auto_class="AutoModelForQuestionAnswering",
            outputs=lambda outputs: torch.stack((outputs.start_logits, outputs.end_logits), dim=1),
            train=train.labelled(),
            held_out=[HeldOut(dev.features, score)],
        )


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
