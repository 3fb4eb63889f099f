"""The task SQuAD 1.1: questions whose answer is a part of a given text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from apollo_ds.finetune.examples import must_find
from apollo_ds.finetune.problem import HeldOut, Problem, Scores
from apollo_ds.finetune.questions import Question, read_questions
from apollo_ds.finetune.sampling import sample
from apollo_ds.finetune.scores import answer_scores

if TYPE_CHECKING:
    from torch import Tensor

    from apollo_ds.finetune.pretrained import Pretrained


@dataclass(frozen=True)
class Answering:
    """The training questions and the held-out questions."""

    files: Sequence[Path]
    train: list[Question]
    dev: list[Question]

    @classmethod
    def read(cls, folder: Path, max_train_samples: int | None) -> Self:
        """Read both files. Keep at most `max_train_samples` training questions, chosen at random.

        Raises:
            UserError: a file is missing, or is not a file of SQuAD 1.1.
        """
        files = [must_find(folder, (split, f"{split}-v1.1"), (".json",)) for split in ("train", "dev")]
        train, dev = map(read_questions, files)
        return cls(files, sample(train, max_train_samples), dev)

    @property
    def metrics(self) -> Sequence[str]:
        """The names of the metrics: F1, the overlap of tokens, and exact match. Both are from 0 to 1."""
        return ["f1", "exact_match"]

    @property
    def sizes(self) -> dict[str, int]:
        """The numbers of training questions and of held-out questions."""
        return {"train": len(self.train), "dev": len(self.dev)}

    @property
    def baseline(self) -> Scores:
        """Empty: the task has no labels."""
        return {}

    def problem(self, pretrained: "Pretrained", max_length: int) -> Problem:
        """Encode the questions for a model. Each is cut into windows of at most `max_length` tokens."""
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
