"""Models with all of their weights on the CPU, for tests without an engine."""

from typing import TypeVar

import torch
from torch import nn

from apollo_ds.growth.stage_model import TrainableModel
from apollo_ds.models.pretraining import PretrainingModel, skeleton
from apollo_ds.models.shape import ModelShape

_Model = TypeVar("_Model", bound=TrainableModel)


def filled(model: _Model, seed: int) -> _Model:
    """A skeleton with fresh weights, in fp32; those that a model has no fresh values for are zeros."""
    for parameter in model.parameters():
        parameter.data = torch.zeros(parameter.shape)
    for name, value in model.initial_values(seed):
        model.get_parameter(name).data = value
    return model


def build(shape: ModelShape, layers: int, seed: int) -> PretrainingModel:
    """A fresh model of so many unique layers."""
    return filled(skeleton(shape, layers), seed)


def in_fp64(model: PretrainingModel) -> PretrainingModel:
    """The same model in fp64, with PyTorch's RMSNorm, since those of transformers compute in fp32."""
    model.double()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                plain = nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon)
                plain.weight = child.weight
                module._modules[name] = plain
    return model
