"""A recipe: all that decides a run, checked and complete."""

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from apollo_ds.checked import Checked
from apollo_ds.config.deepspeed import precision, settle, zero_stage
from apollo_ds.config.trackers import TrackerName
from apollo_ds.config.values import Beta, BranchFrom, Data, Folder, Fraction, HeldOut, InitFrom, Model, Seconds
from apollo_ds.engine.optimizers import AdamW, AnyOptimizer
from apollo_ds.engine.options import EngineOptions
from apollo_ds.errors import UserError
from apollo_ds.methods import AnyMethod, Run
from apollo_ds.models.families import family_of
from apollo_ds.schedule.branch import begun_from, branched
from apollo_ds.schedule.learning_rate import LearningRate, Policy
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import Stage

_LONG_SAMPLE = 1024
"""Tokens. Longer samples mostly hold several documents."""
_MOST_TOKENS = 2**53
"""What metrics and manifests hold exactly."""
MAY_CHANGE = "may change on resume"
"""Marks a key that decides neither the order of the data nor the schedule, so that a run goes on with another value."""
BESIDE_TRAINING = "does not change training"
"""Marks a key that says how a run is watched and kept. Runs that differ in such keys alone are of one recipe."""
MAY_CHANGE_AHEAD = "may change with more steps"
"""Marks a key that plans steps, so that it may have another value where a run is to take more of them."""


