"""The recipe: all keys that decide a run, checked and completed with defaults."""

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
"""From this many tokens on, a sample mostly holds several documents."""
_MOST_TOKENS = 2**53
"""The largest whole number that metrics and manifests hold exactly."""
MAY_CHANGE = "may change on resume"
"""Marks a key that decides neither the order of the data nor the schedule. A run can be resumed with another value."""
BESIDE_TRAINING = "does not change training"
"""Marks a key about how a run is watched and saved. Runs that differ only in such keys count as one recipe."""
MAY_CHANGE_AHEAD = "may change with more steps"
"""Marks a key that plans steps. It may have another value when a run is given more steps."""


class Recipe(Checked):
    """A recipe, checked and complete. The names of the fields are the recipe's keys."""

    was: ClassVar[Mapping[str, Any]] = {"document_mask": False}
    """What older versions did for keys that they did not record, if it differs from today's default."""

    model: Model
    """The model at the end of the run: a mapping of its sizes, or a name that stands for them. A name is a preset, such
    as `bert-base`, or `hf:` and a model that `transformers` saved: a folder, or a name on the hub. Only its sizes are
    taken. `{from: bert-base, num_layers: 24}` changes a size of a name."""
    method: Annotated[AnyMethod, MAY_CHANGE_AHEAD]
    """How the model grows: the name of a method, such as `sprout`, or a mapping of its name and options. In a list the
    first method makes the stages and the others change them, such as `[deep_jump, pld]`."""
    init_from: InitFrom = None
    """Where the weights of the run's first model come from, in place of random ones. `RUN` or `RUN@STEP` is the folder
    of a run and the step of one of its checkpoints. `hf:MODEL` is a model that `transformers` saved: a folder, or a
    name on the hub. The optimizer and the learning rate begin anew, with a warm-up."""
    branch_from: BranchFrom = None
    """The checkpoint of another run that this run goes on from, with all of its training state: `RUN@STEP`. The other
    run has taken the steps before it, and `steps` counts them too."""
    data: Annotated[Data, MAY_CHANGE]
    """Folder of prepared text, as `apollo-prep build` or `adopt` writes it. Several folders are given with weights, the
    share of each in the tokens: `{data/wiki: 0.7, data/books: 0.3}`. A run can be resumed when the folder has moved,
    but not with other text or weights."""
    held_out: Annotated[HeldOut, MAY_CHANGE, BESIDE_TRAINING] = Field(default_factory=dict)
    """More folders of prepared text, by names: `{law: data/law}`. Each evaluation measures the loss on their held-out
    parts, too, and records it under the name. The run's own held-out loss does not count them."""
    verify: Annotated[Literal["quick", "full"], MAY_CHANGE, BESIDE_TRAINING] = "quick"
    """How the prepared text is checked before a run starts. `quick` compares each file with its hash, but a file of
    tokens only if its size or date has changed. `full` always compares all files."""
    out: Annotated[Folder, MAY_CHANGE, BESIDE_TRAINING]
    """Folder of the run: its checkpoints, metrics, report and exported model."""
    steps: Annotated[PositiveInt, MAY_CHANGE_AHEAD]
    """Optimizer steps of the whole run, all stages together. More steps can be added to a finished run in its folder,
    if its schedule allows it exactly. A `wsd` schedule does: it goes on from the start of its decay."""
    seed: NonNegativeInt = 42
    """Decides all that is random: the first weights, the order of the text, the masks and the drawn depths."""
    seq_len: PositiveInt = 128
    """Tokens of a sample, at most `model.max_position_embeddings`."""
    document_mask: bool = Field(default_factory=lambda values: values.get("seq_len", 0) >= _LONG_SAMPLE)
    """Whether a token sees only the document that it is in. A sample holds several documents, one after the other, and
    positions count from the start of each. By default it is on if `seq_len` is 1,024 or more."""
    masking: Literal["token", "whole_word"] = "token"
    """How a masked model's tokens are chosen for masking: one by one (`token`), or all tokens of a word together
    (`whole_word`)."""
    global_batch_size: int = Field(ge=1, le=1_000_000)
    """Samples of a step, over all ranks. The number of ranks must divide it."""
    micro_batch_size: Annotated[PositiveInt, MAY_CHANGE]
    """The most samples that a rank processes at once when all layers run. If its share of a step is larger, it
    processes it in several parts and adds up their gradients."""
    sequence_parallel: Annotated[PositiveInt, MAY_CHANGE] = 1
    """How many neighbouring ranks share each sample. Each has an equal part of its tokens. It must divide the number of
    ranks, and the heads and tokens of every stage."""
    activation_checkpointing: Annotated[bool, MAY_CHANGE] = False
    """Whether layers keep only their input for the backward pass, and compute the rest again. It saves memory and takes
    time."""
    compile_blocks: Annotated[bool, MAY_CHANGE] = False
    """Whether `torch.compile` compiles each layer, and on a GPU the loss. It does not work with ZeRO 3."""
    zero_by_stage: Annotated[bool, MAY_CHANGE] = False
    """Whether a smaller stage may train with a lower ZeRO stage than `deepspeed` names: the lowest with which no rank
    holds more than in the largest stage. No effect if `deepspeed` names stage 0, or offloads."""
    learning_rate: float = Field(gt=0, le=1000)
    """The highest learning rate of the schedule."""
    lr_schedule: Annotated[Policy | None, MAY_CHANGE_AHEAD] = None
    """How the learning rate falls after its warm-up. By default as the method says, which is `cosine` for most."""
    warmup_fraction: Annotated[Fraction, MAY_CHANGE_AHEAD] = 0.025
    """The first part of the run, in which the learning rate rises from zero. 0.025 is one step in 40."""
    decay_fraction: Annotated[Fraction, MAY_CHANGE_AHEAD] = 0.1
    """The last part of the run, in which the learning rate of a `wsd` schedule falls."""
    final_lr_fraction: Annotated[Fraction, MAY_CHANGE_AHEAD] = 0.0
    """The learning rate at the end, as a fraction of the highest. Not for `constant`."""
    optimizer: AnyOptimizer = AdamW()
    """What updates the weights: `adamw`, `muon`, or a mapping of a name and options, such as `{name: muon, momentum:
    0.9}`."""
    weight_decay: float = Field(default=0.01, ge=0, le=1000)
    """How much weights shrink in each step, times the learning rate. Only matrices and embeddings do, not biases and
    normalisations."""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)
    """How much Adam keeps of its first and second moments in each step."""
    adam_epsilon: float = Field(default=1e-8, ge=1e-30, le=1)
    """A small number that Adam adds to the square root of the second moment."""
    eval_every: Annotated[PositiveInt, MAY_CHANGE, BESIDE_TRAINING]
    """Steps between two evaluations on held-out text."""
    eval_samples: Annotated[PositiveInt, MAY_CHANGE] = 256
    """How many samples an evaluation reads of each held-out text. They are the same each time."""
    samples: Annotated[Literal["at_end", "at_evaluations", "none"], MAY_CHANGE, BESIDE_TRAINING] = "at_end"
    """When the model writes a few short texts, which are recorded and shown: after the last evaluation (`at_end`),
    after each (`at_evaluations`), or never."""
    sample_prompts: Annotated[list[str], MAY_CHANGE, BESIDE_TRAINING] = Field(default_factory=list)
    """The beginnings that it continues, such as `["Once upon a time"]`. A masked model fills in each `[MASK]`. By
    default they are the beginnings of three held-out documents."""
    save_every: Annotated[PositiveInt, MAY_CHANGE, BESIDE_TRAINING]
    """Steps between two checkpoints."""
    keep_checkpoints: Annotated[PositiveInt, MAY_CHANGE, BESIDE_TRAINING] = 3
    """How many of the newest checkpoints are kept. With `wsd`, the checkpoint at the start of the decay is kept too:
    the run can be given more steps from it."""
    keep_every: Annotated[NonNegativeInt, MAY_CHANGE, BESIDE_TRAINING] = 0
    """Checkpoints whose step is a multiple of this are kept for good. With 0, none are."""
    log_every: Annotated[PositiveInt, MAY_CHANGE, BESIDE_TRAINING] = 10
    """Steps between two readings of the loss from the device. Each is recorded and shown."""
    trackers: Annotated[tuple[TrackerName, ...], MAY_CHANGE, BESIDE_TRAINING] = ("tensorboard",)
    """What shows the run while it trains, beside `metrics.jsonl`: `tensorboard`, `wandb`, `mlflow`, several or none."""
    hang_seconds: Annotated[Seconds, MAY_CHANGE, BESIDE_TRAINING] = 1800.0
    """How long a step, an evaluation or a growth may go without progress. After these seconds the rank prints its
    stack, and the job ends with exit code 124."""
    setup_hang_seconds: Annotated[Seconds, MAY_CHANGE, BESIDE_TRAINING] = 900.0
    """The same limit for each part of the start, such as imports, meeting the other ranks, or reading a checkpoint."""
    save_hang_seconds: Annotated[Seconds, MAY_CHANGE, BESIDE_TRAINING] = 1800.0
    """The same limit for what waits for the disk: a checkpoint, and at the end the export and the report."""
    peak_flops: Annotated[float | None, Field(ge=1e6, le=1e20), MAY_CHANGE, BESIDE_TRAINING] = None
    """The most operations a second that one rank can reach, from which the utilisation follows. It is measured at the
    start if it is not given."""
    bad_steps: Annotated[PositiveInt, MAY_CHANGE] = 10
    """How many steps in a row may lack a finite gradient before the run goes back to its last good checkpoint."""
    spike_deviations: Annotated[float, Field(gt=0, le=1e9), MAY_CHANGE] = 10.0
    """A loss is a spike if it is this many robust standard deviations above the median. `training.faults.loss_spikes`
    explains what follows."""
    deepspeed: Annotated[dict[str, Any], MAY_CHANGE] = Field(default_factory=dict)
    """DeepSpeed's own configuration: the path of a JSON file, such as `ds_configs/zero1.json`, or a mapping."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.steps * self.global_batch_size * self.seq_len > _MOST_TOKENS:
            raise UserError(f"steps: with global_batch_size and seq_len they come to more than {_MOST_TOKENS:,} tokens")
        self._check_shares(self.schedule().stages)  # both raise a UserError
        if self.seq_len > self.model.max_position_embeddings:
            raise UserError(
                f"seq_len {self.seq_len} is longer than "
                f"model.max_position_embeddings {self.model.max_position_embeddings}; lower the one or raise the other"
            )
        if self.masking == "whole_word" and not family_of(self.model).is_masked:
            raise UserError(f"masking: whole_word is for masked models, and {self.model.family} is none; remove it")
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
        """The keys that may have another value when a run is resumed."""
        return {key for key, field in cls.model_fields.items() if MAY_CHANGE in field.metadata}

    @classmethod
    def beside_training(cls) -> set[str]:
        """The keys about how a run is watched and saved. Other values of them do not change training."""
        return {key for key, field in cls.model_fields.items() if BESIDE_TRAINING in field.metadata}

    @classmethod
    def may_change_ahead(cls) -> set[str]:
        """The keys that may have another value when a run is given more steps."""
        return {key for key, field in cls.model_fields.items() if MAY_CHANGE_AHEAD in field.metadata}

    def as_method_sees_it(self) -> Run:
        """The facts about the run that a method may use."""
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
        """How many groups of ranks there are. The ranks of a group share their samples.

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
        """How many samples a rank processes at once: the largest divisor of its share that `micro_batch_size` allows.

        With `room` 2 there is memory for twice as many.

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
        """The options of the engine of one rank, out of `world_size` ranks.

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
        """The recipe with its DeepSpeed configuration settled for the machine, by `config.deepspeed.settle`."""
        return self.model_copy(update={"deepspeed": settle(self.deepspeed, computes_bf16, world_size)})

    def plain(self) -> dict[str, Any]:
        """The recipe as plain values, for YAML."""
        return self.model_dump(mode="json")
