"""The base class of PLD, RaPTr and decreasing block drop, which skip blocks of a full model at random."""

from abc import abstractmethod
from dataclasses import replace

from apollo_ds.errors import UserError
from apollo_ds.methods._base import Modifier, Run
from apollo_ds.models.families import family_of
from apollo_ds.schedule.layer_drop import LayerDrop
from apollo_ds.schedule.stage import Stage


class BlockDropping(Modifier):
    """Skips blocks at random in every stage that has all the layers."""

    rescale: bool | None = None
    """Whether a block that runs is divided by the probability that it runs. By default it is in pre-LN models."""

    @abstractmethod
    def layer_drop(self, first_progress: float, rescaled: bool) -> LayerDrop:
        """Return the blocks' probabilities to run. Skipping begins at the fraction `first_progress` of the run."""

    def modify(self, stages: list[Stage], run: Run) -> list[Stage]:
        """Skip blocks in the stages that have all layers.

        Raises:
            UserError: a part of such a stage is frozen.
        """
        full = [number for number, stage in enumerate(stages) if stage.unique_layers == run.shape.num_layers]
        if any(stages[number].frozen.layers or stages[number].trained_top for number in full):
            raise UserError(f"method: {self.name} cannot skip blocks of stages in which a part of them is frozen")
        first_progress = sum(stage.steps for stage in stages[: full[0]]) / run.steps
        rescaled = self.rescale if self.rescale is not None else family_of(run.shape).is_pre_norm
        layer_drop = self.layer_drop(first_progress, rescaled)
        return [
            replace(stage, layer_drop=layer_drop) if number in full else stage for number, stage in enumerate(stages)
        ]
