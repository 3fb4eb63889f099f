"""A model in memory, ready to continue text or to fill in masks."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from apollo_ds.errors import UserError
from apollo_ds.saved_models.saved_model import SavedModel


class Task(Enum):
    """The task that a model was trained for. The value is the class of `transformers` that loads it for this task."""

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
    """A model and its tokenizer. The model is on this machine's GPU, if it has one."""

    saved: SavedModel
    model: Any

    @classmethod
    def load(cls, name: str, source: str | None, task: Task) -> "LoadedModel":
        """Load a model, and check that it can do the task.

        Args:
            name: the model as the user named it.
            source: where the model is, as in `SavedModel.open`.
            task: the task that it is needed for.
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
        """Check that logits, shape (..., vocab_size), are finite, so that they give probabilities.

        Raises:
            UserError: they are not finite. This happens if the model's training has diverged.
        """
        if not logits.amax(dim=-1).isfinite().all():
            raise UserError(
                f"{self.saved.name}: its logits are not finite, so its training has probably diverged; choose an "
                "earlier checkpoint with --step, or another model"
            )


def trained_for(config: PretrainedConfig) -> Task | None:
    """The task of the class that a configuration names. None if it is for neither task."""
    named = set(config.architectures or ())
    return next((task for task, classes in _CLASSES.items() if named & classes), None)
