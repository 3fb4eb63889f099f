"""Groups of parameters that an optimizer updates alike: matrices of the layers, embeddings and head, and vectors."""

from typing import Any

from torch import Tensor

from apollo_ds.engine import layout
from apollo_ds.engine.optimizers import Muon
from apollo_ds.engine.options import EngineOptions
from apollo_ds.growth.stage_model import TrainableModel
from apollo_ds.models.pretraining import PretrainingModel


def parameter_groups(model: TrainableModel, options: EngineOptions) -> list[dict[str, Any]]:
    """Group the parameters that train by their options. No group is empty.

    Matrices and embeddings decay; vectors (biases and normalisations) do not. A group's `lr_factor` multiplies the
    learning rate. AdamW trains the coefficients of a growth operator, with a factor of 1.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [(name, parameter) for name, parameter in trained if len(layout.full_shape(parameter)) > 1]
    vectors = [(name, parameter) for name, parameter in trained if len(layout.full_shape(parameter)) <= 1]
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, parameter in (*matrices, *vectors):
        own = {**_options(model, name, parameter, options), "betas": options.adam_betas, "lr": 0.0}
        key = (len(layout.full_shape(parameter)) > 1, *own.values())
        groups.setdefault(key, {"params": [], **own})["params"].append(parameter)
    return list(groups.values())


def _options(model: TrainableModel, name: str, parameter: Tensor, options: EngineOptions) -> dict[str, Any]:
    is_vector, optimizer = len(layout.full_shape(parameter)) <= 1, options.optimizer
    decay = 0.0 if is_vector else options.weight_decay
    if not isinstance(model, PretrainingModel):
        return {"use_muon": False, "weight_decay": decay, "eps": options.adam_epsilon, "lr_factor": 1.0}
    in_block = name.startswith(f"model.{model.family.blocks}.")
    factor = (
        optimizer.vector_lr_factor
        if is_vector
        else optimizer.matrix_lr_factor
        if in_block
        else optimizer.embedding_lr_factor
    )
    return {
        "use_muon": isinstance(optimizer, Muon) and in_block and not is_vector,
        "weight_decay": decay,
        "eps": options.adam_epsilon * (options.block_epsilon_factor if in_block else 1.0),
        "lr_factor": factor * (options.block_lr_factor if in_block else 1.0),
    }