class Recipe(Checked):
    """A run, checked and complete. Field names are the recipe's keys."""

    was: ClassVar[Mapping[str, Any]] = {"document_mask": False}
    """Values of keys that an older version did not record, where they differ from today's defaults."""

    model: Model
    """The model at the end of the run: its sizes, or the name of what has them. That is a preset, such as `bert-base`,
    or `hf:` and the folder or hub name of a model that `transformers` saved, of which nothing else is taken. Both
    together are `{from: bert-base, num_layers: 24}`."""
    method: Annotated[AnyMethod, MAY_CHANGE_AHEAD]
    """How the model grows: a method's name, a mapping of its name and options, or a list: a method that makes the
    stages, and methods that change them, such as `[deep_jump, pld]`."""
    init_from: InitFrom = None
    """Where the weights of the run's first model come from, in place of random ones: `RUN` or `RUN@STEP`, a run's
    folder and a step whose checkpoint it has; or `hf:MODEL`, a folder that `transformers` saved, or a name on its hub.
    The optimizer and the learning rate begin anew, with a warm-up."""
    branch_from: BranchFrom = None
    """The step of another run that this one goes on from, with all of its training state: `RUN@STEP`. The recipe is
    that of the whole run; its steps up to there have been taken, however it plans them. `steps` counts from the
    beginning of the other run."""
    data: Annotated[Data, MAY_CHANGE]
    """Folder of the prepared text, as `apollo-prep build` or `adopt` writes it; or several and their weights, by
    tokens: `{data/wiki: 0.7, data/books: 0.3}`. The text itself, and the weights, must stay the same."""
    held_out: Annotated[HeldOut, MAY_CHANGE, BESIDE_TRAINING] = Field(default_factory=dict)
    """More prepared text whose held-out part each evaluation measures, by names: `{law: data/law}`. Its loss is
    recorded under its name, and is no part of the run's held-out loss."""
    verify: Annotated[Literal["quick", "full"], MAY_CHANGE, BESIDE_TRAINING] = "quick"
    """What is read of the prepared text before a run starts. `quick`: all files but the tokens are compared with their
    hashes, and the tokens only where their size or time of change differs; `full`: the tokens too, each time."""
    out: Annotated[Folder, MAY_CHANGE, BESIDE_TRAINING]
    """Folder of the run: its checkpoints, metrics, report and exported model."""
    steps: Annotated[PositiveInt, MAY_CHANGE_AHEAD]
    """Optimizer steps of the whole run, all stages together. A run may be given more later, in the same folder, where
    its schedule allows it exactly: with `wsd` it goes on from the start of its decay."""
    seed: NonNegativeInt = 42
    """What the first weights, the order of the text, the masks and the drawn depths follow from."""
    seq_len: PositiveInt = 128
    """Tokens of a sample, at most `model.max_position_embeddings`."""
    document_mask: bool = Field(default_factory=lambda values: values.get("seq_len", 0) >= _LONG_SAMPLE)
    """Whether a token sees only its own document of a sample, in which several lie end to end, and positions count from
    each document's start. By default from a `seq_len` of 1,024 on."""
    masking: Literal["token", "whole_word"] = "token"
    """What the masking of a masked model chooses: tokens one by one, or all tokens of a word together."""
    global_batch_size: int = Field(ge=1, le=1_000_000)
    """Samples of a step, over all ranks. The number of ranks must divide it."""
    micro_batch_size: Annotated[PositiveInt, MAY_CHANGE]
    """Samples a rank processes at once when all layers run, at most; the rest of its share is accumulated."""
    sequence_parallel: Annotated[PositiveInt, MAY_CHANGE] = 1
    """How many neighbouring ranks share each sample, each with an equal part of its tokens. It must divide the ranks,
    and the heads and tokens of every stage."""
    activation_checkpointing: Annotated[bool, MAY_CHANGE] = False
    """Whether layers keep only their input, and the backward computes the rest again."""
    compile_blocks: Annotated[bool, MAY_CHANGE] = False
    """Whether `torch.compile` compiles the layers, each by itself, and on a GPU the loss. Not under ZeRO 3."""
    zero_by_stage: Annotated[bool, MAY_CHANGE] = False
    """Whether smaller stages train under lower ZeRO stages: each under the lowest at which a rank holds no more than in
    the largest stage under the ZeRO stage of `deepspeed`. No effect if that is 0 or offloads."""
    learning_rate: float = Field(gt=0, le=1000)
    """The peak of the schedule."""
    lr_schedule: Annotated[Policy | None, MAY_CHANGE_AHEAD] = None
    """How the learning rate falls after its warm-up. By default the method's own: cosine for most."""
    warmup_fraction: Annotated[Fraction, MAY_CHANGE_AHEAD] = 0.025
    """The first part of the run, in which the learning rate rises from zero."""
    decay_fraction: Annotated[Fraction, MAY_CHANGE_AHEAD] = 0.1
    """The last part of the run, in which the `wsd` schedule decays."""
    final_lr_fraction: Annotated[Fraction, MAY_CHANGE_AHEAD] = 0.0
    """The learning rate at the end, as a part of the peak; not for `constant`."""
    optimizer: AnyOptimizer = AdamW()
    """What updates the weights: `adamw`, `muon`, or a mapping of a name and options, such as `{name: muon, momentum:
    0.9}`."""
    weight_decay: float = Field(default=0.01, ge=0, le=1000)
    """Of matrices and embeddings, apart from the gradient; biases and normalisations have none."""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay rates of Adam's first and second moments, per step, of what Adam updates."""
    adam_epsilon: float = Field(default=1e-8, ge=1e-30, le=1)
    """What Adam adds to the square root of the second moment."""
    eval_every: Annotated[PositiveInt, MAY_CHANGE, BESIDE_TRAINING]
    """Steps from one evaluation on held-out text to the next."""
    eval_samples: Annotated[PositiveInt, MAY_CHANGE] = 256
    """Samples of `seq_len` tokens that an evaluation reads of each held-out set, the same each time."""
    samples: Annotated[Literal["at_end", "at_evaluations", "none"], MAY_CHANGE, BESIDE_TRAINING] = "at_end"
    """When the model writes a few short texts, which are recorded and shown: after the last evaluation, or each."""
    sample_prompts: Annotated[list[str], MAY_CHANGE, BESIDE_TRAINING] = Field(default_factory=list)
    """What it continues there, such as `["Once upon a time"]`; a masked model fills in each `[MASK]`. By default it is
    the beginnings of three held-out documents."""
    save_every: Annotated[PositiveInt, MAY_CHANGE, BESIDE_TRAINING]
    """Steps from one checkpoint to the next."""
    keep_checkpoints: Annotated[PositiveInt, MAY_CHANGE, BESIDE_TRAINING] = 3
    """How many of the newest checkpoints stay. One more is saved and stays: that of the start of a `wsd` decay, from
    which the run can be given more steps."""
    keep_every: Annotated[NonNegativeInt, MAY_CHANGE, BESIDE_TRAINING] = 0
    """Checkpoints whose step it divides stay for good; 0: none do."""
    log_every: Annotated[PositiveInt, MAY_CHANGE, BESIDE_TRAINING] = 10
    """Steps after which the losses since the last time are read from the device, recorded and shown."""
    trackers: Annotated[tuple[TrackerName, ...], MAY_CHANGE, BESIDE_TRAINING] = ("tensorboard",)
    """What shows the run while it trains, beside `metrics.jsonl`: `tensorboard`, `wandb`, `mlflow`, several or none."""
    hang_seconds: Annotated[Seconds, MAY_CHANGE, BESIDE_TRAINING] = 1800.0
    """After this many seconds without progress in a step, an evaluation or a growth, a rank prints its stack, and the
    job ends with exit code 124."""
    setup_hang_seconds: Annotated[Seconds, MAY_CHANGE, BESIDE_TRAINING] = 900.0
    """The same for each part of a start, such as imports, meeting the other ranks, or reading a checkpoint."""
    save_hang_seconds: Annotated[Seconds, MAY_CHANGE, BESIDE_TRAINING] = 1800.0
    """The same for what waits for the disk: a checkpoint, and at the end the export and the report."""
    peak_flops: Annotated[float | None, Field(ge=1e6, le=1e20), MAY_CHANGE, BESIDE_TRAINING] = None
    """Operations a second of one rank at best, for the utilisation; measured at the start if not stated."""
    bad_steps: Annotated[PositiveInt, MAY_CHANGE] = 10
    """After this many steps in a row without a finite gradient, the run goes back to its last good checkpoint."""
    spike_deviations: Annotated[float, Field(gt=0, le=1e9), MAY_CHANGE] = 10.0
    """A loss this many robust deviations above the median is a spike; see `training.faults.loss_spikes`."""
    deepspeed: Annotated[dict[str, Any], MAY_CHANGE] = Field(default_factory=dict)
    """DeepSpeed's own configuration: the path of a JSON file, such as `ds_configs/zero1.json`, or a mapping."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.steps * self.global_batch_size * self.seq_len > _MOST_TOKENS:
            raise UserError(f"steps: with global_batch_size and seq_len they come to more than {_MOST_TOKENS:,} tokens")
        self._check_shares(self.schedule().stages)  # both raise a UserError, as the others here do
        if self.seq_len > self.model.max_position_embeddings:
            raise UserError(
                f"seq_len {self.seq_len} is longer than "
                f"model.max_position_embeddings {self.model.max_position_embeddings}; lower the one or raise the other"
            )
        if self.masking == "whole_word" and not family_of(self.model).is_masked:
            raise UserError(f"masking: {self.model.family} has no masks, so no whole_word; remove it")
        if self.sample_prompts and self.samples == "none":
            raise UserError("sample_prompts: no samples are taken; use samples=at_end, or remove sample_prompts")
        if self.compile_blocks and zero_stage(self.deepspeed) == 3:
            raise UserError("compile_blocks: ZeRO 3 moves weights inside each layer; use stage 1 or 2 with it")
        return self

    def _check_shares(self, stages: Sequence[Stage]) -> None:
        degree, common = self.sequence_parallel, gcd(*(gcd(s.shape.num_heads, s.pooled_len) for s in stages))
        for number, stage in enumerate(stages, start=1):
            for what, count in (("heads", stage.shape.num_heads), ("tokens", stage.pooled_len)):
                if count % degree:
                    choices = ", ".join(str(size) for size in range(1, common + 1) if common % size == 0)
                    raise UserError(
                        f"sequence_parallel: {degree} ranks cannot share the {count:,} {what} of stage {number} "
                        f"equally; use a number that divides heads and tokens of every stage: {choices}"
                    )

    @classmethod
    def may_change(cls) -> set[str]:
        """The keys with whose other values a run may go on."""
        return {key for key, field in cls.model_fields.items() if MAY_CHANGE in field.metadata}

    @classmethod
    def beside_training(cls) -> set[str]:
        """The keys that say how a run is watched and kept: with other values of them it trains the same."""
        return {key for key, field in cls.model_fields.items() if BESIDE_TRAINING in field.metadata}

    @classmethod
    def may_change_ahead(cls) -> set[str]:
        """The keys with whose other values a run may take more steps."""
        return {key for key, field in cls.model_fields.items() if MAY_CHANGE_AHEAD in field.metadata}

    def as_method_sees_it(self) -> Run:
        """What a method may know of the run."""
        return Run(self.model, self.steps, self.seq_len, self.global_batch_size)

    def schedule(self) -> Schedule:
        """The stages of the run.

        Raises:
            UserError: the method's options do not fit the model or the number of steps.
        """
        run = self.as_method_sees_it()
        learning_rate = LearningRate(
            policy=self.lr_schedule or self.method.lr_schedule,
            peak=self.learning_rate,
            warmup_fraction=self.warmup_fraction,
            final_fraction=self.final_lr_fraction,
            decay_fraction=self.decay_fraction,
        )
        stages = tuple(self.method.stages(run))
        if self.init_from:
            stages = begun_from(self.init_from, stages)
        planned = Schedule(stages, self.global_batch_size, learning_rate, self.seed)
        return branched(planned, self.branch_from) if self.branch_from else planned

    def sample_groups(self, world_size: int) -> int:
        """How many groups of ranks have samples of their own.

        Raises:
            UserError: the number of ranks is not a multiple of `sequence_parallel`.
        """
        groups, rest = divmod(world_size, self.sequence_parallel)
        if rest:
            raise UserError(
                f"sequence_parallel: {self.sequence_parallel} does not divide the number of ranks, {world_size}; "
                f"use a number that does, or a multiple of {self.sequence_parallel} ranks"
            )
        return groups

    def micro_batch(self, world_size: int, room: float = 1.0) -> int:
        """Samples a rank processes at once: the largest divisor of its share that `micro_batch_size` allows.

        `room` is how many times as many fit into memory.

        Raises:
            UserError: the number of ranks does not divide the global batch.
        """
        groups = self.sample_groups(world_size)
        if self.global_batch_size % groups:
            who = f"{groups} ranks" if groups == world_size else f"{groups} groups of {self.sequence_parallel} ranks"
            raise UserError(
                f"global_batch_size: {who} do not divide {self.global_batch_size}; "
                f"use a multiple of {groups}, or another number of ranks"
            )
        share = self.global_batch_size // groups
        most = max(1, min(share, int(self.micro_batch_size * room)))
        return next(size for size in range(most, 0, -1) if share % size == 0)

    def engine_options(self, world_size: int) -> EngineOptions:
        """What the engine of one rank of so many needs.

        Raises:
            UserError: the number of ranks does not divide the global batch.
        """
        micro_batch = self.micro_batch(world_size)
        return EngineOptions(
            seed=self.seed,
            micro_batch=micro_batch,
            accumulation_steps=self.global_batch_size // (self.sample_groups(world_size) * micro_batch),
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            adam_betas=self.adam_betas,
            adam_epsilon=self.adam_epsilon,
            precision=precision(self.deepspeed),
            zero_stage=zero_stage(self.deepspeed),
            deepspeed=self.deepspeed,
        )

    def settled(self, computes_bf16: bool, world_size: int) -> "Recipe":
        """The recipe with what its DeepSpeed configuration leaves to the machine decided; see `config.deepspeed`."""
        return self.model_copy(update={"deepspeed": settle(self.deepspeed, computes_bf16, world_size)})

    def plain(self) -> dict[str, Any]:
        """The recipe as YAML holds it."""
        return self.model_dump(mode="json")
