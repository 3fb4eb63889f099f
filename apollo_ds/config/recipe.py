"""A recipe: all that decides a run, checked and complete."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from apollo_ds.config.deepspeed import settle
from apollo_ds.engine.options import EngineOptions
from apollo_ds.errors import UserError
from apollo_ds.methods import Method, Run
from apollo_ds.models.families import AnyShape
from apollo_ds.schedule.learning_rate import LearningRate, Policy
from apollo_ds.schedule.schedule import Schedule

Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """A run, checked and complete. Field names are the recipe's keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    was: ClassVar[Mapping[str, Any]] = {}
    """Values of keys that an older version did not record, where they differ from today's defaults."""

    model: AnyShape
    method: Method
    data: Path
    out: Path
    steps: PositiveInt
    seed: NonNegativeInt = 42
    seq_len: PositiveInt = 128
    masking: Literal["token", "whole_word"] = "token"
    """What the masking of a masked model chooses: tokens one by one, or all tokens of a word together."""
    global_batch_size: PositiveInt
    micro_batch_size: PositiveInt
    """Samples a rank processes at once when all layers run, at most; the rest of its share is accumulated."""
    activation_checkpointing: bool = False
    """Whether layers keep only their input, and the backward computes the rest again."""
    compile_blocks: bool = False
    """Whether `torch.compile` compiles the layers, each by itself."""
    zero_by_stage: bool = False
    """Whether smaller stages train under lower ZeRO stages: each under the lowest at which a rank holds no more than in
    the largest stage under the ZeRO stage of `deepspeed`. No effect if that is 0 or offloads."""
    learning_rate: PositiveFloat
    lr_schedule: Policy | None = None
    """By default the method's own: cosine for most."""
    warmup_fraction: Fraction = 0.025
    decay_fraction: Fraction = 0.1
    """The last part of the run, in which the `wsd` schedule decays."""
    final_lr_fraction: Fraction = 0.0
    weight_decay: NonNegativeFloat = 0.01
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)
    adam_epsilon: PositiveFloat = 1e-8
    eval_every: PositiveInt
    eval_samples: PositiveInt = 256
    save_every: PositiveInt
    keep_checkpoints: PositiveInt = 3
    keep_every: NonNegativeInt = 0
    """Checkpoints whose step it divides stay for good; 0: none do."""
    log_every: PositiveInt = 10
    hang_seconds: PositiveFloat = 1800.0
    """After this many seconds without progress, a rank prints its stack, and the job ends with exit code 70."""
    peak_flops: PositiveFloat | None = None
    """Operations a second of one rank at best, for the utilisation; measured at the start if not stated."""
    bad_steps: PositiveInt = 10
    """After this many steps in a row without a finite gradient, the run goes back to its last good checkpoint."""
    spike_deviations: PositiveFloat = 10.0
    """A loss this many robust deviations above the median is a spike; see `training.faults.loss_spikes`."""
    deepspeed: dict[str, Any] = Field(default_factory=dict)
    """DeepSpeed's own configuration, as it stands in the JSON file that the recipe names."""

    def schedule(self) -> Schedule:
        """The stages of the run.

        Raises:
            UserError: the method's options do not fit the model or the number of steps.
        """
        run = Run(shape=self.model, steps=self.steps, seq_len=self.seq_len)
        learning_rate = LearningRate(
            policy=self.lr_schedule or self.method.lr_schedule,
            peak=self.learning_rate,
            warmup_fraction=self.warmup_fraction,
            final_fraction=self.final_lr_fraction,
            decay_fraction=self.decay_fraction,
        )
        return Schedule(tuple(self.method.stages(run)), self.global_batch_size, learning_rate, self.seed)

    def micro_batch(self, world_size: int, room: float = 1.0) -> int:
        """Samples a rank processes at once: the largest divisor of its share that `micro_batch_size` allows.

        `room` is how many times as many fit into memory.

        Raises:
            UserError: the number of ranks does not divide the global batch.
        """
        if self.global_batch_size % world_size:
            raise UserError(
                f"global_batch_size: {world_size} ranks do not divide {self.global_batch_size}; "
                f"use a multiple of {world_size}, or another number of ranks"
            )
        share = self.global_batch_size // world_size
        most = max(1, min(share, int(self.micro_batch_size * room)))
        return max(d for d in range(1, most + 1) if share % d == 0)

    def engine_options(self, world_size: int) -> EngineOptions:
        """What the engine of one rank of so many needs.

        Raises:
            UserError: the number of ranks does not divide the global batch.
        """
        micro_batch = self.micro_batch(world_size)
        return EngineOptions(
            seed=self.seed,
            micro_batch=micro_batch,
            accumulation_steps=self.global_batch_size // (world_size * micro_batch),
            weight_decay=self.weight_decay,
            adam_betas=self.adam_betas,
            adam_epsilon=self.adam_epsilon,
            deepspeed=self.deepspeed,
        )

    def settled(self, computes_bf16: bool, world_size: int) -> "Recipe":
        """The recipe with what its DeepSpeed configuration leaves to the machine decided; see `config.deepspeed`."""
        return self.model_copy(update={"deepspeed": settle(self.deepspeed, computes_bf16, world_size)})

    def plain(self) -> dict[str, Any]:
        """The recipe as YAML holds it."""
        return {**self.model_dump(mode="json"), "method": self.method.model_dump(mode="json")}
