"""The optimizers that a recipe may name, and their options. Nothing here imports torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from apollo_ds.by_name import ByName
from apollo_ds.checked import Checked

Factor = Annotated[float, Field(gt=0, le=1000)]
UpdateScale = Literal["match_adamw", "spectral"]


class Optimizer(Checked):
    """The keys that all optimizers share: factors on the learning rates of groups of parameters."""

    name: str
    matrix_lr_factor: Factor = 1.0
    """The learning rate of the matrices in the layers is multiplied by this."""
    embedding_lr_factor: Factor = 1.0
    """The learning rate of embeddings and of the head's matrices is multiplied by this."""
    vector_lr_factor: Factor = 1.0
    """The learning rate of normalisations and biases is multiplied by this."""


class AdamW(Optimizer):
    """AdamW (Loshchilov and Hutter 2019) for all parameters; `adam_betas` and `adam_epsilon` are the recipe's."""

    name: Literal["adamw"] = "adamw"


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) for the matrices of the layers, AdamW for embeddings, normalisations, biases and head.

    The momentum of a matrix's gradients is made orthogonal by Newton-Schulz iterations, so that an update moves all
    directions by as much. What holds several matrices in one, such as GPT-2's query, key and value, is taken apart.
    """

    name: Literal["muon"] = "muon"
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """How much of the mean of gradients is kept in each step."""
    nesterov: bool = True
    """Whether an update is made from the mean and the newest gradient, not from the mean alone."""
    newton_schulz_steps: int = Field(default=5, ge=1, le=20)
    """Iterations of the orthogonalisation."""
    update_scale: UpdateScale = "match_adamw"
    """How large an update is. `match_adamw`: 0.2 √max(out, in), as large as AdamW's in the mean, so that both train at
    one learning rate (Liu et al. 2025, arXiv 2502.16982); `spectral`: √max(1, out / in), for rates near 0.02."""


OPTIMIZERS: Mapping[str, type[Optimizer]] = {"adamw": AdamW, "muon": Muon}


def _options(given: Any) -> Any:
    """Turn the bare name of an optimizer into a mapping with its default options."""
    return {"name": given} if isinstance(given, str) else given


BY_OPTIMIZER = ByName("name", lambda: OPTIMIZERS)
AnyOptimizer = Annotated[Optimizer, BY_OPTIMIZER, BeforeValidator(_options)]
"""The type of a recipe's `optimizer`: a name, or a mapping with a name and options."""
