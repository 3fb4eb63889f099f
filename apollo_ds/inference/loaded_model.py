"""A model that is ready to be asked: it continues text, or it fills in masks."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from apollo_ds.errors import UserError
from apollo_ds.saved_models.saved_model import SavedModel


class Task(Enum):
    """What a model was trained for, and the class of `transformers` that loads it so."""

    CONTINUE = "AutoModelForCausalLM"
    FILL_IN = "AutoModelForMaskedLM"


_CLASSES = {
    Task.CONTINUE: frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()),
    Task.FILL_IN: frozenset(MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()),
}
_ANOTHER_WAY = {
    Task.CONTINUE: "fills in masks, and does not continue text; ask it with `apollo-ds fill {}`",
    Task.FILL_IN: "continues text, and does not fill in masks; ask it with `apollo-ds generate {}`",
}


@dataclass(frozen=True)
class LoadedModel:
    """A model on this machine's GPU, if it has one, and its tokenizer."""

    saved: SavedModel
    model: Any

    @classmethod
    def load(cls, name: str, source: str | None, task: Task) -> "LoadedModel":
        """Read a model and see that it can do the task.

        Args:
            name: as the user wrote it.
            source: where it is; see `SavedModel.open`.
            task: what it is wanted for.
        Raises:
            UserError: there is no such model, it is damaged, or it was trained for something else.
        """
        saved = SavedModel.open(name, source)
        known = trained_for(saved.config)
        if known is None:
            raise UserError(
                f"{name}: its config.json names no class that continues text or fills in masks, under architectures; "
                f"save it with {Task.CONTINUE.value} or {Task.FILL_IN.value}"
            )
        if known is not task:
            raise UserError(f"{name}: {_ANOTHER_WAY[task].format(name)}")
        model: Any
        model, absent = saved.load(task.value, dtype="auto")
        if absent:
            raise UserError(f"{name}: lacks {len(absent)} of its weights, such as {absent[0]}; save it again")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(saved, model.to(device).eval())

    def check_finite(self, logits: torch.Tensor) -> None:
        """Check that logits (..., vocab_size) can be made probabilities of.

        Raises:
            UserError: they cannot, as those of a model whose training has diverged.
        """
        if not logits.amax(dim=-1).isfinite().all():
            raise UserError(
                f"{self.saved.name}: its logits are no finite numbers, as after a training that diverged; choose an "
                "earlier checkpoint with --step, or another model"
            )


def trained_for(config: PretrainedConfig) -> Task | None:
    """What the class that a configuration names is for; None for neither."""
    named = set(config.architectures or ())
    return next((task for task, classes in _CLASSES.items() if named & classes), None)
